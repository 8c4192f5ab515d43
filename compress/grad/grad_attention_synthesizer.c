/* attention, kind synthesizer: tiles of queries; dS = P * (dO V^T - rowsum), then each part takes its weight's share:
 *
 *   dot      dQ += scale dS K, dK += scale dS^T Q         random       dR += dS, or dR1 += dS R2 and dR2 += dS^T R1
 *   dense    dH += dS W, dW += dS^T H, dbias += sums      factorised   dA_i[j mod a] += dS_ij C_i[j div a], dC likewise
 *   a band   dR += dS at its place in the band; keys outside are not looked at
 *   mixture  g_k = sum dS S_k;  da_k = w_k (g_k - sum w g)
 *
 * An item is a sequence and a head of keys; where a tensor is trained, which all of them share, they go one after the other. */
#include <string.h>

#include "compress/grad/grad_attention.h"
#include "runtime/graph/attention/synthesizer.h"

enum { T_MAX = XC_SYNTH_TILE };

struct synth {
    const struct xc_grad_ctx *c;
    struct xc_synth s;
    int64_t longest, width, each; /* width: of the widest product */
    double g[XC_SYNTH_PARTS];     /* gradients of the weights of the mixture */
    float *scratch;
};

struct work {
    float *k_panel, *v_panel, *panel; /* keys; values as rows; whatever a product needs */
    float *p, *ds, *part, *t, *out;   /* (T,n); transposed; (n or T, width) */
};

static int64_t lay(int64_t *total, int64_t floats)
{
    const int64_t at = *total;

    *total += xc_round_up(floats, 16);
    return at;
}

static struct work work_at(const struct synth *y, float *base, int64_t *floats)
{
    const int64_t n = xc_round_up(y->longest, 16), W = xc_round_up(y->width, 16);
    struct work w;
    int64_t all = 0;

#define PART(name, size) const int64_t at_##name = lay(&all, size); w.name = base ? base + at_##name : NULL
    PART(k_panel, n * W);
    PART(v_panel, n * W);
    PART(panel, xc_max_i64(n, T_MAX) * W);
    PART(p, T_MAX * n);
    PART(ds, T_MAX * n);
    PART(part, T_MAX * n);
    PART(t, T_MAX * n);
    PART(out, xc_max_i64(n, T_MAX) * W);
#undef PART
    if (floats) *floats = all;
    return w;
}

/* d (R rows, ld apart; N) += weight * x (R,K; ldx apart) m (K,N; ldm apart) */
static void add_product(const struct synth *y, const struct work *w, float *d, int64_t ld, const float *x, int64_t ldx, const float *m, int64_t ldm, int64_t R, int64_t N, int64_t K, float weight)
{
    const struct xc_gemm_f32 g = { .x = x, .ldx = ldx, .w = w->panel, .N = N, .K = K, .ep = { .out = w->out, .ld_out = N } };

    xc_grad_panel_cols(w->panel, m, ldm, K, N);
    y->c->op->kern->gemm_f32(&g, 0, R, 0, N);
    for (int64_t r = 0; r < R; r++)
        for (int64_t i = 0; i < N; i++) d[r * ld + i] += weight * w->out[r * N + i];
}

/* Both sides of a product of rows: ds (T,n) = dL/d(x m^T), x (T,C), m (n,C). */
static void both(const struct synth *y, const struct work *w, int64_t T, int64_t n, int64_t C, const float *x, int64_t ldx, const float *m, int64_t ldm, float *dx, int64_t ld_dx, float *dm,
                 int64_t ld_dm, float weight)
{
    if (dx) add_product(y, w, dx, ld_dx, w->ds, n, m, ldm, T, C, n, weight);
    if (!dm) return;
    xc_grad_transpose(w->t, T_MAX, w->ds, n, T, n);
    add_product(y, w, dm, ld_dm, w->t, T_MAX, x, ldx, n, C, T, weight);
}

static float *d_rows(const struct synth *y, int input, int64_t seq, int64_t col)
{
    return y->c->d_in[input] ? y->c->d_in[input] + (int64_t)y->c->op->in[input]->rag->start[seq] * y->c->op->in[input]->cols + col : NULL;
}

static float *d_tensor(const struct synth *y, int input, int64_t at) { return y->c->d_tensor[input] ? y->c->d_tensor[input] + at : NULL; }

