/* prune: zeros in the weights of linears, in place: the numbers stay dense, and quantize may then choose a sparse encoding. See prune.h for what
 * goes, docs/methods.md for what it costs and gains. Embeddings, norms and biases are outside.
 * A Synthesizer's random matrix loses its smallest scores by magnitude, anywhere, after each row's mean was taken from it: a zero is that mean, not "unseen".
 *
 * Wanda and second order need calibration texts. The model is treated in some groups of layers from front to back, and each group sees what the
 * pruned layers before it make of the texts; the Hessians of one group are in memory at a time. */
#include "compress/prune/prune.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/attention/random_matrix.h"
#include "compress/calibrate/hessian.h"
#include "compress/file/side.h"
#include "compress/file/spill.h"
#include "compress/limits.h"
#include "compress/pass.h"
#include "compress/plan/forecast.h"
#include "runtime/base/half.h"

#define GROUPS 6                          /* about so many groups of layers */
#define GROUP_LEAST ((double)(16 << 20))  /* bytes of Hessians: smaller models need fewer groups */
#define GROUP_MOST ((double)(256 << 20))

static const struct xc_pass_option options[] = {
    { .name = "saliency", .help = "what a weight is worth: its magnitude; times its input's norm (wanda); or what the output loses when the other weights make up for it (obs)",
      .def = "magnitude", .choices = "magnitude|wanda|obs" },
    { .name = "pattern", .help = "where zeros lie: anywhere, n of every m inputs kept, or whole blocks", .def = "unstructured", .choices = "unstructured|nm|block" },
    { .name = "sparsity", .help = "share of weights that become zero; nm has its own", .def = "0.5", .min = 0, .max = 0.999 },
    { .name = "n", .help = "nm: weights kept of every m", .def = "2", .min = 1, .max = 63 },
    { .name = "m", .help = "nm: inputs of a group", .def = "4", .min = 2, .max = 64 },
    { .name = "block_rows", .help = "block: outputs of a block", .def = "16", .min = 1, .max = 1024 },
    { .name = "block_cols", .help = "block: inputs of a block", .def = "4", .min = 1, .max = 1024 },
    { .name = "threshold", .help = "the share holds for each layer, or over all of them (magnitude)", .def = "layer", .choices = "layer|global" },
    { .name = "damp", .help = "obs: what is added to the Hessian's diagonal, as a share of its mean", .def = "0.01", .min = 1e-6, .max = 10 },
    { .name = NULL },
};

static enum xc_status whole(int32_t *out, const struct xc_recipe_pass *spec, const char *option, struct xc_err *err)
{
    const double x = xc_recipe_number(spec, option);

    *out = (int32_t)x;
    return x == floor(x) ? XC_OK : xc_fail(err, XC_E_RANGE, "option '%s' of pass 'prune' is %g, must be a whole number", option, x);
}

static enum xc_status read_spec(struct xc_prune *p, const struct xc_work *w, struct xc_err *err)
{
    const struct xc_recipe_pass *s = w->spec;

