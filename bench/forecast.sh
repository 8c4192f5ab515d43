#!/bin/sh
# forecast.sh XCOMPRESS MODEL TEXTS RECIPES [NAME...]: what --plan foresees beside what the work takes, for every recipe of the folder RECIPES (or those named):
# seconds, peak memory and bytes of the file. RECIPES is examples/recipes, or bench/forecast: what none of those does alone. On an idle machine.
# OPTIONS: for every run (OPTIONS="--max-memory 512MB": a checkpoint larger than memory; OPTIONS="--store small").
# OUT: a folder on the disk for what is made, where the folder of temporary files is in memory.
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
echo "| recipe | seconds foreseen, taken | | MB foreseen, taken | | bytes foreseen, made | |"
echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
for name; do
    recipe=$recipes/${name%.yaml}.yaml
    calibrate=
    ! grep -q -- --calibrate "$recipe" || calibrate="--calibrate $texts"
    case $name in mixed*) calibrate= ;; esac
    # shellcheck disable=SC2086
    "$xc" compress "$model" -r "$recipe" $calibrate ${OPTIONS:-} --plan --json --quiet >"$dir/plan"
    # shellcheck disable=SC2086
    "$xc" compress "$model" -r "$recipe" $calibrate ${OPTIONS:-} -o "${OUT:-$dir}/forecast.xc" --json --quiet >"$dir/done"
    rm -f "${OUT:-$dir}/forecast.xc"
    python3 - "$dir/plan" "$dir/done" "${name%.yaml}" <<'PYTHON'
import json, sys
p, d = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
pairs = ((p["predicted"]["seconds"], d["seconds"], ".2f"), (p["predicted"]["peak_rss_mb"], d["peak_rss_mb"], ".0f"), (p["output_bytes"], d["output_bytes"], ","))
print(f"| {sys.argv[3]} |" + "".join(f" {a:{form}}, {b:{form}} | {100 * (a / b - 1):+.0f} % |" for a, b, form in pairs), flush=True)
PYTHON
done
