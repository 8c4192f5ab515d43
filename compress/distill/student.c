/* student: a smaller model made of its teacher (or of nothing), by a specification "layers=3,hidden=312,heads=12,ffn=1200".
 *
 *   layers      of the teacher stay: uniform, m * N / M, or those of "take=2:4:6"; pass drop_layers does it
 *   heads, ffn  heads and neurons of the largest weights stay (sites.h)
 *   head widths and hidden width shrink by truncated SVD: the products W_q^T W_k and W_o W_v of a head at lower rank; the hidden states projected to the
 *               directions that the weights that read them see most of
 *
 * A hidden state x becomes x P, P (C,c) with orthonormal columns: tables and weights that read it W P, weights that write it P^T W. A norm does not commute
 * with P: its gain is the mean of the old gains with the squares of P as weights, times sqrt(C/c), since what has unit variance in fewer columns is
 * shorter. With init "select" P selects columns. */
#include "compress/distill/distill.h"

#include <lapack.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/calibrate/blas.h"
#include "compress/shrink/sites.h"
#include "compress/shrink/surgery.h"
#include "formats/formats.h"
#include "runtime/base/rng.h"
#include "runtime/graph/op.h"

const char *const xc_student_inits[] = { "teacher", "select", "random", NULL };

#define STREAM (uint64_t)0x73747564 /* "stud": of the generator */

struct spec {
    int64_t layers, hidden, heads, ffn, head_width; /* 0 = as the teacher */
    int32_t take[XC_MAX_BLOCKS], n_take;
};

/* ---- the specification ---- */
static const char *const keys[] = { "layers", "hidden", "heads", "ffn", "head_width" };

bool xc_student_is_spec(const char *text)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(keys); i++)
        if (!strncmp(text, keys[i], strlen(keys[i])) && text[strlen(keys[i])] == '=') return true;
    return !strncmp(text, "take=", 5);
}

static bool number(int64_t *out, const char **at)
{
    char *end;
    const long long x = **at >= '0' && **at <= '9' ? strtoll(*at, &end, 10) : 0;

    if (x < 1 || x > 1000000) return false;
    *out = x;
    *at = end;
    return true;
}

static enum xc_status parse(struct spec *s, const char *text, struct xc_err *err)
{
    int64_t *const field[] = { &s->layers, &s->hidden, &s->heads, &s->ffn, &s->head_width };

    *s = (struct spec){ 0 };
    for (const char *at = text; *at;) {
        const size_t n = strcspn(at, "=");
        size_t i = 0;

        while (i < XC_ARRAY_LEN(keys) && (strlen(keys[i]) != n || strncmp(at, keys[i], n) != 0)) i++;
        if (at[n] != '=' || (i == XC_ARRAY_LEN(keys) && strncmp(at, "take", n) != 0))
            return xc_fail(err, XC_E_ARG, "the student '%s' has no '%.*s': it is made of layers=, hidden=, heads=, ffn=, head_width= and take=", text, (int)xc_min_i64((int64_t)n, 40), at);
        at += n + 1;
        if (i < XC_ARRAY_LEN(keys)) {
            if (*field[i]) return xc_fail(err, XC_E_ARG, "the student '%s' has '%s' twice", text, keys[i]);
            if (!number(field[i], &at)) return xc_fail(err, XC_E_ARG, "the student '%s': '%s' needs a whole number from 1", text, keys[i]);
        } else {
            for (int64_t layer; s->n_take < XC_MAX_BLOCKS; at++) {
                if (!number(&layer, &at)) return xc_fail(err, XC_E_ARG, "the student '%s': 'take' needs layers of the teacher, from 1, with colons between them", text);
                s->take[s->n_take++] = (int32_t)layer;
                if (*at != ':') break;
            }
        }
        if (*at == ',' && at[1]) at++;
        else if (*at) return xc_fail(err, XC_E_ARG, "the student '%s' goes on with '%s'", text, at);
    }
    if (s->n_take && s->layers && s->layers != s->n_take) return xc_fail(err, XC_E_ARG, "the student '%s' has %lld layers and takes %d", text, (long long)s->layers, s->n_take);
    if (s->n_take) s->layers = s->n_take;
    return XC_OK;
}

