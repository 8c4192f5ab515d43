/* adaptive: dense attention that leaves out blocks of keys whose share of a query's softmax is proven to be little. Any dense checkpoint takes it.
 * The bound of a block from the minima and maxima of its keys is that of Quest (Tang et al. 2024, arXiv:2406.10774); leaving out a block by its scores,
 * that of BLASST (arXiv:2512.12087). Ours: what is left out is added up against a lower bound of the softmax's sum, so that eps is a promise.
 *
 *   in    q (Rq, heads*D), k and v (Rk, kv*D)
 *   attr  eps    at most this share of each query's softmax is left out; 0 = dense itself
 *   out   y (Rq, heads*D); with causal, the queries are the last n_q of n_k keys
 *
 * A sequence of fewer than XC_ADAPTIVE_LEAST keys is computed by dense, where looking for blocks to leave out costs more than it saves.
 *
 * For a tile of queries the blocks of XC_KEY_BLOCK keys come in the order of the product of the mean query and the mean key, largest first (with causal,
 * after those that not all of the tile see), so that the sum of the softmax is known early. The bound of a block, sum over d of max(q_d min_d, q_d max_d),
 * is a product as well: of [max(q,0), max(-q,0)] with [max, -min], whose rounding to int8 goes upwards. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/keys.h"
#include "runtime/kernels/scalar/math.h"

#define TILE 64 /* queries */

static enum xc_status adaptive_infer(const struct xc_infer *c, struct xc_err *err)
{
    for (int i = 3; i < c->node->n_in; i++)
        if (c->node->in[i].kind != XC_REF_NONE) return xc_fail(err, XC_E_FORMAT, "adaptive attention takes q, k and v");
    return XC_OK;
}

static double adaptive_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    return (attr->causal ? 0.5 : 1.0) * 2.0 * n_q * n_k * D * attr->heads; /* at most: what is left out depends on the text */
}

struct adaptive {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k, *v;
    int64_t D, K, heads, kv, group, most; /* K: columns of a bound; most: blocks of the longest sequence */
    float scale;
    int64_t n;                            /* long sequences */
    int64_t *seq, *tile, *block, *panel;  /* (n + 1): which; tiles of all heads, blocks, blocks padded to 16, before it */
    float *mean;                          /* by head of keys, block: (D) */
    float *bound_scale;                   /* by head of keys, padded block: what int8 bounds are multiplied by; f32: their largest magnitude */
    int8_t *bound_s8;                     /* by head of keys: panels of K inputs */
    float *bound_f32;
    struct xc_keys_s8 keys;
    struct xc_queries_s8 queries;
    float *q_pos, *k_pos;                 /* 0, 1, 2, ...: positions, causal only */
    uint8_t *scratch;
    size_t each, x_at, sum_at, row_at, bound_at, order_at, run_at;
};

static int64_t n_blocks(const struct adaptive *a, int64_t i) { return a->block[i + 1] - a->block[i]; }

/* ---- what is known of a block ---- */
/* b (2D) of keys (n, D): the largest number of each column, then the negated smallest, each `more` larger. */
static void extremes(float *restrict b, float *restrict mean, const float *restrict k, int64_t ldk, int64_t n, int64_t D, float more)
{
    float *restrict low = b + D;

    for (int64_t d = 0; d < D; d++) b[d] = low[d] = mean[d] = k[d];
    for (int64_t j = 1; j < n; j++) {
        k += ldk;
        for (int64_t d = 0; d < D; d++) {
            b[d] = xc_max_f32(k[d], b[d]);
            low[d] = xc_min_f32(k[d], low[d]);
            mean[d] += k[d];
        }
    }
    for (int64_t d = 0; d < D; d++) {
        b[d] += more;
        low[d] = more - low[d];
        mean[d] *= 1.0f / (float)n;
    }
}

/* Output `col` of a panel of bounds; numbers are rounded up. */
static void put_bound_s8(int8_t *panel, float *scale, const float *b, int64_t col, int64_t K)
{
    float top = 0.0f;

    for (int64_t i = 0; i < K; i++) top = xc_max_f32(fabsf(b[i]), top);
    scale[col] = top * (1.00001f / 127.0f);
    for (int64_t i = 0; i < K; i++) {
        const float x = top > 0.0f ? ceilf(b[i] / scale[col]) : 0.0f;

        panel[col / 16 * 16 * xc_round_up(K, 4) + i / 4 * 64 + col % 16 * 4 + i % 4] = (int8_t)xc_max_f32(xc_min_f32(x, 127.0f), -127.0f);
    }
}