    *p = (struct xc_prune){ .sparsity = xc_recipe_number(s, "sparsity"), .damp = xc_recipe_number(s, "damp") };
    p->pattern = xc_recipe_is(s, "pattern", "nm") ? XC_PRUNE_NM : xc_recipe_is(s, "pattern", "block") ? XC_PRUNE_BLOCK : XC_PRUNE_UNSTRUCTURED;
    p->saliency = xc_recipe_is(s, "saliency", "wanda") ? XC_PRUNE_WANDA : xc_recipe_is(s, "saliency", "obs") ? XC_PRUNE_OBS : XC_PRUNE_MAGNITUDE;
    XC_TRY(whole(&p->n, s, "n", err));
    XC_TRY(whole(&p->m, s, "m", err));
    XC_TRY(whole(&p->block_rows, s, "block_rows", err));
    XC_TRY(whole(&p->block_cols, s, "block_cols", err));
    if (p->pattern == XC_PRUNE_NM && p->n >= p->m) return xc_fail(err, XC_E_RANGE, "pass 'prune' keeps n = %d of every m = %d: n must be less than m", p->n, p->m);
    if (xc_recipe_is(s, "threshold", "global") && (p->saliency != XC_PRUNE_MAGNITUDE || p->pattern == XC_PRUNE_NM))
        return xc_fail(err, XC_E_UNSUPPORTED, "pass 'prune' has a global threshold for saliency magnitude and patterns unstructured and block only: other scores do not compare between layers");
    if (p->saliency != XC_PRUNE_MAGNITUDE && !w->opts->calibrate)
        return xc_fail(err, XC_E_ARG, "saliency '%s' of pass 'prune' needs calibration texts: name a file of them (--calibrate FILE)", xc_recipe_get(s, "saliency"));
    return XC_OK;
}

/* ---- plan ---- */
static bool is_op(const struct xc_node *node, const char *op) { return strcmp(node->op->name, op) == 0; }

/* What stands against pruning tensor t, in words; an empty text when nothing does. */
static void objection(char *why, size_t n, const struct xc_work *w, const struct xc_scope *scope, const struct xc_uses *uses, int32_t t)
{
    const struct xc_model *m = w->model;

    why[0] = 0;
    for (int32_t u = uses->first[t]; u < uses->first[t + 1] && !why[0]; u++) {
        const struct xc_node *node = &m->graphs[uses->use[u].graph]->nodes[uses->use[u].node];

        if (xc_random_matrix(node) == t) {
            if (!xc_recipe_is(w->spec, "saliency", "magnitude") || !xc_recipe_is(w->spec, "pattern", "unstructured") || !xc_recipe_is(w->spec, "threshold", "layer"))
                snprintf(why, n, "a matrix of scores is pruned by magnitude, unstructured, on its own");
        } else if (!is_op(node, "linear") || uses->use[u].input != 1) snprintf(why, n, "'%s' uses it too, which is no linear", node->name);
        else if (scope->pick[scope->first[uses->use[u].graph] + uses->use[u].node] == XC_PICK_IGNORED) snprintf(why, n, "'%s' is left out by the recipe", node->name);
    }
    if (!why[0] && w->want[t].format != XC_FMT_F32 && w->want[t].format != XC_FMT_F16 && w->want[t].format != XC_FMT_BF16) snprintf(why, n, "it is quantized already: prune first");
    if (!why[0] && m->tensors[t]->rank != 2) snprintf(why, n, "it has %d axes", m->tensors[t]->rank);
}

static void describe(struct xc_layer_report *l, const struct xc_work *w, const struct xc_prune *p, const struct xc_tensor *t)
{
    const int64_t R = xc_tensor_rows(t), C = xc_tensor_cols(t), units = p->pattern == XC_PRUNE_BLOCK ? xc_prune_units(p, R, C) : R * C;
    const char *saliency = xc_recipe_get(w->spec, "saliency");
    char shape[64] = "";

    if (p->pattern == XC_PRUNE_NM) snprintf(shape, sizeof shape, ", %d:%d", p->n, p->m);
    if (p->pattern == XC_PRUNE_BLOCK) snprintf(shape, sizeof shape, ", blocks of %dx%d", p->block_rows, p->block_cols);
    if (xc_recipe_is(w->spec, "threshold", "global")) snprintf(l->why, sizeof l->why, "zeros by %s%s, %.4g%% over all layers; as f32 smaller on disk only", saliency, shape, 100 * p->sparsity);
    else snprintf(l->why, sizeof l->why, "%.4g%% zeros by %s%s; as f32 smaller on disk only", 100 * (double)xc_prune_dropped(p, R, C) / (double)units, saliency, shape);
}

