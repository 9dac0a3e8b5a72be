/*
 * test_api.c - the ashlar_* calls: arguments, results, errno
 */
#include "unit/testing.h"

#include <fcntl.h>
#include <malloc.h>

#include "api/api.h"
#include "conf/options.h"
#include "unit/defaults.h"
#include "unit/fake_os.h"

#define PAGE (ashlar_os_facts.page_bytes)
#define UNTOUCHED 4711

static int begin(void **state)
{
    (void)state;
    fake_os_reset();
    test_restore_defaults();
    errno = UNTOUCHED;
    return 0;
}

static int end(void **state)
{
    (void)state;
    struct ashlar_mallinfo2 info = ashlar_mallinfo2();
    assert_int_equal(info.uordblks, 0);
    assert_int_equal(info.hblkhd, 0);
    return 0;
}

static void expect_failure(const void *ptr, int error)
{
    assert_null(ptr);
    assert_int_equal(errno, error);
    errno = UNTOUCHED;
}

static void expect_success(void *ptr, size_t align, size_t size)
{
    assert_non_null(ptr);
    assert_true(ashlar_is_aligned(ptr, align));
    assert_true(ashlar_malloc_usable_size(ptr) >= size);
    memset(ptr, 1, size);
    ashlar_free(ptr);
    assert_int_equal(errno, UNTOUCHED);
}

static void success_leaves_errno_alone(void **state)
{
    (void)state;
    expect_success(ashlar_malloc(100), 16, 100);
    expect_success(ashlar_malloc(1000000), 16, 1000000);
    expect_success(ashlar_calloc(7, 100), 16, 700);
    expect_success(ashlar_realloc(NULL, 50), 16, 50);
    expect_success(ashlar_realloc(ashlar_malloc(10), 300000), 16, 300000);
    expect_success(ashlar_reallocarray(NULL, 10, 10), 16, 100);
    expect_success(ashlar_memalign(64, 10), 64, 10);
    expect_success(ashlar_aligned_alloc(4096, 10), 4096, 10);
    expect_success(ashlar_valloc(10), PAGE, 10);
    expect_success(ashlar_pvalloc(PAGE + 1), PAGE, 2 * PAGE);
    ashlar_free(NULL);
    ashlar_free_sized(ashlar_malloc(100), 100);
    ashlar_free_aligned_sized(ashlar_aligned_alloc(256, 100), 256, 100);
    assert_int_equal(errno, UNTOUCHED);
}

static void more_than_ptrdiff_max_is_out_of_memory(void **state)
{
    (void)state;
    const size_t most = PTRDIFF_MAX;
    void *block = ashlar_malloc(10);
    expect_failure(ashlar_malloc(most + 1), ENOMEM);
    expect_failure(ashlar_malloc(SIZE_MAX), ENOMEM);
    expect_failure(ashlar_calloc(1, most + 1), ENOMEM);
    expect_failure(ashlar_realloc(block, most + 1), ENOMEM);
    expect_failure(ashlar_memalign(16, most + 1), ENOMEM);
    expect_failure(ashlar_aligned_alloc(4096, most), ENOMEM);
    expect_failure(ashlar_valloc(SIZE_MAX), ENOMEM);
    expect_failure(ashlar_pvalloc(SIZE_MAX), ENOMEM);
    ashlar_free(block);
}

static void products_that_overflow_are_out_of_memory(void **state)
{
    (void)state;
    char *block = ashlar_malloc(100);
    memset(block, 3, 100);
    const size_t half = SIZE_MAX / 2 + 1;
    expect_failure(ashlar_calloc(half, 2), ENOMEM);
    expect_failure(ashlar_calloc(2, half), ENOMEM);
    expect_failure(ashlar_calloc(SIZE_MAX, SIZE_MAX), ENOMEM);
    expect_failure(ashlar_reallocarray(block, half, 2), ENOMEM);
    expect_failure(ashlar_reallocarray(NULL, 2, half), ENOMEM);
    assert_int_equal(block[99], 3);
    block = ashlar_reallocarray(block, 50, 40);
    assert_int_equal(block[99], 3);
    ashlar_free(block);
}

