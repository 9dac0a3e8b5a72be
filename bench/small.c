/*
 * small.c - benchmarks of small blocks
 *
 * Purpose     The patterns that the literature on allocators measures, each designed anew: tight
 *             loops, replacement, batches, skewed sizes; threads that hand blocks over; neighbours
 *             on a cache line; trees; a million blocks; a hash table; algebra; strings; powers of
 *             two; threads that come and go; a change of phase. Every block's contents are checked
 *             before it goes.
 */
#include <stdatomic.h>

#include "common.h"
#include "patterns.h"

/* ---- one thread, fixed patterns ------------------------------------------------------------- */

enum { PAIRS = 2000000 };

static struct pattern_sizes sizes;
static void *slots[REPLACE_SLOTS];

static void tight(struct bench_run *run)
{
    while (bench_next(run))
        pattern_tight(PAIRS);
    bench_operations(run, PAIRS);
}

static void replace(struct bench_run *run)
{
    pattern_sizes_draw(&sizes);
    while (bench_next(run))
        pattern_slots(PAIRS, slots, REPLACE_SLOTS, sizes.replace, sizes.slot);
    bench_operations(run, PAIRS);
}

static void batch(struct bench_run *run)
{
    while (bench_next(run))
        pattern_batch(PAIRS);
    bench_operations(run, PAIRS);
}

static void skewed(struct bench_run *run)
{
    pattern_sizes_draw(&sizes);
    while (bench_next(run))
        pattern_slots(PAIRS, slots, SKEWED_SLOTS, sizes.skewed, sizes.slot);
    bench_operations(run, PAIRS);
}

/* ---- calloc, realloc, medium sizes ---------------------------------------------------------- */

static void callocs(struct bench_run *run)
{
    static unsigned char *live[512];
    uint64_t random = seeded(5);
    while (bench_next(run)) {
        for (unsigned i = 0; i < 1000000; i++) {
            unsigned at = (unsigned)(next_random(&random) % 512);
            size_t size = random_between(&random, 16, 512);
            free(live[at]);
            live[at] = calloc(1, size);
            if (live[at] == NULL || live[at][0] != 0 || live[at][size - 1] != 0)
                lost();
            memset(live[at], 0xff, size);
        }
    }
    bench_operations(run, 1000000);
}

/* A buffer that is appended to a few bytes at a time, as string builders do. */
static void appends(struct bench_run *run)
{
    enum { BUFFERS = 4000, APPENDS = 60 };
    uint64_t random = seeded(6);
    while (bench_next(run)) {
        for (unsigned i = 0; i < BUFFERS; i++) {
            unsigned char *bytes = NULL;
            size_t size = 0;
            for (unsigned j = 0; j < APPENDS; j++) {
                size_t more = random_between(&random, 1, 40);
                bytes = realloc(bytes, size + more);
                if (bytes == NULL || (size > 0 && bytes[size - 1] != (unsigned char)(j + i - 1)))
                    lost();
                size += more;
                bytes[size - 1] = (unsigned char)(j + i);
            }
            free(bytes);
        }
    }
    bench_operations(run, BUFFERS * APPENDS);
}

static void medium(struct bench_run *run)
{
    enum { LIVE = 256, STEPS = 40000 };
    static struct block live[LIVE];
    uint64_t random = seeded(8);
    while (bench_next(run)) {
        for (unsigned i = 0; i < STEPS; i++) {
            struct block *block = &live[next_random(&random) % LIVE];
            if (block->bytes != NULL && !check_pages(block))
                lost();
            free(block->bytes);
            block->size = random_doubling(&random, 13, 4);
            block->stamp = next_random(&random);
            block->bytes = malloc(block->size);
            if (block->bytes == NULL)
                abort();
            write_pages(block, 0);
        }
    }
    bench_operations(run, STEPS);
}

/* ---- server: sessions that move from thread to thread --------------------------------------- */

enum { SERVERS = 4, SESSIONS = 1000, SERVER_STEPS = 100000, SERVER_ROUNDS = 6 };

