/* Every op against plain double-precision code, on ragged batches with empty sequences. Each case also runs with three threads and
 * sequence by sequence, from a reloaded file, and by every kernel level, and must give the same bits. */
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

static void ok_at(enum xc_status status, int line)
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

static void begin(struct fix *f)
{
    memset(f, 0, sizeof *f);
    OK(xc_model_new(&f->m, &err));
    OK(xc_model_add_graph(f->m, &f->g, "g", &err));
    OK(xc_graph_add_space(f->g, &f->tokens, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(f->g, &f->memory, &(struct xc_space){ .name = "memory", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(f->g, &f->sequence, &(struct xc_space){ .name = "sequences", .map = XC_MAP_SEQUENCE }, &err));
}

static void end(struct fix *f)
{
    for (int i = 0; i < f->n_in; i++) free(f->in[i].data);
    xc_model_free(&f->m);
}

static float *randoms(int64_t n, uint64_t stream, double spread)
{
    float *x = malloc((size_t)(n ? n : 1) * sizeof *x);
    struct xc_rng rng;

    xc_rng_init(&rng, 11, stream);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(spread * xc_rng_normal(&rng));
    return x;
}

static int32_t input(struct fix *f, const char *name, int32_t space, int32_t cols)
{
    const int64_t rows = space == f->tokens ? TOKENS : MEMORY;
    int32_t v;

    OK(xc_graph_add_input(f->g, &v, name, space, cols, XC_DTYPE_F32, &err));
    f->space_of[f->n_in] = space == f->tokens ? 0 : 1;
    f->in[f->n_in] = (struct xc_view){ .data = randoms(rows * cols, 100 + (uint64_t)f->n_in, 1.0), .rows = rows, .cols = cols };
    f->n_in++;
    return v;
}

static int32_t ids(struct fix *f, int32_t below)
{
    int32_t v, *data = malloc(TOKENS * sizeof *data);
    struct xc_rng rng;

    xc_rng_init(&rng, 12, 0);
    for (int i = 0; i < TOKENS; i++) data[i] = (int32_t)xc_rng_below(&rng, (uint64_t)below);
    OK(xc_graph_add_input(f->g, &v, "ids", f->tokens, 1, XC_DTYPE_I32, &err));
    f->in[f->n_in++] = (struct xc_view){ .data = data, .rows = TOKENS, .cols = 1 };
    return v;
}

static int32_t tensor(struct fix *f, const char *name, int32_t rank, int64_t a, int64_t b, int64_t c)
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
static void encode(struct xc_tensor *t, enum xc_format format, enum xc_layout layout)
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

static int32_t add(struct fix *f, const char *op, const struct xc_ref *in, int n_in, const void *attr)
{
    int32_t y;

    OK(xc_graph_add_node(f->g, &y, op, "node", in, n_in, attr, &err));
    OK(xc_graph_add_output(f->g, y, &err));
    OK(xc_model_verify(f->m, &err));
    return y;
}

/* ---- running it in every way ---- */
static void run_all(struct xc_run *run, const struct fix *f, const struct xc_graph *g, struct xc_view *out)
{
    const struct xc_ragged spaces[] = { { .start = token_start, .n_seq = N_SEQ }, { .start = memory_start, .n_seq = N_SEQ } };

    OK(xc_run_graph(run, g, f->in, spaces, 2, out, &err));
}

static void same_by_sequence(struct xc_run *run, const struct fix *f, const float *whole, const int32_t *out_start)
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

static void same_after_reload(const struct fix *f, const float *whole, size_t bytes)
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
static void check(struct fix *f, const double *want, double tolerance)
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

static const float *x_of(const struct fix *f, int i) { return f->in[i].data; }
static double *doubles(int64_t n) { return calloc((size_t)n + 1, sizeof(double)); }

static double *as_double(const struct fix *f, int32_t id)
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

/* ---- the ops ---- */
static void test_gather(void **state)
{
    static const struct { enum xc_format format; enum xc_layout layout; } kinds[] = {
        { XC_FMT_F32, XC_LAYOUT_ROWS }, { XC_FMT_F16, XC_LAYOUT_ROWS },    { XC_FMT_BF16, XC_LAYOUT_ROWS },
        { XC_FMT_S8, XC_LAYOUT_ROWS },  { XC_FMT_F32, XC_LAYOUT_PANEL16 }, { XC_FMT_S8, XC_LAYOUT_PANEL16 },
        { XC_FMT_S4, XC_LAYOUT_ROWS },  { XC_FMT_S3, XC_LAYOUT_ROWS },     { XC_FMT_S2, XC_LAYOUT_ROWS },
        { XC_FMT_S4, XC_LAYOUT_PANEL16 }, { XC_FMT_S5, XC_LAYOUT_ROWS },   { XC_FMT_S6, XC_LAYOUT_ROWS },
        { XC_FMT_S7, XC_LAYOUT_ROWS },  { XC_FMT_G8, XC_LAYOUT_ROWS },
    };

    (void)state;
    for (size_t form = 0; form < 4 * XC_ARRAY_LEN(kinds); form++) {
        const size_t k = form / 4;
        const int32_t N = 36 + (int32_t)(form % 4); /* what it does: encode */
        enum { C = 26 };
        struct fix f;
        double *table, *want = doubles(TOKENS * C);

        begin(&f);
        const int32_t x = ids(&f, N), t = tensor(&f, "table", 2, N, C, 0);

        if (kinds[k].format != XC_FMT_F32 || kinds[k].layout != XC_LAYOUT_ROWS) encode(f.m->tensors[t], kinds[k].format, kinds[k].layout);
        add(&f, "gather", (struct xc_ref[]){ xc_val(x), xc_ten(t) }, 2, NULL);
        table = as_double(&f, t);
        for (int r = 0; r < TOKENS; r++)
            for (int i = 0; i < C; i++) want[r * C + i] = table[((const int32_t *)f.in[0].data)[r] * C + i];
        check(&f, want, 0);

        struct xc_run *run;
        struct xc_view out;
        const struct xc_ragged spaces[] = { { .start = token_start, .n_seq = N_SEQ }, { .start = memory_start, .n_seq = N_SEQ } };

        ((int32_t *)f.in[0].data)[20] = k % 2 ? N : -1;
        OK(xc_run_new(&run, f.m, NULL, NULL, &err));
        assert_int_equal(xc_run_graph(run, f.g, f.in, spaces, 2, &out, &err), XC_E_RANGE);
        assert_non_null(strstr(err.msg, "'node', row 20: id "));
        xc_run_free(&run);
        free(table);
        free(want);
        end(&f);
    }
}

/* What a file may say of groups, and must not. */
static void test_hostile_groups(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        struct fix f;

        begin(&f);
        const int32_t x = ids(&f, 33), t = tensor(&f, "table", 2, kind ? 35 : 33, 70, 0);

        encode(f.m->tensors[t], XC_FMT_S3, XC_LAYOUT_ROWS);
        add(&f, "gather", (struct xc_ref[]){ xc_val(x), xc_ten(t) }, 2, NULL);
        if (kind) f.m->tensors[t]->part[XC_PART_ZERO]->data[5] = 8;
        else ((uint16_t *)(void *)f.m->tensors[t]->part[XC_PART_SCALE]->data)[3] = xc_f32_to_f16(2000);
        assert_int_equal(xc_model_verify(f.m, &err), XC_E_FORMAT);
        assert_non_null(strstr(err.msg, kind ? "'table': zero point 5 is beyond the levels" : "'table': the scale of row 3 is not finite"));
        end(&f);
    }
}

static void test_positions(void **state)
{
    (void)state;
    for (int skip = 0; skip < 2; skip++) {
        const struct xc_attr_positions attr = { .offset = 2, .skip_id = skip ? 1 : -1 };
        const int32_t *id;
        struct fix f;
        struct xc_run *run;
        struct xc_view out;

        begin(&f);
        add(&f, "positions", (struct xc_ref[]){ xc_val(ids(&f, 3)) }, 1, &attr);
        id = f.in[0].data;
        OK(xc_run_new(&run, f.m, NULL, NULL, &err));
        run_all(run, &f, f.g, &out);
        for (int s = 0; s < N_SEQ; s++) {
            int32_t next = 2;

            for (int32_t r = token_start[s]; r < token_start[s + 1]; r++) assert_int_equal(((int32_t *)out.data)[r], skip && id[r] == 1 ? 1 : next++);
        }
        xc_run_free(&run);
        end(&f);
    }
}

/* Axial: the two coordinates of a place on a grid. */
static void test_grid_positions(void **state)
{
    (void)state;
    for (int k = 0; k < 3; k++) {
        const struct xc_attr_positions attr = { .offset = 3, .skip_id = k == 2 ? 1 : -1, .divide = k == 0 ? 4 : 0, .modulo = k ? 4 : 0 };
        struct fix f;
        struct xc_run *run;
        struct xc_view out;
        int32_t y;

        begin(&f);
        const struct xc_ref in[] = { xc_val(ids(&f, 3)) };

        if (k == 2) {
            assert_int_equal(xc_graph_add_node(f.g, &y, "positions", "p", in, 1, &attr, &err), XC_E_UNSUPPORTED);
            end(&f);
            continue;
        }
        add(&f, "positions", in, 1, &attr);
        OK(xc_run_new(&run, f.m, NULL, NULL, &err));
        run_all(run, &f, f.g, &out);
        for (int s = 0; s < N_SEQ; s++)
            for (int32_t r = token_start[s]; r < token_start[s + 1]; r++)
                assert_int_equal(((int32_t *)out.data)[r], 3 + (k ? (r - token_start[s]) % 4 : (r - token_start[s]) / 4));
        xc_run_free(&run);
        end(&f);
        assert_int_equal(xc_positions_limit(&attr, 10), k ? 0 : 28);
    }
}

static void test_add_mul(void **state)
{
    (void)state;
    for (int mul = 0; mul < 2; mul++) {
        enum { C = 19 };
        struct fix f;
        double *want = doubles(TOKENS * C);

        begin(&f);
        const int32_t a = input(&f, "a", f.tokens, C), b = input(&f, "b", f.tokens, C);

        add(&f, mul ? "mul" : "add", (struct xc_ref[]){ xc_val(a), xc_val(b) }, 2, NULL);
        for (int i = 0; i < TOKENS * C; i++) {
            const double p = (double)x_of(&f, 0)[i], q = (double)x_of(&f, 1)[i];

            want[i] = mul ? p * q : p + q;
        }
        check(&f, want, 1e-7);
        free(want);
        end(&f);
    }
}

static void test_norms(void **state)
{
    (void)state;
    for (int rms = 0; rms < 2; rms++)
        for (int with_bias = 0; with_bias < 2 - rms; with_bias++) {
            enum { C = 45 };
            const struct xc_attr_norm attr = { .eps = 1e-5f };
            struct fix f;
            double *want = doubles(TOKENS * C), *gain, *bias;

            begin(&f);
            const int32_t x = input(&f, "x", f.tokens, C), g = tensor(&f, "gain", 1, C, 0, 0), b = with_bias ? tensor(&f, "bias", 1, C, 0, 0) : g;

            add(&f, rms ? "rms_norm" : "layer_norm", (struct xc_ref[]){ xc_val(x), xc_ten(g), xc_ten(b) }, with_bias ? 3 : 2, &attr);
            gain = as_double(&f, g);
            bias = as_double(&f, b);
            for (int r = 0; r < TOKENS; r++) {
                double mean = 0, var = 0;

                for (int i = 0; i < C && !rms; i++) mean += (double)x_of(&f, 0)[r * C + i] / C;
                for (int i = 0; i < C; i++) var += pow((double)x_of(&f, 0)[r * C + i] - mean, 2) / C;
                for (int i = 0; i < C; i++)
                    want[r * C + i] = ((double)x_of(&f, 0)[r * C + i] - mean) / sqrt(var + 1e-5) * gain[i] + (with_bias ? bias[i] : 0);
            }
            check(&f, want, 1e-6);
            free(gain);
            free(bias);
            free(want);
            end(&f);
        }
}

static void linear_case(int64_t K, int64_t N, enum xc_format format, enum xc_layout layout, enum xc_range_mode mode, bool bias)
{
    struct fix f;
    double *want = doubles(TOKENS * N), *w, *b;
    struct xc_ref in[3];
    double tolerance = 2e-6;

    begin(&f);
    in[0] = xc_val(input(&f, "x", f.tokens, (int32_t)K));
    in[1] = xc_ten(tensor(&f, "weight", 2, N, K, 0));
    in[2] = bias ? xc_ten(tensor(&f, "bias", 1, N, 0, 0)) : xc_none();
    in[0].range = (struct xc_range){ .mode = mode, .scale = mode == XC_RANGE_STATIC ? 0.04f : 0 };
    if (format != XC_FMT_F32 || layout != XC_LAYOUT_ROWS) encode(f.m->tensors[in[1].id], format, layout);
    add(&f, "linear", in, 3, NULL);
    w = as_double(&f, in[1].id);
    b = bias ? as_double(&f, in[2].id) : doubles(N);
    for (int r = 0; r < TOKENS; r++)
        for (int64_t n = 0; n < N; n++) {
            const float *x = x_of(&f, 0) + r * K;
            double max = 0, low = (double)x[0], high = low, scale, sum = 0;

            for (int64_t k = 0; k < K; k++) max = fmax(max, fabs((double)x[k])), low = fmin(low, (double)x[k]), high = fmax(high, (double)x[k]);
            scale = mode == XC_RANGE_STATIC ? (double)0.04f : mode == XC_RANGE_AFFINE ? (high - low) / XC_AFFINE_SPAN : max / 127;
            for (int64_t k = 0; k < K; k++) /* the integers that the runtime multiplies, unless a value lies on a rounding edge */
                sum += w[n * K + k] * (mode == XC_RANGE_NONE ? (double)x[k] : mode == XC_RANGE_AFFINE ? low + scale * rint(((double)x[k] - low) / scale) : scale * fmax(-127, fmin(127, rint((double)x[k] / scale))));
            want[r * N + n] = sum + b[n];
        }
    if (mode != XC_RANGE_NONE) tolerance = 1e-5;
    check(&f, want, tolerance);
    free(w);
    free(b);
    free(want);
    end(&f);
}

static void test_linear(void **state)
{
    (void)state;
    linear_case(24, 33, XC_FMT_F32, XC_LAYOUT_ROWS, XC_RANGE_NONE, true);
    linear_case(24, 33, XC_FMT_F32, XC_LAYOUT_PANEL16, XC_RANGE_NONE, false);
    linear_case(70, 600, XC_FMT_F32, XC_LAYOUT_ROWS, XC_RANGE_NONE, true);
    linear_case(24, 33, XC_FMT_F16, XC_LAYOUT_ROWS, XC_RANGE_NONE, true);
    linear_case(24, 33, XC_FMT_BF16, XC_LAYOUT_ROWS, XC_RANGE_NONE, true);
    linear_case(26, 33, XC_FMT_S8, XC_LAYOUT_ROWS, XC_RANGE_NONE, true);
    linear_case(26, 33, XC_FMT_S8, XC_LAYOUT_PANEL16, XC_RANGE_NONE, true);
    linear_case(26, 33, XC_FMT_S8, XC_LAYOUT_ROWS, XC_RANGE_ROW, true);
    linear_case(26, 33, XC_FMT_S8, XC_LAYOUT_PANEL16, XC_RANGE_ROW, false);
    linear_case(312, 300, XC_FMT_S8, XC_LAYOUT_PANEL16, XC_RANGE_ROW, true);
    linear_case(26, 33, XC_FMT_S8, XC_LAYOUT_PANEL16, XC_RANGE_STATIC, true);
    linear_case(26, 33, XC_FMT_S8, XC_LAYOUT_ROWS, XC_RANGE_AFFINE, true);
    linear_case(312, 300, XC_FMT_S8, XC_LAYOUT_PANEL16, XC_RANGE_AFFINE, true);
    linear_case(26, 33, XC_FMT_S4, XC_LAYOUT_ROWS, XC_RANGE_NONE, true); /* odd N: with zero points */
    linear_case(77, 32, XC_FMT_S4, XC_LAYOUT_PANEL16, XC_RANGE_NONE, true);
    linear_case(77, 32, XC_FMT_S4, XC_LAYOUT_PANEL16, XC_RANGE_ROW, true);
    linear_case(312, 301, XC_FMT_S4, XC_LAYOUT_PANEL16, XC_RANGE_ROW, true);
    linear_case(77, 33, XC_FMT_S4, XC_LAYOUT_ROWS, XC_RANGE_ROW, false);
    linear_case(78, 32, XC_FMT_S3, XC_LAYOUT_ROWS, XC_RANGE_ROW, true);
    linear_case(78, 33, XC_FMT_S2, XC_LAYOUT_ROWS, XC_RANGE_STATIC, true);
    linear_case(70, 20, XC_FMT_S2, XC_LAYOUT_ROWS, XC_RANGE_ROW, true);
    linear_case(77, 35, XC_FMT_S4, XC_LAYOUT_ROWS, XC_RANGE_ROW, true);
    for (int64_t N = 33; N < 37; N++)
        for (int format = XC_FMT_S5; format <= XC_FMT_G8; format++)
            linear_case(N % 2 ? 77 : 312, N, (enum xc_format)format, XC_LAYOUT_ROWS, N < 35 ? XC_RANGE_ROW : XC_RANGE_AFFINE, true);
    linear_case(77, 36, XC_FMT_S4, XC_LAYOUT_PANEL16, XC_RANGE_AFFINE, true);
    linear_case(77, 39, XC_FMT_S4, XC_LAYOUT_PANEL16, XC_RANGE_AFFINE, true);
    linear_case(77, 39, XC_FMT_S3, XC_LAYOUT_ROWS, XC_RANGE_ROW, true);
    linear_case(40, 35, XC_FMT_S6, XC_LAYOUT_ROWS, XC_RANGE_NONE, true);
    linear_case(77, 33, XC_FMT_G8, XC_LAYOUT_ROWS, XC_RANGE_NONE, true);
}

static double act(double x, int fn)
{
    switch (fn) {
    case XC_ACT_RELU: return x > 0 ? x : 0;
    case XC_ACT_GELU: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case XC_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case XC_ACT_TANH: return tanh(x);
    case XC_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case XC_ACT_SILU: return x / (1 + exp(-x));
    default: return x;
    }
}

static void test_unary(void **state)
{
    (void)state;
    for (int32_t fn = 0; fn < XC_ACT_COUNT; fn++) {
        enum { C = 7 };
        const struct xc_attr_unary attr = { .fn = fn };
        struct fix f;
        double *want = doubles(TOKENS * C);

        begin(&f);
        add(&f, "unary", (struct xc_ref[]){ xc_val(input(&f, "x", f.tokens, C)) }, 1, &attr);
        for (int i = 0; i < TOKENS * C; i++) want[i] = act((double)x_of(&f, 0)[i], fn);
        check(&f, want, 2e-6);
        free(want);
        end(&f);
    }
}

static void test_softmax(void **state)
{
    enum { C = 21 };
    struct fix f;
    double *want = doubles(TOKENS * C);

    (void)state;
    begin(&f);
    add(&f, "softmax", (struct xc_ref[]){ xc_val(input(&f, "x", f.tokens, C)) }, 1, NULL);
    for (int r = 0; r < TOKENS; r++) {
        double sum = 0;

        for (int i = 0; i < C; i++) sum += exp((double)x_of(&f, 0)[r * C + i]);
        for (int i = 0; i < C; i++) want[r * C + i] = exp((double)x_of(&f, 0)[r * C + i]) / sum;
    }
    check(&f, want, 1e-6);
    free(want);
    end(&f);
}

/* kv 0 = heads; cross: k and v from the longer memory space */
static void attention_case(int heads, int kv, int D, bool cross, bool causal, bool quantized, int bias_heads, double tolerance)
{
    enum { L = 200 };
    const int n_kv = kv ? kv : heads, W = heads * D, KW = n_kv * D;
    const struct xc_attr_attention attr = { .heads = heads, .kv_heads = kv, .causal = causal, .quantized = quantized, .scale = bias_heads ? 0.3f : 0 };
    const double scale = bias_heads ? (double)0.3f : 1 / sqrt(D);
    struct xc_ref in[4];
    struct fix f;
    double *want = doubles(TOKENS * (int64_t)W), *bias = NULL, p[200];

    begin(&f);
    in[0] = xc_val(input(&f, "q", f.tokens, W));
    in[1] = xc_val(input(&f, "k", cross ? f.memory : f.tokens, KW));
    in[2] = xc_val(input(&f, "v", cross ? f.memory : f.tokens, KW));
    in[3] = bias_heads ? xc_ten(tensor(&f, "bias", 2, bias_heads, 2 * L - 1, 0)) : xc_none();
    add(&f, "attention", in, 4, &attr);
    if (bias_heads) bias = as_double(&f, in[3].id);
    for (int s = 0; s < N_SEQ; s++) {
        const int32_t *ks = cross ? memory_start : token_start;
        const int n_q = token_start[s + 1] - token_start[s], n_k = ks[s + 1] - ks[s];

        for (int h = 0; h < heads; h++)
            for (int i = 0; i < n_q; i++) {
                const int g = h / (heads / n_kv), place = i + n_k - n_q;
                double sum = 0;

                for (int j = 0; j < n_k; j++) {
                    double dot = 0;

                    for (int d = 0; d < D; d++) dot += (double)x_of(&f, 0)[(token_start[s] + i) * W + h * D + d] * (double)x_of(&f, 1)[(ks[s] + j) * KW + g * D + d];
                    if (bias) dot += bias[(bias_heads == 1 ? 0 : h) * (2 * L - 1) + j - place + L - 1] / scale;
                    p[j] = causal && j > place ? 0 : exp(dot * scale);
                    sum += p[j];
                }
                for (int j = 0; j < n_k; j++)
                    for (int d = 0; d < D; d++) want[(token_start[s] + i) * W + h * D + d] += p[j] / sum * (double)x_of(&f, 2)[(ks[s] + j) * KW + g * D + d];
            }
    }
    check(&f, want, tolerance);
    free(bias);
    free(want);
    end(&f);
}

static void test_attention(void **state)
{
    (void)state;
    attention_case(2, 0, 16, false, false, false, 0, 2e-6);
    attention_case(4, 2, 13, false, true, false, 0, 2e-6);
    attention_case(3, 1, 20, true, false, false, 0, 2e-6);
    attention_case(2, 0, 26, true, true, false, 0, 2e-6);
    attention_case(2, 0, 16, false, false, false, 2, 2e-6);
    attention_case(2, 0, 16, true, true, false, 1, 2e-6);
    attention_case(2, 0, 32, false, false, true, 0, 0.02);
    attention_case(4, 2, 26, true, true, true, 0, 0.02);
    attention_case(2, 0, 32, false, false, true, 2, 0.06); /* larger scores: the same steps of int8 weigh more */
}

/* Keys that no query has, queries that have no key. */
static void test_attention_edges(void **state)
{
    const int32_t none[] = { 0, 0, 2 }, some[] = { 0, 2, 2 };
    const struct xc_ragged spaces[] = { { .start = some, .n_seq = 2 }, { .start = none, .n_seq = 2 } };
    struct xc_view out;
    struct xc_run *run;

    (void)state;
    for (int causal = 0; causal < 2; causal++)
        for (int quantized = 0; quantized < 2; quantized++) {
            const struct xc_attr_attention attr = { .heads = 1, .causal = causal, .quantized = quantized };
            struct fix f;

            begin(&f);
            const int32_t q = input(&f, "q", f.tokens, 8), k = input(&f, "k", f.memory, 8), v = input(&f, "v", f.memory, 8);

            add(&f, "attention", (struct xc_ref[]){ xc_val(q), xc_val(k), xc_val(v) }, 3, &attr);
            for (int i = 0; i < 3; i++) f.in[i].rows = 2;
            OK(xc_run_new(&run, f.m, NULL, threads, &err));
            if (causal) {
                assert_int_equal(xc_run_graph(run, f.g, f.in, spaces, 2, &out, &err), XC_E_SHAPE);
            } else {
                OK(xc_run_graph(run, f.g, f.in, spaces, 2, &out, &err));
                for (int i = 0; i < 16; i++) assert_true(((float *)out.data)[i] == 0.0f);
            }
            xc_run_free(&run);
            end(&f);
        }
}

static void test_pool(void **state)
{
    (void)state;
    for (int32_t mode = 0; mode < XC_POOL_COUNT; mode++) {
        enum { C = 18 };
        const struct xc_attr_pool attr = { .mode = mode };
        struct fix f;
        double *want = doubles(N_SEQ * C);

        begin(&f);
        add(&f, "pool", (struct xc_ref[]){ xc_val(input(&f, "x", f.tokens, C)) }, 1, &attr);
        for (int s = 0; s < N_SEQ; s++)
            for (int i = 0; i < C; i++) {
                const int n = token_start[s + 1] - token_start[s];
                double sum = 0, max = -1e30;

                for (int r = token_start[s]; r < token_start[s + 1]; r++) {
                    sum += (double)x_of(&f, 0)[r * C + i];
                    max = fmax(max, (double)x_of(&f, 0)[r * C + i]);
                }
                if (n == 0) continue; /* zeros */
                want[s * C + i] = mode == XC_POOL_MEAN         ? sum / n
                                  : mode == XC_POOL_MEAN_SQRT ? sum / sqrt(n)
                                  : mode == XC_POOL_MAX       ? max
                                                              : (double)x_of(&f, 0)[(mode == XC_POOL_FIRST ? token_start[s] : token_start[s + 1] - 1) * C + i];
            }
        check(&f, want, 1e-6);
        free(want);
        end(&f);
    }
}

static void test_l2_normalize(void **state)
{
    enum { C = 50 };
    struct fix f;
    double *want = doubles(TOKENS * C);

    (void)state;
    begin(&f);
    add(&f, "l2_normalize", (struct xc_ref[]){ xc_val(input(&f, "x", f.tokens, C)) }, 1, NULL);
    for (int r = 0; r < TOKENS; r++) {
        double sum = 0;

        for (int i = 0; i < C; i++) sum += pow((double)x_of(&f, 0)[r * C + i], 2);
        for (int i = 0; i < C; i++) want[r * C + i] = (double)x_of(&f, 0)[r * C + i] / sqrt(sum);
    }
    check(&f, want, 1e-6);
    free(want);
    end(&f);
}

static void conv_case(int C, int N, int kernel, int stride, int left, int right, int groups, bool bias, enum xc_format format)
{
    const struct xc_attr_conv1d attr = { .kernel = kernel, .stride = stride, .pad_left = left, .pad_right = right, .groups = groups };
    const bool same = stride == 1 && left + right == kernel - 1;
    struct fix f;
    double *want = doubles(400 * (int64_t)N), *w, *b;
    int64_t row = 0;
    int32_t id, weight, y;
    struct xc_ref in[3];

    begin(&f);
    if (!same)
        OK(xc_graph_add_space(f.g, &id, &(struct xc_space){ .name = "frames", .map = XC_MAP_STRIDED, .base = f.tokens, .kernel = kernel, .stride = stride,
                                                            .pad_left = left, .pad_right = right }, &err));
    in[0] = xc_val(input(&f, "x", f.tokens, C));
    in[1] = xc_ten(weight = tensor(&f, "weight", 3, N, C / groups, kernel));
    in[2] = bias ? xc_ten(tensor(&f, "bias", 1, N, 0, 0)) : xc_none();
    if (format != XC_FMT_F32) encode(f.m->tensors[weight], format, XC_LAYOUT_ROWS);
    y = add(&f, "conv1d", in, 3, &attr);
    if (same) assert_int_equal(f.g->values[y].space, f.tokens);
    w = as_double(&f, weight);
    b = bias ? as_double(&f, in[2].id) : doubles(N);
    for (int s = 0; s < N_SEQ; s++) {
        const int n = token_start[s + 1] - token_start[s], Cg = C / groups;
        const int rows = n == 0 || n + left + right < kernel ? 0 : (n + left + right - kernel) / stride + 1;

        for (int r = 0; r < rows; r++, row++)
            for (int o = 0; o < N; o++) {
                double sum = b[o];

                for (int c = 0; c < Cg; c++)
                    for (int k = 0; k < kernel; k++) {
                        const int at = r * stride + k - left, channel = o / (N / groups) * Cg + c;

                        if (at >= 0 && at < n) sum += w[(o * Cg + c) * kernel + k] * (double)x_of(&f, 0)[(token_start[s] + at) * C + channel];
                    }
                want[row * N + o] = sum;
            }
    }
    check(&f, want, 2e-6);
    free(w);
    free(b);
    free(want);
    end(&f);
}

static void test_conv1d(void **state)
{
    (void)state;
    conv_case(6, 9, 3, 2, 1, 1, 1, true, XC_FMT_F32);
    conv_case(6, 9, 4, 3, 0, 2, 1, false, XC_FMT_F32);
    conv_case(6, 12, 3, 1, 1, 1, 3, true, XC_FMT_F32);
    conv_case(8, 8, 5, 1, 4, 0, 8, true, XC_FMT_F32);
    conv_case(6, 9, 3, 2, 1, 1, 3, true, XC_FMT_S8);
    conv_case(6, 9, 3, 2, 1, 1, 1, true, XC_FMT_BF16);
}

static void test_columns(void **state)
{
    enum { A = 5, B = 9 };
    const struct xc_attr_slice attr = { .first = 2, .cols = 6 };
    struct fix f;
    double *want = doubles(TOKENS * (A + B));

    (void)state;
    begin(&f);
    const int32_t a = input(&f, "a", f.tokens, A), b = input(&f, "b", f.tokens, B);

    add(&f, "concat", (struct xc_ref[]){ xc_val(a), xc_val(b) }, 2, NULL);
    for (int r = 0; r < TOKENS; r++)
        for (int i = 0; i < A + B; i++) want[r * (A + B) + i] = (double)(i < A ? x_of(&f, 0)[r * A + i] : x_of(&f, 1)[r * B + i - A]);
    check(&f, want, 0);
    end(&f);

    begin(&f);
    add(&f, "slice", (struct xc_ref[]){ xc_val(input(&f, "x", f.tokens, B)) }, 1, &attr);
    for (int r = 0; r < TOKENS; r++)
        for (int i = 0; i < 6; i++) want[r * 6 + i] = (double)x_of(&f, 0)[r * B + 2 + i];
    check(&f, want, 0);
    end(&f);
    free(want);
}

/* A cache: rows pile up sequence by sequence, positions go on where they stopped. */
static void test_states(void **state)
{
    const int32_t step[2][3] = { { 0, 2, 3 }, { 0, 0, 2 } };
    struct fix f;
    struct xc_run *run;
    int32_t st, space, id, all, pos;
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    int32_t token[3] = { 0 };
    struct xc_view out[2];

    (void)state;
    OK(xc_model_new(&f.m, &err));
    OK(xc_model_add_graph(f.m, &f.g, "g", &err));
    OK(xc_model_add_state(f.m, &st, "cache", 2, XC_DTYPE_F32, true, &err));
    OK(xc_graph_add_space(f.g, &f.tokens, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(f.g, &space, &(struct xc_space){ .name = "cached", .map = XC_MAP_STATE, .state = st }, &err));
    OK(xc_graph_add_input(f.g, &id, "x", f.tokens, 2, XC_DTYPE_F32, &err));
    OK(xc_graph_add_node(f.g, &all, "state_append", "append", (struct xc_ref[]){ xc_val(id), xc_sta(st) }, 2, NULL, &err));
    OK(xc_graph_add_input(f.g, &id, "ids", f.tokens, 1, XC_DTYPE_I32, &err));
    OK(xc_graph_add_node(f.g, &pos, "positions", "positions", (struct xc_ref[]){ xc_val(id), xc_sta(st) }, 2, NULL, &err));
    OK(xc_graph_add_output(f.g, all, &err));
    OK(xc_graph_add_output(f.g, pos, &err));
    OK(xc_model_verify(f.m, &err));
    OK(xc_run_new(&run, f.m, NULL, NULL, &err));
    for (int again = 0; again < 2; again++) {
        const struct xc_ragged first = { .start = step[0], .n_seq = 2 }, second = { .start = step[1], .n_seq = 2 };
        struct xc_view in[2] = { { .data = x, .rows = 3, .cols = 2 }, { .data = token, .rows = 3, .cols = 1 } };

        OK(xc_run_graph(run, f.g, in, &first, 1, out, &err));
        assert_int_equal(out[0].rows, 3);
        assert_memory_equal(out[0].data, x, sizeof x);
        assert_memory_equal(out[1].data, ((int32_t[]){ 0, 1, 0 }), 12);
        in[0].rows = in[1].rows = 2;
        OK(xc_run_graph(run, f.g, in, &second, 1, out, &err)); /* nothing for the first, two rows for the second sequence */
        assert_int_equal(out[0].rows, 5);
        assert_memory_equal(out[0].data, ((float[]){ 1, 2, 3, 4, 5, 6, 1, 2, 3, 4 }), 40);
        assert_memory_equal(out[1].data, ((int32_t[]){ 1, 2 }), 8);
        assert_int_equal(out[0].rag->start[1], 2);
        xc_run_clear_states(run);
    }
    xc_run_free(&run);
    xc_model_free(&f.m);
}

/* ---- token pruning ---- */
static void test_attention_received(void **state)
{
    (void)state;
    for (int variant = 0; variant < 4; variant++) { /* with values or not, all queries or some */
        enum { H = 4, KV = 2, D = 11 };
        const bool values = variant & 1;
        const struct xc_attr_received attr = { .heads = H, .kv_heads = KV, .queries = variant & 2 ? 8 : 0 };
        struct fix f;
        double *want = doubles(TOKENS);

        begin(&f);
        const int32_t q = input(&f, "q", f.tokens, H * D), k = input(&f, "k", f.tokens, KV * D), v = input(&f, "v", f.tokens, KV * D);

        for (int s = 0; s < N_SEQ; s++) {
            const int64_t r0 = token_start[s], n = token_start[s + 1] - r0, step = attr.queries && n > attr.queries ? (n + attr.queries - 1) / attr.queries : 1, asked = n ? (n + step - 1) / step : 0;

            for (int64_t i = 0; i < n; i += step)
                for (int h = 0; h < H; h++) {
                    double p[TOKENS], sum = 0;

                    for (int64_t j = 0; j < n; j++) {
                        double dot = 0;

                        for (int d = 0; d < D; d++) dot += (double)x_of(&f, 0)[(r0 + i) * H * D + h * D + d] * (double)x_of(&f, 1)[(r0 + j) * KV * D + h / 2 * D + d];
                        sum += p[j] = exp(dot / sqrt(D));
                    }
                    for (int64_t j = 0; j < n; j++) {
                        double norm = 0;

                        for (int d = 0; d < D; d++) norm += pow((double)x_of(&f, 2)[(r0 + j) * KV * D + h / 2 * D + d], 2);
                        want[r0 + j] += p[j] / sum / (double)(asked * H) * (values ? sqrt(norm) : 1);
                    }
                }
        }
        add(&f, "attention_received", (struct xc_ref[]){ xc_val(q), xc_val(k), xc_val(v) }, values ? 3 : 2, &attr);
        check(&f, want, 0.02); /* int8 queries and keys */
        free(want);
        end(&f);
    }
}

static void test_keep_rows(void **state)
{
    (void)state;
    for (int variant = 0; variant < 6; variant++) { /* threshold, most, both; output 0 or 1 */
        const struct xc_attr_keep attr = { .threshold = variant % 3 != 1 ? 0.7f : 0, .most = variant % 3 ? 5 : 0 };
        const int out = variant / 3, cols = out ? 3 : 7;
        struct fix f;
        double *want = doubles(TOKENS * 7);
        int32_t y[3], space, kept = 0;

        begin(&f);
        const int32_t score = input(&f, "score", f.tokens, 1), a = input(&f, "a", f.tokens, 7), b = input(&f, "b", f.tokens, 3);
        float *x = f.in[0].data;

        for (int i = 0; i < TOKENS; i++) x[i] = fabsf(x[i]);
        x[30] = x[31] = x[32] = 9; /* equals: the earlier ones */
        x[33] = x[34] = x[35] = 9;
        for (int s = 0; s < N_SEQ; s++) {
            const int r0 = token_start[s], n = token_start[s + 1] - r0;
            double mean = 0;

            for (int i = 0; i < n; i++) mean += (double)x[r0 + i] / n;
            for (int i = 0; i < n; i++) {
                int before = 0; /* rows that go before this one */

                if (i && (double)x[r0 + i] < (double)attr.threshold * mean) continue;
                for (int k = 0; k < n; k++) before += k != i && (k == 0 || x[r0 + k] > x[r0 + i] || (x[r0 + k] == x[r0 + i] && k < i));
                if (i && attr.most && before >= attr.most) continue;
                for (int c = 0; c < cols; c++) want[kept * cols + c] = (double)x_of(&f, 1 + out)[(r0 + i) * cols + c];
                kept++;
            }
        }
        OK(xc_graph_add_space(f.g, &space, &(struct xc_space){ .name = "kept", .map = XC_MAP_SUBSET, .base = f.tokens }, &err));
        OK(xc_graph_add_node(f.g, y, "keep_rows", "node", (struct xc_ref[]){ xc_val(score), xc_val(a), xc_val(b) }, 3, &attr, &err));
        OK(xc_graph_add_output(f.g, y[out], &err));
        OK(xc_model_verify(f.m, &err));
        check(&f, want, 0);
        free(want);
        end(&f);
    }
}

/* Callers' mistakes are errors. */
static void test_bad_runs(void **state)
{
    const int32_t descends[] = { 0, 2, 1 }, one[] = { 0, 1, 1 };
    struct xc_ragged spaces[] = { { .start = one, .n_seq = 2 }, { .start = one, .n_seq = 2 } };
    struct xc_view out, in;
    struct xc_run *run;
    struct fix f;

    (void)state;
    begin(&f);
    add(&f, "softmax", (struct xc_ref[]){ xc_val(input(&f, "x", f.tokens, 4)) }, 1, NULL);
    in = f.in[0];
    OK(xc_run_new(&run, f.m, NULL, NULL, &err));
    assert_int_equal(xc_run_graph(run, f.g, &in, spaces, 2, &out, &err), XC_E_SHAPE);
    in.rows = 1;
    OK(xc_run_graph(run, f.g, &in, spaces, 2, &out, &err));
    assert_int_equal(xc_run_graph(run, f.g, &in, spaces, 1, &out, &err), XC_E_ARG);
    spaces[1].n_seq = 1;
    assert_int_equal(xc_run_graph(run, f.g, &in, spaces, 2, &out, &err), XC_E_ARG);
    spaces[1].n_seq = 2;
    spaces[0].start = descends;
    assert_int_equal(xc_run_graph(run, f.g, &in, spaces, 2, &out, &err), XC_E_ARG);
    spaces[0] = spaces[1] = (struct xc_ragged){ .start = one, .n_seq = 0 }; /* a batch of nothing */
    in.rows = 0;
    OK(xc_run_graph(run, f.g, &in, spaces, 2, &out, &err));
    assert_int_equal(out.rows, 0);
    xc_run_free(&run);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gather), cmocka_unit_test(test_hostile_groups),    cmocka_unit_test(test_positions), cmocka_unit_test(test_grid_positions),       cmocka_unit_test(test_add_mul), cmocka_unit_test(test_norms),
        cmocka_unit_test(test_linear),    cmocka_unit_test(test_unary),           cmocka_unit_test(test_softmax), cmocka_unit_test(test_attention),
        cmocka_unit_test(test_attention_edges), cmocka_unit_test(test_pool),      cmocka_unit_test(test_l2_normalize), cmocka_unit_test(test_conv1d),
        cmocka_unit_test(test_columns),   cmocka_unit_test(test_states),          cmocka_unit_test(test_attention_received), cmocka_unit_test(test_keep_rows), cmocka_unit_test(test_bad_runs),
    };
    int failed;

    if (xc_pool_new(&threads, 3, NULL)) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    xc_pool_free(&threads);
    return failed;
}
