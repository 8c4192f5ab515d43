/* distill: see distill.h. This file opens the teachers, gives the loop of train/ its objective, and says in the manifest what was done. */
#include "compress/distill/distill.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/distill/augment.h"
#include "compress/distill/terms.h"
#include "compress/manifest.h"
#include "compress/train/head.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/base/atomic_file.h"
#include "runtime/text/tokenizer.h"

struct distill {
    const struct xc_distill_opts *opts;
    struct xc_finetune_opts train;  /* what the loop gets */
    struct xc_stage *stages;
    struct xc_teacher *teacher;
    int32_t n_teachers;
    struct xc_terms terms;
    const char *to;
};

/* ---- stages ---- */
static const struct xc_distill_stage of_classes[] = {
    { .name = "intermediate", .epochs = 3, .rate = 5e-4, .warmup = 0.06, .weight = { [XC_DISTILL_EMBEDDING] = 1, [XC_DISTILL_HIDDEN] = 1, [XC_DISTILL_ATTENTION] = 1 } },
    { .name = "prediction", .epochs = 3, .rate = 1e-4, .warmup = 0.06, .weight = { [XC_DISTILL_LOGITS] = 1 } },
};
static const struct xc_distill_stage of_answers[] = {
    { .name = "intermediate", .epochs = 3, .rate = 5e-4, .warmup = 0.06, .weight = { [XC_DISTILL_EMBEDDING] = 1, [XC_DISTILL_HIDDEN] = 1, [XC_DISTILL_ATTENTION] = 1 } },
    { .name = "prediction", .epochs = 3, .rate = 1e-4, .warmup = 0.06, .weight = { [XC_DISTILL_OUTPUT] = 1, [XC_DISTILL_OUTPUT_COSINE] = 1 } },
};

const struct xc_distill_stage *xc_distill_default_stages(const char *task, size_t *n)
{
    *n = 2;
    return !strcmp(task, "embed") || !strcmp(task, "regress") ? of_answers : of_classes;
}

static bool answers(const struct xc_distill_stage *s) { return s->weight[XC_DISTILL_LOGITS] > 0 || s->weight[XC_DISTILL_LABELS] > 0 || s->weight[XC_DISTILL_OUTPUT] > 0 || s->weight[XC_DISTILL_OUTPUT_COSINE] > 0; }

static bool wants_labels(const struct xc_distill_opts *o)
{
    for (size_t i = 0; i < o->n_stages; i++)
        if (o->stage[i].weight[XC_DISTILL_LABELS] > 0) return true;
    return false;
}

/* ---- teachers ---- */
static enum xc_status open_teacher(struct distill *d, struct xc_teacher *teacher, const char *path, const struct xc_head_opts *head, struct xc_err *err)
{
    const bool classes = !strcmp(head->task, "classify") || !strcmp(head->task, "tag");
    bool is_new;

    teacher->path = path;
    if (classes && !head->n_labels) { /* texts without labels: its own, whatever they are */
        XC_TRY(xc_model_load(&teacher->model, path, NULL, err));
        is_new = !xc_model_meta(teacher->model, "task") || strcmp(xc_model_meta(teacher->model, "task"), head->task) != 0 || !teacher->model->n_labels;
    } else {
        XC_TRY(xc_head_load(&teacher->model, path, head, &is_new, err));
    }
    if (is_new) {
        xc_fail(err, XC_E_UNSUPPORTED, "the teacher has no head for task '%s' with these labels: train it with finetune first", d->opts->train.task);
        return xc_fail_at(err, XC_E_UNSUPPORTED, "%s", path);
    }
    for (int32_t i = 0; i < teacher->model->n_tensors; i++) XC_TRY(xc_tensor_load(teacher->model->tensors[i], err));
    teacher->graph = xc_model_find_graph(teacher->model, "encode");
    const enum xc_status status = xc_blocks_find(&teacher->blocks, teacher->graph, err);

    if (status != XC_OK) return xc_fail_at(err, status, "%s", path);
    if (!teacher->model->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "teacher '%s' has no tokenizer", path);
    return xc_run_new(&teacher->run, teacher->model, NULL, d->opts->train.pool, err);
}

static enum xc_status same_labels(const struct xc_model *a, const struct xc_model *b, const char *path, struct xc_err *err)
{
    bool same = a->n_labels == b->n_labels;

    for (int32_t i = 0; same && i < a->n_labels; i++) same = !strcmp(a->labels[i], b->labels[i]);
    return same ? XC_OK : xc_fail(err, XC_E_MISMATCH, "'%s' does not have the labels of the first teacher, in its order", path);
}

