/* check_gemm: products of dense weights, of int8, of groups, f32 and bf16, against scalar. */
#include <math.h>
#include <stdio.h>

#include "runtime/base/base.h"
#include "tests/kernels/check.h"

/* As large as the rules allow: quads of 254, pairs of 129, lanes whose positive squares are all of 128^2. */
static void extreme_sum16(int8_t *w, int64_t n, int64_t K)
{
    static const int8_t groups[2][16] = {{127, -127, 65, 64, 0, 0, 0, 0, 15, 0, 63, 63, 0, 0, 0, 0}, {-64, -64, 45, 45, -64, -62, 45, 45, -15, 0, 45, 45, 0, 0, 45, 45}};

    for (int64_t i = 0; i < n; i++) w[i] = groups[i / K % 2][i % K % 16];
}

/* What comes behind the bias: any activation, a residual or none, and where outputs go. */
static void end_with(struct xc_epilogue *ep, int64_t R, int64_t N, int64_t ld_out)
{
    ep->act = (enum xc_act)(rnd() % XC_ACT_COUNT);
    ep->ld_residual = N + 3;
    ep->residual = rnd() % 2 && R > 0 ? floats((R - 1) * ep->ld_residual + N, RANDOM) : NULL;
    ep->ld_out = ld_out;
}

void check_gemm_s8(const struct xc_kernels *k)
{
    static const int64_t Ns[] = {1, 16, 17, 48, 80, 312, 400}, Ks[] = {1, 4, 26, 77, 312, 384, 1200, 1536, 3000};
    static const int64_t Rs[] = {0, 1, 2, 3, 5, 8, 13, 17, 40};

    for (size_t in = 0; in < XC_ARRAY_LEN(Ns); in++)
        for (size_t ik = 0; ik < XC_ARRAY_LEN(Ks); ik++) {
            const int64_t N = Ns[in], K = Ks[ik], R = Rs[(in * 5 + ik * 3 + rnd()) % XC_ARRAY_LEN(Rs)], N16 = xc_round_up(N, 16);

            for (int variant = 0; variant < 2 * N_FILLS; variant++) {
                const enum fill fill = (enum fill)(variant / 2);
                const bool sum16 = variant % 2 != 0;
                const int64_t ldx = xc_round_up(K, 4) + 4 * (int64_t)(rnd() % 3), ld = N + (int64_t)(rnd() % 5);
                int8_t *w = rows_s8(N, K, K, fill == SPIKY ? RANDOM : fill), *panel = block(xc_panel_s8_bytes(N, K));
                struct xc_gemm_s8 g = {.x = rows_s8(R, K, ldx, rnd() % 4 ? fill : RANDOM), .ldx = ldx, .w = panel, .w_sum16 = sum16, .N = N, .K = K};
                struct out a = output((size_t)(R * ld) * 4), b = output((size_t)(R * ld) * 4);
                char name[160];
                /* a sub-range of rows and columns, or everything */
                const bool part = rnd() % 3 == 0;
                const int64_t row0 = part && R > 0 ? (int64_t)(rnd() % (uint32_t)R) : 0, row1 = part ? row0 + (R - row0) / 2 : R;
                const int64_t col0 = part ? (int64_t)(rnd() % (uint32_t)(N16 / 16)) * 16 : 0;
                const int64_t col1 = part && rnd() % 2 && col0 + 16 <= N ? col0 + 16 : N;

                if (sum16 && fill != ALTERNATE) sum16_weights(w, N * K);
                if (sum16 && fill == ALTERNATE) extreme_sum16(w, N * K, K);
                xc_pack_panel_s8(panel, w, N, K);
                if (sum16) check(xc_sum16_ok(panel, N, K), "pack", "sum16 weights obey the rule");
                g.x_sum = row_sums(g.x, R, K, ldx);
                g.ep.row_scale = floats(R, RANDOM);
                g.ep.col_scale = floats(N16, RANDOM);
                g.ep.bias = rnd() % 4 ? floats(N16, RANDOM) : NULL;
                if (rnd() % 2) {
                    int32_t *col_sum = block((size_t)N16 * sizeof *col_sum);

                    xc_panel_s8_sums(col_sum, panel, N, K);
                    g.ep.row_mid = floats(R, RANDOM);
                    g.ep.col_sum = col_sum;
                }
                end_with(&g.ep, R, N, ld);
                g.ep.out = data(a);
                ref->gemm_s8(&g, row0, row1, col0, col1);
                g.ep.out = data(b);
                k->gemm_s8(&g, row0, row1, col0, col1);
                snprintf(name, sizeof name, "gemm_s8 R %d N %d K %d fill %d sum16 %d act %d rows %d-%d cols %d-%d", (int)R, (int)N, (int)K,
                         (int)fill, sum16, (int)g.ep.act, (int)row0, (int)row1, (int)col0, (int)col1);
                check(same(a, b), k->isa, name);
                free_blocks();
            }
        }
}

