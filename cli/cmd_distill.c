/* distill: a small student learns what a teacher knows. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/together.h"
#include "cli/train_result.h"
#include "compress/distill/distill.h"
#include "compress/distill/distill_recipe.h"
#include "compress/train/ranges.h"

struct distill_opts {
    const char *out, *recipe, *student, *from, *dev, *metric, *layers, *log, *checkpoint, *cache, *masked, *quantize;
    struct cli_list data, teacher;
    int task, init, precision;
    int64_t epochs, batch_tokens, accumulate, max_steps, eval_every, checkpoint_every, max_tokens, augment, threads, seed;
    double rate, temperature;
    bool resume, no_golden, quiet, json;
};

static const char *const tasks[] = { "recipe", "classify", "pair", "regress", "tag", "answer", "choice", "embed", "mlm", NULL };
static const char *const precisions[] = { "recipe", "f32", "bf16", NULL };
static const char *const inits[] = { "recipe", "teacher", "select", "random", NULL };

#define RECIPE "the recipe's"

static const struct cli_opt table[] = {
    CLI_STRING(struct distill_opts, recipe, 'r', "recipe", "FILE", NULL, "stages, losses and everything below as YAML (docs/distillation.md); what is given here comes before it"),
    CLI_CHOICE(struct distill_opts, task, 't', "task", tasks, "recipe", "what the teacher does; embed is for texts alone"),
    CLI_STRING(struct distill_opts, student, 's', "student", "SPEC", NULL, "layers=3,hidden=312,heads=12,ffn=1200 (also head_width=, take=2:4:6): made of the teacher; or a model"),
    CLI_STRING(struct distill_opts, from, 0, "student-from", "MODEL", NULL, "the f32 model that SPEC makes the student of; the teacher when not given"),
    CLI_LIST(struct distill_opts, data, 'd', "data", "FILE", "training rows: .tsv with a header, .conll for tag, lines of text; labels are not needed; may be repeated"),
    CLI_STRING(struct distill_opts, dev, 0, "dev", "FILE", NULL, "labelled rows that are only measured: the best weights on them are kept"),
    CLI_STRING(struct distill_opts, out, 'o', "output", "FILE", NULL, "the .xc file to write"),
    CLI_LIST(struct distill_opts, teacher, 0, "teacher", "MODEL", "one more teacher: what they say is averaged; may be repeated"),
    CLI_GROUP("What is learnt"),
    CLI_CHOICE(struct distill_opts, init, 0, "init", inits, "recipe", "how a student made of the teacher begins: its weights with widths cut by SVD, or by columns, or at random"),
    CLI_STRING(struct distill_opts, layers, 0, "layers", "MAP", NULL, "uniform, top, or the teacher's layer for each of the student: 2,4,6; 0 for none"),
    { .type = CLI_TYPE_FLOAT, .name = "temperature", .arg = "T", .help = "of the soft cross-entropy", .field = CLI_FIELD(struct distill_opts, temperature, double), .def = "0", .def_help = RECIPE ", else 1",
      .flo = 0, .fhi = XC_MOST_TEMPERATURE },
    CLI_STRING(struct distill_opts, quantize, 0, "quantize", "HOW", NULL, "int8, int4, or a recipe of quantize passes: train on the integer arithmetic of the file that is written"),
    CLI_CHOICE(struct distill_opts, precision, 0, "precision", precisions, "recipe", "products of f32 numbers, or of numbers rounded to bf16 (weights, sums and gradients stay f32)"),
    { .type = CLI_TYPE_INT, .name = "augment", .arg = "N", .help = "make N copies of every text with words replaced", .field = CLI_FIELD(struct distill_opts, augment, int64_t), .def = "0",
      .def_help = RECIPE ", else none", .hi = XC_MOST_COPIES },
    CLI_STRING(struct distill_opts, masked, 0, "augment-model", "MODEL", NULL, "a masked language model that proposes the words; else neighbours in the teacher's word table"),
    CLI_STRING(struct distill_opts, cache, 0, "augment-cache", "FILE", NULL, "where the copies are kept; the output's name and .augment when not given"),
    CLI_GROUP("Length"),
    { .type = CLI_TYPE_INT, .letter = 'e', .name = "epochs", .arg = "N", .help = "times through the data in each stage", .field = CLI_FIELD(struct distill_opts, epochs, int64_t), .def = "0",
      .def_help = RECIPE ", else 3", .hi = XC_MOST_EPOCHS },
    { .type = CLI_TYPE_INT, .name = "max-steps", .arg = "N", .help = "stop each stage after N updates", .field = CLI_FIELD(struct distill_opts, max_steps, int64_t), .def = "0",
      .def_help = RECIPE ", else no limit", .hi = XC_MOST_UPDATES },
    { .type = CLI_TYPE_FLOAT, .name = "lr", .arg = "R", .help = "the largest learning rate of each stage", .field = CLI_FIELD(struct distill_opts, rate, double), .def = "0",
      .def_help = RECIPE ", else 5e-4 and 1e-4", .flo = 0, .fhi = XC_MOST_RATE },
    { .type = CLI_TYPE_INT, .letter = 'b', .name = "batch-tokens", .arg = "N", .help = "tokens of a batch at most; rows are packed, nothing is padded",
      .field = CLI_FIELD(struct distill_opts, batch_tokens, int64_t), .def = "0", .def_help = RECIPE ", else 2048", .hi = XC_MOST_BATCH },
    { .type = CLI_TYPE_INT, .name = "accumulate", .arg = "N", .help = "batches whose gradients are summed for one update; with mpirun one at least for each rank", .field = CLI_FIELD(struct distill_opts, accumulate, int64_t),
      .def = "0", .def_help = RECIPE ", else 1", .hi = XC_MOST_BATCHES },
    { .type = CLI_TYPE_INT, .name = "max-tokens", .arg = "N", .help = "texts are cut to N tokens", .field = CLI_FIELD(struct distill_opts, max_tokens, int64_t), .def = "0",
      .def_help = RECIPE ", else the student's limit", .hi = XC_MOST_TOKENS },
    { .type = CLI_TYPE_INT, .name = "eval-every", .arg = "N", .help = "measure the dev rows every N updates of stages that train the answers", .field = CLI_FIELD(struct distill_opts, eval_every, int64_t),
      .def = "0", .def_help = RECIPE ", else after each epoch", .hi = XC_MOST_UPDATES },
    CLI_STRING(struct distill_opts, metric, 'm', "metric", "NAME", NULL, "what is best on the dev rows; the task's first metric when not given"),
    CLI_GROUP("Files"),
    CLI_STRING(struct distill_opts, log, 0, "log", "FILE", NULL, "a JSON line for every update, with each loss, and for every measurement"),
    CLI_STRING(struct distill_opts, checkpoint, 0, "checkpoint", "FILE", NULL, "state to go on from; the output's name and .train when not given, removed at the end"),
    CLI_INT(struct distill_opts, checkpoint_every, 0, "checkpoint-every", "N", 0, XC_MOST_UPDATES, "0", "write it every N updates; 0 for after each epoch"),
    CLI_BOOL(struct distill_opts, resume, 0, "resume", "go on from the checkpoint: the result is, to the bit, that of a run that was not stopped"),
    CLI_BOOL(struct distill_opts, no_golden, 0, "no-golden", "store no golden samples"),
    CLI_THREADS(struct distill_opts, threads), CLI_SEED(struct distill_opts, seed), CLI_QUIET(struct distill_opts, quiet), CLI_JSON(struct distill_opts, json),
    CLI_END
};

static void print_text(const struct xc_finetune_result *r, const char *out)
{
    cli_train_print(r, out);
    printf("%lld parameters; loss %.4f\n", (long long)r->parameters, r->loss);
    cli_train_print_dev(r, "at the beginning of the stage");
}

/* What is given on the command line comes before the recipe, what the recipe says before the defaults. */
static enum xc_status gather(struct xc_distill_opts *d, struct xc_arena *arena, const struct distill_opts *o, struct xc_err *err)
{
    struct xc_distill_stage *stage;

