/* replay: see replay.h. */
#include "compress/calibrate/replay.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "compress/calibrate/blas.h"
#include "compress/file/whole_io.h"
#include "runtime/session/session.h"

#define BATCH_TOKENS 1024 /* run together, unless one text is longer */
#define TILE 192

static enum xc_status take_tokens(struct xc_replay *r, const struct xc_tokens_view *view, struct xc_err *err)
{
    r->n_texts = view->n;
    r->tokens = view->start[view->n];
    if (r->tokens > INT32_MAX) return xc_fail(err, XC_E_LIMIT, "%lld calibration tokens are too many", (long long)r->tokens);
    r->ids = xc_malloc((size_t)r->tokens * sizeof *r->ids + 4);
    r->zeros = xc_calloc((size_t)r->tokens + 1, sizeof *r->zeros);
    r->start = xc_malloc(((size_t)view->n + 1) * sizeof *r->start);
    r->batch = xc_malloc(((size_t)view->n + 1) * sizeof *r->batch);
    if (!r->ids || !r->zeros || !r->start || !r->batch) return xc_fail_nomem(err, (size_t)r->tokens * sizeof *r->ids);
    memcpy(r->ids, view->ids, (size_t)r->tokens * sizeof *r->ids);
    for (int64_t i = 0; i <= view->n; i++) r->start[i] = (int32_t)view->start[i];
    r->batch[0] = 0;
    for (int64_t i = 0, j; i < view->n; i = j) {
        for (j = i + 1; j < view->n && r->start[j + 1] - r->start[i] <= BATCH_TOKENS; j++) {}
        r->batch[++r->n_batches] = j;
    }
    return r->tokens > 0 ? XC_OK : xc_fail(err, XC_E_FORMAT, "the calibration texts hold no token");
}

enum xc_status xc_replay_init(struct xc_replay *r, struct xc_model *model, const struct xc_texts *texts, bool load, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const struct xc_session_opts session = { .pool = opts->pool, .plain = true, .lazy = !load };
    struct xc_session *s = NULL;
    struct xc_tokens_view view;
    enum xc_status status;

    *r = (struct xc_replay){ .pool = opts->pool };
    xc_blas_init();
    XC_TRY(xc_session_new(&s, model, &session, err));
    status = xc_session_tokenize(s, (const char *const *)texts->text, texts->length, texts->n, true, &view, err);
    if (status == XC_OK) status = take_tokens(r, &view, err);
    xc_session_free(&s);
    if (status != XC_OK) xc_replay_release(r);
    return status;
}

void xc_replay_release(struct xc_replay *r)
{
    xc_free(r->ids);
    xc_free(r->zeros);
    xc_free(r->start);
    xc_free(r->batch);
    *r = (struct xc_replay){ 0 };
}

int64_t xc_replay_step(const struct xc_replay *r, int64_t tokens)
{
    const int64_t want = (int64_t)((double)tokens * (double)r->n_batches / (double)r->tokens + 0.5);

    return xc_max_i64(1, r->n_batches / xc_max_i64(1, want));
}

enum xc_status xc_replay_begin(const struct xc_replay *r, struct xc_run *run, const struct xc_graph *g, int64_t b, struct xc_err *err)
{
    const int64_t first = r->batch[b], n = r->batch[b + 1] - first, rows = r->start[first + n] - r->start[first];
    const struct xc_ragged rag = { .start = r->start + first, .n_seq = (int32_t)n };
    struct xc_view in[2];

    if (g->n_inputs > 2) return xc_fail(err, XC_E_UNSUPPORTED, "graph '%s' takes more than texts", g->name);
    for (int32_t i = 0; i < g->n_inputs; i++)
        in[i] = (struct xc_view){ .data = strcmp(g->values[g->inputs[i]].name, "ids") ? r->zeros : r->ids + r->start[first], .rows = rows, .cols = 1 };
    return xc_run_begin(run, g, in, &rag, 1, err);
}

enum xc_status xc_replay_nodes(struct xc_run *run, const struct xc_graph *g, int32_t first, int32_t last, struct xc_err *err)
{
    enum xc_status status = XC_OK;

