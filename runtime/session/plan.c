/* plan: from nodes to fused steps, segments and storage. See plan.h and steps.h.
 *
 * Fusions, each of which keeps the order of operations of the unfused nodes:
 *   linear + unary           -> activation in the GEMM's epilogue
 *   add + layer_norm         -> the norm reads both operands
 *   add of a gather          -> the gather accumulates into the other operand
 *   norm -> int8 linear      -> the norm writes the quantized rows too
 *   scale -> quantization    -> the quantization multiplies, or the norm in front of it
 * Nodes that no rule knows run as they are, through xc_run_node. */
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/grouped.h"
#include "runtime/graph/ops/gemm.h"
#include "runtime/session/steps.h"

#include <string.h>

static bool is(const struct xc_node *node, const char *op) { return strcmp(node->op->name, op) == 0; }

/* ---- uses of values ---- */
struct uses {
    int32_t count; /* consumers, a graph output counting as one */
    int32_t node;  /* the last consumer; -1 = a graph output */
};

static enum xc_status count_uses(const struct xc_graph *g, struct uses **out, struct xc_err *err)
{
    struct uses *uses = xc_calloc((size_t)g->n_values + 1, sizeof *uses);

    *out = uses;
    if (!uses) return xc_fail_nomem(err, (size_t)g->n_values * sizeof *uses);
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++)
            if (g->nodes[n].in[i].kind == XC_REF_VALUE) {
                uses[g->nodes[n].in[i].id].count++;
                uses[g->nodes[n].in[i].id].node = n;
            }
    for (int32_t i = 0; i < g->n_outputs; i++) {
        uses[g->outputs[i]].count++;
        uses[g->outputs[i]].node = -1;
    }
    return XC_OK;
}

/* The one node that consumes value v and is an `op`; -1 when there are others or none. */
static int32_t sole_consumer(const struct xc_graph *g, const struct uses *uses, int32_t v, const char *op)
{
    if (uses[v].count != 1 || uses[v].node < 0 || !is(&g->nodes[uses[v].node], op)) return -1;
    return uses[v].node;
}

/* ---- weights ---- */
static enum xc_status own(struct xc_plan *p, void **out, size_t bytes, struct xc_err *err)
{
    XC_TRY(xc_grow((void **)&p->owned, &p->cap_owned, p->n_owned + 1, sizeof *p->owned, err));
    *out = xc_alloc_aligned(bytes);
    if (!*out) return xc_fail_nomem(err, bytes);
    p->owned[p->n_owned++] = *out;
    return XC_OK;
}

/* The bytes of a tensor as f32, in place where they are. Padded to 16 floats: buffers and file sections are. */
static enum xc_status f32_of(struct xc_plan *p, const float **out, const struct xc_tensor *t, struct xc_err *err)
{
    void *copy = NULL;
    size_t bytes;

    if (t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS && t->part[XC_PART_DATA]) {
        *out = (const float *)(const void *)t->part[XC_PART_DATA]->data;
        return XC_OK;
    }
    if (!xc_mul_ok(&bytes, (size_t)xc_round_up(xc_tensor_count(t), 16), sizeof(float)))
        return xc_fail(err, XC_E_RANGE, "tensor '%s' is too large", t->name);
    XC_TRY(own(p, &copy, bytes, err));
    memset(copy, 0, bytes);
    XC_TRY(xc_tensor_to_f32(t, copy, err));
    *out = copy;
    return XC_OK;
}

static enum xc_status prepare_attention(struct xc_plan *p, struct step *s, struct xc_err *err)
{
    const struct xc_attention_kind *kind = xc_attention_kinds[((const struct xc_attr_attention *)s->node->attr)->kind];
    const size_t bytes = kind->prepared_bytes ? kind->prepared_bytes(p->graph->model, s->node) : 0;
    void *room = NULL;

    if (!bytes) return XC_OK;
    XC_TRY(own(p, &room, bytes, err));
    s->prepared = room;
    return kind->prepare(room, p->graph->model, s->node, p->kern, err);
}

