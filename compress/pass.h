/* pass: a step of compression over the graph IR. compress.c runs a list of them; each is one file with one line in passes.def.
 *
 * A pass fills one xc_layer_report per tensor it treats: in plan() from shapes alone, in apply() from the work. */
#ifndef XC_COMPRESS_PASS_H
#define XC_COMPRESS_PASS_H

#include "runtime/base/pool.h"
#include "runtime/graph/op.h"
#include "xcompress/compress.h"

struct xc_work {
    struct xc_model *model;
    const struct xc_compress_opts *opts;
    struct xc_compress_result *result; /* one layer per tensor of the model, same order */
};

struct xc_pass {
    const char *name, *summary;
    /* Decides the fate of every tensor: encodings are set on the model, tensors are not read. */
    enum xc_status (*plan)(struct xc_work *w, struct xc_err *err);
    /* Does it, tensor by tensor. */
    enum xc_status (*apply)(struct xc_work *w, struct xc_err *err);
};
extern const struct xc_pass xc_pass_quantize;

/* calibrate.c: runs the texts of opts->calibrate through the model. With ranges != NULL: largest magnitude at input 0 of each node of
 * the main graph. With quantized != NULL: fills result->layers[].output_error from the linears of both models on the same inputs. */
enum xc_status xc_calibrate(struct xc_model *f32, const struct xc_model *quantized, const struct xc_compress_opts *opts, float *ranges,
                            struct xc_compress_result *result, struct xc_err *err);

/* manifest.c: the JSON text kept in the file. `from` is hashed. */
enum xc_status xc_manifest_make(struct xc_buf **out, const char *from, const struct xc_compress_opts *opts, const struct xc_compress_result *result, struct xc_err *err);

/* What a manifest says of how the file was made; strings are allocated. */
struct xc_manifest_recipe {
    char quantize[16];
    bool small, static_ranges, calibrated;
    int64_t calibrate_rows, seed;
};
enum xc_status xc_manifest_read(struct xc_manifest_recipe *recipe, const struct xc_buf *manifest, struct xc_err *err);

#endif
