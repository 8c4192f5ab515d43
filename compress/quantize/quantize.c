/* quantize: int8 weights, and weights of 8 to 2 bits in groups. int8 linears are symmetric per output channel, in the order the GEMM reads, and obey its 16-bit rules; tables of
 * embeddings are symmetric per row. Below int8, and in int8-groups, every group of inputs has its scale (grouped.h). The input of a quantized linear is quantized per row at run
 * time, or by one scale seen on calibration texts; or it stays float, and then so do the weights that run. Attention runs in int8. Norms and biases stay f32.
 *
 * A weight that a linear and a gather share (a tied decoder) gets one encoding that serves both: rows, under the 16-bit rules. A Synthesizer's random
 * matrix is stored by rows too; opening decodes it, or makes the int8 softmax of it that int8 attention multiplies. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/attention/random_matrix.h"
#include "compress/calibrate/calibrate.h"
#include "compress/file/reading.h"
#include "compress/file/spill.h"
#include "compress/limits.h"
#include "compress/plan/forecast.h"
#include "compress/prune/sparse.h"
#include "compress/quantize/awq.h"
#include "compress/quantize/int8.h"
#include "compress/quantize/quantize.h"
#include "compress/quantize/quantize_walk.h"
#include "compress/quantize/smooth.h"
#include "runtime/graph/attention/synthesizer.h"
#include "runtime/graph/grouped.h"

#define SMALL_TABLE 16 /* rows; token types: a few kilobytes that every token adds, so their error would be everywhere */
#define WINDOWS (16.0 * (1 << 20)) /* bytes of f32 that are treated at a time, about */

static const struct xc_pass_option options[] = {
    { .name = "format", .help = "number format of weights; int8 has a scale a row, int8-groups one a group, nearer and not faster; ternary is int2 of which only -1, 0, 1 are used; mixed chooses for each weight", .def = "int8",
      .choices = "int8|int8-groups|int7|int6|int5|int4|int3|int2|ternary|mixed" },
    { .name = "target_bytes", .help = "mixed: the file has at most so many bytes; one of the three targets", .def = "0", .size = true },
    { .name = "target_bits", .help = "mixed: at most so many bits a weight, by their encodings", .def = "0", .min = 0, .max = 32 },
    { .name = "target_drop", .help = "mixed: answers move by a drop of at most so much (half the squared relative distance; of embeddings 1 - cosine)", .def = "0", .min = 0, .max = 1 },
    { .name = "candidates", .help = "mixed: encodings to choose from; f16 only where a drop cannot be met without it", .def = "int8,int4/g32,int4/g64,int4/g128,int3/g32,int3/g64,int2/g32,int2/g64,f16",
      .choices = "int8|int8/g32|int8/g64|int8/g128|int7/g32|int7/g64|int6/g32|int6/g64|int5/g32|int5/g64|int4/g32|int4/g64|int4/g128|int4/g256|int3/g32|int3/g64|int3/g128|int2/g32|int2/g64|f16", .list = true },
    { .name = "embeddings", .help = "number format of tables", .def = "same", .choices = "same|int8|int4" },
    { .name = "embedding_bits", .help = "int8 tables: bits a number on average after --store small, which their steps are chosen for (finer for rows that calibration texts read more); 0 = the finest step",
      .def = "0", .min = 0, .max = 8 },
    { .name = "group", .help = "in groups: inputs that share a scale", .def = "64", .choices = "32|64|128|256" },
    { .name = "zero_point", .help = "in groups: a zero point each, too", .def = "no", .choices = "yes|no" },
    { .name = "scales", .help = "in groups: each scale an f16 and each zero point a level; or both codes of 6 bits, scales under an f16 a row", .def = "f16", .choices = "f16|int6" },
    { .name = "method", .help = "in groups: scales by the largest magnitude, by a search for the least squared error, or that and each rounding error taken out of what is not rounded yet "
      "(needs calibration texts)", .def = "search", .choices = "nearest|search|gptq" },
    { .name = "act_order", .help = "gptq: inputs of largest norm first", .def = "yes", .choices = "yes|no" },
    { .name = "damp", .help = "gptq: share of the mean of the Hessian's diagonal that is added to it", .def = "0.01", .min = 1e-6, .max = 1 },
    { .name = "fit", .help = "in groups, with texts: before rounding, weights and biases are fitted to what the linear gave in the model as it was; so each layer makes up for those before it",
      .def = "yes", .choices = "yes|no" },
    { .name = "fit_damp", .help = "fit: how firmly weights are held where they are, in mean squares of an input", .def = "0.3", .min = 1e-6, .max = 100 },
    { .name = "bias", .help = "in groups, with texts: biases take the mean of the rounding's error", .def = "correct", .choices = "correct|keep" },
    { .name = "activations", .help = "inputs of linears: int8 by one scale a row at run time, or by one calibrated scale; or float: weights become f32 when the file is opened, smaller on disk only", .def = "row",
      .choices = "row|static|float" },
    { .name = "range", .help = "static: the range is the largest magnitude seen, a percentile of the magnitudes, or the one of least squared error", .def = "mse",
      .choices = "absmax|percentile|mse" },
    { .name = "percentile", .help = "static: share of magnitudes inside the range, in percent", .def = "99.99", .min = 50, .max = 100 },
    { .name = "attention", .help = "arithmetic inside attention", .def = "int8", .choices = "int8|f32" },
    { .name = "smooth", .help = "even out the columns of what linears read; shown the calibration texts, or some of its own. awq: for weights in groups, by a search for what they lose least with. "
      "along: while weights are quantized, so that a checkpoint is read once (yes does so from 650 million multiply-adds a token on)",
      .def = "yes", .choices = "yes|no|awq|along" },
    { .name = "sparse", .help = "pruned weights: leave zeros out where that is faster, or also where it is smaller, or never", .def = "fast", .choices = "fast|small|no" },
    { .name = NULL },
};