static enum xc_status pack_f32(struct xc_plan *p, struct step *s, const struct xc_tensor *t, struct xc_err *err)
{
    const size_t bytes = xc_panel_f32_bytes(s->N, s->K), raw_bytes = (size_t)xc_tensor_count(t) * sizeof(float);
    const float *rows = NULL;
    float *raw = NULL;
    void *packed = NULL;
    enum xc_status status = XC_OK;

    if (t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS) {
        rows = (const float *)(const void *)t->part[XC_PART_DATA]->data;
    } else {
        raw = xc_alloc_aligned(raw_bytes);
        if (!raw) return xc_fail_nomem(err, raw_bytes);
        status = xc_tensor_to_f32(t, raw, err);
        rows = raw;
    }
    if (status == XC_OK) status = own(p, &packed, bytes, err);
    if (status == XC_OK) {
        xc_pack_panel_f32(packed, rows, s->N, s->K);
        s->w = packed;
    }
    xc_free(raw);
    return status;
}

/* Weights in groups: as the file has them, or repacked. */
static enum xc_status set_groups(struct xc_plan *p, struct step *s, const struct xc_tensor *t, bool affine, struct xc_err *err)
{
    struct xc_gemm_s4 g = { 0 };
    void *memory = NULL, *sums = NULL;
    size_t bytes;

    XC_TRY(xc_grouped_panel_bytes(&bytes, t, err));
    if (bytes) XC_TRY(own(p, &memory, bytes, err));
    XC_TRY(xc_grouped_panel(&g, memory, t, err));
    s->w = g.w;
    s->group = g.group;
    s->group_scale = g.scale;
    s->group_zero = g.zero;
    s->group_unit = g.unit;
    s->group_bytes = g.bytes;
    if (!affine) return XC_OK;
    XC_TRY(own(p, &sums, (size_t)xc_round_up(s->N, 16) * sizeof(float), err));
    xc_panel_s4_sums(sums, &g);
    s->group_w_sum = sums;
    return XC_OK;
}

static enum xc_status lay_compact(struct xc_plan *p, struct step *s, const struct xc_tensor *t, struct xc_err *err)
{
    size_t bytes, list_bytes;
    void *w = NULL, *lists = NULL;

    xc_gemm_compact_bytes(&bytes, &list_bytes, p->kern, t);
    XC_TRY(own(p, &w, bytes, err));
    if (list_bytes) XC_TRY(own(p, &lists, list_bytes, err));
    xc_gemm_compact_lay(w, lists, p->kern, t);
    s->w = w;
    s->w_index = lists;
    return XC_OK;
}

static enum xc_status set_weight(struct xc_plan *p, struct step *s, const struct xc_tensor *t, const struct xc_range *range, struct xc_err *err)
{
    s->N = xc_tensor_rows(t);
    s->K = xc_tensor_cols(t);
    s->int8 = (t->enc.format == XC_FMT_S8 || xc_is_grouped(&t->enc)) && range->mode != XC_RANGE_NONE;
    s->sum16 = t->enc.sum16;
    if (s->int8 && xc_is_grouped(&t->enc)) return set_groups(p, s, t, range->mode == XC_RANGE_AFFINE, err);
    if (!s->int8 && t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_PANEL16) {
        s->w = t->part[XC_PART_DATA]->data;
        return XC_OK;
    }
    if (!s->int8) return pack_f32(p, s, t, err);
    if (xc_gemm_is_compact(t)) {
        XC_TRY(lay_compact(p, s, t, err));
    } else if (t->enc.layout == XC_LAYOUT_PANEL16) {
        s->w = t->part[XC_PART_DATA]->data;
        s->w_index = t->part[XC_PART_INDEX] ? t->part[XC_PART_INDEX]->data : NULL;
    } else {
        void *packed = NULL;

        XC_TRY(own(p, &packed, xc_panel_s8_bytes(s->N, s->K), err));
        xc_pack_panel_s8(packed, (const int8_t *)t->part[XC_PART_DATA]->data, s->N, s->K);
        s->w = packed;
    }
    s->gemm_s8 = xc_gemm_s8_kernel(p->kern, t);
    s->w_scale = (const float *)(const void *)t->part[XC_PART_SCALE]->data;
    if (range->mode == XC_RANGE_AFFINE) {
        void *sums = NULL;

        XC_TRY(own(p, &sums, (size_t)xc_round_up(s->N, 16) * sizeof *s->w_sum, err));
        xc_gemm_s8_sums(sums, s->w, p->kern, t);
        s->w_sum = sums;
    }
    return XC_OK;
}

