/* tape: see tape.h. */
#include "compress/grad/tape.h"

#include <math.h>
#include <string.h>

#include "compress/grad/dropout.h"

struct slot {
    int32_t space, cols;
    bool taken; /* while planning */
    float *data;
};

struct xc_tape {
    struct xc_graph *g;
    struct xc_run *run;
    const struct xc_grad **grad; /* per node; NULL = no gradient passes */
    float **d_tensor;            /* per tensor */
    bool *trained;               /* per tensor */
    bool *wants;                 /* per value: its gradient is needed */
    int32_t *slot_of;            /* per value; -1 = none, or the caller's buffer */
    float **d_value;             /* per value, while backward runs; NULL = nothing has arrived yet */
    double *drop;                /* per value: probability */
    uint8_t **mask;              /* per value, of the last forward */
    bool *watched;               /* per value */
    xc_tape_watch_fn *watch;     /* NULL = nobody */
    void *watch_arg;
    xc_tape_passed_fn *passed;   /* NULL = nobody */
    void *passed_arg;
    struct slot *slots;
    int32_t n_slots;
    size_t cap_slots;
    struct xc_scratch memory;    /* slots of the last backward */
    struct xc_scratch masks;
    double drop_attention;
    struct xc_dropout_probs *probs; /* per node, of the last forward; p 0 = plain */
    /* recomputation: segment s is the nodes cut[s] .. cut[s+1] - 1; one segment: everything is kept */
    int32_t *cut, n_segments;
    bool *kept;                  /* per value: it crosses the end of its segment */
    struct xc_scratch inner;     /* values of the segment at hand that do not */
    bool inputs, straight_through;
};

void xc_tape_free(struct xc_tape **tape)
{
    struct xc_tape *t = *tape;

    *tape = NULL;
    if (!t) return;
    if (t->run) xc_run_free(&t->run);
    xc_scratch_release(&t->memory);
    xc_scratch_release(&t->masks);
    xc_scratch_release(&t->inner);
    xc_free(t->probs);
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

/* ---- planning ---- */
static bool wants_value(const struct xc_tape *t, const struct xc_ref *ref) { return ref->kind == XC_REF_VALUE && t->wants[ref->id]; }

/* Forward: a value's gradient is needed when a trained tensor, or a wanted input, lies behind it. */
static enum xc_status find_wants(struct xc_tape *t, struct xc_err *err)
{
    const struct xc_graph *g = t->g;

    for (int32_t i = 0; i < g->n_inputs && t->inputs; i++) t->wants[g->inputs[i]] = g->values[g->inputs[i]].dtype == XC_DTYPE_F32;
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];
        const struct xc_grad *grad = xc_grad_find(node->op->name);
        bool wanted = false;

        for (int32_t i = 0; i < node->n_in; i++) wanted |= wants_value(t, &node->in[i]) || (node->in[i].kind == XC_REF_TENSOR && t->trained[node->in[i].id]);
        if (!wanted) continue;
        if (!grad) return xc_fail(err, XC_E_UNSUPPORTED, "node '%s': op '%s' has no derivative", node->name, node->op->name);
        if (!grad->backward) continue;
        for (int32_t i = 0; i < node->n_in; i++)
            if (node->in[i].range.mode != XC_RANGE_NONE && !t->straight_through)
                return xc_fail(err, XC_E_UNSUPPORTED, "node '%s' takes its input as int8, through which no gradient passes: train the f32 model", node->name);
        t->grad[n] = grad;
        for (int32_t i = 0; i < node->n_out; i++) t->wants[node->out[i]] = g->values[node->out[i]].dtype == XC_DTYPE_F32;
    }
    return XC_OK;
}

/* The free slot of this space whose width is nearest, else a new one. */
static enum xc_status take_slot(struct xc_tape *t, int32_t value, struct xc_err *err)
{
    const struct xc_value *v = &t->g->values[value];
    int32_t best = -1;

    for (int32_t i = 0; i < t->n_slots; i++) {
        const struct slot *s = &t->slots[i];

        if (s->taken || s->space != v->space) continue;
        if (best < 0 || (s->cols >= v->cols && (t->slots[best].cols < v->cols || s->cols < t->slots[best].cols)) || (s->cols > t->slots[best].cols && t->slots[best].cols < v->cols))
            best = i;
    }
    if (best < 0) {
        XC_TRY(xc_grow((void **)&t->slots, &t->cap_slots, (size_t)t->n_slots + 1, sizeof *t->slots, err));
        best = t->n_slots++;
        t->slots[best] = (struct slot){ .space = v->space, .cols = v->cols };
    }
    if (t->slots[best].cols < v->cols) t->slots[best].cols = v->cols;
    t->slots[best].taken = true;
    t->slot_of[value] = best;
    return XC_OK;
}

