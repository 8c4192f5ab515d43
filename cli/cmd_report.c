/* report: one page about a model file: what was done to it, what it weighs, what it lost, and what was measured. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "compress/gate/process.h"
#include "compress/page/page.h"
#include "formats/json.h"
#include "runtime/base/atomic_file.h"

struct report_opts {
    const char *out, *from, *task, *data, *train, *reference, *tokens, *budget, *relatives;
    struct cli_list layers, eval, bench, check, log;
    int64_t threads, seed;
    bool markdown, quiet;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct report_opts, out, 'o', "output", "FILE", NULL, "write to FILE instead of stdout"),
    CLI_BOOL(struct report_opts, markdown, 0, "markdown", "Markdown for a pull request instead of HTML"),
    CLI_GROUP("Weights"),
    CLI_LIST(struct report_opts, layers, 'l', "layer", "TENSOR", "show the histogram of this tensor; may be repeated; without it: of the one that changed the most"),
    CLI_STRING(struct report_opts, from, 0, "from", "MODEL", NULL, "the model it was made from: histograms before and after"),
    CLI_GROUP("Evidence that is there: what these verbs print with --json"),
    CLI_LIST(struct report_opts, eval, 0, "eval", "FILE", "accuracy; may be repeated"),
    CLI_LIST(struct report_opts, bench, 0, "bench", "FILE", "latency; may be repeated"),
    CLI_LIST(struct report_opts, check, 0, "check", "FILE", "verdicts on budgets; may be repeated"),
    CLI_LIST(struct report_opts, log, 0, "log", "FILE", "curves of a training, from what finetune or distill wrote with --log; may be repeated"),
    CLI_STRING(struct report_opts, relatives, 0, "relatives", "FILE", NULL, "the model among its relatives: a .tsv with name, bytes, ms, value, low and high of each"),
    CLI_GROUP("Evidence to be made now, by running eval, bench and check"),
    CLI_STRING(struct report_opts, task, 't', "task", "TASK", NULL, "evaluate on this task; needs --data"),
    CLI_STRING(struct report_opts, data, 'd', "data", "FILE", NULL, "rows to answer"),
    CLI_STRING(struct report_opts, train, 0, "train", "FILE", NULL, "rows for task probe"),
    CLI_STRING(struct report_opts, reference, 'r', "reference", "MODEL", NULL, "compare on the same rows"),
    CLI_STRING(struct report_opts, tokens, 0, "tokens", "N,N...", NULL, "measure latency at these lengths"),
    CLI_STRING(struct report_opts, budget, 'b', "budget", "FILE", NULL, "check this budget"),
    CLI_SEED(struct report_opts, seed), CLI_THREADS(struct report_opts, threads), CLI_QUIET(struct report_opts, quiet),
    CLI_END
};

static const char *const verb_of[] = { "eval", "bench", "check" }; /* by enum xc_seen */

/* ---- evidence from files ---- */
static enum xc_status add_files(struct xc_page *page, enum xc_seen kind, const struct cli_list *files, struct xc_err *err)
{
    for (size_t i = 0; i < files->n; i++) {
        json_t *doc = NULL;
        enum xc_status status;

        XC_TRY(xc_json_load(&doc, files->items[i], NULL, err));
        status = xc_evidence_add(&page->evidence, kind, doc, err);
        if (status != XC_OK) return xc_fail_at(err, status, "%s: not what '%s --json' prints", files->items[i], verb_of[kind]);
    }
    return XC_OK;
}

/* ---- evidence from a run of this program: one way to read what a verb found ---- */
#define MAX_ARGS 16

struct command {
    char *args[MAX_ARGS + 1];
    int n;
    bool bad;
};

static void push(struct command *c, const char *option, const char *value)
{
    char *text;
    size_t n;

    if (!value) return;
    n = strlen(option) + strlen(value) + 1;
    text = c->n < MAX_ARGS ? xc_malloc(n) : NULL;
    if (text) snprintf(text, n, "%s%s", option, value);
    else c->bad = true;
    if (text) c->args[c->n++] = text;
}

static enum xc_status run_verb(struct xc_page *page, enum xc_seen kind, struct command *c, const struct xc_progress *progress, struct xc_err *err)
{
    struct xc_said said = { 0 };
    json_t *doc = NULL;
    enum xc_status status = c->bad ? xc_fail_nomem(err, 0) : xc_process_read(&said, c->args, (size_t)64 << 20, progress, err);

    if (status == XC_OK && said.code != CLI_OK && said.code != CLI_OVER_BUDGET) status = xc_fail(err, XC_E_ARG, "'%s' failed with exit code %d: its message is above", verb_of[kind], said.code);
    if (status == XC_OK) status = xc_json_parse(&doc, said.text, said.n, verb_of[kind], NULL, err);
    if (status == XC_OK) status = xc_evidence_add(&page->evidence, kind, doc, err);
    xc_free(said.text);
    return status;
}

