/* multipole: dense attention of an unchanged checkpoint over groups of like keys. A group takes part as one key, the mean of its keys with their number as
 * weight, and the mean of their values, except where that would matter: there its keys take part themselves. After multipole attention (Hooper et al. 2025,
 * arXiv:2506.13059) and clustered attention (Vyas et al. 2020, arXiv:2007.04825); for encoders here: queries are grouped as well.
 *
 *   in    q (Rq, heads*D), k and v (Rk, kv*D)
 *   attr  eps    the estimated error of a tile of queries: the root of the sum, over the groups that stay means, of (share of the softmax * standard deviation
 *                of the scores within)^2; 0 = dense itself. No bound, unlike that of adaptive.
 *   out   y (Rq, heads*D); not causal, since groups mix what comes before a query with what comes after
 *
 * A sequence of fewer than XC_ADAPTIVE_LEAST keys is computed by dense. Keys are put into groups of GROUP, and queries into tiles of TILE, by a tree
 * (multipole_tree.h) over their coordinates in the metric in which they meet: what moves no score counts for nothing. A tile opens a group when the mean, over
 * its ASKs of queries, of (share * deviation)^2 at their mean query is above eps^2 / groups; the deviation is that of the diagonal of the group's
 * covariance. The keys of a tile, all means (with minus infinity as the weight of those that are opened) and the keys of opened groups, are laid side by
 * side, and the dense kernel goes over them; the logarithms of weights are its bias.
 *
 * int8: keys and means by row; values of means per channel and block of XC_KEY_BLOCK means, values of keys per channel. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/keys.h"
#include "runtime/graph/attention/multipole_tree.h"
#include "runtime/kernels/scalar/math.h"

#define TILE 64  /* queries */
#define ASK 16   /* queries whose mean chooses */
#define GROUP 16 /* keys: a panel */
#define MOST_D 512

/* log(n): constants, since libraries' logf differ in the last bit. */
static const float log_of[GROUP + 1] = { 0.0f, 0.0f, 0.693147182f, 1.09861231f, 1.38629436f, 1.60943794f, 1.79175949f, 1.9459101f, 2.07944155f,
                                         2.19722462f, 2.30258512f, 2.39789534f, 2.48490667f, 2.56494927f, 2.6390574f, 2.70805025f, 2.77258873f };

static enum xc_status multipole_infer(const struct xc_infer *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->node->attr;

    for (int i = 3; i < c->node->n_in; i++)
        if (c->node->in[i].kind != XC_REF_NONE) return xc_fail(err, XC_E_FORMAT, "multipole attention takes q, k and v");
    if (attr->causal || xc_infer_value(c, 0)->cols / attr->heads > MOST_D)
        return xc_fail(err, XC_E_FORMAT, "multipole attention is not causal, and its heads have at most %d columns", MOST_D);
    return XC_OK;
}

/* Which groups are opened depends on the text; it is a fifth of them on all-MiniLM-L6-v2 and eps 0.02 (docs/attention.md). */
static double multipole_macs(const struct xc_attr_attention *attr, double n_q, double n_k, double D)
{
    return 2.0 * n_q * n_k * D * attr->heads * (attr->eps > 0.0f && n_k >= XC_ADAPTIVE_LEAST ? 0.2 + 1.5 / GROUP : 1.0);
}

struct multipole {
    const struct xc_op_ctx *c;
    const struct xc_view *q, *k, *v;
    int64_t D, K, V, heads, kv; /* K, V: bytes of a key and of its values */
    bool s8;
    float scale, eps;
    int64_t s, n_q, n_k, groups, means;      /* the sequence at hand; means: groups, padded to blocks of XC_KEY_BLOCK */
    uintptr_t memory, keys_each, queries_each; /* heads of keys, then heads of queries; bytes of one */
    uintptr_t scratch, each, room; /* of threads; bytes of one, and of all memory, which the next sequence takes where it is enough */
};

