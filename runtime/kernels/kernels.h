/* kernels: pure functions on pointers and sizes. No tensors, no allocation, no threads, no errors.
 *
 * One table of function pointers is filled with the scalar versions and overlaid ISA by ISA, once (xc_kernels()). Callers
 * never test CPU flags. XC_CPU=scalar|avx2|avxvnni|avx512vnni|avx512vbmi|avx512bf16|neon limits the overlay; "XC_CPU=avx512vnni,-vnni" masks.
 *
 * Numerics (version 1). Every ISA gives the same bits as scalar/:
 *   - integer products are exact, so their order does not matter;
 *   - a float reduction over C elements uses 16 virtual lanes: lane l sums elements l, l+16, ... in ascending order, then
 *     lanes fold as l += l+8, l += l+4, l += l+2, l += l+1;
 *   - an f32 GEMM output is one chain of fused multiply-adds over k ascending, started from 0; the bias is added last;
 *   - weights in groups: a group's integer sum is exact, and an output is one chain of fused multiply-adds by the groups' scales, ascending;
 *   - exp, erf, tanh are the polynomials of scalar/math.h, the same fused operations everywhere; no reciprocal estimates;
 *   - float to integer rounds to nearest even.
 *
 * Layouts.
 *   rows     row-major, leading dimension given in elements.
 *   panel16  a weight W (N outputs, K inputs) for GEMM: int8 as [N/16][K/4][16][4], f32 as [N/16][K][16]; N is padded to a
 *            multiple of 16 and K (int8) to a multiple of 4 with zeros. One zmm, two ymm or four NEON registers per step.
 * Sparse weights, int8, K16 = K rounded up to 16. Their products are those of the same numbers held dense.
 *   N:M      of each aligned group of eight inputs an output has at most four: w is their magnitudes, [N/16][K16/8][16][4]; a byte of the
 *            index, [N/16][K16/16][16][4], is for two groups: low nibble for the even, high for the odd. A nibble: input within the group, + 8
 *            for a negative number. Slots that are not used are 0 and 0. The pair-sum rule holds over the slots of an even and an odd group.
 *   block    16 outputs x 4 inputs: w is the kept blocks, [n][16][4], panel by panel, inputs ascending; index is a uint32 for each panel and one
 *            more: where its blocks begin; then n uint16: input / 4. The pair-sum rule holds over a panel's 1st and 2nd block, 3rd and 4th, ...
 *   compact  zeros anywhere. As held in a file: w is the numbers, output by output, inputs ascending; index is a uint32 for each panel and one more:
 *            where its numbers begin; then for each output K bits, in 64-bit words, lowest first: which inputs have a number. As multiplied: steps.
 *   steps    a step gives each of a panel's 16 outputs up to four numbers whose inputs lie in one window of 64: window v is inputs 32 v and on.
 *            w is 16 int32 for each panel, the sums of its outputs; then the steps: int8 [16][4], and their inputs within the window, [16][4],
 *            both 0 where there is none. index is a uint32 for each panel and one more: where its steps begin; then a uint16 for each step: v,
 *            ascending in a panel.
 *            int4 in groups: a nibble u in 0..15 stands for scale * (u - zero). [N/16][K/8][16][4] bytes, K padded to a multiple of 8 with
 *            zeros; byte (n, i) of an eight holds input i low and input 4 + i high: masking gives two int8 panels' steps. Scales
 *            (f16) and zeros (bytes) are [N/16][groups][16]. Up to 6 bits in groups: u in 0..63, as int8's panel, K padded to a multiple of 8.
 * Legend: R rows, N outputs, K inputs, D head dimension, C columns. */
#ifndef XC_RUNTIME_KERNELS_KERNELS_H
#define XC_RUNTIME_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xcompress/status.h"

#define XC_NUMERICS_VERSION 1
#define XC_KEY_BLOCK 128 /* keys per attention block: probabilities are scaled to their own block's maximum */
#define XC_AFFINE_SPAN 224 /* steps of an affine row; fewer than 254, so that sums of eight products mostly fit 16 bits (avx2/gemm_s8.c) */
#define XC_P_MAX 127     /* int8 attention: a block's largest probability; 7 bits so that u8 x s8 pairs never saturate */

