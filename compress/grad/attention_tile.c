/* attention_tile: see attention_tile.h. */
#include <math.h>
#include <string.h>

#include "compress/grad/attention_tile.h"
#include "runtime/graph/attention/longformer_span.h"

enum { T_MAX = XC_GRAD_TILE };

struct tile_work {
    float *q, *o, *q_cols, *o_cols;             /* (T,D) rows; panels of their columns */
    float *k, *v, *norm;                        /* (n,D) rows; what k was divided by */
    float *panel;                               /* a panel of keys */
    float *s, *p, *dp, *t;                      /* (T,n) scores, probabilities, dO V^T and then dS; transposed */
    float *out;                                 /* (n,D) or (T,D) */
};

static int64_t lay(int64_t *total, int64_t floats)
{
    const int64_t at = *total;

    *total += xc_round_up(floats, 16);
    return at;
}

static struct tile_work work_at(float *base, int64_t n, int64_t D, int64_t *floats)
{
    struct tile_work w;
    int64_t all = 0;
    const int64_t wide = xc_max_i64(n, T_MAX);

#define PART(name, size) const int64_t at_##name = lay(&all, size); w.name = base ? base + at_##name : NULL
    PART(q, T_MAX * D);
    PART(o, T_MAX * D);
    PART(q_cols, xc_grad_panel_floats(D, T_MAX));
    PART(o_cols, xc_grad_panel_floats(D, T_MAX));
    PART(k, n * D);
    PART(v, n * D);
    PART(norm, n);
    PART(panel, xc_max_i64(xc_grad_panel_floats(n, D), xc_grad_panel_floats(D, n)));
    PART(s, T_MAX * n);
    PART(p, T_MAX * n);
    PART(dp, T_MAX * n);
    PART(t, T_MAX * n);
    PART(out, wide * D);
#undef PART
    if (floats) *floats = all;
    return w;
}

int64_t xc_grad_tile_floats(int64_t most, int64_t D)
{
    int64_t floats;

    work_at(NULL, most, D, &floats);
    return floats;
}

/* out (R,N) = x (R,K) w */
static void product(const struct xc_grad_tile *t, float *out, int64_t ld_out, const float *x, int64_t ldx, const float *w, int64_t R, int64_t N, int64_t K)
{
    const struct xc_gemm_f32 g = { .x = x, .ldx = ldx, .w = w, .N = N, .K = K, .ep = { .out = out, .ld_out = ld_out } };

    t->kern->gemm_f32(&g, 0, R, 0, N);
}

static void gather(float *out, const struct xc_grad_rows_of *x, const int32_t *row, int64_t n, int64_t D)
{
    for (int64_t i = 0; i < n; i++) memcpy(out + i * D, x->x + row[i] * x->ld, (size_t)D * sizeof *out);
}

void xc_grad_tile_begin(struct xc_grad_tile *t)
{
    const struct tile_work w = work_at(t->scratch, t->most, t->D, NULL);

    gather(w.q, &t->q, t->q_row, t->T, t->D);
    gather(w.o, &t->o, t->q_row, t->T, t->D);
    xc_grad_panel_cols(w.q_cols, w.q, t->D, t->T, t->D);
    xc_grad_panel_cols(w.o_cols, w.o, t->D, t->T, t->D);
    for (int64_t i = 0; i < t->T; i++) t->max[i] = -1e30f, t->sum[i] = t->delta[i] = 0;
}

/* What a key counts in a softmax of soft spans; 1 elsewhere. */
static float mask_of(const struct xc_grad_tile *t, const struct xc_grad_keys *keys, int64_t i, int64_t j)
{
    return t->ramp > 0 && isfinite(keys->low[j]) ? xc_span_mask(t->span, t->ramp, fabsf(keys->pos[j] - t->q_pos[i])) : 1.0f;
}

