/* budget: see budget.h. The tree of formats/yaml_tree.h is read key by key, so that every error has the line and column of what is wrong. */
#include "compress/gate/budget.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/units.h"
#include "formats/yaml_tree.h"

struct reader {
    struct xc_arena *arena;
    const char *name, *dir;
    struct xc_err *err;
};

static enum xc_status fail_at(const struct reader *r, size_t line, size_t column)
{
    return xc_fail_at(r->err, XC_E_FORMAT, "%s:%zu:%zu", r->name, line, column);
}

/* ---- reading the tree ---- */
/* A number in [lo,hi]; NaN when the key is absent. */
static enum xc_status get_number(const struct reader *r, double *out, const struct xc_yaml *map, const char *key, double lo, double hi)
{
    const struct xc_yaml *n = xc_yaml_member(map, key);

    *out = NAN;
    if (!n) return XC_OK;
    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    if (!n->quoted && xc_parse_number(out, n->text) && *out >= lo && *out <= hi) return XC_OK;
    *out = NAN;
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be a number from %g to %g, not '%s'", key, lo, hi, n->text);
    return fail_at(r, n->line, n->column);
}

static enum xc_status get_int(const struct reader *r, int32_t *out, const struct xc_yaml *map, const char *key, int32_t lo, int32_t hi, int32_t fallback)
{
    double x;

    *out = fallback;
    XC_TRY(get_number(r, &x, map, key, lo, hi));
    if (isnan(x)) return XC_OK;
    if (x == floor(x)) {
        *out = (int32_t)x;
        return XC_OK;
    }
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be a whole number, not %g", key, x);
    return fail_at(r, xc_yaml_member(map, key)->line, xc_yaml_member(map, key)->column);
}

static enum xc_status get_size(const struct reader *r, double *out, const struct xc_yaml *map, const char *key)
{
    const struct xc_yaml *n = xc_yaml_member(map, key);
    uint64_t bytes;

    *out = NAN;
    if (!n) return XC_OK;
    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    if (xc_parse_size(&bytes, n->text)) {
        *out = (double)bytes;
        return XC_OK;
    }
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be a size such as 23.5MB, not '%s'", key, n->text);
    return fail_at(r, n->line, n->column);
}

static enum xc_status get_text(const struct reader *r, const char **out, const struct xc_yaml *map, const char *key)
{
    const struct xc_yaml *n = xc_yaml_member(map, key);

    *out = NULL;
    if (!n) return XC_OK;
    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    if (*n->text) {
        *out = n->text;
        return XC_OK;
    }
    xc_fail(r->err, XC_E_FORMAT, "'%s' is empty", key);
    return fail_at(r, n->line, n->column);
}

static enum xc_status get_path(const struct reader *r, const char **out, const struct xc_yaml *map, const char *key)
{
    XC_TRY(get_text(r, out, map, key));
    if (!*out || **out == '/' || !r->dir) return XC_OK;
    *out = xc_arena_printf(r->arena, "%s/%s", r->dir, *out);
    return *out ? XC_OK : xc_fail_nomem(r->err, 0);
}

static enum xc_status get_bool(const struct reader *r, bool *out, const struct xc_yaml *map, const char *key)
{
    const struct xc_yaml *n = xc_yaml_member(map, key);

    *out = false;
    if (!n) return XC_OK;
    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    if (!n->quoted && (!strcmp(n->text, "true") || !strcmp(n->text, "false"))) {
        *out = n->text[0] == 't';
        return XC_OK;
    }
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be true or false, not '%s'", key, n->text);
    return fail_at(r, n->line, n->column);
}

static enum xc_status missing(const struct reader *r, const struct xc_yaml *n, const char *what)
{
    xc_fail(r->err, XC_E_FORMAT, "%s", what);
    return fail_at(r, n->line, n->column);
}

static enum xc_status read_accuracy(const struct reader *r, struct xc_budget_accuracy *a, const struct xc_yaml *n)
{
    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
    a->line = (int32_t)n->line;
    XC_TRY(get_text(r, &a->task, n, "task"));
    XC_TRY(get_path(r, &a->data, n, "data"));
    XC_TRY(get_path(r, &a->train, n, "train"));
    XC_TRY(get_text(r, &a->metric, n, "metric"));
    XC_TRY(get_path(r, &a->reference, n, "reference"));
    XC_TRY(get_number(r, &a->min, n, "min", -1, 1));
    XC_TRY(get_number(r, &a->max_drop, n, "max_drop", -1, 1));
    XC_TRY(get_bool(r, &a->strict, n, "strict"));
    XC_TRY(xc_yaml_no_unknown(r->name, n, "task, data, train, metric, min, reference, max_drop, strict", r->err));
    if (!a->task) return missing(r, n, "an accuracy budget needs 'task'");
    if (!a->data) return missing(r, n, "an accuracy budget needs 'data'");
    if (isnan(a->min) && isnan(a->max_drop)) return missing(r, n, "an accuracy budget needs 'min', or 'reference' and 'max_drop'");
    if (!isnan(a->max_drop) && !a->reference) return missing(r, n, "'max_drop' needs a 'reference' model");
    return XC_OK;
}

