#!/bin/sh
# docs.sh - the manual pages name every option, counter and call, as they are today

. "$(dirname "$0")/../lib/common.sh"
need_program "${CC:-cc}"
cd "$SRCDIR" || exit 99

failures=0
wrong() {
    say "docs: $*"
    failures=$((failures + 1))
}

rows_of() { sed -n "s/^$1(\([a-z_0-9]*\),.*/\1/p" "$2"; }

# page NAME - its text, without the fonts and the hyphens that troff wants
page() { sed -e 's/\\f[BIRP]//g' -e 's/\\-/-/g' "doc/$1"; }

sh tools/options-table --check doc/ashlar.conf.5 ||
    wrong "the tables of ashlar.conf(5) are not current"

page ashlar.conf.5 >/dev/null || exit 99
for name in $(rows_of OPTION src/conf/options.def) $(rows_of COUNTER src/conf/counters.def); do
    page ashlar.conf.5 | grep -q "\\b$name\\b" || wrong "ashlar.conf(5) lacks $name"
done
for name in $(grep -o '\bashlar_[a-z0-9_]*(' include/ashlar/ashlar.h | tr -d '(' | sort -u); do
    page ashlar.3 | grep -q "\\b$name\\b" || wrong "ashlar(3) lacks $name"
done

# options_set FILE - the options that examples in it set
options_set() {
    grep -o 'ASHLAR_CONF=[a-z_0-9:,]*' "$1" | sed 's/^ASHLAR_CONF=//' | tr ',' '\n' |
        sed -n 's/^\([a-z_]*\):.*/\1/p' | sort -u
}

# The other way around: what an example sets exists.
for document in README.md doc/*.[1-9] doc/design.md; do
    [ -e "$document" ] || continue
    for name in $(options_set "$document"); do
        [ "$name" = name ] || rows_of OPTION src/conf/options.def | grep -q -x "$name" ||
            wrong "$document sets $name, which is no option"
    done
done

# Pages that do not format are no documentation.
if command -v man >/dev/null 2>&1; then
    for file in doc/*.[1-9]; do
        messages=$(man --warnings -E UTF-8 -l -Tutf8 -Z "$file" 2>&1 >/dev/null)
        [ -z "$messages" ] || wrong "$file: $messages"
    done
fi

[ $failures -eq 0 ] || fail "the documentation is behind the source"
