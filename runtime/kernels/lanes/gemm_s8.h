/* gemm_s8: int8 GEMM and the integer parts of attention for ISAs with a four-byte dot product. Included after <isa>/lanes.h with
 *   S8_ROWS (at most 8), S8_COLS (at most 3, in units of 16 outputs)
 *   s8_weight(p)          sixteen outputs x four inputs, made ready as the weight operand of s8_dot
 *   s8_dot(acc, w, x)     acc + w . x, x four signed bytes repeated
 *   S8_OFFSET             what s8_weight added to each weight: accumulators start from -S8_OFFSET * sum of x */
#ifndef XC_RUNTIME_KERNELS_LANES_GEMM_S8_H
#define XC_RUNTIME_KERNELS_LANES_GEMM_S8_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/epilogue.h"

#define S8_GROUP 8     /* query rows of attention */
#define S8_BLOCK 32    /* rows whose accumulators wait on the stack between blocks of inputs */
#define K_WHOLE 768    /* inputs up to which a weight group is used whole; beyond, in blocks of K_PART, which stay in L1 */
#define K_PART 512

#define EACH_ROW(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

/* c (mr, nv * 16; rows ld_c apart) = start + x w over 4 * quads inputs; start is init (mr) when not NULL, else c itself. Column group v of
 * w is w_group bytes on; what is read next lies `ahead` bytes on and is fetched meanwhile. Accumulators are named: gcc spills arrays. */
