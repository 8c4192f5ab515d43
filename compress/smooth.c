/* smooth: moves the unevenness of an activation's columns into the weights that follow, so that one scale a row fits all columns. Xiao et
 * al. 2022 (SmoothQuant), arXiv:2211.10438.
 *
 * Needs no texts: the model runs on random token ids, which is enough to see which columns are large. x is multiplied by s, the weights'
 * columns by 1/s, with s = sqrt(largest weight of the column / magnitude): the paper's alpha of 1/2,
 * which needs no power function and so gives the same bits everywhere. Done where a layer norm, an activation function or
 * attention feeds linears; what else reads the value (the residual) still reads it as it was. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/pass.h"
#include "runtime/base/rng.h"
#include "runtime/session/session.h"

/* The tensor of input k when no other node uses it. */
static struct xc_tensor *own_tensor(const struct xc_model *m, const struct xc_node *node, int k)
{
    int uses = 0;

    if (k >= node->n_in || node->in[k].kind != XC_REF_TENSOR) return NULL;
    for (int32_t i = 0; i < m->n_graphs; i++)
        for (int32_t n = 0; n < m->graphs[i]->n_nodes; n++)
            for (int32_t j = 0; j < m->graphs[i]->nodes[n].n_in; j++)
                uses += m->graphs[i]->nodes[n].in[j].kind == XC_REF_TENSOR && m->graphs[i]->nodes[n].in[j].id == node->in[k].id;
    return uses == 1 ? m->tensors[node->in[k].id] : NULL;
}

static bool smoothable(const struct xc_model *m, const struct xc_node *node, int32_t value)
{
    const struct xc_tensor *w;

    if (strcmp(node->op->name, "linear") || node->in[0].kind != XC_REF_VALUE || node->in[0].id != value) return false;
    w = own_tensor(m, node, 1);
    return w && w->enc.format != XC_FMT_S8;
}

/* Puts a scale in front of the linears that read what node `maker` makes. */
static enum xc_status smooth_value(struct xc_model *m, struct xc_graph *g, int32_t maker, struct xc_err *err)
{
    const int32_t value = g->nodes[maker].out[0];
    int32_t first = -1, id, out;
    char name[512];
    float *ones;
    enum xc_status status;

    for (int32_t n = maker + 1; n < g->n_nodes && first < 0; n++)
        if (smoothable(m, &g->nodes[n], value)) first = n;
    if (first < 0) return XC_OK;
    const int64_t C = g->values[value].cols;

    snprintf(name, sizeof name, "%s.smooth", g->nodes[maker].name);
    XC_TRY(xc_model_add_tensor(m, &id, name, 1, &C, err));
    ones = xc_malloc((size_t)C * sizeof *ones);
    if (!ones) return xc_fail_nomem(err, (size_t)C * sizeof *ones);
    for (int64_t c = 0; c < C; c++) ones[c] = 1.0f;
    status = xc_tensor_set_f32(m->tensors[id], ones, err);
    xc_free(ones);
    if (status != XC_OK) return status;
    const struct xc_ref in[] = { xc_val(value), xc_ten(id) };

    XC_TRY(xc_graph_insert_node(g, first, &out, "scale", name, in, 2, NULL, err));
    for (int32_t n = first + 1; n < g->n_nodes; n++)
        if (smoothable(m, &g->nodes[n], value)) g->nodes[n].in[0].id = out;
    return XC_OK;
}

static bool feeds(const struct xc_node *node)
{
    return !strcmp(node->op->name, "layer_norm") || !strcmp(node->op->name, "unary") || !strcmp(node->op->name, "attention");
}

static enum xc_status insert(struct xc_model *m, struct xc_err *err)
{
    for (int32_t i = 0; i < m->n_graphs; i++)
        for (int32_t n = 0; n < m->graphs[i]->n_nodes; n++)
            if (feeds(&m->graphs[i]->nodes[n])) XC_TRY(smooth_value(m, m->graphs[i], n, err));
    return XC_OK;
}

/* ---- the factors ---- */
#define STREAM 0x5300 /* of the generator of ids */
enum { SEQUENCES = 24, TOKENS = 40 };

/* Largest magnitude of each column at the input of each scale. */
struct watch {
    const struct xc_graph *graph;
    float **max; /* by node; NULL for others */
};

static void observe(void *arg, const struct xc_op_ctx *c)
{
    const struct watch *w = arg;
    float *max = w->max[c->node - w->graph->nodes];
    const int64_t C = c->out[0]->cols;
    const float *x = c->in[0] ? c->in[0]->data : NULL;

    for (int64_t r = 0; max && r < c->in[0]->rows; r++)
        for (int64_t k = 0; k < C; k++) max[k] = fmaxf(max[k], fabsf(x[r * C + k]));
}

/* Random ids between the model's own [CLS] and [SEP]: no text is needed to see which columns are large. */
static enum xc_status run_random(struct xc_session *s, struct xc_err *err)
{
    int32_t ids[TOKENS];
    const int32_t cls = s->tokenizer ? xc_tokenizer_special(s->tokenizer, XC_TOKEN_CLS) : -1, sep = s->tokenizer ? xc_tokenizer_special(s->tokenizer, XC_TOKEN_SEP) : -1;
    const int64_t length = s->info.max_positions ? xc_min_i64(TOKENS, s->info.max_positions) : TOKENS;
    struct xc_output out;