static enum xc_format format_of(const struct xc_recipe_pass *spec, bool table)
{
    const char *format = xc_recipe_get(spec, table && !xc_recipe_is(spec, "embeddings", "same") ? "embeddings" : "format");

    if (!strcmp(format, "int8-groups")) return XC_FMT_G8;
    for (int f = XC_FMT_S8; f < XC_FMT_COUNT; f++)
        if (!strcmp(format, xc_format_traits((enum xc_format)f)->name)) return (enum xc_format)f;
    return !strcmp(format, "mixed") ? XC_FMT_S8 : XC_FMT_S2;
}

static enum xc_status smooth_for_groups(const struct xc_prepare *p, struct xc_err *err)
{
    const struct xc_recipe_pass *spec = p->spec;
    struct xc_awq awq = { .group = (int64_t)xc_recipe_number(spec, "group") };

    if (format_of(spec, false) == XC_FMT_S8) return xc_fail(err, XC_E_UNSUPPORTED, "smooth awq is for formats in groups: int8-groups, or below int8");
    awq.lowbit = (struct xc_lowbit){ .bits = xc_format_traits(format_of(spec, false))->bits, .affine = xc_recipe_is(spec, "zero_point", "yes"), .ternary = xc_recipe_is(spec, "format", "ternary"),
                                     .search = !xc_recipe_is(spec, "method", "nearest"), .two_level = xc_recipe_is(spec, "scales", "int6") };
    return xc_smooth(p, &awq, err);
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    if (xc_recipe_is(p->spec, "format", "mixed")) return xc_mixed_prepare(p, err);
    if (xc_recipe_size(p->spec, "target_bytes") || xc_recipe_number(p->spec, "target_bits") > 0 || xc_recipe_number(p->spec, "target_drop") > 0)
        return xc_fail(err, XC_E_ARG, "target_bytes, target_bits and target_drop are for format mixed");
    if (xc_recipe_is(p->spec, "smooth", "awq")) return smooth_for_groups(p, err);
    return xc_recipe_is(p->spec, "smooth", "no") ? XC_OK : xc_smooth(p, NULL, err);
}

static bool float_inputs(const struct xc_recipe_pass *spec) { return xc_recipe_is(spec, "activations", "float"); }
static bool needs_ranges(const struct xc_recipe_pass *spec) { return xc_recipe_is(spec, "activations", "static"); }

/* ---- plan ---- */
static bool is_op(const struct xc_node *node, const char *op) { return strcmp(node->op->name, op) == 0; }
static bool takes_int8(const struct xc_node *node, int32_t input) { return input == 1 && (is_op(node, "linear") || is_op(node, "gather")); }

