/* gemm_s4 with AVX2: nibbles are unpacked in registers, once for four rows.
 *
 * A nibble u is the unsigned operand of vpmaddubsw, x the signed one: 2 * 15 * 127 = 3810 never saturates and x needs no sign trick. The sum
 * of u - 8 over 64 inputs fits: each 16-bit lane holds 32 of them, 32 * 8 * 127 = 32512. So a lane starts from -8 times the sum of its x
 * (modulo 2^16, in which vpaddw is exact) and is widened once in 64 inputs: 17 multiplies for 512 products, where int8 takes 24 and 16 xor.
 * With zero points, in quarters, a group's sum is taken four times, and one more vpmaddwd adds (32 - zero) * sum of x.
 *
 * A tile is 4 rows x 16 outputs: 8 accumulators. The floats lie in memory: each is touched once a group. The empty asm keeps gcc 12 from
 * adding products to each other first, which needs more registers than there are (10 % slower). */
#include "runtime/kernels/avx2/isa.h"
#include "runtime/kernels/avx2/lanes.h"
#include "runtime/kernels/lanes/epilogue.h"
#include "runtime/base/base.h"

#define BLOCK 64          /* inputs between two widenings */
#define ROWS_MAX 32       /* rows of a block */
#define SUMS_MAX (XC_S4_MAX_K / XC_S4_GROUP_STEP)
#define EACH_ROW(X) X(0) X(1) X(2) X(3)

_Static_assert(BLOCK / 2 * 8 * 127 <= INT16_MAX, "a lane must hold its share of a block");

/* What the weights' offset costs a row: per block of inputs, both lanes' -8 * sum of x; per group, the sum of x. */
struct sums {
    int32_t lanes[SUMS_MAX];
    int32_t group[SUMS_MAX];
};

static int32_t *lanes_of(struct sums *s, int64_t r, int64_t blocks) { return s->lanes + r * blocks; }
static int32_t *groups_of(struct sums *s, int64_t r, int64_t groups) { return s->group + r * groups; }

/* Blocks of K inputs: groups cut every BLOCK inputs. */
static int64_t blocks_of(int64_t K, int64_t group) { return K / group * xc_div_up(group, BLOCK) + xc_div_up(K % group, BLOCK); }

/* Sums of x[0], x[1] of each quad in the low halves of four dwords, of x[2], x[3] in the high ones; n a multiple of 4, at most BLOCK. */
LANES_INLINE int32_t pair_sums(const int8_t *x, int64_t n)
{
    const __m128i ones = _mm_set1_epi8(1);
    __m128i s = _mm_setzero_si128();
    int64_t k = 0;

    for (; k + 16 <= n; k += 16) s = _mm_add_epi16(s, _mm_maddubs_epi16(ones, _mm_loadu_si128((const __m128i *)(x + k))));
    for (; k < n; k += 4) {
        int32_t four;

        memcpy(&four, x + k, 4);
        s = _mm_add_epi16(s, _mm_maddubs_epi16(ones, _mm_cvtsi32_si128(four)));
    }
    s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi16(s, _mm_shuffle_epi32(s, 0xb1)));
}

static void make_sums(int32_t *lanes, int32_t *group_sum, const int8_t *x, int64_t K, int64_t group)
{
    for (int64_t k0 = 0; k0 < K; k0 += group) {
        const int64_t end = xc_min_i64(k0 + group, K);

        *group_sum = 0;
        for (int64_t k = k0; k < end; k += BLOCK) {
            const int32_t pair = pair_sums(x + k, xc_min_i64(BLOCK, xc_round_up(end - k, 4)));
            const int16_t low = (int16_t)(pair & 0xffff), high = (int16_t)(pair >> 16);

            *group_sum += low + high;
            *lanes++ = (int32_t)((uint32_t)(-8 * low) & 0xffffu) | (int32_t)((uint32_t)(-8 * high) << 16);
        }
        group_sum++;
    }
}

struct tile {
    float *c;                     /* (mr, 16) */
    int32_t *wide;                /* (mr, 16): a group's sum between its blocks */
    const int8_t *x;
    int64_t ldx;
    const int32_t *lanes, *group_sum; /* of the first row */
    int64_t blocks, groups;       /* of a row */
    const uint8_t *w;
    const uint16_t *scale;
    const uint8_t *zero;          /* NULL = 8 */
    float unit;
    int64_t K, group;
};