/* Elementwise functions that a GEMM epilogue and the unary op share. */
enum xc_act {
    XC_ACT_NONE = 0,
    XC_ACT_RELU,
    XC_ACT_GELU,      /* x * Phi(x), by erf */
    XC_ACT_GELU_TANH, /* the tanh form: gelu_new, gelu_pytorch_tanh */
    XC_ACT_TANH,
    XC_ACT_SIGMOID,
    XC_ACT_SILU,
    XC_ACT_COUNT
};

/* How a finished accumulator becomes an output:
 *   int8: t = (float)acc * row_scale[r];  with row_mid, t = fmaf(row_mid[r], (float)col_sum[n], t);  y = fmaf(t, col_scale[n], bias[n])
 *   f32:  y = acc + bias[n]
 * then y = act(y), then y += residual[r][n] when there is one, then out[r][n] = y. */
struct xc_epilogue {
    const float *row_scale; /* (R); int8 only */
    const float *row_mid;   /* NULL, or (R): rows were made by quantize_rows_affine, x = row_scale * q + row_mid */
    const int32_t *col_sum; /* with row_mid: (N padded to 16), the sum of each output's int8 weights */
    const float *col_scale; /* (N padded to 16); int8 only */
    const float *bias;      /* (N padded to 16); NULL = zeros */
    enum xc_act act;
    const float *residual;  /* NULL, or (R, ld_residual) */
    int64_t ld_residual;
    float *out;
    int64_t ld_out;
};

/* y = act(x W^T + b) on rows [row0,row1) and outputs [col0,col1); col0 is a multiple of 16, col1 too or equal to N. */
struct xc_gemm_s8 {
    const int8_t *x;       /* (R, ldx), values in [-127,127]; columns K..round_up(K,4) are zero */
    int64_t ldx;           /* bytes; a multiple of 4 */
    const int32_t *x_sum;  /* (R) sum of each row's K values (quantize_rows_s8 makes it) */
    const int8_t *w;       /* panel16, values in [-127,127] */
    const void *index;     /* sparse weights: which inputs w speaks of; else unused */
    bool w_sum16;          /* the weight obeys the 16-bit rules below */
    int64_t N, K;
    struct xc_epilogue ep;
};
/* The 16-bit rules. XC_SUM16_MAX: for every output and every aligned group of 8 inputs, |w0|+|w1|+|w4|+|w5| <= 254 and
 * |w2|+|w3|+|w6|+|w7| <= 254, so that two vpmaddubsw results of |x| <= 127 can be added in 16 bits, with one unit a weight to spare
 * for negating by xor (avx2/gemm_s8.c): 127 * (254 + 4) = 32766. Ordinary weights break it in about one group in ten thousand;
 * quantization clamps those.
 * Two more bounds go with it, for rows of x that are not extreme (avx2/gemm_s8.c):
 *   XC_PAIR_MAX       neighbours w0, w1 (2, 3 and so on) of one sign have |w0 + w1| <= 129: 254 * 129 fits 16 bits;
 *   XC_LANE_SQUARES   in each aligned group of 16 inputs, of the eight weights 0 1 4 5 8 9 12 13 and of the other eight, the squares of the
 *                     positive weights sum to at most 128^2, and those of the negative ones.
 * w_sum16 promises all three (xc_sum16_ok). Kernels that do not need them ignore them. */
#define XC_SUM16_MAX 254
#define XC_PAIR_MAX 129
#define XC_LANE_SQUARES 16384

/* The same with weights of few bits in groups of inputs: for each row and output
 *   acc = 0;  for groups g ascending: acc = fmaf((float)(sum over k in g of x[k] * (u[k] - XC_S4_ZERO)), scale, acc)
 * with zeros, which nibbles have in quarters, and the caller says what they and u are worth:
 *             acc = fmaf((float)(sum over k in g of x[k] * (4 * u[k] - zero)), scale * unit, acc)
 * and for bytes XC_S4_BYTES_ZERO in place of XC_S4_ZERO, and u[k] - zero. Then
 *   y = fmaf(acc, row_scale[r], bias[n]);  with row_mid, y = fmaf(row_mid[r], w_sum[n], y);  then as above (col_scale and col_sum are not read). */
