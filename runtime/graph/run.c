/* run: executing a graph node by node: the meaning of the IR. See run.h. */
#include "runtime/graph/run.h"

#include <string.h>

/* ---- scratch ---- */
struct overflow {
    struct overflow *next;
    size_t bytes;
};

void *xc_scratch_alloc(struct xc_scratch *s, size_t bytes)
{
    size_t need;
    uint8_t *p;
    struct overflow *o;

    if (!xc_round_up_ok(&need, bytes ? bytes : 1, XC_ALIGN)) return NULL;
    if (need <= s->size - s->used) {
        p = s->block + s->used;
        s->used += need;
        return p;
    }
    if (need > SIZE_MAX - XC_ALIGN) return NULL;
    o = xc_alloc_aligned(need + XC_ALIGN);
    if (!o) return NULL;
    o->next = s->overflow;
    o->bytes = need;
    s->overflow = o;
    s->overflow_bytes += need;
    return (uint8_t *)o + XC_ALIGN;
}

static void free_overflow(struct xc_scratch *s)
{
    struct overflow *o = s->overflow;

    while (o) {
        struct overflow *next = o->next;

        xc_free(o);
        o = next;
    }
    s->overflow = NULL;
}

enum xc_status xc_scratch_reset(struct xc_scratch *s, struct xc_err *err)
{
    s->used = 0;
    if (s->overflow_bytes) { /* one block for all that was asked for since the last reset */
        const size_t size = s->size + s->overflow_bytes;

        free_overflow(s);
        s->overflow_bytes = 0;
        xc_free(s->block);
        s->size = 0;
        s->block = xc_alloc_aligned(size);
        if (!s->block) return xc_fail_nomem(err, size);
        s->size = size;
    }
    return XC_OK;
}

void xc_scratch_release(struct xc_scratch *s)
{
    free_overflow(s);
    xc_free(s->block);
    *s = (struct xc_scratch){ 0 };
}

struct xc_scratch_mark xc_scratch_save(const struct xc_scratch *s) { return (struct xc_scratch_mark){ .used = s->used, .overflow = s->overflow }; }

/* Overflow blocks stay until the reset, which turns them into room. */
void xc_scratch_restore(struct xc_scratch *s, struct xc_scratch_mark mark) { s->used = mark.used; }

void *xc_run_scratch(struct xc_run *run, size_t bytes) { return xc_scratch_alloc(&run->node, bytes); }

/* ---- states ---- */
enum xc_status xc_state_sequences(struct xc_state_store *st, int32_t n_seq, struct xc_err *err)
{
    size_t cap = (size_t)st->cap_seq;

    if (n_seq <= st->n_seq) return XC_OK;
    XC_TRY(xc_grow((void **)&st->seq, &cap, (size_t)n_seq, sizeof *st->seq, err));
    st->cap_seq = (int32_t)cap;
    memset(&st->seq[st->n_seq], 0, (size_t)(n_seq - st->n_seq) * sizeof *st->seq);
    st->n_seq = n_seq;
    return XC_OK;
}

enum xc_status xc_state_room(struct xc_state_store *st, int32_t seq, int64_t rows, struct xc_err *err)
{
    struct xc_state_seq *s = &st->seq[seq];
    size_t cap = (size_t)s->cap;

    if (rows <= s->cap) return XC_OK;
    XC_TRY(xc_grow(&s->rows, &cap, (size_t)rows, (size_t)st->decl->cols * 4, err));
    s->cap = (int64_t)cap;
    return XC_OK;
}

void xc_run_clear_states(struct xc_run *run)
{
    for (int32_t i = 0; i < run->model->n_states; i++) {
        for (int32_t s = 0; s < run->states[i].n_seq; s++) run->states[i].seq[s].n = 0;
    }
}

/* ---- the run ---- */
enum xc_status xc_run_new(struct xc_run **out, const struct xc_model *model, const struct xc_kernels *kern, struct xc_pool *pool, struct xc_err *err)
{
    struct xc_run *run = xc_calloc(1, sizeof *run);

