/* prune: which numbers of a weight become zero. Pure functions on matrices (R outputs, C inputs): no tensors, no files.
 *
 *   magnitude      |w|
 *   Wanda          |w| * |x|_2, compared within one output (Sun et al. 2023, arXiv:2306.11695)
 *   second order   w^2 / [H^-1]_jj with the rest of the row moved to make up for what goes (SparseGPT: Frantar, Alistarh 2023, arXiv:2301.00774)
 *
 * Ties go by position, so the answer is one. */
#ifndef XC_COMPRESS_PRUNE_PRUNE_H
#define XC_COMPRESS_PRUNE_PRUNE_H

#include "runtime/base/pool.h"
#include "runtime/graph/encoding.h"

enum xc_prune_pattern { XC_PRUNE_UNSTRUCTURED = 0, XC_PRUNE_NM, XC_PRUNE_BLOCK };
enum xc_prune_saliency { XC_PRUNE_MAGNITUDE = 0, XC_PRUNE_WANDA, XC_PRUNE_OBS };

struct xc_prune {
    enum xc_prune_pattern pattern;
    enum xc_prune_saliency saliency;
    int32_t n, m;                   /* N:M: n of every m inputs stay; of a shorter last group the n largest */
    int32_t block_rows, block_cols; /* blocks; those at the edges may be smaller */
    double sparsity;                /* share that goes; N:M has its own */
    double damp;                    /* second order: of the mean of H's diagonal */
};

/* Units of choice: numbers, or blocks. Row-major. */
int64_t xc_prune_units(const struct xc_prune *p, int64_t R, int64_t C);

/* How many units go when each layer is treated on its own; N:M: of numbers. */
int64_t xc_prune_dropped(const struct xc_prune *p, int64_t R, int64_t C);

/* score (units): what keeping a unit is worth, >= 0; a block's is the mean of its numbers' squares. norm (C): |x|_2 of each input, NULL = 1. */
void xc_prune_scores(float *score, const struct xc_prune *p, const float *w, const float *norm, int64_t R, int64_t C);

/* The bits of the k-th smallest (k < n) of the scores, and how many are smaller. */
uint32_t xc_prune_kth(const float *score, int64_t n, int64_t k, int64_t *smaller);

/* Zeroes units with a score of fewer bits than `bits`, and the first `ties` of those that have them. */
void xc_prune_below(float *w, const struct xc_prune *p, const float *score, uint32_t bits, int64_t ties, int64_t R, int64_t C);

/* N:M by given scores (R,C): of every m inputs those with the n largest stay. */
void xc_prune_groups(float *w, const float *score, int64_t R, int64_t C, int32_t n, int32_t m);

/* What dense numbers are afterwards: f32 that says where zeros lie, so that what comes later may choose a sparse encoding. global: the share holds over all layers. */
struct xc_encoding xc_prune_encoding(const struct xc_prune *p, bool global, int64_t R, int64_t C);

/* One layer on its own, by magnitude or Wanda. score is scratch (units). */
void xc_prune_layer(float *w, const struct xc_prune *p, const float *norm, float *score, int64_t R, int64_t C);

/* One layer by second order. u (C,C): xc_hessian_inverse_factor. The bytes do not depend on the pool. */
enum xc_status xc_prune_obs(float *w, const struct xc_prune *p, const float *u, int64_t R, int64_t C, struct xc_pool *pool, struct xc_err *err);

#endif
