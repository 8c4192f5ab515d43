/* attention: the kind has the derivative. */
#include <string.h>

#include "compress/grad/grad_attention.h"
#include "runtime/graph/attention/attention.h"

extern const struct xc_grad_attention xc_grad_attention_dense, xc_grad_attention_linformer, xc_grad_attention_longformer, xc_grad_attention_reformer, xc_grad_attention_synthesizer;

static const struct xc_grad_attention *const kinds[] = { &xc_grad_attention_dense, &xc_grad_attention_linformer, &xc_grad_attention_longformer, &xc_grad_attention_reformer,
                                                           &xc_grad_attention_synthesizer };

static enum xc_status attention_backward(const struct xc_grad_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->op->attr;
    const char *kind = xc_attention_kinds[attr->kind]->name;

    if (attr->quantized && !c->straight_through) return xc_fail(err, XC_E_UNSUPPORTED, "node '%s': int8 attention has no derivative; train before quantizing", c->op->node->name);
    for (size_t i = 0; i < XC_ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i]->kind, kind)) return kinds[i]->backward(c, err);
    return xc_fail(err, XC_E_UNSUPPORTED, "node '%s': attention kind '%s' has no derivative in this version", c->op->node->name, kind);
}

const struct xc_grad xc_grad_attention = { .op = "attention", .backward = attention_backward };
