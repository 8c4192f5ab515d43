/* attention, kind dense: softmax(scale Q K^T + B) V. By tiles of queries, never an N x N matrix: a tile's probabilities P (T, n) are computed
 * again from its scores, as in FlashAttention (Dao 2022, arXiv:2205.14135):
 *
 *   dV += P^T dO,   dP = dO V^T,   dS = P * (dP - rowsum(P * dP)),   dQ += scale dS K,   dK += scale dS^T Q,   dB_ij += dS_ij by distance
 *
 * With dropout, whose factors F are 0 or 1/(1-p):   O = (P * F) V,   dV += (P * F)^T dO,   dP = F * (dO V^T);   F is drawn again.
 *
 * An item is a sequence and one head of keys with all heads of queries that share it, so every gradient is summed by one thread, tiles in
 * ascending order. Memory per thread is linear in the longest sequence. */
#include <math.h>
#include <string.h>

#include "compress/grad/grad_attention.h"
#include "compress/grad/loops.h"

#define TILE 64

struct dense {
    const struct xc_grad_ctx *c;   /* backward */
    const struct xc_op_ctx *op;
    const struct xc_dropout_probs *drop;
    const struct xc_attr_attention *attr;
    int64_t D, kv, longest;
    float scale;
    const float *bias; /* (1 or heads, 2L-1) or NULL */
    int64_t bias_head, L;
    float *scratch;    /* by thread */
    int64_t each;      /* floats */
};

/* What a thread works in. */
struct work {
    float *k_rows, *v_rows;   /* panels: scores, dP */
    float *k_cols;            /* panel: dQ */
    float *q_cols, *o_cols;   /* panels of a tile: dK, dV */
    float *p, *ds;            /* (TILE, n) */
    uint8_t *mask;            /* (TILE, n / 8) */
};

struct sizes {
    int64_t panel, tile, strip, mask, all; /* floats */
};

static struct sizes sizes_of(int64_t n, int64_t D)
{
    struct sizes s = { .panel = xc_round_up(xc_max_i64(xc_grad_panel_floats(n, D), xc_grad_panel_floats(D, n)), 16), .tile = xc_grad_panel_floats(D, TILE),
                       .strip = xc_round_up(TILE * n, 16), .mask = xc_round_up(TILE * xc_div_up(n, 8) / 4, 16) };

    s.all = 3 * s.panel + 2 * s.tile + 2 * s.strip + s.mask;
    return s;
}

static struct work work_in(float *p, int64_t n, int64_t D)
{
    const struct sizes s = sizes_of(n, D);

    float *const q = p + 3 * s.panel, *const strips = q + 2 * s.tile;

    return (struct work){ .k_rows = p, .v_rows = p + s.panel, .k_cols = p + 2 * s.panel, .q_cols = q, .o_cols = q + s.tile, .p = strips, .ds = strips + s.strip,
                          .mask = (uint8_t *)(strips + 2 * s.strip) };
}

/* out (R,N) = or += x (R,K) w; with step x is transposed: (K, step) */
static void product(const struct dense *d, float *out, int64_t ld_out, const float *x, int64_t ldx, int64_t step, const float *w, int64_t R, int64_t N, int64_t K, bool add)
{
    const struct xc_gemm_f32 g = { .x = x, .ldx = step ? 16 : ldx, .x_step = step, .w = w, .N = N, .K = K, .ep = { .residual = add ? out : NULL, .ld_residual = ld_out, .out = out, .ld_out = ld_out } };

    d->op->kern->gemm_f32(&g, 0, R, 0, N);
}

/* Scores of query `row` (of n_q) of sequence s to probabilities; what it does not see becomes 0. Returns how many it sees. */
static int64_t probabilities(const struct dense *d, float *p, int64_t h, int64_t row, int64_t n_q, int64_t n)
{
    const int64_t seen = d->attr->causal ? xc_min_i64(n, row + n - n_q + 1) : n;
    const float *b = d->bias ? d->bias + h * d->bias_head + d->L - 1 - (row + n - n_q) : NULL;

    for (int64_t j = 0; j < seen; j++) p[j] = p[j] * d->scale + (b ? b[j] : 0.0f);
    d->op->kern->softmax_rows(p, p, 1, seen);
    for (int64_t j = seen; j < n; j++) p[j] = 0.0f;
    return seen;
}

/* The place of a row of probabilities among all of the batch. */
static uint64_t place(const struct dense *d, int64_t h, int64_t row) { return (uint64_t)(h * d->op->in[0]->rows + row); }

