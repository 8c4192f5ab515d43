/* blas: OpenBLAS as we use it. */
#ifndef XC_COMPRESS_CALIBRATE_BLAS_H
#define XC_COMPRESS_CALIBRATE_BLAS_H

#include <cblas.h>

/* One thread for OpenBLAS itself: call before any other use of it. Safe from any thread, any number of times. */
static inline void xc_blas_init(void) { openblas_set_num_threads(1); }

#endif
