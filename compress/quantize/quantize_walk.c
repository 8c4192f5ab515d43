/* quantize_walk: see quantize_walk.h. With calibration texts both models, as the pass found it and as it is so far, walk through the graph side
 * by side. At every value that linears with such weights read they stop:
 *   moments   H = X^T X of what the model so far gives, a column of ones beside it for the bias; a text of n rows counts as sqrt(n)
 *   fit       weights and bias go to the least squares of what the linear gave before (with the residual behind it, which has errors too):
 *             each layer makes up for those before it. Frantar et al. 2022 round on such inputs; the fit is shrink.c's
 *   round     nearest, search or GPTQ; GPTQ on H without the mean, since the bias takes what is constant
 *   bias      takes the mean of the rounding's error (Nagel et al. 2019, arXiv:1906.04721)
 * So texts run once through either model, and one batch's values are held beside those that are still to be read.
 *
 * Where memory is short (xc_memory_is_short), values that are still to be read lie in a file, and weights are in memory from the walk's last place to
 * its next: those of one layer's linears, or of about as many numbers as the largest tensor has. What remains is the moments: K x K a stop, a few times; where those are more than half of what is
 * allowed, they lie in files (spill.h), and the numbers are the same. */
#include "compress/quantize/quantize_walk.h"

#include <math.h>
#include <string.h>

#include "compress/attention/random_matrix.h"
#include "compress/calibrate/hessian.h"
#include "compress/calibrate/replay.h"
#include "compress/file/side.h"
#include "compress/file/spill.h"
#include "compress/limits.h"
#include "compress/quantize/quantize_grouped.h"
#include "compress/quantize/quantize_table.h"
#include "compress/ranks.h"
#include "compress/shrink/least_squares.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/grouped.h"

enum { MOST_READERS = 16 };

static bool is_op(const struct xc_node *node, const char *op) { return !strcmp(node->op->name, op); }
static bool option(const struct xc_work *w, const char *name, const char *value) { return xc_recipe_is(w->spec, name, value); }

static bool is_due(const struct xc_work *w, int32_t t)
{
    const struct xc_tensor *tensor = w->model->tensors[t];

    return xc_is_grouped(&w->want[t]) && !(tensor->part[XC_PART_DATA] && xc_is_grouped(&tensor->enc));
}

/* ---- one weight ---- */
/* What is known of the inputs of a linear. */
struct inputs {
    const struct xc_gptq_moments *moments; /* without the mean where a bias takes it; NULL = GPTQ is not wanted */
    const float *norm2; /* (K) mean squares */
    struct xc_spill *spill; /* where matrices lie; NULL = in memory */
};

/* How much each input counts: its squared norm, and a little for those that the texts do not reach. */
static enum xc_status input_weights(float **out, const float *norm2, int64_t K, struct xc_err *err)
{
    double mean = 0;

    *out = NULL;
    for (int64_t k = 0; k < K; k++) mean += (double)norm2[k] / (double)K;
    if (!(mean > 0)) return XC_OK;
    *out = xc_malloc((size_t)K * sizeof **out);
    if (!*out) return xc_fail_nomem(err, (size_t)K * sizeof **out);
    for (int64_t k = 0; k < K; k++) (*out)[k] = (float)((double)norm2[k] / mean + 0.01);
    return XC_OK;
}

static enum xc_status round_weight(struct xc_work *w, int32_t t, const struct inputs *in, struct xc_err *err)
{
    const struct xc_encoding *e = &w->want[t];
    const int64_t K = xc_tensor_cols(w->model->tensors[t]);
    struct xc_grouped_how how = { .lowbit = { .bits = xc_format_traits((enum xc_format)e->format)->bits, .affine = e->zero_point, .two_level = e->scale_format == XC_FMT_S6, .search = !option(w, "method", "nearest"),
                                              .ternary = e->format == XC_FMT_S2 && option(w, "format", "ternary") } };
    struct xc_gptq gptq = { 0 };
    float *weight = NULL;
    enum xc_status status = in ? input_weights(&weight, in->norm2, K, err) : XC_OK;

    how.weight = weight;
    const double asked = xc_recipe_number(w->spec, "damp");
    double damp = asked;

