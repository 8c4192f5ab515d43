/* test_smooth: scales in front of linears change nothing but rounding, for any pool; they are put in once; the factors lower the error that
 * int8 makes, measured by quantizing; a checkpoint written again has them in its weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/calibrate/calibrate.h"
#include "compress/pass.h"
#include "compress/quantize/awq.h"
#include "compress/quantize/smooth_factors.h"
#include "formats/formats.h"
#include "runtime/base/rng.h"
#include "runtime/session/golden.h"
#include "runtime/session/session.h"
#include "tests/unit/scratch.h"

static const char *root;

/* ---- factors ---- */
enum { R = 60, C = 52, N0 = 40, N1 = 24 };

static float normal(struct xc_rng *rng)
{
    float sum = 0;

    for (int i = 0; i < 12; i++) sum += (float)xc_rng_below(rng, 1 << 20) / (float)(1 << 20);
    return sum - 6;
}

static void to_int8(float *row, int n)
{
    float max = 0;

    for (int c = 0; c < n; c++) max = fmaxf(max, fabsf(row[c]));
    for (int c = 0; c < n; c++) row[c] = max > 0 ? rintf(row[c] * 127 / max) * max / 127 : 0;
}

/* Squared error of x W^T with both in int8 rows, columns scaled by s. */
static double measured(const float *x, const float *const *w, const int64_t *rows, int n_w, const float *s)
{
    static float q[R][C], v[C];
    double error = 0;

    for (int r = 0; r < R; r++) {
        for (int c = 0; c < C; c++) q[r][c] = x[r * C + c] * s[c];
        to_int8(q[r], C);
    }
    for (int k = 0; k < n_w; k++)
        for (int64_t i = 0; i < rows[k]; i++) {
            for (int c = 0; c < C; c++) v[c] = w[k][i * C + c] / s[c];
            to_int8(v, C);
            for (int r = 0; r < R; r++) {
                double want = 0, got = 0;

                for (int c = 0; c < C; c++) {
                    want += (double)x[r * C + c] * (double)w[k][i * C + c];
                    got += (double)q[r][c] * (double)v[c];
                }
                error += (got - want) * (got - want);
            }
        }
    return error;
}

/* The error that smooth_factors.h says it lowers, with u = 1. */
static double modelled(const float *x, const float *const *w, const int64_t *rows, int n_w, const float *s)
{
    double steps_x = 0, steps_w = 0, sum_x = 0, sum_w = 0;

    for (int r = 0; r < R; r++) {
        double max = 0;

        for (int c = 0; c < C; c++) {
            const double v = fabs((double)x[r * C + c] * (double)s[c]);

            max = fmax(max, v);
            sum_x += v * v;
        }
        steps_x += max * max;
    }
    for (int k = 0; k < n_w; k++)
        for (int64_t i = 0; i < rows[k]; i++) {
            double max = 0;

            for (int c = 0; c < C; c++) {
                const double v = fabs((double)w[k][i * C + c] / (double)s[c]);

                max = fmax(max, v);
                sum_w += v * v;
            }
            steps_w += max * max;
        }
    return steps_x * sum_w + steps_w * sum_x;
}

