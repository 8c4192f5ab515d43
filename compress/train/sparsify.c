/* sparsify: see sparsify.h. */
#include "compress/train/sparsify.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/half.h"
#include "runtime/graph/op.h"

#define BLOCK 16384 /* numbers of an item */

enum kind { MAGNITUDE = 0, MOVEMENT, KEEP };

struct part { /* a weight */
    int32_t tensor, param;
    int64_t R, C, at, units_at; /* its place among all numbers, and all units */
    struct xc_encoding was;
    float *p;
    int64_t grad_at;
};

struct xc_sparsify {
    struct xc_sparsify_opts opts;
    enum kind kind;
    struct xc_prune shape;       /* with the share in the end */
    int64_t first, last, every;  /* steps */
    struct part *part;
    int32_t n;
    int64_t numbers, units, largest;
    uint8_t *state;              /* what follows, in one piece */
    uint8_t *mask;               /* (numbers) 1 = lives */
    float *score, *dense;        /* (numbers) movement: S; weights behind the masks */
    float *unit;                 /* (units) scratch: what each is worth */
    float *ones;                 /* (threads, largest) scratch */
    struct item { int32_t part; int64_t first, n; } *item;
    int64_t n_items;
};

void xc_sparsify_free(struct xc_sparsify **out)
{
    struct xc_sparsify *s = *out;

    *out = NULL;
    if (!s) return;
    xc_free(s->part);
    xc_free(s->state);
    xc_free(s->unit);
    xc_free(s->ones);
    xc_free(s->item);
    xc_free(s);
}

double xc_sparsify_share(int64_t step, int64_t begin, int64_t end, double final)
{
    double left;

    if (step >= end) return final;
    if (step <= begin) return 0;
    left = 1 - (double)(step - begin) / (double)(end - begin);
    return final * (1 - left * left * left);
}

/* ---- what to do ---- */
static bool number(const char **at, char until, double *x)
{
    char *end;

    *x = strtod(*at, &end);
    if (end == *at || *end != until) return false;
    *at = end + (until != 0);
    return true;
}

/* "0.9", "2:4", "0.75@16x4" */
static bool read_amount(struct xc_prune *p, const char *text)
{
    const char *at = text;
    double a, b, c;

    if (strchr(text, ':')) {
        if (!number(&at, ':', &a) || !number(&at, 0, &b) || a != floor(a) || b != floor(b) || !(a >= 1 && a < b && b <= 64)) return false;
        *p = (struct xc_prune){ .pattern = XC_PRUNE_NM, .n = (int32_t)a, .m = (int32_t)b, .sparsity = 1 - a / b };
        return true;
    }
    if (strchr(text, '@')) {
        if (!number(&at, '@', &a) || !number(&at, 'x', &b) || !number(&at, 0, &c) || b != floor(b) || c != floor(c) || !(b >= 1 && b <= 1024) || !(c >= 1 && c <= 1024)) return false;
        *p = (struct xc_prune){ .pattern = XC_PRUNE_BLOCK, .block_rows = (int32_t)b, .block_cols = (int32_t)c, .sparsity = a };
    } else {
        if (!number(&at, 0, &a)) return false;
        *p = (struct xc_prune){ .pattern = XC_PRUNE_UNSTRUCTURED, .sparsity = a };
    }
    return a >= 0 && a <= 0.999;
}

static enum xc_status read_opts(struct xc_sparsify *s, struct xc_err *err)
{
    static const char *const kinds[] = { "magnitude=", "movement=" };
    const struct xc_sparsify_opts *o = &s->opts;
    size_t k = 0;

