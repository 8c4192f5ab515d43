/* session: texts or ids in, rows out. See include/xcompress/runtime.h. */
#include "runtime/session/session.h"

#include <string.h>

#include "runtime/container/container.h"
#include "runtime/session/plan.h"

const char *xc_version(void) { return XC_VERSION; }

enum xc_status xc_model_open(struct xc_model **out, const char *path, struct xc_err *err)
{
    const struct xc_read_opts opts = { 0 };

    return xc_container_read(out, path, &opts, err);
}

/* ---- facts ---- */
static int32_t meta_int(const struct xc_model *m, const char *key)
{
    const char *s = xc_model_meta(m, key);
    int64_t v = 0;

    if (!s) return 0;
    for (; *s >= '0' && *s <= '9' && v <= INT32_MAX; s++) v = v * 10 + (*s - '0');
    return *s || v > INT32_MAX ? 0 : (int32_t)v;
}

/* The table of positions bounds a sequence; the table behind input "ids" bounds an id. */
static void find_limits(const struct xc_graph *g, struct xc_model_info *info)
{
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];
        const struct xc_value *ids;
        int64_t rows;

        if (strcmp(node->op->name, "gather") || node->n_in < 2 || node->in[0].kind != XC_REF_VALUE || node->in[1].kind != XC_REF_TENSOR) continue;
        ids = &g->values[node->in[0].id];
        rows = xc_tensor_rows(g->model->tensors[node->in[1].id]);
        if (ids->node < 0) {
            if (!strcmp(ids->name, "ids")) info->vocab_size = (int32_t)rows;
        } else if (!strcmp(g->nodes[ids->node].op->name, "positions")) {
            const struct xc_attr_positions *attr = g->nodes[ids->node].attr;

            if (!attr->modulo) info->max_positions = (int32_t)xc_min_i64(xc_max_i64(xc_positions_limit(attr, rows), 0), INT32_MAX);
        }
    }
}

static enum xc_status graph_info(const struct xc_graph *g, struct xc_model_info *info, struct xc_err *err)
{
    const struct xc_model *m = g->model;
    const char *task = xc_model_meta(m, "task"), *family = xc_model_meta(m, "family");
    const struct xc_value *out;

    *info = (struct xc_model_info){ 0 };
    if (g->n_outputs < 1) return xc_fail(err, XC_E_FORMAT, "graph '%s' has no output", g->name);
    out = &g->values[g->outputs[0]];
    info->task = task ? task : "encode";
    info->family = family ? family : "unknown";
    info->output_cols = out->cols;
    info->per_token = g->spaces[out->space].map != XC_MAP_SEQUENCE;
    info->max_tokens = meta_int(m, "max_tokens");
    info->n_labels = m->n_labels;
    info->has_tokenizer = m->tokenizer != NULL;
    for (int32_t i = 0; i < g->n_inputs; i++) info->has_types |= !strcmp(g->values[g->inputs[i]].name, "types");
    find_limits(g, info);
    if (info->max_positions && (!info->max_tokens || info->max_tokens > info->max_positions)) info->max_tokens = info->max_positions;
    return XC_OK;
}

enum xc_status xc_model_info(const struct xc_model *model, struct xc_model_info *info, struct xc_err *err)
{
    const struct xc_graph *g = xc_model_find_graph(model, "encode");

    *info = (struct xc_model_info){ 0 };
    if (!g) return xc_fail(err, XC_E_NOT_FOUND, "the model has no graph 'encode'");
    return graph_info(g, info, err);
}

const char *xc_model_label(const struct xc_model *model, int32_t i) { return i >= 0 && i < model->n_labels ? model->labels[i] : NULL; }

/* ---- open and close ---- */
/* A session feeds token ids and types; other inputs belong to drivers of their own. */
static enum xc_status check_inputs(const struct xc_graph *g, struct xc_err *err)
{
    for (int32_t i = 0; i < g->n_inputs; i++) {
        const struct xc_value *v = &g->values[g->inputs[i]];

        if ((strcmp(v->name, "ids") && strcmp(v->name, "types")) || v->dtype != XC_DTYPE_I32 || v->cols != 1 || v->space != g->values[g->inputs[0]].space)
            return xc_fail(err, XC_E_UNSUPPORTED, "graph '%s' takes '%s', which a text session cannot give", g->name, v->name);
    }
    return g->n_inputs ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "graph '%s' takes no input", g->name);
}

static enum xc_status load_tensors(struct xc_model *m, struct xc_err *err)
{
    for (int32_t i = 0; i < m->n_tensors; i++) XC_TRY(xc_tensor_load(m->tensors[i], err));
    return XC_OK;
}

enum xc_status xc_session_new(struct xc_session **out, struct xc_model *model, const struct xc_session_opts *opts, struct xc_err *err)
{
    static const struct xc_session_opts defaults;
    const struct xc_kernels *kern;
    struct xc_session *s = xc_calloc(1, sizeof *s);
    enum xc_status status = XC_OK;