/* mark (n_tensors): 1 where this entry prunes. A target that cannot be treated is an error; with `say`, a default that cannot says why. */
static enum xc_status mark_tensor(struct xc_work *w, const struct xc_scope *scope, const struct xc_uses *uses, int32_t t, uint8_t *mark, bool say, struct xc_err *err)
{
    struct xc_layer_report *l = &w->layers[t];
    char why[sizeof l->why - 16];
    bool picked = false;

    objection(why, sizeof why, w, scope, uses, t);
    for (int32_t u = uses->first[t]; u < uses->first[t + 1]; u++) {
        const struct xc_use *use = &uses->use[u];
        const int32_t at = scope->first[use->graph] + use->node;
        const struct xc_node *node = &w->model->graphs[use->graph]->nodes[use->node];

        if ((use->input != 1 || !is_op(node, "linear")) && xc_random_matrix(node) != t) continue;
        picked |= scope->pick[at] == XC_PICK_DEFAULT || scope->pick[at] == XC_PICK_TARGET;
        if (scope->pick[at] == XC_PICK_TARGET && why[0])
            return xc_recipe_fail_at(w->spec, scope->word[at],
                                     xc_fail(err, XC_E_UNSUPPORTED, "target '%s' names node '%s', which pass 'prune' cannot treat: %s", scope->word[at], node->name, why), err);
    }
    mark[t] = picked && !why[0];
    if (say && picked && why[0]) snprintf(l->why, sizeof l->why, "kept: %s", why);
    return XC_OK;
}

static enum xc_status check_targets(const struct xc_work *w, const struct xc_scope *scope, struct xc_err *err)
{
    for (int32_t g = 0; g < w->model->n_graphs; g++)
        for (int32_t n = 0; n < w->model->graphs[g]->n_nodes; n++) {
            const struct xc_node *node = &w->model->graphs[g]->nodes[n];

            if (scope->pick[scope->first[g] + n] == XC_PICK_TARGET && (!is_op(node, "linear") || node->in[1].kind != XC_REF_TENSOR) && xc_random_matrix(node) < 0)
                return xc_recipe_fail_at(w->spec, scope->word[scope->first[g] + n],
                                         xc_fail(err, XC_E_UNSUPPORTED, "target '%s' names node '%s', which pass 'prune' cannot treat: op '%s' has no weight to prune",
                                                 scope->word[scope->first[g] + n], node->name, node->op->name), err);
        }
    return XC_OK;
}

static enum xc_status mark_tensors(struct xc_work *w, uint8_t **mark, bool say, struct xc_err *err)
{
    static const char *const ops[] = { "linear", "attention", NULL };
    struct xc_scope scope;
    struct xc_uses uses = { 0 };
    enum xc_status status;

    *mark = xc_calloc((size_t)w->model->n_tensors + 1, 1);
    if (!*mark) return xc_fail_nomem(err, (size_t)w->model->n_tensors);
    status = xc_scope_make(&scope, w->model, w->spec, ops, err);
    if (status == XC_OK) status = xc_uses_make(&uses, w->model, err);
    if (status == XC_OK) status = check_targets(w, &scope, err);
    for (int32_t t = 0; t < w->model->n_tensors && status == XC_OK; t++) status = mark_tensor(w, &scope, &uses, t, *mark, say, err);
    xc_scope_release(&scope);
    xc_uses_release(&uses);
    if (status == XC_OK) return XC_OK;
    xc_free(*mark);
    *mark = NULL;
    return status;
}

static enum xc_status prune_plan(struct xc_work *w, struct xc_err *err)
{
    struct xc_prune p;
    uint8_t *mark;

