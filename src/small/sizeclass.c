/*
 * sizeclass.c - which object size serves a request
 *
 * Purpose     The two tables of sizeclass.h, written out so that a reader can look a size up. The
 *             unit test recomputes both from the rule.
 * Invariants  See sizeclass.h.
 * Locking     None: constants.
 * Layer       small/.
 */
#include "small/sizeclass.h"

#include <assert.h>

/* Sixteen bytes apart up to 128, then a row per doubling. */
const uint32_t ashlar_class_sizes[ASHLAR_CLASS_COUNT] = {
    16, 32, 48, 64, 80, 96, 112, 128,
    144, 160, 176, 192, 208, 224, 240, 256,
    288, 320, 352, 384, 416, 448, 480, 512,
    576, 640, 704, 768, 832, 896, 960, 1024,
    1152, 1280, 1408, 1536, 1664, 1792, 1920, 2048,
    2304, 2560, 2816, 3072, 3328, 3584, 3840, 4096,
    4608, 5120, 5632, 6144, 6656, 7168, 7680, 8192,
    9216, 10240, 11264, 12288, 13312, 14336, 15360, 16384,
    18432, 20480, 22528, 24576, 26624, 28672, 30720, 32768,
    36864, 40960, 45056, 49152, 53248, 57344, 61440, 65536,
    73728, 81920, 90112, 98304, 106496, 114688, 122880, 131072,
};

/* Class of a request of (16 i - 15) .. 16 i bytes. */
const uint8_t ashlar_class_table[ASHLAR_CLASS_TABLE_MAX_BYTES / 16 + 1] = {
    0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14,
    15, 16, 16, 17, 17, 18, 18, 19, 19, 20, 20, 21, 21, 22, 22, 23,
    23, 24, 24, 24, 24, 25, 25, 25, 25, 26, 26, 26, 26, 27, 27, 27,
    27, 28, 28, 28, 28, 29, 29, 29, 29, 30, 30, 30, 30, 31, 31, 31,
    31,
};

static_assert(ASHLAR_CLASS_COUNT <= UINT8_MAX, "a class number fits a table byte");
static_assert((ASHLAR_CLASS_COUNT - 8) / 8 == 10, "ten doublings from 128 to 131072");
