/* synthesizer: scores that are made, not matched. Tay et al. 2020, arXiv:2005.00743.
 *
 *   in    q, k (R, heads*D), read by the dot part only; v (R, kv*D); of one row space
 *         random (positions or heads*positions, positions) tensor; with rank: (.., 2*rank), R = R1 R2^T, R1 and R2 side by side;
 *                with a band w = attr window: (.., 2*w+1), the scores of keys i-w to i+w of query i; nobody sees others. It is then the only part
 *         weight (positions or heads*positions, H) tensor, hidden (R, heads*H), bias (1 or heads, positions) tensor: dense, B_ij = hidden_i . weight_j + bias_j
 *         factors (R, heads*(a+b)), a = attr factor, a*b = positions: factorised dense, B_ij = A_i[j mod a] C_i[j div a]
 *         mixture (1, parts) tensor: the parts weighted by its softmax, in the order dot, random, dense, factorised; absent: plain sum
 *   attr  positions, rank, window, factor; dot: scale q k^T is a part too (the hybrid)
 *   out   y (R, heads*D) = softmax(sum of the parts) v; causal too. More than `positions` tokens are an error
 *
 * Made scores are not scaled. A tile of queries needs one row of scores each: memory is linear. int8: probabilities by row and block of keys,
 * values by channel and block. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/synthesizer.h"
#include "runtime/kernels/scalar/math.h"

static bool given(const struct xc_infer *c, int i) { return i < c->node->n_in && c->node->in[i].kind != XC_REF_NONE; }

/* A tensor for all heads or for each. */
static enum xc_status need_heads(const struct xc_infer *c, int i, int64_t rows, int64_t cols, struct xc_err *err)
{
    const int32_t heads = ((const struct xc_attr_attention *)c->node->attr)->heads;

    XC_TRY(xc_need_tensor(c, i, -1, -1, err));
    const struct xc_tensor *t = xc_infer_tensor(c, i);

    if (t->enc.layout != XC_LAYOUT_ROWS) return xc_fail(err, XC_E_FORMAT, "synthesizer tensor '%s' is not stored by rows", t->name);
    if (t->rank != 2 || t->dim[1] != cols || (t->dim[0] != rows && t->dim[0] != rows * heads))
        return xc_fail(err, XC_E_SHAPE, "synthesizer tensor '%s' must be (%lld or %d times as many, %lld)", t->name, (long long)rows, heads, (long long)cols);
    return XC_OK;
}

static enum xc_status need_rows(const struct xc_infer *c, int i, const char *name, struct xc_err *err)
{
    const int32_t heads = ((const struct xc_attr_attention *)c->node->attr)->heads;

    XC_TRY(xc_need_value(c, i, XC_DTYPE_F32, err));
    if (xc_infer_value(c, i)->space != xc_infer_value(c, 0)->space || xc_infer_value(c, i)->cols % heads)
        return xc_fail(err, XC_E_SHAPE, "synthesizer %s must have rows like q and columns for %d heads", name, heads);
    return XC_OK;
}

