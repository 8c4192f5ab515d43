/* attention_maps: the probabilities of a dense model on texts, text by text and head by head, and what follows from them. See swap_attention.h.
 *
 *   window   the least to each side that, with the global tokens, holds a share of the mass of the other tokens' attention, in the mean over heads
 *   E        of the right singular vectors V of all maps put one below the other, the largest (the eigenvectors of the sum of P^T P; Wang et al. 2020, section 3): pivoted QR
 *            picks as many positions as there are slots; every other one joins that on which its column of V[:, picked]^-1 V leans most; a slot is the mean of its
 *            positions. (Rows of V themselves, or of the interpolation, have signs: no keys for a softmax. All-MiniLM-L6-v2, 128 slots, texts of 256
 *            tokens, change of the answers: interpolation above 0.9, its rows made as large as a token 0.44, means 0.12)
 *   R        mean scores at (query, key), each row less its own mean, since a softmax does not see it; with four times the mean of its diagonal added, for places that few texts
 *            reach. With rank: its truncated SVD, the roots of the singular values on both sides
 *   scale    reformer: of scores with keys of unit length, so that they are as large as they were: the mean length of a key times the scale of the dense attention
 *
 * A map is texts x texts: it is made here alone, in training of nothing. Sums are in a fixed order, whatever the threads. */
#include <cblas.h>
#include <lapack.h>
#include <math.h>
#include <string.h>

#include "compress/attention/swap_attention.h"
#include "compress/calibrate/replay.h"
#include "runtime/graph/attention/keys.h"

#define TOKENS 16384  /* about so many take part */
#define LONGEST 1024  /* a text's first tokens */
#define PRIOR 4.0     /* texts' worth of the diagonal's mean */

struct map {
    struct xc_swap *swap;
    int64_t D, heads;
    int64_t texts;
    double *mass;    /* (heads or 1, seen): attention at this distance; [0] has that of global tokens too */
    double rows;     /* queries that were counted, times heads */
    double *gram;    /* (heads or 1, seen, seen) sum of P^T P, upper triangle */
    double *sum;     /* (heads, seen, seen) scores */
    int32_t *count;  /* (seen) texts of more than i tokens */
    double length;   /* of keys, summed over keys and heads */
    double keys;
};

struct maps {
    struct map *map;
    int32_t n;
    const struct xc_graph *g;
    int64_t seen;
    float *p;          /* (seen, seen) */
    float *scores;
    float *square;     /* (seen, seen) P^T P of one text */
    enum xc_status status;
    struct xc_err *err;
};

static bool wants_window(const struct xc_swap *s) { return s->window < 0; }
static bool wants_e(const struct xc_swap *s) { return s->kind == XC_SWAP_LINFORMER && !s->drawn; }
static bool wants_r(const struct xc_swap *s) { return s->kind == XC_SWAP_SYNTHESIZER && !s->drawn && !s->dot; }

/* ---- one text and head ---- */
static void add_mass(struct map *m, double *mass, const float *p, int64_t n)
{
    for (int64_t i = m->swap->global; i < n; i++) {
        for (int64_t j = 0; j < n; j++) mass[j < m->swap->global || i == j ? 0 : j < i ? i - j : j - i] += (double)p[i * n + j];
        m->rows++;
    }
}

static void add_gram(const struct maps *s, struct map *m, int64_t head, int64_t n)
{
    double *gram = m->gram + (m->swap->each_head ? head * s->seen * s->seen : 0);

    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1.0f, s->p, (int)n, s->p, (int)n, 0.0f, s->square, (int)n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i; j < n; j++) gram[i * s->seen + j] += (double)s->square[i * n + j];
}

static void add_scores(const struct maps *s, struct map *m, int64_t head, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double mean = 0;

        for (int64_t j = 0; j < n; j++) mean += (double)s->scores[i * n + j];
        mean /= (double)n;
        for (int64_t j = 0; j < n; j++) m->sum[(head * s->seen + i) * s->seen + j] += (double)s->scores[i * n + j] - mean;
    }
}

