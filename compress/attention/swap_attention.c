/* swap_attention: dense attention becomes a kind that takes less time on long texts, layer by layer: longformer, linformer, reformer, synthesizer. Weights stay,
 * positions are copied; what a kind needs beyond them comes from the attention maps of texts (attention_maps.c) or at random. Distillation from the
 * original follows (docs/long-documents.md).
 *
 * Each layer is swapped alone, and the change of the model's answers is measured (sensitivity.h); layers go in the order of that cost, cheapest first, until
 * the next one would move the answers by more than the budget. Then the controls (after arXiv:2510.05901, where the cheap branch of a mixture turned out to be
 * unused): the same layers with a window alone, with the global part alone, and with no attention, each token seeing itself. A swap that is
 * no better than its controls has kept nothing. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/attention/swap_attention.h"
#include "compress/calibrate/sensitivity.h"
#include "compress/plan/forecast.h"

static const struct xc_pass_option options[] = {
    { .name = "kind", .help = "what attention becomes; dense: it stays, for 'positions' alone", .def = "longformer", .choices = "longformer|linformer|reformer|synthesizer|dense" },
    { .name = "positions", .help = "length of texts, in tokens, that the model is to take: the table of positions is repeated; 0 = as it is", .def = "0", .min = 0, .max = 1048576 },
    { .name = "layers", .help = "how many attentions to swap, the cheapest first; 0 = all that the budget allows", .def = "0", .min = 0, .max = 1024 },
    { .name = "budget", .help = "stop before the answers move by more: half the squared relative distance, for embeddings 1 - cosine; 0 = no limit", .def = "0", .min = 0, .max = 1 },
    { .name = "init", .help = "linformer, synthesizer: projections and scores from the attention maps of calibration texts, or at random", .def = "maps", .choices = "maps|random" },
    { .name = "window", .help = "longformer: tokens to each side; auto = as many as hold the share 'mass' of attention on calibration texts", .def = "auto", .word = "auto", .min = 0, .max = 1048576 },
    { .name = "window_for", .help = "longformer, window auto: the same for all heads of a layer, or one for each head", .def = "layer", .choices = "layer|head" },
    { .name = "mass", .help = "share of the attention that window auto holds, with the global tokens, in the mean over heads", .def = "0.95", .min = 0.01, .max = 1 },
    { .name = "global", .help = "longformer: tokens at the start of a text that see all and are seen by all", .def = "1", .min = 0, .max = 65536 },
    { .name = "slots", .help = "linformer: rows that keys and values are mixed to", .def = "128", .min = 1, .max = 65536 },
    { .name = "slots_for", .help = "linformer: projections for all heads of a layer, or for each head", .def = "layer", .choices = "layer|head" },
    { .name = "chunk", .help = "reformer: tokens of a chunk, which sees the one before it too", .def = "64", .min = 1, .max = 65536 },
    { .name = "rounds", .help = "reformer: hashes", .def = "4", .min = 1, .max = 256 },
    { .name = "buckets", .help = "reformer: an even number; 0 = two for a chunk's tokens", .def = "0", .min = 0, .max = 4096 },
    { .name = "share", .help = "reformer: queries and keys are one projection, the mean of both or that of queries", .def = "mean", .choices = "mean|query" },
    { .name = "rank", .help = "synthesizer: of the matrix of scores of a head; 0 = whole", .def = "16", .min = 0, .max = 4096 },
    { .name = "dot", .help = "synthesizer: beside the match of queries and keys (the matrix then begins at zero)", .def = "no", .choices = "yes|no" },
    { .name = NULL },
};

#define LOCAL 32 /* the window of a control, where the kind has none */

struct job {
    const struct xc_prepare *p;
    struct xc_graph *g;
    struct xc_swap *swap;
    int32_t n, positions;
    struct xc_sense *sense;
    double done, total; /* runs of the model */
};

static bool is(const struct xc_recipe_pass *spec, const char *option, const char *value) { return xc_recipe_is(spec, option, value); }
static int32_t whole(const struct xc_recipe_pass *spec, const char *option) { return (int32_t)xc_recipe_number(spec, option); }

/* ---- what is to be swapped ---- */
static struct xc_swap read_swap(const struct xc_recipe_pass *spec)
{
    static const char *const kinds[] = { "longformer", "linformer", "reformer", "synthesizer" };
    struct xc_swap s = { .window = -1, .global = whole(spec, "global"), .slots = whole(spec, "slots"), .each_head = is(spec, "slots_for", "head"), .chunk = whole(spec, "chunk"),
                         .rounds = whole(spec, "rounds"), .buckets = whole(spec, "buckets"), .query = is(spec, "share", "query"), .rank = whole(spec, "rank"),
                         .dot = is(spec, "dot", "yes"), .drawn = is(spec, "init", "random"), .mass = xc_recipe_number(spec, "mass") };

