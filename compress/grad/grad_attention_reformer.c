/* attention, kind reformer: one softmax over all candidates of all rounds, so the chunks of every round are measured first and applied after
 * (attention_tile.h); the places come from the same hashes as in forward, through which no gradient passes. An item is a sequence and a head. */
#include <math.h>
#include <string.h>

#include "compress/grad/attention_tile.h"
#include "compress/grad/grad_attention.h"
#include "runtime/graph/attention/lsh.h"

enum { T_MAX = XC_GRAD_TILE };

struct reformer {
    const struct xc_grad_ctx *c;
    const struct xc_attr_attention *attr;
    struct xc_lsh lsh;
    int64_t D, longest, most, tile_floats, each; /* most: candidates of a chunk; each: floats of a thread */
    float scale;
    float *scratch;
};

struct sums { /* of a query, over the rounds so far */
    double sum, delta;
    float max;
};

static struct xc_grad_rows_of rows_of(const struct reformer *r, int input, int64_t s, int64_t col)
{
    const struct xc_view *v = r->c->op->in[input];
    const int64_t at = (int64_t)v->rag->start[s] * v->cols + col;

    return (struct xc_grad_rows_of){ .x = (const float *)v->data + at, .d = r->c->d_in[input] ? r->c->d_in[input] + at : NULL, .ld = v->cols };
}

/* Item: (sequence, head). */
static void item(void *arg, int64_t i, int thread)
{
    const struct reformer *r = arg;
    const struct xc_grad_ctx *c = r->c;
    const struct xc_view *q = c->op->in[0];
    const int64_t s = i / r->attr->heads, head = i % r->attr->heads, n = xc_seq_rows(q, s), rounds = xc_lsh_rounds(&r->lsh, n), m = r->attr->chunk, D = r->D;
    const int64_t each = xc_div_up(n, m), before = each > 1 ? r->attr->before : 0, after = each > 1 ? r->attr->after : 0;
    float *f = r->scratch + thread * r->each + r->tile_floats, *pos = f, *low = pos + r->most, *high = low + r->most, *q_pos = high + r->most;
    struct sums *sums = (struct sums *)(void *)(q_pos + T_MAX);
    int32_t *row = (int32_t *)(void *)(sums + r->longest), *order = row + r->most, *room = order + r->lsh.rounds * r->longest;
    struct xc_grad_tile t = { .kern = c->op->kern, .D = D, .most = r->most, .scale = r->scale, .own = r->lsh.panels != NULL, .own_score = -1e5f, .unit_keys = r->lsh.panels != NULL,
                              .q_pos = q_pos, .scratch = r->scratch + thread * r->each, .q = rows_of(r, 0, s, head * D), .k = rows_of(r, 1, s, head * D),
                              .v = rows_of(r, 2, s, head * D), .o = { .x = c->d_out[0] + (int64_t)q->rag->start[s] * q->cols + head * D, .ld = q->cols } };

    for (int in = 0; in < 3; in++)
        for (int64_t k = 0; c->d_in[in] && c->fresh[in] && k < n; k++) memset(c->d_in[in] + ((int64_t)q->rag->start[s] + k) * q->cols + head * D, 0, (size_t)D * sizeof(float));
    if (n == 0) return;
    xc_lsh_order(&r->lsh, order, room, s, head);
    for (int64_t k = 0; k < n; k++) sums[k] = (struct sums){ .max = -1e30f };
    for (int pass = 0; pass < 2; pass++)
        for (int64_t at = 0; at < each * rounds; at++) {
            struct xc_grad_keys keys = { .row = row, .pos = pos, .low = low, .high = high };
            int64_t count;

            for (int64_t k = at - before; k <= at + after; k++) {
                const int32_t *from = xc_lsh_chunk(order, n, rounds, m, k, &count);

                for (int64_t j = 0; j < count; j++, keys.n++) {
                    row[keys.n] = from[j];
                    pos[keys.n] = (float)from[j];
                    low[keys.n] = -INFINITY;
                    high[keys.n] = r->attr->causal ? 0.0f : INFINITY;
                }
            }
            const int32_t *mine = xc_lsh_chunk(order, n, rounds, m, at, &count);

            for (int64_t row0 = 0; row0 < count; row0 += T_MAX) {
                t.T = xc_min_i64(T_MAX, count - row0);
                t.q_row = mine + row0;
                for (int64_t k = 0; k < t.T; k++) q_pos[k] = (float)t.q_row[k];
                xc_grad_tile_begin(&t);
                for (int64_t k = 0; k < t.T; k++) t.max[k] = sums[t.q_row[k]].max, t.sum[k] = sums[t.q_row[k]].sum, t.delta[k] = sums[t.q_row[k]].delta;
                if (pass == 1) {
                    xc_grad_tile_apply(&t, &keys, false);
                    continue;
                }
                xc_grad_tile_measure(&t, &keys);
                for (int64_t k = 0; k < t.T; k++) sums[t.q_row[k]] = (struct sums){ .max = t.max[k], .sum = t.sum[k], .delta = t.delta[k] };
            }
        }
}

static enum xc_status reformer_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->op->attr;
    const struct xc_view *q = c->op->in[0];
    struct reformer r = { .c = c, .attr = attr, .D = q->cols / attr->heads };

    r.scale = xc_attention_scale(attr, r.D);
    for (int32_t s = 0; s < q->rag->n_seq; s++) r.longest = xc_max_i64(r.longest, xc_seq_rows(q, s));
    XC_TRY(xc_lsh_open(&r.lsh, c->op, err));
    r.most = xc_round_up(xc_min_i64(attr->chunk, r.longest) * (1 + attr->before + attr->after), 16);
    r.tile_floats = xc_grad_tile_floats(r.most, r.D);
    r.each = xc_round_up(r.tile_floats + 4 * r.most + T_MAX + 6 * r.longest + r.lsh.rounds * r.longest + xc_lsh_room(&r.lsh, r.longest) + 64, 16);
    XC_TRY(xc_grad_scratch(c, &r.scratch, (size_t)(r.each * xc_pool_threads(c->op->pool)) * sizeof(float), err));
    xc_pool_run(c->op->pool, item, &r, (int64_t)q->rag->n_seq * attr->heads);
    return XC_OK;
}

/* The buckets. */
static int64_t reformer_decisions(const struct xc_node *node)
{
    const struct xc_attr_attention *attr = node->attr;

    if (node->n_in < 4 || node->in[3].kind != XC_REF_TENSOR) return 0;
    return xc_lsh_buckets(attr) <= UINT16_MAX + 1 ? (int64_t)attr->heads * attr->rounds : -1;
}

const struct xc_grad_attention xc_grad_attention_reformer = { .kind = "reformer", .backward = reformer_backward, .decisions = reformer_decisions };
