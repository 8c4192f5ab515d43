/* augment: see augment.h. A word is what white space separates. With probability p it is replaced by one of K candidates:
 *
 *   a word of one piece, with a masked language model: the K whole words that it finds likeliest in the word's place
 *   other words, or without such a model: the K whole words nearest in the word table, by cosine (the paper takes GloVe; a word of several pieces
 *   stands at the mean of them)
 *
 * Draws are Philox of the seed, the row, the copy and the word. What was made is kept in a file with the hash of everything it follows from. */
#include "compress/distill/augment.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "compress/distill/candidates.h"
#include "compress/manifest.h"
#include "formats/json.h"
#include "formats/lines.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/rng.h"

#define STREAM (uint64_t)0x61756700 /* "aug": of the generator */

struct buffer {
    char *text;
    size_t n, cap;
};

static enum xc_status put(struct buffer *b, const char *text, size_t n, struct xc_err *err)
{
    XC_TRY(xc_grow((void **)&b->text, &b->cap, b->n + n + 1, 1, err));
    memcpy(b->text + b->n, text, n);
    b->n += n;
    b->text[b->n] = '\0';
    return XC_OK;
}

/* ---- making ---- */
struct make {
    struct xc_candidates *candidates;
    const struct xc_augment_opts *opts;
    uint64_t seed;
    struct xc_data *data;
    int64_t n; /* rows before */
};

/* Of a word of copy `copy` of a row: is it replaced, and by which of `n`? */
static bool chosen(const struct make *m, int64_t row, int64_t copy, int64_t word, uint32_t draw[4])
{
    xc_philox(draw, m->seed, STREAM + ((uint64_t)row << 32), (uint64_t)copy << 32 | (uint64_t)word);
    return (double)draw[0] < m->opts->probability * 4294967296.0;
}

/* One text of one copy. first: number of its first word in the row. */
static enum xc_status rewrite(const struct make *m, struct buffer *out, const struct xc_split *split, int64_t row, int64_t copy, int64_t first, struct xc_err *err)
{
    out->n = 0;
    XC_TRY(put(out, "", 0, err));
    for (int64_t w = 0; w < split->n; w++) {
        const int32_t *list = split->candidate + w * m->opts->candidates;
        const char *text = split->word[w].text;
        size_t len = split->word[w].len;
        int64_t n = 0;
        uint32_t draw[4];

        while (n < m->opts->candidates && list[n] >= 0) n++;
        if (n && chosen(m, row, copy, first + w, draw)) text = xc_candidates_word(m->candidates, list[(uint64_t)draw[1] * (uint64_t)n >> 32], &len);
        if (w) XC_TRY(put(out, " ", 1, err));
        XC_TRY(put(out, text, len, err));
    }
    return XC_OK;
}

/* Which words are replaced in any copy: the model is asked about no others. */
static void mark(const struct make *m, struct xc_split *split, int64_t row, int64_t first)
{
    for (int64_t w = 0; w < split->n; w++) {
        uint32_t draw[4];

        split->word[w].wanted = false;
        for (int64_t c = 0; c < m->opts->count && !split->word[w].wanted; c++) split->word[w].wanted = chosen(m, row, c, first + w, draw);
    }
}

static enum xc_status make_rows(struct make *m, const struct xc_progress *progress, struct xc_err *err)
{
    struct xc_split a = { 0 }, b = { 0 };
    struct buffer text_a = { 0 }, text_b = { 0 };
    enum xc_status status = XC_OK;

    for (int64_t i = 0; i < m->n && status == XC_OK; i++) {
        status = xc_candidates_split(m->candidates, &a, m->data->a[i], m->data->a_len[i], err);
        if (status == XC_OK && m->data->b) status = xc_candidates_split(m->candidates, &b, m->data->b[i], m->data->b_len[i], err);
        mark(m, &a, i, 0);
        mark(m, &b, i, a.n);
        if (status == XC_OK) status = xc_candidates_find(m->candidates, &a, err);
        if (status == XC_OK && m->data->b) status = xc_candidates_find(m->candidates, &b, err);
        for (int64_t c = 0; c < m->opts->count && status == XC_OK; c++) {
            status = rewrite(m, &text_a, &a, i, c, 0, err);
            if (status == XC_OK && m->data->b) status = rewrite(m, &text_b, &b, i, c, a.n, err);
            if (status == XC_OK) status = xc_data_add_like(m->data, i, text_a.text, text_a.n, text_b.text, text_b.n, err);
        }
        if (progress && progress->update && i % 64 == 0) progress->update(progress->arg, "augment", (double)i, (double)m->n);
        if (status == XC_OK && progress && progress->cancelled && progress->cancelled(progress->arg)) status = xc_fail(err, XC_E_CANCELLED, "stopped on request");
    }
    xc_split_release(&a);
    xc_split_release(&b);
    xc_free(text_a.text);
    xc_free(text_b.text);
    return status;
}

/* ---- the file ---- */
static enum xc_status fingerprint(char out[64], const struct xc_data *d, const struct xc_teacher *teacher, const struct xc_distill_opts *o, struct xc_err *err)
{
    const struct xc_augment_opts *a = &o->augment;
    json_t *files = NULL, *root;
    char *text = NULL;
    size_t len;
    uint64_t h;
    enum xc_status status;

