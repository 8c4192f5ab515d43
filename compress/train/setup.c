/* setup: see setup.h. */
#include "compress/train/setup.h"

#include <errno.h>
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "compress/manifest.h"
#include "compress/tasks/choice.h"
#include "compress/tasks/questions.h"
#include "compress/train/loss.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "runtime/container/container.h"

const char *const xc_schedules[] = { "linear", "cosine", "constant", NULL };
const char *const xc_optimizers[] = { "adamw", "sgd", NULL };
const char *const xc_precisions[] = { "f32", "bf16", NULL };
const char *const xc_thresholds[] = { "layer", "global", NULL }; /* over which the share of --prune holds */

void xc_training_release(struct xc_training *t)
{
    if (t->tape) xc_tape_free(&t->tape);
    if (t->gradients) xc_gradient_sum_free(&t->gradients);
    xc_free(t->numbers);
    xc_integers_free(&t->integers);
    xc_sparsify_free(&t->sparsify);
    xc_spans_release(&t->spans);
    xc_params_release(&t->params);
    xc_dataset_release(&t->set);
    xc_dataset_release(&t->dev);
    xc_batches_release(&t->plan);
    xc_batches_release(&t->dev_plan);
    xc_batch_release(&t->batch);
    if (t->tokenizer) xc_tokenizer_free(&t->tokenizer);
    if (t->model) xc_model_free(&t->model);
    if (t->log) fclose(t->log);
    json_decref(t->facts);
    xc_free(t->trained);
    xc_free(t->d_out);
    xc_free(t->outs);
    xc_free(t->d_outs);
    xc_free(t->stage);
    xc_free(t->each);
    xc_free(t->best);
    xc_free(t->checkpoint);
    *t = (struct xc_training){ 0 };
}

/* ---- data ---- */
static bool is_task(const struct xc_training *t, const char *name) { return !strcmp(t->opts->task, name); }

static enum xc_status read_data(const struct xc_training *t, struct xc_data *d, const char *path, struct xc_err *err)
{
    const int number = XC_DATA_LABEL | XC_DATA_SCORE | XC_DATA_NUMBERS;
    struct xc_err ignored = { 0 };

    if (is_task(t, "answer")) return xc_data_read_answers(d, path, !t->opts->no_labels, err);
    if (is_task(t, "choice")) return xc_data_read_tsv(d, path, XC_DATA_CHOICE | (t->opts->no_labels ? 0 : XC_DATA_LABEL), err);
    if (t->opts->no_labels && d != &t->dev.data && !is_task(t, "tag") && !is_task(t, "mlm"))
        return is_task(t, "pair") ? xc_data_read_tsv(d, path, XC_DATA_PAIR, err) : xc_data_read_texts(d, path, err);
    if (is_task(t, "classify")) return xc_data_read_tsv(d, path, XC_DATA_LABEL, err);
    if (is_task(t, "pair")) return xc_data_read_tsv(d, path, XC_DATA_LABEL | XC_DATA_PAIR, err);
    if (is_task(t, "tag")) return xc_data_read_conll(d, path, err);
    if (is_task(t, "mlm")) return xc_data_read_texts(d, path, err);
    if (is_task(t, "embed")) { /* scores: cosine regression; pairs alone: contrast */
        if (xc_data_read_tsv(d, path, XC_DATA_PAIR | XC_DATA_SCORE, &ignored) == XC_OK) return XC_OK;
        return xc_data_read_tsv(d, path, XC_DATA_PAIR, err);
    }
    if (xc_data_read_tsv(d, path, number | XC_DATA_PAIR, &ignored) == XC_OK) return XC_OK;
    return xc_data_read_tsv(d, path, number, err);
}

/* The distinct labels, or tags, of the training rows, in order. */
static enum xc_status collect_labels(const struct xc_training *t, const char ***out, int32_t *n, struct xc_err *err)
{
    const struct xc_data *d = &t->set.data;
    const int64_t count = d->words ? d->n_words : d->n;
    const char *const *all = d->words ? d->tags : d->label;
    int64_t kept = 0;

    *n = 0;
    XC_TRY(xc_new_array(out, count, sizeof **out, err));
    memcpy(*out, all, (size_t)count * sizeof **out);
    qsort(*out, (size_t)count, sizeof **out, xc_data_compare_labels);
    for (int64_t i = 0; i < count; i++)
        if (!kept || strcmp((*out)[kept - 1], (*out)[i])) (*out)[kept++] = (*out)[i];
    *n = (int32_t)kept;
    if (kept >= 2 && kept <= 100000) return XC_OK;
    if (kept < 2) xc_fail(err, XC_E_RANGE, "all rows have the label '%s'; training needs two", (*out)[0]);
    else xc_fail(err, XC_E_RANGE, "%lld different labels", (long long)kept);
    xc_free(*out);
    *out = NULL;
    return xc_fail_at(err, XC_E_RANGE, "%s", d->path);
}

