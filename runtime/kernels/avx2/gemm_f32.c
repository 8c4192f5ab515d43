/* gemm_f32: 6 rows x 16 outputs: 12 accumulators, 2 weights and a broadcast fill the 16 registers. */
#include "runtime/kernels/avx2/isa.h"
#include "runtime/kernels/avx2/lanes.h"

#define F32_ROWS 6
#define F32_COLS 1
#define LANES_TRANSPOSE8

/* dst[c * 16 + r] = src[r * ld + c] for 8 x 8 floats */
LANES_INLINE void transpose8(float *dst, const float *src, int64_t ld)
{
    __m256 r[8], t[8];

    for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(src + i * ld);
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[i + 4] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) { /* i = 0: columns 0,1 and 4,5; 1: columns 2,3 and 6,7 */
        const __m256 a = _mm256_shuffle_ps(t[4 * i], t[4 * i + 1], 0x44), b = _mm256_shuffle_ps(t[4 * i], t[4 * i + 1], 0xee);
        const __m256 c = _mm256_shuffle_ps(t[4 * i + 2], t[4 * i + 3], 0x44), d = _mm256_shuffle_ps(t[4 * i + 2], t[4 * i + 3], 0xee);

        _mm256_storeu_ps(dst + (2 * i) * 16, _mm256_permute2f128_ps(a, c, 0x20));
        _mm256_storeu_ps(dst + (2 * i + 1) * 16, _mm256_permute2f128_ps(b, d, 0x20));
        _mm256_storeu_ps(dst + (2 * i + 4) * 16, _mm256_permute2f128_ps(a, c, 0x31));
        _mm256_storeu_ps(dst + (2 * i + 5) * 16, _mm256_permute2f128_ps(b, d, 0x31));
    }
}

#include "runtime/kernels/lanes/gemm_f32.h"

void xc_gemm_f32__avx2(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1)
{
    lanes_gemm_f32(g, row0, row1, col0, col1);
}

void xc_attn_f32__avx2(const struct xc_attn_f32 *a, int64_t row0, int64_t row1) { lanes_attn_f32(a, row0, row1); }
