/* half: IEEE binary16 and bfloat16 to and from float; round to nearest even; NaN stays NaN, overflow becomes infinity. */
#ifndef XC_RUNTIME_BASE_HALF_H
#define XC_RUNTIME_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t xc_f32_bits(float f) { uint32_t u; memcpy(&u, &f, sizeof u); return u; }
static inline float xc_f32_from_bits(uint32_t u) { float f; memcpy(&f, &u, sizeof f); return f; }

float xc_f16_to_f32(uint16_t h);
uint16_t xc_f32_to_f16(float f);

static inline float xc_bf16_to_f32(uint16_t h) { return xc_f32_from_bits((uint32_t)h << 16); }
uint16_t xc_f32_to_bf16(float f);

#endif
