/* data: see data.h. */
#include "compress/tasks/data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/lines.h"
#include "formats/units.h"
#include "runtime/text/unicode.h"

enum { CAP_A, CAP_B, CAP_A_LEN, CAP_B_LEN, CAP_LABEL, CAP_SCORE, CAP_LINE, CAP_WORDS, CAP_TAGS, CAP_START, CAP_ANSWERS, CAP_ANSWER_START, CAP_ANSWER_AT, CAP_CHOICES, CAP_CHOICE_LEN };

void xc_data_release(struct xc_data *d)
{
    xc_arena_release(&d->arena);
    xc_free(d->a);
    xc_free(d->b);
    xc_free(d->a_len);
    xc_free(d->b_len);
    xc_free(d->label);
    xc_free(d->score);
    xc_free(d->line);
    xc_free(d->words);
    xc_free(d->tags);
    xc_free(d->word_start);
    xc_free(d->answers);
    xc_free(d->answer_start);
    xc_free(d->answer_at);
    xc_free(d->choices);
    xc_free(d->choice_len);
    *d = (struct xc_data){ 0 };
    xc_arena_init(&d->arena);
}

enum xc_status xc_data_fail_at(const struct xc_data *d, int64_t i, struct xc_err *err, enum xc_status code)
{
    return xc_fail_at(err, code, "%s:%lld", d->path, (long long)d->line[i]);
}

static bool is_number(const char *s) { return *s && strspn(s, "0123456789") == strlen(s) && strlen(s) < 10; }

int xc_data_compare_labels(const void *pa, const void *pb)
{
    const char *a = *(const char *const *)pa, *b = *(const char *const *)pb;

    if (is_number(a) && is_number(b) && atoi(a) != atoi(b)) return atoi(a) < atoi(b) ? -1 : 1;
    return strcmp(a, b);
}

static enum xc_status fail_line(const struct xc_data *d, const struct xc_lines *lines, struct xc_err *err, enum xc_status code)
{
    return xc_fail_at(err, code, "%s:%lld", d->path, (long long)xc_lines_number(lines));
}

/* One copied element at the end of one array. */
static enum xc_status push(struct xc_data *d, void **array, int cap, size_t at, const void *item, size_t size, struct xc_err *err)
{
    XC_TRY(xc_grow(array, &d->cap[cap], at + 1, size, err));
    memcpy((char *)*array + at * size, item, size);
    return XC_OK;
}

static enum xc_status push_text(struct xc_data *d, const char ***array, int cap, size_t at, const char *text, size_t len, struct xc_err *err)
{
    const char *copy = xc_arena_strndup(&d->arena, text, len);
    void *p = *array;
    enum xc_status status;

    if (!copy) return xc_fail_nomem(err, len);
    status = push(d, &p, cap, at, &copy, sizeof copy, err);
    *array = p;
    return status;
}

static enum xc_status push_size(struct xc_data *d, size_t **array, int cap, size_t at, size_t x, struct xc_err *err)
{
    void *p = *array;
    const enum xc_status status = push(d, &p, cap, at, &x, sizeof x, err);

    *array = p;
    return status;
}

static enum xc_status push_i64(struct xc_data *d, int64_t **array, int cap, size_t at, int64_t x, struct xc_err *err)
{
    void *p = *array;
    const enum xc_status status = push(d, &p, cap, at, &x, sizeof x, err);

    *array = p;
    return status;
}

static enum xc_status push_double(struct xc_data *d, double **array, int cap, size_t at, double x, struct xc_err *err)
{
    void *p = *array;
    const enum xc_status status = push(d, &p, cap, at, &x, sizeof x, err);

    *array = p;
    return status;
}

static enum xc_status open_data(struct xc_data *d, struct xc_lines **lines, const char *path, struct xc_err *err)
{
    *d = (struct xc_data){ 0 };
    xc_arena_init(&d->arena);
    *lines = NULL;
    XC_TRY(xc_lines_open(lines, path, NULL, err));
    d->path = xc_arena_strdup(&d->arena, xc_lines_name(*lines));
    return d->path ? XC_OK : xc_fail_nomem(err, strlen(path));
}

