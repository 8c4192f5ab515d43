/* finetune: a model, a task and labelled rows in; a trained model out. The verb of the same name is a thin face on it.
 *
 *   data -> dataset.c (tokens, batches) -> grad/tape.c (forward, backward) -> loss.c -> optimizer.c, again and again
 *
 * Everything random is a function of the seed and of the place in the training, so that a training that was cut short and goes on from its
 * checkpoint gives the same bits, for any number of threads. */
#ifndef XC_COMPRESS_TRAIN_FINETUNE_H
#define XC_COMPRESS_TRAIN_FINETUNE_H

#include "compress/ranks.h"
#include "compress/train/head.h"
#include "compress/train/optimizer.h"
#include "compress/train/sparsify.h"
#include "xcompress/progress.h"

#define XC_SPAN_RATE 100.0 /* spans are shares of a window, and have far to go */

enum xc_schedule { XC_SCHEDULE_LINEAR = 0, XC_SCHEDULE_COSINE, XC_SCHEDULE_CONSTANT };

/* Names of choices, by their numbers, for command lines, recipes and manifests; NULL-terminated. */
extern const char *const xc_schedules[], *const xc_optimizers[], *const xc_precisions[], *const xc_thresholds[];

/* A part of a training with a schedule and settings of its own; the optimizer begins each anew. */
struct xc_stage {
    const char *name;
    int64_t epochs, max_steps;  /* max_steps 0 = no limit */
    double rate, warmup;
    bool measured;              /* dev rows are measured: it trains what answers */
    int64_t first_epoch, first_step, steps; /* filled by setup */
};

struct xc_finetune_opts {
    const char *task;          /* "classify", "pair", "regress", "tag", "answer", "choice", "embed", "mlm" */
    const char *data, *dev;    /* dev NULL = none: the last weights are kept */
    const char *const *more_data; /* further files of training rows */
    size_t n_more_data;
    bool no_labels;            /* data has texts alone (classify, pair, regress, embed): an objective says what is learnt */
    const struct xc_stage *stages; /* NULL = one of the options below */
    size_t n_stages;
    const char *metric;        /* of the dev rows; NULL = the task's first */
    const char *log;           /* JSON lines; NULL = none */
    const char *checkpoint;    /* NULL = the output's name and ".train" */
    bool resume;
    enum xc_head_pooling pooling;
    bool bf16;                 /* products of operands rounded to bf16 */
    struct xc_optimizer_opts optimizer;
    enum xc_schedule schedule;
    double rate, warmup;       /* warmup: share of all steps */
    double dropout, attention_dropout, smoothing, layer_decay;
    double contrast_scale, mask_share;
    int64_t epochs, batch_tokens, batch_rows, accumulate;
    int64_t max_steps;         /* 0 = no limit; the schedule is made for it */
    int64_t eval_every, checkpoint_every; /* steps; 0 = after each epoch */
    int64_t patience;          /* evaluations without a better metric, then stop; 0 = never */
    int32_t max_tokens;        /* 0 = the model's */
    int32_t stride;            /* answer: tokens that two windows of a text share; 0 = XC_STRIDE (tasks/questions.h) */
    const char *const *freeze; /* "re:PATTERN", or the beginning of tensors' names */
    size_t n_freeze;
    struct xc_sparsify_opts sparsify;
    double span_penalty;       /* times the mean span of attention, as a share of the window, added to the loss */
    double span_rate;          /* learning rate of spans, in those of weights; 0 = XC_SPAN_RATE */
    const char *export;        /* NULL = f32; "int8", "int4": what is written, and what dev rows are measured on */
    uint64_t seed;
    uint64_t max_memory;       /* bytes; values are computed again in the backward pass where they would not fit; 0 = no limit */
    bool no_golden;
    struct xc_pool *pool;
    struct xc_ranks *ranks;    /* NULL = this process alone; else each has some of the `accumulate` batches of an update, to the same bits */
    const struct xc_progress *progress;
};

struct xc_finetune_result {
    int64_t rows, steps, tokens, truncated, parameters, trained, best_step;
    double seconds, loss;      /* loss: mean of the last tenth of the steps */
    double span_tokens;        /* the mean span of all heads of the model that is written; -1 = it has none to train */
    double sparsity;           /* share of zeros among the weights that opts->sparsify speaks of; 0 without it */
    char metric[32];           /* "" = no dev rows */
    double first, best, last;  /* metric before the first step, of the weights kept, at the end */
    bool new_head, stopped_early, recomputed;
    int32_t reversible;        /* blocks whose inputs the backward pass recovers from their outputs */
    double planned_bytes;      /* weights, their gradients and states, values, scratch */
};

/* Reads the model at `from` and writes the trained one to `to`, f32. */
enum xc_status xc_finetune_file(const char *from, const char *to, const struct xc_finetune_opts *opts, struct xc_finetune_result *result, struct xc_err *err);

struct xc_objective; /* setup.h */
/* The same with what it makes small. */
enum xc_status xc_train_file(const char *from, const char *to, const struct xc_finetune_opts *opts, const struct xc_objective *objective, struct xc_finetune_result *result,
                             struct xc_err *err);

/* Factor of the learning rate at step 0 .. total-1. */
double xc_schedule_factor(enum xc_schedule schedule, double warmup, int64_t step, int64_t total);

#endif
