/* low_rank: a linear becomes two with fewer numbers, a table of embeddings a narrower one and a linear: truncated singular value decomposition.
 * With calibration texts a linear's error is counted where its inputs are (W = S of W L, with L L^T the second moments of the inputs: Hsu et al. 2022,
 * arXiv:2207.00112; Chen et al. 2021, DRONE); without, all inputs count alike. Embeddings: Lan et al. 2019 (ALBERT), arXiv:1909.11942.
 * Where a target names it, the random matrix of a Synthesizer becomes two factors side by side, head by head (Tay et al. 2020, the factorised random kind). */
#include <lapack.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/attention/random_matrix.h"
#include "compress/calibrate/blas.h"
#include "compress/calibrate/hessian.h"
#include "compress/pass.h"
#include "compress/plan/forecast.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/attention/synthesizer.h"

static const struct xc_pass_option options[] = {
    { .name = "rank", .help = "width between the two; 0 = as flops decides", .def = "0", .min = 0, .max = 65536 },
    { .name = "flops", .help = "share of the numbers (and multiply-adds) of each weight that stays", .def = "0.5", .min = 0.01, .max = 1 },
    { .name = "damp", .help = "what unseen inputs count for, in mean squares of a seen one", .def = "0.01", .min = 1e-8, .max = 100 },
    { .name = NULL },
};

struct low_rank {
    const struct xc_prepare *p;
    struct xc_graph *g;
    struct xc_hessians h;
};

static bool is_op(const struct xc_node *node, const char *op) { return !strcmp(node->op->name, op); }

static int64_t rank_of(const struct xc_recipe_pass *spec, const struct xc_tensor *t)
{
    const double rows = (double)xc_tensor_rows(t), cols = (double)xc_tensor_cols(t), rank = xc_recipe_number(spec, "rank");
    const int64_t most = (int64_t)(rows * cols / (rows + cols)), r = rank > 0 ? (int64_t)rank : (int64_t)(xc_recipe_number(spec, "flops") * rows * cols / (rows + cols));

    return r >= 16 && most >= 16 && rank <= 0 ? r / 16 * 16 : xc_max_i64(r, 1); /* whole panels where we choose */
}

static int64_t random_rank(const struct xc_recipe_pass *spec, int64_t L)
{
    const double rank = xc_recipe_number(spec, "rank");

    return rank > 0 ? (int64_t)rank : xc_max_i64(1, (int64_t)(xc_recipe_number(spec, "flops") * (double)L / 2));
}

/* What stands against splitting the weight of a node. */
static const char *objection(const struct xc_model *m, const struct xc_recipe_pass *spec, const struct xc_node *node)
{
    const struct xc_tensor *t;

    if (xc_random_is_whole(node)) {
        const int64_t L = ((const struct xc_attr_attention *)node->attr)->positions;

        t = m->tensors[node->in[XC_SYNTH_R].id];
        if (xc_surgery_tensor_uses(m, node->in[XC_SYNTH_R].id) != 1) return "other nodes use its random matrix too";
        if (t->part[XC_PART_DATA] && t->enc.format > XC_FMT_BF16) return "it is quantized already: this pass comes before";
        return 2 * random_rank(spec, L) >= L ? "two factors of this rank are not smaller than one matrix" : NULL;
    }
    if ((!is_op(node, "linear") && !is_op(node, "gather")) || node->in[1].kind != XC_REF_TENSOR || node->in[0].kind != XC_REF_VALUE) return "it has no weight to split";
    t = m->tensors[node->in[1].id];
    if (t->rank != 2) return "its weight has other than two axes";
    if (xc_surgery_tensor_uses(m, node->in[1].id) != 1) return "other nodes use its weight too";
    if (node->in[0].range.mode != XC_RANGE_NONE || (t->part[XC_PART_DATA] && t->enc.format > XC_FMT_BF16)) return "it is quantized already: this pass comes before";
    if (rank_of(spec, t) * (xc_tensor_rows(t) + xc_tensor_cols(t)) >= xc_tensor_count(t)) return "two weights of this rank are not smaller than one";
    return NULL;
}

