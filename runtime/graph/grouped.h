/* grouped: numbers of 8 to 2 bits in groups along a row, each with its scale and perhaps its zero point:
 *
 *     real = scale * (u - zero),   u in 0 .. 2^bits - 1,   zero = 2^(bits - 1) where the encoding has none
 *
 * Scales of format f16 are held as they are, zeros as bytes. In format S6, two levels, a scale is a code of 6 bits times an f16 of the row, rounded to
 * f16, and a zero is a code of 6 bits: so many 64ths of the 2^bits levels.
 *
 * rows      each row's u packed from its lowest bits on, rows padded to whole bytes; scale and zero (rows, groups)
 * panel16   int4 only: kernels.h, the order of gemm_s4 */
#ifndef XC_RUNTIME_GRAPH_GROUPED_H
#define XC_RUNTIME_GRAPH_GROUPED_H

#include "runtime/graph/tensor.h"
#include "runtime/kernels/kernels.h"

#define XC_GROUPED_CODE_BITS 6
#define XC_GROUPED_CODE_MAX 31 /* of a scale of either sign; with zero points scales are positive, and codes go to twice that and one */

bool xc_is_grouped(const struct xc_encoding *enc);
int xc_grouped_zero(const struct xc_encoding *enc);                   /* of a group without a zero point */
int64_t xc_grouped_group(const struct xc_encoding *enc, int64_t cols); /* numbers of a group: the whole row when enc->group is 0 */
bool xc_grouped_gemm(const struct xc_encoding *enc);                  /* can gemm_s4 use it, repacked if need be? */
uint16_t xc_grouped_scale_of(uint16_t row_scale, int code);           /* f16 */
float xc_grouped_zero_part(int bits);                                 /* in levels: what a zero's code of two levels counts */

/* Used by encoding.c and verify.c. */
enum xc_status xc_grouped_check(const struct xc_encoding *enc, struct xc_err *err);
bool xc_grouped_part_bytes(size_t *bytes, const struct xc_encoding *enc, size_t rows, size_t cols, enum xc_part part); /* false on overflow */
enum xc_status xc_grouped_verify(const struct xc_tensor *t, struct xc_err *err); /* the numbers of scales in two levels, and of zeros */

/* Writes a row into parts of the sizes of xc_grouped_part_bytes, which start as zeros. row_scale: of two levels, under which every scale is a code's.
 * Rows may be written in any order, by several threads when their panels differ. */
void xc_grouped_put_row(const struct xc_encoding *enc, int64_t rows, int64_t cols, struct xc_buf *const part[XC_PART_COUNT], int64_t row, const uint8_t *u, uint16_t row_scale,
                        const uint16_t *scale, const uint8_t *zero);

void xc_grouped_rows_to_f32(const struct xc_tensor *t, int64_t row0, int64_t n_rows, float *dst);
void xc_grouped_part_to_f32(const struct xc_tensor *t, int64_t row, int64_t col0, int64_t n, float *dst); /* columns of one row */

/* The weight as gemm_s4 reads it: w, scale, zero, unit, N, K and group of *g, pointing into the tensor, or into the caller's memory (aligned, of
 * xc_grouped_panel_bytes) where parts must be repacked: what is not int4 panels, scales in two levels, and zeros. */
enum xc_status xc_grouped_panel_bytes(size_t *bytes, const struct xc_tensor *t, struct xc_err *err); /* 0 = used as it is */
enum xc_status xc_grouped_panel(struct xc_gemm_s4 *g, void *memory, const struct xc_tensor *t, struct xc_err *err);

#endif
