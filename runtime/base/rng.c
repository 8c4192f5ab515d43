/* rng: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", SC'11), and draws made from it.
 *
 * The counter is (index, stream), the key is the seed. Normals use libm's log and cos, whose last bit may differ between C
 * libraries; integers and uniforms are the same everywhere. */
#include <math.h>

#include "runtime/base/rng.h"

void xc_philox(uint32_t out[4], uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c0;
        const uint64_t b = (uint64_t)0xCD9E8D57u * c2;

        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)b;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u; /* golden ratio */
        k1 += 0xBB67AE85u; /* sqrt(3) - 1 */
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void xc_rng_init(struct xc_rng *rng, uint64_t seed, uint64_t stream)
{
    *rng = (struct xc_rng){.seed = seed, .stream = stream};
}

uint32_t xc_rng_u32(struct xc_rng *rng)
{
    if (rng->left == 0) {
        xc_philox(rng->word, rng->seed, rng->stream, rng->index++);
        rng->left = 4;
    }
    return rng->word[4 - rng->left--];
}

static uint64_t next_u64(struct xc_rng *rng)
{
    const uint64_t low = xc_rng_u32(rng);

    return (uint64_t)xc_rng_u32(rng) << 32 | low;
}

uint64_t xc_rng_below(struct xc_rng *rng, uint64_t n)
{
    const uint64_t reject_below = (0 - n) % n; /* 2^64 mod n: dropping so many values makes the rest a multiple of n */
    uint64_t x;

    do
        x = next_u64(rng);
    while (x < reject_below);
    return x % n;
}

double xc_rng_unit(struct xc_rng *rng)
{
    return (double)(next_u64(rng) >> 11) * 0x1p-53;
}

double xc_rng_normal(struct xc_rng *rng)
{
    const double radius = sqrt(-2.0 * log(1.0 - xc_rng_unit(rng))); /* 1 - u is never 0 */

    return radius * cos(6.283185307179586476925 * xc_rng_unit(rng));
}