/* ---- targets ---- */
static enum xc_status row_labels(struct xc_training *t, const struct xc_model_info *info, struct xc_err *err)
{
    const struct xc_subject subject = { .path = t->from, .model = t->model, .info = *info };
    struct xc_eval e = { .task = t->task, .data = t->set.data };
    const enum xc_status status = xc_task_gold_labels(&e, &subject, err);

    t->set.label = e.gold_class;
    return status;
}

/* The first token of a word has its tag; the others, and special tokens, do not count. */
static enum xc_status token_labels(struct xc_training *t, struct xc_err *err)
{
    const struct xc_dataset *d = &t->set;
    int32_t *label;

    XC_TRY(xc_new_array(&label, d->start[d->n], sizeof *label, err));
    t->set.token_label = label;
    for (int64_t s = 0; s < d->n; s++) {
        int32_t last = -1;

        for (int64_t i = d->start[s]; i < d->start[s + 1]; i++) {
            const int32_t word = d->words[i];
            const char *tag;

            label[i] = -1;
            if (word < 0 || word == last) continue;
            last = word;
            tag = d->data.tags[d->data.word_start[s] + word];
            for (int32_t k = 0; k < t->model->n_labels && label[i] < 0; k++)
                if (!strcmp(t->model->labels[k], tag)) label[i] = k;
        }
    }
    return XC_OK;
}

static enum xc_status scores(struct xc_training *t, bool scaled, struct xc_err *err)
{
    const struct xc_data *d = &t->set.data;
    double most = 0;

    XC_TRY(xc_new_array(&t->set.score, d->n, sizeof *t->set.score, err));
    for (int64_t i = 0; i < d->n; i++) {
        if (!isfinite(d->score[i]) || fabs(d->score[i]) > 1e30) {
            xc_fail(err, XC_E_RANGE, "score %g", d->score[i]);
            return xc_data_fail_at(d, i, err, XC_E_RANGE);
        }
        most = fmax(most, fabs(d->score[i]));
    }
    for (int64_t i = 0; i < d->n; i++) t->set.score[i] = (float)(scaled && most > 0 ? d->score[i] / most : d->score[i]);
    return XC_OK;
}

static enum xc_status targets(struct xc_training *t, const struct xc_model_info *info, struct xc_err *err)
{
    if (is_task(t, "classify") || is_task(t, "pair")) return row_labels(t, info, err);
    if (is_task(t, "tag")) return token_labels(t, err);
    if (is_task(t, "choice")) {
        t->kind = XC_LOSS_CHOICES;
        return xc_choice_labels(&t->set.label, &t->set.data, err);
    }
    if (is_task(t, "answer")) {
        t->kind = XC_LOSS_SPANS;
        return XC_OK;
    }
    if (is_task(t, "mlm")) {
        t->mask = (struct xc_masking){ .on = true, .mask_id = xc_tokenizer_special(t->tokenizer, XC_TOKEN_MASK), .vocab = (int32_t)info->vocab_size, .share = t->opts->mask_share, .seed = t->opts->seed };
        return t->mask.mask_id < 0 ? xc_fail(err, XC_E_UNSUPPORTED, "the tokenizer has no mask token") : XC_OK;
    }
    t->kind = is_task(t, "regress") ? XC_LOSS_SQUARE : t->set.data.score ? XC_LOSS_COSINE : XC_LOSS_CONTRAST;
    return t->set.data.score ? scores(t, t->kind == XC_LOSS_COSINE, err) : XC_OK;
}

static enum xc_status load_data(struct xc_training *t, struct xc_err *err)
{
    const bool classes = is_task(t, "classify") || is_task(t, "pair") || is_task(t, "tag");
    struct xc_head_opts head = { .task = is_task(t, "pair") ? "classify" : t->opts->task, .pooling = t->opts->pooling, .seed = t->opts->seed };
    struct xc_model_info info;
    const char **labels = NULL;
    enum xc_status status;
    int32_t limit;

