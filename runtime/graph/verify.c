/* verify: what a pass or a reader must not have broken. Each failure names the graph and the thing.
 *
 * Linear in the size of the model, so that a hostile file cannot buy time. */
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/graph/grouped.h"
#include "runtime/graph/op.h"

/* ---- names ---- */
/* A set of strings by hash; built for one list, thrown away after it. */
struct names {
    const char **slot;
    size_t mask;
};

static enum xc_status names_init(struct names *set, size_t n, struct xc_err *err)
{
    size_t cap = 16;

    while (cap < 2 * n) cap *= 2;
    set->mask = cap - 1;
    set->slot = xc_calloc(cap, sizeof *set->slot);
    return set->slot ? XC_OK : xc_fail_nomem(err, cap * sizeof *set->slot);
}

static enum xc_status names_add(struct names *set, const char *what, const char *name, struct xc_err *err)
{
    size_t at;

    if (!xc_name_ok(name)) return xc_fail(err, XC_E_FORMAT, "a %s is named '%.80s', which is no valid name", what, name ? name : "");
    at = (size_t)XXH3_64bits(name, strlen(name)) & set->mask;
    while (set->slot[at]) {
        if (!strcmp(set->slot[at], name)) return xc_fail(err, XC_E_FORMAT, "%s '%s' is there twice", what, name);
        at = (at + 1) & set->mask;
    }
    set->slot[at] = name;
    return XC_OK;
}

/* Checks n names, name(items, i) being the i-th. */
static enum xc_status check_names(const char *what, const void *items, int32_t n, const char *(*name)(const void *items, int32_t i), struct xc_err *err)
{
    struct names set;
    enum xc_status status;

    XC_TRY(names_init(&set, (size_t)n, err));
    status = XC_OK;
    for (int32_t i = 0; i < n && status == XC_OK; i++) status = names_add(&set, what, name(items, i), err);
    xc_free((void *)set.slot);
    return status;
}

static const char *tensor_name(const void *items, int32_t i) { return ((const struct xc_model *)items)->tensors[i]->name; }
static const char *graph_name(const void *items, int32_t i) { return ((const struct xc_model *)items)->graphs[i]->name; }
static const char *state_name(const void *items, int32_t i) { return ((const struct xc_model *)items)->states[i].name; }
static const char *meta_name(const void *items, int32_t i) { return ((const struct xc_model *)items)->meta[i].key; }
static const char *space_name(const void *items, int32_t i) { return ((const struct xc_graph *)items)->spaces[i].name; }
static const char *value_name(const void *items, int32_t i) { return ((const struct xc_graph *)items)->values[i].name; }
static const char *node_name(const void *items, int32_t i) { return ((const struct xc_graph *)items)->nodes[i].name; }

/* ---- tensors ---- */
static enum xc_status verify_scales(const struct xc_tensor *t, size_t bytes, struct xc_err *err)
{
    const float *scale = (const float *)(const void *)t->part[XC_PART_SCALE]->data;
    const uint16_t *half = (const uint16_t *)(const void *)scale;
    for (size_t i = 0; t->enc.scale_format == XC_FMT_F16 && i < bytes / sizeof *half; i++)
        if ((half[i] & 0x7c00) == 0x7c00) return xc_fail(err, XC_E_FORMAT, "tensor '%s': scale %zu is not finite", t->name, i);
    for (size_t i = 0; t->enc.scale_format == XC_FMT_F32 && i < bytes / sizeof *scale; i++) /* one NaN would poison every answer */
        if (!isfinite(scale[i])) return xc_fail(err, XC_E_FORMAT, "tensor '%s': scale %zu is not finite", t->name, i);
    return XC_OK;
}

static enum xc_status verify_tensor(const struct xc_tensor *t, struct xc_err *err)
{
    enum xc_status status = xc_tensor_check_dims(t->rank, t->dim, err);
    size_t bytes;

