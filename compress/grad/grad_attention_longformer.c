/* attention, kind longformer: tiles of queries over the global keys and their window, then the global queries over all keys by their own
 * projections (attention_tile.h). An item is a sequence and a head of keys with all heads of queries that share it: each gradient is summed by
 * one thread, in a fixed order. Memory is linear in the longest sequence. */
#include <math.h>
#include <string.h>

#include "compress/grad/attention_tile.h"
#include "compress/grad/grad_attention.h"
#include "runtime/graph/attention/longformer_fold.h"
#include "runtime/graph/attention/longformer_span.h"

enum { T_MAX = XC_GRAD_TILE, MOST_GLOBAL = 1024 }; /* all keys of a global query go in lists of so many */

struct longformer {
    const struct xc_grad_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k;
    int64_t D, heads, kv, dilation, longest, most, each, tile_floats;
    const int32_t *window; /* (heads) */
    const float *span;     /* (heads); NULL = windows are whole */
    double *d_span;        /* (sequences, heads); behind the threads' scratch */
    float scale;
    float *scratch; /* by thread: the tile's, then the lists */
};

/* A thread's lists, behind its tile's scratch. */
struct lists {
    int32_t *row, *q_row, *global; /* (most) (T) (longest + 16) */
    float *pos, *low, *high, *q_pos;
    uint8_t *is_global; /* (longest) */
};

static struct lists lists_of(const struct longformer *l, int thread)
{
    float *p = l->scratch + thread * l->each + l->tile_floats;
    struct lists x = { .pos = p, .low = p + l->most, .high = p + 2 * l->most, .q_pos = p + 3 * l->most };

    x.row = (int32_t *)(void *)(p + 3 * l->most + T_MAX);
    x.q_row = x.row + l->most;
    x.global = x.q_row + T_MAX;
    x.is_global = (uint8_t *)(x.global + l->longest + 16);
    return x;
}

static struct xc_grad_rows_of rows_of(const struct longformer *l, int input, int32_t s, int64_t col)
{
    const struct xc_view *v = l->c->op->in[input];
    const int64_t at = (int64_t)v->rag->start[s] * v->cols + col;

    return (struct xc_grad_rows_of){ .x = (const float *)v->data + at, .d = l->c->d_in[input] ? l->c->d_in[input] + at : NULL, .ld = v->cols };
}

static void add_key(struct lists *x, struct xc_grad_keys *keys, int64_t row, float low, float high)
{
    x->row[keys->n] = (int32_t)row;
    x->pos[keys->n] = (float)row;
    x->low[keys->n] = low;
    x->high[keys->n] = high;
    keys->n++;
}

/* Queries that are not global: tiles of a unit (every d-th token). */
static void window_queries(const struct longformer *l, struct xc_grad_tile *t, struct lists *x, int64_t n, int64_t n_global, int64_t window)
{
    const int64_t d = l->dilation, w = xc_min_i64(window, n);

    for (int64_t first = 0; first < xc_min_i64(d, n); first++)
        for (int64_t rows = xc_div_up(n - first, d), row0 = 0; row0 < rows; row0 += T_MAX) {
            const int64_t row1 = xc_min_i64(row0 + T_MAX, rows), end = xc_min_i64(rows, row1 + (l->attr->causal ? 0 : w));
            struct xc_grad_keys keys = { .row = x->row, .pos = x->pos, .low = x->low, .high = x->high };

            t->T = 0;
            for (int64_t i = row0; i < row1; i++) {
                if (x->is_global[first + i * d]) continue;
                x->q_row[t->T] = (int32_t)(first + i * d);
                x->q_pos[t->T++] = (float)(first + i * d);
            }
            if (t->T == 0) continue;
            for (int64_t i = 0; i < n_global; i++) add_key(x, &keys, x->global[i], -INFINITY, l->attr->causal ? 0.0f : INFINITY);
            for (int64_t i = xc_max_i64(0, row0 - w); i < end; i++)
                if (!x->is_global[first + i * d]) add_key(x, &keys, first + i * d, -(float)(w * d), l->attr->causal ? 0.0f : (float)(w * d));
            xc_grad_tile_begin(t);
            xc_grad_tile_measure(t, &keys);
            xc_grad_tile_apply(t, &keys, true);
        }
}

static void global_queries(const struct longformer *l, struct xc_grad_tile *t, struct lists *x, int64_t n, int64_t n_global)
{
    for (int64_t row0 = 0; row0 < n_global; row0 += T_MAX) {
        t->T = xc_min_i64(T_MAX, n_global - row0);
        for (int64_t i = 0; i < t->T; i++) x->q_row[i] = x->global[row0 + i], x->q_pos[i] = (float)x->global[row0 + i];
        xc_grad_tile_begin(t);
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j0 = 0; j0 < n; j0 += MOST_GLOBAL) {
                struct xc_grad_keys keys = { .row = x->row, .pos = x->pos, .low = x->low, .high = x->high };

                for (int64_t j = j0; j < xc_min_i64(n, j0 + MOST_GLOBAL); j++) add_key(x, &keys, j, -INFINITY, l->attr->causal ? 0.0f : INFINITY);
                if (pass == 0) xc_grad_tile_measure(t, &keys);
                else xc_grad_tile_apply(t, &keys, n <= MOST_GLOBAL);
            }
    }
}

