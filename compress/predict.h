/* predict: how small a file --store small will make, before the work: samples of every tensor are brought into their encoding and packed. */
#ifndef XC_COMPRESS_PREDICT_H
#define XC_COMPRESS_PREDICT_H

#include "runtime/graph/graph.h"

/* fast_bytes: the size of the fast file (exact). Tensors are read in windows of some rows; m has the shapes that the file will have, and
 * `source` the weights: a tensor that is in m alone, or has another shape there, counts as the mean of the others. Zeros that pruning will make are not foreseen. */
enum xc_status xc_predict_small(uint64_t *bytes, const struct xc_model *m, const struct xc_model *source, const struct xc_encoding *want, uint64_t fast_bytes, struct xc_err *err);

#endif