static enum xc_status synthesizer_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *a = c->node->attr;
    const int parts = a->dot + given(c, XC_SYNTH_R) + given(c, XC_SYNTH_W) + given(c, XC_SYNTH_FACTORS);

    if (xc_infer_value(c, 0)->space != xc_infer_value(c, 1)->space) return xc_fail(err, XC_E_FORMAT, "synthesizer attention needs queries and keys of one row space");
    if (a->positions < 1) return xc_fail(err, XC_E_RANGE, "synthesizer attention needs its number of positions");
    if (parts == 0) return xc_fail(err, XC_E_FORMAT, "synthesizer attention has no part that makes scores");
    if (a->window && (!given(c, XC_SYNTH_R) || parts != 1 || a->rank)) return xc_fail(err, XC_E_FORMAT, "synthesizer attention has a band where a whole random matrix is its only part");
    if (a->window >= a->positions) return xc_fail(err, XC_E_RANGE, "synthesizer attention: a band of %d is no narrower than its %d positions", a->window, a->positions);
    if (given(c, XC_SYNTH_R)) XC_TRY(need_heads(c, XC_SYNTH_R, a->positions, a->rank ? 2 * (int64_t)a->rank : a->window ? 2 * (int64_t)a->window + 1 : a->positions, err));
    if (given(c, XC_SYNTH_W) != given(c, XC_SYNTH_HIDDEN)) return xc_fail(err, XC_E_FORMAT, "synthesizer attention takes a weight and its hidden rows, or neither");
    if (given(c, XC_SYNTH_W)) {
        XC_TRY(need_rows(c, XC_SYNTH_HIDDEN, "hidden rows", err));
        XC_TRY(need_heads(c, XC_SYNTH_W, a->positions, xc_infer_value(c, XC_SYNTH_HIDDEN)->cols / a->heads, err));
    }
    if (given(c, XC_SYNTH_B)) {
        if (!given(c, XC_SYNTH_W)) return xc_fail(err, XC_E_FORMAT, "synthesizer attention has a bias but no weight");
        XC_TRY(need_heads(c, XC_SYNTH_B, 1, a->positions, err));
    }
    if (given(c, XC_SYNTH_FACTORS)) {
        XC_TRY(need_rows(c, XC_SYNTH_FACTORS, "factors", err));
        const int64_t both = xc_infer_value(c, XC_SYNTH_FACTORS)->cols / a->heads;

        if (a->factor < 1 || (both - a->factor) * a->factor != a->positions)
            return xc_fail(err, XC_E_SHAPE, "synthesizer factors of %d and %lld columns do not make %d positions", a->factor, (long long)(both - a->factor), a->positions);
    }
    return given(c, XC_SYNTH_MIX) ? xc_need_tensor(c, XC_SYNTH_MIX, 1, parts, err) : XC_OK;
}

static double synthesizer_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    if (attr->window) return n_q * fmin(n_k, (attr->causal ? 1 : 2) * (double)attr->window + 1) * D * attr->heads;
    return (attr->causal ? 0.5 : 1.0) * n_q * n_k * D * attr->heads * (attr->dot ? 2 : 1);
}

/* ---- scores ---- */
void xc_synth_panel(float *panel, const float *x, int64_t ldx, int64_t n, int64_t C)
{
    for (int64_t j0 = 0; j0 < n; j0 += 16, panel += 16 * C)
        for (int64_t d = 0; d < C; d++)
            for (int64_t j = 0; j < 16; j++) panel[d * 16 + j] = j0 + j < n ? x[(j0 + j) * ldx + d] : 0.0f;
}

/* Panels of every head's rows of a tensor, or of the one for all. */
static enum xc_status panels_of(const struct xc_synth *s, float **out, int64_t *one, int64_t *head, const float *x, int64_t ldx, int64_t rows, int64_t C, struct xc_err *err)
{
    const int64_t n = rows / s->L, size = xc_round_up(s->L, 16) * C;

    *out = xc_run_scratch(s->c->run, (size_t)(n * size) * sizeof **out);
    if (!*out) return xc_fail_nomem(err, (size_t)(n * size) * sizeof **out);
    for (int64_t h = 0; h < n; h++) xc_synth_panel(*out + h * size, x + h * s->L * ldx, ldx, s->L, C);
    *one = n > 1 ? size : 0;
    *head = n > 1 ? s->L * ldx : 0;
    return XC_OK;
}

static enum xc_status load_mixture(struct xc_synth *s, struct xc_err *err)
{
    const struct xc_tensor *t = s->c->tensor[XC_SYNTH_MIX];
    const float *x = NULL;
    float top = -INFINITY, sum = 0;
    int n = 0;

    for (int p = 0; p < XC_SYNTH_PARTS; p++) s->weight[p] = 1.0f, s->index[p] = s->has[p] ? n++ : 0;
    if (!t) return XC_OK;
    XC_TRY(xc_attention_tensor(s->c, t, &x, err));
    for (int i = 0; i < n; i++) top = x[i] > top ? x[i] : top;
    for (int i = 0; i < n; i++) sum += xc_exp_f32(x[i] - top);
    for (int p = 0; p < XC_SYNTH_PARTS; p++)
        if (s->has[p]) s->weight[p] = xc_exp_f32(x[s->index[p]] - top) / sum;
    return XC_OK;
}

