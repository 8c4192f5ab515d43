/* linear_head: see linear_head.h. Legend: N rows, D inputs, K outputs. */
#include "compress/tasks/linear_head.h"

#include <math.h>
#include <string.h>

static enum xc_status new_doubles(double **out, size_t rows, size_t cols, struct xc_err *err)
{
    size_t n;

    *out = NULL;
    if (!xc_mul_ok(&n, rows, cols) || n > SIZE_MAX / sizeof **out) return xc_fail(err, XC_E_RANGE, "a linear head of %zu x %zu is too large", rows, cols);
    *out = xc_calloc(n ? n : 1, sizeof **out);
    return *out ? XC_OK : xc_fail_nomem(err, n * sizeof **out);
}

void xc_linear_head_release(struct xc_linear_head *head)
{
    xc_free(head->weight);
    xc_free(head->bias);
    *head = (struct xc_linear_head){ 0 };
}

static enum xc_status head_init(struct xc_linear_head *head, int64_t outputs, int64_t inputs, struct xc_err *err)
{
    enum xc_status status;

    *head = (struct xc_linear_head){ .outputs = outputs, .inputs = inputs };
    XC_TRY_GOTO(new_doubles(&head->weight, (size_t)outputs, (size_t)inputs, err), out);
    XC_TRY_GOTO(new_doubles(&head->bias, (size_t)outputs, 1, err), out);
out:
    if (status != XC_OK) xc_linear_head_release(head);
    return status;
}

static enum xc_status check_features(const float *x, int64_t n, int64_t D, struct xc_err *err)
{
    if (n < 1 || D < 1) return xc_fail(err, XC_E_ARG, "no rows to fit a head on");
    for (int64_t i = 0; i < n * D; i++)
        if (!isfinite(x[i])) return xc_fail(err, XC_E_RANGE, "row %lld, feature %lld is not a finite number", (long long)(i / D), (long long)(i % D));
    return XC_OK;
}

void xc_linear_head_apply(double *out, const struct xc_linear_head *head, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < head->outputs; k++) {
            const double *w = head->weight + k * head->inputs;
            double sum = head->bias[k];

            for (int64_t d = 0; d < head->inputs; d++) sum += w[d] * x[i * head->inputs + d];
            out[i * head->outputs + k] = sum;
        }
}

/* ---- ridge ---- */
struct gram {
    const float *x;
    const double *mean; /* D */
    double *a;          /* (D, D), lower triangle */
    int64_t n, D;
};

/* Eight rows of the Gram matrix of the centred features. */
#define GRAM_ROWS 8
static void gram_rows(void *arg, int64_t item, int thread)
{
    const struct gram *g = arg;
    const int64_t first = item * GRAM_ROWS, end = xc_min_i64(first + GRAM_ROWS, g->D);

    (void)thread;
    for (int64_t i = 0; i < g->n; i++) {
        const float *x = g->x + i * g->D;

        for (int64_t r = first; r < end; r++) {
            const double xr = x[r] - g->mean[r];
            double *a = g->a + r * g->D;

            for (int64_t c = 0; c <= r; c++) a[c] += xr * (x[c] - g->mean[c]);
        }
    }
}

/* In-place Cholesky of the lower triangle, then both triangular solves. False when the matrix is not positive definite. */
static bool cholesky_solve(double *a, double *b, int64_t D)
{
    for (int64_t j = 0; j < D; j++)
        for (int64_t i = j; i < D; i++) {
            double sum = a[i * D + j];

            for (int64_t k = 0; k < j; k++) sum -= a[i * D + k] * a[j * D + k];
            if (i == j && !(sum > 0)) return false;
            a[i * D + j] = i == j ? sqrt(sum) : sum / a[j * D + j];
        }
    for (int64_t i = 0; i < D; i++) {
        for (int64_t k = 0; k < i; k++) b[i] -= a[i * D + k] * b[k];
        b[i] /= a[i * D + i];
    }
    for (int64_t i = D - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < D; k++) b[i] -= a[k * D + i] * b[k];
        b[i] /= a[i * D + i];
    }
    return true;
}

