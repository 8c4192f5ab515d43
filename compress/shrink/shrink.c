/* shrink: fewer heads and fewer neurons, layer by layer as many as it takes: the graph itself gets smaller.
 *
 * Inside a site (sites.h) units go in the order of least squares (least_squares.h), and what is left takes their part. How many go where is
 * decided by what the whole model says: each site is cut alone to a few sizes, and the change of the model's output on calibration texts is
 * measured (agreement with the uncut model; no labels). The sizes that change least for the multiply-adds that may stay are a
 * Lagrangian: Kurtic et al. 2023 (ZipLM), arXiv:2302.04089; the goal is that of Kwon et al. 2022, arXiv:2204.09656: no training.
 * Saliencies fisher and taylor take order and sizes from gradients instead (mask_gradients.h), fisher then rearranges.
 * Then the linears behind the cuts are fitted again from the first to the last, each to make up for what all cuts before it did: its target
 * is the sum with the residual in the uncut model. */
#include <math.h>
#include <string.h>

#include "compress/calibrate/hessian.h"
#include "compress/plan/forecast.h"
#include "compress/shrink/shrink.h"
#include "compress/shrink/surgery.h"

static const struct xc_pass_option options[] = {
    { .name = "flops", .help = "share of the multiply-adds of attention and feed-forward layers that stays", .def = "1", .min = 0.01, .max = 1 },
    { .name = "speedup", .help = "the same, as how many times fewer: 2 = flops 0.5", .def = "1", .min = 1, .max = 100 },
    { .name = "keep_heads", .help = "share of the heads to keep in every layer; 0 = as flops decides", .def = "0", .min = 0, .max = 1 },
    { .name = "keep_neurons", .help = "share of the neurons to keep in every layer; 0 = as flops decides", .def = "0", .min = 0, .max = 1 },
    { .name = "heads", .help = "may heads go?", .def = "yes", .choices = "yes|no" },
    { .name = "neurons", .help = "may neurons go?", .def = "yes", .choices = "yes|no" },
    { .name = "saliency", .help = "what is worth keeping: by the error of outputs on calibration texts; by the gradient of masks, squared (fisher) or its size (taylor); or by the size of weights (equal shares in all layers)",
      .def = "error", .choices = "error|fisher|taylor|magnitude" },
    { .name = "objective", .help = "fisher, taylor: agreement with the uncut model's answers, or the loss of the labels that the calibration file has", .def = "agreement", .choices = "agreement|labels" },
    { .name = "update", .help = "fit the remaining weights to the outputs of the uncut model", .def = "yes", .choices = "yes|no" },
    { .name = "tokens", .help = "length of the sequences that flops are counted for", .def = "64", .min = 1, .max = 65536 },
    { .name = "damp", .help = "least squares: how firmly weights are held where they are, in mean squares of an input", .def = "0.01", .min = 1e-8, .max = 100 },
    { .name = NULL },
};

static bool is(const struct shrink *s, const char *option, const char *value) { return xc_recipe_is(s->p->spec, option, value); }
static double number(const struct shrink *s, const char *option) { return xc_recipe_number(s->p->spec, option); }
static bool by_gradient(const struct shrink *s) { return is(s, "saliency", "fisher") || is(s, "saliency", "taylor"); }

static enum xc_status advance(struct shrink *s, const char *what, double n, struct xc_err *err)
{
    const struct xc_progress *p = s->p->opts->progress;

    s->done += n;
    if (p && p->update) p->update(p->arg, what, s->done, s->total);
    if (p && p->cancelled && p->cancelled(p->arg)) return xc_fail(err, XC_E_CANCELLED, "stopped on request");
    return XC_OK;
}

/* ---- what may be cut ---- */
static enum xc_status choose_places(struct shrink *s, struct xc_err *err)
{
    static const char *const ops[] = { "linear", "attention", "unary", NULL };
    struct xc_scope scope;
    const uint8_t *pick;
    enum xc_status status = XC_OK;