enum xc_status xc_synth_open(struct xc_synth *s, const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    const struct xc_tensor *r = c->tensor[XC_SYNTH_R], *w = c->tensor[XC_SYNTH_W], *b = c->tensor[XC_SYNTH_B];

    *s = (struct xc_synth){ .c = c, .attr = attr, .q = c->in[0], .k = c->in[1], .v = c->in[2], .hidden = c->in[XC_SYNTH_HIDDEN], .factors = c->in[XC_SYNTH_FACTORS],
                            .heads = attr->heads, .kv = xc_attention_kv_heads(attr), .D = c->in[0]->cols / attr->heads, .L = attr->positions, .rank = attr->rank, .band = attr->window, .a = attr->factor,
                            .has = { attr->dot, r != NULL, w != NULL, c->in[XC_SYNTH_FACTORS] != NULL } };
    s->scale = xc_attention_scale(attr, s->D);
    for (int32_t i = 0; i < s->q->rag->n_seq; i++)
        if (xc_seq_rows(s->q, i) > s->L)
            return xc_fail(err, XC_E_RANGE, "node '%s': sequence %d has %lld tokens, its scores reach %lld", c->node->name, i, (long long)xc_seq_rows(s->q, i), (long long)s->L);
    if (r) {
        const int64_t cols = r->dim[1];

        s->r_cols = cols;
        if (xc_synth_plain(r)) s->r = (const float *)(const void *)r->part[XC_PART_DATA]->data; /* it may be large */
        else if (!xc_synth_is_random(attr, s->has) && c->prepared) s->r = c->prepared;
        else if (!xc_synth_is_random(attr, s->has)) XC_TRY(xc_attention_tensor(c, r, &s->r, err));
        s->r_head = r->dim[0] > s->L ? s->L * cols : 0;
        if (s->rank) XC_TRY(panels_of(s, &s->r2_panels, &s->r2_panel, &s->r_head, s->r + s->rank, cols, r->dim[0], s->rank, err));
    }
    if (w) {
        s->H = w->dim[1];
        XC_TRY(xc_attention_tensor(c, w, &s->w, err));
        XC_TRY(panels_of(s, &s->w_panels, &s->w_panel, &s->w_head, s->w, s->H, w->dim[0], s->H, err));
    }
    if (b) {
        XC_TRY(xc_attention_tensor(c, b, &s->bias, err));
        s->b_head = b->dim[0] > 1 ? s->L : 0;
    }
    if (s->factors) s->b = s->factors->cols / s->heads - s->a;
    return load_mixture(s, err);
}

static void product(const struct xc_synth *s, float *out, const float *x, int64_t ldx, const float *panel, int64_t T, int64_t n, int64_t K)
{
    const struct xc_gemm_f32 g = { .x = x, .ldx = ldx, .w = panel, .N = n, .K = K, .ep = { .out = out, .ld_out = n } };

    s->c->kern->gemm_f32(&g, 0, T, 0, n);
}

void xc_synth_keys(const struct xc_synth *s, int64_t row0, int64_t T, int64_t n, int64_t *key0, int64_t *keys)
{
    *key0 = s->band ? xc_max_i64(0, row0 - s->band) / 16 * 16 : 0;
    *keys = (s->band ? xc_min_i64(n, row0 + T + s->band) : n) - *key0;
}

/* The scores of the band of rows row0 on, for keys key0 on; what lies outside is not written. */
static void band_part(const struct xc_synth *s, float *part, int64_t head, int64_t row0, int64_t T, int64_t key0, int64_t keys)
{
    for (int64_t i = 0; i < T; i++) {
        const int64_t from = xc_max_i64(key0, row0 + i - s->band), to = xc_min_i64(key0 + keys, row0 + i + s->band + 1);

        memcpy(part + i * keys + from - key0, s->r + head * s->r_head + (row0 + i) * s->r_cols + from - (row0 + i - s->band), (size_t)(to - from) * sizeof *part);
    }
}

