/* spans: windows of longformer attention that are learnt, head by head (runtime/graph/attention/longformer_span.h; Sukhbaatar et al. 2019, arXiv:1905.07799).
 *
 *   mode learn   each head gets a soft span, which finetune trains: `start` of the window, which is the longest that it may become
 *   mode fix     what was learnt becomes whole windows, of the keys that counted half at least: the runtime looks at no others, in int8 too
 *
 * Windows by head from the attention maps of texts, without training: swap_attention, window_for. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/attention/each_attention.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/longformer_span.h"

static const struct xc_pass_option options[] = {
    { .name = "mode", .help = "learn: soft spans, for finetune; fix: windows of what was learnt", .def = "learn", .choices = "learn|fix" },
    { .name = "start", .help = "learn: where spans begin, as a share of the window", .def = "0.5", .min = 0, .max = 1 },
    { .name = "ramp", .help = "learn: tokens over which keys fade out behind a span", .def = "32", .min = 1, .max = 65536 },
    { .name = NULL },
};

static bool fixing(const struct xc_prepare *p) { return xc_recipe_is(p->spec, "mode", "fix"); }

static const char *objection(const struct xc_prepare *p, const struct xc_graph *g, const struct xc_node *node)
{
    const bool fix = fixing(p);
    const struct xc_attr_attention *a = node->attr;
    const bool has = node->n_in > XC_SPAN_INPUT && node->in[XC_SPAN_INPUT].kind == XC_REF_TENSOR;

    (void)g;
    if (strcmp(node->op->name, "attention") || strcmp(xc_attention_kinds[a->kind]->name, "longformer")) return "it is no longformer attention: swap_attention makes one";
    if (fix && (!has || !a->ramp)) return "it has no soft spans";
    if (fix && xc_surgery_tensor_uses(p->model, node->in[XC_SPAN_INPUT].id) != 1) return "other nodes use its spans too";
    if (!fix && has) return "it has spans already";
    if (!fix && a->quantized) return "it is int8: spans are learnt before quantization";
    if (!fix && a->dilation > 1) return "it has a dilation";
    return !fix && a->window < 1 ? "it has no window" : NULL;
}

static enum xc_status learn(const struct xc_prepare *p, struct xc_graph *g, struct xc_node *node, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    const float start = (float)xc_recipe_number(p->spec, "start");
    const int64_t dim[] = { a->heads };
    char name[XC_MAX_NAME + 1];
    float *z;
    int32_t id;
    enum xc_status status;

    (void)g;
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
static enum xc_status fix(const struct xc_prepare *p, struct xc_graph *g, struct xc_node *node, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    struct xc_tensor *t = p->model->tensors[node->in[XC_SPAN_INPUT].id];
    int32_t widest = 1;
    bool alike = true;
    float *z = NULL;
    enum xc_status status;

    (void)g;
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
    const struct xc_each_attention learns = { .objection = objection, .treat = learn, .none = "longformer attention without spans, in float: swap_attention makes one" };
    const struct xc_each_attention fixes = { .objection = objection, .treat = fix, .none = "soft spans to fix" };
    int32_t dropped;
    size_t bytes;

    XC_TRY(xc_each_attention(p, fixing(p) ? &fixes : &learns, err));
    xc_model_drop_unused(p->model, &dropped, &bytes);
    return XC_OK;
}

const struct xc_pass xc_pass_spans = { .name = "spans", .summary = "windows of attention that are learnt, head by head", .options = options, .prepare = prepare, .plan = xc_pass_nothing,
                                       .apply = xc_pass_nothing };
