/* mixed: pass quantize with format mixed: each weight gets the encoding that a budget for the whole model can afford best.
 *
 * 1. A sensitivity profile (sensitivity.h): the drop of the model's answers when one weight alone has one of the candidate encodings, its input and the
 *    rest as they run then. Weights are rounded as by method search, whatever method will round them in the end: it orders choices, it need not be exact.
 * 2. The choice (knapsack.h): least sum of drops within target_bytes or target_bits, or fewest bytes within target_drop. Plain numbers (f16) are slow, so they
 *    are considered only where a drop cannot be met without them.
 * 3. Drops do not quite add up, so for target_drop the model is measured as a whole, and the choice made again with the bound scaled, until the whole keeps it.
 *
 * A check before the work takes the smallest choices, and says when even they do not fit. A plan measures, unless a pass ahead would change the model
 * first: then the profile is guessed from shapes and the plan says that it is an estimate. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/calibrate/sensitivity.h"
#include "compress/plan/predict.h"
#include "compress/prune/sparse.h"
#include "compress/quantize/knapsack.h"
#include "compress/quantize/quantize.h"
#include "compress/report.h"
#include "runtime/graph/grouped.h"

enum { MOST = 24 /* candidates: no fewer than there are to name */, ROUNDS = 6 /* of choosing again */ };

struct layer {
    int32_t t, first;                /* tensor; the first node that uses it */
    int n, chosen;
    struct xc_encoding enc[MOST];
    uint64_t bytes[MOST];            /* in the file that is wanted, without padding when it is packed */
    double cost[MOST];
};

struct mixed {
    const struct xc_prepare *p;
    struct xc_model *m;              /* a copy, to try things on */
    struct xc_work work;             /* to encode its tensors with */
    struct layer *layers;
    int32_t n;
    double attention;                /* the drop of int8 attention alone */
    double predicted, measured;      /* of the choice; measured -1 = not yet */
};

/* ---- candidates ---- */
/* "int8", "int4/g64", "f16" as an encoding of a weight that int8 would give `base`. */
static struct xc_encoding candidate(const char *text, size_t n, const struct xc_encoding *base, bool zero_point, bool two_level)
{
    static const struct { const char *name; enum xc_format format; } formats[] = { { "int8", XC_FMT_S8 }, { "int7", XC_FMT_S7 }, { "int6", XC_FMT_S6 }, { "int5", XC_FMT_S5 }, { "int4", XC_FMT_S4 }, { "int3", XC_FMT_S3 }, { "int2", XC_FMT_S2 }, { "f16", XC_FMT_F16 } };
    const bool linear = base->layout == XC_LAYOUT_PANEL16;
    struct xc_encoding e = *base;
    const char *slash = memchr(text, '/', n);
    size_t i = 0;

    while (strncmp(formats[i].name, text, slash ? (size_t)(slash - text) : n) != 0) i++; /* the option was checked */
    if (formats[i].format == XC_FMT_S8 && (!slash || !strncmp(slash, "/row", 4))) return e;
    e = (struct xc_encoding){ .format = (uint8_t)(formats[i].format == XC_FMT_S8 ? XC_FMT_G8 : formats[i].format) };
    if (!slash) return e;
    e.layout = linear && formats[i].format == XC_FMT_S4 ? XC_LAYOUT_PANEL16 : XC_LAYOUT_ROWS;
    e.scale_format = two_level ? XC_FMT_S6 : XC_FMT_F16;
    e.group = (int32_t)strtol(slash + 2, NULL, 10);
    e.zero_point = zero_point;
    return e;
}

static enum xc_status add_candidates(struct mixed *x, struct layer *l, const struct xc_encoding *base, struct xc_err *err)
{
    const struct xc_tensor *t = x->m->tensors[l->t];
    const char *text = xc_recipe_get(x->p->spec, "candidates");

    for (const char *end; *text && l->n < MOST; text = *end ? end + 1 : end) {
        struct xc_encoding *e = &l->enc[l->n];
        uint64_t bytes = 0;

        end = text + strcspn(text, ",");
        *e = candidate(text, (size_t)(end - text), base, xc_recipe_is(x->p->spec, "zero_point", "yes"), xc_recipe_is(x->p->spec, "scales", "int6"));
        if (xc_encoding_check(e, xc_tensor_rows(t), xc_tensor_cols(t), NULL) != XC_OK) continue;
        for (int part = 0; part < XC_PART_COUNT; part++) {
            size_t size;

            XC_TRY(xc_encoding_part_bytes(e, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)part, &size, err));
            bytes += size;
        }
        l->bytes[l->n++] = bytes;
    }
    return l->n ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "no candidate is an encoding for tensor '%s'", t->name);
}

