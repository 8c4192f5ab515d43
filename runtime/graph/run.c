/* run: executing a graph node by node: the meaning of the IR. See run.h. */
#include "runtime/graph/run.h"

#include <string.h>

extern const struct xc_op xc_op_gather, xc_op_linear, xc_op_state_append;

/* ---- scratch ---- */
#define SCRATCH_MIN ((size_t)64 << 10)

struct xc_scratch_block {
    struct xc_scratch_block *next;
    size_t size; /* bytes after the header, which takes XC_ALIGN */
};

static uint8_t *block_bytes(struct xc_scratch_block *b) { return (uint8_t *)b + XC_ALIGN; }

void *xc_scratch_alloc(struct xc_scratch *s, size_t bytes)
{
    struct xc_scratch_block **link = s->at ? &s->at->next : &s->first, *b;
    size_t need, size;

    if (!xc_round_up_ok(&need, bytes ? bytes : 1, XC_ALIGN) || need > SIZE_MAX / 4) return NULL;
    if (s->at && need <= s->at->size - s->used) {
        s->used += need;
        return block_bytes(s->at) + s->used - need;
    }
    while (*link && (*link)->size < need) link = &(*link)->next;
    if (!*link) { /* a block for this and for half as much again as there is: few blocks, however many requests */
        size = s->total / 2 > SCRATCH_MIN ? s->total / 2 / XC_ALIGN * XC_ALIGN : SCRATCH_MIN;
        if (size < need) size = need;
        b = xc_alloc_aligned(size + XC_ALIGN);
        if (!b) return NULL;
        xc_alloc_expect(b, size + XC_ALIGN);
        b->next = NULL;
        b->size = size;
        s->total += size;
        *link = b;
    }
    s->at = *link;
    s->used = need;
    return block_bytes(s->at);
}

enum xc_status xc_scratch_reset(struct xc_scratch *s, struct xc_err *err)
{
    (void)err;
    s->at = NULL;
    s->used = 0;
    return XC_OK;
}

void xc_scratch_release(struct xc_scratch *s)
{
    while (s->first) {
        struct xc_scratch_block *const next = s->first->next;

        xc_free(s->first);
        s->first = next;
    }
    *s = (struct xc_scratch){ 0 };
}

struct xc_scratch_mark xc_scratch_save(const struct xc_scratch *s) { return (struct xc_scratch_mark){ .at = s->at, .used = s->used }; }

void xc_scratch_restore(struct xc_scratch *s, struct xc_scratch_mark mark)
{
    s->at = mark.at;
    s->used = mark.used;
}

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

static void lazy_free_values(struct xc_run *run)
{
    for (int32_t v = 0; v < run->n_lazy_values; v++) {
        xc_free(run->lazy_values[v]);
        run->lazy_values[v] = NULL;
    }
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
    lazy_free_values(r);
    xc_free(r->lazy_values);
    xc_free(r->states);
    xc_free(r->spaces);
    xc_free(r->views);
    xc_free(r->start);
    xc_free(r);
}

/* The row space of what the graph appends to state `id`, or -1. */
static int32_t appended_space(const struct xc_graph *g, int32_t id)
{
    for (int32_t n = 0; n < g->n_nodes; n++)
        if (g->nodes[n].op == &xc_op_state_append && g->nodes[n].in[1].id == id) return g->values[g->nodes[n].in[0].id].space;
    return -1;
}

static int64_t rag_rows(const struct xc_ragged *rag, int32_t seq) { return (int64_t)rag->start[seq + 1] - rag->start[seq]; }

/* The rows of sequence `seq` in a space that follows from others; appended: see appended_space. */
static int64_t space_rows(const struct xc_run *run, const struct xc_space *s, int32_t appended, int32_t seq)
{
    switch (s->map) {
    case XC_MAP_SEQUENCE: return 1;
    case XC_MAP_FIXED: return s->k;
    case XC_MAP_STATE: {
        const struct xc_state_store *st = &run->states[s->state];

        return (seq < st->n_seq ? st->seq[seq].before : 0) + (appended >= 0 ? rag_rows(&run->spaces[appended], seq) : 0);
    }
    case XC_MAP_STRIDED: {
        const int64_t n = rag_rows(&run->spaces[s->base], seq), room = n + s->pad_left + s->pad_right - s->kernel;

        return n == 0 || room < 0 ? 0 : room / s->stride + 1;
    }
    case XC_MAP_SUBSET: /* at most: xc_run_resize says how many */
    case XC_MAP_INPUT:
    case XC_MAP_COUNT: break;
    }
    return rag_rows(&run->spaces[s->base], seq);
}

