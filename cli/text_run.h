/* text_run: a model at work on lines of text: what the verbs that print an answer a line open, run and close. */
#ifndef XC_CLI_TEXT_RUN_H
#define XC_CLI_TEXT_RUN_H

#include <jansson.h>

#include "cli/text_window.h"
#include "compress/tasks/task.h"

struct text_run {
    struct xc_pool *pool;
    struct xc_subject model;
    struct xc_batcher batcher;
    struct text_window window;
    json_t *list; /* answers for --json; NULL = they are printed as they come */
};

/* In this order; the verb looks at model.info between the two. text_run_close takes whatever was opened. */
enum xc_status text_run_open(struct text_run *t, const char *model, int64_t threads, struct xc_err *err);
enum xc_status text_run_input(struct text_run *t, const char *file, bool pairs, bool list, struct xc_err *err);
/* {"rows", "tokens", "truncated", name: the list, which the object takes}; NULL when out of memory */
json_t *text_run_json(struct text_run *t, const char *name);
void text_run_close(struct text_run *t);

#endif
