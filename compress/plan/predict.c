/* predict: see predict.h. */
#include "compress/plan/predict.h"

#include <math.h>
#include <string.h>

#include "compress/quantize/int8.h"
#include "runtime/base/half.h"
#include "runtime/container/frame_pack.h"
#include "runtime/container/layout.h"

#define SAMPLE ((int64_t)1 << 19) /* numbers of a tensor, about */
#define CHUNKS 8
#define MODEL_SHARE 0.13 /* of the model section: names that repeat. Measured on BERT-shaped models of 2 to 14 layers: 0.10 to 0.15 */

struct predictor {
    ZSTD_CCtx *ctx;
    uint8_t *packed, *planes, *raw; /* packed: room for a frame */
    float *x;                 /* the sample */
    int64_t room;             /* numbers of x */
    const double *known;      /* by tensor: what it packs to; NULL, or -1 = not known */
    struct xc_err *err;
};

/* Bytes that n bytes pack to, frame by frame; never more than n. 0 = out of memory. */
static double pack(struct predictor *p, const uint8_t *src, size_t n, enum xc_pack what, int width)
{
    double total = 0;

    for (size_t at = 0; at < n; at += XC_FRAME_BYTES) {
        const size_t frame = n - at < XC_FRAME_BYTES ? n - at : XC_FRAME_BYTES;
        size_t got;

        if (width) xc_planes_split(p->planes, src + at, frame, width);
        got = xc_pack_frame(p->ctx, p->packed, width ? p->planes : src + at, frame, what);
        if (!got) return 0;
        total += (double)got;
    }
    return fmin(total, (double)n);
}

/* Whole rows, evenly spread over the tensor. *rows of them. */
static enum xc_status sample(struct predictor *p, const struct xc_tensor *t, int64_t *rows)
{
    const int64_t R = xc_tensor_rows(t), C = xc_tensor_cols(t), most = xc_max_i64(xc_min_i64(SAMPLE, p->room) / C, 1), chunks = R <= most ? 1 : xc_min_i64(CHUNKS, most), n = xc_min_i64(R, most) / chunks;

    *rows = 0;
    if (C > p->room) return XC_OK;
    for (int64_t i = 0; i < chunks; i++) {
        XC_TRY(xc_tensor_rows_to_f32(t, chunks > 1 ? i * (R - n) / (chunks - 1) : 0, n, p->x + *rows * C, p->err));
        *rows += n;
    }
    return XC_OK;
}

/* The sample as bits of `bits` bits, symmetric in groups: near enough to any rounding method for an entropy. Returns bytes in raw. */
static size_t low_bits(struct predictor *p, int64_t rows, int64_t cols, int bits, int64_t group)
{
    const float top = (float)((1 << (bits - 1)) - 1);
    size_t n = 0, held = 0;
    uint32_t acc = 0;

    if (group <= 0) group = cols;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c0 = 0; c0 < cols; c0 += group) {
            const float *x = p->x + r * cols + c0;
            const int64_t g = xc_min_i64(group, cols - c0);
            float max = 0;

            for (int64_t i = 0; i < g; i++) max = fmaxf(max, fabsf(x[i]));
            for (int64_t i = 0; i < g; i++) {
                acc |= ((uint32_t)(int32_t)(max > 0 ? rintf(x[i] / max * top) : 0) & ((1u << bits) - 1)) << held;
                for (held += (size_t)bits; held >= 8; held -= 8, acc >>= 8) p->raw[n++] = (uint8_t)acc;
            }
        }
    return n;
}

/* The sample as int8. */
static size_t int8(struct predictor *p, int64_t rows, int64_t cols, bool sum16)
{
    const int64_t ld = xc_round_up(cols, 8);
    struct xc_int8_sums sums = { 0 };
    int8_t *q = xc_alloc_aligned((size_t)ld);
    float *quads = xc_malloc((size_t)ld * sizeof *quads), scale;
    int64_t bad;
    size_t n = 0;

    for (int64_t r = 0; q && quads && r < rows; r++) {
        if (!xc_int8_rows(q, ld, &scale, &sums, p->x + r * cols, 1, cols, sum16, quads, xc_kernels(), &bad)) continue;
        memcpy(p->raw + n, q, (size_t)cols);
        n += (size_t)cols;
    }
    xc_free(q);
    xc_free(quads);
    return n;
}

