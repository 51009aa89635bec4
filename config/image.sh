#!/bin/sh
# Lays out the root of a container image: the program, the libraries it is linked with, and nothing
# that could run anything else. The Dockerfile calls it; so does the test, which then runs from there.
#
#     config/image.sh PROGRAM DIRECTORY
set -eu

program=${1:?usage: image.sh PROGRAM DIRECTORY}
image=${2:?usage: image.sh PROGRAM DIRECTORY}
user=65532

if [ -e "$image" ]; then
    echo "image.sh: $image is there already" >&2
    exit 1
fi
mkdir -p "$image/etc/bulkhead" "$image/run/bulkhead" "$image/var/lib/dpkg/status.d"
install -m 0755 "$program" "$image/bulkhead"
strip "$image/bulkhead"
echo "bulkhead:x:$user:$user:bulkhead:/:/none" >"$image/etc/passwd"
echo "bulkhead:x:$user:" >"$image/etc/group"

# The package that has the file; where one diverts it, dpkg-query has lines about that too.
owner() {
    dpkg-query -S "$1" 2>/dev/null | sed -n '/^diversion /!{s/[:,].*//p;q}'
}

# "libx.so.1 => /lib/libx.so.1 (0x...)", and the loader, whose line has no arrow.
found=$(ldd "$program")
case $found in
*"not found"*)
    echo "image.sh: $program lacks a library:" "$found" >&2
    exit 1
    ;;
esac
echo "$found" | sed -n 's|^[[:space:]]*\([^ ]* => \)\{0,1\}\(/[^ ]*\) (0x.*|\2|p' |
    while read -r library; do
        install -D -m 0755 "$library" "$image$library"
        # Which package it is from, for scanners of images, and its licence. With a merged /usr
        # the package may know the file by either path.
        name=${library#/usr}
        package=$(owner "$name")
        [ -n "$package" ] || package=$(owner "/usr$name")
        [ -n "$package" ] || package=$(owner "$(realpath "$library")")
        if [ -n "$package" ]; then
            dpkg-query -s "$package" >"$image/var/lib/dpkg/status.d/$package"
            licence=/usr/share/doc/$package/copyright
            [ ! -e "$licence" ] || install -D -m 0644 "$licence" "$image$licence"
        fi
    done