/* The student's tokens as the teacher numbers them: a student whose vocabulary was pruned has some of its teacher's. */
static enum xc_status map_tokens(struct xc_teacher *teacher, const struct xc_model *student, struct xc_err *err)
{
    struct xc_tokenizer *mine = NULL, *theirs = NULL;
    struct xc_token { const char *text; size_t len; } want;
    int32_t *by_hash = NULL, n, m;
    size_t size = 1;
    enum xc_status status;
    bool same = true;

    XC_TRY_GOTO(xc_tokenizer_open(&mine, student->tokenizer, err), out);
    XC_TRY_GOTO(xc_tokenizer_open(&theirs, teacher->model->tokenizer, err), out);
    n = xc_tokenizer_vocab_size(mine);
    m = xc_tokenizer_vocab_size(theirs);
    while (size < 2 * (size_t)m) size *= 2;
    by_hash = xc_malloc(size * sizeof *by_hash);
    teacher->id = xc_malloc((size_t)(n + 1) * sizeof *teacher->id);
    status = by_hash && teacher->id ? XC_OK : xc_fail_nomem(err, size * sizeof *by_hash);
    for (size_t i = 0; status == XC_OK && i < size; i++) by_hash[i] = -1;
    for (int pass = 0; pass < 2 && status == XC_OK; pass++)
        for (int32_t i = 0; i < (pass ? n : m) && status == XC_OK; i++) {
            uint64_t h = 14695981039346656037u; /* FNV-1a */

            want.text = xc_tokenizer_token(pass ? mine : theirs, i, &want.len);
            if (pass) teacher->id[i] = -1;
            if (!want.text) continue;
            for (size_t k = 0; k < want.len; k++) h = (h ^ (uint8_t)want.text[k]) * 1099511628211u;
            for (size_t at = (size_t)(h ^ h >> 32) & (size - 1);; at = (at + 1) & (size - 1)) {
                struct xc_token seen = { 0 };

                if (by_hash[at] >= 0) seen.text = xc_tokenizer_token(theirs, by_hash[at], &seen.len);
                if (seen.text && (seen.len != want.len || memcmp(seen.text, want.text, want.len) != 0)) continue;
                if (!pass) {
                    if (by_hash[at] < 0) by_hash[at] = i;
                } else if (seen.text) {
                    teacher->id[i] = by_hash[at];
                } else {
                    status = xc_fail(err, XC_E_MISMATCH, "the student's token '%.*s' is none of the teacher's: their tokenizers must be of one kind", (int)xc_min_i64((int64_t)want.len, 80), want.text);
                    status = xc_fail_at(err, status, "%s", teacher->path);
                }
                same &= !pass || teacher->id[i] == i;
                break;
            }
        }
    if (status == XC_OK && same) {
        xc_free(teacher->id);
        teacher->id = NULL;
    }
out:
    xc_free(by_hash);
    if (mine) xc_tokenizer_free(&mine);
    if (theirs) xc_tokenizer_free(&theirs);
    return status;
}

static enum xc_status run_teacher(struct xc_teacher *teacher, const struct xc_batch *b, struct xc_err *err)
{
    const struct xc_ragged rag = { .start = b->start, .n_seq = (int32_t)b->sequences };
    const struct xc_graph *g = teacher->graph;
    int32_t *ids = b->ids;
    struct xc_view in[XC_MAX_IN], *out;
    enum xc_status status;

    if (teacher->id) {
        XC_TRY(xc_grow((void **)&teacher->ids, &teacher->cap_ids, (size_t)b->tokens + 1, sizeof *teacher->ids, err));
        for (int64_t i = 0; i < b->tokens; i++) teacher->ids[i] = teacher->id[b->ids[i]];
        ids = teacher->ids;
    }
    for (int32_t i = 0; i < g->n_inputs; i++)
        in[i] = (struct xc_view){ .data = strcmp(g->values[g->inputs[i]].name, "types") ? ids : b->types, .rows = b->tokens, .cols = 1 };
    out = xc_calloc((size_t)g->n_outputs + 1, sizeof *out);
    if (!out) return xc_fail_nomem(err, sizeof *out);
    status = xc_run_graph(teacher->run, g, in, &rag, 1, out, err);
    xc_free(out);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", teacher->path);
}

/* ---- the objective ---- */
static enum xc_status make_student(const struct xc_distill_opts *o, struct xc_model **out, const struct xc_model *from, const char *path, struct xc_err *err)
{
    for (int32_t i = 0; i < from->n_tensors; i++)
        if (from->tensors[i]->enc.format > XC_FMT_BF16) {
            xc_fail(err, XC_E_UNSUPPORTED, "the model is quantized, and a student is made of its weights: name the f32 model (--student-from), or a student's file");
            return xc_fail_at(err, XC_E_UNSUPPORTED, "%s", path);
        }
    return xc_student_make(out, from, o->student, o->init, o->train.seed, err);
}

