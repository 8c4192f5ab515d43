/* choice: which of several texts goes with one: what the task and training share. */
#ifndef XC_COMPRESS_TASKS_CHOICE_H
#define XC_COMPRESS_TASKS_CHOICE_H

#include "compress/tasks/task.h"

/* Rows of a text and a choice, those of a row of `data` behind each other; points into it. Released by xc_choice_pairs_release. */
enum xc_status xc_choice_pairs(struct xc_data *out, const struct xc_data *data, struct xc_err *err);
void xc_choice_pairs_release(struct xc_data *pairs);

/* The numbers in column label, which must be below n_choices. */
enum xc_status xc_choice_labels(int32_t **out, const struct xc_data *data, struct xc_err *err);

#endif
