/* test_prune: what becomes zero, against numpy written from the papers (tests/vectors/gen_prune.py); the pass on tiny checkpoints: shares, plans,
 * any number of threads, quantization on top, hostile options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/calibrate/hessian.h"
#include "compress/prune/prune.h"
#include "runtime/container/container.h"
#include "runtime/graph/graph.h"
#include "runtime/kernels/kernels.h"
#include "tests/unit/scratch.h"
#include "tests/vectors/prune_vectors.h"
#include "xcompress/compress.h"

static char root[1024], dir[1024];

/* ---- matrices ---- */
static float w0[PV_R * PV_C], hessian[PV_C * PV_C], norm[PV_C];
static uint32_t seed;

static int rnd(int n)
{
    seed = seed * 1664525u + 1013904223u;
    return (int)((seed >> 16) % (uint32_t)n);
}

static void make_matrices(void)
{
    static int z[PV_T][20], x[PV_T][PV_C];

    seed = 1;
    for (int i = 0; i < PV_R * PV_C; i++) w0[i] = (float)(rnd(2001) - 1000) / 1024.0f;
    for (int t = 0; t < PV_T; t++)
        for (int i = 0; i < 20; i++) z[t][i] = rnd(17) - 8;
    for (int t = 0; t < PV_T; t++)
        for (int c = 0; c < PV_C; c++) x[t][c] = c == 7 ? 0 : (z[t][c % 20] + z[t][c * 7 % 20] + rnd(7) - 3) * (1 + c % 3);
    for (int i = 0; i < PV_C; i++)
        for (int j = 0; j < PV_C; j++) {
            double sum = 0;

            for (int t = 0; t < PV_T; t++) sum += (double)x[t][i] * x[t][j];
            hessian[i * PV_C + j] = (float)sum;
            if (i == j) norm[i] = sqrtf((float)sum);
        }
}

/* The same zeros, and numbers within `limit` of the largest. */
static void same(const float *got, const float *want, double limit, const char *what)
{
    for (int i = 0; i < PV_R * PV_C; i++)
        if ((got[i] == 0.0f) != (want[i] == 0.0f) || fabs((double)got[i] - (double)want[i]) > limit)
            fail_msg("%s: number %d is %g, must be %g", what, i, (double)got[i], (double)want[i]);
}

static void check_layer(const struct xc_prune *p, const float *norms, const float *want, const char *what)
{
    float w[PV_R * PV_C], score[PV_R * PV_C];
    int64_t zeros = 0;

    memcpy(w, w0, sizeof w);
    xc_prune_layer(w, p, norms, score, PV_R, PV_C);
    same(w, want, 1e-6, what);
    for (int i = 0; i < PV_R * PV_C; i++) zeros += w[i] == 0.0f;
    if (p->pattern != XC_PRUNE_BLOCK) assert_int_equal(zeros, xc_prune_dropped(p, PV_R, PV_C));
}

static void test_against_numpy(void **state)
{
    (void)state;
    check_layer(&(struct xc_prune){ .sparsity = 0.5 }, NULL, pv_magnitude_50, "magnitude 50 %");
    check_layer(&(struct xc_prune){ .pattern = XC_PRUNE_NM, .n = 2, .m = 4 }, NULL, pv_magnitude_2_4, "magnitude 2:4");
    check_layer(&(struct xc_prune){ .pattern = XC_PRUNE_BLOCK, .block_rows = 4, .block_cols = 4, .sparsity = 0.6 }, NULL, pv_magnitude_4x4, "magnitude, blocks of 4x4");
    check_layer(&(struct xc_prune){ .saliency = XC_PRUNE_WANDA, .sparsity = 0.3 }, norm, pv_wanda_30, "wanda 30 %");
    check_layer(&(struct xc_prune){ .saliency = XC_PRUNE_WANDA, .pattern = XC_PRUNE_NM, .n = 1, .m = 4 }, norm, pv_wanda_1_4, "wanda 1:4");
}

