/* frame_pack: see frame_pack.h. */
#include "runtime/container/frame_pack.h"

#include <string.h>

/* Measured on all-MiniLM-L6-v2: docs/container.md, How small. */
#define LEVEL_TEXT 19
#define LEVEL_SPARSE 12
#define SPARSE_SHARE 0.75 /* of a frame: what Huffman coding must reach for another try */
#define SPARSE_PLANES 0.5 /* the same for planes: the exponents of bf16 alone make it two thirds */

void xc_planes_split(uint8_t *dst, const uint8_t *src, size_t n, int width)
{
    const size_t m = n / (size_t)width;

    for (size_t i = 0; i < m; i++) {
        if (width == 2) {
            const uint16_t v = (uint16_t)(src[2 * i] | src[2 * i + 1] << 8), r = (uint16_t)(v << 1 | v >> 15);

            dst[i] = (uint8_t)r;
            dst[m + i] = (uint8_t)(r >> 8);
        } else {
            const uint32_t v = (uint32_t)src[4 * i] | (uint32_t)src[4 * i + 1] << 8 | (uint32_t)src[4 * i + 2] << 16 | (uint32_t)src[4 * i + 3] << 24, r = v << 1 | v >> 31;

            for (size_t p = 0; p < 4; p++) dst[p * m + i] = (uint8_t)(r >> 8 * p);
        }
    }
    memcpy(dst + m * (size_t)width, src + m * (size_t)width, n - m * (size_t)width);
}

void xc_planes_join(uint8_t *dst, const uint8_t *src, size_t n, int width)
{
    const size_t m = n / (size_t)width;

    for (size_t i = 0; i < m; i++) {
        uint32_t r = 0, v;

        for (size_t p = 0; p < (size_t)width; p++) r |= (uint32_t)src[p * m + i] << 8 * p;
        v = width == 2 ? (r >> 1 | r << 15) : (r >> 1 | r << 31);
        for (size_t p = 0; p < (size_t)width; p++) dst[i * (size_t)width + p] = (uint8_t)(v >> 8 * p);
    }
    memcpy(dst + m * (size_t)width, src + m * (size_t)width, n - m * (size_t)width);
}

/* Huffman coding of literals and next to no search: a table of 64 entries for matches of 7 bytes. */
static size_t huffman(ZSTD_CCtx *ctx, uint8_t *dst, size_t bound, const uint8_t *src, size_t n)
{
    static const struct { ZSTD_cParameter name; int value; } set[] = {
        { ZSTD_c_compressionLevel, 1 }, { ZSTD_c_strategy, ZSTD_fast }, { ZSTD_c_minMatch, 7 }, { ZSTD_c_hashLog, 6 }, { ZSTD_c_targetLength, 0 },
        { ZSTD_c_literalCompressionMode, ZSTD_ps_enable },
    };

    ZSTD_CCtx_reset(ctx, ZSTD_reset_session_and_parameters);
    for (size_t i = 0; i < XC_ARRAY_LEN(set); i++) {
        const size_t rc = ZSTD_CCtx_setParameter(ctx, set[i].name, set[i].value);

        if (ZSTD_isError(rc)) return rc;
    }
    return ZSTD_compress2(ctx, dst, bound, src, n);
}

size_t xc_pack_frame(ZSTD_CCtx *ctx, uint8_t *dst, const uint8_t *src, size_t n, enum xc_pack what)
{
    const size_t bound = ZSTD_compressBound(n);
    size_t got, searched;
    uint8_t *other;

    if (what == XC_PACK_TEXT) {
        got = ZSTD_compressCCtx(ctx, dst, bound, src, n, LEVEL_TEXT);
        return ZSTD_isError(got) ? 0 : got;
    }
    got = huffman(ctx, dst, bound, src, n);
    if (ZSTD_isError(got)) return 0;
    if ((double)got >= (what == XC_PACK_PLANES ? SPARSE_PLANES : SPARSE_SHARE) * (double)n) return got;
    other = xc_malloc(bound);
    if (!other) return 0;
    searched = ZSTD_compressCCtx(ctx, other, bound, src, n, LEVEL_SPARSE);
    if (ZSTD_isError(searched)) got = 0;
    else if (searched < got) memcpy(dst, other, got = searched);
    xc_free(other);
    return got;
}
