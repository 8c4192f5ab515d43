/* drop_layers: whole layers go, and what read their output reads their input. Sajjad et al. 2020 (arXiv:2004.03844); by the change of the model's
 * output, one layer after the other, it is the greedy search of Fan et al. and of ShortGPT without their labels.
 *
 * A layer is what has "layer.N." in the names of its nodes; it must read one value from outside and give one back, of the same shape. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/calibrate/replay.h"
#include "compress/pass.h"
#include "compress/plan/forecast.h"
#include "compress/shrink/surgery.h"
#include "formats/formats.h"

static const struct xc_pass_option options[] = {
    { .name = "keep", .help = "how many layers stay; 0 = all but those that the targets name", .def = "0", .min = 0, .max = 1024 },
    { .name = "by", .help = "which go: those that change the model's output least on calibration texts, the last, or evenly spread ones", .def = "error", .choices = "error|last|even" },
    { .name = NULL },
};

#define MAX_LAYERS 1024
#define MEASURE_TOKENS 1536 /* of the texts that are compared on, about */

struct layer {
    int32_t number;
    int32_t first, last; /* nodes */
    int32_t in, out;     /* values */
    bool drop, target;
};

struct layers {
    const struct xc_prepare *p;
    struct xc_graph *g;
    struct layer *layer;
    int32_t n;
};

/* Finds what layer l reads and gives: one value each, or it is no layer. Flags that all layers read (Longformer's global tokens) are not counted. */
static enum xc_status find_ends(struct layer *l, const struct xc_graph *g, struct xc_err *err)
{
    l->in = l->out = -1;
    for (int32_t n = l->first; n <= l->last; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++) {
            const int32_t v = g->nodes[n].in[i].kind == XC_REF_VALUE ? g->nodes[n].in[i].id : -1;

            if (v < 0 || g->values[v].node >= l->first || g->values[v].dtype == XC_DTYPE_I32) continue;
            if (l->in >= 0 && l->in != v) return xc_fail(err, XC_E_UNSUPPORTED, "layer %d reads more than one value and cannot be dropped", l->number);
            l->in = v;
        }
    for (int32_t v = 0; v < g->n_values; v++) {
        bool outside = false;

        if (g->values[v].node < l->first || g->values[v].node > l->last) continue;
        for (int32_t n = l->last + 1; n < g->n_nodes; n++)
            for (int32_t i = 0; i < g->nodes[n].n_in; i++) outside |= g->nodes[n].in[i].kind == XC_REF_VALUE && g->nodes[n].in[i].id == v;
        for (int32_t i = 0; i < g->n_outputs; i++) outside |= g->outputs[i] == v;
        if (!outside) continue;
        if (l->out >= 0) return xc_fail(err, XC_E_UNSUPPORTED, "layer %d gives more than one value and cannot be dropped", l->number);
        l->out = v;
    }
    if (l->in < 0 || l->out < 0 || g->values[l->in].cols != g->values[l->out].cols || g->values[l->in].space != g->values[l->out].space)
        return xc_fail(err, XC_E_UNSUPPORTED, "layer %d does not give what it reads and cannot be dropped", l->number);
    return XC_OK;
}

static enum xc_status find_layers(struct layers *s, struct xc_err *err)
{
    static const char *const none[] = { NULL };
    struct xc_scope scope;
    int32_t first;

    s->layer = xc_calloc(MAX_LAYERS, sizeof *s->layer);
    if (!s->layer) return xc_fail_nomem(err, MAX_LAYERS * sizeof *s->layer);
    XC_TRY(xc_scope_make(&scope, s->p->model, s->p->spec, none, err));
    first = xc_scope_first(&scope, s->p->model, s->g);
    for (int32_t n = 0; n < s->g->n_nodes; n++) {
        const int32_t number = xc_layer_number(s->g->nodes[n].name, NULL);
        struct layer *l = s->n ? &s->layer[s->n - 1] : NULL;

        if (number < 0) continue;
        if ((!l || l->number != number) && s->n < MAX_LAYERS) {
            l = &s->layer[s->n++];
            *l = (struct layer){ .number = number, .first = n };
        }
        l->last = n;
        l->target |= scope.pick[first + n] == XC_PICK_TARGET;
    }
    xc_scope_release(&scope);
    for (int32_t i = 0; i < s->n; i++) XC_TRY(find_ends(&s->layer[i], s->g, err));
    return s->n ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "pass 'drop_layers' finds no nodes named 'layer.N.' in the model");
}

