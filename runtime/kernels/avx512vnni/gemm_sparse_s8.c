/* gemm_nm_s8 and gemm_block_s8 with AVX-512 VNNI.
 *
 * The weight is the signed operand of vpdpbusd and x, with 128 added, the unsigned one: 128 times the sum of an output's weights comes off its sums.
 *
 * N:M. A dword holds four slots of an output: vpbroadcastq brings a row's eight inputs, vpshufb takes from them what each slot asks for, vpdpbusd
 * multiplies: eight inputs of 16 outputs, where dense needs two vpdpbusd. On Zen 4 the three take 1.33 cycles (a broadcast of 16 bytes, x and -x as
 * avx2/ has them, would cost a shuffle of its own: 2.0). So signs go to the weight, once for the 24 rows of a tile, and early: what the next group
 * needs is made ready among the products of this one (5 %). 1.48 cycles in all, measured.
 *
 * Blocks. 28 rows x 16 outputs; a block is one load and 28 times vpbroadcastd and vpdpbusd: 1.07 cycles each. */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"
#include "runtime/kernels/avx512vnni/tile.h"
#include "runtime/kernels/lanes/epilogue.h"

#define NM_ROWS 24

/* A tile of rows on its way through the columns. */
struct tile {
    const struct xc_gemm_s8 *g;
    int64_t r0, rows, c0, n;                 /* rows, columns */
    bool first;                              /* part of the inputs: else sums go on from c */
    v16i offset;                             /* of these columns */
    _Alignas(64) int32_t c[TILE_ROWS * 16]; /* sums, offsets in them */
    _Alignas(64) uint8_t x[TILE_ROWS * ROW_STRIDE];
};

static void next_columns(struct tile *t, int64_t col1)
{
    t->n = xc_min_i64(16, col1 - t->c0);
    t->offset = i_zero();
    fetch_outputs(&t->g->ep, t->r0, t->rows, t->c0);
}

static void copy_part(struct tile *t, int64_t k0, int64_t n)
{
    copy_rows(t->x, t->g->x + t->r0 * t->g->ldx + k0, t->g->ldx, t->rows, n, -128);
}

void xc_finish_rows__avx512vnni(const struct xc_epilogue *ep, const int32_t *c, const int32_t *offset, int64_t r0, int64_t rows, int64_t c0, int64_t n)
{
    const int64_t r1 = r0 + rows;
    const v16i off = i_load(offset);

    if (n == 16 && !ep->row_mid && !ep->residual) { /* what ep_store_s8 does, its questions asked once */
        const v16f scale = v_load(ep->col_scale + c0), bias = ep->bias ? v_load(ep->bias + c0) : v_zero();

        for (int64_t r = r0; r < r1; r++, c += 16)
            v_store(ep->out + r * ep->ld_out + c0, v_fma(v_mul(v_from_i(_mm512_sub_epi32(i_load(c), off)), v_set1(ep->row_scale[r])), scale, bias));
    } else {
        for (int64_t r = r0; r < r1; r++, c += 16) ep_store_s8(ep, _mm512_sub_epi32(i_load(c), off), r, c0, n);
    }
    if (ep->act != XC_ACT_NONE)
        for (int64_t r = r0; r < r1; r++) ep_finish(ep, r, c0, n);
}

static void finish_tile(const struct tile *t)
{
    _Alignas(64) int32_t offset[16];

    i_store(offset, t->offset);
    xc_finish_rows__avx512vnni(&t->g->ep, t->c, offset, t->r0, t->rows, t->c0, t->n);
}

/* Chain b is for every other step of FEW rows. */
#define DECLARE(i) v16i a##i = mr > i && !t->first ? i_load(t->c + 16 * i) : i_zero(), b##i = i_zero();
#define STORE(i) if (mr > i) i_store(t->c + 16 * i, mr <= FEW ? i_add(a##i, b##i) : a##i);
#define OFFSET(sum, weight) sum = tile_dot(sum, _mm512_set1_epi8(-128), weight);
#define OFFSET_ODD(weight) if (mr <= FEW) OFFSET(offset_odd, weight) else OFFSET(offset, weight)

/* ---- N:M ---- */
LANES_INLINE v16i nm_at(v16i nibbles) { return _mm512_and_si512(nibbles, _mm512_set1_epi8(15)); }

/* 64 magnitudes with their signs, which are the top bits of bytes. */
LANES_INLINE v16i nm_weight(const int8_t *w, v16i signs)
{
    const v16i magnitude = _mm512_loadu_si512(w);

    return _mm512_mask_sub_epi8(magnitude, _mm512_movepi8_mask(signs), i_zero(), magnitude);
}

