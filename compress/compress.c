/* compress: the whole job: load, plan, run the passes, measure, write. See include/xcompress/compress.h. */
#include "xcompress/compress.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "compress/calibrate/calibrate.h"
#include "compress/calibrate/sample_texts.h"
#include "compress/calibrate/sensitivity.h"
#include "compress/file/digesting.h"
#include "compress/file/side.h"
#include "compress/gate/measure.h"
#include "compress/limits.h"
#include "compress/manifest.h"
#include "compress/pass.h"
#include "compress/plan/forecast.h"
#include "compress/plan/predict.h"
#include "compress/quantize/smooth.h"
#include "compress/ranks.h"
#include "compress/report.h"
#include "formats/formats.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/clock.h"
#include "runtime/container/container.h"
#include "runtime/session/golden.h"
#include "runtime/session/session.h"

struct job {
    const struct xc_model *source;   /* the caller's */
    struct xc_model *model;          /* the copy that changes */
    struct xc_model *before;         /* the model as the running pass found it; NULL without texts */
    const struct xc_compress_opts *opts;
    const struct xc_recipe *recipe;
    struct xc_recipe *own_recipe;
    struct xc_compress_result *result;
    struct xc_encoding *want;        /* by tensor: what the passes so far make of it */
    struct xc_texts texts;
    struct xc_ranges ranges;
    const char *from;                /* NULL = the model was given in memory */
    json_t *sources, *calibration;   /* sources: identities until the work is done */
    struct xc_digesting *digesting;  /* takes their digests meanwhile; NULL = nobody yet */
    struct xc_forecast *forecast;    /* of a plan that was asked for; else NULL */
    double begin, base_memory;       /* of a plan: when it began; bytes of the process with the model open */
    struct xc_sense *sense;          /* what a pass measured the model by */
    struct xc_smoothing *smoothing;  /* scales that the running pass has to fill */
    struct xc_buf *golden;           /* samples that a pass made */
    bool last;                       /* no pass comes after the running one */
    bool check;                      /* this run only looks for mistakes */
    struct xc_side *side;            /* NULL: finished tensors stay in memory */
    int32_t stage;
    uint64_t max_memory;
};

static struct xc_work work_of(struct job *j, const struct xc_recipe_pass *spec)
{
    return (struct xc_work){ .model = j->model, .spec = spec, .opts = j->opts, .layers = j->result->layers, .want = j->want, .texts = j->texts.n ? &j->texts : NULL,
                             .before = j->before, .ranges = j->ranges.bins ? &j->ranges : NULL, .result = j->result, .sense = j->sense, .smoothing = j->smoothing,
                             .golden = j->opts->no_golden || !j->last ? NULL : &j->golden, .side = j->side, .stage = j->stage };
}

static enum xc_status size_with(void *arg, uint64_t *bytes, const struct xc_model *m, const struct xc_encoding *want, const double *packed, struct xc_err *err);

/* ---- one pass ---- */
/* What is not in memory yet comes as f32. */
static struct xc_encoding encoding_now(const struct xc_tensor *t) { return t->part[XC_PART_DATA] || !t->source ? t->enc : (struct xc_encoding){ .format = XC_FMT_F32 }; }

/* Tensors came or went: reports and encodings follow their names. */
static enum xc_status follow(struct job *j, const struct xc_encoding *old_want, struct xc_err *err)
{
    struct xc_compress_result *const r = j->result, old = *r;
    const int32_t n = j->model->n_tensors;
    enum xc_status status;

    r->layers = NULL;
    r->n_layers = 0;
    j->want = xc_calloc((size_t)n + 1, sizeof *j->want);
    status = j->want ? xc_report_init(r, j->model, j->source, err) : xc_fail_nomem(err, (size_t)n * sizeof *j->want);
    for (int32_t t = 0; t < n && status == XC_OK; t++) {
        const int64_t at = xc_report_find(&old, j->model->tensors[t]->name, t);

        j->want[t] = at >= 0 && old_want ? old_want[at] : encoding_now(j->model->tensors[t]);
        if (at >= 0) xc_report_carry(&r->layers[t], &old.layers[at]);
    }
    xc_report_release_layers(&old);
    return status;
}