static void test_factors(void **state)
{
    static float x[R * C], w0[N0 * C], w1[N1 * C], s[3][C], ones[C];
    static double y2[R];
    const float *const w[] = { w0, w1 };
    const int64_t rows[] = { N0, N1 };
    const struct xc_smooth_problem p = { .x = x, .y2 = y2, .w = w, .rows = rows, .R = R, .C = C, .n_w = 2 };
    struct xc_err err = { 0 };
    struct xc_rng rng;

    (void)state;
    xc_rng_init(&rng, 7, 7);
    for (int i = 0; i < R * C; i++) x[i] = normal(&rng) * (i % C == 5 ? 40.0f : i % C == 11 && i / C % 20 == 0 ? 300.0f : i % C == 20 ? 0.0f : 1.0f);
    for (int i = 0; i < N0 * C; i++) w0[i] = normal(&rng);
    for (int i = 0; i < N1 * C; i++) w1[i] = normal(&rng) * (i % C == 30 ? 8.0f : 1.0f);
    for (int r = 0; r < R; r++) y2[r] = 1;
    for (int c = 0; c < C; c++) ones[c] = 1;
    for (int threads = 1; threads <= 3; threads++) {
        struct xc_pool *pool = NULL;

        ok(xc_pool_new(&pool, threads, &err), &err);
        ok(xc_smooth_factors(s[threads - 1], &p, pool, &err), &err);
        xc_pool_free(&pool);
        assert_memory_equal(s[threads - 1], s[0], sizeof s[0]);
    }
    for (int c = 0; c < C; c++) assert_true(s[0][c] > 0 && isfinite(s[0][c]));
    assert_true(measured(x, w, rows, 2, s[0]) < 0.1 * measured(x, w, rows, 2, ones));

    /* the descent itself gains: against where it begins, SmoothQuant's square root with a fourth-power mean */
    for (int c = 0; c < C; c++) {
        double mean = 0;
        float max = 0;

        for (int r = 0; r < R; r++) mean += pow((double)x[r * C + c], 4) / R;
        for (int k = 0; k < 2; k++)
            for (int64_t i = 0; i < rows[k]; i++) max = fmaxf(max, fabsf(w[k][i * C + c]));
        ones[c] = sqrtf(max / fmaxf((float)pow(mean, 0.25), 1e-5f));
    }
    assert_true(modelled(x, w, rows, 2, s[0]) < 0.95 * modelled(x, w, rows, 2, ones));

    memset(x, 0, sizeof x);
    memset(y2, 0, sizeof y2);
    ok(xc_smooth_factors(s[0], &p, NULL, &err), &err);
    for (int c = 0; c < C; c++) assert_true(s[0][c] > 0 && isfinite(s[0][c]));
}

/* ---- factors for groups ---- */
enum { GROUP = 32 };

static void to_int4(float *row)
{
    for (int c0 = 0; c0 < C; c0 += GROUP) {
        const int end = c0 + GROUP < C ? c0 + GROUP : C;
        float extreme = 0;

        for (int c = c0; c < end; c++) extreme = fabsf(row[c]) > fabsf(extreme) ? row[c] : extreme;
        for (int c = c0; c < end && extreme != 0; c++) row[c] = fmaxf(-8, fminf(7, rintf(row[c] * -8 / extreme))) * (extreme / -8);
    }
}

/* measured(), with weights in int4 groups by their largest magnitudes. */
static double measured_int4(const float *x, const float *w, int rows, const double *s)
{
    static float q[R][C], v[C];
    double error = 0;

    for (int r = 0; r < R; r++) {
        for (int c = 0; c < C; c++) q[r][c] = (float)((double)x[r * C + c] * s[c]);
        to_int8(q[r], C);
    }
    for (int i = 0; i < rows; i++) {
        for (int c = 0; c < C; c++) v[c] = (float)((double)w[i * C + c] / s[c]);
        to_int4(v);
        for (int r = 0; r < R; r++) {
            double d = 0;

            for (int c = 0; c < C; c++) d += (double)q[r][c] * (double)v[c] - (double)x[r * C + c] * (double)w[i * C + c];
            error += d * d;
        }
    }
    return error;
}

