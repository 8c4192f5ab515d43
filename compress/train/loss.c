/* loss: see loss.h. */
#include "compress/train/loss.h"

#include <math.h>
#include <string.h>

struct classes {
    float *d;
    double *each;
    const float *x;
    const int32_t *label;
    int64_t C;
    double smoothing, weight;
};

static void classes_row(void *arg, int64_t r, int thread)
{
    const struct classes *c = arg;
    const float *x = c->x + r * c->C;
    float *d = c->d + r * c->C;
    const int32_t label = c->label[r];
    double sum = 0, mean = 0, top = -INFINITY, log_sum;

    (void)thread;
    c->each[r] = 0;
    if (label < 0) {
        memset(d, 0, (size_t)c->C * sizeof *d);
        return;
    }
    for (int64_t i = 0; i < c->C; i++) top = fmax(top, (double)x[i]);
    for (int64_t i = 0; i < c->C; i++) {
        const double e = exp((double)x[i] - top);

        d[i] = (float)e;
        sum += e;
        mean += (double)x[i];
    }
    log_sum = top + log(sum);
    mean /= (double)c->C;
    c->each[r] = log_sum - (1 - c->smoothing) * (double)x[label] - c->smoothing * mean;
    for (int64_t i = 0; i < c->C; i++) d[i] = (float)(c->weight * ((double)d[i] / sum - c->smoothing / (double)c->C));
    d[label] -= (float)(c->weight * (1 - c->smoothing));
    if (isnan(log_sum)) c->each[r] = NAN; /* fmax skips NaN */
}

double xc_loss_classes(float *d, double *each, const float *x, const int32_t *label, int64_t R, int64_t C, double smoothing, double weight, struct xc_pool *pool)
{
    struct classes c = { .d = d, .each = each, .x = x, .label = label, .C = C, .smoothing = smoothing, .weight = weight };
    double sum = 0;

    xc_pool_run(pool, classes_row, &c, R);
    for (int64_t r = 0; r < R; r++) sum += each[r];
    return sum;
}

double xc_loss_square(float *d, const float *x, const float *target, int64_t R, double weight)
{
    double sum = 0;

    for (int64_t r = 0; r < R; r++) {
        const double e = (double)x[r] - (double)target[r];

        sum += e * e;
        d[r] = (float)(2 * weight * e);
    }
    return sum;
}

static double dot(const float *a, const float *b, int64_t C)
{
    double sum = 0;

    for (int64_t i = 0; i < C; i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

/* da += factor * d cos(a,b) / da, and the same for b; na and nb are the norms. */
static void cosine_grad(float *da, float *db, const float *a, const float *b, double na, double nb, double cosine, double factor, int64_t C)
{
    if (na == 0 || nb == 0) return;
    for (int64_t i = 0; i < C; i++) {
        da[i] += (float)(factor * ((double)b[i] / (na * nb) - cosine * (double)a[i] / (na * na)));
        db[i] += (float)(factor * ((double)a[i] / (na * nb) - cosine * (double)b[i] / (nb * nb)));
    }
}

static double cosine_of(const float *a, const float *b, double na, double nb, int64_t C) { return na > 0 && nb > 0 ? dot(a, b, C) / (na * nb) : 0; }

double xc_loss_cosine(float *d, const float *x, const float *target, int64_t n, int64_t C, double weight)
{
    double sum = 0;

    memset(d, 0, (size_t)(2 * n * C) * sizeof *d);
    for (int64_t i = 0; i < n; i++) {
        const float *a = x + 2 * i * C, *b = a + C;
        const double na = sqrt(dot(a, a, C)), nb = sqrt(dot(b, b, C)), cosine = cosine_of(a, b, na, nb, C), e = cosine - (double)target[i];

        sum += e * e;
        cosine_grad(d + 2 * i * C, d + (2 * i + 1) * C, a, b, na, nb, cosine, 2 * weight * e, C);
    }
    return sum;
}

double xc_loss_contrast(float *d, double *each, const float *x, int64_t n, int64_t C, double scale, double weight)
{
    double *norm = each, *row = each + 2 * n, sum = 0; /* norms of the 2n rows; cosines of one row */

    memset(d, 0, (size_t)(2 * n * C) * sizeof *d);
    for (int64_t i = 0; i < 2 * n; i++) norm[i] = sqrt(dot(x + i * C, x + i * C, C));
    for (int64_t i = 0; i < n; i++) {
        const float *a = x + 2 * i * C;
        double top = -INFINITY, total = 0;

        for (int64_t j = 0; j < n; j++) {
            row[j] = cosine_of(a, x + (2 * j + 1) * C, norm[2 * i], norm[2 * j + 1], C);
            top = fmax(top, scale * row[j]);
        }
        for (int64_t j = 0; j < n; j++) total += exp(scale * row[j] - top);
        sum += top + log(total) - scale * row[i];
        for (int64_t j = 0; j < n; j++) {
            const double p = exp(scale * row[j] - top) / total - (i == j ? 1 : 0);

            cosine_grad(d + 2 * i * C, d + (2 * j + 1) * C, a, x + (2 * j + 1) * C, norm[2 * i], norm[2 * j + 1], row[j], weight * scale * p, C);
        }
    }
    return sum;
}

/* ---- a teacher's rows as targets ---- */
struct rows {
    float *d;
    double *each;
    const float *x, *target;
    const int32_t *row;
    int64_t C;
    double temperature, weight;
};

static double log_sum_exp(const float *x, int64_t C, double factor)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < C; i++) top = fmax(top, factor * (double)x[i]);
    for (int64_t i = 0; i < C; i++) sum += exp(factor * (double)x[i] - top);
    return isnan(sum) ? NAN : top + log(sum);
}

