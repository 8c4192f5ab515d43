/* gemm_bf16: the tile and the GEMM (kernels.h, struct xc_gemm_bf16), and the packing of its operands. Included after <isa>/lanes.h with BF16_ROWS
 * (at most 8) and BF16_COLS (at most 3, in units of 16 outputs) defined. Where the ISA multiplies pairs itself it defines LANES_PAIRS, v16p, p_load,
 * p_set1 and p_fma before; otherwise a pair is two floats. */
#ifndef XC_RUNTIME_KERNELS_LANES_GEMM_BF16_H
#define XC_RUNTIME_KERNELS_LANES_GEMM_BF16_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/epilogue.h"

#ifndef LANES_PAIRS
typedef struct { v16f even, odd; } v16p;

LANES_INLINE v16p p_load(const uint32_t *p) { return (v16p){v_pair_even(p), v_pair_odd(p)}; }
LANES_INLINE v16p p_set1(const uint32_t *p)
{
    const uint32_t even = *p << 16, odd = *p & 0xffff0000u;
    float e, o;

    memcpy(&e, &even, sizeof e);
    memcpy(&o, &odd, sizeof o);
    return (v16p){v_set1(e), v_set1(o)};
}
LANES_INLINE v16f p_fma(v16p x, v16p w, v16f acc) { return v_fma(x.even, w.even, v_fma(x.odd, w.odd, acc)); }
#endif

#define EACH_BF16_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

/* c (mr, nv * 16) = x w over K2 pairs; x's rows are `row` pairs apart and its pairs `step`; w's column groups w_group pairs. c's rows are 48 apart. */
LANES_INLINE void bf16_tile(float *c, const uint32_t *x, int64_t row, int64_t step, const uint32_t *w, int64_t w_group, int64_t K2, int mr, int nv)
{
#define DECLARE(i) v16f a##i = v_zero(), b##i = v_zero(), c##i = v_zero();
#define STEP(i)                                                             \
    if (mr > i) {                                                           \
        const v16p s = p_set1(x + i * row);                                 \
        a##i = p_fma(s, wa, a##i);                                          \
        if (nv > 1) b##i = p_fma(s, wb, b##i);                              \
        if (nv > 2) c##i = p_fma(s, wc, c##i);                              \
    }
#define STORE(i)                                                            \
    if (mr > i) {                                                           \
        v_store(c + i * 48, a##i);                                          \
        if (nv > 1) v_store(c + i * 48 + 16, b##i);                         \
        if (nv > 2) v_store(c + i * 48 + 32, c##i);                         \
    }
    EACH_BF16_ROW(DECLARE)
    for (const uint32_t *const end = w + K2 * 16; w != end; w += 16, x += step) { /* no counter: addresses take all registers */
        const v16p wa = p_load(w), wb = nv > 1 ? p_load(w + w_group) : wa, wc = nv > 2 ? p_load(w + 2 * w_group) : wa;

        EACH_BF16_ROW(STEP)
        (void)wb, (void)wc;
    }
    EACH_BF16_ROW(STORE)
#undef DECLARE
#undef STEP
#undef STORE
}

LANES_INLINE void bf16_tile_rows(float *c, const uint32_t *x, int64_t row, int64_t step, const uint32_t *w, int64_t w_group, int64_t K2, int64_t mr, int nv)
{
#define CASE(i) case i + 1: if (i < BF16_ROWS) bf16_tile(c, x, row, step, w, w_group, K2, i + 1, nv); break;
    switch (mr) { EACH_BF16_ROW(CASE) default: break; }
#undef CASE
}

static __attribute__((noinline)) void bf16_panels(float *c, const uint32_t *x, int64_t row, int64_t step, const uint32_t *w, int64_t w_group, int64_t K2, int64_t mr, int nv)
{
    if (nv == 1) bf16_tile_rows(c, x, row, step, w, w_group, K2, mr, 1);
    if (nv == 2 && BF16_COLS > 1) bf16_tile_rows(c, x, row, step, w, w_group, K2, mr, 2);
    if (nv == 3 && BF16_COLS > 2) bf16_tile_rows(c, x, row, step, w, w_group, K2, mr, 3);
}

static void lanes_gemm_bf16(const struct xc_gemm_bf16 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K2 = xc_round_up(g->K, 2) / 2, row = g->x_panels ? 1 : g->ldx / 2, step = g->x_panels ? 16 : 1;
    const uint32_t *xs = (const uint32_t *)(const void *)g->x, *ws = (const uint32_t *)(const void *)g->w;

    for (int64_t c0 = col0; c0 < col1; c0 += BF16_COLS * 16) {
        const int nv = (int)xc_min_i64(BF16_COLS, xc_div_up(col1 - c0, 16));

        for (int64_t r0 = row0, mr; r0 < row1; r0 += mr) {
            const uint32_t *x = g->x_panels ? xs + r0 / 16 * 16 * K2 + r0 % 16 : xs + r0 * row;
            float tile[BF16_ROWS * 48];

            mr = xc_min_i64(BF16_ROWS, row1 - r0);
            if (g->x_panels) mr = xc_min_i64(mr, 16 - r0 % 16);
            for (int64_t i = 0; i < mr; i++) /* they are wanted when the tile is done */
                for (int64_t v = 0; v < nv; v++) __builtin_prefetch(g->ep.out + (r0 + i) * g->ep.ld_out + c0 + v * 16, 1);
            bf16_panels(tile, x, row, step, ws + c0 * K2, 16 * K2, K2, mr, nv);
            for (int64_t i = 0; i < mr; i++) {
                for (int64_t v = 0; v < nv; v++)
                    ep_store_f32(&g->ep, v_load(tile + i * 48 + v * 16), r0 + i, c0 + v * 16, xc_min_i64(16, col1 - c0 - v * 16));
                ep_finish(&g->ep, r0 + i, c0, xc_min_i64(nv * 16, col1 - c0));
            }
        }
    }
}

#endif
