/* relatives: a model among its relatives: bytes, latency and accuracy of each, from a table that a script made (examples/tinybert-sst2/curve.sh). */
#ifndef XC_COMPRESS_PAGE_RELATIVES_H
#define XC_COMPRESS_PAGE_RELATIVES_H

#include <stdio.h>

#include "runtime/base/base.h"

struct xc_relative {
    char *name;
    double bytes, ms, value, lo, hi;
};

struct xc_relatives {
    struct xc_relative *point; /* in the order of the file */
    int32_t n;
    size_t cap;
};

/* A .tsv with the columns name, bytes, ms, value, low and high, a line a model; plain or .zst. Errors name the line. */
enum xc_status xc_relatives_read(struct xc_relatives *c, const char *path, struct xc_err *err);
void xc_relatives_release(struct xc_relatives *c);

/* A section of the page: accuracy over bytes and over milliseconds, and the figures. mine: the name of the page's own model, with or without .xc. */
void xc_relatives_print_html(FILE *f, const struct xc_relatives *c, const char *mine);
void xc_relatives_print_markdown(FILE *f, const struct xc_relatives *c);

#endif