static void softmax(float *p, const float *scores, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float top = scores[i * n], sum = 0;

        for (int64_t j = 1; j < n; j++) top = fmaxf(top, scores[i * n + j]);
        for (int64_t j = 0; j < n; j++) sum += p[i * n + j] = expf(scores[i * n + j] - top);
        for (int64_t j = 0; j < n; j++) p[i * n + j] /= sum;
    }
}

static void one_head(const struct maps *s, struct map *m, const struct xc_op_ctx *c, int64_t seq, int64_t head)
{
    const struct xc_view *q = c->in[0], *k = c->in[1];
    const int64_t n = xc_min_i64(xc_seq_rows(q, seq), s->seen), D = m->D;
    const float *x = xc_seq_data(q, seq, head * D), *y = xc_seq_data(k, seq, head * D);

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)n, (int)D, xc_attention_scale(c->attr, D), x, (int)q->cols, y, (int)k->cols, 0.0f, s->scores, (int)n);
    for (int64_t i = 0; i < n; i++) {
        double square = 0;

        for (int64_t d = 0; d < D; d++) square += (double)y[i * k->cols + d] * (double)y[i * k->cols + d];
        m->length += sqrt(square);
        m->keys++;
    }
    softmax(s->p, s->scores, n);
    if (m->mass) add_mass(m, m->mass + (m->swap->each_head ? head * s->seen : 0), s->p, n);
    if (m->gram) add_gram(s, m, head, n);
    if (m->sum) add_scores(s, m, head, n);
}

static void observe(void *arg, const struct xc_op_ctx *c)
{
    struct maps *s = arg;
    struct map *m = NULL;

    for (int32_t i = 0; i < s->n; i++)
        if (!strcmp(s->map[i].swap->node, c->node->name)) m = &s->map[i];
    if (!m || s->status != XC_OK) return;
    for (int64_t seq = 0; seq < c->in[0]->rag->n_seq; seq++) {
        if (xc_seq_rows(c->in[0], seq) == 0) continue;
        for (int64_t h = 0; h < m->heads; h++) one_head(s, m, c, seq, h);
        for (int64_t i = 0; i < xc_min_i64(xc_seq_rows(c->in[0], seq), s->seen); i++) m->count[i]++;
        m->texts++;
    }
}

/* ---- what follows ---- */
static int32_t narrowest(const double *mass, double wanted, int64_t seen)
{
    double held = 0;
    int64_t w = 0;

    for (; w < seen; w++) {
        held += mass[w];
        if (held >= wanted) break;
    }
    return (int32_t)xc_min_i64(w, seen);
}

static enum xc_status choose_window(struct map *m, int64_t seen, struct xc_err *err)
{
    struct xc_swap *s = m->swap;

    if (!s->each_head) {
        s->window = narrowest(m->mass, s->mass * m->rows, seen);
        return XC_OK;
    }
    s->windows = xc_malloc((size_t)m->heads * sizeof *s->windows);
    if (!s->windows) return xc_fail_nomem(err, (size_t)m->heads * sizeof *s->windows);
    for (int64_t h = 0; h < m->heads; h++) {
        const int32_t w = narrowest(m->mass + h * seen, s->mass * m->rows / (double)m->heads, seen);

        s->windows[h] = (float)w;
        s->window = (int32_t)xc_max_i64(s->window, w);
    }
    return XC_OK;
}

/* a (n,n), row-major, upper triangle: its eigenvectors become rows, by ascending values. */
static enum xc_status eigenvectors(double *a, int64_t n, struct xc_err *err)
{
    const lapack_int N = (lapack_int)n, size = (lapack_int)(1 + 6 * n + 2 * n * n), isize = (lapack_int)(3 + 5 * n);
    double *values = xc_malloc((size_t)n * sizeof *values), *work = xc_malloc((size_t)size * sizeof *work);
    lapack_int *iwork = xc_malloc((size_t)isize * sizeof *iwork), info = 0;
    char vectors = 'V', lower = 'L'; /* LAPACK's columns are our rows */
    enum xc_status status = values && work && iwork ? XC_OK : xc_fail_nomem(err, (size_t)size * sizeof *work);