static enum xc_status wider(const char *what, int64_t mine, int64_t theirs, struct xc_err *err)
{
    return mine > theirs ? xc_fail(err, XC_E_RANGE, "the student has %lld %s, its teacher %lld: a student made of its teacher is not larger; name a model instead", (long long)mine, what, (long long)theirs) : XC_OK;
}

/* ---- layers ---- */
static enum xc_status cut_layers(struct xc_model **m, const struct spec *s, struct xc_err *err)
{
    struct xc_graph *const g = xc_model_find_graph(*m, "encode");
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_recipe *recipe = NULL;
    struct xc_model *made = NULL;
    struct xc_blocks blocks;
    bool keep[XC_MAX_BLOCKS] = { false };
    enum xc_status status;

    XC_TRY(xc_blocks_find(&blocks, g, err));
    if (!s->layers) return XC_OK;
    XC_TRY(wider("layers", s->layers, blocks.n, err));
    for (int32_t i = 0; i < s->layers; i++) {
        const int32_t layer = s->n_take ? s->take[i] : (i + 1) * blocks.n / (int32_t)s->layers;

        if (layer > blocks.n) return xc_fail(err, XC_E_RANGE, "the student takes layer %d of a teacher with %d", layer, blocks.n);
        if (s->n_take && i && layer <= s->take[i - 1]) return xc_fail(err, XC_E_ARG, "the layers that a student takes must rise: %d follows %d", layer, s->take[i - 1]);
        keep[layer - 1] = true;
    }
    if (s->layers == blocks.n) return XC_OK;
    XC_TRY_GOTO(xc_recipe_new(&recipe, err), out);
    XC_TRY_GOTO(xc_recipe_add(recipe, "drop_layers", err), out);
    for (int32_t i = 0; i < blocks.n; i++) {
        const char *name = g->nodes[blocks.block[i].attention].name;
        const int32_t number = xc_layer_number(name, NULL);
        char word[XC_MAX_NAME + 1];

        if (keep[i]) continue;
        if (number < 0) {
            status = xc_fail(err, XC_E_UNSUPPORTED, "node '%s' is in no numbered layer", name);
            goto out;
        }
        snprintf(word, sizeof word, "re:.*layer\\.%d\\..*", number);
        XC_TRY_GOTO(xc_recipe_target(recipe, word, err), out);
    }
    opts.recipe = recipe;
    opts.no_golden = true;
    XC_TRY_GOTO(xc_compress_model(&made, *m, NULL, false, &opts, &result, err), out);
    xc_compress_result_release(&result);
    xc_model_free(m);
    *m = made;
out:
    xc_recipe_free(&recipe);
    return status;
}

/* ---- heads and neurons ---- */
static int ascending(const void *a, const void *b) { return *(const int32_t *)a < *(const int32_t *)b ? -1 : 1; }

static enum xc_status cut_units(struct xc_model *m, const struct spec *s, struct xc_err *err)
{
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    struct xc_sites sites;
    enum xc_status status;

    XC_TRY(xc_sites_find(&sites, g, err));
    status = sites.n || (!s->heads && !s->ffn) ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "the teacher has no heads or neurons that can be cut: it must be an f32 model");
    for (int64_t k = 0; k < sites.n && status == XC_OK; k++) {
        const struct xc_site *site = &sites.site[k];
        const int64_t want = site->heads ? s->heads : s->ffn;
        int32_t *order = NULL;

        if (!want || want == site->units) continue;
        status = wider(site->heads ? "heads" : "neurons", want, site->units, err);
        if (status == XC_OK) status = xc_site_order(&order, g, site, err);
        if (status == XC_OK) {
            qsort(order, (size_t)want, sizeof *order, ascending);
            status = xc_site_cut(g, site, order, want, false, err);
        }
        xc_free(order);
    }
    xc_sites_release(&sites);
    return status == XC_OK ? xc_surgery_reshape(g, err) : status;
}

