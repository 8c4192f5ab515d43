/* linear: y = x W^T + b.
 *
 *   in    x (R,K), weight (N,K), bias (N), optional
 *   out   y (R,N)
 *
 * An int8 weight, or one in groups, whose input has a range takes x quantized per row (or by its static scale); any other weight is used as f32. */
#include <string.h>

#include "runtime/graph/grouped.h"
#include "runtime/graph/op.h"
#include "runtime/graph/ops/gemm.h"
#include "runtime/graph/ops/parallel.h"
#include "runtime/graph/run.h"

static enum xc_status linear_infer(struct xc_infer *c, struct xc_err *err)
{
    XC_TRY(xc_need_value(c, 0, XC_DTYPE_F32, err));
    XC_TRY(xc_need_tensor(c, 1, -1, xc_infer_value(c, 0)->cols, err));
    const int64_t N = xc_tensor_rows(xc_infer_tensor(c, 1));

    if (N > INT32_MAX) return xc_fail(err, XC_E_RANGE, "the weight has too many outputs");
    if (c->node->n_in > 2 && c->node->in[2].kind != XC_REF_NONE) XC_TRY(xc_need_tensor(c, 2, 1, N, err));
    if (c->node->in[0].range.mode != XC_RANGE_NONE && xc_infer_tensor(c, 1)->enc.format != XC_FMT_S8 && !xc_grouped_gemm(&xc_infer_tensor(c, 1)->enc))
        return xc_fail(err, XC_E_FORMAT, "the input of a linear has an int8 range, its weight '%s' is neither int8 nor in groups of 32 to 256", xc_infer_tensor(c, 1)->name);
    if (c->node->in[0].range.mode != XC_RANGE_NONE && xc_infer_value(c, 0)->cols > XC_GEMM_S8_MAX_K)
        return xc_fail(err, XC_E_UNSUPPORTED, "int8 sums over %d inputs would overflow; at most %d", xc_infer_value(c, 0)->cols, XC_GEMM_S8_MAX_K);
    c->out[0].space = xc_infer_value(c, 0)->space;
    c->out[0].cols = (int32_t)N;
    return XC_OK;
}

static void linear_cost(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost)
{
    const struct xc_tensor *w = g->model->tensors[node->in[1].id];

    (void)n_seq;
    cost->macs += (double)rows[g->values[node->out[0]].space] * (double)xc_tensor_count(w);
    cost->weight_bytes += (double)xc_tensor_bytes(w);
}

/* ---- tiles: TILE_ROWS x TILE_COLS of the output each; a row's result does not depend on its tile ---- */
#define TILE_ROWS 48
#define TILE_COLS 256
#define TILE_COLS_FLOAT 192 /* whole steps of 48 */

struct tiles {
    const struct xc_kernels *kern;
    const struct xc_gemm_s8 *s8; /* one of the four, s8 with its kernel */
    xc_gemm_s8_fn *s8_fn;
    const struct xc_gemm_s4 *s4;
    const struct xc_gemm_f32 *f32;
    const struct xc_gemm_bf16 *bf16;
    int64_t R, N, cols, across;  /* tiles side by side */
};

static void run_tile(void *arg, int64_t item, int thread)
{
    const struct tiles *t = arg;
    const int64_t row0 = item / t->across * TILE_ROWS, row1 = xc_min_i64(row0 + TILE_ROWS, t->R);
    const int64_t col0 = item % t->across * t->cols, col1 = xc_min_i64(col0 + t->cols, t->N);

    (void)thread;
    if (t->s8) t->s8_fn(t->s8, row0, row1, col0, col1);
    else if (t->s4) t->kern->gemm_s4(t->s4, row0, row1, col0, col1);
    else if (t->bf16) t->kern->gemm_bf16(t->bf16, row0, row1, col0, col1);
    else t->kern->gemm_f32(t->f32, row0, row1, col0, col1);
}

static void run_tiles(const struct xc_op_ctx *c, struct tiles t)
{
    t.kern = c->kern;
    t.cols = t.f32 || t.bf16 ? TILE_COLS_FLOAT : TILE_COLS;
    t.across = xc_div_up(t.N, t.cols);
    xc_pool_run(c->pool, run_tile, &t, xc_div_up(t.R, TILE_ROWS) * t.across);
}

void xc_gemm_tiles_f32(const struct xc_op_ctx *c, const struct xc_gemm_f32 *g, int64_t R) { run_tiles(c, (struct tiles){ .f32 = g, .R = R, .N = g->N }); }

void xc_gemm_tiles_bf16(const struct xc_op_ctx *c, const struct xc_gemm_bf16 *g, int64_t R) { run_tiles(c, (struct tiles){ .bf16 = g, .R = R, .N = g->N }); }