/* ---- which weights ---- */
static int32_t first_use(const struct xc_model *m, int32_t t)
{
    const struct xc_graph *g = xc_model_find_graph(m, "encode");

    for (int32_t n = 0; g && n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++)
            if (g->nodes[n].in[i].kind == XC_REF_TENSOR && g->nodes[n].in[i].id == t) return n;
    return -1;
}

static int by_first(const void *a, const void *b)
{
    const struct layer *x = a, *y = b;

    return x->first != y->first ? x->first < y->first ? -1 : 1 : x->t < y->t ? -1 : 1;
}

/* What int8 would treat is what there is to choose for. */
static enum xc_status find_layers(struct mixed *x, struct xc_err *err)
{
    const int32_t n = x->m->n_tensors;
    struct xc_encoding *was = xc_malloc((size_t)n * sizeof *was + 1);
    enum xc_status status = was ? XC_OK : xc_fail_nomem(err, (size_t)n * sizeof *was);

    if (status == XC_OK) memcpy(was, x->work.want, (size_t)n * sizeof *was);
    if (status == XC_OK) status = xc_quantize_scope(&x->work, err);
    x->layers = xc_calloc((size_t)n + 1, sizeof *x->layers);
    if (status == XC_OK && !x->layers) status = xc_fail_nomem(err, (size_t)n * sizeof *x->layers);
    for (int32_t t = 0; t < n && status == XC_OK; t++) {
        struct layer *l = &x->layers[x->n];

        if (was[t].format == XC_FMT_S8 || x->work.want[t].format != XC_FMT_S8) continue;
        *l = (struct layer){ .t = t, .first = first_use(x->m, t) };
        if (l->first < 0) continue; /* of another graph: stays int8 */
        status = add_candidates(x, l, &x->work.want[t], err);
        x->n++;
    }
    xc_free(was);
    if (status != XC_OK) return status;
    if (!x->n) return xc_fail(err, XC_E_UNSUPPORTED, "format mixed has no weight to choose for");
    qsort(x->layers, (size_t)x->n, sizeof *x->layers, by_first);
    return XC_OK;
}

/* ---- the profile ---- */
static void set_node(void *arg, struct xc_graph *g, int32_t node, const struct xc_encoding *enc)
{
    const struct mixed *x = arg;
    struct xc_node *const n = &g->nodes[node];

    if (strcmp(n->op->name, "linear")) return;
    n->in[0].range = !xc_recipe_is(x->p->spec, "activations", "float") && xc_format_traits((enum xc_format)enc->format)->quantized ? xc_quantize_range(g, node) : (struct xc_range){ 0 };
}

/* The tensor of the copy in one encoding, as a variant; the copy has it as it was. */
static enum xc_status encode(struct mixed *x, struct xc_variant *v, int32_t t, const struct xc_encoding *enc, struct xc_err *err)
{
    struct xc_tensor *tensor = x->m->tensors[t];
    struct xc_variant was = { .enc = tensor->enc };
    enum xc_status status;

    *v = (struct xc_variant){ .enc = *enc };
    x->work.want[t] = *enc;
    for (int p = 0; p < XC_PART_COUNT; p++) was.part[p] = xc_buf_ref(tensor->part[p]);
    status = xc_format_traits((enum xc_format)enc->format)->quantized ? xc_quantize_tensor(&x->work, t, err) : xc_cast_tensor(&x->work, t, err);
    if (status == XC_OK)
        for (int p = 0; p < XC_PART_COUNT; p++) v->part[p] = xc_buf_ref(tensor->part[p]);
    if (status == XC_OK) status = xc_tensor_set_encoded(tensor, &was.enc, was.part, err);
    xc_variant_release(&was);
    if (status != XC_OK) xc_variant_release(v);
    return status;
}

static enum xc_status advance(const struct mixed *x, double done, struct xc_err *err)
{
    const struct xc_progress *p = x->p->opts->progress;

