/* test_mask_gradients: Fisher and Taylor of heads and neurons against PyTorch (tests/vectors/gen_mask_gradients.py), gradients of agreement by finite
 * differences, draws, exchanges; the saliencies of shrink on tiny models: budgets, labels, the same bytes for any number of threads, what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compress/shrink/mask_gradients.h"
#include "compress/train/loss.h"
#include "formats/formats.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"
#include "tests/vectors/arch_sample.h"
#include "tests/vectors/mask_gradients_vectors.h"
#include "xcompress/compress.h"

static struct xc_err err;
static char dir[1024];

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

/* ---- a model and the inputs stored with it ---- */
struct job {
    struct xc_model *m;
    struct xc_graph *g;
    struct xc_sites sites;
    const struct xc_site *site[16];
    struct arch_sample in;
    int32_t label[64];
    float score[64];
    double each[64];
    bool agreement;
    double value; /* agreement: sum of drawn signs times outputs */
};

static void begin(struct job *j, const char *name, const char *head)
{
    char path[1024];

    memset(j, 0, sizeof *j);
    snprintf(path, sizeof path, "%s/tests/vectors/arch/%s", getenv("XC_SOURCE_ROOT"), name);
    OK(xc_model_load(&j->m, path, NULL, &err));
    for (int32_t i = 0; i < j->m->n_tensors; i++) OK(xc_tensor_load(j->m->tensors[i], &err));
    j->g = xc_model_find_graph(j->m, "encode");
    OK(xc_sites_find(&j->sites, j->g, &err));
    assert_true(j->sites.n > 0 && j->sites.n <= 16);
    for (int64_t k = 0; k < j->sites.n; k++) j->site[k] = &j->sites.site[k];
    snprintf(path, sizeof path, "%s/tests/vectors/arch/%s/%s.bin", getenv("XC_SOURCE_ROOT"), name, head);
    arch_sample_read(&j->in, path);
    assert_true(j->in.n_seq > 0 && j->in.n_seq < 64);
}

static void finish(struct job *j)
{
    xc_sites_release(&j->sites);
    xc_model_free(&j->m);
    arch_sample_release(&j->in);
}

static enum xc_status batch(void *arg, int64_t b, struct xc_mask_batch *out, struct xc_err *e)
{
    const struct job *j = arg;

    (void)b;
    (void)e;
    *out = (struct xc_mask_batch){ .ids = j->in.ids, .types = j->in.types, .start = j->in.start, .n_seq = j->in.n_seq };
    return XC_OK;
}

static enum xc_status loss(void *arg, const struct xc_view *y, bool by_token, float *d, struct xc_err *e)
{
    struct job *j = arg;
    const float *x = y->data;

    (void)e;
    assert_false(by_token);
    assert_int_equal(y->rows, j->in.n_seq);
    for (int64_t r = 0; r < y->rows; r++) {
        j->label[r] = (int32_t)(r % y->cols);
        j->score[r] = (float)r / 4;
    }
    if (j->agreement) {
        j->value = 0;
        for (int64_t r = 0; r < y->rows; r++) xc_agreement_gradient(d + r * y->cols, x + r * y->cols, 1, y->cols, false, 3, (uint64_t)r);
        for (int64_t i = 0; i < y->rows * y->cols; i++) j->value += (double)d[i] * (double)x[i];
    } else if (strcmp(xc_model_meta(j->m, "task"), "embed") == 0) {
        xc_loss_cosine(d, x, j->score, y->rows / 2, y->cols, 1);
    } else {
        xc_loss_classes(d, j->each, x, j->label, y->rows, y->cols, 0, 1, NULL);
    }
    return XC_OK;
}

static void make(struct xc_mask_gradients *out, struct job *j, int32_t per_sample, struct xc_pool *pool)
{
    const struct xc_mask_source source = { .arg = j, .n_batches = 1, .samples = j->in.n_seq / per_sample, .per_sample = per_sample, .batch = batch, .loss = loss };

    OK(xc_mask_gradients_make(out, j->g, j->site, j->sites.n, &source, pool, &err));
}