/* Heads of a few labels: nothing to gain. */
static bool narrow(const struct xc_tensor *t) { return xc_min_i64(xc_tensor_rows(t), xc_tensor_cols(t)) < 64; }

/* ---- numbers ---- */
/* w (n,k) = a (n,r) b (r,k), best for inputs with second moments `gram` (k,k; NULL = all alike). */
static enum xc_status split(float *a, float *b, const float *w, const float *gram, int64_t rows, int64_t n, int64_t k, int64_t r, double damp, struct xc_err *err)
{
    const int64_t q = xc_min_i64(n, k);
    const size_t bytes = (size_t)(n * k + k * k + q * k + n * q + q) * sizeof(double) + (size_t)(8 * q) * sizeof(lapack_int);
    const lapack_int K = (lapack_int)k, N = (lapack_int)n, Q = (lapack_int)q;
    double *m = xc_alloc_aligned(bytes), *l, *v, *u, *s, mean = 0, want = 0, *work = NULL;
    lapack_int info = 0, ask = -1, size;
    char some = 'S', upper = 'U';
    enum xc_status status = XC_OK;

    if (!m) return xc_fail_nomem(err, bytes);
    l = m + n * k, v = l + k * k, u = v + q * k, s = u + n * q;
    for (int64_t i = 0; i < n * k; i++) m[i] = (double)w[i];
    if (gram) {
        for (int64_t i = 0; i < k; i++) mean += (double)gram[i * k + i] / (double)rows / (double)k;
        for (int64_t i = 0; i < k * k; i++) l[i] = (double)gram[i] / (double)rows;
        for (int64_t i = 0; i < k; i++) l[i * k + i] += mean > 0 ? damp * mean : 1.0;
        LAPACK_dpotrf(&upper, &K, l, &K, &info); /* row-major: lower */
        if (info) status = xc_fail(err, XC_E_RANGE, "second moments are not positive definite: more damping or more texts are needed");
        else cblas_dtrmm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)n, (int)k, 1.0, l, (int)k, m, (int)k);
    }
    /* As LAPACK reads it, m is its transpose (k,n) = V S U^T: it gives V^T and U in our order. */
    if (status == XC_OK) LAPACK_dgesdd(&some, &K, &N, m, &K, s, v, &K, u, &Q, &want, &ask, (lapack_int *)(void *)(s + q), &info);
    size = (lapack_int)want;
    if (status == XC_OK && !(work = xc_alloc_aligned((size_t)size * sizeof *work))) status = xc_fail_nomem(err, (size_t)size * sizeof *work);
    if (status == XC_OK) {
        LAPACK_dgesdd(&some, &K, &N, m, &K, s, v, &K, u, &Q, work, &size, (lapack_int *)(void *)(s + q), &info);
        if (info) status = xc_fail(err, XC_E_RANGE, "the singular value decomposition does not converge: is a weight not finite?");
    }
    if (status == XC_OK) {
        for (int64_t i = 0; i < r; i++)
            for (int64_t c = 0; c < k; c++) v[i * k + c] *= sqrt(s[i]);
        if (gram) cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, (int)r, (int)k, 1.0, l, (int)k, v, (int)k);
        for (int64_t i = 0; i < r * k; i++) b[i] = (float)v[i];
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < r; c++) a[i * r + c] = (float)(u[i * q + c] * sqrt(s[c]));
    }
    xc_free(work);
    xc_free(m);
    return status;
}