/* ---- f32 weights to panels, by the pool ---- */
struct pack_f32 {
    float *to;
    const float *from;         /* NULL: a lazy run's weight, which lies in its file; */
    const struct xc_tensor *w; /* 16 rows of it are read for a panel, */
    float *rows;               /* 16 x K a thread */
    bool failed;
    int64_t N, K;
};

static void pack_f32_panel(void *arg, int64_t item, int thread)
{
    struct pack_f32 *p = arg;
    const int64_t n = xc_min_i64(16, p->N - item * 16);
    float *rows = p->from ? NULL : p->rows + (int64_t)thread * 16 * p->K;

    if (rows && xc_tensor_rows_to_f32(p->w, item * 16, n, rows, NULL) != XC_OK) __atomic_store_n(&p->failed, true, __ATOMIC_RELAXED);
    else xc_pack_panel_f32(p->to + item * 16 * p->K, rows ? rows : p->from + item * 16 * p->K, n, p->K);
}

/* What is wrong with a weight that cannot be read: its first row that cannot. */
static enum xc_status read_again(const struct pack_f32 *p, struct xc_err *err)
{
    for (int64_t r = 0; r < p->N; r++) XC_TRY(xc_tensor_rows_to_f32(p->w, r, 1, p->rows, err));
    return xc_fail(err, XC_E_IO, "tensor '%s' could not be read at first", p->w->name);
}

/* ---- int8: which kernel ---- */
static bool held_as(const struct xc_tensor *t, enum xc_structure s) { return t->enc.layout == XC_LAYOUT_PANEL16 && t->enc.structure == s; }

bool xc_gemm_is_compact(const struct xc_tensor *t) { return held_as(t, XC_STRUCT_COMPACT); }

static bool as_steps(const struct xc_kernels *k, const struct xc_tensor *t)
{
    return xc_gemm_is_compact(t) && k->gemm_steps_s8 && t->enc.n <= XC_STEPS_MOST * (double)xc_tensor_count(t);
}

xc_gemm_s8_fn *xc_gemm_s8_kernel(const struct xc_kernels *k, const struct xc_tensor *t)
{
    return held_as(t, XC_STRUCT_NM) ? k->gemm_nm_s8 : held_as(t, XC_STRUCT_BLOCK) ? k->gemm_block_s8 : as_steps(k, t) ? k->gemm_steps_s8 : k->gemm_s8;
}

void xc_gemm_s8_sums(int32_t *sum, const int8_t *w, const struct xc_kernels *k, const struct xc_tensor *t)
{
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t);

    if (held_as(t, XC_STRUCT_NM)) xc_nm_s8_sums(sum, w, t->part[XC_PART_INDEX]->data, N, K);
    else if (held_as(t, XC_STRUCT_BLOCK)) xc_block_s8_sums(sum, w, t->part[XC_PART_INDEX]->data, N);
    else if (as_steps(k, t)) memcpy(sum, w, (size_t)xc_round_up(N, 16) * sizeof *sum);
    else xc_panel_s8_sums(sum, w, N, K);
}

void xc_gemm_compact_bytes(size_t *w, size_t *lists, const struct xc_kernels *k, const struct xc_tensor *t)
{
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t), panels = xc_div_up(N, 16), steps = as_steps(k, t) ? xc_compact_most_steps(t->part[XC_PART_INDEX]->data, N, K) : 0;

    *w = as_steps(k, t) ? (size_t)(64 * panels + 128 * steps) : xc_panel_s8_bytes(N, K);
    *lists = as_steps(k, t) ? (size_t)(4 * (panels + 1) + 2 * steps) : 0;
}

void xc_gemm_compact_lay(void *w, void *lists, const struct xc_kernels *k, const struct xc_tensor *t)
{
    const int8_t *data = (const int8_t *)t->part[XC_PART_DATA]->data;

    if (as_steps(k, t)) k->compact_steps(w, lists, data, t->part[XC_PART_INDEX]->data, xc_tensor_rows(t), xc_tensor_cols(t));
    else xc_compact_panels(w, data, t->part[XC_PART_INDEX]->data, xc_tensor_rows(t), xc_tensor_cols(t));
}

/* ---- int8: x quantized per row, the weight in panels ---- */
struct quantize {
    int8_t *q;
    int64_t ld, K;
    float *scale, *mid; /* mid: affine rows, else NULL */
    int32_t *sum;
    const float *x;
    float static_scale;
};