static bool try_to_malloc(void *context)
{
    void **block = context;
    errno = UNTOUCHED;
    *block = ashlar_malloc(3000000);
    return *block != NULL;
}

static void check_errno(void *context, bool has_succeeded)
{
    void **block = context;
    assert_int_equal(errno, has_succeeded ? UNTOUCHED : ENOMEM);
    ashlar_free(*block);
    (void)ashlar_purge();
}

static void errno_is_enomem_exactly_when_there_is_no_block(void **state)
{
    (void)state;
    void *block;
    assert_true(fake_os_fail_each(FAKE_OS_REST_FAILS, try_to_malloc, check_errno, &block) >= 1);
    fake_os_fail_each(FAKE_OS_ONE_FAILS, try_to_malloc, check_errno, &block);
}

static void realloc_to_nothing_frees(void **state)
{
    (void)state;
    assert_null(ashlar_realloc(ashlar_malloc(100), 0));
    assert_null(ashlar_realloc(ashlar_malloc(1000000), 0));
    assert_null(ashlar_reallocarray(ashlar_malloc(100), 0, 8));
    assert_int_equal(errno, UNTOUCHED);
    expect_success(ashlar_realloc(NULL, 0), 16, 0);
}

static void alignments_are_rounded_or_refused_as_each_call_says(void **state)
{
    (void)state;
    const size_t highest = (size_t)1 << 63;
    void *block = &block;
    void *many[8]; /* a single one may be aligned by chance */
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(many); i++)
        many[i] = ashlar_memalign(24, 10);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(many); i++)
        expect_success(many[i], 32, 10);
    expect_success(ashlar_memalign(0, 10), 16, 10);
    expect_success(ashlar_memalign(65537, 10), 131072, 10);
    expect_failure(ashlar_memalign(highest + 1, 10), EINVAL);
    expect_failure(ashlar_memalign(highest, 10), ENOMEM);
    expect_failure(ashlar_memalign(highest / 2 + 1, 10), ENOMEM);
    expect_success(ashlar_aligned_alloc(1, 10), 16, 10);
    expect_failure(ashlar_aligned_alloc(24, 48), EINVAL);
    expect_failure(ashlar_aligned_alloc(0, 10), EINVAL);
    expect_failure(ashlar_aligned_alloc(highest, 10), ENOMEM);
    static const size_t wrong[] = {0, 1, 2, 4, 12, 24, SIZE_MAX};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(wrong); i++)
        assert_int_equal(ashlar_posix_memalign(&block, wrong[i], 10), EINVAL);
    assert_int_equal(ashlar_posix_memalign(&block, 64, SIZE_MAX), ENOMEM);
    assert_ptr_equal(block, &block);
    assert_int_equal(errno, UNTOUCHED);
    assert_int_equal(ashlar_posix_memalign(&block, sizeof(void *), 10), 0);
    expect_success(block, 16, 10);
    assert_int_equal(ashlar_posix_memalign(&block, 65536, 10), 0);
    expect_success(block, 65536, 10);
}

static void trimming_says_whether_there_was_something(void **state)
{
    (void)state;
    (void)ashlar_purge();
    assert_int_equal(ashlar_malloc_trim(0), 0);
    char *block = ashlar_malloc(1000000);
    memset(block, 1, 1000000);
    ashlar_free(block);
    assert_int_equal(ashlar_malloc_trim(500000), 1);
    assert_int_equal(ashlar_purge(), 0);
}

