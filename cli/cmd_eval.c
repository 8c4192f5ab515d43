/* eval: how good a model is at a task, with intervals; two models: the paired difference. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "compress/tasks/task.h"
#include "formats/json.h"

struct eval_opts {
    const char *task, *data, *train, *reference, *metric, *export_head;
    double head_C, head_alpha;
    int64_t threads, seed, resamples, stride;
    bool quiet, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct eval_opts, task, 't', "task", "TASK", NULL, "sts, classify, pair, regress, tag, answer, choice, probe or agreement"),
    CLI_STRING(struct eval_opts, data, 'd', "data", "FILE", NULL, "rows to answer: .tsv with a header, .conll for tag, .tsv or SQuAD's .json for answer, lines for agreement; plain or .zst"),
    CLI_STRING(struct eval_opts, reference, 'r', "reference", "MODEL", NULL, "a second model on the same rows: differences are paired"),
    CLI_STRING(struct eval_opts, metric, 'm', "metric", "NAME", NULL, "report this metric alone"),
    CLI_STRING(struct eval_opts, train, 0, "train", "FILE", NULL, "rows that the head of task probe is fitted on"),
    CLI_STRING(struct eval_opts, export_head, 0, "export-head", "FILE", NULL, "write MODEL with the head fitted by task probe to this .xc"),
    CLI_FLOAT(struct eval_opts, head_C, 0, "head-c", "C", 1e-9, 1e9, "10", "probe with labels: inverse strength of the L2 penalty (scikit-learn's C)"),
    CLI_FLOAT(struct eval_opts, head_alpha, 0, "head-alpha", "A", 1e-9, 1e9, "1", "probe with scores: strength of the L2 penalty"),
    CLI_INT(struct eval_opts, stride, 0, "stride", "N", 0, 1 << 20, "0", "answer: tokens that two windows share where a text is too long for the model; 0 = 128, or half a window"),
    CLI_INT(struct eval_opts, resamples, 0, "resamples", "N", 100, 1000000, "2000", "bootstrap samples behind an interval"),
    CLI_SEED(struct eval_opts, seed), CLI_THREADS(struct eval_opts, threads), CLI_QUIET(struct eval_opts, quiet), CLI_JSON(struct eval_opts, json),
    CLI_END
};

static json_t *estimate_json(const struct xc_estimate *e)
{
    return json_pack("{s:o, s:[o, o]}", "value", xc_json_new_number(e->value), "ci95", xc_json_new_number(e->lo), xc_json_new_number(e->hi));
}

/* Which of the three estimates of each metric. */
static json_t *metrics_json(const struct xc_eval_result *r, int which)
{
    json_t *out = json_object();
    int bad = !out;

    for (int i = 0; i < r->n_metrics; i++) {
        const struct xc_eval_metric *m = &r->metrics[i];

        bad |= json_object_set_new(out, m->metric->name, estimate_json(which == 0 ? &m->model : which == 1 ? &m->reference : &m->difference));
    }
    if (!bad) return out;
    json_decref(out);
    return NULL;
}

static int print_json(const struct xc_eval_result *r, const struct eval_opts *o, const char *path)
{
    json_t *doc = json_object();
    int bad = !doc;

    bad |= json_object_set_new(doc, "task", json_string(o->task));
    bad |= json_object_set_new(doc, "model", xc_json_new_text(path, strlen(path)));
    bad |= json_object_set_new(doc, "data", xc_json_new_text(o->data, strlen(o->data)));
    bad |= json_object_set_new(doc, "rows", json_integer(r->rows));
    bad |= json_object_set_new(doc, "metrics", metrics_json(r, 0));
    if (r->has_reference || r->has_cosine || r->has_flips) {
        json_t *reference = json_object();

        bad |= json_object_set_new(reference, "model", xc_json_new_text(o->reference, strlen(o->reference)));
        if (r->has_reference) bad |= json_object_set_new(reference, "metrics", metrics_json(r, 1));
        bad |= json_object_set_new(doc, "reference", reference);
    }
    if (r->has_reference) bad |= json_object_set_new(doc, "difference", metrics_json(r, 2));
    if (r->has_flips) bad |= json_object_set_new(doc, "flip_rate", xc_json_new_number(r->flip_rate));
    if (r->has_cosine)
        bad |= json_object_set_new(doc, "cosine", json_pack("{s:o, s:o, s:I}", "mean", xc_json_new_number(r->cosine_mean), "min",
                                                            xc_json_new_number(r->cosine_min), "min_line", (json_int_t)r->cosine_min_row));
    bad |= json_object_set_new(doc, "tokens", json_integer(r->tokens));
    bad |= json_object_set_new(doc, "truncated", json_integer(r->truncated));
    bad |= json_object_set_new(doc, "seconds", xc_json_new_number(r->seconds));
    if (bad) xc_json_free(&doc);
    return cli_print_json(doc);
}

static void print_estimate(const struct xc_estimate *e, bool sign)
{
    char value[32], lo[32], hi[32];

    snprintf(value, sizeof value, isnan(e->value) ? "undefined" : sign ? "%+.4f" : "%.4f", e->value);
    snprintf(lo, sizeof lo, isnan(e->lo) ? "-" : sign ? "%+.4f" : "%.4f", e->lo);
    snprintf(hi, sizeof hi, isnan(e->hi) ? "-" : sign ? "%+.4f" : "%.4f", e->hi);
    printf("  %9s [%s, %s]", value, lo, hi);
}