void check_gemm_s4(const struct xc_kernels *k)
{
    static const int64_t Ns[] = {1, 16, 17, 48, 80, 312}, Ks[] = {1, 4, 26, 77, 312, 384, 1200, 1537, 9000}, groups[] = {32, 64, 96, 128, 256};
    static const int64_t Rs[] = {0, 1, 2, 3, 4, 5, 8, 9, 13, 17, 40};

    for (size_t in = 0; in < XC_ARRAY_LEN(Ns); in++)
        for (size_t ik = 0; ik < XC_ARRAY_LEN(Ks); ik++)
            for (int variant = 0; variant < 4 * N_FILLS; variant++) {
                const int64_t N = Ns[in], K = Ks[ik], R = Rs[(in * 5 + ik * 3 + rnd()) % XC_ARRAY_LEN(Rs)], N16 = xc_round_up(N, 16);
                const int64_t group = groups[rnd() % XC_ARRAY_LEN(groups)], ldx = xc_round_up(K, 4) + 4 * (int64_t)(rnd() % 3), ld = N + (int64_t)(rnd() % 5);
                const bool affine = variant % 2 != 0, part = rnd() % 3 == 0;
                const int64_t row0 = part && R > 0 ? (int64_t)(rnd() % (uint32_t)R) : 0, row1 = part ? row0 + (R - row0) / 2 : R;
                const int64_t col0 = part ? (int64_t)(rnd() % (uint32_t)(N16 / 16)) * 16 : 0, col1 = part && rnd() % 2 && col0 + 16 <= N ? col0 + 16 : N;
                struct xc_gemm_s4 g = s4_operands(R, N, K, group, ldx, (enum fill)(variant / 4), affine, variant / 2 % 2 != 0);
                struct out a = output((size_t)(R * ld) * 4), b = output((size_t)(R * ld) * 4);
                char name[160];

                if (rnd() % 2) {
                    float *sum = block((size_t)N16 * 4);

                    xc_panel_s4_sums(sum, &g);
                    g.w_sum = sum;
                    g.ep.row_mid = floats(R, RANDOM);
                }
                g.ep.bias = rnd() % 4 ? floats(N16, RANDOM) : NULL;
                end_with(&g.ep, R, N, ld);
                g.ep.out = data(a);
                ref->gemm_s4(&g, row0, row1, col0, col1);
                g.ep.out = data(b);
                k->gemm_s4(&g, row0, row1, col0, col1);
                snprintf(name, sizeof name, "gemm_s4 R %d N %d K %d group %d fill %d bytes %d affine %d act %d rows %d-%d cols %d-%d", (int)R, (int)N, (int)K, (int)group, variant / 4,
                         g.bytes, affine, (int)g.ep.act, (int)row0, (int)row1, (int)col0, (int)col1);
                check(same(a, b), k->isa, name);
                free_blocks();
            }
}

void check_gemm_f32(const struct xc_kernels *k)
{
    static const int64_t Ns[] = {1, 16, 17, 48, 80, 312}, Ks[] = {1, 26, 77, 384, 1200}, Rs[] = {0, 1, 2, 3, 5, 6, 7, 13, 17};

    for (size_t in = 0; in < XC_ARRAY_LEN(Ns); in++)
        for (size_t ik = 0; ik < XC_ARRAY_LEN(Ks); ik++)
            for (int variant = 0; variant < 5; variant++) { /* 3: x is (K, x_step); 4: in panels */
                const int64_t N = Ns[in], K = Ks[ik], R = Rs[rnd() % XC_ARRAY_LEN(Rs)] + (variant > 2 ? 12 : 0), N16 = xc_round_up(N, 16);
                const int64_t ldx = K + (int64_t)(rnd() % 3), ld = N + (int64_t)(rnd() % 5);
                float *panel = block(xc_panel_f32_bytes(N, K));
                struct xc_gemm_f32 g = {.x = floats(R > 0 ? (R - 1) * ldx + K : 0, RANDOM), .ldx = ldx, .w = panel, .N = N, .K = K};
                struct out a = output((size_t)(R * ld) * 4), b = output((size_t)(R * ld) * 4);
                char name[160];
                const int64_t row0 = variant % 3 == 1 ? R / 3 : 0, col0 = variant == 2 && N > 16 ? 16 : 0;

                xc_pack_panel_f32(panel, floats(N * K, RANDOM), N, K);
                g.ep.bias = rnd() % 4 ? floats(N16, RANDOM) : NULL;
                end_with(&g.ep, R, N, ld);
                g.ep.out = data(a);
                ref->gemm_f32(&g, row0, R, col0, N);
                if (variant > 2) { /* the same numbers, transposed */
                    float *t = floats(xc_round_up(R, 16) * (K + 1), RANDOM);
                    const int64_t block = variant == 3 ? 16 : 16 * K, step = variant == 3 ? R + 1 : 16;

                    for (int64_t r = 0; r < R; r++)
                        for (int64_t i = 0; i < K; i++) t[r / 16 * block + r % 16 + i * step] = g.x[r * ldx + i];
                    g.x = t;
                    g.ldx = block;
                    g.x_step = step;
                }
                g.ep.out = data(b);
                k->gemm_f32(&g, row0, R, col0, N);
                snprintf(name, sizeof name, "gemm_f32 R %d N %d K %d act %d variant %d", (int)R, (int)N, (int)K, (int)g.ep.act, variant);
                check(same(a, b), k->isa, name);
                free_blocks();
            }
}