/* A table (n,k), n large: eigenvectors of its second moments (k,k). a (n,r) = w e, b (k,r) = e. */
static enum xc_status split_table(float *a, float *b, const float *w, int64_t n, int64_t k, int64_t r, struct xc_err *err)
{
    const size_t bytes = (size_t)(k * k + k) * sizeof(double);
    const lapack_int K = (lapack_int)k, size = (lapack_int)(1 + 6 * k + 2 * k * k), isize = (lapack_int)(3 + 5 * k);
    double *g = xc_alloc_aligned(bytes), *work = xc_alloc_aligned((size_t)size * sizeof *work);
    lapack_int *iwork = xc_malloc((size_t)isize * sizeof *iwork), info = 0;
    char vectors = 'V', upper = 'U';
    enum xc_status status = g && work && iwork ? XC_OK : xc_fail_nomem(err, bytes);

    for (int64_t i = 0; g && i < k * k; i++) g[i] = 0;
    for (int64_t row = 0; status == XC_OK && row < n; row++) /* double sums of all rows: the lower triangle */
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j <= i; j++) g[i * k + j] += (double)w[row * k + i] * (double)w[row * k + j];
    if (status == XC_OK) {
        LAPACK_dsyevd(&vectors, &upper, &K, g, &K, g + k * k, work, &size, iwork, &isize, &info);
        if (info) status = xc_fail(err, XC_E_RANGE, "the eigenvectors of a table do not converge: is it not finite?");
    }
    for (int64_t c = 0; status == XC_OK && c < r; c++) /* ascending, one a row in our order: the last r, largest first */
        for (int64_t i = 0; i < k; i++) b[i * r + c] = (float)g[(k - 1 - c) * k + i];
    if (status == XC_OK) cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)r, (int)k, 1.0f, w, (int)k, b, (int)r, 0.0f, a, (int)r);
    xc_free(g);
    xc_free(work);
    xc_free(iwork);
    return status;
}

/* The singular values of a weight, or the moments and eigenvectors of a table, in units of the forecast: LAPACK's operations, and factors measured on MiniLM. */
static void forecast(struct xc_forecast *f, double n, double k, bool table, bool texts)
{
    const double q = fmin(n, k);

    f->toil[XC_TOIL_READ] += n * k;
    if (table) {
        f->toil[XC_TOIL_COMPARE] += 0.4 * n * k * k;
        f->toil[XC_TOIL_FACTOR] += 10 * k * k * k;
        xc_forecast_holds(f, 8 * n * k);
        return;
    }
    f->toil[XC_TOIL_FACTOR] += 1.5 * fmax(n, k) * q * q + 5 * q * q * q + k * k * k;
    if (texts) f->toil[XC_TOIL_GRAM] += (double)f->tokens * k * k;
    xc_forecast_holds(f, 8 * (2 * n * k + 2 * k * k + n * q));
}

/* ---- graph ---- */
/* R of each head = R1 R2^T; a row of the new tensor is its row of R1 and its row of R2. */
static enum xc_status split_random(struct low_rank *s, int32_t n, struct xc_err *err)
{
    struct xc_attr_attention *attr = s->g->nodes[n].attr;
    struct xc_tensor *t = s->p->model->tensors[s->g->nodes[n].in[XC_SYNTH_R].id];
    const int64_t L = attr->positions, r = random_rank(s->p->spec, L), rows = xc_tensor_rows(t), dim[2] = { rows, 2 * r };
    float *w = NULL, *a = xc_malloc((size_t)(L * r) * sizeof *a), *b = xc_malloc((size_t)(L * r) * sizeof *b), *both = xc_malloc((size_t)(rows * 2 * r) * sizeof *both);
    enum xc_status status = a && b && both ? XC_OK : xc_fail_nomem(err, (size_t)(rows * 2 * r) * sizeof *both);

