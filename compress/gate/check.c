/* check: see check.h. */
#include "compress/gate/check.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

#include "compress/gate/measure.h"
#include "compress/tasks/task.h"
#include "formats/formats.h"
#include "runtime/base/clock.h"

#define ATTEMPTS 3
#define PROCESSES 5
#define MEMORY_TOKENS 128 /* peak memory is that of one sequence of so many tokens */

const char *xc_verdict_name(enum xc_verdict verdict)
{
    return verdict == XC_WITHIN ? "within" : verdict == XC_OVER ? "over" : "undecided";
}

enum xc_verdict xc_check_drop(double lo, double hi, double max_drop)
{
    return hi <= max_drop ? XC_WITHIN : lo > max_drop ? XC_OVER : XC_UNDECIDED;
}

void xc_check_report_release(struct xc_check_report *r)
{
    xc_free(r->rows);
    *r = (struct xc_check_report){ 0 };
}

static enum xc_status new_row(struct xc_check_report *r, struct xc_check_row **row, const char *unit, double limit, struct xc_err *err)
{
    XC_TRY(xc_grow((void **)&r->rows, &r->cap_rows, (size_t)r->n_rows + 1, sizeof *r->rows, err));
    *row = &r->rows[r->n_rows++];
    **row = (struct xc_check_row){ .unit = unit, .limit = limit, .value = NAN, .lo = NAN, .hi = NAN };
    return XC_OK;
}

struct check {
    struct xc_check_report *report;
    const char *model;
    const struct xc_budget *budget;
    const struct xc_check_opts *opts;
};

static enum xc_status cancelled(const struct check *c, struct xc_err *err)
{
    const struct xc_progress *p = c->opts->progress;

    return p && p->cancelled && p->cancelled(p->arg) ? xc_fail(err, XC_E_CANCELLED, "stopped") : XC_OK;
}

/* ---- size ---- */
static bool is_weights(const char *name)
{
    const size_t n = strlen(name);

    return n > 12 && !strcmp(name + n - 12, ".safetensors");
}

enum xc_status xc_model_file_bytes(double *out, const char *path, struct xc_err *err)
{
    struct stat st;
    struct dirent *entry;
    DIR *dir;

    *out = 0;
    if (stat(path, &st)) {
        const int e = errno;

        return xc_fail_errno(err, e, "cannot open '%s'", path);
    }
    if (!S_ISDIR(st.st_mode)) {
        *out = (double)st.st_size;
        return XC_OK;
    }
    dir = opendir(path);
    if (!dir) return xc_fail_errno(err, errno, "cannot open '%s'", path);
    while ((entry = readdir(dir)))
        if (is_weights(entry->d_name) && !fstatat(dirfd(dir), entry->d_name, &st, 0)) *out += (double)st.st_size;
    closedir(dir);
    return XC_OK;
}

static enum xc_status bits_per_weight(double *out, const char *path, struct xc_err *err)
{
    double bytes = 0, weights = 0;
    struct xc_model *m = NULL;

    XC_TRY(xc_model_load(&m, path, NULL, err));
    for (int32_t i = 0; i < m->n_tensors; i++) {
        const struct xc_tensor *t = m->tensors[i];

        weights += (double)xc_tensor_count(t);
        bytes += t->part[XC_PART_DATA] ? (double)xc_tensor_bytes(t) : (double)xc_tensor_count(t) * xc_format_traits((enum xc_format)t->source_format)->bits / 8;
    }
    xc_model_free(&m);
    *out = weights > 0 ? 8 * bytes / weights : 0;
    return XC_OK;
}

static enum xc_status check_size(const struct check *c, struct xc_err *err)
{
    struct xc_check_row *row;

    if (!isnan(c->budget->max_bytes)) {
        XC_TRY(new_row(c->report, &row, "bytes", c->budget->max_bytes, err));
        snprintf(row->name, sizeof row->name, "model bytes");
        XC_TRY(xc_model_file_bytes(&row->value, c->model, err));
        row->verdict = row->value <= row->limit ? XC_WITHIN : XC_OVER;
    }
    if (!isnan(c->budget->max_bits_per_weight)) {
        XC_TRY(new_row(c->report, &row, "bits", c->budget->max_bits_per_weight, err));
        snprintf(row->name, sizeof row->name, "model bits per weight");
        XC_TRY(bits_per_weight(&row->value, c->model, err));
        row->verdict = row->value <= row->limit ? XC_WITHIN : XC_OVER;
    }
    return XC_OK;
}

/* ---- accuracy ---- */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

static enum xc_status accuracy_rows(const struct check *c, const struct xc_budget_accuracy *a, const struct xc_eval_result *r, struct xc_err *err)
{
    const struct xc_eval_metric *m = &r->metrics[0];
    struct xc_check_row *row;