static enum xc_status no_rows(const struct xc_data *d, struct xc_err *err)
{
    if (d->n) return XC_OK;
    xc_fail(err, XC_E_FORMAT, "no rows");
    return xc_fail_at(err, XC_E_FORMAT, "%s", d->path);
}

static enum xc_status finish(struct xc_data *d, struct xc_lines **lines, enum xc_status status, struct xc_err *err)
{
    if (status == XC_OK) status = no_rows(d, err);
    xc_lines_close(lines);
    if (status != XC_OK) xc_data_release(d);
    return status;
}

/* ---- .tsv ---- */
enum { COL_TEXT, COL_A, COL_B, COL_LABEL, COL_SCORE, COL_QUESTION, COL_CONTEXT, COL_ANSWER, COL_ANSWER_START, COL_COUNT };
static const char *const col_names[] = { "text", "text_a", "text_b", "label", "score", "question", "context", "answer", "answer_start" };

struct columns {
    int at[COL_COUNT];          /* -1 = not there */
    int choice[XC_MAX_CHOICES]; /* choice0, ...; of those that are there n_choices without a gap */
    int n, n_choices;
};

static const char *field_end(const char *p, const char *end)
{
    const char *tab = memchr(p, '\t', (size_t)(end - p));

    return tab ? tab : end;
}

/* The number behind "choice"; -1 = no such column. */
static int choice_number(const char *p, size_t n)
{
    if (n < 7 || n > 8 || memcmp(p, "choice", 6) || p[6] < '0' || p[6] > '9' || (n == 8 && (p[6] == '0' || p[7] < '0' || p[7] > '9'))) return -1;
    return n == 7 ? p[6] - '0' : 10 * (p[6] - '0') + p[7] - '0';
}

static enum xc_status read_header(struct columns *c, const char *line, size_t len, struct xc_err *err)
{
    const char *p = line, *end = line + len;

    if (len >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) p += 3; /* a byte order mark */
    for (int k = 0; k < COL_COUNT; k++) c->at[k] = -1;
    for (int k = 0; k < XC_MAX_CHOICES; k++) c->choice[k] = -1;
    c->n_choices = 0;
    for (c->n = 0; c->n < 1000; c->n++) {
        const char *stop = field_end(p, end);
        const int choice = choice_number(p, (size_t)(stop - p));

        if (choice >= 0 && choice < XC_MAX_CHOICES) {
            if (c->choice[choice] >= 0) return xc_fail(err, XC_E_FORMAT, "column 'choice%d' is there twice", choice);
            c->choice[choice] = c->n;
        }
        for (int k = 0; k < COL_COUNT; k++) {
            if ((size_t)(stop - p) != strlen(col_names[k]) || memcmp(p, col_names[k], (size_t)(stop - p))) continue;
            if (c->at[k] >= 0) return xc_fail(err, XC_E_FORMAT, "column '%s' is there twice", col_names[k]);
            c->at[k] = c->n;
        }
        if (stop == end) break;
        p = stop + 1;
    }
    c->n++;
    while (c->n_choices < XC_MAX_CHOICES && c->choice[c->n_choices] >= 0) c->n_choices++;
    return XC_OK;
}

static enum xc_status check_columns(const struct columns *c, int want, const char *line, struct xc_err *err)
{
    const bool label = c->at[COL_LABEL] >= 0, score = c->at[COL_SCORE] >= 0;
    const char *missing = NULL;

    if ((want & XC_DATA_QUESTION) && (c->at[COL_QUESTION] < 0 || c->at[COL_CONTEXT] < 0)) missing = "columns 'question' and 'context'";
    else if ((want & XC_DATA_ANSWER) && c->at[COL_ANSWER] < 0) missing = "column 'answer'";
    else if (want & XC_DATA_QUESTION) missing = NULL;
    else if ((want & XC_DATA_PAIR) && (c->at[COL_A] < 0 || c->at[COL_B] < 0)) missing = "columns 'text_a' and 'text_b'";
    else if (!(want & XC_DATA_PAIR) && c->at[COL_TEXT] < 0) missing = "column 'text'";
    else if ((want & XC_DATA_CHOICE) && c->n_choices < 2) missing = "columns 'choice0' and 'choice1'";
    else if ((want & XC_DATA_LABEL) && (want & XC_DATA_SCORE) && !label && !score) missing = "column 'label' or 'score'";
    else if ((want & XC_DATA_LABEL) && !(want & XC_DATA_SCORE) && !label) missing = "column 'label'";
    else if ((want & XC_DATA_SCORE) && !(want & XC_DATA_LABEL) && !score) missing = "column 'score'";
    return missing ? xc_fail(err, XC_E_FORMAT, "no %s; the header is '%.120s'", missing, line) : XC_OK;
}

