/* sparse: the sparse int8 kernels against the dense one, on the shapes of linears from 384 x 384 to 768 x 3072: N:M, and blocks from half to 95 %
 * zeros. Prints JSON: for each shape the time of each, what it gains, and for blocks the sparsity from which they are faster than dense.
 *
 *   sparse [REPETITIONS [ROWS]]     pin it (taskset -c 1); best of all repetitions, cases interleaved; ROWS is 128 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/peaks.h"
#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"

static const int64_t shapes[][2] = {{384, 384}, {1536, 384}, {384, 1536}, {768, 768}, {3072, 768}, {768, 3072}};
static const int zeros[] = {10, 20, 30, 40, 50, 60, 70, 75, 80, 90, 95}; /* percent of blocks */
enum { DENSE, NM, BLOCK0, N_CASES = BLOCK0 + XC_ARRAY_LEN(zeros) };

static double best[XC_ARRAY_LEN(shapes)][N_CASES];
static uint32_t seed = 1;

static uint32_t rnd(void)
{
    seed = seed * 1664525u + 1013904223u;
    return seed >> 8;
}

static void *memory(size_t bytes)
{
    void *p = xc_alloc_aligned(bytes);

    if (!p) exit(1);
    memset(p, 0, bytes);
    return p;
}

static void fill(int8_t *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) p[i] = (int8_t)((int)(rnd() % 127) - 63);
}

/* A block-sparse weight with a share of blocks kept, spread at random. */
static void make_blocks(int8_t *w, uint32_t *first, int64_t N, int64_t K, int percent)
{
    uint16_t *quad = (uint16_t *)(void *)(first + N / 16 + 1);
    uint32_t n = 0;

    for (int64_t p = 0; p < N / 16; p++) {
        first[p] = n;
        for (int64_t k = 0; k < K / 4; k++)
            if ((int)(rnd() % 1000) >= percent * 10) quad[n++] = (uint16_t)k;
    }
    first[N / 16] = n;
    fill(w, 64 * (int64_t)n);
}

int main(int argc, char **argv)
{
    const int repetitions = argc > 1 ? atoi(argv[1]) : 20;
    const int64_t R = argc > 2 ? atol(argv[2]) : 128;
    const struct xc_kernels *kern = xc_kernels();
    int8_t *x = memory((size_t)R * 3072 + 64), *w = memory(768 * 3072), *nm = memory(768 * 3072 / 2);
    uint8_t *nm_index = memory(768 * 3072 / 4);
    int8_t *blocks[XC_ARRAY_LEN(zeros)];
    uint32_t *lists[XC_ARRAY_LEN(zeros)];
    float *y = memory((size_t)R * 3072 * 4), *scale = memory(4096 * 4);
    int32_t *sums = memory((size_t)R * 4);

    if (R < 1 || R > 4096) return 1;
    fill(x, R * 3072);
    fill(w, 768 * 3072);
    for (int i = 0; i < 768 * 3072 / 2; i++) nm[i] = (int8_t)(rnd() % 64);
    for (int i = 0; i < 768 * 3072 / 4; i++) nm_index[i] = (uint8_t)rnd();
    for (size_t i = 0; i < 4096; i++) scale[i] = 0.01f;
    for (size_t z = 0; z < XC_ARRAY_LEN(zeros); z++) {
        blocks[z] = memory(768 * 3072);
        lists[z] = memory(768 * 3072 / 64 * 2 + 1024);
    }
    for (size_t s = 0; s < XC_ARRAY_LEN(shapes); s++) {
        const int64_t N = shapes[s][0], K = shapes[s][1];
        const struct xc_epilogue ep = {.row_scale = scale, .col_scale = scale, .bias = scale, .out = y, .ld_out = N};

        for (size_t z = 0; z < XC_ARRAY_LEN(zeros); z++) make_blocks(blocks[z], lists[z], N, K, zeros[z]);
        for (int r = 0; r <= repetitions; r++)
            for (int c = 0; c < N_CASES; c++) {
                struct xc_gemm_s8 g = {.x = x, .ldx = K, .x_sum = sums, .w = w, .w_sum16 = true, .N = N, .K = K, .ep = ep};
                const double start = bench_now();

                if (c == NM) g.w = nm, g.index = nm_index;
                if (c >= BLOCK0) g.w = blocks[c - BLOCK0], g.index = lists[c - BLOCK0];
                (c == DENSE ? kern->gemm_s8 : c == NM ? kern->gemm_nm_s8 : kern->gemm_block_s8)(&g, 0, R, 0, N);

                const double t = bench_now() - start;

                if (r > 0 && (best[s][c] == 0 || t < best[s][c])) best[s][c] = t;
            }
    }
    printf("{\"isa\": \"%s\", \"rows\": %d, \"repetitions\": %d, \"shapes\": [", kern->isa, (int)R, repetitions);
    for (size_t s = 0; s < XC_ARRAY_LEN(shapes); s++) {
        const double dense = best[s][DENSE], work = 2.0 * (double)(R * shapes[s][0] * shapes[s][1]);
        double crossover = 1, before = 0;

        for (size_t z = XC_ARRAY_LEN(zeros); z-- > 0;) { /* between the last that loses and the first that wins, in a straight line */
            const double t = best[s][BLOCK0 + z];

            if (t > dense) {
                crossover = (zeros[z] + (zeros[z + 1] - zeros[z]) * (t - dense) / (t - before)) / 100.0;
                break;
            }
            before = t;
            crossover = zeros[z] / 100.0;
        }
        printf("%s\n {\"N\": %d, \"K\": %d, \"dense_us\": %.1f, \"dense_gops\": %.0f, \"nm\": {\"us\": %.1f, \"gain\": %.2f}, \"blocks\": {\"crossover\": %.2f", s ? "," : "",
               (int)shapes[s][0], (int)shapes[s][1], dense * 1e6, work / dense * 1e-9, best[s][NM] * 1e6, dense / best[s][NM], crossover);
        for (size_t z = 0; z < XC_ARRAY_LEN(zeros); z++) printf(", \"%d%%\": %.2f", zeros[z], dense / best[s][BLOCK0 + z]);
        printf("}}");
    }
    printf("\n]}\n");
    return 0;
}
