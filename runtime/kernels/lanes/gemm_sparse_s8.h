/* gemm_nm_s8 and gemm_block_s8 for ISAs with a four-byte dot product. Included after <isa>/lanes.h with
 *   SP_ROWS (at most 8)    rows of a tile of 16 outputs
 *   sp_table(p)            sixteen bytes, in every sixteen bytes of a register
 *   sp_look(t, i)          bytes of t by number, 0..15
 *   sp_low(v), sp_high(v)  nibbles of each byte
 *   sp_weigh(acc, w, x)    acc + w . x over quads; w in [0,127], x signed
 *   sp_dot(acc, w, four)   acc + w . x; w signed, x four bytes repeated, each with SP_OFFSET (0 or 128) added
 *
 * N:M: as avx2/gemm_sparse_s8.c: one look-up takes input and sign of each slot from x, -x. */
#ifndef XC_RUNTIME_KERNELS_LANES_GEMM_SPARSE_S8_H
#define XC_RUNTIME_KERNELS_LANES_GEMM_SPARSE_S8_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/epilogue.h"

#define SP_BYTES 49152 /* of packed rows */
#define SP_BLOCK 32    /* rows whose accumulators wait on the stack */

#define SP_EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define SP_DECLARE(i) v16i a##i = mr > i ? i_load(c + 16 * i) : i_zero();
#define SP_STORE(i) if (mr > i) i_store(c + 16 * i, a##i);

static void sp_finish(const struct xc_gemm_s8 *g, const int32_t *c, int64_t rows, int64_t r0, int64_t c0, int64_t col1)
{
    const int64_t n = xc_min_i64(16, col1 - c0);

    for (int64_t r = 0; r < rows; r++) {
        ep_store_s8(&g->ep, i_load(c + r * 16), r0 + r, c0, n);
        ep_finish(&g->ep, r0 + r, c0, n);
    }
}

/* ---- N:M ---- */
/* n inputs to n rounded up to 16, each eight as x, -x. */
static void nm_pack(int8_t *xp, const int8_t *x, int64_t n)
{
    for (int64_t k = 0; k < xc_round_up(n, 16); k += 8, xp += 16) {
        int8_t v[8] = {0};

        memcpy(v, x + k, (size_t)xc_max_i64(0, xc_min_i64(8, n - k)));
        for (int64_t i = 0; i < 8; i++) {
            xp[i] = v[i];
            xp[8 + i] = (int8_t)-v[i];
        }
    }
}

LANES_INLINE void nm_tile(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint8_t *index, int64_t pairs, int mr)
{
    SP_EACH(SP_DECLARE)
#define STEP(i)                                                                                \
    if (mr > i) {                                                                              \
        a##i = sp_weigh(a##i, even, sp_look(sp_table(xp + i * ldxp), at_even));                \
        a##i = sp_weigh(a##i, odd, sp_look(sp_table(xp + i * ldxp + 16), at_odd));             \
    }
    for (; pairs > 0; pairs--, xp += 32, w += 128, index += 64) {
        const v16i at = i_load((const int32_t *)(const void *)index), at_even = sp_low(at), at_odd = sp_high(at);
        const v16i even = i_load((const int32_t *)(const void *)w), odd = i_load((const int32_t *)(const void *)(w + 64));

        SP_EACH(STEP)
    }
#undef STEP
    SP_EACH(SP_STORE)
}

static __attribute__((noinline)) void nm_rows(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint8_t *index, int64_t pairs, int64_t rows)
{
    for (; rows >= SP_ROWS; rows -= SP_ROWS, c += SP_ROWS * 16, xp += SP_ROWS * ldxp) nm_tile(c, xp, ldxp, w, index, pairs, SP_ROWS);
#define CASE(i) case i + 1: if (i + 1 < SP_ROWS) nm_tile(c, xp, ldxp, w, index, pairs, i + 1); break;
    switch (rows) { SP_EACH(CASE) default: break; }
#undef CASE
}

