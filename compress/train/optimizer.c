/* optimizer: see optimizer.h. */
#include "compress/train/optimizer.h"

#include <math.h>
#include <string.h>

#include "compress/grad/loops.h"

#define BLOCK 16384 /* numbers of an item */
#define PIECES (BLOCK / XC_PARAM_PIECE)

void xc_params_release(struct xc_params *p)
{
    xc_free(p->param);
    xc_free(p->grad);
    xc_free(p->ema);
    xc_free(p->block);
    xc_free(p->norm);
    xc_free(p->piece);
    *p = (struct xc_params){ 0 };
}

/* Bytes that only this model has, f32, row-major. */
static enum xc_status own(struct xc_tensor *t, struct xc_err *err)
{
    float *copy;
    enum xc_status status;

    XC_TRY(xc_tensor_load(t, err));
    if (t->enc.format == XC_FMT_F32 && t->enc.layout == XC_LAYOUT_ROWS && xc_buf_writable(t->part[XC_PART_DATA])) {
        xc_source_unref(&t->source); /* what it would bring back is untrained */
        return XC_OK;
    }
    if (t->enc.format != XC_FMT_F32 && t->enc.format != XC_FMT_F16 && t->enc.format != XC_FMT_BF16)
        return xc_fail(err, XC_E_UNSUPPORTED, "tensor '%s' is quantized; training takes the f32 model", t->name);
    copy = xc_malloc((size_t)xc_tensor_count(t) * sizeof *copy);
    if (!copy) return xc_fail_nomem(err, (size_t)xc_tensor_count(t) * sizeof *copy);
    status = xc_tensor_to_f32(t, copy, err);
    if (status == XC_OK) status = xc_tensor_set_f32(t, copy, err);
    xc_free(copy);
    return status;
}

static void still(struct xc_params *p, bool zero) { memset(p->piece, zero ? XC_PIECE_STILL : 0, (size_t)p->n_blocks * PIECES); }

void xc_params_moved(struct xc_params *p) { still(p, false); }

static enum xc_status fill(struct xc_params *p, struct xc_model *m, const bool *trained, const struct xc_optimizer_opts *opts, struct xc_err *err)
{
    const size_t copies = opts->kind == XC_OPT_ADAMW ? 3 : 2;
    size_t bytes;

    p->param = xc_calloc((size_t)m->n_tensors + 1, sizeof *p->param);
    if (!p->param) return xc_fail_nomem(err, (size_t)m->n_tensors * sizeof *p->param);
    for (int32_t t = 0; t < m->n_tensors; t++) {
        if (!trained[t]) continue;
        XC_TRY(own(m->tensors[t], err));
        p->param[p->n++] = (struct xc_param){ .tensor = t, .p = (float *)(void *)m->tensors[t]->part[XC_PART_DATA]->data, .n = xc_tensor_count(m->tensors[t]),
                                              .at = p->total, .rate = 1, .decay = m->tensors[t]->rank > 1 };
        p->total += xc_tensor_count(m->tensors[t]);
        p->n_blocks += xc_div_up(xc_tensor_count(m->tensors[t]), BLOCK);
    }
    if (!p->n) return xc_fail(err, XC_E_ARG, "nothing to train: every tensor is frozen");
    if (!xc_mul_ok(&bytes, (size_t)p->total, sizeof(float) * copies)) return xc_fail(err, XC_E_RANGE, "too many numbers to train");
    p->grad = xc_alloc_aligned(bytes);
    p->block = xc_calloc((size_t)p->n_blocks, sizeof *p->block);
    p->norm = xc_calloc((size_t)p->n_blocks, sizeof *p->norm);
    if (opts->ema > 0) p->ema = xc_alloc_aligned((size_t)p->total * sizeof *p->ema);
    p->piece = xc_calloc((size_t)p->n_blocks * PIECES, sizeof *p->piece);
    if (!p->grad || !p->block || !p->norm || !p->piece || (opts->ema > 0 && !p->ema)) return xc_fail_nomem(err, bytes);
    xc_alloc_expect(p->grad, bytes);
    if (p->ema) xc_alloc_expect(p->ema, (size_t)p->total * sizeof *p->ema);
    memset(p->grad, 0, bytes);
    p->m = p->grad + p->total;
    if (copies == 3) p->v = p->m + p->total;
    still(p, true);
    if (p->ema) xc_params_copy(p, p->ema, true);
    for (int32_t i = 0, b = 0; i < p->n; i++)
        for (int64_t first = 0; first < p->param[i].n; first += BLOCK)
            p->block[b++] = (struct xc_param_block){ .param = i, .first = first, .n = xc_min_i64(BLOCK, p->param[i].n - first) };
    return XC_OK;
}

enum xc_status xc_params_new(struct xc_params *out, struct xc_model *m, const bool *trained, const struct xc_optimizer_opts *opts, struct xc_err *err)
{
    enum xc_status status;

    *out = (struct xc_params){ 0 };
    status = fill(out, m, trained, opts, err);
    if (status != XC_OK) xc_params_release(out);
    return status;
}

void xc_params_copy(struct xc_params *p, float *flat, bool to_flat)
{
    for (int32_t i = 0; i < p->n; i++) {
        if (to_flat) memcpy(flat + p->param[i].at, p->param[i].p, (size_t)p->param[i].n * sizeof *flat);
        else memcpy(p->param[i].p, flat + p->param[i].at, (size_t)p->param[i].n * sizeof *flat);
    }
}

void xc_params_forget(struct xc_params *p)
{
    memset(p->m, 0, (size_t)p->total * sizeof *p->m);
    if (p->v) memset(p->v, 0, (size_t)p->total * sizeof *p->v);
    still(p, true);
}

