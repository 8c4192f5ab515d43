/* longformer_fold: see longformer_fold.h. Pairs of a global token and a head are treated 16 at a time, as the 16 columns of the f32 product's panels; scores, u and z stay
 * in that order from one product to the next. Everything is f32, in a quantized model too: weights are decoded when a model is opened. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/longformer_fold.h"
#include "runtime/kernels/scalar/math.h"

enum { SLOTS = 16 };
static const int weights[] = { XC_FOLD_Q, XC_FOLD_K, XC_FOLD_V };

static bool given(const struct xc_infer *c, int i) { return i < c->node->n_in && c->node->in[i].kind != XC_REF_NONE; }

enum xc_status xc_fold_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *a = c->node->attr;
    const struct xc_value *q = xc_infer_value(c, 0), *x;

    if (xc_attention_kv_heads(a) != a->heads) return xc_fail(err, XC_E_UNSUPPORTED, "longformer attention: folded projections need as many heads of keys as of queries");
    XC_TRY(xc_need_value(c, XC_FOLD_X, XC_DTYPE_F32, err));
    x = xc_infer_value(c, XC_FOLD_X);
    if (x->space != q->space) return xc_fail(err, XC_E_SHAPE, "longformer attention: what folded projections read must have rows like q");
    for (int i = 0; i < 3; i++) XC_TRY(xc_need_tensor(c, weights[i], q->cols, x->cols, err));
    for (int i = XC_FOLD_BQ; i <= XC_FOLD_BV; i++)
        if (given(c, i)) XC_TRY(xc_need_tensor(c, i, 1, q->cols, err));
    return XC_OK;
}

/* ---- weights as rows of f32 ---- */
static bool plain(const struct xc_tensor *t) { return t->part[XC_PART_DATA] && t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS; }
static size_t decoded(const struct xc_tensor *t) { return (size_t)xc_round_up((xc_tensor_count(t) + 64) * (int64_t)sizeof(float), XC_ALIGN); }

size_t xc_fold_bytes(const struct xc_model *m, const struct xc_node *node)
{
    size_t bytes = 0;

    for (int i = 0; i < 3 && xc_is_folded(node); i++)
        if (!plain(m->tensors[node->in[weights[i]].id])) bytes += decoded(m->tensors[node->in[weights[i]].id]);
    return bytes;
}

enum xc_status xc_fold_prepare(void *to, const struct xc_model *m, const struct xc_node *node, const struct xc_kernels *kern, struct xc_err *err)
{
    uint8_t *at = to;

    (void)kern;
    memset(to, 0, xc_fold_bytes(m, node));
    for (int i = 0; i < 3; i++) {
        const struct xc_tensor *t = m->tensors[node->in[weights[i]].id];

        if (plain(t)) continue;
        XC_TRY(xc_tensor_to_f32(t, (float *)(void *)at, err));
        at += decoded(t);
    }
    return XC_OK;
}

/* ---- a run ---- */
struct fold {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *x;
    const float *w[3], *bq, *bv; /* as `weights` */
    const int32_t *glob;
    const int64_t *start;
    int64_t *item;               /* (n_seq + 1): items before it */
    int64_t heads, D, C, longest;
    float scale;
    float *scratch;
    int64_t each;
};

static enum xc_status find_weights(struct fold *f, struct xc_err *err)
{
    const uint8_t *at = f->c->prepared;

    for (int i = 0; i < 3; i++) {
        const struct xc_tensor *t = f->c->tensor[weights[i]];

        if (plain(t)) {
            f->w[i] = (const float *)(const void *)t->part[XC_PART_DATA]->data;
        } else if (at) {
            f->w[i] = (const float *)(const void *)at;
            at += decoded(t);
        } else {
            XC_TRY(xc_attention_tensor(f->c, t, &f->w[i], err));
        }
    }
    if (f->c->tensor[XC_FOLD_BQ]) XC_TRY(xc_attention_tensor(f->c, f->c->tensor[XC_FOLD_BQ], &f->bq, err));
    return f->c->tensor[XC_FOLD_BV] ? xc_attention_tensor(f->c, f->c->tensor[XC_FOLD_BV], &f->bv, err) : XC_OK;
}

/* out (R, SLOTS) = x (R, K) panel (K, SLOTS); step: x is (K, step), transposed. */
static void product(const struct fold *f, float *out, const float *x, int64_t ldx, int64_t step, const float *panel, int64_t R, int64_t K)
{
    const struct xc_gemm_f32 g = { .x = x, .ldx = step ? 16 : ldx, .x_step = step, .w = panel, .N = SLOTS, .K = K, .ep = { .out = out, .ld_out = SLOTS } };

    f->c->kern->gemm_f32(&g, 0, R, 0, SLOTS);
}

