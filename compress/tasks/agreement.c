/* agreement: how far two models answer alike, on texts without labels: the mean cosine of embeddings, or the share of
 * equal labels. */
#include "compress/tasks/task.h"

static enum xc_status agreement_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    if (m->info.per_token) return xc_task_need(e, m, false, "one answer per text", err);
    e->kind = m->info.n_labels && m->info.output_cols >= 2 ? XC_KIND_CLASSES : XC_KIND_EMBED;
    return xc_data_read_texts(&e->data, e->opts->data, err);
}

static enum xc_status agreement_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    XC_TRY(xc_task_need(e, m, !m->info.per_token && (m->info.n_labels && m->info.output_cols >= 2) == (e->kind == XC_KIND_CLASSES), "two models of one kind", err));
    XC_TRY(xc_task_run(&out->embedding, e, m, &e->data, false, false, out, err));
    out->n_embeddings = e->data.n;
    out->cols = m->info.output_cols;
    return e->kind == XC_KIND_CLASSES ? xc_answers_classes(out, e, out->embedding, e->data.n, out->cols, err) : XC_OK;
}

static enum xc_status agreement_compare(struct xc_eval *e, struct xc_answers *a, const struct xc_answers *b, struct xc_err *err)
{
    const int64_t n = e->data.n;

    if (a->cols != b->cols) return xc_fail(err, XC_E_SHAPE, "one model answers with %lld numbers, the other with %lld", (long long)a->cols, (long long)b->cols);
    XC_TRY(xc_answers_new_scores(a, n, err));
    for (int64_t i = 0; i < n; i++)
        a->pred[i] = e->kind == XC_KIND_CLASSES ? a->pred_class[i] == b->pred_class[i] : xc_cosine(a->embedding + i * a->cols, b->embedding + i * b->cols, a->cols);
    a->sample = (struct xc_sample){ .n = n, .pred = a->pred };
    if (e->kind == XC_KIND_CLASSES) a->n_embeddings = 0; /* logits are no embeddings */
    return XC_OK;
}

static const struct xc_metric *const *agreement_metrics(const struct xc_eval *e)
{
    static const struct xc_metric *const cosine[] = { &xc_metric_mean, NULL };
    static const struct xc_metric *const labels[] = { &xc_metric_agreement, NULL };

    return e->kind == XC_KIND_CLASSES ? labels : cosine;
}

const struct xc_task xc_task_agreement = {
    .name = "agreement", .help = "how far two models answer alike: cosine of embeddings, or equal labels", .columns = "plain lines, or a .tsv with text",
    .needs_reference = true, .prepare = agreement_prepare, .answer = agreement_answer, .metrics = agreement_metrics, .compare = agreement_compare,
};
