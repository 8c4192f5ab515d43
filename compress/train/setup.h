/* setup: everything a training needs, made and checked before the first step: data, labels, head, parameters, tape, schedule. */
#ifndef XC_COMPRESS_TRAIN_SETUP_H
#define XC_COMPRESS_TRAIN_SETUP_H

#include <jansson.h>
#include <stdio.h>

#include "compress/grad/tape.h"
#include "compress/tasks/task.h"
#include "compress/train/checkpoint.h"
#include "compress/train/dataset.h"
#include "compress/train/finetune.h"
#include "compress/train/gradient_sum.h"
#include "compress/train/integers.h"
#include "compress/train/span_training.h"
#include "compress/train/sparsify.h"

enum xc_loss { XC_LOSS_CLASSES = 0, XC_LOSS_SQUARE, XC_LOSS_COSINE, XC_LOSS_CONTRAST, XC_LOSS_SPANS, XC_LOSS_CHOICES };

struct xc_training;
struct xc_head_opts;

/* How much there is in the batches of one update: what a loss that is a mean divides by. */
struct xc_counts {
    int64_t rows, targets, sequences, tokens;
    double pairs; /* of two tokens of a sequence */
};

/* What is made small, where that is not the task's own loss: distillation. */
struct xc_objective {
    void *arg;
    /* t->model, in place of the one at t->from, with a head for the task; its graph "encode" is what is measured, *graph what is trained. */
    enum xc_status (*load)(void *arg, struct xc_training *t, const struct xc_head_opts *head, struct xc_graph **graph, struct xc_err *err);
    /* After the rows are tokens: checks them, adds to the facts of the manifest (and so of the fingerprint). */
    enum xc_status (*prepare)(void *arg, struct xc_training *t, struct xc_err *err);
    /* Of t->batch, after its forward: *sum is its part of the mean over all of the update; d_out[i] is the gradient of output i, NULL = none. */
    enum xc_status (*loss)(void *arg, struct xc_training *t, const struct xc_counts *all, double *sum, struct xc_err *err);
    double *parts;                                      /* n_parts: what `loss` adds to for the log, batch by batch; the loop sums over all of the update */
    int64_t n_parts;
    void (*log)(void *arg, json_t *line);               /* adds to the line of an update; parts holds the sums */
    void (*finish)(void *arg, struct xc_training *t);   /* the model that is written: nothing of the training is left in it */
};

struct xc_training {
    const struct xc_finetune_opts *opts;
    const struct xc_objective *objective; /* NULL = the task's loss */
    const char *from;
    const struct xc_task *task;   /* what measures the dev rows; NULL = their loss */
    struct xc_model *model;
    struct xc_graph *graph;       /* of model, or of the one that integers make of it */
    struct xc_integers *integers; /* training on the arithmetic of the file; NULL = on f32 */
    struct xc_tokenizer *tokenizer;
    struct xc_dataset set, dev;   /* dev: where the loss is its measure */
    struct xc_batches plan, dev_plan;
    struct xc_batch batch;
    struct xc_masking mask;
    enum xc_loss kind;
    struct xc_tape *tape;
    struct xc_params params;
    struct xc_gradient_sum *gradients; /* of the batches of an update, over ranks; NULL = of one batch, here */
    double *numbers;              /* of an update: by batch its loss and the objective's parts */
    size_t cap_numbers;
    struct xc_sparsify *sparsify; /* NULL = weights are dense */
    struct xc_spans spans;        /* of attention, where they are trained */
    bool *trained;                /* per tensor */
    struct xc_view out;           /* of the last forward */
    struct xc_view *outs;         /* of all outputs of the graph */
    float **d_outs;               /* their gradients; d_outs[0] is d_out without an objective */
    float *d_out;
    struct xc_stage *stage;
    int64_t n_stages;
    double *each;                 /* scratch of the loss */
    size_t cap_d_out, cap_each;
    float *best;                  /* weights at the best measure; NULL without dev rows */
    struct xc_train_state state;
    int64_t total_steps, total_tokens, started_at, tail_steps;
    uint64_t fingerprint;
    char *checkpoint;             /* path */
    FILE *log;
    json_t *facts;                /* what the manifest says of this training */
    char metric[32];
    bool lower_is_better, new_head;
    bool recomputed;
    int32_t reversible;           /* segments whose input the backward pass recovers: gradients are then rounded otherwise */
    bool stop;                    /* somebody asked for it, on any rank */
    double planned_bytes;
    double first, last, loss, smooth, tail_loss, started;
};

/* Release it whatever happens. objective may be NULL. */
enum xc_status xc_training_init(struct xc_training *t, const char *from, const char *to, const struct xc_finetune_opts *opts, const struct xc_objective *objective, struct xc_err *err);
void xc_training_release(struct xc_training *t);

/* t->batch through the graph; room for the gradient of its output. */
enum xc_status xc_training_forward(struct xc_training *t, bool train, uint64_t step, struct xc_err *err);

/* The next backward pass hands gradients over as they become whole (t->gradients), or not. */
void xc_training_stream(struct xc_training *t, bool on);

/* The summed loss of the last forward; weight times its derivative in t->d_out. */
double xc_training_loss(struct xc_training *t, double weight);

/* The model in the encoding of opts->export; golden: with samples. */
enum xc_status xc_training_export(struct xc_model **out, const struct xc_training *t, bool golden, struct xc_err *err);

/* The stage that an epoch belongs to. */
const struct xc_stage *xc_training_stage(const struct xc_training *t, int64_t epoch);

/* The model's manifest becomes that of this training. */
enum xc_status xc_training_manifest(struct xc_training *t, struct xc_err *err);

#endif