static enum xc_status prepare_pass(struct job *j, const struct xc_recipe_pass *spec, bool plan_only, struct xc_err *err)
{
    const struct xc_prepare p = { .model = j->model, .spec = spec, .opts = j->opts, .texts = j->texts.n ? &j->texts : NULL, .plan_only = plan_only, .check = j->check,
                                  .changed = spec != j->recipe->passes, .want = j->want, .n_want = j->model->n_tensors, .result = j->result, .sense = &j->sense, .smoothing = &j->smoothing, .forecast = j->forecast, .estimated = &j->result->estimated,
                                  .size = size_with, .size_arg = j };
    struct xc_encoding *old_want = j->want;
    enum xc_status status;

    if (!spec->pass->prepare) return XC_OK;
    XC_TRY(spec->pass->prepare(&p, err));
    status = follow(j, plan_only ? old_want : NULL, err);
    xc_free(old_want);
    return status;
}

static enum xc_status plan_pass(struct job *j, const struct xc_recipe_pass *spec, struct xc_err *err)
{
    struct xc_work w = work_of(j, spec);

    if (spec->pass->needs_ranges && spec->pass->needs_ranges(spec) && !j->opts->calibrate)
        return xc_fail(err, XC_E_ARG, "pass '%s' needs calibration texts: name a file of them (--calibrate FILE)", spec->pass->name);
    return spec->pass->plan(&w, err);
}

/* Errors of a tensor that several passes changed add up as squares. */
static double both(double a, double b) { return a > 0 ? b > 0 ? sqrt(a * a + b * b) : a : b; }

static enum xc_status measure_outputs(struct job *j, struct xc_err *err)
{
    struct xc_calibration c = { .changed = j->model };
    struct xc_texts texts = j->texts; /* a corpus may be long: this many tell the error of a layer */
    enum xc_status status;

    texts.n = xc_min_i64(texts.n, 1024);
    const bool large = xc_memory_is_short(j->before, j->opts->max_memory);

    for (int32_t t = 0; t < j->model->n_tensors && !large; t++) XC_TRY(xc_tensor_load(j->model->tensors[t], err)); /* what this pass left alone, too */
    c.output_error = xc_calloc((size_t)j->model->n_tensors + 1, sizeof *c.output_error);
    if (!c.output_error) return xc_fail_nomem(err, (size_t)j->model->n_tensors * sizeof *c.output_error);
    status = xc_calibrate(&c, j->before, &texts, j->opts, err);
    for (int32_t t = 0; t < j->model->n_tensors && status == XC_OK; t++) j->result->layers[t].output_error = both(j->result->layers[t].output_error, c.output_error[t]);
    if (status == XC_OK) j->result->calibration_tokens = c.tokens;
    xc_free(c.output_error);
    return status;
}

/* The same, of a plan. */
static void forecast_outputs(const struct job *j)
{
    struct xc_forecast *f = j->forecast;
    const int64_t tokens = j->texts.n > 1024 ? f->tokens * 1024 / j->texts.n : f->tokens;

    xc_forecast_walk(f, j->model, NULL, tokens);
    xc_forecast_walk(f, j->model, j->want, tokens);
    f->toil[XC_TOIL_COMPARE] += (double)tokens * xc_forecast_outputs(j->model);
    xc_forecast_holds(f, xc_forecast_f32_bytes(j->model) + xc_forecast_encoded_bytes(j->model, j->want) + xc_forecast_values_bytes(j->model, tokens));
}

static enum xc_status apply_pass(struct job *j, const struct xc_recipe_pass *spec, const struct xc_encoding *was, struct xc_err *err)
{
    const int32_t n = j->model->n_tensors;
    struct xc_calibration c = { .ranges = &j->ranges };
    double *old = xc_calloc((size_t)n + 1, sizeof *old);
    enum xc_status status = old ? XC_OK : xc_fail_nomem(err, (size_t)n * sizeof *old);