/* The pointers that a struct begins with get as many bytes each, cut from the front of mem; from 0 on, they are only counted. */
static void cut(void *to, uintptr_t *mem, const int64_t *bytes, int n)
{
    for (int i = 0; i < n; i++) {
        memcpy((char *)to + (size_t)i * sizeof *mem, mem, sizeof *mem);
        *mem += (uintptr_t)xc_round_up(bytes[i], XC_ALIGN);
    }
}
_Static_assert(sizeof(uintptr_t) == sizeof(void *) && sizeof(uintptr_t) == sizeof(float *), "pointers are numbers");
#define CUT(to, mem, ...) cut(to, mem, (const int64_t[]){ __VA_ARGS__ }, (int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)))

struct keys { /* as attn_s8 and attn_f32 have them */
    uint8_t *k, *v;
    float *k_scale, *v_scale; /* int8 */
};
static void cut_keys(struct keys *to, const struct multipole *m, uintptr_t *mem, int64_t n)
{
    CUT(to, mem, n * m->K, xc_round_up(n, XC_KEY_BLOCK) * m->V, n * 4, xc_div_up(n, XC_KEY_BLOCK) * m->V * 4);
}

struct key_head {
    float *weight, *one;   /* (means), (keys): logarithms; beyond the groups and keys -inf */
    float *near, *spread;  /* panels that choose: means of groups, and the variances within */
    struct keys mean, key; /* keys by group; int8: values are panel16 with N = D, K = keys, and have the first v_scale */
};
static void cut_key_head(struct key_head *to, const struct multipole *m, uintptr_t *mem)
{
    CUT(to, mem, m->means * 4, m->groups * GROUP * 4, m->means * m->D * 4, m->means * m->D * 4);
    cut_keys(&to->mean, m, mem, m->means);
    cut_keys(&to->key, m, mem, m->groups * GROUP);
}

struct query_head {
    int32_t *order; /* rows, tile by tile */
    uint8_t *q;     /* in this order */
    float *scale, *ask; /* int8; means of ASK queries each, scaled, (n_q / ASK, D) */
    int32_t *sum;
};
static void cut_query_head(struct query_head *to, const struct multipole *m, uintptr_t *mem)
{
    CUT(to, mem, m->n_q * 4, m->n_q * m->K, m->n_q * 4, xc_div_up(m->n_q, ASK) * m->D * 4, m->n_q * 4);
}

static uintptr_t query_memory(const struct multipole *m, int64_t h) { return m->memory + (uintptr_t)m->kv * m->keys_each + (uintptr_t)h * m->queries_each; }

/* ---- before tiles ---- */
struct packing {
    float *mq, *mk, *room, *key_axis, *query_axis;
    float *x, *rows, *sorted, *mean; /* coordinates along the axes; a head's rows side by side, as they come and in the tree's order; means of groups */
    uint64_t *sort;
    int32_t *order;
};
static void cut_packing(struct packing *to, const struct multipole *m, uintptr_t *mem)
{
    const int64_t D = m->D, rows = xc_max_i64(m->n_q, m->groups * GROUP), axes = D * XC_TREE_AXES * 4;

    CUT(to, mem, D * D * 4, D * D * 4, 2 * axes, axes, axes, rows * XC_TREE_AXES * 4, rows * D * 4, rows * D * 4, m->means * D * 4, rows * 8, rows * 4);
}

/* to (n, D) = rows of x, ld apart; all in turn, or by order. */
static void copy_rows(float *to, const float *x, int64_t ld, const int32_t *order, int64_t n, int64_t D)
{
    for (int64_t r = 0; r < n; r++) memcpy(to + r * D, x + (order ? order[r] : r) * ld, (size_t)D * sizeof *to);
}

