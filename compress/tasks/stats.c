/* stats: see stats.h. Everything is double, summed in row order. */
#include "compress/tasks/stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/rng.h"

static double weight_of(const uint32_t *w, int64_t i) { return w ? (double)w[i] : 1.0; }

static double total_weight(const uint32_t *w, int64_t n)
{
    double sum = 0;

    if (!w) return (double)n;
    for (int64_t i = 0; i < n; i++) sum += w[i];
    return sum;
}

/* ---- correlation ---- */
static double correlation(const double *x, const double *y, const uint32_t *w, int64_t n)
{
    const double total = total_weight(w, n);
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0, r;

    if (total < 2) return NAN;
    for (int64_t i = 0; i < n; i++) {
        mx += weight_of(w, i) * x[i];
        my += weight_of(w, i) * y[i];
    }
    mx /= total;
    my /= total;
    for (int64_t i = 0; i < n; i++) {
        const double k = weight_of(w, i), dx = x[i] - mx, dy = y[i] - my;

        xx += k * dx * dx;
        yy += k * dy * dy;
        xy += k * dx * dy;
    }
    /* A constant leaves rounding noise only: scipy calls it constant below about 1e-13 of the mean. */
    if (sqrt(xx) <= 1e-13 * fabs(mx) * sqrt(total) || sqrt(yy) <= 1e-13 * fabs(my) * sqrt(total)) return NAN;
    r = xy / (sqrt(xx) * sqrt(yy));
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

static double pearson(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    (void)scratch;
    return correlation(s->gold, s->pred, w, s->n);
}

/* Ranks with ties averaged, a row of weight k standing for k equal rows. order = ascending. */
static void weighted_ranks(double *rank, const double *x, const int32_t *order, const uint32_t *w, int64_t n)
{
    double before = 0;

    for (int64_t first = 0, end; first < n; first = end) {
        double tied = 0;

        for (end = first; end < n && x[order[end]] == x[order[first]]; end++) tied += weight_of(w, order[end]);
        for (int64_t i = first; i < end; i++) rank[order[i]] = before + (tied + 1) / 2;
        before += tied;
    }
}

static double spearman(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    weighted_ranks(scratch, s->gold, s->gold_order, w, s->n);
    weighted_ranks(scratch + s->n, s->pred, s->pred_order, w, s->n);
    return correlation(scratch, scratch + s->n, w, s->n);
}

/* ---- errors of numbers ---- */
static double mse(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    double sum = 0;

    (void)scratch;
    for (int64_t i = 0; i < s->n; i++) sum += weight_of(w, i) * (s->gold[i] - s->pred[i]) * (s->gold[i] - s->pred[i]);
    return sum / total_weight(w, s->n);
}

static double mae(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    double sum = 0;

    (void)scratch;
    for (int64_t i = 0; i < s->n; i++) sum += weight_of(w, i) * fabs(s->gold[i] - s->pred[i]);
    return sum / total_weight(w, s->n);
}

static double r2(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    const double total = total_weight(w, s->n);
    double mean = 0, res = 0, tot = 0;

    (void)scratch;
    for (int64_t i = 0; i < s->n; i++) mean += weight_of(w, i) * s->gold[i];
    mean /= total;
    for (int64_t i = 0; i < s->n; i++) {
        res += weight_of(w, i) * (s->gold[i] - s->pred[i]) * (s->gold[i] - s->pred[i]);
        tot += weight_of(w, i) * (s->gold[i] - mean) * (s->gold[i] - mean);
    }
    return tot > 0 ? 1 - res / tot : NAN;
}

static double mean_of_pred(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    double sum = 0;

    (void)scratch;
    for (int64_t i = 0; i < s->n; i++) sum += weight_of(w, i) * s->pred[i];
    return sum / total_weight(w, s->n);
}

static double mean_of_hits(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    double sum = 0;

    (void)scratch;
    for (int64_t i = 0; i < s->n; i++) sum += weight_of(w, i) * s->hits[i];
    return sum / total_weight(w, s->n);
}

/* ---- classes ---- */
static double accuracy(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    double right = 0;

    (void)scratch;
    for (int64_t i = 0; i < s->n; i++) right += s->gold_class[i] == s->pred_class[i] ? weight_of(w, i) : 0;
    return right / total_weight(w, s->n);
}

/* Per class: rows right, rows of the class, rows answered with it; (3, K). */
static void class_counts(double *counts, const struct xc_sample *s, const uint32_t *w)
{
    const int32_t K = s->n_classes;

    for (int32_t c = 0; c < 3 * K; c++) counts[c] = 0;
    for (int64_t i = 0; i < s->n; i++) {
        const double k = weight_of(w, i);

        counts[s->gold_class[i]] += s->gold_class[i] == s->pred_class[i] ? k : 0;
        counts[K + s->gold_class[i]] += k;
        counts[2 * K + s->pred_class[i]] += k;
    }
}

static double f1_of(double hits, double answered, double wanted) /* no answer is right: 0, as scikit-learn's zero_division default */
{
    return answered + wanted > 0 ? 2 * hits / (answered + wanted) : 0;
}

static double f1(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    const int32_t K = s->n_classes;

    if (K < 2) return NAN;
    class_counts(scratch, s, w);
    return f1_of(scratch[1], scratch[2 * K + 1], scratch[K + 1]);
}

static double f1_macro(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    const int32_t K = s->n_classes;
    double sum = 0, present = 0;

    class_counts(scratch, s, w);
    for (int32_t c = 0; c < K; c++) {
        if (scratch[K + c] + scratch[2 * K + c] == 0) continue; /* scikit-learn averages the classes that occur */
        sum += f1_of(scratch[c], scratch[2 * K + c], scratch[K + c]);
        present += 1;
    }
    return present > 0 ? sum / present : NAN;
}

/* Gorodkin 2004, the R_K coefficient; for two classes, Matthews's. */
static double matthews(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    const int32_t K = s->n_classes;
    const double total = total_weight(w, s->n);
    double right = 0, tp = 0, tt = 0, pp = 0;

    class_counts(scratch, s, w);
    for (int32_t c = 0; c < K; c++) {
        right += scratch[c];
        tp += scratch[K + c] * scratch[2 * K + c];
        tt += scratch[K + c] * scratch[K + c];
        pp += scratch[2 * K + c] * scratch[2 * K + c];
    }
    tt = total * total - tt;
    pp = total * total - pp;
    return tt > 0 && pp > 0 ? (right * total - tp) / sqrt(tt * pp) : 0;
}

/* ---- counts ---- */
struct counts { double hits, answered, wanted; };

static struct counts sum_counts(const struct xc_sample *s, const uint32_t *w)
{
    struct counts c = { 0 };

    for (int64_t i = 0; i < s->n; i++) {
        c.hits += weight_of(w, i) * s->hits[i];
        c.answered += s->n_pred ? weight_of(w, i) * s->n_pred[i] : 0;
        c.wanted += weight_of(w, i) * s->n_gold[i];
    }
    return c;
}

static double count_precision(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    const struct counts c = sum_counts(s, w);

    (void)scratch;
    return c.answered > 0 ? c.hits / c.answered : 0;
}

static double count_recall(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    const struct counts c = sum_counts(s, w);

    (void)scratch;
    return c.wanted > 0 ? c.hits / c.wanted : 0;
}

static double count_f1(const struct xc_sample *s, const uint32_t *w, double *scratch)
{
    const struct counts c = sum_counts(s, w);

    (void)scratch;
    return f1_of(c.hits, c.answered, c.wanted);
}

const struct xc_metric xc_metric_spearman = { "spearman", "rank correlation, ties averaged", spearman, false };
const struct xc_metric xc_metric_pearson = { "pearson", "linear correlation", pearson, false };
const struct xc_metric xc_metric_mse = { "mse", "mean squared error", mse, true };
const struct xc_metric xc_metric_mae = { "mae", "mean absolute error", mae, true };
const struct xc_metric xc_metric_r2 = { "r2", "share of variance explained", r2, false };
const struct xc_metric xc_metric_exact_match = { "exact_match", "share of answers that are a right one, apart from case, articles and punctuation", mean_of_hits, false };
const struct xc_metric xc_metric_answer_f1 = { "f1", "words that an answer shares with a right one: F1, mean over rows", mean_of_pred, false };
const struct xc_metric xc_metric_mean = { "cosine", "mean cosine", mean_of_pred, false };
const struct xc_metric xc_metric_agreement = { "agreement", "share of equal labels", mean_of_pred, false };
const struct xc_metric xc_metric_accuracy = { "accuracy", "share of rows with the right label", accuracy, false };
const struct xc_metric xc_metric_f1 = { "f1", "F1 of label 1, for two labels", f1, false };
const struct xc_metric xc_metric_f1_macro = { "f1_macro", "F1 averaged over labels", f1_macro, false };
const struct xc_metric xc_metric_matthews = { "matthews", "Matthews correlation", matthews, false };
const struct xc_metric xc_metric_count_precision = { "precision", "share of answered entities that are right", count_precision, false };
const struct xc_metric xc_metric_count_recall = { "recall", "share of wanted entities that are found", count_recall, false };
const struct xc_metric xc_metric_count_f1 = { "f1", "entity F1, type and both ends equal", count_f1, false };

const struct xc_metric *xc_metric_find(const struct xc_metric *const *list, const char *name)
{
    for (; *list; list++)
        if (!strcmp((*list)->name, name)) return *list;
    return NULL;
}

bool xc_stats_scratch(size_t *doubles, const struct xc_sample *s)
{
    size_t ranks, classes;

    *doubles = 0;
    if (s->n < 0 || s->n_classes < 0 || !xc_mul_ok(&ranks, 2, (size_t)s->n) || !xc_mul_ok(&classes, 3, (size_t)s->n_classes)) return false;
    return xc_add_ok(doubles, ranks > classes ? ranks : classes, 1);
}

static enum xc_status new_array(void **out, size_t n, size_t size, struct xc_err *err)
{
    size_t bytes;

    *out = NULL;
    if (!xc_mul_ok(&bytes, n, size)) return xc_fail(err, XC_E_RANGE, "too many rows to hold in memory");
    *out = xc_malloc(bytes);
    return *out ? XC_OK : xc_fail_nomem(err, bytes);
}

static enum xc_status check_sample(const struct xc_sample *s, struct xc_err *err)
{
    if (s->n < 1) return xc_fail(err, XC_E_ARG, "no rows to measure");
    if (s->n > INT32_MAX) return xc_fail(err, XC_E_RANGE, "%lld rows are more than the statistics hold", (long long)s->n);
    return XC_OK;
}

enum xc_status xc_metric_value(double *out, const struct xc_metric *metric, const struct xc_sample *s, struct xc_err *err)
{
    void *scratch;
    size_t n;

    *out = NAN;
    XC_TRY(check_sample(s, err));
    if (!xc_stats_scratch(&n, s)) return xc_fail(err, XC_E_RANGE, "too many rows to hold in memory");
    XC_TRY(new_array(&scratch, n, sizeof(double), err));
    *out = metric->fn(s, NULL, scratch);
    xc_free(scratch);
    return XC_OK;
}

/* ---- sorting ---- */
static int compare_doubles(const void *pa, const void *pb)
{
    const double a = *(const double *)pa, b = *(const double *)pb;

    return (a > b) - (a < b);
}

void xc_sort_doubles(double *x, int64_t n)
{
    if (n > 1) qsort(x, (size_t)n, sizeof *x, compare_doubles);
}

static int compare_keyed(const void *pa, const void *pb, void *key)
{
    const double *x = key;
    const int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;

    if (x[a] != x[b]) return x[a] < x[b] ? -1 : 1;
    return (a > b) - (a < b);
}

enum xc_status xc_stats_order(int32_t *order, const double *x, int64_t n, struct xc_err *err)
{
    union { const double *read; void *any; } key = { .read = x }; /* qsort_r wants a plain pointer; it is only read */

    if (n < 0 || n > INT32_MAX) return xc_fail(err, XC_E_RANGE, "%lld rows are more than the statistics hold", (long long)n);
    for (int64_t i = 0; i < n; i++) order[i] = (int32_t)i;
    if (n > 1) qsort_r(order, (size_t)n, sizeof *order, compare_keyed, key.any);
    return XC_OK;
}

double xc_quantile(const double *sorted, int64_t n, double q)
{
    const double at = q * (double)(n - 1);
    const int64_t low = (int64_t)floor(at);

    if (n < 1) return NAN;
    if (low >= n - 1) return sorted[n - 1];
    return sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]);
}

