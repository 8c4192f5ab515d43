/* grouped: see grouped.h. */
#include "runtime/graph/grouped.h"

#include <string.h>

#include "runtime/base/half.h"

bool xc_is_grouped(const struct xc_encoding *enc) { return enc->format == XC_FMT_S4 || enc->format == XC_FMT_S3 || enc->format == XC_FMT_S2; }

static int bits_of(const struct xc_encoding *enc) { return xc_format_traits((enum xc_format)enc->format)->bits; }
int xc_grouped_zero(const struct xc_encoding *enc) { return 1 << (bits_of(enc) - 1); }
int64_t xc_grouped_group(const struct xc_encoding *enc, int64_t cols) { return enc->group ? enc->group : cols; }
bool xc_grouped_gemm(const struct xc_encoding *enc)
{
    return xc_is_grouped(enc) && enc->group >= XC_S4_GROUP_STEP && enc->group <= XC_S4_GROUP_MAX && enc->group % XC_S4_GROUP_STEP == 0;
}

enum xc_status xc_grouped_check(const struct xc_encoding *enc, struct xc_err *err)
{
    const char *name = xc_format_traits((enum xc_format)enc->format)->name;

    if (enc->structure != XC_STRUCT_DENSE || enc->perm_rows || enc->perm_cols)
        return xc_fail(err, XC_E_UNSUPPORTED, "%s that is not dense, or permuted, is not supported by this version", name);
    if (enc->scale_format != XC_FMT_F16) return xc_fail(err, XC_E_UNSUPPORTED, "scales of %s other than f16 are not supported by this version", name);
    if (enc->group < 0 || enc->group % 8) return xc_fail(err, XC_E_FORMAT, "%s in groups of %d: a group is 0 (the row) or a multiple of 8", name, enc->group);
    if (enc->layout == XC_LAYOUT_PANEL16 && (enc->format != XC_FMT_S4 || !xc_grouped_gemm(enc)))
        return xc_fail(err, XC_E_UNSUPPORTED, "layout panel16 holds int4 in groups of 32 to 256, not %s in groups of %d", name, enc->group);
    return XC_OK;
}

bool xc_grouped_part_bytes(size_t *bytes, const struct xc_encoding *enc, size_t rows, size_t cols, enum xc_part part)
{
    const size_t group = (size_t)xc_grouped_group(enc, (int64_t)cols), groups = cols / group + (cols % group != 0);
    size_t r = rows, row_bytes;

    *bytes = 0;
    if (enc->layout == XC_LAYOUT_PANEL16 && !xc_round_up_ok(&r, rows, 16)) return false;
    switch (part) {
    case XC_PART_DATA:
        if (enc->layout == XC_LAYOUT_PANEL16 && !xc_round_up_ok(&cols, cols, 8)) return false;
        return xc_mul_ok(&row_bytes, cols, (size_t)bits_of(enc)) && xc_round_up_ok(&row_bytes, row_bytes, 8) && xc_mul_ok(bytes, r, row_bytes / 8);
    case XC_PART_SCALE: return xc_mul_ok(bytes, r, groups) && xc_mul_ok(bytes, *bytes, sizeof(uint16_t));
    case XC_PART_ZERO: return !enc->zero_point || xc_mul_ok(bytes, r, groups);
    default: return true;
    }
}

/* Where number (row, g) of scales and zeros lies. */
static int64_t side_at(const struct xc_encoding *enc, int64_t groups, int64_t row, int64_t g)
{
    return enc->layout == XC_LAYOUT_PANEL16 ? (row / 16 * groups + g) * 16 + row % 16 : row * groups + g;
}

/* int4 in a panel: its byte; the shift is k & 4. */
static int64_t panel_at(int64_t cols, int64_t row, int64_t k) { return row / 16 * 8 * xc_round_up(cols, 8) + k / 8 * 64 + row % 16 * 4 + k % 4; }

/* Number k of a row. */
static int number_at(const struct xc_encoding *enc, const uint8_t *data, int64_t cols, int64_t row, int64_t k)
{
    const int64_t bits = bits_of(enc), row_bytes = xc_div_up(cols * bits, 8), byte = k * bits / 8;
    const uint8_t *p = data + row * row_bytes;

    if (enc->layout == XC_LAYOUT_PANEL16) return data[panel_at(cols, row, k)] >> (k & 4) & 15;
    return (p[byte] | (byte + 1 < row_bytes ? p[byte + 1] << 8 : 0)) >> k * bits % 8 & ((1 << bits) - 1);
}

static float scale_at(const struct xc_tensor *t, int64_t at) { return xc_f16_to_f32(((const uint16_t *)(const void *)t->part[XC_PART_SCALE]->data)[at]); }
static int zero_at(const struct xc_tensor *t, int64_t at) { return t->enc.zero_point ? t->part[XC_PART_ZERO]->data[at] : xc_grouped_zero(&t->enc); }