/* The order of p->rows, and these in it. */
static void arrange(const struct multipole *m, const struct packing *p, int32_t *order, int64_t n, const float *axes, int64_t leaf)
{
    const struct xc_gemm_f32 g = { .x = p->rows, .ldx = m->D, .w = axes, .N = XC_TREE_AXES, .K = m->D, .ep = { .out = p->x, .ld_out = XC_TREE_AXES } };

    m->c->kern->gemm_f32(&g, 0, n, 0, XC_TREE_AXES);
    xc_tree_order(order, p->x, n, leaf, p->sort);
    copy_rows(p->sorted, p->rows, m->D, order, n, m->D);
}

/* mean (ceil(n / 16), D): of sixteen rows x each, times `scale`; and, unless NULL, the variances of their columns. */
static void put_means(float *restrict mean, float *restrict var, const float *restrict x, int64_t n, int64_t D, float scale)
{
    for (int64_t j = 0; j < n; j += 16, x += 16 * D, mean += D) {
        const int64_t rows = xc_min_i64(16, n - j);
        const float share = scale / (float)rows;

        for (int64_t r = 0; r < rows; r++)
            for (int64_t d = 0; d < D; d++) mean[d] = (r ? mean[d] : 0.0f) + x[r * D + d] * share;
        for (int64_t r = 0; var && r < rows; r++)
            for (int64_t d = 0; d < D; d++) var[j / 16 * D + d] = (r ? var[j / 16 * D + d] : 0.0f) + (x[r * D + d] - mean[d]) * (x[r * D + d] - mean[d]) * share;
    }
}

/* p->sorted, the keys of a head. */
static void put_keys(const struct multipole *m, const struct packing *p, const struct key_head *to)
{
    const struct xc_kernels *kern = m->c->kern;
    float *mean = m->s8 ? p->mean : (float *)(void *)to->mean.k;

    put_means(mean, p->rows, p->sorted, m->n_k, m->D, 1.0f);
    xc_pack_panel_f32(to->near, mean, m->groups, m->D);
    xc_pack_panel_f32(to->spread, p->rows, m->groups, m->D);
    if (!m->s8) return;
    kern->pack_keys_s8((int8_t *)to->key.k, to->key.k_scale, p->sorted, m->D, m->n_k, m->D);
    kern->pack_keys_s8((int8_t *)to->mean.k, to->mean.k_scale, mean, m->D, m->groups, m->D);
}

/* Their values. Scaled by channel over all keys, int8 values are the panels of a matrix of channels. */
static void put_values(const struct multipole *m, const struct packing *p, const struct key_head *to)
{
    const struct xc_kernels *kern = m->c->kern;
    const int64_t n = m->groups * GROUP;
    float *mean = m->s8 ? p->mean : (float *)(void *)to->mean.v;

    put_means(mean, NULL, p->sorted, m->n_k, m->D, 1.0f);
    if (!m->s8) return;
    xc_pack_panel_f32(p->rows, p->sorted, m->n_k, m->D);
    for (int64_t j = 0; j < n * m->D; j += 16) memcpy(p->sorted + j / 16 % m->D * n + j / 16 / m->D * 16, p->rows + j, 16 * sizeof(float));
    kern->pack_keys_s8((int8_t *)to->key.v, to->key.v_scale, p->sorted, n, m->D, n);
    kern->pack_values_s8((int8_t *)to->mean.v, to->mean.v_scale, mean, m->D, m->groups, m->D);
}