    if (o->recipe) XC_TRY(xc_distill_recipe_read(d, arena, o->recipe, err));
    if (o->task) d->train.task = tasks[o->task];
    if (!d->train.task) return xc_fail(err, XC_E_ARG, "give --task, or a recipe that has one");
    if (o->student) d->student = o->student;
    if (o->from) d->student_from = o->from;
    if (o->data.n) {
        d->data = o->data.items;
        d->n_data = o->data.n;
    }
    if (!d->student) return xc_fail(err, XC_E_ARG, "give --student, or a recipe that has one");
    if (!d->n_data) return xc_fail(err, XC_E_ARG, "give --data, or a recipe that has some");
    if (o->dev) d->train.dev = o->dev;
    if (o->metric) d->train.metric = o->metric;
    if (o->layers) XC_TRY(xc_distill_layers(d, o->layers, err));
    if (o->init) d->init = (enum xc_student_init)(o->init - 1);
    if (o->quantize) d->quantize = o->quantize;
    if (o->precision) d->train.bf16 = o->precision == 2;
    if (o->temperature > 0) d->temperature = o->temperature;
    if (o->augment) d->augment.count = o->augment;
    if (o->masked) d->augment.model = o->masked;
    if (o->cache) d->augment.cache = o->cache;
    if (o->batch_tokens) d->train.batch_tokens = o->batch_tokens;
    if (o->accumulate) d->train.accumulate = o->accumulate;
    if (o->max_tokens) d->train.max_tokens = (int32_t)o->max_tokens;
    if (o->eval_every) d->train.eval_every = o->eval_every;
    if (o->seed) d->train.seed = (uint64_t)o->seed;
    if (!d->stage) d->stage = xc_distill_default_stages(d->train.task, &d->n_stages);
    stage = xc_arena_alloc(arena, d->n_stages * sizeof *stage);
    if (!stage) return xc_fail_nomem(err, d->n_stages * sizeof *stage);
    memcpy(stage, d->stage, d->n_stages * sizeof *stage);
    for (size_t i = 0; i < d->n_stages; i++) {
        if (o->epochs) stage[i].epochs = o->epochs;
        if (o->max_steps) stage[i].max_steps = o->max_steps;
        if (o->rate > 0) stage[i].rate = o->rate;
    }
    d->stage = stage;
    return XC_OK;
}