    if (status == XC_OK && spec->pass->needs_ranges && spec->pass->needs_ranges(spec)) status = xc_calibrate(&c, j->before, &j->texts, j->opts, err);
    struct xc_work w = work_of(j, spec);

    for (int32_t t = 0; t < n && status == XC_OK; t++) {
        old[t] = j->result->layers[t].error;
        j->result->layers[t].error = 0;
        if (memcmp(&was[t], &w.want[t], sizeof *was)) w.total += (double)xc_tensor_count(j->model->tensors[t]);
    }
    if (status == XC_OK) status = spec->pass->apply(&w, err);
    j->result->resumed += w.resumed;
    for (int32_t t = 0; t < n && status == XC_OK; t++) j->result->layers[t].error = both(old[t], j->result->layers[t].error);
    if (status == XC_OK) {
        status = xc_model_verify(j->model, err);
        if (status != XC_OK) xc_fail_at(err, status, "after pass '%s'", spec->pass->name);
    }
    xc_ranges_release(&j->ranges);
    xc_free(old);
    return status;
}

static enum xc_status run_part(struct job *j, const struct xc_recipe_pass *spec, bool plan_only, struct xc_err *err)
{
    const size_t row = (size_t)j->model->n_tensors * sizeof *j->want;
    struct xc_encoding *was = xc_malloc(row + 1);
    enum xc_status status = was ? XC_OK : xc_fail_nomem(err, row);

    if (status == XC_OK) {
        memcpy(was, j->want, row);
        status = plan_pass(j, spec, err);
    }
    if (status == XC_OK && !plan_only) status = apply_pass(j, spec, was, err);
    if (status == XC_OK && j->forecast && spec->pass->forecast) {
        const struct xc_work w = work_of(j, spec);

        spec->pass->forecast(&w, was, j->forecast);
    }
    xc_free(was);
    return status;
}

/* A pass with overrides: the nodes of each are a part. */
static enum xc_status run_pass(struct job *j, const struct xc_recipe_pass *pass, bool plan_only, struct xc_err *err)
{
    enum xc_status status = prepare_pass(j, pass, plan_only, err);

    if (status == XC_OK && !plan_only && j->opts->calibrate && pass->pass->apply != xc_pass_nothing) status = xc_model_clone(&j->before, j->model, err);
    for (size_t part = 0; part <= pass->n_overrides && status == XC_OK; part++) {
        struct xc_recipe_pass spec = *pass;

        spec.part = part;
        status = run_part(j, &spec, plan_only, err);
        j->stage++;
    }
    if (status == XC_OK && j->before) status = measure_outputs(j, err);
    if (status == XC_OK && j->forecast && j->texts.n && pass->pass->apply != xc_pass_nothing) forecast_outputs(j);
    xc_model_free(&j->before);
    xc_smoothing_free(&j->smoothing);
    return status == XC_OK ? XC_OK : xc_recipe_fail_at(pass, NULL, status, err);
}

static enum xc_status run_passes(struct job *j, bool plan_only, struct xc_err *err)
{
    XC_TRY(follow(j, NULL, err));
    for (size_t p = 0; p < j->recipe->n; p++) {
        xc_side_settle(j->side);
        j->last = p == j->recipe->n - 1;
        XC_TRY(run_pass(j, &j->recipe->passes[p], plan_only, err));
    }
    xc_report_finish(j->result, j->model, j->want);
    return XC_OK;
}

/* ---- all of it ---- */
/* What the same work has in common: sources, recipe, seed, versions: all that the manifest says before there are results. */
static enum xc_status open_side(struct job *j, const struct job *dry, const char *to, struct xc_err *err)
{
    struct xc_compress_result none = { 0 };
    const struct xc_manifest_facts facts = { .sources = j->sources, .calibration = j->calibration, .recipe = j->recipe, .opts = j->opts, .result = &none };
    struct xc_side_layout layout = { 0 };
    struct xc_buf *text = NULL;
    XXH128_hash_t h;
    enum xc_status status;

