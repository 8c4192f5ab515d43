/* batch: see batch.h. */
#include "compress/tasks/batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/text/encoder.h"

#define CHUNK_ROWS 32       /* rows that one thread tokenizes at a time */
#define WINDOW_ROWS 4096    /* rows that are tokenized, sorted and run together */
#define WINDOW_BYTES ((size_t)8 << 20)

struct batch_chunk {
    struct xc_tokens tokens;
    int64_t end[CHUNK_ROWS];     /* tokens of the chunk up to and with row i */
    bool truncated[CHUNK_ROWS];
    enum xc_status status;
    struct xc_err err;
};

void xc_batcher_init(struct xc_batcher *b, struct xc_session *session, struct xc_pool *pool)
{
    *b = (struct xc_batcher){ .session = session, .pool = pool };
}

void xc_batcher_release(struct xc_batcher *b)
{
    for (size_t i = 0; i < b->n_chunks; i++) xc_tokens_release(&b->chunks[i].tokens);
    xc_free(b->chunks);
    xc_free(b->ids);
    xc_free(b->words);
    xc_free(b->types);
    xc_free(b->start);
    xc_free(b->order);
    xc_free(b->length);
    *b = (struct xc_batcher){ 0 };
}

struct window {
    struct xc_batcher *b;
    const struct xc_texts *texts;
    int64_t first, n;
};

static size_t text_length(const char *const *text, const size_t *len, int64_t i)
{
    return len ? len[i] : strlen(text[i]);
}

static enum xc_status take_ids(struct xc_tokens *out, const struct xc_texts *t, int64_t i, struct xc_err *err)
{
    const size_t n = (size_t)(t->id_start[i + 1] - t->id_start[i]);

    out->truncated = false;
    XC_TRY(xc_tokens_reserve(out, n, err));
    if (!n) return XC_OK;
    memcpy(out->ids + out->n, t->ids + t->id_start[i], n * sizeof *out->ids);
    memcpy(out->types + out->n, t->types + t->id_start[i], n);
    memset(out->words + out->n, 0xff, n * sizeof *out->words); /* -1: of no word */
    out->n += n;
    return XC_OK;
}

static void tokenize_chunk(void *arg, int64_t item, int thread)
{
    const struct window *w = arg;
    const struct xc_texts *t = w->texts;
    struct batch_chunk *c = &w->b->chunks[item];
    const struct xc_session *s = w->b->session;
    const struct xc_encode_opts opts = { .max_tokens = s->max_tokens };
    const int64_t first = w->first + item * CHUNK_ROWS, end = xc_min_i64(first + CHUNK_ROWS, w->first + w->n);

    (void)thread;
    c->status = XC_OK;
    c->err = (struct xc_err){ 0 };
    c->tokens.n = 0;
    for (int64_t i = first; i < end && c->status == XC_OK; i++) {
        if (t->ids)
            c->status = take_ids(&c->tokens, t, i, &c->err);
        else if (t->words)
            c->status = xc_tokenizer_encode_words(s->tokenizer, &c->tokens, t->words + t->word_start[i], (size_t)(t->word_start[i + 1] - t->word_start[i]),
                                                  &opts, &c->err);
        else
            c->status = xc_tokenizer_encode(s->tokenizer, &c->tokens, t->a[i], text_length(t->a, t->a_len, i), t->b ? t->b[i] : NULL,
                                            t->b ? text_length(t->b, t->b_len, i) : 0, &opts, &c->err);
        c->end[i - first] = (int64_t)c->tokens.n;
        c->truncated[i - first] = c->tokens.truncated;
    }
}

static enum xc_status tokenize_window(struct window *w, struct xc_err *err)
{
    struct xc_batcher *b = w->b;
    const int64_t chunks = xc_div_up(w->n, CHUNK_ROWS);

    if ((size_t)chunks > b->n_chunks) {
        XC_TRY(xc_grow((void **)&b->chunks, &b->cap_chunks, (size_t)chunks, sizeof *b->chunks, err));
        memset(b->chunks + b->n_chunks, 0, ((size_t)chunks - b->n_chunks) * sizeof *b->chunks);
        b->n_chunks = (size_t)chunks;
    }
    xc_pool_run(b->pool, tokenize_chunk, w, chunks);
    for (int64_t c = 0; c < chunks; c++)
        if (b->chunks[c].status != XC_OK) {
            if (err) *err = b->chunks[c].err;
            return b->chunks[c].status;
        }
    return XC_OK;
}

static int64_t row_start(const struct xc_batcher *b, int64_t i)
{
    return i % CHUNK_ROWS ? b->chunks[i / CHUNK_ROWS].end[i % CHUNK_ROWS - 1] : 0;
}

static int by_length(const void *pa, const void *pb, void *arg)
{
    const int64_t *length = arg, a = *(const int64_t *)pa, b = *(const int64_t *)pb;

    if (length[a] != length[b]) return length[a] > length[b] ? -1 : 1; /* longest first: buffers reach their size at once */
    return (a > b) - (a < b);
}

