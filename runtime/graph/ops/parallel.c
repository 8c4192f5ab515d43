/* parallel: see parallel.h. */
#include "runtime/graph/ops/parallel.h"

#define BLOCK_NUMBERS 32768 /* of a block: enough work to be worth a hand-over, small enough to balance */

struct job {
    const struct xc_op_ctx *c;
    xc_rows_fn *fn;
    const void *arg;
    int64_t rows, block;
};

static void run_block(void *arg, int64_t item, int thread)
{
    const struct job *job = arg;

    (void)thread;
    job->fn(job->c, job->arg, item * job->block, xc_min_i64((item + 1) * job->block, job->rows));
}

void xc_rows_run(const struct xc_op_ctx *c, xc_rows_fn *fn, const void *arg, int64_t rows, int64_t cols)
{
    struct job job = { .c = c, .fn = fn, .arg = arg, .rows = rows, .block = xc_max_i64(1, BLOCK_NUMBERS / xc_max_i64(1, cols)) };

    xc_pool_run(c->pool, run_block, &job, xc_div_up(rows, job.block));
}
