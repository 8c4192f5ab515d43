/* token pruning: rows that matter little are left out of the layers behind. Kim et al. 2022 (LTP), arXiv:2107.00910; Goyal et al. 2020 (PoWER-BERT), arXiv:2001.08950.
 *
 *   attention_received   q (R, heads*D), k (R, kv*D), v (R, kv*D) or nothing   y (R,1)
 *       y_j = mean over heads and queries i of softmax(scale q_i . k)_j, so that a sequence's y sum to 1; with v each head's share is times |v_j|, which is small where
 *       attention rests without taking anything along (Kobayashi et al. 2020, arXiv:2004.10102). Of a sequence with more than `queries` rows only every s-th is asked,
 *       s = ceil(R / queries); 0 = all. Queries and keys are int8, as in quantized attention, whatever the model is.
 *   keep_rows            score (R,1), a (R,A), b (R,B)   a' (K,A), b' (K,B), from (K,1) i32
 *       The rows of a sequence whose score is at least threshold times the mean of its scores, and the first; of those the `most` with the largest scores, earlier ones
 *       first among equals (0 = all). They keep their order; from is their place in the sequence. K is known at run time: a subset space. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/graph/attention/keys.h"
#include "runtime/graph/run.h"

#define TILE 64 /* queries */

/* ---- attention_received ---- */
static enum xc_status received_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_received *a = c->node->attr;
    const int32_t kv = a->kv_heads > 0 ? a->kv_heads : a->heads;
    const struct xc_value *q, *k;

    for (int i = 0; i < 2; i++) XC_TRY(xc_need_value(c, i, XC_DTYPE_F32, err));
    q = xc_infer_value(c, 0);
    k = xc_infer_value(c, 1);
    if (c->node->n_in > 2) XC_TRY(xc_need_value(c, 2, XC_DTYPE_F32, err));
    if (c->node->n_in > 2 && (xc_infer_value(c, 2)->space != k->space || xc_infer_value(c, 2)->cols != k->cols)) return xc_fail(err, XC_E_SHAPE, "v is not like k");
    if (q->space != k->space || q->cols % a->heads || a->heads % kv || k->cols != q->cols / a->heads * (int64_t)kv)
        return xc_fail(err, XC_E_SHAPE, "%d heads (%d for k) do not fit q of %d and k of %d columns of one row space", a->heads, kv, q->cols, k->cols);
    c->out[0].space = q->space;
    c->out[0].cols = 1;
    return XC_OK;
}

static void received_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_attr_received *a = node->attr;
    const struct xc_value *q = &g->values[node->in[0].id];
    const double n = n_seq > 0 ? (double)n_seq : 1, each = (double)rows[q->space] / n;

    cost->macs += n * each * (a->queries && each > a->queries ? a->queries : each) * q->cols;
}

struct received {
    const struct xc_op_ctx *c;
    int64_t heads, group, D;
    float scale, *sum; /* (heads, rows of q) */
    uint8_t *memory;
    size_t each, q, q_scale, q_sum, k, k_scale, score;
};

