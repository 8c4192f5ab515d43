/* lowbit: the arithmetic of weights of 8 to 2 bits in groups (grouped.h): which scale and zero point a group gets, and its rounding.
 * Pure functions on floats: no tensors, no threads. */
#ifndef XC_COMPRESS_QUANTIZE_LOWBIT_H
#define XC_COMPRESS_QUANTIZE_LOWBIT_H

#include "runtime/base/base.h"

struct xc_lowbit {
    int bits;      /* u lies in 0 .. 2^bits - 1 */
    bool affine;   /* each group has its own zero; else it is 2^(bits-1) */
    bool ternary;  /* two bits of which only -1, 0, 1 are used */
    bool search;   /* scales of least squared error among some; else the largest magnitude decides */
    bool two_level; /* a scale is a code of 6 bits under an f16 of the row; zeros have 6 bits: one of 64 parts of the levels' range */
};

/* two_level: the f16 under which all scales of a row of n numbers are; else 0. False when it does not fit. */
bool xc_lowbit_row_scale(const struct xc_lowbit *f, const float *x, int64_t n, int64_t group, uint16_t *row_scale);

/* The scale (f16; its sign is free) and the zero of a group of n numbers, under row_scale. weight (n): how much each number's squared error counts;
 * NULL = all the same. False when a number is not finite or the scale does not fit f16. */
bool xc_lowbit_scale(const struct xc_lowbit *f, const float *x, const float *weight, int64_t n, uint16_t row_scale, uint16_t *scale, uint8_t *zero);

/* u (n) = the nearest of the group's levels. */
void xc_lowbit_round(const struct xc_lowbit *f, uint8_t *u, const float *x, int64_t n, uint16_t scale, uint8_t zero);

float xc_lowbit_zero(const struct xc_lowbit *f, uint8_t zero); /* u stands for scale * (u - this) */

#endif
