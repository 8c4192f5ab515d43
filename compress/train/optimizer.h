/* optimizer: the trained tensors of a model, their gradients, and one step. AdamW as torch.optim.AdamW (Loshchilov & Hutter 2017,
 * arXiv:1711.05101) or SGD with momentum; clipping by the norm of all gradients; moving average of the weights. The same bits for any
 * number of threads: numbers are independent, and the norm is summed in blocks of a fixed size. */
#ifndef XC_COMPRESS_TRAIN_OPTIMIZER_H
#define XC_COMPRESS_TRAIN_OPTIMIZER_H

#include "runtime/base/pool.h"
#include "runtime/graph/graph.h"
#include "runtime/kernels/kernels.h"

struct xc_param {
    int32_t tensor;
    float *p;        /* the tensor's own bytes */
    int64_t n, at;   /* numbers; place in the arrays below */
    double rate;     /* factor of the learning rate */
    bool decay;
};

struct xc_params {
    struct xc_param *param;
    int32_t n;
    int64_t total;
    float *grad, *m, *v; /* (total) each, one after the other; v NULL for SGD */
    float *ema;          /* NULL = none */
    struct xc_param_block { int32_t param; int64_t first, n; } *block;
    int64_t n_blocks;
    double *norm;        /* per block */
    uint8_t *piece;      /* per XC_PARAM_PIECE numbers of a block: what is known of them */
    void *extra;         /* state of another that belongs to the weights, and goes into checkpoints; not owned; NULL = none */
    size_t extra_bytes;
};

/* Of a word table a batch touches few rows. Where neither this gradient nor one before has a number that is not zero, AdamW does nothing but decay. */
#define XC_PARAM_PIECE 512
#define XC_PIECE_STILL 1 /* both moments are zero */
#define XC_PIECE_NONE 2  /* the gradient is zero (xc_params_norm) */

enum xc_optimizer { XC_OPT_ADAMW = 0, XC_OPT_SGD };

struct xc_optimizer_opts {
    enum xc_optimizer kind;
    double beta1, beta2, eps; /* AdamW; SGD: beta1 is the momentum */
    double weight_decay, clip; /* clip 0 = none */
    double ema;                /* 0 = none; else its decay */
};

/* Makes every tensor with trained[t] f32 in row-major order in memory of its own. Biases and norms (one axis) do not decay. */
enum xc_status xc_params_new(struct xc_params *out, struct xc_model *m, const bool *trained, const struct xc_optimizer_opts *opts, struct xc_err *err);
void xc_params_release(struct xc_params *p);

/* The norm of all gradients; XC_E_RANGE names the tensor when it is not finite. */
enum xc_status xc_params_norm(struct xc_params *p, const struct xc_model *m, double *norm, struct xc_pool *pool, struct xc_err *err);

/* Step t = 1, 2, ...; rate: learning rate; norm: of xc_params_norm, which has seen these gradients. They are zero afterwards, as they are at the beginning. */
void xc_params_step(struct xc_params *p, const struct xc_optimizer_opts *opts, int64_t t, double rate, double norm, struct xc_pool *pool);

/* The optimizer begins anew: its moments are zero; the moving average goes on. */
void xc_params_forget(struct xc_params *p);

/* To be called by whoever writes m and v: none of them counts as zero any more. */
void xc_params_moved(struct xc_params *p);

/* Weights and moving average change places. */
void xc_params_swap_ema(struct xc_params *p);

/* All weights to or from a flat array (total). */
void xc_params_copy(struct xc_params *p, float *flat, bool to_flat);

#endif