static void begin(struct command *c, enum xc_seen kind, const struct report_opts *o, const char *model)
{
    char threads[32];

    *c = (struct command){ 0 };
    snprintf(threads, sizeof threads, "%lld", (long long)o->threads);
    push(c, "/proc/self/exe", "");
    push(c, verb_of[kind], "");
    push(c, *model == '-' ? "./" : "", model);
    push(c, "--json", "");
    push(c, "--threads=", threads);
    if (o->quiet) push(c, "--quiet", "");
}

static enum xc_status run_all(struct xc_page *page, const struct report_opts *o, const char *model, const struct xc_progress *progress, struct xc_err *err)
{
    enum xc_status status = XC_OK;
    char seed[32];

    snprintf(seed, sizeof seed, "%lld", (long long)o->seed);
    for (int kind = XC_SEEN_EVAL; kind <= XC_SEEN_CHECK && status == XC_OK; kind++) {
        const char *const wanted = kind == XC_SEEN_EVAL ? o->task : kind == XC_SEEN_BENCH ? o->tokens : o->budget;
        struct command c;

        if (!wanted) continue;
        begin(&c, (enum xc_seen)kind, o, model);
        if (kind == XC_SEEN_EVAL) {
            push(&c, "--task=", o->task);
            push(&c, "--data=", o->data);
            push(&c, "--train=", o->train);
            push(&c, "--reference=", o->reference);
        } else {
            push(&c, kind == XC_SEEN_BENCH ? "--tokens=" : "--budget=", wanted);
        }
        if (kind != XC_SEEN_BENCH) push(&c, "--seed=", seed);
        status = run_verb(page, (enum xc_seen)kind, &c, progress, err);
        for (int i = 0; i < c.n; i++) xc_free(c.args[i]);
    }
    return status;
}

/* ---- output ---- */
/* Composed in memory, then put in place as a whole. */
static enum xc_status write_page(const struct xc_page *page, const struct report_opts *o, struct xc_err *err)
{
    void (*const print)(FILE *, const struct xc_page *) = o->markdown ? xc_page_print_markdown : xc_page_print_html;
    char *text = NULL;
    size_t n = 0;
    FILE *f;
    enum xc_status status;

    if (!o->out) {
        print(stdout, page);
        return XC_OK;
    }
    f = open_memstream(&text, &n);
    if (!f) return xc_fail_nomem(err, 0);
    print(f, page);
    if (ferror(f) | fclose(f)) {
        free(text);
        return xc_fail_nomem(err, n);
    }
    status = xc_atomic_write_file(o->out, text, n, err);
    free(text);
    return status;
}

static int run(void *opts, int argc, char **argv)
{
    const struct report_opts *const o = opts;
    const struct xc_progress progress = { .cancelled = cli_cancelled };
    struct xc_page page = { 0 };
    struct xc_err err = { 0 };
    enum xc_status status;

    (void)argc;
    if (!o->task != !o->data) return cli_usage(&cli_verb_report, "--task and --data go together");
    if (!o->task && (o->train || o->reference)) return cli_usage(&cli_verb_report, "--train and --reference need --task");
    status = o->out ? xc_atomic_check(o->out, argv[0], &err) : XC_OK;
    if (status == XC_OK) status = xc_page_open(&page, argv[0], &err);
    if (status == XC_OK) status = xc_page_add_weights(&page, o->layers.items, o->layers.n, o->from, &err);
    if (status == XC_OK) status = add_files(&page, XC_SEEN_EVAL, &o->eval, &err);
    if (status == XC_OK) status = add_files(&page, XC_SEEN_BENCH, &o->bench, &err);
    if (status == XC_OK) status = add_files(&page, XC_SEEN_CHECK, &o->check, &err);
    for (size_t i = 0; i < o->log.n && status == XC_OK; i++) status = xc_evidence_add_log(&page.evidence, o->log.items[i], &err);
    if (status == XC_OK && o->relatives) status = xc_relatives_read(&page.relatives, o->relatives, &err);
    if (status == XC_OK) status = run_all(&page, o, argv[0], &progress, &err);
    if (status == XC_OK) status = write_page(&page, o, &err);
    xc_page_close(&page);
    return status == XC_OK ? CLI_OK : cli_fail(&err);
}

const struct cli_verb cli_verb_report = {
    .name = "report", .summary = "one self-contained page about a model, with pictures", .usage = "MODEL [-o FILE] [--markdown] [options]",
    .details = "The page says how the file was made, what every layer weighs and lost, and what was measured: accuracy with intervals, latency, verdicts on budgets. Measurements come "
               "from files that eval, bench and check printed with --json, or are made now.\n\n"
               "HTML without scripts that needs no network: it is read on a phone, printed, and follows the reader's light or dark setting. The same inputs give the same bytes.",
    .opts = table, .opts_size = sizeof(struct report_opts), .min_args = 1, .max_args = 1, .run = run,
};