    XC_TRY(xc_sites_find(&s->sites, s->g, err));
    s->place = xc_calloc((size_t)s->sites.n + 1, sizeof *s->place);
    if (!s->place) return xc_fail_nomem(err, (size_t)s->sites.n * sizeof *s->place);
    XC_TRY(xc_scope_make(&scope, s->p->model, s->p->spec, ops, err));
    pick = scope.pick + xc_scope_first(&scope, s->p->model, s->g);
    for (int64_t k = 0; k < s->sites.n; k++) {
        const struct xc_site *site = &s->sites.site[k];
        const uint8_t mid = pick[site->mid], out = pick[site->out], in = pick[site->in[0]];
        const bool ignored = mid == XC_PICK_IGNORED || out == XC_PICK_IGNORED || in == XC_PICK_IGNORED;

        if (!ignored && (mid || out || in) && is(s, site->heads ? "heads" : "neurons", "yes")) s->place[s->n++].site = site;
    }
    xc_scope_release(&scope);
    if (!s->n) status = xc_fail(err, XC_E_UNSUPPORTED, "pass 'shrink' finds no heads or neurons to cut: it treats float models, before quantization");
    return status;
}

static enum xc_status check_options(const struct shrink *s, struct xc_err *err)
{
    const bool fixed = number(s, "keep_heads") > 0 || number(s, "keep_neurons") > 0;

    if (number(s, "flops") < 1 && number(s, "speedup") > 1) return xc_fail(err, XC_E_ARG, "pass 'shrink' has both 'flops' and 'speedup': they say the same, give one");
    if (fixed && xc_shrink_flops(s) < 1) return xc_fail(err, XC_E_ARG, "pass 'shrink' has both shares to keep and a budget of flops: give one of them");
    if (is(s, "objective", "labels") && !by_gradient(s)) return xc_fail(err, XC_E_ARG, "objective 'labels' of pass 'shrink' is for saliency fisher or taylor");
    if (!fixed && !(xc_shrink_flops(s) < 1)) return xc_fail(err, XC_E_ARG, "pass 'shrink' has nothing to do: set 'flops' (or 'speedup'), or 'keep_heads' and 'keep_neurons'");
    return XC_OK;
}

/* ---- the order of units ---- */
struct order_job {
    struct shrink *s;
    const struct xc_hessians *h;
    enum xc_status *status;
    struct xc_err *err;
};

static void find_order(void *arg, int64_t k, int thread)
{
    const struct order_job *j = arg;
    struct place *p = &j->s->place[k];
    const struct xc_site *site = p->site;
    const float *w = (const float *)(const void *)xc_site_weight(j->s->g0, site)->part[XC_PART_DATA]->data;

    (void)thread;
    j->status[k] = xc_cut_make(&p->cut, j->h->h[j->s->g0->nodes[site->out].in[0].id], j->h->rows, w, site->units * site->width, site->outputs, site->width, xc_shrink_granule(site), j->s->damp, &j->err[k]);
}

static enum xc_status orders_by_error(struct shrink *s, struct xc_err *err)
{
    struct xc_hessians h = { 0 };
    struct order_job j = { .s = s, .h = &h };
    uint8_t *want = xc_calloc((size_t)s->g0->n_values + 1, 1);
    enum xc_status status = want ? XC_OK : xc_fail_nomem(err, (size_t)s->g0->n_values);

    for (int64_t k = 0; want && k < s->n; k++) want[s->g0->nodes[s->place[k].site->out].in[0].id] = XC_HESSIAN_FULL;
    if (status == XC_OK) status = xc_hessians_make(&h, s->dense, want, s->p->texts, s->p->opts, NULL, err);
    j.status = xc_calloc((size_t)s->n, sizeof *j.status);
    j.err = xc_calloc((size_t)s->n, sizeof *j.err);
    if (status == XC_OK && (!j.status || !j.err)) status = xc_fail_nomem(err, (size_t)s->n * sizeof *j.err);
    if (status == XC_OK) xc_pool_run(s->p->opts->pool, find_order, &j, s->n);
    for (int64_t k = 0; k < s->n && status == XC_OK; k++) {
        status = j.status[k];
        if (status != XC_OK && err) *err = j.err[k];
        if (status != XC_OK) xc_fail_at(err, status, "node '%s'", s->g0->nodes[s->place[k].site->out].name);
    }
    xc_free(want);
    xc_free(j.status);
    xc_free(j.err);
    xc_hessians_release(&h);
    return status == XC_OK ? advance(s, "shrink", (double)s->n, err) : status;
}

