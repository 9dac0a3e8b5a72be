/*
 * ashlar-replay.c - replays what a program asked of malloc, from a trace
 *
 * Purpose     ashlar-replay [-p PID] [-n REPEATS] [-t none|first|pages|all] [-f] FILE
 *             does the allocations of one process of a trace (trace.h) in their order, on whatever
 *             malloc it runs on; ashlar-replay -l FILE lists the processes.
 * Output      What the trace holds, the same on every allocator; with -f also time, memory and
 *             page faults. Status 1 if contents were lost or the peak of live bytes is not that
 *             which the recorder saw, 2 for a bad trace or wrong use.
 * Limits      One thread does the work of all: the order is that of the trace, but frees from
 *             other threads become frees from the same one.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "trace.h"

enum { PAGE_STRIDE_BYTES = 4096, STREAMS_MAX = 4096, STATUS_LOST = 1, STATUS_USAGE = 2 };

enum touch { TOUCH_NONE, TOUCH_FIRST, TOUCH_PAGES, TOUCH_ALL };

static const char *const touch_words[] = {"none", "first", "pages", "all"};

struct stream {
    struct trace_block last; /* header of its last block: the totals */
    char command[TRACE_COMMAND_BYTES_MAX + 1];
};

struct slot {
    unsigned char *bytes;
    uint64_t size;
};

static const char *path;
static int fd;
static enum touch touch = TOUCH_PAGES;
static unsigned char buffer[TRACE_BLOCK_BYTES];
static struct stream *streams;
static int nstreams;

static struct slot *slots;
static uint64_t *free_slots;
static uint64_t nslots, nslots_free;
static uint64_t live_bytes, peak_live_bytes, live_blocks, peak_live_blocks, nevents;

static void bad(const char *what)
{
    fprintf(stderr, "ashlar-replay: %s: %s\n", path, what);
    exit(STATUS_USAGE);
}

