#!/bin/sh
#
# autogen.sh - makes ./configure from configure.ac; run once in a fresh clone
#
# Needs autoconf, automake, libtool, autoconf-archive and pkg-config (for their m4 macros).
set -eu
cd "$(dirname "$0")"

missing=
for tool in autoconf automake libtoolize; do
    command -v "$tool" >/dev/null 2>&1 || missing="$missing $tool"
done
for macro in ax_append_compile_flags.m4 pkg.m4; do
    [ -e "$(aclocal --print-ac-dir 2>/dev/null)/$macro" ] || missing="$missing $macro"
done
if [ -n "$missing" ]; then
    echo "autogen.sh: not found:$missing" >&2
    echo "autogen.sh: Debian has them in autoconf automake libtool autoconf-archive pkg-config" >&2
fi

exec autoreconf --install --force --warnings=all