    XC_TRY(xc_manifest_make(&text, &facts, true, err));
    h = XXH3_128bits(text->data, text->size);
    layout.key[0] = h.low64;
    layout.key[1] = h.high64;
    if (!j->opts->small) {
        layout.model = dry->model;
        layout.want = dry->want;
        layout.at = xc_calloc((size_t)dry->model->n_tensors + 1, sizeof *layout.at);
        status = layout.at ? xc_report_layout(layout.at, &layout.end, dry->model, dry->want, !j->opts->no_golden, err) : xc_fail_nomem(err, sizeof *layout.at);
    } else {
        status = XC_OK;
    }
    if (status == XC_OK) status = xc_side_open(&j->side, to, &layout, !j->opts->no_resume, j->max_memory / 4, err);
    xc_free(layout.at);
    xc_buf_unref(&text);
    return status;
}

/* The plan comes first, on another copy: what is wrong with a recipe is said before hours of work, and where in the file each tensor will be is known. */
static enum xc_status dry_run(struct job *j, const char *to, struct xc_err *err)
{
    struct xc_compress_result result = { 0 };
    struct job dry = *j;
    enum xc_status status;

    dry.model = NULL;
    dry.result = &result;
    dry.check = true;
    XC_TRY(xc_model_clone(&dry.model, j->model, err));
    status = run_passes(&dry, true, err);
    if (status == XC_OK && to && !j->opts->ranks) status = open_side(j, &dry, to, err); /* ranks would not agree about what is done */
    xc_model_free(&dry.model);
    xc_model_free(&dry.before);
    xc_compress_result_release(&result);
    xc_free(dry.want);
    return status;
}

static enum xc_status work(struct job *j, struct xc_err *err)
{
    XC_TRY(run_passes(j, false, err));
    const bool large = xc_memory_is_short(j->model, j->opts->max_memory);

    for (int32_t t = 0; t < j->model->n_tensors && !large; t++) XC_TRY(xc_tensor_load(j->model->tensors[t], err));
    if (j->golden) {
        j->model->golden = j->golden;
        j->golden = NULL;
        return XC_OK;
    }
    return j->opts->no_golden ? XC_OK : xc_golden_make(&j->model->golden, j->model, large, j->opts->pool, err);
}

static enum xc_status manifest(const struct job *j, struct xc_model *m, const struct xc_compress_result *result, bool planned, struct xc_err *err)
{
    const struct xc_manifest_facts facts = { .sources = j->sources, .calibration = j->calibration, .recipe = j->recipe, .opts = j->opts, .result = result };

    xc_buf_unref(&m->manifest);
    return xc_manifest_make(&m->manifest, &facts, planned, err);
}

/* What the file of m will be, without the work: sections of the sizes they will have. It has its manifest. */
static enum xc_status predict(const struct job *j, struct xc_model *m, const struct xc_encoding *want, const double *packed, uint64_t *fast, uint64_t *small, struct xc_err *err)
{
    size_t golden = 0;

    if (!j->opts->no_golden) XC_TRY(xc_golden_size(&golden, m, err));
    if (golden) XC_TRY(xc_buf_new(&m->golden, golden, err));
    XC_TRY(xc_report_file_size(fast, m, want, err));
    return j->opts->small ? xc_predict_small(small, m, j->source, want, packed, *fast, err) : XC_OK;
}

/* For a pass that chooses by the size of the file: struct xc_prepare. */
static enum xc_status size_with(void *arg, uint64_t *bytes, const struct xc_model *m, const struct xc_encoding *want, const double *packed, struct xc_err *err)
{
    const struct job *j = arg;
    struct xc_compress_result r = *j->result;
    struct xc_model *hollow = NULL;
    uint64_t fast = 0, small = 0;
    enum xc_status status;

    *bytes = 0;
    r.layers = NULL;
    r.n_layers = 0;
    status = xc_model_clone(&hollow, m, err);
    if (status == XC_OK) status = xc_report_init(&r, m, j->source, err);
    if (status == XC_OK) xc_report_finish(&r, m, want);
    if (status == XC_OK) status = xc_report_dropped(&r, m, j->source, j->from, err);
    if (status == XC_OK) status = manifest(j, hollow, &r, true, err);
    if (status == XC_OK) status = predict(j, hollow, want, packed, &fast, &small, err);
    if (status == XC_OK) *bytes = j->opts->small && packed ? small : fast;
    xc_report_release_layers(&r);
    xc_model_free(&hollow);
    return status;
}

