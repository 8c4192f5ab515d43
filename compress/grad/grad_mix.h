/* mix: the derivative of y (k,C) = E[:, :n] x (n,C) for one sequence (runtime/graph/ops/mix.h). */
#ifndef XC_COMPRESS_GRAD_GRAD_MIX_H
#define XC_COMPRESS_GRAD_GRAD_MIX_H

#include "compress/grad/grad.h"

struct xc_grad_mix {
    const float *e;        /* row 0 of the k rows used; rows n_max apart */
    float *de;             /* likewise; NULL = frozen */
    int64_t n_max, k;
    const float *x;
    float *dx;             /* NULL = not wanted */
    int64_t ldx, n, C;
    const float *dy;       /* (k, ld_dy) */
    int64_t ld_dy;
};
/* Adds to de and dx. The pool shares the products out; sums have one order. */
enum xc_status xc_grad_mix(const struct xc_grad_ctx *c, const struct xc_grad_mix *m, struct xc_err *err);

#endif