/* What the fused kernels know of a weight; anything else runs as a plain node. */
static bool weight_known(const struct xc_tensor *t)
{
    if (xc_is_grouped(&t->enc)) return t->part[XC_PART_DATA] != NULL && xc_grouped_gemm(&t->enc);
    if (t->enc.group || t->enc.zero_point || t->enc.perm_rows || t->enc.perm_cols) return false;
    if (!t->part[XC_PART_DATA]) return false;
    if (t->enc.format == XC_FMT_S8)
        return t->enc.scale_format == XC_FMT_F32 && t->part[XC_PART_SCALE] != NULL;
    return t->enc.format == XC_FMT_F32 || t->enc.format == XC_FMT_F16 || t->enc.format == XC_FMT_BF16;
}

/* ---- steps ---- */
enum xc_status new_step(struct xc_plan *p, struct step **out, const struct step_type *type, const struct xc_node *node, int32_t value,
                        struct xc_err *err)
{
    XC_TRY(xc_grow((void **)&p->steps, &p->cap_steps, p->n_steps + 1, sizeof *p->steps, err));
    *out = &p->steps[p->n_steps++];
    **out = (struct step){ .type = type, .node = node, .space = value >= 0 ? p->graph->values[value].space : -1, .in = { -1, -1, -1, -1 }, .out = value,
                           .q_in = -1, .q_out = -1 };
    return XC_OK;
}

static const struct xc_tensor *tensor_in(const struct xc_graph *g, const struct xc_node *n, int i)
{
    return i < n->n_in && n->in[i].kind == XC_REF_TENSOR ? g->model->tensors[n->in[i].id] : NULL;
}

static enum xc_status add_linear(struct xc_plan *p, const struct uses *uses, int32_t n, bool *done, struct xc_err *err)
{
    const struct xc_graph *g = p->graph;
    const struct xc_node *node = &g->nodes[n];
    const struct xc_tensor *w = tensor_in(g, node, 1), *b = tensor_in(g, node, 2);
    const int32_t unary = sole_consumer(g, uses, node->out[0], "unary");
    struct step *s = NULL;

    XC_TRY(new_step(p, &s, &step_linear, node, node->out[0], err));
    s->in[0] = value_in(node, 0);
    if (unary >= 0) {
        s->act = (enum xc_act)((const struct xc_attr_unary *)g->nodes[unary].attr)->fn;
        s->out = g->nodes[unary].out[0];
        done[unary] = true;
    }
    if (b) XC_TRY(f32_of(p, &s->bias, b, err));
    return set_weight(p, s, w, &node->in[0].range, err);
}

static enum xc_status add_norm(struct xc_plan *p, int32_t n, const int32_t *fused_add, struct xc_err *err)
{
    const struct xc_graph *g = p->graph;
    const struct xc_node *node = &g->nodes[n];
    const struct xc_tensor *gain = tensor_in(g, node, 1), *bias = tensor_in(g, node, 2);
    struct step *s = NULL;

    XC_TRY(new_step(p, &s, &step_norm, node, node->out[0], err));
    s->in[0] = value_in(node, 0);
    if (fused_add[n] >= 0) {
        s->in[0] = value_in(&g->nodes[fused_add[n]], 0);
        s->in[1] = value_in(&g->nodes[fused_add[n]], 1);
    }
    s->eps = ((const struct xc_attr_norm *)node->attr)->eps;
    s->rms = is(node, "rms_norm");
    XC_TRY(f32_of(p, &s->gain, gain, err));
    return bias ? f32_of(p, &s->bias, bias, err) : XC_OK;
}

