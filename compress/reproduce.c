/* reproduce: makes a file again from its manifest and compares the decoded sections. See include/xcompress/compress.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/manifest.h"
#include "compress/tasks/task.h"
#include "runtime/container/container.h"
#include "xcompress/compress.h"

/* ---- are these the files it was made from? ---- */
static enum xc_status same_files(const json_t *stored, const char *path, const char *what, struct xc_err *err)
{
    json_t *now = NULL;
    const size_t n = json_array_size(stored);
    enum xc_status status;

    XC_TRY(xc_manifest_files(&now, path, NULL, NULL, err));
    status = json_array_size(now) == n ? XC_OK : xc_fail(err, XC_E_MISMATCH, "%s '%s' has %zu files, the model was made from %zu", what, path, json_array_size(now), n);
    for (size_t i = 0; i < n && status == XC_OK; i++) {
        const json_t *a = json_array_get(stored, i), *b = json_array_get(now, i);
        const char *file = json_string_value(json_object_get(b, "file")), *hash = json_string_value(json_object_get(b, "xxh128"));
        const char *was = json_string_value(json_object_get(a, "xxh128"));

        /* a name may change (a copy of the texts); what is inside may not */
        if (!was || !hash || strcmp(was, hash)) status = xc_fail(err, XC_E_MISMATCH, "%s: '%s' is not the file that the model was made from (XXH3 %s, was %s)", what, file, hash, was ? was : "?");
    }
    json_decref(now);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", path);
}

static enum xc_status check_files(const struct xc_manifest *m, const char *from, const struct xc_reproduce_opts *opts, struct xc_err *err)
{
    json_t *train = m->probe ? json_object_get(m->probe, "train") : NULL;

    XC_TRY(same_files(m->sources, from, "source", err));
    if (m->calibration && !opts->calibrate) return xc_fail(err, XC_E_ARG, "the model was made with calibration texts: name their file (--calibrate FILE)");
    if (m->calibration) XC_TRY(same_files(m->calibration, opts->calibrate, "calibration", err));
    if (!m->probe) return XC_OK;
    if (!opts->train) return xc_fail(err, XC_E_ARG, "the model has a head that was fitted on labelled rows: name their file (--train FILE)");
    return same_files(train, opts->train, "training", err);
}

static enum xc_status compress_again(const char *to, const struct xc_manifest *m, const char *from, const struct xc_reproduce_opts *opts, struct xc_err *err)
{
    struct xc_compress_opts o = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;

    o.recipe = m->recipe;
    o.seed = m->seed;
    o.no_golden = !m->golden;
    o.small = m->small;
    o.head = m->head;
    o.max_tokens = (int32_t)m->max_tokens;
    o.calibrate = m->calibration ? opts->calibrate : NULL;
    if (m->calibrate_rows) o.calibrate_rows = (int32_t)m->calibrate_rows;
    o.pool = opts->pool;
    o.progress = opts->progress;
    XC_TRY(xc_compress_file(from, to, &o, &result, err));
    xc_compress_result_release(&result);
    return XC_OK;
}

/* The file at path, without its head, gets the head again: fitted on the same rows. */
static enum xc_status fit_again(const char *path, const struct xc_manifest *m, const struct xc_reproduce_opts *opts, struct xc_err *err)
{
    const struct xc_eval_opts o = { .data = opts->train, .train = opts->train, .resamples = 1, .head_C = json_number_value(json_object_get(m->probe, "C")),
                                    .head_alpha = json_number_value(json_object_get(m->probe, "alpha")), .export_head = path, .pool = opts->pool, .progress = opts->progress };
    const struct xc_task *task = xc_task_find("probe");
    struct xc_subject subject = { 0 };
    struct xc_eval_result result = { 0 };
    enum xc_status status = xc_subject_open(&subject, path, task, opts->pool, err);

    if (status == XC_OK) status = xc_evaluate(&result, task, &subject, NULL, &o, err);
    xc_subject_close(&subject);
    return status;
}

static enum xc_status rebuild(const char *temp, const char *path, const char *from, const struct xc_reproduce_opts *opts, struct xc_err *err)
{
    struct xc_manifest m;
    struct xc_model *model = NULL;
    enum xc_status status;

