/* sensitivity: see sensitivity.h. */
#include "compress/calibrate/sensitivity.h"

#include <math.h>
#include <string.h>

#include "compress/calibrate/sample_texts.h"
#include "compress/ranks.h"
#include "runtime/base/rng.h"
#include "runtime/session/session.h"

#define TOKENS 1024 /* about so many take part */
#define STREAM 0x5E00 /* of the generator of ids */
enum { SEQUENCES = 24, LENGTH = 24 };

void xc_variant_release(struct xc_variant *v)
{
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&v->part[p]);
}

/* ---- tokens ---- */
/* For a model without a tokenizer: random ids. */
static enum xc_status random_ids(struct xc_replay *r, const struct xc_model_info *info, struct xc_pool *pool, struct xc_err *err)
{
    const int64_t length = info->max_positions ? xc_min_i64(LENGTH, info->max_positions) : LENGTH, tokens = length * SEQUENCES;

    if (info->vocab_size < 1) return xc_fail(err, XC_E_UNSUPPORTED, "the model takes no token ids: what its answers lose cannot be measured");
    *r = (struct xc_replay){ .pool = pool, .n_texts = SEQUENCES, .tokens = tokens, .n_batches = 1 };
    r->ids = xc_malloc((size_t)tokens * sizeof *r->ids);
    r->zeros = xc_calloc((size_t)tokens, sizeof *r->zeros);
    r->start = xc_malloc((SEQUENCES + 1) * sizeof *r->start);
    r->batch = xc_malloc(2 * sizeof *r->batch);
    if (!r->ids || !r->zeros || !r->start || !r->batch) return xc_fail_nomem(err, (size_t)tokens * sizeof *r->ids);
    r->batch[0] = 0;
    r->batch[1] = SEQUENCES;
    for (int64_t s = 0; s < SEQUENCES; s++) {
        struct xc_rng rng;

        xc_rng_init(&rng, STREAM, (uint64_t)s);
        r->start[s] = (int32_t)(s * length);
        for (int64_t i = 0; i < length; i++) r->ids[s * length + i] = (int32_t)xc_rng_below(&rng, (uint64_t)info->vocab_size);
    }
    r->start[SEQUENCES] = (int32_t)tokens;
    return XC_OK;
}

static enum xc_status own_texts(struct xc_replay *r, struct xc_model *m, const struct xc_compress_opts *opts, struct xc_err *err)
{
    struct xc_texts texts = { 0 };
    int64_t n = 0;
    enum xc_status status = XC_OK;

    while (xc_sample_texts[n]) n++;
    texts.text = xc_malloc((size_t)n * sizeof *texts.text);
    texts.length = xc_malloc((size_t)n * sizeof *texts.length);
    if (!texts.text || !texts.length) status = xc_fail_nomem(err, (size_t)n * sizeof *texts.text);
    for (; status == XC_OK && texts.n < n; texts.n++) {
        texts.text[texts.n] = (char *)(uintptr_t)xc_sample_texts[texts.n]; /* read alone */
        texts.length[texts.n] = strlen(xc_sample_texts[texts.n]);
    }
    if (status == XC_OK) status = xc_replay_init(r, m, &texts, true, opts, err);
    xc_free(texts.text);
    xc_free(texts.length);
    return status;
}

static bool ids_fit(const struct xc_replay *r, int32_t vocabulary)
{
    for (int64_t i = 0; i < r->tokens; i++)
        if (r->ids[i] < 0 || r->ids[i] >= vocabulary) return false;
    return true;
}

static enum xc_status take_tokens(struct xc_sense *s, struct xc_model *m, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const struct xc_session_opts plain = { .pool = opts->pool, .plain = true };
    struct xc_session *session = NULL;
    struct xc_model_info info;

    if (texts) return xc_replay_init(&s->replay, m, texts, true, opts, err);
    XC_TRY(xc_session_new(&session, m, &plain, err));
    info = session->info;
    xc_session_free(&session);
    if (info.has_tokenizer) {
        XC_TRY(own_texts(&s->replay, m, opts, err));
        if (ids_fit(&s->replay, info.vocab_size)) return XC_OK;
        xc_replay_release(&s->replay); /* the tokenizer is another model's */
    }
    return random_ids(&s->replay, &info, opts->pool, err);
}

