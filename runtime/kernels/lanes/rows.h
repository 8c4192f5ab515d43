/* rows: the kernels of scalar/norm.c, quantize.c and elementwise.c on sixteen lanes. Included after lanes/math.h. */
#ifndef XC_RUNTIME_KERNELS_LANES_ROWS_H
#define XC_RUNTIME_KERNELS_LANES_ROWS_H

#include "runtime/base/base.h"
#include "runtime/base/half.h"
#include "runtime/kernels/lanes/math.h"

#define TINY 1e-30f /* as scalar/quantize.c */

static inline float lanes_scale_of(float max, float *factor)
{
    *factor = max >= TINY ? 127.0f / max : 0.0f;
    return max >= TINY ? max / 127.0f : 0.0f;
}

LANES_INLINE v16i v_quantize(v16f x, v16f factor)
{
    return i_round(v_max(v_min(v_mul(x, factor), v_set1(127.0f)), v_set1(-127.0f)));
}

/* x, or x * gain */
LANES_INLINE v16f v_gained(const float *x, const float *gain, int64_t i) { return gain ? v_mul(v_load(x + i), v_load(gain + i)) : v_load(x + i); }
LANES_INLINE v16f v_gained_n(const float *x, const float *gain, int64_t i, int64_t n)
{
    return gain ? v_mul(v_load_n(x + i, n), v_load_n(gain + i, n)) : v_load_n(x + i, n);
}

LANES_INLINE float span_absmax(const float *x, const float *gain, int64_t C)
{
    v16f m = v_zero(), m1 = v_zero();
    int64_t i = 0;

    for (; i + 32 <= C; i += 32) {
        m = v_max(v_abs(v_gained(x, gain, i)), m);
        m1 = v_max(v_abs(v_gained(x, gain, i + 16)), m1);
    }
    for (; i + 16 <= C; i += 16) m = v_max(v_abs(v_gained(x, gain, i)), m);
    if (i < C) m = v_max(v_abs(v_gained_n(x, gain, i, C - i)), m);
    return v_hmax(v_max(m, m1));
}

/* Rows of a head lie a whole token apart, which no hardware foresees: row r + 8, if there is one. */
LANES_INLINE void fetch_ahead(const float *x, int64_t ldx, int64_t r, int64_t R, int64_t C)
{
    if (ldx <= C || r + 8 >= R) return;
    for (int64_t i = 0; i < C; i += 16) __builtin_prefetch(x + 8 * ldx + i);
}

/* q (C, then zeros to a multiple of 4) and its sum */
LANES_INLINE int32_t span_quantize(int8_t *q, const float *x, const float *gain, int64_t C, float factor)
{
    const v16f f = v_set1(factor);
    v16i sum = i_zero();
    int64_t i = 0;

    for (; i + 16 <= C; i += 16) {
        const v16i v = v_quantize(v_gained(x, gain, i), f);

        sum = i_add(sum, v);
        i_store_s8(q + i, v);
    }
    if (i < C) {
        int8_t tail[16];
        const v16i v = v_quantize(v_gained_n(x, gain, i, C - i), f);

        sum = i_add(sum, v);
        i_store_s8(tail, v);
        memcpy(q + i, tail, (size_t)(xc_round_up(C, 4) - i));
    }
    return i_sum(sum);
}

static void lanes_quantize_row(int8_t *q, float *scale, int32_t *sum, const float *x, const float *gain, int64_t C, float static_scale)
{
    float factor;

    if (static_scale > 0.0f) {
        *scale = static_scale;
        factor = 1.0f / static_scale;
    } else {
        *scale = lanes_scale_of(span_absmax(x, gain, C), &factor);
    }
    *sum = span_quantize(q, x, gain, C, factor);
}

static void lanes_quantize_rows_s8(int8_t *q, int64_t ldq, float *scale, int32_t *sum, const float *x, int64_t ldx, const float *gain,
                                   int64_t R, int64_t C, float static_scale)
{
    for (int64_t r = 0; r < R; r++) {
        fetch_ahead(x + r * ldx, ldx, r, R, C);
        lanes_quantize_row(q + r * ldq, scale + r, sum + r, x + r * ldx, gain, C, static_scale);
    }
}