/* ---- the order by gradients ---- */
static enum xc_status gradients(struct shrink *s, struct xc_err *err)
{
    const struct xc_site **sites = xc_malloc((size_t)s->n * sizeof *sites);
    struct xc_mask_source source = { 0 };
    enum xc_status status;

    if (!sites) return xc_fail_nomem(err, (size_t)s->n * sizeof *sites);
    for (int64_t k = 0; k < s->n; k++) sites[k] = s->place[k].site;
    if (is(s, "objective", "labels")) status = xc_mask_source_labels(&source, s->p->opts->calibrate, s->p->opts->calibrate_rows, s->dense, s->p->opts->pool, err);
    else status = xc_mask_source_agreement(&source, &s->replay, s->dense, s->p->opts->seed, err);
    if (status == XC_OK) status = xc_mask_gradients_make(&s->masks, s->g0, sites, s->n, &source, s->p->opts->pool, err);
    xc_mask_source_release(&source);
    xc_free(sites);
    return status;
}

/* Largest first, of equal ones the first; what is lost with fewer and fewer. */
static enum xc_status order_by_worth(struct place *p, double *worth, struct xc_err *err)
{
    const int64_t n = p->site->units;

    p->order = xc_malloc((size_t)n * sizeof *p->order);
    p->lost = xc_calloc((size_t)n + 1, sizeof *p->lost);
    if (!p->order || !p->lost) return xc_fail_nomem(err, (size_t)n * sizeof *p->lost);
    for (int64_t i = 0; i < n; i++) {
        int64_t best = 0;

        for (int64_t u = 1; u < n; u++)
            if (worth[u] > worth[best]) best = u;
        p->order[i] = (int32_t)best;
        p->lost[i] = worth[best]; /* of the one that goes when i stay */
        worth[best] = -1;
    }
    for (int64_t i = n - 1; i >= 0; i--) p->lost[i] += p->lost[i + 1];
    return XC_OK;
}

static enum xc_status orders_by_gradient(struct shrink *s, struct xc_err *err)
{
    const bool fisher = is(s, "saliency", "fisher");

    XC_TRY(gradients(s, err));
    for (int64_t k = 0; k < s->n; k++) {
        struct place *p = &s->place[k];
        double *worth = xc_malloc((size_t)p->site->units * sizeof *worth);
        enum xc_status status;

        if (!worth) return xc_fail_nomem(err, (size_t)p->site->units * sizeof *worth);
        xc_mask_worth(worth, s->masks.g[k], s->masks.samples, p->site->units, fisher);
        status = order_by_worth(p, worth, err);
        xc_free(worth);
        if (status != XC_OK) return status;
    }
    if (xc_shrink_flops(s) < 1) xc_shrink_choose_sizes(s);
    for (int64_t k = 0; k < s->n && fisher; k++) {
        struct place *p = &s->place[k];

        if (p->keep < p->site->units) XC_TRY(xc_mask_rearrange(p->order, p->keep, s->masks.g[k], s->masks.samples, p->site->units, s->p->opts->pool, err));
    }
    xc_mask_gradients_release(&s->masks);
    return advance(s, "shrink", 2 * (double)s->n, err);
}

/* ---- what a cut does to the model ---- */
static enum xc_status set_weight(struct shrink *s, const struct place *p, const float *w, struct xc_err *err)
{
    struct xc_tensor *t = xc_site_weight(s->g, p->site);

    return xc_surgery_replace(t, t->rank, t->dim, w, err);
}

static double change_of(const struct xc_view *got, const float *want)
{
    const float *x = got->data;
    double sum = 0;

    for (int64_t r = 0; r < got->rows; r++) {
        double error = 0, all = 0;

        for (int64_t c = 0; c < got->cols; c++) {
            const double d = (double)x[r * got->cols + c] - (double)want[r * got->cols + c];

            error += d * d;
            all += (double)want[r * got->cols + c] * (double)want[r * got->cols + c];
        }
        sum += all > 0 ? error / all : error;
    }
    return sum;
}

/* All sizes of one place on one batch, from the linear behind it to the end. */
static enum xc_status measure_batch(struct shrink *s, struct place *p, const struct xc_frontier *f, struct xc_run *run, float *const *weights, int64_t b, int64_t *rows, struct xc_err *err)
{
    struct xc_scratch_mark mark;
    float *want = NULL;

