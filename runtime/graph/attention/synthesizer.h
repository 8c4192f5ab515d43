/* synthesizer: the scores of Synthesizer's attention, tile by tile: what forward and the derivative share (synthesizer.c says what they are). */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_SYNTHESIZER_H
#define XC_RUNTIME_GRAPH_ATTENTION_SYNTHESIZER_H

#include "runtime/graph/attention/keys.h"

enum xc_synth_part { XC_SYNTH_DOT, XC_SYNTH_RANDOM, XC_SYNTH_DENSE, XC_SYNTH_FACTORED, XC_SYNTH_PARTS };
enum { XC_SYNTH_R = 3, XC_SYNTH_W, XC_SYNTH_HIDDEN, XC_SYNTH_B, XC_SYNTH_FACTORS, XC_SYNTH_MIX }; /* inputs */
#define XC_SYNTH_TILE 64 /* queries */

struct xc_synth {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    const struct xc_view *q, *k, *v, *hidden, *factors;
    int64_t heads, kv, D, L, rank, band, H, a, b; /* H: columns of a head of hidden; a, b: factors */
    float scale;
    bool has[XC_SYNTH_PARTS];
    float weight[XC_SYNTH_PARTS];
    int index[XC_SYNTH_PARTS];       /* in the mixture */
    const float *r, *w, *bias;       /* tensors, row by row; r NULL where xc_synth_is_random and its numbers are encoded */
    int64_t r_cols;                  /* of a row of random */
    int64_t r_head, w_head, b_head;  /* floats from head to head; 0 = shared */
    float *r2_panels, *w_panels;     /* (1 or heads) panels of L keys */
    int64_t r2_panel, w_panel;       /* floats of one; from head to head it is 0 where shared */
};
enum xc_status xc_synth_open(struct xc_synth *s, const struct xc_op_ctx *c, struct xc_err *err);
/* part (T, n) of queries row0 on, without its weight. k_panel: the sequence's and head's keys in panels (XC_SYNTH_DOT). */
void xc_synth_part(const struct xc_synth *s, float *part, enum xc_synth_part which, int64_t seq, int64_t head, int64_t row0, int64_t T, int64_t n, const float *k_panel);
/* The keys that p has a column for, from key0 (a multiple of 16) on: all n, but with a band those that one of the rows sees. */
void xc_synth_keys(const struct xc_synth *s, int64_t row0, int64_t T, int64_t n, int64_t *key0, int64_t *keys);
/* p (T, keys): the softmax of the weighted sum, zero for keys that are not seen. other: (T, n) of room. */
void xc_synth_probabilities(const struct xc_synth *s, float *p, float *other, int64_t seq, int64_t head, int64_t row0, int64_t T, int64_t n, const float *k_panel);
/* f32 that is read where it lies. */
bool xc_synth_plain(const struct xc_tensor *t);
/* synthesizer_random.c: int8 with no part but a random matrix. Its softmax may be made ahead (attention.h, prepare). */
bool xc_synth_is_random(const struct xc_attr_attention *attr, const bool has[XC_SYNTH_PARTS]);
size_t xc_synth_random_bytes(const struct xc_model *m, const struct xc_node *node);
enum xc_status xc_synth_random_prepare(void *to, const struct xc_model *m, const struct xc_node *node, const struct xc_kernels *kern, struct xc_err *err);
enum xc_status xc_synth_random_forward(const struct xc_synth *s, struct xc_err *err);
/* Rows (n, C) to a panel of n outputs. */
void xc_synth_panel(float *panel, const float *x, int64_t ldx, int64_t n, int64_t C);

#endif
