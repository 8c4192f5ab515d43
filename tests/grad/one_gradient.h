/* one_gradient: the derivative of one op against finite differences of its forward, on ragged batches with empty sequences: along the gradient itself mixed with a random
 * direction, so that wrong length and wrong place both show. Each case runs with one and three threads and on every kernel level, and must give the same bits; the second run
 * must not allocate. */
#ifndef XC_TESTS_GRAD_ONE_GRADIENT_H
#define XC_TESTS_GRAD_ONE_GRADIENT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress/grad/dropout.h"
#include "compress/grad/tape.h"
#include "runtime/base/rng.h"
#include "runtime/graph/attention/attention.h"

static struct xc_err err;
static struct xc_pool *threads;

static inline void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

enum { N_SEQ = 5, TOKENS = 92, MEMORY = 121, MAX_IN = 8 };
static const int32_t token_start[N_SEQ + 1] = { 0, 3, 3, 4, 21, TOKENS };   /* 3, 0, 1, 17, 71 rows: more than one tile of attention */
static const int32_t memory_start[N_SEQ + 1] = { 0, 5, 7, 9, 32, MEMORY }; /* 5, 2, 2, 23, 89 rows */

struct fix {
    struct xc_model *m;
    struct xc_graph *g;
    int32_t tokens, memory, sequence;
    struct xc_view in[MAX_IN];
    int n_in;
    double limit, step; /* of the relative error; of the differences */
    bool corners;       /* the function has some: no Richardson extrapolation */
    double drop;        /* of attention probabilities, the same ones in every pass */
};

