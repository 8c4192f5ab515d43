/* shrink: fewer heads and fewer neurons, layer by layer as many as it takes: the graph itself gets smaller.
 *
 * Inside a site (sites.h) units go in the order of least squares (least_squares.h), and what is left takes their part. How many go where is
 * decided by what the whole model says: each site is cut alone to a few sizes, and the change of the model's output on calibration texts is
 * measured (agreement with the uncut model; no labels). The sizes that change least for the multiply-adds that may stay are a
 * Lagrangian: Kurtic et al. 2023 (ZipLM), arXiv:2302.04089; the goal is that of Kwon et al. 2022, arXiv:2204.09656: no training.
 * Then the linears behind the cuts are fitted again from the first to the last, each to make up for what all cuts before it did: its target
 * is the sum with the residual in the uncut model. */
#include <math.h>
#include <string.h>

#include "compress/hessian.h"
#include "compress/least_squares.h"
#include "compress/replay.h"
#include "compress/sites.h"
#include "compress/surgery.h"

static const struct xc_pass_option options[] = {
    { .name = "flops", .help = "share of the multiply-adds of attention and feed-forward layers that stays", .def = "1", .min = 0.01, .max = 1 },
    { .name = "speedup", .help = "the same, as how many times fewer: 2 = flops 0.5", .def = "1", .min = 1, .max = 100 },
    { .name = "keep_heads", .help = "share of the heads to keep in every layer; 0 = as flops decides", .def = "0", .min = 0, .max = 1 },
    { .name = "keep_neurons", .help = "share of the neurons to keep in every layer; 0 = as flops decides", .def = "0", .min = 0, .max = 1 },
    { .name = "heads", .help = "may heads go?", .def = "yes", .choices = "yes|no" },
    { .name = "neurons", .help = "may neurons go?", .def = "yes", .choices = "yes|no" },
    { .name = "saliency", .help = "what is worth keeping: by the error of outputs on calibration texts, or by the size of weights (equal shares in all layers)", .def = "error",
      .choices = "error|magnitude" },
    { .name = "update", .help = "fit the remaining weights to the outputs of the uncut model", .def = "yes", .choices = "yes|no" },
    { .name = "tokens", .help = "length of the sequences that flops are counted for", .def = "64", .min = 1, .max = 65536 },
    { .name = "damp", .help = "least squares: how firmly weights are held where they are, in mean squares of an input", .def = "0.01", .min = 1e-8, .max = 100 },
    { .name = NULL },
};

#define MAX_LEVELS 6
#define GRANULE 16        /* neurons are kept in such numbers: the kernels' panels */
#define MEASURE_TOKENS 1536 /* of the texts that sizes are compared on, about */

struct level {
    int64_t units;
    double change; /* of the model's output: mean of |d|^2 / |y|^2 over its rows */
};

struct place {
    const struct xc_site *site;
    struct level level[MAX_LEVELS]; /* measured; between them the change is taken for a straight line */
    int n_levels;
    struct xc_cut cut;     /* saliency error */
    int32_t *order;        /* saliency magnitude; the first stay */
    int64_t keep;
    int32_t *kept;         /* units, ascending */
};

struct shrink {
    const struct xc_prepare *p;
    struct xc_model *dense;  /* as it was; p->model has zeros where it is cut, until the end */
    struct xc_graph *g, *g0; /* of p->model, of dense */
    struct xc_sites sites;
    struct place *place;
    int64_t n;
    struct xc_replay replay;
    double tokens, damp, done, total;
};

static bool is(const struct shrink *s, const char *option, const char *value) { return xc_recipe_is(s->p->spec, option, value); }
static double number(const struct shrink *s, const char *option) { return xc_recipe_number(s->p->spec, option); }

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
    enum xc_status status = XC_OK;

    XC_TRY(xc_sites_find(&s->sites, s->g, err));
    s->place = xc_calloc((size_t)s->sites.n + 1, sizeof *s->place);
    if (!s->place) return xc_fail_nomem(err, (size_t)s->sites.n * sizeof *s->place);
    XC_TRY(xc_scope_make(&scope, s->p->model, s->p->spec, ops, err));
    for (int32_t i = 0; i < s->p->model->n_graphs; i++)
        if (s->p->model->graphs[i] == s->g)
            for (int64_t k = 0; k < s->sites.n; k++) {
                const struct xc_site *site = &s->sites.site[k];
                const uint8_t *pick = scope.pick + scope.first[i], mid = pick[site->mid], out = pick[site->out], in = pick[site->in[0]];
                const bool ignored = mid == XC_PICK_IGNORED || out == XC_PICK_IGNORED || in == XC_PICK_IGNORED;

                if (!ignored && (mid || out || in) && is(s, site->heads ? "heads" : "neurons", "yes")) s->place[s->n++].site = site;
            }
    xc_scope_release(&scope);
    if (!s->n) status = xc_fail(err, XC_E_UNSUPPORTED, "pass 'shrink' finds no heads or neurons to cut: it treats float models, before quantization");
    return status;
}

