/* probe: what frozen embeddings know: a ridge or logistic head (linear_head.h) fitted on the embeddings of labelled texts, measured on
 * others. With a column `score` the head is a regression, with `label` a classifier over the labels that the training rows have.
 *
 * The head can be written as a model: the embedding graph, one more linear op, and the labels. Its numbers are rounded to f32 before
 * anything is measured, so that the file answers what was measured. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress/manifest.h"
#include "compress/tasks/linear_head.h"
#include "compress/tasks/task.h"
#include "formats/json.h"
#include "runtime/container/container.h"
#include "runtime/session/golden.h"

/* ---- labels ---- */
/* The distinct labels of the training rows, numbers before their order as text. */
static enum xc_status collect_labels(struct xc_eval *e, struct xc_err *err)
{
    XC_TRY(xc_new_array(&e->labels, e->train.n, sizeof *e->labels, err));
    memcpy(e->labels, e->train.label, (size_t)e->train.n * sizeof *e->labels);
    qsort(e->labels, (size_t)e->train.n, sizeof *e->labels, xc_data_compare_labels);
    for (int64_t i = 0; i < e->train.n; i++)
        if (!e->n_classes || strcmp(e->labels[e->n_classes - 1], e->labels[i])) e->labels[e->n_classes++] = e->labels[i];
    if (e->n_classes >= 2) return XC_OK;
    xc_fail(err, XC_E_RANGE, "all rows have the label '%s'; a classifier needs two", e->labels[0]);
    return xc_fail_at(err, XC_E_RANGE, "%s", e->train.path);
}

static enum xc_status map_labels(int32_t *out, const struct xc_eval *e, const struct xc_data *d, struct xc_err *err)
{
    for (int64_t i = 0; i < d->n; i++) {
        const char **found = bsearch(&d->label[i], e->labels, (size_t)e->n_classes, sizeof *e->labels, xc_data_compare_labels);

        if (!found) {
            xc_fail(err, XC_E_RANGE, "label '%s' is not in the training rows '%s'", d->label[i], e->train.path);
            return xc_data_fail_at(d, i, err, XC_E_RANGE);
        }
        out[i] = (int32_t)(found - e->labels);
    }
    return XC_OK;
}

static enum xc_status probe_prepare(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    const int either = XC_DATA_LABEL | XC_DATA_SCORE;

    (void)m;
    XC_TRY(xc_data_read_tsv(&e->train, e->opts->train, either, err));
    e->numbers = e->train.score != NULL;
    XC_TRY(xc_data_read_tsv(&e->data, e->opts->data, e->numbers ? XC_DATA_SCORE : XC_DATA_LABEL, err));
    if (e->numbers) return xc_task_gold_scores(e, err);
    XC_TRY(collect_labels(e, err));
    XC_TRY(xc_new_array(&e->train_class, e->train.n, sizeof *e->train_class, err));
    XC_TRY(xc_new_array(&e->gold_class, e->data.n, sizeof *e->gold_class, err));
    XC_TRY(map_labels(e->train_class, e, &e->train, err));
    return map_labels(e->gold_class, e, &e->data, err);
}

/* ---- the head as a model ---- */
static enum xc_status add_tensor(struct xc_model *m, int32_t *id, const char *name, const double *x, int64_t rows, int64_t cols, struct xc_err *err)
{
    const int64_t dim[2] = { rows, cols };
    float *copy;
    enum xc_status status;

    XC_TRY(rows == 0 ? xc_model_add_tensor(m, id, name, 1, &dim[1], err) : xc_model_add_tensor(m, id, name, 2, dim, err));
    XC_TRY(xc_new_array(&copy, (rows ? rows : 1) * cols, sizeof *copy, err));
    for (int64_t i = 0; i < (rows ? rows : 1) * cols; i++) copy[i] = (float)x[i];
    status = xc_tensor_set_f32(m->tensors[*id], copy, err);
    xc_free(copy);
    return status;
}

/* Says in the manifest that a head was added; a model without a manifest stays without. */
static enum xc_status note_head(struct xc_model *m, const struct xc_eval *e, struct xc_err *err)
{
    json_t *doc = NULL, *head, *files = NULL;
    struct xc_buf *buf = NULL;
    char *text = NULL;
    size_t len;
    enum xc_status status;
    int bad = 0;

    if (!m->manifest) return XC_OK;
    XC_TRY(xc_json_parse(&doc, (const char *)m->manifest->data, m->manifest->size, "manifest", NULL, err));
    status = strcmp(e->opts->train, "-") ? xc_manifest_files(&files, e->opts->train, NULL, NULL, err) : XC_OK; /* a stream cannot be had again */
    if (status != XC_OK) {
        xc_json_free(&doc);
        return status;
    }
    head = json_object();
    bad |= json_object_set_new(head, "kind", json_string(e->numbers ? "ridge" : "logistic"));
    bad |= json_object_set_new(head, e->numbers ? "alpha" : "C", json_real(e->numbers ? (e->opts->head_alpha > 0 ? e->opts->head_alpha : 1) : e->opts->head_C > 0 ? e->opts->head_C : 1));
    bad |= json_object_set_new(head, "rows", json_integer(e->train.n));
    bad |= json_object_set_new(head, "train", files ? files : json_array());
    bad |= json_object_set_new(doc, "probe", head);
    status = bad ? xc_fail_nomem(err, 0) : xc_json_text(&text, &len, doc, 2, err);
    if (status == XC_OK) status = xc_buf_new(&buf, len, err);
    if (status == XC_OK) {
        memcpy(buf->data, text, len);
        xc_buf_unref(&m->manifest);
        m->manifest = buf;
    }
    xc_free(text);
    xc_json_free(&doc);
    return status;
}

