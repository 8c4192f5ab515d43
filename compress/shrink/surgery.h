/* surgery: changes of shape that passes make: rows and columns of tensors, nodes of graphs. */
#ifndef XC_COMPRESS_SHRINK_SURGERY_H
#define XC_COMPRESS_SHRINK_SURGERY_H

#include "runtime/graph/graph.h"

/* Keeps n places of one axis (0 or 1; a vector has axis 0 alone), those in keep[], in that order. The tensor is f32 afterwards; with
 * plan_only no weight is read: it has the new shape and no bytes. */
enum xc_status xc_surgery_keep(struct xc_tensor *t, int axis, const int32_t *keep, int64_t n, bool plan_only, struct xc_err *err);

/* Gives t new axes and new numbers (f32, row-major); x NULL = no bytes, for plans. */
enum xc_status xc_surgery_replace(struct xc_tensor *t, int32_t rank, const int64_t *dim, const float *x, struct xc_err *err);

/* A copy of all numbers as f32, to be freed with xc_free. */
enum xc_status xc_surgery_numbers(float **out, const struct xc_tensor *t, struct xc_err *err);

/* Everything that reads value `from` reads `to` instead; graph outputs too. */
void xc_surgery_rewire(struct xc_graph *g, int32_t from, int32_t to);

/* Removes nodes that no output of the graph needs, and their values. Ids of values and nodes change. */
enum xc_status xc_surgery_drop_dead(struct xc_graph *g, struct xc_err *err);

/* Columns of all values again, from the shapes of the tensors; fails where a node does not fit any more. */
enum xc_status xc_surgery_reshape(struct xc_graph *g, struct xc_err *err);

/* How often the nodes of all graphs name a tensor, and those of one graph (and its outputs) a value. */
int xc_surgery_tensor_uses(const struct xc_model *m, int32_t tensor);
int xc_surgery_value_uses(const struct xc_graph *g, int32_t value);

#endif
