/* tape_plan: which values of a graph want a gradient, where it lives, what is kept for the backward pass and what is computed again. See tape.h. */
#include <string.h>

#include "compress/grad/tape_state.h"

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
        const struct xc_tape_slot *s = &t->slots[i];

        if (s->taken || s->space != v->space) continue;
        if (best < 0 || (s->cols >= v->cols && (t->slots[best].cols < v->cols || s->cols < t->slots[best].cols)) || (s->cols > t->slots[best].cols && t->slots[best].cols < v->cols))
            best = i;
    }
    if (best < 0) {
        XC_TRY(xc_grow((void **)&t->slots, &t->cap_slots, (size_t)t->n_slots + 1, sizeof *t->slots, err));
        best = t->n_slots++;
        t->slots[best] = (struct xc_tape_slot){ .space = v->space, .cols = v->cols };
    }
    if (t->slots[best].cols < v->cols) t->slots[best].cols = v->cols;
    t->slots[best].taken = true;
    t->slot_of[value] = best;
    return XC_OK;
}

static enum xc_status plan_gradients(struct xc_tape *t, struct xc_err *err)
{
    const struct xc_graph *g = t->g;

    for (int32_t v = 0; v < g->n_values; v++) t->slot_of[v] = -1;
    for (int32_t n = g->n_nodes - 1; n >= 0; n--) {
        const struct xc_node *node = &g->nodes[n];

        if (!t->grad[n]) continue;
        for (int32_t i = 0; i < node->n_in; i++)
            if (wants_value(t, &node->in[i]) && t->slot_of[node->in[i].id] < 0 && !xc_tape_is_output(g, node->in[i].id)) XC_TRY(take_slot(t, node->in[i].id, err));
        for (int32_t i = 0; i < node->n_out; i++)
            if (t->slot_of[node->out[i]] >= 0) t->slots[t->slot_of[node->out[i]]].taken = false;
    }
    return XC_OK;
}

static bool reads(const struct xc_node *node, int32_t value)
{
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_VALUE && node->in[i].id == value) return true;
    return false;
}

/* The last node that reads a value; -1 = none. */
static int32_t last_reader(const struct xc_graph *g, int32_t value)
{
    for (int32_t n = g->n_nodes - 1; n >= 0; n--)
        if (reads(&g->nodes[n], value)) return n;
    return -1;
}

/* Values made before node n and read from it on, not counting what is kept anyway. */
static int32_t crossing(const struct xc_graph *g, const int32_t *last, int32_t n)
{
    int32_t count = 0;

    for (int32_t v = 0; v < g->n_values; v++)
        count += g->values[v].node >= 0 && g->values[v].node < n && last[v] >= n && g->values[v].dtype == XC_DTYPE_F32 && !xc_tape_is_output(g, v);
    return count;
}

static int32_t segment_of(const struct xc_tape *t, int32_t node)
{
    int32_t s = 0;

    while (s + 1 < t->n_segments && t->cut[s + 1] <= node) s++;
    return s;
}

static int32_t longest_segment(const struct xc_tape *t)
{
    int32_t longest = 0;

    for (int32_t s = 0; s < t->n_segments; s++) longest = (int32_t)xc_max_i64(longest, t->cut[s + 1] - t->cut[s]);
    return longest;
}

/* Fills t->cut with every so manieth place that at most `width` values cross. */
static void cut_where(struct xc_tape *t, const int32_t *last, int32_t every, int32_t width)
{
    int32_t places = 0, before = 0;

    t->n_segments = 1;
    for (int32_t n = 1; n < t->g->n_nodes && every > 0; n++) {
        const int32_t now = crossing(t->g, last, n);

        if (now <= width && before != now && ++places % every == 0) t->cut[t->n_segments++] = n;
        before = now;
    }
    t->cut[t->n_segments] = t->g->n_nodes;
}

static bool is_add(const struct xc_node *node) { return !strcmp(node->op->name, "add") && node->in[0].kind == XC_REF_VALUE && node->in[1].kind == XC_REF_VALUE; }

