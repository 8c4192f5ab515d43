/* graph: building, copying and searching models and graphs. See graph.h. */
#include "runtime/graph/graph.h"

#include <math.h>
#include <string.h>

#include "runtime/graph/op.h"

#define MAX_ITEMS (1 << 24) /* of any list: far beyond any model, far below an overflow */

/* Lists live on the heap (they grow); what they name lives in the arena. */
static enum xc_status grow(void **items, int32_t *cap, int32_t n, size_t size, struct xc_err *err)
{
    size_t c = (size_t)*cap;

    if (n >= MAX_ITEMS) return xc_fail(err, XC_E_LIMIT, "a model with more than %d items in one list", MAX_ITEMS);
    XC_TRY(xc_grow(items, &c, (size_t)n + 1, size, err));
    *cap = (int32_t)c;
    return XC_OK;
}

bool xc_utf8_ok(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;

    for (size_t i = 0; i < n;) {
        const unsigned char c = s[i];
        const size_t len = c < 0x80 ? 1 : c >= 0xC2 && c < 0xE0 ? 2 : (c & 0xF0) == 0xE0 ? 3 : c >= 0xF0 && c < 0xF5 ? 4 : 0;

        if (!len || len > n - i || c == 0) return false;
        for (size_t k = 1; k < len; k++)
            if ((s[i + k] & 0xC0) != 0x80) return false;
        if ((c == 0xE0 && s[i + 1] < 0xA0) || (c == 0xED && s[i + 1] > 0x9F) || (c == 0xF0 && s[i + 1] < 0x90) || (c == 0xF4 && s[i + 1] > 0x8F)) return false;
        i += len;
    }
    return true;
}

bool xc_name_ok(const char *name)
{
    const size_t n = name ? strnlen(name, XC_MAX_NAME + 1) : 0;

    if (n < 1 || n > XC_MAX_NAME) return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) return false;
    return xc_utf8_ok(name, n);
}

static enum xc_status keep_name(struct xc_model *m, const char **out, const char *name, struct xc_err *err)
{
    if (!xc_name_ok(name))
        return xc_fail(err, XC_E_FORMAT, "'%.80s' is not a name: 1 to %d bytes of UTF-8 without control characters", name ? name : "", XC_MAX_NAME);
    *out = xc_arena_strdup(&m->arena, name);
    return *out ? XC_OK : xc_fail_nomem(err, strlen(name) + 1);
}

/* ---- model ---- */
enum xc_status xc_model_new(struct xc_model **out, struct xc_err *err)
{
    *out = xc_calloc(1, sizeof **out);
    if (!*out) return xc_fail_nomem(err, sizeof **out);
    xc_arena_init(&(*out)->arena);
    return XC_OK;
}

static void graph_release(struct xc_graph *g)
{
    xc_free(g->spaces);
    xc_free(g->values);
    xc_free(g->nodes);
    xc_free(g->inputs);
    xc_free(g->outputs);
}

void xc_model_free(struct xc_model **model)
{
    struct xc_model *m = *model;

    *model = NULL;
    if (!m) return;
    for (int32_t i = 0; i < m->n_tensors; i++) xc_tensor_clear(m->tensors[i]);
    for (int32_t i = 0; i < m->n_graphs; i++) graph_release(m->graphs[i]);
    xc_free(m->tensors);
    xc_free(m->graphs);
    xc_free(m->states);
    xc_free(m->meta);
    xc_free((void *)m->labels);
    xc_buf_unref(&m->tokenizer);
    xc_buf_unref(&m->manifest);
    xc_buf_unref(&m->golden);
    xc_arena_release(&m->arena);
    xc_free(m);
}

void xc_model_remove_graph(struct xc_model *m, const char *name)
{
    for (int32_t i = 0; i < m->n_graphs; i++) {
        if (strcmp(m->graphs[i]->name, name)) continue;
        graph_release(m->graphs[i]);
        memmove(&m->graphs[i], &m->graphs[i + 1], (size_t)(m->n_graphs - i - 1) * sizeof *m->graphs);
        m->n_graphs--;
        return;
    }
}

