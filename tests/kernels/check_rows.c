/* check_rows: norms, quantization, elementwise functions, the optimizer and the search of groups, against scalar. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/base.h"
#include "tests/kernels/check.h"

void check_norm(const struct xc_kernels *k)
{
    for (size_t ic = 0; ic < XC_ARRAY_LEN(widths); ic++)
        for (int variant = 0; variant < 12; variant++) {
            const int64_t C = widths[ic], R = 1 + (int64_t)(rnd() % 5), C4 = xc_round_up(C, 4);
            struct xc_norm n = {.C = C, .ldx = C + 1, .ld_residual = C + 2, .ld_out = C + 3, .ldq = C4 + 4, .eps = variant % 2 ? 1e-5f : 1e-12f};
            struct out out[2][5];
            char name[100];
            bool ok = true;
            const enum fill fill = (enum fill)(variant % N_FILLS);

            n.x = floats((R - 1) * n.ldx + C, fill);
            n.gain = floats(C, RANDOM);
            n.bias = rnd() % 4 ? floats(C, RANDOM) : NULL;
            n.q_gain = rnd() % 2 ? floats(C, RANDOM) : NULL;
            n.residual = rnd() % 2 ? floats((R - 1) * n.ld_residual + C, fill) : NULL;
            n.rms = rnd() % 3 == 0;
            n.static_scale = rnd() % 3 ? 0.0f : 0.01f;
            const bool with_q = rnd() % 4 != 0, with_stat = rnd() % 2;

            for (int s = 0; s < 2; s++) {
                out[s][0] = output((size_t)((R - 1) * n.ld_out + C) * 4);
                out[s][1] = output((size_t)R * 8);
                out[s][2] = output((size_t)((R - 1) * n.ldq + C4));
                out[s][3] = output((size_t)R * 4);
                out[s][4] = output((size_t)R * 4);
                n.out = data(out[s][0]);
                n.stat = with_stat ? data(out[s][1]) : NULL;
                n.q = with_q ? data(out[s][2]) : NULL;
                n.q_scale = data(out[s][3]);
                n.q_sum = data(out[s][4]);
                (s ? k : ref)->norm_f32(&n, 0, R);
            }
            for (int o = 0; o < 5; o++) ok = ok && same(out[0][o], out[1][o]);
            snprintf(name, sizeof name, "norm_f32 C %d fill %d rms %d residual %d", (int)C, (int)fill, n.rms, n.residual != NULL);
            check(ok, k->isa, name);

            /* in place */
            float *x[2] = {floats(R * C, fill), NULL};

            x[1] = block((size_t)(R * C) * 4);
            memcpy(x[1], x[0], (size_t)(R * C) * 4);
            n.ldx = n.ld_out = C;
            n.q = NULL;
            n.stat = NULL;
            n.residual = NULL;
            for (int s = 0; s < 2; s++) {
                n.x = n.out = x[s];
                (s ? k : ref)->norm_f32(&n, 0, R);
            }
            check(memcmp(x[0], x[1], (size_t)(R * C) * 4) == 0, k->isa, "norm_f32 in place");
            free_blocks();
        }
}

