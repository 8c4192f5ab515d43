/* steps: running the fused steps of a plan. See steps.h. */
#include "runtime/session/steps.h"

#include <math.h>
#include <string.h>

#define ROW_BLOCK 64     /* rows a block at most: what passes between the steps of a block should stay in L2 */
#define FEW_ROWS 16      /* per thread: below this a segment splits outputs, not rows, over the threads */
#define COL_CHUNK 64     /* outputs a piece of a split linear */

/* ---- addresses ---- */
float *block_value(const struct block *b, int32_t value)
{
    const struct storage *st = &b->plan->storage[value];

    if (st->place == PLACE_LOCAL) return (float *)(void *)(b->memory + st->offset * (size_t)b->rows_cap);
    return (float *)b->views[value].data + b->row0 * b->views[value].cols;
}

/* One line more than the row needs: rows a multiple of 2 KB apart would share a few sets of L1 and drive each other out. */
size_t local_row_bytes(int64_t cols) { return (size_t)xc_round_up(cols * 4, XC_ALIGN) + XC_ALIGN; }

static int64_t block_ld(const struct block *b, int32_t value)
{
    const int64_t cols = b->plan->graph->values[value].cols;

    return b->plan->storage[value].place == PLACE_LOCAL ? (int64_t)(local_row_bytes(cols) / sizeof(float)) : cols;
}

struct qrows {
    int8_t *q;
    float *scale, *mid;
    int32_t *sum;
    int64_t ld;
};

static struct qrows block_q(const struct block *b, int32_t q)
{
    const struct qvalue *v = &b->plan->qvalues[q];
    uint8_t *base = b->memory + v->offset * (size_t)b->rows_cap;
    uint8_t *side = base + (size_t)v->ld * (size_t)b->rows_cap;

    return (struct qrows){ .q = (int8_t *)base, .scale = (float *)(void *)side, .sum = (int32_t *)(void *)(side + 4 * (size_t)b->rows_cap),
                             .mid = v->affine ? (float *)(void *)(side + 8 * (size_t)b->rows_cap) : NULL, .ld = v->ld };
}

/* ---- row-local steps ---- */
static void run_gather(const struct step *s, struct block *b)
{
    const int32_t *ids = (const int32_t *)b->views[s->in[0]].data + b->row0;

    for (int64_t r = 0; r < b->rows; r++)
        if (ids[r] < 0 || ids[r] >= s->table.n) {
            *b->bad_id = 1;
            return;
        }
    b->plan->kern->gather_rows(block_value(b, s->out), block_ld(b, s->out), &s->table, ids, b->rows, s->accumulate);
}
const struct step_type step_gather = { .name = "gather", .local = true, .rows = run_gather };

static void run_linear_columns(const struct step *s, struct block *b, int64_t col0, int64_t col1)
{
    struct xc_epilogue ep = { .col_scale = s->w_scale, .bias = s->bias, .act = s->act, .out = block_value(b, s->out), .ld_out = block_ld(b, s->out) };

    if (s->int8) {
        const struct qrows q = block_q(b, s->q_in);

        ep.row_scale = q.scale;
        ep.row_mid = q.mid;
        if (s->group) {
            const struct xc_gemm_s4 g = { .x = q.q, .ldx = q.ld, .w = s->w, .bytes = s->group_bytes, .scale = s->group_scale, .zero = s->group_zero, .unit = s->group_unit, .w_sum = s->group_w_sum, .N = s->N, .K = s->K, .group = s->group, .ep = ep };

            b->plan->kern->gemm_s4(&g, 0, b->rows, col0, col1);
            return;
        }
        ep.col_sum = s->w_sum;
        const struct xc_gemm_s8 g = { .x = q.q, .ldx = q.ld, .x_sum = q.sum, .w = s->w, .index = s->w_index, .w_sum16 = s->sum16, .N = s->N, .K = s->K, .ep = ep };

        s->gemm_s8(&g, 0, b->rows, col0, col1);
    } else {
        const struct xc_gemm_f32 g = { .x = block_value(b, s->in[0]), .ldx = block_ld(b, s->in[0]), .w = s->w, .N = s->N, .K = s->K, .ep = ep };

        b->plan->kern->gemm_f32(&g, 0, b->rows, col0, col1);
    }
}
static void run_linear(const struct step *s, struct block *b) { run_linear_columns(s, b, 0, s->N); }
const struct step_type step_linear = { .name = "linear", .local = true, .rows = run_linear };

