/* rng: a counter-based generator (Philox4x32-10; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 * The i-th number of (seed, stream) is a pure function of the three, so results do not depend on threads or on order. */
#ifndef XC_RUNTIME_BASE_RNG_H
#define XC_RUNTIME_BASE_RNG_H

#include "runtime/base/base.h"

void xc_philox(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index);

/* A small sequential view of the same generator. */
struct xc_rng {
    uint64_t seed, stream, index;
    uint32_t word[4];
    int left;
};

void xc_rng_init(struct xc_rng *rng, uint64_t seed, uint64_t stream);
uint32_t xc_rng_u32(struct xc_rng *rng);
uint64_t xc_rng_below(struct xc_rng *rng, uint64_t n); /* uniform in [0, n), unbiased; n >= 1 */
double xc_rng_unit(struct xc_rng *rng);                /* uniform in [0, 1), 53 bits */
double xc_rng_normal(struct xc_rng *rng);              /* Box-Muller */

#endif
