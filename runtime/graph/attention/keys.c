/* keys: see keys.h. */
#include <math.h>
#include <string.h>

#include "runtime/graph/attention/keys.h"

enum xc_status xc_keys_sets(struct xc_keys_s8 *keys, struct xc_run *run, int64_t n_sets, struct xc_err *err)
{
    const size_t bytes = ((size_t)n_sets + 1) * sizeof *keys->set;

    keys->n_sets = n_sets;
    keys->set = xc_run_scratch(run, bytes);
    if (!keys->set) return xc_fail_nomem(err, bytes);
    memset(keys->set, 0, bytes);
    return XC_OK;
}

enum xc_status xc_keys_room(struct xc_keys_s8 *keys, struct xc_run *run, int64_t heads, int64_t D, struct xc_err *err)
{
    const int64_t D4 = xc_round_up(D, 4), D16 = xc_round_up(D, 16);
    const struct xc_key_set *all = &keys->set[keys->n_sets];

    for (int64_t i = 0; i < keys->n_sets; i++) {
        const struct xc_key_set *s = &keys->set[i];
        const int64_t blocks = xc_div_up(s->rows, XC_KEY_BLOCK), rows16 = xc_round_up(s->rows, 16);
        struct xc_key_set *next = &keys->set[i + 1];

        next->k = s->k + rows16 * D4;
        next->k_scale = s->k_scale + rows16;
        next->v = s->v + blocks * XC_KEY_BLOCK * D16;
        next->v_scale = s->v_scale + blocks * D16;
    }
    keys->D = D;
    keys->k = xc_run_scratch(run, (size_t)(heads * all->k));
    keys->v = xc_run_scratch(run, (size_t)(heads * all->v));
    keys->k_scale = xc_run_scratch(run, (size_t)(heads * all->k_scale) * sizeof *keys->k_scale);
    keys->v_scale = xc_run_scratch(run, (size_t)(heads * all->v_scale) * sizeof *keys->v_scale);
    if (!keys->k || !keys->v || !keys->k_scale || !keys->v_scale) return xc_fail_nomem(err, (size_t)(heads * all->v));
    return XC_OK;
}

void xc_keys_pack(const struct xc_keys_s8 *keys, const struct xc_kernels *kern, int64_t head, int64_t set, const float *k, int64_t ldk, const float *v, int64_t ldv)
{
    const struct xc_key_run_s8 to = xc_keys_run(keys, head, set, 0, 0);
    const int64_t n = keys->set[set].rows;

    if (n == 0) return;
    kern->pack_keys_s8((int8_t *)to.k, (float *)to.k_scale, k, ldk, n, keys->D);
    kern->pack_values_s8((int8_t *)to.v, (float *)to.v_scale, v, ldv, n, keys->D);
}

struct packing {
    const struct xc_kernels *kern;
    const struct xc_key_source *source;
    const int64_t *item; /* (n + 1): items before a source's */
    int64_t n, heads;
};

/* Item: (source, block of XC_KEY_BLOCK rows, keys or values, head), in this order. */
static void pack_block(void *arg, int64_t item, int thread)
{
    const struct packing *p = arg;
    const int64_t i = xc_find_share(p->item, p->n, item), at = item - p->item[i], head = at % p->heads, first = at / p->heads / 2 * XC_KEY_BLOCK;
    const struct xc_key_source *s = &p->source[i];
    const int64_t n = xc_min_i64(XC_KEY_BLOCK, s->to->set[s->set].rows - first), D = s->to->D;
    const struct xc_key_run_s8 to = xc_keys_run(s->to, head, s->set, first, n);

    (void)thread;
    if (at / p->heads % 2 == 0) p->kern->pack_keys_s8((int8_t *)to.k, (float *)to.k_scale, s->k + first * s->ldk + head * D, s->ldk, n, D);
    else p->kern->pack_values_s8((int8_t *)to.v, (float *)to.v_scale, s->v + first * s->ldv + head * D, s->ldv, n, D);
}

enum xc_status xc_keys_pack_all(const struct xc_op_ctx *c, int64_t heads, const struct xc_key_source *source, int64_t n, struct xc_err *err)
{
    int64_t *item = xc_run_scratch(c->run, ((size_t)n + 1) * sizeof *item);

