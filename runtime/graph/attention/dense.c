/* dense: softmax(scale * Q K^T) V, full or causal, grouped-query heads. Vaswani et al. 2017, arXiv:1706.03762.
 *
 * f32, or int8 with block-local probabilities (kernels.h, attn_s8): queries and keys are quantized per row and head, values per
 * channel and block of XC_KEY_BLOCK keys counted from the start of the sequence. Never an N x N matrix. */
#include <math.h>

#include "runtime/graph/attention/attention.h"

static double dense_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    return (attr->causal ? 0.5 : 1.0) * 2.0 * n_q * n_k * D * attr->heads;
}

struct head {
    const float *q, *k, *v;
    float *out;
    int64_t ldq, ldk, n_q, n_k, D;
    float scale;
    bool causal;
};

static enum xc_status head_s8(const struct xc_op_ctx *c, const struct head *h, void *scratch, struct xc_err *err)
{
    const int64_t blocks = xc_div_up(h->n_k, XC_KEY_BLOCK), ld = xc_round_up(h->D, 4);
    int8_t *q = xc_run_scratch(c->run, (size_t)(h->n_q * ld)), *k = xc_run_scratch(c->run, xc_panel_s8_bytes(h->n_k, h->D));
    int8_t *v = xc_run_scratch(c->run, (size_t)blocks * xc_panel_s8_bytes(h->D, XC_KEY_BLOCK));
    float *q_scale = xc_run_scratch(c->run, (size_t)h->n_q * 4), *k_scale = xc_run_scratch(c->run, (size_t)xc_round_up(h->n_k, 16) * 4);
    float *v_scale = xc_run_scratch(c->run, (size_t)(blocks * xc_round_up(h->D, 16)) * 4);
    int32_t *sum = xc_run_scratch(c->run, (size_t)h->n_q * 4);

    if (!q || !k || !v || !q_scale || !k_scale || !v_scale || !sum) return xc_fail_nomem(err, (size_t)(h->n_k * h->D));
    c->kern->quantize_rows_s8(q, ld, q_scale, sum, h->q, h->ldq, h->n_q, h->D, 0.0f);
    c->kern->pack_keys_s8(k, k_scale, h->k, h->ldk, h->n_k, h->D);
    c->kern->pack_values_s8(v, v_scale, h->v, h->ldk, h->n_k, h->D);
    const struct xc_attn_s8 a = { .q = q, .ldq = ld, .q_scale = q_scale, .k = k, .k_scale = k_scale, .v = v, .v_scale = v_scale, .n_q = h->n_q, .n_k = h->n_k,
                                  .D = h->D, .scale = h->scale, .causal = h->causal, .out = h->out, .ld_out = h->ldq, .scratch = scratch };

    c->kern->attn_s8(&a, 0, h->n_q);
    return XC_OK;
}

static enum xc_status dense_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    const struct xc_view *q = c->in[0], *k = c->in[1], *v = c->in[2];
    const int64_t D = q->cols / attr->heads, group = attr->kv_heads > 0 ? attr->heads / attr->kv_heads : 1;
    void *scratch = xc_run_scratch(c->run, xc_attn_scratch_bytes(D));

    if (!scratch) return xc_fail_nomem(err, xc_attn_scratch_bytes(D));
    for (int32_t s = 0; s < q->rag->n_seq; s++)
        for (int64_t n = 0; n < attr->heads; n++) {
            const int64_t q0 = q->rag->start[s], k0 = k->rag->start[s], kv = n / group * D;
            const struct head h = { .q = (const float *)q->data + q0 * q->cols + n * D, .k = (const float *)k->data + k0 * k->cols + kv,
                                    .v = (const float *)v->data + k0 * v->cols + kv, .out = (float *)c->out[0]->data + q0 * q->cols + n * D,
                                    .ldq = q->cols, .ldk = k->cols, .n_q = q->rag->start[s + 1] - q0, .n_k = k->rag->start[s + 1] - k0, .D = D,
                                    .scale = attr->scale != 0.0f ? attr->scale : 1.0f / sqrtf((float)D), .causal = attr->causal };

            if (h.n_q == 0) continue;
            if (h.n_k < (h.causal ? h.n_q : 1)) return xc_fail(err, XC_E_SHAPE, "node '%s': sequence %d has %lld queries and %lld keys", c->node->name, s, (long long)h.n_q, (long long)h.n_k);
            if (attr->quantized) {
                XC_TRY(head_s8(c, &h, scratch, err));
                continue;
            }
            const struct xc_attn_f32 a = { .q = h.q, .k = h.k, .v = h.v, .ldq = h.ldq, .ldk = h.ldk, .ldv = h.ldk, .n_q = h.n_q, .n_k = h.n_k, .D = D,
                                           .scale = h.scale, .causal = h.causal, .out = h.out, .ld_out = h.ldq, .scratch = scratch };

            c->kern->attn_f32(&a, 0, h.n_q);
        }
    return XC_OK;
}

const struct xc_attention_kind xc_attention_dense = { .name = "dense", .macs = dense_macs, .forward = dense_forward };
