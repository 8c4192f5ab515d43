/* prune_mask: scores and choices of pruning; see prune.h. */
#include <math.h>
#include <string.h>

#include "compress/prune/prune.h"
#include "runtime/base/half.h"

static int64_t blocks_down(const struct xc_prune *p, int64_t R) { return xc_div_up(R, p->block_rows); }
static int64_t blocks_across(const struct xc_prune *p, int64_t C) { return xc_div_up(C, p->block_cols); }

int64_t xc_prune_units(const struct xc_prune *p, int64_t R, int64_t C)
{
    return p->pattern == XC_PRUNE_BLOCK ? blocks_down(p, R) * blocks_across(p, C) : R * C;
}

static int64_t share(double sparsity, int64_t n) { return (int64_t)floor(sparsity * (double)n + 0.5); }

int64_t xc_prune_dropped(const struct xc_prune *p, int64_t R, int64_t C)
{
    if (p->pattern == XC_PRUNE_NM) return R * (C / p->m * (p->m - p->n) + xc_max_i64(C % p->m - p->n, 0));
    if (p->saliency == XC_PRUNE_WANDA && p->pattern == XC_PRUNE_UNSTRUCTURED) return R * share(p->sparsity, C);
    if (p->saliency == XC_PRUNE_OBS) { /* strip by strip */
        const int64_t strip = p->pattern == XC_PRUNE_BLOCK ? xc_max_i64(128 / p->block_cols, 1) * p->block_cols : 128;
        int64_t n = 0;

        for (int64_t c = 0; c < C; c += strip) n += share(p->sparsity, xc_prune_units(p, R, xc_min_i64(strip, C - c)));
        return n;
    }
    return share(p->sparsity, xc_prune_units(p, R, C));
}

void xc_prune_scores(float *score, const struct xc_prune *p, const float *w, const float *norm, int64_t R, int64_t C)
{
    const int64_t across = p->pattern == XC_PRUNE_BLOCK ? blocks_across(p, C) : 0;

    if (p->pattern != XC_PRUNE_BLOCK) {
        for (int64_t r = 0; r < R; r++)
            for (int64_t c = 0; c < C; c++) score[r * C + c] = fabsf(w[r * C + c]) * (norm ? norm[c] : 1.0f);
        return;
    }
    for (int64_t r0 = 0; r0 < R; r0 += p->block_rows)
        for (int64_t c0 = 0; c0 < C; c0 += p->block_cols) {
            const int64_t r1 = xc_min_i64(r0 + p->block_rows, R), c1 = xc_min_i64(c0 + p->block_cols, C);
            double sum = 0;

            for (int64_t r = r0; r < r1; r++)
                for (int64_t c = c0; c < c1; c++) {
                    const double s = (double)w[r * C + c] * (norm ? (double)norm[c] : 1.0);

                    sum += s * s;
                }
            score[r0 / p->block_rows * across + c0 / p->block_cols] = (float)(sum / (double)((r1 - r0) * (c1 - c0)));
        }
}

/* By digits of eight bits: floats >= 0 are ordered as their bits are. */
uint32_t xc_prune_kth(const float *score, int64_t n, int64_t k, int64_t *smaller)
{
    uint32_t prefix = 0;

    *smaller = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        const uint32_t high = shift == 24 ? 0 : 0xFFFFFFFFu << (shift + 8);
        int64_t count[256] = { 0 };
        uint32_t digit = 0;

        for (int64_t i = 0; i < n; i++) {
            const uint32_t bits = xc_f32_bits(score[i]);

            if ((bits & high) == prefix) count[bits >> shift & 255]++;
        }
        for (; *smaller + count[digit] <= k; digit++) *smaller += count[digit];
        prefix |= digit << shift;
    }
    return prefix;
}

static void zero_unit(float *w, const struct xc_prune *p, int64_t unit, int64_t R, int64_t C)
{
    if (p->pattern != XC_PRUNE_BLOCK) {
        w[unit] = 0.0f;
        return;
    }
    const int64_t across = blocks_across(p, C), r0 = unit / across * p->block_rows, c0 = unit % across * p->block_cols;
    const int64_t r1 = xc_min_i64(r0 + p->block_rows, R), c1 = xc_min_i64(c0 + p->block_cols, C);

    for (int64_t r = r0; r < r1; r++) memset(w + r * C + c0, 0, (size_t)(c1 - c0) * sizeof *w);
}

void xc_prune_below(float *w, const struct xc_prune *p, const float *score, uint32_t bits, int64_t ties, int64_t R, int64_t C)
{
    const int64_t n = xc_prune_units(p, R, C);

    for (int64_t i = 0; i < n; i++) {
        const uint32_t own = xc_f32_bits(score[i]);

        if (own < bits || (own == bits && ties-- > 0)) zero_unit(w, p, i, R, C);
    }
}

/* The m - n least of m numbers go, the first of equals first. */
static void prune_group(float *w, const float *score, int64_t size, int64_t keep)
{
    bool gone[64] = { false };

    for (int64_t d = 0; d < size - keep; d++) {
        int64_t least = -1;

        for (int64_t i = 0; i < size; i++)
            if (!gone[i] && (least < 0 || score[i] < score[least])) least = i;
        gone[least] = true;
        w[least] = 0.0f;
    }
}

void xc_prune_groups(float *w, const float *score, int64_t R, int64_t C, int32_t n, int32_t m)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c += m) prune_group(w + r * C + c, score + r * C + c, xc_min_i64(m, C - c), n);
}

struct xc_encoding xc_prune_encoding(const struct xc_prune *p, bool global, int64_t R, int64_t C)
{
    const int64_t kept = xc_prune_units(p, R, C) - xc_prune_dropped(p, R, C);

    if (p->pattern == XC_PRUNE_NM) return (struct xc_encoding){ .format = XC_FMT_F32, .structure = XC_STRUCT_NM, .n = p->n, .m = p->m };
    if (p->pattern == XC_PRUNE_BLOCK && !global && kept > 0 && kept <= INT32_MAX)
        return (struct xc_encoding){ .format = XC_FMT_F32, .structure = XC_STRUCT_BLOCK, .n = (int32_t)kept, .block_rows = p->block_rows, .block_cols = p->block_cols };
    return (struct xc_encoding){ .format = XC_FMT_F32, .structure = XC_STRUCT_COMPACT,
                                 .n = p->pattern == XC_PRUNE_UNSTRUCTURED && !global && kept > 0 && kept <= INT32_MAX ? (int32_t)kept : 0 };
}

static void drop_least(float *w, const struct xc_prune *p, const float *score, int64_t drop, int64_t R, int64_t C)
{
    const int64_t n = xc_prune_units(p, R, C);
    int64_t smaller;
    uint32_t bits;

    if (drop <= 0) return;
    bits = xc_prune_kth(score, n, xc_min_i64(drop, n) - 1, &smaller);
    xc_prune_below(w, p, score, bits, drop - smaller, R, C);
}

void xc_prune_layer(float *w, const struct xc_prune *p, const float *norm, float *score, int64_t R, int64_t C)
{
    xc_prune_scores(score, p, w, norm, R, C);
    if (p->pattern == XC_PRUNE_NM) {
        xc_prune_groups(w, score, R, C, p->n, p->m);
    } else if (p->saliency == XC_PRUNE_WANDA && p->pattern == XC_PRUNE_UNSTRUCTURED) {
        for (int64_t r = 0; r < R; r++) drop_least(w + r * C, p, score + r * C, share(p->sparsity, C), 1, C);
    } else {
        drop_least(w, p, score, xc_prune_dropped(p, R, C), R, C);
    }
}
