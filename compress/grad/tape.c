/* tape: see tape.h. */
#include "compress/grad/tape.h"

#include <math.h>
#include <string.h>

#include "compress/grad/tape_state.h"

void xc_tape_free(struct xc_tape **tape)
{
    struct xc_tape *t = *tape;

    *tape = NULL;
    if (!t) return;
    if (t->run) xc_run_free(&t->run);
    xc_scratch_release(&t->memory);
    xc_scratch_release(&t->masks);
    xc_scratch_release(&t->inner);
    xc_scratch_release(&t->decisions);
    xc_free(t->probs);
    xc_free(t->recovered);
    xc_free(t->home);
    xc_free(t->decided);
    xc_free(t->cut);
    xc_free(t->kept);
    xc_free(t->grad);
    xc_free(t->d_tensor);
    xc_free(t->trained);
    xc_free(t->wants);
    xc_free(t->slot_of);
    xc_free(t->d_value);
    xc_free(t->drop);
    xc_free(t->mask);
    xc_free(t->watched);
    xc_free(t->slots);
    xc_free(t);
}

static enum xc_status fill(struct xc_tape *t, const struct xc_tape_opts *opts, struct xc_err *err)
{
    const size_t nodes = (size_t)t->g->n_nodes + 1, values = (size_t)t->g->n_values + 1, tensors = (size_t)t->g->model->n_tensors + 1;

    t->grad = xc_calloc(nodes, sizeof *t->grad);
    t->d_tensor = xc_calloc(tensors, sizeof *t->d_tensor);
    t->trained = xc_calloc(tensors, sizeof *t->trained);
    t->wants = xc_calloc(values, sizeof *t->wants);
    t->slot_of = xc_calloc(values, sizeof *t->slot_of);
    t->d_value = xc_calloc(values, sizeof *t->d_value);
    t->drop = xc_calloc(values, sizeof *t->drop);
    t->mask = xc_calloc(values, sizeof *t->mask);
    t->probs = xc_calloc(nodes, sizeof *t->probs);
    t->cut = xc_calloc(nodes + 1, sizeof *t->cut);
    t->kept = xc_calloc(values, sizeof *t->kept);
    t->recovered = xc_calloc(nodes, sizeof *t->recovered);
    t->home = xc_calloc(values, sizeof *t->home);
    t->decided = xc_calloc(nodes, sizeof *t->decided);
    if (!t->probs || !t->cut || !t->kept || !t->recovered || !t->home || !t->decided) return xc_fail_nomem(err, values * sizeof *t->kept);
    t->watched = xc_calloc(values, sizeof *t->watched);
    if (!t->grad || !t->d_tensor || !t->trained || !t->wants || !t->slot_of || !t->d_value || !t->drop || !t->mask || !t->watched) return xc_fail_nomem(err, values * sizeof *t->d_value);
    if (opts->trained) memcpy(t->trained, opts->trained, (tensors - 1) * sizeof *t->trained);
    XC_TRY(xc_run_new(&t->run, t->g->model, opts->kern, opts->pool, err));
    t->run->bf16 = opts->bf16;
    return xc_tape_plan(t, opts, err);
}

enum xc_status xc_tape_new(struct xc_tape **out, struct xc_graph *graph, const struct xc_tape_opts *opts, struct xc_err *err)
{
    struct xc_tape *t = xc_calloc(1, sizeof *t);
    enum xc_status status;

    *out = NULL;
    if (!t) return xc_fail_nomem(err, sizeof *t);
    t->g = graph;
    t->inputs = opts->inputs;
    t->straight_through = opts->straight_through;
    t->reverse = opts->reverse;
    status = fill(t, opts, err);
    if (status != XC_OK) xc_tape_free(&t);
    *out = t;
    return status;
}

void xc_tape_bind(struct xc_tape *t, int32_t tensor, float *gradient) { t->d_tensor[tensor] = gradient; }

void xc_tape_dropout(struct xc_tape *t, int32_t value, double p)
{
    t->drop[value] = p;
    if (t->home[value] != value) xc_tape_plan_reversible(t); /* what is dropped cannot be subtracted from */
}

void xc_tape_dropout_attention(struct xc_tape *t, double p) { t->drop_attention = p; }

void xc_tape_watch(struct xc_tape *t, int32_t value, xc_tape_watch_fn *fn, void *arg)
{
    t->watched[value] = true;
    t->watch = fn;
    t->watch_arg = arg;
}

void xc_tape_passed(struct xc_tape *t, xc_tape_passed_fn *fn, void *arg)
{
    t->passed = fn;
    t->passed_arg = arg;
}

