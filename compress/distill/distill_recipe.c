/* distill_recipe: see distill_recipe.h. */
#include "compress/distill/distill_recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/train/ranges.h"
#include "formats/units.h"
#include "formats/yaml_tree.h"

struct reader {
    struct xc_distill_opts *o;
    struct xc_arena *arena;
    const char *name;
    struct xc_err *err;
};

enum kind { TEXT, COUNT, NUMBER, CHOICE };

/* A key of a mapping: where its value goes, and what it may be. */
struct key {
    const char *name;
    enum kind kind;
    size_t field;
    double min, max;
    const char *const *choices;
};

static const char *const tasks[] = { "classify", "pair", "regress", "tag", "answer", "choice", "embed", "mlm", NULL };

#define OPTS(f) offsetof(struct xc_distill_opts, f)
static const struct key root_keys[] = {
    { "student", TEXT, OPTS(student), 0, 0, NULL },
    { "student_from", TEXT, OPTS(student_from), 0, 0, NULL },
    { "dev", TEXT, OPTS(train.dev), 0, 0, NULL },
    { "quantize", TEXT, OPTS(quantize), 0, 0, NULL },
    { "metric", TEXT, OPTS(train.metric), 0, 0, NULL },
    { "temperature", NUMBER, OPTS(temperature), 1e-3, XC_MOST_TEMPERATURE, NULL },
    { "batch_tokens", COUNT, OPTS(train.batch_tokens), 1, XC_MOST_BATCH, NULL },
    { "batch_rows", COUNT, OPTS(train.batch_rows), 0, XC_MOST_BATCH, NULL },
    { "accumulate", COUNT, OPTS(train.accumulate), 1, XC_MOST_BATCHES, NULL },
    { "eval_every", COUNT, OPTS(train.eval_every), 0, XC_MOST_UPDATES, NULL },
    { "patience", COUNT, OPTS(train.patience), 0, XC_MOST_PATIENCE, NULL },
    { "dropout", NUMBER, OPTS(train.dropout), 0, XC_MOST_DROPPED, NULL },
    { "attention_dropout", NUMBER, OPTS(train.attention_dropout), 0, XC_MOST_DROPPED, NULL },
    { "label_smoothing", NUMBER, OPTS(train.smoothing), 0, XC_MOST_DROPPED, NULL },
    { "weight_decay", NUMBER, OPTS(train.optimizer.weight_decay), 0, XC_MOST_DECAY, NULL },
    { "clip", NUMBER, OPTS(train.optimizer.clip), 0, XC_MOST_NORM, NULL },
    { "ema", NUMBER, OPTS(train.optimizer.ema), 0, XC_MOST_AVERAGE, NULL },
    { NULL, TEXT, 0, 0, 0, NULL },
};
#define STAGE(f) offsetof(struct xc_distill_stage, f)
static const struct key stage_keys[] = {
    { "epochs", COUNT, STAGE(epochs), 1, XC_MOST_EPOCHS, NULL },
    { "max_steps", COUNT, STAGE(max_steps), 0, XC_MOST_UPDATES, NULL },
    { "lr", NUMBER, STAGE(rate), 0, XC_MOST_RATE, NULL },
    { "warmup", NUMBER, STAGE(warmup), 0, 1, NULL },
    { NULL, TEXT, 0, 0, 0, NULL },
};
#define AUGMENT(f) offsetof(struct xc_augment_opts, f)
static const struct key augment_keys[] = {
    { "count", COUNT, AUGMENT(count), 1, XC_MOST_COPIES, NULL },
    { "candidates", COUNT, AUGMENT(candidates), 1, 1000, NULL },
    { "probability", NUMBER, AUGMENT(probability), 0, 1, NULL },
    { "model", TEXT, AUGMENT(model), 0, 0, NULL },
    { "cache", TEXT, AUGMENT(cache), 0, 0, NULL },
    { NULL, TEXT, 0, 0, 0, NULL },
};

#define PRUNE(f) offsetof(struct xc_sparsify_opts, f)
static const struct key prune_keys[] = {
    { "what", TEXT, PRUNE(prune), 0, 0, NULL },
    { "begin", NUMBER, PRUNE(begin), 0, 1, NULL },
    { "end", NUMBER, PRUNE(end), 0, 1, NULL },
    { "every", COUNT, PRUNE(every), 0, XC_MOST_UPDATES, NULL },
    { NULL, TEXT, 0, 0, 0, NULL },
};

