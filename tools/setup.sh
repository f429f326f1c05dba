#!/bin/sh
# setup.sh - what the machine must have, in one table, and how to get it.
#
#   tools/setup.sh SET...          installs what the sets (build, unit, test) lack
#   tools/setup.sh --check SET...  says in one line what they lack and exits 1
#
# Installing is for Debian and Ubuntu, by apt, through sudo when not root. Elsewhere the packages
# are named and nothing is touched. When nothing is missing, nothing is called.
set -u

# set | Debian package | how to tell that it is there | what it is for
packages() {
    cat <<'END'
build|gcc|command cc|compiler
build|libc6-dev|header stdio.h|C library
build|make|command make|build
build|protobuf-c-compiler|command protoc-c|schema compiler
build|libprotobuf-c-dev|header protobuf-c/protobuf-c.h|model files
build|libxxhash-dev|header xxhash.h|hashes
build|libdnnl-dev|header oneapi/dnnl/dnnl.h|float kernels
build|libjansson-dev|header jansson.h|JSON
build|zlib1g-dev|header zlib.h|npz files
unit|libcriterion-dev|header criterion/criterion.h|unit tests
unit|libzip-dev|header zip.h|unit tests
test|g++|command c++|header check
test|binutils|command nm|object checks
test|pkg-config|command pkg-config|install test
test|clang-format|command clang-format|style check
test|python3|command python3|oracle
test|python3-venv|python ensurepip|oracle
test|libonnx-testdata|file /usr/share/libonnx-testdata/data|conformance
END
}

has_header() {
    for directory in /usr/include /usr/local/include /usr/include/*-linux-gnu; do
        [ -f "$directory/$1" ] && return 0
    done
    command -v "${CC:-cc}" > /dev/null &&
        echo "#include <$1>" | "${CC:-cc}" ${CPPFLAGS-} -E - > /dev/null 2>&1
}

is_present() { # KIND WHAT
    case $1 in
    command) command -v "$2" > /dev/null ;;
    header) has_header "$2" ;;
    file) [ -e "$2" ] ;;
    python) python3 -c "import $2" > /dev/null 2>&1 ;;
    *) echo "setup: unknown probe $1" >&2; exit 1 ;;
    esac
}

# Prints "package (reason)" lines of what the sets lack.
missing_of() {
    packages | while IFS='|' read -r set package probe reason; do
        case " $* " in *" $set "*) ;; *) continue ;; esac
        is_present ${probe} || echo "$package ($reason)"
    done
}

names_of() { # strips the reasons, joins with spaces
    printf '%s\n' "$1" | sed 's/ (.*//' | tr '\n' ' ' | sed 's/ $//'
}

list_of() {
    printf '%s\n' "$1" | tr '\n' ',' | sed 's/,$//; s/,/, /g'
}

is_debian() {
    command -v apt-get > /dev/null && command -v dpkg > /dev/null
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

install() { # the missing lines
    names=$(names_of "$1")
    command_line="apt-get update && apt-get install -y --no-install-recommends $names"
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo > /dev/null; then
            echo "setup: missing: $(list_of "$1"); neither root nor sudo here, as root run:" >&2
            echo "    $command_line" >&2
            return 1
        fi
        echo "setup: missing: $(list_of "$1"); installing with apt-get through sudo" >&2
    else
        echo "setup: missing: $(list_of "$1"); installing with apt-get" >&2
    fi
    as_root apt-get -q update >&2 ||
        echo "setup: apt-get update failed, going on with the lists that are here" >&2
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends $names >&2 || {
        echo "setup: the installation failed; as root run:" >&2
        echo "    $command_line" >&2
        return 1
    }
}

check=0
if [ "${1-}" = --check ]; then
    check=1
    shift
fi
for set in "$@"; do
    case $set in
    build | unit | test) ;;
    *) echo "usage: tools/setup.sh [--check] build|unit|test ..." >&2; exit 2 ;;
    esac
done
[ $# -gt 0 ] || { echo "usage: tools/setup.sh [--check] build|unit|test ..." >&2; exit 2; }

missing=$(missing_of "$@")
[ -n "$missing" ] || exit 0

if [ $check -eq 1 ]; then
    if is_debian; then
        echo "missing $(list_of "$missing"): sudo apt-get install $(names_of "$missing")"
    else
        echo "missing $(list_of "$missing"), by their Debian names"
    fi
    exit 1
fi
if ! is_debian; then
    echo "setup: not a Debian or Ubuntu system; please install, by their Debian names:" >&2
    printf '%s\n' "$missing" | sed 's/^/    /' >&2
    exit 1
fi
install "$missing" || exit 1

still=$(missing_of "$@")
if [ -n "$still" ]; then
    echo "setup: still not found after the installation: $(list_of "$still")" >&2
    exit 1
fi
