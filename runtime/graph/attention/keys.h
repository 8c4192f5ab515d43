/* keys: int8 queries, keys and values of several sets of rows (a sequence, every d-th token of one, chosen tokens), head by head, in the run's
 * scratch: what kinds of attention share. */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_KEYS_H
#define XC_RUNTIME_GRAPH_ATTENTION_KEYS_H

#include "runtime/graph/op.h"

struct xc_key_set {
    int64_t rows;
    int64_t k, k_scale, v, v_scale; /* elements before it in one head's arrays */
};

struct xc_keys_s8 {
    struct xc_key_set *set; /* n_sets + 1: the last holds the totals */
    int64_t n_sets, D;
    int8_t *k, *v;
    float *k_scale, *v_scale;
};
/* The caller sets set[i].rows between the two. */
enum xc_status xc_keys_sets(struct xc_keys_s8 *keys, struct xc_run *run, int64_t n_sets, struct xc_err *err);
enum xc_status xc_keys_room(struct xc_keys_s8 *keys, struct xc_run *run, int64_t heads, int64_t D, struct xc_err *err);
/* One head of a set. */
void xc_keys_pack(const struct xc_keys_s8 *keys, const struct xc_kernels *kern, int64_t head, int64_t set, const float *k, int64_t ldk, const float *v, int64_t ldv);
/* All heads of several sets, which the pool shares out block by block: heads follow one another, so that a token's row is read while its page and the lines beside are at hand. */
struct xc_key_source {
    const struct xc_keys_s8 *to;
    int64_t set, ldk, ldv;
    const float *k, *v; /* (rows of the set; ldk and ldv apart): head h in columns h*D on */
};
enum xc_status xc_keys_pack_all(const struct xc_op_ctx *c, int64_t heads, const struct xc_key_source *source, int64_t n, struct xc_err *err);
/* Rows first (a multiple of XC_KEY_BLOCK) to first + n - 1 of a set; the caller adds who sees them. */
struct xc_key_run_s8 xc_keys_run(const struct xc_keys_s8 *keys, int64_t head, int64_t set, int64_t first, int64_t n);

struct xc_queries_s8 {
    int8_t *q;
    float *scale;
    int32_t *sum;
    int64_t rows, D, ld; /* rows of one head */
};
enum xc_status xc_queries_room(struct xc_queries_s8 *queries, struct xc_run *run, int64_t heads, int64_t rows, int64_t D, struct xc_err *err);
/* n rows of a head, to rows row0 on. */
void xc_queries_pack(const struct xc_queries_s8 *queries, const struct xc_kernels *kern, int64_t head, int64_t row0, int64_t n, const float *q, int64_t ldq);
/* n queries (ldq apart) of one head, in xc_tile_bytes of a thread's scratch, aligned, just before they are used. */
size_t xc_tile_bytes(int64_t n, int64_t D);
struct xc_queries_s8 xc_tile_queries(void *at, const struct xc_kernels *kern, const float *q, int64_t ldq, int64_t n, int64_t D);

/* How attention kinds read their attributes and rows. */
static inline int64_t xc_attention_kv_heads(const struct xc_attr_attention *attr) { return attr->kv_heads > 0 ? attr->kv_heads : attr->heads; }
float xc_attention_scale(const struct xc_attr_attention *attr, int64_t D);
static inline int64_t xc_seq_rows(const struct xc_view *v, int64_t s) { return (int64_t)v->rag->start[s + 1] - v->rag->start[s]; }
static inline const float *xc_seq_data(const struct xc_view *v, int64_t s, int64_t col) { return (const float *)v->data + (int64_t)v->rag->start[s] * v->cols + col; }
/* One thread's share of attention scratch for every thread. */
enum xc_status xc_attention_scratch(const struct xc_op_ctx *c, int64_t D, size_t more, uint8_t **scratch, size_t *each, struct xc_err *err);
/* The entry of an ascending list (n + 1 sums, the first 0) that holds item. */
int64_t xc_find_share(const int64_t *before, int64_t n, int64_t item);
/* A tensor as f32, row by row, in the run's scratch when it is not so already; readable 64 floats beyond its end. */
enum xc_status xc_attention_tensor(const struct xc_op_ctx *c, const struct xc_tensor *t, const float **out, struct xc_err *err);

#endif
