/* task: the list of tasks and the evaluation that they share. See task.h. */
#include "compress/tasks/task.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/formats.h"
#include "runtime/base/clock.h"

#define TASK(name) extern const struct xc_task xc_task_##name;
#include "compress/tasks.def"
#undef TASK

static const struct xc_task *const tasks[] = {
#define TASK(name) &xc_task_##name,
#include "compress/tasks.def"
#undef TASK
};

const struct xc_task *const *xc_task_list(int *n)
{
    *n = (int)XC_ARRAY_LEN(tasks);
    return tasks;
}

const struct xc_task *xc_task_find(const char *name)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(tasks); i++)
        if (!strcmp(tasks[i]->name, name)) return tasks[i];
    return NULL;
}

/* ---- subjects ---- */
void xc_subject_close(struct xc_subject *s)
{
    if (s->session) xc_session_free(&s->session);
    if (s->model) xc_model_free(&s->model);
    *s = (struct xc_subject){ 0 };
}

enum xc_status xc_subject_open(struct xc_subject *out, const char *path, const struct xc_task *task, struct xc_pool *pool, struct xc_err *err)
{
    const struct xc_load_opts load = { .head = task ? task->head : NULL };
    const struct xc_session_opts opts = { .pool = pool };
    enum xc_status status;

    *out = (struct xc_subject){ .path = path };
    XC_TRY_GOTO(xc_model_load(&out->model, path, &load, err), out);
    XC_TRY_GOTO(xc_session_new(&out->session, out->model, &opts, err), out);
    out->info = out->session->info;
out:
    if (status != XC_OK) {
        xc_fail_at(err, status, "%s", path);
        xc_subject_close(out);
    }
    return status;
}

/* ---- what tasks share ---- */
enum xc_status xc_task_need(const struct xc_eval *e, const struct xc_subject *m, bool ok, const char *what, struct xc_err *err)
{
    if (ok) return XC_OK;
    xc_fail(err, XC_E_UNSUPPORTED, "task '%s' needs %s; this is a model for '%s'", e->task->name, what, m->info.task);
    return xc_fail_at(err, XC_E_UNSUPPORTED, "%s", m->path);
}

enum xc_status xc_new_array(void *out, int64_t n, size_t size, struct xc_err *err)
{
    void *p;
    size_t bytes;

    memset(out, 0, sizeof p);
    if (n < 0 || !xc_mul_ok(&bytes, (size_t)n + !n, size)) return xc_fail(err, XC_E_RANGE, "%lld rows are too many to hold in memory", (long long)n);
    p = xc_calloc(1, bytes);
    if (!p) return xc_fail_nomem(err, bytes);
    memcpy(out, &p, sizeof p);
    return XC_OK;
}

int32_t xc_argmax(const float *x, int64_t n)
{
    int32_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = (int32_t)i;
    return best;
}

struct collect {
    float *rows;
    int64_t cols;
};

static enum xc_status collect_row(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    const struct collect *c = arg;

    if (a->rows != 1 || a->cols != c->cols) return xc_fail(err, XC_E_SHAPE, "the model answers %lld x %lld numbers to one text", (long long)a->rows, (long long)a->cols);
    memcpy(c->rows + a->row * c->cols, a->data, (size_t)c->cols * sizeof *a->data);
    return XC_OK;
}

enum xc_status xc_task_run(float **rows, const struct xc_eval *e, const struct xc_subject *m, const struct xc_data *data, bool b_texts, bool pairs,
                           struct xc_answers *totals, struct xc_err *err)
{
    const struct xc_texts texts = {
        .n = data->n, .a = b_texts ? data->b : data->a, .a_len = b_texts ? data->b_len : data->a_len, .b = pairs ? data->b : NULL, .b_len = pairs ? data->b_len : NULL,
    };
    struct collect c = { .cols = m->info.output_cols };
    struct xc_batcher batcher;
    enum xc_status status;
    size_t count;

