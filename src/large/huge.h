/*
 * huge.h - which large blocks are to lie on huge pages
 *
 * Purpose     A first touch of a huge page costs a fifth to a fiftieth of that of its 512 pages,
 *             but makes all of them resident. So with thp:auto a block gets them when this program
 *             has shown that it writes blocks like it from end to end: a few pages of blocks that
 *             had none to begin with are looked at later.
 * Invariants  Advice is given to whole regions that hold nothing but such blocks, so it never
 *             reaches another's pages (map/region.h).
 * Locking     Thread-safe, atomics only. observe calls the kernel.
 * Layer       large/. Uses conf, os. Used by take, large.
 */
#ifndef ASHLAR_LARGE_HUGE_H
#define ASHLAR_LARGE_HUGE_H

#include "base/base.h"

/* True when a block of `len_bytes` is to lie on huge pages. */
bool ashlar_huge_is_wanted(size_t len_bytes);

/* Remembers a block that begins without pages and has no huge ones. It is looked at when the next
   one comes, when it counts only if it is dense: it may yet be written. */
void ashlar_huge_remember(const char *base, size_t len_bytes);

/* Looks at such a block at its end, when it counts either way. */
void ashlar_huge_observe(const char *base, size_t len_bytes);

#endif
