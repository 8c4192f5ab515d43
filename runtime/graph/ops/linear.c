/* linear: y = x W^T + b.
 *
 *   in    x (R,K), weight (N,K), bias (N), optional
 *   out   y (R,N)
 *
 * An int8 weight whose input has a range takes x quantized per row (or by its static scale); any other weight is used as f32. */
#include <string.h>

#include "runtime/graph/op.h"
#include "runtime/graph/ops/gemm.h"

static enum xc_status linear_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(xc_need_tensor(c, 1, -1, xc_infer_value(c, 0)->cols, err));
    const int64_t N = xc_tensor_rows(xc_infer_tensor(c, 1));

    if (N > INT32_MAX) return xc_fail(err, XC_E_RANGE, "the weight has too many outputs");
    if (c->node->n_in > 2 && c->node->in[2].kind != XC_REF_NONE) XC_TRY(xc_need_tensor(c, 2, 1, N, err));
    if (c->node->in[0].range.mode != XC_RANGE_NONE && xc_infer_tensor(c, 1)->enc.format != XC_FMT_S8)
        return xc_fail(err, XC_E_FORMAT, "the input of a linear has an int8 range, its weight '%s' is not int8", xc_infer_tensor(c, 1)->name);
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = (int32_t)N;
    return XC_OK;
}

static void linear_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_tensor *w = g->model->tensors[node->in[1].id];

    (void)n_seq;
    cost->macs += (double)rows[g->values[node->out[0]].space] * (double)xc_tensor_count(w);
    cost->weight_bytes += (double)xc_tensor_bytes(w);
}

enum xc_status xc_gemm_run(const struct xc_op_ctx *c, float *y, const float *x, int64_t R, const struct xc_tensor *w, const struct xc_tensor *b,
                           const struct xc_range *range, struct xc_err *err)
{
    const int64_t N = xc_tensor_rows(w), K = xc_tensor_cols(w), Np = xc_round_up(N, 16);
    struct xc_epilogue ep = { .out = y, .ld_out = N };

    if (b) {
        float *bias = xc_run_scratch(c->run, (size_t)Np * sizeof *bias);

        if (!bias) return xc_fail_nomem(err, (size_t)Np * sizeof *bias);
        memset(bias, 0, (size_t)Np * sizeof *bias);
        XC_TRY(xc_tensor_to_f32(b, bias, err));
        ep.bias = bias;
    }
    if (w->enc.format == XC_FMT_S8 && range->mode != XC_RANGE_NONE) {
        const int64_t ld = xc_round_up(K, 64);
        int8_t *q = xc_run_scratch(c->run, (size_t)(R * ld) + 1), *packed = NULL;
        float *scale = xc_run_scratch(c->run, (size_t)R * 4 + 4), *col = xc_run_scratch(c->run, (size_t)Np * 4);
        int32_t *sum = xc_run_scratch(c->run, (size_t)R * 4 + 4);

        if (!q || !scale || !sum || !col) return xc_fail_nomem(err, (size_t)(R * ld));
        if (w->enc.layout == XC_LAYOUT_ROWS) {
            packed = xc_run_scratch(c->run, xc_panel_s8_bytes(N, K));
            if (!packed) return xc_fail_nomem(err, xc_panel_s8_bytes(N, K));
            xc_pack_panel_s8(packed, (const int8_t *)w->part[XC_PART_DATA]->data, N, K);
        }
        memset(col, 0, (size_t)Np * 4);
        memcpy(col, w->part[XC_PART_SCALE]->data, (size_t)N * 4);
        c->kern->quantize_rows_s8(q, ld, scale, sum, x, K, R, K, range->mode == XC_RANGE_STATIC ? range->scale : 0.0f);
        ep.row_scale = scale;
        ep.col_scale = col;
        const struct xc_gemm_s8 g = { .x = q, .ldx = ld, .x_sum = sum, .w = packed ? packed : (const int8_t *)w->part[XC_PART_DATA]->data,
                                      .w_sum16 = w->enc.sum16, .N = N, .K = K, .ep = ep };

        c->kern->gemm_s8(&g, 0, R, 0, N);
        return XC_OK;
    }
    const float *panel = NULL;

    if (w->enc.format == XC_FMT_F32 && w->enc.layout == XC_LAYOUT_PANEL16) {
        panel = (const float *)(const void *)w->part[XC_PART_DATA]->data;
    } else {
        float *rows = xc_run_scratch(c->run, (size_t)(N * K) * 4), *packed = xc_run_scratch(c->run, xc_panel_f32_bytes(N, K));

        if (!rows || !packed) return xc_fail_nomem(err, xc_panel_f32_bytes(N, K));
        XC_TRY(xc_tensor_to_f32(w, rows, err));
        xc_pack_panel_f32(packed, rows, N, K);
        panel = packed;
    }
    const struct xc_gemm_f32 g = { .x = x, .ldx = K, .w = panel, .N = N, .K = K, .ep = ep };

    c->kern->gemm_f32(&g, 0, R, 0, N);
    return XC_OK;
}

static enum xc_status linear_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    return xc_gemm_run(c, c->out[0]->data, c->in[0]->data, c->in[0]->rows, c->tensor[1], c->tensor[2], &c->node->in[0].range, err);
}

static const char *const in_names[] = { "x", "weight", "bias" };
const struct xc_op xc_op_linear = { .name = "linear", .version = 1, .min_in = 2, .max_in = 3, .n_out = 1, .in_names = in_names, .infer = linear_infer,
                                    .cost = linear_cost, .forward = linear_forward };
