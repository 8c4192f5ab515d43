/* prune_tokens: tokens that are looked at little leave between layers, so that what lies behind computes fewer rows. Kim et al. 2022 (LTP), arXiv:2107.00910: those
 * below a threshold on the attention that they receive; Goyal et al. 2020 (PoWER-BERT), arXiv:2001.08950: all but the `most` looked at.
 *
 * At each attention two nodes (runtime/graph/ops/token_rows.c): what its tokens receive, weighted by the length of their values, and which rows stay, of the attention's
 * output and of the residual beside it. So the attention of a layer sees all tokens that reached it, and everything behind it only those that stay. The first
 * token always stays. A mean at the end is one over those that stay: tokens that came back as they were when they left moved the answers further (docs/attention.md).
 *
 * A threshold is in units of the mean score of those that reached the layer, so it means the same for long and short texts; and it is the same in all layers: one that rises
 * from layer to layer was no better. It is found by bisection on the calibration texts: the largest that moves the answers by at most `drop`, or leaves the share `keep`. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/calibrate/replay.h"
#include "compress/pass.h"
#include "compress/plan/forecast.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/attention/attention.h"

static const struct xc_pass_option options[] = {
    { .name = "drop", .help = "thresholds by calibration texts: the answers move by at most this, half the squared relative distance, for embeddings 1 - cosine; 0 = not so", .def = "0", .min = 0, .max = 1 },
    { .name = "keep", .help = "thresholds by calibration texts: this share of the tokens stays, in the mean over layers; 0 = not so", .def = "0", .min = 0, .max = 1 },
    { .name = "threshold", .help = "leave out tokens that receive less than this times the mean attention; 0 = by 'drop' or 'keep'", .def = "0", .min = 0, .max = 1000 },
    { .name = "most", .help = "tokens of a text that stay behind the layer, those that receive most; 0 = all", .def = "0", .min = 0, .max = 16777216 },
    { .name = "queries", .help = "of longer texts only so many tokens, evenly spread, are asked what they look at; 0 = all", .def = "64", .min = 0, .max = 16777216 },
    { .name = NULL },
};

#define TOKENS 8192 /* of the calibration texts, about */
#define STEPS 10    /* of the bisection */
#define HIGHEST 4.0 /* threshold */

struct site {
    const char *node;
    float threshold; /* given; 0 = by calibration */
    int32_t most, queries;
};

struct job {
    const struct xc_prepare *p;
    struct xc_graph *g;
    struct site *site;
    int32_t n;
    struct xc_replay replay;
    struct xc_run *run;
    float **answer; /* by batch */
    int64_t step;
    double theta, kept, drop;
};

static bool is(const struct xc_node *node, const char *op) { return !strcmp(node->op->name, op); }
static int32_t value_of(const struct xc_node *node, int32_t i) { return i < node->n_in && node->in[i].kind == XC_REF_VALUE ? node->in[i].id : -1; }

/* ---- where ---- */
static const char *in_the_way(const struct xc_graph *g, int32_t n)
{
    const struct xc_node *node = &g->nodes[n];
    const struct xc_attr_attention *a = node->attr;
    const char *kind = xc_attention_kinds[a->kind]->name;

    if (strcmp(kind, "dense") && strcmp(kind, "adaptive") && strcmp(kind, "multipole")) return "goes by the places of tokens";
    if (a->causal) return "is causal";
    for (int32_t i = 3; i < node->n_in; i++)
        if (node->in[i].kind != XC_REF_NONE) return "has a position bias";
    if (value_of(node, 0) < 0 || value_of(node, 1) < 0 || g->values[value_of(node, 0)].space != g->values[value_of(node, 1)].space) return "reads other rows than its queries";
    return NULL;
}

