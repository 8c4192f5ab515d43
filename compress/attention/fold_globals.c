/* fold_globals: Longformer's global projections of all tokens go where few tokens are global: their rows are computed from the layer's input and the weights
 * (runtime/graph/attention/longformer_fold.h has the algebra). Exact up to rounding; weights keep their encodings. For the end of a recipe: what is folded is not trained,
 * and no longer a linear that passes treat. */
#include <string.h>

#include "compress/attention/each_attention.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/longformer_fold.h"

static const struct xc_pass_option options[] = {
    { .name = "most", .help = "fold where a text has at most so many global tokens, those at its start", .def = "4", .min = 1, .max = 64 },
    { .name = NULL },
};

/* The linear that makes input i of the node and that nothing else reads; NULL. */
static const struct xc_node *maker(const struct xc_graph *g, const struct xc_node *node, int i)
{
    const int32_t n = node->n_in > i && node->in[i].kind == XC_REF_VALUE ? g->values[node->in[i].id].node : -1;
    const struct xc_node *by = n >= 0 ? &g->nodes[n] : NULL;

    if (!by || strcmp(by->op->name, "linear") || by->in[0].kind != XC_REF_VALUE || by->in[1].kind != XC_REF_TENSOR || xc_surgery_value_uses(g, node->in[i].id) != 1) return NULL;
    return by->n_in < 3 || by->in[2].kind != XC_REF_VALUE ? by : NULL;
}

static const char *objection(const struct xc_prepare *p, const struct xc_graph *g, const struct xc_node *node)
{
    const struct xc_attr_attention *a = node->attr;

    if (strcmp(node->op->name, "attention") || strcmp(xc_attention_kinds[a->kind]->name, "longformer")) return "it is no longformer attention";
    if (xc_is_folded(node)) return "it is folded already";
    if (node->n_in < 6 || node->in[3].kind == XC_REF_NONE) return "it has no global projections of its own";
    if (node->n_in > 6 && node->in[6].kind != XC_REF_NONE) return "its global tokens come with each text: how many is not known";
    if (a->global_first < 1 || a->global_first > xc_recipe_number(p->spec, "most")) return "it has more global tokens than 'most', or none";
    if (a->kv_heads && a->kv_heads != a->heads) return "it has fewer heads of keys than of queries";
    for (int i = 3; i < 6; i++)
        if (!maker(g, node, i) || maker(g, node, i)->in[0].id != maker(g, node, 3)->in[0].id) return "its global projections are not three linears of one value, for it alone";
    return NULL;
}

static enum xc_status fold(const struct xc_prepare *p, struct xc_graph *g, struct xc_node *node, struct xc_err *err)
{
    const struct xc_node *q = maker(g, node, 3), *k = maker(g, node, 4), *v = maker(g, node, 5);
    const struct xc_ref x = xc_val(q->in[0].id), wq = q->in[1], wk = k->in[1], wv = v->in[1], bq = q->n_in > 2 ? q->in[2] : xc_none(), bv = v->n_in > 2 ? v->in[2] : xc_none();

    (void)p, (void)err;
    while (node->n_in <= XC_FOLD_BV) node->in[node->n_in++] = xc_none();
    node->in[XC_FOLD_X] = x;
    node->in[XC_FOLD_K] = wk;
    node->in[XC_FOLD_V] = wv;
    node->in[XC_FOLD_Q] = wq;
    node->in[XC_FOLD_BQ] = bq;
    node->in[XC_FOLD_BV] = bv;
    return XC_OK;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    const struct xc_each_attention each = { .objection = objection, .treat = fold, .none = "longformer attention with global projections of its own and few global tokens at a text's start" };
    int32_t dropped;
    size_t bytes;

    XC_TRY(xc_each_attention(p, &each, err));
    for (int32_t g = 0; g < p->model->n_graphs; g++) XC_TRY(xc_surgery_drop_dead(p->model->graphs[g], err)); /* numbers of nodes change: after the walk */
    xc_model_drop_unused(p->model, &dropped, &bytes);
    return XC_OK;
}

const struct xc_pass xc_pass_fold_globals = { .name = "fold_globals", .summary = "Longformer's global projections computed for the global tokens alone", .options = options, .prepare = prepare,
                                              .plan = xc_pass_nothing, .apply = xc_pass_nothing };
