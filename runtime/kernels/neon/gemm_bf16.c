/* gemm_bf16: this level has no product of bf16 pairs; they are widened and multiplied one after the other. */
#include "runtime/kernels/neon/isa.h"
#include "runtime/kernels/neon/lanes.h"

#define BF16_ROWS 6
#define BF16_COLS 1
#include "runtime/kernels/lanes/bf16.h"
#include "runtime/kernels/lanes/gemm_bf16.h"

void xc_init_bf16__neon(struct xc_kernels *k)
{
    k->gemm_bf16 = lanes_gemm_bf16;
    k->bf16_rows = lanes_bf16_rows;
    k->bf16_panel_rows = lanes_bf16_panel_rows;
    k->bf16_panel_cols = lanes_bf16_panel_cols;
}