static void mallopt_is_one_when_what_was_asked_for_holds(void **state)
{
    (void)state;
    static const struct {
        int param;
        int value;
        int result;
        enum ashlar_option_id id;
        int64_t option;
    } rows[] = {
        {M_TRIM_THRESHOLD, 65536, 1, ASHLAR_OPTION_cache_max, 65536},
        {M_TRIM_THRESHOLD, 0, 1, ASHLAR_OPTION_cache_max, 0},
        {M_TRIM_THRESHOLD, -1, 1, ASHLAR_OPTION_decay_ms, -1},
        {M_MMAP_THRESHOLD, 4096, 1, ASHLAR_OPTION_large_threshold, 4096},
        {M_MMAP_THRESHOLD, 4095, 0, ASHLAR_OPTION_large_threshold, 4096},
        {M_MMAP_THRESHOLD, 131073, 0, ASHLAR_OPTION_large_threshold, 4096},
        {-5 /* M_CHECK_ACTION */, 0, 1, ASHLAR_OPTION_misuse, ASHLAR_MISUSE_IGNORE},
        {-5, 1, 1, ASHLAR_OPTION_misuse, ASHLAR_MISUSE_REPORT},
        {-5, 2, 1, ASHLAR_OPTION_misuse, ASHLAR_MISUSE_ABORT},
        {-5, 3, 1, ASHLAR_OPTION_misuse, ASHLAR_MISUSE_ABORT},
        {M_PERTURB, 0, 1, ASHLAR_OPTION_junk, ASHLAR_JUNK_OFF},
        {M_PERTURB, 0x5a, 0, ASHLAR_OPTION_junk, ASHLAR_JUNK_OFF},
        {M_ARENA_MAX, -1, 0, ASHLAR_OPTION_arenas, 0},
        {M_ARENA_MAX, 0, 1, ASHLAR_OPTION_arenas, 0},
        {M_ARENA_MAX, 1000, 1, ASHLAR_OPTION_arenas, 0},
        {M_TOP_PAD, 1, 0, ASHLAR_OPTION_arenas, 0},
        {M_MMAP_MAX, 0, 0, ASHLAR_OPTION_arenas, 0},
        {4711, 1, 0, ASHLAR_OPTION_arenas, 0},
    };
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(rows); i++) {
        assert_int_equal(ashlar_mallopt(rows[i].param, rows[i].value), rows[i].result);
        assert_int_equal(ashlar_option_get(rows[i].id), rows[i].option);
    }
    assert_true(ashlar_option_set(ASHLAR_OPTION_arenas, 8));
    assert_int_equal(ashlar_mallopt(M_ARENA_MAX, 9), 1);
    assert_int_equal(ashlar_opt.arenas, 8);
    assert_int_equal(ashlar_mallopt(M_ARENA_MAX, 7), 1);
    assert_int_equal(ashlar_opt.arenas, 7);
}

static void mallinfo2_counts_blocks_and_adds_up(void **state)
{
    (void)state;
    struct ashlar_mallinfo2 before = ashlar_mallinfo2();
    void *small = ashlar_malloc(100);
    void *large = ashlar_malloc(1000000);
    struct ashlar_mallinfo2 with = ashlar_mallinfo2();
    assert_int_equal(with.uordblks - before.uordblks, ashlar_malloc_usable_size(small));
    assert_int_equal(with.hblkhd - before.hblkhd, ashlar_malloc_usable_size(large));
    assert_int_equal(with.hblks - before.hblks, 1);
    assert_int_equal(with.arena, with.uordblks + with.fordblks);
    assert_true(with.keepcost <= with.fordblks);
    assert_int_equal(with.ordblks | with.smblks | with.usmblks | with.fsmblks, 0);
    memset(large, 1, 1000000);
    ashlar_free(small);
    ashlar_free(large);
    assert_true(ashlar_mallinfo2().keepcost >= 1000000);
    (void)ashlar_purge();
    assert_int_equal(ashlar_mallinfo2().keepcost, 0);
}

static size_t length_of(int fd)
{
    off_t len = lseek(fd, 0, SEEK_END);
    return (size_t)len;
}