void check_quantize(const struct xc_kernels *k)
{
    for (size_t ic = 0; ic < XC_ARRAY_LEN(widths); ic++)
        for (int variant = 0; variant < 2 * N_FILLS; variant++) {
            const int64_t C = widths[ic], R = 1 + (int64_t)(rnd() % 20), C4 = xc_round_up(C, 4), ldq = C4 + 4, ldx = C + 1;
            const float *x = floats((R - 1) * ldx + C, (enum fill)(variant / 2)), *gain = rnd() % 2 ? floats(C, RANDOM) : NULL;
            struct out q[2], scale[2], sum[2];
            char name[100];

            for (int s = 0; s < 2; s++) {
                q[s] = output((size_t)((R - 1) * ldq + C4));
                scale[s] = output((size_t)R * 4);
                sum[s] = output((size_t)R * 4);
                (s ? k : ref)->quantize_rows_s8(data(q[s]), ldq, data(scale[s]), data(sum[s]), x, ldx, gain, R, C, variant % 2 ? 0.02f : 0.0f);
            }
            snprintf(name, sizeof name, "quantize_rows_s8 R %d C %d variant %d", (int)R, (int)C, variant);
            check(same(q[0], q[1]) && same(scale[0], scale[1]) && same(sum[0], sum[1]), k->isa, name);

            struct out mid[2];

            for (int s = 0; s < 2; s++) {
                q[s] = output((size_t)((R - 1) * ldq + C4));
                scale[s] = output((size_t)R * 4);
                mid[s] = output((size_t)R * 4);
                sum[s] = output((size_t)R * 4);
                (s ? k : ref)->quantize_rows_affine(data(q[s]), ldq, data(scale[s]), data(mid[s]), data(sum[s]), x, ldx, gain, R, C);
            }
            snprintf(name, sizeof name, "quantize_rows_affine R %d C %d variant %d", (int)R, (int)C, variant);
            check(same(q[0], q[1]) && same(scale[0], scale[1]) && same(mid[0], mid[1]) && same(sum[0], sum[1]), k->isa, name);
            free_blocks();
        }
    for (int i = 0; i < 200; i++) {
        const struct attn_case c = attn_case(i);
        const int64_t D4 = xc_round_up(c.D, 4), D16 = xc_round_up(c.D, 16), n = c.n_k, n16 = xc_round_up(n, 16), blocks_k = xc_div_up(n, XC_KEY_BLOCK);
        const float *x = floats((n - 1) * (c.D + 1) + c.D, c.fill);
        struct out q[2], scale[2];
        char name[100];

        for (int s = 0; s < 2; s++) {
            q[s] = output((size_t)(n16 * D4));
            scale[s] = output((size_t)n16 * 4);
            (s ? k : ref)->pack_keys_s8(data(q[s]), data(scale[s]), x, c.D + 1, n, c.D);
        }
        snprintf(name, sizeof name, "pack_keys_s8 n %d D %d", (int)n, (int)c.D);
        check(same(q[0], q[1]) && same(scale[0], scale[1]), k->isa, name);
        for (int s = 0; s < 2; s++) {
            q[s] = output((size_t)(blocks_k * XC_KEY_BLOCK * D16));
            scale[s] = output((size_t)(blocks_k * D16) * 4);
            (s ? k : ref)->pack_values_s8(data(q[s]), data(scale[s]), x, c.D + 1, n, c.D);
        }
        snprintf(name, sizeof name, "pack_values_s8 n %d D %d", (int)n, (int)c.D);
        check(same(q[0], q[1]) && same(scale[0], scale[1]), k->isa, name);
        free_blocks();
    }
}

/* One output of n floats from each of the two levels; the case sets `CALL` on (K, y). */
#define SAME_FLOATS(n, name, CALL)                                       \
    do {                                                                 \
        struct out o_[2];                                                \
        for (int s_ = 0; s_ < 2; s_++) {                                 \
            const struct xc_kernels *const K = s_ ? k : ref;             \
            float *y;                                                    \
            o_[s_] = output((size_t)(n) * 4);                            \
            y = data(o_[s_]);                                            \
            CALL;                                                        \
        }                                                                \
        check(same(o_[0], o_[1]), k->isa, name);                         \
    } while (0)

/* p, m and v behind one another. */
static void check_adamw(const struct xc_kernels *k, const float *a, const float *g, int64_t n)
{
    const struct xc_adamw o = {.b1 = 0.9f, .one_b1 = 0.1f, .b2 = 0.999f, .one_b2 = 0.001f, .eps = 1e-8f, .g_scale = 0.7f, .keep = 0.9999f, .step = 2e-3f, .v_scale = 5.0f};

    SAME_FLOATS(3 * n, "adamw_f32", {
        for (int64_t i = 0; i < n; i++) {
            y[i] = a[i];
            y[n + i] = a[n - 1 - i];
            y[2 * n + i] = fabsf(g[n - 1 - i]);
        }
        K->adamw_f32(y, y + n, y + 2 * n, g, n, &o);
    });
}

