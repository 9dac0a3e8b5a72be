/*
 * boot.h - start-up, bottom to top
 *
 * Purpose     Brings every module up in the order of the stair, once, whichever comes first: the
 *             first malloc (long before constructors) or our constructor.
 * Locking     The lock BOOT.
 * Layer       api/.
 */
#ifndef ASHLAR_API_BOOT_H
#define ASHLAR_API_BOOT_H

/* Brings the library up if it is not yet; cheap afterwards. */
void ashlar_boot(void);

#endif
