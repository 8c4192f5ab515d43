/* answer_data: rows of question answering: a .tsv, or SQuAD's JSON (data.h).
 *
 *   {"data": [{"paragraphs": [{"context": C, "qas": [{"question": Q, "answers": [{"text": A, "answer_start": letter}, ...]}, ...]}, ...]}, ...]}
 *
 * Everything else in it is left unread: `is_impossible` of 2.0 says what an empty list of answers says. */
#include <string.h>

#include "compress/tasks/data.h"
#include "formats/json.h"

static enum xc_status add_answers(struct xc_data *d, const json_t *list, struct xc_err *err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const one = json_array_get(list, i);
        const char *text;
        int64_t letter;

        XC_TRY(xc_json_str(&text, one, "text", err));
        XC_TRY(xc_json_int_or(&letter, one, "answer_start", 0, INT32_MAX, -1, err));
        if (*text) XC_TRY(xc_data_add_answer(d, text, strlen(text), letter, err));
    }
    return XC_OK;
}

static enum xc_status add_paragraph(struct xc_data *d, const json_t *paragraph, bool answers, struct xc_err *err)
{
    const char *context, *question;
    json_t *list, *given;

    XC_TRY(xc_json_str(&context, paragraph, "context", err));
    XC_TRY(xc_json_array(&list, paragraph, "qas", err));
    context = xc_arena_strdup(&d->arena, context);
    if (!context) return xc_fail_nomem(err, 0);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const one = json_array_get(list, i);

        XC_TRY(xc_json_str(&question, one, "question", err));
        XC_TRY(answers ? xc_json_array(&given, one, "answers", err) : xc_json_array_or(&given, one, "answers", err));
        question = xc_arena_strdup(&d->arena, question);
        if (!question) return xc_fail_nomem(err, 0);
        XC_TRY(xc_data_add_question(d, question, strlen(question), context, strlen(context), d->n + 1, err));
        if (answers) XC_TRY(add_answers(d, given, err));
    }
    return XC_OK;
}

static enum xc_status add_articles(struct xc_data *d, const json_t *root, bool answers, struct xc_err *err)
{
    json_t *articles, *paragraphs;

    XC_TRY(xc_json_array(&articles, root, "data", err));
    for (size_t i = 0; i < json_array_size(articles); i++) {
        XC_TRY(xc_json_array(&paragraphs, json_array_get(articles, i), "paragraphs", err));
        for (size_t k = 0; k < json_array_size(paragraphs); k++) XC_TRY(add_paragraph(d, json_array_get(paragraphs, k), answers, err));
    }
    return d->n ? XC_OK : xc_fail(err, XC_E_FORMAT, "no questions");
}

static enum xc_status read_squad(struct xc_data *d, const char *path, bool answers, struct xc_err *err)
{
    json_t *root = NULL;
    enum xc_status status;

    *d = (struct xc_data){ 0 };
    xc_arena_init(&d->arena);
    XC_TRY(xc_json_load(&root, path, NULL, err));
    d->path = xc_arena_strdup(&d->arena, path);
    status = d->path ? add_articles(d, root, answers, err) : xc_fail_nomem(err, strlen(path));
    if (status != XC_OK) xc_fail_at(err, status, "%s, question %lld", path, (long long)d->n);
    xc_json_free(&root);
    if (status != XC_OK) xc_data_release(d);
    return status;
}

enum xc_status xc_data_read_answers(struct xc_data *d, const char *path, bool answers, struct xc_err *err)
{
    const size_t n = strlen(path);

    if (n > 5 && !strcmp(path + n - 5, ".json")) return read_squad(d, path, answers, err);
    return xc_data_read_tsv(d, path, XC_DATA_QUESTION | (answers ? XC_DATA_ANSWER : 0), err);
}
