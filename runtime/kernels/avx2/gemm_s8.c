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
 * A row block is copied to the stack as dwords |x|, m. A tile is 1 row x 64 outputs: 8 accumulators, whose weights are memory operands
 * of the xor; a step of 8 inputs is 4 broadcasts, 16 weights and 56 operations, so that loads do not limit it (2 x 32 has 24 loads:
 * 2 % slower with gcc 12, and clang 14 spills it). Inputs are cut in blocks of K_BLOCK whose weights stay in L1. */
#include "runtime/kernels/avx2/isa.h"
#include "runtime/kernels/avx2/lanes.h"
#include "runtime/kernels/lanes/epilogue.h"
#include "runtime/base/base.h"

#define K_BLOCK 256          /* inputs; 64 outputs of them are 16 KB of weight */
#define ROWS_MAX 32          /* rows of a block */
#define COLS 64              /* outputs of a tile */
#define PACKED_BYTES 32768   /* of a block's packed rows */
#define S8_GROUP 8

_Static_assert(127 * (XC_SUM16_MAX + 4) <= 32768, "the pair-sum rule must leave room for the xor trick");

static __m256i bytes32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }

LANES_INLINE __m256i quad(const int8_t *p)
{
    int32_t x;

    memcpy(&x, p, 4);
    return _mm256_set1_epi32(x);
}

/* One row x (K4, a multiple of 4) to xp: dwords |x|, m alternating. Returns the sum of |x| over negative x. */
static int32_t pack_row(int8_t *xp, const int8_t *x, int64_t K4)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i sum = zero;
    int64_t k = 0;

    for (; k + 32 <= K4; k += 32) {
        const __m256i v = bytes32(x + k), m = _mm256_cmpgt_epi8(zero, v), a = _mm256_abs_epi8(v);
        const __m256i lo = _mm256_unpacklo_epi32(a, m), hi = _mm256_unpackhi_epi32(a, m); /* quads 0 1 4 5 and 2 3 6 7 */

        sum = _mm256_add_epi64(sum, _mm256_sad_epu8(_mm256_and_si256(a, m), zero));
        _mm256_storeu_si256((__m256i *)(xp + 2 * k), _mm256_permute2x128_si256(lo, hi, 0x20));
        _mm256_storeu_si256((__m256i *)(xp + 2 * k + 32), _mm256_permute2x128_si256(lo, hi, 0x31));
    }

    int32_t negative = (int32_t)(_mm256_extract_epi64(sum, 0) + _mm256_extract_epi64(sum, 1) + _mm256_extract_epi64(sum, 2)
                                 + _mm256_extract_epi64(sum, 3));

    for (; k < K4; k += 4)
        for (int64_t i = 0; i < 4; i++) {
            const int8_t v = x[k + i];

            xp[2 * k + i] = (int8_t)(v < 0 ? -v : v);
            xp[2 * k + 4 + i] = (int8_t)(v < 0 ? -1 : 0);
            negative += v < 0 ? -v : 0;
        }
    return negative;
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
            const __m256i x0 = quad(xp), m0 = quad(xp + 4), x1 = quad(xp + 8), m1 = quad(xp + 12);

            ALL(EIGHT)
        }
    for (; quads > 0; quads--, w += 64, w1 += 64, w2 += 64, w3 += 64, xp += 8) {
        const __m256i x0 = quad(xp), m0 = quad(xp + 4);

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

void xc_gemm_s8__avx2(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K4 = xc_round_up(g->K, 4);
    const bool whole = 2 * 2 * K4 <= PACKED_BYTES; /* two rows fit; otherwise each block of inputs is packed when its turn comes */
    const int64_t packed = whole ? K4 : K_BLOCK;
    const int64_t block = xc_max_i64(2, xc_min_i64(ROWS_MAX, PACKED_BYTES / (2 * packed)));
    _Alignas(64) int8_t xp[PACKED_BYTES];
    _Alignas(64) int32_t c[ROWS_MAX * COLS];
    int32_t init[ROWS_MAX];

    for (int64_t r0 = row0; r0 < row1; r0 += block) {
        const int64_t rows = xc_min_i64(block, row1 - r0);

        if (whole)
            for (int64_t r = 0; r < rows; r++) init[r] = pack_row(xp + r * 2 * packed, g->x + (r0 + r) * g->ldx, K4);
        for (int64_t c0 = col0; c0 < col1; c0 += COLS) {
            const int nv = (int)xc_min_i64(COLS / 16, xc_div_up(col1 - c0, 16));

            for (int64_t k0 = 0; k0 < K4; k0 += K_BLOCK) {
                const int64_t inputs = xc_min_i64(K_BLOCK, K4 - k0);
                const int8_t *x = xp + 2 * k0;

                if (!whole) {
                    x = xp;
                    for (int64_t r = 0; r < rows; r++) {
                        init[r] = pack_row(xp + r * 2 * packed, g->x + (r0 + r) * g->ldx + k0, inputs);
                        for (int64_t i = 0; i < COLS; i++) c[r * COLS + i] = (k0 > 0 ? c[r * COLS + i] : 0) + init[r];
                    }
                }
                tile_rows(c, COLS, whole && k0 == 0 ? init : NULL, x, 2 * packed, g->w + c0 * K4 + k0 * 16, 16 * K4, inputs / 4, rows, nv, g->w_sum16);
            }
            for (int64_t r = 0; r < rows; r++) {
                for (int64_t v = 0; v < nv; v++)
                    ep_store_s8(&g->ep, i_load(c + r * COLS + v * 16), r0 + r, c0 + v * 16, xc_min_i64(16, col1 - c0 - v * 16));
                ep_finish(&g->ep, r0 + r, c0, xc_min_i64(nv * 16, col1 - c0));
            }
        }
    }
}

static void s8_prepare(int8_t *xp, int32_t *init, const int8_t *q, int64_t ldq, int64_t rows, int64_t D4)
{
    for (int64_t r = 0; r < rows; r++) init[r] = pack_row(xp + r * 2 * D4, q + r * ldq, D4);
}

static void s8_scores(int32_t *s, const int8_t *xp, const int32_t *init, const int8_t *k, int64_t D4, int64_t panels, int64_t rows)
{
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
            const __m256i x = quad((const int8_t *)p);

            FOUR(a0, v) FOUR(a1, v + 32)
            if (nv > 1) { FOUR(a2, v1) FOUR(a3, v1 + 32) }
        }
        if (mr > 1) {
            const __m256i x = quad((const int8_t *)p + XC_KEY_BLOCK);

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
