/* clock: monotonic time. */
#ifndef XC_RUNTIME_BASE_CLOCK_H
#define XC_RUNTIME_BASE_CLOCK_H

#include <time.h>

/* Seconds since some moment before the process; never goes back. */
static inline double xc_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
