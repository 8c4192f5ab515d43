/* sites: see sites.h. */
#include "compress/shrink/sites.h"

#include <string.h>

#include "compress/shrink/surgery.h"

static bool is_op(const struct xc_node *node, const char *op) { return !strcmp(node->op->name, op); }

static bool is_real(const struct xc_tensor *t)
{
    return !t->part[XC_PART_DATA] || t->enc.format == XC_FMT_F32 || t->enc.format == XC_FMT_F16 || t->enc.format == XC_FMT_BF16;
}

/* The node of kind `op` that makes what input i of `node` reads, when nobody else reads it; -1. */
static int32_t only_maker(const struct xc_graph *g, const struct xc_node *node, int32_t i, const char *op)
{
    const int32_t v = i < node->n_in && node->in[i].kind == XC_REF_VALUE ? node->in[i].id : -1;

    if (v < 0 || g->values[v].node < 0 || node->in[i].range.mode != XC_RANGE_NONE || xc_surgery_value_uses(g, v) != 1) return -1;
    return is_op(&g->nodes[g->values[v].node], op) ? g->values[v].node : -1;
}

/* A linear whose tensors are its own and real numbers. */
static bool own_linear(const struct xc_graph *g, int32_t n)
{
    const struct xc_node *node = n >= 0 ? &g->nodes[n] : NULL;

    if (!node || node->in[0].kind != XC_REF_VALUE || node->in[0].range.mode != XC_RANGE_NONE) return false;
    for (int32_t i = 1; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_TENSOR && (xc_surgery_tensor_uses(g->model, node->in[i].id) != 1 || !is_real(g->model->tensors[node->in[i].id]))) return false;
    return node->in[1].kind == XC_REF_TENSOR && g->model->tensors[node->in[1].id]->rank == 2;
}

static bool heads_behind(struct xc_site *s, const struct xc_graph *g)
{
    const struct xc_node *mid = &g->nodes[s->mid];
    const struct xc_attr_attention *attr = mid->attr;

    if (attr->kind != 0 || attr->quantized || (attr->kv_heads && attr->kv_heads != attr->heads)) return false;
    for (int32_t i = 3; i < mid->n_in; i++)
        if (mid->in[i].kind != XC_REF_NONE) return false;
    for (s->n_in = 0; s->n_in < 3; s->n_in++) {
        s->in[s->n_in] = only_maker(g, mid, s->n_in, "linear");
        if (!own_linear(g, s->in[s->n_in])) return false;
    }
    s->heads = true;
    s->units = attr->heads;
    s->width = g->values[mid->out[0]].cols / attr->heads;
    return true;
}

static bool neurons_behind(struct xc_site *s, const struct xc_graph *g)
{
    s->n_in = 1;
    s->in[0] = only_maker(g, &g->nodes[s->mid], 0, "linear");
    s->units = g->values[g->nodes[s->mid].out[0]].cols;
    s->width = 1;
    return own_linear(g, s->in[0]);
}

static bool site_at(struct xc_site *s, const struct xc_graph *g, int32_t add, int32_t side)
{
    const struct xc_node *node = &g->nodes[add];

    *s = (struct xc_site){ .add = add, .out = only_maker(g, node, side, "linear") };
    if (!own_linear(g, s->out) || node->in[1 - side].kind != XC_REF_VALUE) return false;
    s->residual = node->in[1 - side].id;
    s->mid = only_maker(g, &g->nodes[s->out], 0, "attention");
    if (s->mid < 0) s->mid = only_maker(g, &g->nodes[s->out], 0, "unary");
    if (s->mid < 0 || !(is_op(&g->nodes[s->mid], "attention") ? heads_behind(s, g) : neurons_behind(s, g))) return false;
    s->inputs = g->values[g->nodes[s->in[0]].in[0].id].cols;
    s->outputs = g->values[g->nodes[s->out].out[0]].cols;
    return true;
}

