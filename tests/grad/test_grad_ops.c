/* The derivative of every op against finite differences of its forward, on ragged batches with empty sequences: along the gradient itself
 * mixed with a random direction, so that wrong length and wrong place both show. Each case runs with one and three threads and on every
 * kernel level, and must give the same bits; the second run must not allocate. */
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

static void ok_at(enum xc_status status, int line)
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

static void begin(struct fix *f)
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

static float *randoms(int64_t n, uint64_t stream, double mean, double spread)
{
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    struct xc_rng rng;

    xc_rng_init(&rng, 21, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(mean + spread * xc_rng_normal(&rng));
    return x;
}

static int32_t input(struct fix *f, const char *name, int32_t space, int32_t cols)
{
    const int64_t rows = space == f->tokens ? TOKENS : MEMORY;
    int32_t v;

    OK(xc_graph_add_input(f->g, &v, name, space, cols, XC_DTYPE_F32, &err));
    f->in[f->n_in] = (struct xc_view){ .data = randoms(rows * cols, 100 + (uint64_t)f->n_in, 0, 1), .rows = rows, .cols = cols };
    f->n_in++;
    return v;
}

static int32_t ids(struct fix *f, int32_t below)
{
    int32_t v, *data = malloc(TOKENS * sizeof *data);
    struct xc_rng rng;

    xc_rng_init(&rng, 22, 0);
    for (int i = 0; i < TOKENS; i++) data[i] = (int32_t)xc_rng_below(&rng, (uint64_t)below);
    OK(xc_graph_add_input(f->g, &v, "ids", f->tokens, 1, XC_DTYPE_I32, &err));
    f->in[f->n_in++] = (struct xc_view){ .data = data, .rows = TOKENS, .cols = 1 };
    return v;
}

static int32_t tensor(struct fix *f, const char *name, int32_t rank, const int64_t *dim, double mean, double spread)
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

static int32_t node(struct fix *f, const char *op, const char *name, const struct xc_ref *in, int n_in, const void *attr)
{
    int32_t y;

    OK(xc_graph_add_node(f->g, &y, op, name, in, n_in, attr, &err));
    return y;
}
#define REFS(...) (const struct xc_ref[]){ __VA_ARGS__ }

/* ---- the check ---- */
static struct xc_ragged spaces[2] = { { token_start, N_SEQ }, { memory_start, N_SEQ } };

static double loss(struct xc_tape *t, struct fix *f, const float *weight)
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

static int64_t count_of(const struct fix *f, int i) { return f->in[i].rows * f->in[i].cols; }
static bool is_f32(const struct fix *f, int i) { return f->g->values[f->g->inputs[i]].dtype == XC_DTYPE_F32; }

/* Gradients of the weighted sum of the output. */
static void gradients(struct grads *out, struct fix *f, const float *weight, struct xc_pool *pool, const char *level, struct xc_tape **keep)
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

static void release(struct grads *g, const struct fix *f)
{
    for (int i = 0; i < MAX_IN; i++) {
        if (i < f->m->n_tensors) free(g->tensor[i]);
        if (i < f->n_in) free(g->value[i]);
    }
}

/* Moves the n numbers x along the gradient g and a random direction, by a step and by half of it, and back. */
static void differ(struct xc_tape *t, struct fix *f, const float *weight, float *x, const float *g, int64_t n, const char *what)
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

static void same_bits(const struct grads *a, const struct grads *b, const struct fix *f, const char *what)
{
    for (int32_t i = 0; i < f->m->n_tensors; i++)
        if (memcmp(a->tensor[i], b->tensor[i], (size_t)xc_tensor_count(f->m->tensors[i]) * sizeof(float))) fail_msg("%s: other bits for tensor '%s'", what, f->m->tensors[i]->name);
    for (int i = 0; i < f->n_in; i++)
        if (a->value[i] && memcmp(a->value[i], b->value[i], (size_t)count_of(f, i) * sizeof(float))) fail_msg("%s: other bits for input %d", what, i);
}

static void check(struct fix *f, int32_t y, const char *what)
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

/* ---- ops ---- */
static void test_elementwise(void **state)
{
    struct fix f;

    (void)state;
    for (int op = 0; op < 3; op++) { /* the third: one value behind both inputs */
        const char *const name = op ? "mul" : "add";

        begin(&f);
        const int32_t a = input(&f, "a", f.tokens, 19), b = op == 2 ? a : input(&f, "b", f.tokens, 19);

        check(&f, node(&f, name, "n", REFS(xc_val(a), xc_val(b)), 2, NULL), name);
    }
    for (int fn = 1; fn < XC_ACT_COUNT; fn++) {
        const struct xc_attr_unary attr = { .fn = fn };

        begin(&f);
        if (fn == XC_ACT_RELU) f.limit = 1e-3, f.step = 1e-2, f.corners = true;
        check(&f, node(&f, "unary", "n", REFS(xc_val(input(&f, "x", f.tokens, 21))), 1, &attr), "unary");
    }
    begin(&f);
    check(&f, node(&f, "softmax", "n", REFS(xc_val(input(&f, "x", f.tokens, 37))), 1, NULL), "softmax");
    begin(&f);
    check(&f, node(&f, "scale", "n", REFS(xc_val(input(&f, "x", f.tokens, 37)), xc_ten(tensor(&f, "s", 1, DIMS(37), 1, 0.5))), 2, NULL), "scale");
}

static void test_gather(void **state)
{
    struct fix f;

    (void)state;
    begin(&f); /* word and position tables, as embeddings have them */
    const int32_t id = ids(&f, 11), position = node(&f, "positions", "p", REFS(xc_val(id)), 1, NULL);
    const int32_t word = node(&f, "gather", "w", REFS(xc_val(id), xc_ten(tensor(&f, "word", 2, DIMS(11, 70), 0, 1))), 2, NULL);
    const int32_t place = node(&f, "gather", "q", REFS(xc_val(position), xc_ten(tensor(&f, "place", 2, DIMS(80, 70), 0, 1))), 2, NULL);

    check(&f, node(&f, "mul", "n", REFS(xc_val(word), xc_val(place)), 2, NULL), "gather");
}

/* Two streams, as Reformer has: cut where both cross, memory hardly grows with depth, and the gradients are those of a tape that keeps everything, to the bit. */
static double streams(float **d, int layers, int32_t segment)
{
    bool all[64];
    const struct xc_tape_opts opts = { .trained = all, .segment = segment };
    const struct xc_attr_unary gelu = { .fn = XC_ACT_GELU };
    struct fix f;
    struct xc_tape *t;
    struct xc_view y;
    double bytes;

    for (int i = 0; i < 64; i++) all[i] = true;
    begin(&f);
    int32_t x[2] = { input(&f, "a", f.tokens, 16), input(&f, "b", f.tokens, 16) };

    for (int l = 0; l < 2 * layers; l++) {
        char name[4][32];

        for (int i = 0; i < 4; i++) snprintf(name[i], sizeof name[i], "%c%d", "wvun"[i], l);
        const int32_t up = node(&f, "linear", name[0], REFS(xc_val(x[1 - l % 2]), xc_ten(tensor(&f, name[0], 2, DIMS(64, 16), 0, 0.2))), 2, NULL);
        const int32_t act = node(&f, "unary", name[2], REFS(xc_val(up)), 1, &gelu);
        const int32_t down = node(&f, "linear", name[1], REFS(xc_val(act), xc_ten(tensor(&f, name[1], 2, DIMS(16, 64), 0, 0.1))), 2, NULL);

        x[l % 2] = node(&f, "add", name[3], REFS(xc_val(x[l % 2]), xc_val(down)), 2, NULL);
    }
    OK(xc_graph_add_output(f.g, node(&f, "concat", "y", REFS(xc_val(x[0]), xc_val(x[1])), 2, NULL), &err));
    OK(xc_tape_new(&t, f.g, &opts, &err));
    bytes = xc_tape_bytes(t, 100000, 10);
    *d = calloc((size_t)f.m->n_tensors * 1024, sizeof **d);
    for (int32_t i = 0; i < f.m->n_tensors; i++) xc_tape_bind(t, i, *d + i * 1024);
    OK(xc_tape_forward(t, f.in, spaces, 2, false, 0, 0, &y, &err));
    float *dy = randoms(y.rows * y.cols, 3, 0, 1);

    OK(xc_tape_backward(t, &dy, &err));
    free(dy);
    xc_tape_free(&t);
    for (int i = 0; i < f.n_in; i++) free(f.in[i].data);
    xc_model_free(&f.m);
    return bytes;
}

static void test_two_streams(void **state)
{
    double bytes[2][2];

    (void)state;
    for (int deep = 0; deep < 2; deep++) {
        float *d[2];

        for (int cut = 0; cut < 2; cut++) bytes[deep][cut] = streams(&d[cut], deep ? 8 : 2, cut);
        assert_memory_equal(d[0], d[1], (size_t)(deep ? 32 : 8) * 1024 * sizeof(float));
        free(d[0]);
        free(d[1]);
    }
    /* a layer more: 4 widths kept of 2 x (64 + 64 + 16 + 16) */
    if (!(bytes[1][1] - bytes[0][1] < 0.15 * (bytes[1][0] - bytes[0][0]))) fail_msg("six layers more take %g bytes, kept whole %g", bytes[1][1] - bytes[0][1], bytes[1][0] - bytes[0][0]);
}

/* Every third row has values of 100 times the length, so that no difference changes which rows stay. */
static void test_keep_rows(void **state)
{
    const struct xc_attr_received received = { .heads = 1 };
    const struct xc_attr_keep attr = { .threshold = 0.5f };
    int32_t y[3], space;
    struct fix f;

    (void)state;
    begin(&f);
    const int32_t a = input(&f, "a", f.tokens, 7), b = input(&f, "b", f.tokens, 7);

    for (int i = 0; i < TOKENS * 7; i++) ((float *)f.in[0].data)[i] *= i / 7 % 3 ? 0.01f : 1;
    OK(xc_graph_add_space(f.g, &space, &(struct xc_space){ .name = "kept", .map = XC_MAP_SUBSET, .base = f.tokens }, &err));
    const int32_t score = node(&f, "attention_received", "r", REFS(xc_val(b), xc_val(b), xc_val(a)), 3, &received);

    OK(xc_graph_add_node(f.g, y, "keep_rows", "k", REFS(xc_val(score), xc_val(a), xc_val(b)), 3, &attr, &err));
    check(&f, node(&f, "mul", "n", REFS(xc_val(y[0]), xc_val(y[1])), 2, NULL), "keep_rows");
}

static void test_norm(void **state)
{
    static const int widths[] = { 1, 15, 48, 61 };
    struct fix f;

    (void)state;
    for (int rms = 0; rms < 2; rms++)
        for (size_t i = rms ? 0 : 1; i < XC_ARRAY_LEN(widths); i++) {
            const struct xc_attr_norm attr = { .eps = 1e-3f };

            begin(&f);
            const int32_t x = input(&f, "x", f.tokens, widths[i]), gain = tensor(&f, "gain", 1, DIMS(widths[i]), 1, 0.5);
            const struct xc_ref in[] = { xc_val(x), xc_ten(gain), rms ? xc_none() : xc_ten(tensor(&f, "bias", 1, DIMS(widths[i]), 0, 1)) };

            if (widths[i] == 1) f.limit = 5e-2, f.corners = true; /* one column: nearly nothing passes */
            check(&f, node(&f, rms ? "rms_norm" : "layer_norm", "n", in, rms ? 2 : 3, &attr), rms ? "rms_norm" : "layer_norm");
        }
}

static void test_linear(void **state)
{
    static const int64_t shapes[][2] = { { 1, 1 }, { 16, 32 }, { 17, 33 }, { 50, 7 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(shapes); i++) {
        begin(&f);
        const int32_t w = tensor(&f, "w", 2, DIMS(shapes[i][0], shapes[i][1]), 0, 1), b = tensor(&f, "b", 1, DIMS(shapes[i][0]), 0, 1);

        check(&f, node(&f, "linear", "n", REFS(xc_val(input(&f, "x", f.tokens, (int32_t)shapes[i][1])), xc_ten(w), xc_ten(b)), 3, NULL), "linear");
    }
    begin(&f); /* one table behind a gather and a linear, one value behind two nodes */
    const int32_t table = tensor(&f, "t", 2, DIMS(11, 24), 0, 0.5), x = node(&f, "gather", "x", REFS(xc_val(ids(&f, 11)), xc_ten(table)), 2, NULL);
    const int32_t y = node(&f, "linear", "y", REFS(xc_val(x), xc_ten(table)), 2, NULL);

    check(&f, node(&f, "concat", "n", REFS(xc_val(y), xc_val(x)), 2, NULL), "tied linear");
}

static void test_attention(void **state)
{
    static const struct { int heads, kv, D, causal, bias, cross; } cases[] = {
        { 1, 0, 16, 0, 0, 0 }, { 3, 0, 8, 0, 0, 1 }, { 4, 2, 5, 0, 0, 0 }, { 2, 0, 26, 1, 0, 0 }, { 2, 1, 16, 1, 1, 1 }, { 2, 0, 4, 0, 2, 0 },
    };
    struct fix f;

    (void)state;
    for (size_t both = 0; both < 2 * XC_ARRAY_LEN(cases); both++) {
        const size_t i = both / 2;
        const int heads = cases[i].heads, kv = cases[i].kv ? cases[i].kv : heads, D = cases[i].D;
        const struct xc_attr_attention attr = { .heads = heads, .kv_heads = cases[i].kv, .causal = cases[i].causal, .scale = i == 2 ? 0.3f : 0 };
        char what[80];

        begin(&f);
        f.drop = both % 2 ? 0.3 : 0;
        const int32_t keys = cases[i].cross ? f.memory : f.tokens;
        const int32_t q = input(&f, "q", f.tokens, heads * D), k = input(&f, "k", keys, kv * D), v = input(&f, "v", keys, kv * D);
        const struct xc_ref in[] = { xc_val(q), xc_val(k), xc_val(v), cases[i].bias ? xc_ten(tensor(&f, "bias", 2, DIMS(cases[i].bias, 2 * 90 - 1), 0, 1)) : xc_none() };

        snprintf(what, sizeof what, "attention, case %d, dropout %g", (int)i, f.drop);
        check(&f, node(&f, "attention", "n", in, cases[i].bias ? 4 : 3, &attr), what);
    }
    begin(&f); /* queries, keys and values are one */
    const struct xc_attr_attention attr = { .heads = 2 };
    const int32_t x = input(&f, "x", f.tokens, 12);

    check(&f, node(&f, "attention", "n", REFS(xc_val(x), xc_val(x), xc_val(x)), 3, &attr), "attention of itself");
}

static int32_t kind_named(const char *name)
{
    int32_t kind = 0;

    while (strcmp(xc_attention_kinds[kind]->name, name)) kind++;
    return kind;
}

static void test_attention_longformer(void **state)
{
    static const struct { int heads, kv, D, own; struct xc_attr_attention attr; } cases[] = {
        { 2, 2, 8, 0, { .window = 7 } },
        { 2, 1, 12, 1, { .window = 20, .global_first = 2 } },
        { 2, 2, 5, 1, { .window = 3, .dilation = 4, .global_first = 3, .causal = true } },
        { 1, 1, 16, 0, { .window = 100, .global_first = 70, .scale = 0.4f } },
    };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_attr_attention attr = cases[i].attr;
        const int heads = cases[i].heads, kv = cases[i].kv, D = cases[i].D;
        struct xc_ref in[6];
        char what[80];

        attr.kind = kind_named("longformer"), attr.heads = heads, attr.kv_heads = kv;
        begin(&f);
        f.step = 0.04;
        for (int k = 0; k < (cases[i].own ? 6 : 3); k++) {
            static const char *const names[] = { "q", "k", "v", "qg", "kg", "vg" };

            in[k] = xc_val(input(&f, names[k], f.tokens, (k % 3 ? kv : heads) * D));
        }
        snprintf(what, sizeof what, "longformer, case %d", (int)i);
        check(&f, node(&f, "attention", "n", in, cases[i].own ? 6 : 3, &attr), what);
    }
    for (int causal = 0; causal < 2; causal++) { /* soft spans, between whole tokens: masks bend where a span is one */
        const struct xc_attr_attention attr = { .kind = kind_named("longformer"), .heads = 2, .kv_heads = 1, .window = causal ? 3 : 6, .ramp = 5, .global_first = 1, .causal = causal };
        struct xc_ref in[8];

        begin(&f);
        f.step = 0.04;
        for (int k = 0; k < 3; k++) in[k] = xc_val(input(&f, (const char *const[]){ "q", "k", "v" }[k], f.tokens, k ? 10 : 20));
        for (int k = 3; k < 7; k++) in[k] = xc_none();
        in[7] = xc_ten(tensor(&f, "span", 1, DIMS(2), causal ? 0.5 : 0.583, 0.005));
        check(&f, node(&f, "attention", "n", in, 8, &attr), "longformer, soft spans");
    }
}

static void test_attention_linformer(void **state)
{
    static const struct { int heads, kv, D, slots, e, f; } cases[] = { { 2, 2, 8, 12, 12, 0 }, { 4, 2, 5, 9, 18, 9 }, { 1, 1, 70, 20, 20, 20 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct xc_attr_attention attr = { .kind = kind_named("linformer"), .heads = cases[i].heads, .kv_heads = cases[i].kv, .slots = cases[i].slots };
        struct xc_ref in[5];
        char what[80];

        begin(&f);
        f.step = 0.02; /* mixed keys are large: scores bend early */
        in[0] = xc_val(input(&f, "q", f.tokens, attr.heads * cases[i].D));
        in[1] = xc_val(input(&f, "k", f.memory, attr.kv_heads * cases[i].D));
        in[2] = xc_val(input(&f, "v", f.memory, attr.kv_heads * cases[i].D));
        in[3] = xc_ten(tensor(&f, "e", 2, DIMS(cases[i].e, 89), 0, 0.15));
        in[4] = cases[i].f ? xc_ten(tensor(&f, "f", 2, DIMS(cases[i].f, 100), 0, 0.15)) : xc_none();
        snprintf(what, sizeof what, "linformer, case %d", (int)i);
        check(&f, node(&f, "attention", "n", in, 5, &attr), what);
    }
}

static void test_attention_hedgehog(void **state)
{
    static const struct { int heads, kv, D, slots, rows; bool causal; } cases[] = { { 2, 2, 8, 0, 0, false }, { 4, 2, 6, 0, 0, true }, { 2, 1, 10, 0, 14, false }, { 2, 2, 9, 5, 5, true } };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct xc_attr_attention attr = { .kind = kind_named("hedgehog"), .heads = cases[i].heads, .kv_heads = cases[i].kv, .slots = cases[i].slots, .causal = cases[i].causal };
        struct xc_ref in[4];
        struct fix f;
        char what[64];

        begin(&f);
        f.step = 0.05; /* the map bends */
        in[0] = xc_val(input(&f, "q", f.tokens, attr.heads * cases[i].D));
        in[1] = xc_val(input(&f, "k", f.memory, attr.kv_heads * cases[i].D));
        in[2] = xc_val(input(&f, "v", f.memory, attr.kv_heads * cases[i].D));
        in[3] = cases[i].rows ? xc_ten(tensor(&f, "w", 2, DIMS(cases[i].rows, cases[i].D), 0, 0.5)) : xc_none();
        snprintf(what, sizeof what, "hedgehog, case %d", (int)i);
        check(&f, node(&f, "attention", "n", in, cases[i].rows ? 4 : 3, &attr), what);
    }
}

/* Local layers; hashes jump under differences, so LSH layers are checked against PyTorch alone (test_attention.c). */
static void test_attention_reformer(void **state)
{
    static const struct xc_attr_attention cases[] = { { .heads = 2, .chunk = 8, .before = 1 }, { .heads = 1, .chunk = 7, .before = 1, .after = 1, .causal = true }, { .heads = 2, .chunk = 100 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_attr_attention attr = cases[i];
        char what[80];

        attr.kind = kind_named("reformer");
        begin(&f);
        const int32_t q = input(&f, "q", f.tokens, 10), k = input(&f, "k", f.tokens, 10), v = input(&f, "v", f.tokens, 10);

        snprintf(what, sizeof what, "reformer, case %d", (int)i);
        check(&f, node(&f, "attention", "n", REFS(xc_val(q), xc_val(k), xc_val(v)), 3, &attr), what);
    }
}

static void test_attention_synthesizer(void **state)
{
    struct fix f;

    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        struct xc_attr_attention attr = { .kind = kind_named("synthesizer"), .heads = 2, .kv_heads = 1 + causal, .positions = 80, .factor = 8, .dot = true, .rank = causal ? 3 : 0, .causal = causal };

        begin(&f);
        f.step = 0.04; /* the mixture's four numbers move every score */
        const int32_t q = input(&f, "q", f.tokens, 16), k = input(&f, "k", f.tokens, 8 * attr.kv_heads), v = input(&f, "v", f.tokens, 8 * attr.kv_heads);
        const int32_t hidden = input(&f, "hidden", f.tokens, 10), factors = input(&f, "factors", f.tokens, 36);
        const int32_t r = tensor(&f, "r", 2, DIMS(causal ? 160 : 80, causal ? 6 : 80), 0, 0.5), w = tensor(&f, "w", 2, DIMS(causal ? 80 : 160, 5), 0, 0.5);
        const int32_t b = tensor(&f, "b", 2, DIMS(1 + causal, 80), 0, 1), mix = tensor(&f, "mix", 2, DIMS(1, 4), 0, 1);

        check(&f, node(&f, "attention", "n", REFS(xc_val(q), xc_val(k), xc_val(v), xc_ten(r), xc_ten(w), xc_val(hidden), xc_ten(b), xc_val(factors), xc_ten(mix)), 9, &attr), "synthesizer");
        attr = (struct xc_attr_attention){ .kind = attr.kind, .heads = 2, .positions = 90, .window = 5 + 60 * causal, .causal = causal };
        begin(&f);
        const int32_t x = input(&f, "x", f.tokens, 16), band = tensor(&f, "band", 2, DIMS(causal ? 90 : 180, 2 * attr.window + 1), 0, 1);

        check(&f, node(&f, "attention", "n", REFS(xc_val(x), xc_val(x), xc_val(x), xc_ten(band)), 4, &attr), "synthesizer, a band");
    }
}

/* The input mixed once, projected with a bias that the sums of E multiply: the same as Linformer on projected keys, and its derivative. */
static void test_mix_rows(void **state)
{
    enum { C = 24, SLOTS = 7 };
    struct fix f;
    int32_t slots, mixed[2], y;

    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        begin(&f);
        OK(xc_graph_add_space(f.g, &slots, &(struct xc_space){ .name = "slots", .map = XC_MAP_FIXED, .k = SLOTS }, &err));
        const int32_t x = input(&f, "x", f.tokens, C), e = tensor(&f, "e", 2, DIMS(SLOTS, 71), 0, 0.3), w = tensor(&f, "w", 2, DIMS(C, C), 0, 0.2);

        OK(xc_graph_add_node(f.g, mixed, "mix_rows", "mix", REFS(xc_val(x), xc_ten(e)), 2, NULL, &err));
        y = node(&f, "linear", "w", REFS(xc_val(mixed[0]), xc_ten(w)), 2, NULL);
        if (bias) {
            const int32_t b = tensor(&f, "b", 2, DIMS(C, 1), 0, 1), times = node(&f, "linear", "b", REFS(xc_val(mixed[1]), xc_ten(b)), 2, NULL);

            y = node(&f, "add", "n", REFS(xc_val(y), xc_val(times)), 2, NULL);
        }
        check(&f, y, "mix_rows");
    }
}