/* As good as the best of all candidates, each tried here by itself; the same for any pool. */
static void test_awq(void **state)
{
    static float x[R * C], w0[N0 * C], s[3][C], smooth[C];
    static double y2[R], candidate[C];
    const float *const w[] = { w0 };
    const int64_t rows[] = { N0 };
    const struct xc_smooth_problem p = { .x = x, .y2 = y2, .w = w, .rows = rows, .R = R, .C = C, .n_w = 1 };
    const struct xc_awq how = { .lowbit = { .bits = 4 }, .group = GROUP };
    struct xc_err err = { 0 };
    struct xc_rng rng;
    double best = INFINITY, of_smooth, got;

    (void)state;
    xc_rng_init(&rng, 7, 8);
    for (int i = 0; i < R * C; i++) x[i] = normal(&rng) * (i % C % 9 == 4 ? 4.0f : i % C == 20 ? 0.0f : 1.0f);
    for (int i = 0; i < N0 * C; i++) w0[i] = normal(&rng);
    for (int r = 0; r < R; r++) y2[r] = 1;
    for (int threads = 1; threads <= 3; threads++) {
        struct xc_pool *pool = NULL;

        ok(xc_pool_new(&pool, threads, &err), &err);
        ok(xc_awq_factors(s[threads - 1], &p, &how, pool, &err), &err);
        xc_pool_free(&pool);
        assert_memory_equal(s[threads - 1], s[0], sizeof s[0]);
    }
    ok(xc_smooth_factors(smooth, &p, NULL, &err), &err);
    for (int i = -4; i <= 20; i++) {
        for (int c = 0; c < C; c++) {
            double mean = 0;

            for (int r = 0; r < R; r++) mean += fabs((double)x[r * C + c]) / R;
            mean = fmax(mean, 1e-4);
            candidate[c] = i > 4 ? pow(mean, -(i - 4) / 16.0) : (double)smooth[c] * pow(mean, i / 8.0);
        }
        best = fmin(best, got = measured_int4(x, w0, N0, candidate));
        if (i == 0) of_smooth = got;
    }
    for (int c = 0; c < C; c++) candidate[c] = (double)s[0][c];
    got = measured_int4(x, w0, N0, candidate);
    if (got > 1.02 * best) fail_msg("error %g, the best candidate's %g", got, best);
    if (got > 0.95 * of_smooth) fail_msg("error %g, smoothing's %g", got, of_smooth);
    memset(x, 0, sizeof x);
    ok(xc_awq_factors(s[0], &p, &how, NULL, &err), &err);
    for (int c = 0; c < C; c++) assert_true(s[0][c] > 0 && isfinite(s[0][c]));
}

/* ---- models ---- */
enum { TOKENS = 21 };

static void answers(float *out, int64_t n, struct xc_model *m)
{
    int32_t ids[TOKENS];
    const int64_t start[] = { 0, 1, 6, TOKENS };
    struct xc_session *s = NULL;
    struct xc_output o;
    struct xc_err err = { 0 };

    ok(xc_session_new(&s, m, &(struct xc_session_opts){ .plain = true }, &err), &err);
    for (int i = 0; i < TOKENS; i++) ids[i] = (i * 7 + 3) % s->info.vocab_size;
    ok(xc_session_run_ids(s, ids, NULL, start, 3, &o, &err), &err);
    assert_true(o.rows * o.cols <= n);
    memset(out, 0, (size_t)n * sizeof *out);
    memcpy(out, o.data, (size_t)(o.rows * o.cols) * sizeof *out);
    xc_session_free(&s);
}

static int32_t scales(const struct xc_model *m)
{
    int32_t n = 0;

    for (int32_t i = 0; i < m->graphs[0]->n_nodes; i++) n += !strcmp(m->graphs[0]->nodes[i].op->name, "scale");
    return n;
}

static struct xc_model *smoothed(const struct xc_model *m, int threads, const struct xc_texts *texts, bool plan_only)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_prepare p = { .opts = &opts, .texts = texts, .plan_only = plan_only };
    struct xc_err err = { 0 };

    ok(xc_pool_new(&opts.pool, threads, &err), &err);
    ok(xc_model_clone(&p.model, m, &err), &err);
    ok(xc_smooth(&p, NULL, &err), &err);
    ok(xc_model_verify(p.model, &err), &err);
    xc_pool_free(&opts.pool);
    return p.model;
}

