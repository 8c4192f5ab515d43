/* relation: distillation losses of attention, a mode of the attention op: what two rows of a sequence are to each other, in a student and in its
 * teacher. No N x N matrix: a tile of 64 rows at a time, loss and gradient together.
 *
 *   S_h = a_h b_h^T / sqrt(w),   head h of `heads`, w columns of a and b
 *
 *   scores   (S - T)^2                     a, b = queries, keys: TinyBERT (Jiao et al. 2019, arXiv:1909.10351), before the softmax
 *   softmax  KL(softmax T || softmax S)    a, b = queries, keys: MiniLM's attention; a = b = values: its value relation
 *                                          (Wang et al. 2020, arXiv:2002.10957)
 *
 * The student's columns and the teacher's are cut into the same number of heads, whatever number of heads their attention has (relation heads,
 * Wang et al. 2020, arXiv:2012.15828). */
#ifndef XC_COMPRESS_GRAD_GRAD_RELATION_H
#define XC_COMPRESS_GRAD_GRAD_RELATION_H

#include "runtime/graph/op.h"

enum xc_relation_mode { XC_RELATION_SCORES = 0, XC_RELATION_SOFTMAX };

struct xc_relation {
    enum xc_relation_mode mode;
    int64_t heads;
    bool causal;                    /* pairs with a later row do not count */
    const struct xc_ragged *rag;    /* of all of them */
    const float *a, *b;             /* student: (rows, cols) */
    const float *teacher_a, *teacher_b; /* (rows, teacher_cols) */
    int64_t cols, teacher_cols;     /* multiples of heads */
    double weight;                  /* of the gradient */
    float *da, *db;                 /* added to; may be one array */
    const struct xc_kernels *kern;
    struct xc_pool *pool;
};

/* *loss: the sum over pairs (scores) or rows (softmax), of all heads, without the weight. The same bits for any number of threads. */
enum xc_status xc_relation_loss(const struct xc_relation *r, double *loss, struct xc_err *err);

/* What a mean of the loss divides by: pairs, or rows, times heads. */
double xc_relation_items(enum xc_relation_mode mode, const struct xc_ragged *rag, int64_t heads, bool causal);

#endif
