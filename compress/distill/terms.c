/* terms: see terms.h. */
#include "compress/distill/terms.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/grad/grad_relation.h"
#include "compress/train/loss.h"
#include "runtime/base/rng.h"

#define STREAM (uint64_t)0x70726f6a /* "proj": of the generator */

const char *const xc_distill_losses[] = { "embedding", "hidden", "attention", "attention_relation", "value_relation", "cosine", "cls", "logits", "labels", "output", "output_cosine", NULL };

struct build {
    struct xc_terms *t;
    struct xc_model *student;
    struct xc_blocks blocks;
    const struct xc_teacher *teacher; /* the one in work */
    int32_t teacher_index;
    const struct xc_distill_opts *opts;
};

static bool asked(const struct xc_distill_opts *o, enum xc_distill_loss loss)
{
    for (size_t i = 0; i < o->n_stages; i++)
        if (o->stage[i].weight[loss] > 0) return true;
    return false;
}

/* ---- outputs ---- */
static enum xc_status output_of(struct build *b, int32_t *out, int32_t value, struct xc_err *err)
{
    struct xc_graph *g = b->t->graph;

    for (*out = 0; *out < g->n_outputs; (*out)++)
        if (g->outputs[*out] == value) return XC_OK;
    return xc_graph_add_output(g, value, err);
}

/* value, or its projection to the teacher's width; kind: which projection ("hidden"), node: a name of its own. */
static enum xc_status projected(struct build *b, int32_t *out, int32_t value, int32_t cols, const char *kind, int32_t place, struct xc_err *err)
{
    struct xc_graph *g = b->t->graph;
    const int64_t dim[2] = { cols, g->values[value].cols };
    char name[64];
    int32_t w, y;

    if (g->values[value].cols == cols) return output_of(b, out, value, err);
    snprintf(name, sizeof name, "distill.%d.%s.weight", b->teacher_index, kind);
    w = xc_model_find_tensor(b->student, name);
    if (w < 0) {
        float *x = xc_malloc((size_t)(dim[0] * dim[1]) * sizeof *x);
        struct xc_rng rng;
        enum xc_status status;

        if (!x) return xc_fail_nomem(err, (size_t)(dim[0] * dim[1]) * sizeof *x);
        status = xc_model_add_tensor(b->student, &w, name, 2, dim, err);
        xc_rng_init(&rng, b->opts->train.seed, STREAM + (uint64_t)w);
        for (int64_t i = 0; i < dim[0] * dim[1]; i++) x[i] = (float)(xc_rng_normal(&rng) / sqrt((double)dim[1]));
        if (status == XC_OK) status = xc_tensor_set_f32(b->student->tensors[w], x, err);
        xc_free(x);
        XC_TRY(status);
    }
    snprintf(name, sizeof name, "distill.%d.%s.%d", b->teacher_index, kind, place);
    y = xc_graph_find_node(g, name); /* another loss has the same */
    if (y >= 0) return output_of(b, out, g->nodes[y].out[0], err);
    XC_TRY(xc_graph_add_node(g, &y, "linear", name, (struct xc_ref[]){ xc_val(value), xc_ten(w) }, 2, NULL, err));
    return output_of(b, out, y, err);
}

static enum xc_status add(struct build *b, const struct xc_term *term, struct xc_err *err)
{
    XC_TRY(xc_grow((void **)&b->t->term, &b->t->cap, (size_t)b->t->n + 1, sizeof *b->t->term, err));
    b->t->term[b->t->n++] = *term;
    return XC_OK;
}

static enum xc_status add_rows(struct build *b, enum xc_distill_loss loss, int32_t value, int32_t want, const char *kind, int32_t place, struct xc_err *err)
{
    struct xc_term term = { .loss = loss, .teacher = b->teacher_index, .want = want };

    if (!asked(b->opts, loss)) return XC_OK;
    XC_TRY(projected(b, &term.out, value, b->teacher->graph->values[want].cols, kind, place, err));
    return add(b, &term, err);
}

/* ---- attention ---- */
static const struct xc_attr_attention *attention_of(const struct xc_graph *g, const struct xc_block *block) { return g->nodes[block->attention].attr; }