static bool is_output(const struct xc_graph *g, int32_t value)
{
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == value) return true;
    return false;
}

static enum xc_status plan(struct xc_tape *t, struct xc_err *err)
{
    const struct xc_graph *g = t->g;

    for (int32_t v = 0; v < g->n_values; v++) t->slot_of[v] = -1;
    for (int32_t n = g->n_nodes - 1; n >= 0; n--) {
        const struct xc_node *node = &g->nodes[n];

        if (!t->grad[n]) continue;
        for (int32_t i = 0; i < node->n_in; i++)
            if (wants_value(t, &node->in[i]) && t->slot_of[node->in[i].id] < 0 && !is_output(g, node->in[i].id)) XC_TRY(take_slot(t, node->in[i].id, err));
        for (int32_t i = 0; i < node->n_out; i++)
            if (t->slot_of[node->out[i]] >= 0) t->slots[t->slot_of[node->out[i]]].taken = false;
    }
    return XC_OK;
}

/* Values made before node n and read from it on, not counting what is kept anyway. */
static int32_t crossing(const struct xc_graph *g, int32_t n)
{
    int32_t count = 0;

    for (int32_t v = 0; v < g->n_values; v++) {
        bool later = false;

        if (g->values[v].node < 0 || g->values[v].node >= n || g->values[v].dtype != XC_DTYPE_F32 || is_output(g, v)) continue;
        for (int32_t k = n; k < g->n_nodes && !later; k++)
            for (int32_t i = 0; i < g->nodes[k].n_in; i++) later |= g->nodes[k].in[i].kind == XC_REF_VALUE && g->nodes[k].in[i].id == v;
        count += later;
    }
    return count;
}

static int32_t segment_of(const struct xc_tape *t, int32_t node)
{
    int32_t s = 0;

    while (s + 1 < t->n_segments && t->cut[s + 1] <= node) s++;
    return s;
}

/* Fills t->cut with every so manieth place that at most `width` values cross; the nodes of the longest segment. */
static int32_t cut_where(struct xc_tape *t, int32_t every, int32_t width)
{
    const struct xc_graph *g = t->g;
    int32_t places = 0, longest = 0, before = 0;

    t->n_segments = 1;
    for (int32_t n = 1; n < g->n_nodes && every > 0; n++) {
        const int32_t now = crossing(g, n);

        if (now <= width && before != now && ++places % every == 0) t->cut[t->n_segments++] = n;
        before = now;
    }
    t->cut[t->n_segments] = g->n_nodes;
    for (int32_t s = 0; s < t->n_segments; s++) longest = (int32_t)xc_max_i64(longest, t->cut[s + 1] - t->cut[s]);
    return longest;
}

/* Where one value crosses; but where that leaves half of the graph in one piece, which is so with the two streams of a Reformer, two may. */
static void plan_segments(struct xc_tape *t, int32_t every)
{
    const struct xc_graph *g = t->g;

    if (every > 0 && cut_where(t, 1, 1) > g->n_nodes / 2) cut_where(t, every, 2);
    else cut_where(t, every, 1);
    for (int32_t v = 0; v < g->n_values; v++) t->kept[v] = t->n_segments == 1 || g->values[v].node < 0 || is_output(g, v);
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++) {
            const struct xc_ref *in = &g->nodes[n].in[i];

            if (in->kind == XC_REF_VALUE && g->values[in->id].node >= 0 && segment_of(t, g->values[in->id].node) != segment_of(t, n)) t->kept[in->id] = true;
        }
}

/* Rows of a space, at most, for the plan. */
static double plan_rows(const struct xc_graph *g, int32_t space, int64_t rows, int64_t sequences)
{
    const struct xc_space *s = &g->spaces[space];

    return s->map == XC_MAP_SEQUENCE ? (double)sequences : s->map == XC_MAP_FIXED ? (double)s->k * (double)sequences : (double)rows;
}

struct need { double kept, inner, slots, masks, node; }; /* bytes */

static struct need needs(const struct xc_tape *t, int64_t rows, int64_t sequences)
{
    const struct xc_graph *g = t->g;
    struct need need = { 0 };

