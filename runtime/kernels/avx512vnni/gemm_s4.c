/* gemm_s4 with AVX-512 VNNI: a nibble, or a byte, is the unsigned operand of vpdpbusd as it is, x the signed one, broadcast from memory.
 *
 * A tile is 24 rows x 16 outputs: 24 sums in registers, whose weight is unpacked once for all rows; they start from -zero times the sum of the
 * group's x. The floats lie in memory, since each is touched once a group: a conversion and a fused multiply-add for each 4 * group products. The
 * latter shares its units with vpdpbusd, so that groups of 64 can reach 16/17 of the peak. With zero points, in quarters, nibbles are unpacked four times as large. Bytes, which are for size,
 * have fewer tiles of their own, and always zero points. */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"
#include "runtime/kernels/avx512vnni/tile.h"
#include "runtime/kernels/lanes/epilogue.h"

#define ROWS_MAX 24
#define GROUPS (PART / XC_S4_GROUP_STEP) /* of a part */

struct tile {
    const struct xc_gemm_s4 *g;
    int64_t r0, rows, c0, n;                      /* rows, columns */
    int64_t inputs;                               /* of this part */
    _Alignas(64) float c[ROWS_MAX * 16];
    _Alignas(64) int32_t sum[GROUPS * ROWS_MAX];  /* (groups, rows): sums of x, times -8 for nibbles without zero points, else times -1 */
    _Alignas(64) uint8_t x[ROWS_MAX * ROW_STRIDE];
};

/* Inputs [k0, k0 + n), zeros up to the next multiple of 64, and their sums. */
static void copy_part(struct tile *t, int64_t k0, int64_t n)
{
    const struct xc_gemm_s4 *g = t->g;
    const __m256i ones = _mm256_set1_epi8(1);
    const int32_t by = g->zero || g->bytes ? -1 : -XC_S4_ZERO;

    t->inputs = n;
    copy_rows(t->x, g->x + t->r0 * g->ldx + k0, g->ldx, t->rows, n, 0);
    for (int64_t r = 0; r < t->rows; r++)
        for (int64_t k = 0, i = 0; k < n; i++) {
            const int64_t end = xc_min_i64(k + g->group, n);
            __m256i s = _mm256_setzero_si256();

            for (; k < end; k += 32) s = _mm256_dpbusd_epi32(s, ones, _mm256_loadu_si256((const __m256i *)(t->x + r * ROW_STRIDE + k)));

            __m128i q = _mm_add_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));

            q = _mm_add_epi32(q, _mm_shuffle_epi32(q, 0x4e));
            t->sum[i * ROWS_MAX + r] = by * _mm_cvtsi128_si32(_mm_add_epi32(q, _mm_shuffle_epi32(q, 0xb1)));
        }
}

_Static_assert(XC_S4_GROUP_MAX * 127 <= INT16_MAX, "a group's sum must fit the 16 bits that vpmaddwd reads");

/* What gcc 12 needs to keep 24 sums in registers: products that are in place, and sums that do not remember what they were loaded from. */
#ifdef __AVX512VNNI__
typedef int32_t __attribute__((may_alias, aligned(1))) quad;
#define DOT(acc, u, at) __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(u), "m"(*(const quad *)(const void *)(at)));
#define KEEP(i) __asm__("" : "+v"(a##i));
#define UNROLLED 64 /* inputs of a group without a loop, whose end is mispredicted (10 % with 16 rows) */
#else /* emulated */
#define DOT(acc, u, at)                                   \
    {                                                     \
        int32_t four;                                     \
        memcpy(&four, at, 4);                             \
        acc = tile_dot(acc, u, i_set1(four));             \
    }
#define KEEP(i)
#define UNROLLED -1 /* compiles for minutes */
#endif

LANES_INLINE v16i low(v16i both, bool affine)
{
    return affine ? _mm512_and_si512(_mm512_slli_epi16(both, 2), _mm512_set1_epi8(60)) : _mm512_and_si512(both, _mm512_set1_epi8(15));
}
LANES_INLINE v16i high(v16i both, bool affine)
{
    return affine ? _mm512_and_si512(_mm512_srli_epi16(both, 2), _mm512_set1_epi8(60)) : _mm512_and_si512(_mm512_srli_epi16(both, 4), _mm512_set1_epi8(15));
}
LANES_INLINE v16f scales(const uint16_t *scale, float unit, bool affine) { return affine ? v_mul(v_from_f16(scale), v_set1(unit)) : v_from_f16(scale); }
LANES_INLINE v16i zeros(const uint8_t *zero) { return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)zero)); } /* high halves are 0 */

#define START(i) v16i a##i = mr <= i ? i_zero() : affine ? _mm512_madd_epi16(z, i_set1(sum[i])) : i_set1(sum[i]);
#define LOW(i) if (mr > i) DOT(a##i, u, x + i * ROW_STRIDE)
#define HIGH(i) if (mr > i) DOT(a##i, u, x + i * ROW_STRIDE + 4)

