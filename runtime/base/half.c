/* half: binary16 and bfloat16 conversions in integer arithmetic, bit for bit what F16C does (NaNs become quiet, payload kept). */
#include "runtime/base/half.h"

float xc_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t exponent = (uint32_t)h >> 10 & 31;
    uint32_t mantissa = h & 0x3ff;

    if (exponent == 31) return xc_f32_from_bits(sign | 0x7f800000u | mantissa << 13 | (mantissa != 0 ? 0x400000u : 0));
    if (exponent != 0) return xc_f32_from_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    if (mantissa == 0) return xc_f32_from_bits(sign);

    /* Subnormal: mantissa * 2^-24, exact in float. */
    {
        const float magnitude = (float)mantissa * 0x1p-24f;

        return xc_f32_from_bits(sign | xc_f32_bits(magnitude));
    }
}

uint16_t xc_f32_to_f16(float f)
{
    const uint32_t bits = xc_f32_bits(f);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t a = bits & 0x7fffffffu;

    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00); /* 65520 and above round to infinity */
    if (a >= 0x38800000u) {                                 /* 2^-14: normal */
        const uint32_t odd = a >> 13 & 1;

        return (uint16_t)(sign | (a - 0x38000000u + 0xfff + odd) >> 13);
    }
    if (a < 0x33000000u) return (uint16_t)sign; /* below 2^-25 */
    {
        /* Subnormal result: shift the full mantissa right and round to nearest even. 2^-25 itself ties to 0. */
        const uint32_t shift = 126 - (a >> 23);
        const uint32_t m = (a & 0x7fffffu) | 0x800000u;
        const uint32_t half = 1u << (shift - 1), rest = m & ((1u << shift) - 1), q = m >> shift;

        return (uint16_t)(sign | (q + (rest > half || (rest == half && (q & 1) != 0))));
    }
}

uint16_t xc_f32_to_bf16(float f)
{
    const uint32_t bits = xc_f32_bits(f);

    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
