/*
 * emit.c - formatted text to a file descriptor without malloc
 *
 * Purpose     The few conversions that messages and reports need.
 * Invariants  used <= sizeof buf. After an error the emitter swallows its text: one errno value
 *             is kept, and a report to a closed pipe does not try again for every line.
 * Locking     None.
 * Layer       base/. Calls write(2) through syscall(2): the write of libc is a cancellation
 *             point, and a warning inside malloc must not end the thread.
 */
#define _GNU_SOURCE
#include "base/emit.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Longest number: 20 digits of UINT64_MAX. */
#define DIGITS_MAX 20

/* Wider fields than this are a mistake of ours; the rest is not padded. */
#define WIDTH_MAX 256u

/* One conversion, as parsed from "%[-0][width][l|ll|z]c". */
struct conversion {
    bool is_left;       /* flag - */
    bool has_zero_fill; /* flag 0 */
    unsigned width;
    enum { LEN_INT, LEN_LONG, LEN_LONG_LONG, LEN_SIZE } length;
    char kind;
};

/* The signed and the unsigned type of each length are read by the same va_arg code; this holds
   whichever came out. */
struct number {
    uint64_t magnitude;
    bool is_negative;
};

void ashlar_emit_begin(struct ashlar_emit *emit, int fd)
{
    emit->fd = fd;
    emit->error = 0;
    emit->used = 0;
    emit->sink = NULL;
    emit->context = NULL;
}

void ashlar_emit_begin_sink(struct ashlar_emit *emit,
                            void (*sink)(void *context, const char *text, size_t len),
                            void *context)
{
    ashlar_emit_begin(emit, -1);
    emit->sink = sink;
    emit->context = context;
}

static void write_all(struct ashlar_emit *emit, const char *text, size_t len)
{
    while (len > 0) {
        long written = syscall(SYS_write, emit->fd, text, len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0) {
            emit->error = written < 0 ? errno : EIO;
            return;
        }
        text += written;
        len -= (size_t)written;
    }
}

int ashlar_emit_flush(struct ashlar_emit *emit)
{
    int saved_errno = errno;

    if (emit->sink != NULL) {
        if (emit->used > 0)
            emit->sink(emit->context, emit->buf, emit->used);
        emit->used = 0;
    } else if (emit->fd >= 0) {
        if (emit->error == 0)
            write_all(emit, emit->buf, emit->used);
        emit->used = 0;
    }
    errno = saved_errno;
    return emit->error;
}

void ashlar_emit_bytes(struct ashlar_emit *emit, const char *text, size_t len)
{
    while (len > 0) {
        size_t room = sizeof emit->buf - emit->used;
        if (room == 0) {
            ashlar_emit_flush(emit);
            room = sizeof emit->buf - emit->used;
            if (room == 0)
                return;
        }
        size_t part = ashlar_min_size(len, room);
        memcpy(emit->buf + emit->used, text, part);
        emit->used += part;
        text += part;
        len -= part;
    }
}

static void emit_repeated(struct ashlar_emit *emit, char c, size_t count)
{
    while (count-- > 0)
        ashlar_emit_bytes(emit, &c, 1);
}

static void emit_padded(struct ashlar_emit *emit, const struct conversion *conversion,
                        const char *text, size_t len)
{
    size_t pad = conversion->width > len ? conversion->width - len : 0;

    if (!conversion->is_left)
        emit_repeated(emit, ' ', pad);
    ashlar_emit_bytes(emit, text, len);
    if (conversion->is_left)
        emit_repeated(emit, ' ', pad);
}

/* Sign or 0x, then zeros up to the width when asked for, then digits. */
static void emit_number(struct ashlar_emit *emit, const struct conversion *conversion,
                        struct number number, const char *prefix, unsigned base)
{
    char text[WIDTH_MAX + DIGITS_MAX + 2];
    char *end = text + sizeof text;
    char *start = end;
    size_t prefix_len = strlen(prefix);
    uint64_t rest = number.magnitude;

    do {
        *--start = "0123456789abcdef"[rest % base];
        rest /= base;
    } while (rest != 0);
    if (conversion->has_zero_fill && !conversion->is_left)
        while ((size_t)(end - start) + prefix_len < conversion->width)
            *--start = '0';
    start -= prefix_len;
    memcpy(start, prefix, prefix_len);
    emit_padded(emit, conversion, start, (size_t)(end - start));
}

