/* gemm: how much of the core the kernels use, on the shapes of all-MiniLM-L6-v2: the GEMMs at 16, 128 and 512 rows, attention with
 * 12 heads of 32 and 8 of 64, and the row kernels between them. Prints JSON; shares are of peaks measured in the same run.
 *
 *   gemm [REPETITIONS [FILTER]]     pin it (taskset -c 1); figures are the best of all repetitions, cases and peaks interleaved */
#include <stdio.h>

#include "bench/peaks.h"
#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"

enum kind { GEMM_S8, GEMM_S8_ANY, GEMM_S8_GELU, GEMM_S4, GEMM_S4_ZERO, GEMM_F32, GEMM_BF16, ATTN_S8, ATTN_F32, NORM, QUANTIZE, GELU, PACK_KEYS, PACK_VALUES, N_KINDS };
static const char *const kind_names[] = {"gemm_s8", "gemm_s8_any_weight", "gemm_s8_gelu", "gemm_s4_g64", "gemm_s4_g64_zero", "gemm_f32", "gemm_bf16", "attn_s8", "attn_f32", "norm_quantize", "quantize",
                                         "gelu", "pack_keys", "pack_values"};
_Static_assert(sizeof kind_names / sizeof kind_names[0] == N_KINDS, "a name for each kind");

struct bench_case {
    enum kind kind;
    int64_t R, N, K; /* attention: R queries and keys, N heads, K head dimension; rows: R x K */
    double best;
};

static struct bench_case cases[256];
static int n_cases;

static void add(enum kind kind, int64_t R, int64_t N, int64_t K) { cases[n_cases++] = (struct bench_case){kind, R, N, K, 0}; }

/* Operands, large enough for every case. */
static int8_t *x8, *w8, *k8, *v8, *q8;
static uint16_t *halves, *x16, *w16;
static float *xf, *wf, *yf, *scale, *k_scale, *v_scale;
static int32_t *sums;
static void *scratch;

static void *filled(size_t bytes, int what)
{
    unsigned char *p = xc_alloc_aligned(bytes);
    uint32_t s = 1;

    if (!p) exit(1);
    for (size_t i = 0; i < bytes / (what == 'f' ? 4 : 1); i++) {
        s = s * 1664525u + 1013904223u;
        if (what == 'f') ((float *)(void *)p)[i] = (float)(s >> 8) / 16777216.0f - 0.5f;
        else if (what == 'w') ((int8_t *)p)[i] = (int8_t)((int)(s >> 24) % 91 - 45);
        else p[i] = 0;
    }
    return p;
}

static double operations(const struct bench_case *c)
{
    if (c->kind == ATTN_S8 || c->kind == ATTN_F32) return 4.0 * (double)(c->N * c->K) * (double)(c->R * c->R);
    if (c->kind >= NORM) return (double)(c->R * c->K);
    return 2.0 * (double)(c->R * c->N) * (double)c->K;
}