    *rows = NULL;
    if (!xc_mul_ok(&count, (size_t)data->n, (size_t)c.cols)) return xc_fail(err, XC_E_RANGE, "too many rows to hold in memory");
    XC_TRY(xc_new_array(&c.rows, (int64_t)count, sizeof *c.rows, err));
    xc_batcher_init(&batcher, m->session, e->opts->pool);
    batcher.progress = e->opts->progress;
    status = xc_batcher_run(&batcher, &texts, collect_row, &c, err);
    totals->tokens += batcher.tokens_done;
    totals->truncated += batcher.truncated;
    xc_batcher_release(&batcher);
    if (status != XC_OK) {
        xc_free(c.rows);
        return xc_fail_at(err, status, "%s", m->path);
    }
    *rows = c.rows;
    return XC_OK;
}

enum xc_status xc_task_gold_scores(struct xc_eval *e, struct xc_err *err)
{
    XC_TRY(xc_new_array(&e->gold, e->data.n, sizeof *e->gold, err));
    XC_TRY(xc_new_array(&e->gold_order, e->data.n, sizeof *e->gold_order, err));
    memcpy(e->gold, e->data.score, (size_t)e->data.n * sizeof *e->gold);
    return xc_stats_order(e->gold_order, e->gold, e->data.n, err);
}

/* A label is a name of the model's, or the number of one. */
static int32_t find_label(const struct xc_model *m, const char *label)
{
    int64_t v = 0;
    const char *p = label;

    for (int32_t i = 0; i < m->n_labels; i++)
        if (!strcmp(m->labels[i], label)) return i;
    for (; *p >= '0' && *p <= '9' && v < INT32_MAX; p++) v = v * 10 + (*p - '0');
    return p != label && !*p && v <= INT32_MAX ? (int32_t)v : -1;
}

enum xc_status xc_task_gold_labels(struct xc_eval *e, const struct xc_subject *m, struct xc_err *err)
{
    const int64_t classes = m->info.output_cols;

    e->n_classes = (int32_t)classes;
    XC_TRY(xc_new_array(&e->gold_class, e->data.n, sizeof *e->gold_class, err));
    for (int64_t i = 0; i < e->data.n; i++) {
        e->gold_class[i] = find_label(m->model, e->data.label[i]);
        if (e->gold_class[i] >= 0 && e->gold_class[i] < classes) continue;
        xc_fail(err, XC_E_RANGE, "label '%s' is none of the model's %lld: a number from 0 to %lld%s%s%s", e->data.label[i], (long long)classes, (long long)classes - 1,
                m->model->n_labels ? ", or a name such as '" : "", m->model->n_labels ? m->model->labels[0] : "", m->model->n_labels ? "'" : "");
        return xc_data_fail_at(&e->data, i, err, XC_E_RANGE);
    }
    return XC_OK;
}

enum xc_status xc_answers_new_scores(struct xc_answers *out, int64_t n, struct xc_err *err)
{
    XC_TRY(xc_new_array(&out->pred, n, sizeof *out->pred, err));
    return xc_new_array(&out->pred_order, n, sizeof *out->pred_order, err);
}

enum xc_status xc_answers_scores(struct xc_answers *out, const struct xc_eval *e, struct xc_err *err)
{
    out->sample = (struct xc_sample){ .n = e->data.n, .gold = e->gold, .gold_order = e->gold_order, .pred = out->pred, .pred_order = out->pred_order };
    return xc_stats_order(out->pred_order, out->pred, e->data.n, err);
}

enum xc_status xc_answers_classes(struct xc_answers *out, const struct xc_eval *e, const float *logits, int64_t n, int64_t cols, struct xc_err *err)
{
    XC_TRY(xc_new_array(&out->pred_class, n, sizeof *out->pred_class, err));
    for (int64_t i = 0; i < n; i++) out->pred_class[i] = xc_argmax(logits + i * cols, cols);
    out->sample = (struct xc_sample){ .n = n, .gold_class = e->gold_class, .pred_class = out->pred_class, .n_classes = (int32_t)cols };
    return XC_OK;
}

