/* smooth: makes activations easy to hold in int8 rows, without changing what the model computes (but for f32 rounding). Xiao et al.
 * 2022 (SmoothQuant), arXiv:2211.10438.
 *
 * A row has one scale, so a column that is large takes precision from all others. Where linears read a norm, an activation function or a
 * gated product, a `scale` node multiplies the columns by s and the columns of the weights carry 1/s; smooth_factors.c chooses s. What else
 * reads the value (the residual) still reads it as it was. Attention's output is left alone: its error is a hundredth of the others'. With option
 * `smooth: awq` awq.c chooses s, for weights in groups.
 *
 * The model sees the calibration texts, or texts of its own (sample_texts.c), or random ids when it has no tokenizer. It runs node by node and
 * holds the weights of one node and the values that are still to be read: a checkpoint larger than memory passes through. Weights that come from
 * a file stay there; 1/s is applied whenever they are read.
 *
 * A large model is read once (smooth_along.c): its factors are chosen while quantize makes its weights, and what it is shown goes through those. */
#include "compress/quantize/smooth.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/calibrate/calibrate.h"
#include "compress/calibrate/sample_texts.h"
#include "compress/plan/forecast.h"
#include "compress/quantize/quantize.h"
#include "compress/quantize/smooth_factors.h"
#include "runtime/base/rng.h"

#define STREAM 0x5300 /* of the generator of ids */
enum { LEAST_TOKENS = 192, SEQUENCES = 24, LENGTH = 24 /* of random ids */ };
#define MACS 5e11                    /* multiply-adds that a large model's tokens may take */
#define WEIGHTS ((int64_t)1 << 22)   /* numbers of the weights behind a scale that factors are searched on, of more about as many */

static bool is_op(const struct xc_node *node, const char *op) { return strcmp(node->op->name, op) == 0; }

/* ---- the graph ---- */
void xc_smoothing_free(struct xc_smoothing **out)
{
    struct xc_smoothing *s = *out;

    *out = NULL;
    if (!s) return;
    for (size_t i = 0; i < s->n; i++) xc_free(s->at[i].y2);
    xc_free(s->at);
    xc_free(s);
}

/* A linear on `value` whose weight is its own and a plain number each. */
static bool smoothable(const struct xc_model *m, const struct xc_uses *uses, const struct xc_node *node, int32_t value)
{
    const struct xc_ref *w = &node->in[1];

    if (!is_op(node, "linear") || node->in[0].kind != XC_REF_VALUE || node->in[0].id != value || w->kind != XC_REF_TENSOR) return false;
    return uses->first[w->id + 1] - uses->first[w->id] == 1 && !xc_format_traits((enum xc_format)m->tensors[w->id]->enc.format)->quantized && m->tensors[w->id]->rank == 2;
}

static enum xc_status add_ones(struct xc_model *m, int32_t *id, const char *name, int64_t C, struct xc_err *err)
{
    float *ones = xc_malloc((size_t)C * sizeof *ones);
    enum xc_status status = ones ? xc_model_add_tensor(m, id, name, 1, &C, err) : xc_fail_nomem(err, (size_t)C * sizeof *ones);

    for (int64_t c = 0; c < C && ones; c++) ones[c] = 1.0f;
    if (status == XC_OK) status = xc_tensor_set_f32(m->tensors[*id], ones, err);
    xc_free(ones);
    return status;
}

/* Puts a scale of ones between node `maker` and the linears that read it. */
static enum xc_status insert_scale(struct xc_smoothing *list, const struct xc_uses *uses, struct xc_model *m, struct xc_graph *g, int32_t maker, struct xc_err *err)
{
    struct xc_smooth_point p = { .in = g->nodes[maker].out[0] };
    int32_t first = -1;
    char name[XC_MAX_NAME + 16];