/* Item: a head of keys: its groups, and the tiles of the queries that look at it. */
static void pack_item(void *arg, int64_t item, int thread)
{
    const struct multipole *m = arg;
    const int64_t g = item, group = m->heads / m->kv, D = m->D;
    uintptr_t mem = m->scratch + (uintptr_t)thread * m->each, at = m->memory + (uintptr_t)g * m->keys_each;
    struct key_head to;
    struct packing p;

    cut_packing(&p, m, &mem);
    memset((void *)at, 0, m->keys_each);
    cut_key_head(&to, m, &at);
    memset(p.mq, 0, (size_t)(2 * D * D) * sizeof *p.mq);
    for (int64_t j = 0; j < m->means; j++) to.weight[j] = j < m->groups ? log_of[xc_min_i64(GROUP, m->n_k - j * GROUP)] : -INFINITY;
    for (int64_t j = m->n_k; j < m->groups * GROUP; j++) to.one[j] = -INFINITY;
    for (int64_t h = g * group; h < (g + 1) * group; h++) xc_tree_moments(p.mq, p.room, xc_seq_data(m->q, m->s, h * D), m->q->cols, m->n_q, D, 0.0f);
    copy_rows(p.rows, xc_seq_data(m->k, m->s, g * D), m->k->cols, NULL, m->n_k, D);
    xc_tree_moments(p.mk, p.room, p.rows, D, m->n_k, D, 1.0f);
    xc_tree_axes(p.key_axis, p.query_axis, p.mq, p.mk, D, p.room);
    if (!m->s8) p.sorted = (float *)(void *)to.key.k;
    arrange(m, &p, p.order, m->n_k, p.key_axis, GROUP);
    put_keys(m, &p, &to);
    if (!m->s8) p.sorted = (float *)(void *)to.key.v;
    copy_rows(p.sorted, xc_seq_data(m->v, m->s, g * D), m->v->cols, p.order, m->n_k, D);
    put_values(m, &p, &to);
    for (int64_t h = g * group; h < (g + 1) * group; h++) {
        uintptr_t queries = query_memory(m, h);
        struct query_head q;

        cut_query_head(&q, m, &queries);
        if (!m->s8) p.sorted = (float *)(void *)q.q;
        copy_rows(p.rows, xc_seq_data(m->q, m->s, h * D), m->q->cols, NULL, m->n_q, D);
        arrange(m, &p, q.order, m->n_q, p.query_axis, TILE);
        put_means(q.ask, NULL, p.sorted, m->n_q, D, m->scale);
        if (m->s8) m->c->kern->quantize_rows_s8((int8_t *)q.q, m->K, q.scale, q.sum, p.sorted, D, NULL, m->n_q, D, 0.0f);
    }
}

/* ---- a tile of queries ---- */
struct tile {
    uintptr_t *head; /* whose means are laid */
    float *out;      /* (TILE, D) */
    float *square, *share, *spread; /* (TILE / ASK, D); (TILE / ASK, groups) twice */
    float *bias;
    void *scratch;
    struct keys keys; /* side by side: means, then opened groups */
};
static void cut_tile(struct tile *to, const struct multipole *m, uintptr_t *mem)
{
    const int64_t D = m->D, keys = xc_round_up(m->means + m->groups * GROUP, XC_KEY_BLOCK), shares = TILE / ASK * m->means * 4;

    CUT(to, mem, 8, TILE * D * 4, TILE / ASK * D * 4, shares, shares, keys * 4, (int64_t)xc_attn_scratch_bytes(D));
    cut_keys(&to->keys, m, mem, keys);
}

/* t->share[j] is what group j would add to the square of eps if it stayed a mean. ask (asks, D). */
static void choose(const struct multipole *m, const struct tile *t, const struct key_head *k, const float *ask, int64_t asks)
{
    const struct xc_kernels *kern = m->c->kern;
    const int64_t n = m->groups;
    struct xc_gemm_f32 g = { .x = ask, .ldx = m->D, .w = k->near, .N = n, .K = m->D, .ep = { .bias = k->weight, .out = t->share, .ld_out = n } };

    kern->gemm_f32(&g, 0, asks, 0, n);
    kern->softmax_rows(t->share, t->share, asks, n);
    kern->mul_f32(t->square, ask, ask, asks * m->D);
    g.x = t->square, g.w = k->spread, g.ep.bias = NULL, g.ep.out = t->spread;
    kern->gemm_f32(&g, 0, asks, 0, n);
    kern->mul_f32(t->share, t->share, t->share, asks * n);
    kern->mul_f32(t->share, t->share, t->spread, asks * n);
    for (int64_t i = 1; i < asks; i++) kern->add_f32(t->share, t->share, t->share + i * n, n);
}

