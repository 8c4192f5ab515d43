/* mask_gradients: see mask_gradients.h. */
#include "compress/shrink/mask_gradients.h"

#include <math.h>
#include <string.h>

#include "compress/calibrate/replay.h"
#include "compress/grad/tape.h"
#include "runtime/base/rng.h"

#define STREAM ((uint64_t)0x61677265 << 32) /* "agre": of the generator */

/* ---- gradients ---- */
struct pass {
    struct xc_graph *g;
    const struct xc_site *const *sites;
    struct xc_mask_gradients *out;
    const struct xc_mask_source *source;
    struct xc_pool *pool;
    struct xc_tape *tape;
    const int32_t *start; /* of this batch */
    int64_t first;        /* sample */
    float *d;
    size_t cap_d;
};

struct sums {
    const struct pass *p;
    const struct xc_site *site;
    float *g;
    const float *x, *d;
};

/* The units of one sample: sum over its tokens, and the columns of the unit, of value times gradient. */
static void sum_sample(void *arg, int64_t s, int thread)
{
    const struct sums *j = arg;
    const int64_t units = j->site->units, width = j->site->width, C = units * width;
    const int32_t per = j->p->source->per_sample;
    float *g = j->g + (j->p->first + s) * units;

    (void)thread;
    for (int64_t u = 0; u < units; u++) {
        double sum = 0;

        for (int64_t r = j->p->start[s * per]; r < j->p->start[(s + 1) * per]; r++)
            for (int64_t c = u * width; c < (u + 1) * width; c++) sum += (double)j->x[r * C + c] * (double)j->d[r * C + c];
        g[u] = (float)sum;
    }
}

static void see(void *arg, int32_t value, const struct xc_view *view, const float *d)
{
    const struct pass *p = arg;

    for (int64_t k = 0; k < p->out->n; k++) {
        struct sums j = { .p = p, .site = p->sites[k], .g = p->out->g[k], .x = view->data, .d = d };
        int64_t n = 0;

        if (p->g->nodes[j.site->out].in[0].id != value) continue;
        while (p->start[n * p->source->per_sample] < view->rows) n++;
        xc_pool_run(p->pool, sum_sample, &j, n);
    }
}

/* Gradients go back to the first site: what stands before it counts as trained, and no gradient of it is made. */
static enum xc_status make_tape(struct pass *p, struct xc_err *err)
{
    struct xc_tape_opts opts = { .pool = p->pool };
    bool *trained = xc_calloc((size_t)p->g->model->n_tensors + 1, sizeof *trained);
    int32_t first = p->g->n_nodes;
    enum xc_status status;

    if (!trained) return xc_fail_nomem(err, (size_t)p->g->model->n_tensors);
    for (int64_t k = 0; k < p->out->n; k++) {
        for (int32_t i = 0; i < p->sites[k]->n_in; i++)
            if (p->sites[k]->in[i] < first) first = p->sites[k]->in[i];
    }
    for (int32_t n = 0; n <= first; n++)
        for (int32_t i = 0; i < p->g->nodes[n].n_in; i++)
            if (p->g->nodes[n].in[i].kind == XC_REF_TENSOR) trained[p->g->nodes[n].in[i].id] = true;
    opts.trained = trained;
    status = xc_tape_new(&p->tape, p->g, &opts, err);
    xc_free(trained);
    if (status == XC_OK)
        for (int64_t k = 0; k < p->out->n; k++) xc_tape_watch(p->tape, p->g->nodes[p->sites[k]->out].in[0].id, see, p);
    return status;
}

static enum xc_status run_batch(struct pass *p, int64_t b, struct xc_err *err)
{
    float *d_outs[XC_MAX_OUT] = { NULL };
    struct xc_view in[XC_MAX_IN], y[XC_MAX_OUT];
    struct xc_mask_batch batch;

    XC_TRY(p->source->batch(p->source->arg, b, &batch, err));
    const struct xc_ragged rag = { .start = batch.start, .n_seq = batch.n_seq };
    const bool by_token = p->g->spaces[p->g->values[p->g->outputs[0]].space].map == XC_MAP_INPUT;

    p->start = batch.start;
    for (int32_t i = 0; i < p->g->n_inputs; i++)
        in[i] = (struct xc_view){ .data = (void *)(uintptr_t)(strcmp(p->g->values[p->g->inputs[i]].name, "ids") ? batch.types : batch.ids), .rows = batch.start[batch.n_seq], .cols = 1 };
    XC_TRY(xc_tape_forward(p->tape, in, &rag, 1, false, 0, 0, y, err));
    XC_TRY(xc_grow((void **)&p->d, &p->cap_d, (size_t)(y[0].rows * y[0].cols) + 1, sizeof *p->d, err));
    XC_TRY(p->source->loss(p->source->arg, &y[0], by_token, p->d, err));
    d_outs[0] = p->d;
    XC_TRY(xc_tape_backward(p->tape, d_outs, err));
    p->first += batch.n_seq / p->source->per_sample;
    return XC_OK;
}

enum xc_status xc_mask_gradients_make(struct xc_mask_gradients *out, struct xc_graph *g, const struct xc_site *const *sites, int64_t n, const struct xc_mask_source *source,
                                      struct xc_pool *pool, struct xc_err *err)
{
    struct pass p = { .g = g, .sites = sites, .out = out, .source = source, .pool = pool };
    enum xc_status status = XC_OK;