static void statistics_go_to_a_descriptor_in_three_formats(void **state)
{
    (void)state;
    static const char *const formats[] = {NULL, "text", "json", "xml"};
    FILE *file = tmpfile();
    assert_non_null(file);
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(formats); i++) {
        size_t had = length_of(fileno(file));
        assert_int_equal(ashlar_stats_print(formats[i], fileno(file)), 0);
        assert_true(length_of(fileno(file)) > had + 500);
    }
    assert_int_equal(errno, UNTOUCHED);
    fclose(file);
}

static void statistics_that_cannot_be_written_say_why(void **state)
{
    (void)state;
    int full = open("/dev/full", O_WRONLY);
    static const char *const wrong[] = {"", "TEXT", "json ", "yaml"};
    for (size_t i = 0; i < ASHLAR_ARRAY_LEN(wrong); i++) {
        errno = 0;
        assert_int_equal(ashlar_stats_print(wrong[i], full), -1);
        assert_int_equal(errno, EINVAL);
    }
    assert_int_equal(ashlar_stats_print("text", -1), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(ashlar_stats_print("text", full), -1);
    assert_int_equal(errno, ENOSPC);
    close(full);
    assert_int_equal(ashlar_stats_print("json", full), -1);
    assert_int_equal(errno, EBADF);
}

static void malloc_info_writes_xml_to_a_stream(void **state)
{
    (void)state;
    char start[64] = "";
    FILE *file = tmpfile();
    assert_int_equal(ashlar_malloc_info(0, file), 0);
    rewind(file);
    assert_non_null(fgets(start, sizeof start, file));
    assert_int_equal(strncmp(start, "<malloc version=\"1\"", 19), 0);
    fclose(file);
}

static void malloc_info_that_cannot_be_written_says_why(void **state)
{
    (void)state;
    FILE *full = fopen("/dev/full", "w");
    setvbuf(full, NULL, _IONBF, 0);
    errno = 0;
    assert_int_equal(ashlar_malloc_info(1, full), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ashlar_malloc_info(0, full), -1);
    assert_int_equal(errno, ENOSPC);
    fclose(full);
}

static void print_statistics(void *context)
{
    (void)context;
    ashlar_malloc_stats();
}

static void malloc_stats_writes_text_to_standard_error(void **state)
{
    (void)state;
    struct test_outcome outcome = test_in_child(print_statistics, NULL);
    assert_true(test_went_well(&outcome));
    assert_int_equal(strncmp(outcome.text, "Ashlar " ASHLAR_VERSION "\n", 13), 0);
}

static void the_version_is_that_of_the_header(void **state)
{
    (void)state;
    char composed[32];
    snprintf(composed, sizeof composed, "%d.%d.%d", ASHLAR_VERSION_MAJOR, ASHLAR_VERSION_MINOR,
             ASHLAR_VERSION_PATCH);
    assert_string_equal(ashlar_version(), ASHLAR_VERSION);
    assert_string_equal(ashlar_version(), composed);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(success_leaves_errno_alone),
        CASE(more_than_ptrdiff_max_is_out_of_memory),
        CASE(products_that_overflow_are_out_of_memory),
        CASE(errno_is_enomem_exactly_when_there_is_no_block),
        CASE(realloc_to_nothing_frees),
        CASE(alignments_are_rounded_or_refused_as_each_call_says),
        CASE(trimming_says_whether_there_was_something),
        CASE(mallopt_is_one_when_what_was_asked_for_holds),
        CASE(mallinfo2_counts_blocks_and_adds_up),
        CASE(statistics_go_to_a_descriptor_in_three_formats),
        CASE(statistics_that_cannot_be_written_say_why),
        CASE(malloc_info_writes_xml_to_a_stream),
        CASE(malloc_info_that_cannot_be_written_says_why),
        CASE(malloc_stats_writes_text_to_standard_error),
        CASE(the_version_is_that_of_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