int32_t xc_model_find_tensor(const struct xc_model *m, const char *name)
{
    for (int32_t i = 0; i < m->n_tensors; i++)
        if (!strcmp(m->tensors[i]->name, name)) return i;
    return -1;
}

enum xc_status xc_model_add_tensor(struct xc_model *m, int32_t *id, const char *name, int32_t rank, const int64_t *dim, struct xc_err *err)
{
    struct xc_tensor *t;
    enum xc_status status;

    *id = -1;
    status = xc_tensor_check_dims(rank, dim, err);
    if (status != XC_OK) return xc_fail_at(err, status, "tensor '%s'", name ? name : "");
    if (!m->bulk && name && xc_model_find_tensor(m, name) >= 0) return xc_fail(err, XC_E_FORMAT, "tensor '%s' is there twice", name);
    XC_TRY(grow((void **)&m->tensors, &m->cap_tensors, m->n_tensors, sizeof *m->tensors, err));
    t = xc_arena_alloc(&m->arena, sizeof *t);
    if (!t) return xc_fail_nomem(err, sizeof *t);
    XC_TRY(keep_name(m, &t->name, name, err));
    t->rank = rank;
    memcpy(t->dim, dim, (size_t)rank * sizeof *dim);
    *id = m->n_tensors;
    m->tensors[m->n_tensors++] = t;
    return XC_OK;
}

enum xc_status xc_model_add_state(struct xc_model *m, int32_t *id, const char *name, int32_t cols, enum xc_dtype dtype, bool append, struct xc_err *err)
{
    struct xc_state s = { .cols = cols, .dtype = dtype, .append = append };

    *id = -1;
    if (cols < 1) return xc_fail(err, XC_E_SHAPE, "state '%s' has %d columns", name, cols);
    if ((unsigned)dtype >= XC_DTYPE_COUNT) return xc_fail(err, XC_E_FORMAT, "state '%s' has unknown type %d", name, (int)dtype);
    for (int32_t i = 0; i < m->n_states; i++)
        if (!strcmp(m->states[i].name, name)) return xc_fail(err, XC_E_FORMAT, "state '%s' is there twice", name);
    XC_TRY(grow((void **)&m->states, &m->cap_states, m->n_states, sizeof *m->states, err));
    XC_TRY(keep_name(m, &s.name, name, err));
    *id = m->n_states;
    m->states[m->n_states++] = s;
    return XC_OK;
}

const char *xc_model_meta(const struct xc_model *m, const char *key)
{
    for (int32_t i = 0; i < m->n_meta; i++)
        if (!strcmp(m->meta[i].key, key)) return m->meta[i].value;
    return NULL;
}

enum xc_status xc_model_set_meta(struct xc_model *m, const char *key, const char *value, struct xc_err *err)
{
    struct xc_meta meta = { 0 };
    int32_t at = 0;

    meta.value = xc_arena_strdup(&m->arena, value);
    if (!meta.value) return xc_fail_nomem(err, strlen(value) + 1);
    while (m->bulk ? at < m->n_meta : at < m->n_meta && strcmp(m->meta[at].key, key)) at++;
    if (at < m->n_meta) {
        m->meta[at].value = meta.value;
        return XC_OK;
    }
    XC_TRY(grow((void **)&m->meta, &m->cap_meta, m->n_meta, sizeof *m->meta, err));
    XC_TRY(keep_name(m, &meta.key, key, err));
    m->meta[m->n_meta++] = meta;
    return XC_OK;
}

enum xc_status xc_model_add_label(struct xc_model *m, const char *label, struct xc_err *err)
{
    const char *copy = xc_arena_strdup(&m->arena, label);

    if (!copy) return xc_fail_nomem(err, strlen(label) + 1);
    XC_TRY(grow((void **)&m->labels, &m->cap_labels, m->n_labels, sizeof *m->labels, err));
    m->labels[m->n_labels++] = copy;
    return XC_OK;
}