/* ---- sizes ---- */
static int64_t granule(const struct xc_site *site) { return site->heads || site->units < 8 * GRANULE ? 1 : GRANULE; }

static int64_t round_units(const struct xc_site *site, double units)
{
    const int64_t step = granule(site), n = (int64_t)(units / (double)step + 0.5) * step;

    return xc_min_i64(xc_max_i64(n, step), site->units);
}

static double macs_with(const struct shrink *s, double share)
{
    double macs = 0;

    for (int64_t k = 0; k < s->n; k++) macs += xc_site_macs(s->place[k].site, round_units(s->place[k].site, share * (double)s->place[k].site->units), s->tokens);
    return macs;
}

static double fixed_share(const struct shrink *s, const struct xc_site *site) { return number(s, site->heads ? "keep_heads" : "keep_neurons"); }

static double flops(const struct shrink *s)
{
    const double f = number(s, "flops"), x = number(s, "speedup");

    return x > 1 ? 1 / x : f;
}

static enum xc_status check_options(const struct shrink *s, struct xc_err *err)
{
    const bool fixed = number(s, "keep_heads") > 0 || number(s, "keep_neurons") > 0;

    if (number(s, "flops") < 1 && number(s, "speedup") > 1) return xc_fail(err, XC_E_ARG, "pass 'shrink' has both 'flops' and 'speedup': they say the same, give one");
    if (fixed && flops(s) < 1) return xc_fail(err, XC_E_ARG, "pass 'shrink' has both shares to keep and a budget of flops: give one of them");
    if (!fixed && !(flops(s) < 1)) return xc_fail(err, XC_E_ARG, "pass 'shrink' has nothing to do: set 'flops' (or 'speedup'), or 'keep_heads' and 'keep_neurons'");
    return XC_OK;
}

/* The same share of everything that meets the budget: what a plan shows, and what magnitude makes. */
static enum xc_status equal_shares(struct shrink *s, struct xc_err *err)
{
    const double budget = flops(s) * macs_with(s, 1), least = macs_with(s, 0);
    double low = 0, high = 1;

    if (!(flops(s) < 1)) {
        for (int64_t k = 0; k < s->n; k++) {
            const double share = fixed_share(s, s->place[k].site);

            s->place[k].keep = share > 0 ? round_units(s->place[k].site, share * (double)s->place[k].site->units) : s->place[k].site->units;
        }
        return XC_OK;
    }
    if (least > budget)
        return xc_fail(err, XC_E_RANGE, "with the least of heads and neurons in every layer %.3f of the multiply-adds stay: 'flops' cannot be %.3f", least / macs_with(s, 1), flops(s));
    for (int i = 0; i < 60; i++) {
        const double middle = 0.5 * (low + high);

        if (macs_with(s, middle) <= budget) low = middle;
        else high = middle;
    }
    for (int64_t k = 0; k < s->n; k++) s->place[k].keep = round_units(s->place[k].site, low * (double)s->place[k].site->units);
    return XC_OK;
}

static void make_levels(struct place *p)
{
    static const double shares[MAX_LEVELS] = { 1, 0.8, 0.6, 0.4, 0.2, 0.05 };

    for (int i = 0; i < MAX_LEVELS; i++) {
        const int64_t n = round_units(p->site, shares[i] * (double)p->site->units);

        if (!p->n_levels || n < p->level[p->n_levels - 1].units) p->level[p->n_levels++] = (struct level){ .units = n };
    }
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
    j->status[k] = xc_cut_make(&p->cut, j->h->h[j->s->g0->nodes[site->out].in[0].id], j->h->rows, w, site->units * site->width, site->outputs, site->width, granule(site), j->s->damp, &j->err[k]);
}

