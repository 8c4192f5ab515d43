/* dropout: see dropout.h. */
#include "compress/grad/dropout.h"

#include "runtime/base/rng.h"

#define BLOCK 8192 /* numbers of an item; a multiple of 8 */

struct job {
    float *x;
    uint8_t *mask;
    int64_t n;
    uint32_t below; /* dropped: draws below this, of 2^16 */
    float scale;
    uint64_t seed, stream;
};

static void draw(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const int64_t end = xc_min_i64((item + 1) * BLOCK, j->n);

    (void)thread;
    for (int64_t i = item * BLOCK; i < end; i += 8) {
        uint32_t word[4], bits = 0;

        xc_philox(word, j->seed, j->stream, (uint64_t)(i / 8));
        for (int k = 0; k < 8; k++) bits |= (uint32_t)((word[k / 2] >> (k % 2 * 16) & 0xffff) >= j->below) << k;
        j->mask[i / 8] = (uint8_t)bits;
    }
}

static void apply(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const float factor[2] = { 0.0f, j->scale };
    const int64_t end = xc_min_i64((item + 1) * BLOCK, j->n);

    (void)thread;
    for (int64_t i = item * BLOCK; i < end; i++) j->x[i] *= factor[j->mask[i / 8] >> (i % 8) & 1];
}

static uint32_t threshold(double p) { return (uint32_t)(p * 65536.0 + 0.5); }

void xc_dropout_draw(uint8_t *mask, int64_t n, double p, uint64_t seed, uint64_t stream, struct xc_pool *pool)
{
    struct job j = { .mask = mask, .n = n, .below = threshold(p), .seed = seed, .stream = stream };

    xc_pool_run(pool, draw, &j, xc_div_up(n, BLOCK));
}

void xc_dropout_apply(float *x, const uint8_t *mask, int64_t n, double p, struct xc_pool *pool)
{
    struct job j = { .x = x, .mask = (uint8_t *)(uintptr_t)mask, .n = n, .scale = (float)(65536.0 / (65536.0 - (double)threshold(p))) };

    xc_pool_run(pool, apply, &j, xc_div_up(n, BLOCK));
}

void xc_dropout_factors(float *factor, int64_t n, const struct xc_dropout_probs *d, uint64_t row)
{
    const uint32_t below = threshold(d->p);
    const float keep = (float)(65536.0 / (65536.0 - (double)below));

    for (int64_t i = 0; i < n; i += 8) {
        uint32_t word[4];

        xc_philox(word, d->seed, d->stream, row << 24 | (uint64_t)(i / 8));
        for (int64_t k = 0; k < 8 && i + k < n; k++) factor[i + k] = (word[k / 2] >> (k % 2 * 16) & 0xffff) >= below ? keep : 0.0f;
    }
}
