/* calibrate: what real texts do inside the model: ranges of activations, and the error that int8 weights make at each linear's output.
 *
 * Texts run one batch after the other, node by node, so memory is that of one batch. */
#include <math.h>
#include <string.h>

#include "compress/pass.h"
#include "formats/lines.h"
#include "runtime/session/session.h"

#define BATCH 16 /* texts run together */

struct watch {
    const struct xc_graph *graph;
    const struct xc_model *quantized;
    float *ranges;
    double *error2, *norm2; /* by tensor */
    struct xc_scratch scratch;
    enum xc_status status;
};

/* The same product with the quantized weight; adds the squared error and norm of its output. */
static void compare_linear(struct watch *w, const struct xc_op_ctx *c)
{
    const int32_t id = c->node->in[1].id;
    const struct xc_tensor *t = w->quantized->tensors[id];
    const int64_t R = c->in[0]->rows, N = xc_tensor_rows(t), K = xc_tensor_cols(t), ld = xc_round_up(K, 64);
    const struct xc_node *node = &xc_model_find_graph(w->quantized, w->graph->name)->nodes[c->node - w->graph->nodes];
    const struct xc_range *range = &node->in[0].range;
    int8_t *q, *packed = NULL;
    float *scale, *col, *y, *bias;
    int32_t *sum;

    if (t->enc.format != XC_FMT_S8 || R == 0) return;
    if (xc_scratch_reset(&w->scratch, NULL) != XC_OK) w->status = XC_E_NOMEM;
    q = xc_scratch_alloc(&w->scratch, (size_t)(R * ld));
    scale = xc_scratch_alloc(&w->scratch, (size_t)R * 4);
    sum = xc_scratch_alloc(&w->scratch, (size_t)R * 4);
    y = xc_scratch_alloc(&w->scratch, (size_t)(R * N) * 4);
    col = xc_scratch_alloc(&w->scratch, (size_t)xc_round_up(N, 16) * 4);
    bias = xc_scratch_alloc(&w->scratch, (size_t)xc_round_up(N, 16) * 4);
    if (t->enc.layout == XC_LAYOUT_ROWS) packed = xc_scratch_alloc(&w->scratch, xc_panel_s8_bytes(N, K));
    if (!q || !scale || !sum || !y || !col || !bias || (t->enc.layout == XC_LAYOUT_ROWS && !packed)) {
        w->status = XC_E_NOMEM;
        return;
    }
    if (packed) xc_pack_panel_s8(packed, (const int8_t *)t->part[XC_PART_DATA]->data, N, K);
    memset(col, 0, (size_t)xc_round_up(N, 16) * 4);
    memset(bias, 0, (size_t)xc_round_up(N, 16) * 4);
    memcpy(col, t->part[XC_PART_SCALE]->data, (size_t)N * 4);
    if (c->tensor[2] && xc_tensor_to_f32(c->tensor[2], bias, NULL) != XC_OK) w->status = XC_E_NOMEM;
    c->kern->quantize_rows_s8(q, ld, scale, sum, c->in[0]->data, K, R, K, range->mode == XC_RANGE_STATIC ? range->scale : 0.0f);
    const struct xc_gemm_s8 g = { .x = q, .ldx = ld, .x_sum = sum, .w = packed ? packed : (const int8_t *)t->part[XC_PART_DATA]->data, .w_sum16 = t->enc.sum16, .N = N, .K = K,
                                  .ep = { .row_scale = scale, .col_scale = col, .bias = bias, .out = y, .ld_out = N } };

    c->kern->gemm_s8(&g, 0, R, 0, N);
    for (int64_t i = 0; i < R * N; i++) {
        const double real = (double)((const float *)c->out[0]->data)[i], d = (double)y[i] - real;

        w->error2[id] += d * d;
        w->norm2[id] += real * real;
    }
}

static void observe(void *arg, const struct xc_op_ctx *c)
{
    struct watch *w = arg;

    if (strcmp(c->node->op->name, "linear")) return;
    if (w->ranges) {
        float *max = &w->ranges[c->node - w->graph->nodes];
        const float *x = c->in[0]->data;

        for (int64_t i = 0; i < c->in[0]->rows * c->in[0]->cols; i++) *max = fmaxf(*max, fabsf(x[i]));
    }
    if (w->quantized) compare_linear(w, c);
}

