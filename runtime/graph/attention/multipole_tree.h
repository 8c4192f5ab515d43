/* multipole_tree: rows in an order in which neighbours are alike, for multipole attention. */
#ifndef XC_RUNTIME_GRAPH_ATTENTION_MULTIPOLE_TREE_H
#define XC_RUNTIME_GRAPH_ATTENTION_MULTIPOLE_TREE_H

#include <stddef.h>
#include <stdint.h>

#define XC_TREE_AXES 16

/* m (D,D) += rows' second moments about `mean` (0 or 1) times their mean, from a sample of the rows. room: 2 * D floats. */
void xc_tree_moments(float *m, float *room, const float *x, int64_t ldx, int64_t n, int64_t D, float mean);
/* key_axis and query_axis (D, XC_TREE_AXES): the directions in which the scores q . k of these queries and keys vary most, most first, both with the
 * spread that the scores have there. mq, mk (D,D) are the moments; room: 2 * XC_TREE_AXES * D floats. */
void xc_tree_axes(float *key_axis, float *query_axis, const float *mq, const float *mk, int64_t D, float *room);
/* order (n): the rows of x (n, XC_TREE_AXES) such that each `leaf` in turn are near each other: halves by rank along the axis of greatest variance, until
 * a part has `leaf` rows (the last may have fewer). room: n. */
void xc_tree_order(int32_t *order, const float *x, int64_t n, int64_t leaf, uint64_t *room);

#endif
