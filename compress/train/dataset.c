/* dataset: see dataset.h. */
#include "compress/train/dataset.h"

#include <string.h>

#include "compress/tasks/choice.h"
#include "compress/tasks/questions.h"
#include "runtime/base/rng.h"

#define CHUNK 64 /* sequences that one thread tokenizes at a time */

enum { STREAM_SHUFFLE = 1, STREAM_MASK = 2 }; /* of the generator; low bits of the stream */

void xc_dataset_release(struct xc_dataset *d)
{
    xc_data_release(&d->data);
    xc_free(d->ids);
    xc_free(d->words);
    xc_free(d->types);
    xc_free(d->start);
    xc_free(d->label);
    xc_free(d->token_label);
    xc_free(d->span);
    xc_free(d->score);
    *d = (struct xc_dataset){ 0 };
}

/* ---- tokens ---- */
struct chunk {
    struct xc_tokens tokens;
    int64_t end[CHUNK];
    int64_t truncated;
    enum xc_status status;
    struct xc_err err;
};

struct tokenize {
    const struct xc_dataset *d;
    const struct xc_tokenizer *tok;
    struct xc_encode_opts opts;
    struct chunk *chunk;
    int64_t n; /* sequences */
};

static void tokenize_chunk(void *arg, int64_t item, int thread)
{
    const struct tokenize *t = arg;
    const struct xc_data *d = &t->d->data;
    struct chunk *c = &t->chunk[item];

    (void)thread;
    for (int64_t i = 0; i < CHUNK && item * CHUNK + i < t->n && c->status == XC_OK; i++) {
        const int64_t seq = item * CHUNK + i, row = seq / t->d->per_row;
        const bool second = t->d->per_row == 2 && seq % 2, pair = d->b && t->d->per_row == 1;

        if (d->words)
            c->status = xc_tokenizer_encode_words(t->tok, &c->tokens, d->words + d->word_start[row], (size_t)(d->word_start[row + 1] - d->word_start[row]), &t->opts, &c->err);
        else
            c->status = xc_tokenizer_encode(t->tok, &c->tokens, second ? d->b[row] : d->a[row], second ? d->b_len[row] : d->a_len[row], pair ? d->b[row] : NULL,
                                            pair ? d->b_len[row] : 0, &t->opts, &c->err);
        c->end[i] = (int64_t)c->tokens.n;
        c->truncated += c->tokens.truncated;
    }
}

static enum xc_status merge(struct xc_dataset *d, const struct tokenize *t, struct xc_err *err)
{
    int64_t total = 0, at = 0;

    for (int64_t c = 0; c < xc_div_up(t->n, CHUNK); c++) {
        if (t->chunk[c].status != XC_OK) {
            if (err) *err = t->chunk[c].err;
            return t->chunk[c].status;
        }
        total += (int64_t)t->chunk[c].tokens.n;
        d->truncated += t->chunk[c].truncated;
    }
    d->ids = xc_malloc((size_t)(total + 1) * sizeof *d->ids);
    d->words = xc_malloc((size_t)(total + 1) * sizeof *d->words);
    d->types = xc_malloc((size_t)(total + 1));
    d->start = xc_malloc((size_t)(t->n + 1) * sizeof *d->start);
    if (!d->ids || !d->words || !d->types || !d->start) return xc_fail_nomem(err, (size_t)total * sizeof *d->ids);
    d->start[0] = 0;
    for (int64_t c = 0; c < xc_div_up(t->n, CHUNK); c++) {
        const struct chunk *k = &t->chunk[c];

        if (k->tokens.n) {
            memcpy(d->ids + at, k->tokens.ids, k->tokens.n * sizeof *d->ids);
            memcpy(d->words + at, k->tokens.words, k->tokens.n * sizeof *d->words);
            memcpy(d->types + at, k->tokens.types, k->tokens.n);
        }
        for (int64_t i = 0; i < CHUNK && c * CHUNK + i < t->n; i++) d->start[c * CHUNK + i + 1] = at + k->end[i];
        at += (int64_t)k->tokens.n;
    }
    return XC_OK;
}

enum xc_status xc_dataset_tokenize(struct xc_dataset *d, const struct xc_tokenizer *tok, int32_t max_tokens, struct xc_pool *pool, struct xc_err *err)
{
    struct tokenize t = { .d = d, .tok = tok, .opts = { .max_tokens = max_tokens }, .n = d->data.n * d->per_row };
    enum xc_status status;

    d->n = d->data.n;
    t.chunk = xc_calloc((size_t)xc_div_up(t.n, CHUNK) + 1, sizeof *t.chunk);
    if (!t.chunk) return xc_fail_nomem(err, (size_t)t.n * sizeof *t.chunk / CHUNK);
    xc_pool_run(pool, tokenize_chunk, &t, xc_div_up(t.n, CHUNK));
    status = merge(d, &t, err);
    for (int64_t c = 0; c < xc_div_up(t.n, CHUNK); c++) xc_tokens_release(&t.chunk[c].tokens);
    xc_free(t.chunk);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", d->data.path);
}