static enum xc_status at(const struct reader *r, const struct xc_yaml *n, enum xc_status status)
{
    if (status == XC_OK || status == XC_E_NOMEM) return status;
    return xc_fail_at(r->err, status, "%s:%zu:%zu", r->name, n->line, n->column);
}

static enum xc_status text_of(const struct reader *r, const char **out, const struct xc_yaml *n)
{
    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    if (!n->text[0]) return at(r, n, xc_fail(r->err, XC_E_FORMAT, "'%s' is empty: leave it out", n->key ? n->key : "an item"));
    *out = xc_arena_strdup(r->arena, n->text);
    return *out ? XC_OK : xc_fail_nomem(r->err, strlen(n->text) + 1);
}

static enum xc_status number_of(const struct reader *r, double *out, const struct xc_yaml *n, double min, double max, bool whole)
{
    double x;

    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    if (n->text[0] && n->text[strlen(n->text) - 1] != '%' && xc_parse_number(&x, n->text) && x >= min && x <= max && (!whole || x == (double)(int64_t)x)) {
        *out = x;
        return XC_OK;
    }
    return at(r, n, xc_fail(r->err, XC_E_RANGE, "'%s' is '%s', must be a %s from %g to %g", n->key, n->text, whole ? "whole number" : "number", min, max));
}

static enum xc_status choice_of(const struct reader *r, int *out, const struct xc_yaml *n, const char *const *choices)
{
    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    for (*out = 0; choices[*out]; (*out)++)
        if (!strcmp(choices[*out], n->text)) return XC_OK;
    char all[200] = "";

    for (int i = 0; choices[i]; i++) snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", choices[i]);
    return at(r, n, xc_fail(r->err, XC_E_RANGE, "'%s' is '%s', must be one of %s", n->key, n->text, all));
}

static enum xc_status read_keys(const struct reader *r, void *to, const struct xc_yaml *map, const struct key *keys)
{
    for (const struct key *k = keys; k->name; k++) {
        const struct xc_yaml *n = xc_yaml_member(map, k->name);
        char *const field = (char *)to + k->field;
        double x;
        const char *text;

        if (!n) continue;
        if (k->kind == TEXT) {
            XC_TRY(text_of(r, &text, n));
            memcpy(field, &text, sizeof text);
            continue;
        }
        XC_TRY(number_of(r, &x, n, k->min, k->max, k->kind == COUNT));
        if (k->kind == COUNT) memcpy(field, &(int64_t){ (int64_t)x }, sizeof(int64_t));
        else memcpy(field, &x, sizeof x);
    }
    return XC_OK;
}

/* One text or a list of them. */
static enum xc_status read_list(const struct reader *r, const char *const **out, size_t *n_out, const struct xc_yaml *n)
{
    const struct xc_yaml *first = n->kind == XC_YAML_SEQUENCE ? n->first : n;
    const char **list;
    size_t count = 0;

    for (const struct xc_yaml *i = first; i; i = n->kind == XC_YAML_SEQUENCE ? i->next : NULL) count++;
    if (!count) return at(r, n, xc_fail(r->err, XC_E_FORMAT, "'%s' is an empty list: leave it out", n->key));
    list = xc_arena_alloc(r->arena, count * sizeof *list);
    if (!list) return xc_fail_nomem(r->err, count * sizeof *list);
    count = 0;
    for (const struct xc_yaml *i = first; i; i = n->kind == XC_YAML_SEQUENCE ? i->next : NULL) {
        const char *text;

        XC_TRY(text_of(r, &text, i));
        list[count++] = text;
    }
    *out = list;
    *n_out = count;
    return XC_OK;
}

static enum xc_status read_losses(const struct reader *r, struct xc_distill_stage *s, const struct xc_yaml *n)
{
    char all[300] = "";
    double sum = 0;

    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
    for (int i = 0; i < XC_DISTILL_LOSSES; i++) {
        const struct xc_yaml *w = xc_yaml_member(n, xc_distill_losses[i]);

        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", xc_distill_losses[i]);
        if (w) XC_TRY(number_of(r, &s->weight[i], w, 0, 1e6, false));
        sum += s->weight[i];
    }
    XC_TRY(xc_yaml_no_unknown(r->name, n, all, r->err));
    return sum > 0 ? XC_OK : at(r, n, xc_fail(r->err, XC_E_FORMAT, "no loss of this stage has a weight"));
}