    if (s->p->forecast)
        for (int64_t h = 0; h < rows / L; h++) forecast(s->p->forecast, (double)L, (double)L, false, false);
    if (status == XC_OK && !s->p->plan_only) status = xc_surgery_numbers(&w, t, err);
    for (int64_t i = 0; w && i < rows * L && status == XC_OK; i++)
        if (!isfinite(w[i])) status = xc_fail(err, XC_E_RANGE, "tensor '%s' is not finite at row %lld, column %lld", t->name, (long long)(i / L), (long long)(i % L));
    for (int64_t first = 0; w && first < rows && status == XC_OK; first += L) {
        status = split(a, b, w + first * L, NULL, 1, L, L, r, 0, err);
        for (int64_t i = 0; i < L * r && status == XC_OK; i++) {
            both[(first + i / r) * 2 * r + i % r] = a[i];
            both[(first + i / r) * 2 * r + r + i % r] = b[i % r * L + i / r];
        }
    }
    if (status == XC_OK) status = xc_surgery_replace(t, 2, dim, w ? both : NULL, err);
    if (status == XC_OK) attr->rank = (int32_t)r;
    xc_free(w);
    xc_free(a);
    xc_free(b);
    xc_free(both);
    return status;
}

/* Node n: linear x W^T + c becomes (x B^T) A^T + c; gather T[i] becomes A[i] B^T. The old tensor becomes A; B is new, in a new linear. */
static enum xc_status split_node(struct low_rank *s, int32_t n, struct xc_err *err)
{
    const bool table = is_op(&s->g->nodes[n], "gather"), plan_only = s->p->plan_only;
    struct xc_model *m = s->p->model;
    struct xc_tensor *t = m->tensors[s->g->nodes[n].in[1].id];
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t), r = rank_of(s->p->spec, t), dim_a[2] = { N, r }, dim_b[2] = { table ? K : r, table ? r : K };
    const int32_t value = s->g->nodes[n].in[0].id;
    const float *gram = s->h.h ? s->h.h[value] : NULL;
    float *w = NULL, *a = NULL, *b = NULL;
    char name[XC_MAX_NAME + 32];
    int32_t id, out;
    enum xc_status status = XC_OK;

    if (plan_only && s->p->forecast) forecast(s->p->forecast, (double)N, (double)K, table, s->p->texts != NULL);
    if (!plan_only) {
        XC_TRY(xc_surgery_numbers(&w, t, err));
        a = xc_alloc_aligned((size_t)(N * r) * sizeof *a);
        b = xc_alloc_aligned((size_t)(K * r) * sizeof *b);
        if (!a || !b) status = xc_fail_nomem(err, (size_t)((N + K) * r) * sizeof *a);
        for (int64_t i = 0; i < N * K && status == XC_OK; i++)
            if (!isfinite(w[i])) status = xc_fail(err, XC_E_RANGE, "tensor '%s' is not finite at row %lld, column %lld", t->name, (long long)(i / K), (long long)(i % K));
        if (status == XC_OK) status = table ? split_table(a, b, w, N, K, r, err) : split(a, b, w, gram, s->h.rows, N, K, r, xc_recipe_number(s->p->spec, "damp"), err);
        if (status != XC_OK) xc_fail_at(err, status, "node '%s'", s->g->nodes[n].name);
    }
    snprintf(name, sizeof name, "%s.low_rank", t->name);
    if (status == XC_OK) status = xc_model_add_tensor(m, &id, name, 2, dim_b, err);
    if (status == XC_OK) status = xc_surgery_replace(m->tensors[id], 2, dim_b, b, err);
    if (status == XC_OK) status = xc_surgery_replace(t, 2, dim_a, a, err);
    xc_free(w);
    xc_free(a);
    xc_free(b);
    if (status != XC_OK) return status;
    snprintf(name, sizeof name, "%s.low_rank", s->g->nodes[n].name);
    if (table) { /* behind the gather, whose value is narrow now */
        const int32_t wide = s->g->nodes[n].out[0];
        const struct xc_ref in[] = { xc_val(wide), xc_ten(id) };

        s->g->values[wide].cols = (int32_t)r;
        XC_TRY(xc_graph_insert_node(s->g, n + 1, &out, "linear", name, in, 2, NULL, err));
        xc_surgery_rewire(s->g, wide, out);
        s->g->nodes[n + 1].in[0].id = wide;
    } else {
        const struct xc_ref in[] = { xc_val(value), xc_ten(id) };

        XC_TRY(xc_graph_insert_node(s->g, n, &out, "linear", name, in, 2, NULL, err));
        s->g->nodes[n + 1].in[0].id = out;
    }
    return XC_OK;
}

