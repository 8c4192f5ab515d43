/* loops: see loops.h. The bodies are written once, always inlined; each level is a set of functions with the attribute of its instructions. */
#include "compress/grad/loops.h"

#include <math.h>
#include <string.h>

#include "runtime/kernels/kernels.h"

#define BODY static inline __attribute__((always_inline))
#define LANES 16
/* Sums of sixteen numbers side by side; a compiler without such a register uses several. */
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float lanes_at __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));
#define AT(p) (*(const lanes_at *)(p))

/* ---- dropout ---- */
/* Philox4x32-10 (runtime/base/rng.c) of DRAWS indices side by side: more than sixteen, which the compiler would unroll before it looks for wide instructions. */
#define DRAWS 32
BODY void philox(uint32_t c[4][DRAWS], uint64_t seed, uint64_t stream, const uint64_t index[DRAWS])
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

    for (int l = 0; l < DRAWS; l++) {
        c[0][l] = (uint32_t)index[l];
        c[1][l] = (uint32_t)(index[l] >> 32);
        c[2][l] = (uint32_t)stream;
        c[3][l] = (uint32_t)(stream >> 32);
    }
    for (int round = 0; round < 10; round++) {
        for (int l = 0; l < DRAWS; l++) {
            const uint64_t a = (uint64_t)0xD2511F53u * c[0][l], b = (uint64_t)0xCD9E8D57u * c[2][l];

            c[0][l] = (uint32_t)(b >> 32) ^ c[1][l] ^ k0;
            c[2][l] = (uint32_t)(a >> 32) ^ c[3][l] ^ k1;
            c[1][l] = (uint32_t)b;
            c[3][l] = (uint32_t)a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

/* n bytes of the mask, at most DRAWS, of as many indices */
BODY void draw_some(uint8_t *mask, int64_t n, uint32_t below, uint64_t seed, uint64_t stream, const uint64_t index[DRAWS])
{
    uint32_t c[4][DRAWS], bits[DRAWS] = { 0 };
    uint8_t bytes[DRAWS];

    philox(c, seed, stream, index);
    for (int w = 0; w < 4; w++)
        for (int l = 0; l < DRAWS; l++) bits[l] |= (uint32_t)((c[w][l] & 0xffff) >= below) << (2 * w) | (uint32_t)((c[w][l] >> 16) >= below) << (2 * w + 1);
    for (int l = 0; l < DRAWS; l++) bytes[l] = (uint8_t)bits[l];
    memcpy(mask, bytes, (size_t)n);
}

BODY void draw_body(uint8_t *mask, int64_t n, uint32_t below, uint64_t seed, uint64_t stream, uint64_t first)
{
    for (int64_t i = 0; i < n; i += DRAWS) {
        uint64_t index[DRAWS];

        for (int l = 0; l < DRAWS; l++) index[l] = first + (uint64_t)i + (uint64_t)l;
        draw_some(mask + i, xc_min_i64(DRAWS, n - i), below, seed, stream, index);
    }
}

BODY void draw_rows_body(uint8_t *mask, int64_t rows, int64_t bytes, uint32_t below, uint64_t seed, uint64_t stream, uint64_t row)
{
    int64_t at = 0;

    for (int64_t i = 0; i < rows * bytes; i += DRAWS) {
        uint64_t index[DRAWS];

        for (int l = 0; l < DRAWS; l++) {
            index[l] = row << 24 | (uint64_t)at;
            if (++at == bytes) {
                row++;
                at = 0;
            }
        }
        draw_some(mask + i, xc_min_i64(DRAWS, rows * bytes - i), below, seed, stream, index);
    }
}

BODY float factor_of(uint32_t bit, uint32_t scale_bits)
{
    const uint32_t bits = scale_bits & (0u - bit);
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

BODY void apply_body(float *x, const uint8_t *mask, int64_t n, float scale)
{
    const int64_t whole = n / 32 * 32;
    uint32_t scale_bits;

    memcpy(&scale_bits, &scale, sizeof scale_bits);
    for (int64_t i = 0; i < whole; i += 32) {
        const uint8_t *b = mask + i / 8;
        const uint32_t m = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;

        for (int l = 0; l < 32; l++) x[i + l] *= factor_of(m >> l & 1, scale_bits);
    }
    for (int64_t i = whole; i < n; i++) x[i] *= factor_of((uint32_t)mask[i / 8] >> (i % 8) & 1, scale_bits);
}

/* ---- sums of columns ---- */
#define SUM_ROWS 64

/* Of x and of x * y in one pass. */
BODY void col_sums_both(float *sum, float *sum_xy, const float *x, int64_t ldx, const float *y, int64_t ldy, int64_t R)
{
    double total[XC_LOOPS_COLS] = { 0 }, total_xy[XC_LOOPS_COLS] = { 0 };

    for (int64_t r0 = 0; r0 < R; r0 += SUM_ROWS) {
        const int64_t r1 = xc_min_i64(r0 + SUM_ROWS, R);
        float part[XC_LOOPS_COLS] = { 0 }, part_xy[XC_LOOPS_COLS] = { 0 };

        for (int64_t r = r0; r < r1; r++)
            for (int i = 0; i < XC_LOOPS_COLS; i++) {
                part[i] += x[r * ldx + i];
                part_xy[i] += x[r * ldx + i] * y[r * ldy + i];
            }
        for (int i = 0; i < XC_LOOPS_COLS; i++) {
            total[i] += (double)part[i];
            total_xy[i] += (double)part_xy[i];
        }
    }
    for (int i = 0; i < XC_LOOPS_COLS; i++) {
        sum[i] += (float)total[i];
        sum_xy[i] += (float)total_xy[i];
    }
}

BODY void col_sums_one(float *sum, const float *x, int64_t ldx, const float *y, int64_t ldy, int64_t R, int64_t n)
{
    double total[XC_LOOPS_COLS] = { 0 };

    for (int64_t r0 = 0; r0 < R; r0 += SUM_ROWS) {
        const int64_t r1 = xc_min_i64(r0 + SUM_ROWS, R);
        float part[XC_LOOPS_COLS] = { 0 };

        if (n == XC_LOOPS_COLS && y)
            for (int64_t r = r0; r < r1; r++)
                for (int i = 0; i < XC_LOOPS_COLS; i++) part[i] += x[r * ldx + i] * y[r * ldy + i];
        else if (n == XC_LOOPS_COLS)
            for (int64_t r = r0; r < r1; r++)
                for (int i = 0; i < XC_LOOPS_COLS; i++) part[i] += x[r * ldx + i];
        else
            for (int64_t r = r0; r < r1; r++)
                for (int64_t i = 0; i < n; i++) part[i] += y ? x[r * ldx + i] * y[r * ldy + i] : x[r * ldx + i];
        for (int64_t i = 0; i < n; i++) total[i] += (double)part[i];
    }
    for (int64_t i = 0; i < n; i++) sum[i] += (float)total[i];
}

BODY void col_sums_body(float *sum, float *sum_xy, const float *x, int64_t ldx, const float *y, int64_t ldy, int64_t R, int64_t n)
{
    if (sum && sum_xy && n == XC_LOOPS_COLS) {
        col_sums_both(sum, sum_xy, x, ldx, y, ldy, R);
        return;
    }
    if (sum) col_sums_one(sum, x, ldx, NULL, 0, R, n);
    if (sum_xy) col_sums_one(sum_xy, x, ldx, y, ldy, R, n);
}

/* ---- norms ---- */
/* Sums of a row, sixteen at a time, then folded: one order whatever the compiler does with it. */
BODY double fold(const float lane[LANES])
{
    double sum = 0;

    for (int i = 0; i < LANES; i++) sum += (double)lane[i];
    return sum;
}

BODY double row_sum(const float *x, const float *y, int64_t C) /* y NULL: of x */
{
    float lane[LANES];
    lanes sum = { 0 };
    const int64_t whole = C / LANES * LANES;

    if (y)
        for (int64_t i = 0; i < whole; i += LANES) sum += AT(x + i) * AT(y + i);
    else
        for (int64_t i = 0; i < whole; i += LANES) sum += AT(x + i);
    memcpy(lane, &sum, sizeof lane);
    for (int64_t i = whole; i < C; i++) lane[i - whole] += y ? x[i] * y[i] : x[i];
    return fold(lane);
}

BODY void norm_row_body(float *restrict h, float *restrict d, const float *restrict x, const float *restrict dy, const float *restrict gain, float eps, bool rms, bool fresh, int64_t C)
{
    const float mean = rms ? 0.0f : (float)(row_sum(x, NULL, C) / (double)C);
    float e_lane[LANES], eh_lane[LANES];
    lanes e_sum = { 0 }, eh_sum = { 0 };
    const int64_t whole = C / LANES * LANES;
    float rstd;

    for (int64_t i = 0; i < C; i++) h[i] = x[i] - mean;
    rstd = (float)(1.0 / sqrt(row_sum(h, h, C) / (double)C + (double)eps));
    for (int64_t i = 0; i < C; i++) h[i] *= rstd;
    if (!d) return;
    for (int64_t i = 0; i < whole; i += LANES) {
        const lanes e = AT(dy + i) * AT(gain + i);

        e_sum += e;
        eh_sum += e * AT(h + i);
    }
    memcpy(e_lane, &e_sum, sizeof e_lane);
    memcpy(eh_lane, &eh_sum, sizeof eh_lane);
    for (int64_t i = whole; i < C; i++) {
        const float e = dy[i] * gain[i];

        e_lane[i - whole] += e;
        eh_lane[i - whole] += e * h[i];
    }

    const float e_mean = rms ? 0.0f : (float)(fold(e_lane) / (double)C), eh_mean = (float)(fold(eh_lane) / (double)C);

    if (fresh)
        for (int64_t i = 0; i < C; i++) d[i] = rstd * (dy[i] * gain[i] - e_mean - h[i] * eh_mean);
    else
        for (int64_t i = 0; i < C; i++) d[i] += rstd * (dy[i] * gain[i] - e_mean - h[i] * eh_mean);
}

/* ---- softmax ---- */
BODY void softmax_grad_body(float *restrict d, const float *restrict p, int64_t n, float scale)
{
    const float dot = (float)row_sum(p, d, n);

    for (int64_t i = 0; i < n; i++) d[i] = p[i] * (d[i] - dot) * scale;
}

BODY double sum_squares_body(const float *x, int64_t n)
{
    const int64_t whole = n / LANES * LANES;
    double lane[LANES] = { 0 }, sum = 0;

    for (int64_t i = 0; i < whole; i += LANES)
        for (int l = 0; l < LANES; l++) lane[l] += (double)x[i + l] * (double)x[i + l];
    for (int64_t i = whole; i < n; i++) lane[i - whole] += (double)x[i] * (double)x[i];
    for (int l = 0; l < LANES; l++) sum += lane[l];
    return sum;
}

/* ---- levels ---- */
#define LEVEL(name, attribute)                                                                                                                       \
    attribute static void draw_##name(uint8_t *mask, int64_t n, uint32_t below, uint64_t seed, uint64_t stream, uint64_t first)                      \
    {                                                                                                                                                \
        draw_body(mask, n, below, seed, stream, first);                                                                                              \
    }                                                                                                                                                \
    attribute static void draw_rows_##name(uint8_t *mask, int64_t rows, int64_t bytes, uint32_t below, uint64_t seed, uint64_t stream, uint64_t row)    \
    {                                                                                                                                                \
        draw_rows_body(mask, rows, bytes, below, seed, stream, row);                                                                                 \
    }                                                                                                                                                \
    attribute static void softmax_grad_##name(float *d, const float *p, int64_t n, float scale) { softmax_grad_body(d, p, n, scale); }               \
    attribute static void apply_##name(float *x, const uint8_t *mask, int64_t n, float scale) { apply_body(x, mask, n, scale); }                     \
    attribute static void col_sums_##name(float *sum, float *sum_xy, const float *x, int64_t ldx, const float *y, int64_t ldy, int64_t R, int64_t n) \
    {                                                                                                                                                \
        col_sums_body(sum, sum_xy, x, ldx, y, ldy, R, n);                                                                                            \
    }                                                                                                                                                \
    attribute static void norm_row_##name(float *h, float *d, const float *x, const float *dy, const float *gain, float eps, bool rms, bool fresh, int64_t C) \
    {                                                                                                                                                \
        norm_row_body(h, d, x, dy, gain, eps, rms, fresh, C);                                                                                        \
    }                                                                                                                                                \
    attribute static double sum_squares_##name(const float *x, int64_t n) { return sum_squares_body(x, n); }                                         \
    static const struct xc_loops loops_##name = { #name, draw_##name, draw_rows_##name, apply_##name, col_sums_##name, norm_row_##name, softmax_grad_##name, sum_squares_##name };

LEVEL(scalar, )
#ifdef __x86_64__
LEVEL(avx2, __attribute__((target("avx2"))))
LEVEL(avx512vnni, __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq"))))
#endif

static const struct xc_loops *const levels[] = {
    &loops_scalar,
#ifdef __x86_64__
    &loops_avx2, &loops_avx512vnni,
#endif
};

const struct xc_loops *xc_loops_at(int i) { return i < (int)XC_ARRAY_LEN(levels) ? levels[i] : NULL; }

bool xc_loops_run_here(const struct xc_loops *l)
{
    const char *isa = xc_kernels()->isa;

    if (!strcmp(l->level, "scalar")) return true;
    return !strncmp(isa, "avx512", 6) || (!strcmp(l->level, "avx2") && !strncmp(isa, "avx", 3));
}

const struct xc_loops *xc_loops(void)
{
    int i = (int)XC_ARRAY_LEN(levels) - 1;

    while (!xc_loops_run_here(levels[i])) i--;
    return levels[i];
}