static void soft_row(void *arg, int64_t r, int thread)
{
    const struct rows *j = arg;
    const float *x = j->x + r * j->C, *t = j->target + r * j->C;
    float *d = j->d + r * j->C;
    const double f = 1 / j->temperature, log_x = log_sum_exp(x, j->C, f), log_t = log_sum_exp(t, j->C, f), t2 = j->temperature * j->temperature;
    double sum = 0;

    (void)thread;
    for (int64_t i = 0; i < j->C; i++) {
        const double p = exp(f * (double)t[i] - log_t), q = f * (double)x[i] - log_x;

        sum -= p * q;
        d[i] += (float)(j->weight * j->temperature * (exp(q) - p));
    }
    j->each[r] = t2 * sum;
}

static void mse_row(void *arg, int64_t r, int thread)
{
    const struct rows *j = arg;
    const float *x = j->x + r * j->C, *t = j->target + r * j->C;
    const float factor = (float)(2 * j->weight);
    float *d = j->d + r * j->C;
    double sum = 0;

    (void)thread;
    for (int64_t i = 0; i < j->C; i++) {
        const float e = x[i] - t[i];

        sum += (double)e * (double)e;
        d[i] += factor * e;
    }
    j->each[r] = sum;
}

static void direction_row(void *arg, int64_t i, int thread)
{
    const struct rows *j = arg;
    const int64_t r = j->row ? j->row[i] : i, C = j->C;
    const float *x = j->x + r * C, *t = j->target + r * C;
    float *d = j->d + r * C;
    const double nx = sqrt(dot(x, x, C)), nt = sqrt(dot(t, t, C)), cosine = cosine_of(x, t, nx, nt, C);

    (void)thread;
    j->each[i] = 1 - cosine;
    if (nx == 0 || nt == 0) return;
    for (int64_t c = 0; c < C; c++) d[c] -= (float)(j->weight * ((double)t[c] / (nx * nt) - cosine * (double)x[c] / (nx * nx)));
}

static double over_rows(const struct rows *j, xc_pool_fn *fn, int64_t R, struct xc_pool *pool)
{
    struct rows copy = *j;
    double sum = 0;

    xc_pool_run(pool, fn, &copy, R);
    for (int64_t r = 0; r < R; r++) sum += j->each[r];
    return sum;
}

double xc_loss_soft(float *d, double *each, const float *x, const float *target, int64_t R, int64_t C, double temperature, double weight, struct xc_pool *pool)
{
    return over_rows(&(struct rows){ .d = d, .each = each, .x = x, .target = target, .C = C, .temperature = temperature, .weight = weight }, soft_row, R, pool);
}