    if (status == XC_OK && weight && in->moments) {
        status = xc_gptq_init(&gptq, in->moments, weight, K, e->group, &damp, option(w, "act_order", "yes"), in->spill, err);
        how.gptq = &gptq;
    }
    if (status == XC_OK) status = xc_quantize_grouped(w, t, &how, err);
    if (status == XC_OK) xc_hessian_note(w->layers[t].why, sizeof w->layers[t].why, asked, damp);
    xc_gptq_release(&gptq);
    xc_free(weight);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "tensor '%s'", w->model->tensors[t]->name);
}

/* Without texts. One that an interrupted run finished is taken from there. */
static enum xc_status finish_weight(struct xc_work *w, int32_t t, struct xc_err *err)
{
    if (xc_work_resume(w, t)) return XC_OK;
    XC_TRY(round_weight(w, t, NULL, err));
    return xc_work_keep(w, t, err);
}

enum xc_status xc_quantize_alone(struct xc_work *w, int32_t t, struct xc_err *err) { return round_weight(w, t, NULL, err); }

/* ---- where the walk stops ---- */
/* A linear whose weight is due. */
struct reader {
    int32_t node, weight;
    int32_t bias;          /* tensor that is its own and f32; -1 */
    int32_t add, residual; /* the sum that its output goes into alone, and the value it is added to; -1 */
    int64_t N;
    float *cross;          /* (k,N): X^T T */
};

/* A value that such linears read. */
struct stop {
    int32_t value, first, last; /* the first reader; the last node that a target needs */
    struct reader reader[MOST_READERS];
    int n;
    int64_t K, k;        /* inputs; with the column of ones */
    float *gram;         /* (k,k), upper triangle, then both */
    int64_t rows;
    struct xc_spill *spill; /* where its matrices lie, when memory is short for them; else NULL */
};

struct walk {
    struct xc_work *w;
    const struct xc_uses *uses;
    struct xc_graph *g, *g0; /* so far; as it was */
    struct xc_replay replay;
    struct xc_frontier now, was;
    struct xc_run *run_now, *run_was;
    float *seen, *given;     /* one batch; of another rank */
    int64_t cap_seen, cap_given;
    bool fit, correct;
    bool lean;               /* memory is short */
    const char *folder;      /* for what does not fit then; NULL = there is none */
    char folder_room[4096];
    struct xc_spill *spill;  /* once a stop asked for it */
};

/* The sum that alone reads value v, and its other side, made before node `before`. */
static void find_sum(struct reader *r, const struct xc_graph *g, int32_t v, int32_t before)
{
    r->add = r->residual = -1;
    if (xc_surgery_value_uses(g, v) != 1) return;
    for (int32_t n = r->node + 1; n < g->n_nodes; n++)
        for (int32_t side = 0; side < 2 && is_op(&g->nodes[n], "add"); side++) {
            const struct xc_ref *other = &g->nodes[n].in[1 - side];

            if (g->nodes[n].in[side].kind != XC_REF_VALUE || g->nodes[n].in[side].id != v || other->kind != XC_REF_VALUE) continue;
            if (g->values[other->id].node < 0 || g->values[other->id].node >= before || g->values[other->id].space != g->values[v].space) continue;
            r->add = n;
            r->residual = other->id;
        }
}

/* All due linears on `value`, from node `first` on. */
static void make_stop(struct stop *s, const struct walk *k, int32_t value, int32_t first)
{
    const struct xc_graph *g = k->g;

    *s = (struct stop){ .value = value, .first = first, .last = first, .K = g->values[value].cols };
    for (int32_t n = first; n < g->n_nodes && s->n < MOST_READERS; n++) {
        const struct xc_node *node = &g->nodes[n];
        struct reader *r = &s->reader[s->n];

        if (!is_op(node, "linear") || node->in[0].kind != XC_REF_VALUE || node->in[0].id != value || node->in[1].kind != XC_REF_TENSOR || !is_due(k->w, node->in[1].id)) continue;
        *r = (struct reader){ .node = n, .weight = node->in[1].id, .bias = -1, .N = xc_tensor_rows(g->model->tensors[node->in[1].id]) };
        if (node->n_in > 2 && node->in[2].kind == XC_REF_TENSOR && xc_surgery_tensor_uses(g->model, node->in[2].id) == 1 && g->model->tensors[node->in[2].id]->enc.format == XC_FMT_F32)
            r->bias = node->in[2].id;
        find_sum(r, g, node->out[0], first);
        if (k->uses->first[r->weight + 1] - k->uses->first[r->weight] > 1) { /* others read the weight, too: it stays what it is */
            r->bias = r->add = -1;
        }
        s->last = n > s->last ? n : s->last;
        s->last = k->fit && r->add > s->last ? r->add : s->last;
        s->n++;
    }
    s->k = s->K + 1;
}