static enum xc_status load_student(struct distill *d, struct xc_training *t, const struct xc_head_opts *head, struct xc_err *err)
{
    const struct xc_distill_opts *o = d->opts;
    struct xc_teacher source = { 0 };
    enum xc_status status;

    if (xc_student_is_spec(o->student) && o->student_from) {
        status = open_teacher(d, &source, o->student_from, head, err);
        if (status == XC_OK) status = same_labels(source.model, d->teacher[0].model, o->student_from, err);
        if (status == XC_OK) status = make_student(o, &t->model, source.model, o->student_from, err);
        if (source.run) xc_run_free(&source.run);
        if (source.model) xc_model_free(&source.model);
        return status;
    }
    if (xc_student_is_spec(o->student)) return make_student(o, &t->model, d->teacher[0].model, d->teacher[0].path, err);
    XC_TRY(xc_head_load(&t->model, o->student, head, &t->new_head, err));
    return same_labels(t->model, d->teacher[0].model, o->student, err);
}

/* The tensors that the losses added, for both models to have the same. */
static enum xc_status copy_projections(struct xc_model *to, const struct xc_model *from, struct xc_err *err)
{
    int32_t id;

    for (int32_t t = to->n_tensors; t < from->n_tensors; t++) {
        const struct xc_tensor *x = from->tensors[t];

        XC_TRY(xc_model_add_tensor(to, &id, x->name, x->rank, x->dim, err));
        XC_TRY(xc_tensor_set_f32(to->tensors[id], (const float *)(const void *)x->part[XC_PART_DATA]->data, err));
    }
    return XC_OK;
}

static enum xc_status load(void *arg, struct xc_training *t, const struct xc_head_opts *asked, struct xc_graph **graph, struct xc_err *err)
{
    struct distill *d = arg;
    struct xc_head_opts head = *asked;
    enum xc_status status;
    int32_t dropped;
    size_t bytes;

    for (int32_t i = 0; i < d->n_teachers; i++) {
        XC_TRY(open_teacher(d, &d->teacher[i], d->opts->teachers[i], &head, err));
        head.labels = d->teacher[0].model->labels;
        head.n_labels = d->teacher[0].model->n_labels;
        XC_TRY(same_labels(d->teacher[i].model, d->teacher[0].model, d->teacher[i].path, err));
    }
    XC_TRY(load_student(d, t, &head, err));
    xc_model_drop_unused(t->model, &dropped, &bytes);
    xc_buf_unref(&t->model->golden);
    if (!t->model->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "the student has no tokenizer");
    for (int32_t i = 0; i < d->n_teachers; i++) XC_TRY(map_tokens(&d->teacher[i], t->model, err));
    if (d->opts->quantize && !d->train.export) XC_TRY(xc_integers_new(&t->integers, t->model, d->opts->quantize, d->opts->train.seed, d->opts->train.pool, err));
    XC_TRY(xc_terms_make(&d->terms, t->integers ? xc_integers_model(t->integers) : t->model, d->teacher, d->opts, err));
    *graph = d->terms.graph;
    if (t->integers) XC_TRY(copy_projections(t->model, xc_integers_model(t->integers), err));
    if (!d->opts->train.ranks || !d->opts->augment.count) return xc_augment(&t->set.data, &d->teacher[0], d->opts, d->to, err);
    status = xc_ranks_me(d->opts->train.ranks) ? XC_OK : xc_augment(&t->set.data, &d->teacher[0], d->opts, d->to, err); /* the others find its file */
    XC_TRY(xc_ranks_agree(d->opts->train.ranks, status, err));
    return xc_ranks_me(d->opts->train.ranks) ? xc_augment(&t->set.data, &d->teacher[0], d->opts, d->to, err) : XC_OK;
}

static json_t *stage_json(const struct xc_distill_stage *s)
{
    json_t *o = json_pack("{s:s, s:I, s:I, s:o, s:o}", "name", s->name, "epochs", (json_int_t)s->epochs, "max_steps", (json_int_t)s->max_steps, "lr", xc_json_new_number(s->rate), "warmup",
                          xc_json_new_number(s->warmup)), *weights = json_object();
    bool bad = !o || !weights;

    for (int i = 0; !bad && i < XC_DISTILL_LOSSES; i++)
        if (s->weight[i] > 0) bad |= json_object_set_new(weights, xc_distill_losses[i], xc_json_new_number(s->weight[i])) != 0;
    if (!bad) bad |= json_object_set(o, "losses", weights) != 0;
    json_decref(weights);
    if (bad) json_decref(o);
    return bad ? NULL : o;
}

