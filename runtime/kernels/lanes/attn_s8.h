/* attn_s8: int8 attention (scalar/attention.c is the meaning) around three functions that <isa>/ supplies before the include:
 *   s8_prepare(xp, init, q, ldq, rows, D4)             queries as this ISA's products want them, 2 * D4 bytes a row, and what to add
 *   s8_scores(s, xp, init, q_scale, k, k_scale, D4, panels, rows)   s (rows, 128) = q k^T for `panels` groups of 16 keys; with S8_FUSED they are
 *                                                      floats and have their scales
 *   s8_values(acc, o, D16, p, p_sum, v, v_scale, keep, add, quads, rows)
 *                                                      acc (rows, D16) = acc * keep + p v * (v_scale * add) over 4 * quads keys; p (rows, 128) in [0, 127];
 *                                                      without S8_FUSED o = p v only: s8_values(o, D16, p, p_sum, v, quads, rows)
 * Groups of S8_GROUP rows; S8_TOGETHER rows go over the keys together, so that a block is fetched once for all of their groups. */
#ifndef XC_RUNTIME_KERNELS_LANES_ATTN_S8_H
#define XC_RUNTIME_KERNELS_LANES_ATTN_S8_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/math.h"

enum { S8_TOGETHER = 4 * S8_GROUP };
#ifdef S8_FUSED
#define S8_PARTS 4 /* pieces of one block's scores that take turns with pieces of another's probabilities, so that both kinds of units are busy */
#else
#define S8_PARTS 1
#endif

struct s8_rows {
    float max[S8_TOGETHER + 16], sum[S8_TOGETHER + 16]; /* loaded by sixteens from any row on */
    float q_scale[S8_TOGETHER];                         /* to units of log2 */
    int32_t init[S8_TOGETHER];
    int64_t rows;
};

struct s8_memory {
    int32_t *s, *o; /* two of (S8_GROUP, XC_KEY_BLOCK); (S8_GROUP, D16) */
    float *acc;     /* (S8_TOGETHER, D16) */
    uint8_t *p;     /* (S8_GROUP, XC_KEY_BLOCK) */
    int8_t *xp;     /* (S8_TOGETHER, 2 * D4) */
    int64_t D4, D16;
};

/* A group and a block of keys: where its scores lie, what its rows see of it, and their maxima there. */
struct s8_block {
    int64_t r0, rows, keys, count[S8_GROUP];
    int32_t *s;
    const int8_t *k, *v;
    const float *k_scale, *v_scale;
    float max[16], keep[16], add[16];
    int32_t p_sum[16];
    bool topped; /* top is known with the scores */
    v16f top[S8_GROUP]; /* each row's greatest scores, by lane */
};

static struct s8_memory s8_memory_of(void *scratch, int64_t D)
{
    struct s8_memory m = { .s = scratch, .D4 = xc_round_up(D, 4), .D16 = xc_round_up(D, 16) };

    m.o = m.s + 2 * S8_GROUP * XC_KEY_BLOCK;
    m.acc = (float *)(void *)(m.o + S8_GROUP * m.D16);
    m.p = (uint8_t *)(m.acc + S8_TOGETHER * m.D16);
    m.xp = (int8_t *)m.p + S8_GROUP * XC_KEY_BLOCK;
    return m;
}

static void s8_start(struct s8_rows *at, const struct s8_memory *m, const int8_t *q, int64_t ldq, const float *q_scale, float scale, int64_t rows)
{
    at->rows = rows;
    for (int64_t r = 0; r < rows; r++) {
        at->max[r] = XC_SCORE_FLOOR;
        at->sum[r] = 0.0f;
        at->q_scale[r] = q_scale[r] * scale * XC_LOG2E;
    }
    memset(m->acc, 0, (size_t)(rows * m->D16) * sizeof *m->acc);
    s8_prepare(m->xp, at->init, q, ldq, rows, m->D4);
}

/* Keys j to j + 15 of a block, in units of log2. */
LANES_INLINE v16f s8_scaled(const int32_t *s, float q_scale, const float *k_scale, int64_t j)
{
#ifdef S8_FUSED
    (void)q_scale, (void)k_scale;
    return v_load((const float *)(const void *)s + j);
#else
    return v_mul(v_mul(v_from_i(i_load(s + j)), v_set1(q_scale)), v_load(k_scale + j));
#endif
}

/* What is not as s8_scaled finds it again is stored. */
LANES_INLINE void s8_keep(int32_t *s, v16f t, int64_t j, bool changed)
{
#ifndef S8_FUSED
    changed = true;
#endif
    if (changed) v_store((float *)(void *)s + j, t);
}

