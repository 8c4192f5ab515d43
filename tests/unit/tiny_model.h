/* tiny_model: the tiny checkpoints of tests/ with a tokenizer: those without one of their own get that of tiny-bert, cut to the size of their table; their weights made larger,
 * so that attention has something to choose; and what they answer. */
#ifndef XC_TESTS_UNIT_TINY_MODEL_H
#define XC_TESTS_UNIT_TINY_MODEL_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/shrink/surgery.h"
#include "formats/tokenizer.h"
#include "runtime/graph/graph.h"
#include "xcompress/compress.h"

static inline enum xc_status tiny_model(struct xc_model **out, const char *root, const char *name, struct xc_err *err)
{
    struct xc_buf *section = NULL;
    struct xc_model_info info;
    int32_t new_id[345], n = 0;
    uint8_t keep[345] = { 0 };
    enum xc_status status;
    char path[2100];

    snprintf(path, sizeof path, "%s/%s", root, name);
    XC_TRY(xc_import(out, path, err));
    XC_TRY(xc_model_info(*out, &info, err));
    if ((*out)->tokenizer) return XC_OK;
    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", root);
    XC_TRY(xc_tokenizer_compile(&section, path, NULL, err));
    status = xc_tokenizer_close_set(keep, section, false, err);
    for (int i = 0, room = info.vocab_size; i < 345; i++) { /* the special tokens are the first */
        new_id[i] = keep[i] || (i >= 40 && n < room) ? n : -1;
        n += new_id[i] >= 0;
    }
    if (status == XC_OK && n > info.vocab_size) status = xc_fail(err, XC_E_RANGE, "the table of '%s' is too small", name);
    if (status == XC_OK) status = xc_tokenizer_subset(&(*out)->tokenizer, section, new_id, err);
    xc_buf_unref(&section);
    return status;
}

/* Multiplies the tensors whose name holds `part`. */
static inline enum xc_status tiny_model_scale(struct xc_model *m, const char *part, float by, struct xc_err *err)
{
    for (int32_t t = 0; t < m->n_tensors; t++) {
        enum xc_status status;
        float *x;

        if (!strstr(m->tensors[t]->name, part)) continue;
        XC_TRY(xc_surgery_numbers(&x, m->tensors[t], err));
        for (int64_t i = 0; i < xc_tensor_count(m->tensors[t]); i++) x[i] *= by;
        status = xc_tensor_set_f32(m->tensors[t], x, err);
        xc_free(x);
        XC_TRY(status);
    }
    return XC_OK;
}

/* What a model answers to k texts: n numbers, for free(). */
static inline enum xc_status tiny_model_answers(float **answers, int64_t *n, struct xc_model *m, const char *const *text, const size_t *length, int64_t k, struct xc_err *err)
{
    struct xc_session *s = NULL;
    struct xc_output out;
    enum xc_status status = xc_session_new(&s, m, NULL, err);

    *answers = NULL;
    if (status == XC_OK) status = xc_session_run_texts(s, text, length, k, &out, err);
    if (status == XC_OK) {
        *n = out.rows * out.cols;
        *answers = malloc((size_t)*n * sizeof **answers);
        if (*answers) memcpy(*answers, out.data, (size_t)*n * sizeof **answers);
        else status = xc_fail_nomem(err, (size_t)*n * sizeof **answers);
    }
    xc_session_free(&s);
    return status;
}

/* What a recipe makes of m, without golden answers; texts: a file to calibrate with, or NULL. made NULL: a plan alone. result (may be NULL) is the caller's to release. */
static inline enum xc_status tiny_model_compress(struct xc_model **made, struct xc_compress_result *result, const struct xc_model *m, const char *yaml, const char *texts, int threads,
                                                 struct xc_err *err)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result own;
    struct xc_model *none = NULL;
    struct xc_recipe *recipe = NULL;
    struct xc_pool *pool = NULL;
    enum xc_status status = xc_recipe_parse(&recipe, yaml, strlen(yaml), "recipe.yaml", err);

    if (status == XC_OK) status = xc_pool_new(&pool, threads, err);
    opts.recipe = recipe;
    opts.calibrate = texts;
    opts.pool = pool;
    opts.no_golden = true;
    if (status == XC_OK) {
        status = xc_compress_model(made ? made : &none, m, NULL, !made, &opts, result ? result : &own, err);
        if (!result) xc_compress_result_release(&own);
    }
    xc_recipe_free(&recipe);
    xc_pool_free(&pool);
    return status;
}

/* Weights become the f32 numbers that they stand for; how many did. */
static inline enum xc_status tiny_model_decode(int *changed, struct xc_model *m, struct xc_err *err)
{
    *changed = 0;
    for (int32_t i = 0; i < m->n_tensors; i++) {
        struct xc_tensor *const t = m->tensors[i];
        enum xc_status status;
        float *x;

        if (!xc_format_traits((enum xc_format)t->enc.format)->quantized) continue;
        XC_TRY(xc_surgery_numbers(&x, t, err));
        status = xc_tensor_set_f32(t, x, err);
        xc_free(x);
        XC_TRY(status);
        ++*changed;
    }
    return XC_OK;
}

/* |x - y| / |x|; not a number where either is not. */
static inline double relative_distance(const float *x, const float *y, int64_t n)
{
    double error = 0, all = 0;

    for (int64_t i = 0; i < n; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        all += (double)x[i] * (double)x[i];
    }
    return sqrt(error / all);
}

#endif
