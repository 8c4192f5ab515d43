/* text_window: see text_window.h. */
#include "cli/text_window.h"

#include <string.h>

#include "cli/cli.h"

#define WINDOW_LINES 4096
#define WINDOW_BYTES ((size_t)4 << 20)

enum xc_status text_window_open(struct text_window *w, const char *file, bool pairs, struct xc_err *err)
{
    *w = (struct text_window){ .pairs = pairs };
    return cli_lines_open(&w->lines, file, err);
}

void text_window_close(struct text_window *w)
{
    xc_lines_close(&w->lines);
    xc_free(w->a);
    xc_free(w->b);
    xc_free(w->a_len);
    xc_free(w->b_len);
    xc_free(w->bytes);
    xc_free(w->begin);
    *w = (struct text_window){ 0 };
}

static enum xc_status add_line(struct text_window *w, const char *line, size_t len, struct xc_err *err)
{
    size_t want;

    if (!xc_add_ok(&want, w->used, len) || !xc_add_ok(&want, want, 1)) return xc_fail(err, XC_E_RANGE, "lines too long to hold");
    XC_TRY(xc_grow((void **)&w->bytes, &w->cap_bytes, want, 1, err));
    XC_TRY(xc_grow((void **)&w->begin, &w->cap_begin, (size_t)w->n + 1, sizeof *w->begin, err));
    XC_TRY(xc_grow((void **)&w->a_len, &w->cap_a_len, (size_t)w->n + 1, sizeof *w->a_len, err));
    if (w->pairs) XC_TRY(xc_grow((void **)&w->b_len, &w->cap_b_len, (size_t)w->n + 1, sizeof *w->b_len, err));
    if (len) memcpy(w->bytes + w->used, line, len);
    w->bytes[w->used + len] = '\0';
    w->begin[w->n] = w->used;
    w->a_len[w->n] = len;
    w->used = want;
    if (w->pairs) {
        const char *tab = memchr(line, '\t', len);

        if (!tab) {
            xc_fail(err, XC_E_FORMAT, "no tab between two texts: '%.80s'", line);
            return xc_fail_at(err, XC_E_FORMAT, "%s:%lld", xc_lines_name(w->lines), (long long)xc_lines_number(w->lines));
        }
        w->a_len[w->n] = (size_t)(tab - line);
        w->b_len[w->n] = len - w->a_len[w->n] - 1;
    }
    w->n++;
    return XC_OK;
}

enum xc_status text_window_next(struct text_window *w, int64_t max, struct xc_err *err)
{
    const char *line;
    size_t len;

    w->first += w->n;
    w->n = 0;
    w->used = 0;
    while (w->n < (max > 0 ? max : WINDOW_LINES) && (max > 0 || w->used < WINDOW_BYTES)) {
        XC_TRY(xc_lines_next(w->lines, &line, &len, err));
        if (!line) break;
        XC_TRY(add_line(w, line, len, err));
    }
    XC_TRY(xc_grow((void **)&w->a, &w->cap_a, (size_t)w->n + 1, sizeof *w->a, err));
    if (w->pairs) XC_TRY(xc_grow((void **)&w->b, &w->cap_b, (size_t)w->n + 1, sizeof *w->b, err));
    for (int64_t i = 0; i < w->n; i++) {
        w->a[i] = w->bytes + w->begin[i];
        if (w->pairs) w->b[i] = w->a[i] + w->a_len[i] + 1;
    }
    return XC_OK;
}
