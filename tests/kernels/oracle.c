/* oracle: see oracle.h. Written from the formulas, sharing no code with runtime/kernels but its structs. */
#include <math.h>
#include <stdlib.h>

#include "tests/kernels/oracle.h"

static int64_t up(int64_t a, int64_t to) { return (a + to - 1) / to * to; }

double oracle_act(double x, enum xc_act act)
{
    switch (act) {
    case XC_ACT_RELU: return x > 0 ? x : 0;
    case XC_ACT_GELU: return 0.5 * x * erfc(-x / sqrt(2.0));
    case XC_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case XC_ACT_TANH: return tanh(x);
    case XC_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case XC_ACT_SILU: return x / (1 + exp(-x));
    default: return x;
    }
}

static double finish(const struct xc_epilogue *ep, double y, int64_t r, int64_t n)
{
    y = oracle_act(y + (ep->bias ? (double)ep->bias[n] : 0), ep->act);
    return ep->residual ? y + (double)ep->residual[r * ep->ld_residual + n] : y;
}

static int8_t panel_s8(const int8_t *w, int64_t n, int64_t k, int64_t K)
{
    return w[n / 16 * 16 * up(K, 4) + k / 4 * 64 + n % 16 * 4 + k % 4];
}

void oracle_gemm_s8(double *out, const struct xc_gemm_s8 *g, int64_t R)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t n = 0; n < g->N; n++) {
            double y = 0;

            for (int64_t k = 0; k < g->K; k++) y += (double)g->x[r * g->ldx + k] * panel_s8(g->w, n, k, g->K);
            out[r * g->N + n] = finish(&g->ep, y * (double)g->ep.row_scale[r] * (double)g->ep.col_scale[n], r, n);
        }
}

static double half(uint16_t h)
{
    const int e = h >> 10 & 31, m = h & 1023;

    return (h >> 15 ? -1 : 1) * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
}

void oracle_gemm_s4(double *out, const struct xc_gemm_s4 *g, int64_t R)
{
    const int64_t groups = (g->K + g->group - 1) / g->group;

    for (int64_t r = 0; r < R; r++)
        for (int64_t n = 0; n < g->N; n++) {
            double y = 0, sum = 0;

            for (int64_t k = 0; k < g->K; k++) {
                const int64_t at = (n / 16 * groups + k / g->group) * 16 + n % 16;
                const int64_t per = g->bytes ? 4 : 8; /* inputs of 64 bytes */
                const int byte = g->w[n / 16 * 64 / per * up(g->K, 8) + k / per * 64 + n % 16 * 4 + k % 4], u = g->bytes ? byte : k % 8 < 4 ? byte % 16 : byte / 16;
                const double zero = g->zero ? g->zero[at] * (g->bytes ? 1 : 0.25) : g->bytes ? 128 : 8;
                const double w = (u - zero) * half(g->scale[at]) * (g->zero ? (double)g->unit * (g->bytes ? 1 : 4) : 1);

                y += (double)g->x[r * g->ldx + k] * w;
                sum += w;
            }
            if (g->ep.row_mid) sum *= (double)g->ep.row_mid[r];
            else sum = 0;
            out[r * g->N + n] = finish(&g->ep, y * (double)g->ep.row_scale[r] + sum, r, n);
        }
}

void oracle_gemm_f32(double *out, const struct xc_gemm_f32 *g, int64_t R)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t n = 0; n < g->N; n++) {
            double y = 0;

            for (int64_t k = 0; k < g->K; k++) y += (double)g->x[r * g->ldx + k] * (double)g->w[n / 16 * 16 * g->K + k * 16 + n % 16];
            out[r * g->N + n] = finish(&g->ep, y, r, n);
        }
}

