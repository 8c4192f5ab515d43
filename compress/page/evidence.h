/* evidence: what eval, bench and check measured, read from the JSON they print (docs/json.md). The documents are as hostile as any file: what
 * is missing or of another type is an error that names it. */
#ifndef XC_COMPRESS_PAGE_EVIDENCE_H
#define XC_COMPRESS_PAGE_EVIDENCE_H

#include <jansson.h>

#include "compress/gate/check.h"
#include "compress/tasks/stats.h"

/* One metric of one evaluation. Strings belong to the document. */
struct xc_seen_metric {
    const char *task, *data, *metric, *against; /* data and against (NULL = alone) are the names of files, without their folders */
    int64_t rows;
    struct xc_estimate model, reference, difference; /* NaN where there is none */
    double cosine, flips;                            /* NaN */
};

struct xc_seen_latency {
    int64_t tokens, batch, threads, runs;
    double median, p5, p95, lo, hi;
    double per_second, open_ms, start_ms, rss_mb;
};

/* What was seen at steps x, ascending. */
struct xc_curve {
    double *x, *y;
    int64_t n;
    size_t cap_x, cap_y;
};

/* The log of a training. */
struct xc_seen_training {
    char *name;                  /* of the file, without its folder */
    struct xc_curve loss, dev;   /* of updates; of measurements of the dev rows, perhaps none */
    char metric[32];             /* of dev */
    double tokens;
};
void xc_curve_release(struct xc_seen_training *t);
/* `most` points at most, means of as many neighbours each; x and y: room for them, which the curve returned has. */
struct xc_curve xc_curve_mean(const struct xc_curve *c, double *x, double *y, int64_t most);

struct xc_evidence {
    json_t *documents;
    struct xc_seen_training *trainings;
    int32_t n_trainings;
    size_t cap_trainings;
    struct xc_seen_metric *metrics;
    struct xc_seen_latency *latencies;
    struct xc_check_row *budgets;
    int32_t n_metrics, n_latencies, n_budgets;
    size_t cap_metrics, cap_latencies, cap_budgets;
    bool checked, failed;        /* a check is there; it failed */
    enum xc_verdict verdict;
};

enum xc_seen { XC_SEEN_EVAL = 0, XC_SEEN_BENCH, XC_SEEN_CHECK };

/* Takes the document over, whatever happens. */
enum xc_status xc_evidence_add(struct xc_evidence *e, enum xc_seen kind, json_t *document, struct xc_err *err);
/* What finetune or distill wrote with --log. */
enum xc_status xc_evidence_add_log(struct xc_evidence *e, const char *path, struct xc_err *err);
void xc_evidence_release(struct xc_evidence *e);

/* The part of a path after its last '/'. */
const char *xc_file_name(const char *path);

#endif
