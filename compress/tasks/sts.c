/* sts: semantic textual similarity: the cosine of two embeddings against a score (Cer et al. 2017, arXiv:1708.00055). */
#include <string.h>

#include "compress/tasks/task.h"

static enum xc_status sts_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    (void)m;
    XC_TRY(xc_data_read_tsv(&e->data, e->opts->data, XC_DATA_PAIR | XC_DATA_SCORE, err));
    return xc_task_gold_scores(e, err);
}

static enum xc_status sts_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    const int64_t n = e->data.n, cols = m->info.output_cols;
    float *b = NULL;
    enum xc_status status;

    XC_TRY(xc_task_need(e, m, !m->info.per_token && m->info.n_labels == 0, "one embedding per text", err));
    XC_TRY_GOTO(xc_answers_new_scores(out, n, err), out);
    XC_TRY_GOTO(xc_task_run(&out->embedding, e, m, &e->data, false, false, out, err), out);
    XC_TRY_GOTO(xc_task_run(&b, e, m, &e->data, true, false, out, err), out);
    for (int64_t i = 0; i < n; i++) out->pred[i] = xc_cosine(out->embedding + i * cols, b + i * cols, cols);
    XC_TRY_GOTO(xc_answers_scores(out, e, err), out);
    { /* both sides are compared with the reference's */
        float *both = xc_realloc(out->embedding, (size_t)(2 * n * cols) * sizeof *both);

        if (!both) {
            status = xc_fail_nomem(err, (size_t)(2 * n * cols) * sizeof *both);
            goto out;
        }
        memcpy(both + n * cols, b, (size_t)(n * cols) * sizeof *b);
        out->embedding = both;
        out->n_embeddings = 2 * n;
        out->cols = cols;
    }
out:
    xc_free(b);
    return status;
}

static const struct xc_metric *const *sts_metrics(const struct xc_eval *e)
{
    static const struct xc_metric *const list[] = { &xc_metric_spearman, &xc_metric_pearson, NULL };

    (void)e;
    return list;
}

const struct xc_task xc_task_sts = {
    .name = "sts", .help = "similarity of two texts: cosine of their embeddings against a score", .columns = "score, text_a, text_b",
    .head = "embed", .prepare = sts_prepare, .answer = sts_answer, .metrics = sts_metrics,
};
