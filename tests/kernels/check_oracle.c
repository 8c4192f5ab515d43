/* check_oracle: scalar kernels against oracle.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "tests/kernels/check.h"
#include "tests/kernels/oracle.h"

static double worst(const float *y, int64_t ld, const double *want, int64_t R, int64_t C)
{
    double w = 0;

    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++) {
            const double e = fabs((double)y[r * ld + c] - want[r * C + c]) / fmax(1, fabs(want[r * C + c]));

            if (!(e <= w)) w = e;
        }
    return w;
}

static void bounded(double error, double limit, const char *what)
{
    char name[200];

    snprintf(name, sizeof name, "%s: error %.3g, limit %.3g", what, error, limit);
    check(error <= limit, "scalar against oracle", name);
}

void check_oracle_functions(void)
{
    for (int act = 0; act < XC_ACT_COUNT; act++) {
        double w = 0;
        char name[60];

        for (int i = -400000; i <= 400000; i++) {
            const float x = (float)i * 5e-5f * (i % 7 == 0 ? 4.0f : 1.0f);
            float y;

            ref->act_f32(&y, &x, 1, (enum xc_act)act);
            const double want = oracle_act((double)x, (enum xc_act)act), e = fabs((double)y - want) / fmax(1, fabs(want));

            if (!(e <= w)) w = e;
        }
        snprintf(name, sizeof name, "act %d", act);
        bounded(w, 2e-7, name);
        w = 0;
        for (int i = -200000; i <= 200000; i++) { /* the derivative against a difference of the oracle's values, away from relu's corner */
            const float x = (float)i * 1e-4f + 3e-5f, one = 1.0f;
            const double h = 1e-5, want = (oracle_act((double)x + h, (enum xc_act)act) - oracle_act((double)x - h, (enum xc_act)act)) / (2 * h);
            float d;

            ref->act_grad_f32(&d, &one, &x, 1, (enum xc_act)act, false);
            if (!(fabs((double)d - want) <= w)) w = fabs((double)d - want);
        }
        snprintf(name, sizeof name, "derivative of act %d", act);
        bounded(w, 3e-6, name); /* gelu_tanh near 4.5: 1 - s has lost its last bits, its factor is 27 */
    }
}

void check_oracle_gemm(void)
{
    const int64_t R = 7, N = 50, K = 333, N16 = 64;

    for (int act = 0; act < XC_ACT_COUNT; act++) {
        double *want = block((size_t)(R * N) * 8);
        float *y = block((size_t)(R * N) * 4), *panel_f = block(xc_panel_f32_bytes(N, K));
        int8_t *panel = block(xc_panel_s8_bytes(N, K)), *back = block((size_t)(N * K));
        const int8_t *w = rows_s8(N, K, K, RANDOM);
        float *row_scale = floats(R, RANDOM), *col_scale = floats(N16, RANDOM);
        struct xc_gemm_s8 g = {.x = rows_s8(R, K, 336, RANDOM), .ldx = 336, .w = panel, .N = N, .K = K};
        struct xc_gemm_f32 f = {.x = floats(R * K, RANDOM), .ldx = K, .w = panel_f, .N = N, .K = K};

        for (int64_t i = 0; i < R; i++) row_scale[i] *= 0.001f;
        for (int64_t i = 0; i < N16; i++) col_scale[i] *= 0.001f;
        xc_pack_panel_s8(panel, w, N, K);
        xc_unpack_panel_s8(back, panel, N, K);
        check(memcmp(back, w, (size_t)(N * K)) == 0, "pack", "s8 panel round trip");
        g.ep = (struct xc_epilogue){.row_scale = row_scale, .col_scale = col_scale, .bias = floats(N16, RANDOM), .act = (enum xc_act)act,
                                    .residual = floats(R * N, RANDOM), .ld_residual = N, .out = y, .ld_out = N};
        ref->gemm_s8(&g, 0, R, 0, N);
        oracle_gemm_s8(want, &g, R);
        bounded(worst(y, N, want, R, N), 1e-6, "gemm_s8");

        const float *wf = floats(N * K, RANDOM);
        float *back_f = block((size_t)(N * K) * 4);

        xc_pack_panel_f32(panel_f, wf, N, K);
        xc_unpack_panel_f32(back_f, panel_f, N, K);
        check(memcmp(back_f, wf, (size_t)(N * K) * 4) == 0, "pack", "f32 panel round trip");
        f.ep = g.ep;
        ref->gemm_f32(&f, 0, R, 0, N);
        oracle_gemm_f32(want, &f, R);
        bounded(worst(y, N, want, R, N), 2e-4, "gemm_f32"); /* sums of 333 products of up to 16 */

        /* the same, of operands that bf16 holds: the product in f32 of what was rounded */
        uint16_t *x16 = block((size_t)(R * 334) * 2), *w16 = block(xc_panel_bf16_bytes(N, K));
        float *rounded = block((size_t)(R * K) * 4), *rounded_w = block((size_t)(N * K) * 4);
        const struct xc_gemm_bf16 b = {.x = x16, .ldx = 334, .w = w16, .N = N, .K = K, .ep = g.ep};

        ref->bf16_rows(x16, 334, f.x, K, R, K);
        ref->bf16_panel_rows(w16, wf, K, N, K);
        for (int64_t i = 0; i < R * K; i++) rounded[i] = xc_bf16_to_f32(xc_f32_to_bf16(f.x[i]));
        for (int64_t i = 0; i < N * K; i++) rounded_w[i] = xc_bf16_to_f32(xc_f32_to_bf16(wf[i]));
        xc_pack_panel_f32(panel_f, rounded_w, N, K);
        f.x = rounded;
        oracle_gemm_f32(want, &f, R);
        ref->gemm_bf16(&b, 0, R, 0, N);
        bounded(worst(y, N, want, R, N), 2e-4, "gemm_bf16");
        free_blocks();
    }
}

