/* attention, kind hedgehog: the sums of linear attention and their gradients, chunk by chunk (runtime/graph/attention/hedgehog.c has the letters).
 *
 * With N = phi(q) S' (D1 columns, the last one Z) and y = N / Z:   dN = [dy / Z, -(dy . y) / Z]
 *   dphi(q) = dN S^T,   R = sum phi(q)^T dN,   dphi(k) = [v,1] R^T,   d[v,1] = phi(k) R
 * With causal, S holds the chunks before and R those after; within a chunk, A = mask(phi(q) phi(k)^T) and B = mask(dN [v,1]^T):
 *   N += A [v,1],   dphi(q) += B phi(k),   dphi(k) += B^T phi(q),   d[v,1] += A^T dN
 *
 * An item is a sequence and one head of keys with all heads of queries that share it. The map's gradient is summed item by item, then in order. */
#include <string.h>

#include "compress/grad/grad_attention.h"
#include "runtime/graph/attention/hedgehog.h"

enum { CHUNK = XC_HEDGEHOG_CHUNK };

struct job {
    struct xc_hedgehog h;
    const struct xc_grad_ctx *c;
    float *dn, *dw, *scratch; /* (queries, D1) of every head, heads one after the other; (items * group, H, D) or NULL; by thread */
    int64_t each;
};

struct room {
    float *u, *phi_q, *phi_k, *d_phi, *t, *v, *v_rows, *s, *s_panel, *r_panel, *rev, *a, *b, *panel, *sum, *dx;
};

/* Room of so many floats from base on; without a base they are only counted. */
static float *place(float *base, int64_t *at, int64_t floats)
{
    float *p = base ? base + *at : NULL;

    *at += xc_round_up(floats, 16);
    return p;
}

static int64_t lay(const struct xc_hedgehog *h, struct room *r, float *base)
{
    const int64_t D16 = xc_round_up(h->D1, 16), F16 = xc_round_up(h->F, 16), most = xc_max_i64(xc_max_i64(F16 * D16, CHUNK * (F16 + D16)), CHUNK * CHUNK);
    int64_t at = 0;

    r->u = place(base, &at, CHUNK * h->H);
    r->phi_q = place(base, &at, CHUNK * h->F);
    r->phi_k = place(base, &at, CHUNK * h->F);
    r->d_phi = place(base, &at, CHUNK * h->F);
    r->t = place(base, &at, CHUNK * xc_max_i64(h->F, CHUNK));
    r->v = place(base, &at, CHUNK * D16);
    r->v_rows = place(base, &at, CHUNK * h->D1);
    r->s = place(base, &at, h->F * h->D1);
    r->rev = place(base, &at, h->F * h->D1);
    r->a = place(base, &at, CHUNK * CHUNK);
    r->b = place(base, &at, CHUNK * CHUNK);
    r->panel = place(base, &at, most);
    r->sum = place(base, &at, CHUNK * h->D1);
    r->dx = place(base, &at, CHUNK * xc_max_i64(h->D1, h->H));
    return at;
}

/* m (C1, C2) += x (T, C1)^T y (T, C2) */
static void outer(const struct xc_hedgehog *h, const struct room *r, float *m, const float *x, int64_t C1, const float *y, int64_t ldy, int64_t C2, int64_t T)
{
    xc_hedgehog_transpose(r->t, x, C1, T, C1);
    xc_hedgehog_panel_cols(r->panel, y, ldy, T, C2);
    xc_hedgehog_product(h, m, C2, r->t, T, r->panel, C1, C2, T, true);
}

/* out (T, N) = or += x (T, K) m (K, N), or m (N, K)^T */
static void times(const struct xc_hedgehog *h, const struct room *r, float *out, const float *x, const float *m, int64_t T, int64_t N, int64_t K, bool transposed, bool add)
{
    if (transposed) xc_hedgehog_panel_rows(r->panel, m, K, N, K);
    else xc_hedgehog_panel_cols(r->panel, m, N, K, N);
    xc_hedgehog_product(h, out, N, x, K, r->panel, T, N, K, add);
}

/* The gradient of rows x (T, ldx) from d_phi of their features phi: added to dx; and to dw. */
static void through_map(const struct xc_hedgehog *h, const struct room *r, const float *phi, const float *x, float *dx, int64_t ldx, int64_t T, int64_t head, float *dw)
{
    for (int64_t i = 0; i < T; i++) {
        const float *p = phi + i * h->F, *m = p + h->H, *dp = r->d_phi + i * h->F, *dm = dp + h->H;
        float a = 0, b = 0;

        for (int64_t d = 0; d < h->H; d++) a += p[d] * dp[d], b += m[d] * dm[d];
        for (int64_t d = 0; d < h->H; d++) r->u[i * h->H + d] = (p[d] * (dp[d] - a) - m[d] * (dm[d] - b)) * h->root;
    }
    if (dw) outer(h, r, dw, r->u, h->H, x, ldx, h->D, T);
    if (!dx) return;
    if (h->w) times(h, r, r->dx, r->u, h->w + head * h->w_head, T, h->D, h->H, false, false);
    for (int64_t i = 0; i < T; i++)
        for (int64_t d = 0; d < h->D; d++) dx[i * ldx + d] += h->w ? r->dx[i * h->D + d] : r->u[i * h->H + d];
}

