/* rows: norms, quantization, packing, elementwise kernels and pooling with NEON. */
#include "runtime/kernels/neon/isa.h"
#include "runtime/kernels/neon/lanes.h"
#include "runtime/kernels/lanes/encode.h"
#include "runtime/kernels/lanes/lsh.h"
#include "runtime/kernels/lanes/rows.h"
#include "runtime/kernels/lanes/train.h"

void xc_init_rows__neon(struct xc_kernels *k)
{
    lanes_init_rows(k);
    lanes_init_train(k);
    lanes_init_encode(k);
    lanes_init_lsh(k);
}