static enum xc_status room(float **p, int64_t *cap, int64_t n, struct xc_err *err)
{
    if (n <= *cap) return XC_OK;
    xc_free(*p);
    *cap = 0;
    *p = xc_alloc_aligned((size_t)n * sizeof **p);
    if (!*p) return xc_fail_nomem(err, (size_t)n * sizeof **p);
    *cap = n;
    return XC_OK;
}

/* The square root of what a row weighs: a text of n rows counts as sqrt(n), between counting rows (the longest texts decide) and counting texts
 * (long ones go astray). */
static void row_weights(float *weight, const struct xc_view *x)
{
    for (int64_t r = 0; r < x->rows; r++) weight[r] = 1;
    for (int32_t i = 0; x->rag && i < x->rag->n_seq && x->rag->start[x->rag->n_seq] == x->rows; i++)
        for (int32_t r = x->rag->start[i]; r < x->rag->start[i + 1]; r++) weight[r] = sqrtf(sqrtf(1.0f / (float)(x->rag->start[i + 1] - x->rag->start[i])));
}

/* What reader r gave, less what the residual behind it has to lose. */
static void make_target(float *t, const struct walk *k, const struct reader *r, const float *weight, int64_t rows)
{
    const float *was = k->run_was->views[k->g0->nodes[r->add >= 0 ? r->add : r->node].out[0]].data;
    const float *now = r->add >= 0 ? k->run_now->views[r->residual].data : NULL;

    for (int64_t i = 0; i < rows; i++)
        for (int64_t c = 0; c < r->N; c++) t[i * r->N + c] = weight[i] * (was[i * r->N + c] - (now ? now[i * r->N + c] : 0));
}

/* Numbers that `rows` rows of a stop take: inputs, and the targets of its readers behind them. */
static int64_t seen_numbers(const struct walk *k, const struct stop *s, int64_t rows)
{
    int64_t width = s->k;

    for (int i = 0; i < s->n && k->fit; i++) width += s->reader[i].N;
    return rows * width;
}

/* What batch b gives, in k->seen. */
static enum xc_status see_batch(struct walk *k, const struct stop *s, int64_t b, int64_t *rows, struct xc_err *err)
{
    const struct xc_view *x;
    float *weight, *target;

    if (k->fit) XC_TRY(xc_frontier_run(&k->was, &k->replay, k->run_was, k->g0, b, s->last + 1, err));
    XC_TRY(xc_frontier_run(&k->now, &k->replay, k->run_now, k->g, b, s->first, err));
    x = &k->run_now->views[s->value];
    *rows = x->rows;
    XC_TRY(room(&k->seen, &k->cap_seen, seen_numbers(k, s, x->rows) + x->rows, err));
    target = k->seen + x->rows * s->k;
    weight = k->seen + seen_numbers(k, s, x->rows);
    row_weights(weight, x);
    for (int64_t r = 0; r < x->rows; r++) {
        for (int64_t c = 0; c < s->K; c++) {
            const float v = ((const float *)x->data)[r * s->K + c];

            if (!isfinite(v)) return xc_fail(err, XC_E_RANGE, "the calibration texts make an input of '%s' that is not finite", k->g->nodes[s->first].name);
            k->seen[r * s->k + c] = weight[r] * v;
        }
        k->seen[r * s->k + s->K] = weight[r];
    }
    for (int i = 0; i < s->n && k->fit; target += x->rows * s->reader[i++].N) make_target(target, k, &s->reader[i], weight, x->rows);
    return XC_OK;
}

/* Batches in their order; with ranks each adds its tiles. */
static void add_rows(struct walk *k, struct stop *s, const float *seen, int64_t rows)
{
    const struct xc_compress_opts *o = k->w->opts;
    const int me = xc_ranks_me(o->ranks), n = xc_ranks_n(o->ranks);
    const float *target = seen + rows * s->k;

    xc_moments_add_some(s->gram, seen, seen, rows, s->k, s->k, true, me, n, o->pool);
    for (int i = 0; i < s->n && k->fit; target += rows * s->reader[i++].N)
        xc_moments_add_some(s->reader[i].cross, seen, target, rows, s->k, s->reader[i].N, false, me, n, o->pool);
    s->rows += rows;
}