/* ---- the width of a head ---- */
/* a (m,n), row-major, = u (m,k) diag(s) vt (k,n), k = min(m,n); a is lost. */
static enum xc_status svd(double *u, double *sigma, double *vt, double *a, int64_t m, int64_t n, struct xc_err *err)
{
    /* LAPACK reads a row-major matrix as its transpose: a^T = vt^T s u^T */
    const lapack_int M = (lapack_int)n, N = (lapack_int)m, K = M < N ? M : N;
    lapack_int info = 0, size = 4 * K * K + 9 * K + 8 * (M > N ? M : N);
    char thin = 'S';
    double *work = xc_malloc((size_t)size * sizeof *work);
    lapack_int *iwork = xc_malloc((size_t)(8 * K) * sizeof *iwork);

    if (work && iwork) LAPACK_dgesdd(&thin, &M, &N, a, &M, sigma, vt, &M, u, &K, work, &size, iwork, &info);
    const bool ok = work && iwork;

    xc_free(work);
    xc_free(iwork);
    if (!ok) return xc_fail_nomem(err, (size_t)size * sizeof *work);
    return info ? xc_fail(err, XC_E_RANGE, "the singular values of a weight do not converge: is it not finite?") : XC_OK;
}

/* a (w,n), b (w,m) become (r,n), (r,m) with a^T b as near as rank r can be. */
static enum xc_status narrow(double *a, double *b, int64_t w, int64_t n, int64_t m, int64_t r, struct xc_err *err)
{
    const size_t floats = (size_t)(5 * w * w + 3 * w + w * (n + m + xc_max_i64(n, m)));
    double *const all = xc_calloc(floats, sizeof *all), *const ua = all, *const sa = ua + w * w, *const va = sa + w, *const ub = va + w * n, *const sb = ub + w * w, *const vb = sb + w;
    double *const core = vb + w * m, *const copy = core + w * w;
    double *const u = copy + w * xc_max_i64(n, m), *const s = u + w * w, *const vt = s + w;
    enum xc_status status = all ? XC_OK : xc_fail_nomem(err, floats * sizeof *all);

    if (status == XC_OK) {
        memcpy(copy, a, (size_t)(w * n) * sizeof *a);
        status = svd(ua, sa, va, copy, w, n, err); /* a = ua sa va */
    }
    if (status == XC_OK) {
        memcpy(copy, b, (size_t)(w * m) * sizeof *b);
        status = svd(ub, sb, vb, copy, w, m, err);
    }
    if (status == XC_OK) { /* a^T b = va^T (sa ua^T ub sb) vb */
        for (int64_t i = 0; i < w; i++)
            for (int64_t j = 0; j < w; j++) {
                double sum = 0;

                for (int64_t k = 0; k < w; k++) sum += ua[k * w + i] * ub[k * w + j];
                core[i * w + j] = sa[i] * sum * sb[j];
            }
        status = svd(u, s, vt, core, w, w, err);
    }
    for (int64_t c = 0; status == XC_OK && c < r; c++) {
        const double root = sqrt(s[c]);

        for (int64_t i = 0; i < n; i++) {
            double sum = 0;

            for (int64_t k = 0; k < w; k++) sum += u[k * w + c] * va[k * n + i];
            a[c * n + i] = root * sum;
        }
        for (int64_t i = 0; i < m; i++) {
            double sum = 0;

            for (int64_t k = 0; k < w; k++) sum += vt[c * w + k] * vb[k * m + i];
            b[c * m + i] = root * sum;
        }
    }
    xc_free(all);
    return status;
}

