/* sparse: see sparse.h. A row is quantized without its zeros: what is kept stands close together, so that scale and pair-sum rule are those of
 * the numbers that the kernel will multiply. */
#include "compress/prune/sparse.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compress/quantize/int8.h"

#define SLOTS 4          /* kept of each eight inputs, at most */
#define BLOCK_CROSSOVER 0.40 /* share of zero blocks from which gemm_block_s8 is faster than gemm_s8 on every machine: bench/sparse, 0.29 to 0.38 by shape with
                              * AVX2 (0.10 to 0.12 with AVX-512 VNNI), and a margin: a file does not know where it will run */

#define COMPACT_CROSSOVER 0.60 /* share of zeros from which gemm_steps_s8 is faster than gemm_s8 (bench/sparse: 0.33 to 0.57 by shape), and a margin; the
                               * runtime makes it dense again where fewer are left out or the level has no such kernel */

/* ---- choice ---- */
static void choose_compact(struct xc_encoding *want, const struct xc_encoding *now, int64_t rows, int64_t cols, enum xc_sparse_wish wish, char *why, size_t n)
{
    const double zeros = 1 - (double)now->n / ((double)rows * (double)cols);
    struct xc_encoding sparse = *want;
    size_t data, index, dense;

    sparse.structure = XC_STRUCT_COMPACT;
    sparse.n = now->n;
    if (now->n < 1 || xc_encoding_part_bytes(&sparse, rows, cols, XC_PART_DATA, &data, NULL) != XC_OK || xc_encoding_part_bytes(&sparse, rows, cols, XC_PART_INDEX, &index, NULL) != XC_OK ||
        xc_encoding_part_bytes(want, rows, cols, XC_PART_DATA, &dense, NULL) != XC_OK)
        return;
    if (zeros < COMPACT_CROSSOVER && !(wish == XC_SPARSE_SMALL && data + index < dense)) {
        snprintf(why, n, "%.0f%% zeros are too few to be faster: smaller on disk only", 100 * zeros);
        return;
    }
    *want = sparse;
    if (zeros < COMPACT_CROSSOVER) snprintf(why, n, "%.0f%% of numbers left out: smaller, not faster", 100 * zeros);
    else snprintf(why, n, "%.0f%% of numbers left out: faster with AVX-512 VBMI, as dense elsewhere", 100 * zeros);
}

void xc_sparse_choose(struct xc_encoding *want, const struct xc_encoding *now, int64_t rows, int64_t cols, enum xc_sparse_wish wish, char *why, size_t n)
{
    struct xc_encoding sparse = *want;
    double zeros;

    why[0] = 0;
    if (now->structure == XC_STRUCT_DENSE || now->layout != XC_LAYOUT_ROWS) return;
    snprintf(why, n, "zeros in place: smaller on disk only");
    if (wish == XC_SPARSE_NO) return;
    if (now->structure == XC_STRUCT_NM) {
        sparse.structure = XC_STRUCT_NM;
        sparse.n = now->n;
        sparse.m = now->m;
        if (xc_encoding_check(&sparse, rows, cols, NULL) != XC_OK) return;
        *want = sparse;
        snprintf(why, n, "%d:%d kept: 1.2 to 1.5 times as fast as dense", now->n, now->m);
        return;
    }
    if (now->structure == XC_STRUCT_COMPACT) choose_compact(want, now, rows, cols, wish, why, n);
    if (now->structure != XC_STRUCT_BLOCK || now->block_rows % 16 || now->block_cols % 4) return;
    if ((now->block_rows != 16 && rows % now->block_rows) || (now->block_cols != 4 && cols % now->block_cols)) return; /* edges would make the count unsure */
    const double kept = (double)now->n * (now->block_rows / 16) * (now->block_cols / 4), all = (double)xc_div_up(rows, 16) * (double)xc_div_up(cols, 4);

    zeros = 1 - kept / all;
    sparse.structure = XC_STRUCT_BLOCK;
    sparse.n = kept <= INT32_MAX ? (int32_t)kept : 0;
    sparse.block_rows = 16;
    sparse.block_cols = 4;
    if (xc_encoding_check(&sparse, rows, cols, NULL) != XC_OK) return;
    if (zeros < BLOCK_CROSSOVER && !(wish == XC_SPARSE_SMALL && kept * 66 < all * 64)) {
        snprintf(why, n, "%.0f%% zero blocks are too few to be faster: smaller on disk only", 100 * zeros);
        return;
    }
    *want = sparse;
    snprintf(why, n, "%.0f%% of blocks left out%s", 100 * zeros, zeros < BLOCK_CROSSOVER ? ": smaller, not faster" : "");
}

