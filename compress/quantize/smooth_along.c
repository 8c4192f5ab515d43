/* smooth_along: a large model is read once. See smooth.h.
 *
 * What the model is shown runs through it as it will be, node by node. At a scale its factors are chosen, from the rows that stand there and some outputs of
 * the linears behind it; at a linear its weight is read from the checkpoint, divided, quantized, handed to the side file, and multiplied with. So texts meet int8 weights instead of
 * f32 ones, at a quarter of the cost, and no weight is brought in twice. The sequences of golden samples run in the same batch: a sequence's answer does not depend on the others.
 *
 * An interrupted run walks again, and takes the weights that are finished. */
#include <string.h>

#include "compress/calibrate/calibrate.h"
#include "compress/quantize/quantize.h"
#include "compress/quantize/quantize_walk.h"
#include "compress/quantize/smooth.h"
#include "runtime/session/golden.h"

struct along {
    struct xc_work *w;
    enum xc_status (*settle)(struct xc_work *w, const void *arg, struct xc_err *err);
    const void *arg;
    struct xc_smooth_sample sample;
};

static bool is_op(const struct xc_node *node, const char *op) { return !strcmp(node->op->name, op); }

static bool is_due(const struct xc_work *w, int32_t t)
{
    const struct xc_tensor *tensor = w->model->tensors[t];

    return xc_format_traits((enum xc_format)w->want[t].format)->quantized && !(tensor->part[XC_PART_DATA] && tensor->enc.format == w->want[t].format) && !xc_quantize_coarse(w, t);
}

static enum xc_status make(struct xc_work *w, int32_t t, struct xc_err *err)
{
    if (!is_due(w, t) || xc_work_resume(w, t)) return XC_OK;
    XC_TRY(xc_quantize_tensor(w, t, err));
    return xc_work_keep(w, t, err);
}

/* Before a node runs. */
static enum xc_status ready(struct along *a, const struct xc_op_ctx *c, struct xc_err *err)
{
    struct xc_work *w = a->w;
    const struct xc_node *node = c->node;

    for (size_t i = 0; i < w->smoothing->n && is_op(node, "scale"); i++) {
        struct xc_smooth_point *p = &w->smoothing->at[i];

        if (node->out[0] == p->out) return xc_smooth_fill(w->model, w->before, p, c->in[0]->data, a->sample.start[a->sample.n], c->in[0]->cols, NULL, w->opts->pool, err);
    }
    if (!is_op(node, "linear") || node->in[1].kind != XC_REF_TENSOR || !is_due(w, node->in[1].id)) return XC_OK;
    XC_TRY(make(w, node->in[1].id, err));
    return a->settle(w, a->arg, err);
}

static enum xc_status run_node(void *arg, const struct xc_op_ctx *c, struct xc_err *err)
{
    XC_TRY(ready(arg, c, err));
    return c->node->op->forward(c, err);
}

/* Weights of linears wait for the walk; what else is due, tables, is read in it. */
static enum xc_status make_tables(struct xc_work *w, const struct xc_graph *g, struct xc_err *err)
{
    uint8_t *later = xc_calloc((size_t)w->model->n_tensors + 1, 1);
    enum xc_status status = later ? XC_OK : xc_fail_nomem(err, (size_t)w->model->n_tensors);

    for (int pass = 0; pass < 2 && status == XC_OK; pass++)
        for (int32_t n = 0; n < g->n_nodes; n++)
            for (int32_t i = 0; i < g->nodes[n].n_in; i++)
                if (g->nodes[n].in[i].kind == XC_REF_TENSOR && (is_op(&g->nodes[n], "linear") && i == 1) == !pass) later[g->nodes[n].in[i].id] = !pass; /* a table that is shared is a table */
    for (int32_t t = 0; t < w->model->n_tensors && status == XC_OK; t++)
        if (!later[t]) status = make(w, t, err);
    xc_free(later);
    return status;
}

/* The sample's sequences, and those of golden samples behind them. */
static enum xc_status run(struct along *a, struct xc_session *session, const struct xc_golden_batch *golden, struct xc_err *err)
{
    const struct xc_smooth_sample *s = &a->sample;
    const int64_t first = s->start[s->n], n = s->n + golden->n, tokens = first + (golden->n ? golden->start[golden->n] : 0);
    int32_t *ids = xc_malloc((size_t)tokens * sizeof *ids + 4);
    uint8_t *types = xc_calloc((size_t)tokens + 1, 1);
    int64_t *start = xc_malloc(((size_t)n + 1) * sizeof *start);
    struct xc_output out;
    enum xc_status status = ids && types && start ? XC_OK : xc_fail_nomem(err, (size_t)tokens * sizeof *ids);

    if (status == XC_OK) {
        memcpy(ids, s->ids, (size_t)first * sizeof *ids);
        memcpy(start, s->start, ((size_t)s->n + 1) * sizeof *start);
        for (int64_t i = 0; i < golden->n; i++) start[s->n + i + 1] = first + golden->start[i + 1];
        if (tokens > first) {
            memcpy(ids + first, golden->ids, (size_t)(tokens - first) * sizeof *ids);
            memcpy(types + first, golden->types, (size_t)(tokens - first));
        }
        status = xc_session_run_ids(session, ids, types, start, n, &out, err);
    }
    if (status == XC_OK && golden->n) status = xc_golden_from(a->w->golden, session, &out, s->n, err);
    xc_free(ids);
    xc_free(types);
    xc_free(start);
    return status;
}

enum xc_status xc_smooth_along(struct xc_work *w, enum xc_status (*settle)(struct xc_work *w, const void *arg, struct xc_err *err), const void *arg, struct xc_err *err)
{
    const struct xc_session_opts opts = { .pool = w->opts->pool, .lazy = true };
    struct along *a = xc_calloc(1, sizeof *a);
    struct xc_golden_batch golden = { 0 };
    struct xc_session *session = NULL;
    enum xc_status status = a ? XC_OK : xc_fail_nomem(err, sizeof *a);

    if (status == XC_OK) {
        a->w = w;
        a->settle = settle;
        a->arg = arg;
        status = make_tables(w, xc_model_find_graph(w->model, "encode"), err);
    }
    if (status == XC_OK) status = settle(w, arg, err);
    if (status == XC_OK) status = xc_session_new(&session, w->model, &opts, err);
    if (status == XC_OK) status = xc_smooth_sample(&a->sample, session, w->texts, err);
    if (status == XC_OK && w->golden) status = xc_golden_draw(&golden, w->model, err);
    if (status == XC_OK) {
        session->run->instead = run_node;
        session->run->instead_arg = a;
        status = run(a, session, &golden, err);
    }
    xc_golden_batch_release(&golden);
    xc_session_free(&session);
    xc_free(a);
    return status;
}
