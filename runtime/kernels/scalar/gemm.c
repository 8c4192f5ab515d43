/* gemm: y = act(x W^T + b) + residual from panel16 weights, int8, int4 in groups and f32, with the epilogue of kernels.h. */
#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "runtime/kernels/scalar/math.h"
#include "runtime/kernels/scalar/scalar.h"

/* The part of the epilogue that all formats share: y has its bias. */
void xc_finish__scalar(const struct xc_epilogue *ep, float y, int64_t r, int64_t n)
{
    y = xc_act_one__scalar(y, ep->act);
    if (ep->residual) y += ep->residual[r * ep->ld_residual + n];
    ep->out[r * ep->ld_out + n] = y;
}

/* One sum of row r to its output n. */
static void finish_s8(const struct xc_gemm_s8 *g, int32_t acc, int64_t r, int64_t n)
{
    float t = (float)acc * g->ep.row_scale[r];

    if (g->ep.row_mid) t = fmaf(g->ep.row_mid[r], (float)g->ep.col_sum[n], t);
    xc_finish__scalar(&g->ep, fmaf(t, g->ep.col_scale[n], g->ep.bias ? g->ep.bias[n] : 0.0f), r, n);
}

/* Integer sums are exact in any order, so one output after the other: its inputs are laid side by side once for many rows. */
enum { ROWS = 32, INPUTS = 512 };

static int32_t dot(const int8_t *x, const int16_t *w, int64_t n)
{
    int32_t sum = 0;

    for (int64_t k = 0; k < n; k++) sum += x[k] * w[k];
    return sum;
}

/* acc[r] = x_r . w_n for rows r0 .. r0 + n_rows. */
static void column(int32_t *acc, const struct xc_gemm_s8 *g, int64_t n, int64_t r0, int64_t n_rows)
{
    const int64_t K4 = xc_round_up(g->K, 4);
    const int8_t *panel = g->w + n / 16 * 16 * K4 + n % 16 * 4; /* [K/4][16][4] */
    int16_t w[INPUTS];

    for (int64_t r = 0; r < n_rows; r++) acc[r] = 0;
    for (int64_t k0 = 0; k0 < K4; k0 += INPUTS) {
        const int64_t count = xc_min_i64(INPUTS, K4 - k0);

        for (int64_t k = 0; k < count; k += 4, panel += 64)
            for (int64_t i = 0; i < 4; i++) w[k + i] = panel[i];
        for (int64_t r = 0; r < n_rows; r++) acc[r] += dot(g->x + (r0 + r) * g->ldx + k0, w, count);
    }
}

void xc_gemm_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    for (int64_t r0 = row0; r0 < row1; r0 += ROWS)
        for (int64_t n = col0; n < col1; n++) {
            const int64_t n_rows = xc_min_i64(ROWS, row1 - r0);
            int32_t acc[ROWS];

            column(acc, g, n, r0, n_rows);
            for (int64_t r = r0; r < r0 + n_rows; r++) finish_s8(g, acc[r - r0], r, n);
        }
}

void xc_gemm_nm_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K16 = xc_round_up(g->K, 16);

    for (int64_t r = row0; r < row1; r++)
        for (int64_t n0 = col0; n0 < col1; n0 += 16) {
            const int8_t *w = g->w + n0 * K16 / 2;                           /* [K16/8][16][4] */
            const uint8_t *index = (const uint8_t *)g->index + n0 * K16 / 4; /* [K16/16][16][4] */
            int32_t acc[16] = {0};

            for (int64_t k = 0; k < K16; k += 8, w += 64)
                for (int64_t i = 0; i < 64; i++) {
                    const int nibble = index[k / 16 * 64 + i] >> (k & 8 ? 4 : 0) & 15;
                    const int x = w[i] ? g->x[r * g->ldx + k + (nibble & 7)] : 0; /* a slot that is not used may speak of an input beyond K */

                    acc[i / 4] += (nibble & 8 ? -x : x) * w[i];
                }
            for (int64_t l = 0; l < 16 && n0 + l < col1; l++) finish_s8(g, acc[l], r, n0 + l);
        }
}

