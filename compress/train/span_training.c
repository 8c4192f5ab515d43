/* span_training: see span_training.h. */
#include <string.h>

#include "compress/train/span_training.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/longformer_span.h"
#include "runtime/graph/op.h"

/* The tensor of a node's soft spans; -1. */
static int32_t soft(const struct xc_node *node)
{
    const struct xc_attr_attention *a = node->attr;

    if (strcmp(node->op->name, "attention") || strcmp(xc_attention_kinds[a->kind]->name, "longformer") || !a->ramp) return -1;
    return node->n_in > XC_SPAN_INPUT && node->in[XC_SPAN_INPUT].kind == XC_REF_TENSOR ? node->in[XC_SPAN_INPUT].id : -1;
}

enum xc_status xc_spans_init(struct xc_spans *s, struct xc_params *params, const struct xc_graph *g, double penalty, double rate, struct xc_err *err)
{
    *s = (struct xc_spans){ .penalty = (float)penalty };
    s->param = xc_calloc((size_t)params->n + 1, sizeof *s->param);
    if (!s->param) return xc_fail_nomem(err, (size_t)params->n * sizeof *s->param);
    for (int32_t i = 0; i < params->n; i++) {
        bool found = false;

        for (int32_t n = 0; n < g->n_nodes; n++) found |= soft(&g->nodes[n]) == params->param[i].tensor;
        if (!found) continue;
        params->param[i].rate = rate;
        params->param[i].decay = false;
        s->param[s->n++] = i;
        s->heads += params->param[i].n;
    }
    return s->n || penalty <= 0 ? XC_OK : xc_fail(err, XC_E_ARG, "a penalty on spans, and no attention has spans to train: pass 'spans' makes them");
}

void xc_spans_release(struct xc_spans *s)
{
    xc_free(s->param);
    *s = (struct xc_spans){ 0 };
}

void xc_spans_gradients(const struct xc_spans *s, struct xc_params *params)
{
    for (int32_t i = 0; i < s->n; i++) {
        const struct xc_param *p = &params->param[s->param[i]];

        for (int64_t h = 0; h < p->n; h++)
            if (p->p[h] > 0) params->grad[p->at + h] += s->penalty / (float)s->heads;
    }
}

void xc_spans_weights(const struct xc_spans *s, struct xc_params *params)
{
    for (int32_t i = 0; i < s->n; i++) {
        const struct xc_param *p = &params->param[s->param[i]];

        for (int64_t h = 0; h < p->n; h++) p->p[h] = p->p[h] > 0 ? p->p[h] < 1 ? p->p[h] : 1 : 0;
    }
}

double xc_spans_mean(const struct xc_graph *g)
{
    double sum = 0, heads = 0;

    for (int32_t n = 0; n < g->n_nodes; n++) {
        const int32_t id = soft(&g->nodes[n]);
        const struct xc_tensor *t = id >= 0 ? g->model->tensors[id] : NULL;

        for (int64_t h = 0; t && t->part[XC_PART_DATA] && t->enc.layout == XC_LAYOUT_ROWS && h < xc_tensor_count(t); h++, heads++) {
            float z;

            xc_tensor_part_to_f32(t, 0, h, 1, &z);
            sum += (double)z * ((const struct xc_attr_attention *)g->nodes[n].attr)->window;
        }
    }
    return heads > 0 ? sum / heads : -1;
}