struct xc_gemm_s4 {
    const int8_t *x;       /* as in xc_gemm_s8 */
    int64_t ldx;
    const uint8_t *w;      /* panel16 */
    bool bytes;            /* u in 0..255, a byte each; else nibbles */
    const uint16_t *scale; /* f16 */
    const uint8_t *zero;   /* NULL = the same everywhere */
    float unit;            /* with zeros: a power of two, so that scale * unit is exact */
    const float *w_sum;    /* with row_mid: (N padded to 16), the sum of each output's weights (xc_panel_s4_sums) */
    int64_t N, K;
    int64_t group;         /* inputs; a multiple of XC_S4_GROUP_STEP, at most XC_S4_GROUP_MAX: sums of a group are exact floats */
    struct xc_epilogue ep;
};
#define XC_S4_ZERO 8
#define XC_S4_BYTES_ZERO 128
#define XC_S4_GROUP_STEP 32
#define XC_S4_GROUP_MAX 256
#define XC_S4_MAX_K 131072

struct xc_gemm_f32 {
    const float *x; /* (R, ldx); with x_step number (r, k) lies at r/16 * ldx + r%16 + k * x_step: x of (K, x_step) as it is has ldx 16, x in panels has x_step 16 and ldx 16 K */
    int64_t ldx, x_step;
    const float *w; /* panel16 */
    int64_t N, K;
    struct xc_epilogue ep;
};

/* Training: the product of operands rounded to bf16 (nearest even; below 2^-126 they become zero), summed in f32. Inputs go in pairs:
 *   acc = fma(x[k], w[k], fma(x[k+1], w[k+1], acc)),  k even, ascending; K is padded to even with a zero
 * then the f32 epilogue. An instruction may take sums below 2^-126 for zero: there, and only there, ISAs may differ.
 * With x_panels, x is packed like w, its rows being outputs, and row0 is a multiple of 16. */
struct xc_gemm_bf16 {
    const uint16_t *x; /* (R, ldx), or [R/16][K/2][16][2] */
    int64_t ldx;       /* even */
    bool x_panels;
    const uint16_t *w; /* [N/16][K/2][16][2] */
    int64_t N, K;
    struct xc_epilogue ep;
};

/* Weighted attention of one head over one sequence, on query rows [row0,row1):
 *   s_ij = scale * q_i . k_j (+ bias_ij);  causal: j <= i + n_k - n_q;  out_i = sum_j softmax(s_i)_j v_j */
struct xc_attn_s8 {
    const int8_t *q;        /* (n_q, ldq), in [-127,127], columns D..round_up(D,4) zero */
    int64_t ldq;
    const float *q_scale;   /* (n_q), stride 1 */
    const int8_t *k;        /* panel16 with N = n_k keys, K = D */
    const float *k_scale;   /* (n_k padded to 16) */
    const int8_t *v;        /* per key block b: panel16 with N = D, K = XC_KEY_BLOCK keys; the last block is zero-padded to four keys and not read beyond */
    const float *v_scale;   /* (blocks, D padded to 16): per channel, per key block */
    const float *bias;      /* NULL, or (n_q, ld_bias) added to the scaled scores */
    int64_t ld_bias;
    int64_t n_q, n_k, D;
    float scale;
    bool causal;
    float *out;             /* (n_q, ld_out) */
    int64_t ld_out;
    void *scratch;          /* xc_attn_scratch_bytes(), 64-byte aligned, one per thread */
};
size_t xc_attn_scratch_bytes(int64_t D); /* for both precisions, at most 64 KB for D <= 128; no term in n */

struct xc_attn_f32 {
    const float *q, *k, *v; /* (n_q, ldq) (n_k, ldk) (n_k, ldv), D columns each */
    int64_t ldq, ldk, ldv;
    const float *bias;
    int64_t ld_bias;
    int64_t n_q, n_k, D;
    float scale;
    bool causal;
    float *out;
    int64_t ld_out;
    void *scratch;
};

/* The same over keys that lie in several runs and are seen by position: what sparse attention is made of. Each run starts a block of
 * XC_KEY_BLOCK keys. Key j of a run with positions is seen by query i when low <= pos[j] - q_pos[i] <= high; with `own`, a key at the query's
 * own position has the score own_score instead of its match. A query that sees nothing gives zeros.
 * step > 0 says that pos[j] is first + j * step except for keys that no query sees, and that q_pos ascends: ends that are out of sight
 * are then not computed. */
