/* test_walk: what quantize does with texts below int8, against plain definitions: biases make the mean error nothing, layers that are fitted
 * answer nearer, steps of tables follow bits and reads. (GPTQ against numpy: test_lowbit.) */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compress/calibrate/calibrate.h"
#include "compress/pass.h"
#include "compress/quantize/quantize_table.h"
#include "formats/formats.h"
#include "runtime/base/rng.h"
#include "tests/unit/scratch.h"

#define QUERY "encoder.layer.0.attention.self.query"

static char from[1024], dir[1024], texts[1100];
static uint64_t memory; /* that the next model may take; 0 = as much as it likes */

/* options: name, value, ..., NULL. The model with them; the file stays as `name`. */
static struct xc_model *made(const char *name, const char *target, const char *const *options, int threads)
{
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r;
    struct xc_recipe *recipe = NULL;
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    char path[1200];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    ok(xc_recipe_new(&recipe, &err), &err);
    ok(xc_recipe_add(recipe, "quantize", &err), &err);
    for (; *options; options += 2) ok(xc_recipe_set(recipe, options[0], options[1], &err), &err);
    if (target) ok(xc_recipe_target(recipe, target, &err), &err);
    ok(xc_pool_new(&how.pool, threads, &err), &err);
    how.recipe = recipe;
    how.calibrate = texts;
    how.max_memory = memory;
    ok(xc_compress_file(from, path, &how, &r, &err), &err);
    xc_compress_result_release(&r);
    xc_pool_free(&how.pool);
    xc_recipe_free(&recipe);
    ok(xc_model_load(&m, path, NULL, &err), &err);
    return m;
}

static float *numbers(struct xc_model *m, const char *name)
{
    struct xc_err err = { 0 };
    const int32_t t = xc_model_find_tensor(m, name);
    float *x;

    assert_true(t >= 0);
    x = malloc((size_t)xc_tensor_count(m->tensors[t]) * sizeof *x);
    ok(xc_tensor_to_f32(m->tensors[t], x, &err), &err);
    return x;
}

/* ---- biases ---- */
struct mean {
    double sum[512], weight;
    int64_t cols;
};

/* A text of n rows counts as sqrt(n). */
static enum xc_status add_means(void *arg, const struct xc_op_ctx *c, int32_t node, struct xc_err *err)
{
    struct mean *m = arg;
    const struct xc_view *x = c->in[0];

    (void)node;
    (void)err;
    if (strcmp(c->node->name, QUERY)) return XC_OK;
    m->cols = x->cols;
    assert_true(x->cols <= 512);
    for (int32_t i = 0; i < x->rag->n_seq; i++)
        for (int32_t r = x->rag->start[i]; r < x->rag->start[i + 1]; r++)
            for (int64_t k = 0; k < x->cols; k++) m->sum[k] += (double)((const float *)x->data)[r * x->cols + k] / sqrt(x->rag->start[i + 1] - x->rag->start[i]);
    for (int32_t i = 0; i < x->rag->n_seq; i++) m->weight += sqrt(x->rag->start[i + 1] - x->rag->start[i]);
    return XC_OK;
}

/* The largest mean error of the outputs of the query, on the inputs that the model as it was has. */
static double mean_error(const struct mean *mean, const char *bias, const char *method)
{
    const char *const options[] = { "format", "int2", "group", "32", "method", method, "smooth", "no", "attention", "f32", "fit", "no", "bias", bias, NULL };
    struct xc_err err = { 0 };
    struct xc_model *was = NULL, *now = made("bias.xc", QUERY, options, 1);
    float *w0, *w1, *b0, *b1;
    double worst = 0;

    ok(xc_model_load(&was, from, NULL, &err), &err);
    w0 = numbers(was, QUERY ".weight"), b0 = numbers(was, QUERY ".bias"), w1 = numbers(now, QUERY ".weight"), b1 = numbers(now, QUERY ".bias");
    for (int64_t n = 0; n < mean->cols; n++) {
        double e = (double)b1[n] - (double)b0[n];

        for (int64_t k = 0; k < mean->cols; k++) e += mean->sum[k] / mean->weight * ((double)w1[n * mean->cols + k] - (double)w0[n * mean->cols + k]);
        worst = fmax(worst, fabs(e));
    }
    free(w0), free(w1), free(b0), free(b1);
    xc_model_free(&was);
    xc_model_free(&now);
    return worst;
}

