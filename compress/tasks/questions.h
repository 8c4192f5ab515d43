/* questions: a question and the text that holds its answer, as sequences that a model can read: <s> question </s></s> part of the text </s>, as the tokenizer's
 * template for pairs has it. Only the text is cut, into windows that overlap, so that no answer is lost at a border (transformers' run_qa.py, doc_stride). */
#ifndef XC_COMPRESS_TASKS_QUESTIONS_H
#define XC_COMPRESS_TASKS_QUESTIONS_H

#include "runtime/base/pool.h"
#include "runtime/text/tokenizer.h"

#define XC_STRIDE 128 /* tokens that two windows share, where nothing is said and half a window has room for them */

struct xc_questions {
    int64_t n;                 /* windows, those of a row behind each other */
    int64_t *row, *first;      /* by window: its row; the token of that row's text that it begins with */
    int64_t *start;            /* n + 1: its tokens in ids, types, place */
    int32_t *ids;
    uint8_t *types;
    int32_t *place;            /* by token: which token of the row's text; -1 = question, special */
    int64_t *text_start;       /* rows + 1: tokens of all texts before it */
    int64_t *begin, *end;      /* by token of the texts: bytes of its text */
    int64_t cut;               /* questions that were cut: they take at most half of a sequence */
    size_t cap_row, cap_first, cap_start, cap_ids, cap_types, cap_place, cap_begin, cap_end;
};

struct xc_questions_opts {
    int32_t max_tokens; /* of a sequence; 0 = no limit */
    int32_t stride;     /* tokens that two windows share; 0 = XC_STRIDE, or half a window where that is less */
    struct xc_pool *pool;
};

enum xc_status xc_questions_make(struct xc_questions *out, const struct xc_tokenizer *tok, const char *const *question, const size_t *question_len, const char *const *text,
                                 const size_t *text_len, int64_t rows, const struct xc_questions_opts *opts, struct xc_err *err);
void xc_questions_release(struct xc_questions *q);

#endif
