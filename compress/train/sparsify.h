/* sparsify: training with masks: weights of linears become zero while the others learn to do without them.
 *
 *   magnitude   the smallest |w| go, for good; the share rises by the cubic schedule of Zhu & Gupta 2017, arXiv:1710.01878
 *   movement    a score per weight, S -= w * dL/d(masked w) at every update, whether it is masked or not; the least S go, and may come back:
 *               Sanh et al. 2020, arXiv:2005.07683. A block has the mean score of its weights (Lagunas et al. 2021, arXiv:2109.04838)
 *   keep        the zeros that the model has stay: after pruning in one shot, say by second order
 *
 * Patterns are those of compress/prune/prune.h: unstructured, N:M, blocks. Masked weights are zero whenever the model runs, so what is measured in
 * training is what the file holds. The masks do not depend on the number of threads. */
#ifndef XC_COMPRESS_TRAIN_SPARSIFY_H
#define XC_COMPRESS_TRAIN_SPARSIFY_H

#include "compress/prune/prune.h"
#include "compress/train/optimizer.h"

struct xc_sparsify_opts {
    const char *prune;   /* NULL = off. "KIND=AMOUNT": a share (0.9), n of m kept (2:4), a share of blocks (0.75@16x4); "keep" has no amount */
    double begin, end;   /* shares of all steps between which the share of zeros rises */
    int64_t every;       /* steps from one choice of masks to the next; 0 = a hundredth of all */
    bool global;         /* one threshold over all layers */
    const char *const *ignore; /* as xc_finetune_opts.freeze: weights that are not pruned */
    size_t n_ignore;
};

struct xc_sparsify;

/* What is pruned: trained weights with two axes that only linears on tokens use, unless ignored (per tensor), and not what makes the graph's
 * output. Before xc_params_new, which forgets where a file said that zeros lie. */
enum xc_status xc_sparsify_new(struct xc_sparsify **out, const struct xc_graph *g, const bool *trained, const bool *ignored, const struct xc_sparsify_opts *opts, struct xc_err *err);
void xc_sparsify_free(struct xc_sparsify **s);

/* Makes room; the first masks. params->extra is its state from now on, which checkpoints hold. */
enum xc_status xc_sparsify_bind(struct xc_sparsify *s, struct xc_params *params, int64_t total_steps, struct xc_pool *pool, struct xc_err *err);

/* The gradients of an update are complete, and not yet measured: scores learn, gradients of masked weights go. */
void xc_sparsify_gradients(struct xc_sparsify *s, struct xc_params *params, struct xc_pool *pool);

/* Update number `step` (from 1) is made: new masks where they are due; masked weights are zero. */
void xc_sparsify_weights(struct xc_sparsify *s, struct xc_params *params, int64_t step, struct xc_pool *pool);

/* The share of zeros has been reached: weights from now on are worth keeping. */
bool xc_sparsify_settled(const struct xc_sparsify *s, int64_t step);

/* For the file: encodings that say where zeros lie. Share of zeros among the weights that are pruned. */
void xc_sparsify_finish(const struct xc_sparsify *s, struct xc_model *m);
double xc_sparsify_zeros(const struct xc_sparsify *s);

/* The share at a step: 0 up to `begin`, `final` from `end` on, between them final * (1 - (1 - x)^3). */
double xc_sparsify_share(int64_t step, int64_t begin, int64_t end, double final);

/* Of pruned tensor i: 1 where a weight lives; S (movement); for tests. false: there are fewer. */
bool xc_sparsify_look(const struct xc_sparsify *s, int32_t i, int32_t *tensor, const uint8_t **mask, const float **scores);

#endif
