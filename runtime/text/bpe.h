/* bpe: byte-pair merging alone, for the compiler, which asks what the bytes of each token merge to. */
#ifndef XC_RUNTIME_TEXT_BPE_H
#define XC_RUNTIME_TEXT_BPE_H

#include "runtime/text/encoder.h"

#define XC_BPE_WINDOW 8192 /* symbols that are merged at once, see bpe.c */

/* Emits the ids of s[0..n), one word of bytes. */
enum xc_status xc_bpe_merge(struct xc_encoder *e, const uint8_t *s, size_t n, int32_t word);

#endif