/* What stands against int8 for tensor t, in words; an empty text when nothing does. */
static void objection(char *why, size_t n, const struct xc_work *w, const struct xc_scope *scope, const struct xc_uses *uses, int32_t t, bool *linear, bool *gather)
{
    const struct xc_model *m = w->model;
    const struct xc_tensor *tensor = m->tensors[t];

    why[0] = 0;
    *linear = *gather = false;
    for (int32_t u = uses->first[t]; u < uses->first[t + 1] && !why[0]; u++) {
        const struct xc_use *use = &uses->use[u];
        const struct xc_node *node = &m->graphs[use->graph]->nodes[use->node];
        const char *input = node->op->in_names && use->input < node->op->max_in ? node->op->in_names[use->input] : "input";

        *linear |= is_op(node, "linear");
        *gather |= is_op(node, "gather");
        if (xc_random_matrix(node) == t ? use->input != XC_SYNTH_R : !takes_int8(node, use->input)) snprintf(why, n, "%s of %s takes f32", input, node->op->name);
        else if (scope->pick[scope->first[use->graph] + use->node] == XC_PICK_IGNORED) snprintf(why, n, "'%s' is left out by the recipe", node->name);
    }
    if (!why[0] && w->want[t].format != XC_FMT_F32 && w->want[t].format != XC_FMT_F16 && w->want[t].format != XC_FMT_BF16) snprintf(why, n, "it is quantized already");
    if (!why[0] && tensor->rank != 2) snprintf(why, n, "it has %d axes", tensor->rank);
}

/* A target that names a node this pass has nothing for is an error; a default is not. */
static enum xc_status check_targets(const struct xc_work *w, const struct xc_scope *scope, const struct xc_uses *uses, struct xc_err *err)
{
    const struct xc_model *m = w->model;

    for (int32_t g = 0; g < m->n_graphs; g++)
        for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++) {
            const struct xc_node *node = &m->graphs[g]->nodes[n];
            const int32_t at = scope->first[g] + n;
            char why[128] = "";
            bool linear, gather;

            if (scope->pick[at] != XC_PICK_TARGET) continue;
            if (is_op(node, "attention") && (xc_recipe_is(w->spec, "attention", "int8") || xc_random_matrix(node) < 0)) continue; /* every kind has an int8 form, and may stay f32 */
            if (xc_random_matrix(node) >= 0) {
                objection(why, sizeof why, w, scope, uses, xc_random_matrix(node), &linear, &gather);
            } else if ((is_op(node, "linear") || is_op(node, "gather")) && node->in[1].kind == XC_REF_TENSOR) {
                objection(why, sizeof why, w, scope, uses, node->in[1].id, &linear, &gather);
            } else {
                snprintf(why, sizeof why, "op '%s' has no weight that can be int8", node->op->name);
            }
            if (!why[0]) continue;
            return xc_recipe_fail_at(w->spec, scope->word[at],
                                     xc_fail(err, XC_E_UNSUPPORTED, "target '%s' names node '%s', which pass 'quantize' cannot treat: %s", scope->word[at], node->name, why), err);
        }
    return XC_OK;
}

static bool picked(const struct xc_scope *scope, const struct xc_uses *uses, int32_t t)
{
    for (int32_t u = uses->first[t]; u < uses->first[t + 1]; u++) {
        const uint8_t pick = scope->pick[scope->first[uses->use[u].graph] + uses->use[u].node];

        if (pick == XC_PICK_DEFAULT || pick == XC_PICK_TARGET) return true;
    }
    return false;
}

static void plan_groups(struct xc_work *w, int32_t t, bool linear, bool gather)
{
    const enum xc_format format = format_of(w->spec, gather && !linear);
    struct xc_encoding *e = &w->want[t];

    *e = (struct xc_encoding){ .format = (uint8_t)format, .layout = linear && !gather && format == XC_FMT_S4 ? XC_LAYOUT_PANEL16 : XC_LAYOUT_ROWS,
                               .scale_format = xc_recipe_is(w->spec, "scales", "int6") ? XC_FMT_S6 : XC_FMT_F16,
                               .group = (int32_t)xc_recipe_number(w->spec, "group"), .zero_point = xc_recipe_is(w->spec, "zero_point", "yes") };
    snprintf(w->layers[t].why, sizeof w->layers[t].why, "a scale%s a group%s%s", e->zero_point ? " and a zero point" : "",
             !linear && !gather ? "; opened for attention" : !linear ? "" : needs_ranges(w->spec) ? "; inputs by a calibrated scale" : float_inputs(w->spec) ? "; f32 when opened, smaller on disk only" : "; inputs int8 per row at run time",
             linear && e->layout == XC_LAYOUT_ROWS && !gather && !float_inputs(w->spec) ? xc_format_traits(format)->bits > 4 ? "; unpacked to bytes when opened" : "; unpacked to int4 when opened" : "");
}