/* A linear of a head block: weight (rows, cols) and bias as numbers. */
struct linear {
    struct xc_tensor *weight, *bias;
    float *w, *b; /* b NULL */
    int64_t rows, cols;
};

static enum xc_status linear_open(struct linear *l, const struct xc_graph *g, int32_t n, struct xc_err *err)
{
    const struct xc_node *node = &g->nodes[n];

    *l = (struct linear){ .weight = g->model->tensors[node->in[1].id] };
    if (node->n_in > 2 && node->in[2].kind == XC_REF_TENSOR) l->bias = g->model->tensors[node->in[2].id];
    l->rows = xc_tensor_rows(l->weight);
    l->cols = xc_tensor_cols(l->weight);
    XC_TRY(xc_surgery_numbers(&l->w, l->weight, err));
    return l->bias ? xc_surgery_numbers(&l->b, l->bias, err) : XC_OK;
}

static void linear_close(struct linear *l)
{
    xc_free(l->w);
    xc_free(l->b);
}

/* [W b] of head h: (w, cols + 1), in double; and back to another width. */
static void head_rows(double *a, const struct linear *l, int64_t h, int64_t w)
{
    for (int64_t r = 0; r < w; r++) {
        for (int64_t c = 0; c < l->cols; c++) a[r * (l->cols + 1) + c] = (double)l->w[(h * w + r) * l->cols + c];
        a[r * (l->cols + 1) + l->cols] = l->b ? (double)l->b[h * w + r] : 0;
    }
}

static enum xc_status narrow_site(struct xc_graph *g, const struct xc_site *site, int64_t r, struct xc_err *err)
{
    const struct xc_attr_attention *attr = g->nodes[site->mid].attr;
    const int64_t w = site->width, H = site->units, C = site->inputs, O = site->outputs;
    const double keep = attr->scale == 0.0f ? sqrt((double)r / (double)w) : 1; /* the op divides by the root of the width */
    struct linear q = { 0 }, k = { 0 }, v = { 0 }, o = { 0 };
    double *a = xc_malloc((size_t)(w * (C + 1 + O)) * sizeof *a), *b = xc_malloc((size_t)(w * (C + 1)) * sizeof *b);
    struct { struct linear *l; float *w, *b; } made[3];
    float *ow = xc_malloc((size_t)(O * H * r) * sizeof *ow);
    enum xc_status status = a && b && ow ? XC_OK : xc_fail_nomem(err, (size_t)(w * (C + O)) * sizeof *a);

    made[0].l = &q;
    made[1].l = &k;
    made[2].l = &v;
    for (int i = 0; i < 3; i++) {
        made[i].w = xc_malloc((size_t)(H * r * C) * sizeof(float));
        made[i].b = xc_malloc((size_t)(H * r) * sizeof(float));
        if (status == XC_OK && (!made[i].w || !made[i].b)) status = xc_fail_nomem(err, (size_t)(H * r * C) * sizeof(float));
        if (status == XC_OK) status = linear_open(made[i].l, g, site->in[i], err);
    }
    if (status == XC_OK) status = linear_open(&o, g, site->out, err);
    for (int64_t h = 0; h < H && status == XC_OK; h++) {
        head_rows(a, &q, h, w);
        head_rows(b, &k, h, w);
        status = narrow(a, b, w, C + 1, C + 1, r, err);
        for (int i = 0; i < 2 && status == XC_OK; i++)
            for (int64_t c = 0; c < r; c++) {
                const double *from = (i ? b : a) + c * (C + 1), factor = i ? 1 : keep;

                for (int64_t x = 0; x < C; x++) made[i].w[(h * r + c) * C + x] = (float)(factor * from[x]);
                made[i].b[h * r + c] = (float)(factor * from[C]);
            }
        if (status != XC_OK) break;
        for (int64_t i = 0; i < w; i++)
            for (int64_t x = 0; x < O; x++) a[i * O + x] = (double)o.w[x * o.cols + h * w + i];
        head_rows(b, &v, h, w);
        status = narrow(a, b, w, O, C + 1, r, err);
        for (int64_t c = 0; c < r && status == XC_OK; c++) {
            for (int64_t x = 0; x < O; x++) ow[x * H * r + h * r + c] = (float)a[c * O + x];
            for (int64_t x = 0; x < C; x++) made[2].w[(h * r + c) * C + x] = (float)b[c * (C + 1) + x];
            made[2].b[h * r + c] = (float)b[c * (C + 1) + C];
        }
    }
    for (int i = 0; i < 3 && status == XC_OK; i++) {
        status = xc_surgery_replace(made[i].l->weight, 2, (const int64_t[]){ H * r, C }, made[i].w, err);
        if (status == XC_OK && made[i].l->bias) status = xc_surgery_replace(made[i].l->bias, 1, (const int64_t[]){ H * r }, made[i].b, err);
    }
    if (status == XC_OK) status = xc_surgery_replace(o.weight, 2, (const int64_t[]){ O, H * r }, ow, err);
    for (int i = 0; i < 3; i++) {
        linear_close(made[i].l);
        xc_free(made[i].w);
        xc_free(made[i].b);
    }
    linear_close(&o);
    xc_free(ow);
    xc_free(a);
    xc_free(b);
    return status;
}

