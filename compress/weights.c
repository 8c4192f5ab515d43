/* weights: see weights.h. */
#include "compress/weights.h"

#include <math.h>
#include <string.h>

#define WINDOW ((int64_t)1 << 16) /* numbers brought in at a time, or one row */

static enum xc_status read_scale(struct xc_weight *w, const struct xc_tensor *scale, struct xc_err *err)
{
    const int64_t cols = xc_tensor_cols(w->tensor);

    if (xc_tensor_count(scale) != cols) return XC_OK;
    w->scale = xc_malloc((size_t)cols * sizeof *w->scale);
    return w->scale ? xc_tensor_to_f32(scale, w->scale, err) : xc_fail_nomem(err, (size_t)cols * sizeof *w->scale);
}

enum xc_status xc_weight_open(struct xc_weight *w, const struct xc_model *m, const struct xc_uses *uses, int32_t tensor, struct xc_err *err)
{
    *w = (struct xc_weight){ .tensor = m->tensors[tensor] };
    for (int32_t u = uses->first[tensor]; u < uses->first[tensor + 1]; u++) {
        const struct xc_graph *graph = m->graphs[uses->use[u].graph];
        const struct xc_node *node = &graph->nodes[uses->use[u].node], *before;
        enum xc_status status;

        if (strcmp(node->op->name, "linear") || uses->use[u].input != 1) continue;
        if (node->in[0].kind != XC_REF_VALUE || graph->values[node->in[0].id].node < 0) return XC_OK;
        before = &graph->nodes[graph->values[node->in[0].id].node];
        if (strcmp(before->op->name, "scale") || before->in[1].kind != XC_REF_TENSOR) return XC_OK;
        status = read_scale(w, m->tensors[before->in[1].id], err);
        if (status != XC_OK) xc_weight_close(w);
        return status;
    }
    return XC_OK;
}

void xc_weight_close(struct xc_weight *w)
{
    xc_free(w->scale);
    *w = (struct xc_weight){ 0 };
}

/* ---- windows ---- */
struct window {
    float *x;
    int64_t rows;
};

static enum xc_status window_make(struct window *out, const struct xc_weight *w, struct xc_err *err)
{
    const int64_t cols = xc_tensor_cols(w->tensor);
    size_t bytes;

    *out = (struct window){ .rows = xc_max_i64(1, xc_min_i64(xc_tensor_rows(w->tensor), WINDOW / cols)) };
    if (!xc_mul_ok(&bytes, (size_t)out->rows, (size_t)cols) || !xc_mul_ok(&bytes, bytes, sizeof *out->x)) return xc_fail(err, XC_E_RANGE, "tensor '%s' is too large", w->tensor->name);
    out->x = xc_malloc(bytes);
    return out->x ? XC_OK : xc_fail_nomem(err, bytes);
}

static enum xc_status window_read(const struct window *to, const struct xc_weight *w, int64_t row, int64_t n, struct xc_err *err)
{
    const int64_t cols = xc_tensor_cols(w->tensor);

    XC_TRY(xc_tensor_rows_to_f32(w->tensor, row, n, to->x, err));
    for (int64_t r = 0; w->scale && r < n; r++)
        for (int64_t c = 0; c < cols; c++) to->x[r * cols + c] *= w->scale[c];
    return XC_OK;
}

enum xc_status xc_weight_visit(const struct xc_weight *w, void (*fn)(void *arg, const float *x, int64_t n), void *arg, struct xc_err *err)
{
    const int64_t rows = xc_tensor_rows(w->tensor), cols = xc_tensor_cols(w->tensor);
    enum xc_status status = XC_OK;
    struct window x;

    XC_TRY(window_make(&x, w, err));
    for (int64_t r = 0; r < rows && status == XC_OK; r += x.rows) {
        const int64_t n = xc_min_i64(x.rows, rows - r);

        status = window_read(&x, w, r, n, err);
        if (status == XC_OK) fn(arg, x.x, n * cols);
    }
    xc_free(x.x);
    return status;
}

enum xc_status xc_weight_distance(double *out, const struct xc_weight *a, const struct xc_weight *b, struct xc_err *err)
{
    const int64_t rows = xc_tensor_rows(a->tensor), cols = xc_tensor_cols(a->tensor);
    struct window x = { 0 }, y = { 0 };
    double apart = 0, size = 0;
    enum xc_status status;

    *out = NAN;
    if (xc_tensor_rows(b->tensor) != rows || xc_tensor_cols(b->tensor) != cols) return xc_fail(err, XC_E_SHAPE, "tensor '%s' has another shape", a->tensor->name);
    status = window_make(&x, a, err);
    if (status == XC_OK) status = window_make(&y, b, err);
    for (int64_t r = 0; r < rows && status == XC_OK; r += x.rows) {
        const int64_t n = xc_min_i64(x.rows, rows - r);

        status = window_read(&x, a, r, n, err);
        if (status == XC_OK) status = window_read(&y, b, r, n, err);
        for (int64_t i = 0; i < n * cols && status == XC_OK; i++) {
            const double d = (double)y.x[i] - (double)x.x[i];

            apart += d * d;
            size += (double)x.x[i] * (double)x.x[i];
        }
    }
    xc_free(x.x);
    xc_free(y.x);
    if (status == XC_OK) *out = apart == 0 ? 0 : sqrt(apart / size);
    return status;
}
