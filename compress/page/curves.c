/* curves: the log of a training (finetune or distill --log: a JSON object a line) as evidence. A training that was resumed wrote some updates twice:
 * what comes later counts. Lines are as hostile as any file. */
#include <math.h>
#include <string.h>

#include "compress/page/evidence.h"
#include "formats/json.h"
#include "formats/lines.h"

void xc_curve_release(struct xc_seen_training *t)
{
    xc_free(t->loss.x);
    xc_free(t->loss.y);
    xc_free(t->dev.x);
    xc_free(t->dev.y);
    xc_free(t->name);
    *t = (struct xc_seen_training){ 0 };
}

static enum xc_status add(struct xc_curve *c, double x, double y, struct xc_err *err)
{
    while (c->n && c->x[c->n - 1] >= x) c->n--; /* written before the training was stopped, and again after */
    XC_TRY(xc_grow((void **)&c->x, &c->cap_x, (size_t)c->n + 1, sizeof *c->x, err));
    XC_TRY(xc_grow((void **)&c->y, &c->cap_y, (size_t)c->n + 1, sizeof *c->y, err));
    c->x[c->n] = x;
    c->y[c->n++] = y;
    return XC_OK;
}

/* {"step", "loss", "tokens", ...} of an update, or {"step", "metric", "dev", ...} of a measurement. */
static enum xc_status add_line(struct xc_seen_training *t, const json_t *line, struct xc_err *err)
{
    const char *metric;
    double step, y;

    XC_TRY(xc_json_number(&step, line, "step", 0, 1e15, err));
    if (json_object_get(line, "dev")) {
        XC_TRY(xc_json_str(&metric, line, "metric", err));
        XC_TRY(xc_json_number(&y, line, "dev", -1e300, 1e300, err));
        strncpy(t->metric, metric, sizeof t->metric - 1);
        return add(&t->dev, step, y, err);
    }
    XC_TRY(xc_json_number(&y, line, "loss", -1e300, 1e300, err));
    XC_TRY(xc_json_number_or(&t->tokens, line, "tokens", 0, 1e18, t->tokens, err));
    return add(&t->loss, step, y, err);
}

static enum xc_status read_lines(struct xc_seen_training *t, struct xc_lines *lines, const char *path, struct xc_err *err)
{
    for (;;) {
        const char *line;
        size_t len;
        json_t *doc;
        enum xc_status status;

        XC_TRY(xc_lines_next(lines, &line, &len, err));
        if (!line) return t->loss.n ? XC_OK : xc_fail_at(err, xc_fail(err, XC_E_FORMAT, "no update is in this log"), "%s", path);
        status = xc_json_parse(&doc, line, len, path, NULL, err);
        if (status == XC_OK) {
            status = add_line(t, doc, err);
            xc_json_free(&doc);
        }
        if (status != XC_OK) {
            if (err) err->where[0] = '\0'; /* places are those of the log, not of one line */
            return xc_fail_at(err, status, "%s:%lld: not what '--log' writes", path, (long long)xc_lines_number(lines));
        }
    }
}

enum xc_status xc_evidence_add_log(struct xc_evidence *e, const char *path, struct xc_err *err)
{
    struct xc_seen_training t = { .name = xc_strdup(xc_file_name(path)) };
    struct xc_lines *lines = NULL;
    enum xc_status status = t.name ? xc_lines_open(&lines, path, NULL, err) : xc_fail_nomem(err, strlen(path));

    if (status == XC_OK) status = read_lines(&t, lines, path, err);
    if (status == XC_OK) status = xc_grow((void **)&e->trainings, &e->cap_trainings, (size_t)e->n_trainings + 1, sizeof *e->trainings, err);
    if (lines) xc_lines_close(&lines);
    if (status == XC_OK) e->trainings[e->n_trainings++] = t;
    else xc_curve_release(&t);
    return status;
}

struct xc_curve xc_curve_mean(const struct xc_curve *c, double *x, double *y, int64_t most)
{
    struct xc_curve mean = { .x = x, .y = y, .n = xc_min_i64(most, c->n) };

    for (int64_t i = 0; i < mean.n; i++) {
        const int64_t first = c->n * i / mean.n, last = c->n * (i + 1) / mean.n;

        x[i] = y[i] = 0;
        for (int64_t k = first; k < last; k++) {
            x[i] += c->x[k] / (double)(last - first);
            y[i] += c->y[k] / (double)(last - first);
        }
    }
    return mean;
}
