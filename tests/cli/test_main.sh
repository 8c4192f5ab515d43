# What every verb shares: finding it, help, version, exit codes, and results that do not reach their reader.
. "$(dirname "$0")/lib.sh"

run "$XC_BIN"
expect_usage "xcompress: no verb given; see 'xcompress help'"
run "$XC_BIN" --version
expect_code 0
grep -qE '^xcompress [0-9]+\.[0-9]+\.[0-9]+$' out || fail "no version"
run "$XC_BIN" -V
expect_code 0
run "$XC_BIN" zzzzzz
expect_usage "xcompress: unknown verb 'zzzzzz'; see 'xcompress help'"
run "$XC_BIN" hlep
expect_usage "xcompress: unknown verb 'hlep', did you mean 'help'?; see 'xcompress help'"
run "$XC_BIN" --bogus
expect_usage "xcompress: unknown option '--bogus'; see 'xcompress help'"
run "$XC_BIN" help no-such
expect_code 2
run "$XC_BIN" help a b
expect_code 2

for how in help --help -h 'help help'; do
    run "$XC_BIN" $how
    expect_code 0
    expect_err
    out_has 'Usage: xcompress VERB'
    out_has 'Exit codes: 0 done'
done

# Every verb: help in both ways is the same, is listed, knows wrong options; the manual and the completions have it.
verbs=$("$XC_BIN" help | sed -n 's/^  \([a-z]*\) .*/\1/p')
for verb in $verbs; do
    run "$XC_BIN" help "$verb"
    expect_code 0
    cp out help.txt
    run "$XC_BIN" "$verb" --help
    expect_code 0
    expect_err
    cmp -s out help.txt || fail "'help $verb' and '$verb --help' differ"
    out_has "Usage: xcompress $verb"
    awk 'length > 100 { exit 1 }' out || fail "a line of the help is longer than 100 columns"
    run "$XC_BIN" "$verb" --no-such-option
    expect_code 2
    [ "$(wc -l <err)" -eq 1 ] || fail "wrong usage is not one line"
    expect_out
done
run "$XC_BIN" --dump-man
expect_code 0
cp out xcompress.1
for verb in $verbs; do grep -q "^\.SS $verb\$" xcompress.1 || fail "the manual lacks $verb"; done
if command -v mandoc >/dev/null; then
    run mandoc -T lint -W warning xcompress.1
    expect_lint
fi
run "$XC_BIN" --dump-completion bash
cp out completion.bash
if command -v bash >/dev/null; then
    run bash -n completion.bash
    expect_code 0
fi
run "$XC_BIN" --dump-completion zsh
expect_code 0
run "$XC_BIN" --dump-completion fish
expect_code 2

# A result that does not reach its reader is a failure.
if [ -w /dev/full ]; then
    ran='help >/dev/full'
    : >out
    "$XC_BIN" help >/dev/full 2>err
    code=$?
    expect_failure 'cannot write to stdout: No space left on device'
fi
ran='--dump-man | nothing'
{ sleep 0.2; "$XC_BIN" --dump-man 2>err; echo $? >code.txt; } | :
code=$(cat code.txt)
expect_failure 'cannot write to stdout: Broken pipe'
ran='--version >&-'
: >out
"$XC_BIN" --version >&- 2>err
code=$?
expect_code 1

# A signal while waiting for input: the exit code says which, at once.
run "$XC_BIN" compress "$XC_SOURCE_ROOT/tests/data/tiny-bert" -o m.xc --quantize int8
expect_code 0
mkfifo pipe
for sig in INT:130 TERM:143; do
    ran="tokenize, then SIG${sig%:*}"
    sleep 60 >pipe &
    writer=$!
    "$XC_BIN" tokenize m.xc <pipe >out 2>err &
    pid=$!
    sleep 1
    kill -"${sig%:*}" $pid
    wait $pid
    code=$?
    expect_code "${sig#*:}"
    kill $writer
    wait $writer 2>/dev/null || true
done