/* Runs rows order[from..to) of the window as one batch. */
static enum xc_status run_batch(const struct window *w, int64_t from, int64_t to, xc_answer_fn *fn, void *arg, struct xc_err *err)
{
    struct xc_batcher *b = w->b;
    struct xc_output out;
    int64_t tokens = 0;

    for (int64_t i = from; i < to; i++) tokens += b->length[b->order[i]];
    XC_TRY(xc_grow((void **)&b->ids, &b->cap_ids, (size_t)tokens + 1, sizeof *b->ids, err));
    XC_TRY(xc_grow((void **)&b->words, &b->cap_words, (size_t)tokens + 1, sizeof *b->words, err));
    XC_TRY(xc_grow((void **)&b->types, &b->cap_types, (size_t)tokens + 1, sizeof *b->types, err));
    XC_TRY(xc_grow((void **)&b->start, &b->cap_start, (size_t)(to - from) + 1, sizeof *b->start, err));
    b->start[0] = 0;
    for (int64_t i = from; i < to; i++) {
        const int64_t row = b->order[i], at = b->start[i - from], n = b->length[row], src = row_start(b, row);
        const struct xc_tokens *t = &b->chunks[row / CHUNK_ROWS].tokens;

        if (n) {
            memcpy(b->ids + at, t->ids + src, (size_t)n * sizeof *b->ids);
            memcpy(b->words + at, t->words + src, (size_t)n * sizeof *b->words);
            memcpy(b->types + at, t->types + src, (size_t)n * sizeof *b->types);
        }
        b->start[i - from + 1] = at + n;
    }
    XC_TRY(xc_session_run_ids(b->session, b->ids, b->types, b->start, to - from, &out, err));
    for (int64_t i = from; i < to; i++) {
        const int64_t row = b->order[i], at = b->start[i - from], first = out.start ? out.start[i - from] : i - from;
        const struct xc_answer answer = {
            .row = w->first + row, .data = out.data + first * out.cols, .rows = out.start ? out.start[i - from + 1] - first : 1, .cols = out.cols,
            .ids = b->ids + at, .words = b->words + at, .tokens = b->length[row],
            .truncated = b->chunks[row / CHUNK_ROWS].truncated[row % CHUNK_ROWS],
        };

        for (int64_t k = 0; k < answer.rows * answer.cols; k++)
            if (!isfinite(answer.data[k])) return xc_fail(err, XC_E_RANGE, "the model's answer to text %lld is not a finite number", (long long)answer.row + 1);
        b->truncated += answer.truncated;
        XC_TRY(fn(arg, &answer, err));
    }
    b->rows_done += to - from;
    b->tokens_done += tokens;
    return XC_OK;
}

static enum xc_status run_window(struct window *w, int64_t total, xc_answer_fn *fn, void *arg, struct xc_err *err)
{
    struct xc_batcher *b = w->b;
    const int64_t max_tokens = b->max_tokens > 0 ? b->max_tokens : 4096, max_rows = b->max_rows > 0 ? b->max_rows : INT64_MAX;

    XC_TRY(tokenize_window(w, err));
    XC_TRY(xc_grow((void **)&b->order, &b->cap_order, (size_t)w->n, sizeof *b->order, err));
    XC_TRY(xc_grow((void **)&b->length, &b->cap_length, (size_t)w->n, sizeof *b->length, err));
    for (int64_t i = 0; i < w->n; i++) {
        b->order[i] = i;
        b->length[i] = b->chunks[i / CHUNK_ROWS].end[i % CHUNK_ROWS] - row_start(b, i);
    }
    qsort_r(b->order, (size_t)w->n, sizeof *b->order, by_length, b->length);
    for (int64_t from = 0, to; from < w->n; from = to) {
        int64_t tokens = b->length[b->order[from]];

        for (to = from + 1; to < w->n && to - from < max_rows && tokens + b->length[b->order[to]] <= max_tokens; to++) tokens += b->length[b->order[to]];
        XC_TRY(run_batch(w, from, to, fn, arg, err));
        if (!b->progress) continue;
        if (b->progress->update) b->progress->update(b->progress->arg, "run", (double)(w->first + to), (double)total);
        if (b->progress->cancelled && b->progress->cancelled(b->progress->arg)) return xc_fail(err, XC_E_CANCELLED, "stopped");
    }
    return XC_OK;
}

enum xc_status xc_batcher_run(struct xc_batcher *b, const struct xc_texts *t, xc_answer_fn *fn, void *arg, struct xc_err *err)
{
    struct window w = { .b = b, .texts = t };

    if (!b->session->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no tokenizer");
    for (; w.first < t->n; w.first += w.n) {
        size_t bytes = 0;

        for (w.n = 0; w.first + w.n < t->n && w.n < WINDOW_ROWS && (!w.n || bytes < WINDOW_BYTES); w.n++)
            bytes += t->words || t->ids ? 0 : text_length(t->a, t->a_len, w.first + w.n) + (t->b ? text_length(t->b, t->b_len, w.first + w.n) : 0);
        XC_TRY(run_window(&w, t->n, fn, arg, err));
    }
    return XC_OK;
}
