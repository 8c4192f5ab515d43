/* finetune: see finetune.h. This file is the loop; setup.c prepares it. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "compress/train/checkpoint.h"
#include "compress/train/setup.h"
#include "formats/json.h"
#include "runtime/base/atomic_file.h"
#include "runtime/base/clock.h"
#include "runtime/session/golden.h"
#include "xcompress/compress.h"

double xc_schedule_factor(enum xc_schedule schedule, double warmup, int64_t step, int64_t total)
{
    const double warm = warmup * (double)total, at = (double)step;
    double left;

    if (at < warm) return (at + 1) / (warm + 1);
    left = ((double)total - at) / fmax(1, (double)total - warm);
    if (schedule == XC_SCHEDULE_CONSTANT) return 1;
    return schedule == XC_SCHEDULE_COSINE ? 0.5 * (1 - cos(3.14159265358979323846 * left)) : left;
}

/* ---- log ---- */
static enum xc_status log_line(struct xc_training *t, json_t *doc, struct xc_err *err)
{
    bool bad;

    if (!t->log) {
        json_decref(doc);
        return XC_OK;
    }
    if (!doc) return xc_fail_nomem(err, 0);
    bad = json_dumpf(doc, t->log, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0 || fputc('\n', t->log) == EOF || fflush(t->log) != 0;
    json_decref(doc);
    if (!bad) return XC_OK;
    xc_fail(err, XC_E_IO, "cannot write the log");
    return xc_fail_at(err, XC_E_IO, "%s", t->opts->log);
}

/* ---- evaluation ---- */
static enum xc_status dev_loss(struct xc_training *t, double *loss, struct xc_err *err)
{
    struct xc_masking mask = t->mask;
    int64_t targets, all = 0;
    double sum = 0;

    mask.epoch = UINT32_MAX; /* the same masks each time, those of no epoch */
    XC_TRY(xc_batches_plan(&t->dev_plan, &t->dev, false, 0, 0, t->opts->batch_tokens, t->opts->batch_rows, err));
    for (int64_t b = 0; b < t->dev_plan.n; b++) {
        XC_TRY(xc_batch_fill(&t->batch, &t->dev, &t->dev_plan, b, &mask, &targets, err));
        XC_TRY(xc_training_forward(t, false, 0, err));
        sum += xc_training_loss(t, 0);
        all += targets;
    }
    *loss = all ? sum / (double)all : 0;
    return XC_OK;
}

static enum xc_status measure(struct xc_training *t, double *value, struct xc_err *err)
{
    const struct xc_eval_opts eval = { .data = t->opts->dev, .metric = t->opts->metric, .stride = t->opts->stride, .resamples = 2, .pool = t->opts->pool };
    const struct xc_session_opts session = { .pool = t->opts->pool, .max_tokens = t->opts->max_tokens };
    struct xc_subject subject = { .path = t->from, .model = t->model };
    struct xc_model *exported = NULL;
    struct xc_eval_result result;
    enum xc_status status;

    if (!t->task) {
        snprintf(t->metric, sizeof t->metric, "loss");
        t->lower_is_better = true;
        return dev_loss(t, value, err);
    }
    if (t->opts->export) XC_TRY(xc_training_export(&exported, t, false, err));
    if (exported) subject.model = exported;
    if (t->integers) subject.model = xc_integers_model(t->integers);
    status = xc_session_new(&subject.session, subject.model, &session, err);
    if (status == XC_OK) {
        subject.info = subject.session->info;
        status = xc_evaluate(&result, t->task, &subject, NULL, &eval, err);
    }
    xc_session_free(&subject.session);
    xc_model_free(&exported);
    if (status != XC_OK) return status;
    *value = result.metrics[0].model.value;
    snprintf(t->metric, sizeof t->metric, "%s", result.metrics[0].metric->name);
    t->lower_is_better = result.metrics[0].metric->lower_is_better;
    return XC_OK;
}

/* The first rank measures; the others hear what. */
static enum xc_status share_measure(struct xc_training *t, double *value, struct xc_err *err)
{
    const bool first = xc_ranks_me(t->opts->ranks) == 0;
    double told[2] = { first ? *value : 0, first ? (double)t->lower_is_better : 0 };