static void put_bound_f32(float *panel, float *scale, const float *b, int64_t col, int64_t K)
{
    scale[col] = 0.0f;
    for (int64_t i = 0; i < K; i++) {
        scale[col] = xc_max_f32(fabsf(b[i]), scale[col]);
        panel[col / 16 * 16 * K + i * 16 + col % 16] = b[i];
    }
}

/* Item: (long sequence, head). Queries of the head; keys, values and bounds when it is the first of its group. */
static void pack_item(void *arg, int64_t item, int thread)
{
    const struct adaptive *a = arg;
    const int64_t i = item / a->heads, h = item % a->heads, g = h / a->group, s = a->seq[i], D = a->D, n_k = xc_seq_rows(a->k, s);
    float *b = (float *)(void *)(a->scratch + (size_t)thread * a->each);

    if (a->attr->quantized) xc_queries_pack(&a->queries, a->c->kern, h, a->q->rag->start[s], xc_seq_rows(a->q, s), xc_seq_data(a->q, s, h * D), a->q->cols);
    if (h % a->group) return;
    if (a->attr->quantized) xc_keys_pack(&a->keys, a->c->kern, g, i, xc_seq_data(a->k, s, g * D), a->k->cols, xc_seq_data(a->v, s, g * D), a->v->cols);
    for (int64_t j = 0; j < n_blocks(a, i); j++) {
        const int64_t first = j * XC_KEY_BLOCK, n = xc_min_i64(XC_KEY_BLOCK, n_k - first), at = g * a->panel[a->n] + a->panel[i];
        float *mean = a->mean + (g * a->block[a->n] + a->block[i] + j) * D;

        const float *k = xc_seq_data(a->k, s, g * D) + first * a->k->cols;
        float step = 0.0f; /* int8 keys are at most half of it away */

        if (a->attr->quantized) {
            const struct xc_key_run_s8 run = xc_keys_run(&a->keys, g, i, first, n);

            for (int64_t r = 0; r < n; r++) step = xc_max_f32(run.k_scale[r], step);
        }
        extremes(b, mean, k, a->k->cols, n, D, 0.5001f * step);
        if (a->attr->quantized) put_bound_s8(a->bound_s8 + at * xc_round_up(a->K, 4), a->bound_scale + at, b, j, a->K);
        else put_bound_f32(a->bound_f32 + at * a->K, a->bound_scale + at, b, j, a->K);
    }
}

/* ---- a tile of queries ---- */
struct place { float match; int32_t block; };

static int nearer(const void *x, const void *y)
{
    const struct place *a = x, *b = y;

    return a->match > b->match ? -1 : a->match < b->match ? 1 : a->block < b->block ? -1 : 1;
}

struct tile {
    int64_t i, h, g, row0, T, blocks; /* long sequence; head; queries row0 to row0 + T - 1; blocks that any of them sees */
    const float *q;                   /* (T, ld) as numbers */
    int64_t ldq;
};

/* The blocks in the order in which they are visited. */
static void order(const struct adaptive *a, const struct tile *t, struct place *place)
{
    const float *mean = a->mean + (t->g * a->block[a->n] + a->block[t->i]) * a->D;
    const int64_t s = a->seq[t->i], n_k = xc_seq_rows(a->k, s), first = t->row0 + n_k - xc_seq_rows(a->q, s);
    float q[256], *sum = q; /* of the tile's queries, 256 columns at a time */

    for (int64_t b = 0; b < t->blocks; b++) place[b] = (struct place){ .block = (int32_t)b };
    for (int64_t d0 = 0; d0 < a->D; d0 += 256) {
        const int64_t w = xc_min_i64(256, a->D - d0);

        memset(sum, 0, sizeof q);
        for (int64_t r = 0; r < t->T; r++)
            for (int64_t d = 0; d < w; d++) sum[d] += t->q[r * t->ldq + d0 + d];
        for (int64_t b = 0; b < t->blocks; b++) {
            float dot = 0.0f;

            for (int64_t d = 0; d < w; d++) dot += sum[d] * mean[b * a->D + d0 + d];
            place[b].match += dot;
        }
    }
    for (int64_t b = 0; a->attr->causal && b < t->blocks; b++)
        if ((b + 1) * XC_KEY_BLOCK - 1 > first) place[b].match = INFINITY; /* not every query sees all of it */
    qsort(place, (size_t)t->blocks, sizeof *place, nearer);
}

