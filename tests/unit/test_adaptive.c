/* Adaptive attention: what it leaves out is never more than eps of a query's softmax (an oracle in double precision), and something; eps 0 and short
 * texts are dense attention to the bit and call its kernel; the same bits for any batch, number of threads and kernel level.
 *
 * The oracle sees what was left out through the values: column b of v is 1 for the keys of block b and 0 elsewhere, so that output b of a query is zero
 * when, and only when, block b took no part. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/run.h"

enum { HEADS = 2, D = 20, W = HEADS * D, N_SEQ = 4 };
static const int lengths[N_SEQ] = { 2100, 0, 40, 2048 };
static const int starts[N_SEQ + 1] = { 0, 2100, 2100, 2140, 4188 };
enum { ROWS = 4188 };

static struct xc_err err;
static struct xc_pool *threads;
static float *q, *k, *v;

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s", line, err.msg);
}
#define OK(call) ok_at(call, __LINE__)

static float uniform(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 8388608.0f - 1.0f;
}

/* Passages of 300 tokens have a subject each, which their queries and keys share; v tells blocks apart. */
static void make_texts(void)
{
    static float subject[16][W];
    uint32_t seed = 5;

    q = malloc(ROWS * W * sizeof *q), k = malloc(ROWS * W * sizeof *k), v = calloc(ROWS * W, sizeof *v);
    for (int i = 0; i < 16; i++)
        for (int d = 0; d < W; d++) subject[i][d] = uniform(&seed);
    for (int s = 0; s < N_SEQ; s++)
        for (int i = 0; i < lengths[s]; i++)
            for (int d = 0; d < W; d++) {
                const int at = (starts[s] + i) * W + d;

                q[at] = 4.0f * subject[i / 300][d] + uniform(&seed);
                k[at] = 4.0f * subject[i / 300][d] + uniform(&seed);
                v[at] = i / XC_KEY_BLOCK == d % D ? 1.0f : 0.0f;
            }
}

struct fix {
    struct xc_model *m;
    struct xc_graph *g;
};

static int32_t kind_named(const char *name)
{
    int32_t kind = 0;

    while (strcmp(xc_attention_kinds[kind]->name, name)) kind++;
    return kind;
}