/* Ranks take the batches in turn; what one saw goes to all. */
static enum xc_status add_batches(struct walk *k, struct stop *s, struct xc_err *err)
{
    struct xc_ranks *ranks = k->w->opts->ranks;
    const int n = xc_ranks_n(ranks), me = xc_ranks_me(ranks);
    int64_t rows = 0;

    for (int64_t first = 0; first < k->replay.n_batches; first += n) {
        if (first + me < k->replay.n_batches) XC_TRY(see_batch(k, s, first + me, &rows, err));
        for (int r = 0; r < n && first + r < k->replay.n_batches; r++) {
            int64_t count = rows;

            XC_TRY(xc_ranks_give(ranks, r, &count, sizeof count, err));
            if (r != me) XC_TRY(room(&k->given, &k->cap_given, seen_numbers(k, s, count), err));
            XC_TRY(xc_ranks_give(ranks, r, r == me ? k->seen : k->given, (size_t)seen_numbers(k, s, count) * sizeof(float), err));
            add_rows(k, s, r == me ? k->seen : k->given, count);
        }
    }
    XC_TRY(xc_ranks_merge(ranks, s->gram, s->k * s->k, err));
    for (int i = 0; i < s->n && k->fit; i++) XC_TRY(xc_ranks_merge(ranks, s->reader[i].cross, s->k * s->reader[i].N, err));
    return XC_OK;
}

/* ---- weights that are in memory for a while ---- */
static bool is_held(const struct xc_node *node, int32_t input) { return node->in[input].kind == XC_REF_TENSOR && !(is_op(node, "gather") && input == 1); /* of tables the run reads rows */ }

/* Numbers that node n would bring in. */
static int64_t absent(const struct xc_graph *g, int32_t n)
{
    int64_t count = 0;

    for (int32_t i = 0; i < g->nodes[n].n_in; i++)
        if (is_held(&g->nodes[n], i) && !g->model->tensors[g->nodes[n].in[i].id]->part[XC_PART_DATA]) count += xc_tensor_count(g->model->tensors[g->nodes[n].in[i].id]);
    return count;
}

static enum xc_status hold(const struct walk *k, const struct xc_graph *g, int32_t first, int32_t last, struct xc_err *err)
{
    for (int32_t n = first; n < last; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++)
            if (is_held(&g->nodes[n], i)) XC_TRY(xc_tensor_load_by(g->model->tensors[g->nodes[n].in[i].id], k->w->opts->pool, err));
    return XC_OK;
}

/* Those that can be had again. */
static void let_go(const struct xc_graph *g, int32_t first, int32_t last)
{
    for (int32_t n = first; n < last; n++)
        for (int32_t i = 0; i < g->nodes[n].n_in; i++)
            if (is_held(&g->nodes[n], i)) xc_tensor_drop(g->model->tensors[g->nodes[n].in[i].id]);
}

/* Walks a frontier on to node `to`; where memory is short, in steps whose weights are about as large as the largest tensor. */
static enum xc_status move_on(const struct walk *k, struct xc_frontier *f, struct xc_run *run, const struct xc_graph *g, int32_t to, struct xc_err *err)
{
    int64_t largest = 0;

    if (!k->lean) return xc_frontier_move(f, &k->replay, run, g, to, err);
    for (int32_t t = 0; t < g->model->n_tensors; t++) largest = xc_max_i64(largest, xc_tensor_count(g->model->tensors[t]));
    while (f->node < to) {
        const int32_t from = f->node;
        int64_t count = absent(g, from);
        int32_t next = from + 1;
        enum xc_status status;

        while (next < to && count + absent(g, next) <= largest) count += absent(g, next++);
        status = hold(k, g, from, next, err);
        if (status == XC_OK) status = xc_frontier_move(f, &k->replay, run, g, next, err);
        let_go(g, from, next);
        XC_TRY(status);
    }
    return XC_OK;
}

/* ---- one stop ---- */
static enum xc_status replace(struct xc_tensor *t, const float *x, struct xc_err *err) { return xc_surgery_replace(t, t->rank, t->dim, x, err); }

