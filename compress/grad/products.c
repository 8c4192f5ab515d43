/* products: the two products of a linear's derivative, on gemm_f32 of the kernel table: out (R,N) = x (R,K) w (N,K)^T with w in panels of 16
 * outputs. Row-major matrices become panels by plain copies of 16 columns, so no second GEMM is needed.
 *
 *   dx (R,K) = dy (R,N) w (N,K)        panels: columns of w
 *   dw (N,K) += dy^T (N,R) x (R,K)     panels: columns of x and of dy, which serve as the transposed operand as they are; BLOCK rows at a time, in ascending order
 *
 * In bf16 (runtime/graph/run.h) the operands are rounded while they are packed.
 * Blocks have a fixed size and no sum is split over threads: the same bits for any number of them. */
#include <string.h>

#include "compress/grad/grad.h"
#include "compress/grad/loops.h"
#include "runtime/graph/ops/gemm.h"
#include "runtime/kernels/transpose4.h"

#define BLOCK 1024      /* rows summed by one product: three panels of it (192 KB) stay in the second-level cache */
#define BLOCK_BF16 2048 /* as many bytes */

int64_t xc_grad_panel_floats(int64_t N, int64_t K) { return xc_round_up(N, 16) * K; }

static void panel_col(float *panel, const float *m, int64_t ldm, int64_t K, int64_t n)
{
    if (n == 16)
        for (int64_t k = 0; k < K; k++) memcpy(panel + k * 16, m + k * ldm, 16 * sizeof *m);
    else
        for (int64_t k = 0; k < K; k++)
            for (int64_t i = 0; i < 16; i++) panel[k * 16 + i] = i < n ? m[k * ldm + i] : 0.0f;
}

void xc_grad_panel_cols(float *panel, const float *m, int64_t ldm, int64_t K, int64_t N)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16) panel_col(panel + n0 * K, m + n0, ldm, K, xc_min_i64(16, N - n0));
}

void xc_grad_panel_rows(float *panel, const float *m, int64_t ldm, int64_t N, int64_t K)
{
    for (int64_t n0 = 0; n0 < N; n0 += 16) {
        const int64_t n = xc_min_i64(16, N - n0);
        float *p = panel + n0 * K;

        if (n < 16) memset(p, 0, (size_t)(16 * K) * sizeof *p);
        xc_grad_transpose(p, 16, m + n0 * ldm, ldm, n, K);
    }
}

void xc_grad_transpose(float *t, int64_t ldt, const float *x, int64_t ldx, int64_t R, int64_t C)
{
    const int64_t whole_r = R / 4 * 4, whole_c = C / 4 * 4;

    for (int64_t c = 0; c < whole_c; c += 4)
        for (int64_t r = 0; r < whole_r; r += 4) xc_transpose4(t + c * ldt + r, ldt, x + r * ldx + c, ldx);
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = r < whole_r ? whole_c : 0; c < C; c++) t[c * ldt + r] = x[r * ldx + c];
}

#define BAND 64 /* rows of an item; xc_loops' sums of columns are over as many */

struct copy {
    float *to;
    const float *from;
    float *sums; /* (bands, C) or NULL */
    int64_t ld_from, R, C;
};

/* Item: a band of rows, eight at a time, which are read from one end to the other: as many streams as the machine can foresee. */
static void panel_item(void *arg, int64_t item, int thread)
{
    const struct copy *p = arg;
    const int64_t first = item * BAND, end = xc_min_i64(first + BAND, p->R), whole = p->C / 16 * 16;
    const float *from = p->from + first * p->ld_from;

    (void)thread;
    for (int64_t r0 = first; r0 < end; r0 += 8)
        for (int64_t c = 0; c < whole; c += 16)
            for (int64_t r = r0; r < xc_min_i64(r0 + 8, end); r++) memcpy(p->to + c * p->R + r * 16, p->from + r * p->ld_from + c, 16 * sizeof *p->to);
    if (whole < p->C) panel_col(p->to + whole * p->R + first * 16, from + whole, p->ld_from, end - first, p->C - whole);
    if (!p->sums) return;
    memset(p->sums + item * p->C, 0, (size_t)p->C * sizeof *p->sums);
    for (int64_t c = 0; c < p->C; c += XC_LOOPS_COLS)
        xc_loops()->col_sums(p->sums + item * p->C + c, NULL, from + c, p->ld_from, NULL, 0, end - first, xc_min_i64(XC_LOOPS_COLS, p->C - c));
}

