/* manifest: see manifest.h. */
#include "compress/manifest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/pass.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/container/container.h"

#define MANIFEST_VERSION 1

/* ---- files ---- */
struct files {
    json_t *list;
    uint64_t total;
};

static int add_file(void *arg, const char *file, uint64_t size, const char hex[33])
{
    struct files *f = arg;

    f->total += size;
    return json_array_append_new(f->list, json_pack("{s:s, s:I, s:s}", "file", file, "bytes", (json_int_t)size, "xxh128", hex));
}

static enum xc_status list_files(json_t **out, const char *path, uint64_t *total, bool read, const bool *stop, struct xc_err *err)
{
    struct files f = { .list = json_array() };
    enum xc_status status = !f.list ? xc_fail_nomem(err, 0) : read ? xc_source_digests(path, add_file, &f, stop, err) : xc_source_identities(path, add_file, &f, err);

    if (status == XC_E_CANCELLED && !(stop && __atomic_load_n(stop, __ATOMIC_RELAXED))) status = xc_fail_nomem(err, 0); /* our callback stops for nothing else */
    if (status != XC_OK) xc_json_free(&f.list);
    *out = f.list;
    if (total) *total = status == XC_OK ? f.total : 0;
    return status;
}

enum xc_status xc_manifest_files(json_t **out, const char *path, uint64_t *total, const bool *stop, struct xc_err *err)
{
    return list_files(out, path, total, true, stop, err);
}

enum xc_status xc_manifest_identities(json_t **out, const char *path, uint64_t *total, struct xc_err *err) { return list_files(out, path, total, false, NULL, err); }

/* ---- making ---- */
/* Four digits: enough to read, and the same text on every machine. */
static json_t *rounded(double x)
{
    char text[32];

    if (!isfinite(x)) return json_null();
    snprintf(text, sizeof text, "%.4g", x);
    return json_real(strtod(text, NULL));
}

static json_t *layer_json(const struct xc_layer_report *l, bool changed, bool planned, bool measured)
{
    const double longest = 1.111e-111; /* more characters than any number that comes */
    json_t *o = json_pack("{s:s, s:s, s:I}", "name", l->name, "encoding", l->encoding, "bytes", (json_int_t)l->bytes);
    bool bad = !o;

    if (changed) {
        bad |= json_object_set_new(o, "error", rounded(planned ? longest : l->error)) != 0;
        bad |= json_object_set_new(o, "sparsity", rounded(planned ? longest : l->sparsity)) != 0;
        bad |= json_object_set_new(o, "clamped", json_integer(planned ? 999999999 : l->clamped)) != 0;
    }
    if (measured) bad |= json_object_set_new(o, "output_error", rounded(planned ? longest : l->output_error)) != 0;
    if (bad) json_decref(o);
    return bad ? NULL : o;
}

static json_t *layers_json(const struct xc_compress_result *r, bool planned)
{
    json_t *list = json_array();

    for (int64_t i = 0; list && i < r->n_layers; i++) {
        const struct xc_layer_report *l = &r->layers[i];
        const bool changed = strcmp(l->encoding, "f32") && strcmp(l->encoding, "dropped"), measured = r->calibration_texts > 0 && !strcmp(l->op, "linear") && changed;

        if (json_array_append_new(list, layer_json(l, changed, planned, measured))) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* A drop is known before the end, but that of the whole. */
json_t *xc_sensitivity_json(const struct xc_compress_result *r, json_t *(*number)(double))
{
    json_t *list = json_array();
    bool bad = !list;

    for (int64_t i = 0; i < r->n_sensitivity && !bad; i++) {
        const struct xc_sensitivity *s = &r->sensitivity[i];
        json_t *choices = json_array();

        for (int32_t k = 0; k < s->n_choices; k++)
            bad |= json_array_append_new(choices, json_pack("{s:s, s:I, s:o}", "encoding", s->choices[k].encoding, "bytes", (json_int_t)s->choices[k].bytes, "cost", number(s->choices[k].cost))) != 0;
        bad |= json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "name", s->name, "chosen", s->choices[s->chosen].encoding, "choices", choices)) != 0;
    }
    if (!bad) return list;
    json_decref(list);
    return NULL;
}

static json_t *drop_json(const struct xc_compress_result *r, bool planned)
{
    const double longest = 1.111e-111;

    return json_pack("{s:o, s:o, s:o}", "attention", rounded(planned ? longest : r->attention_drop), "predicted", rounded(planned ? longest : r->predicted_drop), "measured",
                     rounded(planned ? longest : r->measured_drop));
}

static enum xc_status fill(json_t *root, const struct xc_manifest_facts *f, bool planned, struct xc_err *err)
{
    const struct xc_compress_opts *o = f->opts;
    json_t *recipe = NULL;
    bool bad = false;

