#!/bin/sh
# Installs what the build needs, and with "tests" what the tests need too. Debian 12 or newer; root, or sudo is used.
# usage: scripts/deps.sh [tests]
set -eu

packages="gcc libc6-dev meson ninja-build pkg-config python3 python3-pip zstd ca-certificates
 libjansson-dev libzstd-dev libxxhash-dev libyaml-dev libutf8proc-dev libopenblas-dev liblapacke-dev"
test_packages="libcmocka-dev clang libclang-rt-dev g++ libsimde-dev mandoc"
optional_packages="chromium openmpi-bin libopenmpi-dev" # for the tests: what needs it is skipped where it cannot be had

if [ "${1:-}" = tests ]; then packages="$packages $test_packages"; else optional_packages=; fi

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'install ok installed'; }
missing=
for p in $packages; do installed "$p" || missing="$missing $p"; done
wanted=
for p in $optional_packages; do installed "$p" || wanted="$wanted $p"; done
[ -n "$missing$wanted" ] || exit 0

if [ "$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi
echo "installing:$missing$wanted" >&2
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
# shellcheck disable=SC2086
if [ -n "$missing" ]; then $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null; fi
for p in $wanted; do
    $sudo apt-get install -y -qq --no-install-recommends "$p" >/dev/null || echo "cannot install $p: tests that need it are skipped" >&2
done