static void run_norm(const struct step *s, struct block *b)
{
    struct xc_norm n = { .x = block_value(b, s->in[0]), .ldx = block_ld(b, s->in[0]), .gain = s->gain, .bias = s->bias,
                         .C = b->plan->graph->values[s->out].cols, .eps = s->eps, .rms = s->rms, .out = block_value(b, s->out), .ld_out = block_ld(b, s->out) };

    if (s->in[1] >= 0) {
        n.residual = block_value(b, s->in[1]);
        n.ld_residual = block_ld(b, s->in[1]);
    }
    if (s->q_out >= 0) {
        const struct qrows q = block_q(b, s->q_out);

        n.q = q.q;
        n.ldq = q.ld;
        n.q_scale = q.scale;
        n.q_sum = q.sum;
        n.static_scale = b->plan->qvalues[s->q_out].static_scale;
        n.q_gain = s->q_gain;
    }
    b->plan->kern->norm_f32(&n, 0, b->rows);
}
const struct step_type step_norm = { .name = "norm", .local = true, .rows = run_norm };

static void run_quantize(const struct step *s, struct block *b)
{
    const struct qrows q = block_q(b, s->q_out);
    const struct qvalue *v = &b->plan->qvalues[s->q_out];

    if (v->affine) b->plan->kern->quantize_rows_affine(q.q, q.ld, q.scale, q.mid, q.sum, block_value(b, s->in[0]), block_ld(b, s->in[0]), s->gain, b->rows, v->cols);
    else b->plan->kern->quantize_rows_s8(q.q, q.ld, q.scale, q.sum, block_value(b, s->in[0]), block_ld(b, s->in[0]), s->gain, b->rows, v->cols, v->static_scale);
}
const struct step_type step_quantize = { .name = "quantize", .local = true, .rows = run_quantize };

static void run_unary(const struct step *s, struct block *b)
{
    const int64_t cols = b->plan->graph->values[s->out].cols, ldx = block_ld(b, s->in[0]), ldy = block_ld(b, s->out);
    const float *x = block_value(b, s->in[0]);
    float *y = block_value(b, s->out);

    for (int64_t r = 0; r < b->rows; r++) b->plan->kern->act_f32(y + r * ldy, x + r * ldx, cols, s->act);
}
const struct step_type step_unary = { .name = "unary", .local = true, .rows = run_unary };

static void run_binary(const struct step *s, struct block *b, void (*fn)(float *, const float *, const float *, int64_t))
{
    const int64_t cols = b->plan->graph->values[s->out].cols;
    const int64_t lda = block_ld(b, s->in[0]), ldb = block_ld(b, s->in[1]), ldy = block_ld(b, s->out);
    const float *x = block_value(b, s->in[0]), *z = block_value(b, s->in[1]);
    float *y = block_value(b, s->out);

    for (int64_t r = 0; r < b->rows; r++) fn(y + r * ldy, x + r * lda, z + r * ldb, cols);
}

static void run_add(const struct step *s, struct block *b)
{
    run_binary(s, b, b->plan->kern->add_f32);
}
const struct step_type step_add = { .name = "add", .local = true, .rows = run_add };

static void run_mul(const struct step *s, struct block *b)
{
    run_binary(s, b, b->plan->kern->mul_f32);
}
const struct step_type step_mul = { .name = "mul", .local = true, .rows = run_mul };

static void run_l2(const struct step *s, struct block *b)
{
    const int64_t cols = b->plan->graph->values[s->out].cols, ldx = block_ld(b, s->in[0]), ldy = block_ld(b, s->out);

    for (int64_t r = 0; r < b->rows; r++)
        b->plan->kern->l2_normalize_rows(block_value(b, s->out) + r * ldy, block_value(b, s->in[0]) + r * ldx, 1, cols, s->eps);
}
const struct step_type step_l2 = { .name = "l2_normalize", .local = true, .rows = run_l2 };

static void run_scale(const struct step *s, struct block *b)
{
    const int64_t cols = b->plan->graph->values[s->out].cols, ldx = block_ld(b, s->in[0]), ldy = block_ld(b, s->out);
    const float *x = block_value(b, s->in[0]);
    float *y = block_value(b, s->out);

    for (int64_t r = 0; r < b->rows; r++) b->plan->kern->mul_f32(y + r * ldy, x + r * ldx, s->gain, cols);
}
const struct step_type step_scale = { .name = "scale", .local = true, .rows = run_scale };