/* ---- dropout ---- */
static const char *op_of(const struct xc_graph *g, int32_t value) { return g->values[value].node >= 0 ? g->nodes[g->values[value].node].op->name : ""; }

void xc_tape_dropout_usual(struct xc_tape *t, double p)
{
    const struct xc_graph *g = t->g;
    bool embedded = false;

    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];

        if (!embedded && (!strcmp(node->op->name, "layer_norm") || !strcmp(node->op->name, "rms_norm"))) {
            xc_tape_dropout(t, node->out[0], p);
            embedded = true;
        }
        if (strcmp(node->op->name, "add")) continue;
        for (int32_t i = 0; i < 2; i++)
            if (!strcmp(op_of(g, node->in[i].id), "linear")) xc_tape_dropout(t, node->in[i].id, p);
    }
    if (g->n_outputs && !strcmp(op_of(g, g->outputs[0]), "linear")) xc_tape_dropout(t, g->nodes[g->values[g->outputs[0]].node].in[0].id, p);
}

/* Drops numbers of a value, or only draws which ones. */
static enum xc_status drop_value(struct xc_tape *t, int32_t value, bool apply, struct xc_err *err)
{
    const struct xc_view *v = &t->run->views[value];
    const int64_t n = v->rows * v->cols;

    t->mask[value] = xc_scratch_alloc(&t->masks, (size_t)xc_div_up(n, 8));
    if (!t->mask[value]) return xc_fail_nomem(err, (size_t)xc_div_up(n, 8));
    xc_dropout_draw(t->mask[value], n, t->drop[value], t->seed, t->step * (uint64_t)(t->g->n_values + 1) + (uint64_t)value, t->run->pool);
    if (apply) xc_dropout_apply(v->data, t->mask[value], n, t->drop[value], t->run->pool);
    return XC_OK;
}

/* ---- running ---- */
static enum xc_status dropped_forward(void *arg, const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_dropout_probs *drop = arg;

    return xc_grad_find(c->node->op->name)->forward_dropped(c, drop, err);
}

/* Values of a graph in segments do not all live in the run's memory. */
static enum xc_status place_value(struct xc_tape *t, int32_t value, struct xc_err *err)
{
    struct xc_view *view = &t->run->views[value];
    const size_t bytes = (size_t)(view->rows * view->cols) * sizeof(float);

    if (t->n_segments == 1 || (t->kept[value] && view->data)) return XC_OK;
    if (t->home[value] != value) view->data = t->run->views[t->home[value]].data;
    else view->data = xc_scratch_alloc(t->kept[value] ? &t->run->values : &t->inner, bytes);
    return view->data ? XC_OK : xc_fail_nomem(err, bytes);
}

/* again: it ran before on this batch, on values that were a rounding apart at most, and decides what it decided then. */
static enum xc_status forward_node(struct xc_tape *t, int32_t n, bool again, struct xc_err *err)
{
    const struct xc_node *node = &t->g->nodes[n];
    enum xc_status status;

    for (int32_t i = 0; i < node->n_out; i++) XC_TRY(place_value(t, node->out[i], err));
    if (t->probs[n].p > 0) {
        t->run->instead = dropped_forward;
        t->run->instead_arg = &t->probs[n];
    }
    t->run->decided = t->decided[n];
    t->run->decided_before = again;
    status = xc_run_node(t->run, t->g, node, err);
    t->run->instead = NULL;
    t->run->decided = NULL;
    for (int32_t i = 0; t->drops && i < node->n_out && status == XC_OK; i++)
        if (t->drop[node->out[i]] > 0) status = drop_value(t, node->out[i], true, err);
    return status;
}

/* Inner values and masks are those of one segment. */
static enum xc_status begin_segment(struct xc_tape *t, struct xc_err *err)
{
    XC_TRY(xc_scratch_reset(&t->inner, err));
    XC_TRY(xc_scratch_reset(&t->masks, err));
    memset(t->mask, 0, (size_t)t->g->n_values * sizeof *t->mask);
    return XC_OK;
}

/* The inner values of a segment once more, with the masks of the first time. */
static enum xc_status recompute(struct xc_tape *t, int32_t segment, struct xc_err *err)
{
    XC_TRY(begin_segment(t, err));
    for (int32_t n = t->cut[segment]; n < t->cut[segment + 1]; n++) {
        const struct xc_node *node = &t->g->nodes[n];
        bool inner = false;

        for (int32_t i = 0; i < node->n_out; i++) inner |= !t->kept[node->out[i]];
        if (inner) XC_TRY(forward_node(t, n, true, err));
        for (int32_t i = 0; !inner && t->drops && i < node->n_out; i++)
            if (t->drop[node->out[i]] > 0) XC_TRY(drop_value(t, node->out[i], false, err));
    }
    return XC_OK;
}