static inline void begin(struct fix *f)
{
    memset(f, 0, sizeof *f);
    f->limit = 2e-4;
    f->step = 0.1;
    OK(xc_model_new(&f->m, &err));
    OK(xc_model_add_graph(f->m, &f->g, "g", &err));
    OK(xc_graph_add_space(f->g, &f->tokens, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(f->g, &f->memory, &(struct xc_space){ .name = "memory", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(f->g, &f->sequence, &(struct xc_space){ .name = "sequences", .map = XC_MAP_SEQUENCE }, &err));
}

static inline float *randoms(int64_t n, uint64_t stream, double mean, double spread)
{
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    struct xc_rng rng;

    xc_rng_init(&rng, 21, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(mean + spread * xc_rng_normal(&rng));
    return x;
}

static inline int32_t input(struct fix *f, const char *name, int32_t space, int32_t cols)
{
    const int64_t rows = space == f->tokens ? TOKENS : MEMORY;
    int32_t v;

    OK(xc_graph_add_input(f->g, &v, name, space, cols, XC_DTYPE_F32, &err));
    f->in[f->n_in] = (struct xc_view){ .data = randoms(rows * cols, 100 + (uint64_t)f->n_in, 0, 1), .rows = rows, .cols = cols };
    f->n_in++;
    return v;
}

static inline int32_t ids(struct fix *f, int32_t below)
{
    int32_t v, *data = malloc(TOKENS * sizeof *data);
    struct xc_rng rng;

    xc_rng_init(&rng, 22, 0);
    for (int i = 0; i < TOKENS; i++) data[i] = (int32_t)xc_rng_below(&rng, (uint64_t)below);
    OK(xc_graph_add_input(f->g, &v, "ids", f->tokens, 1, XC_DTYPE_I32, &err));
    f->in[f->n_in++] = (struct xc_view){ .data = data, .rows = TOKENS, .cols = 1 };
    return v;
}

static inline int32_t tensor(struct fix *f, const char *name, int32_t rank, const int64_t *dim, double mean, double spread)
{
    int32_t id;
    float *x;

    OK(xc_model_add_tensor(f->m, &id, name, rank, dim, &err));
    x = randoms(xc_tensor_count(f->m->tensors[id]), 200 + (uint64_t)id, mean, spread);
    OK(xc_tensor_set_f32(f->m->tensors[id], x, &err));
    free(x);
    return id;
}
#define DIMS(...) (const int64_t[]){ __VA_ARGS__ }

static inline int32_t node(struct fix *f, const char *op, const char *name, const struct xc_ref *in, int n_in, const void *attr)
{
    int32_t y;

    OK(xc_graph_add_node(f->g, &y, op, name, in, n_in, attr, &err));
    return y;
}
#define REFS(...) (const struct xc_ref[]){ __VA_ARGS__ }

/* ---- the check ---- */
static struct xc_ragged spaces[2] = { { token_start, N_SEQ }, { memory_start, N_SEQ } };

static inline double loss(struct xc_tape *t, struct fix *f, const float *weight)
{
    struct xc_view out;
    double sum = 0;

    OK(xc_tape_forward(t, f->in, spaces, 2, f->drop > 0, 0, 0, &out, &err));
    for (int64_t i = 0; i < out.rows * out.cols; i++) sum += (double)weight[i] * (double)((const float *)out.data)[i];
    return sum;
}

struct grads {
    float *tensor[MAX_IN], *value[MAX_IN];
};

static inline int64_t count_of(const struct fix *f, int i) { return f->in[i].rows * f->in[i].cols; }
static inline bool is_f32(const struct fix *f, int i) { return f->g->values[f->g->inputs[i]].dtype == XC_DTYPE_F32; }

/* Gradients of the weighted sum of the output. */
static inline void gradients(struct grads *out, struct fix *f, const float *weight, struct xc_pool *pool, const char *level, struct xc_tape **keep)
{
    const bool all[MAX_IN] = { true, true, true, true, true, true, true, true };
    const struct xc_tape_opts opts = { .pool = pool, .kern = level ? xc_kernels_for(level) : NULL, .trained = all, .inputs = true };
    struct xc_tape *t;
    struct xc_view y;
    float *d = NULL;

    OK(xc_tape_new(&t, f->g, &opts, &err));
    xc_tape_dropout_attention(t, f->drop);
    for (int32_t i = 0; i < f->m->n_tensors; i++) xc_tape_bind(t, i, out->tensor[i] = calloc((size_t)xc_tensor_count(f->m->tensors[i]), sizeof(float)));
    for (int run = 0; run < 2; run++) {
        int64_t before = 0;

        if (run == 1) before = xc_alloc_count();
        OK(xc_tape_forward(t, f->in, spaces, 2, f->drop > 0, 0, 0, &y, &err));
        if (!d) d = malloc((size_t)(y.rows * y.cols) * sizeof *d);
        memcpy(d, weight, (size_t)(y.rows * y.cols) * sizeof *d);
        for (int32_t i = 0; i < f->m->n_tensors; i++) memset(out->tensor[i], 0, (size_t)xc_tensor_count(f->m->tensors[i]) * sizeof(float));
        OK(xc_tape_backward(t, &d, &err));
        if (run == 1) assert_int_equal(before, xc_alloc_count());
    }
    for (int i = 0; i < f->n_in; i++) {
        const float *g = is_f32(f, i) ? xc_tape_input_gradient(t, f->g->inputs[i]) : NULL;

        out->value[i] = NULL;
        if (!g) continue;
        out->value[i] = malloc((size_t)count_of(f, i) * sizeof(float));
        memcpy(out->value[i], g, (size_t)count_of(f, i) * sizeof(float));
    }
    free(d);
    if (keep) *keep = t;
    else xc_tape_free(&t);
}

static inline void release(struct grads *g, const struct fix *f)
{
    for (int i = 0; i < MAX_IN; i++) {
        if (i < f->m->n_tensors) free(g->tensor[i]);
        if (i < f->n_in) free(g->value[i]);
    }
}

/* Moves the n numbers x along the gradient g and a random direction, by a step and by half of it, and back. */
static inline void differ(struct xc_tape *t, struct fix *f, const float *weight, float *x, const float *g, int64_t n, const char *what)
{
    float *was = malloc((size_t)n * sizeof *was), *r = randoms(n, 999, 0, 1);
    double g2 = 0, r2 = 0, want = 0, by[2];

    assert_non_null(g);
    memcpy(was, x, (size_t)n * sizeof *was);
    for (int64_t i = 0; i < n; i++) {
        g2 += (double)g[i] * (double)g[i];
        r2 += (double)r[i] * (double)r[i];
    }
    if (g2 == 0) fail_msg("%s: no gradient", what);
    for (int64_t i = 0; i < n; i++) r[i] = (float)((double)g[i] / sqrt(g2) + (double)r[i] / sqrt(r2));
    for (int64_t i = 0; i < n; i++) want += (double)g[i] * (double)r[i];
    for (int half = 0; half < 2; half++) {
        const double step = half ? f->step / 2 : f->step;
        double got[2];

        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < n; i++) x[i] = (float)((double)was[i] + (side ? -step : step) * (double)r[i]);
            got[side] = loss(t, f, weight);
        }
        by[half] = (got[0] - got[1]) / (2 * step);
    }
    memcpy(x, was, (size_t)n * sizeof *was);
    const double fd = f->corners ? by[0] : (4 * by[1] - by[0]) / 3, error = fabs(fd - want) / sqrt(g2); /* Richardson: what bends falls away */

    if (!(error <= f->limit)) fail_msg("%s: derivative %.8g, by differences %.8g, error %.2g of the gradient's norm", what, want, fd, error);
    free(was);
    free(r);
}

static inline void same_bits(const struct grads *a, const struct grads *b, const struct fix *f, const char *what)
{
    for (int32_t i = 0; i < f->m->n_tensors; i++)
        if (memcmp(a->tensor[i], b->tensor[i], (size_t)xc_tensor_count(f->m->tensors[i]) * sizeof(float))) fail_msg("%s: other bits for tensor '%s'", what, f->m->tensors[i]->name);
    for (int i = 0; i < f->n_in; i++)
        if (a->value[i] && memcmp(a->value[i], b->value[i], (size_t)count_of(f, i) * sizeof(float))) fail_msg("%s: other bits for input %d", what, i);
}

static inline void check(struct fix *f, int32_t y, const char *what)
{
    const char *const *levels = xc_kernels_levels();
    float *weight = randoms((int64_t)4 * MEMORY * 64, 7, 0, 1);
    struct grads g, other;
    struct xc_tape *t;
    char name[160];

    OK(xc_graph_add_output(f->g, y, &err));
    OK(xc_model_verify(f->m, &err));
    gradients(&g, f, weight, NULL, NULL, &t);
    for (int32_t i = 0; i < f->m->n_tensors; i++) {
        snprintf(name, sizeof name, "%s, tensor %s", what, f->m->tensors[i]->name);
        differ(t, f, weight, (float *)(void *)f->m->tensors[i]->part[XC_PART_DATA]->data, g.tensor[i], xc_tensor_count(f->m->tensors[i]), name);
    }
    for (int i = 0; i < f->n_in; i++) {
        snprintf(name, sizeof name, "%s, input %d", what, i);
        if (is_f32(f, i)) differ(t, f, weight, f->in[i].data, g.value[i], count_of(f, i), name);
    }
    xc_tape_free(&t);
    gradients(&other, f, weight, threads, NULL, NULL);
    same_bits(&g, &other, f, what);
    release(&other, f);
    for (; *levels; levels++) {
        if (!xc_kernels_for(*levels)) continue;
        gradients(&other, f, weight, NULL, *levels, NULL);
        same_bits(&g, &other, f, *levels);
        release(&other, f);
    }
    release(&g, f);
    free(weight);
    for (int i = 0; i < f->n_in; i++) free(f->in[i].data);
    xc_model_free(&f->m);
}

static inline int setup(void **state)
{
    (void)state;
    return (int)xc_pool_new(&threads, 3, &err);
}

static inline int teardown(void **state)
{
    (void)state;
    xc_pool_free(&threads);
    return 0;
}

#endif
