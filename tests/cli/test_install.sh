# `meson install` into an empty place: everything is there, and programs build against it by pkg-config, shared and static, C and C++.
. "$(dirname "$0")/lib.sh"

# The meson that made the build folder; there may be several on a machine, and they do not read one another's files.
meson=$(sed -n 's/^ *command = \(.*\) --internal regenerate .*/\1/p' "${XC_BUILD_ROOT:?}/build.ninja" | head -n 1)
[ -n "$meson" ] && command -v pkg-config >/dev/null || exit 77
run $meson install -C "$XC_BUILD_ROOT" --no-rebuild --destdir "$work/root"
expect_code 0
prefix=$(dirname "$(dirname "$(find root -name xcompress -type f -perm -u+x | head -n 1)")")
for want in bin/xcompress include/xcompress/runtime.h include/xcompress/compress.h share/man/man1/xcompress.1 \
            share/bash-completion/completions/xcompress.bash share/zsh/site-functions/_xcompress; do
    [ -s "$prefix/$want" ] || fail "not installed: $want"
done
pc=$(dirname "$(find root -name xcrt.pc)")
libs=$(dirname "$pc")

# Only the API is exported, and libxcrt needs what DESIGN allows.
for lib in xcrt xcompress; do
    run sh -c "nm -D --defined-only '$libs/lib$lib.so' | awk '\$3 !~ /^xc_/ { print \$3 }'"
    [ -s out ] && ! grep -q 'san' out && fail "lib$lib.so exports names that do not begin with xc_"
done
grep -ho 'XC_API[^;]*' "$prefix"/include/xcompress/*.h | grep -o 'xc_[a-z0-9_]*(' | tr -d '(' | sort -u >api.txt
nm -D --defined-only "$libs/libxcompress.so" | awk '{ print $3 }' | sort -u >exported.txt
run comm -23 api.txt exported.txt
expect_out # of the headers' functions, all are exported

# A sanitized build cannot be linked by a plain compiler line.
nm -D "$libs/libxcrt.so" | grep -qE '__(asan|tsan|ubsan)' && exit

cat >program.c <<'C'
#include <stdio.h>
#include <xcompress/runtime.h>
int main(void)
{
    struct xc_err err;
    struct xc_model *model;
    puts(xc_version());
    return xc_model_open(&model, "no-such-file", &err) == XC_E_IO ? 0 : 1;
}
C
cp program.c program.cpp
export PKG_CONFIG_PATH="$work/$pc" LD_LIBRARY_PATH="$work/$libs"
# The .pc files hold the final prefix: point it into the staging area.
flags() { pkg-config --define-variable=prefix="$work/$prefix" "$@"; }
link() { # COMPILER SOURCE FLAGS...
    run "$@" -o program
    expect_code 0
    run ./program
    expect_code 0
}
for lib in xcrt xcompress; do
    link cc program.c $(flags --cflags --libs $lib)
    command -v c++ >/dev/null && link c++ program.cpp $(flags --cflags --libs $lib)
    link cc program.c $(flags --cflags $lib) "$libs/lib$lib.a" $(flags --static --libs $lib | sed "s/-l$lib//")
done
run sh -c "objdump -p '$libs/libxcrt.so' | awk '/NEEDED/ { print \$2 }' | sed 's/\.so.*//' | sort | tr '\n' ' '"
for need in $(cat out); do
    case $need in libc | libm | libpthread | libzstd | libutf8proc | libxxhash | ld-linux*) ;; *) fail "libxcrt.so needs $need" ;; esac
done