    if (status != XC_OK) return xc_fail_at(err, status, "tensor '%s'", t->name);
    for (int p = 0; p < XC_PART_COUNT; p++) {
        status = xc_encoding_part_bytes(&t->enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &bytes, err);
        if (status != XC_OK) return xc_fail_at(err, status, "tensor '%s'", t->name);
        if (!t->part[XC_PART_DATA]) {
            if (!t->source) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has no bytes and no source", t->name);
            return XC_OK;
        }
        if (bytes && (!t->part[p] || t->part[p]->size < bytes))
            return xc_fail(err, XC_E_FORMAT, "tensor '%s': part %d has %zu bytes, must have %zu", t->name, p, t->part[p] ? t->part[p]->size : 0, bytes);
        if (!bytes && t->part[p]) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has a part %d that its encoding has not", t->name, p);
        if (p == XC_PART_SCALE && bytes) XC_TRY(verify_scales(t, bytes, err));
    }
    if (t->enc.layout == XC_LAYOUT_PANEL16 && t->enc.structure == XC_STRUCT_BLOCK &&
        !xc_block_index_ok(t->part[XC_PART_INDEX]->data, t->enc.n, xc_tensor_rows(t), xc_tensor_cols(t)))
        return xc_fail(err, XC_E_FORMAT, "tensor '%s': the lists of its blocks are damaged", t->name);
    if (t->enc.layout == XC_LAYOUT_PANEL16 && t->enc.structure == XC_STRUCT_COMPACT &&
        !xc_compact_index_ok(t->part[XC_PART_INDEX]->data, t->enc.n, xc_tensor_rows(t), xc_tensor_cols(t)))
        return xc_fail(err, XC_E_FORMAT, "tensor '%s': the index of its numbers is damaged", t->name);
    return xc_is_grouped(&t->enc) ? xc_grouped_verify(t, err) : XC_OK;
}

/* ---- graphs ---- */
/* Spaces refer to earlier ones only, so that one pass computes all offsets and nothing can be its own base. */
static enum xc_status verify_space(const struct xc_graph *g, int32_t i, struct xc_err *err)
{
    const struct xc_space *s = &g->spaces[i];
    const bool derived = s->map == XC_MAP_STRIDED || s->map == XC_MAP_SUBSET;

    if ((unsigned)s->map >= XC_MAP_COUNT) return xc_fail(err, XC_E_FORMAT, "row space '%s' has unknown map %d", s->name, (int)s->map);
    if (derived ? s->base < 0 || s->base >= i : s->base != -1)
        return xc_fail(err, XC_E_FORMAT, "row space '%s' has base %d; it must be an earlier one, or -1 where none is needed", s->name, s->base);
    if (s->map == XC_MAP_STATE && (s->state < 0 || s->state >= g->model->n_states)) return xc_fail(err, XC_E_FORMAT, "row space '%s' has no state %d", s->name, s->state);
    if (s->map == XC_MAP_STRIDED && (s->kernel < 1 || s->stride < 1 || s->pad_left < 0 || s->pad_right < 0))
        return xc_fail(err, XC_E_FORMAT, "row space '%s' has kernel %d, stride %d, padding %d and %d", s->name, s->kernel, s->stride, s->pad_left, s->pad_right);
    if (s->map == XC_MAP_FIXED && s->k < 1) return xc_fail(err, XC_E_FORMAT, "row space '%s' has %d rows a sequence", s->name, s->k);
    return XC_OK;
}

static enum xc_status verify_value(const struct xc_graph *g, int32_t i, struct xc_err *err)
{
    const struct xc_value *v = &g->values[i];

    if (v->space < 0 || v->space >= g->n_spaces || v->cols < 1 || v->node < -1 || v->node >= g->n_nodes || (unsigned)v->dtype >= XC_DTYPE_COUNT)
        return xc_fail(err, XC_E_FORMAT, "value '%s' names row space %d, node %d, type %d, %d columns", v->name, v->space, v->node, (int)v->dtype, v->cols);
    return XC_OK;
}