/* Scores s and dO V^T of a list. */
static void match(const struct xc_grad_tile *t, const struct tile_work *w, const struct xc_grad_keys *keys)
{
    const int64_t n = keys->n, D = t->D;

    gather(w->k, &t->k, keys->row, n, D);
    gather(w->v, &t->v, keys->row, n, D);
    if (t->unit_keys)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;

            for (int64_t d = 0; d < D; d++) sum += (double)w->k[j * D + d] * (double)w->k[j * D + d];
            w->norm[j] = (float)sqrt(sum + (double)D * 1e-6);
            for (int64_t d = 0; d < D; d++) w->k[j * D + d] /= w->norm[j];
        }
    xc_grad_panel_rows(w->panel, w->k, D, n, D);
    product(t, w->s, n, w->q, D, w->panel, t->T, n, D);
    xc_grad_panel_rows(w->panel, w->v, D, n, D);
    product(t, w->dp, n, w->o, D, w->panel, t->T, n, D);
    for (int64_t i = 0; i < t->T; i++)
        for (int64_t j = 0; j < n; j++) {
            const float distance = keys->pos[j] - t->q_pos[i];
            float *s = &w->s[i * n + j];

            *s *= t->scale;
            if (distance < keys->low[j] || keys->high[j] < distance) *s = -INFINITY;
            if (t->own && fabsf(distance) < 0.5f) *s = t->own_score;
            if (t->ramp > 0) *s += logf(mask_of(t, keys, i, j)); /* -inf where it does not count */
        }
}

void xc_grad_tile_measure(struct xc_grad_tile *t, const struct xc_grad_keys *keys)
{
    const struct tile_work w = work_at(t->scratch, t->most, t->D, NULL);
    const int64_t n = keys->n;

    match(t, &w, keys);
    for (int64_t i = 0; i < t->T; i++) {
        const float *s = w.s + i * n, *dp = w.dp + i * n;
        float max = t->max[i];

        for (int64_t j = 0; j < n; j++) max = s[j] > max ? s[j] : max;
        const double keep = exp((double)t->max[i] - (double)max);

        t->sum[i] *= keep;
        t->delta[i] *= keep;
        t->max[i] = max;
        for (int64_t j = 0; j < n; j++) {
            const double p = exp((double)s[j] - (double)max);

            t->sum[i] += p;
            t->delta[i] += p * (double)dp[j];
        }
    }
}

/* d (rows) += out (n,D) */
static void scatter(const struct xc_grad_rows_of *x, const int32_t *row, const float *out, int64_t n, int64_t D)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < D; d++) x->d[row[i] * x->ld + d] += out[i * D + d];
}

/* From the gradient of k / norm to that of k. */
static void through_norm(const struct tile_work *w, int64_t n, int64_t D)
{
    for (int64_t j = 0; j < n; j++) {
        const float *k = w->k + j * D; /* the unit one */
        float *d = w->out + j * D;
        double dot = 0;

        for (int64_t i = 0; i < D; i++) dot += (double)k[i] * (double)d[i];
        for (int64_t i = 0; i < D; i++) d[i] = (d[i] - (float)dot * k[i]) / w->norm[j];
    }
}

void xc_grad_tile_apply(struct xc_grad_tile *t, const struct xc_grad_keys *keys, bool again)
{
    const struct tile_work w = work_at(t->scratch, t->most, t->D, NULL);
    const int64_t n = keys->n, D = t->D, T = t->T;

    if (!again) match(t, &w, keys);
    for (int64_t i = 0; i < T; i++) {
        const double inv = t->sum[i] > 0 ? 1 / t->sum[i] : 0, delta = t->delta[i] * inv;

        for (int64_t j = 0; j < n; j++) {
            const double p = exp((double)w.s[i * n + j] - (double)t->max[i]) * inv;
            const bool constant = t->own && fabsf(keys->pos[j] - t->q_pos[i]) < 0.5f;

            if (t->ramp > 0 && p > 0) {
                const float m = mask_of(t, keys, i, j);

                if (m < 1.0f) t->d_span += p / (double)m * ((double)w.dp[i * n + j] - delta) / (double)t->ramp;
            }
            w.p[i * n + j] = (float)p;
            w.dp[i * n + j] = constant ? 0.0f : (float)(p * ((double)w.dp[i * n + j] - delta) * (double)t->scale);
        }
    }
    if (t->q.d) {
        xc_grad_panel_cols(w.panel, w.k, D, n, D);
        product(t, w.out, D, w.dp, n, w.panel, T, D, n);
        scatter(&t->q, t->q_row, w.out, T, D);
    }
    if (t->k.d) {
        xc_grad_transpose(w.t, T_MAX, w.dp, n, T, n);
        product(t, w.out, D, w.t, T_MAX, w.q_cols, n, D, T);
        if (t->unit_keys) through_norm(&w, n, D);
        scatter(&t->k, keys->row, w.out, n, D);
    }
    if (t->v.d) {
        xc_grad_transpose(w.t, T_MAX, w.p, n, T, n);
        product(t, w.out, D, w.t, T_MAX, w.o_cols, n, D, T);
        scatter(&t->v, keys->row, w.out, n, D);
    }
}
