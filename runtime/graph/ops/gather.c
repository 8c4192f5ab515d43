/* gather: y_r = table[ids_r]: token, position and type embeddings.
 *
 *   in    ids (R,1) i32, table (n,C) tensor
 *   out   y (R,C) */
#include "runtime/graph/grouped.h"
#include "runtime/graph/ops/parallel.h"

static enum xc_status gather_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_I32, err));
    XC_TRY(xc_need_tensor(c, 1, -1, -1, err));
    if (xc_infer_value(c, 0)->cols != 1) return xc_fail(err, XC_E_SHAPE, "ids must have one column");
    if (xc_infer_tensor(c, 1)->enc.format == XC_FMT_I32) return xc_fail(err, XC_E_FORMAT, "the table must hold real numbers");
    if (xc_tensor_cols(xc_infer_tensor(c, 1)) > INT32_MAX) return xc_fail(err, XC_E_RANGE, "the table is too wide");
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = (int32_t)xc_tensor_cols(xc_infer_tensor(c, 1));
    return XC_OK;
}

static void gather_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_tensor *t = g->model->tensors[node->in[1].id];

    (void)n_seq;
    cost->weight_bytes += (double)xc_tensor_bytes(t) / (double)xc_tensor_rows(t) * (double)rows[g->values[node->out[0]].space];
}

static void gather_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const struct xc_table *table = arg;
    float *y = (float *)c->out[0]->data + row0 * table->C;

    c->kern->gather_rows(y, table->C, table, (const int32_t *)c->in[0]->data + row0, row1 - row0, false);
}

static enum xc_status gather_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_tensor *t = c->tensor[1];
    const int64_t n = xc_tensor_rows(t), C = xc_tensor_cols(t);
    const int32_t *ids = c->in[0]->data;
    struct xc_table table;

    for (int64_t r = 0; r < c->in[0]->rows; r++)
        if (ids[r] < 0 || ids[r] >= n)
            return xc_fail(err, XC_E_RANGE, "node '%s', row %lld: id %d is outside the table of %lld", c->node->name, (long long)r, ids[r], (long long)n);
    if (xc_tensor_table(&table, t)) {
        xc_rows_run(c, gather_rows, &table, c->in[0]->rows, C);
        return XC_OK;
    }
    for (int64_t r = 0; r < c->in[0]->rows; r++) XC_TRY(xc_tensor_rows_to_f32(t, ids[r], 1, (float *)c->out[0]->data + r * C, err)); /* a tied panel */
    return XC_OK;
}

static const char *const in_names[] = { "ids", "table" };
const struct xc_op xc_op_gather = { .name = "gather", .version = 1, .min_in = 2, .max_in = 2, .n_out = 1, .in_names = in_names,
                                    .infer = gather_infer, .cost = gather_cost, .forward = gather_forward };