    if (p && p->update) p->update(p->arg, "sensitivity", done, (double)x->n);
    if (p && p->cancelled && p->cancelled(p->arg)) return xc_fail(err, XC_E_CANCELLED, "stopped on request");
    return XC_OK;
}

static enum xc_status profile_layer(struct mixed *x, struct layer *l, struct xc_sense *s, struct xc_err *err)
{
    struct xc_variant v[MOST] = { 0 };
    enum xc_status status = XC_OK;

    for (int i = 0; i < l->n && status == XC_OK; i++) {
        status = encode(x, &v[i], l->t, &l->enc[i], err);
        if (status == XC_OK && x->p->opts->small) status = xc_predict_packed(&l->bytes[i], v[i].part, &v[i].enc, err);
    }
    if (status == XC_OK) status = xc_sense_variants(s, l->cost, x->m, l->t, v, l->n, set_node, x, err);
    for (int i = 0; i < l->n; i++) xc_variant_release(&v[i]);
    return status;
}

static bool sets_attention(const struct mixed *x) { return xc_recipe_is(x->p->spec, "attention", "int8") && !x->p->spec->targets.n; }

static void set_attention(struct xc_model *m, bool quantized)
{
    for (int32_t g = 0; g < m->n_graphs; g++)
        for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++) {
            struct xc_node *node = &m->graphs[g]->nodes[n];

            if (!strcmp(node->op->name, "attention") && ((const struct xc_attr_attention *)node->attr)->kind == 0) ((struct xc_attr_attention *)node->attr)->quantized = quantized;
        }
}

static enum xc_status profile(struct mixed *x, struct xc_err *err)
{
    struct xc_sense *s;

    XC_TRY(xc_sense_new(x->p->sense, x->m, x->p->texts, x->p->opts, err));
    s = *x->p->sense;
    if (sets_attention(x)) {
        set_attention(x->m, true);
        XC_TRY(xc_sense_drop(s, &x->attention, x->m, x->p->opts, err));
        set_attention(x->m, false);
    }
    for (int32_t k = 0; k < x->n; k++) {
        XC_TRY(advance(x, (double)k, err));
        XC_TRY(profile_layer(x, &x->layers[k], s, err));
    }
    return advance(x, (double)x->n, err);
}

/* Without measuring: each bit less is four times the error, and all weights count alike. */
static void guess(struct mixed *x)
{
    double all = 0;

    for (int32_t k = 0; k < x->n; k++) all += (double)xc_tensor_count(x->m->tensors[x->layers[k].t]);
    for (int32_t k = 0; k < x->n; k++) {
        struct layer *l = &x->layers[k];
        const double count = (double)xc_tensor_count(x->m->tensors[l->t]);

        for (int i = 0; i < l->n; i++) l->cost[i] = count / all * pow(4, -8.0 * (double)l->bytes[i] / count) * 8;
    }
}

/* ---- sizes ---- */
static uint64_t bytes_of(const struct mixed *x)
{
    uint64_t sum = 0;

    for (int32_t k = 0; k < x->n; k++) sum += x->layers[k].bytes[x->layers[k].chosen];
    return sum;
}

static void publish_choice(const struct mixed *x)
{
    for (int32_t k = 0; k < x->n; k++) x->p->result->sensitivity[k].chosen = x->layers[k].chosen;
}

/* The file with the encodings chosen. */
static enum xc_status file_bytes(struct mixed *x, uint64_t *bytes, struct xc_err *err)
{
    const int32_t n = x->m->n_tensors;
    double *packed = NULL;
    enum xc_status status = XC_OK;

    if (x->p->opts->small && !x->p->check) {
        packed = xc_malloc((size_t)n * sizeof *packed + 1);
        if (!packed) return xc_fail_nomem(err, (size_t)n * sizeof *packed);
        for (int32_t t = 0; t < n; t++) packed[t] = -1;
    }
    for (int32_t k = 0; k < x->n; k++) {
        const struct layer *l = &x->layers[k];

        x->work.want[l->t] = l->enc[l->chosen];
        if (packed) packed[l->t] = (double)l->bytes[l->chosen];
    }
    publish_choice(x);
    status = x->p->size(x->p->size_arg, bytes, x->m, x->work.want, packed, err);
    xc_free(packed);
    return status;
}

