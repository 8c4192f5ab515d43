/* tile: what the kernels with tiles of many rows x 16 outputs share (gemm_s4.c, gemm_sparse_s8.c, avx512vbmi/gemm_steps_s8.c). Rows of x are copied to the stack, ROW_STRIDE
 * apart, so that one pointer and fixed displacements reach all rows of a tile. Included after lanes.h. */
#ifndef XC_RUNTIME_KERNELS_AVX512VNNI_TILE_H
#define XC_RUNTIME_KERNELS_AVX512VNNI_TILE_H

#include "runtime/base/base.h"
#include "runtime/kernels/kernels.h"

#define TILE_ROWS 28    /* at most */
#define PART 4096       /* inputs copied at a time */
#define ROW_STRIDE 4232 /* rows lie in different sets and banks of L1 */
#define FEW 3           /* rows that need several chains of sums each to keep the multipliers busy */

_Static_assert(PART % 64 == 0 && ROW_STRIDE >= PART, "a part must fit its row");

#define FIRST_ROWS(X) X(0) X(1) X(2) X(3)
#define LAST_ROWS(X) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27)
#define EACH_ROW(X) FIRST_ROWS(X) LAST_ROWS(X)
#define EACH_COUNT(X) X(1) X(2) X(3) X(4) X(8) X(12) X(16) X(20) X(24) X(28)

/* Emulated (tests/kernels/simde), products and look-ups are calls: hundreds of them inlined compile for minutes. */
#ifdef __AVX512VNNI__
#define TILE_CALL LANES_INLINE
#else
#define TILE_CALL static __attribute__((noinline, unused))
#endif
TILE_CALL v16i tile_dot(v16i acc, v16i u, v16i s) { return _mm512_dpbusd_epi32(acc, u, s); }
TILE_CALL v16i tile_look(v16i table, v16i at) { return _mm512_shuffle_epi8(table, at); }

/* Rows of the next tile: as even as multiples of four allow. */
static inline int64_t next_rows(int64_t left, int64_t most)
{
    return xc_min_i64(left, xc_round_up(xc_div_up(left, xc_div_up(left, most)), 4));
}

/* n bytes of each row, xor by, to `to`; and by itself for those that are missing up to the next multiple of 64. */
static inline void copy_rows(uint8_t *to, const int8_t *x, int64_t ldx, int64_t rows, int64_t n, int8_t by)
{
    for (int64_t r = 0; r < rows; r++, x += ldx, to += ROW_STRIDE)
        for (int64_t k = 0; k < n; k += 64) {
            int8_t tail[64] = {0};

            if (n - k < 64) memcpy(tail, x + k, (size_t)(n - k));
            _mm512_storeu_si512(to + k, _mm512_xor_si512(_mm512_loadu_si512(n - k < 64 ? tail : x + k), _mm512_set1_epi8(by)));
        }
}

/* Sums c [rows][16], less the offset [16] of their columns, become outputs. n is 16 but for the last columns. In gemm_sparse_s8.c. */
void xc_finish_rows__avx512vnni(const struct xc_epilogue *ep, const int32_t *c, const int32_t *offset, int64_t r0, int64_t rows, int64_t c0, int64_t n);

/* The lines that a tile will write: waiting for them was a third of the epilogue's time. */
static inline void fetch_outputs(const struct xc_epilogue *ep, int64_t r0, int64_t rows, int64_t c0)
{
    for (int64_t r = r0; r < r0 + rows; r++) __builtin_prefetch(ep->out + r * ep->ld_out + c0, 1);
}

#endif
