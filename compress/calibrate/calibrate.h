/* calibrate: what real texts do inside a model: the magnitudes at the input of each linear, and the error that a changed weight makes at
 * each linear's output. Texts run node by node in small batches, so that memory is that of one batch. */
#ifndef XC_COMPRESS_CALIBRATE_CALIBRATE_H
#define XC_COMPRESS_CALIBRATE_CALIBRATE_H

#include "runtime/base/pool.h"
#include "runtime/graph/graph.h"
#include "xcompress/compress.h"

struct xc_op_ctx;

/* ---- texts: calibration_texts.c ---- */
/* Up to `most` texts of a file, spread evenly over it; empty lines are skipped. A table (.tsv, .tsv.zst) gives the columns whose name begins
 * with text, sentence, question, premise or hypothesis, or else its last. Each text is cut to 64 KB. */
struct xc_texts {
    char **text;
    size_t *length;
    int64_t n;
    size_t cap_text, cap_length;
};
enum xc_status xc_texts_read(struct xc_texts *out, const char *path, int64_t most, struct xc_err *err);
void xc_texts_release(struct xc_texts *texts);

/* ---- ranges ---- */
/* A histogram of |x| per node of one graph, on bins of equal ratio: 32 to a factor of two. */
struct xc_ranges {
    const char *graph;   /* its name; lives as long as the model calibrated */
    uint64_t **bins;     /* by node; NULL for one that is no linear, or was never reached */
    float *max;
    int32_t n_nodes;
};
void xc_ranges_release(struct xc_ranges *ranges);

/* The scale for input 0 of node n of g: range / 127. method: "absmax", "percentile", "mse". 0 when nothing was seen. */
float xc_ranges_scale(const struct xc_ranges *ranges, const struct xc_graph *g, int32_t n, const char *method, double percentile);

struct xc_calibration {
    struct xc_ranges *ranges;        /* NULL, or filled */
    const struct xc_model *changed;  /* NULL, or a model of the same nodes: its linears run on the same inputs */
    double *output_error;            /* with changed: by tensor of `changed`, relative L2 of the outputs; -1 where nothing was seen */
    /* NULL, or called at every linear of every batch, in the order of the nodes: c->in[0] is what it reads */
    enum xc_status (*each)(void *arg, const struct xc_op_ctx *c, int32_t node, struct xc_err *err);
    /* With ranks, which take batches in turn: called by all after each round, in which the first n of them had a batch. */
    enum xc_status (*after)(void *arg, int n, struct xc_err *err);
    void *each_arg;
    int64_t texts, tokens;           /* filled */
};

/* Runs the texts through graph "encode" of `model`, whose weights are brought in (and stay). opts->ranks share the batches out; what is filled is that of all. */
enum xc_status xc_calibrate(struct xc_calibration *c, struct xc_model *model, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err);

#endif