/* A gather that is only added to another value accumulates into it; the add's value then shares that value's storage. */
static int32_t gather_into(const struct xc_graph *g, const struct uses *uses, int32_t n, int32_t *other)
{
    const int32_t add = sole_consumer(g, uses, g->nodes[n].out[0], "add");
    int32_t a, b;

    if (add < 0) return -1;
    a = value_in(&g->nodes[add], 0);
    b = value_in(&g->nodes[add], 1);
    *other = a == g->nodes[n].out[0] ? b : a;
    if (a == b || *other < 0 || uses[*other].count != 1) return -1;
    /* the other operand must be made by an earlier node, and lie where we may write */
    if (g->values[*other].node < 0 || g->values[*other].node >= n || g->values[*other].cols != g->values[g->nodes[n].out[0]].cols) return -1;
    return add;
}

/* Finds adds that a norm will swallow: fused_add[norm] = add. */
static void find_fused_adds(const struct xc_graph *g, const struct uses *uses, int32_t *fused_add, bool *done)
{
    for (int32_t n = 0; n < g->n_nodes; n++) {
        fused_add[n] = -1;
        if (!is(&g->nodes[n], "layer_norm") && !is(&g->nodes[n], "rms_norm")) continue;
        const int32_t v = value_in(&g->nodes[n], 0), add = v >= 0 ? g->values[v].node : -1;

        if (add < 0 || done[add] || !is(&g->nodes[add], "add") || uses[v].count != 1) continue;
        const int32_t a = value_in(&g->nodes[add], 0), b = value_in(&g->nodes[add], 1);

        if (a < 0 || b < 0 || g->values[a].cols != g->values[b].cols) continue;
        fused_add[n] = add;
        done[add] = true;
    }
}

static bool linear_known(const struct xc_graph *g, const struct xc_node *node)
{
    const struct xc_tensor *w = tensor_in(g, node, 1);

    return value_in(node, 0) >= 0 && w && weight_known(w) && (node->n_in < 3 || node->in[2].kind != XC_REF_VALUE);
}

static enum xc_status add_node(struct xc_plan *p, const struct uses *uses, int32_t n, const int32_t *fused_add, bool *done, struct xc_err *err)
{
    const struct xc_graph *g = p->graph;
    const struct xc_node *node = &g->nodes[n];
    struct xc_table table;
    struct step *s = NULL;

