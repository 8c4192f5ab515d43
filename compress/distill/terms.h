/* terms: the losses of a distillation, each as a pair of places: outputs of the graph that is trained, and values of a teacher.
 *
 * The graph that is trained is a copy of the student's with more outputs: what is compared, behind a learnt projection (a linear without bias, shared
 * by all layers, as in TinyBERT) where the teacher is wider. So projections get their gradients like any other weight. */
#ifndef XC_COMPRESS_DISTILL_TERMS_H
#define XC_COMPRESS_DISTILL_TERMS_H

#include "compress/distill/distill.h"
#include "compress/train/setup.h"
#include "runtime/graph/run.h"

struct xc_teacher {
    const char *path;
    struct xc_model *model;
    struct xc_graph *graph;
    struct xc_blocks blocks;
    struct xc_run *run;
    int32_t *id;      /* of the student's tokens; NULL = the same */
    int32_t *ids;     /* of a batch */
    size_t cap_ids;
};

struct xc_term {
    enum xc_distill_loss loss;
    int32_t teacher;
    int32_t out, out2;     /* outputs; out2: keys or values */
    int32_t want, want2;   /* values of the teacher */
    int32_t heads;
    bool causal;
};

struct xc_terms {
    struct xc_term *term;
    int32_t n;
    size_t cap;
    struct xc_graph *graph;     /* "distill", of the student's model */
    double last[XC_DISTILL_LOSSES]; /* of this update, weighted */
    struct xc_scratch memory;   /* gradients of outputs */
};

#define XC_DISTILL_GRAPH "distill"

/* Adds the graph to the student and all terms that any stage asks for. Says what does not fit together. */
enum xc_status xc_terms_make(struct xc_terms *out, struct xc_model *student, const struct xc_teacher *teachers, const struct xc_distill_opts *opts, struct xc_err *err);
void xc_terms_release(struct xc_terms *t);

/* The teachers have seen the batch of t. Adds what t's outputs cost with these weights, and their gradients (t->d_outs). */
enum xc_status xc_terms_loss(struct xc_terms *terms, struct xc_training *t, const struct xc_teacher *teachers, int32_t n_teachers, const struct xc_distill_opts *opts, const double *weight,
                             const struct xc_counts *all, double *sum, struct xc_err *err);

#endif
