/*
 * options.c - what the user may choose, parsed before main
 *
 * Purpose     Turns "name:value,name:value" into ashlar_opt by the table of rows.
 * Invariants  struct ashlar_options is an array of int64_t in the order of options.def; every
 *             value is inside its row's range. No code below knows any option by name. (There is
 *             no rule between two options yet; when one comes it lives in one function here that
 *             says aloud what it changes.)
 * Locking     Values are stored as single words, relaxed.
 * Layer       conf/. Uses base.
 */
#include "conf/options.h"

#include <string.h>

#include "base/check.h"

#define ENVIRONMENT_NAME "ASHLAR_CONF"

/* A warning quotes at most so many bytes of a bad part. */
#define QUOTE_MAX_BYTES 60u

struct ashlar_options ashlar_opt = {
#define OPTION(name, kind, default_, min, max, unit, help) .name = (default_),
#include "conf/options.def"
#undef OPTION
};

/* The words of each ENUM option; SIZE and INT rows have none. */
#define WORD_TEXT(option, word, text) text,
#define DEFINE_WORDS_SIZE(name)
#define DEFINE_WORDS_INT(name)
#define DEFINE_WORDS_ENUM(name) \
    static const char *const words_##name[] = {ASHLAR_ENUM_##name(WORD_TEXT)};
#define OPTION(name, kind, default_, min, max, unit, help) DEFINE_WORDS_##kind(name)
#include "conf/options.def"
#undef OPTION

#define WORDS_SIZE(name) NULL
#define WORDS_INT(name) NULL
#define WORDS_ENUM(name) words_##name
#define HAS_WORDS_SIZE(name, min, max) 1
#define HAS_WORDS_INT(name, min, max) 1
#define HAS_WORDS_ENUM(name, min, max) ((min) == 0 && (max) + 1 == ASHLAR_ARRAY_LEN(words_##name))

