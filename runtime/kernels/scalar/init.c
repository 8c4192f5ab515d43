/* init: the scalar level, which every other level overlays. */
#include "runtime/kernels/scalar/scalar.h"

void xc_kernels_init__scalar(struct xc_kernels *k)
{
    *k = (struct xc_kernels){
        .isa = "scalar",
        .gemm_s8 = xc_gemm_s8__scalar,
        .gemm_nm_s8 = xc_gemm_nm_s8__scalar,
        .gemm_block_s8 = xc_gemm_block_s8__scalar,
        .gemm_s4 = xc_gemm_s4__scalar,
        .gemm_f32 = xc_gemm_f32__scalar,
        .gemm_bf16 = xc_gemm_bf16__scalar,
        .bf16_rows = xc_bf16_rows__scalar,
        .bf16_panel_rows = xc_bf16_panel_rows__scalar,
        .bf16_panel_cols = xc_bf16_panel_cols__scalar,
        .attn_s8 = xc_attn_s8__scalar,
        .attn_f32 = xc_attn_f32__scalar,
        .attn_runs_s8 = xc_attn_runs_s8__scalar,
        .attn_runs_f32 = xc_attn_runs_f32__scalar,
        .norm_f32 = xc_norm_f32__scalar,
        .quantize_rows_s8 = xc_quantize_rows_s8__scalar,
        .quantize_rows_affine = xc_quantize_rows_affine__scalar,
        .pack_keys_s8 = xc_pack_keys_s8__scalar,
        .pack_values_s8 = xc_pack_values_s8__scalar,
        .act_f32 = xc_act_f32__scalar,
        .act_grad_f32 = xc_act_grad_f32__scalar,
        .adamw_f32 = xc_adamw_f32__scalar,
        .row_peak = xc_row_peak__scalar,
        .step_sums = xc_step_sums__scalar,
        .screen_f32 = xc_screen_f32__scalar,
        .screen_s8 = xc_screen_s8__scalar,
        .error_s8 = xc_error_s8__scalar,
        .add_f32 = xc_add_f32__scalar,
        .mul_f32 = xc_mul_f32__scalar,
        .gather_rows = xc_gather_rows__scalar,
        .softmax_rows = xc_softmax_rows__scalar,
        .mean_rows = xc_mean_rows__scalar,
        .max_rows = xc_max_rows__scalar,
        .l2_normalize_rows = xc_l2_normalize_rows__scalar,
        .f16_to_f32 = xc_f16_to_f32__scalar,
        .bf16_to_f32 = xc_bf16_to_f32__scalar,
    };
}