    XC_TRY(xc_ranks_sum(t->opts->ranks, told, 2, err));
    *value = told[0];
    t->lower_is_better = told[1] > 0;
    return XC_OK;
}

/* Measures the weights that would be written, keeps them when they are the best so far. */
static enum xc_status evaluate(struct xc_training *t, struct xc_err *err)
{
    struct xc_train_state *s = &t->state;
    double value = NAN;
    enum xc_status status = XC_OK;
    bool better;

    if (t->params.ema) {
        xc_params_swap_ema(&t->params);
        if (t->integers) XC_TRY(xc_integers_refresh(t->integers, t->model, err));
    }
    if (xc_ranks_me(t->opts->ranks) == 0) status = measure(t, &value, err);
    if (status == XC_OK && t->opts->ranks) status = share_measure(t, &value, err);
    better = status == XC_OK && (!t->sparsify || xc_sparsify_settled(t->sparsify, s->step)) && (isnan(s->best) || (t->lower_is_better ? value < s->best : value > s->best));
    if (better) xc_params_copy(&t->params, t->best, true);
    if (t->params.ema) {
        xc_params_swap_ema(&t->params);
        if (t->integers && status == XC_OK) status = xc_integers_refresh(t->integers, t->model, err);
    }
    if (status != XC_OK) return status;
    s->evals++;
    s->bad_evals = better || isnan(s->best) ? 0 : s->bad_evals + 1;
    if (better) {
        s->best = value;
        s->best_step = s->step;
    }
    if (s->evals == 1) t->first = value;
    t->last = value;
    return log_line(t, json_pack("{s:I, s:I, s:s, s:o, s:o}", "step", (json_int_t)s->step, "epoch", (json_int_t)s->epoch, "metric", t->metric, "dev", xc_json_new_number(value), "best",
                                 xc_json_new_number(s->best)), err);
}

/* ---- one step ---- */
static enum xc_status not_finite(struct xc_training *t, const char *what, struct xc_err *err)
{
    const char *node = xc_tape_first_bad(t->tape);

    return xc_fail(err, XC_E_RANGE, "%s is not finite at step %lld%s%s%s: try a lower --lr", what, (long long)t->state.step + 1, node ? "; the first layer with such a number is '" : "",
                   node ? node : "", node ? "'" : "");
}

static void count(struct xc_counts *all, const struct xc_batch *b, int64_t targets)
{
    all->rows += b->rows;
    all->targets += targets;
    all->sequences += b->sequences;
    all->tokens += b->tokens;
    for (int64_t s = 0; s < b->sequences; s++) all->pairs += (double)(b->start[s + 1] - b->start[s]) * (double)(b->start[s + 1] - b->start[s]);
}

/* Batch i of an update of n, of which the last one of this rank is `last`: its gradient, and its numbers. */
static enum xc_status one_batch(struct xc_training *t, int64_t first, int64_t i, int64_t n, bool last, const struct xc_counts *all, double *numbers, struct xc_err *err)
{
    const struct xc_objective *o = t->objective;
    int64_t part;
    double loss;

    if (n > 1) XC_TRY(xc_batch_fill(&t->batch, &t->set, &t->plan, first + i, &t->mask, &part, err));
    XC_TRY(xc_training_forward(t, true, (uint64_t)(t->state.step * t->opts->accumulate + i), err));
    if (o) XC_TRY(o->loss(o->arg, t, all, &loss, err));
    else loss = xc_training_loss(t, all->targets ? 1 / (double)all->targets : 0) / (double)xc_max_i64(all->targets, 1);
    if (!isfinite(loss)) return not_finite(t, "the loss", err);
    numbers[0] = loss;
    if (o && o->n_parts) {
        memcpy(numbers + 1, o->parts, (size_t)o->n_parts * sizeof *numbers);
        memset(o->parts, 0, (size_t)o->n_parts * sizeof *numbers);
    }
    if (t->gradients) xc_training_stream(t, last);
    XC_TRY(xc_tape_backward(t->tape, t->d_outs, err));
    return t->gradients && !last ? xc_gradient_sum_put(t->gradients, i, err) : XC_OK;
}

/* The summed gradient and loss of an update of n batches. */
static enum xc_status gradient(struct xc_training *t, int64_t first, int64_t n, const struct xc_counts *all, double *loss, struct xc_err *err)
{
    const int64_t width = 1 + (t->objective ? t->objective->n_parts : 0);
    const struct xc_progress *p = t->opts->progress;
    int64_t from = 0, to = n;