static enum xc_status orders_by_error(struct shrink *s, struct xc_err *err)
{
    struct xc_hessians h = { 0 };
    struct order_job j = { .s = s, .h = &h };
    uint8_t *want = xc_calloc((size_t)s->g0->n_values + 1, 1);
    enum xc_status status = want ? XC_OK : xc_fail_nomem(err, (size_t)s->g0->n_values);

    for (int64_t k = 0; want && k < s->n; k++) want[s->g0->nodes[s->place[k].site->out].in[0].id] = XC_HESSIAN_FULL;
    if (status == XC_OK) status = xc_hessians_make(&h, s->dense, want, s->p->texts, s->p->opts, err);
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

static enum xc_status order_by_magnitude(struct shrink *s, struct place *p, struct xc_err *err)
{
    const struct xc_site *site = p->site;
    const int64_t n = site->units * site->width;
    double *size = xc_calloc((size_t)site->units, sizeof *size);
    float *w = NULL;
    enum xc_status status = size ? xc_surgery_numbers(&w, xc_site_weight(s->g, site), err) : xc_fail_nomem(err, (size_t)site->units * sizeof *size);

    for (int64_t i = 0; status == XC_OK && i < site->outputs * n; i++) size[i % n / site->width] += (double)w[i] * (double)w[i];
    p->order = xc_malloc((size_t)site->units * sizeof *p->order);
    if (status == XC_OK && !p->order) status = xc_fail_nomem(err, (size_t)site->units * sizeof *p->order);
    for (int64_t i = 0; status == XC_OK && i < site->units; i++) { /* the largest first; of equal ones the first */
        int64_t best = 0;

        for (int64_t u = 1; u < site->units; u++)
            if (size[u] > size[best]) best = u;
        size[best] = -1;
        p->order[i] = (int32_t)best;
    }
    xc_free(size);
    xc_free(w);
    return status;
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
        make_levels(&s->place[k]);
        status = measure_place(s, &s->place[k], &f, run, err);
    }
    xc_run_free(&run);
    xc_frontier_release(&f, &s->replay);
    return status;
}

/* ---- how much goes where ---- */
static double change_with(const struct place *p, int64_t units)
{
    int i = 1;

    while (i < p->n_levels - 1 && p->level[i].units > units) i++;
    if (p->n_levels < 2) return 0;
    const struct level *a = &p->level[i - 1], *b = &p->level[i];

    return a->change + (b->change - a->change) * (double)(a->units - units) / (double)(a->units - b->units);
}

/* The size of each place that is best at a price of a multiply-add; returns those of all. */
static double choose_for(struct shrink *s, double price)
{
    double macs = 0;

    for (int64_t k = 0; k < s->n; k++) {
        struct place *p = &s->place[k];
        double best = INFINITY;

        for (int64_t n = p->level[0].units; n >= p->level[p->n_levels - 1].units; n = n > granule(p->site) ? round_units(p->site, (double)(n - granule(p->site))) : 0) {
            const double total = change_with(p, n) + price * xc_site_macs(p->site, n, s->tokens);

            if (total < best) {
                best = total;
                p->keep = n;
            }
        }
        macs += xc_site_macs(p->site, p->keep, s->tokens);
    }
    return macs;
}

