/* finetune: train a model on a task. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/together.h"
#include "cli/train_result.h"
#include "compress/train/finetune.h"
#include "compress/train/ranges.h"
#include "formats/json.h"

struct finetune_opts {
    const char *out, *data, *dev, *metric, *log, *checkpoint;
    struct cli_list freeze, prune_ignore;
    const char *prune;
    int precision, task, optimizer, schedule, pooling, prune_over, export;
    int64_t epochs, batch_tokens, batch_rows, accumulate, max_steps, eval_every, checkpoint_every, patience, max_tokens, stride, prune_every, threads, seed;
    double rate, warmup, weight_decay, clip, dropout, attention_dropout, smoothing, layer_decay, ema, momentum, scale, mask, prune_begin, prune_end, span_penalty, span_rate;
    uint64_t max_memory;
    bool resume, no_golden, quiet, json;
};

static const char *const tasks[] = { "none", "classify", "pair", "regress", "tag", "answer", "choice", "embed", "mlm", NULL };
static const char *const exports[] = { "f32", "int8", "int4", NULL };

static const struct cli_opt table[] = {
    CLI_CHOICE(struct finetune_opts, task, 't', "task", tasks, "none", "what to train for"),
    CLI_STRING(struct finetune_opts, data, 'd', "data", "FILE", NULL, "training rows: .tsv with a header, .conll for tag, .tsv or SQuAD's .json for answer, lines or .tsv for mlm; plain or .zst"),
    CLI_STRING(struct finetune_opts, dev, 0, "dev", "FILE", NULL, "rows that are only measured: the best weights on them are kept"),
    CLI_STRING(struct finetune_opts, out, 'o', "output", "FILE", NULL, "the .xc file to write (f32, unless --export says otherwise)"),
    CLI_GROUP("Length"),
    CLI_INT(struct finetune_opts, epochs, 'e', "epochs", "N", 1, XC_MOST_EPOCHS, "3", "times through the data"),
    CLI_INT(struct finetune_opts, max_steps, 0, "max-steps", "N", 0, XC_MOST_UPDATES, "0", "stop after N updates; 0 for no limit"),
    CLI_INT(struct finetune_opts, eval_every, 0, "eval-every", "N", 0, XC_MOST_UPDATES, "0", "measure the dev rows every N updates; 0 for after each epoch"),
    CLI_INT(struct finetune_opts, patience, 0, "patience", "N", 0, XC_MOST_PATIENCE, "0", "stop after N measurements that are not better; 0 for never"),
    CLI_STRING(struct finetune_opts, metric, 'm', "metric", "NAME", NULL, "what is best on the dev rows; the task's first metric when not given"),
    CLI_GROUP("Batches"),
    CLI_INT(struct finetune_opts, batch_tokens, 'b', "batch-tokens", "N", 1, XC_MOST_BATCH, "2048", "tokens of a batch at most; rows are packed, nothing is padded"),
    CLI_INT(struct finetune_opts, batch_rows, 0, "batch-rows", "N", 0, XC_MOST_BATCH, "0", "rows of a batch at most; 0 for no limit"),
    CLI_INT(struct finetune_opts, accumulate, 0, "accumulate", "N", 1, XC_MOST_BATCHES, "1", "batches whose gradients are summed for one update; with mpirun one at least for each rank"),
    CLI_INT(struct finetune_opts, max_tokens, 0, "max-tokens", "N", 0, XC_MOST_TOKENS, "0", "texts are cut to N tokens; 0 for the model's limit"),
    CLI_INT(struct finetune_opts, stride, 0, "stride", "N", 0, XC_MOST_TOKENS, "0", "answer: tokens that two windows share where a text is too long; 0 for 128, or half a window"),
    CLI_GROUP("Optimizer"),
    CLI_CHOICE(struct finetune_opts, optimizer, 0, "optimizer", xc_optimizers, "adamw", "adamw, or sgd with momentum"),
    CLI_FLOAT(struct finetune_opts, rate, 0, "lr", "R", 0, XC_MOST_RATE, "5e-5", "the largest learning rate"),
    CLI_CHOICE(struct finetune_opts, schedule, 0, "schedule", xc_schedules, "linear", "how the learning rate falls after the warm-up"),
    CLI_FLOAT(struct finetune_opts, warmup, 0, "warmup", "SHARE", 0, 1, "0.06", "share of the updates in which the learning rate rises"),
    CLI_FLOAT(struct finetune_opts, weight_decay, 0, "weight-decay", "D", 0, XC_MOST_DECAY, "0.01", "decoupled decay of matrices; biases and norms have none"),
    CLI_FLOAT(struct finetune_opts, clip, 0, "clip", "NORM", 0, XC_MOST_NORM, "1", "longest gradient; 0 for no limit"),
    CLI_FLOAT(struct finetune_opts, momentum, 0, "momentum", "M", 0, 1, "0.9", "of sgd, and adamw's beta1"),
    CLI_FLOAT(struct finetune_opts, ema, 0, "ema", "DECAY", 0, XC_MOST_AVERAGE, "0", "keep a moving average of the weights instead of the last ones; 0 for none"),
    CLI_LIST(struct finetune_opts, freeze, 0, "freeze", "WORD", "leave tensors whose name begins so, or matches re:PATTERN, as they are; may be repeated"),
    CLI_FLOAT(struct finetune_opts, layer_decay, 0, "layer-decay", "D", 0, 1, "1", "learning rate of a layer as a share of that of the next"),
    CLI_GROUP("Model and loss"),
    CLI_CHOICE(struct finetune_opts, pooling, 0, "pooling", xc_head_poolings, "auto", "what a new head reads: the mean, the [CLS] state, the maximum, or BERT's pooler"),
    CLI_FLOAT(struct finetune_opts, dropout, 0, "dropout", "P", 0, XC_MOST_DROPPED, "0.1", "of embeddings, of what joins a residual sum, and before the head"),
    CLI_FLOAT(struct finetune_opts, attention_dropout, 0, "attention-dropout", "P", 0, XC_MOST_DROPPED, "0.1", "of attention probabilities"),
    CLI_FLOAT(struct finetune_opts, smoothing, 0, "label-smoothing", "S", 0, XC_MOST_DROPPED, "0", "share of the target that is spread over all classes"),
    CLI_FLOAT(struct finetune_opts, scale, 0, "contrast-scale", "S", 1e-3, 1e6, "20", "embed without scores: cosines are multiplied by this"),
    CLI_FLOAT(struct finetune_opts, mask, 0, "mask", "SHARE", 1e-3, 0.99, "0.15", "mlm: share of the tokens that are predicted"),
    CLI_CHOICE(struct finetune_opts, precision, 0, "precision", xc_precisions, "f32", "products of f32 numbers, or of numbers rounded to bf16 (weights, sums and gradients stay f32): up to twice as fast on Zen 4 and later, not on Sapphire Rapids"),
    CLI_CHOICE(struct finetune_opts, export, 0, "export", exports, "f32", "the encoding that is written, and that the dev rows are measured in"),
    CLI_GROUP("Pruning while training"),
    CLI_STRING(struct finetune_opts, prune, 0, "prune", "KIND=AMOUNT", NULL, "weights of the linears inside become zero: magnitude (the smallest, for good) or movement (those that training moves towards zero; they may come back) "
               "= a share (0.9), N:M kept (2:4), a share of blocks (0.75@16x4); or keep: the zeros of MODEL stay"),
    CLI_FLOAT(struct finetune_opts, prune_begin, 0, "prune-begin", "SHARE", 0, 1, "0.05", "share of the updates after which zeros begin; their share then rises by a cubic schedule"),
    CLI_FLOAT(struct finetune_opts, prune_end, 0, "prune-end", "SHARE", 0, 1, "0.6", "share of the updates after which all are there; dev rows decide from then on which weights are kept"),
    CLI_INT(struct finetune_opts, prune_every, 0, "prune-every", "N", 0, XC_MOST_UPDATES, "0", "choose them anew every N updates; 0 for a hundredth of all"),
    CLI_CHOICE(struct finetune_opts, prune_over, 0, "prune-threshold", xc_thresholds, "layer", "the share holds for each layer, or over all of them"),
    CLI_LIST(struct finetune_opts, prune_ignore, 0, "prune-ignore", "WORD", "do not prune tensors whose name begins so, or matches re:PATTERN; may be repeated"),
    CLI_GROUP("Spans of attention (pass spans)"),
    CLI_FLOAT(struct finetune_opts, span_penalty, 0, "span-penalty", "L", 0, 1e6, "0", "added to the loss: L times the mean span of all heads, as a share of their window"),
    CLI_FLOAT(struct finetune_opts, span_rate, 0, "span-rate", "F", 1e-6, 1e9, "100", "learning rate of spans, in those of weights"),
    CLI_SIZE(struct finetune_opts, max_memory, 0, "max-memory", "0", "memory to train in, such as 1GB: what does not fit is computed again in the backward pass, to the same bits; where that is not enough, blocks that are reversible (Reformer) give their inputs back, which rounds; 0 for no limit"),
    CLI_GROUP("Files"),
    CLI_STRING(struct finetune_opts, log, 0, "log", "FILE", NULL, "a JSON line for every update and measurement"),
    CLI_STRING(struct finetune_opts, checkpoint, 0, "checkpoint", "FILE", NULL, "state to go on from; the output's name and .train when not given, removed at the end"),
    CLI_INT(struct finetune_opts, checkpoint_every, 0, "checkpoint-every", "N", 0, XC_MOST_UPDATES, "0", "write it every N updates; 0 for after each epoch"),
    CLI_BOOL(struct finetune_opts, resume, 0, "resume", "go on from the checkpoint: the result is, to the bit, that of a run that was not stopped"),
    CLI_BOOL(struct finetune_opts, no_golden, 0, "no-golden", "store no golden samples"),
    CLI_THREADS(struct finetune_opts, threads), CLI_SEED(struct finetune_opts, seed), CLI_QUIET(struct finetune_opts, quiet), CLI_JSON(struct finetune_opts, json),
    CLI_END
};

static int print_json(const struct xc_finetune_result *r, const struct finetune_opts *o)
{
    json_t *doc = cli_train_json(r, tasks[o->task], o->out);
    bool bad = !doc;

    if (!bad)
        bad |= json_object_set_new(doc, "trained_parameters", json_integer((json_int_t)r->trained)) != 0 || json_object_set_new(doc, "new_head", json_boolean(r->new_head)) != 0 ||
               json_object_set_new(doc, "recomputed", json_boolean(r->recomputed)) != 0 || json_object_set_new(doc, "reversible_blocks", json_integer(r->reversible)) != 0 ||
               json_object_set_new(doc, "planned_bytes", xc_json_new_number(r->planned_bytes)) != 0;
    if (!bad && o->prune) bad |= json_object_set_new(doc, "sparsity", xc_json_new_number(r->sparsity)) != 0;
    if (!bad && r->span_tokens >= 0) bad |= json_object_set_new(doc, "span_tokens", xc_json_new_number(r->span_tokens)) != 0;
    if (bad) xc_json_free(&doc);
    return cli_print_json(doc);
}

static void print_text(const struct xc_finetune_result *r, const struct finetune_opts *o)
{
    cli_train_print(r, o->out);
    if (o->prune) printf("%.2f %% zeros in the linears inside\n", 100 * r->sparsity);
    if (r->span_tokens >= 0) printf("spans of attention: %.1f tokens in the mean\n", r->span_tokens);
    printf("trained %lld of %lld parameters%s; loss %.4f\n", (long long)r->trained, (long long)r->parameters, r->new_head ? ", the head is new" : "", r->loss);
    cli_train_print_dev(r, "before");
}

static int run(void *opts, int argc, char **argv)
{
    const struct finetune_opts *const o = opts;
    struct xc_finetune_opts f = {
        .task = tasks[o->task], .data = o->data, .dev = o->dev, .metric = o->metric, .log = o->log, .checkpoint = o->checkpoint, .resume = o->resume, .bf16 = o->precision == 1,
        .pooling = (enum xc_head_pooling)o->pooling, .schedule = (enum xc_schedule)o->schedule, .rate = o->rate, .warmup = o->warmup, .dropout = o->dropout, .attention_dropout = o->attention_dropout, .max_memory = o->max_memory,
        .smoothing = o->smoothing, .layer_decay = o->layer_decay, .contrast_scale = o->scale, .mask_share = o->mask, .epochs = o->epochs, .batch_tokens = o->batch_tokens,
        .batch_rows = o->batch_rows, .accumulate = o->accumulate, .max_steps = o->max_steps, .eval_every = o->eval_every, .checkpoint_every = o->checkpoint_every,
        .patience = o->patience, .max_tokens = (int32_t)o->max_tokens, .stride = (int32_t)o->stride, .freeze = o->freeze.items, .n_freeze = o->freeze.n, .seed = (uint64_t)o->seed, .no_golden = o->no_golden,
        .export = o->export ? exports[o->export] : NULL,
        .sparsify = { .prune = o->prune, .begin = o->prune_begin, .end = o->prune_end, .every = o->prune_every, .global = o->prune_over == 1, .ignore = o->prune_ignore.items,
                      .n_ignore = o->prune_ignore.n },
        .span_penalty = o->span_penalty, .span_rate = o->span_rate,
        .optimizer = { .kind = (enum xc_optimizer)o->optimizer, .beta1 = o->momentum, .beta2 = 0.999, .eps = 1e-8, .weight_decay = o->weight_decay, .clip = o->clip, .ema = o->ema },
    };
    struct xc_finetune_result result;
    struct cli_together together;
    struct xc_err err = { 0 };
    enum xc_status status;
    int code;

    (void)argc;
    if (!o->task) return cli_usage(&cli_verb_finetune, "give --task");
    if (!o->data) return cli_usage(&cli_verb_finetune, "give --data");
    if (!o->out) return cli_usage(&cli_verb_finetune, "give -o");
    if (!o->dev && (o->patience || o->metric || o->eval_every)) return cli_usage(&cli_verb_finetune, "--patience, --metric and --eval-every need --dev");
    if (o->stride && strcmp(tasks[o->task], "answer") != 0) return cli_usage(&cli_verb_finetune, "--stride is for task answer, which cuts long texts into windows");
    if (!o->prune && o->prune_ignore.n) return cli_usage(&cli_verb_finetune, "--prune-ignore needs --prune");
    status = cli_together_open(&together, o->threads, o->quiet, &err);
    f.ranks = together.ranks;
    f.pool = together.pool;
    f.progress = &together.progress.callbacks;
    if (status == XC_OK) status = xc_finetune_file(argv[0], o->out, &f, &result, &err);
    if (cli_together_done(&together, status, &code, &err)) {
        if (result.truncated) cli_warn("%lld texts were cut to the longest sequence", (long long)result.truncated);
        if (o->json) code = print_json(&result, o);
        else print_text(&result, o);
    }
    cli_together_close(&together);
    return code;
}

const struct cli_verb cli_verb_finetune = {
    .name = "finetune", .summary = "train a model on a task", .usage = "MODEL --task TASK --data FILE [--dev FILE] -o OUT.xc [options]",
    .details =
        "MODEL is an f32 .xc file or a Hugging Face directory. Its own head is trained on when it fits the task and has every label of the data; otherwise a new one is put on the "
        "encoder. Batches are packed token by token, nothing is padded. The result depends on model, data, options and seed, not on the number of threads.\n\n"
        "Tasks and their columns: classify (label, text), pair (label, text_a, text_b), regress (score or label; text, or text_a and text_b), tag (.conll: token, tab, tag), answer "
        "(question, context, answer, which is empty where the context has none; answer_start if there, in letters; or SQuAD's .json), choice (text, choice0, choice1, ..., label, the number of the right one), embed "
        "(text_a, text_b; with score: the cosine learns the score over the largest one; without: every text_a finds its text_b in the batch), mlm (lines, or a .tsv with text).",
    .opts = table, .opts_size = sizeof(struct finetune_opts), .min_args = 1, .max_args = 1, .run = run,
};
