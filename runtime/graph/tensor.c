/* tensor: the numbers of the model's constants, whatever their encoding. See tensor.h. */
#include "runtime/graph/tensor.h"

#include <assert.h>
#include <string.h>

#include "runtime/base/pool.h"
#include "runtime/graph/grouped.h"

int64_t xc_tensor_rows(const struct xc_tensor *t) { return t->rank >= 2 ? t->dim[0] : 1; }

int64_t xc_tensor_cols(const struct xc_tensor *t)
{
    int64_t cols = 1;

    for (int32_t i = t->rank >= 2 ? 1 : 0; i < t->rank; i++) cols *= t->dim[i];
    return cols;
}

int64_t xc_tensor_count(const struct xc_tensor *t) { return xc_tensor_rows(t) * xc_tensor_cols(t); }

enum xc_status xc_tensor_check_dims(int32_t rank, const int64_t *dim, struct xc_err *err)
{
    int64_t n = 1;

    if (rank < 1 || rank > XC_MAX_RANK) return xc_fail(err, XC_E_SHAPE, "%d axes, must be 1 to %d", rank, XC_MAX_RANK);
    for (int32_t i = 0; i < rank; i++)
        if (dim[i] < 1 || __builtin_mul_overflow(n, dim[i], &n) || n > XC_TENSOR_MAX)
            return xc_fail(err, XC_E_RANGE, "axis %d is %lld: axes are at least 1 and a tensor has at most 2^40 numbers", i, (long long)dim[i]);
    return XC_OK;
}

struct xc_source *xc_source_ref(struct xc_source *src)
{
    if (src) __atomic_add_fetch(&src->refs, 1, __ATOMIC_RELAXED);
    return src;
}

void xc_source_unref(struct xc_source **src)
{
    struct xc_source *s = *src;

    *src = NULL;
    if (s) s->unref(s);
}

void xc_tensor_clear(struct xc_tensor *t)
{
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&t->part[p]);
    xc_source_unref(&t->source);
}

size_t xc_tensor_bytes(const struct xc_tensor *t)
{
    size_t total = 0, bytes;

    for (int p = 0; p < XC_PART_COUNT; p++)
        if (xc_encoding_part_bytes(&t->enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &bytes, NULL) != XC_OK ||
            !xc_add_ok(&total, total, bytes))
            return 0;
    return total;
}

#define PIECE ((int64_t)1 << 18) /* numbers that a thread reads at a time, about */

struct reading {
    const struct xc_tensor *t;
    float *dst;
    int64_t count, piece;
    bool failed; /* some piece */
};

static void read_piece(void *arg, int64_t item, int thread)
{
    struct reading *r = arg;
    const int64_t first = item * r->piece;

    (void)thread;
    if (r->t->source->read_f32(r->t->source, r->t, first, xc_min_i64(r->piece, r->count - first), r->dst + first, NULL) != XC_OK) __atomic_store_n(&r->failed, true, __ATOMIC_RELAXED);
}

enum xc_status xc_tensor_load(struct xc_tensor *t, struct xc_err *err) { return xc_tensor_load_by(t, NULL, err); }

enum xc_status xc_tensor_load_by(struct xc_tensor *t, struct xc_pool *pool, struct xc_err *err)
{
    const struct xc_encoding f32 = { .format = XC_FMT_F32 };
    const int64_t count = xc_tensor_count(t);
    struct xc_buf *buf = NULL;
    enum xc_status status;
    size_t bytes;

    if (t->part[XC_PART_DATA]) return XC_OK;
    if (!t->source) return xc_fail(err, XC_E_NOT_FOUND, "tensor '%s' has no bytes and no source", t->name);
    XC_TRY(xc_encoding_part_bytes(&f32, xc_tensor_rows(t), xc_tensor_cols(t), XC_PART_DATA, &bytes, err));
    XC_TRY(xc_buf_new(&buf, bytes, err));
    xc_buf_expect(buf);
    struct reading r = { .t = t, .dst = (float *)(void *)buf->data, .count = count, .piece = xc_max_i64(PIECE / xc_tensor_cols(t), 1) * xc_tensor_cols(t) };

    if (xc_pool_threads(pool) > 1 && count > r.piece) xc_pool_run(pool, read_piece, &r, xc_div_up(count, r.piece));
    else r.failed = true;
    status = r.failed ? t->source->read_f32(t->source, t, 0, count, r.dst, err) : XC_OK; /* on one thread; or once more from the start, for what is wrong first */
    if (status != XC_OK) {
        xc_buf_unref(&buf);
        return status;
    }
    t->part[XC_PART_DATA] = buf;
    t->enc = f32;
    return XC_OK;
}

