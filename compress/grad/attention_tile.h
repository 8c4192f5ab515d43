/* attention_tile: the derivative of softmax attention for a tile of queries over a list of keys, both given by row numbers: what the kinds that
 * choose their keys share. Keys are seen by position, as in kernels.h, attn_runs.
 *
 *   p_ij = exp(s_ij - Z_i),  delta_i = sum_j p_ij dO_i.v_j,  ds_ij = p_ij (dO_i.v_j - delta_i),  dV += P^T dO,  dQ += scale dS K,  dK += scale dS^T Q
 *
 * Z and delta of a query go over all its keys: with several lists, every list is first measured, then applied. */
#ifndef XC_COMPRESS_GRAD_ATTENTION_TILE_H
#define XC_COMPRESS_GRAD_ATTENTION_TILE_H

#include "compress/grad/grad.h"

#define XC_GRAD_TILE 64 /* queries at most */

/* One head's columns of a value and of its gradient. */
struct xc_grad_rows_of {
    const float *x; /* row r at x + r * ld */
    float *d;       /* the gradient's; NULL = not wanted */
    int64_t ld;
};

struct xc_grad_keys {
    const int32_t *row;        /* (n) */
    const float *pos;          /* (n) */
    const float *low, *high;   /* (n): key j is seen where low <= pos_j - q_pos_i <= high */
    int64_t n;
};

struct xc_grad_tile {
    const struct xc_kernels *kern;
    int64_t D, T, most;        /* most: keys of the longest list */
    float scale;
    float ramp, span;          /* ramp > 0: keys with a finite `low` fade out behind span (longformer_span.h); d_span is what the tile adds to its gradient */
    double d_span;
    bool own;                  /* the key at the query's position has the score own_score, a constant */
    float own_score;
    bool unit_keys;            /* keys are divided by sqrt(|k|^2 + D * 1e-6): Reformer's */
    const int32_t *q_row;      /* (T) */
    const float *q_pos;        /* (T) */
    struct xc_grad_rows_of q, k, v, o; /* o.x is dO */
    float *scratch;            /* xc_grad_tile_floats() */
    float max[XC_GRAD_TILE];   /* Z = max + log(sum) */
    double sum[XC_GRAD_TILE], delta[XC_GRAD_TILE];
};

int64_t xc_grad_tile_floats(int64_t most, int64_t D);
/* Takes up the tile's queries: after q_row, q_pos and T are set, before the first list. */
void xc_grad_tile_begin(struct xc_grad_tile *t);
/* Adds a list to Z and delta. */
void xc_grad_tile_measure(struct xc_grad_tile *t, const struct xc_grad_keys *keys);
/* Adds a list's part to the gradients; again: the list is the one that was measured last, and its scores are still there. */
void xc_grad_tile_apply(struct xc_grad_tile *t, const struct xc_grad_keys *keys, bool again);

#endif
