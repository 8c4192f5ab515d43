/* html: text into a page, escaped unless it is written in this source. */
#ifndef XC_COMPRESS_PAGE_HTML_H
#define XC_COMPRESS_PAGE_HTML_H

#include <stdint.h>
#include <stdio.h>

/* Writes the template; each '$' in it is replaced by the next argument, a const char *, escaped (NULL = nothing). The template is a literal of
 * ours: what came from a file is always an argument. */
void xc_html(FILE *f, const char *template, ...);

/* Numbers as people read them: returned by value, so that they can be arguments: xc_html(f, "<td>$</td>", xc_percent(x).s). NaN and what is
 * not known are a dash. */
struct xc_short { char s[64]; };
struct xc_short xc_percent(double share);          /* "4.20 %", "0.013 %"; negative = not known */
struct xc_short xc_size(uint64_t bytes);           /* "23.4 MB" */
struct xc_short xc_count(double n);                /* "22.7 M" */
struct xc_short xc_fixed(double x, int digits);    /* "0.8673" */
struct xc_short xc_signed(double x, int digits);   /* "+0.0012", with a true minus */
struct xc_short xc_significant(double x);          /* "0.00123": three digits */
struct xc_short xc_integer(long long n);

#endif
