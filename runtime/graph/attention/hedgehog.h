/* hedgehog: the feature map and the products of linear attention: what forward and the derivative share (hedgehog.c says what they are). */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_HEDGEHOG_H
#define XC_RUNTIME_GRAPH_ATTENTION_HEDGEHOG_H

#include "runtime/graph/attention/keys.h"

#define XC_HEDGEHOG_CHUNK 64 /* tokens that are summed together */

struct xc_hedgehog {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k, *v;
    int64_t heads, kv, D, H, F, D1; /* H: rows of a head's map; F = 2 H features; D1 = D + 1: values and a one */
    float root;                     /* of the scale: queries and keys are multiplied by it */
    const float *w;                 /* (heads*H or H, D), NULL = the identity */
    int64_t w_head, panel_head;     /* floats from head to head; 0 = one map for all */
    float *w_panels;                /* of w times root, by head */
};
enum xc_status xc_hedgehog_open(struct xc_hedgehog *h, const struct xc_op_ctx *c, struct xc_err *err);

/* phi (T, F) of rows x (T, ldx) of a head; u: (T, H) of room. */
void xc_hedgehog_features(const struct xc_hedgehog *h, float *phi, float *u, const float *x, int64_t ldx, int64_t T, int64_t head);
/* Panel of D1 outputs and T inputs: values v (T, ldv) and a column of ones. */
void xc_hedgehog_values(const struct xc_hedgehog *h, float *panel, const float *v, int64_t ldv, int64_t T);
/* Panels of a product's second factor: outputs are the columns of m (K, N), or its rows (N, K). */
void xc_hedgehog_panel_cols(float *panel, const float *m, int64_t ldm, int64_t K, int64_t N);
void xc_hedgehog_panel_rows(float *panel, const float *m, int64_t ldm, int64_t N, int64_t K);
/* t (C, R) of x (R, C) */
void xc_hedgehog_transpose(float *t, const float *x, int64_t ldx, int64_t R, int64_t C);
/* out (R, N) = or += x (R, K) times a panel */
void xc_hedgehog_product(const struct xc_hedgehog *h, float *out, int64_t ld_out, const float *x, int64_t ldx, const float *panel, int64_t R, int64_t N, int64_t K, bool add);

#endif