    for (int32_t s = 0; s < t->n_segments; s++) {
        double inner = 0;

        for (int32_t n = t->cut[s]; n < t->cut[s + 1]; n++) {
            double operands = 0;

            for (int32_t i = 0; i < g->nodes[n].n_out; i++) {
                const struct xc_value *v = &g->values[g->nodes[n].out[i]];
                const double bytes = plan_rows(g, v->space, rows, sequences) * v->cols * 4 + XC_ALIGN;

                *(t->kept[g->nodes[n].out[i]] ? &need.kept : &inner) += bytes;
                if (t->drop[g->nodes[n].out[i]] > 0) need.masks += bytes / 32 + XC_ALIGN;
                operands += bytes;
            }
            for (int32_t i = 0; i < g->nodes[n].n_in; i++) {
                if (g->nodes[n].in[i].kind == XC_REF_VALUE)
                    operands += plan_rows(g, g->values[g->nodes[n].in[i].id].space, rows, sequences) * g->values[g->nodes[n].in[i].id].cols * 4;
                else if (g->nodes[n].in[i].kind == XC_REF_TENSOR && strcmp(g->nodes[n].op->name, "gather"))
                    operands += (double)xc_tensor_count(g->model->tensors[g->nodes[n].in[i].id]) * 4;
            }
            if (operands > need.node) need.node = operands; /* an op packs its operands once, at most */
        }
        if (inner > need.inner) need.inner = inner;
    }
    for (int32_t i = 0; i < t->n_slots; i++) need.slots += plan_rows(g, t->slots[i].space, rows, sequences) * t->slots[i].cols * 4 + XC_ALIGN;
    return need;
}

double xc_tape_bytes(const struct xc_tape *t, int64_t rows, int64_t sequences)
{
    const struct need n = needs(t, rows, sequences);

    return n.kept + n.inner + n.slots + n.masks + n.node;
}

static enum xc_status reserve(struct xc_scratch *s, double bytes, struct xc_err *err)
{
    if (bytes > 0 && !xc_scratch_alloc(s, (size_t)bytes)) return xc_fail_nomem(err, (size_t)bytes);
    return xc_scratch_reset(s, err);
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
    if (!t->probs || !t->cut || !t->kept) return xc_fail_nomem(err, values * sizeof *t->kept);
    t->watched = xc_calloc(values, sizeof *t->watched);
    if (!t->grad || !t->d_tensor || !t->trained || !t->wants || !t->slot_of || !t->d_value || !t->drop || !t->mask || !t->watched) return xc_fail_nomem(err, values * sizeof *t->d_value);
    if (opts->trained) memcpy(t->trained, opts->trained, (tensors - 1) * sizeof *t->trained);
    XC_TRY(find_wants(t, err));
    XC_TRY(plan(t, err));
    XC_TRY(xc_run_new(&t->run, t->g->model, opts->kern, opts->pool, err));
    t->run->bf16 = opts->bf16;
    t->run->values.large = t->run->node.large = t->memory.large = t->inner.large = true;
    plan_segments(t, opts->segment);
    if (opts->rows > 0) {
        const struct need need = needs(t, opts->rows, opts->sequences);

        XC_TRY(reserve(&t->run->values, need.kept, err));
        XC_TRY(reserve(&t->inner, need.inner, err));
        XC_TRY(reserve(&t->memory, need.slots, err));
    }
    return XC_OK;
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
    status = fill(t, opts, err);
    if (status != XC_OK) xc_tape_free(&t);
    *out = t;
    return status;
}

void xc_tape_bind(struct xc_tape *t, int32_t tensor, float *gradient) { t->d_tensor[tensor] = gradient; }
void xc_tape_dropout(struct xc_tape *t, int32_t value, double p) { t->drop[value] = p; }
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

static enum xc_status drop_value(struct xc_tape *t, int32_t value, uint64_t seed, uint64_t step, struct xc_err *err)
{
    const struct xc_view *v = &t->run->views[value];
    const int64_t n = v->rows * v->cols;

    if (!t->mask[value]) { /* else the value is computed again */
        t->mask[value] = xc_scratch_alloc(&t->masks, (size_t)xc_div_up(n, 8));
        if (!t->mask[value]) return xc_fail_nomem(err, (size_t)xc_div_up(n, 8));
        xc_dropout_draw(t->mask[value], n, t->drop[value], seed, step * (uint64_t)(t->g->n_values + 1) + (uint64_t)value, t->run->pool);
    }
    xc_dropout_apply(v->data, t->mask[value], n, t->drop[value], t->run->pool);
    return XC_OK;
}

