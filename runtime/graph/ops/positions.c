/* positions: the place of each row in its sequence, as ids for a position table.
 *
 *   in    ids (R,1) i32: gives the row space, and the ids that skip_id is compared with
 *         state, optional: counting goes on after the rows that it held when the run began (a decoder's cache)
 *   out   p (R,1) i32: offset + index; with skip_id >= 0, rows whose id equals it get skip_id and are not counted, as RoBERTa's
 *         create_position_ids_from_input_ids treats padding ids inside a text.
 *         With divide or modulo the index is one coordinate of it on a grid, (index / divide) % modulo: axial positions are the rows of two small
 *         tables side by side (Kitaev et al. 2020, arXiv:2001.04451), not with skip_id */
#include "runtime/graph/run.h"

static enum xc_status positions_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_positions *attr = c->node->attr;

    if ((attr->divide || attr->modulo) && attr->skip_id >= 0) return xc_fail(err, XC_E_UNSUPPORTED, "positions on a grid skip no id");
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_I32, err));
    if (c->node->n_in > 1 && c->node->in[1].kind != XC_REF_NONE && c->node->in[1].kind != XC_REF_STATE)
        return xc_fail(err, XC_E_FORMAT, "input 'state' of 'positions' must be a state");
    if (xc_infer_value(c, 0)->cols != 1) return xc_fail(err, XC_E_SHAPE, "ids must have one column");
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = 1;
    c->out[0].dtype = XC_DTYPE_I32;
    return XC_OK;
}

static enum xc_status positions_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_positions *attr = c->attr;
    const int32_t *ids = c->in[0]->data;
    const struct xc_state_store *st = c->node->n_in > 1 && c->node->in[1].kind == XC_REF_STATE ? &c->run->states[c->node->in[1].id] : NULL;
    int32_t *p = c->out[0]->data;

    for (int32_t s = 0; s < c->in[0]->rag->n_seq; s++) {
        const int64_t first = attr->offset + (st && s < st->n_seq ? st->seq[s].before : 0);
        int32_t next = (int32_t)first;

        if (first > INT32_MAX - (c->in[0]->rag->start[s + 1] - c->in[0]->rag->start[s]))
            return xc_fail(err, XC_E_RANGE, "node '%s': positions of sequence %d pass %d", c->node->name, s, INT32_MAX);

        for (int32_t r = c->in[0]->rag->start[s]; r < c->in[0]->rag->start[s + 1]; r++)
            p[r] = attr->skip_id >= 0 && ids[r] == attr->skip_id ? attr->skip_id : next++;
        for (int32_t r = c->in[0]->rag->start[s]; r < c->in[0]->rag->start[s + 1] && (attr->divide || attr->modulo); r++) {
            const int32_t index = (p[r] - attr->offset) / (attr->divide ? attr->divide : 1);

            p[r] = attr->offset + (attr->modulo ? index % attr->modulo : index);
        }
    }
    return XC_OK;
}

static const struct xc_attr_def attrs[] = {
    { "offset", XC_ATTR_INT, offsetof(struct xc_attr_positions, offset), 0, NULL, 0, 1 << 30 },
    { "skip_id", XC_ATTR_INT, offsetof(struct xc_attr_positions, skip_id), -1, NULL, -1, 1 << 30 },
    { "divide", XC_ATTR_INT, offsetof(struct xc_attr_positions, divide), 0, NULL, 0, 1 << 30, true },
    { "modulo", XC_ATTR_INT, offsetof(struct xc_attr_positions, modulo), 0, NULL, 0, 1 << 30, true },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "ids", "state" };
const struct xc_op xc_op_positions = { .name = "positions", .version = 1, .min_in = 1, .max_in = 2, .n_out = 1, .attrs = attrs,
                                       .attr_size = sizeof(struct xc_attr_positions), .in_names = in_names, .infer = positions_infer,
                                       .forward = positions_forward };