/* ---- every shape: masks alone, as hexadecimal digits ---- */
static void check_mask(const struct xc_prune *p, const float *norms, int R, int C, const char *keep, const char *what)
{
    float w[PV_R * PV_C], score[PV_R * PV_C];
    int64_t zeros = 0;

    memcpy(w, w0, sizeof w);
    xc_prune_layer(w, p, norms, score, R, C);
    for (int i = 0; i < R * C; i++) {
        const char digit[2] = { keep[i / 4], 0 };
        const bool kept = strtol(digit, NULL, 16) >> (3 - i % 4) & 1;

        if ((w[i] != 0.0f) != (kept && w0[i] != 0.0f)) fail_msg("%s, %d x %d: row %d, column %d is %g", what, R, C, i / C, i % C, (double)w[i]);
        if (kept && w[i] != w0[i]) fail_msg("%s: what stays has changed", what);
        zeros += !kept;
    }
    if (p->pattern == XC_PRUNE_NM) assert_int_equal(zeros, xc_prune_dropped(p, R, C));
}

#define NM(n_, m_) { { .pattern = XC_PRUNE_NM, .n = n_, .m = m_ }, { pv_wide_magnitude_##n_##_##m_, pv_wide_wanda_##n_##_##m_, pv_tall_magnitude_##n_##_##m_, pv_tall_wanda_##n_##_##m_ }, #n_ ":" #m_ }
#define BLOCK(r_, c_) { { .pattern = XC_PRUNE_BLOCK, .block_rows = r_, .block_cols = c_, .sparsity = 0.7 }, \
                        { pv_wide_magnitude_##r_##x##c_, pv_wide_wanda_##r_##x##c_, pv_tall_magnitude_##r_##x##c_, pv_tall_wanda_##r_##x##c_ }, #r_ "x" #c_ }

static void test_shapes(void **state)
{
    static const struct {
        struct xc_prune p;
        const char *keep[4], *what;
    } cases[] = { NM(4, 8), NM(3, 5), NM(1, 16), NM(32, 64), BLOCK(1, 4), BLOCK(4, 4), BLOCK(16, 1), BLOCK(16, 4), BLOCK(4, 1) };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++)
        for (int k = 0; k < 4; k++) {
            struct xc_prune p = cases[i].p;

            p.saliency = k % 2 ? XC_PRUNE_WANDA : XC_PRUNE_MAGNITUDE;
            check_mask(&p, k % 2 ? norm : NULL, k < 2 ? PV_R : 36, k < 2 ? PV_C : 25, cases[i].keep[k], cases[i].what);
        }
}

/* R and C: the numbers as that matrix, with the first C inputs of the Hessian. */
static void check_obs_as(struct xc_prune p, int R, int C, const float *want, const char *what)
{
    float w[2][PV_R * PV_C], *const u = malloc(sizeof hessian), *const h = malloc(sizeof hessian);
    struct xc_pool *pool;
    double damp = 0.01;
    struct xc_err err = { 0 };

    assert_non_null(u);
    assert_non_null(h);
    p.saliency = XC_PRUNE_OBS;
    for (int i = 0; i < C * C; i++) h[i] = hessian[i / C * PV_C + i % C];
    ok(xc_pool_new(&pool, 3, &err), &err);
    ok(xc_hessian_inverse_factor(u, h, C, &damp, NULL, &err), &err);
    for (int i = 0; i < 2; i++) {
        memcpy(w[i], w0, sizeof w[i]);
        ok(xc_prune_obs(w[i], &p, u, R, C, i ? pool : NULL, &err), &err);
    }
    same(w[0], want, 2e-5, what);
    assert_memory_equal(w[0], w[1], sizeof w[0]);
    xc_pool_free(&pool);
    free(u);
    free(h);
}

static void check_obs(struct xc_prune p, const float *want, const char *what) { check_obs_as(p, PV_R, PV_C, want, what); }