static void build(struct fix *f, const char *kind, float eps, bool quantized, bool causal)
{
    const struct xc_attr_attention attr = { .kind = kind_named(kind), .heads = HEADS, .eps = eps, .quantized = quantized, .causal = causal };
    static const char *const names[] = { "q", "k", "v" };
    struct xc_ref in[3];
    int32_t space, id, y;

    OK(xc_model_new(&f->m, &err));
    OK(xc_model_add_graph(f->m, &f->g, "g", &err));
    OK(xc_graph_add_space(f->g, &space, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    for (int i = 0; i < 3; i++) {
        OK(xc_graph_add_input(f->g, &id, names[i], space, W, XC_DTYPE_F32, &err));
        in[i] = xc_val(id);
    }
    OK(xc_graph_add_node(f->g, &y, "attention", "node", in, 3, &attr, &err));
    OK(xc_graph_add_output(f->g, y, &err));
    OK(xc_model_verify(f->m, &err));
}

/* The output of sequences s0 to s0 + n - 1 alone, to be freed. */
static float *run(const struct fix *f, const struct xc_kernels *kern, struct xc_pool *pool, int s0, int n)
{
    const int row0 = starts[s0], rows = starts[s0 + n] - row0;
    int32_t at[N_SEQ + 1];
    const struct xc_ragged rag = { .start = at, .n_seq = n };
    float *const data[] = { q, k, v }, *y = malloc(((size_t)rows * W + 1) * sizeof *y);
    struct xc_view in[3], out;
    struct xc_run *r;

    for (int i = 0; i <= n; i++) at[i] = starts[s0 + i] - row0;
    for (int i = 0; i < 3; i++) in[i] = (struct xc_view){ .data = data[i] + row0 * W, .rows = rows, .cols = W };
    OK(xc_run_new(&r, f->m, kern, pool, &err));
    OK(xc_run_graph(r, f->g, in, &rag, 1, &out, &err));
    memcpy(y, out.data, (size_t)rows * W * sizeof *y);
    xc_run_free(&r);
    return y;
}

static void same(const float *a, const float *b, int row0, int rows, const char *what)
{
    if (memcmp(a, b + row0 * W, (size_t)rows * W * sizeof *a)) fail_msg("%s: other bits", what);
}

/* The numbers that int8 attention computes with. */
static void round_to_s8(double *x, const float *row, int64_t n)
{
    int8_t s8[D];
    float scale;
    int32_t sum;

    xc_kernels_for("scalar")->quantize_rows_s8(s8, D, &scale, &sum, row, n, NULL, 1, n, 0.0f);
    for (int64_t d = 0; d < n; d++) x[d] = (double)s8[d] * (double)scale;
}

/* The largest share that any query left out; *blocks and *gone are counted. */
static double most_lost(const float *y, int s, bool quantized, bool causal, int64_t *blocks, int64_t *gone)
{
    const int n = lengths[s], n_blocks = (n + XC_KEY_BLOCK - 1) / XC_KEY_BLOCK;
    double *p = malloc((size_t)n * sizeof *p), *keys = malloc((size_t)n * D * sizeof *keys), worst = 0;

    for (int h = 0; h < HEADS; h++) {
        for (int j = 0; j < n; j++) {
            const float *row = k + (starts[s] + j) * W + h * D;

            if (quantized) round_to_s8(keys + j * D, row, D);
            else
                for (int d = 0; d < D; d++) keys[j * D + d] = (double)row[d];
        }
        for (int i = 0; i < n; i++) {
            const int seen = causal ? i + 1 : n;
            double x[D], max = -1e300, sum = 0, lost = 0;

            if (quantized) round_to_s8(x, q + (starts[s] + i) * W + h * D, D);
            else
                for (int d = 0; d < D; d++) x[d] = (double)q[(starts[s] + i) * W + h * D + d];
            for (int j = 0; j < seen; j++) {
                p[j] = 0;
                for (int d = 0; d < D; d++) p[j] += x[d] * keys[j * D + d];
                p[j] /= sqrt(D);
                max = fmax(max, p[j]);
            }
            for (int j = 0; j < seen; j++) sum += p[j] = exp(p[j] - max);
            for (int b = 0; b < n_blocks && b * XC_KEY_BLOCK < seen; b++) {
                ++*blocks;
                if (y[i * W + h * D + b] != 0.0f) continue;
                ++*gone;
                for (int j = b * XC_KEY_BLOCK; j < seen && j < (b + 1) * XC_KEY_BLOCK; j++) lost += p[j] / sum;
            }
            worst = fmax(worst, lost);
        }
    }
    free(p);
    free(keys);
    return worst;
}

static void check(float eps, bool quantized, bool causal)
{
    int64_t blocks = 0, gone = 0;
    double worst = 0;
    struct fix f;
    float *y, *other;

    build(&f, "adaptive", eps, quantized, causal);
    y = run(&f, NULL, NULL, 0, N_SEQ);
    for (int s = 0; s < N_SEQ; s++) worst = fmax(worst, most_lost(y + starts[s] * W, s, quantized, causal, &blocks, &gone));
    printf("# eps %g%s%s: %.2g left out at most, %.0f %% of the blocks\n", (double)eps, quantized ? ", int8" : "", causal ? ", causal" : "", worst, 100.0 * (double)gone / (double)blocks);
    if (worst > (double)eps) fail_msg("%g is left out", worst);
    if (gone * 5 < blocks) fail_msg("only %lld of %lld blocks are left out", (long long)gone, (long long)blocks);

    other = run(&f, NULL, threads, 0, N_SEQ);
    same(other, y, 0, ROWS, "three threads");
    free(other);
    for (const char *const *level = xc_kernels_levels(); *level; level++) {
        if (!xc_kernels_for(*level)) continue;
        other = run(&f, xc_kernels_for(*level), NULL, 0, N_SEQ);
        same(other, y, 0, ROWS, *level);
        free(other);
    }
    for (int s = 0; s < N_SEQ; s++) {
        other = run(&f, NULL, NULL, s, 1);
        same(other, y, starts[s], lengths[s], "a text alone");
        free(other);
    }
    xc_model_free(&f.m);

    build(&f, "dense", 0, quantized, causal); /* the short text */
    other = run(&f, NULL, NULL, 2, 1);
    same(other, y, starts[2], lengths[2], "a short text, dense");
    free(other);
    other = run(&f, NULL, NULL, 0, N_SEQ);
    xc_model_free(&f.m);
    free(y);
    build(&f, "adaptive", 0, quantized, causal);
    y = run(&f, NULL, NULL, 0, N_SEQ);
    same(other, y, 0, ROWS, "eps 0, dense");
    free(y);
    free(other);
    xc_model_free(&f.m);
}

static void test_lost(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) check(i / 2 ? 0.05f : 1e-3f, i % 2, i / 2);
}

/* ---- which kernel is called ---- */
static int n_dense, n_runs;
static void (*real_dense)(const struct xc_attn_s8 *, int64_t, int64_t);
static void (*real_runs)(const struct xc_attn_runs_s8 *, int64_t, int64_t);
static void count_dense(const struct xc_attn_s8 *a, int64_t row0, int64_t row1)
{
    n_dense++;
    real_dense(a, row0, row1);
}
static void count_runs(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1)
{
    n_runs++;
    real_runs(a, row0, row1);
}

static void test_crossover(void **state)
{
    struct xc_kernels counting = *xc_kernels();
    struct fix dense, adaptive;
    int calls;

    (void)state;
    assert_true(lengths[2] < XC_ADAPTIVE_LEAST && lengths[3] >= XC_ADAPTIVE_LEAST);
    real_dense = counting.attn_s8, real_runs = counting.attn_runs_s8;
    counting.attn_s8 = count_dense, counting.attn_runs_s8 = count_runs;
    build(&dense, "dense", 0, true, false);
    build(&adaptive, "adaptive", 1e-3f, true, false);
    for (int s = 2; s < 4; s++) {
        n_dense = n_runs = 0;
        free(run(&dense, &counting, NULL, s, 1));
        calls = n_dense;
        assert_true(calls > 0);
        n_dense = 0;
        free(run(&adaptive, &counting, NULL, s, 1));
        assert_int_equal(n_dense, s == 2 ? calls : 0);
        assert_int_equal(n_runs, s == 2 ? 0 : calls);
    }
    xc_model_free(&dense.m);
    xc_model_free(&adaptive.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_lost), cmocka_unit_test(test_crossover) };
    int failed;

    if (xc_pool_new(&threads, 3, NULL)) return 1;
    make_texts();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(q), free(k), free(v);
    xc_pool_free(&threads);
    return failed;
}