static enum xc_status add_number(struct xc_data *d, const char *column, const char *text, size_t len, size_t at, struct xc_err *err)
{
    char copy[64];
    double x;

    snprintf(copy, sizeof copy, "%.*s", len < sizeof copy ? (int)len : 0, text);
    if (!len || len >= sizeof copy || strlen(copy) != len || copy[len - 1] == '%' || !xc_parse_number(&x, copy))
        return xc_fail(err, XC_E_FORMAT, "%s '%.*s' is not a number", column, len < 60 ? (int)len : 60, text);
    return push_double(d, &d->score, CAP_SCORE, at, x, err);
}

/* The columns of a row of question answering. */
static enum xc_status add_answered(struct xc_data *d, int want, const char *const *field, const size_t *size, int64_t line, struct xc_err *err)
{
    const char *const question = xc_arena_strndup(&d->arena, field[COL_QUESTION], size[COL_QUESTION]), *const context = xc_arena_strndup(&d->arena, field[COL_CONTEXT], size[COL_CONTEXT]);
    int64_t letter = -1;

    if (!question || !context) return xc_fail_nomem(err, size[COL_QUESTION] + size[COL_CONTEXT]);
    XC_TRY(xc_data_add_question(d, question, size[COL_QUESTION], context, size[COL_CONTEXT], line, err));
    if (!(want & XC_DATA_ANSWER) || !size[COL_ANSWER]) return XC_OK;
    if (field[COL_ANSWER_START]) {
        char copy[24] = "";

        if (size[COL_ANSWER_START] < 19) memcpy(copy, field[COL_ANSWER_START], size[COL_ANSWER_START]);
        if (!*copy || strspn(copy, "0123456789") != size[COL_ANSWER_START])
            return xc_fail(err, XC_E_FORMAT, "answer_start '%.*s' is no number of a letter", size[COL_ANSWER_START] < 60 ? (int)size[COL_ANSWER_START] : 60, field[COL_ANSWER_START]);
        letter = strtoll(copy, NULL, 10);
    }
    return xc_data_add_answer(d, field[COL_ANSWER], size[COL_ANSWER], letter, err);
}

static enum xc_status add_choice(struct xc_data *d, const struct columns *c, int column, const char *text, size_t len, struct xc_err *err)
{
    for (int k = 0; k < c->n_choices; k++) {
        const size_t at = (size_t)d->n * (size_t)c->n_choices + (size_t)k;

        if (c->choice[k] != column) continue;
        d->n_choices = c->n_choices;
        if (at >= d->cap[CAP_CHOICES]) { /* columns may stand in any order: room for the row at once */
            XC_TRY(xc_grow((void **)&d->choices, &d->cap[CAP_CHOICES], (size_t)(d->n + 1) * (size_t)c->n_choices, sizeof *d->choices, err));
            XC_TRY(xc_grow((void **)&d->choice_len, &d->cap[CAP_CHOICE_LEN], (size_t)(d->n + 1) * (size_t)c->n_choices, sizeof *d->choice_len, err));
        }
        d->choices[at] = xc_arena_strndup(&d->arena, text, len);
        d->choice_len[at] = len;
        return d->choices[at] ? XC_OK : xc_fail_nomem(err, len);
    }
    return XC_OK;
}

static enum xc_status add_row(struct xc_data *d, const struct columns *c, int want, const char *line, size_t len, int64_t number, struct xc_err *err)
{
    const char *field[COL_COUNT] = { 0 }, *p = line, *end = line + len;
    size_t size[COL_COUNT] = { 0 };
    const size_t at = (size_t)d->n;
    const bool pair = want & XC_DATA_PAIR;
    int n = 0;

