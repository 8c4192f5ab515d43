/* A model under training, for the tests that compare whole models with PyTorch: the graph on its tape, made-up targets for each loss, steps of
 * the optimizer. What a test reads of PyTorch's side is in tests/vectors. */
#ifndef XC_TESTS_GRAD_TRAIN_JOB_H
#define XC_TESTS_GRAD_TRAIN_JOB_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress/grad/tape.h"
#include "compress/train/loss.h"
#include "compress/train/optimizer.h"

static struct xc_err err;
static struct xc_pool *threads;

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

static double lcg(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return (double)(*s >> 8) / 16777216.0 - 0.5;
}

/* ---- a model under training ---- */
struct job {
    struct xc_model *m;
    struct xc_graph *g;
    struct xc_params params;
    struct xc_optimizer_opts opts;
    struct xc_tape *tape;
    int32_t *start, *ids, *types;
    int32_t n_seq;
    int32_t *label;
    float *score, *d;
    double *each;
    bool bf16;
    struct xc_pool *pool; /* NULL = threads */
};

static void prepare(struct job *j)
{
    bool *all = calloc((size_t)j->m->n_tensors, sizeof *all);
    struct xc_tape_opts tape = { .pool = j->pool ? j->pool : threads, .trained = all, .bf16 = j->bf16 };

    j->opts = (struct xc_optimizer_opts){ .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1 };
    j->g = xc_model_find_graph(j->m, "encode");
    for (int32_t i = 0; i < j->m->n_tensors; i++) {
        OK(xc_tensor_load(j->m->tensors[i], &err));
        all[i] = true;
    }
    OK(xc_params_new(&j->params, j->m, all, &j->opts, &err));
    OK(xc_tape_new(&j->tape, j->g, &tape, &err));
    for (int32_t i = 0; i < j->params.n; i++) xc_tape_bind(j->tape, j->params.param[i].tensor, j->params.grad + j->params.param[i].at);
    free(all);
}

static void finish(struct job *j)
{
    if (j->tape) xc_tape_free(&j->tape);
    xc_params_release(&j->params);
    xc_model_free(&j->m);
    free(j->start);
    free(j->ids);
    free(j->types);
    free(j->label);
    free(j->score);
    free(j->d);
    free(j->each);
}

static double loss_of(struct job *j, const char *kind, const struct xc_view *y)
{
    static const float pair_score[] = { 0.25f, 0.75f, 0.5f };
    const float *x = y->data;
    const int64_t pairs = y->rows / 2;
    int64_t counted = y->rows;

    if (!j->d) {
        j->d = malloc((size_t)(y->rows * y->cols) * sizeof *j->d);
        j->each = malloc((size_t)(3 * y->rows + 3) * sizeof *j->each);
        j->label = malloc((size_t)(2 * y->rows) * sizeof *j->label);
        j->score = malloc((size_t)y->rows * sizeof *j->score);
    }
    for (int64_t r = 0; r < y->rows; r++) {
        j->label[r] = (int32_t)(r % y->cols);
        j->score[r] = (float)r / 4;
    }
    if (!strcmp(kind, "tokens")) {
        counted = 0;
        for (int64_t r = 0; r < y->rows; r++) {
            j->label[r] = r % 4 == 1 ? -1 : (int32_t)((7 * r + 3) % y->cols);
            counted += r % 4 != 1;
        }
    }
    if (!strcmp(kind, "classes")) return xc_loss_classes(j->d, j->each, x, j->label, y->rows, y->cols, 0.1, 1 / (double)y->rows, threads) / (double)y->rows;
    if (!strcmp(kind, "plain")) return xc_loss_classes(j->d, j->each, x, j->label, y->rows, y->cols, 0, 1 / (double)y->rows, threads) / (double)y->rows;
    if (!strcmp(kind, "tokens")) return xc_loss_classes(j->d, j->each, x, j->label, y->rows, y->cols, 0, 1 / (double)counted, threads) / (double)counted;
    if (!strcmp(kind, "spans")) {
        for (int32_t s = 0; s < j->n_seq; s++) {
            const int32_t n = j->start[s + 1] - j->start[s];

            j->label[2 * s] = s % n;
            j->label[2 * s + 1] = s == 2 ? -1 : (2 * s + 1) % n;
        }
        return xc_loss_spans(j->d, j->each, x, j->start, j->label, j->n_seq, 0, 1 / (double)j->n_seq, threads) / (double)j->n_seq;
    }
    if (!strcmp(kind, "choices")) {
        j->label[0] = 1, j->label[1] = 0;
        return xc_loss_classes(j->d, j->each, x, j->label, 2, 2, 0, 0.5, threads) / 2;
    }
    if (!strcmp(kind, "square")) return xc_loss_square(j->d, x, j->score, y->rows, 1 / (double)y->rows) / (double)y->rows;
    if (!strcmp(kind, "cosine")) {
        for (int64_t i = 0; i < pairs; i++) j->score[i] = pair_score[i % 3];
        return xc_loss_cosine(j->d, x, j->score, pairs, y->cols, 1 / (double)pairs) / (double)pairs;
    }
    return xc_loss_contrast(j->d, j->each, x, pairs, y->cols, 20, 1 / (double)pairs) / (double)pairs;
}

static double forward_backward(struct job *j, const char *kind)
{
    const struct xc_ragged rag = { .start = j->start, .n_seq = j->n_seq };
    struct xc_view in[2], y;
    double loss;

    for (int32_t i = 0; i < j->g->n_inputs; i++)
        in[i] = (struct xc_view){ .data = strcmp(j->g->values[j->g->inputs[i]].name, "types") ? j->ids : j->types, .rows = j->start[j->n_seq], .cols = 1 };
    OK(xc_tape_forward(j->tape, in, &rag, 1, true, 0, 0, &y, &err));
    loss = loss_of(j, kind, &y);
    OK(xc_tape_backward(j->tape, &j->d, &err));
    return loss;
}

static void check_curve(struct job *j, const char *kind, double rate, const double want[20], const char *what)
{
    for (int t = 0; t < 20; t++) {
        const double loss = forward_backward(j, kind);
        double norm;

        OK(xc_params_norm(&j->params, j->m, &norm, threads, &err));
        xc_params_step(&j->params, &j->opts, t + 1, rate, norm, threads);
        if (!(fabs(loss - want[t]) <= 1e-3 * fabs(want[t]))) fail_msg("%s: loss at step %d is %.9g, PyTorch has %.9g", what, t, loss, want[t]);
    }
}

static int setup(void **state)
{
    (void)state;
    return (int)xc_pool_new(&threads, 2, &err);
}

static int teardown(void **state)
{
    (void)state;
    xc_pool_free(&threads);
    return 0;
}

#endif