static void test_bias(void **state)
{
    struct mean mean = { .cols = 0 };
    struct xc_calibration c = { .each = add_means, .each_arg = &mean };
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_texts read = { 0 };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };

    (void)state;
    ok(xc_model_load(&m, from, NULL, &err), &err);
    ok(xc_texts_read(&read, texts, 256, &err), &err);
    ok(xc_calibrate(&c, m, &read, &opts, &err), &err);
    assert_true(mean.cols > 0);
    for (int gptq = 0; gptq < 2; gptq++) {
        const double kept = mean_error(&mean, "keep", gptq ? "gptq" : "search"), corrected = mean_error(&mean, "correct", gptq ? "gptq" : "search");

        if (!(corrected < 1e-5 && kept > 1e-3)) fail_msg("mean error %g with the bias corrected, %g with it kept", corrected, kept);
    }
    xc_texts_release(&read);
    xc_model_free(&m);
}

/* ---- fit ---- */
static double distance(struct xc_model *a, struct xc_model *b)
{
    struct xc_session *sa = NULL, *sb = NULL;
    struct xc_texts read = { 0 };
    struct xc_output oa, ob;
    struct xc_err err = { 0 };
    double d2 = 0, n2 = 0;

    ok(xc_texts_read(&read, texts, 256, &err), &err);
    ok(xc_session_new(&sa, a, NULL, &err), &err);
    ok(xc_session_new(&sb, b, NULL, &err), &err);
    ok(xc_session_run_texts(sa, (const char *const *)read.text, read.length, read.n, &oa, &err), &err);
    ok(xc_session_run_texts(sb, (const char *const *)read.text, read.length, read.n, &ob, &err), &err);
    for (int64_t i = 0; i < oa.rows * oa.cols; i++) {
        d2 += ((double)oa.data[i] - (double)ob.data[i]) * ((double)oa.data[i] - (double)ob.data[i]);
        n2 += (double)oa.data[i] * (double)oa.data[i];
    }
    xc_session_free(&sa);
    xc_session_free(&sb);
    xc_texts_release(&read);
    return sqrt(d2 / n2);
}

static void test_fit(void **state)
{
    double error[2];

    (void)state;
    for (int fit = 0; fit < 2; fit++) {
        const char *const options[] = { "format", "int3", "group", "32", "method", "gptq", "embeddings", "int8", "fit", fit ? "yes" : "no", NULL };
        struct xc_model *was = NULL, *now = made("fit.xc", NULL, options, 1 + 2 * fit);
        struct xc_err err = { 0 };

        ok(xc_model_load(&was, from, NULL, &err), &err);
        error[fit] = distance(was, now);
        xc_model_free(&was);
        xc_model_free(&now);
    }
    if (!(error[1] < 0.9 * error[0])) fail_msg("error %g when fitted, %g when not", error[1], error[0]);
}

/* ---- where memory is short ---- */
static size_t file_bytes(char **out, const char *name)
{
    char path[1200];
    FILE *f;
    long size = 0;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "rb");
    assert_true(f && !fseek(f, 0, SEEK_END) && (size = ftell(f)) > 0);
    rewind(f);
    *out = malloc((size_t)size);
    assert_int_equal(fread(*out, 1, (size_t)size, f), size);
    fclose(f);
    return (size_t)size;
}

/* Weights that come and go and values in a file make the same model, to the byte; the fit too, which walks the uncompressed model beside. */
static void test_lean(void **state)
{
    (void)state;
    for (int fit = 0; fit < 2; fit++) {
        const char *const options[] = { "format", "int4", "group", "32", "method", "gptq", "fit", fit ? "yes" : "no", NULL };
        char *bytes[2];
        size_t n[2];

        for (int lean = 0; lean < 2; lean++) {
            struct xc_model *m;

            memory = lean ? 4096 : 0;
            m = made(lean ? "lean.xc" : "wide.xc", NULL, options, 1 + lean);
            xc_model_free(&m);
            n[lean] = file_bytes(&bytes[lean], lean ? "lean.xc" : "wide.xc");
        }
        memory = 0;
        assert_int_equal(n[0], n[1]);
        assert_memory_equal(bytes[0], bytes[1], n[0]);
        free(bytes[0]);
        free(bytes[1]);
    }
}

