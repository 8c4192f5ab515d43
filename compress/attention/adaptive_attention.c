/* adaptive: dense attention becomes the kind that leaves out blocks of keys (runtime/graph/attention/adaptive.c) or the one that takes like keys together
 * (multipole.c): no weight changes, and the answers move by what eps allows. Layers with a bias of positions stay dense, and for multipole causal ones. */
#include <string.h>

#include "compress/pass.h"
#include "runtime/graph/attention/attention.h"

static const struct xc_pass_option options[] = {
    { .name = "kind", .help = "adaptive leaves out blocks of keys, multipole takes groups of like keys for one key where that changes little", .def = "adaptive", .choices = "adaptive|multipole" },
    { .name = "eps", .help = "adaptive: at most this share of each query's attention is left out; multipole: its estimated error; auto = 0.001 or 0.02", .def = "auto", .word = "auto", .min = 0, .max = 0.5 },
    { .name = NULL },
};

/* What stands against it; NULL. */
static const char *obstacle(const struct xc_node *node, bool multipole)
{
    const struct xc_attr_attention *attr = node->attr;

    if (strcmp(node->op->name, "attention") || attr->kind != xc_attention_kind_named("dense") || (node->n_in > 3 && node->in[3].kind != XC_REF_NONE)) return "is no dense attention without a bias";
    return multipole && attr->causal ? "is causal, which multipole cannot be" : NULL;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    static const char *const ops[] = { "attention", NULL };
    const bool multipole = xc_recipe_is(p->spec, "kind", "multipole");
    const int32_t kind = xc_attention_kind_named(xc_recipe_get(p->spec, "kind"));
    const float eps = xc_recipe_is(p->spec, "eps", "auto") ? (multipole ? 0.02f : 0.001f) : (float)xc_recipe_number(p->spec, "eps");
    struct xc_scope scope;
    int32_t n_changed = 0;

    XC_TRY(xc_pass_no_overrides(p->spec, err));
    XC_TRY(xc_scope_make(&scope, p->model, p->spec, ops, err));
    for (int32_t g = 0; g < p->model->n_graphs; g++)
        for (int32_t n = 0; n < p->model->graphs[g]->n_nodes; n++) {
            const struct xc_node *node = &p->model->graphs[g]->nodes[n];
            const int pick = scope.pick[scope.first[g] + n];
            struct xc_attr_attention *attr = node->attr;

            if (pick != XC_PICK_DEFAULT && pick != XC_PICK_TARGET) continue;
            const char *against = obstacle(node, multipole);

            if (against) {
                if (pick != XC_PICK_TARGET) continue;
                xc_fail(err, XC_E_UNSUPPORTED, "node '%s' %s: pass 'adaptive' cannot treat it", node->name, against);
                xc_recipe_fail_at(p->spec, scope.word[scope.first[g] + n], XC_E_UNSUPPORTED, err);
                xc_scope_release(&scope);
                return XC_E_UNSUPPORTED;
            }
            attr->kind = kind;
            attr->eps = eps;
            n_changed++;
        }
    xc_scope_release(&scope);
    return n_changed ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "pass 'adaptive' finds no dense attention without a bias%s in the model", multipole ? " that is not causal" : "");
}

const struct xc_pass xc_pass_adaptive = { .name = "adaptive", .summary = "attention that leaves out what matters little, up to a bound", .options = options, .prepare = prepare,
                                          .plan = xc_pass_nothing, .apply = xc_pass_nothing };