/* ---- against PyTorch ---- */
static void check(const char *name, const char *head, int32_t per_sample, const double *fisher, const double *taylor, size_t n)
{
    struct xc_mask_gradients one, three;
    struct xc_pool *pool = NULL;
    struct job j;
    size_t at = 0;

    begin(&j, name, head);
    if (per_sample == 2) j.in.n_seq -= j.in.n_seq % 2;
    OK(xc_pool_new(&pool, 3, &err));
    make(&one, &j, per_sample, NULL);
    make(&three, &j, per_sample, pool);
    for (int64_t k = 0; k < j.sites.n; k++) {
        const int64_t units = j.site[k]->units;
        double worth[512], most = 0;

        assert_true(units <= 512 && at + (size_t)units <= n);
        assert_memory_equal(one.g[k], three.g[k], (size_t)(one.samples * units) * sizeof(float));
        for (int both = 0; both < 2; both++) {
            const double *const want = (both ? taylor : fisher) + at;

            xc_mask_worth(worth, one.g[k], one.samples, units, !both);
            for (int64_t u = 0; u < units; u++) most = fmax(most, want[u]);
            for (int64_t u = 0; u < units; u++)
                if (!(fabs(worth[u] - want[u]) <= 1e-4 * want[u] + 1e-5 * most)) fail_msg("%s, site %d, unit %d: %.9g, PyTorch has %.9g", name, (int)k, (int)u, worth[u], want[u]);
            most = 0;
        }
        at += (size_t)units;
    }
    assert_int_equal(at, n);
    xc_mask_gradients_release(&one);
    xc_mask_gradients_release(&three);
    xc_pool_free(&pool);
    finish(&j);
}

static void test_against_pytorch(void **state)
{
    (void)state;
    check("bert_classify", "classify", 1, mg_classes_fisher, mg_classes_taylor, XC_ARRAY_LEN(mg_classes_fisher));
    check("bert_st_mean", "embed", 2, mg_cosine_fisher, mg_cosine_taylor, XC_ARRAY_LEN(mg_cosine_fisher));
}

/* ---- agreement ---- */
static void scale_unit(struct job *j, int64_t k, int64_t unit, double factor)
{
    struct xc_tensor *t = xc_site_weight(j->g, j->site[k]);
    const int64_t C = xc_tensor_cols(t), width = j->site[k]->width;
    float *w = malloc((size_t)xc_tensor_count(t) * sizeof *w);

    OK(xc_tensor_to_f32(t, w, &err));
    for (int64_t r = 0; r < xc_tensor_rows(t); r++)
        for (int64_t c = unit * width; c < (unit + 1) * width; c++) w[r * C + c] *= (float)factor;
    OK(xc_tensor_set_f32(t, w, &err));
    free(w);
}

/* The derivative by a mask is that by a factor on the columns behind it. */
static void test_finite_differences(void **state)
{
    struct xc_mask_gradients m, scratch;
    struct job j;
    int seen = 0;

    (void)state;
    begin(&j, "bert_st_mean", "embed");
    j.agreement = true;
    make(&m, &j, 1, NULL);
    for (int64_t k = 0; k < j.sites.n; k++)
        for (int64_t u = 0; u < j.site[k]->units; u += 1 + j.site[k]->units / 5) {
            double sum = 0, by_hand = 0;

            for (int64_t s = 0; s < m.samples; s++) sum += (double)m.g[k][s * j.site[k]->units + u];
            for (int side = 0; side < 2; side++) {
                const double h = 1.0 / 64;

                scale_unit(&j, k, u, side ? (1 - h) / (1 + h) : 1 + h);
                make(&scratch, &j, 1, NULL);
                xc_mask_gradients_release(&scratch);
                by_hand = side ? (by_hand - j.value) / (2 * h) : j.value;
            }
            scale_unit(&j, k, u, 64.0 / 63);
            if (fabs(by_hand - sum) > 1e-2 * fabs(sum) + 1e-4) fail_msg("site %d, unit %d: %g, by differences %g", (int)k, (int)u, sum, by_hand);
            seen += fabs(sum) > 0.01;
        }
    assert_true(seen > 3);
    xc_mask_gradients_release(&m);
    finish(&j);
}