/* One group, of `inputs` inputs. A function of its own: in a loop over groups gcc 12 takes the floats into registers, which are too few. */
LANES_INLINE void s4_group(float *c, const uint8_t *x, const int32_t *sum, const uint8_t *w, const uint16_t *scale, const uint8_t *zero, float unit, int64_t inputs,
                           int mr, bool affine, bool bytes)
{
    const v16i z = affine ? zeros(zero) : i_zero();
    const v16f s = scales(scale, unit, affine);

    EACH_ROW(START)
    EACH_ROW(KEEP)
#define EIGHT(ROWS)                                       \
    {                                                     \
        const v16i both = _mm512_loadu_si512(w);          \
        {                                                 \
            const v16i u = bytes ? both : low(both, affine); \
                                                          \
            ROWS(LOW)                                     \
        }                                                 \
        const v16i u = bytes ? _mm512_loadu_si512(w + 64) : high(both, affine); \
                                                          \
        ROWS(HIGH)                                        \
        w += bytes ? 128 : 64, x += 8;                    \
    }
    if (inputs == UNROLLED && !bytes) {
        EIGHT(EACH_ROW) EIGHT(EACH_ROW) EIGHT(EACH_ROW) EIGHT(EACH_ROW) EIGHT(EACH_ROW) EIGHT(EACH_ROW) EIGHT(EACH_ROW) EIGHT(EACH_ROW)
    } else {
        for (; inputs > 0; inputs -= 8) EIGHT(EACH_ROW)
    }
#define FINISH(i) if (mr > i) v_store(c + 16 * i, v_fma(v_from_i(a##i), s, v_load(c + 16 * i)));
    EACH_ROW(FINISH)
#undef FINISH
}

/* All groups of a part, for one row, or for four (two and three are as four: the library is to stay small): floats in registers, and eight chains of
 * sums together to keep the multipliers busy. */
LANES_INLINE void s4_one(struct tile *t, const uint8_t *w, const uint16_t *scale, const uint8_t *zero, bool affine)
{
    const int64_t group = t->g->group;
    const int32_t *sum = t->sum;
    const uint8_t *x = t->x;
    v16f c = v_load(t->c);

    for (int64_t left = t->inputs; left > 0; left -= group, scale += 16, sum += ROWS_MAX) {
        v16i a0 = affine ? _mm512_madd_epi16(zeros(zero), i_set1(*sum)) : i_set1(*sum), a1 = i_zero(), a2 = i_zero(), a3 = i_zero();

        if (affine) zero += 16;
        for (int64_t k = xc_min_i64(group, left); k > 0; k -= 16) { /* x is zero where K has ended; the panel is not read beyond its end */
            const v16i first = _mm512_loadu_si512(w), second = k > 8 ? _mm512_loadu_si512(w + 64) : i_zero();

            DOT(a0, low(first, affine), x)
            DOT(a1, high(first, affine), x + 4)
            DOT(a2, low(second, affine), x + 8)
            DOT(a3, high(second, affine), x + 12)
            w += 128, x += 16;
        }
        c = v_fma(v_from_i(i_add(i_add(a0, a1), i_add(a2, a3))), scales(scale, t->g->unit, affine), c);
    }
    v_store(t->c, c);
}

LANES_INLINE void s4_four(struct tile *t, const uint8_t *w, const uint16_t *scale, const uint8_t *zero, bool affine)
{
    const int64_t group = t->g->group;
    const int32_t *sum = t->sum;
    const uint8_t *x = t->x;
    const int mr = 4;

#define FLOATS(i) v16f c##i = v_load(t->c + 16 * i);
    FIRST_ROWS(FLOATS)
    for (int64_t left = t->inputs; left > 0; left -= group, scale += 16, sum += ROWS_MAX) {
        const v16i z = affine ? zeros(zero) : i_zero();

        if (affine) zero += 16;
        FIRST_ROWS(START)
#define SECOND(i) v16i b##i = i_zero();
        FIRST_ROWS(SECOND)
#define STEP(i) DOT(a##i, u0, x + i * ROW_STRIDE) DOT(b##i, u1, x + i * ROW_STRIDE + 4)
        for (int64_t k = xc_min_i64(group, left); k > 0; k -= 8, w += 64, x += 8) {
            const v16i both = _mm512_loadu_si512(w), u0 = low(both, affine), u1 = high(both, affine);

            FIRST_ROWS(STEP)
        }
        const v16f s = scales(scale, t->g->unit, affine);

#define FINISH(i) c##i = v_fma(v_from_i(i_add(a##i, b##i)), s, c##i);
        FIRST_ROWS(FINISH)
    }
#define STORE(i) v_store(t->c + 16 * i, c##i);
    FIRST_ROWS(STORE)
#undef FLOATS
#undef SECOND
#undef STEP
#undef FINISH
#undef STORE
}