struct xc_key_run {
    int64_t n;
    const float *pos;   /* NULL = all are seen; else (n padded to 16), whole numbers below 2^24 */
    float low, high;
    float first, step;
};
#define XC_POS_NEVER 1e30f /* of a key that no query of a run with a finite `high` sees */

struct xc_key_run_s8 {
    struct xc_key_run see;
    const int8_t *k;        /* as in xc_attn_s8 */
    const float *k_scale;
    const int8_t *v;
    const float *v_scale;
};
struct xc_key_run_f32 {
    struct xc_key_run see;
    const float *k, *v;     /* (n, ldk) (n, ldv) */
    int64_t ldk, ldv;
};

/* Leaving out blocks that matter little, with a proof. Each run is then at most one block of XC_KEY_BLOCK keys. Rows decide together, in groups of
 * XC_SKIP_ROWS_S8 or _F32 from row0 on: a block of n keys is left out when for each row
 *   (lost + n 2^(top - max)) <= eps * low
 * where top bounds the block's scores, max is the largest score so far, low bounds the sum of 2^(score - max) so far from below, and lost is the sum of
 * what was left out before. top is first `bound`, before any score is computed; then the largest score, before probabilities are. So what a row
 * leaves out is at most eps of its softmax. A row that has seen nothing leaves out nothing. Runs have no step. */
struct xc_attn_skip {
    float eps;
    const float *bound; /* NULL, or (n_q, ld_bound): of run r, at [r]; in units of log2 for int8, natural for f32 */
    int64_t ld_bound;
    float *lost;        /* NULL, or (n_q): the share of the softmax that was left out, at most */
    int64_t *count;     /* NULL, or (3), added to: blocks that groups computed, left out by bound, left out by their scores */
};
#define XC_SKIP_ROWS_S8 8
#define XC_SKIP_ROWS_F32 32

struct xc_attn_runs {
    const float *q_pos;     /* (n_q); NULL when no run has positions */
    int64_t n_runs, D;
    float scale;
    bool own;
    float own_score;
    float *out;             /* (n_q, ld_out) */
    int64_t ld_out;
    float *stat;            /* NULL, or (n_q,2): the largest score, in units of log2 for int8; and the sum of probabilities relative to it,
                               times XC_P_MAX for int8 */
    const struct xc_attn_skip *skip; /* NULL = every block counts */
    void *scratch;          /* xc_attn_scratch_bytes() */
};
struct xc_attn_runs_s8 {
    struct xc_attn_runs a;
    const struct xc_key_run_s8 *run;
    const int8_t *q;
    int64_t ldq;
    const float *q_scale;
};
struct xc_attn_runs_f32 {
    struct xc_attn_runs a;
    const struct xc_key_run_f32 *run;
    const float *q;
    int64_t ldq;
};

/* Attention over more keys: answers o (n, D) of attn_runs with their stat (n,2) join those that rows row[i] of y have by now, with stat all (2 at 2 row[i]), into one softmax. */
struct xc_join {
    float *y;            /* (rows, ldy) */
    int64_t ldy, D;
    float *all;
    const int32_t *row;  /* (n) */
    const float *o, *stat;
    bool log2, first;    /* stat is of int8; rows have none yet */
};

/* Layer norm of x (+ residual), optionally quantized in the same pass. Biased variance, as PyTorch. */
struct xc_norm {
    const float *x;         /* (R, ldx) */
    int64_t ldx;
    const float *residual;  /* NULL, or (R, ld_residual): x + residual is normalised */
    int64_t ld_residual;
    const float *gain;      /* (C) */
    const float *bias;      /* (C); NULL = zeros */
    int64_t C;
    float eps;
    bool rms;               /* RMS norm: no mean, no bias */
    float *out;             /* (R, ld_out); may alias x */
    int64_t ld_out;
    float *stat;            /* NULL, or (R,2) = mean, rstd */
    int8_t *q;              /* NULL, or (R, ldq): the result quantized as by quantize_rows_s8 */
    int64_t ldq;
    float *q_scale;         /* (R) */
    int32_t *q_sum;         /* (R) */
    float static_scale;     /* 0 = dynamic per row */
    const float *q_gain;    /* NULL, or (C): what is quantized is the result times this */
};

