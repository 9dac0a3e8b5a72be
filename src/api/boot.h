/*
 * boot.h - start-up, bottom to top
 *
 * Purpose     Brings every module up in the order of the stair, once, whichever comes first: the
 *             first malloc (long before constructors) or our constructor.
 * Locking     BOOT. ashlar_boot is declared in front/heaps.h, which calls it.
 * Layer       api/.
 */
#ifndef ASHLAR_API_BOOT_H
#define ASHLAR_API_BOOT_H

#include "base/lock.h"
#include "front/heaps.h"

/* For fork to shut. */
extern struct ashlar_lock ashlar_boot_lock;

#endif
