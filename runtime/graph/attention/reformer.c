/* reformer: tokens meet in chunks of tokens with similar hashes. Kitaev et al. 2020, arXiv:2001.04451; masks and the order of chunks as Trax and
 * Hugging Face have them.
 *
 *   in    q (R, heads*D), k = q (shared), v (R, heads*D), of one row space
 *         rotations (heads*D, rounds * (buckets + buckets2) / 2) tensor: an LSH layer; absent: a local layer, q and k of their own
 *   attr  chunk, before, after: tokens of a chunk, chunks that it sees on each side
 *         rounds, buckets, buckets2: hashes; with buckets2 a bucket is a pair. scale 1 as in Trax and Hugging Face, 0 = 1/sqrt(D)
 *   out   y (R, heads*D)
 *
 * LSH: bucket = argmax [q R; -q R]; tokens are sorted by bucket and place and cut into chunks; the rounds stand in a circle, so the first chunk of
 * one sees the last of the one before. Keys are k / sqrt(|k|^2 + D * 1e-6); a token sees itself only by the score -1e5, so only where nothing
 * else is in sight; with causal nothing later. Rounds are joined by their sums: one softmax over all candidates, each as often as it was met.
 * Local: chunks of the text itself, plain keys; the circle closes over the text's ends (not causal). A text of one chunk is dense.
 *
 * An item is a sequence and a head. Memory is linear: sorted places, one chunk's neighbourhood, and with int8 all queries and keys of the head, which every
 * round needs. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/lsh.h"

#define OWN_SCORE (-1e5f)
#define LONGEST (1 << 24) /* positions are exact floats */

static enum xc_status reformer_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *a = c->node->attr;
    const struct xc_value *q = xc_infer_value(c, 0), *k = xc_infer_value(c, 1);

    if (q->space != k->space) return xc_fail(err, XC_E_FORMAT, "reformer attention needs queries and keys of one row space");
    if (a->kv_heads && a->kv_heads != a->heads) return xc_fail(err, XC_E_UNSUPPORTED, "reformer attention has as many heads of keys as of queries");
    if (a->chunk < 1) return xc_fail(err, XC_E_RANGE, "reformer attention needs a chunk of at least one token");
    for (int i = 4; i < c->node->n_in; i++)
        if (c->node->in[i].kind != XC_REF_NONE) return xc_fail(err, XC_E_FORMAT, "reformer attention takes q, k, v and rotations");
    if (c->node->n_in < 4 || c->node->in[3].kind == XC_REF_NONE) return XC_OK;
    if (c->node->in[0].id != c->node->in[1].id) return xc_fail(err, XC_E_FORMAT, "reformer attention with hashes shares queries and keys");
    if (a->rounds < 1 || a->buckets < 2 || a->buckets % 2 || a->buckets2 % 2)
        return xc_fail(err, XC_E_RANGE, "reformer attention needs rounds of hashes and an even number of buckets, not %d and %d (%d)", a->rounds, a->buckets, a->buckets2);
    return xc_need_tensor(c, 3, q->cols, (int64_t)a->rounds * (a->buckets / 2 + a->buckets2 / 2), err);
}

static double reformer_macs(const struct xc_attr_attention *a, double n_q, double n_k, double D)
{
    const double rounds = a->rounds > 0 ? a->rounds : 1, seen = fmin(n_k, (double)a->chunk * (1 + a->before + a->after));

    return n_q * D * a->heads * rounds * (2 * seen + (a->buckets + a->buckets2) / 2);
}

struct reformer {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k, *v;
    struct xc_lsh lsh;
    int64_t D, D4, D16, slots, longest;
    float scale;
    uint8_t *memory; /* by thread */
    size_t each;
};

/* A thread's memory. Slot i % slots holds chunk i. */
struct slot {
    int64_t chunk, n;
    float *pos, *k, *v, *k_scale, *v_scale;
    int8_t *k8, *v8;
};
struct work {
    struct slot *slot;
    int32_t *order, *room;
    float *q, *q_scale, *out, *stat, *all; /* (chunk,D), (chunk), (chunk,D), (chunk,2); (longest,2): of the rounds so far */
    int8_t *q8, *all_q8, *all_k8;          /* (chunk, D4); (longest, D4) as the text has them */
    float *all_q_scale, *all_k_scale;
    int32_t *q_sum;
    struct xc_key_run_s8 *s8;
    struct xc_key_run_f32 *f32;
    void *scratch;
};