    XC_TRY(read_data(t, &t->set.data, t->opts->data, err));
    for (size_t i = 0; i < t->opts->n_more_data; i++) {
        struct xc_data more;

        XC_TRY(read_data(t, &more, t->opts->more_data[i], err));
        status = xc_data_append(&t->set.data, &more, err);
        xc_data_release(&more);
        XC_TRY(status);
    }
    if (classes && !t->opts->no_labels) XC_TRY(collect_labels(t, &labels, &head.n_labels, err));
    head.labels = labels;
    if (t->objective) status = t->objective->load(t->objective->arg, t, &head, &t->graph, err);
    else status = xc_head_load(&t->model, t->from, &head, &t->new_head, err);
    xc_free(labels);
    XC_TRY(status);
    if (!t->objective) t->graph = xc_model_find_graph(t->model, "encode");
    XC_TRY(xc_model_info(t->model, &info, err));
    if (!t->model->tokenizer) return xc_fail(err, XC_E_UNSUPPORTED, "the model has no tokenizer");
    XC_TRY(xc_tokenizer_open(&t->tokenizer, t->model->tokenizer, err));
    limit = t->opts->max_tokens > 0 && (!info.max_tokens || t->opts->max_tokens < info.max_tokens) ? t->opts->max_tokens : info.max_tokens;
    t->set.per_row = is_task(t, "embed") && t->set.data.b ? 2 : 1;
    if (is_task(t, "answer")) XC_TRY(xc_dataset_questions(&t->set, t->tokenizer, !t->opts->no_labels, &(struct xc_questions_opts){ .max_tokens = limit, .stride = t->opts->stride, .pool = t->opts->pool }, err));
    else if (is_task(t, "choice")) XC_TRY(xc_dataset_choices(&t->set, t->tokenizer, limit, t->opts->pool, err));
    else XC_TRY(xc_dataset_tokenize(&t->set, t->tokenizer, limit, t->opts->pool, err));
    if (!t->opts->no_labels) XC_TRY(targets(t, &info, err));
    if (!t->task && t->opts->dev) {
        t->dev.per_row = t->set.per_row;
        XC_TRY(read_data(t, &t->dev.data, t->opts->dev, err));
        XC_TRY(xc_dataset_tokenize(&t->dev, t->tokenizer, limit, t->opts->pool, err));
    }
    return XC_OK;
}

/* ---- parameters ---- */
/* mark[] of the tensors that a word speaks of; fails when there are none. */
static enum xc_status mark_tensors(const struct xc_training *t, const char *word, bool *mark, bool value, const char *what, struct xc_err *err)
{
    const bool is_regex = !strncmp(word, "re:", 3);
    bool any = false;
    regex_t regex;

    if (is_regex && regcomp(&regex, word + 3, REG_EXTENDED)) return xc_fail(err, XC_E_FORMAT, "'%s' is no regular expression", word);
    for (int32_t i = 0; i < t->model->n_tensors; i++) {
        const char *name = t->model->tensors[i]->name;
        regmatch_t at;

        if (is_regex ? regexec(&regex, name, 1, &at, 0) || at.rm_so != 0 : strncmp(name, word, strlen(word)) != 0) continue;
        any = true;
        mark[i] = value;
    }
    if (is_regex) regfree(&regex);
    return any ? XC_OK : xc_fail(err, XC_E_NOT_FOUND, "'%s', which is to be %s, matches no tensor", word, what);
}

static enum xc_status sparsify(struct xc_training *t, struct xc_err *err)
{
    const struct xc_sparsify_opts *o = &t->opts->sparsify;
    bool *ignored = NULL;
    enum xc_status status;

    if (!o->prune) return XC_OK;
    if (t->opts->optimizer.ema > 0) return xc_fail(err, XC_E_ARG, "pruning and a moving average of the weights do not go together: masks are for the weights of one moment");
    XC_TRY(xc_new_array(&ignored, t->model->n_tensors, sizeof *ignored, err));
    status = XC_OK;
    for (size_t i = 0; i < o->n_ignore && status == XC_OK; i++) status = mark_tensors(t, o->ignore[i], ignored, true, "left unpruned", err);
    if (status == XC_OK) status = xc_sparsify_new(&t->sparsify, xc_model_find_graph(t->model, "encode"), t->trained, ignored, o, err);
    xc_free(ignored);
    return status;
}

/* Layer-wise rates (Howard & Ruder 2018, arXiv:1801.06146): the head 1, the last layer d, the one before d^2, ..., the embeddings the smallest. */
static void layer_rates(struct xc_training *t)
{
    int last = -1;

    for (int32_t i = 0; i < t->model->n_tensors; i++)
        if (xc_layer_number(t->model->tensors[i]->name, NULL) > last) last = xc_layer_number(t->model->tensors[i]->name, NULL);
    for (int32_t i = 0; i < t->params.n; i++) {
        const char *name = t->model->tensors[t->params.param[i].tensor]->name;
        const int layer = xc_layer_number(name, NULL);

        if (layer >= 0) t->params.param[i].rate = pow(t->opts->layer_decay, last - layer + 1);
        else if (strstr(name, "embeddings")) t->params.param[i].rate = pow(t->opts->layer_decay, last + 2);
    }
}

