/* transpose8: eight by eight floats with AVX; for the files of AVX2 and of what stands on it. Included after <isa>/lanes.h. */
#ifndef XC_RUNTIME_KERNELS_AVX2_TRANSPOSE8_H
#define XC_RUNTIME_KERNELS_AVX2_TRANSPOSE8_H

#include <immintrin.h>
#include <stdint.h>

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

#endif
