/* measure-process: what check and bench start to see a fresh process; not for people. */
#include "cli/cli.h"
#include "compress/gate/measure.h"

struct measure_opts {
    int64_t tokens, batch, threads;
};

static const struct cli_opt table[] = {
    CLI_INT(struct measure_opts, tokens, 0, "tokens", "N", 0, 1 << 20, "128", "tokens of the measured run; 0 for none"),
    CLI_INT(struct measure_opts, batch, 0, "batch", "N", 1, 1 << 20, "1", "sequences of the measured run"),
    CLI_INT(struct measure_opts, threads, 0, "threads", "N", 0, 1024, "1", "threads"),
    CLI_END
};

static int run(void *opts, int argc, char **argv)
{
    const struct measure_opts *const o = opts;
    struct xc_err err = { 0 };

    (void)argc;
    return xc_measure_child(1, argv[0], (int)o->threads, (int32_t)o->tokens, (int32_t)o->batch, &err) ? cli_fail(&err) : CLI_OK;
}

const struct cli_verb cli_verb_measure_process = {
    .name = "measure-process", .summary = "start, answer, and say how long it took", .usage = "MODEL [options]", .opts = table, .opts_size = sizeof(struct measure_opts),
    .min_args = 1, .max_args = 1, .run = run, .hidden = true,
};
