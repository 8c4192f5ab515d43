/* budget: see budget.h. libyaml's events are turned into a tree of at most MAX_NODES nodes, which is then read key by key, so that
 * every error has the line and column of what is wrong. */
#include "compress/budget.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

#include "formats/units.h"

#define MAX_BYTES ((size_t)1 << 20)
#define MAX_NODES 20000
#define MAX_DEPTH 8

/* ---- a tree of what the file says ---- */
enum kind { SCALAR, SEQUENCE, MAPPING };
static const char *const kind_names[] = { "a value", "a list", "a mapping" };

struct node {
    enum kind kind;
    const char *text;        /* SCALAR */
    const char *key;         /* of the mapping this is in; NULL in a list */
    struct node *first, *next; /* children in order */
    size_t line, column;     /* of the key, or of the value in a list; from 1 */
    bool quoted, used;
};

struct reader {
    struct xc_arena *arena;
    const char *name, *dir;
    struct xc_err *err;
    yaml_parser_t yaml;
    int nodes;
};

static enum xc_status fail_at(const struct reader *r, size_t line, size_t column)
{
    return xc_fail_at(r->err, XC_E_FORMAT, "%s:%zu:%zu", r->name, line, column);
}

static enum xc_status next_event(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->yaml, event)) return XC_OK;
    if (r->yaml.error == YAML_MEMORY_ERROR) return xc_fail(r->err, XC_E_NOMEM, "out of memory while reading a budget");
    xc_fail(r->err, XC_E_FORMAT, "not YAML: %s%s%s", r->yaml.problem ? r->yaml.problem : "unknown problem", r->yaml.context ? ", " : "",
            r->yaml.context ? r->yaml.context : "");
    return fail_at(r, r->yaml.problem_mark.line + 1, r->yaml.problem_mark.column + 1);
}

/* Builds the value that `event` begins; takes the event over. */
static enum xc_status build(struct reader *r, struct node **out, yaml_event_t *event, int depth)
{
    const size_t line = event->start_mark.line + 1, column = event->start_mark.column + 1;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    struct node *node = NULL, **tail;
    enum xc_status status = XC_OK;
    bool done = false;

    *out = NULL;
    if (++r->nodes > MAX_NODES || depth > MAX_DEPTH) {
        xc_fail(r->err, XC_E_LIMIT, "a budget of more than %d values, or nested more than %d deep", MAX_NODES, MAX_DEPTH);
        status = fail_at(r, line, column);
        goto out;
    }
    node = xc_arena_alloc(r->arena, sizeof *node);
    if (!node) {
        status = xc_fail_nomem(r->err, sizeof *node);
        goto out;
    }
    node->line = line;
    node->column = column;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        node->kind = SCALAR;
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        node->text = xc_arena_strndup(r->arena, (const char *)event->data.scalar.value, event->data.scalar.length);
        if (!node->text) status = xc_fail_nomem(r->err, event->data.scalar.length);
        else if (strlen(node->text) != event->data.scalar.length) {
            xc_fail(r->err, XC_E_FORMAT, "a NUL inside a value");
            status = fail_at(r, line, column);
        }
        done = true;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        node->kind = SEQUENCE;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        node->kind = MAPPING;
        break;
    default:
        xc_fail(r->err, XC_E_FORMAT, "an alias; budgets are written out in full");
        status = fail_at(r, line, column);
        break;
    }
    if (!status && (anchor || tag)) {
        xc_fail(r->err, XC_E_FORMAT, "anchors and tags have no meaning in a budget");
        status = fail_at(r, line, column);
    }
out:
    yaml_event_delete(event);
    if (status != XC_OK) return status;
    for (tail = &node->first; !done; ) {
        yaml_event_t next;
        struct node *child, *value;

        XC_TRY(next_event(r, &next));
        if (next.type == YAML_SEQUENCE_END_EVENT || next.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&next);
            break;
        }
        XC_TRY(build(r, &child, &next, depth + 1));
        if (node->kind == MAPPING) {
            if (child->kind != SCALAR) {
                xc_fail(r->err, XC_E_FORMAT, "a key must be a word, not %s", kind_names[child->kind]);
                return fail_at(r, child->line, child->column);
            }
            for (const struct node *n = node->first; n; n = n->next)
                if (!strcmp(n->key, child->text)) {
                    xc_fail(r->err, XC_E_FORMAT, "key '%s' is given twice", child->text);
                    return fail_at(r, child->line, child->column);
                }
            XC_TRY(next_event(r, &next));
            XC_TRY(build(r, &value, &next, depth + 1));
            value->key = child->text;
            value->line = child->line;
            value->column = child->column;
            child = value;
        }
        *tail = child;
        tail = &child->next;
    }
    *out = node;
    return XC_OK;
}

