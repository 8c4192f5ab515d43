/* least_squares: see least_squares.h. Arrays are row-major; LAPACK's column-major "upper" is the lower triangle as we read it. */
#include "compress/shrink/least_squares.h"

#include <lapack.h>
#include <math.h>
#include <string.h>

#include "compress/calibrate/blas.h"

#define TILE 128 /* rows and columns that stay in the cache while a matrix is turned over */

static enum xc_status new_matrix(double **out, int64_t rows, int64_t cols, struct xc_err *err) { return xc_spill_matrix((void **)out, NULL, rows, cols, sizeof **out, false, err); }

/* a (n,n) = L L^T, in place, lower. */
static enum xc_status factor(double *a, int64_t n, int64_t ld, struct xc_err *err)
{
    const lapack_int N = (lapack_int)n, LD = (lapack_int)ld;
    lapack_int info = 0;
    char upper = 'U';

    LAPACK_dpotrf(&upper, &N, a, &LD, &info);
    return info ? xc_fail(err, XC_E_RANGE, "second moments of %lld inputs are not positive definite: more damping or more texts are needed", (long long)n) : XC_OK;
}

/* g (n,n) = gram / rows, damped, both triangles. */
static enum xc_status damped(double *g, const float *gram, int64_t rows, int64_t n, double damp, struct xc_err *err)
{
    double mean = 0, add;

    for (int64_t i0 = 0; i0 < n; i0 += TILE)
        for (int64_t j0 = i0; j0 < n; j0 += TILE)
            for (int64_t i = i0; i < xc_min_i64(i0 + TILE, n); i++)
                for (int64_t j = xc_max_i64(j0, i); j < xc_min_i64(j0 + TILE, n); j++) {
                    g[i * n + j] = g[j * n + i] = (double)gram[i * n + j] / (double)rows;
                    if (!isfinite(g[i * n + j])) return xc_fail(err, XC_E_RANGE, "the calibration texts make activations that are not finite");
                }
    for (int64_t i = 0; i < n; i++) mean += g[i * n + i] / (double)n;
    add = mean > 0 ? damp * mean : 1.0;
    for (int64_t i = 0; i < n; i++) g[i * n + i] += add;
    return XC_OK;
}

/* ---- the order ---- */
struct search {
    const struct xc_cut *c;
    double *inverse, *w;     /* (n,n), (m,n) */
    double *cost;            /* by unit; INFINITY once it is gone */
    double *block, *v, *wl;  /* (p,p), (p,n), (m,p) with p = batch * width */
    int32_t *cols;           /* p */
};

/* block = the inverse among cols[0..p), factored; wl = W_cols L^-T. */
static enum xc_status block_of(const struct search *s, int64_t p, struct xc_err *err)
{
    const int64_t n = s->c->n, m = s->c->m;

    for (int64_t i = 0; i < p; i++)
        for (int64_t j = 0; j < p; j++) s->block[i * p + j] = s->inverse[s->cols[i] * n + s->cols[j]];
    XC_TRY(factor(s->block, p, p, err));
    for (int64_t r = 0; r < m; r++)
        for (int64_t i = 0; i < p; i++) s->wl[r * p + i] = s->w[r * n + s->cols[i]];
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)m, (int)p, 1.0, s->block, (int)p, s->wl, (int)p);
    return XC_OK;
}

static void unit_cols(const struct search *s, int64_t at, int32_t unit)
{
    for (int64_t i = 0; i < s->c->width; i++) s->cols[at + i] = (int32_t)(unit * s->c->width + i);
}

static enum xc_status find_costs(const struct search *s, struct xc_err *err)
{
    const int64_t n = s->c->n, m = s->c->m, width = s->c->width;

    for (int64_t u = 0; u < s->c->units; u++) {
        if (isinf(s->cost[u])) continue;
        s->cost[u] = 0;
        if (width > 1) {
            unit_cols(s, 0, (int32_t)u);
            XC_TRY(block_of(s, width, err));
            for (int64_t i = 0; i < m * width; i++) s->cost[u] += s->wl[i] * s->wl[i];
        }
    }
    for (int64_t r = 0; r < m && width == 1; r++)
        for (int64_t u = 0; u < n; u++) s->cost[u] += s->w[r * n + u] * s->w[r * n + u]; /* INFINITY stays */
    for (int64_t u = 0; u < n && width == 1; u++) s->cost[u] /= s->inverse[u * n + u];
    return XC_OK;
}

/* The cheapest unit that is still there; the first of equal ones. */
static int32_t cheapest(const struct search *s)
{
    int64_t best = 0;

    for (int64_t u = 1; u < s->c->units; u++)
        if (s->cost[u] < s->cost[best]) best = u;
    return (int32_t)best;
}

/* Gives up the p columns in cols[]: they leave the inverse and the weights, the others take their place. */
static enum xc_status give_up(const struct search *s, int64_t p, struct xc_err *err)
{
    const int64_t n = s->c->n, m = s->c->m;

