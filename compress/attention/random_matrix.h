/* random_matrix: the matrix of scores of a Synthesizer's attention as a weight, for the passes that treat it: quantize, prune, low_rank, banded. */
#ifndef XC_COMPRESS_ATTENTION_RANDOM_MATRIX_H
#define XC_COMPRESS_ATTENTION_RANDOM_MATRIX_H

#include "runtime/graph/graph.h"

/* The tensor of scores that attention node has, whole (positions or heads * positions, positions), in a band or as two factors; -1. */
int32_t xc_random_matrix(const struct xc_node *node);
/* Is it whole? */
bool xc_random_is_whole(const struct xc_node *node);
/* Does an attention of m take tensor t for its scores, and which node first? NULL. */
const struct xc_node *xc_random_owner(const struct xc_model *m, int32_t t);

/* Takes its mean from each row of a whole matrix or a band, which no softmax sees, so that a small score is one near the row's mean. Factors stay. */
enum xc_status xc_random_centre(struct xc_model *m, int32_t t, struct xc_err *err);

#endif
