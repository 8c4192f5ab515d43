/* cast: weights as plain numbers: f32, f16, bf16, or as the checkpoint stores them. Undoes quantization too: what was int8 becomes its
 * dequantized values, activations and attention go back to f32. Vectors (norms, biases) stay f32: they weigh nothing.
 *
 * An f32 weight that only linears use is stored in the order the GEMM reads, so that opening the file packs nothing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/plan/forecast.h"
#include "compress/quantize/quantize.h"
#include "runtime/base/half.h"

static const struct xc_pass_option options[] = {
    { .name = "format", .help = "number format of weights; stored = as the checkpoint has them", .def = "stored", .choices = "stored|f32|f16|bf16" },
    { .name = NULL },
};

static bool is_op(const struct xc_node *node, const char *op) { return strcmp(node->op->name, op) == 0; }

static enum xc_format format_of(const struct xc_recipe_pass *spec, const struct xc_tensor *t, const struct xc_encoding *now)
{
    const bool half = t->source && (t->source_format == XC_FMT_F16 || t->source_format == XC_FMT_BF16);

    if (t->rank < 2) return XC_FMT_F32;
    if (xc_recipe_is(spec, "format", "stored")) return half ? (enum xc_format)t->source_format : now->format == XC_FMT_F16 || now->format == XC_FMT_BF16 ? (enum xc_format)now->format : XC_FMT_F32;
    return xc_recipe_is(spec, "format", "f16") ? XC_FMT_F16 : xc_recipe_is(spec, "format", "bf16") ? XC_FMT_BF16 : XC_FMT_F32;
}

static bool only_linears(const struct xc_model *m, const struct xc_uses *uses, int32_t t)
{
    for (int32_t u = uses->first[t]; u < uses->first[t + 1]; u++)
        if (uses->use[u].input != 1 || !is_op(&m->graphs[uses->use[u].graph]->nodes[uses->use[u].node], "linear")) return false;
    return uses->first[t] < uses->first[t + 1] && m->tensors[t]->rank == 2;
}

static enum xc_status cast_plan(struct xc_work *w, struct xc_err *err)
{
    static const char *const none[] = { NULL };
    const struct xc_model *m = w->model;
    struct xc_scope scope;
    struct xc_uses uses = { 0 };
    enum xc_status status;

    XC_TRY(xc_scope_make(&scope, m, w->spec, none, err));
    status = xc_uses_make(&uses, m, err);
    for (int32_t t = 0; t < m->n_tensors && status == XC_OK; t++) {
        bool in = !w->spec->targets.n;
        enum xc_format format;

        for (int32_t u = uses.first[t]; u < uses.first[t + 1]; u++) {
            const uint8_t pick = scope.pick[scope.first[uses.use[u].graph] + uses.use[u].node];

            if (pick == XC_PICK_TARGET) in = true;
            if (pick == XC_PICK_IGNORED) in = false;
        }
        if (!in || w->want[t].format == XC_FMT_I32) continue;
        format = format_of(w->spec, m->tensors[t], &w->want[t]);
        w->want[t] = (struct xc_encoding){ .format = (uint8_t)format, .layout = format == XC_FMT_F32 && only_linears(m, &uses, t) ? XC_LAYOUT_PANEL16 : XC_LAYOUT_ROWS };
        snprintf(w->layers[t].why, sizeof w->layers[t].why, "%s", m->tensors[t]->rank < 2 ? "kept: vectors stay f32" : "cast");
    }
    xc_scope_release(&scope);
    xc_uses_release(&uses);
    return status;
}

static bool same_encoding(const struct xc_encoding *a, const struct xc_encoding *b) { return a->format == b->format && a->layout == b->layout; }

static enum xc_status to_half(uint16_t *dst, const float *x, int64_t n, bool f16, struct xc_layer_report *l, struct xc_err *err)
{
    double error2 = 0, norm2 = 0;
    int64_t zeros = 0;

    for (int64_t i = 0; i < n; i++) {
        dst[i] = f16 ? xc_f32_to_f16(x[i]) : xc_f32_to_bf16(x[i]);
        const float back = f16 ? xc_f16_to_f32(dst[i]) : xc_bf16_to_f32(dst[i]);
        const double d = (double)x[i] - (double)back;

        if (isfinite(x[i]) && !isfinite(back)) return xc_fail(err, XC_E_RANGE, "tensor '%s': number %lld is %g, beyond what %s can hold", l->name, (long long)i, (double)x[i], f16 ? "f16" : "bf16");
        error2 += d * d;
        norm2 += (double)x[i] * (double)x[i];
        zeros += back == 0;
    }
    l->error = norm2 > 0 ? sqrt(error2 / norm2) : 0;
    l->sparsity = n ? (double)zeros / (double)n : 0;
    return XC_OK;
}

enum xc_status xc_cast_tensor(struct xc_work *w, int32_t id, struct xc_err *err)
{
    struct xc_tensor *t = w->model->tensors[id];
    const struct xc_encoding want = w->want[id];
    const int64_t rows = xc_tensor_rows(t), cols = xc_tensor_cols(t), n = rows * cols;
    struct xc_buf *data = NULL;
    float *x = NULL;
    size_t bytes;
    enum xc_status status;

    XC_TRY(xc_encoding_part_bytes(&want, rows, cols, XC_PART_DATA, &bytes, err));
    XC_TRY(xc_buf_new(&data, bytes, err));
    x = xc_malloc((size_t)n * sizeof *x);
    status = x ? xc_tensor_to_f32(t, x, err) : xc_fail_nomem(err, (size_t)n * sizeof *x);
    if (status == XC_OK && want.format != XC_FMT_F32) status = to_half((uint16_t *)(void *)data->data, x, n, want.format == XC_FMT_F16, &w->layers[id], err);
    else if (status == XC_OK && want.layout == XC_LAYOUT_PANEL16) xc_pack_panel_f32((float *)(void *)data->data, x, rows, cols);
    else if (status == XC_OK) memcpy(data->data, x, (size_t)n * sizeof *x);
    if (status == XC_OK) {
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&t->part[p]);
        if (t->source) t->source->unref(t->source);
        t->source = NULL;
        t->enc = want;
        t->part[XC_PART_DATA] = data;
        data = NULL;
    }
    xc_buf_unref(&data);
    xc_free(x);
    return status;
}

/* A linear without an int8 weight takes f32, and a model without one does its attention in f32. */
static void clear_nodes(struct xc_model *m)
{
    bool int8 = false;

    for (int32_t t = 0; t < m->n_tensors; t++) int8 |= xc_format_traits((enum xc_format)m->tensors[t]->enc.format)->quantized;
    for (int32_t g = 0; g < m->n_graphs; g++)
        for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++) {
            struct xc_node *node = &m->graphs[g]->nodes[n];

            if (is_op(node, "attention") && !int8) ((struct xc_attr_attention *)node->attr)->quantized = false;
            if (is_op(node, "linear") && node->in[1].kind == XC_REF_TENSOR && !xc_format_traits((enum xc_format)m->tensors[node->in[1].id]->enc.format)->quantized) node->in[0].range = (struct xc_range){ 0 };
        }
}