    XC_TRY(block_of(s, p, err));
    for (int64_t i = 0; i < p; i++) memcpy(s->v + i * n, s->inverse + s->cols[i] * n, (size_t)n * sizeof *s->v);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)p, (int)n, 1.0, s->block, (int)p, s->v, (int)n);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, (int)n, (int)p, -1.0, s->v, (int)n, s->v, (int)n, 1.0, s->inverse, (int)n);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)n, (int)p, -1.0, s->wl, (int)p, s->v, (int)n, 1.0, s->w, (int)n);
    for (int64_t i = 0; i < p; i++) {
        const int64_t c = s->cols[i];

        for (int64_t k = 0; k < n; k++) s->inverse[c * n + k] = s->inverse[k * n + c] = 0;
        for (int64_t r = 0; r < m; r++) s->w[r * n + c] = 0;
        s->inverse[c * n + c] = 1; /* so that nothing is divided by zero */
    }
    return XC_OK;
}

static enum xc_status search_order(const struct search *s, int64_t batch, struct xc_err *err)
{
    for (int64_t left = s->c->units; left > 0;) {
        const int64_t take = xc_min_i64(batch, left);

        XC_TRY(find_costs(s, err));
        for (int64_t i = 0; i < take; i++) {
            const int32_t u = cheapest(s);

            s->c->order[--left] = u;
            s->cost[u] = INFINITY;
        }
        for (int64_t i = 0; i < take; i++) unit_cols(s, i * s->c->width, s->c->order[left + i]);
        if (left > 0) XC_TRY(give_up(s, take * s->c->width, err));
    }
    return XC_OK;
}

static enum xc_status find_order(struct xc_cut *c, const double *g, const float *w, int64_t batch, struct xc_err *err)
{
    const int64_t p = batch * c->width;
    const lapack_int n = (lapack_int)c->n;
    struct search s = { .c = c };
    lapack_int info = 0;
    char upper = 'U';
    enum xc_status status;

    s.cost = xc_calloc((size_t)c->units, sizeof *s.cost);
    s.cols = xc_malloc((size_t)p * sizeof *s.cols);
    status = s.cost && s.cols ? XC_OK : xc_fail_nomem(err, (size_t)c->units * sizeof *s.cost);
    if (status == XC_OK) status = new_matrix(&s.inverse, c->n, c->n, err);
    if (status == XC_OK) status = new_matrix(&s.w, c->m, c->n, err);
    if (status == XC_OK) status = new_matrix(&s.block, p, p, err);
    if (status == XC_OK) status = new_matrix(&s.v, p, c->n, err);
    if (status == XC_OK) status = new_matrix(&s.wl, c->m, p, err);
    if (status == XC_OK) {
        memcpy(s.inverse, g, (size_t)(c->n * c->n) * sizeof *g);
        for (int64_t i = 0; i < c->m * c->n; i++) s.w[i] = (double)w[i];
        status = factor(s.inverse, c->n, c->n, err);
    }
    if (status == XC_OK) {
        LAPACK_dpotri(&upper, &n, s.inverse, &n, &info);
        for (int64_t i = 0; i < c->n; i++)
            for (int64_t j = 0; j < i; j++) s.inverse[j * c->n + i] = s.inverse[i * c->n + j];
        status = info ? xc_fail(err, XC_E_RANGE, "second moments cannot be inverted") : search_order(&s, batch, err);
    }
    xc_free(s.cost);
    xc_free(s.cols);
    xc_free(s.inverse);
    xc_free(s.w);
    xc_free(s.block);
    xc_free(s.v);
    xc_free(s.wl);
    return status;
}

/* ---- all sizes from one factor: the best weights of the first k units need its leading block alone ---- */
static void factor_in_order(struct xc_cut *c, const double *g, const float *w)
{
    const int64_t n = c->n, m = c->m, width = c->width;

    for (int64_t i = 0; i < n; i++) {
        const int64_t from = c->order[i / width] * width + i % width;

        for (int64_t j = 0; j < n; j++) c->chol[i * n + j] = g[from * n + c->order[j / width] * width + j % width];
        for (int64_t r = 0; r < m; r++) c->y[i * m + r] = (double)w[r * n + from];
    }
}

static enum xc_status make(struct xc_cut *c, const float *gram, int64_t rows, const float *w, int64_t batch, double damp, struct xc_err *err)
{
    double *g = NULL;
    enum xc_status status;

    c->order = xc_malloc((size_t)c->units * sizeof *c->order);
    if (!c->order) return xc_fail_nomem(err, (size_t)c->units * sizeof *c->order);
    XC_TRY(new_matrix(&c->chol, c->n, c->n, err));
    XC_TRY(new_matrix(&c->y, c->n, c->m, err));
    XC_TRY(new_matrix(&g, c->n, c->n, err));
    status = damped(g, gram, rows, c->n, damp, err);
    if (status == XC_OK) status = find_order(c, g, w, batch, err);
    if (status == XC_OK) {
        factor_in_order(c, g, w);
        status = factor(c->chol, c->n, c->n, err);
    }
    if (status == XC_OK)
        cblas_dtrmm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)c->n, (int)c->m, 1.0, c->chol, (int)c->n, c->y, (int)c->m);
    xc_free(g);
    return status;
}

