/* longformer: a sliding window and a few global tokens. Beltagy et al. 2020, arXiv:2004.05150.
 *
 *   in    q (R, heads*D), k and v (R, kv*D), of one row space
 *         qg, kg, vg, optional, together: the projections that global queries use; without them q, k, v
 *         or in their place what they are made of: x (R, C) and tensors, for few global tokens (longformer_fold.h)
 *         global (R, 1) int32, optional: nonzero rows are global
 *         span (heads) tensor, optional: each head's window as a share z of `window`, without dilation (longformer_span.c)
 *   attr  window      tokens to each side (half of Hugging Face's attention_window); with dilation d, of every d-th token
 *         ramp        with spans: 0 = a head's window is z * window, rounded; else keys fade out over so many tokens behind it
 *         dilation    0 or 1 = none
 *         global_first  the first so many tokens of every sequence are global too
 *   out   y (R, heads*D)
 *
 * A token that is not global sees the global tokens and those of its window that are not global, all by q, k, v, in one softmax. A global
 * token sees every token, by qg, kg, vg. With causal, nobody sees a later token.
 *
 * Dilation cuts a sequence into units, each of every d-th token, in which the window is an ordinary one; rows are read and written d rows
 * apart. Runs of keys (kernels.h, attn_runs): the global tokens, gathered; then the window's, whose blocks count from the start of the unit. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/longformer_fold.h"
#include "runtime/graph/attention/longformer_span.h"

#define TILE XC_SPAN_TILE /* queries */
#define LONGEST (1 << 24) /* positions are exact floats */

static enum xc_status longformer_infer(const struct xc_infer *c, struct xc_err *err)
{
    static const int like[] = { 0, 1, 2 };
    const struct xc_value *q = xc_infer_value(c, 0), *k = xc_infer_value(c, 1);
    const bool folded = xc_is_folded(c->node), own = !folded && c->node->n_in > 3 && c->node->in[3].kind != XC_REF_NONE;

    if (q->space != k->space) return xc_fail(err, XC_E_FORMAT, "longformer attention needs queries and keys of one row space");
    for (int i = 3; i < 6 && !folded; i++) {
        if (own != (c->node->n_in > i && c->node->in[i].kind != XC_REF_NONE)) return xc_fail(err, XC_E_FORMAT, "longformer attention takes all of qg, kg and vg, or none");
        if (!own) continue;
        XC_TRY(xc_need_value(c, i, XC_DTYPE_F32, err));
        if (xc_infer_value(c, i)->cols != xc_infer_value(c, like[i - 3])->cols || xc_infer_value(c, i)->space != q->space)
            return xc_fail(err, XC_E_SHAPE, "longformer attention: qg, kg and vg must be like q, k and v");
    }
    if (c->node->n_in > 6 && c->node->in[6].kind != XC_REF_NONE) {
        XC_TRY(xc_need_value(c, 6, XC_DTYPE_I32, err));
        if (xc_infer_value(c, 6)->cols != 1 || xc_infer_value(c, 6)->space != q->space)
            return xc_fail(err, XC_E_SHAPE, "longformer attention: the global tokens must be one number a row of q");
    }
    for (int i = 8; i < c->node->n_in && !folded; i++)
        if (c->node->in[i].kind != XC_REF_NONE) return xc_fail(err, XC_E_FORMAT, "longformer attention takes q, k, v, qg, kg, vg, the global tokens and spans");
    if (folded) XC_TRY(xc_fold_infer(c, err));
    return xc_span_infer(c, err);
}

static double longformer_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    const double globals = fmin(n_q, (double)attr->global_first), side = (double)attr->window, seen = fmin(n_k, (attr->causal ? 1 : 2) * side + 1 + globals);

    return 2.0 * (n_q * seen + globals * n_k) * D * attr->heads;
}