static enum xc_status narrow_heads(struct xc_model *m, const struct spec *s, struct xc_err *err)
{
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    struct xc_sites sites;
    enum xc_status status = XC_OK;

    if (!s->head_width && !s->hidden) return XC_OK;
    XC_TRY(xc_sites_find(&sites, g, err));
    for (int64_t k = 0; k < sites.n && status == XC_OK; k++) {
        const struct xc_site *site = &sites.site[k];
        int64_t r = s->head_width;

        if (!site->heads) continue;
        if (!r && s->hidden % site->units) status = xc_fail(err, XC_E_ARG, "%lld hidden columns are no multiple of %lld heads: set head_width=", (long long)s->hidden, (long long)site->units);
        if (!r) r = xc_min_i64(site->width, s->hidden / site->units);
        if (status == XC_OK) status = wider("columns a head", r, site->width, err);
        if (status == XC_OK && r < site->width) status = narrow_site(g, site, r, err);
        if (status != XC_OK) xc_fail_at(err, status, "node '%s'", g->nodes[site->mid].name);
    }
    xc_sites_release(&sites);
    return status == XC_OK ? xc_surgery_reshape(g, err) : status;
}

/* ---- the hidden width ---- */
/* Axes that are the same axis: columns of values, rows and columns of tensors, as the ops tie them together. */
struct axes {
    const struct xc_graph *g;
    int32_t *parent; /* n_values, then two a tensor: rows, columns */
};

static int32_t root(const struct axes *a, int32_t i)
{
    while (a->parent[i] != i) i = a->parent[i] = a->parent[a->parent[i]];
    return i;
}

static void tie(const struct axes *a, int32_t x, int32_t y)
{
    if (x >= 0 && y >= 0) a->parent[root(a, x)] = root(a, y);
}

static int32_t value_axis(const struct xc_node *node, int32_t i) { return i < node->n_in && node->in[i].kind == XC_REF_VALUE ? node->in[i].id : -1; }

static int32_t tensor_axis(const struct axes *a, const struct xc_node *node, int32_t i, int col)
{
    return i < node->n_in && node->in[i].kind == XC_REF_TENSOR ? a->g->n_values + 2 * node->in[i].id + col : -1;
}

static enum xc_status tie_node(const struct axes *a, const struct xc_node *node, struct xc_err *err)
{
    static const char *const same[] = { "add", "mul", "layer_norm", "rms_norm", "unary", "pool", "l2_normalize", "scale", "softmax" };
    const char *op = node->op->name;
    const int32_t out = node->out[0];