    *out = (struct xc_mask_gradients){ .n = n, .samples = source->samples };
    if (g->n_inputs > 2 || g->n_outputs < 1 || g->n_outputs > XC_MAX_OUT) return xc_fail(err, XC_E_UNSUPPORTED, "graph '%s' takes more than texts", g->name);
    out->g = xc_calloc((size_t)n + 1, sizeof *out->g);
    if (!out->g) status = xc_fail_nomem(err, (size_t)n * sizeof *out->g);
    for (int64_t k = 0; k < n && status == XC_OK; k++) {
        out->g[k] = xc_calloc((size_t)(source->samples * sites[k]->units) + 1, sizeof **out->g);
        if (!out->g[k]) status = xc_fail_nomem(err, (size_t)(source->samples * sites[k]->units) * sizeof **out->g);
    }
    if (status == XC_OK) status = make_tape(&p, err);
    for (int64_t b = 0; b < source->n_batches && status == XC_OK; b++) status = run_batch(&p, b, err);
    if (p.tape) xc_tape_free(&p.tape);
    xc_free(p.d);
    if (status != XC_OK) xc_mask_gradients_release(out);
    return status;
}

void xc_mask_gradients_release(struct xc_mask_gradients *m)
{
    for (int64_t k = 0; m->g && k < m->n; k++) xc_free(m->g[k]);
    xc_free(m->g);
    *m = (struct xc_mask_gradients){ 0 };
}

/* ---- what they say ---- */
void xc_mask_worth(double *worth, const float *g, int64_t samples, int64_t units, bool fisher)
{
    memset(worth, 0, (size_t)units * sizeof *worth);
    for (int64_t s = 0; s < samples; s++)
        for (int64_t u = 0; u < units; u++) {
            const double x = (double)g[s * units + u];

            worth[u] += (fisher ? x * x : fabs(x)) / (double)samples;
        }
}

struct exchange {
    const float *f;  /* (units, units) */
    double *q;       /* (units): sum of f over those that go */
    int32_t *order;
    int64_t keep, units;
};

static double gain(const struct exchange *x, int32_t in, int32_t out)
{
    return (double)x->f[in * x->units + in] + 2 * x->q[in] - 2 * x->q[out] + (double)x->f[out * x->units + out] - 2 * (double)x->f[in * x->units + out];
}

/* Unit order[i], which stays, against the best of those that go. */
static bool exchange_one(struct exchange *x, int64_t i, double least)
{
    const int32_t in = x->order[i];
    int64_t best = -1;
    double change = -least;

    for (int64_t k = x->keep; k < x->units; k++) {
        const double c = gain(x, in, x->order[k]);

        if (c < change) {
            change = c;
            best = k;
        }
    }
    if (best < 0) return false;
    const int32_t out = x->order[best];

    for (int64_t u = 0; u < x->units; u++) x->q[u] += (double)x->f[u * x->units + in] - (double)x->f[u * x->units + out];
    x->order[i] = out;
    x->order[best] = in;
    return true;
}

enum xc_status xc_mask_rearrange(int32_t *order, int64_t keep, const float *g, int64_t samples, int64_t units, struct xc_pool *pool, struct xc_err *err)
{
    struct exchange x = { .order = order, .keep = keep, .units = units };
    float *f = xc_calloc((size_t)(units * units), sizeof *f);
    double whole = 0;
    bool any = true;

    x.f = f;
    x.q = xc_calloc((size_t)units, sizeof *x.q);
    if (!f || !x.q) {
        xc_free(f);
        xc_free(x.q);
        return xc_fail_nomem(err, (size_t)(units * units) * sizeof *f);
    }
    xc_moments_add(f, g, g, samples, units, units, false, pool);
    for (int64_t u = 0; u < units; u++)
        for (int64_t k = keep; k < units; k++) x.q[u] += (double)f[u * units + order[k]];
    for (int64_t k = keep; k < units; k++) whole += fabs(x.q[order[k]]);
    for (int sweep = 0; sweep < 20 && any; sweep++) {
        any = false;
        for (int64_t i = keep - 1; i >= 0; i--) any |= exchange_one(&x, i, 1e-6 * whole); /* the least worthy first */
    }
    xc_free(f);
    xc_free(x.q);
    return XC_OK;
}

/* ---- agreement ---- */
static void draw_class(float *d, const float *y, int64_t C, double at)
{
    double top = -INFINITY, sum = 0, below = 0;
    int64_t drawn = C - 1;

    for (int64_t c = 0; c < C; c++) top = fmax(top, (double)y[c]);
    for (int64_t c = 0; c < C; c++) sum += exp((double)y[c] - top);
    for (int64_t c = 0; c < C; c++) {
        const double p = exp((double)y[c] - top) / sum;

        d[c] = (float)p;
        if (drawn == C - 1 && at < below + p) drawn = c;
        below += p;
    }
    d[drawn] -= 1;
}

void xc_agreement_gradient(float *d, const float *y, int64_t rows, int64_t C, bool classes, uint64_t seed, uint64_t sample)
{
    struct xc_rng rng;

    xc_rng_init(&rng, seed, STREAM + sample);
    for (int64_t r = 0; r < rows; r++) {
        uint32_t bits = 0;

        if (classes) draw_class(d + r * C, y + r * C, C, xc_rng_unit(&rng));
        for (int64_t c = 0; c < C && !classes; c++) {
            if (c % 32 == 0) bits = xc_rng_u32(&rng);
            d[r * C + c] = bits >> c % 32 & 1 ? 1.0f : -1.0f;
        }
    }
}