/* ---- running ---- */
static enum xc_status dropped_forward(void *arg, const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_dropout_probs *drop = arg;

    return xc_grad_find(c->node->op->name)->forward_dropped(c, drop, err);
}

/* Whether a node's probabilities are dropped is decided once, in the forward pass. */
static enum xc_status forward_node(struct xc_tape *t, int32_t n, uint64_t seed, uint64_t step, bool drop, struct xc_err *err)
{
    const struct xc_node *node = &t->g->nodes[n];
    enum xc_status status;

    if (t->n_segments > 1)
        for (int32_t i = 0; i < node->n_out; i++) {
            struct xc_view *view = &t->run->views[node->out[i]];
            const size_t bytes = (size_t)(view->rows * view->cols) * 4;

            if (t->kept[node->out[i]] && view->data) continue;
            view->data = xc_scratch_alloc(t->kept[node->out[i]] ? &t->run->values : &t->inner, bytes);
            if (!view->data) return xc_fail_nomem(err, bytes);
        }
    if (t->probs[n].p > 0) {
        t->run->instead = dropped_forward;
        t->run->instead_arg = &t->probs[n];
    }
    status = xc_run_node(t->run, t->g, node, err);
    t->run->instead = NULL;
    for (int32_t i = 0; drop && i < node->n_out && status == XC_OK; i++)
        if (t->drop[node->out[i]] > 0) status = drop_value(t, node->out[i], seed, step, err);
    return status;
}

/* The inner values of a segment once more. Masks are those of the first time. */
static enum xc_status recompute(struct xc_tape *t, int32_t segment, struct xc_err *err)
{
    XC_TRY(xc_scratch_reset(&t->inner, err));
    for (int32_t n = t->cut[segment]; n < t->cut[segment + 1]; n++) {
        bool inner = false, masked = false;

        for (int32_t i = 0; i < t->g->nodes[n].n_out; i++) {
            inner |= !t->kept[t->g->nodes[n].out[i]];
            masked |= t->mask[t->g->nodes[n].out[i]] != NULL;
        }
        if (inner) XC_TRY(forward_node(t, n, 0, 0, masked, err));
    }
    return XC_OK;
}

enum xc_status xc_tape_forward(struct xc_tape *t, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces, bool train, uint64_t seed, uint64_t step,
                               struct xc_view *out, struct xc_err *err)
{
    const struct xc_graph *g = t->g;
    enum xc_status status = XC_OK;

    XC_TRY(xc_run_begin(t->run, g, in, spaces, n_spaces, err));
    XC_TRY(xc_scratch_reset(&t->masks, err));
    memset(t->mask, 0, (size_t)g->n_values * sizeof *t->mask);
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const bool drops = train && t->drop_attention > 0 && t->grad[n] && t->grad[n]->forward_dropped;

        t->probs[n] = (struct xc_dropout_probs){ .p = drops ? t->drop_attention : 0, .seed = seed,
                                                 .stream = (uint64_t)1 << 63 | (step * (uint64_t)(g->n_values + 1) + (uint64_t)g->nodes[n].out[0]) };
    }
    xc_pool_begin(t->run->pool);
    for (int32_t s = 0; s < t->n_segments && status == XC_OK; s++) {
        status = xc_scratch_reset(&t->inner, err);
        for (int32_t n = t->cut[s]; n < t->cut[s + 1] && status == XC_OK; n++) status = forward_node(t, n, seed, step, train, err);
    }
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
    status = grad->backward(&c, err);
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
    for (int32_t n = 0, s = 0; n < t->g->n_nodes; n++) {
        if (t->n_segments > 1 && n == t->cut[s] && recompute(t, s++, NULL) != XC_OK) return NULL;
        for (int32_t i = 0; i < t->g->nodes[n].n_out; i++) {
            const int32_t v = t->g->nodes[n].out[i];
            const struct xc_view *view = &t->run->views[v];
            const float *x = view->data;

            if (t->g->values[v].dtype != XC_DTYPE_F32) continue;
            for (int64_t k = 0; k < view->rows * view->cols; k++)
                if (!isfinite(x[k])) return t->g->nodes[n].name;
        }
    }
    return NULL;
}
