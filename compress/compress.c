/* compress: the whole job: load, plan, run the passes, measure, write. See include/xcompress/compress.h. */
#include "xcompress/compress.h"

#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "compress/calibrate.h"
#include "compress/manifest.h"
#include "compress/pass.h"
#include "compress/report.h"
#include "formats/formats.h"
#include "runtime/base/atomic_file.h"
#include "runtime/container/container.h"
#include "runtime/session/golden.h"

struct job {
    const struct xc_model *source;   /* the caller's */
    struct xc_model *model;          /* the copy that changes */
    struct xc_model *original;       /* for calibration: the copy with its weights as they were; NULL without texts */
    const struct xc_compress_opts *opts;
    const struct xc_recipe *recipe;
    struct xc_recipe *own_recipe;
    struct xc_compress_result *result;
    struct xc_encoding *want;        /* n_tensors for the start, then for after each pass */
    struct xc_texts texts;
    struct xc_ranges ranges;
    json_t *sources, *calibration;
};

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- plan ---- */
static struct xc_encoding *want_after(const struct job *j, size_t passes) { return j->want + passes * (size_t)j->model->n_tensors; }

static struct xc_work work_of(struct job *j, size_t pass)
{
    return (struct xc_work){ .model = j->model, .spec = &j->recipe->passes[pass], .opts = j->opts, .layers = j->result->layers, .want = want_after(j, pass + 1),
                             .ranges = j->ranges.bins ? &j->ranges : NULL };
}

static enum xc_status plan(struct job *j, struct xc_err *err)
{
    const size_t n = (size_t)j->model->n_tensors, row = n * sizeof *j->want;

    j->want = xc_calloc((j->recipe->n + 1) * n + 1, sizeof *j->want);
    if (!j->want) return xc_fail_nomem(err, (j->recipe->n + 1) * row);
    for (size_t t = 0; t < n; t++) { /* what is not in memory yet comes as f32 */
        const struct xc_tensor *tensor = j->model->tensors[t];

        j->want[t] = tensor->part[XC_PART_DATA] ? tensor->enc : (struct xc_encoding){ .format = XC_FMT_F32 };
    }
    for (size_t p = 0; p < j->recipe->n; p++) {
        struct xc_work w = work_of(j, p);

        memcpy(want_after(j, p + 1), want_after(j, p), row);
        XC_TRY(w.spec->pass->plan(&w, err));
        if (w.spec->pass->needs_ranges && w.spec->pass->needs_ranges(w.spec) && !j->opts->calibrate)
            return xc_fail(err, XC_E_ARG, "static ranges need calibration texts: name a file of them (--calibrate FILE)");
    }
    xc_report_finish(j->result, j->model, want_after(j, j->recipe->n));
    return XC_OK;
}

/* ---- work ---- */
static bool needs_ranges(const struct job *j)
{
    for (size_t p = 0; p < j->recipe->n; p++)
        if (j->recipe->passes[p].pass->needs_ranges && j->recipe->passes[p].pass->needs_ranges(&j->recipe->passes[p])) return true;
    return false;
}

static enum xc_status run_passes(struct job *j, struct xc_err *err)
{
    for (size_t p = 0; p < j->recipe->n; p++) {
        struct xc_work w = work_of(j, p);

        for (int32_t t = 0; t < j->model->n_tensors; t++)
            if (memcmp(&want_after(j, p)[t], &w.want[t], sizeof *w.want)) w.total += (double)xc_tensor_count(j->model->tensors[t]);
        XC_TRY(w.spec->pass->apply(&w, err));
        const enum xc_status status = xc_model_verify(j->model, err);

        if (status != XC_OK) return xc_fail_at(err, status, "after pass '%s'", w.spec->pass->name);
    }
    for (int32_t t = 0; t < j->model->n_tensors; t++) XC_TRY(xc_tensor_load(j->model->tensors[t], err));
    return XC_OK;
}

static enum xc_status measure_outputs(struct job *j, struct xc_err *err)
{
    struct xc_calibration c = { .changed = j->model };
    enum xc_status status;

    c.output_error = xc_calloc((size_t)j->model->n_tensors + 1, sizeof *c.output_error);
    if (!c.output_error) return xc_fail_nomem(err, (size_t)j->model->n_tensors * sizeof *c.output_error);
    status = xc_calibrate(&c, j->original, &j->texts, j->opts, err);
    for (int32_t t = 0; t < j->model->n_tensors && status == XC_OK; t++) j->result->layers[t].output_error = c.output_error[t];
    if (status == XC_OK) j->result->calibration_tokens = c.tokens;
    xc_free(c.output_error);
    return status;
}

static enum xc_status work(struct job *j, struct xc_err *err)
{
    struct xc_calibration c = { .ranges = &j->ranges };

    if (j->original && needs_ranges(j)) XC_TRY(xc_calibrate(&c, j->original, &j->texts, j->opts, err));
    XC_TRY(run_passes(j, err));
    if (j->original) XC_TRY(measure_outputs(j, err));
    return j->opts->no_golden ? XC_OK : xc_golden_make(&j->model->golden, j->model, j->opts->pool, err);
}

