/* Whole models against PyTorch (tests/vectors/gen_grad.py): loss and every gradient of tiny checkpoints with each head, and the losses of 20
 * AdamW steps; with XC_MINILM, those of all-MiniLM-L6-v2 too. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress/grad/tape.h"
#include "compress/train/head.h"
#include "compress/train/loss.h"
#include "compress/train/optimizer.h"
#include "formats/formats.h"

struct grad_vector {
    int model;
    const char *tensor;
    double norm, product;
};
struct grad_case {
    const char *dir, *head, *loss;
    double value;
};
#include "tests/vectors/grad_vectors.h"

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
    const float *x = y->data;
    int64_t counted = y->rows;

    if (!j->d) {
        j->d = malloc((size_t)(y->rows * y->cols) * sizeof *j->d);
        j->each = malloc((size_t)(3 * y->rows + 3) * sizeof *j->each);
        j->label = malloc((size_t)y->rows * sizeof *j->label);
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
    if (!strcmp(kind, "square")) return xc_loss_square(j->d, x, j->score, y->rows, 1 / (double)y->rows) / (double)y->rows;
    if (!strcmp(kind, "cosine")) {
        j->score[0] = 0.25f;
        j->score[1] = 0.75f;
        return xc_loss_cosine(j->d, x, j->score, 2, y->cols, 0.5) / 2;
    }
    return xc_loss_contrast(j->d, j->each, x, 2, y->cols, 20, 0.5) / 2;
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

/* ---- tiny checkpoints ---- */
static void path_of(char *out, size_t n, const char *rest) { snprintf(out, n, "%s/tests/vectors/arch/%s", getenv("XC_SOURCE_ROOT"), rest); }

static void open_case(struct job *j, const struct grad_case *c)
{
    const bool pairs = !strcmp(c->loss, "cosine") || !strcmp(c->loss, "contrast");
    char path[1024], rest[128];
    int32_t head[4];
    struct xc_pool *const pool = j->pool;
    const bool bf16 = j->bf16;
    FILE *f;

    memset(j, 0, sizeof *j);
    j->pool = pool;
    j->bf16 = bf16;
    path_of(path, sizeof path, c->dir);
    OK(xc_model_load(&j->m, path, NULL, &err));
    snprintf(rest, sizeof rest, "%s/%s.bin", c->dir, c->head);
    path_of(path, sizeof path, rest);
    f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(head, sizeof *head, 4, f), 4);
    j->n_seq = head[0];
    j->start = malloc(((size_t)head[0] + 1) * sizeof *j->start);
    j->ids = malloc((size_t)head[1] * sizeof *j->ids);
    j->types = malloc((size_t)head[1] * sizeof *j->types);
    assert_int_equal(fread(j->start, sizeof *j->start, (size_t)head[0] + 1, f), head[0] + 1);
    assert_int_equal(fread(j->ids, sizeof *j->ids, (size_t)head[1], f), head[1]);
    assert_int_equal(fread(j->types, sizeof *j->types, (size_t)head[1], f), head[1]);
    fclose(f);
    if (pairs) j->n_seq = 4;
    prepare(j);
}

/* Gradients by norm and by their product with made-up numbers; relative to the norm, since the product may be small, and to the
 * largest gradient, since a small one may be the difference of large numbers. */
static void check_gradients(const struct job *j, int model)
{
    int32_t seen = 0;
    double largest = 0;

    for (size_t v = 0; v < XC_ARRAY_LEN(grad_vectors); v++)
        if (grad_vectors[v].model == model) largest = fmax(largest, grad_vectors[v].norm);
    for (size_t v = 0; v < XC_ARRAY_LEN(grad_vectors); v++) {
        const struct grad_vector *want = &grad_vectors[v];
        const struct xc_param *p = NULL;
        double norm = 0, product = 0;
        uint32_t s = 12345;

        if (want->model != model) continue;
        for (int32_t i = 0; i < j->params.n && !p; i++)
            if (!strcmp(j->m->tensors[j->params.param[i].tensor]->name, want->tensor)) p = &j->params.param[i];
        if (!p) fail_msg("%s: no tensor '%s'", grad_cases[model].dir, want->tensor);
        for (int64_t i = 0; i < p->n; i++) {
            const double g = (double)j->params.grad[p->at + i];

            norm += g * g;
            product += g * lcg(&s);
        }
        norm = sqrt(norm);
        if (!(fabs(norm - want->norm) <= 2e-5 * want->norm + 1e-6 * largest) || !(fabs(product - want->product) <= 2e-5 * want->norm + 1e-6 * largest))
            fail_msg("%s, %s: gradient of '%s' has norm %.9g and product %.9g, PyTorch has %.9g and %.9g", grad_cases[model].dir, grad_cases[model].loss, want->tensor, norm, product,
                     want->norm, want->product);
        seen++;
    }
    assert_true(seen > 10);
}