/* Lays means and opened groups side by side; returns how many keys lie there. */
static int64_t lay(const struct multipole *m, const struct tile *to, const struct key_head *k, float most)
{
    const int64_t K = m->K, V = m->V, parts = m->s8 ? V / 16 : 1, bytes = GROUP * V / parts; /* of values: int8 channels come by sixteens, of all keys */
    int64_t n = m->means;

    if (*to->head != (uintptr_t)k->weight) { /* once for the tiles of a head that come one after the other */
        *to->head = (uintptr_t)k->weight;
        memcpy(to->keys.k, k->mean.k, (size_t)(n * K));
        memcpy(to->keys.v, k->mean.v, (size_t)(n * V));
        memcpy(to->keys.k_scale, k->mean.k_scale, (size_t)n * sizeof(float));
        memcpy(to->keys.v_scale, k->mean.v_scale, (size_t)(n / XC_KEY_BLOCK * V) * sizeof(float));
        for (int64_t j = n; j < n + m->groups * GROUP; j += XC_KEY_BLOCK) memcpy(to->keys.v_scale + j / XC_KEY_BLOCK * V, k->key.v_scale, (size_t)V * sizeof(float));
    }
    memcpy(to->bias, k->weight, (size_t)n * sizeof *to->bias);
    for (int64_t j = 0; j < m->groups; j++) {
        uint8_t *v = m->s8 ? to->keys.v + n / XC_KEY_BLOCK * XC_KEY_BLOCK * V + n % XC_KEY_BLOCK * 16 : to->keys.v + n * V;

        if (!(to->share[j] > most)) continue;
        to->bias[j] = -INFINITY;
        memcpy(to->keys.k + n * K, k->key.k + j * GROUP * K, (size_t)(GROUP * K));
        memcpy(to->keys.k_scale + n, k->key.k_scale + j * GROUP, GROUP * sizeof(float));
        for (int64_t d = 0; d < parts; d++) memcpy(v + d * 16 * XC_KEY_BLOCK, k->key.v + (d * m->groups + j) * bytes, (size_t)bytes);
        memcpy(to->bias + n, k->one + j * GROUP, GROUP * sizeof *to->bias);
        n += GROUP;
    }
    return n;
}

/* Item: (head, tile of queries), in this order. */
static void attend(void *arg, int64_t item, int thread)
{
    const struct multipole *m = arg;
    const int64_t tiles = xc_div_up(m->n_q, TILE), h = item / tiles, row0 = item % tiles * TILE, T = xc_min_i64(TILE, m->n_q - row0), D = m->D;
    uintptr_t mem = m->scratch + (uintptr_t)thread * m->each, at = m->memory + (uintptr_t)(h / (m->heads / m->kv)) * m->keys_each, queries = query_memory(m, h);
    float *out = (float *)m->c->out[0]->data + m->q->rag->start[m->s] * m->q->cols + h * D;
    struct key_head k;
    struct query_head q;
    struct tile to;

    cut_tile(&to, m, &mem);
    cut_key_head(&k, m, &at);
    cut_query_head(&q, m, &queries);
    choose(m, &to, &k, q.ask + row0 / ASK * D, xc_div_up(T, ASK));

    const int64_t n = lay(m, &to, &k, (float)xc_div_up(T, ASK) * m->eps * m->eps / (float)m->groups);

    if (m->s8) {
        const struct xc_attn_s8 a = { .q = (int8_t *)q.q + row0 * m->K, .ldq = m->K, .q_scale = q.scale + row0, .k = (int8_t *)to.keys.k, .k_scale = to.keys.k_scale, .v = (int8_t *)to.keys.v,
                                      .v_scale = to.keys.v_scale, .bias = to.bias, .n_q = T, .n_k = n, .D = D, .scale = m->scale, .out = to.out, .ld_out = D, .scratch = to.scratch };

        m->c->kern->attn_s8(&a, 0, T);
    } else {
        const struct xc_attn_f32 a = { .q = (float *)(void *)(q.q + row0 * m->K), .ldq = D, .k = (float *)(void *)to.keys.k, .ldk = D, .v = (float *)(void *)to.keys.v, .ldv = D, .bias = to.bias,
                                       .n_q = T, .n_k = n, .D = D, .scale = m->scale, .out = to.out, .ld_out = D, .scratch = to.scratch };

        m->c->kern->attn_f32(&a, 0, T);
    }
    for (int64_t r = 0; r < T; r++) memcpy(out + q.order[row0 + r] * m->q->cols, to.out + r * D, (size_t)D * sizeof *out);
}

