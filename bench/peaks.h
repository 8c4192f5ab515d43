/* peaks: what one core of this machine can do at best, measured: multiply-accumulate chains in registers, and reading memory.
 * Written in assembly, so that no compiler spills or reorders them. A run takes about a tenth of a millisecond; callers keep the
 * shortest of many. */
#ifndef XC_BENCH_PEAKS_H
#define XC_BENCH_PEAKS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/clock.h"

/* One chain: run() loops n times over macs multiply-accumulates. */
struct peak {
    const char *name;  /* JSON key */
    const char *needs; /* a level of xc_kernels_for */
    const char *what;
    bool is_float;
    double macs;
    void (*run)(uint64_t n);
    double best; /* seconds for PEAK_LOOPS loops */
};
#define PEAK_LOOPS 20000

#define CLOBBERS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
                 "xmm14", "xmm15", "cc"
/* Every register starts as zero: no subnormals, no NaN. Operands: 12 weight, 13 activation, 14 ones; 10, 11, 15 temporary. */
#define CHAIN(name, zero, body)                                                                                             \
    static void name(uint64_t n)                                                                                            \
    {                                                                                                                       \
        __asm__ volatile(zero ".p2align 5\n1:\n" body "dec %0\njnz 1b\nvzeroupper\n" : "+r"(n) : : CLOBBERS);                \
    }

#if defined(__x86_64__)
#define Z(r) "vpxor %%xmm" r ", %%xmm" r ", %%xmm" r "\n"
#define ZERO Z("0") Z("1") Z("2") Z("3") Z("4") Z("5") Z("6") Z("7") Z("8") Z("9") Z("10") Z("11") Z("12") Z("13") Z("14") Z("15")
#define TEN(F) F("0", "10") F("1", "11") F("2", "15") F("3", "10") F("4", "11") F("5", "15") F("6", "10") F("7", "11") F("8", "15") F("9", "10")
#define NINE(F) F("0", "9", "10") F("1", "11", "15") F("2", "9", "10") F("3", "11", "15") F("4", "9", "10") F("5", "11", "15") \
                F("6", "9", "10") F("7", "11", "15") F("8", "9", "10")

#define SIGN(t) "vpxor %%ymm13, %%ymm12, %%ymm" t "\nvpmaddubsw %%ymm" t ", %%ymm13, %%ymm" t "\n"
#define UNSIGN(t) "vpmaddubsw %%ymm12, %%ymm13, %%ymm" t "\n"
#define WIDEN(a, t) "vpmaddwd %%ymm14, %%ymm" t ", %%ymm" t "\nvpaddd %%ymm" t ", %%ymm" a ", %%ymm" a "\n"
#define S8(a, t) SIGN(t) WIDEN(a, t)
#define U8(a, t) UNSIGN(t) WIDEN(a, t)
#define S8_16(a, t, u) SIGN(t) SIGN(u) "vpaddw %%ymm" u ", %%ymm" t ", %%ymm" t "\n" WIDEN(a, t)
#define U8_16(a, t, u) UNSIGN(t) UNSIGN(u) "vpaddw %%ymm" u ", %%ymm" t ", %%ymm" t "\n" WIDEN(a, t)
#define ADD16(t, u) UNSIGN(u) "vpaddw %%ymm" u ", %%ymm" t ", %%ymm" t "\n"
#define CALM(a, t, u) UNSIGN(t) ADD16(t, u) ADD16(t, u) ADD16(t, u) "vpsubw %%ymm12, %%ymm" t ", %%ymm" t "\n" WIDEN(a, t)
#define FMA(a, t) "vfmadd231ps %%ymm13, %%ymm12, %%ymm" a "\n"
#define DOT_VEX(a, t) "%{vex%} vpdpbusd %%ymm13, %%ymm12, %%ymm" a "\n"
#define DOT_512(a, t) "vpdpbusd %%zmm13, %%zmm12, %%zmm" a "\n"
#define BF16_512(a, t) "vdpbf16ps %%zmm13, %%zmm12, %%zmm" a "\n"
#define FMA_512(a, t) "vfmadd231ps %%zmm13, %%zmm12, %%zmm" a "\n"