    *out = NULL;
    if (!s) return xc_fail_nomem(err, sizeof *s);
    if (!opts) opts = &defaults;
    kern = opts->isa ? xc_kernels_for(opts->isa) : xc_kernels();
    s->model = model;
    s->graph = xc_model_find_graph(model, opts->graph ? opts->graph : "encode");
    if (!kern) status = xc_fail(err, XC_E_UNSUPPORTED, "this machine or build has no '%s' kernels", opts->isa);
    else if (!s->graph) status = xc_fail(err, XC_E_NOT_FOUND, "the model has no graph '%s'", opts->graph ? opts->graph : "encode");
    if (status != XC_OK) goto out;
    XC_TRY_GOTO(check_inputs(s->graph, err), out);
    XC_TRY_GOTO(graph_info(s->graph, &s->info, err), out);
    s->max_tokens = opts->max_tokens > 0 ? opts->max_tokens : s->info.max_tokens;
    if (s->info.max_positions && s->max_tokens > s->info.max_positions) s->max_tokens = s->info.max_positions;
    if (!opts->lazy) XC_TRY_GOTO(load_tensors(model, err), out);
    if (model->tokenizer) XC_TRY_GOTO(xc_tokenizer_open(&s->tokenizer, model->tokenizer, err), out);
    XC_TRY_GOTO(xc_run_new(&s->run, model, kern, opts->pool, err), out);
    s->run->lazy = opts->lazy;
    if (!opts->plain && !opts->lazy) XC_TRY_GOTO(xc_plan_new(&s->plan, s->graph, kern, err), out);
    *out = s;
    s = NULL;
out:
    xc_session_free(&s);
    return status;
}

void xc_session_free(struct xc_session **session)
{
    struct xc_session *s = *session;

    *session = NULL;
    if (!s) return;
    xc_plan_free(&s->plan);
    xc_run_free(&s->run);
    xc_tokenizer_free(&s->tokenizer);
    xc_tokens_release(&s->tokens);
    xc_free(s->start);
    xc_free(s->offsets);
    xc_free(s->types);
    xc_free(s);
}

/* ---- running ids ---- */
static enum xc_status check_ids(const struct xc_session *s, const int32_t *ids, const int64_t *start, int64_t n, struct xc_err *err)
{
    if (n < 0 || n > INT32_MAX - 1) return xc_fail(err, XC_E_RANGE, "a batch of %lld sequences is out of range", (long long)n);
    if (n > 0 && start[0] < 0) return xc_fail(err, XC_E_ARG, "sequence 0 starts at %lld", (long long)start[0]);
    for (int64_t i = 0; i < n; i++) {
        const int64_t len = start[i + 1] - start[i];

        if (len < 0) return xc_fail(err, XC_E_ARG, "sequence %lld ends before it starts", (long long)i);
        if (start[i + 1] - start[0] > INT32_MAX) return xc_fail(err, XC_E_RANGE, "a batch of more than %d tokens; split it", INT32_MAX);
        if (s->info.max_positions && len > s->info.max_positions)
            return xc_fail(err, XC_E_RANGE, "sequence %lld has %lld tokens, the model has %d positions", (long long)i, (long long)len, s->info.max_positions);
        if (!s->info.vocab_size) continue;
        for (int64_t t = start[i]; t < start[i + 1]; t++)
            if (ids[t] < 0 || ids[t] >= s->info.vocab_size)
                return xc_fail(err, XC_E_RANGE, "sequence %lld, position %lld: token id %d is outside the vocabulary of %d", (long long)i,
                               (long long)(t - start[i]), ids[t], s->info.vocab_size);
    }
    return XC_OK;
}

enum xc_status xc_session_run_ids(struct xc_session *s, const int32_t *ids, const uint8_t *types, const int64_t *start, int64_t n,
                                  struct xc_output *out, struct xc_err *err)
{
    const struct xc_graph *g = s->graph;
    struct xc_view in[2], result[8];
    int64_t rows;

    *out = (struct xc_output){ 0 };
    XC_TRY(check_ids(s, ids, start, n, err));
    rows = n ? start[n] - start[0] : 0;
    XC_TRY(xc_grow((void **)&s->offsets, &s->cap_offsets, (size_t)n + 1, sizeof *s->offsets, err));
    s->offsets[0] = 0;
    for (int64_t i = 0; i < n; i++) s->offsets[i + 1] = (int32_t)(start[i + 1] - start[0]);
    if (s->info.has_types) {
        XC_TRY(xc_grow((void **)&s->types, &s->cap_types, (size_t)rows + 1, sizeof *s->types, err));
        for (int64_t t = 0; t < rows; t++) s->types[t] = types ? types[start[0] + t] : 0;
    }
    if (g->n_inputs > 2 || g->n_outputs > (int32_t)XC_ARRAY_LEN(result)) return xc_fail(err, XC_E_UNSUPPORTED, "graph '%s' has too many inputs or outputs", g->name);
    for (int32_t i = 0; i < g->n_inputs; i++) {
        const bool is_types = !strcmp(g->values[g->inputs[i]].name, "types");
        union { const int32_t *read; void *any; } p = { .read = is_types ? s->types : n ? ids + start[0] : ids }; /* inputs are only read */

        in[i] = (struct xc_view){ .data = p.any, .rows = rows, .cols = 1 };
    }
    s->ragged = (struct xc_ragged){ .start = s->offsets, .n_seq = (int32_t)n };
    if (s->plan) XC_TRY(xc_plan_run(s->plan, s->run, in, &s->ragged, 1, result, err));
    else XC_TRY(xc_run_graph(s->run, g, in, &s->ragged, 1, result, err));

