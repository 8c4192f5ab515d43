/* unicode: see unicode.h. */
#include "runtime/text/unicode.h"

int xc_decompose(uint32_t out[4], uint32_t cp)
{
    const uint32_t s = cp - 0xAC00; /* Hangul syllables, The Unicode Standard 3.12 */
    const uint32_t *d = xc_codepoint_decomposed + xc_codepoint_of(cp)->decomposed;
    int n = 0;

    if (s < 11172) {
        out[0] = 0x1100 + s / 588;
        out[1] = 0x1161 + s % 588 / 28;
        if (s % 28 == 0) return 2;
        out[2] = 0x11A7 + s % 28;
        return 3;
    }
    if (d == xc_codepoint_decomposed) {
        out[0] = cp;
        return 1;
    }
    do out[n++] = *d & ~XC_CP_LAST;
    while (!(*d++ & XC_CP_LAST) && n < 4);
    return n;
}

int xc_utf8_read(uint32_t *cp, const uint8_t *s, size_t n)
{
    const uint32_t b = s[0];
    uint32_t c;
    uint8_t low = 0x80, high = 0xBF; /* of the second byte: no overlong form, no surrogate, nothing past U+10FFFF */
    int len;

    if (b < 0x80) {
        *cp = b;
        return 1;
    }
    *cp = XC_REPLACEMENT;
    if (b < 0xC2 || b > 0xF4) return 1;
    len = b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
    c = b & (0x7Fu >> len);
    if (b == 0xE0) low = 0xA0;
    if (b == 0xED) high = 0x9F;
    if (b == 0xF0) low = 0x90;
    if (b == 0xF4) high = 0x8F;
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n || s[i] < low || s[i] > high) return i;
        c = c << 6 | (s[i] & 63);
        low = 0x80;
        high = 0xBF;
    }
    *cp = c;
    return len;
}

bool xc_utf8_valid(const uint8_t *s, size_t n)
{
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        const int used = xc_utf8_read(&cp, s + i, n - i);

        /* the replacement character itself is three bytes and well formed */
        if (cp == XC_REPLACEMENT && !(used == 3 && s[i] == 0xEF && s[i + 1] == 0xBF && s[i + 2] == 0xBD)) return false;
        i += (size_t)used;
    }
    return true;
}
