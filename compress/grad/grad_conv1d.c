/* conv1d: with the patches P (R', Cin/groups * kernel) of one group gathered again:   dP = dy W, scattered back to dx;  dW += dy^T P;  db +=
 * the sum of dy's rows. One group at a time; sequences are scattered each by one thread. */
#include <string.h>

#include "compress/grad/grad.h"

struct conv {
    const struct xc_grad_ctx *c;
    const struct xc_attr_conv1d *attr;
    int64_t Cg, Ng, K, group;
    float *patch;
};

/* The row of x under tap k of output row `row` of sequence s, or NULL in the padding. */
static int64_t tap_row(const struct conv *v, int32_t s, int64_t row, int64_t k)
{
    const struct xc_ragged *in = v->c->op->in[0]->rag;
    const int64_t at = row * v->attr->stride - v->attr->pad_left + k;

    return at >= 0 && at < in->start[s + 1] - in->start[s] ? in->start[s] + at : -1;
}

/* Item: a sequence; patches from x, or dx from them. */
static void each_patch(const struct conv *v, int32_t s, bool back)
{
    const struct xc_view *x = v->c->op->in[0], *y = v->c->op->out[0];

    for (int64_t r = y->rag->start[s]; r < y->rag->start[s + 1]; r++)
        for (int64_t k = 0; k < v->attr->kernel; k++) {
            const int64_t at = tap_row(v, s, r - y->rag->start[s], k), first = at * x->cols + v->group * v->Cg;
            float *patch = v->patch + r * v->K + k;

            for (int64_t ch = 0; ch < v->Cg; ch++) {
                if (!back) patch[ch * v->attr->kernel] = at >= 0 ? ((const float *)x->data)[first + ch] : 0.0f;
                else if (at >= 0) v->c->d_in[0][first + ch] += patch[ch * v->attr->kernel];
            }
        }
}

static void gather_item(void *arg, int64_t item, int thread)
{
    (void)thread;
    each_patch(arg, (int32_t)item, false);
}

static void scatter_item(void *arg, int64_t item, int thread)
{
    (void)thread;
    each_patch(arg, (int32_t)item, true);
}

static enum xc_status conv1d_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_attr_conv1d *attr = c->op->attr;
    const struct xc_view *x = c->op->in[0], *y = c->op->out[0];
    struct conv v = { .c = c, .attr = attr, .Cg = x->cols / attr->groups, .Ng = y->cols / attr->groups };
    const float *w;

    v.K = v.Cg * attr->kernel;
    XC_TRY(xc_grad_tensor(c, &w, c->op->tensor[1], err));
    XC_TRY(xc_grad_scratch(c, &v.patch, (size_t)(y->rows * v.K) * sizeof *v.patch, err));
    if (c->d_in[0] && c->fresh[0]) memset(c->d_in[0], 0, (size_t)(x->rows * x->cols) * sizeof *c->d_in[0]);
    for (v.group = 0; v.group < attr->groups; v.group++) {
        const float *dy = c->d_out[0] + v.group * v.Ng;

        if (c->d_tensor[1]) {
            xc_pool_run(c->op->pool, gather_item, &v, x->rag->n_seq);
            XC_TRY(xc_grad_product_dw(c, c->d_tensor[1] + v.group * v.Ng * v.K, v.K, dy, y->cols, v.patch, v.K, y->rows, v.Ng, v.K, err));
        }
        if (!c->d_in[0]) continue;
        XC_TRY(xc_grad_product_dx(c, v.patch, v.K, dy, y->cols, w + v.group * v.Ng * v.K, v.K, y->rows, v.Ng, v.K, true, err));
        xc_pool_run(c->op->pool, scatter_item, &v, x->rag->n_seq);
    }
    if (c->d_tensor[2]) xc_grad_col_sums(c, c->d_tensor[2], NULL, c->d_out[0], y->cols, NULL, 0, y->rows, y->cols);
    return XC_OK;
}

const struct xc_grad xc_grad_conv1d = { .op = "conv1d", .backward = conv1d_backward };
