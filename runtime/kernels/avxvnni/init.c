/* init: what the avxvnni level overlays. */
#include "runtime/kernels/levels.h"

void xc_kernels_init__avxvnni(struct xc_kernels *k) { (void)k; }
