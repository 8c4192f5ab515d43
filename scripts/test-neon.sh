#!/bin/sh
# Cross-compiles the kernels for aarch64 and checks every level bit for bit against scalar under qemu-user.
# Installs gcc-aarch64-linux-gnu and qemu-user. usage: scripts/test-neon.sh
set -eu

cd "$(dirname "$0")/.."
if ! command -v aarch64-linux-gnu-gcc >/dev/null || ! command -v qemu-aarch64 >/dev/null; then
    if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user >/dev/null
fi
exec tests/kernels/run-neon.sh
