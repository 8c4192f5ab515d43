/* together: what verbs share whose work several processes may do at once (mpirun, compress/ranks.h): ranks, progress bar and threads are opened and ended in
 * one order, and one of the processes speaks. */
#ifndef XC_CLI_TOGETHER_H
#define XC_CLI_TOGETHER_H

#include "cli/cli.h"
#include "compress/ranks.h"
#include "runtime/base/pool.h"

struct cli_together {
    struct xc_ranks *ranks; /* NULL = alone */
    struct xc_pool *pool;
    struct cli_progress progress;
    bool speaks;            /* this process writes messages and results */
};

/* To be closed in any case. */
enum xc_status cli_together_open(struct cli_together *t, int64_t threads, bool quiet, struct xc_err *err);

/* After the work, of which status is this process's own: all agree, the bar goes. True: this one is to print the result; false: *code is what to return,
 * and an error has been said. */
bool cli_together_done(struct cli_together *t, enum xc_status status, int *code, struct xc_err *err);

void cli_together_close(struct cli_together *t);

#endif
