/* smooth_factors: how to scale the columns of an activation so that int8 rows and int8 weights lose least. Pure mathematics: no graph.
 *
 * A value x (R,C) is read by linears of weight w (N,C). With x' = x * s and w' = w / s the product is the same, and int8 makes the errors
 *   of x':  step of row r = max_c |x'|/127, so sum_r u_r max_c(x'_rc)^2 * sum_c |w'_c|^2   (|w_c|: norm of a column)
 *   of w':  step of output i = max_c |w'|/127, so sum_i max_c(w'_ic)^2 * sum_c q_c s_c^2    (q_c = sum_r u_r x_rc^2)
 * both / (12 * 127^2). u_r = 1 / |y_r|, y the linears' output: a row that says more may err more. s begins at sqrt(largest weight of the
 * column / fourth-power mean of the column), between SmoothQuant's largest magnitude and a root mean square, and goes downhill from there. */
#ifndef XC_COMPRESS_QUANTIZE_SMOOTH_FACTORS_H
#define XC_COMPRESS_QUANTIZE_SMOOTH_FACTORS_H

#include "runtime/base/pool.h"

struct xc_smooth_problem {
    const float *x;        /* (R,C) */
    const double *y2;      /* (R): squared norm of the linears' outputs */
    const float *const *w; /* n_w weights (rows[i],C), all read x */
    const int64_t *rows;
    int64_t R, C;
    int n_w;
};

/* factor (C), finite and positive. The same bits for any pool. */
enum xc_status xc_smooth_factors(float *factor, const struct xc_smooth_problem *p, struct xc_pool *pool, struct xc_err *err);

#endif
