/* awq: how to scale the columns of an activation so that weights in groups lose least. Lin et al. 2023 (AWQ), arXiv:2306.00978: the weights of a
 * column that carries much are made larger, by a power of its mean magnitude, and the power is searched for by what the linears then give.
 * Pure mathematics: no graph. */
#ifndef XC_COMPRESS_QUANTIZE_AWQ_H
#define XC_COMPRESS_QUANTIZE_AWQ_H

#include "compress/quantize/lowbit.h"
#include "compress/quantize/smooth_factors.h"

#define XC_AWQ_TRIES 26 /* candidates, and the product itself */

struct xc_awq {
    struct xc_lowbit lowbit;
    int64_t group;
    bool affine; /* the int8 rows of x are */
};

/* factor (C), of x, as xc_smooth_factors gives them: the best of those, of powers of the magnitudes, and of both together. The error is that of the
 * whole product, int8 rows too. The same bits for any pool. */
enum xc_status xc_awq_factors(float *factor, const struct xc_smooth_problem *p, const struct xc_awq *how, struct xc_pool *pool, struct xc_err *err);

#endif
