/* gemm_s8 and attn_s8 with AVX2.
 *
 * vpmaddubsw multiplies unsigned by signed bytes and saturates the sum of two products to 16 bits, so |x| is the unsigned operand and
 * x's sign goes to the weight. vpsignb does that exactly, but shares a pipe with the multipliers (28.8 MAC/cycle measured on Zen 3
 * with registers only); xor with x's sign mask m (0 or -1) runs anywhere and is off by one where x < 0:
 *     w ^ m = -w - 1,   so   sum |x| (w ^ m) = sum x w - sum of |x| over x < 0,
 * a number per row, which the accumulators start from (33.4 MAC/cycle). |w ^ m| <= 128, hence:
 *   any weight        two products:  127 * (128 + 128) = 32512 fits 16 bits
 *   pair-sum weights  four products: 127 * (XC_SUM16_MAX + 4) <= 32768 fits as a negative number (a positive sum gains no ones)
 *
 * Calm rows, which are most, need no xor. With u = x + 127 in [0,254] nothing saturates (XC_PAIR_MAX), and
 *     sum x w = sum u w - 127 sum w,
 * in 16 bits modulo 2^16: four products are added, wrapping as they like, and are right again once 127 sum w is taken off, because the
 * result itself fits: by Cauchy and Schwarz it is at most |x| |w| over the eight inputs of a lane, the row is calm when |x| is small
 * enough in each lane, and XC_LANE_SQUARES bounds |w|. What is taken off is computed once for all rows of a block. Affine rows are mostly near -127:
 * there sum u w itself fits, or does so by half lanes, and the 127 comes off the finished sum. This is 38 to 44 MAC/cycle in registers.
 *
 * A row block is copied to the stack as dwords |x|, m. A tile is 1 row x 64 outputs: 8 accumulators, whose weights are memory operands
 * of the xor; a step of 8 inputs is 4 broadcasts, 16 weights and 56 operations, so that loads do not limit it (2 x 32 has 24 loads:
 * 2 % slower with gcc 12, and clang 14 spills it). Inputs are cut in blocks of K_BLOCK whose weights stay in L1. */
#include "runtime/kernels/avx2/isa.h"
#include "runtime/kernels/avx2/lanes.h"
#include "runtime/kernels/lanes/epilogue.h"
#include "runtime/base/base.h"

#define K_BLOCK 192          /* inputs; 64 outputs of them are 12 KB of weight */
#define ROWS_MAX 32          /* rows of a block */
#define COLS 64              /* outputs of a tile */
#define PACKED_BYTES 98304   /* of a block's packed rows */
#define OFF_STEP (COLS * 4)
#define CALM_LEAST 4         /* calm rows in a block that are worth their preparation */
#define S8_GROUP 8

#define CALM_SQUARES 32761   /* of x in a lane */
#define CALM_OFFSET 65531    /* of u in a lane */
_Static_assert(127 * (XC_SUM16_MAX + 4) <= 32768, "the pair-sum rule must leave room for the xor trick");
_Static_assert(254 * XC_PAIR_MAX <= 32767, "a pair must not saturate");
_Static_assert((int64_t)CALM_SQUARES * 2 * XC_LANE_SQUARES <= (int64_t)32767 * 32767 && (int64_t)CALM_OFFSET * XC_LANE_SQUARES <= (int64_t)32767 * 32767,
               "a calm lane must fit 16 bits");

enum mode { XOR, CALM, AFFINE, AFFINE_HALF };

/* One row x (K4, a multiple of 4) to xp: dwords |x|, m alternating. Returns the sum of |x| over negative x. */
static int32_t pack_row(int8_t *xp, const int8_t *x, int64_t K4)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum = zero;
    int64_t k = 0;

    for (; k + 32 <= K4; k += 32) sum = _mm256_add_epi64(sum, _mm256_sad_epu8(put_signs32(xp + 2 * k, x + k), zero));

    int32_t negative = (int32_t)(_mm256_extract_epi64(sum, 0) + _mm256_extract_epi64(sum, 1) + _mm256_extract_epi64(sum, 2)
                                 + _mm256_extract_epi64(sum, 3));

    for (; k < K4; k += 4) negative += put_signs4(xp + 2 * k, x + k);
    return negative;
}