/* ---- before ---- */
static enum xc_status prepare(struct job *j, const char *from, struct xc_err *err)
{
    const struct xc_compress_opts *o = j->opts;
    int32_t n_dropped;
    size_t bytes;

    j->from = from;
    j->recipe = o->recipe;
    if (!j->recipe) {
        XC_TRY(xc_recipe_from_opts(&j->own_recipe, o, err));
        j->recipe = j->own_recipe;
    }
    if (o->calibrate) XC_TRY(xc_texts_read(&j->texts, o->calibrate, o->calibrate_rows, err));
    j->result->calibration_texts = j->texts.n;
    if (o->calibrate) XC_TRY(xc_manifest_files(&j->calibration, o->calibrate, NULL, NULL, err));
    if (from) XC_TRY(xc_manifest_identities(&j->sources, from, &j->result->input_bytes, err));
    XC_TRY(xc_model_clone(&j->model, j->source, err));
    xc_buf_unref(&j->model->golden);
    xc_buf_unref(&j->model->manifest);
    xc_model_drop_unused(j->model, &n_dropped, &bytes);
    return XC_OK;
}

/* ---- forecast ---- */
/* Lengths of the texts, by the model's own tokenizer; of the sample texts when there are none. */
static enum xc_status count_tokens(int64_t *tokens, struct xc_model *m, const char *const *text, const size_t *length, int64_t n, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const struct xc_session_opts lazy = { .pool = opts->pool, .lazy = true };
    struct xc_session *session = NULL;
    struct xc_tokens_view view;
    enum xc_status status;

    *tokens = 0;
    XC_TRY(xc_session_new(&session, m, &lazy, err));
    status = session->info.has_tokenizer ? xc_session_tokenize(session, text, length, n, true, &view, err) : XC_OK;
    if (status == XC_OK && session->info.has_tokenizer) *tokens = view.start[view.n];
    xc_session_free(&session);
    return status;
}

static enum xc_status forecast_begin(struct job *j, struct xc_forecast *f, struct xc_err *err)
{
    size_t length[64];
    int64_t n = 0;

    for (; n < 64 && xc_sample_texts[n]; n++) length[n] = strlen(xc_sample_texts[n]);
    *f = (struct xc_forecast){ .texts = j->texts.n, .max_memory = (double)j->max_memory };
    j->base_memory = xc_peak_rss();
    if (!xc_model_find_graph(j->model, "encode")) return XC_OK;
    if (j->texts.n) return count_tokens(&f->tokens, j->model, (const char *const *)j->texts.text, j->texts.length, j->texts.n, j->opts, err);
    return count_tokens(&f->own_tokens, j->model, xc_sample_texts, length, n, j->opts, err);
}

/* What comes after the passes: golden samples, the file. */
static enum xc_status forecast_end(struct job *j, struct xc_err *err)
{
    struct xc_forecast *f = j->forecast;
    const double encoded = xc_forecast_encoded_bytes(j->model, j->want), spent = xc_seconds() - j->begin, plain = 4 * (xc_forecast_macs(j->model, j->want, false) + f->widened);
    double work, run = 0;

    if (!j->opts->no_golden) {
        const double tokens = xc_golden_tokens(j->model); /* four samples together, through the plan */

        f->toil[XC_TOIL_LAY] += plain / 4;
        f->toil[XC_TOIL_F32] += 0.75 * plain / 4 * tokens; /* fused */
        f->toil[XC_TOIL_TOUCH] += 2 * plain;
        f->toil[XC_TOIL_QUANT] += (xc_forecast_macs(j->model, j->want, true) - f->widened) * tokens;
        run = plain + xc_forecast_lazy_bytes(j->model, (int64_t)tokens);
    }
    if (encoded <= (double)j->max_memory / 2) xc_forecast_holds(f, encoded + run);
    else if (!j->opts->no_golden) xc_forecast_holds(f, xc_forecast_kept_bytes(f, j->model, j->want) + xc_forecast_lazy_bytes(j->model, 512));
    f->toil[XC_TOIL_WRITE] += (double)j->result->output_bytes;
    f->toil[XC_TOIL_READ] += (double)j->result->input_bytes / 4; /* for the digests, by one thread beside the others */
    if (j->opts->small) f->toil[XC_TOIL_PACK] += encoded;
    XC_TRY(xc_forecast_seconds(&work, f, j->source, j->opts->pool, err));
    j->result->predicted_seconds = spent + work;
    j->result->predicted_peak = (uint64_t)fmax(j->base_memory + f->peak, j->result->n_sensitivity ? xc_peak_rss() : 0);
    return XC_OK;
}