    for (size_t i = 0; i < XC_ARRAY_LEN(kinds); i++)
        if (is(spec, "kind", kinds[i])) s.kind = (enum xc_swap_kind)i;
    if (s.kind == XC_SWAP_LONGFORMER) s.each_head = is(spec, "window_for", "head") && is(spec, "window", "auto");
    if (!is(spec, "window", "auto")) s.window = whole(spec, "window");
    else if (s.kind != XC_SWAP_LONGFORMER && s.drawn) s.window = LOCAL; /* no maps, and no need of one */
    return s;
}

static bool needs_texts(const struct xc_swap *s)
{
    if (s->kind == XC_SWAP_LONGFORMER) return s->window < 0;
    return (s->kind == XC_SWAP_LINFORMER || (s->kind == XC_SWAP_SYNTHESIZER && !s->dot)) && !s->drawn;
}

static enum xc_status choose_part(struct job *j, size_t part, struct xc_err *err)
{
    static const char *const ops[] = { "attention", NULL };
    struct xc_recipe_pass spec = *j->p->spec;
    struct xc_scope scope;
    int32_t first;
    enum xc_status status = XC_OK;

    spec.part = part;
    XC_TRY(xc_scope_make(&scope, j->p->model, &spec, ops, err));
    first = xc_scope_first(&scope, j->p->model, j->g);
    for (int32_t n = 0; n < j->g->n_nodes && status == XC_OK; n++) {
        const uint8_t pick = scope.pick[first + n];
        const char *why;

        if ((pick != XC_PICK_DEFAULT && pick != XC_PICK_TARGET) || strcmp(j->g->nodes[n].op->name, "attention") != 0 || is(&spec, "kind", "dense")) continue;
        const bool again = is(&spec, "kind", "reformer") && xc_swap_hashed(j->g, n);

        if (again || xc_swap_possible(&why, j->g, n)) {
            j->swap[j->n] = read_swap(&spec);
            j->swap[j->n].again = again;
            if (again) j->swap[j->n].chunk = ((const struct xc_attr_attention *)j->g->nodes[n].attr)->chunk;
            if (j->swap[j->n].buckets % 2) status = xc_fail(err, XC_E_RANGE, "option 'buckets' of pass 'swap_attention' is %d, must be even", j->swap[j->n].buckets);
            j->swap[j->n++].node = j->g->nodes[n].name;
        } else if (pick == XC_PICK_TARGET) {
            status = xc_fail(err, XC_E_UNSUPPORTED, "attention '%s' cannot be swapped: it %s", j->g->nodes[n].name, why);
            xc_recipe_fail_at(&spec, scope.word[first + n], status, err);
        }
    }
    xc_scope_release(&scope);
    return status;
}

static enum xc_status choose(struct job *j, struct xc_err *err)
{
    j->swap = xc_calloc((size_t)j->g->n_nodes + 1, sizeof *j->swap);
    if (!j->swap) return xc_fail_nomem(err, (size_t)j->g->n_nodes * sizeof *j->swap);
    for (size_t part = 0; part <= j->p->spec->n_overrides; part++) XC_TRY(choose_part(j, part, err));
    if (!j->n && is(j->p->spec, "kind", "dense") && xc_recipe_number(j->p->spec, "positions") > 0) return XC_OK;
    if (!j->n) return xc_fail(err, XC_E_UNSUPPORTED, "pass 'swap_attention' finds no dense attention to swap: it treats float encoders, before quantization");
    for (int32_t i = 0; i < j->n; i++)
        if (needs_texts(&j->swap[i]) && !j->p->texts)
            return xc_fail(err, XC_E_ARG, "pass 'swap_attention' needs calibration texts (--calibrate FILE) to %s",
                           j->swap[i].kind == XC_SWAP_LONGFORMER ? "choose windows; or give 'window' a number" : "look at attention maps; or set 'init' to random");
    return XC_OK;
}

/* ---- what it costs ---- */
static enum xc_status advance(struct job *j, struct xc_err *err)
{
    const struct xc_progress *p = j->p->opts->progress;

    j->done++;
    if (p && p->update) p->update(p->arg, "swap attention", j->done, j->total);
    if (p && p->cancelled && p->cancelled(p->arg)) return xc_fail(err, XC_E_CANCELLED, "stopped on request");
    return XC_OK;
}

