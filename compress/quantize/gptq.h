/* gptq: rounding that knows what the layer reads. Frantar et al. 2022, arXiv:2210.17323: inputs are rounded one after the other, and the
 * error of each is taken out of those that are not rounded yet, as the inverse of H = X^T X says. Blocked, damped, inputs of largest
 * norm first (act-order) with scales found beforehand, or in order with scales found when a group is reached. */
#ifndef XC_COMPRESS_QUANTIZE_GPTQ_H
#define XC_COMPRESS_QUANTIZE_GPTQ_H

#include "compress/file/spill.h"
#include "compress/quantize/lowbit.h"

#define XC_GPTQ_ROWS 16 /* treated together */

struct xc_gptq {
    int64_t K, group;
    bool act_order;
    const float *weight; /* (K) diagonal of H, for the scales */
    /* owned: */
    int32_t *order;      /* (K) inputs in the order they are rounded */
    float *ut;           /* (K,K) ut[j*K+i] = U[i][j], i before j in that order; U^T U = inv(H) */
    struct xc_spill *spill; /* the caller's: where it lies; or NULL */
};

/* H: h[i * ld + j], less mean[i] * h[j * ld + K] where the mean of the inputs is given: their sums stand in column K. */
struct xc_gptq_moments {
    const float *h;
    int64_t ld;
    const double *mean; /* (K); NULL */
};

/* *damp: as xc_hessian_inverse_factor has it; share of the mean of H's diagonal that is added to it. */
enum xc_status xc_gptq_init(struct xc_gptq *g, const struct xc_gptq_moments *m, const float *weight, int64_t K, int64_t group, double *damp, bool act_order, struct xc_spill *spill,
                            struct xc_err *err);
void xc_gptq_release(struct xc_gptq *g);
size_t xc_gptq_scratch(int64_t K); /* floats, one lot a thread */

/* Rounds R <= XC_GPTQ_ROWS rows of x (R,K) to u (R,K), scale and zero (R,groups), under row_scale (R; lowbit.h). *bad: index in x of what is not finite or too large. */
bool xc_gptq_rows(const struct xc_gptq *g, const struct xc_lowbit *f, uint8_t *u, const uint16_t *row_scale, uint16_t *scale, uint8_t *zero, const float *x, int64_t R, float *scratch, int64_t *bad);

#endif