static enum xc_status read_stages(const struct reader *r, const struct xc_yaml *list)
{
    struct xc_distill_stage *stage;
    size_t n = 0;

    XC_TRY(xc_yaml_want(r->name, list, XC_YAML_SEQUENCE, r->err));
    for (const struct xc_yaml *i = list->first; i; i = i->next) n++;
    if (!n) return at(r, list, xc_fail(r->err, XC_E_FORMAT, "'stages' is an empty list: leave it out"));
    stage = xc_arena_alloc(r->arena, n * sizeof *stage);
    if (!stage) return xc_fail_nomem(r->err, n * sizeof *stage);
    r->o->stage = stage;
    r->o->n_stages = n;
    for (const struct xc_yaml *i = list->first; i; i = i->next, stage++) {
        const struct xc_yaml *name, *losses;

        *stage = (struct xc_distill_stage){ .epochs = 3, .rate = 1e-4, .warmup = 0.06 };
        XC_TRY(xc_yaml_want(r->name, i, XC_YAML_MAPPING, r->err));
        name = xc_yaml_member(i, "name");
        losses = xc_yaml_member(i, "losses");
        if (!name || !losses) return at(r, i, xc_fail(r->err, XC_E_FORMAT, "a stage needs 'name' and 'losses'"));
        XC_TRY(text_of(r, &stage->name, name));
        XC_TRY(read_keys(r, stage, i, stage_keys));
        XC_TRY(xc_yaml_no_unknown(r->name, i, "name, epochs, max_steps, lr, warmup, losses", r->err));
        XC_TRY(read_losses(r, stage, losses));
    }
    return XC_OK;
}

/* ---- layers ---- */
enum xc_status xc_distill_layers(struct xc_distill_opts *o, const char *text, struct xc_err *err)
{
    o->n_layer = 0;
    o->map = !strcmp(text, "top") ? XC_LAYERS_TOP : !strcmp(text, "uniform") ? XC_LAYERS_UNIFORM : XC_LAYERS_CUSTOM;
    if (o->map != XC_LAYERS_CUSTOM) return XC_OK;
    for (const char *p = text;; p++) {
        char *end;
        const long x = *p >= '0' && *p <= '9' ? strtol(p, &end, 10) : -1;

        if (x < 0 || x > XC_MAX_BLOCKS || o->n_layer == XC_MAX_BLOCKS || (*end && *end != ','))
            return xc_fail(err, XC_E_ARG, "the layers '%s' are neither 'uniform' nor 'top' nor numbers with commas between them: the teacher's layer for each of the student, 0 for none", text);
        o->layer[o->n_layer++] = (int32_t)x;
        p = end;
        if (!*p) return XC_OK;
    }
}

static enum xc_status read_layers(const struct reader *r, const struct xc_yaml *n)
{
    char text[1024] = "";

    if (n->kind != XC_YAML_SEQUENCE) XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    for (const struct xc_yaml *i = n->kind == XC_YAML_SEQUENCE ? n->first : n; i; i = n->kind == XC_YAML_SEQUENCE ? i->next : NULL) {
        XC_TRY(xc_yaml_want(r->name, i, XC_YAML_SCALAR, r->err));
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? "," : "", i->text);
    }
    return at(r, n, xc_distill_layers(r->o, text, r->err));
}

static enum xc_status read_choices(const struct reader *r, const struct xc_yaml *root)
{
    const struct xc_yaml *n;
    int i;

    if ((n = xc_yaml_member(root, "task"))) {
        XC_TRY(choice_of(r, &i, n, tasks));
        r->o->train.task = tasks[i];
    }
    if ((n = xc_yaml_member(root, "init"))) {
        XC_TRY(choice_of(r, &i, n, xc_student_inits));
        r->o->init = (enum xc_student_init)i;
    }
    if ((n = xc_yaml_member(root, "schedule"))) {
        XC_TRY(choice_of(r, &i, n, xc_schedules));
        r->o->train.schedule = (enum xc_schedule)i;
    }
    if ((n = xc_yaml_member(root, "precision"))) {
        XC_TRY(choice_of(r, &i, n, xc_precisions));
        r->o->train.bf16 = i == 1;
    }
    if ((n = xc_yaml_member(root, "optimizer"))) {
        XC_TRY(choice_of(r, &i, n, xc_optimizers));
        r->o->train.optimizer.kind = (enum xc_optimizer)i;
    }
    return XC_OK;
}

