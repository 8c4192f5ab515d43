/* dense: softmax(scale * Q K^T + B) V, full or causal, grouped-query heads. Vaswani et al. 2017, arXiv:1706.03762.
 *
 *   in    q (Rq, heads*D), k and v (Rk, kv*D)
 *         bias (heads or 1, 2L-1) tensor, optional: added to the scaled scores by distance, B_ij = bias[h][j - i + L-1], i and j
 *         counted from the sequence's start (T5's buckets, ALiBi); sequences of at most L keys
 *   out   y (Rq, heads*D); with causal, the queries are the last n_q of n_k keys; a query without keys gives zeros
 *
 * f32, or int8 with block-local probabilities (kernels.h, attn_s8): queries and keys are quantized per row and head, values per
 * channel and block of XC_KEY_BLOCK keys counted from the start of the sequence. Never an N x N matrix: work is shared out over
 * heads and tiles of queries, and what a tile needs of its keys is packed once, before. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/attention.h"

#define TILE 64 /* queries */

static enum xc_status dense_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->node->attr;
    const struct xc_tensor *bias;

    for (int i = 4; i < c->node->n_in; i++)
        if (c->node->in[i].kind != XC_REF_NONE) return xc_fail(err, XC_E_FORMAT, "dense attention takes q, k, v and a bias");
    if (c->node->n_in < 4 || c->node->in[3].kind == XC_REF_NONE) return XC_OK;
    XC_TRY(xc_need_tensor(c, 3, -1, -1, err));
    bias = xc_infer_tensor(c, 3);
    if (bias->rank != 2 || (bias->dim[0] != 1 && bias->dim[0] != attr->heads) || bias->dim[1] % 2 == 0)
        return xc_fail(err, XC_E_SHAPE, "attention bias '%s' must be (1 or %d heads, 2L-1 distances)", bias->name, attr->heads);
    return XC_OK;
}

static double dense_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    return (attr->causal ? 0.5 : 1.0) * 2.0 * n_q * n_k * D * attr->heads;
}

/* ---- one run: everything that tiles share ---- */
struct packed { /* one sequence's place in the packed arrays, per head */
    int64_t k, k_scale, v, v_scale, tile, chunk; /* elements before it; tiles and chunks before it, all heads */
};

struct dense {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    int64_t D, kv, L;
    int64_t below;         /* sequences of so many keys or more are left to the caller */
    float scale;
    const float *bias;     /* (1 or heads, 2L-1) f32 */
    int64_t bias_head;     /* floats from head to head */
    struct packed *seq;    /* (n_seq + 1) */
    uint8_t *scratch;      /* by thread */
    size_t scratch_each;
    /* int8 only; q head by head (heads, Rq, ldq), k and v head by head over all sequences */
    int8_t *q, *k, *v;
    float *q_scale, *k_scale, *v_scale;
    int32_t *q_sum;
    int64_t ldq;
};

static int64_t n_rows(const struct xc_view *v, int64_t s) { return (int64_t)v->rag->start[s + 1] - v->rag->start[s]; }
static const float *rows_of(const struct xc_view *v, int64_t s, int64_t col) { return (const float *)v->data + (int64_t)v->rag->start[s] * v->cols + col; }

static enum xc_status plan_sequences(struct dense *d, struct xc_err *err)
{
    const struct xc_view *q = d->c->in[0], *k = d->c->in[1];
    const int32_t n_seq = q->rag->n_seq;
    const int64_t D4 = xc_round_up(d->D, 4), D16 = xc_round_up(d->D, 16);

    d->seq = xc_run_scratch(d->c->run, ((size_t)n_seq + 1) * sizeof *d->seq);
    if (!d->seq) return xc_fail_nomem(err, ((size_t)n_seq + 1) * sizeof *d->seq);
    d->seq[0] = (struct packed){ 0 };
    for (int32_t s = 0; s < n_seq; s++) {
        const int64_t n_q = n_rows(q, s), n_k = n_rows(k, s), blocks = xc_div_up(n_k, XC_KEY_BLOCK), k16 = xc_round_up(n_k, 16);
        const struct packed *p = &d->seq[s];

        d->seq[s + 1] = *p;
        if (n_k >= d->below) continue;
        if (d->attr->causal && n_k < n_q)
            return xc_fail(err, XC_E_SHAPE, "node '%s': sequence %d has %lld queries and %lld keys, and is causal", d->c->node->name, s, (long long)n_q, (long long)n_k);
        if (d->bias && n_k > d->L)
            return xc_fail(err, XC_E_RANGE, "node '%s': sequence %d has %lld keys, its bias reaches %lld", d->c->node->name, s, (long long)n_k, (long long)d->L);
        d->seq[s + 1] = (struct packed){ .k = p->k + k16 * D4, .k_scale = p->k_scale + k16, .v = p->v + blocks * D16 * XC_KEY_BLOCK,
                                         .v_scale = p->v_scale + blocks * D16, .tile = p->tile + d->attr->heads * xc_div_up(n_q, TILE),
                                         .chunk = p->chunk + 3 * d->attr->heads * xc_div_up(xc_max_i64(n_q, n_k), XC_KEY_BLOCK) };
    }
    return XC_OK;
}