/* Scores to probabilities p (keys, zero beyond count); returns their sum, or a register that has it. */
LANES_INLINE v16i s8_probabilities(uint8_t *p, const int32_t *s, float max, int64_t count, int64_t keys)
{
    const float *f = (const float *)(const void *)s;
    const v16f max16 = v_set1(max);
    v16i sum = i_zero();
    int64_t j = 0;

#ifdef S8_FUSED
    for (; j + 64 <= count; j += 64) sum = s8_p7x64(p + j, sum, f + j, max16);
#endif
    for (; j < count; j += 16) {
        const v16i e = v_p7(v_sub(v_load(f + j), max16));

        sum = i_add(sum, e);
        i_store_s8((int8_t *)p + j, e);
    }
    if (j < keys) memset(p + j, 0, (size_t)(keys - j));
    return sum;
}

/* Of each row's register: its greatest number; max and p_sum have sixteen places. */
static void s8_maxima(float *max, const v16f *top, int64_t rows)
{
#ifdef S8_FUSED
    if (rows == S8_GROUP) {
        v_store(max, v_hmax8(top));
        return;
    }
#endif
    for (int64_t r = 0; r < 16; r++) max[r] = r < rows ? v_hmax(top[r]) : XC_SCORE_FLOOR;
}

static void s8_sums(int32_t *p_sum, const v16i *sum, int64_t rows)
{
#ifdef S8_FUSED
    if (rows == S8_GROUP) {
        i_store(p_sum, i_sum8(sum));
        return;
    }
#endif
    for (int64_t r = 0; r < 16; r++) p_sum[r] = r < rows ? i_sum(sum[r]) : 0;
}

/* A group's rows all see all of its keys, a block or half of one. */
LANES_INLINE bool s8_whole(const struct s8_block *b)
{
    bool whole = b->rows == S8_GROUP && (b->keys == XC_KEY_BLOCK || b->keys == XC_KEY_BLOCK / 2);

    for (int64_t r = 0; whole && r < S8_GROUP; r++) whole = b->count[r] == b->keys;
    return whole;
}

/* The scores of b, and meanwhile probabilities and values of the block before, whose maxima are known; either may be NULL. */
static void s8_next(const struct s8_memory *m, struct s8_rows *at, struct s8_block *before, struct s8_block *b)
{
    enum { PANELS = XC_KEY_BLOCK / 16 / S8_PARTS, ROWS = S8_GROUP / S8_PARTS };
    const int64_t rows = before ? before->rows : 0, quads = before ? xc_div_up(before->keys, 4) : 0, panels = b ? xc_div_up(b->keys, 16) : 0;
    v16i sum[S8_GROUP];
    int64_t part = 0;

#ifdef S8_TURNS
    if (b) b->topped = before && s8_whole(before) && b->rows == S8_GROUP && b->keys == before->keys && (m->D4 == 64 || m->D4 == 32);
    if (b && b->topped) {
        s8_turns((float *)(void *)b->s, b->top, m->xp + b->r0 * 2 * m->D4, at->init + b->r0, at->q_scale + b->r0, b->k, b->k_scale, m->p, sum,
                 (const float *)(const void *)before->s, before->max, b->keys, m->D4);
        part = S8_PARTS;
    }
#else
    if (b) b->topped = false;
#endif
    for (; part < S8_PARTS; part++) {
        const int64_t j = part * PANELS;

        if (j < panels)
            s8_scores(b->s + j * 16, m->xp + b->r0 * 2 * m->D4, at->init + b->r0, at->q_scale + b->r0, b->k + j * 16 * m->D4, b->k_scale + j * 16, m->D4, xc_min_i64(PANELS, panels - j),
                      b->rows);
        for (int64_t r = part * ROWS; r < xc_min_i64((part + 1) * ROWS, rows); r++)
            sum[r] = s8_probabilities(m->p + r * XC_KEY_BLOCK, before->s + r * XC_KEY_BLOCK, before->max[r], before->count[r], quads * 4);
    }
    if (!before) return;
    s8_sums(before->p_sum, sum, rows);

    const int64_t r0 = before->r0;
    const v16f old = v_load(at->max + r0), top = v_load(before->max), new_max = v_max(top, old);
    const v16f keep = v_exp2(v_sub(old, new_max)), add = v_exp2(v_sub(top, new_max));
    float *acc = m->acc + r0 * m->D16;

    v_store_n(at->sum + r0, v_fma(v_load(at->sum + r0), keep, v_mul(v_from_i(i_load(before->p_sum)), add)), rows);
    v_store_n(at->max + r0, new_max, rows);
    v_store(before->keep, keep);
    v_store(before->add, add);
#ifdef S8_FUSED
    s8_values(acc, m->o, m->D16, m->p, before->p_sum, before->v, before->v_scale, before->keep, before->add, quads, rows);
#else
    s8_values(m->o, m->D16, m->p, before->p_sum, before->v, quads, rows);
    for (int64_t r = 0; r < rows; r++, acc += m->D16)
        for (int64_t d = 0; d < m->D16; d += 16)
            v_store(acc + d, v_fma(v_load(acc + d), v_set1(before->keep[r]), v_mul(v_from_i(i_load(m->o + r * m->D16 + d)), v_mul(v_load(before->v_scale + d), v_set1(before->add[r])))));
#endif
}

