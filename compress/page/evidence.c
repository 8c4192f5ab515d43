/* evidence: see evidence.h. */
#include "compress/page/evidence.h"

#include <math.h>
#include <string.h>

#include "formats/json.h"

const char *xc_file_name(const char *path)
{
    const char *slash;

    while ((slash = strchr(path, '/')) != NULL && slash[1]) path = slash + 1;
    return path;
}

static double number_or_nan(const json_t *value) { return json_is_number(value) ? json_number_value(value) : NAN; }

/* A pair [lo, hi], or nothing. */
static void interval(double *lo, double *hi, const json_t *value)
{
    *lo = number_or_nan(json_array_get(value, 0));
    *hi = number_or_nan(json_array_get(value, 1));
}

static struct xc_estimate estimate(const json_t *value)
{
    struct xc_estimate e = { .value = number_or_nan(json_object_get(value, "value")) };

    interval(&e.lo, &e.hi, json_object_get(value, "ci95"));
    return e;
}

static enum xc_status number(double *out, const json_t *obj, const char *key, struct xc_err *err)
{
    return xc_json_number(out, obj, key, 0, 1e300, err);
}

/* ---- eval ---- */
static enum xc_status add_eval(struct xc_evidence *e, const json_t *doc, struct xc_err *err)
{
    json_t *metrics, *reference, *difference, *cosine, *value;
    struct xc_seen_metric seen = { .flips = number_or_nan(json_object_get(doc, "flip_rate")) };
    const char *name;

    XC_TRY(xc_json_str(&seen.task, doc, "task", err));
    XC_TRY(xc_json_str_or(&seen.data, doc, "data", "", err));
    XC_TRY(xc_json_int(&seen.rows, doc, "rows", 0, INT64_MAX, err));
    XC_TRY(xc_json_object(&metrics, doc, "metrics", err));
    XC_TRY(xc_json_object_or(&reference, doc, "reference", err));
    XC_TRY(xc_json_object_or(&difference, doc, "difference", err));
    XC_TRY(xc_json_object_or(&cosine, doc, "cosine", err));
    if (reference) XC_TRY(xc_json_str_or(&seen.against, reference, "model", "", err));
    seen.data = xc_file_name(seen.data);
    if (seen.against) seen.against = xc_file_name(seen.against);
    seen.cosine = number_or_nan(json_object_get(cosine, "mean"));
    json_object_foreach(metrics, name, value) {
        XC_TRY(xc_grow((void **)&e->metrics, &e->cap_metrics, (size_t)e->n_metrics + 1, sizeof *e->metrics, err));
        seen.metric = name;
        seen.model = estimate(value);
        seen.reference = estimate(json_object_get(json_object_get(reference, "metrics"), name));
        seen.difference = estimate(json_object_get(difference, name));
        e->metrics[e->n_metrics++] = seen;
    }
    return XC_OK;
}

/* ---- bench ---- */
static enum xc_status add_length(struct xc_evidence *e, const json_t *doc, struct xc_err *err)
{
    struct xc_seen_latency seen = { 0 };
    json_t *latency, *throughput;

    XC_TRY(xc_json_int(&seen.tokens, doc, "tokens", 1, INT32_MAX, err));
    XC_TRY(xc_json_int(&seen.batch, doc, "batch", 1, INT32_MAX, err));
    XC_TRY(xc_json_int(&seen.threads, doc, "threads", 1, INT32_MAX, err));
    XC_TRY(xc_json_object(&latency, doc, "latency_ms", err));
    XC_TRY(xc_json_object(&throughput, doc, "throughput", err));
    XC_TRY(number(&seen.median, latency, "median", err));
    XC_TRY(number(&seen.p5, latency, "p5", err));
    XC_TRY(number(&seen.p95, latency, "p95", err));
    XC_TRY(xc_json_int(&seen.runs, latency, "runs", 1, INT32_MAX, err));
    XC_TRY(number(&seen.per_second, throughput, "sequences_per_s", err));
    interval(&seen.lo, &seen.hi, json_object_get(latency, "median_ci95"));
    seen.open_ms = number_or_nan(json_object_get(doc, "open_ms"));
    seen.start_ms = number_or_nan(json_object_get(doc, "start_ms"));
    seen.rss_mb = number_or_nan(json_object_get(doc, "peak_rss_mb"));
    XC_TRY(xc_grow((void **)&e->latencies, &e->cap_latencies, (size_t)e->n_latencies + 1, sizeof *e->latencies, err));
    e->latencies[e->n_latencies++] = seen;
    return XC_OK;
}

