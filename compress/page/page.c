/* page: gathers what the page shows. */
#include "compress/page/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/gate/check.h"
#include "compress/manifest.h"
#include "formats/formats.h"
#include "formats/json.h"

/* ---- groups ---- */
#define MAX_GROUPS 256 /* kinds and encodings are few; whatever comes after joins the last */

static const char *kind_of(const struct xc_item *item) { return item->kind; }
static const char *encoding_of(const struct xc_item *item) { return item->encoding; }

static int by_bytes(const void *a, const void *b)
{
    const struct xc_group *x = a, *y = b;

    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return strcmp(x->name, y->name);
}

static enum xc_status group(struct xc_group **out, int32_t *n_out, const struct xc_inventory *inv, const char *(*name_of)(const struct xc_item *), struct xc_err *err)
{
    struct xc_group *groups = xc_calloc(MAX_GROUPS, sizeof *groups);
    int32_t n = 0;

    if (!groups) return xc_fail_nomem(err, MAX_GROUPS * sizeof *groups);
    for (int32_t i = 0; i < inv->n; i++) {
        const char *name = name_of(&inv->items[i]);
        int32_t g = 0;

        while (g < n && strcmp(groups[g].name, name)) g++;
        if (g == MAX_GROUPS) g = MAX_GROUPS - 1;
        if (g == n) groups[n++].name = name;
        groups[g].n++;
        groups[g].count += inv->items[i].count;
        groups[g].bytes += inv->items[i].bytes;
    }
    qsort(groups, (size_t)n, sizeof *groups, by_bytes);
    *out = groups;
    *n_out = n;
    return XC_OK;
}

/* ---- the manifest ---- */
static uint64_t source_bytes(const json_t *manifest)
{
    json_t *one;
    uint64_t total = 0;
    size_t i;

    json_array_foreach(json_object_get(manifest, "sources"), i, one) {
        const json_int_t bytes = json_integer_value(json_object_get(one, "bytes"));

        if (bytes > 0 && total < UINT64_MAX / 2) total += (uint64_t)bytes;
    }
    return total;
}

static double told(const json_t *entry, const char *key)
{
    const json_t *value = json_object_get(entry, key);

    return json_is_number(value) && json_number_value(value) >= 0 && json_number_value(value) < 1e18 ? json_number_value(value) : NAN;
}

struct xc_page_drop xc_page_drop(const struct xc_page *page)
{
    const json_t *drop = json_object_get(page->manifest, "drop");
    const double predicted = told(drop, "predicted"), measured = told(drop, "measured");

    return isfinite(predicted) && isfinite(measured) ? (struct xc_page_drop){ .predicted = predicted, .measured = measured } : (struct xc_page_drop){ .predicted = -1, .measured = -1 };
}

static enum xc_status read_choices(struct xc_page *page, struct xc_err *err)
{
    json_t *layer, *choice;
    size_t i, k, cap = 0;

    json_array_foreach(json_object_get(page->manifest, "sensitivity"), i, layer) {
        const char *name = json_string_value(json_object_get(layer, "name")), *chosen = json_string_value(json_object_get(layer, "chosen"));

        json_array_foreach(json_object_get(layer, "choices"), k, choice) {
            const char *encoding = json_string_value(json_object_get(choice, "encoding"));

            if (!name || !encoding) continue;
            XC_TRY(xc_grow((void **)&page->choices, &cap, (size_t)page->n_choices + 1, sizeof *page->choices, err));
            page->choices[page->n_choices++] = (struct xc_choice){ .layer = name, .encoding = encoding, .bytes = told(choice, "bytes"), .cost = told(choice, "cost"),
                                                                   .chosen = chosen && !strcmp(chosen, encoding) };
        }
    }
    return XC_OK;
}

char *xc_page_pass_text(const json_t *pass)
{
    const char *name = json_string_value(json_object_get(pass, "pass")), *key;
    json_t *value;
    char *text = xc_strdup(name ? name : "?");
    const char *between = ": ";

    if (!text) return NULL;
    for (int part = 0; part < 2; part++) { /* the options, then whatever else the pass says */
        json_object_foreach(part ? (json_t *)(uintptr_t)pass : json_object_get(pass, "options"), key, value) {
            char *said = NULL, *grown;
            size_t n = strlen(text), room;

            if (part && (!strcmp(key, "pass") || !strcmp(key, "options"))) continue;
            if (!json_is_string(value) && xc_json_text(&said, &room, value, 0, NULL) != XC_OK) {
                xc_free(text);
                return NULL;
            }
            if (said) said[strcspn(said, "\n")] = '\0';
            room = n + strlen(between) + strlen(key) + 1 + strlen(said ? said : json_string_value(value)) + 1;
            grown = xc_realloc(text, room);
            if (grown) snprintf(grown + n, room - n, "%s%s %s", between, key, said ? said : json_string_value(value));
            else xc_free(text);
            xc_free(said);
            if (!grown) return NULL;
            text = grown;
            between = ", ";
        }
    }
    return text;
}

/* ---- opening ---- */
enum xc_status xc_page_open(struct xc_page *page, const char *path, struct xc_err *err)
{
    double bytes = 0;
    enum xc_status status;

