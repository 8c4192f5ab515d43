/* mix_rows: every sequence becomes k rows, weighted sums of its tokens: what lets Linformer project the input once (Wang et al. 2020,
 * arXiv:2006.04768): E (X W + 1 b^T) = (E X) W + (E 1) b^T, so keys and values are made of k rows instead of n.
 *
 *   in    x (R,C), e (k, n_max) tensor: slots by positions; a sequence of n tokens uses the first n columns
 *   attr  quantized   int8 products (mix.h)
 *   out   y (k a sequence, C); sum (k a sequence, 1) = E 1, what a bias after it must be multiplied by */
#include <string.h>

#include "runtime/graph/ops/mix.h"

/* ---- mix.h ---- */
enum { PART = XC_MIX_COLS * XC_KEY_BLOCK };

size_t xc_mix_scratch_bytes(void) { return PART * sizeof(float) + XC_MIX_COLS * sizeof(float); }

enum xc_status xc_mix_open(struct xc_mix *m, const struct xc_op_ctx *c, const struct xc_tensor *e, bool quantized, int64_t longest, struct xc_err *err)
{
    const int64_t rows = e->dim[0], n_max = e->dim[1], blocks = xc_div_up(longest, XC_KEY_BLOCK);
    float *copy = NULL;

    *m = (struct xc_mix){ .kern = c->kern, .rows = rows, .n_max = n_max };
    if (longest > n_max)
        return xc_fail(err, XC_E_RANGE, "node '%s': a sequence has %lld tokens, its projection '%s' reaches %lld", c->node->name, (long long)longest, e->name, (long long)n_max);
    if (e->enc.format == XC_FMT_F32 && e->enc.layout == XC_LAYOUT_ROWS) {
        m->e = (const float *)(const void *)e->part[XC_PART_DATA]->data;
    } else {
        copy = xc_run_scratch(c->run, (size_t)(rows * n_max) * sizeof *copy);
        if (!copy) return xc_fail_nomem(err, (size_t)(rows * n_max) * sizeof *copy);
        XC_TRY(xc_tensor_to_f32(e, copy, err));
        m->e = copy;
    }
    if (!quantized) return XC_OK;
    m->q = xc_run_scratch(c->run, (size_t)(blocks * rows * XC_KEY_BLOCK));
    m->q_scale = xc_run_scratch(c->run, (size_t)(blocks * rows) * sizeof *m->q_scale);
    m->q_sum = xc_run_scratch(c->run, (size_t)(blocks * rows) * sizeof *m->q_sum);
    if (!m->q || !m->q_scale || !m->q_sum) return xc_fail_nomem(err, (size_t)(blocks * rows * XC_KEY_BLOCK));
    for (int64_t b = 0; b < blocks; b++) { /* whole blocks: what other sequences need must not matter */
        const int64_t n = xc_min_i64(XC_KEY_BLOCK, n_max - b * XC_KEY_BLOCK);
        int8_t *q = m->q + b * rows * XC_KEY_BLOCK;

        if (n < XC_KEY_BLOCK) memset(q, 0, (size_t)(rows * XC_KEY_BLOCK));
        c->kern->quantize_rows_s8(q, XC_KEY_BLOCK, m->q_scale + b * rows, m->q_sum + b * rows, m->e + b * XC_KEY_BLOCK, n_max, NULL, rows, n, 0.0f);
    }
    return XC_OK;
}

/* Columns of x (n,C) as a weight of C outputs: [C/16][n][16] */
static void panel(float *w, const float *x, int64_t ldx, int64_t n, int64_t C)
{
    for (int64_t c0 = 0; c0 < C; c0 += 16, w += 16 * n) {
        const int64_t cols = xc_min_i64(16, C - c0);

        for (int64_t r = 0; r < n; r++) {
            if (cols < 16) memset(w + r * 16, 0, 16 * sizeof *w);
            memcpy(w + r * 16, x + r * ldx + c0, (size_t)cols * sizeof *w);
        }
    }
}

