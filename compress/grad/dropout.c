/* dropout: see dropout.h. */
#include "compress/grad/dropout.h"

#include "compress/grad/loops.h"

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
static float scale_of(uint32_t below) { return (float)(65536.0 / (65536.0 - (double)below)); }

void xc_dropout_draw(uint8_t *mask, int64_t n, double p, uint64_t seed, uint64_t stream, struct xc_pool *pool)
{
    struct job j = { .mask = mask, .n = n, .below = threshold(p), .seed = seed, .stream = stream };

    xc_pool_run(pool, draw, &j, xc_div_up(n, BLOCK));
}

void xc_dropout_apply(float *x, const uint8_t *mask, int64_t n, double p, struct xc_pool *pool)
{
    struct job j = { .x = x, .mask = (uint8_t *)(uintptr_t)mask, .n = n, .scale = scale_of(threshold(p)) };

    xc_pool_run(pool, apply, &j, xc_div_up(n, BLOCK));
}

void xc_dropout_draw_rows(uint8_t *mask, int64_t rows, int64_t n, const struct xc_dropout_probs *d, uint64_t row)
{
    xc_loops()->draw_rows(mask, rows, xc_div_up(n, 8), threshold(d->p), d->seed, d->stream, row);
}

void xc_dropout_apply_row(float *x, const uint8_t *mask, int64_t n, const struct xc_dropout_probs *d) { xc_loops()->apply(x, mask, n, scale_of(threshold(d->p))); }
