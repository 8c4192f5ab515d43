/* smooth: makes activations easy to hold in int8 rows, without changing what the model computes (but for f32 rounding). Xiao et al.
 * 2022 (SmoothQuant), arXiv:2211.10438.
 *
 * A row has one scale, so a column that is large takes precision from all others. Where linears read a norm, an activation function or a
 * gated product, a `scale` node multiplies the columns by s and the columns of the weights carry 1/s; smooth_factors.c chooses s. What else
 * reads the value (the residual) still reads it as it was. Attention's output is left alone: its error is a hundredth of the others'.
 *
 * The model sees the calibration texts, or texts of its own (sample_texts.c), or random ids when it has no tokenizer. It runs node by node and
 * holds the weights of one node and the values that are still to be read: a checkpoint larger than memory passes through. Weights that come from
 * a file stay there; 1/s is applied whenever they are read. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/calibrate.h"
#include "compress/pass.h"
#include "compress/sample_texts.h"
#include "compress/smooth_factors.h"
#include "runtime/base/rng.h"
#include "runtime/graph/run.h"
#include "runtime/text/tokenizer.h"

#define STREAM 0x5300 /* of the generator of ids */
enum { MOST_TOKENS = 768, MOST_READERS = 16, SEQUENCES = 24, LENGTH = 24 /* of random ids */ };

static bool is_op(const struct xc_node *node, const char *op) { return strcmp(node->op->name, op) == 0; }

/* ---- the graph ---- */
/* A scale that was put in, and the linears behind it. */
struct point {
    int32_t in, out, tensor;         /* values; the scale's tensor */
    int32_t weight[MOST_READERS];    /* tensors */
    int n_readers, n_run;
    double *y2;                      /* by row: squares of the readers' outputs */
};

struct points {
    struct point *at;
    size_t n, cap;
};

static void points_release(struct points *p)
{
    for (size_t i = 0; i < p->n; i++) xc_free(p->at[i].y2);
    xc_free(p->at);
}

/* A linear on `value` whose weight is its own and a plain number each. */
static bool smoothable(const struct xc_model *m, const struct xc_uses *uses, const struct xc_node *node, int32_t value)
{
    const struct xc_ref *w = &node->in[1];

    if (!is_op(node, "linear") || node->in[0].kind != XC_REF_VALUE || node->in[0].id != value || w->kind != XC_REF_TENSOR) return false;
    return uses->first[w->id + 1] - uses->first[w->id] == 1 && !xc_format_traits((enum xc_format)m->tensors[w->id]->enc.format)->quantized && m->tensors[w->id]->rank == 2;
}

static enum xc_status add_ones(struct xc_model *m, int32_t *id, const char *name, int64_t C, struct xc_err *err)
{
    float *ones = xc_malloc((size_t)C * sizeof *ones);
    enum xc_status status = ones ? xc_model_add_tensor(m, id, name, 1, &C, err) : xc_fail_nomem(err, (size_t)C * sizeof *ones);

    for (int64_t c = 0; c < C && ones; c++) ones[c] = 1.0f;
    if (status == XC_OK) status = xc_tensor_set_f32(m->tensors[*id], ones, err);
    xc_free(ones);
    return status;
}

/* Puts a scale of ones between node `maker` and the linears that read it. */
static enum xc_status insert_scale(struct points *list, const struct xc_uses *uses, struct xc_model *m, struct xc_graph *g, int32_t maker, struct xc_err *err)
{
    struct point p = { .in = g->nodes[maker].out[0] };
    int32_t first = -1;
    char name[XC_MAX_NAME + 16];

    for (int32_t n = g->n_nodes - 1; n > maker; n--)
        if (smoothable(m, uses, &g->nodes[n], p.in)) {
            if (p.n_readers == MOST_READERS) return XC_OK;
            p.weight[p.n_readers++] = g->nodes[n].in[1].id;
            first = n;
        }
    if (first < 0) return XC_OK;
    snprintf(name, sizeof name, "%s.smooth", g->nodes[maker].name);
    if (!xc_name_ok(name) || xc_model_find_tensor(m, name) >= 0 || xc_graph_find_node(g, name) >= 0) return XC_OK;
    XC_TRY(add_ones(m, &p.tensor, name, g->values[p.in].cols, err));
    XC_TRY(xc_graph_insert_node(g, first, &p.out, "scale", name, (struct xc_ref[]){ xc_val(p.in), xc_ten(p.tensor) }, 2, NULL, err));
    for (int32_t n = first + 1; n < g->n_nodes; n++)
        if (smoothable(m, uses, &g->nodes[n], p.in)) g->nodes[n].in[0].id = p.out;
    XC_TRY(xc_grow((void **)&list->at, &list->cap, list->n + 1, sizeof *list->at, err));
    list->at[list->n++] = p;
    return XC_OK;
}