    xc_pool_begin(run->pool);
    for (int32_t n = first; n < last && status == XC_OK; n++) {
        for (int32_t i = 0; i < g->nodes[n].n_out; i++) run->views[g->nodes[n].out[i]].data = NULL;
        status = xc_run_node(run, g, &g->nodes[n], err);
    }
    xc_pool_end(run->pool);
    return status;
}

/* ---- frontiers ---- */
enum xc_status xc_frontier_init(struct xc_frontier *f, const struct xc_replay *r, int64_t step, struct xc_err *err)
{
    *f = (struct xc_frontier){ .step = step, .fd = -1 };
    f->rows = xc_calloc((size_t)r->n_batches + 1, sizeof *f->rows);
    return f->rows ? XC_OK : xc_fail_nomem(err, (size_t)r->n_batches * sizeof *f->rows);
}

static void free_rows(void **rows, int64_t n)
{
    for (int64_t i = 0; rows && i < n; i++) xc_free(rows[i]);
    xc_free(rows);
}

void xc_frontier_release(struct xc_frontier *f, const struct xc_replay *r)
{
    free_rows(f->rows, r->n_batches * f->n);
    xc_free(f->value);
    xc_free(f->at);
    if (f->rows && f->fd >= 0) close(f->fd);
    *f = (struct xc_frontier){ .fd = -1 };
}

static enum xc_status open_nameless(int *fd, const char *folder, struct xc_err *err)
{
    const int e = xc_open_nameless(fd, folder);

    return e ? xc_fail_errno(err, e, "cannot keep what the calibration texts give in folder '%s'", folder) : XC_OK;
}

static enum xc_status put_rows(int fd, const void *from, size_t n, int64_t at, const char *folder, struct xc_err *err)
{
    const int e = xc_write_whole(fd, from, n, (uint64_t)at);

    return e ? xc_fail_errno(err, e, "cannot keep what the calibration texts give in folder '%s' (make room there, or give fewer texts)", folder) : XC_OK;
}

static enum xc_status get_rows(int fd, void *to, size_t n, int64_t at, struct xc_err *err)
{
    const int e = xc_read_whole(fd, to, n, (uint64_t)at);

    if (e == XC_IO_CUT) return xc_fail(err, XC_E_IO, "what the calibration texts gave is cut off");
    return e ? xc_fail_errno(err, e, "cannot read what the calibration texts gave") : XC_OK;
}

static size_t view_bytes(const struct xc_view *view) { return (size_t)(view->rows * view->cols) * 4; }

enum xc_status xc_frontier_run(const struct xc_frontier *f, const struct xc_replay *r, struct xc_run *run, const struct xc_graph *g, int64_t b, int32_t to, struct xc_err *err)
{
    for (int32_t i = 0; i < g->n_spaces; i++) /* its rows would be forgotten between two walks */
        if (g->spaces[i].map == XC_MAP_SUBSET) return xc_fail(err, XC_E_UNSUPPORTED, "tokens leave between the layers of this model: pass 'prune_tokens' comes behind those that measure it");
    XC_TRY(xc_replay_begin(r, run, g, b, err));
    for (int32_t i = 0; i < f->n; i++) {
        struct xc_view *view = &run->views[f->value[i]];

        view->data = f->at ? xc_scratch_alloc(&run->values, view_bytes(view)) : f->rows[b * f->n + i];
        if (!view->data) return xc_fail_nomem(err, view_bytes(view));
        if (f->at) XC_TRY(get_rows(f->fd, view->data, view_bytes(view), f->at[b * f->n + i], err));
    }
    return xc_replay_nodes(run, g, f->node, to, err);
}

/* The values that nodes before `to` make, and nodes from it on (or the caller) read. */
static int32_t live_values(int32_t *value, const struct xc_graph *g, int32_t to)
{
    int32_t n = 0;

    for (int32_t v = 0; v < g->n_values; v++) {
        bool live = false;

        for (int32_t i = to; i < g->n_nodes; i++)
            for (int32_t k = 0; k < g->nodes[i].n_in; k++) live |= g->nodes[i].in[k].kind == XC_REF_VALUE && g->nodes[i].in[k].id == v;
        for (int32_t i = 0; i < g->n_outputs; i++) live |= g->outputs[i] == v;
        if (live && g->values[v].node >= 0 && g->values[v].node < to) value[n++] = v;
    }
    return n;
}

