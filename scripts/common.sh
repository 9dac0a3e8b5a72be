# common.sh - what scripts/demo and scripts/test share: set-up and building; sourced by bash
#
# The sourcing script has set $top to the top of the source tree. Everything said here goes to
# standard error, so that standard output stays the caller's.

say()
{
    printf '%s\n' "$*" >&2
}

die()
{
    say "$(basename "$0"): $*"
    exit 1
}

# What any build from a fresh clone takes.
build_packages=(gcc libc6-dev make autoconf automake libtool autoconf-archive pkg-config)

#### Packages

is_installed()
{
    dpkg-query --show --showformat='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

is_offered()
{
    apt-cache show "$1" 2>/dev/null | grep -q '^Package:'
}

as_root()
{
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# RUNLEVEL=1: a package that brings a server need not start it.
apt()
{
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get \
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 --yes --quiet=2 "$@" </dev/null >&2
}

# Mirrors and locks fail for a moment now and then.
apt_retrying()
{
    local attempt
    for attempt in 1 2 3; do
        apt "$@" && return
        say "apt-get $1 failed (attempt $attempt of 3)"
        sleep $((attempt * 5))
    done
    return 1
}

# install_packages NAME...: installs those that are missing and says so. Names that this release
# of Debian does not offer are left out, aloud. False when something is still missing.
install_packages()
{
    local name missing=() offered=()

    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        say "This is not a Debian machine, so nothing is installed here. Wanted (Debian's names): $*"
        return
    fi
    for name; do
        is_installed "$name" || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0

    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
        say "Not root, and there is no sudo. Please have these packages installed: ${missing[*]}"
        return 1
    fi
    say "Installing Debian packages: ${missing[*]}"
    apt_retrying update || return 1
    for name in "${missing[@]}"; do
        if is_offered "$name"; then
            offered+=("$name")
        else
            say "Not offered by this release: $name"
        fi
    done
    [ ${#offered[@]} -gt 0 ] || return 1
    apt_retrying install --no-install-recommends "${offered[@]}" || return 1
    [ ${#offered[@]} = ${#missing[@]} ]
}

#### Building

jobs=$(nproc 2>/dev/null || echo 2)

# Makes ./configure unless it is there and newer than what it is made from.
make_configure()
{
    local source
    if [ -e "$top/configure" ] && [ -e "$top/Makefile.in" ]; then
        for source in "$top"/configure.ac "$top"/m4/ax_*.m4 "$top"/Makefile.am "$top"/*/Makefile.inc; do
            [ "$source" -nt "$top/configure" ] && break
            source=
        done
        [ -n "$source" ] || return 0
    fi
    (cd "$top" && ./autogen.sh)
}

# configure and libtool are twice as fast in dash: 8 s instead of 18 s for the former.
configure_shell=(sh)
[ ! -x /bin/dash ] || configure_shell=(env CONFIG_SHELL=/bin/dash /bin/dash)

# configure_build NAME [ARG...]: build/NAME is configured with these arguments afterwards. The way
# to configure is relative, which is what lets the tree lie below a folder with a space in its name.
configure_build()
{
    local dir=$top/build/$1 up arguments
    up=$(printf '%s\n' "build/$1" | sed 's|[^/][^/]*|..|g')
    shift
    arguments="$*"
    if [ -e "$dir/Makefile" ] && [ "$(cat "$dir/configured-with" 2>/dev/null)" = "$arguments" ]; then
        return 0
    fi
    mkdir -p "$dir" || return
    rm -f "$dir/configured-with"
    (cd "$dir" && exec "${configure_shell[@]}" "$up/configure" "$@") || return
    printf '%s\n' "$arguments" >"$dir/configured-with"
}

# logged FILE COMMAND...: the command's output goes to FILE; its end is shown when it fails.
logged()
{
    local log=$1 status
    shift
    "$@" >>"$log" 2>&1 </dev/null
    status=$?
    if [ $status != 0 ]; then
        say "Failed with status $status: $*"
        say "The end of $log:"
        tail -n 40 "$log" | sed 's/^/    /' >&2
    fi
    return $status
}
