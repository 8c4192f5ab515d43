/* blocks: an encoder as distillation sees it: what the first layer reads, what each layer gives, and the queries, keys and values of its attention. */
#ifndef XC_COMPRESS_DISTILL_BLOCKS_H
#define XC_COMPRESS_DISTILL_BLOCKS_H

#include "runtime/graph/graph.h"

#define XC_MAX_BLOCKS 256

struct xc_block {
    int32_t attention;        /* node */
    int32_t query, key, value; /* values */
    int32_t hidden;           /* value: what the layer gives, (tokens, hidden) */
};

struct xc_blocks {
    struct xc_block block[XC_MAX_BLOCKS];
    int32_t n;
    int32_t embedding;        /* value: what the first layer reads, (tokens, hidden) */
    int32_t output;           /* value: the graph's first output */
};

/* Fails where the graph is no encoder of dense self-attention layers. Scale nodes of smoothing are looked through. */
enum xc_status xc_blocks_find(struct xc_blocks *out, const struct xc_graph *g, struct xc_err *err);

#endif