#define GROUP_ARGS float *c, const uint8_t *x, const int32_t *sum, const uint8_t *w, const uint16_t *scale, const uint8_t *zero, float unit, int64_t inputs
typedef void group_fn(GROUP_ARGS);
#define GROUP(count)                                                                                            \
    static void group_##count(GROUP_ARGS) { s4_group(c, x, sum, w, scale, zero, unit, inputs, count, false, false); }
#define ZERO(count) static void zero_##count(GROUP_ARGS) { s4_group(c, x, sum, w, scale, zero, unit, inputs, count, true, false); }
#define BYTES(count) static void bytes_##count(GROUP_ARGS) { s4_group(c, x, sum, w, scale, zero, unit, inputs, count, true, true); }
GROUP(8) GROUP(12) GROUP(16) GROUP(20) GROUP(24)
ZERO(8) ZERO(16) ZERO(24) /* fewer than without: the library is to stay small */
BYTES(8) BYTES(16) BYTES(24)
#undef GROUP
#undef ZERO
#undef BYTES
static group_fn *const group_fns[3][ROWS_MAX / 4] = {{group_8, group_8, group_12, group_16, group_20, group_24},
                                                     {zero_8, zero_8, zero_16, zero_16, zero_24, zero_24},
                                                     {bytes_8, bytes_8, bytes_16, bytes_16, bytes_24, bytes_24}};

/* All groups of a part. */
static void s4_run(struct tile *t, const uint8_t *w, const uint16_t *scale, const uint8_t *zero)
{
    const int64_t group = t->g->group, w_step = group * (t->g->bytes ? 16 : 8), zero_step = zero ? 16 : 0;
#define FOUR_ZEROS XC_S4_BYTES_ZERO, XC_S4_BYTES_ZERO, XC_S4_BYTES_ZERO, XC_S4_BYTES_ZERO
    static const uint8_t usual[16] = {FOUR_ZEROS, FOUR_ZEROS, FOUR_ZEROS, FOUR_ZEROS};
#undef FOUR_ZEROS
    const float unit = zero ? t->g->unit : 1.0f;
    const int32_t *sum = t->sum;

    if (t->rows <= 4 && !t->g->bytes) {
        if (t->rows > 1 && zero) s4_four(t, w, scale, zero, true);
        else if (t->rows > 1) s4_four(t, w, scale, NULL, false);
        else if (zero) s4_one(t, w, scale, zero, true);
        else s4_one(t, w, scale, NULL, false);
        return;
    }
    group_fn *const fn = group_fns[t->g->bytes ? 2 : zero != NULL][xc_div_up(t->rows, 4) - 1];

    if (!zero) zero = usual;
    for (int64_t k = 0; k < t->inputs; k += group, w += w_step, scale += 16, zero += zero_step, sum += ROWS_MAX)
        fn(t->c, t->x + k, sum, w, scale, zero, unit, xc_min_i64(group, t->inputs - k));
}

static void finish_tile(const struct tile *t)
{
    const struct xc_epilogue *ep = &t->g->ep;
    const int64_t r1 = t->r0 + t->rows, c0 = t->c0;
    const float *c = t->c;

    if (t->n == 16 && !ep->row_mid && !ep->residual) { /* what ep_store_s4 does, its questions asked once */
        const v16f bias = ep->bias ? v_load(ep->bias + c0) : v_zero();

        for (int64_t r = t->r0; r < r1; r++, c += 16) v_store(ep->out + r * ep->ld_out + c0, v_fma(v_load(c), v_set1(ep->row_scale[r]), bias));
    } else {
        for (int64_t r = t->r0; r < r1; r++, c += 16) ep_store_s4(ep, t->g->w_sum, v_load(c), r, c0, t->n);
    }
    if (ep->act != XC_ACT_NONE)
        for (int64_t r = t->r0; r < r1; r++) ep_finish(ep, r, c0, t->n);
}

void xc_gemm_s4__avx512vnni(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K8 = xc_round_up(g->K, 8), groups = xc_div_up(g->K, g->group), part = PART / g->group * g->group;
    struct tile t;

    t.g = g;
    for (t.r0 = row0; t.r0 < row1; t.r0 += t.rows) {
        t.rows = next_rows(row1 - t.r0, ROWS_MAX);
        for (t.c0 = col0; t.c0 < col1; t.c0 += 16) {
            t.n = xc_min_i64(16, col1 - t.c0);
            fetch_outputs(&g->ep, t.r0, t.rows, t.c0);
            memset(t.c, 0, (size_t)xc_round_up(t.rows, 4) * 16 * sizeof *t.c);
            for (int64_t k0 = 0; k0 < g->K; k0 += part) {
                const int64_t at = (t.c0 / 16 * groups + k0 / g->group) * 16;

                if (part < g->K || t.c0 == col0) copy_part(&t, k0, xc_min_i64(part, g->K - k0));
                s4_run(&t, g->w + (t.c0 * K8 + k0 * 16) / (g->bytes ? 1 : 2), g->scale + at, g->zero ? g->zero + at : NULL);
            }
            finish_tile(&t);
        }
    }
}
