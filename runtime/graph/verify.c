/* verify: what a pass or a reader must not have broken. Each failure names the graph and the thing. */
#include <math.h>
#include <string.h>

#include "runtime/graph/op.h"

static enum xc_status verify_tensor(const struct xc_tensor *t, struct xc_err *err)
{
    size_t bytes;

    if (!t->name || t->rank < 1 || t->rank > XC_MAX_RANK) return xc_fail(err, XC_E_FORMAT, "a tensor has no name or no shape");
    for (int p = 0; p < XC_PART_COUNT; p++) {
        const enum xc_status status = xc_encoding_part_bytes(&t->enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &bytes, err);

        if (status != XC_OK) return xc_fail_at(err, status, "tensor '%s'", t->name);
        if (!t->part[XC_PART_DATA]) {
            if (!t->source) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has no bytes and no source", t->name);
            return XC_OK;
        }
        if (bytes && (!t->part[p] || t->part[p]->size < bytes))
            return xc_fail(err, XC_E_FORMAT, "tensor '%s': part %d has %zu bytes, must have %zu", t->name, p, t->part[p] ? t->part[p]->size : 0, bytes);
        if (!bytes && t->part[p]) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has a part %d that its encoding has not", t->name, p);
    }
    return XC_OK;
}

static enum xc_status verify_node(const struct xc_graph *g, int32_t n, struct xc_err *err)
{
    const struct xc_node *node = &g->nodes[n];
    struct xc_graph *mutable_graph = g->model ? xc_model_find_graph(g->model, g->name) : NULL; /* infer takes it; it changes nothing */
    struct xc_infer c;

    if (!node->op || !node->name || !mutable_graph) return xc_fail(err, XC_E_FORMAT, "graph '%s': node %d has no op or no name", g->name, n);
    if (node->n_out != node->op->n_out) return xc_fail(err, XC_E_FORMAT, "node '%s' has %d outputs, '%s' makes %d", node->name, node->n_out, node->op->name, node->op->n_out);
    XC_TRY(xc_node_infer(&c, mutable_graph, node, err));
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_VALUE && g->values[node->in[i].id].node >= n) return xc_fail(err, XC_E_FORMAT, "node '%s' uses a value before it is made", node->name);
    for (int32_t i = 0; i < node->n_out; i++) {
        const struct xc_value *v;

        if (node->out[i] < 0 || node->out[i] >= g->n_values) return xc_fail(err, XC_E_FORMAT, "node '%s' makes value %d of %d", node->name, node->out[i], g->n_values);
        v = &g->values[node->out[i]];
        if (v->node != n) return xc_fail(err, XC_E_FORMAT, "value '%s' has two makers", v->name);
        if (v->space != c.out[i].space || v->cols != c.out[i].cols || v->dtype != c.out[i].dtype)
            return xc_fail(err, XC_E_SHAPE, "node '%s' makes %d columns, its value is declared with %d (or row space or type differ)", node->name, c.out[i].cols, v->cols);
    }
    for (const struct xc_attr_def *def = node->op->attrs; def && def->name; def++) {
        const double value = xc_attr_get(def, node->attr);

        if (!(value >= def->min && value <= def->max)) return xc_fail(err, XC_E_RANGE, "node '%s': attribute '%s' is %g", node->name, def->name, value);
    }
    return XC_OK;
}

static enum xc_status verify_graph(const struct xc_graph *g, struct xc_err *err)
{
    bool *used = xc_calloc((size_t)g->n_values + 1, sizeof *used);
    enum xc_status status = XC_OK;

    if (!used) return xc_fail_nomem(err, (size_t)g->n_values);
    for (int32_t v = 0; v < g->n_values && status == XC_OK; v++) {
        const struct xc_value *val = &g->values[v];

        if (val->space < 0 || val->space >= g->n_spaces || val->cols < 1 || val->node >= g->n_nodes)
            status = xc_fail(err, XC_E_FORMAT, "value '%s' names row space %d, node %d, %d columns", val->name, val->space, val->node, val->cols);
    }
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++) {
        status = verify_node(g, n, err);
        for (int32_t i = 0; i < g->nodes[n].n_in && status == XC_OK; i++)
            if (g->nodes[n].in[i].kind == XC_REF_VALUE) used[g->nodes[n].in[i].id] = true;
    }
    for (int32_t i = 0; i < g->n_outputs && status == XC_OK; i++) {
        if (g->outputs[i] < 0 || g->outputs[i] >= g->n_values) status = xc_fail(err, XC_E_FORMAT, "output %d is value %d of %d", i, g->outputs[i], g->n_values);
        else used[g->outputs[i]] = true;
    }
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++) {
        bool live = g->nodes[n].op->n_out == 0 || !strncmp(g->nodes[n].op->name, "state_", 6);

        for (int32_t i = 0; i < g->nodes[n].n_out; i++) live |= used[g->nodes[n].out[i]];
        if (!live) status = xc_fail(err, XC_E_FORMAT, "node '%s' is dead: nothing uses what it makes", g->nodes[n].name);
    }
    for (int32_t i = 0; i < g->n_inputs && status == XC_OK; i++)
        if (g->inputs[i] < 0 || g->inputs[i] >= g->n_values || g->values[g->inputs[i]].node >= 0) status = xc_fail(err, XC_E_FORMAT, "input %d of graph '%s' is no input value", i, g->name);
    xc_free(used);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "graph '%s'", g->name);
}

enum xc_status xc_model_verify(const struct xc_model *m, struct xc_err *err)
{
    for (int32_t i = 0; i < m->n_tensors; i++) XC_TRY(verify_tensor(m->tensors[i], err));
    for (int32_t i = 0; i < m->n_graphs; i++) XC_TRY(verify_graph(m->graphs[i], err));
    return XC_OK;
}