    XC_TRY(xc_model_open(&model, path, err));
    status = xc_manifest_read(&m, model->manifest, err);
    xc_model_free(&model);
    if (status != XC_OK) return xc_fail_at(err, status, "%s", path);
    status = check_files(&m, from, opts, err);
    if (status == XC_OK) status = compress_again(temp, &m, from, opts, err);
    if (status == XC_OK && m.probe) status = fit_again(temp, &m, opts, err);
    xc_manifest_release(&m);
    return status;
}

/* ---- comparing ---- */
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
    char *name = xc_strdup(section);

    d->bad = !name || xc_grow((void **)&d->items, &d->cap, d->n + 1, sizeof *d->items, NULL) != XC_OK;
    if (d->bad) {
        xc_free(name);
        return 1;
    }
    d->items[d->n].section = name;
    memcpy(d->items[d->n++].hex, hex, 33);
    return 0;
}

static enum xc_status read_digests(struct digests *d, const char *path, struct xc_err *err)
{
    const enum xc_status status = xc_container_digests(path, collect, d, err);

    return d->bad ? xc_fail_nomem(err, 0) : status;
}

static void digests_release(struct digests *d)
{
    for (size_t i = 0; i < d->n; i++) xc_free(d->items[i].section);
    xc_free(d->items);
}

/* Both lists come in the order of their files, which is the same as a rule: look at the same place first. */
static const struct digest *find(const struct digests *d, const char *section, size_t hint)
{
    if (hint < d->n && !strcmp(d->items[hint].section, section)) return &d->items[hint];
    for (size_t i = 0; i < d->n; i++)
        if (!strcmp(d->items[i].section, section)) return &d->items[i];
    return NULL;
}

static int64_t compare(const struct digests *stored, const struct digests *made, const struct xc_reproduce_opts *opts, int64_t *n_same)
{
    int64_t n = 0;

    for (size_t i = 0; i < stored->n; i++) {
        const struct digest *d = find(made, stored->items[i].section, i);

        if (d && !strcmp(d->hex, stored->items[i].hex)) {
            (*n_same)++;
            continue;
        }
        if (opts->differs) opts->differs(opts->arg, stored->items[i].section, d ? d->hex : NULL, stored->items[i].hex);
        n++;
    }
    for (size_t i = 0; i < made->n; i++) {
        if (find(stored, made->items[i].section, i)) continue;
        if (opts->differs) opts->differs(opts->arg, made->items[i].section, made->items[i].hex, NULL);
        n++;
    }
    return n;
}

enum xc_status xc_reproduce(const char *path, const char *from, const struct xc_reproduce_opts *opts, int64_t *n_same, struct xc_err *err)
{
    static const struct xc_reproduce_opts none;
    struct digests stored = { 0 }, made = { 0 };
    const char *dir = getenv("TMPDIR");
    char temp[4096];
    int64_t n = 0;
    enum xc_status status;
    int fd;

    if (!opts) opts = &none;
    *n_same = 0;
    if (!dir || !dir[0]) dir = "/tmp";
    if ((size_t)snprintf(temp, sizeof temp, "%s/xc-reproduce-XXXXXX", dir) >= sizeof temp) return xc_fail(err, XC_E_ARG, "TMPDIR is too long");
    fd = mkstemp(temp);
    if (fd < 0) return xc_fail(err, XC_E_IO, "cannot make a temporary file in '%s'; set TMPDIR", dir);
    close(fd);
    status = rebuild(temp, path, from, opts, err);
    if (status == XC_OK) status = read_digests(&stored, path, err);
    if (status == XC_OK) status = read_digests(&made, temp, err);
    if (status == XC_OK) n = compare(&stored, &made, opts, n_same);
    if (n) {
        status = xc_fail(err, XC_E_MISMATCH, "%lld of %zu sections differ from what '%s' gives now", (long long)n, stored.n, from);
        xc_fail_at(err, status, "%s", path);
    }
    digests_release(&stored);
    digests_release(&made);
    unlink(temp);
    return status;
}