static void test_draws(void **state)
{
    static const float y[3] = { 0, 1, -1 };
    double p[3], all = 0;
    int drawn[3] = { 0 }, plus = 0;
    float d[100], other[100];

    (void)state;
    for (int c = 0; c < 3; c++) all += p[c] = exp((double)y[c]);
    for (uint64_t s = 0; s < 4000; s++) {
        xc_agreement_gradient(d, y, 1, 3, true, 1, s);
        for (int c = 0; c < 3; c++) {
            const double rest = (double)d[c] - p[c] / all;

            assert_true(fabs(rest) < 1e-6 || fabs(rest + 1) < 1e-6); /* softmax, less one for the class drawn */
            drawn[c] += rest < -0.5;
        }
    }
    assert_int_equal(drawn[0] + drawn[1] + drawn[2], 4000);
    for (int c = 0; c < 3; c++) assert_true(fabs(drawn[c] / 4000.0 - p[c] / all) < 0.03);
    xc_agreement_gradient(d, other, 1, 100, false, 1, 5);
    for (int c = 0; c < 100; c++) {
        assert_true(d[c] == 1 || d[c] == -1);
        plus += d[c] > 0;
    }
    assert_true(plus > 30 && plus < 70);
    xc_agreement_gradient(other, d, 1, 100, false, 1, 5);
    assert_memory_equal(d, other, sizeof d);
    xc_agreement_gradient(other, d, 1, 100, false, 1, 6);
    assert_memory_not_equal(d, other, sizeof d);
}

/* ---- exchanges ---- */
static double lost(const int32_t *order, int64_t keep, int64_t units, int64_t samples)
{
    double all = 0;

    for (int64_t s = 0; s < samples; s++) {
        double sum = 0;

        for (int64_t i = keep; i < units; i++) sum += (double)mg_exchange[s * units + order[i]];
        all += sum * sum;
    }
    return all;
}

static void test_exchange(void **state)
{
    enum { UNITS = 12, SAMPLES = 40, KEEP = 7 };
    int32_t order[UNITS], seen = 0;
    double before, after;

    (void)state;
    assert_int_equal(XC_ARRAY_LEN(mg_exchange), UNITS * SAMPLES);
    for (int32_t i = 0; i < UNITS; i++) order[i] = i;
    before = lost(order, KEEP, UNITS, SAMPLES);
    OK(xc_mask_rearrange(order, KEEP, mg_exchange, SAMPLES, UNITS, NULL, &err));
    after = lost(order, KEEP, UNITS, SAMPLES);
    for (int32_t i = 0; i < UNITS; i++) seen |= 1 << order[i];
    assert_int_equal(seen, (1 << UNITS) - 1);
    assert_true(after < before && after >= mg_exchange_best * (1 - 1e-6) && after <= 1.2 * mg_exchange_best);
    for (int i = 0; i < KEEP; i++)
        for (int k = KEEP; k < UNITS; k++) { /* no exchange is better */
            int32_t other[UNITS];

            memcpy(other, order, sizeof other);
            other[i] = order[k];
            other[k] = order[i];
            assert_true(lost(other, KEEP, UNITS, SAMPLES) >= after * (1 - 1e-4));
        }
}

/* ---- the pass ---- */
static const char *in_dir(const char *name) { return path_in(dir, name); }

static enum xc_status shrink(const char *model, const char *saliency, const char *objective, const char *flops, const char *calibrate, int threads, const char *to)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_recipe *r = NULL;
    struct xc_model *m = NULL, *made = NULL;
    enum xc_status status;

    OK(tiny_model(&m, getenv("XC_SOURCE_ROOT"), model, &err));
    OK(xc_recipe_new(&r, &err));
    OK(xc_recipe_add(r, "shrink", &err));
    OK(xc_recipe_set(r, "saliency", saliency, &err));
    OK(xc_recipe_set(r, "objective", objective, &err));
    OK(xc_recipe_set(r, "flops", flops, &err));
    OK(xc_pool_new(&opts.pool, threads, &err));
    opts.recipe = r;
    opts.calibrate = calibrate;
    opts.no_golden = true;
    status = xc_compress_model(&made, m, NULL, false, &opts, &result, &err);
    if (status == XC_OK) OK(xc_save(made, to, false, NULL, NULL, NULL, &err));
    xc_compress_result_release(&result);
    xc_model_free(&made);
    xc_model_free(&m);
    xc_pool_free(&opts.pool);
    xc_recipe_free(&r);
    return status;
}

