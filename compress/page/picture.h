/* picture: the pictures of the page, as SVG without text: labels and figures stand beside them as HTML, which stays readable at any width. A
 * picture in a table's row shows the row's figures and is hidden from screen readers; a figure of its own carries a label. */
#ifndef XC_COMPRESS_PAGE_PICTURE_H
#define XC_COMPRESS_PAGE_PICTURE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* A bar of `value` on a track of `whole`, on an axis from 0 to `end`; whole < 0 = no track. */
void xc_picture_bar(FILE *f, double value, double whole, double end);

/* A bar against a limit; missed changes the colour. */
void xc_picture_limit(FILE *f, double value, double limit, double end, bool missed);

/* An interval with its middle on an axis from `from` to `to`; mark is a limit or a zero, NaN = none. */
void xc_picture_interval(FILE *f, double lo, double value, double hi, double from, double to, double mark, bool missed);

/* Ticks on an axis from 0 to `end`: a strip of two kinds, each an array; NaN and negative ones are left out. */
void xc_picture_ticks(FILE *f, const double *first, const double *second, int64_t n, double end);

/* A curve through n points, x from 0 to x_end, y between `low` and `high`. */
void xc_picture_curve(FILE *f, const double *x, const double *y, int64_t n, double x_end, double low, double high, const char *label);

/* Two histograms over the same bins, one as an area and one as a line; before may be NULL. label is read to those who do not see it. */
void xc_picture_histogram(FILE *f, const double *before, const double *after, int n, const char *label);

/* Points, x and y from 0 to 1 (y upwards); the one numbered `mine` (-1: none) has a line down to the axis. */
void xc_picture_points(FILE *f, const double *x, const double *y, int32_t n, int32_t mine, const char *label);

#endif
