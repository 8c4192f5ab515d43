/* hedgehog: linear attention, whose softmax is a product of features. Katharopoulos et al. 2020 (arXiv:2006.16236) for the sums, Zhang et al. 2024
 * (Hedgehog, arXiv:2402.04347) for the map.
 *
 *   in    q (Rq, heads*D), k and v (Rk, kv*D)
 *         w, optional: tensor (heads*H, D), or (H, D) for all heads; without it the identity, H = D
 *   out   y (Rq, heads*D); with causal, the queries are the last n_q of n_k keys
 *
 *   phi(x) = [softmax(u), softmax(-u)],  u = sqrt(scale) W x;   y_i = sum_j (phi(q_i) . phi(k_j)) v_j / sum_j phi(q_i) . phi(k_j)
 *
 * The sums over keys are a matrix S (2H, D + 1), its last column the sum of features: time and memory are linear in the tokens. S grows by chunks of
 * XC_HEDGEHOG_CHUNK keys counted from the start of the sequence; with causal, a chunk's own keys are weighed one by one.
 *
 * `quantized` changes nothing: S is a sum over all tokens whose terms differ by orders of magnitude, and the products are as small as the projections'. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/hedgehog.h"

#define CHUNK XC_HEDGEHOG_CHUNK

static enum xc_status hedgehog_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->node->attr;
    const int64_t D = xc_infer_value(c, 0)->cols / attr->heads;
    const struct xc_tensor *w;

    for (int i = 4; i < c->node->n_in; i++)
        if (c->node->in[i].kind != XC_REF_NONE) return xc_fail(err, XC_E_FORMAT, "hedgehog attention takes q, k, v and a feature map");
    if (c->node->n_in < 4 || c->node->in[3].kind == XC_REF_NONE) return XC_OK;
    XC_TRY(xc_need_tensor(c, 3, -1, D, err));
    w = xc_infer_tensor(c, 3);
    if (attr->slots < 0 || (attr->slots ? w->dim[0] != attr->slots && w->dim[0] != (int64_t)attr->slots * attr->heads : w->dim[0] % attr->heads != 0))
        return xc_fail(err, XC_E_SHAPE, "feature map '%s' has %lld rows, which are not those of %d heads", w->name, (long long)w->dim[0], attr->heads);
    return XC_OK;
}

static double hedgehog_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    const double F = 2 * (attr->slots ? (double)attr->slots : D);

    return attr->heads * (n_q + n_k) * (F * (D + 1) + F / 2 * D) + (attr->causal ? attr->heads * n_q * CHUNK * (F + D) : 0);
}

/* ---- parts ---- */
void xc_hedgehog_panel_cols(float *panel, const float *m, int64_t ldm, int64_t K, int64_t N)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16)
        for (int64_t k = 0; k < K; k++, panel += 16)
            for (int64_t n = 0; n < 16; n++) panel[n] = n0 + n < N ? m[k * ldm + n0 + n] : 0.0f;
}

void xc_hedgehog_panel_rows(float *panel, const float *m, int64_t ldm, int64_t N, int64_t K)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16)
        for (int64_t k = 0; k < K; k++, panel += 16)
            for (int64_t n = 0; n < 16; n++) panel[n] = n0 + n < N ? m[(n0 + n) * ldm + k] : 0.0f;
}

void xc_hedgehog_transpose(float *t, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++) t[c * R + r] = x[r * ldx + c];
}

void xc_hedgehog_product(const struct xc_hedgehog *h, float *out, int64_t ld_out, const float *x, int64_t ldx, const float *panel, int64_t R, int64_t N, int64_t K, bool add)
{
    const struct xc_gemm_f32 g = { .x = x, .ldx = ldx, .w = panel, .N = N, .K = K, .ep = { .residual = add ? out : NULL, .ld_residual = ld_out, .out = out, .ld_out = ld_out } };

    h->c->kern->gemm_f32(&g, 0, R, 0, N);
}

void xc_hedgehog_features(const struct xc_hedgehog *h, float *phi, float *u, const float *x, int64_t ldx, int64_t T, int64_t head)
{
    if (h->w) xc_hedgehog_product(h, u, h->H, x, ldx, h->w_panels + head * h->panel_head, T, h->H, h->D, false);
    for (int64_t r = 0; r < T; r++) {
        float *row = u + r * h->H, *y = phi + r * h->F;

        if (!h->w)
            for (int64_t d = 0; d < h->H; d++) row[d] = x[r * ldx + d] * h->root;
        h->c->kern->softmax_rows(y, row, 1, h->H);
        for (int64_t d = 0; d < h->H; d++) row[d] = -row[d];
        h->c->kern->softmax_rows(y + h->H, row, 1, h->H);
    }
}