/* sums (bands of 64 rows, C): NULL, or what the columns add up to, band by band. */
static void panels_of(const struct xc_grad_ctx *c, float *to, float *sums, const float *from, int64_t ld_from, int64_t R, int64_t C)
{
    struct copy p = { .to = to, .sums = sums, .from = from, .ld_from = ld_from, .R = R, .C = C };

    xc_pool_run(c->op->pool, panel_item, &p, xc_div_up(R, BAND));
}

/* db (N) += the sums of all bands, in their order */
static void add_bands(float *db, const float *sums, int64_t bands, int64_t N)
{
    for (int64_t n = 0; n < N; n++) {
        double sum = 0;

        for (int64_t i = 0; i < bands; i++) sum += (double)sums[i * N + n];
        db[n] += (float)sum;
    }
}

/* ---- in bf16 ---- */
static enum xc_status bf16_dx(const struct xc_grad_ctx *c, float *dx, int64_t ldx, const float *dy, int64_t ldy, const float *w, int64_t ldw, int64_t R, int64_t N, int64_t K,
                              bool fresh, struct xc_err *err)
{
    struct xc_gemm_bf16 g = { .N = K, .K = N, .ep = { .residual = fresh ? NULL : dx, .ld_residual = ldx, .out = dx, .ld_out = ldx } };
    uint16_t *rows, *panels;

    XC_TRY(xc_bf16_panels(c->op, &panels, w, ldw, K, N, true, err));
    XC_TRY(xc_bf16_rows(c->op, &rows, &g.ldx, dy, ldy, R, N, err));
    g.x = rows;
    g.w = panels;
    xc_gemm_tiles_bf16(c->op, &g, R);
    return XC_OK;
}

static enum xc_status bf16_dw(const struct xc_grad_ctx *c, float *dw, int64_t ldw, const float *dy, int64_t ldy, const float *x, int64_t ldx, int64_t R, int64_t N, int64_t K,
                              struct xc_err *err)
{
    for (int64_t r0 = 0; r0 < R; r0 += BLOCK_BF16) {
        const struct xc_scratch_mark mark = xc_scratch_save(&c->op->run->node);
        const int64_t n = xc_min_i64(BLOCK_BF16, R - r0);
        struct xc_gemm_bf16 g = { .x_panels = true, .N = K, .K = n, .ep = { .residual = dw, .ld_residual = ldw, .out = dw, .ld_out = ldw } };
        uint16_t *of_dy, *of_x;

        XC_TRY(xc_bf16_panels(c->op, &of_dy, dy + r0 * ldy, ldy, N, n, true, err));
        XC_TRY(xc_bf16_panels(c->op, &of_x, x + r0 * ldx, ldx, K, n, true, err));
        g.x = of_dy;
        g.w = of_x;
        xc_gemm_tiles_bf16(c->op, &g, N);
        xc_scratch_restore(&c->op->run->node, mark);
    }
    return XC_OK;
}

/* ---- a linear's derivative in bf16: what is needed of dy is made in one pass over it ---- */
struct of_dy {
    const struct xc_grad_ctx *c;
    const float *dy;
    uint16_t *rows, *panels; /* (R, ld_rows); those of block b from panels + b * BLOCK_BF16 * N16 */
    float *sums;             /* (items, N) or NULL */
    int64_t ld_rows, R, N, N16;
};