    XC_TRY(read_spec(&p, w, err));
    XC_TRY(mark_tensors(w, &mark, true, err));
    for (int32_t t = 0; t < w->model->n_tensors; t++) {
        if (!mark[t]) continue;
        w->want[t] = xc_prune_encoding(&p, xc_recipe_is(w->spec, "threshold", "global"), xc_tensor_rows(w->model->tensors[t]), xc_tensor_cols(w->model->tensors[t]));
        describe(&w->layers[t], w, &p, w->model->tensors[t]);
        if (!xc_random_owner(w->model, t)) continue;
        w->want[t] = (struct xc_encoding){ .format = XC_FMT_F32 }; /* attention takes no sparse encoding */
        snprintf(w->layers[t].why, sizeof w->layers[t].why, "%.4g%% zeros by magnitude: scores that are the row's mean; smaller with --store small only", 100 * p.sparsity);
    }
    xc_free(mark);
    return XC_OK;
}

/* ---- one weight ---- */
struct weight {
    int64_t R, C;
    float *w, *score; /* score: not for second order */
    double norm2;
    struct xc_spill *spill; /* where w lies; NULL = in memory */
};

static void weight_release(struct weight *x)
{
    xc_spill_drop(x->spill, x->w);
    xc_free(x->score);
    *x = (struct weight){ 0 };
}

static enum xc_status weight_load(struct weight *x, const struct xc_prune *p, const struct xc_tensor *t, struct xc_spill *spill, struct xc_err *err)
{
    const size_t bytes = p->saliency == XC_PRUNE_OBS ? 0 : (size_t)xc_prune_units(p, xc_tensor_rows(t), xc_tensor_cols(t)) * sizeof *x->score;
    enum xc_status status;

    *x = (struct weight){ .R = xc_tensor_rows(t), .C = xc_tensor_cols(t), .spill = spill };
    x->score = xc_malloc(bytes);
    status = x->score ? xc_spill_matrix((void **)&x->w, spill, x->R, x->C, sizeof *x->w, false, err) : xc_fail_nomem(err, bytes);
    if (status == XC_OK) status = xc_tensor_to_f32(t, x->w, err);
    for (int64_t i = 0; i < x->R * x->C && status == XC_OK; i++) {
        x->norm2 += (double)x->w[i] * (double)x->w[i];
        if (!isfinite(x->w[i]))
            status = xc_fail(err, XC_E_RANGE, "tensor '%s' is not finite at row %lld, column %lld: pruning has no order for it", t->name, (long long)(i / x->C), (long long)(i % x->C));
    }
    if (status != XC_OK) weight_release(x);
    return status;
}

/* Puts the numbers back, and what was done to them into the report: its error is what this pass changed. */
static enum xc_status weight_store(struct xc_work *w, int32_t t, const struct weight *x, struct xc_err *err)
{
    struct xc_tensor *tensor = w->model->tensors[t];
    struct xc_layer_report *l = &w->layers[t];
    float *before = xc_malloc((size_t)x->C * sizeof *before);
    int64_t zeros = 0;
    double error2 = 0;

    if (!before) return xc_fail_nomem(err, (size_t)x->C * sizeof *before);
    for (int64_t r = 0; r < x->R; r++) {
        const enum xc_status status = xc_tensor_rows_to_f32(tensor, r, 1, before, err);

        if (status != XC_OK) {
            xc_free(before);
            return status;
        }
        for (int64_t c = 0; c < x->C; c++) {
            const float now = x->w[r * x->C + c];
            const double d = (double)now - (double)before[c];

            zeros += now == 0.0f;
            error2 += d * d;
        }
    }
    xc_free(before);
    l->sparsity = (double)zeros / (double)(x->R * x->C);
    l->error = x->norm2 > 0 ? sqrt(error2 / x->norm2) : 0;
    XC_TRY(xc_tensor_set_f32(tensor, x->w, err));
    tensor->enc = w->want[t];
    return xc_work_advance(w, "prune", (double)(x->R * x->C), err);
}

