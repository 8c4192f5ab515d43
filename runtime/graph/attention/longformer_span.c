/* longformer_span: see longformer_span.h. A tile of queries has its keys, global ones first, as one matrix of scores; probabilities are those of the plain
 * softmax, times the masks, over their sum. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/longformer_span.h"

#define FAR (-1e30f)

static const struct xc_tensor *span_of(const struct xc_infer *c)
{
    return c->node->n_in > XC_SPAN_INPUT && c->node->in[XC_SPAN_INPUT].kind != XC_REF_NONE ? xc_infer_tensor(c, XC_SPAN_INPUT) : NULL;
}

enum xc_status xc_span_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *a = c->node->attr;

    if (c->node->n_in > XC_SPAN_INPUT && c->node->in[XC_SPAN_INPUT].kind != XC_REF_NONE) XC_TRY(xc_need_tensor(c, XC_SPAN_INPUT, 1, a->heads, err));
    if (!span_of(c)) return a->ramp ? xc_fail(err, XC_E_FORMAT, "longformer attention has a ramp and no spans") : XC_OK;
    if (span_of(c)->enc.layout != XC_LAYOUT_ROWS) return xc_fail(err, XC_E_FORMAT, "longformer spans '%s' are not stored by rows", span_of(c)->name);
    if (a->dilation > 1) return xc_fail(err, XC_E_UNSUPPORTED, "longformer attention has spans or a dilation, not both");
    return a->window < 1 ? xc_fail(err, XC_E_RANGE, "longformer attention has spans, which are shares of its window: that must be at least 1") : XC_OK;
}

static double in_tokens(float z, int32_t window) { return (z >= 0.0f ? z < 1.0f ? (double)z : 1.0 : 0.0) * (double)window; } /* not a number: 0 */

static int32_t whole_window(float z, const struct xc_attr_attention *a)
{
    const double span = in_tokens(z, a->window);

    return (int32_t)(a->ramp ? ceil(span + a->ramp) - 1 : floor(span + 0.5));
}

double xc_span_share(const struct xc_model *m, const struct xc_node *node)
{
    const struct xc_attr_attention *a = node->attr;
    const struct xc_tensor *t = node->n_in > XC_SPAN_INPUT && node->in[XC_SPAN_INPUT].kind == XC_REF_TENSOR ? m->tensors[node->in[XC_SPAN_INPUT].id] : NULL;
    double sum = 0;

    if (!t || !t->part[XC_PART_DATA] || t->enc.layout != XC_LAYOUT_ROWS || xc_tensor_count(t) != a->heads) return 1.0;
    for (int32_t h = 0; h < a->heads; h++) {
        float z;

        xc_tensor_part_to_f32(t, 0, h, 1, &z);
        sum += 2.0 * whole_window(z, a) + 1;
    }
    return sum / a->heads / (2.0 * a->window + 1);
}

enum xc_status xc_span_windows(const struct xc_op_ctx *c, const int32_t **window, const float **span, struct xc_err *err)
{
    const struct xc_attr_attention *a = c->attr;
    const struct xc_tensor *t = c->tensor[XC_SPAN_INPUT];
    int32_t *w = xc_run_scratch(c->run, (size_t)a->heads * sizeof *w);
    float *s = xc_run_scratch(c->run, (size_t)a->heads * sizeof *s);
    const float *z = NULL;

    if (!w || !s) return xc_fail_nomem(err, (size_t)a->heads * sizeof *w);
    if (t) XC_TRY(xc_attention_tensor(c, t, &z, err));
    for (int32_t h = 0; h < a->heads; h++) {
        w[h] = z ? whole_window(z[h], a) : a->window;
        s[h] = z ? (float)in_tokens(z[h], a->window) : 0.0f;
    }
    *window = w;
    *span = a->ramp ? s : NULL;
    return XC_OK;
}

/* ---- a tile ---- */
struct work {
    float *keys, *values, *p; /* panels of keys by D, and of D by keys; (TILE, keys) */
    int64_t count;
};

static size_t panel_floats(int64_t keys, int64_t D) { return (size_t)(xc_round_up(keys, 16) * xc_round_up(D, 16)); }

size_t xc_span_scratch_bytes(int64_t keys, int64_t D)
{
    return (2 * panel_floats(keys, D) + (size_t)(XC_SPAN_TILE * xc_round_up(keys, 16))) * sizeof(float);
}

static void pack(const struct work *w, const struct xc_span_tile *t, int64_t at, const float *k, const float *v, int64_t n)
{
    for (int64_t j = 0; j < n; j++, at++, k += t->ldk, v += t->ldk)
        for (int64_t d = 0; d < t->D; d++) {
            w->keys[at / 16 * 16 * t->D + d * 16 + at % 16] = k[d];
            w->values[d / 16 * 16 * w->count + at * 16 + d % 16] = v[d];
        }
}

/* The row of query i: scores become what each key counts. */
static void weigh(const struct xc_span_tile *t, float *p, int64_t i, int64_t first, int64_t count)
{
    const int64_t n = t->n_glob + count;
    float sum = 0.0f;

    for (int64_t j = 0; j < t->n_glob; j++) p[j] = t->causal && t->glob[j] > i ? FAR : p[j] * t->scale;
    for (int64_t j = t->n_glob; j < n; j++) {
        const float at = t->pos[first + j - t->n_glob], far = at - (float)i;

        p[j] = at == XC_POS_NEVER || (t->causal && far > 0.0f) || xc_span_mask(t->span, t->ramp, fabsf(far)) <= 0.0f ? FAR : p[j] * t->scale;
    }
    t->kern->softmax_rows(p, p, 1, n);
    for (int64_t j = t->n_glob; j < n; j++) {
        const float at = t->pos[first + j - t->n_glob];

        if (at != XC_POS_NEVER) p[j] *= xc_span_mask(t->span, t->ramp, fabsf(at - (float)i));
    }
    for (int64_t j = 0; j < n; j++) sum += p[j];
    for (int64_t j = 0; j < n; j++) p[j] /= sum;
}

void xc_span_attend(const struct xc_span_tile *t, int64_t row0, int64_t row1)
{
    const int64_t first = xc_max_i64(0, row0 - t->window), end = xc_min_i64(t->n, row1 + (t->causal ? 0 : t->window)), count = end - first, n = t->n_glob + count, T = row1 - row0;
    struct work w = { .keys = t->scratch, .count = n };

    w.values = w.keys + panel_floats(n, t->D);
    w.p = w.values + panel_floats(n, t->D);
    memset(w.keys, 0, 2 * panel_floats(n, t->D) * sizeof(float));
    pack(&w, t, 0, t->gk, t->gv, t->n_glob);
    pack(&w, t, t->n_glob, t->k + first * t->ldk, t->v + first * t->ldk, count);
    const struct xc_gemm_f32 match = { .x = t->q + row0 * t->ldq, .ldx = t->ldq, .w = w.keys, .N = n, .K = t->D, .ep = { .out = w.p, .ld_out = n } };
    const struct xc_gemm_f32 mix = { .x = w.p, .ldx = n, .w = w.values, .N = t->D, .K = n, .ep = { .out = t->out + row0 * t->ldq, .ld_out = t->ldq } };

    t->kern->gemm_f32(&match, 0, T, 0, n);
    for (int64_t i = 0; i < T; i++) weigh(t, w.p + i * n, row0 + i, first, count);
    t->kern->gemm_f32(&mix, 0, T, 0, t->D);
}