struct xc_graph *xc_model_find_graph(const struct xc_model *m, const char *name)
{
    for (int32_t i = 0; i < m->n_graphs; i++)
        if (!strcmp(m->graphs[i]->name, name)) return m->graphs[i];
    return NULL;
}

enum xc_status xc_model_add_graph(struct xc_model *m, struct xc_graph **out, const char *name, struct xc_err *err)
{
    struct xc_graph *g;

    *out = NULL;
    if (!m->bulk && xc_model_find_graph(m, name)) return xc_fail(err, XC_E_FORMAT, "graph '%s' is there twice", name);
    XC_TRY(grow((void **)&m->graphs, &m->cap_graphs, m->n_graphs, sizeof *m->graphs, err));
    g = xc_arena_alloc(&m->arena, sizeof *g);
    if (!g) return xc_fail_nomem(err, sizeof *g);
    XC_TRY(keep_name(m, &g->name, name, err));
    g->model = m;
    m->graphs[m->n_graphs++] = g;
    *out = g;
    return XC_OK;
}

/* ---- building ---- */
int32_t xc_graph_find_space(const struct xc_graph *g, const char *name)
{
    for (int32_t i = 0; i < g->n_spaces; i++)
        if (!strcmp(g->spaces[i].name, name)) return i;
    return -1;
}

int32_t xc_graph_find_value(const struct xc_graph *g, const char *name)
{
    for (int32_t i = 0; i < g->n_values; i++)
        if (!strcmp(g->values[i].name, name)) return i;
    return -1;
}

int32_t xc_graph_find_node(const struct xc_graph *g, const char *name)
{
    for (int32_t i = 0; i < g->n_nodes; i++)
        if (!strcmp(g->nodes[i].name, name)) return i;
    return -1;
}

enum xc_status xc_graph_add_space(struct xc_graph *g, int32_t *id, const struct xc_space *space, struct xc_err *err)
{
    struct xc_space s = *space;
    const bool derived = s.map == XC_MAP_STRIDED || s.map == XC_MAP_SUBSET;

    *id = -1;
    if ((unsigned)s.map >= XC_MAP_COUNT) return xc_fail(err, XC_E_VERSION, "row space '%s' has unknown map %d", s.name, (int)s.map);
    if (derived ? (s.base < 0 || s.base >= g->n_spaces) : false) return xc_fail(err, XC_E_FORMAT, "row space '%s' has no base %d", s.name, s.base);
    if (s.map == XC_MAP_STATE && (s.state < 0 || s.state >= g->model->n_states)) return xc_fail(err, XC_E_FORMAT, "row space '%s' has no state %d", s.name, s.state);
    if (s.map == XC_MAP_STRIDED && (s.kernel < 1 || s.stride < 1 || s.pad_left < 0 || s.pad_right < 0 || s.kernel > MAX_ITEMS || s.pad_left > MAX_ITEMS || s.pad_right > MAX_ITEMS))
        return xc_fail(err, XC_E_FORMAT, "row space '%s' has kernel %d, stride %d, padding %d and %d", s.name, s.kernel, s.stride, s.pad_left, s.pad_right);
    if (s.map == XC_MAP_FIXED && s.k < 1) return xc_fail(err, XC_E_FORMAT, "row space '%s' has %d rows a sequence", s.name, s.k);
    if (!g->model->bulk && xc_graph_find_space(g, s.name) >= 0) return xc_fail(err, XC_E_FORMAT, "row space '%s' is there twice", s.name);
    XC_TRY(grow((void **)&g->spaces, &g->cap_spaces, g->n_spaces, sizeof *g->spaces, err));
    XC_TRY(keep_name(g->model, &s.name, space->name, err));
    if (!derived) s.base = -1;
    *id = g->n_spaces;
    g->spaces[g->n_spaces++] = s;
    return XC_OK;
}

