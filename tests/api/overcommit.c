/*
 * overcommit.c - address space held in advance is not charged against the commit limit
 *
 * With vm.overcommit_memory 2 the kernel counts every writable private page, used or not.
 *
 * run: charge
 * run: ASHLAR_CONF=guard:mprotect charge
 * run: strict
 */
#define _GNU_SOURCE
#include <errno.h>

#include "expect.h"

/* Bytes of writable private mappings, which is what the kernel charges. */
static size_t charged_bytes(void)
{
    static char text[1 << 20];
    size_t sum = 0;
    read_file("/proc/self/maps", text, sizeof(text));
    for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        unsigned long start, end;
        char access[5];
        if (sscanf(line, "%lx-%lx %4s", &start, &end, access) == 3 && access[1] == 'w' &&
            access[3] == 'p' && strstr(line, "[stack]") == NULL)
            sum += end - start;
    }
    return sum;
}

static void check_charge(void)
{
    static void *blocks[200];
    size_t start = charged_bytes();
    EXPECT(start < 32 * MIB, "%zu KiB charged at the start", start / KIB);
    for (size_t i = 0; i < COUNT_OF(blocks); i++) {
        blocks[i] = malloc(i % 2 == 0 ? MIB : 40000);
        EXPECT(blocks[i] != NULL);
    }
    size_t live = charged_bytes() - start;
    EXPECT(live < 104 * MIB * 5 / 4 + 32 * MIB, "%zu KiB charged for 104 MiB", live / KIB);
    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        free(blocks[i]);
}

/* Blocks up to the limit, ENOMEM there, and life after it. */
static void check_strict(void)
{
    char text[16];
    read_file("/proc/sys/vm/overcommit_memory", text, sizeof(text));
    if (text[0] != '2')
        SKIP("vm.overcommit_memory is %c, not 2", text[0]);
    static void *blocks[4096];
    size_t limit = proc_field_bytes("/proc/meminfo", "CommitLimit:");
    size_t size = limit / 1024;
    for (int round = 0; round < 3; round++) {
        size_t count = 0;
        errno = 0;
        while (count < COUNT_OF(blocks) && (blocks[count] = malloc(size)) != NULL)
            count++;
        EXPECT(count < COUNT_OF(blocks) && errno == ENOMEM, "%zu blocks, errno %d", count, errno);
        EXPECT(count > 256, "only %zu blocks of a thousandth of the limit", count);
        EXPECT(malloc(100) != NULL || errno == ENOMEM);
        for (size_t i = 0; i < count; i++)
            free(blocks[i]);
    }
}

int main(int argc, char **argv)
{
    test_begin(60);
    if (argc > 1 && strcmp(argv[1], "strict") == 0)
        check_strict();
    else
        check_charge();
    return TEST_PASS;
}