CHAIN(peak_s8, ZERO, TEN(S8))
CHAIN(peak_u8, ZERO, TEN(U8))
CHAIN(peak_s8_16, ZERO, NINE(S8_16))
CHAIN(peak_u8_16, ZERO, NINE(U8_16))
CHAIN(peak_calm, ZERO, NINE(CALM))
CHAIN(peak_fma, ZERO, TEN(FMA))
CHAIN(peak_dot_vex, ZERO, TEN(DOT_VEX))
CHAIN(peak_dot_512, ZERO, TEN(DOT_512))
CHAIN(peak_fma_512, ZERO, TEN(FMA_512))
CHAIN(peak_bf16_512, ZERO, TEN(BF16_512))

static struct peak peaks[] = {
    {"int8_s8", "avx2", "signed x signed: vpxor, vpmaddubsw, vpmaddwd, vpaddd", false, 10 * 32, peak_s8, 0},
    {"int8_s8_sum16", "avx2", "the same, two vpmaddubsw added before vpmaddwd", false, 9 * 64, peak_s8_16, 0},
    {"int8_u8", "avx2", "unsigned x signed: vpmaddubsw, vpmaddwd, vpaddd", false, 10 * 32, peak_u8, 0},
    {"int8_u8_sum16", "avx2", "the same, two vpmaddubsw added before vpmaddwd", false, 9 * 64, peak_u8_16, 0},
    {"int8_calm", "avx2", "calm rows: four vpmaddubsw and the offset added before vpmaddwd", false, 9 * 128, peak_calm, 0},
    {"f32_fma", "avx2", "vfmadd231ps ymm", true, 10 * 8, peak_fma, 0},
    {"int8_vnni256", "avxvnni", "vpdpbusd ymm", false, 10 * 32, peak_dot_vex, 0},
    {"int8_vnni512", "avx512vnni", "vpdpbusd zmm", false, 10 * 64, peak_dot_512, 0},
    {"f32_fma512", "avx512vnni", "vfmadd231ps zmm", true, 10 * 16, peak_fma_512, 0},
    {"bf16_dot512", "avx512bf16", "vdpbf16ps zmm", true, 10 * 32, peak_bf16_512, 0},
};
#elif defined(__aarch64__)
#define TEN(F) F("0") F("1") F("2") F("3") F("4") F("5") F("6") F("7") F("8") F("9") F("10") F("11")
#define SDOT(a) "sdot v" a ".4s, v12.16b, v13.4b[0]\n"
#define FMLA(a) "fmla v" a ".4s, v12.4s, v13.s[0]\n"
#define ARM_CHAIN(name, body)                                                                                               \
    static void name(uint64_t n)                                                                                            \
    {                                                                                                                       \
        __asm__ volatile(".arch_extension dotprod\nmovi v12.4s, #0\nmovi v13.4s, #0\n1:\n" body "subs %0, %0, #1\nb.ne 1b\n" \
                         : "+r"(n) : : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "cc"); \
    }
ARM_CHAIN(peak_sdot, TEN(SDOT))
ARM_CHAIN(peak_fmla, TEN(FMLA))

static struct peak peaks[] = {
    {"int8_sdot", "neon", "sdot", false, 12 * 16, peak_sdot, 0},
    {"f32_fma", "neon", "fmla", true, 12 * 4, peak_fmla, 0},
};
#else
static struct peak peaks[] = {{NULL, "none", "", false, 0, NULL, 0}};
#endif

#define N_PEAKS (sizeof peaks / sizeof peaks[0])

static inline void peak_measure(struct peak *p)
{
    const double start = xc_seconds();

    p->run(PEAK_LOOPS);

    const double t = xc_seconds() - start;

    if (p->best == 0 || t < p->best) p->best = t;
}

/* 1e9 operations a second; a multiply-accumulate is two. 0 when it was not measured. */
static inline double peak_gops(const struct peak *p) { return p->best > 0 ? 2 * p->macs * PEAK_LOOPS / p->best * 1e-9 : 0; }

static inline double peak_named(const char *name)
{
    for (size_t i = 0; i < N_PEAKS; i++)
        if (peaks[i].name && strcmp(peaks[i].name, name) == 0) return peak_gops(&peaks[i]);
    return 0;
}

#endif
