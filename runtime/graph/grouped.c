/* grouped: see grouped.h. */
#include "runtime/graph/grouped.h"

#include <math.h>
#include <string.h>

#include "runtime/base/half.h"

bool xc_is_grouped(const struct xc_encoding *enc)
{
    return enc->format >= XC_FMT_S4 && enc->format <= XC_FMT_G8; /* the last formats there are */
}

static int bits_of(const struct xc_encoding *enc) { return xc_format_traits((enum xc_format)enc->format)->bits; }
static bool two_level(const struct xc_encoding *enc) { return enc->scale_format == XC_FMT_S6; }
static bool in_bytes(const struct xc_encoding *enc) { return bits_of(enc) > 4; } /* as gemm_s4 reads it */
int xc_grouped_zero(const struct xc_encoding *enc) { return 1 << (bits_of(enc) - 1); }
int64_t xc_grouped_group(const struct xc_encoding *enc, int64_t cols) { return enc->group ? enc->group : cols; }
bool xc_grouped_gemm(const struct xc_encoding *enc)
{
    return xc_is_grouped(enc) && enc->group >= XC_S4_GROUP_STEP && enc->group <= XC_S4_GROUP_MAX && enc->group % XC_S4_GROUP_STEP == 0;
}

float xc_grouped_zero_part(int bits) { return (float)(1 << bits) / (float)(1 << XC_GROUPED_CODE_BITS); }

uint16_t xc_grouped_scale_of(uint16_t row_scale, int code) { return xc_f32_to_f16(xc_f16_to_f32(row_scale) * (float)code); }

enum xc_status xc_grouped_check(const struct xc_encoding *enc, struct xc_err *err)
{
    const char *name = xc_format_traits((enum xc_format)enc->format)->name;

    if (enc->structure != XC_STRUCT_DENSE || enc->perm_rows || enc->perm_cols)
        return xc_fail(err, XC_E_UNSUPPORTED, "%s that is not dense, or permuted, is not supported by this version", name);
    if (enc->scale_format != XC_FMT_F16 && !two_level(enc)) return xc_fail(err, XC_E_UNSUPPORTED, "scales of %s other than f16, or codes of 6 bits, are not supported by this version", name);
    if (enc->group < 0 || enc->group % 8) return xc_fail(err, XC_E_FORMAT, "%s in groups of %d: a group is 0 (the row) or a multiple of 8", name, enc->group);
    if (enc->layout == XC_LAYOUT_PANEL16 && (enc->format != XC_FMT_S4 || !xc_grouped_gemm(enc)))
        return xc_fail(err, XC_E_UNSUPPORTED, "layout panel16 holds int4 in groups of 32 to 256, not %s in groups of %d", name, enc->group);
    return XC_OK;
}

/* rows x n numbers of `bits`, rows padded to whole bytes. */
static bool packed_bytes(size_t *bytes, size_t rows, size_t n, size_t bits)
{
    size_t row_bits;

    return xc_mul_ok(&row_bits, n, bits) && xc_round_up_ok(&row_bits, row_bits, 8) && xc_mul_ok(bytes, rows, row_bits / 8);
}

bool xc_grouped_part_bytes(size_t *bytes, const struct xc_encoding *enc, size_t rows, size_t cols, enum xc_part part)
{
    const size_t group = (size_t)xc_grouped_group(enc, (int64_t)cols), groups = cols / group + (cols % group != 0);
    size_t r = rows, row_scales;

    *bytes = 0;
    if (enc->layout == XC_LAYOUT_PANEL16 && !xc_round_up_ok(&r, rows, 16)) return false;
    switch (part) {
    case XC_PART_DATA:
        if (enc->layout == XC_LAYOUT_PANEL16 && !xc_round_up_ok(&cols, cols, 8)) return false;
        return packed_bytes(bytes, r, cols, (size_t)bits_of(enc));
    case XC_PART_SCALE:
        if (two_level(enc)) return xc_mul_ok(&row_scales, rows, sizeof(uint16_t)) && packed_bytes(bytes, rows, groups, XC_GROUPED_CODE_BITS) && xc_add_ok(bytes, *bytes, row_scales);
        return xc_mul_ok(bytes, r, groups) && xc_mul_ok(bytes, *bytes, sizeof(uint16_t));
    case XC_PART_ZERO:
        if (!enc->zero_point) return true;
        return two_level(enc) ? packed_bytes(bytes, rows, groups, XC_GROUPED_CODE_BITS) : xc_mul_ok(bytes, r, groups);
    default: return true;
    }
}