static void *map_memory(size_t size)
{
    /* Not from malloc: what is measured should be the program's. */
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        bad(strerror(errno));
    return memory;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Fills the buffer with a block of the file; false behind the last. */
static bool read_block(off_t index)
{
    ssize_t len = pread(fd, buffer, sizeof buffer, index * TRACE_BLOCK_BYTES);
    const struct trace_block *block = (const struct trace_block *)buffer;
    if (len < 0)
        bad(strerror(errno));
    if (len == 0)
        return false;
    if (len < (ssize_t)sizeof *block || memcmp(block->magic, TRACE_MAGIC, sizeof block->magic) != 0)
        bad("not a trace");
    if (block->version != TRACE_VERSION)
        bad("a trace of another version");
    if (block->header_bytes < sizeof *block || block->header_bytes + block->used_bytes > (uint64_t)len)
        bad("damaged");
    return true;
}

static const unsigned char *events_end(void)
{
    const struct trace_block *block = (const struct trace_block *)buffer;
    return buffer + block->header_bytes + block->used_bytes;
}

static const unsigned char *events_start(void)
{
    return buffer + ((const struct trace_block *)buffer)->header_bytes;
}

static struct stream *stream_of(const struct trace_block *block)
{
    for (int i = nstreams - 1; i >= 0; i--) {
        if (streams[i].last.stream == block->stream)
            return &streams[i];
    }
    if (nstreams == STREAMS_MAX)
        bad("too many processes");
    return &streams[nstreams++];
}

static void read_command(struct stream *stream)
{
    const unsigned char *at = events_start(), *end = events_end();
    if (at == end || *at++ != TRACE_COMMAND)
        return;
    uint64_t len = trace_get(&at, end);
    if (len > TRACE_COMMAND_BYTES_MAX || len > (uint64_t)(end - at))
        bad("damaged");
    memcpy(stream->command, at, len);
}

static void read_streams(void)
{
    streams = map_memory(STREAMS_MAX * sizeof *streams);
    for (off_t i = 0; read_block(i); i++) {
        const struct trace_block *block = (const struct trace_block *)buffer;
        struct stream *stream = stream_of(block);
        if (stream->last.magic[0] != '\0' && block->sequence != stream->last.sequence + 1)
            bad("damaged: blocks are missing");
        stream->last = *block;
        if (block->sequence == 0)
            read_command(stream);
    }
    if (nstreams == 0)
        bad("empty: nothing was recorded");
}

static void list_streams(void)
{
    printf("%8s %12s %15s %12s %8s  %s\n", "pid", "events", "peak bytes", "peak blocks", "threads", "command");
    for (int i = 0; i < nstreams; i++) {
        const struct trace_block *last = &streams[i].last;
        printf("%8" PRIu32 " %12" PRIu64 " %15" PRIu64 " %12" PRIu64 " %8" PRIu32 "  %s\n", last->pid, last->events,
               last->peak_live_bytes, last->peak_live_blocks, last->nthreads, streams[i].command);
    }
}

/* The process asked for, or the busiest. */
static const struct stream *choose_stream(uint32_t pid)
{
    const struct stream *chosen = NULL;
    for (int i = 0; i < nstreams; i++) {
        const struct trace_block *last = &streams[i].last;
        if ((pid == 0 || last->pid == pid) && (chosen == NULL || last->events > chosen->last.events))
            chosen = &streams[i];
    }
    if (chosen == NULL)
        bad("no such process (ashlar-replay -l FILE lists them)");
    return chosen;
}

/* ---- contents ------------------------------------------------------------------------------- */

static unsigned char stamp_of(uint64_t index, uint64_t at)
{
    return (unsigned char)((index * 31 + at / PAGE_STRIDE_BYTES * 7 + 1) | 1);
}

/* Writes what is new: the bytes from `from` on. */
static void write_contents(uint64_t index, uint64_t from)
{
    struct slot *slot = &slots[index];
    if (touch == TOUCH_NONE || slot->size == 0)
        return;
    if (touch == TOUCH_ALL && slot->size > from)
        memset(slot->bytes + from, 0x5b, slot->size - from);
    uint64_t limit = touch == TOUCH_FIRST ? 1 : slot->size;
    for (uint64_t at = (from + PAGE_STRIDE_BYTES - 1) / PAGE_STRIDE_BYTES * PAGE_STRIDE_BYTES; at < limit;
         at += PAGE_STRIDE_BYTES)
        slot->bytes[at] = stamp_of(index, at);
}

static void check_contents(uint64_t index, uint64_t upto)
{
    const struct slot *slot = &slots[index];
    if (touch == TOUCH_NONE)
        return;
    uint64_t limit = touch == TOUCH_FIRST && upto > 1 ? 1 : upto;
    for (uint64_t at = 0; at < limit; at += PAGE_STRIDE_BYTES) {
        if (slot->bytes[at] != stamp_of(index, at)) {
            fprintf(stderr, "ashlar-replay: contents lost in a block of %" PRIu64 " bytes\n", slot->size);
            exit(STATUS_LOST);
        }
    }
}

/* ---- replaying ------------------------------------------------------------------------------ */

static uint64_t known_slot(uint64_t index)
{
    if (index >= nslots || slots[index].bytes == NULL)
        bad("damaged: names a block that does not live");
    return index;
}

static void add_live(uint64_t size)
{
    live_bytes += size;
    if (live_bytes > peak_live_bytes)
        peak_live_bytes = live_bytes;
}

static void keep(uint64_t index, void *ptr, uint64_t size)
{
    if (ptr == NULL) {
        fprintf(stderr, "ashlar-replay: a request of %" PRIu64 " bytes failed: %s\n", size, strerror(errno));
        exit(STATUS_LOST);
    }
    slots[index] = (struct slot){ptr, size};
    add_live(size);
}

static void replay_new(enum trace_event event, uint64_t size, uint64_t log2_alignment)
{
    uint64_t index = nslots_free > 0 ? free_slots[--nslots_free] : nslots++;
    void *ptr = NULL;
    if (event == TRACE_MALLOC)
        ptr = malloc(size);
    else if (event == TRACE_CALLOC)
        ptr = calloc(1, size);
    else
        errno = posix_memalign(&ptr, (size_t)1 << (log2_alignment < 3 ? 3 : log2_alignment), size);
    keep(index, ptr, size);
    if (++live_blocks > peak_live_blocks)
        peak_live_blocks = live_blocks;
    write_contents(index, 0);
}

static void replay_realloc(uint64_t index, uint64_t size)
{
    uint64_t old_size = slots[known_slot(index)].size;
    void *ptr = realloc(slots[index].bytes, size);
    live_bytes -= old_size;
    keep(index, ptr, size);
    check_contents(index, size < old_size ? size : old_size);
    if (size > old_size)
        write_contents(index, old_size);
}

static void replay_free(uint64_t index)
{
    struct slot *slot = &slots[known_slot(index)];
    check_contents(index, slot->size);
    free(slot->bytes);
    slot->bytes = NULL;
    live_bytes -= slot->size;
    live_blocks--;
    free_slots[nslots_free++] = index;
}

static void replay_block(uint64_t slots_max)
{
    const unsigned char *at = events_start(), *end = events_end();
    while (at < end) {
        enum trace_event event = (enum trace_event)*at++;
        uint64_t first = event == TRACE_END ? 0 : trace_get(&at, end);
        switch (event) {
        case TRACE_END: return;
        case TRACE_THREAD: nevents++; continue;
        case TRACE_COMMAND: at += first; continue;
        case TRACE_FREE: replay_free(first); break;
        case TRACE_REALLOC: replay_realloc(first, trace_get(&at, end)); break;
        case TRACE_ALIGNED: replay_new(event, trace_get(&at, end), first); break;
        case TRACE_MALLOC:
        case TRACE_CALLOC: replay_new(event, first, 0); break;
        default: bad("damaged: an unknown event");
        }
        nevents++;
        if (nslots > slots_max)
            bad("damaged: more blocks than its header says");
    }
}

static void replay(const struct stream *stream)
{
    /* realloc takes its block out and puts it back, so one more may live than was counted. */
    uint64_t slots_max = stream->last.peak_live_blocks + 1;
    slots = map_memory((slots_max + 1) * sizeof *slots);
    free_slots = map_memory((slots_max + 1) * sizeof *free_slots);
    nslots = nslots_free = live_bytes = live_blocks = nevents = 0;
    for (off_t i = 0; read_block(i); i++) {
        if (((const struct trace_block *)buffer)->stream == stream->last.stream)
            replay_block(slots_max);
    }
    for (uint64_t i = 0; i < nslots; i++) {
        if (slots[i].bytes != NULL)
            replay_free(i);
    }
    munmap(slots, (slots_max + 1) * sizeof *slots);
    munmap(free_slots, (slots_max + 1) * sizeof *free_slots);
}

/* ---- main ----------------------------------------------------------------------------------- */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Not ru_maxrss: that has in it what the process was before exec. */
static long peak_rss_kib(void)
{
    char line[128];
    long kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %ld", &kib) == 1)
            break;
    }
    if (file != NULL)
        fclose(file);
    return kib;
}

