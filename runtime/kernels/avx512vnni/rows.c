/* rows: norms, quantization, packing, elementwise kernels and pooling with AVX-512. */
#include "runtime/kernels/avx512vnni/isa.h"
#include "runtime/kernels/avx512vnni/lanes.h"
#include "runtime/kernels/lanes/encode.h"
#include "runtime/kernels/lanes/lsh.h"
#include "runtime/kernels/lanes/rows.h"
#include "runtime/kernels/lanes/train.h"

void xc_init_rows__avx512vnni(struct xc_kernels *k)
{
    lanes_init_rows(k);
    lanes_init_train(k);
    lanes_init_encode(k);
    lanes_init_lsh(k);
}
