/* quantize_grouped: see quantize_grouped.h. Sixteen rows a work item, read by the thread that treats them. */
#include "compress/quantize/quantize_grouped.h"

#include <math.h>
#include <string.h>

#include "compress/quantize/quantize.h"
#include "runtime/base/half.h"
#include "runtime/graph/grouped.h"

#define ROWS XC_GPTQ_ROWS         /* of a work item: whole panels */
#define ROUND ((int64_t)4 << 20)  /* numbers between two looks at the caller's wish to stop, about */

struct sums {
    double error2, norm2;
    int64_t zeros;
};

struct job {
    const struct xc_grouped_how *how;
    struct xc_encoding enc;
    struct xc_rounds rounds;
    int64_t cols, group, groups;
    struct xc_buf **part;
    uint8_t *scratch;    /* of all threads */
    size_t scratch_each;
    struct sums *sums;   /* per item of the tensor */
};

typedef float v4f __attribute__((vector_size(16)));
typedef double v4d __attribute__((vector_size(32)));
typedef int32_t v4i __attribute__((vector_size(16)));
typedef uint8_t v4u __attribute__((vector_size(4)));

/* Four running sums, added in a fixed order: the same bits with any compiler. */
static void add_sums(struct sums *s, const struct job *j, const float *x, const uint8_t *u, const uint16_t *scale, const uint8_t *zero)
{
    v4d error2 = { 0 }, norm2 = { 0 };

    for (int64_t g = 0, k = 0; k < j->cols; g++) {
        const float step = xc_f16_to_f32(scale[g]), at = xc_lowbit_zero(&j->how->lowbit, zero[g]);
        const int64_t first = k, end = xc_min_i64(k + j->group, j->cols);
        v4i same = { 0 };
        int32_t zeros = 0;

        for (; k + 4 <= end; k += 4) {
            v4u levels;
            v4f was;

            memcpy(&levels, u + k, sizeof levels);
            memcpy(&was, x + k, sizeof was);
            const v4f q = __builtin_convertvector(__builtin_convertvector(levels, v4i), v4f);
            const v4d v = __builtin_convertvector(was, v4d), d = v - __builtin_convertvector(step * (q - at), v4d);

            same -= q == at;
            error2 += d * d;
            norm2 += v * v;
        }
        for (; k < end; k++) {
            const double d = (double)x[k] - (double)(step * ((float)u[k] - at));

            zeros += (float)u[k] == at;
            error2[0] += d * d;
            norm2[0] += (double)x[k] * (double)x[k];
        }
        s->zeros += step == 0.0f ? end - first : zeros + same[0] + same[1] + same[2] + same[3];
    }
    s->error2 += (error2[0] + error2[1]) + (error2[2] + error2[3]);
    s->norm2 += (norm2[0] + norm2[1]) + (norm2[2] + norm2[3]);
}

static bool round_rows(const struct job *j, uint8_t *u, uint16_t *row_scale, uint16_t *scale, uint8_t *zero, const float *x, int64_t n, float *scratch, int64_t *bad)
{
    const struct xc_grouped_how *how = j->how;

    for (int64_t r = 0; r < n; r++) {
        *bad = r * j->cols;
        if (!xc_lowbit_row_scale(&how->lowbit, x + *bad, j->cols, j->group, &row_scale[r])) return false;
    }
    if (how->gptq) return xc_gptq_rows(how->gptq, &how->lowbit, u, row_scale, scale, zero, x, n, scratch, bad);
    for (int64_t r = 0; r < n; r++)
        for (int64_t g = 0; g < j->groups; g++) {
            const int64_t k = g * j->group, at = r * j->cols + k, count = xc_min_i64(j->group, j->cols - k), side = r * j->groups + g;

            *bad = at;
            if (!xc_lowbit_scale(&how->lowbit, x + at, how->weight ? how->weight + k : NULL, count, row_scale[r], &scale[side], &zero[side])) return false;
            xc_lowbit_round(&how->lowbit, u + at, x + at, count, scale[side], zero[side]);
        }
    return true;
}

