/* prune_vocabulary: the rows of the word table that a corpus never uses go, and with them their tokens: the tokenizer in the file shrinks and
 * numbers what is left anew. Texts made of kept tokens get the same answers as before, to the bit; in other texts a word falls to smaller
 * pieces, or to the unknown token where there are none (Abdaoui et al. 2020, "Load what you need", arXiv:2010.05609).
 *
 * A decoder that shares the table (or, in a masked language model, has rows of its own) loses the same rows. */
#include <string.h>

#include "compress/calibrate/calibrate.h"
#include "compress/pass.h"
#include "compress/shrink/surgery.h"
#include "formats/tokenizer.h"
#include "runtime/text/tokenizer.h"

static const struct xc_pass_option options[] = {
    { .name = "min_count", .help = "a token stays when the texts of --calibrate use it that often (see --calibrate-rows: all of them should be read)", .def = "1", .min = 1, .max = 1e9 },
    { .name = "characters", .help = "keep the single characters of a WordPiece vocabulary, so that unseen words are spelled instead of unknown", .def = "yes", .choices = "yes|no" },
    { .name = NULL },
};

struct vocabulary {
    const struct xc_prepare *p;
    int64_t *count;  /* by id */
    uint8_t *keep;
    int32_t *new_id, *old_id;
    int32_t n, kept; /* tokens before and after */
};

static enum xc_status count_tokens(struct vocabulary *v, struct xc_err *err)
{
    const struct xc_encode_opts all = { .no_truncate = true };
    const struct xc_texts *texts = v->p->texts;
    struct xc_tokenizer *tok = NULL;
    struct xc_tokens out = { 0 };
    enum xc_status status;

    XC_TRY(xc_tokenizer_open(&tok, v->p->model->tokenizer, err));
    v->n = xc_tokenizer_vocab_size(tok);
    v->count = xc_calloc((size_t)v->n + 1, sizeof *v->count);
    v->keep = xc_calloc((size_t)v->n + 1, 1);
    v->new_id = xc_malloc(((size_t)v->n + 1) * sizeof *v->new_id);
    v->old_id = xc_malloc(((size_t)v->n + 1) * sizeof *v->old_id);
    status = v->count && v->keep && v->new_id && v->old_id ? XC_OK : xc_fail_nomem(err, (size_t)v->n * sizeof *v->count);
    for (int64_t i = 0; i < texts->n && status == XC_OK; i++) {
        out.n = 0;
        status = xc_tokenizer_encode(tok, &out, texts->text[i], texts->length[i], NULL, 0, &all, err);
        for (size_t t = 0; t < out.n && status == XC_OK; t++) v->count[out.ids[t]]++;
    }
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    return status;
}

static enum xc_status choose(struct vocabulary *v, struct xc_err *err)
{
    const double least = xc_recipe_number(v->p->spec, "min_count");

    XC_TRY(count_tokens(v, err));
    for (int32_t i = 0; i < v->n; i++) v->keep[i] = (double)v->count[i] >= least;
    XC_TRY(xc_tokenizer_close_set(v->keep, v->p->model->tokenizer, xc_recipe_is(v->p->spec, "characters", "yes"), err));
    for (int32_t i = 0; i < v->n; i++) {
        v->new_id[i] = v->keep[i] ? v->kept : -1;
        if (v->keep[i]) v->old_id[v->kept++] = i;
    }
    return XC_OK;
}

/* ---- the model ---- */
static bool is_op(const struct xc_node *node, const char *op) { return !strcmp(node->op->name, op); }

static bool reads_ids(const struct xc_graph *g, const struct xc_node *node)
{
    const int32_t v = is_op(node, "gather") && node->in[0].kind == XC_REF_VALUE ? node->in[0].id : -1;

    return v >= 0 && g->values[v].node < 0 && !strcmp(g->values[v].name, "ids");
}

static enum xc_status check_table(const struct vocabulary *v, const struct xc_tensor *t, struct xc_err *err)
{
    if (t->part[XC_PART_DATA] && t->enc.format > XC_FMT_BF16) return xc_fail(err, XC_E_UNSUPPORTED, "table '%s' is quantized already: put pass 'prune_vocabulary' before", t->name);
    if (xc_tensor_rows(t) >= v->n) return XC_OK;
    return xc_fail(err, XC_E_FORMAT, "table '%s' has %lld rows, the tokenizer %d tokens", t->name, (long long)xc_tensor_rows(t), v->n);
}

/* All tensors that have a row for each token, each once: tables of ids, and linears that share one or whose output is that of a masked language
 * model. `cut` is by tensor. */
