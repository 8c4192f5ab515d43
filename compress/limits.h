/* limits: how much of the machine a run may take. */
#ifndef XC_COMPRESS_LIMITS_H
#define XC_COMPRESS_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* A quarter of the memory that this process may use: of the machine, or of its control group where that has less. */
uint64_t xc_memory_default(void);

struct xc_model;

/* Do the weights of a model, once all are in memory, take more than half of what is allowed (0 = the default)? Then they come and go node by node. */
bool xc_memory_is_short(const struct xc_model *m, uint64_t max_memory);

#endif