void check_elementwise(const struct xc_kernels *k)
{
    for (size_t ic = 0; ic < XC_ARRAY_LEN(widths); ic++) {
        const int64_t C = widths[ic], R = 1 + (int64_t)(rnd() % 20);
        float *a = floats(R * C, RANDOM), *b = floats(R * C, SPIKY), *odd = floats(C, RANDOM);
        uint16_t *h = block((size_t)(R * C) * 2);
        int32_t ids[24];
        char name[100];
        static const float odd_values[] = {0.0f, -0.0f, INFINITY, -INFINITY, 1e-40f, -1e-40f, 88.1f, -87.1f, -86.9f, 1e30f, -1e30f, 6.0f, -6.0f, 5.999f};

        for (int64_t i = 0; i < C; i++) odd[i] = i < (int64_t)XC_ARRAY_LEN(odd_values) ? odd_values[i] : rndf(100.0f);
        for (int64_t i = 0; i < R * C; i++) h[i] = (uint16_t)rnd();
        for (int i = 0; i < 24; i++) ids[i] = (int32_t)(rnd() % (uint32_t)R);
        for (int act = 0; act < XC_ACT_COUNT; act++) {
            snprintf(name, sizeof name, "act_f32 n %d act %d", (int)(R * C), act);
            SAME_FLOATS(R * C, name, K->act_f32(y, a, R * C, (enum xc_act)act));
            SAME_FLOATS(R * C, name, K->act_f32(y, b, R * C, (enum xc_act)act));
            SAME_FLOATS(C, name, K->act_f32(y, odd, C, (enum xc_act)act));
        }
        for (int act = 0; act < XC_ACT_COUNT; act++) {
            snprintf(name, sizeof name, "act_grad_f32 n %d act %d", (int)(R * C), act);
            SAME_FLOATS(R * C, name, K->act_grad_f32(y, b, a, R * C, (enum xc_act)act, false));
            SAME_FLOATS(C, name, (memcpy(y, a, (size_t)C * 4), K->act_grad_f32(y, b, odd, C, (enum xc_act)act, true)));
        }
        check_adamw(k, a, b, R * C);
        SAME_FLOATS(R * C, "add_f32", K->add_f32(y, a, b, R * C));
        SAME_FLOATS(R * C, "mul_f32", K->mul_f32(y, a, b, R * C));
        snprintf(name, sizeof name, "softmax_rows R %d C %d", (int)R, (int)C);
        SAME_FLOATS(R * C, name, K->softmax_rows(y, a, R, C));
        SAME_FLOATS(R * C, name, K->softmax_rows(y, b, R, C));
        snprintf(name, sizeof name, "mean_rows, max_rows, l2_normalize_rows R %d C %d", (int)R, (int)C);
        SAME_FLOATS(C, name, K->mean_rows(y, b, C, R, C));
        SAME_FLOATS(C, name, K->max_rows(y, b, C, R, C));
        SAME_FLOATS(R * C, name, K->l2_normalize_rows(y, b, R, C, 1e-12f));
        SAME_FLOATS(R * C, "f16_to_f32", K->f16_to_f32(y, h, R * C));
        SAME_FLOATS(R * C, "bf16_to_f32", K->bf16_to_f32(y, h, R * C));

        for (int dtype = XC_TABLE_F32; dtype <= XC_TABLE_S4; dtype++)
            for (int accumulate = 0; accumulate < 2; accumulate++) {
                struct xc_table t = {.scale = floats(R, RANDOM), .n = R, .C = C, .bits = dtype};

                for (int64_t i = 0; i < R * C; i++) h[i] &= 0xbfff; /* no NaN, no infinity */
                t.rows = dtype == XC_TABLE_F32 ? (void *)a : dtype == XC_TABLE_S8 ? (void *)rows_s8(R, C, C, RANDOM) : (void *)h;
                if (dtype == XC_TABLE_S4) {
                    t.group = rnd() % 2 ? 32 : 6;
                    t.rows = (void *)rows_s8(R, xc_div_up(C, 2), xc_div_up(C, 2), RANDOM);
                    t.group_scale = halves(R * xc_div_up(C, t.group));
                    t.group_zero = rnd() % 2 ? zeros_s4(R * xc_div_up(C, t.group)) : NULL;
                }
                struct out o[2];

                for (int s = 0; s < 2; s++) {
                    o[s] = output((size_t)(23 * (C + 1) + C) * 4);
                    if (accumulate)
                        for (int64_t i = 0; i < 23 * (C + 1) + C; i++) ((float *)data(o[s]))[i] = (float)(i % 100);
                    (s ? k : ref)->gather_rows(data(o[s]), C + 1, &t, ids, 24, accumulate != 0);
                }
                snprintf(name, sizeof name, "gather_rows C %d dtype %d accumulate %d", (int)C, dtype, accumulate);
                check(same(o[0], o[1]), k->isa, name);
            }
        free_blocks();
    }
}

