/* swap_layer: one attention of a graph as another kind. See swap_attention.h.
 *
 * Longformer takes the weights as they are (Beltagy et al. 2020, section 5; its global tokens by the same projections). Linformer gets projections of keys and
 * values, Synthesizer a matrix of scores and, without the dot product, no queries and keys. Reformer shares queries and keys: the mean of both
 * projections, or the queries'. Positions beyond those that texts reached when maps were made repeat the first ones, as the table of positions does; columns of
 * E in copy number c count 1/c. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/attention/swap_attention.h"
#include "compress/shrink/surgery.h"
#include "runtime/base/rng.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/longformer_span.h"

#define STREAM (uint64_t)0x73776170 /* "swap": of the generator */

bool xc_swap_possible(const char **why, const struct xc_graph *g, int32_t n)
{
    const struct xc_node *node = &g->nodes[n];
    const struct xc_attr_attention *a = node->attr;
    const char *reason = NULL;

    if (strcmp(node->op->name, "attention")) return false;
    if (a->kind != xc_attention_kind_named("dense")) reason = "is not dense";
    else if (a->quantized) reason = "is int8: swap before quantization";
    else if (a->causal) reason = "is causal";
    else if (a->kv_heads && a->kv_heads != a->heads) reason = "has fewer heads of keys than of queries";
    for (int32_t i = 3; i < node->n_in; i++)
        if (node->in[i].kind != XC_REF_NONE) reason = "has a position bias";
    if (g->values[node->in[0].id].space != g->values[node->in[1].id].space) reason = "reads other rows than its queries";
    if (why) *why = reason;
    return !reason;
}

bool xc_swap_hashed(const struct xc_graph *g, int32_t n)
{
    const struct xc_node *node = &g->nodes[n];

    if (strcmp(node->op->name, "attention") || ((const struct xc_attr_attention *)node->attr)->kind != xc_attention_kind_named("reformer")) return false;
    return node->n_in > 3 && node->in[3].kind == XC_REF_TENSOR && xc_surgery_tensor_uses(g->model, node->in[3].id) == 1;
}

/* ---- tensors ---- */
/* x NULL with plan_only. */
static enum xc_status add_tensor(struct xc_model *m, int32_t *id, const char *node, const char *part, int64_t rows, int64_t cols, const float *x, struct xc_err *err)
{
    const int64_t dim[2] = { rows, cols };
    char name[XC_MAX_NAME + 1];

    if ((size_t)snprintf(name, sizeof name, "%s.%s", node, part) >= sizeof name) return xc_fail(err, XC_E_LIMIT, "node '%s' has too long a name for a tensor of its own", node);
    XC_TRY(xc_model_add_tensor(m, id, name, 2, dim, err));
    return x ? xc_tensor_set_f32(m->tensors[*id], x, err) : XC_OK;
}

