/* answer: the part of a text that answers a question: what the task, the verb and training share. */
#ifndef XC_COMPRESS_TASKS_ANSWER_H
#define XC_COMPRESS_TASKS_ANSWER_H

#include "compress/tasks/questions.h"
#include "compress/tasks/task.h"

#define XC_ANSWER_TOKENS 30 /* of an answer at most, as run_qa.py */

/* The best answer in a text: bytes begin to end - 1 of it, and the sum of its two logits. none: what "there is no answer" has, the logits of the first token, in the window
 * where they are lowest. A text without tokens has the empty answer with a score of -infinity. */
struct xc_span {
    int64_t begin, end;
    float score, none;
};

/* The best span of one window's logits, x (tokens, 2): begin <= end < begin + XC_ANSWER_TOKENS, both in the text (place[i] >= 0), the first of equals; false when there is none. */
bool xc_span_best(int64_t *begin, int64_t *end, float *score, const float *x, const int32_t *place, int64_t tokens);

/* Answers n questions; `batcher` runs the windows and counts. */
struct xc_batcher;
enum xc_status xc_answer_run(struct xc_span *out, struct xc_batcher *batcher, const char *const *question, const size_t *question_len, const char *const *text, const size_t *text_len,
                             int64_t n, int32_t stride, struct xc_err *err);

/* Two logits a token. */
bool xc_answer_fits(const struct xc_model_info *info);

/* Is an answer a right one, and how many words does it share with one (F1)? The definitions of SQuAD 2.0's evaluation (Rajpurkar et al. 2018), which are those of 1.1 but for answers
 * without a word: lower case, without ASCII punctuation and a, an, the, white space as one blank. Without a right answer (n_gold 0) it must be empty. */
enum xc_status xc_answer_score(bool *exact, double *f1, const char *answer, size_t len, const char *const *gold, int64_t n_gold, struct xc_err *err);

#endif