/* ---- answers ---- */
/* The sum of the drops of got's rows. */
static double drop_of(const struct xc_view *got, const float *want)
{
    const float *x = got->data;
    double sum = 0;

    for (int64_t r = 0; r < got->rows; r++) {
        double error = 0, all = 0;

        for (int64_t c = 0; c < got->cols; c++) {
            const double y = (double)want[r * got->cols + c], d = (double)x[r * got->cols + c] - y;

            error += d * d;
            all += y * y;
        }
        sum += 0.5 * (all > 0 ? error / all : error);
    }
    return sum;
}

static enum xc_status encode_graph(struct xc_graph **g, struct xc_model *m, struct xc_err *err)
{
    *g = xc_model_find_graph(m, "encode");
    if (!*g || (*g)->n_outputs < 1) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode' that answers");
    return XC_OK;
}

static enum xc_status keep_answers(struct xc_sense *s, const struct xc_graph *g, struct xc_err *err)
{
    for (int64_t b = 0; b < s->replay.n_batches; b += s->step) {
        XC_TRY(xc_replay_begin(&s->replay, s->run, g, b, err));
        XC_TRY(xc_replay_nodes(s->run, g, 0, g->n_nodes, err));
        const struct xc_view *out = &s->run->views[g->outputs[0]];
        const size_t bytes = (size_t)(out->rows * out->cols) * sizeof(float);

        s->answer[b] = xc_malloc(bytes + 4);
        if (!s->answer[b]) return xc_fail_nomem(err, bytes);
        memcpy(s->answer[b], out->data, bytes);
        s->rows += out->rows;
        for (int64_t i = 0; i < out->rows * out->cols; i++)
            if (!isfinite(s->answer[b][i])) return xc_fail(err, XC_E_RANGE, "the model's answers are not finite: nothing can be measured by them");
    }
    return s->rows > 0 ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "the model gives no answer to the texts");
}

static enum xc_status start(struct xc_sense *s, struct xc_model *m, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err)
{
    struct xc_graph *g;

    XC_TRY(encode_graph(&g, m, err));
    s->ranks = opts->ranks;
    XC_TRY(take_tokens(s, m, texts, opts, err));
    for (int32_t t = 0; t < m->n_tensors; t++) XC_TRY(xc_tensor_load(m->tensors[t], err));
    s->step = xc_replay_step(&s->replay, TOKENS);
    s->answer = xc_calloc((size_t)s->replay.n_batches + 1, sizeof *s->answer);
    if (!s->answer) return xc_fail_nomem(err, (size_t)s->replay.n_batches * sizeof *s->answer);
    XC_TRY(xc_run_new(&s->run, m, NULL, opts->pool, err));
    XC_TRY(keep_answers(s, g, err));
    return xc_frontier_init(&s->frontier, &s->replay, s->step, err);
}

enum xc_status xc_sense_new(struct xc_sense **out, struct xc_model *m, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err)
{
    enum xc_status status;

    *out = xc_calloc(1, sizeof **out);
    if (!*out) return xc_fail_nomem(err, sizeof **out);
    status = start(*out, m, texts, opts, err);
    if (status != XC_OK) xc_sense_free(out);
    return status;
}

void xc_sense_stop(struct xc_sense *s)
{
    xc_run_free(&s->run);
    if (s->frontier.rows) xc_frontier_release(&s->frontier, &s->replay);
}

void xc_sense_free(struct xc_sense **out)
{
    struct xc_sense *s = *out;

    *out = NULL;
    if (!s) return;
    xc_sense_stop(s);
    for (int64_t b = 0; s->answer && b < s->replay.n_batches; b++) xc_free(s->answer[b]);
    xc_free(s->answer);
    xc_replay_release(&s->replay);
    xc_free(s);
}

/* ---- one weight ---- */
static bool uses(const struct xc_node *node, int32_t t)
{
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_TENSOR && node->in[i].id == t) return true;
    return false;
}