    *out = NULL;
    if (!run) return xc_fail_nomem(err, sizeof *run);
    run->model = model;
    run->kern = kern ? kern : xc_kernels();
    run->pool = pool;
    run->states = xc_calloc((size_t)model->n_states + 1, sizeof *run->states);
    if (!run->states) {
        xc_free(run);
        return xc_fail_nomem(err, (size_t)model->n_states * sizeof *run->states);
    }
    for (int32_t i = 0; i < model->n_states; i++) run->states[i].decl = &model->states[i];
    *out = run;
    return XC_OK;
}

void xc_run_free(struct xc_run **run)
{
    struct xc_run *r = *run;

    *run = NULL;
    if (!r) return;
    for (int32_t i = 0; i < r->model->n_states; i++) {
        for (int32_t s = 0; s < r->states[i].n_seq; s++) xc_free(r->states[i].seq[s].rows);
        xc_free(r->states[i].seq);
    }
    xc_scratch_release(&r->node);
    xc_scratch_release(&r->values);
    xc_free(r->states);
    xc_free(r->spaces);
    xc_free(r->views);
    xc_free(r->start);
    xc_free(r);
}

/* Rows that the nodes of this run will append to state `id`, per sequence: from the row space of what is appended. */
static int32_t appended_space(const struct xc_graph *g, int32_t id)
{
    for (int32_t n = 0; n < g->n_nodes; n++)
        if (!strcmp(g->nodes[n].op->name, "state_append") && g->nodes[n].in[1].id == id) return g->values[g->nodes[n].in[0].id].space;
    return -1;
}

static int64_t space_rows(const struct xc_run *run, const struct xc_graph *g, int32_t space, int32_t seq)
{
    const struct xc_space *s = &g->spaces[space];
    const struct xc_ragged *base = s->base >= 0 ? &run->spaces[s->base] : NULL;

    if (s->map == XC_MAP_SEQUENCE) return 1;
    if (s->map == XC_MAP_FIXED) return s->k;
    if (s->map == XC_MAP_STRIDED) {
        const int64_t n = base->start[seq + 1] - base->start[seq] + (int64_t)s->pad_left + s->pad_right - s->kernel;

        return n < 0 ? 0 : n / s->stride + 1;
    }
    if (s->map == XC_MAP_STATE) {
        const int32_t from = appended_space(g, s->state);
        const struct xc_state_store *st = &run->states[s->state];
        const int64_t held = seq < st->n_seq ? st->seq[seq].n : 0;

        return held + (from >= 0 ? run->spaces[from].start[seq + 1] - run->spaces[from].start[seq] : 0);
    }
    return base->start[seq + 1] - base->start[seq]; /* SUBSET: at most */
}

enum xc_status xc_run_offsets(struct xc_run *run, const struct xc_graph *g, const struct xc_ragged *inputs, int32_t n_inputs, struct xc_err *err)
{
    const int32_t n_seq = n_inputs > 0 ? inputs[0].n_seq : 0;
    size_t stride, total;
    int32_t next = 0;

