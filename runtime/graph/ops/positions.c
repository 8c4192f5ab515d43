/* positions: the place of each row in its sequence, as ids for a position table.
 *
 *   in    ids (R,1) i32: gives the row space, and the ids that skip_id is compared with
 *   out   p (R,1) i32: offset + index; with skip_id >= 0, rows whose id equals it get skip_id and are not counted, as RoBERTa's
 *         create_position_ids_from_input_ids treats padding ids inside a text */
#include "runtime/graph/op.h"

static enum xc_status positions_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_I32, err));
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = 1;
    c->out[0].dtype = XC_DTYPE_I32;
    return XC_OK;
}

static enum xc_status positions_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_positions *attr = c->attr;
    const int32_t *ids = c->in[0]->data;
    int32_t *p = c->out[0]->data;

    (void)err;
    for (int32_t s = 0; s < c->in[0]->rag->n_seq; s++) {
        int32_t next = attr->offset;

        for (int32_t r = c->in[0]->rag->start[s]; r < c->in[0]->rag->start[s + 1]; r++)
            p[r] = attr->skip_id >= 0 && ids[r] == attr->skip_id ? attr->skip_id : next++;
    }
    return XC_OK;
}

static const struct xc_attr_def attrs[] = {
    { "offset", XC_ATTR_INT, offsetof(struct xc_attr_positions, offset), 0, NULL, 0, 1 << 30 },
    { "skip_id", XC_ATTR_INT, offsetof(struct xc_attr_positions, skip_id), -1, NULL, -1, 1 << 30 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "ids" };
const struct xc_op xc_op_positions = { .name = "positions", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .attrs = attrs,
                                       .attr_size = sizeof(struct xc_attr_positions), .in_names = in_names, .infer = positions_infer,
                                       .forward = positions_forward };