    XC_TRY(xc_grow((void **)&t->numbers, &t->cap_numbers, (size_t)(n * width + 1), sizeof *t->numbers, err));
    memset(t->numbers, 0, (size_t)(n * width + 1) * sizeof *t->numbers);
    if (width > 1) memset(t->objective->parts, 0, (size_t)(width - 1) * sizeof *t->numbers);
    if (t->gradients) XC_TRY(xc_gradient_sum_begin(t->gradients, n, &from, &to, err));
    for (int64_t i = from; i < to; i++) XC_TRY(one_batch(t, first, i, n, i == to - 1, all, t->numbers + i * width, err));
    if (t->gradients) XC_TRY(xc_gradient_sum_finish(t->gradients, err));
    t->numbers[n * width] = p && p->cancelled && p->cancelled(p->arg);
    XC_TRY(xc_ranks_sum(t->opts->ranks, t->numbers, n * width + 1, err)); /* each is of one rank: exact */
    t->stop = t->numbers[n * width] > 0;
    *loss = 0;
    for (int64_t i = 0; i < n; i++) {
        *loss += t->numbers[i * width];
        for (int64_t k = 1; k < width; k++) t->objective->parts[k - 1] += t->numbers[i * width + k];
    }
    return XC_OK;
}

/* Batches first .. first + n - 1 of the epoch, one update. */
static enum xc_status step(struct xc_training *t, int64_t first, int64_t n, struct xc_err *err)
{
    const struct xc_stage *stage = xc_training_stage(t, t->state.epoch);
    const int64_t stage_step = t->state.step - stage->first_step;
    struct xc_counts all = { 0 };
    int64_t part;
    double sum, norm, rate;
    enum xc_status status;

    if (t->state.step && !stage_step) xc_params_forget(&t->params);
    t->mask.epoch = (uint64_t)t->state.epoch;
    for (int64_t i = 0; i < n; i++) { /* the mean is over all of them: counted first */
        XC_TRY(xc_batch_fill(&t->batch, &t->set, &t->plan, first + i, &t->mask, &part, err));
        count(&all, &t->batch, part);
    }
    XC_TRY(gradient(t, first, n, &all, &sum, err));
    t->state.tokens += all.tokens;
    t->state.rows += all.rows;
    if (t->sparsify) xc_sparsify_gradients(t->sparsify, &t->params, t->opts->pool);
    xc_spans_gradients(&t->spans, &t->params);
    status = xc_params_norm(&t->params, t->model, &norm, t->opts->pool, err);
    if (status != XC_OK) return xc_fail_at(err, status, "step %lld", (long long)t->state.step + 1);
    rate = stage->rate * xc_schedule_factor(t->opts->schedule, stage->warmup, stage_step, stage->steps);
    xc_params_step(&t->params, &t->opts->optimizer, stage_step + 1, rate, norm, t->opts->pool);
    t->state.step++;
    if (t->sparsify) xc_sparsify_weights(t->sparsify, &t->params, t->state.step, t->opts->pool);
    xc_spans_weights(&t->spans, &t->params);
    if (t->integers) XC_TRY(xc_integers_refresh(t->integers, t->model, err));
    t->loss = sum;
    t->smooth = t->state.step == t->started_at + 1 ? t->loss : 0.95 * t->smooth + 0.05 * t->loss;
    if (t->state.step > t->total_steps - xc_max_i64(1, t->total_steps / 10)) {
        t->tail_loss += t->loss;
        t->tail_steps++;
    }
    if (!t->log) return XC_OK;
    json_t *line = json_pack("{s:I, s:I, s:o, s:o, s:o, s:I, s:o}", "step", (json_int_t)t->state.step, "epoch", (json_int_t)t->state.epoch, "loss", xc_json_new_number(t->loss), "lr",
                             xc_json_new_number(rate), "gradient_norm", xc_json_new_number(norm), "tokens", (json_int_t)t->state.tokens, "seconds", xc_json_new_number(xc_seconds() - t->started));

