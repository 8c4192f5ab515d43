/* keep_rows:     da and db are zero but for the rows that were kept: those of da' and db'. None passes to the scores: which rows are kept is fixed.
 * attention_received: no gradient passes. */
#include <string.h>

#include "compress/grad/grad.h"

static enum xc_status keep_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const int32_t *from = c->op->out[2]->data; /* whole numbers, which nothing drops */
    const struct xc_ragged *all = c->op->in[0]->rag, *kept = c->op->out[0]->rag;

    (void)err;
    if (c->d_in[0] && c->fresh[0]) memset(c->d_in[0], 0, (size_t)c->op->in[0]->rows * sizeof(float));
    for (int i = 1; i < 3; i++) {
        const int64_t C = c->op->in[i]->cols;

        if (!c->d_in[i]) continue;
        if (c->fresh[i]) memset(c->d_in[i], 0, (size_t)(c->op->in[i]->rows * C) * sizeof(float));
        for (int32_t s = 0; c->d_out[i - 1] && s < all->n_seq; s++)
            for (int64_t r = kept->start[s]; r < kept->start[s + 1]; r++) xc_grad_put(c->d_in[i] + (all->start[s] + from[r]) * C, c->d_out[i - 1] + r * C, C, false);
    }
    return XC_OK;
}

const struct xc_grad xc_grad_attention_received = { .op = "attention_received" };
const struct xc_grad xc_grad_keep_rows = { .op = "keep_rows", .backward = keep_backward };
