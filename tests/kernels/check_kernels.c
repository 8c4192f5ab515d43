/* check_kernels: every level of this build against scalar, bit for bit, over shapes with tails, extreme operands and guard bytes;
 * and scalar against a double-precision oracle (oracle.h). In the spirit of dav1d's checkasm.
 *
 *   check_kernels [LEVEL]   all usable levels, or one
 *
 * Levels that this CPU cannot run are checked all the same where the build carries them as SIMDe emulations (XC_TEST_SIMDE). Every
 * operand lies at the very end of its own heap block, so that a sanitizer build sees any read beyond it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "runtime/kernels/levels.h"
#include "tests/kernels/oracle.h"

#ifdef XC_TEST_SIMDE
void xc_kernels_init__avxvnni_simde(struct xc_kernels *k);
void xc_kernels_init__avx512vnni_simde(struct xc_kernels *k);
void xc_kernels_init__avx512vbmi_simde(struct xc_kernels *k);

static void init_avx512_simde(struct xc_kernels *k)
{
    xc_kernels_init__avx512vnni_simde(k);
    xc_kernels_init__avx512vbmi_simde(k);
}
#endif

static int n_passed, n_failed;
static const struct xc_kernels *ref;

static void check(bool ok, const char *level, const char *what)
{
    if (ok) {
        n_passed++;
    } else {
        n_failed++;
        printf("not ok: %s: %s\n", level, what);
    }
}

/* ---- operands: all are freed together after each case ---- */

static void *blocks[4096];
static int n_blocks;

static void *block(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);

    if (!p || n_blocks == (int)XC_ARRAY_LEN(blocks)) abort();
    return blocks[n_blocks++] = p;
}

static void free_blocks(void)
{
    while (n_blocks > 0) free(blocks[--n_blocks]);
}

static uint64_t seed = 1;