/* Bytes of the weights that are not to be chosen for; and the count of all numbers. */
static void rest(const struct mixed *x, double *bytes, double *count)
{
    *bytes = *count = 0;
    for (int32_t t = 0; t < x->m->n_tensors; t++) {
        bool chosen = false;

        for (int32_t k = 0; k < x->n; k++) chosen |= x->layers[k].t == t;
        *count += (double)xc_tensor_count(x->m->tensors[t]);
        for (int p = 0; p < XC_PART_COUNT && !chosen; p++) {
            size_t size;

            if (xc_encoding_part_bytes(&x->work.want[t], xc_tensor_rows(x->m->tensors[t]), xc_tensor_cols(x->m->tensors[t]), (enum xc_part)p, &size, NULL) == XC_OK) *bytes += (double)size;
        }
    }
}

/* ---- the choice ---- */
/* The choices as a knapsack has them. plain: f16 too; else only where a weight has nothing else. item, and map[MOST] for each, from its choices to those of the layer. */
struct items {
    struct xc_knapsack_item *item;
    uint64_t *bytes;
    double *cost;
    int32_t *pick, *map;
};

static void items_release(struct items *s)
{
    xc_free(s->item);
    xc_free(s->bytes);
    xc_free(s->cost);
    xc_free(s->pick);
    xc_free(s->map);
}

static enum xc_status items_make(struct items *s, const struct mixed *x, bool plain, struct xc_err *err)
{
    const size_t n = (size_t)x->n;

    *s = (struct items){ .item = xc_calloc(n, sizeof *s->item), .bytes = xc_calloc(n * MOST, sizeof *s->bytes), .cost = xc_calloc(n * MOST, sizeof *s->cost), .pick = xc_calloc(n, sizeof *s->pick),
                         .map = xc_calloc(n * MOST, sizeof *s->map) };
    if (!s->item || !s->bytes || !s->cost || !s->pick || !s->map) {
        items_release(s);
        return xc_fail_nomem(err, n * MOST * 24);
    }
    for (size_t k = 0; k < n; k++) {
        const struct layer *l = &x->layers[k];
        bool only = true;
        int32_t m = 0;

        for (int i = 0; i < l->n; i++) only &= !xc_format_traits((enum xc_format)l->enc[i].format)->quantized;
        for (int i = 0; i < l->n; i++) {
            if (!plain && !only && !xc_format_traits((enum xc_format)l->enc[i].format)->quantized) continue;
            s->bytes[k * MOST + (size_t)m] = l->bytes[i];
            s->cost[k * MOST + (size_t)m] = l->cost[i];
            s->map[k * MOST + (size_t)m++] = i;
        }
        s->item[k] = (struct xc_knapsack_item){ .n = m, .bytes = s->bytes + k * MOST, .cost = s->cost + k * MOST };
    }
    return XC_OK;
}

static void take(struct mixed *x, const struct items *s)
{
    x->predicted = x->attention;
    for (int32_t k = 0; k < x->n; k++) {
        x->layers[k].chosen = s->map[k * MOST + s->pick[k]];
        x->predicted += x->layers[k].cost[x->layers[k].chosen];
    }
}

static void take_smallest(struct mixed *x)
{
    for (int32_t k = 0; k < x->n; k++) {
        struct layer *l = &x->layers[k];

        l->chosen = 0;
        for (int i = 1; i < l->n; i++)
            if (l->bytes[i] < l->bytes[l->chosen]) l->chosen = i;
    }
}

static enum xc_status choose_bits(struct mixed *x, struct xc_err *err)
{
    const double bits = xc_recipe_number(x->p->spec, "target_bits");
    struct items s;
    double fixed, count;
    enum xc_status status;

    rest(x, &fixed, &count);
    take_smallest(x);
    if ((double)bytes_of(x) + fixed > bits * count / 8)
        return xc_fail(err, XC_E_RANGE, "with the smallest candidate for every weight the model has %.3f bits a weight: target_bits cannot be %g", 8 * ((double)bytes_of(x) + fixed) / count, bits);
    if (x->p->check) return XC_OK;
    XC_TRY(items_make(&s, x, false, err));
    status = xc_knapsack_cost(s.pick, s.item, x->n, (uint64_t)(bits * count / 8 - fixed), 0, err);
    if (status == XC_OK) take(x, &s);
    items_release(&s);
    return status;
}

