/* answer: the part of a text that answers a question, line by line. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text_run.h"
#include "compress/tasks/answer.h"
#include "formats/json.h"

struct answer_opts {
    const char *file;
    int64_t threads, stride;
    bool may_lack, quiet, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct answer_opts, file, 'f', "file", "FILE", NULL, "read lines from FILE, plain or .zst, instead of stdin"),
    CLI_BOOL(struct answer_opts, may_lack, 0, "may-lack", "nothing is printed for a text that does not hold an answer, as SQuAD 2.0 trains models"),
    CLI_INT(struct answer_opts, stride, 0, "stride", "N", 0, 1 << 20, "0", "tokens that two windows share where a text is too long for the model; 0 = 128, or half a window"),
    CLI_THREADS(struct answer_opts, threads), CLI_QUIET(struct answer_opts, quiet), CLI_JSON(struct answer_opts, json),
    CLI_END
};

static enum xc_status write_answer(const struct answer_opts *o, struct text_run *run, const struct xc_span *s, const char *text, struct xc_err *err)
{
    const bool none = (o->may_lack && s->none > s->score) || s->end == s->begin;
    const size_t len = none ? 0 : (size_t)(s->end - s->begin);

    if (run->list) {
        json_t *const one = json_pack("{s:o, s:I, s:I, s:o, s:o}", "answer", xc_json_new_text(text + (none ? 0 : s->begin), len), "begin", (json_int_t)(none ? 0 : s->begin), "end",
                                      (json_int_t)(none ? 0 : s->end), "score", xc_json_new_number((double)s->score), "none", xc_json_new_number((double)s->none));

        return json_array_append_new(run->list, one) ? xc_fail_nomem(err, 0) : XC_OK;
    }
    for (size_t i = 0; i < len; i++) putchar(text[s->begin + (int64_t)i] == '\t' ? ' ' : text[s->begin + (int64_t)i]);
    printf("\t%.6g\n", none ? (double)s->none : (double)s->score);
    return XC_OK;
}

static enum xc_status answer_lines(const struct answer_opts *o, struct text_run *run, struct xc_err *err)
{
    struct text_window *const w = &run->window;
    struct xc_span *span = NULL;
    int64_t lines = 0;
    size_t cap = 0;
    enum xc_status status;

    for (;;) {
        XC_TRY_GOTO(text_window_next(w, 0, err), out);
        if (!w->n || cli_stdout_failed()) break;
        XC_TRY_GOTO(xc_grow((void **)&span, &cap, (size_t)w->n, sizeof *span, err), out);
        XC_TRY_GOTO(xc_answer_run(span, &run->batcher, w->a, w->a_len, w->b, w->b_len, w->n, (int32_t)o->stride, err), out);
        lines += w->n;
        for (int64_t i = 0; i < w->n; i++) XC_TRY_GOTO(write_answer(o, run, &span[i], w->b[i], err), out);
    }
    run->batcher.rows_done = lines; /* not windows */
out:
    xc_free(span);
    return status;
}

static int run(void *opts, int argc, char **argv)
{
    const struct answer_opts *const o = opts;
    struct text_run t = { 0 };
    const struct xc_batcher *const b = &t.batcher;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code = CLI_OK;

    (void)argc;
    status = text_run_open(&t, argv[0], o->threads, &err);
    if (status == XC_OK && !xc_answer_fits(&t.model.info))
        status = xc_fail(&err, XC_E_UNSUPPORTED, "'%s' is a model for '%s', not for question answering; finetune --task answer makes one", argv[0], t.model.info.task);
    if (status == XC_OK) status = text_run_input(&t, o->file, true, o->json, &err);
    if (status == XC_OK) status = answer_lines(o, &t, &err);
    if (status != XC_OK) {
        code = cli_fail(&err);
    } else {
        if (b->truncated && !o->quiet) cli_warn("%lld questions were cut to half of the model's longest sequence, %d tokens", (long long)b->truncated, t.model.session->max_tokens);
        if (o->json) code = cli_print_json(text_run_json(&t, "answers"));
    }
    text_run_close(&t);
    return code;
}

const struct cli_verb cli_verb_answer = {
    .name = "answer", .summary = "the part of a text that answers a question", .usage = "MODEL [--file FILE] [--may-lack] [options]",
    .details =
        "A line is a question, a tab and the text that holds its answer. Prints the answer as it stands in the text (a tab as a blank), a tab and the sum of its two logits. A text that is too long "
        "for the model is read in windows that overlap; the best span of all of them is the answer, of at most 30 tokens. --json has its place in the text, in bytes, and the score of there being none.",
    .opts = table, .opts_size = sizeof(struct answer_opts), .min_args = 1, .max_args = 1, .run = run,
};