static void run(const struct bench_case *c)
{
    const struct xc_kernels *k = xc_kernels();
    const struct xc_epilogue ep = {.row_scale = scale, .col_scale = scale, .bias = scale, .out = yf, .ld_out = c->N,
                                   .act = c->kind == GEMM_S8_GELU ? XC_ACT_GELU : XC_ACT_NONE};

    switch (c->kind) {
    case GEMM_S8: case GEMM_S8_ANY: case GEMM_S8_GELU: {
        const struct xc_gemm_s8 g = {.x = x8, .ldx = c->K, .x_sum = sums, .w = w8, .w_sum16 = c->kind != GEMM_S8_ANY, .N = c->N, .K = c->K, .ep = ep};

        k->gemm_s8(&g, 0, c->R, 0, c->N);
        break;
    }
    case GEMM_S4: case GEMM_S4_ZERO: {
        const struct xc_gemm_s4 g = {.x = x8, .ldx = c->K, .w = (const uint8_t *)w8, .scale = halves, .zero = c->kind == GEMM_S4 ? NULL : (const uint8_t *)v8, .unit = 0.25f, .N = c->N,
                                     .K = c->K, .group = 64, .ep = ep};

        k->gemm_s4(&g, 0, c->R, 0, c->N);
        break;
    }
    case GEMM_F32: {
        const struct xc_gemm_f32 g = {.x = xf, .ldx = c->K, .w = wf, .N = c->N, .K = c->K, .ep = ep};

        k->gemm_f32(&g, 0, c->R, 0, c->N);
        break;
    }
    case GEMM_BF16: {
        const struct xc_gemm_bf16 g = {.x = x16, .ldx = c->K, .w = w16, .N = c->N, .K = c->K, .ep = ep};

        k->gemm_bf16(&g, 0, c->R, 0, c->N);
        break;
    }
    case ATTN_S8:
        for (int64_t h = 0; h < c->N; h++) {
            const struct xc_attn_s8 a = {.q = q8, .ldq = c->K, .q_scale = scale, .k = k8, .k_scale = k_scale, .v = v8, .v_scale = v_scale,
                                         .n_q = c->R, .n_k = c->R, .D = c->K, .scale = 0.2f, .out = yf + h * c->K, .ld_out = c->N * c->K, .scratch = scratch};

            k->attn_s8(&a, 0, c->R);
        }
        break;
    case ATTN_F32:
        for (int64_t h = 0; h < c->N; h++) {
            const int64_t ld = c->N * c->K;
            const struct xc_attn_f32 a = {.q = xf + h * c->K, .k = xf + h * c->K, .v = xf + h * c->K, .ldq = ld, .ldk = ld, .ldv = ld, .n_q = c->R, .n_k = c->R,
                                          .D = c->K, .scale = 0.2f, .out = yf + h * c->K, .ld_out = ld, .scratch = scratch};

            k->attn_f32(&a, 0, c->R);
        }
        break;
    case NORM: {
        const struct xc_norm n = {.x = xf, .ldx = c->K, .residual = wf, .ld_residual = c->K, .gain = wf, .bias = wf, .C = c->K, .eps = 1e-12f, .out = yf,
                                  .ld_out = c->K, .q = q8, .ldq = c->K, .q_scale = k_scale, .q_sum = sums};

        k->norm_f32(&n, 0, c->R);
        break;
    }
    case QUANTIZE: k->quantize_rows_s8(q8, c->K, k_scale, sums, xf, c->K, NULL, c->R, c->K, 0.0f); break;
    case GELU: k->act_f32(yf, xf, c->R * c->K, XC_ACT_GELU); break;
    case PACK_KEYS: k->pack_keys_s8(k8, k_scale, xf, c->K, c->R, c->K); break;
    case PACK_VALUES: k->pack_values_s8(v8, v_scale, xf, c->K, c->R, c->K); break;
    case N_KINDS: break;
    }
}