/* What part of its size the data of a tensor packs to; 0 = cannot be told. */
static enum xc_status share_of(struct predictor *p, const struct xc_tensor *t, const struct xc_encoding *want, double *share)
{
    const struct xc_format_traits *f = xc_format_traits((enum xc_format)want->format);
    const int64_t cols = xc_tensor_cols(t);
    int64_t rows;
    size_t n;
    double got;

    *share = 0;
    XC_TRY(sample(p, t, &rows));
    if (!rows) return XC_OK;
    if (want->format == XC_FMT_F32 || want->format == XC_FMT_F16 || want->format == XC_FMT_BF16) {
        n = (size_t)(rows * cols * (f->bits / 8));
        for (int64_t i = 0; i < rows * cols; i++) {
            const uint16_t half = want->format == XC_FMT_F16 ? xc_f32_to_f16(p->x[i]) : want->format == XC_FMT_BF16 ? xc_f32_to_bf16(p->x[i]) : 0;

            if (want->format == XC_FMT_F32) memcpy(p->raw + 4 * i, &p->x[i], 4);
            else memcpy(p->raw + 2 * i, &half, 2);
        }
        got = fmin(pack(p, p->raw, n, XC_PACK_PLANES, f->bits / 8), pack(p, p->raw, n, XC_PACK_WEIGHTS, 0));
    } else {
        n = want->format == XC_FMT_S8 ? int8(p, rows, cols, want->sum16) : low_bits(p, rows, cols, f->bits, want->group);
        got = pack(p, p->raw, n, XC_PACK_WEIGHTS, 0);
    }
    if (!n || got == 0) return xc_fail_nomem(p->err, n);
    *share = got / (double)n;
    return XC_OK;
}

static enum xc_status add_tensors(struct predictor *p, double *total, double *fast, int64_t *sections, const struct xc_model *m, const struct xc_model *source, const struct xc_encoding *want)
{
    double known = 0, known_packed = 0, unknown = 0;

    for (int32_t t = 0; t < m->n_tensors; t++) {
        const int32_t at = xc_model_find_tensor(source, m->tensors[t]->name);
        const struct xc_tensor *s = at >= 0 && xc_tensor_rows(source->tensors[at]) == xc_tensor_rows(m->tensors[t]) && xc_tensor_cols(source->tensors[at]) == xc_tensor_cols(m->tensors[t]) ? source->tensors[at] : NULL;

        for (int part = 0; part < XC_PART_COUNT; part++) {
            size_t bytes;
            double share = part == XC_PART_DATA ? 0 : 0.9; /* scales: exponents shrink, mantissas do not */

            XC_TRY(xc_encoding_part_bytes(&want[t], xc_tensor_rows(m->tensors[t]), xc_tensor_cols(m->tensors[t]), (enum xc_part)part, &bytes, p->err));
            if (!bytes) continue;
            ++*sections;
            *fast += (double)((bytes + 63) / 64 * 64);
            if (p->known && p->known[t] >= 0) {
                *total += part == XC_PART_DATA ? p->known[t] : 0;
                continue;
            }
            if (bytes <= 256) share = 1;
            else if (part == XC_PART_DATA && s && want[t].format != XC_FMT_I32) XC_TRY(share_of(p, s, &want[t], &share));
            if (share > 0) {
                known += (double)bytes;
                known_packed += share * (double)bytes;
            } else {
                unknown += (double)bytes;
            }
        }
    }
    *total += known_packed + unknown * (known > 0 ? known_packed / known : 1);
    return XC_OK;
}

