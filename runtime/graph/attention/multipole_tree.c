/* multipole_tree: a balanced k-d tree (Bentley 1975) of rows, in coordinates that tell how a difference of keys moves scores.
 *
 * A key that is moved by d moves the score of query q by q . d, so the distance of keys is d' Mq d with Mq the queries' second moment; likewise that of
 * queries with Mk, of the keys about their mean. Principal axes of the keys in their metric are the W with Mq Mk W = W L, W' Mk W = I (times the root of L),
 * those of the queries Mk W: one eigenvalue problem for both, solved for the XC_TREE_AXES greatest by a few steps of subspace iteration. Axes need not be
 * exact. Sums have a fixed order, and rows are told apart by their place where they are equal. */
#include <math.h>
#include <string.h>

#include "runtime/base/base.h"
#include "runtime/graph/attention/multipole_tree.h"
#include "runtime/kernels/scalar/math.h"

#define A XC_TREE_AXES
#define SAMPLE 256 /* rows */

static float dot(const float *a, const float *b, int64_t n)
{
    float sum = 0.0f;

    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

/* y += a x */
static void add_row(float *restrict y, float a, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* y (D) = x (D) m (D,D) */
static void times(float *y, const float *x, const float *m, int64_t D)
{
    memset(y, 0, (size_t)D * sizeof *y);
    for (int64_t d = 0; d < D; d++) add_row(y, x[d], m + d * D, D);
}

void xc_tree_moments(float *m, float *row, const float *x, int64_t ldx, int64_t n, int64_t D, float mean)
{
    const int64_t R = xc_min_i64(n, SAMPLE);
    float *about = row + D;

    memset(about, 0, (size_t)D * sizeof *about);
    for (int64_t r = 0; r < R; r++) add_row(about, mean / (float)R, x + r * n / R * ldx, D);
    for (int64_t r = 0; r < R; r++) {
        memcpy(row, x + r * n / R * ldx, (size_t)D * sizeof *row);
        add_row(row, -1.0f, about, D);
        for (int64_t d = 0; d < D; d++) add_row(m + d * D, row[d] / (float)R, row, D);
    }
}

void xc_tree_axes(float *key_axis, float *query_axis, const float *mq, const float *mk, int64_t D, float *room)
{
    float *w = room, *u = room + A * D; /* axes are rows; u = w mk */
    uint32_t seed = 1;

    for (int64_t i = 0; i < A * D; i++) {
        seed = seed * 1664525u + 1013904223u;
        u[i] = (float)(seed >> 8) * 0x1p-23f - 1.0f;
    }
    for (int step = 0; step < 8; step++) {
        for (int64_t i = 0; i < A; i++) times(w + i * D, u + i * D, mq, D);
        for (int64_t i = 0; i < A; i++) { /* Gram-Schmidt, in the metric of the keys */
            float *wi = w + i * D, *ui = u + i * D, norm, inverse;

            for (int64_t j = 0; j < i; j++) add_row(wi, -dot(wi, u + j * D, D), w + j * D, D);
            times(ui, wi, mk, D);
            norm = sqrtf(xc_max_f32(dot(wi, ui, D), 0.0f)); /* at last the eigenvalue, which is the variance of scores along this axis */
            inverse = norm > 1e-30f ? 1.0f / norm : 0.0f;   /* there may be fewer axes */
            for (int64_t d = 0; d < D; d++) {
                wi[d] *= inverse, ui[d] *= inverse;
                key_axis[d * A + i] = wi[d] * sqrtf(norm);
                query_axis[d * A + i] = ui[d];
            }
        }
    }
}

/* Numbers in ascending order as unsigned ones; NaN comes last or first, but somewhere. */
static uint64_t rank_of(float x, int32_t row)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)row;
}

/* The n0 least of n different numbers come first. Partitions have no branches, which nobody could foresee. */
static void select_least(uint64_t *x, int64_t n, int64_t n0)
{
    while (n > 1 && n0 > 0 && n0 < n) {
        const uint64_t a = x[0], b = x[n / 2], c = x[n - 1], pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t below = 0; /* numbers up to the pivot; it is one of them, and not the greatest unless n is 2 */

        for (int64_t i = 0; i < n; i++) {
            const uint64_t t = x[i];

            x[i] = x[below];
            x[below] = t;
            below += t <= pivot;
        }
        if (below == n) { /* the pivot is the greatest: it stands aside */
            for (int64_t i = 0; i < n; i++)
                if (x[i] == pivot) {
                    x[i] = x[n - 1];
                    x[n - 1] = pivot;
                }
            below = n - 1;
        }
        if (n0 <= below) n = below;
        else x += below, n -= below, n0 -= below;
    }
}

/* The axis along which the rows vary most; of many rows, a sample. */
static int widest(const int32_t *row, const float *x, int64_t n)
{
    const int64_t R = xc_min_i64(n, 256);
    float sum[A] = { 0 }, square[A] = { 0 }, most = -1.0f;
    int axis = 0;

    for (int64_t r = 0; r < R; r++) {
        const float *p = x + (int64_t)row[r * n / R] * A;

        for (int i = 0; i < A; i++) {
            sum[i] += p[i];
            square[i] += p[i] * p[i];
        }
    }
    for (int i = 0; i < A; i++) {
        const float var = square[i] - sum[i] * (sum[i] / (float)R);

        if (var > most) most = var, axis = i;
    }
    return axis;
}

void xc_tree_order(int32_t *order, const float *x, int64_t n, int64_t leaf, uint64_t *room)
{
    struct { int64_t first, n; } stack[64]; /* halves wait: as many as levels */
    int waiting = 0;

    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    stack[waiting].first = 0, stack[waiting++].n = n;
    while (waiting) {
        const int64_t first = stack[--waiting].first, len = stack[waiting].n, half = (xc_div_up(len, leaf) + 1) / 2 * leaf;
        int32_t *row = order + first;

        if (len <= leaf) continue;

        const int axis = widest(row, x, len);

        for (int64_t i = 0; i < len; i++) room[i] = rank_of(x[(int64_t)row[i] * A + axis], row[i]);
        select_least(room, len, half);
        for (int64_t i = 0; i < len; i++) row[i] = (int32_t)(uint32_t)room[i];
        stack[waiting].first = first + half, stack[waiting++].n = len - half;
        stack[waiting].first = first, stack[waiting++].n = half;
    }
}