static void of_dy_item(void *arg, int64_t item, int thread)
{
    const struct of_dy *o = arg;
    const struct xc_kernels *kern = o->c->op->kern;
    const int64_t r0 = item * BAND, n = xc_min_i64(BAND, o->R - r0), b0 = r0 / BLOCK_BF16 * BLOCK_BF16, K2 = xc_round_up(xc_min_i64(BLOCK_BF16, o->R - b0), 2);
    const float *dy = o->dy + r0 * o->N;
    uint16_t *panels = o->panels + b0 * o->N16 + (r0 - b0) * 16;

    (void)thread;
    kern->bf16_rows(o->rows + r0 * o->ld_rows, o->ld_rows, dy, o->N, n, o->N);
    for (int64_t c = 0; c < o->N; c += 16) kern->bf16_panel_cols(panels + c * K2, dy + c, o->N, n, xc_min_i64(16, o->N - c));
    if (!o->sums) return;
    memset(o->sums + item * o->N, 0, (size_t)o->N * sizeof *o->sums);
    for (int64_t c = 0; c < o->N; c += XC_LOOPS_COLS) xc_loops()->col_sums(o->sums + item * o->N + c, NULL, dy + c, o->N, NULL, 0, n, xc_min_i64(XC_LOOPS_COLS, o->N - c));
}

static enum xc_status bf16_linear(const struct xc_grad_ctx *c, float *dx, bool fresh, float *dw, float *db, const float *dy, const float *x, const float *w, int64_t R, int64_t N, int64_t K,
                                  struct xc_err *err)
{
    const int64_t items = xc_div_up(R, BAND);
    struct of_dy o = { .c = c, .dy = dy, .ld_rows = xc_round_up(N, 2), .R = R, .N = N, .N16 = xc_round_up(N, 16) };
    struct xc_gemm_bf16 g = { .ldx = o.ld_rows, .N = K, .K = N, .ep = { .residual = fresh ? NULL : dx, .ld_residual = K, .out = dx, .ld_out = K } };
    uint16_t *panels;

    XC_TRY(xc_grad_scratch(c, &o.rows, (size_t)(R * o.ld_rows) * sizeof *o.rows, err));
    XC_TRY(xc_grad_scratch(c, &o.panels, (size_t)(xc_round_up(R, 2) * o.N16) * sizeof *o.panels, err));
    if (db) XC_TRY(xc_grad_scratch(c, &o.sums, (size_t)(items * N) * sizeof *o.sums, err));
    xc_pool_run(c->op->pool, of_dy_item, &o, items);
    if (db) add_bands(db, o.sums, items, N);
    XC_TRY(xc_bf16_panels(c->op, &panels, w, K, K, N, true, err));
    g.x = o.rows;
    g.w = panels;
    xc_gemm_tiles_bf16(c->op, &g, R);
    for (int64_t r0 = 0; r0 < R; r0 += BLOCK_BF16) {
        const struct xc_scratch_mark mark = xc_scratch_save(&c->op->run->node);
        const int64_t n = xc_min_i64(BLOCK_BF16, R - r0);
        struct xc_gemm_bf16 sum = { .x = o.panels + r0 * o.N16, .x_panels = true, .N = K, .K = n, .ep = { .residual = dw, .ld_residual = K, .out = dw, .ld_out = K } };

        XC_TRY(xc_bf16_panels(c->op, &panels, x + r0 * K, K, K, n, true, err));
        sum.w = panels;
        xc_gemm_tiles_bf16(c->op, &sum, N);
        xc_scratch_restore(&c->op->run->node, mark);
    }
    return XC_OK;
}

