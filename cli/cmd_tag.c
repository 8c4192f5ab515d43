/* tag: a tag for every word of each line. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text_run.h"
#include "compress/tasks/tag.h"
#include "formats/json.h"

struct tag_opts {
    const char *file;
    int64_t threads;
    bool quiet, json;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct tag_opts, file, 'f', "file", "FILE", NULL, "read lines from FILE, plain or .zst, instead of stdin"),
    CLI_THREADS(struct tag_opts, threads), CLI_QUIET(struct tag_opts, quiet), CLI_JSON(struct tag_opts, json),
    CLI_END
};

struct tagging {
    struct text_run run;
    const char **words;
    int64_t *start;       /* word_start of the window */
    int32_t *word_class;
    size_t cap_words, cap_start, cap_class;
};

static bool is_space(char ch) { return ch == ' ' || (ch >= '\t' && ch <= '\r') || ch == '\0'; }

/* Cuts the lines of the window at white space, in place. */
static enum xc_status split_words(struct tagging *t, struct xc_err *err)
{
    struct text_window *w = &t->run.window;
    int64_t n = 0;

    XC_TRY(xc_grow((void **)&t->start, &t->cap_start, (size_t)w->n + 1, sizeof *t->start, err));
    t->start[0] = 0;
    for (int64_t i = 0; i < w->n; i++) {
        char *p = w->bytes + w->begin[i], *end = p + w->a_len[i];

        while (p < end) {
            while (p < end && is_space(*p)) *p++ = '\0';
            if (p == end) break;
            XC_TRY(xc_grow((void **)&t->words, &t->cap_words, (size_t)n + 1, sizeof *t->words, err));
            t->words[n++] = p;
            while (p < end && !is_space(*p)) p++;
        }
        *end = '\0';
        t->start[i + 1] = n;
    }
    if (!t->words) XC_TRY(xc_grow((void **)&t->words, &t->cap_words, 1, sizeof *t->words, err));
    return xc_grow((void **)&t->word_class, &t->cap_class, (size_t)n + 1, sizeof *t->word_class, err);
}

static enum xc_status tag_row(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    struct tagging *t = arg;

    (void)err;
    xc_tag_words(t->word_class + t->start[a->row], a, t->start[a->row + 1] - t->start[a->row]);
    return XC_OK;
}

static enum xc_status write_line(const struct tagging *t, int64_t line, struct xc_err *err)
{
    json_t *words = t->run.list ? json_array() : NULL, *tags = t->run.list ? json_array() : NULL;
    int bad = 0;

    for (int64_t w = t->start[line]; w < t->start[line + 1]; w++) {
        const char *tag = t->word_class[w] >= 0 ? xc_model_label(t->run.model.model, t->word_class[w]) : "O";

        if (!t->run.list) {
            printf("%s\t%s\n", t->words[w], tag);
            continue;
        }
        bad |= json_array_append_new(words, xc_json_new_text(t->words[w], strlen(t->words[w])));
        bad |= json_array_append_new(tags, xc_json_new_text(tag, strlen(tag)));
    }
    if (!t->run.list) putchar('\n');
    else bad |= json_array_append_new(t->run.list, json_pack("{s:o, s:o}", "words", words, "tags", tags));
    return bad ? xc_fail_nomem(err, 0) : XC_OK;
}

static enum xc_status tag_lines(struct tagging *t, struct xc_err *err)
{
    for (;;) {
        struct xc_texts texts;

        XC_TRY(text_window_next(&t->run.window, 0, err));
        if (!t->run.window.n || cli_stdout_failed()) return XC_OK;
        XC_TRY(split_words(t, err));
        texts = (struct xc_texts){ .n = t->run.window.n, .words = t->words, .word_start = t->start };
        XC_TRY(xc_batcher_run(&t->run.batcher, &texts, tag_row, t, err));
        for (int64_t i = 0; i < t->run.window.n; i++) XC_TRY(write_line(t, i, err));
    }
}

static int run(void *opts, int argc, char **argv)
{
    const struct tag_opts *const o = opts;
    struct tagging t = { 0 };
    const struct xc_batcher *const b = &t.run.batcher;
    const struct xc_model_info *const info = &t.run.model.info;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code = CLI_OK;

    (void)argc;
    status = text_run_open(&t.run, argv[0], o->threads, &err);
    if (status == XC_OK && (!info->per_token || info->n_labels < 1 || info->n_labels != info->output_cols))
        status = xc_fail(&err, XC_E_UNSUPPORTED, "'%s' is a model for '%s', not a tagger", argv[0], info->task);
    if (status == XC_OK) status = text_run_input(&t.run, o->file, false, o->json, &err);
    if (status == XC_OK) status = tag_lines(&t, &err);
    if (status != XC_OK) {
        code = cli_fail(&err);
    } else {
        if (b->truncated && !o->quiet)
            cli_warn("%lld lines are longer than the model's longest sequence, %d tokens: words beyond it are tagged O", (long long)b->truncated, t.run.model.session->max_tokens);
        if (o->json) code = cli_print_json(text_run_json(&t.run, "sentences"));
    }
    text_run_close(&t.run);
    xc_free(t.words);
    xc_free(t.start);
    xc_free(t.word_class);
    return code;
}

const struct cli_verb cli_verb_tag = {
    .name = "tag", .summary = "a tag for every word of each line", .usage = "MODEL [--file FILE] [options]",
    .details =
        "A line is a sentence; its words are what white space separates (space, tab, CR, NUL and the other ASCII controls 9 to 13). Prints a line 'word, tab, tag' for each word and an "
        "empty line after each sentence, an empty line of input included: the .conll that eval reads. A word has the tag of its first token.",
    .opts = table, .opts_size = sizeof(struct tag_opts), .min_args = 1, .max_args = 1, .run = run,
};
