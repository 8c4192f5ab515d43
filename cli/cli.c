/* cli: helpers that the verbs share: messages, JSON results, input lines. Signals are in main.c. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "formats/json.h"

int cli_fail(const struct xc_err *err)
{
    char text[sizeof err->msg + sizeof err->where + 4];

    cli_progress_clear();
    fprintf(stderr, "xcompress: %s\n", xc_err_text(err, text, sizeof text));
    return CLI_FAILED;
}

int cli_failf(const char *fmt, ...)
{
    struct xc_err err = {0};
    char text[sizeof err.msg];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)xc_fail(&err, XC_E_ARG, "%s", text);
    return cli_fail(&err);
}

void cli_warn(const char *fmt, ...)
{
    struct xc_err err = {0};
    char text[sizeof err.msg];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    (void)xc_fail(&err, XC_E_ARG, "%s", text);
    cli_progress_clear();
    fprintf(stderr, "xcompress: warning: %s\n", err.msg);
}

int cli_print_json(json_t *doc)
{
    struct xc_err err = {0};
    const enum xc_status status = xc_json_write(stdout, doc, 2, &err);

    xc_json_free(&doc);
    /* A failed write is main's to report, once. */
    return status == XC_E_NOMEM ? cli_fail(&err) : status == XC_OK ? CLI_OK : CLI_FAILED;
}

bool cli_colour(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    return isatty(fd) && !(no && *no) && !(term && !strcmp(term, "dumb"));
}

bool cli_pretty(int fd)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    const char *locale = NULL;

    for (size_t i = 0; i < XC_ARRAY_LEN(names) && !(locale && *locale); i++) locale = getenv(names[i]);
    return isatty(fd) && locale && (strstr(locale, "UTF-8") || strstr(locale, "utf8") || strstr(locale, "UTF8") || strstr(locale, "utf-8"));
}

enum xc_status cli_lines_open(struct xc_lines **out, const char *file, struct xc_err *err)
{
    const struct xc_lines_opts opts = {.cancelled = cli_cancelled};

    return xc_lines_open(out, file, &opts, err);
}

bool cli_stdout_failed(void)
{
    return ferror(stdout) != 0;
}