    if (is(node, "gather") && value_in(node, 0) >= 0 && tensor_in(g, node, 1) && xc_tensor_table(&table, tensor_in(g, node, 1))) {
        int32_t other = -1;
        const int32_t add = gather_into(g, uses, n, &other);
        /* an add that a norm has swallowed keeps the gather plain: the norm reads both */
        const bool into = add >= 0 && !done[add] && p->storage[other].place == PLACE_NONE;

        XC_TRY(new_step(p, &s, &step_gather, node, into ? g->nodes[add].out[0] : node->out[0], err));
        s->in[0] = value_in(node, 0);
        s->table = table;
        s->accumulate = into;
        if (into) {
            p->storage[g->nodes[add].out[0]].root = p->storage[other].root;
            done[add] = true;
        }
        return XC_OK;
    }
    if (is(node, "linear") && linear_known(g, node)) return add_linear(p, uses, n, done, err);
    if ((is(node, "layer_norm") || is(node, "rms_norm")) && tensor_in(g, node, 1)) return add_norm(p, n, fused_add, err);
    if (is(node, "unary")) {
        XC_TRY(new_step(p, &s, &step_unary, node, node->out[0], err));
        s->in[0] = value_in(node, 0);
        s->act = (enum xc_act)((const struct xc_attr_unary *)node->attr)->fn;
        return XC_OK;
    }
    if ((is(node, "add") || is(node, "mul")) && value_in(node, 0) >= 0 && value_in(node, 1) >= 0 &&
        g->values[value_in(node, 0)].space == g->values[value_in(node, 1)].space &&
        g->values[value_in(node, 0)].cols == g->values[value_in(node, 1)].cols) {
        XC_TRY(new_step(p, &s, is(node, "add") ? &step_add : &step_mul, node, node->out[0], err));
        s->in[0] = value_in(node, 0);
        s->in[1] = value_in(node, 1);
        return XC_OK;
    }
    if (is(node, "scale") && tensor_in(g, node, 1)) {
        XC_TRY(new_step(p, &s, &step_scale, node, node->out[0], err));
        s->in[0] = value_in(node, 0);
        return f32_of(p, &s->gain, tensor_in(g, node, 1), err);
    }
    if (is(node, "l2_normalize")) {
        XC_TRY(new_step(p, &s, &step_l2, node, node->out[0], err));
        s->in[0] = value_in(node, 0);
        s->eps = ((const struct xc_attr_l2 *)node->attr)->eps;
        return XC_OK;
    }
    if (is(node, "pool")) {
        XC_TRY(new_step(p, &s, &step_pool, node, node->out[0], err));
        s->in[0] = value_in(node, 0);
        return XC_OK;
    }
    if (is(node, "attention") && ((const struct xc_attr_attention *)node->attr)->kind == 0 && value_in(node, 2) >= 0 &&
        (node->n_in < 4 || node->in[3].kind == XC_REF_NONE)) {
        XC_TRY(new_step(p, &s, &step_attention, node, node->out[0], err));
        for (int i = 0; i < 3; i++) s->in[i] = value_in(node, i);
        return XC_OK;
    }
    XC_TRY(new_step(p, &s, &step_node, node, node->n_out ? node->out[0] : -1, err));
    if (is(node, "attention")) XC_TRY(prepare_attention(p, s, err));
    for (int i = 0; i < node->n_out; i++) p->storage[node->out[i]].place = PLACE_NODE;
    return XC_OK;
}

/* ---- storage ---- */
struct life {
    int32_t first_seg, last_seg, first_step, last_step;
    bool seen;
};

static void touch(struct life *l, int32_t seg, int32_t step)
{
    if (!l->seen) *l = (struct life){ .first_seg = seg, .first_step = step, .seen = true };
    l->last_seg = seg;
    l->last_step = step;
}

/* First-fit places in a segment's block memory: bytes per row, reused when the first owner's life is over. */
struct local_place {
    size_t offset, bytes;
    int32_t last;
};

static enum xc_status place_local(struct local_place **places, size_t *n, size_t *cap, size_t *row_bytes, size_t bytes, int32_t first, int32_t last,
                                  size_t *offset, struct xc_err *err)
{
    for (size_t i = 0; i < *n; i++)
        if ((*places)[i].bytes == bytes && (*places)[i].last < first) {
            (*places)[i].last = last;
            *offset = (*places)[i].offset;
            return XC_OK;
        }
    XC_TRY(xc_grow((void **)places, cap, *n + 1, sizeof **places, err));
    *offset = *row_bytes;
    (*places)[(*n)++] = (struct local_place){ .offset = *row_bytes, .bytes = bytes, .last = last };
    *row_bytes += bytes;
    return XC_OK;
}

static enum xc_status place_global(struct xc_plan *p, int32_t value, const struct life *l, struct xc_err *err)
{
    const struct xc_value *v = &p->graph->values[value];
    struct storage *st = &p->storage[value];

    st->place = PLACE_GLOBAL;
    for (size_t i = 0; i < p->n_slots; i++)
        if (p->slots[i].space == v->space && p->slots[i].cols == v->cols && p->slots[i].last < l->first_seg) {
            p->slots[i].last = l->last_seg;
            st->slot = (int32_t)i;
            return XC_OK;
        }
    XC_TRY(xc_grow((void **)&p->slots, &p->cap_slots, p->n_slots + 1, sizeof *p->slots, err));
    st->slot = (int32_t)p->n_slots;
    p->slots[p->n_slots++] = (struct slot){ .space = v->space, .cols = v->cols, .last = l->last_seg };
    return XC_OK;
}

