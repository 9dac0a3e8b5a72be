/*
 * trace.h - the format of an allocation trace
 *
 * Purpose     What a program asked of malloc, in order, compactly: 2 to 5 bytes an event. Written
 *             by trace-recorder.c, read by ashlar-replay.c and by nothing else.
 * File        Blocks of TRACE_BLOCK_BYTES, each a struct trace_block followed by `used_bytes` of
 *             events. The blocks of several processes lie mixed; those of one have its `stream`
 *             and are numbered from 0. An event is never cut by the end of a block. Numbers in
 *             the header are little-endian, as is every machine Ashlar runs on.
 * Events      One byte, enum trace_event, then numbers of 7 bits a byte, lowest first, the top bit
 *             set in all but the last byte:
 *               MALLOC size     CALLOC size     ALIGNED log2(alignment) size
 *               REALLOC slot size     FREE slot     THREAD number     COMMAND length, bytes
 *             A new block takes the slot freed last, or else the lowest never used; both sides
 *             keep that stack, so slots are written only where a block is named again. realloc
 *             keeps the slot; realloc(NULL) is MALLOC. THREAD says whose the following events
 *             are, counted from 0 in the order of appearance; a trace starts with 0.
 * Fork        A child that allocates has a stream of its own, which starts with MALLOCs for the
 *             blocks that it was born with.
 */
#ifndef ASHLAR_TOOLS_TRACE_H
#define ASHLAR_TOOLS_TRACE_H

#include <stdint.h>

enum {
    TRACE_BLOCK_BYTES = 65536, /* a multiple of any page size: the recorder maps blocks */
    TRACE_VERSION = 1,
    TRACE_NUMBER_BYTES_MAX = 10,
    TRACE_COMMAND_BYTES_MAX = 256,
    TRACE_EVENT_BYTES_MAX = 1 + TRACE_NUMBER_BYTES_MAX + TRACE_COMMAND_BYTES_MAX,
};

enum trace_event {
    TRACE_END, /* nothing more in this block */
    TRACE_MALLOC,
    TRACE_CALLOC,
    TRACE_ALIGNED,
    TRACE_REALLOC,
    TRACE_FREE,
    TRACE_THREAD,
    TRACE_COMMAND,
};

static const char TRACE_MAGIC[4] = {'A', 'L', 'T', 'R'};

/* The totals are those at the block's last event, counted in bytes asked for. */
struct trace_block {
    char magic[4];
    uint16_t version;
    uint16_t header_bytes;
    uint32_t used_bytes;
    uint32_t sequence;
    uint64_t stream;
    uint32_t pid;
    uint32_t nthreads;
    uint64_t events;
    uint64_t live_bytes;
    uint64_t peak_live_bytes;
    uint64_t peak_live_blocks;
};

/* Gives the first byte after the number. */
static inline unsigned char *trace_put(unsigned char *at, uint64_t number)
{
    for (; number >= 0x80; number >>= 7)
        *at++ = (unsigned char)(number | 0x80);
    *at++ = (unsigned char)number;
    return at;
}

/* Reads a number at *at, which then stands behind it; 0 at the end of the block. */
static inline uint64_t trace_get(const unsigned char **at, const unsigned char *end)
{
    uint64_t number = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        unsigned char byte = *(*at)++;
        number |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    return number;
}

#endif
