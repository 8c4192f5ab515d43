/* head: see head.h. */
#include "compress/train/head.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/formats.h"
#include "runtime/base/rng.h"
#include "runtime/graph/op.h"

const char *const xc_head_poolings[] = { "auto", "mean", "first", "max", "pooler", NULL };

#define STREAM (uint64_t)0x68656164 /* "head": of the generator */

/* ---- does the model's own head fit? ---- */
static bool has_label(const struct xc_model *m, const char *label, int64_t classes)
{
    char *end;
    long n;

    for (int32_t i = 0; i < m->n_labels; i++)
        if (!strcmp(m->labels[i], label)) return true;
    n = strtol(label, &end, 10);
    return *label >= '0' && *label <= '9' && !*end && n < classes;
}

static bool fits(const struct xc_model *m, const struct xc_head_opts *o)
{
    const char *task = xc_model_meta(m, "task");
    const struct xc_graph *g = xc_model_find_graph(m, "encode");

    if (!task || strcmp(task, o->task) || !g || g->n_outputs < 1) return false;
    if (strcmp(task, "classify") && strcmp(task, "tag")) return true;
    if (m->n_labels != g->values[g->outputs[0]].cols) return false;
    for (int32_t i = 0; i < o->n_labels; i++)
        if (!has_label(m, o->labels[i], m->n_labels)) return false;
    return true;
}

/* ---- the encoder alone ---- */
static bool per_sequence(const struct xc_graph *g, int32_t value) { return g->spaces[g->values[value].space].map == XC_MAP_SEQUENCE; }

/* The hidden states below the head, or -1. */
static int32_t hidden_of(const struct xc_graph *g, const char *task)
{
    int32_t v = g->outputs[0];

    if (!per_sequence(g, v)) {
        if (!task || !strcmp(task, "encode")) return v;
        return (!strcmp(task, "tag") || !strcmp(task, "answer")) && g->values[v].node >= 0 && !strcmp(g->nodes[g->values[v].node].op->name, "linear") ? g->nodes[g->values[v].node].in[0].id : -1;
    }
    while (v >= 0 && per_sequence(g, v)) {
        const struct xc_node *node = g->values[v].node >= 0 ? &g->nodes[g->values[v].node] : NULL;

        if (!node || node->n_in < 1 || node->in[0].kind != XC_REF_VALUE) return -1;
        v = node->in[0].id;
    }
    return v;
}

/* Cuts everything that comes after the hidden states. Labels and answers stored with the old head go. */
static enum xc_status trim(struct xc_model *m, int32_t *hidden, struct xc_err *err)
{
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    const char *task = xc_model_meta(m, "task");
    int32_t values = 0;

    *hidden = g && g->n_outputs >= 1 ? hidden_of(g, task) : -1;
    if (*hidden < 0 || g->values[*hidden].node < 0)
        return xc_fail(err, XC_E_UNSUPPORTED, "this model for '%s' has no encoder that a new head could be put on", task ? task : "?");
    g->n_nodes = g->values[*hidden].node + 1;
    for (int32_t v = 0; v < g->n_values; v++)
        if (g->values[v].node < g->n_nodes) values = v + 1;
    g->n_values = values;
    g->n_outputs = 0;
    m->n_labels = 0;
    xc_buf_unref(&m->golden);
    return XC_OK;
}

/* ---- new weights ---- */
static enum xc_status add_tensor(struct xc_model *m, int32_t *id, const char *node, const char *part, int64_t rows, int64_t cols, double value, double deviation, uint64_t seed,
                                 struct xc_err *err)
{
    const int64_t dim[2] = { rows, cols }, n = (rows ? rows : 1) * cols;
    struct xc_rng rng;
    char name[128];
    float *x;
    enum xc_status status;

    snprintf(name, sizeof name, "%s.%s", node, part);
    *id = xc_model_find_tensor(m, name);
    if (*id >= 0) { /* of a head that was cut: the name stays, numbers and sizes go */
        xc_tensor_clear(m->tensors[*id]);
        m->tensors[*id]->rank = rows ? 2 : 1;
        memcpy(m->tensors[*id]->dim, rows ? dim : &dim[1], (rows ? 2 : 1) * sizeof *dim);
    } else {
        XC_TRY(rows ? xc_model_add_tensor(m, id, name, 2, dim, err) : xc_model_add_tensor(m, id, name, 1, &dim[1], err));
    }
    x = xc_malloc((size_t)n * sizeof *x);
    if (!x) return xc_fail_nomem(err, (size_t)n * sizeof *x);
    xc_rng_init(&rng, seed, STREAM + (uint64_t)*id);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(value + (deviation > 0 ? deviation * xc_rng_normal(&rng) : 0));
    status = xc_tensor_set_f32(m->tensors[*id], x, err);
    xc_free(x);
    return status;
}

