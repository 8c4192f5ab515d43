/* plan: a graph made ready to run fast: fused steps, packed weights, value lifetimes.
 *
 * The plan is affine in the row counts: a new batch shape needs no new plan. Fusion never changes a bit of the answer:
 * xc_run_graph, node by node, is the meaning. */
#ifndef XC_RUNTIME_SESSION_PLAN_H
#define XC_RUNTIME_SESSION_PLAN_H

#include "runtime/graph/run.h"

struct xc_plan;

/* The graph, its model and the tensors' bytes must outlive the plan. */
enum xc_status xc_plan_new(struct xc_plan **out, const struct xc_graph *graph, const struct xc_kernels *kern, struct xc_err *err);
void xc_plan_free(struct xc_plan **plan);

/* As xc_run_graph, with the same bits. */
enum xc_status xc_plan_run(const struct xc_plan *plan, struct xc_run *run, const struct xc_view *in, const struct xc_ragged *spaces,
                           int32_t n_spaces, struct xc_view *out, struct xc_err *err);

#endif
