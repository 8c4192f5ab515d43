/* each_attention: see each_attention.h. */
#include "compress/attention/each_attention.h"

#include <string.h>

static enum xc_status treat_node(const struct xc_prepare *p, const struct xc_each_attention *each, struct xc_graph *g, struct xc_node *node, const char *word, int32_t *n_treated, struct xc_err *err)
{
    const char *const why = each->objection(p, g, node);

    if (!why) {
        ++*n_treated;
        return each->treat(p, g, node, err);
    }
    if (!word || !strcmp(word, "attention")) return XC_OK;
    return xc_recipe_fail_at(p->spec, word, xc_fail(err, XC_E_UNSUPPORTED, "target '%s' names node '%s', which pass '%s' cannot treat: %s", word, node->name, p->spec->pass->name, why), err);
}

enum xc_status xc_each_attention(const struct xc_prepare *p, const struct xc_each_attention *each, struct xc_err *err)
{
    static const char *const ops[] = { "attention", NULL };
    struct xc_scope scope;
    int32_t n_treated = 0;
    enum xc_status status = XC_OK;

    XC_TRY(xc_pass_no_overrides(p->spec, err));
    XC_TRY(xc_scope_make(&scope, p->model, p->spec, ops, err));
    for (int32_t g = 0; g < p->model->n_graphs; g++)
        for (int32_t n = 0; n < p->model->graphs[g]->n_nodes && status == XC_OK; n++) {
            const int32_t at = scope.first[g] + n;
            const bool named = scope.pick[at] == XC_PICK_TARGET;

            if (named || scope.pick[at] == XC_PICK_DEFAULT)
                status = treat_node(p, each, p->model->graphs[g], &p->model->graphs[g]->nodes[n], named ? scope.word[at] : NULL, &n_treated, err);
        }
    xc_scope_release(&scope);
    return status == XC_OK && !n_treated ? xc_fail(err, XC_E_UNSUPPORTED, "pass '%s' finds no %s", p->spec->pass->name, each->none) : status;
}
