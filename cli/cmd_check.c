/* check: the gate of continuous integration: is a model within its budget? */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "compress/gate/check.h"
#include "formats/json.h"
#include "runtime/base/atomic_file.h"

struct check_opts {
    const char *budget, *junit, *markdown;
    int64_t threads, seed, resamples;
    bool quiet, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct check_opts, budget, 'b', "budget", "FILE", NULL, "the budget, YAML; paths in it are relative to its folder"),
    CLI_STRING(struct check_opts, junit, 0, "junit", "FILE", NULL, "write the result as JUnit XML, too"),
    CLI_STRING(struct check_opts, markdown, 0, "markdown", "FILE", NULL, "write the result as a Markdown table, too"),
    CLI_INT(struct check_opts, resamples, 0, "resamples", "N", 100, 1000000, "2000", "bootstrap samples behind an interval"),
    CLI_SEED(struct check_opts, seed), CLI_THREADS(struct check_opts, threads), CLI_QUIET(struct check_opts, quiet), CLI_JSON(struct check_opts, json),
    CLI_END
};

static int print_json(const struct xc_check_report *r, const char *model)
{
    json_t *doc = json_object(), *rows = json_array();
    int bad = !doc;

    bad |= json_object_set_new(doc, "verdict", json_string(xc_verdict_name(r->verdict)));
    bad |= json_object_set_new(doc, "failed", json_boolean(r->failed));
    bad |= json_object_set_new(doc, "model", xc_json_new_text(model, strlen(model)));
    for (int32_t i = 0; i < r->n_rows; i++) {
        const struct xc_check_row *row = &r->rows[i];
        json_t *ci = isnan(row->lo) || isnan(row->hi) ? json_null() : json_pack("[o, o]", xc_json_new_number(row->lo), xc_json_new_number(row->hi));

        bad |= json_array_append_new(rows, json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:s, s:b, s:o}", "name", xc_json_new_text(row->name, strlen(row->name)), "unit", row->unit,
                                                     "bound", row->at_least ? "min" : "max", "limit", xc_json_new_number(row->limit), "value", xc_json_new_number(row->value),
                                                     "ci95", ci, "verdict", xc_verdict_name(row->verdict), "strict", (int)row->strict, "note",
                                                     xc_json_new_text(row->note, strlen(row->note))));
    }
    bad |= json_object_set_new(doc, "budgets", rows);
    bad |= json_object_set_new(doc, "seconds", xc_json_new_number(r->seconds));
    if (bad) xc_json_free(&doc);
    return cli_print_json(doc);
}

/* Composed in memory, then put in place as a whole. */
static enum xc_status write_report(const char *path, void (*print)(FILE *, const struct xc_check_report *, const char *), const struct xc_check_report *r, const char *model,
                                   struct xc_err *err)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    enum xc_status status;

    if (!path) return XC_OK;
    f = open_memstream(&text, &n);
    if (!f) return xc_fail_nomem(err, 0);
    print(f, r, model);
    if (ferror(f) | fclose(f)) {
        free(text);
        return xc_fail_nomem(err, n);
    }
    status = xc_atomic_write_file(path, text, n, err);
    free(text);
    return status;
}

static int run(void *opts, int argc, char **argv)
{
    static char self[] = "/proc/self/exe";
    const struct check_opts *const o = opts;
    struct xc_check_opts check = { .seed = (uint64_t)o->seed, .resamples = (int32_t)o->resamples, .program = self, .verb = "measure-process" };
    struct xc_check_report report = { 0 };
    struct cli_progress progress;
    struct xc_budget budget;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code = CLI_OK;

    (void)argc;
    if (!o->budget) return cli_usage(&cli_verb_check, "give --budget");
    if (xc_budget_read(&budget, o->budget, &err)) return cli_fail(&err);
    cli_progress_init(&progress, o->quiet);
    check.progress = &progress.callbacks;
    status = o->junit ? xc_atomic_check(o->junit, NULL, &err) : XC_OK;
    if (status == XC_OK && o->markdown) status = xc_atomic_check(o->markdown, NULL, &err);
    if (status == XC_OK) status = xc_pool_new(&check.pool, (int)o->threads, &err);
    if (status == XC_OK) status = xc_check(&report, argv[0], &budget, &check, &err);
    cli_progress_done(&progress);
    if (status == XC_OK) status = write_report(o->junit, xc_check_print_junit, &report, argv[0], &err);
    if (status == XC_OK) status = write_report(o->markdown, xc_check_print_markdown, &report, argv[0], &err);
    if (status != XC_OK) {
        code = cli_fail(&err);
    } else {
        if (o->json) code = print_json(&report, argv[0]);
        else xc_check_print(stdout, &report, argv[0]);
        for (int32_t i = 0; i < report.n_rows; i++)
            if (report.rows[i].verdict == XC_UNDECIDED && !report.rows[i].strict)
                cli_warn("%s: undecided: more rows would narrow the interval; 'strict: true' makes this a failure", report.rows[i].name);
        if (code == CLI_OK && report.failed) code = CLI_OVER_BUDGET;
    }
    if (check.pool) xc_pool_free(&check.pool);
    xc_check_report_release(&report);
    xc_budget_release(&budget);
    return code;
}

const struct cli_verb cli_verb_check = {
    .name = "check", .summary = "is a model within its budget? the gate for continuous integration", .usage = "MODEL --budget FILE [--junit FILE] [--markdown FILE] [options]",
    .details =
        "Exit code 0: every limit holds; 3: a limit is missed; 1: something could not be measured.\n\n"
        "A budget is YAML: model: {max_bytes: 23.5MB, max_bits_per_weight: 8.5}, accuracy: [{task: sts, data: dev.tsv, metric: spearman, min: 0.85, reference: fp32.xc, "
        "max_drop: 0.002, strict: false}], latency: [{tokens: 128, threads: 1, batch: 1, max_ms: 5, or: {baseline: old.xc, max_ratio: 1.1}}], memory: {max_rss: 60MB}, start: "
        "{max_ms: 25}. Every part may be left out; unknown keys are errors.\n\n"
        "A drop in accuracy is within when the upper end of its paired 95 % interval is inside the limit, over when the lower end is outside, and undecided otherwise: a warning, "
        "or a failure under strict. min is compared with the measured value. Latency and start that miss are measured up to three times, and the lowest median counts; a ratio is "
        "measured with the baseline in turn. Start and memory are those of a fresh process with one thread, memory with one sequence of 128 tokens.",
    .opts = table, .opts_size = sizeof(struct check_opts), .min_args = 1, .max_args = 1, .run = run,
};