enum { BLOCK = 8192 };
struct difference {
    float *x;
    const float *y;
    int64_t n;
};

static void subtract(void *arg, int64_t item, int thread)
{
    const struct difference *d = arg;
    const int64_t end = xc_min_i64((item + 1) * BLOCK, d->n);

    (void)thread;
    for (int64_t i = item * BLOCK; i < end; i++) d->x[i] -= d->y[i];
}

/* A reversible segment's x = o - y, in the memory of o, which nothing reads any more. Gomez et al. 2017, arXiv:1707.04585. */
static void recover(struct xc_tape *t, int32_t segment)
{
    const struct xc_node *sum = &t->g->nodes[t->cut[segment + 1] - 1];
    const int32_t x = t->recovered[segment], y = sum->in[sum->in[0].id == x].id;
    const struct xc_view *view = &t->run->views[x];
    struct difference d = { .x = view->data, .y = t->run->views[y].data, .n = view->rows * view->cols };

    xc_pool_run(t->run->pool, subtract, &d, xc_div_up(d.n, BLOCK));
}

/* What nodes decide by comparing numbers is kept where these will only be recovered. */
static enum xc_status place_decisions(struct xc_tape *t, struct xc_err *err)
{
    XC_TRY(xc_scratch_reset(&t->decisions, err));
    for (int32_t n = 0; n < t->g->n_nodes && t->n_recovered; n++) {
        const struct xc_grad *grad = xc_grad_find(t->g->nodes[n].op->name);
        const int64_t each = grad && grad->decisions ? grad->decisions(&t->g->nodes[n]) : 0;
        const size_t bytes = each > 0 ? (size_t)(each * t->run->views[t->g->nodes[n].out[0]].rows) * sizeof(uint16_t) : 0;

        if (each <= 0) continue;
        t->decided[n] = xc_scratch_alloc(&t->decisions, bytes);
        if (!t->decided[n]) return xc_fail_nomem(err, bytes);
    }
    return XC_OK;
}

static enum xc_status forward_segments(struct xc_tape *t, bool again, struct xc_err *err)
{
    for (int32_t s = 0; s < t->n_segments; s++) {
        XC_TRY(begin_segment(t, err));
        for (int32_t n = t->cut[s]; n < t->cut[s + 1]; n++) XC_TRY(forward_node(t, n, again, err));
    }
    return XC_OK;
}

enum xc_status xc_tape_forward(struct xc_tape *t, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces, bool train, uint64_t seed, uint64_t step,
                               struct xc_view *out, struct xc_err *err)
{
    const struct xc_graph *g = t->g;
    enum xc_status status;

    XC_TRY(xc_run_begin(t->run, g, in, spaces, n_spaces, err));
    XC_TRY(place_decisions(t, err));
    t->drops = train;
    t->seed = seed;
    t->step = step;
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const bool drops = train && t->drop_attention > 0 && t->grad[n] && t->grad[n]->forward_dropped;

        t->probs[n] = (struct xc_dropout_probs){ .p = drops ? t->drop_attention : 0, .seed = seed,
                                                 .stream = (uint64_t)1 << 63 | (step * (uint64_t)(g->n_values + 1) + (uint64_t)g->nodes[n].out[0]) };
    }
    xc_pool_begin(t->run->pool);
    status = forward_segments(t, false, err);
    xc_pool_end(t->run->pool);
    for (int32_t i = 0; i < g->n_outputs && status == XC_OK; i++) out[i] = t->run->views[g->outputs[i]];
    return status;
}

static size_t value_bytes(const struct xc_tape *t, int32_t value)
{
    return (size_t)(t->run->views[value].rows * t->run->views[value].cols) * sizeof(float);
}

/* The gradient buffer of input value v; *fresh: nothing has arrived in it yet. */
static float *reach(struct xc_tape *t, int32_t v, bool *fresh)
{
    *fresh = !t->d_value[v];
    if (*fresh && t->slot_of[v] >= 0) t->d_value[v] = t->slots[t->slot_of[v]].data;
    return t->d_value[v];
}

static bool twice(const struct xc_node *node, int32_t i)
{
    for (int32_t k = 0; k < node->n_in; k++)
        if (k != i && node->in[k].kind == XC_REF_VALUE && node->in[k].id == node->in[i].id) return true;
    return false;
}