/* The largest sum over a lane of (x + offset)^2; a lane is inputs 0 1 4 5 8 9 12 13 or 2 3 6 7 10 11 14 15 of each 16, a half lane the first
 * or last four of these. K4 columns. */
static int32_t lane_squares(const int8_t *x, int64_t K4, int offset, bool half)
{
    const __m256i by = _mm256_set1_epi16((int16_t)offset);
    __m128i most = _mm_setzero_si128();
    int8_t tail[16] = {0};

    for (int64_t k = 0; k < K4; k += 16) {
        const int8_t *p = x + k;

        if (K4 - k < 16) {
            memset(tail, -offset, sizeof tail);
            memcpy(tail, p, (size_t)(K4 - k));
            p = tail;
        }
        const __m256i v = _mm256_add_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p)), by), s = _mm256_madd_epi16(v, v);
        const __m256i h = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
        const __m128i a = _mm256_castsi256_si128(h), b = _mm256_extracti128_si256(h, 1);

        most = _mm_max_epi32(most, half ? _mm_max_epi32(a, b) : _mm_add_epi32(a, b));
    }
    most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1));
    return _mm_cvtsi128_si32(most);
}

/* x + 127, K4 bytes. */
static void offset_row(int8_t *u, const int8_t *x, int64_t K4)
{
    const __m256i by = _mm256_set1_epi8(127);
    int64_t k = 0;

    for (; k + 32 <= K4; k += 32) _mm256_storeu_si256((__m256i *)(u + k), _mm256_add_epi8(bytes32(x + k), by));
    for (; k < K4; k++) u[k] = (int8_t)(x[k] + 127);
}

/* What calm rows take off: for each step of 16 inputs (4 for the last few) and column group of 16 (COLS / 16 places) 127 sum w, two vectors. */
static void lane_offsets(int8_t *to, const int8_t *w, int64_t w_group, int64_t quads, int nv)
{
    const __m256i by = _mm256_set1_epi8(127);

    for (int v = 0; v < nv; v++) {
        int8_t *t = to + v * 64;
        const int8_t *p = w + v * w_group;
        int64_t q = quads;

        for (; q >= 4; q -= 4, t += OFF_STEP, p += 256)
            for (int half = 0; half < 64; half += 32) {
                const __m256i a = _mm256_add_epi16(_mm256_maddubs_epi16(by, bytes32(p + half)), _mm256_maddubs_epi16(by, bytes32(p + half + 64)));
                const __m256i b = _mm256_add_epi16(_mm256_maddubs_epi16(by, bytes32(p + half + 128)), _mm256_maddubs_epi16(by, bytes32(p + half + 192)));

                _mm256_store_si256((__m256i *)(t + half), _mm256_add_epi16(a, b));
            }
        for (; q > 0; q--, t += OFF_STEP, p += 64)
            for (int half = 0; half < 64; half += 32) _mm256_store_si256((__m256i *)(t + half), _mm256_maddubs_epi16(by, bytes32(p + half)));
    }
}

