/* conv1d: a strided convolution along each sequence, as PyTorch's Conv1d (cross-correlation).
 *
 *   in    x (R,Cin), weight (Cout, Cin/groups, kernel), bias (Cout), optional
 *   out   y (R',Cout) in the strided space over x's: R' = (n + pad_left + pad_right - kernel) / stride + 1 a sequence
 *
 * Rows are gathered to (R', Cin/groups * kernel) and multiplied: one GEMM a group. */
#include <string.h>

#include "runtime/graph/op.h"
#include "runtime/graph/ops/gemm.h"

static enum xc_status conv1d_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_conv1d *attr = c->node->attr;
    const struct xc_value *x;
    const struct xc_tensor *w;

    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    x = xc_infer_value(c, 0);
    XC_TRY(xc_need_tensor(c, 1, -1, (int64_t)x->cols / attr->groups * attr->kernel, err));
    w = xc_infer_tensor(c, 1);
    if (w->rank != 3 || w->dim[2] != attr->kernel || x->cols % attr->groups || w->dim[0] % attr->groups)
        return xc_fail(err, XC_E_SHAPE, "a convolution of %d columns in %d groups, kernel %d, does not fit weight '%s'", x->cols, attr->groups, attr->kernel, w->name);
    if (attr->groups != 1 && w->enc.format == XC_FMT_S8) return xc_fail(err, XC_E_UNSUPPORTED, "int8 weights in a grouped convolution");
    if (c->node->n_in > 2 && c->node->in[2].kind != XC_REF_NONE) XC_TRY(xc_need_tensor(c, 2, 1, w->dim[0], err));
    const struct xc_space like = { .map = XC_MAP_STRIDED, .base = x->space, .kernel = attr->kernel, .stride = attr->stride, .pad_left = attr->pad_left, .pad_right = attr->pad_right };

    c->out[0].cols = (int32_t)w->dim[0];
    return xc_infer_space(c, &like, &c->out[0].space, err);
}

static void conv1d_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_tensor *w = g->model->tensors[node->in[1].id];

    (void)n_seq;
    cost->macs += (double)rows[g->values[node->out[0]].space] * (double)xc_tensor_count(w);
    cost->weight_bytes += (double)xc_tensor_bytes(w);
}

/* patch (R', Cg*kernel) in the weight's order: channel, then tap */
static void gather_patches(const struct xc_op_ctx *c, float *patch, int64_t group, int64_t Cg)
{
    const struct xc_attr_conv1d *attr = c->attr;
    const int64_t Cin = c->in[0]->cols;
    const float *x = c->in[0]->data;

    for (int32_t s = 0; s < c->out[0]->rag->n_seq; s++) {
        const int64_t r0 = c->in[0]->rag->start[s], n = c->in[0]->rag->start[s + 1] - r0;

        for (int64_t r = c->out[0]->rag->start[s]; r < c->out[0]->rag->start[s + 1]; r++)
            for (int64_t ch = 0; ch < Cg; ch++)
                for (int64_t k = 0; k < attr->kernel; k++) {
                    const int64_t at = (r - c->out[0]->rag->start[s]) * attr->stride + k - attr->pad_left;

                    patch[(r * Cg + ch) * attr->kernel + k] = at >= 0 && at < n ? x[(r0 + at) * Cin + group * Cg + ch] : 0.0f;
                }
    }
}

static enum xc_status conv1d_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_conv1d *attr = c->attr;
    const int64_t R = c->out[0]->rows, Cg = c->in[0]->cols / attr->groups, N = c->out[0]->cols, Ng = N / attr->groups, K = Cg * attr->kernel;
    float *patch = xc_run_scratch(c->run, (size_t)(R * K) * 4 + 4), *y = c->out[0]->data, *rows, *packed, *bias;

    if (!patch) return xc_fail_nomem(err, (size_t)(R * K) * 4);
    if (attr->groups == 1) {
        gather_patches(c, patch, 0, Cg);
        return xc_gemm_run(c, y, patch, R, c->tensor[1], c->tensor[2], &c->node->in[0].range, err);
    }
    rows = xc_run_scratch(c->run, (size_t)(N * K) * 4);
    packed = xc_run_scratch(c->run, xc_panel_f32_bytes(Ng, K));
    bias = xc_run_scratch(c->run, (size_t)(xc_round_up(N, 16) + 16) * 4);
    if (!rows || !packed || !bias) return xc_fail_nomem(err, (size_t)(N * K) * 4);
    memset(bias, 0, (size_t)(xc_round_up(N, 16) + 16) * 4);
    XC_TRY(xc_tensor_to_f32(c->tensor[1], rows, err));
    if (c->tensor[2]) XC_TRY(xc_tensor_to_f32(c->tensor[2], bias, err));
    for (int64_t g = 0; g < attr->groups; g++) {
        const struct xc_gemm_f32 gemm = { .x = patch, .ldx = K, .w = packed, .N = Ng, .K = K, .ep = { .out = y + g * Ng, .ld_out = N } };

        gather_patches(c, patch, g, Cg);
        xc_pack_panel_f32(packed, rows + g * Ng * K, Ng, K);
        c->kern->gemm_f32(&gemm, 0, R, 0, Ng);
        for (int64_t r = 0; r < R; r++) c->kern->add_f32(y + r * N + g * Ng, y + r * N + g * Ng, bias + g * Ng, Ng);
    }
    return XC_OK;
}

static const struct xc_attr_def attrs[] = {
    { "kernel", XC_ATTR_INT, offsetof(struct xc_attr_conv1d, kernel), 1, NULL, 1, 1 << 20 },
    { "stride", XC_ATTR_INT, offsetof(struct xc_attr_conv1d, stride), 1, NULL, 1, 1 << 20 },
    { "pad_left", XC_ATTR_INT, offsetof(struct xc_attr_conv1d, pad_left), 0, NULL, 0, 1 << 20 },
    { "pad_right", XC_ATTR_INT, offsetof(struct xc_attr_conv1d, pad_right), 0, NULL, 0, 1 << 20 },
    { "groups", XC_ATTR_INT, offsetof(struct xc_attr_conv1d, groups), 1, NULL, 1, 1 << 20 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "x", "weight", "bias" };
const struct xc_op xc_op_conv1d = { .name = "conv1d", .version = 1, .min_in = 2, .max_in = 3, .n_out = 1, .attrs = attrs, .attr_size = sizeof(struct xc_attr_conv1d),
                                    .in_names = in_names, .infer = conv1d_infer, .cost = conv1d_cost, .forward = conv1d_forward };