void xc_gemm_block_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const uint32_t *first = g->index;
    const uint16_t *quad = (const uint16_t *)(const void *)(first + xc_div_up(g->N, 16) + 1);

    for (int64_t r = row0; r < row1; r++)
        for (int64_t n0 = col0; n0 < col1; n0 += 16) {
            int32_t acc[16] = {0};

            for (uint32_t b = first[n0 / 16]; b < first[n0 / 16 + 1]; b++)
                for (int64_t i = 0; i < 64; i++) acc[i / 4] += g->x[r * g->ldx + 4 * quad[b] + i % 4] * g->w[64 * (int64_t)b + i];
            for (int64_t l = 0; l < 16 && n0 + l < col1; l++) finish_s8(g, acc[l], r, n0 + l);
        }
}

void xc_gemm_steps_s8__scalar(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t panels = xc_div_up(g->N, 16);
    const uint32_t *first = g->index;
    const uint16_t *window = (const uint16_t *)(const void *)(first + panels + 1);

    for (int64_t r = row0; r < row1; r++)
        for (int64_t n0 = col0; n0 < col1; n0 += 16) {
            int32_t acc[16] = {0};

            for (uint32_t s = first[n0 / 16]; s < first[n0 / 16 + 1]; s++) {
                const int8_t *w = g->w + 64 * panels + 128 * (int64_t)s, *at = w + 64; /* [16][4] each */

                for (int64_t i = 0; i < 64; i++) acc[i / 4] += g->x[r * g->ldx + 32 * window[s] + at[i]] * w[i];
            }
            for (int64_t l = 0; l < 16 && n0 + l < col1; l++) finish_s8(g, acc[l], r, n0 + l);
        }
}

void xc_gemm_s4__scalar(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K8 = xc_round_up(g->K, 8), groups = xc_div_up(g->K, g->group);

    for (int64_t r = row0; r < row1; r++)
        for (int64_t n0 = col0; n0 < col1; n0 += 16) {
            const uint8_t *w = g->w + (g->bytes ? n0 : n0 / 2) * K8; /* [K/8][16][4], or [K/4][16][4] */
            float acc[16] = {0};

            for (int64_t i = 0; i < groups; i++) {
                const int64_t at = (n0 / 16 * groups + i) * 16, end = xc_min_i64((i + 1) * g->group, g->K);

                for (int64_t l = 0; l < 16; l++) {
                    const int32_t zero = g->zero ? g->zero[at + l] : g->bytes ? XC_S4_BYTES_ZERO : XC_S4_ZERO, by = g->zero && !g->bytes ? 4 : 1;
                    int32_t sum = 0;

                    for (int64_t k = i * g->group; k < end; k++) {
                        const int32_t u = g->bytes ? w[k / 4 * 64 + l * 4 + k % 4] : w[k / 8 * 64 + l * 4 + k % 4] >> (k & 4) & 15;

                        sum += g->x[r * g->ldx + k] * (by * u - zero);
                    }
                    acc[l] = fmaf((float)sum, xc_f16_to_f32(g->scale[at + l]) * (g->zero ? g->unit : 1.0f), acc[l]);
                }
            }
            for (int64_t l = 0; l < 16 && n0 + l < col1; l++) {
                const float y = fmaf(acc[l], g->ep.row_scale[r], g->ep.bias ? g->ep.bias[n0 + l] : 0.0f);

                xc_finish__scalar(&g->ep, g->ep.row_mid ? fmaf(g->ep.row_mid[r], g->w_sum[n0 + l], y) : y, r, n0 + l);
            }
        }
}

void xc_gemm_f32__scalar(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    for (int64_t r = row0; r < row1; r++) {
        const float *x = g->x_step ? g->x + r / 16 * g->ldx + r % 16 : g->x + r * g->ldx;
        const int64_t step = g->x_step ? g->x_step : 1;

        for (int64_t n0 = col0; n0 < col1; n0 += 16) {
            const float *w = g->w + n0 * g->K; /* [K][16] */
            float acc[16] = {0};

            for (int64_t k = 0; k < g->K; k++, w += 16)
                for (int64_t l = 0; l < 16; l++) acc[l] = fmaf(x[k * step], w[l], acc[l]);
            for (int64_t l = 0; l < 16 && n0 + l < col1; l++)
                xc_finish__scalar(&g->ep, acc[l] + (g->ep.bias ? g->ep.bias[n0 + l] : 0.0f), r, n0 + l);
        }
    }
}