    if (!(o->begin >= 0 && o->begin <= o->end && o->end <= 1)) return xc_fail(err, XC_E_RANGE, "pruning goes from %g to %g of the updates: 0 <= begin <= end <= 1 must hold", o->begin, o->end);
    if (!strcmp(o->prune, "keep")) {
        s->kind = KEEP;
        return XC_OK;
    }
    while (k < XC_ARRAY_LEN(kinds) && strncmp(o->prune, kinds[k], strlen(kinds[k])) != 0) k++;
    if (k == XC_ARRAY_LEN(kinds) || !read_amount(&s->shape, o->prune + strlen(kinds[k])))
        return xc_fail(err, XC_E_ARG, "'%s' is no way to prune: magnitude=AMOUNT or movement=AMOUNT with a share up to 0.999 (0.9), n of m kept (2:4) or a share of blocks (0.75@16x4); or keep", o->prune);
    s->kind = (enum kind)k;
    if (s->kind == MOVEMENT && o->end == 0) return xc_fail(err, XC_E_ARG, "movement pruning learns what goes: it cannot end before the first update");
    if (o->global && s->shape.pattern == XC_PRUNE_NM) return xc_fail(err, XC_E_ARG, "%d of every %d stay: there is no threshold over all layers", s->shape.n, s->shape.m);
    return XC_OK;
}

/* ---- what is pruned ---- */
static bool is_output(const struct xc_graph *g, int32_t value)
{
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == value) return true;
    return false;
}

/* Only linears on tokens use it, as their weight, and one of them at least does not answer. */
static bool prunable(const struct xc_graph *g, int32_t tensor)
{
    bool inside = false;

    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];

        for (int32_t i = 0; i < node->n_in; i++) {
            if (node->in[i].kind != XC_REF_TENSOR || node->in[i].id != tensor) continue;
            if (i != 1 || strcmp(node->op->name, "linear") != 0 || g->spaces[g->values[node->out[0]].space].map == XC_MAP_SEQUENCE || is_output(g, node->out[0])) return false;
            inside = true;
        }
    }
    return inside && g->model->tensors[tensor]->rank == 2;
}

static enum xc_status find_parts(struct xc_sparsify *s, const struct xc_graph *g, const bool *trained, const bool *ignored, struct xc_err *err)
{
    const struct xc_model *m = g->model;

    s->part = xc_calloc((size_t)m->n_tensors + 1, sizeof *s->part);
    if (!s->part) return xc_fail_nomem(err, (size_t)m->n_tensors * sizeof *s->part);
    for (int32_t t = 0; t < m->n_tensors; t++) {
        const struct xc_tensor *tensor = m->tensors[t];
        struct part *x = &s->part[s->n];

        if (!trained[t] || (ignored && ignored[t]) || !prunable(g, t)) continue;
        *x = (struct part){ .tensor = t, .R = xc_tensor_rows(tensor), .C = xc_tensor_cols(tensor), .at = s->numbers, .units_at = s->units, .was = tensor->enc };
        s->numbers += x->R * x->C;
        s->units += s->kind == KEEP ? 0 : xc_prune_units(&s->shape, x->R, x->C);
        s->n_items += xc_div_up(x->R * x->C, BLOCK);
        s->largest = xc_max_i64(s->largest, x->R * x->C);
        s->n++;
    }
    return s->n ? XC_OK : xc_fail(err, XC_E_ARG, "nothing to prune: every linear inside the model is frozen or left out");
}

enum xc_status xc_sparsify_new(struct xc_sparsify **out, const struct xc_graph *g, const bool *trained, const bool *ignored, const struct xc_sparsify_opts *opts, struct xc_err *err)
{
    struct xc_sparsify *s = xc_calloc(1, sizeof *s);
    enum xc_status status;

    *out = NULL;
    if (!s) return xc_fail_nomem(err, sizeof *s);
    s->opts = *opts;
    status = read_opts(s, err);
    if (status == XC_OK) status = find_parts(s, g, trained, ignored, err);
    if (status != XC_OK) xc_sparsify_free(&s);
    *out = s;
    return status;
}

/* ---- every number ---- */
struct job {
    struct xc_sparsify *s;
    float *grad;      /* of all parameters */
    double share;
    uint32_t bits;    /* global threshold, and how many units with just these bits go before each part */
    const int64_t *ties;
};