static void draw(float *x, int64_t n, double deviation, uint64_t seed, const char *node, int part)
{
    struct xc_rng rng;
    uint64_t stream = STREAM + (uint64_t)part;

    for (; *node; node++) stream = stream * 1099511628211u + (uint8_t)*node;
    xc_rng_init(&rng, seed, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(deviation * xc_rng_normal(&rng));
}

static enum xc_status room(float **x, int64_t rows, int64_t cols, bool plan_only, struct xc_err *err)
{
    size_t bytes;

    *x = NULL;
    if (plan_only) return XC_OK;
    if (!xc_mul_ok(&bytes, (size_t)rows, (size_t)cols * sizeof **x)) return xc_fail_nomem(err, SIZE_MAX);
    *x = xc_malloc(bytes);
    return *x ? XC_OK : xc_fail_nomem(err, bytes);
}

/* ---- the kinds ---- */
static enum xc_status as_linformer(struct xc_graph *g, struct xc_node *node, const struct xc_swap *s, int32_t positions, uint64_t seed, bool plan_only, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    const int64_t rows = (int64_t)s->slots * (s->each_head ? a->heads : 1);
    float *x;

    a->kind = xc_attention_kind_named("linformer");
    a->slots = s->slots;
    for (int part = 0; part < 2; part++) {
        int32_t id;
        enum xc_status status;

        XC_TRY(room(&x, rows, positions, plan_only, err));
        for (int64_t i = 0; x && s->e && i < rows; i++)
            for (int64_t p = 0; p < positions; p++)
                x[i * positions + p] = p >= s->seen && p < s->slots ? (float)(i % s->slots == p) : s->e[i * s->seen + p % s->seen] / (float)(1 + p / s->seen);
        if (x && !s->e) draw(x, rows * positions, 1 / sqrt((double)positions), seed, s->node, part); /* as CALD: keys and values keep their size */
        status = add_tensor(g->model, &id, s->node, part ? "f" : "e", rows, positions, x, err);
        xc_free(x);
        XC_TRY(status);
        node->in[3 + part] = xc_ten(id);
    }
    node->n_in = 5;
    return XC_OK;
}

static enum xc_status as_synthesizer(struct xc_graph *g, struct xc_node *node, const struct xc_swap *s, int32_t positions, uint64_t seed, bool plan_only, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    const bool uniform = s->kind == XC_SWAP_UNIFORM;
    const int64_t rank = uniform ? 1 : s->rank, cols = rank ? 2 * rank : positions, rows = (int64_t)positions * (uniform ? 1 : a->heads), columns_seen = rank ? 2 * rank : s->seen;
    float *x;
    int32_t id;
    enum xc_status status;

    if (rows * cols > (int64_t)1 << 28)
        return xc_fail(err, XC_E_LIMIT, "the random matrices of node '%s' have %.1f billion numbers for %d positions: give a rank, such as 16", s->node, (double)rows * (double)cols / 1e9, positions);
    a->kind = xc_attention_kind_named("synthesizer");
    a->positions = positions;
    a->rank = (int32_t)rank;
    a->dot = s->dot;
    XC_TRY(room(&x, rows, cols, plan_only, err));
    if (x && uniform) memset(x, 0, (size_t)(rows * cols) * sizeof *x);
    for (int64_t i = 0; x && s->r && i < rows; i++) {
        const float *from = s->r + (i / positions * s->seen + i % positions % s->seen) * columns_seen;

        for (int64_t c = 0; c < cols; c++) x[i * cols + c] = from[rank ? c : c % s->seen];
    }
    if (x && !uniform && !s->r) {
        draw(x, rows * cols, rank ? 0.1 : 0.02, seed, s->node, 0);
        for (int64_t i = 0; s->dot && i < rows * cols; i++) /* the hybrid begins as the dot product alone; one factor must not be zero, or none would learn */
            if (!rank || i % cols >= rank) x[i] = 0;
    }
    status = add_tensor(g->model, &id, s->node, "random", rows, cols, x, err);
    xc_free(x);
    XC_TRY(status);
    node->in[3] = xc_ten(id);
    node->n_in = 4;
    if (!s->dot) node->in[0] = node->in[1] = node->in[2]; /* not read; their linears go */
    return XC_OK;
}

/* The linear that makes value `v` and whose tensors are its own; NULL. */
static struct xc_node *own_linear(const struct xc_graph *g, int32_t v)
{
    struct xc_node *node = g->values[v].node >= 0 ? &g->nodes[g->values[v].node] : NULL;

    if (!node || strcmp(node->op->name, "linear") != 0 || xc_surgery_value_uses(g, v) != 1) return NULL;
    for (int32_t i = 1; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_TENSOR && xc_surgery_tensor_uses(g->model, node->in[i].id) != 1) return NULL;
    return node;
}

static enum xc_status mean_of(struct xc_tensor *to, const struct xc_tensor *other, struct xc_err *err)
{
    float *x = NULL, *y = NULL;
    int64_t dim[2] = { to->dim[0], to->rank > 1 ? to->dim[1] : 0 };
    enum xc_status status = xc_surgery_numbers(&x, to, err);

    if (status == XC_OK) status = xc_surgery_numbers(&y, other, err);
    for (int64_t i = 0; status == XC_OK && i < xc_tensor_count(to); i++) x[i] = 0.5f * (x[i] + y[i]);
    if (status == XC_OK) status = xc_surgery_replace(to, to->rank, dim, x, err);
    xc_free(x);
    xc_free(y);
    return status;
}

static enum xc_status share_projections(struct xc_graph *g, const struct xc_node *node, struct xc_err *err)
{
    const struct xc_node *q = own_linear(g, node->in[0].id), *k = own_linear(g, node->in[1].id);

    if (!q || !k || q->n_in != k->n_in)
        return xc_fail(err, XC_E_UNSUPPORTED, "queries and keys of node '%s' are not made by a linear each, of their own: their projections have no mean; set 'share' to query", node->name);
    for (int32_t i = 1; i < q->n_in; i++)
        if (q->in[i].kind == XC_REF_TENSOR) XC_TRY(mean_of(g->model->tensors[q->in[i].id], g->model->tensors[k->in[i].id], err));
    return XC_OK;
}

static enum xc_status as_reformer(struct xc_graph *g, struct xc_node *node, const struct xc_swap *s, int32_t positions, uint64_t seed, bool plan_only, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    const int32_t auto_buckets = s->again ? a->buckets : 2 * (int32_t)xc_min_i64(1024, xc_div_up(positions, s->chunk)), buckets = s->buckets ? s->buckets : auto_buckets;
    const int64_t rows = g->values[node->in[0].id].cols, cols = (int64_t)s->rounds * (buckets + (s->again ? a->buckets2 : 0)) / 2, dim[2] = { rows, cols };
    float *x;
    int32_t id;
    enum xc_status status;

    a->rounds = s->rounds;
    a->buckets = buckets;
    XC_TRY(room(&x, rows, cols, plan_only, err));
    if (x) draw(x, rows * cols, 1, seed, s->node, 0);
    if (s->again) {
        status = xc_surgery_replace(g->model->tensors[node->in[3].id], 2, dim, x, err);
        xc_free(x);
        return status;
    }
    status = s->query || plan_only ? XC_OK : share_projections(g, node, err);
    a->kind = xc_attention_kind_named("reformer");
    a->chunk = s->chunk;
    a->before = 1;
    if (s->scale > 0) a->scale = s->scale; /* keys have unit length */
    if (status == XC_OK) status = add_tensor(g->model, &id, s->node, "rotations", rows, cols, x, err);
    xc_free(x);
    XC_TRY(status);
    node->in[1] = node->in[0];
    node->in[3] = xc_ten(id);
    node->n_in = 4;
    return XC_OK;
}

static enum xc_status as_longformer(struct xc_graph *g, struct xc_node *node, const struct xc_swap *s, int32_t positions, struct xc_err *err)
{
    struct xc_attr_attention *a = node->attr;
    float *z;
    int32_t id;
    enum xc_status status;

    a->kind = xc_attention_kind_named("longformer");
    a->window = s->window >= 0 ? s->window : positions;
    a->global_first = s->global;
    if (a->window == 0 && a->global_first == 0) node->in[0] = node->in[1] = node->in[2]; /* a token sees itself alone */
    if (!s->each_head || a->window < 1) return XC_OK;
    XC_TRY(room(&z, 1, a->heads, !s->windows, err)); /* in a plan they are not known */
    for (int32_t h = 0; z && h < a->heads; h++) z[h] = s->windows[h] / (float)a->window;
    status = add_tensor(g->model, &id, s->node, "span", 1, a->heads, z, err);
    xc_free(z);
    XC_TRY(status);
    while (node->n_in <= XC_SPAN_INPUT) node->in[node->n_in++] = xc_none();
    node->in[XC_SPAN_INPUT] = xc_ten(id);
    return XC_OK;
}

enum xc_status xc_swap_layer(struct xc_graph *g, const struct xc_swap *s, int32_t positions, uint64_t seed, bool plan_only, struct xc_err *err)
{
    const int32_t n = xc_graph_find_node(g, s->node);
    struct xc_node *node = n >= 0 ? &g->nodes[n] : NULL;

    if (!node) return xc_fail(err, XC_E_NOT_FOUND, "there is no node '%s'", s->node);
    if (positions < 1 && s->kind != XC_SWAP_LONGFORMER) return xc_fail(err, XC_E_ARG, "the model has no table of positions: set 'positions' to the longest text, in tokens");
    switch (s->kind) {
    case XC_SWAP_LONGFORMER: return as_longformer(g, node, s, positions, err);
    case XC_SWAP_LINFORMER: return as_linformer(g, node, s, positions, seed, plan_only, err);
    case XC_SWAP_REFORMER: return as_reformer(g, node, s, positions, seed, plan_only, err);
    case XC_SWAP_SYNTHESIZER:
    case XC_SWAP_UNIFORM: break;
    }
    return as_synthesizer(g, node, s, positions, seed, plan_only, err);
}

enum xc_status xc_swap_finish(struct xc_model *m, struct xc_graph *g, struct xc_err *err)
{
    int32_t dropped;
    size_t bytes;

    XC_TRY(xc_surgery_drop_dead(g, err));
    xc_model_drop_unused(m, &dropped, &bytes);
    return XC_OK;
}

/* ---- positions ---- */
/* The gather of the table of positions; NULL. */
static const struct xc_node *table_of(const struct xc_graph *g, int32_t *offset)
{
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];
        const int32_t maker = node->in[0].kind == XC_REF_VALUE ? g->values[node->in[0].id].node : -1;

        if (strcmp(node->op->name, "gather") || maker < 0 || strcmp(g->nodes[maker].op->name, "positions") || node->in[1].kind != XC_REF_TENSOR) continue;
        *offset = ((const struct xc_attr_positions *)g->nodes[maker].attr)->offset;
        return node;
    }
    return NULL;
}

