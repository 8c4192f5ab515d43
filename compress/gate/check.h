/* check: is a model within its budget (budget.h)? One row per limit, each with what was measured and a verdict.
 *
 *   accuracy min        the metric measured on the file, which is exact, against the limit: within or over
 *   accuracy max_drop   drop = reference - model (for errors: model - reference) on the same rows, with its paired 95 % interval: within
 *                       when the upper end is inside the limit, over when the lower end is outside, otherwise undecided
 *   latency             the median; a measurement that misses is repeated, three in all, and the lowest counts. A ratio is measured with
 *                       the baseline in turn. With max_ms and a baseline, either is enough.
 *   start, memory       a fresh process on one thread; start repeated as latency is
 *
 * An undecided row passes with a warning, or fails where the budget says strict. */
#ifndef XC_COMPRESS_GATE_CHECK_H
#define XC_COMPRESS_GATE_CHECK_H

#include <stdio.h>

#include "compress/gate/budget.h"
#include "runtime/base/pool.h"
#include "xcompress/progress.h"

enum xc_verdict { XC_WITHIN = 0, XC_UNDECIDED, XC_OVER };
const char *xc_verdict_name(enum xc_verdict verdict); /* "within", "undecided", "over" */

struct xc_check_row {
    char name[200];     /* "accuracy sts spearman drop" */
    const char *unit;   /* "bytes", "bits", "fraction", "ms", "ratio" */
    double limit, value;
    double lo, hi;      /* 95 % interval; NaN when there is none */
    bool at_least;      /* the limit is a lower one */
    bool strict;
    enum xc_verdict verdict;
    char note[200];     /* what else there is to know; may be empty */
};

struct xc_check_report {
    struct xc_check_row *rows;
    int32_t n_rows;
    size_t cap_rows;
    enum xc_verdict verdict; /* the worst */
    bool failed;             /* some row is over, or undecided and strict */
    double seconds;
};

struct xc_check_opts {
    uint64_t seed;
    int32_t resamples;       /* 0 = 2000 */
    struct xc_pool *pool;    /* for accuracy */
    const struct xc_progress *progress;
    const char *program;     /* with `verb`: how to start a process that calls xc_measure_child with MODEL TOKENS BATCH */
    const char *verb;
};

enum xc_status xc_check(struct xc_check_report *out, const char *model, const struct xc_budget *budget, const struct xc_check_opts *opts, struct xc_err *err);
void xc_check_report_release(struct xc_check_report *report);

/* The rule of the paired interval: drop and its interval [lo,hi] against the largest allowed. */
enum xc_verdict xc_check_drop(double lo, double hi, double max_drop);

/* Files of model weights: a .xc, or all .safetensors of a directory. */
enum xc_status xc_model_file_bytes(double *out, const char *path, struct xc_err *err);

/* Numbers as people read them, with the unit: "23.4 MB", "0.8668". */
void xc_check_text(char *buf, size_t n, double x, const char *unit);

void xc_check_print(FILE *f, const struct xc_check_report *report, const char *model);
void xc_check_print_markdown(FILE *f, const struct xc_check_report *report, const char *model);
void xc_check_print_junit(FILE *f, const struct xc_check_report *report, const char *model);

#endif