LANES_INLINE void dot_tile(int32_t *c, int64_t ld_c, const int32_t *init, const int8_t *x, int64_t ldx, const int8_t *w, int64_t w_group,
                           int64_t ahead, int64_t quads, int mr, int nv)
{
#define DECLARE(i) v16i a##i = i_zero(), b##i = i_zero(), c##i = i_zero();
#define START(i)                                                                              \
    if (mr > i) {                                                                             \
        a##i = init ? i_set1(init[i]) : i_load(c + i * ld_c);                                 \
        if (nv > 1) b##i = init ? a##i : i_load(c + i * ld_c + 16);                           \
        if (nv > 2) c##i = init ? a##i : i_load(c + i * ld_c + 32);                           \
    }
#define STEP(i)                                                                               \
    if (mr > i) {                                                                             \
        int32_t four;                                                                         \
        memcpy(&four, x + i * ldx, 4);                                                        \
        a##i = s8_dot(a##i, wa, four);                       \
        if (nv > 1) b##i = s8_dot(b##i, wb, four);           \
        if (nv > 2) c##i = s8_dot(c##i, wc, four);           \
    }
#define STORE(i)                                                                              \
    if (mr > i) {                                                                             \
        i_store(c + i * ld_c, a##i);                                                          \
        if (nv > 1) i_store(c + i * ld_c + 16, b##i);                                         \
        if (nv > 2) i_store(c + i * ld_c + 32, c##i);                                         \
    }
    EACH_ROW(DECLARE)
    EACH_ROW(START)
    for (int64_t k = 0; k < quads; k++, w += 64, x += 4) {
        const v16i wa = s8_weight(w), wb = nv > 1 ? s8_weight(w + w_group) : i_zero(), wc = nv > 2 ? s8_weight(w + 2 * w_group) : i_zero();

        for (int v = 0; v < nv; v++) __builtin_prefetch(w + v * w_group + ahead, 0, 2);
        EACH_ROW(STEP)
        (void)wb, (void)wc;
    }
    EACH_ROW(STORE)
#undef DECLARE
#undef START
#undef STEP
#undef STORE
}

/* All rows of a column group: full tiles, then one of what is left. */
LANES_INLINE void dot_rows_as(int32_t *c, int64_t ld_c, const int32_t *init, const int8_t *x, int64_t ldx, const int8_t *w, int64_t w_group,
                              int64_t ahead, int64_t quads, int64_t rows, int nv)
{
    for (; rows >= S8_ROWS; rows -= S8_ROWS, c += S8_ROWS * ld_c, x += S8_ROWS * ldx, init = init ? init + S8_ROWS : NULL)
        dot_tile(c, ld_c, init, x, ldx, w, w_group, ahead, quads, S8_ROWS, nv);
#define CASE(i) case i + 1: if (i + 1 < S8_ROWS) dot_tile(c, ld_c, init, x, ldx, w, w_group, ahead, quads, i + 1, nv); break;
    switch (rows) { EACH_ROW(CASE) default: break; }
#undef CASE
}

static __attribute__((noinline)) void dot_rows(int32_t *c, int64_t ld_c, const int32_t *init, const int8_t *x, int64_t ldx, const int8_t *w,
                                               int64_t w_group, int64_t ahead, int64_t quads, int64_t rows, int nv)
{
    if (nv == 1) dot_rows_as(c, ld_c, init, x, ldx, w, w_group, ahead, quads, rows, 1);
    if (nv == 2 && S8_COLS > 1) dot_rows_as(c, ld_c, init, x, ldx, w, w_group, ahead, quads, rows, 2);
    if (nv == 3 && S8_COLS > 2) dot_rows_as(c, ld_c, init, x, ldx, w, w_group, ahead, quads, rows, 3);
}

static void lanes_gemm_s8(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    enum { LD = S8_COLS * 16 };
    const int64_t K4 = xc_round_up(g->K, 4), part = K4 <= K_WHOLE ? K4 : K_PART;
    _Alignas(64) int32_t c[S8_BLOCK * LD];
    int32_t init[S8_BLOCK];

    for (int64_t r0 = row0; r0 < row1; r0 += S8_BLOCK) {
        const int64_t rows = xc_min_i64(S8_BLOCK, row1 - r0);

        for (int64_t r = 0; r < rows; r++) init[r] = -S8_OFFSET * g->x_sum[r0 + r];
        for (int64_t c0 = col0; c0 < col1; c0 += LD) {
            const int nv = (int)xc_min_i64(S8_COLS, xc_div_up(col1 - c0, 16));

            for (int64_t k0 = 0; k0 < K4; k0 += part) {
                const int64_t next = k0 + part < K4 ? k0 * 16 + part * 16 : LD * K4; /* the next part of these columns, or the first of the next ones */

                dot_rows(c, LD, k0 == 0 ? init : NULL, g->x + r0 * g->ldx + k0, g->ldx, g->w + c0 * K4 + k0 * 16, 16 * K4, next - k0 * 16,
                         xc_min_i64(part, K4 - k0) / 4, rows, nv);
            }
            if (ep_tile_s8(&g->ep, c, LD, r0, rows, c0, xc_min_i64(nv * 16, col1 - c0))) continue;
            for (int64_t r = 0; r < rows; r++) {
                for (int64_t v = 0; v < nv; v++)
                    ep_store_s8(&g->ep, i_load(c + r * LD + v * 16), r0 + r, c0 + v * 16, xc_min_i64(16, col1 - c0 - v * 16));
                ep_finish(&g->ep, r0 + r, c0, xc_min_i64(nv * 16, col1 - c0));
            }
        }
    }
}

static void s8_prepare(int8_t *xp, int32_t *init, const int8_t *q, int64_t ldq, int64_t rows, int64_t D4)
{
    for (int64_t r = 0; r < rows; r++) {
        int32_t sum = 0;

        memcpy(xp + r * 2 * D4, q + r * ldq, (size_t)D4);
        for (int64_t d = 0; d < D4; d++) sum += q[r * ldq + d];
        init[r] = -S8_OFFSET * sum;
    }
}

#ifndef S8_FUSED
static void s8_scores(int32_t *s, const int8_t *xp, const int32_t *init, const float *q_scale, const int8_t *k, const float *k_scale, int64_t D4, int64_t panels, int64_t rows)
{
    (void)q_scale, (void)k_scale;
    for (int64_t j = 0; j < panels; j += S8_COLS)
        dot_rows(s + j * 16, XC_KEY_BLOCK, init, xp, 2 * D4, k + j * 16 * D4, 16 * D4, 0, D4 / 4, rows, (int)xc_min_i64(S8_COLS, panels - j));
}

/* Probabilities are at most 127, so they are signed bytes as well, and p_sum is their sum: the same product. */
static void s8_values(int32_t *o, int64_t D16, const uint8_t *p, const int32_t *p_sum, const int8_t *v, int64_t quads, int64_t rows)
{
    int32_t init[S8_GROUP];

    for (int64_t r = 0; r < rows; r++) init[r] = -S8_OFFSET * p_sum[r];
    for (int64_t d = 0; d < D16; d += S8_COLS * 16)
        dot_rows(o + d, D16, init, (const int8_t *)p, XC_KEY_BLOCK, v + d * XC_KEY_BLOCK, 16 * XC_KEY_BLOCK, 0, quads, rows,
                 (int)xc_min_i64(S8_COLS, (D16 - d) / 16));
}
#endif

#endif