static void test_pool(void **state)
{
    struct fix f;

    (void)state;
    for (int mode = 0; mode < XC_POOL_COUNT; mode++) {
        const struct xc_attr_pool attr = { .mode = mode };

        begin(&f);
        if (mode == XC_POOL_MAX) f.limit = 2e-3, f.step = 1e-3, f.corners = true;
        check(&f, node(&f, "pool", "n", REFS(xc_val(input(&f, "x", f.tokens, 18))), 1, &attr), "pool");
    }
    begin(&f);
    check(&f, node(&f, "l2_normalize", "n", REFS(xc_val(input(&f, "x", f.tokens, 18))), 1, NULL), "l2_normalize");
}

static void test_columns(void **state)
{
    const struct xc_attr_slice slice = { .first = 3, .cols = 11 };
    struct fix f;

    (void)state;
    begin(&f);
    const int32_t a = input(&f, "a", f.tokens, 5), b = input(&f, "b", f.tokens, 18);

    check(&f, node(&f, "concat", "n", REFS(xc_val(a), xc_val(b)), 2, NULL), "concat");
    begin(&f);
    check(&f, node(&f, "slice", "n", REFS(xc_val(input(&f, "x", f.tokens, 20))), 1, &slice), "slice");
}

static void test_conv1d(void **state)
{
    static const struct xc_attr_conv1d cases[] = { { 3, 1, 1, 1, 1 }, { 4, 2, 1, 2, 2 }, { 1, 1, 0, 0, 1 }, { 5, 3, 0, 0, 4 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct xc_attr_conv1d *c = &cases[i];
        const int64_t in = 8, out = 12;
        int32_t space;

        begin(&f);
        OK(xc_graph_add_space(f.g, &space, &(struct xc_space){ .name = "frames", .map = XC_MAP_STRIDED, .base = f.tokens, .kernel = c->kernel, .stride = c->stride,
                                                              .pad_left = c->pad_left, .pad_right = c->pad_right }, &err));
        const int32_t x = input(&f, "x", f.tokens, (int32_t)in), w = tensor(&f, "w", 3, DIMS(out, in / c->groups, c->kernel), 0, 1), b = tensor(&f, "b", 1, DIMS(out), 0, 1);

        check(&f, node(&f, "conv1d", "n", REFS(xc_val(x), xc_ten(w), xc_ten(b)), 3, c), "conv1d");
    }
}

/* ---- what is refused, what is frozen, what is dropped ---- */
static void test_refused(void **state)
{
    const bool all[MAX_IN] = { true, true, true, true, true, true, true, true };
    struct xc_tape_opts opts = { .trained = all };
    struct xc_tape *t;
    struct fix f;
    int32_t s, y;

    (void)state;
    begin(&f);
    OK(xc_model_add_state(f.m, &s, "cache", 6, XC_DTYPE_F32, false, &err));
    y = node(&f, "linear", "l", REFS(xc_val(input(&f, "x", f.tokens, 6)), xc_ten(tensor(&f, "w", 2, DIMS(6, 6), 0, 1))), 2, NULL);
    y = node(&f, "state_write", "keep", REFS(xc_val(y), xc_sta(s)), 2, NULL);
    OK(xc_graph_add_output(f.g, y, &err));
    assert_int_equal(xc_tape_new(&t, f.g, &opts, &err), XC_E_UNSUPPORTED);
    assert_null(t);
    assert_string_equal(err.msg, "node 'keep': op 'state_write' has no derivative");
    opts.trained = NULL; /* nothing needs a gradient: nothing to refuse */
    OK(xc_tape_new(&t, f.g, &opts, &err));
    xc_tape_free(&t);
    for (int i = 0; i < f.n_in; i++) free(f.in[i].data);
    xc_model_free(&f.m);
}

static void test_dropout(void **state)
{
    enum { N = 100003 };
    uint8_t *mask[2] = { malloc(N / 8 + 1), malloc(N / 8 + 1) };
    float *x = malloc(N * sizeof *x);
    double sum = 0;
    int64_t kept = 0;

    (void)state;
    xc_dropout_draw(mask[0], N, 0.1, 5, 6, NULL);
    xc_dropout_draw(mask[1], N, 0.1, 5, 6, threads);
    assert_memory_equal(mask[0], mask[1], N / 8);
    for (int64_t i = 0; i < N; i++) x[i] = 1;
    xc_dropout_apply(x, mask[0], N, 0.1, threads);
    for (int64_t i = 0; i < N; i++) {
        kept += x[i] != 0;
        sum += (double)x[i];
    }
    assert_true(fabs((double)kept / N - 0.9) < 0.005);
    assert_true(fabs(sum / N - 1) < 0.006);
    xc_dropout_draw(mask[1], N, 0.1, 5, 7, NULL);
    assert_memory_not_equal(mask[0], mask[1], N / 8);
    sum = 0;
    for (uint64_t row = 0; row < 3000; row += 3) { /* rows of probabilities: three at once, or the second alone */
        const struct xc_dropout_probs drop = { .p = 0.25, .seed = 5, .stream = 9 };
        uint8_t bits[3 * 5], again[5];

        xc_dropout_draw_rows(bits, 3, 33, &drop, row);
        xc_dropout_draw_rows(again, 1, 33, &drop, row + 1);
        assert_memory_equal(bits + 5, again, sizeof again);
        for (int i = 0; i < 3 * 33; i++) x[i] = 1;
        for (int r = 0; r < 3; r++) xc_dropout_apply_row(x + r * 33, bits + r * 5, 33, &drop);
        for (int i = 0; i < 3 * 33; i++) {
            assert_true(x[i] == 0.0f || fabsf(x[i] - 1 / 0.75f) < 1e-6f);
            sum += (double)x[i];
        }
    }
    assert_true(fabs(sum / (33.0 * 3000) - 1) < 0.01);
    free(mask[0]);
    free(mask[1]);
    free(x);
}

static int setup(void **state)
{
    (void)state;
    return (int)xc_pool_new(&threads, 3, &err);
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
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_gather), cmocka_unit_test(test_keep_rows), cmocka_unit_test(test_two_streams), cmocka_unit_test(test_norm), cmocka_unit_test(test_linear), cmocka_unit_test(test_attention), cmocka_unit_test(test_attention_longformer), cmocka_unit_test(test_attention_linformer), cmocka_unit_test(test_attention_hedgehog), cmocka_unit_test(test_attention_reformer), cmocka_unit_test(test_attention_synthesizer), cmocka_unit_test(test_mix_rows),
        cmocka_unit_test(test_pool), cmocka_unit_test(test_columns), cmocka_unit_test(test_conv1d), cmocka_unit_test(test_refused), cmocka_unit_test(test_dropout),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