static void live_steps(struct xc_plan *p, struct life *life)
{
    for (size_t seg = 0; seg < p->n_segments; seg++)
        for (int32_t i = p->segments[seg].first; i < p->segments[seg].first + p->segments[seg].n; i++) {
            const struct step *s = &p->steps[i];

            if (s->type == &step_node) {
                for (int k = 0; k < s->node->n_in; k++)
                    if (value_in(s->node, k) >= 0) touch(&life[p->storage[value_in(s->node, k)].root], (int32_t)seg, i);
            } else {
                for (int k = 0; k < 4; k++)
                    if (s->in[k] >= 0) touch(&life[p->storage[s->in[k]].root], (int32_t)seg, i);
                if (s->out >= 0) touch(&life[p->storage[s->out].root], (int32_t)seg, i);
            }
            if (s->q_out >= 0) p->qvalues[s->q_out].first = p->qvalues[s->q_out].last = i;
            if (s->q_in >= 0) p->qvalues[s->q_in].last = i;
        }
    for (int32_t i = 0; i < p->graph->n_outputs; i++) touch(&life[p->storage[p->graph->outputs[i]].root], (int32_t)p->n_segments, INT32_MAX);
}

static enum xc_status assign_storage(struct xc_plan *p, struct xc_err *err)
{
    const struct xc_graph *g = p->graph;
    struct life *life = xc_calloc((size_t)g->n_values + 1, sizeof *life);
    struct local_place *places = NULL;
    size_t n_places = 0, cap_places = 0;
    enum xc_status status = XC_OK;

    if (!life) return xc_fail_nomem(err, (size_t)g->n_values * sizeof *life);
    live_steps(p, life);
    for (size_t seg = 0; seg < p->n_segments; seg++) {
        n_places = 0;
        for (int32_t i = p->segments[seg].first; i < p->segments[seg].first + p->segments[seg].n; i++) {
            const struct step *s = &p->steps[i];

            if (s->out >= 0 && s->type != &step_node) {
                const int32_t root = p->storage[s->out].root;
                const struct life *l = &life[root];

                if (p->storage[root].place == PLACE_NONE) {
                    if (p->segments[seg].local && l->first_seg == l->last_seg) {
                        p->storage[root].place = PLACE_LOCAL;
                        XC_TRY_GOTO(place_local(&places, &n_places, &cap_places, &p->segments[seg].row_bytes,
                                                local_row_bytes(g->values[root].cols), l->first_step, l->last_step,
                                                &p->storage[root].offset, err), out);
                    } else {
                        XC_TRY_GOTO(place_global(p, root, l, err), out);
                    }
                }
            }
            if (s->q_out >= 0) {
                struct qvalue *q = &p->qvalues[s->q_out];

                /* rows, then a cache line's share for scale and sum: 64 bytes a row keeps every part aligned */
                XC_TRY_GOTO(place_local(&places, &n_places, &cap_places, &p->segments[seg].row_bytes, (size_t)q->ld + XC_ALIGN, q->first, q->last,
                                        &q->offset, err), out);
            }
        }
    }
    for (int32_t v = 0; v < g->n_values; v++) {
        const int32_t root = p->storage[v].root;

        if (root != v) p->storage[v] = (struct storage){ .root = root, .place = p->storage[root].place, .slot = p->storage[root].slot, .offset = p->storage[root].offset };
    }
out:
    xc_free(places);
    xc_free(life);
    return status;
}

static enum xc_status build(struct xc_plan *p, struct uses *uses, int32_t *fused_add, bool *done, struct xc_err *err)
{
    const struct xc_graph *g = p->graph;