/* Products of bf16 pairs, and the packing of their operands from odd shapes and odd numbers. */
void check_gemm_bf16(const struct xc_kernels *k)
{
    static const int64_t Ns[] = {1, 16, 17, 48, 80, 312}, Ks[] = {1, 2, 26, 77, 384, 1201}, Rs[] = {1, 2, 3, 5, 8, 9, 13, 17, 33};
    static const float odd_values[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-40f, -1e-40f, 3.4e38f, -3.4e38f, 1.00390625f, 1.01171875f, 1.17549435e-38f};

    for (size_t in = 0; in < XC_ARRAY_LEN(Ns); in++)
        for (size_t ik = 0; ik < XC_ARRAY_LEN(Ks); ik++)
            for (int variant = 0; variant < 4; variant++) {
                const int64_t N = Ns[in], K = Ks[ik], R = Rs[rnd() % XC_ARRAY_LEN(Rs)], K2 = xc_round_up(K, 2), ld = N + (int64_t)(rnd() % 5), ldx = K2 + 2;
                const int64_t row0 = variant == 1 ? R / 16 * 16 : 0, col0 = variant == 2 && N > 16 ? 16 : 0;
                const size_t w_bytes = xc_panel_bf16_bytes(N, K), x_bytes = variant % 2 ? xc_panel_bf16_bytes(R, K) : (size_t)(R * ldx) * 2;
                float *x = floats(R * K, RANDOM), *w = floats(N * K, RANDOM), *bias = rnd() % 4 ? floats(xc_round_up(N, 16), RANDOM) : NULL;
                float *residual = rnd() % 2 ? floats(R * N, RANDOM) : NULL;
                struct out packed[2][2], y[2];
                char name[160];

                if (variant == 3)
                    for (int64_t i = 0; i < (int64_t)XC_ARRAY_LEN(odd_values) && i < N * K; i++) w[(i * 37) % (N * K)] = odd_values[i];
                for (int s = 0; s < 2; s++) {
                    const struct xc_kernels *const K_ = s ? k : ref;
                    struct xc_gemm_bf16 g = {.ldx = ldx, .x_panels = variant % 2 != 0, .N = N, .K = K, .ep = {.bias = bias, .act = variant == 2 ? XC_ACT_GELU : XC_ACT_NONE, .ld_out = ld}};

                    packed[s][0] = output(w_bytes);
                    packed[s][1] = output(x_bytes);
                    y[s] = output((size_t)(R * ld) * 4);
                    if (variant / 2) K_->bf16_panel_rows(data(packed[s][0]), w, K, N, K);
                    else K_->bf16_panel_cols(data(packed[s][0]), w, N, K, N); /* w is (K,N) */
                    if (variant % 2) K_->bf16_panel_rows(data(packed[s][1]), x, K, R, K);
                    else K_->bf16_rows(data(packed[s][1]), ldx, x, K, R, K);
                    g.w = data(packed[0][0]);
                    g.x = data(packed[0][1]);
                    g.ep.residual = residual;
                    g.ep.ld_residual = N;
                    g.ep.out = data(y[s]);
                    if (variant != 3) K_->gemm_bf16(&g, row0, R, col0, N); /* a NaN's payload is the instruction's own */
                }
                snprintf(name, sizeof name, "bf16 operands, gemm_bf16 R %d N %d K %d variant %d", (int)R, (int)N, (int)K, variant);
                check(same(packed[0][0], packed[1][0]) && same(packed[0][1], packed[1][1]) && same(y[0], y[1]), k->isa, name);
                free_blocks();
            }
}