/* ---- which ---- */
/* What reads the output of a layer that goes reads what that layer read: its input, or the input of the layers before that go too. */
static void bypass(const struct layers *s, struct xc_graph *g, int32_t tried)
{
    for (int32_t i = 0; i < s->n; i++) {
        int32_t in = s->layer[i].in;

        if (!s->layer[i].drop && i != tried) continue;
        for (int32_t k = i - 1; k >= 0; k--)
            if ((s->layer[k].drop || k == tried) && s->layer[k].out == in) in = s->layer[k].in;
        xc_surgery_rewire(g, s->layer[i].out, in);
    }
}

/* The change of the output when layer `tried` goes too. */
static enum xc_status try_without(const struct layers *s, const struct xc_replay *r, int32_t tried, const float *want, float *got, double *change, struct xc_err *err)
{
    const int64_t batches = r->n_batches, step = xc_replay_step(r, MEASURE_TOKENS);
    struct xc_model *m = NULL;
    struct xc_run *run = NULL;
    enum xc_status status = xc_model_clone(&m, s->p->model, err);
    double error = 0, all = 0;
    int64_t at = 0;

    if (status == XC_OK) bypass(s, xc_model_find_graph(m, s->g->name), tried);
    if (status == XC_OK) status = xc_surgery_drop_dead(xc_model_find_graph(m, s->g->name), err);
    if (status == XC_OK) status = xc_run_new(&run, m, NULL, s->p->opts->pool, err);
    for (int64_t b = 0; b < batches && status == XC_OK; b += step) {
        const struct xc_graph *g = xc_model_find_graph(m, s->g->name);
        const struct xc_view *out;

        status = xc_replay_begin(r, run, g, b, err);
        if (status == XC_OK) status = xc_replay_nodes(run, g, 0, g->n_nodes, err);
        if (status != XC_OK) break;
        out = &run->views[g->outputs[0]];
        for (int64_t i = 0; i < out->rows * out->cols; i++) {
            const float y = ((const float *)out->data)[i];

            if (got) got[at + i] = y;
            if (!want) continue;
            error += ((double)y - (double)want[at + i]) * ((double)y - (double)want[at + i]);
            all += (double)want[at + i] * (double)want[at + i];
        }
        at += out->rows * out->cols;
    }
    *change = all > 0 ? error / all : 0;
    xc_run_free(&run);
    xc_model_free(&m);
    return status;
}

static enum xc_status choose_by_error(struct layers *s, int32_t keep, struct xc_err *err)
{
    struct xc_replay r;
    float *want = NULL;
    double change;
    enum xc_status status;

    if (!s->p->texts) return xc_fail(err, XC_E_ARG, "pass 'drop_layers' needs calibration texts: name a file of them (--calibrate FILE), or set 'by' to last or even");
    XC_TRY(xc_replay_init(&r, s->p->model, s->p->texts, true, s->p->opts, err));
    const int64_t count = xc_max_i64(r.tokens, r.n_texts) * s->g->values[s->g->outputs[0]].cols;