/* Sections are padded and the manifest names the choice, so the size of the file is not quite a sum: chosen again with less until it fits. A packed file's
 * is known to a thousandth, and rounding in another way packs a little otherwise. */
static enum xc_status choose_bytes(struct mixed *x, struct xc_err *err)
{
    const uint64_t target = xc_recipe_size(x->p->spec, "target_bytes"), goal = x->p->opts->small && !x->p->check ? target - target / 500 : target;
    uint64_t size, budget, least;
    struct items s;
    enum xc_status status;

    take_smallest(x);
    XC_TRY(file_bytes(x, &size, err));
    least = bytes_of(x);
    if (size > goal && !(x->p->opts->small && x->p->check))
        return xc_fail(err, XC_E_RANGE, "with the smallest candidate for every weight the file takes %llu bytes: target_bytes cannot be %llu", (unsigned long long)size, (unsigned long long)target);
    if (x->p->check) return XC_OK;
    XC_TRY(items_make(&s, x, false, err));
    budget = least + (goal - size);
    for (;;) {
        status = xc_knapsack_cost(s.pick, s.item, x->n, budget, 0, err);
        if (status != XC_OK) break;
        take(x, &s);
        status = file_bytes(x, &size, err);
        if (status != XC_OK || size <= goal) break;
        budget = budget - least > size - goal ? budget - (size - goal) : least;
    }
    items_release(&s);
    return status;
}

/* The drop of the copy with all choices. */
static enum xc_status measure_choice(struct mixed *x, double *drop, struct xc_err *err)
{
    struct xc_model *whole = NULL;
    struct xc_graph *g;
    enum xc_status status;

    XC_TRY(xc_model_clone(&whole, x->m, err));
    g = xc_model_find_graph(whole, "encode");
    status = XC_OK;
    for (int32_t k = 0; k < x->n && status == XC_OK; k++) {
        const struct layer *l = &x->layers[k];
        struct xc_variant v;

        status = encode(x, &v, l->t, &l->enc[l->chosen], err);
        if (status != XC_OK) break;
        status = xc_tensor_set_encoded(whole->tensors[l->t], &v.enc, v.part, err);
        xc_variant_release(&v);
        for (int32_t n = 0; n < g->n_nodes; n++)
            for (int32_t i = 0; i < g->nodes[n].n_in; i++)
                if (g->nodes[n].in[i].kind == XC_REF_TENSOR && g->nodes[n].in[i].id == l->t) set_node(x, g, n, &l->enc[l->chosen]);
    }
    if (status == XC_OK && sets_attention(x)) set_attention(whole, true);
    if (status == XC_OK) status = xc_sense_drop(*x->p->sense, drop, whole, x->p->opts, err);
    xc_model_free(&whole);
    return status;
}

static enum xc_status no_drop_fits(const struct mixed *x, double target, double best, struct xc_err *err)
{
    return xc_fail(err, XC_E_RANGE, "with the best candidate for every weight the answers move by a drop of %.3g%s: target_drop cannot be %g", best,
                   x->attention > target ? " (int8 attention alone is above it: set attention to f32)" : "", target);
}

/* The fewest bytes whose drop, measured as a whole, keeps the target: a search for the sum of drops to allow. */
static enum xc_status choose_drop_from(struct mixed *x, bool plain, bool *fits, struct xc_err *err)
{
    const double target = xc_recipe_number(x->p->spec, "target_drop");
    double low = 0, high = INFINITY, bound = target - x->attention, predicted = 0, drop;
    struct items s;
    enum xc_status status;

    *fits = false;
    XC_TRY(items_make(&s, x, plain, err));
    status = XC_OK;
    for (int round = 0; round < ROUNDS && status == XC_OK; round++) {
        struct xc_err none = { 0 };

        status = xc_knapsack_bytes(s.pick, s.item, x->n, bound, 0, &none);
        if (status == XC_E_RANGE && high == INFINITY) break;
        if (status != XC_OK && status != XC_E_RANGE) {
            xc_fail(err, status, "%s", none.msg);
            break;
        }
        drop = 0;
        if (status == XC_OK) {
            take(x, &s);
            status = measure_choice(x, &drop, err);
            if (status != XC_OK) break;
        }
        if (status == XC_OK && drop <= target) {
            *fits = true;
            x->measured = drop;
            predicted = x->predicted;
            publish_choice(x);
            if (drop > 0.97 * target) break;
        }
        if (status == XC_OK && drop > target) high = bound;
        else low = bound;
        status = XC_OK;
        bound *= target / fmax(drop, 1e-12);
        if (!(bound > low && bound < high)) bound = high < INFINITY ? 0.5 * (low + high) : 1.25 * low;
    }
    if (status == XC_E_RANGE) status = XC_OK; /* nothing fits */
    for (int32_t k = 0; k < x->n && *fits; k++) x->layers[k].chosen = x->p->result->sensitivity[k].chosen;
    if (*fits) x->predicted = predicted;
    items_release(&s);
    return status;
}

