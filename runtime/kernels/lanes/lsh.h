/* lsh: argmax_signs and join_rows (scalar/attention_runs.c is the meaning) on sixteen lanes. Included after lanes/math.h. */
#ifndef XC_RUNTIME_KERNELS_LANES_LSH_H
#define XC_RUNTIME_KERNELS_LANES_LSH_H

#include "runtime/base/base.h"
#include "runtime/kernels/lanes/math.h"

static void lanes_argmax_signs(int32_t *at, const float *x, int64_t ldx, int64_t R, int64_t n)
{
    static const float lane[16] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    const v16f none = v_set1(-INFINITY);

    for (int64_t r = 0; r < R; r++, x += ldx) {
        v16f plus = none, minus = none, at_plus = v_zero(), at_minus = v_zero();

        for (int64_t i = 0; i < n; i += 16) {
            const v16f y = n - i < 16 ? v_load_n(x + i, n - i) : v_load(x + i), place = v_add(v_load(lane), v_set1((float)i));
            const v16f up = n - i < 16 ? v_first(y, none, n - i) : y, down = n - i < 16 ? v_first(v_neg(y), none, n - i) : v_neg(y);

            at_plus = v_lt(plus, up, place, at_plus);
            at_minus = v_lt(minus, down, place, at_minus);
            plus = v_max(up, plus);
            minus = v_max(down, minus);
        }
        const v16f place = v_lt(plus, minus, v_add(at_minus, v_set1((float)n)), at_plus), best = v_max(minus, plus);

        at[r] = (int32_t)-v_hmax(v_lt(best, v_set1(v_hmax(best)), none, v_neg(place)));
    }
}

/* Rows lie where hashes say: those that come soon are asked for. */
LANES_INLINE void join_fetch(const float *y, int64_t D)
{
    for (int64_t d = 0; d < D; d += 16) __builtin_prefetch(y + d, 1);
}

/* e to the x, or 2: one copy of each. */
static __attribute__((noinline)) void join_powers(float *x, bool log2) { v_store(x, log2 ? v_exp2(v_load(x)) : v_exp(v_load(x))); }

static void lanes_join_rows(const struct xc_join *j, int64_t n)
{
    const int64_t D = j->D, whole = D / 16 * 16;

    for (int64_t i0 = 0; i0 < n; i0 += 16) {
        const int64_t rows = xc_min_i64(16, n - i0);
        float old_max[16] = { 0 }, old_sum[16] = { 0 }, max[16] = { 0 }, sum[16] = { 0 }, keep[16], add[16];

        for (int64_t i = 0; i < rows; i++) {
            const float *all = j->all + 2 * j->row[i0 + i];

            join_fetch(j->y + j->row[i0 + i] * j->ldy, D);
            old_max[i] = all[0], old_sum[i] = all[1];
            max[i] = j->stat[2 * (i0 + i)], sum[i] = j->stat[2 * (i0 + i) + 1];
        }
        if (!j->first) {
            const v16f top = v_max(v_load(max), v_load(old_max));

            v_store(keep, v_sub(v_load(old_max), top));
            v_store(add, v_sub(v_load(max), top));
            join_powers(keep, j->log2);
            join_powers(add, j->log2);
            const v16f a = v_mul(v_load(old_sum), v_load(keep)), b = v_mul(v_load(sum), v_load(add)), both = v_add(a, b);
            const v16f inv = v_lt(v_zero(), both, v_div(v_set1(1.0f), both), v_zero());

            v_store(keep, v_mul(a, inv));
            v_store(add, v_mul(b, inv));
            v_store(max, top);
            v_store(sum, both);
        }
        for (int64_t i = 0; i < rows; i++) {
            float *y = j->y + j->row[i0 + i] * j->ldy, *all = j->all + 2 * j->row[i0 + i];
            const float *o = j->o + (i0 + i) * D;

            all[0] = max[i], all[1] = sum[i];
            if (j->first) {
                memcpy(y, o, (size_t)D * sizeof *y);
                continue;
            }
            const v16f k = v_set1(keep[i]), w = v_set1(add[i]);

            for (int64_t d = 0; d < whole; d += 16) v_store(y + d, v_add(v_mul(v_load(y + d), k), v_mul(v_load(o + d), w)));
            if (whole < D) v_store_n(y + whole, v_add(v_mul(v_load_n(y + whole, D - whole), k), v_mul(v_load_n(o + whole, D - whole), w)), D - whole);
        }
    }
}

static void lanes_init_lsh(struct xc_kernels *k)
{
    k->argmax_signs = lanes_argmax_signs;
    k->join_rows = lanes_join_rows;
}

#endif