void check_oracle_gemm_s4(void)
{
    static const int64_t groups[] = {32, 64, 128, 256};

    for (int i = 0; i < 32; i++) {
        const int64_t R = 5, N = 50, K = 333;
        double *want = block((size_t)(R * N) * 8);
        float *y = block((size_t)(R * N) * 4);
        struct xc_gemm_s4 g = s4_operands(R, N, K, groups[i / 8], 336, RANDOM, i % 2 != 0, i / 2 % 2 != 0);

        const float small = g.bytes ? 0.05f : 1.0f; /* their sums are larger */

        for (int64_t r = 0; r < R; r++) ((float *)(void *)(uintptr_t)g.ep.row_scale)[r] *= 1e-4f * small;
        if (i % 3 == 0) {
            float *sum = block(64 * 4);

            xc_panel_s4_sums(sum, &g);
            g.w_sum = sum;
            g.ep.row_mid = floats(R, RANDOM);
            for (int64_t r = 0; r < R; r++) ((float *)(void *)(uintptr_t)g.ep.row_mid)[r] *= 1e-2f * small;
        }
        g.ep.bias = floats(64, RANDOM);
        g.ep.act = (enum xc_act)(i % XC_ACT_COUNT);
        g.ep.residual = floats(R * N, RANDOM), g.ep.ld_residual = N;
        g.ep.out = y, g.ep.ld_out = N;
        ref->gemm_s4(&g, 0, R, 0, N);
        oracle_gemm_s4(want, &g, R);
        bounded(worst(y, N, want, R, N), 1e-6, "gemm_s4");
        free_blocks();
    }
}