static enum xc_status choose_drop(struct mixed *x, struct xc_err *err)
{
    const double target = xc_recipe_number(x->p->spec, "target_drop");
    double best = x->attention;
    bool fits;

    take_smallest(x);
    if (x->p->check) return XC_OK;
    for (int plain = 0; plain < 2; plain++) {
        XC_TRY(choose_drop_from(x, plain, &fits, err));
        if (fits) return XC_OK;
    }
    for (int32_t k = 0; k < x->n; k++) {
        double least = x->layers[k].cost[0];

        for (int i = 1; i < x->layers[k].n; i++) least = fmin(least, x->layers[k].cost[i]);
        best += least;
    }
    return no_drop_fits(x, target, best, err);
}

static enum xc_status choose(struct mixed *x, struct xc_err *err)
{
    if (xc_recipe_size(x->p->spec, "target_bytes")) return choose_bytes(x, err);
    return xc_recipe_number(x->p->spec, "target_bits") > 0 ? choose_bits(x, err) : choose_drop(x, err);
}

/* ---- the whole ---- */
static enum xc_status check_options(const struct xc_prepare *p, struct xc_err *err)
{
    const int targets = (xc_recipe_size(p->spec, "target_bytes") > 0) + (xc_recipe_number(p->spec, "target_bits") > 0) + (xc_recipe_number(p->spec, "target_drop") > 0);

    XC_TRY(xc_pass_no_overrides(p->spec, err));
    if (targets != 1) return xc_fail(err, XC_E_ARG, "format mixed needs one of target_bytes, target_bits and target_drop%s", targets ? ", not several" : "");
    if (p->result->n_sensitivity) return xc_fail(err, XC_E_UNSUPPORTED, "a recipe has one pass of format mixed, not several");
    if (!xc_recipe_is(p->spec, "embeddings", "same") || !xc_recipe_is(p->spec, "group", "64"))
        return xc_fail(err, XC_E_UNSUPPORTED, "options 'embeddings' and 'group' are not for format mixed: 'candidates' names the encodings");
    return XC_OK;
}

/* The names, encodings and costs, for the caller, the manifest and plan(). */
static enum xc_status publish(const struct mixed *x, struct xc_err *err)
{
    struct xc_compress_result *r = x->p->result;

    for (int32_t k = 0; k < x->n; k++) {
        const struct layer *l = &x->layers[k];
        struct xc_sensitivity *s = &r->sensitivity[k];

        s->chosen = l->chosen;
        if (!s->name) s->name = xc_strdup(x->m->tensors[l->t]->name);
        if (!s->choices) s->choices = xc_calloc((size_t)l->n, sizeof *s->choices);
        if (!s->name || !s->choices) return xc_fail_nomem(err, sizeof *s->choices * (size_t)l->n);
        s->n_choices = l->n;
        for (int i = 0; i < l->n; i++) {
            s->choices[i] = (struct xc_sensitivity_choice){ .bytes = l->bytes[i], .cost = l->cost[i] };
            xc_encoding_text(&l->enc[i], s->choices[i].encoding, sizeof s->choices[i].encoding);
        }
    }
    r->attention_drop = x->attention;
    r->predicted_drop = x->predicted;
    r->measured_drop = x->measured;
    return XC_OK;
}

static enum xc_status run(struct mixed *x, bool measures, struct xc_err *err)
{
    struct xc_compress_result *r = x->p->result;

    XC_TRY(find_layers(x, err));
    r->sensitivity = xc_calloc((size_t)x->n, sizeof *r->sensitivity);
    if (!r->sensitivity) return xc_fail_nomem(err, (size_t)x->n * sizeof *r->sensitivity);
    r->n_sensitivity = x->n;
    if (measures) XC_TRY(profile(x, err));
    else guess(x);
    XC_TRY(publish(x, err));
    XC_TRY(choose(x, err));
    return publish(x, err);
}

