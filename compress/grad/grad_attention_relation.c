/* relation: see grad_relation.h. An item is a sequence and a head: it adds to columns and rows that no other touches, tiles in ascending order, so that
 * the order of every sum is fixed. */
#include "compress/grad/grad_relation.h"

#include <math.h>

#include "compress/grad/grad.h"

#define TILE 64

struct job {
    const struct xc_relation *r;
    int64_t w, wt;    /* columns of a head */
    int64_t longest;
    float *scratch;   /* by thread */
    int64_t each;     /* floats */
    double *loss;     /* by item */
};

struct work {
    float *b_rows, *t_rows, *b_cols; /* panels: scores of student and teacher; da */
    float *a_cols;                   /* panel of a tile: db */
    float *s, *t, *turned;           /* (TILE, n), (TILE, n), (n, TILE) */
};

static int64_t work_in(struct work *w, float *p, int64_t n, int64_t D, int64_t Dt)
{
    const int64_t size[] = { xc_grad_panel_floats(n, D), xc_grad_panel_floats(n, Dt), xc_grad_panel_floats(D, n), xc_grad_panel_floats(D, TILE), TILE * n, TILE * n, n * TILE };
    float **const part[] = { &w->b_rows, &w->t_rows, &w->b_cols, &w->a_cols, &w->s, &w->t, &w->turned };
    int64_t at = 0;

    for (size_t i = 0; i < XC_ARRAY_LEN(size); i++) {
        *part[i] = p ? p + at : NULL;
        at += xc_round_up(size[i], 16);
    }
    return at;
}

/* out (R,N) = or += x (R,K) w */
static void product(const struct job *j, float *out, int64_t ld_out, const float *x, int64_t ldx, const float *w, int64_t R, int64_t N, int64_t K, bool add)
{
    const struct xc_gemm_f32 g = { .x = x, .ldx = ldx, .w = w, .N = N, .K = K, .ep = { .residual = add ? out : NULL, .ld_residual = ld_out, .out = out, .ld_out = ld_out } };

    j->r->kern->gemm_f32(&g, 0, R, 0, N);
}