static enum xc_status verify_outputs(const struct xc_graph *g, int32_t n, const struct xc_infer *c, int32_t *maker, struct xc_err *err)
{
    const struct xc_node *node = &g->nodes[n];

    if (node->n_out != node->op->n_out)
        return xc_fail(err, XC_E_FORMAT, "node '%s' has %d outputs, '%s' makes %d", node->name, node->n_out, node->op->name, node->op->n_out);
    for (int32_t i = 0; i < node->n_out; i++) {
        const struct xc_value *v;

        if (node->out[i] < 0 || node->out[i] >= g->n_values)
            return xc_fail(err, XC_E_FORMAT, "node '%s' makes value %d of %d", node->name, node->out[i], g->n_values);
        v = &g->values[node->out[i]];
        if (v->node != n || maker[node->out[i]] >= 0) return xc_fail(err, XC_E_FORMAT, "value '%s' has two makers, or names another than node '%s'", v->name, node->name);
        maker[node->out[i]] = n;
        if (v->cols != c->out[i].cols)
            return xc_fail(err, XC_E_SHAPE, "node '%s' makes %d columns, value '%s' is declared with %d", node->name, c->out[i].cols, v->name, v->cols);
        if (v->space != c->out[i].space || v->dtype != c->out[i].dtype)
            return xc_fail(err, XC_E_SHAPE, "node '%s' and value '%s' differ in row space or type", node->name, v->name);
    }
    return XC_OK;
}

/* maker[v]: node that made value v so far, -2 for a graph input, -1 for not yet. */
static enum xc_status verify_node(const struct xc_graph *g, int32_t n, int32_t *maker, bool *used, struct xc_err *err)
{
    const struct xc_node *node = &g->nodes[n];
    struct xc_infer c;

    if (!node->op || node->n_in < 0 || node->n_in > XC_MAX_IN) return xc_fail(err, XC_E_FORMAT, "node '%s' has no op, or %d inputs", node->name, node->n_in);
    XC_TRY(xc_node_infer(&c, g, node, err));
    for (int32_t i = 0; i < node->n_in; i++) {
        if (node->in[i].kind != XC_REF_VALUE) continue;
        if (maker[node->in[i].id] == -1)
            return xc_fail(err, XC_E_FORMAT, "node '%s' uses value '%s' before it is made", node->name, g->values[node->in[i].id].name);
        used[node->in[i].id] = true;
    }
    return verify_outputs(g, n, &c, maker, err);
}

static bool touches_state(const struct xc_node *node)
{
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_STATE) return true;
    return false;
}

/* The rows of a state within one run are those after its one change: a state that a graph appends to or writes is touched by that
 * node alone (the node's output stands for the state), and the rows appended are known before the state's row space. */
static enum xc_status verify_states(const struct xc_graph *g, int32_t *seen, struct xc_err *err)
{
    for (int32_t i = 0; i < g->model->n_states; i++) seen[i] = 0;
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];
        const bool changes = !strcmp(node->op->name, "state_append") || !strcmp(node->op->name, "state_write");
        const bool reads = !strcmp(node->op->name, "state_read");
        const int32_t id = node->in[changes ? 1 : 0].id;

        if (!changes && !reads) continue;
        if (seen[id] == 2 || (changes && seen[id]))
            return xc_fail(err, XC_E_FORMAT, "node '%s' touches state '%s', which this graph changes elsewhere", node->name, g->model->states[id].name);
        seen[id] = changes ? 2 : 1;
        if (!strcmp(node->op->name, "state_append") && g->values[node->in[0].id].space >= g->values[node->out[0]].space)
            return xc_fail(err, XC_E_FORMAT, "node '%s': the rows of state '%s' follow from row space '%s', which is declared after them", node->name,
                           g->model->states[id].name, g->spaces[g->values[node->in[0].id].space].name);
    }
    return XC_OK;
}

