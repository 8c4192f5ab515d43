#!/bin/sh
# forecast.sh XCOMPRESS MODEL TEXTS RECIPES [NAME...]: what --plan foresees beside what the work takes, for every recipe of the folder RECIPES (or those named):
# seconds and peak memory. On an idle machine.
set -eu
xc=$1
model=$2
texts=$3
recipes=$4
shift 4
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM HUP
[ $# -gt 0 ] || set -- $(cd "$recipes" && echo *.yaml)
echo "| recipe | seconds foreseen | taken | | MB foreseen | taken | |"
echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
for name; do
    recipe=$recipes/${name%.yaml}.yaml
    calibrate=
    ! grep -q -- --calibrate "$recipe" || calibrate="--calibrate $texts"
    case $name in mixed*) calibrate= ;; esac
    # shellcheck disable=SC2086
    "$xc" compress "$model" -r "$recipe" $calibrate --plan --json --quiet >"$dir/plan"
    # shellcheck disable=SC2086
    "$xc" compress "$model" -r "$recipe" $calibrate -o "$dir/out.xc" --json --quiet >"$dir/done"
    python3 - "$dir/plan" "$dir/done" "${name%.yaml}" <<'END'
import json, sys
p, d = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
s, m = p["predicted"]["seconds"], p["predicted"]["peak_rss_mb"]
print(f"| {sys.argv[3]} | {s:.2f} | {d['seconds']:.2f} | {100 * (s / d['seconds'] - 1):+.0f} % | {m:.0f} | {d['peak_rss_mb']:.0f} | {100 * (m / d['peak_rss_mb'] - 1):+.0f} % |", flush=True)
END
done