static enum xc_status new_tape(struct xc_training *t, const struct xc_tape_opts *opts, struct xc_err *err)
{
    XC_TRY(xc_tape_new(&t->tape, t->graph, opts, err));
    xc_tape_dropout_attention(t->tape, t->opts->attention_dropout);
    if (t->opts->dropout > 0) xc_tape_dropout_usual(t->tape, t->opts->dropout);
    return XC_OK;
}

/* What does not follow from the batch: weights (dev rows are measured by a session, which packs them once more), their gradients and states, tokens. */
static double fixed_bytes(const struct xc_training *t)
{
    const struct xc_finetune_opts *o = t->opts;
    const int copies = 2 + (o->optimizer.kind == XC_OPT_ADAMW) + (o->optimizer.ema > 0) + (o->dev != NULL);
    double weights = 0;

    for (int32_t i = 0; i < t->model->n_tensors; i++) weights += 4.0 * (double)xc_tensor_count(t->model->tensors[i]);
    return weights * (o->dev ? 2 : 1) + xc_gradient_sum_bytes(o->ranks, t->params.total, o->accumulate) + 4.0 * copies * (double)t->params.total + 9.0 * (double)t->set.start[t->set.n * t->set.per_row];
}

/* The largest batch: rows packed up to a number of tokens, or one long row. */
static void largest_batch(const struct xc_training *t, int64_t *tokens, int64_t *sequences)
{
    const struct xc_dataset *d = &t->set;
    int64_t longest = 1, shortest = INT64_MAX, rows;

    for (int64_t r = 0; r < d->n; r++) {
        const int64_t n = d->start[(r + 1) * d->per_row] - d->start[r * d->per_row];

        longest = xc_max_i64(longest, n);
        shortest = xc_min_i64(shortest, xc_max_i64(n, 1));
    }
    *tokens = xc_max_i64(longest, xc_min_i64(t->opts->batch_tokens, d->start[d->n * d->per_row]));
    rows = xc_min_i64(d->n, *tokens / shortest);
    if (t->opts->batch_rows) {
        rows = xc_min_i64(rows, t->opts->batch_rows);
        *tokens = xc_min_i64(*tokens, xc_max_i64(longest, rows * longest));
    }
    *sequences = rows * d->per_row;
}

/* The tape: everything is kept where that fits, else as much is computed again as needs the least memory, to the same bits; where that does not fit either, reversible
 * blocks give their inputs back, which rounds. */
static enum xc_status plan_memory(struct xc_training *t, struct xc_tape_opts *opts, struct xc_err *err)
{
    static const int32_t segments[] = { 0, 1, 2, 3, 4, 6, 8, -1 }; /* -1: reversible */
    const double fixed = fixed_bytes(t), limit = (double)t->opts->max_memory;
    double least = INFINITY;
    int64_t tokens, sequences;

    largest_batch(t, &tokens, &sequences);
    for (size_t i = 0; i < XC_ARRAY_LEN(segments); i++) {
        struct xc_tape_opts one = *opts;
        double bytes;

        one.segment = segments[i] > 0 ? segments[i] : 0;
        one.reverse = segments[i] < 0;
        if (one.reverse && least <= limit) break;
        XC_TRY(new_tape(t, &one, err));
        bytes = fixed + xc_tape_bytes(t->tape, tokens, sequences);
        if (limit <= 0) {
            t->planned_bytes = bytes;
            return XC_OK;
        }
        if (bytes < least && (!one.reverse || xc_tape_reversible(t->tape))) {
            least = bytes;
            opts->segment = one.segment;
            opts->reverse = one.reverse;
        }
        xc_tape_free(&t->tape);
        if (i == 0 && least <= limit) break;
    }
    t->planned_bytes = least;
    t->recomputed = opts->segment > 0 || opts->reverse;
    if (least > limit)
        return xc_fail(err, XC_E_RANGE, "training needs %.0f MB for a batch of %lld tokens, more than --max-memory: lower --batch-tokens (or --max-tokens), or give more", ceil(least / 1e6),
                       (long long)tokens);
    opts->rows = tokens;
    opts->sequences = sequences;
    XC_TRY(new_tape(t, opts, err));
    t->reversible = xc_tape_reversible(t->tape);
    return XC_OK;
}

static void gradient_passed(void *arg, int32_t node) { xc_gradient_sum_ready(arg, node); }