static enum xc_status verify_ends(const struct xc_graph *g, const int32_t *maker, bool *used, struct xc_err *err)
{
    for (int32_t i = 0; i < g->n_outputs; i++) {
        if (g->outputs[i] < 0 || g->outputs[i] >= g->n_values) return xc_fail(err, XC_E_FORMAT, "output %d is value %d of %d", i, g->outputs[i], g->n_values);
        used[g->outputs[i]] = true;
    }
    for (int32_t v = 0; v < g->n_values; v++)
        if (maker[v] == -1) return xc_fail(err, XC_E_FORMAT, "value '%s' is neither an input nor made by a node", g->values[v].name);
    for (int32_t n = 0; n < g->n_nodes; n++) {
        bool live = touches_state(&g->nodes[n]);

        for (int32_t i = 0; i < g->nodes[n].n_out; i++) live |= used[g->nodes[n].out[i]];
        if (!live) return xc_fail(err, XC_E_FORMAT, "node '%s' is dead: nothing uses what it makes", g->nodes[n].name);
    }
    return XC_OK;
}

static enum xc_status verify_graph(const struct xc_graph *g, struct xc_err *err)
{
    bool *used = xc_calloc((size_t)g->n_values + 1, sizeof *used);
    int32_t *maker = xc_calloc((size_t)g->n_values + (size_t)g->model->n_states + 1, sizeof *maker);
    enum xc_status status = XC_OK;

    if (!used || !maker) {
        status = xc_fail_nomem(err, (size_t)g->n_values * sizeof *maker);
        goto out;
    }
    XC_TRY_GOTO(check_names("row space", g, g->n_spaces, space_name, err), out);
    XC_TRY_GOTO(check_names("value", g, g->n_values, value_name, err), out);
    XC_TRY_GOTO(check_names("node", g, g->n_nodes, node_name, err), out);
    for (int32_t i = 0; i < g->n_spaces; i++) XC_TRY_GOTO(verify_space(g, i, err), out);
    for (int32_t v = 0; v < g->n_values; v++) {
        XC_TRY_GOTO(verify_value(g, v, err), out);
        maker[v] = -1;
    }
    for (int32_t i = 0; i < g->n_inputs; i++) {
        if (g->inputs[i] < 0 || g->inputs[i] >= g->n_values || g->values[g->inputs[i]].node != -1 || maker[g->inputs[i]] != -1) {
            status = xc_fail(err, XC_E_FORMAT, "input %d is no value that comes from outside, or is there twice", i);
            goto out;
        }
        maker[g->inputs[i]] = -2;
    }
    for (int32_t n = 0; n < g->n_nodes; n++) XC_TRY_GOTO(verify_node(g, n, maker, used, err), out);
    XC_TRY_GOTO(verify_ends(g, maker, used, err), out);
    status = verify_states(g, maker + g->n_values, err);
out:
    xc_free(used);
    xc_free(maker);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "graph '%s'", g->name);
}

enum xc_status xc_model_verify(const struct xc_model *m, struct xc_err *err)
{
    XC_TRY(check_names("tensor", m, m->n_tensors, tensor_name, err));
    XC_TRY(check_names("state", m, m->n_states, state_name, err));
    XC_TRY(check_names("meta key", m, m->n_meta, meta_name, err));
    XC_TRY(check_names("graph", m, m->n_graphs, graph_name, err));
    for (int32_t i = 0; i < m->n_states; i++)
        if (m->states[i].cols < 1 || (unsigned)m->states[i].dtype >= XC_DTYPE_COUNT)
            return xc_fail(err, XC_E_FORMAT, "state '%s' has %d columns of type %d", m->states[i].name, m->states[i].cols, (int)m->states[i].dtype);
    for (int32_t i = 0; i < m->n_tensors; i++) XC_TRY(verify_tensor(m->tensors[i], err));
    for (int32_t i = 0; i < m->n_graphs; i++) {
        if (m->graphs[i]->model != m) return xc_fail(err, XC_E_FORMAT, "graph '%s' belongs to another model", m->graphs[i]->name);
        XC_TRY(verify_graph(m->graphs[i], err));
    }
    return XC_OK;
}
