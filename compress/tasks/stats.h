/* stats: metrics on rows of answers, and how sure they are.
 *
 * A metric is a function of a sample (what was right, what was answered, row by row) and of a weight per row: how often the row
 * counts. Weights of one give the metric; weights drawn by the bootstrap give its spread, without copying or sorting a row again.
 * Definitions are those of scipy.stats and scikit-learn (tests/vectors/gen_stats.py compares to 1e-9); entity F1 is conlleval's.
 * Metrics are fractions. A metric that has no value (correlation with a constant) is NaN.
 *
 * Intervals: percentile bootstrap over rows (Efron 1979), 95 % unless told. Two models on the same rows are resampled together, so
 * the interval of their difference does not contain the difficulty of the rows. Draws come from Philox (seed, resample), hence the
 * same interval for any number of threads. */
#ifndef XC_COMPRESS_TASKS_STATS_H
#define XC_COMPRESS_TASKS_STATS_H

#include "runtime/base/base.h"
#include "runtime/base/pool.h"

/* What a metric looks at. Arrays that a metric does not need may be NULL; n rows each. */
struct xc_sample {
    int64_t n;
    const double *gold, *pred;               /* scores */
    const int32_t *gold_order, *pred_order;  /* rows in ascending order of gold, pred: xc_stats_order; for Spearman */
    const int32_t *gold_class, *pred_class;  /* in [0, n_classes) */
    int32_t n_classes;
    const int32_t *hits, *n_pred, *n_gold;   /* counts per row: entities right, answered, wanted; or tokens */
};

struct xc_metric {
    const char *name, *help;
    double (*fn)(const struct xc_sample *s, const uint32_t *weight, double *scratch);
    bool lower_is_better;
};

extern const struct xc_metric xc_metric_spearman, xc_metric_pearson;               /* gold, pred (+ orders) */
extern const struct xc_metric xc_metric_mse, xc_metric_mae, xc_metric_r2;          /* gold, pred */
extern const struct xc_metric xc_metric_mean, xc_metric_agreement;                 /* mean of pred: a cosine; 0 or 1 */
extern const struct xc_metric xc_metric_accuracy, xc_metric_f1, xc_metric_f1_macro, xc_metric_matthews; /* classes; f1: class 1 */
extern const struct xc_metric xc_metric_exact_match, xc_metric_answer_f1;          /* mean of hits, 0 or 1; of pred, the row's F1 */
extern const struct xc_metric xc_metric_count_precision, xc_metric_count_recall, xc_metric_count_f1;    /* counts: micro, as conlleval */

/* NULL when there is none of this name in a NULL-terminated list. */
const struct xc_metric *xc_metric_find(const struct xc_metric *const *list, const char *name);

/* Doubles of scratch that any metric needs for this sample; false on overflow. */
bool xc_stats_scratch(size_t *doubles, const struct xc_sample *s);

/* The metric on all rows, each once. */
enum xc_status xc_metric_value(double *out, const struct xc_metric *metric, const struct xc_sample *s, struct xc_err *err);

/* Rows in ascending order of x, ties by row; x has no NaN. order has n entries. */
enum xc_status xc_stats_order(int32_t *order, const double *x, int64_t n, struct xc_err *err);

/* ---- intervals ---- */
struct xc_estimate {
    double value;
    double lo, hi; /* NaN when more than half of the resamples have no value */
};

struct xc_bootstrap_opts {
    uint64_t seed;
    int32_t resamples; /* 0 = 2000 */
    double level;      /* 0 = 0.95 */
    struct xc_pool *pool;
};

/* b NULL: metric(a) with its interval. Otherwise the paired difference metric(a) - metric(b), a and b being two models' answers to
 * the same rows. n_metrics <= 16; all metrics see the same resamples. */
enum xc_status xc_bootstrap(struct xc_estimate *out, const struct xc_metric *const *metrics, int n_metrics, const struct xc_sample *a,
                            const struct xc_sample *b, const struct xc_bootstrap_opts *opts, struct xc_err *err);

/* Share of rows whose class differs between a and b; 0 for no rows. */
double xc_flip_rate(const int32_t *a, const int32_t *b, int64_t n);

/* x sorted ascending, q in [0,1]: linear interpolation between the two nearest (numpy's default). NaN for n = 0. */
double xc_quantile(const double *sorted, int64_t n, double q);
void xc_sort_doubles(double *x, int64_t n); /* no NaN */

/* Distribution-free 95 % interval of the median of n sorted values (order statistics, binomial). */
void xc_median_interval(double *lo, double *hi, const double *sorted, int64_t n);

/* Cosine of two vectors; 0 when either is zero. In double, in index order. */
double xc_cosine(const float *a, const float *b, int64_t n);

/* ---- entities (BIO / IOB2 tags: "O", "B-type", "I-type") ---- */
enum xc_entity_mode {
    XC_ENTITY_CONLL = 0, /* conlleval, seqeval's default: an I- after O or after another type begins an entity */
    XC_ENTITY_STRICT     /* seqeval mode="strict", scheme=IOB2: entities begin with B- only */
};

/* Counts the entities of one sentence: wanted, answered, and those with equal type and both ends. tag[] are names. */
void xc_entity_counts(int32_t *hits, int32_t *n_pred, int32_t *n_gold, const char *const *gold, const char *const *pred, int64_t n,
                      enum xc_entity_mode mode);

#endif
