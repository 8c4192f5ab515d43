/* gemm_nm_s8 and gemm_block_s8 with AVX2.
 *
 * N:M. Eight inputs of a row are kept as sixteen bytes x, -x, which one vpshufb looks up: the nibbles of the index choose input and sign of each
 * slot at once. The magnitude of the weight is then the unsigned operand of vpmaddubsw, and nothing saturates: 127 * (127 + 127) for two products,
 * 127 * XC_SUM16_MAX for the four of the 16-bit rules. 16 inputs of 8 outputs cost 7 operations, and 3 more to unpack nibbles, which the rows of a
 * tile share: 4 rows x 16 outputs.
 *
 * Blocks. The dense kernel's signs by xor (gemm_s8.c) over a list of quads; the sums of negative inputs that xor calls for are kept by quad, for
 * all rows at once. A tile is 3 rows x 16 outputs: its four weights stay in registers, so that loads do not limit it. */
#include "runtime/kernels/avx2/isa.h"
#include "runtime/kernels/avx2/lanes.h"
#include "runtime/kernels/lanes/epilogue.h"
#include "runtime/base/base.h"

static void store_row(const struct xc_gemm_s8 *g, const int32_t *c, int64_t r, int64_t c0, int64_t col1)
{
    const int64_t n = xc_min_i64(16, col1 - c0);

    ep_store_s8(&g->ep, i_load(c), r, c0, n);
    ep_finish(&g->ep, r, c0, n);
}

/* ---- N:M ---- */
#define NM_BYTES 49152 /* of packed rows */
#define NM_ROWS 32

LANES_INLINE __m256i table(const int8_t *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }

/* n inputs to n rounded up to 16, each eight as x, -x. */
static void pack_both(int8_t *xp, const int8_t *x, int64_t n)
{
    const __m128i zero = _mm_setzero_si128();

    for (int64_t k = 0; k < n; k += 8, xp += 16) {
        __m128i v;
        int8_t last[8] = {0};

        if (k + 8 <= n) {
            v = _mm_loadl_epi64((const __m128i *)(x + k));
        } else {
            memcpy(last, x + k, (size_t)(n - k));
            v = _mm_loadl_epi64((const __m128i *)last);
        }
        _mm_storeu_si128((__m128i *)xp, _mm_unpacklo_epi64(v, _mm_sub_epi8(zero, v)));
    }
    if ((n + 7) / 8 % 2) _mm_storeu_si128((__m128i *)xp, zero);
}

/* c (mr,16) += over `pairs` pairs of groups; packed rows are ldxp bytes apart. */
LANES_INLINE void nm_tile(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint8_t *index, int64_t pairs, int mr, bool sum16)
{
    const __m256i ones = _mm256_set1_epi16(1), low = _mm256_set1_epi8(15);
    __m256i a0, a1, b0, b1, c0, c1, d0, d1;

#define START(r, lo, hi) lo = bytes32(c + 16 * (mr > r ? r : 0)), hi = bytes32(c + 16 * (mr > r ? r : 0) + 8);
    START(0, a0, a1) START(1, b0, b1) START(2, c0, c1) START(3, d0, d1)
#undef START
#define ROW(acc, r)                                                                                            \
    if (mr > r) {                                                                                              \
        const __m256i p = _mm256_maddubs_epi16(even, _mm256_shuffle_epi8(table(xp + r * ldxp), at_even));      \
        const __m256i q = _mm256_maddubs_epi16(odd, _mm256_shuffle_epi8(table(xp + r * ldxp + 16), at_odd));   \
                                                                                                               \
        if (sum16) acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_add_epi16(p, q), ones));               \
        else acc = _mm256_add_epi32(acc, _mm256_add_epi32(_mm256_madd_epi16(p, ones), _mm256_madd_epi16(q, ones))); \
    }
#define HALF(h, A, B, C, D)                                                                                    \
    {                                                                                                          \
        const __m256i at = bytes32(index + 32 * h), at_even = _mm256_and_si256(at, low);                       \
        const __m256i at_odd = _mm256_and_si256(_mm256_srli_epi16(at, 4), low);                                \
        const __m256i even = bytes32(w + 32 * h), odd = bytes32(w + 64 + 32 * h);                              \
                                                                                                               \
        ROW(A, 0) ROW(B, 1) ROW(C, 2) ROW(D, 3)                                                                \
    }
    for (; pairs > 0; pairs--, xp += 32, w += 128, index += 64) {
        HALF(0, a0, b0, c0, d0)
        HALF(1, a1, b1, c1, d1)
    }
#undef HALF
#undef ROW
    i_store(c, (v16i){a0, a1});
    if (mr > 1) i_store(c + 16, (v16i){b0, b1});
    if (mr > 2) i_store(c + 32, (v16i){c0, c1});
    if (mr > 3) i_store(c + 48, (v16i){d0, d1});
}

