/* inventory: see inventory.h. */
#include "compress/inventory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/pass.h"
#include "compress/weights.h"

static void count_zeros(void *arg, const float *x, int64_t n)
{
    int64_t *const zeros = arg;

    for (int64_t i = 0; i < n; i++) *zeros += x[i] == 0;
}

/* ---- one tensor ---- */
static const char *kind_of(const struct xc_model *m, const struct xc_uses *uses, int32_t t)
{
    const struct xc_use *use = &uses->use[uses->first[t]];
    const struct xc_op *op;

    if (uses->first[t] == uses->first[t + 1]) return "unused";
    op = m->graphs[use->graph]->nodes[use->node].op;
    if (!strcmp(op->name, "linear") && op->in_names && !strcmp(op->in_names[use->input], "bias")) return "bias";
    return op->name;
}

/* A number of the manifest; -1 when it is missing. */
static double told(const json_t *entry, const char *key)
{
    const json_t *value = json_object_get(entry, key);

    return json_is_number(value) && json_number_value(value) >= 0 ? json_number_value(value) : -1;
}

static enum xc_status look_at(struct xc_item *item, const struct xc_tensor *t, const json_t *entry, struct xc_err *err)
{
    const struct xc_format_traits *stored = xc_format_traits((enum xc_format)t->source_format);
    const struct xc_weight held = { .tensor = t };
    int64_t zeros = 0;

    item->tensor = t;
    item->count = (uint64_t)xc_tensor_count(t);
    item->sparsity = -1;
    item->error = told(entry, "error");
    item->output_error = told(entry, "output_error");
    if (!t->part[XC_PART_DATA] && stored) {
        item->bytes = item->count * (uint64_t)stored->bits / 8;
        snprintf(item->encoding, sizeof item->encoding, "%s", stored->name);
        return XC_OK;
    }
    item->bytes = xc_tensor_bytes(t);
    xc_encoding_text(&t->enc, item->encoding, sizeof item->encoding);
    if (!t->part[XC_PART_DATA] || t->enc.format == XC_FMT_I32) return XC_OK;
    XC_TRY(xc_weight_visit(&held, count_zeros, &zeros, err));
    item->sparsity = (double)zeros / (double)item->count;
    return XC_OK;
}

/* ---- layers ---- */
static size_t layer_length(const char *name)
{
    const char *end = strchr(name, '.');

    for (const char *p = end; p; p = strchr(p, '.')) {
        const size_t digits = strspn(++p, "0123456789");

        if (digits && (p[digits] == '.' || !p[digits])) return (size_t)(p + digits - name);
    }
    return end ? (size_t)(end - name) : strlen(name);
}

struct key {
    const char *name;
    size_t n;
    int32_t item;
};

static int by_layer(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    const int c = memcmp(x->name, y->name, x->n < y->n ? x->n : y->n);

    if (c) return c;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return (x->item > y->item) - (x->item < y->item);
}

static int by_first(const void *a, const void *b)
{
    const struct xc_layer *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

static double larger(double a, double b) { return a > b ? a : b; }

static void add_to_layer(struct xc_layer *layer, const struct xc_item *item)
{
    layer->n++;
    layer->count += item->count;
    layer->bytes += item->bytes;
    if (item->sparsity >= 0) {
        layer->zeros += item->sparsity * (double)item->count;
        layer->counted += (double)item->count;
    }
    layer->error = larger(layer->error, item->error);
    layer->output_error = larger(layer->output_error, item->output_error);
}

/* Sorted by name so that equal ones meet, then put back into the model's order. */
static enum xc_status make_layers(struct xc_inventory *inv, struct xc_err *err)
{
    struct key *keys = xc_calloc((size_t)inv->n + 1, sizeof *keys);
    int32_t *of = xc_calloc((size_t)inv->n + 1, sizeof *of); /* by first tensor: the layer's place in the model's order */
    enum xc_status status = XC_OK;

    inv->layers = xc_calloc((size_t)inv->n + 1, sizeof *inv->layers);
    if (!keys || !of || !inv->layers) XC_TRY_GOTO(xc_fail_nomem(err, (size_t)inv->n * sizeof *inv->layers), out);
    for (int32_t i = 0; i < inv->n; i++) {
        const char *name = inv->items[i].tensor->name;

        keys[i] = (struct key){ .name = name, .n = layer_length(name), .item = i };
    }
    qsort(keys, (size_t)inv->n, sizeof *keys, by_layer);
    for (int32_t i = 0; i < inv->n; i++) {
        const bool new = i == 0 || keys[i].n != keys[i - 1].n || memcmp(keys[i].name, keys[i - 1].name, keys[i].n) != 0;
        struct xc_layer *layer;

        if (new) {
            layer = &inv->layers[inv->n_layers++];
            *layer = (struct xc_layer){ .first = keys[i].item, .error = -1, .output_error = -1 };
            layer->name = xc_strndup(keys[i].name, keys[i].n);
            if (!layer->name) XC_TRY_GOTO(xc_fail_nomem(err, keys[i].n), out);
        }
        layer = &inv->layers[inv->n_layers - 1];
        add_to_layer(layer, &inv->items[keys[i].item]);
        inv->items[keys[i].item].layer = layer->first;
    }
    qsort(inv->layers, (size_t)inv->n_layers, sizeof *inv->layers, by_first);
    for (int32_t i = 0; i < inv->n_layers; i++) of[inv->layers[i].first] = i;
    for (int32_t i = 0; i < inv->n; i++) inv->items[i].layer = of[inv->items[i].layer];
out:
    xc_free(keys);
    xc_free(of);
    return status;
}

/* ---- all ---- */
/* The manifest's layers by name; NULL out of memory. */
static json_t *by_name(const json_t *manifest)
{
    const json_t *list = json_object_get(manifest, "layers");
    json_t *map = json_object();

    for (size_t i = 0; map && i < json_array_size(list); i++) {
        json_t *entry = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(entry, "name"));

        if (name && json_object_set(map, name, entry)) {
            json_decref(map);
            return NULL;
        }
    }
    return map;
}

enum xc_status xc_inventory_make(struct xc_inventory *out, const struct xc_model *m, const json_t *manifest, struct xc_err *err)
{
    struct xc_uses uses = { 0 };
    json_t *entries = by_name(manifest);
    enum xc_status status = XC_OK;

    *out = (struct xc_inventory){ .items = xc_calloc((size_t)m->n_tensors + 1, sizeof *out->items) };
    if (!out->items || !entries) status = xc_fail_nomem(err, (size_t)m->n_tensors * sizeof *out->items);
    if (status == XC_OK) status = xc_uses_make(&uses, m, err);
    for (int32_t t = 0; t < m->n_tensors && status == XC_OK; t++) {
        struct xc_item *item = &out->items[out->n++];

        status = look_at(item, m->tensors[t], json_object_get(entries, m->tensors[t]->name), err);
        item->kind = kind_of(m, &uses, t);
        out->count += item->count;
        out->bytes += item->bytes;
    }
    if (status == XC_OK) status = make_layers(out, err);
    xc_uses_release(&uses);
    json_decref(entries);
    if (status != XC_OK) xc_inventory_release(out);
    return status;
}

void xc_inventory_release(struct xc_inventory *inv)
{
    for (int32_t i = 0; i < inv->n_layers; i++) xc_free(inv->layers[i].name);
    xc_free(inv->layers);
    xc_free(inv->items);
    *inv = (struct xc_inventory){ 0 };
}