struct session {
    void *block;
    size_t size;
};

struct server {
    struct session *sessions;
    uint64_t random;
};

static void *serve(void *argument)
{
    struct server *server = argument;
    for (unsigned i = 0; i < SERVER_STEPS; i++) {
        struct session *session = &server->sessions[next_random(&server->random) % SESSIONS];
        if (session->block != NULL)
            small_drop(session->block, session->size);
        session->size = random_between(&server->random, 10, 1000);
        session->block = small_new(session->size);
    }
    return NULL;
}

static void server(struct bench_run *run)
{
    static struct session sessions[SERVERS][SESSIONS];
    while (bench_next(run)) {
        for (unsigned round = 0; round < SERVER_ROUNDS; round++) {
            /* New threads each round: a session is freed by another than the one that began it. */
            struct server servers[SERVERS];
            for (unsigned i = 0; i < SERVERS; i++)
                servers[i] = (struct server){sessions[(i + round) % SERVERS], seeded(round * SERVERS + i + 1)};
            in_threads(SERVERS, serve, servers, sizeof servers[0]);
        }
    }
    bench_operations(run, SERVERS * SERVER_STEPS * SERVER_ROUNDS);
}

/* ---- pipeline: made by some threads, freed by others ---------------------------------------- */

enum { PIPE_PAIRS = 2, PIPE_BATCH = 128, PIPE_BATCHES = 4000, PIPE_DEPTH = 16 };

struct parcel {
    void *blocks[PIPE_BATCH];
    size_t sizes[PIPE_BATCH];
};

struct pipe {
    struct parcel parcels[PIPE_DEPTH];
    unsigned sent, received;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
};

struct pipe_end {
    struct pipe *pipe;
    bool is_sender;
};

static void pipe_send(struct pipe *pipe, uint64_t *random)
{
    struct parcel parcel;
    for (unsigned i = 0; i < PIPE_BATCH; i++) {
        parcel.sizes[i] = random_between(random, 16, 400);
        parcel.blocks[i] = small_new(parcel.sizes[i]);
    }
    pthread_mutex_lock(&pipe->mutex);
    while (pipe->sent - pipe->received == PIPE_DEPTH)
        pthread_cond_wait(&pipe->changed, &pipe->mutex);
    pipe->parcels[pipe->sent++ % PIPE_DEPTH] = parcel;
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->mutex);
}

static void pipe_receive(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->mutex);
    while (pipe->sent == pipe->received)
        pthread_cond_wait(&pipe->changed, &pipe->mutex);
    struct parcel parcel = pipe->parcels[pipe->received++ % PIPE_DEPTH];
    pthread_cond_broadcast(&pipe->changed);
    pthread_mutex_unlock(&pipe->mutex);
    for (unsigned i = 0; i < PIPE_BATCH; i++)
        small_drop(parcel.blocks[i], parcel.sizes[i]);
}

static void *pipe_body(void *argument)
{
    struct pipe_end *end = argument;
    uint64_t random = seeded(31);
    for (unsigned i = 0; i < PIPE_BATCHES; i++) {
        if (end->is_sender)
            pipe_send(end->pipe, &random);
        else
            pipe_receive(end->pipe);
    }
    return NULL;
}

static void pipeline(struct bench_run *run)
{
    static struct pipe pipes[PIPE_PAIRS];
    while (bench_next(run)) {
        struct pipe_end ends[2 * PIPE_PAIRS];
        for (unsigned i = 0; i < PIPE_PAIRS; i++) {
            memset(&pipes[i], 0, sizeof pipes[i]);
            pthread_mutex_init(&pipes[i].mutex, NULL);
            pthread_cond_init(&pipes[i].changed, NULL);
            ends[2 * i] = (struct pipe_end){&pipes[i], true};
            ends[2 * i + 1] = (struct pipe_end){&pipes[i], false};
        }
        in_threads(2 * PIPE_PAIRS, pipe_body, ends, sizeof ends[0]);
    }
    bench_operations(run, PIPE_PAIRS * PIPE_BATCHES * PIPE_BATCH);
}