    XC_TRY(xc_frontier_run(f, &s->replay, run, s->g, b, f->node, err));
    mark = xc_scratch_save(&run->values);
    for (int i = 0; i < p->n_levels; i++) {
        const struct xc_view *out = &run->views[s->g->outputs[0]];

        XC_TRY(set_weight(s, p, weights[i], err));
        XC_TRY(xc_replay_nodes(run, s->g, f->node, s->g->n_nodes, err));
        if (i) {
            p->level[i].change += change_of(out, want);
            xc_scratch_restore(&run->values, mark);
            continue;
        }
        const size_t bytes = (size_t)(out->rows * out->cols) * sizeof *want; /* the first is whole */

        want = xc_scratch_alloc(&run->values, bytes);
        if (!want) return xc_fail_nomem(err, bytes);
        memcpy(want, out->data, bytes);
        mark = xc_scratch_save(&run->values);
        *rows += out->rows;
    }
    return XC_OK;
}

static enum xc_status measure_place(struct shrink *s, struct place *p, struct xc_frontier *f, struct xc_run *run, struct xc_err *err)
{
    const size_t bytes = (size_t)(p->cut.m * p->cut.n) * sizeof(float);
    float *weights[MAX_LEVELS] = { NULL };
    int64_t rows = 0;
    enum xc_status status = xc_frontier_move(f, &s->replay, run, s->g, p->site->out, err);

    for (int i = 0; i < p->n_levels && status == XC_OK; i++) {
        weights[i] = xc_alloc_aligned(bytes);
        if (!weights[i]) status = xc_fail_nomem(err, bytes);
        else if (i) status = xc_cut_weights(&p->cut, p->level[i].units, weights[i], err);
        else memcpy(weights[0], xc_site_weight(s->g0, p->site)->part[XC_PART_DATA]->data, bytes);
    }
    for (int64_t b = 0; b < s->replay.n_batches && status == XC_OK; b += f->step) status = measure_batch(s, p, f, run, weights, b, &rows, err);
    for (int i = 0; i < p->n_levels && status == XC_OK; i++) {
        p->level[i].change /= (double)xc_max_i64(rows, 1);
        if (i && p->level[i].change < p->level[i - 1].change) p->level[i].change = p->level[i - 1].change; /* less is never better */
    }
    if (status == XC_OK) status = set_weight(s, p, weights[0], err);
    for (int i = 0; i < p->n_levels; i++) xc_free(weights[i]);
    return status == XC_OK ? advance(s, "shrink", 1, err) : status;
}

static enum xc_status measure_all(struct shrink *s, struct xc_err *err)
{
    struct xc_frontier f;
    struct xc_run *run = NULL;
    enum xc_status status;

    XC_TRY(xc_frontier_init(&f, &s->replay, xc_replay_step(&s->replay, MEASURE_TOKENS), err));
    status = xc_run_new(&run, s->p->model, NULL, s->p->opts->pool, err);
    for (int64_t k = 0; k < s->n && status == XC_OK; k++) {
        xc_shrink_make_levels(&s->place[k]);
        status = measure_place(s, &s->place[k], &f, run, err);
    }
    xc_run_free(&run);
    xc_frontier_release(&f, &s->replay);
    return status;
}

/* ---- fitting again ---- */
struct fit {
    int64_t k, m, n;   /* columns of the matrix (a one at the end when there is a bias), outputs, inputs before the cut */
    int32_t *cols;
    float *gram, *cross, *x, *target, *w;
    int64_t rows, cap;
    bool bias;
};

/* Both models, and how far they have run. */
struct pair {
    struct xc_run *was, *now;
    struct xc_frontier f_was, f_now;
};

static enum xc_status fit_batch(struct shrink *s, const struct place *p, struct fit *f, const struct pair *q, int64_t b, struct xc_err *err)
{
    const struct xc_site *site = p->site;
    const struct xc_view *x, *residual, *sum;