    XC_TRY(xc_manifest_files(&files, a->model ? a->model : teacher->path, NULL, NULL, err));
    root = json_pack("{s:o, s:I, s:I, s:o, s:I, s:b}", "files", files, "count", (json_int_t)a->count, "candidates", (json_int_t)a->candidates, "probability", xc_json_new_number(a->probability), "seed",
                     (json_int_t)o->train.seed, "masked", a->model != NULL);
    status = root ? xc_json_text(&text, &len, root, 0, err) : xc_fail_nomem(err, 0);
    json_decref(root);
    XC_TRY(status);
    h = XXH3_64bits(text, len);
    xc_free(text);
    for (int64_t i = 0; i < d->n; i++) {
        h = XXH3_64bits_withSeed(d->a[i], d->a_len[i], h + d->a_len[i]);
        if (d->b) h = XXH3_64bits_withSeed(d->b[i], d->b_len[i], h + d->b_len[i]);
    }
    snprintf(out, 64, "xcompress augment 1 %016" PRIx64, h);
    return XC_OK;
}

static enum xc_status write_file(const char *path, const char *head, const struct xc_data *d, int64_t first, struct xc_err *err)
{
    struct xc_atomic_file *f;
    enum xc_status status;

    XC_TRY(xc_atomic_open(&f, path, err));
    status = xc_atomic_write(f, head, strlen(head), err);
    for (int64_t i = first; i < d->n && status == XC_OK; i++) {
        status = xc_atomic_write(f, "\n", 1, err);
        if (status == XC_OK) status = xc_atomic_write(f, d->a[i], d->a_len[i], err);
        if (status == XC_OK && d->b) status = xc_atomic_write(f, "\t", 1, err);
        if (status == XC_OK && d->b) status = xc_atomic_write(f, d->b[i], d->b_len[i], err);
    }
    if (status == XC_OK) status = xc_atomic_write(f, "\n", 1, err);
    if (status == XC_OK) return xc_atomic_commit(&f, err);
    xc_atomic_discard(&f);
    return status;
}

/* *found: the file is there, is of this data, and its rows are in d. */
static enum xc_status read_file(bool *found, const char *path, const char *head, struct xc_data *d, int64_t count, struct xc_err *err)
{
    const int64_t n = d->n;
    struct xc_lines *lines;
    const char *line;
    size_t len;
    enum xc_status status;

    *found = false;
    if (access(path, F_OK) && errno == ENOENT) return XC_OK;
    XC_TRY(xc_lines_open(&lines, path, NULL, err));
    status = xc_lines_next(lines, &line, &len, err);
    if (status == XC_OK && (!line || len != strlen(head) || memcmp(line, head, len) != 0)) {
        xc_lines_close(&lines);
        return XC_OK; /* of other data: it is replaced */
    }
    *found = status == XC_OK;
    for (int64_t i = 0; i < n * count && status == XC_OK; i++) {
        const char *tab;

        status = xc_lines_next(lines, &line, &len, err);
        if (status != XC_OK) break;
        tab = line && d->b ? memchr(line, '\t', len) : NULL;
        if (!line || (d->b && !tab)) {
            xc_fail(err, XC_E_FORMAT, "the file of augmented texts ends early or is damaged: remove it");
            status = xc_fail_at(err, XC_E_FORMAT, "%s:%lld", path, (long long)i + 2);
            break;
        }
        status = xc_data_add_like(d, i / count, line, tab ? (size_t)(tab - line) : len, tab ? tab + 1 : NULL, tab ? len - (size_t)(tab + 1 - line) : 0, err);
    }
    xc_lines_close(&lines);
    return status;
}

enum xc_status xc_augment(struct xc_data *data, const struct xc_teacher *teacher, const struct xc_distill_opts *opts, const char *to, struct xc_err *err)
{
    struct make m = { .opts = &opts->augment, .seed = opts->train.seed, .data = data, .n = data->n };
    const size_t size = strlen(to) + sizeof ".augment";
    char head[64], *path;
    bool found = false;
    enum xc_status status;

    if (!opts->augment.count) return XC_OK;
    if (data->words) return xc_fail(err, XC_E_UNSUPPORTED, "tagged sentences cannot be augmented: a word that changes changes its tag");
    path = xc_malloc(size + (opts->augment.cache ? strlen(opts->augment.cache) : 0));
    if (!path) return xc_fail_nomem(err, size);
    if (opts->augment.cache) strcpy(path, opts->augment.cache);
    else snprintf(path, size, "%s.augment", to);
    status = fingerprint(head, data, teacher, opts, err);
    if (status == XC_OK) status = read_file(&found, path, head, data, opts->augment.count, err);
    if (status == XC_OK && !found) {
        status = xc_candidates_new(&m.candidates, teacher, &opts->augment, data, opts->train.pool, err);
        if (status == XC_OK) status = make_rows(&m, opts->train.progress, err);
        if (status == XC_OK) status = write_file(path, head, data, m.n, err);
        xc_candidates_free(&m.candidates);
    }
    xc_free(path);
    return status;
}
