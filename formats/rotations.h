/* rotations: the random directions by which Reformer hashes tokens, where a checkpoint brings none (Hugging Face draws new ones in every call, and
 * saves none). A tensor of the model like any other: made when its numbers are first read, stored with them from then on. */
#ifndef XC_FORMATS_ROTATIONS_H
#define XC_FORMATS_ROTATIONS_H

#include "runtime/graph/tensor.h"

/* Gives t the numbers N(0, 1) of Philox stream `stream` under `seed`, number i from counter i / 2: the same for any window and any machine whose libm
 * rounds log, sin and cos to the same float. */
enum xc_status xc_rotations_bind(struct xc_tensor *t, uint64_t seed, uint64_t stream, struct xc_err *err);

#endif