static enum xc_status add_value(struct xc_graph *g, int32_t *id, const char *name, int32_t space, int32_t cols, enum xc_dtype dtype, int32_t node,
                                struct xc_err *err)
{
    struct xc_value v = { .space = space, .cols = cols, .dtype = dtype, .node = node };

    *id = -1;
    if (space < 0 || space >= g->n_spaces) return xc_fail(err, XC_E_FORMAT, "value '%s' names row space %d, graph '%s' has %d", name, space, g->name, g->n_spaces);
    if (cols < 1) return xc_fail(err, XC_E_SHAPE, "value '%s' has %d columns", name, cols);
    if ((unsigned)dtype >= XC_DTYPE_COUNT) return xc_fail(err, XC_E_FORMAT, "value '%s' has unknown type %d", name, (int)dtype);
    if (!g->model->bulk && xc_graph_find_value(g, name) >= 0) return xc_fail(err, XC_E_FORMAT, "value '%s' is there twice in graph '%s'", name, g->name);
    XC_TRY(grow((void **)&g->values, &g->cap_values, g->n_values, sizeof *g->values, err));
    XC_TRY(keep_name(g->model, &v.name, name, err));
    *id = g->n_values;
    g->values[g->n_values++] = v;
    return XC_OK;
}

static enum xc_status add_id(int32_t **list, int32_t *n, int32_t *cap, int32_t id, struct xc_err *err)
{
    XC_TRY(grow((void **)list, cap, *n, sizeof **list, err));
    (*list)[(*n)++] = id;
    return XC_OK;
}

enum xc_status xc_graph_add_input(struct xc_graph *g, int32_t *value, const char *name, int32_t space, int32_t cols, enum xc_dtype dtype, struct xc_err *err)
{
    XC_TRY(add_value(g, value, name, space, cols, dtype, -1, err));
    return add_id(&g->inputs, &g->n_inputs, &g->cap_inputs, *value, err);
}

enum xc_status xc_graph_add_output(struct xc_graph *g, int32_t value, struct xc_err *err)
{
    if (value < 0 || value >= g->n_values) return xc_fail(err, XC_E_ARG, "graph '%s' has no value %d to return", g->name, value);
    return add_id(&g->outputs, &g->n_outputs, &g->cap_outputs, value, err);
}

/* ---- attributes ---- */
double xc_attr_get(const struct xc_attr_def *def, const void *attr)
{
    const uint8_t *at = (const uint8_t *)attr + def->offset;
    int32_t i = 0;
    float f = 0;
    bool b = false;

    if (def->type == XC_ATTR_FLOAT) {
        memcpy(&f, at, sizeof f);
        return (double)f;
    }
    if (def->type == XC_ATTR_BOOL) {
        memcpy(&b, at, sizeof b);
        return b ? 1 : 0;
    }
    memcpy(&i, at, sizeof i);
    return i;
}

enum xc_status xc_attr_set(const struct xc_attr_def *def, void *attr, double value, struct xc_err *err)
{
    uint8_t *at = (uint8_t *)attr + def->offset;

    if (!(value >= def->min && value <= def->max))
        return xc_fail(err, XC_E_RANGE, "attribute '%s' is %g, must lie in %g to %g", def->name, value, def->min, def->max);
    if (def->type == XC_ATTR_FLOAT) {
        const float f = (float)value;

        memcpy(at, &f, sizeof f);
    } else if (def->type == XC_ATTR_BOOL) {
        const bool b = value != 0;

        memcpy(at, &b, sizeof b);
    } else {
        const int32_t i = (int32_t)value;

        if ((double)i != value) return xc_fail(err, XC_E_RANGE, "attribute '%s' is %g, must be a whole number", def->name, value);
        memcpy(at, &i, sizeof i);
    }
    return XC_OK;
}

static enum xc_status keep_attr(struct xc_graph *g, const struct xc_op *op, void **out, const void *attr, struct xc_err *err)
{
    *out = NULL;
    if (!op->attr_size) return XC_OK;
    *out = xc_arena_alloc(&g->model->arena, op->attr_size);
    if (!*out) return xc_fail_nomem(err, op->attr_size);
    for (const struct xc_attr_def *def = op->attrs; def->name; def++) XC_TRY(xc_attr_set(def, *out, attr ? xc_attr_get(def, attr) : def->def, err));
    return XC_OK;
}

