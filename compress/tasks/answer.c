/* answer: extractive question answering: the span of a text that answers a question (Rajpurkar et al. 2016, arXiv:1606.05250).
 *
 * A model gives each token a logit to begin and one to end the answer; the best pair wins, over all windows of a text (questions.h). Rows without an answer (SQuAD 2.0) make "there is none"
 * an answer too, which is what the first token of a window stands for; data in which every row has one do not. */
#include "compress/tasks/answer.h"

#include <math.h>
#include <string.h>
#include <xxhash.h>

bool xc_answer_fits(const struct xc_model_info *info) { return info->per_token && info->output_cols == 2 && !strcmp(info->task, "answer"); }

bool xc_span_best(int64_t *begin, int64_t *end, float *score, const float *x, const int32_t *place, int64_t tokens)
{
    *begin = -1;
    *score = -INFINITY;
    for (int64_t b = 0; b < tokens; b++) {
        if (place[b] < 0) continue;
        for (int64_t e = b; e < tokens && e < b + XC_ANSWER_TOKENS && place[e] >= 0; e++) {
            const float sum = x[2 * b] + x[2 * e + 1];

            if (*begin >= 0 && !(sum > *score)) continue;
            *begin = b;
            *end = e;
            *score = sum;
        }
    }
    return *begin >= 0;
}

/* ---- a run ---- */
struct answering {
    const struct xc_questions *q;
    struct xc_span *span;
    int64_t *window; /* by row: the one that the span is from, -1 = none; of equals the first, in whatever order windows are run */
};

static enum xc_status answer_window(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    const struct answering *c = arg;
    const struct xc_questions *q = c->q;
    const int64_t row = q->row[a->row], offsets = q->text_start[row];
    const int32_t *place = q->place + q->start[a->row];
    struct xc_span *s = &c->span[row];
    int64_t begin, end;
    float score;

    if (a->cols != 2 || a->rows != a->tokens) return xc_fail(err, XC_E_SHAPE, "the model answers %lld x %lld numbers to %lld tokens", (long long)a->rows, (long long)a->cols, (long long)a->tokens);
    s->none = fminf(s->none, a->data[0] + a->data[1]);
    if (!xc_span_best(&begin, &end, &score, a->data, place, a->tokens)) return XC_OK;
    if (c->window[row] >= 0 && !(score > s->score || (score == s->score && a->row < c->window[row]))) return XC_OK;
    c->window[row] = a->row;
    s->score = score;
    s->begin = q->begin[offsets + place[begin]];
    s->end = q->end[offsets + place[end]];
    return XC_OK;
}

enum xc_status xc_answer_run(struct xc_span *out, struct xc_batcher *batcher, const char *const *question, const size_t *question_len, const char *const *text, const size_t *text_len,
                             int64_t n, int32_t stride, struct xc_err *err)
{
    const struct xc_questions_opts opts = { .max_tokens = batcher->session->max_tokens, .stride = stride, .pool = batcher->pool };
    struct answering c = { .span = out };
    struct xc_questions q = { 0 };
    enum xc_status status;

    if (!batcher->session->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no tokenizer");
    XC_TRY(xc_new_array(&c.window, n, sizeof *c.window, err));
    for (int64_t i = 0; i < n; i++) {
        out[i] = (struct xc_span){ .score = -INFINITY, .none = INFINITY };
        c.window[i] = -1;
    }
    status = xc_questions_make(&q, batcher->session->tokenizer, question, question_len, text, text_len, n, &opts, err);
    if (status == XC_OK) {
        const struct xc_texts texts = { .n = q.n, .ids = q.ids, .types = q.types, .id_start = q.start };

        c.q = &q;
        batcher->truncated += q.cut;
        status = xc_batcher_run(batcher, &texts, answer_window, &c, err);
    }
    xc_questions_release(&q);
    xc_free(c.window);
    return status;
}

/* ---- the task ---- */
static enum xc_status answer_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    XC_TRY(xc_task_need(e, m, xc_answer_fits(&m->info), "a model for question answering", err));
    return xc_data_read_answers(&e->data, e->opts->data, true, err);
}

static enum xc_status score_row(struct xc_answers *out, const struct xc_data *d, int64_t row, const struct xc_span *s, bool may_lack, struct xc_err *err)
{
    const bool none = may_lack && s->none > s->score;
    const char *const text = d->b[row] + (none ? 0 : s->begin);
    const size_t len = none ? 0 : (size_t)(s->end - s->begin);
    bool exact;

    XC_TRY(xc_answer_score(&exact, &out->pred[row], text, len, d->answers ? d->answers + d->answer_start[row] : NULL, d->answer_start[row + 1] - d->answer_start[row], err));
    out->hits[row] = exact;
    out->pred_class[row] = (int32_t)(uint32_t)XXH3_64bits(text, len); /* to count the answers of two models that differ */
    return XC_OK;
}

static enum xc_status answer_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    const struct xc_data *d = &e->data;
    struct xc_batcher batcher;
    struct xc_span *span;
    bool may_lack = false;
    enum xc_status status;

    XC_TRY(xc_task_need(e, m, xc_answer_fits(&m->info), "a model for question answering", err));
    XC_TRY(xc_new_array(&out->pred, d->n, sizeof *out->pred, err));
    XC_TRY(xc_new_array(&out->hits, d->n, sizeof *out->hits, err));
    XC_TRY(xc_new_array(&out->pred_class, d->n, sizeof *out->pred_class, err));
    XC_TRY(xc_new_array(&span, d->n, sizeof *span, err));
    xc_batcher_init(&batcher, m->session, e->opts->pool);
    batcher.progress = e->opts->progress;
    status = xc_answer_run(span, &batcher, d->a, d->a_len, d->b, d->b_len, d->n, e->opts->stride, err);
    out->tokens = batcher.tokens_done;
    out->truncated = batcher.truncated;
    xc_batcher_release(&batcher);
    for (int64_t i = 0; i < d->n; i++) may_lack |= d->answer_start[i + 1] == d->answer_start[i];
    for (int64_t i = 0; i < d->n && status == XC_OK; i++) status = score_row(out, d, i, &span[i], may_lack, err);
    xc_free(span);
    out->sample = (struct xc_sample){ .n = d->n, .pred = out->pred, .hits = out->hits };
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", m->path);
}

static const struct xc_metric *const *answer_metrics(const struct xc_eval *e)
{
    static const struct xc_metric *const list[] = { &xc_metric_answer_f1, &xc_metric_exact_match, NULL };

    (void)e;
    return list;
}

const struct xc_task xc_task_answer = {
    .name = "answer", .help = "question answering: the part of a text that answers a question; F1 over words and exact match, as SQuAD's evaluation has them",
    .columns = "question, context, answer; or SQuAD's .json", .head = "answer", .prepare = answer_prepare, .answer = answer_answer, .metrics = answer_metrics,
};