static void print_table(const struct xc_eval_result *r, const struct eval_opts *o, const char *path)
{
    printf("%s on %s: %lld rows, %lld tokens\n", o->task, o->data, (long long)r->rows, (long long)r->tokens);
    printf("model     %s\n", path);
    if (o->reference) printf("reference %s\n", o->reference);
    printf("\n%-12s  %-28s", "metric", "model [95 %]");
    if (r->has_reference) printf("  %-28s  %s", "reference", "model - reference, paired");
    printf("\n");
    for (int i = 0; i < r->n_metrics; i++) {
        printf("%-12s", r->metrics[i].metric->name);
        print_estimate(&r->metrics[i].model, false);
        if (r->has_reference) {
            print_estimate(&r->metrics[i].reference, false);
            print_estimate(&r->metrics[i].difference, true);
        }
        printf("\n");
    }
    if (r->has_flips) printf("\nanswers that differ: %.4f\n", r->flip_rate);
    if (r->has_cosine) printf("\ncosine of embeddings: mean %.6f, smallest %.6f (line %lld)\n", r->cosine_mean, r->cosine_min, (long long)r->cosine_min_row);
}

static int run(void *opts, int argc, char **argv)
{
    const struct eval_opts *const o = opts;
    const struct xc_task *task;
    struct xc_eval_opts eval = { .data = o->data, .train = o->train, .metric = o->metric, .seed = (uint64_t)o->seed, .resamples = (int32_t)o->resamples, .stride = (int32_t)o->stride,
                                 .head_C = o->head_C, .head_alpha = o->head_alpha, .export_head = o->export_head };
    struct xc_subject model = { 0 }, reference = { 0 };
    struct xc_eval_result result;
    struct cli_progress progress;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code;

    (void)argc;
    if (!o->task) return cli_usage(&cli_verb_eval, "give --task");
    if (!o->data) return cli_usage(&cli_verb_eval, "give --data");
    task = xc_task_find(o->task);
    if (!task) return cli_usage(&cli_verb_eval, "unknown task '%.60s'; tasks are sts, classify, pair, regress, tag, answer, choice, probe, agreement", o->task);
    if (task->needs_train && !o->train) return cli_usage(&cli_verb_eval, "task '%s' needs --train", task->name);
    if (!task->needs_train && (o->train || o->export_head)) return cli_usage(&cli_verb_eval, "task '%s' trains nothing: --train and --export-head are for probe", task->name);
    if (o->stride && strcmp(task->name, "answer") != 0) return cli_usage(&cli_verb_eval, "--stride is for task answer, which cuts long texts into windows");
    if (task->needs_reference && !o->reference) return cli_usage(&cli_verb_eval, "task '%s' needs --reference", task->name);
    cli_progress_init(&progress, o->quiet);
    eval.progress = &progress.callbacks;
    status = xc_pool_new(&eval.pool, (int)o->threads, &err);
    if (status == XC_OK) status = xc_subject_open(&model, argv[0], task, eval.pool, &err);
    if (status == XC_OK && o->reference) status = xc_subject_open(&reference, o->reference, task, eval.pool, &err);
    if (status == XC_OK) status = xc_evaluate(&result, task, &model, o->reference ? &reference : NULL, &eval, &err);
    cli_progress_done(&progress);
    if (status != XC_OK) {
        code = cli_fail(&err);
    } else {
        if (result.truncated) cli_warn(!strcmp(task->name, "answer") ? "%lld questions were cut to half of the model's longest sequence, %d tokens" : "%lld texts were cut to the model's longest sequence, %d tokens", (long long)result.truncated, model.session->max_tokens);
        code = CLI_OK;
        if (o->json) code = print_json(&result, o, argv[0]);
        else print_table(&result, o, argv[0]);
    }
    xc_subject_close(&reference);
    xc_subject_close(&model);
    if (eval.pool) xc_pool_free(&eval.pool);
    return code;
}

const struct cli_verb cli_verb_eval = {
    .name = "eval", .summary = "measure accuracy on a task, with intervals", .usage = "MODEL --task TASK --data FILE [--reference MODEL2] [options]",
    .details =
        "MODEL is a .xc file or a Hugging Face directory. Metrics are fractions with a 95 % interval from a bootstrap over rows (percentiles, seeded). With --reference "
        "both models answer the same rows: the difference has a paired interval, and the share of answers that differ and the cosines of the embeddings are shown.\n\n"
        "Tasks and their columns: sts (score, text_a, text_b), classify (label, text), pair (label, text_a, text_b), regress (score or label; text, or text_a and text_b), "
        "tag (.conll: token, tab, tag), answer (question, context, answer, which is empty where the context has none; answer_start if there; or SQuAD's .json), choice (label, text, choice0, choice1, ...), probe (label or score, text, for --train and --data), agreement (lines, or a .tsv with text). A label is a number from 0, or a name "
        "that the model has. A .tsv has a header line and no quoting.",
    .opts = table, .opts_size = sizeof(struct eval_opts), .min_args = 1, .max_args = 1, .run = run,
};