static __attribute__((noinline)) void nm_rows(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint8_t *index, int64_t pairs, int64_t rows, bool sum16)
{
    for (; rows >= 4; rows -= 4, c += 64, xp += 4 * ldxp) {
        if (sum16) nm_tile(c, xp, ldxp, w, index, pairs, 4, true);
        else nm_tile(c, xp, ldxp, w, index, pairs, 4, false);
    }
    switch (rows * 2 + sum16) {
    case 2: nm_tile(c, xp, ldxp, w, index, pairs, 1, false); break;
    case 3: nm_tile(c, xp, ldxp, w, index, pairs, 1, true); break;
    case 4: nm_tile(c, xp, ldxp, w, index, pairs, 2, false); break;
    case 5: nm_tile(c, xp, ldxp, w, index, pairs, 2, true); break;
    case 6: nm_tile(c, xp, ldxp, w, index, pairs, 3, false); break;
    case 7: nm_tile(c, xp, ldxp, w, index, pairs, 3, true); break;
    default: break;
    }
}

void xc_gemm_nm_s8__avx2(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K16 = xc_round_up(g->K, 16), most = NM_BYTES / 2 / 4, part = xc_min_i64(K16, most); /* inputs packed at a time: four rows fit */
    const int64_t block = xc_min_i64(NM_ROWS, NM_BYTES / (2 * part) / 4 * 4);
    _Alignas(64) int8_t xp[NM_BYTES];
    _Alignas(64) int32_t c[NM_ROWS * 16];

    for (int64_t r0 = row0; r0 < row1; r0 += block) {
        const int64_t rows = xc_min_i64(block, row1 - r0);

        for (int64_t c0 = col0; c0 < col1; c0 += 16) {
            memset(c, 0, (size_t)rows * 16 * sizeof *c);
            for (int64_t k0 = 0; k0 < K16; k0 += part) {
                const int64_t inputs = xc_min_i64(part, K16 - k0);

                if (part < K16 || c0 == col0)
                    for (int64_t r = 0; r < rows; r++) pack_both(xp + r * 2 * part, g->x + (r0 + r) * g->ldx + k0, xc_min_i64(inputs, g->K - k0));
                nm_rows(c, xp, 2 * part, g->w + c0 * K16 / 2 + k0 * 8, (const uint8_t *)g->index + c0 * K16 / 4 + k0 * 4, inputs / 16, rows, g->w_sum16);
            }
            for (int64_t r = 0; r < rows; r++) store_row(g, c + r * 16, r0 + r, c0, col1);
        }
    }
}

/* ---- blocks ---- */
#define BLOCK_BYTES 36864 /* of packed rows */
#define BLOCK_ROWS 12
#define BLOCK_PART 6144   /* inputs packed at a time: three rows fit */

/* One row of n inputs (a multiple of 4) as dwords |x|, m alternating, m being the bytes' sign; and the sum of |x| over the negative of each quad. */
static void pack_signs(int8_t *xp, int32_t *negative, int64_t lanes, const int8_t *x, int64_t n)
{
    const __m256i one8 = _mm256_set1_epi8(1), one16 = _mm256_set1_epi16(1);
    int64_t k = 0;

    for (; k + 32 <= n; k += 32) {
        _Alignas(32) int32_t sums[8];

        _mm256_store_si256((__m256i *)sums, _mm256_madd_epi16(_mm256_maddubs_epi16(put_signs32(xp + 2 * k, x + k), one8), one16));
        for (int64_t i = 0; i < 8; i++) negative[(k / 4 + i) * lanes] = sums[i];
    }
    for (; k < n; k += 4) negative[k / 4 * lanes] = put_signs4(xp + 2 * k, x + k);
}

/* c (mr,16) += over n blocks; quads count from `base`. */
LANES_INLINE void block_tile(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint16_t *quad, int64_t base, int64_t n, int mr, bool sum16)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i a0, a1, b0, b1, c0, c1;

#define START(r, lo, hi) lo = bytes32(c + 16 * (mr > r ? r : 0)), hi = bytes32(c + 16 * (mr > r ? r : 0) + 8);
    START(0, a0, a1) START(1, b0, b1) START(2, c0, c1)
#undef START
#define EIGHT(acc, u, v)                                                                                                               \
    acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_add_epi16(_mm256_maddubs_epi16(x0, _mm256_xor_si256(m0, u)),                  \
                                                                   _mm256_maddubs_epi16(x1, _mm256_xor_si256(m1, v))), ones));
#define FOUR(acc, u) acc = _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(x0, _mm256_xor_si256(m0, u)), ones));
#define ROW2(r, lo, hi)                                                                                                                \
    if (mr > r) {                                                                                                                      \
        const __m256i x0 = quad4(p + r * ldxp), m0 = quad4(p + r * ldxp + 4), x1 = quad4(q + r * ldxp), m1 = quad4(q + r * ldxp + 4); \
                                                                                                                                       \
        EIGHT(lo, u0, v0) EIGHT(hi, u1, v1)                                                                                            \
    }