int32_t xc_swap_positions(const struct xc_graph *g)
{
    int32_t offset = 0;
    const struct xc_node *node = table_of(g, &offset);

    return node ? (int32_t)xc_max_i64(0, xc_tensor_rows(g->model->tensors[node->in[1].id]) - offset) : 0;
}

enum xc_status xc_swap_extend(struct xc_model *m, struct xc_graph *g, int32_t positions, bool plan_only, struct xc_err *err)
{
    int32_t offset = 0;
    const struct xc_node *node = table_of(g, &offset);
    const int32_t old = xc_swap_positions(g);
    char text[16];

    if (positions && old && positions < old)
        return xc_fail(err, XC_E_RANGE, "'positions' is %d, the model has %d already: positions are added, never taken", positions, old);
    if (node && positions > old) {
        struct xc_tensor *t = m->tensors[node->in[1].id];
        const int64_t cols = xc_tensor_cols(t), dim[2] = { offset + positions, cols };
        float *x = NULL, *y = NULL;
        enum xc_status status = XC_OK;

        if (old < 1) return xc_fail(err, XC_E_SHAPE, "the table of positions '%s' has no row to copy", t->name);
        if (!plan_only) status = xc_surgery_numbers(&x, t, err);
        if (status == XC_OK) status = room(&y, dim[0], cols, plan_only, err);
        for (int64_t r = 0; x && y && r < dim[0]; r++) memcpy(y + r * cols, x + (r < offset ? r : offset + (r - offset) % old) * cols, (size_t)cols * sizeof *y);
        if (status == XC_OK) status = xc_surgery_replace(t, 2, dim, y, err);
        xc_free(x);
        xc_free(y);
        XC_TRY(status);
    }
    if (positions <= old) return XC_OK;
    snprintf(text, sizeof text, "%d", positions);
    return xc_model_set_meta(m, "max_tokens", text, err);
}