/* ---- one run ---- */
struct longformer {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k, *v, *qg, *kg, *vg;
    int64_t D, heads, group, dilation;
    const int32_t *window; /* (heads) to each side; with soft spans as far as a key is seen at all */
    const float *span;     /* (heads) soft spans, in tokens; NULL */
    bool int8, folded;
    float scale;
    uint8_t *scratch; /* by thread: the kernel's, then a tile of output and of int8 queries */
    size_t each, tile_at;
    /* units: (sequence, remainder of the position divided by dilation) */
    int64_t n_units;
    int32_t *unit_seq, *unit_first;   /* sequence; position of its first row */
    int64_t *unit_rows, *unit_start;  /* rows; rows before it, units back to back */
    int64_t *unit_pos, *unit_tile;    /* floats of k_pos before it; items of attend before it */
    float *q_pos, *k_pos;             /* positions in the sequence; of keys, XC_POS_NEVER for global ones */
    /* global tokens */
    int64_t *glob_start, *glob_tile;  /* (n_seq + 1): tokens, items of attend_globals before it */
    int32_t *glob;                    /* positions in the sequence */
    float *glob_pos, *count;          /* positions as floats, each sequence padded to 16; 0, 1, 2, ... to the longest sequence */
    float *glob_q, *glob_k, *glob_v;  /* their rows of qg, k and v */
    /* int8 */
    struct xc_keys_s8 keys, glob_keys, all_keys; /* units; global tokens of a sequence; a sequence by kg, vg */
};

static void *room(struct longformer *l, int64_t n, size_t size)
{
    return xc_run_scratch(l->c->run, ((size_t)n + 16) * size);
}

static int64_t n_globals(const struct longformer *l, int64_t s) { return l->glob_start[s + 1] - l->glob_start[s]; }

static enum xc_status find_globals(struct longformer *l, struct xc_err *err)
{
    const struct xc_view *mask = l->c->in[6];
    const int32_t *flag = mask ? mask->data : NULL;
    const int64_t n_seq = l->q->rag->n_seq;
    int64_t n = 0, longest = 0;

    l->glob_start = room(l, n_seq + 1, sizeof *l->glob_start);
    l->glob_tile = room(l, n_seq + 1, sizeof *l->glob_tile);
    if (!l->glob_start || !l->glob_tile) return xc_fail_nomem(err, (size_t)n_seq * sizeof *l->glob_start);
    for (int pass = 0; pass < 2; pass++) { /* counted, then listed */
        n = 0;
        for (int64_t s = 0; s < n_seq; s++) {
            const int64_t r0 = l->q->rag->start[s], rows = xc_seq_rows(l->q, s);

            longest = xc_max_i64(longest, rows);
            l->glob_start[s] = n;
            for (int64_t i = 0; i < (flag ? rows : xc_min_i64(rows, l->attr->global_first)); i++)
                if (i < l->attr->global_first || flag[r0 + i]) {
                    if (pass) l->glob[n] = (int32_t)i;
                    n++;
                }
        }
        l->glob_start[n_seq] = n;
        if (pass == 0) {
            l->glob = room(l, n, sizeof *l->glob);
            if (!l->glob) return xc_fail_nomem(err, (size_t)n * sizeof *l->glob);
        }
    }
    l->glob_pos = room(l, n + 16 * n_seq, sizeof *l->glob_pos);
    l->count = room(l, xc_round_up(longest, 16), sizeof *l->count);
    l->glob_q = room(l, n * l->q->cols, sizeof *l->glob_q);
    l->glob_k = room(l, n * l->k->cols, sizeof *l->glob_k);
    l->glob_v = room(l, n * l->v->cols, sizeof *l->glob_v);
    if (!l->glob_pos || !l->count || !l->glob_q || !l->glob_k || !l->glob_v) return xc_fail_nomem(err, (size_t)(n * l->q->cols) * sizeof *l->glob_q);
    for (int64_t i = 0; i < xc_round_up(longest, 16); i++) l->count[i] = (float)i;
    l->glob_tile[0] = 0;
    for (int64_t s = 0; s < n_seq; s++) {
        l->glob_tile[s + 1] = l->glob_tile[s] + l->heads * xc_div_up(n_globals(l, s), TILE);
        for (int64_t i = 0; i < xc_round_up(n_globals(l, s), 16); i++)
            l->glob_pos[l->glob_start[s] + 16 * s + i] = i < n_globals(l, s) ? (float)l->glob[l->glob_start[s] + i] : XC_POS_NEVER;
        for (int64_t i = l->glob_start[s]; i < l->glob_start[s + 1]; i++) {
            if (!l->folded) memcpy(l->glob_q + i * l->q->cols, xc_seq_data(l->qg, s, 0) + l->glob[i] * l->q->cols, (size_t)l->q->cols * sizeof(float));
            memcpy(l->glob_k + i * l->k->cols, xc_seq_data(l->k, s, 0) + l->glob[i] * l->k->cols, (size_t)l->k->cols * sizeof(float));
            memcpy(l->glob_v + i * l->v->cols, xc_seq_data(l->v, s, 0) + l->glob[i] * l->v->cols, (size_t)l->v->cols * sizeof(float));
        }
    }
    return XC_OK;
}