/* One row of any calm mode: c (nv * 16) = start + u w over 4 * quads inputs, for CALM less off (lane_offsets); start is c itself when NULL. */
LANES_INLINE void calm_tile(int32_t *c, const int32_t *start, const int8_t *u, const int8_t *w, int64_t w_group, const int8_t *off,
                            int64_t quads, int nv, enum mode mode)
{
    const __m256i ones = _mm256_set1_epi16(1);
    const int8_t *w1 = w + w_group, *w2 = w1 + w_group, *w3 = w2 + w_group;
    __m256i a0, a1, b0, b1, c0, c1, d0, d1; /* named: gcc spills arrays */

    if (!start) start = c;
#define START(v, lo, hi) lo = nv > v ? bytes32(start + 16 * v) : ones, hi = nv > v ? bytes32(start + 16 * v + 8) : ones;
    START(0, a0, a1) START(1, b0, b1) START(2, c0, c1) START(3, d0, d1)
#undef START
#define WIDEN(acc, t, o) acc = _mm256_add_epi32(acc, _mm256_madd_epi16(mode != CALM ? (t) : _mm256_sub_epi16(t, bytes32(o)), ones));
#define SIXTEEN(acc, at, o)                                                                                          \
    WIDEN(acc, _mm256_add_epi16(                                                                                     \
        _mm256_add_epi16(_mm256_maddubs_epi16(x0, bytes32(at)), _mm256_maddubs_epi16(x1, bytes32((at) + 64))),       \
        _mm256_add_epi16(_mm256_maddubs_epi16(x2, bytes32((at) + 128)), _mm256_maddubs_epi16(x3, bytes32((at) + 192)))), o)
#define EIGHT(acc, at, o) WIDEN(acc, _mm256_add_epi16(_mm256_maddubs_epi16(x0, bytes32(at)), _mm256_maddubs_epi16(x1, bytes32((at) + 64))), o)
#define FOUR(acc, at, o) WIDEN(acc, _mm256_maddubs_epi16(x0, bytes32(at)), o)
#define ALL(STEP)                                              \
    STEP(a0, w, off) STEP(a1, w + 32, off + 32)                \
    if (nv > 1) { STEP(b0, w1, off + 64) STEP(b1, w1 + 32, off + 96) } \
    if (nv > 2) { STEP(c0, w2, off + 128) STEP(c1, w2 + 32, off + 160) } \
    if (nv > 3) { STEP(d0, w3, off + 192) STEP(d1, w3 + 32, off + 224) }
    for (; mode == AFFINE_HALF && quads >= 2; quads -= 2, w += 128, w1 += 128, w2 += 128, w3 += 128, u += 8) {
        const __m256i x0 = quad4(u), x1 = quad4(u + 4);

        ALL(EIGHT)
    }
    for (; quads >= 4; quads -= 4, w += 256, w1 += 256, w2 += 256, w3 += 256, off += OFF_STEP, u += 16) {
        const __m256i x0 = quad4(u), x1 = quad4(u + 4), x2 = quad4(u + 8), x3 = quad4(u + 12);

        ALL(SIXTEEN)
    }
    for (; quads > 0; quads--, w += 64, w1 += 64, w2 += 64, w3 += 64, off += OFF_STEP, u += 4) {
        const __m256i x0 = quad4(u);

        ALL(FOUR)
    }
#undef WIDEN
#undef SIXTEEN
#undef EIGHT
#undef FOUR
#undef ALL
    i_store(c, (v16i){a0, a1});
    if (nv > 1) i_store(c + 16, (v16i){b0, b1});
    if (nv > 2) i_store(c + 32, (v16i){c0, c1});
    if (nv > 3) i_store(c + 48, (v16i){d0, d1});
}

/* c (nv * 16) = start + x w over 4 * quads inputs; start is *init when not NULL, else c itself. Column group v of w is v * w_group on. */
LANES_INLINE void s8_tile(int32_t *c, const int32_t *init, const int8_t *xp, const int8_t *w, int64_t w_group, int64_t quads, int nv, bool sum16)
{
    const __m256i ones = _mm256_set1_epi16(1), start = _mm256_set1_epi32(init ? *init : 0);
    const int8_t *w1 = w + w_group, *w2 = w1 + w_group, *w3 = w2 + w_group;
    __m256i a0, a1, b0, b1, c0, c1, d0, d1; /* named: gcc spills arrays */

#define START(v, lo, hi) lo = nv > v && !init ? bytes32(c + 16 * v) : start, hi = nv > v && !init ? bytes32(c + 16 * v + 8) : start;
    START(0, a0, a1) START(1, b0, b1) START(2, c0, c1) START(3, d0, d1)
#undef START
#define FOUR(acc, at) /* four inputs */                                                                              \
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x0, _mm256_xor_si256(m0, bytes32(at))), ones));
#define EIGHT(acc, at) /* eight inputs, whose products are added in 16 bits */                                       \
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_add_epi16(                                                  \
              _mm256_maddubs_epi16(x0, _mm256_xor_si256(m0, bytes32(at))),                                           \
              _mm256_maddubs_epi16(x1, _mm256_xor_si256(m1, bytes32((at) + 64)))), ones));