/* Sums over batches and ranks; a tensor's gradient is whole once the first node that reads it is done. */
static enum xc_status sum_gradients(struct xc_training *t, struct xc_err *err)
{
    const struct xc_graph *g = t->graph;
    struct xc_gradient_ready *ready;
    enum xc_status status;

    if (t->opts->accumulate == 1 && !t->opts->ranks) return XC_OK;
    XC_TRY(xc_new_array(&ready, t->params.n, sizeof *ready, err));
    for (int32_t i = 0; i < t->params.n; i++) {
        ready[i] = (struct xc_gradient_ready){ .at = t->params.param[i].at, .node = g->n_nodes };
        for (int32_t n = g->n_nodes - 1; n >= 0; n--)
            for (int32_t k = 0; k < g->nodes[n].n_in; k++)
                if (g->nodes[n].in[k].kind == XC_REF_TENSOR && g->nodes[n].in[k].id == t->params.param[i].tensor) ready[i].node = n;
    }
    status = xc_gradient_sum_new(&t->gradients, t->opts->ranks, t->params.grad, t->params.total, ready, t->params.n, t->opts->accumulate, t->opts->pool, err);
    xc_free(ready);
    return status;
}

void xc_training_stream(struct xc_training *t, bool on) { xc_tape_passed(t->tape, on ? gradient_passed : NULL, t->gradients); }

static enum xc_status parameters(struct xc_training *t, struct xc_err *err)
{
    struct xc_tape_opts tape = { .pool = t->opts->pool, .bf16 = t->opts->bf16 };

    XC_TRY(xc_new_array(&t->trained, t->model->n_tensors, sizeof *t->trained, err));
    for (int32_t n = 0; n < t->graph->n_nodes; n++)
        for (int32_t i = 0; i < t->graph->nodes[n].n_in; i++)
            if (t->graph->nodes[n].in[i].kind == XC_REF_TENSOR) t->trained[t->graph->nodes[n].in[i].id] = true;
    for (size_t i = 0; i < t->opts->n_freeze; i++) XC_TRY(mark_tensors(t, t->opts->freeze[i], t->trained, false, "frozen", err));
    for (int32_t i = 0; i < t->model->n_tensors; i++) XC_TRY(xc_tensor_load(t->model->tensors[i], err));
    XC_TRY(sparsify(t, err));
    XC_TRY(xc_params_new(&t->params, t->model, t->trained, &t->opts->optimizer, err));
    layer_rates(t);
    XC_TRY(xc_spans_init(&t->spans, &t->params, t->graph, t->opts->span_penalty, t->opts->span_rate > 0 ? t->opts->span_rate : XC_SPAN_RATE, err));
    tape.trained = t->trained;
    tape.straight_through = t->integers != NULL;
    XC_TRY(xc_new_array(&t->outs, t->graph->n_outputs, sizeof *t->outs, err));
    XC_TRY(xc_new_array(&t->d_outs, t->graph->n_outputs, sizeof *t->d_outs, err));
    XC_TRY(plan_memory(t, &tape, err));
    for (int32_t i = 0; i < t->params.n; i++) xc_tape_bind(t->tape, t->params.param[i].tensor, t->params.grad + t->params.param[i].at);
    XC_TRY(sum_gradients(t, err));
    if (!t->opts->dev) return XC_OK;
    t->best = xc_calloc((size_t)t->params.total, sizeof *t->best); /* none is kept before the share of zeros is reached */
    return t->best ? XC_OK : xc_fail_nomem(err, (size_t)t->params.total * sizeof *t->best);
}

const struct xc_stage *xc_training_stage(const struct xc_training *t, int64_t epoch)
{
    int64_t i = t->n_stages - 1;

    while (i > 0 && epoch < t->stage[i].first_epoch) i--;
    return &t->stage[i];
}

static enum xc_status make_stages(struct xc_training *t, struct xc_err *err)
{
    const struct xc_finetune_opts *o = t->opts;
    const struct xc_stage one = { .name = "train", .epochs = o->epochs, .max_steps = o->max_steps, .rate = o->rate, .warmup = o->warmup, .measured = true };

    t->n_stages = o->stages ? (int64_t)o->n_stages : 1;
    XC_TRY(xc_new_array(&t->stage, t->n_stages, sizeof *t->stage, err));
    memcpy(t->stage, o->stages ? o->stages : &one, (size_t)t->n_stages * sizeof *t->stage);
    for (int64_t i = 1; i < t->n_stages; i++) t->stage[i].first_epoch = t->stage[i - 1].first_epoch + t->stage[i - 1].epochs;
    return XC_OK;
}

