/* tape: a graph run forward with everything kept, then backward: reverse-mode differentiation over the IR.
 *
 * The backward pass is planned once, from the graph alone: which values a gradient must pass through, and which buffer each gradient
 * lives in (a buffer is used again as soon as its value's producer is done). Sizes follow the rows of the batch; after the largest batch
 * nothing is allocated. The same inputs and seed give the same bits for any number of threads.
 *
 * Batches are ragged: token-packed sequences, no padding, no mask. */
#ifndef XC_COMPRESS_GRAD_TAPE_H
#define XC_COMPRESS_GRAD_TAPE_H

#include "compress/grad/grad.h"

struct xc_tape;

struct xc_tape_opts {
    struct xc_pool *pool;         /* NULL = the calling thread */
    const struct xc_kernels *kern;/* NULL = the best */
    const bool *trained;          /* per tensor of the model: has a gradient */
    bool straight_through;        /* integer linears and attention may be there: backward takes the rounding of their inputs and weights for the identity */
    bool bf16;                    /* products of operands rounded to bf16; weights, sums and gradients stay f32 */
    /* 0: every value is kept for the backward pass. n: only those that cross the ends of segments, each n stretches between places that one value
     * crosses (in BERT: half a layer), or two in a graph of two streams (in Reformer: half a layer too); the others are computed again, to the same bits, segment by segment. */
    int32_t segment;
    /* Segments are what lies between two sums of two streams (Reformer: half a layer), whatever `segment` says, and of two streams that grow by turns,
     * x += f(y), y += g(x), only the last pair is kept: the backward pass recovers the others by subtraction, so that memory does not grow with depth but for what is decided (grad.h).
     * Values are then those of the forward pass but for rounding. Where a graph has no such sums, or straight_through, everything that crosses is kept. */
    bool reverse;
    int64_t rows, sequences;      /* of the largest batch, if known: memory for it is taken once, in one piece */
    bool inputs;                  /* gradients of the graph's f32 inputs too */
};

/* Refuses by name what has no derivative on a path that needs one. The tensors are loaded, and belong to the caller. */
enum xc_status xc_tape_new(struct xc_tape **out, struct xc_graph *graph, const struct xc_tape_opts *opts, struct xc_err *err);
void xc_tape_free(struct xc_tape **tape);

/* Where the gradient of tensor t is added to: as many numbers as it has. */
void xc_tape_bind(struct xc_tape *tape, int32_t tensor, float *gradient);

/* Values of this graph are dropped with probability p in training, survivors scaled by 1/(1-p). p 0 = never. */
void xc_tape_dropout(struct xc_tape *tape, int32_t value, double p);

/* The probabilities of every attention, which are dropped by tile and stored nowhere. */
void xc_tape_dropout_attention(struct xc_tape *tape, double p);

/* Bytes of values, gradients of values and scratch for a batch of so many rows, by plan. */
double xc_tape_bytes(const struct xc_tape *tape, int64_t rows, int64_t sequences);

/* Segments whose input is recovered. */
int32_t xc_tape_reversible(const struct xc_tape *tape);

/* Which values a BERT-shaped graph drops: embeddings after their norm, what joins a residual sum, and what a head's last linear reads. */
void xc_tape_dropout_usual(struct xc_tape *tape, double p);

/* Calls fn in every backward pass with a value and its gradient, as soon as that is whole, before it goes on. */
typedef void xc_tape_watch_fn(void *arg, int32_t value, const struct xc_view *view, const float *d);
void xc_tape_watch(struct xc_tape *tape, int32_t value, xc_tape_watch_fn *fn, void *arg);

/* Calls fn in every backward pass after each node, from the last to the first: the gradients of tensors that no earlier node reads are whole. */
typedef void xc_tape_passed_fn(void *arg, int32_t node);
void xc_tape_passed(struct xc_tape *tape, xc_tape_passed_fn *fn, void *arg);

/* train: with dropout, whose draws are a function of (seed, step) and of the place in the batch. out: one view per output of the graph. */
enum xc_status xc_tape_forward(struct xc_tape *tape, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces, bool train, uint64_t seed,
                               uint64_t step, struct xc_view *out, struct xc_err *err);

/* After a forward. d_out: the gradient of each output (changed by the pass); NULL = none. */
enum xc_status xc_tape_backward(struct xc_tape *tape, float *const *d_out, struct xc_err *err);

/* Of a graph input, after backward with opts.inputs; NULL = none. */
const float *xc_tape_input_gradient(const struct xc_tape *tape, int32_t value);

/* After a forward: the first node, in order, whose output has a number that is not finite; NULL = none. */
const char *xc_tape_first_bad(struct xc_tape *tape);

#endif