static enum xc_status put(struct xc_model *m, struct xc_graph *g, int32_t t, const struct xc_variant *v, xc_sense_node *set_node, void *arg, struct xc_err *err)
{
    XC_TRY(xc_tensor_set_encoded(m->tensors[t], &v->enc, v->part, err));
    for (int32_t n = 0; n < g->n_nodes; n++)
        if (uses(&g->nodes[n], t)) set_node(arg, g, n, &v->enc);
    return XC_OK;
}

static enum xc_status measure(struct xc_sense *s, double *cost, struct xc_model *m, struct xc_graph *g, int32_t t, const struct xc_variant *variants, int n, xc_sense_node *set_node, void *arg,
                              struct xc_err *err)
{
    for (int64_t b = 0; b < s->replay.n_batches; b += s->step) {
        struct xc_scratch_mark mark;

        XC_TRY(xc_frontier_run(&s->frontier, &s->replay, s->run, g, b, s->frontier.node, err));
        mark = xc_scratch_save(&s->run->values);
        for (int i = xc_ranks_me(s->ranks); i < n; i += xc_ranks_n(s->ranks)) {
            XC_TRY(put(m, g, t, &variants[i], set_node, arg, err));
            XC_TRY(xc_replay_nodes(s->run, g, s->frontier.node, g->n_nodes, err));
            cost[i] += drop_of(&s->run->views[g->outputs[0]], s->answer[b]) / (double)s->rows;
            xc_scratch_restore(&s->run->values, mark);
        }
    }
    return XC_OK;
}

enum xc_status xc_sense_variants(struct xc_sense *s, double *cost, struct xc_model *m, int32_t t, const struct xc_variant *variants, int n, xc_sense_node *set_node, void *arg, struct xc_err *err)
{
    struct xc_variant was = { .enc = m->tensors[t]->enc };
    struct xc_graph *g;
    int32_t first = 0;
    enum xc_status status;

    for (int i = 0; i < n; i++) cost[i] = 0;
    XC_TRY(encode_graph(&g, m, err));
    while (first < g->n_nodes && !uses(&g->nodes[first], t)) first++;
    if (first > s->frontier.node) XC_TRY(xc_frontier_move(&s->frontier, &s->replay, s->run, g, first, err));
    for (int p = 0; p < XC_PART_COUNT; p++) was.part[p] = m->tensors[t]->part[p] ? xc_buf_ref(m->tensors[t]->part[p]) : NULL;
    status = measure(s, cost, m, g, t, variants, n, set_node, arg, err);
    if (status == XC_OK) status = put(m, g, t, &was, set_node, arg, err);
    if (status == XC_OK) status = xc_ranks_sum(s->ranks, cost, n, err);
    xc_variant_release(&was);
    for (int i = 0; i < n && status == XC_OK; i++)
        if (!isfinite(cost[i])) status = xc_fail(err, XC_E_RANGE, "the model's answers are not finite once '%s' is encoded", m->tensors[t]->name);
    return status;
}

/* ---- a whole model ---- */
enum xc_status xc_sense_drop(const struct xc_sense *s, double *drop, struct xc_model *m, const struct xc_compress_opts *opts, struct xc_err *err)
{
    struct xc_run *run = NULL;
    struct xc_graph *g;
    enum xc_status status;

    *drop = 0;
    XC_TRY(encode_graph(&g, m, err));
    for (int32_t t = 0; t < m->n_tensors; t++) XC_TRY(xc_tensor_load(m->tensors[t], err));
    status = xc_run_new(&run, m, NULL, opts->pool, err);
    for (int64_t b = 0; b < s->replay.n_batches && status == XC_OK; b += s->step) {
        status = xc_replay_begin(&s->replay, run, g, b, err);
        if (status == XC_OK) status = xc_replay_nodes(run, g, 0, g->n_nodes, err);
        if (status == XC_OK) *drop += drop_of(&run->views[g->outputs[0]], s->answer[b]) / (double)s->rows;
    }
    xc_run_free(&run);
    return status;
}