static enum xc_status plan(struct job *j, const char *from, struct xc_err *err)
{
    struct xc_forecast f;

    j->begin = xc_seconds();
    XC_TRY(prepare(j, from, err));
    XC_TRY(forecast_begin(j, &f, err));
    j->forecast = &f;
    const double passes = xc_seconds();

    XC_TRY(run_passes(j, true, err));
    if (!j->result->n_sensitivity) j->begin -= xc_seconds() - passes; /* the work begins with a plan */
    XC_TRY(xc_report_dropped(j->result, j->model, j->source, from, err));
    XC_TRY(manifest(j, j->model, j->result, true, err));
    XC_TRY(predict(j, j->model, j->want, NULL, &j->result->output_bytes, &j->result->small_bytes, err));
    return forecast_end(j, err);
}

static enum xc_status run(struct job *j, const char *from, const char *to, bool plan_only, struct xc_err *err)
{
    if (plan_only) return plan(j, from, err);
    if (from && !j->digesting && xc_pool_threads(j->opts->pool) > 1) j->digesting = xc_digesting_begin(from);
    XC_TRY(prepare(j, from, err));
    XC_TRY(dry_run(j, from ? to : NULL, err));
    XC_TRY(work(j, err));
    XC_TRY(xc_report_dropped(j->result, j->model, j->source, from, err));
    json_decref(j->sources);
    j->sources = NULL;
    if (from) XC_TRY(xc_digesting_end(&j->digesting, &j->sources, from, err));
    return manifest(j, j->model, j->result, false, err);
}

/* Work that is worth going on with: it ended for a reason from outside. */
static bool interrupted(enum xc_status status) { return status == XC_E_CANCELLED || status == XC_E_IO || status == XC_E_NOMEM; }

/* to (may be NULL): the file that will be made. *side (may be NULL) is what tensors of the result are mapped from. *digesting (may be NULL, or hold nothing): of `from`. */
static enum xc_status compress_model(struct xc_model **out, struct xc_side **side, struct xc_digesting **digesting, const struct xc_model *model, const char *from, const char *to, bool plan_only,
                                     const struct xc_compress_opts *opts, struct xc_compress_result *result, struct xc_err *err)
{
    const double begin = xc_seconds();
    struct xc_compress_opts effective = *opts;
    struct job j = { .source = model, .opts = &effective, .result = result, .max_memory = opts->max_memory ? opts->max_memory : xc_memory_default() };
    enum xc_status status;

    *out = NULL;
    if (digesting) j.digesting = *digesting, *digesting = NULL;
    if (opts->recipe && opts->recipe->has_seed && !opts->seed) effective.seed = opts->recipe->seed;
    *result = (struct xc_compress_result){ .measured_drop = -1 };
    status = run(&j, from, to, plan_only, err);
    if (status == XC_OK && !plan_only) {
        *out = j.model;
        j.model = NULL;
        if (side) *side = j.side;
        j.side = NULL;
    }
    result->seconds = xc_seconds() - begin;
    if (status != XC_OK) xc_compress_result_release(result);
    xc_side_close(&j.side, interrupted(status));
    xc_digesting_cancel(&j.digesting);
    xc_model_free(&j.model);
    xc_model_free(&j.before);
    xc_recipe_free(&j.own_recipe);
    xc_texts_release(&j.texts);
    xc_ranges_release(&j.ranges);
    xc_sense_free(&j.sense);
    xc_buf_unref(&j.golden);
    json_decref(j.sources);
    json_decref(j.calibration);
    xc_free(j.want);
    return status;
}