/* w (N,k): the weight of reader r, its bias (or zeros) as the last column. */
static enum xc_status take_weight(float *w, const struct xc_model *m, const struct stop *s, const struct reader *r, struct xc_err *err)
{
    float *bias = NULL;
    enum xc_status status = r->bias >= 0 ? xc_surgery_numbers(&bias, m->tensors[r->bias], err) : XC_OK;

    for (int64_t n = 0; n < r->N && status == XC_OK; n++) {
        status = xc_tensor_rows_to_f32(m->tensors[r->weight], n, 1, w + n * s->k, err);
        w[n * s->k + s->K] = bias ? bias[n] : 0;
    }
    xc_free(bias);
    return status;
}

static enum xc_status put_bias(struct xc_model *m, const struct stop *s, const struct reader *r, const float *w, struct xc_err *err)
{
    float *copy = xc_malloc((size_t)r->N * sizeof *copy + 4);
    enum xc_status status = copy ? XC_OK : xc_fail_nomem(err, (size_t)r->N * sizeof *copy);

    for (int64_t n = 0; copy && n < r->N; n++) copy[n] = w[n * s->k + s->K];
    if (status == XC_OK && r->bias >= 0) status = replace(m->tensors[r->bias], copy, err);
    xc_free(copy);
    return status;
}

static enum xc_status put_weight(struct xc_model *m, const struct stop *s, const struct reader *r, const float *w, struct xc_err *err)
{
    const struct xc_encoding f32 = { .format = XC_FMT_F32 };
    struct xc_buf *buf = NULL;

    XC_TRY(xc_buf_new(&buf, (size_t)(r->N * s->K) * sizeof *w, err));
    for (int64_t n = 0; n < r->N; n++) memcpy((float *)(void *)buf->data + n * s->K, w + n * s->k, (size_t)s->K * sizeof *w);
    const enum xc_status status = xc_tensor_set_encoded(m->tensors[r->weight], &f32, (struct xc_buf *[XC_PART_COUNT]){ [XC_PART_DATA] = buf }, err);

    xc_buf_unref(&buf);
    return status == XC_OK ? put_bias(m, s, r, w, err) : status;
}

/* The bias takes the mean of what rounding changed; w is what was rounded. */
static enum xc_status correct_bias(struct xc_model *m, const struct stop *s, const struct reader *r, float *w, struct xc_err *err)
{
    const double rows = (double)s->gram[s->k * s->k - 1];
    float *now = xc_malloc((size_t)s->K * sizeof *now);
    enum xc_status status = now ? XC_OK : xc_fail_nomem(err, (size_t)s->K * sizeof *now);

    for (int64_t n = 0; n < r->N && status == XC_OK; n++) {
        double sum = 0;

        status = xc_tensor_rows_to_f32(m->tensors[r->weight], n, 1, now, err);
        for (int64_t c = 0; c < s->K && status == XC_OK; c++) sum += ((double)w[n * s->k + c] - (double)now[c]) * (double)s->gram[s->K * s->k + c] / rows;
        w[n * s->k + s->K] += (float)sum;
    }
    xc_free(now);
    return status == XC_OK ? put_bias(m, s, r, w, err) : status;
}

/* Of the inputs: their means when `centred`, and norm2, squares with the mean. */
static void moments(double *mean, float *norm2, const struct stop *s, bool centred)
{
    const double rows = (double)s->gram[s->k * s->k - 1];

    for (int64_t i = 0; i < s->K; i++) {
        mean[i] = centred ? (double)s->gram[s->K * s->k + i] / rows : 0; /* both triangles are there; a line is on fewer pages */
        norm2[i] = s->gram[i * s->k + i];
    }
}

static enum xc_status treat_reader(struct walk *k, struct stop *s, struct reader *r, double *mean, float *norm2, struct xc_err *err)
{
    struct xc_model *m = k->w->model;
    float *w = NULL;
    enum xc_status status = xc_spill_matrix((void **)&w, s->spill, r->N, s->k, sizeof *w, false, err);

    if (status == XC_OK) status = take_weight(w, m, s, r, err);