/* One row of scores: its loss; s becomes weight * d loss / d s, with the scale of the student's scores. */
static double row(const struct job *j, float *s, float *t, int64_t n, float scale, float scale_t)
{
    const struct xc_kernels *k = j->r->kern;
    double sum = 0, log_s = 0, log_t = 0, top_s = -INFINITY, top_t = -INFINITY;
    const double weight = j->r->weight * (double)scale;

    for (int64_t i = 0; i < n; i++) {
        s[i] *= scale;
        t[i] *= scale_t;
    }
    if (j->r->mode == XC_RELATION_SCORES) {
        for (int64_t i = 0; i < n; i++) {
            const double e = (double)s[i] - (double)t[i];

            sum += e * e;
            s[i] = (float)(2 * weight * e);
        }
        return sum;
    }
    /* KL = sum p_t (t - s) - log sum exp t + log sum exp s */
    for (int64_t i = 0; i < n; i++) {
        top_s = fmax(top_s, (double)s[i]);
        top_t = fmax(top_t, (double)t[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        log_s += exp((double)s[i] - top_s);
        log_t += exp((double)t[i] - top_t);
    }
    log_s = top_s + log(log_s);
    log_t = top_t + log(log_t);
    for (int64_t i = 0; i < n; i++) {
        const double p = exp((double)t[i] - log_t);

        sum += p * (((double)t[i] - log_t) - ((double)s[i] - log_s));
        t[i] = (float)p;
    }
    k->softmax_rows(s, s, 1, n);
    for (int64_t i = 0; i < n; i++) s[i] = (float)(weight * ((double)s[i] - (double)t[i]));
    return sum;
}

static void item(void *arg, int64_t i, int thread)
{
    const struct job *j = arg;
    const struct xc_relation *r = j->r;
    const int64_t s = i / r->heads, h = i % r->heads, at0 = r->rag->start[s], n = r->rag->start[s + 1] - at0, D = j->w, Dt = j->wt;
    const float scale = 1.0f / sqrtf((float)D), scale_t = 1.0f / sqrtf((float)Dt);
    const float *a = r->a + at0 * r->cols + h * D, *b = r->b + at0 * r->cols + h * D;
    const float *ta = r->teacher_a + at0 * r->teacher_cols + h * Dt, *tb = r->teacher_b + at0 * r->teacher_cols + h * Dt;
    float *da = r->da + at0 * r->cols + h * D, *db = r->db + at0 * r->cols + h * D;
    double sum = 0;
    struct work w;

    j->loss[i] = 0;
    if (n == 0) return;
    work_in(&w, j->scratch + thread * j->each, n, D, Dt);
    xc_grad_panel_rows(w.b_rows, b, r->cols, n, D);
    xc_grad_panel_rows(w.t_rows, tb, r->teacher_cols, n, Dt);
    xc_grad_panel_cols(w.b_cols, b, r->cols, n, D);
    for (int64_t row0 = 0; row0 < n; row0 += TILE) {
        const int64_t T = xc_min_i64(TILE, n - row0);

        product(j, w.s, n, a + row0 * r->cols, r->cols, w.b_rows, T, n, D, false);
        product(j, w.t, n, ta + row0 * r->teacher_cols, r->teacher_cols, w.t_rows, T, n, Dt, false);
        for (int64_t k = 0; k < T; k++) {
            const int64_t seen = r->causal ? row0 + k + 1 : n;

            sum += row(j, w.s + k * n, w.t + k * n, seen, scale, scale_t);
            for (int64_t c = seen; c < n; c++) w.s[k * n + c] = 0.0f;
        }
        product(j, da + row0 * r->cols, r->cols, w.s, n, w.b_cols, T, D, n, true);
        xc_grad_panel_cols(w.a_cols, a + row0 * r->cols, r->cols, T, D);
        xc_grad_transpose(w.turned, TILE, w.s, n, T, n);
        product(j, db, r->cols, w.turned, TILE, w.a_cols, n, D, T, true);
    }
    j->loss[i] = sum;
}

double xc_relation_items(enum xc_relation_mode mode, const struct xc_ragged *rag, int64_t heads, bool causal)
{
    double items = 0;

    for (int32_t s = 0; s < rag->n_seq; s++) {
        const double n = (double)(rag->start[s + 1] - rag->start[s]);

        items += mode == XC_RELATION_SOFTMAX ? n : causal ? n * (n + 1) / 2 : n * n;
    }
    return items * (double)heads;
}

enum xc_status xc_relation_loss(const struct xc_relation *r, double *loss, struct xc_err *err)
{
    const int64_t items = r->rag->n_seq * r->heads;
    struct job j = { .r = r, .w = r->cols / r->heads, .wt = r->teacher_cols / r->heads };
    struct work w;
    size_t bytes;

    *loss = 0;
    if (!items) return XC_OK;
    for (int32_t s = 0; s < r->rag->n_seq; s++) j.longest = xc_max_i64(j.longest, r->rag->start[s + 1] - r->rag->start[s]);
    j.each = work_in(&w, NULL, j.longest, j.w, j.wt);
    bytes = (size_t)(j.each * xc_pool_threads(r->pool)) * sizeof *j.scratch;
    j.scratch = xc_alloc_aligned(bytes);
    j.loss = xc_malloc((size_t)items * sizeof *j.loss);
    if (j.scratch && j.loss) xc_pool_run(r->pool, item, &j, items);
    for (int64_t i = 0; j.scratch && j.loss && i < items; i++) *loss += j.loss[i];
    const bool ok = j.scratch && j.loss;

    xc_free(j.scratch);
    xc_free(j.loss);
    return ok ? XC_OK : xc_fail_nomem(err, bytes);
}
