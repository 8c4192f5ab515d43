/* sparse: the sparse int8 kernels against the dense one, on the shapes of linears from 384 x 384 to 768 x 3072: N:M, and from 10 to 95 % zeros in
 * blocks and anywhere (compact, where the level has a kernel). Prints JSON: for each shape the time of each, what it gains, and for blocks and
 * compact the sparsity from which they are faster than dense.
 *
 *   sparse [REPETITIONS [ROWS]]     pin it (taskset -c 1); best of all repetitions, cases interleaved; ROWS is 128 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/peaks.h"
#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"

static const int64_t shapes[][2] = {{384, 384}, {1536, 384}, {384, 1536}, {768, 768}, {3072, 768}, {768, 3072}};
static const int zeros[] = {10, 20, 30, 40, 50, 60, 70, 75, 80, 90, 95}; /* percent of blocks, or of numbers */
enum { DENSE, NM, BLOCK0, COMPACT0 = BLOCK0 + XC_ARRAY_LEN(zeros), N_CASES = COMPACT0 + XC_ARRAY_LEN(zeros) };

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

/* Numbers with zeros anywhere, as steps. */
struct steps {
    int8_t *w;
    void *lists;
};

static void make_steps(struct steps *s, int64_t N, int64_t K, int percent)
{
    int8_t *q = memory((size_t)(N * K)), *held = memory((size_t)(N * K));
    void *index = memory(xc_compact_index_bytes(N, K));
    int64_t n = 0, most;

    for (int64_t i = 0; i < N * K; i++) {
        q[i] = (int)(rnd() % 1000) >= percent * 10 ? (int8_t)(1 + rnd() % 126) : 0;
        n += q[i] != 0;
    }
    if (!xc_compact_pack(held, index, q, n, N, K)) exit(1);
    most = xc_compact_most_steps(index, N, K);
    s->w = memory((size_t)(64 * (N / 16) + 128 * most));
    s->lists = memory((size_t)(4 * (N / 16 + 1) + 2 * most));
    xc_kernels()->compact_steps(s->w, s->lists, held, index, N, K);
    xc_free(q);
    xc_free(held);
    xc_free(index);
}

/* The share of zeros from which cases of `t` are faster than dense: between the last that loses and the first that wins, in a straight line. */
static double crossover(const double *t, double dense)
{
    double before = 0, at = 1;

    for (size_t z = XC_ARRAY_LEN(zeros); z-- > 0; before = t[z]) {
        if (t[z] > dense) return before == 0 ? 1 : (zeros[z] + (zeros[z + 1] - zeros[z]) * (t[z] - dense) / (t[z] - before)) / 100.0;
        at = zeros[z] / 100.0;
    }
    return at;
}

static void print_gains(const char *name, const double *t, double dense)
{
    printf(", \"%s\": {\"crossover\": %.2f", name, crossover(t, dense));
    for (size_t z = 0; z < XC_ARRAY_LEN(zeros); z++) printf(", \"%d%%\": %.2f", zeros[z], dense / t[z]);
    printf("}");
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
    struct steps steps[XC_ARRAY_LEN(zeros)];
    const int cases = kern->gemm_steps_s8 ? N_CASES : COMPACT0;
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
        for (size_t z = 0; z < XC_ARRAY_LEN(zeros) && cases == N_CASES; z++) make_steps(&steps[z], N, K, zeros[z]);
        for (int r = 0; r <= repetitions; r++)
            for (int c = 0; c < cases; c++) {
                struct xc_gemm_s8 g = {.x = x, .ldx = K, .x_sum = sums, .w = w, .w_sum16 = true, .N = N, .K = K, .ep = ep};
                const double start = xc_seconds();

                if (c == NM) g.w = nm, g.index = nm_index;
                if (c >= BLOCK0 && c < COMPACT0) g.w = blocks[c - BLOCK0], g.index = lists[c - BLOCK0];
                if (c >= COMPACT0) g.w = steps[c - COMPACT0].w, g.index = steps[c - COMPACT0].lists;
                (c == DENSE ? kern->gemm_s8 : c == NM ? kern->gemm_nm_s8 : c < COMPACT0 ? kern->gemm_block_s8 : kern->gemm_steps_s8)(&g, 0, R, 0, N);

                const double t = xc_seconds() - start;

                if (r > 0 && (best[s][c] == 0 || t < best[s][c])) best[s][c] = t;
            }
        for (size_t z = 0; z < XC_ARRAY_LEN(zeros) && cases == N_CASES; z++) {
            xc_free(steps[z].w);
            xc_free(steps[z].lists);
        }
    }
    printf("{\"isa\": \"%s\", \"rows\": %d, \"repetitions\": %d, \"shapes\": [", kern->isa, (int)R, repetitions);
    for (size_t s = 0; s < XC_ARRAY_LEN(shapes); s++) {
        const double dense = best[s][DENSE], work = 2.0 * (double)(R * shapes[s][0] * shapes[s][1]);

        printf("%s\n {\"N\": %d, \"K\": %d, \"dense_us\": %.1f, \"dense_gops\": %.0f, \"nm\": {\"us\": %.1f, \"gain\": %.2f}", s ? "," : "", (int)shapes[s][0], (int)shapes[s][1],
               dense * 1e6, work / dense * 1e-9, best[s][NM] * 1e6, dense / best[s][NM]);
        print_gains("blocks", &best[s][BLOCK0], dense);
        if (cases == N_CASES) print_gains("compact", &best[s][COMPACT0], dense);
        printf("}");
    }
    printf("\n]}\n");
    return 0;
}
