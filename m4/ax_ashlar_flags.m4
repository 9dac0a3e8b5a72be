# AX_ASHLAR_FLAGS
#
# Fills ASHLAR_CFLAGS and ASHLAR_CXXFLAGS with what the sources need and with the
# warnings they are kept quiet at. Each warning stays if the compiler knows it. Nothing is written
# to CFLAGS, which belongs to the user and comes later on the command line.
AC_DEFUN([AX_ASHLAR_FLAGS], [
  # An allocator must not be optimised by what the compiler believes about malloc: it would turn
  # our own loops into calls of calloc, and drop the malloc-free pairs of the tests.
  ashlar_no_builtin=
  for ashlar_name in malloc calloc realloc free memalign aligned_alloc posix_memalign; do
    ashlar_no_builtin="$ashlar_no_builtin -fno-builtin-$ashlar_name"
  done

  # The empty value is what "#define _GNU_SOURCE" gives, so that a file may say it too. (To C++ the
  # compiler itself says it.)
  ASHLAR_CFLAGS="-std=gnu11 -D_GNU_SOURCE= -fvisibility=hidden -ftls-model=initial-exec $ashlar_no_builtin"
  # clang declares the sized operators delete on request only.
  ASHLAR_CXXFLAGS="-std=gnu++17 -fsized-deallocation $ashlar_no_builtin -Wall -Wextra"

  # Calls between exported functions of the library need not go through the linkage table.
  AX_APPEND_COMPILE_FLAGS([-fno-semantic-interposition], [ASHLAR_CFLAGS], [-Werror])

  # -Wconversion without its sign half: page arithmetic mixes signs on purpose and says so by casts
  # where it matters. No -Wpedantic: the dialect is gnu11 (ranges in initialisers). No -Wcast-align:
  # to clang every step from a span to the struct around it is one.
  # ("-Werror" is for the probes only: clang merely warns of unknown names.)
  AX_APPEND_COMPILE_FLAGS(m4_normalize([
      -Wall
      -Wextra
      -Wcast-qual
      -Wconversion
      -Wno-sign-conversion
      -Wdate-time
      -Wdouble-promotion
      -Wduplicated-cond
      -Wformat=2
      -Wimplicit-fallthrough
      -Wlogical-op
      -Wmissing-prototypes
      -Wmissing-variable-declarations
      -Wold-style-definition
      -Wpointer-arith
      -Wshadow
      -Wstrict-prototypes
      -Wundef
      -Wvla
      -Wwrite-strings
    ]), [ASHLAR_CFLAGS], [-Werror])

  AC_SUBST([ASHLAR_CFLAGS])
  AC_SUBST([ASHLAR_CXXFLAGS])
])
