/* reproduce: rebuilds a file from its manifest and the checkpoint it came from, and compares. */
#include <stdio.h>

#include "cli/cli.h"
#include "formats/json.h"
#include "runtime/base/pool.h"
#include "xcompress/compress.h"

struct reproduce_opts {
    const char *from, *calibrate, *train;
    int64_t threads;
    bool json, quiet;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct reproduce_opts, from, 'f', "from", "DIR", NULL, "the checkpoint that the file was made from"),
    CLI_STRING(struct reproduce_opts, calibrate, 'c', "calibrate", "FILE", NULL, "the calibration texts that it was made with, when there were any"),
    CLI_STRING(struct reproduce_opts, train, 0, "train", "FILE", NULL, "the rows that its head was fitted on, when `eval --export-head` made it"),
    CLI_THREADS(struct reproduce_opts, threads),
    CLI_QUIET(struct reproduce_opts, quiet),
    CLI_JSON(struct reproduce_opts, json),
    CLI_END
};

struct seen {
    json_t *list;
    bool json, bad;
};

static void differs(void *arg, const char *section, const char *made, const char *stored)
{
    struct seen *s = arg;

    if (s->json) s->bad |= json_array_append_new(s->list, json_string(section)) != 0;
    else printf("differs: %s (%s)\n", section, !made ? "not made again" : !stored ? "not in the file" : "other bytes");
}

static int reproduce_run(void *opts, int argc, char **argv)
{
    const struct reproduce_opts *const o = opts;
    struct xc_reproduce_opts r = { .calibrate = o->calibrate, .train = o->train, .differs = differs };
    struct seen seen = { .json = o->json };
    struct cli_progress progress;
    struct xc_pool *pool = NULL;
    struct xc_err err = { 0 };
    enum xc_status status;
    int64_t same = 0;
    int code = CLI_OK;

    (void)argc;
    if (!o->from) return cli_usage(&cli_verb_reproduce, "give --from MODEL");
    cli_progress_init(&progress, o->quiet);
    seen.list = json_array();
    r.arg = &seen;
    status = xc_pool_new(&pool, (int)o->threads, &err);
    r.pool = pool;
    r.progress = &progress.callbacks;
    if (status == XC_OK) status = xc_reproduce(argv[0], o->from, &r, &same, &err);
    cli_progress_done(&progress);
    xc_pool_free(&pool);
    if (o->json && (status == XC_OK || json_array_size(seen.list)))
        code = cli_print_json(seen.bad ? NULL : json_pack("{s:b, s:I, s:O}", "same", status == XC_OK, "sections_same", (json_int_t)same, "differs", seen.list));
    else if (status == XC_OK)
        printf("%s: the same in all %lld sections\n", argv[0], (long long)same);
    json_decref(seen.list);
    return status == XC_OK ? code : cli_fail(&err);
}

const struct cli_verb cli_verb_reproduce = {
    .name = "reproduce", .summary = "rebuild a file from its manifest and compare", .usage = "OUT.xc --from MODEL [--calibrate FILE] [--train FILE]",
    .details = "Checks by hash that MODEL and the files are what OUT.xc was made from, makes it again with the recipe, options and seed of its manifest in a temporary file (TMPDIR), and "
               "compares the decoded sections, so that --store does not matter. Exit code 1 at a difference.",
    .opts = table, .opts_size = sizeof(struct reproduce_opts), .min_args = 1, .max_args = 1, .run = reproduce_run,
};