void xc_grouped_put_row(const struct xc_encoding *enc, int64_t cols, uint8_t *data, uint16_t *scale_part, uint8_t *zero_part, int64_t row, const uint8_t *u,
                        const uint16_t *scale, const uint8_t *zero)
{
    const int64_t groups = xc_div_up(cols, xc_grouped_group(enc, cols)), bits = bits_of(enc), row_bytes = xc_div_up(cols * bits, 8);
    uint8_t *p = data + row * row_bytes;

    for (int64_t g = 0; g < groups; g++) {
        const int64_t at = side_at(enc, groups, row, g);

        scale_part[at] = scale[g];
        if (zero_part) zero_part[at] = zero[g];
    }
    for (int64_t k = 0; k < cols; k++) {
        if (enc->layout == XC_LAYOUT_PANEL16) {
            data[panel_at(cols, row, k)] |= (uint8_t)(u[k] << (k & 4));
        } else {
            const int64_t bit = k * bits, byte = bit / 8;
            const int two = u[k] << bit % 8;

            p[byte] |= (uint8_t)two;
            if (two >> 8) p[byte + 1] |= (uint8_t)(two >> 8);
        }
    }
}

void xc_grouped_rows_to_f32(const struct xc_tensor *t, int64_t row0, int64_t n_rows, float *dst)
{
    const int64_t cols = xc_tensor_cols(t), group = xc_grouped_group(&t->enc, cols), groups = xc_div_up(cols, group);

    for (int64_t row = row0; row < row0 + n_rows; row++, dst += cols)
        for (int64_t g = 0; g < groups; g++) {
            const int64_t at = side_at(&t->enc, groups, row, g);
            const float scale = scale_at(t, at);
            const int zero = zero_at(t, at);

            for (int64_t k = g * group; k < xc_min_i64((g + 1) * group, cols); k++)
                dst[k] = (float)(number_at(&t->enc, t->part[XC_PART_DATA]->data, cols, row, k) - zero) * scale;
        }
}

/* ---- for gemm_s4 ---- */
static struct xc_encoding panel_of(const struct xc_encoding *enc)
{
    return (struct xc_encoding){ .format = XC_FMT_S4, .layout = XC_LAYOUT_PANEL16, .scale_format = XC_FMT_F16, .group = enc->group, .zero_point = enc->zero_point };
}

/* Bytes of the parts of a panel, one behind the other, each aligned. */
static enum xc_status panel_parts(size_t *part, size_t *total, const struct xc_tensor *t, struct xc_err *err)
{
    const struct xc_encoding panel = panel_of(&t->enc);

    *total = 0;
    for (int p = XC_PART_DATA; p <= XC_PART_ZERO; p++) {
        XC_TRY(xc_encoding_part_bytes(&panel, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &part[p], err));
        if (!xc_round_up_ok(&part[p], part[p], XC_ALIGN) || !xc_add_ok(total, *total, part[p])) return xc_fail(err, XC_E_RANGE, "tensor '%s' is too large", t->name);
    }
    return XC_OK;
}

enum xc_status xc_grouped_panel_bytes(size_t *bytes, const struct xc_tensor *t, struct xc_err *err)
{
    size_t part[XC_PART_COUNT];

    *bytes = 0;
    return t->enc.layout == XC_LAYOUT_PANEL16 ? XC_OK : panel_parts(part, bytes, t, err);
}

/* Without zero points u moves to where gemm_s4 has its zero. */
static void repack(uint8_t *data, uint16_t *scale, uint8_t *zero, const struct xc_tensor *t)
{
    const struct xc_encoding panel = panel_of(&t->enc);
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t), groups = xc_div_up(K, panel.group);
    const int shift = zero ? 0 : XC_S4_ZERO - xc_grouped_zero(&t->enc);

    for (int64_t r = 0; r < N; r++) {
        for (int64_t g = 0; g < groups; g++) {
            const int64_t from = side_at(&t->enc, groups, r, g), to = side_at(&panel, groups, r, g);

            scale[to] = ((const uint16_t *)(const void *)t->part[XC_PART_SCALE]->data)[from];
            if (zero) zero[to] = (uint8_t)zero_at(t, from);
        }
        for (int64_t k = 0; k < K; k++) data[panel_at(K, r, k)] |= (uint8_t)((number_at(&t->enc, t->part[XC_PART_DATA]->data, K, r, k) + shift) << (k & 4));
    }
}

enum xc_status xc_grouped_panel(struct xc_gemm_s4 *g, void *memory, const struct xc_tensor *t, struct xc_err *err)
{
    size_t part[XC_PART_COUNT], total;
    uint8_t *data = memory, *zero;
    uint16_t *scale;

    g->N = xc_tensor_rows(t);
    g->K = xc_tensor_cols(t);
    g->group = t->enc.group;
    if (t->enc.layout == XC_LAYOUT_PANEL16) {
        g->w = t->part[XC_PART_DATA]->data;
        g->scale = (const uint16_t *)(const void *)t->part[XC_PART_SCALE]->data;
        g->zero = t->enc.zero_point ? t->part[XC_PART_ZERO]->data : NULL;
        return XC_OK;
    }
    XC_TRY(panel_parts(part, &total, t, err));
    memset(data, 0, total);
    scale = (uint16_t *)(void *)(data + part[XC_PART_DATA]);
    zero = t->enc.zero_point ? data + part[XC_PART_DATA] + part[XC_PART_SCALE] : NULL;
    repack(data, scale, zero, t);
    g->w = data;
    g->scale = scale;
    g->zero = zero;
    return XC_OK;
}