static enum xc_status swap_in(const struct job *j, struct xc_model *m, const struct xc_swap *s, struct xc_err *err)
{
    return xc_swap_layer(xc_model_find_graph(m, j->g->name), s, j->positions, j->p->opts->seed, j->p->plan_only, err);
}

/* The drop with the swaps that are done, and `extra` (may be NULL); as: instead of them (may be NULL). */
static enum xc_status measure(struct job *j, double *drop, const struct xc_swap *extra, const struct xc_swap *as, struct xc_err *err)
{
    struct xc_model *m = NULL;
    enum xc_status status = xc_model_clone(&m, j->p->model, err);

    for (int32_t i = 0; i < j->n && status == XC_OK; i++) {
        struct xc_swap s = as ? *as : j->swap[i];

        if (!j->swap[i].done && &j->swap[i] != extra) continue;
        s.node = j->swap[i].node;
        if (as && as->window < 0) s.window = j->swap[i].window;
        status = swap_in(j, m, &s, err);
    }
    if (status == XC_OK) status = xc_swap_finish(m, xc_model_find_graph(m, j->g->name), err);
    if (status == XC_OK) status = xc_sense_drop(j->sense, drop, m, j->p->opts, err);
    xc_model_free(&m);
    return status == XC_OK ? advance(j, err) : status;
}

static enum xc_status rank_and_stop(struct job *j, double *drop, struct xc_err *err)
{
    const double budget = xc_recipe_number(j->p->spec, "budget");
    const int32_t most = whole(j->p->spec, "layers");

    for (int32_t i = 0; i < j->n; i++) XC_TRY(measure(j, &j->swap[i].cost, &j->swap[i], NULL, err));
    for (int32_t k = 0; k < (most ? xc_min_i64(most, j->n) : j->n); k++) {
        struct xc_swap *best = NULL;
        double next = 0;

        for (int32_t i = 0; i < j->n; i++)
            if (!j->swap[i].done && (!best || j->swap[i].cost < best->cost)) best = &j->swap[i];
        if (budget > 0) XC_TRY(measure(j, &next, best, NULL, err));
        if (budget > 0 && next > budget) break;
        best->done = true;
        *drop = next;
    }
    return budget > 0 ? XC_OK : measure(j, drop, NULL, NULL, err);
}

static enum xc_status measure_controls(struct job *j, struct xc_compress_result *r, struct xc_err *err)
{
    struct xc_swap as = { .kind = XC_SWAP_LONGFORMER };
    bool longformer = true;
    int32_t global = 0;

    for (int32_t i = 0; i < j->n; i++)
        if (j->swap[i].done) longformer &= j->swap[i].kind == XC_SWAP_LONGFORMER, global = j->swap[i].global;
    XC_TRY(measure(j, &r->swap_none, NULL, &as, err));
    as.window = -1; /* each layer's */
    XC_TRY(measure(j, &r->swap_local, NULL, &as, err));
    as = (struct xc_swap){ .kind = longformer ? XC_SWAP_LONGFORMER : XC_SWAP_UNIFORM, .global = global };
    return measure(j, &r->swap_global, NULL, &as, err);
}

/* ---- the report ---- */
static void describe(char *to, size_t n, const struct job *j, const struct xc_swap *s)
{
    static const char *const from[] = { "of maps", "at random" };

    switch (s->kind) {
    case XC_SWAP_LONGFORMER: snprintf(to, n, "longformer, window %d%s, %d global", s->window >= 0 ? s->window : j->positions, s->windows ? " at most" : "", s->global); break;
    case XC_SWAP_LINFORMER: snprintf(to, n, "linformer, %d slots%s %s", s->slots, s->each_head ? " a head" : "", from[s->drawn]); break;
    case XC_SWAP_REFORMER: snprintf(to, n, "reformer, chunk %d, %d rounds, %s", s->chunk, s->rounds, s->again ? "hashes drawn again" : s->query ? "queries" : "mean of queries and keys"); break;
    case XC_SWAP_SYNTHESIZER: snprintf(to, n, "synthesizer, rank %d, %s%s", s->rank, from[s->drawn || s->dot], s->dot ? ", beside queries and keys" : ""); break;
    case XC_SWAP_UNIFORM: break;
    }
}