/* The one value beside node n's output that what follows n reads of its rows: the residual; -1 where there are others, or none. */
static int32_t beside(const struct xc_graph *g, int32_t n)
{
    const int32_t space = g->values[g->nodes[n].out[0]].space;
    int32_t found = -1;

    for (int32_t k = n + 1; k < g->n_nodes; k++)
        for (int32_t i = 0; i < g->nodes[k].n_in; i++) {
            const int32_t v = value_of(&g->nodes[k], i);

            if (v < 0 || v == g->nodes[n].out[0] || g->values[v].node >= n || g->values[v].space != space) continue;
            if (g->values[v].dtype != XC_DTYPE_F32 || (found >= 0 && found != v)) return -1;
            found = v;
        }
    return found;
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

        if ((pick != XC_PICK_DEFAULT && pick != XC_PICK_TARGET) || !is(&j->g->nodes[n], "attention")) continue;
        why = in_the_way(j->g, n);
        if (!why && beside(j->g, n) < 0) why = "has not one residual beside it";
        if (why && pick == XC_PICK_TARGET) {
            status = xc_fail(err, XC_E_UNSUPPORTED, "no tokens can leave behind attention '%s': it %s", j->g->nodes[n].name, why);
            xc_recipe_fail_at(&spec, scope.word[first + n], status, err);
        }
        if (!why) j->site[j->n++] = (struct site){ .node = j->g->nodes[n].name, .threshold = (float)xc_recipe_number(&spec, "threshold"), .most = (int32_t)xc_recipe_number(&spec, "most"),
                                                   .queries = (int32_t)xc_recipe_number(&spec, "queries") };
    }
    xc_scope_release(&scope);
    return status;
}

/* What makes the model's answers: of texts, and by ways that rows may leave. */
static enum xc_status check_graph(const struct job *j, struct xc_err *err)
{
    const struct xc_graph *g = j->g;

    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->spaces[g->values[g->outputs[i]].space].map != XC_MAP_SEQUENCE)
            return xc_fail(err, XC_E_UNSUPPORTED, "pass 'prune_tokens': the model gives an answer for every token ('%s'), and tokens that leave would have none", g->values[g->outputs[i]].name);
    for (int32_t i = 0; i < g->n_spaces; i++)
        if (g->spaces[i].map != XC_MAP_INPUT && g->spaces[i].map != XC_MAP_SEQUENCE)
            return xc_fail(err, XC_E_UNSUPPORTED, "pass 'prune_tokens': the model has rows that are no tokens ('%s')", g->spaces[i].name);
    for (int32_t n = xc_graph_find_node(g, j->site[0].node) + 1; n < g->n_nodes; n++)
        if (is(&g->nodes[n], "attention") && in_the_way(g, n))
            return xc_fail(err, XC_E_UNSUPPORTED, "pass 'prune_tokens': attention '%s' %s, and tokens before it would be missing", g->nodes[n].name, in_the_way(g, n));
    return XC_OK;
}

static enum xc_status choose(struct job *j, struct xc_err *err)
{
    const double drop = xc_recipe_number(j->p->spec, "drop"), keep = xc_recipe_number(j->p->spec, "keep");
    bool asked = drop > 0 || keep > 0;

    j->site = xc_calloc((size_t)j->g->n_nodes + 1, sizeof *j->site);
    if (!j->site) return xc_fail_nomem(err, (size_t)j->g->n_nodes * sizeof *j->site);
    for (size_t part = 0; part <= j->p->spec->n_overrides; part++) XC_TRY(choose_part(j, part, err));
    if (!j->n) return xc_fail(err, XC_E_UNSUPPORTED, "pass 'prune_tokens' finds no dense attention, not causal and without a bias, in the model");
    for (int32_t i = 1; i < j->n; i++) /* overrides come in their own order */
        for (int32_t k = i; k > 0 && xc_graph_find_node(j->g, j->site[k].node) < xc_graph_find_node(j->g, j->site[k - 1].node); k--) {
            const struct site s = j->site[k];

            j->site[k] = j->site[k - 1];
            j->site[k - 1] = s;
        }
    for (int32_t i = 0; i < j->n; i++) asked |= j->site[i].threshold > 0 || j->site[i].most > 0;
    if (!asked) return xc_fail(err, XC_E_ARG, "pass 'prune_tokens' must be told how many tokens may leave: drop, keep, threshold or most");
    if (drop > 0 && keep > 0) return xc_fail(err, XC_E_ARG, "pass 'prune_tokens' takes 'drop' or 'keep', not both");
    if ((drop > 0 || keep > 0) && !j->p->texts) return xc_fail(err, XC_E_ARG, "pass 'prune_tokens' needs calibration texts (--calibrate FILE) for 'drop' and 'keep'; or give a threshold, or 'most'");
    return check_graph(j, err);
}

/* ---- the graph ---- */
/* Row spaces of nodes from n on, again. */
static enum xc_status infer_again(struct xc_graph *g, int32_t n, struct xc_err *err)
{
    for (; n < g->n_nodes; n++) {
        struct xc_infer c;

        XC_TRY(xc_node_infer(&c, g, &g->nodes[n], err));
        for (int32_t i = 0; i < g->nodes[n].n_out; i++) g->values[g->nodes[n].out[i]].space = c.out[i].space;
    }
    return XC_OK;
}

