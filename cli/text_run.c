/* text_run: see text_run.h. */
#include "cli/text_run.h"

enum xc_status text_run_open(struct text_run *t, const char *model, int64_t threads, struct xc_err *err)
{
    XC_TRY(xc_pool_new(&t->pool, (int)threads, err));
    return xc_subject_open(&t->model, model, NULL, t->pool, err);
}

enum xc_status text_run_input(struct text_run *t, const char *file, bool pairs, bool list, struct xc_err *err)
{
    XC_TRY(text_window_open(&t->window, file, pairs, err));
    xc_batcher_init(&t->batcher, t->model.session, t->pool);
    if (list && !(t->list = json_array())) return xc_fail_nomem(err, 0);
    return XC_OK;
}

json_t *text_run_json(struct text_run *t, const char *name)
{
    const struct xc_batcher *b = &t->batcher;
    json_t *doc = json_pack("{s:I, s:I, s:I}", "rows", (json_int_t)b->rows_done, "tokens", (json_int_t)b->tokens_done, "truncated", (json_int_t)b->truncated);
    json_t *list = t->list;

    t->list = NULL;
    if (!list || !json_object_set_new(doc, name, list)) return doc;
    json_decref(doc);
    return NULL;
}

void text_run_close(struct text_run *t)
{
    json_decref(t->list);
    xc_batcher_release(&t->batcher);
    text_window_close(&t->window);
    xc_subject_close(&t->model);
    if (t->pool) xc_pool_free(&t->pool);
    *t = (struct text_run){ 0 };
}