    XC_TRY(xc_frontier_run(&q->f_was, &s->replay, q->was, s->g0, b, site->add + 1, err));
    XC_TRY(xc_frontier_run(&q->f_now, &s->replay, q->now, s->g, b, site->out, err));
    x = &q->now->views[s->g->nodes[site->out].in[0].id];
    residual = &q->now->views[site->residual];
    sum = &q->was->views[s->g0->nodes[site->add].out[0]];
    if (x->rows > f->cap) {
        xc_free(f->x);
        xc_free(f->target);
        f->cap = x->rows;
        f->x = xc_alloc_aligned((size_t)(f->cap * f->k) * sizeof *f->x);
        f->target = xc_alloc_aligned((size_t)(f->cap * f->m) * sizeof *f->target);
        if (!f->x || !f->target) return xc_fail_nomem(err, (size_t)(f->cap * f->k) * sizeof *f->x);
    }
    for (int64_t r = 0; r < x->rows; r++) {
        const float *from = (const float *)x->data + r * f->n;

        for (int64_t i = 0; i < f->k - f->bias; i++) f->x[r * f->k + i] = from[f->cols[i]];
        if (f->bias) f->x[r * f->k + f->k - 1] = 1;
        for (int64_t c = 0; c < f->m; c++) f->target[r * f->m + c] = ((const float *)sum->data)[r * f->m + c] - ((const float *)residual->data)[r * f->m + c];
    }
    xc_moments_add(f->gram, f->x, f->x, x->rows, f->k, f->k, true, s->p->opts->pool);
    xc_moments_add(f->cross, f->x, f->target, x->rows, f->k, f->m, false, s->p->opts->pool);
    f->rows += x->rows;
    return XC_OK;
}

/* Between the model's tensors and f->w (m,k). */
static void move_weights(const struct shrink *s, const struct place *p, const struct fit *f, bool back)
{
    struct xc_tensor *bias = f->bias ? xc_site_bias(s->g, p->site) : NULL;
    float *w = (float *)(void *)xc_site_weight(s->g, p->site)->part[XC_PART_DATA]->data, *b = bias ? (float *)(void *)bias->part[XC_PART_DATA]->data : NULL;

    for (int64_t r = 0; r < f->m; r++)
        for (int64_t i = 0; i < f->k; i++) {
            float *const at = f->bias && i == f->k - 1 ? &b[r] : &w[r * f->n + f->cols[i]], *const mine = &f->w[r * f->k + i];

            if (back) *at = *mine;
            else *mine = *at;
        }
}

/* A copy of a tensor's numbers that is its own: they may be the uncut model's too, or a mapped file's. */
static enum xc_status own_numbers(struct xc_tensor *t, struct xc_err *err)
{
    float *copy = NULL;
    enum xc_status status = xc_surgery_numbers(&copy, t, err);

    if (status == XC_OK) status = xc_surgery_replace(t, t->rank, t->dim, copy, err);
    xc_free(copy);
    return status;
}

static enum xc_status fit_place(struct shrink *s, const struct place *p, struct pair *q, struct xc_err *err)
{
    const struct xc_site *site = p->site;
    struct xc_tensor *bias = xc_site_bias(s->g, site);
    struct fit f = { .bias = bias != NULL, .m = site->outputs, .n = site->units * site->width };
    enum xc_status status = XC_OK;

    f.k = p->keep * site->width + f.bias;
    f.cols = xc_malloc((size_t)f.k * sizeof *f.cols);
    f.gram = xc_calloc((size_t)(f.k * f.k), sizeof *f.gram);
    f.cross = xc_calloc((size_t)(f.k * f.m), sizeof *f.cross);
    f.w = xc_malloc((size_t)(f.k * f.m) * sizeof *f.w);
    if (!f.cols || !f.gram || !f.cross || !f.w) status = xc_fail_nomem(err, (size_t)(f.k * f.k) * sizeof *f.gram);
    for (int64_t i = 0; f.cols && i < p->keep * site->width; i++) f.cols[i] = (int32_t)(p->kept[i / site->width] * site->width + i % site->width);
    if (status == XC_OK) status = own_numbers(xc_site_weight(s->g, site), err);
    if (status == XC_OK && bias) status = own_numbers(bias, err);
    for (int64_t b = 0; b < s->replay.n_batches && status == XC_OK; b++) status = fit_batch(s, p, &f, q, b, err);
    if (status == XC_OK) {
        move_weights(s, p, &f, false);
        status = xc_refit(f.w, f.gram, f.cross, f.rows, f.k, f.m, s->damp, NULL, err);
        if (status != XC_OK) xc_fail_at(err, status, "node '%s'", s->g->nodes[site->out].name);
    }
    if (status == XC_OK) {
        move_weights(s, p, &f, true);
        status = xc_frontier_move(&q->f_was, &s->replay, q->was, s->g0, site->add + 1, err);
    }
    if (status == XC_OK) status = xc_frontier_move(&q->f_now, &s->replay, q->now, s->g, site->add + 1, err);
    xc_free(f.cols);
    xc_free(f.gram);
    xc_free(f.cross);
    xc_free(f.x);
    xc_free(f.target);
    xc_free(f.w);
    return status == XC_OK ? advance(s, "shrink", 1, err) : status;
}

