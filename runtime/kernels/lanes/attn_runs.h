/* attn_runs: what int8 and f32 share (scalar/attention_runs.c is the meaning): who is seen, and which part of a run can be. Included after
 * lanes/math.h. */
#ifndef XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_H
#define XC_RUNTIME_KERNELS_LANES_ATTN_RUNS_H

#include <math.h>

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/math.h"

/* Scores t of keys j to j + 15 of a run, for the query at q_pos; n of the keys are real. */
LANES_INLINE v16f runs_seen(v16f t, const struct xc_attn_runs *a, const struct xc_key_run *see, int64_t i, int64_t j, int64_t n, float unit)
{
    if (see->pos) {
        const v16f distance = v_sub(v_load(see->pos + j), v_set1(a->q_pos[i]));

        t = v_lt(distance, v_set1(see->low), v_set1(-INFINITY), t);
        t = v_lt(v_set1(see->high), distance, v_set1(-INFINITY), t);
        if (a->own) t = v_lt(v_abs(distance), v_set1(0.5f), v_set1(a->own_score * unit), t);
    }
    return n < 16 ? v_first(t, v_set1(-INFINITY), n) : t;
}

/* The keys of a run that queries i0 to i0 + rows - 1 may see: from *first, a multiple of 16, to *end. */
static inline void runs_in_sight(const struct xc_attn_runs *a, const struct xc_key_run *see, int64_t i0, int64_t rows, int64_t *first, int64_t *end)
{
    *first = 0;
    *end = see->n;
    if (!see->pos || !(see->step > 0.0f)) return;

    const double low = ((double)a->q_pos[i0] + (double)see->low - (double)see->first) / (double)see->step;
    const double high = ((double)a->q_pos[i0 + rows - 1] + (double)see->high - (double)see->first) / (double)see->step;

    if (low >= (double)see->n || high < 0) {
        *end = 0;
        return;
    }
    if (low > 0) *first = (int64_t)low / 16 * 16; /* rounded down: never too few */
    if (high < (double)(see->n - 1)) *end = (int64_t)high + 1;
}

#endif