void xc_synth_part(const struct xc_synth *s, float *part, enum xc_synth_part which, int64_t seq, int64_t head, int64_t row0, int64_t T, int64_t n, const float *k_panel)
{
    if (which == XC_SYNTH_DOT) {
        product(s, part, xc_seq_data(s->q, seq, head * s->D) + row0 * s->q->cols, s->q->cols, k_panel, T, n, s->D);
        for (int64_t i = 0; i < T * n; i++) part[i] *= s->scale;
    } else if (which == XC_SYNTH_RANDOM && s->rank) {
        product(s, part, s->r + head * s->r_head + row0 * 2 * s->rank, 2 * s->rank, s->r2_panels + head * s->r2_panel, T, n, s->rank);
    } else if (which == XC_SYNTH_RANDOM) {
        for (int64_t i = 0; i < T; i++) memcpy(part + i * n, s->r + head * s->r_head + (row0 + i) * s->L, (size_t)n * sizeof *part);
    } else if (which == XC_SYNTH_DENSE) {
        product(s, part, xc_seq_data(s->hidden, seq, head * s->H) + row0 * s->hidden->cols, s->hidden->cols, s->w_panels + head * s->w_panel, T, n, s->H);
        for (int64_t i = 0; s->bias && i < T; i++)
            for (int64_t j = 0; j < n; j++) part[i * n + j] += s->bias[head * s->b_head + j];
    } else {
        for (int64_t i = 0; i < T; i++) {
            const float *A = xc_seq_data(s->factors, seq, head * (s->a + s->b)) + (row0 + i) * s->factors->cols, *C = A + s->a;

            for (int64_t j = 0, at = 0, of = 0; j < n; j++) {
                part[i * n + j] = A[at] * C[of];
                if (++at == s->a) at = 0, of++;
            }
        }
    }
}

static void band_probabilities(const struct xc_synth *s, float *p, int64_t head, int64_t row0, int64_t T, int64_t n)
{
    int64_t key0, keys;

    xc_synth_keys(s, row0, T, n, &key0, &keys);
    band_part(s, p, head, row0, T, key0, keys);
    for (int64_t i = 0; i < T; i++) {
        float *row = p + i * keys;
        const int64_t from = xc_max_i64(key0, row0 + i - s->band) - key0, to = xc_min_i64(key0 + keys, row0 + i + 1 + (s->attr->causal ? 0 : s->band)) - key0;

        s->c->kern->softmax_rows(row + from, row + from, 1, to - from);
        memset(row, 0, (size_t)from * sizeof *row);
        memset(row + to, 0, (size_t)(keys - to) * sizeof *row);
    }
}

void xc_synth_probabilities(const struct xc_synth *s, float *p, float *other, int64_t seq, int64_t head, int64_t row0, int64_t T, int64_t n, const float *k_panel)
{
    bool first = true;

    if (s->band) {
        band_probabilities(s, p, head, row0, T, n);
        return;
    }
    for (int which = 0; which < XC_SYNTH_PARTS; which++) {
        float *to = first ? p : other;

        if (!s->has[which]) continue;
        xc_synth_part(s, to, (enum xc_synth_part)which, seq, head, row0, T, n, k_panel);
        if (s->weight[which] != 1.0f)
            for (int64_t i = 0; i < T * n; i++) to[i] *= s->weight[which];
        if (!first) s->c->kern->add_f32(p, p, other, T * n);
        first = false;
    }
    for (int64_t i = 0; i < T; i++) {
        const int64_t seen = s->attr->causal ? row0 + i + 1 : n;

        s->c->kern->softmax_rows(p + i * n, p + i * n, 1, seen);
        for (int64_t j = seen; j < n; j++) p[i * n + j] = 0.0f;
    }
}