static enum xc_status check_ref(const struct xc_graph *g, const struct xc_ref *ref, struct xc_err *err)
{
    const int32_t limit = ref->kind == XC_REF_VALUE ? g->n_values : ref->kind == XC_REF_TENSOR ? g->model->n_tensors : g->model->n_states;

    if (ref->kind == XC_REF_NONE) return XC_OK;
    if ((unsigned)ref->kind > XC_REF_STATE) return xc_fail(err, XC_E_FORMAT, "an input of unknown kind %d", (int)ref->kind);
    if (ref->id < 0 || ref->id >= limit) return xc_fail(err, XC_E_FORMAT, "an input names item %d of %d", ref->id, limit);
    if ((unsigned)ref->range.mode > XC_RANGE_AFFINE || (ref->range.mode == XC_RANGE_STATIC && !(isfinite(ref->range.scale) && ref->range.scale > 0)))
        return xc_fail(err, XC_E_FORMAT, "an input has an invalid range (mode %d, scale %g)", (int)ref->range.mode, (double)ref->range.scale);
    return XC_OK;
}

static enum xc_status check_attr(const struct xc_node *node, struct xc_err *err)
{
    for (const struct xc_attr_def *def = node->op->attrs; def && def->name; def++) {
        const double value = node->attr ? xc_attr_get(def, node->attr) : (double)NAN;

        if (!(value >= def->min && value <= def->max))
            return xc_fail(err, XC_E_RANGE, "attribute '%s' is %g, must lie in %g to %g", def->name, value, def->min, def->max);
    }
    return XC_OK;
}

enum xc_status xc_node_infer(struct xc_infer *c, const struct xc_graph *g, const struct xc_node *node, struct xc_err *err)
{
    enum xc_status status = XC_OK;

    *c = (struct xc_infer){ .graph = g, .node = node };
    if (node->n_in < node->op->min_in || node->n_in > node->op->max_in)
        status = xc_fail(err, XC_E_FORMAT, "%d inputs, '%s' takes %d to %d", node->n_in, node->op->name, node->op->min_in, node->op->max_in);
    for (int32_t i = 0; i < node->n_in && status == XC_OK; i++) status = check_ref(g, &node->in[i], err);
    if (status == XC_OK) status = check_attr(node, err);
    if (status == XC_OK) status = node->op->infer(c, err);
    if (status != XC_OK) return xc_fail_at(err, status, "node '%s' of graph '%s'", node->name, g->name);
    return XC_OK;
}

enum xc_status xc_graph_add_node(struct xc_graph *g, int32_t *out_values, const char *op_name, const char *name, const struct xc_ref *in, int32_t n_in,
                                 const void *attr, struct xc_err *err)
{
    const struct xc_op *op = xc_op_find(op_name);
    struct xc_node node = { .op = op, .n_in = n_in };
    struct xc_infer c;

    if (out_values) out_values[0] = -1;
    if (!op) return xc_fail(err, XC_E_VERSION, "op '%s' is not known to this version", op_name);
    if (n_in < 0 || n_in > XC_MAX_IN) return xc_fail(err, XC_E_FORMAT, "node '%s' has %d inputs", name, n_in);
    if (!g->model->bulk && xc_graph_find_node(g, name) >= 0) return xc_fail(err, XC_E_FORMAT, "node '%s' is there twice in graph '%s'", name, g->name);
    XC_TRY(keep_name(g->model, &node.name, name, err));
    memcpy(node.in, in, (size_t)n_in * sizeof *in);
    for (int i = n_in; i < XC_MAX_IN; i++) node.in[i] = xc_none();
    XC_TRY(keep_attr(g, op, &node.attr, attr, err));
    XC_TRY(xc_node_infer(&c, g, &node, err));
    XC_TRY(grow((void **)&g->nodes, &g->cap_nodes, g->n_nodes, sizeof *g->nodes, err));
    node.n_out = op->n_out;
    for (int i = 0; i < op->n_out; i++) {
        const char *value = op->n_out == 1 ? node.name : xc_arena_printf(&g->model->arena, "%s:%d", node.name, i);

        if (!value) return xc_fail_nomem(err, strlen(name) + 4);
        XC_TRY(add_value(g, &node.out[i], value, c.out[i].space, c.out[i].cols, c.out[i].dtype, g->n_nodes, err));
        if (out_values) out_values[i] = node.out[i];
    }
    g->nodes[g->n_nodes++] = node;
    return XC_OK;
}

