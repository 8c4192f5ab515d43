#!/bin/sh
# Cross-compiles for aarch64 and runs under qemu-user: the kernels, every level bit for bit against scalar; then whole models made here, on libxcrt
# alone: their golden samples and embeddings. Installs gcc-aarch64-linux-gnu and qemu-user. usage: scripts/test-neon.sh
set -eu

cd "$(dirname "$0")/.."
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >/dev/null
fi
scripts/deps.sh
scripts/build.sh build-neon -Dtests=false
tests/kernels/run-neon.sh
exec tests/kernels/run-neon-model.sh build-neon/cli/xcompress build-neon/aarch64
