/* spans: windows of longformer attention that are learnt, head by head (runtime/graph/attention/longformer_span.h; Sukhbaatar et al. 2019, arXiv:1905.07799).
 *
 *   mode learn   each head gets a soft span, which finetune trains: `start` of the window, which is the longest that it may become
 *   mode fix     what was learnt becomes whole windows, of the keys that counted half at least: the runtime looks at no others, in int8 too
 *
 * Windows by head from the attention maps of texts, without training: swap_attention, window_for. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/pass.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/longformer_span.h"

static const struct xc_pass_option options[] = {
    { .name = "mode", .help = "learn: soft spans, for finetune; fix: windows of what was learnt", .def = "learn", .choices = "learn|fix" },
    { .name = "start", .help = "learn: where spans begin, as a share of the window", .def = "0.5", .min = 0, .max = 1 },
    { .name = "ramp", .help = "learn: tokens over which keys fade out behind a span", .def = "32", .min = 1, .max = 65536 },
    { .name = NULL },
};

static const char *objection(const struct xc_model *m, const struct xc_node *node, bool fix)
{
    const struct xc_attr_attention *a = node->attr;
    const bool has = node->n_in > XC_SPAN_INPUT && node->in[XC_SPAN_INPUT].kind == XC_REF_TENSOR;

    if (strcmp(node->op->name, "attention") || strcmp(xc_attention_kinds[a->kind]->name, "longformer")) return "it is no longformer attention: swap_attention makes one";
    if (fix && (!has || !a->ramp)) return "it has no soft spans";
    if (fix && xc_surgery_tensor_uses(m, node->in[XC_SPAN_INPUT].id) != 1) return "other nodes use its spans too";
    if (!fix && has) return "it has spans already";
    if (!fix && a->quantized) return "it is int8: spans are learnt before quantization";
    if (!fix && a->dilation > 1) return "it has a dilation";
    return !fix && a->window < 1 ? "it has no window" : NULL;
}

static enum xc_status learn(const struct xc_prepare *p, struct xc_node *node, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    const float start = (float)xc_recipe_number(p->spec, "start");
    const int64_t dim[] = { a->heads };
    char name[XC_MAX_NAME + 1];
    float *z;
    int32_t id;
    enum xc_status status;

    if ((size_t)snprintf(name, sizeof name, "%s.span", node->name) >= sizeof name) return xc_fail(err, XC_E_LIMIT, "node '%s' has too long a name for a tensor of its own", node->name);
    XC_TRY(xc_model_add_tensor(p->model, &id, name, 1, dim, err));
    z = xc_malloc((size_t)a->heads * sizeof *z);
    if (!z) return xc_fail_nomem(err, (size_t)a->heads * sizeof *z);
    for (int32_t h = 0; h < a->heads; h++) z[h] = start;
    status = xc_tensor_set_f32(p->model->tensors[id], z, err);
    xc_free(z);
    XC_TRY(status);
    a->ramp = (int32_t)xc_recipe_number(p->spec, "ramp");
    while (node->n_in <= XC_SPAN_INPUT) node->in[node->n_in++] = xc_none();
    node->in[XC_SPAN_INPUT] = xc_ten(id);
    return XC_OK;
}

/* The widest head gives the attribute; the others are shares of it. Where all are alike the tensor goes. */
static enum xc_status fix(const struct xc_prepare *p, struct xc_node *node, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    struct xc_tensor *t = p->model->tensors[node->in[XC_SPAN_INPUT].id];
    int32_t widest = 1;
    bool alike = true;
    float *z = NULL;
    enum xc_status status;

    if (!t->part[XC_PART_DATA] && !t->source) return XC_OK; /* a plan, behind a pass that would make them */
    status = xc_surgery_numbers(&z, t, err);
    for (int32_t h = 0; h < a->heads && status == XC_OK; h++) {
        if (!isfinite(z[h])) status = xc_fail(err, XC_E_RANGE, "tensor '%s' is not finite at column %d", t->name, h);
        z[h] = (float)floor((double)fminf(fmaxf(z[h], 0), 1) * a->window + 0.5 * a->ramp);
        if (status == XC_OK) widest = (int32_t)fmaxf((float)widest, z[h]);
        alike &= z[h] == z[0];
    }
    for (int32_t h = 0; h < a->heads && status == XC_OK; h++) z[h] /= (float)widest;
    if (status == XC_OK) {
        a->window = alike ? (int32_t)(z[0] * (float)widest) : widest;
        a->ramp = 0;
        if (alike) node->in[XC_SPAN_INPUT] = xc_none();
        else status = xc_tensor_set_f32(t, z, err);
    }
    xc_free(z);
    return status;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    static const char *const ops[] = { "attention", NULL };
    const bool fixing = xc_recipe_is(p->spec, "mode", "fix");
    struct xc_scope scope;
    int32_t n_treated = 0, dropped;
    size_t bytes;
    enum xc_status status = XC_OK;

    XC_TRY(xc_pass_no_overrides(p->spec, err));
    XC_TRY(xc_scope_make(&scope, p->model, p->spec, ops, err));
    for (int32_t g = 0; g < p->model->n_graphs; g++)
        for (int32_t n = 0; n < p->model->graphs[g]->n_nodes && status == XC_OK; n++) {
            struct xc_node *node = &p->model->graphs[g]->nodes[n];
            const int32_t at = scope.first[g] + n;
            const char *why;

            if (scope.pick[at] != XC_PICK_DEFAULT && scope.pick[at] != XC_PICK_TARGET) continue;
            why = objection(p->model, node, fixing);
            if (why && scope.pick[at] == XC_PICK_TARGET && strcmp(scope.word[at], "attention")) {
                status = xc_fail(err, XC_E_UNSUPPORTED, "target '%s' names node '%s', which pass 'spans' cannot treat: %s", scope.word[at], node->name, why);
                xc_recipe_fail_at(p->spec, scope.word[at], status, err);
            }
            if (why) continue;
            status = fixing ? fix(p, node, err) : learn(p, node, err);
            n_treated++;
        }
    xc_scope_release(&scope);
    if (status == XC_OK && !n_treated)
        return xc_fail(err, XC_E_UNSUPPORTED, fixing ? "pass 'spans' finds no soft spans to fix" : "pass 'spans' finds no longformer attention without spans, in float: swap_attention makes one");
    if (status == XC_OK) xc_model_drop_unused(p->model, &dropped, &bytes);
    return status;
}

const struct xc_pass xc_pass_spans = { .name = "spans", .summary = "windows of attention that are learnt, head by head", .options = options, .prepare = prepare, .plan = xc_pass_nothing,
                                       .apply = xc_pass_nothing };