/* ---- magnitude ---- */
static enum xc_status prune_alone(struct xc_work *w, const struct xc_prune *p, const uint8_t *mark, struct xc_err *err)
{
    for (int32_t t = 0; t < w->model->n_tensors; t++) {
        struct weight x;
        enum xc_status status;

        if (!mark[t] || xc_work_resume(w, t)) continue;
        if (xc_random_owner(w->model, t)) XC_TRY(xc_random_centre(w->model, t, err));
        XC_TRY(weight_load(&x, p, w->model->tensors[t], NULL, err));
        xc_prune_layer(x.w, p, NULL, x.score, x.R, x.C);
        status = weight_store(w, t, &x, err);
        weight_release(&x);
        if (status == XC_OK) status = xc_work_keep(w, t, err);
        if (status != XC_OK) return status;
    }
    return XC_OK;
}

/* One threshold for all: the bits of the score where the share lies, found by two passes of counting. */
struct global {
    uint32_t prefix, bits;
    int64_t ties;      /* units with just these bits that go */
    uint64_t *count;   /* 65536 */
};

static enum xc_status count_scores(struct xc_work *w, const struct xc_prune *p, const uint8_t *mark, struct global *g, int half, struct xc_err *err)
{
    memset(g->count, 0, 65536 * sizeof *g->count);
    for (int32_t t = 0; t < w->model->n_tensors; t++) {
        struct weight x;

        if (!mark[t]) continue;
        XC_TRY(weight_load(&x, p, w->model->tensors[t], NULL, err));
        xc_prune_scores(x.score, p, x.w, NULL, x.R, x.C);
        for (int64_t i = 0; i < xc_prune_units(p, x.R, x.C); i++) {
            const uint32_t bits = xc_f32_bits(x.score[i]);

            if (half == 0) g->count[bits >> 16]++;
            else if (bits >> 16 == g->prefix) g->count[bits & 0xFFFF]++;
        }
        weight_release(&x);
    }
    return XC_OK;
}

/* The digit at which `drop` units are reached; *drop becomes how many of that digit go. */
static uint32_t digit_of(const uint64_t *count, int64_t *drop)
{
    uint32_t digit = 0;

    for (; digit < 65535 && (int64_t)count[digit] < *drop; digit++) *drop -= (int64_t)count[digit];
    return digit;
}

static enum xc_status find_global(struct xc_work *w, const struct xc_prune *p, const uint8_t *mark, struct global *g, struct xc_err *err)
{
    int64_t units = 0;

    for (int32_t t = 0; t < w->model->n_tensors; t++)
        if (mark[t]) units += xc_prune_units(p, xc_tensor_rows(w->model->tensors[t]), xc_tensor_cols(w->model->tensors[t]));
    g->ties = (int64_t)floor(p->sparsity * (double)units + 0.5);
    XC_TRY(count_scores(w, p, mark, g, 0, err));
    g->prefix = digit_of(g->count, &g->ties);
    XC_TRY(count_scores(w, p, mark, g, 1, err));
    g->bits = g->prefix << 16 | digit_of(g->count, &g->ties);
    return XC_OK;
}

static enum xc_status prune_global(struct xc_work *w, const struct xc_prune *p, const uint8_t *mark, struct xc_err *err)
{
    struct global g = { .count = xc_malloc(65536 * sizeof *g.count) };
    enum xc_status status = g.count ? find_global(w, p, mark, &g, err) : xc_fail_nomem(err, 65536 * sizeof *g.count);

    for (int32_t t = 0; t < w->model->n_tensors && status == XC_OK; t++) {
        struct weight x;

        if (!mark[t]) continue;
        status = weight_load(&x, p, w->model->tensors[t], NULL, err);
        if (status != XC_OK) break;
        const int64_t units = xc_prune_units(p, x.R, x.C);
        int64_t same = 0;

        xc_prune_scores(x.score, p, x.w, NULL, x.R, x.C);
        for (int64_t i = 0; i < units; i++) same += xc_f32_bits(x.score[i]) == g.bits;
        xc_prune_below(x.w, p, x.score, g.bits, g.ties, x.R, x.C);
        g.ties = xc_max_i64(g.ties - same, 0); /* equals go in the order of tensors */
        status = weight_store(w, t, &x, err);
        weight_release(&x);
    }
    xc_free(g.count);
    return status;
}

