/* lsh: which chunks of tokens meet in Reformer's attention (reformer.c says how it is used). */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_LSH_H
#define XC_RUNTIME_GRAPH_ATTENTION_LSH_H

#include "runtime/graph/attention/keys.h"

struct xc_lsh {
    const struct xc_op_ctx *c;
    const struct xc_attr_attention *attr;
    int64_t D, rounds, half; /* half: columns of the rotations a round */
    const float *panels;     /* (heads) panels of rounds * half outputs, D inputs; NULL = a local layer: one round, in the order of the text */
    int64_t panel;           /* floats of one */
};
static inline int64_t xc_lsh_buckets(const struct xc_attr_attention *attr) { return (int64_t)attr->buckets * (attr->buckets2 ? attr->buckets2 : 1); }

/* Checks nothing that infer has not; panels go to the run's scratch. */
enum xc_status xc_lsh_open(struct xc_lsh *l, const struct xc_op_ctx *c, struct xc_err *err);
/* int32 of room that xc_lsh_order needs for n tokens; rounds it makes of them */
int64_t xc_lsh_room(const struct xc_lsh *l, int64_t n);
int64_t xc_lsh_rounds(const struct xc_lsh *l, int64_t n);
/* order (rounds, n): the tokens of each round by bucket, then by place. Buckets are written to run->decided (heads, rounds, rows), or taken from there. */
void xc_lsh_order(const struct xc_lsh *l, int32_t *order, int32_t *room, int64_t seq, int64_t head);

/* Chunk number i of the rounds laid end to end, counted in a circle: its tokens. */
static inline const int32_t *xc_lsh_chunk(const int32_t *order, int64_t n, int64_t rounds, int64_t chunk, int64_t i, int64_t *count)
{
    const int64_t each = xc_div_up(n, chunk), at = ((i % (each * rounds)) + each * rounds) % (each * rounds), first = at % each * chunk;

    *count = xc_min_i64(chunk, n - first);
    return order + at / each * n + first;
}

#endif
