/* histogram: the weights of one tensor, before and after, and how far apart they are. */
#ifndef XC_COMPRESS_PAGE_HISTOGRAM_H
#define XC_COMPRESS_PAGE_HISTOGRAM_H

#include "compress/weights.h"

#define XC_HISTOGRAM_BINS 81 /* odd: zero has a bin of its own */

struct xc_weights_side {
    double bin[XC_HISTOGRAM_BINS]; /* shares of all numbers; zeros are counted apart, since those of pruning would dwarf the rest; what lies beyond the ends is in the outermost */
    double mean, deviation, least, most;
    int64_t zeros, odd;            /* odd: NaN or infinite */
};

struct xc_weights {
    const char *name;
    const struct xc_tensor *tensor; /* after */
    bool scaled;                   /* a scale was put back to compare */
    bool has_before;
    struct xc_weights_side before, after;
    double end;                    /* the bins cover [-end, end]: five deviations, or all numbers when that is less */
    double error;                  /* relative L2 of after against before; NaN without */
};

/* original may be NULL; otherwise it has the shape of w. */
enum xc_status xc_weights_compare(struct xc_weights *out, const struct xc_weight *w, const struct xc_weight *original, struct xc_err *err);

#endif