/* What the file will be, without the work: sections of the sizes they will have. */
static enum xc_status predict(struct job *j, struct xc_err *err)
{
    size_t golden = 0;

    if (!j->opts->no_golden) XC_TRY(xc_golden_size(&golden, j->model, err));
    if (golden) XC_TRY(xc_buf_new(&j->model->golden, golden, err));
    return xc_report_file_size(&j->result->output_bytes, j->model, want_after(j, j->recipe->n), err);
}

static enum xc_status manifest(struct job *j, bool planned, struct xc_err *err)
{
    const struct xc_manifest_facts facts = { .sources = j->sources, .calibration = j->calibration, .recipe = j->recipe, .opts = j->opts, .result = j->result };

    return xc_manifest_make(&j->model->manifest, &facts, planned, err);
}

/* ---- before ---- */
static enum xc_status prepare(struct job *j, const char *from, bool plan_only, struct xc_err *err)
{
    const struct xc_compress_opts *o = j->opts;
    int32_t n_dropped;
    size_t bytes;

    j->recipe = o->recipe;
    if (!j->recipe) {
        XC_TRY(xc_recipe_from_opts(&j->own_recipe, o, err));
        j->recipe = j->own_recipe;
    }
    if (o->calibrate) XC_TRY(xc_texts_read(&j->texts, o->calibrate, o->calibrate_rows, err));
    j->result->calibration_texts = j->texts.n;
    if (o->calibrate) XC_TRY(xc_manifest_files(&j->calibration, o->calibrate, NULL, err));
    if (from) XC_TRY(xc_manifest_files(&j->sources, from, &j->result->input_bytes, err));
    XC_TRY(xc_model_clone(&j->model, j->source, err));
    xc_buf_unref(&j->model->golden);
    xc_buf_unref(&j->model->manifest);
    xc_model_drop_unused(j->model, &n_dropped, &bytes);
    for (size_t p = 0; p < j->recipe->n; p++) {
        const struct xc_prepare todo = { .model = j->model, .spec = &j->recipe->passes[p], .opts = o, .texts = j->texts.n ? &j->texts : NULL, .plan_only = plan_only };

        if (todo.spec->pass->prepare) XC_TRY(todo.spec->pass->prepare(&todo, err));
    }
    XC_TRY(xc_report_init(j->result, j->model, j->source, err));
    return o->calibrate ? xc_model_clone(&j->original, j->model, err) : XC_OK;
}

static enum xc_status run(struct job *j, const char *from, bool plan_only, struct xc_err *err)
{
    XC_TRY(prepare(j, from, plan_only, err));
    XC_TRY(plan(j, err));
    if (!plan_only) XC_TRY(work(j, err));
    XC_TRY(xc_report_dropped(j->result, j->model, j->source, from, err));
    XC_TRY(manifest(j, plan_only, err));
    return plan_only ? predict(j, err) : XC_OK;
}

enum xc_status xc_compress_model(struct xc_model **out, const struct xc_model *model, const char *from, bool plan_only, const struct xc_compress_opts *opts,
                                 struct xc_compress_result *result, struct xc_err *err)
{
    const double begin = seconds();
    struct job j = { .source = model, .opts = opts, .result = result };
    enum xc_status status;

    *out = NULL;
    *result = (struct xc_compress_result){ 0 };
    status = run(&j, from, plan_only, err);
    if (status == XC_OK && !plan_only) {
        *out = j.model;
        j.model = NULL;
    }
    result->seconds = seconds() - begin;
    if (status != XC_OK) xc_compress_result_release(result);
    xc_model_free(&j.model);
    xc_model_free(&j.original);
    xc_recipe_free(&j.own_recipe);
    xc_texts_release(&j.texts);
    xc_ranges_release(&j.ranges);
    json_decref(j.sources);
    json_decref(j.calibration);
    xc_free(j.want);
    return status;
}

/* ---- files ---- */
/* A checkpoint directory must not be written into; one file may replace itself, since it is mapped until the new one takes its name. */
static enum xc_status check_output(const char *from, const char *to, struct xc_err *err)
{
    struct stat st;

    return xc_atomic_check(to, !stat(from, &st) && S_ISDIR(st.st_mode) ? from : NULL, err);
}

enum xc_status xc_compress_file(const char *from, const char *to, const struct xc_compress_opts *opts, struct xc_compress_result *result, struct xc_err *err)
{
    const double begin = seconds();
    const struct xc_load_opts load = { .head = opts->head, .max_tokens = opts->max_tokens };
    struct xc_model *source = NULL, *made = NULL;
    enum xc_status status;

    *result = (struct xc_compress_result){ 0 };
    if (to) XC_TRY(check_output(from, to, err));
    XC_TRY(xc_model_load(&source, from, &load, err));
    status = xc_compress_model(&made, source, from, !to, opts, result, err);
    if (status == XC_OK && to) {
        status = xc_save(made, to, opts->small, opts->pool, opts->progress, &result->output_bytes, err);
        if (status != XC_OK) xc_compress_result_release(result);
    }
    xc_model_free(&source);
    xc_model_free(&made);
    result->seconds = seconds() - begin;
    return status;
}