struct piece { /* a chunk of keys, and with causal the queries at its places */
    int64_t k0, T, q0, Q, seen; /* the first query sees `seen` of the chunk's keys */
};

static struct piece piece_at(const struct xc_hedgehog *h, int64_t s, int64_t k0)
{
    const int64_t n_q = xc_seq_rows(h->q, s), n_k = xc_seq_rows(h->k, s), before = n_k - n_q;
    struct piece p = { .k0 = k0, .T = xc_min_i64(CHUNK, n_k - k0), .q0 = xc_max_i64(0, k0 - before) };

    p.Q = xc_max_i64(0, k0 + p.T - before - p.q0);
    p.seen = p.q0 + before - k0 + 1;
    return p;
}

static void load_keys(const struct xc_hedgehog *h, const struct room *r, int64_t s, int64_t head, int64_t k0, int64_t T)
{
    const int64_t g = head / (h->heads / h->kv);
    const float *v = xc_seq_data(h->v, s, g * h->D) + k0 * h->v->cols;

    xc_hedgehog_features(h, r->phi_k, r->u, xc_seq_data(h->k, s, g * h->D) + k0 * h->k->cols, h->k->cols, T, head);
    for (int64_t i = 0; i < T; i++) {
        memcpy(r->v_rows + i * h->D1, v + i * h->v->cols, (size_t)h->D * sizeof *v);
        r->v_rows[i * h->D1 + h->D] = 1.0f;
    }
}

static void load_queries(const struct xc_hedgehog *h, const struct room *r, int64_t s, int64_t head, int64_t q0, int64_t Q)
{
    xc_hedgehog_features(h, r->phi_q, r->u, xc_seq_data(h->q, s, head * h->D) + q0 * h->q->cols, h->q->cols, Q, head);
}

static void mask(float *m, const struct piece *p)
{
    for (int64_t i = 0; i < p->Q; i++)
        for (int64_t j = p->seen + i; j < p->T; j++) m[i * p->T + j] = 0.0f;
}

/* Queries q0 to q0 + Q - 1: dN from S (and, with a piece, its keys), then dphi(q) and dq; adds phi(q)^T dN to rev without a piece. */
static void queries(const struct job *j, const struct room *r, int64_t s, int64_t head, int64_t q0, int64_t Q, const struct piece *p, float *dw)
{
    const struct xc_hedgehog *h = &j->h;
    const int64_t at = (h->q->rag->start[s] + q0) * h->q->cols + head * h->D, D1 = h->D1;
    const float *dy = j->c->d_out[0] + at;
    float *dn = j->dn + (head * h->q->rows + h->q->rag->start[s] + q0) * D1;

    load_queries(h, r, s, head, q0, Q);
    times(h, r, r->sum, r->phi_q, r->s, Q, D1, h->F, false, false);
    if (p) {
        times(h, r, r->a, r->phi_q, r->phi_k, Q, p->T, h->F, true, false);
        mask(r->a, p);
        times(h, r, r->sum, r->a, r->v_rows, Q, D1, p->T, false, true);
    }
    for (int64_t i = 0; i < Q; i++) {
        const float *n = r->sum + i * D1, inv = n[h->D] > 0.0f ? 1.0f / n[h->D] : 0.0f;
        float dot = 0;

        for (int64_t d = 0; d < h->D; d++) {
            dn[i * D1 + d] = dy[i * h->q->cols + d] * inv;
            dot += dn[i * D1 + d] * n[d];
        }
        dn[i * D1 + h->D] = -dot * inv;
    }
    if (!p) outer(h, r, r->rev, r->phi_q, h->F, dn, D1, D1, Q);
    times(h, r, r->d_phi, dn, r->s, Q, h->F, D1, true, false);
    if (p) {
        times(h, r, r->b, dn, r->v_rows, Q, p->T, D1, true, false);
        mask(r->b, p);
        times(h, r, r->d_phi, r->b, r->phi_k, Q, h->F, p->T, false, true);
    }
    through_map(h, r, r->phi_q, xc_seq_data(h->q, s, head * h->D) + q0 * h->q->cols, j->c->d_in[0] ? j->c->d_in[0] + at : NULL, h->q->cols, Q, head, dw);
}