static enum xc_status insert_scales(struct points *list, struct xc_model *m, struct xc_graph *g, struct xc_err *err)
{
    static const char *const makers[] = { "layer_norm", "rms_norm", "unary", "mul" };
    struct xc_uses uses;
    enum xc_status status;

    XC_TRY(xc_uses_make(&uses, m, err)); /* nodes move as scales are put in, but the counts of uses stay */
    status = XC_OK;
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++)
        for (size_t i = 0; i < XC_ARRAY_LEN(makers) && status == XC_OK; i++)
            if (is_op(&g->nodes[n], makers[i])) status = insert_scale(list, &uses, m, g, n, err);
    xc_uses_release(&uses);
    return status;
}

/* ---- what the model is shown ---- */
struct sample {
    int32_t *ids, *types, start[MOST_TOKENS + 1];
    int32_t n; /* sequences */
};

static enum xc_status sample_texts(struct sample *s, const struct xc_model *m, const struct xc_texts *texts, const struct xc_model_info *info, struct xc_err *err)
{
    struct xc_tokenizer *tok = NULL;
    struct xc_tokens tokens = { 0 };
    enum xc_status status;

    XC_TRY(xc_tokenizer_open(&tok, m->tokenizer, err));
    struct xc_encode_opts opts = { .max_tokens = xc_tokenizer_max_tokens(tok) };

    if (info->max_tokens && (!opts.max_tokens || info->max_tokens < opts.max_tokens)) opts.max_tokens = info->max_tokens;
    status = XC_OK;
    for (int64_t i = 0; status == XC_OK && (texts ? i < texts->n : xc_sample_texts[i] != NULL); i++) {
        const char *text = texts ? texts->text[i] : xc_sample_texts[i];

        status = xc_tokenizer_encode(tok, &tokens, text, texts ? texts->length[i] : strlen(text), NULL, 0, &opts, err);
        if (status != XC_OK || tokens.n > MOST_TOKENS) break;
        for (size_t t = (size_t)s->start[s->n]; t < tokens.n; t++) {
            if (tokens.ids[t] < 0 || tokens.ids[t] >= info->vocab_size) goto out; /* a tokenizer of another model */
            s->ids[t] = tokens.ids[t];
        }
        if (tokens.n > (size_t)s->start[s->n]) s->start[++s->n] = (int32_t)tokens.n;
    }
out:
    xc_tokens_release(&tokens);
    xc_tokenizer_free(&tok);
    return status;
}

static void sample_random(struct sample *s, const struct xc_model_info *info)
{
    const int64_t length = info->max_positions ? xc_min_i64(LENGTH, info->max_positions) : LENGTH;

    for (int i = 0; i < SEQUENCES; i++) {
        struct xc_rng rng;

        xc_rng_init(&rng, STREAM, (uint64_t)i);
        for (int64_t t = 0; t < length; t++) s->ids[s->start[s->n] + t] = (int32_t)xc_rng_below(&rng, (uint64_t)info->vocab_size);
        s->start[s->n + 1] = s->start[s->n] + (int32_t)length;
        s->n++;
    }
}

static enum xc_status sample_make(struct sample *s, const struct xc_model *m, const struct xc_texts *texts, struct xc_err *err)
{
    struct xc_model_info info;

    XC_TRY(xc_model_info(m, &info, err));
    if (info.vocab_size < 1) return xc_fail(err, XC_E_UNSUPPORTED, "the model takes no token ids");
    s->ids = xc_calloc(MOST_TOKENS, sizeof *s->ids);
    s->types = xc_calloc(MOST_TOKENS, sizeof *s->types);
    if (!s->ids || !s->types) return xc_fail_nomem(err, MOST_TOKENS * sizeof *s->ids);
    if (m->tokenizer) XC_TRY(sample_texts(s, m, texts, &info, err));
    if (!s->n) sample_random(s, &info);
    return XC_OK;
}

static void sample_release(struct sample *s)
{
    xc_free(s->ids);
    xc_free(s->types);
}

/* ---- weights divided by s ---- */
/* A weight that stays in its file: divided as it is read. */
struct divided {
    struct xc_source base;
    struct xc_source *inner;
    struct xc_buf *factor;
    int64_t C;
};

static void divide(float *w, int64_t first, int64_t n, const float *factor, int64_t C)
{
    for (int64_t i = 0, c = first % C; i < n; i++, c = c + 1 == C ? 0 : c + 1) w[i] /= factor[c];
}