/* ---- forward ---- */
struct job {
    struct xc_synth s;
    int64_t longest, *tile, *key, *block; /* keys of a tile at most; (n_seq + 1): items of attend, keys padded to 16, blocks before it */
    float *k_panels, *v_panels;           /* by head of keys; f32 values as panels of D outputs */
    int8_t *v8;
    float *v_scale;
    uint8_t *scratch;
    size_t each;
};

/* Item: (sequence, head of keys). */
static void pack_item(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_synth *s = &j->s;
    const int64_t n_seq = s->q->rag->n_seq, seq = item / s->kv, g = item % s->kv, D = s->D, D16 = xc_round_up(D, 16), n = xc_seq_rows(s->v, seq);
    const float *v = xc_seq_data(s->v, seq, g * D);

    (void)thread;
    if (n == 0) return;
    if (s->has[XC_SYNTH_DOT]) xc_synth_panel(j->k_panels + (g * j->key[n_seq] + j->key[seq]) * D, xc_seq_data(s->k, seq, g * D), s->k->cols, n, D);
    if (s->attr->quantized) {
        const int64_t at = g * j->block[n_seq] + j->block[seq];

        s->c->kern->pack_values_s8(j->v8 + at * XC_KEY_BLOCK * D16, j->v_scale + at * D16, v, s->v->cols, n, D);
        return;
    }
    float *panel = j->v_panels + (g * j->key[n_seq] + j->key[seq]) * D16;

    for (int64_t d0 = 0; d0 < D; d0 += 16, panel += 16 * n)
        for (int64_t r = 0; r < n; r++)
            for (int64_t d = 0; d < 16; d++) panel[r * 16 + d] = d0 + d < D ? v[r * s->v->cols + d0 + d] : 0.0f;
}

/* Item: (sequence, head, tile of queries), in this order. */
static void attend(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_synth *s = &j->s;
    const int64_t n_seq = s->q->rag->n_seq, seq = xc_find_share(j->tile, n_seq, item), n = xc_seq_rows(s->q, seq), tiles = xc_div_up(n, XC_SYNTH_TILE), D = s->D;
    const int64_t h = (item - j->tile[seq]) / tiles, g = h / (s->heads / s->kv), row0 = (item - j->tile[seq]) % tiles * XC_SYNTH_TILE, T = xc_min_i64(XC_SYNTH_TILE, n - row0);
    const int64_t D16 = xc_round_up(D, 16);
    float *p = (float *)(void *)(j->scratch + (size_t)thread * j->each), *other = p + XC_SYNTH_TILE * j->longest, *scale = other + XC_SYNTH_TILE * j->longest;
    float *out = (float *)s->c->out[0]->data + (s->q->rag->start[seq] + row0) * s->q->cols + h * D;
    int32_t *sum = (int32_t *)(void *)(scale + XC_SYNTH_TILE);
    int8_t *p8 = (int8_t *)(sum + XC_SYNTH_TILE);

    xc_synth_probabilities(s, p, other, seq, h, row0, T, n, s->has[XC_SYNTH_DOT] ? j->k_panels + (g * j->key[n_seq] + j->key[seq]) * D : NULL);
    if (!s->attr->quantized) {
        const float *panel = j->v_panels + (g * j->key[n_seq] + j->key[seq]) * D16;
        int64_t key0, keys;

        xc_synth_keys(s, row0, T, n, &key0, &keys);
        for (int64_t d0 = 0; d0 < D; d0 += s->band ? 16 : D) { /* some of a panel's rows: panel by panel */
            const int64_t N = s->band ? xc_min_i64(16, D - d0) : D;
            const struct xc_gemm_f32 m = { .x = p, .ldx = keys, .w = panel + d0 * n + key0 * 16, .N = N, .K = keys, .ep = { .out = out + d0, .ld_out = s->q->cols } };

            s->c->kern->gemm_f32(&m, 0, T, 0, N);
        }
        return;
    }
    for (int64_t j0 = 0; j0 < n; j0 += XC_KEY_BLOCK) {
        const int64_t count = xc_min_i64(XC_KEY_BLOCK, n - j0), at = g * j->block[n_seq] + j->block[seq] + j0 / XC_KEY_BLOCK;
        const struct xc_epilogue ep = { .row_scale = scale, .col_scale = j->v_scale + at * D16, .residual = j0 ? out : NULL, .ld_residual = s->q->cols, .out = out, .ld_out = s->q->cols };

        if (count < XC_KEY_BLOCK) memset(p8, 0, (size_t)(T * XC_KEY_BLOCK)); /* products go over whole blocks */
        s->c->kern->quantize_rows_s8(p8, XC_KEY_BLOCK, scale, sum, p + j0, n, NULL, T, count, 0.0f);
        s->c->kern->gemm_s8(&(struct xc_gemm_s8){ .x = p8, .ldx = XC_KEY_BLOCK, .x_sum = sum, .w = j->v8 + at * XC_KEY_BLOCK * D16, .N = D, .K = XC_KEY_BLOCK, .ep = ep }, 0, T, 0, D);
    }
}