static double macs_of(const char *path)
{
    struct xc_model *m = NULL;
    struct xc_sites s;
    double macs = 0;

    OK(xc_model_load(&m, path, NULL, &err));
    OK(xc_sites_find(&s, xc_model_find_graph(m, "encode"), &err));
    for (int64_t k = 0; k < s.n; k++) macs += xc_site_macs(&s.site[k], s.site[k].units, 64);
    xc_sites_release(&s);
    xc_model_free(&m);
    return macs;
}

static void write_rows(const char *path, const char *header, const char *prefix, const char *between)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fprintf(f, "%s\n", header);
    for (int i = 0; i < 40; i++) fprintf(f, "%s%d\ta man plays %d guitars%sthe dog runs %d\n", prefix, i % 2, i, between, i * 7);
    fclose(f);
}

static void test_pass(void **state)
{
    static const struct {
        const char *model, *rows, *objective;
    } cases[] = {
        { "tests/data/tiny-bert", "texts.tsv", "agreement" },
        { "tests/vectors/arch/bert_classify", "texts.tsv", "agreement" },
        { "tests/vectors/arch/distilbert", "texts.tsv", "agreement" },
        { "tests/vectors/arch/roberta_tag", "texts.tsv", "agreement" },
        { "tests/vectors/arch/bert_classify", "classes.tsv", "labels" },
        { "tests/vectors/arch/bert_regress", "scores.tsv", "labels" },
        { "tests/vectors/arch/bert_st_mean", "pairs.tsv", "labels" },
    };
    char from[1024];

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++)
        for (int taylor = 0; taylor < 2; taylor++) {
            const char *const saliency = taylor ? "taylor" : "fisher";

            for (int threads = 1; threads <= 3; threads += 2)
                OK(shrink(cases[i].model, saliency, cases[i].objective, "0.85", in_dir(cases[i].rows), threads, in_dir(threads == 1 ? "a.xc" : "b.xc")));
            same_files(in_dir("a.xc"), in_dir("b.xc"));
            snprintf(from, sizeof from, "%s/%s", getenv("XC_SOURCE_ROOT"), cases[i].model);
            const double share = macs_of(in_dir("a.xc")) / macs_of(from);

            if (share > 0.85 || share < 0.35) fail_msg("%s, %s: %g of the multiply-adds stay", cases[i].model, saliency, share);
        }
}

static void refused(const char *model, const char *saliency, const char *objective, const char *rows, const char *message)
{
    assert_int_not_equal(shrink(model, saliency, objective, "0.85", rows ? in_dir(rows) : NULL, 1, in_dir("c.xc")), XC_OK);
    if (!strstr(err.msg, message)) fail_msg("%s, %s: %s", saliency, objective, err.msg);
    assert_int_not_equal(access(in_dir("c.xc"), F_OK), 0);
}

static void test_refused(void **state)
{
    (void)state;
    refused("tests/data/tiny-bert", "fisher", "agreement", NULL, "calibration texts");
    refused("tests/data/tiny-bert", "error", "labels", "pairs.tsv", "for saliency fisher or taylor");
    refused("tests/vectors/arch/bert_tag", "fisher", "labels", "classes.tsv", "classify, regress or embed");
    refused("tests/vectors/arch/bert_classify", "taylor", "labels", "texts.tsv", "label");
    refused("tests/vectors/arch/bert_st_mean", "taylor", "labels", "classes.tsv", "text_a");
    refused("tests/vectors/arch/bert_classify", "taylor", "labels", "other.tsv", "none of the model's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_pytorch), cmocka_unit_test(test_finite_differences), cmocka_unit_test(test_draws),
        cmocka_unit_test(test_exchange),        cmocka_unit_test(test_pass),               cmocka_unit_test(test_refused),
    };
    int failed;

    if (scratch_open(dir, sizeof dir, "masks")) return 1;
    write_rows(in_dir("texts.tsv"), "other\ttext", "", ", ");
    write_rows(in_dir("classes.tsv"), "label\ttext", "", ", ");
    write_rows(in_dir("scores.tsv"), "score\ttext", "", ", ");
    write_rows(in_dir("pairs.tsv"), "score\ttext_a\ttext_b", "", "\t");
    write_rows(in_dir("other.tsv"), "label\ttext", "9", ", ");
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, failed);
}