/* Column `slot` of s (n, SLOTS): the softmax of its first `seen` scores; zeros behind them. */
static void softmax_column(float *s, int64_t slot, int64_t n, int64_t seen, float scale)
{
    float top = -INFINITY;
    double sum = 0;

    for (int64_t j = 0; j < seen; j++) top = s[j * SLOTS + slot] * scale > top ? s[j * SLOTS + slot] * scale : top;
    for (int64_t j = 0; j < seen; j++) sum += (double)(s[j * SLOTS + slot] = xc_exp_f32(s[j * SLOTS + slot] * scale - top));
    for (int64_t j = 0; j < seen; j++) s[j * SLOTS + slot] *= (float)(1 / sum);
    for (int64_t j = seen; j < n; j++) s[j * SLOTS + slot] = 0.0f;
}

/* Item: (sequence, 16 pairs of a global token and a head). */
static void attend(void *arg, int64_t item, int thread)
{
    const struct fold *f = arg;
    const int64_t s = xc_find_share(f->item, f->x->rag->n_seq, item), C = f->C, D = f->D, n = xc_seq_rows(f->x, s), wide = xc_max_i64(C, D);
    const int64_t first = (item - f->item[s]) * SLOTS, count = xc_min_i64(SLOTS, (f->start[s + 1] - f->start[s]) * f->heads - first);
    const float *x = xc_seq_data(f->x, s, 0);
    float *xt = f->scratch + thread * f->each, *q = xt + wide * SLOTS, *u = q + wide * SLOTS, *some = u + wide * SLOTS, *p = some + wide * SLOTS;

    memset(xt, 0, (size_t)(4 * wide * SLOTS) * sizeof *xt);
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < C; k++) xt[k * SLOTS + i] = x[f->glob[f->start[s] + (first + i) / f->heads] * C + k];
    for (int64_t i = 0; i < count; i++) { /* of each pair's head the product with all pairs, of which its own column is taken */
        const int64_t h = (first + i) % f->heads;

        product(f, some, f->w[0] + h * D * C, C, 0, xt, D, C);
        for (int64_t d = 0; d < D; d++) q[d * SLOTS + i] = some[d * SLOTS + i] + (f->bq ? f->bq[h * D + d] : 0.0f);
    }
    for (int64_t i = 0; i < count; i++) {
        product(f, some, f->w[1] + (first + i) % f->heads * D * C, 0, C, q, C, D);
        for (int64_t k = 0; k < C; k++) u[k * SLOTS + i] = some[k * SLOTS + i];
    }
    product(f, p, x, C, 0, u, n, C);
    for (int64_t i = 0; i < SLOTS; i++)
        softmax_column(p, i, n, i >= count ? 0 : f->attr->causal ? f->glob[f->start[s] + (first + i) / f->heads] + 1 : n, f->scale);
    product(f, u, x, 0, C, p, C, n);
    for (int64_t i = 0; i < count; i++) {
        const int64_t h = (first + i) % f->heads, row = f->x->rag->start[s] + f->glob[f->start[s] + (first + i) / f->heads];
        float *out = (float *)f->c->out[0]->data + row * f->c->out[0]->cols + h * D;

        product(f, some, f->w[2] + h * D * C, C, 0, u, D, C);
        for (int64_t d = 0; d < D; d++) out[d] = some[d * SLOTS + i] + (f->bv ? f->bv[h * D + d] : 0.0f);
    }
}

enum xc_status xc_fold_forward(const struct xc_op_ctx *c, const int32_t *glob, const int64_t *start, struct xc_err *err)
{
    struct fold f = { .c = c, .attr = c->attr, .x = c->in[XC_FOLD_X], .glob = glob, .start = start };
    const int64_t n_seq = f.x->rag->n_seq;
    size_t bytes;

    f.heads = f.attr->heads, f.C = f.x->cols, f.D = c->out[0]->cols / f.heads;
    f.scale = xc_attention_scale(f.attr, f.D);
    XC_TRY(find_weights(&f, err));
    f.item = xc_run_scratch(c->run, (size_t)(n_seq + 1) * sizeof *f.item);
    if (!f.item) return xc_fail_nomem(err, (size_t)n_seq * sizeof *f.item);
    f.item[0] = 0;
    for (int64_t s = 0; s < n_seq; s++) {
        f.item[s + 1] = f.item[s] + xc_div_up((start[s + 1] - start[s]) * f.heads, SLOTS);
        if (start[s + 1] > start[s]) f.longest = xc_max_i64(f.longest, xc_seq_rows(f.x, s));
    }
    f.each = (4 * xc_max_i64(f.C, f.D) + xc_round_up(f.longest, 16)) * SLOTS;
    bytes = (size_t)(f.each * xc_pool_threads(c->pool)) * sizeof *f.scratch;
    f.scratch = xc_run_scratch(c->run, bytes);
    if (!f.scratch) return xc_fail_nomem(err, bytes);
    xc_pool_run(c->pool, attend, &f, f.item[n_seq]);
    return XC_OK;
}
