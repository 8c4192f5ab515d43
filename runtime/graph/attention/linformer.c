/* linformer: keys and values are mixed to a fixed number of slots, over which dense attention runs. Wang et al. 2020, arXiv:2006.04768.
 *
 *   in    q (Rq, heads*D), k and v (Rk, kv*D)
 *         e (slots, n_max) or (kv*slots, n_max) tensor: of keys, for all heads or one for each
 *         f, optional, likewise: of values; without it e
 *   attr  slots; 0 = all rows of e
 *   out   y (Rq, heads*D);  K'_h = E_h K_h, V'_h = F_h V_h,  y = softmax(scale q K'^T) V'
 *
 * Sharing: none = kv*slots rows in e and f; headwise = slots rows; key-value = no f; layerwise = the same tensor in every layer. A sequence of n
 * tokens uses the first n columns; more than n_max is an error. Not causal: a slot holds all tokens.
 *
 * Where all heads share one projection, the plain ops mix_rows, linear and dense attention do the same with fewer products (mix_rows.c). */
#include <string.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/keys.h"
#include "runtime/graph/ops/mix.h"

#define TILE 64 /* queries */

static enum xc_status linformer_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->node->attr;
    int64_t slots = attr->slots;

    if (attr->causal) return xc_fail(err, XC_E_UNSUPPORTED, "linformer attention cannot be causal: a slot holds all tokens");
    for (int i = 3; i < c->node->n_in; i++) {
        if (i > 3 && c->node->in[i].kind == XC_REF_NONE) continue;
        if (i > 4) return xc_fail(err, XC_E_FORMAT, "linformer attention takes q, k, v, e and f");
        XC_TRY(xc_need_tensor(c, i, -1, -1, err));
        const struct xc_tensor *e = xc_infer_tensor(c, i);

        if (slots == 0) slots = e->dim[0];
        if (e->rank != 2 || (e->dim[0] != slots && e->dim[0] != slots * xc_attention_kv_heads(attr)))
            return xc_fail(err, XC_E_SHAPE, "linformer projection '%s' must have %lld slots, or as many for each of %lld heads", e->name, (long long)slots,
                           (long long)xc_attention_kv_heads(attr));
    }
    if (c->node->n_in < 4) return xc_fail(err, XC_E_FORMAT, "linformer attention needs a projection of the keys");
    return XC_OK;
}

static double linformer_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    return 2.0 * (n_q + n_k) * (double)attr->slots * D * attr->heads;
}

struct linformer {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k, *v;
    int64_t D, heads, kv, slots;
    float scale;
    struct xc_mix e, f;
    float *mk, *mv;       /* (n_seq * kv, slots, D) mixed keys and values */
    int64_t *tile;        /* (n_seq + 1) */
    uint8_t *scratch;
    size_t each;
    struct xc_keys_s8 keys; /* a set a sequence */
};

/* Item: (sequence, head of keys): mixes its keys and values, and packs them. */
static void mix_head(void *arg, int64_t item, int thread)
{
    const struct linformer *l = arg;
    const int64_t s = item / l->kv, g = item % l->kv, D = l->D, n = xc_seq_rows(l->k, s), e_row = l->e.rows > l->slots ? g * l->slots : 0, f_row = l->f.rows > l->slots ? g * l->slots : 0;
    float *mk = l->mk + item * l->slots * D, *mv = l->mv + item * l->slots * D;
    void *scratch = l->scratch + (size_t)thread * l->each;

    for (int64_t c0 = 0; c0 < D; c0 += XC_MIX_COLS) {
        const int64_t C = xc_min_i64(XC_MIX_COLS, D - c0);

        xc_mix_part(&l->e, mk + c0, D, xc_seq_data(l->k, s, g * D + c0), l->k->cols, n, C, e_row, l->slots, scratch);
        xc_mix_part(&l->f, mv + c0, D, xc_seq_data(l->v, s, g * D + c0), l->v->cols, n, C, f_row, l->slots, scratch);
    }
    if (l->attr->quantized) xc_keys_pack(&l->keys, l->c->kern, g, s, mk, D, mv, D);
}