    if (status == XC_OK) LAPACK_dsyevd(&vectors, &lower, &N, a, &N, values, work, &size, iwork, &isize, &info);
    if (status == XC_OK && info) status = xc_fail(err, XC_E_RANGE, "the attention maps have no singular vectors: are they finite?");
    xc_free(values);
    xc_free(work);
    xc_free(iwork);
    return status;
}

/* Slots of v (k,n), whose rows are orthonormal: e (k,n), in the order of the positions that were picked. */
static enum xc_status cluster(float *e, const double *v, int64_t k, int64_t n, struct xc_err *err)
{
    const lapack_int K = (lapack_int)k, N = (lapack_int)n, size = (lapack_int)(64 * (n + 1));
    double *a = xc_malloc((size_t)(k * n) * sizeof *a), *tau = xc_malloc((size_t)k * sizeof *tau), *work = xc_malloc((size_t)size * sizeof *work);
    lapack_int *pick = xc_calloc((size_t)n, sizeof *pick), info = 0;
    enum xc_status status = a && tau && work && pick ? XC_OK : xc_fail_nomem(err, (size_t)(k * n) * sizeof *a);

    for (int64_t i = 0; status == XC_OK && i < k; i++)
        for (int64_t p = 0; p < n; p++) a[p * k + i] = v[i * n + p];
    if (status == XC_OK) LAPACK_dgeqp3(&K, &N, a, &K, pick, tau, work, &size, &info);
    if (status == XC_OK && info) status = xc_fail(err, XC_E_RANGE, "the singular vectors of the attention maps have no decomposition: are they finite?");
    for (int64_t p = 0; status == XC_OK && p < n; p++) { /* R11 x = R12, from below; a column is one of R */
        double *x = a + p * k;
        int64_t best = p, slot = 0;

        if (p >= k) {
            for (int64_t i = k - 1; i >= 0; i--) {
                for (int64_t c = i + 1; c < k; c++) x[i] -= a[c * k + i] * x[c];
                x[i] /= a[i * k + i];
            }
            best = 0;
            for (int64_t i = 1; i < k; i++)
                if (fabs(x[i]) > fabs(x[best])) best = i;
        }
        for (int64_t c = 0; c < k; c++) slot += pick[c] < pick[best];
        e[slot * n + pick[p] - 1] = 1;
    }
    for (int64_t i = 0; i < k; i++) {
        float members = 0;

        for (int64_t p = 0; p < n; p++) members += e[i * n + p];
        for (int64_t p = 0; p < n && members > 0; p++) e[i * n + p] /= members;
    }
    xc_free(a);
    xc_free(tau);
    xc_free(work);
    xc_free(pick);
    return status;
}

static enum xc_status make_e(struct map *m, int64_t seen, struct xc_err *err)
{
    struct xc_swap *s = m->swap;
    const int64_t groups = s->each_head ? m->heads : 1, k = xc_min_i64(s->slots, seen);

    s->e = xc_calloc((size_t)(groups * s->slots * seen), sizeof *s->e);
    if (!s->e) return xc_fail_nomem(err, (size_t)(groups * s->slots * seen) * sizeof *s->e);
    for (int64_t h = 0; h < groups; h++) { /* slots that are more than positions: xc_swap_layer */
        double *v = m->gram + h * seen * seen;

        XC_TRY(eigenvectors(v, seen, err));
        XC_TRY(cluster(s->e + h * s->slots * seen, v + (seen - k) * seen, k, seen, err));
    }
    return XC_OK;
}

/* r (seen,seen) of one head, by the definition above. */
static void mean_scores(double *r, const struct map *m, int64_t head, int64_t seen)
{
    const double *sum = m->sum + head * seen * seen;

    for (int64_t d = 1 - seen; d < seen; d++) {
        double all = 0, n = 0;

        for (int64_t i = xc_max_i64(0, -d); i < seen - xc_max_i64(0, d); i++) all += sum[i * seen + i + d], n += m->count[xc_max_i64(i, i + d)];
        for (int64_t i = xc_max_i64(0, -d); i < seen - xc_max_i64(0, d); i++)
            r[i * seen + i + d] = (sum[i * seen + i + d] + PRIOR * (n > 0 ? all / n : 0)) / (m->count[xc_max_i64(i, i + d)] + PRIOR);
    }
}

