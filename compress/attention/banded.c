/* banded: of a Synthesizer's random matrix the scores near the diagonal stay: nobody sees a token further away than `width`. The tensor holds 2 width + 1
 * scores a query, and the runtime looks at no other key (runtime/graph/attention/synthesizer.c): time and bytes are linear in the tokens.
 * The matrix is a weight, so the share of attention that a band holds needs no texts: width auto takes the narrowest with `mass` in the mean over
 * rows, the layer's heads together. Attention with other parts beside the matrix keeps seeing all tokens, and is refused. */
#include <math.h>
#include <string.h>

#include "compress/attention/each_attention.h"
#include "compress/attention/random_matrix.h"
#include "compress/shrink/surgery.h"
#include "runtime/graph/attention/synthesizer.h"

static const struct xc_pass_option options[] = {
    { .name = "width", .help = "keys to each side of a token that stay; auto = as many as hold the share 'mass' of the attention", .def = "auto", .word = "auto", .min = 1, .max = 1048576 },
    { .name = "mass", .help = "share of the attention that width auto holds, in the mean over rows and heads", .def = "0.99", .min = 0.01, .max = 1 },
    { .name = NULL },
};

/* What stands against a band; NULL. width 0: auto, of which nothing is known yet. */
static const char *objection(const struct xc_prepare *p, const struct xc_graph *g, const struct xc_node *node)
{
    const struct xc_model *m = p->model;
    const int64_t width = xc_recipe_is(p->spec, "width", "auto") ? 0 : (int64_t)xc_recipe_number(p->spec, "width");
    const struct xc_attr_attention *a = node->attr;
    const struct xc_tensor *t;

    (void)g;
    if (xc_random_matrix(node) < 0) return "it has no random matrix";
    if (!xc_random_is_whole(node)) return a->rank ? "its random matrix is two factors" : "its random matrix is a band already";
    for (int i = XC_SYNTH_R + 1; i < node->n_in; i++)
        if (node->in[i].kind != XC_REF_NONE) return "its random matrix is not its only part";
    if (a->dot) return "its random matrix is not its only part";
    t = m->tensors[node->in[XC_SYNTH_R].id];
    if (xc_surgery_tensor_uses(m, node->in[XC_SYNTH_R].id) != 1) return "other nodes use its random matrix too";
    if (t->part[XC_PART_DATA] && t->enc.format > XC_FMT_BF16) return "it is quantized already: this pass comes before";
    return 2 * width + 1 >= a->positions ? "a band of this width is not smaller than the matrix" : NULL;
}

/* The narrowest band with the share `mass` of the attention of x (rows, L); L - 1: none narrower. */
static enum xc_status narrowest(int64_t *width, const float *x, int64_t rows, int64_t L, double mass, struct xc_err *err)
{
    double *at = xc_calloc((size_t)L, sizeof *at), sum = 0; /* by distance */

    if (!at) return xc_fail_nomem(err, (size_t)L * sizeof *at);
    for (int64_t r = 0; r < rows; r++) {
        const float *row = x + r * L;
        double all = 0;
        float top = -INFINITY;

        for (int64_t j = 0; j < L; j++) top = fmaxf(top, row[j]);
        for (int64_t j = 0; j < L; j++) all += exp((double)row[j] - (double)top);
        for (int64_t j = 0; j < L; j++) at[j > r % L ? j - r % L : r % L - j] += exp((double)row[j] - (double)top) / all / (double)rows;
    }
    *width = 0;
    for (sum = at[0]; *width < L - 1 && (sum < mass || *width < 1); sum += at[++*width]) {}
    xc_free(at);
    return XC_OK;
}

static enum xc_status check_finite(const struct xc_tensor *t, const float *x, struct xc_err *err)
{
    const int64_t cols = xc_tensor_cols(t);

    for (int64_t i = 0; i < xc_tensor_count(t); i++)
        if (!isfinite(x[i])) return xc_fail(err, XC_E_RANGE, "tensor '%s' is not finite at row %lld, column %lld", t->name, (long long)(i / cols), (long long)(i % cols));
    return XC_OK;
}

static enum xc_status cut(const struct xc_prepare *p, struct xc_graph *g, struct xc_node *node, struct xc_err *err)
{
    struct xc_attr_attention *attr = node->attr;
    struct xc_tensor *t = p->model->tensors[node->in[XC_SYNTH_R].id];
    const int64_t L = attr->positions, rows = xc_tensor_rows(t);
    const bool automatic = xc_recipe_is(p->spec, "width", "auto"), known = t->part[XC_PART_DATA] || t->source; /* in a plan a pass ahead may have left no numbers */
    int64_t w = automatic ? L / 8 + 1 : (int64_t)xc_recipe_number(p->spec, "width");
    float *x = NULL, *band = NULL;
    enum xc_status status = XC_OK;

    (void)g;
    if (known && (automatic || !p->plan_only)) status = xc_surgery_numbers(&x, t, err);
    if (status == XC_OK && x) status = check_finite(t, x, err);
    if (status == XC_OK && x && automatic) status = narrowest(&w, x, rows, L, xc_recipe_number(p->spec, "mass"), err);
    if (automatic && !known && p->estimated) *p->estimated = true;
    if (status == XC_OK && 2 * w + 1 < L) { /* else whole: nothing to save */
        const int64_t cols = 2 * w + 1, dim[2] = { rows, cols };

        if (x && !p->plan_only) band = xc_calloc((size_t)(rows * cols), sizeof *band);
        if (x && !p->plan_only && !band) status = xc_fail_nomem(err, (size_t)(rows * cols) * sizeof *band);
        for (int64_t r = 0; band && r < rows; r++) {
            const int64_t i = r % L, from = xc_max_i64(0, i - w), to = xc_min_i64(L, i + w + 1);

            memcpy(band + r * cols + from - (i - w), x + r * L + from, (size_t)(to - from) * sizeof *band);
        }
        if (status == XC_OK) status = xc_surgery_replace(t, 2, dim, band, err);
        if (status == XC_OK) attr->window = (int32_t)w;
    }
    xc_free(x);
    xc_free(band);
    return status;
}

static enum xc_status prepare(const struct xc_prepare *p, struct xc_err *err)
{
    const struct xc_each_attention each = { .objection = objection, .treat = cut, .none = "attention of kind synthesizer with a whole random matrix, wider than the band, as its only part" };

    return xc_each_attention(p, &each, err);
}

const struct xc_pass xc_pass_banded = { .name = "banded", .summary = "of a random matrix of scores the band near the diagonal", .options = options, .prepare = prepare,
                                        .plan = xc_pass_nothing, .apply = xc_pass_nothing };
