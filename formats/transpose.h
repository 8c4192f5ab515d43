/* transpose: a matrix that other people's files hold the other way round. */
#ifndef XC_FORMATS_TRANSPOSE_H
#define XC_FORMATS_TRANSPOSE_H

#include "runtime/graph/tensor.h"

/* Makes t, of rank 2, its own transpose: the axes change places, and what it was becomes its source, from which numbers are read as they are asked
 * for, window by window. */
enum xc_status xc_transpose(struct xc_tensor *t, struct xc_err *err);

#endif