/* ---- work ---- */
struct job {
    const struct xc_kernels *kern;
    struct xc_encoding enc;
    const float *x;            /* (rows, cols), all of it */
    int64_t rows, cols;
    int8_t *data;
    uint8_t *index;            /* nm */
    const uint32_t *first;     /* block: of each panel */
    const uint16_t *quad;
    float *scale;
    struct xc_int8_sums *sums; /* by panel */
    int64_t *bad;              /* by panel: a row, or -1 */
    uint8_t *scratch;          /* a thread's: packed floats of a row, its bounds, its int8, its inputs */
    size_t scratch_each;
    int64_t slots;             /* of a row at most; a multiple of 8 */
};

static float *slots_of(const struct job *j, int thread, float **sums, int8_t **q, uint8_t **at)
{
    uint8_t *p = j->scratch + (size_t)thread * j->scratch_each;

    *sums = (float *)(void *)p + j->slots;
    *q = (int8_t *)(*sums + 2 * j->slots);
    *at = (uint8_t *)*q + j->slots;
    return (float *)(void *)p;
}

static bool quantize_row(const struct job *j, int64_t row, const float *slot, int64_t n, int8_t *q, float *sums)
{
    int64_t bad;

    j->scale[row] = 0;
    memset(q, 0, (size_t)j->slots);
    return n == 0 || xc_int8_rows(q, j->slots, &j->scale[row], &j->sums[row / 16], slot, 1, n, j->enc.sum16, sums, j->kern, &bad);
}

static bool nm_row(const struct job *j, int64_t row, int thread)
{
    const float *x = j->x + row * j->cols;
    float *sums, *slot;
    int8_t *q;
    uint8_t *at;

    slot = slots_of(j, thread, &sums, &q, &at);
    memset(slot, 0, (size_t)j->slots * sizeof *slot);
    memset(at, 0, (size_t)j->slots);
    for (int64_t k0 = 0; k0 < j->cols; k0 += 8) {
        int64_t s = k0 / 8 * SLOTS, end = s + SLOTS;

        for (int64_t k = k0; k < xc_min_i64(k0 + 8, j->cols); k++) {
            if (x[k] == 0.0f) continue;
            if (s == end) return false;
            slot[s] = x[k];
            at[s++] = (uint8_t)(k - k0);
        }
    }
    if (!quantize_row(j, row, slot, j->slots, q, sums)) return false;
    xc_pack_nm_row(j->data, j->index, row, j->cols, q, at);
    return true;
}

static bool block_row(const struct job *j, int64_t row, int thread)
{
    const float *x = j->x + row * j->cols;
    const uint32_t b0 = j->first[row / 16], b1 = j->first[row / 16 + 1];
    float *sums, *slot;
    int8_t *q;
    uint8_t *at;
    int64_t n = 0;

    slot = slots_of(j, thread, &sums, &q, &at);
    for (uint32_t b = b0; b < b1; b++)
        for (int64_t i = 0; i < 4; i++) slot[n++] = 4 * j->quad[b] + i < j->cols ? x[4 * j->quad[b] + i] : 0.0f;
    if (!quantize_row(j, row, slot, n, q, sums)) return false;
    for (int64_t i = 0; i < n; i++) j->data[64 * ((int64_t)b0 + i / 4) + row % 16 * 4 + i % 4] = q[i];
    return true;
}

static void quantize_panel(void *arg, int64_t panel, int thread)
{
    const struct job *j = arg;

    for (int64_t row = panel * 16; row < xc_min_i64(panel * 16 + 16, j->rows) && j->bad[panel] < 0; row++)
        if (!(j->enc.structure == XC_STRUCT_NM ? nm_row : block_row)(j, row, thread)) j->bad[panel] = row;
}