static enum xc_status add_linear(struct xc_graph *g, int32_t *y, const char *name, int32_t x, int64_t n, uint64_t seed, struct xc_err *err)
{
    int32_t w, b;

    XC_TRY(add_tensor(g->model, &w, name, "weight", n, g->values[x].cols, 0, 0.02, seed, err));
    XC_TRY(add_tensor(g->model, &b, name, "bias", 0, n, 0, 0, seed, err));
    return xc_graph_add_node(g, y, "linear", name, (struct xc_ref[]){ xc_val(x), xc_ten(w), xc_ten(b) }, 3, NULL, err);
}

static enum xc_status add_unary(struct xc_graph *g, int32_t *y, const char *name, int32_t x, enum xc_act fn, struct xc_err *err)
{
    const struct xc_attr_unary attr = { .fn = (int32_t)fn };

    return xc_graph_add_node(g, y, "unary", name, (struct xc_ref[]){ xc_val(x) }, 1, &attr, err);
}

/* BERT's pooler: the checkpoint's, where it has one. */
static enum xc_status add_pooler(struct xc_graph *g, int32_t *y, int32_t x, uint64_t seed, struct xc_err *err)
{
    static const char *const prefixes[] = { "", "bert.", "roberta.", "longformer." };
    const int64_t C = g->values[x].cols;

    for (size_t i = 0; i < XC_ARRAY_LEN(prefixes); i++) {
        char weight[64], bias[64];
        int32_t w, b;

        snprintf(weight, sizeof weight, "%spooler.dense.weight", prefixes[i]);
        snprintf(bias, sizeof bias, "%spooler.dense.bias", prefixes[i]);
        w = xc_model_find_tensor(g->model, weight);
        b = xc_model_find_tensor(g->model, bias);
        if (w < 0 || b < 0 || xc_tensor_count(g->model->tensors[w]) != C * C || xc_tensor_count(g->model->tensors[b]) != C) continue;
        XC_TRY(xc_graph_add_node(g, y, "linear", "pooler.dense", (struct xc_ref[]){ xc_val(x), xc_ten(w), xc_ten(b) }, 3, NULL, err));
        return add_unary(g, y, "pooler.act", *y, XC_ACT_TANH, err);
    }
    XC_TRY(add_linear(g, y, "pooler.dense", x, C, seed, err));
    return add_unary(g, y, "pooler.act", *y, XC_ACT_TANH, err);
}

static enum xc_status add_pooling(struct xc_graph *g, int32_t *y, int32_t x, enum xc_head_pooling pooling, uint64_t seed, struct xc_err *err)
{
    const char *own = xc_model_meta(g->model, "pooling");
    struct xc_attr_pool attr = { .mode = XC_POOL_FIRST };

    if (pooling == XC_HEAD_MEAN || (pooling == XC_HEAD_AUTO && own && !strcmp(own, "mean"))) attr.mode = XC_POOL_MEAN;
    if (pooling == XC_HEAD_MAX || (pooling == XC_HEAD_AUTO && own && !strcmp(own, "max"))) attr.mode = XC_POOL_MAX;
    XC_TRY(xc_graph_add_node(g, y, "pool", "pooling", (struct xc_ref[]){ xc_val(x) }, 1, &attr, err));
    return pooling == XC_HEAD_POOLER ? add_pooler(g, y, *y, seed, err) : XC_OK;
}

/* BERT's: dense, activation, norm, then the word table as decoder. */
static enum xc_status add_mlm(struct xc_graph *g, int32_t *y, int32_t x, uint64_t seed, struct xc_err *err)
{
    struct xc_model *m = g->model;
    const struct xc_attr_norm norm = { .eps = 1e-12f };
    int32_t table = -1, gain, bias;

    for (int32_t n = 0; n < g->n_nodes && table < 0; n++)
        if (!strcmp(g->nodes[n].op->name, "gather") && !strcmp(g->values[g->nodes[n].in[0].id].name, "ids")) table = g->nodes[n].in[1].id;
    if (table < 0 || xc_tensor_cols(m->tensors[table]) != g->values[x].cols) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no word table as wide as its hidden states");
    XC_TRY(add_linear(g, y, "cls.predictions.transform.dense", x, g->values[x].cols, seed, err));
    XC_TRY(add_unary(g, y, "cls.predictions.transform.act", *y, XC_ACT_GELU, err));
    XC_TRY(add_tensor(m, &gain, "cls.predictions.transform.LayerNorm", "weight", 0, g->values[x].cols, 1, 0, seed, err));
    XC_TRY(add_tensor(m, &bias, "cls.predictions.transform.LayerNorm", "bias", 0, g->values[x].cols, 0, 0, seed, err));
    XC_TRY(xc_graph_add_node(g, y, "layer_norm", "cls.predictions.transform.LayerNorm", (struct xc_ref[]){ xc_val(*y), xc_ten(gain), xc_ten(bias) }, 3, &norm, err));
    XC_TRY(add_tensor(m, &bias, "cls.predictions", "bias", 0, xc_tensor_rows(m->tensors[table]), 0, 0, seed, err));
    return xc_graph_add_node(g, y, "linear", "cls.predictions.decoder", (struct xc_ref[]){ xc_val(*y), xc_ten(table), xc_ten(bias) }, 3, NULL, err);
}

