/* histogram: see histogram.h. Every tensor is read some rows at a time, twice: for its spread, and for its bins. */
#include "compress/page/histogram.h"

#include <math.h>

struct moments {
    double sum, squares;
    int64_t n;
    struct xc_weights_side *side;
};

static void add_moments(void *arg, const float *x, int64_t n)
{
    struct moments *m = arg;

    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            m->side->odd++;
            continue;
        }
        m->sum += (double)x[i];
        m->squares += (double)x[i] * (double)x[i];
        m->side->zeros += x[i] == 0;
        if (!m->n || (double)x[i] < m->side->least) m->side->least = (double)x[i];
        if (!m->n || (double)x[i] > m->side->most) m->side->most = (double)x[i];
        m->n++;
    }
}

static enum xc_status spread(struct xc_weights_side *side, const struct xc_weight *w, struct xc_err *err)
{
    struct moments m = { .side = side };

    XC_TRY(xc_weight_visit(w, add_moments, &m, err));
    if (!m.n) return XC_OK;
    side->mean = m.sum / (double)m.n;
    side->deviation = sqrt(fmax(0, m.squares / (double)m.n - side->mean * side->mean));
    return XC_OK;
}

struct bins {
    double *bin, end;
};

static void add_bins(void *arg, const float *x, int64_t n)
{
    const struct bins *b = arg;

    for (int64_t i = 0; i < n; i++) {
        const double at = isfinite(x[i]) ? ((double)x[i] / b->end + 1) / 2 * XC_HISTOGRAM_BINS : -1;

        if (isfinite(x[i]) && x[i] != 0) b->bin[at < 0 ? 0 : at >= XC_HISTOGRAM_BINS ? XC_HISTOGRAM_BINS - 1 : (int)at]++;
    }
}

static enum xc_status fill(struct xc_weights_side *side, const struct xc_weight *w, double end, struct xc_err *err)
{
    struct bins b = { .bin = side->bin, .end = end };

    XC_TRY(xc_weight_visit(w, add_bins, &b, err));
    for (int i = 0; i < XC_HISTOGRAM_BINS; i++) side->bin[i] /= (double)xc_tensor_count(w->tensor);
    return XC_OK;
}

static double reach(const struct xc_weights_side *side)
{
    const double most = fmax(fabs(side->least), fabs(side->most)), five = fabs(side->mean) + 5 * side->deviation;

    return most < five ? most : five;
}

enum xc_status xc_weights_compare(struct xc_weights *out, const struct xc_weight *w, const struct xc_weight *original, struct xc_err *err)
{
    *out = (struct xc_weights){ .name = w->tensor->name, .tensor = w->tensor, .scaled = w->scale != NULL, .has_before = original != NULL, .error = NAN };
    XC_TRY(spread(&out->after, w, err));
    if (original) XC_TRY(spread(&out->before, original, err));
    out->end = fmax(reach(&out->after), reach(&out->before));
    if (!(out->end > 0)) out->end = 1;
    XC_TRY(fill(&out->after, w, out->end, err));
    if (!original) return XC_OK;
    XC_TRY(fill(&out->before, original, out->end, err));
    return xc_weight_distance(&out->error, original, w, err);
}