static enum xc_status add_relation(struct build *b, enum xc_distill_loss loss, const struct xc_block *s, const struct xc_block *t, struct xc_err *err)
{
    const struct xc_graph *g = b->t->graph, *gt = b->teacher->graph;
    const struct xc_attr_attention *mine = attention_of(g, s), *theirs = attention_of(gt, t);
    const bool values = loss == XC_DISTILL_VALUE_RELATION;
    struct xc_term term = { .loss = loss, .teacher = b->teacher_index, .heads = b->opts->relation_heads ? b->opts->relation_heads : mine->heads, .causal = mine->causal,
                            .want = values ? t->value : t->query, .want2 = values ? t->value : t->key };
    const int32_t cols = g->values[values ? s->value : s->query].cols, cols_t = gt->values[term.want].cols;

    if (!asked(b->opts, loss)) return XC_OK;
    if (loss == XC_DISTILL_ATTENTION && !b->opts->relation_heads && mine->heads != theirs->heads)
        return xc_fail(err, XC_E_ARG, "loss 'attention' compares heads one by one, but node '%s' has %d and the teacher's '%s' has %d: set relation_heads, or take attention_relation or value_relation",
                       g->nodes[s->attention].name, mine->heads, gt->nodes[t->attention].name, theirs->heads);
    if (cols % term.heads || cols_t % term.heads)
        return xc_fail(err, XC_E_ARG, "loss '%s' cuts %d columns of '%s' and %d of the teacher's '%s' into %d heads: set relation_heads to a number that divides both", xc_distill_losses[loss], cols,
                       g->nodes[s->attention].name, cols_t, gt->nodes[t->attention].name, term.heads);
    if (mine->causal != theirs->causal) return xc_fail(err, XC_E_ARG, "the attention of student and teacher are not of one kind: only one of them is causal");
    XC_TRY(output_of(b, &term.out, values ? s->value : s->query, err));
    XC_TRY(output_of(b, &term.out2, values ? s->value : s->key, err));
    return add(b, &term, err);
}

/* ---- layers ---- */
/* The teacher's layer for student layer m = 1..M of its N; 0 = none. */
static int32_t mapped(const struct xc_distill_opts *o, int32_t m, int32_t M, int32_t N)
{
    if (o->map == XC_LAYERS_CUSTOM) return o->layer[m - 1];
    return o->map == XC_LAYERS_TOP ? N - M + m : m * N / M;
}

static enum xc_status check_map(const struct build *b, struct xc_err *err)
{
    const int32_t M = b->blocks.n, N = b->teacher->blocks.n;

    if (b->opts->map == XC_LAYERS_CUSTOM && b->opts->n_layer != M) return xc_fail(err, XC_E_ARG, "the layer map has %d entries, the student %d layers", b->opts->n_layer, M);
    if (b->opts->map != XC_LAYERS_CUSTOM && M > N) return xc_fail(err, XC_E_ARG, "the student has %d layers, its teacher %d: give a layer map", M, N);
    for (int32_t m = 1; m <= M; m++)
        if (mapped(b->opts, m, M, N) < 0 || mapped(b->opts, m, M, N) > N) return xc_fail(err, XC_E_ARG, "the layer map names layer %d of a teacher with %d layers", mapped(b->opts, m, M, N), N);
    return XC_OK;
}

static enum xc_status add_layers(struct build *b, struct xc_err *err)
{
    XC_TRY(check_map(b, err));
    for (int32_t m = 1; m <= b->blocks.n; m++) {
        const int32_t layer = mapped(b->opts, m, b->blocks.n, b->teacher->blocks.n);
        const struct xc_block *s = &b->blocks.block[m - 1], *t = layer ? &b->teacher->blocks.block[layer - 1] : NULL;

        if (!t) continue;
        XC_TRY(add_rows(b, XC_DISTILL_HIDDEN, s->hidden, t->hidden, "hidden", m, err));
        XC_TRY(add_rows(b, XC_DISTILL_COSINE, s->hidden, t->hidden, "hidden", m, err));
        XC_TRY(add_rows(b, XC_DISTILL_CLS, s->hidden, t->hidden, "hidden", m, err));
        XC_TRY(add_relation(b, XC_DISTILL_ATTENTION, s, t, err));
        XC_TRY(add_relation(b, XC_DISTILL_ATTENTION_RELATION, s, t, err));
        XC_TRY(add_relation(b, XC_DISTILL_VALUE_RELATION, s, t, err));
    }
    return XC_OK;
}