    for (;; n++) {
        const char *stop = field_end(p, end);

        for (int k = 0; k < COL_COUNT; k++)
            if (c->at[k] == n) {
                field[k] = p;
                size[k] = (size_t)(stop - p);
            }
        if (want & XC_DATA_CHOICE) XC_TRY(add_choice(d, c, n, p, (size_t)(stop - p), err));
        if (stop == end) break;
        p = stop + 1;
    }
    if (++n != c->n) return xc_fail(err, XC_E_FORMAT, "%d columns, the header has %d", n, c->n);
    if (want & XC_DATA_QUESTION) return add_answered(d, want, field, size, number, err);
    XC_TRY(push_text(d, &d->a, CAP_A, at, field[pair ? COL_A : COL_TEXT], size[pair ? COL_A : COL_TEXT], err));
    XC_TRY(push_size(d, &d->a_len, CAP_A_LEN, at, size[pair ? COL_A : COL_TEXT], err));
    if (pair) {
        XC_TRY(push_text(d, &d->b, CAP_B, at, field[COL_B], size[COL_B], err));
        XC_TRY(push_size(d, &d->b_len, CAP_B_LEN, at, size[COL_B], err));
    }
    if ((want & XC_DATA_SCORE) && field[COL_SCORE]) {
        XC_TRY(add_number(d, "score", field[COL_SCORE], size[COL_SCORE], at, err));
    } else if ((want & XC_DATA_NUMBERS) && field[COL_LABEL]) {
        XC_TRY(add_number(d, "label", field[COL_LABEL], size[COL_LABEL], at, err));
    } else if ((want & XC_DATA_LABEL) && field[COL_LABEL]) {
        if (!size[COL_LABEL]) return xc_fail(err, XC_E_FORMAT, "an empty label");
        if (memchr(field[COL_LABEL], '\0', size[COL_LABEL])) return xc_fail(err, XC_E_FORMAT, "a label with a NUL");
        XC_TRY(push_text(d, &d->label, CAP_LABEL, at, field[COL_LABEL], size[COL_LABEL], err));
    }
    return XC_OK;
}

enum xc_status xc_data_read_tsv(struct xc_data *d, const char *path, int want, struct xc_err *err)
{
    struct xc_lines *lines;
    struct columns columns;
    const char *line;
    size_t len;
    enum xc_status status;

    XC_TRY_GOTO(open_data(d, &lines, path, err), out);
    XC_TRY_GOTO(xc_lines_next(lines, &line, &len, err), out);
    if (!line) {
        xc_fail(err, XC_E_FORMAT, "an empty file; the first line must name the columns");
        status = xc_fail_at(err, XC_E_FORMAT, "%s:1", d->path);
        goto out;
    }
    status = read_header(&columns, line, len, err);
    if (status == XC_OK) status = check_columns(&columns, want, line, err);
    while (status == XC_OK) {
        XC_TRY_GOTO(xc_lines_next(lines, &line, &len, err), out);
        if (!line) break;
        status = add_row(d, &columns, want, line, len, xc_lines_number(lines), err);
        if (want & XC_DATA_QUESTION) continue;
        if (status == XC_OK) status = push_i64(d, &d->line, CAP_LINE, (size_t)d->n, xc_lines_number(lines), err);
        d->n += status == XC_OK;
    }
    if (status != XC_OK) fail_line(d, lines, err, status);
out:
    return finish(d, &lines, status, err);
}

/* ---- question answering ---- */
enum xc_status xc_data_add_question(struct xc_data *d, const char *question, size_t question_len, const char *context, size_t context_len, int64_t line, struct xc_err *err)
{
    const size_t at = (size_t)d->n;
    void *a = d->a, *b = d->b;
    enum xc_status status = push(d, &a, CAP_A, at, &question, sizeof question, err);

    d->a = a;
    if (status == XC_OK) status = push(d, &b, CAP_B, at, &context, sizeof context, err);
    d->b = b;
    XC_TRY(status);
    XC_TRY(push_size(d, &d->a_len, CAP_A_LEN, at, question_len, err));
    XC_TRY(push_size(d, &d->b_len, CAP_B_LEN, at, context_len, err));
    XC_TRY(push_i64(d, &d->line, CAP_LINE, at, line, err));
    if (!at) XC_TRY(push_i64(d, &d->answer_start, CAP_ANSWER_START, 0, 0, err));
    XC_TRY(push_i64(d, &d->answer_start, CAP_ANSWER_START, at + 1, d->n_answers, err));
    d->n++;
    return XC_OK;
}

