/* charsmap: see charsmap.h. Clusters follow Unicode's UAX 29 as far as clusters of up to 5 bytes need (gen_grapheme_table.py). */
#include <string.h>

#include "runtime/text/charsmap.h"
#include "runtime/text/unicode.h"

bool xc_charsmap_open(struct xc_charsmap *m, const uint8_t *bytes, size_t n)
{
    uint32_t size;

    *m = (struct xc_charsmap){ 0 };
    if (n == 0) return true;
    if (n < 4) return false;
    memcpy(&size, bytes, 4);
    if (size % 4 || size == 0 || size > n - 4 || n > UINT32_MAX || (n > 4 + size && bytes[n - 1])) return false;
    m->units = (const uint32_t *)(const void *)(bytes + 4);
    m->n_units = size / 4;
    m->strings = bytes + 4 + size;
    m->n_strings = (uint32_t)(n - 4 - size);
    return true;
}

static uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & 512) >> 6); }

size_t xc_charsmap_find(const struct xc_charsmap *m, const uint8_t **out, size_t *out_n, const uint8_t *s, size_t n, bool longest)
{
    uint32_t at, unit;
    size_t found = 0;

    if (!m->n_units) return 0;
    at = offset_of(m->units[0]);
    for (size_t i = 0; i < n && s[i]; i++) {
        at ^= s[i];
        if (at >= m->n_units) break;
        unit = m->units[at];
        if ((unit & 0x800000FFu) != s[i]) break;
        at ^= offset_of(unit);
        if (!(unit & 256)) continue;
        if (at >= m->n_units || (m->units[at] & 0x7FFFFFFFu) >= m->n_strings) break;
        *out = m->strings + (m->units[at] & 0x7FFFFFFFu);
        *out_n = strlen((const char *)*out); /* the last string ends with the table */
        found = i + 1;
        if (!longest) break;
    }
    return found;
}

static unsigned joining(uint32_t cp)
{
    int lo = 0, hi = XC_JOINING_RANGES;

    while (hi - lo > 1) {
        const int mid = (lo + hi) / 2;

        if (xc_joining_ranges[mid].first <= cp) lo = mid;
        else hi = mid;
    }
    return cp >= xc_joining_ranges[lo].first && cp <= xc_joining_ranges[lo].last ? xc_joining_ranges[lo].bits : 0;
}

unsigned xc_cluster_bits(const uint8_t *s, size_t n)
{
    uint32_t cp;

    xc_utf8_read(&cp, s, n);
    return joining(cp);
}

bool xc_cluster_joins(unsigned last, const uint8_t *s, size_t n)
{
    const unsigned here = xc_cluster_bits(s, n);

    return !(last & XC_JOIN_CONTROL) && (here & XC_JOIN_AFTER || (last & XC_JOIN_BEFORE && !(here & XC_JOIN_CONTROL)));
}

size_t xc_cluster_bytes(const uint8_t *s, size_t n)
{
    uint32_t cp;
    size_t at = (size_t)xc_utf8_read(&cp, s, n);
    unsigned last;

    if (cp == '\r') return n > 1 && s[1] == '\n' ? 2 : 1;
    if (at < n && s[0] < 0x80 && s[at] < 0x80) return at; /* two ASCII characters: no cluster but CR LF */
    for (last = joining(cp); at < n && at <= 5 && xc_cluster_joins(last, s + at, n - at);) {
        last = xc_cluster_bits(s + at, n - at);
        at += (size_t)xc_utf8_read(&cp, s + at, n - at);
    }
    return at;
}