/* The head's two factors: U sqrt(S) and V sqrt(S), `rank` columns of each, side by side. */
static enum xc_status factor(float *out, double *r, int64_t seen, int64_t rank, struct xc_err *err)
{
    const lapack_int N = (lapack_int)seen;
    lapack_int size = -1, info = 0, *iwork = xc_malloc((size_t)(8 * seen) * sizeof *iwork);
    double *s = xc_malloc((size_t)seen * sizeof *s), *u = xc_malloc((size_t)(seen * seen) * sizeof *u), *vt = xc_malloc((size_t)(seen * seen) * sizeof *vt), *work = NULL, best;
    char all = 'A';
    enum xc_status status = iwork && s && u && vt ? XC_OK : xc_fail_nomem(err, (size_t)(seen * seen) * sizeof *u);

    if (status == XC_OK) {
        LAPACK_dgesdd(&all, &N, &N, r, &N, s, u, &N, vt, &N, &best, &size, iwork, &info);
        size = (lapack_int)best;
        work = xc_malloc((size_t)size * sizeof *work);
        if (!work) status = xc_fail_nomem(err, (size_t)size * sizeof *work);
    }
    if (status == XC_OK) LAPACK_dgesdd(&all, &N, &N, r, &N, s, u, &N, vt, &N, work, &size, iwork, &info);
    if (status == XC_OK && info) status = xc_fail(err, XC_E_RANGE, "the mean attention scores have no singular values: are they finite?");
    for (int64_t i = 0; status == XC_OK && i < seen; i++) /* column-major: R^T = u s vt, so R = vt^T s u^T */
        for (int64_t k = 0; k < rank; k++) {
            const double root = k < seen ? sqrt(s[k]) : 0;

            out[i * 2 * rank + k] = (float)(k < seen ? vt[i * seen + k] * root : 0);
            out[i * 2 * rank + rank + k] = (float)(k < seen ? u[k * seen + i] * root : 0);
        }
    xc_free(iwork);
    xc_free(s);
    xc_free(u);
    xc_free(vt);
    xc_free(work);
    return status;
}

static enum xc_status make_r(struct map *m, int64_t seen, struct xc_err *err)
{
    struct xc_swap *s = m->swap;
    const int64_t cols = s->rank ? 2 * s->rank : seen;
    double *r = xc_malloc((size_t)(seen * seen) * sizeof *r);
    enum xc_status status = XC_OK;

    s->r = xc_malloc((size_t)(m->heads * seen * cols) * sizeof *s->r);
    if (!r || !s->r) status = xc_fail_nomem(err, (size_t)(m->heads * seen * cols) * sizeof *s->r);
    for (int64_t h = 0; h < m->heads && status == XC_OK; h++) {
        mean_scores(r, m, h, seen);
        if (s->rank) status = factor(s->r + h * seen * cols, r, seen, s->rank, err);
        for (int64_t i = 0; !s->rank && i < seen * seen; i++) s->r[h * seen * seen + i] = (float)r[i];
    }
    xc_free(r);
    return status;
}

static enum xc_status finish(struct map *m, int64_t seen, float dense_scale, struct xc_err *err)
{
    struct xc_swap *s = m->swap;

    s->seen = seen;
    if (m->mass) XC_TRY(choose_window(m, seen, err));
    if (s->kind == XC_SWAP_REFORMER && m->keys > 0) s->scale = (float)(m->length / m->keys) * dense_scale;
    if (m->gram) XC_TRY(make_e(m, seen, err));
    return m->sum ? make_r(m, seen, err) : XC_OK;
}

/* ---- all of it ---- */
static enum xc_status begin(struct maps *s, struct xc_swap *swap, int32_t n, struct xc_err *err)
{
    const int64_t square = s->seen * s->seen;