/* Written as a checkpoint and read again: the scales are in the weights, and nothing else is there. */
static void check_export(const struct xc_model *m, const struct xc_model *original, const float *want, float *got, int64_t n)
{
    char dir[] = "/tmp/xc_test_smooth_XXXXXX", command[64];
    struct xc_model *back = NULL;
    struct xc_err err = { 0 };

    assert_non_null(mkdtemp(dir));
    for (int64_t k = 0;; k += 1 + k / 4) {
        enum xc_status status;

        xc_alloc_fail_after(k);
        status = xc_hf_write(m, dir, XC_FMT_F32, &err);
        xc_alloc_fail_after(-1);
        if (status == XC_OK) break;
        if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s", (long long)k, err.msg);
    }
    ok(xc_model_load(&back, dir, NULL, &err), &err);
    assert_int_equal(scales(back), 0);
    assert_int_equal(back->n_tensors, original->n_tensors);
    answers(got, n, back);
    for (int64_t k = 0; k < n; k++) assert_true(fabsf(got[k] - want[k]) <= 2e-5f * fmaxf(1.0f, fabsf(want[k])));
    xc_model_free(&back);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void test_models(void **state)
{
    static const char *const cases[] = {
        "tests/data/tiny-bert", "tests/vectors/arch/bert_classify", "tests/vectors/arch/bert_f16_k312", "tests/vectors/arch/roberta", "tests/vectors/arch/distilbert_tag",
    };
    static float want[1 << 20], got[1 << 20], again[1 << 20];
    static char first[] = "the cat sat on the mat", second[] = "a", *text[] = { first, second };
    static size_t length[] = { sizeof first - 1, sizeof second - 1 };
    const struct xc_texts texts = { .text = text, .length = length, .n = 2 };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++)
        for (int variant = 0; variant < 3; variant++) { /* its own texts, calibration texts, no tokenizer */
            struct xc_model *m = NULL, *a, *b, *planned;
            char path[2048];
            struct xc_err err = { 0 };
            int32_t n_unused;
            size_t bytes;

            snprintf(path, sizeof path, "%s/%s", root, cases[i]);
            ok(xc_model_load(&m, path, NULL, &err), &err);
            xc_model_drop_unused(m, &n_unused, &bytes);
            if (variant == 2) xc_buf_unref(&m->tokenizer);
            answers(want, 1 << 20, m);
            for (int32_t t = 0; t < m->n_tensors; t++) xc_tensor_drop(m->tensors[t]);
            a = smoothed(m, 1, variant == 1 ? &texts : NULL, false);
            assert_true(scales(a) >= 2);
            for (int32_t t = 0; t < a->n_tensors; t++) /* what came from the file is not kept in memory */
                if (a->tensors[t]->source) assert_null(a->tensors[t]->part[XC_PART_DATA]);
            answers(got, 1 << 20, a);
            for (int k = 0; k < 1 << 20; k++) assert_true(fabsf(got[k] - want[k]) <= 2e-5f * fmaxf(1.0f, fabsf(want[k])));
            b = smoothed(m, 3, variant == 1 ? &texts : NULL, false);
            answers(again, 1 << 20, b);
            assert_memory_equal(got, again, sizeof got);
            if (variant == 1) check_export(a, m, want, again, 1 << 20);
            planned = smoothed(m, 1, NULL, true);
            assert_int_equal(planned->n_tensors, a->n_tensors);
            xc_model_free(&planned);
            xc_model_free(&b);
            b = smoothed(a, 1, NULL, false); /* again: nothing is left to do */
            assert_int_equal(scales(b), scales(a));
            answers(again, 1 << 20, b);
            assert_memory_equal(got, again, sizeof got);
            xc_model_free(&b);
            xc_model_free(&a);
            xc_model_free(&m);
        }
}

/* What cannot be folded is refused by name: a scale that something else than a linear reads. */
static void test_not_foldable(void **state)
{
    struct xc_model *m = NULL, *a;
    struct xc_graph *g;
    char path[2048];
    struct xc_err err = { 0 };

    (void)state;
    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", root);
    ok(xc_model_load(&m, path, NULL, &err), &err);
    a = smoothed(m, 1, NULL, false);
    g = a->graphs[0];
    for (int32_t n = 0; n < g->n_nodes; n++) {
        if (strcmp(g->nodes[n].op->name, "scale")) continue;
        for (int32_t k = n + 1; k < g->n_nodes; k++) /* the residual too */
            if (!strcmp(g->nodes[k].op->name, "add"))
                for (int32_t i = 0; i < g->nodes[k].n_in; i++)
                    if (g->nodes[k].in[i].kind == XC_REF_VALUE && g->nodes[k].in[i].id == g->nodes[n].in[0].id) g->nodes[k].in[i].id = g->nodes[n].out[0];
    }
    ok(xc_model_verify(a, &err), &err);
    assert_int_equal(xc_hf_write(a, "/tmp/xc_test_smooth_never", XC_FMT_F32, &err), XC_E_UNSUPPORTED);
    xc_model_free(&a);
    xc_model_free(&m);
}