static enum xc_status cut_units(struct longformer *l, struct xc_err *err)
{
    const int64_t n_seq = l->q->rag->n_seq, R = l->q->rows, d = l->dilation;
    int64_t n = 0, start = 0, pos = 0;

    for (int64_t s = 0; s < n_seq; s++) {
        if (xc_seq_rows(l->q, s) > LONGEST)
            return xc_fail(err, XC_E_RANGE, "node '%s': sequence %lld has more than %d tokens", l->c->node->name, (long long)s, LONGEST);
        l->n_units += xc_min_i64(d, xc_seq_rows(l->q, s));
    }
    l->unit_seq = room(l, l->n_units, sizeof *l->unit_seq);
    l->unit_first = room(l, l->n_units, sizeof *l->unit_first);
    l->unit_rows = room(l, l->n_units, sizeof *l->unit_rows);
    l->unit_start = room(l, l->n_units, sizeof *l->unit_start);
    l->unit_pos = room(l, l->n_units, sizeof *l->unit_pos);
    l->unit_tile = room(l, l->n_units + 1, sizeof *l->unit_tile);
    l->q_pos = room(l, R, sizeof *l->q_pos);
    l->k_pos = room(l, R + 16 * l->n_units, sizeof *l->k_pos);
    if (!l->unit_seq || !l->unit_first || !l->unit_rows || !l->unit_start || !l->unit_pos || !l->unit_tile || !l->q_pos || !l->k_pos)
        return xc_fail_nomem(err, (size_t)R * sizeof *l->q_pos);
    l->unit_tile[0] = 0;
    for (int64_t s = 0; s < n_seq; s++)
        for (int64_t first = 0; first < xc_min_i64(d, xc_seq_rows(l->q, s)); first++, n++) {
            const int64_t rows = xc_div_up(xc_seq_rows(l->q, s) - first, d), padded = xc_round_up(rows, 16);

            l->unit_seq[n] = (int32_t)s;
            l->unit_first[n] = (int32_t)first;
            l->unit_rows[n] = rows;
            l->unit_start[n] = start;
            l->unit_pos[n] = pos;
            l->unit_tile[n + 1] = l->unit_tile[n] + l->heads * xc_div_up(rows, TILE);
            for (int64_t i = 0; i < padded; i++) l->k_pos[pos + i] = (float)(first + i * d);
            memcpy(l->q_pos + start, l->k_pos + pos, (size_t)rows * sizeof(float));
            for (int64_t i = l->glob_start[s]; i < l->glob_start[s + 1]; i++)
                if (l->glob[i] % d == first) l->k_pos[pos + l->glob[i] / d] = XC_POS_NEVER;
            start += rows;
            pos += padded;
        }
    return XC_OK;
}

static enum xc_status pack(struct longformer *l, struct xc_err *err)
{
    struct xc_run *run = l->c->run;
    const int64_t n_seq = l->q->rag->n_seq, kv = l->heads / l->group, most = l->n_units + 2 * n_seq;
    struct xc_key_source *source = room(l, most, sizeof *source), *at = source;