void check_encode(const struct xc_kernels *k)
{
    for (size_t ic = 0; ic < XC_ARRAY_LEN(widths); ic++)
        for (int variant = 0; variant < 2 * N_FILLS; variant++) {
            const int64_t C = widths[ic];
            float *x = floats(C, (enum fill)(variant / 2)), *s = floats(C, variant % 2 ? RANDOM : ALL_MAX), inverse[16];
            struct out sums[2];
            float peak[2];
            int32_t at[2] = {-1, -1};
            char name[100];

            if (variant % 2) x[rnd() % (uint32_t)C] = variant % 4 == 1 ? NAN : INFINITY;
            if (C > 2 && rnd() % 2) x[C - 1] = -(x[C / 2] = 400.0f), s[C - 1] = s[C / 2] = 3.0f; /* twice: the first counts */
            for (int l = 0; l < 2; l++) (l ? k : ref)->row_peak(&peak[l], &at[l], x, s, C);
            snprintf(name, sizeof name, "row_peak C %d variant %d", (int)C, variant);
            check(memcmp(&peak[0], &peak[1], sizeof peak[0]) == 0 && at[0] == at[1] && at[0] >= 0 && at[0] < C, k->isa, name);

            const float *w = variant % 2 ? floats(C, RANDOM) : NULL, lo = (float)-(int)(rnd() % 17), hi = (float)(rnd() % 16);

            x = floats(C, (enum fill)(variant / 2));
            for (int i = 0; i < 16; i++) inverse[i] = rndf(10.0f);
            for (int l = 0; l < 2; l++) {
                float *y;

                sums[l] = output(32 * sizeof *y);
                y = data(sums[l]);
                (l ? k : ref)->step_sums(y, y + 16, x, w, C, inverse, lo, hi);
            }
            snprintf(name, sizeof name, "step_sums n %d variant %d", (int)C, variant);
            check(same(sums[0], sums[1]), k->isa, name);

            float fit[48];

            for (int i = 0; i < 16; i++) fit[i] = inverse[i], fit[16 + i] = inverse[i] != 0.0f ? 1.0f / inverse[i] : 0.0f, fit[32 + i] = (float)(rnd() % 64) * 0.25f;
            for (int l = 0; l < 2; l++) {
                sums[l] = output(64 * sizeof(float));
                (l ? k : ref)->fit_sums(data(sums[l]), x, w, C, fit, hi);
            }
            snprintf(name, sizeof name, "fit_sums n %d variant %d", (int)C, variant);
            check(same(sums[0], sums[1]), k->isa, name);

            const int8_t *q = rows_s8(1, C, xc_round_up(C, 4), (enum fill)(variant / 2));
            const float unit = 1.0f + 100.0f * fabsf(rndf(1.0f));
            struct out flags[4];

            for (int l = 0; l < 2; l++) {
                const struct xc_kernels *const K = l ? k : ref;

                flags[l] = output((size_t)(C / 16));
                K->screen_f32(data(flags[l]), x, C / 16, unit / 20, unit / 10, unit * unit / 300);
                flags[2 + l] = output((size_t)(C / 16));
                K->screen_s8(data(flags[2 + l]), q, C / 16);
                sums[l] = output(3 * sizeof(float));
                K->error_s8(data(sums[l]), x, q, variant % 2 ? 0.03f : 0.0f, C);
            }
            snprintf(name, sizeof name, "screen_f32, screen_s8, error_s8 C %d variant %d", (int)C, variant);
            check(same(flags[0], flags[1]) && same(flags[2], flags[3]) && same(sums[0], sums[1]), k->isa, name);
            free_blocks();
        }
}