    if (!strcmp(op, "linear")) {
        tie(a, value_axis(node, 0), tensor_axis(a, node, 1, 1));
        tie(a, out, tensor_axis(a, node, 1, 0));
        tie(a, out, tensor_axis(a, node, 2, 1));
        return XC_OK;
    }
    if (!strcmp(op, "gather")) {
        tie(a, out, tensor_axis(a, node, 1, 1));
        return XC_OK;
    }
    if (!strcmp(op, "positions")) return XC_OK;
    if (!strcmp(op, "attention")) {
        tie(a, value_axis(node, 0), value_axis(node, 1));
        tie(a, out, value_axis(node, 2));
        return XC_OK;
    }
    for (size_t i = 0; i < XC_ARRAY_LEN(same); i++)
        if (!strcmp(op, same[i])) {
            for (int32_t k = 0; k < node->n_in; k++) {
                tie(a, out, value_axis(node, k));
                tie(a, out, tensor_axis(a, node, k, 1));
            }
            return XC_OK;
        }
    return xc_fail(err, XC_E_UNSUPPORTED, "node '%s': a student of another hidden width cannot be made through op '%s'", node->name, op);
}

struct widths {
    struct axes axes;
    struct xc_model *m;
    struct xc_graph *g;
    int64_t C, c;
    int32_t stream; /* root of the hidden axis */
    float *basis;   /* P (C,c) */
    bool *gain;     /* by tensor: of a norm */
};

static bool on_stream(const struct widths *s, int32_t t, int col) { return root(&s->axes, s->g->n_values + 2 * t + col) == s->stream; }

/* Second moments of everything that reads the hidden state or is one: a sum of W^T W, each with trace 1. */
static enum xc_status moments(const struct widths *s, double *sum, struct xc_err *err)
{
    for (int32_t t = 0; t < s->m->n_tensors; t++) {
        const int64_t R = xc_tensor_rows(s->m->tensors[t]), C = s->C;
        double *own, trace = 0;
        float *w;

        if (s->m->tensors[t]->rank < 2 || !on_stream(s, t, 1)) continue;
        XC_TRY(xc_surgery_numbers(&w, s->m->tensors[t], err));
        own = xc_calloc((size_t)(C * C), sizeof *own);
        for (int64_t r = 0; own && r < R; r++)
            for (int64_t i = 0; i < C; i++)
                for (int64_t j = 0; j <= i; j++) own[i * C + j] += (double)w[r * C + i] * (double)w[r * C + j];
        for (int64_t i = 0; own && i < C; i++) trace += own[i * C + i];
        for (int64_t i = 0; own && trace > 0 && i < C * C; i++) sum[i] += own[i] / trace;
        xc_free(w);
        if (!own) return xc_fail_nomem(err, (size_t)(C * C) * sizeof *own);
        xc_free(own);
    }
    return XC_OK;
}

static enum xc_status make_basis(struct widths *s, bool select, struct xc_err *err)
{
    const int64_t C = s->C, c = s->c;
    const lapack_int N = (lapack_int)C, size = (lapack_int)(1 + 6 * C + 2 * C * C), isize = (lapack_int)(3 + 5 * C);
    double *g = xc_calloc((size_t)(C * C + C), sizeof *g), *work = xc_malloc((size_t)size * sizeof *work);
    lapack_int *iwork = xc_malloc((size_t)isize * sizeof *iwork), info = 0;
    char vectors = 'V', upper = 'U';
    enum xc_status status;