/* One head of one sequence. */
static void received_item(void *arg, int64_t item, int thread)
{
    const struct received *r = arg;
    const struct xc_view *q = r->c->in[0], *k = r->c->in[1];
    const struct xc_kernels *kern = r->c->kern;
    const int32_t queries = ((const struct xc_attr_received *)r->c->attr)->queries;
    const int64_t head = item % r->heads, s = item / r->heads, n = xc_seq_rows(q, s), step = queries ? xc_max_i64(1, xc_div_up(n, queries)) : 1, asked = xc_div_up(n, step), D4 = xc_round_up(r->D, 4);
    uint8_t *mem = r->memory + (size_t)thread * r->each;
    float *sum = r->sum + head * q->rows + q->rag->start[s], *q_scale = (float *)(void *)(mem + r->q_scale), *k_scale = (float *)(void *)(mem + r->k_scale), *score = (float *)(void *)(mem + r->score);
    int32_t *q_sum = (int32_t *)(void *)(mem + r->q_sum);
    int8_t *q8 = (int8_t *)(mem + r->q), *k8 = (int8_t *)(mem + r->k);

    if (n == 0) return;
    memset(sum, 0, (size_t)n * sizeof *sum);
    kern->pack_keys_s8(k8, k_scale, xc_seq_data(k, s, head / r->group * r->D), k->cols, n, r->D);
    for (int64_t i0 = 0; i0 < asked; i0 += TILE) {
        const int64_t rows = xc_min_i64(TILE, asked - i0);
        const struct xc_gemm_s8 g = { .x = q8, .ldx = D4, .x_sum = q_sum, .w = k8, .N = n, .K = r->D, .ep = { .row_scale = q_scale, .col_scale = k_scale, .out = score, .ld_out = n } };

        kern->quantize_rows_s8(q8, D4, q_scale, q_sum, xc_seq_data(q, s, head * r->D) + i0 * step * q->cols, step * q->cols, NULL, rows, r->D, 0.0f);
        for (int64_t i = 0; i < rows; i++) q_scale[i] *= r->scale;
        kern->gemm_s8(&g, 0, rows, 0, n);
        kern->softmax_rows(score, score, rows, n);
        for (int64_t i = 0; i < rows; i++) kern->add_f32(sum, sum, score + i * n, n);
    }
    for (int64_t j = 0; j < n; j++) {
        float norm = 1;

        if (r->c->in[2]) { /* x / |x| times x, summed: no kernel of its own */
            const float *v = xc_seq_data(r->c->in[2], s, head / r->group * r->D) + j * k->cols;
            double squares = 0;

            for (int64_t d = 0; d < r->D; d++) squares += (double)v[d] * (double)v[d];
            norm = (float)sqrt(squares);
        }
        sum[j] = sum[j] * norm / (float)(asked * r->heads);
    }
}

static size_t lay(size_t *total, size_t bytes)
{
    const size_t at = *total;

    *total += (bytes + XC_ALIGN - 1) / XC_ALIGN * XC_ALIGN;
    return at;
}

static enum xc_status received_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_received *a = c->attr;
    const struct xc_view *q = c->in[0];
    struct received r = { .c = c, .heads = a->heads, .group = a->kv_heads > 0 ? a->heads / a->kv_heads : 1, .D = q->cols / a->heads };
    const int threads = xc_pool_threads(c->pool);
    float *y = c->out[0]->data;
    int64_t longest = 0;

    for (int32_t s = 0; s < q->rag->n_seq; s++) longest = xc_max_i64(longest, xc_seq_rows(q, s));
    r.scale = a->scale != 0 ? a->scale : 1 / sqrtf((float)r.D);
    r.q = lay(&r.each, (size_t)(TILE * xc_round_up(r.D, 4)) + XC_ALIGN);
    r.q_scale = lay(&r.each, TILE * 4);
    r.q_sum = lay(&r.each, TILE * 4);
    r.k = lay(&r.each, xc_panel_s8_bytes(longest, r.D) + XC_ALIGN);
    r.k_scale = lay(&r.each, (size_t)xc_round_up(longest, 16) * 4);
    r.score = lay(&r.each, (size_t)longest * TILE * 4 + XC_ALIGN);
    r.memory = xc_run_scratch(c->run, r.each * (size_t)threads);
    r.sum = xc_run_scratch(c->run, (size_t)(q->rows * r.heads) * sizeof *r.sum);
    if (!r.memory || !r.sum) return xc_fail_nomem(err, r.each * (size_t)threads);
    xc_pool_run(c->pool, received_item, &r, q->rag->n_seq * r.heads);
    memcpy(y, r.sum, (size_t)q->rows * sizeof *y);
    for (int64_t h = 1; h < r.heads; h++) c->kern->add_f32(y, y, r.sum + h * q->rows, q->rows);
    return XC_OK;
}

/* ---- keep_rows ---- */
static enum xc_status keep_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_space like = { .map = XC_MAP_SUBSET, .base = xc_infer_value(c, 0) ? xc_infer_value(c, 0)->space : -1 };

    for (int i = 0; i < 3; i++) {
        XC_TRY(xc_need_value(c, i, XC_DTYPE_F32, err));
        if (xc_infer_value(c, i)->space != like.base) return xc_fail(err, XC_E_SHAPE, "the operands of 'keep_rows' differ in row space");
        XC_TRY(xc_infer_space(c, &like, &c->out[i].space, err));
        c->out[i].cols = i < 2 && c->node->n_in > i + 1 && xc_infer_value(c, i + 1) ? xc_infer_value(c, i + 1)->cols : 1;
        c->out[i].dtype = i < 2 ? XC_DTYPE_F32 : XC_DTYPE_I32;
    }
    return xc_infer_value(c, 0)->cols == 1 ? XC_OK : xc_fail(err, XC_E_SHAPE, "scores must have one column");
}

