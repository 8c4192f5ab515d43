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

/* One without files and tensors: for the fuzzer, and for checking a config against a table of names. */
enum xc_status xc_checkpoint_new(struct xc_checkpoint **out, struct xc_err *err);

/* Entries for tensors of a model, without bytes. */
enum xc_status xc_checkpoint_declare(struct xc_checkpoint *cp, struct xc_tensor *const *tensors, int32_t n, struct xc_err *err);

/* dir holds model.safetensors, or model.safetensors.index.json and its shards. One reference, given back by xc_checkpoint_unref. */
enum xc_status xc_checkpoint_open(struct xc_checkpoint **out, const char *dir, struct xc_err *err);
void xc_checkpoint_unref(struct xc_checkpoint **cp);

/* One more file, whose tensors get `prefix` before their names (a sentence-transformers Dense module: "2_Dense."). */
enum xc_status xc_checkpoint_add(struct xc_checkpoint *cp, const char *path, const char *prefix, struct xc_err *err);

/* F32, F16 or BF16: what a weight may be. */
bool xc_st_is_float(const struct xc_st_tensor *st);

/* Puts the tensors in the order of their names, which find needs; a name that is there twice is refused. path is for the message. */
enum xc_status xc_checkpoint_sort(struct xc_checkpoint *cp, const char *path, struct xc_err *err);

const struct xc_st_tensor *xc_checkpoint_find(const struct xc_checkpoint *cp, const char *name);

/* Makes t read from st: shape is the caller's business. Takes a reference. XC_E_UNSUPPORTED for a stored type that is no float. */
enum xc_status xc_checkpoint_bind(struct xc_checkpoint *cp, struct xc_tensor *t, const struct xc_st_tensor *st, struct xc_err *err);

/* Adds the tensors of one header (n bytes of JSON) of file `file`, called `name` in messages, whose data starts at data_at and ends at
 * file_size >= data_at: also the fuzzer's entry. Names get `prefix` before them. xc_checkpoint_sort must follow. */
enum xc_status xc_safetensors_header(struct xc_checkpoint *cp, const char *json, size_t n, uint64_t data_at, uint64_t file_size, int32_t file,
                                     const char *prefix, const char *name, struct xc_err *err);

/* ---- writing: safetensors_write.c ---- */
/* Writes n tensors, dequantized, as f32, f16 or bf16 (enum xc_format) under names[i], in the order given; atomic. A number that f16 cannot
 * hold is XC_E_RANGE. */
enum xc_status xc_safetensors_write(const char *path, struct xc_tensor *const *tensors, const char *const *names, int32_t n, int format, struct xc_err *err);

#endif