/* ---- along ---- */
/* format: of weights; smooth: the option. The file, and what is told of it. */
static enum xc_status compressed(const char *to, const char *from, const char *format, const char *smooth, const char *texts, int threads, struct xc_compress_result *r, struct xc_err *err)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_recipe *recipe = NULL;
    enum xc_status status;

    ok(xc_recipe_new(&recipe, err), err);
    ok(xc_recipe_add(recipe, "quantize", err), err);
    ok(xc_recipe_set(recipe, "format", format, err), err);
    ok(xc_recipe_set(recipe, "smooth", smooth, err), err);
    ok(xc_pool_new(&opts.pool, threads, err), err);
    opts.recipe = recipe;
    opts.calibrate = texts;
    status = xc_compress_file(from, to, &opts, r, err);
    xc_pool_free(&opts.pool);
    xc_recipe_free(&recipe);
    return status;
}

static double distance(const float *a, const float *b, int64_t n)
{
    double d = 0, norm = 0;

    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(d / norm);
}

/* Weights that are quantized in the walk that smooths them: the same for any pool, golden samples that any session gives, and as near to f32 as weights that all
 * are smoothed first; with texts the errors of layers are told alike. */
static void test_along(void **state)
{
    static const struct { const char *from, *format; bool texts; } cases[] = {
        { "tests/data/tiny-bert", "int8", false }, { "tests/data/tiny-bert", "int8", true }, { "tests/data/tiny-bert", "int4", false }, { "tests/vectors/arch/bert_f16_k312", "int8", false },
        { "tests/vectors/arch/distilbert_tag", "int8", false },
    };
    static float want[1 << 20], got[2][1 << 20];
    char dir[] = "/tmp/xc_test_along_XXXXXX", from[2048], to[2][64], texts[64], command[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(texts, sizeof texts, "%s/texts.txt", dir);
    write_file(texts, (const uint8_t *)"the cat sat on the mat\na dog\nthe man on the hill saw a bird\n", 60);
    for (int i = 0; i < 2; i++) snprintf(to[i], sizeof to[i], "%s/%d.xc", dir, i);
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_compress_result r[2];
        struct xc_model *m = NULL;
        struct xc_err err = { 0 };
        double error[2] = { 0, 0 };

        snprintf(from, sizeof from, "%s/%s", root, cases[i].from);
        ok(xc_model_load(&m, from, NULL, &err), &err);
        answers(want, 1 << 20, m);
        xc_model_free(&m);
        for (int along = 0; along < 2; along++) {
            int checked;

            ok(compressed(to[along], from, cases[i].format, along ? "along" : "yes", cases[i].texts ? texts : NULL, 1, &r[along], &err), &err);
            for (int64_t l = 0; l < r[along].n_layers; l++) error[along] += fmax(r[along].layers[l].output_error, 0);
            ok(xc_model_load(&m, to[along], NULL, &err), &err);
            answers(got[along], 1 << 20, m);
            for (int plain = 0; plain < 2; plain++) ok(xc_golden_check(m, &(struct xc_golden_setup){ .plain = plain, .longest = 130 }, &checked, &err), &err);
            xc_model_free(&m);
            xc_compress_result_release(&r[along]);
        }
        if (distance(got[1], want, 1 << 20) > 1.25 * distance(got[0], want, 1 << 20)) fail_msg("case %zu: %g from f32, smoothed first %g", i, distance(got[1], want, 1 << 20), distance(got[0], want, 1 << 20));
        if (cases[i].texts && (!(error[0] > 0) || fabs(error[1] - error[0]) > 0.1 * error[0])) fail_msg("case %zu: errors of outputs %g, smoothed first %g", i, error[1], error[0]);
        ok(compressed(to[0], from, cases[i].format, "along", cases[i].texts ? texts : NULL, 3, &r[0], &err), &err);
        xc_compress_result_release(&r[0]);
        same_files(to[0], to[1]);
    }
    struct xc_err err = { 0 };
    struct xc_compress_result r;

    assert_int_equal(compressed(to[0], from, "int4", "along", texts, 1, &r, &err), XC_E_UNSUPPORTED); /* those walk by themselves */
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_along), cmocka_unit_test(test_factors), cmocka_unit_test(test_awq), cmocka_unit_test(test_models), cmocka_unit_test(test_not_foldable) };

    root = getenv("XC_SOURCE_ROOT");
    if (!root) root = ".";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