/* Training with masks, as finetune --prune. */
static enum xc_status read_prune(const struct reader *r, const struct xc_yaml *map)
{
    struct xc_sparsify_opts *o = &r->o->train.sparsify;
    const struct xc_yaml *n;
    int over = 0;

    XC_TRY(xc_yaml_want(r->name, map, XC_YAML_MAPPING, r->err));
    if (!xc_yaml_member(map, "what")) return at(r, map, xc_fail(r->err, XC_E_FORMAT, "'prune' needs 'what', such as magnitude=2:4"));
    *o = (struct xc_sparsify_opts){ .begin = 0.05, .end = 0.6 };
    XC_TRY(read_keys(r, o, map, prune_keys));
    if ((n = xc_yaml_member(map, "threshold"))) XC_TRY(choice_of(r, &over, n, xc_thresholds));
    o->global = over == 1;
    if ((n = xc_yaml_member(map, "ignore"))) XC_TRY(read_list(r, &o->ignore, &o->n_ignore, n));
    return xc_yaml_no_unknown(r->name, map, "what, begin, end, every, threshold, ignore", r->err);
}

static enum xc_status read_root(const struct reader *r, const struct xc_yaml *root)
{
    const struct xc_yaml *n;
    double x;

    XC_TRY(xc_yaml_want(r->name, root, XC_YAML_MAPPING, r->err));
    XC_TRY(read_keys(r, r->o, root, root_keys));
    XC_TRY(read_choices(r, root));
    if ((n = xc_yaml_member(root, "max_tokens"))) {
        XC_TRY(number_of(r, &x, n, 0, 1e6, true));
        r->o->train.max_tokens = (int32_t)x;
    }
    if ((n = xc_yaml_member(root, "relation_heads"))) {
        XC_TRY(number_of(r, &x, n, 0, 4096, true));
        r->o->relation_heads = (int32_t)x;
    }
    if ((n = xc_yaml_member(root, "seed"))) {
        XC_TRY(number_of(r, &x, n, 0, 9007199254740992.0, true));
        r->o->train.seed = (uint64_t)x;
    }
    if ((n = xc_yaml_member(root, "data"))) XC_TRY(read_list(r, &r->o->data, &r->o->n_data, n));
    if ((n = xc_yaml_member(root, "freeze"))) XC_TRY(read_list(r, &r->o->train.freeze, &r->o->train.n_freeze, n));
    if ((n = xc_yaml_member(root, "layers"))) XC_TRY(read_layers(r, n));
    if ((n = xc_yaml_member(root, "prune"))) XC_TRY(read_prune(r, n));
    if ((n = xc_yaml_member(root, "stages"))) XC_TRY(read_stages(r, n));
    if ((n = xc_yaml_member(root, "augment"))) {
        XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
        XC_TRY(read_keys(r, &r->o->augment, n, augment_keys));
        XC_TRY(xc_yaml_no_unknown(r->name, n, "count, candidates, probability, model, cache", r->err));
        if (!xc_yaml_member(n, "count")) r->o->augment.count = 20;
    }
    return xc_yaml_no_unknown(r->name, root,
                              "task, student, student_from, init, data, dev, metric, layers, relation_heads, temperature, stages, augment, quantize, batch_tokens, batch_rows, accumulate, max_tokens, "
                              "eval_every, patience, dropout, attention_dropout, label_smoothing, weight_decay, clip, ema, schedule, optimizer, precision, freeze, prune, seed",
                              r->err);
}

enum xc_status xc_distill_recipe_parse(struct xc_distill_opts *opts, struct xc_arena *arena, const char *text, size_t n, const char *name, struct xc_err *err)
{
    struct xc_yaml *root;

    XC_TRY(xc_yaml_parse(&root, arena, text, n, "recipe", name, err));
    return read_root(&(struct reader){ .o = opts, .arena = arena, .name = name, .err = err }, root);
}

enum xc_status xc_distill_recipe_read(struct xc_distill_opts *opts, struct xc_arena *arena, const char *path, struct xc_err *err)
{
    char *text;
    size_t n;
    enum xc_status status;

    XC_TRY(xc_yaml_read_file(&text, &n, path, "recipe", err));
    status = xc_distill_recipe_parse(opts, arena, text, n, path, err);
    xc_free(text);
    return status;
}