static enum xc_status add_head(struct xc_model *m, const struct xc_linear_head *head, const struct xc_eval *e, struct xc_err *err)
{
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    int32_t weight, bias, out;

    if (!g || g->n_outputs < 1) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode' with an output");
    XC_TRY(add_tensor(m, &weight, "probe.weight", head->weight, head->outputs, head->inputs, err));
    XC_TRY(add_tensor(m, &bias, "probe.bias", head->bias, 0, head->outputs, err));
    XC_TRY(xc_graph_add_node(g, &out, "linear", "probe", (struct xc_ref[]){ xc_val(g->outputs[0]), xc_ten(weight), xc_ten(bias) }, 3, NULL, err));
    g->outputs[0] = out;
    g->n_outputs = 1;
    for (int32_t i = 0; i < e->n_classes; i++) XC_TRY(xc_model_add_label(m, e->labels[i], err));
    XC_TRY(xc_model_set_meta(m, "task", e->numbers ? "regress" : "classify", err));
    XC_TRY(xc_model_verify(m, err));
    XC_TRY(note_head(m, e, err));
    if (!m->golden) return XC_OK;
    xc_buf_unref(&m->golden);
    return xc_golden_make(&m->golden, m, false, e->opts->pool, err);
}

static enum xc_status export_head(struct xc_eval *e, const struct xc_subject *s, const struct xc_linear_head *head, struct xc_err *err)
{
    const struct xc_write_opts opts = { .pool = e->opts->pool, .cancelled = e->opts->progress ? e->opts->progress->cancelled : NULL,
                                        .cancelled_arg = e->opts->progress ? e->opts->progress->arg : NULL };
    struct xc_model *m = NULL;
    enum xc_status status;

    XC_TRY(xc_model_clone(&m, s->model, err));
    status = add_head(m, head, e, err);
    if (status == XC_OK) status = xc_container_write(m, e->opts->export_head, &opts, NULL, err);
    xc_model_free(&m);
    return status;
}

/* ---- fit and answer ---- */
static enum xc_status fit(struct xc_linear_head *head, const struct xc_eval *e, const float *x, int64_t cols, struct xc_err *err)
{
    const struct xc_linear_opts opts = {
        .alpha = e->opts->head_alpha, .C = e->opts->head_C, .pool = e->opts->pool, .cancelled = e->opts->progress ? e->opts->progress->cancelled : NULL,
        .cancelled_arg = e->opts->progress ? e->opts->progress->arg : NULL,
    };

    XC_TRY(e->numbers ? xc_ridge_fit(head, x, e->train.score, e->train.n, cols, &opts, err)
                      : xc_logistic_fit(head, x, e->train_class, e->train.n, cols, e->n_classes, &opts, err));
    for (int64_t i = 0; i < head->outputs * head->inputs; i++) head->weight[i] = (double)(float)head->weight[i];
    for (int64_t i = 0; i < head->outputs; i++) head->bias[i] = (double)(float)head->bias[i];
    return XC_OK;
}

static enum xc_status measure(struct xc_answers *out, const struct xc_eval *e, const struct xc_linear_head *head, struct xc_err *err)
{
    const int64_t n = e->data.n, K = head->outputs;
    double *z = NULL;
    float *logits = NULL;
    enum xc_status status;

    XC_TRY_GOTO(xc_new_array(&z, n * K, sizeof *z, err), out);
    xc_linear_head_apply(z, head, out->embedding, n);
    if (e->numbers) {
        XC_TRY_GOTO(xc_answers_new_scores(out, n, err), out);
        memcpy(out->pred, z, (size_t)n * sizeof *z);
        status = xc_answers_scores(out, e, err);
        goto out;
    }
    XC_TRY_GOTO(xc_new_array(&logits, n * K, sizeof *logits, err), out);
    for (int64_t i = 0; i < n * K; i++) logits[i] = (float)z[i];
    status = xc_answers_classes(out, e, logits, n, K, err);
out:
    xc_free(z);
    xc_free(logits);
    return status;
}

static enum xc_status probe_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err)
{
    struct xc_linear_head head = { 0 };
    float *x = NULL;
    enum xc_status status;

    XC_TRY(xc_task_need(e, m, !m->info.per_token && m->info.n_labels == 0, "one embedding per text", err));
    XC_TRY_GOTO(xc_task_run(&x, e, m, &e->train, false, false, out, err), out);
    XC_TRY_GOTO(fit(&head, e, x, m->info.output_cols, err), out);
    XC_TRY_GOTO(xc_task_run(&out->embedding, e, m, &e->data, false, false, out, err), out);
    out->n_embeddings = e->data.n;
    out->cols = m->info.output_cols;
    XC_TRY_GOTO(measure(out, e, &head, err), out);
    if (e->opts->export_head && !e->exported) XC_TRY_GOTO(export_head(e, m, &head, err), out);
    e->exported = true;
out:
    xc_linear_head_release(&head);
    xc_free(x);
    return status;
}

static const struct xc_metric *const *probe_metrics(const struct xc_eval *e)
{
    return e->numbers ? xc_task_score_metrics(e) : xc_task_class_metrics(e);
}

const struct xc_task xc_task_probe = {
    .name = "probe", .help = "a logistic (label) or ridge (score) head fitted on frozen embeddings of --train", .columns = "label or score, text",
    .head = "embed", .needs_train = true, .prepare = probe_prepare, .answer = probe_answer, .metrics = probe_metrics,
};