static enum xc_status mark(const struct vocabulary *v, uint8_t *cut, struct xc_err *err)
{
    const struct xc_model *m = v->p->model;
    const char *task = xc_model_meta(m, "task");

    for (int round = 0; round < 2; round++) /* tables first: a decoder may come before one in another graph */
        for (int32_t i = 0; i < m->n_graphs; i++)
            for (int32_t n = 0; n < m->graphs[i]->n_nodes; n++) {
                const struct xc_graph *g = m->graphs[i];
                const struct xc_node *node = &g->nodes[n];
                const int32_t t = node->n_in > 1 && node->in[1].kind == XC_REF_TENSOR ? node->in[1].id : -1;

                if (t < 0) continue;
                if (!round && reads_ids(g, node)) {
                    XC_TRY(check_table(v, m->tensors[t], err));
                    cut[t] = 1;
                }
                if (round && cut[t] && is_op(node, "gather") && !reads_ids(g, node)) return xc_fail(err, XC_E_UNSUPPORTED, "node '%s' reads the word table by other ids", node->name);
                if (!round || !is_op(node, "linear") || !(cut[t] || (task && !strcmp(task, "mlm") && g->n_outputs && node->out[0] == g->outputs[0]))) continue;
                XC_TRY(check_table(v, m->tensors[t], err));
                cut[t] = 1;
                if (node->n_in > 2 && node->in[2].kind == XC_REF_TENSOR) cut[node->in[2].id] = 1;
            }
    return XC_OK;
}

static void move_id(const struct vocabulary *v, int32_t *id)
{
    if (*id >= 0 && *id < v->n) *id = v->new_id[*id];
}

/* RoBERTa's positions skip the id of padding; a question ends at a separator. */
static void move_ids(const struct vocabulary *v)
{
    for (int32_t i = 0; i < v->p->model->n_graphs; i++)
        for (int32_t n = 0; n < v->p->model->graphs[i]->n_nodes; n++) {
            const struct xc_node *node = &v->p->model->graphs[i]->nodes[n];

            if (is_op(node, "positions")) move_id(v, &((struct xc_attr_positions *)node->attr)->skip_id);
            if (is_op(node, "segment")) move_id(v, &((struct xc_attr_segment *)node->attr)->end_id);
        }
}

static enum xc_status cut(struct vocabulary *v, struct xc_err *err)
{
    struct xc_model *m = v->p->model;
    uint8_t *marked = xc_calloc((size_t)m->n_tensors + 1, 1);
    struct xc_buf *section = NULL;
    enum xc_status status = marked ? mark(v, marked, err) : xc_fail_nomem(err, (size_t)m->n_tensors);

    if (status == XC_OK) status = xc_tokenizer_subset(&section, m->tokenizer, v->new_id, err);
    for (int32_t t = 0; t < m->n_tensors && status == XC_OK; t++)
        if (marked[t]) status = xc_surgery_keep(m->tensors[t], 0, v->old_id, v->kept, v->p->plan_only, err);
    for (int32_t i = 0; i < m->n_graphs && status == XC_OK; i++) status = xc_surgery_reshape(m->graphs[i], err);
    if (status == XC_OK) {
        move_ids(v);
        xc_buf_unref(&m->tokenizer);
        m->tokenizer = section;
        section = NULL;
    }
    xc_buf_unref(&section);
    xc_free(marked);
    return status;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    struct vocabulary v = { .p = p };
    enum xc_status status;

    XC_TRY(xc_pass_no_overrides(p->spec, err));
    if (!p->model->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "pass 'prune_vocabulary' needs a model with a tokenizer");
    if (p->spec->targets.n || p->spec->ignore.n) return xc_fail(err, XC_E_ARG, "pass 'prune_vocabulary' treats the vocabulary: it takes no targets and no exceptions");
    if (!p->texts) return xc_fail(err, XC_E_ARG, "pass 'prune_vocabulary' needs the texts whose words stay: name a file of them (--calibrate FILE)");
    status = choose(&v, err);
    if (status == XC_OK && v.kept < v.n) status = cut(&v, err);
    xc_free(v.count);
    xc_free(v.keep);
    xc_free(v.new_id);
    xc_free(v.old_id);
    return status;
}

const struct xc_pass xc_pass_prune_vocabulary = { .name = "prune_vocabulary", .summary = "only the tokens that a corpus uses", .options = options, .prepare = prepare,
                                                  .plan = xc_pass_nothing, .apply = xc_pass_nothing };