static enum xc_status divided_read(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *err)
{
    const struct divided *d = (const struct divided *)(const void *)src;

    XC_TRY(d->inner->read_f32(d->inner, t, first, n, dst, err));
    divide(dst, first, n, (const float *)(const void *)d->factor->data, d->C);
    return XC_OK;
}

static void divided_unref(struct xc_source *src)
{
    struct divided *d = (struct divided *)(void *)src;

    if (__atomic_sub_fetch(&src->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    xc_source_unref(&d->inner);
    xc_buf_unref(&d->factor);
    xc_free(d);
}

static enum xc_status divide_weight(struct xc_tensor *t, struct xc_buf *factor, struct xc_err *err)
{
    const int64_t n = xc_tensor_count(t), C = xc_tensor_cols(t);
    struct divided *d;
    float *copy;
    enum xc_status status;

    if (t->source) {
        d = xc_malloc(sizeof *d);
        if (!d) return xc_fail_nomem(err, sizeof *d);
        *d = (struct divided){ .base = { .read_f32 = divided_read, .unref = divided_unref, .refs = 1 }, .inner = t->source, .factor = xc_buf_ref(factor), .C = C };
        t->source = &d->base; /* its reference to what is now the inner one went along */
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&t->part[p]);
        t->enc = (struct xc_encoding){ .format = XC_FMT_F32 };
        return XC_OK;
    }
    copy = xc_malloc((size_t)n * sizeof *copy);
    status = copy ? xc_tensor_to_f32(t, copy, err) : xc_fail_nomem(err, (size_t)n * sizeof *copy);
    if (status == XC_OK) {
        divide(copy, 0, n, (const float *)(const void *)factor->data, C);
        status = xc_tensor_set_f32(t, copy, err);
    }
    xc_free(copy);
    return status;
}

/* ---- one point ---- */
/* All readers have run on the unscaled value: chooses s, and from here on the weights are those behind it. */
static enum xc_status fill(struct xc_model *m, struct point *p, const struct xc_view *x, struct xc_pool *pool, struct xc_err *err)
{
    const float *w[MOST_READERS] = { NULL };
    float *copy[MOST_READERS] = { NULL };
    int64_t rows[MOST_READERS];
    struct xc_buf *factor = NULL;
    enum xc_status status = xc_buf_new(&factor, (size_t)x->cols * sizeof(float), err);

    for (int i = 0; i < p->n_readers && status == XC_OK; i++) {
        const struct xc_tensor *t = m->tensors[p->weight[i]];
        const size_t bytes = (size_t)xc_tensor_count(t) * sizeof(float);

        rows[i] = xc_tensor_rows(t);
        if (t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS) {
            w[i] = (const float *)(const void *)t->part[XC_PART_DATA]->data;
            continue;
        }
        w[i] = copy[i] = xc_malloc(bytes);
        status = copy[i] ? xc_tensor_to_f32(t, copy[i], err) : xc_fail_nomem(err, bytes);
    }
    if (status == XC_OK) {
        const struct xc_smooth_problem problem = { .x = x->data, .y2 = p->y2, .w = w, .rows = rows, .R = x->rows, .C = x->cols, .n_w = p->n_readers };

        status = xc_smooth_factors((float *)(void *)factor->data, &problem, pool, err);
    }
    for (int i = 0; i < p->n_readers; i++) xc_free(copy[i]);
    if (status == XC_OK) status = xc_tensor_set_f32(m->tensors[p->tensor], (const float *)(const void *)factor->data, err);
    for (int i = 0; i < p->n_readers && status == XC_OK; i++) status = divide_weight(m->tensors[p->weight[i]], factor, err);
    xc_buf_unref(&factor);
    return status;
}

/* ---- running node by node ---- */
struct walk {
    struct xc_model *model;
    struct xc_graph *graph;
    struct xc_run *run;
    struct points *points;
    int32_t *last; /* by value: the node that reads it last; n_nodes for outputs */
    struct xc_pool *pool;
};

static enum xc_status observe(struct walk *w, const struct xc_node *node, struct xc_err *err)
{
    const struct xc_view *y = node->n_out ? &w->run->views[node->out[0]] : NULL;

    for (size_t i = 0; i < w->points->n; i++) {
        struct point *p = &w->points->at[i];
        const float *row = y ? y->data : NULL;

        if (!is_op(node, "linear") || node->in[0].id != p->out) continue;
        if (!p->y2) p->y2 = xc_calloc((size_t)y->rows + 1, sizeof *p->y2);
        if (!p->y2) return xc_fail_nomem(err, (size_t)y->rows * sizeof *p->y2);
        for (int64_t r = 0; r < y->rows; r++, row += y->cols)
            for (int64_t c = 0; c < y->cols; c++) p->y2[r] += (double)row[c] * (double)row[c];
        if (++p->n_run == p->n_readers) XC_TRY(fill(w->model, p, &w->run->views[p->out], w->pool, err));
    }
    return XC_OK;
}

static bool waits(const struct points *points, int32_t tensor)
{
    for (size_t i = 0; i < points->n; i++)
        for (int k = 0; k < points->at[i].n_readers; k++)
            if (points->at[i].weight[k] == tensor) return points->at[i].n_run < points->at[i].n_readers;
    return false;
}

static enum xc_status run_node(struct walk *w, int32_t n, struct xc_err *err)
{
    const struct xc_node *node = &w->graph->nodes[n];

    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_TENSOR) XC_TRY(xc_tensor_load(w->model->tensors[node->in[i].id], err));
    for (int32_t i = 0; i < node->n_out; i++) {
        struct xc_view *out = &w->run->views[node->out[i]];
        size_t bytes;

        if (!xc_mul_ok(&bytes, (size_t)out->rows, (size_t)out->cols) || !xc_mul_ok(&bytes, bytes, 4)) return xc_fail(err, XC_E_RANGE, "node '%s' makes too much", node->name);
        out->data = xc_alloc_aligned(bytes + XC_ALIGN);
        if (!out->data) return xc_fail_nomem(err, bytes);
    }
    XC_TRY(xc_run_node(w->run, w->graph, node, err));
    XC_TRY(observe(w, node, err));
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_TENSOR && !waits(w->points, node->in[i].id)) xc_tensor_drop(w->model->tensors[node->in[i].id]);
    for (int32_t v = 0; v < w->graph->n_values; v++)
        if (w->last[v] == n && w->graph->values[v].node >= 0) {
            xc_free(w->run->views[v].data);
            w->run->views[v].data = NULL;
        }
    return XC_OK;
}