static enum xc_status build_document(struct reader *r, struct node **out)
{
    yaml_event_t event;
    bool end = false;

    *out = NULL;
    while (!end) {
        XC_TRY(next_event(r, &event));
        switch (event.type) {
        case YAML_STREAM_START_EVENT: case YAML_DOCUMENT_START_EVENT: case YAML_DOCUMENT_END_EVENT:
            yaml_event_delete(&event);
            break;
        case YAML_STREAM_END_EVENT:
            yaml_event_delete(&event);
            end = true;
            break;
        default:
            if (*out) {
                xc_fail(r->err, XC_E_FORMAT, "a second document; a budget is one");
                xc_fail_at(r->err, XC_E_FORMAT, "%s:%zu:%zu", r->name, event.start_mark.line + 1, event.start_mark.column + 1);
                yaml_event_delete(&event);
                return XC_E_FORMAT;
            }
            XC_TRY(build(r, out, &event, 0));
        }
    }
    if (*out) return XC_OK;
    xc_fail(r->err, XC_E_FORMAT, "an empty budget");
    return fail_at(r, 1, 1);
}

/* ---- reading the tree ---- */
static enum xc_status want_kind(const struct reader *r, const struct node *n, enum kind kind)
{
    if (n->kind == kind) return XC_OK;
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be %s, not %s", n->key ? n->key : "this", kind_names[kind], kind_names[n->kind]);
    return fail_at(r, n->line, n->column);
}

/* The member `key` of a mapping, marked as known; NULL when it is not there. */
static struct node *member(const struct node *map, const char *key)
{
    for (struct node *n = map->first; n; n = n->next)
        if (!strcmp(n->key, key)) {
            n->used = true;
            return n;
        }
    return NULL;
}

static enum xc_status no_unknown(const struct reader *r, const struct node *map, const char *known)
{
    for (const struct node *n = map->first; n; n = n->next)
        if (!n->used) {
            xc_fail(r->err, XC_E_FORMAT, "unknown key '%s'%s%s; known: %s", n->key, map->key ? " in " : "", map->key ? map->key : "", known);
            return fail_at(r, n->line, n->column);
        }
    return XC_OK;
}

/* A number in [lo,hi]; NaN when the key is absent. */
static enum xc_status get_number(const struct reader *r, double *out, const struct node *map, const char *key, double lo, double hi)
{
    const struct node *n = member(map, key);

    *out = NAN;
    if (!n) return XC_OK;
    XC_TRY(want_kind(r, n, SCALAR));
    if (!n->quoted && xc_parse_number(out, n->text) && *out >= lo && *out <= hi) return XC_OK;
    *out = NAN;
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be a number from %g to %g, not '%s'", key, lo, hi, n->text);
    return fail_at(r, n->line, n->column);
}

static enum xc_status get_int(const struct reader *r, int32_t *out, const struct node *map, const char *key, int32_t lo, int32_t hi, int32_t fallback)
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
    return fail_at(r, member(map, key)->line, member(map, key)->column);
}

static enum xc_status get_size(const struct reader *r, double *out, const struct node *map, const char *key)
{
    const struct node *n = member(map, key);
    uint64_t bytes;

    *out = NAN;
    if (!n) return XC_OK;
    XC_TRY(want_kind(r, n, SCALAR));
    if (xc_parse_size(&bytes, n->text)) {
        *out = (double)bytes;
        return XC_OK;
    }
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be a size such as 23.5MB, not '%s'", key, n->text);
    return fail_at(r, n->line, n->column);
}

static enum xc_status get_text(const struct reader *r, const char **out, const struct node *map, const char *key)
{
    const struct node *n = member(map, key);

