/* frame_pack: the entropy coding of --store small: a frame of at most XC_FRAME_BYTES to a Zstandard frame and back. Shared by writer and reader;
 * the toolkit estimates sizes with it.
 *
 * Weights do not repeat; what can be saved is that some values are more frequent than others. So literals are Huffman-coded and matches are
 * not looked for, except in frames that shrink much (zeros, repeats), where the search pays.
 *
 * Byte planes (width 2 or 4): each little-endian number is rotated left by one bit, which brings sign and exponent of a float apart: the
 * exponent becomes the last byte. Then first bytes come first, then second bytes, ...; bytes beyond the last whole number stay at the end. So
 * exponents, which are few, get code tables of their own. */
#ifndef XC_RUNTIME_CONTAINER_FRAME_PACK_H
#define XC_RUNTIME_CONTAINER_FRAME_PACK_H

#include "runtime/container/zmem.h"

/* (n bytes each) width 2 or 4; dst and src do not overlap. */
void xc_planes_split(uint8_t *dst, const uint8_t *src, size_t n, int width);
void xc_planes_join(uint8_t *dst, const uint8_t *src, size_t n, int width);

/* What is in a frame: it says what is worth trying. */
enum xc_pack { XC_PACK_TEXT = 0 /* slow and small */, XC_PACK_WEIGHTS, XC_PACK_PLANES /* weights, split */ };

/* Compresses n bytes into dst, which has room for ZSTD_compressBound(n); 0 = out of memory. The same bytes for any context. */
size_t xc_pack_frame(ZSTD_CCtx *ctx, uint8_t *dst, const uint8_t *src, size_t n, enum xc_pack what);

#endif