    if (n_seq < 0 || !xc_add_ok(&stride, (size_t)n_seq, 1) || !xc_mul_ok(&total, stride, (size_t)g->n_spaces))
        return xc_fail(err, XC_E_RANGE, "a run of %d sequences", n_seq);
    XC_TRY(xc_grow((void **)&run->spaces, &run->cap_spaces, (size_t)g->n_spaces, sizeof *run->spaces, err));
    XC_TRY(xc_grow((void **)&run->views, &run->cap_views, (size_t)g->n_values, sizeof *run->views, err));
    XC_TRY(xc_grow((void **)&run->start, &run->cap_start, total, sizeof *run->start, err));
    for (int32_t i = 0; i < g->n_spaces; i++) {
        int32_t *start = run->start + (size_t)i * stride;
        int64_t rows = 0;

        run->spaces[i] = (struct xc_ragged){ .start = start, .n_seq = n_seq };
        start[0] = 0;
        if (g->spaces[i].map == XC_MAP_INPUT) {
            if (next == n_inputs || inputs[next].n_seq != n_seq)
                return xc_fail(err, XC_E_ARG, "graph '%s' takes more input row spaces than the %d given, or they differ in sequences", g->name, n_inputs);
            for (int32_t s = 0; s < n_seq; s++) start[s + 1] = inputs[next].start[s + 1] - inputs[next].start[0];
            next++;
            continue;
        }
        for (int32_t s = 0; s < n_seq; s++) {
            rows += space_rows(run, g, i, s);
            if (rows > INT32_MAX) return xc_fail(err, XC_E_RANGE, "row space '%s' passes %d rows; split the batch", g->spaces[i].name, INT32_MAX);
            start[s + 1] = (int32_t)rows;
        }
    }
    if (next != n_inputs) return xc_fail(err, XC_E_ARG, "graph '%s' takes %d input row spaces, %d given", g->name, next, n_inputs);
    for (int32_t v = 0; v < g->n_values; v++) {
        const struct xc_ragged *rag = &run->spaces[g->values[v].space];

        run->views[v] = (struct xc_view){ .rows = rag->start[n_seq], .cols = g->values[v].cols, .rag = rag };
    }
    return XC_OK;
}

enum xc_status xc_run_node(struct xc_run *run, const struct xc_graph *g, const struct xc_node *node, struct xc_err *err)
{
    const struct xc_scratch_mark mark = xc_scratch_save(&run->node);
    struct xc_op_ctx c = { .graph = g, .node = node, .attr = node->attr, .kern = run->kern, .pool = run->pool, .run = run };
    enum xc_status status;

    for (int32_t i = 0; i < node->n_in; i++) {
        if (node->in[i].kind == XC_REF_VALUE) c.in[i] = &run->views[node->in[i].id];
        if (node->in[i].kind != XC_REF_TENSOR) continue;
        c.tensor[i] = g->model->tensors[node->in[i].id];
        if (!c.tensor[i]->part[XC_PART_DATA]) return xc_fail(err, XC_E_ARG, "tensor '%s' is not loaded", c.tensor[i]->name);
    }
    for (int32_t i = 0; i < node->n_out; i++) {
        struct xc_view *view = &run->views[node->out[i]];
        size_t bytes;

        if (!xc_mul_ok(&bytes, (size_t)view->rows, (size_t)view->cols) || !xc_mul_ok(&bytes, bytes, 4)) return xc_fail(err, XC_E_RANGE, "node '%s' makes too much", node->name);
        if (!view->data) view->data = xc_scratch_alloc(&run->values, bytes);
        if (!view->data) return xc_fail_nomem(err, bytes);
        c.out[i] = view;
    }
    status = node->op->forward(&c, err);
    if (status == XC_OK && run->observe) run->observe(run->observe_arg, &c);
    xc_scratch_restore(&run->node, mark);
    return status;
}

enum xc_status xc_run_graph(struct xc_run *run, const struct xc_graph *g, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces,
                            struct xc_view *out, struct xc_err *err)
{
    XC_TRY(xc_scratch_reset(&run->values, err));
    XC_TRY(xc_scratch_reset(&run->node, err));
    XC_TRY(xc_run_offsets(run, g, spaces, n_spaces, err));
    for (int32_t i = 0; i < g->n_inputs; i++) {
        struct xc_view *view = &run->views[g->inputs[i]];

        if (in[i].rows != view->rows || in[i].cols != view->cols)
            return xc_fail(err, XC_E_SHAPE, "input '%s' is %lld x %lld, must be %lld x %lld", g->values[g->inputs[i]].name, (long long)in[i].rows,
                           (long long)in[i].cols, (long long)view->rows, (long long)view->cols);
        view->data = in[i].data;
    }
    for (int32_t n = 0; n < g->n_nodes; n++) XC_TRY(xc_run_node(run, g, &g->nodes[n], err));
    for (int32_t i = 0; i < g->n_outputs; i++) out[i] = run->views[g->outputs[i]];
    return XC_OK;
}
