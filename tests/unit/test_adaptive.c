/* Adaptive attention: what it leaves out is never more than eps of a query's softmax (an oracle in double precision), and something; eps 0 and short
 * texts are dense attention to the bit and call its kernel; the same bits for any batch, number of threads and kernel level.
 *
 * The oracle sees what was left out through the values: column b of v is 1 for the keys of block b and 0 elsewhere, so that output b of a query is zero
 * when, and only when, block b took no part. */
enum { HEADS = 2, KV = HEADS, D = 20 };

#include "tests/unit/long_texts.h"

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
    float *y;

    build(&f, "adaptive", eps, quantized, causal);
    y = run(&f, NULL, NULL, 0, N_SEQ);
    for (int s = 0; s < N_SEQ; s++) worst = fmax(worst, most_lost(y + starts[s] * W, s, quantized, causal, &blocks, &gone));
    printf("# eps %g%s%s: %.2g left out at most, %.0f %% of the blocks\n", (double)eps, quantized ? ", int8" : "", causal ? ", causal" : "", worst, 100.0 * (double)gone / (double)blocks);
    if (worst > (double)eps) fail_msg("%g is left out", worst);
    if (gone * 5 < blocks) fail_msg("only %lld of %lld blocks are left out", (long long)gone, (long long)blocks);
    same_everywhere(&f, y, "adaptive", quantized, causal);
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
