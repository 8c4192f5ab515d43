/* picture: see picture.h. Axes are 1000 wide and stretched by the page; strokes keep their width (style.c). */
#include "compress/page/picture.h"

#include <math.h>

#include "compress/page/html.h"

#define WIDE 1000.0

static double place(double x, double from, double to)
{
    const double p = to > from ? WIDE * (x - from) / (to - from) : 0;

    return !(p > 0) ? 0 : p > WIDE ? WIDE : p;
}

void xc_picture_bar(FILE *f, double value, double whole, double end)
{
    fprintf(f, "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    if (whole >= 0) fprintf(f, "<rect class=\"track\" width=\"%.1f\" height=\"10\"/>", place(whole, 0, end));
    fprintf(f, "<rect class=\"fill\" width=\"%.1f\" height=\"10\"/></svg>", place(value, 0, end));
}

void xc_picture_limit(FILE *f, double value, double limit, double end, bool missed)
{
    fprintf(f, "<svg class=\"bar%s\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"track\" width=\"1000\" height=\"10\"/>", missed ? " missed" : "");
    fprintf(f, "<rect class=\"fill\" width=\"%.1f\" height=\"10\"/>", place(value, 0, end));
    if (isfinite(limit)) fprintf(f, "<path class=\"mark\" d=\"M%.1f -4V14\"/>", place(limit, 0, end));
    fprintf(f, "</svg>");
}

void xc_picture_interval(FILE *f, double lo, double value, double hi, double from, double to, double mark, bool missed)
{
    fprintf(f, "<svg class=\"bar%s\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><path class=\"axis\" d=\"M0 5H1000\"/>", missed ? " missed" : "");
    if (isfinite(mark)) fprintf(f, "<path class=\"mark\" d=\"M%.1f -4V14\"/>", place(mark, from, to));
    if (isfinite(lo) && isfinite(hi)) fprintf(f, "<path class=\"whisker\" d=\"M%.1f 5H%.1f\"/>", place(lo, from, to), place(hi, from, to));
    if (isfinite(value)) fprintf(f, "<path class=\"dot\" d=\"M%.1f 5h0\"/>", place(value, from, to));
    fprintf(f, "</svg>");
}

static void ticks(FILE *f, const char *name, const double *x, int64_t n, double end)
{
    bool any = false;

    for (int64_t i = 0; i < n; i++) {
        if (!(x[i] >= 0)) continue;
        if (!any) fprintf(f, "<path class=\"%s\" d=\"", name);
        fprintf(f, "M%.1f 5h0", place(x[i], 0, end));
        any = true;
    }
    if (any) fprintf(f, "\"/>");
}

void xc_picture_ticks(FILE *f, const double *first, const double *second, int64_t n, double end)
{
    fprintf(f, "<svg class=\"bar\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><path class=\"axis\" d=\"M0 5H1000\"/>");
    ticks(f, "dot second", second, n, end);
    ticks(f, "dot", first, n, end);
    fprintf(f, "</svg>");
}

static void steps(FILE *f, const char *name, const double *x, int n, double top, const char *end)
{
    fprintf(f, "<path class=\"%s\" d=\"M0 200", name);
    for (int i = 0; i < n; i++) fprintf(f, "V%.1fH%.1f", 200 - 196 * x[i] / top, WIDE * (i + 1) / n);
    fprintf(f, "V200%s\"/>", end);
}

void xc_picture_histogram(FILE *f, const double *before, const double *after, int n, const char *label)
{
    double top = 0;

    for (int i = 0; i < n; i++) {
        if (after[i] > top) top = after[i];
        if (before && before[i] > top) top = before[i];
    }
    if (!(top > 0)) top = 1;
    xc_html(f, "<svg class=\"histogram\" viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"$\">", label);
    steps(f, "area", after, n, top, "Z");
    if (before) steps(f, "line", before, n, top, "");
    fprintf(f, "<path class=\"axis\" d=\"M0 200H1000M500 200V194\"/></svg>");
}

void xc_picture_curve(FILE *f, const double *x, const double *y, int64_t n, double x_end, double low, double high, const char *label)
{
    bool down = false;

    xc_html(f, "<svg class=\"histogram\" viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"$\">", label);
    fprintf(f, "<path class=\"line\" d=\"");
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(y[i])) continue;
        fprintf(f, "%c%.1f %.1f", down ? 'L' : 'M', place(x[i], 0, x_end), 198 - 0.196 * place(y[i], low, high));
        down = true;
    }
    if (!down) fprintf(f, "M0 200");
    if (n == 1) fprintf(f, "h0");
    fprintf(f, "\"/><path class=\"axis\" d=\"M0 200H1000\"/></svg>");
}

void xc_picture_points(FILE *f, const double *x, const double *y, int32_t n, int32_t mine, const char *label)
{
    xc_html(f, "<svg class=\"histogram\" viewBox=\"0 0 1000 200\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"$\"><path class=\"axis\" d=\"M0 200H1000M0 0V200\"/>", label);
    if (mine >= 0) fprintf(f, "<path class=\"mark\" d=\"M%.1f 200V%.1f\"/>", place(x[mine], 0, 1), 200 - place(y[mine], 0, 1) / 5);
    fprintf(f, "<path class=\"dot\" d=\"");
    for (int32_t i = 0; i < n; i++) fprintf(f, "M%.1f %.1fh0", place(x[i], 0, 1), 200 - place(y[i], 0, 1) / 5);
    fprintf(f, "\"/></svg>");
}