static void *lay(uint8_t *base, size_t *total, int64_t n, size_t size)
{
    const size_t at = *total;

    *total += (size_t)xc_round_up(n * (int64_t)size, XC_ALIGN);
    return base ? base + at : NULL;
}

static size_t lay_out(const struct reformer *r, uint8_t *base, struct work *w)
{
    const int64_t m = xc_min_i64(r->attr->chunk, r->longest), m16 = xc_round_up(m, 16), blocks = xc_div_up(m, XC_KEY_BLOCK);
    const bool int8 = r->attr->quantized;
    size_t total = 0;

    w->slot = lay(base, &total, r->slots, sizeof *w->slot);
    w->s8 = lay(base, &total, r->slots, sizeof *w->s8);
    w->f32 = lay(base, &total, r->slots, sizeof *w->f32);
    w->order = lay(base, &total, r->lsh.rounds * r->longest, sizeof *w->order);
    w->room = lay(base, &total, xc_lsh_room(&r->lsh, r->longest), sizeof *w->room);
    w->q = lay(base, &total, m * r->D, sizeof *w->q);
    w->q8 = lay(base, &total, int8 ? m * r->D4 : 0, 1);
    w->q_scale = lay(base, &total, m, sizeof *w->q_scale);
    w->q_sum = lay(base, &total, m, sizeof *w->q_sum);
    w->all_q8 = lay(base, &total, int8 ? r->longest * r->D4 : 0, 1);
    w->all_k8 = lay(base, &total, int8 ? r->longest * r->D4 : 0, 1);
    w->all_q_scale = lay(base, &total, int8 ? r->longest : 0, sizeof *w->all_q_scale);
    w->all_k_scale = lay(base, &total, int8 ? r->longest : 0, sizeof *w->all_k_scale);
    w->out = lay(base, &total, m * r->D, sizeof *w->out);
    w->stat = lay(base, &total, 2 * m, sizeof *w->stat);
    w->all = lay(base, &total, 2 * r->longest, sizeof *w->all);
    w->scratch = lay(base, &total, (int64_t)xc_attn_scratch_bytes(r->D), 1);
    for (int64_t i = 0; i < r->slots; i++) {
        struct slot s = { .chunk = -1 };

        s.pos = lay(base, &total, m16, sizeof *s.pos);
        s.k = lay(base, &total, int8 ? 0 : m * r->D, sizeof *s.k);
        s.v = lay(base, &total, m * r->D + 16, sizeof *s.v);
        s.k8 = lay(base, &total, int8 ? m16 * r->D4 : 0, 1);
        s.v8 = lay(base, &total, int8 ? blocks * XC_KEY_BLOCK * r->D16 : 0, 1);
        s.k_scale = lay(base, &total, m16, sizeof *s.k_scale);
        s.v_scale = lay(base, &total, blocks * r->D16, sizeof *s.v_scale);
        if (base) w->slot[i] = s;
    }
    return total;
}

/* Keys by their length: k / sqrt(|k|^2 + D * 1e-6) */
static void unit_keys(float *k, int64_t n, int64_t D)
{
    for (int64_t i = 0; i < n; i++, k += D) {
        float part[16] = { 0 }, sum = (float)D * 1e-6f;

        for (int64_t d = 0; d + 16 <= D; d += 16) /* sixteen sums: one alone would wait for every addition */
            for (int64_t l = 0; l < 16; l++) part[l] += k[d + l] * k[d + l];
        for (int64_t d = D / 16 * 16; d < D; d++) part[d % 16] += k[d] * k[d];
        for (int64_t l = 0; l < 16; l++) sum += part[l];
        const float by = 1.0f / sqrtf(sum);

        for (int64_t d = 0; d < D; d++) k[d] *= by;
    }
}