    out->data = result[0].data;
    out->rows = result[0].rows;
    out->cols = result[0].cols;
    out->n = n;
    out->tokens = rows;
    if (s->info.per_token) {
        out->start = result[0].rag->start;
    } else { /* an empty sequence has nothing to say */
        for (int64_t i = 0; i < n; i++)
            if (s->offsets[i] == s->offsets[i + 1]) memset((float *)result[0].data + i * out->cols, 0, (size_t)out->cols * sizeof(float));
    }
    return XC_OK;
}

/* ---- running texts ---- */
static enum xc_status begin_texts(struct xc_session *s, int64_t n, struct xc_err *err)
{
    s->tokens.n = 0;
    s->n_texts = 0;
    if (!s->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no tokenizer; give token ids");
    if (n < 0) return xc_fail(err, XC_E_ARG, "a batch of %lld texts", (long long)n);
    XC_TRY(xc_grow((void **)&s->start, &s->cap_start, (size_t)n + 1, sizeof *s->start, err));
    s->start[0] = 0;
    s->n_texts = n;
    return XC_OK;
}

static enum xc_status encode_texts(struct xc_session *s, const char *const *a, const size_t *a_len, const char *const *b, const size_t *b_len, int64_t n,
                                   bool truncate, bool *truncated, struct xc_err *err)
{
    const struct xc_encode_opts opts = { .max_tokens = s->max_tokens, .no_truncate = !truncate };

    *truncated = false;
    XC_TRY(begin_texts(s, n, err));
    for (int64_t i = 0; i < n; i++) {
        XC_TRY(xc_tokenizer_encode(s->tokenizer, &s->tokens, a[i], a_len ? a_len[i] : strlen(a[i]), b ? b[i] : NULL,
                                   b ? (b_len ? b_len[i] : strlen(b[i])) : 0, &opts, err));
        *truncated |= s->tokens.truncated;
        s->start[i + 1] = (int64_t)s->tokens.n;
    }
    return XC_OK;
}

static enum xc_status run_encoded(struct xc_session *s, int64_t n, bool truncated, struct xc_output *out, struct xc_err *err)
{
    XC_TRY(xc_session_run_ids(s, s->tokens.ids, s->tokens.types, s->start, n, out, err));
    out->truncated = truncated;
    return XC_OK;
}

enum xc_status xc_session_run_texts(struct xc_session *s, const char *const *texts, const size_t *lengths, int64_t n, struct xc_output *out,
                                    struct xc_err *err)
{
    return xc_session_run_pairs(s, texts, lengths, NULL, NULL, n, out, err);
}

enum xc_status xc_session_run_pairs(struct xc_session *s, const char *const *a, const size_t *a_lengths, const char *const *b, const size_t *b_lengths,
                                    int64_t n, struct xc_output *out, struct xc_err *err)
{
    bool truncated;

    *out = (struct xc_output){ 0 };
    XC_TRY(encode_texts(s, a, a_lengths, b, b_lengths, n, true, &truncated, err));
    return run_encoded(s, n, truncated, out, err);
}

enum xc_status xc_session_run_words(struct xc_session *s, const char *const *words, const int64_t *word_start, int64_t n, struct xc_output *out,
                                    struct xc_err *err)
{
    const struct xc_encode_opts opts = { .max_tokens = s->max_tokens };
    bool truncated = false;

    *out = (struct xc_output){ 0 };
    XC_TRY(begin_texts(s, n, err));
    for (int64_t i = 0; i < n; i++) {
        XC_TRY(xc_tokenizer_encode_words(s->tokenizer, &s->tokens, words + word_start[i], (size_t)(word_start[i + 1] - word_start[i]), &opts, err));
        truncated |= s->tokens.truncated;
        s->start[i + 1] = (int64_t)s->tokens.n;
    }
    return run_encoded(s, n, truncated, out, err);
}

void xc_session_tokens(const struct xc_session *s, struct xc_tokens_view *out)
{
    *out = (struct xc_tokens_view){ .ids = s->tokens.ids, .words = s->tokens.words, .types = s->tokens.types, .start = s->start, .n = s->n_texts };
}

enum xc_status xc_session_tokenize(struct xc_session *s, const char *const *texts, const size_t *lengths, int64_t n, bool truncate,
                                   struct xc_tokens_view *out, struct xc_err *err)
{
    bool truncated;

    *out = (struct xc_tokens_view){ 0 };
    XC_TRY(encode_texts(s, texts, lengths, NULL, NULL, n, truncate, &truncated, err));
    xc_session_tokens(s, out);
    return XC_OK;
}
