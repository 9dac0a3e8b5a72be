/*
 * resize.h - large blocks made longer and shorter
 *
 * Purpose     realloc of whole pages: a block grows where it is, into what lies free behind it, or
 *             its pages are moved; it shrinks by giving its tail to the mapping cache.
 * Invariants  Bytes are copied only where the kernel would not move them. A block that could not be
 *             resized is as it was.
 * Locking     Thread-safe, as large.h.
 * Layer       large/. Uses take, large, mapcache, recycle, guard. Used by front.
 */
#ifndef ASHLAR_LARGE_RESIZE_H
#define ASHLAR_LARGE_RESIZE_H

#include "base/base.h"
#include "map/span.h"

/*
 * The same contents in a block of at least `size` bytes, without copying where the kernel can
 * move pages; alignment to pages only. NULL: as for alloc; the old block is as it was.
 */
void *ashlar_resize(struct ashlar_span *span, void *ptr, size_t size);

#endif