static void test_second_order(void **state)
{
    (void)state;
    check_obs((struct xc_prune){ .sparsity = 0.5 }, pv_obs_50, "obs 50 %");
    check_obs((struct xc_prune){ .pattern = XC_PRUNE_NM, .n = 2, .m = 4 }, pv_obs_2_4, "obs 2:4");
    check_obs((struct xc_prune){ .pattern = XC_PRUNE_BLOCK, .block_rows = 3, .block_cols = 4, .sparsity = 0.5 }, pv_obs_3x4, "obs, blocks of 3x4");
    check_obs((struct xc_prune){ .pattern = XC_PRUNE_NM, .n = 4, .m = 8 }, pv_obs_4_8, "obs 4:8");
    check_obs((struct xc_prune){ .pattern = XC_PRUNE_BLOCK, .block_rows = 1, .block_cols = 4, .sparsity = 0.6 }, pv_obs_1x4, "obs, blocks of 1x4");
    check_obs((struct xc_prune){ .pattern = XC_PRUNE_BLOCK, .block_rows = 4, .block_cols = 4, .sparsity = 0.6 }, pv_obs_4x4, "obs, blocks of 4x4");
    check_obs_as((struct xc_prune){ .pattern = XC_PRUNE_BLOCK, .block_rows = 16, .block_cols = 1, .sparsity = 0.6 }, 36, 25, pv_obs_16x1, "obs, blocks of 16x1");
}

/* Damping rises until it helps, and says so; the factor is that of the matrix with as much from the start. */
static void test_not_definite(void **state)
{
    const float h[9] = { 1, 2, 0, 2, 1, 0, 0, 0, 0 }, huge[4] = { 1, 1e6f, 1e6f, 1 }, none[4] = { NAN, 0, 0, 1 };
    float u[9], again[9];
    double damp = 1e-3, same = 10;
    char why[64] = "obs";
    struct xc_err err = { 0 };

    (void)state;
    ok(xc_hessian_inverse_factor(u, h, 3, &damp, NULL, &err), &err);
    assert_true(damp > 2.5 && damp < 11); /* an eigenvalue of -1, a mean of 2/3 */
    same = damp;
    ok(xc_hessian_inverse_factor(again, h, 3, &same, NULL, &err), &err);
    assert_true(same == damp);
    assert_memory_equal(u, again, sizeof u);
    assert_true(u[8] == 1); /* the input that is always zero */
    xc_hessian_note(why, sizeof why, 1e-3, damp);
    assert_non_null(strstr(why, "damping of"));
    damp = 0.01;
    assert_int_equal(xc_hessian_inverse_factor(u, huge, 2, &damp, NULL, &err), XC_E_RANGE);
    assert_non_null(strstr(err.msg, "positive definite"));
    assert_int_not_equal(xc_hessian_inverse_factor(u, none, 2, &damp, NULL, &err), XC_OK);
}

/* Selection by digits against sorting; ties go from the first. */
static void test_ties(void **state)
{
    const struct xc_prune p = { .sparsity = 0.5 };
    float w[10] = { 1, -1, 1, 2, 1, 0, 1, -3, 1, 1 }, score[10];
    static const float want[10] = { 0, 0, 0, 2, 0, 0, 1, -3, 1, 1 };

    (void)state;
    xc_prune_layer(w, &p, NULL, score, 1, 10);
    assert_memory_equal(w, want, sizeof w);
}

/* ---- the pass ---- */
static const char *in_root(const char *name) { return path_in(root, name); }

static enum xc_status compress(const char *settings, const char *quantize, const char *calibrate, int threads, const char *out, bool plan, struct xc_compress_result *result, struct xc_err *err)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_recipe *recipe = NULL;
    char text[256], *word, *rest = text, from[2100];
    enum xc_status status;

    snprintf(from, sizeof from, "%s", in_root("tests/data/tiny-bert"));
    snprintf(text, sizeof text, "%s", settings);
    status = xc_recipe_new(&recipe, err);
    if (status == XC_OK) status = xc_recipe_add(recipe, "prune", err);
    while (status == XC_OK && (word = strsep(&rest, " ")) && *word) {
        char *equals = strchr(word, '=');

        if (!equals) {
            status = xc_recipe_target(recipe, word, err);
        } else {
            *equals = 0;
            status = xc_recipe_set(recipe, word, equals + 1, err);
        }
    }
    if (status == XC_OK && quantize) status = xc_recipe_add(recipe, "quantize", err);
    if (status == XC_OK && quantize) status = xc_recipe_set(recipe, "sparse", quantize, err);
    if (status == XC_OK && threads > 1) status = xc_pool_new(&opts.pool, threads, err);
    opts.recipe = recipe;
    opts.calibrate = calibrate;
    if (status == XC_OK) status = xc_compress_file(from, plan ? NULL : out, &opts, result, err);
    xc_pool_free(&opts.pool);
    xc_recipe_free(&recipe);
    return status;
}