/* Fills t->cut with the places that one value crosses, and those behind a sum that two cross. */
static void cut_streams(struct xc_tape *t, const int32_t *last)
{
    int32_t before = 0;

    t->n_segments = 1;
    for (int32_t n = 1; n < t->g->n_nodes; n++) {
        const int32_t now = crossing(t->g, last, n);

        if ((now <= 1 && now != before) || (now == 2 && is_add(&t->g->nodes[n - 1]))) t->cut[t->n_segments++] = n;
        before = now;
    }
    t->cut[t->n_segments] = t->g->n_nodes;
}

/* The decisions of a node a row; -1: they cannot be kept. */
static int64_t decisions_of(const struct xc_tape *t, int32_t node)
{
    const struct xc_grad *grad = xc_grad_find(t->g->nodes[node].op->name);

    return grad && grad->decisions ? grad->decisions(&t->g->nodes[node]) : 0;
}

/* x, where segment s is reversible: it ends with x + y, y is made in it, and neither another of its nodes nor a later one reads x. */
static int32_t find_recovered(const struct xc_tape *t, int32_t s)
{
    const struct xc_graph *g = t->g;
    const int32_t end = t->cut[s + 1] - 1;
    const struct xc_node *sum = &g->nodes[end];

    if (!is_add(sum) || xc_tape_is_output(g, sum->out[0]) || !t->kept[sum->out[0]] || t->drop[sum->out[0]] > 0) return -1;
    for (int32_t n = t->cut[s]; n <= end; n++) {
        if (decisions_of(t, n) < 0) return -1;
        for (int32_t i = 0; i < g->nodes[n].n_out; i++) /* which rows stay is decided by comparing, and is not kept */
            if (g->spaces[g->values[g->nodes[n].out[i]].space].map == XC_MAP_SUBSET) return -1;
    }
    for (int i = 0; i < 2; i++) {
        const int32_t x = sum->in[i].id, y = sum->in[1 - i].id;
        bool read = last_reader(g, x) > end;

        for (int32_t n = t->cut[s]; n < end; n++) read |= reads(&g->nodes[n], x);
        if (!read && g->values[x].node >= 0 && g->values[x].node < t->cut[s] && g->values[y].node >= t->cut[s] && !xc_tape_is_output(g, x)) return x;
    }
    return -1;
}

void xc_tape_plan_reversible(struct xc_tape *t)
{
    t->n_recovered = 0;
    for (int32_t v = 0; v < t->g->n_values; v++) t->home[v] = v;
    for (int32_t s = 0; s < t->n_segments; s++) {
        const int32_t x = t->recovered[s] = t->reverse && !t->straight_through ? find_recovered(t, s) : -1;

        if (x < 0) continue;
        t->home[t->g->nodes[t->cut[s + 1] - 1].out[0]] = t->home[x];
        t->n_recovered++;
    }
}

/* Where one value crosses; but where that leaves half of the graph in one piece, which is so with the two streams of a Reformer, two may. */
static void plan_segments(struct xc_tape *t, const int32_t *last, int32_t every)
{
    const struct xc_graph *g = t->g;

    if (t->reverse) cut_streams(t, last);
    else if (every > 0) {
        cut_where(t, last, 1, 1);
        cut_where(t, last, every, longest_segment(t) > g->n_nodes / 2 ? 2 : 1);
    } else cut_where(t, last, 0, 1);
    for (int32_t v = 0; v < g->n_values; v++) t->kept[v] = t->n_segments == 1 || g->values[v].node < 0 || xc_tape_is_output(g, v);
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++) {
            const struct xc_ref *in = &g->nodes[n].in[i];

            if (in->kind == XC_REF_VALUE && g->values[in->id].node >= 0 && segment_of(t, g->values[in->id].node) != segment_of(t, n)) t->kept[in->id] = true;
        }
    xc_tape_plan_reversible(t);
}

/* Rows of a space, at most, for the plan. */
static double plan_rows(const struct xc_graph *g, int32_t space, int64_t rows, int64_t sequences)
{
    const struct xc_space *s = &g->spaces[space];

    return s->map == XC_MAP_SEQUENCE ? (double)sequences : s->map == XC_MAP_FIXED ? (double)s->k * (double)sequences : (double)rows;
}

