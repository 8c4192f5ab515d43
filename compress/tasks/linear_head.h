/* linear_head: a linear map fitted on fixed features: ridge regression, or logistic regression with an L2 penalty.
 *
 * The objectives are scikit-learn's, the intercept is not penalised in either:
 *   ridge     sum_i (y_i - w.x_i - b)^2 + alpha |w|^2                       (Ridge)
 *   logistic  C * sum_i loss(y_i, x_i W + b) + |W|^2 / 2                    (LogisticRegression)
 * Two classes fit one logit (sigmoid), more fit a softmax. Ridge solves the normal equations by Cholesky; logistic runs L-BFGS
 * (Nocedal 1980) with a backtracking line search, from zero, until the gradient is tiny: the objective is strictly convex, so the answer is the one
 * minimum. All sums are double, in a fixed order: the same bits for any number of threads. */
#ifndef XC_COMPRESS_TASKS_LINEAR_HEAD_H
#define XC_COMPRESS_TASKS_LINEAR_HEAD_H

#include "runtime/base/base.h"
#include "runtime/base/pool.h"

/* out = x W^T + b. Classifiers of two classes have two outputs too: logits (0, z). */
struct xc_linear_head {
    int64_t outputs, inputs;
    double *weight; /* (outputs, inputs) */
    double *bias;   /* outputs */
    int32_t iterations;
    bool converged; /* false: the limit of iterations came first; the head is usable */
};

struct xc_linear_opts {
    double alpha;           /* ridge; 0 = 1.0 */
    double C;               /* logistic; 0 = 1.0 */
    double tolerance;       /* logistic: largest |gradient| / n at the end; 0 = 1e-7 */
    int32_t max_iterations; /* logistic; 0 = 1000 */
    struct xc_pool *pool;
    int (*cancelled)(void *arg); /* polled once an iteration; may be NULL */
    void *cancelled_arg;
};

/* x (n, inputs) float, y (n). XC_E_RANGE names the row of a number that is not finite. */
enum xc_status xc_ridge_fit(struct xc_linear_head *out, const float *x, const double *y, int64_t n, int64_t inputs,
                            const struct xc_linear_opts *opts, struct xc_err *err);

/* label[i] in [0, classes), classes >= 2; every class must occur. */
enum xc_status xc_logistic_fit(struct xc_linear_head *out, const float *x, const int32_t *label, int64_t n, int64_t inputs, int32_t classes,
                               const struct xc_linear_opts *opts, struct xc_err *err);

/* out (n, outputs), outputs of row i to out + i * outputs. */
void xc_linear_head_apply(double *out, const struct xc_linear_head *head, const float *x, int64_t n);

void xc_linear_head_release(struct xc_linear_head *head);

#endif
