/* classify: what classify and pair share. */
#ifndef XC_COMPRESS_TASKS_CLASSIFY_H
#define XC_COMPRESS_TASKS_CLASSIFY_H

#include "compress/tasks/task.h"

enum xc_status xc_classify_prepare(struct xc_eval *e, const struct xc_subject *m, int want, struct xc_err *err);
enum xc_status xc_classify_answer(struct xc_eval *e, const struct xc_subject *m, struct xc_answers *out, bool pairs, struct xc_err *err);

#endif
