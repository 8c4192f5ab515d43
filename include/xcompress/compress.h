/* libxcompress: the toolkit: load a checkpoint, compress it, write one file.
 *
 *     struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
 *     opts.quantize = "int8";
 *     xc_compress_file("checkpoint/", "out.xc", &opts, &result, &err);
 *
 * Includes all of runtime.h: a program links libxcompress or libxcrt, not both. */
#ifndef XC_COMPRESS_H
#define XC_COMPRESS_H

#include "xcompress/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

struct xc_compress_opts {
    const char *quantize;   /* NULL = keep f32; "int8" */
    const char *calibrate;  /* NULL, or a file of texts (one a line; .tsv with a header; .zst): measures the error of layers */
    bool static_ranges;     /* activations by one calibrated scale a layer instead of one a row; needs calibrate */
    int32_t calibrate_rows; /* texts used at most */
    bool small;             /* entropy-coded file instead of one that is mapped */
    uint64_t seed;
    struct xc_pool *pool;   /* NULL = the calling thread */
    void (*progress)(void *arg, const char *what, double done, double total); /* may be NULL */
    void *progress_arg;
    int (*cancelled)(void *arg); /* polled; non-zero stops with XC_E_CANCELLED; may be NULL */
    void *cancelled_arg;
};
#define XC_COMPRESS_DEFAULT { .calibrate_rows = 256 }

/* What became of one tensor. Strings live as long as the result. */
struct xc_layer_report {
    char *name;
    char encoding[48];   /* "int8/row", "f32", "dropped" */
    char why[96];        /* the reason, for --plan */
    uint64_t bytes, source_bytes;
    double error;        /* relative L2 of the weight; 0 for unchanged */
    double output_error; /* relative L2 of the layer's output on the calibration texts; -1 = not measured */
    double sparsity;     /* share of zeros */
    int64_t clamped;     /* groups of eight changed by the pair-sum rule (kernels.h) */
};

struct xc_compress_result {
    struct xc_layer_report *layers;
    int64_t n_layers;
    uint64_t input_bytes, output_bytes;
    uint64_t parameters;
    double bits_per_weight; /* of all tensors kept, by their encodings */
    double seconds;
};
XC_API void xc_compress_result_release(struct xc_compress_result *result);

/* Compresses the model at `from` (any format) into the file `to`; `to` NULL = plan only: no tensor is read, errors and output_bytes
 * (exact for the fast store) are filled in as far as they are known before work. */
XC_API enum xc_status xc_compress_file(const char *from, const char *to, const struct xc_compress_opts *opts, struct xc_compress_result *result, struct xc_err *err);

/* Rebuilds the file at `path` from its manifest and the checkpoint at `from`, and compares decoded sections. Calls fn for each section
 * that differs. XC_E_MISMATCH when the source is another one, or a section differs. */
XC_API enum xc_status xc_reproduce(const char *path, const char *from, struct xc_pool *pool, void (*differs)(void *arg, const char *section), void *arg, struct xc_err *err);

#ifdef __cplusplus
}
#endif
#endif