struct need { double kept, inner, slots, masks, node, decisions; }; /* bytes */

static struct need needs(const struct xc_tape *t, int64_t rows, int64_t sequences)
{
    const struct xc_graph *g = t->g;
    struct need need = { 0 };

    for (int32_t s = 0; s < t->n_segments; s++) {
        double inner = 0, masks = 0;

        for (int32_t n = t->cut[s]; n < t->cut[s + 1]; n++) {
            double operands = 0;

            for (int32_t i = 0; i < g->nodes[n].n_out; i++) {
                const struct xc_value *v = &g->values[g->nodes[n].out[i]];
                const double bytes = plan_rows(g, v->space, rows, sequences) * v->cols * 4 + XC_ALIGN;

                if (t->home[g->nodes[n].out[i]] == g->nodes[n].out[i]) *(t->kept[g->nodes[n].out[i]] ? &need.kept : &inner) += bytes;
                if (t->drop[g->nodes[n].out[i]] > 0) masks += bytes / 32 + XC_ALIGN;
                operands += bytes;
            }
            for (int32_t i = 0; i < g->nodes[n].n_in; i++) {
                if (g->nodes[n].in[i].kind == XC_REF_VALUE)
                    operands += plan_rows(g, g->values[g->nodes[n].in[i].id].space, rows, sequences) * g->values[g->nodes[n].in[i].id].cols * 4;
                else if (g->nodes[n].in[i].kind == XC_REF_TENSOR && strcmp(g->nodes[n].op->name, "gather"))
                    operands += (double)xc_tensor_count(g->model->tensors[g->nodes[n].in[i].id]) * 4;
            }
            if (operands > need.node) need.node = operands; /* an op packs its operands once, at most */
            if (t->n_recovered) need.decisions += (double)decisions_of(t, n) * plan_rows(g, g->values[g->nodes[n].out[0]].space, rows, sequences) * sizeof(uint16_t) + XC_ALIGN;
        }
        if (inner > need.inner) need.inner = inner;
        if (masks > need.masks) need.masks = masks;
    }
    for (int32_t i = 0; i < t->n_slots; i++) need.slots += plan_rows(g, t->slots[i].space, rows, sequences) * t->slots[i].cols * 4 + XC_ALIGN;
    return need;
}

double xc_tape_bytes(const struct xc_tape *t, int64_t rows, int64_t sequences)
{
    const struct need n = needs(t, rows, sequences);

    return n.kept + n.inner + n.slots + n.masks + n.node + n.decisions;
}

int32_t xc_tape_reversible(const struct xc_tape *t) { return t->n_recovered; }

static enum xc_status reserve(struct xc_scratch *s, double bytes, struct xc_err *err)
{
    if (bytes > 0 && !xc_scratch_alloc(s, (size_t)bytes)) return xc_fail_nomem(err, (size_t)bytes);
    return xc_scratch_reset(s, err);
}

enum xc_status xc_tape_plan(struct xc_tape *t, const struct xc_tape_opts *opts, struct xc_err *err)
{
    struct need need;
    int32_t *last;

    XC_TRY(find_wants(t, err));
    XC_TRY(plan_gradients(t, err));
    last = xc_calloc((size_t)t->g->n_values + 1, sizeof *last);
    if (!last) return xc_fail_nomem(err, (size_t)t->g->n_values * sizeof *last);
    for (int32_t v = 0; v < t->g->n_values; v++) last[v] = last_reader(t->g, v);
    plan_segments(t, last, opts->segment);
    xc_free(last);
    if (opts->rows <= 0) return XC_OK;
    need = needs(t, opts->rows, opts->sequences);
    XC_TRY(reserve(&t->run->values, need.kept, err));
    XC_TRY(reserve(&t->inner, need.inner, err));
    XC_TRY(reserve(&t->decisions, need.decisions, err));
    return reserve(&t->memory, need.slots, err);
}
