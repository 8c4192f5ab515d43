/* Every op but attention against plain double-precision code; see one_op.h. */
#include "tests/unit/one_op.h"

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

/* Flags of one text of a pair: by hand, with an empty sequence, one without the separator, one with one alone, one that begins with it. */
static void test_segment(void **state)
{
    static const int32_t id[] = { 5, 6, 2, 2, 7, 2, /**/ 5, 6, 7, /**/ 5, 6, 2, /**/ 2, 5, 2, /**/ 7, 2, 2 };
    static const int32_t want[2][18] = { { 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0 }, { 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0 } };
    static const int32_t start[] = { 0, 6, 9, 9, 12, 15, 18 };
    const struct xc_ragged rag[] = { { .start = start, .n_seq = 6 }, { .start = start, .n_seq = 6 } };

    (void)state;
    for (int second = 0; second < 2; second++) {
        const struct xc_attr_segment attr = { .end_id = 2, .second = second };
        struct xc_view in = { .data = (void *)(uintptr_t)id, .rows = 18, .cols = 1 }, out;
        struct xc_run *run;
        struct fix f;

        begin(&f);
        add(&f, "segment", (struct xc_ref[]){ xc_val(ids(&f, 3)) }, 1, &attr);
        OK(xc_run_new(&run, f.m, NULL, NULL, &err));
        OK(xc_run_graph(run, f.g, &in, rag, 2, &out, &err));
        assert_int_equal(out.rows, 18);
        for (int r = 0; r < 18; r++) assert_int_equal(((int32_t *)out.data)[r], want[second][r]);
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
        cmocka_unit_test(test_gather), cmocka_unit_test(test_hostile_groups), cmocka_unit_test(test_positions),
        cmocka_unit_test(test_segment), cmocka_unit_test(test_grid_positions), cmocka_unit_test(test_add_mul), cmocka_unit_test(test_norms),
        cmocka_unit_test(test_linear), cmocka_unit_test(test_unary), cmocka_unit_test(test_softmax), cmocka_unit_test(test_pool),
        cmocka_unit_test(test_l2_normalize), cmocka_unit_test(test_conv1d), cmocka_unit_test(test_columns),
        cmocka_unit_test(test_states), cmocka_unit_test(test_bad_runs),
    };
    int failed;

    if (xc_pool_new(&threads, 3, NULL)) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    xc_pool_free(&threads);
    return failed;
}