/* The text of a line: of a .tsv, its last column. */
static const char *text_of(const char *line, size_t len, size_t *text_len)
{
    const char *tab = memrchr(line, '\t', len);

    *text_len = tab ? len - (size_t)(tab + 1 - line) : len;
    return tab ? tab + 1 : line;
}

struct batch {
    char *text[BATCH];
    size_t length[BATCH];
    int64_t n;
};

static enum xc_status flush(struct batch *b, struct xc_session *s, struct xc_err *err)
{
    struct xc_output out;
    enum xc_status status = XC_OK;

    if (b->n) status = xc_session_run_texts(s, (const char *const *)b->text, b->length, b->n, &out, err);
    for (int64_t i = 0; i < b->n; i++) xc_free(b->text[i]);
    b->n = 0;
    return status;
}

static enum xc_status run_texts(struct xc_session *s, const struct xc_compress_opts *opts, struct xc_err *err)
{
    struct xc_lines *lines = NULL;
    struct batch b = { 0 };
    const char *line = NULL;
    size_t len;
    int64_t used = 0;
    enum xc_status status;

    XC_TRY(xc_lines_open(&lines, opts->calibrate, NULL, err));
    status = XC_OK;
    while (status == XC_OK && used < opts->calibrate_rows) {
        size_t n;
        const char *text;

        status = xc_lines_next(lines, &line, &len, err);
        if (status != XC_OK || !line) break;
        text = text_of(line, len, &n);
        if (!n || (text != line && xc_lines_number(lines) == 1)) continue; /* empty, or the header of a table */
        b.text[b.n] = xc_malloc(n);
        if (!b.text[b.n]) {
            status = xc_fail_nomem(err, n);
            break;
        }
        memcpy(b.text[b.n], text, n);
        b.length[b.n++] = n;
        used++;
        if (b.n == BATCH) status = flush(&b, s, err);
        if (opts->progress) opts->progress(opts->progress_arg, "calibrating", (double)used, (double)opts->calibrate_rows);
        if (status == XC_OK && opts->cancelled && opts->cancelled(opts->cancelled_arg)) status = xc_fail(err, XC_E_CANCELLED, "stopped on request");
    }
    if (status == XC_OK) status = flush(&b, s, err);
    for (int64_t i = 0; i < b.n; i++) xc_free(b.text[i]);
    xc_lines_close(&lines);
    if (status == XC_OK && !used) {
        xc_fail(err, XC_E_FORMAT, "no text to calibrate with");
        status = xc_fail_at(err, XC_E_FORMAT, "%s", opts->calibrate);
    }
    return status;
}

enum xc_status xc_calibrate(struct xc_model *f32, const struct xc_model *quantized, const struct xc_compress_opts *opts, float *ranges, struct xc_compress_result *result,
                            struct xc_err *err)
{
    const struct xc_session_opts session_opts = { .pool = opts->pool, .plain = true };
    struct xc_session *s = NULL;
    struct watch w = { .quantized = quantized, .ranges = ranges };
    enum xc_status status;

    XC_TRY(xc_session_new(&s, f32, &session_opts, err));
    w.graph = s->graph;
    w.error2 = xc_calloc((size_t)f32->n_tensors + 1, sizeof *w.error2);
    w.norm2 = xc_calloc((size_t)f32->n_tensors + 1, sizeof *w.norm2);
    status = w.error2 && w.norm2 ? XC_OK : xc_fail_nomem(err, (size_t)f32->n_tensors * 16);
    s->run->observe = observe;
    s->run->observe_arg = &w;
    if (status == XC_OK) status = run_texts(s, opts, err);
    if (status == XC_OK && w.status != XC_OK) status = xc_fail_nomem(err, 0);
    for (int32_t t = 0; t < f32->n_tensors && status == XC_OK && quantized; t++)
        if (w.norm2[t] > 0) result->layers[t].output_error = sqrt(w.error2[t] / w.norm2[t]);
    xc_scratch_release(&w.scratch);
    xc_free(w.error2);
    xc_free(w.norm2);
    xc_session_free(&s);
    return status;
}