/* Keys of a piece: dphi(k), dk and dv from rev (and, with causal, the queries of the piece, which then join rev). */
static void keys(const struct job *j, const struct room *r, int64_t s, int64_t head, const struct piece *p, float *dw)
{
    const struct xc_hedgehog *h = &j->h;
    const int64_t g = head / (h->heads / h->kv), at = (h->k->rag->start[s] + p->k0) * h->k->cols + g * h->D, D1 = h->D1;
    const float *dn = j->dn + (head * h->q->rows + h->q->rag->start[s] + p->q0) * D1;
    float *dv = j->c->d_in[2] ? j->c->d_in[2] + at : NULL;

    load_keys(h, r, s, head, p->k0, p->T);
    times(h, r, r->sum, r->phi_k, r->rev, p->T, D1, h->F, false, false); /* d[v,1] */
    times(h, r, r->d_phi, r->v_rows, r->rev, p->T, h->F, D1, true, false);
    if (h->attr->causal && p->Q) {
        load_queries(h, r, s, head, p->q0, p->Q);
        times(h, r, r->a, r->phi_q, r->phi_k, p->Q, p->T, h->F, true, false);
        mask(r->a, p);
        outer(h, r, r->sum, r->a, p->T, dn, D1, D1, p->Q);
        times(h, r, r->b, dn, r->v_rows, p->Q, p->T, D1, true, false);
        mask(r->b, p);
        outer(h, r, r->d_phi, r->b, p->T, r->phi_q, h->F, h->F, p->Q);
        outer(h, r, r->rev, r->phi_q, h->F, dn, D1, D1, p->Q);
    }
    for (int64_t i = 0; dv && i < p->T; i++)
        for (int64_t d = 0; d < h->D; d++) dv[i * h->v->cols + d] += r->sum[i * D1 + d];
    through_map(h, r, r->phi_k, xc_seq_data(h->k, s, g * h->D) + p->k0 * h->k->cols, j->c->d_in[1] ? j->c->d_in[1] + at : NULL, h->k->cols, p->T, head, dw);
}

/* Item: (sequence, head of keys). */
static void item(void *arg, int64_t i, int thread)
{
    const struct job *j = arg;
    const struct xc_hedgehog *h = &j->h;
    const int64_t s = i / h->kv, g = i % h->kv, group = h->heads / h->kv, n_q = xc_seq_rows(h->q, s), n_k = xc_seq_rows(h->k, s), last = n_k ? (n_k - 1) / CHUNK * CHUNK : -1;
    struct room r;

    lay(h, &r, j->scratch + thread * j->each);
    for (int64_t head = g * group; head < (g + 1) * group; head++) {
        float *dw = j->dw ? j->dw + (i * group + head - g * group) * h->H * h->D : NULL;

        memset(r.s, 0, (size_t)(h->F * h->D1) * sizeof *r.s);
        memset(r.rev, 0, (size_t)(h->F * h->D1) * sizeof *r.rev);
        for (int64_t k0 = 0; k0 < n_k; k0 += CHUNK) {
            const struct piece p = piece_at(h, s, k0);

            load_keys(h, &r, s, head, k0, p.T);
            if (h->attr->causal && p.Q) queries(j, &r, s, head, p.q0, p.Q, &p, dw);
            outer(h, &r, r.s, r.phi_k, h->F, r.v_rows, h->D1, h->D1, p.T);
        }
        for (int64_t q0 = 0; !h->attr->causal && q0 < n_q; q0 += CHUNK) queries(j, &r, s, head, q0, xc_min_i64(CHUNK, n_q - q0), NULL, dw);
        for (int64_t k0 = last; k0 >= 0; k0 -= CHUNK) {
            const struct piece p = piece_at(h, s, k0);

            keys(j, &r, s, head, &p, dw);
        }
    }
}

static enum xc_status hedgehog_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    struct job j = { .c = c };
    struct room r;
    const struct xc_hedgehog *h = &j.h;

    XC_TRY(xc_hedgehog_open(&j.h, c->op, err));
    const int64_t items = (int64_t)h->q->rag->n_seq * h->kv, maps = items * (h->heads / h->kv), size = h->H * h->D;

    for (int i = 0; i < 3; i++)
        if (c->d_in[i] && c->fresh[i]) memset(c->d_in[i], 0, (size_t)(c->op->in[i]->rows * c->op->in[i]->cols) * sizeof(float));
    j.each = lay(h, &r, NULL);
    XC_TRY(xc_grad_scratch(c, &j.scratch, (size_t)(j.each * xc_pool_threads(c->op->pool)) * sizeof(float), err));
    XC_TRY(xc_grad_scratch(c, &j.dn, (size_t)(h->heads * h->q->rows * h->D1 + 16) * sizeof(float), err));
    if (c->d_tensor[3]) {
        XC_TRY(xc_grad_scratch(c, &j.dw, (size_t)(maps * size + 16) * sizeof(float), err));
        memset(j.dw, 0, (size_t)(maps * size) * sizeof(float));
    }
    xc_pool_run(c->op->pool, item, &j, items);
    for (int64_t m = 0; j.dw && m < maps; m++) {
        float *to = c->d_tensor[3] + m % h->heads * h->w_head;

        for (int64_t k = 0; k < size; k++) to[k] += j.dw[m * size + k];
    }
    return XC_OK;
}

const struct xc_grad_attention xc_grad_attention_hedgehog = { .kind = "hedgehog", .backward = hedgehog_backward };
