/* op: the table of ops and what their infer functions share. See op.h. */
#include "runtime/graph/op.h"

#include <string.h>

#define OP(name) extern const struct xc_op xc_op_##name;
#include "runtime/graph/ops.def"
#undef OP

static const struct xc_op *const table[] = {
#define OP(name) &xc_op_##name,
#include "runtime/graph/ops.def"
#undef OP
};

const struct xc_op *const *xc_op_list(int *n)
{
    *n = (int)XC_ARRAY_LEN(table);
    return table;
}

const struct xc_op *xc_op_find(const char *name)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(table); i++)
        if (!strcmp(table[i]->name, name)) return table[i];
    return NULL;
}

const struct xc_value *xc_infer_value(const struct xc_infer *c, int i)
{
    return i < c->node->n_in && c->node->in[i].kind == XC_REF_VALUE ? &c->graph->values[c->node->in[i].id] : NULL;
}

const struct xc_tensor *xc_infer_tensor(const struct xc_infer *c, int i)
{
    return i < c->node->n_in && c->node->in[i].kind == XC_REF_TENSOR ? c->graph->model->tensors[c->node->in[i].id] : NULL;
}

enum xc_status xc_need_value(const struct xc_infer *c, int i, enum xc_dtype dtype, struct xc_err *err)
{
    const struct xc_value *v = xc_infer_value(c, i);

    if (!v) return xc_fail(err, XC_E_FORMAT, "input '%s' of '%s' must be a value", c->node->op->in_names[i], c->node->op->name);
    if (v->dtype != dtype)
        return xc_fail(err, XC_E_FORMAT, "input '%s' of '%s' must be %s", c->node->op->in_names[i], c->node->op->name, dtype == XC_DTYPE_F32 ? "f32" : "i32");
    return XC_OK;
}

enum xc_status xc_need_tensor(const struct xc_infer *c, int i, int64_t rows, int64_t cols, struct xc_err *err)
{
    const struct xc_tensor *t = xc_infer_tensor(c, i);

    if (!t) return xc_fail(err, XC_E_FORMAT, "input '%s' of '%s' must be a tensor", c->node->op->in_names[i], c->node->op->name);
    if ((rows >= 0 && xc_tensor_rows(t) != rows) || (cols >= 0 && xc_tensor_cols(t) != cols))
        return xc_fail(err, XC_E_SHAPE, "'%s' of '%s' is '%s' of %lld x %lld, must be %lld x %lld", c->node->op->in_names[i], c->node->op->name, t->name,
                       (long long)xc_tensor_rows(t), (long long)xc_tensor_cols(t), (long long)(rows < 0 ? xc_tensor_rows(t) : rows),
                       (long long)(cols < 0 ? xc_tensor_cols(t) : cols));
    return XC_OK;
}

enum xc_status xc_infer_space(const struct xc_infer *c, const struct xc_space *like, int32_t *space, struct xc_err *err)
{
    static const char *const names[XC_MAP_COUNT] = { "input", "sequence", "strided", "fixed", "subset", "state" };

    for (int32_t i = 0; i < c->graph->n_spaces; i++) {
        const struct xc_space *s = &c->graph->spaces[i];

        if (s->map != like->map) continue;
        if (s->map == XC_MAP_STRIDED && (s->base != like->base || s->kernel != like->kernel || s->stride != like->stride || s->pad_left != like->pad_left || s->pad_right != like->pad_right))
            continue;
        if ((s->map == XC_MAP_SUBSET && s->base != like->base) || (s->map == XC_MAP_STATE && s->state != like->state) || (s->map == XC_MAP_FIXED && s->k != like->k)) continue;
        *space = i;
        return XC_OK;
    }
    return xc_fail(err, XC_E_FORMAT, "the graph declares no '%s' row space that fits", names[like->map]);
}