static enum xc_status derive_space(struct xc_run *run, const struct xc_graph *g, int32_t id, struct xc_err *err)
{
    const struct xc_space *s = &g->spaces[id];
    const int32_t n_seq = run->spaces[id].n_seq, appended = s->map == XC_MAP_STATE ? appended_space(g, s->state) : -1;
    int32_t *start = run->start + (size_t)id * ((size_t)n_seq + 1);
    int64_t rows = 0;

    start[0] = 0;
    for (int32_t seq = 0; seq < n_seq; seq++) {
        rows += space_rows(run, s, appended, seq);
        if (rows > INT32_MAX) return xc_fail(err, XC_E_RANGE, "row space '%s' passes %d rows; split the batch", s->name, INT32_MAX);
        start[seq + 1] = (int32_t)rows;
    }
    return XC_OK;
}

static enum xc_status input_space(struct xc_run *run, const struct xc_graph *g, int32_t id, const struct xc_ragged *in, struct xc_err *err)
{
    int32_t *start = run->start + (size_t)id * ((size_t)in->n_seq + 1);

    if (in->start[0] < 0) return xc_fail(err, XC_E_ARG, "row space '%s' starts at row %d", g->spaces[id].name, in->start[0]);
    start[0] = 0;
    for (int32_t seq = 0; seq < in->n_seq; seq++) {
        if (in->start[seq + 1] < in->start[seq]) return xc_fail(err, XC_E_ARG, "offsets of row space '%s' descend at sequence %d", g->spaces[id].name, seq);
        start[seq + 1] = in->start[seq + 1] - in->start[0];
    }
    return XC_OK;
}

static void size_views(struct xc_run *run, const struct xc_graph *g, int32_t first_space)
{
    for (int32_t v = 0; v < g->n_values; v++)
        if (g->values[v].space >= first_space) run->views[v].rows = run->spaces[g->values[v].space].start[run->spaces[g->values[v].space].n_seq];
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
    for (int32_t i = 0; i < run->model->n_states; i++)
        for (int32_t s = 0; s < run->states[i].n_seq; s++) run->states[i].seq[s].before = run->states[i].seq[s].n;
    for (int32_t i = 0; i < g->n_spaces; i++) {
        run->spaces[i] = (struct xc_ragged){ .start = run->start + (size_t)i * stride, .n_seq = n_seq };
        if (g->spaces[i].map != XC_MAP_INPUT) {
            XC_TRY(derive_space(run, g, i, err));
            continue;
        }
        if (next == n_inputs || inputs[next].n_seq != n_seq)
            return xc_fail(err, XC_E_ARG, "graph '%s' takes more input row spaces than the %d given, or they differ in sequences", g->name, n_inputs);
        XC_TRY(input_space(run, g, i, &inputs[next++], err));
    }
    if (next != n_inputs) return xc_fail(err, XC_E_ARG, "graph '%s' takes %d input row spaces, %d given", g->name, next, n_inputs);
    for (int32_t v = 0; v < g->n_values; v++) run->views[v] = (struct xc_view){ .cols = g->values[v].cols, .rag = &run->spaces[g->values[v].space] };
    size_views(run, g, 0);
    return XC_OK;
}

/* A subset has no more rows than its base, and never gets more again: its values have room for what they were. */
static void shrink_subset(struct xc_run *run, const struct xc_graph *g, int32_t id)
{
    const int32_t n_seq = run->spaces[id].n_seq;
    int32_t *start = run->start + (size_t)id * ((size_t)n_seq + 1), before = 0;

    for (int32_t s = 0; s < n_seq; s++) {
        const int64_t had = start[s + 1] - before;

        before = start[s + 1];
        start[s + 1] = start[s] + (int32_t)xc_min_i64(had, rag_rows(&run->spaces[g->spaces[id].base], s));
    }
}

enum xc_status xc_run_resize(struct xc_run *run, const struct xc_graph *g, int32_t space, const int32_t *start, struct xc_err *err)
{
    const int32_t n_seq = run->spaces[space].n_seq;
    int32_t *own = run->start + (size_t)space * ((size_t)n_seq + 1);

