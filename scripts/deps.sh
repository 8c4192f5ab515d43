#!/bin/sh
# Installs what the build needs, and with "tests" what the tests need too. Debian 12 or newer; root, or sudo is used.
# usage: scripts/deps.sh [tests]
set -eu

packages="gcc libc6-dev meson ninja-build pkg-config python3 python3-pip zstd ca-certificates
 libjansson-dev libzstd-dev libxxhash-dev libyaml-dev libutf8proc-dev libopenblas-dev liblapacke-dev"
test_packages="libcmocka-dev clang libclang-rt-dev g++ libsimde-dev mandoc"

if [ "${1:-}" = tests ]; then packages="$packages $test_packages"; fi

missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
echo "installing:$missing" >&2
$sudo apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