/* Item: (sequence, head of keys). */
static void item(void *arg, int64_t i, int thread)
{
    const struct longformer *l = arg;
    const struct xc_grad_ctx *c = l->c;
    const struct xc_view *flags = c->op->in[6];
    const int32_t s = (int32_t)(i / l->kv);
    const int64_t g = i % l->kv, group = l->heads / l->kv, D = l->D, n = xc_seq_rows(l->q, s);
    struct lists x = lists_of(l, thread);
    int64_t n_global = 0;

    for (int in = 0; in < 6; in++) {
        const bool of_q = in == 0 || in == 3;

        if (!c->d_in[in] || !c->fresh[in]) continue;
        for (int64_t r = 0; r < n; r++)
            memset(c->d_in[in] + (l->q->rag->start[s] + r) * c->op->in[in]->cols + g * D * (of_q ? group : 1), 0, (size_t)(D * (of_q ? group : 1)) * sizeof(float));
    }
    for (int64_t r = 0; r < n; r++) {
        x.is_global[r] = r < l->attr->global_first || (flags && ((const int32_t *)flags->data)[flags->rag->start[s] + r] != 0);
        if (x.is_global[r]) x.global[n_global++] = (int32_t)r;
    }
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        const int own = c->op->in[3] ? 3 : 0;
        const int64_t at = (int64_t)l->q->rag->start[s] * l->q->cols + h * D;
        struct xc_grad_tile t = { .kern = c->op->kern, .D = D, .most = l->most, .scale = l->scale, .q_row = x.q_row, .q_pos = x.q_pos, .scratch = l->scratch + thread * l->each,
                                  .q = rows_of(l, 0, s, h * D), .k = rows_of(l, 1, s, g * D), .v = rows_of(l, 2, s, g * D), .o = { .x = c->d_out[0] + at, .ld = l->q->cols } };

        if (l->span) t.ramp = (float)l->attr->ramp, t.span = l->span[h];
        window_queries(l, &t, &x, n, n_global, l->window[h]);
        if (l->span) l->d_span[s * l->heads + h] = t.d_span;
        t.ramp = 0;
        t.q = rows_of(l, own, s, h * D), t.k = rows_of(l, own + 1, s, g * D), t.v = rows_of(l, own + 2, s, g * D);
        global_queries(l, &t, &x, n, n_global);
    }
}

static int64_t most_globals(const struct longformer *l)
{
    const struct xc_view *flags = l->c->op->in[6];
    int64_t most = 0;

    for (int32_t s = 0; s < l->q->rag->n_seq; s++) {
        const int64_t n = xc_seq_rows(l->q, s);
        int64_t found = 0;

        for (int64_t r = 0; r < n; r++) found += r < l->attr->global_first || (flags && ((const int32_t *)flags->data)[flags->rag->start[s] + r] != 0);
        most = xc_max_i64(most, found);
    }
    return most;
}

static enum xc_status longformer_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->op->attr;
    struct longformer l = { .c = c, .attr = attr, .q = c->op->in[0], .k = c->op->in[1], .heads = attr->heads, .kv = xc_attention_kv_heads(attr),
                            .D = c->op->in[0]->cols / attr->heads, .dilation = attr->dilation > 0 ? attr->dilation : 1 };

    int64_t widest = 0, sums;

    if (xc_is_folded(c->op->node))
        return xc_fail(err, XC_E_UNSUPPORTED, "node '%s': global projections that are folded have no derivative: train first, then fold", c->op->node->name);
    l.scale = xc_attention_scale(attr, l.D);
    XC_TRY(xc_span_windows(c->op, &l.window, &l.span, err));
    for (int64_t h = 0; h < l.heads; h++) widest = xc_max_i64(widest, l.window[h]);
    for (int32_t s = 0; s < l.q->rag->n_seq; s++) l.longest = xc_max_i64(l.longest, xc_seq_rows(l.q, s));
    l.most = xc_max_i64(MOST_GLOBAL, most_globals(&l) + T_MAX + 2 * xc_min_i64(widest, l.longest));
    l.most = xc_round_up(xc_min_i64(l.most, l.longest + T_MAX), 16);
    l.tile_floats = xc_grad_tile_floats(l.most, l.D);
    l.each = xc_round_up(l.tile_floats + 4 * l.most + 2 * T_MAX + 2 * (l.longest + 64), 16);
    sums = l.span ? l.q->rag->n_seq * l.heads : 0;
    XC_TRY(xc_grad_scratch(c, &l.scratch, (size_t)(l.each * xc_pool_threads(c->op->pool)) * sizeof *l.scratch + (size_t)sums * sizeof *l.d_span, err));
    l.d_span = (double *)(void *)(l.scratch + l.each * xc_pool_threads(c->op->pool));
    memset(l.d_span, 0, (size_t)sums * sizeof *l.d_span); /* a sequence without tokens */
    xc_pool_run(c->op->pool, item, &l, l.q->rag->n_seq * l.kv);
    for (int64_t h = 0; l.span && c->d_tensor[XC_SPAN_INPUT] && h < l.heads; h++) {
        double sum = 0;

        for (int64_t s = 0; s < l.q->rag->n_seq; s++) sum += l.d_span[s * l.heads + h];
        /* of shares of the window, where they are taken as they are */
        if (l.span[h] > 0 && l.span[h] < (float)attr->window) c->d_tensor[XC_SPAN_INPUT][h] += (float)(sum * attr->window);
    }
    return XC_OK;
}

const struct xc_grad_attention xc_grad_attention_longformer = { .kind = "longformer", .backward = longformer_backward };