/* Batches differ from epoch to epoch: counted by planning them all. */
static enum xc_status count_steps(struct xc_training *t, struct xc_err *err)
{
    const struct xc_finetune_opts *o = t->opts;
    const int64_t epoch_tokens = t->set.start[t->set.n * t->set.per_row];

    XC_TRY(make_stages(t, err));
    for (int64_t i = 0; i < t->n_stages; i++) {
        struct xc_stage *stage = &t->stage[i];
        int64_t all = 0, tokens = epoch_tokens * stage->epochs;

        for (int64_t e = 0; e < stage->epochs; e++) {
            XC_TRY(xc_batches_plan(&t->plan, &t->set, true, o->seed, stage->first_epoch + e, o->batch_tokens, o->batch_rows, err));
            all += xc_div_up(t->plan.n, o->accumulate);
            if (stage->max_steps && all >= stage->max_steps) break;
        }
        stage->first_step = t->total_steps;
        stage->steps = stage->max_steps ? xc_min_i64(stage->max_steps, all) : all;
        if (stage->max_steps && all >= stage->max_steps) tokens = xc_min_i64(tokens, stage->max_steps * o->accumulate * o->batch_tokens);
        t->total_steps += stage->steps;
        t->total_tokens += tokens;
    }
    return XC_OK;
}

/* ---- what the manifest says, and the checkpoint must agree with ---- */
static json_t *describe_pruning(const struct xc_sparsify_opts *o)
{
    json_t *ignore = json_array();
    bool bad = !ignore;

    for (size_t i = 0; i < o->n_ignore; i++) bad |= json_array_append_new(ignore, json_string(o->ignore[i])) != 0;
    if (!bad)
        return json_pack("{s:s, s:o, s:o, s:I, s:s, s:o}", "what", o->prune, "begin", xc_json_new_number(o->begin), "end", xc_json_new_number(o->end), "every", (json_int_t)o->every, "threshold",
                         o->global ? "global" : "layer", "ignore", ignore);
    json_decref(ignore);
    return NULL;
}

static enum xc_status describe(struct xc_training *t, struct xc_err *err)
{
    const struct xc_finetune_opts *o = t->opts;
    json_t *sources = NULL, *data = NULL, *dev = NULL, *frozen = json_array(), *root;
    enum xc_status status;
    char *text = NULL;
    size_t len;
    bool bad = !frozen;

    XC_TRY_GOTO(xc_manifest_files(&sources, t->from, NULL, NULL, err), out);
    XC_TRY_GOTO(xc_manifest_files(&data, o->data, NULL, NULL, err), out);
    for (size_t i = 0; i < o->n_more_data; i++) {
        json_t *more;

        XC_TRY_GOTO(xc_manifest_files(&more, o->more_data[i], NULL, NULL, err), out);
        bad |= json_array_extend(data, more) != 0;
        json_decref(more);
    }
    if (o->dev) XC_TRY_GOTO(xc_manifest_files(&dev, o->dev, NULL, NULL, err), out);
    for (size_t i = 0; i < o->n_freeze; i++) bad |= json_array_append_new(frozen, json_string(o->freeze[i])) != 0;
    root = json_pack("{s:s, s:O, s:O, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:O}", "task", o->task, "sources", sources, "data", data, "pooling", xc_head_poolings[o->pooling], "epochs", (json_int_t)o->epochs,
                     "batch_tokens", (json_int_t)o->batch_tokens, "batch_rows", (json_int_t)o->batch_rows, "accumulate", (json_int_t)o->accumulate, "max_steps",
                     (json_int_t)o->max_steps, "max_tokens", (json_int_t)o->max_tokens, "eval_every", (json_int_t)o->eval_every, "patience", (json_int_t)o->patience, "freeze", frozen);
    t->facts = root;
    bad |= json_object_set_new(root, "schedule", json_string(xc_schedules[o->schedule])) != 0;
    bad |= json_object_set_new(root, "optimizer", json_string(xc_optimizers[o->optimizer.kind])) != 0;
    if (o->bf16) bad |= json_object_set_new(root, "precision", json_string("bf16")) != 0;
    bad |= json_object_set_new(root, "seed", json_integer((json_int_t)o->seed)) != 0;
    if (o->stride) bad |= json_object_set_new(root, "stride", json_integer(o->stride)) != 0;
    if (o->export) bad |= json_object_set_new(root, "export", json_string(o->export)) != 0;
    if (t->reversible) bad |= json_object_set_new(root, "reversible", json_true()) != 0;
    if (o->sparsify.prune) bad |= json_object_set_new(root, "prune", describe_pruning(&o->sparsify)) != 0;
    if (t->spans.n) bad |= json_object_set_new(root, "spans", json_pack("{s:o, s:o}", "penalty", xc_json_new_number(o->span_penalty), "rate", xc_json_new_number(o->span_rate > 0 ? o->span_rate : XC_SPAN_RATE))) != 0;
    if (dev) bad |= json_object_set(root, "dev", dev) != 0;
    if (dev && o->metric) bad |= json_object_set_new(root, "metric", json_string(o->metric)) != 0;
    {
        const struct { const char *name; double x; } numbers[] = {
            { "lr", o->rate }, { "warmup", o->warmup }, { "dropout", o->dropout }, { "attention_dropout", o->attention_dropout }, { "label_smoothing", o->smoothing }, { "layer_decay", o->layer_decay },
            { "beta1", o->optimizer.beta1 }, { "beta2", o->optimizer.beta2 }, { "eps", o->optimizer.eps }, { "weight_decay", o->optimizer.weight_decay },
            { "clip", o->optimizer.clip }, { "ema", o->optimizer.ema }, { "contrast_scale", o->contrast_scale }, { "mask_share", o->mask_share },
        };

        for (size_t i = 0; i < XC_ARRAY_LEN(numbers); i++) bad |= json_object_set_new(root, numbers[i].name, xc_json_new_number(numbers[i].x)) != 0;
    }
    status = bad ? xc_fail_nomem(err, 0) : XC_OK;
    if (status == XC_OK && t->objective) status = t->objective->prepare(t->objective->arg, t, err);
    if (status == XC_OK) status = xc_json_text(&text, &len, root, 0, err);
    if (status == XC_OK) t->fingerprint = XXH3_64bits(text, len);
out:
    xc_free(text);
    json_decref(sources);
    json_decref(data);
    json_decref(dev);
    json_decref(frozen);
    return status;
}