/* ---- numbers in rows of whole bytes ---- */
static int get_bits(const uint8_t *row, int64_t row_bytes, int64_t k, int64_t bits)
{
    const int64_t byte = k * bits / 8;

    return (row[byte] | (byte + 1 < row_bytes ? row[byte + 1] << 8 : 0)) >> k * bits % 8 & ((1 << bits) - 1);
}

static void put_bits(uint8_t *row, int64_t k, int64_t bits, int u)
{
    const int64_t byte = k * bits / 8;
    const int two = u << k * bits % 8;

    row[byte] |= (uint8_t)two;
    if (two >> 8) row[byte + 1] |= (uint8_t)(two >> 8);
}

static int64_t code_bytes(int64_t groups) { return xc_div_up(groups * XC_GROUPED_CODE_BITS, 8); }

/* Where number (row, g) of f16 scales and of their zeros lies. */
static int64_t side_at(enum xc_layout layout, int64_t groups, int64_t row, int64_t g)
{
    return layout == XC_LAYOUT_PANEL16 ? (row / 16 * groups + g) * 16 + row % 16 : row * groups + g;
}

/* int4 in a panel: its byte; the shift is k & 4. */
static int64_t panel_at(int64_t cols, int64_t row, int64_t k) { return row / 16 * 8 * xc_round_up(cols, 8) + k / 8 * 64 + row % 16 * 4 + k % 4; }

static int number_at(const struct xc_tensor *t, int64_t cols, int64_t row, int64_t k)
{
    const int64_t bits = bits_of(&t->enc), row_bytes = xc_div_up(cols * bits, 8);
    const uint8_t *data = t->part[XC_PART_DATA]->data;

    if (t->enc.layout == XC_LAYOUT_PANEL16) return data[panel_at(cols, row, k)] >> (k & 4) & 15;
    return get_bits(data + row * row_bytes, row_bytes, k, bits);
}

/* The f16 of a group. */
static uint16_t scale_at(const struct xc_tensor *t, int64_t groups, int64_t row, int64_t g)
{
    const uint16_t *half = (const uint16_t *)(const void *)t->part[XC_PART_SCALE]->data;
    const int64_t bytes = code_bytes(groups);

    if (!two_level(&t->enc)) return half[side_at((enum xc_layout)t->enc.layout, groups, row, g)];
    const int code = get_bits((const uint8_t *)(half + xc_tensor_rows(t)) + row * bytes, bytes, g, XC_GROUPED_CODE_BITS);

    return xc_grouped_scale_of(half[row], t->enc.zero_point ? code : code - XC_GROUPED_CODE_MAX - 1);
}

/* As it is held: a number, or a code. */
static int zero_at(const struct xc_tensor *t, int64_t groups, int64_t row, int64_t g)
{
    const uint8_t *zero = t->part[XC_PART_ZERO]->data;
    const int64_t bytes = code_bytes(groups);

    return two_level(&t->enc) ? get_bits(zero + row * bytes, bytes, g, XC_GROUPED_CODE_BITS) : zero[side_at((enum xc_layout)t->enc.layout, groups, row, g)];
}

enum xc_status xc_grouped_verify(const struct xc_tensor *t, struct xc_err *err)
{
    const uint16_t *half = (const uint16_t *)(const void *)t->part[XC_PART_SCALE]->data;
    const int most = t->enc.zero_point ? 2 * XC_GROUPED_CODE_MAX + 1 : XC_GROUPED_CODE_MAX + 1;
    size_t zeros;

    for (int64_t r = 0; two_level(&t->enc) && r < xc_tensor_rows(t); r++)
        if ((xc_grouped_scale_of(half[r], most) & 0x7c00) == 0x7c00) return xc_fail(err, XC_E_FORMAT, "tensor '%s': the scale of row %lld is not finite", t->name, (long long)r);
    if (two_level(&t->enc)) return XC_OK;
    XC_TRY(xc_encoding_part_bytes(&t->enc, xc_tensor_rows(t), xc_tensor_cols(t), XC_PART_ZERO, &zeros, err));
    for (size_t i = 0; i < zeros; i++)
        if (t->part[XC_PART_ZERO]->data[i] >> bits_of(&t->enc)) return xc_fail(err, XC_E_FORMAT, "tensor '%s': zero point %zu is beyond the levels", t->name, i);
    return XC_OK;
}