    *out = NULL;
    if (!n) return XC_OK;
    XC_TRY(want_kind(r, n, SCALAR));
    if (*n->text) {
        *out = n->text;
        return XC_OK;
    }
    xc_fail(r->err, XC_E_FORMAT, "'%s' is empty", key);
    return fail_at(r, n->line, n->column);
}

static enum xc_status get_path(const struct reader *r, const char **out, const struct node *map, const char *key)
{
    XC_TRY(get_text(r, out, map, key));
    if (!*out || **out == '/' || !r->dir) return XC_OK;
    *out = xc_arena_printf(r->arena, "%s/%s", r->dir, *out);
    return *out ? XC_OK : xc_fail_nomem(r->err, 0);
}

static enum xc_status get_bool(const struct reader *r, bool *out, const struct node *map, const char *key)
{
    const struct node *n = member(map, key);

    *out = false;
    if (!n) return XC_OK;
    XC_TRY(want_kind(r, n, SCALAR));
    if (!n->quoted && (!strcmp(n->text, "true") || !strcmp(n->text, "false"))) {
        *out = n->text[0] == 't';
        return XC_OK;
    }
    xc_fail(r->err, XC_E_FORMAT, "'%s' must be true or false, not '%s'", key, n->text);
    return fail_at(r, n->line, n->column);
}

static enum xc_status missing(const struct reader *r, const struct node *n, const char *what)
{
    xc_fail(r->err, XC_E_FORMAT, "%s", what);
    return fail_at(r, n->line, n->column);
}

static enum xc_status read_accuracy(const struct reader *r, struct xc_budget_accuracy *a, const struct node *n)
{
    XC_TRY(want_kind(r, n, MAPPING));
    a->line = (int32_t)n->line;
    XC_TRY(get_text(r, &a->task, n, "task"));
    XC_TRY(get_path(r, &a->data, n, "data"));
    XC_TRY(get_path(r, &a->train, n, "train"));
    XC_TRY(get_text(r, &a->metric, n, "metric"));
    XC_TRY(get_path(r, &a->reference, n, "reference"));
    XC_TRY(get_number(r, &a->min, n, "min", -1, 1));
    XC_TRY(get_number(r, &a->max_drop, n, "max_drop", -1, 1));
    XC_TRY(get_bool(r, &a->strict, n, "strict"));
    XC_TRY(no_unknown(r, n, "task, data, train, metric, min, reference, max_drop, strict"));
    if (!a->task) return missing(r, n, "an accuracy budget needs 'task'");
    if (!a->data) return missing(r, n, "an accuracy budget needs 'data'");
    if (isnan(a->min) && isnan(a->max_drop)) return missing(r, n, "an accuracy budget needs 'min', or 'reference' and 'max_drop'");
    if (!isnan(a->max_drop) && !a->reference) return missing(r, n, "'max_drop' needs a 'reference' model");
    return XC_OK;
}

static enum xc_status read_latency(const struct reader *r, struct xc_budget_latency *l, const struct node *n)
{
    const struct node *other;

    XC_TRY(want_kind(r, n, MAPPING));
    l->line = (int32_t)n->line;
    XC_TRY(get_int(r, &l->tokens, n, "tokens", 1, 1 << 20, 128));
    XC_TRY(get_int(r, &l->threads, n, "threads", 0, 4096, 1));
    XC_TRY(get_int(r, &l->batch, n, "batch", 1, 1 << 20, 1));
    XC_TRY(get_number(r, &l->max_ms, n, "max_ms", 0, 1e9));
    l->max_ratio = NAN;
    other = member(n, "or");
    if (other) XC_TRY(want_kind(r, other, MAPPING));
    if (!other) other = n;
    XC_TRY(get_path(r, &l->baseline, other, "baseline"));
    XC_TRY(get_number(r, &l->max_ratio, other, "max_ratio", 0, 1e6));
    if (other != n) XC_TRY(no_unknown(r, other, "baseline, max_ratio"));
    XC_TRY(no_unknown(r, n, "tokens, threads, batch, max_ms, or, baseline, max_ratio"));
    if (!l->baseline != (bool)isnan(l->max_ratio)) return missing(r, other, "'baseline' and 'max_ratio' belong together");
    if (isnan(l->max_ms) && !l->baseline) return missing(r, n, "a latency budget needs 'max_ms', or 'baseline' and 'max_ratio'");
    return XC_OK;
}