enum xc_status xc_ridge_fit(struct xc_linear_head *out, const float *x, const double *y, int64_t n, int64_t D,
                            const struct xc_linear_opts *opts, struct xc_err *err)
{
    static const struct xc_linear_opts defaults;
    const struct xc_linear_opts *o = opts ? opts : &defaults;
    double *mean = NULL, *a = NULL, mean_y = 0;
    struct gram g;
    enum xc_status status;

    *out = (struct xc_linear_head){ 0 };
    XC_TRY(check_features(x, n, D, err));
    XC_TRY(head_init(out, 1, D, err));
    XC_TRY_GOTO(new_doubles(&mean, (size_t)D, 1, err), out);
    XC_TRY_GOTO(new_doubles(&a, (size_t)D, (size_t)D, err), out);
    for (int64_t i = 0; i < n; i++) {
        mean_y += y[i] / (double)n;
        for (int64_t d = 0; d < D; d++) mean[d] += x[i * D + d];
    }
    for (int64_t d = 0; d < D; d++) mean[d] /= (double)n;
    g = (struct gram){ .x = x, .mean = mean, .a = a, .n = n, .D = D };
    xc_pool_run(o->pool, gram_rows, &g, xc_div_up(D, GRAM_ROWS));
    for (int64_t d = 0; d < D; d++) a[d * D + d] += o->alpha > 0 ? o->alpha : 1.0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < D; d++) out->weight[d] += (x[i * D + d] - mean[d]) * (y[i] - mean_y);
    if (!cholesky_solve(a, out->weight, D)) {
        status = xc_fail(err, XC_E_RANGE, "the ridge equations are singular; a larger alpha helps");
        goto out;
    }
    out->bias[0] = mean_y;
    for (int64_t d = 0; d < D; d++) out->bias[0] -= out->weight[d] * mean[d];
    out->iterations = 1;
    out->converged = true;
out:
    xc_free(mean);
    xc_free(a);
    if (status != XC_OK) xc_linear_head_release(out);
    return status;
}

/* ---- logistic ---- */
/* Parameters are one vector of L rows of D + 1: weights, then the intercept. L = 1 for two classes. The loss is divided by
 * C * N, so that the tolerance means the same for every size: mean loss + |W|^2 / (2 C N). */
#define CHUNK_ROWS 64 /* rows whose gradient is summed before it is added to the others, in order */

struct logistic {
    const float *x;
    const int32_t *label;
    int64_t n, D, L, P; /* P = L * (D + 1) */
    double penalty;     /* 1 / (C N) */
    struct xc_pool *pool;
    const double *theta;
    double *chunk_loss; /* chunks */
    double *residual;   /* (N, L): d loss / d logit */
    double *grad;
};

/* Loss and residuals of one chunk of rows. */
static void logistic_forward(void *arg, int64_t item, int thread)
{
    struct logistic *c = arg;
    const int64_t end = xc_min_i64((item + 1) * CHUNK_ROWS, c->n);
    double loss = 0;

    (void)thread;
    for (int64_t i = item * CHUNK_ROWS; i < end; i++) {
        const float *x = c->x + i * c->D;
        double *z = c->residual + i * c->L, max = 0, sum = 0;

        for (int64_t k = 0; k < c->L; k++) {
            const double *w = c->theta + k * (c->D + 1);
            double lane[4] = { w[c->D] };
            int64_t d = 0;

            for (; d + 4 <= c->D; d += 4)
                for (int l = 0; l < 4; l++) lane[l] += w[d + l] * x[d + l];
            for (; d < c->D; d++) lane[0] += w[d] * x[d];
            z[k] = (lane[0] + lane[1]) + (lane[2] + lane[3]);
        }
        if (c->L == 1) { /* log(1 + exp(-m)), m the margin */
            const double sign = c->label[i] ? 1 : -1, m = sign * z[0];

            loss += m > 0 ? log1p(exp(-m)) : -m + log1p(exp(m));
            z[0] = m > 0 ? -sign * exp(-m) / (1 + exp(-m)) : -sign / (1 + exp(m));
            continue;
        }
        for (int64_t k = 0; k < c->L; k++) max = k == 0 || z[k] > max ? z[k] : max;
        for (int64_t k = 0; k < c->L; k++) sum += exp(z[k] - max);
        loss += log(sum) + max - z[c->label[i]];
        for (int64_t k = 0; k < c->L; k++) z[k] = exp(z[k] - max) / sum - (k == c->label[i]);
    }
    c->chunk_loss[item] = loss;
}

/* The gradient of a band of inputs: no two items write the same place, and rows are summed in order. */
#define BAND 64
static void logistic_backward(void *arg, int64_t item, int thread)
{
    struct logistic *c = arg;
    const int64_t bands = xc_div_up(c->D + 1, BAND), k = item / bands;
    const int64_t first = item % bands * BAND, end = xc_min_i64(first + BAND, c->D + 1), last = xc_min_i64(end, c->D);
    double *g = c->grad + k * (c->D + 1);

    (void)thread;
    for (int64_t d = first; d < end; d++) g[d] = 0;
    for (int64_t i = 0; i < c->n; i++) {
        const double r = c->residual[i * c->L + k];
        const float *x = c->x + i * c->D;

        for (int64_t d = first; d < last; d++) g[d] += r * x[d];
        if (end > c->D) g[c->D] += r;
    }
    for (int64_t d = first; d < end; d++) g[d] = g[d] / (double)c->n + (d < c->D ? c->penalty * c->theta[k * (c->D + 1) + d] : 0);
}

