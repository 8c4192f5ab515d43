/* encoding: traits, sizes and names of the ways to hold numbers. See encoding.h. */
#include "runtime/graph/encoding.h"

#include <stdio.h>
#include <string.h>

static const struct xc_format_traits traits[XC_FMT_COUNT] = {
    [XC_FMT_F32] = { "f32", 32, false },  [XC_FMT_F16] = { "f16", 16, false }, [XC_FMT_BF16] = { "bf16", 16, false },
    [XC_FMT_I32] = { "i32", 32, false },  [XC_FMT_S8] = { "int8", 8, true },   [XC_FMT_S4] = { "int4", 4, true },
    [XC_FMT_S3] = { "int3", 3, true },    [XC_FMT_S2] = { "int2", 2, true },
};

const struct xc_format_traits *xc_format_traits(enum xc_format format)
{
    return (unsigned)format < XC_FMT_COUNT ? &traits[format] : NULL;
}

/* rows x cols x bits, in bytes, rows padded to whole bytes. */
static bool matrix_bytes(size_t *out, size_t rows, size_t cols, size_t bits)
{
    size_t row_bits;

    return xc_mul_ok(&row_bits, cols, bits) && xc_add_ok(&row_bits, row_bits, 7) && xc_mul_ok(out, rows, row_bits / 8);
}

static bool data_bytes(size_t *out, const struct xc_encoding *enc, size_t rows, size_t cols)
{
    size_t r = rows, c = cols;

    if (enc->layout == XC_LAYOUT_PANEL16) {
        if (!xc_round_up_ok(&r, rows, 16)) return false;
        if (enc->format != XC_FMT_F32 && !xc_round_up_ok(&c, cols, 4)) return false;
    }
    return matrix_bytes(out, r, c, (size_t)traits[enc->format].bits);
}

static bool scale_bytes(size_t *out, const struct xc_encoding *enc, size_t rows, size_t cols)
{
    const size_t groups = enc->group > 0 ? (cols + (size_t)enc->group - 1) / (size_t)enc->group : 1;
    size_t n;

    return xc_mul_ok(&n, rows, groups) && xc_mul_ok(out, n, (size_t)traits[enc->scale_format].bits / 8);
}

enum xc_status xc_encoding_check(const struct xc_encoding *enc, int64_t rows, int64_t cols, struct xc_err *err)
{
    if (enc->format >= XC_FMT_COUNT) return xc_fail(err, XC_E_VERSION, "number format %d is not known to this version", enc->format);
    if (enc->structure >= XC_STRUCT_COUNT) return xc_fail(err, XC_E_VERSION, "structure %d is not known to this version", enc->structure);
    if (enc->layout >= XC_LAYOUT_COUNT) return xc_fail(err, XC_E_VERSION, "layout %d is not known to this version", enc->layout);
    if (rows < 0 || cols < 0) return xc_fail(err, XC_E_RANGE, "a tensor of %lld x %lld", (long long)rows, (long long)cols);
    if (enc->scale_format != XC_FMT_F32 && enc->scale_format != XC_FMT_F16)
        return xc_fail(err, XC_E_FORMAT, "scales must be f32 or f16, not format %d", enc->scale_format);
    if (enc->structure != XC_STRUCT_DENSE || enc->perm_rows || enc->perm_cols || enc->zero_point || enc->group != 0)
        return xc_fail(err, XC_E_UNSUPPORTED, "this version reads dense tensors with one scale a row, without groups, zero points or permutations");
    if (enc->format == XC_FMT_S4 || enc->format == XC_FMT_S3 || enc->format == XC_FMT_S2)
        return xc_fail(err, XC_E_UNSUPPORTED, "format %s is not supported by this version", traits[enc->format].name);
    if (enc->layout == XC_LAYOUT_PANEL16 && enc->format != XC_FMT_F32 && enc->format != XC_FMT_S8)
        return xc_fail(err, XC_E_UNSUPPORTED, "layout panel16 holds f32 or int8, not %s", traits[enc->format].name);
    return XC_OK;
}

enum xc_status xc_encoding_part_bytes(const struct xc_encoding *enc, int64_t rows, int64_t cols, enum xc_part part, size_t *bytes, struct xc_err *err)
{
    bool ok = true;

    *bytes = 0;
    XC_TRY(xc_encoding_check(enc, rows, cols, err));
    if (part == XC_PART_DATA) ok = data_bytes(bytes, enc, (size_t)rows, (size_t)cols);
    else if (part == XC_PART_SCALE && traits[enc->format].quantized) ok = scale_bytes(bytes, enc, (size_t)rows, (size_t)cols);
    if (!ok || *bytes > (size_t)PTRDIFF_MAX) {
        *bytes = 0;
        return xc_fail(err, XC_E_RANGE, "a tensor of %lld x %lld is too large", (long long)rows, (long long)cols);
    }
    return XC_OK;
}

const char *xc_encoding_text(const struct xc_encoding *enc, char *buf, size_t n)
{
    const struct xc_format_traits *t = xc_format_traits((enum xc_format)enc->format);
    char group[32] = "", structure[48] = "";

    if (t && t->quantized) {
        if (enc->group) snprintf(group, sizeof group, "/g%d", enc->group);
        else snprintf(group, sizeof group, "/row");
    }
    if (enc->structure == XC_STRUCT_NM) snprintf(structure, sizeof structure, " %d:%d", enc->n, enc->m);
    else if (enc->structure == XC_STRUCT_BLOCK) snprintf(structure, sizeof structure, " block %dx%d", enc->block_rows, enc->block_cols);
    else if (enc->structure == XC_STRUCT_COMPACT) snprintf(structure, sizeof structure, " compact");
    snprintf(buf, n, "%s%s%s%s", t ? t->name : "?", group, enc->zero_point ? "+zp" : "", structure);
    return buf;
}
