/* lines: a stream of lines from a file, standard input, or either of them compressed with zstd (found from the first bytes).
 *
 * Lines are bytes: NULs and invalid UTF-8 pass. A line ends with LF; one CR before it is dropped; the last line need not end. Memory is
 * bounded by the longest line and by max_line, whatever a compressed stream expands to. */
#ifndef XC_FORMATS_LINES_H
#define XC_FORMATS_LINES_H

#include "runtime/base/base.h"

struct xc_lines;

struct xc_lines_opts {
    size_t max_line;                /* bytes; a longer one is XC_E_LIMIT; 0 = XC_LINES_MAX_LINE */
    int (*cancelled)(void *arg);    /* polled between reads; may be NULL */
    void *cancelled_arg;
};
#define XC_LINES_MAX_LINE ((size_t)1 << 30)

/* path NULL or "-" is standard input. opts may be NULL. */
enum xc_status xc_lines_open(struct xc_lines **out, const char *path, const struct xc_lines_opts *opts, struct xc_err *err);

/* The next line, valid until the next call, followed by a NUL that does not count; *line is NULL at the end. Errors name the file and
 * the line. */
enum xc_status xc_lines_next(struct xc_lines *lines, const char **line, size_t *len, struct xc_err *err);

/* The number of the last line returned, from 1. */
int64_t xc_lines_number(const struct xc_lines *lines);
const char *xc_lines_name(const struct xc_lines *lines); /* the path, or "stdin" */

void xc_lines_close(struct xc_lines **lines);

#endif