    if (status == XC_OK && k->fit) {
        status = xc_refit(w, s->gram, r->cross, s->rows, s->k, r->N, xc_recipe_number(k->w->spec, "fit_damp"), s->spill, err);
        if (status == XC_OK) status = put_weight(m, s, r, w, err);
    }
    if (status == XC_OK) {
        const bool centred = k->correct && r->bias >= 0;
        const struct xc_gptq_moments of = { .h = s->gram, .ld = s->k, .mean = centred ? mean : NULL };

        moments(mean, norm2, s, centred);
        status = round_weight(k->w, r->weight, &(struct inputs){ .moments = option(k->w, "method", "gptq") ? &of : NULL, .norm2 = norm2, .spill = s->spill }, err);
    }
    if (status == XC_OK && k->correct && r->bias >= 0) status = correct_bias(m, s, r, w, err);
    xc_spill_drop(s->spill, w);
    return status;
}

/* Matrices of a stop at a time: moments and targets, and beside them what a fit or GPTQ of its largest reader takes. */
static enum xc_status find_spill(struct walk *k, struct stop *s, struct xc_err *err)
{
    const uint64_t max_memory = k->w->opts->max_memory;
    const double square = (double)s->k * (double)s->k;
    double bytes = 4 * square, most = option(k->w, "method", "gptq") ? 12 * square : 0;

    for (int i = 0; i < s->n; i++) {
        const double pairs = (double)s->k * (double)s->reader[i].N;

        if (k->fit) bytes += 4 * pairs;
        if (k->fit) most = fmax(most, 8 * square + 20 * pairs);
    }
    if (!k->folder || !xc_spill_pays(bytes + most, max_memory)) return XC_OK;
    if (!k->spill) XC_TRY(xc_spill_new(&k->spill, k->folder, (max_memory ? max_memory : xc_memory_default()) / 8, err));
    s->spill = k->spill;
    return XC_OK;
}

/* What runs keep for the next batch: weights in panels, values, and what a batch gave. */
static void let_rooms_go(struct walk *k)
{
    struct xc_run *const run[] = { k->run_now, k->run_was };

    for (size_t i = 0; i < XC_ARRAY_LEN(run); i++) {
        xc_scratch_release(&run[i]->node);
        xc_scratch_release(&run[i]->values);
    }
    xc_free(k->seen);
    k->seen = NULL;
    k->cap_seen = 0;
}

static enum xc_status treat_stop(struct walk *k, struct stop *s, struct xc_err *err)
{
    double *mean = xc_malloc((size_t)s->k * sizeof *mean);
    float *norm2 = xc_malloc((size_t)s->k * sizeof *norm2);
    enum xc_status status = mean && norm2 ? find_spill(k, s, err) : xc_fail_nomem(err, (size_t)s->k * sizeof *mean);

    if (status == XC_OK) status = xc_spill_matrix((void **)&s->gram, s->spill, s->k, s->k, sizeof *s->gram, true, err);
    for (int i = 0; i < s->n && k->fit && status == XC_OK; i++)
        status = xc_spill_matrix((void **)&s->reader[i].cross, s->spill, s->k, s->reader[i].N, sizeof *s->reader[i].cross, true, err);
    if (status == XC_OK && k->fit) status = move_on(k, &k->was, k->run_was, k->g0, s->first, err);
    if (status == XC_OK) status = move_on(k, &k->now, k->run_now, k->g, s->first, err);
    if (status == XC_OK && k->lean && k->fit) status = hold(k, k->g0, s->first, s->last + 1, err);
    if (status == XC_OK) status = add_batches(k, s, err);
    if (k->lean && k->fit) let_go(k->g0, s->first, s->last + 1);
    if (s->spill) let_rooms_go(k);
    if (status == XC_OK) xc_moments_mirror(s->gram, s->k);
    for (int i = 0; i < s->n && status == XC_OK; i++) {
        status = treat_reader(k, s, &s->reader[i], mean, norm2, err);
        xc_spill_drop(s->spill, s->reader[i].cross);
        s->reader[i].cross = NULL;
    }
    for (int i = 0; i < s->n; i++) xc_spill_drop(s->spill, s->reader[i].cross);
    xc_spill_drop(s->spill, s->gram);
    xc_free(mean);
    xc_free(norm2);
    return status;
}