void xc_hedgehog_values(const struct xc_hedgehog *h, float *panel, const float *v, int64_t ldv, int64_t T)
{
    for (int64_t d0 = 0; d0 < h->D1; d0 += 16)
        for (int64_t r = 0; r < T; r++, panel += 16) {
            const int64_t n = xc_max_i64(0, xc_min_i64(16, h->D - d0));

            if (n) memcpy(panel, v + r * ldv + d0, (size_t)n * sizeof *panel);
            for (int64_t d = n; d < 16; d++) panel[d] = d0 + d == h->D ? 1.0f : 0.0f;
        }
}

enum xc_status xc_hedgehog_open(struct xc_hedgehog *h, const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    const struct xc_tensor *t = c->tensor[3];

    *h = (struct xc_hedgehog){ .c = c, .attr = attr, .q = c->in[0], .k = c->in[1], .v = c->in[2], .heads = attr->heads, .kv = xc_attention_kv_heads(attr),
                               .D = c->in[0]->cols / attr->heads };
    h->H = !t ? h->D : attr->slots ? attr->slots : t->dim[0] / attr->heads;
    h->F = 2 * h->H;
    h->D1 = h->D + 1;
    h->root = sqrtf(xc_attention_scale(attr, h->D));
    for (int32_t s = 0; s < h->q->rag->n_seq; s++)
        if (attr->causal && xc_seq_rows(h->k, s) < xc_seq_rows(h->q, s))
            return xc_fail(err, XC_E_SHAPE, "node '%s': sequence %d has %lld queries and %lld keys, and is causal", c->node->name, s, (long long)xc_seq_rows(h->q, s), (long long)xc_seq_rows(h->k, s));
    if (!t) return XC_OK;
    const int64_t maps = t->dim[0] / h->H;

    XC_TRY(xc_attention_tensor(c, t, &h->w, err));
    h->w_head = maps > 1 ? h->H * h->D : 0;
    h->panel_head = maps > 1 ? xc_round_up(h->H, 16) * h->D : 0;
    const int64_t size = xc_round_up(h->H, 16) * h->D;

    h->w_panels = xc_run_scratch(c->run, (size_t)(maps * size) * sizeof *h->w_panels);
    if (!h->w_panels) return xc_fail_nomem(err, (size_t)(maps * size) * sizeof *h->w_panels);
    for (int64_t m = 0; m < maps; m++) {
        xc_hedgehog_panel_rows(h->w_panels + m * size, h->w + m * h->H * h->D, h->D, h->H, h->D);
        for (int64_t i = 0; i < size; i++) h->w_panels[m * size + i] *= h->root;
    }
    return XC_OK;
}

/* ---- forward ---- */
struct room { /* a thread's */
    float *u, *phi, *t, *v, *s, *s_panel, *match, *k_panel, *sum; /* (CHUNK, H) (CHUNK, F) (F, CHUNK); panels; S (F, D1); (CHUNK, CHUNK); (CHUNK, D1) */
};

struct job {
    struct xc_hedgehog h;
    float *scratch;
    int64_t each;
};

/* Room of so many floats from base on; without a base they are only counted. */
static float *place(float *base, int64_t *at, int64_t floats)
{
    float *p = base ? base + *at : NULL;

    *at += xc_round_up(floats, 16);
    return p;
}

static int64_t lay(const struct xc_hedgehog *h, struct room *r, float *base)
{
    const int64_t D16 = xc_round_up(h->D1, 16);
    int64_t at = 0;

    r->u = place(base, &at, CHUNK * h->H);
    r->phi = place(base, &at, CHUNK * h->F);
    r->t = place(base, &at, CHUNK * h->F);
    r->v = place(base, &at, CHUNK * D16);
    r->s = place(base, &at, h->F * h->D1);
    r->s_panel = place(base, &at, h->F * D16);
    r->match = place(base, &at, CHUNK * CHUNK);
    r->k_panel = place(base, &at, CHUNK * h->F);
    r->sum = place(base, &at, CHUNK * h->D1);
    return at;
}

