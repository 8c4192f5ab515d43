#!/bin/sh
# Runs the recipe on the three budgets: within, over, undecided. Needs zstd. usage: test_ci_recipe.sh XCOMPRESS EXAMPLES CHECKPOINT
set -eu

XCOMPRESS=$1 examples=$2 checkpoint=$3
export XCOMPRESS
work=$(mktemp -d "${TMPDIR:-/tmp}/xc_recipe_XXXXXX")
trap 'rm -rf "$work"' EXIT

expect() { # BUDGET EXIT-CODE VERDICT
    code=0
    sh "$examples/ci-recipe.sh" "$checkpoint" "$1" "$work/$3" >"$work/$3.out" 2>"$work/$3.err" || code=$?
    if [ "$code" -ne "$2" ] || ! head -n 1 "$work/$3.out" | grep -q ": $3"; then
        echo "$1: exit code $code, expected $2 and '$3'"
        cat "$work/$3.out" "$work/$3.err"
        exit 1
    fi
    python3 - "$work/$3/check.xml" "$3" <<'PY'
import sys
import xml.etree.ElementTree as tree
suite = tree.parse(sys.argv[1]).getroot().find("testsuite")
cases = suite.findall("testcase")
failed = [c for c in cases if c.find("failure") is not None]
skipped = [c for c in cases if c.find("skipped") is not None]
assert len(cases) == int(suite.get("tests")) > 0 and len(failed) == int(suite.get("failures")) and len(skipped) == int(suite.get("skipped"))
assert bool(failed) == (sys.argv[2] == "over") and bool(skipped) == (sys.argv[2] == "undecided"), sys.argv[2]
PY
    grep -q '^| budget | limit | value' "$work/$3/check.md"
}

expect "$examples/budget.yaml" 0 within
expect "$examples/budget-over.yaml" 3 over

# Undecided, whatever a kernel or a pass changes: a third of the few answers differ, in both directions.
"$XCOMPRESS" compress "$checkpoint" -o "$work/old.xc" --quantize int8 --max-tokens 8 --quiet >"$work/old.txt"
zstd -dcq "$examples/../tests/data/subj.dev.tsv.zst" >"$work/all.tsv"
head -n 61 "$work/all.tsv" >"$work/few.tsv"
sed "s,\.\./tests,$examples/../tests," "$examples/budget-undecided.yaml" >"$work/undecided.yaml"
expect "$work/undecided.yaml" 0 undecided
grep -q 'warning: .*undecided' "$work/undecided.err"

# The same interval under strict is a failure.
sed "s/strict: false/strict: true/" "$work/undecided.yaml" >"$work/strict.yaml"
code=0
"$XCOMPRESS" check "$work/undecided/model.xc" --budget "$work/strict.yaml" >"$work/strict.out" || code=$?
[ "$code" -eq 3 ] || { echo "strict: exit code $code"; cat "$work/strict.out"; exit 1; }