/* bound (T, ld) of block b at [b], in the units that the kernel compares in. */
static void bounds_s8(const struct adaptive *a, const struct tile *t, uint8_t *mem, const int8_t *q, int64_t ldq, const float *q_scale, float *bound, int64_t ld)
{
    const int64_t at = t->g * a->panel[a->n] + a->panel[t->i], K4 = xc_round_up(a->K, 4);
    int8_t *x = (int8_t *)(mem + a->x_at);
    int32_t *sum = (int32_t *)(void *)(mem + a->sum_at);
    float *row = (float *)(void *)(mem + a->row_at);

    memset(x, 0, (size_t)(t->T * K4));
    for (int64_t r = 0; r < t->T; r++) {
        sum[r] = 0;
        row[r] = q_scale[r] * a->scale * XC_LOG2E;
        for (int64_t d = 0; d < a->D; d++) {
            const int8_t y = q[r * ldq + d];

            x[r * K4 + (y > 0 ? d : a->D + d)] = (int8_t)(y > 0 ? y : -y);
            sum[r] += y > 0 ? y : -y;
        }
    }
    const struct xc_gemm_s8 m = { .x = x, .ldx = K4, .x_sum = sum, .w = a->bound_s8 + at * K4, .N = t->blocks, .K = a->K,
                                  .ep = { .row_scale = row, .col_scale = a->bound_scale + at, .out = bound, .ld_out = ld } };

    a->c->kern->gemm_s8(&m, 0, t->T, 0, t->blocks);
}

static void bounds_f32(const struct adaptive *a, const struct tile *t, uint8_t *mem, float *bound, int64_t ld)
{
    const int64_t at = t->g * a->panel[a->n] + a->panel[t->i];
    const float rounding = (float)(a->K + 8) * 0x1p-23f; /* of the sums here and of the scores, relative to the sum of magnitudes */
    float *x = (float *)(void *)(mem + a->x_at), *row = (float *)(void *)(mem + a->row_at);

    for (int64_t r = 0; r < t->T; r++) {
        row[r] = 0.0f;
        for (int64_t d = 0; d < a->D; d++) {
            const float y = t->q[r * t->ldq + d];

            x[r * a->K + d] = xc_max_f32(y, 0.0f);
            x[r * a->K + a->D + d] = xc_max_f32(-y, 0.0f);
            row[r] += fabsf(y);
        }
    }
    const struct xc_gemm_f32 m = { .x = x, .ldx = a->K, .w = a->bound_f32 + at * a->K, .N = t->blocks, .K = a->K, .ep = { .out = bound, .ld_out = ld } };

    a->c->kern->gemm_f32(&m, 0, t->T, 0, t->blocks);
    for (int64_t r = 0; r < t->T; r++)
        for (int64_t b = 0; b < t->blocks; b++) bound[r * ld + b] = (bound[r * ld + b] + rounding * row[r] * a->bound_scale[at + b]) * a->scale;
}

/* Columns of bound in the order of the visits. */
static void arrange(float *bound, float *row, const struct place *place, int64_t T, int64_t ld, int64_t n)
{
    for (int64_t r = 0; r < T; r++, bound += ld) {
        memcpy(row, bound, (size_t)n * sizeof *row);
        for (int64_t b = 0; b < n; b++) bound[b] = row[place[b].block];
    }
}

/* How the keys of a block are seen. */
static struct xc_key_run see(const struct adaptive *a, const struct tile *t, int64_t b)
{
    const int64_t s = a->seq[t->i], n_k = xc_seq_rows(a->k, s), first = b * XC_KEY_BLOCK, n = xc_min_i64(XC_KEY_BLOCK, n_k - first);
    struct xc_key_run run = { .n = n };

    if (a->attr->causal && first + n - 1 > t->row0 + n_k - xc_seq_rows(a->q, s)) run.pos = a->k_pos + first, run.low = -INFINITY, run.high = 0.0f;
    return run;
}

