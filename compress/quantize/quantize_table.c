/* quantize_table: see quantize_table.h. A table is read row by row and never multiplied, so nothing is gained by 16 levels: at the same entropy
 * a uniform step without end is 3 dB better than 16 levels in a group (Gish, Pierce 1968), and needs one scale a row. The entropy coding of
 * --store small gives each row block what its steps cost. The bits of a row of mean square m in steps d: log2(1 + sqrt(2 pi e m) / d), which
 * is a Gaussian's for small d and goes to nothing for large. */
#include "compress/quantize/quantize_table.h"

#include <math.h>
#include <string.h>

#define WINDOW ((int64_t)1 << 20) /* numbers, about */
#define UNSEEN 0.25 /* reads that every row has beforehand */

static double bits_of(double mean2, double step) { return log2(1 + sqrt(17.0794684453 * mean2) / step); } /* 2 pi e */

void xc_table_steps(double *step, const double *mean2, const double *reads, int64_t rows, double bits)
{
    double low = -60, high = 60;

    for (int64_t r = 0; r < rows; r++) step[r] = 1 / sqrt((reads ? reads[r] : 0) + UNSEEN);
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high), factor = exp2(middle);
        double sum = 0;

        for (int64_t r = 0; r < rows; r++) sum += bits_of(mean2[r], factor * step[r]);
        if (sum > bits * (double)rows) low = middle;
        else high = middle;
    }
    for (int64_t r = 0; r < rows; r++) step[r] *= exp2(high);
}

struct table {
    const struct xc_tensor *t;
    int64_t rows, cols, at_once;
    float *window;
    double *mean2, *step;
    int8_t *q;
    float *scale;
};

/* Mean squares; and a step is never so fine that the largest number has no level. */
static enum xc_status look(const struct table *k, float *peak, struct xc_err *err)
{
    for (int64_t r0 = 0; r0 < k->rows; r0 += k->at_once) {
        const int64_t n = xc_min_i64(k->at_once, k->rows - r0);

        XC_TRY(xc_tensor_rows_to_f32(k->t, r0, n, k->window, err));
        for (int64_t r = 0; r < n; r++) {
            double sum = 0;
            float most = 0;

            for (int64_t c = 0; c < k->cols; c++) {
                const float x = k->window[r * k->cols + c];

                if (!isfinite(x)) return xc_fail(err, XC_E_RANGE, "tensor '%s' is not finite at row %lld, column %lld: no int8 form stands for it", k->t->name, (long long)(r0 + r), (long long)c);
                sum += (double)x * (double)x;
                most = fmaxf(most, fabsf(x));
            }
            k->mean2[r0 + r] = sum / (double)k->cols;
            peak[r0 + r] = most;
        }
    }
    return XC_OK;
}

static enum xc_status round_rows(struct xc_work *w, const struct table *k, const float *peak, struct xc_layer_report *l, struct xc_err *err)
{
    double error2 = 0, norm2 = 0;
    int64_t zeros = 0;

    for (int64_t r0 = 0; r0 < k->rows; r0 += k->at_once) {
        const int64_t n = xc_min_i64(k->at_once, k->rows - r0);

        XC_TRY(xc_tensor_rows_to_f32(k->t, r0, n, k->window, err));
        for (int64_t r = 0; r < n; r++) {
            const float scale = fmaxf((float)k->step[r0 + r], peak[r0 + r] / 127), inverse = scale > 0 ? 1 / scale : 0;
            const float *x = k->window + r * k->cols;
            int8_t *q = k->q + (r0 + r) * k->cols;

            k->scale[r0 + r] = peak[r0 + r] > 0 ? scale : 0;
            for (int64_t c = 0; c < k->cols; c++) {
                const float v = (x[c] * inverse + 12582912.0f) - 12582912.0f; /* nearest, ties to even */
                const double d = (double)x[c] - (double)(v * k->scale[r0 + r]);

                q[c] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
                error2 += d * d;
                norm2 += (double)x[c] * (double)x[c];
                zeros += q[c] == 0;
            }
        }
        XC_TRY(xc_work_advance(w, "quantize", (double)(n * k->cols), err));
    }
    l->error = norm2 > 0 ? sqrt(error2 / norm2) : 0;
    l->sparsity = (double)zeros / (double)(k->rows * k->cols);
    return XC_OK;
}

enum xc_status xc_quantize_table(struct xc_work *w, int32_t t, const double *reads, double bits, struct xc_err *err)
{
    struct xc_tensor *tensor = w->model->tensors[t];
    struct table k = { .t = tensor, .rows = xc_tensor_rows(tensor), .cols = xc_tensor_cols(tensor) };
    struct xc_buf *data = NULL, *scale = NULL;
    float *peak = xc_malloc((size_t)k.rows * sizeof *peak);
    enum xc_status status = XC_OK;

    k.at_once = xc_min_i64(k.rows, xc_max_i64(1, WINDOW / k.cols));
    k.window = xc_alloc_aligned((size_t)(k.at_once * k.cols) * sizeof *k.window);
    k.mean2 = xc_malloc((size_t)k.rows * sizeof *k.mean2);
    k.step = xc_malloc((size_t)k.rows * sizeof *k.step);
    if (!peak || !k.window || !k.mean2 || !k.step) status = xc_fail_nomem(err, (size_t)(k.at_once * k.cols) * sizeof *k.window);
    if (status == XC_OK) status = xc_buf_new(&data, (size_t)(k.rows * k.cols), err);
    if (status == XC_OK) status = xc_buf_new(&scale, (size_t)k.rows * sizeof *k.scale, err);
    if (status == XC_OK) {
        k.q = (int8_t *)data->data;
        k.scale = (float *)(void *)scale->data;
        status = look(&k, peak, err);
    }
    if (status == XC_OK) {
        xc_table_steps(k.step, k.mean2, reads, k.rows, bits);
        status = round_rows(w, &k, peak, &w->layers[t], err);
    }
    if (status == XC_OK) status = xc_tensor_set_encoded(tensor, &w->want[t], (struct xc_buf *[XC_PART_COUNT]){ [XC_PART_DATA] = data, [XC_PART_SCALE] = scale }, err);
    xc_buf_unref(&data);
    xc_buf_unref(&scale);
    xc_free(peak);
    xc_free(k.window);
    xc_free(k.mean2);
    xc_free(k.step);
    return status;
}
