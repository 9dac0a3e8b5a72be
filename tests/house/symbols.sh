#!/bin/sh
# symbols.sh - the libraries export what the lists say and need nothing that could call malloc

. "$(dirname "$0")/../lib/common.sh"
need_library
need_program nm readelf
[ "$ASHLAR_LIB" != none ] || skip "there is no library to look at"
make_scratch

library=$ASHLAR_LIB
api=$(dirname "$ASHLAR_LIB")/libashlar-api.so
[ -e "$api" ] || hard_error "no libashlar-api.so beside $library"

# The names that other people's programs and scripts depend on.
FAMILY="malloc free calloc realloc memalign aligned_alloc posix_memalign valloc pvalloc
    malloc_usable_size malloc_trim mallinfo mallinfo2 malloc_stats malloc_info mallopt free_sized
    free_aligned_sized"
PREFIXED="malloc free calloc realloc memalign aligned_alloc posix_memalign valloc pvalloc
    malloc_usable_size malloc_trim mallinfo2 malloc_stats malloc_info mallopt free_sized
    free_aligned_sized stats_print purge"
OPERATORS="_Znwm _Znam _ZnwmRKSt9nothrow_t _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t
    _ZnamSt11align_val_t _ZnwmSt11align_val_tRKSt9nothrow_t _ZnamSt11align_val_tRKSt9nothrow_t
    _ZdlPv _ZdaPv _ZdlPvRKSt9nothrow_t _ZdaPvRKSt9nothrow_t _ZdlPvm _ZdaPvm _ZdlPvSt11align_val_t
    _ZdaPvSt11align_val_t _ZdlPvSt11align_val_tRKSt9nothrow_t _ZdaPvSt11align_val_tRKSt9nothrow_t
    _ZdlPvmSt11align_val_t _ZdaPvmSt11align_val_t"
# cfree: programs from before glibc 2.26 still call it.
ALSO_ALLOWED=cfree

failures=0
wrong() {
    say "symbols: $*"
    failures=$((failures + 1))
}

exports() { nm -D --defined-only "$1" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u; }
mapped() { sed -n 's/^[[:space:]]*\([a-zA-Z_][a-zA-Z0-9_]*\);$/\1/p' "$1" | sort -u; }
words() { printf '%s\n' "$@" | sort -u; }

# compare WHAT FILE FILE - both lists must be the same
compare() {
    for name in $(comm -23 "$2" "$3"); do wrong "$1: $name is exported, but not listed"; done
    for name in $(comm -13 "$2" "$3"); do wrong "$1: $name is listed, but not exported"; done
}

exports "$library" >"$SCRATCH/exports"
exports "$api" >"$SCRATCH/api-exports"
mapped "$SRCDIR/src/api/ashlar.map" >"$SCRATCH/map"
mapped "$SRCDIR/src/api/ashlar-api.map" >"$SCRATCH/api-map"

# Built with --disable-cxx the operators are missing, all of them.
grep -q '^_Zn' "$SCRATCH/exports" || {
    OPERATORS=
    grep -v '^_Z' "$SCRATCH/map" >"$SCRATCH/c-map"
    mv "$SCRATCH/c-map" "$SCRATCH/map"
}
compare "$(basename "$library")" "$SCRATCH/exports" "$SCRATCH/map"
compare "$(basename "$api")" "$SCRATCH/api-exports" "$SCRATCH/api-map"

# shellcheck disable=SC2086 # the lists are meant to be split
words $FAMILY $OPERATORS >"$SCRATCH/family"
for name in $PREFIXED; do echo "ashlar_$name"; done | sort >"$SCRATCH/prefixed"
for name in $(comm -13 "$SCRATCH/exports" "$SCRATCH/family"); do wrong "$name is missing"; done
for name in $(comm -13 "$SCRATCH/api-exports" "$SCRATCH/prefixed"); do
    wrong "$name is missing"
done
for name in $(comm -23 "$SCRATCH/exports" "$SCRATCH/family" | grep -v '^ashlar_'); do
    case " $ALSO_ALLOWED " in
    *" $name "*) ;;
    *) wrong "$name is nobody's contract" ;;
    esac
done

# What the header declares is what is exported with the prefix.
sed 's|/\*.*\*/||; s|//.*||' "$SRCDIR/include/ashlar/ashlar.h" |
    grep -o '\bashlar_[a-z0-9_]*(' | tr -d '(' | sort -u >"$SCRATCH/declared-or-mentioned"
for name in $(comm -23 "$SCRATCH/api-exports" "$SCRATCH/declared-or-mentioned"); do
    wrong "$name is exported, but not declared in ashlar.h"
done
for name in $(comm -13 "$SCRATCH/api-exports" "$SCRATCH/declared-or-mentioned"); do
    wrong "$name is in ashlar.h, but not exported"
done

# Nothing but libc is needed, and of that nothing that may allocate, lock stdio or read the
# environment behind our back. pthread_create allocates: os.h says when. fwrite is what malloc_info is for; dlsym must stay weak.
FORBIDDEN=$(printf '%s|' malloc free calloc realloc reallocarray memalign aligned_alloc \
    posix_memalign valloc pvalloc 'strn?dup' wcsdup 'v?asprintf' 'v?f?printf' 'v?s?n?printf' puts \
    fputs putchar perror fopen fopen64 fdopen fclose fflush getline getdelim getenv \
    secure_getenv setenv dlopen dlsym dlerror qsort exit atexit strerror sysconf \
    get_nprocs setlocale localtime scandir opendir popen system fork sleep)nothing
ALLOWED_WEAK="dlopen|dlsym"
most_tls_bytes=16
# A debug build remembers the locks of each thread in a third word.
grep -q -e '-DASHLAR_DEBUG=1' "$BUILDDIR/Makefile" && most_tls_bytes=24
for file in "$library" "$api"; do
    needed=$(readelf -d "$file" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' |
        grep -v -e '^libc\.so' -e '^ld-linux')
    [ -z "$needed" ] || wrong "$(basename "$file") needs $needed"
    calls=$(nm -D --undefined-only "$file" | sed 's/@.*//' | awk '{ print $1, $2 }' |
        grep -E -v "^w ($ALLOWED_WEAK)$" | awk '{ print $2 }' | grep -E -x "$FORBIDDEN")
    [ -z "$calls" ] || wrong "$(basename "$file") calls" $calls

    # Initial-exec thread-local storage comes out of a small reserve when the library is loaded late.
    tls_bytes=$(readelf -lW "$file" | awk '$1 == "TLS" { print $6 }')
    [ $((${tls_bytes:-0})) -le $most_tls_bytes ] ||
        wrong "$(basename "$file") has $((tls_bytes)) bytes of thread-local storage"
    if readelf -rW "$file" | grep -q -e DTPMOD -e TLSDESC; then
        wrong "$(basename "$file") has thread-local storage that is not initial-exec"
    fi
    if readelf -lW "$file" | grep -q 'GNU_STACK.*RWE'; then
        wrong "$(basename "$file") has an executable stack"
    fi
    if readelf -d "$file" | grep -q TEXTREL; then
        wrong "$(basename "$file") has text relocations"
    fi
done

[ $failures -eq 0 ] || fail "exported and needed names"