/* One tile: queries row0 .. row0 + T - 1 of head h in sequence s. */
static void tile(const struct dense *d, const struct work *w, int32_t s, int64_t h, int64_t row0, int64_t T)
{
    const struct xc_grad_ctx *c = d->c;
    const struct xc_view *q = c->op->in[0], *k = c->op->in[1];
    const int64_t q0 = q->rag->start[s], n_q = q->rag->start[s + 1] - q0, k0 = k->rag->start[s], n = k->rag->start[s + 1] - k0;
    const int64_t D = d->D, g = h / (d->attr->heads / d->kv), at = (q0 + row0) * q->cols + h * D, at_k = k0 * k->cols + g * D;
    const float *Q = (const float *)q->data + at, *dO = c->d_out[0] + at;
    float *db = c->d_tensor[3] ? c->d_tensor[3] + h * d->bias_head : NULL;

    product(d, w->p, n, Q, q->cols, 0, w->k_rows, T, n, D, false);
    product(d, w->ds, n, dO, q->cols, 0, w->v_rows, T, n, D, false);
    if (d->drop) xc_dropout_draw_rows(w->mask, T, n, d->drop, place(d, h, q0 + row0));
    for (int64_t i = 0; i < T; i++) {
        float *p = w->p + i * n, *ds = w->ds + i * n;
        const int64_t seen = probabilities(d, p, h, row0 + i, n_q, n), diagonal = d->L - 1 - (row0 + i + n - n_q); /* B index of key 0 */
        const uint8_t *mask = w->mask + i * xc_div_up(n, 8);

        for (int64_t j = seen; j < n; j++) ds[j] = 0.0f;
        if (d->drop) xc_dropout_apply_row(ds, mask, seen, d->drop);
        xc_loops()->softmax_grad(ds, p, seen, db ? 1.0f : d->scale);
        if (db)
            for (int64_t j = 0; j < seen; j++) {
                db[diagonal + j] += ds[j];
                ds[j] *= d->scale;
            }
        if (d->drop) xc_dropout_apply_row(p, mask, seen, d->drop); /* V met what was left of them */
    }
    if (c->d_in[0]) product(d, c->d_in[0] + at, q->cols, w->ds, n, 0, w->k_cols, T, D, n, !c->fresh[0]);
    if (c->d_in[1]) {
        xc_grad_panel_cols(w->q_cols, Q, q->cols, T, D);
        product(d, c->d_in[1] + at_k, k->cols, w->ds, 0, n, w->q_cols, n, D, T, true);
    }
    if (c->d_in[2]) {
        xc_grad_panel_cols(w->o_cols, dO, q->cols, T, D);
        product(d, c->d_in[2] + at_k, k->cols, w->p, 0, n, w->o_cols, n, D, T, true);
    }
}

static void clear_rows(float *d, int64_t ld, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++) memset(d + r * ld, 0, (size_t)C * sizeof *d);
}

/* Item: (sequence, head of keys). */
static void item(void *arg, int64_t i, int thread)
{
    const struct dense *d = arg;
    const struct xc_grad_ctx *c = d->c;
    const struct xc_view *q = c->op->in[0], *k = c->op->in[1];
    const int32_t s = (int32_t)(i / d->kv);
    const int64_t g = i % d->kv, group = d->attr->heads / d->kv, D = d->D;
    const int64_t n_q = q->rag->start[s + 1] - q->rag->start[s], k0 = k->rag->start[s], n = k->rag->start[s + 1] - k0, at = k0 * k->cols + g * D;
    struct work w;

    for (int v = 1; v < 3; v++)
        if (c->d_in[v] && c->fresh[v]) clear_rows(c->d_in[v] + at, k->cols, n, D);
    if (n == 0 && c->d_in[0] && c->fresh[0]) clear_rows(c->d_in[0] + q->rag->start[s] * q->cols + g * group * D, q->cols, n_q, group * D);
    if (n == 0 || n_q == 0) return;
    w = work_in(d->scratch + thread * d->each, n, D);
    xc_grad_panel_rows(w.k_rows, (const float *)k->data + at, k->cols, n, D);
    xc_grad_panel_rows(w.v_rows, (const float *)c->op->in[2]->data + at, k->cols, n, D);
    if (c->d_in[0]) xc_grad_panel_cols(w.k_cols, (const float *)k->data + at, k->cols, n, D);
    for (int64_t h = g * group; h < (g + 1) * group; h++)
        for (int64_t row0 = 0; row0 < n_q; row0 += TILE) tile(d, &w, s, h, row0, xc_min_i64(TILE, n_q - row0));
}

