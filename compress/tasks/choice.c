/* choice: multiple choice: the model gives each pair of the text and a choice one number; the largest is the answer (transformers' ...ForMultipleChoice). */
#include "compress/tasks/choice.h"

#include <stdlib.h>
#include <string.h>

void xc_choice_pairs_release(struct xc_data *pairs)
{
    xc_free(pairs->a);
    xc_free(pairs->a_len);
    *pairs = (struct xc_data){ 0 };
}

enum xc_status xc_choice_pairs(struct xc_data *out, const struct xc_data *data, struct xc_err *err)
{
    const int64_t K = data->n_choices, n = data->n * K;

    *out = (struct xc_data){ .path = data->path, .n = n, .b = data->choices, .b_len = data->choice_len };
    XC_TRY(xc_new_array(&out->a, n, sizeof *out->a, err));
    if (xc_new_array(&out->a_len, n, sizeof *out->a_len, err) != XC_OK) {
        xc_choice_pairs_release(out);
        return XC_E_NOMEM;
    }
    for (int64_t i = 0; i < n; i++) {
        out->a[i] = data->a[i / K];
        out->a_len[i] = data->a_len[i / K];
    }
    return XC_OK;
}

enum xc_status xc_choice_labels(int32_t **out, const struct xc_data *data, struct xc_err *err)
{
    XC_TRY(xc_new_array(out, data->n, sizeof **out, err));
    for (int64_t i = 0; i < data->n; i++) {
        const size_t digits = strspn(data->label[i], "0123456789");

        (*out)[i] = digits && digits < 4 && !data->label[i][digits] ? atoi(data->label[i]) : INT32_MAX;
        if ((*out)[i] < data->n_choices) continue;
        xc_fail(err, XC_E_RANGE, "label '%.60s' is no number of a choice, 0 to %d", data->label[i], data->n_choices - 1);
        xc_free(*out);
        *out = NULL;
        return xc_data_fail_at(data, i, err, XC_E_RANGE);
    }
    return XC_OK;
}

static enum xc_status choice_need(const struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    return xc_task_need(e, m, !strcmp(m->info.task, "choice") && !m->info.per_token && m->info.output_cols == 1, "a model for multiple choice", err);
}

static enum xc_status choice_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    XC_TRY(choice_need(e, m, err));
    XC_TRY(xc_data_read_tsv(&e->data, e->opts->data, XC_DATA_CHOICE | XC_DATA_LABEL, err));
    e->n_classes = e->data.n_choices;
    return xc_choice_labels(&e->gold_class, &e->data, err);
}

static enum xc_status choice_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    struct xc_data pairs;
    float *logits;
    enum xc_status status;

    XC_TRY(choice_need(e, m, err));
    XC_TRY(xc_choice_pairs(&pairs, &e->data, err));
    status = xc_task_run(&logits, e, m, &pairs, false, true, out, err);
    xc_choice_pairs_release(&pairs);
    XC_TRY(status);
    status = xc_answers_classes(out, e, logits, e->data.n, e->data.n_choices, err);
    xc_free(logits);
    return status;
}

static const struct xc_metric *const *choice_metrics(const struct xc_eval *e)
{
    static const struct xc_metric *const list[] = { &xc_metric_accuracy, NULL };

    (void)e;
    return list;
}

const struct xc_task xc_task_choice = {
    .name = "choice", .help = "which of several texts goes with one", .columns = "label, text, choice0, choice1, ...", .head = "choice",
    .prepare = choice_prepare, .answer = choice_answer, .metrics = choice_metrics,
};