static enum xc_status run(struct low_rank *s, const struct xc_scope *scope, uint8_t *want, uint8_t *chosen, int32_t first, struct xc_err *err)
{
    bool any = false;

    for (int32_t n = 0; n < s->g->n_nodes; n++) {
        const struct xc_node *node = &s->g->nodes[n];
        const uint8_t pick = scope->pick[first + n];
        const char *why = pick == XC_PICK_DEFAULT || pick == XC_PICK_TARGET ? objection(s->p->model, s->p->spec, node) : "";

        if (!why && pick == XC_PICK_DEFAULT && narrow(s->p->model->tensors[node->in[1].id])) continue;

        if (why && why[0] && pick == XC_PICK_TARGET && strcmp(scope->word[first + n], "linear") && strcmp(scope->word[first + n], "gather") && strcmp(scope->word[first + n], "attention"))
            return xc_fail(err, XC_E_UNSUPPORTED, "target '%s' names node '%s', which pass 'low_rank' cannot split: %s", scope->word[first + n], node->name, why);
        if (why) continue;
        chosen[n] = 1;
        any = true;
        if (is_op(node, "linear")) want[node->in[0].id] = XC_HESSIAN_FULL;
    }
    if (!any) return xc_fail(err, XC_E_UNSUPPORTED, "pass 'low_rank' finds nothing that would be smaller as two: it treats float weights of two axes, used once, before quantization");
    if (s->p->texts && !s->p->plan_only) XC_TRY(xc_hessians_make(&s->h, s->p->model, want, s->p->texts, s->p->opts, NULL, err));
    if (s->p->texts && s->p->forecast) {
        double moments = 0;

        for (int32_t v = 0; v < s->g->n_values; v++) moments += want[v] ? 4.0 * s->g->values[v].cols * s->g->values[v].cols : 0;
        xc_forecast_walk(s->p->forecast, s->p->model, NULL, s->p->forecast->tokens);
        xc_forecast_holds(s->p->forecast, xc_forecast_f32_bytes(s->p->model) + moments + xc_forecast_values_bytes(s->p->model, s->p->forecast->tokens));
    }
    xc_blas_init();
    for (int32_t n = s->g->n_nodes - 1; n >= 0; n--) /* from the end: numbers of nodes before stay */
        if (chosen[n]) XC_TRY(xc_random_is_whole(&s->g->nodes[n]) ? split_random(s, n, err) : split_node(s, n, err));
    return XC_OK;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    static const char *const ops[] = { "linear", NULL };
    struct low_rank s = { .p = p, .g = xc_model_find_graph(p->model, "encode") };
    struct xc_scope scope;
    uint8_t *want, *chosen;
    enum xc_status status;

    XC_TRY(xc_pass_no_overrides(p->spec, err));
    if (!s.g) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode'");
    XC_TRY(xc_scope_make(&scope, p->model, p->spec, ops, err));
    want = xc_calloc((size_t)s.g->n_values + 1, 1);
    chosen = xc_calloc((size_t)s.g->n_nodes + 1, 1);
    status = want && chosen ? run(&s, &scope, want, chosen, xc_scope_first(&scope, p->model, s.g), err) : xc_fail_nomem(err, (size_t)s.g->n_nodes);
    xc_free(want);
    xc_free(chosen);
    xc_scope_release(&scope);
    xc_hessians_release(&s.h);
    return status;
}

const struct xc_pass xc_pass_low_rank = { .name = "low_rank", .summary = "two narrow weights in place of a wide one", .options = options, .prepare = prepare, .plan = xc_pass_nothing,
                                          .apply = xc_pass_nothing };