static const char *texts(void)
{
    static char path[1100];
    FILE *f;

    snprintf(path, sizeof path, "%s/texts.txt", dir);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 60; i++) fprintf(f, "a man is playing %d guitars and the dog runs in a park %d\n", i, i * 7);
    fclose(f);
    return path;
}

/* Share of zeros over the linears' weights; the others are untouched. */
static double zeros_of(const struct xc_compress_result *r)
{
    double zeros = 0, count = 0;

    for (int64_t i = 0; i < r->n_layers; i++) {
        if (strcmp(r->layers[i].op, "linear") || !strstr(r->layers[i].name, "weight")) continue;
        assert_true(r->layers[i].sparsity >= 0);
        zeros += r->layers[i].sparsity * (double)r->layers[i].count;
        count += (double)r->layers[i].count;
    }
    assert_true(count > 0);
    return zeros / count;
}

static void test_pass(void **state)
{
    static const struct {
        const char *settings;
        double share, within;
    } cases[] = {
        { "sparsity=0.5", 0.5, 0.001 },
        { "sparsity=0.3 threshold=global", 0.3, 1e-4 },
        { "sparsity=0.75 pattern=block", 0.75, 0.01 },
        { "sparsity=0.6 pattern=block block_rows=4 threshold=global", 0.6, 0.01 },
        { "pattern=nm n=2 m=4", 0.5, 0.01 },
        { "saliency=wanda sparsity=0.7", 0.7, 0.01 },
        { "saliency=obs sparsity=0.5", 0.5, 0.001 },
        { "saliency=obs pattern=nm", 0.5, 0.01 },
        { "saliency=obs pattern=block sparsity=0.5", 0.5, 0.01 },
    };
    const char *const calibrate = texts();
    char a[1100], b[1100];

    (void)state;
    snprintf(a, sizeof a, "%s/a.xc", dir);
    snprintf(b, sizeof b, "%s/b.xc", dir);
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const char *const c = strstr(cases[i].settings, "saliency") ? calibrate : NULL;

        for (int quantize = 0; quantize < 2; quantize++) {
            struct xc_compress_result r, plan;
            struct xc_err err = { 0 };
            double share;

            ok(compress(cases[i].settings, quantize ? "fast" : NULL, c, 1, a, false, &r, &err), &err);
            share = zeros_of(&r);
            if (share < cases[i].share - cases[i].within || (!quantize && share > cases[i].share + cases[i].within)) fail_msg("%s: %g zeros", cases[i].settings, share);
            ok(compress(cases[i].settings, quantize ? "fast" : NULL, c, 3, b, false, &plan, &err), &err);
            xc_compress_result_release(&plan);
            same_files(a, b);
            ok(compress(cases[i].settings, quantize ? "fast" : NULL, c, 1, NULL, true, &plan, &err), &err);
            if (!c) assert_int_equal(plan.output_bytes, r.output_bytes);
            xc_compress_result_release(&plan);
            xc_compress_result_release(&r);
        }
    }
}

/* ---- sparse encodings ---- */
static void numbers(const struct xc_model *m, const char *name, float **out, const struct xc_tensor **tensor)
{
    const int32_t id = xc_model_find_tensor(m, name);
    struct xc_err err = { 0 };

    assert_true(id >= 0);
    *tensor = m->tensors[id];
    *out = malloc((size_t)xc_tensor_count(*tensor) * sizeof **out);
    assert_non_null(*out);
    ok(xc_tensor_to_f32(*tensor, *out, &err), &err);
}

