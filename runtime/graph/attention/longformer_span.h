/* longformer_span: windows of a length of their own for each head. See longformer.c.
 *
 *   z      (heads), shares of attr window, taken as 0 to 1; a head's span is s = z * window tokens to each side
 *   hard   attr ramp 0: the window is s, rounded
 *   soft   attr ramp R: a key at distance x counts m(x) = clip((R + s - x) / R, 0, 1) times in the softmax (Sukhbaatar et al. 2019, arXiv:1905.07799), so that s
 *          has a derivative: the form that is trained. f32, in a model with int8 attention too. Global keys count once. */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_LONGFORMER_SPAN_H
#define XC_RUNTIME_GRAPH_ATTENTION_LONGFORMER_SPAN_H

#include "runtime/graph/attention/keys.h"

#define XC_SPAN_INPUT 7
#define XC_SPAN_TILE 64 /* queries */

enum xc_status xc_span_infer(const struct xc_infer *c, struct xc_err *err);
double xc_span_share(const struct xc_model *m, const struct xc_node *node);
/* window (heads): tokens to each side; soft: as far as a key counts at all. span (heads): in tokens; NULL = hard. */
enum xc_status xc_span_windows(const struct xc_op_ctx *c, const int32_t **window, const float **span, struct xc_err *err);

static inline float xc_span_mask(float span, float ramp, float distance)
{
    const float m = (ramp + span - distance) / ramp;

    return m <= 0.0f ? 0.0f : m < 1.0f ? m : 1.0f;
}

/* One head of one sequence; row r of q at q + r * ldq. */
struct xc_span_tile {
    const struct xc_kernels *kern;
    const float *q, *k, *v;
    int64_t ldq, ldk;
    const float *gk, *gv;   /* (n_glob, ldk): the global tokens' keys and values */
    const int32_t *glob;    /* (n_glob): their positions */
    int64_t n_glob;
    const float *pos;       /* (n): positions; XC_POS_NEVER for global tokens */
    int64_t n, D, window;
    float scale, span, ramp;
    bool causal;
    float *out;             /* (n, ldq) */
    float *scratch;
};
size_t xc_span_scratch_bytes(int64_t keys, int64_t D);
void xc_span_attend(const struct xc_span_tile *t, int64_t row0, int64_t row1);

#endif