/* A table of rows to gather from; dtype says how a row is stored. */
struct xc_table {
    const void *rows; /* (n, C): f32, f16, bf16 or int8, row-major; int4: rows of round_up(C,2)/2 bytes, the even column in the low nibble */
    const float *scale; /* (n) for int8 */
    int64_t n, C;
    int bits; /* XC_TABLE_* */
    const uint16_t *group_scale; /* int4: (n, groups) f16; a number is scale * (nibble - zero) */
    const uint8_t *group_zero;   /* (n, groups); NULL = XC_S4_ZERO */
    int64_t group;               /* columns, even */
};
enum { XC_TABLE_F32, XC_TABLE_F16, XC_TABLE_BF16, XC_TABLE_S8, XC_TABLE_S4 };

/* One step of AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101) on n numbers, in the order of torch.optim.AdamW:
 *   g' = g * g_scale;  p = p * keep;  m = b1 m + (1-b1) g';  v = b2 v + ((1-b2) g') g';  p = p - step * (m / (sqrt(v) * v_scale + eps)) */
struct xc_adamw {
    float b1, one_b1, b2, one_b2, eps;
    float g_scale; /* clipping */
    float keep;    /* 1 - learning rate * decay */
    float step;    /* learning rate / (1 - b1^t) */
    float v_scale; /* 1 / sqrt(1 - b2^t) */
};

typedef void xc_gemm_s8_fn(const struct xc_gemm_s8 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);

struct xc_kernels {
    const char *isa; /* "scalar", "avx2", ...: the widest overlay in force */