enum xc_status xc_sites_find(struct xc_sites *out, const struct xc_graph *g, struct xc_err *err)
{
    *out = (struct xc_sites){ 0 };
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t side = 0; side < 2 && is_op(&g->nodes[n], "add"); side++) {
            struct xc_site s;
            enum xc_status status;

            if (!site_at(&s, g, n, side)) continue;
            status = xc_grow((void **)&out->site, &out->cap, (size_t)out->n + 1, sizeof *out->site, err);
            if (status != XC_OK) {
                xc_sites_release(out);
                return status;
            }
            out->site[out->n++] = s;
        }
    return XC_OK;
}

void xc_sites_release(struct xc_sites *s)
{
    xc_free(s->site);
    *s = (struct xc_sites){ 0 };
}

double xc_site_macs(const struct xc_site *s, int64_t units, double tokens)
{
    const double cols = (double)(units * s->width);

    return cols * ((double)(s->n_in * s->inputs) + (double)s->outputs + (s->heads ? 2 * tokens : 0));
}

struct xc_tensor *xc_site_weight(const struct xc_graph *g, const struct xc_site *s) { return g->model->tensors[g->nodes[s->out].in[1].id]; }

struct xc_tensor *xc_site_bias(const struct xc_graph *g, const struct xc_site *s)
{
    const struct xc_node *node = &g->nodes[s->out];

    return node->n_in > 2 && node->in[2].kind == XC_REF_TENSOR ? g->model->tensors[node->in[2].id] : NULL;
}

enum xc_status xc_site_order(int32_t **order, const struct xc_graph *g, const struct xc_site *site, struct xc_err *err)
{
    const int64_t n = site->units * site->width;
    double *size = xc_calloc((size_t)site->units, sizeof *size);
    float *w = NULL;
    enum xc_status status = size ? xc_surgery_numbers(&w, xc_site_weight(g, site), err) : xc_fail_nomem(err, (size_t)site->units * sizeof *size);

    *order = NULL;
    for (int64_t i = 0; status == XC_OK && i < site->outputs * n; i++) size[i % n / site->width] += (double)w[i] * (double)w[i];
    if (status == XC_OK) {
        *order = xc_malloc((size_t)site->units * sizeof **order);
        if (!*order) status = xc_fail_nomem(err, (size_t)site->units * sizeof **order);
    }
    for (int64_t i = 0; status == XC_OK && i < site->units; i++) { /* the largest first; of equal ones the first */
        int64_t best = 0;

        for (int64_t u = 1; u < site->units; u++)
            if (size[u] > size[best]) best = u;
        size[best] = -1;
        (*order)[i] = (int32_t)best;
    }
    xc_free(size);
    xc_free(w);
    return status;
}

enum xc_status xc_site_cut(struct xc_graph *g, const struct xc_site *s, const int32_t *keep, int64_t n, bool plan_only, struct xc_err *err)
{
    int32_t *cols = xc_malloc((size_t)(n * s->width) * sizeof *cols);
    enum xc_status status = cols ? XC_OK : xc_fail_nomem(err, (size_t)(n * s->width) * sizeof *cols);

    for (int64_t i = 0; cols && i < n * s->width; i++) cols[i] = (int32_t)(keep[i / s->width] * s->width + i % s->width);
    for (int32_t k = 0; k < s->n_in; k++)
        for (int32_t i = 1; i < g->nodes[s->in[k]].n_in && status == XC_OK; i++)
            if (g->nodes[s->in[k]].in[i].kind == XC_REF_TENSOR) status = xc_surgery_keep(g->model->tensors[g->nodes[s->in[k]].in[i].id], 0, cols, n * s->width, plan_only, err);
    if (status == XC_OK) status = xc_surgery_keep(xc_site_weight(g, s), 1, cols, n * s->width, plan_only, err);
    if (status == XC_OK && s->heads) {
        struct xc_attr_attention *attr = g->nodes[s->mid].attr;

        attr->heads = (int32_t)n;
        if (attr->kv_heads) attr->kv_heads = (int32_t)n;
    }
    xc_free(cols);
    return status;
}