static enum xc_status named(char *to, const char *node, const char *part, struct xc_err *err)
{
    return snprintf(to, XC_MAX_NAME + 1, "%s.%s", node, part) <= XC_MAX_NAME ? XC_OK : xc_fail(err, XC_E_LIMIT, "node '%s' has too long a name for one beside it", node);
}

/* What is read behind node n: `with` in place of `of`. */
static void replace(struct xc_graph *g, int32_t n, int32_t of, int32_t with)
{
    for (int32_t k = n + 1; k < g->n_nodes; k++)
        for (int32_t i = 0; i < g->nodes[k].n_in; i++)
            if (value_of(&g->nodes[k], i) == of) g->nodes[k].in[i].id = with;
}

static enum xc_status insert(struct xc_graph *g, const struct site *s, struct xc_err *err)
{
    const int32_t at = xc_graph_find_node(g, s->node), y = g->nodes[at].out[0], x = beside(g, at);
    const struct xc_attr_attention *a = g->nodes[at].attr;
    const struct xc_attr_received received = { .heads = a->heads, .kv_heads = a->kv_heads, .scale = a->scale, .queries = s->queries };
    const struct xc_attr_keep keep = { .threshold = s->threshold, .most = s->most };
    const struct xc_ref match[] = { xc_val(g->nodes[at].in[0].id), xc_val(g->nodes[at].in[1].id), xc_val(g->nodes[at].in[2].id) };
    char name[XC_MAX_NAME + 1];
    int32_t score, out[3], space;

    XC_TRY(named(name, s->node, "received", err));
    XC_TRY(xc_graph_insert_node(g, at + 1, &score, "attention_received", name, match, 3, &received, err));
    XC_TRY(named(name, s->node, "kept", err));
    XC_TRY(xc_graph_add_space(g, &space, &(struct xc_space){ .name = name, .map = XC_MAP_SUBSET, .base = g->values[y].space }, err));
    XC_TRY(xc_graph_insert_node(g, at + 2, out, "keep_rows", name, (struct xc_ref[]){ xc_val(score), xc_val(y), xc_val(x) }, 3, &keep, err));
    replace(g, at + 2, y, out[0]);
    replace(g, at + 2, x, out[1]);
    return infer_again(g, at + 3, err);
}

static enum xc_status change(const struct job *j, struct xc_err *err)
{
    for (int32_t i = 0; i < j->n; i++) XC_TRY(insert(j->g, &j->site[i], err));
    return XC_OK;
}

/* ---- thresholds ---- */
static void set_thresholds(const struct job *j, double theta)
{
    for (int32_t i = 0, n = 0; i < j->n; i++, n++) {
        while (!is(&j->g->nodes[n], "keep_rows")) n++;
        if (j->site[i].threshold == 0) ((struct xc_attr_keep *)j->g->nodes[n].attr)->threshold = (float)theta;
    }
}

/* Of one batch that has run: the rows that stay, summed over layers; and the sum of the drops of its answers. */
static double rows_kept(const struct job *j)
{
    double rows = 0;

    for (int32_t i = 0; i < j->g->n_spaces; i++)
        if (j->g->spaces[i].map == XC_MAP_SUBSET) rows += j->run->spaces[i].start[j->run->spaces[i].n_seq];
    return rows;
}

static double drop_of(const struct xc_view *got, const float *want)
{
    double sum = 0;

    for (int64_t r = 0; r < got->rows; r++) {
        double error = 0, all = 0;

        for (int64_t i = r * got->cols; i < (r + 1) * got->cols; i++) {
            const double d = (double)((const float *)got->data)[i] - (double)want[i];

            error += d * d;
            all += (double)want[i] * (double)want[i];
        }
        sum += 0.5 * (all > 0 ? error / all : error);
    }
    return sum;
}

/* Runs the texts; `first`: before anything was changed, to keep the answers. */
static enum xc_status look(struct job *j, bool first, struct xc_err *err)
{
    const struct xc_progress *p = j->p->opts->progress;
    double kept = 0, rows = 0, drop = 0;
    int64_t texts = 0;

