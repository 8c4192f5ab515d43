/* text_window: input lines in windows of a few thousand, for the verbs that answer each line.
 *
 * A line is a text: bytes up to LF; one CR before it is dropped; NULs and invalid UTF-8 are part of the text; an empty line is an empty
 * text; the last line need not end. With pairs a line is two texts with a tab between. */
#ifndef XC_CLI_TEXT_WINDOW_H
#define XC_CLI_TEXT_WINDOW_H

#include "formats/lines.h"

struct text_window {
    struct xc_lines *lines;
    bool pairs;
    int64_t n, first;      /* lines in the window; lines before it */
    const char **a, **b;   /* b NULL unless pairs */
    size_t *a_len, *b_len;
    char *bytes;           /* of all lines, each with a NUL */
    size_t *begin;
    size_t used, cap_bytes, cap_a, cap_b, cap_a_len, cap_b_len, cap_begin;
};

enum xc_status text_window_open(struct text_window *w, const char *file, bool pairs, struct xc_err *err);
/* The next lines, at most max (0 = as many as suit); w->n is 0 at the end. */
enum xc_status text_window_next(struct text_window *w, int64_t max, struct xc_err *err);
void text_window_close(struct text_window *w);

#endif