static enum xc_status prepare(void *arg, struct xc_training *t, struct xc_err *err)
{
    static const char *const maps[] = { "uniform", "top", "custom" };
    const struct distill *d = arg;
    const struct xc_distill_opts *o = d->opts;
    json_t *stages = json_array(), *teachers = json_array(), *layers = json_array(), *facts = t->facts;
    enum xc_status status = XC_OK;
    bool bad = !stages || !teachers || !layers;

    for (size_t i = 0; !bad && i < o->n_stages; i++) bad |= json_array_append_new(stages, stage_json(&o->stage[i])) != 0;
    for (size_t i = 0; !bad && i < o->n_teachers && status == XC_OK; i++) {
        json_t *files;

        status = xc_manifest_files(&files, o->teachers[i], NULL, NULL, err);
        if (status == XC_OK) bad |= json_array_append_new(teachers, files) != 0;
    }
    for (int32_t i = 0; !bad && i < o->n_layer; i++) bad |= json_array_append_new(layers, json_integer(o->layer[i])) != 0;
    if (!bad) bad |= json_object_set(facts, "stages", stages) != 0 || json_object_set(facts, "teachers", teachers) != 0;
    if (!bad && o->map == XC_LAYERS_CUSTOM) bad |= json_object_set(facts, "layers", layers) != 0;
    if (!bad && xc_student_is_spec(o->student))
        bad |= json_object_set_new(facts, "student", json_string(o->student)) != 0 || json_object_set_new(facts, "init", json_string(xc_student_inits[o->init])) != 0;
    bad = bad || json_object_set_new(facts, "layer_map", json_string(maps[o->map])) != 0 || json_object_set_new(facts, "temperature", xc_json_new_number(o->temperature)) != 0 ||
          json_object_set_new(facts, "relation_heads", json_integer(o->relation_heads)) != 0 || json_object_set_new(facts, "augment", json_integer((json_int_t)o->augment.count)) != 0 ||
          json_object_set_new(facts, "augment_probability", xc_json_new_number(o->augment.probability)) != 0 ||
          json_object_set_new(facts, "augment_candidates", json_integer((json_int_t)o->augment.candidates)) != 0;
    if (!bad && o->student_from && xc_student_is_spec(o->student) && status == XC_OK) {
        json_t *files;

        status = xc_manifest_files(&files, o->student_from, NULL, NULL, err);
        if (status == XC_OK) bad |= json_object_set_new(facts, "student_from", files) != 0;
    }
    if (!bad && o->quantize) bad |= json_object_set_new(facts, "quantize", json_string(o->quantize)) != 0;
    json_decref(stages);
    json_decref(teachers);
    json_decref(layers);
    if (status != XC_OK) return status;
    return bad ? xc_fail_nomem(err, 0) : XC_OK;
}

static enum xc_status loss(void *arg, struct xc_training *t, const struct xc_counts *all, double *sum, struct xc_err *err)
{
    struct distill *d = arg;
    const struct xc_distill_stage *stage = &d->opts->stage[xc_training_stage(t, t->state.epoch) - t->stage];

    for (int32_t i = 0; i < d->n_teachers; i++) XC_TRY(run_teacher(&d->teacher[i], &t->batch, err));
    return xc_terms_loss(&d->terms, t, d->teacher, d->n_teachers, d->opts, stage->weight, all, sum, err);
}

static void log_parts(void *arg, json_t *line)
{
    struct distill *d = arg;
    json_t *parts = json_object();

    for (int i = 0; parts && i < XC_DISTILL_LOSSES; i++)
        if (d->terms.last[i] != 0) (void)json_object_set_new(parts, xc_distill_losses[i], xc_json_new_number(d->terms.last[i]));
    if (parts) (void)json_object_set_new(line, "losses", parts); /* a line without its parts is still a line */
}

static void finish(void *arg, struct xc_training *t)
{
    int32_t dropped;
    size_t bytes;

    (void)arg;
    struct xc_model *const m = t->integers ? xc_integers_model(t->integers) : t->model;

    xc_model_remove_graph(m, XC_DISTILL_GRAPH);
    t->graph = xc_model_find_graph(m, "encode");
    xc_model_drop_unused(m, &dropped, &bytes); /* the projections */
}