enum xc_status xc_graph_insert_node(struct xc_graph *g, int32_t at, int32_t *out_values, const char *op, const char *name, const struct xc_ref *in, int32_t n_in,
                                    const void *attr, struct xc_err *err)
{
    struct xc_node node;

    if (at < 0 || at > g->n_nodes) return xc_fail(err, XC_E_ARG, "graph '%s' has no node %d to insert '%s' before", g->name, at, name);
    XC_TRY(xc_graph_add_node(g, out_values, op, name, in, n_in, attr, err));
    node = g->nodes[g->n_nodes - 1];
    memmove(&g->nodes[at + 1], &g->nodes[at], (size_t)(g->n_nodes - 1 - at) * sizeof *g->nodes);
    g->nodes[at] = node;
    for (int32_t v = 0; v < g->n_values; v++)
        if (g->values[v].node >= at) g->values[v].node++;
    for (int32_t i = 0; i < node.n_out; i++) g->values[node.out[i]].node = at;
    return XC_OK;
}

/* ---- copies and clean-up ---- */
enum xc_status xc_model_copy_graph(struct xc_model *m, struct xc_graph **out, const struct xc_graph *g, const char *name, struct xc_err *err)
{
    struct xc_graph *copy = NULL;
    int32_t id;

    *out = NULL;
    XC_TRY(xc_model_add_graph(m, &copy, name, err));
    *out = copy;
    for (int32_t i = 0; i < g->n_spaces; i++) XC_TRY(xc_graph_add_space(copy, &id, &g->spaces[i], err));
    for (int32_t i = 0; i < g->n_values; i++)
        XC_TRY(add_value(copy, &id, g->values[i].name, g->values[i].space, g->values[i].cols, g->values[i].dtype, g->values[i].node, err));
    for (int32_t i = 0; i < g->n_nodes; i++) {
        XC_TRY(grow((void **)&copy->nodes, &copy->cap_nodes, copy->n_nodes, sizeof *copy->nodes, err));
        struct xc_node *node = &copy->nodes[copy->n_nodes];

        *node = g->nodes[i];
        XC_TRY(keep_name(m, &node->name, g->nodes[i].name, err));
        XC_TRY(keep_attr(copy, node->op, &node->attr, g->nodes[i].attr, err));
        copy->n_nodes++;
    }
    for (int32_t i = 0; i < g->n_inputs; i++) XC_TRY(add_id(&copy->inputs, &copy->n_inputs, &copy->cap_inputs, g->inputs[i], err));
    for (int32_t i = 0; i < g->n_outputs; i++) XC_TRY(add_id(&copy->outputs, &copy->n_outputs, &copy->cap_outputs, g->outputs[i], err));
    return XC_OK;
}

static enum xc_status clone_into(struct xc_model *m, const struct xc_model *from, struct xc_err *err)
{
    struct xc_graph *copy;
    int32_t id;