/* A compact model answers as its dense twin, to the bit: at every level, by its plan, and (last) node by node. */
static void compact_twins(struct xc_model *const m[2])
{
    static const int32_t ids[] = { 2, 17, 5, 33, 3, 2, 9, 3 };
    static const int64_t seqs[] = { 0, 5, 8 };

    for (const char *const *level = xc_kernels_levels(), *const *next; level; level = next) {
        const struct xc_session_opts opts = { .plain = !*level, .isa = *level };
        float *y[2] = { NULL };
        size_t bytes = 0;

        next = *level ? level + 1 : NULL;
        if (*level && !xc_kernels_for(*level)) continue;
        for (int k = 0; k < 2; k++) {
            struct xc_session *s = NULL;
            struct xc_output out;
            struct xc_err err = { 0 };

            ok(xc_session_new(&s, m[k], &opts, &err), &err);
            ok(xc_session_run_ids(s, ids, NULL, seqs, 2, &out, &err), &err);
            bytes = (size_t)(out.rows * out.cols) * sizeof *y[k];
            y[k] = malloc(bytes);
            assert_non_null(y[k]);
            memcpy(y[k], out.data, bytes);
            xc_session_free(&s);
        }
        assert_true(bytes > 0);
        assert_memory_equal(y[0], y[1], bytes);
        for (int k = 0; k < 2; k++) free(y[k]);
    }
}

/* Counts that do not agree with the bits, bits beyond the last input, and a count that is not the number of bits. */
static void damaged_index(struct xc_model *m, const char *name)
{
    struct xc_tensor *const t = m->tensors[xc_model_find_tensor(m, name)];
    struct xc_buf *const index = t->part[XC_PART_INDEX];
    struct xc_buf *own = NULL;
    struct xc_err err = { 0 };
    uint32_t *first;

    ok(xc_buf_new(&own, index->size, &err), &err);
    first = (uint32_t *)(void *)own->data;
    t->part[XC_PART_INDEX] = own;
    for (int damage = 0; damage < 5; damage++) {
        memcpy(own->data, index->data, own->size);
        if (damage == 0) own->data[own->size - 1] ^= 1;
        if (damage == 1) first[0] = 1;
        if (damage == 2) first[1] = UINT32_MAX;
        if (damage == 3) first[xc_div_up(xc_tensor_rows(t), 16)]--;
        t->enc.n += damage == 4;
        t->part[XC_PART_DATA]->size += damage == 4; /* as a file would have it whose sizes agree */
        assert_int_equal(xc_model_verify(m, &err), XC_E_FORMAT);
        assert_non_null(strstr(err.msg, "index of its numbers"));
    }
    t->enc.n--;
    t->part[XC_PART_DATA]->size--;
    t->part[XC_PART_INDEX] = index;
    ok(xc_model_verify(m, &err), &err);
    xc_buf_unref(&own);
}

