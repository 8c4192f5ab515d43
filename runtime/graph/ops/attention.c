/* attention: weighted sums of v by the match of q and k, head by head; the kind says how (attention/<kind>.c).
 *
 *   in    q (Rq, heads*D), k (Rk, kv*D), v (Rk, kv*D), then what the kind takes. k and v share a row space, or are the rows of two states,
 *         which must then hold as many at run time
 *   out   y (Rq, heads*D) */
#include <string.h>

#include "runtime/graph/attention/attention.h"

#define KIND(name) extern const struct xc_attention_kind xc_attention_##name;
#include "runtime/graph/attention/kinds.def"
#undef KIND

const struct xc_attention_kind *const xc_attention_kinds[] = {
#define KIND(name) &xc_attention_##name,
#include "runtime/graph/attention/kinds.def"
#undef KIND
};
const int xc_attention_n_kinds = (int)XC_ARRAY_LEN(xc_attention_kinds);

int32_t xc_attention_kind_named(const char *name)
{
    for (int32_t i = 0; i < xc_attention_n_kinds; i++)
        if (!strcmp(xc_attention_kinds[i]->name, name)) return i;
    return -1;
}

static const char *const kind_names[] = {
#define KIND(name) #name,
#include "runtime/graph/attention/kinds.def"
#undef KIND
    NULL
};

static enum xc_status attention_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->node->attr;
    const int32_t kv = attr->kv_heads > 0 ? attr->kv_heads : attr->heads;
    const struct xc_value *q, *k, *v;

    for (int i = 0; i < 3; i++) XC_TRY(xc_need_value(c, i, XC_DTYPE_F32, err));
    q = xc_infer_value(c, 0);
    k = xc_infer_value(c, 1);
    v = xc_infer_value(c, 2);
    if (q->cols % attr->heads || attr->heads % kv || k->cols != q->cols / attr->heads * (int64_t)kv || v->cols != k->cols ||
        (k->space != v->space && (c->graph->spaces[k->space].map != XC_MAP_STATE || c->graph->spaces[v->space].map != XC_MAP_STATE)))
        return xc_fail(err, XC_E_SHAPE, "%d heads (%d for k and v) do not fit q of %d, k of %d and v of %d columns", attr->heads, kv, q->cols, k->cols, v->cols);
    if (xc_attention_kinds[attr->kind]->infer) XC_TRY(xc_attention_kinds[attr->kind]->infer(c, err));
    else if (c->node->n_in > 3 && c->node->in[3].kind != XC_REF_NONE) return xc_fail(err, XC_E_UNSUPPORTED, "attention kind '%s' takes no fourth input", kind_names[attr->kind]);
    c->out[0].space = q->space;
    c->out[0].cols = q->cols;
    return XC_OK;
}

static void attention_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_attr_attention *attr = node->attr;
    const struct xc_value *q = &g->values[node->in[0].id], *k = &g->values[node->in[1].id];
    const double n = n_seq > 0 ? (double)n_seq : 1.0;
    const struct xc_attention_kind *kind = xc_attention_kinds[attr->kind];
    const double share = kind->share ? kind->share(g->model, node) : 1.0;

    cost->macs += n * share * kind->macs(attr, (double)rows[q->space] / n, (double)rows[k->space] / n, (double)q->cols / attr->heads);
}

static enum xc_status attention_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    return xc_attention_kinds[((const struct xc_attr_attention *)c->attr)->kind]->forward(c, err);
}

static const struct xc_attr_def attrs[] = {
    { "kind", XC_ATTR_CHOICE, offsetof(struct xc_attr_attention, kind), 0, kind_names, 0, XC_ARRAY_LEN(kind_names) - 2 },
    { "heads", XC_ATTR_INT, offsetof(struct xc_attr_attention, heads), 1, NULL, 1, 1 << 16 },
    { "kv_heads", XC_ATTR_INT, offsetof(struct xc_attr_attention, kv_heads), 0, NULL, 0, 1 << 16 },
    { "scale", XC_ATTR_FLOAT, offsetof(struct xc_attr_attention, scale), 0, NULL, 0, 1e6 },
    { "causal", XC_ATTR_BOOL, offsetof(struct xc_attr_attention, causal), 0, NULL, 0, 1 },
    { "quantized", XC_ATTR_BOOL, offsetof(struct xc_attr_attention, quantized), 0, NULL, 0, 1 },
    { "window", XC_ATTR_INT, offsetof(struct xc_attr_attention, window), 0, NULL, 0, 1 << 24, true },
    { "dilation", XC_ATTR_INT, offsetof(struct xc_attr_attention, dilation), 0, NULL, 0, 1 << 16, true },
    { "global_first", XC_ATTR_INT, offsetof(struct xc_attr_attention, global_first), 0, NULL, 0, 1 << 24, true },
    { "ramp", XC_ATTR_INT, offsetof(struct xc_attr_attention, ramp), 0, NULL, 0, 1 << 16, true },
    { "slots", XC_ATTR_INT, offsetof(struct xc_attr_attention, slots), 0, NULL, 0, 1 << 24, true },
    { "chunk", XC_ATTR_INT, offsetof(struct xc_attr_attention, chunk), 0, NULL, 0, 1 << 16, true },
    { "before", XC_ATTR_INT, offsetof(struct xc_attr_attention, before), 0, NULL, 0, 64, true },
    { "after", XC_ATTR_INT, offsetof(struct xc_attr_attention, after), 0, NULL, 0, 64, true },
    { "rounds", XC_ATTR_INT, offsetof(struct xc_attr_attention, rounds), 0, NULL, 0, 256, true },
    { "buckets", XC_ATTR_INT, offsetof(struct xc_attr_attention, buckets), 0, NULL, 0, 1 << 12, true },
    { "buckets2", XC_ATTR_INT, offsetof(struct xc_attr_attention, buckets2), 0, NULL, 0, 1 << 12, true },
    { "positions", XC_ATTR_INT, offsetof(struct xc_attr_attention, positions), 0, NULL, 0, 1 << 20, true },
    { "rank", XC_ATTR_INT, offsetof(struct xc_attr_attention, rank), 0, NULL, 0, 1 << 16, true },
    { "factor", XC_ATTR_INT, offsetof(struct xc_attr_attention, factor), 0, NULL, 0, 1 << 20, true },
    { "dot", XC_ATTR_BOOL, offsetof(struct xc_attr_attention, dot), 0, NULL, 0, 1, true },
    { "eps", XC_ATTR_FLOAT, offsetof(struct xc_attr_attention, eps), 0, NULL, 0, 0.5, true },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "q", "k", "v", "extra1", "extra2", "extra3", "extra4", "extra5", "extra6", "extra7", "extra8" };
const struct xc_op xc_op_attention = { .name = "attention", .version = 1, .min_in = 3, .max_in = 11, .n_out = 1, .attrs = attrs, .attr_size = sizeof(struct xc_attr_attention),
                                       .in_names = in_names, .infer = attention_infer, .cost = attention_cost, .forward = attention_forward };
