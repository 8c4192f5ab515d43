/* dropout: see dropout.h. */
#include "compress/grad/dropout.h"

#include "compress/grad/loops.h"

#define BLOCK 8192  /* numbers of an item; a multiple of 8 */
#define FACTORS 128 /* of a row of probabilities at a time; as many draws are made at once */

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
    const int64_t first = item * BLOCK, end = xc_min_i64(first + BLOCK, j->n);

    (void)thread;
    xc_loops()->draw(j->mask + first / 8, xc_div_up(end - first, 8), j->below, j->seed, j->stream, (uint64_t)(first / 8));
}

static void apply(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const int64_t first = item * BLOCK, end = xc_min_i64(first + BLOCK, j->n);

    (void)thread;
    xc_loops()->apply(j->x + first, j->mask + first / 8, end - first, j->scale);
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

    for (int64_t i = 0; i < n; i += FACTORS) {
        const int64_t count = xc_min_i64(FACTORS, n - i);
        uint8_t mask[FACTORS / 8];

        xc_loops()->draw(mask, xc_div_up(count, 8), below, d->seed, d->stream, row << 24 | (uint64_t)(i / 8));
        for (int64_t k = 0; k < count; k++) factor[i + k] = 1.0f;
        xc_loops()->apply(factor + i, mask, count, keep);
    }
}
