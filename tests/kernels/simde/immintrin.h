/* immintrin.h for tests: shadows the compiler's, so that the AVX-512 and AVX-VNNI kernels compile for AVX2 with SIMDe emulating what
 * the machine lacks. What Debian's SIMDe (0.7.4) lacks is written here, plainly. Everything must round once where the CPU does. */
#ifndef XC_TESTS_KERNELS_SIMDE_IMMINTRIN_H
#define XC_TESTS_KERNELS_SIMDE_IMMINTRIN_H

#include_next <immintrin.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wundef"
#pragma GCC diagnostic ignored "-Wshadow"
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wignored-qualifiers"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#pragma GCC diagnostic pop

#include <stdint.h>
#include <string.h>

#define _mm512_maskz_loadu_ps shim_maskz_loadu_ps
#define _mm512_mask_storeu_ps shim_mask_storeu_ps
#define _mm512_cvtps_epi32 shim_cvtps_epi32
#define _mm512_cvtepi32_ps shim_cvtepi32_ps
#define _mm512_cvtepi8_epi32 shim_cvtepi8_epi32
#define _mm512_cvtepu8_epi32 shim_cvtepu8_epi32
#define _mm512_cvtepu16_epi32 shim_cvtepu16_epi32
#define _mm512_cvtph_ps shim_cvtph_ps
#define _mm256_dpbusd_avx_epi32 simde_mm256_dpbusd_epi32
#undef _mm512_madd_epi16
#define _mm512_madd_epi16 simde_mm512_madd_epi16

/* A register as its two halves. */
union shim512 {
    __m512 f;
    __m512i i;
    __m256 f2[2];
    __m256i i2[2];
    float lane[16];
};

static inline __attribute__((unused)) __m512 shim_maskz_loadu_ps(__mmask16 m, const float *p)
{
    union shim512 r;

    for (int l = 0; l < 16; l++) r.lane[l] = m >> l & 1 ? p[l] : 0.0f;
    return r.f;
}

static inline __attribute__((unused)) void shim_mask_storeu_ps(float *p, __mmask16 m, __m512 x)
{
    union shim512 r;

    r.f = x;
    for (int l = 0; l < 16; l++)
        if (m >> l & 1) p[l] = r.lane[l];
}

static inline __attribute__((unused)) __m512i shim_cvtps_epi32(__m512 x)
{
    union shim512 r;

    r.f = x;
    for (int h = 0; h < 2; h++) r.i2[h] = _mm256_cvtps_epi32(r.f2[h]);
    return r.i;
}

static inline __attribute__((unused)) __m512 shim_cvtepi32_ps(__m512i x)
{
    union shim512 r;

    r.i = x;
    for (int h = 0; h < 2; h++) r.f2[h] = _mm256_cvtepi32_ps(r.i2[h]);
    return r.f;
}

static inline __attribute__((unused)) __m512i shim_cvtepi8_epi32(__m128i x)
{
    union shim512 r;

    r.i2[0] = _mm256_cvtepi8_epi32(x);
    r.i2[1] = _mm256_cvtepi8_epi32(_mm_srli_si128(x, 8));
    return r.i;
}

static inline __attribute__((unused)) __m512i shim_cvtepu8_epi32(__m128i x)
{
    union shim512 r;

    r.i2[0] = _mm256_cvtepu8_epi32(x);
    r.i2[1] = _mm256_cvtepu8_epi32(_mm_srli_si128(x, 8));
    return r.i;
}

static inline __attribute__((unused)) __m512i shim_cvtepu16_epi32(__m256i x)
{
    union shim512 r;

    r.i2[0] = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(x));
    r.i2[1] = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(x, 1));
    return r.i;
}

static inline __attribute__((unused)) __m512 shim_cvtph_ps(__m256i x)
{
    union shim512 r;

    r.f2[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(x));
    r.f2[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1));
    return r.f;
}

#endif
