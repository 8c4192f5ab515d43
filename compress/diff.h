/* diff: what differs between two models: facts, graphs, tensors and their numbers, and how the files were made. */
#ifndef XC_COMPRESS_DIFF_H
#define XC_COMPRESS_DIFF_H

#include <jansson.h>

#include "compress/inventory.h"

/* A fact that differs; NULL = missing on that side. Owned. */
struct xc_diff_fact {
    char *what;  /* "meta task", "labels", "tokenizer", "golden samples", "manifest recipe", ... */
    char *a, *b;
};

/* A node, an input, an output or a space of a graph that differs, as the text dump has it; NULL = missing on that side. Owned, but for graph. */
struct xc_diff_node {
    const char *graph;
    char *name;
    char *a, *b;
};

struct xc_diff_tensor {
    const char *name;
    const struct xc_item *a, *b; /* NULL = missing on that side */
    bool reshaped;
    double error;                /* relative L2 of b against a, scales of smoothing put back; NaN where shapes differ or numbers are no real ones */
};

/* What a side is, in figures. */
struct xc_diff_side {
    const char *path, *family, *task;
    int32_t n_tensors, n_layers; /* numbered layers */
    uint64_t count, bytes, file_bytes;
};

struct xc_diff {
    struct xc_diff_side a, b;
    struct xc_diff_fact *facts;
    struct xc_diff_node *nodes;
    struct xc_diff_tensor *tensors;
    int32_t n_facts, n_nodes, n_tensors;
    size_t cap_facts, cap_nodes, cap_tensors;
    int32_t n_same, n_shared;    /* tensors that are equal; that both sides have by name */
    bool equal;
    struct xc_diff_state *state; /* models and inventories that the rest points into */
};

/* Any format. How a file is stored (fast or small) is not a difference. */
enum xc_status xc_diff_make(struct xc_diff *out, const char *a, const char *b, struct xc_err *err);
void xc_diff_release(struct xc_diff *d);

#endif