/* Only what the source delivers may go: bytes that a pass made are not in any file yet. */
void xc_tensor_drop(struct xc_tensor *t)
{
    if (!t->source || t->enc.format != XC_FMT_F32 || t->enc.layout != XC_LAYOUT_ROWS) return;
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&t->part[p]);
}

static void s8_rows_to_f32(const struct xc_tensor *t, const int8_t *rows, int64_t row0, int64_t n, float *dst)
{
    const float *scale = (const float *)(const void *)t->part[XC_PART_SCALE]->data;
    const int64_t cols = xc_tensor_cols(t);

    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < cols; c++) dst[r * cols + c] = (float)rows[r * cols + c] * scale[row0 + r];
}

/* Panel layouts are unpacked panel by panel through a row-sized loop: export and inspection, not speed. */
static void panel_to_f32(const struct xc_tensor *t, int64_t row0, int64_t n, float *dst)
{
    const int64_t K = xc_tensor_cols(t), K4 = xc_round_up(K, 4);
    const uint8_t *data = t->part[XC_PART_DATA]->data;
    const float *f32 = (const float *)(const void *)data;
    const int8_t *s8 = (const int8_t *)data;
    const float *scale = t->enc.format == XC_FMT_S8 ? (const float *)(const void *)t->part[XC_PART_SCALE]->data : NULL;

    for (int64_t r = row0; r < row0 + n; r++, dst += K)
        for (int64_t k = 0; k < K; k++) {
            if (scale) dst[k] = (float)s8[(r / 16) * 16 * K4 + (k / 4) * 64 + (r % 16) * 4 + k % 4] * scale[r];
            else dst[k] = f32[(r / 16) * 16 * K + k * 16 + r % 16];
        }
}

/* The int8 row goes to the last quarter of its place, from where it widens without running into itself. */
static void sparse_to_f32(const struct xc_tensor *t, int64_t row0, int64_t n, float *dst)
{
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t);
    const int8_t *data = (const int8_t *)t->part[XC_PART_DATA]->data;
    const void *index = t->part[XC_PART_INDEX]->data;
    const float *scale = (const float *)(const void *)t->part[XC_PART_SCALE]->data;

    for (int64_t r = row0; r < row0 + n; r++, dst += K) {
        int8_t *row = (int8_t *)dst + 3 * K;

        if (t->enc.structure == XC_STRUCT_NM) xc_unpack_nm_row(row, data, index, r, K);
        else if (t->enc.structure == XC_STRUCT_BLOCK) xc_unpack_block_row(row, data, index, r, N, K);
        else xc_compact_unpack_row(row, data, index, r, N, K);
        for (int64_t k = 0; k < K; k++) {
            const float x = (float)row[k] * scale[r];

            memcpy(dst + k, &x, sizeof x);
        }
    }
}

enum xc_status xc_tensor_rows_to_f32(const struct xc_tensor *t, int64_t row0, int64_t n_rows, float *dst, struct xc_err *err)
{
    const int64_t cols = xc_tensor_cols(t);
    const uint8_t *data;

    if (row0 < 0 || n_rows < 0 || row0 > xc_tensor_rows(t) - n_rows)
        return xc_fail(err, XC_E_ARG, "tensor '%s' has no rows %lld to %lld", t->name, (long long)row0, (long long)(row0 + n_rows));
    if (!t->part[XC_PART_DATA]) {
        if (!t->source) return xc_fail(err, XC_E_NOT_FOUND, "tensor '%s' has no bytes and no source", t->name);
        return t->source->read_f32(t->source, t, row0 * cols, n_rows * cols, dst, err);
    }
    if (xc_is_grouped(&t->enc)) {
        xc_grouped_rows_to_f32(t, row0, n_rows, dst);
        return XC_OK;
    }
    data = t->part[XC_PART_DATA]->data;
    if (t->enc.layout == XC_LAYOUT_PANEL16 && t->enc.structure != XC_STRUCT_DENSE) sparse_to_f32(t, row0, n_rows, dst);
    else if (t->enc.layout == XC_LAYOUT_PANEL16) panel_to_f32(t, row0, n_rows, dst);
    else if (t->enc.format == XC_FMT_F32) memcpy(dst, data + (size_t)(row0 * cols) * 4, (size_t)(n_rows * cols) * 4);
    else if (t->enc.format == XC_FMT_F16) xc_kernels()->f16_to_f32(dst, (const uint16_t *)(const void *)data + row0 * cols, n_rows * cols);
    else if (t->enc.format == XC_FMT_BF16) xc_kernels()->bf16_to_f32(dst, (const uint16_t *)(const void *)data + row0 * cols, n_rows * cols);
    else if (t->enc.format == XC_FMT_S8) s8_rows_to_f32(t, (const int8_t *)data + row0 * cols, row0, n_rows, dst);
    else return xc_fail(err, XC_E_UNSUPPORTED, "tensor '%s' does not hold real numbers", t->name);
    return XC_OK;
}

