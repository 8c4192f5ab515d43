/* classify: one label for a text. pair (pair.c) is the same for two texts read together. */
#include "compress/tasks/classify.h"

enum xc_status xc_classify_prepare(struct xc_eval *e, const struct xc_subject *m, int want, struct xc_err *err)
{
    XC_TRY(xc_task_need(e, m, !m->info.per_token && m->info.n_labels != 0 && m->info.output_cols >= 2, "a classifier", err));
    XC_TRY(xc_data_read_tsv(&e->data, e->opts->data, want | XC_DATA_LABEL, err));
    return xc_task_gold_labels(e, m, err);
}

enum xc_status xc_classify_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, bool pairs, struct xc_err *err)
{
    float *logits;
    enum xc_status status;

    XC_TRY(xc_task_need(e, m, !m->info.per_token && m->info.n_labels != 0 && m->info.output_cols >= 2, "a classifier", err));
    XC_TRY(xc_task_run(&logits, e, m, &e->data, false, pairs, out, err));
    status = xc_answers_classes(out, e, logits, e->data.n, m->info.output_cols, err);
    xc_free(logits);
    return status;
}

static enum xc_status classify_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    return xc_classify_prepare(e, m, 0, err);
}

static enum xc_status classify_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    return xc_classify_answer(e, m, out, false, err);
}

const struct xc_task xc_task_classify = {
    .name = "classify", .help = "one label for a text", .columns = "label, text",
    .prepare = classify_prepare, .answer = classify_answer, .metrics = xc_task_class_metrics,
};