enum xc_status xc_compress_model(struct xc_model **out, const struct xc_model *model, const char *from, bool plan_only, const struct xc_compress_opts *opts,
                                 struct xc_compress_result *result, struct xc_err *err)
{
    return compress_model(out, NULL, NULL, model, from, NULL, plan_only, opts, result, err);
}

/* ---- files ---- */
/* A checkpoint directory must not be written into; one file may replace itself, since it is mapped until the new one takes its name. */
static enum xc_status check_output(const char *from, const char *to, struct xc_err *err)
{
    struct stat st;

    return xc_atomic_check(to, !stat(from, &st) && S_ISDIR(st.st_mode) ? from : NULL, err);
}

/* The bytes that a pass of the recipe promises at most; 0 = none does. */
static uint64_t promised_bytes(const struct xc_recipe *recipe)
{
    for (size_t p = 0; recipe && p < recipe->n; p++)
        if (!strcmp(recipe->passes[p].pass->name, "quantize") && xc_recipe_is(&recipe->passes[p], "format", "mixed")) return xc_recipe_size(&recipe->passes[p], "target_bytes");
    return 0;
}

/* Where the side file holds tensors in their places, it is finished and takes the output's name. */
static enum xc_status save(const struct xc_model *made, const char *to, struct xc_side *side, const struct xc_compress_opts *opts, uint64_t *bytes, struct xc_err *err)
{
    static const struct xc_progress none;
    const struct xc_progress *p = opts->progress ? opts->progress : &none;
    struct xc_write_opts write = { .store = opts->small ? XC_STORE_SMALL : XC_STORE_FAST, .pool = opts->pool, .progress = p->update, .progress_arg = p->arg, .cancelled = p->cancelled,
                                   .cancelled_arg = p->arg, .max_bytes = promised_bytes(opts->recipe) };
    uint64_t (*at)[XC_PART_COUNT] = xc_calloc((size_t)made->n_tensors + 1, sizeof *at), size, end;
    enum xc_status status = at ? xc_container_layout(made, at, &end, &size, err) : xc_fail_nomem(err, (size_t)made->n_tensors * sizeof *at);
    struct xc_write_base base;

    if (status == XC_OK && !opts->small && xc_side_base(side, to, made, at, size, &base)) write.base = &base;
    if (status == XC_OK) status = xc_container_write(made, to, &write, bytes, err);
    if (status == XC_OK && write.base) xc_side_became_output(side);
    xc_free(at);
    return status;
}

enum xc_status xc_compress_file(const char *from, const char *to, const struct xc_compress_opts *opts, struct xc_compress_result *result, struct xc_err *err)
{
    const double begin = xc_seconds();
    double loaded;
    const struct xc_load_opts load = { .head = opts->head, .max_tokens = opts->max_tokens };
    struct xc_model *source = NULL, *made = NULL;
    struct xc_side *side = NULL;
    struct xc_digesting *digesting = NULL;
    enum xc_status status;

    *result = (struct xc_compress_result){ 0 };
    if (to) XC_TRY(check_output(from, to, err));
    if (to && xc_pool_threads(opts->pool) > 1) digesting = xc_digesting_begin(from);
    status = xc_model_load(&source, from, &load, err);
    loaded = xc_seconds();
    if (status == XC_OK) status = compress_model(&made, &side, &digesting, source, from, to, !to, opts, result, err);
    if (status == XC_OK && !to) result->predicted_seconds += loaded - begin;
    if (status == XC_OK && to && xc_ranks_me(opts->ranks) == 0) {
        status = save(made, to, side, opts, &result->output_bytes, err);
        if (status != XC_OK) xc_compress_result_release(result);
    }
    xc_digesting_cancel(&digesting);
    xc_side_close(&side, interrupted(status));
    xc_model_free(&source);
    xc_model_free(&made);
    result->seconds = xc_seconds() - begin;
    return status;
}