/* What an interrupted run finished. A stop is taken as a whole, weights and biases, or made again as a whole: what is fitted depends on all of it. */
static enum xc_status take_stop(bool *taken, struct xc_work *w, const struct stop *s, struct xc_err *err)
{
    *taken = true;
    for (int i = 0; i < s->n && *taken; i++) *taken = xc_work_can_resume(w, s->reader[i].weight) && (s->reader[i].bias < 0 || xc_work_can_resume(w, s->reader[i].bias));
    for (int i = 0; i < s->n && *taken; i++)
        if (!xc_work_resume(w, s->reader[i].weight) || (s->reader[i].bias >= 0 && !xc_work_resume(w, s->reader[i].bias)))
            return xc_fail(err, XC_E_IO, "cannot read what an interrupted run left of '%s' (--no-resume starts anew)", w->model->tensors[s->reader[i].weight]->name);
    return XC_OK;
}

static enum xc_status keep_stop(struct xc_work *w, const struct stop *s, struct xc_err *err)
{
    for (int i = 0; i < s->n; i++) {
        if (s->reader[i].bias >= 0) XC_TRY(xc_work_keep(w, s->reader[i].bias, err));
        XC_TRY(xc_work_keep(w, s->reader[i].weight, err));
    }
    return XC_OK;
}

/* ---- tables ---- */
bool xc_quantize_coarse(const struct xc_work *w, int32_t t)
{
    return w->want[t].format == XC_FMT_S8 && w->want[t].layout == XC_LAYOUT_ROWS && w->want[t].structure == XC_STRUCT_DENSE && xc_recipe_number(w->spec, "embedding_bits") > 0 &&
           !xc_random_owner(w->model, t);
}

/* How often the texts read each row of table t. */
static enum xc_status count_reads(double *reads, struct walk *k, int32_t t, struct xc_err *err)
{
    const int64_t rows = xc_tensor_rows(k->w->model->tensors[t]);

    for (int32_t n = 0; n < k->g0->n_nodes; n++) {
        const struct xc_node *node = &k->g0->nodes[n];

        if (!is_op(node, "gather") || node->in[1].kind != XC_REF_TENSOR || node->in[1].id != t || node->in[0].kind != XC_REF_VALUE) continue;
        for (int64_t b = 0; b < k->replay.n_batches; b++) {
            const struct xc_view *ids;

            XC_TRY(xc_frontier_run(&k->was, &k->replay, k->run_was, k->g0, b, n, err));
            ids = &k->run_was->views[node->in[0].id];
            for (int64_t i = 0; i < ids->rows; i++)
                if (((const int32_t *)ids->data)[i] >= 0 && ((const int32_t *)ids->data)[i] < rows) reads[((const int32_t *)ids->data)[i]]++;
        }
    }
    return XC_OK;
}

static enum xc_status treat_table(struct walk *k, int32_t t, struct xc_err *err)
{
    const size_t bytes = (size_t)xc_tensor_rows(k->w->model->tensors[t]) * sizeof(double);
    if (xc_work_resume(k->w, t)) return XC_OK;
    double *reads = k->run_was ? xc_calloc(1, bytes) : NULL;
    enum xc_status status = k->run_was && !reads ? xc_fail_nomem(err, bytes) : XC_OK;

    if (status == XC_OK && reads) status = count_reads(reads, k, t, err);
    if (status == XC_OK) status = xc_quantize_table(k->w, t, reads, xc_recipe_number(k->w->spec, "embedding_bits"), err);
    if (status == XC_OK) status = xc_work_keep(k->w, t, err);
    xc_free(reads);
    return status;
}

/* Tables first: what texts read begins with them. */
static enum xc_status treat_tables(struct walk *k, struct xc_err *err)
{
    for (int32_t t = 0; t < k->w->model->n_tensors; t++) {
        const struct xc_tensor *tensor = k->w->model->tensors[t];
        bool linear = false;

        for (int32_t n = 0; k->g && n < k->g->n_nodes; n++) linear |= is_op(&k->g->nodes[n], "linear") && k->g->nodes[n].in[1].kind == XC_REF_TENSOR && k->g->nodes[n].in[1].id == t;
        if (is_due(k->w, t) && !linear) XC_TRY(finish_weight(k->w, t, err));
        if (xc_quantize_coarse(k->w, t) && !(tensor->part[XC_PART_DATA] && tensor->enc.format == XC_FMT_S8)) XC_TRY(treat_table(k, t, err));
    }
    return XC_OK;
}

