/*
 * emit.h - formatted text to a file descriptor without malloc
 *
 * Purpose     Messages, reports, XML and JSON from inside an allocator: no stdio, no locale,
 *             no allocation, no lock; usable before main and in a signal handler.
 * Invariants  used <= sizeof buf. Text beyond a full buffer is written out, never dropped, when
 *             there is a file descriptor; in memory (fd < 0) it is cut.
 * Locking     None: an emitter belongs to the function that declared it.
 * Layer       base/. Calls write(2) itself. Used by check, conf, api.
 */
#ifndef ASHLAR_BASE_EMIT_H
#define ASHLAR_BASE_EMIT_H

#include <stdarg.h>

#include "base/base.h"

#define ASHLAR_EMIT_BUFFER_BYTES 1024

struct ashlar_emit {
    int fd;         /* where flush writes; -1: keep the text in buf */
    int error;      /* first errno value of a failed write, else 0 */
    size_t used;    /* bytes of buf filled */
    void (*sink)(void *context, const char *text, size_t len); /* if set, takes the text, not fd */
    void *context;  /* first argument of sink */
    char buf[ASHLAR_EMIT_BUFFER_BYTES];
};

/* Starts an emitter on `fd` (-1: memory only). */
void ashlar_emit_begin(struct ashlar_emit *emit, int fd);

/* Starts an emitter that hands its text to `sink` (malloc_info's FILE, for one). */
void ashlar_emit_begin_sink(struct ashlar_emit *emit,
                            void (*sink)(void *context, const char *text, size_t len),
                            void *context);

/* Appends `len` bytes of `text`. */
void ashlar_emit_bytes(struct ashlar_emit *emit, const char *text, size_t len);

/*
 * printf for the conversions %s %c %d %i %u %x %p %% with the lengths l, ll and z, the flags 0 and
 * - and a width. Anything else is written out as it stands.
 */
ASHLAR_PRINTF(2, 3) void ashlar_emit_format(struct ashlar_emit *emit, const char *format, ...);
ASHLAR_PRINTF(2, 0)
void ashlar_emit_vformat(struct ashlar_emit *emit, const char *format, va_list args);

/* Writes everything out, over EINTR and short writes. Gives 0 or the first errno value met;
   errno is left as it was. */
int ashlar_emit_flush(struct ashlar_emit *emit);

#endif
