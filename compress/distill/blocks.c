/* blocks: see blocks.h. */
#include "compress/distill/blocks.h"

#include <string.h>

#include "runtime/graph/op.h"

static const struct xc_node *maker(const struct xc_graph *g, int32_t value) { return value >= 0 && g->values[value].node >= 0 ? &g->nodes[g->values[value].node] : NULL; }
static bool is(const struct xc_node *node, const char *op) { return node && !strcmp(node->op->name, op); }
static int32_t reads(const struct xc_node *node, int32_t i) { return i < node->n_in && node->in[i].kind == XC_REF_VALUE ? node->in[i].id : -1; }

/* What the linear that makes `value` reads, before the scales of smoothing and the narrow half of a low-rank pair. */
static int32_t before_linear(const struct xc_graph *g, int32_t value)
{
    const struct xc_node *node = maker(g, value);

    if (!is(node, "linear")) return -1;
    value = reads(node, 0);
    while (is(maker(g, value), "scale") || is(maker(g, value), "linear")) value = reads(maker(g, value), 0);
    return value;
}

/* Back from an output to the sum, or its norm, that the last layer ends with. */
static int32_t last_hidden(const struct xc_graph *g)
{
    int32_t v = g->n_outputs ? g->outputs[0] : -1;

    while (v >= 0) {
        const struct xc_node *node = maker(g, v);

        if (!node || is(node, "add")) return node ? v : -1;
        if ((is(node, "layer_norm") || is(node, "rms_norm")) && is(maker(g, reads(node, 0)), "add")) return v;
        v = reads(node, 0);
    }
    return v;
}

enum xc_status xc_blocks_find(struct xc_blocks *out, const struct xc_graph *g, struct xc_err *err)
{
    int32_t next = last_hidden(g);

    *out = (struct xc_blocks){ .embedding = -1, .output = g->n_outputs ? g->outputs[0] : -1 };
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];
        const struct xc_attr_attention *attr = node->attr;
        struct xc_block *b = &out->block[out->n];

        if (!is(node, "attention")) continue;
        if (out->n == XC_MAX_BLOCKS) return xc_fail(err, XC_E_LIMIT, "more than %d layers", XC_MAX_BLOCKS);
        *b = (struct xc_block){ .attention = n, .query = reads(node, 0), .key = reads(node, 1), .value = reads(node, 2), .hidden = -1 };
        if (b->query < 0 || b->key < 0 || b->value < 0 || before_linear(g, b->query) < 0 || before_linear(g, b->query) != before_linear(g, b->key) ||
            (attr->kv_heads && attr->kv_heads != attr->heads))
            return xc_fail(err, XC_E_UNSUPPORTED, "node '%s' is no plain self-attention, which distillation could compare", node->name);
        if (!out->n) out->embedding = before_linear(g, b->query);
        else out->block[out->n - 1].hidden = before_linear(g, b->query);
        out->n++;
    }
    if (!out->n || next < 0) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no attention layers that distillation could compare");
    out->block[out->n - 1].hidden = next;
    return XC_OK;
}