/* S += phi(k)^T [v, 1] of keys k0 to k0 + T - 1; leaves their features in phi and their values in v. */
static void add_keys(const struct xc_hedgehog *h, const struct room *r, int64_t s, int64_t head, int64_t k0, int64_t T)
{
    const int64_t g = head / (h->heads / h->kv);

    xc_hedgehog_features(h, r->phi, r->u, xc_seq_data(h->k, s, g * h->D) + k0 * h->k->cols, h->k->cols, T, head);
    xc_hedgehog_values(h, r->v, xc_seq_data(h->v, s, g * h->D) + k0 * h->v->cols, h->v->cols, T);
    xc_hedgehog_transpose(r->t, r->phi, h->F, T, h->F);
    if (h->attr->causal) xc_hedgehog_panel_rows(r->k_panel, r->phi, h->F, T, h->F);
    xc_hedgehog_product(h, r->s, h->D1, r->t, T, r->v, h->F, h->D1, T, true);
}

/* y of queries q0 to q0 + T - 1 from S as it is in s_panel, and with causal from the keys of the chunk: the first query sees `seen` of them. */
static void answer(const struct xc_hedgehog *h, const struct room *r, int64_t s, int64_t head, int64_t q0, int64_t T, int64_t seen, int64_t keys)
{
    float *out = (float *)h->c->out[0]->data + (h->q->rag->start[s] + q0) * h->q->cols + head * h->D;

    xc_hedgehog_features(h, r->phi, r->u, xc_seq_data(h->q, s, head * h->D) + q0 * h->q->cols, h->q->cols, T, head);
    xc_hedgehog_product(h, r->sum, h->D1, r->phi, h->F, r->s_panel, T, h->D1, h->F, false);
    if (keys) {
        xc_hedgehog_product(h, r->match, keys, r->phi, h->F, r->k_panel, T, keys, h->F, false);
        for (int64_t i = 0; i < T; i++)
            for (int64_t j = seen + i; j < keys; j++) r->match[i * keys + j] = 0.0f;
        xc_hedgehog_product(h, r->sum, h->D1, r->match, keys, r->v, T, h->D1, keys, true);
    }
    for (int64_t i = 0; i < T; i++) {
        const float *row = r->sum + i * h->D1, inv = row[h->D] > 0.0f ? 1.0f / row[h->D] : 0.0f;

        for (int64_t d = 0; d < h->D; d++) out[i * h->q->cols + d] = row[d] * inv;
    }
}

/* Item: (sequence, head). */
static void attend(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_hedgehog *h = &j->h;
    const int64_t s = item / h->heads, head = item % h->heads, n_q = xc_seq_rows(h->q, s), n_k = xc_seq_rows(h->k, s);
    struct room r;

    lay(h, &r, j->scratch + thread * j->each);
    memset(r.s, 0, (size_t)(h->F * h->D1) * sizeof *r.s);
    if (h->attr->causal) {
        for (int64_t k0 = 0; k0 < n_k; k0 += CHUNK) {
            const int64_t T = xc_min_i64(CHUNK, n_k - k0), q0 = xc_max_i64(0, k0 - (n_k - n_q)), q1 = k0 + T - (n_k - n_q);

            xc_hedgehog_panel_cols(r.s_panel, r.s, h->D1, h->F, h->D1); /* of the chunks before */
            add_keys(h, &r, s, head, k0, T);
            if (q1 > q0) answer(h, &r, s, head, q0, q1 - q0, q0 + (n_k - n_q) - k0 + 1, T);
        }
        return;
    }
    for (int64_t k0 = 0; k0 < n_k; k0 += CHUNK) add_keys(h, &r, s, head, k0, xc_min_i64(CHUNK, n_k - k0));
    xc_hedgehog_panel_cols(r.s_panel, r.s, h->D1, h->F, h->D1);
    for (int64_t q0 = 0; q0 < n_q; q0 += CHUNK) answer(h, &r, s, head, q0, xc_min_i64(CHUNK, n_q - q0), 0, 0);
}

static enum xc_status hedgehog_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    struct job j;
    struct room r;

    XC_TRY(xc_hedgehog_open(&j.h, c, err));
    j.each = lay(&j.h, &r, NULL);
    j.scratch = xc_run_scratch(c->run, (size_t)(j.each * xc_pool_threads(c->pool)) * sizeof *j.scratch);
    if (!j.scratch) return xc_fail_nomem(err, (size_t)j.each * sizeof *j.scratch);
    xc_pool_run(c->pool, attend, &j, (int64_t)j.h.q->rag->n_seq * j.h.heads);
    return XC_OK;
}

const struct xc_attention_kind xc_attention_hedgehog = { .name = "hedgehog", .infer = hedgehog_infer, .macs = hedgehog_macs, .forward = hedgehog_forward };
