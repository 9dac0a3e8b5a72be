/*
 * test_emit.c - formatted text without malloc, compared with what printf makes of it
 */
#include "unit/testing.h"

#include <fcntl.h>
#include <limits.h>

#include "base/emit.h"

static const char *text_of(struct ashlar_emit *emit)
{
    assert_true(emit->used < sizeof emit->buf);
    emit->buf[emit->used] = '\0';
    return emit->buf;
}

#define EXPECT_AS_PRINTF(...)                               \
    do {                                                    \
        struct ashlar_emit emit_;                           \
        char expected_[600];                                \
        ashlar_emit_begin(&emit_, -1);                      \
        ashlar_emit_format(&emit_, __VA_ARGS__);            \
        snprintf(expected_, sizeof expected_, __VA_ARGS__); \
        assert_string_equal(text_of(&emit_), expected_);    \
    } while (0)

static void numbers_read_as_printf_writes_them(void **state)
{
    (void)state;
    EXPECT_AS_PRINTF("%d %i %d", 0, -1, INT_MIN);
    EXPECT_AS_PRINTF("%d %u %x", INT_MAX, UINT_MAX, UINT_MAX);
    EXPECT_AS_PRINTF("%ld %lu %lx", LONG_MIN, ULONG_MAX, ULONG_MAX);
    EXPECT_AS_PRINTF("%lld %llu %llx", LLONG_MIN, ULLONG_MAX, ULLONG_MAX);
    EXPECT_AS_PRINTF("%zd %zu %zx", (ssize_t)-5, SIZE_MAX, SIZE_MAX);
    EXPECT_AS_PRINTF("%x %u", 0u, 0u);
    int here;
    EXPECT_AS_PRINTF("%p", (void *)&here);
}

static void widths_and_flags_read_as_printf_writes_them(void **state)
{
    (void)state;
    EXPECT_AS_PRINTF("[%5d][%-5d][%05d]", 42, 42, 42);
    EXPECT_AS_PRINTF("[%5d][%-5d][%05d]", -42, -42, -42);
    EXPECT_AS_PRINTF("[%2d][%-2d][%02d]", 12345, 12345, 12345);
    EXPECT_AS_PRINTF("[%12zu][%-22s][%s]", (size_t)7, "left", "as is");
    EXPECT_AS_PRINTF("[%8s][%-8s][%3s]", "right", "left", "longer");
    EXPECT_AS_PRINTF("[%3c][%-3c][%c]", 'a', 'b', 'c');
    EXPECT_AS_PRINTF("[%016llx]", 0xabcdefULL);
    EXPECT_AS_PRINTF("[%250d]", 1);
}

static void strings_may_be_missing_and_percents_stay(void **state)
{
    (void)state;
    const char *volatile none = NULL;
    struct ashlar_emit emit;
    ashlar_emit_begin(&emit, -1);
    ashlar_emit_format(&emit, "100%% %s %s", none, "");
    assert_string_equal(text_of(&emit), "100% (null) ");
}

static void a_conversion_it_does_not_know_is_written_out(void **state)
{
    (void)state;
    struct ashlar_emit emit;
    const char *volatile strange = "%q|%-7k|%l";
    ashlar_emit_begin(&emit, -1);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
    ashlar_emit_format(&emit, strange);
#pragma GCC diagnostic pop
    assert_string_equal(text_of(&emit), "%q|%-7k|%l");
}

static void in_memory_a_text_too_long_is_cut(void **state)
{
    (void)state;
    struct ashlar_emit emit;
    ashlar_emit_begin(&emit, -1);
    for (int i = 0; i < 300; i++)
        ashlar_emit_format(&emit, "%s", "0123456789");
    assert_int_equal(emit.used, sizeof emit.buf);
    for (size_t i = 0; i < sizeof emit.buf; i++)
        assert_int_equal(emit.buf[i], '0' + (int)(i % 10));
    assert_int_equal(ashlar_emit_flush(&emit), 0);
}

/* Text of any length through a pipe arrives whole and in order. */
static void nothing_is_lost_on_the_way_to_a_descriptor(void **state)
{
    (void)state;
    int ends[2];
    static char seen[40000];
    struct ashlar_emit emit;
    assert_int_equal(pipe(ends), 0);
    ashlar_emit_begin(&emit, ends[1]);
    for (int i = 0; i < 5000; i++)
        ashlar_emit_format(&emit, "%06d\n", i);
    assert_int_equal(ashlar_emit_flush(&emit), 0);
    close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while ((got = read(ends[0], seen + used, sizeof seen - used)) > 0)
        used += (size_t)got;
    close(ends[0]);
    assert_int_equal(used, 5000 * 7);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(atoi(seen + i * 7), i);
}

static void the_first_write_error_is_kept_and_errno_is_not(void **state)
{
    (void)state;
    int fd = open("/dev/full", O_WRONLY);
    if (fd < 0)
        skip();
    struct ashlar_emit emit;
    ashlar_emit_begin(&emit, fd);
    errno = EDOM;
    for (int i = 0; i < 1000; i++)
        ashlar_emit_format(&emit, "text ");
    assert_int_equal(emit.error, ENOSPC);
    close(fd);
    ashlar_emit_format(&emit, "more");
    assert_int_equal(ashlar_emit_flush(&emit), ENOSPC);
    assert_int_equal(errno, EDOM);
}

struct sink {
    char text[8192];
    size_t used;
    unsigned calls;
};

static void take(void *context, const char *text, size_t len)
{
    struct sink *sink = context;
    assert_true(len > 0 && sink->used + len < sizeof sink->text);
    memcpy(sink->text + sink->used, text, len);
    sink->used += len;
    sink->calls++;
}

static void a_sink_gets_the_text_instead(void **state)
{
    (void)state;
    static struct sink sink;
    struct ashlar_emit emit;
    ashlar_emit_begin_sink(&emit, take, &sink);
    for (int i = 0; i < 1000; i++)
        ashlar_emit_format(&emit, "%04d", i);
    assert_int_equal(ashlar_emit_flush(&emit), 0);
    assert_int_equal(sink.used, 4000);
    assert_true(sink.calls >= 4000 / ASHLAR_EMIT_BUFFER_BYTES);
    for (int i = 0; i < 1000; i++) {
        char expected[12];
        snprintf(expected, sizeof expected, "%04d", i);
        assert_memory_equal(sink.text + (size_t)i * 4, expected, 4);
    }
    unsigned calls = sink.calls;
    ashlar_emit_flush(&emit);
    assert_int_equal(sink.calls, calls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_read_as_printf_writes_them),
        cmocka_unit_test(widths_and_flags_read_as_printf_writes_them),
        cmocka_unit_test(strings_may_be_missing_and_percents_stay),
        cmocka_unit_test(a_conversion_it_does_not_know_is_written_out),
        cmocka_unit_test(in_memory_a_text_too_long_is_cut),
        cmocka_unit_test(nothing_is_lost_on_the_way_to_a_descriptor),
        cmocka_unit_test(the_first_write_error_is_kept_and_errno_is_not),
        cmocka_unit_test(a_sink_gets_the_text_instead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