/* pairs > 0 pairs of groups of eight inputs */
LANES_INLINE void nm_tile(struct tile *t, const int8_t *w, const uint8_t *index, int64_t pairs, int mr)
{
    const uint8_t *x = t->x;
    v16i both = _mm512_loadu_si512(index), at = nm_at(both), weight = nm_weight(w, _mm512_slli_epi16(both, 4)), offset = i_zero(), offset_odd = i_zero();

    EACH_ROW(DECLARE)
#define STEP(i)                                                                                                           \
    if (mr > i) {                                                                                                         \
        int64_t eight;                                                                                                    \
        memcpy(&eight, x + i * ROW_STRIDE, 8);                                                                            \
        a##i = tile_dot(a##i, tile_look(_mm512_set1_epi64(eight), at), weight);                      \
    }
#define STEP_ODD(i)                                                                                                       \
    if (mr > i) {                                                                                                         \
        int64_t eight;                                                                                                    \
        memcpy(&eight, x + 8 + i * ROW_STRIDE, 8);                                                                        \
        if (mr <= FEW) b##i = tile_dot(b##i, tile_look(_mm512_set1_epi64(eight), at_odd), odd);      \
        else a##i = tile_dot(a##i, tile_look(_mm512_set1_epi64(eight), at_odd), odd);                \
    }
    for (; pairs > 0; pairs--, x += 16) {
        OFFSET(offset, weight)
        FIRST_ROWS(STEP)
        const v16i at_odd = nm_at(_mm512_srli_epi16(both, 4)), odd = nm_weight(w + 64, both);
        LAST_ROWS(STEP)

        if (pairs > 1) index += 64, w += 128; /* the last pair prepares itself again */
        OFFSET_ODD(odd)
        FIRST_ROWS(STEP_ODD)
        both = _mm512_loadu_si512(index);
        at = nm_at(both);
        weight = nm_weight(w, _mm512_slli_epi16(both, 4));
        LAST_ROWS(STEP_ODD)
    }
#undef STEP
#undef STEP_ODD
    t->offset = i_add(t->offset, i_add(offset, offset_odd));
    EACH_ROW(STORE)
}

static __attribute__((noinline)) void nm_run(struct tile *t, const int8_t *w, const uint8_t *index, int64_t pairs)
{
#define CASE(count) if (count <= NM_ROWS && t->rows <= count) { nm_tile(t, w, index, pairs, count); return; }
    EACH_COUNT(CASE)
#undef CASE
}

void xc_gemm_nm_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K16 = xc_round_up(g->K, 16);
    struct tile t;

    t.g = g;
    for (t.r0 = row0; t.r0 < row1; t.r0 += t.rows) {
        t.rows = next_rows(row1 - t.r0, NM_ROWS);
        for (t.c0 = col0; t.c0 < col1; t.c0 += 16) {
            const int8_t *w = g->w + t.c0 * K16 / 2;
            const uint8_t *index = (const uint8_t *)g->index + t.c0 * K16 / 4;

            next_columns(&t, col1);
            for (int64_t k0 = 0; k0 < K16; k0 += PART) {
                t.first = k0 == 0;
                if (PART < K16 || t.c0 == col0) copy_part(&t, k0, xc_min_i64(PART, g->K - k0));
                nm_run(&t, w + k0 * 8, index + k0 * 4, xc_min_i64(PART, K16 - k0) / 16);
            }
            finish_tile(&t);
        }
    }
}

/* ---- blocks ---- */
/* n blocks; quads count from base */
LANES_INLINE void block_tile(struct tile *t, const int8_t *w, const uint16_t *quad, int64_t base, int64_t n, int mr)
{
    v16i offset = i_zero(), offset_odd = i_zero();

    EACH_ROW(DECLARE)
#define DOT(acc, i, x)                                                         \
    if (mr > i) {                                                              \
        int32_t four;                                                          \
        memcpy(&four, x + i * ROW_STRIDE, 4);                                  \
        acc = tile_dot(acc, _mm512_set1_epi32(four), weight);       \
    }
#define STEP(i) DOT(a##i, i, x)
#define STEP_ODD(i) DOT(b##i, i, x)
    for (; mr <= FEW && n > 1; n -= 2, w += 128, quad += 2) {
        {
            const uint8_t *x = t->x + 4 * (quad[0] - base);
            const v16i weight = _mm512_loadu_si512(w);

            OFFSET(offset, weight)
            EACH_ROW(STEP)
        }
        const uint8_t *x = t->x + 4 * (quad[1] - base);
        const v16i weight = _mm512_loadu_si512(w + 64);

        OFFSET_ODD(weight)
        EACH_ROW(STEP_ODD)
    }
    for (; n > 0; n--, w += 64, quad++) {
        const uint8_t *x = t->x + 4 * (*quad - base);
        const v16i weight = _mm512_loadu_si512(w);

        OFFSET(offset, weight)
        EACH_ROW(STEP)
    }
#undef DOT
#undef STEP
#undef STEP_ODD
    t->offset = i_add(t->offset, i_add(offset, offset_odd));
    EACH_ROW(STORE)
}

static __attribute__((noinline)) void block_run(struct tile *t, const int8_t *w, const uint16_t *quad, int64_t base, int64_t n)
{
#define CASE(count) if (t->rows <= count) { block_tile(t, w, quad, base, n, count); return; }
    EACH_COUNT(CASE)
#undef CASE
}

void xc_gemm_block_s8__avx512vnni(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const uint32_t *first = g->index;
    const uint16_t *quads = (const uint16_t *)(const void *)(first + xc_div_up(g->N, 16) + 1);
    struct tile t;

    t.g = g;
    for (t.r0 = row0; t.r0 < row1; t.r0 += t.rows) {
        t.rows = next_rows(row1 - t.r0, TILE_ROWS);
        for (t.c0 = col0; t.c0 < col1; t.c0 += 16) {
            const uint16_t *quad = quads + first[t.c0 / 16], *const end = quads + first[t.c0 / 16 + 1];

            next_columns(&t, col1);
            for (int64_t k0 = 0; k0 < g->K; k0 += PART) {
                const uint16_t *stop = g->K <= PART ? end : quad;

                t.first = k0 == 0;
                if (PART < g->K || t.c0 == col0) copy_part(&t, k0, xc_min_i64(PART, g->K - k0));
                while (stop < end && 4 * *stop < k0 + PART) stop++;
                block_run(&t, g->w + 64 * (quad - quads), quad, k0 / 4, stop - quad);
                quad = stop;
            }
            finish_tile(&t);
        }
    }
}
