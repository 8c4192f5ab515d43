/* task: how good a model is at something, with how sure we are: data in, metrics with intervals out.
 *
 * A task is one file with one line in tasks.def (docs/HOWTO-add-task.md). It reads its data once, lets a model answer every row, and
 * fills a sample (stats.h) that its metrics look at. The rest is common: intervals, the paired comparison with a second model, the flip rate, cosines. */
#ifndef XC_COMPRESS_TASKS_TASK_H
#define XC_COMPRESS_TASKS_TASK_H

#include "compress/tasks/batch.h"
#include "compress/tasks/data.h"
#include "compress/tasks/stats.h"

/* A model and what runs it. */
struct xc_subject {
    const char *path;
    struct xc_model *model;
    struct xc_session *session;
    struct xc_model_info info;
};

/* What one model answered; arrays belong to it, `sample` points into them and into the gold of the evaluation. */
struct xc_answers {
    struct xc_sample sample;
    double *pred;
    int32_t *pred_order, *pred_class;
    int32_t *hits, *n_pred, *n_gold;
    float *embedding;          /* (n_embeddings, cols), in the order of the data: agreement of embeddings is measured when present */
    int64_t n_embeddings, cols;
    int32_t *token_class;      /* tags: class of every word, -1 for a word cut off */
    int64_t truncated, tokens;
};

#define XC_MAX_METRICS 8

struct xc_eval_opts {
    const char *data, *train;  /* train: probe only */
    const char *metric;        /* NULL = all */
    uint64_t seed;
    int32_t resamples;         /* 0 = 2000 */
    int32_t stride;            /* answer: tokens that two windows of a text share; 0 = XC_STRIDE (questions.h) */
    double head_C, head_alpha; /* probe: 0 = defaults */
    const char *export_head;   /* probe: write the model with the fitted head here */
    struct xc_pool *pool;
    const struct xc_progress *progress;
};

struct xc_eval {
    const struct xc_task *task;
    const struct xc_eval_opts *opts;
    struct xc_data data, train;
    /* Gold, filled by prepare: scores or classes. */
    double *gold;
    int32_t *gold_order, *gold_class;
    const char **labels;       /* probe: names by class, in data's or train's arena */
    int32_t n_classes;
    int32_t *train_class;
    enum { XC_KIND_EMBED = 0, XC_KIND_CLASSES } kind; /* agreement */
    bool numbers;              /* probe: a regression */
    bool exported;             /* probe: opts->export_head is written */
};

struct xc_task {
    const char *name, *help, *columns; /* columns: what the data file must hold, for --help */
    const char *head;                  /* what checkpoints are loaded as; NULL = what they say */
    bool needs_train, needs_reference;
    /* Reads opts->data into e->data and sets e->gold or e->gold_class; `model` gives the label names. */
    enum xc_status (*prepare)(struct xc_eval *e, const struct xc_subject *model, struct xc_err *err);
    /* Runs the model and fills `out`. */
    enum xc_status (*answer)(struct xc_eval *e, const struct xc_subject *model, struct xc_answers *out, struct xc_err *err);
    /* The metrics of this evaluation, NULL-terminated. */
    const struct xc_metric *const *(*metrics)(const struct xc_eval *e);
    /* needs_reference: fills a->sample from both. */
    enum xc_status (*compare)(struct xc_eval *e, struct xc_answers *a, const struct xc_answers *b, struct xc_err *err);
};

const struct xc_task *xc_task_find(const char *name); /* NULL */
const struct xc_task *const *xc_task_list(int *n);

/* ---- evaluation ---- */
struct xc_eval_metric {
    const struct xc_metric *metric;
    struct xc_estimate model, reference, difference; /* difference = model - reference, paired */
};

struct xc_eval_result {
    int64_t rows, tokens, truncated;
    struct xc_eval_metric metrics[XC_MAX_METRICS];
    int n_metrics;
    bool has_reference, has_flips, has_cosine;
    double flip_rate;
    double cosine_mean, cosine_min;
    int64_t cosine_min_row; /* line in the file of the smallest */
    double seconds;         /* of running the model(s), tokenization included */
};

enum xc_status xc_subject_open(struct xc_subject *out, const char *path, const struct xc_task *task, struct xc_pool *pool, struct xc_err *err);
void xc_subject_close(struct xc_subject *s);

/* reference may be NULL. */
enum xc_status xc_evaluate(struct xc_eval_result *out, const struct xc_task *task, const struct xc_subject *model, const struct xc_subject *reference,
                           const struct xc_eval_opts *opts, struct xc_err *err);

/* ---- what tasks share ---- */
/* Fails with "task 'x' needs WHAT; 'path' is a MODEL-TASK model" unless ok. */
enum xc_status xc_task_need(const struct xc_eval *e, const struct xc_subject *m, bool ok, const char *what, struct xc_err *err);

/* Embedding or logits of every text, (n, m->info.output_cols) in the order of the texts; freed with xc_free. Adds to totals. */
enum xc_status xc_task_run(float **rows, const struct xc_eval *e, const struct xc_subject *m, const struct xc_data *data, bool b_texts, bool pairs,
                           struct xc_answers *totals, struct xc_err *err);

enum xc_status xc_task_gold_scores(struct xc_eval *e, struct xc_err *err); /* data.score -> gold, gold_order */
enum xc_status xc_task_gold_labels(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err); /* data.label -> gold_class by the model's names */

/* out->pred (n allocated here) is filled by the caller, then orders and sample by the second call. */
enum xc_status xc_answers_new_scores(struct xc_answers *out, int64_t n, struct xc_err *err);
enum xc_status xc_answers_scores(struct xc_answers *out, const struct xc_eval *e, struct xc_err *err);
/* The largest of each row of (n, cols). */
enum xc_status xc_answers_classes(struct xc_answers *out, const struct xc_eval *e, const float *logits, int64_t n, int64_t cols, struct xc_err *err);
void xc_answers_release(struct xc_answers *a);

const struct xc_metric *const *xc_task_class_metrics(const struct xc_eval *e);
const struct xc_metric *const *xc_task_score_metrics(const struct xc_eval *e); /* pearson, spearman, mse, mae, r2 */
int32_t xc_argmax(const float *x, int64_t n); /* the first of equals */
enum xc_status xc_new_array(void *out, int64_t n, size_t size, struct xc_err *err); /* *(T **)out: n zeroed items, at least one */

#endif
