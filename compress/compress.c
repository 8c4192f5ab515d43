/* compress: the whole job: load, plan, apply the passes, measure, write. See include/xcompress/compress.h. */
#include "xcompress/compress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "compress/pass.h"
#include "formats/formats.h"
#include "runtime/base/atomic_file.h"
#include "runtime/container/container.h"
#include "runtime/session/golden.h"

void xc_compress_result_release(struct xc_compress_result *r)
{
    for (int64_t i = 0; i < r->n_layers; i++) xc_free(r->layers[i].name);
    xc_free(r->layers);
    *r = (struct xc_compress_result){ 0 };
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static enum xc_status new_layers(struct xc_compress_result *r, const struct xc_model *m, struct xc_err *err)
{
    r->layers = xc_calloc((size_t)m->n_tensors + 1, sizeof *r->layers);
    if (!r->layers) return xc_fail_nomem(err, (size_t)m->n_tensors * sizeof *r->layers);
    for (int32_t t = 0; t < m->n_tensors; t++) {
        struct xc_layer_report *l = &r->layers[r->n_layers++];

        l->name = xc_strdup(m->tensors[t]->name);
        if (!l->name) return xc_fail_nomem(err, strlen(m->tensors[t]->name));
        l->source_bytes = (uint64_t)xc_tensor_count(m->tensors[t]) * (m->tensors[t]->source && m->tensors[t]->source_format != XC_FMT_F32 ? 2 : 4);
        l->output_error = -1;
        snprintf(l->why, sizeof l->why, "kept");
        r->parameters += (uint64_t)xc_tensor_count(m->tensors[t]);
    }
    return XC_OK;
}

static void finish_layers(struct xc_compress_result *r, const struct xc_model *m)
{
    double bits = 0;

    for (int32_t t = 0; t < m->n_tensors; t++) {
        r->layers[t].bytes = xc_tensor_bytes(m->tensors[t]);
        xc_encoding_text(&m->tensors[t]->enc, r->layers[t].encoding, sizeof r->layers[t].encoding);
        bits += 8.0 * (double)r->layers[t].bytes;
    }
    r->bits_per_weight = r->parameters ? bits / (double)r->parameters : 0;
}

static int add_size(void *arg, const char *file, uint64_t size, const char hex[33])
{
    const size_t n = strlen(file);

    (void)hex;
    if (n < 5 || strcmp(file + n - 5, ".json")) *(uint64_t *)arg += size;
    return 0;
}

/* Ranges of activations for static quantization: one scale a linear. */
static enum xc_status set_ranges(struct xc_model *f32, struct xc_model *m, const struct xc_compress_opts *opts, struct xc_compress_result *r, struct xc_err *err)
{
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    float *ranges;
    enum xc_status status;

    if (!g) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode' to calibrate");
    ranges = xc_calloc((size_t)g->n_nodes + 1, sizeof *ranges);
    if (!ranges) return xc_fail_nomem(err, (size_t)g->n_nodes * sizeof *ranges);
    status = xc_calibrate(f32, NULL, opts, ranges, r, err);
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++)
        if (ranges[n] > 0 && g->nodes[n].in[0].range.mode == XC_RANGE_ROW) g->nodes[n].in[0].range = (struct xc_range){ .mode = XC_RANGE_STATIC, .scale = ranges[n] / 127.0f };
    xc_free(ranges);
    return status;
}

static enum xc_status calibrate(struct xc_model *f32, struct xc_model *m, const struct xc_compress_opts *opts, struct xc_compress_result *r, struct xc_err *err)
{
    if (!opts->calibrate) return XC_OK;
    if (opts->static_ranges && opts->quantize) XC_TRY(set_ranges(f32, m, opts, r, err));
    return opts->quantize ? xc_calibrate(f32, m, opts, NULL, r, err) : XC_OK;
}

static enum xc_status check_opts(const struct xc_compress_opts *opts, struct xc_err *err)
{
    if (opts->quantize && strcmp(opts->quantize, "int8")) return xc_fail(err, XC_E_ARG, "quantize '%s' is not known; int8 is", opts->quantize);
    if (opts->static_ranges && !opts->calibrate) return xc_fail(err, XC_E_ARG, "static ranges need calibration texts (--calibrate FILE)");
    if (opts->calibrate && opts->calibrate_rows < 1) return xc_fail(err, XC_E_ARG, "calibrate_rows must be at least 1");
    return XC_OK;
}

static enum xc_status run(struct xc_model *m, struct xc_model *f32, const char *from, const char *to, const struct xc_compress_opts *opts, struct xc_compress_result *r,
                          struct xc_err *err)
{
    struct xc_work w = { .model = m, .opts = opts, .result = r };
    const struct xc_write_opts write = { .store = opts->small ? XC_STORE_SMALL : XC_STORE_FAST, .pool = opts->pool, .progress = opts->progress, .progress_arg = opts->progress_arg,
                                         .cancelled = opts->cancelled, .cancelled_arg = opts->cancelled_arg };