    /* Compute. Row ranges let callers split work; results do not depend on the split. */
    xc_gemm_s8_fn *gemm_s8, *gemm_nm_s8, *gemm_block_s8;
    xc_gemm_s8_fn *gemm_steps_s8; /* of compact weights, as steps; NULL where the dense kernel is faster: they are unpacked when opened */
    void (*compact_steps)(int8_t *w, void *lists, const int8_t *data, const void *index, int64_t N, int64_t K); /* lays them out, as xc_compact_steps */
    void (*gemm_s4)(const struct xc_gemm_s4 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
    void (*gemm_f32)(const struct xc_gemm_f32 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
    void (*gemm_bf16)(const struct xc_gemm_bf16 *g, int64_t row0, int64_t row1, int64_t col0, int64_t col1);
    /* Its operands: rows (columns C..round_up(C,2) become zero); panels whose outputs are the rows of m (N,K), and the columns of m (K,N). */
    void (*bf16_rows)(uint16_t *y, int64_t ldy, const float *x, int64_t ldx, int64_t R, int64_t C);
    void (*bf16_panel_rows)(uint16_t *w, const float *m, int64_t ldm, int64_t N, int64_t K);
    void (*bf16_panel_cols)(uint16_t *w, const float *m, int64_t ldm, int64_t K, int64_t N);
    void (*attn_s8)(const struct xc_attn_s8 *a, int64_t row0, int64_t row1);
    void (*attn_f32)(const struct xc_attn_f32 *a, int64_t row0, int64_t row1);
    void (*attn_runs_s8)(const struct xc_attn_runs_s8 *a, int64_t row0, int64_t row1);
    void (*attn_runs_f32)(const struct xc_attn_runs_f32 *a, int64_t row0, int64_t row1);
    /* Buckets of hashes: at (R) = the place of the largest of row r of x (R, ldx; n each) and of its negatives behind them; of equals the first. */
    void (*argmax_signs)(int32_t *at, const float *x, int64_t ldx, int64_t R, int64_t n);
    void (*join_rows)(const struct xc_join *j, int64_t n);
    void (*norm_f32)(const struct xc_norm *n, int64_t row0, int64_t row1);

    /* q = rint(x * (127 / absmax)), scale = absmax / 127, sum = sum of q; columns C..round_up(C,4) of q become zero. With gain (C), x is
     * multiplied by it first. A zero row gives scale 0. static_scale > 0 is used instead of the row's own, and clamps to [-127,127]. */
    void (*quantize_rows_s8)(int8_t *q, int64_t ldq, float *scale, int32_t *sum, const float *x, int64_t ldx, const float *gain, int64_t R, int64_t C,
                             float static_scale);
    /* For rows that lie to one side of zero, such as what GELU gives: between the row's least and greatest number,
     *   scale = (max - min) / XC_AFFINE_SPAN, mid = fmaf(127, scale, min), q = rint((x - min) * (XC_AFFINE_SPAN / (max - min))) - 127,
     * so that x is about scale * q + mid; sum and padding as above. A constant row gives scale 0 and q -127. */
    void (*quantize_rows_affine)(int8_t *q, int64_t ldq, float *scale, float *mid, int32_t *sum, const float *x, int64_t ldx, const float *gain, int64_t R, int64_t C);
    /* Quantizes and packs one head's keys (n_k, ldx; D columns) for attn_s8: k panel16 and k_scale (padded lanes zero). */
    void (*pack_keys_s8)(int8_t *k, float *k_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D);
    /* The same for values: per key block of XC_KEY_BLOCK rows counted from the sequence start, per channel. */
    void (*pack_values_s8)(int8_t *v, float *v_scale, const float *x, int64_t ldx, int64_t n_k, int64_t D);

    void (*act_f32)(float *y, const float *x, int64_t n, enum xc_act act);
    /* Training: dx = dy * act'(x), or dx += it; and one optimizer step. */
    void (*act_grad_f32)(float *dx, const float *dy, const float *x, int64_t n, enum xc_act act, bool accumulate);
    void (*adamw_f32)(float *p, float *m, float *v, const float *g, int64_t n, const struct xc_adamw *a);
    /* Compression: the largest |x s| of a row and its first column (NaN is passed over; 0 and 0 when nothing is above zero); and for sixteen steps at once
     *   q = rint(min(max(x * inverse[k], lo), hi)),  xq[k] = sum w q x,  qq[k] = sum w q q,  each one chain of fused multiply-adds over i; weight NULL: w is 1. */
    void (*row_peak)(float *peak, int32_t *at, const float *x, const float *s, int64_t C);
    void (*step_sums)(float *xq, float *qq, const float *x, const float *weight, int64_t n, const float *inverse, float lo, float hi);
    /* For sixteen scales and zeros at once, fit (3,16) = 1 / scale, scale, zero:  u = rint(max(min(x / scale + zero, top), 0)),
     * sums (4,16) = of w u, w u u, w u x, w (x - scale (u - zero))^2, in the same way. */
    void (*fit_sums)(float *sums, const float *x, const float *weight, int64_t n, const float *fit, float top);
    /* Which of n sixteens of numbers the 16-bit rules may bind: some pair's sum, quad's sum of magnitudes or lane's sum of squares of one sign is greater. */
    void (*screen_f32)(uint8_t *flag, const float *x, int64_t n, float pair, float quad, float lane);
    void (*screen_s8)(uint8_t *flag, const int8_t *q, int64_t n);
    /* sum (3) = sums over C of (x - scale q)^2 and of x^2, and how many q are 0 (below 2^24) */
    void (*error_s8)(float *sum, const float *x, const int8_t *q, float scale, int64_t C);
    void (*add_f32)(float *y, const float *a, const float *b, int64_t n);
    void (*mul_f32)(float *y, const float *a, const float *b, int64_t n);
    /* y (R,C) += or = table[ids[r]]; ids are checked by the caller. */
    void (*gather_rows)(float *y, int64_t ldy, const struct xc_table *t, const int32_t *ids, int64_t R, bool accumulate);
    void (*softmax_rows)(float *y, const float *x, int64_t R, int64_t C);
    /* y (C) = mean over R rows, summed in ascending row order, then multiplied by 1/R; R >= 1. */
    void (*mean_rows)(float *y, const float *x, int64_t ldx, int64_t R, int64_t C);
    void (*max_rows)(float *y, const float *x, int64_t ldx, int64_t R, int64_t C);
    /* y = x / max(|x|_2, eps) */
    void (*l2_normalize_rows)(float *y, const float *x, int64_t R, int64_t C, float eps);
    /* exact widening to f32 */
    void (*f16_to_f32)(float *y, const uint16_t *x, int64_t n);
    void (*bf16_to_f32)(float *y, const uint16_t *x, int64_t n);
};

/* Sparse weights (Layouts, above), one output n of N at a time. nm: slot (K16/2) numbers, at (K16/2) their inputs within the group of eight. The
 * memory of w and index starts as zeros. */
void xc_pack_nm_row(int8_t *w, uint8_t *index, int64_t n, int64_t K, const int8_t *slot, const uint8_t *at);
void xc_nm_s8_sums(int32_t *sum, const int8_t *w, const void *index, int64_t N, int64_t K); /* as xc_panel_s8_sums */
void xc_block_s8_sums(int32_t *sum, const int8_t *w, const void *index, int64_t N);
void xc_unpack_nm_row(int8_t *dst, const int8_t *w, const uint8_t *index, int64_t n, int64_t K);
void xc_unpack_block_row(int8_t *dst, const int8_t *w, const void *index, int64_t n, int64_t N, int64_t K);
bool xc_block_index_ok(const void *index, int64_t blocks, int64_t N, int64_t K); /* lists within their bounds, ascending */
/* compact: holds n of the numbers q (N,K): those that are not zero and, from the first, as many zeros as it takes; false when n is not enough, or too
 * many. The memory of index starts as zeros. */
size_t xc_compact_index_bytes(int64_t N, int64_t K); /* 0 on overflow */
bool xc_compact_pack(int8_t *data, void *index, const int8_t *q, int64_t n, int64_t N, int64_t K);
bool xc_compact_index_ok(const void *index, int64_t n, int64_t N, int64_t K); /* counts agree, nothing beyond K */
void xc_compact_unpack_row(int8_t *dst, const int8_t *data, const void *index, int64_t row, int64_t N, int64_t K);
void xc_compact_panels(int8_t *panel, const int8_t *data, const void *index, int64_t N, int64_t K); /* panel16, dense */
int64_t xc_compact_most_steps(const void *index, int64_t N, int64_t K); /* at most so many steps: room for 64 bytes a panel and 128 a step in w */
void xc_compact_steps(int8_t *w, void *lists, const int8_t *data, const void *index, int64_t N, int64_t K);
#define XC_COMPACT_MAX_K 131072
#define XC_BLOCK_MAX_K 131072 /* inputs of a block-sparse weight: quads are counted in 16 bits */

/* The table for this machine and XC_CPU; built once, thread-safe. Unknown words in XC_CPU are ignored here; the CLI checks them
 * with xc_kernels_parse. */
const struct xc_kernels *xc_kernels(void);

/* Checks the words of an XC_CPU value; the message names the first one that is unknown. */
enum xc_status xc_kernels_parse(const char *spec, struct xc_err *err);

/* A table for one level, for tests and selftest: "scalar", "avx2", ...; NULL when this machine or build lacks it. */
const struct xc_kernels *xc_kernels_for(const char *level);

/* The levels of this build, weakest first, NULL-terminated. */
const char *const *xc_kernels_levels(void);

/* Packing (portable, not performance critical; weights at compression time). src row-major (N, K). dst sizes from the *_bytes. */
size_t xc_panel_s8_bytes(int64_t N, int64_t K);  /* 0 on overflow */
size_t xc_panel_f32_bytes(int64_t N, int64_t K);
size_t xc_panel_bf16_bytes(int64_t N, int64_t K);
void xc_pack_panel_s8(int8_t *dst, const int8_t *src, int64_t N, int64_t K);
void xc_unpack_panel_s8(int8_t *dst, const int8_t *src, int64_t N, int64_t K);
void xc_panel_s8_sums(int32_t *sum, const int8_t *panel, int64_t N, int64_t K); /* (N padded to 16): each output's sum, for xc_epilogue */
size_t xc_panel_s4_bytes(int64_t N, int64_t K); /* 0 on overflow */
void xc_pack_panel_s4(uint8_t *dst, const uint8_t *src, int64_t N, int64_t K); /* src: a nibble a byte */
void xc_unpack_panel_s4(uint8_t *dst, const uint8_t *src, int64_t N, int64_t K);
void xc_pack_panel_s4_bytes(uint8_t *dst, const uint8_t *src, int64_t N, int64_t K); /* twice xc_panel_s4_bytes */
void xc_panel_s4_sums(float *sum, const struct xc_gemm_s4 *g); /* (N padded to 16): w_sum of what w, scale and zero of g say */
bool xc_sum16_ok(const int8_t *w, int64_t N, int64_t K); /* does a packed panel obey the 16-bit rules? */
void xc_pack_panel_f32(float *dst, const float *src, int64_t N, int64_t K);
void xc_unpack_panel_f32(float *dst, const float *src, int64_t N, int64_t K);

#endif