static void plan_tensor(struct xc_work *w, const struct xc_scope *scope, const struct xc_uses *uses, int32_t t)
{
    struct xc_layer_report *l = &w->layers[t];
    char why[sizeof l->why - 16];
    bool linear, gather;

    objection(why, sizeof why, w, scope, uses, t, &linear, &gather);
    if (!picked(scope, uses, t)) {
        snprintf(l->why, sizeof l->why, "kept: %s", why[0] ? why : "outside the targets of the recipe");
        return;
    }
    if (why[0]) {
        snprintf(l->why, sizeof l->why, "kept: %s", why);
        return;
    }
    if (!linear && xc_tensor_rows(w->model->tensors[t]) <= SMALL_TABLE && !w->spec->targets.n) {
        snprintf(l->why, sizeof l->why, "kept: a table of %lld rows saves nothing", (long long)xc_tensor_rows(w->model->tensors[t]));
        return;
    }
    if (format_of(w->spec, gather && !linear) != XC_FMT_S8) {
        plan_groups(w, t, linear, gather);
        return;
    }
    const struct xc_encoding now = w->want[t];
    char zeros[100] = "";

    w->want[t] = (struct xc_encoding){ .format = XC_FMT_S8, .layout = linear && !gather ? XC_LAYOUT_PANEL16 : XC_LAYOUT_ROWS, .sum16 = linear && !gather && !float_inputs(w->spec) };
    if (linear && !gather)
        xc_sparse_choose(&w->want[t], &now, xc_tensor_rows(w->model->tensors[t]), xc_tensor_cols(w->model->tensors[t]),
                         xc_recipe_is(w->spec, "sparse", "fast") ? XC_SPARSE_FAST : xc_recipe_is(w->spec, "sparse", "small") ? XC_SPARSE_SMALL : XC_SPARSE_NO, zeros, sizeof zeros);
    if (linear && gather) snprintf(l->why, sizeof l->why, "one scale a row, shared by an embedding and a linear");
    else if (linear) snprintf(l->why, sizeof l->why, "one scale an output; %s%s%s", zeros, zeros[0] ? "; " : "", needs_ranges(w->spec) ? "inputs by a calibrated scale" : float_inputs(w->spec) ? "f32 when opened, smaller on disk only" : "inputs per row at run time");
    else snprintf(l->why, sizeof l->why, "one scale a row%s", gather ? "" : "; opened for attention");
}

static enum xc_status make_scope(const struct xc_work *w, struct xc_scope *scope, struct xc_err *err)
{
    static const char *const ops[] = { "linear", "gather", "attention", NULL };

    return xc_scope_make(scope, w->model, w->spec, ops, err);
}

enum xc_status xc_quantize_scope(struct xc_work *w, struct xc_err *err)
{
    struct xc_scope scope;
    struct xc_uses uses = { 0 };
    enum xc_status status;

    for (const struct xc_pass_option *o = options; o->name && xc_recipe_is(w->spec, "format", "int8") && !xc_recipe_is(w->spec, "embeddings", "int4"); o++)
        if ((!strcmp(o->name, "group") || !strcmp(o->name, "zero_point") || !strcmp(o->name, "scales") || !strcmp(o->name, "act_order")) && !xc_recipe_is(w->spec, o->name, o->def))
            return xc_fail(err, XC_E_UNSUPPORTED, "option '%s' is for formats in groups: int8-groups, or below int8", o->name);
    if (xc_recipe_is(w->spec, "method", "gptq")) {
        if (xc_recipe_is(w->spec, "format", "int8")) return xc_fail(err, XC_E_UNSUPPORTED, "method gptq is for formats in groups: int8-groups, or below int8");
        if (!w->opts->calibrate) return xc_fail(err, XC_E_ARG, "method gptq needs calibration texts: name a file of them (--calibrate FILE)");
    }
    XC_TRY(make_scope(w, &scope, err));
    status = xc_uses_make(&uses, w->model, err);
    if (status == XC_OK) status = check_targets(w, &scope, &uses, err);
    for (int32_t t = 0; t < w->model->n_tensors && status == XC_OK; t++) plan_tensor(w, &scope, &uses, t);
    xc_scope_release(&scope);
    xc_uses_release(&uses);
    return status;
}

