#!/bin/sh
# Cross-compiles the kernels and their check for aarch64 and runs it under qemu-user: NEON against scalar, bit for bit.
#   run-neon.sh [BUILD_DIR]      needs gcc-aarch64-linux-gnu (or $CC) and qemu-user (or $QEMU)
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cc=${CC:-aarch64-linux-gnu-gcc}
qemu=${QEMU:-qemu-aarch64}
out=${1:-$(mktemp -d)}
for tool in "$cc" "$qemu"; do
    command -v "$tool" >/dev/null || { echo "run-neon: '$tool' is not installed" >&2; exit 1; }
done
mkdir -p "$out"
cd "$root"
flags="-std=c11 -O2 -D_GNU_SOURCE -I. -Iinclude -ffp-contract=off -Wall -Wextra -Wconversion -Wshadow -Wno-missing-field-initializers"
objects=
for source in runtime/base/alloc.c runtime/base/half.c runtime/base/status.c runtime/kernels/*.c runtime/kernels/scalar/*.c \
    runtime/kernels/neon/*.c tests/kernels/check_*.c tests/kernels/operands.c tests/kernels/oracle.c; do
    object=$out/$(echo "$source" | tr / _).o
    isa=
    case $source in runtime/kernels/neon/*) isa=-march=armv8.2-a+dotprod ;; esac
    # shellcheck disable=SC2086
    "$cc" $flags $isa -c "$source" -o "$object"
    objects="$objects $object"
done
# shellcheck disable=SC2086
"$cc" $objects -o "$out/check_kernels" -lm -lpthread
exec "$qemu" -L "${SYSROOT:-/usr/aarch64-linux-gnu}" "$out/check_kernels"