double xc_loss_mse(float *d, double *each, const float *x, const float *target, int64_t R, int64_t C, double weight, struct xc_pool *pool)
{
    return over_rows(&(struct rows){ .d = d, .each = each, .x = x, .target = target, .C = C, .weight = weight }, mse_row, R, pool);
}

double xc_loss_direction(float *d, double *each, const float *x, const float *target, const int32_t *row, int64_t R, int64_t C, double weight, struct xc_pool *pool)
{
    return over_rows(&(struct rows){ .d = d, .each = each, .x = x, .target = target, .row = row, .C = C, .weight = weight }, direction_row, R, pool);
}

/* ---- spans: softmax down the columns ---- */
struct spans {
    float *d;
    double *each;
    const float *x, *target; /* target NULL = labels */
    const int32_t *start, *label;
    double smoothing, temperature, weight;
};

/* log sum exp of the n numbers x[0], x[2], ... */
static double column_log_sum(const float *x, int64_t n, double factor)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < n; i++) top = fmax(top, factor * (double)x[2 * i]);
    for (int64_t i = 0; i < n; i++) sum += exp(factor * (double)x[2 * i] - top);
    return isnan(sum) ? NAN : top + log(sum);
}

static double label_column(const struct spans *j, float *d, const float *x, int64_t n, int32_t label)
{
    const double log_sum = column_log_sum(x, n, 1), even = j->smoothing / (double)n;
    double mean = 0;

    for (int64_t i = 0; i < n; i++) {
        d[2 * i] = label < 0 ? 0.0f : (float)(j->weight / 2 * (exp((double)x[2 * i] - log_sum) - even - (i == label ? 1 - j->smoothing : 0)));
        mean += (double)x[2 * i] / (double)n;
    }
    return label < 0 ? 0 : (log_sum - (1 - j->smoothing) * (double)x[2 * label] - j->smoothing * mean) / 2;
}

static double soft_column(const struct spans *j, float *d, const float *x, const float *t, int64_t n)
{
    const double f = 1 / j->temperature, log_x = column_log_sum(x, n, f), log_t = column_log_sum(t, n, f);
    double sum = 0;

    for (int64_t i = 0; i < n; i++) {
        const double p = exp(f * (double)t[2 * i] - log_t), q = f * (double)x[2 * i] - log_x;

        sum -= p * q;
        d[2 * i] += (float)(j->weight / 2 * j->temperature * (exp(q) - p));
    }
    return j->temperature * j->temperature * sum / 2;
}

static void span_sequence(void *arg, int64_t s, int thread)
{
    const struct spans *j = arg;
    const int64_t at = 2 * (int64_t)j->start[s], n = j->start[s + 1] - j->start[s];

    (void)thread;
    j->each[s] = 0;
    for (int64_t c = 0; c < 2 && n; c++)
        j->each[s] += j->target ? soft_column(j, j->d + at + c, j->x + at + c, j->target + at + c, n) : label_column(j, j->d + at + c, j->x + at + c, n, j->label[2 * s + c]);
}

static double over_sequences(struct spans *j, int64_t n, struct xc_pool *pool)
{
    double sum = 0;

    xc_pool_run(pool, span_sequence, j, n);
    for (int64_t s = 0; s < n; s++) sum += j->each[s];
    return sum;
}

double xc_loss_spans(float *d, double *each, const float *x, const int32_t *start, const int32_t *label, int64_t n, double smoothing, double weight, struct xc_pool *pool)
{
    return over_sequences(&(struct spans){ .d = d, .each = each, .x = x, .start = start, .label = label, .smoothing = smoothing, .weight = weight }, n, pool);
}

double xc_loss_soft_spans(float *d, double *each, const float *x, const float *target, const int32_t *start, int64_t n, double temperature, double weight, struct xc_pool *pool)
{
    return over_sequences(&(struct spans){ .d = d, .each = each, .x = x, .target = target, .start = start, .temperature = temperature, .weight = weight }, n, pool);
}
