/* safetensors: the tensors of a checkpoint, one file or shards with an index, read on demand in bounded windows.
 *
 * File: u64 little-endian header size, JSON header {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {...}}, data.
 * Source: the format's README and its validation rules (no holes, no overlaps, nothing after the end). */
#ifndef XC_FORMATS_SAFETENSORS_H
#define XC_FORMATS_SAFETENSORS_H

#include "runtime/graph/tensor.h"

struct xc_st_tensor {
    char *name;
    char dtype[8];      /* as stored: "F32", "BF16", "I64", ... */
    int32_t rank;
    int64_t dim[8];
    uint64_t offset, bytes; /* in its file */
    int32_t file;
};

struct xc_checkpoint {
    struct xc_source base; /* first: tensors point at it */
    struct xc_st_tensor *tensors;
    size_t n_tensors, cap_tensors;
    struct xc_st_file { char *path; int fd; uint64_t size; } *files;
    size_t n_files, cap_files;
};

/* dir holds model.safetensors, or model.safetensors.index.json and its shards. One reference, given back by xc_checkpoint_unref. */
enum xc_status xc_checkpoint_open(struct xc_checkpoint **out, const char *dir, struct xc_err *err);
void xc_checkpoint_unref(struct xc_checkpoint **cp);

const struct xc_st_tensor *xc_checkpoint_find(const struct xc_checkpoint *cp, const char *name);

/* Makes t read from st: shape is the caller's business. Takes a reference. XC_E_UNSUPPORTED for a stored type that is no float. */
enum xc_status xc_checkpoint_bind(struct xc_checkpoint *cp, struct xc_tensor *t, const struct xc_st_tensor *st, struct xc_err *err);

/* Adds the tensors of one header (n bytes of JSON) of file `file`, whose data starts at data_at and ends at file_size: the entry for the
 * fuzzer. */
enum xc_status xc_safetensors_header(struct xc_checkpoint *cp, const char *json, size_t n, uint64_t data_at, uint64_t file_size, int32_t file,
                                     const char *name, struct xc_err *err);

/* ---- writing ---- */
/* Writes f32, f16 or bf16 (enum xc_format) tensors, dequantized, in the order given; atomic. names may differ from t->name. */
enum xc_status xc_safetensors_write(const char *path, struct xc_tensor *const *tensors, int32_t n, int format, struct xc_err *err);

#endif