    if (!source) return xc_fail_nomem(err, (size_t)most * sizeof *source);
    XC_TRY(xc_keys_sets(&l->keys, run, l->n_units, err));
    XC_TRY(xc_keys_sets(&l->glob_keys, run, n_seq, err));
    XC_TRY(xc_keys_sets(&l->all_keys, run, n_seq, err));
    for (int64_t u = 0; u < l->n_units; u++) {
        const int64_t s = l->unit_seq[u], row = l->unit_first[u];

        l->keys.set[u].rows = l->unit_rows[u];
        *at++ = (struct xc_key_source){ .to = &l->keys, .set = u, .k = xc_seq_data(l->k, s, 0) + row * l->k->cols, .v = xc_seq_data(l->v, s, 0) + row * l->v->cols,
                                        .ldk = l->k->cols * l->dilation, .ldv = l->v->cols * l->dilation };
    }
    for (int64_t s = 0; s < n_seq; s++) {
        const int64_t g = l->glob_start[s] * l->k->cols;

        l->glob_keys.set[s].rows = n_globals(l, s);
        l->all_keys.set[s].rows = n_globals(l, s) && !l->folded ? xc_seq_rows(l->q, s) : 0;
        *at++ = (struct xc_key_source){ .to = &l->glob_keys, .set = s, .k = l->glob_k + g, .v = l->glob_v + g, .ldk = l->k->cols, .ldv = l->v->cols };
        if (!l->folded) *at++ = (struct xc_key_source){ .to = &l->all_keys, .set = s, .k = xc_seq_data(l->kg, s, 0), .v = xc_seq_data(l->vg, s, 0), .ldk = l->k->cols, .ldv = l->v->cols };
    }
    XC_TRY(xc_keys_room(&l->keys, run, kv, l->D, err));
    XC_TRY(xc_keys_room(&l->glob_keys, run, kv, l->D, err));
    XC_TRY(xc_keys_room(&l->all_keys, run, kv, l->D, err));
    return xc_keys_pack_all(l->c, kv, source, at - source, err);
}

/* How the window's keys first to first + n - 1 of a unit are seen. */
static struct xc_key_run see_window(const struct longformer *l, int64_t h, int64_t u, int64_t first, int64_t n)
{
    const double reach = (double)l->window[h] * (double)l->dilation;

    return (struct xc_key_run){ .n = n, .pos = l->k_pos + l->unit_pos[u] + first, .low = -(float)reach, .high = l->attr->causal ? 0.0f : (float)reach,
                                .first = (float)(l->unit_first[u] + first * l->dilation), .step = (float)l->dilation };
}

static struct xc_key_run see_globals(const struct longformer *l, int64_t s)
{
    struct xc_key_run see = { .n = n_globals(l, s) };

    if (l->attr->causal) see.pos = l->glob_pos + l->glob_start[s] + 16 * s, see.low = -INFINITY, see.high = 0.0f;
    return see;
}