#define ALL(STEP)                                      \
    STEP(a0, w) STEP(a1, w + 32)                       \
    if (nv > 1) { STEP(b0, w1) STEP(b1, w1 + 32) }     \
    if (nv > 2) { STEP(c0, w2) STEP(c1, w2 + 32) }     \
    if (nv > 3) { STEP(d0, w3) STEP(d1, w3 + 32) }
    if (sum16)
        for (; quads >= 2; quads -= 2, w += 128, w1 += 128, w2 += 128, w3 += 128, xp += 16) {
            const __m256i x0 = quad4(xp), m0 = quad4(xp + 4), x1 = quad4(xp + 8), m1 = quad4(xp + 12);

            ALL(EIGHT)
        }
    for (; quads > 0; quads--, w += 64, w1 += 64, w2 += 64, w3 += 64, xp += 8) {
        const __m256i x0 = quad4(xp), m0 = quad4(xp + 4);

        ALL(FOUR)
    }
#undef FOUR
#undef EIGHT
#undef ALL
    i_store(c, (v16i){a0, a1});
    if (nv > 1) i_store(c + 16, (v16i){b0, b1});
    if (nv > 2) i_store(c + 32, (v16i){c0, c1});
    if (nv > 3) i_store(c + 48, (v16i){d0, d1});
}

/* c (rows, nv * 16; rows ld_c apart) as s8_tile; packed rows are ldxp bytes apart. */
static __attribute__((noinline)) void tile_rows(int32_t *c, int64_t ld_c, const int32_t *init, const int8_t *xp, int64_t ldxp, const int8_t *w,
                                                int64_t w_group, int64_t quads, int64_t rows, int nv, bool sum16)
{
#define ROWS_AS(v, s)                                                                                     \
    for (int64_t r = 0; r < rows; r++)                                                                    \
        s8_tile(c + r * ld_c, init ? init + r : NULL, xp + r * ldxp, w, w_group, quads, v, s);            \
    break;
    switch (nv * 2 + sum16) {
    case 2: ROWS_AS(1, false)
    case 3: ROWS_AS(1, true)
    case 4: ROWS_AS(2, false)
    case 5: ROWS_AS(2, true)
    case 6: ROWS_AS(3, false)
    case 7: ROWS_AS(3, true)
    case 8: ROWS_AS(4, false)
    default: ROWS_AS(4, true)
    }
#undef ROWS_AS
}

/* A block of rows on its way through the columns. */
struct rows {
    _Alignas(64) int8_t x[PACKED_BYTES]; /* packed by mode, 2 * columns bytes apart */
    _Alignas(64) int32_t c[ROWS_MAX * COLS];
    _Alignas(64) int8_t off[(K_BLOCK / 16 + 3) * OFF_STEP];
    _Alignas(64) int32_t zero[COLS], affine[COLS]; /* starts of calm rows */
    int32_t init[ROWS_MAX];                        /* starts of the others */
    uint8_t mode[ROWS_MAX];                        /* enum mode */
    bool calm, any_affine;                         /* is there such a row? */
};

static void pack_rows(struct rows *b, const struct xc_gemm_s8 *g, int64_t r0, int64_t rows, int64_t K4)
{
    int64_t calm = 0;

    b->calm = b->any_affine = false;
    for (int64_t r = 0; r < rows; r++) {
        const int8_t *x = g->x + (r0 + r) * g->ldx;

        b->mode[r] = XOR;
        if (!g->w_sum16) continue;
        if (g->ep.row_mid && lane_squares(x, K4, 127, false) <= CALM_OFFSET) b->mode[r] = AFFINE;
        else if (lane_squares(x, K4, 0, false) <= CALM_SQUARES) b->mode[r] = CALM, calm++;
        else if (g->ep.row_mid && lane_squares(x, K4, 127, true) <= CALM_OFFSET) b->mode[r] = AFFINE_HALF;
        b->any_affine |= b->mode[r] >= AFFINE;
    }
    b->calm = calm >= CALM_LEAST;
    for (int64_t r = 0; r < rows; r++) {
        int8_t *to = b->x + r * 2 * K4;

        if (b->mode[r] == CALM && !b->calm) b->mode[r] = XOR;
        if (b->mode[r] == XOR) b->init[r] = pack_row(to, g->x + (r0 + r) * g->ldx, K4);
        else offset_row(to, g->x + (r0 + r) * g->ldx, K4);
    }
}

