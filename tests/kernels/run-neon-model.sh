#!/bin/sh
# Cross-compiles the whole of libxcrt for aarch64 with the zstd, utf8proc and xxhash of the same Debian (fetched into a folder, nothing is installed),
# and runs models made here under qemu-user: golden samples at every level, embeddings bit for bit those of the scalar and the best kernels here.
#   run-neon-model.sh XCOMPRESS [BUILD_DIR]      needs gcc-aarch64-linux-gnu (or $CC), qemu-user (or $QEMU), apt
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cc=${CC:-aarch64-linux-gnu-gcc}
qemu=${QEMU:-qemu-aarch64}
xc=$(realpath "${1:?usage: run-neon-model.sh XCOMPRESS [BUILD_DIR]}")
out=${2:-$(mktemp -d)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$out"

# The packages of the other architecture, by an apt with a state of its own.
if [ ! -d sysroot/usr/include ]; then
    mkdir -p state/lists/partial cache/archives/partial sysroot
    : >state/status
    cat >apt.conf <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$out/state";
Dir::State::status "$out/state/status";
Dir::Cache "$out/cache";
CONF
    export APT_CONFIG=$out/apt.conf
    apt-get update -qq
    apt-get download -qq libzstd-dev libutf8proc-dev libxxhash-dev
    unset APT_CONFIG
    for deb in ./*.deb; do dpkg -x "$deb" sysroot; done
fi
lib=sysroot/usr/lib/aarch64-linux-gnu

cd "$root"
flags="-std=c11 -O2 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DXC_VERSION=\"cross\" -I. -Iinclude -isystem $out/sysroot/usr/include -ffp-contract=off -Wall -Wextra -Wconversion"
flags="$flags -Wno-missing-field-initializers"
objects=
for source in $(find runtime -name '*.c' ! -path '*/avx*' | sort) tests/kernels/neon_model.c; do
    object=$out/$(echo "$source" | tr / _).o
    isa=
    case $source in runtime/kernels/neon/*) isa=-march=armv8.2-a+dotprod ;; esac
    # shellcheck disable=SC2086
    "$cc" $flags $isa -c "$source" -o "$object"
    objects="$objects $object"
done
cd "$out"
# shellcheck disable=SC2086
"$cc" $objects $lib/libzstd.a $lib/libutf8proc.a $lib/libxxhash.a -o neon_model -lm -lpthread

zstd -dcq "$root/tests/data/tatoeba.en.txt.zst" >all.txt
head -n 40 all.txt >texts.txt
for store in fast small; do
    "$xc" compress "$root/tests/data/tiny-bert" -o $store.xc --quantize int8 --store $store --quiet >compress.txt
    "$qemu" -L "${SYSROOT:-/usr/aarch64-linux-gnu}" ./neon_model $store.xc texts.txt there.f32
    for level in scalar ''; do
        XC_CPU=$level "$xc" embed $store.xc --file texts.txt -o here.npy --quiet >embed.txt
        tail -c +129 here.npy >here.f32
        cmp here.f32 there.f32 || { echo "run-neon-model: embeddings differ from XC_CPU=$level here" >&2; exit 1; }
    done
done
for model in bert_classify distilbert_tag roberta_mlm; do
    "$xc" compress "$root/tests/vectors/arch/$model" -o $model.xc --quantize int8 --quiet >compress.txt
    "$qemu" -L "${SYSROOT:-/usr/aarch64-linux-gnu}" ./neon_model $model.xc
done
echo "NEON: whole models give the same bits"