static enum xc_status quantize_plan(struct xc_work *w, struct xc_err *err)
{
    XC_TRY(xc_quantize_scope(w, err));
    return xc_recipe_is(w->spec, "format", "mixed") ? xc_mixed_plan(w, err) : XC_OK;
}

/* ---- one tensor: blocks of rows in parallel, each read by the thread that treats it, so that reading and computing overlap ---- */
#define BLOCK 64                      /* rows of a work item; a multiple of PANEL */
#define PANEL 16                      /* rows that are read and quantized together */
#define ROUND ((int64_t)16 << 20)     /* numbers between two looks at the caller's wish to stop, about */

struct job {
    const struct xc_kernels *kern;
    struct xc_rounds rounds;
    int8_t *scratch;        /* PANEL rows a thread */
    float *bounds;          /* one row's a thread */
    int8_t *data;           /* of the tensor */
    float *scale;
    struct xc_int8_sums *sums; /* per block of the tensor */
    int64_t cols, ld;
    struct xc_encoding enc;
};

static void quantize_block(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const int64_t first = item * BLOCK, end = xc_min_i64(first + BLOCK, j->rounds.rows), block = (j->rounds.row0 + first) / BLOCK;
    int8_t *q = j->scratch + (int64_t)thread * PANEL * j->ld;

    for (int64_t at = first; at < end; at += PANEL) { /* rows that are still in the cache when they are quantized */
        const int64_t n = xc_min_i64(PANEL, end - at), row = j->rounds.row0 + at;
        const float *x = xc_reading_rows(j->rounds.reading, j->rounds.t, row, n, block, thread);
        int64_t bad;

        if (!x) return;
        if (!xc_int8_rows(q, j->ld, j->scale + row, &j->sums[block], x, n, j->cols, j->enc.sum16, j->bounds + (int64_t)thread * 2 * j->ld, j->kern, &bad)) {
            j->rounds.bad[block] = row * j->cols + bad;
            return;
        }
        for (int64_t r = 1; r < n; r++) memmove(q + r * j->cols, q + r * j->ld, (size_t)j->cols); /* close the gaps */
        if (j->enc.layout == XC_LAYOUT_PANEL16) xc_pack_panel_s8(j->data + row * xc_round_up(j->cols, 4), q, n, j->cols);
        else memcpy(j->data + row * j->cols, q, (size_t)(n * j->cols));
    }
}

static void report(struct xc_layer_report *l, const struct job *j, int64_t blocks, int64_t count)
{
    struct xc_int8_sums s = { 0 };

    for (int64_t b = 0; b < blocks; b++) {
        s.error2 += j->sums[b].error2;
        s.norm2 += j->sums[b].norm2;
        s.zeros += j->sums[b].zeros;
        s.clamped += j->sums[b].clamped;
    }
    l->error = s.norm2 > 0 ? sqrt(s.error2 / s.norm2) : 0;
    l->sparsity = (double)s.zeros / (double)count;
    l->clamped = s.clamped;
}

enum xc_status xc_quantize_rounds(struct xc_work *w, struct xc_rounds *r, void (*fn)(void *arg, int64_t item, int thread), void *arg, const char *what, const char *end, struct xc_err *err)
{
    const int64_t rows = xc_tensor_rows(r->t), cols = xc_tensor_cols(r->t), round_rows = xc_max_i64(r->numbers / cols / r->item_rows, 1) * r->item_rows;

    for (int64_t i = 0; i < xc_div_up(rows, r->item_rows); i++) r->bad[i] = -1;
    for (int64_t row = 0; row < rows; row += round_rows) {
        const int64_t n = xc_min_i64(round_rows, rows - row), first = row / r->item_rows, items = xc_div_up(n, r->item_rows);

        r->row0 = row;
        r->rows = n;
        xc_pool_run(w->opts->pool, fn, arg, items);
        XC_TRY(xc_reading_status(r->reading, err));
        for (int64_t i = first; i < first + items; i++)
            if (r->bad[i] >= 0)
                return xc_fail(err, XC_E_RANGE, "tensor '%s' is %s row %lld, column %lld%s", r->t->name, what, (long long)(r->bad[i] / cols), (long long)(r->bad[i] % cols), end);
        XC_TRY(xc_work_advance(w, "quantize", (double)(n * cols), err));
    }
    return XC_OK;
}