/* ---- a segment ---- */
struct segment_job {
    const struct xc_plan *plan;
    const struct segment *seg;
    const struct xc_view *views;
    uint8_t *memory;
    size_t memory_each;
    int64_t rows, block_rows;
    int bad_id; /* written by many threads, only ever to 1 */
    /* one linear split over outputs */
    const struct step *linear;
    struct block *block;
};

static void run_block(void *arg, int64_t item, int thread)
{
    struct segment_job *job = arg;
    int bad = 0;
    struct block b = { .plan = job->plan, .views = job->views, .memory = job->memory + (size_t)thread * job->memory_each,
                       .row0 = item * job->block_rows, .rows_cap = job->block_rows, .bad_id = &bad };

    b.rows = xc_min_i64(job->block_rows, job->rows - b.row0);
    for (int32_t i = 0; i < job->seg->n && !bad; i++) {
        const struct step *s = &job->plan->steps[job->seg->first + i];

        s->type->rows(s, &b);
    }
    if (bad) __atomic_store_n(&job->bad_id, 1, __ATOMIC_RELAXED);
}

static void run_columns(void *arg, int64_t item, int thread)
{
    struct segment_job *job = arg;

    (void)thread;
    run_linear_columns(job->linear, job->block, item * COL_CHUNK, xc_min_i64((item + 1) * COL_CHUNK, job->linear->N));
}

enum xc_status run_segment(const struct xc_plan *p, const struct segment *seg, struct xc_run *run, struct xc_err *err)
{
    const struct xc_ragged *rag = &run->spaces[seg->space];
    const int threads = xc_pool_threads(run->pool);
    struct segment_job job = { .plan = p, .seg = seg, .views = run->views, .rows = rag->start[rag->n_seq] };
    bool has_linear = false;
    int64_t n_blocks;

    if (job.rows == 0) return XC_OK;
    for (int32_t i = 0; i < seg->n; i++) has_linear |= p->steps[seg->first + i].type == &step_linear;
    const bool split_outputs = threads > 1 && has_linear && job.rows < (int64_t)FEW_ROWS * threads;

    n_blocks = split_outputs ? 1 : xc_round_up(xc_div_up(job.rows, ROW_BLOCK), threads);
    job.block_rows = xc_round_up(xc_div_up(job.rows, n_blocks), 16); /* 16 floats a line: every part of the block's memory stays aligned */
    job.memory_each = seg->row_bytes * (size_t)job.block_rows + XC_ALIGN;
    job.memory = xc_scratch_alloc(&run->node, job.memory_each * (size_t)threads);
    if (!job.memory) return xc_fail_nomem(err, job.memory_each * (size_t)threads);

    if (!split_outputs) {
        xc_pool_run(run->pool, run_block, &job, xc_div_up(job.rows, job.block_rows));
    } else {
        struct block b = { .plan = p, .views = run->views, .memory = job.memory, .rows = job.rows, .rows_cap = job.block_rows, .bad_id = &job.bad_id };

        job.block = &b;
        for (int32_t i = 0; i < seg->n && !job.bad_id; i++) {
            const struct step *s = &p->steps[seg->first + i];

            job.linear = s;
            if (s->type == &step_linear) xc_pool_run(run->pool, run_columns, &job, xc_div_up(s->N, COL_CHUNK));
            else s->type->rows(s, &b);
        }
    }
    if (job.bad_id) return xc_fail(err, XC_E_RANGE, "an id is outside its table in graph '%s'", p->graph->name);
    return XC_OK;
}

/* ---- attention ---- */
struct attention_job {
    const struct xc_kernels *kern;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k, *v, *out;
    int64_t heads, group, D;
    float scale;
    uint8_t *memory;
    size_t memory_each, q_at, q_scale_at, q_sum_at, k_at, k_scale_at, v_at, v_scale_at, scratch_at;
};