static void quantize_rows(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const struct quantize *z = arg;

    if (z->mid) c->kern->quantize_rows_affine(z->q + row0 * z->ld, z->ld, z->scale + row0, z->mid + row0, z->sum + row0, z->x + row0 * z->K, z->K, NULL, row1 - row0, z->K);
    else c->kern->quantize_rows_s8(z->q + row0 * z->ld, z->ld, z->scale + row0, z->sum + row0, z->x + row0 * z->K, z->K, NULL, row1 - row0, z->K, z->static_scale);
}

/* A copy of n floats padded with zeros to a multiple of 16, as the kernels read them. */
static enum xc_status padded(const struct xc_op_ctx *c, const float **out, const struct xc_tensor *t, const struct xc_buf *part, int64_t n, struct xc_err *err)
{
    const int64_t np = xc_round_up(n, 16);
    float *copy = xc_run_scratch(c->run, (size_t)np * sizeof *copy);

    if (!copy) return xc_fail_nomem(err, (size_t)np * sizeof *copy);
    memset(copy, 0, (size_t)np * sizeof *copy);
    if (part) memcpy(copy, part->data, (size_t)n * sizeof *copy);
    else XC_TRY(xc_tensor_to_f32(t, copy, err));
    *out = copy;
    return XC_OK;
}

/* x (R,K) quantized into scratch. */
static enum xc_status quantized(const struct xc_op_ctx *c, struct quantize *z, const float *x, int64_t R, int64_t K, const struct xc_range *range, struct xc_err *err)
{
    *z = (struct quantize){ .ld = xc_round_up(K, XC_ALIGN), .K = K, .x = x, .static_scale = range->mode == XC_RANGE_STATIC ? range->scale : 0.0f };
    z->q = xc_run_scratch(c->run, (size_t)(R * z->ld));
    z->scale = xc_run_scratch(c->run, (size_t)R * sizeof *z->scale);
    z->sum = xc_run_scratch(c->run, (size_t)R * sizeof *z->sum);
    if (range->mode == XC_RANGE_AFFINE) z->mid = xc_run_scratch(c->run, (size_t)R * sizeof *z->mid);
    if (!z->q || !z->scale || !z->sum || (range->mode == XC_RANGE_AFFINE && !z->mid)) return xc_fail_nomem(err, (size_t)(R * z->ld));
    xc_rows_run(c, quantize_rows, z, R, K);
    return XC_OK;
}

static enum xc_status gemm_s8_run(const struct xc_op_ctx *c, const struct xc_epilogue *ep, const float *x, int64_t R, const struct xc_tensor *w,
                                  const struct xc_range *range, struct xc_err *err)
{
    const int64_t N = xc_tensor_rows(w), K = xc_tensor_cols(w);
    struct xc_gemm_s8 g = { .w = (const int8_t *)w->part[XC_PART_DATA]->data, .w_sum16 = w->enc.sum16, .N = N, .K = K, .ep = *ep };
    struct quantize z;

    if (w->part[XC_PART_INDEX]) g.index = w->part[XC_PART_INDEX]->data;
    if (xc_gemm_is_compact(w)) {
        size_t bytes, list_bytes;
        void *laid, *lists;

        xc_gemm_compact_bytes(&bytes, &list_bytes, c->kern, w);
        laid = xc_run_scratch(c->run, bytes);
        lists = xc_run_scratch(c->run, list_bytes);
        if (!laid || !lists) return xc_fail_nomem(err, bytes + list_bytes);
        xc_gemm_compact_lay(laid, lists, c->kern, w);
        g.w = laid;
        g.index = lists;
    } else if (w->enc.layout == XC_LAYOUT_ROWS) {
        int8_t *packed = xc_run_scratch(c->run, xc_panel_s8_bytes(N, K));

        if (!packed) return xc_fail_nomem(err, xc_panel_s8_bytes(N, K));
        xc_pack_panel_s8(packed, g.w, N, K);
        g.w = packed;
    }
    XC_TRY(padded(c, &g.ep.col_scale, w, w->part[XC_PART_SCALE], N, err));
    XC_TRY(quantized(c, &z, x, R, K, range, err));
    if (range->mode == XC_RANGE_AFFINE) {
        int32_t *col_sum = xc_run_scratch(c->run, (size_t)xc_round_up(N, 16) * sizeof *col_sum);

        if (!col_sum) return xc_fail_nomem(err, (size_t)N * sizeof *col_sum);
        xc_gemm_s8_sums(col_sum, g.w, c->kern, w);
        g.ep.row_mid = z.mid;
        g.ep.col_sum = col_sum;
    }
    g.x = z.q;
    g.ldx = z.ld;
    g.x_sum = z.sum;
    g.ep.row_scale = z.scale;
    run_tiles(c, (struct tiles){ .s8 = &g, .s8_fn = xc_gemm_s8_kernel(c->kern, w), .R = R, .N = N });
    return XC_OK;
}