void xc_answers_release(struct xc_answers *a)
{
    xc_free(a->pred);
    xc_free(a->pred_order);
    xc_free(a->pred_class);
    xc_free(a->hits);
    xc_free(a->n_pred);
    xc_free(a->n_gold);
    xc_free(a->embedding);
    xc_free(a->token_class);
    *a = (struct xc_answers){ 0 };
}

const struct xc_metric *const *xc_task_class_metrics(const struct xc_eval *e)
{
    static const struct xc_metric *const two[] = { &xc_metric_accuracy, &xc_metric_f1, &xc_metric_f1_macro, &xc_metric_matthews, NULL };
    static const struct xc_metric *const many[] = { &xc_metric_accuracy, &xc_metric_f1_macro, &xc_metric_matthews, NULL };

    return e->n_classes == 2 ? two : many;
}

const struct xc_metric *const *xc_task_score_metrics(const struct xc_eval *e)
{
    static const struct xc_metric *const list[] = { &xc_metric_pearson, &xc_metric_spearman, &xc_metric_mse, &xc_metric_mae, &xc_metric_r2, NULL };

    (void)e;
    return list;
}

/* ---- evaluation ---- */
static void eval_release(struct xc_eval *e)
{
    xc_data_release(&e->data);
    xc_data_release(&e->train);
    xc_free(e->gold);
    xc_free(e->gold_order);
    xc_free(e->gold_class);
    xc_free(e->labels);
    xc_free(e->train_class);
}

static enum xc_status choose_metrics(struct xc_eval_result *out, const struct xc_eval *e, struct xc_err *err)
{
    const struct xc_metric *const *list = e->task->metrics(e);
    char names[160] = "";

    for (size_t used = 0; *list; list++) {
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", (*list)->name);
        if (used >= sizeof names) used = sizeof names - 1;
        if (e->opts->metric && strcmp(e->opts->metric, (*list)->name)) continue;
        if (out->n_metrics < XC_MAX_METRICS) out->metrics[out->n_metrics++] = (struct xc_eval_metric){ .metric = *list };
    }
    if (out->n_metrics) return XC_OK;
    return xc_fail(err, XC_E_NOT_FOUND, "task '%s' has no metric '%s' here; it has %s", e->task->name, e->opts->metric, names);
}

/* The same classes, the same order of names where names are used at all. */
static enum xc_status check_pair(const struct xc_eval *e, const struct xc_subject *a, const struct xc_subject *b, struct xc_err *err)
{
    bool numbers = true;

    if (!e->gold_class || e->labels) return XC_OK; /* probe: the labels are the data's */
    if (a->info.output_cols != b->info.output_cols)
        return xc_fail(err, XC_E_SHAPE, "'%s' has %lld labels, '%s' has %lld", a->path, (long long)a->info.output_cols, b->path, (long long)b->info.output_cols);
    for (int64_t i = 0; i < e->data.n && numbers; i++) numbers = strspn(e->data.label[i], "0123456789") == strlen(e->data.label[i]);
    for (int32_t i = 0; !numbers && i < a->model->n_labels && i < b->model->n_labels; i++)
        if (strcmp(a->model->labels[i], b->model->labels[i]))
            return xc_fail(err, XC_E_MISMATCH, "label %d is '%s' in one model and '%s' in the other", i, a->model->labels[i], b->model->labels[i]);
    return XC_OK;
}

static void cosines(struct xc_eval_result *out, const struct xc_eval *e, const struct xc_answers *a, const struct xc_answers *b)
{
    double sum = 0;

    out->has_cosine = true;
    out->cosine_min = 2;
    for (int64_t i = 0; i < a->n_embeddings; i++) {
        const double c = xc_cosine(a->embedding + i * a->cols, b->embedding + i * b->cols, a->cols);

        sum += c;
        if (c >= out->cosine_min) continue;
        out->cosine_min = c;
        out->cosine_min_row = e->data.line[i % e->data.n];
    }
    out->cosine_mean = sum / (double)a->n_embeddings;
}