/* ---- by calibration texts ---- */
struct front { /* weights in the order in which the texts meet them */
    const struct xc_graph *graph;
    int32_t *tensor, *value;
    int32_t n;
    double bytes; /* of all Hessians */
};

static double hessian_bytes(const struct xc_graph *g, int32_t value) { return 4.0 * (double)g->values[value].cols * (double)g->values[value].cols; }

static enum xc_status front_make(struct front *f, const struct xc_work *w, const uint8_t *mark, struct xc_err *err)
{
    const struct xc_graph *g = f->graph = xc_model_find_graph(w->model, "encode");
    uint8_t *seen = xc_calloc((size_t)w->model->n_tensors + 1 + (size_t)(g ? g->n_values : 0), 1);

    if (!g) {
        xc_free(seen);
        return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode', which calibration texts run through");
    }
    f->tensor = xc_malloc(((size_t)g->n_nodes + 1) * sizeof *f->tensor);
    f->value = xc_malloc(((size_t)g->n_nodes + 1) * sizeof *f->value);
    if (!seen || !f->tensor || !f->value) {
        xc_free(seen);
        return xc_fail_nomem(err, (size_t)g->n_nodes * sizeof *f->tensor);
    }
    for (int32_t n = 0; n < g->n_nodes; n++) { /* of a weight that is used twice, the first use counts */
        const struct xc_node *node = &g->nodes[n];

        if (!is_op(node, "linear") || node->in[1].kind != XC_REF_TENSOR || node->in[0].kind != XC_REF_VALUE || !mark[node->in[1].id] || seen[node->in[1].id]) continue;
        seen[node->in[1].id] = 1;
        f->tensor[f->n] = node->in[1].id;
        f->value[f->n++] = node->in[0].id;
        if (!seen[w->model->n_tensors + node->in[0].id]) f->bytes += hessian_bytes(g, node->in[0].id);
        seen[w->model->n_tensors + node->in[0].id] = 1;
    }
    for (int32_t t = 0; t < w->model->n_tensors; t++)
        if (mark[t] && !seen[t]) {
            xc_free(seen);
            return xc_fail(err, XC_E_UNSUPPORTED, "no calibration text reaches weight '%s': only graph 'encode' is run; leave it out, or prune it by magnitude", w->model->tensors[t]->name);
        }
    xc_free(seen);
    return XC_OK;
}

static enum xc_status prune_informed(struct xc_work *w, int32_t t, const struct xc_prune *p, struct weight *x, const float *h, const float *norm2, struct xc_err *err)
{
    float *side = NULL; /* norms, or the factor */
    enum xc_status status = XC_OK;

    XC_TRY(xc_spill_matrix((void **)&side, x->spill, p->saliency == XC_PRUNE_OBS ? x->C : 1, x->C, sizeof *side, false, err));
    if (p->saliency == XC_PRUNE_OBS) {
        double damp = p->damp;

        status = xc_hessian_inverse_factor(side, h, x->C, &damp, x->spill, err);
        xc_hessian_note(w->layers[t].why, sizeof w->layers[t].why, p->damp, damp);
        if (status == XC_OK) status = xc_prune_obs(x->w, p, side, x->R, x->C, w->opts->pool, err);
    } else {
        for (int64_t c = 0; c < x->C; c++) side[c] = sqrtf(norm2[c]);
        xc_prune_layer(x->w, p, side, x->score, x->R, x->C);
    }
    xc_spill_drop(x->spill, side);
    return status;
}