static enum xc_status synthesizer_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    struct job j = { 0 };
    int64_t n_seq, D16;

    XC_TRY(xc_synth_open(&j.s, c, err));
    if (xc_synth_is_random(attr, j.s.has)) return xc_synth_random_forward(&j.s, err);
    n_seq = j.s.q->rag->n_seq;
    D16 = xc_round_up(j.s.D, 16);
    j.tile = xc_run_scratch(c->run, (size_t)(3 * (n_seq + 1)) * sizeof *j.tile);
    if (!j.tile) return xc_fail_nomem(err, (size_t)(3 * (n_seq + 1)) * sizeof *j.tile);
    j.key = j.tile + n_seq + 1, j.block = j.key + n_seq + 1;
    j.tile[0] = j.key[0] = j.block[0] = 0;
    for (int64_t s = 0; s < n_seq; s++) {
        const int64_t n = xc_seq_rows(j.s.q, s);

        j.longest = xc_max_i64(j.longest, n);
        j.tile[s + 1] = j.tile[s] + j.s.heads * xc_div_up(n, XC_SYNTH_TILE);
        j.key[s + 1] = j.key[s] + xc_round_up(n, 16);
        j.block[s + 1] = j.block[s] + xc_div_up(n, XC_KEY_BLOCK);
    }
    if (j.s.band) j.longest = xc_min_i64(j.longest, XC_SYNTH_TILE + 2 * j.s.band + 16); /* of a tile's keys */
    const size_t keys = (size_t)(j.s.kv * j.key[n_seq] + 16), blocks = (size_t)(j.s.kv * j.block[n_seq] + 1);

    j.each = (size_t)xc_round_up(2 * XC_SYNTH_TILE * j.longest * (int64_t)sizeof(float) + XC_SYNTH_TILE * (8 + XC_KEY_BLOCK) + 64, XC_ALIGN);
    j.scratch = xc_run_scratch(c->run, j.each * (size_t)xc_pool_threads(c->pool));
    j.k_panels = xc_run_scratch(c->run, j.s.has[XC_SYNTH_DOT] ? keys * (size_t)j.s.D * sizeof(float) : 1);
    j.v_panels = xc_run_scratch(c->run, attr->quantized ? 1 : keys * (size_t)D16 * sizeof(float));
    j.v8 = xc_run_scratch(c->run, attr->quantized ? blocks * XC_KEY_BLOCK * (size_t)D16 : 1);
    j.v_scale = xc_run_scratch(c->run, blocks * (size_t)D16 * sizeof(float));
    if (!j.scratch || !j.k_panels || !j.v_panels || !j.v8 || !j.v_scale) return xc_fail_nomem(err, keys * (size_t)D16 * sizeof(float));
    xc_pool_run(c->pool, pack_item, &j, n_seq * j.s.kv);
    xc_pool_run(c->pool, attend, &j, j.tile[n_seq]);
    return XC_OK;
}

const struct xc_attention_kind xc_attention_synthesizer = { .name = "synthesizer", .infer = synthesizer_infer, .macs = synthesizer_macs, .forward = synthesizer_forward,
                                                             .prepared_bytes = xc_synth_random_bytes, .prepare = xc_synth_random_prepare };
