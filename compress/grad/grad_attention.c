/* attention: the kind has the derivative. */
#include <string.h>

#include "compress/grad/grad_attention.h"

extern const struct xc_grad_attention xc_grad_attention_adaptive, xc_grad_attention_dense, xc_grad_attention_hedgehog, xc_grad_attention_linformer, xc_grad_attention_longformer, xc_grad_attention_multipole, xc_grad_attention_reformer, xc_grad_attention_synthesizer;

static const struct xc_grad_attention *const kinds[] = { &xc_grad_attention_dense, &xc_grad_attention_linformer, &xc_grad_attention_longformer, &xc_grad_attention_reformer,
                                                           &xc_grad_attention_synthesizer, &xc_grad_attention_adaptive, &xc_grad_attention_hedgehog, &xc_grad_attention_multipole };

static const struct xc_grad_attention *find(const struct xc_attr_attention *attr)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i]->kind, xc_attention_kinds[attr->kind]->name)) return kinds[i];
    return NULL;
}

/* int8 attention, and kinds that cannot, drop no probabilities. */
static bool drops(const struct xc_op_ctx *c)
{
    const struct xc_grad_attention *kind = find(c->attr);

    return kind && kind->forward_dropped && !((const struct xc_attr_attention *)c->attr)->quantized;
}

static enum xc_status attention_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->op->attr;
    const struct xc_grad_attention *kind = find(attr);
    struct xc_grad_ctx plain = *c;

    if (attr->quantized && !c->straight_through) return xc_fail(err, XC_E_UNSUPPORTED, "node '%s': int8 attention has no derivative; train before quantizing", c->op->node->name);
    if (!kind) return xc_fail(err, XC_E_UNSUPPORTED, "node '%s': attention kind '%s' has no derivative in this version", c->op->node->name, xc_attention_kinds[attr->kind]->name);
    if (!drops(c->op)) plain.drop = NULL;
    return kind->backward(&plain, err);
}

static enum xc_status attention_dropped(const struct xc_op_ctx *c, const struct xc_dropout_probs *drop, struct xc_err *err)
{
    return drops(c) ? find(c->attr)->forward_dropped(c, drop, err) : c->node->op->forward(c, err);
}

static int64_t attention_decisions(const struct xc_node *node)
{
    const struct xc_grad_attention *kind = find(node->attr);

    return kind && kind->decisions ? kind->decisions(node) : 0;
}

const struct xc_grad xc_grad_attention = { .op = "attention", .backward = attention_backward, .forward_dropped = attention_dropped, .decisions = attention_decisions };