static double logistic_loss(struct logistic *c, const double *theta, double *grad)
{
    const int64_t chunks = xc_div_up(c->n, CHUNK_ROWS);
    double loss = 0, norm = 0;

    c->theta = theta;
    c->grad = grad;
    xc_pool_run(c->pool, logistic_forward, c, chunks);
    xc_pool_run(c->pool, logistic_backward, c, c->L * xc_div_up(c->D + 1, BAND));
    for (int64_t i = 0; i < chunks; i++) loss += c->chunk_loss[i];
    for (int64_t k = 0; k < c->L; k++)
        for (int64_t d = 0; d < c->D; d++) norm += theta[k * (c->D + 1) + d] * theta[k * (c->D + 1) + d];
    return loss / (double)c->n + c->penalty * norm / 2;
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;

    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static double largest(const double *a, int64_t n)
{
    double max = 0;

    for (int64_t i = 0; i < n; i++) max = fabs(a[i]) > max ? fabs(a[i]) : max;
    return max;
}

#define HISTORY 20
struct lbfgs {
    double *theta, *grad, *next, *next_grad, *direction;    /* P each */
    double *s, *y;                                          /* (HISTORY, P) */
    double rho[HISTORY];
    int32_t held, newest;
};

/* direction = -H grad, by the two loops of Nocedal 1980. */
static void lbfgs_direction(struct lbfgs *q, int64_t P)
{
    double coef[HISTORY];

    for (int64_t i = 0; i < P; i++) q->direction[i] = -q->grad[i];
    for (int32_t h = 0; h < q->held; h++) {
        const int32_t j = (q->newest - h + HISTORY) % HISTORY;

        coef[j] = q->rho[j] * dot(q->s + j * P, q->direction, P);
        for (int64_t i = 0; i < P; i++) q->direction[i] -= coef[j] * q->y[j * P + i];
    }
    if (q->held) {
        const double *y = q->y + q->newest * P;
        const double scale = 1 / (q->rho[q->newest] * dot(y, y, P));

        for (int64_t i = 0; i < P; i++) q->direction[i] *= scale;
    }
    for (int32_t h = q->held - 1; h >= 0; h--) {
        const int32_t j = (q->newest - h + HISTORY) % HISTORY;
        const double beta = q->rho[j] * dot(q->y + j * P, q->direction, P);

        for (int64_t i = 0; i < P; i++) q->direction[i] += (coef[j] - beta) * q->s[j * P + i];
    }
}

static void lbfgs_remember(struct lbfgs *q, int64_t P)
{
    const int32_t j = (q->newest + 1) % HISTORY;
    double sy;

    for (int64_t i = 0; i < P; i++) {
        q->s[j * P + i] = q->next[i] - q->theta[i];
        q->y[j * P + i] = q->next_grad[i] - q->grad[i];
    }
    sy = dot(q->s + j * P, q->y + j * P, P);
    if (!(sy > 0)) return; /* lost to rounding: the older curvature serves on */
    q->rho[j] = 1 / sy;
    q->newest = j;
    q->held += q->held < HISTORY;
}

/* Minimises from q->theta = 0. */
static enum xc_status lbfgs_run(struct lbfgs *q, struct logistic *c, struct xc_linear_head *head, const struct xc_linear_opts *o, struct xc_err *err)
{
    const double tolerance = o->tolerance > 0 ? o->tolerance : 1e-7;
    const int32_t limit = o->max_iterations > 0 ? o->max_iterations : 1000;
    const int64_t P = c->P;
    double loss = logistic_loss(c, q->theta, q->grad);

    for (head->iterations = 0; head->iterations < limit; head->iterations++) {
        double step = 1, slope, next_loss = 0;
        bool down = false;

        head->converged = largest(q->grad, P) <= tolerance;
        if (head->converged) break;
        if (o->cancelled && o->cancelled(o->cancelled_arg)) return xc_fail(err, XC_E_CANCELLED, "stopped while fitting a head");
        lbfgs_direction(q, P);
        slope = dot(q->direction, q->grad, P);
        if (!(slope < 0)) { /* rounding spoiled the history */
            q->held = 0;
            lbfgs_direction(q, P);
            slope = dot(q->direction, q->grad, P);
        }
        if (!q->held) step = fmin(1, 1 / sqrt(-slope));
        for (int tries = 0; tries < 40 && !down; tries++, step *= down ? 1 : 0.5) {
            for (int64_t i = 0; i < P; i++) q->next[i] = q->theta[i] + step * q->direction[i];
            next_loss = logistic_loss(c, q->next, q->next_grad);
            /* Near the minimum losses differ by rounding alone; then a smaller gradient decides. */
            down = next_loss <= loss + 1e-4 * step * slope ||
                   (next_loss <= loss + 1e-14 * fabs(loss) && largest(q->next_grad, P) < largest(q->grad, P));
        }
        if (!down) { /* as far as double goes */
            head->converged = largest(q->grad, P) <= 100 * tolerance;
            break;
        }
        lbfgs_remember(q, P);
        loss = next_loss;
        { double *t = q->theta; q->theta = q->next; q->next = t; }
        { double *t = q->grad; q->grad = q->next_grad; q->next_grad = t; }
    }
    return XC_OK;
}

static enum xc_status check_labels(const int32_t *label, int64_t n, int32_t classes, struct xc_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (label[i] < 0 || label[i] >= classes)
            return xc_fail(err, XC_E_RANGE, "row %lld has label %d, there are %d classes", (long long)i, label[i], classes);
    for (int32_t k = 0; k < classes; k++) {
        int64_t i = 0;

        while (i < n && label[i] != k) i++;
        if (i == n) return xc_fail(err, XC_E_RANGE, "no row has label %d", k);
    }
    return XC_OK;
}

enum xc_status xc_logistic_fit(struct xc_linear_head *out, const float *x, const int32_t *label, int64_t n, int64_t D, int32_t classes,
                               const struct xc_linear_opts *opts, struct xc_err *err)
{
    static const struct xc_linear_opts defaults;
    const struct xc_linear_opts *o = opts ? opts : &defaults;
    const int64_t L = classes == 2 ? 1 : classes, chunks = xc_div_up(n, CHUNK_ROWS);
    struct logistic c = { .x = x, .label = label, .n = n, .D = D, .L = L, .P = L * (D + 1), .pool = o->pool };
    struct lbfgs q = { .newest = HISTORY - 1 };
    enum xc_status status;

    *out = (struct xc_linear_head){ 0 };
    if (classes < 2) return xc_fail(err, XC_E_RANGE, "a classifier needs two labels, the rows have %d", classes);
    XC_TRY(check_features(x, n, D, err));
    XC_TRY(check_labels(label, n, classes, err));
    XC_TRY(head_init(out, classes, D, err));
    c.penalty = 1 / ((o->C > 0 ? o->C : 1.0) * (double)n);
    XC_TRY_GOTO(new_doubles(&c.chunk_loss, (size_t)chunks, 1, err), out);
    XC_TRY_GOTO(new_doubles(&c.residual, (size_t)n, (size_t)L, err), out);
    XC_TRY_GOTO(new_doubles(&q.theta, (size_t)c.P, 1, err), out);
    XC_TRY_GOTO(new_doubles(&q.grad, (size_t)c.P, 1, err), out);
    XC_TRY_GOTO(new_doubles(&q.next, (size_t)c.P, 1, err), out);
    XC_TRY_GOTO(new_doubles(&q.next_grad, (size_t)c.P, 1, err), out);
    XC_TRY_GOTO(new_doubles(&q.direction, (size_t)c.P, 1, err), out);
    XC_TRY_GOTO(new_doubles(&q.s, (size_t)c.P, HISTORY, err), out);
    XC_TRY_GOTO(new_doubles(&q.y, (size_t)c.P, HISTORY, err), out);
    XC_TRY_GOTO(lbfgs_run(&q, &c, out, o, err), out);
    for (int64_t k = 0; k < L; k++) {
        const double *theta = q.theta + k * (D + 1);
        const int64_t row = classes == 2 ? 1 : k; /* row 0 stays zero */

        memcpy(out->weight + row * D, theta, (size_t)D * sizeof *theta);
        out->bias[row] = theta[D];
    }
out:
    xc_free(c.chunk_loss);
    xc_free(c.residual);
    xc_free(q.theta);
    xc_free(q.grad);
    xc_free(q.next);
    xc_free(q.next_grad);
    xc_free(q.direction);
    xc_free(q.s);
    xc_free(q.y);
    if (status != XC_OK) xc_linear_head_release(out);
    return status;
}