enum xc_status xc_training_manifest(struct xc_training *t, struct xc_err *err)
{
    json_t *root = json_pack("{s:{s:s, s:i, s:i}, s:O}", "versions", "xcompress", xc_version(), "container", XC_CONTAINER_VERSION, "numerics", XC_NUMERICS_VERSION, t->objective ? "distill" : "finetune", t->facts);
    json_t *measured = json_pack("{s:I, s:I, s:I}", "steps", (json_int_t)t->state.step, "tokens", (json_int_t)t->state.tokens, "rows", (json_int_t)t->set.n);
    char *text = NULL;
    struct xc_buf *buf = NULL;
    enum xc_status status;
    size_t len;
    bool bad = !root || !measured;

    if (t->best) {
        bad |= json_object_set_new(measured, "metric", json_string(t->metric)) != 0;
        bad |= json_object_set_new(measured, "best", xc_json_new_number(t->state.best)) != 0;
        bad |= json_object_set_new(measured, "best_step", json_integer(t->state.best_step)) != 0;
    }
    bad |= json_object_set(root, "trained", measured) != 0;
    status = bad ? xc_fail_nomem(err, 0) : xc_json_text(&text, &len, root, 0, err);
    if (status == XC_OK) status = xc_buf_new(&buf, len, err);
    if (status == XC_OK) {
        memcpy(buf->data, text, len);
        xc_buf_unref(&t->model->manifest);
        t->model->manifest = buf;
    }
    xc_free(text);
    json_decref(measured);
    json_decref(root);
    return status;
}

/* ---- all of it ---- */
static enum xc_status files(struct xc_training *t, const char *to, struct xc_err *err)
{
    const size_t n = strlen(to) + sizeof ".train";

    t->checkpoint = t->opts->checkpoint ? xc_strdup(t->opts->checkpoint) : xc_malloc(n);
    if (!t->checkpoint) return xc_fail_nomem(err, n);
    if (!t->opts->checkpoint) snprintf(t->checkpoint, n, "%s.train", to);
    if (!t->opts->log || xc_ranks_me(t->opts->ranks)) return XC_OK;
    t->log = fopen(t->opts->log, t->opts->resume ? "a" : "w");
    if (t->log) return XC_OK;
    xc_fail_errno(err, errno, "cannot open the log");
    return xc_fail_at(err, XC_E_IO, "%s", t->opts->log);
}

static enum xc_status check_opts(const struct xc_training *t, struct xc_err *err)
{
    const struct xc_finetune_opts *o = t->opts;

