/* gemm_bf16: operands of products in bf16, for training (kernels.h, struct xc_gemm_bf16): rounded and packed into the node's scratch by the pool.
 * A run with bf16 set makes its products of f32 weights so. Weights themselves stay f32. */
#include "runtime/graph/ops/gemm.h"
#include "runtime/graph/ops/parallel.h"

struct pack {
    const struct xc_kernels *kern;
    uint16_t *to;
    int64_t ld_to;
    const float *from;
    int64_t ld_from, N, K;
};

static void pack_row_block(const struct xc_op_ctx *c, const void *arg, int64_t row0, int64_t row1)
{
    const struct pack *p = arg;

    c->kern->bf16_rows(p->to + row0 * p->ld_to, p->ld_to, p->from + row0 * p->ld_from, p->ld_from, row1 - row0, p->K);
}

#define OUTPUTS 64 /* of an item; a multiple of 16 */
#define ROWS 64    /* of an item; a multiple of 8 */

static void pack_panel_rows(void *arg, int64_t item, int thread)
{
    const struct pack *p = arg;
    const int64_t n0 = item * OUTPUTS;

    (void)thread;
    p->kern->bf16_panel_rows(p->to + n0 * xc_round_up(p->K, 2), p->from + n0 * p->ld_from, p->ld_from, xc_min_i64(OUTPUTS, p->N - n0), p->K);
}

/* Rows of m are read from end to end, a few at a time. */
static void pack_panel_cols(void *arg, int64_t item, int thread)
{
    const struct pack *p = arg;
    const int64_t K2 = xc_round_up(p->K, 2), k1 = xc_min_i64((item + 1) * ROWS, p->K);

    (void)thread;
    for (int64_t k = item * ROWS; k < k1; k += 8)
        for (int64_t n = 0; n < p->N; n += 16)
            p->kern->bf16_panel_cols(p->to + n * K2 + k * 16, p->from + k * p->ld_from + n, p->ld_from, xc_min_i64(8, k1 - k), xc_min_i64(16, p->N - n));
}

enum xc_status xc_bf16_rows(const struct xc_op_ctx *c, uint16_t **out, int64_t *ld, const float *x, int64_t ldx, int64_t R, int64_t K, struct xc_err *err)
{
    struct pack p = { .ld_to = xc_round_up(K, 2), .from = x, .ld_from = ldx, .K = K };
    const size_t bytes = (size_t)(R * p.ld_to) * sizeof *p.to;

    *ld = p.ld_to;
    *out = p.to = xc_run_scratch(c->run, bytes);
    if (!p.to) return xc_fail_nomem(err, bytes);
    xc_rows_run(c, pack_row_block, &p, R, K);
    return XC_OK;
}

enum xc_status xc_bf16_panels(const struct xc_op_ctx *c, uint16_t **out, const float *m, int64_t ldm, int64_t N, int64_t K, bool cols, struct xc_err *err)
{
    struct pack p = { .kern = c->kern, .from = m, .ld_from = ldm, .N = N, .K = K };
    const size_t bytes = xc_panel_bf16_bytes(N, K);

    *out = p.to = xc_run_scratch(c->run, bytes);
    if (!p.to) return xc_fail_nomem(err, bytes);
    xc_pool_run(c->pool, cols ? pack_panel_cols : pack_panel_rows, &p, cols ? xc_div_up(K, ROWS) : xc_div_up(N, OUTPUTS));
    return XC_OK;
}

enum xc_status xc_gemm_bf16_run(const struct xc_op_ctx *c, const struct xc_epilogue *ep, const float *x, int64_t R, const float *w, int64_t N, int64_t K, struct xc_err *err)
{
    struct xc_gemm_bf16 g = { .N = N, .K = K, .ep = *ep };
    uint16_t *rows, *panels;

    XC_TRY(xc_bf16_panels(c, &panels, w, K, N, K, false, err));
    XC_TRY(xc_bf16_rows(c, &rows, &g.ldx, x, K, R, K, err));
    g.x = rows;
    g.w = panels;
    xc_gemm_tiles_bf16(c, &g, R);
    return XC_OK;
}