    for (int32_t n = g->n_nodes - 1; n > maker; n--)
        if (smoothable(m, uses, &g->nodes[n], p.in)) {
            if (p.n_readers == XC_SMOOTH_READERS) return XC_OK;
            p.bias[p.n_readers] = g->nodes[n].n_in > 2 && g->nodes[n].in[2].kind == XC_REF_TENSOR ? g->nodes[n].in[2].id : -1;
            p.weight[p.n_readers++] = g->nodes[n].in[1].id;
            first = n;
        }
    if (first < 0) return XC_OK;
    snprintf(name, sizeof name, "%s.smooth", g->nodes[maker].name);
    if (!xc_name_ok(name) || xc_model_find_tensor(m, name) >= 0 || xc_graph_find_node(g, name) >= 0) return XC_OK;
    XC_TRY(add_ones(m, &p.tensor, name, g->values[p.in].cols, err));
    XC_TRY(xc_graph_insert_node(g, first, &p.out, "scale", name, (struct xc_ref[]){ xc_val(p.in), xc_ten(p.tensor) }, 2, NULL, err));
    for (int32_t n = first + 1; n < g->n_nodes; n++)
        if (smoothable(m, uses, &g->nodes[n], p.in)) {
            g->nodes[n].in[0].id = p.out;
            p.affine = xc_quantize_range(g, n).mode == XC_RANGE_AFFINE;
        }
    XC_TRY(xc_grow((void **)&list->at, &list->cap, list->n + 1, sizeof *list->at, err));
    list->at[list->n++] = p;
    return XC_OK;
}

static enum xc_status insert_scales(struct xc_smoothing *list, struct xc_model *m, struct xc_graph *g, struct xc_err *err)
{
    static const char *const makers[] = { "layer_norm", "rms_norm", "unary", "mul" };
    struct xc_uses uses;
    enum xc_status status;

    XC_TRY(xc_uses_make(&uses, m, err)); /* nodes move as scales are put in, but the counts of uses stay */
    status = XC_OK;
    for (int32_t n = 0; n < g->n_nodes && status == XC_OK; n++)
        for (size_t i = 0; i < XC_ARRAY_LEN(makers) && status == XC_OK; i++)
            if (is_op(&g->nodes[n], makers[i])) status = insert_scale(list, &uses, m, g, n, err);
    xc_uses_release(&uses);
    return status;
}

/* ---- what the model is shown ---- */
/* Tokens that a model is shown. */
static int64_t room_for(const struct xc_model *m)
{
    const double macs = fmax(xc_forecast_macs(m, NULL, false), 1);

    return xc_max_i64((int64_t)fmin(MACS / macs, XC_SMOOTH_TOKENS), LEAST_TOKENS);
}

/* Whole texts, as many as there is room for; none when the tokenizer is another model's. */
static enum xc_status sample_texts(struct xc_smooth_sample *s, struct xc_session *session, const struct xc_texts *texts, struct xc_err *err)
{
    for (int64_t i = 0; texts ? i < texts->n : xc_sample_texts[i] != NULL; i++) {
        const char *text = texts ? texts->text[i] : xc_sample_texts[i];
        const size_t length = texts ? texts->length[i] : strlen(text);
        struct xc_tokens_view view;

        XC_TRY(xc_session_tokenize(session, &text, &length, 1, true, &view, err));
        const int64_t length_ids = s->n ? view.start[1] : xc_min_i64(view.start[1], s->room); /* the first may be cut off */

        if (!view.start[1]) continue;
        if (s->start[s->n] + length_ids > s->room) break;
        for (int64_t t = 0; t < length_ids; t++) {
            if (view.ids[t] < 0 || view.ids[t] >= session->info.vocab_size) {
                s->n = 0;
                return XC_OK;
            }
            s->ids[s->start[s->n] + t] = view.ids[t];
        }
        s->start[s->n + 1] = s->start[s->n] + length_ids;
        s->n++;
    }
    return XC_OK;
}

static void sample_random(struct xc_smooth_sample *s, const struct xc_model_info *info)
{
    const int64_t length = info->max_positions ? xc_min_i64(LENGTH, info->max_positions) : LENGTH;

    for (; s->n < SEQUENCES && s->start[s->n] + length <= s->room; s->n++) {
        struct xc_rng rng;

        xc_rng_init(&rng, STREAM, (uint64_t)s->n);
        for (int64_t t = 0; t < length; t++) s->ids[s->start[s->n] + t] = (int32_t)xc_rng_below(&rng, (uint64_t)info->vocab_size);
        s->start[s->n + 1] = s->start[s->n] + length;
    }
}

enum xc_status xc_smooth_sample(struct xc_smooth_sample *s, struct xc_session *session, const struct xc_texts *texts, struct xc_err *err)
{
    *s = (struct xc_smooth_sample){ .room = room_for(session->model) };
    if (session->info.vocab_size < 1) return xc_fail(err, XC_E_UNSUPPORTED, "the model takes no token ids");
    if (session->tokenizer) XC_TRY(sample_texts(s, session, texts, err));
    if (!s->n) sample_random(s, &session->info);
    return XC_OK;
}

