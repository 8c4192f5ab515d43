/* surgery: see surgery.h. */
#include "compress/shrink/surgery.h"

#include <string.h>

#include "runtime/graph/op.h"

/* ---- tensors ---- */
enum xc_status xc_surgery_numbers(float **out, const struct xc_tensor *t, struct xc_err *err)
{
    const size_t bytes = (size_t)xc_tensor_count(t) * sizeof **out;
    enum xc_status status;

    *out = xc_alloc_aligned(bytes);
    if (!*out) return xc_fail_nomem(err, bytes);
    status = xc_tensor_to_f32(t, *out, err);
    if (status == XC_OK) return XC_OK;
    xc_free(*out);
    *out = NULL;
    return status;
}

enum xc_status xc_surgery_replace(struct xc_tensor *t, int32_t rank, const int64_t *dim, const float *x, struct xc_err *err)
{
    struct xc_buf *buf = NULL;

    XC_TRY(xc_tensor_check_dims(rank, dim, err));
    if (x) {
        size_t bytes = sizeof *x;

        for (int32_t d = 0; d < rank; d++) bytes *= (size_t)dim[d];
        XC_TRY(xc_buf_new(&buf, bytes, err));
        memcpy(buf->data, x, bytes);
    }
    xc_tensor_clear(t);
    t->enc = (struct xc_encoding){ .format = XC_FMT_F32 };
    t->part[XC_PART_DATA] = buf;
    t->rank = rank;
    memcpy(t->dim, dim, (size_t)rank * sizeof *dim);
    return XC_OK;
}

enum xc_status xc_surgery_keep(struct xc_tensor *t, int axis, const int32_t *keep, int64_t n, bool plan_only, struct xc_err *err)
{
    const bool vector = t->rank == 1;
    const int64_t rows = vector ? 1 : t->dim[0], cols = xc_tensor_cols(t), new_rows = vector || axis ? rows : n, new_cols = vector || axis ? n : cols;
    int64_t dim[2] = { vector ? n : new_rows, new_cols };
    float *x = NULL, *y;
    enum xc_status status;

    if (t->rank > 2 || axis >= t->rank) return xc_fail(err, XC_E_UNSUPPORTED, "tensor '%s' has %d axes and cannot be cut", t->name, t->rank);
    if (plan_only) return xc_surgery_replace(t, t->rank, dim, NULL, err);
    XC_TRY(xc_surgery_numbers(&x, t, err));
    y = xc_alloc_aligned((size_t)(new_rows * new_cols) * sizeof *y);
    for (int64_t r = 0; y && r < new_rows; r++) {
        const float *from = x + (vector || axis ? r : keep[r]) * cols;

        if (!vector && !axis) memcpy(y + r * cols, from, (size_t)cols * sizeof *y);
        else
            for (int64_t c = 0; c < n; c++) y[r * n + c] = from[keep[c]];
    }
    status = y ? xc_surgery_replace(t, t->rank, dim, y, err) : xc_fail_nomem(err, (size_t)(new_rows * new_cols) * sizeof *y);
    xc_free(x);
    xc_free(y);
    return status;
}

/* ---- graphs ---- */
void xc_surgery_rewire(struct xc_graph *g, int32_t from, int32_t to)
{
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++)
            if (g->nodes[n].in[i].kind == XC_REF_VALUE && g->nodes[n].in[i].id == from) g->nodes[n].in[i].id = to;
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == from) g->outputs[i] = to;
}

/* live[v]: an output needs value v. Nodes are in order, so one walk from the end finds all; what changes a state always lives. */
static void mark_live(const struct xc_graph *g, uint8_t *live)
{
    for (int32_t i = 0; i < g->n_inputs; i++) live[g->inputs[i]] = 1;
    for (int32_t i = 0; i < g->n_outputs; i++) live[g->outputs[i]] = 1;
    for (int32_t n = g->n_nodes - 1; n >= 0; n--) {
        const struct xc_node *node = &g->nodes[n];
        bool needed = node->n_out == 0;

        for (int32_t i = 0; i < node->n_out; i++) needed |= live[node->out[i]];
        for (int32_t i = 0; i < node->n_in; i++) needed |= node->in[i].kind == XC_REF_STATE;
        for (int32_t i = 0; needed && i < node->n_out; i++) live[node->out[i]] = 1;
        for (int32_t i = 0; needed && i < node->n_in; i++)
            if (node->in[i].kind == XC_REF_VALUE) live[node->in[i].id] = 1;
    }
}

enum xc_status xc_surgery_drop_dead(struct xc_graph *g, struct xc_err *err)
{
    uint8_t *live = xc_calloc((size_t)g->n_values + 1, 1);
    int32_t *id = xc_calloc((size_t)g->n_values + 1, sizeof *id), values = 0, nodes = 0;

    if (!live || !id) {
        xc_free(live);
        xc_free(id);
        return xc_fail_nomem(err, (size_t)g->n_values * sizeof *id);
    }
    mark_live(g, live);
    for (int32_t v = 0; v < g->n_values; v++) {
        id[v] = live[v] ? values++ : -1;
        if (live[v]) g->values[id[v]] = g->values[v];
    }
    for (int32_t n = 0; n < g->n_nodes; n++) {
        struct xc_node node = g->nodes[n];

        if (node.n_out && !live[node.out[0]]) continue;
        for (int32_t i = 0; i < node.n_in; i++)
            if (node.in[i].kind == XC_REF_VALUE) node.in[i].id = id[node.in[i].id];
        for (int32_t i = 0; i < node.n_out; i++) {
            node.out[i] = id[node.out[i]];
            g->values[node.out[i]].node = nodes;
        }
        g->nodes[nodes++] = node;
    }
    for (int32_t i = 0; i < g->n_inputs; i++) g->inputs[i] = id[g->inputs[i]];
    for (int32_t i = 0; i < g->n_outputs; i++) g->outputs[i] = id[g->outputs[i]];
    g->n_values = values;
    g->n_nodes = nodes;
    xc_free(live);
    xc_free(id);
    return XC_OK;
}

enum xc_status xc_surgery_reshape(struct xc_graph *g, struct xc_err *err)
{
    for (int32_t n = 0; n < g->n_nodes; n++) {
        struct xc_infer c;

        XC_TRY(xc_node_infer(&c, g, &g->nodes[n], err));
        for (int32_t i = 0; i < g->nodes[n].n_out; i++) g->values[g->nodes[n].out[i]].cols = c.out[i].cols;
    }
    return XC_OK;
}

int xc_surgery_tensor_uses(const struct xc_model *m, int32_t tensor)
{
    int uses = 0;

    for (int32_t g = 0; g < m->n_graphs; g++)
        for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++)
            for (int32_t i = 0; i < m->graphs[g]->nodes[n].n_in; i++)
                uses += m->graphs[g]->nodes[n].in[i].kind == XC_REF_TENSOR && m->graphs[g]->nodes[n].in[i].id == tensor;
    return uses;
}

int xc_surgery_value_uses(const struct xc_graph *g, int32_t value)
{
    int uses = 0;

    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++) uses += g->nodes[n].in[i].kind == XC_REF_VALUE && g->nodes[n].in[i].id == value;
    for (int32_t i = 0; i < g->n_outputs; i++) uses += g->outputs[i] == value;
    return uses;
}
