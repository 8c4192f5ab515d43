/* limits: how much of the machine a run may take. */
#ifndef XC_COMPRESS_LIMITS_H
#define XC_COMPRESS_LIMITS_H

#include <stdint.h>

/* A quarter of the memory that this process may use: of the machine, or of its control group where that has less. */
uint64_t xc_memory_default(void);

#endif
