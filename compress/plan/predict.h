/* predict: how small a file --store small will make, before the work: samples of every tensor are brought into their encoding and packed. */
#ifndef XC_COMPRESS_PLAN_PREDICT_H
#define XC_COMPRESS_PLAN_PREDICT_H

#include "runtime/graph/graph.h"

/* packed (by tensor of m; may be NULL): what the parts of a tensor pack to, where that is known; -1 = not. fast_bytes: the size of the fast file (exact). Tensors are read in windows of some rows; m has the shapes that the file will have, and
 * `source` the weights: a tensor that is in m alone, or has another shape there, counts as the mean of the others. Zeros that pruning will make are not foreseen. */
enum xc_status xc_predict_small(uint64_t *bytes, const struct xc_model *m, const struct xc_model *source, const struct xc_encoding *want, const double *packed, uint64_t fast_bytes,
                                struct xc_err *err);

/* What the writer packs the parts of an encoded tensor to, to the byte. */
enum xc_status xc_predict_packed(uint64_t *bytes, struct xc_buf *const part[XC_PART_COUNT], const struct xc_encoding *enc, struct xc_err *err);

#endif