/* c = sum over groups of scale * (x . (u - zero)) for mr rows and 16 outputs. */
LANES_INLINE void s4_tile(const struct tile *t, int mr, bool affine)
{
    const __m256i nibble = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const uint8_t *w = t->w;
    int64_t block = 0;

#define CLEAR(i) if (mr > i) v_store(t->c + 16 * i, v_zero());
    EACH_ROW(CLEAR)
#undef CLEAR
    for (int64_t g = 0; g < t->groups; g++) {
        const int64_t end = xc_min_i64((g + 1) * t->group, t->K);

        for (int64_t k0 = g * t->group; k0 < end; k0 += BLOCK, block++) {
            const int64_t n = xc_min_i64(BLOCK, end - k0);
            const int8_t *x0 = t->x + k0, *x1 = mr > 1 ? x0 + t->ldx : x0, *x2 = mr > 2 ? x1 + t->ldx : x0, *x3 = mr > 3 ? x2 + t->ldx : x0;
            int64_t k = 0;

#define START(i) __m256i a##i = _mm256_set1_epi32(mr > i ? t->lanes[i * t->blocks + block] : 0), b##i = a##i;
            EACH_ROW(START)
#undef START
#define STEP(i)                                                              \
    if (mr > i) {                                                            \
        const __m256i x = quad4(x##i + at);                                   \
        a##i = _mm256_add_epi16(a##i, _mm256_maddubs_epi16(u0, x));          \
        b##i = _mm256_add_epi16(b##i, _mm256_maddubs_epi16(u1, x));          \
        __asm__("" : "+x"(a##i), "+x"(b##i));                                \
    }
#define FOUR(first, shift)                                                   \
    {                                                                        \
        const int64_t at = k + first;                                        \
        const __m256i u0 = _mm256_and_si256(shift(w0), nibble), u1 = _mm256_and_si256(shift(w1), nibble); \
        EACH_ROW(STEP)                                                       \
    }
#define LOW(v) v
#define HIGH(v) _mm256_srli_epi16(v, 4)
#define EIGHT                                                                \
    {                                                                        \
        const __m256i w0 = _mm256_loadu_si256((const __m256i *)w), w1 = _mm256_loadu_si256((const __m256i *)(w + 32)); \
                                                                             \
        FOUR(0, LOW)                                                         \
        FOUR(4, HIGH)                                                        \
        k += 8, w += 64;                                                     \
    }
            if (n == 64) { /* without a loop, whose end is mispredicted (10 %) */
                EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT EIGHT
            } else if (n == 32) {
                EIGHT EIGHT EIGHT EIGHT
            } else {
                while (k + 4 < n) EIGHT
            }
            if (k < n) { /* the last four inputs or fewer: x may end here */
                const __m256i w0 = _mm256_loadu_si256((const __m256i *)w), w1 = _mm256_loadu_si256((const __m256i *)(w + 32));

                FOUR(0, LOW)
                w += 64;
            }
#undef STEP
#undef FOUR
#undef EIGHT
#undef LOW
#undef HIGH
            const bool first = k0 == g * t->group, last = k0 + BLOCK >= end;
            const v16f scale = !last ? v_zero() : affine ? v_mul(v_from_f16(t->scale + 16 * g), v_set1(t->unit)) : v_from_f16(t->scale + 16 * g);
            __m256i z0 = ones, z1 = ones;

            if (affine && last) { /* dwords 32 - zero, of which vpmaddwd sees the low half alone: the group's sum has no high half to meet */
                const __m256i usual = _mm256_set1_epi32(4 * XC_S4_ZERO), low = _mm256_set1_epi32(0xffff);

                z0 = _mm256_and_si256(_mm256_sub_epi32(usual, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(t->zero + 16 * g)))), low);
                z1 = _mm256_and_si256(_mm256_sub_epi32(usual, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(t->zero + 16 * g + 8)))), low);
            }
#define FINISH(i)                                                                                          \
    if (mr > i) {                                                                                          \
        v16i s = {_mm256_madd_epi16(a##i, ones), _mm256_madd_epi16(b##i, ones)};                           \
        if (!first) s = i_add(s, i_load(t->wide + 16 * i));                                                \
        if (!last) {                                                                                       \
            i_store(t->wide + 16 * i, s);                                                                  \
        } else {                                                                                           \
            if (affine) {                                                                                  \
                const __m256i sum = _mm256_set1_epi32(t->group_sum[i * t->groups + g]);                    \
                s = (v16i){_mm256_slli_epi32(s.a, 2), _mm256_slli_epi32(s.b, 2)};                          \
                s = i_add(s, (v16i){_mm256_madd_epi16(z0, sum), _mm256_madd_epi16(z1, sum)});              \
            }                                                                                              \
            v_store(t->c + 16 * i, v_fma(v_from_i(s), scale, v_load(t->c + 16 * i)));                      \
        }                                                                                                  \
    }
            EACH_ROW(FINISH)
#undef FINISH
        }
    }
}

/* The same from bytes. w = u - 128 lies in -128 .. 127, and |w| is the unsigned operand, x with w's sign the signed one: 2 * 128 * 127 = 32512 never
 * saturates, and vpmaddwd widens each product of four. All four rows, some of them the first again: bytes are for size. */
static __attribute__((noinline)) void s4_bytes_tile(const struct tile *t, int64_t mr)
{
    const __m256i ones = _mm256_set1_epi16(1), flip = _mm256_set1_epi8((char)XC_S4_BYTES_ZERO), usual = _mm256_set1_epi32(XC_S4_BYTES_ZERO);
    const v16f unit = v_set1(t->zero ? t->unit : 1.0f);
    const int8_t *x0 = t->x, *x1 = mr > 1 ? x0 + t->ldx : x0, *x2 = mr > 2 ? x1 + t->ldx : x0, *x3 = mr > 3 ? x2 + t->ldx : x0;
    const uint8_t *w = t->w;

    for (int64_t i = 0; i < 4; i++) v_store(t->c + 16 * i, v_zero());
    for (int64_t g = 0; g < t->groups; g++) {
        const int64_t end = xc_min_i64((g + 1) * t->group, t->K);
        v16i z = i_zero(); /* zero - 128 */
        int64_t k = g * t->group;

        if (t->zero) z = (v16i){_mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(t->zero + 16 * g))), usual), _mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(t->zero + 16 * g + 8))), usual)};
