# report in a browser: headless Chromium draws the page, wide and narrow, light and dark, and has nothing to say on its console. Skipped without one.
. "$(dirname "$0")/lib.sh"
tiny=$XC_SOURCE_ROOT/tests/data/tiny-bert
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "skipped: no chromium (scripts/deps.sh tests installs it)"
    exit 77
}

printf 'A man is playing a guitar.\nTwo dogs run in the city.\n' >texts.txt
printf 'score\ttext_a\ttext_b\n5\ta man eats\ta man is eating\n1\ta man eats\ttwo dogs\n3\tone\ttwo\n0\tx\tsomething else\n' >sts.tsv
echo "model: {max_bytes: 100kB, max_bits_per_weight: 1}" >b.yaml
run "$XC_BIN" compress "$tiny" -o a.xc --quantize int8 --calibrate texts.txt -q
run "$XC_BIN" report a.xc -o page.html --from "$tiny" -t sts -d sts.tsv -r "$tiny" --tokens 8,16 -b b.yaml -q
expect_code 0

# look PAGE PICTURE WIDTH [FLAG]: draws a page; what its console says is in the file console.
look() {
    ran="chromium $1 at width $3 ${4:-}"
    HOME=$work timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run --user-data-dir="$work/profile" --enable-logging=stderr --window-size="$3,900" \
        --screenshot="$work/$2" ${4:+"$4"} "file://$work/$1" >out 2>err
    code=$?
    expect_code 0
    grep -a 'CONSOLE' err >console
}

# How the picture looks, from its PNG: size, and share of the pixels by lightness.
picture() {
    python3 - "$1" "$2" "$3" <<'PY' || fail "the picture $1 is not as expected"
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
assert data[:8] == b"\x89PNG\r\n\x1a\n"
at, idat = 8, b""
while at < len(data):
    n, kind = struct.unpack(">I4s", data[at:at + 8])
    if kind == b"IHDR": width, height, depth, colour = struct.unpack(">IIBB", data[at + 8:at + 18])
    if kind == b"IDAT": idat += data[at + 8:at + 8 + n]
    at += 12 + n
assert width == int(sys.argv[2]) and depth == 8 and colour in (2, 6), (width, height, depth, colour)
bpp, raw = (3 if colour == 2 else 4), zlib.decompress(idat)
row, light, dark, blue = bytearray(width * bpp), 0, 0, 0
for y in range(height):
    kind, line = raw[y * (width * bpp + 1)], bytearray(raw[y * (width * bpp + 1) + 1:(y + 1) * (width * bpp + 1)])
    for i in range(len(line)):
        a, b, c = (line[i - bpp] if i >= bpp else 0), row[i], (row[i - bpp] if i >= bpp else 0)
        if kind == 1: line[i] = (line[i] + a) & 255
        elif kind == 2: line[i] = (line[i] + b) & 255
        elif kind == 3: line[i] = (line[i] + (a + b) // 2) & 255
        elif kind == 4:
            pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
            line[i] = (line[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255
    row = line
    if y % 4: continue
    for x in range(0, width * bpp, 4 * bpp):
        r, g, b = line[x], line[x + 1], line[x + 2]
        light += r > 240 and g > 240
        dark += r < 60 and g < 60
        blue += b > r + 60
n = light + dark + 1
assert blue > 100, ("no accent colour: the bars are missing", blue)
assert (light > 0.9 * n) == (sys.argv[3] == "light"), (light, dark, blue)
PY
}

look page.html wide.png 800
[ ! -s console ] || fail "the console says: $(head -n 3 console)"
picture wide.png 800 light
look page.html phone.png 500
[ ! -s console ] || fail "the console says: $(head -n 3 console)"
picture phone.png 500 light
look page.html dark.png 800 --blink-settings=preferredColorScheme=0
picture dark.png 800 dark

# A page that breaks its own policy is seen by this test.
sed 's|</body>|<script>1</script></body>|' page.html >broken.html
look broken.html broken.png 500
[ -s console ] || fail "a page with a script says nothing on the console: this test would see nothing"