static void attend_s8(const struct attention_job *job, int64_t seq, int64_t head, uint8_t *mem)
{
    const int64_t D = job->D, h = head, kvh = head / job->group;
    const int64_t q0 = job->q->rag->start[seq], k0 = job->k->rag->start[seq];
    const int64_t n_q = job->q->rag->start[seq + 1] - q0, n_k = job->k->rag->start[seq + 1] - k0;
    const struct xc_attn_s8 a = {
        .q = (int8_t *)(mem + job->q_at), .ldq = xc_round_up(D, 4), .q_scale = (float *)(void *)(mem + job->q_scale_at),
        .k = (int8_t *)(mem + job->k_at), .k_scale = (float *)(void *)(mem + job->k_scale_at),
        .v = (int8_t *)(mem + job->v_at), .v_scale = (float *)(void *)(mem + job->v_scale_at),
        .n_q = n_q, .n_k = n_k, .D = D, .scale = job->scale, .causal = job->attr->causal,
        .out = (float *)job->out->data + q0 * job->out->cols + h * D, .ld_out = job->out->cols, .scratch = mem + job->scratch_at };

    if (n_q == 0) return;
    job->kern->quantize_rows_s8((int8_t *)(mem + job->q_at), a.ldq, (float *)(void *)(mem + job->q_scale_at), (int32_t *)(void *)(mem + job->q_sum_at),
                                (const float *)job->q->data + q0 * job->q->cols + h * D, job->q->cols, NULL, n_q, D, 0.0f);
    job->kern->pack_keys_s8((int8_t *)(mem + job->k_at), (float *)(void *)(mem + job->k_scale_at),
                            (const float *)job->k->data + k0 * job->k->cols + kvh * D, job->k->cols, n_k, D);
    job->kern->pack_values_s8((int8_t *)(mem + job->v_at), (float *)(void *)(mem + job->v_scale_at),
                              (const float *)job->v->data + k0 * job->v->cols + kvh * D, job->v->cols, n_k, D);
    job->kern->attn_s8(&a, 0, n_q);
}

static void attend_f32(const struct attention_job *job, int64_t seq, int64_t head, uint8_t *mem)
{
    const int64_t D = job->D, kvh = head / job->group;
    const int64_t q0 = job->q->rag->start[seq], k0 = job->k->rag->start[seq];
    const struct xc_attn_f32 a = {
        .q = (const float *)job->q->data + q0 * job->q->cols + head * D, .ldq = job->q->cols,
        .k = (const float *)job->k->data + k0 * job->k->cols + kvh * D, .ldk = job->k->cols,
        .v = (const float *)job->v->data + k0 * job->v->cols + kvh * D, .ldv = job->v->cols,
        .n_q = job->q->rag->start[seq + 1] - q0, .n_k = job->k->rag->start[seq + 1] - k0, .D = D, .scale = job->scale, .causal = job->attr->causal,
        .out = (float *)job->out->data + q0 * job->out->cols + head * D, .ld_out = job->out->cols, .scratch = mem + job->scratch_at };

    if (a.n_q > 0) job->kern->attn_f32(&a, 0, a.n_q);
}

static void attend(void *arg, int64_t item, int thread)
{
    struct attention_job *job = arg;
    uint8_t *mem = job->memory + (size_t)thread * job->memory_each;

    if (job->attr->quantized) attend_s8(job, item / job->heads, item % job->heads, mem);
    else attend_f32(job, item / job->heads, item % job->heads, mem);
}

/* Lays out one thread's memory; all parts 64-byte aligned. */
static size_t lay(size_t *total, int64_t bytes)
{
    const size_t at = *total;

    *total += (size_t)xc_round_up(bytes, XC_ALIGN);
    return at;
}

static enum xc_status run_attention(const struct step *s, const struct xc_plan *p, struct xc_run *run, struct xc_err *err)
{
    const struct xc_attr_attention *attr = s->node->attr;
    const int threads = xc_pool_threads(run->pool);
    struct attention_job job = { .kern = p->kern, .attr = attr, .q = &run->views[s->in[0]], .k = &run->views[s->in[1]], .v = &run->views[s->in[2]],
                                 .out = &run->views[s->out], .heads = attr->heads };
    int64_t max_q = 0, max_k = 0;