/* Item: (unit, four tiles of queries, head, one of the tiles), in this order: heads follow one another while their tokens' rows are at hand, and a head's window while it is. */
static void attend(void *arg, int64_t item, int thread)
{
    const struct longformer *l = arg;
    const int64_t u = xc_find_share(l->unit_tile, l->n_units, item), rows = l->unit_rows[u], s = l->unit_seq[u], d = l->dilation, D = l->D, four = 4 * l->heads;
    const int64_t tile0 = (item - l->unit_tile[u]) / four * 4, tiles = xc_min_i64(4, xc_div_up(rows, TILE) - tile0), in_four = (item - l->unit_tile[u]) % four;
    const int64_t h = in_four / tiles, g = h / l->group, row0 = (tile0 + in_four % tiles) * TILE, row1 = xc_min_i64(row0 + TILE, rows);
    const int64_t w = xc_min_i64(l->window[h], rows), first = xc_max_i64(0, row0 - w) / XC_KEY_BLOCK * XC_KEY_BLOCK;
    const int64_t n = xc_min_i64(rows, row1 + (l->attr->causal ? 0 : w)) - first, at = l->q->rag->start[s] + l->unit_first[u];
    const int skip = n_globals(l, s) == 0; /* runs: global keys if any, window */
    const struct xc_attn_runs a = { .q_pos = l->q_pos + l->unit_start[u], .n_runs = 2 - skip, .D = D, .scale = l->scale,
                                    .out = (float *)l->c->out[0]->data + at * l->q->cols + h * D, .ld_out = l->q->cols * d, .scratch = l->scratch + (size_t)thread * l->each };

    if (l->span) {
        const struct xc_span_tile t = { .kern = l->c->kern, .q = xc_seq_data(l->q, s, h * D), .k = xc_seq_data(l->k, s, g * D), .v = xc_seq_data(l->v, s, g * D), .ldq = l->q->cols,
                                        .ldk = l->k->cols, .gk = l->glob_k + l->glob_start[s] * l->k->cols + g * D, .gv = l->glob_v + l->glob_start[s] * l->v->cols + g * D,
                                        .glob = l->glob + l->glob_start[s], .n_glob = n_globals(l, s), .pos = l->k_pos + l->unit_pos[u], .n = rows, .D = D, .scale = l->scale,
                                        .window = w, .span = l->span[h], .ramp = (float)l->attr->ramp, .causal = l->attr->causal, .out = a.out, .scratch = (float *)(void *)a.scratch };

        xc_span_attend(&t, row0, row1);
        return;
    }
    if (l->int8) {
        struct xc_key_run_s8 run[2] = { xc_keys_run(&l->glob_keys, g, s, 0, 0), xc_keys_run(&l->keys, g, u, first, n) };
        const struct xc_queries_s8 t = xc_tile_queries(a.scratch + l->tile_at, l->c->kern, (const float *)l->q->data + (at + row0 * d) * l->q->cols + h * D, l->q->cols * d, row1 - row0, D);
        struct xc_attn_runs of_tile = a;

        of_tile.q_pos += row0;
        of_tile.out += row0 * a.ld_out;
        run[0].see = see_globals(l, s);
        run[1].see = see_window(l, h, u, first, n);
        l->c->kern->attn_runs_s8(&(struct xc_attn_runs_s8){ .a = of_tile, .run = run + skip, .q = t.q, .ldq = t.ld, .q_scale = t.scale }, 0, row1 - row0);
        return;
    }
    const int64_t key = l->unit_first[u] + first * d;
    const struct xc_key_run_f32 run[2] = {
        { .see = see_globals(l, s), .k = l->glob_k + l->glob_start[s] * l->k->cols + g * D, .v = l->glob_v + l->glob_start[s] * l->v->cols + g * D, .ldk = l->k->cols,
          .ldv = l->v->cols },
        { .see = see_window(l, h, u, first, n), .k = xc_seq_data(l->k, s, g * D) + key * l->k->cols, .v = xc_seq_data(l->v, s, g * D) + key * l->v->cols, .ldk = l->k->cols * d,
          .ldv = l->v->cols * d } };

    l->c->kern->attn_runs_f32(&(struct xc_attn_runs_f32){ .a = a, .run = run + skip, .q = (const float *)l->q->data + at * l->q->cols + h * D, .ldq = l->q->cols * d }, row0, row1);
}