    if (!isnan(a->min)) { /* for an error, "min" is a largest */
        const bool lower = m->metric->lower_is_better;

        XC_TRY(new_row(c->report, &row, "fraction", a->min, err));
        snprintf(row->name, sizeof row->name, "accuracy %s %s", a->task, m->metric->name);
        row->value = m->model.value;
        row->lo = m->model.lo;
        row->hi = m->model.hi;
        row->at_least = !lower;
        row->strict = a->strict;
        row->verdict = (lower ? row->value <= row->limit : row->value >= row->limit) ? XC_WITHIN : XC_OVER;
        snprintf(row->note, sizeof row->note, "%lld rows of %.80s", (long long)r->rows, base_name(a->data));
    }
    if (isnan(a->max_drop)) return XC_OK;
    XC_TRY(new_row(c->report, &row, "fraction", a->max_drop, err));
    snprintf(row->name, sizeof row->name, "accuracy %s %s drop", a->task, m->metric->name);
    row->strict = a->strict;
    row->value = m->metric->lower_is_better ? m->difference.value : -m->difference.value;
    row->lo = m->metric->lower_is_better ? m->difference.lo : -m->difference.hi;
    row->hi = m->metric->lower_is_better ? m->difference.hi : -m->difference.lo;
    row->verdict = xc_check_drop(row->lo, row->hi, row->limit);
    if (isnan(row->value)) row->verdict = XC_UNDECIDED;
    snprintf(row->note, sizeof row->note, "from %.4f of %.60s on %lld rows of %.60s", m->reference.value, base_name(a->reference), (long long)r->rows, base_name(a->data));
    return XC_OK;
}

static enum xc_status check_accuracy(const struct check *c, const struct xc_budget_accuracy *a, struct xc_err *err)
{
    const struct xc_task *task = xc_task_find(a->task);
    const struct xc_eval_opts opts = { .data = a->data, .train = a->train, .metric = a->metric, .seed = c->opts->seed, .resamples = c->opts->resamples,
                                       .head_C = 10, .pool = c->opts->pool, .progress = c->opts->progress };
    struct xc_subject model = { 0 }, reference = { 0 };
    struct xc_eval_result result;
    enum xc_status status;

    if (!task) return xc_fail(err, XC_E_NOT_FOUND, "line %d of the budget: unknown task '%s'", a->line, a->task);
    if (task->compare && !isnan(a->max_drop))
        return xc_fail(err, XC_E_ARG, "line %d of the budget: task '%s' compares two models already: use min", a->line, a->task);
    XC_TRY_GOTO(xc_subject_open(&model, c->model, task, c->opts->pool, err), out);
    if (a->reference) XC_TRY_GOTO(xc_subject_open(&reference, a->reference, task, c->opts->pool, err), out);
    XC_TRY_GOTO(xc_evaluate(&result, task, &model, a->reference ? &reference : NULL, &opts, err), out);
    status = accuracy_rows(c, a, &result, err);
out:
    xc_subject_close(&model);
    xc_subject_close(&reference);
    return status;
}

/* ---- latency ---- */
static enum xc_status latency_row(const struct check *c, const struct xc_budget_latency *l, struct xc_session *const *sessions, struct xc_err *err)
{
    const struct xc_latency_opts opts = { .tokens = l->tokens, .batch = l->batch, .progress = c->opts->progress };
    const int n = sessions[1] ? 2 : 1;
    double best_ms = INFINITY, best_ratio = INFINITY;
    struct xc_latency now[2], best = { 0 };
    struct xc_check_row *row;
    bool in_ms = false, in_ratio = false;
    int attempt = 0;

    while (attempt < ATTEMPTS && !in_ms && !in_ratio) {
        XC_TRY(xc_measure_latency(now, sessions, n, &opts, err));
        attempt++;
        if (now[0].median < best_ms) {
            best_ms = now[0].median;
            best = now[0];
        }
        if (n == 2 && now[0].median / now[1].median < best_ratio) best_ratio = now[0].median / now[1].median;
        in_ms = best_ms <= l->max_ms; /* false for NaN */
        in_ratio = n == 2 && best_ratio <= l->max_ratio;
    }
    if (isnan(l->max_ms) || (in_ratio && !in_ms)) {
        XC_TRY(new_row(c->report, &row, "ratio", l->max_ratio, err));
        row->value = best_ratio;
        snprintf(row->note, sizeof row->note, "%.3f ms, baseline %.60s", best_ms, base_name(l->baseline));
    } else {
        XC_TRY(new_row(c->report, &row, "ms", l->max_ms, err));
        row->value = best_ms;
        row->lo = best.lo;
        row->hi = best.hi;
        if (n == 2) snprintf(row->note, sizeof row->note, "%.3f times the baseline %.60s", best_ratio, base_name(l->baseline));
    }
    snprintf(row->name, sizeof row->name, "latency %d tokens, batch %d, %d thread%s", l->tokens, l->batch, l->threads, l->threads == 1 ? "" : "s");
    row->verdict = in_ms || in_ratio ? XC_WITHIN : XC_OVER;
    if (attempt > 1) snprintf(row->note + strlen(row->note), sizeof row->note - strlen(row->note), "%smeasured %d times", *row->note ? "; " : "", attempt);
    return XC_OK;
}