    if (line && t->objective && t->objective->log) t->objective->log(t->objective->arg, line);
    return log_line(t, line, err);
}

/* By the first rank. */
static enum xc_status checkpoint(struct xc_training *t, struct xc_err *err)
{
    return xc_ranks_me(t->opts->ranks) ? XC_OK : xc_checkpoint_write(t->checkpoint, t->fingerprint, &t->state, &t->params, t->best, err);
}

static enum xc_status report(struct xc_training *t, struct xc_err *err)
{
    const struct xc_progress *p = t->opts->progress;
    char note[96];

    if (!p) return XC_OK;
    if (t->metric[0]) snprintf(note, sizeof note, "loss %.4f, %s %.4f", t->smooth, t->metric, t->last);
    else snprintf(note, sizeof note, "loss %.4f", t->smooth);
    if (p->note) p->note(p->arg, note);
    if (p->update) p->update(p->arg, "tokens", (double)t->state.tokens, (double)t->total_tokens);
    if (!t->stop) return XC_OK;
    XC_TRY(checkpoint(t, err));
    return xc_fail(err, XC_E_CANCELLED, "stopped after update %lld; its state is in '%s': --resume goes on", (long long)t->state.step, t->checkpoint);
}

static bool due(int64_t every, int64_t step, bool epoch_end) { return every ? step % every == 0 : epoch_end; }

static enum xc_status after_step(struct xc_training *t, const struct xc_stage *stage, bool epoch_end, bool *stop, struct xc_err *err)
{
    const bool stage_end = t->state.step == stage->first_step + stage->steps;
    const struct xc_finetune_opts *o = t->opts;
    const bool last = t->state.step == t->total_steps;

    if (o->dev && stage->measured && (last || stage_end || due(o->eval_every, t->state.step, epoch_end))) {
        XC_TRY(evaluate(t, err));
        *stop = o->patience && t->state.bad_evals >= o->patience;
    }
    *stop = *stop || last;
    if (!*stop && due(o->checkpoint_every, t->state.step, epoch_end)) XC_TRY(checkpoint(t, err));
    return *stop ? XC_OK : report(t, err);
}

static enum xc_status train(struct xc_training *t, struct xc_err *err)
{
    struct xc_train_state *s = &t->state;
    bool stop = s->step >= t->total_steps;

    if (t->integers) XC_TRY(xc_integers_share(t->integers, t->model, err)); /* of a checkpoint's weights, too */
    t->started = xc_seconds();
    t->started_at = s->step;
    while (!stop) {
        const struct xc_stage *stage = xc_training_stage(t, s->epoch);

        if (t->opts->dev && stage->measured && s->evals == 0) XC_TRY(evaluate(t, err));
        XC_TRY(xc_batches_plan(&t->plan, &t->set, true, t->opts->seed, s->epoch, t->opts->batch_tokens, t->opts->batch_rows, err));
        while (s->batch < t->plan.n && !stop) {
            const int64_t n = xc_min_i64(t->opts->accumulate, t->plan.n - s->batch);
            bool end;

            XC_TRY(step(t, s->batch, n, err));
            s->batch += n;
            end = s->batch == t->plan.n;
            if (end) { /* before a checkpoint: it names the batch to go on with */
                s->epoch++;
                s->batch = 0;
            }
            if (s->step == stage->first_step + stage->steps) { /* of its limit, perhaps before its epochs are done */
                end = true;
                s->epoch = stage->first_epoch + stage->epochs;
                s->batch = 0;
            }
            XC_TRY(after_step(t, stage, end, &stop, err));
            if (end) break;
        }
    }
    return XC_OK;
}

/* ---- the file ---- */
/* What was measured: integers of the best weights. */
static enum xc_status write_integers(struct xc_training *t, const char *to, struct xc_err *err)
{
    struct xc_model *m = xc_integers_model(t->integers);

    xc_buf_unref(&m->manifest);
    m->manifest = xc_buf_ref(t->model->manifest);
    if (!t->opts->no_golden) XC_TRY(xc_golden_make(&m->golden, m, false, t->opts->pool, err));
    return xc_save(m, to, false, t->opts->pool, t->opts->progress, NULL, err);
}

static enum xc_status write_model(struct xc_training *t, const char *to, struct xc_err *err)
{
    struct xc_model *exported = NULL;
    enum xc_status status;