void xc_params_swap_ema(struct xc_params *p)
{
    for (int32_t i = 0; i < p->n; i++)
        for (int64_t k = 0; k < p->param[i].n; k++) {
            const float x = p->param[i].p[k];

            p->param[i].p[k] = p->ema[p->param[i].at + k];
            p->ema[p->param[i].at + k] = x;
        }
}

struct job {
    struct xc_params *p;
    const struct xc_optimizer_opts *opts;
    struct xc_adamw adam;
    double rate, g_scale, correct1;
};

static float *of_block(const struct job *j, float *flat, const struct xc_param_block *b) { return flat + j->p->param[b->param].at + b->first; }

static void norm_block(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_param_block *b = &j->p->block[item];

    const float *g = of_block(j, j->p->grad, b);
    uint8_t *piece = j->p->piece + item * PIECES;
    double sum = 0;

    (void)thread;
    for (int64_t i = 0; i < b->n; i += XC_PARAM_PIECE, piece++) {
        const double squares = xc_loops()->sum_squares(g + i, xc_min_i64(XC_PARAM_PIECE, b->n - i));

        *piece = (uint8_t)((*piece & XC_PIECE_STILL) | (squares == 0 ? XC_PIECE_NONE : 0)); /* in double no square of a float vanishes */
        sum += squares;
    }
    j->p->norm[item] = sum;
}

enum xc_status xc_params_norm(struct xc_params *p, const struct xc_model *m, double *norm, struct xc_pool *pool, struct xc_err *err)
{
    struct job j = { .p = p };
    double sum = 0;

    xc_pool_run(pool, norm_block, &j, p->n_blocks);
    for (int64_t b = 0; b < p->n_blocks; b++) {
        if (!isfinite(p->norm[b]))
            return xc_fail(err, XC_E_RANGE, "the gradient of tensor '%s' is not finite", m->tensors[p->param[p->block[b].param].tensor]->name);
        sum += p->norm[b];
    }
    *norm = sqrt(sum);
    return XC_OK;
}

/* Pieces of which the same is known go together. The bits are those of the whole: without moments and gradient, the kernel multiplies by keep. */
static void adamw_block(const struct job *j, const struct xc_adamw *a, int64_t item)
{
    const struct xc_param_block *b = &j->p->block[item];
    float *p = j->p->param[b->param].p + b->first, *g = of_block(j, j->p->grad, b), *m = of_block(j, j->p->m, b), *v = of_block(j, j->p->v, b);
    uint8_t *piece = j->p->piece + item * PIECES;

    for (int64_t i = 0, n; i < b->n; i += n) {
        const uint8_t known = piece[i / XC_PARAM_PIECE];

        n = 0;
        while (i + n < b->n && piece[(i + n) / XC_PARAM_PIECE] == known) {
            if (!(known & XC_PIECE_NONE)) piece[(i + n) / XC_PARAM_PIECE] = 0;
            n += XC_PARAM_PIECE;
        }
        n = xc_min_i64(n, b->n - i);
        if (known == (XC_PIECE_STILL | XC_PIECE_NONE) && a->eps > 0) {
            for (int64_t k = i; k < i + n && a->keep != 1; k++) p[k] *= a->keep;
            continue;
        }
        xc_kernels()->adamw_f32(p + i, m + i, v + i, g + i, n, a);
        if (!(known & XC_PIECE_NONE)) memset(g + i, 0, (size_t)n * sizeof *g); /* for the next step, while it is in the cache */
    }
}

static void step_block(void *arg, int64_t item, int thread)
{
    const struct job *j = arg;
    const struct xc_param_block *b = &j->p->block[item];
    const struct xc_param *param = &j->p->param[b->param];
    const double rate = j->rate * param->rate, decay = param->decay ? j->opts->weight_decay : 0;
    float *p = param->p + b->first;

    (void)thread;
    if (j->opts->kind == XC_OPT_ADAMW) {
        struct xc_adamw a = j->adam;

        a.keep = (float)(1 - rate * decay);
        a.step = (float)(rate / j->correct1);
        adamw_block(j, &a, item);
    } else { /* torch.optim.SGD: decay joins the gradient */
        const float scale = (float)j->g_scale, mu = (float)j->opts->beta1, wd = (float)decay, step = (float)rate;
        float *g = of_block(j, j->p->grad, b), *m = of_block(j, j->p->m, b);

        for (int64_t i = 0; i < b->n; i++) {
            m[i] = mu * m[i] + (g[i] * scale + wd * p[i]);
            p[i] -= step * m[i];
        }
        memset(g, 0, (size_t)b->n * sizeof *g); /* for the next step, while it is in the cache */
    }
    if (j->p->ema) {
        const float keep = (float)j->opts->ema, take = (float)(1 - j->opts->ema);
        float *e = of_block(j, j->p->ema, b);

        for (int64_t i = 0; i < b->n; i++) e[i] = keep * e[i] + take * p[i];
    }
}

void xc_params_step(struct xc_params *p, const struct xc_optimizer_opts *o, int64_t t, double rate, double norm, struct xc_pool *pool)
{
    struct job j = { .p = p, .opts = o, .rate = rate, .g_scale = o->clip > 0 && norm > o->clip ? o->clip / (norm + 1e-6) : 1 };

    j.correct1 = 1 - pow(o->beta1, (double)t);
    j.adam = (struct xc_adamw){ .b1 = (float)o->beta1, .one_b1 = (float)(1 - o->beta1), .b2 = (float)o->beta2, .one_b2 = (float)(1 - o->beta2), .eps = (float)o->eps,
                                .g_scale = (float)j.g_scale, .v_scale = (float)(1 / sqrt(1 - pow(o->beta2, (double)t))) };
    xc_pool_run(pool, step_block, &j, p->n_blocks);
}
