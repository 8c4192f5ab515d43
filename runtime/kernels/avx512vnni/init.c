/* init: what the avx512vnni level overlays. */
#include "runtime/kernels/levels.h"

void xc_kernels_init__avx512vnni(struct xc_kernels *k) { (void)k; }
