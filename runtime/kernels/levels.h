/* levels: the overlays that a build holds. xc_kernels_init__<isa> sets the entries it improves and leaves the others as they are. */
#ifndef XC_RUNTIME_KERNELS_LEVELS_H
#define XC_RUNTIME_KERNELS_LEVELS_H

#include "runtime/kernels/kernels.h"

/* CPU features that a level needs; each has a word in XC_CPU ("-vnni" hides it). */
enum xc_cpu_feature {
    XC_CPU_AVX2 = 1 << 0,   /* AVX2, FMA and F16C together */
    XC_CPU_VNNI = 1 << 1,   /* dot products: AVX-VNNI or AVX-512 VNNI, whichever the level asks for */
    XC_CPU_AVX512 = 1 << 2, /* F, BW, VL, DQ */
    XC_CPU_DOTPROD = 1 << 3, /* Arm */
    XC_CPU_BF16 = 1 << 4,   /* AVX-512: products of bf16 pairs */
    XC_CPU_VBMI = 1 << 5    /* AVX-512 VBMI and VPOPCNTDQ: any byte of a register, and bits counted */
};

/* What the scratch of xc_attn_scratch_bytes is made of; tile sizes of every ISA stay within these. */
enum { XC_ATTN_ROWS = 32 };

void xc_kernels_init__avx2(struct xc_kernels *k);
void xc_kernels_init__avxvnni(struct xc_kernels *k);    /* on top of avx2 */
void xc_kernels_init__avx512vnni(struct xc_kernels *k); /* on top of avx2 */
void xc_kernels_init__avx512vbmi(struct xc_kernels *k); /* on top of avx512vnni */
void xc_kernels_init__avx512bf16(struct xc_kernels *k); /* on top of avx512vbmi, or of avx512vnni on a CPU without */
void xc_kernels_init__neon(struct xc_kernels *k);

#endif