    XC_TRY(new_layers(r, m, err));
    if (opts->quantize) XC_TRY(xc_pass_quantize.plan(&w, err));
    finish_layers(r, m);
    if (!to) return XC_OK;
    if (opts->quantize) XC_TRY(xc_pass_quantize.apply(&w, err));
    for (int32_t t = 0; t < m->n_tensors; t++) XC_TRY(xc_tensor_load(m->tensors[t], err));
    XC_TRY(xc_model_verify(m, err));
    XC_TRY(calibrate(f32, m, opts, r, err));
    xc_buf_unref(&m->golden);
    xc_buf_unref(&m->manifest);
    if (opts->quantize) XC_TRY(xc_golden_make(&m->golden, m, opts->pool, err));
    XC_TRY(xc_manifest_make(&m->manifest, from, opts, r, err));
    return xc_container_write(m, to, &write, &r->output_bytes, err);
}

enum xc_status xc_compress_file(const char *from, const char *to, const struct xc_compress_opts *opts, struct xc_compress_result *result, struct xc_err *err)
{
    const double begin = seconds();
    struct xc_model *m = NULL, *f32 = NULL;
    enum xc_status status;

    *result = (struct xc_compress_result){ 0 };
    XC_TRY(check_opts(opts, err));
    if (to) XC_TRY(xc_atomic_check(to, from, err));
    status = xc_model_load(&m, from, NULL, err);
    if (status == XC_OK) status = xc_source_digests(from, add_size, &result->input_bytes, err);
    if (status == XC_OK && opts->calibrate) status = xc_model_clone(&f32, m, err);
    if (status == XC_OK) status = run(m, f32, from, to, opts, result, err);
    xc_model_free(&m);
    xc_model_free(&f32);
    result->seconds = seconds() - begin;
    if (status != XC_OK) xc_compress_result_release(result);
    return status;
}

/* ---- reproduce ---- */
struct digest {
    char *section;
    char hex[33];
};

struct digests {
    struct digest *items;
    size_t n, cap;
    bool bad;
};

static int collect(void *arg, const char *section, const char hex[33])
{
    struct digests *d = arg;

    if (xc_grow((void **)&d->items, &d->cap, d->n + 1, sizeof *d->items, NULL) != XC_OK) return d->bad = true;
    d->items[d->n].section = xc_strdup(section);
    if (!d->items[d->n].section) return d->bad = true;
    memcpy(d->items[d->n++].hex, hex, 33);
    return 0;
}

static void digests_release(struct digests *d)
{
    for (size_t i = 0; i < d->n; i++) xc_free(d->items[i].section);
    xc_free(d->items);
}

static int64_t compare(const struct digests *a, const struct digests *b, void (*differs)(void *, const char *), void *arg)
{
    int64_t n = 0;

    for (size_t i = 0; i < a->n || i < b->n; i++) {
        if (i < a->n && i < b->n && !strcmp(a->items[i].section, b->items[i].section) && !strcmp(a->items[i].hex, b->items[i].hex)) continue;
        if (differs) differs(arg, i < a->n ? a->items[i].section : b->items[i].section);
        n++;
    }
    return n;
}

static enum xc_status rebuild(const char *temp, const char *path, const char *from, struct xc_pool *pool, struct xc_err *err)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_manifest_recipe recipe;
    struct xc_model *m = NULL;
    enum xc_status status;

    XC_TRY(xc_model_open(&m, path, err));
    status = xc_manifest_read(&recipe, m->manifest, err);
    xc_model_free(&m);
    if (status != XC_OK) return xc_fail_at(err, status, "%s", path);
    if (recipe.calibrated) return xc_fail(err, XC_E_UNSUPPORTED, "the file was made with calibration texts, which are not at hand; compress again with them and compare");
    opts.quantize = recipe.quantize[0] ? recipe.quantize : NULL;
    opts.small = recipe.small;
    opts.seed = (uint64_t)recipe.seed;
    opts.pool = pool;
    XC_TRY(xc_compress_file(from, temp, &opts, &result, err));
    xc_compress_result_release(&result);
    return XC_OK;
}

enum xc_status xc_reproduce(const char *path, const char *from, struct xc_pool *pool, void (*differs)(void *arg, const char *section), void *arg, struct xc_err *err)
{
    struct digests a = { 0 }, b = { 0 };
    const char *dir = getenv("TMPDIR");
    char temp[4096];
    int64_t n = 0;
    enum xc_status status;
    int fd;

    snprintf(temp, sizeof temp, "%s/xc-reproduce-XXXXXX", dir && dir[0] ? dir : "/tmp");
    fd = mkstemp(temp);
    if (fd < 0) return xc_fail(err, XC_E_IO, "cannot make a temporary file in '%s'; set TMPDIR", dir && dir[0] ? dir : "/tmp");
    close(fd);
    status = rebuild(temp, path, from, pool, err);
    if (status == XC_OK) status = xc_container_digests(path, collect, &a, err);
    if (status == XC_OK) status = xc_container_digests(temp, collect, &b, err);
    if (status == XC_OK && (a.bad || b.bad)) status = xc_fail_nomem(err, 0);
    if (status == XC_OK) n = compare(&a, &b, differs, arg);
    if (n) {
        status = xc_fail(err, XC_E_MISMATCH, "%lld of %zu sections differ from what '%s' gives", (long long)n, a.n, from);
        xc_fail_at(err, status, "%s", path);
    }
    digests_release(&a);
    digests_release(&b);
    unlink(temp);
    return status;
}