static int run(void *opts, int argc, char **argv)
{
    const struct distill_opts *const o = opts;
    struct xc_distill_opts d = XC_DISTILL_DEFAULT;
    const char **teachers;
    struct xc_finetune_result result;
    struct cli_together together;
    struct xc_arena arena;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code;

    (void)argc;
    if (!o->out) return cli_usage(&cli_verb_distill, "give -o");
    xc_arena_init(&arena);
    status = cli_together_open(&together, o->threads, o->quiet, &err);
    if (status == XC_OK) status = gather(&d, &arena, o, &err);
    teachers = xc_arena_alloc(&arena, (o->teacher.n + 1) * sizeof *teachers);
    if (status == XC_OK && !teachers) status = xc_fail_nomem(&err, (o->teacher.n + 1) * sizeof *teachers);
    if (status == XC_OK) {
        teachers[0] = argv[0];
        if (o->teacher.n) memcpy(teachers + 1, o->teacher.items, o->teacher.n * sizeof *teachers);
        d.teachers = teachers;
        d.n_teachers = o->teacher.n + 1;
        d.train.log = o->log;
        d.train.checkpoint = o->checkpoint;
        d.train.checkpoint_every = o->checkpoint_every;
        d.train.resume = o->resume;
        d.train.no_golden = o->no_golden;
    }
    d.train.ranks = together.ranks;
    d.train.pool = together.pool;
    d.train.progress = &together.progress.callbacks;
    if (status == XC_OK) status = xc_distill_file(o->out, &d, &result, &err);
    if (cli_together_done(&together, status, &code, &err)) {
        if (result.truncated) cli_warn("%lld texts were cut to the longest sequence", (long long)result.truncated);
        if (o->json) code = cli_print_json(cli_train_json(&result, d.train.task, o->out));
        else print_text(&result, o->out);
    }
    cli_together_close(&together);
    xc_arena_release(&arena);
    return code;
}

const struct cli_verb cli_verb_distill = {
    .name = "distill", .summary = "train a small student on what a teacher says", .usage = "TEACHER --student SPEC|MODEL --task TASK --data FILE -o OUT.xc [options]\nTEACHER --recipe FILE -o OUT.xc [options]",
    .details =
        "TEACHER is a model with a head for the task (finetune makes one; an .xc in int8 teaches faster). The student is made of it by a specification, or is any f32 model whose tokens are "
        "among the teacher's: compress can make one first (drop_layers, shrink, low_rank, prune_vocabulary).\n\n"
        "Without a recipe there are two stages, as in TinyBERT: intermediate layers (embedding, hidden, attention), then what the teacher answers (logits; for embed and regress output and "
        "output_cosine). The result depends on models, data, recipe and seed, not on the number of threads.",
    .opts = table, .opts_size = sizeof(struct distill_opts), .min_args = 1, .max_args = 1, .run = run,
};