struct ranked {
    float score;
    int32_t row;
};

static int by_score(const void *x, const void *y)
{
    const struct ranked *a = x, *b = y;

    return a->score != b->score ? (a->score < b->score) - (a->score > b->score) : (a->row > b->row) - (a->row < b->row);
}

static int by_row(const void *x, const void *y) { return ((const struct ranked *)x)->row - ((const struct ranked *)y)->row; }

/* The rows of one sequence that stay, in order; room for all. A score that is no number stays. */
static int64_t choose(struct ranked *to, const float *score, int64_t n, const struct xc_attr_keep *a)
{
    int64_t kept = 0;
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += (double)score[i];
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || !((double)score[i] * (double)n < (double)a->threshold * sum)) to[kept++] = (struct ranked){ i == 0 || isnan(score[i]) ? INFINITY : score[i], (int32_t)i };
    if (!a->most || kept <= a->most) return kept;
    qsort(to, (size_t)kept, sizeof *to, by_score);
    qsort(to, (size_t)a->most, sizeof *to, by_row);
    return a->most;
}

static enum xc_status keep_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_ragged *rag = c->in[0]->rag;
    const size_t A = (size_t)c->in[1]->cols * sizeof(float), B = (size_t)c->in[2]->cols * sizeof(float);
    struct ranked *ranked = xc_run_scratch(c->run, (size_t)c->in[0]->rows * sizeof *ranked);
    int32_t *start = xc_run_scratch(c->run, ((size_t)rag->n_seq + 1) * sizeof *start), *from = c->out[2]->data;
    uint8_t *a = c->out[0]->data, *b = c->out[1]->data;

    if (!ranked || !start) return xc_fail_nomem(err, (size_t)c->in[0]->rows * sizeof *ranked);
    start[0] = 0;
    for (int32_t s = 0; s < rag->n_seq; s++) {
        const int64_t row0 = rag->start[s], n = choose(ranked, (const float *)c->in[0]->data + row0, xc_seq_rows(c->in[0], s), c->attr);

        for (int64_t i = 0; i < n; i++, a += A, b += B, from++) {
            memcpy(a, (const uint8_t *)c->in[1]->data + (size_t)(row0 + ranked[i].row) * A, A);
            memcpy(b, (const uint8_t *)c->in[2]->data + (size_t)(row0 + ranked[i].row) * B, B);
            *from = ranked[i].row;
        }
        start[s + 1] = start[s] + (int32_t)n;
    }
    return xc_run_resize(c->run, c->graph, c->graph->values[c->node->out[0]].space, start, err);
}

static const struct xc_attr_def received_attrs[] = {
    { "heads", XC_ATTR_INT, offsetof(struct xc_attr_received, heads), 1, NULL, 1, 1 << 16 },
    { "kv_heads", XC_ATTR_INT, offsetof(struct xc_attr_received, kv_heads), 0, NULL, 0, 1 << 16 },
    { "scale", XC_ATTR_FLOAT, offsetof(struct xc_attr_received, scale), 0, NULL, 0, 1e6 },
    { "queries", XC_ATTR_INT, offsetof(struct xc_attr_received, queries), 0, NULL, 0, 1 << 24 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const struct xc_attr_def keep_attrs[] = {
    { "threshold", XC_ATTR_FLOAT, offsetof(struct xc_attr_keep, threshold), 0, NULL, 0, 1e6 },
    { "most", XC_ATTR_INT, offsetof(struct xc_attr_keep, most), 0, NULL, 0, 1 << 24 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const received_names[] = { "q", "k", "v" }, *const keep_names[] = { "score", "a", "b" };
const struct xc_op xc_op_attention_received = { .name = "attention_received", .version = 1, .min_in = 2, .max_in = 3, .n_out = 1, .attrs = received_attrs,
                                                .attr_size = sizeof(struct xc_attr_received), .in_names = received_names, .infer = received_infer, .cost = received_cost,
                                                .forward = received_forward };
const struct xc_op xc_op_keep_rows = { .name = "keep_rows", .version = 1, .min_in = 3, .max_in = 3, .n_out = 3, .attrs = keep_attrs, .attr_size = sizeof(struct xc_attr_keep),
                                       .in_names = keep_names, .infer = keep_infer, .forward = keep_forward };