static void part_backward(struct synth *y, const struct work *w, enum xc_synth_part which, int64_t seq, int64_t h, int64_t row0, int64_t T, int64_t n)
{
    const struct xc_synth *s = &y->s;
    const float weight = s->weight[which];

    if (which == XC_SYNTH_DOT) {
        const int64_t g = h / (s->heads / s->kv), at = row0 * s->q->cols;
        float *dq = d_rows(y, 0, seq, h * s->D), *dk = d_rows(y, 1, seq, g * s->D);

        both(y, w, T, n, s->D, xc_seq_data(s->q, seq, h * s->D) + at, s->q->cols, xc_seq_data(s->k, seq, g * s->D), s->k->cols, dq ? dq + at : NULL, s->q->cols, dk, s->k->cols,
             weight * s->scale);
    } else if (which == XC_SYNTH_RANDOM && s->rank) {
        const int64_t ld = 2 * s->rank, at = h * s->r_head + row0 * ld;

        both(y, w, T, n, s->rank, s->r + at, ld, s->r + h * s->r_head + s->rank, ld, d_tensor(y, XC_SYNTH_R, at), ld, d_tensor(y, XC_SYNTH_R, h * s->r_head + s->rank), ld, weight);
    } else if (which == XC_SYNTH_RANDOM && s->band) {
        int64_t key0, keys;

        xc_synth_keys(s, row0, T, n, &key0, &keys);
        for (int64_t i = 0; y->c->d_tensor[XC_SYNTH_R] && i < T; i++) {
            const int64_t row = row0 + i, from = xc_max_i64(key0, row - s->band), to = xc_min_i64(key0 + keys, row + s->band + 1);
            float *d = d_tensor(y, XC_SYNTH_R, h * s->r_head + row * s->r_cols) - (row - s->band);

            for (int64_t j = from; j < to; j++) d[j] += weight * w->ds[i * keys + j - key0];
        }
    } else if (which == XC_SYNTH_RANDOM) {
        float *d = d_tensor(y, XC_SYNTH_R, h * s->r_head + row0 * s->L);

        for (int64_t i = 0; d && i < T; i++)
            for (int64_t j = 0; j < n; j++) d[i * s->L + j] += weight * w->ds[i * n + j];
    } else if (which == XC_SYNTH_DENSE) {
        const int64_t at = row0 * s->hidden->cols;
        float *dh = d_rows(y, XC_SYNTH_HIDDEN, seq, h * s->H), *db = d_tensor(y, XC_SYNTH_B, h * s->b_head);

        both(y, w, T, n, s->H, xc_seq_data(s->hidden, seq, h * s->H) + at, s->hidden->cols, s->w + h * s->w_head, s->H, dh ? dh + at : NULL, s->hidden->cols,
             d_tensor(y, XC_SYNTH_W, h * s->w_head), s->H, weight);
        for (int64_t i = 0; db && i < T; i++)
            for (int64_t j = 0; j < n; j++) db[j] += weight * w->ds[i * n + j];
    } else {
        const int64_t at = h * (s->a + s->b), ld = s->factors->cols;
        float *d = d_rows(y, XC_SYNTH_FACTORS, seq, at);

        for (int64_t i = 0; d && i < T; i++) {
            const float *A = xc_seq_data(s->factors, seq, at) + (row0 + i) * ld, *C = A + s->a;
            float *dA = d + (row0 + i) * ld, *dC = dA + s->a;

            for (int64_t j = 0; j < n; j++) {
                dA[j % s->a] += weight * w->ds[i * n + j] * C[j / s->a];
                dC[j / s->a] += weight * w->ds[i * n + j] * A[j % s->a];
            }
        }
    }
}

