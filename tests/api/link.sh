#!/bin/sh
# link.sh - programs linked to Ashlar, in each of the ways there are, with no preloading
#
#     libashlar.so, libashlar.a          the program's malloc is Ashlar's
#     libashlar-api.so, libashlar-api.a  the program has two: its own malloc, and ashlar_malloc

. "$(dirname "$0")/../lib/common.sh"
need_library
[ "$ASHLAR_LIB" != none ] || skip "there is no library to link to"
make_scratch
need_program "${CC:-cc}"
folder=$(dirname "$ASHLAR_LIB")
unset LD_PRELOAD

cat >"$SCRATCH/both.c" <<'END'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ashlar/ashlar.h>

/* Prints where malloc is defined: "same" library as ashlar_malloc, or "other". */
int main(void)
{
    Dl_info plain, prefixed;
    char *a = malloc(300000), *b = ashlar_malloc(300000);
    char *c = ashlar_calloc(3, 7), *d = strdup("text");
    if (a == NULL || b == NULL || c == NULL || d == NULL)
        return 1;
    memset(a, 'a', 300000);
    memset(b, 'b', 300000);
    b = ashlar_realloc(b, 3000000);
    if (a[299999] != 'a' || b == NULL || b[299999] != 'b' || ashlar_malloc_usable_size(b) < 3000000)
        return 1;
    free(d);
    free(a);
    ashlar_free(b);
    ashlar_free(c);
    if (dladdr((void *)malloc, &plain) == 0 || dladdr((void *)ashlar_malloc, &prefixed) == 0)
        return 1;
    puts(strcmp(plain.dli_fname, prefixed.dli_fname) == 0 ? "same" : "other");
    return 0;
}
END
cat >"$SCRATCH/operators.cc" <<'END'
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <new>

/* C++ without its library: the operators come from Ashlar, and libstdc++ is not there. */
struct Thing {
    char bytes[500];
    Thing() { memset(bytes, 't', sizeof(bytes)); }
};
struct alignas(128) Wide {
    char bytes[300];
};

int main()
{
    Thing *things = new Thing[1000];
    Wide *wide = new Wide;
    void *impossible = operator new((size_t)-1 / 2 + 1, std::nothrow);
    bool is_good = things[999].bytes[499] == 't' && (unsigned long)wide % 128 == 0 && !impossible;
    delete[] things;
    delete wide;
    puts(is_good ? "good" : "bad");
    return is_good ? 0 : 1;
}
END
# Referred to by <new> only.
printf '#include <new>\nconst std::nothrow_t std::nothrow = std::nothrow_t();\n' >"$SCRATCH/nothrow.cc"

failures=0
# try NAME EXPECTED COMMAND... - builds with the command, runs, compares what it prints
try() {
    name=$1 expected=$2
    shift 2
    if ! "$@" -o "$SCRATCH/program" 2>"$SCRATCH/messages"; then
        say "FAILED to link: $name"
        head -n 5 "$SCRATCH/messages" >&2
        failures=$((failures + 1))
        return
    fi
    printed=$(LD_LIBRARY_PATH=$folder "$SCRATCH/program" 2>&1)
    status=$?
    [ $status -eq 0 ] && [ "$printed" = "$expected" ] && return
    say "FAILED: $name: status $status, printed: $printed"
    failures=$((failures + 1))
}

cc="${CC:-cc} -O1 -fno-builtin -I$SRCDIR/include $SCRATCH/both.c"
# shellcheck disable=SC2086 # the commands are meant to be split
{
    try 'libashlar.so' same $cc "-L$folder" -lashlar
    try 'libashlar-api.so' other $cc "-L$folder" -lashlar-api
    if [ -e "$folder/libashlar.a" ]; then
        try 'libashlar.a' same $cc -rdynamic "$folder/libashlar.a" -pthread
        try 'libashlar-api.a' other $cc -rdynamic "$folder/libashlar-api.a" -pthread
    else
        say "built without static archives"
    fi
}

if nm -D --defined-only "$ASHLAR_LIB" | grep -q ' _Znwm$'; then
    # The C compiler links no C++ library.
    # shellcheck disable=SC2086 # the command is meant to be split
    try 'C++ without libstdc++' good ${CC:-cc} -std=c++17 -O1 -fno-builtin -fno-exceptions -fno-rtti \
        "$SCRATCH/operators.cc" "$SCRATCH/nothrow.cc" "-L$folder" -lashlar
else
    say "built without the C++ operators"
fi
[ $failures -eq 0 ] || fail "$failures ways to link"