/* int8: queries and keys of the whole head, before any round. */
static void quantize_head(const struct reformer *r, const struct work *w, int64_t seq, int64_t head, int64_t n)
{
    const int64_t m = r->attr->chunk, D = r->D, D4 = r->D4;
    const float *q = xc_seq_data(r->q, seq, head * D), *k = xc_seq_data(r->k, seq, head * D);

    for (int64_t r0 = 0; r0 < n; r0 += m) {
        const int64_t rows = xc_min_i64(m, n - r0);

        r->c->kern->quantize_rows_s8(w->all_q8 + r0 * D4, D4, w->all_q_scale + r0, w->q_sum, q + r0 * r->q->cols, r->q->cols, NULL, rows, D, 0.0f);
        for (int64_t i = 0; i < rows; i++) memcpy(w->q + i * D, k + (r0 + i) * r->k->cols, (size_t)D * sizeof *k);
        if (r->lsh.panels) unit_keys(w->q, rows, D);
        r->c->kern->quantize_rows_s8(w->all_k8 + r0 * D4, D4, w->all_k_scale + r0, w->q_sum, w->q, D, NULL, rows, D, 0.0f);
    }
}

/* A chunk's keys as pack_keys_s8 would make them. */
static void key_panels(const struct slot *s, const struct work *w, const int32_t *row, int64_t D4)
{
    for (int64_t j = 0; j < xc_round_up(s->n, 16); j++) {
        int8_t *panel = s->k8 + j / 16 * 16 * D4 + j % 16 * 4;
        const int8_t *from = j < s->n ? w->all_k8 + row[j] * D4 : NULL;

        if (j + 8 < s->n) __builtin_prefetch(w->all_k8 + row[j + 8] * D4);
        s->k_scale[j] = from ? w->all_k_scale[row[j]] : 0.0f;
        for (int64_t d = 0; d < D4; d += 4) {
            if (from) memcpy(panel + d * 16, from + d, 4);
            else memset(panel + d * 16, 0, 4);
        }
    }
}

static void gather_queries(const struct work *w, const int32_t *row, int64_t n, int64_t D4)
{
    for (int64_t i = 0; i < n; i++) {
        if (i + 8 < n) __builtin_prefetch(w->all_q8 + row[i + 8] * D4);
        memcpy(w->q8 + i * D4, w->all_q8 + row[i] * D4, (size_t)D4);
        w->q_scale[i] = w->all_q_scale[row[i]];
    }
}

/* Rows lie where hashes say: those that come soon are asked for. */
static void fetch(const float *row, int64_t D)
{
    for (int64_t d = 0; d < D; d += XC_ALIGN / (int64_t)sizeof *row) __builtin_prefetch(row + d);
}

static void gather(float *out, const struct xc_view *x, int64_t seq, int64_t col, const int32_t *row, int64_t n, int64_t D)
{
    const float *from = xc_seq_data(x, seq, col);

    for (int64_t i = 0; i < n; i++) {
        if (i + 8 < n) fetch(from + row[i + 8] * x->cols, D);
        memcpy(out + i * D, from + row[i] * x->cols, (size_t)D * sizeof *out);
    }
}

/* Chunk i of the circle, in its slot. */
static const struct slot *chunk_at(const struct reformer *r, struct work *w, int64_t seq, int64_t head, int64_t n, int64_t rounds, int64_t i)
{
    const int64_t all = xc_div_up(n, r->attr->chunk) * rounds, at = (i % all + all) % all;
    struct slot *s = &w->slot[(i + r->slots) % r->slots];
    const int32_t *row;

    if (s->chunk == at) return s;
    row = xc_lsh_chunk(w->order, n, rounds, r->attr->chunk, at, &s->n);
    s->chunk = at;
    gather(s->v, r->v, seq, head * r->D, row, s->n, r->D);
    for (int64_t j = 0; j < xc_round_up(s->n, 16); j++) s->pos[j] = j < s->n ? (float)row[j] : XC_POS_NEVER;
    if (!r->attr->quantized) {
        gather(s->k, r->k, seq, head * r->D, row, s->n, r->D);
        if (r->lsh.panels) unit_keys(s->k, s->n, r->D);
        return s;
    }
    key_panels(s, w, row, r->D4);
    r->c->kern->pack_values_s8(s->v8, s->v_scale, s->v, r->D, s->n, r->D);
    return s;
}