static enum xc_status quantize_tensor(struct xc_work *w, int32_t id, struct xc_err *err)
{
    struct xc_tensor *t = w->model->tensors[id];
    const int64_t rows = xc_tensor_rows(t), cols = xc_tensor_cols(t), blocks = xc_div_up(rows, BLOCK), ld = xc_round_up(cols, 8);
    struct xc_reading reading = { 0 };
    struct job j = { .kern = xc_kernels(), .rounds = { .t = t, .reading = &reading, .item_rows = BLOCK, .numbers = ROUND }, .cols = cols, .ld = ld, .enc = w->want[id] };
    struct xc_buf *data = NULL, *scale = NULL;
    size_t bytes, scale_bytes;
    enum xc_status status;

    if (j.enc.structure == XC_STRUCT_COMPACT) j.enc.structure = XC_STRUCT_DENSE, j.enc.n = 0;
    else if (j.enc.structure != XC_STRUCT_DENSE) return xc_sparse_quantize(w, id, err);
    XC_TRY(xc_encoding_part_bytes(&j.enc, rows, cols, XC_PART_DATA, &bytes, err));
    XC_TRY(xc_encoding_part_bytes(&j.enc, rows, cols, XC_PART_SCALE, &scale_bytes, err));
    XC_TRY_GOTO(xc_buf_new(&data, bytes, err), out);
    XC_TRY_GOTO(xc_buf_new(&scale, scale_bytes, err), out);
    j.data = (int8_t *)data->data;
    j.scale = (float *)(void *)scale->data;
    XC_TRY_GOTO(xc_reading_init(&reading, xc_pool_threads(w->opts->pool), xc_min_i64(PANEL, rows) * cols, err), out);
    j.scratch = xc_alloc_aligned((size_t)(PANEL * ld) * (size_t)xc_pool_threads(w->opts->pool));
    j.bounds = xc_malloc((size_t)(2 * ld) * (size_t)xc_pool_threads(w->opts->pool) * sizeof *j.bounds);
    j.sums = xc_calloc((size_t)blocks, sizeof *j.sums);
    j.rounds.bad = xc_malloc((size_t)blocks * sizeof *j.rounds.bad);
    if (!j.scratch || !j.bounds || !j.sums || !j.rounds.bad) {
        status = xc_fail_nomem(err, (size_t)(PANEL * ld));
        goto out;
    }
    XC_TRY_GOTO(xc_quantize_rounds(w, &j.rounds, quantize_block, &j, "not finite at", ": no int8 form stands for it", err), out);
    report(&w->layers[id], &j, blocks, rows * cols);
    if (w->want[id].structure == XC_STRUCT_COMPACT) status = xc_sparse_compact(t, &w->want[id], data, scale, err);
    else status = xc_tensor_set_encoded(t, &j.enc, (struct xc_buf *[XC_PART_COUNT]){ [XC_PART_DATA] = data, [XC_PART_SCALE] = scale }, err);
out:
    xc_buf_unref(&data);
    xc_buf_unref(&scale);
    xc_reading_release(&reading);
    xc_free(j.scratch);
    xc_free(j.bounds);
    xc_free(j.sums);
    xc_free(j.rounds.bad);
    return status;
}

enum xc_status xc_quantize_tensor(struct xc_work *w, int32_t t, struct xc_err *err)
{
    return xc_is_grouped(&w->want[t]) ? xc_quantize_alone(w, t, err) : quantize_tensor(w, t, err);
}

/* ---- nodes ---- */
/* Is a value bounded below by an activation function, with or without factors of smoothing behind it? Such rows lie nearly on one side
 * of zero, and their symmetric int8 would waste half its steps. */
static bool one_sided(const struct xc_graph *g, int32_t value)
{
    const int32_t maker = g->values[value].node;
    const struct xc_node *node = maker >= 0 ? &g->nodes[maker] : NULL;

    if (node && is_op(node, "scale")) return one_sided(g, node->in[0].id);
    if (!node || !is_op(node, "unary")) return false;
    switch ((enum xc_act)((const struct xc_attr_unary *)node->attr)->fn) {
    case XC_ACT_RELU: case XC_ACT_GELU: case XC_ACT_GELU_TANH: case XC_ACT_SIGMOID: case XC_ACT_SILU: return true;
    default: return false;
    }
}

