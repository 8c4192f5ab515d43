/* pack_sparse: sparse int8 weights to and from their panels (kernels.h, Layouts). Portable; not a hot path. */
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"

void xc_pack_nm_row(int8_t *w, uint8_t *index, int64_t n, int64_t K, const int8_t *slot, const uint8_t *at)
{
    const int64_t K16 = xc_round_up(K, 16);

    w += n / 16 * 8 * K16 + n % 16 * 4;
    index += n / 16 * 4 * K16 + n % 16 * 4;
    for (int64_t s = 0; s < K16 / 2; s++) {
        const int64_t group = s / 4;
        const int nibble = slot[s] ? at[s] | (slot[s] < 0 ? 8 : 0) : 0;

        w[group * 64 + s % 4] = (int8_t)(slot[s] < 0 ? -slot[s] : slot[s]);
        index[group / 2 * 64 + s % 4] |= (uint8_t)(nibble << (group & 1) * 4);
    }
}

void xc_unpack_nm_row(int8_t *dst, const int8_t *w, const uint8_t *index, int64_t n, int64_t K)
{
    const int64_t K16 = xc_round_up(K, 16);

    w += n / 16 * 8 * K16 + n % 16 * 4;
    index += n / 16 * 4 * K16 + n % 16 * 4;
    memset(dst, 0, (size_t)K);
    for (int64_t s = 0; s < K16 / 2; s++) {
        const int64_t group = s / 4;
        const int nibble = index[group / 2 * 64 + s % 4] >> (group & 1) * 4 & 15, v = w[group * 64 + s % 4];
        const int64_t k = group * 8 + (nibble & 7);

        if (v && k < K) dst[k] = (int8_t)(dst[k] + (nibble & 8 ? -v : v));
    }
}

static const uint16_t *quads_of(const uint32_t *first, int64_t N) { return (const uint16_t *)(const void *)(first + xc_div_up(N, 16) + 1); }

void xc_nm_s8_sums(int32_t *sum, const int8_t *w, const void *index, int64_t N, int64_t K)
{
    const int64_t K16 = xc_round_up(K, 16);
    const uint8_t *nibbles = index;

    memset(sum, 0, (size_t)xc_round_up(N, 16) * sizeof *sum);
    for (int64_t n0 = 0; n0 < N; n0 += 16, nibbles += 4 * K16)
        for (int64_t group = 0; group < K16 / 8; group++, w += 64)
            for (int64_t i = 0; i < 64; i++) sum[n0 + i / 4] += nibbles[group / 2 * 64 + i] >> (group & 1) * 4 & 8 ? -w[i] : w[i];
}

void xc_block_s8_sums(int32_t *sum, const int8_t *w, const void *index, int64_t N)
{
    const uint32_t *first = index;

    memset(sum, 0, (size_t)xc_round_up(N, 16) * sizeof *sum);
    for (int64_t p = 0; p < xc_div_up(N, 16); p++)
        for (uint32_t b = first[p]; b < first[p + 1]; b++, w += 64)
            for (int64_t i = 0; i < 64; i++) sum[p * 16 + i / 4] += w[i];
}

void xc_unpack_block_row(int8_t *dst, const int8_t *w, const void *index, int64_t n, int64_t N, int64_t K)
{
    const uint32_t *first = index;
    const uint16_t *quad = quads_of(first, N);

    memset(dst, 0, (size_t)K);
    for (uint32_t b = first[n / 16]; b < first[n / 16 + 1]; b++)
        for (int64_t i = 0; i < 4 && 4 * quad[b] + i < K; i++) dst[4 * quad[b] + i] = w[64 * (int64_t)b + n % 16 * 4 + i];
}

bool xc_block_index_ok(const void *index, int64_t blocks, int64_t N, int64_t K)
{
    const uint32_t *first = index;
    const uint16_t *quad = quads_of(first, N);
    const int64_t panels = xc_div_up(N, 16);

    if (first[0] != 0 || first[panels] != blocks) return false;
    for (int64_t p = 0; p < panels; p++) {
        if (first[p] > first[p + 1] || first[p + 1] > blocks) return false;
        for (uint32_t b = first[p]; b < first[p + 1]; b++)
            if (4 * (int64_t)quad[b] >= K || (b > first[p] && quad[b] <= quad[b - 1])) return false;
    }
    return true;
}
