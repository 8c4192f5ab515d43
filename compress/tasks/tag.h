/* tag: what the task and the verb share. */
#ifndef XC_COMPRESS_TASKS_TAG_H
#define XC_COMPRESS_TASKS_TAG_H

#include "compress/tasks/task.h"

/* The class of each of n_words words, from its first token; -1 for a word that was cut off. */
void xc_tag_words(int32_t *word_class, const struct xc_answer *answer, int64_t n_words);
enum xc_status xc_tag_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, struct xc_err *err);

#endif
