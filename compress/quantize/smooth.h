/* smooth: the scales of smoothing that a pass put in, and one of them filled; shared by smooth.c, which fills all before weights are treated, and smooth_along.c. */
#ifndef XC_COMPRESS_QUANTIZE_SMOOTH_H
#define XC_COMPRESS_QUANTIZE_SMOOTH_H

#include "compress/pass.h"
#include "compress/quantize/awq.h"
#include "runtime/session/session.h"

enum { XC_SMOOTH_READERS = 16, XC_SMOOTH_TOKENS = 768 /* at most, that a model is shown */ };

/* A scale that was put in, and the linears behind it. */
struct xc_smooth_point {
    int32_t in, out, tensor;           /* values; the scale's tensor */
    int32_t weight[XC_SMOOTH_READERS]; /* tensors */
    int32_t bias[XC_SMOOTH_READERS];   /* tensors; -1 = none */
    int n_readers, n_run;
    bool affine;                       /* the readers' int8 rows are */
    double *y2;                        /* by row: squares of the readers' outputs */
};

struct xc_smoothing {
    struct xc_smooth_point *at;
    size_t n, cap;
};

void xc_smoothing_free(struct xc_smoothing **s);

/* Token ids of whole texts, or of random sequences for a model without a tokenizer. */
struct xc_smooth_sample {
    int64_t room;
    int32_t ids[XC_SMOOTH_TOKENS];
    int64_t start[XC_SMOOTH_TOKENS + 1];
    int64_t n; /* sequences */
};
enum xc_status xc_smooth_sample(struct xc_smooth_sample *s, struct xc_session *session, const struct xc_texts *texts, struct xc_err *err);

/* Chooses the factors of p from R rows x and the readers' weights, of large ones from some of their rows; from here on the weights are those behind the scale.
 * p->y2 NULL: what the readers answer is taken from those rows of theirs, too. before (may be NULL): another model of the same tensors, which changes alike. */
enum xc_status xc_smooth_fill(struct xc_model *m, struct xc_model *before, struct xc_smooth_point *p, const float *x, int64_t R, int64_t C, const struct xc_awq *awq, struct xc_pool *pool, struct xc_err *err);

/* smooth_along.c: runs the model once, in int8: at a scale its factors are chosen, at a linear its weight is read, divided and quantized; settle tells nodes so.
 * Golden samples go along where w->golden asks for them. */
enum xc_status xc_smooth_along(struct xc_work *w, enum xc_status (*settle)(struct xc_work *w, const void *arg, struct xc_err *err), const void *arg, struct xc_err *err);

#endif