static bool is_zero(const struct job *j, int64_t panel, int64_t quad)
{
    for (int64_t r = panel * 16; r < xc_min_i64(panel * 16 + 16, j->rows); r++)
        for (int64_t k = quad * 4; k < xc_min_i64(quad * 4 + 4, j->cols); k++)
            if (j->x[r * j->cols + k] != 0.0f) return false;
    return true;
}

/* Fills the lists: every block that is not zero, and as many others, from the first, as make the number that was planned. */
static bool list_blocks(const struct job *j, uint32_t *first, uint16_t *quad)
{
    const int64_t panels = xc_div_up(j->rows, 16), across = xc_div_up(j->cols, 4);
    int64_t spare = j->enc.n;
    uint32_t n = 0;

    for (int64_t p = 0; p < panels; p++)
        for (int64_t k = 0; k < across; k++) spare -= !is_zero(j, p, k);
    if (spare < 0) return false;
    for (int64_t p = 0; p < panels; p++) {
        first[p] = n;
        for (int64_t k = 0; k < across; k++)
            if (!is_zero(j, p, k) || spare-- > 0) quad[n++] = (uint16_t)k;
    }
    first[panels] = n;
    return true;
}

static void report(struct xc_layer_report *l, const struct job *j)
{
    const int64_t held = j->enc.structure == XC_STRUCT_NM ? xc_round_up(j->rows, 16) * j->slots : 64 * (int64_t)j->enc.n;
    double error2 = 0, norm2 = 0;
    int64_t numbers = 0;

    l->clamped = 0;
    for (int64_t p = 0; p < xc_div_up(j->rows, 16); p++) {
        error2 += j->sums[p].error2;
        norm2 += j->sums[p].norm2;
        l->clamped += j->sums[p].clamped;
    }
    for (int64_t i = 0; i < held; i++) numbers += j->data[i] != 0;
    l->error = norm2 > 0 ? sqrt(error2 / norm2) : 0;
    l->sparsity = 1 - (double)numbers / ((double)j->rows * (double)j->cols);
}

static enum xc_status find_bad(const struct job *j, const struct xc_tensor *t, struct xc_err *err)
{
    for (int64_t p = 0; p < xc_div_up(j->rows, 16); p++) {
        if (j->bad[p] < 0) continue;
        for (int64_t k = 0; k < j->cols; k++)
            if (!isfinite(j->x[j->bad[p] * j->cols + k]))
                return xc_fail(err, XC_E_RANGE, "tensor '%s' is not finite at row %lld, column %lld: no int8 form stands for it", t->name, (long long)j->bad[p], (long long)k);
        return xc_fail(err, XC_E_FORMAT, "tensor '%s' is said to keep %d of %d inputs, row %lld keeps more", t->name, j->enc.n, j->enc.m, (long long)j->bad[p]);
    }
    return XC_OK;
}

static enum xc_status job_run(struct job *j, struct xc_work *w, int32_t id, struct xc_buf *part[XC_PART_COUNT], float *x, struct xc_err *err)
{
    struct xc_tensor *t = w->model->tensors[id];

    XC_TRY(xc_tensor_to_f32(t, x, err));
    if (j->enc.structure == XC_STRUCT_BLOCK) {
        uint32_t *first = (uint32_t *)(void *)part[XC_PART_INDEX]->data;

        j->first = first;
        j->quad = (const uint16_t *)(const void *)(first + xc_div_up(j->rows, 16) + 1);
        if (!list_blocks(j, first, (uint16_t *)(void *)(first + xc_div_up(j->rows, 16) + 1)))
            return xc_fail(err, XC_E_FORMAT, "tensor '%s' has more than the %d blocks of 16x4 it is said to keep", t->name, j->enc.n);
    }
    xc_pool_run(w->opts->pool, quantize_panel, j, xc_div_up(j->rows, 16));
    XC_TRY(find_bad(j, t, err));
    report(&w->layers[id], j);
    XC_TRY(xc_tensor_set_encoded(t, &j->enc, part, err));
    return xc_work_advance(w, "quantize", (double)j->rows * (double)j->cols, err);
}