    s->basis = xc_calloc((size_t)(C * c), sizeof *s->basis);
    status = g && work && iwork && s->basis ? moments(s, g, err) : xc_fail_nomem(err, (size_t)(C * C) * sizeof *g);
    if (status == XC_OK && select) { /* the largest, in their own order */
        for (int64_t k = 0; k < c; k++) {
            int64_t best = 0;

            for (int64_t i = 1; i < C; i++)
                if (g[i * C + i] > g[best * C + best]) best = i;
            g[best * C + best] = -1;
        }
        for (int64_t i = 0, k = 0; i < C; i++)
            if (g[i * C + i] < 0) s->basis[i * c + k++] = 1;
    } else if (status == XC_OK) {
        LAPACK_dsyevd(&vectors, &upper, &N, g, &N, g + C * C, work, &size, iwork, &isize, &info);
        if (info) status = xc_fail(err, XC_E_RANGE, "the eigenvectors of the weights do not converge: are they not finite?");
        for (int64_t k = 0; status == XC_OK && k < c; k++) /* ascending, one a row in our order: the last c, largest first */
            for (int64_t i = 0; i < C; i++) s->basis[i * c + k] = (float)g[(C - 1 - k) * C + i];
    }
    xc_free(g);
    xc_free(work);
    xc_free(iwork);
    return status;
}

/* One tensor: rows, columns or both go through the basis; the gain of a norm by its squares. */
static enum xc_status project(const struct widths *s, int32_t t, struct xc_err *err)
{
    struct xc_tensor *const tensor = s->m->tensors[t];
    const bool rows = tensor->rank > 1 && on_stream(s, t, 0), cols = on_stream(s, t, 1), gain = s->gain[t];
    const int64_t R = xc_tensor_rows(tensor), K = xc_tensor_cols(tensor), r = rows ? s->c : R, k = cols ? s->c : K;
    float *x, *wide, *y;
    enum xc_status status;

    if (!rows && !cols) return XC_OK;
    XC_TRY(xc_surgery_numbers(&x, tensor, err));
    wide = xc_calloc((size_t)(R * k), sizeof *wide);
    y = xc_calloc((size_t)(r * k), sizeof *y);
    if (wide && y) {
        for (int64_t i = 0; i < R; i++)
            for (int64_t j = 0; j < K; j++)
                for (int64_t n = cols ? 0 : j; n < (cols ? k : j + 1); n++) {
                    const float p = cols ? s->basis[j * s->c + n] : 1;

                    wide[i * k + n] += x[i * K + j] * (gain ? p * p : p);
                }
        for (int64_t i = 0; i < R; i++)
            for (int64_t n = rows ? 0 : i; n < (rows ? r : i + 1); n++) {
                const float p = rows ? s->basis[i * s->c + n] : 1;

                for (int64_t j = 0; j < k; j++) y[n * k + j] += p * wide[i * k + j];
            }
        for (int64_t j = 0; gain && j < k; j++) y[j] *= sqrtf((float)s->C / (float)s->c);
    }
    status = wide && y ? xc_surgery_replace(tensor, tensor->rank, tensor->rank == 1 ? (const int64_t[]){ k } : (const int64_t[]){ r, k }, y, err) : xc_fail_nomem(err, (size_t)(R * k) * sizeof *y);
    xc_free(x);
    xc_free(wide);
    xc_free(y);
    return status;
}

static enum xc_status cut_hidden(struct xc_model *m, const struct spec *spec, bool select, struct xc_err *err)
{
    struct widths s = { .m = m, .g = xc_model_find_graph(m, "encode") };
    struct xc_blocks blocks;
    const int32_t n = s.g->n_values + 2 * m->n_tensors;
    enum xc_status status;