/* Item: (sequence, head). */
static void attend(void *arg, int64_t item, int thread)
{
    const struct reformer *r = arg;
    const int64_t seq = item / r->attr->heads, head = item % r->attr->heads, n = xc_seq_rows(r->q, seq), rounds = xc_lsh_rounds(&r->lsh, n), m = r->attr->chunk, D = r->D;
    const int64_t each = xc_div_up(n, m), before = each > 1 ? r->attr->before : 0, after = each > 1 ? r->attr->after : 0;
    float *out = (float *)r->c->out[0]->data + (int64_t)r->q->rag->start[seq] * r->q->cols + head * D;
    struct work w;

    if (n == 0) return;
    lay_out(r, r->memory + (size_t)thread * r->each, &w);
    xc_lsh_order(&r->lsh, w.order, w.room, seq, head);
    if (r->attr->quantized) quantize_head(r, &w, seq, head, n);
    for (int64_t i = 0; i < each * rounds; i++) {
        int64_t count, runs = 0;
        const int32_t *row = xc_lsh_chunk(w.order, n, rounds, m, i, &count);
        const struct slot *own = chunk_at(r, &w, seq, head, n, rounds, i);
        struct xc_attn_runs a = { .q_pos = own->pos, .D = D, .scale = r->scale, .own = r->lsh.panels != NULL, .own_score = OWN_SCORE, .out = w.out, .ld_out = D,
                                  .stat = w.stat, .scratch = w.scratch };

        for (int64_t k = i - before; k <= i + after; k++) {
            const struct slot *s = chunk_at(r, &w, seq, head, n, rounds, k);
            /* of one round, two chunks have no token in common: who comes later decides alone */
            const bool all = !r->attr->causal && (!a.own || (s->chunk != own->chunk && s->chunk / each == own->chunk / each));
            const struct xc_key_run see = { .n = s->n, .pos = all ? NULL : s->pos, .low = -INFINITY, .high = r->attr->causal ? 0.0f : 1e9f };

            w.s8[runs] = (struct xc_key_run_s8){ .see = see, .k = s->k8, .k_scale = s->k_scale, .v = s->v8, .v_scale = s->v_scale };
            w.f32[runs++] = (struct xc_key_run_f32){ .see = see, .k = s->k, .v = s->v, .ldk = D, .ldv = D };
        }
        a.n_runs = runs;
        if (r->attr->quantized) {
            gather_queries(&w, row, count, r->D4);
            r->c->kern->attn_runs_s8(&(struct xc_attn_runs_s8){ .a = a, .run = w.s8, .q = w.q8, .ldq = r->D4, .q_scale = w.q_scale }, 0, count);
        } else {
            gather(w.q, r->q, seq, head * D, row, count, D);
            r->c->kern->attn_runs_f32(&(struct xc_attn_runs_f32){ .a = a, .run = w.f32, .q = w.q, .ldq = D }, 0, count);
        }
        r->c->kern->join_rows(&(struct xc_join){ .y = out, .ldy = r->q->cols, .D = D, .all = w.all, .row = row, .o = w.out, .stat = w.stat, .log2 = r->attr->quantized, .first = i < each }, count);
    }
}

static enum xc_status reformer_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    struct reformer r = { .c = c, .attr = attr, .q = c->in[0], .k = c->in[1], .v = c->in[2], .D = c->in[0]->cols / attr->heads };
    struct work w;

    r.scale = xc_attention_scale(attr, r.D);
    r.D4 = xc_round_up(r.D, 4);
    r.D16 = xc_round_up(r.D, 16);
    for (int32_t s = 0; s < r.q->rag->n_seq; s++) r.longest = xc_max_i64(r.longest, xc_seq_rows(r.q, s));
    if (r.longest > LONGEST) return xc_fail(err, XC_E_RANGE, "node '%s': a sequence has %lld tokens, more than %d", c->node->name, (long long)r.longest, LONGEST);
    XC_TRY(xc_lsh_open(&r.lsh, c, err));
    r.slots = 1 + attr->before + attr->after;
    r.each = lay_out(&r, NULL, &w);
    r.memory = xc_run_scratch(c->run, r.each * (size_t)xc_pool_threads(c->pool));
    if (!r.memory) return xc_fail_nomem(err, r.each);
    xc_pool_run(c->pool, attend, &r, (int64_t)r.q->rag->n_seq * attr->heads);
    return XC_OK;
}

const struct xc_attention_kind xc_attention_reformer = { .name = "reformer", .infer = reformer_infer, .macs = reformer_macs, .forward = reformer_forward };
