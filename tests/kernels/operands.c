/* operands: see check.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "tests/kernels/check.h"

int n_passed, n_failed;
const struct xc_kernels *ref;

void check(bool ok, const char *level, const char *what)
{
    if (ok) {
        n_passed++;
    } else {
        n_failed++;
        printf("not ok: %s: %s\n", level, what);
    }
}

static void *blocks[4096];
static int n_blocks;

void *block(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);

    if (!p || n_blocks == (int)XC_ARRAY_LEN(blocks)) abort();
    return blocks[n_blocks++] = p;
}

void free_blocks(void)
{
    while (n_blocks > 0) free(blocks[--n_blocks]);
}

uint64_t seed = 1;
const int64_t widths[N_WIDTHS] = {1, 2, 4, 15, 16, 17, 26, 31, 32, 33, 77, 312, 384, 768, 1200};

uint32_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

float rndf(float limit) { return ((float)(rnd() >> 8) / 8388608.0f - 1.0f) * limit; }

float *floats(int64_t n, enum fill fill)
{
    float *p = block((size_t)n * sizeof *p);

    for (int64_t i = 0; i < n; i++) {
        switch (fill) {
        case ALL_MAX: p[i] = 3.0f; break;
        case ALL_MIN: p[i] = -3.0f; break;
        case ALTERNATE: p[i] = i % 2 ? -3.0f : 3.0f; break;
        case ZERO: p[i] = 0.0f; break;
        case SPIKY: p[i] = rnd() % 50 ? rndf(0.1f) : rndf(300.0f); break;
        default: p[i] = rndf(4.0f);
        }
    }
    return p;
}

int8_t *rows_s8(int64_t R, int64_t K, int64_t ld, enum fill fill)
{
    int8_t *p = block((size_t)(R * ld));

    for (int64_t r = 0; r < R; r++) {
        const uint32_t kind = rnd() % 5; /* random rows: of any numbers, small, small with spikes, near -127 with few or many spikes */

        for (int64_t k = 0; k < ld; k++) {
            int v = (int)(rnd() % 255) - 127;

            if (kind == 1) v /= 3;
            if (kind == 2) v = rnd() % 64 ? v / 4 : v;
            if (kind >= 3) v = rnd() % (kind == 3 ? 64 : 12) ? -127 + (int)(rnd() % 30) : -127 + (int)(rnd() % (XC_AFFINE_SPAN + 1));
            if (fill == ALL_MAX) v = 127;
            if (fill == ALL_MIN) v = -127;
            if (fill == ALTERNATE) v = (r + k) % 2 ? -127 : 127;
            if (fill == ZERO) v = 0;
            if (k >= K && k < xc_round_up(K, 4)) v = 0;
            p[r * ld + k] = (int8_t)v;
        }
    }
    return p;
}

int32_t *row_sums(const int8_t *x, int64_t R, int64_t K, int64_t ld)
{
    int32_t *sums = block((size_t)R * sizeof *sums);

    for (int64_t r = 0; r < R; r++) {
        sums[r] = 0;
        for (int64_t k = 0; k < K; k++) sums[r] += x[r * ld + k];
    }
    return sums;
}

#define GUARD 64

struct out output(size_t bytes)
{
    struct out o = {block(bytes + 2 * GUARD), bytes + 2 * GUARD};

    for (size_t i = 0; i < o.bytes; i++) o.base[i] = (unsigned char)(0xa5 ^ i * 7);
    return o;
}

void *data(struct out o) { return o.base + GUARD; }
bool same(struct out a, struct out b) { return a.bytes == b.bytes && memcmp(a.base, b.base, a.bytes) == 0; }

void *scratch_for(int64_t D)
{
    static void *p; /* grown, 64-byte aligned, kept for the process */
    static size_t cap;
    const size_t want = xc_attn_scratch_bytes(D);

    if (want > cap) {
        free(p);
        p = aligned_alloc(64, (want + 63) / 64 * 64);
        if (!p) abort();
        cap = want;
    }
    memset(p, 0xff, want); /* NaNs: nothing may depend on it */
    return p;
}

void sum16_weights(int8_t *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++) w[i] = (int8_t)(w[i] > 45 ? 45 : w[i] < -45 ? -45 : w[i]);
}

/* Numbers below 16 or 64, a byte each. */
static uint8_t *small_numbers(int64_t n, enum fill fill, bool bytes)
{
    const uint32_t top = bytes ? 255 : 15;
    uint8_t *p = block((size_t)n);

    for (int64_t i = 0; i < n; i++)
        p[i] = (uint8_t)(fill == ALL_MAX ? top : fill == ALL_MIN ? 0 : fill == ALTERNATE ? i % 2 * top : fill == ZERO ? (top + 1) / 2 : rnd() & top);
    return p;
}

