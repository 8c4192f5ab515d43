/* attn_tile: the products of attn_s8 and attn_runs_s8 with AVX-512 VNNI, in tiles of eight, four or one row by two panels of sixteen, which leave as
 * floats: scores with their scales, values added to what earlier blocks gave. Included after lanes/gemm_s8.h.
 *
 * Keys become the unsigned operand by xor, as weights do; probabilities are unsigned as they are, so that values need neither xor nor offset. */
#ifndef XC_RUNTIME_KERNELS_AVX512VNNI_ATTN_TILE_H
#define XC_RUNTIME_KERNELS_AVX512VNNI_ATTN_TILE_H

#include "runtime/kernels/kernels.h"

/* As in gemm_s4.c: what gcc 12 needs to leave sums where they are. */
#ifdef __AVX512VNNI__
typedef int32_t __attribute__((may_alias, aligned(1))) tile_quad;
#define SCORE_DOT(acc, u, at) __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(u), "m"(*(const tile_quad *)(const void *)(at)));
#define VALUE_DOT(acc, p, v) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(p), "v"(v));
#else /* emulated */
#define SCORE_DOT(acc, u, at)                             \
    {                                                     \
        int32_t four;                                     \
        memcpy(&four, at, 4);                             \
        acc = s8_dot(acc, u, four);                       \
    }
#define VALUE_DOT(acc, p, v) acc = _mm512_dpbusd_epi32(acc, p, v);
#endif

#define TILE_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define TILE_START(i) v16i a##i = init && mr > i ? i_set1(init[i]) : i_zero(), b##i = a##i;