static enum xc_status run_nodes(struct walk *w, const struct sample *s, struct xc_err *err)
{
    const struct xc_graph *g = w->graph;
    const struct xc_ragged rag = { .start = s->start, .n_seq = s->n };
    struct xc_view in[2];
    enum xc_status status;

    for (int32_t i = 0; i < g->n_inputs; i++)
        in[i] = (struct xc_view){ .data = strcmp(g->values[g->inputs[i]].name, "types") ? s->ids : s->types, .rows = s->start[s->n], .cols = 1 };
    XC_TRY(xc_run_begin(w->run, g, in, &rag, 1, err));
    for (int32_t v = 0; v < g->n_values; v++) w->last[v] = g->values[v].node;
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++)
            if (g->nodes[n].in[i].kind == XC_REF_VALUE) w->last[g->nodes[n].in[i].id] = n;
    status = XC_OK;
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++) status = run_node(w, n, err);
    for (int32_t v = 0; v < g->n_values; v++)
        if (g->values[v].node >= 0) xc_free(w->run->views[v].data);
    return status;
}

static enum xc_status fill_all(struct points *points, struct xc_model *m, struct xc_graph *g, const struct xc_prepare *prepare, struct xc_err *err)
{
    struct walk w = { .model = m, .graph = g, .points = points, .pool = prepare->opts->pool };
    struct sample s = { .n = 0 };
    enum xc_status status = sample_make(&s, m, prepare->texts, err);

    if (status == XC_OK) {
        w.last = xc_calloc((size_t)g->n_values + 1, sizeof *w.last);
        status = w.last ? xc_run_new(&w.run, m, NULL, w.pool, err) : xc_fail_nomem(err, (size_t)g->n_values * sizeof *w.last);
    }
    if (status == XC_OK) status = run_nodes(&w, &s, err);
    xc_run_free(&w.run);
    xc_free(w.last);
    sample_release(&s);
    return status;
}

enum xc_status xc_smooth(const struct xc_prepare *p, struct xc_err *err)
{
    struct xc_model *m = p->model;
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    struct points points = { 0 };
    enum xc_status status;

    /* a text model of one graph, which takes ids */
    if (m->n_graphs != 1 || !g || g->n_inputs < 1 || g->n_inputs > 2 || strcmp(g->values[g->inputs[0]].name, "ids")) return XC_OK;
    status = insert_scales(&points, m, g, err);
    if (status == XC_OK && !p->plan_only && points.n) status = fill_all(&points, m, g, p, err);
    points_release(&points);
    return status;
}
