/* gptq: see gptq.h. Rows lie side by side, [input][row], so that an error goes to all rows of an input at once. */
#include "compress/quantize/gptq.h"

#include <math.h>
#include <string.h>

#include "compress/calibrate/hessian.h"
#include "runtime/base/half.h"
#include "runtime/kernels/kernels.h"

#define R16 XC_GPTQ_ROWS
#define TILE 128
#define BLOCK 64 /* inputs whose errors reach the inputs after the block together */

/* Stable, largest first; by insertion: this runs once a layer. */
static void order_by(int32_t *order, const float *weight, int64_t K)
{
    for (int64_t i = 1; i < K; i++) {
        const int32_t at = order[i];
        int64_t j = i;

        for (; j > 0 && weight[order[j - 1]] < weight[at]; j--) order[j] = order[j - 1];
        order[j] = at;
    }
}

static double moment(const struct xc_gptq_moments *m, int64_t K, int64_t i, int64_t j)
{
    return (double)(m->mean ? (float)((double)m->h[i * m->ld + j] - m->mean[i] * (double)m->h[j * m->ld + K]) : m->h[i * m->ld + j]);
}

/* ut = the upper triangle of a, transposed; tile by tile. */
static void turn_over(float *ut, const double *a, int64_t K)
{
    for (int64_t j0 = 0; j0 < K; j0 += TILE)
        for (int64_t i0 = 0; i0 < K; i0 += TILE)
            for (int64_t j = j0; j < xc_min_i64(j0 + TILE, K); j++)
                for (int64_t i = i0; i < xc_min_i64(i0 + TILE, K); i++) ut[j * K + i] = i <= j ? (float)a[i * K + j] : 0.0f;
}

/* One square of doubles, and then one of floats beside it: of a wide layer these decide how much memory the whole run takes. */
enum xc_status xc_gptq_init(struct xc_gptq *g, const struct xc_gptq_moments *m, const float *weight, int64_t K, int64_t group, double *damp, bool act_order, struct xc_spill *spill,
                            struct xc_err *err)
{
    double *a = NULL;
    enum xc_status status;

    *g = (struct xc_gptq){ .K = K, .group = group, .act_order = act_order, .weight = weight, .spill = spill };
    g->order = xc_malloc((size_t)K * sizeof *g->order);
    status = g->order ? xc_hessian_square(&a, K, spill, err) : xc_fail_nomem(err, (size_t)K * sizeof *g->order);
    if (status == XC_OK) {
        for (int64_t i = 0; i < K; i++) g->order[i] = (int32_t)i;
        if (act_order) order_by(g->order, weight, K);
        for (int64_t i = 0; i < K; i++)
            for (int64_t j = 0; j < K; j++) a[i * K + j] = moment(m, K, g->order[i], g->order[j]);
        status = xc_hessian_factor(a, K, damp, err);
    }
    if (status == XC_OK) status = xc_spill_matrix((void **)&g->ut, spill, K, K, sizeof *g->ut, false, err);
    if (status == XC_OK) turn_over(g->ut, a, K);
    xc_spill_drop(spill, a);
    if (status != XC_OK) xc_gptq_release(g);
    return status;
}

void xc_gptq_release(struct xc_gptq *g)
{
    xc_free(g->order);
    xc_spill_drop(g->spill, g->ut);
    *g = (struct xc_gptq){ 0 };
}

size_t xc_gptq_scratch(int64_t K) { return ((size_t)K + XC_S4_GROUP_MAX) * R16 + (size_t)K; } /* weights, a block's errors, a line */

/* w[j] -= sum over inputs [from,to) of err[i] U[i][j] */
static void take_out(float *w, const float *err, const float *ut, int64_t from, int64_t to)
{
    float sum[R16] = { 0 };

    for (int64_t i = from; i < to; i++)
        for (int r = 0; r < R16; r++) sum[r] += err[(i - from) * R16 + r] * ut[i];
    for (int r = 0; r < R16; r++) w[r] -= sum[r];
}

/* The group of inputs [k0,k1) of row r, as it is now, to its scale. */
static bool find_scale(const struct xc_gptq *g, const struct xc_lowbit *f, const float *w, int64_t r, int64_t k0, int64_t k1, uint16_t row_scale, uint16_t *scale, uint8_t *zero, float *line)
{
    for (int64_t k = k0; k < k1; k++) line[k - k0] = w[k * R16 + r];
    return xc_lowbit_scale(f, line, g->weight + k0, k1 - k0, row_scale, scale, zero);
}

bool xc_gptq_rows(const struct xc_gptq *g, const struct xc_lowbit *f, uint8_t *u, const uint16_t *row_scale, uint16_t *scale, uint8_t *zero, const float *x, int64_t R, float *scratch, int64_t *bad)
{
    const int64_t K = g->K, groups = xc_div_up(K, g->group), block = g->group % BLOCK ? g->group : BLOCK;
    float *w = scratch, *err = w + K * R16, *line = err + XC_S4_GROUP_MAX * R16;

    *bad = -1;
    for (int64_t r = 0; r < R; r++)
        for (int64_t i = 0; i < groups; i++)
            if (!xc_lowbit_scale(f, x + r * K + i * g->group, g->weight + i * g->group, xc_min_i64(g->group, K - i * g->group), row_scale[r], &scale[r * groups + i], &zero[r * groups + i])) {
                *bad = r * K + i * g->group;
                return false;
            }
    memset(w, 0, (size_t)(K * R16) * sizeof *w);
    for (int64_t j = 0; j < K; j++)
        for (int64_t r = 0; r < R; r++) w[j * R16 + r] = x[r * K + g->order[j]];
    for (int64_t b = 0; b < K; b += block) {
        const int64_t end = xc_min_i64(b + block, K);

        for (int64_t j = b; j < end; j++) {
            const int64_t k = g->order[j], at = k / g->group;
            const float inverse = 1.0f / g->ut[j * K + j];

            take_out(w + j * R16, err, g->ut + j * K, b, j);
            if (!g->act_order && k % g->group == 0) { /* a block begins here: all errors so far have reached the group */
                for (int64_t r = 0; r < R; r++)
                    if (!find_scale(g, f, w, r, k, xc_min_i64(k + g->group, K), row_scale[r], &scale[r * groups + at], &zero[r * groups + at], line)) {
                        *bad = r * K + k;
                        return false;
                    }
            }
            memset(err + (j - b) * R16, 0, R16 * sizeof *err);
            for (int64_t r = 0; r < R; r++) {
                const uint16_t s = scale[r * groups + at];
                const uint8_t z = zero[r * groups + at];
                const float now = w[j * R16 + r];

                xc_lowbit_round(f, &u[r * K + k], &now, 1, s, z);
                err[(j - b) * R16 + r] = (now - xc_f16_to_f32(s) * ((float)u[r * K + k] - xc_lowbit_zero(f, z))) * inverse;
            }
        }
        for (int64_t j = end; j < K; j++) take_out(w + j * R16, err, g->ut + j * K, b, end);
    }
    return true;
}
