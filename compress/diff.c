/* diff: see diff.h. Things are matched by name, in the order of the first model; what only the second has comes last. */
#include "compress/diff.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/gate/check.h"
#include "compress/manifest.h"
#include "compress/weights.h"
#include "formats/formats.h"
#include "formats/json.h"

struct side {
    struct xc_model *model;
    json_t *manifest;
    struct xc_inventory inventory;
    struct xc_uses uses;
};

struct xc_diff_state {
    struct side a, b;
};

/* ---- matching by name ---- */
struct named {
    const char *name;
    int32_t i;
};

static int by_name(const void *x, const void *y)
{
    const struct named *a = x, *b = y;
    const int c = strcmp(a->name, b->name);

    return c ? c : (a->i > b->i) - (a->i < b->i);
}

static int32_t find(const struct named *sorted, int32_t n, const char *name)
{
    int32_t lo = 0, hi = n;

    while (lo < hi) {
        const int32_t mid = lo + (hi - lo) / 2;

        if (strcmp(sorted[mid].name, name) < 0) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && !strcmp(sorted[lo].name, name) ? sorted[lo].i : -1;
}

/* ---- facts ---- */
static char *copy(const char *s) { return s ? xc_strdup(s) : NULL; }

static enum xc_status add_fact(struct xc_diff *d, const char *what, const char *a, const char *b, struct xc_err *err)
{
    struct xc_diff_fact *f;

    if (a == b || (a && b && !strcmp(a, b))) return XC_OK;
    XC_TRY(xc_grow((void **)&d->facts, &d->cap_facts, (size_t)d->n_facts + 1, sizeof *d->facts, err));
    f = &d->facts[d->n_facts++];
    *f = (struct xc_diff_fact){ .what = copy(what), .a = copy(a), .b = copy(b) };
    return !f->what || (a && !f->a) || (b && !f->b) ? xc_fail_nomem(err, 0) : XC_OK;
}

static enum xc_status compare_meta(struct xc_diff *d, const struct xc_model *a, const struct xc_model *b, struct xc_err *err)
{
    char what[128];

    for (int32_t i = 0; i < a->n_meta; i++) {
        snprintf(what, sizeof what, "meta %s", a->meta[i].key);
        XC_TRY(add_fact(d, what, a->meta[i].value, xc_model_meta(b, a->meta[i].key), err));
    }
    for (int32_t i = 0; i < b->n_meta; i++) {
        if (xc_model_meta(a, b->meta[i].key)) continue;
        snprintf(what, sizeof what, "meta %s", b->meta[i].key);
        XC_TRY(add_fact(d, what, NULL, b->meta[i].value, err));
    }
    for (int32_t i = 0; i < a->n_labels || i < b->n_labels; i++) {
        snprintf(what, sizeof what, "label %d", i);
        XC_TRY(add_fact(d, what, i < a->n_labels ? a->labels[i] : NULL, i < b->n_labels ? b->labels[i] : NULL, err));
    }
    for (int32_t i = 0; i < a->n_states || i < b->n_states; i++) {
        const struct xc_state *x = i < a->n_states ? &a->states[i] : NULL, *y = i < b->n_states ? &b->states[i] : NULL;
        char left[400], right[400];

        snprintf(what, sizeof what, "state %d", i);
        if (x) snprintf(left, sizeof left, "%s [%d] %s", x->name, x->cols, x->append ? "append" : "replace");
        if (y) snprintf(right, sizeof right, "%s [%d] %s", y->name, y->cols, y->append ? "append" : "replace");
        XC_TRY(add_fact(d, what, x ? left : NULL, y ? right : NULL, err));
    }
    return XC_OK;
}

/* Sections that are compared as bytes: what they are, their size, and that it differs. */
static enum xc_status compare_section(struct xc_diff *d, const char *what, const struct xc_buf *a, const struct xc_buf *b, struct xc_err *err)
{
    char left[64], right[64];

    if (!a && !b) return XC_OK;
    if (a && b && a->size == b->size && !memcmp(a->data, b->data, a->size)) return XC_OK;
    if (a) snprintf(left, sizeof left, "%zu bytes", a->size);
    if (b) snprintf(right, sizeof right, "%zu bytes%s", b->size, a && a->size == b->size ? ", others" : "");
    return add_fact(d, what, a ? left : NULL, b ? right : NULL, err);
}

static enum xc_status json_line(char **out, json_t *value, struct xc_err *err)
{
    size_t n;

    *out = NULL;
    if (!value) return XC_OK;
    XC_TRY(xc_json_text(out, &n, value, 0, err));
    (*out)[strcspn(*out, "\n")] = '\0';
    return XC_OK;
}

/* All keys but "layers", which the tensors tell. */
static enum xc_status compare_manifest_key(struct xc_diff *d, const char *key, json_t *a, json_t *b, struct xc_err *err)
{
    char *left = NULL, *right = NULL, what[128];
    enum xc_status status;

    if (!strcmp(key, "layers") || json_equal(a, b)) return XC_OK;
    snprintf(what, sizeof what, "manifest %.100s", key);
    status = json_line(&left, a, err);
    if (status == XC_OK) status = json_line(&right, b, err);
    if (status == XC_OK) status = add_fact(d, what, left, right, err);
    xc_free(left);
    xc_free(right);
    return status;
}

static enum xc_status compare_manifests(struct xc_diff *d, json_t *a, json_t *b, struct xc_err *err)
{
    const char *key;
    json_t *value;

    if (!a || !b) return add_fact(d, "manifest", a ? "present" : NULL, b ? "present" : NULL, err);
    json_object_foreach(a, key, value) XC_TRY(compare_manifest_key(d, key, value, json_object_get(b, key), err));
    json_object_foreach(b, key, value)
        if (!json_object_get(a, key)) XC_TRY(compare_manifest_key(d, key, NULL, value, err));
    return XC_OK;
}

/* ---- graphs ---- */
static enum xc_status node_text(char **out, const struct xc_graph *g, int32_t node, struct xc_err *err)
{
    size_t n = 0;
    char *text = NULL;
    FILE *f;

    *out = NULL;
    if (node < 0) return XC_OK;
    f = open_memstream(&text, &n);
    if (!f) return xc_fail_nomem(err, 0);
    xc_node_print(f, g, &g->nodes[node]);
    if (!(ferror(f) | fclose(f))) *out = xc_strdup(text);
    free(text);
    return *out ? XC_OK : xc_fail_nomem(err, n);
}

static enum xc_status add_node(struct xc_diff *d, const struct xc_graph *a, int32_t i, const struct xc_graph *b, int32_t k, struct xc_err *err)
{
    struct xc_diff_node n = { .graph = a ? a->name : b->name };
    enum xc_status status = a ? node_text(&n.a, a, i, err) : XC_OK;

    if (status == XC_OK && b) status = node_text(&n.b, b, k, err);
    if (status == XC_OK && (!n.a || !n.b || strcmp(n.a, n.b))) {
        status = xc_grow((void **)&d->nodes, &d->cap_nodes, (size_t)d->n_nodes + 1, sizeof *d->nodes, err);
        n.name = xc_strdup(i >= 0 && a ? a->nodes[i].name : b->nodes[k].name);
        if (status == XC_OK && n.name) {
            d->nodes[d->n_nodes++] = n;
            return XC_OK;
        }
        if (status == XC_OK) status = xc_fail_nomem(err, 0);
    }
    xc_free(n.name);
    xc_free(n.a);
    xc_free(n.b);
    return status;
}

static enum xc_status sort_nodes(struct named **out, const struct xc_graph *g, struct xc_err *err)
{
    const int32_t n = g ? g->n_nodes : 0;

    *out = xc_calloc((size_t)n + 1, sizeof **out);
    if (!*out) return xc_fail_nomem(err, (size_t)n * sizeof **out);
    for (int32_t i = 0; i < n; i++) (*out)[i] = (struct named){ g->nodes[i].name, i };
    qsort(*out, (size_t)n, sizeof **out, by_name);
    return XC_OK;
}

/* Either may be NULL. */
static enum xc_status compare_graphs(struct xc_diff *d, const struct xc_graph *a, const struct xc_graph *b, struct xc_err *err)
{
    struct named *in_a = NULL, *in_b = NULL;
    enum xc_status status = sort_nodes(&in_a, a, err);

    if (status == XC_OK) status = sort_nodes(&in_b, b, err);
    for (int32_t i = 0; a && i < a->n_nodes && status == XC_OK; i++) status = add_node(d, a, i, b, b ? find(in_b, b->n_nodes, a->nodes[i].name) : -1, err);
    for (int32_t i = 0; b && i < b->n_nodes && status == XC_OK; i++)
        if (!a || find(in_a, a->n_nodes, b->nodes[i].name) < 0) status = add_node(d, a, -1, b, i, err);
    xc_free(in_a);
    xc_free(in_b);
    return status;
}

static enum xc_status compare_all_graphs(struct xc_diff *d, const struct xc_model *a, const struct xc_model *b, struct xc_err *err)
{
    for (int32_t g = 0; g < a->n_graphs; g++) XC_TRY(compare_graphs(d, a->graphs[g], xc_model_find_graph(b, a->graphs[g]->name), err));
    for (int32_t g = 0; g < b->n_graphs; g++)
        if (!xc_model_find_graph(a, b->graphs[g]->name)) XC_TRY(compare_graphs(d, NULL, b->graphs[g], err));
    return XC_OK;
}

/* ---- tensors ---- */
static bool same_bytes(const struct xc_tensor *a, const struct xc_tensor *b)
{
    if (!a->part[XC_PART_DATA] || !b->part[XC_PART_DATA] || memcmp(&a->enc, &b->enc, sizeof a->enc)) return false;
    for (int p = 0; p < XC_PART_COUNT; p++) {
        const struct xc_buf *x = a->part[p], *y = b->part[p];

        if (!x != !y || (x && (x->size != y->size || memcmp(x->data, y->data, x->size)))) return false;
    }
    return true;
}

static bool is_real(const struct xc_tensor *t) { return t->part[XC_PART_DATA] ? t->enc.format != XC_FMT_I32 : t->source_format != XC_FMT_I32; }

static enum xc_status compare_tensors(struct xc_diff *d, int32_t i, int32_t k, struct xc_err *err)
{
    const struct side *const a = &d->state->a, *const b = &d->state->b;
    struct xc_diff_tensor t = { .a = i < 0 ? NULL : &a->inventory.items[i], .b = k < 0 ? NULL : &b->inventory.items[k], .error = NAN };
    struct xc_weight x = { 0 }, y = { 0 };
    enum xc_status status = XC_OK;

    t.name = (t.a ? t.a : t.b)->tensor->name;
    if (t.a && t.b) {
        d->n_shared++;
        t.reshaped = xc_tensor_rows(t.a->tensor) != xc_tensor_rows(t.b->tensor) || xc_tensor_cols(t.a->tensor) != xc_tensor_cols(t.b->tensor);
        if (!t.reshaped && same_bytes(t.a->tensor, t.b->tensor)) {
            d->n_same++;
            return XC_OK;
        }
    }
    if (t.a && t.b && !t.reshaped && is_real(t.a->tensor) && is_real(t.b->tensor)) {
        status = xc_weight_open(&x, a->model, &a->uses, i, err);
        if (status == XC_OK) status = xc_weight_open(&y, b->model, &b->uses, k, err);
        if (status == XC_OK) status = xc_weight_distance(&t.error, &x, &y, err);
        xc_weight_close(&x);
        xc_weight_close(&y);
        XC_TRY(status);
        if (t.error == 0 && !strcmp(t.a->encoding, t.b->encoding)) { /* read from checkpoints, or one of them */
            d->n_same++;
            return XC_OK;
        }
    }
    XC_TRY(xc_grow((void **)&d->tensors, &d->cap_tensors, (size_t)d->n_tensors + 1, sizeof *d->tensors, err));
    d->tensors[d->n_tensors++] = t;
    return XC_OK;
}

static enum xc_status sort_tensors(struct named **out, const struct xc_model *m, struct xc_err *err)
{
    *out = xc_calloc((size_t)m->n_tensors + 1, sizeof **out);
    if (!*out) return xc_fail_nomem(err, (size_t)m->n_tensors * sizeof **out);
    for (int32_t i = 0; i < m->n_tensors; i++) (*out)[i] = (struct named){ m->tensors[i]->name, i };
    qsort(*out, (size_t)m->n_tensors, sizeof **out, by_name);
    return XC_OK;
}

static enum xc_status compare_all_tensors(struct xc_diff *d, const struct xc_model *a, const struct xc_model *b, struct xc_err *err)
{
    struct named *in_a = NULL, *in_b = NULL;
    enum xc_status status = sort_tensors(&in_a, a, err);

    if (status == XC_OK) status = sort_tensors(&in_b, b, err);
    for (int32_t i = 0; i < a->n_tensors && status == XC_OK; i++) status = compare_tensors(d, i, find(in_b, b->n_tensors, a->tensors[i]->name), err);
    for (int32_t i = 0; i < b->n_tensors && status == XC_OK; i++)
        if (find(in_a, a->n_tensors, b->tensors[i]->name) < 0) status = compare_tensors(d, -1, i, err);
    xc_free(in_a);
    xc_free(in_b);
    return status;
}

/* ---- all ---- */
static enum xc_status open_side(struct side *s, struct xc_diff_side *out, const char *path, struct xc_err *err)
{
    double bytes = 0;
    enum xc_status status;

    XC_TRY(xc_model_load(&s->model, path, NULL, err));
    status = s->model->manifest ? xc_manifest_json(&s->manifest, s->model->manifest, err) : XC_OK;
    if (status == XC_OK && s->manifest && !json_is_object(s->manifest)) status = xc_fail(err, XC_E_FORMAT, "the manifest is no JSON object");
    if (status != XC_OK) return xc_fail_at(err, status, "%s", path);
    XC_TRY(xc_inventory_make(&s->inventory, s->model, s->manifest, err));
    XC_TRY(xc_uses_make(&s->uses, s->model, err));
    XC_TRY(xc_model_file_bytes(&bytes, path, err));
    *out = (struct xc_diff_side){ .path = path, .family = xc_model_meta(s->model, "family"), .task = xc_model_meta(s->model, "task"), .n_tensors = s->inventory.n, .count = s->inventory.count,
                                  .bytes = s->inventory.bytes, .file_bytes = (uint64_t)bytes };
    for (int32_t i = 0; i < s->inventory.n_layers; i++) {
        const char *name = s->inventory.layers[i].name, *last = strrchr(name, '.');

        out->n_layers += last && last[1] >= '0' && last[1] <= '9';
    }
    return XC_OK;
}

static void close_side(struct side *s)
{
    xc_uses_release(&s->uses);
    xc_inventory_release(&s->inventory);
    xc_json_free(&s->manifest);
    if (s->model) xc_model_free(&s->model);
}

enum xc_status xc_diff_make(struct xc_diff *d, const char *a, const char *b, struct xc_err *err)
{
    enum xc_status status = XC_OK;

    *d = (struct xc_diff){ .state = xc_calloc(1, sizeof *d->state) };
    if (!d->state) return xc_fail_nomem(err, sizeof *d->state);
    XC_TRY_GOTO(open_side(&d->state->a, &d->a, a, err), out);
    XC_TRY_GOTO(open_side(&d->state->b, &d->b, b, err), out);
    XC_TRY_GOTO(compare_meta(d, d->state->a.model, d->state->b.model, err), out);
    XC_TRY_GOTO(compare_section(d, "tokenizer", d->state->a.model->tokenizer, d->state->b.model->tokenizer, err), out);
    XC_TRY_GOTO(compare_section(d, "golden samples", d->state->a.model->golden, d->state->b.model->golden, err), out);
    XC_TRY_GOTO(compare_manifests(d, d->state->a.manifest, d->state->b.manifest, err), out);
    XC_TRY_GOTO(compare_all_graphs(d, d->state->a.model, d->state->b.model, err), out);
    XC_TRY_GOTO(compare_all_tensors(d, d->state->a.model, d->state->b.model, err), out);
    d->equal = !d->n_facts && !d->n_nodes && !d->n_tensors;
out:
    if (status != XC_OK) xc_diff_release(d);
    return status;
}

void xc_diff_release(struct xc_diff *d)
{
    for (int32_t i = 0; i < d->n_facts; i++) {
        xc_free(d->facts[i].what);
        xc_free(d->facts[i].a);
        xc_free(d->facts[i].b);
    }
    for (int32_t i = 0; i < d->n_nodes; i++) {
        xc_free(d->nodes[i].name);
        xc_free(d->nodes[i].a);
        xc_free(d->nodes[i].b);
    }
    xc_free(d->facts);
    xc_free(d->nodes);
    xc_free(d->tensors);
    if (d->state) {
        close_side(&d->state->a);
        close_side(&d->state->b);
    }
    xc_free(d->state);
    *d = (struct xc_diff){ 0 };
}
