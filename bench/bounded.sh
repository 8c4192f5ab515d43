#!/bin/sh
# bounded.sh BUILD DIR [LAYERS [cold]]: a made-up checkpoint larger than the memory allowed, through int8 and int4, beside cp of the same files in the same cache
# state: in the page cache, or with `cold` not there. LAYERS layers of hidden 4096 (14: 11.9 GB; 3: 2.9 GB). Needs twice that much room in DIR; leaves nothing there.
set -eu
build=$1
dir=$2/xc-bounded.$$
mkdir "$dir"
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM HUP
state() {
    [ "${1:-warm}" = cold ] || { cat "$dir"/model/*.safetensors >/dev/null; return; }
    sync
    for shard in "$dir"/model/*.safetensors; do dd if="$shard" iflag=nocache count=0 status=none; done
}
"$build"/bench/make_checkpoint "$dir/model" "${3:-14}"
bytes=$(du -sb "$dir/model" | cut -f1)
for what in "int8 --set smooth=no --no-golden" "int4 --set smooth=no --no-golden" "int8"; do
    state "${4:-}"
    # shellcheck disable=SC2086
    /usr/bin/time -f "$what: %e s, %M KB at most, %U + %S s of CPU" "$build"/cli/xcompress compress "$dir/model" --quantize $what --max-memory 512MB -o "$dir/out.xc" --quiet
    rm -f "$dir/out.xc"
done
state "${4:-}"
/usr/bin/time -f "cp: %e s, $bytes bytes" cp -r "$dir/model" "$dir/copy"