/* ---- neighbours on a cache line ------------------------------------------------------------- */

enum { NEIGHBOURS = 2, NEIGHBOUR_ROUNDS = 2000, NEIGHBOUR_WRITES = 2000 };

/* Each thread frees a block of the main thread's, then writes much into blocks of its own. */
static void *neighbour(void *argument)
{
    free(*(void **)argument);
    for (unsigned i = 0; i < NEIGHBOUR_ROUNDS; i++) {
        volatile unsigned *word = malloc(8);
        if (word == NULL)
            abort();
        *word = 0;
        for (unsigned j = 0; j < NEIGHBOUR_WRITES; j++)
            *word = *word + 1;
        if (*word != NEIGHBOUR_WRITES)
            lost();
        free((void *)(uintptr_t)word);
    }
    return NULL;
}

static void sharing(struct bench_run *run)
{
    while (bench_next(run)) {
        void *given[NEIGHBOURS];
        for (unsigned i = 0; i < NEIGHBOURS; i++)
            given[i] = malloc(8);
        in_threads(NEIGHBOURS, neighbour, given, sizeof given[0]);
    }
    bench_operations(run, NEIGHBOURS * NEIGHBOUR_ROUNDS);
}

/* ---- trees ---------------------------------------------------------------------------------- */

struct node {
    struct node *left, *right;
    uint64_t key;
};

static struct node *tree_new(unsigned depth, uint64_t key)
{
    struct node *node = malloc(sizeof *node);
    if (node == NULL)
        abort();
    *node = (struct node){NULL, NULL, key};
    if (depth > 0) {
        node->left = tree_new(depth - 1, 2 * key);
        node->right = tree_new(depth - 1, 2 * key + 1);
    }
    return node;
}

static uint64_t tree_free(struct node *node)
{
    if (node == NULL)
        return 0;
    uint64_t sum = node->key + tree_free(node->left) + tree_free(node->right);
    free(node);
    return sum;
}

/* Keys 1 to 2^(depth + 1) - 1. */
static uint64_t tree_sum(unsigned depth)
{
    uint64_t last = ((uint64_t)2 << depth) - 1;
    return last * (last + 1) / 2;
}

static void trees(struct bench_run *run)
{
    enum { LONG_DEPTH = 16, SHORT_DEPTH = 8, SHORT_TREES = 800 };
    while (bench_next(run)) {
        struct node *lasting = tree_new(LONG_DEPTH, 1);
        for (unsigned i = 0; i < SHORT_TREES; i++) {
            if (tree_free(tree_new(SHORT_DEPTH, 1)) != tree_sum(SHORT_DEPTH))
                lost();
        }
        if (tree_free(lasting) != tree_sum(LONG_DEPTH))
            lost();
    }
    bench_operations(run, 2 << LONG_DEPTH | SHORT_TREES * (2 << SHORT_DEPTH));
}

/* ---- a million live blocks, each freed or taken at random ------------------------------------ */

static void million(struct bench_run *run)
{
    enum { SLOTS = 1 << 20, STEPS = 5000000 };
    struct slot {
        void *block;
        size_t size;
    } *places = calloc(SLOTS, sizeof *places);
    uint64_t random = seeded(31);
    if (places == NULL)
        abort();
    while (bench_next(run)) {
        for (unsigned i = 0; i < STEPS; i++) {
            struct slot *slot = &places[next_random(&random) % SLOTS];
            if (slot->block != NULL) {
                small_drop(slot->block, slot->size);
                slot->block = NULL;
            } else {
                slot->size = random_doubling(&random, 3, 6);
                slot->block = small_new(slot->size);
            }
        }
    }
    bench_operations(run, STEPS);
    for (unsigned i = 0; i < SLOTS; i++) {
        if (places[i].block != NULL)
            small_drop(places[i].block, places[i].size);
    }
    free(places);
}