/* ---- weights divided by s ---- */
/* A weight that stays in its file: divided as it is read. */
struct divided {
    struct xc_source base;
    struct xc_source *inner;
    struct xc_buf *factor;
    int64_t C;
};

static void divide(float *w, int64_t first, int64_t n, const float *factor, int64_t C)
{
    for (int64_t i = 0, c = first % C; i < n; i++, c = c + 1 == C ? 0 : c + 1) w[i] /= factor[c];
}

static enum xc_status divided_read(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *err)
{
    const struct divided *d = (const struct divided *)(const void *)src;

    XC_TRY(d->inner->read_f32(d->inner, t, first, n, dst, err));
    divide(dst, first, n, (const float *)(const void *)d->factor->data, d->C);
    return XC_OK;
}

static void divided_unref(struct xc_source *src)
{
    struct divided *d = (struct divided *)(void *)src;

    if (__atomic_sub_fetch(&src->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    xc_source_unref(&d->inner);
    xc_buf_unref(&d->factor);
    xc_free(d);
}

static enum xc_status divide_weight(struct xc_tensor *t, struct xc_buf *factor, struct xc_err *err)
{
    const int64_t n = xc_tensor_count(t), C = xc_tensor_cols(t);
    const struct xc_encoding zeros = t->enc;
    struct divided *d;
    float *copy;
    enum xc_status status;

    if (t->source) {
        d = xc_malloc(sizeof *d);
        if (!d) return xc_fail_nomem(err, sizeof *d);
        *d = (struct divided){ .base = { .read_f32 = divided_read, .unref = divided_unref, .refs = 1 }, .inner = t->source, .factor = xc_buf_ref(factor), .C = C };
        t->source = &d->base; /* its reference to what is now the inner one went along */
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&t->part[p]);
        t->enc = (struct xc_encoding){ .format = XC_FMT_F32 };
        return XC_OK;
    }
    copy = xc_malloc((size_t)n * sizeof *copy);
    status = copy ? xc_tensor_to_f32(t, copy, err) : xc_fail_nomem(err, (size_t)n * sizeof *copy);
    if (status == XC_OK) {
        divide(copy, 0, n, (const float *)(const void *)factor->data, C);
        status = xc_tensor_set_f32(t, copy, err);
    }
    if (status == XC_OK && zeros.format == XC_FMT_F32 && zeros.layout == XC_LAYOUT_ROWS) t->enc = zeros; /* a factor moves no zero: prune.c */
    xc_free(copy);
    return status;
}

/* ---- one point ---- */
/* Every how many outputs of the readers' weights factors are searched on. */
static int64_t step_of(const struct xc_model *m, const struct xc_smooth_point *p)
{
    int64_t count = 0;

    for (int i = 0; i < p->n_readers; i++) count += xc_tensor_count(m->tensors[p->weight[i]]);
    return xc_div_up(count, WEIGHTS);
}

/* What the readers' rows answer, some of them: squares by row of x. In tiles of rows, whose sums have one order. */
struct answers {
    const struct xc_smooth_problem *p;
    const struct xc_kernels *kern;
    float *panel, *y;      /* of one reader; its answers */
    const float *bias;     /* padded to 16; NULL = none */
    double *y2;
    int64_t N;
    const float *w;
};

enum { TILE = 48 };

static void lay_panel(void *arg, int64_t item, int thread)
{
    const struct answers *a = arg;

    (void)thread;
    xc_pack_panel_f32(a->panel + item * 16 * a->p->C, a->w + item * 16 * a->p->C, xc_min_i64(16, a->N - item * 16), a->p->C);
}

static void answer(void *arg, int64_t item, int thread)
{
    const struct answers *a = arg;
    const int64_t first = item * TILE, end = xc_min_i64(first + TILE, a->p->R);
    const struct xc_gemm_f32 g = { .x = a->p->x, .ldx = a->p->C, .w = a->panel, .N = a->N, .K = a->p->C, .ep = { .out = a->y, .ld_out = a->N, .bias = a->bias } };

    (void)thread;
    a->kern->gemm_f32(&g, first, end, 0, a->N);
    for (int64_t r = first; r < end; r++) {
        double sum[4] = { 0 };

        for (int64_t n = 0; n < a->N; n++) sum[n % 4] += (double)a->y[r * a->N + n] * (double)a->y[r * a->N + n];
        a->y2[r] += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
}

static enum xc_status take_answers(double **y2, const struct xc_model *m, const struct xc_smooth_point *p, const struct xc_smooth_problem *problem, int64_t step, struct xc_pool *pool, struct xc_err *err)
{
    struct answers a = { .p = problem, .kern = xc_kernels() };
    int64_t most = 1;
    float *bias, *all = NULL;
    enum xc_status status = XC_OK;

    for (int i = 0; i < p->n_readers; i++) most = xc_max_i64(most, problem->rows[i]);
    a.y2 = *y2 = xc_calloc((size_t)problem->R + 1, sizeof **y2);
    a.panel = xc_alloc_aligned(xc_panel_f32_bytes(most, problem->C));
    a.y = xc_alloc_aligned((size_t)(problem->R * most) * sizeof *a.y + XC_ALIGN);
    bias = xc_alloc_aligned((size_t)xc_round_up(most, 16) * sizeof *bias);
    if (!a.y2 || !a.panel || !a.y || !bias) status = xc_fail_nomem(err, xc_panel_f32_bytes(most, problem->C));
    for (int i = 0; i < p->n_readers && status == XC_OK; i++) {
        a.N = problem->rows[i];
        a.w = problem->w[i];
        a.bias = p->bias[i] >= 0 ? bias : NULL;
        if (a.bias) {
            const struct xc_tensor *t = m->tensors[p->bias[i]];

            all = xc_malloc((size_t)xc_tensor_count(t) * sizeof *all);
            status = all ? xc_tensor_to_f32(t, all, err) : xc_fail_nomem(err, (size_t)xc_tensor_count(t) * sizeof *all);
            memset(bias, 0, (size_t)xc_round_up(most, 16) * sizeof *bias);
            for (int64_t n = 0; n < a.N && status == XC_OK; n++) bias[n] = all[n * step];
            xc_free(all);
        }
        if (status != XC_OK) break;
        xc_pool_run(pool, lay_panel, &a, xc_div_up(a.N, 16));
        xc_pool_run(pool, answer, &a, xc_div_up(problem->R, TILE));
    }
    xc_free(a.panel);
    xc_free(a.y);
    xc_free(bias);
    return status;
}

static enum xc_status divide_weights(struct xc_model *m, const struct xc_smooth_point *p, struct xc_buf *factor, struct xc_err *err)
{
    XC_TRY(xc_tensor_set_f32(m->tensors[p->tensor], (const float *)(const void *)factor->data, err));
    for (int i = 0; i < p->n_readers; i++) XC_TRY(divide_weight(m->tensors[p->weight[i]], factor, err));
    return XC_OK;
}

enum xc_status xc_smooth_fill(struct xc_model *m, struct xc_model *before, struct xc_smooth_point *p, const float *x, int64_t R, int64_t C, const struct xc_awq *awq, struct xc_pool *pool, struct xc_err *err)
{
    const float *w[XC_SMOOTH_READERS] = { NULL };
    float *copy[XC_SMOOTH_READERS] = { NULL };
    int64_t rows[XC_SMOOTH_READERS];
    const int64_t step = step_of(m, p);
    struct xc_buf *factor = NULL;
    enum xc_status status = xc_buf_new(&factor, (size_t)C * sizeof(float), err);

    for (int i = 0; i < p->n_readers && status == XC_OK; i++) {
        const struct xc_tensor *t = m->tensors[p->weight[i]];
        rows[i] = xc_div_up(xc_tensor_rows(t), step);
        const size_t bytes = (size_t)(rows[i] * C) * sizeof(float);

        if (step == 1 && t->part[XC_PART_DATA] && t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS) {
            w[i] = (const float *)(const void *)t->part[XC_PART_DATA]->data;
            continue;
        }
        w[i] = copy[i] = xc_malloc(bytes);
        if (!copy[i]) status = xc_fail_nomem(err, bytes);
        for (int64_t r = 0; r < rows[i] && status == XC_OK; r++) status = xc_tensor_rows_to_f32(t, r * step, 1, copy[i] + r * C, err);
    }
    if (status == XC_OK) {
        struct xc_smooth_problem problem = { .x = x, .w = w, .rows = rows, .R = R, .C = C, .n_w = p->n_readers };

        if (!p->y2) status = take_answers(&p->y2, m, p, &problem, step, pool, err);
        problem.y2 = p->y2;
        if (status == XC_OK && awq) status = xc_awq_factors((float *)(void *)factor->data, &problem, &(struct xc_awq){ awq->lowbit, awq->group, p->affine }, pool, err);
        else if (status == XC_OK) status = xc_smooth_factors((float *)(void *)factor->data, &problem, pool, err);
    }
    for (int i = 0; i < p->n_readers; i++) xc_free(copy[i]);
    if (status == XC_OK) status = divide_weights(m, p, factor, err);
    if (status == XC_OK && before) status = divide_weights(before, p, factor, err);
    xc_buf_unref(&factor);
    return status;
}

/* ---- all of them, as the model runs ---- */
struct watch {
    struct xc_model *model;
    const struct xc_run *run;
    struct xc_smoothing *points;
    const struct xc_awq *awq; /* NULL = for int8 */
    struct xc_pool *pool;
    enum xc_status status;
    struct xc_err *err;
};

struct norms {
    double *y2;
    const struct xc_view *y;
};

enum { NORM_ROWS = 32 }; /* of a work item */

static void add_norms(void *arg, int64_t item, int thread)
{
    const struct norms *k = arg;
    const int64_t C = k->y->cols, end = xc_min_i64((item + 1) * NORM_ROWS, k->y->rows);

    (void)thread;
    for (int64_t r = item * NORM_ROWS; r < end; r++) {
        const float *const row = (const float *)k->y->data + r * C;
        double sum[4] = { 0 };

        for (int64_t c = 0; c < C; c++) sum[c % 4] += (double)row[c] * (double)row[c];
        k->y2[r] += (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
}

static enum xc_status see_reader(struct watch *w, struct xc_smooth_point *p, const struct xc_view *y)
{
    const struct xc_view *x = &w->run->views[p->out];

    if (!p->y2) p->y2 = xc_calloc((size_t)y->rows + 1, sizeof *p->y2);
    if (!p->y2) return xc_fail_nomem(w->err, (size_t)y->rows * sizeof *p->y2);
    xc_pool_run(w->pool, add_norms, &(struct norms){ p->y2, y }, xc_div_up(y->rows, NORM_ROWS));
    return ++p->n_run == p->n_readers ? xc_smooth_fill(w->model, NULL, p, x->data, x->rows, x->cols, w->awq, w->pool, w->err) : XC_OK;
}

/* Brings the weights of a scale's readers in, to stay until all have run; large ones are read as they are needed, and some of their rows again. */
static enum xc_status see_scale(const struct watch *w, const struct xc_smooth_point *p)
{
    if (step_of(w->model, p) > 1) return XC_OK;
    for (int i = 0; i < p->n_readers; i++) XC_TRY(xc_tensor_load_by(w->model->tensors[p->weight[i]], w->pool, w->err));
    return XC_OK;
}

static void observe(void *arg, const struct xc_op_ctx *c)
{
    struct watch *w = arg;

    for (size_t i = 0; i < w->points->n && w->status == XC_OK; i++) {
        struct xc_smooth_point *p = &w->points->at[i];

        if (is_op(c->node, "scale") && c->node->out[0] == p->out) w->status = see_scale(w, p);
        else if (is_op(c->node, "linear") && c->node->in[0].id == p->out) w->status = see_reader(w, p, c->out[0]);
    }
}

static enum xc_status fill_all(struct xc_smoothing *points, struct xc_model *m, const struct xc_prepare *prepare, const struct xc_awq *awq, struct xc_err *err)
{
    const struct xc_session_opts opts = { .pool = prepare->opts->pool, .lazy = true };
    struct watch w = { .model = m, .points = points, .awq = awq, .pool = prepare->opts->pool, .err = err };
    struct xc_smooth_sample *s = xc_calloc(1, sizeof *s);
    struct xc_session *session = NULL;
    struct xc_output out;
    enum xc_status status = s ? xc_session_new(&session, m, &opts, err) : xc_fail_nomem(err, sizeof *s);

    if (status == XC_OK) status = xc_smooth_sample(s, session, prepare->texts, err);
    if (status == XC_OK) {
        w.run = session->run;
        session->run->observe = observe;
        session->run->observe_arg = &w;
        status = xc_session_run_ids(session, s->ids, NULL, s->start, s->n, &out, err);
    }
    xc_session_free(&session);
    xc_free(s);
    return status == XC_OK ? w.status : status;
}

/* The weights of linears are read, each once; those behind a scale are in memory together while one of them is laid in panels, unless they are large. */
static void forecast(struct xc_forecast *f, const struct xc_model *m, const struct xc_smoothing *points, const struct xc_awq *awq, bool along)
{
    const int64_t tokens = xc_min_i64(f->tokens ? f->tokens : f->own_tokens, room_for(m));
    double most = 0;

    for (size_t i = 0; i < points->n; i++) {
        const struct xc_smooth_point *p = &points->at[i];
        double readers = 0, largest = 0;

        for (int k = 0; k < p->n_readers; k++) {
            readers += (double)xc_tensor_count(m->tensors[p->weight[k]]);
            largest = fmax(largest, (double)xc_tensor_count(m->tensors[p->weight[k]]));
        }
        most = fmax(most, fmin(readers, (double)WEIGHTS) + largest);
        if (awq) {
            f->toil[XC_TOIL_SEARCH] += XC_AWQ_TRIES * fmin(readers, (double)WEIGHTS);
            f->toil[XC_TOIL_F32] += XC_AWQ_TRIES * (double)tokens * fmin(readers, (double)WEIGHTS);
        }
        f->toil[XC_TOIL_SMOOTH] += fmin(readers, (double)WEIGHTS) + (double)tokens * (double)xc_tensor_cols(m->tensors[p->weight[0]]);
    }
    if (along) {
        f->toil[XC_TOIL_F32] += (double)tokens * (double)WEIGHTS * (double)points->n;
        f->toil[XC_TOIL_QUANT] += (double)tokens * xc_forecast_macs(m, NULL, false);
        xc_forecast_holds(f, f->max_memory / 4 + most + xc_forecast_lazy_bytes(m, tokens));
        return;
    }
    f->toil[XC_TOIL_READ] += xc_forecast_macs(m, NULL, false);
    xc_forecast_walk(f, m, NULL, tokens);
    xc_forecast_holds(f, 4 * most + xc_forecast_lazy_bytes(m, tokens));
}

/* Can factors be chosen while weights are quantized? The walk makes each weight by itself, once and for all. */
static bool can_go_along(const struct xc_prepare *p, const struct xc_awq *awq)
{
    const struct xc_recipe_pass *spec = p->spec;
    const bool eight = xc_recipe_is(spec, "format", "int8") && !(xc_recipe_number(spec, "embedding_bits") > 0);

    return !awq && !spec->n_overrides && xc_recipe_is(spec, "activations", "row") && !xc_recipe_is(spec, "format", "mixed") && (eight || !p->opts->calibrate);
}

enum xc_status xc_smooth(const struct xc_prepare *p, const struct xc_awq *awq, struct xc_err *err)
{
    struct xc_model *m = p->model;
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    const bool asked = p->smoothing && xc_recipe_is(p->spec, "smooth", "along"), can = p->smoothing && can_go_along(p, awq);
    struct xc_smoothing *points = NULL;
    enum xc_status status;

    if (asked && !can)
        return xc_fail(err, XC_E_UNSUPPORTED, "smooth along is for weights that are quantized one by one: int8, or in groups without texts; row activations, no overrides, not format mixed");
    /* a text model of one graph, which takes ids */
    if (m->n_graphs != 1 || !g || g->n_inputs < 1 || g->n_inputs > 2 || strcmp(g->values[g->inputs[0]].name, "ids")) return XC_OK;
    points = xc_calloc(1, sizeof *points);
    if (!points) return xc_fail_nomem(err, sizeof *points);
    const bool along = can && (asked || room_for(m) < XC_SMOOTH_TOKENS);

    status = insert_scales(points, m, g, err);
    if (status == XC_OK && p->plan_only && p->forecast && points->n) forecast(p->forecast, m, points, awq, along);
    if (status == XC_OK && !p->plan_only && points->n && !along) status = fill_all(points, m, p, awq, err);
    if (status == XC_OK && !p->plan_only && points->n && along) {
        *p->smoothing = points;
        points = NULL;
    }
    xc_smoothing_free(&points);
    return status;
}