static void test_gradients(void **state)
{
    (void)state;
    for (size_t c = 0; c < XC_ARRAY_LEN(grad_cases); c++) {
        struct job j = { 0 };
        double loss;

        open_case(&j, &grad_cases[c]);
        loss = forward_backward(&j, grad_cases[c].loss);
        if (!(fabs(loss - grad_cases[c].value) <= 1e-5 * fabs(grad_cases[c].value))) fail_msg("%s, %s: loss %.9g, PyTorch has %.9g", grad_cases[c].dir, grad_cases[c].loss, loss, grad_cases[c].value);
        check_gradients(&j, (int)c);
        finish(&j);
    }
}

/* ---- curves ---- */
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

static void test_tiny_curve(void **state)
{
    struct job j = { 0 };

    (void)state;
    open_case(&j, &grad_cases[0]);
    check_curve(&j, "classes", 2e-3, tiny_curve, "tiny BERT");
    finish(&j);
}

/* Products in bf16: eight bits of every operand, so losses and gradients near PyTorch's, and the same bits for any number of threads. */
static void test_bf16(void **state)
{
    (void)state;
    for (size_t c = 0; c < XC_ARRAY_LEN(grad_cases); c++) {
        struct job two = { .bf16 = true }, one = { .bf16 = true };
        double loss, off = 0, all = 0;

        OK(xc_pool_new(&one.pool, 1, &err));
        open_case(&two, &grad_cases[c]);
        open_case(&one, &grad_cases[c]);
        loss = forward_backward(&two, grad_cases[c].loss);
        if (!(fabs(loss - grad_cases[c].value) <= 2e-2 * fabs(grad_cases[c].value))) fail_msg("%s, %s: loss %.9g, PyTorch has %.9g", grad_cases[c].dir, grad_cases[c].loss, loss, grad_cases[c].value);
        if (!strcmp(grad_cases[c].loss, "classes")) assert_true(loss != grad_cases[c].value && fabs(loss - grad_cases[c].value) > 1e-7); /* it is not the f32 product */
        for (size_t v = 0; v < XC_ARRAY_LEN(grad_vectors); v++) {
            const struct grad_vector *want = &grad_vectors[v];
            double norm = 0;

            if (want->model != (int)c) continue;
            for (int32_t i = 0; i < two.params.n; i++) {
                if (strcmp(two.m->tensors[two.params.param[i].tensor]->name, want->tensor) != 0) continue;
                for (int64_t k = 0; k < two.params.param[i].n; k++) norm += pow((double)two.params.grad[two.params.param[i].at + k], 2);
            }
            off += pow(sqrt(norm) - want->norm, 2);
            all += pow(want->norm, 2);
        }
        if (!(sqrt(off) <= 3e-2 * sqrt(all))) fail_msg("%s, %s: gradients are off by %.3g of their norm", grad_cases[c].dir, grad_cases[c].loss, sqrt(off / all));
        assert_true(forward_backward(&one, grad_cases[c].loss) == loss);
        assert_memory_equal(one.params.grad, two.params.grad, (size_t)one.params.total * sizeof(float));
        xc_tape_free(&one.tape);
        xc_pool_free(&one.pool);
        finish(&one);
        finish(&two);
    }
}

#ifdef MINILM_CURVE
static void test_minilm_curve(void **state)
{
    static const char *const labels[] = { "0", "1" };
    const struct xc_head_opts head = { .task = "classify", .labels = labels, .n_labels = 2, .pooling = XC_HEAD_MEAN };
    const char *path = getenv("XC_MINILM");
    struct job j = { .n_seq = 8 };
    int64_t n = 0;
    float *w;
    uint32_t s = 12345;
    bool is_new;

    (void)state;
    if (!path) skip();
    OK(xc_head_load(&j.m, path, &head, &is_new, &err));
    assert_true(is_new);
    prepare(&j);
    w = (float *)(void *)j.m->tensors[xc_model_find_tensor(j.m, "classifier.weight")]->part[XC_PART_DATA]->data;
    for (int i = 0; i < 768; i++) w[i] = (float)(lcg(&s) * 0.2);
    j.start = calloc(9, sizeof *j.start);
    j.ids = malloc(200 * sizeof *j.ids);
    j.types = calloc(200, sizeof *j.types);
    for (int i = 0; i < 8; i++) {
        for (int t = 0; t < 5 + 3 * i; t++) j.ids[n++] = 1000 + (37 * i + 101 * t) % 20000;
        j.start[i + 1] = (int32_t)n;
    }
    check_curve(&j, "plain", 1e-4, minilm_curve, "MiniLM");
    finish(&j);
}
#endif

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_tiny_curve),
        cmocka_unit_test(test_bf16),
#ifdef MINILM_CURVE
        cmocka_unit_test(test_minilm_curve),
#endif
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
