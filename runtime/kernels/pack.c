/* pack: weights to and from panel16 (kernels.h, Layouts), and the sizes of panels and of attention scratch. Portable; not a hot path. */
#include <math.h>
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "runtime/kernels/kernels.h"
#include "runtime/kernels/levels.h"
#include "runtime/kernels/transpose4.h"

static size_t panel_bytes(int64_t N, int64_t K, size_t k_multiple, size_t element)
{
    size_t rows, cols, bytes;

    if (N < 0 || K < 0 || !xc_round_up_ok(&rows, (size_t)N, 16) || !xc_round_up_ok(&cols, (size_t)K, k_multiple)) return 0;
    if (!xc_mul_ok(&bytes, rows, cols) || !xc_mul_ok(&bytes, bytes, element)) return 0;
    return bytes;
}

size_t xc_panel_s8_bytes(int64_t N, int64_t K) { return panel_bytes(N, K, 4, 1); }
size_t xc_panel_f32_bytes(int64_t N, int64_t K) { return panel_bytes(N, K, 1, sizeof(float)); }
size_t xc_panel_bf16_bytes(int64_t N, int64_t K) { return panel_bytes(N, K, 2, sizeof(uint16_t)); }

/* Where weight (n, k) lies in [N/16][K/4][16][4]. */
static int64_t at_s8(int64_t n, int64_t k, int64_t K4) { return n / 16 * 16 * K4 + k / 4 * 64 + n % 16 * 4 + k % 4; }

void xc_pack_panel_s8(int8_t *dst, const int8_t *src, int64_t N, int64_t K)
{
    const int64_t K4 = xc_round_up(K, 4);

    memset(dst, 0, (size_t)(xc_round_up(N, 16) * K4));
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) dst[at_s8(n, k, K4)] = src[n * K + k];
}

void xc_unpack_panel_s8(int8_t *dst, const int8_t *src, int64_t N, int64_t K)
{
    const int64_t K4 = xc_round_up(K, 4);

    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) dst[n * K + k] = src[at_s8(n, k, K4)];
}

size_t xc_panel_s4_bytes(int64_t N, int64_t K) { return panel_bytes(N, K, 8, 1) / 2; }

/* Where the nibble of weight (n, k) lies; its shift is k & 4. */
static int64_t at_s4(int64_t n, int64_t k, int64_t K8) { return n / 16 * 8 * K8 + k / 8 * 64 + n % 16 * 4 + k % 4; }

void xc_pack_panel_s4(uint8_t *dst, const uint8_t *src, int64_t N, int64_t K)
{
    const int64_t K8 = xc_round_up(K, 8);

    memset(dst, 0, (size_t)(xc_round_up(N, 16) * K8 / 2));
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) dst[at_s4(n, k, K8)] |= (uint8_t)((src[n * K + k] & 15) << (k & 4));
}

void xc_unpack_panel_s4(uint8_t *dst, const uint8_t *src, int64_t N, int64_t K)
{
    const int64_t K8 = xc_round_up(K, 8);

    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) dst[n * K + k] = src[at_s4(n, k, K8)] >> (k & 4) & 15;
}

void xc_pack_panel_s4_bytes(uint8_t *dst, const uint8_t *src, int64_t N, int64_t K)
{
    const int64_t K8 = xc_round_up(K, 8);

    memset(dst, 0, (size_t)(xc_round_up(N, 16) * K8));
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) dst[at_s8(n, k, K8)] = src[n * K + k];
}

