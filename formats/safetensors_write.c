/* safetensors_write: tensors of a model as one safetensors file, dequantized, streamed in windows and put in place atomically. */
#include <math.h>
#include <string.h>

#include "formats/json.h"
#include "formats/safetensors.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/half.h"

#define WINDOW ((size_t)1 << 18) /* numbers converted at once; a single longer row is taken whole */

static const char *dtype_of(int format) { return format == XC_FMT_F32 ? "F32" : format == XC_FMT_F16 ? "F16" : "BF16"; }

static enum xc_status header_text(char **text, size_t *len, struct xc_tensor *const *tensors, const char *const *names, int32_t n, int format, struct xc_err *err)
{
    const int64_t size = format == XC_FMT_F32 ? 4 : 2;
    json_t *root = json_object();
    int64_t at = 0;
    bool bad = json_object_set_new(root, "__metadata__", json_pack("{s:s}", "format", "pt")) != 0;
    enum xc_status status = XC_OK;

    for (int32_t i = 0; i < n && !bad && status == XC_OK; i++) {
        const int64_t bytes = xc_tensor_count(tensors[i]) * size;
        json_t *const entry = json_object(), *const shape = json_array(), *const offsets = json_array();

        if (json_object_get(root, names[i])) status = xc_fail(err, XC_E_ARG, "two tensors would be written as '%s'", names[i]);
        for (int32_t k = 0; k < tensors[i]->rank; k++) bad |= json_array_append_new(shape, json_integer(tensors[i]->dim[k])) != 0;
        bad |= json_array_append_new(offsets, json_integer(at)) != 0;
        bad |= json_array_append_new(offsets, json_integer(at + bytes)) != 0;
        bad |= json_object_set_new(entry, "dtype", json_string(dtype_of(format))) != 0;
        bad |= json_object_set_new(entry, "shape", shape) != 0;
        bad |= json_object_set_new(entry, "data_offsets", offsets) != 0;
        bad |= json_object_set_new(root, names[i], entry) != 0;
        at += bytes;
    }
    if (status == XC_OK) status = bad ? xc_fail_nomem(err, 0) : xc_json_text(text, len, root, 0, err);
    xc_json_free(&root);
    return status;
}

/* f16 ends at 65504: a larger weight would become infinity, in silence. */
static enum xc_status narrow(uint16_t *h, const float *x, int64_t first, int64_t n, int format, const struct xc_tensor *t, struct xc_err *err)
{
    for (int64_t i = 0; i < n; i++) {
        h[i] = format == XC_FMT_F16 ? xc_f32_to_f16(x[i]) : xc_f32_to_bf16(x[i]);
        if ((h[i] & 0x7fff) == (format == XC_FMT_F16 ? 0x7c00 : 0x7f80) && isfinite(x[i]))
            return xc_fail(err, XC_E_RANGE, "element %lld of tensor '%s' is %g, too large for %s: write f32", (long long)(first + i), t->name, (double)x[i], dtype_of(format));
    }
    return XC_OK;
}

static enum xc_status write_tensor(struct xc_atomic_file *f, const struct xc_tensor *t, int format, struct xc_err *err)
{
    const int64_t cols = xc_tensor_cols(t), rows = xc_tensor_rows(t), step = xc_min_i64(rows, xc_max_i64(1, (int64_t)WINDOW / cols));
    size_t bytes;
    float *x = NULL;
    uint16_t *h = NULL;
    enum xc_status status = XC_OK;

    if (!xc_mul_ok(&bytes, (size_t)(step * cols), sizeof *x)) return xc_fail(err, XC_E_RANGE, "tensor '%s' is too large", t->name);
    x = xc_malloc(bytes);
    h = xc_malloc(bytes / 2);
    if (!x || !h) status = xc_fail_nomem(err, bytes);
    for (int64_t r = 0; r < rows && status == XC_OK; r += step) {
        const int64_t n = xc_min_i64(step, rows - r), count = n * cols;

        status = xc_tensor_rows_to_f32(t, r, n, x, err);
        if (status == XC_OK && format != XC_FMT_F32) status = narrow(h, x, r * cols, count, format, t, err);
        if (status != XC_OK) break;
        status = format == XC_FMT_F32 ? xc_atomic_write(f, x, (size_t)count * 4, err) : xc_atomic_write(f, h, (size_t)count * 2, err);
    }
    xc_free(x);
    xc_free(h);
    return status;
}

enum xc_status xc_safetensors_write(const char *path, struct xc_tensor *const *tensors, const char *const *names, int32_t n, int format, struct xc_err *err)
{
    struct xc_atomic_file *f = NULL;
    char *text = NULL;
    size_t len, padded;
    uint8_t size[8];
    enum xc_status status;

    if (format != XC_FMT_F32 && format != XC_FMT_F16 && format != XC_FMT_BF16) return xc_fail(err, XC_E_ARG, "safetensors are written as f32, f16 or bf16");
    XC_TRY(header_text(&text, &len, tensors, names, n, format, err));
    while (len && text[len - 1] == '\n') len--;
    padded = (len + 7) / 8 * 8; /* so that the data is aligned: spaces may follow the header's JSON */
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)(padded >> (8 * i));
    status = xc_atomic_open(&f, path, err);
    if (status == XC_OK) status = xc_atomic_write(f, size, 8, err);
    if (status == XC_OK) status = xc_atomic_write(f, text, len, err);
    if (status == XC_OK) status = xc_atomic_write(f, "       ", padded - len, err);
    for (int32_t i = 0; i < n && status == XC_OK; i++) status = write_tensor(f, tensors[i], format, err);
    xc_free(text);
    if (status != XC_OK) {
        xc_atomic_discard(&f);
        return status;
    }
    return xc_atomic_commit(&f, err);
}
