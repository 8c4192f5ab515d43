/* sensitivity: how far a model's answers move when weights are held in other encodings, on texts: measured, not estimated from the weights.
 *
 * The distance is a *drop*: half the squared relative distance of an answer, |y' - y|^2 / (2 |y|^2), in the mean over answers (a sentence's embedding, a
 * text's logits, a token's logits). For embeddings of length 1 it is 1 - cosine. While drops are small they add up: what two weights do to an answer is
 * nearly independent.
 *
 * The texts are those of the calibration, or some of our own (sample_texts.c), or random ids when the model has no tokenizer; about 1,000 tokens of them, spread
 * evenly, run through graph "encode" from the weight on, since what comes before it does not change. The same bits for any number of threads. */
#ifndef XC_COMPRESS_CALIBRATE_SENSITIVITY_H
#define XC_COMPRESS_CALIBRATE_SENSITIVITY_H

#include "compress/calibrate/replay.h"

struct xc_sense {
    struct xc_replay replay;
    struct xc_frontier frontier;
    struct xc_run *run;        /* of the model being measured; NULL once that is over */
    float **answer;            /* by batch: of the model as it was; NULL for batches left out */
    int64_t step, rows;        /* every step-th batch takes part; answers in all */
    struct xc_ranks *ranks;    /* each measures some of the variants */
};

/* A weight in one encoding. */
struct xc_variant {
    struct xc_encoding enc;
    struct xc_buf *part[XC_PART_COUNT];
};
void xc_variant_release(struct xc_variant *v);

/* Runs the texts through m, whose weights are brought in, and keeps its answers. m must live until xc_sense_stop. */
enum xc_status xc_sense_new(struct xc_sense **out, struct xc_model *m, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err);
void xc_sense_free(struct xc_sense **s);

/* cost (n): the drop of the model that was given to xc_sense_new when its tensor t is each of the variants; afterwards t is as it was. Tensors
 * must come in the order of their first uses. set_node, for each node of "encode" that uses t, says what else an encoding changes. */
typedef void xc_sense_node(void *arg, struct xc_graph *g, int32_t node, const struct xc_encoding *enc);
enum xc_status xc_sense_variants(struct xc_sense *s, double *cost, struct xc_model *m, int32_t t, const struct xc_variant *variants, int n, xc_sense_node *set_node, void *arg,
                                 struct xc_err *err);

/* Lets go of what xc_sense_variants needs. */
void xc_sense_stop(struct xc_sense *s);

/* The drop of m, another model of the same inputs and outputs. Its weights are brought in. */
enum xc_status xc_sense_drop(const struct xc_sense *s, double *drop, struct xc_model *m, const struct xc_compress_opts *opts, struct xc_err *err);

#endif
