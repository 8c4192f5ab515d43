/* gemm_s4: weights of few bits in groups for ISAs with a four-byte dot product. Included after <isa>/lanes.h with
 *   S4_ROWS (at most 8)
 *   s4_low(p), s4_high(p) sixteen outputs x four inputs from the low and the high nibbles of 64 bytes, as the weight operand of s4_dot
 *   s4_bytes(p)           the same from 64 bytes with a u each
 *   s4_dot(acc, w, x)     acc + w . x, x four signed bytes repeated
 *   S4_UNSIGNED           1 when these leave u as it is, 0 when they take the usual zero from it */
#ifndef XC_RUNTIME_KERNELS_LANES_GEMM_S4_H
#define XC_RUNTIME_KERNELS_LANES_GEMM_S4_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/epilogue.h"

#define S4_BLOCK 32 /* rows at most of a block */
#define S4_SUMS (XC_S4_MAX_K / XC_S4_GROUP_STEP)
#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

struct s4_tile {
    float *c;             /* (mr, 16) */
    const int8_t *x;
    int64_t ldx;
    const int32_t *sum;   /* (mr, groups): sums of x */
    int64_t groups;
    const uint8_t *w;
    const uint16_t *scale;
    const uint8_t *zero;
    float unit;
    int64_t K, group;
};

/* From x . (u - usual zero) to x . (4 u - zero), or with bytes to x . (u - zero). */
LANES_INLINE v16i s4_with_zero(v16i a, const uint8_t *zero, int32_t sum, bool bytes)
{
    int32_t rest[16];

    for (int l = 0; l < 16; l++) rest[l] = ((bytes ? XC_S4_BYTES_ZERO : 4 * XC_S4_ZERO) - zero[l]) * sum;
    if (!bytes) a = i_add(a, a), a = i_add(a, a);
    return i_add(a, i_load(rest));
}

LANES_INLINE void s4_tile_rows(const struct s4_tile *t, int mr, bool bytes)
{
    const int32_t start = -S4_UNSIGNED * (bytes ? XC_S4_BYTES_ZERO : XC_S4_ZERO);
    const uint8_t *w = t->w;

#define CLEAR(i) v16f c##i = v_zero();
    EACH_ROW(CLEAR)
#undef CLEAR
    for (int64_t g = 0; g < t->groups; g++) {
        const int64_t end = xc_min_i64((g + 1) * t->group, t->K);
        const uint8_t *zero = t->zero ? t->zero + 16 * g : NULL;
        int64_t k = g * t->group;

#define START(i) v16i a##i = mr > i ? i_set1(start * t->sum[i * t->groups + g]) : i_zero();
        EACH_ROW(START)
#undef START
#define STEP(i)                                    \
    if (mr > i) {                                  \
        int32_t four;                              \
        memcpy(&four, t->x + i * t->ldx + at, 4);  \
        a##i = s4_dot(a##i, u, four);              \
    }
        for (; k < end; k += 8, w += bytes ? 128 : 64) {
            {
                const v16i u = bytes ? s4_bytes(w) : s4_low(w);
                const int64_t at = k;

                EACH_ROW(STEP)
            }
            if (k + 4 < end) { /* else x may end here */
                const v16i u = bytes ? s4_bytes(w + 64) : s4_high(w);
                const int64_t at = k + 4;

                EACH_ROW(STEP)
            }
        }
#undef STEP
        const v16f scale = zero ? v_mul(v_from_f16(t->scale + 16 * g), v_set1(t->unit)) : v_from_f16(t->scale + 16 * g);

#define FINISH(i)                                                                        \
    if (mr > i) {                                                                        \
        if (zero) a##i = s4_with_zero(a##i, zero, t->sum[i * t->groups + g], bytes);      \
        c##i = v_fma(v_from_i(a##i), scale, c##i);                                       \
    }
        EACH_ROW(FINISH)
#undef FINISH
    }
#define STORE(i) if (mr > i) v_store(t->c + 16 * i, c##i);
    EACH_ROW(STORE)
#undef STORE
}

static __attribute__((noinline)) void s4_run_tile(const struct s4_tile *t, int64_t rows)
{
#define CASE(i) case i + 1: if (i + 1 <= S4_ROWS) s4_tile_rows(t, i + 1, false); break;
    switch (rows) { EACH_ROW(CASE) default: break; }
#undef CASE
}

/* All rows of a tile, or each alone: bytes are for size, and so is the library. */
static __attribute__((noinline)) void s4_run_bytes(const struct s4_tile *t, int64_t rows)
{
    struct s4_tile row = *t;

    if (rows == S4_ROWS) {
        s4_tile_rows(t, S4_ROWS, true);
        return;
    }
    for (; rows > 0; rows--, row.c += 16, row.x += row.ldx, row.sum += row.groups) s4_tile_rows(&row, 1, true);
}

static void lanes_gemm_s4(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K8 = xc_round_up(g->K, 8), groups = xc_div_up(g->K, g->group), most = xc_max_i64(1, xc_min_i64(S4_BLOCK, S4_SUMS / groups));
    _Alignas(64) float c[S4_ROWS * 16];
    int32_t sum[S4_SUMS];

    for (int64_t r0 = row0; r0 < row1; r0 += most) {
        const int64_t rows = xc_min_i64(most, row1 - r0);

        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < groups; i++) {
                const int8_t *x = g->x + (r0 + r) * g->ldx;
                int32_t s = 0;

                for (int64_t k = i * g->group; k < xc_min_i64((i + 1) * g->group, g->K); k++) s += x[k];
                sum[r * groups + i] = s;
            }
        for (int64_t c0 = col0; c0 < col1; c0 += 16) {
            const int64_t n = xc_min_i64(16, col1 - c0), at = c0 / 16 * groups * 16;

            for (int64_t r = 0; r < rows; r += S4_ROWS) {
                const int64_t mr = xc_min_i64(S4_ROWS, rows - r);
                const struct s4_tile t = {.c = c, .x = g->x + (r0 + r) * g->ldx, .ldx = g->ldx, .sum = sum + r * groups, .groups = groups, .w = g->w + (g->bytes ? c0 : c0 / 2) * K8,
                                          .scale = g->scale + at, .zero = g->zero ? g->zero + at : NULL, .unit = g->unit, .K = g->K, .group = g->group};

                if (g->bytes) s4_run_bytes(&t, mr);
                else s4_run_tile(&t, mr);
                for (int64_t i = 0; i < mr; i++) {
                    ep_store_s4(&g->ep, g->w_sum, v_load(c + 16 * i), r0 + r + i, c0, n);
                    ep_finish(&g->ep, r0 + r + i, c0, n);
                }
            }
        }
    }
}

#undef EACH_ROW
#endif