static void gradients_item(void *arg, int64_t i, int thread)
{
    const struct job *j = arg;
    struct xc_sparsify *s = j->s;
    const struct item *item = &s->item[i];
    const struct part *x = &s->part[item->part];
    const uint8_t *mask = s->mask + x->at + item->first;
    float *g = j->grad + x->grad_at + item->first, *p = x->p + item->first;

    (void)thread;
    if (s->kind == MOVEMENT) {
        float *score = s->score + x->at + item->first;
        const float *dense = s->dense + x->at + item->first;

        for (int64_t k = 0; k < item->n; k++) { /* the update sees the weights behind the masks */
            p[k] = dense[k];
            score[k] -= g[k] * p[k];
        }
    }
    for (int64_t k = 0; k < item->n; k++)
        if (!mask[k]) g[k] = 0;
}

static void weights_item(void *arg, int64_t i, int thread)
{
    const struct job *j = arg;
    struct xc_sparsify *s = j->s;
    const struct item *item = &s->item[i];
    const struct part *x = &s->part[item->part];
    const uint8_t *mask = s->mask + x->at + item->first;
    float *p = x->p + item->first;

    (void)thread;
    if (s->kind == MOVEMENT) memcpy(s->dense + x->at + item->first, p, (size_t)item->n * sizeof *p);
    for (int64_t k = 0; k < item->n; k++)
        if (!mask[k]) p[k] = 0;
}

/* ---- the choice ---- */
/* A float whose bits are in the order of any float: selection goes by bits. */
static float ordered(float x)
{
    const uint32_t bits = xc_f32_bits(x), key = bits >> 31 ? ~bits : bits | 0x80000000u;
    float out;

    memcpy(&out, &key, sizeof out);
    return out;
}

static void score_blocks(const struct xc_sparsify *s, const struct part *x, float *unit)
{
    const int64_t rows = s->shape.block_rows, cols = s->shape.block_cols, across = xc_div_up(x->C, cols);
    const float *score = s->score + x->at;

    for (int64_t u = 0; u < xc_prune_units(&s->shape, x->R, x->C); u++) {
        const int64_t r0 = u / across * rows, c0 = u % across * cols, r1 = xc_min_i64(r0 + rows, x->R), c1 = xc_min_i64(c0 + cols, x->C);
        double sum = 0;

        for (int64_t r = r0; r < r1; r++)
            for (int64_t c = c0; c < c1; c++) sum += (double)score[r * x->C + c];
        unit[u] = ordered((float)(sum / (double)((r1 - r0) * (c1 - c0))));
    }
}

/* What each unit is worth. Magnitude: what lives is worth more than what is masked, even if it is zero. */
static void score_part(void *arg, int64_t i, int thread)
{
    const struct job *j = arg;
    const struct xc_sparsify *s = j->s;
    const struct part *x = &s->part[i];
    const int64_t units = xc_prune_units(&s->shape, x->R, x->C);
    const uint8_t *mask = s->mask + x->at;
    float *unit = s->unit + x->units_at;

    (void)thread;
    if (s->kind == MOVEMENT && s->shape.pattern == XC_PRUNE_BLOCK) {
        score_blocks(s, x, unit);
    } else if (s->kind == MOVEMENT) {
        for (int64_t k = 0; k < units; k++) unit[k] = s->shape.pattern == XC_PRUNE_NM ? s->score[x->at + k] : ordered(s->score[x->at + k]);
    } else {
        const int64_t across = s->shape.pattern == XC_PRUNE_BLOCK ? xc_div_up(x->C, s->shape.block_cols) : 0;

        xc_prune_scores(unit, &s->shape, x->p, NULL, x->R, x->C);
        for (int64_t k = 0; k < units; k++) {
            const bool lives = mask[across ? k / across * s->shape.block_rows * x->C + k % across * s->shape.block_cols : k];

            unit[k] = !lives ? 0 : unit[k] < FLT_MIN ? FLT_MIN : unit[k]; /* the optimizer's momentum moves masked weights too */
        }
    }
}