/* Item: (long sequence, head, tile of queries), in this order. */
static void attend(void *arg, int64_t item, int thread)
{
    const struct adaptive *a = arg;
    const int64_t i = xc_find_share(a->tile, a->n, item), s = a->seq[i], n_q = xc_seq_rows(a->q, s), n_k = xc_seq_rows(a->k, s), tiles = xc_div_up(n_q, TILE), D = a->D;
    const int64_t h = (item - a->tile[i]) / tiles, row0 = (item - a->tile[i]) % tiles * TILE, T = xc_min_i64(TILE, n_q - row0), ld = xc_round_up(a->most, 16);
    struct tile t = { .i = i, .h = h, .g = h / a->group, .row0 = row0, .T = T, .blocks = n_blocks(a, i), .q = xc_seq_data(a->q, s, h * D) + row0 * a->q->cols, .ldq = a->q->cols };
    uint8_t *mem = a->scratch + (size_t)thread * a->each;
    float *bound = (float *)(void *)(mem + a->bound_at);
    struct place *place = (struct place *)(void *)(mem + a->order_at);
    const struct xc_attn_skip skip = { .eps = a->attr->eps, .bound = bound, .ld_bound = ld };
    struct xc_attn_runs runs = { .q_pos = a->attr->causal ? a->q_pos + row0 + n_k - n_q : NULL, .D = D, .scale = a->scale, .skip = &skip, .scratch = mem, .ld_out = a->q->cols,
                                 .out = (float *)a->c->out[0]->data + (a->q->rag->start[s] + row0) * a->q->cols + h * D };

    if (a->attr->causal) t.blocks = xc_div_up(row0 + T + n_k - n_q, XC_KEY_BLOCK);
    runs.n_runs = t.blocks;
    order(a, &t, place);
    if (a->attr->quantized) {
        const int64_t at = h * a->queries.rows + a->q->rag->start[s] + row0;
        const int8_t *q = a->queries.q + at * a->queries.ld;
        struct xc_key_run_s8 *run = (struct xc_key_run_s8 *)(void *)(mem + a->run_at);

        bounds_s8(a, &t, mem, q, a->queries.ld, a->queries.scale + at, bound, ld);
        arrange(bound, (float *)(void *)(mem + a->row_at), place, T, ld, t.blocks);
        for (int64_t b = 0; b < t.blocks; b++) {
            run[b] = xc_keys_run(&a->keys, t.g, i, (int64_t)place[b].block * XC_KEY_BLOCK, 0);
            run[b].see = see(a, &t, place[b].block);
        }
        a->c->kern->attn_runs_s8(&(struct xc_attn_runs_s8){ .a = runs, .run = run, .q = q, .ldq = a->queries.ld, .q_scale = a->queries.scale + at }, 0, T);
        return;
    }
    struct xc_key_run_f32 *run = (struct xc_key_run_f32 *)(void *)(mem + a->run_at);

    bounds_f32(a, &t, mem, bound, ld);
    arrange(bound, (float *)(void *)(mem + a->row_at), place, T, ld, t.blocks);
    for (int64_t b = 0; b < t.blocks; b++) {
        const int64_t first = (int64_t)place[b].block * XC_KEY_BLOCK;

        run[b] = (struct xc_key_run_f32){ .see = see(a, &t, place[b].block), .k = xc_seq_data(a->k, s, t.g * D) + first * a->k->cols, .ldk = a->k->cols,
                                          .v = xc_seq_data(a->v, s, t.g * D) + first * a->v->cols, .ldv = a->v->cols };
    }
    a->c->kern->attn_runs_f32(&(struct xc_attn_runs_f32){ .a = runs, .run = run, .q = t.q, .ldq = t.ldq }, 0, T);
}

/* ---- a run ---- */
/* Finds the long sequences, and where each one's tiles and blocks begin. */
static enum xc_status find_long(struct adaptive *a, struct xc_err *err)
{
    const int64_t n_seq = a->q->rag->n_seq;
    int64_t longest = 0;

    a->seq = xc_run_scratch(a->c->run, (size_t)(4 * (n_seq + 1)) * sizeof *a->seq);
    if (!a->seq) return xc_fail_nomem(err, (size_t)(4 * (n_seq + 1)) * sizeof *a->seq);
    a->tile = a->seq + n_seq + 1, a->block = a->tile + n_seq + 1, a->panel = a->block + n_seq + 1;
    a->tile[0] = a->block[0] = a->panel[0] = 0;
    for (int64_t s = 0; s < n_seq; s++) {
        const int64_t n_q = xc_seq_rows(a->q, s), n_k = xc_seq_rows(a->k, s), n = a->n, blocks = xc_div_up(n_k, XC_KEY_BLOCK);

        if (n_k < XC_ADAPTIVE_LEAST) continue;
        if (a->attr->causal && n_k < n_q)
            return xc_fail(err, XC_E_SHAPE, "node '%s': sequence %lld has %lld queries and %lld keys, and is causal", a->c->node->name, (long long)s, (long long)n_q, (long long)n_k);
        if (n_k > 1 << 24) return xc_fail(err, XC_E_RANGE, "node '%s': sequence %lld has more than %d keys", a->c->node->name, (long long)s, 1 << 24);
        a->seq[n] = s;
        a->tile[n + 1] = a->tile[n] + a->heads * xc_div_up(n_q, TILE);
        a->block[n + 1] = a->block[n] + blocks;
        a->panel[n + 1] = a->panel[n] + xc_round_up(blocks, 16);
        a->most = xc_max_i64(a->most, blocks);
        longest = xc_max_i64(longest, n_k);
        a->n++;
    }
    if (!a->attr->causal || !a->n) return XC_OK;
    a->q_pos = a->k_pos = xc_run_scratch(a->c->run, (size_t)xc_round_up(longest, XC_KEY_BLOCK) * sizeof *a->k_pos);
    if (!a->k_pos) return xc_fail_nomem(err, (size_t)longest * sizeof *a->k_pos);
    for (int64_t j = 0; j < xc_round_up(longest, XC_KEY_BLOCK); j++) a->k_pos[j] = (float)j;
    return XC_OK;
}