    s->n = n;
    s->map = xc_calloc((size_t)n + 1, sizeof *s->map);
    s->p = xc_malloc((size_t)square * sizeof *s->p);
    s->scores = xc_malloc((size_t)square * sizeof *s->scores);
    s->square = xc_malloc((size_t)square * sizeof *s->square);
    if (!s->map || !s->p || !s->scores || !s->square) return xc_fail_nomem(err, (size_t)square * sizeof *s->p);
    for (int32_t i = 0; i < n; i++) {
        struct map *m = &s->map[i];
        const struct xc_node *node = &s->g->nodes[xc_graph_find_node(s->g, swap[i].node)];

        m->swap = &swap[i];
        m->heads = ((const struct xc_attr_attention *)node->attr)->heads;
        m->D = s->g->values[node->in[0].id].cols / m->heads;
        m->count = xc_calloc((size_t)s->seen, sizeof *m->count);
        if (wants_window(&swap[i])) m->mass = xc_calloc((size_t)(s->seen * (swap[i].each_head ? m->heads : 1)), sizeof *m->mass);
        if (wants_e(&swap[i])) m->gram = xc_calloc((size_t)((swap[i].each_head ? m->heads : 1) * square), sizeof *m->gram);
        if (wants_r(&swap[i])) m->sum = xc_calloc((size_t)(m->heads * square), sizeof *m->sum);
        if (!m->count || (wants_window(&swap[i]) && !m->mass) || (wants_e(&swap[i]) && !m->gram) || (wants_r(&swap[i]) && !m->sum))
            return xc_fail_nomem(err, (size_t)(m->heads * square) * sizeof *m->sum);
    }
    return XC_OK;
}

static void release(struct maps *s)
{
    for (int32_t i = 0; s->map && i < s->n; i++) {
        xc_free(s->map[i].mass);
        xc_free(s->map[i].gram);
        xc_free(s->map[i].sum);
        xc_free(s->map[i].count);
    }
    xc_free(s->map);
    xc_free(s->p);
    xc_free(s->scores);
    xc_free(s->square);
}

static enum xc_status run_texts(struct maps *s, struct xc_model *m, const struct xc_replay *r, const struct xc_compress_opts *opts, struct xc_err *err)
{
    const struct xc_progress *p = opts->progress;
    const int64_t step = xc_replay_step(r, TOKENS);
    struct xc_run *run = NULL;
    enum xc_status status = xc_run_new(&run, m, NULL, opts->pool, err);

    if (status == XC_OK) {
        run->observe = observe;
        run->observe_arg = s;
    }
    for (int64_t b = 0; b < r->n_batches && status == XC_OK; b += step) {
        status = xc_replay_begin(r, run, s->g, b, err);
        if (status == XC_OK) status = xc_replay_nodes(run, s->g, 0, s->g->n_nodes, err);
        if (status == XC_OK) status = s->status;
        if (p && p->update) p->update(p->arg, "attention maps", (double)xc_min_i64(b + step, r->n_batches), (double)r->n_batches);
        if (status == XC_OK && p && p->cancelled && p->cancelled(p->arg)) status = xc_fail(err, XC_E_CANCELLED, "stopped on request");
    }
    xc_run_free(&run);
    return status;
}

enum xc_status xc_attention_maps(struct xc_swap *swap, int32_t n, struct xc_model *m, const struct xc_texts *texts, const struct xc_compress_opts *opts, struct xc_err *err)
{
    struct maps s = { .g = xc_model_find_graph(m, "encode"), .err = err };
    struct xc_replay r;
    enum xc_status status;

    XC_TRY(xc_replay_init(&r, m, texts, true, opts, err));
    for (int64_t i = 0; i < r.n_texts; i++) s.seen = xc_max_i64(s.seen, r.start[i + 1] - r.start[i]);
    s.seen = xc_min_i64(s.seen, LONGEST);
    status = begin(&s, swap, n, err);
    if (status == XC_OK) status = run_texts(&s, m, &r, opts, err);
    for (int32_t i = 0; i < n && status == XC_OK; i++)
        status = finish(&s.map[i], s.seen, xc_attention_scale(s.g->nodes[xc_graph_find_node(s.g, swap[i].node)].attr, s.map[i].D), err);
    release(&s);
    xc_replay_release(&r);
    return status;
}

void xc_swap_release(struct xc_swap *s)
{
    xc_free(s->e);
    xc_free(s->r);
    xc_free(s->windows);
    s->e = s->r = s->windows = NULL;
}
