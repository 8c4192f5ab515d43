/* conv1d: a strided convolution along each sequence, as PyTorch's Conv1d (cross-correlation).
 *
 *   in    x (R,Cin), weight (Cout, Cin/groups, kernel), bias (Cout), optional
 *   out   y (R',Cout): R' = (n + pad_left + pad_right - kernel) / stride + 1 rows a sequence, 0 for an empty one, in the strided space
 *         over x's; with stride 1 and pad_left + pad_right = kernel - 1, R' = n and the space is x's own, so that y can be added to x
 *
 * A block of rows is gathered to (rows, Cin/groups * kernel) and multiplied: one GEMM a group. */
#include <string.h>

#include "runtime/graph/ops/gemm.h"
#include "runtime/graph/ops/parallel.h"

static enum xc_status conv1d_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_conv1d *attr = c->node->attr;
    const struct xc_value *x;
    const struct xc_tensor *w;

    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(xc_need_tensor(c, 1, -1, -1, err));
    x = xc_infer_value(c, 0);
    w = xc_infer_tensor(c, 1);
    if (w->rank != 3 || w->dim[2] != attr->kernel || x->cols % attr->groups || w->dim[0] % attr->groups || w->dim[1] != x->cols / attr->groups ||
        w->dim[0] > INT32_MAX)
        return xc_fail(err, XC_E_SHAPE, "a convolution of %d columns in %d groups, kernel %d, does not fit weight '%s'", x->cols, attr->groups, attr->kernel, w->name);
    if (c->node->in[0].range.mode != XC_RANGE_NONE) return xc_fail(err, XC_E_UNSUPPORTED, "a convolution takes its input as f32");
    if (c->node->n_in > 2 && c->node->in[2].kind != XC_REF_NONE) XC_TRY(xc_need_tensor(c, 2, 1, w->dim[0], err));
    c->out[0].cols = (int32_t)w->dim[0];
    if (attr->stride == 1 && (int64_t)attr->pad_left + attr->pad_right == attr->kernel - 1) {
        c->out[0].space = x->space;
        return XC_OK;
    }
    const struct xc_space like = { .map = XC_MAP_STRIDED, .base = x->space, .kernel = attr->kernel, .stride = attr->stride, .pad_left = attr->pad_left, .pad_right = attr->pad_right };

    return xc_infer_space(c, &like, &c->out[0].space, err);
}

static void conv1d_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_tensor *w = g->model->tensors[node->in[1].id];

    (void)n_seq;
    cost->macs += (double)rows[g->values[node->out[0]].space] * (double)xc_tensor_count(w);
    cost->weight_bytes += (double)xc_tensor_bytes(w);
}

#define BLOCK 32 /* rows gathered at a time */

struct conv {
    const struct xc_op_ctx *c;
    const struct xc_attr_conv1d *attr;
    const float *w, *bias;    /* panels, group by group; (Cout) padded group by group, or NULL */
    int64_t Cg, Ng, K;        /* per group: inputs, outputs, inputs * kernel */
    size_t w_group;           /* floats of a group's panels */
    float *patch;             /* (BLOCK, K) by thread */
};

/* One row of patches, in the weight's order: channel, then tap. */
static void gather_patch(const struct conv *v, float *patch, int32_t s, int64_t row, int64_t group)
{
    const struct xc_view *x = v->c->in[0];
    const int64_t r0 = x->rag->start[s], n = x->rag->start[s + 1] - r0, first = row * v->attr->stride - v->attr->pad_left;

    for (int64_t k = 0; k < v->attr->kernel; k++) {
        const int64_t at = first + k;
        const float *from = at >= 0 && at < n ? (const float *)x->data + (r0 + at) * x->cols + group * v->Cg : NULL; /* NULL: padding */

        for (int64_t ch = 0; ch < v->Cg; ch++) patch[ch * v->attr->kernel + k] = from ? from[ch] : 0.0f;
    }
}

static void conv_block(void *arg, int64_t item, int thread)
{
    const struct conv *v = arg;
    const struct xc_view *y = v->c->out[0];
    const int64_t row0 = item * BLOCK, row1 = xc_min_i64(row0 + BLOCK, y->rows);
    float *patch = v->patch + (int64_t)thread * BLOCK * v->K;

    for (int64_t g = 0; g < v->attr->groups; g++) {
        const struct xc_gemm_f32 gemm = { .x = patch, .ldx = v->K, .w = v->w + (size_t)g * v->w_group, .N = v->Ng, .K = v->K,
                                          .ep = { .bias = v->bias ? v->bias + g * xc_round_up(v->Ng, 16) : NULL,
                                                  .out = (float *)y->data + row0 * y->cols + g * v->Ng, .ld_out = y->cols } };
        int32_t s = 0;

        for (int64_t r = row0; r < row1; r++) {
            while (y->rag->start[s + 1] <= r) s++;
            gather_patch(v, patch + (r - row0) * v->K, s, r - y->rag->start[s], g);
        }
        v->c->kern->gemm_f32(&gemm, 0, row1 - row0, 0, v->Ng);
    }
}

static enum xc_status conv1d_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_conv1d *attr = c->attr;
    const int64_t N = c->out[0]->cols;
    struct conv v = { .c = c, .attr = attr, .Cg = c->in[0]->cols / attr->groups, .Ng = N / attr->groups };
    float *rows, *panels, *flat, *bias;

    v.K = v.Cg * attr->kernel;
    v.w_group = xc_panel_f32_bytes(v.Ng, v.K) / sizeof(float);
    v.patch = xc_run_scratch(c->run, (size_t)(xc_pool_threads(c->pool) * BLOCK * v.K) * sizeof(float));
    rows = xc_run_scratch(c->run, (size_t)(N * v.K) * sizeof(float));
    panels = xc_run_scratch(c->run, (size_t)attr->groups * v.w_group * sizeof(float));
    if (!v.patch || !rows || !panels) return xc_fail_nomem(err, (size_t)(N * v.K) * sizeof(float));
    XC_TRY(xc_tensor_to_f32(c->tensor[1], rows, err));
    for (int64_t g = 0; g < attr->groups; g++) xc_pack_panel_f32(panels + (size_t)g * v.w_group, rows + g * v.Ng * v.K, v.Ng, v.K);
    v.w = panels;
    if (c->tensor[2]) {
        const int64_t padded = xc_round_up(v.Ng, 16);

        flat = xc_run_scratch(c->run, (size_t)N * sizeof(float));
        bias = xc_run_scratch(c->run, (size_t)(attr->groups * padded) * sizeof(float));
        if (!flat || !bias) return xc_fail_nomem(err, (size_t)(attr->groups * padded) * sizeof(float));
        XC_TRY(xc_tensor_to_f32(c->tensor[2], flat, err));
        memset(bias, 0, (size_t)(attr->groups * padded) * sizeof(float));
        for (int64_t g = 0; g < attr->groups; g++) memcpy(bias + g * padded, flat + g * v.Ng, (size_t)v.Ng * sizeof(float));
        v.bias = bias;
    }
    xc_pool_run(c->pool, conv_block, &v, xc_div_up(c->out[0]->rows, BLOCK));
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
