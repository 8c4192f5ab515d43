/* encoding: traits, sizes and names of the ways to hold numbers. See encoding.h.
 *
 * This version knows f32, f16, bf16, i32 and int8 with one scale a row, dense (any structure may then say where zeros lie), int8 panels of
 * N:M, blocks and compact, and int8 to int2 in groups (grouped.c); the rest of the product has its fields here and in the file, and is
 * refused by name. Scales of a panel are one an output, without padding; readers of 16 at a time rely on buffers
 * and file sections being padded to XC_ALIGN. */
#include "runtime/graph/encoding.h"

#include <stdio.h>

#include "runtime/graph/grouped.h"
#include "runtime/kernels/kernels.h"

static const struct xc_format_traits traits[XC_FMT_COUNT] = {
    [XC_FMT_F32] = { "f32", 32, false },  [XC_FMT_F16] = { "f16", 16, false }, [XC_FMT_BF16] = { "bf16", 16, false },
    [XC_FMT_I32] = { "i32", 32, false },  [XC_FMT_S8] = { "int8", 8, true },   [XC_FMT_S4] = { "int4", 4, true },
    [XC_FMT_S3] = { "int3", 3, true },    [XC_FMT_S2] = { "int2", 2, true },  [XC_FMT_S5] = { "int5", 5, true },
    [XC_FMT_S6] = { "int6", 6, true },   [XC_FMT_S7] = { "int7", 7, true },   [XC_FMT_G8] = { "int8", 8, true },
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

/* Sparse panels (kernels.h, Sparse). N:M: four bytes and four nibbles for each eight inputs of an output. Blocks: 64 bytes each, and lists.
 * Compact: a byte each, and a bit for every input. */
static bool sparse_bytes(size_t *out, const struct xc_encoding *enc, size_t rows, size_t cols, bool index)
{
    size_t r, c;

    if (!xc_round_up_ok(&r, rows, 16) || !xc_round_up_ok(&c, cols, 16)) return false;
    if (enc->structure == XC_STRUCT_NM) return xc_mul_ok(out, r, c / (index ? 4 : 2));
    if (!index) return xc_mul_ok(out, (size_t)enc->n, enc->structure == XC_STRUCT_BLOCK ? 64 : 1);
    if (enc->structure == XC_STRUCT_COMPACT) return (*out = xc_compact_index_bytes((int64_t)rows, (int64_t)cols)) > 0;
    return xc_mul_ok(out, (size_t)enc->n, 2) && xc_add_ok(out, *out, (r / 16 + 1) * 4);
}

static bool is_sparse(const struct xc_encoding *enc) { return enc->structure != XC_STRUCT_DENSE && enc->layout == XC_LAYOUT_PANEL16; }

static bool data_bytes(size_t *out, const struct xc_encoding *enc, size_t rows, size_t cols)
{
    size_t r = rows, c = cols;

    if (is_sparse(enc)) return sparse_bytes(out, enc, rows, cols, false);
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

/* Well formed, but waiting for a kernel: refused by name, so that a later file is not misread. */
static enum xc_status check_known(const struct xc_encoding *enc, struct xc_err *err)
{
    const char *what = NULL;

    if (xc_is_grouped(enc)) return xc_grouped_check(enc, err);
    if (enc->perm_rows || enc->perm_cols) what = "a permutation";
    else if (enc->zero_point) what = "a zero point";
    else if (enc->group != 0) what = "scales by group";
    else if (enc->scale_format != XC_FMT_F32) what = "scales other than f32";
    if (what) return xc_fail(err, XC_E_UNSUPPORTED, "an encoding with %s is not supported by this version", what);
    return XC_OK;
}

/* The structure's own fields; equal encodings have equal fields. */
static enum xc_status check_structure(const struct xc_encoding *enc, int64_t rows, int64_t cols, struct xc_err *err)
{
    static const char *const structures[XC_STRUCT_COUNT] = { "dense", "N:M", "block", "compact" };
    const bool blocks = enc->structure == XC_STRUCT_BLOCK, nm = enc->structure == XC_STRUCT_NM, compact = enc->structure == XC_STRUCT_COMPACT;

    if (nm ? enc->n < 1 || enc->n >= enc->m || enc->m > 64 : enc->m != 0 || (!blocks && !compact && enc->n != 0))
        return xc_fail(err, XC_E_FORMAT, "structure '%s' with n:m %d:%d", structures[enc->structure], enc->n, enc->m);
    if (blocks ? enc->block_rows < 1 || enc->block_rows > 1024 || enc->block_cols < 1 || enc->block_cols > 1024 : enc->block_rows != 0 || enc->block_cols != 0)
        return xc_fail(err, XC_E_FORMAT, "structure '%s' with blocks of %d x %d", structures[enc->structure], enc->block_rows, enc->block_cols);
    if (blocks && (enc->n < 1 || (double)enc->n > (double)xc_div_up(rows, enc->block_rows) * (double)xc_div_up(cols, enc->block_cols)))
        return xc_fail(err, XC_E_FORMAT, "%d blocks of %d x %d in a tensor of %lld x %lld", enc->n, enc->block_rows, enc->block_cols, (long long)rows, (long long)cols);
    if (compact && (enc->n < (enc->layout == XC_LAYOUT_PANEL16) || (double)enc->n > (double)rows * (double)cols)) /* in rows 0: nobody counted */
        return xc_fail(err, XC_E_FORMAT, "%d numbers held of a tensor of %lld x %lld", enc->n, (long long)rows, (long long)cols);
    if (enc->structure == XC_STRUCT_DENSE || enc->layout == XC_LAYOUT_ROWS) return XC_OK;
    if (enc->format != XC_FMT_S8)
        return xc_fail(err, XC_E_UNSUPPORTED, "structure '%s' of %s in panels is not supported by this version", structures[enc->structure], traits[enc->format].name);
    if (nm && (8 % enc->m != 0 || 8 / enc->m * enc->n > 4)) return xc_fail(err, XC_E_UNSUPPORTED, "%d:%d in panels is not supported by this version: at most 4 of 8", enc->n, enc->m);
    if (compact && cols > XC_COMPACT_MAX_K)
        return xc_fail(err, XC_E_UNSUPPORTED, "a compact weight of %lld inputs is not supported by this version: at most %d", (long long)cols, XC_COMPACT_MAX_K);
    if (blocks && (enc->block_rows != 16 || enc->block_cols != 4 || cols > XC_BLOCK_MAX_K))
        return xc_fail(err, XC_E_UNSUPPORTED, "blocks of %d x %d over %lld inputs are not supported by this version in panels: 16 x 4, at most %d inputs", enc->block_rows, enc->block_cols,
                       (long long)cols, XC_BLOCK_MAX_K);
    return XC_OK;
}

enum xc_status xc_encoding_check(const struct xc_encoding *enc, int64_t rows, int64_t cols, struct xc_err *err)
{
    if (enc->format >= XC_FMT_COUNT) return xc_fail(err, XC_E_VERSION, "number format %d is not known to this version", enc->format);
    if (enc->structure >= XC_STRUCT_COUNT) return xc_fail(err, XC_E_VERSION, "structure %d is not known to this version", enc->structure);
    if (enc->layout >= XC_LAYOUT_COUNT) return xc_fail(err, XC_E_VERSION, "layout %d is not known to this version", enc->layout);
    if (enc->scale_format != XC_FMT_F32 && enc->scale_format != XC_FMT_F16 && enc->scale_format != XC_FMT_S6)
        return xc_fail(err, XC_E_FORMAT, "scales must be f32, f16 or codes of 6 bits, not format %d", enc->scale_format);
    if (rows < 1 || cols < 1) return xc_fail(err, XC_E_RANGE, "a tensor of %lld x %lld", (long long)rows, (long long)cols);
    XC_TRY(check_known(enc, err));
    XC_TRY(check_structure(enc, rows, cols, err));
    if (enc->layout == XC_LAYOUT_PANEL16 && enc->format != XC_FMT_F32 && enc->format != XC_FMT_S8 && !xc_is_grouped(enc))
        return xc_fail(err, XC_E_UNSUPPORTED, "layout panel16 holds f32 or int8, not %s", traits[enc->format].name);
    if (enc->sum16 && (enc->format != XC_FMT_S8 || enc->layout != XC_LAYOUT_PANEL16))
        return xc_fail(err, XC_E_FORMAT, "sum16 belongs to int8 in panel16");
    return XC_OK;
}

enum xc_status xc_encoding_part_bytes(const struct xc_encoding *enc, int64_t rows, int64_t cols, enum xc_part part, size_t *bytes, struct xc_err *err)
{
    bool ok = true;

    *bytes = 0;
    XC_TRY(xc_encoding_check(enc, rows, cols, err));
    if ((unsigned)part >= XC_PART_COUNT) return xc_fail(err, XC_E_ARG, "part %d of a tensor", (int)part);
    if (xc_is_grouped(enc)) ok = xc_grouped_part_bytes(bytes, enc, (size_t)rows, (size_t)cols, part);
    else if (part == XC_PART_DATA) ok = data_bytes(bytes, enc, (size_t)rows, (size_t)cols);
    else if (part == XC_PART_INDEX && is_sparse(enc)) ok = sparse_bytes(bytes, enc, (size_t)rows, (size_t)cols, true);
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
        if (enc->group) snprintf(group, sizeof group, "/g%d%s", enc->group, enc->scale_format == XC_FMT_S6 ? "s6" : "");
        else snprintf(group, sizeof group, "/row");
    }
    if (enc->structure == XC_STRUCT_NM) snprintf(structure, sizeof structure, " %d:%d", enc->n, enc->m);
    else if (enc->structure == XC_STRUCT_BLOCK) snprintf(structure, sizeof structure, " block %dx%d", enc->block_rows, enc->block_cols);
    else if (enc->structure == XC_STRUCT_COMPACT) snprintf(structure, sizeof structure, " %s", enc->layout == XC_LAYOUT_ROWS ? "pruned" : "compact");
    snprintf(buf, n, "%s%s%s%s", t ? t->name : "?", group, enc->zero_point ? "+zp" : "", structure);
    return buf;
}