static enum xc_status dense_init(struct dense *d, const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_op_ctx *op = c->op;
    const struct xc_attr_attention *attr = op->attr;
    const struct xc_ragged *keys = op->in[1]->rag;
    const struct xc_tensor *bias = op->tensor[3];

    *d = (struct dense){ .c = c, .op = op, .drop = c->drop, .attr = attr, .D = op->in[0]->cols / attr->heads, .kv = attr->kv_heads > 0 ? attr->kv_heads : attr->heads };
    d->scale = attr->scale != 0.0f ? attr->scale : 1.0f / sqrtf((float)d->D);
    for (int32_t s = 0; s < keys->n_seq; s++) d->longest = xc_max_i64(d->longest, keys->start[s + 1] - keys->start[s]);
    d->each = sizes_of(d->longest, d->D).all;
    XC_TRY(xc_grad_scratch(c, &d->scratch, (size_t)(d->each * xc_pool_threads(op->pool)) * sizeof *d->scratch, err));
    if (!bias) return XC_OK;
    XC_TRY(xc_grad_tensor(c, &d->bias, bias, err));
    d->L = (bias->dim[1] + 1) / 2;
    d->bias_head = bias->dim[0] == 1 ? 0 : bias->dim[1];
    return XC_OK;
}

static enum xc_status dense_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_view *q = c->op->in[0];
    struct dense d;

    XC_TRY(dense_init(&d, c, err));
    if (c->d_tensor[3]) /* shared by all sequences: one after the other */
        for (int64_t i = 0; i < q->rag->n_seq * d.kv; i++) item(&d, i, 0);
    else
        xc_pool_run(c->op->pool, item, &d, q->rag->n_seq * d.kv);
    return XC_OK;
}

/* ---- forward with dropout ---- */
static void dropped_item(void *arg, int64_t i, int thread)
{
    const struct dense *d = arg;
    const struct xc_view *q = d->op->in[0], *k = d->op->in[1];
    const int32_t s = (int32_t)(i / d->attr->heads);
    const int64_t h = i % d->attr->heads, D = d->D, q0 = q->rag->start[s], n_q = q->rag->start[s + 1] - q0, k0 = k->rag->start[s], n = k->rag->start[s + 1] - k0;
    const int64_t at = q0 * q->cols + h * D, at_k = k0 * k->cols + h / (d->attr->heads / d->kv) * D;
    float *out = (float *)d->op->out[0]->data + at;
    struct work w;

    if (n == 0) clear_rows(out, q->cols, n_q, D);
    if (n == 0 || n_q == 0) return;
    w = work_in(d->scratch + thread * d->each, n, D);
    xc_grad_panel_rows(w.k_rows, (const float *)k->data + at_k, k->cols, n, D);
    xc_grad_panel_cols(w.k_cols, (const float *)d->op->in[2]->data + at_k, k->cols, n, D); /* values */
    for (int64_t row0 = 0; row0 < n_q; row0 += TILE) {
        const int64_t T = xc_min_i64(TILE, n_q - row0);

        product(d, w.p, n, (const float *)q->data + at + row0 * q->cols, q->cols, 0, w.k_rows, T, n, D, false);
        xc_dropout_draw_rows(w.mask, T, n, d->drop, place(d, h, q0 + row0));
        for (int64_t r = 0; r < T; r++) {
            float *p = w.p + r * n;
            const int64_t seen = probabilities(d, p, h, row0 + r, n_q, n);

            xc_dropout_apply_row(p, w.mask + r * xc_div_up(n, 8), seen, d->drop);
        }
        product(d, out + row0 * q->cols, q->cols, w.p, n, 0, w.k_cols, T, D, n, false);
    }
}

static enum xc_status dense_dropped(const struct xc_op_ctx *op, const struct xc_dropout_probs *drop, struct xc_err *err)
{
    const struct xc_grad_ctx c = { .op = op };
    struct dense d;

    XC_TRY(dense_init(&d, &c, err));
    d.drop = drop;
    xc_pool_run(op->pool, dropped_item, &d, op->in[0]->rag->n_seq * d.attr->heads);
    return XC_OK;
}

static int64_t what_to_leave_out(const struct xc_node *node)
{
    (void)node;
    return -1;
}

/* What adaptive leaves out and what multipole takes together changes little: their derivative is that of the whole attention. */
const struct xc_grad_attention xc_grad_attention_adaptive = { .kind = "adaptive", .backward = dense_backward, .forward_dropped = dense_dropped, .decisions = what_to_leave_out };
const struct xc_grad_attention xc_grad_attention_multipole = { .kind = "multipole", .backward = dense_backward, .forward_dropped = dense_dropped, .decisions = what_to_leave_out };
const struct xc_grad_attention xc_grad_attention_dense = { .kind = "dense", .backward = dense_backward, .forward_dropped = dense_dropped };