/* ---- a hash table of nodes that doubles as it fills ------------------------------------------ */

struct entry {
    struct entry *next;
    uint64_t key;
    char value[];
};

struct table {
    struct entry **heads;
    size_t nheads, nentries;
};

static struct entry **table_head(const struct table *table, uint64_t key)
{
    return &table->heads[(key * 0x9e3779b97f4a7c15ULL >> 20) & (table->nheads - 1)];
}

static void table_double(struct table *table)
{
    struct table twice = {calloc(2 * table->nheads, sizeof *twice.heads), 2 * table->nheads, table->nentries};
    if (twice.heads == NULL)
        abort();
    for (size_t i = 0; i < table->nheads; i++) {
        struct entry *next;
        for (struct entry *entry = table->heads[i]; entry != NULL; entry = next) {
            struct entry **head = table_head(&twice, entry->key);
            next = entry->next;
            entry->next = *head;
            *head = entry;
        }
    }
    free(table->heads);
    *table = twice;
}

static void table_add(struct table *table, uint64_t key)
{
    size_t value_bytes = 8 + key % 5 * 8;
    struct entry *entry = malloc(sizeof *entry + value_bytes);
    if (entry == NULL)
        abort();
    if (table->nentries++ >= table->nheads)
        table_double(table);
    struct entry **head = table_head(table, key);
    entry->next = *head;
    entry->key = key;
    entry->value[0] = (char)key;
    *head = entry;
}

/* Frees the first entry of a key's chain, whatever its key is; the keys that are left add up. */
static uint64_t table_drop(struct table *table, uint64_t key)
{
    struct entry **head = table_head(table, key);
    struct entry *entry = *head;
    if (entry == NULL)
        return 0;
    uint64_t dropped = entry->key;
    if (entry->value[0] != (char)dropped)
        lost();
    *head = entry->next;
    table->nentries--;
    free(entry);
    return dropped;
}

static void table(struct bench_run *run)
{
    enum { KEYS = 600000 };
    while (bench_next(run)) {
        struct table keys = {calloc(16, sizeof *keys.heads), 16, 0};
        uint64_t random = seeded(32), sum = 0;
        if (keys.heads == NULL)
            abort();
        for (unsigned i = 0; i < KEYS; i++) {
            uint64_t key = next_random(&random);
            table_add(&keys, key);
            sum += key;
            if (i % 3 == 0)
                sum -= table_drop(&keys, next_random(&random));
        }
        for (size_t i = 0; i < keys.nheads; i++) {
            while (keys.heads[i] != NULL) {
                struct entry *entry = keys.heads[i];
                keys.heads[i] = entry->next;
                sum -= entry->key;
                free(entry);
            }
        }
        if (sum != 0)
            lost();
        free(keys.heads);
    }
    bench_operations(run, KEYS);
}

/* ---- algebra: polynomials as lists of terms with numbers of many digits --------------------- */

struct number {
    unsigned ndigits;
    uint32_t digits[];
};

struct term {
    struct term *next;
    unsigned power;
    struct number *factor;
};

static double algebra_operations;

static struct number *number_new(unsigned ndigits)
{
    struct number *number = malloc(sizeof *number + ndigits * sizeof number->digits[0]);
    if (number == NULL)
        abort();
    number->ndigits = ndigits;
    memset(number->digits, 0, ndigits * sizeof number->digits[0]);
    algebra_operations++;
    return number;
}

static struct number *number_trim(struct number *number)
{
    unsigned ndigits = number->ndigits;
    while (ndigits > 1 && number->digits[ndigits - 1] == 0)
        ndigits--;
    if (ndigits == number->ndigits)
        return number;
    struct number *trimmed = number_new(ndigits);
    memcpy(trimmed->digits, number->digits, ndigits * sizeof number->digits[0]);
    free(number);
    return trimmed;
}