static enum xc_status fit_all(struct shrink *s, struct xc_err *err)
{
    struct pair q = { 0 };
    enum xc_status status = xc_frontier_init(&q.f_was, &s->replay, 1, err);

    if (status == XC_OK) status = xc_frontier_init(&q.f_now, &s->replay, 1, err);
    if (status == XC_OK) status = xc_run_new(&q.was, s->dense, NULL, s->p->opts->pool, err);
    if (status == XC_OK) status = xc_run_new(&q.now, s->p->model, NULL, s->p->opts->pool, err);
    for (int64_t k = 0; k < s->n && status == XC_OK; k++) status = fit_place(s, &s->place[k], &q, err);
    xc_run_free(&q.was);
    xc_run_free(&q.now);
    xc_frontier_release(&q.f_was, &s->replay);
    xc_frontier_release(&q.f_now, &s->replay);
    return status;
}

/* ---- the whole ---- */
static int compare(const void *a, const void *b) { return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1; }

/* The units that stay; and, unless this is a plan, their weights with zeros for the others. */
static enum xc_status settle(struct shrink *s, struct place *p, struct xc_err *err)
{
    const int32_t *order = p->order ? p->order : p->cut.order;
    float *w;
    enum xc_status status;

    p->kept = xc_malloc((size_t)p->keep * sizeof *p->kept);
    if (!p->kept) return xc_fail_nomem(err, (size_t)p->keep * sizeof *p->kept);
    for (int64_t i = 0; i < p->keep; i++) p->kept[i] = order ? order[i] : (int32_t)i;
    qsort(p->kept, (size_t)p->keep, sizeof *p->kept, compare);
    if (!p->cut.order || is(s, "update", "no") || p->keep == p->site->units) return XC_OK;
    w = xc_alloc_aligned((size_t)(p->cut.m * p->cut.n) * sizeof *w);
    if (!w) return xc_fail_nomem(err, (size_t)(p->cut.m * p->cut.n) * sizeof *w);
    status = xc_cut_weights(&p->cut, p->keep, w, err);
    if (status == XC_OK) status = set_weight(s, p, w, err);
    xc_free(w);
    return status;
}

static enum xc_status with_texts(struct shrink *s, struct xc_err *err)
{
    const bool budget = xc_shrink_flops(s) < 1;

    if (!s->p->texts) return xc_fail(err, XC_E_ARG, "pass 'shrink' needs calibration texts: name a file of them (--calibrate FILE), or set 'saliency' to magnitude and 'update' to no");
    s->total = (double)(3 * s->n);
    XC_TRY(xc_replay_init(&s->replay, s->p->model, s->p->texts, true, s->p->opts, err));
    XC_TRY(xc_model_clone(&s->dense, s->p->model, err));
    s->g0 = xc_model_find_graph(s->dense, s->g->name);
    if (by_gradient(s)) return orders_by_gradient(s, err);
    if (is(s, "saliency", "error")) {
        XC_TRY(orders_by_error(s, err));
        if (!budget) return XC_OK;
        XC_TRY(measure_all(s, err));
        xc_shrink_choose_sizes(s);
    }
    return XC_OK;
}