/* The byte at which letter n of s[0..len) begins; -1 = there are fewer. */
static int64_t byte_of_letter(const char *s, size_t len, int64_t n)
{
    size_t at = 0;
    uint32_t cp;

    for (; n > 0 && at < len; n--) at += (size_t)xc_utf8_read(&cp, (const uint8_t *)s + at, len - at);
    return n ? -1 : (int64_t)at;
}

enum xc_status xc_data_add_answer(struct xc_data *d, const char *text, size_t len, int64_t letter, struct xc_err *err)
{
    const char *const context = d->b[d->n - 1], *found;
    const size_t context_len = d->b_len[d->n - 1], at = (size_t)d->n_answers;
    int64_t byte = -1;

    if (memchr(text, '\0', len)) return xc_fail(err, XC_E_FORMAT, "an answer with a NUL");
    if (letter >= 0) {
        byte = byte_of_letter(context, context_len, letter);
        if (byte < 0 || len > context_len - (size_t)byte || memcmp(context + byte, text, len))
            return xc_fail(err, XC_E_FORMAT, "answer '%.*s' does not stand at letter %lld of its context", len < 60 ? (int)len : 60, text, (long long)letter);
    } else if ((found = memmem(context, context_len, text, len)) != NULL) {
        byte = found - context;
    }
    XC_TRY(push_text(d, &d->answers, CAP_ANSWERS, at, text, len, err));
    XC_TRY(push_i64(d, &d->answer_at, CAP_ANSWER_AT, at, byte, err));
    d->answer_start[d->n] = ++d->n_answers;
    return XC_OK;
}

/* ---- .conll ---- */
static enum xc_status end_sentence(struct xc_data *d, int64_t line, struct xc_err *err)
{
    if (d->n_words == d->word_start[d->n]) return XC_OK; /* blank lines in a row */
    XC_TRY(push_i64(d, &d->line, CAP_LINE, (size_t)d->n, line, err));
    d->n++;
    return push_i64(d, &d->word_start, CAP_START, (size_t)d->n, d->n_words, err);
}

static enum xc_status add_word(struct xc_data *d, const char *line, size_t len, struct xc_err *err)
{
    const char *tab = memchr(line, '\t', len), *tag = tab ? tab + 1 : line + len;
    const size_t tag_len = tab ? len - (size_t)(tag - line) : 0;

    if (!tab || tab == line || !tag_len || memchr(tag, '\t', tag_len)) return xc_fail(err, XC_E_FORMAT, "not a token, a tab and a tag: '%.100s'", line);
    if (memchr(line, '\0', len)) return xc_fail(err, XC_E_FORMAT, "a NUL in a token or a tag");
    if (!(tag_len == 1 && *tag == 'O') && !((*tag == 'B' || *tag == 'I') && (tag_len == 1 || (tag[1] == '-' && tag_len > 2))))
        return xc_fail(err, XC_E_FORMAT, "tag '%.100s' is not O, B-TYPE or I-TYPE", tag);
    XC_TRY(push_text(d, &d->words, CAP_WORDS, (size_t)d->n_words, line, (size_t)(tab - line), err));
    XC_TRY(push_text(d, &d->tags, CAP_TAGS, (size_t)d->n_words, tag, tag_len, err));
    d->n_words++;
    return XC_OK;
}

enum xc_status xc_data_read_conll(struct xc_data *d, const char *path, struct xc_err *err)
{
    struct xc_lines *lines;
    const char *line;
    int64_t first = 1;
    size_t len;
    enum xc_status status;

    XC_TRY_GOTO(open_data(d, &lines, path, err), out);
    XC_TRY_GOTO(push_i64(d, &d->word_start, CAP_START, 0, 0, err), out);
    for (;;) {
        XC_TRY_GOTO(xc_lines_next(lines, &line, &len, err), out);
        if (!line) break;
        if (!len) {
            XC_TRY_GOTO(end_sentence(d, first, err), out);
            first = xc_lines_number(lines) + 1;
            continue;
        }
        status = add_word(d, line, len, err);
        if (status != XC_OK) {
            fail_line(d, lines, err, status);
            goto out;
        }
    }
    status = end_sentence(d, first, err);
out:
    return finish(d, &lines, status, err);
}

