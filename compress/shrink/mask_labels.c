/* mask_labels: rows of a labelled file as samples for gradients of masks: see mask_gradients.h. */
#include <math.h>
#include <string.h>

#include "compress/shrink/mask_gradients.h"
#include "compress/tasks/task.h"
#include "compress/train/dataset.h"
#include "compress/train/loss.h"

struct source {
    struct xc_dataset set;
    struct xc_batches plan;
    struct xc_batch batch;
    double *each;
    size_t cap_each;
    bool classes;
    struct xc_pool *pool;
};

static void labels_release(void *arg)
{
    struct source *s = arg;

    xc_free(s->each);
    xc_dataset_release(&s->set);
    xc_batches_release(&s->plan);
    xc_batch_release(&s->batch);
    xc_free(s);
}

static enum xc_status labels_batch(void *arg, int64_t b, struct xc_mask_batch *out, struct xc_err *err)
{
    static const struct xc_masking none = { .on = false };
    struct source *s = arg;
    int64_t targets;

    XC_TRY(xc_batch_fill(&s->batch, &s->set, &s->plan, b, &none, &targets, err));
    *out = (struct xc_mask_batch){ .ids = s->batch.ids, .types = s->batch.types, .start = s->batch.start, .n_seq = (int32_t)s->batch.sequences };
    return XC_OK;
}

static enum xc_status labels_loss(void *arg, const struct xc_view *y, bool by_token, float *d, struct xc_err *err)
{
    struct source *s = arg;
    const float *x = y->data;

    (void)by_token;
    XC_TRY(xc_grow((void **)&s->each, &s->cap_each, (size_t)y->rows + 1, sizeof *s->each, err));
    if (s->classes) xc_loss_classes(d, s->each, x, s->batch.label, y->rows, y->cols, 0, 1, s->pool);
    else if (s->set.per_row == 2) xc_loss_cosine(d, x, s->batch.score, s->batch.rows, y->cols, 1);
    else xc_loss_square(d, x, s->batch.score, y->rows, 1);
    return XC_OK;
}

/* Rows spread evenly over the file, `most` of them. */
static void thin(struct xc_data *d, int64_t most)
{
    const int64_t n = xc_min_i64(d->n, most);

    for (int64_t i = 0; i < n; i++) {
        const int64_t from = i * d->n / n;

        d->a[i] = d->a[from];
        d->a_len[i] = d->a_len[from];
        if (d->b) d->b[i] = d->b[from];
        if (d->b) d->b_len[i] = d->b_len[from];
        if (d->label) d->label[i] = d->label[from];
        if (d->score) d->score[i] = d->score[from];
        if (d->line) d->line[i] = d->line[from];
    }
    d->n = n;
}

static enum xc_status read_rows(struct source *s, const char *path, const char *task, struct xc_err *err)
{
    const int number = XC_DATA_LABEL | XC_DATA_SCORE | XC_DATA_NUMBERS;
    const int want = s->classes ? XC_DATA_LABEL : number;

    if (!strcmp(task, "embed")) {
        s->set.per_row = 2;
        return xc_data_read_tsv(&s->set.data, path, XC_DATA_PAIR | XC_DATA_SCORE, err);
    }
    s->set.per_row = 1;
    if (xc_data_read_tsv(&s->set.data, path, want | XC_DATA_PAIR, NULL) == XC_OK) return XC_OK;
    return xc_data_read_tsv(&s->set.data, path, want, err);
}

static enum xc_status gold(struct source *s, const struct xc_model *m, const struct xc_model_info *info, struct xc_err *err)
{
    struct xc_data *d = &s->set.data;
    double most = 0;

    if (s->classes) {
        const struct xc_subject subject = { .path = d->path, .model = (struct xc_model *)(uintptr_t)m, .info = *info };
        struct xc_eval e = { .task = xc_task_find("classify"), .data = *d };
        const enum xc_status status = xc_task_gold_labels(&e, &subject, err);

        s->set.label = e.gold_class;
        return status;
    }
    XC_TRY(xc_new_array(&s->set.score, d->n, sizeof *s->set.score, err));
    for (int64_t i = 0; i < d->n; i++) {
        if (!isfinite(d->score[i]) || fabs(d->score[i]) > 1e30) {
            xc_fail(err, XC_E_RANGE, "score %g", d->score[i]);
            return xc_data_fail_at(d, i, err, XC_E_RANGE);
        }
        most = fmax(most, fabs(d->score[i]));
    }
    for (int64_t i = 0; i < d->n; i++) s->set.score[i] = (float)(s->set.per_row == 2 && most > 0 ? d->score[i] / most : d->score[i]); /* as training does */
    return XC_OK;
}

static enum xc_status open_labels(struct source *s, struct xc_mask_source *out, const char *path, int64_t most, const struct xc_model *m, struct xc_err *err)
{
    const char *meta = xc_model_meta(m, "task"), *task = meta ? meta : "";
    struct xc_tokenizer *tokenizer = NULL;
    struct xc_model_info info;
    enum xc_status status;

    s->classes = !strcmp(task, "classify");
    if (!s->classes && strcmp(task, "embed") != 0 && strcmp(task, "regress") != 0)
        return xc_fail(err, XC_E_UNSUPPORTED, "objective 'labels' of pass 'shrink' is for models that classify, regress or embed, not for '%s': use agreement", *task ? task : "?");
    XC_TRY(read_rows(s, path, task, err));
    thin(&s->set.data, most);
    XC_TRY(xc_model_info(m, &info, err));
    if (!m->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no tokenizer");
    XC_TRY(xc_tokenizer_open(&tokenizer, m->tokenizer, err));
    status = xc_dataset_tokenize(&s->set, tokenizer, info.max_tokens, s->pool, err);
    xc_tokenizer_free(&tokenizer);
    XC_TRY(status);
    XC_TRY(gold(s, m, &info, err));
    XC_TRY(xc_batches_plan(&s->plan, &s->set, false, 0, 0, 1024, 0, err));
    *out = (struct xc_mask_source){ .arg = s, .n_batches = s->plan.n, .samples = s->set.n, .per_sample = s->set.per_row, .batch = labels_batch, .loss = labels_loss,
                                    .release = labels_release };
    return XC_OK;
}

enum xc_status xc_mask_source_labels(struct xc_mask_source *out, const char *path, int64_t most, const struct xc_model *m, struct xc_pool *pool, struct xc_err *err)
{
    struct source *s = xc_calloc(1, sizeof *s);
    enum xc_status status;

    *out = (struct xc_mask_source){ 0 };
    if (!s) return xc_fail_nomem(err, sizeof *s);
    xc_arena_init(&s->set.data.arena);
    s->pool = pool;
    status = open_labels(s, out, path, most, m, err);
    if (status != XC_OK) labels_release(s);
    return status;
}