/* ---- choices ---- */
enum xc_status xc_dataset_choices(struct xc_dataset *d, const struct xc_tokenizer *tok, int32_t max_tokens, struct xc_pool *pool, struct xc_err *err)
{
    const struct xc_data data = d->data;
    enum xc_status status;

    XC_TRY(xc_choice_pairs(&d->data, &data, err));
    d->per_row = 1;
    status = xc_dataset_tokenize(d, tok, max_tokens, pool, err);
    xc_choice_pairs_release(&d->data);
    d->data = data;
    d->n = data.n;
    d->per_row = data.n_choices;
    return status;
}

/* ---- questions ---- */
/* The tokens of row `row`'s text that hold bytes at .. at + len - 1 of it, by run_qa.py's rule: the last that begins before, the first that ends behind. */
static void find_answer(const struct xc_questions *q, int64_t row, int64_t at, int64_t len, int64_t *first, int64_t *last)
{
    const int64_t *begin = q->begin + q->text_start[row], *end = q->end + q->text_start[row], n = q->text_start[row + 1] - q->text_start[row];

    *first = -1;
    *last = n;
    for (int64_t i = 0; i < n && begin[i] <= at; i++)
        if (end[i] > begin[i]) *first = i;
    for (int64_t i = n - 1; i >= 0 && end[i] >= at + len; i--)
        if (end[i] > begin[i]) *last = i;
}

static enum xc_status answer_spans(struct xc_dataset *d, const struct xc_questions *q, struct xc_err *err)
{
    const struct xc_data *data = &d->data;

    d->span = xc_calloc((size_t)(2 * q->n) + 1, sizeof *d->span);
    if (!d->span) return xc_fail_nomem(err, (size_t)(2 * q->n) * sizeof *d->span);
    for (int64_t w = 0; w < q->n; w++) {
        const int64_t row = q->row[w], answer = data->answer_start[row];
        int64_t first, last, begin = -1, end = -1;

        if (answer == data->answer_start[row + 1]) continue;
        if (data->answer_at[answer] < 0) {
            xc_fail(err, XC_E_FORMAT, "answer '%.60s' is not in its context: there is nothing to learn where it is", data->answers[answer]);
            return xc_data_fail_at(data, row, err, XC_E_FORMAT);
        }
        find_answer(q, row, data->answer_at[answer], (int64_t)strlen(data->answers[answer]), &first, &last);
        for (int64_t i = q->start[w]; i < q->start[w + 1]; i++) {
            if (q->place[i] >= 0 && q->place[i] == first) begin = i - q->start[w];
            if (q->place[i] >= 0 && q->place[i] == last) end = i - q->start[w];
        }
        if (begin < 0 || end < begin) continue;
        d->span[2 * w] = (int32_t)begin;
        d->span[2 * w + 1] = (int32_t)end;
    }
    return XC_OK;
}

enum xc_status xc_dataset_questions(struct xc_dataset *d, const struct xc_tokenizer *tok, bool answers, const struct xc_questions_opts *opts, struct xc_err *err)
{
    const struct xc_data *data = &d->data;
    struct xc_questions q;
    enum xc_status status = xc_questions_make(&q, tok, data->a, data->a_len, data->b, data->b_len, data->n, opts, err);

    if (status != XC_OK) return xc_fail_at(err, status, "%s", data->path);
    status = answers ? answer_spans(d, &q, err) : XC_OK;
    d->n = q.n;
    d->truncated = q.cut;
    d->ids = q.ids;
    d->types = q.types;
    d->words = q.place;
    d->start = q.start;
    q.ids = q.place = NULL;
    q.types = NULL;
    q.start = NULL;
    xc_questions_release(&q);
    return status;
}

/* ---- batches ---- */
void xc_batches_release(struct xc_batches *b)
{
    xc_free(b->order);
    xc_free(b->first);
    *b = (struct xc_batches){ 0 };
}

static int64_t row_tokens(const struct xc_dataset *d, int64_t row) { return d->start[(row + 1) * d->per_row] - d->start[row * d->per_row]; }

enum xc_status xc_batches_plan(struct xc_batches *b, const struct xc_dataset *d, bool shuffle, uint64_t seed, int64_t epoch, int64_t max_tokens, int64_t max_rows, struct xc_err *err)
{
    struct xc_rng rng;