static void lanes_gemm_nm_s8(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K16 = xc_round_up(g->K, 16), part = xc_min_i64(K16, SP_BYTES / 2 / 8), block = xc_min_i64(SP_BLOCK, SP_BYTES / (2 * part));
    _Alignas(64) int8_t xp[SP_BYTES];
    _Alignas(64) int32_t c[SP_BLOCK * 16];

    for (int64_t r0 = row0; r0 < row1; r0 += block) {
        const int64_t rows = xc_min_i64(block, row1 - r0);

        for (int64_t c0 = col0; c0 < col1; c0 += 16) {
            memset(c, 0, (size_t)rows * 16 * sizeof *c);
            for (int64_t k0 = 0; k0 < K16; k0 += part) {
                if (part < K16 || c0 == col0)
                    for (int64_t r = 0; r < rows; r++) nm_pack(xp + r * 2 * part, g->x + (r0 + r) * g->ldx + k0, xc_min_i64(part, g->K - k0));
                nm_rows(c, xp, 2 * part, g->w + c0 * K16 / 2 + k0 * 8, (const uint8_t *)g->index + c0 * K16 / 4 + k0 * 4, xc_min_i64(part, K16 - k0) / 16, rows);
            }
            sp_finish(g, c, rows, r0, c0, col1);
        }
    }
}

/* ---- blocks ---- */
LANES_INLINE void block_tile(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint16_t *quad, int64_t base, int64_t n, int mr)
{
    SP_EACH(SP_DECLARE)
#define STEP(i)                                                      \
    if (mr > i) {                                                    \
        int32_t four;                                                \
        memcpy(&four, x + i * ldxp, 4);                              \
        a##i = sp_dot(a##i, weight, four);                           \
    }
    for (; n > 0; n--, w += 64, quad++) {
        const int8_t *x = xp + 4 * (*quad - base);
        const v16i weight = i_load((const int32_t *)(const void *)w);

        SP_EACH(STEP)
    }
#undef STEP
    SP_EACH(SP_STORE)
}

static __attribute__((noinline)) void block_rows(int32_t *c, const int8_t *xp, int64_t ldxp, const int8_t *w, const uint16_t *quad, int64_t base, int64_t n, int64_t rows)
{
    for (; rows >= SP_ROWS; rows -= SP_ROWS, c += SP_ROWS * 16, xp += SP_ROWS * ldxp) block_tile(c, xp, ldxp, w, quad, base, n, SP_ROWS);
#define CASE(i) case i + 1: if (i + 1 < SP_ROWS) block_tile(c, xp, ldxp, w, quad, base, n, i + 1); break;
    switch (rows) { SP_EACH(CASE) default: break; }
#undef CASE
}

/* What the offset of x adds to sixteen outputs. */
static v16i block_offset(const int8_t *w, int64_t n)
{
    v16i sum = i_zero();
    const int32_t offset = SP_OFFSET ? INT32_MIN | 0x808080 : 0; /* four bytes of 128 */

    for (; SP_OFFSET != 0 && n > 0; n--, w += 64) sum = sp_dot(sum, i_load((const int32_t *)(const void *)w), offset);
    return sum;
}

static void lanes_gemm_block_s8(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    const int64_t K4 = xc_round_up(g->K, 4), part = xc_min_i64(K4, SP_BYTES / 8), block = xc_min_i64(SP_BLOCK, SP_BYTES / part);
    const uint32_t *first = g->index;
    const uint16_t *quads = (const uint16_t *)(const void *)(first + xc_div_up(g->N, 16) + 1);
    _Alignas(64) int8_t xp[SP_BYTES];
    _Alignas(64) int32_t c[SP_BLOCK * 16];

    for (int64_t r0 = row0; r0 < row1; r0 += block) {
        const int64_t rows = xc_min_i64(block, row1 - r0);

        for (int64_t c0 = col0; c0 < col1; c0 += 16) {
            const uint16_t *quad = quads + first[c0 / 16], *const end = quads + first[c0 / 16 + 1];
            const v16i offset = block_offset(g->w + 64 * (quad - quads), end - quad);

            for (int64_t r = 0; r < rows; r++)
                for (int64_t l = 0; l < 16; l++) c[r * 16 + l] = 0;
            for (int64_t k0 = 0; k0 < K4; k0 += part) {
                const int64_t inputs = xc_min_i64(part, K4 - k0);
                const uint16_t *stop = quad;

                if (part < K4 || c0 == col0)
                    for (int64_t r = 0; r < rows; r++)
                        for (int64_t i = 0; i < inputs; i++) xp[r * part + i] = (int8_t)(g->x[(r0 + r) * g->ldx + k0 + i] ^ (SP_OFFSET ? -128 : 0));
                while (stop < end && 4 * *stop < k0 + part) stop++;
                block_rows(c, xp, part, g->w + 64 * (quad - quads), quad, k0 / 4, stop - quad, rows);
                quad = stop;
            }
            for (int64_t r = 0; SP_OFFSET != 0 && r < rows; r++) i_store(c + r * 16, i_sub(i_load(c + r * 16), offset));
            sp_finish(g, c, rows, r0, c0, col1);
        }
    }
}

#endif