/* ---- tables ---- */
static void test_steps(void **state)
{
    enum { ROWS = 64, COLS = 4096 };
    double step[ROWS], mean2[ROWS], reads[ROWS], bits = 0;
    struct xc_rng rng;

    (void)state;
    for (int r = 0; r < ROWS; r++) {
        mean2[r] = r % 2 ? 4 : 1;
        reads[r] = r < 8 ? 100 : 0;
    }
    xc_table_steps(step, mean2, reads, ROWS, 4);
    for (int r = 0; r < ROWS; r++) assert_true(fabs(step[r] / step[63] - (r < 8 ? sqrt(0.25 / 100.25) : 1)) < 1e-9);
    xc_rng_init(&rng, 7, 1);
    for (int r = 0; r < ROWS; r++) { /* the entropy of what Gaussian rows become, counted */
        int count[4001] = { 0 };

        for (int c = 0; c < COLS; c++) {
            double x = -6;

            for (int i = 0; i < 12; i++) x += (double)xc_rng_below(&rng, 1000000) / 1e6;
            const double q = rint(x * sqrt(mean2[r]) / step[r]);

            if (fabs(q) <= 2000) count[(int)q + 2000]++;
        }
        for (int i = 0; i < 4001; i++)
            if (count[i]) bits -= (double)count[i] / COLS * log2((double)count[i] / COLS) / ROWS;
    }
    if (fabs(bits - 4) > 0.25) fail_msg("%g bits a number, 4 were asked for", bits);
}

static void test_table(void **state)
{
    double error[2];
    long bytes[2];

    (void)state;
    for (int fine = 0; fine < 2; fine++) {
        const char *const options[] = { "format", "int4", "embeddings", "int8", "embedding_bits", fine ? "6" : "3", NULL };
        const char *const name = "embeddings.word_embeddings.weight";
        struct xc_model *was = NULL, *now = made("table.xc", "gather", options, 1 + fine);
        struct xc_err err = { 0 };
        const int32_t t = xc_model_find_tensor(now, name);
        float *a, *b;
        double e = 0, n = 0;

        ok(xc_model_load(&was, from, NULL, &err), &err);
        a = numbers(was, name), b = numbers(now, name);
        assert_int_equal(now->tensors[t]->enc.format, XC_FMT_S8);
        for (int64_t i = 0; i < xc_tensor_count(now->tensors[t]); i++) {
            e += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
            n += (double)a[i] * (double)a[i];
        }
        error[fine] = sqrt(e / n);
        bytes[fine] = (long)xc_tensor_bytes(now->tensors[t]);
        free(a), free(b);
        xc_model_free(&was);
        xc_model_free(&now);
    }
    assert_int_equal(bytes[0], bytes[1]);
    if (!(error[0] > 0.03 && error[0] < 0.4 && error[1] < error[0] / 5)) fail_msg("errors %g with 3 bits, %g with 6", error[0], error[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_bias), cmocka_unit_test(test_fit), cmocka_unit_test(test_lean), cmocka_unit_test(test_steps), cmocka_unit_test(test_table) };
    static const char *const words[] = { "the", "movie", "is", "a", "love", "story", "what", "long", "and", "strange", "film", "one", "two", "he", "did", "not", "like", "it", "at", "all" };
    struct xc_rng rng;
    FILE *f;
    int rc;

    snprintf(from, sizeof from, "%s/tests/data/tiny-bert", source_root());
    if (scratch_open(dir, sizeof dir, "walk")) return 1;
    snprintf(texts, sizeof texts, "%s/texts", dir);
    f = fopen(texts, "w");
    if (!f) return 1;
    xc_rng_init(&rng, 3, 1);
    for (int i = 0; i < 200; i++) {
        for (uint64_t n = 2 + xc_rng_below(&rng, 12); n; n--) fprintf(f, "%s ", words[xc_rng_below(&rng, XC_ARRAY_LEN(words))]);
        fputc('\n', f);
    }
    if (fclose(f)) return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, rc);
}
