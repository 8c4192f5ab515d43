#!/bin/sh
# A continuous integration job: compress a checkpoint, then ask whether the result is within its budget. Leaves the model, a JUnit report for
# the CI server and a Markdown table for the summary of the run in the folder OUT. Exits with the code of the check: 0 within or undecided, 3 over.
# usage: ci-recipe.sh CHECKPOINT BUDGET OUT        XCOMPRESS names the program
set -eu

checkpoint=$1 budget=$2 out=$3
xcompress=${XCOMPRESS:-xcompress}
mkdir -p "$out"

"$xcompress" compress "$checkpoint" -o "$out/model.xc" --quantize int8 --quiet >"$out/compress.txt"
"$xcompress" selftest "$out/model.xc" >"$out/selftest.txt"

code=0
"$xcompress" check "$out/model.xc" --budget "$budget" --junit "$out/check.xml" --markdown "$out/check.md" || code=$?
# GitHub shows what is appended to this file on the page of the run.
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$out/check.md" ]; then cat "$out/check.md" >>"$GITHUB_STEP_SUMMARY"; fi
exit "$code"
