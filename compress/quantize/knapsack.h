/* knapsack: one choice for each item, so that the costs sum to the least within a budget of bytes; or the fewest bytes within a budget of cost.
 * The multiple-choice knapsack problem, by dynamic programming over bytes (Dudzinski & Walukiewicz 1987, Eur. J. Oper. Res. 28(1)). Pure arithmetic.
 *
 * Exact while the table fits: bytes are counted in their greatest common measure. Beyond that (XC_KNAPSACK_CELLS) they are counted in a coarser one,
 * rounded up, so that a budget still holds, and what rounding left over is spent afterwards where it helps most. */
#ifndef XC_COMPRESS_QUANTIZE_KNAPSACK_H
#define XC_COMPRESS_QUANTIZE_KNAPSACK_H

#include "runtime/base/base.h"

#define XC_KNAPSACK_CELLS ((int64_t)1 << 26) /* bytes of the table */

struct xc_knapsack_item {
    int32_t n;              /* choices, 1 to 255 */
    const uint64_t *bytes;  /* n */
    const double *cost;     /* n; finite, not negative */
};

/* pick (n): of all choices whose bytes sum to at most `bytes`, one of least cost. XC_E_RANGE when none fits. cells 0 = XC_KNAPSACK_CELLS. */
enum xc_status xc_knapsack_cost(int32_t *pick, const struct xc_knapsack_item *items, int32_t n, uint64_t bytes, int64_t cells, struct xc_err *err);

/* pick (n): of all choices whose costs sum to at most `cost`, one of fewest bytes. XC_E_RANGE when none fits. */
enum xc_status xc_knapsack_bytes(int32_t *pick, const struct xc_knapsack_item *items, int32_t n, double cost, int64_t cells, struct xc_err *err);

#endif
