/* Multipole attention against double precision: with everything opened it is dense attention; where groups hold equal keys their means are exact; between,
 * every key counts once in every tile (the keys, weights and values that the kernel is given add up to those of the text), and the error is near what was
 * asked for. eps 0 and short texts are dense to the bit and call its kernel; the same bits for any batch, number of threads and kernel level. */
enum { HEADS = 4, KV = 2, D = 20 };

#include "tests/unit/long_texts.h"

/* Tokens of 40 sorts, mixed; with `same`, 128 sorts whose keys are alike to the bit, sixteen times each in the last text. */
static void make_texts(bool same)
{
    uint32_t seed = 5;

    for (int i = 0; i < ROWS; i++) {
        const int sorts = same ? 128 : 40, sort = same ? i * 37 % sorts : (int)((uniform(&seed) + 1.0f) * 20.0f) % sorts;
        uint32_t own = (uint32_t)sort * 7919u + 3u;

        for (int d = 0; d < W; d++) q[i * W + d] = 2.0f * uniform(&own) + 0.5f * uniform(&seed);
        for (int d = 0; d < KW; d++) {
            k[i * KW + d] = 2.0f * uniform(&own) + (same ? 0.0f : 0.5f * uniform(&seed));
            v[i * KW + d] = uniform(&own) + uniform(&seed);
        }
    }
}

/* The distance of y from dense attention in double precision, relative to its norm, over every 83rd query of texts s0 on (the long ones). */
static double distance(const float *y, int s0)
{
    double far = 0, norm = 0, p[2100];

    for (int s = s0; s < N_SEQ; s += 3)
        for (int i = 0; i < lengths[s]; i += 83)
            for (int h = 0; h < HEADS; h++) {
                const float *row = q + (starts[s] + i) * W + h * D, *keys = k + starts[s] * KW + h / (HEADS / KV) * D, *values = v + starts[s] * KW + h / (HEADS / KV) * D;
                double sum = 0, out[D] = { 0 };

                for (int j = 0; j < lengths[s]; j++) {
                    double dot = 0;

                    for (int d = 0; d < D; d++) dot += (double)row[d] * (double)keys[j * KW + d];
                    sum += p[j] = exp(dot / sqrt(D));
                }
                for (int j = 0; j < lengths[s]; j++)
                    for (int d = 0; d < D; d++) out[d] += p[j] / sum * (double)values[j * KW + d];
                for (int d = 0; d < D; d++) {
                    const double e = (double)y[(starts[s] + i) * W + h * D + d] - out[d];

                    far += e * e;
                    norm += out[d] * out[d];
                }
            }
    return sqrt(far / norm);
}

/* ---- what the dense kernel is given ---- */
static int n_calls;
static int64_t n_keys;
static double worst_sum;
static struct xc_kernels counting;
static void (*real_s8)(const struct xc_attn_s8 *, int64_t, int64_t);
static void (*real_f32)(const struct xc_attn_f32 *, int64_t, int64_t);
static void count_s8(const struct xc_attn_s8 *a, int64_t row0, int64_t row1)
{
    n_calls++;
    n_keys += a->n_k;
    real_s8(a, row0, row1);
}

/* Weights times keys and values add up to the sums of one of the heads of the text at starts[0]. */
static void count_f32(const struct xc_attn_f32 *a, int64_t row0, int64_t row1)
{
    double best = 1e30;

    n_calls++;
    n_keys += a->n_k;
    for (int g = 0; a->bias && g < KV; g++) {
        double weight = -lengths[0], off = 0;

        for (int64_t j = 0; j < a->n_k; j++) weight += exp((double)a->bias[j]);
        for (int d = 0; d < D; d++) {
            double sum_k = 0, sum_v = 0;

            for (int64_t j = 0; j < a->n_k; j++) {
                sum_k += exp((double)a->bias[j]) * (double)a->k[j * a->ldk + d];
                sum_v += exp((double)a->bias[j]) * (double)a->v[j * a->ldv + d];
            }
            for (int j = 0; j < lengths[0]; j++) {
                sum_k -= (double)k[j * KW + g * D + d];
                sum_v -= (double)v[j * KW + g * D + d];
            }
            off = fmax(off, fmax(fabs(sum_k), fabs(sum_v)));
        }
        best = fmin(best, fmax(off, fabs(weight)));
    }
    if (a->bias) worst_sum = fmax(worst_sum, best);
    real_f32(a, row0, row1);
}

