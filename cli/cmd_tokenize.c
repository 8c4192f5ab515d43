/* tokenize: the ids of each line. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text_window.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/session/session.h"

struct tokenize_opts {
    const char *file;
    int64_t max_tokens;
    bool no_truncate, no_special, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct tokenize_opts, file, 'f', "file", "FILE", NULL, "read lines from FILE, plain or .zst, instead of stdin"),
    CLI_INT(struct tokenize_opts, max_tokens, 0, "max-tokens", "N", 0, INT32_MAX, "0", "cut to N ids; 0 for the model's own limit"),
    CLI_BOOL(struct tokenize_opts, no_truncate, 0, "no-truncate", "all ids of a line, however many"),
    CLI_BOOL(struct tokenize_opts, no_special, 0, "no-special", "without [CLS], [SEP], <s> and the like"),
    CLI_JSON(struct tokenize_opts, json),
    CLI_END
};

/* "101 7592 102\n" */
static enum xc_status print_ids(const struct xc_tokens *t, char **buf, size_t *cap, struct xc_err *err)
{
    size_t used = 0;

    XC_TRY(xc_grow((void **)buf, cap, t->n * 12 + 1, 1, err));
    for (size_t i = 0; i < t->n; i++) {
        char digits[12];
        uint32_t x = (uint32_t)t->ids[i];
        int n = 0;

        if (i) (*buf)[used++] = ' ';
        do digits[n++] = (char)('0' + x % 10);
        while (x /= 10);
        while (n) (*buf)[used++] = digits[--n];
    }
    (*buf)[used++] = '\n';
    fwrite(*buf, 1, used, stdout);
    return XC_OK;
}

struct totals {
    int64_t rows, tokens, truncated;
    json_t *ids; /* NULL unless --json */
};

static enum xc_status tokenize_lines(struct totals *total, const struct tokenize_opts *o, const struct xc_tokenizer *tok, int32_t limit, struct xc_err *err)
{
    const struct xc_encode_opts encode = { .max_tokens = o->max_tokens ? (int32_t)o->max_tokens : limit, .no_special = o->no_special, .no_truncate = o->no_truncate };
    struct text_window w;
    struct xc_tokens tokens = { 0 };
    char *buf = NULL;
    size_t cap = 0;
    enum xc_status status;

    XC_TRY_GOTO(text_window_open(&w, o->file, false, err), out);
    for (;;) {
        XC_TRY_GOTO(text_window_next(&w, 0, err), out);
        if (!w.n || cli_stdout_failed()) break;
        for (int64_t i = 0; i < w.n; i++) {
            tokens.n = 0;
            XC_TRY_GOTO(xc_tokenizer_encode(tok, &tokens, w.a[i], w.a_len[i], NULL, 0, &encode, err), out);
            total->rows++;
            total->tokens += (int64_t)tokens.n;
            total->truncated += tokens.truncated;
            if (total->ids) {
                json_t *row = json_array();
                int bad = 0;

                for (size_t k = 0; k < tokens.n; k++) bad |= json_array_append_new(row, json_integer(tokens.ids[k]));
                if (json_array_append_new(total->ids, row) || bad) {
                    status = xc_fail_nomem(err, 0);
                    goto out;
                }
            } else {
                XC_TRY_GOTO(print_ids(&tokens, &buf, &cap, err), out);
            }
        }
    }
out:
    text_window_close(&w);
    xc_tokens_release(&tokens);
    xc_free(buf);
    return status;
}

static int run(void *opts, int argc, char **argv)
{
    const struct tokenize_opts *const o = opts;
    struct totals total = { 0 };
    struct xc_model *model = NULL;
    struct xc_tokenizer *tok = NULL;
    struct xc_model_info info;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code = CLI_OK;

    (void)argc;
    if (o->json && !(total.ids = json_array())) return cli_failf("out of memory");
    status = xc_model_load(&model, argv[0], NULL, &err);
    if (status == XC_OK) status = xc_model_info(model, &info, &err);
    if (status == XC_OK && !model->tokenizer) status = xc_fail(&err, XC_E_UNSUPPORTED, "'%s' has no tokenizer", argv[0]);
    if (status == XC_OK) status = xc_tokenizer_open(&tok, model->tokenizer, &err);
    if (status == XC_OK) status = tokenize_lines(&total, o, tok, info.max_tokens, &err);
    if (status != XC_OK) {
        code = cli_fail(&err);
    } else if (o->json) {
        json_t *doc = json_pack("{s:I, s:I, s:I, s:O}", "rows", (json_int_t)total.rows, "tokens", (json_int_t)total.tokens, "truncated", (json_int_t)total.truncated, "ids", total.ids);

        code = cli_print_json(doc);
    }
    json_decref(total.ids);
    xc_tokenizer_free(&tok);
    if (model) xc_model_free(&model);
    return code;
}

const struct cli_verb cli_verb_tokenize = {
    .name = "tokenize", .summary = "the token ids of each line", .usage = "MODEL [--file FILE] [--no-truncate] [options]",
    .details =
        "A line is a text: bytes up to LF, one CR before it dropped. NULs and invalid UTF-8 (read as U+FFFD) are part of the text, an empty line is an empty text, the last line "
        "need not end. Ids are separated by spaces, a line of ids for every line of text.",
    .opts = table, .opts_size = sizeof(struct tokenize_opts), .min_args = 1, .max_args = 1, .run = run,
};
