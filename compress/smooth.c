/* smooth: makes activations easy to hold in int8 rows, without changing what the model computes (but for f32 rounding). Xiao et al.
 * 2022 (SmoothQuant), arXiv:2211.10438.
 *
 * A row has one scale, so a column that is always large takes precision from all others. Where linears read a layer norm or an activation
 * function, a `scale` node multiplies the columns by s, and the columns of the linears' weights carry 1/s, with s = sqrt(largest
 * weight of the column / magnitude of the column): the paper's alpha of 1/2, which needs no power function and so gives the same
 * bits everywhere. The magnitude is the largest behind a layer norm, and the root mean square behind an activation function, whose
 * rare peaks would else decide: on STS-B that takes the worst cosine of int8 to f32 embeddings from 0.989 to 0.991. What else reads the value
 * (the residual) still reads it as it was.
 *
 * Measured and left out, since they gained nothing: scaling the columns of attention's output (through the value projection), and
 * centering the columns of layer norms (through biases).
 *
 * No texts are needed: the model runs on random token ids, which is enough to see which columns are large. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/pass.h"
#include "runtime/base/rng.h"
#include "runtime/session/session.h"

#define STREAM 0x5300 /* of the generator of ids */
enum { SEQUENCES = 12, TOKENS = 40 };

static bool is_op(const struct xc_node *node, const char *op) { return strcmp(node->op->name, op) == 0; }
static bool reads(const struct xc_node *node, int k, int32_t value) { return k < node->n_in && node->in[k].kind == XC_REF_VALUE && node->in[k].id == value; }

/* ---- who may be changed ---- */
/* The tensor of input k when no other input uses it. */
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

/* A linear on `value` whose weight is its own and a plain number each. */
static bool smoothable(const struct xc_model *m, const struct xc_node *node, int32_t value)
{
    const struct xc_tensor *w;

    if (!is_op(node, "linear") || !reads(node, 0, value)) return false;
    w = own_tensor(m, node, 1);
    return w && !xc_format_traits((enum xc_format)w->enc.format)->quantized;
}

/* The numbers of a tensor, to be changed in place; what its source holds is no longer this tensor. */
static enum xc_status writable(float **out, struct xc_tensor *t, struct xc_err *err)
{
    float *copy;
    enum xc_status status = XC_OK;

    XC_TRY(xc_tensor_load(t, err));
    if (t->enc.format != XC_FMT_F32 || t->enc.layout != XC_LAYOUT_ROWS || !xc_buf_writable(t->part[XC_PART_DATA])) {
        copy = xc_malloc((size_t)xc_tensor_count(t) * sizeof *copy);
        status = copy ? xc_tensor_to_f32(t, copy, err) : xc_fail_nomem(err, (size_t)xc_tensor_count(t) * sizeof *copy);
        if (status == XC_OK) status = xc_tensor_set_f32(t, copy, err);
        xc_free(copy);
    }
    if (status != XC_OK) return status;
    if (t->source) t->source->unref(t->source);
    t->source = NULL;
    *out = (float *)(void *)t->part[XC_PART_DATA]->data;
    return XC_OK;
}

/* ---- the graph: scale nodes ---- */
static enum xc_status insert_scale(struct xc_model *m, struct xc_graph *g, int32_t maker, struct xc_err *err)
{
    const int32_t value = g->nodes[maker].out[0];
    const int64_t C = g->values[value].cols;
    int32_t first = -1, id, out;
    char name[512];
    float *ones;
    enum xc_status status = XC_OK;

    for (int32_t n = maker + 1; n < g->n_nodes && first < 0; n++)
        if (smoothable(m, &g->nodes[n], value)) first = n;
    if (first < 0) return XC_OK;
    snprintf(name, sizeof name, "%s.smooth", g->nodes[maker].name);
    XC_TRY(xc_model_add_tensor(m, &id, name, 1, &C, err));
    ones = xc_malloc((size_t)C * sizeof *ones);
    if (!ones) return xc_fail_nomem(err, (size_t)C * sizeof *ones);
    for (int64_t c = 0; c < C; c++) ones[c] = 1.0f;
    status = xc_tensor_set_f32(m->tensors[id], ones, err);
    xc_free(ones);
    if (status != XC_OK) return status;
    XC_TRY(xc_graph_insert_node(g, first, &out, "scale", name, (struct xc_ref[]){ xc_val(value), xc_ten(id) }, 2, NULL, err));
    for (int32_t n = first + 1; n < g->n_nodes; n++)
        if (smoothable(m, &g->nodes[n], value)) g->nodes[n].in[0].id = out;
    return XC_OK;
}