/* All blocks are done: out (rows, D; ld_out apart). */
static void s8_finish(const struct s8_memory *m, const struct s8_rows *at, float *out, int64_t ld_out, int64_t D)
{
    for (int64_t r = 0; r < at->rows; r++, out += ld_out) {
        const float inv = at->sum[r] > 0.0f ? 1.0f / at->sum[r] : 0.0f;

        for (int64_t d = 0; d < D; d += 16) {
            const v16f y = v_mul(v_load(m->acc + r * m->D16 + d), v_set1(inv));

            if (D - d >= 16) v_store(out + d, y);
            else v_store_n(out + d, y, D - d);
        }
    }
}

/* ---- dense ---- */
/* The greatest scores of a row, query i, by lane; keys beyond count in the last sixteen become -inf. */
LANES_INLINE v16f dense_top(int32_t *s, const struct xc_attn_s8 *a, float q_scale, int64_t i, int64_t j0, int64_t count)
{
    const float *bias = a->bias ? a->bias + i * a->ld_bias + j0 : NULL;
    v16f top = v_set1(XC_SCORE_FLOOR);
    int64_t j = 0;

    for (; !bias && j + 16 <= count; j += 16) {
        const v16f t = s8_scaled(s, q_scale, a->k_scale + j0, j);

        top = v_max(t, top);
        s8_keep(s, t, j, false);
    }
    for (; j < count; j += 16) {
        const int64_t n = xc_min_i64(16, count - j);
        v16f t = s8_scaled(s, q_scale, a->k_scale + j0, j);

        if (bias) t = v_fma(n == 16 ? v_load(bias + j) : v_load_n(bias + j, n), v_set1(XC_LOG2E), t);
        if (n < 16) t = v_first(t, v_set1(-INFINITY), n);
        top = v_max(t, top);
        s8_keep(s, t, j, bias || n < 16);
    }
    return top;
}

static void lanes_attn_s8(const struct xc_attn_s8 *a, int64_t row0, int64_t row1)
{
    const struct s8_memory m = s8_memory_of(a->scratch, a->D);

    for (int64_t i0 = row0; i0 < row1; i0 += S8_TOGETHER) {
        const int64_t rows = xc_min_i64(S8_TOGETHER, row1 - i0);
        int64_t seen[S8_TOGETHER];
        struct s8_block two[2] = { { .s = m.s }, { .s = m.s + S8_GROUP * XC_KEY_BLOCK } }, *before = NULL;
        struct s8_rows at;

        for (int64_t r = 0; r < rows; r++) seen[r] = a->causal ? xc_max_i64(0, xc_min_i64(a->n_k, i0 + r + a->n_k - a->n_q + 1)) : a->n_k;
        s8_start(&at, &m, a->q + i0 * a->ldq, a->ldq, a->q_scale + i0, a->scale, rows);
        for (int64_t j0 = 0; j0 < seen[rows - 1]; j0 += XC_KEY_BLOCK)
            for (int64_t g = 0; g < rows; g += S8_GROUP) {
                const int64_t end = xc_min_i64(g + S8_GROUP, rows), block = j0 / XC_KEY_BLOCK;
                struct s8_block *b = before == &two[0] ? &two[1] : &two[0];

                b->r0 = g;
                while (b->r0 < end && seen[b->r0] <= j0) b->r0++; /* later rows see more */
                if (b->r0 == end) continue;
                b->rows = end - b->r0;
                b->keys = xc_min_i64(XC_KEY_BLOCK, seen[end - 1] - j0);
                b->k = a->k + j0 * m.D4;
                b->k_scale = a->k_scale + j0;
                b->v = a->v + block * m.D16 * XC_KEY_BLOCK;
                b->v_scale = a->v_scale + block * m.D16;
                s8_next(&m, &at, before, b);
                for (int64_t r = 0; r < b->rows; r++) {
                    b->count[r] = xc_min_i64(XC_KEY_BLOCK, seen[b->r0 + r] - j0);
                    if (!b->topped || a->bias || b->count[r] < b->keys) b->top[r] = dense_top(b->s + r * XC_KEY_BLOCK, a, at.q_scale[b->r0 + r], i0 + b->r0 + r, j0, b->count[r]);
                }
                s8_maxima(b->max, b->top, b->rows);
                before = b;
            }
        if (before) s8_next(&m, &at, before, NULL);
        s8_finish(&m, &at, a->out + i0 * a->ld_out, a->ld_out, a->D);
    }
}

#endif