/* The sizes of least change within the budget: a price on multiply-adds; what is left over goes where it helps most. */
static void choose_sizes(struct shrink *s)
{
    const double budget = flops(s) * macs_with(s, 1);
    double low = 0, high = 1e-12, macs;

    while (choose_for(s, high) > budget && high < 1e30) high *= 4;
    for (int i = 0; i < 100; i++) {
        const double middle = 0.5 * (low + high);

        if (choose_for(s, middle) <= budget) high = middle;
        else low = middle;
    }
    macs = choose_for(s, high);
    for (;;) {
        struct place *best = NULL;
        double best_gain = -1, best_cost = 0; /* what gains nothing may stay all the same */

        for (int64_t k = 0; k < s->n; k++) {
            struct place *p = &s->place[k];
            const int64_t up = round_units(p->site, (double)(p->keep + granule(p->site)));
            const double cost = xc_site_macs(p->site, up, s->tokens) - xc_site_macs(p->site, p->keep, s->tokens), gain = change_with(p, p->keep) - change_with(p, up);

            if (!(cost > 0) || macs + cost > budget || gain / cost <= best_gain) continue;
            best = p;
            best_gain = gain / cost;
            best_cost = cost;
        }
        if (!best) return;
        macs += best_cost;
        best->keep = round_units(best->site, (double)(best->keep + granule(best->site)));
    }
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

static enum xc_status fit_place(struct shrink *s, const struct place *p, struct pair *q, struct xc_err *err)
{
    const struct xc_site *site = p->site;
    struct xc_tensor *bias = xc_site_bias(s->g, site);
    struct fit f = { .bias = bias != NULL, .m = site->outputs, .n = site->units * site->width };
    float *copy = NULL;
    enum xc_status status = XC_OK;

    f.k = p->keep * site->width + f.bias;
    f.cols = xc_malloc((size_t)f.k * sizeof *f.cols);
    f.gram = xc_calloc((size_t)(f.k * f.k), sizeof *f.gram);
    f.cross = xc_calloc((size_t)(f.k * f.m), sizeof *f.cross);
    f.w = xc_malloc((size_t)(f.k * f.m) * sizeof *f.w);
    if (!f.cols || !f.gram || !f.cross || !f.w) status = xc_fail_nomem(err, (size_t)(f.k * f.k) * sizeof *f.gram);
    for (int64_t i = 0; f.cols && i < p->keep * site->width; i++) f.cols[i] = (int32_t)(p->kept[i / site->width] * site->width + i % site->width);
    if (status == XC_OK && bias) { /* its bytes are the uncut model's too: a copy of its own */
        status = xc_surgery_numbers(&copy, bias, err);
        if (status == XC_OK) status = xc_surgery_replace(bias, bias->rank, bias->dim, copy, err);
        xc_free(copy);
    }
    for (int64_t b = 0; b < s->replay.n_batches && status == XC_OK; b++) status = fit_batch(s, p, &f, q, b, err);
    if (status == XC_OK) {
        move_weights(s, p, &f, false);
        status = xc_refit(f.w, f.gram, f.cross, f.rows, f.k, f.m, s->damp, err);
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
    const bool budget = flops(s) < 1;

    if (!s->p->texts) return xc_fail(err, XC_E_ARG, "pass 'shrink' needs calibration texts: name a file of them (--calibrate FILE), or set 'saliency' to magnitude and 'update' to no");
    s->total = (double)(3 * s->n);
    XC_TRY(xc_replay_init(&s->replay, s->p->model, s->p->texts, s->p->opts, err));
    XC_TRY(xc_model_clone(&s->dense, s->p->model, err));
    s->g0 = xc_model_find_graph(s->dense, s->g->name);
    if (is(s, "saliency", "error")) {
        XC_TRY(orders_by_error(s, err));
        if (!budget) return XC_OK;
        XC_TRY(measure_all(s, err));
        choose_sizes(s);
    }
    return XC_OK;
}

static enum xc_status cut(struct shrink *s, struct xc_err *err)
{
    const bool plan_only = s->p->plan_only, fit = is(s, "update", "yes") && !plan_only;

    if (plan_only && flops(s) < 1 && is(s, "saliency", "error")) *s->p->estimated = true; /* equal shares stand in for what texts will tell */
    if ((is(s, "saliency", "error") || is(s, "update", "yes")) && !plan_only) XC_TRY(with_texts(s, err));
    for (int64_t k = 0; k < s->n; k++) {
        if (is(s, "saliency", "magnitude") && !plan_only) XC_TRY(order_by_magnitude(s, &s->place[k], err));
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
    XC_TRY(equal_shares(s, err));
    return cut(s, err);
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    struct shrink s = { .p = p };
    const enum xc_status status = run(&s, err);

    for (int64_t k = 0; k < s.n; k++) {
        xc_cut_release(&s.place[k].cut);
        xc_free(s.place[k].order);
        xc_free(s.place[k].kept);
    }
    xc_free(s.place);
    xc_sites_release(&s.sites);
    xc_replay_release(&s.replay);
    xc_model_free(&s.dense);
    return status;
}

const struct xc_pass xc_pass_shrink = { .name = "shrink", .summary = "fewer heads and neurons, to a budget of multiply-adds; the rest is fitted again", .options = options,
                                        .prepare = prepare, .plan = xc_pass_nothing, .apply = xc_pass_nothing };