static enum xc_status report(struct job *j, struct xc_compress_result *r, struct xc_err *err)
{
    if (r->n_swaps) return xc_fail(err, XC_E_UNSUPPORTED, "a recipe has one pass 'swap_attention': several kinds are its overrides");
    r->swaps = xc_calloc((size_t)j->n, sizeof *r->swaps);
    if (!r->swaps) return xc_fail_nomem(err, (size_t)j->n * sizeof *r->swaps);
    for (int32_t i = 0; i < j->n; i++) {
        r->swaps[i].node = xc_strdup(j->swap[i].node);
        if (!r->swaps[i].node) return xc_fail_nomem(err, strlen(j->swap[i].node) + 1);
        r->n_swaps++;
        r->swaps[i].cost = j->p->plan_only ? -1 : j->swap[i].cost;
        r->swaps[i].swapped = j->swap[i].done;
        describe(r->swaps[i].to, sizeof r->swaps[i].to, j, &j->swap[i]);
    }
    return XC_OK;
}

/* ---- all of it ---- */
/* What measuring is done by, and maps: the model as it was, at its own length. */
static enum xc_status look(struct job *j, struct xc_err *err)
{
    struct xc_model *was = NULL;
    enum xc_status status = xc_model_clone(&was, j->p->model, err);
    bool maps = false;

    for (int32_t i = 0; i < j->n; i++) maps |= needs_texts(&j->swap[i]) || j->swap[i].window < 0 || (j->swap[i].kind == XC_SWAP_REFORMER && !j->swap[i].again);
    if (status == XC_OK) status = xc_sense_new(&j->sense, was, j->p->texts, j->p->opts, err);
    if (status == XC_OK) xc_sense_stop(j->sense);
    if (status == XC_OK && maps && j->p->texts) status = xc_attention_maps(j->swap, j->n, was, j->p->texts, j->p->opts, err);
    for (int32_t i = 0; i < j->n; i++)
        if (j->swap[i].window < 0) j->swap[i].window = j->swap[i].kind == XC_SWAP_REFORMER ? j->swap[i].chunk : LOCAL;
    xc_model_free(&was);
    return status;
}

static enum xc_status work(struct job *j, struct xc_err *err)
{
    struct xc_compress_result *r = j->p->result;
    const bool budget = xc_recipe_number(j->p->spec, "budget") > 0;

    j->total = j->n * (budget ? 2 : 1) + 4;
    XC_TRY(look(j, err));
    XC_TRY(xc_swap_extend(j->p->model, j->g, j->positions, false, err));
    XC_TRY(rank_and_stop(j, &r->swap_drop, err));
    XC_TRY(measure_controls(j, r, err));
    for (int32_t i = 0; i < j->n; i++)
        if (j->swap[i].done) XC_TRY(swap_in(j, j->p->model, &j->swap[i], err));
    return xc_swap_finish(j->p->model, j->g, err);
}

/* Which go is not known before the work: the first so many. */
static enum xc_status plan_alone(struct job *j, struct xc_err *err)
{
    const int32_t most = whole(j->p->spec, "layers"), n = most ? (int32_t)xc_min_i64(most, j->n) : j->n;
    struct xc_forecast *f = j->p->forecast;

    XC_TRY(xc_swap_extend(j->p->model, j->g, j->positions, true, err));
    for (int32_t i = 0; i < n; i++) {
        j->swap[i].done = true;
        XC_TRY(swap_in(j, j->p->model, &j->swap[i], err));
    }
    if (j->p->estimated && (most || xc_recipe_number(j->p->spec, "budget") > 0)) *j->p->estimated = true;
    for (int32_t i = 0; f && i < 2 * j->n + 4; i++) xc_forecast_walk(f, j->p->model, NULL, xc_min_i64(f->tokens ? f->tokens : f->own_tokens, 1024));
    if (f) xc_forecast_holds(f, 3 * xc_forecast_f32_bytes(j->p->model) + xc_forecast_values_bytes(j->p->model, f->tokens));
    return xc_swap_finish(j->p->model, j->g, err);
}

static enum xc_status run(struct job *j, struct xc_err *err)
{
    const int32_t asked = whole(j->p->spec, "positions");

    j->g = xc_model_find_graph(j->p->model, "encode");
    if (!j->g) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode'");
    XC_TRY(choose(j, err));
    j->positions = asked ? asked : xc_swap_positions(j->g);
    if (!j->n) return xc_swap_extend(j->p->model, j->g, j->positions, j->p->plan_only, err);
    XC_TRY(j->p->plan_only ? plan_alone(j, err) : work(j, err));
    return report(j, j->p->result, err);
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    struct job j = { .p = p };
    const enum xc_status status = run(&j, err);

    for (int32_t i = 0; i < j.n; i++) xc_swap_release(&j.swap[i]);
    xc_free(j.swap);
    xc_sense_free(&j.sense);
    return status;
}

const struct xc_pass xc_pass_swap_attention = { .name = "swap_attention", .summary = "other kinds of attention, for long texts", .options = options, .prepare = prepare, .plan = xc_pass_nothing,
                                                .apply = xc_pass_nothing };