static struct number *number_product(const struct number *a, const struct number *b)
{
    struct number *product = number_new(a->ndigits + b->ndigits);
    for (unsigned i = 0; i < a->ndigits; i++) {
        uint64_t carry = 0;
        for (unsigned j = 0; j < b->ndigits; j++) {
            carry += (uint64_t)a->digits[i] * b->digits[j] + product->digits[i + j];
            product->digits[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product->digits[i + b->ndigits] = (uint32_t)carry;
    }
    return number_trim(product);
}

static struct number *number_sum(const struct number *a, const struct number *b)
{
    unsigned longer = a->ndigits > b->ndigits ? a->ndigits : b->ndigits;
    struct number *sum = number_new(longer + 1);
    uint64_t carry = 0;
    for (unsigned i = 0; i <= longer; i++) {
        carry += (i < a->ndigits ? a->digits[i] : 0) + (uint64_t)(i < b->ndigits ? b->digits[i] : 0);
        sum->digits[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return number_trim(sum);
}

static struct term *term_new(unsigned power, struct number *factor, struct term *next)
{
    struct term *term = malloc(sizeof *term);
    if (term == NULL)
        abort();
    *term = (struct term){next, power, factor};
    algebra_operations++;
    return term;
}

/* Adds factor * x^power, which it takes over. */
static void terms_add(struct term **terms, unsigned power, struct number *factor)
{
    while (*terms != NULL && (*terms)->power < power)
        terms = &(*terms)->next;
    if (*terms == NULL || (*terms)->power != power) {
        *terms = term_new(power, factor, *terms);
        return;
    }
    struct number *sum = number_sum((*terms)->factor, factor);
    free((*terms)->factor);
    free(factor);
    (*terms)->factor = sum;
}

static struct term *terms_product(const struct term *a, const struct term *b)
{
    struct term *product = NULL;
    for (const struct term *i = a; i != NULL; i = i->next) {
        for (const struct term *j = b; j != NULL; j = j->next)
            terms_add(&product, i->power + j->power, number_product(i->factor, j->factor));
    }
    return product;
}

static void terms_free(struct term *terms)
{
    while (terms != NULL) {
        struct term *next = terms->next;
        free(terms->factor);
        free(terms);
        terms = next;
    }
}

static struct number *number_of(uint32_t value)
{
    struct number *number = number_new(1);
    number->digits[0] = value;
    return number;
}

/* (1 + x)^n: the factors add up to 2^n. */
static void algebra(struct bench_run *run)
{
    enum { POWER = 96 };
    while (bench_next(run)) {
        struct term *base = NULL, *power = NULL;
        algebra_operations = 0;
        terms_add(&base, 0, number_of(1));
        terms_add(&base, 1, number_of(1));
        terms_add(&power, 0, number_of(1));
        for (unsigned i = 0; i < POWER; i++) {
            struct term *next = terms_product(power, base);
            terms_free(power);
            power = next;
        }
        struct term *square = terms_product(power, power);
        struct number *sum = number_of(0);
        for (const struct term *i = square; i != NULL; i = i->next) {
            struct number *more = number_sum(sum, i->factor);
            free(sum);
            sum = more;
        }
        if (sum->ndigits != 2 * POWER / 32 + 1 || sum->digits[2 * POWER / 32] != 1)
            lost();
        free(sum);
        terms_free(square);
        terms_free(power);
        terms_free(base);
    }
    bench_operations(run, algebra_operations);
}

/* ---- strings: what a script does all day ---------------------------------------------------- */

enum { WORDS = 60000, BUCKETS = 8192 };

struct word {
    struct word *next;
    unsigned count;
    char *text;
};

static unsigned hash_of(const char *text)
{
    unsigned hash = 5381;
    for (; *text != '\0'; text++)
        hash = hash * 33 + (unsigned char)*text;
    return hash;
}

static char *text_joined(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    char *joined = malloc(a_len + b_len + 1);
    if (joined == NULL)
        abort();
    memcpy(joined, a, a_len);
    memcpy(joined + a_len, b, b_len + 1);
    return joined;
}

static char *random_word(uint64_t *random)
{
    char text[24];
    size_t len = 1 + (size_t)(next_random(random) % 5) * (size_t)(next_random(random) % 5);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + next_random(random) % 6);
    text[len] = '\0';
    return text_joined(text, "");
}

static void count_word(struct word **table, char *text)
{
    struct word **place = &table[hash_of(text) % BUCKETS];
    while (*place != NULL && strcmp((*place)->text, text) != 0)
        place = &(*place)->next;
    if (*place != NULL) {
        (*place)->count++;
        free(text);
        return;
    }
    *place = malloc(sizeof **place);
    if (*place == NULL)
        abort();
    **place = (struct word){NULL, 1, text};
}

static unsigned drop_words(struct word **table)
{
    unsigned total = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (table[i] != NULL) {
            struct word *word = table[i];
            table[i] = word->next;
            total += word->count;
            free(word->text);
            free(word);
        }
    }
    return total;
}

static void strings(struct bench_run *run)
{
    static struct word *table[BUCKETS];
    while (bench_next(run)) {
        uint64_t random = seeded(77);
        char *line = text_joined("", "");
        for (unsigned i = 0; i < WORDS; i++) {
            char *word = random_word(&random);
            char *longer = text_joined(line, word);
            free(line);
            line = longer;
            if (strlen(line) > 120) {
                count_word(table, line);
                line = text_joined("", "");
            }
            count_word(table, text_joined(word, i % 3 == 0 ? "ing" : ""));
            count_word(table, word);
        }
        free(line);
        if (drop_words(table) < 2 * WORDS)
            lost();
    }
    bench_operations(run, 4 * WORDS);
}

/* ---- powers of two, exchanged between threads ----------------------------------------------- */

enum { STRESS_THREADS = 4, STRESS_LIVE = 500, STRESS_STEPS = 60000, STRESS_EXCHANGE = 256 };

struct item {
    size_t count;
    uint64_t words[];
};

static _Atomic(struct item *) exchange[STRESS_EXCHANGE];

static struct item *item_new(uint64_t *random)
{
    size_t count = (size_t)1 << next_random(random) % 6; /* 16 bytes to 264 */
    if (next_random(random) % 100 == 0)
        count <<= 7; /* and a few up to 32 KiB */
    struct item *item = malloc(sizeof *item + count * sizeof item->words[0]);
    if (item == NULL)
        abort();
    item->count = count;
    for (size_t i = 0; i < count; i += 64)
        item->words[i] = count ^ i;
    return item;
}

static void item_drop(struct item *item)
{
    if (item == NULL)
        return;
    for (size_t i = 0; i < item->count; i += 64) {
        if (item->words[i] != (item->count ^ i))
            lost();
    }
    free(item);
}

static void *stress_body(void *argument)
{
    struct item *live[STRESS_LIVE] = {NULL};
    uint64_t random = seeded(*(unsigned *)argument);
    for (unsigned i = 0; i < STRESS_STEPS; i++) {
        struct item **mine = &live[next_random(&random) % STRESS_LIVE];
        if (next_random(&random) % 4 == 0) {
            *mine = atomic_exchange(&exchange[next_random(&random) % STRESS_EXCHANGE], *mine);
            continue;
        }
        item_drop(*mine);
        *mine = item_new(&random);
    }
    for (unsigned i = 0; i < STRESS_LIVE; i++)
        item_drop(live[i]);
    return NULL;
}

static void stress(struct bench_run *run)
{
    while (bench_next(run)) {
        unsigned seeds[STRESS_THREADS];
        for (unsigned round = 0; round < 4; round++) {
            for (unsigned i = 0; i < STRESS_THREADS; i++)
                seeds[i] = round * STRESS_THREADS + i + 1;
            in_threads(STRESS_THREADS, stress_body, seeds, sizeof seeds[0]);
        }
    }
    for (unsigned i = 0; i < STRESS_EXCHANGE; i++)
        item_drop(atomic_exchange(&exchange[i], NULL));
    bench_operations(run, 4 * STRESS_THREADS * STRESS_STEPS);
}

/* ---- threads that come and go --------------------------------------------------------------- */

enum { BRIEF_THREADS = 3000, BRIEF_BLOCKS = 100, BRIEF_LEFT = 10 };

struct brief {
    void *left[BRIEF_LEFT];
};

static void *brief_body(void *argument)
{
    struct brief *brief = argument;
    void *blocks[BRIEF_BLOCKS];
    for (unsigned i = 0; i < BRIEF_BLOCKS; i++)
        blocks[i] = small_new(32 + i);
    for (unsigned i = 0; i < BRIEF_LEFT; i++)
        brief->left[i] = blocks[i];
    for (unsigned i = BRIEF_LEFT; i < BRIEF_BLOCKS; i++)
        small_drop(blocks[i], 32 + i);
    return NULL;
}

static void thread_churn(struct bench_run *run)
{
    while (bench_next(run)) {
        for (unsigned i = 0; i < BRIEF_THREADS; i += 4) {
            struct brief brief[4];
            in_threads(4, brief_body, brief, sizeof brief[0]);
            for (unsigned j = 0; j < 4 * BRIEF_LEFT; j++)
                small_drop(brief[j / BRIEF_LEFT].left[j % BRIEF_LEFT], 32 + j % BRIEF_LEFT);
        }
    }
    bench_operations(run, BRIEF_THREADS);
}

/* ---- a change of phase ---------------------------------------------------------------------- */

static void phase(struct bench_run *run)
{
    enum { FIRST = 1000000, SECOND = 400000 };
    void **first = malloc(FIRST * sizeof *first), **second = malloc(SECOND * sizeof *second);
    unsigned char *lengths = malloc(FIRST);
    uint64_t random = seeded(3);
    if (first == NULL || second == NULL || lengths == NULL)
        abort();
    while (bench_next(run)) {
        for (unsigned i = 0; i < FIRST; i++) {
            lengths[i] = (unsigned char)random_between(&random, 32, 128);
            first[i] = small_new(lengths[i]);
        }
        for (unsigned i = 0; i < FIRST; i++) {
            if (next_random(&random) % 20 != 0) {
                small_drop(first[i], lengths[i]);
                first[i] = NULL;
            }
        }
        for (unsigned i = 0; i < SECOND; i++)
            second[i] = small_new(200);
        bench_value(run, "rss_second_phase", rss_bytes());
        for (unsigned i = 0; i < SECOND; i++)
            small_drop(second[i], 200);
        for (unsigned i = 0; i < FIRST; i++) {
            if (first[i] != NULL)
                small_drop(first[i], lengths[i]);
        }
    }
    free(first);
    free(second);
    free(lengths);
    bench_operations(run, FIRST + SECOND);
}

/* ---- the list ------------------------------------------------------------------------------- */

__attribute__((constructor)) static void list(void)
{
    bench_register("tight/64", tight, NULL, 12);
    bench_register("replace/16-1024", replace, NULL, 4);
    bench_register("batch/1000x64", batch, NULL, 10);
    bench_register("skewed/32K", skewed, NULL, 5);
    bench_register("calloc", callocs, NULL, 3);
    bench_register("append", appends, NULL, 30);
    bench_register("medium/8K-128K", medium, NULL, 1);
    bench_register("server/4-threads", server, NULL, 1);
    bench_register("pipeline/2x2-threads", pipeline, NULL, 3);
    bench_register("sharing/2-threads", sharing, NULL, 40);
    bench_register("trees", trees, NULL, 6);
    bench_register("million/8-511", million, NULL, 1);
    bench_register("table", table, NULL, 3);
    bench_register("algebra", algebra, NULL, 40);
    bench_register("strings", strings, NULL, 6);
    bench_register("stress/4-threads", stress, NULL, 4);
    bench_register("thread-churn", thread_churn, NULL, 1);
    bench_register("phase-change", phase, NULL, 1);
}
