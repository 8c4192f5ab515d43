/* questions: see questions.h. */
#include "compress/tasks/questions.h"

#include <string.h>

#include "compress/tasks/token_offsets.h"
#include "runtime/text/encoder.h"

#define CHUNK 32 /* rows that one thread tokenizes at a time */

struct chunk {
    struct xc_tokens question, text;
    int64_t question_end[CHUNK], text_end[CHUNK];
    int64_t *begin, *end;
    size_t cap_begin, cap_end;
    enum xc_status status;
    struct xc_err err;
};

struct job {
    const struct xc_tokenizer *tok;
    const char *const *question, *const *text;
    const size_t *question_len, *text_len;
    int64_t rows;
    struct chunk *chunk;
};

void xc_questions_release(struct xc_questions *q)
{
    xc_free(q->row);
    xc_free(q->first);
    xc_free(q->start);
    xc_free(q->ids);
    xc_free(q->types);
    xc_free(q->place);
    xc_free(q->text_start);
    xc_free(q->begin);
    xc_free(q->end);
    *q = (struct xc_questions){ 0 };
}

/* ---- tokens ---- */
static enum xc_status tokenize_row(const struct job *j, struct chunk *c, int64_t row, struct xc_err *err)
{
    const struct xc_encode_opts whole = { .no_special = true, .no_truncate = true };
    const int64_t from = (int64_t)c->text.n;

    XC_TRY(xc_tokenizer_encode(j->tok, &c->question, j->question[row], j->question_len[row], NULL, 0, &whole, err));
    XC_TRY(xc_tokenizer_encode(j->tok, &c->text, j->text[row], j->text_len[row], NULL, 0, &whole, err));
    XC_TRY(xc_grow((void **)&c->begin, &c->cap_begin, c->text.n + 1, sizeof *c->begin, err));
    XC_TRY(xc_grow((void **)&c->end, &c->cap_end, c->text.n + 1, sizeof *c->end, err));
    return xc_token_offsets(c->begin + from, c->end + from, j->tok, j->text[row], j->text_len[row], c->text.ids + from, c->text.words + from, (int64_t)c->text.n - from, err);
}

static void tokenize_chunk(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    struct chunk *c = &j->chunk[item];

    (void)thread;
    for (int64_t i = 0; i < CHUNK && item * CHUNK + i < j->rows && c->status == XC_OK; i++) {
        c->status = tokenize_row(j, c, item * CHUNK + i, &c->err);
        c->question_end[i] = (int64_t)c->question.n;
        c->text_end[i] = (int64_t)c->text.n;
    }
}

/* ---- windows ---- */
/* The tokens of one row. */
struct row {
    const int32_t *question, *text;
    int64_t n_question, n_text;
};

static enum xc_status add_window(struct xc_questions *q, const struct xc_tokenizer *tok, const struct row *r, int64_t row, int64_t from, int64_t to, struct xc_err *err)
{
    const struct xc_tok_piece *piece = tok->pieces + tok->h->n_single;
    const size_t n = (size_t)q->n;
    int64_t at = q->start[n];
    const size_t room = (size_t)(at + r->n_question + to - from) + XC_TOK_MAX_PIECES;

    XC_TRY(xc_grow((void **)&q->row, &q->cap_row, n + 1, sizeof *q->row, err));
    XC_TRY(xc_grow((void **)&q->first, &q->cap_first, n + 1, sizeof *q->first, err));
    XC_TRY(xc_grow((void **)&q->start, &q->cap_start, n + 2, sizeof *q->start, err));
    XC_TRY(xc_grow((void **)&q->ids, &q->cap_ids, room, sizeof *q->ids, err));
    XC_TRY(xc_grow((void **)&q->types, &q->cap_types, room, sizeof *q->types, err));
    XC_TRY(xc_grow((void **)&q->place, &q->cap_place, room, sizeof *q->place, err));
    for (uint32_t p = 0; p < tok->h->n_pair; p++, piece++) {
        const bool text = piece->what == XC_TOK_PIECE_B, special = piece->what == XC_TOK_PIECE_SPECIAL;
        const int64_t count = special ? 1 : text ? to - from : r->n_question;

        for (int64_t i = 0; i < count; i++, at++) {
            q->ids[at] = special ? piece->id : text ? r->text[from + i] : r->question[i];
            q->types[at] = piece->type;
            q->place[at] = text ? (int32_t)(from + i) : -1;
        }
    }
    q->row[n] = row;
    q->first[n] = from;
    q->start[n + 1] = at;
    q->n++;
    return XC_OK;
}

