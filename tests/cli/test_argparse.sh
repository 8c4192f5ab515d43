# Option parsing, through demo_verb: every type, every way to write an option, every error.
. "$(dirname "$0")/lib.sh"

demo=$XC_DEMO
usage() { expect_usage "xcompress demo: $1; see 'xcompress demo --help'"; }
defaults='loud=0 count=3 limit=64000000 share=0.05 out=(none) name=anon kind=cls threads=0 seed=0 max=0 quiet=0 json=0 secret=0'

run "$demo" a
expect_code 0
expect_err
expect_out "$defaults
arg=a"

# Every way to write a value; options between and after operands; bundles; abbreviations.
for how in '-n 7' '-n7' '--count 7' '--count=7' '--cou 7' '--co=7'; do
    run "$demo" a $how b
    expect_out "$(echo "$defaults" | sed 's/count=3/count=7/')
arg=a
arg=b"
done
run "$demo" -lqn7 -kmax a
expect_out "$(echo "$defaults" | sed 's/loud=0/loud=1/; s/count=3/count=7/; s/quiet=0/quiet=1/; s/kind=cls/kind=max/')
arg=a"
run "$demo" --no-progress --json --secret a
expect_out "$(echo "$defaults" | sed 's/quiet=0/quiet=1/; s/json=0/json=1/; s/secret=0/secret=1/')
arg=a"
run "$demo" --limit=1.5GiB --share 0.25 -o x.xc --name= --threads 4 --seed 9 --max-memory 2KB a
expect_out "loud=0 count=3 limit=1610612736 share=0.25 out=x.xc name= kind=cls threads=4 seed=9 max=2000 quiet=0 json=0 secret=0
arg=a"
run "$demo" -t one a --tag=two -t three
expect_out "$defaults
tag=one
tag=two
tag=three
arg=a"
run "$demo" -n 5 -n 6 a # the last one wins
out_has 'count=6'
run "$demo" -- -n --loud
expect_out "$defaults
arg=-n
arg=--loud"
run "$demo" - # a lone dash is an operand
out_has 'arg=-'
run "$demo" -o --loud a # a value may look like an option, as everywhere
out_has 'out=--loud'

# Wrong usage: one line each.
run "$demo";                 usage "missing argument: expected 'FILE [FILE2] [options]'"
run "$demo" a b c;           usage "unexpected argument 'c'"
run "$demo" a --bogus;       usage "unknown option '--bogus'"
run "$demo" a --kimd=max;    usage "unknown option '--kimd', did you mean '--kind'?"
run "$demo" a --treads 2;    usage "unknown option '--treads', did you mean '--threads'?"
run "$demo" a --hlep;        usage "unknown option '--hlep', did you mean '--help'?"
run "$demo" a -x;            usage "unknown option '-x'"
run "$demo" a -lx;           usage "unknown option '-x'"
run "$demo" a --n 3;         usage "option '--n' is ambiguous: '--name', '--no-progress'"
run "$demo" a --loud=yes;    usage "option '--loud' takes no value"
run "$demo" a --count;       usage "option '--count' needs a value"
run "$demo" a -n;            usage "option '-n' needs a value"
run "$demo" a -n 0;          usage "option '-n' must be an integer from 1 to 100, not '0'"
run "$demo" a --count 101;   usage "option '--count' must be an integer from 1 to 100, not '101'"
run "$demo" a --count 7x;    usage "option '--count' must be an integer from 1 to 100, not '7x'"
run "$demo" a --count '';    usage "option '--count' must be an integer from 1 to 100, not ''"
run "$demo" a --seed -1;     usage "option '--seed' must be an integer >= 0, not '-1'"
run "$demo" a --threads 99999999999999999999; usage "option '--threads' must be an integer from 0 to 1024, not '99999999999999999999'"
run "$demo" a --limit 3XB;   usage "option '--limit' must be a size such as 500KB, 64MB or 1.5GiB, not '3XB'"
run "$demo" a --share 1.5;   usage "option '--share' must be a number from 0 to 1, not '1.5'"
run "$demo" a --share nan;   usage "option '--share' must be a number from 0 to 1, not 'nan'"
run "$demo" a --kind median; usage "option '--kind' must be 'mean', 'cls' or 'max', not 'median'"
run "$demo" a "$(printf -- '--b\033[31mad')"; usage "unknown option '--b\\x1b[31mad'"

# Help: exact, because it is the face of the program.
for how in --help -h --hel; do
    run "$demo" $how
    expect_code 0
    expect_err
    expect_out "Usage: xcompress demo FILE [FILE2] [options]
       xcompress demo --list

Show what was parsed.

A first paragraph, which is long enough that it has to be wrapped at eighty
columns to be read.

    xcompress demo 'x' -k mean

Options:
  -l, --loud                speak up
  -n, --count N             how many (default: 3)
      --limit SIZE          at most so many bytes (default: 64MB)
  -s, --share X             how much of it; a rather long explanation that has
                            to be wrapped onto a second line (default: 5%)
  -o, --output FILE         write to FILE
      --name TEXT           what to call it (default: anon)
  -k, --kind {mean,cls,max} which kind (default: cls)
  -t, --tag TAG             a tag (may be given several times)

Everywhere:
      --threads N           threads to use; 0 for one per CPU that this process
                            may use (default: 0)
      --seed S              seed of everything random: the same seed gives the
                            same result (default: 0)
      --max-memory SIZE     fail rather than use more memory, such as 512MB or
                            2GiB (default: no limit)
  -q, --quiet               no progress on stderr
      --no-progress         the same as --quiet
      --json                print the result as one JSON object
  -h, --help                show this help"
done

# The manual: no warnings, and the text arrives.
run "$demo" --man
out_lacks secret
if command -v mandoc >/dev/null; then
    cp out page.1
    run mandoc -T lint -W warning page.1
    expect_lint
    run mandoc -T utf8 page.1
    grep -v '^$' out | sed 's/.\x08//g' >page.txt
    for want in 'xcompress demo FILE' '-k, --kind {mean,cls,max}' "xcompress demo 'x' -k mean" 'EXIT STATUS'; do
        grep -qF -- "$want" page.txt || fail "the manual lacks: $want"
    done
fi

# Completions, as bash computes them.
run "$demo" --bash
cp out completion.bash
complete() { # WORDS...: the last one is being typed
    run bash -c '. ./completion.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _xcompress; printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}
if command -v bash >/dev/null; then
    : >afile.xc
    complete xcompress de;                 expect_out demo
    complete xcompress help d;             expect_out demo
    complete xcompress demo --ki;          expect_out --kind
    complete xcompress demo --kind m;      expect_out 'mean
max'
    complete xcompress demo --kind = me;   expect_out mean
    complete xcompress demo -o af;         expect_out afile.xc
    complete xcompress demo af;            expect_out afile.xc
    complete xcompress demo --count '';    expect_out ''
    complete xcompress demo --se;          expect_out --seed
fi
run "$demo" --zsh
out_has "'--kind=[which kind]:value:(mean cls max)'"
out_has "'*--tag=[a tag]:TAG: '"
if command -v zsh >/dev/null; then
    cp out _xcompress
    run zsh -n _xcompress
    expect_code 0
fi