    job.group = attr->kv_heads > 0 ? attr->heads / attr->kv_heads : 1;
    job.D = job.q->cols / job.heads;
    job.scale = attr->scale != 0.0f ? attr->scale : 1.0f / sqrtf((float)job.D);
    for (int32_t i = 0; i < job.q->rag->n_seq; i++) {
        max_q = xc_max_i64(max_q, job.q->rag->start[i + 1] - job.q->rag->start[i]);
        max_k = xc_max_i64(max_k, job.k->rag->start[i + 1] - job.k->rag->start[i]);
        if (job.k->rag->start[i + 1] != job.v->rag->start[i + 1]) return xc_fail(err, XC_E_SHAPE, "node '%s': sequence %d has not as many keys as values", s->node->name, i);
        if (job.k->rag->start[i + 1] - job.k->rag->start[i] < (attr->causal ? job.q->rag->start[i + 1] - job.q->rag->start[i] : job.q->rag->start[i + 1] > job.q->rag->start[i]))
            return xc_fail(err, XC_E_SHAPE, "node '%s': sequence %d has fewer keys than its queries need", s->node->name, i);
    }
    if (max_q == 0) return XC_OK;
    if (attr->quantized) {
        const int64_t blocks = xc_div_up(max_k, XC_KEY_BLOCK), Dp = xc_round_up(job.D, 16);

        job.q_at = lay(&job.memory_each, max_q * xc_round_up(job.D, 4) + XC_ALIGN);
        job.q_scale_at = lay(&job.memory_each, max_q * 4);
        job.q_sum_at = lay(&job.memory_each, max_q * 4);
        job.k_at = lay(&job.memory_each, (int64_t)xc_panel_s8_bytes(max_k, job.D) + XC_ALIGN);
        job.k_scale_at = lay(&job.memory_each, xc_round_up(max_k, 16) * 4);
        job.v_at = lay(&job.memory_each, blocks * (int64_t)xc_panel_s8_bytes(job.D, XC_KEY_BLOCK) + XC_ALIGN);
        job.v_scale_at = lay(&job.memory_each, blocks * Dp * 4);
    }
    job.scratch_at = lay(&job.memory_each, (int64_t)xc_attn_scratch_bytes(job.D));
    job.memory = xc_scratch_alloc(&run->node, job.memory_each * (size_t)threads);
    if (!job.memory) return xc_fail_nomem(err, job.memory_each * (size_t)threads);
    xc_pool_run(run->pool, attend, &job, job.q->rag->n_seq * job.heads);
    return XC_OK;
}
const struct step_type step_attention = { .name = "attention", .whole = run_attention };

/* ---- pooling ---- */
struct pool_job {
    const struct xc_kernels *kern;
    const struct xc_view *in, *out;
    int32_t mode;
};

static void pool_sequence(void *arg, int64_t item, int thread)
{
    const struct pool_job *job = arg;
    const int64_t r0 = job->in->rag->start[item], R = job->in->rag->start[item + 1] - r0, C = job->in->cols;
    const float *x = (const float *)job->in->data + r0 * C;
    float *y = (float *)job->out->data + item * C;

    (void)thread;
    if (R == 0) memset(y, 0, (size_t)C * sizeof *y);
    else if (job->mode == XC_POOL_MEAN) job->kern->mean_rows(y, x, C, R, C);
    else if (job->mode == XC_POOL_MAX) job->kern->max_rows(y, x, C, R, C);
    else memcpy(y, job->mode == XC_POOL_LAST ? x + (R - 1) * C : x, (size_t)C * sizeof *y);
}

static enum xc_status run_pool(const struct step *s, const struct xc_plan *p, struct xc_run *run, struct xc_err *err)
{
    struct pool_job job = { .kern = p->kern, .in = &run->views[s->in[0]], .out = &run->views[s->out], .mode = ((const struct xc_attr_pool *)s->node->attr)->mode };

    (void)err;
    if (job.mode == XC_POOL_MEAN_SQRT) return xc_run_node(run, p->graph, s->node, err);
    xc_pool_run(run->pool, pool_sequence, &job, job.in->rag->n_seq);
    return XC_OK;
}
const struct step_type step_pool = { .name = "pool", .whole = run_pool };

/* ---- whatever is not fused ---- */
static enum xc_status run_plain(const struct step *s, const struct xc_plan *p, struct xc_run *run, struct xc_err *err)
{
    run->prepared = s->prepared;
    const enum xc_status status = xc_run_node(run, p->graph, s->node, err);

    run->prepared = NULL;
    return status;
}
const struct step_type step_node = { .name = "node", .whole = run_plain };
