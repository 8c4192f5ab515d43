/* grad: what the derivative of an op is. One const struct per op, listed in grads.def; only libxcompress links them.
 *
 * backward gets what the op's forward saw (values are still there) and the gradient of what it made, and gives the gradients of its
 * inputs. Rules: gradients of tensors are added to; d_in[i] is added to as well, or written whole where fresh[i] says that it holds
 * nothing yet; the op's own output is not read (dropout changes it in place); every sum has a fixed order, whatever the threads. */
#ifndef XC_COMPRESS_GRAD_GRAD_H
#define XC_COMPRESS_GRAD_GRAD_H

#include "compress/grad/dropout.h"
#include "runtime/graph/run.h"

struct xc_grad_ctx {
    const struct xc_op_ctx *op;
    const float *d_out[XC_MAX_OUT]; /* (rows, cols) of output i; NULL = the loss does not see it (not all of them) */
    float *d_in[XC_MAX_IN];         /* (rows, cols) of input value i; NULL = not wanted */
    bool fresh[XC_MAX_IN];
    float *d_tensor[XC_MAX_IN];     /* (rows, cols) of input tensor i; NULL = frozen */
    bool straight_through;          /* rounding to integers counts as the identity */
    const struct xc_dropout_probs *drop; /* what forward_dropped was given; NULL = plain forward */
};

struct xc_grad {
    const char *op;
    enum xc_status (*backward)(const struct xc_grad_ctx *c, struct xc_err *err); /* NULL = no gradient passes (whole numbers) */
    /* Forward with some of the probabilities inside dropped; NULL = the op has none. */
    enum xc_status (*forward_dropped)(const struct xc_op_ctx *c, const struct xc_dropout_probs *drop, struct xc_err *err);
    /* Numbers of 16 bits a row that a node decides by comparing its inputs, such as buckets: xc_run.decided. On inputs that are a rounding apart
     * it must not decide otherwise. NULL or 0 = none; -1 = it does decide, and cannot tell what. */
    int64_t (*decisions)(const struct xc_node *node);
};

const struct xc_grad *xc_grad_find(const char *op); /* NULL */

/* ---- what derivatives share (parts.c) ---- */
/* Calls fn on blocks of rows, as xc_rows_run does for forward. */
typedef void xc_grad_rows_fn(const struct xc_grad_ctx *c, const void *arg, int64_t row0, int64_t row1);
void xc_grad_rows(const struct xc_grad_ctx *c, xc_grad_rows_fn *fn, const void *arg, int64_t rows, int64_t cols);

/* d = x or d += x, n numbers */
void xc_grad_put(float *d, const float *x, int64_t n, bool fresh);

/* sum (C) += the rows of x (R, ldx), sum_xy += those of x * y, column by column, in blocks of rows of a fixed size. Either may be NULL. */
void xc_grad_col_sums(const struct xc_grad_ctx *c, float *sum, float *sum_xy, const float *x, int64_t ldx, const float *y, int64_t ldy, int64_t R, int64_t C);

/* ---- products (products.c), on the GEMM of the kernel table; every output is one chain of sums over blocks of fixed size ---- */
/* dx (R,K) = or += dy (R,N) w (N,K); w is row-major, its rows ldw apart. */
enum xc_status xc_grad_product_dx(const struct xc_grad_ctx *c, float *dx, int64_t ldx, const float *dy, int64_t ldy, const float *w, int64_t ldw,
                                  int64_t R, int64_t N, int64_t K, bool fresh, struct xc_err *err);
/* dw (N,K) += dy (R,N)^T x (R,K) */
enum xc_status xc_grad_product_dw(const struct xc_grad_ctx *c, float *dw, int64_t ldw, const float *dy, int64_t ldy, const float *x, int64_t ldx,
                                  int64_t R, int64_t N, int64_t K, struct xc_err *err);

/* Both, each where it is not NULL, of rows without gaps, and db (N) += the sum of dy's rows. */
enum xc_status xc_grad_linear_products(const struct xc_grad_ctx *c, float *dx, bool fresh, float *dw, float *db, const float *dy, const float *x, const float *w, int64_t R, int64_t N, int64_t K,
                                       struct xc_err *err);

/* Panels for gemm_f32 (kernels.h), serial: of a w whose outputs are the columns of m (K,N), and of one whose outputs are its rows. */
void xc_grad_panel_cols(float *panel, const float *m, int64_t ldm, int64_t K, int64_t N); /* out (R,N) = x (R,K) m (K,N) */
void xc_grad_panel_rows(float *panel, const float *m, int64_t ldm, int64_t N, int64_t K); /* out (R,N) = x (R,K) m (N,K)^T */
int64_t xc_grad_panel_floats(int64_t N, int64_t K);

/* t (C,R) = x (R,C)^T */
void xc_grad_transpose(float *t, int64_t ldt, const float *x, int64_t ldx, int64_t R, int64_t C);

/* A tensor as row-major f32: its own bytes, or a copy in the node's scratch. */
enum xc_status xc_grad_tensor(const struct xc_grad_ctx *c, const float **out, const struct xc_tensor *t, struct xc_err *err);
/* bytes of the node's scratch */
enum xc_status xc_grad_scratch(const struct xc_grad_ctx *c, void *out, size_t bytes, struct xc_err *err);

#endif