/* The sequence whose tiles (or chunks) hold an item; sequences without any are passed over. */
static int64_t sequence_of(const struct dense *d, int64_t item, bool chunks)
{
    int64_t lo = 0, hi = d->c->in[0]->rag->n_seq;

    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;

        if ((chunks ? d->seq[mid].chunk : d->seq[mid].tile) <= item) lo = mid;
        else hi = mid;
    }
    return lo;
}

/* Item: (sequence, chunk of XC_KEY_BLOCK rows; queries, keys or values; head), in this order: heads share the pages of their rows, and fetch what lies beside them. */
static void pack_rows(void *arg, int64_t item, int thread)
{
    const struct dense *d = arg;
    const struct xc_kernels *kern = d->c->kern;
    const int64_t heads = d->attr->heads, s = sequence_of(d, item, true), at = item - d->seq[s].chunk, h = at % heads, what = at / heads % 3, j0 = at / heads / 3 * XC_KEY_BLOCK;
    const struct xc_view *x = d->c->in[what];
    const int64_t n = xc_min_i64(XC_KEY_BLOCK, n_rows(x, s) - j0), D16 = xc_round_up(d->D, 16), q_at = h * x->rows + x->rag->start[s] + j0;
    const struct packed *all = &d->seq[x->rag->n_seq], *p = &d->seq[s];
    const float *rows = rows_of(x, s, h * d->D) + j0 * x->cols;

    (void)thread;
    if (n <= 0 || (what && h >= d->kv)) return;
    if (what == 0) kern->quantize_rows_s8(d->q + q_at * d->ldq, d->ldq, d->q_scale + q_at, d->q_sum + q_at, rows, x->cols, NULL, n, d->D, 0.0f);
    else if (what == 1) kern->pack_keys_s8(d->k + h * all->k + p->k + j0 * d->ldq, d->k_scale + h * all->k_scale + p->k_scale + j0, rows, x->cols, n, d->D);
    else kern->pack_values_s8(d->v + h * all->v + p->v + j0 * D16, d->v_scale + h * all->v_scale + p->v_scale + j0 / XC_KEY_BLOCK * D16, rows, x->cols, n, d->D);
}

static enum xc_status pack(struct dense *d, struct xc_err *err)
{
    struct xc_run *run = d->c->run;
    const struct xc_view *q = d->c->in[0];
    const struct packed *all = &d->seq[q->rag->n_seq];
    const size_t rows = (size_t)(d->attr->heads * q->rows), kv = (size_t)d->kv;

    d->ldq = xc_round_up(d->D, 4);
    d->q = xc_run_scratch(run, rows * (size_t)d->ldq);
    d->q_scale = xc_run_scratch(run, rows * sizeof *d->q_scale);
    d->q_sum = xc_run_scratch(run, rows * sizeof *d->q_sum);
    d->k = xc_run_scratch(run, kv * (size_t)all->k);
    d->k_scale = xc_run_scratch(run, kv * (size_t)all->k_scale * sizeof *d->k_scale);
    d->v = xc_run_scratch(run, kv * (size_t)all->v);
    d->v_scale = xc_run_scratch(run, kv * (size_t)all->v_scale * sizeof *d->v_scale);
    if (!d->q || !d->q_scale || !d->q_sum || !d->k || !d->k_scale || !d->v || !d->v_scale) return xc_fail_nomem(err, rows * (size_t)d->ldq);
    xc_pool_run(d->c->pool, pack_rows, d, all->chunk);
    return XC_OK;
}

