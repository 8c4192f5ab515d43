/* gemm_bf16: vdpbf16ps: 8 rows x 48 outputs: 24 accumulators and 3 weights of the 32 registers. Packing with vcvtne2ps2bf16. */
#include "runtime/kernels/avx512bf16/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"

#define BF16_ROWS 8
#define BF16_COLS 3
#define LANES_PAIRS
typedef __m512i v16p;
LANES_INLINE v16p p_load(const uint32_t *p) { return _mm512_loadu_si512(p); }
LANES_INLINE v16p p_set1(const uint32_t *p) { return _mm512_set1_epi32((int32_t)*p); }
LANES_INLINE v16f p_fma(v16p x, v16p w, v16f acc) { return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)w); }
#include "runtime/kernels/lanes/gemm_bf16.h"

/* 32 floats as bf16: low is the first sixteen. */
LANES_INLINE __m512i bf16_of(v16f low, v16f high) { return (__m512i)_mm512_cvtne2ps_pbh(high, low); }
LANES_INLINE v16f load_upto(const float *p, int64_t n) { return n >= 16 ? v_load(p) : n > 0 ? v_load_n(p, n) : v_zero(); }
LANES_INLINE __m512i load32(const float *p, int64_t n) { return bf16_of(load_upto(p, n), load_upto(p + 16, n - 16)); }

static void bf16_rows(uint16_t *y, int64_t ldy, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    const int64_t C2 = xc_round_up(C, 2);

    for (int64_t r = 0; r < R; r++, y += ldy, x += ldx) {
        int64_t i = 0;

        for (; i + 32 <= C; i += 32) _mm512_storeu_si512(y + i, bf16_of(v_load(x + i), v_load(x + i + 16)));
        if (i < C) _mm512_mask_storeu_epi16(y + i, (__mmask32)((1ull << (C2 - i)) - 1), load32(x + i, C - i));
    }
}

/* r (16 x 16 dwords) transposed. */
LANES_INLINE void transpose16(__m512i r[16])
{
    __m512i t[16];

    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) { /* 128-bit lanes: rows i, i + 4, i + 8, i + 12 hold columns i, i + 4, ... of four rows each */
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

static void bf16_panel_rows(uint16_t *w, const float *m, int64_t ldm, int64_t N, int64_t K)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16)
        for (int64_t k = 0; k < K; k += 32) {
            const int64_t pairs = xc_min_i64(16, xc_div_up(K - k, 2));
            __m512i r[16];

            for (int64_t i = 0; i < 16; i++) {
                const float *x = m + (n0 + i) * ldm + k;

                r[i] = n0 + i >= N ? _mm512_setzero_si512() : K - k >= 32 ? bf16_of(v_load(x), v_load(x + 16)) : load32(x, K - k);
            }
            transpose16(r);
            for (int64_t i = 0; i < pairs; i++, w += 32) _mm512_storeu_si512(w, r[i]);
        }
}

static void bf16_panel_cols(uint16_t *w, const float *m, int64_t ldm, int64_t K, int64_t N)
{
    /* sixteen of a row, then sixteen of the next, to pairs */
    static const uint16_t order[32] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i index = _mm512_loadu_si512(order);
    const int64_t K2 = xc_round_up(K, 2);

    for (int64_t n0 = 0; n0 < N; n0 += 64) /* four panels side by side: rows are read in longer pieces */
        for (int64_t k = 0; k < K; k += 2)
            for (int64_t n = n0; n < xc_min_i64(n0 + 64, N); n += 16) {
                const float *x = m + k * ldm + n;
                const v16f low = load_upto(x, N - n), high = k + 1 < K ? load_upto(x + ldm, N - n) : v_zero();

                _mm512_storeu_si512(w + n * K2 + k * 16, _mm512_permutexvar_epi16(index, bf16_of(low, high)));
            }
}

void xc_init_bf16__avx512bf16(struct xc_kernels *k)
{
    k->gemm_bf16 = lanes_gemm_bf16;
    k->bf16_rows = bf16_rows;
    k->bf16_panel_rows = bf16_panel_rows;
    k->bf16_panel_cols = bf16_panel_cols;
}