static void lanes_quantize_rows_affine(int8_t *q, int64_t ldq, float *scale, float *mid, int32_t *sum, const float *x, int64_t ldx, const float *gain,
                                       int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++, x += ldx, q += ldq) {
        const int64_t whole = C / 16 * 16, rest = C - whole;
        const v16f first = v_set1(gain ? x[0] * gain[0] : x[0]);
        v16f low = first, high = first;

        for (int64_t i = 0; i < whole; i += 16) {
            const v16f v = v_gained(x, gain, i);

            low = v_min(v, low), high = v_max(v, high);
        }
        if (rest > 0) {
            const v16f v = v_first(v_gained_n(x, gain, whole, rest), first, rest);

            low = v_min(v, low), high = v_max(v, high);
        }

        const float lo = 0.0f - v_hmax(v_sub(v_zero(), low)), width = v_hmax(high) - lo, factor = width >= TINY ? XC_AFFINE_SPAN / width : 0.0f;
        const v16f base = v_set1(lo), f = v_set1(factor), top = v_set1(XC_AFFINE_SPAN);
        const v16i offset = i_set1(-127);
        v16i total = i_zero();

        scale[r] = width >= TINY ? width / XC_AFFINE_SPAN : 0.0f;
        mid[r] = fmaf(127.0f, scale[r], lo);
        for (int64_t i = 0; i < whole; i += 16) {
            const v16i v = i_add(i_round(v_max(v_min(v_mul(v_sub(v_gained(x, gain, i), base), f), top), v_zero())), offset);

            total = i_add(total, v);
            i_store_s8(q + i, v);
        }
        sum[r] = i_sum(total);
        if (rest > 0) {
            int8_t tail[16];

            i_store_s8(tail, i_add(i_round(v_max(v_min(v_mul(v_sub(v_gained_n(x, gain, whole, rest), base), f), top), v_zero())), offset));
            for (int64_t i = 0; i < xc_round_up(rest, 4); i++) {
                q[whole + i] = i < rest ? tail[i] : 0;
                sum[r] += q[whole + i];
            }
        }
    }
}

/* rows (1 or 2, a constant) rows at once: the sums are chains of one accumulator each, so two rows hide each other's latency. */
LANES_INLINE void norm_rows(const struct xc_norm *n, int64_t r0, int rows)
{
    const int64_t C = n->C, whole = C / 16 * 16, rest = C - whole;
    const float *bias = n->rms ? NULL : n->bias;
    const bool copy = n->residual || !n->rms || n->x != n->out;
    const float *x[2], *res[2];
    float *y[2], rstd[2], mean[2] = {0.0f, 0.0f};
    v16f sum[2], mean16[2], rstd16[2], max[2];

    for (int k = 0; k < rows; k++) {
        x[k] = n->x + (r0 + k) * n->ldx;
        res[k] = n->residual ? n->residual + (r0 + k) * n->ld_residual : NULL;
        y[k] = n->out + (r0 + k) * n->ld_out;
        sum[k] = max[k] = v_zero();
    }
    if (copy) {
        for (int64_t i = 0; i < whole; i += 16)
            for (int k = 0; k < rows; k++) {
                const v16f v = res[k] ? v_add(v_load(x[k] + i), v_load(res[k] + i)) : v_load(x[k] + i);

                sum[k] = v_add(sum[k], v);
                v_store(y[k] + i, v);
            }
        for (int k = 0; k < rows; k++) {
            if (rest > 0) {
                v16f v = v_load_n(x[k] + whole, rest);

                if (res[k]) v = v_add(v, v_load_n(res[k] + whole, rest));
                sum[k] = v_add(sum[k], v);
                v_store_n(y[k] + whole, v, rest);
            }
            if (!n->rms) mean[k] = v_sum(sum[k]) / (float)C;
        }
    }
    for (int k = 0; k < rows; k++) {
        mean16[k] = v_set1(mean[k]);
        sum[k] = v_zero();
    }
    for (int64_t i = 0; i < whole; i += 16)
        for (int k = 0; k < rows; k++) {
            const v16f d = v_sub(v_load(y[k] + i), mean16[k]);

            sum[k] = v_fma(d, d, sum[k]);
        }
    for (int k = 0; k < rows; k++) {
        if (rest > 0) {
            const v16f d = v_first(v_sub(v_load_n(y[k] + whole, rest), mean16[k]), v_zero(), rest);

            sum[k] = v_fma(d, d, sum[k]);
        }
        rstd[k] = 1.0f / sqrtf(v_sum(sum[k]) / (float)C + n->eps);
        rstd16[k] = v_set1(rstd[k]);
        if (n->stat) {
            n->stat[2 * (r0 + k)] = mean[k];
            n->stat[2 * (r0 + k) + 1] = rstd[k];
        }
    }
    for (int64_t i = 0; i < whole; i += 16) {
        const v16f gain = v_load(n->gain + i), add = bias ? v_load(bias + i) : v_zero();

        for (int k = 0; k < rows; k++) {
            const v16f v = v_fma(v_mul(v_sub(v_load(y[k] + i), mean16[k]), rstd16[k]), gain, add);

            max[k] = v_max(v_abs(n->q_gain ? v_mul(v, v_load(n->q_gain + i)) : v), max[k]);
            v_store(y[k] + i, v);
        }
    }
    for (int k = 0; k < rows; k++) {
        if (rest > 0) {
            const v16f h = v_mul(v_sub(v_load_n(y[k] + whole, rest), mean16[k]), rstd16[k]);
            const v16f v = v_fma(h, v_load_n(n->gain + whole, rest), bias ? v_load_n(bias + whole, rest) : v_zero());

            /* lanes beyond C: gain and bias are 0 there */
            max[k] = v_max(v_abs(n->q_gain ? v_mul(v, v_load_n(n->q_gain + whole, rest)) : v), max[k]);
            v_store_n(y[k] + whole, v, rest);
        }
        if (n->q) {
            float factor;

            if (n->static_scale > 0.0f) {
                n->q_scale[r0 + k] = n->static_scale;
                factor = 1.0f / n->static_scale;
            } else {
                n->q_scale[r0 + k] = lanes_scale_of(v_hmax(max[k]), &factor);
            }
            n->q_sum[r0 + k] = span_quantize(n->q + (r0 + k) * n->ldq, y[k], n->q_gain, C, factor);
        }
    }
}