static enum xc_status read_latency(const struct reader *r, struct xc_budget_latency *l, const struct xc_yaml *n)
{
    const struct xc_yaml *other;

    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
    l->line = (int32_t)n->line;
    XC_TRY(get_int(r, &l->tokens, n, "tokens", 1, 1 << 20, 128));
    XC_TRY(get_int(r, &l->threads, n, "threads", 0, 4096, 1));
    XC_TRY(get_int(r, &l->batch, n, "batch", 1, 1 << 20, 1));
    XC_TRY(get_number(r, &l->max_ms, n, "max_ms", 0, 1e9));
    l->max_ratio = NAN;
    other = xc_yaml_member(n, "or");
    if (other) XC_TRY(xc_yaml_want(r->name, other, XC_YAML_MAPPING, r->err));
    if (!other) other = n;
    XC_TRY(get_path(r, &l->baseline, other, "baseline"));
    XC_TRY(get_number(r, &l->max_ratio, other, "max_ratio", 0, 1e6));
    if (other != n) XC_TRY(xc_yaml_no_unknown(r->name, other, "baseline, max_ratio", r->err));
    XC_TRY(xc_yaml_no_unknown(r->name, n, "tokens, threads, batch, max_ms, or, baseline, max_ratio", r->err));
    if (!l->baseline != (bool)isnan(l->max_ratio)) return missing(r, other, "'baseline' and 'max_ratio' belong together");
    if (isnan(l->max_ms) && !l->baseline) return missing(r, n, "a latency budget needs 'max_ms', or 'baseline' and 'max_ratio'");
    return XC_OK;
}

static enum xc_status read_list(const struct reader *r, const struct xc_yaml *list, size_t size, void **items, int32_t *count)
{
    XC_TRY(xc_yaml_want(r->name, list, XC_YAML_SEQUENCE, r->err));
    for (const struct xc_yaml *n = list->first; n; n = n->next) ++*count;
    *items = xc_arena_array(r->arena, (size_t)*count + 1, size);
    return *items ? XC_OK : xc_fail_nomem(r->err, (size_t)*count * size);
}

static enum xc_status read_root(const struct reader *r, struct xc_budget *b, const struct xc_yaml *root)
{
    struct xc_yaml *n;
    void *items;
    int32_t i = 0;

    XC_TRY(xc_yaml_want(r->name, root, XC_YAML_MAPPING, r->err));
    if ((n = xc_yaml_member(root, "model"))) {
        XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
        XC_TRY(get_size(r, &b->max_bytes, n, "max_bytes"));
        XC_TRY(get_number(r, &b->max_bits_per_weight, n, "max_bits_per_weight", 0, 1024));
        XC_TRY(xc_yaml_no_unknown(r->name, n, "max_bytes, max_bits_per_weight", r->err));
    }
    if ((n = xc_yaml_member(root, "accuracy"))) {
        XC_TRY(read_list(r, n, sizeof *b->accuracy, &items, &b->n_accuracy));
        b->accuracy = items;
        for (n = n->first; n; n = n->next) XC_TRY(read_accuracy(r, &b->accuracy[i++], n));
    }
    i = 0;
    if ((n = xc_yaml_member(root, "latency"))) {
        XC_TRY(read_list(r, n, sizeof *b->latency, &items, &b->n_latency));
        b->latency = items;
        for (n = n->first; n; n = n->next) XC_TRY(read_latency(r, &b->latency[i++], n));
    }
    if ((n = xc_yaml_member(root, "memory"))) {
        XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
        XC_TRY(get_size(r, &b->max_rss, n, "max_rss"));
        XC_TRY(xc_yaml_no_unknown(r->name, n, "max_rss", r->err));
    }
    if ((n = xc_yaml_member(root, "start"))) {
        XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
        XC_TRY(get_number(r, &b->max_start_ms, n, "max_ms", 0, 1e9));
        XC_TRY(xc_yaml_no_unknown(r->name, n, "max_ms", r->err));
    }
    XC_TRY(xc_yaml_no_unknown(r->name, root, "model, accuracy, latency, memory, start", r->err));
    if (isnan(b->max_bytes) && isnan(b->max_bits_per_weight) && isnan(b->max_rss) && isnan(b->max_start_ms) && !b->n_accuracy && !b->n_latency)
        return missing(r, root, "a budget without a limit");
    return XC_OK;
}

static void budget_init(struct xc_budget *b)
{
    *b = (struct xc_budget){ .max_bytes = NAN, .max_bits_per_weight = NAN, .max_rss = NAN, .max_start_ms = NAN };
    xc_arena_init(&b->arena);
}

void xc_budget_release(struct xc_budget *b)
{
    xc_arena_release(&b->arena);
    budget_init(b);
}

enum xc_status xc_budget_parse(struct xc_budget *out, const char *text, size_t n, const char *name, const char *dir, struct xc_err *err)
{
    struct reader r = { .arena = &out->arena, .name = name, .dir = dir, .err = err };
    struct xc_yaml *root;
    enum xc_status status;

    budget_init(out);
    status = xc_yaml_parse(&root, &out->arena, text, n, "budget", name, err);
    if (status == XC_OK) status = read_root(&r, out, root);
    if (status != XC_OK) xc_budget_release(out);
    return status;
}

enum xc_status xc_budget_read(struct xc_budget *out, const char *path, struct xc_err *err)
{
    const char *slash = strrchr(path, '/');
    char *text = NULL, *dir = NULL;
    size_t n;
    enum xc_status status;

    budget_init(out);
    XC_TRY(xc_yaml_read_file(&text, &n, path, "budget", err));
    dir = slash ? xc_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    if (slash && !dir) status = xc_fail_nomem(err, strlen(path));
    else status = xc_budget_parse(out, text, n, path, dir, err);
    xc_free(text);
    xc_free(dir);
    return status;
}