    *page = (struct xc_page){ .name = xc_file_name(path) };
    status = xc_model_load(&page->model, path, NULL, err);
    if (status == XC_OK && page->model->manifest) {
        status = xc_manifest_json(&page->manifest, page->model->manifest, err);
        if (status != XC_OK) xc_fail_at(err, status, "%s", path);
    }
    if (status == XC_OK) status = xc_inventory_make(&page->inventory, page->model, page->manifest, err);
    if (status == XC_OK) status = read_choices(page, err);
    if (status == XC_OK) status = xc_uses_make(&page->uses, page->model, err);
    if (status == XC_OK) status = group(&page->kinds, &page->n_kinds, &page->inventory, kind_of, err);
    if (status == XC_OK) status = group(&page->encodings, &page->n_encodings, &page->inventory, encoding_of, err);
    if (status == XC_OK) status = xc_model_file_bytes(&bytes, path, err);
    page->file_bytes = (uint64_t)bytes;
    page->source_bytes = source_bytes(page->manifest);
    if (status != XC_OK) xc_page_close(page);
    return status;
}

void xc_page_close(struct xc_page *page)
{
    xc_evidence_release(&page->evidence);
    xc_relatives_release(&page->relatives);
    xc_free(page->weights);
    xc_free(page->choices);
    xc_free(page->kinds);
    xc_free(page->encodings);
    xc_uses_release(&page->uses);
    xc_inventory_release(&page->inventory);
    xc_json_free(&page->manifest);
    if (page->model) xc_model_free(&page->model);
    *page = (struct xc_page){ 0 };
}

/* ---- weights ---- */
/* The tensor that lost the most; else the largest that can be read; -1 = none. */
static int32_t most_changed(const struct xc_inventory *inv)
{
    int32_t best = -1;

    for (int32_t i = 0; i < inv->n; i++) {
        const struct xc_item *item = &inv->items[i], *other = best < 0 ? NULL : &inv->items[best];

        if (item->sparsity < 0) continue; /* not here, or not numbers */
        if (!other || item->error > other->error || (item->error == other->error && item->error < 0 && item->count > other->count)) best = i;
    }
    return best;
}

static enum xc_status add_weights(struct xc_page *page, int32_t tensor, const struct xc_model *original, const char *from, struct xc_err *err)
{
    const struct xc_tensor *t = page->model->tensors[tensor], *other;
    struct xc_weight after = { 0 }, before = { 0 };
    struct xc_uses uses = { 0 };
    enum xc_status status = XC_OK;

    if (original) {
        const int32_t id = xc_model_find_tensor(original, t->name);

        if (id < 0) return xc_fail_at(err, xc_fail(err, XC_E_NOT_FOUND, "no tensor '%s'", t->name), "%s", from);
        other = original->tensors[id];
        if (xc_tensor_rows(other) != xc_tensor_rows(t) || xc_tensor_cols(other) != xc_tensor_cols(t))
            return xc_fail_at(err, xc_fail(err, XC_E_SHAPE, "tensor '%s' is %lld x %lld there and %lld x %lld in '%s'", t->name, (long long)xc_tensor_rows(other), (long long)xc_tensor_cols(other),
                                           (long long)xc_tensor_rows(t), (long long)xc_tensor_cols(t), page->name), "%s", from);
        status = xc_uses_make(&uses, original, err);
        if (status == XC_OK) status = xc_weight_open(&before, original, &uses, id, err);
    }
    if (status == XC_OK) status = xc_weight_open(&after, page->model, &page->uses, tensor, err);
    if (status == XC_OK) status = xc_weights_compare(&page->weights[page->n_weights], &after, original ? &before : NULL, err);
    if (status == XC_OK) page->n_weights++;
    xc_weight_close(&before);
    xc_weight_close(&after);
    xc_uses_release(&uses);
    return status;
}

enum xc_status xc_page_add_weights(struct xc_page *page, const char *const *names, size_t n, const char *from, struct xc_err *err)
{
    const int32_t chosen = n ? -1 : most_changed(&page->inventory);
    struct xc_model *original = NULL;
    enum xc_status status = XC_OK;

    page->asked = n > 0;
    page->weights = xc_calloc(n + 1, sizeof *page->weights);
    if (!page->weights) return xc_fail_nomem(err, n * sizeof *page->weights);
    if (!n && chosen < 0) return XC_OK;
    if (from) {
        const struct xc_load_opts opts = { .all_tensors = true };

        XC_TRY(xc_model_load(&original, from, &opts, err));
    }
    if (!n) status = add_weights(page, chosen, original, from, err);
    for (size_t i = 0; i < n && status == XC_OK; i++) {
        const int32_t id = xc_model_find_tensor(page->model, names[i]);

        if (id < 0) status = xc_fail_at(err, xc_fail(err, XC_E_NOT_FOUND, "no tensor '%s'; 'inspect --json' lists them", names[i]), "%s", page->name);
        else status = add_weights(page, id, original, from, err);
    }
    if (original) xc_model_free(&original);
    return status;
}
