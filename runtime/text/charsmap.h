/* charsmap: SentencePiece's precompiled normalisation table, as two readers of it use it.
 *
 * The table is a double array (darts-clone) from bytes to places in a run of NUL-terminated strings: u32 bytes of the array, the array's u32 units, the
 * strings. A unit: bits 0..7 the label of the edge to it (bit 31 set: no label), bit 8 a key ends, bits 10..30 the offset of its children, shifted
 * by 8 where bit 9 is set; a key's value is the unit of the child 0, less its bit 31. The table is hostile: every step is checked. */
#ifndef XC_RUNTIME_TEXT_CHARSMAP_H
#define XC_RUNTIME_TEXT_CHARSMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct xc_charsmap {
    const uint32_t *units;
    uint32_t n_units, n_strings;
    const uint8_t *strings;
};

/* From n bytes; false when they are no table. No bytes are a table without entries. */
bool xc_charsmap_open(struct xc_charsmap *m, const uint8_t *bytes, size_t n);

/* The entry that s[0..n) begins with: its replacement (out, out_n) and the bytes that it stands for; 0 when there is none. longest: SentencePiece's
 * choice; else the shortest, as the tokenizers library has it. */
size_t xc_charsmap_find(const struct xc_charsmap *m, const uint8_t **out, size_t *out_n, const uint8_t *s, size_t n, bool longest);

/* How the character at s joins its neighbours (unicode.h), and whether it joins one before it that does so by `last`. */
unsigned xc_cluster_bits(const uint8_t *s, size_t n);
bool xc_cluster_joins(unsigned last, const uint8_t *s, size_t n);

/* Bytes of the grapheme cluster at s (n >= 1), where that has at most 5; of more, any number above 5. */
size_t xc_cluster_bytes(const uint8_t *s, size_t n);

#endif
