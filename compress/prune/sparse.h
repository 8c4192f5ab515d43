/* sparse: int8 weights whose zeros the runtime can leave out: N:M, blocks and anywhere (kernels.h, Sparse weights). */
#ifndef XC_COMPRESS_PRUNE_SPARSE_H
#define XC_COMPRESS_PRUNE_SPARSE_H

#include "compress/pass.h"

enum xc_sparse_wish { XC_SPARSE_FAST, XC_SPARSE_SMALL, XC_SPARSE_NO };

/* The encoding of an int8 linear whose dense numbers have zeros as `now` says: sparse where that is faster by the figures of bench/sparse, or
 * smaller when that is the wish; else dense, as *want comes in. why (n bytes) gets the reason in a few words, "" when there are no zeros to speak of. */
void xc_sparse_choose(struct xc_encoding *want, const struct xc_encoding *now, int64_t rows, int64_t cols, enum xc_sparse_wish wish, char *why, size_t n);

/* Quantizes tensor id into w->want[id], which xc_sparse_choose made N:M or blocks. */
enum xc_status xc_sparse_quantize(struct xc_work *w, int32_t id, struct xc_err *err);

/* Compact: a tensor is quantized as a dense one, so that its numbers are those of its dense twin; data, its panels, then become the parts of `enc`. */
enum xc_status xc_sparse_compact(struct xc_tensor *t, const struct xc_encoding *enc, const struct xc_buf *data, struct xc_buf *scale, struct xc_err *err);

#endif