/* Moments and an order for each place, its sizes on a part of the texts, and a fit behind each cut: what with_texts() and fit_all() do. */
static void forecast(const struct shrink *s, struct xc_forecast *f)
{
    const struct xc_model *m = s->p->model;
    const int64_t part = xc_min_i64(f->tokens, MEASURE_TOKENS);
    const bool error = is(s, "saliency", "error"), fit = is(s, "update", "yes");
    double squares = 0, outputs_most = 0;

    for (int64_t k = 0; k < s->n; k++) {
        const struct place *p = &s->place[k];
        const double n = (double)(p->site->units * p->site->width), left = (double)(p->keep * p->site->width), outputs = (double)p->site->outputs;

        squares += n * n;
        outputs_most = fmax(outputs_most, outputs);
        if (error) {
            f->toil[XC_TOIL_GRAM] += (double)f->tokens * n * n;
            f->toil[XC_TOIL_FACTOR] += 3 * n * n * n / xc_pool_threads(s->p->opts->pool);
        }
        if (fit) {
            f->toil[XC_TOIL_GRAM] += (double)f->tokens * left * (left + 2 * outputs);
            f->toil[XC_TOIL_FACTOR] += left * left * left;
        }
    }
    if (error) xc_forecast_walk(f, m, NULL, f->tokens);
    else if (!is(s, "saliency", "magnitude")) xc_forecast_walk(f, m, NULL, 3 * f->tokens); /* forward, and twice that backward */
    for (int64_t k = 0; error && xc_shrink_flops(s) < 1 && k < s->n * MAX_LEVELS / 2; k++) xc_forecast_walk(f, m, NULL, part); /* from its place to the end: half, in the mean */
    for (int k = 0; fit && k < 2; k++) xc_forecast_walk(f, m, NULL, f->tokens);
    if (error) { /* moments and factors of all places, while levels are tried */
        xc_forecast_holds(f, 2 * xc_forecast_f32_bytes(m) + 2 * xc_forecast_values_bytes(m, f->tokens) + 12 * squares);
        return;
    }
    /* The fit walks both models from place to place: a layer's values of a batch, and what two of them read next of all texts. */
    xc_forecast_holds(f, 2 * xc_forecast_f32_bytes(m) + 4 * xc_forecast_values_bytes(m, f->tokens) / fmax((double)s->n, 2) + 16 * outputs_most * (double)f->tokens);
}

static enum xc_status cut(struct shrink *s, struct xc_err *err)
{
    const bool plan_only = s->p->plan_only, fit = is(s, "update", "yes") && !plan_only;

    if (plan_only && s->p->forecast) forecast(s, s->p->forecast);

    if (plan_only && xc_shrink_flops(s) < 1 && !is(s, "saliency", "magnitude")) *s->p->estimated = true; /* equal shares stand in for what texts will tell */
    if ((!is(s, "saliency", "magnitude") || is(s, "update", "yes")) && !plan_only) XC_TRY(with_texts(s, err));
    for (int64_t k = 0; k < s->n; k++) {
        if (is(s, "saliency", "magnitude") && !plan_only) XC_TRY(xc_site_order(&s->place[k].order, s->g, s->place[k].site, err));
        XC_TRY(settle(s, &s->place[k], err));
    }
    if (fit) XC_TRY(fit_all(s, err));
    for (int64_t k = 0; k < s->n; k++)
        if (s->place[k].keep < s->place[k].site->units) XC_TRY(xc_site_cut(s->g, s->place[k].site, s->place[k].kept, s->place[k].keep, plan_only, err));
    return xc_surgery_reshape(s->g, err);
}

static enum xc_status run(struct shrink *s, struct xc_err *err)
{
    XC_TRY(xc_pass_no_overrides(s->p->spec, err));
    XC_TRY(check_options(s, err));
    s->g = xc_model_find_graph(s->p->model, "encode");
    if (!s->g) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode'");
    s->tokens = number(s, "tokens");
    s->damp = number(s, "damp");
    XC_TRY(choose_places(s, err));
    XC_TRY(xc_shrink_equal_shares(s, err));
    return cut(s, err);
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    struct shrink s = { .p = p };
    const enum xc_status status = run(&s, err);

    for (int64_t k = 0; k < s.n; k++) {
        xc_cut_release(&s.place[k].cut);
        xc_free(s.place[k].order);
        xc_free(s.place[k].lost);
        xc_free(s.place[k].kept);
    }
    xc_free(s.place);
    xc_sites_release(&s.sites);
    xc_replay_release(&s.replay);
    xc_mask_gradients_release(&s.masks);
    xc_model_free(&s.dense);
    return status;
}

const struct xc_pass xc_pass_shrink = { .name = "shrink", .summary = "fewer heads and neurons, to a budget of multiply-adds; the rest is fitted again", .options = options,
                                        .prepare = prepare, .plan = xc_pass_nothing, .apply = xc_pass_nothing };