/* out (n_q, D) from scores s (n_q, n_k), which it overwrites, and values v (n_k, D) */
static void softmax_times_v(double *out, double *s, const double *v, int64_t n_q, int64_t n_k, int64_t D, bool causal)
{
    for (int64_t i = 0; i < n_q; i++) {
        double max = -1e300, sum = 0;
        const int64_t last = causal ? i + n_k - n_q + 1 : n_k;

        for (int64_t j = 0; j < last; j++) max = fmax(max, s[i * n_k + j]);
        for (int64_t j = 0; j < last; j++) sum += s[i * n_k + j] = exp(s[i * n_k + j] - max);
        for (int64_t d = 0; d < D; d++) {
            double o = 0;

            for (int64_t j = 0; j < last; j++) o += s[i * n_k + j] * v[j * D + d];
            out[i * D + d] = sum > 0 ? o / sum : 0;
        }
    }
}

void oracle_attn_s8(double *out, const struct xc_attn_s8 *a)
{
    const int64_t D16 = up(a->D, 16);
    double *s = malloc(sizeof(double) * (size_t)(a->n_q * a->n_k + 1)), *v = malloc(sizeof(double) * (size_t)(a->n_k * a->D + 1));

    if (!s || !v) abort();
    for (int64_t i = 0; i < a->n_q; i++)
        for (int64_t j = 0; j < a->n_k; j++) {
            double dot = 0;

            for (int64_t d = 0; d < a->D; d++) dot += (double)a->q[i * a->ldq + d] * panel_s8(a->k, j, d, a->D);
            s[i * a->n_k + j] = dot * (double)a->q_scale[i] * (double)a->k_scale[j] * (double)a->scale;
            if (a->bias) s[i * a->n_k + j] += (double)a->bias[i * a->ld_bias + j];
        }
    for (int64_t j = 0; j < a->n_k; j++)
        for (int64_t d = 0; d < a->D; d++) {
            const int64_t b = j / XC_KEY_BLOCK;

            v[j * a->D + d] = (double)panel_s8(a->v + b * D16 * XC_KEY_BLOCK, d, j % XC_KEY_BLOCK, XC_KEY_BLOCK) * (double)a->v_scale[b * D16 + d];
        }
    softmax_times_v(out, s, v, a->n_q, a->n_k, a->D, a->causal);
    free(s);
    free(v);
}

void oracle_attn_f32(double *out, const struct xc_attn_f32 *a)
{
    double *s = malloc(sizeof(double) * (size_t)(a->n_q * a->n_k + 1)), *v = malloc(sizeof(double) * (size_t)(a->n_k * a->D + 1));

    if (!s || !v) abort();
    for (int64_t i = 0; i < a->n_q; i++)
        for (int64_t j = 0; j < a->n_k; j++) {
            double dot = 0;

            for (int64_t d = 0; d < a->D; d++) dot += (double)a->q[i * a->ldq + d] * (double)a->k[j * a->ldk + d];
            s[i * a->n_k + j] = dot * (double)a->scale + (a->bias ? (double)a->bias[i * a->ld_bias + j] : 0);
        }
    for (int64_t j = 0; j < a->n_k; j++)
        for (int64_t d = 0; d < a->D; d++) v[j * a->D + d] = (double)a->v[j * a->ldv + d];
    softmax_times_v(out, s, v, a->n_q, a->n_k, a->D, a->causal);
    free(s);
    free(v);
}

void oracle_norm(double *out, const struct xc_norm *n, int64_t R)
{
    for (int64_t r = 0; r < R; r++) {
        double mean = 0, var = 0;

        for (int64_t i = 0; i < n->C; i++) {
            out[r * n->C + i] = (double)n->x[r * n->ldx + i] + (n->residual ? (double)n->residual[r * n->ld_residual + i] : 0);
            mean += out[r * n->C + i] / (double)n->C;
        }
        if (n->rms) mean = 0;
        for (int64_t i = 0; i < n->C; i++) var += (out[r * n->C + i] - mean) * (out[r * n->C + i] - mean) / (double)n->C;
        for (int64_t i = 0; i < n->C; i++)
            out[r * n->C + i] = (out[r * n->C + i] - mean) / sqrt(var + (double)n->eps) * (double)n->gain[i]
                              + (n->bias && !n->rms ? (double)n->bias[i] : 0);
    }
}
