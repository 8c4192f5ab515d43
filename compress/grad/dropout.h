/* dropout: masks from the counter-based generator, sixteen bits a number: the same draws for any number of threads. Srivastava et al. 2014,
 * JMLR 15: numbers become 0 with probability p, the others are scaled by 1/(1-p). p is rounded to a multiple of 2^-16. */
#ifndef XC_COMPRESS_GRAD_DROPOUT_H
#define XC_COMPRESS_GRAD_DROPOUT_H

#include "runtime/base/pool.h"

/* mask: one bit a number, 1 = kept; a function of (p, seed, stream) and of the place. */
void xc_dropout_draw(uint8_t *mask, int64_t n, double p, uint64_t seed, uint64_t stream, struct xc_pool *pool);
void xc_dropout_apply(float *x, const uint8_t *mask, int64_t n, double p, struct xc_pool *pool);

/* Of attention probabilities: which are dropped follows from the place of their row, so that nothing of the size N x N is kept. */
struct xc_dropout_probs {
    double p;
    uint64_t seed, stream;
};

/* mask: for the n keys of each of `rows` rows, the first of which is `row` among all; a row has (n + 7) / 8 bytes. */
void xc_dropout_draw_rows(uint8_t *mask, int64_t rows, int64_t n, const struct xc_dropout_probs *d, uint64_t row);
void xc_dropout_apply_row(float *x, const uint8_t *mask, int64_t n, const struct xc_dropout_probs *d);

#endif