static enum xc_status backward_node(struct xc_tape *t, const struct xc_node *node, const struct xc_grad *grad, struct xc_err *err)
{
    const struct xc_scratch_mark mark = xc_scratch_save(&t->run->node);
    struct xc_op_ctx op = { .graph = t->g, .node = node, .attr = node->attr, .kern = t->run->kern, .pool = t->run->pool, .run = t->run };
    const struct xc_dropout_probs *probs = &t->probs[node - t->g->nodes];
    struct xc_grad_ctx c = { .op = &op, .straight_through = t->straight_through, .drop = probs->p > 0 ? probs : NULL };
    enum xc_status status;
    bool seen = false;

    for (int32_t i = 0; i < node->n_out; i++) {
        op.out[i] = &t->run->views[node->out[i]];
        if (!t->d_value[node->out[i]]) continue;
        seen = true;
        c.d_out[i] = t->d_value[node->out[i]];
        if (t->watched[node->out[i]]) t->watch(t->watch_arg, node->out[i], op.out[i], c.d_out[i]);
        if (t->mask[node->out[i]])
            xc_dropout_apply(t->d_value[node->out[i]], t->mask[node->out[i]], op.out[i]->rows * op.out[i]->cols, t->drop[node->out[i]], t->run->pool);
    }
    if (!seen) return XC_OK; /* nothing that the loss sees */
    for (int32_t i = 0; i < node->n_in; i++) {
        if (node->in[i].kind == XC_REF_TENSOR) {
            op.tensor[i] = t->g->model->tensors[node->in[i].id];
            if (t->trained[node->in[i].id]) c.d_tensor[i] = t->d_tensor[node->in[i].id];
        }
        if (node->in[i].kind != XC_REF_VALUE) continue;
        op.in[i] = &t->run->views[node->in[i].id];
        if (!t->wants[node->in[i].id]) continue;
        c.d_in[i] = reach(t, node->in[i].id, &c.fresh[i]);
        if (c.d_in[i] && c.fresh[i] && twice(node, i)) { /* one buffer behind two inputs: both add */
            memset(c.d_in[i], 0, value_bytes(t, node->in[i].id));
            c.fresh[i] = false;
        }
    }
    t->run->decided = t->decided[node - t->g->nodes];
    t->run->decided_before = true;
    status = grad->backward(&c, err);
    t->run->decided = NULL;
    xc_scratch_restore(&t->run->node, mark);
    return status;
}

enum xc_status xc_tape_backward(struct xc_tape *t, float *const *d_out, struct xc_err *err)
{
    const struct xc_graph *g = t->g;
    enum xc_status status = XC_OK;

    XC_TRY(xc_scratch_reset(&t->memory, err));
    memset(t->d_value, 0, (size_t)g->n_values * sizeof *t->d_value);
    for (int32_t i = 0; i < t->n_slots; i++) {
        const struct xc_ragged *rag = &t->run->spaces[t->slots[i].space];
        const size_t bytes = (size_t)rag->start[rag->n_seq] * (size_t)t->slots[i].cols * sizeof(float);

        t->slots[i].data = xc_scratch_alloc(&t->memory, bytes);
        if (!t->slots[i].data) return xc_fail_nomem(err, bytes);
    }
    for (int32_t i = 0; i < g->n_outputs; i++) t->d_value[g->outputs[i]] = d_out[i];
    xc_pool_begin(t->run->pool);
    for (int32_t s = t->n_segments - 1; s >= 0 && status == XC_OK; s--) {
        if (s < t->n_segments - 1) status = recompute(t, s, err);
        if (t->recovered[s] >= 0 && status == XC_OK) recover(t, s);
        for (int32_t n = t->cut[s + 1] - 1; n >= t->cut[s] && status == XC_OK; n--) {
            if (t->grad[n]) status = backward_node(t, &g->nodes[n], t->grad[n], err);
            if (t->passed) t->passed(t->passed_arg, n);
        }
    }
    xc_pool_end(t->run->pool);
    return status;
}

const float *xc_tape_input_gradient(const struct xc_tape *t, int32_t value) { return t->d_value[value]; }

const char *xc_tape_first_bad(struct xc_tape *t)
{
    for (int32_t s = 0; s < t->n_segments; s++) {
        if (t->n_segments > 1 && begin_segment(t, NULL) != XC_OK) return NULL;
        for (int32_t n = t->cut[s]; n < t->cut[s + 1]; n++) {
            const struct xc_node *node = &t->g->nodes[n];

            if (t->n_segments > 1 && forward_node(t, n, true, NULL) != XC_OK) return NULL;
            for (int32_t i = 0; i < node->n_out; i++) {
                const struct xc_view *view = &t->run->views[node->out[i]];
                const float *x = view->data;

                if (t->g->values[node->out[i]].dtype != XC_DTYPE_F32) continue;
                for (int64_t k = 0; k < view->rows * view->cols; k++)
                    if (!isfinite(x[k])) return node->name;
            }
        }
    }
    return NULL;
}