static void quantize_item(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const int64_t first = item * ROWS, n = xc_min_i64(ROWS, j->rounds.rows - first), row = j->rounds.row0 + first;
    const float *x = xc_reading_rows(j->rounds.reading, j->rounds.t, row, n, row / ROWS, thread);
    float *scratch = (float *)(void *)(j->scratch + (size_t)thread * j->scratch_each);
    uint16_t *scale = (uint16_t *)(void *)(scratch + (j->how->gptq ? xc_gptq_scratch(j->cols) : 0)), row_scale[ROWS];
    uint8_t *zero = (uint8_t *)(scale + ROWS * j->groups), *u = zero + ROWS * j->groups;
    struct sums *s = &j->sums[row / ROWS];
    int64_t bad;

    if (!x) return;
    if (!round_rows(j, u, row_scale, scale, zero, x, n, scratch, &bad)) {
        j->rounds.bad[row / ROWS] = row * j->cols + bad;
        return;
    }
    for (int64_t r = 0; r < n; r++) {
        add_sums(s, j, x + r * j->cols, u + r * j->cols, scale + r * j->groups, zero + r * j->groups);
        xc_grouped_put_row(&j->enc, xc_tensor_rows(j->rounds.t), j->cols, j->part, row + r, u + r * j->cols, row_scale[r], scale + r * j->groups, zero + r * j->groups);
    }
}

static void report(struct xc_layer_report *l, const struct job *j, int64_t items, int64_t count)
{
    struct sums s = { 0 };

    for (int64_t i = 0; i < items; i++) {
        s.error2 += j->sums[i].error2;
        s.norm2 += j->sums[i].norm2;
        s.zeros += j->sums[i].zeros;
    }
    l->error = s.norm2 > 0 ? sqrt(s.error2 / s.norm2) : 0;
    l->sparsity = (double)s.zeros / (double)count;
}

enum xc_status xc_quantize_grouped(struct xc_work *w, int32_t id, const struct xc_grouped_how *how, struct xc_err *err)
{
    struct xc_tensor *t = w->model->tensors[id];
    const int64_t rows = xc_tensor_rows(t), cols = xc_tensor_cols(t), items = xc_div_up(rows, ROWS), group = xc_grouped_group(&w->want[id], cols);
    const size_t threads = (size_t)xc_pool_threads(w->opts->pool);
    struct xc_reading reading = { 0 };
    struct job j = { .how = how, .rounds = { .t = t, .reading = &reading, .item_rows = ROWS, .numbers = ROUND }, .enc = w->want[id], .cols = cols, .group = group, .groups = xc_div_up(cols, group) };
    struct xc_buf *part[XC_PART_COUNT] = { NULL };
    enum xc_status status = XC_OK;
    size_t bytes;

    for (int p = 0; p < XC_PART_COUNT && status == XC_OK; p++) {
        status = xc_encoding_part_bytes(&j.enc, rows, cols, (enum xc_part)p, &bytes, err);
        if (status == XC_OK && bytes) status = xc_buf_new(&part[p], bytes, err);
        if (status == XC_OK && bytes) memset(part[p]->data, 0, bytes);
    }
    if (status != XC_OK) goto out;
    j.part = part;
    j.scratch_each = (size_t)xc_round_up((int64_t)(how->gptq ? xc_gptq_scratch(cols) : 0) * 4 + ROWS * (3 * j.groups + cols), XC_ALIGN);
    j.scratch = xc_alloc_aligned(j.scratch_each * threads);
    j.sums = xc_calloc((size_t)items, sizeof *j.sums);
    j.rounds.bad = xc_malloc((size_t)items * sizeof *j.rounds.bad);
    XC_TRY_GOTO(xc_reading_init(&reading, (int)threads, xc_min_i64(ROWS, rows) * cols, err), out);
    if (!j.scratch || !j.sums || !j.rounds.bad) {
        status = xc_fail_nomem(err, j.scratch_each);
        goto out;
    }
    XC_TRY_GOTO(xc_quantize_rounds(w, &j.rounds, quantize_item, &j, "not finite, or too large for an f16 scale, in the group of", "", err), out);
    report(&w->layers[id], &j, items, rows * cols);
    XC_TRY_GOTO(xc_tensor_set_encoded(t, &j.enc, part, err), out);
out:
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    xc_reading_release(&reading);
    xc_free(j.scratch);
    xc_free(j.sums);
    xc_free(j.rounds.bad);
    return status;
}