static enum xc_status add_bench(struct xc_evidence *e, const json_t *doc, struct xc_err *err)
{
    json_t *lengths, *one;
    size_t i;

    XC_TRY(xc_json_array_or(&lengths, doc, "lengths", err));
    if (!lengths) return add_length(e, doc, err);
    json_array_foreach(lengths, i, one) XC_TRY(add_length(e, one, err));
    return XC_OK;
}

/* ---- check ---- */
static enum xc_status verdict(enum xc_verdict *out, const json_t *doc, struct xc_err *err)
{
    const char *name;

    XC_TRY(xc_json_str(&name, doc, "verdict", err));
    for (*out = XC_WITHIN; *out <= XC_OVER; (*out)++)
        if (!strcmp(name, xc_verdict_name(*out))) return XC_OK;
    *out = XC_OVER;
    return xc_fail(err, XC_E_FORMAT, "'verdict' is '%.40s', not within, undecided or over", name);
}

static enum xc_status add_budget(struct xc_evidence *e, const json_t *doc, struct xc_err *err)
{
    struct xc_check_row *row;
    const char *name, *bound, *note;

    XC_TRY(xc_grow((void **)&e->budgets, &e->cap_budgets, (size_t)e->n_budgets + 1, sizeof *e->budgets, err));
    row = &e->budgets[e->n_budgets];
    *row = (struct xc_check_row){ .value = number_or_nan(json_object_get(doc, "value")), .limit = number_or_nan(json_object_get(doc, "limit")) };
    XC_TRY(xc_json_str(&name, doc, "name", err));
    XC_TRY(xc_json_str(&row->unit, doc, "unit", err));
    XC_TRY(xc_json_str(&bound, doc, "bound", err));
    XC_TRY(xc_json_str_or(&note, doc, "note", "", err));
    XC_TRY(xc_json_bool_or(&row->strict, doc, "strict", false, err));
    XC_TRY(verdict(&row->verdict, doc, err));
    interval(&row->lo, &row->hi, json_object_get(doc, "ci95"));
    row->at_least = !strcmp(bound, "min");
    snprintf(row->name, sizeof row->name, "%s", name);
    snprintf(row->note, sizeof row->note, "%s", note);
    e->n_budgets++;
    return XC_OK;
}

static enum xc_status add_check(struct xc_evidence *e, const json_t *doc, struct xc_err *err)
{
    enum xc_verdict worst;
    json_t *budgets, *one;
    bool failed;
    size_t i;

    XC_TRY(verdict(&worst, doc, err));
    XC_TRY(xc_json_bool(&failed, doc, "failed", err));
    XC_TRY(xc_json_array(&budgets, doc, "budgets", err));
    json_array_foreach(budgets, i, one) XC_TRY(add_budget(e, one, err));
    e->checked = true;
    e->failed |= failed;
    if (worst > e->verdict) e->verdict = worst;
    return XC_OK;
}

/* ---- all ---- */
enum xc_status xc_evidence_add(struct xc_evidence *e, enum xc_seen kind, json_t *document, struct xc_err *err)
{
    static enum xc_status (*const add[])(struct xc_evidence *, const json_t *, struct xc_err *) = { add_eval, add_bench, add_check };

    if (!e->documents) e->documents = json_array();
    if (json_array_append_new(e->documents, document)) return xc_fail_nomem(err, 0);
    return add[kind](e, document, err);
}

void xc_evidence_release(struct xc_evidence *e)
{
    for (int32_t i = 0; i < e->n_trainings; i++) xc_curve_release(&e->trainings[i]);
    xc_free(e->trainings);
    xc_free(e->metrics);
    xc_free(e->latencies);
    xc_free(e->budgets);
    xc_json_free(&e->documents);
    *e = (struct xc_evidence){ 0 };
}
