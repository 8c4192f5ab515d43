/* relatives: see relatives.h. */
#include "compress/page/relatives.h"

#include <math.h>
#include <string.h>

#include "compress/page/html.h"
#include "compress/page/picture.h"
#include "formats/lines.h"
#include "formats/markup.h"
#include "formats/units.h"

#define MAX_POINTS 1000 /* more would be no picture */
#define COLUMNS 6
static const char header[] = "name\tbytes\tms\tvalue\tlow\thigh";
static const char *const names[COLUMNS] = { "name", "bytes", "ms", "value", "low", "high" };

/* ---- reading ---- */
static enum xc_status read_point(struct xc_relatives *c, const char *line, size_t len, struct xc_err *err)
{
    struct xc_relative p = { 0 };
    double *const number[COLUMNS] = { NULL, &p.bytes, &p.ms, &p.value, &p.lo, &p.hi };
    char *text = xc_malloc(len + 1), *at = text;
    enum xc_status status = XC_OK;

    if (!text) return xc_fail_nomem(err, len + 1);
    memcpy(text, line, len + 1);
    for (int i = 0; i < COLUMNS && status == XC_OK; i++) {
        char *const tab = strchr(at, '\t');

        if (!tab != (i == COLUMNS - 1)) status = xc_fail(err, XC_E_FORMAT, "the line does not have %d columns", COLUMNS);
        if (tab) *tab = '\0';
        if (status == XC_OK && i && (!xc_parse_number(number[i], at) || (i < 3 && *number[i] <= 0)))
            status = xc_fail(err, XC_E_FORMAT, "'%s' is '%s', must be a number%s", names[i], at, i < 3 ? " above 0" : "");
        if (!i) p.name = at;
        if (tab) at = tab + 1;
    }
    if (status == XC_OK && !(p.lo <= p.value && p.value <= p.hi)) status = xc_fail(err, XC_E_FORMAT, "'value' is not from 'low' to 'high'");
    if (status == XC_OK && c->n == MAX_POINTS) status = xc_fail(err, XC_E_LIMIT, "there are more than %d models", MAX_POINTS);
    if (status == XC_OK) status = xc_grow((void **)&c->point, &c->cap, (size_t)c->n + 1, sizeof *c->point, err);
    if (status == XC_OK) c->point[c->n++] = p; /* the name is the first of text */
    else xc_free(text);
    return status;
}

enum xc_status xc_relatives_read(struct xc_relatives *c, const char *path, struct xc_err *err)
{
    struct xc_lines *lines;
    const char *line;
    size_t len;
    enum xc_status status;

    *c = (struct xc_relatives){ 0 };
    XC_TRY(xc_lines_open(&lines, path, NULL, err));
    status = xc_lines_next(lines, &line, &len, err);
    if (status == XC_OK && (!line || len != strlen(header) || strcmp(line, header) != 0))
        status = xc_fail_at(err, xc_fail(err, XC_E_FORMAT, "the first line must name the columns name, bytes, ms, value, low and high, with tabs between them"), "%s:1", path);
    while (status == XC_OK) {
        status = xc_lines_next(lines, &line, &len, err);
        if (status != XC_OK || !line) break;
        status = strlen(line) == len ? read_point(c, line, len, err) : xc_fail(err, XC_E_FORMAT, "the line has a NUL");
        if (status != XC_OK && status != XC_E_NOMEM) xc_fail_at(err, status, "%s:%lld", path, (long long)xc_lines_number(lines));
    }
    if (status == XC_OK && !c->n) status = xc_fail_at(err, xc_fail(err, XC_E_FORMAT, "there is no model in it"), "%s", path);
    xc_lines_close(&lines);
    if (status != XC_OK) xc_relatives_release(c);
    return status;
}

void xc_relatives_release(struct xc_relatives *c)
{
    for (int32_t i = 0; i < c->n; i++) xc_free(c->point[i].name);
    xc_free(c->point);
    *c = (struct xc_relatives){ 0 };
}

/* ---- printing ---- */
static bool is_mine(const char *name, const char *mine)
{
    const size_t n = strlen(mine);

    return !strcmp(name, mine) || (n > 3 && !strcmp(mine + n - 3, ".xc") && strlen(name) == n - 3 && !strncmp(name, mine, n - 3));
}

