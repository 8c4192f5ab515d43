/* classify: the label of each line, with its probability; a number, for a regression. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text_run.h"
#include "formats/json.h"

struct classify_opts {
    const char *file;
    int64_t threads;
    bool pairs, all, quiet, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct classify_opts, file, 'f', "file", "FILE", NULL, "read lines from FILE, plain or .zst, instead of stdin"),
    CLI_BOOL(struct classify_opts, pairs, 'p', "pairs", "a line is two texts with a tab between, read together"),
    CLI_BOOL(struct classify_opts, all, 'a', "all", "every label with its probability, the likeliest first"),
    CLI_THREADS(struct classify_opts, threads), CLI_QUIET(struct classify_opts, quiet), CLI_JSON(struct classify_opts, json),
    CLI_END
};

struct classifying {
    const struct classify_opts *o;
    struct text_run run;
    float *rows;     /* logits of the window */
    double *p;       /* of one line */
    size_t cap_rows, cap_p;
    int64_t cols;
};

static enum xc_status keep_row(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    struct classifying *c = arg;

    (void)err;
    memcpy(c->rows + a->row * c->cols, a->data, (size_t)c->cols * sizeof *c->rows);
    return XC_OK;
}

static const char *label_name(const struct classifying *c, int32_t i, char buf[16])
{
    const char *name = xc_model_label(c->run.model.model, i);

    if (name) return name;
    snprintf(buf, 16, "%d", i);
    return buf;
}

static void softmax(double *p, const float *x, int64_t n)
{
    const float max = x[xc_argmax(x, n)];
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += p[i] = exp((double)x[i] - (double)max);
    for (int64_t i = 0; i < n; i++) p[i] /= sum;
}

static int32_t likeliest(const double *p, int64_t n)
{
    int32_t best = 0;

    for (int64_t i = 1; i < n; i++)
        if (p[i] > p[best]) best = (int32_t)i;
    return best;
}

static enum xc_status write_row(struct classifying *c, const float *x, struct xc_err *err)
{
    const int64_t shown = c->o->all ? c->cols : 1;
    json_t *all = c->run.list && c->o->all ? json_array() : NULL;
    char name[16];
    int bad = 0;

    if (c->cols == 1) {
        if (!c->run.list) printf("%.9g\n", (double)x[0]);
        else bad = json_array_append_new(c->run.list, json_pack("{s:o}", "value", xc_json_new_number((double)x[0])));
        return bad ? xc_fail_nomem(err, 0) : XC_OK;
    }
    softmax(c->p, x, c->cols);
    for (int64_t k = 0; k < shown; k++) {
        const int32_t best = k == 0 ? xc_argmax(x, c->cols) : likeliest(c->p, c->cols);
        const char *label = label_name(c, best, name);

        if (!c->run.list) {
            printf("%s%s\t%.6f", k ? "\t" : "", label, c->p[best]);
        } else {
            json_t *one = json_pack("{s:o, s:o}", "label", xc_json_new_text(label, strlen(label)), "probability", xc_json_new_number(c->p[best]));

            bad |= json_array_append_new(all ? all : c->run.list, one);
        }
        c->p[best] = -1; /* shown */
    }
    if (!c->run.list) putchar('\n');
    if (all) bad |= json_array_append_new(c->run.list, all);
    return bad ? xc_fail_nomem(err, 0) : XC_OK;
}

static enum xc_status classify_lines(struct classifying *c, struct xc_err *err)
{
    XC_TRY(xc_grow((void **)&c->p, &c->cap_p, (size_t)c->cols, sizeof *c->p, err));
    for (;;) {
        struct xc_texts texts;

        XC_TRY(text_window_next(&c->run.window, 0, err));
        if (!c->run.window.n || cli_stdout_failed()) return XC_OK;
        XC_TRY(xc_grow((void **)&c->rows, &c->cap_rows, (size_t)(c->run.window.n * c->cols), sizeof *c->rows, err));
        texts = (struct xc_texts){ .n = c->run.window.n, .a = c->run.window.a, .a_len = c->run.window.a_len, .b = c->run.window.b, .b_len = c->run.window.b_len };
        XC_TRY(xc_batcher_run(&c->run.batcher, &texts, keep_row, c, err));
        for (int64_t i = 0; i < c->run.window.n; i++) XC_TRY(write_row(c, c->rows + i * c->cols, err));
    }
}

static int run(void *opts, int argc, char **argv)
{
    struct classifying c = { .o = opts };
    const struct xc_batcher *const b = &c.run.batcher;
    const struct xc_model_info *const info = &c.run.model.info;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code = CLI_OK;

    (void)argc;
    status = text_run_open(&c.run, argv[0], c.o->threads, &err);
    c.cols = info->output_cols;
    if (status == XC_OK && (info->per_token || (!info->n_labels && strcmp(info->task, "classify") && strcmp(info->task, "regress") && strcmp(info->task, "choice"))))
        status = xc_fail(&err, XC_E_UNSUPPORTED, "'%s' is a model for '%s', not a classifier; eval --task probe --export-head makes one", argv[0], info->task);
    if (status == XC_OK) status = text_run_input(&c.run, c.o->file, c.o->pairs, c.o->json, &err);
    if (status == XC_OK) status = classify_lines(&c, &err);
    if (status != XC_OK) {
        code = cli_fail(&err);
    } else {
        if (b->truncated && !c.o->quiet) cli_warn("%lld texts were cut to the model's longest sequence, %d tokens", (long long)b->truncated, c.run.model.session->max_tokens);
        if (c.o->json) code = cli_print_json(text_run_json(&c.run, "answers"));
    }
    text_run_close(&c.run);
    xc_free(c.rows);
    xc_free(c.p);
    return code;
}

const struct cli_verb cli_verb_classify = {
    .name = "classify", .summary = "the label of each line, with its probability", .usage = "MODEL [--file FILE] [--pairs] [options]",
    .details =
        "Prints the label, a tab and its probability for every line; for a model that answers one number, the number (of multiple choice: give each choice a line, with --pairs; the largest wins). A line is a text: bytes up to LF, one CR before it dropped. NULs "
        "and invalid UTF-8 (read as U+FFFD) are part of the text, an empty line is an empty text, the last line need not end.",
    .opts = table, .opts_size = sizeof(struct classify_opts), .min_args = 1, .max_args = 1, .run = run,
};
