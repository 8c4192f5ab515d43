#!/bin/sh
# mixed.sh XCOMPRESS MODEL DATA [THREADS [OPTION...]]: mixed precision beside uniform formats at the same bytes of the file. DATA: sentence pairs with scores. For
# each uniform format: its file, then `--target-bytes` of that size; Spearman and the mean and least cosine with MODEL's embeddings; the drop that the
# profile predicts and the one measured on its own texts. OPTIONs go to the mixed one: --calibrate FILE.
set -eu
xc=$1
model=$2
data=$3
threads=${4:-1}
shift 3
[ $# -eq 0 ] || shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM HUP
score() {
    "$xc" eval "$dir/$1.xc" -t sts -d "$data" -r "$model" --threads "$threads" --quiet --json >"$dir/score"
    python3 - "$dir/score" "$dir/$1.json" "$2" <<'END'
import json, sys
s, r = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
d = r.get("drop")
print(f"| {sys.argv[3]} | {r['output_bytes']:,} | {s['metrics']['spearman']['value']:.4f} | {s['cosine']['mean']:.4f} | {s['cosine']['min']:.4f} | " + (f"{d['predicted']:.4f} | {d['measured']:.4f} |" if d else "| |"), flush=True)
END
}
echo "| weights | bytes | Spearman | mean cosine | least | drop predicted | measured |"
echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
for uniform in int2/32 int3/64 int3/32 int4/128 int4/64 int4/32 int8/row; do
    format=${uniform%/*} group=${uniform#*/}
    printf 'passes: [quantize: {format: %s%s}]\n' "$format" "$([ "$group" = row ] || echo ", group: $group")" >"$dir/uniform.yaml"
    "$xc" compress "$model" -r "$dir/uniform.yaml" --threads "$threads" --quiet --json -o "$dir/uniform.xc" >"$dir/uniform.json"
    score uniform "$format $([ "$group" = row ] && echo row || echo "g$group")"
    bytes=$(wc -c <"$dir/uniform.xc")
    "$xc" compress "$model" --target-bytes "$bytes" --threads "$threads" "$@" --quiet --json -o "$dir/mixed.xc" >"$dir/mixed.json"
    score mixed "mixed, the same bytes"
done