static uint32_t rnd(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

static float rndf(float limit) { return ((float)(rnd() >> 8) / 8388608.0f - 1.0f) * limit; }

enum fill { RANDOM, ALL_MAX, ALL_MIN, ALTERNATE, ZERO, SPIKY, N_FILLS };

static float *floats(int64_t n, enum fill fill)
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

/* Rows of int8 with zeros from K to the row's multiple of 4 and garbage beyond. */
static int8_t *rows_s8(int64_t R, int64_t K, int64_t ld, enum fill fill)
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

/* An output: its bytes, guards and gaps start from one pattern, so that comparing whole blocks sees every stray write. */
struct out {
    unsigned char *base;
    size_t bytes;
};
#define GUARD 64

static struct out output(size_t bytes)
{
    struct out o = {block(bytes + 2 * GUARD), bytes + 2 * GUARD};

    for (size_t i = 0; i < o.bytes; i++) o.base[i] = (unsigned char)(0xa5 ^ i * 7);
    return o;
}

static void *data(struct out o) { return o.base + GUARD; }
static bool same(struct out a, struct out b) { return a.bytes == b.bytes && memcmp(a.base, b.base, a.bytes) == 0; }

static void *scratch_for(int64_t D)
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

/* ---- gemm ---- */

static void sum16_weights(int8_t *w, int64_t n)
{
    for (int64_t i = 0; i < n; i++) w[i] = (int8_t)(w[i] > 45 ? 45 : w[i] < -45 ? -45 : w[i]); /* 4 * 45 <= 254, 8 * 45^2 <= 128^2 */
}

/* As large as the rules allow: quads of 254, pairs of 129, lanes whose positive squares are all of 128^2. */
static void extreme_sum16(int8_t *w, int64_t n, int64_t K)
{
    static const int8_t groups[2][16] = {{127, -127, 65, 64, 0, 0, 0, 0, 15, 0, 63, 63, 0, 0, 0, 0}, {-64, -64, 45, 45, -64, -62, 45, 45, -15, 0, 45, 45, 0, 0, 45, 45}};

    for (int64_t i = 0; i < n; i++) w[i] = groups[i / K % 2][i % K % 16];
}

static void check_gemm_s8(const struct xc_kernels *k)
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
                int32_t *sums = block((size_t)R * sizeof *sums);
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
                for (int64_t r = 0; r < R; r++) {
                    sums[r] = 0;
                    for (int64_t i = 0; i < K; i++) sums[r] += g.x[r * ldx + i];
                }
                g.x_sum = sums;
                g.ep.row_scale = floats(R, RANDOM);
                g.ep.col_scale = floats(N16, RANDOM);
                g.ep.bias = rnd() % 4 ? floats(N16, RANDOM) : NULL;
                if (rnd() % 2) {
                    int32_t *col_sum = block((size_t)N16 * sizeof *col_sum);

                    xc_panel_s8_sums(col_sum, panel, N, K);
                    g.ep.row_mid = floats(R, RANDOM);
                    g.ep.col_sum = col_sum;
                }
                g.ep.act = (enum xc_act)(rnd() % XC_ACT_COUNT);
                g.ep.ld_residual = N + 3;
                g.ep.residual = rnd() % 2 && R > 0 ? floats((R - 1) * g.ep.ld_residual + N, RANDOM) : NULL;
                g.ep.ld_out = ld;
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

/* ---- sparse gemm: the dense scalar kernel on the same numbers is the truth ---- */

/* Zeros in w (N,K) so that an output keeps at most four of each eight inputs, or whole blocks of 16 x 4, or anything: a share of each output that
 * differs from output to output, none of some, and a long gap. */
enum sparse { BLOCKS, NM, COMPACT };

static void make_sparse(int8_t *w, int64_t N, int64_t K, enum sparse kind, uint32_t share)
{
    for (int64_t n = 0; kind == COMPACT && n < N; n++) {
        const uint32_t keep = n % 19 == 5 ? 0 : n % 16 == 2 ? 8 : share + (uint32_t)(n % 3);

        for (int64_t k = 0; k < K; k++)
            if (rnd() % 16 >= keep || (n % 2 && k > K / 4 && k < K / 2)) w[n * K + k] = 0;
    }
    for (int64_t n = 0; kind == NM && n < N; n++)
        for (int64_t k0 = 0; k0 < K; k0 += 8) {
            int room = (int)(rnd() % 5);

            for (int64_t k = k0; k < k0 + 8 && k < K; k++)
                if (rnd() % 2 || room-- <= 0) w[n * K + k] = 0;
        }
    for (int64_t n0 = 0; kind == BLOCKS && n0 < N; n0 += 16)
        for (int64_t k0 = 0; k0 < K; k0 += 4) {
            if (rnd() % 8 < share) continue;
            for (int64_t n = n0; n < n0 + 16 && n < N; n++)
                for (int64_t k = k0; k < k0 + 4 && k < K; k++) w[n * K + k] = 0;
        }
}

static void pack_nm(int8_t *panel, uint8_t *index, const int8_t *w, int64_t N, int64_t K)
{
    const int64_t slots = xc_round_up(K, 16) / 2;
    int8_t *slot = block((size_t)slots);
    uint8_t *at = block((size_t)slots);

    memset(panel, 0, (size_t)(xc_round_up(N, 16) * slots));
    memset(index, 0, (size_t)(xc_round_up(N, 16) * slots / 2));
    for (int64_t n = 0; n < N; n++) {
        memset(slot, 0, (size_t)slots);
        for (int64_t k = 0, s = 0; k < K; k++) {
            if (k % 8 == 0) s = k / 2;
            if (!w[n * K + k]) continue;
            slot[s] = w[n * K + k];
            at[s++] = (uint8_t)(k % 8);
        }
        xc_pack_nm_row(panel, index, n, K, slot, at);
    }
}

/* Blocks that hold a number go to the lists. */
static void pack_blocks(int8_t *panel, uint32_t *first, const int8_t *w, int64_t N, int64_t K)
{
    uint16_t *quad = (uint16_t *)(void *)(first + xc_div_up(N, 16) + 1);
    uint32_t b = 0;

    for (int64_t n0 = 0; n0 < N; n0 += 16) {
        first[n0 / 16] = b;
        for (int64_t k0 = 0; k0 < K; k0 += 4) {
            bool any = false;

            memset(panel + 64 * (int64_t)b, 0, 64);
            for (int64_t n = n0; n < n0 + 16 && n < N; n++)
                for (int64_t k = k0; k < k0 + 4 && k < K; k++) {
                    panel[64 * (int64_t)b + (n - n0) * 4 + k - k0] = w[n * K + k];
                    any |= w[n * K + k] != 0;
                }
            if (any) quad[b++] = (uint16_t)(k0 / 4);
        }
    }
    first[xc_div_up(N, 16)] = b;
}

/* The file's form and back, and then steps. */
static void pack_compact(const struct xc_kernels *kern, int8_t *panel, uint32_t *lists, const int8_t *w, const int8_t *dense, int64_t N, int64_t K)
{
    const size_t bytes = xc_panel_s8_bytes(N, K), index_bytes = xc_compact_index_bytes(N, K);
    int8_t *held = block((size_t)(N * K) + 8), *back = block((size_t)K), *panels = block(bytes);
    uint8_t *index = block(index_bytes);
    int64_t n = 0, most;

    for (int64_t i = 0; i < N * K; i++) n += w[i] != 0;
    memset(index, 0, index_bytes);
    check(!n || !xc_compact_pack(held, index, w, n - 1, N, K), "pack", "more numbers than are to be held are refused");
    check(!xc_compact_pack(held, index, w, N * K + 1, N, K), "pack", "more numbers than there are are refused");
    memset(index, 0, index_bytes);
    n = xc_min_i64(n + (int64_t)(rnd() % 3) * 7, N * K); /* some zeros are held */
    check(xc_compact_pack(held, index, w, n, N, K), "pack", "a compact weight is packed");
    check(xc_compact_index_ok(index, n, N, K) && !xc_compact_index_ok(index, n + 1, N, K), "pack", "a compact index is found good, with its count alone");
    for (int64_t r = 0; r < N; r++) {
        xc_compact_unpack_row(back, held, index, r, N, K);
        check(memcmp(back, w + r * K, (size_t)K) == 0, "pack", "compact rows come back");
    }
    xc_compact_panels(panels, held, index, N, K);
    check(memcmp(panels, dense, bytes) == 0, "pack", "compact weights become dense panels");
    most = xc_compact_most_steps(index, N, K);
    const int64_t panels_n = xc_div_up(N, 16);
    const size_t step_bytes = (size_t)(64 * panels_n + 128 * most), list_bytes = (size_t)(4 * (panels_n + 1) + 2 * most);
    int8_t *again = block(step_bytes + list_bytes), *exact = block((size_t)n);

    xc_compact_steps(panel, lists, held, index, N, K);
    check(lists[xc_div_up(N, 16)] <= most, "pack", "no more steps than there is room for");
    memcpy(exact, held, (size_t)n); /* nothing lies behind the last number */
    memset(again, 0x55, step_bytes + list_bytes);
    kern->compact_steps(again, again + step_bytes, exact, index, N, K);
    check(memcmp(again, panel, (size_t)(64 * panels_n + 128 * (int64_t)lists[panels_n])) == 0, "compact_steps", "steps are those of scalar");
    check(memcmp(again + step_bytes, lists, (size_t)(4 * (panels_n + 1) + 2 * (int64_t)lists[panels_n])) == 0, "compact_steps", "lists are those of scalar");
    index[index_bytes - 1] ^= 0x40;
    check(!xc_compact_index_ok(index, n, N, K), "pack", "a damaged index is found out");
}

static void check_gemm_sparse(const struct xc_kernels *k)
{
    static const int64_t Ns[] = {1, 16, 17, 80, 312, 4128}, Ks[] = {1, 4, 9, 26, 77, 384, 1536, 3000, 7000}, Rs[] = {0, 1, 2, 3, 4, 5, 7, 12, 13, 19, 35, 61};

    for (size_t in = 0; in < XC_ARRAY_LEN(Ns); in++)
        for (size_t ik = 0; ik < XC_ARRAY_LEN(Ks) && Ns[in] * Ks[ik] <= 312 * 7000; ik++)
            for (int variant = 0; variant < 24; variant++) {
                const int64_t N = Ns[in], K = Ks[ik], R = Rs[rnd() % XC_ARRAY_LEN(Rs)], N16 = xc_round_up(N, 16), K16 = xc_round_up(K, 16);
                const int64_t ldx = xc_round_up(K, 4) + 4 * (int64_t)(rnd() % 3), ld = N + (int64_t)(rnd() % 5);
                const enum sparse kind = k->gemm_steps_s8 || variant % 3 != COMPACT ? (enum sparse)(variant % 3) : NM; /* no kernel: nothing to check */
                const bool sum16 = variant % 2 != 0;
                const enum fill fill = variant < 12 ? RANDOM : (enum fill)(ALL_MAX + variant / 3 % 3);
                int8_t *w = rows_s8(N, K, K, fill), *dense = block(xc_panel_s8_bytes(N, K)), *panel = block((size_t)(2 * N16 * (K16 + 256) + 64)), *back = block((size_t)K);
                uint32_t *index = block((size_t)(N16 * K16 + 64)); /* exact below */
                struct xc_gemm_s8 g = {.x = rows_s8(R, K, ldx, rnd() % 4 ? fill : RANDOM), .ldx = ldx, .N = N, .K = K};
                struct out a = output((size_t)(R * ld) * 4), b = output((size_t)(R * ld) * 4);
                const int64_t row0 = rnd() % 3 || R == 0 ? 0 : (int64_t)(rnd() % (uint32_t)R), col0 = rnd() % 3 ? 0 : N16 - 16;
                int32_t *sums = block((size_t)R * sizeof *sums);
                char name[160];

                if (sum16) sum16_weights(w, N * K);
                make_sparse(w, N, K, kind, (uint32_t)variant / 3);
                xc_pack_panel_s8(dense, w, N, K);
                if (kind == NM) pack_nm(panel, (uint8_t *)index, w, N, K);
                else if (kind == BLOCKS) pack_blocks(panel, index, w, N, K);
                else pack_compact(k, panel, index, w, dense, N, K);
                if (kind == BLOCKS) check(xc_block_index_ok(index, index[N16 / 16], N, K), "pack", "a list of blocks is found good");
                for (int64_t n = 0; n < N && kind != COMPACT; n++) {
                    if (kind == NM) xc_unpack_nm_row(back, panel, (const uint8_t *)index, n, K);
                    else xc_unpack_block_row(back, panel, index, n, N, K);
                    check(memcmp(back, w + n * K, (size_t)K) == 0, "pack", "sparse rows come back");
                }
                for (int64_t r = 0; r < R; r++) {
                    sums[r] = 0;
                    for (int64_t i = 0; i < K; i++) sums[r] += g.x[r * ldx + i];
                }
                g.x_sum = sums;
                g.ep.row_scale = floats(R, RANDOM);
                g.ep.col_scale = floats(N16, RANDOM);
                g.ep.bias = rnd() % 4 ? floats(N16, RANDOM) : NULL;
                g.ep.act = (enum xc_act)(rnd() % XC_ACT_COUNT);
                if (rnd() % 3 == 0) {
                    int32_t *col_sum = block((size_t)N16 * sizeof *col_sum);

                    g.ep.row_mid = floats(R, RANDOM);
                    g.ep.col_sum = col_sum;
                    xc_panel_s8_sums(col_sum, dense, N, K);
                }
                if (rnd() % 3 == 0) {
                    g.ep.ld_residual = N + 1;
                    g.ep.residual = floats(R * (N + 1), RANDOM);
                }
                g.ep.ld_out = ld;
                g.ep.out = data(a);
                g.w = dense;
                ref->gemm_s8(&g, row0, R, col0, N);
                g.ep.out = data(b);
                g.w_sum16 = sum16;
                if (kind == NM) { /* at the very end of their memory, so that reads beyond are seen */
                    g.w = memcpy(block((size_t)(N16 * K16 / 2)), panel, (size_t)(N16 * K16 / 2));
                    g.index = memcpy(block((size_t)(N16 * K16 / 4)), index, (size_t)(N16 * K16 / 4));
                } else {
                    const size_t n = index[N16 / 16], bytes = (size_t)(N16 / 16 + 1) * 4 + n * 2, w_bytes = kind == BLOCKS ? n * 64 : n * 128 + (size_t)N16 * 4;

                    g.w = memcpy(block(w_bytes), panel, w_bytes);
                    g.index = memcpy(block(bytes), index, bytes);
                }
                (kind == NM ? k->gemm_nm_s8 : kind == BLOCKS ? k->gemm_block_s8 : k->gemm_steps_s8)(&g, row0, R, col0, N);
                snprintf(name, sizeof name, "gemm_%s_s8 R %d N %d K %d fill %d sum16 %d act %d rows %d- cols %d-", kind == NM ? "nm" : kind == BLOCKS ? "block" : "steps", (int)R, (int)N, (int)K, (int)fill, sum16,
                         (int)g.ep.act, (int)row0, (int)col0);
                check(same(a, b), k->isa, name);
                free_blocks();
            }
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

static uint16_t *halves(int64_t n)
{
    uint16_t *p = block((size_t)n * sizeof *p);

    for (int64_t i = 0; i < n; i++) p[i] = xc_f32_to_f16(rndf(0.5f));
    return p;
}

static uint8_t *zeros_s4(int64_t n)
{
    uint8_t *p = block((size_t)n);

    for (int64_t i = 0; i < n; i++) p[i] = (uint8_t)(rnd() % 8 ? rnd() % 64 : 255); /* a hostile file may say anything */
    return p;
}

static struct xc_gemm_s4 s4_operands(int64_t R, int64_t N, int64_t K, int64_t group, int64_t ldx, enum fill fill, bool affine, bool bytes)
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

static void check_gemm_s4(const struct xc_kernels *k)
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
                g.ep.act = (enum xc_act)(rnd() % XC_ACT_COUNT);
                g.ep.ld_residual = N + 3;
                g.ep.residual = rnd() % 2 && R > 0 ? floats((R - 1) * g.ep.ld_residual + N, RANDOM) : NULL;
                g.ep.ld_out = ld;
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

static void check_gemm_f32(const struct xc_kernels *k)
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
                g.ep.act = (enum xc_act)(rnd() % XC_ACT_COUNT);
                g.ep.ld_residual = N + 3;
                g.ep.residual = rnd() % 2 && R > 0 ? floats((R - 1) * g.ep.ld_residual + N, RANDOM) : NULL;
                g.ep.ld_out = ld;
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
static void check_gemm_bf16(const struct xc_kernels *k)
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

/* ---- attention ---- */

struct attn_case {
    int64_t n_q, n_k, D;
    bool causal, bias;
    enum fill fill;
};

static struct attn_case attn_case(int i)
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

/* Quantized q, k, v of one head; operands from floats by the reference packing. */
static struct xc_attn_s8 attn_s8_operands(const struct attn_case *c)
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

static void check_attn(const struct xc_kernels *k)
{
    for (int i = 0; i < 400; i++) {
        const struct attn_case c = attn_case(i);
        struct xc_attn_s8 a = attn_s8_operands(&c);
        struct out x = output((size_t)(c.n_q * a.ld_out) * 4), y = output((size_t)(c.n_q * a.ld_out) * 4);
        const int64_t row0 = rnd() % 4 ? 0 : (int64_t)(rnd() % (uint32_t)c.n_q), row1 = rnd() % 4 ? c.n_q : row0 + (c.n_q - row0) / 2;
        char name[160];

        a.out = data(x);
        ref->attn_s8(&a, row0, row1);
        a.out = data(y);
        scratch_for(c.D);
        k->attn_s8(&a, row0, row1);
        snprintf(name, sizeof name, "attn_s8 n_q %d n_k %d D %d causal %d bias %d fill %d rows %d-%d", (int)c.n_q, (int)c.n_k, (int)c.D, c.causal,
                 c.bias, (int)c.fill, (int)row0, (int)row1);
        check(same(x, y), k->isa, name);
        free_blocks();
    }
    for (int i = 0; i < 200; i++) {
        const struct attn_case c = attn_case(i);
        struct xc_attn_f32 a = {.n_q = c.n_q, .n_k = c.n_k, .D = c.D, .causal = c.causal, .scale = 0.3f, .ldq = c.D + 1, .ldk = c.D + 2, .ldv = c.D};
        struct out x = output((size_t)(c.n_q * (c.D + 3)) * 4), y = output((size_t)(c.n_q * (c.D + 3)) * 4);
        const int64_t row0 = rnd() % 4 ? 0 : (int64_t)(rnd() % (uint32_t)c.n_q), row1 = rnd() % 4 ? c.n_q : row0 + (c.n_q - row0) / 2;
        char name[160];

        a.q = floats((c.n_q - 1) * a.ldq + c.D, c.fill);
        a.k = floats((c.n_k - 1) * a.ldk + c.D, c.fill);
        a.v = floats((c.n_k - 1) * a.ldv + c.D, c.fill);
        if (c.bias) {
            a.bias = floats((c.n_q - 1) * (c.n_k + 2) + c.n_k, RANDOM);
            a.ld_bias = c.n_k + 2;
        }
        a.ld_out = c.D + 3;
        a.scratch = scratch_for(c.D);
        a.out = data(x);
        ref->attn_f32(&a, row0, row1);
        a.out = data(y);
        scratch_for(c.D);
        k->attn_f32(&a, row0, row1);
        snprintf(name, sizeof name, "attn_f32 n_q %d n_k %d D %d causal %d bias %d fill %d rows %d-%d", (int)c.n_q, (int)c.n_k, (int)c.D, c.causal,
                 c.bias, (int)c.fill, (int)row0, (int)row1);
        check(same(x, y), k->isa, name);
        free_blocks();
    }
}

/* Runs of keys: windows in order, keys out of order and hidden ones, a run without positions; a query's own key. */
static void check_attn_runs(const struct xc_kernels *k)
{
    for (int i = 0; i < 400; i++) {
        enum { RUNS = 3 };
        struct attn_case c = attn_case(i);
        struct xc_key_run_s8 s8[RUNS];
        struct xc_key_run_f32 f32[RUNS];
        float *q_pos;
        struct xc_attn_s8 q;
        const int64_t n_runs = 1 + rnd() % RUNS, ld_out = c.D + 3;

        c.bias = false;
        q = attn_s8_operands(&c);
        q_pos = block((size_t)c.n_q * 4);
        for (int64_t j = 0; j < c.n_q; j++) q_pos[j] = (float)(5 + 2 * j);
        for (int64_t r = 0; r < n_runs; r++) {
            struct attn_case kc = attn_case(i);

            kc.D = c.D, kc.n_q = 1, kc.bias = false, kc.fill = c.fill;
            const struct xc_attn_s8 keys = attn_s8_operands(&kc);
            struct xc_key_run see = {.n = kc.n_k, .low = -(float)(rnd() % 200), .high = (float)(rnd() % 100)};
            float *pos = block((size_t)xc_round_up(kc.n_k, 16) * 4);

            if (rnd() % 4 == 0) see.low = -INFINITY;
            if (rnd() % 2) see.first = (float)(rnd() % 300), see.step = (float)(1 + rnd() % 3);
            for (int64_t j = 0; j < xc_round_up(kc.n_k, 16); j++) {
                pos[j] = see.step > 0 ? see.first + (float)j * see.step : (float)(rnd() % 300);
                if (rnd() % 16 == 0) pos[j] = XC_POS_NEVER;
            }
            see.pos = rnd() % 4 ? pos : NULL;
            s8[r] = (struct xc_key_run_s8){.see = see, .k = keys.k, .k_scale = keys.k_scale, .v = keys.v, .v_scale = keys.v_scale};
            f32[r] = (struct xc_key_run_f32){.see = see, .ldk = c.D + 2, .ldv = c.D, .k = floats((kc.n_k - 1) * (c.D + 2) + c.D, c.fill), .v = floats((kc.n_k - 1) * c.D + c.D, c.fill)};
        }
        struct xc_attn_runs a = {.q_pos = q_pos, .n_runs = n_runs, .D = c.D, .scale = 0.3f, .own = rnd() % 2, .own_score = -1e5f, .ld_out = ld_out, .scratch = q.scratch};
        const float *qf = floats((c.n_q - 1) * (c.D + 1) + c.D, c.fill);
        const int64_t row0 = rnd() % 4 ? 0 : (int64_t)(rnd() % (uint32_t)c.n_q), row1 = rnd() % 4 ? c.n_q : row0 + (c.n_q - row0) / 2;

        const bool skips = rnd() % 2;
        float *bound = block((size_t)c.n_q * RUNS * 4);

        for (int64_t j = 0; j < c.n_q * RUNS; j++) bound[j] = rnd() % 3 ? -60.0f + (float)(rnd() % 60) : (float)(rnd() % 60); /* any number: the levels must agree */
        for (int64_t r = 0; skips && r < n_runs; r++) {
            s8[r].see.step = f32[r].see.step = 0;
            s8[r].see.n = f32[r].see.n = xc_min_i64(s8[r].see.n, XC_KEY_BLOCK);
        }
        for (int f = 0; f < 2; f++) {
            struct out y[2], stat[2], lost[2];
            int64_t count[2][3] = {0};
            char name[160];

            for (int s = 0; s < 2; s++) {
                lost[s] = output((size_t)c.n_q * 4);
                const struct xc_attn_skip skip = {.eps = (float)(1 + i % 4) * 0.02f, .bound = i % 3 ? bound : NULL, .ld_bound = RUNS, .lost = data(lost[s]), .count = count[s]};

                a.skip = skips ? &skip : NULL;
                y[s] = output((size_t)(c.n_q * ld_out) * 4);
                stat[s] = output((size_t)(c.n_q * 2) * 4);
                a.out = data(y[s]);
                a.stat = data(stat[s]);
                scratch_for(c.D);
                const struct xc_attn_runs_s8 a8 = {.a = a, .run = s8, .q = q.q, .ldq = q.ldq, .q_scale = q.q_scale};
                const struct xc_attn_runs_f32 af = {.a = a, .run = f32, .q = qf, .ldq = c.D + 1};

                if (f) (s ? k : ref)->attn_runs_f32(&af, row0, row1);
                else (s ? k : ref)->attn_runs_s8(&a8, row0, row1);
            }
            snprintf(name, sizeof name, "attn_runs_%s case %d n_q %d D %d runs %d own %d fill %d rows %d-%d", f ? "f32" : "s8", i, (int)c.n_q, (int)c.D, (int)n_runs,
                     a.own, (int)c.fill, (int)row0, (int)row1);
            check(same(y[0], y[1]) && same(stat[0], stat[1]) && same(lost[0], lost[1]) && !memcmp(count[0], count[1], sizeof count[0]), k->isa, name);
        }
        free_blocks();
    }
}

/* ---- rows ---- */

static const int64_t widths[] = {1, 2, 4, 15, 16, 17, 26, 31, 32, 33, 77, 312, 384, 768, 1200};

static void check_norm(const struct xc_kernels *k)
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

static void check_quantize(const struct xc_kernels *k)
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

static void check_elementwise(const struct xc_kernels *k)
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

static void check_encode(const struct xc_kernels *k)
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

static void check_level(const struct xc_kernels *k)
{
    seed = 7;
    printf("# level %s\n", k->isa);
    check_gemm_s8(k);
    check_gemm_sparse(k);
    check_gemm_s4(k);
    check_gemm_f32(k);
    check_gemm_bf16(k);
    check_attn(k);
    check_attn_runs(k);
    check_norm(k);
    check_quantize(k);
    check_elementwise(k);
    check_encode(k);
}

/* ---- scalar against the oracle ---- */

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

static void check_oracle_functions(void)
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

static void check_oracle_gemm(void)
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

static void check_oracle_gemm_s4(void)
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

static void check_oracle_attention(void)
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

static void check_oracle_rows(void)
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

static void check_oracle_encode(void)
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

static void check_parse(void)
{
    struct xc_err err;

    check(xc_kernels_parse(NULL, &err) == XC_OK && xc_kernels_parse("", &err) == XC_OK, "parse", "nothing");
    check(xc_kernels_parse("avx512vnni,-vnni", &err) == XC_OK, "parse", "a level and a mask");
    check(xc_kernels_parse("avx3", &err) == XC_E_ARG && strstr(err.msg, "'avx3'"), "parse", "an unknown word is named");
    check(xc_kernels_parse("avx2,,scalar", &err) == XC_E_ARG, "parse", "an empty word");
}

int main(int argc, char **argv)
{
    bool found = argc < 2;

    setvbuf(stdout, NULL, _IOLBF, 0);
    ref = xc_kernels_for("scalar");
    if (!ref) return 1;
    printf("# xc_kernels() chose %s\n", xc_kernels()->isa);
    if (argc < 2) {
        check_parse();
        check_oracle_functions();
        check_oracle_gemm();
        check_oracle_gemm_s4();
        check_oracle_attention();
        check_oracle_rows();
        check_oracle_encode();
    }
    for (const char *const *level = xc_kernels_levels(); *level; level++) {
        const struct xc_kernels *k = xc_kernels_for(*level);

        if (argc > 1 && strcmp(argv[1], *level) != 0) continue;
        found = true;
        if (k)
            check_level(k);
        else
            printf("# level %s: this machine lacks it\n", *level);
    }
#ifdef XC_TEST_SIMDE
    static struct xc_kernels emulated;
    static const struct {
        const char *name;
        void (*init)(struct xc_kernels *k);
    } simde[] = {{"avxvnni-simde", xc_kernels_init__avxvnni_simde}, {"avx512vbmi-simde", init_avx512_simde}};

    for (size_t i = 0; i < XC_ARRAY_LEN(simde); i++) {
        if (argc > 1 && strcmp(argv[1], simde[i].name) != 0) continue;
        if (!xc_kernels_for("avx2")) {
            printf("# level %s: this machine lacks AVX2, which it stands on\n", simde[i].name);
            continue;
        }
        found = true;
        emulated = *xc_kernels_for("avx2");
        simde[i].init(&emulated);
        emulated.isa = simde[i].name;
        check_level(&emulated);
    }
#endif
    if (!found) printf("unknown level %s\n", argv[1]);
    printf("%d passed, %d failed\n", n_passed, n_failed);
    return n_failed > 0 || !found;
}