static enum xc_status read_list(const struct reader *r, const struct node *list, size_t size, void **items, int32_t *count)
{
    XC_TRY(want_kind(r, list, SEQUENCE));
    for (const struct node *n = list->first; n; n = n->next) ++*count;
    *items = xc_arena_array(r->arena, (size_t)*count + 1, size);
    return *items ? XC_OK : xc_fail_nomem(r->err, (size_t)*count * size);
}

static enum xc_status read_root(const struct reader *r, struct xc_budget *b, const struct node *root)
{
    struct node *n;
    void *items;
    int32_t i = 0;

    XC_TRY(want_kind(r, root, MAPPING));
    if ((n = member(root, "model"))) {
        XC_TRY(want_kind(r, n, MAPPING));
        XC_TRY(get_size(r, &b->max_bytes, n, "max_bytes"));
        XC_TRY(get_number(r, &b->max_bits_per_weight, n, "max_bits_per_weight", 0, 1024));
        XC_TRY(no_unknown(r, n, "max_bytes, max_bits_per_weight"));
    }
    if ((n = member(root, "accuracy"))) {
        XC_TRY(read_list(r, n, sizeof *b->accuracy, &items, &b->n_accuracy));
        b->accuracy = items;
        for (n = n->first; n; n = n->next) XC_TRY(read_accuracy(r, &b->accuracy[i++], n));
    }
    i = 0;
    if ((n = member(root, "latency"))) {
        XC_TRY(read_list(r, n, sizeof *b->latency, &items, &b->n_latency));
        b->latency = items;
        for (n = n->first; n; n = n->next) XC_TRY(read_latency(r, &b->latency[i++], n));
    }
    if ((n = member(root, "memory"))) {
        XC_TRY(want_kind(r, n, MAPPING));
        XC_TRY(get_size(r, &b->max_rss, n, "max_rss"));
        XC_TRY(no_unknown(r, n, "max_rss"));
    }
    if ((n = member(root, "start"))) {
        XC_TRY(want_kind(r, n, MAPPING));
        XC_TRY(get_number(r, &b->max_start_ms, n, "max_ms", 0, 1e9));
        XC_TRY(no_unknown(r, n, "max_ms"));
    }
    XC_TRY(no_unknown(r, root, "model, accuracy, latency, memory, start"));
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
    struct node *root;
    enum xc_status status;

    budget_init(out);
    if (!yaml_parser_initialize(&r.yaml)) return xc_fail(err, XC_E_NOMEM, "out of memory while reading a budget");
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, n);
    status = build_document(&r, &root);
    if (status == XC_OK) status = read_root(&r, out, root);
    yaml_parser_delete(&r.yaml);
    if (status != XC_OK) xc_budget_release(out);
    return status;
}

enum xc_status xc_budget_read(struct xc_budget *out, const char *path, struct xc_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *slash = strrchr(path, '/');
    char *text = NULL, *dir = NULL;
    size_t used = 0;
    ssize_t got = 1;
    enum xc_status status;

    budget_init(out);
    if (fd < 0) {
        const int e = errno;

        return xc_fail_errno(err, e, "cannot open the budget '%s'", path);
    }
    text = xc_malloc(MAX_BYTES + 1);
    dir = slash ? xc_strndup(path, slash == path ? 1 : (size_t)(slash - path)) : NULL;
    if (!text || (slash && !dir)) {
        status = xc_fail_nomem(err, MAX_BYTES);
        goto out;
    }
    while (used <= MAX_BYTES && got > 0) {
        got = read(fd, text + used, MAX_BYTES + 1 - used);
        if (got < 0 && errno == EINTR) got = 1;
        else if (got > 0) used += (size_t)got;
    }
    if (got < 0) status = xc_fail_errno(err, errno, "cannot read the budget '%s'", path);
    else if (used > MAX_BYTES) status = xc_fail(err, XC_E_LIMIT, "the budget '%s' is larger than %zu bytes", path, MAX_BYTES);
    else status = xc_budget_parse(out, text, used, path, dir, err);
out:
    close(fd);
    xc_free(text);
    xc_free(dir);
    return status;
}