void xc_panel_s4_sums(float *sum, const struct xc_gemm_s4 *g)
{
    const int64_t groups = xc_div_up(g->K, g->group);
    const uint8_t *w = g->w;

    for (int64_t n0 = 0; n0 < xc_round_up(g->N, 16); n0 += 16, sum += 16) {
        memset(sum, 0, 16 * sizeof *sum);
        for (int64_t i = 0; i < groups; i++) {
            const int64_t at = (n0 / 16 * groups + i) * 16, n = xc_min_i64(g->group, g->K - i * g->group);
            int32_t of_group[16] = {0};

            for (int64_t k = 0; k < n; k += 8, w += g->bytes ? 128 : 64) /* inputs beyond K are zero */
                for (int64_t b = 0; b < 64; b++) of_group[b / 4] += g->bytes ? w[b] + w[64 + b] : (w[b] & 15) + (w[b] >> 4);
            for (int64_t l = 0; l < 16; l++) {
                const int32_t zero = g->zero ? g->zero[at + l] : g->bytes ? XC_S4_BYTES_ZERO : XC_S4_ZERO, by = g->zero && !g->bytes ? 4 : 1;

                sum[l] = fmaf((float)(by * of_group[l] - (int32_t)n * zero), xc_f16_to_f32(g->scale[at + l]) * (g->zero ? g->unit : 1.0f), sum[l]);
            }
        }
    }
}

void xc_pack_panel_f32(float *dst, const float *src, int64_t N, int64_t K)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16, dst += 16 * K, src += 16 * K)
        for (int64_t k0 = 0; k0 < K; k0 += 16) { /* sixteen by sixteen: both sides stay in the first-level cache */
            if (n0 + 16 <= N && k0 + 16 <= K) {
                for (int64_t n = 0; n < 16; n += 4)
                    for (int64_t k = k0; k < k0 + 16; k += 4) xc_transpose4(dst + k * 16 + n, 16, src + n * K + k, K);
                continue;
            }
            for (int64_t n = 0; n < 16; n++)
                for (int64_t k = k0; k < xc_min_i64(k0 + 16, K); k++) dst[k * 16 + n] = n0 + n < N ? src[n * K + k] : 0.0f;
        }
}

void xc_unpack_panel_f32(float *dst, const float *src, int64_t N, int64_t K)
{
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) dst[n * K + k] = src[(n / 16 * K + k) * 16 + n % 16];
}

void xc_panel_s8_sums(int32_t *sum, const int8_t *panel, int64_t N, int64_t K)
{
    const int64_t K4 = xc_round_up(K, 4);

    for (int64_t n0 = 0; n0 < xc_round_up(N, 16); n0 += 16, sum += 16) {
        memset(sum, 0, 16 * sizeof *sum);
        for (int64_t k = 0; k < K4; k += 4, panel += 64)
            for (int64_t l = 0; l < 16; l++) sum[l] += panel[4 * l] + panel[4 * l + 1] + panel[4 * l + 2] + panel[4 * l + 3];
    }
}

bool xc_sum16_ok(const int8_t *w, int64_t N, int64_t K)
{
    const int64_t K4 = xc_round_up(K, 4);

    for (int64_t n = 0; n < N; n++)
        for (int64_t k0 = 0; k0 < K; k0 += 16)
            for (int64_t half = 0; half < 4; half += 2) { /* a lane: eight of the sixteen inputs */
                int magnitudes[2] = {0}, squares[2] = {0};

                for (int64_t i = 0; i < 8; i += 2) {
                    const int64_t k = k0 + half + i / 2 * 4;
                    const int v = k < K4 ? w[at_s8(n, k, K4)] : 0, u = k < K4 ? w[at_s8(n, k + 1, K4)] : 0;

                    if (v + u > XC_PAIR_MAX || v + u < -XC_PAIR_MAX) return false;
                    magnitudes[i / 4] += (v < 0 ? -v : v) + (u < 0 ? -u : u);
                    squares[v < 0] += v * v;
                    squares[u < 0] += u * u;
                }
                if (magnitudes[0] > XC_SUM16_MAX || magnitudes[1] > XC_SUM16_MAX) return false;
                if (squares[0] > XC_LANE_SQUARES || squares[1] > XC_LANE_SQUARES) return false;
            }
    return true;
}

/* For each of XC_ATTN_ROWS query rows: scores and probabilities of one key block, a running output in f32 and one in int32; and one
 * group of 16 keys transposed to f32. */
size_t xc_attn_scratch_bytes(int64_t D)
{
    const size_t d = (size_t)xc_round_up(D, 16);

    return XC_ATTN_ROWS * (XC_KEY_BLOCK * (sizeof(float) + 1) + d * (sizeof(float) + sizeof(int32_t))) + 16 * d * sizeof(float);
}
