/* tag: a tag for every word; entities are counted as conlleval does: type and both ends must be right (Tjong Kim Sang & De Meulder 2003).
 * A word's tag is that of its first token. Words beyond the model's longest sequence count as O. */
#include "compress/tasks/tag.h"

#include <string.h>

static enum xc_status tag_need(const struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    return xc_task_need(e, m, m->info.per_token && m->info.n_labels > 0 && m->info.n_labels == m->info.output_cols, "a tagger", err);
}

static int32_t label_of(const struct xc_subject *m, const char *tag)
{
    for (int32_t i = 0; i < m->info.n_labels; i++)
        if (!strcmp(xc_model_label(m->model, i), tag)) return i;
    return -1;
}

static enum xc_status tag_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    XC_TRY(tag_need(e, m, err));
    XC_TRY(xc_data_read_conll(&e->data, e->opts->data, err));
    for (int64_t s = 0; s < e->data.n; s++)
        for (int64_t w = e->data.word_start[s]; w < e->data.word_start[s + 1]; w++) {
            if (label_of(m, e->data.tags[w]) >= 0) continue;
            xc_fail(err, XC_E_RANGE, "tag '%s' is none of the model's %d, such as '%s'", e->data.tags[w], m->info.n_labels, xc_model_label(m->model, 0));
            return xc_fail_at(err, XC_E_RANGE, "%s:%lld", e->data.path, (long long)(e->data.line[s] + w - e->data.word_start[s]));
        }
    return XC_OK;
}

void xc_tag_words(int32_t *word_class, const struct xc_answer *a, int64_t n_words)
{
    int32_t last = -1;

    for (int64_t w = 0; w < n_words; w++) word_class[w] = -1;
    for (int64_t t = 0; t < a->tokens && t < a->rows; t++) {
        const int32_t word = a->words[t];

        if (word >= 0 && word != last && word < n_words) word_class[word] = xc_argmax(a->data + t * a->cols, a->cols);
        last = word;
    }
}

struct tagging {
    const struct xc_eval *e;
    const struct xc_subject *m;
    struct xc_answers *out;
};

static enum xc_status tag_row(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    const struct tagging *c = arg;
    const struct xc_data *d = &c->e->data;
    const int64_t first = d->word_start[a->row], n = d->word_start[a->row + 1] - first;
    const char **pred;

    xc_tag_words(c->out->token_class + first, a, n);
    XC_TRY(xc_new_array(&pred, n, sizeof *pred, err));
    for (int64_t w = 0; w < n; w++) pred[w] = c->out->token_class[first + w] >= 0 ? xc_model_label(c->m->model, c->out->token_class[first + w]) : "O";
    xc_entity_counts(&c->out->hits[a->row], &c->out->n_pred[a->row], &c->out->n_gold[a->row], d->tags + first, pred, n, XC_ENTITY_CONLL);
    xc_free(pred);
    return XC_OK;
}

enum xc_status xc_tag_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    const struct xc_texts texts = { .n = e->data.n, .words = e->data.words, .word_start = e->data.word_start };
    struct tagging c = { .e = e, .m = m, .out = out };
    struct xc_batcher batcher;
    enum xc_status status;

    XC_TRY(tag_need(e, m, err));
    XC_TRY(xc_new_array(&out->hits, e->data.n, sizeof *out->hits, err));
    XC_TRY(xc_new_array(&out->n_pred, e->data.n, sizeof *out->n_pred, err));
    XC_TRY(xc_new_array(&out->n_gold, e->data.n, sizeof *out->n_gold, err));
    XC_TRY(xc_new_array(&out->token_class, e->data.n_words, sizeof *out->token_class, err));
    xc_batcher_init(&batcher, m->session, e->opts->pool);
    batcher.progress = e->opts->progress;
    status = xc_batcher_run(&batcher, &texts, tag_row, &c, err);
    out->tokens = batcher.tokens_done;
    out->truncated = batcher.truncated;
    xc_batcher_release(&batcher);
    out->sample = (struct xc_sample){ .n = e->data.n, .hits = out->hits, .n_pred = out->n_pred, .n_gold = out->n_gold };
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", m->path);
}

static const struct xc_metric *const *tag_metrics(const struct xc_eval *e)
{
    static const struct xc_metric *const list[] = { &xc_metric_count_f1, &xc_metric_count_precision, &xc_metric_count_recall, NULL };

    (void)e;
    return list;
}

const struct xc_task xc_task_tag = {
    .name = "tag", .help = "named entities: F1 over entities with the right type and both ends", .columns = ".conll: token, tab, tag; blank line between sentences",
    .prepare = tag_prepare, .answer = xc_tag_answer, .metrics = tag_metrics,
};