struct xc_range xc_quantize_range(const struct xc_graph *g, int32_t n)
{
    return (struct xc_range){ .mode = one_sided(g, g->nodes[n].in[0].id) ? XC_RANGE_AFFINE : XC_RANGE_ROW };
}

static enum xc_status set_range(struct xc_work *w, struct xc_graph *g, int32_t n, struct xc_err *err)
{
    struct xc_range *range = &g->nodes[n].in[0].range;

    if (float_inputs(w->spec)) return XC_OK;
    *range = xc_quantize_range(g, n);
    if (!needs_ranges(w->spec)) return XC_OK;
    *range = (struct xc_range){ .mode = XC_RANGE_STATIC, .scale = xc_ranges_scale(w->ranges, g, n, xc_recipe_get(w->spec, "range"), xc_recipe_number(w->spec, "percentile")) };
    if (range->scale > 0) return XC_OK;
    return xc_fail(err, XC_E_UNSUPPORTED, "the calibration texts never reach '%s' of graph '%s', so it can have no static range", g->nodes[n].name, g->name);
}

static enum xc_status set_nodes(struct xc_work *w, const void *arg, struct xc_err *err)
{
    const struct xc_scope *scope = arg;
    struct xc_model *m = w->model;

    for (int32_t g = 0; g < m->n_graphs; g++)
        for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++) {
            struct xc_node *node = &m->graphs[g]->nodes[n];
            const uint8_t pick = scope->pick[scope->first[g] + n];

            if (pick != XC_PICK_DEFAULT && pick != XC_PICK_TARGET) continue;
            if (is_op(node, "attention") && xc_recipe_is(w->spec, "attention", "int8"))
                ((struct xc_attr_attention *)node->attr)->quantized = true;
            if (is_op(node, "linear") && node->in[1].kind == XC_REF_TENSOR && xc_format_traits((enum xc_format)m->tensors[node->in[1].id]->enc.format)->quantized && node->in[0].range.mode == XC_RANGE_NONE)
                XC_TRY(set_range(w, m->graphs[g], n, err));
        }
    return XC_OK;
}

static enum xc_status quantize_apply(struct xc_work *w, struct xc_err *err)
{
    struct xc_scope scope;
    enum xc_status status = XC_OK;

    XC_TRY(make_scope(w, &scope, err));
    if (w->smoothing) status = xc_smooth_along(w, set_nodes, &scope, err);
    for (int32_t t = 0; t < w->model->n_tensors && status == XC_OK; t++) {
        const struct xc_tensor *tensor = w->model->tensors[t];

        if (w->want[t].format != XC_FMT_S8 || xc_quantize_coarse(w, t) || (tensor->part[XC_PART_DATA] && tensor->enc.format == XC_FMT_S8) || xc_work_resume(w, t)) continue;
        status = quantize_tensor(w, t, err);
        if (status == XC_OK) status = xc_work_keep(w, t, err);
    }
    if (status == XC_OK && xc_recipe_is(w->spec, "format", "mixed")) status = xc_mixed_plain(w, err);
    if (status == XC_OK) status = xc_quantize_walk(w, set_nodes, &scope, err);
    xc_scope_release(&scope);
    return status == XC_OK && xc_recipe_is(w->spec, "format", "mixed") ? xc_mixed_finish(w, err) : status;
}