/* ---- answers ---- */
static enum xc_status add_answers(struct build *b, struct xc_err *err)
{
    const struct xc_graph *g = b->t->graph, *gt = b->teacher->graph;
    const int32_t mine = g->outputs[0], theirs = b->teacher->blocks.output;
    const bool classes = b->student->n_labels > 0 || !strcmp(b->opts->train.task, "mlm") || !strcmp(b->opts->train.task, "answer") ||
                         !strcmp(b->opts->train.task, "choice"); /* an answer chooses among tokens, a choice among sequences */
    const struct xc_term term = { .loss = XC_DISTILL_LOGITS, .teacher = b->teacher_index, .want = theirs };

    if (asked(b->opts, XC_DISTILL_LOGITS)) {
        if (!classes) return xc_fail(err, XC_E_ARG, "loss 'logits' is for models that choose among classes; task '%s' has 'output' and 'output_cosine'", b->opts->train.task);
        if (g->values[mine].cols != gt->values[theirs].cols)
            return xc_fail(err, XC_E_MISMATCH, "the student answers with %d classes, teacher '%s' with %d", g->values[mine].cols, b->teacher->path, gt->values[theirs].cols);
        XC_TRY(add(b, &term, err));
    }
    if (classes && (asked(b->opts, XC_DISTILL_OUTPUT) || asked(b->opts, XC_DISTILL_OUTPUT_COSINE)))
        return xc_fail(err, XC_E_ARG, "losses 'output' and 'output_cosine' are for embeddings and scores; a model that chooses among classes has 'logits'");
    XC_TRY(add_rows(b, XC_DISTILL_OUTPUT, mine, theirs, "output", 0, err));
    return add_rows(b, XC_DISTILL_OUTPUT_COSINE, mine, theirs, "output", 0, err);
}

enum xc_status xc_terms_make(struct xc_terms *out, struct xc_model *student, const struct xc_teacher *teachers, const struct xc_distill_opts *opts, struct xc_err *err)
{
    struct build b = { .t = out, .student = student, .opts = opts };
    const struct xc_graph *encode = xc_model_find_graph(student, "encode");

    *out = (struct xc_terms){ 0 };
    XC_TRY(xc_model_copy_graph(student, &out->graph, encode, XC_DISTILL_GRAPH, err));
    XC_TRY(xc_blocks_find(&b.blocks, out->graph, err));
    for (size_t i = 0; i < opts->n_teachers; i++) {
        b.teacher = &teachers[i];
        b.teacher_index = (int32_t)i;
        XC_TRY(add_rows(&b, XC_DISTILL_EMBEDDING, b.blocks.embedding, b.teacher->blocks.embedding, "embedding", 0, err));
        XC_TRY(add_layers(&b, err));
        XC_TRY(add_answers(&b, err));
    }
    return out->n || asked(opts, XC_DISTILL_LABELS) ? XC_OK : xc_fail(err, XC_E_ARG, "no loss has a weight: there is nothing to learn");
}

void xc_terms_release(struct xc_terms *t)
{
    xc_free(t->term);
    xc_scratch_release(&t->memory);
    *t = (struct xc_terms){ 0 };
}

/* ---- the loss of a batch ---- */
/* The gradient of output i, zero when nothing has been added yet. */
static enum xc_status reach(struct xc_terms *terms, struct xc_training *t, int32_t i, struct xc_err *err)
{
    const size_t bytes = (size_t)(t->outs[i].rows * t->outs[i].cols) * sizeof(float);

    if (t->d_outs[i]) return XC_OK;
    t->d_outs[i] = i ? xc_scratch_alloc(&terms->memory, bytes) : t->d_out;
    if (!t->d_outs[i]) return xc_fail_nomem(err, bytes);
    memset(t->d_outs[i], 0, bytes);
    return XC_OK;
}

static enum xc_status relation(struct xc_training *t, const struct xc_term *term, const struct xc_teacher *teacher, double weight, const struct xc_counts *all, double *sum, struct xc_err *err)
{
    const struct xc_view *a = &t->outs[term->out], *ta = &teacher->run->views[term->want];
    const bool scores = term->loss == XC_DISTILL_ATTENTION;
    const double items = (scores ? term->causal ? (all->pairs + (double)all->tokens) / 2 : all->pairs : (double)all->tokens) * term->heads;
    const struct xc_relation r = { .mode = scores ? XC_RELATION_SCORES : XC_RELATION_SOFTMAX, .heads = term->heads, .causal = term->causal, .rag = a->rag, .a = a->data, .b = t->outs[term->out2].data,
                                   .teacher_a = ta->data, .teacher_b = teacher->run->views[term->want2].data, .cols = a->cols, .teacher_cols = ta->cols, .weight = weight / items,
                                   .da = t->d_outs[term->out], .db = t->d_outs[term->out2], .kern = xc_kernels(), .pool = t->opts->pool };

