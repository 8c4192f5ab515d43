/* segment: which rows belong to one text of a pair, as flags: Longformer's global tokens, a question or a choice (Beltagy et al. 2020, arXiv:2004.05150).
 *
 *   in    ids (R,1) i32
 *   attr  end_id   what stands behind the first text, once or twice, and at the end
 *         second   false: the first text, the rows before the first end_id of their sequence; true: the second, the rows behind that one, or two
 *   out   y (R,1) i32: 1 for those rows, else 0. A sequence in which end_id stands once or never is a text alone, not a pair: 0 everywhere */
#include "runtime/graph/run.h"

static enum xc_status segment_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_I32, err));
    if (xc_infer_value(c, 0)->cols != 1) return xc_fail(err, XC_E_SHAPE, "ids must have one column");
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = 1;
    c->out[0].dtype = XC_DTYPE_I32;
    return XC_OK;
}

static enum xc_status segment_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_segment *attr = c->attr;
    const int32_t *ids = c->in[0]->data, end_id = attr->end_id;
    int32_t *y = c->out[0]->data;

    (void)err;
    for (int32_t s = 0; s < c->in[0]->rag->n_seq; s++) {
        const int32_t first = c->in[0]->rag->start[s], last = c->in[0]->rag->start[s + 1];
        int32_t end = first, again;

        while (end < last && ids[end] != end_id) end++;
        for (again = end + 1; again < last && ids[again] != end_id;) again++;
        for (int32_t r = first; r < last; r++) y[r] = again < last && (attr->second ? r > end + (again == end + 1) : r < end);
    }
    return XC_OK;
}

static const struct xc_attr_def attrs[] = {
    { "end_id", XC_ATTR_INT, offsetof(struct xc_attr_segment, end_id), 0, NULL, 0, 1 << 30 },
    { "second", XC_ATTR_BOOL, offsetof(struct xc_attr_segment, second), 0, NULL, 0, 1 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "ids" };
const struct xc_op xc_op_segment = { .name = "segment", .version = 1, .min_in = 1, .max_in = 1, .n_out = 1, .attrs = attrs, .attr_size = sizeof(struct xc_attr_segment),
                                           .in_names = in_names, .infer = segment_infer, .forward = segment_forward };
