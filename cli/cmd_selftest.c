/* selftest: the answers a model was made with, again, on this machine: every instruction set, one and two threads, one by one and together. */
#include <stdio.h>

#include "cli/cli.h"
#include "formats/json.h"
#include "runtime/base/pool.h"
#include "runtime/container/container.h"
#include "runtime/session/golden.h"

struct selftest_opts {
    bool quick, json, quiet;
};

static const struct cli_opt table[] = {
    CLI_BOOL(struct selftest_opts, quick, 0, "quick", "the best instruction set only"),
    CLI_QUIET(struct selftest_opts, quiet),
    CLI_JSON(struct selftest_opts, json),
    CLI_END
};

struct tally {
    json_t *cases;
    int done, failed;
    bool bad;
};

static void note(struct tally *t, const char *isa, int threads, bool together, int checked, enum xc_status status, const struct xc_err *err, bool json)
{
    char text[512];

    t->done++;
    t->failed += status != XC_OK;
    if (!json) printf("%-12s %d thread%s  %-10s  %d samples  %s\n", isa, threads, threads == 1 ? " " : "s", together ? "together" : "one by one", checked, status == XC_OK ? "same" : xc_err_text(err, text, sizeof text));
    else
        t->bad |= json_array_append_new(t->cases, json_pack("{s:s, s:i, s:b, s:i, s:b, s:s}", "isa", isa, "threads", threads, "together", together, "samples", checked, "ok", status == XC_OK, "error",
                                                            status == XC_OK ? "" : err->msg)) != 0;
}

static int check_level(struct xc_model *m, const char *isa, const struct selftest_opts *o, struct tally *t)
{
    struct xc_err err = { 0 };

    for (int threads = 1; threads <= 2; threads++) {
        struct xc_pool *pool = NULL;

        if (xc_pool_new(&pool, threads, &err)) return cli_fail(&err);
        for (int together = 0; together < 2; together++) {
            const struct xc_golden_setup setup = { .isa = isa, .pool = pool, .batching = together ? XC_BATCH_ALL : XC_BATCH_ONE };
            int checked = 0;
            enum xc_status status;

            if (cli_cancelled(NULL)) break;
            status = xc_golden_check(m, &setup, &checked, &err);
            note(t, isa, threads, together, checked, status, &err, o->json);
        }
        xc_pool_free(&pool);
    }
    return CLI_OK;
}

static int selftest_run(void *opts, int argc, char **argv)
{
    const struct selftest_opts *const o = opts;
    const struct xc_read_opts read = { .verify = true };
    struct tally t = { .cases = json_array() };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    int code = CLI_OK;

    (void)argc;
    if (xc_container_read(&m, argv[0], &read, &err)) {
        json_decref(t.cases);
        return cli_fail(&err);
    }
    if (!m->golden) {
        code = cli_failf("%s: carries no golden samples (an f32 model is not bit-exact everywhere)", argv[0]);
    } else if (o->quick) {
        code = check_level(m, xc_kernels()->isa, o, &t);
    } else {
        for (const char *const *level = xc_kernels_levels(); *level && code == CLI_OK; level++)
            if (xc_kernels_for(*level)) code = check_level(m, *level, o, &t);
    }
    xc_model_free(&m);
    if (code == CLI_OK && t.failed) code = cli_failf("%s: %d of %d checks gave other answers than the file stores", argv[0], t.failed, t.done);
    if (o->json && t.done) {
        if (t.bad) json_decref(t.cases);
        cli_print_json(t.bad ? NULL : json_pack("{s:b, s:i, s:i, s:o}", "ok", t.failed == 0, "checks", t.done, "failed", t.failed, "cases", t.cases));
    } else {
        json_decref(t.cases);
    }
    return code;
}

const struct cli_verb cli_verb_selftest = {
    .name = "selftest", .summary = "prove that a model gives the same answers here as where it was made", .usage = "MODEL.xc [--quick]",
    .opts = table, .opts_size = sizeof(struct selftest_opts), .min_args = 1, .max_args = 1, .run = selftest_run,
};
