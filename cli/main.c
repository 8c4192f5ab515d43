/* main: finds the verb, parses its options, runs it, and turns what happened into an exit code. Signals are handled here. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "runtime/base/atomic_file.h"

#define GRACE_SECONDS 10 /* for work that was told to stop; then the handler ends the process */

static const struct cli_verb *const verbs[] = {
#define VERB(name) &cli_verb_##name,
#include "cli/verbs.def"
#undef VERB
    NULL
};

/* The signal that asked us to stop; 0 = none. */
static volatile sig_atomic_t stop_signal;

int cli_cancelled(void *arg)
{
    (void)arg;
    return stop_signal != 0;
}

/* The first signal asks; a second one, or the end of the grace period, ends the process. Either way temporary files go. */
static void on_signal(int signal_number)
{
    if (stop_signal == 0 && signal_number != SIGALRM) {
        stop_signal = signal_number;
        alarm(GRACE_SECONDS);
        return;
    }
    xc_atomic_remove_all();
    _exit(128 + (signal_number == SIGALRM ? stop_signal : signal_number));
}

static void handle_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a read from a terminal ends */

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGALRM, &action, NULL);
    action.sa_handler = SIG_IGN; /* a closed pipe is a write error, which is checked */
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGXFSZ, &action, NULL);
}

/* A program started without stdin, stdout or stderr would give their numbers to files it opens, and write messages into them. */
static void fill_standard_fds(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) _exit(1);
}

static const struct cli_verb *find_verb(const char *name)
{
    for (size_t i = 0; verbs[i] != NULL; i++)
        if (strcmp(verbs[i]->name, name) == 0) return verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    const char *names[XC_ARRAY_LEN(verbs) + 1];
    const char *near;
    size_t n = 0;

    for (size_t i = 0; verbs[i] != NULL; i++)
        if (!verbs[i]->hidden) names[n++] = verbs[i]->name;
    names[n++] = "help";
    names[n] = NULL;
    near = cli_nearest(name, names);
    if (near != NULL) return cli_usage(NULL, "unknown verb '%.60s', did you mean '%s'?", name, near);
    return cli_usage(NULL, "unknown verb '%.60s'", name);
}

static int help(int argc, char **argv)
{
    const struct cli_verb *verb;

    if (argc == 0) {
        cli_print_overview(stdout, verbs);
        return CLI_OK;
    }
    if (argc > 1) return cli_usage(NULL, "unexpected argument '%.60s'", argv[1]);
    if (strcmp(argv[0], "help") == 0) {
        cli_print_overview(stdout, verbs);
        return CLI_OK;
    }
    verb = find_verb(argv[0]);
    if (verb == NULL) return unknown_verb(argv[0]);
    cli_print_help(stdout, verb);
    return CLI_OK;
}

/* For the build: --dump-man, --dump-completion bash|zsh. Not in any list. */
static int dump(int argc, char **argv)
{
    if (strcmp(argv[0], "--dump-man") == 0 && argc == 1)
        cli_print_man(stdout, verbs);
    else if (strcmp(argv[0], "--dump-completion") == 0 && argc == 2 && strcmp(argv[1], "bash") == 0)
        cli_print_bash(stdout, verbs);
    else if (strcmp(argv[0], "--dump-completion") == 0 && argc == 2 && strcmp(argv[1], "zsh") == 0)
        cli_print_zsh(stdout, verbs);
    else
        return cli_usage(NULL, "use --dump-man, --dump-completion bash or --dump-completion zsh");
    return CLI_OK;
}

static int run_verb(const struct cli_verb *verb, int argc, char **argv)
{
    void *const opts = xc_calloc(1, verb->opts_size);
    char **rest;
    int n_rest, code;

    if (opts == NULL) return cli_failf("out of memory");
    code = cli_parse(verb, opts, argc, argv, &n_rest, &rest);
    if (code < 0) code = verb->run(opts, n_rest, rest);
    cli_progress_clear();
    cli_parse_release(verb, opts);
    xc_free(opts);
    return code;
}

static int run(int argc, char **argv)
{
    const struct cli_verb *verb;

    if (argc < 2) return cli_usage(NULL, "no verb given");
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("xcompress %s\n", XC_VERSION);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) return help(argc - 2, argv + 2);
    if (strncmp(argv[1], "--dump-", 7) == 0) return dump(argc - 1, argv + 1);
    if (argv[1][0] == '-') return cli_usage(NULL, "unknown option '%.60s'", argv[1]);
    verb = find_verb(argv[1]);
    return verb != NULL ? run_verb(verb, argc - 1, argv + 1) : unknown_verb(argv[1]);
}

int main(int argc, char **argv)
{
    bool lost;
    int code;

    fill_standard_fds();
    handle_signals();
    code = run(argc, argv);

    /* A result that did not reach its reader is a failure: full disk, closed pipe. Closing writes what is buffered once more, which
     * tells the reason again. */
    lost = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0 || lost) {
        char reason[128];

        fprintf(stderr, "xcompress: cannot write to stdout%s%s\n", errno != 0 ? ": " : "", errno != 0 ? xc_errno_text(errno, reason, sizeof reason) : "");
        if (code == CLI_OK) code = CLI_FAILED;
    }
    /* Work that finished all the same is done; what stopped early says which signal it was. */
    if (stop_signal != 0 && code != CLI_OK) code = 128 + stop_signal;
    return code;
}
