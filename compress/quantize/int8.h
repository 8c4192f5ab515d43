/* int8: the arithmetic of int8 weights. Pure functions on rows of floats: no tensors, no threads.
 *
 * A row is symmetric: q = rint(w / scale) in [-127,127], ties to even: kern->quantize_rows_s8, which has the same bits on every ISA. The
 * scale is absmax / 127, and for weights under the rules of kernels.h (w_sum16) as much larger as makes rounding and clamping together least. */
#ifndef XC_COMPRESS_QUANTIZE_INT8_H
#define XC_COMPRESS_QUANTIZE_INT8_H

#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"

/* Sums over the numbers of a block of rows; added to, never cleared. */
struct xc_int8_sums {
    double error2, norm2; /* squares of w - scale * q, and of w */
    int64_t zeros;        /* q == 0 */
    int64_t clamped;      /* times that a rule of w_sum16 changed numbers */
};

/* Quantizes R rows of C numbers: q (R,ldq), scale (R). ldq >= C rounded up to 8; columns C..ldq become zero. With sum16, q obeys
 * the rules of kernels.h; bounds is scratch of 2 * ldq floats then. False when a number is not finite: *bad is its index in x. */
bool xc_int8_rows(int8_t *q, int64_t ldq, float *scale, struct xc_int8_sums *sums, const float *x, int64_t R, int64_t C, bool sum16,
                  float *bounds, const struct xc_kernels *kern, int64_t *bad);

/* The rules of w_sum16 on one row of C (a multiple of 8) numbers; x * factor is what q was rounded from. Returns how often one bound. */
int64_t xc_int8_clamp(int8_t *q, const float *x, float factor, int64_t C, int64_t n_x, const struct xc_kernels *kern);

#endif