/* The least and the most of bytes (what = 0) or of milliseconds, for an axis of logarithms. */
static void range(double *from, double *to, const struct xc_relatives *c, int what)
{
    *from = INFINITY;
    *to = 0;
    for (int32_t i = 0; i < c->n; i++) {
        *from = fmin(*from, what ? c->point[i].ms : c->point[i].bytes);
        *to = fmax(*to, what ? c->point[i].ms : c->point[i].bytes);
    }
}

static void plot(FILE *f, const struct xc_relatives *c, int what, int32_t mine, double low, double high)
{
    double *x = xc_malloc(2 * (size_t)c->n * sizeof *x), *const y = x ? x + c->n : NULL, from, to;
    char ends[2][80];

    range(&from, &to, c, what);
    for (int i = 0; i < 2; i++) {
        const double end = i ? to : from;

        snprintf(ends[i], sizeof ends[i], "%s%s", what ? xc_significant(end).s : xc_size((uint64_t)end).s, what ? " ms" : "");
    }
    xc_html(f, "<figure><h3>Over $</h3>\n", what ? "latency" : "bytes");
    for (int32_t i = 0; x && i < c->n; i++) {
        const double v = what ? c->point[i].ms : c->point[i].bytes;

        x[i] = to > from ? log(v / from) / log(to / from) : 0.5;
        y[i] = high > low ? (c->point[i].value - low) / (high - low) : 0.5;
    }
    if (x) xc_picture_points(f, x, y, c->n, mine, what ? "accuracy over latency; the figures are in the table" : "accuracy over bytes; the figures are in the table"); /* out of memory: the figures are there */
    xc_html(f, "<div class=\"ends\"><span>$</span><span>$</span></div></figure>\n", ends[0], ends[1]);
    xc_free(x);
}

void xc_relatives_print_html(FILE *f, const struct xc_relatives *c, const char *mine)
{
    double low = INFINITY, high = -INFINITY, lo = INFINITY, hi = -INFINITY;
    int32_t at = -1;

    for (int32_t i = 0; i < c->n; i++) {
        low = fmin(low, c->point[i].value);
        high = fmax(high, c->point[i].value);
        lo = fmin(lo, c->point[i].lo);
        hi = fmax(hi, c->point[i].hi);
        if (at < 0 && is_mine(c->point[i].name, mine)) at = i;
    }
    xc_html(f, "<section>\n<h2>Among its relatives</h2>\n<p class=\"soft\">Accuracy from $ (bottom) to $ (top); bytes and latency on logarithmic axes.$</p>\n<div class=\"pair\">\n", xc_fixed(low, 4).s, xc_fixed(high, 4).s,
            at >= 0 ? " The line is this model." : "");
    plot(f, c, 0, at, low, high);
    plot(f, c, 1, at, low, high);
    fputs("</div>\n<table class=\"bars many\" style=\"--n:3\">\n<thead><tr><th>model</th><td class=\"picture\"></td><th class=\"n\">accuracy</th><th class=\"n\">bytes</th><th class=\"n\">latency</th></tr></thead>\n<tbody>\n", f);
    for (int32_t i = 0; i < c->n; i++) {
        const struct xc_relative *p = &c->point[i];

        xc_html(f, "<tr><th scope=\"row\">$</th><td class=\"picture\">", p->name);
        xc_picture_interval(f, p->lo, p->value, p->hi, lo, hi, i == at ? p->value : NAN, false);
        xc_html(f, "</td><td class=\"n\">$ <small>$ to $</small></td><td class=\"n\">$</td><td class=\"n\">$&nbsp;ms</td></tr>\n", xc_fixed(p->value, 4).s, xc_fixed(p->lo, 4).s, xc_fixed(p->hi, 4).s,
                xc_size((uint64_t)p->bytes).s, xc_significant(p->ms).s);
    }
    fputs("</tbody>\n</table>\n</section>\n", f);
}

void xc_relatives_print_markdown(FILE *f, const struct xc_relatives *c)
{
    fputs("\n#### Among its relatives\n\n| model | bytes | latency | accuracy |\n| --- | ---: | ---: | ---: |\n", f);
    for (int32_t i = 0; i < c->n; i++) {
        const struct xc_relative *p = &c->point[i];

        fputs("| ", f);
        xc_markup_markdown(f, p->name);
        fprintf(f, " | %s | %s ms | %s [%s, %s] |\n", xc_size((uint64_t)p->bytes).s, xc_significant(p->ms).s, xc_fixed(p->value, 4).s, xc_fixed(p->lo, 4).s, xc_fixed(p->hi, 4).s);
    }
}
