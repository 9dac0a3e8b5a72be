#!/bin/sh
# tables.sh - ashlar options shows every row of options.def; env, help, version and completion work

. "$(dirname "$0")/common.sh"

sed -n 's/^OPTION(\([a-z_]*\),.*/\1/p' "$SRCDIR/src/conf/options.def" >"$SCRATCH/rows"
gives 0 ashlar options
sed -n 's/^\([a-z_][a-z_]*\) .*/\1/p' "$SCRATCH/out" | cmp - "$SCRATCH/rows" || fail "options are not those of options.def"

gives 0 ashlar env
for word in kernel "huge pages" "guard markers" vm.max_map_count RLIMIT_AS "cgroup memory"; do
    says out "$word"
done

# Ashlar asks for huge pages itself where the kernel leaves that to programs, but not under RLIMIT_AS.
if grep -q '\[madvise\]' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null; then
    gives 0 ashlar env
    says out "asked for where a program writes blocks of 32 MiB"
    gives 0 sh -c 'ulimit -v 16000000; exec "$0" env' "$SRCDIR/tools/ashlar"
    says out "not asked for under RLIMIT_AS"
fi

gives 0 ashlar --version
says out "ashlar "
for subcommand in "" run compare; do
    gives 0 ashlar $subcommand --help
done
gives 125 ashlar
one_line_on_stderr
gives 125 ashlar no-such-subcommand

# Every long option of compare is in the manual page and in the completion.
gives 0 ashlar compare --help
for option in $(grep -o -e '--[a-z][a-z]*' "$SCRATCH/out" | grep -v help | sort -u); do
    name=$(printf '%s\n' "$option" | sed 's/-/\\\\-/g')
    grep -q -e "$name" "$SRCDIR/doc/ashlar.1" || fail "ashlar(1) does not say $option"
    grep -q -e "$option" "$SRCDIR/tools/completion/ashlar" || fail "the completion does not know $option"
done

if [ -e /usr/share/bash-completion/bash_completion ] && command -v bash >/dev/null; then
    bash -c '
        . /usr/share/bash-completion/bash_completion
        . "$1/tools/completion/ashlar"
        complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
            COMPREPLY=(); compopt() { :; }; _ashlar; printf "%s " "${COMPREPLY[@]}"; }
        [ "$(complete_words ashlar comp)" = "compare " ] &&
            [ "$(complete_words ashlar compare --ru)" = "--runs " ] &&
            [ "$(complete_words ashlar compare --with glibc,jem)" = "glibc,jemalloc " ]
    ' completion "$SRCDIR" || fail "completion"
fi

pass