static enum xc_status gemm_s4_run(const struct xc_op_ctx *c, const struct xc_epilogue *ep, const float *x, int64_t R, const struct xc_tensor *w,
                                  const struct xc_range *range, struct xc_err *err)
{
    struct xc_gemm_s4 g = { .ep = *ep };
    struct quantize z;
    void *memory = NULL;
    size_t bytes;

    XC_TRY(xc_grouped_panel_bytes(&bytes, w, err));
    if (bytes) memory = xc_run_scratch(c->run, bytes);
    if (bytes && !memory) return xc_fail_nomem(err, bytes);
    XC_TRY(xc_grouped_panel(&g, memory, w, err));
    XC_TRY(quantized(c, &z, x, R, g.K, range, err));
    if (range->mode == XC_RANGE_AFFINE) {
        float *sum = xc_run_scratch(c->run, (size_t)xc_round_up(g.N, 16) * sizeof *sum);

        if (!sum) return xc_fail_nomem(err, (size_t)g.N * sizeof *sum);
        xc_panel_s4_sums(sum, &g);
        g.ep.row_mid = z.mid;
        g.w_sum = sum;
    }
    g.x = z.q;
    g.ldx = z.ld;
    g.ep.row_scale = z.scale;
    run_tiles(c, (struct tiles){ .s4 = &g, .R = R, .N = g.N });
    return XC_OK;
}

enum xc_status xc_gemm_run(const struct xc_op_ctx *c, float *y, const float *x, int64_t R, const struct xc_tensor *w, const struct xc_tensor *b,
                           const struct xc_range *range, struct xc_err *err)
{
    const int64_t N = xc_tensor_rows(w), K = xc_tensor_cols(w);
    struct xc_epilogue ep = { .out = y, .ld_out = N };
    struct xc_gemm_f32 g = { .x = x, .ldx = K, .w = w->part[XC_PART_DATA] ? (const float *)(const void *)w->part[XC_PART_DATA]->data : NULL, .N = N, .K = K };

    if (b) XC_TRY(padded(c, &ep.bias, b, NULL, N, err));
    if (w->enc.format == XC_FMT_S8 && range->mode != XC_RANGE_NONE) return gemm_s8_run(c, &ep, x, R, w, range, err);
    if (xc_grouped_gemm(&w->enc) && range->mode != XC_RANGE_NONE) return gemm_s4_run(c, &ep, x, R, w, range, err);
    if (c->run->bf16 && g.w && w->enc.format == XC_FMT_F32 && w->enc.layout == XC_LAYOUT_ROWS) return xc_gemm_bf16_run(c, &ep, x, R, g.w, N, K, err);
    if (!g.w || w->enc.format != XC_FMT_F32 || w->enc.layout != XC_LAYOUT_PANEL16) {
        struct pack_f32 pack = { .w = w, .N = N, .K = K };
        float *packed = xc_run_scratch(c->run, xc_panel_f32_bytes(N, K)), *rows = NULL;

        if (!packed) return xc_fail_nomem(err, xc_panel_f32_bytes(N, K));
        if (g.w && w->enc.format != XC_FMT_F32) {
            rows = xc_run_scratch(c->run, (size_t)(N * K) * sizeof *rows);
            if (!rows) return xc_fail_nomem(err, (size_t)(N * K) * sizeof *rows);
            XC_TRY(xc_tensor_to_f32(w, rows, err));
        }
        pack.to = packed;
        pack.from = rows ? rows : g.w;
        if (!pack.from) {
            pack.rows = xc_run_scratch(c->run, (size_t)xc_pool_threads(c->pool) * 16 * (size_t)K * sizeof *pack.rows);
            if (!pack.rows) return xc_fail_nomem(err, (size_t)K * 16 * sizeof *pack.rows);
        }
        xc_pool_run(c->pool, pack_f32_panel, &pack, xc_div_up(N, 16));
        if (pack.failed) return read_again(&pack, err);
        g.w = packed;
    }
    g.ep = ep;
    xc_gemm_tiles_f32(c, &g, R);
    return XC_OK;
}

static enum xc_status linear_forward(const struct xc_op_ctx *c, struct xc_err *err)
{
    return xc_gemm_run(c, c->out[0]->data, c->in[0]->data, c->in[0]->rows, c->tensor[1], c->tensor[2], &c->node->in[0].range, err);
}

static const char *const in_names[] = { "x", "weight", "bias" };
const struct xc_op xc_op_linear = { .name = "linear", .version = 1, .min_in = 2, .max_in = 3, .n_out = 1, .in_names = in_names, .infer = linear_infer,
                                    .cost = linear_cost, .forward = linear_forward };