static enum xc_status cast_apply(struct xc_work *w, struct xc_err *err)
{
    for (int32_t t = 0; t < w->model->n_tensors; t++) {
        const struct xc_tensor *tensor = w->model->tensors[t];

        if (!xc_format_traits((enum xc_format)w->want[t].format)->quantized && w->want[t].format != XC_FMT_I32 && !(tensor->part[XC_PART_DATA] && same_encoding(&tensor->enc, &w->want[t]))) XC_TRY(xc_cast_tensor(w, t, err));
        XC_TRY(xc_work_advance(w, "cast", (double)xc_tensor_count(tensor), err));
    }
    clear_nodes(w->model);
    return XC_OK;
}

static void cast_forecast(const struct xc_work *w, const struct xc_encoding *was, struct xc_forecast *f)
{
    (void)was;
    for (int32_t t = 0; t < w->model->n_tensors; t++) {
        const double count = (double)xc_tensor_count(w->model->tensors[t]);

        f->toil[XC_TOIL_READ] += count;
        f->toil[XC_TOIL_CAST] += count;
        f->toil[XC_TOIL_TOUCH] += 8 * count;
    }
    xc_forecast_holds(f, xc_forecast_encoded_bytes(w->model, w->want) + 4 * xc_forecast_largest(w->model));
}

const struct xc_pass xc_pass_cast = { .name = "cast", .summary = "weights as f32, f16 or bf16", .options = options, .plan = cast_plan, .apply = cast_apply,
                                      .forecast = cast_forecast };