void xc_grouped_put_row(const struct xc_encoding *enc, int64_t rows, int64_t cols, struct xc_buf *const part[XC_PART_COUNT], int64_t row, const uint8_t *u, uint16_t row_scale,
                        const uint16_t *scale, const uint8_t *zero)
{
    const int64_t groups = xc_div_up(cols, xc_grouped_group(enc, cols)), bits = bits_of(enc), row_bytes = xc_div_up(cols * bits, 8), bytes = code_bytes(groups);
    uint8_t *data = part[XC_PART_DATA]->data;
    uint16_t *half = (uint16_t *)(void *)part[XC_PART_SCALE]->data;

    if (two_level(enc)) half[row] = row_scale;
    for (int64_t g = 0; g < groups; g++) {
        const int64_t at = side_at((enum xc_layout)enc->layout, groups, row, g);

        if (!two_level(enc)) {
            half[at] = scale[g];
            if (enc->zero_point) part[XC_PART_ZERO]->data[at] = zero[g];
            continue;
        }
        const float row_step = xc_f16_to_f32(row_scale);
        const int code = row_step != 0.0f ? (int)lrintf(xc_f16_to_f32(scale[g]) / row_step) : 0; /* f16 has more bits than codes: it is that code's */

        put_bits((uint8_t *)(half + rows) + row * bytes, g, XC_GROUPED_CODE_BITS, enc->zero_point ? code : code + XC_GROUPED_CODE_MAX + 1);
        if (enc->zero_point) put_bits(part[XC_PART_ZERO]->data + row * bytes, g, XC_GROUPED_CODE_BITS, zero[g]);
    }
    int64_t k = 0;

    uint8_t *to = enc->layout == XC_LAYOUT_PANEL16 ? data + panel_at(cols, row, 0) : data;

    for (; enc->layout == XC_LAYOUT_PANEL16 && k + 8 <= cols; k += 8, to += 64) { /* eight numbers in four bytes, together */
        uint32_t low, high;

        memcpy(&low, u + k, sizeof low);
        memcpy(&high, u + k + 4, sizeof high);
        low |= high << 4;
        memcpy(to, &low, sizeof low);
    }
    for (; k < cols; k++) {
        if (enc->layout == XC_LAYOUT_PANEL16) data[panel_at(cols, row, k)] |= (uint8_t)(u[k] << (k & 4));
        else put_bits(data + row * row_bytes, k, bits, u[k]);
    }
}

void xc_grouped_part_to_f32(const struct xc_tensor *t, int64_t row, int64_t col0, int64_t n, float *dst)
{
    const int64_t cols = xc_tensor_cols(t), group = xc_grouped_group(&t->enc, cols), groups = xc_div_up(cols, group);
    const int64_t bits = bits_of(&t->enc), row_bytes = xc_div_up(cols * bits, 8);
    const uint8_t *data = t->part[XC_PART_DATA]->data + (t->enc.layout == XC_LAYOUT_PANEL16 ? 0 : row * row_bytes);
    const uint64_t most = ((uint64_t)1 << bits) - 1;
    const float part = two_level(&t->enc) ? xc_grouped_zero_part((int)bits) : 1.0f; /* a zero's */

    for (int64_t g = col0 / group; g * group < col0 + n; g++) {
        const float scale = xc_f16_to_f32(scale_at(t, groups, row, g));
        const float zero = t->enc.zero_point ? part * (float)zero_at(t, groups, row, g) : (float)xc_grouped_zero(&t->enc);
        const int64_t end = xc_min_i64((g + 1) * group, col0 + n);

        for (int64_t k = xc_max_i64(g * group, col0); k < end;) {
            const int64_t left = row_bytes - k / 8 * bits;
            uint64_t eight = 0; /* in as many bytes as a number has bits */

            if (t->enc.layout == XC_LAYOUT_PANEL16 || k % 8 || k + 8 > end) {
                dst[k - col0] = ((float)number_at(t, cols, row, k) - zero) * scale;
                k++;
                continue;
            }
            if (left >= (int64_t)sizeof eight) memcpy(&eight, data + k / 8 * bits, sizeof eight);
            else memcpy(&eight, data + k / 8 * bits, (size_t)bits);
            for (int64_t i = 0; i < 8; i++) dst[k - col0 + i] = ((float)(int)(eight >> i * bits & most) - zero) * scale;
            k += 8;
        }
    }
}

void xc_grouped_rows_to_f32(const struct xc_tensor *t, int64_t row0, int64_t n_rows, float *dst)
{
    const int64_t cols = xc_tensor_cols(t);

    for (int64_t row = row0; row < row0 + n_rows; row++, dst += cols) xc_grouped_part_to_f32(t, row, 0, cols, dst);
}

