/* mask_agreement: calibration texts as samples for gradients of masks: see mask_gradients.h. */
#include <string.h>

#include "compress/calibrate/replay.h"
#include "compress/shrink/mask_gradients.h"

struct source {
    const struct xc_replay *replay;
    int64_t first; /* text of the batch */
    int32_t *start;
    size_t cap_start;
    bool classes;
    uint64_t seed;
};

void xc_mask_source_release(struct xc_mask_source *source)
{
    if (source->arg) source->release(source->arg);
    *source = (struct xc_mask_source){ 0 };
}

static void agreement_release(void *arg)
{
    struct source *s = arg;

    xc_free(s->start);
    xc_free(s);
}

static enum xc_status agreement_batch(void *arg, int64_t b, struct xc_mask_batch *out, struct xc_err *err)
{
    struct source *s = arg;
    const struct xc_replay *r = s->replay;
    const int64_t n = r->batch[b + 1] - r->batch[b];

    s->first = r->batch[b];
    XC_TRY(xc_grow((void **)&s->start, &s->cap_start, (size_t)n + 1, sizeof *s->start, err));
    for (int64_t i = 0; i <= n; i++) s->start[i] = r->start[s->first + i] - r->start[s->first];
    *out = (struct xc_mask_batch){ .ids = r->ids + r->start[s->first], .types = r->zeros, .start = s->start, .n_seq = (int32_t)n };
    return XC_OK;
}

static enum xc_status agreement_loss(void *arg, const struct xc_view *y, bool by_token, float *d, struct xc_err *err)
{
    const struct source *s = arg;
    const float *x = y->data;

    (void)err;
    for (int64_t i = 0, row = 0; row < y->rows; i++) {
        const int64_t rows = by_token ? s->start[i + 1] - s->start[i] : 1;

        xc_agreement_gradient(d + row * y->cols, x + row * y->cols, rows, y->cols, s->classes, s->seed, (uint64_t)(s->first + i));
        row += rows;
    }
    return XC_OK;
}

enum xc_status xc_mask_source_agreement(struct xc_mask_source *out, const struct xc_replay *replay, const struct xc_model *m, uint64_t seed, struct xc_err *err)
{
    const char *task = xc_model_meta(m, "task");
    struct source *s = xc_calloc(1, sizeof *s);

    *out = (struct xc_mask_source){ 0 };
    if (!s) return xc_fail_nomem(err, sizeof *s);
    s->replay = replay;
    s->seed = seed;
    s->classes = task && (!strcmp(task, "classify") || !strcmp(task, "tag") || !strcmp(task, "mlm"));
    *out = (struct xc_mask_source){ .arg = s, .n_batches = replay->n_batches, .samples = replay->n_texts, .per_sample = 1, .batch = agreement_batch, .loss = agreement_loss,
                                    .release = agreement_release };
    return XC_OK;
}
