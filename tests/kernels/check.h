/* check: what the parts of check_kernels share: counts, random operands, outputs with guards. Every operand lies at the very end of its own heap block, so that a
 * sanitizer build sees any read beyond it; all are freed together after each case. */
#ifndef XC_TESTS_KERNELS_CHECK_H
#define XC_TESTS_KERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/kernels/kernels.h"

extern int n_passed, n_failed;
extern const struct xc_kernels *ref; /* scalar */
extern uint64_t seed;

void check(bool ok, const char *level, const char *what);

/* ---- operands ---- */
enum { N_WIDTHS = 15 };
extern const int64_t widths[N_WIDTHS]; /* of rows */

enum fill { RANDOM, ALL_MAX, ALL_MIN, ALTERNATE, ZERO, SPIKY, N_FILLS };

void *block(size_t bytes);
void free_blocks(void);
uint32_t rnd(void);
float rndf(float limit); /* -limit to limit */
float *floats(int64_t n, enum fill fill);
/* Rows of int8 with zeros from K to the row's multiple of 4 and garbage beyond. */
int8_t *rows_s8(int64_t R, int64_t K, int64_t ld, enum fill fill);
int32_t *row_sums(const int8_t *x, int64_t R, int64_t K, int64_t ld);
/* Weights whose squares may be summed in 16 bits: 4 * 45 <= 254, 8 * 45^2 <= 128^2. */
void sum16_weights(int8_t *w, int64_t n);
uint16_t *halves(int64_t n);   /* f16 */
uint8_t *zeros_s4(int64_t n);  /* any byte: a hostile file may say anything */
struct xc_gemm_s4 s4_operands(int64_t R, int64_t N, int64_t K, int64_t group, int64_t ldx, enum fill fill, bool affine, bool bytes);
void *scratch_for(int64_t D); /* of attention */

struct attn_case {
    int64_t n_q, n_k, D;
    bool causal, bias;
    enum fill fill;
};
struct attn_case attn_case(int i);
/* Quantized q, k, v of one head; operands from floats by the reference packing. */
struct xc_attn_s8 attn_s8_operands(const struct attn_case *c);

/* An output: its bytes, guards and gaps start from one pattern, so that comparing whole blocks sees every stray write. */
struct out {
    unsigned char *base;
    size_t bytes;
};
struct out output(size_t bytes);
void *data(struct out o);
bool same(struct out a, struct out b);

/* ---- a level against scalar, bit for bit ---- */
void check_gemm_s8(const struct xc_kernels *k);
void check_gemm_sparse(const struct xc_kernels *k);
void check_gemm_s4(const struct xc_kernels *k);
void check_gemm_f32(const struct xc_kernels *k);
void check_gemm_bf16(const struct xc_kernels *k);
void check_attn(const struct xc_kernels *k);
void check_attn_runs(const struct xc_kernels *k);
void check_lsh(const struct xc_kernels *k);
void check_norm(const struct xc_kernels *k);
void check_quantize(const struct xc_kernels *k);
void check_elementwise(const struct xc_kernels *k);
void check_encode(const struct xc_kernels *k);

/* ---- scalar against the oracle in double precision (oracle.h) ---- */
void check_oracle_functions(void);
void check_oracle_gemm(void);
void check_oracle_gemm_s4(void);
void check_oracle_attention(void);
void check_oracle_rows(void);
void check_oracle_encode(void);

#endif