    for (int32_t v = 0; v < g->n_values; v++) p->storage[v] = (struct storage){ .root = v };
    for (int32_t i = 0; i < g->n_inputs; i++) p->storage[g->inputs[i]].place = PLACE_INPUT;
    find_fused_adds(g, uses, fused_add, done);
    for (int32_t n = 0; n < g->n_nodes; n++)
        if (!done[n]) XC_TRY(add_node(p, uses, n, fused_add, done, err));
    XC_TRY(add_quantized(p, err));
    fold_scales(p);
    return assign_storage(p, err);
}

enum xc_status xc_plan_new(struct xc_plan **out, const struct xc_graph *graph, const struct xc_kernels *kern, struct xc_err *err)
{
    struct xc_plan *p = xc_calloc(1, sizeof *p);
    struct uses *uses = NULL;
    int32_t *fused_add = xc_calloc((size_t)graph->n_nodes + 1, sizeof *fused_add);
    bool *done = xc_calloc((size_t)graph->n_nodes + 1, sizeof *done);
    enum xc_status status = XC_OK;

    *out = NULL;
    if (!p || !fused_add || !done) {
        status = xc_fail_nomem(err, sizeof *p);
        goto out;
    }
    p->graph = graph;
    p->kern = kern;
    p->storage = xc_calloc((size_t)graph->n_values + 1, sizeof *p->storage);
    if (!p->storage) {
        status = xc_fail_nomem(err, (size_t)graph->n_values * sizeof *p->storage);
        goto out;
    }
    XC_TRY_GOTO(count_uses(graph, &uses, err), out);
    XC_TRY_GOTO(build(p, uses, fused_add, done, err), out);
    *out = p;
    p = NULL;
out:
    xc_plan_free(&p);
    xc_free(uses);
    xc_free(fused_add);
    xc_free(done);
    return status;
}

void xc_plan_free(struct xc_plan **plan)
{
    struct xc_plan *p = *plan;

    *plan = NULL;
    if (!p) return;
    for (size_t i = 0; i < p->n_owned; i++) xc_free(p->owned[i]);
    xc_free(p->owned);
    xc_free(p->steps);
    xc_free(p->segments);
    xc_free(p->qvalues);
    xc_free(p->storage);
    xc_free(p->slots);
    xc_free(p);
}

enum xc_status xc_plan_run(const struct xc_plan *p, struct xc_run *run, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces,
                           struct xc_view *out, struct xc_err *err)
{
    const struct xc_graph *g = p->graph;
    enum xc_status status = XC_OK;
    uint8_t **slot_data;

    XC_TRY(xc_run_begin(run, g, in, spaces, n_spaces, err));
    slot_data = xc_scratch_alloc(&run->values, (p->n_slots + 1) * sizeof *slot_data);
    if (!slot_data) return xc_fail_nomem(err, p->n_slots * sizeof *slot_data);
    for (size_t i = 0; i < p->n_slots; i++) {
        const struct xc_ragged *rag = &run->spaces[p->slots[i].space];
        const size_t bytes = (size_t)rag->start[rag->n_seq] * (size_t)p->slots[i].cols * sizeof(float);

        slot_data[i] = xc_scratch_alloc(&run->values, bytes + XC_ALIGN);
        if (!slot_data[i]) return xc_fail_nomem(err, bytes);
    }
    for (int32_t v = 0; v < g->n_values; v++)
        if (p->storage[v].place == PLACE_GLOBAL) run->views[v].data = slot_data[p->storage[v].slot];
    xc_pool_begin(run->pool);
    for (size_t s = 0; s < p->n_segments && status == XC_OK; s++) {
        const struct xc_scratch_mark mark = xc_scratch_save(&run->node);

        if (p->segments[s].local) status = run_segment(p, &p->segments[s], run, err);
        else status = p->steps[p->segments[s].first].type->whole(&p->steps[p->segments[s].first], p, run, err);
        xc_scratch_restore(&run->node, mark);
    }
    xc_pool_end(run->pool);
    for (int32_t i = 0; i < g->n_outputs && status == XC_OK; i++) out[i] = run->views[g->outputs[i]];
    return status;
}