/* Item: (sequence, head, tile of queries), in this order. */
static void attend(void *arg, int64_t item, int thread)
{
    const struct dense *d = arg;
    const struct xc_view *q = d->c->in[0], *k = d->c->in[1], *v = d->c->in[2];
    const int64_t s = sequence_of(d, item, false), n_q = n_rows(q, s), n_k = n_rows(k, s), tiles = xc_div_up(n_q, TILE), h = (item - d->seq[s].tile) / tiles;
    const int64_t row0 = (item - d->seq[s].tile) % tiles * TILE, row1 = xc_min_i64(row0 + TILE, n_q), g = h / (d->attr->heads / d->kv);
    float *out = (float *)d->c->out[0]->data + (int64_t)q->rag->start[s] * q->cols + h * d->D;
    /* bias_ij is a function of j - i alone: a leading dimension of -1 makes one vector do for all rows */
    const float *bias = d->bias ? d->bias + h * d->bias_head + d->L - 1 - (n_k - n_q) : NULL;
    void *scratch = d->scratch + (size_t)thread * d->scratch_each;

    if (n_k == 0) {
        for (int64_t r = row0; r < row1; r++) memset(out + r * q->cols, 0, (size_t)d->D * sizeof *out);
        return;
    }
    if (d->attr->quantized) {
        const struct packed *all = &d->seq[q->rag->n_seq], *p = &d->seq[s];
        const int64_t at = h * q->rows + q->rag->start[s];
        const struct xc_attn_s8 a = { .q = d->q + at * d->ldq, .ldq = d->ldq, .q_scale = d->q_scale + at, .k = d->k + g * all->k + p->k,
                                      .k_scale = d->k_scale + g * all->k_scale + p->k_scale, .v = d->v + g * all->v + p->v,
                                      .v_scale = d->v_scale + g * all->v_scale + p->v_scale, .bias = bias, .ld_bias = -1, .n_q = n_q, .n_k = n_k,
                                      .D = d->D, .scale = d->scale, .causal = d->attr->causal, .out = out, .ld_out = q->cols, .scratch = scratch };

        d->c->kern->attn_s8(&a, row0, row1);
        return;
    }
    const struct xc_attn_f32 a = { .q = rows_of(q, s, h * d->D), .k = rows_of(k, s, g * d->D), .v = rows_of(v, s, g * d->D), .ldq = q->cols, .ldk = k->cols,
                                   .ldv = v->cols, .bias = bias, .ld_bias = -1, .n_q = n_q, .n_k = n_k, .D = d->D, .scale = d->scale,
                                   .causal = d->attr->causal, .out = out, .ld_out = q->cols, .scratch = scratch };

    d->c->kern->attn_f32(&a, row0, row1);
}

static enum xc_status load_bias(struct dense *d, struct xc_err *err)
{
    const struct xc_tensor *t = d->c->tensor[3];
    const size_t bytes = t ? ((size_t)xc_tensor_count(t) + 64) * sizeof(float) : 0; /* kernels may load whole vectors */
    float *bias;

    if (!t) return XC_OK;
    bias = xc_run_scratch(d->c->run, bytes);
    if (!bias) return xc_fail_nomem(err, bytes);
    memset(bias, 0, bytes);
    XC_TRY(xc_tensor_to_f32(t, bias, err));
    d->bias = bias;
    d->L = (t->dim[1] + 1) / 2;
    d->bias_head = t->dim[0] == 1 ? 0 : t->dim[1];
    return XC_OK;
}

enum xc_status xc_attention_dense_below(const struct xc_op_ctx *c, int64_t below, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    const int threads = xc_pool_threads(c->pool);
    struct dense d = { .c = c, .attr = attr, .D = c->in[0]->cols / attr->heads, .kv = attr->kv_heads > 0 ? attr->kv_heads : attr->heads, .below = below };

    d.scale = attr->scale != 0.0f ? attr->scale : 1.0f / sqrtf((float)d.D);
    d.scratch_each = (xc_attn_scratch_bytes(d.D) + XC_ALIGN - 1) / XC_ALIGN * XC_ALIGN;
    d.scratch = xc_run_scratch(c->run, d.scratch_each * (size_t)threads);
    if (!d.scratch) return xc_fail_nomem(err, d.scratch_each * (size_t)threads);
    XC_TRY(load_bias(&d, err));
    XC_TRY(plan_sequences(&d, err));
    if (attr->quantized) XC_TRY(pack(&d, err));
    xc_pool_run(c->pool, attend, &d, d.seq[c->in[0]->rag->n_seq].tile);
    return XC_OK;
}

static enum xc_status dense_forward(const struct xc_op_ctx *c, struct xc_err *err) { return xc_attention_dense_below(c, INT64_MAX, err); }

const struct xc_attention_kind xc_attention_dense = { .name = "dense", .infer = dense_infer, .macs = dense_macs, .forward = dense_forward };
