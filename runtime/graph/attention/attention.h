/* attention: the hook of one kind. The op (ops/attention.c) checks heads and widths and asks the kind for the rest.
 *
 * Inputs 0..2 are q (Rq, heads*D), k and v (Rk, kv_heads*D); k and v may live in another row space than q (cross-attention, cached
 * rows); both spaces have the same sequences. Input 3 and on belong to the kind: position bias, Linformer's E and F, Longformer's
 * global projections, Reformer's rotations, ... */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_ATTENTION_H
#define XC_RUNTIME_GRAPH_ATTENTION_ATTENTION_H

#include "runtime/graph/op.h"

struct xc_attention_kind {
    const char *name;
    /* Checks the inputs beyond q, k, v; may be NULL when there are none. */
    enum xc_status (*infer)(const struct xc_infer *c, struct xc_err *err);
    /* Multiply-adds for one sequence of n_q queries and n_k keys. */
    double (*macs)(const struct xc_attr_attention *attr, double n_q, double n_k, double D);
    enum xc_status (*forward)(const struct xc_op_ctx *c, struct xc_err *err);
    /* May be NULL. The share of macs that the node's tensors leave. */
    double (*share)(const struct xc_model *m, const struct xc_node *node);
    /* May be NULL. What can be made of the node's tensors once: its bytes (0 = nothing), and it itself, 64-byte aligned. A plan does so and gives it to
     * forward as c->prepared; where that is NULL, forward makes it itself, to the same bits. */
    size_t (*prepared_bytes)(const struct xc_model *m, const struct xc_node *node);
    enum xc_status (*prepare)(void *to, const struct xc_model *m, const struct xc_node *node, const struct xc_kernels *kern, struct xc_err *err);
};

extern const struct xc_attention_kind *const xc_attention_kinds[];
extern const int xc_attention_n_kinds;
/* The number of the kind of this name; -1 = there is none. */
int32_t xc_attention_kind_named(const char *name);

/* adaptive.c: sequences of fewer keys are dense. */
#define XC_ADAPTIVE_LEAST 2048
/* dense.c: the whole of dense attention for the sequences of fewer than `below` keys; the others' outputs are left alone. */
enum xc_status xc_attention_dense_below(const struct xc_op_ctx *c, int64_t below, struct xc_err *err);

#endif