void xc_median_interval(double *lo, double *hi, const double *sorted, int64_t n)
{
    double p, below = 0;
    int64_t k = 0;

    *lo = *hi = NAN;
    if (n < 1) return;
    /* The largest k with P(Binomial(n, 1/2) < k) <= 0.025; the interval is then (x[k-1], x[n-k]) counted from 0. */
    if (n > 400) {
        k = (int64_t)floor(((double)n - 1.96 * sqrt((double)n)) / 2);
    } else {
        p = exp(-(double)n * log(2));
        for (; k < n && below + p <= 0.025; k++) {
            below += p;
            p = p * (double)(n - k) / (double)(k + 1);
        }
    }
    *lo = sorted[k > 0 ? k - 1 : 0];
    *hi = sorted[k > 0 ? n - k : n - 1];
}

/* ---- bootstrap ---- */
#define MAX_METRICS 16

struct boot {
    const struct xc_metric *const *metrics;
    const struct xc_sample *a, *b;
    double *estimate;  /* (n_metrics, resamples) */
    uint32_t *weight;  /* (threads, n) */
    double *scratch;   /* (threads, scratch_doubles) */
    size_t scratch_doubles;
    uint64_t seed;
    int64_t resamples;
    int n_metrics;
};

/* How often each row is drawn in resample number `index`: n draws with replacement. The bias of the multiply-shift is n / 2^32. */
static void draw_weights(uint32_t *weight, int64_t n, uint64_t seed, uint64_t index)
{
    uint32_t word[4];

    memset(weight, 0, (size_t)n * sizeof *weight);
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) xc_philox(word, seed, index, (uint64_t)(i / 4));
        weight[(uint64_t)word[i % 4] * (uint64_t)n >> 32]++;
    }
}