/* The same numbers as the dense encoding of the same zeros, up to the rounding of two scales; and some encoding of which the file says so. */
static void test_sparse(void **state)
{
    static const char *const cases[][3] = { { "pattern=nm", "int8/row 2:4", "encoder.layer.0.attention.self.query.weight" },
                                            { "pattern=nm n=1 m=8", "int8/row 1:8", "encoder.layer.1.output.dense.weight" },
                                            { "pattern=block sparsity=0.75", "int8/row block 16x4", "encoder.layer.0.intermediate.dense.weight" },
                                            { "pattern=block block_rows=32 block_cols=8 sparsity=0.5", "int8/row block 16x4", "encoder.layer.1.intermediate.dense.weight" },
                                            { "pattern=nm n=3", "int8/row", "encoder.layer.0.intermediate.dense.weight" },
                                            { "pattern=block sparsity=0.1", "int8/row", "encoder.layer.0.intermediate.dense.weight" },
                                            { "sparsity=0.9", "int8/row compact", "encoder.layer.0.intermediate.dense.weight" },
                                            { "sparsity=0.75", "int8/row compact", "encoder.layer.1.output.dense.weight" },
                                            { "sparsity=0.4", "int8/row", "encoder.layer.0.intermediate.dense.weight" },
                                            { "sparsity=0.9 threshold=global", "int8/row", "encoder.layer.0.intermediate.dense.weight" } };
    char path[2][1100];

    (void)state;
    snprintf(path[0], sizeof path[0], "%s/a.xc", dir);
    snprintf(path[1], sizeof path[1], "%s/b.xc", dir);
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_model *m[2] = { NULL };
        const struct xc_tensor *t[2];
        struct xc_compress_result r;
        struct xc_err err = { 0 };
        float *x[2];
        char text[64];
        double error2 = 0, norm2 = 0;
        int64_t zeros[2] = { 0 };

        for (int k = 0; k < 2; k++) {
            ok(compress(cases[i][0], k ? "no" : "fast", NULL, 1, path[k], false, &r, &err), &err);
            xc_compress_result_release(&r);
            ok(xc_model_open(&m[k], path[k], &err), &err);
            numbers(m[k], cases[i][2], &x[k], &t[k]);
        }
        assert_string_equal(xc_encoding_text(&t[0]->enc, text, sizeof text), cases[i][1]);
        for (int64_t n = 0; n < xc_tensor_count(t[0]); n++) {
            const double d = (double)x[0][n] - (double)x[1][n];

            error2 += d * d;
            norm2 += (double)x[1][n] * (double)x[1][n];
            for (int k = 0; k < 2; k++) zeros[k] += x[k][n] == 0.0f;
        }
        assert_true(norm2 > 0);
        if (sqrt(error2 / norm2) > 0.01) fail_msg("%s: error %g against dense", cases[i][0], sqrt(error2 / norm2));
        if (strstr(cases[i][1], "compact")) {
            assert_true(error2 == 0);
            compact_twins(m);
            damaged_index(m[0], t[0]->name);
        }
        assert_true(zeros[0] * 100 > zeros[1] * 95 && zeros[1] * 100 > zeros[0] * 95);
        if (t[0]->enc.structure == XC_STRUCT_BLOCK) { /* lists that lie */
            struct xc_tensor copy = *t[0];
            struct xc_buf *own = NULL;
            uint32_t *first;
            uint16_t *quad;

            ok(xc_buf_new(&own, copy.part[XC_PART_INDEX]->size, &err), &err);
            memcpy(own->data, copy.part[XC_PART_INDEX]->data, own->size);
            first = (uint32_t *)(void *)own->data;
            quad = (uint16_t *)(void *)(first + xc_div_up(xc_tensor_rows(t[0]), 16) + 1);
            assert_true(xc_block_index_ok(first, copy.enc.n, xc_tensor_rows(&copy), xc_tensor_cols(&copy)));
            quad[0] = 60000;
            assert_false(xc_block_index_ok(first, copy.enc.n, xc_tensor_rows(&copy), xc_tensor_cols(&copy)));
            m[0]->tensors[xc_model_find_tensor(m[0], cases[i][2])]->part[XC_PART_INDEX] = own;
            assert_int_equal(xc_model_verify(m[0], &err), XC_E_FORMAT);
            assert_non_null(strstr(err.msg, "lists of its blocks"));
            m[0]->tensors[xc_model_find_tensor(m[0], cases[i][2])]->part[XC_PART_INDEX] = copy.part[XC_PART_INDEX];
            memcpy(own->data, copy.part[XC_PART_INDEX]->data, own->size);
            first[0] = 1;
            assert_false(xc_block_index_ok(first, copy.enc.n, xc_tensor_rows(&copy), xc_tensor_cols(&copy)));
            first[0] = 0;
            first[1] = UINT32_MAX;
            assert_false(xc_block_index_ok(first, copy.enc.n, xc_tensor_rows(&copy), xc_tensor_cols(&copy)));
            xc_buf_unref(&own);
        }
        for (int k = 0; k < 2; k++) {
            free(x[k]);
            xc_model_free(&m[k]);
        }
    }
}

/* One threshold over all layers: nothing that went, in any of them, is worth more than anything that stayed, and the share is met. */
static double worth(const float *w, int64_t R, int64_t C, int64_t r0, int64_t c0, int64_t rows, int64_t cols)
{
    const int64_t r1 = xc_min_i64(r0 + rows, R), c1 = xc_min_i64(c0 + cols, C);
    double sum = 0;

    for (int64_t r = r0; r < r1; r++)
        for (int64_t c = c0; c < c1; c++) sum += (double)w[r * C + c] * (double)w[r * C + c];
    return sum / (double)((r1 - r0) * (c1 - c0));
}