static void print_figures(double seconds, long repeats)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("%.3f s, %.1f ns an event, peak RSS %ld KiB, %ld minor faults\n", seconds,
           seconds * 1e9 / (double)(nevents > 0 ? nevents : 1) / (double)repeats, peak_rss_kib(), used.ru_minflt);
}

static void usage(void)
{
    fprintf(stderr, "usage: ashlar-replay [-p PID] [-n REPEATS] [-t none|first|pages|all] [-f] FILE\n"
                    "       ashlar-replay -l FILE\n");
    exit(STATUS_USAGE);
}

static enum touch parse_touch(const char *word)
{
    for (int i = TOUCH_NONE; i <= TOUCH_ALL; i++) {
        if (strcmp(word, touch_words[i]) == 0)
            return (enum touch)i;
    }
    usage();
    return TOUCH_NONE;
}

int main(int argc, char **argv)
{
    bool wants_list = false, wants_figures = false;
    uint32_t pid = 0;
    long repeats = 1;
    int option;

    while ((option = getopt(argc, argv, "p:n:t:fl")) != -1) {
        switch (option) {
        case 'p': pid = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'n': repeats = strtol(optarg, NULL, 10); break;
        case 't': touch = parse_touch(optarg); break;
        case 'f': wants_figures = true; break;
        case 'l': wants_list = true; break;
        default: usage();
        }
    }
    if (optind + 1 != argc || repeats < 1)
        usage();
    path = argv[optind];
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        bad(strerror(errno));

    read_streams();
    if (wants_list) {
        list_streams();
        return 0;
    }
    const struct stream *stream = choose_stream(pid);
    double started_s = now_s();
    for (long i = 0; i < repeats; i++)
        replay(stream);
    double seconds = now_s() - started_s;

    printf("%s\n%" PRIu64 " events, peak of live bytes %" PRIu64 " in %" PRIu64 " blocks at most\n", stream->command,
           nevents, peak_live_bytes, peak_live_blocks);
    if (wants_figures)
        print_figures(seconds, repeats);
    if (peak_live_bytes != stream->last.peak_live_bytes) {
        fprintf(stderr, "ashlar-replay: the recorder saw a peak of %" PRIu64 " live bytes\n",
                stream->last.peak_live_bytes);
        return STATUS_LOST;
    }
    return 0;
}