/* ---- lines ---- */
enum xc_status xc_data_read_lines(struct xc_data *d, const char *path, struct xc_err *err)
{
    struct xc_lines *lines;
    const char *line;
    size_t len;
    enum xc_status status;

    XC_TRY_GOTO(open_data(d, &lines, path, err), out);
    for (;; d->n++) {
        XC_TRY_GOTO(xc_lines_next(lines, &line, &len, err), out);
        if (!line) break;
        XC_TRY_GOTO(push_text(d, &d->a, CAP_A, (size_t)d->n, line, len, err), out);
        XC_TRY_GOTO(push_size(d, &d->a_len, CAP_A_LEN, (size_t)d->n, len, err), out);
        XC_TRY_GOTO(push_i64(d, &d->line, CAP_LINE, (size_t)d->n, xc_lines_number(lines), err), out);
    }
out:
    return finish(d, &lines, status, err);
}

static bool ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);

    return n >= m && !strcmp(s + n - m, end);
}

enum xc_status xc_data_read_texts(struct xc_data *d, const char *path, struct xc_err *err)
{
    return ends_with(path, ".tsv") || ends_with(path, ".tsv.zst") ? xc_data_read_tsv(d, path, 0, err) : xc_data_read_lines(d, path, err);
}

/* ---- more rows ---- */
static enum xc_status add_copy(struct xc_data *d, const struct xc_data *from, int64_t row, const char *a, size_t a_len, const char *b, size_t b_len, struct xc_err *err)
{
    const size_t at = (size_t)d->n;

    XC_TRY(push_text(d, &d->a, CAP_A, at, a, a_len, err));
    XC_TRY(push_size(d, &d->a_len, CAP_A_LEN, at, a_len, err));
    if (from->b) {
        XC_TRY(push_text(d, &d->b, CAP_B, at, b, b_len, err));
        XC_TRY(push_size(d, &d->b_len, CAP_B_LEN, at, b_len, err));
    }
    if (from->label) XC_TRY(push_text(d, &d->label, CAP_LABEL, at, from->label[row], strlen(from->label[row]), err));
    if (from->score) XC_TRY(push_double(d, &d->score, CAP_SCORE, at, from->score[row], err));
    XC_TRY(push_i64(d, &d->line, CAP_LINE, at, from->line[row], err));
    d->n++;
    return XC_OK;
}

enum xc_status xc_data_add_like(struct xc_data *d, int64_t like, const char *a, size_t a_len, const char *b, size_t b_len, struct xc_err *err)
{
    return add_copy(d, d, like, a, a_len, b, b_len, err);
}

enum xc_status xc_data_append(struct xc_data *d, const struct xc_data *more, struct xc_err *err)
{
    const struct { const char *what; bool here, there; } columns[] = {
        { "a second text", d->b != NULL, more->b != NULL }, { "labels", d->label != NULL, more->label != NULL }, { "scores", d->score != NULL, more->score != NULL },
    };

    if (d->answers || more->answers || d->answer_start || more->answer_start)
        return xc_fail(err, XC_E_UNSUPPORTED, "questions with answers come from one file: join '%s' and '%s'", d->path, more->path);
    if (d->choices || more->choices) return xc_fail(err, XC_E_UNSUPPORTED, "texts with choices come from one file: join '%s' and '%s'", d->path, more->path);
    if (d->words || more->words) return xc_fail(err, XC_E_UNSUPPORTED, "tagged sentences come from one file: join '%s' and '%s'", d->path, more->path);
    for (size_t i = 0; i < XC_ARRAY_LEN(columns); i++)
        if (columns[i].here != columns[i].there)
            return xc_fail(err, XC_E_FORMAT, "'%s' has %s, '%s' has not", columns[i].here ? d->path : more->path, columns[i].what, columns[i].here ? more->path : d->path);
    for (int64_t i = 0; i < more->n; i++) XC_TRY(add_copy(d, more, i, more->a[i], more->a_len[i], more->b ? more->b[i] : NULL, more->b ? more->b_len[i] : 0, err));
    return XC_OK;
}
