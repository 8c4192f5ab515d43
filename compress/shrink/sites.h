/* sites: the places of a graph where a width can shrink without anyone outside noticing: the heads of an attention, the neurons of a feed-forward
 * layer. Each reads one value, and adds what it makes to a residual. */
#ifndef XC_COMPRESS_SHRINK_SITES_H
#define XC_COMPRESS_SHRINK_SITES_H

#include "compress/pass.h"

struct xc_site {
    int32_t in[3], n_in;     /* nodes: the linears q, k, v; or the first linear */
    int32_t mid, out, add;   /* nodes: attention or activation function; the linear behind; the addition to the residual */
    int32_t residual;        /* value: what is added to */
    bool heads;
    int64_t units, width;    /* heads or neurons; columns of one */
    int64_t inputs, outputs; /* columns that come in and go out */
};

struct xc_sites {
    struct xc_site *site;
    int64_t n;
    size_t cap;
};

/* All sites of g, in order. A linear whose weight is shared or quantized makes none. */
enum xc_status xc_sites_find(struct xc_sites *out, const struct xc_graph *g, struct xc_err *err);
void xc_sites_release(struct xc_sites *s);

/* Multiply-adds a token of a site with that many units, in sequences of `tokens`. */
double xc_site_macs(const struct xc_site *s, int64_t units, double tokens);

/* The weight of the linear behind. */
struct xc_tensor *xc_site_weight(const struct xc_graph *g, const struct xc_site *s);
struct xc_tensor *xc_site_bias(const struct xc_graph *g, const struct xc_site *s); /* NULL */

/* Its units by the size of their weights in the linear behind, the largest first; freed with xc_free. */
enum xc_status xc_site_order(int32_t **order, const struct xc_graph *g, const struct xc_site *s, struct xc_err *err);

/* Keeps the n units in keep[] (ascending) and no others: tensors and attributes; xc_surgery_reshape comes after. */
enum xc_status xc_site_cut(struct xc_graph *g, const struct xc_site *s, const int32_t *keep, int64_t n, bool plan_only, struct xc_err *err);

#endif