enum xc_status xc_cut_make(struct xc_cut *c, const float *gram, int64_t rows, const float *w, int64_t n, int64_t m, int64_t width, int64_t batch, double damp, struct xc_err *err)
{
    enum xc_status status;

    *c = (struct xc_cut){ .n = n, .m = m, .width = width, .units = n / width };
    xc_blas_init();
    status = make(c, gram, rows, w, batch, damp, err);
    if (status != XC_OK) xc_cut_release(c);
    return status;
}

void xc_cut_release(struct xc_cut *c)
{
    xc_free(c->order);
    xc_free(c->chol);
    xc_free(c->y);
    *c = (struct xc_cut){ 0 };
}

enum xc_status xc_cut_weights(const struct xc_cut *c, int64_t keep, float *w, struct xc_err *err)
{
    const int64_t k = keep * c->width;
    double *x;

    XC_TRY(new_matrix(&x, xc_max_i64(k, 1), c->m, err));
    memcpy(x, c->y, (size_t)(k * c->m) * sizeof *x);
    if (k > 0) cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)k, (int)c->m, 1.0, c->chol, (int)c->n, x, (int)c->m);
    memset(w, 0, (size_t)(c->m * c->n) * sizeof *w);
    for (int64_t i = 0; i < k; i++)
        for (int64_t r = 0; r < c->m; r++) w[r * c->n + c->order[i / c->width] * c->width + i % c->width] = (float)x[i * c->m + r];
    xc_free(x);
    return XC_OK;
}

double xc_cut_loss(const struct xc_cut *c, int64_t keep)
{
    double lost = 0, all = 0;

    for (int64_t i = c->n * c->m - 1; i >= 0; i--) {
        if (i == keep * c->width * c->m - 1) lost = all;
        all += c->y[i] * c->y[i];
    }
    if (!keep) lost = all;
    return all > 0 ? lost / all : 0;
}

/* ---- refit ---- */
/* x = cross / rows; wt = w^T. */
static void turn_over(double *x, double *wt, const float *w, const float *cross, int64_t rows, int64_t k, int64_t m)
{
    for (int64_t i0 = 0; i0 < k; i0 += TILE)
        for (int64_t r0 = 0; r0 < m; r0 += TILE)
            for (int64_t i = i0; i < xc_min_i64(i0 + TILE, k); i++)
                for (int64_t r = r0; r < xc_min_i64(r0 + TILE, m); r++) {
                    x[i * m + r] = (double)cross[i * m + r] / (double)rows;
                    wt[i * m + r] = (double)w[r * k + i];
                }
}

static void turn_back(float *w, const double *wt, const double *x, int64_t k, int64_t m)
{
    for (int64_t i0 = 0; i0 < k; i0 += TILE)
        for (int64_t r0 = 0; r0 < m; r0 += TILE)
            for (int64_t r = r0; r < xc_min_i64(r0 + TILE, m); r++)
                for (int64_t i = i0; i < xc_min_i64(i0 + TILE, k); i++) w[r * k + i] = (float)(wt[i * m + r] + x[i * m + r]);
}

enum xc_status xc_refit(float *w, const float *gram, const float *cross, int64_t rows, int64_t k, int64_t m, double damp, struct xc_spill *spill, struct xc_err *err)
{
    double *g = NULL, *x = NULL, *wt = NULL;
    enum xc_status status;

    xc_blas_init();
    XC_TRY_GOTO(xc_spill_matrix((void **)&g, spill, k, k, sizeof *g, false, err), out);
    XC_TRY_GOTO(xc_spill_matrix((void **)&x, spill, k, m, sizeof *x, false, err), out);
    XC_TRY_GOTO(xc_spill_matrix((void **)&wt, spill, k, m, sizeof *wt, false, err), out);
    XC_TRY_GOTO(damped(g, gram, rows, k, 0, err), out);
    turn_over(x, wt, w, cross, rows, k, m);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)k, (int)m, (int)k, -1.0, g, (int)k, wt, (int)m, 1.0, x, (int)m); /* what is still wrong */
    XC_TRY_GOTO(damped(g, gram, rows, k, damp, err), out);
    XC_TRY_GOTO(factor(g, k, k, err), out);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)k, (int)m, 1.0, g, (int)k, x, (int)m);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (int)k, (int)m, 1.0, g, (int)k, x, (int)m);
    turn_back(w, wt, x, k, m);
out:
    xc_spill_drop(spill, g);
    xc_spill_drop(spill, x);
    xc_spill_drop(spill, wt);
    return status;
}