    for (int32_t i = 0; i < from->n_tensors; i++) {
        const struct xc_tensor *t = from->tensors[i];

        XC_TRY(xc_model_add_tensor(m, &id, t->name, t->rank, t->dim, err));
        const char *name = m->tensors[id]->name;

        *m->tensors[id] = *t;
        m->tensors[id]->name = name;
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_ref(t->part[p]);
        xc_source_ref(t->source);
    }
    for (int32_t i = 0; i < from->n_states; i++)
        XC_TRY(xc_model_add_state(m, &id, from->states[i].name, from->states[i].cols, from->states[i].dtype, from->states[i].append, err));
    for (int32_t i = 0; i < from->n_meta; i++) XC_TRY(xc_model_set_meta(m, from->meta[i].key, from->meta[i].value, err));
    for (int32_t i = 0; i < from->n_labels; i++) XC_TRY(xc_model_add_label(m, from->labels[i], err));
    for (int32_t i = 0; i < from->n_graphs; i++) XC_TRY(xc_model_copy_graph(m, &copy, from->graphs[i], from->graphs[i]->name, err));
    m->tokenizer = xc_buf_ref(from->tokenizer);
    m->manifest = xc_buf_ref(from->manifest);
    m->golden = xc_buf_ref(from->golden);
    return XC_OK;
}

enum xc_status xc_model_clone(struct xc_model **out, const struct xc_model *model, struct xc_err *err)
{
    enum xc_status status;

    XC_TRY(xc_model_new(out, err));
    (*out)->bulk = true; /* the names are those of a model: unique already */
    status = clone_into(*out, model, err);
    (*out)->bulk = model->bulk;
    if (status != XC_OK) xc_model_free(out);
    return status;
}

/* Marks live in the tensors themselves for the time of the call, so that this cannot run out of memory. */
void xc_model_drop_unused(struct xc_model *m, int32_t *n_dropped, size_t *bytes)
{
    int32_t kept = 0;

    *n_dropped = 0;
    *bytes = 0;
    for (int32_t t = 0; t < m->n_tensors; t++) m->tensors[t]->index = -1;
    for (int32_t i = 0; i < m->n_graphs; i++)
        for (int32_t n = 0; n < m->graphs[i]->n_nodes; n++)
            for (int32_t k = 0; k < m->graphs[i]->nodes[n].n_in; k++)
                if (m->graphs[i]->nodes[n].in[k].kind == XC_REF_TENSOR) m->tensors[m->graphs[i]->nodes[n].in[k].id]->index = 0;
    for (int32_t t = 0; t < m->n_tensors; t++)
        if (m->tensors[t]->index == 0) m->tensors[t]->index = kept++;
    for (int32_t i = 0; i < m->n_graphs; i++)
        for (int32_t n = 0; n < m->graphs[i]->n_nodes; n++)
            for (int32_t k = 0; k < m->graphs[i]->nodes[n].n_in; k++) {
                struct xc_ref *ref = &m->graphs[i]->nodes[n].in[k];

                if (ref->kind == XC_REF_TENSOR) ref->id = m->tensors[ref->id]->index;
            }
    for (int32_t t = 0; t < m->n_tensors; t++) {
        if (m->tensors[t]->index >= 0) {
            m->tensors[m->tensors[t]->index] = m->tensors[t];
            continue;
        }
        *bytes += (size_t)xc_tensor_count(m->tensors[t]) * sizeof(float);
        (*n_dropped)++;
        xc_tensor_clear(m->tensors[t]);
    }
    m->n_tensors = kept;
}

enum xc_status xc_graph_cost(const struct xc_graph *g, const int64_t *rows, int64_t n_seq, struct xc_cost *cost, struct xc_err *err)
{
    (void)err;
    *cost = (struct xc_cost){ 0 };
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];

        if (node->op->cost) node->op->cost(g, node, rows, n_seq, cost);
        for (int32_t i = 0; i < node->n_in; i++)
            if (node->in[i].kind == XC_REF_VALUE) cost->act_bytes += 4.0 * (double)rows[g->values[node->in[i].id].space] * g->values[node->in[i].id].cols;
        for (int32_t i = 0; i < node->n_out; i++) cost->act_bytes += 4.0 * (double)rows[g->values[node->out[i]].space] * g->values[node->out[i]].cols;
    }
    return XC_OK;
}
