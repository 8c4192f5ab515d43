/* regress: one number for a text, or for two texts read together when the file has text_a and text_b. */
#include "compress/tasks/task.h"

static enum xc_status regress_need(const struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    return xc_task_need(e, m, !m->info.per_token && m->info.output_cols == 1, "one number per text", err);
}

static enum xc_status regress_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    const int want = XC_DATA_LABEL | XC_DATA_SCORE | XC_DATA_NUMBERS;
    struct xc_err ignored = { 0 };

    XC_TRY(regress_need(e, m, err));
    if (xc_data_read_tsv(&e->data, e->opts->data, want | XC_DATA_PAIR, &ignored) != XC_OK)
        XC_TRY(xc_data_read_tsv(&e->data, e->opts->data, want, err));
    return xc_task_gold_scores(e, err);
}

static enum xc_status regress_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    float *rows = NULL;
    enum xc_status status;

    XC_TRY(regress_need(e, m, err));
    XC_TRY(xc_answers_new_scores(out, e->data.n, err));
    XC_TRY_GOTO(xc_task_run(&rows, e, m, &e->data, false, e->data.b != NULL, out, err), out);
    for (int64_t i = 0; i < e->data.n; i++) out->pred[i] = rows[i];
    status = xc_answers_scores(out, e, err);
out:
    xc_free(rows);
    return status;
}

const struct xc_task xc_task_regress = {
    .name = "regress", .help = "one number for a text or a pair", .columns = "score or label, and text or text_a, text_b",
    .prepare = regress_prepare, .answer = regress_answer, .metrics = xc_task_score_metrics,
};
