/* quantize_walk: weights of 6 to 2 bits in groups, one after the other in the order of the graph. */
#ifndef XC_COMPRESS_QUANTIZE_QUANTIZE_WALK_H
#define XC_COMPRESS_QUANTIZE_QUANTIZE_WALK_H

#include "compress/pass.h"

/* Gives every tensor its encoding in w->want that is in groups and not made yet. settle(w, arg): called before the first and whenever weights
 * have changed; it tells nodes that their inputs are int8 now. */
enum xc_status xc_quantize_walk(struct xc_work *w, enum xc_status (*settle)(struct xc_work *w, const void *arg, struct xc_err *err), const void *arg, struct xc_err *err);

/* Tensor t alone, as no text is known. */
enum xc_status xc_quantize_alone(struct xc_work *w, int32_t t, struct xc_err *err);

/* Is tensor t an int8 table whose steps follow the option embedding_bits? The walk makes it, too. */
bool xc_quantize_coarse(const struct xc_work *w, int32_t t);

#endif