/* One pass of a block over a column tile's inputs [k0, k0 + 4 * quads). */
LANES_INLINE void block_tile(struct rows *b, const int8_t *w, int64_t w_group, int64_t K4, int64_t k0, int64_t quads, int64_t rows, int nv, bool sum16)
{
    if (b->calm) lane_offsets(b->off, w, w_group, quads, nv);
    for (int64_t r = 0; r < rows; r++) {
        int32_t *c = b->c + r * COLS;
        const int8_t *x = b->x + r * 2 * K4;

        switch (sum16 ? b->mode[r] : XOR) {
        case CALM: calm_tile(c, k0 ? NULL : b->zero, x + k0, w, w_group, b->off, quads, nv, CALM); break;
        case AFFINE: calm_tile(c, k0 ? NULL : b->affine, x + k0, w, w_group, b->off, quads, nv, AFFINE); break;
        case AFFINE_HALF: calm_tile(c, k0 ? NULL : b->affine, x + k0, w, w_group, b->off, quads, nv, AFFINE_HALF); break;
        default: s8_tile(c, k0 ? NULL : b->init + r, x + 2 * k0, w, w_group, quads, nv, sum16);
        }
    }
}

static __attribute__((noinline)) void block_columns(struct rows *b, const int8_t *w, int64_t w_group, int64_t K4, int64_t k0, int64_t quads, int64_t rows,
                                                    int nv, bool sum16)
{
#define AS(v, s) block_tile(b, w, w_group, K4, k0, quads, rows, v, s); break;
    switch (nv * 2 + sum16) {
    case 2: AS(1, false)
    case 3: AS(1, true)
    case 4: AS(2, false)
    case 5: AS(2, true)
    case 6: AS(3, false)
    case 7: AS(3, true)
    case 8: AS(4, false)
    default: AS(4, true)
    }
#undef AS
}

static void finish_block(const struct rows *b, const struct xc_gemm_s8 *g, int64_t r0, int64_t rows, int64_t c0, int64_t cols)
{
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t at = 0; at < cols; at += 16)
            ep_store_s8(&g->ep, i_load(b->c + r * COLS + at), r0 + r, c0 + at, xc_min_i64(16, cols - at));
        ep_finish(&g->ep, r0 + r, c0, cols);
    }
}

/* Rows too long for two of them to be packed whole: each block of inputs is packed when its turn comes. */
static void gemm_long(struct rows *b, const struct xc_gemm_s8 *g, int64_t K4, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    for (int64_t r0 = row0; r0 < row1; r0 += ROWS_MAX) {
        const int64_t rows = xc_min_i64(ROWS_MAX, row1 - r0);

        for (int64_t c0 = col0; c0 < col1; c0 += COLS) {
            const int64_t cols = xc_min_i64(COLS, col1 - c0);

            for (int64_t k0 = 0; k0 < K4; k0 += K_BLOCK) {
                const int64_t inputs = xc_min_i64(K_BLOCK, K4 - k0);

                for (int64_t r = 0; r < rows; r++) {
                    const int32_t init = pack_row(b->x + r * 2 * K_BLOCK, g->x + (r0 + r) * g->ldx + k0, inputs);

                    for (int64_t i = 0; i < COLS; i++) b->c[r * COLS + i] = (k0 > 0 ? b->c[r * COLS + i] : 0) + init;
                }
                tile_rows(b->c, COLS, NULL, b->x, 2 * K_BLOCK, g->w + c0 * K4 + k0 * 16, 16 * K4, inputs / 4, rows, (int)xc_div_up(cols, 16), g->w_sum16);
            }
            finish_block(b, g, r0, rows, c0, cols);
        }
    }
}

void xc_gemm_s8__avx2(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K4 = xc_round_up(g->K, 4), block = K4 ? xc_min_i64(ROWS_MAX, PACKED_BYTES / (2 * K4)) : ROWS_MAX;
    struct rows b;

    if (block < 2) {
        gemm_long(&b, g, K4, row0, row1, col0, col1);
        return;
    }
    memset(b.zero, 0, sizeof b.zero);
    for (int64_t r0 = row0; r0 < row1; r0 += block) {
        const int64_t rows = xc_min_i64(block, row1 - r0);

        pack_rows(&b, g, r0, rows, K4);
        for (int64_t c0 = col0; c0 < col1; c0 += COLS) {
            const int64_t cols = xc_min_i64(COLS, col1 - c0);

            for (int64_t i = 0; b.any_affine && i < xc_round_up(cols, 16); i++) b.affine[i] = -127 * g->ep.col_sum[c0 + i];
            for (int64_t k0 = 0; k0 < K4; k0 += K_BLOCK)
                block_columns(&b, g->w + c0 * K4 + k0 * 16, 16 * K4, K4, k0, xc_min_i64(K_BLOCK, K4 - k0) / 4, rows, (int)xc_div_up(cols, 16), g->w_sum16);
            finish_block(&b, g, r0, rows, c0, cols);
        }
    }
}

