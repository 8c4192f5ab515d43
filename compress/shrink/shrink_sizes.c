/* shrink_sizes: how many heads and neurons each layer keeps: see shrink.c. */
#include "compress/shrink/shrink.h"

#include <math.h>

#define GRANULE 16 /* the kernels' panels */

static double number(const struct shrink *s, const char *option) { return xc_recipe_number(s->p->spec, option); }

int64_t xc_shrink_granule(const struct xc_site *site) { return site->heads || site->units < 8 * GRANULE ? 1 : GRANULE; }

static int64_t round_units(const struct xc_site *site, double units)
{
    const int64_t step = xc_shrink_granule(site), n = (int64_t)(units / (double)step + 0.5) * step;

    return xc_min_i64(xc_max_i64(n, step), site->units);
}

static double macs_with(const struct shrink *s, double share)
{
    double macs = 0;

    for (int64_t k = 0; k < s->n; k++) macs += xc_site_macs(s->place[k].site, round_units(s->place[k].site, share * (double)s->place[k].site->units), s->tokens);
    return macs;
}

static double fixed_share(const struct shrink *s, const struct xc_site *site) { return number(s, site->heads ? "keep_heads" : "keep_neurons"); }

double xc_shrink_flops(const struct shrink *s)
{
    const double f = number(s, "flops"), x = number(s, "speedup");

    return x > 1 ? 1 / x : f;
}

enum xc_status xc_shrink_equal_shares(struct shrink *s, struct xc_err *err)
{
    const double budget = xc_shrink_flops(s) * macs_with(s, 1), least = macs_with(s, 0);
    double low = 0, high = 1;

    if (!(xc_shrink_flops(s) < 1)) {
        for (int64_t k = 0; k < s->n; k++) {
            const double share = fixed_share(s, s->place[k].site);

            s->place[k].keep = share > 0 ? round_units(s->place[k].site, share * (double)s->place[k].site->units) : s->place[k].site->units;
        }
        return XC_OK;
    }
    if (least > budget)
        return xc_fail(err, XC_E_RANGE, "with the least of heads and neurons in every layer %.3f of the multiply-adds stay: 'flops' cannot be %.3f", least / macs_with(s, 1), xc_shrink_flops(s));
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);

        if (macs_with(s, middle) <= budget) low = middle;
        else high = middle;
    }
    for (int64_t k = 0; k < s->n; k++) s->place[k].keep = round_units(s->place[k].site, low * (double)s->place[k].site->units);
    return XC_OK;
}

void xc_shrink_make_levels(struct place *p)
{
    static const double shares[MAX_LEVELS] = { 1, 0.8, 0.6, 0.4, 0.2, 0.05 };

    for (int i = 0; i < MAX_LEVELS; i++) {
        const int64_t n = round_units(p->site, shares[i] * (double)p->site->units);

        if (!p->n_levels || n < p->level[p->n_levels - 1].units) p->level[p->n_levels++] = (struct level){ .units = n };
    }
}

static double change_with(const struct place *p, int64_t units)
{
    int i = 1;

    if (p->lost) return p->lost[units];
    while (i < p->n_levels - 1 && p->level[i].units > units) i++;
    if (p->n_levels < 2) return 0;
    const struct level *a = &p->level[i - 1], *b = &p->level[i];

    return a->change + (b->change - a->change) * (double)(a->units - units) / (double)(a->units - b->units);
}

/* The size of each place that is best at a price of a multiply-add; returns those of all. */
static double choose_for(struct shrink *s, double price)
{
    double macs = 0;

    for (int64_t k = 0; k < s->n; k++) {
        struct place *p = &s->place[k];
        double best = INFINITY;

        for (int64_t n = p->site->units, least = p->lost ? 1 : p->level[p->n_levels - 1].units; n >= least; n = n > xc_shrink_granule(p->site) ? round_units(p->site, (double)(n - xc_shrink_granule(p->site))) : 0) {
            const double total = change_with(p, n) + price * xc_site_macs(p->site, n, s->tokens);

            if (total < best) {
                best = total;
                p->keep = n;
            }
        }
        macs += xc_site_macs(p->site, p->keep, s->tokens);
    }
    return macs;
}

/* The sizes of least change within the budget: a price on multiply-adds; what is left over goes where it helps most. */
void xc_shrink_choose_sizes(struct shrink *s)
{
    const double budget = xc_shrink_flops(s) * macs_with(s, 1);
    double low = 0, high = 1e-12, macs;

    while (choose_for(s, high) > budget && high < 1e30) high *= 4;
    for (int i = 0; i < 100; i++) {
        const double middle = 0.5 * (low + high);

        if (choose_for(s, middle) <= budget) high = middle;
        else low = middle;
    }
    macs = choose_for(s, high);
    for (;;) {
        struct place *best = NULL;
        double best_gain = -1, best_cost = 0; /* what gains nothing may stay all the same */

        for (int64_t k = 0; k < s->n; k++) {
            struct place *p = &s->place[k];
            const int64_t up = round_units(p->site, (double)(p->keep + xc_shrink_granule(p->site)));
            const double cost = xc_site_macs(p->site, up, s->tokens) - xc_site_macs(p->site, p->keep, s->tokens), gain = change_with(p, p->keep) - change_with(p, up);

            if (!(cost > 0) || macs + cost > budget || gain / cost <= best_gain) continue;
            best = p;
            best_gain = gain / cost;
            best_cost = cost;
        }
        if (!best) return;
        macs += best_cost;
        best->keep = round_units(best->site, (double)(best->keep + xc_shrink_granule(best->site)));
    }
}