    XC_TRY(xc_blocks_find(&blocks, s.g, err));
    s.C = s.g->values[blocks.embedding].cols;
    s.c = spec->hidden;
    if (!s.c || s.c == s.C) return XC_OK;
    XC_TRY(wider("hidden columns", s.c, s.C, err));
    s.axes = (struct axes){ .g = s.g, .parent = xc_malloc((size_t)(n + 1) * sizeof *s.axes.parent) };
    s.gain = xc_calloc((size_t)m->n_tensors + 1, sizeof *s.gain);
    status = s.axes.parent && s.gain ? XC_OK : xc_fail_nomem(err, (size_t)n * sizeof *s.axes.parent);
    for (int32_t i = 0; s.axes.parent && i < n; i++) s.axes.parent[i] = i;
    for (int32_t i = 0; i < s.g->n_nodes && status == XC_OK; i++) {
        const struct xc_node *node = &s.g->nodes[i];

        status = tie_node(&s.axes, node, err);
        if ((!strcmp(node->op->name, "layer_norm") || !strcmp(node->op->name, "rms_norm")) && node->in[1].kind == XC_REF_TENSOR) s.gain[node->in[1].id] = true;
    }
    if (status == XC_OK) {
        s.stream = root(&s.axes, blocks.embedding);
        status = make_basis(&s, select, err);
    }
    for (int32_t t = 0; t < m->n_tensors && status == XC_OK; t++) status = project(&s, t, err);
    xc_free(s.axes.parent);
    xc_free(s.gain);
    xc_free(s.basis);
    return status == XC_OK ? xc_surgery_reshape(s.g, err) : status;
}

/* ---- at random ---- */
static enum xc_status draw(struct xc_model *m, uint64_t seed, struct xc_err *err)
{
    const struct xc_graph *g = xc_model_find_graph(m, "encode");

    for (int32_t t = 0; t < m->n_tensors; t++) {
        const int64_t n = xc_tensor_count(m->tensors[t]);
        float *x = xc_calloc((size_t)n, sizeof *x);
        bool gain = false;
        struct xc_rng rng;
        enum xc_status status;

        if (!x) return xc_fail_nomem(err, (size_t)n * sizeof *x);
        for (int32_t i = 0; i < g->n_nodes; i++)
            gain |= (!strcmp(g->nodes[i].op->name, "layer_norm") || !strcmp(g->nodes[i].op->name, "rms_norm")) && g->nodes[i].in[1].kind == XC_REF_TENSOR && g->nodes[i].in[1].id == t;
        xc_rng_init(&rng, seed, STREAM + (uint64_t)t);
        for (int64_t i = 0; i < n; i++) x[i] = gain ? 1 : m->tensors[t]->rank > 1 ? (float)(0.02 * xc_rng_normal(&rng)) : 0;
        status = xc_tensor_set_f32(m->tensors[t], x, err);
        xc_free(x);
        XC_TRY(status);
    }
    return XC_OK;
}

/* ---- all of it ---- */
static enum xc_status make(struct xc_model **m, const struct spec *spec, enum xc_student_init init, uint64_t seed, struct xc_err *err)
{
    int32_t dropped;
    size_t bytes;

    for (int32_t i = (*m)->n_graphs - 1; i >= 0; i--)
        if (strcmp((*m)->graphs[i]->name, "encode") != 0) xc_model_remove_graph(*m, (*m)->graphs[i]->name);
    xc_model_drop_unused(*m, &dropped, &bytes);
    xc_buf_unref(&(*m)->golden);
    xc_buf_unref(&(*m)->manifest);
    XC_TRY(cut_layers(m, spec, err));
    XC_TRY(cut_units(*m, spec, err));
    XC_TRY(narrow_heads(*m, spec, err));
    XC_TRY(cut_hidden(*m, spec, init == XC_INIT_SELECT, err));
    if (init == XC_INIT_RANDOM) XC_TRY(draw(*m, seed, err));
    return xc_model_verify(*m, err);
}

enum xc_status xc_student_make(struct xc_model **out, const struct xc_model *teacher, const char *text, enum xc_student_init init, uint64_t seed, struct xc_err *err)
{
    struct spec spec;
    enum xc_status status;

    *out = NULL;
    XC_TRY(parse(&spec, text, err));
    xc_blas_init();
    XC_TRY(xc_model_clone(out, teacher, err));
    status = make(out, &spec, init, seed, err);
    if (status != XC_OK && *out) xc_model_free(out);
    return status;
}
