/* least_squares: which inputs of a linear to give up, and what the others should then be, so that its output changes least. Optimal brain
 * surgery on structures: LeCun et al. 1990, Hassibi et al. 1993, Frantar et al. 2022 (arXiv:2208.11580), Kurtic et al. 2023 (ZipLM,
 * arXiv:2302.04089).
 *
 * A unit is `width` adjacent inputs (a head, a neuron). With G = X^T X / rows + damp * mean(diag) * I, giving up the units S costs
 * |W_S (inv(G)_SS)^-1/2|^2 and changes the rest by -W_S inv(inv(G)_SS) inv(G)_S: one formula gives the choice and the cure. Everything here is
 * in double precision, through OpenBLAS with one thread. */
#ifndef XC_COMPRESS_SHRINK_LEAST_SQUARES_H
#define XC_COMPRESS_SHRINK_LEAST_SQUARES_H

#include "compress/file/spill.h"

struct xc_cut {
    int64_t n, m, width, units; /* inputs, outputs, inputs of a unit, units */
    int32_t *order;             /* units in the order of their worth: the first go last */
    double *chol, *y;           /* of G in that order: (n,n) lower; its transpose times W^T: (n,m) */
};

/* gram (n,n): the sum X^T X over `rows` rows, upper triangle. w (m,n). `batch` units go at a time, the cheapest; more is faster and a little worse. */
enum xc_status xc_cut_make(struct xc_cut *c, const float *gram, int64_t rows, const float *w, int64_t n, int64_t m, int64_t width, int64_t batch, double damp, struct xc_err *err);
void xc_cut_release(struct xc_cut *c);

/* w (m,n): the best weights with the first `keep` units of the order; zeros elsewhere. */
enum xc_status xc_cut_weights(const struct xc_cut *c, int64_t keep, float *w, struct xc_err *err);

/* Share of the output's square that is lost with `keep` units, by the same G: 0 to 1. */
double xc_cut_loss(const struct xc_cut *c, int64_t keep);

/* Moves w (m,k) towards the least squares of |target - X W^T|: gram (k,k) = X^T X, upper triangle, cross (k,m) = X^T target, both sums over `rows`
 * rows; damp, in units of the mean diagonal, holds the weights where they are. Its matrices lie in spill (NULL = in memory): 8 k (k + 2 m) bytes. */
enum xc_status xc_refit(float *w, const float *gram, const float *cross, int64_t rows, int64_t k, int64_t m, double damp, struct xc_spill *spill, struct xc_err *err);

#endif