    XC_TRY(xc_grow((void **)&b->order, &b->cap_order, (size_t)d->n, sizeof *b->order, err));
    XC_TRY(xc_grow((void **)&b->first, &b->cap_first, (size_t)d->n + 1, sizeof *b->first, err));
    for (int64_t i = 0; i < d->n; i++) b->order[i] = i;
    xc_rng_init(&rng, seed, (uint64_t)epoch << 8 | STREAM_SHUFFLE);
    for (int64_t i = d->n - 1; i > 0 && shuffle; i--) {
        const int64_t k = (int64_t)xc_rng_below(&rng, (uint64_t)i + 1), row = b->order[i];

        b->order[i] = b->order[k];
        b->order[k] = row;
    }
    b->n = 0;
    b->first[0] = 0;
    for (int64_t from = 0, to; from < d->n; from = to) {
        int64_t tokens = row_tokens(d, b->order[from]);

        for (to = from + 1; to < d->n && (!max_rows || to - from < max_rows); to++) {
            if (tokens + row_tokens(d, b->order[to]) > max_tokens) break;
            tokens += row_tokens(d, b->order[to]);
        }
        b->first[++b->n] = to;
    }
    return XC_OK;
}

/* ---- one batch ---- */
void xc_batch_release(struct xc_batch *b)
{
    xc_free(b->ids);
    xc_free(b->types);
    xc_free(b->start);
    xc_free(b->label);
    xc_free(b->score);
    *b = (struct xc_batch){ 0 };
}

static void mask_row(struct xc_batch *b, const struct xc_dataset *d, int64_t row, int64_t at, const struct xc_masking *m)
{
    const int64_t src = d->start[row], n = d->start[row + 1] - src;

    for (int64_t i = 0; i < n; i++) {
        uint32_t draw[4];

        b->label[at + i] = -1;
        if (d->words[src + i] < 0) continue; /* [CLS], [SEP] */
        xc_philox(draw, m->seed, (m->epoch << 8 | STREAM_MASK) + ((uint64_t)row << 32), (uint64_t)i);
        if ((double)draw[0] >= m->share * 4294967296.0) continue;
        b->label[at + i] = b->ids[at + i];
        if (draw[1] < 3435973837u) b->ids[at + i] = m->mask_id; /* 0.8 */
        else if (draw[1] < 3865470566u) b->ids[at + i] = (int32_t)((uint64_t)draw[2] * (uint64_t)m->vocab >> 32); /* 0.9 */
    }
}

enum xc_status xc_batch_fill(struct xc_batch *b, const struct xc_dataset *d, const struct xc_batches *plan, int64_t index, const struct xc_masking *mask, int64_t *targets,
                             struct xc_err *err)
{
    const int64_t first = plan->first[index];
    const bool by_token = d->token_label || mask->on;

    b->rows = plan->first[index + 1] - first;
    b->sequences = b->rows * d->per_row;
    b->tokens = 0;
    for (int64_t i = 0; i < b->rows; i++) b->tokens += row_tokens(d, plan->order[first + i]);
    XC_TRY(xc_grow((void **)&b->ids, &b->cap_ids, (size_t)b->tokens + 1, sizeof *b->ids, err));
    XC_TRY(xc_grow((void **)&b->types, &b->cap_types, (size_t)b->tokens + 1, sizeof *b->types, err));
    XC_TRY(xc_grow((void **)&b->start, &b->cap_start, (size_t)b->sequences + 1, sizeof *b->start, err));
    XC_TRY(xc_grow((void **)&b->label, &b->cap_label, (size_t)(by_token ? b->tokens : 2 * b->rows) + 1, sizeof *b->label, err));
    XC_TRY(xc_grow((void **)&b->score, &b->cap_score, (size_t)b->rows + 1, sizeof *b->score, err));
    b->start[0] = 0;
    for (int64_t i = 0, at = 0; i < b->rows; i++) {
        const int64_t row = plan->order[first + i], src = d->start[row * d->per_row], n = row_tokens(d, row);

        memcpy(b->ids + at, d->ids + src, (size_t)n * sizeof *b->ids);
        for (int64_t k = 0; k < n; k++) b->types[at + k] = d->types[src + k];
        for (int32_t s = 0; s < d->per_row; s++) b->start[i * d->per_row + s + 1] = (int32_t)(at + d->start[row * d->per_row + s + 1] - src);
        if (d->label) b->label[i] = d->label[row];
        if (d->span) memcpy(b->label + 2 * i, d->span + 2 * row, 2 * sizeof *b->label);
        if (d->score) b->score[i] = d->score[row];
        if (d->token_label) memcpy(b->label + at, d->token_label + src, (size_t)n * sizeof *b->label);
        if (mask->on) mask_row(b, d, row, at, mask);
        at += n;
    }
    *targets = b->rows;
    if (!by_token) return XC_OK;
    *targets = 0;
    for (int64_t i = 0; i < b->tokens; i++) *targets += b->label[i] >= 0;
    return XC_OK;
}
