/* transpose4: four by four floats, in the vectors that every machine has. */
#ifndef XC_RUNTIME_KERNELS_TRANSPOSE4_H
#define XC_RUNTIME_KERNELS_TRANSPOSE4_H

#include <stdint.h>

typedef float xc_four __attribute__((vector_size(16)));
typedef float xc_four_at __attribute__((vector_size(16), aligned(4), may_alias));

/* t (4,4) = x (4,4)^T */
static inline void xc_transpose4(float *t, int64_t ldt, const float *x, int64_t ldx)
{
    const xc_four a = *(const xc_four_at *)x, b = *(const xc_four_at *)(x + ldx), c = *(const xc_four_at *)(x + 2 * ldx), d = *(const xc_four_at *)(x + 3 * ldx);
    const xc_four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const xc_four cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);

    *(xc_four_at *)t = __builtin_shufflevector(ab, cd, 0, 1, 4, 5);
    *(xc_four_at *)(t + ldt) = __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    *(xc_four_at *)(t + 2 * ldt) = __builtin_shufflevector(ab2, cd2, 0, 1, 4, 5);
    *(xc_four_at *)(t + 3 * ldt) = __builtin_shufflevector(ab2, cd2, 2, 3, 6, 7);
}

#endif
