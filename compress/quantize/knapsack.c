/* knapsack: see knapsack.h. f[w] is the least cost of the items so far with at most w units of bytes above the least possible; of each item
 * the choice made at w is kept, and the way back from the best w gives the answer. Of equal costs the choice listed first wins. */
#include "compress/quantize/knapsack.h"

#include <math.h>
#include <string.h>

struct problem {
    const struct xc_knapsack_item *items;
    int32_t n;
    uint64_t least, most; /* bytes: of the smallest choices, of the largest */
    uint64_t unit;        /* bytes */
    int64_t width;        /* units above least, inclusive */
    double *f, *next;     /* width */
    uint8_t *made;        /* n x width */
};

static uint64_t gcd(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t r = a % b;

        a = b;
        b = r;
    }
    return a;
}

static uint64_t least_of(const struct xc_knapsack_item *item)
{
    uint64_t least = item->bytes[0];

    for (int32_t i = 1; i < item->n; i++) least = item->bytes[i] < least ? item->bytes[i] : least;
    return least;
}

static uint64_t most_of(const struct xc_knapsack_item *item)
{
    uint64_t most = item->bytes[0];

    for (int32_t i = 1; i < item->n; i++) most = item->bytes[i] > most ? item->bytes[i] : most;
    return most;
}

static int64_t units(const struct problem *p, const struct xc_knapsack_item *item, int32_t i)
{
    return (int64_t)((item->bytes[i] - least_of(item) + p->unit - 1) / p->unit);
}

/* room: bytes above the least that matter. over: sizes that were rounded up may pass it. */
static enum xc_status problem_init(struct problem *p, const struct xc_knapsack_item *items, int32_t n, uint64_t room, bool over, int64_t cells, struct xc_err *err)
{
    uint64_t measure = 0;

    for (int32_t k = 0; k < n; k++)
        for (int32_t i = 0; i < items[k].n; i++) measure = gcd(items[k].bytes[i] - least_of(&items[k]), measure);
    p->unit = measure ? measure : 1;
    if (room > p->most - p->least) room = p->most - p->least;
    cells = (cells ? cells : XC_KNAPSACK_CELLS) / xc_max_i64(n, 1);
    if (cells < 2) cells = 2;
    if (room / p->unit >= (uint64_t)cells) p->unit *= room / p->unit / (uint64_t)(cells - 1) + 1;
    p->width = (int64_t)(room / p->unit) + 1 + (over ? n : 0);
    p->f = xc_calloc((size_t)p->width, sizeof *p->f);
    p->next = xc_malloc((size_t)p->width * sizeof *p->next);
    p->made = xc_malloc((size_t)p->width * (size_t)xc_max_i64(n, 1));
    return p->f && p->next && p->made ? XC_OK : xc_fail_nomem(err, (size_t)p->width * (size_t)xc_max_i64(n, 1));
}

static void problem_release(struct problem *p)
{
    xc_free(p->f);
    xc_free(p->next);
    xc_free(p->made);
}

static void fill(struct problem *p)
{
    for (int32_t k = 0; k < p->n; k++) {
        const struct xc_knapsack_item *item = &p->items[k];
        uint8_t *made = p->made + k * p->width;
        double *swap;

        for (int64_t w = 0; w < p->width; w++) p->next[w] = INFINITY;
        memset(made, 0, (size_t)p->width);
        for (int32_t i = 0; i < item->n; i++) {
            const int64_t d = units(p, item, i);

            for (int64_t w = d; w < p->width; w++) {
                const double cost = p->f[w - d] + item->cost[i];

                if (!(cost < p->next[w])) continue;
                p->next[w] = cost;
                made[w] = (uint8_t)i;
            }
        }
        swap = p->f;
        p->f = p->next;
        p->next = swap;
    }
}

static void way_back(int32_t *pick, const struct problem *p, int64_t w)
{
    for (int32_t k = p->n - 1; k >= 0; k--) {
        pick[k] = p->made[k * p->width + w];
        w -= units(p, &p->items[k], pick[k]);
    }
}

/* Spends what the rounding of sizes left over: the change that lowers the cost most, again and again. */
static void spend(int32_t *pick, const struct problem *p, uint64_t bytes)
{
    uint64_t used = 0;

    for (int32_t k = 0; k < p->n; k++) used += p->items[k].bytes[pick[k]];
    for (;;) {
        int32_t item = -1, choice = 0;
        double best = 0;

        for (int32_t k = 0; k < p->n; k++)
            for (int32_t i = 0; i < p->items[k].n; i++) {
                const double gain = p->items[k].cost[pick[k]] - p->items[k].cost[i];

                if (gain <= best || used - p->items[k].bytes[pick[k]] + p->items[k].bytes[i] > bytes) continue;
                best = gain;
                item = k;
                choice = i;
            }
        if (item < 0) return;
        used = used - p->items[item].bytes[pick[item]] + p->items[item].bytes[choice];
        pick[item] = choice;
    }
}

/* The same for cost: while a smaller choice still fits, the one that saves most bytes. */
static void save(int32_t *pick, const struct problem *p, double cost)
{
    for (;;) {
        int32_t item = -1, choice = 0;
        uint64_t best = 0;
        double used = 0;

        for (int32_t k = 0; k < p->n; k++) used += p->items[k].cost[pick[k]];
        for (int32_t k = 0; k < p->n; k++)
            for (int32_t i = 0; i < p->items[k].n; i++) {
                const uint64_t now = p->items[k].bytes[pick[k]], then = p->items[k].bytes[i];

                if (then >= now || now - then <= best || used - p->items[k].cost[pick[k]] + p->items[k].cost[i] > cost) continue;
                best = now - then;
                item = k;
                choice = i;
            }
        if (item < 0) return;
        pick[item] = choice;
    }
}

enum xc_status xc_knapsack_cost(int32_t *pick, const struct xc_knapsack_item *items, int32_t n, uint64_t bytes, int64_t cells, struct xc_err *err)
{
    struct problem p = { .items = items, .n = n };
    enum xc_status status;

    for (int32_t k = 0; k < n; k++) {
        p.least += least_of(&items[k]);
        p.most += most_of(&items[k]);
    }
    if (p.least > bytes) return xc_fail(err, XC_E_RANGE, "the smallest choices take %llu bytes, there are %llu", (unsigned long long)p.least, (unsigned long long)bytes);
    status = problem_init(&p, items, n, bytes - p.least, false, cells, err);
    if (status == XC_OK) {
        fill(&p);
        way_back(pick, &p, p.width - 1);
        spend(pick, &p, bytes);
    }
    problem_release(&p);
    return status;
}

enum xc_status xc_knapsack_bytes(int32_t *pick, const struct xc_knapsack_item *items, int32_t n, double cost, int64_t cells, struct xc_err *err)
{
    struct problem p = { .items = items, .n = n };
    double best = 0;
    int64_t w = 0;
    enum xc_status status;

    for (int32_t k = 0; k < n; k++) {
        double least = items[k].cost[0];

        for (int32_t i = 1; i < items[k].n; i++) least = fmin(least, items[k].cost[i]);
        best += least;
        p.least += least_of(&items[k]);
        p.most += most_of(&items[k]);
    }
    if (best > cost) return xc_fail(err, XC_E_RANGE, "the best choices cost %.4g, there is %.4g", best, cost);
    status = problem_init(&p, items, n, p.most - p.least, true, cells, err);
    if (status == XC_OK) {
        fill(&p);
        while (w < p.width - 1 && p.f[w] > cost) w++;
        way_back(pick, &p, w);
        save(pick, &p, cost);
    }
    problem_release(&p);
    return status;
}
