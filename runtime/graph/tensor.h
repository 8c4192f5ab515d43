/* tensor: a named constant of the model: weight, bias, table. One pool per model; a tensor may be used many times and is stored
 * once (tied embeddings, shared position bias, Linformer's shared E).
 *
 * Logical shape is rows x cols in row-major order (`dim` keeps the original axes for export: a vector of C is 1 x C with rank 1;
 * a convolution kernel (out, in, k) is out x (in*k) with rank 3). For a linear, rows = outputs N, cols = inputs K.
 *
 * The bytes are loaded on demand: a tensor of a foreign checkpoint has a source (file, offset, stored type) until xc_tensor_load
 * brings it in as f32 or as stored, and xc_tensor_drop lets it go again; that is how a checkpoint larger than memory is treated
 * layer by layer. */
#ifndef XC_RUNTIME_GRAPH_TENSOR_H
#define XC_RUNTIME_GRAPH_TENSOR_H

#include "runtime/base/buf.h"
#include "runtime/graph/encoding.h"

#define XC_MAX_RANK 4
#define XC_TENSOR_MAX ((int64_t)1 << 40) /* numbers in a tensor */

struct xc_tensor;

/* Where bytes come from. read_f32 copies `n` elements starting at element `first` of the tensor, widened to f32, to dst.
 * Every tensor that names a source holds one reference: set it with t->source = xc_source_ref(src). `unref` gives one back and
 * frees the source with the last. */
struct xc_source {
    enum xc_status (*read_f32)(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *err);
    void (*unref)(struct xc_source *src);
    int refs; /* changed atomically */
};
struct xc_source *xc_source_ref(struct xc_source *src); /* returns src; NULL stays NULL */
void xc_source_unref(struct xc_source **src);           /* takes NULL, sets NULL */

struct xc_pool; /* pool.h */

struct xc_tensor {
    const char *name; /* in the model's arena; unique in the pool; the checkpoint's own name where there is one */
    int32_t rank;
    int64_t dim[XC_MAX_RANK];
    struct xc_encoding enc;
    struct xc_buf *part[XC_PART_COUNT];
    struct xc_source *source; /* one reference; NULL when there is none (any more) */
    uint64_t source_offset;   /* the source's own: byte offset in its file */
    uint8_t source_format;    /* enum xc_format as stored in the source; transposed and renamed tensors are the source's business */
    bool source_transposed;   /* stored (in, out): GPT-2's Conv1D */
    uint8_t source_file;      /* shard number */
    int32_t index;            /* scratch of one call (drop_unused); means nothing between calls */
};

int64_t xc_tensor_rows(const struct xc_tensor *t); /* dim[0]; 1 for rank 1 */
int64_t xc_tensor_cols(const struct xc_tensor *t); /* rank 1: dim[0]; else product of all axes but the first */
int64_t xc_tensor_count(const struct xc_tensor *t);
size_t xc_tensor_bytes(const struct xc_tensor *t); /* of all parts, by the encoding; 0 when it cannot be told */

/* Axes at least 1, their product at most XC_TENSOR_MAX: what every tensor of a model obeys. */
enum xc_status xc_tensor_check_dims(int32_t rank, const int64_t *dim, struct xc_err *err);

/* Makes part[DATA] an f32 (or i32) buffer in row-major order from the source; nothing to do when parts are present already. */
enum xc_status xc_tensor_load(struct xc_tensor *t, struct xc_err *err);
enum xc_status xc_tensor_load_by(struct xc_tensor *t, struct xc_pool *pool, struct xc_err *err); /* the same, read by all threads of the pool */
void xc_tensor_drop(struct xc_tensor *t); /* lets the bytes go when a source can bring them back; no-op otherwise */

/* The numbers as f32 in row-major order, whatever the encoding, into dst (count floats): dequantizes, unpacks, densifies. */
enum xc_status xc_tensor_to_f32(const struct xc_tensor *t, float *dst, struct xc_err *err);
enum xc_status xc_tensor_rows_to_f32(const struct xc_tensor *t, int64_t row0, int64_t n_rows, float *dst, struct xc_err *err);

/* Columns col0 to col0 + n - 1 of one row, of a tensor that is there and stored by rows. */
void xc_tensor_part_to_f32(const struct xc_tensor *t, int64_t row, int64_t col0, int64_t n, float *dst);

/* The tensor as the kernels gather its rows; false when they know no such rows (a panel, 6, 5, 3 or 2 bits, scales in two levels). */
struct xc_table;
bool xc_tensor_table(struct xc_table *out, const struct xc_tensor *t);

/* Replaces the bytes with f32 numbers (count floats, row-major); the encoding becomes f32/rows. */
enum xc_status xc_tensor_set_f32(struct xc_tensor *t, const float *src, struct xc_err *err);

/* Replaces encoding and bytes; takes a reference of its own to every part (NULL = absent) and lets the source go. The sizes must
 * be those of xc_encoding_part_bytes; on failure the tensor is as it was. */
enum xc_status xc_tensor_set_encoded(struct xc_tensor *t, const struct xc_encoding *enc, struct xc_buf *const part[XC_PART_COUNT],
                                     struct xc_err *err);

/* Lets go of bytes and source; the name and the shape stay. */
void xc_tensor_clear(struct xc_tensor *t);

#endif
