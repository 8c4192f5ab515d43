/* pair: one label for two texts that the model reads as one sequence (entailment, question and answer). */
#include "compress/tasks/classify.h"

static enum xc_status pair_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    return xc_classify_prepare(e, m, XC_DATA_PAIR, err);
}

static enum xc_status pair_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    return xc_classify_answer(e, m, out, true, err);
}

const struct xc_task xc_task_pair = {
    .name = "pair", .help = "one label for two texts read together", .columns = "label, text_a, text_b",
    .prepare = pair_prepare, .answer = pair_answer, .metrics = xc_task_class_metrics,
};