void check_oracle_attention(void)
{
    for (int i = 0; i < 60; i++) {
        struct attn_case c = attn_case(i);
        struct xc_attn_s8 a;
        struct xc_attn_f32 f = {.scale = 0.3f};
        double *want = block((size_t)(c.n_q * c.D) * 8), dot = 0, yy = 0, ww = 0;

        c.fill = RANDOM;
        c.bias = false;
        if (c.causal) c.n_q = c.n_k;
        want = block((size_t)(c.n_q * c.D) * 8);
        a = attn_s8_operands(&c);
        float *y = block((size_t)(c.n_q * a.ld_out) * 4);

        a.out = y;
        ref->attn_s8(&a, 0, c.n_q);
        oracle_attn_s8(want, &a);
        for (int64_t r = 0; r < c.n_q; r++)
            for (int64_t d = 0; d < c.D; d++) {
                const double u = (double)y[r * a.ld_out + d], w = want[r * c.D + d];

                dot += u * w, yy += u * u, ww += w * w;
            }
        bounded(1 - dot / sqrt(yy * ww), 5e-4, "attn_s8, 1 - cosine");

        f.n_q = c.n_q, f.n_k = c.n_k, f.D = c.D, f.causal = c.causal;
        f.ldq = f.ldk = f.ldv = f.ld_out = c.D;
        f.q = floats(c.n_q * c.D, RANDOM), f.k = floats(c.n_k * c.D, RANDOM), f.v = floats(c.n_k * c.D, RANDOM);
        f.scratch = a.scratch;
        f.scale = 1.0f / (float)c.D;
        f.out = y;
        ref->attn_f32(&f, 0, c.n_q);
        oracle_attn_f32(want, &f);
        bounded(worst(y, c.D, want, c.n_q, c.D), 3e-6, "attn_f32");
        free_blocks();
    }
}

void check_oracle_rows(void)
{
    for (size_t ic = 0; ic < XC_ARRAY_LEN(widths); ic++) {
        const int64_t C = widths[ic], R = 3, ldq = xc_round_up(C, 4);
        struct xc_norm n = {.x = floats(R * C, RANDOM), .ldx = C, .gain = floats(C, RANDOM), .bias = floats(C, RANDOM), .C = C, .eps = 1e-3f};
        double *want = block((size_t)(R * C) * 8);
        float *y = block((size_t)(R * C) * 4), scale[3];
        int8_t *q = block((size_t)(R * ldq));
        int32_t sum[3];
        bool ok = true;

        n.rms = ic % 2;
        n.residual = floats(R * C, RANDOM), n.ld_residual = C;
        n.out = y, n.ld_out = C;
        ref->norm_f32(&n, 0, R);
        oracle_norm(want, &n, R);
        bounded(worst(y, C, want, R, C), 3e-6, "norm_f32");

        ref->quantize_rows_s8(q, ldq, scale, sum, y, C, NULL, R, C, 0.0f);
        for (int64_t r = 0; r < R; r++) {
            int s = 0;

            for (int64_t i = 0; i < C; i++) {
                ok = ok && fabs((double)scale[r] * q[r * ldq + i] - (double)y[r * C + i]) <= 0.50001 * (double)scale[r];
                s += q[r * ldq + i];
            }
            ok = ok && s == sum[r];
        }
        check(ok, "scalar against oracle", "quantize_rows_s8 within half a step, and its sums");

        float mid[3];

        ref->quantize_rows_affine(q, ldq, scale, mid, sum, y, C, NULL, R, C);
        ok = true;
        for (int64_t r = 0; r < R; r++) {
            double lo = (double)y[r * C], hi = lo;
            int s = 0;

            for (int64_t i = 0; i < C; i++) {
                lo = fmin(lo, (double)y[r * C + i]), hi = fmax(hi, (double)y[r * C + i]);
                ok = ok && fabs((double)scale[r] * q[r * ldq + i] + (double)mid[r] - (double)y[r * C + i]) <= 0.5001 * (double)scale[r] + 1e-6 * fabs((double)mid[r]);
                s += q[r * ldq + i];
            }
            ok = ok && s == sum[r] && fabs((double)scale[r] - (hi - lo) / XC_AFFINE_SPAN) <= 1e-6 * (double)scale[r];
        }
        check(ok, "scalar against oracle", "quantize_rows_affine within half a step, and its sums");

        ref->softmax_rows(y, n.x, R, C);
        for (int64_t r = 0; r < R; r++) {
            double total = 0;

            for (int64_t i = 0; i < C; i++) total += exp((double)n.x[r * C + i]);
            for (int64_t i = 0; i < C; i++) want[r * C + i] = exp((double)n.x[r * C + i]) / total;
        }
        bounded(worst(y, C, want, R, C), 5e-7, "softmax_rows");
        free_blocks();
    }
}

