# inspect: the tree on a terminal and in a pipe, the keys of --json, manifests that are damaged.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert

printf 'A man is playing a guitar.\nTwo dogs run in the city.\n' >texts.txt
run "$XC_BIN" compress "$tiny" -o a.xc --quantize int8 --calibrate texts.txt -q

# ---- a pipe: ASCII, no escapes, no blanks at the ends of lines, every tensor ----
run "$XC_BIN" inspect a.xc
expect_code 0
! LC_ALL=C grep -q '[^ -~]' out || fail "a pipe gets plain ASCII"
! grep -q ' $' out || fail "blanks at the end of a line"
out_has 'made by        '
out_has 'recipe         quantize '
grep -q '^encoder.layer  .*%' out || fail "no group of layers"
grep -q '^      self  .*%' out || fail "no group below it"
grep -q 'query.weight .* 32 x 32  int8/row  .*%.*%.*%.*%$' out || fail "a linear has share, zeros, error and output error"
grep -q 'query.bias .* f32  .*%.*%$' out || fail "a bias has no error"
tensors=$(grep -c ' x 32  \| x 64  ' out)
run "$XC_BIN" inspect "$tiny"
expect_code 0
out_lacks error

# ---- a terminal: colour and lines, unless told otherwise ----
tty() { # tty LANG NO_COLOR TERM: what inspect writes to a terminal, in the file out
    ran="inspect on a terminal with LC_ALL=$1 NO_COLOR=$2 TERM=$3"
    LC_ALL=$1 NO_COLOR=$2 TERM=$3 python3 -c '
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
try:
    while True:
        data = os.read(fd, 65536)
        if not data: break
        sys.stdout.buffer.write(data)
except OSError:
    pass
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status))' "$XC_BIN" inspect a.xc >out 2>err
    code=$?
}
tty C.UTF-8 '' xterm
expect_code 0
grep -q "$(printf '\033')" out || fail "no colour on a terminal"
out_has '├ '
out_has '█'
tty C '' xterm
! LC_ALL=C grep -q "$(printf '[\200-\377]')" out || fail "a terminal without UTF-8 gets ASCII"
grep -q "$(printf '\033')" out || fail "no colour on a terminal"
for setting in 'C.UTF-8 1 xterm' 'C.UTF-8  dumb'; do
    # shellcheck disable=SC2086
    case $setting in *dumb) tty C.UTF-8 '' dumb ;; *) tty $setting ;; esac
    ! grep -q "$(printf '\033')" out || fail "colour all the same"
done

# ---- JSON ----
run "$XC_BIN" inspect a.xc --json
expect_code 0
python3 - <<'PY' || fail "keys of inspect --json"
import json
d = json.load(open("out"))
assert {"meta", "parameters", "bytes", "bits_per_weight", "layers"} <= d.keys()
for t in d["layers"]:
    assert {"name", "rows", "cols", "encoding", "bytes", "sparsity", "kind", "layer", "error", "output_error"} <= t.keys()
    assert t["name"].startswith(t["layer"])
    assert (t["error"] is not None) == (t["encoding"] == "int8/row"), t
    assert (t["output_error"] is not None) == (t["kind"] == "linear" and t["encoding"] == "int8/row"), t
assert {t["kind"] for t in d["layers"]} == {"gather", "layer_norm", "linear", "bias", "scale"}
PY
[ "$(json '["layers"].__len__()')" -eq "$tensors" ] || fail "not every tensor is in the tree"

# ---- mixed precision: what there was to choose from, and the drop ----
run "$XC_BIN" compress "$tiny" -o mixed.xc --target-bits 5 -q
run "$XC_BIN" inspect mixed.xc
expect_code 0
out_has 'drop of the answers by the encoding of one weight (* chosen)'
grep -q '^encoder.layer.0.attention.self.query.weight  int8/row\*\{0,1\} [0-9.e-]*  int4/g32' out || fail "no line of the profile"
[ "$(sed -n '/^drop of/,$p' out | grep -c '\*')" -ge 7 ] || fail "a weight has no choice"
grep -q '^in all: .* predicted, .* measured$' out || fail "no drop"
run "$XC_BIN" inspect mixed.xc --json
expect_json
[ "$(json '["sensitivity"][0]["name"]')" = embeddings.word_embeddings.weight ] || fail "no profile in JSON"
run "$XC_BIN" report mixed.xc -o mixed.html
expect_code 0
grep -q '<h2>Sensitivity</h2>' mixed.html && grep -q "Drop of the model's answers, all choices together" mixed.html || fail "the page has no profile"
run "$XC_BIN" report mixed.xc --markdown
out_has 'Encodings chosen layer by layer: drop of the answers'