/* Item: (sequence, head, tile of queries), in this order. */
static void attend(void *arg, int64_t item, int thread)
{
    const struct linformer *l = arg;
    const int64_t s = xc_find_share(l->tile, l->q->rag->n_seq, item), n_q = xc_seq_rows(l->q, s), tiles = xc_div_up(n_q, TILE), D = l->D;
    const int64_t h = (item - l->tile[s]) / tiles, g = h / (l->heads / l->kv), row0 = (item - l->tile[s]) % tiles * TILE, rows = xc_min_i64(TILE, n_q - row0);
    uint8_t *scratch = l->scratch + (size_t)thread * l->each;
    const float *q = xc_seq_data(l->q, s, h * D) + row0 * l->q->cols;
    float *out = (float *)l->c->out[0]->data + (l->q->rag->start[s] + row0) * l->q->cols + h * D;

    if (l->attr->quantized) {
        const struct xc_key_run_s8 run = xc_keys_run(&l->keys, g, s, 0, l->slots);
        const struct xc_queries_s8 t = xc_tile_queries(scratch + xc_round_up((int64_t)xc_attn_scratch_bytes(D), XC_ALIGN), l->c->kern, q, l->q->cols, rows, D);
        const struct xc_attn_s8 a = { .q = t.q, .ldq = t.ld, .q_scale = t.scale, .k = run.k, .k_scale = run.k_scale, .v = run.v, .v_scale = run.v_scale, .n_q = rows, .n_k = l->slots,
                                      .D = D, .scale = l->scale, .out = out, .ld_out = l->q->cols, .scratch = scratch };

        l->c->kern->attn_s8(&a, 0, rows);
        return;
    }
    const int64_t at = (s * l->kv + g) * l->slots * D;
    const struct xc_attn_f32 a = { .q = q, .k = l->mk + at, .v = l->mv + at, .ldq = l->q->cols, .ldk = D, .ldv = D, .n_q = rows, .n_k = l->slots, .D = D, .scale = l->scale, .out = out,
                                   .ld_out = l->q->cols, .scratch = scratch };

    l->c->kern->attn_f32(&a, 0, rows);
}

static enum xc_status linformer_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    const struct xc_tensor *e = c->tensor[3], *f = c->tensor[4] ? c->tensor[4] : c->tensor[3];
    struct linformer l = { .c = c, .attr = attr, .q = c->in[0], .k = c->in[1], .v = c->in[2], .heads = attr->heads, .kv = xc_attention_kv_heads(attr),
                           .D = c->in[0]->cols / attr->heads, .slots = attr->slots ? attr->slots : e->dim[0] };
    const int64_t n_seq = l.q->rag->n_seq;
    const size_t mixed = (size_t)(n_seq * l.kv * l.slots * l.D + 64) * sizeof(float);
    int64_t longest = 0;

    l.scale = xc_attention_scale(attr, l.D);
    for (int64_t s = 0; s < n_seq; s++) {
        longest = xc_max_i64(longest, xc_seq_rows(l.k, s));
        if (xc_seq_rows(l.k, s) != xc_seq_rows(l.v, s)) return xc_fail(err, XC_E_SHAPE, "node '%s': sequence %lld has not as many keys as values", c->node->name, (long long)s);
    }
    XC_TRY(xc_mix_open(&l.e, c, e, attr->quantized, longest, err));
    if (f == e) l.f = l.e;
    else XC_TRY(xc_mix_open(&l.f, c, f, attr->quantized, longest, err));
    l.mk = xc_run_scratch(c->run, mixed);
    l.mv = xc_run_scratch(c->run, mixed);
    l.tile = xc_run_scratch(c->run, (size_t)(n_seq + 1) * sizeof *l.tile);
    if (!l.mk || !l.mv || !l.tile) return xc_fail_nomem(err, mixed);
    l.tile[0] = 0;
    for (int64_t s = 0; s < n_seq; s++) l.tile[s + 1] = l.tile[s] + l.heads * xc_div_up(xc_seq_rows(l.q, s), TILE);
    XC_TRY(xc_attention_scratch(c, l.D, xc_mix_scratch_bytes() + xc_tile_bytes(TILE, l.D), &l.scratch, &l.each, err));
    if (attr->quantized) {
        XC_TRY(xc_keys_sets(&l.keys, c->run, n_seq, err));
        for (int64_t s = 0; s < n_seq; s++) l.keys.set[s].rows = l.slots;
        XC_TRY(xc_keys_room(&l.keys, c->run, l.kv, l.D, err));
    }
    xc_pool_run(c->pool, mix_head, &l, n_seq * l.kv);
    xc_pool_run(c->pool, attend, &l, l.tile[n_seq]);
    return XC_OK;
}

const struct xc_attention_kind xc_attention_linformer = { .name = "linformer", .infer = linformer_infer, .macs = linformer_macs, .forward = linformer_forward };
