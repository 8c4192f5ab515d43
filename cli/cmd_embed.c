/* embed: a vector for each line, to .npy or as text. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/npy.h"
#include "cli/text_run.h"
#include "formats/json.h"
#include "runtime/base/clock.h"

struct embed_opts {
    const char *file, *output;
    int64_t batch, threads;
    bool quiet, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct embed_opts, file, 'f', "file", "FILE", NULL, "read lines from FILE, plain or .zst, instead of stdin"),
    CLI_STRING(struct embed_opts, output, 'o', "output", "FILE", NULL, "write float32 rows to this .npy instead of text to stdout"),
    CLI_INT(struct embed_opts, batch, 0, "batch", "N", 0, 1 << 20, "0", "texts run together, in input order; 0 to sort by length and fill batches"),
    CLI_THREADS(struct embed_opts, threads), CLI_QUIET(struct embed_opts, quiet), CLI_JSON(struct embed_opts, json),
    CLI_END
};

struct embedding {
    const struct embed_opts *o;
    struct text_run run; /* a list with --json, without -o */
    struct npy npy;
    float *rows;      /* of the window */
    size_t cap_rows;
    int64_t cols;
};

static enum xc_status keep_row(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    struct embedding *e = arg;

    (void)err;
    memcpy(e->rows + a->row * e->cols, a->data, (size_t)e->cols * sizeof *e->rows);
    return XC_OK;
}

static enum xc_status write_rows(struct embedding *e, int64_t n, struct xc_err *err)
{
    if (e->o->output) return npy_write(&e->npy, e->rows, n, err);
    for (int64_t i = 0; i < n; i++) {
        const float *x = e->rows + i * e->cols;
        json_t *row = e->run.list ? json_array() : NULL;
        int bad = e->run.list && !row;

        for (int64_t c = 0; c < e->cols; c++) {
            if (row) bad |= json_array_append_new(row, xc_json_new_number((double)x[c]));
            else printf(c ? " %.9g" : "%.9g", (double)x[c]);
        }
        if (!e->run.list) putchar('\n');
        else if (json_array_append_new(e->run.list, row) || bad) return xc_fail_nomem(err, 0);
    }
    return XC_OK;
}

static enum xc_status embed_lines(struct embedding *e, struct xc_err *err)
{
    for (;;) {
        struct xc_texts texts;

        XC_TRY(text_window_next(&e->run.window, e->o->batch, err));
        if (!e->run.window.n || cli_stdout_failed()) return XC_OK;
        XC_TRY(xc_grow((void **)&e->rows, &e->cap_rows, (size_t)(e->run.window.n * e->cols), sizeof *e->rows, err));
        texts = (struct xc_texts){ .n = e->run.window.n, .a = e->run.window.a, .a_len = e->run.window.a_len };
        XC_TRY(xc_batcher_run(&e->run.batcher, &texts, keep_row, e, err));
        XC_TRY(write_rows(e, e->run.window.n, err));
    }
}

static int print_json(struct embedding *e, double seconds)
{
    json_t *doc = text_run_json(&e->run, "embeddings");
    int bad = !doc;

    bad |= json_object_set_new(doc, "cols", json_integer(e->cols)) | json_object_set_new(doc, "seconds", xc_json_new_number(seconds));
    if (e->o->output) bad |= json_object_set_new(doc, "output", xc_json_new_text(e->o->output, strlen(e->o->output)));
    if (bad) xc_json_free(&doc);
    return cli_print_json(doc);
}

static int run(void *opts, int argc, char **argv)
{
    struct embedding e = { .o = opts };
    const struct xc_batcher *const b = &e.run.batcher;
    const struct xc_model_info *const info = &e.run.model.info;
    struct xc_err err = { 0 };
    enum xc_status status;
    double from;
    int code = CLI_OK;

    (void)argc;
    status = e.o->output ? xc_atomic_check(e.o->output, argv[0], &err) : XC_OK;
    if (status == XC_OK) status = text_run_open(&e.run, argv[0], e.o->threads, &err);
    if (status == XC_OK && (info->per_token || info->n_labels))
        status = xc_fail(&err, XC_E_UNSUPPORTED, "'%s' is a model for '%s', which gives no embedding of a text", argv[0], info->task);
    if (status == XC_OK) status = text_run_input(&e.run, e.o->file, false, e.o->json && !e.o->output, &err);
    e.cols = info->output_cols;
    if (status == XC_OK && e.o->output) status = npy_open(&e.npy, e.o->output, e.cols, &err);
    from = xc_seconds();
    e.run.batcher.max_rows = e.o->batch;
    e.run.batcher.max_tokens = e.o->batch ? INT64_MAX : 0;
    if (status == XC_OK) status = embed_lines(&e, &err);
    if (status == XC_OK && e.o->output) status = npy_close(&e.npy, &err);
    if (status != XC_OK) {
        code = cli_fail(&err);
    } else {
        if (b->truncated && !e.o->quiet)
            cli_warn("%lld texts were cut to the model's longest sequence, %d tokens", (long long)b->truncated, e.run.model.session->max_tokens);
        if (e.o->json) code = print_json(&e, xc_seconds() - from);
    }
    npy_discard(&e.npy);
    text_run_close(&e.run);
    xc_free(e.rows);
    return code;
}

const struct cli_verb cli_verb_embed = {
    .name = "embed", .summary = "a vector for each line", .usage = "MODEL [--file FILE] [-o OUT.npy] [options]",
    .details =
        "A line is a text: bytes up to LF, one CR before it dropped. NULs and invalid UTF-8 (read as U+FFFD) are part of the text, an empty line is an empty text and has a vector "
        "too, the last line need not end. Without -o a line of numbers is printed for every line of text, with digits enough to read back the same float32. The numbers do not "
        "depend on --batch or --threads.",
    .opts = table, .opts_size = sizeof(struct embed_opts), .min_args = 1, .max_args = 1, .run = run,
};
