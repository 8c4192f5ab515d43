/* loops: what training does beside products, in plain C that the compiler turns into wide instructions: the same functions, compiled for the levels of
 * the kernel table that gain by it. No operation is re-ordered by that (multiplies and adds are not contracted), so all levels give the same bits.
 * They are here and not in runtime/kernels because a deployment does not need them. */
#ifndef XC_COMPRESS_GRAD_LOOPS_H
#define XC_COMPRESS_GRAD_LOOPS_H

#include "runtime/base/base.h"

#define XC_LOOPS_COLS 64 /* columns of col_sums at a time */

struct xc_loops {
    const char *level;

    /* mask: n bytes, bit k of byte i = one of the eight 16-bit draws of Philox (seed, stream, first + i) is not below `below`. */
    void (*draw)(uint8_t *mask, int64_t n, uint32_t below, uint64_t seed, uint64_t stream, uint64_t first);
    /* The same for rows of `bytes` bytes: byte i of row r is of index (row + r) << 24 | i. */
    void (*draw_rows)(uint8_t *mask, int64_t rows, int64_t bytes, uint32_t below, uint64_t seed, uint64_t stream, uint64_t row);
    /* x[i] *= bit i of mask ? scale : 0 */
    void (*apply)(float *x, const uint8_t *mask, int64_t n, float scale);

    /* sum (n <= XC_LOOPS_COLS) += columns of x (R,n), sum_xy += those of x * y: in f32 over blocks of 64 rows, which are summed in double. Either may be NULL. */
    void (*col_sums)(float *sum, float *sum_xy, const float *x, int64_t ldx, const float *y, int64_t ldy, int64_t R, int64_t n);

    /* One row of a norm's derivative (grad_norm.c): h (C) = the row before the gain; d (C), not NULL, = or += its gradient. */
    void (*norm_row)(float *h, float *d, const float *x, const float *dy, const float *gain, float eps, bool rms, bool fresh, int64_t C);

    /* d (n), the gradient of probabilities p, to that of their scores before they were scaled: scale p (d - sum(p d)), p d summed as a norm's row is. */
    void (*softmax_grad)(float *d, const float *p, int64_t n, float scale);

    /* Of the squares of n numbers: sixteen sums in double, then their sum in order. */
    double (*sum_squares)(const float *x, int64_t n);
};

/* Those of the kernel table in force (XC_CPU). */
const struct xc_loops *xc_loops(void);
/* By level, for tests: i = 0, 1, ...; NULL behind the last. Not all run on every machine: compare with xc_kernels()->isa. */
const struct xc_loops *xc_loops_at(int i);
bool xc_loops_run_here(const struct xc_loops *l);

#endif
