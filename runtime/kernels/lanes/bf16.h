/* bf16: rounding floats to bf16 in plain C, for ISAs without an instruction for it: the compiler makes vectors of these loops. */
#ifndef XC_RUNTIME_KERNELS_LANES_BF16_H
#define XC_RUNTIME_KERNELS_LANES_BF16_H

#include <stdint.h>
#include <string.h>

/* The rounded bits, in the upper half. */
static inline __attribute__((always_inline)) uint32_t bf16_high(float x)
{
    uint32_t u, r;

    memcpy(&u, &x, sizeof u);
    r = (u & 0x7fffffffu) > 0x7f800000u ? u | 0x400000u : u + 0x7fffu + (u >> 16 & 1);
    return (u & 0x7f800000u ? r : u & 0x80000000u) & 0xffff0000u;
}

static void lanes_bf16_rows(uint16_t *y, int64_t ldy, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, y += ldy, x += ldx) {
        for (int64_t i = 0; i < C; i++) y[i] = (uint16_t)(bf16_high(x[i]) >> 16);
        if (C % 2) y[C] = 0;
    }
}

static void lanes_bf16_panel_rows(uint16_t *w, const float *m, int64_t ldm, int64_t N, int64_t K)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16)
        for (int64_t k = 0; k < K; k += 2, w += 32)
            for (int64_t i = 0; i < 16; i++) {
                const float *x = m + (n0 + i) * ldm + k;
                const uint32_t pair = n0 + i < N ? bf16_high(x[0]) >> 16 | (k + 1 < K ? bf16_high(x[1]) : 0) : 0;

                memcpy(w + 2 * i, &pair, sizeof pair);
            }
}

static void lanes_bf16_panel_cols(uint16_t *w, const float *m, int64_t ldm, int64_t K, int64_t N)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16)
        for (int64_t k = 0; k < K; k += 2, w += 32) {
            const float *x = m + k * ldm + n0, *y = x + ldm;
            const int64_t n = N - n0 < 16 ? N - n0 : 16;
            uint32_t pair[16] = {0};

            if (k + 1 < K && n == 16)
                for (int64_t i = 0; i < 16; i++) pair[i] = bf16_high(x[i]) >> 16 | bf16_high(y[i]);
            else
                for (int64_t i = 0; i < n; i++) pair[i] = bf16_high(x[i]) >> 16 | (k + 1 < K ? bf16_high(y[i]) : 0);
            memcpy(w, pair, sizeof pair);
        }
}

#endif