static enum xc_status insert_scales(struct xc_model *m, struct xc_graph *g, struct xc_err *err)
{
    for (int32_t n = 0; n < g->n_nodes; n++)
        if (is_op(&g->nodes[n], "unary") || is_op(&g->nodes[n], "layer_norm")) XC_TRY(insert_scale(m, g, n, err));
    return XC_OK;
}

/* ---- what the columns look like ---- */
struct columns {
    double *squares; /* summed */
    float *max;      /* magnitudes */
    int64_t rows;
};

struct watch {
    const struct xc_graph *graph;
    struct columns *of; /* by node: of its output; without memory for nodes that are not watched */
};

static void observe(void *arg, const struct xc_op_ctx *c)
{
    const struct watch *w = arg;
    struct columns *s = &w->of[c->node - w->graph->nodes];
    const int64_t R = c->out[0] ? c->out[0]->rows : 0, C = c->out[0] ? c->out[0]->cols : 0;
    const float *x = C ? c->out[0]->data : NULL;

    if (!s->squares) return;
    for (int64_t r = 0; r < R; r++, x += C)
        for (int64_t k = 0; k < C; k++) {
            s->squares[k] += (double)x[k] * (double)x[k];
            s->max[k] = fabsf(x[k]) > s->max[k] ? fabsf(x[k]) : s->max[k];
        }
    s->rows += R;
}


static enum xc_status watch_init(struct watch *w, const struct xc_graph *g, struct xc_err *err)
{
    *w = (struct watch){ .graph = g };
    w->of = xc_calloc((size_t)g->n_nodes + 1, sizeof *w->of);
    if (!w->of) return xc_fail_nomem(err, (size_t)g->n_nodes * sizeof *w->of);
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const size_t C = g->nodes[n].n_out ? (size_t)g->values[g->nodes[n].out[0]].cols : 0;
        struct columns *s = &w->of[n];

        if (!is_op(&g->nodes[n], "layer_norm") && !is_op(&g->nodes[n], "unary")) continue;
        s->squares = xc_calloc(C, sizeof *s->squares);
        s->max = xc_calloc(C, sizeof *s->max);
        if (!s->squares || !s->max) return xc_fail_nomem(err, C * sizeof *s->squares);
    }
    return XC_OK;
}

static void watch_release(struct watch *w)
{
    for (int32_t n = 0; w->of && n < w->graph->n_nodes; n++) {
        xc_free(w->of[n].squares);
        xc_free(w->of[n].max);
    }
    xc_free(w->of);
}

/* Random ids between the model's own [CLS] and [SEP], in one batch. */
static enum xc_status run_random(struct xc_session *s, struct xc_err *err)
{
    int32_t ids[SEQUENCES * TOKENS];
    int64_t start[SEQUENCES + 1] = { 0 };
    const int32_t cls = s->tokenizer ? xc_tokenizer_special(s->tokenizer, XC_TOKEN_CLS) : -1, sep = s->tokenizer ? xc_tokenizer_special(s->tokenizer, XC_TOKEN_SEP) : -1;
    const int64_t length = s->info.max_positions ? xc_min_i64(TOKENS, s->info.max_positions) : TOKENS;
    struct xc_output out;

    for (int i = 0; i < SEQUENCES; i++) {
        int32_t *seq = ids + start[i];
        struct xc_rng rng;

        xc_rng_init(&rng, STREAM, (uint64_t)i);
        for (int64_t t = 0; t < length; t++) seq[t] = (int32_t)xc_rng_below(&rng, (uint64_t)s->info.vocab_size);
        if (cls >= 0) seq[0] = cls;
        if (sep >= 0) seq[length - 1] = sep;
        start[i + 1] = start[i] + length;
    }
    return xc_session_run_ids(s, ids, NULL, start, SEQUENCES, &out, err);
}