/* ---- for gemm_s4 ---- */
/* Bytes of the parts that must be repacked, each aligned; 0 = as it is. */
static enum xc_status panel_parts(size_t part[XC_PART_COUNT], size_t *total, const struct xc_tensor *t, struct xc_err *err)
{
    const bool panel = t->enc.layout == XC_LAYOUT_PANEL16;
    const struct xc_encoding as = { .format = XC_FMT_S4, .layout = XC_LAYOUT_PANEL16, .scale_format = XC_FMT_F16, .group = t->enc.group, .zero_point = t->enc.zero_point };

    *total = 0;
    for (int p = XC_PART_DATA; p <= XC_PART_ZERO; p++) {
        part[p] = 0;
        if (panel && (p == XC_PART_DATA || (p == XC_PART_SCALE && !two_level(&t->enc)))) continue;
        XC_TRY(xc_encoding_part_bytes(&as, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &part[p], err));
        if (p == XC_PART_DATA && in_bytes(&t->enc) && !xc_mul_ok(&part[p], part[p], 2)) part[p] = SIZE_MAX;
        if (!xc_round_up_ok(&part[p], part[p], XC_ALIGN) || !xc_add_ok(total, *total, part[p])) return xc_fail(err, XC_E_RANGE, "tensor '%s' is too large", t->name);
    }
    return XC_OK;
}

enum xc_status xc_grouped_panel_bytes(size_t *bytes, const struct xc_tensor *t, struct xc_err *err)
{
    size_t part[XC_PART_COUNT];

    return panel_parts(part, bytes, t, err);
}

/* Levels and zeros in the kernel's units. Without zero points u moves to where gemm_s4 has its zero; with codes for zeros it grows until a 64th of the
 * levels is a quarter of a nibble's step, or a byte's whole one (in 7 and 8 bits it is two and four of them as it is). */
static void repack(uint8_t *data, uint16_t *scale, uint8_t *zero, const struct xc_tensor *t)
{
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t), groups = xc_div_up(K, t->enc.group), K8 = xc_round_up(K, 8);
    const bool bytes = in_bytes(&t->enc);
    const int codes = zero && two_level(&t->enc), more = (bytes ? 6 : 4) - bits_of(&t->enc), grow = codes && more > 0 ? more : 0;
    const int shift = zero ? 0 : (bytes ? XC_S4_BYTES_ZERO : XC_S4_ZERO) - xc_grouped_zero(&t->enc), by = codes ? 1 << (grow - more) : bytes ? 1 : 4;

    for (int64_t r = 0; r < N; r++) {
        for (int64_t g = 0; g < groups; g++) {
            const int64_t to = side_at(XC_LAYOUT_PANEL16, groups, r, g);

            if (scale) scale[to] = scale_at(t, groups, r, g);
            if (zero) zero[to] = (uint8_t)(by * zero_at(t, groups, r, g));
        }
        for (int64_t k = 0; k < K && data; k++) {
            const int u = (number_at(t, K, r, k) << grow) + shift;

            if (bytes) data[r / 16 * 16 * K8 + k / 4 * 64 + r % 16 * 4 + k % 4] = (uint8_t)u;
            else data[panel_at(K, r, k)] |= (uint8_t)(u << (k & 4));
        }
    }
}

enum xc_status xc_grouped_panel(struct xc_gemm_s4 *g, void *memory, const struct xc_tensor *t, struct xc_err *err)
{
    size_t part[XC_PART_COUNT], total;
    uint8_t *data = memory, *scale, *zero;

    XC_TRY(panel_parts(part, &total, t, err));
    g->N = xc_tensor_rows(t);
    g->K = xc_tensor_cols(t);
    g->group = t->enc.group;
    g->bytes = in_bytes(&t->enc);
    g->unit = two_level(&t->enc) ? fminf(xc_grouped_zero_part(bits_of(&t->enc)), 1.0f) : g->bytes ? 1.0f : 0.25f;
    g->w = t->part[XC_PART_DATA]->data;
    g->scale = (const uint16_t *)(const void *)t->part[XC_PART_SCALE]->data;
    g->zero = NULL;
    if (!total) return XC_OK;
    memset(data, 0, total);
    scale = data + part[XC_PART_DATA];
    zero = scale + part[XC_PART_SCALE];
    repack(part[XC_PART_DATA] ? data : NULL, part[XC_PART_SCALE] ? (uint16_t *)(void *)scale : NULL, part[XC_PART_ZERO] ? zero : NULL, t);
    if (part[XC_PART_DATA]) g->w = data;
    if (part[XC_PART_SCALE]) g->scale = (const uint16_t *)(void *)scale;
    if (part[XC_PART_ZERO]) g->zero = zero;
    return XC_OK;
}