/* ---- forecast ---- */
/* The walk of quantize_walk.c: moments of what linears read, each value's once; with a fit both models run, and each weight is fitted. */
static void forecast_walk(const struct xc_work *w, const struct xc_encoding *was, struct xc_forecast *f)
{
    const struct xc_graph *g = xc_model_find_graph(w->model, "encode");
    const bool gptq = xc_recipe_is(w->spec, "method", "gptq"), fit = xc_recipe_is(w->spec, "fit", "yes");
    double most = 0, wide = 0;
    int32_t last = -1;

    for (int32_t n = 0; g && n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];
        const int32_t t = is_op(node, "linear") && node->in[1].kind == XC_REF_TENSOR ? node->in[1].id : -1;

        if (t < 0 || !xc_is_grouped(&w->want[t]) || !memcmp(&was[t], &w->want[t], sizeof *was)) continue;
        const double K = (double)xc_tensor_cols(w->model->tensors[t]), N = (double)xc_tensor_rows(w->model->tensors[t]);

        if (gptq) f->toil[XC_TOIL_FACTOR] += K * K * K;
        if (fit) f->toil[XC_TOIL_FACTOR] += 0.3 * K * K * K + 1.5 * K * K * N;
        if (fit) f->toil[XC_TOIL_GRAM] += 2 * (double)f->tokens * K * N;
        if (node->in[0].id != last) f->toil[XC_TOIL_GRAM] += (double)f->tokens * K * K;
        last = node->in[0].id;
        most = fmax(most, 4 * (2 * K * K + 3 * K * N) + 16 * K * (K + N));
        wide = fmax(wide, K + N);
    }
    if (last < 0) return;
    xc_forecast_walk(f, w->model, w->want, f->tokens);
    for (int i = 0; fit && i < 2; i++) xc_forecast_walk(f, w->model, NULL, f->tokens); /* on to a stop, and from there to what its linears gave */
    const bool lean = xc_memory_is_short(w->model, w->opts->max_memory); /* values lie in a file; a weight at a time is in memory, and its panels */

    if (lean) wide = 0;
    if (xc_spill_pays(most, w->opts->max_memory)) most = f->max_memory / 8; /* matrices lie in files */
    xc_forecast_holds(f, (lean ? 4 * xc_forecast_largest(w->model) : xc_forecast_f32_bytes(w->model)) + most + xc_forecast_values_bytes(w->model, f->tokens) + (fit ? 2 : 1) * 4 * wide * (double)f->tokens);
}

/* The search of a number's scale, in those of int4: with fewer levels either sign is tried; codes are tried after it; zeros under codes are fitted. */
static double search_toil(const struct xc_encoding *e)
{
    const bool two_level = e->scale_format == XC_FMT_S6;

    if (e->zero_point && two_level) return 4;
    return (xc_format_traits((enum xc_format)e->format)->bits < 4 ? 2 : 1) + (two_level ? 0.5 : 0);
}

static void quantize_forecast(const struct xc_work *w, const struct xc_encoding *was, struct xc_forecast *f)
{
    const bool nearest = xc_recipe_is(w->spec, "method", "nearest"), gptq = xc_recipe_is(w->spec, "method", "gptq");

    for (int32_t t = 0; t < w->model->n_tensors; t++) {
        const struct xc_encoding *e = &w->want[t];
        const double count = (double)xc_tensor_count(w->model->tensors[t]), K = (double)xc_tensor_cols(w->model->tensors[t]);

        if (!memcmp(&was[t], e, sizeof *was)) continue;
        f->toil[XC_TOIL_READ] += count;
        if (e->format == XC_FMT_S8) f->toil[e->sum16 ? XC_TOIL_INT8 : XC_TOIL_INT8_ROWS] += count;
        else if (!xc_is_grouped(e)) f->toil[XC_TOIL_CAST] += count;
        else if (gptq && e->layout == XC_LAYOUT_PANEL16) f->toil[XC_TOIL_GPTQ] += count * K;
        else f->toil[nearest ? XC_TOIL_NEAREST : XC_TOIL_SEARCH] += count * search_toil(e);
    }
    if (f->tokens && !nearest) forecast_walk(w, was, f);
    if (needs_ranges(w->spec)) {
        f->toil[XC_TOIL_RANGES] += (double)f->tokens * xc_forecast_inputs(w->model);
        xc_forecast_walk(f, w->model, NULL, f->tokens);
    }
    f->toil[XC_TOIL_TOUCH] += xc_forecast_encoded_bytes(w->model, w->want);
    if (float_inputs(w->spec)) f->widened = xc_forecast_macs(w->model, w->want, true);
    xc_forecast_holds(f, fmax(xc_forecast_kept_bytes(f, w->model, w->want), xc_forecast_largest(w->model)) + WINDOWS);
}

const struct xc_pass xc_pass_quantize = { .name = "quantize", .summary = "weights of 8 to 2 bits, int8 activations", .options = options, .prepare = prepare, .needs_ranges = needs_ranges,
                                          .plan = quantize_plan, .apply = quantize_apply, .forecast = quantize_forecast };