static enum xc_status look(struct watch *w, struct xc_model *m, struct xc_pool *pool, struct xc_err *err)
{
    const struct xc_session_opts opts = { .plain = true, .pool = pool };
    struct xc_session *s = NULL;
    enum xc_status status;

    XC_TRY(xc_session_new(&s, m, &opts, err));
    s->run->observe = observe;
    s->run->observe_arg = w;
    status = s->info.vocab_size > 0 ? run_random(s, err) : xc_fail(err, XC_E_UNSUPPORTED, "the model takes no token ids");
    xc_session_free(&s);
    return status;
}

/* ---- the factors ---- */
/* The largest weight of each column in the linears on `value`. */
static enum xc_status column_max(float *max, const struct xc_model *m, const struct xc_graph *g, int32_t value, struct xc_err *err)
{
    const int64_t K = g->values[value].cols;

    for (int64_t k = 0; k < K; k++) max[k] = 0.0f;
    for (int32_t n = 0; n < g->n_nodes; n++) {
        float *x;

        if (!smoothable(m, &g->nodes[n], value)) continue;
        XC_TRY(writable(&x, m->tensors[g->nodes[n].in[1].id], err));
        for (int64_t r = 0; r < xc_tensor_rows(m->tensors[g->nodes[n].in[1].id]); r++, x += K)
            for (int64_t k = 0; k < K; k++) max[k] = fabsf(x[k]) > max[k] ? fabsf(x[k]) : max[k];
    }
    return XC_OK;
}

static enum xc_status divide_columns(const struct xc_model *m, const struct xc_graph *g, int32_t value, const float *factor, struct xc_err *err)
{
    const int64_t K = g->values[value].cols;

    for (int32_t n = 0; n < g->n_nodes; n++) {
        float *x;

        if (!smoothable(m, &g->nodes[n], value)) continue;
        XC_TRY(writable(&x, m->tensors[g->nodes[n].in[1].id], err));
        for (int64_t r = 0; r < xc_tensor_rows(m->tensors[g->nodes[n].in[1].id]); r++, x += K)
            for (int64_t k = 0; k < K; k++) x[k] /= factor[k];
    }
    return XC_OK;
}

/* The node `scale`, whose input was seen as s and comes from `maker`. */
static enum xc_status fill_scale(const struct xc_model *m, const struct xc_graph *g, const struct xc_node *scale, const struct xc_node *maker, const struct columns *s, struct xc_err *err)
{
    const bool norm = is_op(maker, "layer_norm");
    float *factor;

    XC_TRY(writable(&factor, m->tensors[scale->in[1].id], err));
    XC_TRY(column_max(factor, m, g, scale->out[0], err));
    for (int64_t k = 0; k < g->values[scale->out[0]].cols; k++) {
        const float magnitude = norm ? s->max[k] : (float)sqrt(s->squares[k] / (double)s->rows);

        factor[k] = sqrtf(fmaxf(factor[k], 1e-5f) / fmaxf(magnitude, 1e-5f));
    }
    return divide_columns(m, g, scale->out[0], factor, err);
}

/* ---- all of it ---- */
static enum xc_status fill_scales(const struct xc_model *m, const struct xc_graph *g, const struct watch *w, struct xc_err *err)
{
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];
        const int32_t maker = is_op(node, "scale") ? g->values[node->in[0].id].node : -1;
        const size_t len = strlen(node->name);

        if (maker >= 0 && w->of[maker].rows && len > 7 && !strcmp(node->name + len - 7, ".smooth")) XC_TRY(fill_scale(m, g, node, &g->nodes[maker], &w->of[maker], err));
    }
    return XC_OK;
}

enum xc_status xc_smooth(struct xc_model *m, bool plan_only, struct xc_pool *pool, struct xc_err *err)
{
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    struct watch w = { 0 };
    enum xc_status status;

    /* a text model of one graph, which takes ids */
    if (m->n_graphs != 1 || !g || g->n_inputs < 1 || g->n_inputs > 2 || strcmp(g->values[g->inputs[0]].name, "ids")) return XC_OK;
    XC_TRY(insert_scales(m, g, err));
    if (plan_only) return XC_OK;
    status = watch_init(&w, g, err);
    if (status == XC_OK) status = look(&w, m, pool, err);
    if (status == XC_OK) status = fill_scales(m, g, &w, err);
    watch_release(&w);
    return status;
}