enum xc_status xc_sparse_quantize(struct xc_work *w, int32_t id, struct xc_err *err)
{
    const struct xc_tensor *t = w->model->tensors[id];
    const int64_t rows = xc_tensor_rows(t), cols = xc_tensor_cols(t), panels = xc_div_up(rows, 16);
    struct job j = { .kern = xc_kernels(), .enc = w->want[id], .rows = rows, .cols = cols };
    struct xc_buf *part[XC_PART_COUNT] = { NULL };
    float *x = NULL;
    enum xc_status status = XC_OK;

    for (int p = 0; p < XC_PART_COUNT && status == XC_OK; p++) {
        size_t bytes;

        status = xc_encoding_part_bytes(&j.enc, rows, cols, (enum xc_part)p, &bytes, err);
        if (status == XC_OK && bytes) status = xc_buf_new(&part[p], bytes, err);
        if (part[p]) memset(part[p]->data, 0, bytes);
    }
    if (status != XC_OK) goto out;
    j.slots = j.enc.structure == XC_STRUCT_NM ? xc_round_up(cols, 16) / 2 : xc_round_up(cols, 8);
    j.scratch_each = (size_t)xc_round_up(j.slots * (4 + 8 + 1 + 1) + 64, XC_ALIGN);
    x = xc_alloc_aligned((size_t)(rows * cols) * sizeof *x);
    j.scratch = xc_alloc_aligned(j.scratch_each * (size_t)xc_pool_threads(w->opts->pool));
    j.sums = xc_calloc((size_t)panels, sizeof *j.sums);
    j.bad = xc_malloc((size_t)panels * sizeof *j.bad);
    if (!x || !j.scratch || !j.sums || !j.bad) {
        status = xc_fail_nomem(err, (size_t)(rows * cols) * sizeof *x);
        goto out;
    }
    memset(j.bad, 0xFF, (size_t)panels * sizeof *j.bad);
    j.x = x;
    j.data = (int8_t *)part[XC_PART_DATA]->data;
    j.index = part[XC_PART_INDEX]->data;
    j.scale = (float *)(void *)part[XC_PART_SCALE]->data;
    status = job_run(&j, w, id, part, x, err);
out:
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    xc_free(x);
    xc_free(j.scratch);
    xc_free(j.sums);
    xc_free(j.bad);
    return status;
}

enum xc_status xc_sparse_compact(struct xc_tensor *t, const struct xc_encoding *enc, const struct xc_buf *data, struct xc_buf *scale, struct xc_err *err)
{
    const int64_t rows = xc_tensor_rows(t), cols = xc_tensor_cols(t);
    struct xc_buf *part[XC_PART_COUNT] = { [XC_PART_SCALE] = scale };
    int8_t *q = xc_malloc((size_t)(rows * cols));
    size_t bytes;
    enum xc_status status = XC_OK;

    if (!q) return xc_fail_nomem(err, (size_t)(rows * cols));
    for (int p = 0; p < XC_PART_COUNT && status == XC_OK; p++) {
        if (p != XC_PART_DATA && p != XC_PART_INDEX) continue;
        status = xc_encoding_part_bytes(enc, rows, cols, (enum xc_part)p, &bytes, err);
        if (status == XC_OK) status = xc_buf_new(&part[p], bytes, err);
    }
    if (status == XC_OK) {
        memset(part[XC_PART_INDEX]->data, 0, bytes);
        xc_unpack_panel_s8(q, (const int8_t *)data->data, rows, cols);
        if (!xc_compact_pack((int8_t *)part[XC_PART_DATA]->data, part[XC_PART_INDEX]->data, q, enc->n, rows, cols))
            status = xc_fail(err, XC_E_FORMAT, "tensor '%s' has more than the %d numbers it is said to keep", t->name, enc->n);
    }
    if (status == XC_OK) status = xc_tensor_set_encoded(t, enc, part, err);
    xc_buf_unref(&part[XC_PART_DATA]);
    xc_buf_unref(&part[XC_PART_INDEX]);
    xc_free(q);
    return status;
}