void xc_mix_part(const struct xc_mix *m, float *y, int64_t ld_y, const float *x, int64_t ldx, int64_t n, int64_t C, int64_t row0, int64_t k, void *scratch)
{
    float *scale = scratch;               /* (XC_MIX_COLS) */
    void *w = scale + XC_MIX_COLS;

    if (n == 0)
        for (int64_t i = 0; i < k; i++) memset(y + i * ld_y, 0, (size_t)C * sizeof *y);
    for (int64_t j0 = 0; j0 < n; j0 += XC_KEY_BLOCK) {
        const int64_t count = xc_min_i64(XC_KEY_BLOCK, n - j0), at = j0 / XC_KEY_BLOCK * m->rows + row0;
        struct xc_epilogue ep = { .residual = j0 ? y : NULL, .ld_residual = ld_y, .out = y, .ld_out = ld_y };

        if (m->q) {
            if (count < XC_KEY_BLOCK) memset(w, 0, PART); /* the product goes over whole blocks */
            m->kern->pack_values_s8(w, scale, x + j0 * ldx, ldx, count, C);
            ep.row_scale = m->q_scale + at;
            ep.col_scale = scale;
            m->kern->gemm_s8(&(struct xc_gemm_s8){ .x = m->q + at * XC_KEY_BLOCK, .ldx = XC_KEY_BLOCK, .x_sum = m->q_sum + at, .w = w, .N = C, .K = XC_KEY_BLOCK, .ep = ep }, 0, k, 0, C);
        } else {
            panel(w, x + j0 * ldx, ldx, count, C);
            m->kern->gemm_f32(&(struct xc_gemm_f32){ .x = m->e + row0 * m->n_max + j0, .ldx = m->n_max, .w = w, .N = C, .K = count, .ep = ep }, 0, k, 0, C);
        }
    }
}

/* ---- the op ---- */
static enum xc_status mix_infer(struct xc_infer *c, struct xc_err *err)
{
    const struct xc_tensor *e;

    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(xc_need_tensor(c, 1, -1, -1, err));
    e = xc_infer_tensor(c, 1);
    if (e->rank != 2 || e->dim[0] > INT32_MAX) return xc_fail(err, XC_E_SHAPE, "the projection '%s' must be (slots, positions)", e->name);
    const struct xc_space like = { .map = XC_MAP_FIXED, .k = (int32_t)e->dim[0] };

    for (int i = 0; i < 2; i++) {
        XC_TRY(xc_infer_space(c, &like, &c->out[i].space, err));
        c->out[i].cols = i ? 1 : xc_infer_value(c, 0)->cols;
        c->out[i].dtype = XC_DTYPE_F32;
    }
    return XC_OK;
}

static void mix_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_value *x = &g->values[node->in[0].id];

    (void)n_seq;
    cost->macs += (double)rows[x->space] * (double)x->cols * (double)g->model->tensors[node->in[1].id]->dim[0];
}

struct job {
    const struct xc_op_ctx *c;
    struct xc_mix mix;
    uint8_t *scratch;
    size_t each;
    int64_t chunks;
};

/* Item: (sequence, chunk of columns); the last chunk is the sums. */
static void mix_item(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_view *x = j->c->in[0], *y = j->c->out[0];
    const int64_t s = item / (j->chunks + 1), chunk = item % (j->chunks + 1), k = j->mix.rows, c0 = chunk * XC_MIX_COLS, n = x->rag->start[s + 1] - x->rag->start[s];

    if (chunk < j->chunks) {
        xc_mix_part(&j->mix, (float *)y->data + s * k * y->cols + c0, y->cols, (const float *)x->data + x->rag->start[s] * x->cols + c0, x->cols, n,
                    xc_min_i64(XC_MIX_COLS, x->cols - c0), 0, k, j->scratch + (size_t)thread * j->each);
        return;
    }
    for (int64_t r = 0; r < k; r++) {
        const float *e = j->mix.e + r * j->mix.n_max;
        double sum = 0;

        for (int64_t i = 0; i < n; i++) sum += (double)e[i];
        ((float *)j->c->out[1]->data)[s * k + r] = (float)sum;
    }
}

static enum xc_status mix_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    const struct xc_view *x = c->in[0];
    struct job j = { .c = c, .chunks = xc_div_up(x->cols, XC_MIX_COLS), .each = (size_t)xc_round_up((int64_t)xc_mix_scratch_bytes(), XC_ALIGN) };
    int64_t longest = 0;

    for (int32_t s = 0; s < x->rag->n_seq; s++) longest = xc_max_i64(longest, x->rag->start[s + 1] - x->rag->start[s]);
    XC_TRY(xc_mix_open(&j.mix, c, c->tensor[1], ((const struct xc_attr_mix *)c->attr)->quantized, longest, err));
    j.scratch = xc_run_scratch(c->run, j.each * (size_t)xc_pool_threads(c->pool));
    if (!j.scratch) return xc_fail_nomem(err, j.each);
    xc_pool_run(c->pool, mix_item, &j, x->rag->n_seq * (j.chunks + 1));
    return XC_OK;
}

static const struct xc_attr_def attrs[] = {
    { "quantized", XC_ATTR_BOOL, offsetof(struct xc_attr_mix, quantized), 0, NULL, 0, 1 },
    { NULL, XC_ATTR_INT, 0, 0, NULL, 0, 0 },
};
static const char *const in_names[] = { "x", "e" };
const struct xc_op xc_op_mix_rows = { .name = "mix_rows", .version = 1, .min_in = 2, .max_in = 2, .n_out = 2, .attrs = attrs, .attr_size = sizeof(struct xc_attr_mix),
                                      .in_names = in_names, .infer = mix_infer, .cost = mix_cost, .forward = mix_forward };