static void lanes_norm_f32(const struct xc_norm *n, int64_t row0, int64_t row1)
{
    int64_t r = row0;

    for (; r + 2 <= row1; r += 2) norm_rows(n, r, 2);
    if (r < row1) norm_rows(n, r, 1);
}

static void lanes_pack_keys_s8(int8_t *k, float *k_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D)
{
    const int64_t D4 = xc_round_up(D, 4);

    for (int64_t j = 0; j < xc_round_up(n_k, 16); j++, x += ldx) {
        int8_t *panel = k + j / 16 * 16 * D4 + j % 16 * 4;
        float factor;

        fetch_ahead(x, ldx, j, n_k, D);
        if (j >= n_k) {
            k_scale[j] = 0.0f;
            for (int64_t d = 0; d < D4; d += 4) memset(panel + d * 16, 0, 4);
            continue;
        }
        k_scale[j] = lanes_scale_of(span_absmax(x, NULL, D), &factor);
        for (int64_t d = 0; d < D; d += 16) {
            const int64_t n = xc_min_i64(16, D - d), quads = xc_div_up(n, 4);
            int8_t q[16];

            i_store_s8(q, v_quantize(n == 16 ? v_load(x + d) : v_load_n(x + d, n), v_set1(factor)));
            for (int64_t i = 0; i < quads; i++) memcpy(panel + (d / 4 + i) * 64, q + i * 4, 4);
        }
    }
}

static void lanes_pack_values_s8(int8_t *v, float *v_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D)
{
    const int64_t D16 = xc_round_up(D, 16);

    for (int64_t j0 = 0; j0 < n_k; j0 += XC_KEY_BLOCK, x += XC_KEY_BLOCK * ldx, v_scale += D16) {
        const int64_t count = xc_min_i64(XC_KEY_BLOCK, n_k - j0);

        for (int64_t d = 0; d < D; d += 16, v += 16 * XC_KEY_BLOCK) {
            const int64_t n = xc_min_i64(16, D - d);
            v16f max = v_zero(), factor;
            float lane[16], f[16];

            for (int64_t j = 0; j < count; j++) {
                if (d == 0) fetch_ahead(x + j * ldx, ldx, j0 + j, n_k, D);
                max = v_max(v_abs(n == 16 ? v_load(x + j * ldx + d) : v_load_n(x + j * ldx + d, n)), max);
            }
            v_store(lane, max);
            for (int i = 0; i < 16; i++) v_scale[d + i] = lanes_scale_of(lane[i], &f[i]);
            factor = v_load(f);
            for (int64_t j = 0; j < count; j += 4) {
                v16i q[4];

                for (int64_t i = 0; i < 4; i++) {
                    const float *row = x + (j + i) * ldx + d;

                    q[i] = j + i >= count ? i_zero() : v_quantize(n == 16 ? v_load(row) : v_load_n(row, n), factor);
                }
                i_store_quads(v + j * 16, q[0], q[1], q[2], q[3]);
            }
        }
    }
}

