/* integers: see integers.h. */
#include "compress/train/integers.h"

#include <stdio.h>
#include <string.h>

#include "compress/quantize/quantize.h"
#include "compress/recipe/recipe.h"

struct xc_integers {
    struct xc_model *model;
    struct xc_recipe *recipe;
    struct xc_compress_opts opts;
    struct xc_compress_result result; /* reports of the passes; not read */
    struct xc_encoding *want;
    int32_t n;                        /* tensors of the passes */
};

void xc_integers_free(struct xc_integers **out)
{
    struct xc_integers *q = *out;

    *out = NULL;
    if (!q) return;
    if (q->model) xc_model_free(&q->model);
    if (q->recipe) xc_recipe_free(&q->recipe);
    xc_compress_result_release(&q->result);
    xc_free(q->want);
    xc_free(q);
}

struct xc_model *xc_integers_model(const struct xc_integers *q) { return q->model; }

static enum xc_status read_recipe(struct xc_integers *q, const char *how, struct xc_err *err)
{
    const bool is_format = !strcmp(how, "int8") || !strcmp(how, "int4");

    if (!is_format) XC_TRY(xc_recipe_read(&q->recipe, how, err));
    else XC_TRY(xc_recipe_new(&q->recipe, err));
    if (is_format) {
        XC_TRY(xc_recipe_add(q->recipe, "quantize", err));
        XC_TRY(xc_recipe_set(q->recipe, "format", how, err));
        XC_TRY(xc_recipe_set(q->recipe, "smooth", "no", err));
    }
    for (size_t i = 0; i < q->recipe->n; i++) {
        const struct xc_recipe_pass *p = &q->recipe->passes[i];
        const char *why = NULL;

        if (p->pass != xc_pass_find("quantize")) why = "only pass 'quantize' is made anew after every update; run the others before, with compress";
        else if (p->n_overrides) why = "overrides are not for training on integers: list the pass twice, with other targets";
        else if (!xc_recipe_is(p, "smooth", "no")) why = "training on integers needs 'smooth: no': it finds its own scales";
        else if (!xc_recipe_is(p, "activations", "row")) why = "training on integers needs 'activations: row': its inputs are integers, whose calibrated ranges would not follow the weights";
        else if (!strcmp(xc_recipe_get(p, "format"), "mixed")) why = "format 'mixed' is decided by calibration, not while training";
        if (why) return xc_recipe_fail_at(p, NULL, xc_fail(err, XC_E_UNSUPPORTED, "%s", why), err);
    }
    return XC_OK;
}

static enum xc_status make(struct xc_integers *q, const struct xc_model *model, const char *how, uint64_t seed, struct xc_pool *pool, struct xc_err *err)
{
    bool any = false;

    XC_TRY(read_recipe(q, how, err));
    q->opts = (struct xc_compress_opts)XC_COMPRESS_DEFAULT;
    q->opts.recipe = q->recipe;
    q->opts.no_golden = true;
    q->opts.seed = seed;
    q->opts.pool = pool;
    XC_TRY(xc_compress_model(&q->model, model, NULL, false, &q->opts, &q->result, err));
    q->n = q->model->n_tensors;
    if (q->n != model->n_tensors) return xc_fail(err, XC_E_UNSUPPORTED, "quantization changes the tensors of this model: it cannot be trained on integers");
    q->want = xc_calloc((size_t)q->n + 1, sizeof *q->want);
    if (!q->want) return xc_fail_nomem(err, (size_t)q->n * sizeof *q->want);
    for (int32_t t = 0; t < q->n; t++) {
        if (strcmp(q->model->tensors[t]->name, model->tensors[t]->name) != 0) return xc_fail(err, XC_E_UNSUPPORTED, "quantization changes the tensors of this model: it cannot be trained on integers");
        q->want[t] = q->model->tensors[t]->enc;
        any |= q->want[t].format > XC_FMT_BF16;
    }
    return any ? XC_OK : xc_fail(err, XC_E_ARG, "nothing of the model is quantized: there is nothing to train on integers");
}

enum xc_status xc_integers_new(struct xc_integers **out, const struct xc_model *model, const char *how, uint64_t seed, struct xc_pool *pool, struct xc_err *err)
{
    struct xc_integers *q = xc_calloc(1, sizeof *q);
    enum xc_status status;

    *out = NULL;
    if (!q) return xc_fail_nomem(err, sizeof *q);
    status = make(q, model, how, seed, pool, err);
    if (status != XC_OK) xc_integers_free(&q);
    *out = q;
    return status;
}

static bool is_integer(const struct xc_integers *q, int32_t t) { return t < q->n && q->want[t].format > XC_FMT_BF16; }

/* The tensor holds the bytes of another, f32. */
static void share(struct xc_tensor *t, const struct xc_tensor *with)
{
    struct xc_buf *buf = xc_buf_ref(with->part[XC_PART_DATA]);

    xc_tensor_clear(t);
    t->enc = with->enc;
    t->part[XC_PART_DATA] = buf;
}

enum xc_status xc_integers_share(struct xc_integers *q, const struct xc_model *master, struct xc_err *err)
{
    for (int32_t t = 0; t < q->model->n_tensors; t++)
        if (!is_integer(q, t)) share(q->model->tensors[t], master->tensors[t]);
    return xc_integers_refresh(q, master, err);
}

/* The pass that made the encoding: of several, the first with its format. */
static const struct xc_recipe_pass *pass_of(const struct xc_integers *q, const struct xc_encoding *enc)
{
    for (size_t i = 0; i < q->recipe->n; i++)
        if (!strcmp(xc_recipe_get(&q->recipe->passes[i], "format"), xc_format_traits((enum xc_format)enc->format)->name)) return &q->recipe->passes[i];
    return &q->recipe->passes[0];
}

enum xc_status xc_integers_refresh(struct xc_integers *q, const struct xc_model *master, struct xc_err *err)
{
    struct xc_work w = { .model = q->model, .opts = &q->opts, .layers = q->result.layers, .want = q->want };

    for (int32_t t = 0; t < q->n; t++) {
        if (!is_integer(q, t)) continue;
        w.spec = pass_of(q, &q->want[t]);
        share(q->model->tensors[t], master->tensors[t]);
        XC_TRY(xc_quantize_tensor(&w, t, err));
    }
    return XC_OK;
}