static enum xc_status predict(struct predictor *p, uint64_t *bytes, const struct xc_model *m, const struct xc_model *source, const struct xc_encoding *want, uint64_t fast_bytes)
{
    const struct xc_buf *const text[] = { m->tokenizer, m->manifest };
    int64_t sections = 1 + (m->golden != NULL);
    double total = m->golden ? (double)m->golden->size : 0, fast = total;

    XC_TRY(add_tensors(p, &total, &fast, &sections, m, source, want));
    for (size_t i = 0; i < XC_ARRAY_LEN(text); i++) {
        double got;

        if (!text[i]) continue;
        got = pack(p, text[i]->data, text[i]->size, XC_PACK_TEXT, 0);
        if (got == 0) return xc_fail_nomem(p->err, text[i]->size);
        total += got;
        fast += (double)text[i]->size;
        sections++;
    }
    fast += 64 + 64 * (double)sections;
    total += 64 + (64 + 32) * (double)sections; /* the table, and half a line of padding each */
    if ((double)fast_bytes > fast) total += MODEL_SHARE * ((double)fast_bytes - fast);
    *bytes = (uint64_t)total;
    return XC_OK;
}

enum xc_status xc_predict_small(uint64_t *bytes, const struct xc_model *m, const struct xc_model *source, const struct xc_encoding *want, const double *packed, uint64_t fast_bytes,
                                struct xc_err *err)
{
    struct predictor p = { .room = SAMPLE, .known = packed, .err = err };
    enum xc_status status;

    *bytes = 0;
    for (int32_t t = 0; t < m->n_tensors; t++) p.room = xc_max_i64(p.room, xc_min_i64(xc_tensor_cols(m->tensors[t]), (int64_t)1 << 22));
    p.ctx = ZSTD_createCCtx_advanced(xc_zstd_mem());
    p.packed = xc_malloc(ZSTD_compressBound(XC_FRAME_BYTES));
    p.planes = xc_malloc(XC_FRAME_BYTES);
    p.raw = xc_malloc((size_t)p.room * 4 + 4);
    p.x = xc_alloc_aligned((size_t)p.room * sizeof *p.x);
    status = p.ctx && p.packed && p.planes && p.raw && p.x ? predict(&p, bytes, m, source, want, fast_bytes) : xc_fail_nomem(err, (size_t)p.room * 8);
    ZSTD_freeCCtx(p.ctx);
    xc_free(p.packed);
    xc_free(p.planes);
    xc_free(p.raw);
    xc_free(p.x);
    return status;
}

static bool plain(enum xc_format format) { return format == XC_FMT_F32 || format == XC_FMT_F16 || format == XC_FMT_BF16; }

enum xc_status xc_predict_packed(uint64_t *bytes, struct xc_buf *const part[XC_PART_COUNT], const struct xc_encoding *enc, struct xc_err *err)
{
    struct predictor p = { .ctx = ZSTD_createCCtx_advanced(xc_zstd_mem()), .packed = xc_malloc(ZSTD_compressBound(XC_FRAME_BYTES)), .planes = xc_malloc(XC_FRAME_BYTES) };
    const bool ok = p.ctx && p.packed && p.planes;

    *bytes = 0;
    for (int i = 0; i < XC_PART_COUNT && ok; i++) {
        const enum xc_format format = (enum xc_format)(i == XC_PART_DATA ? enc->format : enc->scale_format);
        const int width = (i == XC_PART_DATA || i == XC_PART_SCALE) && plain(format) ? xc_format_traits(format)->bits / 8 : 0;
        double got;

        if (!part[i]) continue;
        got = (double)part[i]->size;
        if (part[i]->size > 256) got = pack(&p, part[i]->data, part[i]->size, XC_PACK_WEIGHTS, 0);
        if (part[i]->size > 256 && width) got = fmin(got, pack(&p, part[i]->data, part[i]->size, XC_PACK_PLANES, width));
        *bytes += (uint64_t)got;
    }
    ZSTD_freeCCtx(p.ctx);
    xc_free(p.packed);
    xc_free(p.planes);
    return ok ? XC_OK : xc_fail_nomem(err, XC_FRAME_BYTES);
}