static void lanes_act_f32(float *y, const float *x, int64_t n, enum xc_act act) { act_span(y, x, n, act); }

static void lanes_add_f32(float *y, const float *a, const float *b, int64_t n)
{
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) v_store(y + i, v_add(v_load(a + i), v_load(b + i)));
    for (; i < n; i++) y[i] = a[i] + b[i];
}

static void lanes_mul_f32(float *y, const float *a, const float *b, int64_t n)
{
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) v_store(y + i, v_mul(v_load(a + i), v_load(b + i)));
    for (; i < n; i++) y[i] = a[i] * b[i];
}

static void lanes_f16_to_f32(float *y, const uint16_t *x, int64_t n)
{
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) v_store(y + i, v_from_f16(x + i));
    for (; i < n; i++) y[i] = xc_f16_to_f32(x[i]);
}

static void lanes_bf16_to_f32(float *y, const uint16_t *x, int64_t n)
{
    int64_t i = 0;

    for (; i + 16 <= n; i += 16) v_store(y + i, v_from_bf16(x + i));
    for (; i < n; i++) y[i] = xc_bf16_to_f32(x[i]);
}

/* y[i] = or += value */
#define GATHER_ROW(vector, single)                                                                    \
    do {                                                                                              \
        for (; i + 16 <= C; i += 16) {                                                                \
            const v16f v = vector;                                                                    \
            v_store(y + i, accumulate ? v_add(v_load(y + i), v) : v);                                 \
        }                                                                                             \
        for (; i < C; i++) y[i] = accumulate ? y[i] + (single) : (single);                            \
    } while (0)

/* One row of int4: nibbles to bytes, group by group. */
static void gather_row_s4(float *y, const struct xc_table *t, int64_t row, bool accumulate)
{
    const uint8_t *q = (const uint8_t *)t->rows + row * xc_div_up(t->C, 2);
    const int64_t groups = xc_div_up(t->C, t->group);

    for (int64_t g = 0; g < groups; g++) {
        const int64_t end = xc_min_i64((g + 1) * t->group, t->C);
        const int zero = t->group_zero ? t->group_zero[row * groups + g] : XC_S4_ZERO;
        const v16f scale = v_set1(xc_f16_to_f32(t->group_scale[row * groups + g])), minus = v_set1((float)-zero);

        for (int64_t k = g * t->group; k < end; k += 16) {
            const int64_t n = xc_min_i64(16, end - k);
            int8_t u[16] = {0};
            v16f v;

            for (int64_t i = 0; i < n; i += 2) {
                u[i] = (int8_t)(q[(k + i) / 2] & 15);
                u[i + 1] = (int8_t)(q[(k + i) / 2] >> 4);
            }
            v = v_mul(v_add(v_from_s8(u), minus), scale);
            if (accumulate) v = v_add(n == 16 ? v_load(y + k) : v_load_n(y + k, n), v);
            if (n == 16) v_store(y + k, v);
            else v_store_n(y + k, v, n);
        }
    }
}

static void lanes_gather_rows(float *y, int64_t ldy, const struct xc_table *t, const int32_t *ids, int64_t R, bool accumulate)
{
    const int64_t C = t->C;

    for (int64_t r = 0; r < R; r++, y += ldy) {
        const int64_t at = ids[r] * C;
        const float *f = (const float *)t->rows + at;
        const uint16_t *h = (const uint16_t *)t->rows + at;
        const int8_t *q = (const int8_t *)t->rows + at;
        const float scale = t->bits == XC_TABLE_S8 ? t->scale[ids[r]] : 0.0f;
        int64_t i = 0;

        switch (t->bits) {
        case XC_TABLE_F16: GATHER_ROW(v_from_f16(h + i), xc_f16_to_f32(h[i])); break;
        case XC_TABLE_BF16: GATHER_ROW(v_from_bf16(h + i), xc_bf16_to_f32(h[i])); break;
        case XC_TABLE_S8: GATHER_ROW(v_mul(v_from_s8(q + i), v_set1(scale)), (float)q[i] * scale); break;
        case XC_TABLE_S4: gather_row_s4(y, t, ids[r], accumulate); break;
        default: GATHER_ROW(v_load(f + i), f[i]); break;
        }
    }
}