void xc_tensor_part_to_f32(const struct xc_tensor *t, int64_t row, int64_t col0, int64_t n, float *dst)
{
    const uint8_t *data = t->part[XC_PART_DATA]->data;
    const int64_t at = row * xc_tensor_cols(t) + col0;

    assert(t->enc.layout == XC_LAYOUT_ROWS && col0 >= 0 && n >= 0 && col0 + n <= xc_tensor_cols(t));
    if (xc_is_grouped(&t->enc)) {
        xc_grouped_part_to_f32(t, row, col0, n, dst);
    } else if (t->enc.format == XC_FMT_F32) {
        memcpy(dst, data + (size_t)at * 4, (size_t)n * 4);
    } else if (t->enc.format == XC_FMT_F16) {
        xc_kernels()->f16_to_f32(dst, (const uint16_t *)(const void *)data + at, n);
    } else if (t->enc.format == XC_FMT_BF16) {
        xc_kernels()->bf16_to_f32(dst, (const uint16_t *)(const void *)data + at, n);
    } else {
        const float scale = ((const float *)(const void *)t->part[XC_PART_SCALE]->data)[row];

        for (int64_t c = 0; c < n; c++) dst[c] = (float)((const int8_t *)data)[at + c] * scale;
    }
}

bool xc_tensor_table(struct xc_table *out, const struct xc_tensor *t)
{
    static const int bits[XC_FMT_COUNT] = { [XC_FMT_F32] = XC_TABLE_F32, [XC_FMT_F16] = XC_TABLE_F16, [XC_FMT_BF16] = XC_TABLE_BF16, [XC_FMT_S8] = XC_TABLE_S8, [XC_FMT_S4] = XC_TABLE_S4 };
    const void *scale = t->part[XC_PART_SCALE] ? t->part[XC_PART_SCALE]->data : NULL;

    if (!t->part[XC_PART_DATA] || t->enc.layout != XC_LAYOUT_ROWS) return false;
    if ((t->enc.format != XC_FMT_F32 && !bits[t->enc.format]) || t->enc.scale_format == XC_FMT_S6) return false;
    *out = (struct xc_table){ .rows = t->part[XC_PART_DATA]->data, .n = xc_tensor_rows(t), .C = xc_tensor_cols(t), .bits = bits[t->enc.format] };
    if (t->enc.format == XC_FMT_S8) out->scale = scale;
    if (t->enc.format != XC_FMT_S4) return true;
    out->group = xc_grouped_group(&t->enc, out->C);
    out->group_scale = scale;
    out->group_zero = t->enc.zero_point ? t->part[XC_PART_ZERO]->data : NULL;
    return true;
}

enum xc_status xc_tensor_to_f32(const struct xc_tensor *t, float *dst, struct xc_err *err)
{
    return xc_tensor_rows_to_f32(t, 0, xc_tensor_rows(t), dst, err);
}

enum xc_status xc_tensor_set_f32(struct xc_tensor *t, const float *src, struct xc_err *err)
{
    const size_t bytes = (size_t)xc_tensor_count(t) * sizeof(float);
    struct xc_buf *buf = NULL;

    XC_TRY(xc_buf_new(&buf, bytes, err));
    memcpy(buf->data, src, bytes);
    xc_tensor_clear(t); /* the source too: it would bring the old numbers back */
    t->part[XC_PART_DATA] = buf;
    t->enc = (struct xc_encoding){ .format = XC_FMT_F32 };
    return XC_OK;
}

enum xc_status xc_tensor_set_encoded(struct xc_tensor *t, const struct xc_encoding *enc, struct xc_buf *const part[XC_PART_COUNT], struct xc_err *err)
{
    for (int p = 0; p < XC_PART_COUNT; p++) {
        const size_t have = part[p] ? part[p]->size : 0;
        size_t want;

        XC_TRY(xc_encoding_part_bytes(enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &want, err));
        if (have < want || (have && !want)) return xc_fail(err, XC_E_SHAPE, "tensor '%s': part %d has %zu bytes, must have %zu", t->name, p, have, want);
    }
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_ref(part[p]);
    xc_tensor_clear(t);
    for (int p = 0; p < XC_PART_COUNT; p++) t->part[p] = part[p];
    t->enc = *enc;
    return XC_OK;
}