/* f (mr, nv * 16; rows XC_KEY_BLOCK apart) = q k^T, times q_scale (mr) and k_scale (nv * 16). xp: rows 2 * D4 bytes apart. */
LANES_INLINE void scores_tile(float *f, const int8_t *xp, const int32_t *init, const float *q_scale, const int8_t *k, const float *k_scale, int64_t D4, int mr, int nv)
{
    TILE_ROWS(TILE_START)
    for (int64_t d = 0; d < D4; d += 4, k += 64) {
        const v16i u = s8_weight(k), w = nv > 1 ? s8_weight(k + 16 * D4) : i_zero();

#define STEP(i)                                                 \
    if (mr > i) {                                               \
        SCORE_DOT(a##i, u, xp + i * 2 * D4 + d)                 \
        if (nv > 1) SCORE_DOT(b##i, w, xp + i * 2 * D4 + d)     \
    }
        TILE_ROWS(STEP)
#undef STEP
        (void)w;
    }
    const v16f s = v_load(k_scale), t = nv > 1 ? v_load(k_scale + 16) : v_zero();

#define STORE(i)                                                                                                        \
    if (mr > i) {                                                                                                       \
        v_store(f + i * XC_KEY_BLOCK, v_mul(v_mul(v_from_i(a##i), v_set1(q_scale[i])), s));                             \
        if (nv > 1) v_store(f + i * XC_KEY_BLOCK + 16, v_mul(v_mul(v_from_i(b##i), v_set1(q_scale[i])), t));            \
    }
    TILE_ROWS(STORE)
#undef STORE
    (void)t;
}

/* acc (mr, nv * 16; rows ld apart) = acc * keep + p v * (v_scale * add), keep and add by row; p: rows XC_KEY_BLOCK apart, 4 * quads keys. */
LANES_INLINE void values_tile(float *acc, int64_t ld, const uint8_t *p, const int8_t *v, const float *v_scale, const float *keep, const float *add, int64_t quads, int mr, int nv)
{
    const int32_t *init = NULL;

    TILE_ROWS(TILE_START)
    for (int64_t k = 0; k < quads; k++, p += 4, v += 64) {
        const v16i x = _mm512_loadu_si512(v), y = nv > 1 ? _mm512_loadu_si512(v + 16 * XC_KEY_BLOCK) : i_zero();

#define STEP(i)                                                 \
    if (mr > i) {                                               \
        int32_t four;                                           \
        memcpy(&four, p + i * XC_KEY_BLOCK, 4);                 \
        const v16i of_p = i_set1(four);                         \
                                                                \
        VALUE_DOT(a##i, of_p, x)                                \
        if (nv > 1) VALUE_DOT(b##i, of_p, y)                    \
    }
        TILE_ROWS(STEP)
#undef STEP
        (void)y;
    }
    const v16f s = v_load(v_scale), t = nv > 1 ? v_load(v_scale + 16) : v_zero();

#define ADD(i)                                                                                                                              \
    if (mr > i) {                                                                                                                           \
        float *y = acc + i * ld;                                                                                                            \
                                                                                                                                            \
        v_store(y, v_fma(v_load(y), v_set1(keep[i]), v_mul(v_from_i(a##i), v_mul(s, v_set1(add[i])))));                                     \
        if (nv > 1) v_store(y + 16, v_fma(v_load(y + 16), v_set1(keep[i]), v_mul(v_from_i(b##i), v_mul(t, v_set1(add[i])))));               \
    }
    TILE_ROWS(ADD)
#undef ADD
    (void)t;
}

#define ROWS(mr)                                                                                                                                                        \
    static __attribute__((noinline)) void scores_##mr(float *f, const int8_t *xp, const int32_t *init, const float *q_scale, const int8_t *k, const float *k_scale, int64_t D4, \
                                                      int64_t panels)                                                                                                   \
    {                                                                                                                                                                   \
        for (; panels > 1; panels -= 2, f += 32, k += 32 * D4, k_scale += 32) scores_tile(f, xp, init, q_scale, k, k_scale, D4, mr, 2);                                 \
        if (panels) scores_tile(f, xp, init, q_scale, k, k_scale, D4, mr, 1);                                                                                           \
    }                                                                                                                                                                   \
    static __attribute__((noinline)) void values_##mr(float *acc, int64_t D16, const uint8_t *p, const int8_t *v, const float *v_scale, const float *keep, const float *add,    \
                                                      int64_t quads)                                                                                                    \
    {                                                                                                                                                                   \
        int64_t d = 0;                                                                                                                                                  \
                                                                                                                                                                        \
        for (; d + 16 < D16; d += 32) values_tile(acc + d, D16, p, v + d * XC_KEY_BLOCK, v_scale + d, keep, add, quads, mr, 2);                                         \
        if (d < D16) values_tile(acc + d, D16, p, v + d * XC_KEY_BLOCK, v_scale + d, keep, add, quads, mr, 1);                                                          \
    }
ROWS(1) ROWS(4) ROWS(8)
#undef ROWS

/* v_p7 of 64 scores less their block's greatest, stored as bytes; returns sum and theirs. Step by step for four registers: one after the other,
 * the long chains fill the scheduler and leave half of the units idle. */
LANES_INLINE v16i s8_p7x64(uint8_t *p, v16i sum, const float *f, v16f max)
{
#ifdef __AVX512VNNI__
#define IN_STEP(x) __asm__("" : "+v"(x##0), "+v"(x##1), "+v"(x##2), "+v"(x##3));
#else
#define IN_STEP(x)
#endif
#define FOUR(X) X(0) X(1) X(2) X(3)
#define LESS(i) v16f y##i = v_sub(v_load(f + 16 * i), max);
#define FLOOR(i) y##i = v_max(y##i, v_set1(XC_P7_MIN));
#define MAGIC(i) v16f m##i = v_add(y##i, v_set1(XC_ROUND_MAGIC));
#define WHOLE(i) v16f w##i = v_sub(m##i, v_set1(XC_ROUND_MAGIC));
#define PART_OF(i) y##i = v_sub(y##i, w##i);
#define THIRD(i) v16f e##i = v_fma(v_set1(XC_P7_C3), y##i, v_set1(XC_P7_C2));
#define SECOND(i) e##i = v_fma(e##i, y##i, v_set1(XC_P7_C1));
#define FIRST(i) e##i = v_fma(e##i, y##i, v_set1(XC_P7_C0));
#define SCALE(i) e##i = v_scale2(e##i, m##i);
    FOUR(LESS) IN_STEP(y) FOUR(FLOOR) IN_STEP(y) FOUR(MAGIC) IN_STEP(m) FOUR(WHOLE) IN_STEP(w) FOUR(PART_OF) IN_STEP(y)
    FOUR(THIRD) IN_STEP(e) FOUR(SECOND) IN_STEP(e) FOUR(FIRST) IN_STEP(e) FOUR(SCALE) IN_STEP(e)
#undef IN_STEP
#undef FOUR
#undef LESS
#undef FLOOR
#undef MAGIC
#undef WHOLE
#undef PART_OF
#undef THIRD
#undef SECOND
#undef FIRST
#undef SCALE
    return i_store_u8x64(p, sum, i_round(e0), i_round(e1), i_round(e2), i_round(e3));
}

/* v_p7 with constants that stay in memory: sums have the registers. */
static const float turn_p7[6] = { XC_P7_MIN, XC_ROUND_MAGIC, XC_P7_C3, XC_P7_C2, XC_P7_C1, XC_P7_C0 };
LANES_INLINE v16i s8_turn_p7(const float *x, v16f max)
{
    const float *c = turn_p7;

    __asm__ volatile("" : "+r"(c));
    const v16f y = v_max(v_sub(v_load(x), max), v_set1(c[0])), magic = v_add(y, v_set1(c[1]));
    const v16f f = v_sub(y, v_sub(magic, v_set1(c[1])));
    v16f p = v_fma(v_set1(c[2]), f, v_set1(c[3]));

    p = v_fma(p, f, v_set1(c[4]));
    p = v_fma(p, f, v_set1(c[5]));
    return i_round(v_scale2(p, magic));
}

/* The scores f of eight rows and a block of `keys` keys, 64 or 128, and meanwhile the probabilities p of another like it, whose scores are g and greatest ones max. Products
 * and the additions of exponentials run on different units: sixteen products take turns with one register of probabilities. D4 is 64, or 32: every other turn.
 * top: the greatest scores of each row, by lane; sum: of probabilities, likewise. */
static __attribute__((noinline)) void s8_turns(float *f, v16f *top, const int8_t *xp, const int32_t *init, const float *q_scale, const int8_t *k, const float *k_scale, uint8_t *p, v16i *sum,
                                               const float *g, const float *max, int64_t keys, int64_t D4)
{
    enum { mr = 8 };
    const int8_t *const xp0 = xp;
    const int64_t each = keys / 64; /* sixty-fours of a row */
    int64_t done = 0;

    for (int64_t pair = 0; pair < keys / 32; pair++, f += 32, k_scale += 32, k += 16 * D4) {
        TILE_ROWS(TILE_START)
        xp = xp0;
        for (int quarter = 0; quarter < 4; quarter++, done++) {
            const int64_t row = done / each, at = row * XC_KEY_BLOCK + done % each * 64;
            const v16f less = v_set1(max[row]);

#define STEP(i) SCORE_DOT(a##i, u, xp + i * 2 * D4) SCORE_DOT(b##i, w, xp + i * 2 * D4)
#define PRODUCTS                                                               \
    {                                                                          \
        const v16i u = s8_weight(k), w = s8_weight(k + 16 * D4);               \
                                                                               \
        TILE_ROWS(STEP)                                                        \
        k += 64;                                                               \
        xp += 4;                                                               \
    }
            PRODUCTS
            const v16i e0 = s8_turn_p7(g + at, less);
            if (D4 == 64) PRODUCTS
            const v16i e1 = s8_turn_p7(g + at + 16, less);
            PRODUCTS
            const v16i e2 = s8_turn_p7(g + at + 32, less);
            if (D4 == 64) PRODUCTS
            const v16i e3 = s8_turn_p7(g + at + 48, less);

            sum[row] = i_store_u8x64(p + at, done % each ? sum[row] : i_zero(), e0, e1, e2, e3);
#undef STEP
#undef PRODUCTS
        }
        const v16f s = v_load(k_scale), t = v_load(k_scale + 16);

#define STORE(i)                                                                                                                                \
    {                                                                                                                                           \
        const v16f x = v_mul(v_mul(v_from_i(a##i), v_set1(q_scale[i])), s), y = v_mul(v_mul(v_from_i(b##i), v_set1(q_scale[i])), t);               \
                                                                                                                                                \
        v_store(f + i * XC_KEY_BLOCK, x);                                                                                                       \
        v_store(f + i * XC_KEY_BLOCK + 16, y);                                                                                                  \
        top[i] = v_max(y, v_max(x, pair ? top[i] : v_set1(XC_SCORE_FLOOR)));                                                                          \
    }
        TILE_ROWS(STORE)
#undef STORE
    }
}
#undef TILE_START
#undef TILE_ROWS

#define S8_TURNS

/* As many rows as are left at most: those behind a group's last belong to others. */
static void s8_scores(int32_t *s, const int8_t *xp, const int32_t *init, const float *q_scale, const int8_t *k, const float *k_scale, int64_t D4, int64_t panels, int64_t rows)
{
    for (int64_t r = 0, mr; r < rows; r += mr) {
        mr = rows - r >= 8 ? 8 : rows - r >= 4 ? 4 : 1;
        (mr == 8 ? scores_8 : mr == 4 ? scores_4 : scores_1)((float *)(void *)(s + r * XC_KEY_BLOCK), xp + r * 2 * D4, init + r, q_scale + r, k, k_scale, D4, panels);
    }
}

static void s8_values(float *acc, int32_t *o, int64_t D16, const uint8_t *p, const int32_t *p_sum, const int8_t *v, const float *v_scale, const float *keep, const float *add,
                      int64_t quads, int64_t rows)
{
    (void)o, (void)p_sum;
    for (int64_t r = 0, mr; r < rows; r += mr) {
        mr = rows - r >= 8 ? 8 : rows - r >= 4 ? 4 : 1;
        (mr == 8 ? values_8 : mr == 4 ? values_4 : values_1)(acc + r * D16, D16, p + r * XC_KEY_BLOCK, v, v_scale, keep + r, add + r, quads);
    }
}

#endif