#define START(i) __m256i a##i = _mm256_setzero_si256(), b##i = a##i;
        EACH_ROW(START)
#undef START
        for (; k < end; k += 4, w += 64) {
            const __m256i w0 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)w), flip), w1 = _mm256_xor_si256(_mm256_loadu_si256((const __m256i *)(w + 32)), flip);
            const __m256i m0 = _mm256_abs_epi8(w0), m1 = _mm256_abs_epi8(w1);

#define STEP(i)                                                                                        \
    {                                                                                                  \
        const __m256i x = quad4(x##i + k);                                                             \
        a##i = _mm256_add_epi32(a##i, _mm256_madd_epi16(_mm256_maddubs_epi16(m0, _mm256_sign_epi8(x, w0)), ones)); \
        b##i = _mm256_add_epi32(b##i, _mm256_madd_epi16(_mm256_maddubs_epi16(m1, _mm256_sign_epi8(x, w1)), ones)); \
    }
            EACH_ROW(STEP)
#undef STEP
        }
        const v16f scale = v_mul(v_from_f16(t->scale + 16 * g), unit);

#define FINISH(i)                                                                                      \
    {                                                                                                  \
        const __m256i sum = _mm256_set1_epi32(t->group_sum[(mr > i ? i : 0) * t->groups + g]);         \
        const v16i s = {_mm256_sub_epi32(a##i, _mm256_mullo_epi32(z.a, sum)), _mm256_sub_epi32(b##i, _mm256_mullo_epi32(z.b, sum))}; \
        v_store(t->c + 16 * i, v_fma(v_from_i(s), scale, v_load(t->c + 16 * i)));                      \
    }
        EACH_ROW(FINISH)
#undef FINISH
    }
}

static __attribute__((noinline)) void run_tile(const struct tile *t, int64_t rows, bool bytes)
{
    const bool affine = t->zero != NULL;

    switch (bytes ? 0 : rows * 2 + affine) {
    case 0: s4_bytes_tile(t, rows); break;
    case 2: s4_tile(t, 1, false); break;
    case 3: s4_tile(t, 1, true); break;
    case 4: s4_tile(t, 2, false); break;
    case 5: s4_tile(t, 2, true); break;
    case 6: s4_tile(t, 3, false); break;
    case 7: s4_tile(t, 3, true); break;
    case 8: s4_tile(t, 4, false); break;
    default: s4_tile(t, 4, true); break;
    }
}

void xc_gemm_s4__avx2(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K8 = xc_round_up(g->K, 8), groups = xc_div_up(g->K, g->group), blocks = blocks_of(g->K, g->group);
    const int64_t most = xc_max_i64(1, xc_min_i64(ROWS_MAX, SUMS_MAX / blocks));
    _Alignas(64) float c[4 * 16];
    _Alignas(64) int32_t wide[4 * 16];
    struct sums sums;

    for (int64_t r0 = row0; r0 < row1; r0 += most) {
        const int64_t rows = xc_min_i64(most, row1 - r0);

        for (int64_t r = 0; r < rows; r++) make_sums(lanes_of(&sums, r, blocks), groups_of(&sums, r, groups), g->x + (r0 + r) * g->ldx, g->K, g->group);
        for (int64_t c0 = col0; c0 < col1; c0 += 16) {
            const int64_t n = xc_min_i64(16, col1 - c0), at = c0 / 16 * groups * 16;

            for (int64_t r = 0; r < rows; r += 4) {
                const int64_t mr = xc_min_i64(4, rows - r);
                const struct tile t = {.c = c, .wide = wide, .x = g->x + (r0 + r) * g->ldx, .ldx = g->ldx, .lanes = lanes_of(&sums, r, blocks),
                                       .group_sum = groups_of(&sums, r, groups), .blocks = blocks, .groups = groups, .w = g->w + (g->bytes ? c0 : c0 / 2) * K8,
                                       .scale = g->scale + at, .zero = g->zero ? g->zero + at : NULL, .unit = g->unit, .K = g->K, .group = g->group};

                run_tile(&t, mr, g->bytes);
                for (int64_t i = 0; i < mr; i++) {
                    ep_store_s4(&g->ep, g->w_sum, v_load(c + 16 * i), r0 + r + i, c0, n);
                    ep_finish(&g->ep, r0 + r + i, c0, n);
                }
            }
        }
    }
}