static void resample(void *arg, int64_t item, int thread)
{
    const struct boot *c = arg;
    uint32_t *weight = c->weight + (size_t)thread * (size_t)c->a->n;
    double *scratch = c->scratch + (size_t)thread * c->scratch_doubles;

    draw_weights(weight, c->a->n, c->seed, (uint64_t)item);
    for (int m = 0; m < c->n_metrics; m++) {
        double x = c->metrics[m]->fn(c->a, weight, scratch);

        if (c->b) x -= c->metrics[m]->fn(c->b, weight, scratch);
        c->estimate[(size_t)m * (size_t)c->resamples + (size_t)item] = x;
    }
}

static void interval(struct xc_estimate *out, double *x, int64_t n, double level)
{
    int64_t valid = 0;

    out->lo = out->hi = NAN;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i])) x[valid++] = x[i];
    if (valid * 2 < n) return;
    xc_sort_doubles(x, valid);
    out->lo = xc_quantile(x, valid, (1 - level) / 2);
    out->hi = xc_quantile(x, valid, (1 + level) / 2);
}

enum xc_status xc_bootstrap(struct xc_estimate *out, const struct xc_metric *const *metrics, int n_metrics, const struct xc_sample *a,
                            const struct xc_sample *b, const struct xc_bootstrap_opts *opts, struct xc_err *err)
{
    static const struct xc_bootstrap_opts defaults;
    const struct xc_bootstrap_opts *o = opts ? opts : &defaults;
    const size_t threads = (size_t)xc_pool_threads(o->pool);
    struct boot c = { .metrics = metrics, .a = a, .b = b, .seed = o->seed, .resamples = o->resamples > 0 ? o->resamples : 2000, .n_metrics = n_metrics };
    void *weight = NULL, *scratch = NULL, *estimate = NULL;
    enum xc_status status;
    size_t more, rows, doubles;

    for (int m = 0; m < n_metrics; m++) out[m] = (struct xc_estimate){ NAN, NAN, NAN };
    if (n_metrics < 0 || n_metrics > MAX_METRICS) return xc_fail(err, XC_E_ARG, "%d metrics at once", n_metrics);
    XC_TRY(check_sample(a, err));
    if (b && b->n != a->n) return xc_fail(err, XC_E_ARG, "paired samples of %lld and %lld rows", (long long)a->n, (long long)b->n);
    if (!xc_stats_scratch(&c.scratch_doubles, a) || (b && !xc_stats_scratch(&more, b))) return xc_fail(err, XC_E_RANGE, "too many rows to hold in memory");
    if (b && more > c.scratch_doubles) c.scratch_doubles = more;
    if (!xc_mul_ok(&rows, threads, (size_t)a->n) || !xc_mul_ok(&doubles, threads, c.scratch_doubles))
        return xc_fail(err, XC_E_RANGE, "too many rows to hold in memory");
    XC_TRY_GOTO(new_array(&weight, rows, sizeof *c.weight, err), out);
    XC_TRY_GOTO(new_array(&scratch, doubles, sizeof *c.scratch, err), out);
    XC_TRY_GOTO(new_array(&estimate, (size_t)n_metrics * (size_t)c.resamples, sizeof *c.estimate, err), out);
    c.weight = weight;
    c.scratch = scratch;
    c.estimate = estimate;
    xc_pool_run(o->pool, resample, &c, c.resamples);
    for (int m = 0; m < n_metrics; m++) {
        out[m].value = metrics[m]->fn(a, NULL, c.scratch);
        if (b) out[m].value -= metrics[m]->fn(b, NULL, c.scratch);
        interval(&out[m], c.estimate + (size_t)m * (size_t)c.resamples, c.resamples, o->level > 0 ? o->level : 0.95);
    }
    status = XC_OK;
out:
    xc_free(weight);
    xc_free(scratch);
    xc_free(estimate);
    return status;
}