    if (o->epochs < 1 || o->batch_tokens < 1 || o->accumulate < 1 || o->batch_rows < 0) return xc_fail(err, XC_E_ARG, "epochs, batch tokens and accumulated batches are at least 1");
    if (o->accumulate < xc_ranks_n(o->ranks))
        return xc_fail(err, XC_E_ARG, "an update has %lld batch%s (--accumulate), too few for %d ranks: for updates of the same size take %lld of %lld tokens (--accumulate, --batch-tokens)",
                       (long long)o->accumulate, o->accumulate > 1 ? "es" : "", xc_ranks_n(o->ranks), (long long)xc_ranks_n(o->ranks),
                       (long long)xc_max_i64(1, o->batch_tokens * o->accumulate / xc_ranks_n(o->ranks)));
    if (!(o->dropout >= 0 && o->dropout < 1) || !(o->attention_dropout >= 0 && o->attention_dropout < 1) || !(o->smoothing >= 0 && o->smoothing < 1)) return xc_fail(err, XC_E_ARG, "dropout and label smoothing lie in 0 to below 1");
    return XC_OK;
}

enum xc_status xc_training_init(struct xc_training *t, const char *from, const char *to, const struct xc_finetune_opts *opts, const struct xc_objective *objective, struct xc_err *err)
{
    static const struct { const char *task, *measure; } tasks[] = { { "classify", "classify" }, { "pair", "pair" }, { "regress", "regress" }, { "tag", "tag" }, { "answer", "answer" }, { "choice", "choice" }, { "embed", "sts" }, { "mlm", NULL } };
    size_t i = 0;

    *t = (struct xc_training){ .opts = opts, .from = from, .objective = objective };
    t->state.best = t->first = t->last = NAN;
    xc_arena_init(&t->set.data.arena);
    xc_arena_init(&t->dev.data.arena);
    while (i < XC_ARRAY_LEN(tasks) && strcmp(tasks[i].task, opts->task)) i++;
    if (i == XC_ARRAY_LEN(tasks)) return xc_fail(err, XC_E_ARG, "unknown task '%s'", opts->task);
    t->task = tasks[i].measure ? xc_task_find(tasks[i].measure) : NULL;
    XC_TRY(check_opts(t, err));
    XC_TRY(load_data(t, err));
    XC_TRY(parameters(t, err));
    XC_TRY(count_steps(t, err));
    if (t->sparsify) XC_TRY(xc_sparsify_bind(t->sparsify, &t->params, t->total_steps, opts->pool, err));
    XC_TRY(describe(t, err));
    return files(t, to, err);
}

/* ---- batches ---- */
enum xc_status xc_training_forward(struct xc_training *t, bool train, uint64_t step, struct xc_err *err)
{
    const struct xc_ragged rag = { .start = t->batch.start, .n_seq = (int32_t)t->batch.sequences };
    struct xc_view in[XC_MAX_IN];
    size_t n;

    for (int32_t i = 0; i < t->graph->n_inputs; i++)
        in[i] = (struct xc_view){ .data = strcmp(t->graph->values[t->graph->inputs[i]].name, "types") ? t->batch.ids : t->batch.types, .rows = t->batch.tokens, .cols = 1 };
    XC_TRY(xc_tape_forward(t->tape, in, &rag, 1, train, t->opts->seed, step, t->outs, err));
    t->out = t->outs[0];
    n = (size_t)(t->out.rows * t->out.cols);
    XC_TRY(xc_grow((void **)&t->d_out, &t->cap_d_out, n + 1, sizeof *t->d_out, err));
    t->d_outs[0] = t->d_out;
    return xc_grow((void **)&t->each, &t->cap_each, (size_t)xc_max_i64(t->out.rows, 3 * t->batch.rows) + 1, sizeof *t->each, err);
}

double xc_training_loss(struct xc_training *t, double weight)
{
    const float *x = t->out.data;

    switch (t->kind) {
    case XC_LOSS_SQUARE: return xc_loss_square(t->d_out, x, t->batch.score, t->batch.rows, weight);
    case XC_LOSS_COSINE: return xc_loss_cosine(t->d_out, x, t->batch.score, t->batch.rows, t->out.cols, weight);
    case XC_LOSS_CONTRAST: return xc_loss_contrast(t->d_out, t->each, x, t->batch.rows, t->out.cols, t->opts->contrast_scale, weight);
    case XC_LOSS_SPANS: return xc_loss_spans(t->d_out, t->each, x, t->batch.start, t->batch.label, t->batch.sequences, t->opts->smoothing, weight, t->opts->pool);
    case XC_LOSS_CHOICES: return xc_loss_classes(t->d_out, t->each, x, t->batch.label, t->batch.rows, t->set.per_row, t->opts->smoothing, weight, t->opts->pool);
    case XC_LOSS_CLASSES: break;
    }
    return xc_loss_classes(t->d_out, t->each, x, t->batch.label, t->out.rows, t->out.cols, t->opts->smoothing, weight, t->opts->pool);
}
