/* one_op: a graph of one node on ragged batches with empty sequences, and what holds for every op: an answer near plain double-precision code, and the same bits with three
 * threads, sequence by sequence, from a reloaded file and by every kernel level. */
#ifndef XC_TESTS_UNIT_ONE_OP_H
#define XC_TESTS_UNIT_ONE_OP_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/base/half.h"
#include "runtime/base/rng.h"
#include "runtime/container/container.h"
#include "runtime/graph/grouped.h"
#include "runtime/graph/run.h"

static struct xc_err err;
static struct xc_pool *threads;

static inline void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

/* ---- a graph of one node ---- */
enum { N_SEQ = 5 };
static const int32_t token_start[N_SEQ + 1] = { 0, 3, 3, 4, 21, 151 };  /* 3, 0, 1, 17, 130 rows */
static const int32_t memory_start[N_SEQ + 1] = { 0, 5, 7, 9, 42, 202 }; /* 5, 2, 2, 33, 160 rows */
enum { TOKENS = 151, MEMORY = 202 };

struct fix {
    struct xc_model *m;
    struct xc_graph *g;
    int32_t tokens, memory, sequence;
    struct xc_view in[4];
    int space_of[4];
    int n_in;
};

static inline void begin(struct fix *f)
{
    memset(f, 0, sizeof *f);
    OK(xc_model_new(&f->m, &err));
    OK(xc_model_add_graph(f->m, &f->g, "g", &err));
    OK(xc_graph_add_space(f->g, &f->tokens, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(f->g, &f->memory, &(struct xc_space){ .name = "memory", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(f->g, &f->sequence, &(struct xc_space){ .name = "sequences", .map = XC_MAP_SEQUENCE }, &err));
}

static inline void end(struct fix *f)
{
    for (int i = 0; i < f->n_in; i++) free(f->in[i].data);
    xc_model_free(&f->m);
}

static inline float *randoms(int64_t n, uint64_t stream, double spread)
{
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    struct xc_rng rng;

    xc_rng_init(&rng, 11, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(spread * xc_rng_normal(&rng));
    return x;
}

static inline int32_t input(struct fix *f, const char *name, int32_t space, int32_t cols)
{
    const int64_t rows = space == f->tokens ? TOKENS : MEMORY;
    int32_t v;

    OK(xc_graph_add_input(f->g, &v, name, space, cols, XC_DTYPE_F32, &err));
    f->space_of[f->n_in] = space == f->tokens ? 0 : 1;
    f->in[f->n_in] = (struct xc_view){ .data = randoms(rows * cols, 100 + (uint64_t)f->n_in, 1.0), .rows = rows, .cols = cols };
    f->n_in++;
    return v;
}

static inline int32_t ids(struct fix *f, int32_t below)
{
    int32_t v, *data = malloc(TOKENS * sizeof *data);
    struct xc_rng rng;

    xc_rng_init(&rng, 12, 0);
    for (int i = 0; i < TOKENS; i++) data[i] = (int32_t)xc_rng_below(&rng, (uint64_t)below);
    OK(xc_graph_add_input(f->g, &v, "ids", f->tokens, 1, XC_DTYPE_I32, &err));
    f->in[f->n_in++] = (struct xc_view){ .data = data, .rows = TOKENS, .cols = 1 };
    return v;
}

static inline int32_t tensor(struct fix *f, const char *name, int32_t rank, int64_t a, int64_t b, int64_t c)
{
    const int64_t dim[] = { a, b, c };
    const int64_t n = a * (rank > 1 ? b : 1) * (rank > 2 ? c : 1);
    float *x = randoms(n, 200 + (uint64_t)f->m->n_tensors, 0.5);
    int32_t id;

    OK(xc_model_add_tensor(f->m, &id, name, rank, dim, &err));
    OK(xc_tensor_set_f32(f->m->tensors[id], x, &err));
    free(x);
    return id;
}

/* Changes the encoding of a tensor as a pass would: int8 or half formats, rows or panel16. In groups an odd N says that there are zero points, a
 * multiple of three that scales are in two levels. */
static inline void encode(struct xc_tensor *t, enum xc_format format, enum xc_layout layout)
{
    const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t);
    const struct xc_encoding form = { .format = (uint8_t)format };
    const bool grouped = xc_is_grouped(&form), two_level = grouped && N % 3 == 0;
    const struct xc_encoding enc = { .format = (uint8_t)format, .layout = (uint8_t)layout, .scale_format = two_level ? XC_FMT_S6 : grouped ? XC_FMT_F16 : XC_FMT_F32, .group = grouped ? 32 : 0,
                                     .zero_point = grouped && N % 2 != 0 };
    struct xc_buf *part[XC_PART_COUNT] = { 0 };
    float *x = malloc((size_t)(N * K) * sizeof *x);
    size_t bytes;

    OK(xc_tensor_to_f32(t, x, &err));
    for (int p = 0; p < XC_PART_COUNT; p++) {
        OK(xc_encoding_part_bytes(&enc, N, K, (enum xc_part)p, &bytes, &err));
        if (bytes) OK(xc_buf_new(&part[p], bytes, &err));
    }
    for (int p = 0; grouped && p < XC_PART_COUNT; p++)
        if (part[p]) memset(part[p]->data, 0, part[p]->size);
    if (grouped) { /* any numbers will do: the tensor is what its bytes say */
        const int64_t groups = (K + 31) / 32, levels = 1 << xc_format_traits(format)->bits;
        uint8_t *u = malloc((size_t)K), zero[16];
        uint16_t scale[16];

        for (int64_t n = 0; n < N; n++) {
            for (int64_t g = 0; g < groups; g++) {
                scale[g] = two_level ? xc_grouped_scale_of(xc_f32_to_f16(0.003f), (int)(n * 3 + g) % 32) : xc_f32_to_f16(0.01f * (float)(1 + (n * 3 + g) % 5));
                zero[g] = (uint8_t)((n * 7 + g) % (two_level ? 64 : levels));
            }
            for (int64_t k = 0; k < K; k++) u[k] = (uint8_t)((n * 7 + k * k + k / 3) % levels);
            xc_grouped_put_row(&enc, N, K, part, n, u, xc_f32_to_f16(0.003f), scale, zero);
        }
        free(u);
    } else if (format == XC_FMT_S8) {
        int8_t *q = malloc((size_t)(N * K));
        float *scale = (float *)(void *)part[XC_PART_SCALE]->data;

        for (int64_t n = 0; n < N; n++) {
            float max = 0;

            for (int64_t k = 0; k < K; k++) max = fmaxf(max, fabsf(x[n * K + k]));
            scale[n] = max / 127;
            for (int64_t k = 0; k < K; k++) q[n * K + k] = (int8_t)lrintf(x[n * K + k] / scale[n]);
        }
        if (layout == XC_LAYOUT_PANEL16) xc_pack_panel_s8((int8_t *)part[0]->data, q, N, K);
        else memcpy(part[0]->data, q, (size_t)(N * K));
        free(q);
    } else if (format == XC_FMT_F32) {
        xc_pack_panel_f32((float *)(void *)part[0]->data, x, N, K);
    } else {
        for (int64_t i = 0; i < N * K; i++) ((uint16_t *)(void *)part[0]->data)[i] = format == XC_FMT_F16 ? xc_f32_to_f16(x[i]) : xc_f32_to_bf16(x[i]);
    }
    OK(xc_tensor_set_encoded(t, &enc, part, &err));
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    free(x);
}

static inline int32_t add(struct fix *f, const char *op, const struct xc_ref *in, int n_in, const void *attr)
{
    int32_t y;

    OK(xc_graph_add_node(f->g, &y, op, "node", in, n_in, attr, &err));
    OK(xc_graph_add_output(f->g, y, &err));
    OK(xc_model_verify(f->m, &err));
    return y;
}

/* ---- running it in every way ---- */
static inline void run_all(struct xc_run *run, const struct fix *f, const struct xc_graph *g, struct xc_view *out)
{
    const struct xc_ragged spaces[] = { { .start = token_start, .n_seq = N_SEQ }, { .start = memory_start, .n_seq = N_SEQ } };

    OK(xc_run_graph(run, g, f->in, spaces, 2, out, &err));
}

static inline void same_by_sequence(struct xc_run *run, const struct fix *f, const float *whole, const int32_t *out_start)
{
    for (int s = 0; s < N_SEQ; s++) {
        const int32_t one[2][2] = { { 0, token_start[s + 1] - token_start[s] }, { 0, memory_start[s + 1] - memory_start[s] } };
        const struct xc_ragged spaces[] = { { .start = one[0], .n_seq = 1 }, { .start = one[1], .n_seq = 1 } };
        struct xc_view in[4], out;

        for (int i = 0; i < f->n_in; i++) {
            const int32_t first = f->space_of[i] ? memory_start[s] : token_start[s];

            in[i] = (struct xc_view){ .data = (float *)f->in[i].data + (int64_t)first * f->in[i].cols, .rows = one[f->space_of[i]][1], .cols = f->in[i].cols };
        }
        OK(xc_run_graph(run, f->g, in, spaces, 2, &out, &err));
        assert_int_equal(out.rows, out_start[s + 1] - out_start[s]);
        if (out.rows) assert_memory_equal(out.data, whole + out_start[s] * out.cols, (size_t)(out.rows * out.cols) * sizeof(float));
    }
}

static inline void same_after_reload(const struct fix *f, const float *whole, size_t bytes)
{
    char path[] = "/tmp/xc-ops-XXXXXX";
    const int fd = mkstemp(path);
    struct xc_model *m;
    struct xc_run *run;
    struct xc_view out;

    close(fd);
    OK(xc_container_write(f->m, path, NULL, NULL, &err));
    OK(xc_container_read(&m, path, &(struct xc_read_opts){ .verify = true }, &err));
    OK(xc_run_new(&run, m, NULL, NULL, &err));
    run_all(run, f, m->graphs[0], &out);
    assert_memory_equal(out.data, whole, bytes);
    xc_run_free(&run);
    xc_model_free(&m);
    unlink(path);
}

/* want (rows, cols) in double precision; the error is measured against the largest number wanted. */
static inline void check(struct fix *f, const double *want, double tolerance)
{
    struct xc_run *run;
    struct xc_view out;
    int32_t out_start[N_SEQ + 1];
    double worst = 0, largest = 1e-6;
    float *whole;
    size_t bytes;
    int64_t count;

    OK(xc_run_new(&run, f->m, NULL, NULL, &err));
    run_all(run, f, f->g, &out);
    bytes = (size_t)(out.rows * out.cols) * sizeof(float);
    memcpy(out_start, out.rag->start, sizeof out_start);
    whole = malloc(bytes + 1);
    memcpy(whole, out.data, bytes);
    for (int64_t i = 0; i < out.rows * out.cols; i++) {
        largest = fmax(largest, fabs(want[i]));
        worst = fmax(worst, fabs(want[i] - (double)whole[i]));
    }
    if (!(worst <= tolerance * largest)) fail_msg("error %g of %g", worst, largest);
    count = xc_alloc_count();
    run_all(run, f, f->g, &out);
    assert_int_equal(xc_alloc_count(), count);
    same_by_sequence(run, f, whole, out_start);
    assert_int_equal(xc_alloc_count(), count); /* smaller runs fit where the largest was */
    xc_run_free(&run);
    OK(xc_run_new(&run, f->m, NULL, threads, &err));
    run_all(run, f, f->g, &out);
    assert_memory_equal(out.data, whole, bytes);
    same_by_sequence(run, f, whole, out_start);
    xc_run_free(&run);
    for (const char *const *level = xc_kernels_levels(); *level; level++) {
        const struct xc_kernels *kern = xc_kernels_for(*level);

        if (!kern) continue;
        OK(xc_run_new(&run, f->m, kern, NULL, &err));
        run_all(run, f, f->g, &out);
        if (memcmp(out.data, whole, bytes)) fail_msg("level %s gives other bits", *level);
        xc_run_free(&run);
    }
    same_after_reload(f, whole, bytes);
    free(whole);
}

static inline const float *x_of(const struct fix *f, int i) { return f->in[i].data; }
static inline double *doubles(int64_t n) { return calloc((size_t)n + 1, sizeof(double)); }

static inline double *as_double(const struct fix *f, int32_t id)
{
    const struct xc_tensor *t = f->m->tensors[id];
    const int64_t n = xc_tensor_count(t);
    float *x = malloc((size_t)n * sizeof *x);
    double *d = doubles(n);

    OK(xc_tensor_to_f32(t, x, &err));
    for (int64_t i = 0; i < n; i++) d[i] = (double)x[i];
    free(x);
    return d;
}

#endif