void check_oracle_encode(void)
{
    for (size_t ic = 0; ic < XC_ARRAY_LEN(widths); ic++) {
        const int64_t n = widths[ic];
        const float *x = floats(n, RANDOM), *w = ic % 2 ? floats(n, ALL_MAX) : NULL, *s = floats(n, RANDOM);
        float inverse[16], sums[32], peak;
        int32_t at;
        double top = 0;

        for (int k = 0; k < 16; k++) inverse[k] = rndf(6.0f);
        ref->step_sums(sums, sums + 16, x, w, n, inverse, -8.0f, 7.0f);
        for (int k = 0; k < 16; k++) {
            double xq = 0, qq = 0;

            for (int64_t i = 0; i < n; i++) {
                const double q = fmax(-8, fmin(7, rint((double)(x[i] * inverse[k])))), wq = (w ? (double)w[i] : 1.0) * q;

                xq += wq * (double)x[i], qq += wq * q;
            }
            bounded(fabs((double)sums[k] - xq) / fmax(1, fabs(xq)), 1e-5, "step_sums, of w q x");
            bounded(fabs((double)sums[16 + k] - qq) / fmax(1, qq), 1e-5, "step_sums, of w q q");
        }
        float fit[48], four[64];

        for (int k = 0; k < 16; k++) fit[k] = inverse[k], fit[16 + k] = 1.0f / inverse[k], fit[32 + k] = (float)k * 0.75f;
        ref->fit_sums(four, x, w, n, fit, 15.0f);
        for (int k = 0; k < 16; k++) {
            double want[4] = {0};

            for (int64_t i = 0; i < n; i++) {
                const double u = fmax(0, fmin(15, rint((double)(x[i] * fit[k] + fit[32 + k])))), wi = w ? (double)w[i] : 1.0, d = (double)x[i] - (double)fit[16 + k] * (u - (double)fit[32 + k]);
                const double term[4] = {wi * u, wi * u * u, wi * u * (double)x[i], wi * d * d};

                for (int j = 0; j < 4; j++) want[j] += term[j];
            }
            for (int j = 0; j < 4; j++) bounded(fabs((double)four[16 * j + k] - want[j]) / fmax(1, fabs(want[j])), 1e-5, "fit_sums");
        }
        ref->row_peak(&peak, &at, x, s, n);
        for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)(x[i] * s[i])));
        check((double)peak == top && (double)fabsf(x[at] * s[at]) == top, "scalar against oracle", "row_peak");

        const int8_t *q = rows_s8(1, n, xc_round_up(n, 4), RANDOM);
        uint8_t flag[128];
        double e = 0, x2 = 0;
        int64_t zeros = 0;

        ref->error_s8(sums, x, q, 0.03f, n);
        for (int64_t i = 0; i < n; i++) e += pow((double)x[i] - 0.03f * (double)q[i], 2), x2 += (double)x[i] * (double)x[i], zeros += q[i] == 0;
        bounded(fabs((double)sums[0] - e) / e, 1e-5, "error_s8, of the error");
        bounded(fabs((double)sums[1] - x2) / x2, 1e-5, "error_s8, of the numbers");
        check(sums[2] == (float)zeros, "scalar against oracle", "error_s8, zeros");
        ref->screen_s8(flag, q, n / 16);
        for (int64_t g = 0; g < n / 16; g++) {
            bool bound = false;

            for (int i = 0; i < 16; i += 2) bound |= abs(q[16 * g + i] + q[16 * g + i + 1]) > XC_PAIR_MAX;
            for (int i = 0; i < 16; i += i % 8 ? 6 : 2)
                bound |= abs(q[16 * g + i]) + abs(q[16 * g + i + 1]) + abs(q[16 * g + i + 4]) + abs(q[16 * g + i + 5]) > XC_SUM16_MAX;
            for (int side = 0; side < 4; side++) {
                int squares = 0;

                for (int i = 0; i < 16; i++)
                    if (i % 4 / 2 == side / 2 && (side % 2 ? q[16 * g + i] < 0 : q[16 * g + i] > 0)) squares += q[16 * g + i] * q[16 * g + i];
                bound |= squares > XC_LANE_SQUARES;
            }
            check(flag[g] == bound, "scalar against oracle", "screen_s8");
        }
        free_blocks();
    }
}