/* ---- a run ---- */
static enum xc_status attend_sequence(struct multipole *m, struct xc_err *err)
{
    union { struct key_head k; struct query_head q; struct packing p; struct tile t; } unused;
    uintptr_t packing = 0, attending = 0, all;

    m->n_q = xc_seq_rows(m->q, m->s), m->n_k = xc_seq_rows(m->k, m->s);
    m->groups = xc_div_up(m->n_k, GROUP), m->means = xc_round_up(m->groups, XC_KEY_BLOCK);
    m->keys_each = m->queries_each = 0;
    cut_key_head(&unused.k, m, &m->keys_each);
    cut_query_head(&unused.q, m, &m->queries_each);
    cut_packing(&unused.p, m, &packing);
    cut_tile(&unused.t, m, &attending);
    m->each = packing > attending ? packing : attending;
    m->scratch = (uintptr_t)m->kv * m->keys_each + (uintptr_t)m->heads * m->queries_each;
    all = m->scratch + (uintptr_t)xc_pool_threads(m->c->pool) * m->each;
    if (all > m->room) {
        m->memory = (uintptr_t)xc_run_scratch(m->c->run, all);
        if (!m->memory) return xc_fail_nomem(err, all);
        m->room = all;
    }
    m->scratch += m->memory;
    xc_pool_run(m->c->pool, pack_item, m, m->kv);
    for (int t = 0; t < xc_pool_threads(m->c->pool); t++) *(uintptr_t *)(m->scratch + (uintptr_t)t * m->each) = 0; /* no means are laid: packing lay there */
    xc_pool_run(m->c->pool, attend, m, m->heads * xc_div_up(m->n_q, TILE));
    return XC_OK;
}

static enum xc_status multipole_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_attr_attention *attr = c->attr;
    struct multipole m = { .c = c, .q = c->in[0], .k = c->in[1], .v = c->in[2], .heads = attr->heads, .kv = xc_attention_kv_heads(attr), .D = c->in[0]->cols / attr->heads,
                           .s8 = attr->quantized, .eps = attr->eps };

    XC_TRY(xc_attention_dense_below(c, attr->eps > 0.0f ? XC_ADAPTIVE_LEAST : INT64_MAX, err));
    m.K = m.s8 ? xc_round_up(m.D, 4) : m.D * (int64_t)sizeof(float);
    m.V = m.s8 ? xc_round_up(m.D, 16) : m.K;
    m.scale = xc_attention_scale(attr, m.D);
    for (; attr->eps > 0.0f && m.s < m.q->rag->n_seq; m.s++)
        if (xc_seq_rows(m.k, m.s) >= XC_ADAPTIVE_LEAST) XC_TRY(attend_sequence(&m, err));
    return XC_OK;
}

const struct xc_attention_kind xc_attention_multipole = { .name = "multipole", .infer = multipole_infer, .macs = multipole_macs, .forward = multipole_forward };
