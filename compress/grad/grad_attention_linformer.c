/* attention, kind linformer: keys and values are mixed again, attention over the slots is differentiated tile by tile (attention_tile.h), and
 * what arrives at the slots goes back through the mixing (grad_mix.h). */
#include <string.h>

#include "compress/grad/attention_tile.h"
#include "compress/grad/grad_attention.h"
#include "compress/grad/grad_mix.h"
#include "runtime/graph/attention/keys.h"
#include "runtime/graph/ops/mix.h"

enum { T_MAX = XC_GRAD_TILE };

struct linformer {
    const struct xc_grad_ctx *c;
    const struct xc_view *q, *k, *v;
    int64_t D, heads, kv, slots, each;
    float scale;
    struct xc_mix mix[2];
    float *mixed[2], *d_mixed[2]; /* keys, values: (n_seq * kv, slots, D) */
    int32_t *row;                 /* 0, 1, 2, ... */
    float *zero;                  /* every key is seen */
    float *scratch;
};

/* Item: (sequence, head of keys). */
static void item(void *arg, int64_t i, int thread)
{
    const struct linformer *l = arg;
    const struct xc_grad_ctx *c = l->c;
    const int64_t s = i / l->kv, g = i % l->kv, group = l->heads / l->kv, D = l->D, n_q = xc_seq_rows(l->q, s), n_k = xc_seq_rows(l->k, s), size = l->slots * D;
    const struct xc_grad_keys keys = { .row = l->row, .pos = l->zero, .low = l->zero, .high = l->zero, .n = l->slots };

    for (int which = 0; which < 2; which++) {
        const struct xc_view *x = which ? l->v : l->k;

        for (int64_t c0 = 0; c0 < D; c0 += XC_MIX_COLS)
            xc_mix_part(&l->mix[which], l->mixed[which] + i * size + c0, D, xc_seq_data(x, s, g * D + c0), x->cols, n_k, xc_min_i64(XC_MIX_COLS, D - c0),
                        l->mix[which].rows > l->slots ? g * l->slots : 0, l->slots, l->scratch + thread * l->each);
        memset(l->d_mixed[which] + i * size, 0, (size_t)size * sizeof(float));
    }
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        const int64_t at = (int64_t)l->q->rag->start[s] * l->q->cols + h * D;
        struct xc_grad_tile t = { .kern = c->op->kern, .D = D, .most = l->slots, .scale = l->scale, .q_pos = l->zero, .scratch = l->scratch + thread * l->each,
                                  .q = { .x = (const float *)l->q->data + at, .d = c->d_in[0] ? c->d_in[0] + at : NULL, .ld = l->q->cols },
                                  .k = { .x = l->mixed[0] + i * size, .d = l->d_mixed[0] + i * size, .ld = D },
                                  .v = { .x = l->mixed[1] + i * size, .d = l->d_mixed[1] + i * size, .ld = D }, .o = { .x = c->d_out[0] + at, .ld = l->q->cols } };

        for (int64_t r = 0; c->d_in[0] && c->fresh[0] && r < n_q; r++) memset(t.q.d + r * t.q.ld, 0, (size_t)D * sizeof(float));
        for (int64_t row0 = 0; row0 < n_q; row0 += T_MAX) {
            t.T = xc_min_i64(T_MAX, n_q - row0);
            t.q_row = l->row + row0;
            xc_grad_tile_begin(&t);
            xc_grad_tile_measure(&t, &keys);
            xc_grad_tile_apply(&t, &keys, true);
        }
    }
}

static enum xc_status through_mix(const struct linformer *l, struct xc_err *err)
{
    const struct xc_grad_ctx *c = l->c;

    for (int which = 0; which < 2; which++) {
        const struct xc_view *x = which ? l->v : l->k;
        const int e = which && c->op->tensor[4] ? 4 : 3;

        if (c->d_in[1 + which] && c->fresh[1 + which]) memset(c->d_in[1 + which], 0, (size_t)(x->rows * x->cols) * sizeof(float));
        for (int64_t i = 0; i < x->rag->n_seq * l->kv; i++) {
            const int64_t s = i / l->kv, g = i % l->kv, col = g * l->D, row0 = l->mix[which].rows > l->slots ? g * l->slots : 0, n_max = l->mix[which].n_max;
            const int64_t at = (int64_t)x->rag->start[s] * x->cols + col;

            if (xc_seq_rows(x, s) == 0) continue;
            XC_TRY(xc_grad_mix(c, &(struct xc_grad_mix){ .e = l->mix[which].e + row0 * n_max, .de = c->d_tensor[e] ? c->d_tensor[e] + row0 * n_max : NULL, .n_max = n_max, .k = l->slots,
                                                          .x = (const float *)x->data + at, .dx = c->d_in[1 + which] ? c->d_in[1 + which] + at : NULL, .ldx = x->cols,
                                                          .n = xc_seq_rows(x, s), .C = l->D, .dy = l->d_mixed[which] + i * l->slots * l->D, .ld_dy = l->D }, err));
        }
    }
    return XC_OK;
}

static enum xc_status linformer_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->op->attr;
    struct linformer l = { .c = c, .q = c->op->in[0], .k = c->op->in[1], .v = c->op->in[2], .heads = attr->heads, .kv = xc_attention_kv_heads(attr),
                           .D = c->op->in[0]->cols / attr->heads, .slots = attr->slots ? attr->slots : c->op->tensor[3]->dim[0] };
    const int64_t items = l.q->rag->n_seq * l.kv;
    int64_t longest = 0, rows;

    l.scale = xc_attention_scale(attr, l.D);
    for (int32_t s = 0; s < l.q->rag->n_seq; s++) longest = xc_max_i64(longest, xc_max_i64(xc_seq_rows(l.q, s), xc_seq_rows(l.k, s)));
    rows = xc_max_i64(longest, l.slots) + T_MAX;
    for (int which = 0; which < 2; which++) {
        XC_TRY(xc_mix_open(&l.mix[which], c->op, which && c->op->tensor[4] ? c->op->tensor[4] : c->op->tensor[3], false, longest, err));
        XC_TRY(xc_grad_scratch(c, &l.mixed[which], (size_t)(items * l.slots * l.D + 64) * sizeof(float), err));
        XC_TRY(xc_grad_scratch(c, &l.d_mixed[which], (size_t)(items * l.slots * l.D + 64) * sizeof(float), err));
    }
    XC_TRY(xc_grad_scratch(c, &l.row, (size_t)rows * sizeof *l.row, err));
    XC_TRY(xc_grad_scratch(c, &l.zero, (size_t)rows * sizeof *l.zero, err));
    for (int64_t i = 0; i < rows; i++) l.row[i] = (int32_t)i, l.zero[i] = 0;
    l.each = xc_round_up(xc_max_i64(xc_grad_tile_floats(l.slots, l.D), (int64_t)xc_mix_scratch_bytes() / 4), 16);
    XC_TRY(xc_grad_scratch(c, &l.scratch, (size_t)(l.each * xc_pool_threads(c->op->pool)) * sizeof(float), err));
    xc_pool_run(c->op->pool, item, &l, items);
    return through_mix(&l, err);
}

const struct xc_grad_attention xc_grad_attention_linformer = { .kind = "linformer", .backward = linformer_backward };