    XC_TRY(xc_relation_loss(&r, sum, err));
    *sum *= r.weight;
    return XC_OK;
}

static double rows_loss(struct xc_training *t, const struct xc_term *term, const struct xc_teacher *teacher, const struct xc_distill_opts *opts, double weight, const struct xc_counts *all)
{
    const struct xc_view *x = &t->outs[term->out];
    const float *want = teacher->run->views[term->want].data;
    float *d = t->d_outs[term->out];
    struct xc_pool *pool = t->opts->pool;
    const double rows = (double)(x->rows == t->batch.sequences && t->graph->spaces[t->graph->values[t->graph->outputs[term->out]].space].map == XC_MAP_SEQUENCE ? all->sequences : all->tokens);

    if (term->loss == XC_DISTILL_LOGITS && !strcmp(opts->train.task, "answer")) {
        const double w = weight / (double)all->sequences;

        return w * xc_loss_soft_spans(d, t->each, x->data, want, t->batch.start, t->batch.sequences, opts->temperature, w, pool);
    }
    if (term->loss == XC_DISTILL_LOGITS && !strcmp(opts->train.task, "choice")) {
        const double w = weight / (double)all->rows;

        return w * xc_loss_soft(d, t->each, x->data, want, t->batch.rows, t->set.per_row, opts->temperature, w, pool);
    }
    switch (term->loss) {
    case XC_DISTILL_LOGITS: return weight / rows * xc_loss_soft(d, t->each, x->data, want, x->rows, x->cols, opts->temperature, weight / rows, pool);
    case XC_DISTILL_COSINE:
    case XC_DISTILL_OUTPUT_COSINE: return weight / rows * xc_loss_direction(d, t->each, x->data, want, NULL, x->rows, x->cols, weight / rows, pool);
    case XC_DISTILL_CLS: {
        const double w = 2 * weight / (double)all->sequences;

        return w * xc_loss_direction(d, t->each, x->data, want, x->rag->start, t->batch.sequences, x->cols, w, pool);
    }
    default: break;
    }
    const double w = weight / (rows * (double)x->cols);

    return w * xc_loss_mse(d, t->each, x->data, want, x->rows, x->cols, w, pool);
}

enum xc_status xc_terms_loss(struct xc_terms *terms, struct xc_training *t, const struct xc_teacher *teachers, int32_t n_teachers, const struct xc_distill_opts *opts, const double *weight,
                             const struct xc_counts *all, double *sum, struct xc_err *err)
{
    *sum = 0;
    XC_TRY(xc_scratch_reset(&terms->memory, err));
    XC_TRY(xc_grow((void **)&t->each, &t->cap_each, (size_t)t->batch.tokens + 1, sizeof *t->each, err));
    memset(t->d_outs, 0, (size_t)t->graph->n_outputs * sizeof *t->d_outs);
    if (weight[XC_DISTILL_LABELS] > 0 && all->targets) { /* the first: it writes its gradient */
        const double w = weight[XC_DISTILL_LABELS] / (double)all->targets, loss = w * xc_training_loss(t, w);

        t->d_outs[0] = t->d_out;
        terms->last[XC_DISTILL_LABELS] += loss;
        *sum += loss;
    }
    for (int32_t i = 0; i < terms->n; i++) {
        const struct xc_term *term = &terms->term[i];
        const double w = weight[term->loss] / n_teachers;
        double loss;

        if (!(w > 0)) continue;
        XC_TRY(reach(terms, t, term->out, err));
        if (term->heads) {
            XC_TRY(reach(terms, t, term->out2, err));
            XC_TRY(relation(t, term, &teachers[term->teacher], w, all, &loss, err));
        } else {
            loss = rows_loss(t, term, &teachers[term->teacher], opts, w, all);
        }
        terms->last[term->loss] += loss;
        *sum += loss;
    }
    return XC_OK;
}
