/* mask_gradients: how much a loss would change if a head or a neuron were gone, from gradients: each unit gets a mask of one in front of the linear
 * behind it, and the derivative of a sample's loss by that mask says what the unit is to that sample.
 *
 *   fisher   the mean of its square, the diagonal of the masks' Fisher information; and the whole matrix of one site, by which masks are rearranged:
 *            Kwon et al. 2022, arXiv:2204.09656
 *   taylor   the mean of its magnitude: Michel et al. 2019, arXiv:1905.10650; Molchanov et al. 2019, arXiv:1906.10771
 *
 * The loss is that of labels, or needs none: agreement with the unpruned outputs. That loss is flat at masks of one, but has a Fisher information:
 * of classes by labels drawn from the model's own answer, of other outputs as of a normal distribution around them, by random signs. */
#ifndef XC_COMPRESS_SHRINK_MASK_GRADIENTS_H
#define XC_COMPRESS_SHRINK_MASK_GRADIENTS_H

#include "compress/shrink/sites.h"
#include "runtime/graph/run.h"

struct xc_mask_gradients {
    float **g;        /* by site: (samples, units) */
    int64_t n, samples;
};

/* Where samples come from. per_sample sequences, adjacent ones, are one sample. */
struct xc_mask_batch {
    const int32_t *ids, *types, *start; /* start: n_seq + 1, from 0 */
    int32_t n_seq;
};
struct xc_mask_source {
    void *arg;
    int64_t n_batches, samples;
    int32_t per_sample;
    enum xc_status (*batch)(void *arg, int64_t b, struct xc_mask_batch *out, struct xc_err *err);
    /* Of the batch last given: d, the gradient of the summed loss by y, graph output 0: a row per sequence, or by_token. */
    enum xc_status (*loss)(void *arg, const struct xc_view *y, bool by_token, float *d, struct xc_err *err);
    void (*release)(void *arg);
};

/* The tensors of g's model are loaded. The bits do not depend on the pool. */
enum xc_status xc_mask_gradients_make(struct xc_mask_gradients *out, struct xc_graph *g, const struct xc_site *const *sites, int64_t n, const struct xc_mask_source *source,
                                      struct xc_pool *pool, struct xc_err *err);
void xc_mask_gradients_release(struct xc_mask_gradients *m);

/* worth (units): fisher or taylor. */
void xc_mask_worth(double *worth, const float *g, int64_t samples, int64_t units, bool fisher);

/* order (units), `keep` of them first: changes which, so that 1^T F 1 over those that go is a local minimum of exchanges of two, F = G^T G. */
enum xc_status xc_mask_rearrange(int32_t *order, int64_t keep, const float *g, int64_t samples, int64_t units, struct xc_pool *pool, struct xc_err *err);

/* d (rows, C): the gradient, by the rows y of one sample, of a loss drawn from the model's own answer: see above. */
void xc_agreement_gradient(float *d, const float *y, int64_t rows, int64_t C, bool classes, uint64_t seed, uint64_t sample);

/* ---- sources: mask_agreement.c, mask_labels.c ---- */
struct xc_replay;
/* The texts of a replay, which lives as long. */
enum xc_status xc_mask_source_agreement(struct xc_mask_source *out, const struct xc_replay *replay, const struct xc_model *m, uint64_t seed, struct xc_err *err);
/* Up to `most` rows of a labelled file, spread evenly, for what the model answers: classes, a number, or pairs of texts with the score of their cosine. */
enum xc_status xc_mask_source_labels(struct xc_mask_source *out, const char *path, int64_t most, const struct xc_model *m, struct xc_pool *pool, struct xc_err *err);
void xc_mask_source_release(struct xc_mask_source *source);

#endif