/* A group is taken from an interrupted run as a whole, or made again as a whole: layers behind the first one see what it became. */
static enum xc_status take_group(bool *taken, struct xc_work *w, const struct front *f, int32_t first, int32_t end, struct xc_err *err)
{
    *taken = true;
    for (int32_t i = first; i < end && *taken; i++) *taken = xc_work_can_resume(w, f->tensor[i]);
    for (int32_t i = first; i < end && *taken; i++)
        if (!xc_work_resume(w, f->tensor[i])) return xc_fail(err, XC_E_IO, "cannot read what an interrupted run left of '%s' (--no-resume starts anew)", w->model->tensors[f->tensor[i]]->name);
    return XC_OK;
}

static enum xc_status prune_one(struct xc_work *w, const struct xc_prune *p, const struct front *f, int32_t i, const struct xc_hessians *h, struct xc_err *err)
{
    const int32_t t = f->tensor[i], v = f->value[i];
    struct weight x;
    enum xc_status status;

    if (!h->norm2[v]) return xc_fail(err, XC_E_UNSUPPORTED, "the calibration texts never reach weight '%s'", w->model->tensors[t]->name);
    XC_TRY(weight_load(&x, p, w->model->tensors[t], h->spill, err));
    status = prune_informed(w, t, p, &x, h->h ? h->h[v] : NULL, h->norm2[v], err);
    if (status != XC_OK) status = xc_fail_at(err, status, "weight '%s'", w->model->tensors[t]->name);
    else status = weight_store(w, t, &x, err);
    weight_release(&x);
    return status == XC_OK ? xc_work_keep(w, t, err) : status; /* and no longer in memory, where that is short */
}

static enum xc_status prune_group(struct xc_work *w, const struct xc_prune *p, const struct front *f, int32_t first, int32_t end, uint8_t *want, struct xc_spill *spill, struct xc_err *err)
{
    struct xc_hessians h;
    enum xc_status status = XC_OK;
    bool taken;

    XC_TRY(take_group(&taken, w, f, first, end, err));
    if (taken) return XC_OK;
    memset(want, XC_HESSIAN_NONE, (size_t)f->graph->n_values);
    for (int32_t i = first; i < end; i++) want[f->value[i]] = p->saliency == XC_PRUNE_OBS ? XC_HESSIAN_FULL : XC_HESSIAN_DIAGONAL;
    XC_TRY(xc_hessians_make(&h, w->model, want, w->texts, w->opts, spill, err));
    for (int32_t i = first; i < end && status == XC_OK; i++) {
        bool later = false;

        status = prune_one(w, p, f, i, &h, err);
        for (int32_t k = i + 1; k < end; k++) later |= f->value[k] == f->value[i];
        if (!later) xc_hessians_drop(&h, f->value[i]);
    }
    xc_hessians_release(&h);
    return status;
}

/* Matrices go to files where those of the widest layer, its moments, two factors and the weight, are more than memory has room for. *limit: bytes of moments of a
 * group, which are held beside them. */
static enum xc_status find_spill(struct xc_spill **spill, double *limit, const struct xc_work *w, const struct xc_prune *p, const struct front *f, char folder[4096], struct xc_err *err)
{
    const uint64_t max_memory = w->opts->max_memory ? w->opts->max_memory : xc_memory_default();
    double most = 0;

    *limit = fmin(fmax(f->bytes / GROUPS, GROUP_LEAST), GROUP_MOST);
    *spill = NULL;
    for (int32_t i = 0; i < f->n && p->saliency == XC_PRUNE_OBS; i++)
        most = fmax(most, 12.0 * pow((double)xc_tensor_cols(w->model->tensors[f->tensor[i]]), 2) + 4.0 * (double)xc_tensor_count(w->model->tensors[f->tensor[i]]));
    if (p->saliency != XC_PRUNE_OBS || !xc_spill_pays(most + fmin(*limit, f->bytes), max_memory) || !xc_side_folder(w->side, folder, 4096)) return XC_OK;
    return xc_spill_new(spill, folder, max_memory / 8, err);
}