static void choose_part(void *arg, int64_t i, int thread)
{
    const struct job *j = arg;
    struct xc_sparsify *s = j->s;
    const struct part *x = &s->part[i];
    const float *unit = s->unit + x->units_at;
    const int64_t n = x->R * x->C, units = xc_prune_units(&s->shape, x->R, x->C);
    float *ones = s->ones + thread * s->largest;

    for (int64_t k = 0; k < n; k++) ones[k] = 1;
    if (s->shape.pattern == XC_PRUNE_NM) {
        const int32_t keep = s->shape.m - (int32_t)floor(j->share * s->shape.m + 0.5);

        xc_prune_groups(ones, unit, x->R, x->C, keep > s->shape.n ? keep : s->shape.n, s->shape.m);
    } else if (s->opts.global) {
        xc_prune_below(ones, &s->shape, unit, j->bits, j->ties[i], x->R, x->C);
    } else {
        const int64_t drop = (int64_t)floor(j->share * (double)units + 0.5);
        int64_t smaller;

        if (drop > 0) {
            const uint32_t bits = xc_prune_kth(unit, units, xc_min_i64(drop, units) - 1, &smaller);

            xc_prune_below(ones, &s->shape, unit, bits, drop - smaller, x->R, x->C);
        }
    }
    for (int64_t k = 0; k < n; k++) s->mask[x->at + k] = ones[k] > 0;
}

/* Equals at the threshold go in the order of tensors. */
static void share_ties(const struct xc_sparsify *s, uint32_t bits, int64_t ties, int64_t *left)
{
    for (int32_t i = 0; i < s->n; i++) {
        const int64_t units = xc_prune_units(&s->shape, s->part[i].R, s->part[i].C);

        left[i] = ties;
        for (int64_t k = 0; k < units && ties > 0; k++) ties -= xc_f32_bits(s->unit[s->part[i].units_at + k]) == bits;
    }
}

static void choose(struct xc_sparsify *s, int64_t step, struct xc_pool *pool)
{
    struct job j = { .s = s, .share = xc_sparsify_share(step, s->first, s->last, s->shape.sparsity) };
    const int64_t drop = (int64_t)floor(j.share * (double)s->units + 0.5);

    xc_pool_run(pool, score_part, &j, s->n);
    if (s->opts.global) {
        int64_t *left = (int64_t *)(void *)(s->item + s->n_items), smaller = 0;

        if (drop > 0) j.bits = xc_prune_kth(s->unit, s->units, drop - 1, &smaller);
        share_ties(s, j.bits, drop - smaller, left);
        j.ties = left;
    }
    xc_pool_run(pool, choose_part, &j, s->n);
}

static bool due(const struct xc_sparsify *s, int64_t step)
{
    if (s->kind == KEEP || step < s->first || (s->kind == MAGNITUDE && step > s->last)) return false;
    return step == s->last || (step - s->first) % s->every == 0;
}

void xc_sparsify_gradients(struct xc_sparsify *s, struct xc_params *params, struct xc_pool *pool)
{
    struct job j = { .s = s, .grad = params->grad };

    xc_pool_run(pool, gradients_item, &j, s->n_items);
}

void xc_sparsify_weights(struct xc_sparsify *s, struct xc_params *params, int64_t step, struct xc_pool *pool)
{
    struct job j = { .s = s, .grad = params->grad };

    if (due(s, step)) choose(s, step, pool);
    xc_pool_run(pool, weights_item, &j, s->n_items);
}

bool xc_sparsify_settled(const struct xc_sparsify *s, int64_t step) { return s->kind == KEEP || step >= s->last; }

/* ---- beginning and end ---- */
static enum xc_status allocate(struct xc_sparsify *s, struct xc_params *params, struct xc_pool *pool, struct xc_err *err)
{
    const size_t mask = (size_t)xc_round_up(s->numbers, 64), floats = s->kind == MOVEMENT ? 2 * (size_t)s->numbers * sizeof(float) : 0;