    XC_TRY(xc_recipe_to_json(&recipe, f->recipe, err));
    bad |= json_object_set_new(root, "recipe", recipe) != 0;
    bad |= json_object_set_new(root, "manifest", json_integer(MANIFEST_VERSION)) != 0;
    bad |= json_object_set_new(root, "versions", json_pack("{s:s, s:i, s:i}", "xcompress", xc_version(), "container", XC_CONTAINER_VERSION, "numerics", XC_NUMERICS_VERSION)) != 0;
    bad |= json_object_set_new(root, "seed", json_integer((json_int_t)o->seed)) != 0;
    bad |= json_object_set_new(root, "golden", json_boolean(!o->no_golden)) != 0;
    if (o->head) bad |= json_object_set_new(root, "head", json_string(o->head)) != 0;
    if (o->max_tokens) bad |= json_object_set_new(root, "max_tokens", json_integer(o->max_tokens)) != 0;
    if (f->sources) bad |= json_object_set(root, "sources", f->sources) != 0;
    if (f->calibration)
        bad |= json_object_set_new(root, "calibration", json_pack("{s:O, s:i, s:I, s:I}", "files", f->calibration, "rows", o->calibrate_rows, "texts",
                                                                  (json_int_t)f->result->calibration_texts, "tokens", (json_int_t)(planned ? 9999999999 : f->result->calibration_tokens))) != 0;
    if (f->result->n_sensitivity) {
        bad |= json_object_set_new(root, "sensitivity", xc_sensitivity_json(f->result, rounded)) != 0;
        bad |= json_object_set_new(root, "store", json_string(o->small ? "small" : "fast")) != 0; /* target_bytes is of that file */
        bad |= json_object_set_new(root, "drop", drop_json(f->result, planned)) != 0;
    }
    bad |= json_object_set_new(root, "layers", layers_json(f->result, planned)) != 0;
    return bad ? xc_fail_nomem(err, 0) : XC_OK;
}

struct text {
    char *p;
    size_t n, cap;
    bool failed; /* jansson does not stop at every -1 */
};

static int append(const char *bytes, size_t n, void *arg)
{
    struct text *t = arg;

    if (t->failed || xc_grow((void **)&t->p, &t->cap, t->n + n + 1, 1, NULL) != XC_OK) {
        t->failed = true;
        return -1;
    }
    memcpy(t->p + t->n, bytes, n);
    t->n += n;
    return 0;
}

static enum xc_status make_text(struct text *out, const struct xc_manifest_facts *facts, bool planned, struct xc_err *err)
{
    json_t *root = json_object();
    enum xc_status status = root ? fill(root, facts, planned, err) : xc_fail_nomem(err, 0);

    *out = (struct text){ 0 };
    if (status == XC_OK && (json_dump_callback(root, append, out, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(5)) | out->failed)) {
        xc_free(out->p);
        *out = (struct text){ 0 };
        status = xc_fail_nomem(err, 0);
    }
    json_decref(root);
    return status;
}

enum xc_status xc_manifest_make(struct xc_buf **out, const struct xc_manifest_facts *facts, bool planned, struct xc_err *err)
{
    struct text real = { 0 }, room = { 0 };
    enum xc_status status;

    *out = NULL;
    status = make_text(&room, facts, true, err);
    if (status == XC_OK && !planned) status = make_text(&real, facts, false, err);
    if (status == XC_OK) status = xc_buf_new(out, room.n > real.n ? room.n : real.n, err);
    if (status == XC_OK) {
        memset((*out)->data, ' ', (*out)->size);
        if (real.n) memcpy((*out)->data, real.p, real.n);
    }
    xc_free(real.p);
    xc_free(room.p);
    return status;
}

/* ---- reading ---- */
static enum xc_status read_root(struct xc_manifest *m, struct xc_err *err)
{
    const char *store;
    json_t *calibration;
    int64_t version, seed;

    if (json_object_get(m->root, "finetune"))
        return xc_fail(err, XC_E_UNSUPPORTED, "the model was made by finetune, not by compress: to make it again, train with the options under 'finetune'");
    XC_TRY(xc_json_int(&version, m->root, "manifest", 1, INT32_MAX, err));
    if (version > MANIFEST_VERSION) return xc_fail(err, XC_E_VERSION, "the manifest has version %lld, this program knows %d", (long long)version, MANIFEST_VERSION);
    XC_TRY(xc_json_object(&m->versions, m->root, "versions", err));
    XC_TRY(xc_json_array_or(&m->sources, m->root, "sources", err));
    XC_TRY(xc_json_object_or(&calibration, m->root, "calibration", err));
    if (calibration) {
        XC_TRY(xc_json_array(&m->calibration, calibration, "files", err));
        XC_TRY(xc_json_int(&m->calibrate_rows, calibration, "rows", 1, INT32_MAX, err));
    }
    XC_TRY(xc_json_object_or(&m->probe, m->root, "probe", err));
    XC_TRY(xc_json_int(&seed, m->root, "seed", INT64_MIN, INT64_MAX, err));
    m->seed = (uint64_t)seed;
    XC_TRY(xc_json_str_or(&store, m->root, "store", "fast", err));
    m->small = !strcmp(store, "small");
    XC_TRY(xc_json_bool_or(&m->golden, m->root, "golden", true, err));
    XC_TRY(xc_json_str_or(&m->head, m->root, "head", NULL, err));
    XC_TRY(xc_json_int_or(&m->max_tokens, m->root, "max_tokens", 0, INT32_MAX, 0, err));
    return xc_recipe_from_json(&m->recipe, json_object_get(m->root, "recipe"), err);
}

enum xc_status xc_manifest_json(json_t **out, const struct xc_buf *manifest, struct xc_err *err)
{
    *out = NULL;
    if (!manifest) return xc_fail(err, XC_E_NOT_FOUND, "the model carries no manifest");
    return xc_json_parse(out, (const char *)manifest->data, manifest->size, "manifest", NULL, err);
}

enum xc_status xc_manifest_read(struct xc_manifest *out, const struct xc_buf *manifest, struct xc_err *err)
{
    enum xc_status status;

    *out = (struct xc_manifest){ 0 };
    XC_TRY(xc_manifest_json(&out->root, manifest, err));
    status = read_root(out, err);
    if (status != XC_OK) xc_manifest_release(out);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "manifest");
}

void xc_manifest_release(struct xc_manifest *m)
{
    xc_recipe_free(&m->recipe);
    xc_json_free(&m->root);
    *m = (struct xc_manifest){ 0 };
}