enum xc_status xc_grad_product_dx(const struct xc_grad_ctx *c, float *dx, int64_t ldx, const float *dy, int64_t ldy, const float *w, int64_t ldw,
                                  int64_t R, int64_t N, int64_t K, bool fresh, struct xc_err *err)
{
    struct xc_gemm_f32 g = { .x = dy, .ldx = ldy, .N = K, .K = N, .ep = { .residual = fresh ? NULL : dx, .ld_residual = ldx, .out = dx, .ld_out = ldx } };
    float *panels;

    if (c->op->run->bf16) return bf16_dx(c, dx, ldx, dy, ldy, w, ldw, R, N, K, fresh, err);
    XC_TRY(xc_grad_scratch(c, &panels, (size_t)xc_grad_panel_floats(K, N) * sizeof *panels, err));
    panels_of(c, panels, NULL, w, ldw, N, K);
    g.w = panels;
    xc_gemm_tiles_f32(c->op, &g, R);
    return XC_OK;
}

/* dw, and db (N) += the sums of dy's columns, NULL = not wanted. */
static enum xc_status dw_and_db(const struct xc_grad_ctx *c, float *dw, int64_t ldw, float *db, const float *dy, int64_t ldy, const float *x, int64_t ldx, int64_t R, int64_t N, int64_t K,
                                struct xc_err *err)
{
    const int64_t most = xc_min_i64(R, BLOCK);
    float *of_dy, *of_x, *sums = NULL;

    XC_TRY(xc_grad_scratch(c, &of_dy, (size_t)xc_grad_panel_floats(N, most) * sizeof *of_dy, err));
    XC_TRY(xc_grad_scratch(c, &of_x, (size_t)xc_grad_panel_floats(K, most) * sizeof *of_x, err));
    if (db) XC_TRY(xc_grad_scratch(c, &sums, (size_t)(xc_div_up(R, BAND) * N) * sizeof *sums, err));
    for (int64_t r0 = 0; r0 < R; r0 += BLOCK) {
        const int64_t n = xc_min_i64(BLOCK, R - r0);
        const struct xc_gemm_f32 g = { .x = of_dy, .ldx = 16 * n, .x_step = 16, .w = of_x, .N = K, .K = n, .ep = { .residual = dw, .ld_residual = ldw, .out = dw, .ld_out = ldw } };

        panels_of(c, of_dy, sums ? sums + r0 / BAND * N : NULL, dy + r0 * ldy, ldy, n, N);
        panels_of(c, of_x, NULL, x + r0 * ldx, ldx, n, K);
        xc_gemm_tiles_f32(c->op, &g, N);
    }
    if (db) add_bands(db, sums, xc_div_up(R, BAND), N);
    return XC_OK;
}

enum xc_status xc_grad_product_dw(const struct xc_grad_ctx *c, float *dw, int64_t ldw, const float *dy, int64_t ldy, const float *x, int64_t ldx,
                                  int64_t R, int64_t N, int64_t K, struct xc_err *err)
{
    if (c->op->run->bf16) return bf16_dw(c, dw, ldw, dy, ldy, x, ldx, R, N, K, err);
    return dw_and_db(c, dw, ldw, NULL, dy, ldy, x, ldx, R, N, K, err);
}

enum xc_status xc_grad_linear_products(const struct xc_grad_ctx *c, float *dx, bool fresh, float *dw, float *db, const float *dy, const float *x, const float *w, int64_t R, int64_t N, int64_t K,
                                       struct xc_err *err)
{
    if (c->op->run->bf16 && dx && dw) return bf16_linear(c, dx, fresh, dw, db, dy, x, w, R, N, K, err);
    if (dx) XC_TRY(xc_grad_product_dx(c, dx, K, dy, N, w, K, R, N, K, fresh, err));
    if (dw && !c->op->run->bf16) return dw_and_db(c, dw, K, db, dy, N, x, K, R, N, K, err);
    if (dw) XC_TRY(xc_grad_product_dw(c, dw, K, dy, N, x, K, R, N, K, err));
    xc_grad_col_sums(c, db, NULL, dy, N, NULL, 0, R, N);
    return XC_OK;
}
