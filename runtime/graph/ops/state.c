/* state_append, state_write, state_read: rows that live from run to run, owned by the session.
 *
 *   state_append   x (R,C), state   y: all rows the state holds for each sequence after appending, in the state's row space
 *   state_write    x (R,C), state   y (R,C) = x; the state's rows are replaced
 *   state_read     state            y: the rows the state holds, in the state's row space */
#include <string.h>

#include "runtime/graph/run.h"

static enum xc_status state_of(const struct xc_infer *c, int i, const struct xc_value *x, bool append, struct xc_err *err)
{
    const struct xc_state *s;

    if (c->node->in[i].kind != XC_REF_STATE) return xc_fail(err, XC_E_FORMAT, "input '%s' of '%s' must be a state", c->node->op->in_names[i], c->node->op->name);
    s = &c->graph->model->states[c->node->in[i].id];
    if (s->dtype != XC_DTYPE_F32) return xc_fail(err, XC_E_UNSUPPORTED, "state '%s' is not f32", s->name);
    if (x && s->cols != x->cols) return xc_fail(err, XC_E_SHAPE, "state '%s' has %d columns, the value has %d", s->name, s->cols, x->cols);
    if (x && s->append != append) return xc_fail(err, XC_E_FORMAT, "state '%s' is %s", s->name, s->append ? "appended to" : "replaced");
    return XC_OK;
}

static enum xc_status append_infer(struct xc_infer *c, struct xc_err *err)
{
    struct xc_space like = { .map = XC_MAP_STATE };

    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(state_of(c, 1, xc_infer_value(c, 0), true, err));
    like.state = c->node->in[1].id;
    c->out[0].cols = xc_infer_value(c, 0)->cols;
    return xc_infer_space(c, &like, &c->out[0].space, err);
}

static enum xc_status write_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(state_of(c, 1, xc_infer_value(c, 0), false, err));
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = xc_infer_value(c, 0)->cols;
    return XC_OK;
}

static enum xc_status read_infer(struct xc_infer *c, struct xc_err *err)
{
    struct xc_space like = { .map = XC_MAP_STATE };

    XC_TRY(state_of(c, 0, NULL, false, err));
    like.state = c->node->in[0].id;
    c->out[0].cols = c->graph->model->states[like.state].cols;
    return xc_infer_space(c, &like, &c->out[0].space, err);
}

/* Puts the rows of x after `keep` of the rows that are there (all, or none). */
static enum xc_status store(struct xc_state_store *st, const struct xc_view *x, bool append, struct xc_err *err)
{
    XC_TRY(xc_state_sequences(st, x->rag->n_seq, err));
    for (int32_t s = 0; s < x->rag->n_seq; s++) {
        const int64_t r0 = x->rag->start[s], n = x->rag->start[s + 1] - r0;

        if (!append) st->seq[s].n = 0;
        XC_TRY(xc_state_room(st, s, st->seq[s].n + n, err));
        if (n > 0) memcpy((float *)st->seq[s].rows + st->seq[s].n * x->cols, (const float *)x->data + r0 * x->cols, (size_t)(n * x->cols) * sizeof(float));
        st->seq[s].n += n;
    }
    return XC_OK;
}

static void fetch(const struct xc_state_store *st, struct xc_view *y)
{
    for (int32_t s = 0; s < y->rag->n_seq; s++) {
        const int64_t n = y->rag->start[s + 1] - y->rag->start[s];

        if (n > 0) memcpy((float *)y->data + y->rag->start[s] * y->cols, st->seq[s].rows, (size_t)(n * y->cols) * sizeof(float));
    }
}

static enum xc_status append_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    struct xc_state_store *st = &c->run->states[c->node->in[1].id];

    XC_TRY(store(st, c->in[0], true, err));
    fetch(st, c->out[0]);
    return XC_OK;
}

static enum xc_status write_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    XC_TRY(store(&c->run->states[c->node->in[1].id], c->in[0], false, err));
    if (c->in[0]->rows > 0) memcpy(c->out[0]->data, c->in[0]->data, (size_t)(c->in[0]->rows * c->in[0]->cols) * sizeof(float));
    return XC_OK;
}

static enum xc_status read_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_state_store *st = &c->run->states[c->node->in[0].id];

    if (st->n_seq < c->out[0]->rag->n_seq)
        return xc_fail(err, XC_E_ARG, "state '%s' holds %d sequences, the run has %d", st->decl->name, st->n_seq, c->out[0]->rag->n_seq);
    fetch(st, c->out[0]);
    return XC_OK;
}

static const char *const two[] = { "x", "state" }, *const one[] = { "state" };
const struct xc_op xc_op_state_append = { .name = "state_append", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .in_names = two, .infer = append_infer, .forward = append_forward };
const struct xc_op xc_op_state_write = { .name = "state_write", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .in_names = two, .infer = write_infer, .forward = write_forward };
const struct xc_op xc_op_state_read = { .name = "state_read", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .in_names = one, .infer = read_infer, .forward = read_forward };