    s->state = xc_alloc_aligned(mask + floats);
    s->item = xc_calloc((size_t)s->n_items * sizeof *s->item + (size_t)s->n * sizeof(int64_t), 1); /* and room for the ties of each part */
    if (s->kind != KEEP) {
        s->unit = xc_malloc((size_t)s->units * sizeof *s->unit);
        s->ones = xc_malloc((size_t)(s->largest * xc_pool_threads(pool)) * sizeof *s->ones);
    }
    if (!s->state || !s->item || (s->kind != KEEP && (!s->unit || !s->ones))) return xc_fail_nomem(err, mask + floats);
    memset(s->state, 0, mask + floats);
    s->mask = s->state;
    if (floats) {
        s->score = (float *)(void *)(s->state + mask);
        s->dense = s->score + s->numbers;
    }
    params->extra = s->state;
    params->extra_bytes = mask + floats;
    return XC_OK;
}

static void make_items(struct xc_sparsify *s)
{
    int64_t n = 0;

    for (int32_t i = 0; i < s->n; i++)
        for (int64_t first = 0; first < s->part[i].R * s->part[i].C; first += BLOCK)
            s->item[n++] = (struct item){ .part = i, .first = first, .n = xc_min_i64(BLOCK, s->part[i].R * s->part[i].C - first) };
}

enum xc_status xc_sparsify_bind(struct xc_sparsify *s, struct xc_params *params, int64_t total_steps, struct xc_pool *pool, struct xc_err *err)
{
    int64_t zeros = 0;

    XC_TRY(allocate(s, params, pool, err));
    make_items(s);
    s->first = (int64_t)floor(s->opts.begin * (double)total_steps + 0.5);
    s->last = xc_max_i64((int64_t)floor(s->opts.end * (double)total_steps + 0.5), s->kind == MOVEMENT);
    s->every = s->opts.every ? s->opts.every : xc_max_i64(1, total_steps / 100);
    for (int32_t i = 0; i < s->n; i++) {
        struct part *x = &s->part[i];

        for (int32_t k = 0; k < params->n; k++)
            if (params->param[k].tensor == x->tensor) x->param = k;
        x->p = params->param[x->param].p;
        x->grad_at = params->param[x->param].at;
        for (int64_t k = 0; k < x->R * x->C; k++) {
            s->mask[x->at + k] = s->kind != KEEP || x->p[k] != 0;
            zeros += !s->mask[x->at + k];
        }
        if (s->dense) memcpy(s->dense + x->at, x->p, (size_t)(x->R * x->C) * sizeof *x->p);
    }
    if (s->kind == KEEP && !zeros) return xc_fail(err, XC_E_ARG, "there are no zeros to keep: prune the model first");
    xc_sparsify_weights(s, params, 0, pool);
    return XC_OK;
}

void xc_sparsify_finish(const struct xc_sparsify *s, struct xc_model *m)
{
    for (int32_t i = 0; i < s->n; i++) {
        const struct part *x = &s->part[i];
        struct xc_encoding *enc = &m->tensors[x->tensor]->enc;

        if (s->kind != KEEP) {
            *enc = xc_prune_encoding(&s->shape, s->opts.global, x->R, x->C);
        } else { /* the file may have said more than that there are zeros somewhere */
            *enc = (struct xc_encoding){ .format = XC_FMT_F32, .structure = x->was.structure, .n = x->was.n, .m = x->was.m, .block_rows = x->was.block_rows, .block_cols = x->was.block_cols };
            if (enc->structure == XC_STRUCT_DENSE) enc->structure = XC_STRUCT_COMPACT;
        }
    }
}

double xc_sparsify_zeros(const struct xc_sparsify *s)
{
    int64_t zeros = 0;

    for (int32_t i = 0; i < s->n; i++)
        for (int64_t k = 0; k < s->part[i].R * s->part[i].C; k++) zeros += s->part[i].p[k] == 0;
    return (double)zeros / (double)s->numbers;
}

bool xc_sparsify_look(const struct xc_sparsify *s, int32_t i, int32_t *tensor, const uint8_t **mask, const float **scores)
{
    if (i >= s->n) return false;
    *tensor = s->part[i].tensor;
    *mask = s->mask + s->part[i].at;
    *scores = s->score ? s->score + s->part[i].at : NULL;
    return true;
}
