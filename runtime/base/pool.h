/* pool: a thread pool for short parallel steps.
 *
 * The caller owns the pool; sessions borrow it. A run works on the calling thread plus the workers. Workers spin briefly
 * between the steps of a run and sleep on a futex between runs, so that an idle pool costs nothing.
 * Results never depend on the number of threads: a step's items write disjoint outputs and nothing is reduced across items. */
#ifndef XC_RUNTIME_BASE_POOL_H
#define XC_RUNTIME_BASE_POOL_H

#include "runtime/base/base.h"

struct xc_pool;

/* threads >= 1 counts the calling thread; 0 means one per CPU the process may use (affinity mask, cgroup quota). Both functions are
 * part of the installed API too (runtime.h). A pool does not survive fork: the child has no workers. */
XC_API enum xc_status xc_pool_new(struct xc_pool **out, int threads, struct xc_err *err);
XC_API void xc_pool_free(struct xc_pool **pool);
int xc_pool_threads(const struct xc_pool *pool); /* 1 for NULL: NULL is a valid pool of one thread */

/* Calls fn(arg, item, thread) for item = 0..n-1, thread = 0..threads-1 (0 is the caller), and returns when all are done.
 * Items are handed out one by one in ascending order. n <= 0 does nothing; n == 1 runs on the caller. Not re-entrant (fn may not
 * run a step of the same pool); one caller at a time (others wait on a lock). What fn wrote is visible to the caller afterwards. */
typedef void xc_pool_fn(void *arg, int64_t item, int thread);
void xc_pool_run(struct xc_pool *pool, xc_pool_fn *fn, void *arg, int64_t n);

/* Brackets a sequence of xc_pool_run calls: workers stay awake (spinning) between begin and end. Optional, cheap; also holds
 * the pool for this caller, so that two sessions sharing a pool take turns whole run by whole run. Nests; begin and end on one thread. */
void xc_pool_begin(struct xc_pool *pool);
void xc_pool_end(struct xc_pool *pool);

#endif
