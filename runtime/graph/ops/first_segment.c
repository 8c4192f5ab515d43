/* first_segment: which rows belong to the first text of a pair, as flags: Longformer's global tokens of a question (Beltagy et al. 2020, arXiv:2004.05150).
 *
 *   in    ids (R,1) i32
 *   out   y (R,1) i32: 1 for the rows before the first end_id of their sequence, 0 for that one and all behind it. A sequence in which end_id stands once or
 *         never is a text alone, not a pair: 0 everywhere */
#include "runtime/graph/run.h"

static enum xc_status first_segment_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_I32, err));
    if (xc_infer_value(c, 0)->cols != 1) return xc_fail(err, XC_E_SHAPE, "ids must have one column");
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = 1;
    c->out[0].dtype = XC_DTYPE_I32;
    return XC_OK;
}

static enum xc_status first_segment_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const int32_t end_id = ((const struct xc_attr_segment *)c->attr)->end_id, *ids = c->in[0]->data;
    int32_t *y = c->out[0]->data;

    (void)err;
    for (int32_t s = 0; s < c->in[0]->rag->n_seq; s++) {
        const int32_t first = c->in[0]->rag->start[s], last = c->in[0]->rag->start[s + 1];
        int32_t end = first, again;

        while (end < last && ids[end] != end_id) end++;
        for (again = end + 1; again < last && ids[again] != end_id;) again++;
        for (int32_t r = first; r < last; r++) y[r] = again < last && r < end;
    }
    return XC_OK;
}

static const struct xc_attr_def attrs[] = {
    { "end_id", XC_ATTR_INT, offsetof(struct xc_attr_segment, end_id), 0, NULL, 0, 1 << 30 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "ids" };
const struct xc_op xc_op_first_segment = { .name = "first_segment", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .attrs = attrs, .attr_size = sizeof(struct xc_attr_segment),
                                           .in_names = in_names, .infer = first_segment_infer, .forward = first_segment_forward };
