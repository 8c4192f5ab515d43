/* weights: the numbers of a tensor, whatever holds them, some rows at a time: to count, to draw, to compare.
 *
 * A linear may read what a `scale` node makes: its columns then carry the inverse of that scale (smooth.c). A weight opened with its model is
 * seen with the scale put back, so that files made with and without smoothing compare. */
#ifndef XC_COMPRESS_WEIGHTS_H
#define XC_COMPRESS_WEIGHTS_H

#include "compress/pass.h"

struct xc_weight {
    const struct xc_tensor *tensor;
    float *scale; /* one a column; NULL = none */
};

/* The tensor of a model with the scale of the first linear that uses it. The model must outlive it. */
enum xc_status xc_weight_open(struct xc_weight *w, const struct xc_model *m, const struct xc_uses *uses, int32_t tensor, struct xc_err *err);
void xc_weight_close(struct xc_weight *w);

/* Calls fn with the numbers as f32, whole rows, in order; no more than a window is held. */
enum xc_status xc_weight_visit(const struct xc_weight *w, void (*fn)(void *arg, const float *x, int64_t n), void *arg, struct xc_err *err);

/* Relative L2 distance |b - a| / |a| of two weights of one shape: 0 when they are equal, infinite when only a is zero, NaN when a number is. */
enum xc_status xc_weight_distance(double *out, const struct xc_weight *a, const struct xc_weight *b, struct xc_err *err);

#endif