static size_t place_of(size_t *total, size_t bytes)
{
    const size_t at = *total;

    *total += (size_t)xc_round_up((int64_t)bytes, XC_ALIGN);
    return at;
}

static enum xc_status make_room(struct adaptive *a, struct xc_err *err)
{
    struct xc_run *run = a->c->run;
    const size_t most16 = (size_t)xc_round_up(a->most, 16), K4 = (size_t)xc_round_up(a->K, 4), panels = (size_t)(a->kv * a->panel[a->n]);
    const int64_t packing = a->K * (int64_t)sizeof(float);

    place_of(&a->each, (size_t)xc_max_i64((int64_t)xc_attn_scratch_bytes(a->D), packing));
    a->x_at = place_of(&a->each, TILE * K4 * sizeof(float));
    a->sum_at = place_of(&a->each, TILE * sizeof(int32_t));
    a->row_at = place_of(&a->each, (most16 + TILE) * sizeof(float));
    a->bound_at = place_of(&a->each, TILE * most16 * sizeof(float));
    a->order_at = place_of(&a->each, most16 * sizeof(struct place));
    a->run_at = place_of(&a->each, most16 * sizeof(struct xc_key_run_s8));
    a->scratch = xc_run_scratch(run, a->each * (size_t)xc_pool_threads(a->c->pool));
    a->mean = xc_run_scratch(run, (size_t)(a->kv * a->block[a->n] * a->D) * sizeof *a->mean);
    a->bound_scale = xc_run_scratch(run, panels * sizeof *a->bound_scale);
    a->bound_s8 = xc_run_scratch(run, a->attr->quantized ? panels * K4 : 1);
    a->bound_f32 = xc_run_scratch(run, a->attr->quantized ? 1 : panels * (size_t)a->K * sizeof *a->bound_f32);
    if (!a->scratch || !a->mean || !a->bound_scale || !a->bound_s8 || !a->bound_f32) return xc_fail_nomem(err, a->each);
    memset(a->bound_scale, 0, panels * sizeof *a->bound_scale);
    memset(a->bound_s8, 0, a->attr->quantized ? panels * K4 : 1);
    if (!a->attr->quantized) {
        memset(a->bound_f32, 0, panels * (size_t)a->K * sizeof *a->bound_f32);
        return XC_OK;
    }
    XC_TRY(xc_queries_room(&a->queries, run, a->heads, a->q->rows, a->D, err));
    XC_TRY(xc_keys_sets(&a->keys, run, a->n, err));
    for (int64_t i = 0; i < a->n; i++) a->keys.set[i].rows = xc_seq_rows(a->k, a->seq[i]);
    return xc_keys_room(&a->keys, run, a->kv, a->D, err);
}

static enum xc_status adaptive_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    struct adaptive a = { .c = c, .attr = attr, .q = c->in[0], .k = c->in[1], .v = c->in[2], .heads = attr->heads, .kv = xc_attention_kv_heads(attr),
                          .D = c->in[0]->cols / attr->heads };

    if (!(attr->eps > 0.0f)) return xc_attention_dense_below(c, INT64_MAX, err);
    a.K = 2 * a.D;
    a.group = a.heads / a.kv;
    a.scale = xc_attention_scale(attr, a.D);
    XC_TRY(xc_attention_dense_below(c, XC_ADAPTIVE_LEAST, err));
    XC_TRY(find_long(&a, err));
    if (!a.n) return XC_OK;
    XC_TRY(make_room(&a, err));
    xc_pool_run(c->pool, pack_item, &a, a.n * a.heads);
    xc_pool_run(c->pool, attend, &a, a.tile[a.n]);
    return XC_OK;
}

const struct xc_attention_kind xc_attention_adaptive = { .name = "adaptive", .infer = adaptive_infer, .macs = adaptive_macs, .forward = adaptive_forward };