/* ---- all of it ---- */
static void release(struct distill *d)
{
    for (int32_t i = 0; i < d->n_teachers; i++) {
        struct xc_teacher *teacher = &d->teacher[i];

        if (teacher->run) xc_run_free(&teacher->run);
        if (teacher->model) xc_model_free(&teacher->model);
        xc_free(teacher->id);
        xc_free(teacher->ids);
    }
    xc_free(d->teacher);
    xc_free(d->stages);
    xc_terms_release(&d->terms);
}

static enum xc_status check(const struct xc_distill_opts *o, struct xc_err *err)
{
    if (!o->n_teachers || !o->n_data || !o->n_stages || !o->student) return xc_fail(err, XC_E_ARG, "distillation needs a teacher, a student, data and a stage");
    if (!(o->temperature > 0)) return xc_fail(err, XC_E_ARG, "the temperature must be larger than 0");
    for (size_t i = 0; i < o->n_stages; i++) {
        double sum = 0;

        for (int k = 0; k < XC_DISTILL_LOSSES; k++) sum += o->stage[i].weight[k];
        if (!(sum > 0)) return xc_fail(err, XC_E_ARG, "no loss of stage '%s' has a weight: there is nothing to learn", o->stage[i].name);
        if (o->stage[i].epochs < 1) return xc_fail(err, XC_E_ARG, "stage '%s' needs at least one epoch", o->stage[i].name);
    }
    if (o->quantize && o->train.sparsify.prune && strcmp(o->quantize, "int8") != 0 && strcmp(o->quantize, "int4") != 0)
        return xc_fail(err, XC_E_UNSUPPORTED, "a student that is pruned while it is distilled is written as int8 or int4, not by a recipe ('%s')", o->quantize);
    if (wants_labels(o) && !strcmp(o->train.task, "mlm")) return xc_fail(err, XC_E_UNSUPPORTED, "loss 'labels' is not there for task 'mlm'");
    if (!strcmp(o->train.task, "choice") && o->augment.count) return xc_fail(err, XC_E_UNSUPPORTED, "texts with choices are not augmented: leave the augmentation out");
    if (!strcmp(o->train.task, "answer") && o->augment.count) return xc_fail(err, XC_E_UNSUPPORTED, "questions cannot be augmented: words that are replaced would move the answers; leave the augmentation out");
    if (wants_labels(o) && !strcmp(o->train.task, "embed") && o->augment.count) return xc_fail(err, XC_E_UNSUPPORTED, "augmented pairs have no scores of their own: leave loss 'labels' out, or the augmentation");
    return XC_OK;
}

enum xc_status xc_distill_file(const char *to, const struct xc_distill_opts *o, struct xc_finetune_result *result, struct xc_err *err)
{
    struct distill d = { .opts = o, .train = o->train, .n_teachers = (int32_t)o->n_teachers, .to = to };
    const struct xc_objective objective = { .arg = &d, .load = load, .prepare = prepare, .loss = loss, .parts = d.terms.last, .n_parts = XC_DISTILL_LOSSES, .log = log_parts, .finish = finish };
    enum xc_status status;

    *result = (struct xc_finetune_result){ 0 };
    XC_TRY(check(o, err));
    for (size_t i = 1; i < o->n_teachers; i++) XC_TRY(xc_atomic_check(to, o->teachers[i], err));
    XC_TRY(xc_atomic_check(to, o->teachers[0], err));
    d.teacher = xc_calloc(o->n_teachers, sizeof *d.teacher);
    d.stages = xc_calloc(o->n_stages, sizeof *d.stages);
    status = d.teacher && d.stages ? XC_OK : xc_fail_nomem(err, sizeof *d.teacher);
    for (size_t i = 0; status == XC_OK && i < o->n_stages; i++)
        d.stages[i] = (struct xc_stage){ .name = o->stage[i].name, .epochs = o->stage[i].epochs, .max_steps = o->stage[i].max_steps, .rate = o->stage[i].rate, .warmup = o->stage[i].warmup,
                                         .measured = answers(&o->stage[i]) };
    d.train.data = o->data[0];
    d.train.more_data = o->data + 1;
    d.train.n_more_data = o->n_data - 1;
    d.train.no_labels = !wants_labels(o);
    if (o->quantize && o->train.sparsify.prune) d.train.export = o->quantize; /* sparse encodings follow from the zeros: quantized when measured and written */
    d.train.stages = d.stages;
    d.train.n_stages = o->n_stages;
    if (status == XC_OK) status = xc_train_file(xc_student_is_spec(o->student) ? o->teachers[0] : o->student, to, &d.train, &objective, result, err);
    release(&d);
    return status;
}