    if (t->best) xc_params_copy(&t->params, t->best, false);
    else if (t->params.ema) xc_params_swap_ema(&t->params);
    if (t->integers) XC_TRY(xc_integers_refresh(t->integers, t->model, err));
    if (t->objective && t->objective->finish) t->objective->finish(t->objective->arg, t);
    XC_TRY(xc_training_manifest(t, err));
    xc_buf_unref(&t->model->golden);
    if (t->integers) return write_integers(t, to, err);
    if (!t->opts->export) {
        if (t->sparsify) xc_sparsify_finish(t->sparsify, t->model);
        if (!t->opts->no_golden) XC_TRY(xc_golden_make(&t->model->golden, t->model, false, t->opts->pool, err));
        return xc_save(t->model, to, false, t->opts->pool, t->opts->progress, NULL, err);
    }
    XC_TRY(xc_training_export(&exported, t, !t->opts->no_golden, err));
    xc_buf_unref(&exported->manifest);
    exported->manifest = xc_buf_ref(t->model->manifest); /* it says what was trained, and that this is its export */
    status = xc_save(exported, to, false, t->opts->pool, t->opts->progress, NULL, err);
    xc_model_free(&exported);
    return status;
}

static void fill_result(struct xc_finetune_result *r, const struct xc_training *t)
{
    r->rows = t->set.n;
    r->steps = t->state.step;
    r->tokens = t->state.tokens;
    r->truncated = t->set.truncated;
    r->trained = t->params.total;
    for (int32_t i = 0; i < t->graph->model->n_tensors; i++) r->parameters += xc_tensor_count(t->graph->model->tensors[i]);
    r->seconds = xc_seconds() - t->started;
    r->span_tokens = xc_spans_mean(t->graph);
    r->loss = t->tail_steps ? t->tail_loss / (double)t->tail_steps : t->smooth;
    snprintf(r->metric, sizeof r->metric, "%s", t->metric);
    r->first = t->first;
    r->best = t->state.best;
    r->best_step = t->state.best_step;
    r->last = t->last;
    r->new_head = t->new_head;
    r->recomputed = t->recomputed;
    r->reversible = t->reversible;
    r->planned_bytes = t->planned_bytes;
    r->stopped_early = t->state.step < t->total_steps;
}

enum xc_status xc_finetune_file(const char *from, const char *to, const struct xc_finetune_opts *opts, struct xc_finetune_result *result, struct xc_err *err)
{
    return xc_train_file(from, to, opts, NULL, result, err);
}

enum xc_status xc_train_file(const char *from, const char *to, const struct xc_finetune_opts *opts, const struct xc_objective *objective, struct xc_finetune_result *result,
                             struct xc_err *err)
{
    struct xc_training t;
    enum xc_status status;

    *result = (struct xc_finetune_result){ 0 };
    status = xc_atomic_check(to, from, err);
    if (status != XC_OK) return xc_ranks_agree(opts->ranks, status, err);
    xc_ranks_watch(opts->ranks, opts->progress);
    XC_TRY_GOTO(xc_training_init(&t, from, to, opts, objective, err), out);
    if (opts->resume) XC_TRY_GOTO(xc_checkpoint_read(t.checkpoint, t.fingerprint, &t.state, &t.params, t.best, err), out);
    XC_TRY_GOTO(xc_ranks_agree(opts->ranks, XC_OK, err), out); /* before any begins */
    XC_TRY_GOTO(train(&t, err), out);
    if (!xc_ranks_me(opts->ranks)) XC_TRY_GOTO(write_model(&t, to, err), out);
    else if (objective && objective->finish) objective->finish(objective->arg, &t);
    fill_result(result, &t); /* after what only training needs is gone */
    if (t.sparsify) result->sparsity = xc_sparsify_zeros(t.sparsify);
    if (!xc_ranks_me(opts->ranks)) unlink(t.checkpoint);
out:
    status = xc_ranks_agree(opts->ranks, status, err);
    if (status == XC_OK || !opts->ranks) xc_training_release(&t); /* else messages may be under way to its memory, and the process is about to end */
    if (status != XC_OK) *result = (struct xc_finetune_result){ 0 };
    return status;
}
