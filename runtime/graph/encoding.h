/* encoding: how the numbers of a tensor are held. A product of independent fields, so that compression changes the encoding of
 * a weight and not the program:
 *
 *     structure (dense, N:M, block, compact)  x  number format (f32 ... int2, with group, scale, zero point)
 *     x  layout (rows, panel16)               x  permutation of rows or columns
 *
 * In layout rows a structure says where zeros lie among dense numbers; in panel16 only what may differ from zero is held (kernels.h, Sparse).
 * Low rank is two tensors; how bytes are stored in a file (raw or compressed) is the container's business. */
#ifndef XC_RUNTIME_GRAPH_ENCODING_H
#define XC_RUNTIME_GRAPH_ENCODING_H

#include "runtime/base/base.h"

enum xc_format {
    XC_FMT_F32 = 0,
    XC_FMT_F16,
    XC_FMT_BF16,
    XC_FMT_I32, /* ids, indices */
    XC_FMT_S8,  /* int8, symmetric, in [-127,127], one scale a row */
    XC_FMT_S4,  /* two to a byte */
    XC_FMT_S3,
    XC_FMT_S2,
    XC_FMT_S5,
    XC_FMT_S6,
    XC_FMT_S7,
    XC_FMT_G8,  /* int8 in groups: u and a zero, as below int8 (grouped.h) */
    XC_FMT_COUNT
};

enum xc_structure {
    XC_STRUCT_DENSE = 0,
    XC_STRUCT_NM,      /* n of every m along the input axis */
    XC_STRUCT_BLOCK,   /* whole blocks of block_rows x block_cols, n of them kept */
    XC_STRUCT_COMPACT, /* zeros anywhere */
    XC_STRUCT_COUNT
};

enum xc_layout {
    XC_LAYOUT_ROWS = 0, /* row-major */
    XC_LAYOUT_PANEL16,  /* kernels.h: the order the GEMM reads */
    XC_LAYOUT_COUNT
};

struct xc_encoding {
    uint8_t format;    /* enum xc_format */
    uint8_t structure; /* enum xc_structure */
    uint8_t layout;    /* enum xc_layout */
    uint8_t scale_format; /* enum xc_format of the scales: f32; f16; in groups also S6: codes under an f16 of the row (grouped.h) */
    bool zero_point;   /* affine: a zero point per group */
    bool sum16;        /* int8 panel16: the 16-bit rules of kernels.h hold; compact: when it is dense */
    bool perm_rows, perm_cols; /* a permutation part is present */
    int32_t group;     /* inputs per scale along a row; 0 = the whole row (one scale per output or table row) */
    int32_t n, m;      /* N:M; n alone: blocks kept; compact: numbers held, in rows at most so many differ from zero, 0 = nobody counted */
    int32_t block_rows, block_cols; /* XC_STRUCT_BLOCK */
};

/* What a tensor with an encoding is made of. A tensor holds one buffer per part; most have DATA alone, or DATA and SCALE. */
enum xc_part { XC_PART_DATA = 0, XC_PART_SCALE, XC_PART_ZERO, XC_PART_INDEX, XC_PART_PERM, XC_PART_COUNT };

/* The traits of a number format. */
struct xc_format_traits {
    const char *name; /* "f32", "int8", ... as printed, and as --quantize names it; G8 is an int8, too */
    int bits;
    bool quantized; /* has scales */
};
const struct xc_format_traits *xc_format_traits(enum xc_format format); /* NULL when out of range */

/* Bytes of one part for a tensor of `rows` x `cols`; the one place where sizes of encoded tensors are computed. Fails with
 * XC_E_RANGE on overflow and XC_E_UNSUPPORTED for a product that this version does not know; *bytes is 0 for an absent part. */
enum xc_status xc_encoding_part_bytes(const struct xc_encoding *enc, int64_t rows, int64_t cols, enum xc_part part, size_t *bytes,
                                      struct xc_err *err);
enum xc_status xc_encoding_check(const struct xc_encoding *enc, int64_t rows, int64_t cols, struct xc_err *err);

/* "f32", "int8/row", "int8/g64", "int4/g64+zp", "int4/g32s6", "int8/row 2:4" ...: cut to n bytes; returns buf. */
const char *xc_encoding_text(const struct xc_encoding *enc, char *buf, size_t n);

#endif