    want = xc_alloc_aligned((size_t)count * sizeof *want);
    status = want ? try_without(s, &r, -1, NULL, want, &change, err) : xc_fail_nomem(err, (size_t)count * sizeof *want);
    for (int32_t left = s->n; left > keep && status == XC_OK; left--) {
        double least = INFINITY;
        int32_t best = 0;

        for (int32_t i = 0; i < s->n && status == XC_OK; i++) {
            if (s->layer[i].drop) continue;
            status = try_without(s, &r, i, want, NULL, &change, err);
            if (status == XC_OK && change < least) {
                least = change;
                best = i;
            }
        }
        s->layer[best].drop = true;
    }
    xc_free(want);
    xc_replay_release(&r);
    return status;
}

/* Is i one of `keep` places spread evenly over n, both ends among them? */
static bool spread(int32_t i, int32_t n, int32_t keep)
{
    for (int32_t k = 0; k < keep; k++)
        if (i == (keep == 1 ? 0 : (2 * k * (n - 1) + keep - 1) / (2 * (keep - 1)))) return true;
    return false;
}

/* Each round tries the model without each layer that is left. */
static void forecast(const struct layers *s, int32_t keep)
{
    struct xc_forecast *f = s->p->forecast;
    const int64_t part = xc_min_i64(f->tokens, MEASURE_TOKENS);
    int32_t tries = 1;

    for (int32_t left = s->n; left > keep; left--) tries += left;
    for (int32_t i = 0; i < tries; i++) xc_forecast_walk(f, s->p->model, NULL, part);
    xc_forecast_holds(f, xc_forecast_f32_bytes(s->p->model) + xc_forecast_values_bytes(s->p->model, f->tokens));
}

static enum xc_status choose(struct layers *s, struct xc_err *err)
{
    const int32_t keep = (int32_t)xc_recipe_number(s->p->spec, "keep");
    int32_t targets = 0;

    for (int32_t i = 0; i < s->n; i++) targets += s->layer[i].target;
    if (!keep && !targets) return xc_fail(err, XC_E_ARG, "pass 'drop_layers' has nothing to do: set 'keep', or targets that lie in the layers to drop");
    if (keep && s->p->spec->targets.n) return xc_fail(err, XC_E_ARG, "pass 'drop_layers' has both 'keep' and targets: give one of them");
    if (keep > s->n) return xc_fail(err, XC_E_RANGE, "the model has %d layers: 'keep' cannot be %d", s->n, keep);
    if (!keep && targets == s->n) return xc_fail(err, XC_E_ARG, "the targets of pass 'drop_layers' name all %d layers", s->n);
    for (int32_t i = 0; i < s->n; i++) {
        if (!keep) s->layer[i].drop = s->layer[i].target;
        else if (xc_recipe_is(s->p->spec, "by", "even")) s->layer[i].drop = !spread(i, s->n, keep);
        else if (s->p->plan_only || xc_recipe_is(s->p->spec, "by", "last")) s->layer[i].drop = i >= keep;
    }
    if (keep && keep < s->n && xc_recipe_is(s->p->spec, "by", "error") && s->p->forecast) forecast(s, keep);
    if (keep && keep < s->n && xc_recipe_is(s->p->spec, "by", "error") && !s->p->plan_only) return choose_by_error(s, keep, err);
    return XC_OK;
}

static enum xc_status run(struct layers *s, struct xc_err *err)
{
    int32_t n_dropped;
    size_t bytes;

    XC_TRY(xc_pass_no_overrides(s->p->spec, err));
    s->g = xc_model_find_graph(s->p->model, "encode");
    if (!s->g) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode'");
    XC_TRY(find_layers(s, err));
    XC_TRY(choose(s, err));
    bypass(s, s->g, -1);
    XC_TRY(xc_surgery_drop_dead(s->g, err));
    xc_model_drop_unused(s->p->model, &n_dropped, &bytes);
    return XC_OK;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    struct layers s = { .p = p };
    const enum xc_status status = run(&s, err);

    xc_free(s.layer);
    return status;
}

const struct xc_pass xc_pass_drop_layers = { .name = "drop_layers", .summary = "fewer layers", .options = options, .prepare = prepare, .plan = xc_pass_nothing, .apply = xc_pass_nothing };