/* ---- all of them ---- */
static enum xc_status walk_graph(struct walk *k, enum xc_status (*settle)(struct xc_work *w, const void *arg, struct xc_err *err), const void *arg, struct xc_err *err)
{
    for (int32_t n = 0; n < k->g->n_nodes; n++) {
        const struct xc_node *node = &k->g->nodes[n];
        struct stop s;
        bool taken;

        if (!is_op(node, "linear") || node->in[0].kind != XC_REF_VALUE || node->in[1].kind != XC_REF_TENSOR || !is_due(k->w, node->in[1].id)) continue;
        make_stop(&s, k, node->in[0].id, n);
        XC_TRY(take_stop(&taken, k->w, &s, err));
        if (!taken) {
            XC_TRY(treat_stop(k, &s, err));
            XC_TRY(keep_stop(k->w, &s, err));
        }
        XC_TRY(settle(k->w, arg, err));
    }
    return XC_OK;
}

/* The numbers of both models are in memory, those that did not change once; or, where it is short, none is. */
static enum xc_status load(struct walk *k, struct xc_err *err)
{
    struct xc_model *m = k->w->model, *before = k->w->before;

    k->lean = xc_memory_is_short(before, k->w->opts->max_memory);
    XC_TRY(xc_replay_init(&k->replay, before, k->w->texts, !k->lean, k->w->opts, err));
    for (int32_t t = 0; t < m->n_tensors && !k->lean; t++) {
        struct xc_tensor *to = m->tensors[t];
        const struct xc_tensor *from = t < before->n_tensors ? before->tensors[t] : NULL;

        if (!to->part[XC_PART_DATA] && from && from->part[XC_PART_DATA] && from->enc.format == XC_FMT_F32 && xc_tensor_count(from) == xc_tensor_count(to) && !strcmp(from->name, to->name)) {
            to->part[XC_PART_DATA] = xc_buf_ref(from->part[XC_PART_DATA]);
            to->enc = from->enc;
        }
        XC_TRY(xc_tensor_load(to, err));
    }
    XC_TRY(xc_frontier_init(&k->now, &k->replay, 1, err));
    XC_TRY(xc_frontier_init(&k->was, &k->replay, 1, err));
    k->now.first = k->was.first = xc_ranks_me(k->w->opts->ranks);
    k->now.step = k->was.step = xc_ranks_n(k->w->opts->ranks);
    k->folder = xc_side_folder(k->w->side, k->folder_room, sizeof k->folder_room);
    if (k->lean) k->was.folder = k->now.folder = k->folder;
    XC_TRY(xc_run_new(&k->run_now, m, NULL, k->w->opts->pool, err));
    XC_TRY(xc_run_new(&k->run_was, before, NULL, k->w->opts->pool, err));
    k->run_now->lazy = k->run_was->lazy = k->lean;
    return XC_OK;
}

enum xc_status xc_quantize_walk(struct xc_work *w, enum xc_status (*settle)(struct xc_work *w, const void *arg, struct xc_err *err), const void *arg, struct xc_err *err)
{
    struct xc_uses uses = { 0 };
    struct walk k = { .w = w, .uses = &uses, .fit = option(w, "fit", "yes"), .correct = option(w, "bias", "correct") };
    enum xc_status status = XC_OK;

    k.g = xc_model_find_graph(w->model, "encode");
    k.g0 = w->before ? xc_model_find_graph(w->before, "encode") : NULL;
    bool texts = false; /* are there any, and something that asks for them? */

    for (int32_t t = 0; w->texts && k.g && k.g0 && t < w->model->n_tensors; t++) texts |= xc_quantize_coarse(w, t) || (is_due(w, t) && !option(w, "method", "nearest"));

    if (texts) status = xc_uses_make(&uses, w->model, err);
    if (texts && status == XC_OK) status = load(&k, err);
    if (status == XC_OK) status = treat_tables(&k, err);
    if (status == XC_OK) status = settle(w, arg, err);
    if (texts && status == XC_OK && !option(w, "method", "nearest")) status = walk_graph(&k, settle, arg, err);
    xc_frontier_release(&k.now, &k.replay);
    xc_frontier_release(&k.was, &k.replay);
    xc_replay_release(&k.replay);
    xc_run_free(&k.run_now);
    xc_run_free(&k.run_was);
    xc_spill_free(&k.spill);
    xc_free(k.seen);
    xc_free(k.given);
    xc_uses_release(&uses);
    for (int32_t t = 0; t < w->model->n_tensors && status == XC_OK; t++)
        if (is_due(w, t)) status = finish_weight(w, t, err);
    return status == XC_OK ? settle(w, arg, err) : status;
}
