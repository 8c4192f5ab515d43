/* fold: see fold.h. */
#include "formats/fold.h"

#include <string.h>

#include "runtime/graph/op.h"

/* ---- a weight whose columns are multiplied as it is read ---- */
struct scaled {
    struct xc_source base;
    const struct xc_tensor *weight;
    float *factor; /* (C) */
};

static enum xc_status scaled_read(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *err)
{
    const struct scaled *s = (const struct scaled *)(const void *)src;
    const int64_t C = xc_tensor_cols(t);

    if (first % C || n % C) return xc_fail(err, XC_E_ARG, "tensor '%s' is read by whole rows", t->name);
    XC_TRY(xc_tensor_rows_to_f32(s->weight, first / C, n / C, dst, err));
    for (int64_t r = 0; r < n / C; r++, dst += C)
        for (int64_t c = 0; c < C; c++) dst[c] *= s->factor[c];
    return XC_OK;
}

static void scaled_unref(struct xc_source *src)
{
    struct scaled *s = (struct scaled *)(void *)src;

    if (__atomic_sub_fetch(&src->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    xc_free(s->factor);
    xc_free(s);
}

static enum xc_status fold_weight(struct xc_fold *f, const struct xc_model *m, int32_t weight, int32_t scale, struct xc_err *err)
{
    const struct xc_tensor *t = m->tensors[weight];
    const size_t bytes = (size_t)xc_tensor_cols(t) * sizeof(float);
    struct scaled *s = xc_malloc(sizeof *s);
    struct xc_tensor *made = &f->made[f->n_made];
    enum xc_status status;

    if (!s) return xc_fail_nomem(err, sizeof *s);
    *s = (struct scaled){ .base = { .read_f32 = scaled_read, .unref = scaled_unref, .refs = 1 }, .weight = t, .factor = xc_malloc(bytes) };
    status = s->factor ? xc_tensor_to_f32(m->tensors[scale], s->factor, err) : xc_fail_nomem(err, bytes);
    if (status != XC_OK) {
        scaled_unref(&s->base);
        return status;
    }
    *made = (struct xc_tensor){ .name = t->name, .rank = t->rank, .source = &s->base };
    memcpy(made->dim, t->dim, sizeof made->dim);
    f->tensor[weight] = made;
    f->n_made++;
    return XC_OK;
}

/* ---- which scales ---- */
static bool is_op(const struct xc_node *node, const char *op) { return !strcmp(node->op->name, op); }

static int32_t uses_of(const struct xc_model *m, int32_t tensor)
{
    int32_t n = 0;

    for (int32_t g = 0; g < m->n_graphs; g++)
        for (int32_t k = 0; k < m->graphs[g]->n_nodes; k++)
            for (int32_t i = 0; i < m->graphs[g]->nodes[k].n_in; i++) n += m->graphs[g]->nodes[k].in[i].kind == XC_REF_TENSOR && m->graphs[g]->nodes[k].in[i].id == tensor;
    return n;
}

static bool foldable(const struct xc_graph *g, const struct xc_node *scale)
{
    const int32_t value = scale->out[0];

    if (!is_op(scale, "scale") || scale->in[1].kind != XC_REF_TENSOR || uses_of(g->model, scale->in[1].id) != 1) return false;
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == value) return false;
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++) {
            const struct xc_ref *in = &g->nodes[n].in[i];

            if (in->kind != XC_REF_VALUE || in->id != value) continue;
            if (i != 0 || !is_op(&g->nodes[n], "linear") || g->nodes[n].in[1].kind != XC_REF_TENSOR || uses_of(g->model, g->nodes[n].in[1].id) != 1) return false;
        }
    return true;
}

static enum xc_status fold_graph(struct xc_fold *f, const struct xc_graph *g, bool *skip, struct xc_err *err)
{
    for (int32_t n = 0; n < g->n_nodes; n++) {
        if (!foldable(g, &g->nodes[n])) continue;
        skip[n] = true;
        f->tensor[g->nodes[n].in[1].id] = NULL;
        for (int32_t k = n + 1; k < g->n_nodes; k++)
            if (is_op(&g->nodes[k], "linear") && g->nodes[k].in[0].kind == XC_REF_VALUE && g->nodes[k].in[0].id == g->nodes[n].out[0])
                XC_TRY(fold_weight(f, g->model, g->nodes[k].in[1].id, g->nodes[n].in[1].id, err));
    }
    return XC_OK;
}

enum xc_status xc_fold_make(struct xc_fold *f, const struct xc_model *m, struct xc_err *err)
{
    const size_t n = (size_t)m->n_tensors + 1;
    enum xc_status status = XC_OK;

    *f = (struct xc_fold){ .n_graphs = m->n_graphs };
    f->tensor = xc_calloc(n, sizeof *f->tensor);
    f->made = xc_calloc(n, sizeof *f->made);
    f->skip = xc_calloc((size_t)m->n_graphs + 1, sizeof *f->skip);
    if (!f->tensor || !f->made || !f->skip) status = xc_fail_nomem(err, n * sizeof *f->made);
    if (status == XC_OK && m->n_tensors) memcpy(f->tensor, m->tensors, (size_t)m->n_tensors * sizeof *f->tensor);
    for (int32_t g = 0; g < m->n_graphs && status == XC_OK; g++) {
        f->skip[g] = xc_calloc((size_t)m->graphs[g]->n_nodes + 1, sizeof **f->skip);
        status = f->skip[g] ? fold_graph(f, m->graphs[g], f->skip[g], err) : xc_fail_nomem(err, (size_t)m->graphs[g]->n_nodes);
    }
    if (status != XC_OK) xc_fold_release(f);
    return status;
}

void xc_fold_release(struct xc_fold *f)
{
    for (int32_t i = 0; i < f->n_made; i++) xc_source_unref(&f->made[i].source);
    for (int32_t g = 0; f->skip && g < f->n_graphs; g++) xc_free(f->skip[g]);
    xc_free(f->skip);
    xc_free(f->made);
    xc_free(f->tensor);
    *f = (struct xc_fold){ 0 };
}