int main(int argc, char **argv)
{
    const int repetitions = argc > 1 ? atoi(argv[1]) : 100;
    const char *filter = argc > 2 ? argv[2] : "";
    static const int64_t shapes[][2] = {{384, 384}, {1152, 384}, {1536, 384}, {384, 1536}}, rows[] = {16, 128, 512};
    const char *isa = xc_kernels()->isa;
    const bool zmm = strncmp(isa, "avx512", 6) == 0;

    for (int r = 0; r < 3; r++) {
        for (int s = 0; s < 4; s++) {
            add(GEMM_S8, rows[r], shapes[s][0], shapes[s][1]);
            add(GEMM_S4, rows[r], shapes[s][0], shapes[s][1]);
            add(GEMM_F32, rows[r], shapes[s][0], shapes[s][1]);
            add(GEMM_BF16, rows[r], shapes[s][0], shapes[s][1]);
        }
        add(GEMM_S8_ANY, rows[r], 1536, 384);
        add(GEMM_S8_GELU, rows[r], 1536, 384);
        add(GEMM_S4_ZERO, rows[r], 1536, 384);
        add(ATTN_S8, rows[r], 12, 32);
        add(ATTN_S8, rows[r], 8, 64);
        add(ATTN_F32, rows[r], 12, 32);
        add(ATTN_F32, rows[r], 8, 64);
    }
    add(GEMM_S8, 1, 1536, 384);
    add(GEMM_S4, 1, 1536, 384);
    add(GEMM_F32, 1, 1536, 384);
    add(NORM, 128, 0, 384);
    add(QUANTIZE, 128, 0, 384);
    add(QUANTIZE, 128, 0, 32);
    add(GELU, 128, 0, 1536);
    add(PACK_KEYS, 128, 0, 32);
    add(PACK_VALUES, 128, 0, 32);

    x8 = filled(512 * 1536 + 64, 'w'), w8 = filled(1536 * 1536, 'w');
    q8 = filled(512 * 1536, 'w'), k8 = filled(512 * 1536, 'w'), v8 = filled(512 * 1536, 'w');
    halves = filled(1536 * 1536 / 64 * 2, 'z');
    for (int i = 0; i < 1536 * 1536 / 64; i++) halves[i] = (uint16_t)(0x2000 + i % 1024);
    xf = filled(512 * 1536 * 4, 'f'), wf = filled(1536 * 1536 * 4, 'f'), yf = filled(512 * 1536 * 4, 'f');
    x16 = filled(512 * 1536 * 2, 'z'), w16 = filled(1536 * 1536 * 2, 'z');
    xc_kernels()->bf16_rows(x16, 1536, xf, 1536, 512, 1536);
    xc_kernels()->bf16_panel_rows(w16, wf, 1536, 1536, 1536);
    scale = filled(4096 * 4, 'f'), k_scale = filled(4096 * 4, 'f'), v_scale = filled(4096 * 4, 'f');
    sums = filled(4096 * 4, 'z'), scratch = filled(xc_attn_scratch_bytes(128), 'z');

    for (int r = 0; r < repetitions; r++) {
        for (size_t i = 0; i < N_PEAKS; i++)
            if (xc_kernels_for(peaks[i].needs)) peak_measure(&peaks[i]);
        for (int i = 0; i < n_cases; i++) {
            struct bench_case *c = &cases[i];

            if (!strstr(kind_names[c->kind], filter)) continue;
            if (r == 0) run(c); /* warm */

            const double start = xc_seconds();

            run(c);

            const double t = xc_seconds() - start;

            if (c->best == 0 || t < c->best) c->best = t;
        }
    }

    const double f32_peak = peak_named(zmm ? "f32_fma512" : "f32_fma");
    const double bf16_peak = peak_named(strcmp(isa, "avx512bf16") == 0 ? "bf16_dot512" : zmm ? "f32_fma512" : "f32_fma");
    const double s8_peak = zmm ? peak_named("int8_vnni512") : strcmp(isa, "avxvnni") == 0 ? peak_named("int8_vnni256")
                         : strcmp(isa, "neon") == 0 ? peak_named("int8_sdot") : peak_named("int8_calm");

    printf("{\"isa\": \"%s\", \"repetitions\": %d, \"peak_gops\": {", isa, repetitions);
    for (size_t i = 0, n = 0; i < N_PEAKS; i++)
        if (peaks[i].best > 0) printf("%s\"%s\": %.1f", n++ ? ", " : "", peaks[i].name, peak_gops(&peaks[i]));
    printf("}, \"int8_peak\": %.1f, \"f32_peak\": %.1f, \"cases\": [", s8_peak, f32_peak);
    for (int i = 0, n = 0; i < n_cases; i++) {
        const struct bench_case *c = &cases[i];
        const double gops = c->best > 0 ? operations(c) / c->best * 1e-9 : 0, peak = c->kind == GEMM_F32 || c->kind == ATTN_F32 ? f32_peak : c->kind == GEMM_BF16 ? bf16_peak : s8_peak;

        if (c->best == 0) continue;
        printf("%s\n {\"kernel\": \"%s\", ", n++ ? "," : "", kind_names[c->kind]);
        if (c->kind >= NORM)
            printf("\"rows\": %d, \"columns\": %d, \"us\": %.2f, \"ns_per_element\": %.3f}", (int)c->R, (int)c->K, c->best * 1e6, 1 / gops);
        else
            printf("\"%s\": %d, \"%s\": %d, \"%s\": %d, \"us\": %.2f, \"gops\": %.1f, \"share\": %.3f}", c->kind == ATTN_S8 || c->kind == ATTN_F32 ? "tokens" : "rows",
                   (int)c->R, c->kind == ATTN_S8 || c->kind == ATTN_F32 ? "heads" : "N", (int)c->N,
                   c->kind == ATTN_S8 || c->kind == ATTN_F32 ? "head_dim" : "K", (int)c->K, c->best * 1e6, gops, peak > 0 ? gops / peak : 0);
    }
    printf("\n]}\n");
    return 0;
}
