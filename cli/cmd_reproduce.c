/* reproduce: rebuilds a file from its manifest and the checkpoint it came from, and compares. */
#include <stdio.h>

#include "cli/cli.h"
#include "formats/json.h"
#include "runtime/base/pool.h"
#include "xcompress/compress.h"

struct reproduce_opts {
    const char *from;
    int64_t threads;
    bool json, quiet;
};

static const struct cli_opt table[] = {
    CLI_STRING(struct reproduce_opts, from, 'f', "from", "DIR", NULL, "the checkpoint that the file was made from"),
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
    (void)made;(void)stored;

    if (s->json) s->bad |= json_array_append_new(s->list, json_string(section)) != 0;
    else printf("differs: %s\n", section);
}

static int reproduce_run(void *opts, int argc, char **argv)
{
    const struct reproduce_opts *const o = opts;
    struct seen seen = { .list = json_array(), .json = o->json };
    struct xc_pool *pool = NULL;
    struct xc_err err = { 0 };
    enum xc_status status;
    int64_t same = 0;
    int code = CLI_OK;

    (void)argc;
    if (!o->from) {
        json_decref(seen.list);
        return cli_usage(&cli_verb_reproduce, "give --from MODEL");
    }
    status = xc_pool_new(&pool, (int)o->threads, &err);
    if (status == XC_OK) status = xc_reproduce(argv[0], o->from, &(struct xc_reproduce_opts){.pool=pool,.differs=differs,.arg=&seen}, &same, &err);
    xc_pool_free(&pool);
    if (status != XC_OK) code = cli_fail(&err);
    if (o->json) cli_print_json(seen.bad ? NULL : json_pack("{s:b, s:O}", "same", status == XC_OK, "differs", seen.list));
    else if (status == XC_OK) printf("%s: the same, section by section\n", argv[0]);
    json_decref(seen.list);
    return code;
}

const struct cli_verb cli_verb_reproduce = {
    .name = "reproduce", .summary = "rebuild a file from its manifest and compare", .usage = "OUT.xc --from MODEL",
    .opts = table, .opts_size = sizeof(struct reproduce_opts), .min_args = 1, .max_args = 1, .run = reproduce_run,
};
