/* inventory: what a model is made of, tensor by tensor and layer by layer: kind, encoding, bytes, zeros, and the errors that its manifest
 * tells. What inspect, report and diff show. */
#ifndef XC_COMPRESS_INVENTORY_H
#define XC_COMPRESS_INVENTORY_H

#include <jansson.h>

#include "runtime/graph/graph.h"

struct xc_item {
    const struct xc_tensor *tensor;
    const char *kind;      /* the op that uses it first: "linear", "gather", ...; "bias" for a linear's; "unused" */
    char encoding[48];     /* as held, or as stored in a checkpoint */
    uint64_t count, bytes; /* numbers; bytes of all parts */
    double sparsity;       /* share of zeros, counted; -1 = not counted: the bytes are in a foreign checkpoint */
    double error;          /* relative L2 of the weight, by the manifest; -1 = it does not say */
    double output_error;   /* the same of the layer's output */
    int32_t layer;
};

/* A layer is what a name says up to its first number ("encoder.layer.3"), or else its first word ("embeddings"). */
struct xc_layer {
    char *name;
    int32_t n, first;      /* tensors; the first of them */
    uint64_t count, bytes;
    double zeros, counted; /* numbers that are zero, of those counted */
    double error, output_error; /* the largest; -1 = none known */
};

struct xc_inventory {
    struct xc_item *items; /* in the order of the model's tensors */
    struct xc_layer *layers; /* in the order of their first tensors */
    int32_t n, n_layers;
    uint64_t count, bytes;
};

/* manifest may be NULL; entries of it that are not as manifest.c writes them tell nothing. The model must outlive the inventory. */
enum xc_status xc_inventory_make(struct xc_inventory *out, const struct xc_model *m, const json_t *manifest, struct xc_err *err);
void xc_inventory_release(struct xc_inventory *inv);

#endif