double xc_flip_rate(const int32_t *a, const int32_t *b, int64_t n)
{
    int64_t differ = 0;

    for (int64_t i = 0; i < n; i++) differ += a[i] != b[i];
    return n > 0 ? (double)differ / (double)n : 0;
}

double xc_cosine(const float *a, const float *b, int64_t n)
{
    double aa = 0, bb = 0, ab = 0, c;

    for (int64_t i = 0; i < n; i++) {
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
        ab += (double)a[i] * b[i];
    }
    if (!(aa > 0) || !(bb > 0)) return 0;
    c = ab / (sqrt(aa) * sqrt(bb));
    return c > 1 ? 1 : c < -1 ? -1 : c;
}

/* ---- entities ---- */
/* Splits a tag into prefix and type: "B-person" -> 'B', "person"; anything without a known prefix is outside. */
static char tag_prefix(const char *tag, const char **type)
{
    *type = "";
    if ((tag[0] == 'B' || tag[0] == 'I') && (tag[1] == '-' || !tag[1])) {
        *type = tag[1] ? tag + 2 : "";
        return tag[0];
    }
    return 'O';
}

struct entity { int64_t first, end; const char *type; };

/* The next entity that begins at or after `at`; false when there is none. */
static bool next_entity(struct entity *e, const char *const *tag, int64_t at, int64_t n, enum xc_entity_mode mode)
{
    const char *type;

    for (; at < n; at++) {
        const char prefix = tag_prefix(tag[at], &e->type);

        if (prefix == 'B' || (prefix == 'I' && mode == XC_ENTITY_CONLL)) break;
    }
    if (at >= n) return false;
    e->first = at;
    for (e->end = at + 1; e->end < n; e->end++)
        if (tag_prefix(tag[e->end], &type) != 'I' || strcmp(type, e->type)) break;
    return true;
}

void xc_entity_counts(int32_t *hits, int32_t *n_pred, int32_t *n_gold, const char *const *gold, const char *const *pred, int64_t n,
                      enum xc_entity_mode mode)
{
    struct entity g, p;
    bool more_g = next_entity(&g, gold, 0, n, mode), more_p = next_entity(&p, pred, 0, n, mode);

    *hits = *n_pred = *n_gold = 0;
    while (more_g || more_p) {
        const bool same = more_g && more_p && g.first == p.first && g.end == p.end && !strcmp(g.type, p.type);
        const bool step_g = more_g && (!more_p || g.first <= p.first), step_p = more_p && (!more_g || p.first <= g.first);

        *hits += same;
        if (step_g) {
            ++*n_gold;
            more_g = next_entity(&g, gold, g.end, n, mode);
        }
        if (step_p) {
            ++*n_pred;
            more_p = next_entity(&p, pred, p.end, n, mode);
        }
    }
}