/* Of batch b: the values that `next` keeps; *end: where its file ends. */
static enum xc_status keep_values(struct xc_frontier *next, const struct xc_run *run, int64_t b, int64_t *end, struct xc_err *err)
{
    for (int32_t i = 0; i < next->n; i++) {
        const struct xc_view *view = &run->views[next->value[i]];
        const size_t bytes = view_bytes(view);

        if (next->at) {
            next->at[b * next->n + i] = *end;
            XC_TRY(put_rows(next->fd, view->data, bytes, *end, next->folder, err));
            *end += (int64_t)bytes;
            continue;
        }
        void *copy = xc_alloc_aligned(bytes);

        if (!copy) return xc_fail_nomem(err, bytes);
        next->rows[b * next->n + i] = memcpy(copy, view->data, bytes);
    }
    return XC_OK;
}

enum xc_status xc_frontier_move(struct xc_frontier *f, const struct xc_replay *r, struct xc_run *run, const struct xc_graph *g, int32_t to, struct xc_err *err)
{
    struct xc_frontier next = { .node = to, .first = f->first, .step = f->step, .folder = f->folder, .fd = -1 };
    int64_t end = 0;
    enum xc_status status = XC_OK;

    next.value = xc_malloc(((size_t)g->n_values + 1) * sizeof *next.value);
    if (!next.value) return xc_fail_nomem(err, (size_t)g->n_values * sizeof *next.value);
    next.n = live_values(next.value, g, to);
    next.rows = xc_calloc((size_t)(r->n_batches * next.n) + 1, sizeof *next.rows);
    if (next.folder) next.at = xc_calloc((size_t)(r->n_batches * next.n) + 1, sizeof *next.at);
    if (!next.rows || (next.folder && !next.at)) status = xc_fail_nomem(err, (size_t)(r->n_batches * next.n) * sizeof *next.rows);
    if (status == XC_OK && next.folder) status = open_nameless(&next.fd, next.folder, err);
    for (int64_t b = f->first; b < r->n_batches && status == XC_OK; b += f->step) {
        status = xc_frontier_run(f, r, run, g, b, to, err);
        if (status == XC_OK) status = keep_values(&next, run, b, &end, err);
    }
    if (status != XC_OK) {
        xc_frontier_release(&next, r);
        return status;
    }
    xc_frontier_release(f, r);
    *f = next;
    return XC_OK;
}

/* ---- second moments ---- */
struct tiles {
    float *out;
    const float *a, *b;
    int64_t rows, n, m, across;
    int first, step;
    bool upper;
};

static void add_tile(void *arg, int64_t item, int thread)
{
    const struct tiles *t = arg;
    const int64_t i = item / t->across * TILE, j = item % t->across * TILE;

    (void)thread;
    if ((t->upper && j < i) || item % t->step != t->first) return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)xc_min_i64(TILE, t->n - i), (int)xc_min_i64(TILE, t->m - j), (int)t->rows, 1.0f, t->a + i, (int)t->n,
                t->b + j, (int)t->m, 1.0f, t->out + i * t->m + j, (int)t->m);
}

void xc_moments_add(float *out, const float *a, const float *b, int64_t rows, int64_t n, int64_t m, bool upper, struct xc_pool *pool)
{
    xc_moments_add_some(out, a, b, rows, n, m, upper, 0, 1, pool);
}

void xc_moments_add_some(float *out, const float *a, const float *b, int64_t rows, int64_t n, int64_t m, bool upper, int first, int step, struct xc_pool *pool)
{
    struct tiles t = { .out = out, .a = a, .b = b, .rows = rows, .n = n, .m = m, .across = xc_div_up(m, TILE), .first = first, .step = step, .upper = upper };

    if (rows > 0) xc_pool_run(pool, add_tile, &t, xc_div_up(n, TILE) * t.across);
}

void xc_moments_mirror(float *h, int64_t n)
{
    for (int64_t i0 = 0; i0 < n; i0 += TILE)
        for (int64_t j0 = 0; j0 <= i0; j0 += TILE)
            for (int64_t i = i0; i < xc_min_i64(i0 + TILE, n); i++)
                for (int64_t j = j0; j < xc_min_i64(j0 + TILE, i); j++) h[i * n + j] = h[j * n + i];
}
