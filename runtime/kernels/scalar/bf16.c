/* bf16: products of operands rounded to bf16, for training, and the packing of those operands (kernels.h, struct xc_gemm_bf16). */
#include <math.h>

#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "runtime/kernels/scalar/scalar.h"

static uint16_t rounded(float x)
{
    const uint32_t bits = xc_f32_bits(x);

    return bits & 0x7f800000u ? xc_f32_to_bf16(x) : (uint16_t)(bits >> 16 & 0x8000u);
}

void xc_bf16_rows__scalar(uint16_t *y, int64_t ldy, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, y += ldy, x += ldx) {
        for (int64_t i = 0; i < C; i++) y[i] = rounded(x[i]);
        if (C % 2) y[C] = 0;
    }
}

void xc_bf16_panel_rows__scalar(uint16_t *w, const float *m, int64_t ldm, int64_t N, int64_t K)
{
    const int64_t K2 = xc_round_up(K, 2);

    for (int64_t n = 0; n < xc_round_up(N, 16); n++)
        for (int64_t k = 0; k < K2; k++) w[(n / 16 * K2 + k / 2 * 2) * 16 + n % 16 * 2 + k % 2] = n < N && k < K ? rounded(m[n * ldm + k]) : 0;
}

void xc_bf16_panel_cols__scalar(uint16_t *w, const float *m, int64_t ldm, int64_t K, int64_t N)
{
    const int64_t K2 = xc_round_up(K, 2);

    for (int64_t k = 0; k < K2; k++)
        for (int64_t n = 0; n < xc_round_up(N, 16); n++) w[(n / 16 * K2 + k / 2 * 2) * 16 + n % 16 * 2 + k % 2] = n < N && k < K ? rounded(m[k * ldm + n]) : 0;
}

void xc_gemm_bf16__scalar(const struct xc_gemm_bf16 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K2 = xc_round_up(g->K, 2), step = g->x_panels ? 32 : 2;

    for (int64_t r = row0; r < row1; r++)
        for (int64_t n = col0; n < col1; n++) {
            const uint16_t *x = g->x_panels ? g->x + r / 16 * 16 * K2 + r % 16 * 2 : g->x + r * g->ldx, *w = g->w + n / 16 * 16 * K2 + n % 16 * 2;
            float acc = 0.0f;

            for (int64_t k = 0; k < K2; k += 2, x += step, w += 32)
                acc = fmaf(xc_bf16_to_f32(x[0]), xc_bf16_to_f32(w[0]), fmaf(xc_bf16_to_f32(x[1]), xc_bf16_to_f32(w[1]), acc));
            xc_finish__scalar(&g->ep, acc + (g->ep.bias ? g->ep.bias[n] : 0.0f), r, n);
        }
}
