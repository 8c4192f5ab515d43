/* hessian: H = X^T X of what linears read on calibration texts, X being (tokens, K): what second-order pruning and rounding weigh the error of a
 * weight by. Frantar et al. 2022 (OBC) arXiv:2208.11580, GPTQ arXiv:2210.17323, 2023 (SparseGPT) arXiv:2301.00774.
 *
 * Through OpenBLAS with one thread of its own; work is cut by us into pieces that do not depend on the number of threads, so the bytes are
 * the same for one OpenBLAS version and core type (DESIGN.md, The container). */
#ifndef XC_COMPRESS_CALIBRATE_HESSIAN_H
#define XC_COMPRESS_CALIBRATE_HESSIAN_H

#include "compress/calibrate/calibrate.h"
#include "compress/file/spill.h"

/* By value of graph "encode": linears that read the same value share one. */
struct xc_hessians {
    float **h;        /* (K,K), both triangles; NULL where it was not wanted or no text came by */
    float **norm2;    /* (K) its diagonal, which costs little; the same */
    int64_t rows;     /* tokens seen */
    int32_t n_values;
    struct xc_spill *spill; /* the caller's: what lies in files; or NULL */
};

enum xc_hessian_want { XC_HESSIAN_NONE = 0, XC_HESSIAN_DIAGONAL, XC_HESSIAN_FULL };

/* want (n_values of graph "encode"): what to collect. Memory (or files, with a spill): 4 K^2 bytes a value that is wanted in full, and one batch. */
enum xc_status xc_hessians_make(struct xc_hessians *out, struct xc_model *model, const uint8_t *want, const struct xc_texts *texts,
                                const struct xc_compress_opts *opts, struct xc_spill *spill, struct xc_err *err);
void xc_hessians_drop(struct xc_hessians *h, int32_t value); /* of one that is done */
void xc_hessians_release(struct xc_hessians *h);

/* U (K,K), upper triangle, row-major: U^T U = inv(H + damp * mean(diag H) * I). An input that is always zero counts as one of unit size on its
 * own. Where that is not positive definite, damping is raised tenfold until it is: *damp is what it became. XC_E_RANGE when nothing helps.
 * xc_hessian_factor: a (K,K) is H, in both triangles, and becomes U above and on the diagonal; what lies below is undefined. */
enum xc_status xc_hessian_factor(double *a, int64_t K, double *damp, struct xc_err *err);
enum xc_status xc_hessian_square(double **out, int64_t K, struct xc_spill *spill, struct xc_err *err); /* room for one, of a spill */
enum xc_status xc_hessian_inverse_factor(float *u, const float *h, int64_t K, double *damp, struct xc_spill *spill, struct xc_err *err);

/* For a report of at most n bytes: that damping was raised, if it was. */
void xc_hessian_note(char *why, size_t n, double asked, double used);

#endif