static enum xc_status add_head(struct xc_model *m, int32_t hidden, const struct xc_head_opts *o, struct xc_err *err)
{
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    int32_t y = hidden, n_dropped;
    size_t bytes;

    if (!strcmp(o->task, "mlm")) {
        XC_TRY(add_mlm(g, &y, y, o->seed, err));
    } else {
        if (strcmp(o->task, "tag") && strcmp(o->task, "answer")) XC_TRY(add_pooling(g, &y, y, o->pooling, o->seed, err));
        if (!strcmp(o->task, "answer")) XC_TRY(add_linear(g, &y, "qa_outputs", y, 2, o->seed, err));
        else if (strcmp(o->task, "embed")) XC_TRY(add_linear(g, &y, "classifier", y, strcmp(o->task, "regress") && strcmp(o->task, "choice") ? o->n_labels : 1, o->seed, err));
    }
    XC_TRY(xc_graph_add_output(g, y, err));
    for (int32_t i = 0; i < o->n_labels; i++) XC_TRY(xc_model_add_label(m, o->labels[i], err));
    xc_model_drop_unused(m, &n_dropped, &bytes);
    return xc_model_set_meta(m, "task", o->task, err);
}

/* The checkpoint as an encoder, with its unused weights (a pooler); a .xc that has a head is cut. */
static enum xc_status load_encoder(struct xc_model **out, const char *path, const char *task, int32_t *hidden, struct xc_err *err)
{
    const bool of_text = !strcmp(task, "classify") || !strcmp(task, "pair") || !strcmp(task, "regress");
    const struct xc_load_opts encoder = { .head = "encode", .all_tensors = true, .first_global = of_text }, any = { .all_tensors = true };
    const struct xc_load_opts embed = { .head = "embed" };
    struct xc_model *sentence = NULL;
    const char *pooling;
    enum xc_status status;

    if (xc_model_load(out, path, &encoder, NULL) != XC_OK) {
        XC_TRY(xc_model_load(out, path, &any, err));
    } else if (!xc_model_meta(*out, "pooling") && xc_model_load(&sentence, path, &embed, NULL) == XC_OK) { /* how it pools is known to its other head */
        pooling = xc_model_meta(sentence, "pooling");
        status = pooling ? xc_model_set_meta(*out, "pooling", pooling, err) : XC_OK;
        xc_model_free(&sentence);
        if (status != XC_OK) return status;
    }
    return trim(*out, hidden, err);
}

enum xc_status xc_head_load(struct xc_model **out, const char *path, const struct xc_head_opts *o, bool *is_new, struct xc_err *err)
{
    const bool drawn = !strcmp(o->task, "answer") || (!strcmp(o->task, "choice") && (o->pooling == XC_HEAD_AUTO || o->pooling == XC_HEAD_POOLER));
    const struct xc_load_opts own = { 0 }, as_task = { .head = o->task, .new_head = drawn, .seed = o->seed };
    enum xc_status status;
    int32_t hidden;

    *is_new = false;
    XC_TRY(xc_model_load(out, path, &own, err));
    if (fits(*out, o)) return XC_OK;
    if (!strcmp(o->task, "embed") || !strcmp(o->task, "mlm") || drawn) { /* a checkpoint may hold several heads; Longformer's attention differs with what is asked */
        xc_model_free(out);
        *is_new = drawn;
        if (xc_model_load(out, path, &as_task, NULL) == XC_OK && fits(*out, o)) return XC_OK;
    }
    if (*out) xc_model_free(out);
    *is_new = true;
    XC_TRY_GOTO(load_encoder(out, path, o->task, &hidden, err), out);
    XC_TRY_GOTO(add_head(*out, hidden, o, err), out);
    status = xc_model_verify(*out, err);
out:
    if (status != XC_OK) {
        if (*out) xc_model_free(out);
        return xc_fail_at(err, status, "%s", path);
    }
    return XC_OK;
}