    if (!item) return xc_fail_nomem(err, ((size_t)n + 1) * sizeof *item);
    item[0] = 0;
    for (int64_t i = 0; i < n; i++) item[i + 1] = item[i] + 2 * heads * xc_div_up(source[i].to->set[source[i].set].rows, XC_KEY_BLOCK);
    xc_pool_run(c->pool, pack_block, &(struct packing){ .kern = c->kern, .source = source, .item = item, .n = n, .heads = heads }, item[n]);
    return XC_OK;
}

struct xc_key_run_s8 xc_keys_run(const struct xc_keys_s8 *keys, int64_t head, int64_t set, int64_t first, int64_t n)
{
    const struct xc_key_set *s = &keys->set[set], *all = &keys->set[keys->n_sets];
    const int64_t D4 = xc_round_up(keys->D, 4), D16 = xc_round_up(keys->D, 16);

    return (struct xc_key_run_s8){ .see.n = n, .k = keys->k + head * all->k + s->k + first * D4, .k_scale = keys->k_scale + head * all->k_scale + s->k_scale + first,
                                   .v = keys->v + head * all->v + s->v + first * D16, .v_scale = keys->v_scale + head * all->v_scale + s->v_scale + first / XC_KEY_BLOCK * D16 };
}

enum xc_status xc_queries_room(struct xc_queries_s8 *queries, struct xc_run *run, int64_t heads, int64_t rows, int64_t D, struct xc_err *err)
{
    const size_t all = (size_t)(heads * rows);

    *queries = (struct xc_queries_s8){ .rows = rows, .D = D, .ld = xc_round_up(D, 4) };
    queries->q = xc_run_scratch(run, all * (size_t)queries->ld);
    queries->scale = xc_run_scratch(run, all * sizeof *queries->scale);
    queries->sum = xc_run_scratch(run, all * sizeof *queries->sum);
    return queries->q && queries->scale && queries->sum ? XC_OK : xc_fail_nomem(err, all * (size_t)queries->ld);
}

void xc_queries_pack(const struct xc_queries_s8 *queries, const struct xc_kernels *kern, int64_t head, int64_t row0, int64_t n, const float *q, int64_t ldq)
{
    const int64_t at = head * queries->rows + row0;

    kern->quantize_rows_s8(queries->q + at * queries->ld, queries->ld, queries->scale + at, queries->sum + at, q, ldq, NULL, n, queries->D, 0.0f);
}

size_t xc_tile_bytes(int64_t n, int64_t D) { return (size_t)(n * (xc_round_up(D, XC_ALIGN) + 8)); }

struct xc_queries_s8 xc_tile_queries(void *at, const struct xc_kernels *kern, const float *q, int64_t ldq, int64_t n, int64_t D)
{
    struct xc_queries_s8 t = { .q = at, .rows = n, .D = D, .ld = xc_round_up(D, 4) };

    t.scale = (float *)(void *)(t.q + n * xc_round_up(D, XC_ALIGN));
    t.sum = (int32_t *)(void *)(t.scale + n);
    xc_queries_pack(&t, kern, 0, 0, n, q, ldq);
    return t;
}

float xc_attention_scale(const struct xc_attr_attention *attr, int64_t D) { return attr->scale != 0.0f ? attr->scale : 1.0f / sqrtf((float)D); }

enum xc_status xc_attention_scratch(const struct xc_op_ctx *c, int64_t D, size_t more, uint8_t **scratch, size_t *each, struct xc_err *err)
{
    const size_t threads = (size_t)xc_pool_threads(c->pool);

    *each = (xc_attn_scratch_bytes(D) + XC_ALIGN - 1) / XC_ALIGN * XC_ALIGN + (more + XC_ALIGN - 1) / XC_ALIGN * XC_ALIGN;
    *scratch = xc_run_scratch(c->run, *each * threads);
    return *scratch ? XC_OK : xc_fail_nomem(err, *each * threads);
}

int64_t xc_find_share(const int64_t *before, int64_t n, int64_t item)
{
    int64_t lo = 0, hi = n;

    while (hi - lo > 1) {
        const int64_t mid = lo + (hi - lo) / 2;

        if (before[mid] <= item) lo = mid;
        else hi = mid;
    }
    return lo;
}

enum xc_status xc_attention_tensor(const struct xc_op_ctx *c, const struct xc_tensor *t, const float **out, struct xc_err *err)
{
    const size_t bytes = ((size_t)xc_tensor_count(t) + 64) * sizeof(float);
    float *copy = xc_run_scratch(c->run, bytes);

    if (!copy) return xc_fail_nomem(err, bytes);
    memset(copy, 0, bytes);
    *out = copy;
    return xc_tensor_to_f32(t, copy, err);
}