    for (int64_t b = 0; b < j->replay.n_batches; b += j->step) {
        const struct xc_view *out;

        XC_TRY(xc_replay_begin(&j->replay, j->run, j->g, b, err));
        XC_TRY(xc_replay_nodes(j->run, j->g, 0, j->g->n_nodes, err));
        out = &j->run->views[j->g->outputs[0]];
        if (first) {
            const size_t bytes = (size_t)(out->rows * out->cols) * sizeof(float);

            j->answer[b] = xc_malloc(bytes + 4);
            if (!j->answer[b]) return xc_fail_nomem(err, bytes);
            memcpy(j->answer[b], out->data, bytes);
        } else {
            drop += drop_of(out, j->answer[b]);
            kept += rows_kept(j);
        }
        rows += (double)j->run->views[j->g->inputs[0]].rows * j->n;
        texts += out->rows;
        if (p && p->cancelled && p->cancelled(p->arg)) return xc_fail(err, XC_E_CANCELLED, "stopped on request");
    }
    j->kept = first ? 1 : kept / rows;
    j->drop = drop / (double)texts;
    return isfinite(j->drop) ? XC_OK : xc_fail(err, XC_E_RANGE, "the model's answers are not finite: no thresholds can be chosen by them");
}

static enum xc_status try_threshold(struct job *j, double theta, struct xc_err *err)
{
    j->theta = theta;
    set_thresholds(j, theta);
    xc_run_free(&j->run);
    XC_TRY(xc_run_new(&j->run, j->p->model, NULL, j->p->opts->pool, err));
    return look(j, false, err);
}

static enum xc_status calibrate(struct job *j, struct xc_err *err)
{
    const double drop = xc_recipe_number(j->p->spec, "drop"), keep = xc_recipe_number(j->p->spec, "keep");
    const struct xc_progress *p = j->p->opts->progress;
    double low = 0, high = HIGHEST;

    XC_TRY(xc_replay_init(&j->replay, j->p->model, j->p->texts, true, j->p->opts, err));
    j->step = xc_replay_step(&j->replay, TOKENS);
    j->answer = xc_calloc((size_t)j->replay.n_batches + 1, sizeof *j->answer);
    if (!j->answer) return xc_fail_nomem(err, (size_t)j->replay.n_batches * sizeof *j->answer);
    XC_TRY(xc_run_new(&j->run, j->p->model, NULL, j->p->opts->pool, err));
    XC_TRY(look(j, true, err));
    XC_TRY(change(j, err));
    for (int i = 0; i < STEPS && (drop > 0 || keep > 0); i++) {
        const double middle = 0.5 * (low + high);

        XC_TRY(try_threshold(j, middle, err));
        *((drop > 0 ? j->drop <= drop : j->kept >= keep) ? &low : &high) = middle;
        if (p && p->update) p->update(p->arg, "token thresholds", i + 1, STEPS + 1);
    }
    return try_threshold(j, low, err);
}

/* ---- all of it ---- */
static enum xc_status run(struct job *j, struct xc_err *err)
{
    struct xc_compress_result *r = j->p->result;
    struct xc_forecast *f = j->p->forecast;

    j->g = xc_model_find_graph(j->p->model, "encode");
    if (!j->g) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode'");
    if (r->token_layers) return xc_fail(err, XC_E_UNSUPPORTED, "a recipe has one pass 'prune_tokens': other settings for some layers are its overrides");
    XC_TRY(choose(j, err));
    if (j->p->plan_only || !j->p->texts) {
        for (int i = 0; f && j->p->texts && i < STEPS + 2; i++) xc_forecast_walk(f, j->p->model, NULL, xc_min_i64(f->tokens, TOKENS));
        XC_TRY(change(j, err));
        r->tokens_kept = r->token_drop = -1;
    } else {
        XC_TRY(calibrate(j, err));
        r->tokens_kept = j->kept;
        r->token_drop = j->drop;
    }
    r->token_threshold = j->theta;
    r->token_layers = j->n;
    return XC_OK;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    struct job j = { .p = p };
    const enum xc_status status = run(&j, err);

    for (int64_t b = 0; j.answer && b < j.replay.n_batches; b++) xc_free(j.answer[b]);
    xc_free(j.answer);
    xc_free(j.site);
    xc_run_free(&j.run);
    xc_replay_release(&j.replay);
    return status;
}

const struct xc_pass xc_pass_prune_tokens = { .name = "prune_tokens", .summary = "tokens that are looked at little leave between layers", .options = options, .prepare = prepare,
                                              .plan = xc_pass_nothing, .apply = xc_pass_nothing };