static void test_global(void **state)
{
    static const struct {
        const char *settings;
        int rows, cols;
        double share;
    } cases[] = { { "sparsity=0.4 threshold=global", 1, 1, 0.4 }, { "sparsity=0.6 threshold=global pattern=block block_rows=4 block_cols=4", 4, 4, 0.6 },
                  { "sparsity=0.6 threshold=global pattern=block block_rows=1 block_cols=4", 1, 4, 0.6 }, { "sparsity=0.6 threshold=global pattern=block block_rows=16 block_cols=1", 16, 1, 0.6 } };
    char path[2][1100];

    (void)state;
    snprintf(path[0], sizeof path[0], "%s/a.xc", dir);
    snprintf(path[1], sizeof path[1], "%s/b.xc", dir);
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_model *m[2];
        struct xc_compress_result r;
        struct xc_err err = { 0 };
        double most_gone = 0, least_kept = INFINITY, least_share = 1, most_share = 0;
        int64_t gone = 0, all = 0;

        ok(compress(cases[i].settings, NULL, NULL, 1, path[0], false, &r, &err), &err);
        xc_compress_result_release(&r);
        ok(compress("sparsity=0", NULL, NULL, 1, path[1], false, &r, &err), &err);
        xc_compress_result_release(&r);
        for (int k = 0; k < 2; k++) ok(xc_model_open(&m[k], path[k], &err), &err);
        for (int32_t t = 0; t < m[0]->n_tensors; t++) {
            const struct xc_tensor *tensor[2];
            const int64_t R = xc_tensor_rows(m[0]->tensors[t]), C = xc_tensor_cols(m[0]->tensors[t]);
            int64_t here = 0, units = 0;
            float *x[2];

            if (m[0]->tensors[t]->enc.structure == XC_STRUCT_DENSE) continue;
            for (int k = 0; k < 2; k++) numbers(m[k], m[0]->tensors[t]->name, &x[k], &tensor[k]);
            for (int64_t r0 = 0; r0 < R; r0 += cases[i].rows)
                for (int64_t c0 = 0; c0 < C; c0 += cases[i].cols) {
                    const double was = worth(x[1], R, C, r0, c0, cases[i].rows, cases[i].cols);
                    const bool zero = worth(x[0], R, C, r0, c0, cases[i].rows, cases[i].cols) == 0;

                    if (zero) most_gone = fmax(most_gone, was);
                    else least_kept = fmin(least_kept, was);
                    here += zero;
                    units++;
                }
            for (int k = 0; k < 2; k++) free(x[k]);
            gone += here;
            all += units;
            least_share = fmin(least_share, (double)here / (double)units);
            most_share = fmax(most_share, (double)here / (double)units);
        }
        if (most_gone > least_kept * (1 + 1e-6)) fail_msg("%s: %g went, %g stayed", cases[i].settings, most_gone, least_kept);
        assert_true(fabs((double)gone / (double)all - cases[i].share) < 0.01);
        assert_true(most_share > least_share + 0.02); /* not the same in every layer */
        for (int k = 0; k < 2; k++) xc_model_free(&m[k]);
    }
}

static void test_hostile(void **state)
{
    static const struct {
        const char *settings, *message;
    } cases[] = {
        { "n=4 pattern=nm", "n must be less than m" },
        { "n=2.5 pattern=nm", "whole number" },
        { "sparsity=1", "0.999" },
        { "sparsity=nan", "number from" },
        { "pattern=2:4", "unstructured|nm|block" },
        { "saliency=wanda", "calibration texts" },
        { "pattern=nm threshold=global", "global" },
        { "layer_norm", "cannot treat" },
        { "gather", "cannot treat" },
        { "nothing.at.all", "matches no node" },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_compress_result r;
        struct xc_err err = { 0 };

        assert_int_not_equal(compress(cases[i].settings, NULL, NULL, 1, NULL, true, &r, &err), XC_OK);
        if (!strstr(err.msg, cases[i].message)) fail_msg("%s: %s", cases[i].settings, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_numpy), cmocka_unit_test(test_shapes), cmocka_unit_test(test_second_order), cmocka_unit_test(test_not_definite), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_pass),          cmocka_unit_test(test_global), cmocka_unit_test(test_sparse),       cmocka_unit_test(test_hostile),
    };
    int failed;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "prune")) return 1;
    make_matrices();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, failed);
}