/* Reads "[-0]*[width][l|ll|z]c" after the '%'; gives the first character behind it. */
static const char *parse_conversion(const char *text, struct conversion *conversion)
{
    *conversion = (struct conversion){.length = LEN_INT};
    for (; *text == '-' || *text == '0'; text++) {
        conversion->is_left |= *text == '-';
        conversion->has_zero_fill |= *text == '0';
    }
    for (; *text >= '0' && *text <= '9'; text++)
        if (conversion->width < WIDTH_MAX)
            conversion->width = conversion->width * 10 + (unsigned)(*text - '0');
    if (conversion->width > WIDTH_MAX)
        conversion->width = WIDTH_MAX;
    if (*text == 'z') {
        conversion->length = LEN_SIZE;
        text++;
    } else if (*text == 'l') {
        conversion->length = LEN_LONG;
        text++;
        if (*text == 'l') {
            conversion->length = LEN_LONG_LONG;
            text++;
        }
    }
    conversion->kind = *text;
    return *text == '\0' ? text : text + 1;
}

static struct number number_of_signed(int64_t value)
{
    struct number number = {(uint64_t)value, value < 0};

    if (number.is_negative)
        number.magnitude = 0 - number.magnitude;
    return number;
}

static struct number number_of_unsigned(uint64_t value)
{
    return (struct number){value, false};
}

/* va_list may be an array type, which decays as a parameter: hence the pointer to a struct. */
struct arguments {
    va_list list;
};

static struct number take_signed(struct arguments *args, const struct conversion *conversion)
{
    switch (conversion->length) {
    case LEN_LONG:
        return number_of_signed(va_arg(args->list, long));
    case LEN_LONG_LONG:
        return number_of_signed(va_arg(args->list, long long));
    case LEN_SIZE:
        return number_of_signed(va_arg(args->list, ptrdiff_t));
    case LEN_INT:
    default:
        return number_of_signed(va_arg(args->list, int));
    }
}

static struct number take_unsigned(struct arguments *args, const struct conversion *conversion)
{
    switch (conversion->length) {
    case LEN_LONG:
        return number_of_unsigned(va_arg(args->list, unsigned long));
    case LEN_LONG_LONG:
        return number_of_unsigned(va_arg(args->list, unsigned long long));
    case LEN_SIZE:
        return number_of_unsigned(va_arg(args->list, size_t));
    case LEN_INT:
    default:
        return number_of_unsigned(va_arg(args->list, unsigned));
    }
}

static void emit_string(struct ashlar_emit *emit, const struct conversion *conversion,
                        const char *text)
{
    if (text == NULL)
        text = "(null)";
    emit_padded(emit, conversion, text, strlen(text));
}

static void emit_char(struct ashlar_emit *emit, const struct conversion *conversion, char c)
{
    emit_padded(emit, conversion, &c, 1);
}

/* False when the conversion is none of ours; no argument has been taken then. */
static bool emit_conversion(struct ashlar_emit *emit, const struct conversion *conversion,
                            struct arguments *args)
{
    struct number number;

    switch (conversion->kind) {
    case 's':
        emit_string(emit, conversion, va_arg(args->list, const char *));
        return true;
    case 'c':
        emit_char(emit, conversion, (char)va_arg(args->list, int));
        return true;
    case 'd':
    case 'i':
        number = take_signed(args, conversion);
        emit_number(emit, conversion, number, number.is_negative ? "-" : "", 10);
        return true;
    case 'u':
        emit_number(emit, conversion, take_unsigned(args, conversion), "", 10);
        return true;
    case 'x':
        emit_number(emit, conversion, take_unsigned(args, conversion), "", 16);
        return true;
    case 'p':
        number = number_of_unsigned((uintptr_t)va_arg(args->list, const void *));
        emit_number(emit, conversion, number, "0x", 16);
        return true;
    case '%':
        ashlar_emit_bytes(emit, "%", 1);
        return true;
    default:
        return false;
    }
}

void ashlar_emit_vformat(struct ashlar_emit *emit, const char *format, va_list list)
{
    struct arguments args;

    va_copy(args.list, list);
    while (*format != '\0') {
        size_t plain = strcspn(format, "%");
        ashlar_emit_bytes(emit, format, plain);
        format += plain;
        if (*format == '\0')
            break;
        struct conversion conversion;
        const char *next = parse_conversion(format + 1, &conversion);
        if (!emit_conversion(emit, &conversion, &args))
            ashlar_emit_bytes(emit, format, (size_t)(next - format));
        format = next;
    }
    va_end(args.list);
}

void ashlar_emit_format(struct ashlar_emit *emit, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    ashlar_emit_vformat(emit, format, args);
    va_end(args);
}