static void start_counting(void)
{
    counting = *xc_kernels();
    real_s8 = counting.attn_s8, real_f32 = counting.attn_f32;
    counting.attn_s8 = count_s8, counting.attn_f32 = count_f32;
    n_calls = 0, n_keys = 0, worst_sum = 0;
}

/* Its distance from dense, and the share of all keys that tiles of the first text saw. */
static double measure(float eps, bool quantized, double *share)
{
    struct fix f;
    float *y;
    double far;

    build(&f, "multipole", eps, quantized, false);
    y = run(&f, NULL, NULL, 0, N_SEQ);
    far = distance(y, 0);
    free(y);
    start_counting();
    free(run(&f, &counting, NULL, 0, 1));
    *share = (double)n_keys / (double)n_calls / lengths[0];
    printf("# eps %g%s: %.3g from dense, %.0f %% of the keys\n", (double)eps, quantized ? ", int8" : "", far, 100.0 * *share);
    if (worst_sum > 0.01) fail_msg("keys or values of a tile add up to %g else", worst_sum);
    xc_model_free(&f.m);
    return far;
}

static void test_distance(void **state)
{
    double share, far;

    (void)state;
    make_texts(false);
    assert_true(measure(1e-9f, false, &share) < 1e-6);
    assert_true(share > 1.0); /* all keys, and the means, which count nothing */
    assert_true(measure(1e-9f, true, &share) < 0.01);
    for (int quantized = 0; quantized < 2; quantized++) {
        far = measure(0.03f, quantized, &share);
        assert_true(far < 0.05 && share < 0.6);
        assert_true(measure(0.3f, quantized, &share) > far); /* fewer keys */
        assert_true(share < 0.3);
    }
    make_texts(true);
    for (int quantized = 0; quantized < 2; quantized++) {
        struct fix f, dense;
        float *y;

        build(&f, "multipole", 0.5f, quantized, false);
        y = run(&f, NULL, NULL, 0, N_SEQ);
        far = distance(y, 3);
        printf("# equal keys%s: %.3g from dense\n", quantized ? ", int8" : "", far);
        free(y);
        build(&dense, "dense", 0, quantized, false);
        y = run(&dense, NULL, NULL, 0, N_SEQ);
        assert_true(far < 1e-6 + 1.5 * distance(y, 3));
        xc_model_free(&dense.m);
        start_counting();
        free(run(&f, &counting, NULL, 3, 1));
        assert_int_equal(n_keys, 128 * n_calls); /* nothing but means */
        free(y);
        xc_model_free(&f.m);
    }
}

static void test_same_bits(void **state)
{
    (void)state;
    make_texts(false);
    for (int quantized = 0; quantized < 2; quantized++) {
        struct fix f;

        build(&f, "multipole", 0.03f, quantized, false);
        same_everywhere(&f, run(&f, NULL, NULL, 0, N_SEQ), "multipole", quantized, false);
    }
}

/* Numbers of every kind, and keys that are all alike: no crash, no endless loop, no row out of place. */
static void test_hostile(void **state)
{
    struct fix f;
    float *y;

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        make_texts(false);
        for (int i = 0; i < ROWS * KW; i++) k[i] = kind == 0 ? 0.25f : kind == 1 ? NAN : i % 3 ? 3e38f : -INFINITY;
        for (int i = 0; kind && i < ROWS * KW; i += 7) v[i] = NAN;
        build(&f, "multipole", 0.03f, kind == 2, false);
        y = run(&f, NULL, NULL, 0, N_SEQ);
        if (kind == 0) assert_true(distance(y, 0) < 1e-5);
        free(y);
        xc_model_free(&f.m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_distance), cmocka_unit_test(test_same_bits), cmocka_unit_test(test_hostile) };
    int failed;

    if (xc_pool_new(&threads, 3, NULL)) return 1;
    q = malloc(ROWS * W * sizeof *q), k = malloc(ROWS * KW * sizeof *k), v = malloc(ROWS * KW * sizeof *v);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(q), free(k), free(v);
    xc_pool_free(&threads);
    return failed;
}