    for (int32_t s = 0; s < n_seq; s++)
        if (start[0] != 0 || start[s + 1] < start[s] || start[s + 1] - start[s] > own[s + 1] - own[s])
            return xc_fail(err, XC_E_RANGE, "row space '%s': sequence %d cannot have %d rows", g->spaces[space].name, s, start[s + 1] - start[s]);
    if (!memcmp(own, start, ((size_t)n_seq + 1) * sizeof *own)) return XC_OK; /* nodes computed again, what is behind them stays */
    memmove(own, start, ((size_t)n_seq + 1) * sizeof *own);
    for (int32_t i = space + 1; i < g->n_spaces; i++) /* only spaces over this one change */
        if (g->spaces[i].map == XC_MAP_SUBSET) shrink_subset(run, g, i);
        else if (g->spaces[i].map != XC_MAP_INPUT) XC_TRY(derive_space(run, g, i, err));
    size_views(run, g, space);
    return XC_OK;
}

/* Of a table that is gathered from, the rows that ids ask for: the others are never touched, so they take no memory. */
static enum xc_status lazy_load_rows(struct xc_tensor *t, const struct xc_view *ids, struct xc_err *err)
{
    const struct xc_encoding f32 = { .format = XC_FMT_F32 };
    const int64_t n = xc_tensor_rows(t), C = xc_tensor_cols(t);
    const int32_t *id = ids->data;
    struct xc_buf *buf = NULL;
    size_t bytes;
    enum xc_status status = XC_OK;

    XC_TRY(xc_encoding_part_bytes(&f32, n, C, XC_PART_DATA, &bytes, err));
    XC_TRY(xc_buf_new(&buf, bytes, err));
    for (int64_t r = 0; r < ids->rows && status == XC_OK; r++)
        if (id[r] >= 0 && id[r] < n) status = t->source->read_f32(t->source, t, id[r] * C, C, (float *)(void *)buf->data + id[r] * C, err); /* others: the op names them */
    if (status != XC_OK) {
        xc_buf_unref(&buf);
        return status;
    }
    t->part[XC_PART_DATA] = buf;
    t->enc = f32;
    return XC_OK;
}

/* A linear reads a plain weight panel by panel. */
static bool reads_itself(const struct xc_node *node, int32_t input, const struct xc_tensor *t) { return node->op == &xc_op_linear && input == 1 && t->source && !t->part[XC_PART_DATA]; }

/* Brings the weights of a node in (release: lets them go); *loaded has a bit for each input. */
static enum xc_status lazy_load(const struct xc_run *run, const struct xc_graph *g, const struct xc_node *node, uint32_t *loaded, struct xc_err *err)
{
    *loaded = 0;
    for (int32_t i = 0; i < node->n_in; i++) {
        struct xc_tensor *t = node->in[i].kind == XC_REF_TENSOR ? g->model->tensors[node->in[i].id] : NULL;

        if (!t || t->part[XC_PART_DATA] || reads_itself(node, i, t)) continue;
        if (node->op == &xc_op_gather && i == 1 && t->source) XC_TRY(lazy_load_rows(t, &run->views[node->in[0].id], err));
        else XC_TRY(xc_tensor_load_by(t, run->pool, err));
        *loaded |= 1u << i;
    }
    return XC_OK;
}

static void lazy_release(const struct xc_graph *g, const struct xc_node *node, uint32_t loaded)
{
    for (int32_t i = 0; i < node->n_in; i++) {
        struct xc_tensor *t = node->in[i].kind == XC_REF_TENSOR ? g->model->tensors[node->in[i].id] : NULL;

        if (t && (loaded & 1u << i)) xc_tensor_drop(t);
        for (int p = 0; t && p < XC_PART_COUNT; p++)
            if (t->part[p]) xc_buf_forget(t->part[p]);
    }
}

/* Room for what node makes: of its own in a lazy run, so that it can be freed alone. */
static void *value_alloc(struct xc_run *run, int32_t value, size_t bytes)
{
    if (value >= run->n_lazy_values) return xc_scratch_alloc(&run->values, bytes);
    xc_free(run->lazy_values[value]);
    run->lazy_values[value] = xc_alloc_aligned(bytes + XC_ALIGN); /* kernels may load whole vectors at the end */
    return run->lazy_values[value];
}

/* Values that no node from n on reads. */
static void lazy_free_dead(struct xc_run *run, const struct xc_graph *g, const struct xc_node *node, int32_t n)
{
    for (int32_t i = 0; i < node->n_in; i++) {
        bool alive = node->in[i].kind != XC_REF_VALUE;

        for (int32_t k = n; k < g->n_nodes && !alive; k++)
            for (int32_t j = 0; j < g->nodes[k].n_in; j++) alive |= g->nodes[k].in[j].kind == XC_REF_VALUE && g->nodes[k].in[j].id == node->in[i].id;
        for (int32_t k = 0; k < g->n_outputs && !alive; k++) alive = g->outputs[k] == node->in[i].id;
        if (alive) continue;
        xc_free(run->lazy_values[node->in[i].id]);
        run->lazy_values[node->in[i].id] = NULL;
    }
}