static void tile(struct synth *y, const struct work *w, int64_t seq, int64_t h, int64_t row0, int64_t T, int64_t n)
{
    const struct xc_synth *s = &y->s;
    const int64_t g = h / (s->heads / s->kv);
    const float *dO = y->c->d_out[0] + (s->q->rag->start[seq] + row0) * s->q->cols + h * s->D;
    float *dv = d_rows(y, 2, seq, g * s->D);
    int64_t key0, m; /* keys that the tile looks at: columns of p and ds */

    xc_synth_keys(s, row0, T, n, &key0, &m);
    const struct xc_gemm_f32 match = { .x = dO, .ldx = s->q->cols, .w = w->v_panel + key0 * s->D, .N = m, .K = s->D, .ep = { .out = w->ds, .ld_out = m } };

    xc_synth_probabilities(s, w->p, w->part, seq, h, row0, T, n, w->k_panel);
    y->c->op->kern->gemm_f32(&match, 0, T, 0, m);
    if (dv) {
        xc_grad_transpose(w->t, T_MAX, w->p, m, T, m);
        add_product(y, w, dv + key0 * s->v->cols, s->v->cols, w->t, T_MAX, dO, s->q->cols, m, s->D, T, 1.0f);
    }
    for (int64_t i = 0; i < T; i++) {
        const float *p = w->p + i * m;
        float *ds = w->ds + i * m;
        double dot = 0;

        for (int64_t j = 0; j < m; j++) dot += (double)p[j] * (double)ds[j];
        for (int64_t j = 0; j < m; j++) ds[j] = p[j] * (ds[j] - (float)dot);
    }
    for (int part = 0; part < XC_SYNTH_PARTS; part++) {
        if (!s->has[part]) continue;
        part_backward(y, w, (enum xc_synth_part)part, seq, h, row0, T, n);
        if (!y->c->d_tensor[XC_SYNTH_MIX]) continue;
        xc_synth_part(s, w->part, (enum xc_synth_part)part, seq, h, row0, T, n, w->k_panel);
        for (int64_t i = 0; i < T * n; i++) y->g[part] += (double)w->ds[i] * (double)w->part[i];
    }
}

/* Item: (sequence, head of keys). */
static void item(void *arg, int64_t i, int thread)
{
    struct synth *y = arg;
    const struct xc_synth *s = &y->s;
    const int64_t seq = i / s->kv, g = i % s->kv, group = s->heads / s->kv, n = xc_seq_rows(s->q, seq);
    const struct work w = work_at(y, y->scratch + thread * y->each, NULL);

    if (n == 0) return;
    if (s->has[XC_SYNTH_DOT]) xc_grad_panel_rows(w.k_panel, xc_seq_data(s->k, seq, g * s->D), s->k->cols, n, s->D);
    xc_grad_panel_rows(w.v_panel, xc_seq_data(s->v, seq, g * s->D), s->v->cols, n, s->D);
    for (int64_t h = g * group; h < (g + 1) * group; h++)
        for (int64_t row0 = 0; row0 < n; row0 += T_MAX) tile(y, &w, seq, h, row0, xc_min_i64(T_MAX, n - row0), n);
}

static enum xc_status synthesizer_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    struct synth y = { .c = c };
    bool trained = false;

    XC_TRY(xc_synth_open(&y.s, c->op, err));
    for (int i = 0; i < XC_MAX_IN; i++) {
        trained |= c->d_tensor[i] != NULL;
        if (c->d_in[i] && c->fresh[i]) memset(c->d_in[i], 0, (size_t)(c->op->in[i]->rows * c->op->in[i]->cols) * sizeof(float));
    }
    for (int32_t s = 0; s < y.s.q->rag->n_seq; s++) y.longest = xc_max_i64(y.longest, xc_seq_rows(y.s.q, s));
    y.width = xc_max_i64(y.s.D, xc_max_i64(y.s.H, y.s.rank));
    work_at(&y, NULL, &y.each);
    XC_TRY(xc_grad_scratch(c, &y.scratch, (size_t)(y.each * xc_pool_threads(c->op->pool)) * sizeof(float), err));
    if (trained)
        for (int64_t i = 0; i < y.s.q->rag->n_seq * y.s.kv; i++) item(&y, i, 0);
    else
        xc_pool_run(c->op->pool, item, &y, y.s.q->rag->n_seq * y.s.kv);
    if (c->d_tensor[XC_SYNTH_MIX]) {
        double mean = 0;

        for (int p = 0; p < XC_SYNTH_PARTS; p++) mean += y.s.has[p] ? (double)y.s.weight[p] * y.g[p] : 0;
        for (int p = 0; p < XC_SYNTH_PARTS; p++)
            if (y.s.has[p]) c->d_tensor[XC_SYNTH_MIX][y.s.index[p]] += (float)((double)y.s.weight[p] * (y.g[p] - mean));
    }
    return XC_OK;
}

const struct xc_grad_attention xc_grad_attention_synthesizer = { .kind = "synthesizer", .backward = synthesizer_backward };
