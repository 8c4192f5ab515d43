/* together: see together.h. */
#include "cli/together.h"

enum xc_status cli_together_open(struct cli_together *t, int64_t threads, bool quiet, struct xc_err *err)
{
    enum xc_status status;

    *t = (struct cli_together){ 0 };
    status = xc_ranks_open(&t->ranks, err);
    t->speaks = xc_ranks_speaks(t->ranks);
    cli_progress_init(&t->progress, quiet || !t->speaks);
    xc_ranks_watch(t->ranks, &t->progress.callbacks);
    return status == XC_OK ? xc_pool_new(&t->pool, (int)threads, err) : status;
}

bool cli_together_done(struct cli_together *t, enum xc_status status, int *code, struct xc_err *err)
{
    status = xc_ranks_agree(t->ranks, status, err);
    cli_progress_done(&t->progress);
    *code = status == XC_OK ? CLI_OK : t->speaks ? cli_fail(err) : CLI_FAILED;
    return status == XC_OK && t->speaks;
}

void cli_together_close(struct cli_together *t)
{
    if (t->pool) xc_pool_free(&t->pool);
    xc_ranks_close(&t->ranks);
}