    for (int i = 0; i < SEQUENCES; i++) {
        const int64_t start[2] = { 0, length };
        struct xc_rng rng;

        xc_rng_init(&rng, STREAM, (uint64_t)i);
        for (int64_t t = 0; t < length; t++) ids[t] = (int32_t)xc_rng_below(&rng, (uint64_t)s->info.vocab_size);
        if (cls >= 0) ids[0] = cls;
        if (sep >= 0) ids[length - 1] = sep;
        XC_TRY(xc_session_run_ids(s, ids, NULL, start, 1, &out, err));
    }
    return XC_OK;
}

static bool is_scale(const struct xc_node *node)
{
    const size_t len = strlen(node->name);

    return !strcmp(node->op->name, "scale") && len > 7 && !strcmp(node->name + len - 7, ".smooth");
}

static enum xc_status apply_scale(struct xc_model *m, struct xc_graph *g, int32_t scale, float *a, struct xc_err *err)
{
    const struct xc_node *node = &g->nodes[scale];
    const int64_t C = g->values[node->out[0]].cols;
    float *max = xc_calloc((size_t)C, sizeof *max);
    enum xc_status status = max ? XC_OK : xc_fail_nomem(err, (size_t)C * sizeof *max);

    for (int32_t n = scale + 1; n < g->n_nodes && status == XC_OK; n++) {
        struct xc_tensor *t = smoothable(m, &g->nodes[n], node->out[0]) ? own_tensor(m, &g->nodes[n], 1) : NULL;
        const float *x;

        if (!t) continue;
        status = xc_tensor_load(t, err);
        if (status != XC_OK) break;
        x = (const float *)(const void *)t->part[XC_PART_DATA]->data;
        for (int64_t r = 0; r < xc_tensor_rows(t); r++)
            for (int64_t c = 0; c < C; c++) max[c] = fmaxf(max[c], fabsf(x[r * C + c]));
    }
    for (int64_t c = 0; c < C && status == XC_OK; c++) a[c] = sqrtf(fmaxf(max[c], 1e-5f) / fmaxf(a[c], 1e-5f));
    if (status == XC_OK) status = xc_tensor_set_f32(m->tensors[node->in[1].id], a, err);
    for (int32_t n = scale + 1; n < g->n_nodes && status == XC_OK; n++) {
        struct xc_tensor *t = smoothable(m, &g->nodes[n], node->out[0]) ? own_tensor(m, &g->nodes[n], 1) : NULL;
        float *x;

        if (!t) continue;
        x = xc_malloc((size_t)xc_tensor_count(t) * sizeof *x);
        if (!x) {
            status = xc_fail_nomem(err, (size_t)xc_tensor_count(t) * sizeof *x);
            break;
        }
        status = xc_tensor_to_f32(t, x, err);
        for (int64_t i = 0; i < xc_tensor_count(t) && status == XC_OK; i++) x[i] /= a[i % C];
        if (status == XC_OK) status = xc_tensor_set_f32(t, x, err);
        xc_free(x);
    }
    xc_free(max);
    return status;
}

static enum xc_status fill(struct xc_model *m, struct xc_err *err)
{
    const struct xc_session_opts opts = { .plain = true };
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    struct xc_session *s = NULL;
    struct watch w = { .graph = g };
    enum xc_status status = XC_OK;

    w.max = xc_calloc((size_t)g->n_nodes + 1, sizeof *w.max);
    if (!w.max) return xc_fail_nomem(err, (size_t)g->n_nodes * sizeof *w.max);
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++) {
        const int64_t C = is_scale(&g->nodes[n]) ? g->values[g->nodes[n].out[0]].cols : 0;

        if (C) w.max[n] = xc_calloc((size_t)C, sizeof **w.max);
        if (C && !w.max[n]) status = xc_fail_nomem(err, (size_t)C * sizeof **w.max);
    }
    if (status == XC_OK) status = xc_session_new(&s, m, &opts, err);
    if (status == XC_OK) {
        s->run->observe = observe;
        s->run->observe_arg = &w;
        status = run_random(s, err);
    }
    xc_session_free(&s);
    for (int32_t n = 0; n < g->n_nodes; n++) {
        if (status == XC_OK && w.max[n]) status = apply_scale(m, g, n, w.max[n], err);
        xc_free(w.max[n]);
    }
    xc_free(w.max);
    return status;
}

/* A text model: one graph that takes ids. */
static bool can_run(const struct xc_model *m)
{
    const struct xc_graph *g = xc_model_find_graph(m, "encode");

    return m->n_graphs == 1 && g && g->n_inputs > 0 && !strcmp(g->values[g->inputs[0]].name, "ids") && g->n_inputs <= 2;
}

enum xc_status xc_smooth(struct xc_model *m, bool plan_only, struct xc_err *err)
{
    if (!can_run(m)) return XC_OK;
    XC_TRY(insert(m, err));
    return plan_only ? XC_OK : fill(m, err);
}
