/* gradient_sum: the gradients of an update, summed over its batches and over ranks.
 *
 * The order of the sum is that of a binary tree over the batches 0 .. n-1 of the update: (0+1)+(2+3) and so on, a node without a right half being its
 * left one. A rank has batches in a row, so it adds up whole parts of the tree by itself, and sends those: one for the usual counts, a few for odd ones.
 * The tree depends on n alone: the same bits for any number of ranks.
 *
 * Over ranks the flat gradient is cut into chunks, each with a rank that adds it up: everybody sends it their parts as soon as the backward pass of
 * their last batch has left the chunk, and gets the sum back, while that pass goes on. With as many batches as ranks this moves as many bytes as a ring:
 * 2 (N-1)/N of the gradient, to and fro, per rank and update. */
#ifndef XC_COMPRESS_TRAIN_GRADIENT_SUM_H
#define XC_COMPRESS_TRAIN_GRADIENT_SUM_H

#include "compress/ranks.h"
#include "runtime/base/pool.h"

struct xc_gradient_sum;

/* Of updates with `batches` at most. grad (n): where each batch leaves its gradient, and the sum ends; zero in the beginning.
 * ready (n_ready, ascending at[]): the numbers from at[i] on have their gradient once the backward pass is through with node node[i]. */
struct xc_gradient_ready { int64_t at; int32_t node; };
enum xc_status xc_gradient_sum_new(struct xc_gradient_sum **out, struct xc_ranks *ranks, float *grad, int64_t n, const struct xc_gradient_ready *ready, int64_t n_ready, int64_t batches,
                                   struct xc_pool *pool, struct xc_err *err);
void xc_gradient_sum_free(struct xc_gradient_sum **sum);

/* Bytes beside the gradient, at most, for updates of so many batches. */
double xc_gradient_sum_bytes(const struct xc_ranks *ranks, int64_t n, int64_t batches);

/* An update of n batches begins: which are this rank's. */
enum xc_status xc_gradient_sum_begin(struct xc_gradient_sum *s, int64_t n, int64_t *first, int64_t *last, struct xc_err *err);

/* The gradient of batch i, not this rank's last one, is there: it is put aside, and grad is zero again. */
enum xc_status xc_gradient_sum_put(struct xc_gradient_sum *s, int64_t i, struct xc_err *err);

/* Node `node` of the backward pass of this rank's last batch is done. */
void xc_gradient_sum_ready(struct xc_gradient_sum *s, int32_t node);

/* The rest; then grad is the sum, on every rank. A call of all ranks. */
enum xc_status xc_gradient_sum_finish(struct xc_gradient_sum *s, struct xc_err *err);

#endif