#define OPTION(name, kind, default_, min, max, unit, help)                                        \
    _Static_assert((min) <= (default_) && (default_) <= (max),                                    \
                   "default of option " #name " is out of its range");                            \
    _Static_assert(HAS_WORDS_##kind(name, min, max), "option " #name ": range and words differ"); \
    _Static_assert(offsetof(struct ashlar_options, name) ==                                       \
                       ASHLAR_OPTION_##name * sizeof(int64_t),                                    \
                   "option " #name " is not where its number says");
#include "conf/options.def"
#undef OPTION

static const struct ashlar_option_row rows[ASHLAR_OPTION_COUNT] = {
#define OPTION(name, kind, default_, min, max, unit, help) \
    {#name, ASHLAR_OPTION_##kind, default_, min, max, unit, help, WORDS_##kind(name)},
#include "conf/options.def"
#undef OPTION
};

/* A piece of the list: not NUL-terminated. */
struct text {
    const char *start;
    size_t len;
};

/* A piece of the list as it may be shown: printable ASCII, cut with dots when it is long. Each byte
   may become "\xhh". */
struct quote {
    char text[QUOTE_MAX_BYTES * 4 + sizeof "..."];
};

const struct ashlar_option_row *ashlar_option_row(enum ashlar_option_id id)
{
    return &rows[id];
}

static int64_t *value_of(enum ashlar_option_id id)
{
    return (int64_t *)(void *)&ashlar_opt + id;
}

bool ashlar_option_set(enum ashlar_option_id id, int64_t value)
{
    if (value < rows[id].min || value > rows[id].max)
        return false;
    __atomic_store_n(value_of(id), value, __ATOMIC_RELAXED);
    return true;
}

int64_t ashlar_option_get(enum ashlar_option_id id)
{
    return __atomic_load_n(value_of(id), __ATOMIC_RELAXED);
}

static void emit_size(struct ashlar_emit *emit, int64_t bytes)
{
    static const char suffixes[] = "kmg";
    size_t power = 0;

    while (suffixes[power] != '\0' && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        power++;
    }
    ashlar_emit_format(emit, "%lld", (long long)bytes);
    if (power > 0)
        ashlar_emit_format(emit, "%c", suffixes[power - 1]);
}

void ashlar_option_emit_value(struct ashlar_emit *emit, enum ashlar_option_id id, int64_t value)
{
    const struct ashlar_option_row *row = &rows[id];

    if (row->kind == ASHLAR_OPTION_ENUM && value >= row->min && value <= row->max)
        ashlar_emit_format(emit, "%s", row->words[value]);
    else if (row->kind == ASHLAR_OPTION_SIZE)
        emit_size(emit, value);
    else
        ashlar_emit_format(emit, "%lld", (long long)value);
}

const char *ashlar_options_find_env(char *const *environment)
{
    static const char wanted[] = ENVIRONMENT_NAME "=";
    const size_t len = sizeof wanted - 1;

    if (environment == NULL)
        return NULL;
    for (; *environment != NULL; environment++)
        if (strncmp(*environment, wanted, len) == 0)
            return *environment + len;
    return NULL;
}

static bool text_equals(struct text text, const char *word)
{
    return strlen(word) == text.len && memcmp(text.start, word, text.len) == 0;
}

static struct quote quote_of(struct text text)
{
    struct quote quote;
    size_t shown = ashlar_min_size(text.len, QUOTE_MAX_BYTES);
    char *out = quote.text;

    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)text.start[i];
        if (c >= ' ' && c <= '~') {
            *out++ = (char)c;
        } else {
            *out++ = '\\';
            *out++ = 'x';
            *out++ = "0123456789abcdef"[c >> 4];
            *out++ = "0123456789abcdef"[c & 15];
        }
    }
    strcpy(out, shown < text.len ? "..." : "");
    return quote;
}

static void warn_about(struct text text, const char *why)
{
    struct quote quote = quote_of(text);

    ashlar_warn(ENVIRONMENT_NAME ": %s in '%s'", why, quote.text);
}

/* Says what would have been right. */
static void warn_about_value(struct text text, enum ashlar_option_id id)
{
    const struct ashlar_option_row *row = &rows[id];
    struct quote quote = quote_of(text);
    struct ashlar_emit expected;

    ashlar_emit_begin(&expected, -1);
    if (row->kind == ASHLAR_OPTION_ENUM) {
        for (int64_t i = row->min; i <= row->max; i++)
            ashlar_emit_format(&expected, "%s%s", i == row->min ? "" : ", ", row->words[i]);
    } else {
        ashlar_option_emit_value(&expected, id, row->min);
        ashlar_emit_format(&expected, " to ");
        ashlar_option_emit_value(&expected, id, row->max);
    }
    expected.buf[ashlar_min_size(expected.used, sizeof expected.buf - 1)] = '\0';
    ashlar_warn(ENVIRONMENT_NAME ": bad value in '%s' (%s: %s)", quote.text, row->name,
                expected.buf);
}

/* Reads digits off the front of *text. False when there is none or the number overflows. */
static bool take_digits(struct text *text, uint64_t *value)
{
    bool has_digit = false;
    uint64_t result = 0;

    for (; text->len > 0 && *text->start >= '0' && *text->start <= '9';
         text->start++, text->len--) {
        has_digit = true;
        if (__builtin_mul_overflow(result, 10, &result) ||
            __builtin_add_overflow(result, (uint64_t)(*text->start - '0'), &result))
            return false;
    }
    *value = result;
    return has_digit;
}

static bool parse_int(struct text text, int64_t *value)
{
    bool is_negative = text.len > 0 && *text.start == '-';
    uint64_t magnitude;

    if (is_negative) {
        text.start++;
        text.len--;
    }
    if (!take_digits(&text, &magnitude) || text.len != 0 || magnitude > INT64_MAX)
        return false;
    *value = is_negative ? -(int64_t)magnitude : (int64_t)magnitude;
    return true;
}

/* Bits that a suffix shifts a size by, or -1 for none of ours. */
static int shift_of_suffix(char suffix)
{
    switch (suffix) {
    case 'k':
    case 'K':
        return 10;
    case 'm':
    case 'M':
        return 20;
    case 'g':
    case 'G':
        return 30;
    default:
        return -1;
    }
}

static bool parse_size(struct text text, int64_t *value)
{
    uint64_t number;
    int shift = 0;

    if (!take_digits(&text, &number))
        return false;
    if (text.len > 1)
        return false;
    if (text.len == 1)
        shift = shift_of_suffix(*text.start);
    if (shift < 0 || number > (uint64_t)INT64_MAX >> shift)
        return false;
    *value = (int64_t)(number << shift);
    return true;
}

static bool parse_word(struct text text, const struct ashlar_option_row *row, int64_t *value)
{
    for (int64_t i = row->min; i <= row->max; i++) {
        if (text_equals(text, row->words[i])) {
            *value = i;
            return true;
        }
    }
    return false;
}

static bool parse_value(struct text text, const struct ashlar_option_row *row, int64_t *value)
{
    switch (row->kind) {
    case ASHLAR_OPTION_SIZE:
        return parse_size(text, value);
    case ASHLAR_OPTION_INT:
        return parse_int(text, value);
    case ASHLAR_OPTION_ENUM:
    default:
        return parse_word(text, row, value);
    }
}

/* The option called `name`, or ASHLAR_OPTION_COUNT. */
static enum ashlar_option_id find_option(struct text name)
{
    unsigned id = 0;

    while (id < ASHLAR_OPTION_COUNT && !text_equals(name, rows[id].name))
        id++;
    return (enum ashlar_option_id)id;
}

static void parse_part(struct text part)
{
    const char *colon = memchr(part.start, ':', part.len);
    if (colon == NULL) {
        warn_about(part, "no ':'");
        return;
    }
    struct text name = {part.start, (size_t)(colon - part.start)};
    struct text value_text = {colon + 1, part.len - name.len - 1};

    enum ashlar_option_id id = find_option(name);
    if (id == ASHLAR_OPTION_COUNT) {
        warn_about(part, "unknown option");
        return;
    }
    int64_t value;
    if (!parse_value(value_text, &rows[id], &value) || !ashlar_option_set(id, value))
        warn_about_value(part, id);
}

void ashlar_options_parse(const char *list)
{
    while (list != NULL && *list != '\0') {
        struct text part = {list, strcspn(list, ",")};
        if (part.len > 0)
            parse_part(part);
        list += part.len;
        if (*list == ',')
            list++;
    }
}