#define ROW1(r, lo, hi)                                                                                                                \
    if (mr > r) {                                                                                                                      \
        const __m256i x0 = quad4(p + r * ldxp), m0 = quad4(p + r * ldxp + 4);                                                      \
                                                                                                                                       \
        FOUR(lo, u0) FOUR(hi, u1)                                                                                                      \
    }
    if (sum16)
        for (; n >= 2; n -= 2, w += 128, quad += 2) {
            const int8_t *p = xp + 8 * (quad[0] - base), *q = xp + 8 * (quad[1] - base);
            const __m256i u0 = bytes32(w), u1 = bytes32(w + 32), v0 = bytes32(w + 64), v1 = bytes32(w + 96);

            ROW2(0, a0, a1) ROW2(1, b0, b1) ROW2(2, c0, c1)
        }
    for (; n > 0; n--, w += 64, quad++) {
        const int8_t *p = xp + 8 * (quad[0] - base);
        const __m256i u0 = bytes32(w), u1 = bytes32(w + 32);

        ROW1(0, a0, a1) ROW1(1, b0, b1) ROW1(2, c0, c1)
    }
#undef FOUR
#undef EIGHT
#undef ROW1
#undef ROW2
    i_store(c, (v16i){a0, a1});
    if (mr > 1) i_store(c + 16, (v16i){b0, b1});
    if (mr > 2) i_store(c + 32, (v16i){c0, c1});
}

/* What xor owes each row: the sums of its negative inputs over the list. lanes is 8 or 16. */
static void owed(int32_t *out, const int32_t *negative, int64_t lanes, const uint16_t *quad, int64_t base, int64_t n)
{
    __m256i lo = _mm256_setzero_si256(), hi = lo;

    for (int64_t i = 0; i < n; i++) {
        const int32_t *p = negative + (quad[i] - base) * lanes;

        lo = _mm256_add_epi32(lo, bytes32(p));
        if (lanes > 8) hi = _mm256_add_epi32(hi, bytes32(p + 8));
    }
    i_store(out, (v16i){lo, hi});
}

static __attribute__((noinline)) void block_rows(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint16_t *quad, int64_t base, int64_t n, int64_t rows, bool sum16)
{
    for (; rows >= 3; rows -= 3, c += 48, xp += 3 * ldxp) {
        if (sum16) block_tile(c, xp, ldxp, w, quad, base, n, 3, true);
        else block_tile(c, xp, ldxp, w, quad, base, n, 3, false);
    }
    switch (rows * 2 + sum16) {
    case 2: block_tile(c, xp, ldxp, w, quad, base, n, 1, false); break;
    case 3: block_tile(c, xp, ldxp, w, quad, base, n, 1, true); break;
    case 4: block_tile(c, xp, ldxp, w, quad, base, n, 2, false); break;
    case 5: block_tile(c, xp, ldxp, w, quad, base, n, 2, true); break;
    default: break;
    }
}

void xc_gemm_block_s8__avx2(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K4 = xc_round_up(g->K, 4), part = xc_min_i64(K4, BLOCK_PART);
    const int64_t block = xc_min_i64(BLOCK_ROWS, BLOCK_BYTES / (2 * part) / 3 * 3), lanes = block > 8 ? 16 : 8;
    const uint32_t *first = g->index;
    const uint16_t *quads = (const uint16_t *)(const void *)(first + xc_div_up(g->N, 16) + 1);
    _Alignas(64) int8_t xp[BLOCK_BYTES];
    _Alignas(64) int32_t negative[BLOCK_PART / 4 * 8]; /* (quads, lanes): 16 lanes only where a row has a quarter of the inputs */
    _Alignas(64) int32_t c[BLOCK_ROWS * 16], start[16];

    for (int64_t r0 = row0; r0 < row1; r0 += block) {
        const int64_t rows = xc_min_i64(block, row1 - r0);

        for (int64_t c0 = col0; c0 < col1; c0 += 16) {
            const uint16_t *quad = quads + first[c0 / 16], *const end = quads + first[c0 / 16 + 1];

            memset(c, 0, (size_t)rows * 16 * sizeof *c);
            for (int64_t k0 = 0; k0 < K4; k0 += part) {
                const uint16_t *stop = part == K4 ? end : quad;

                if (part < K4 || c0 == col0)
                    for (int64_t r = 0; r < rows; r++) pack_signs(xp + r * 2 * part, negative + r, lanes, g->x + (r0 + r) * g->ldx + k0, xc_min_i64(part, K4 - k0));
                while (stop < end && 4 * *stop < k0 + part) stop++;
                owed(start, negative, lanes, quad, k0 / 4, stop - quad);
                for (int64_t r = 0; r < rows; r++) i_store(c + r * 16, i_add(i_load(c + r * 16), i_set1(start[r])));
                block_rows(c, xp, 2 * part, g->w + 64 * (quad - quads), quad, k0 / 4, stop - quad, rows, g->w_sum16 && part == K4); /* a cut may part pairs */
                quad = stop;
            }
            for (int64_t r = 0; r < rows; r++) store_row(g, c + r * 16, r0 + r, c0, col1);
        }
    }
}