uint16_t *halves(int64_t n)
{
    uint16_t *p = block((size_t)n * sizeof *p);

    for (int64_t i = 0; i < n; i++) p[i] = xc_f32_to_f16(rndf(0.5f));
    return p;
}

uint8_t *zeros_s4(int64_t n)
{
    uint8_t *p = block((size_t)n);

    for (int64_t i = 0; i < n; i++) p[i] = (uint8_t)(rnd() % 8 ? rnd() % 64 : 255);
    return p;
}

struct xc_gemm_s4 s4_operands(int64_t R, int64_t N, int64_t K, int64_t group, int64_t ldx, enum fill fill, bool affine, bool bytes)
{
    const int64_t n = xc_round_up(N, 16) * xc_div_up(K, group);
    uint8_t *panel = block(xc_panel_s4_bytes(N, K) * (bytes ? 2 : 1)), *back = block((size_t)(N * K));
    const uint8_t *w = small_numbers(N * K, fill, bytes);
    struct xc_gemm_s4 g = {.x = rows_s8(R, K, ldx, rnd() % 4 ? fill : RANDOM), .ldx = ldx, .w = panel, .bytes = bytes, .N = N, .K = K, .group = group};

    if (bytes) {
        xc_pack_panel_s4_bytes(panel, w, N, K);
    } else {
        xc_pack_panel_s4(panel, w, N, K);
        xc_unpack_panel_s4(back, panel, N, K);
        check(memcmp(back, w, (size_t)(N * K)) == 0, "pack", "s4 panel round trip");
    }
    g.unit = ldexpf(1.0f, -(int)(rnd() % 5));
    g.scale = halves(n);
    g.zero = affine ? zeros_s4(n) : NULL;
    g.ep.row_scale = floats(R, RANDOM);
    return g;
}

struct attn_case attn_case(int i)
{
    static const int64_t Ds[] = {32, 64, 26, 40, 80, 128, 12, 312, 16, 1};
    static const int64_t ns[] = {1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 100, 127, 128, 129, 200, 256, 300};
    struct attn_case c = {.D = Ds[i % (int)XC_ARRAY_LEN(Ds)], .fill = (enum fill)(rnd() % N_FILLS), .causal = rnd() % 3 == 0, .bias = rnd() % 4 == 0};

    if (rnd() % 2) c.fill = RANDOM;
    c.n_k = ns[rnd() % XC_ARRAY_LEN(ns)];
    c.n_q = rnd() % 2 ? c.n_k : 1 + (int64_t)(rnd() % 40);
    if (c.causal && rnd() % 2) c.n_q = c.n_k;
    return c;
}

struct xc_attn_s8 attn_s8_operands(const struct attn_case *c)
{
    const int64_t D4 = xc_round_up(c->D, 4), D16 = xc_round_up(c->D, 16), k16 = xc_round_up(c->n_k, 16), blocks_k = xc_div_up(c->n_k, XC_KEY_BLOCK);
    struct xc_attn_s8 a = {.n_q = c->n_q, .n_k = c->n_k, .D = c->D, .causal = c->causal, .scale = 1.0f / sqrtf((float)c->D)};
    int8_t *q = block((size_t)(c->n_q * (D4 + 8))), *k = block((size_t)(k16 * D4)), *v = block((size_t)(blocks_k * D16 * XC_KEY_BLOCK));
    float *q_scale = block((size_t)c->n_q * 4), *k_scale = block((size_t)k16 * 4), *v_scale = block((size_t)(blocks_k * D16) * 4);
    int32_t *sum = block((size_t)c->n_q * 4);

    memset(q, 0x55, (size_t)(c->n_q * (D4 + 8)));
    a.ldq = D4 + 8;
    ref->quantize_rows_s8(q, a.ldq, q_scale, sum, floats(c->n_q * c->D, c->fill), c->D, NULL, c->n_q, c->D, 0.0f);
    ref->pack_keys_s8(k, k_scale, floats(c->n_k * c->D, c->fill), c->D, c->n_k, c->D);
    ref->pack_values_s8(v, v_scale, floats(c->n_k * c->D, c->fill), c->D, c->n_k, c->D);
    a.q = q, a.k = k, a.v = v, a.q_scale = q_scale, a.k_scale = k_scale, a.v_scale = v_scale;
    if (c->bias) {
        float *bias = floats((c->n_q - 1) * (c->n_k + 2) + c->n_k, RANDOM);

        for (int64_t i = 0; i < (c->n_q - 1) * (c->n_k + 2) + c->n_k; i++)
            if (rnd() % 8 == 0) bias[i] = -INFINITY;
        a.bias = bias;
        a.ld_bias = c->n_k + 2;
    }
    a.ld_out = c->D + 3;
    a.scratch = scratch_for(c->D);
    return a;
}