static enum xc_status add_row(struct xc_questions *q, const struct xc_tokenizer *tok, struct row *r, int64_t row, const struct xc_questions_opts *o, struct xc_err *err)
{
    const int64_t special = (int64_t)tok->h->n_pair - 2, most = o->max_tokens > 0 ? o->max_tokens - special : INT64_MAX;
    int64_t room, stride;

    if (most < 2) return xc_fail(err, XC_E_RANGE, "a limit of %d tokens leaves no room for a question and a text beside %lld special tokens", o->max_tokens, (long long)special);
    if (o->max_tokens > 0 && r->n_question > most / 2) {
        r->n_question = most / 2;
        q->cut++;
    }
    room = most - r->n_question;
    stride = o->stride > 0 ? o->stride : xc_min_i64(XC_STRIDE, room / 2);
    if (stride >= room && r->n_text > room)
        return xc_fail(err, XC_E_ARG, "windows that share %lld tokens do not get on where only %lld of a text fit beside the question: take a smaller --stride", (long long)stride, (long long)room);
    for (int64_t from = 0;; from += room - stride) {
        const int64_t to = r->n_text - from > room ? from + room : r->n_text;

        XC_TRY(add_window(q, tok, r, row, from, to, err));
        if (to == r->n_text) return XC_OK;
    }
}

static enum xc_status add_chunk(struct xc_questions *q, const struct job *j, int64_t item, const struct xc_questions_opts *o, struct xc_err *err)
{
    const struct chunk *c = &j->chunk[item];
    const size_t before = (size_t)q->text_start[item * CHUNK];

    XC_TRY(xc_grow((void **)&q->begin, &q->cap_begin, before + c->text.n + 1, sizeof *q->begin, err));
    XC_TRY(xc_grow((void **)&q->end, &q->cap_end, before + c->text.n + 1, sizeof *q->end, err));
    if (c->text.n) {
        memcpy(q->begin + before, c->begin, c->text.n * sizeof *q->begin);
        memcpy(q->end + before, c->end, c->text.n * sizeof *q->end);
    }
    for (int64_t i = 0; i < CHUNK && item * CHUNK + i < j->rows; i++) {
        const int64_t at = i ? c->question_end[i - 1] : 0, text_at = i ? c->text_end[i - 1] : 0;
        struct row r = { .question = c->question.ids + at, .n_question = c->question_end[i] - at, .text = c->text.ids + text_at, .n_text = c->text_end[i] - text_at };

        q->text_start[item * CHUNK + i + 1] = (int64_t)before + c->text_end[i];
        XC_TRY(add_row(q, j->tok, &r, item * CHUNK + i, o, err));
    }
    return XC_OK;
}

enum xc_status xc_questions_make(struct xc_questions *out, const struct xc_tokenizer *tok, const char *const *question, const size_t *question_len, const char *const *text,
                                 const size_t *text_len, int64_t rows, const struct xc_questions_opts *opts, struct xc_err *err)
{
    struct job j = { .tok = tok, .question = question, .question_len = question_len, .text = text, .text_len = text_len, .rows = rows };
    const int64_t chunks = xc_div_up(rows, CHUNK);
    enum xc_status status;

    *out = (struct xc_questions){ 0 };
    j.chunk = xc_calloc((size_t)chunks + 1, sizeof *j.chunk);
    out->text_start = xc_calloc((size_t)rows + 1, sizeof *out->text_start);
    status = j.chunk && out->text_start ? xc_grow((void **)&out->start, &out->cap_start, 1, sizeof *out->start, err) : xc_fail_nomem(err, (size_t)rows * sizeof *out->text_start);
    if (status == XC_OK) {
        out->start[0] = 0;
        xc_pool_run(opts->pool, tokenize_chunk, &j, chunks);
    }
    for (int64_t c = 0; c < chunks && status == XC_OK; c++) {
        status = j.chunk[c].status;
        if (status != XC_OK && err) *err = j.chunk[c].err;
        if (status == XC_OK) status = add_chunk(out, &j, c, opts, err);
    }
    for (int64_t c = 0; c < chunks && j.chunk; c++) {
        xc_tokens_release(&j.chunk[c].question);
        xc_tokens_release(&j.chunk[c].text);
        xc_free(j.chunk[c].begin);
        xc_free(j.chunk[c].end);
    }
    xc_free(j.chunk);
    if (status != XC_OK) xc_questions_release(out);
    return status;
}
