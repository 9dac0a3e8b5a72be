/*
 * names.c - every name of the malloc family comes from one library, also those that libc calls
 *
 * A name left out falls through to the C library, whose block then reaches our free.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <locale.h>
#include <netdb.h>
#include <regex.h>
#include <wchar.h>

#include "expect.h"

/* The malloc family, and the operators as the C++ ABI spells them. */
static const char *const c_names[] = {
    "malloc",        "free",           "calloc",      "realloc",  "memalign",
    "aligned_alloc", "posix_memalign", "valloc",      "pvalloc",  "malloc_usable_size",
    "malloc_trim",   "malloc_stats",   "malloc_info", "mallinfo", "mallinfo2",
    "mallopt"};
static const char *const c23_names[] = {"free_sized", "free_aligned_sized"};
static const char *const cxx_names[] = {"_Znwm",
                                        "_Znam",
                                        "_ZnwmRKSt9nothrow_t",
                                        "_ZnamRKSt9nothrow_t",
                                        "_ZnwmSt11align_val_t",
                                        "_ZnamSt11align_val_t",
                                        "_ZnwmSt11align_val_tRKSt9nothrow_t",
                                        "_ZnamSt11align_val_tRKSt9nothrow_t",
                                        "_ZdlPv",
                                        "_ZdaPv",
                                        "_ZdlPvRKSt9nothrow_t",
                                        "_ZdaPvRKSt9nothrow_t",
                                        "_ZdlPvm",
                                        "_ZdaPvm",
                                        "_ZdlPvSt11align_val_t",
                                        "_ZdaPvSt11align_val_t",
                                        "_ZdlPvSt11align_val_tRKSt9nothrow_t",
                                        "_ZdaPvSt11align_val_tRKSt9nothrow_t",
                                        "_ZdlPvmSt11align_val_t",
                                        "_ZdaPvmSt11align_val_t"};

static const char *file_of(const char *name)
{
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, name);
    if (symbol == NULL || dladdr(symbol, &info) == 0)
        return "nowhere";
    return info.dli_fname;
}

static void check_names(const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        EXPECT(strcmp(file_of(names[i]), malloc_file()) == 0, "%s comes from %s, malloc from %s",
               names[i], file_of(names[i]), malloc_file());
}

/* The compiled-in calls too, not only dlsym: the addresses this program is bound to. */
static void check_bound_names(void)
{
    void *const bound[] = {(void *)malloc,         (void *)free,
                           (void *)calloc,         (void *)realloc,
                           (void *)memalign,       (void *)aligned_alloc,
                           (void *)posix_memalign, (void *)valloc,
                           (void *)pvalloc,        (void *)malloc_usable_size,
                           (void *)malloc_trim,    (void *)mallopt,
                           (void *)malloc_info,    (void *)malloc_stats,
                           (void *)mallinfo2};
    Dl_info info;
    for (size_t i = 0; i < COUNT_OF(bound); i++)
        EXPECT(dladdr(bound[i], &info) != 0 && strcmp(info.dli_fname, malloc_file()) == 0, "%s: %s",
               c_names[i], info.dli_fname);
}

/* Takes over a block that libc made. malloc_usable_size and realloc recognise only their own. */
static void take(void *ptr, size_t len)
{
    EXPECT(ptr != NULL);
    EXPECT(malloc_usable_size(ptr) >= len);
    ptr = realloc(ptr, len + 1000);
    EXPECT(ptr != NULL);
    free(ptr);
}

static void check_libc_results(void)
{
    char *text = NULL;
    size_t len = 0;
    take(strdup("hello"), 6);
    take(strndup("hello", 3), 4);
    take(wcsdup(L"hello"), 6 * sizeof(wchar_t));
    take(reallocarray(NULL, 100, 40), 4000);
    int printed = asprintf(&text, "%0*d", 300000, 7);
    EXPECT(printed == 300000);
    take(text, 300001);
    take(getcwd(NULL, 0), 1);
    take(realpath("/proc/self", NULL), 1);
    take(get_current_dir_name(), 1);

    FILE *stream = open_memstream(&text, &len);
    for (int i = 0; i < 100000; i++)
        fputs("0123456789", stream);
    fclose(stream);
    EXPECT(len == 1000000);
    take(text, len);

    stream = fopen("/proc/self/maps", "r");
    EXPECT(stream != NULL);
    text = NULL;
    len = 0;
    while (getline(&text, &len, stream) > 0)
        continue;
    take(text, len);
    fclose(stream);

    struct dirent **entries;
    int count = scandir("/", &entries, NULL, alphasort);
    EXPECT(count > 0);
    for (int i = 0; i < count; i++)
        free(entries[i]);
    take(entries, (size_t)count * sizeof(*entries));
}

/* Libc allocates and frees by itself here; a mixture of two mallocs would not survive it. */
static void check_libc_inside(void)
{
    regex_t expression;
    glob_t found;
    struct addrinfo *addresses = NULL;
    EXPECT(regcomp(&expression, "^(a|b)*c{1,200}d$", REG_EXTENDED) == 0);
    EXPECT(regexec(&expression, "ababccd", 0, NULL, 0) == 0);
    regfree(&expression);
    EXPECT(glob("/*", 0, NULL, &found) == 0);
    globfree(&found);
    if (getaddrinfo("127.0.0.1", "80", NULL, &addresses) == 0)
        freeaddrinfo(addresses);
    setlocale(LC_ALL, "C.UTF-8");
    setenv("ASHLAR_TEST_VARIABLE", "value", 1);
    putenv(strdup("ASHLAR_TEST_VARIABLE=other"));
    unsetenv("ASHLAR_TEST_VARIABLE");
    FILE *pipe = popen("echo through a pipe", "r");
    char line[64];
    EXPECT(pipe != NULL && fgets(line, sizeof(line), pipe) != NULL && pclose(pipe) == 0);
    static int keys[100000];
    for (int i = 0; i < 100000; i++)
        keys[i] = (i * 7919) % 100000;
    qsort(keys, COUNT_OF(keys), sizeof(keys[0]), (int (*)(const void *, const void *))strcmp);
}

int main(void)
{
    test_begin(30);
    check_names(c_names, COUNT_OF(c_names));
    check_bound_names();
    if (on_ashlar()) {
        check_names(c23_names, COUNT_OF(c23_names));
        if (dlsym(RTLD_DEFAULT, "_Znwm") != NULL) /* absent with --disable-cxx */
            check_names(cxx_names, COUNT_OF(cxx_names));
    }
    check_libc_results();
    check_libc_inside();
    return TEST_PASS;
}