static enum xc_status prune_by_texts(struct xc_work *w, const struct xc_prune *p, const struct front *f, struct xc_err *err)
{
    uint8_t *want = xc_malloc((size_t)f->graph->n_values + 1);
    struct xc_spill *spill = NULL;
    char folder[4096];
    double limit = 0;
    enum xc_status status = want ? find_spill(&spill, &limit, w, p, f, folder, err) : xc_fail_nomem(err, (size_t)f->graph->n_values);

    for (int32_t first = 0, end; first < f->n && status == XC_OK; first = end) {
        double bytes = 0;

        for (end = first; end < f->n; end++) { /* linears that read one value stand together, mostly */
            const double more = end > first && f->value[end] == f->value[end - 1] ? 0 : hessian_bytes(f->graph, f->value[end]);

            if (end > first && bytes + more > limit) break;
            bytes += more;
        }
        status = prune_group(w, p, f, first, end, want, spill, err);
    }
    xc_spill_free(&spill);
    xc_free(want);
    return status;
}

static enum xc_status prune_apply(struct xc_work *w, struct xc_err *err)
{
    struct front f = { 0 };
    struct xc_prune p;
    uint8_t *mark;
    enum xc_status status;

    XC_TRY(read_spec(&p, w, err));
    XC_TRY(mark_tensors(w, &mark, false, err));
    w->total = 0;
    for (int32_t t = 0; t < w->model->n_tensors; t++) w->total += mark[t] ? (double)xc_tensor_count(w->model->tensors[t]) : 0;
    if (p.saliency == XC_PRUNE_MAGNITUDE) {
        status = xc_recipe_is(w->spec, "threshold", "global") ? prune_global(w, &p, mark, err) : prune_alone(w, &p, mark, err);
    } else {
        status = front_make(&f, w, mark, err);
        if (status == XC_OK) status = prune_by_texts(w, &p, &f, err);
        xc_free(f.tensor);
        xc_free(f.value);
    }
    xc_free(mark);
    return status;
}

static void prune_forecast(const struct xc_work *w, const struct xc_encoding *was, struct xc_forecast *f)
{
    const bool texts = !xc_recipe_is(w->spec, "saliency", "magnitude"), obs = xc_recipe_is(w->spec, "saliency", "obs");
    double hessians = 0, numbers = 0, walks;

    for (int32_t t = 0; t < w->model->n_tensors; t++) {
        const double C = (double)xc_tensor_cols(w->model->tensors[t]), count = (double)xc_tensor_count(w->model->tensors[t]);

        if (!memcmp(&was[t], &w->want[t], sizeof *was)) continue;
        numbers += count;
        f->toil[XC_TOIL_READ] += 2 * count;
        if (!obs) continue;
        hessians += 4 * C * C;
        f->toil[XC_TOIL_GRAM] += (double)f->tokens * C * C;
        f->toil[XC_TOIL_FACTOR] += C * C * C;
        f->toil[XC_TOIL_OBS] += count * C;
    }
    walks = !texts ? 0 : obs ? ceil(hessians / fmin(fmax(hessians / GROUPS, GROUP_LEAST), GROUP_MOST)) : 1;
    for (int i = 0; i < (int)walks; i++) xc_forecast_walk(f, w->model, NULL, f->tokens);
    xc_forecast_holds(f, 4 * numbers + (texts ? 2 * xc_forecast_f32_bytes(w->model) + hessians / fmax(walks, 1) + xc_forecast_values_bytes(w->model, f->tokens) : 0));
}

const struct xc_pass xc_pass_prune = { .name = "prune", .summary = "zeros in the weights of linears: unstructured, N:M or blocks, by magnitude, Wanda or second order", .options = options,
                                       .plan = prune_plan, .apply = prune_apply, .forecast = prune_forecast };
