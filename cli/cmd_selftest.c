/* selftest: the answers a model was made with, again, on this machine: every instruction set, one and two threads, one by one, all together
 * and in between. Checksums first. */
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
    CLI_BOOL(struct selftest_opts, quick, 0, "quick", "the best instruction set of this machine only"),
    CLI_QUIET(struct selftest_opts, quiet),
    CLI_JSON(struct selftest_opts, json),
    CLI_END
};

struct tally {
    const struct selftest_opts *o;
    struct cli_progress progress;
    json_t *cases;
    int done, total, failed;
    bool bad;
};

static void note(struct tally *t, const char *isa, int threads, enum xc_batching batching, int checked, enum xc_status status, const struct xc_err *err)
{
    char text[512];
    const char *error = status == XC_OK ? "" : xc_err_text(err, text, sizeof text);

    t->done++;
    t->failed += status != XC_OK;
    if (t->o->json) {
        t->bad |= json_array_append_new(t->cases, json_pack("{s:s, s:i, s:b, s:s, s:i, s:b, s:s}", "isa", isa, "threads", threads, "together", batching == XC_BATCH_ALL, "batching",
                                                            xc_batching_name(batching), "samples", checked, "ok", status == XC_OK, "error", error)) != 0;
        return;
    }
    cli_progress_clear();
    printf("%-12s %d thread%s  %-12s  %3d samples  %s\n", isa, threads, threads == 1 ? " " : "s", xc_batching_name(batching), checked, status == XC_OK ? "same" : error);
    fflush(stdout);
}

static int check_level(struct xc_model *m, const char *isa, struct tally *t)
{
    for (int threads = 1; threads <= 2; threads++) {
        struct xc_err err = { 0 };
        struct xc_pool *pool = NULL;

        if (xc_pool_new(&pool, threads, &err)) return cli_fail(&err);
        for (int b = 0; b < XC_BATCH_COUNT && !cli_cancelled(NULL); b++) {
            const struct xc_golden_setup setup = { .isa = isa, .pool = pool, .batching = (enum xc_batching)b };
            int checked = 0;
            const enum xc_status status = xc_golden_check(m, &setup, &checked, &err);

            note(t, isa, threads, setup.batching, checked, status, &err);
            if (t->progress.callbacks.update) t->progress.callbacks.update(t->progress.callbacks.arg, "selftest", t->done, t->total);
        }
        xc_pool_free(&pool);
    }
    return CLI_OK;
}

static int check_levels(struct xc_model *m, struct tally *t)
{
    const char *best = xc_kernels()->isa;
    int code = CLI_OK;

    for (const char *const *level = xc_kernels_levels(); *level; level++) t->total += xc_kernels_for(*level) != NULL;
    t->total = (t->o->quick ? 1 : t->total) * 2 * XC_BATCH_COUNT;
    if (t->o->quick) return check_level(m, best, t);
    for (const char *const *level = xc_kernels_levels(); *level && code == CLI_OK; level++)
        if (xc_kernels_for(*level)) code = check_level(m, *level, t);
    return code;
}

static int selftest_run(void *opts, int argc, char **argv)
{
    const struct xc_read_opts read = { .verify = true };
    struct tally t = { .o = opts, .cases = json_array() };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    json_t *doc;
    int code = CLI_OK;

    (void)argc;
    cli_progress_init(&t.progress, t.o->quiet);
    if (xc_container_read(&m, argv[0], &read, &err)) {
        json_decref(t.cases);
        return cli_fail(&err);
    }
    if (m->golden) code = check_levels(m, &t);
    else code = cli_failf("%s: carries no golden samples (its checksums are right)", argv[0]);
    cli_progress_done(&t.progress);
    xc_model_free(&m);
    doc = t.o->json && t.done ? json_pack("{s:b, s:i, s:i, s:O}", "ok", t.failed == 0, "checks", t.done, "failed", t.failed, "cases", t.cases) : NULL;
    json_decref(t.cases);
    if (t.o->json && t.done && cli_print_json(t.bad ? (json_decref(doc), NULL) : doc) != CLI_OK) return CLI_FAILED;
    if (code == CLI_OK && t.failed) return cli_failf("%s: %d of %d checks gave other answers than the file stores", argv[0], t.failed, t.done);
    if (code == CLI_OK && !t.o->json) printf("%s: the same answers in %d settings\n", argv[0], t.done);
    return code;
}

const struct cli_verb cli_verb_selftest = {
    .name = "selftest", .summary = "prove that a model gives the same answers here as where it was made", .usage = "MODEL.xc [--quick]",
    .details = "Verifies every checksum of the file, then runs its golden samples on each instruction set that this machine has, with one and two threads, one by one, in threes, and all in "
               "one batch, and compares the answers bit by bit with those stored when the file was made. The golden texts check the tokenizer. Exit code 1 at a difference.",
    .opts = table, .opts_size = sizeof(struct selftest_opts), .min_args = 1, .max_args = 1, .run = selftest_run,
};