static enum xc_status check_latency(const struct check *c, const struct xc_budget_latency *l, struct xc_err *err)
{
    struct xc_subject model = { 0 }, baseline = { 0 };
    struct xc_session *sessions[2];
    struct xc_pool *pool = NULL;
    enum xc_status status;

    if (l->threads != 1) XC_TRY(xc_pool_new(&pool, l->threads, err));
    XC_TRY_GOTO(xc_subject_open(&model, c->model, NULL, pool, err), out);
    if (l->baseline) XC_TRY_GOTO(xc_subject_open(&baseline, l->baseline, NULL, pool, err), out);
    sessions[0] = model.session;
    sessions[1] = baseline.session;
    status = latency_row(c, l, sessions, err);
out:
    xc_subject_close(&model);
    xc_subject_close(&baseline);
    if (pool) xc_pool_free(&pool);
    return status;
}

/* ---- a fresh process ---- */
static enum xc_status measure_process(const struct check *c, struct xc_process *p, struct xc_err *err)
{
    char program[4096], verb[64], model[4096], tokens[32];
    char *argv[] = { program, verb, model, tokens, NULL };

    if (!c->opts->program) return xc_fail(err, XC_E_UNSUPPORTED, "start and memory need a program to start");
    if (strlen(c->model) >= sizeof model - 2) return xc_fail(err, XC_E_RANGE, "the path of the model is too long");
    snprintf(program, sizeof program, "%s", c->opts->program);
    snprintf(verb, sizeof verb, "%s", c->opts->verb);
    snprintf(model, sizeof model, "%s%s", *c->model == '-' ? "./" : "", c->model);
    snprintf(tokens, sizeof tokens, "--tokens=%d", MEMORY_TOKENS);
    return xc_measure_process(p, argv, err);
}

static enum xc_status check_start(const struct check *c, struct xc_err *err)
{
    double ms[PROCESSES], best = INFINITY;
    struct xc_check_row *row;
    int attempt = 0;

    if (isnan(c->budget->max_start_ms)) return XC_OK;
    for (; attempt < ATTEMPTS && best > c->budget->max_start_ms; attempt++) {
        for (int i = 0; i < PROCESSES; i++) {
            struct xc_process p;

            XC_TRY(cancelled(c, err));
            XC_TRY(measure_process(c, &p, err));
            ms[i] = p.start_ms;
        }
        xc_sort_doubles(ms, PROCESSES);
        best = fmin(best, ms[PROCESSES / 2]);
    }
    XC_TRY(new_row(c->report, &row, "ms", c->budget->max_start_ms, err));
    snprintf(row->name, sizeof row->name, "start to first answer");
    row->value = best;
    row->verdict = best <= row->limit ? XC_WITHIN : XC_OVER;
    if (attempt > 1) snprintf(row->note, sizeof row->note, "measured %d times", attempt);
    return XC_OK;
}

static enum xc_status check_memory(const struct check *c, struct xc_err *err)
{
    struct xc_check_row *row;
    struct xc_process p;

    if (isnan(c->budget->max_rss)) return XC_OK;
    XC_TRY(measure_process(c, &p, err));
    XC_TRY(new_row(c->report, &row, "bytes", c->budget->max_rss, err));
    snprintf(row->name, sizeof row->name, "memory peak rss");
    row->value = p.peak_rss;
    row->verdict = p.peak_rss <= row->limit ? XC_WITHIN : XC_OVER;
    snprintf(row->note, sizeof row->note, "fresh process, one sequence of %d tokens", MEMORY_TOKENS);
    return XC_OK;
}

static enum xc_status check_all(const struct check *c, struct xc_err *err)
{
    XC_TRY(check_size(c, err));
    for (int32_t i = 0; i < c->budget->n_accuracy; i++) XC_TRY(check_accuracy(c, &c->budget->accuracy[i], err));
    for (int32_t i = 0; i < c->budget->n_latency; i++) XC_TRY(check_latency(c, &c->budget->latency[i], err));
    XC_TRY(check_memory(c, err));
    return check_start(c, err);
}

enum xc_status xc_check(struct xc_check_report *out, const char *model, const struct xc_budget *budget, const struct xc_check_opts *opts, struct xc_err *err)
{
    const struct check c = { .report = out, .model = model, .budget = budget, .opts = opts };
    const double from = xc_seconds();
    enum xc_status status;

    *out = (struct xc_check_report){ 0 };
    status = check_all(&c, err);
    if (status != XC_OK) {
        xc_check_report_release(out);
        return status;
    }
    for (int32_t i = 0; i < out->n_rows; i++) {
        const struct xc_check_row *r = &out->rows[i];

        if (r->verdict > out->verdict) out->verdict = r->verdict;
        out->failed |= r->verdict == XC_OVER || (r->verdict == XC_UNDECIDED && r->strict);
    }
    out->seconds = xc_seconds() - from;
    return XC_OK;
}
