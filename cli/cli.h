/* cli: what every verb of the program uses.
 *
 * To add a verb: cli/cmd_x.c, a line in verbs.def, a line in cli/meson.build, a case in tests/cli/. The file exports one const struct,
 * so that --help, the manual and the completions list its options without running it:
 *
 *     struct count_opts { const char *file; int64_t threads; bool json, quiet; };
 *
 *     static const struct cli_opt count_table[] = {
 *         CLI_STRING(struct count_opts, file, 'f', "file", "FILE", NULL, "read lines from FILE, plain or .zst, instead of stdin"),
 *         CLI_THREADS(struct count_opts, threads), CLI_QUIET(struct count_opts, quiet), CLI_JSON(struct count_opts, json),
 *         CLI_END
 *     };
 *
 *     static int count_run(void *opts, int argc, char **argv)
 *     {
 *         const struct count_opts *const o = opts;
 *         struct xc_model *model = NULL;
 *         struct xc_err err = {0};
 *         int code = 0;
 *
 *         if (xc_model_load(&model, argv[0], NULL, &err)) code = cli_fail(&err);
 *         else ... printf(...) to stdout; main checks that it was written
 *         xc_model_free(&model);
 *         return code;                       // wrong combinations: return cli_usage(&cli_verb_count, "give -o or --plan");
 *     }
 *
 *     const struct cli_verb cli_verb_count = {
 *         .name = "count", .summary = "count the tokens of a text", .usage = "MODEL [--file FILE] [options]",
 *         .opts = count_table, .opts_size = sizeof(struct count_opts), .min_args = 1, .max_args = 1, .run = count_run,
 *     };
 *
 * Long work polls cli_cancelled (a signal came), or passes cli_progress(...) to the library, which does. Text lines: formats/lines.h. */
#ifndef XC_CLI_CLI_H
#define XC_CLI_CLI_H

#include <jansson.h>

#include "cli/argparse.h"
#include "cli/progress_bar.h"
#include "formats/lines.h"
#include "runtime/base/base.h"

#define VERB(name) extern const struct cli_verb cli_verb_##name;
#include "cli/verbs.def"
#undef VERB

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_WRONG_USAGE = 2, CLI_OVER_BUDGET = 3 };

/* Prints "xcompress: where: message" on stderr; returns CLI_FAILED. */
int cli_fail(const struct xc_err *err);

/* The same for an error without a struct. */
int cli_failf(const char *fmt, ...) XC_PRINTF(1, 2);

/* A remark that is not a failure: "xcompress: warning: ..." on stderr. */
void cli_warn(const char *fmt, ...) XC_PRINTF(1, 2);

/* Non-zero once SIGINT or SIGTERM came; arg is not used, so that it fits every `cancelled` callback. */
int cli_cancelled(void *arg);

/* Prints a document built with jansson and one newline, and frees it; doc NULL means that building it ran out of memory.
 * Returns CLI_OK or CLI_FAILED. */
int cli_print_json(json_t *doc);

/* May output to fd be coloured: a terminal, NO_COLOR not set, TERM not dumb? And may it have characters beyond ASCII: a terminal, and the
 * locale is one of UTF-8? */
bool cli_colour(int fd);
bool cli_pretty(int fd);

/* Opens --file (NULL or "-" = stdin) for xc_lines_next, with cancellation. */
enum xc_status cli_lines_open(struct xc_lines **out, const char *file, struct xc_err *err);

/* True once a write to stdout has failed: no use to go on. main reports it. */
bool cli_stdout_failed(void);

#endif
