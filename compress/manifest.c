/* manifest: how a file was made, kept in the file as JSON: sources, options, versions, and each layer's encoding, bytes and error. Nothing
 * that varies from run to run: no time, host, path or thread count. */
#include <stdio.h>
#include <string.h>

#include "compress/pass.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/container/container.h"

static int add_source(void *arg, const char *file, uint64_t size, const char hex[33])
{
    return json_array_append_new(arg, json_pack("{s:s, s:I, s:s}", "file", file, "bytes", (json_int_t)size, "xxh128", hex));
}

static json_t *layer_json(const struct xc_layer_report *l)
{
    json_t *o = json_pack("{s:s, s:s, s:I}", "name", l->name, "encoding", l->encoding, "bytes", (json_int_t)l->bytes);
    bool bad = !o;

    if (l->error > 0) {
        bad |= json_object_set_new(o, "error", xc_json_new_number(l->error)) != 0;
        bad |= json_object_set_new(o, "sparsity", xc_json_new_number(l->sparsity)) != 0;
        bad |= json_object_set_new(o, "clamped", json_integer(l->clamped)) != 0;
    }
    if (l->output_error >= 0) bad |= json_object_set_new(o, "output_error", xc_json_new_number(l->output_error)) != 0;
    if (bad) json_decref(o);
    return bad ? NULL : o;
}

static enum xc_status fill(json_t *root, const char *from, const struct xc_compress_opts *opts, const struct xc_compress_result *result, struct xc_err *err)
{
    json_t *sources = json_array(), *layers = json_array(), *calibration = json_array(), *recipe;
    bool bad = false;

    bad |= json_object_set_new(root, "versions", json_pack("{s:s, s:i, s:i}", "xcompress", xc_version(), "container", XC_CONTAINER_VERSION, "numerics", XC_NUMERICS_VERSION)) != 0;
    recipe = json_pack("{s:s, s:s, s:b, s:I}", "quantize", opts->quantize ? opts->quantize : "none", "store", opts->small ? "small" : "fast", "static", opts->static_ranges, "seed",
                       (json_int_t)opts->seed);
    if (opts->calibrate) bad |= json_object_set_new(recipe, "calibrate_rows", json_integer(opts->calibrate_rows)) != 0;
    bad |= json_object_set_new(root, "recipe", recipe) != 0;
    bad |= json_object_set_new(root, "sources", sources) != 0;
    if (opts->calibrate) bad |= json_object_set_new(root, "calibration", calibration) != 0;
    else json_decref(calibration);
    bad |= json_object_set_new(root, "layers", layers) != 0;
    if (bad) return xc_fail_nomem(err, 0);
    XC_TRY(xc_source_digests(from, add_source, sources, err));
    if (opts->calibrate) XC_TRY(xc_source_digests(opts->calibrate, add_source, calibration, err));
    for (int64_t i = 0; i < result->n_layers; i++) bad |= json_array_append_new(layers, layer_json(&result->layers[i])) != 0;
    return bad ? xc_fail_nomem(err, 0) : XC_OK;
}

enum xc_status xc_manifest_make(struct xc_buf **out, const char *from, const struct xc_compress_opts *opts, const struct xc_compress_result *result, struct xc_err *err)
{
    json_t *root = json_object();
    char *text = NULL;
    size_t len = 0;
    enum xc_status status;

    *out = NULL;
    if (!root) return xc_fail_nomem(err, 0);
    status = fill(root, from, opts, result, err);
    if (status == XC_OK) status = xc_json_text(&text, &len, root, 0, err);
    if (status == XC_OK) status = xc_buf_new(out, len, err);
    if (status == XC_OK) memcpy((*out)->data, text, len);
    xc_free(text);
    xc_json_free(&root);
    return status;
}

static enum xc_status read_recipe(struct xc_manifest_recipe *r, const json_t *root, struct xc_err *err)
{
    json_t *recipe;
    const char *quantize, *store;

    XC_TRY(xc_json_object(&recipe, root, "recipe", err));
    XC_TRY(xc_json_str(&quantize, recipe, "quantize", err));
    XC_TRY(xc_json_str(&store, recipe, "store", err));
    XC_TRY(xc_json_bool(&r->static_ranges, recipe, "static", err));
    XC_TRY(xc_json_int_or(&r->calibrate_rows, recipe, "calibrate_rows", 1, INT32_MAX, 0, err));
    XC_TRY(xc_json_int(&r->seed, recipe, "seed", INT64_MIN, INT64_MAX, err));
    r->calibrated = r->calibrate_rows > 0;
    r->small = !strcmp(store, "small");
    if ((size_t)snprintf(r->quantize, sizeof r->quantize, "%s", strcmp(quantize, "none") ? quantize : "") >= sizeof r->quantize)
        return xc_fail(err, XC_E_FORMAT, "quantize '%s' is not known", quantize);
    return XC_OK;
}

enum xc_status xc_manifest_read(struct xc_manifest_recipe *r, const struct xc_buf *manifest, struct xc_err *err)
{
    json_t *root = NULL;
    enum xc_status status;

    *r = (struct xc_manifest_recipe){ 0 };
    if (!manifest) return xc_fail(err, XC_E_NOT_FOUND, "the model carries no manifest");
    XC_TRY(xc_json_parse(&root, (const char *)manifest->data, manifest->size, "manifest", NULL, err));
    status = read_recipe(r, root, err);
    xc_json_free(&root);
    return status;
}
