/* mix_rows: dx += E[:, :n]^T dy;  dE[:, :n] += dy x^T + dsum 1^T. Sequence by sequence, in order. */
#include <string.h>

#include "compress/grad/grad_mix.h"
#include "runtime/graph/ops/gemm.h"

#define BLOCK 1024 /* tokens whose panel is made at once */

enum xc_status xc_grad_mix(const struct xc_grad_ctx *c, const struct xc_grad_mix *m, struct xc_err *err)
{
    const struct xc_scratch_mark mark = xc_scratch_save(&c->op->run->node);
    enum xc_status status = XC_OK;
    float *panel = NULL;

    if (m->dx) status = xc_grad_product_dw(c, m->dx, m->ldx, m->e, m->n_max, m->dy, m->ld_dy, m->k, m->n, m->C, err);
    if (status == XC_OK && m->de) status = xc_grad_scratch(c, &panel, (size_t)xc_grad_panel_floats(xc_min_i64(BLOCK, m->n), m->C) * sizeof *panel, err);
    for (int64_t j0 = 0; j0 < m->n && status == XC_OK && m->de; j0 += BLOCK) {
        const int64_t n = xc_min_i64(BLOCK, m->n - j0);
        const struct xc_gemm_f32 g = { .x = m->dy, .ldx = m->ld_dy, .w = panel, .N = n, .K = m->C,
                                       .ep = { .residual = m->de + j0, .ld_residual = m->n_max, .out = m->de + j0, .ld_out = m->n_max } };

        xc_grad_panel_rows(panel, m->x + j0 * m->ldx, m->ldx, n, m->C);
        xc_gemm_tiles_f32(c->op, &g, m->k);
    }
    xc_scratch_restore(&c->op->run->node, mark);
    return status;
}

static enum xc_status mix_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_view *x = c->op->in[0];
    const struct xc_tensor *e = c->op->tensor[1];
    const int64_t k = e->dim[0];
    const float *w;

    if (c->d_in[0] && c->fresh[0]) memset(c->d_in[0], 0, (size_t)(x->rows * x->cols) * sizeof *c->d_in[0]);
    XC_TRY(xc_grad_tensor(c, &w, e, err));
    for (int32_t s = 0; s < x->rag->n_seq; s++) {
        const int64_t r0 = x->rag->start[s], n = x->rag->start[s + 1] - r0;

        if (n == 0) continue;
        if (c->d_out[0])
            XC_TRY(xc_grad_mix(c, &(struct xc_grad_mix){ .e = w, .de = c->d_tensor[1], .n_max = e->dim[1], .k = k, .x = (const float *)x->data + r0 * x->cols, .ldx = x->cols, .n = n,
                                                          .dx = c->d_in[0] ? c->d_in[0] + r0 * x->cols : NULL, .C = x->cols, .dy = c->d_out[0] + s * k * x->cols, .ld_dy = x->cols }, err));
        for (int64_t r = 0; c->d_tensor[1] && c->d_out[1] && r < k; r++)
            for (int64_t i = 0; i < n; i++) c->d_tensor[1][r * e->dim[1] + i] += c->d_out[1][s * k + r];
    }
    return XC_OK;
}

const struct xc_grad xc_grad_mix_rows = { .op = "mix_rows", .backward = mix_backward };