static void s8_prepare(int8_t *xp, int32_t *init, const int8_t *q, int64_t ldq, int64_t rows, int64_t D4)
{
    for (int64_t r = 0; r < rows; r++) init[r] = pack_row(xp + r * 2 * D4, q + r * ldq, D4);
}

static void s8_scores(int32_t *s, const int8_t *xp, const int32_t *init, const float *q_scale, const int8_t *k, const float *k_scale, int64_t D4, int64_t panels, int64_t rows)
{
    (void)q_scale, (void)k_scale;
    for (int64_t j = 0; j < panels; j += COLS / 16)
        tile_rows(s + j * 16, XC_KEY_BLOCK, init, xp, 2 * D4, k + j * 16 * D4, 16 * D4, D4 / 4, rows, (int)xc_min_i64(COLS / 16, panels - j), false);
}

/* o (mr, nv * 16) = p v, mr and nv at most 2; p is unsigned and at most 127: nothing saturates and no sign is needed. */
LANES_INLINE void values_tile(int32_t *o, int64_t ld_o, const uint8_t *p, const int8_t *v, int64_t quads, int mr, int nv)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i a0 = _mm256_setzero_si256(), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    const int8_t *v1 = v + 16 * XC_KEY_BLOCK;

#define FOUR(acc, at) acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x, bytes32(at)), ones));
    for (int64_t k = 0; k < quads; k++, p += 4, v += 64, v1 += 64) {
        {
            const __m256i x = quad4((const int8_t *)p);

            FOUR(a0, v) FOUR(a1, v + 32)
            if (nv > 1) { FOUR(a2, v1) FOUR(a3, v1 + 32) }
        }
        if (mr > 1) {
            const __m256i x = quad4((const int8_t *)p + XC_KEY_BLOCK);

            FOUR(b0, v) FOUR(b1, v + 32)
            if (nv > 1) { FOUR(b2, v1) FOUR(b3, v1 + 32) }
        }
    }
#undef FOUR
    i_store(o, (v16i){a0, a1});
    if (nv > 1) i_store(o + 16, (v16i){a2, a3});
    if (mr > 1) i_store(o + ld_o, (v16i){b0, b1});
    if (mr > 1 && nv > 1) i_store(o + ld_o + 16, (v16i){b2, b3});
}

static void s8_values(int32_t *o, int64_t D16, const uint8_t *p, const int32_t *p_sum, const int8_t *v, int64_t quads, int64_t rows)
{
    (void)p_sum;
    for (int64_t d = 0; d < D16; d += 32, v += 32 * XC_KEY_BLOCK)
        for (int64_t r = 0; r < rows; r += 2) {
            int32_t *to = o + r * D16 + d;
            const uint8_t *from = p + r * XC_KEY_BLOCK;

            switch ((rows - r > 1 ? 2 : 0) + (D16 - d > 16 ? 1 : 0)) {
            case 0: values_tile(to, D16, from, v, quads, 1, 1); break;
            case 1: values_tile(to, D16, from, v, quads, 1, 2); break;
            case 2: values_tile(to, D16, from, v, quads, 2, 1); break;
            default: values_tile(to, D16, from, v, quads, 2, 2); break;
            }
        }
}

#include "runtime/kernels/lanes/attn_s8.h"

void xc_attn_s8__avx2(const struct xc_attn_s8 *a, int64_t row0, int64_t row1) { lanes_attn_s8(a, row0, row1); }

#include "runtime/kernels/lanes/attn_runs_s8.h"

void xc_attn_runs_s8__avx2(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1) { lanes_attn_runs_s8(a, row0, row1); }