/* The share of answers that differ: rows, or words of tagged sentences. */
static void flips(struct xc_eval_result *out, const struct xc_eval *e, const struct xc_answers *a, const struct xc_answers *b)
{
    if (a->token_class && b->token_class) out->flip_rate = xc_flip_rate(a->token_class, b->token_class, e->data.n_words);
    else if (a->pred_class && b->pred_class) out->flip_rate = xc_flip_rate(a->pred_class, b->pred_class, e->data.n);
    else return;
    out->has_flips = true;
}

static enum xc_status estimates(struct xc_eval_result *out, const struct xc_eval *e, const struct xc_answers *a, const struct xc_answers *b, struct xc_err *err)
{
    const struct xc_bootstrap_opts opts = { .seed = e->opts->seed, .resamples = e->opts->resamples, .pool = e->opts->pool };
    const struct xc_metric *metrics[XC_MAX_METRICS];
    struct xc_estimate est[XC_MAX_METRICS];
    const int n = out->n_metrics;

    for (int i = 0; i < n; i++) metrics[i] = out->metrics[i].metric;
    XC_TRY(xc_bootstrap(est, metrics, n, &a->sample, NULL, &opts, err));
    for (int i = 0; i < n; i++) out->metrics[i].model = est[i];
    if (!b) return XC_OK;
    XC_TRY(xc_bootstrap(est, metrics, n, &b->sample, NULL, &opts, err));
    for (int i = 0; i < n; i++) out->metrics[i].reference = est[i];
    XC_TRY(xc_bootstrap(est, metrics, n, &a->sample, &b->sample, &opts, err));
    for (int i = 0; i < n; i++) out->metrics[i].difference = est[i];
    return XC_OK;
}

enum xc_status xc_evaluate(struct xc_eval_result *out, const struct xc_task *task, const struct xc_subject *model, const struct xc_subject *reference,
                           const struct xc_eval_opts *opts, struct xc_err *err)
{
    struct xc_eval e = { .task = task, .opts = opts };
    struct xc_answers a = { 0 }, b = { 0 };
    enum xc_status status;
    double start;

    *out = (struct xc_eval_result){ 0 };
    if (task->needs_train && !opts->train) return xc_fail(err, XC_E_ARG, "task '%s' needs a file of training rows", task->name);
    if (task->needs_reference && !reference) return xc_fail(err, XC_E_ARG, "task '%s' compares two models: it needs a reference", task->name);
    if (!task->needs_train && (opts->train || opts->export_head)) return xc_fail(err, XC_E_ARG, "task '%s' trains nothing", task->name);
    XC_TRY_GOTO(task->prepare(&e, model, err), out);
    if (e.data.n > INT32_MAX) {
        status = xc_fail(err, XC_E_RANGE, "%lld rows are more than the statistics hold", (long long)e.data.n);
        goto out;
    }
    XC_TRY_GOTO(choose_metrics(out, &e, err), out);
    if (reference) XC_TRY_GOTO(check_pair(&e, model, reference, err), out);
    start = xc_seconds();
    XC_TRY_GOTO(task->answer(&e, model, &a, err), out);
    if (reference) XC_TRY_GOTO(task->answer(&e, reference, &b, err), out);
    out->seconds = xc_seconds() - start;
    if (task->compare) XC_TRY_GOTO(task->compare(&e, &a, &b, err), out);
    out->rows = e.data.n;
    out->tokens = a.tokens;
    out->truncated = a.truncated;
    out->has_reference = reference && !task->compare;
    XC_TRY_GOTO(estimates(out, &e, &a, out->has_reference ? &b : NULL, err), out);
    if (reference) {
        flips(out, &e, &a, &b);
        if (a.n_embeddings && b.n_embeddings && a.cols == b.cols) cosines(out, &e, &a, &b);
    }
out:
    xc_answers_release(&a);
    xc_answers_release(&b);
    eval_release(&e);
    if (status != XC_OK) *out = (struct xc_eval_result){ 0 };
    return status;
}
