/* parallel: rows of one op shared out over the run's pool. Blocks of rows write disjoint rows, and no kernel's result depends on
 * how rows are grouped, so neither the block size nor the number of threads changes a bit. */
#ifndef XC_RUNTIME_GRAPH_OPS_PARALLEL_H
#define XC_RUNTIME_GRAPH_OPS_PARALLEL_H

#include "runtime/graph/op.h"

typedef void xc_rows_fn(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1);

/* Calls fn on blocks of `rows` rows of about 2^15 numbers each, `cols` to a row. */
void xc_rows_run(const struct xc_op_ctx *c, xc_rows_fn *fn, const void *arg, int64_t rows, int64_t cols);

#endif