enum xc_status xc_mixed_prepare(const struct xc_prepare *p, struct xc_err *err)
{
    const bool measures = !p->check && !(p->plan_only && p->changed);
    struct xc_compress_opts quiet = *p->opts;
    struct xc_prepare smooth = *p;
    struct mixed x = { .p = p, .measured = -1 };
    int32_t n;
    enum xc_status status;

    XC_TRY(check_options(p, err));
    smooth.plan_only = !measures;
    if (xc_recipe_is(p->spec, "smooth", "awq")) return xc_fail(err, XC_E_UNSUPPORTED, "smooth awq is for one format in groups, not for mixed ones");
    if (!xc_recipe_is(p->spec, "smooth", "no")) XC_TRY(xc_smooth(&smooth, NULL, err));
    if (!measures && !p->check) *p->estimated = true;
    n = p->model->n_tensors;
    quiet.progress = NULL;
    XC_TRY(xc_model_clone(&x.m, p->model, err));
    x.work = (struct xc_work){ .model = x.m, .spec = p->spec, .opts = &quiet, .layers = xc_calloc((size_t)n + 1, sizeof *x.work.layers), .want = xc_calloc((size_t)n + 1, sizeof *x.work.want) };
    status = x.work.layers && x.work.want ? XC_OK : xc_fail_nomem(err, (size_t)n * sizeof *x.work.layers);
    for (int32_t t = 0; t < n && status == XC_OK; t++) x.work.want[t] = t < p->n_want ? p->want[t] : (struct xc_encoding){ .format = XC_FMT_F32 };
    if (status == XC_OK) status = run(&x, measures, err);
    if (*p->sense) xc_sense_stop(*p->sense); /* the copy goes */
    xc_free(x.work.layers);
    xc_free(x.work.want);
    xc_free(x.layers);
    xc_model_free(&x.m);
    return status;
}

/* ---- plan and apply ---- */
enum xc_status xc_mixed_plan(struct xc_work *w, struct xc_err *err)
{
    for (int64_t k = 0; k < w->result->n_sensitivity; k++) {
        const struct xc_sensitivity *s = &w->result->sensitivity[k];
        const struct xc_sensitivity_choice *c = &s->choices[s->chosen];
        const int32_t t = xc_model_find_tensor(w->model, s->name);
        const char *end = c->encoding + strcspn(c->encoding, "+ ");

        if (t < 0 || w->want[t].format != XC_FMT_S8) return xc_fail(err, XC_E_ARG, "tensor '%s' is gone since its encoding was chosen", s->name);
        if (!strncmp(c->encoding, "int8/row", 8)) continue; /* as it is, its zeros too */
        w->want[t] = candidate(c->encoding, (size_t)(end - c->encoding), &w->want[t], xc_recipe_is(w->spec, "zero_point", "yes"), xc_recipe_is(w->spec, "scales", "int6"));
        snprintf(w->layers[t].why, sizeof w->layers[t].why, "chosen of %d for its drop of %.2g", s->n_choices, c->cost);
    }
    return XC_OK;
}

enum xc_status xc_mixed_plain(struct xc_work *w, struct xc_err *err)
{
    for (int64_t k = 0; k < w->result->n_sensitivity; k++) {
        const int32_t t = xc_model_find_tensor(w->model, w->result->sensitivity[k].name);

        if (t >= 0 && !xc_format_traits((enum xc_format)w->want[t].format)->quantized) XC_TRY(xc_cast_tensor(w, t, err));
    }
    return XC_OK;
}

enum xc_status xc_mixed_finish(struct xc_work *w, struct xc_err *err)
{
    const double target = xc_recipe_number(w->spec, "target_drop");

    XC_TRY(xc_sense_drop(w->sense, &w->result->measured_drop, w->model, w->opts, err));
    if (!(target > 0) || w->result->measured_drop <= target) return XC_OK;
    return xc_fail(err, XC_E_RANGE, "the answers move by a drop of %.4g once all is done, %.4g was foreseen: target_drop %g is not kept; set it a little lower, or activations to row",
                   w->result->measured_drop, w->result->predicted_drop, target);
}