static void lanes_softmax_rows(float *y, const float *x, int64_t R, int64_t C)
{
    const int64_t whole = C / 16 * 16, rest = C - whole;

    for (int64_t r = 0; r < R; r++, x += C, y += C) {
        v16f max = v_set1(-INFINITY), sum = v_zero();

        for (int64_t i = 0; i < whole; i += 16) max = v_max(v_load(x + i), max);
        if (rest > 0) max = v_max(v_first(v_load_n(x + whole, rest), max, rest), max);

        const v16f top = v_set1(v_hmax(max));

        for (int64_t i = 0; i < whole; i += 16) {
            const v16f e = v_exp(v_sub(v_load(x + i), top));

            sum = v_add(sum, e);
            v_store(y + i, e);
        }
        if (rest > 0) {
            const v16f e = v_first(v_exp(v_sub(v_load_n(x + whole, rest), top)), v_zero(), rest);

            sum = v_add(sum, e);
            v_store_n(y + whole, e, rest);
        }

        const float inv = 1.0f / v_sum(sum);

        for (int64_t i = 0; i < whole; i += 16) v_store(y + i, v_mul(v_load(y + i), v_set1(inv)));
        for (int64_t i = whole; i < C; i++) y[i] *= inv;
    }
}

static void lanes_mean_rows(float *y, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    const float inv = 1.0f / (float)R;

    for (int64_t i = 0; i < C; i += 16) {
        const int64_t n = xc_min_i64(16, C - i);
        v16f sum = v_zero();

        for (int64_t r = 0; r < R; r++) sum = v_add(sum, n == 16 ? v_load(x + r * ldx + i) : v_load_n(x + r * ldx + i, n));
        sum = v_mul(sum, v_set1(inv));
        if (n == 16)
            v_store(y + i, sum);
        else
            v_store_n(y + i, sum, n);
    }
}

static void lanes_max_rows(float *y, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    for (int64_t i = 0; i < C; i += 16) {
        const int64_t n = xc_min_i64(16, C - i);
        v16f max = n == 16 ? v_load(x + i) : v_load_n(x + i, n);

        for (int64_t r = 1; r < R; r++) max = v_max(n == 16 ? v_load(x + r * ldx + i) : v_load_n(x + r * ldx + i, n), max);
        if (n == 16)
            v_store(y + i, max);
        else
            v_store_n(y + i, max, n);
    }
}

static void lanes_l2_normalize_rows(float *y, const float *x, int64_t R, int64_t C, float eps)
{
    const int64_t whole = C / 16 * 16, rest = C - whole;

    for (int64_t r = 0; r < R; r++, x += C, y += C) {
        v16f sum = v_zero();

        for (int64_t i = 0; i < whole; i += 16) {
            const v16f v = v_load(x + i);

            sum = v_fma(v, v, sum);
        }
        if (rest > 0) {
            const v16f v = v_load_n(x + whole, rest);

            sum = v_fma(v, v, sum);
        }

        const float norm = xc_max_f32(sqrtf(v_sum(sum)), eps);

        for (int64_t i = 0; i < whole; i += 16) v_store(y + i, v_div(v_load(x + i), v_set1(norm)));
        for (int64_t i = whole; i < C; i++) y[i] = x[i] / norm;
    }
}

/* Sets every entry of this file. */
static void lanes_init_rows(struct xc_kernels *k)
{
    k->norm_f32 = lanes_norm_f32;
    k->quantize_rows_s8 = lanes_quantize_rows_s8;
    k->quantize_rows_affine = lanes_quantize_rows_affine;
    k->pack_keys_s8 = lanes_pack_keys_s8;
    k->pack_values_s8 = lanes_pack_values_s8;
    k->act_f32 = lanes_act_f32;
    k->add_f32 = lanes_add_f32;
    k->mul_f32 = lanes_mul_f32;
    k->gather_rows = lanes_gather_rows;
    k->softmax_rows = lanes_softmax_rows;
    k->mean_rows = lanes_mean_rows;
    k->max_rows = lanes_max_rows;
    k->l2_normalize_rows = lanes_l2_normalize_rows;
    k->f16_to_f32 = lanes_f16_to_f32;
    k->bf16_to_f32 = lanes_bf16_to_f32;
}

#endif