static enum xc_status run_node(struct xc_run *run, const struct xc_graph *g, const struct xc_node *node, struct xc_err *err)
{
    const struct xc_scratch_mark mark = xc_scratch_save(&run->node);
    struct xc_op_ctx c = { .graph = g, .node = node, .attr = node->attr, .kern = run->kern, .pool = run->pool, .run = run, .prepared = run->prepared };
    enum xc_status status;

    for (int32_t i = 0; i < node->n_in; i++) {
        if (node->in[i].kind == XC_REF_VALUE) c.in[i] = &run->views[node->in[i].id];
        if (node->in[i].kind != XC_REF_TENSOR) continue;
        c.tensor[i] = g->model->tensors[node->in[i].id];
        if (!c.tensor[i]->part[XC_PART_DATA] && !(run->lazy && reads_itself(node, i, c.tensor[i]))) return xc_fail(err, XC_E_ARG, "tensor '%s' is not loaded", c.tensor[i]->name);
    }
    for (int32_t i = 0; i < node->n_out; i++) {
        struct xc_view *view = &run->views[node->out[i]];
        size_t bytes;

        if (!xc_mul_ok(&bytes, (size_t)view->rows, (size_t)view->cols) || !xc_mul_ok(&bytes, bytes, 4)) return xc_fail(err, XC_E_RANGE, "node '%s' makes too much", node->name);
        if (!view->data) view->data = value_alloc(run, node->out[i], bytes);
        if (!view->data) return xc_fail_nomem(err, bytes);
        c.out[i] = view;
    }
    status = run->instead ? run->instead(run->instead_arg, &c, err) : node->op->forward(&c, err);
    if (status == XC_OK && run->observe) run->observe(run->observe_arg, &c);
    xc_scratch_restore(&run->node, mark);
    return status;
}

enum xc_status xc_run_node(struct xc_run *run, const struct xc_graph *g, const struct xc_node *node, struct xc_err *err)
{
    uint32_t loaded = 0;
    enum xc_status status = run->lazy ? lazy_load(run, g, node, &loaded, err) : XC_OK;

    if (status == XC_OK) status = run_node(run, g, node, err);
    if (run->lazy) lazy_release(g, node, loaded);
    return status;
}

enum xc_status xc_run_begin(struct xc_run *run, const struct xc_graph *g, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces,
                            struct xc_err *err)
{
    XC_TRY(xc_scratch_reset(&run->values, err));
    XC_TRY(xc_scratch_reset(&run->node, err));
    lazy_free_values(run);
    if (run->lazy && run->n_lazy_values < g->n_values) {
        void **const grown = xc_calloc((size_t)g->n_values, sizeof *grown);

        if (!grown) return xc_fail_nomem(err, (size_t)g->n_values * sizeof *grown);
        xc_free(run->lazy_values);
        run->lazy_values = grown;
        run->n_lazy_values = g->n_values;
    }
    XC_TRY(xc_run_offsets(run, g, spaces, n_spaces, err));
    for (int32_t i = 0; i < g->n_inputs; i++) {
        struct xc_view *view = &run->views[g->inputs[i]];

        if (in[i].rows != view->rows || in[i].cols != view->cols)
            return xc_fail(err, XC_E_SHAPE, "input '%s' is %lld x %lld, must be %lld x %lld", g->values[g->inputs[i]].name, (long long)in[i].rows,
                           (long long)in[i].cols, (long long)view->rows, (long long)view->cols);
        view->data = in[i].data;
    }
    return XC_OK;
}

enum xc_status xc_run_graph(struct xc_run *run, const struct xc_graph *g, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces,
                            struct xc_view *out, struct xc_err *err)
{
    enum xc_status status = XC_OK;

    XC_TRY(xc_run_begin(run, g, in, spaces, n_spaces, err));
    xc_pool_begin(run->pool);
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++) {
        status = xc_run_node(run, g, &g->nodes[n], err);
        if (run->lazy) lazy_free_dead(run, g, &g->nodes[n], n + 1);
    }
    xc_pool_end(run->pool);
    for (int32_t i = 0; i < g->n_outputs && status == XC_OK; i++) out[i] = run->views[g->outputs[i]];
    return status;
}
