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
#define EIGHT_ROWS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define AHEAD 4096 /* bytes of weights fetched in advance: what the hardware fetches by itself does not hide memory, and hides L3 */
#define GROUPS (PART / XC_S4_GROUP_STEP) /* of a part */

struct tile {
    const struct xc_gemm_s4 *g;
    int64_t r0, rows, c0, n;                      /* rows, columns */
    int64_t inputs;                               /* of this part */
    _Alignas(64) float c[ROWS_MAX * 16];
    _Alignas(64) int32_t sum[GROUPS * ROWS_MAX];  /* (groups, rows): sums of x, times -8 for nibbles without zero points, else times -1 */
    _Alignas(64) uint8_t x[ROWS_MAX * ROW_STRIDE];
};

/* Inputs [k0, k0 + n), zeros up to the next multiple of 64, and their sums, of four rows at once (of rows that are missing nobody reads them). */
static void copy_part(struct tile *t, int64_t k0, int64_t n)
{
    const struct xc_gemm_s4 *g = t->g;
    const __m256i by = _mm256_set1_epi8(g->zero || g->bytes ? 1 : XC_S4_ZERO);

    t->inputs = n;
    copy_rows(t->x, g->x + t->r0 * g->ldx + k0, g->ldx, t->rows, n, 0);
    for (int64_t r = 0; r < t->rows; r += 4) {
        const uint8_t *x = t->x + r * ROW_STRIDE;

        for (int64_t k = 0, i = 0; k < n; i++) {
            const int64_t end = xc_min_i64(k + g->group, n);
            __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0;

#define SUM(i) s##i = _mm256_dpbusd_epi32(s##i, by, _mm256_loadu_si256((const __m256i *)(x + i * ROW_STRIDE + k)));
            for (; k < end; k += 32) { FIRST_ROWS(SUM) }
#undef SUM
            const __m256i u = _mm256_add_epi32(_mm256_unpacklo_epi32(s0, s1), _mm256_unpackhi_epi32(s0, s1));
            const __m256i v = _mm256_add_epi32(_mm256_unpacklo_epi32(s2, s3), _mm256_unpackhi_epi32(s2, s3));
            const __m256i e = _mm256_add_epi32(_mm256_unpacklo_epi64(u, v), _mm256_unpackhi_epi64(u, v));
            const __m128i q = _mm_add_epi32(_mm256_castsi256_si128(e), _mm256_extracti128_si256(e, 1));

            _mm_storeu_si128((__m128i *)(t->sum + i * ROWS_MAX + r), _mm_sub_epi32(_mm_setzero_si128(), q));
        }
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
                                                          \
        _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0); \
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

/* All groups of a part for few rows, floats in registers. Up to four have several chains of sums each to keep the multipliers busy, and use high
 * nibbles where they are, at sixteen times their worth: so all sums are, and scales a sixteenth. */
LANES_INLINE void s4_few(struct tile *t, const uint8_t *w, const uint16_t *scale, const uint8_t *zero, int mr, bool affine)
{
    const int64_t group = t->g->group;
    const bool apart = mr <= 4;
    const v16i mask = _mm512_set1_epi8(15), high_mask = _mm512_set1_epi8(-16);
    const int32_t *sum = t->sum;
    const uint8_t *x = t->x;

#define FLOATS(i) v16f c##i = mr > i ? v_load(t->c + 16 * i) : v_zero();
    EIGHT_ROWS(FLOATS)
    for (int64_t left = t->inputs; left > 0; left -= group, scale += 16, sum += ROWS_MAX) {
        const v16i z = affine ? zeros(zero) : i_zero();

#define CHAINS(i) v16i a##i = mr <= i || affine ? i_zero() : i_set1(sum[i]), b##i = i_zero(), d##i = i_zero(), e##i = i_zero();
        EIGHT_ROWS(CHAINS)
        for (int64_t k = xc_min_i64(group, left); k > 0; k -= 16, w += 128, x += 16) { /* x is zero where K has ended; the panel is not read beyond its end */
            const v16i both = _mm512_loadu_si512(w), next = k > 8 ? _mm512_loadu_si512(w + 64) : i_zero();
            const v16i u0 = _mm512_and_si512(both, mask), u1 = apart ? _mm512_and_si512(both, high_mask) : high(both, false);
            const v16i u2 = _mm512_and_si512(next, mask), u3 = apart ? _mm512_and_si512(next, high_mask) : high(next, false);

            _mm_prefetch((const char *)w + AHEAD, _MM_HINT_T0);
            _mm_prefetch((const char *)w + AHEAD + 64, _MM_HINT_T0);
#define AT(i, n) (x + i * ROW_STRIDE + 4 * n)
#define STEP(i)                                                                                                          \
    if (mr > i && mr <= 2) { DOT(a##i, u0, AT(i, 0)) DOT(b##i, u1, AT(i, 1)) DOT(d##i, u2, AT(i, 2)) DOT(e##i, u3, AT(i, 3)) } \
    else if (mr > i && apart) { DOT(a##i, u0, AT(i, 0)) DOT(b##i, u1, AT(i, 1)) DOT(a##i, u2, AT(i, 2)) DOT(b##i, u3, AT(i, 3)) }
#define ALONE(n, i) if (mr > i && !apart) DOT(a##i, u##n, AT(i, n))
#define ALONE0(i) ALONE(0, i)
#define ALONE1(i) ALONE(1, i)
#define ALONE2(i) ALONE(2, i)
#define ALONE3(i) ALONE(3, i)
            EIGHT_ROWS(STEP)
            EIGHT_ROWS(ALONE0) EIGHT_ROWS(ALONE1) EIGHT_ROWS(ALONE2) EIGHT_ROWS(ALONE3)
        }
        const v16f s = v_mul(v_from_f16(scale), v_set1(affine ? t->g->unit * (apart ? 0.25f : 1.0f) : apart ? 0.0625f : 1.0f));

        if (affine) zero += 16;
#define FINISH(i)                                                                                                \
    if (mr > i) {                                                                                                \
        if (apart) a##i = _mm512_slli_epi32(i_add(a##i, d##i), affine ? 2 : 4);                                  \
        else if (affine) a##i = _mm512_slli_epi32(a##i, 2);                                                      \
        if (affine) a##i = i_add(a##i, _mm512_madd_epi16(z, i_set1(sum[i])));                                    \
        if (affine && apart) a##i = _mm512_slli_epi32(a##i, 2);                                                  \
        if (apart) a##i = i_add(a##i, i_add(b##i, e##i));                                                        \
        c##i = v_fma(v_from_i(a##i), s, c##i);                                                                   \
    }
        EIGHT_ROWS(FINISH)
    }
#define STORE(i) if (mr > i) v_store(t->c + 16 * i, c##i);
    EIGHT_ROWS(STORE)
#undef FLOATS
#undef CHAINS
#undef AT
#undef STEP
#undef ALONE
#undef FINISH
#undef STORE
}

#define GROUP_ARGS float *c, const uint8_t *x, const int32_t *sum, const uint8_t *w, const uint16_t *scale, const uint8_t *zero, float unit, int64_t inputs
typedef void group_fn(GROUP_ARGS);
#define GROUP(count)                                                                                            \
    static void group_##count(GROUP_ARGS) { s4_group(c, x, sum, w, scale, zero, unit, inputs, count, false, false); }
#define ZERO(count) static void zero_##count(GROUP_ARGS) { s4_group(c, x, sum, w, scale, zero, unit, inputs, count, true, false); }
#define BYTES(count) static void bytes_##count(GROUP_ARGS) { s4_group(c, x, sum, w, scale, zero, unit, inputs, count, true, true); }
GROUP(12) GROUP(16) GROUP(20) GROUP(24)
ZERO(16) ZERO(24) /* fewer than without: the library is to stay small */
BYTES(8) BYTES(16) BYTES(24)
#undef GROUP
#undef ZERO
#undef BYTES
static group_fn *const group_fns[3][ROWS_MAX / 4] = {{NULL, NULL, group_12, group_16, group_20, group_24},
                                                     {NULL, NULL, zero_16, zero_16, zero_24, zero_24},
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

    if (t->rows <= 8 && !t->g->bytes) {
#define FEW_ROWS(i) case i + 1: zero ? s4_few(t, w, scale, zero, i + 1, true) : s4_few(t, w, scale, NULL, i + 1, false); break;
        switch (t->rows) { FIRST_ROWS(FEW_ROWS) default: zero ? s4_few(t, w, scale, zero, 8, true) : s4_few(t, w, scale, NULL, 8, false); break; }
#undef FEW_ROWS
        return;
    }
    group_fn *const fn = group_fns[t->g->bytes ? 2 : zero != NULL][xc_div_up(t->rows, 4) - 1];

    if (!zero) zero = usual;
    for (int64_t k = 0; k < t->inputs; k += group, w += w_step, scale += 16, zero += zero_step, sum += ROWS_MAX)
        fn(t->c, t->x + k, sum, w, scale, zero, unit, xc_min_i64(group, t->inputs - k));
}

/* What ep_store_s4 does, its questions asked once. */
LANES_INLINE void finish_rows(const struct tile *t, bool affine, bool gelu)
{
    const struct xc_epilogue ep = t->g->ep; /* stores to out cannot change a copy */
    const v16f bias = ep.bias ? v_load(ep.bias + t->c0) : v_zero(), w_sum = affine ? v_load(t->g->w_sum + t->c0) : v_zero();
    const float *c = t->c;

    for (int64_t r = t->r0; r < t->r0 + t->rows; r++, c += 16) {
        v16f y = v_fma(v_load(c), v_set1(ep.row_scale[r]), bias);

        if (affine) y = v_fma(v_set1(ep.row_mid[r]), w_sum, y);
        v_store(ep.out + r * ep.ld_out + t->c0, gelu ? v_gelu(y) : y);
    }
}

static void finish_tile(const struct tile *t)
{
    const struct xc_epilogue *ep = &t->g->ep;
    const bool gelu = ep->act == XC_ACT_GELU;
    const float *c = t->c;

    if (t->n == 16 && !ep->residual && !(gelu && ep->row_mid) && (gelu || ep->act == XC_ACT_NONE)) {
        if (gelu) finish_rows(t, false, true);
        else if (ep->row_mid) finish_rows(t, true, false);
        else finish_rows(t, false, false);
        return;
    }
    for (int64_t r = t->r0; r < t->r0 + t->rows; r++, c += 16) {
        ep_store_s4(ep, t->g->w_sum, v_load(c), r, t->c0, t->n);
        ep_finish(ep, r, t->c0, t->n);
    }
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
