/* check_sparse: products of sparse int8 weights. The dense scalar kernel on the same numbers is the truth. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/base.h"
#include "tests/kernels/check.h"

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

void check_gemm_sparse(const struct xc_kernels *k)
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
                g.x_sum = row_sums(g.x, R, K, ldx);
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