/* Item: (sequence, head, tile of its global queries). They were given an answer by attend too; this one replaces it. */
static void attend_globals(void *arg, int64_t item, int thread)
{
    const struct longformer *l = arg;
    const int64_t s = xc_find_share(l->glob_tile, l->q->rag->n_seq, item), tiles = xc_div_up(n_globals(l, s), TILE), D = l->D, rows = xc_seq_rows(l->q, s);
    const int64_t h = (item - l->glob_tile[s]) / tiles, g = h / l->group, row0 = (item - l->glob_tile[s]) % tiles * TILE, row1 = xc_min_i64(row0 + TILE, n_globals(l, s));
    uint8_t *scratch = l->scratch + (size_t)thread * l->each;
    float *out = (float *)(void *)(scratch + l->tile_at);
    struct xc_key_run see = { .n = rows };
    const struct xc_attn_runs a = { .q_pos = l->glob_pos + l->glob_start[s] + 16 * s + row0, .n_runs = 1, .D = D, .scale = l->scale, .out = out, .ld_out = D, .scratch = scratch };

    if (l->attr->causal) see.pos = l->count, see.low = -INFINITY, see.high = 0.0f, see.step = 1.0f;
    if (l->int8) {
        struct xc_key_run_s8 run = xc_keys_run(&l->all_keys, g, s, 0, rows);
        const struct xc_queries_s8 t = xc_tile_queries(out + TILE * D, l->c->kern, l->glob_q + (l->glob_start[s] + row0) * l->q->cols + h * D, l->q->cols, row1 - row0, D);

        run.see = see;
        l->c->kern->attn_runs_s8(&(struct xc_attn_runs_s8){ .a = a, .run = &run, .q = t.q, .ldq = t.ld, .q_scale = t.scale }, 0, row1 - row0);
    } else {
        const struct xc_key_run_f32 run = { .see = see, .k = xc_seq_data(l->kg, s, g * D), .v = xc_seq_data(l->vg, s, g * D), .ldk = l->k->cols, .ldv = l->v->cols };

        l->c->kern->attn_runs_f32(&(struct xc_attn_runs_f32){ .a = a, .run = &run, .q = l->glob_q + (l->glob_start[s] + row0) * l->q->cols + h * D, .ldq = l->q->cols }, 0, row1 - row0);
    }
    for (int64_t i = row0; i < row1; i++)
        memcpy((float *)l->c->out[0]->data + (l->q->rag->start[s] + l->glob[l->glob_start[s] + i]) * l->q->cols + h * D, out + (i - row0) * D, (size_t)D * sizeof *out);
}

/* What a tile of soft spans needs, which lies where the kernel's scratch does and beyond. */
static size_t soft_bytes(const struct longformer *l)
{
    int64_t keys = 0;

    for (int64_t s = 0; l->span && s < l->q->rag->n_seq; s++)
        for (int64_t h = 0; h < l->heads; h++) keys = xc_max_i64(keys, n_globals(l, s) + xc_min_i64(xc_seq_rows(l->q, s), TILE + 2 * (int64_t)l->window[h]));
    return l->span ? xc_span_scratch_bytes(keys, l->D) : 0;
}

static enum xc_status longformer_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    struct longformer l = { .c = c, .attr = attr, .q = c->in[0], .k = c->in[1], .v = c->in[2], .qg = c->in[4] ? c->in[3] : c->in[0], .kg = c->in[4] ? c->in[4] : c->in[1],
                            .vg = c->in[5] ? c->in[5] : c->in[2], .folded = xc_is_folded(c->node), .heads = attr->heads, .D = c->in[0]->cols / attr->heads, .dilation = attr->dilation > 0 ? attr->dilation : 1 };

    l.group = l.heads / xc_attention_kv_heads(attr);
    l.scale = xc_attention_scale(attr, l.D);
    l.int8 = attr->quantized && !attr->ramp;
    XC_TRY(xc_span_windows(c, &l.window, &l.span, err));
    XC_TRY(find_globals(&l, err));
    XC_TRY(cut_units(&l, err));
    l.tile_at = (xc_attn_scratch_bytes(l.D) + XC_ALIGN - 1) / XC_ALIGN * XC_ALIGN;
    XC_TRY(xc_attention_scratch(c, l.D, soft_bytes(&l) + (size_t)(TILE * l.D) * sizeof(float) + xc_tile_bytes(TILE, l.D), &l.scratch, &l.each, err));
    if (l.int8) XC_TRY(pack(&l, err));
    xc_pool_run(c->pool, attend, &l, l.unit_tile[l.n_units]);
    if (l.folded) return xc_fold_forward(c, l.glob, l.glob_start, err);
    xc_pool_run(c->pool, attend_globals, &l, l.glob_tile[l.q->rag->n_seq]);
    return XC_OK;
}

const struct xc_attention_kind xc_attention_longformer = { .name = "longformer", .infer = longformer_infer, .macs = longformer_macs, .forward = longformer_forward, .share = xc_span_share, .prepared_bytes = xc_fold_bytes, .prepare = xc_fold_prepare };
