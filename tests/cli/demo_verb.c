/* demo_verb: a verb with every kind of option, for the tests of cli/argparse.c: prints what it parsed. */
#include <stdio.h>
#include <string.h>

#include "cli/argparse.h"

struct demo_opts {
    bool loud, quiet, json;
    int64_t count, threads, seed;
    uint64_t limit, max_memory;
    double share;
    const char *out, *name;
    int kind;
    struct cli_list tags;
    bool secret;
};

static const char *const kinds[] = {"mean", "cls", "max", NULL};

static const struct cli_opt demo_table[] = {
    CLI_BOOL(struct demo_opts, loud, 'l', "loud", "speak up"),
    CLI_INT(struct demo_opts, count, 'n', "count", "N", 1, 100, "3", "how many"),
    CLI_SIZE(struct demo_opts, limit, 0, "limit", "64MB", "at most so many bytes"),
    CLI_FLOAT(struct demo_opts, share, 's', "share", "X", 0, 1, "5%", "how much of it; a rather long explanation that has to be wrapped onto a second line"),
    CLI_STRING(struct demo_opts, out, 'o', "output", "FILE", NULL, "write to FILE"),
    CLI_STRING(struct demo_opts, name, 0, "name", "TEXT", "anon", "what to call it"),
    CLI_CHOICE(struct demo_opts, kind, 'k', "kind", kinds, "cls", "which kind"),
    CLI_LIST(struct demo_opts, tags, 't', "tag", "TAG", "a tag"),
    { .type = CLI_TYPE_BOOL, .name = "secret", .help = "not listed", .field = CLI_FIELD(struct demo_opts, secret, bool), .hidden = true },
    CLI_GROUP("Everywhere"),
    CLI_THREADS(struct demo_opts, threads),
    CLI_SEED(struct demo_opts, seed),
    CLI_MAX_MEMORY(struct demo_opts, max_memory),
    CLI_QUIET(struct demo_opts, quiet),
    CLI_JSON(struct demo_opts, json),
    CLI_END
};

static int demo_run(void *opts, int argc, char **argv)
{
    const struct demo_opts *const o = opts;

    printf("loud=%d count=%lld limit=%llu share=%g out=%s name=%s kind=%s threads=%lld seed=%lld max=%llu quiet=%d json=%d secret=%d\n", o->loud,
           (long long)o->count, (unsigned long long)o->limit, o->share, o->out != NULL ? o->out : "(none)", o->name, kinds[o->kind],
           (long long)o->threads, (long long)o->seed, (unsigned long long)o->max_memory, o->quiet, o->json, o->secret);
    for (size_t i = 0; i < o->tags.n; i++) printf("tag=%s\n", o->tags.items[i]);
    for (int i = 0; i < argc; i++) printf("arg=%s\n", argv[i]);
    return 0;
}

static const struct cli_verb demo = {
    .name = "demo", .summary = "show what was parsed", .usage = "FILE [FILE2] [options]\n--list",
    .details = "A first paragraph, which is long enough that it has to be wrapped at eighty columns to be read.\n\n    xcompress demo 'x' -k mean",
    .opts = demo_table, .opts_size = sizeof(struct demo_opts), .min_args = 1, .max_args = 2, .run = demo_run,
};

static const struct cli_verb *const verbs[] = {&demo, NULL};

int main(int argc, char **argv)
{
    struct demo_opts opts = {0};
    char **rest;
    int n_rest, code;

    if (argc == 2 && strcmp(argv[1], "--man") == 0)
        cli_print_man(stdout, verbs);
    else if (argc == 2 && strcmp(argv[1], "--bash") == 0)
        cli_print_bash(stdout, verbs);
    else if (argc == 2 && strcmp(argv[1], "--zsh") == 0)
        cli_print_zsh(stdout, verbs);
    else {
        code = cli_parse(&demo, &opts, argc, argv, &n_rest, &rest);
        if (code < 0) code = demo.run(&opts, n_rest, rest);
        cli_parse_release(&demo, &opts);
        return code;
    }
    return 0;
}
