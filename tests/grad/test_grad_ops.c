/* The derivative of every op but attention against finite differences; see one_gradient.h. */
#include "tests/grad/one_gradient.h"

/* ---- ops ---- */
static void test_elementwise(void **state)
{
    struct fix f;

    (void)state;
    for (int op = 0; op < 3; op++) { /* the third: one value behind both inputs */
        const char *const name = op ? "mul" : "add";

        begin(&f);
        const int32_t a = input(&f, "a", f.tokens, 19), b = op == 2 ? a : input(&f, "b", f.tokens, 19);

        check(&f, node(&f, name, "n", REFS(xc_val(a), xc_val(b)), 2, NULL), name);
    }
    for (int fn = 1; fn < XC_ACT_COUNT; fn++) {
        const struct xc_attr_unary attr = { .fn = fn };

        begin(&f);
        if (fn == XC_ACT_RELU) f.limit = 1e-3, f.step = 1e-2, f.corners = true;
        check(&f, node(&f, "unary", "n", REFS(xc_val(input(&f, "x", f.tokens, 21))), 1, &attr), "unary");
    }
    begin(&f);
    check(&f, node(&f, "softmax", "n", REFS(xc_val(input(&f, "x", f.tokens, 37))), 1, NULL), "softmax");
    begin(&f);
    check(&f, node(&f, "scale", "n", REFS(xc_val(input(&f, "x", f.tokens, 37)), xc_ten(tensor(&f, "s", 1, DIMS(37), 1, 0.5))), 2, NULL), "scale");
}

static void test_gather(void **state)
{
    struct fix f;

    (void)state;
    begin(&f); /* word and position tables, as embeddings have them */
    const int32_t id = ids(&f, 11), position = node(&f, "positions", "p", REFS(xc_val(id)), 1, NULL);
    const int32_t word = node(&f, "gather", "w", REFS(xc_val(id), xc_ten(tensor(&f, "word", 2, DIMS(11, 70), 0, 1))), 2, NULL);
    const int32_t place = node(&f, "gather", "q", REFS(xc_val(position), xc_ten(tensor(&f, "place", 2, DIMS(80, 70), 0, 1))), 2, NULL);

    check(&f, node(&f, "mul", "n", REFS(xc_val(word), xc_val(place)), 2, NULL), "gather");
}

/* Two streams, as Reformer has: cut where both cross, memory hardly grows with depth, and the gradients are those of a tape that keeps everything, to the bit. */
static double streams(float **d, int layers, int32_t segment)
{
    bool all[64];
    const struct xc_tape_opts opts = { .trained = all, .segment = segment };
    const struct xc_attr_unary gelu = { .fn = XC_ACT_GELU };
    struct fix f;
    struct xc_tape *t;
    struct xc_view y;
    double bytes;

    for (int i = 0; i < 64; i++) all[i] = true;
    begin(&f);
    int32_t x[2] = { input(&f, "a", f.tokens, 16), input(&f, "b", f.tokens, 16) };

    for (int l = 0; l < 2 * layers; l++) {
        char name[4][32];

        for (int i = 0; i < 4; i++) snprintf(name[i], sizeof name[i], "%c%d", "wvun"[i], l);
        const int32_t up = node(&f, "linear", name[0], REFS(xc_val(x[1 - l % 2]), xc_ten(tensor(&f, name[0], 2, DIMS(64, 16), 0, 0.2))), 2, NULL);
        const int32_t act = node(&f, "unary", name[2], REFS(xc_val(up)), 1, &gelu);
        const int32_t down = node(&f, "linear", name[1], REFS(xc_val(act), xc_ten(tensor(&f, name[1], 2, DIMS(16, 64), 0, 0.1))), 2, NULL);

        x[l % 2] = node(&f, "add", name[3], REFS(xc_val(x[l % 2]), xc_val(down)), 2, NULL);
    }
    OK(xc_graph_add_output(f.g, node(&f, "concat", "y", REFS(xc_val(x[0]), xc_val(x[1])), 2, NULL), &err));
    OK(xc_tape_new(&t, f.g, &opts, &err));
    bytes = xc_tape_bytes(t, 100000, 10);
    *d = calloc((size_t)f.m->n_tensors * 1024, sizeof **d);
    for (int32_t i = 0; i < f.m->n_tensors; i++) xc_tape_bind(t, i, *d + i * 1024);
    OK(xc_tape_forward(t, f.in, spaces, 2, false, 0, 0, &y, &err));
    float *dy = randoms(y.rows * y.cols, 3, 0, 1);

    OK(xc_tape_backward(t, &dy, &err));
    free(dy);
    xc_tape_free(&t);
    for (int i = 0; i < f.n_in; i++) free(f.in[i].data);
    xc_model_free(&f.m);
    return bytes;
}

static void test_two_streams(void **state)
{
    double bytes[2][2];

    (void)state;
    for (int deep = 0; deep < 2; deep++) {
        float *d[2];

        for (int cut = 0; cut < 2; cut++) bytes[deep][cut] = streams(&d[cut], deep ? 8 : 2, cut);
        assert_memory_equal(d[0], d[1], (size_t)(deep ? 32 : 8) * 1024 * sizeof(float));
        free(d[0]);
        free(d[1]);
    }
    /* a layer more: 4 widths kept of 2 x (64 + 64 + 16 + 16) */
    if (!(bytes[1][1] - bytes[0][1] < 0.15 * (bytes[1][0] - bytes[0][0]))) fail_msg("six layers more take %g bytes, kept whole %g", bytes[1][1] - bytes[0][1], bytes[1][0] - bytes[0][0]);
}

/* Every third row has values of 100 times the length, so that no difference changes which rows stay. */
static void test_keep_rows(void **state)
{
    const struct xc_attr_received received = { .heads = 1 };
    const struct xc_attr_keep attr = { .threshold = 0.5f };
    int32_t y[3], space;
    struct fix f;

    (void)state;
    begin(&f);
    const int32_t a = input(&f, "a", f.tokens, 7), b = input(&f, "b", f.tokens, 7);

    for (int i = 0; i < TOKENS * 7; i++) ((float *)f.in[0].data)[i] *= i / 7 % 3 ? 0.01f : 1;
    OK(xc_graph_add_space(f.g, &space, &(struct xc_space){ .name = "kept", .map = XC_MAP_SUBSET, .base = f.tokens }, &err));
    const int32_t score = node(&f, "attention_received", "r", REFS(xc_val(b), xc_val(b), xc_val(a)), 3, &received);

    OK(xc_graph_add_node(f.g, y, "keep_rows", "k", REFS(xc_val(score), xc_val(a), xc_val(b)), 3, &attr, &err));
    check(&f, node(&f, "mul", "n", REFS(xc_val(y[0]), xc_val(y[1])), 2, NULL), "keep_rows");
}

static void test_norm(void **state)
{
    static const int widths[] = { 1, 15, 48, 61 };
    struct fix f;

    (void)state;
    for (int rms = 0; rms < 2; rms++)
        for (size_t i = rms ? 0 : 1; i < XC_ARRAY_LEN(widths); i++) {
            const struct xc_attr_norm attr = { .eps = 1e-3f };

            begin(&f);
            const int32_t x = input(&f, "x", f.tokens, widths[i]), gain = tensor(&f, "gain", 1, DIMS(widths[i]), 1, 0.5);
            const struct xc_ref in[] = { xc_val(x), xc_ten(gain), rms ? xc_none() : xc_ten(tensor(&f, "bias", 1, DIMS(widths[i]), 0, 1)) };

            if (widths[i] == 1) f.limit = 5e-2, f.corners = true; /* one column: nearly nothing passes */
            check(&f, node(&f, rms ? "rms_norm" : "layer_norm", "n", in, rms ? 2 : 3, &attr), rms ? "rms_norm" : "layer_norm");
        }
}

static void test_linear(void **state)
{
    static const int64_t shapes[][2] = { { 1, 1 }, { 16, 32 }, { 17, 33 }, { 50, 7 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(shapes); i++) {
        begin(&f);
        const int32_t w = tensor(&f, "w", 2, DIMS(shapes[i][0], shapes[i][1]), 0, 1), b = tensor(&f, "b", 1, DIMS(shapes[i][0]), 0, 1);

        check(&f, node(&f, "linear", "n", REFS(xc_val(input(&f, "x", f.tokens, (int32_t)shapes[i][1])), xc_ten(w), xc_ten(b)), 3, NULL), "linear");
    }
    begin(&f); /* one table behind a gather and a linear, one value behind two nodes */
    const int32_t table = tensor(&f, "t", 2, DIMS(11, 24), 0, 0.5), x = node(&f, "gather", "x", REFS(xc_val(ids(&f, 11)), xc_ten(table)), 2, NULL);
    const int32_t y = node(&f, "linear", "y", REFS(xc_val(x), xc_ten(table)), 2, NULL);

    check(&f, node(&f, "concat", "n", REFS(xc_val(y), xc_val(x)), 2, NULL), "tied linear");
}

/* The input mixed once, projected with a bias that the sums of E multiply: the same as Linformer on projected keys, and its derivative. */
static void test_mix_rows(void **state)
{
    enum { C = 24, SLOTS = 7 };
    struct fix f;
    int32_t slots, mixed[2], y;

    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        begin(&f);
        OK(xc_graph_add_space(f.g, &slots, &(struct xc_space){ .name = "slots", .map = XC_MAP_FIXED, .k = SLOTS }, &err));
        const int32_t x = input(&f, "x", f.tokens, C), e = tensor(&f, "e", 2, DIMS(SLOTS, 71), 0, 0.3), w = tensor(&f, "w", 2, DIMS(C, C), 0, 0.2);

        OK(xc_graph_add_node(f.g, mixed, "mix_rows", "mix", REFS(xc_val(x), xc_ten(e)), 2, NULL, &err));
        y = node(&f, "linear", "w", REFS(xc_val(mixed[0]), xc_ten(w)), 2, NULL);
        if (bias) {
            const int32_t b = tensor(&f, "b", 2, DIMS(C, 1), 0, 1), times = node(&f, "linear", "b", REFS(xc_val(mixed[1]), xc_ten(b)), 2, NULL);

            y = node(&f, "add", "n", REFS(xc_val(y), xc_val(times)), 2, NULL);
        }
        check(&f, y, "mix_rows");
    }
}

static void test_pool(void **state)
{
    struct fix f;

    (void)state;
    for (int mode = 0; mode < XC_POOL_COUNT; mode++) {
        const struct xc_attr_pool attr = { .mode = mode };

        begin(&f);
        if (mode == XC_POOL_MAX) f.limit = 2e-3, f.step = 1e-3, f.corners = true;
        check(&f, node(&f, "pool", "n", REFS(xc_val(input(&f, "x", f.tokens, 18))), 1, &attr), "pool");
    }
    begin(&f);
    check(&f, node(&f, "l2_normalize", "n", REFS(xc_val(input(&f, "x", f.tokens, 18))), 1, NULL), "l2_normalize");
}

static void test_columns(void **state)
{
    const struct xc_attr_slice slice = { .first = 3, .cols = 11 };
    struct fix f;

    (void)state;
    begin(&f);
    const int32_t a = input(&f, "a", f.tokens, 5), b = input(&f, "b", f.tokens, 18);

    check(&f, node(&f, "concat", "n", REFS(xc_val(a), xc_val(b)), 2, NULL), "concat");
    begin(&f);
    check(&f, node(&f, "slice", "n", REFS(xc_val(input(&f, "x", f.tokens, 20))), 1, &slice), "slice");
}

static void test_conv1d(void **state)
{
    static const struct xc_attr_conv1d cases[] = { { 3, 1, 1, 1, 1 }, { 4, 2, 1, 2, 2 }, { 1, 1, 0, 0, 1 }, { 5, 3, 0, 0, 4 } };
    struct fix f;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct xc_attr_conv1d *c = &cases[i];
        const int64_t in = 8, out = 12;
        int32_t space;

        begin(&f);
        OK(xc_graph_add_space(f.g, &space, &(struct xc_space){ .name = "frames", .map = XC_MAP_STRIDED, .base = f.tokens, .kernel = c->kernel, .stride = c->stride,
                                                              .pad_left = c->pad_left, .pad_right = c->pad_right }, &err));
        const int32_t x = input(&f, "x", f.tokens, (int32_t)in), w = tensor(&f, "w", 3, DIMS(out, in / c->groups, c->kernel), 0, 1), b = tensor(&f, "b", 1, DIMS(out), 0, 1);

        check(&f, node(&f, "conv1d", "n", REFS(xc_val(x), xc_ten(w), xc_ten(b)), 3, c), "conv1d");
    }
}

/* ---- what is refused, what is frozen, what is dropped ---- */
static void test_refused(void **state)
{
    const bool all[MAX_IN] = { true, true, true, true, true, true, true, true };
    struct xc_tape_opts opts = { .trained = all };
    struct xc_tape *t;
    struct fix f;
    int32_t s, y;

    (void)state;
    begin(&f);
    OK(xc_model_add_state(f.m, &s, "cache", 6, XC_DTYPE_F32, false, &err));
    y = node(&f, "linear", "l", REFS(xc_val(input(&f, "x", f.tokens, 6)), xc_ten(tensor(&f, "w", 2, DIMS(6, 6), 0, 1))), 2, NULL);
    y = node(&f, "state_write", "keep", REFS(xc_val(y), xc_sta(s)), 2, NULL);
    OK(xc_graph_add_output(f.g, y, &err));
    assert_int_equal(xc_tape_new(&t, f.g, &opts, &err), XC_E_UNSUPPORTED);
    assert_null(t);
    assert_string_equal(err.msg, "node 'keep': op 'state_write' has no derivative");
    opts.trained = NULL; /* nothing needs a gradient: nothing to refuse */
    OK(xc_tape_new(&t, f.g, &opts, &err));
    xc_tape_free(&t);
    for (int i = 0; i < f.n_in; i++) free(f.in[i].data);
    xc_model_free(&f.m);
}

static void test_dropout(void **state)
{
    enum { N = 100003 };
    uint8_t *mask[2] = { malloc(N / 8 + 1), malloc(N / 8 + 1) };
    float *x = malloc(N * sizeof *x);
    double sum = 0;
    int64_t kept = 0;

    (void)state;
    xc_dropout_draw(mask[0], N, 0.1, 5, 6, NULL);
    xc_dropout_draw(mask[1], N, 0.1, 5, 6, threads);
    assert_memory_equal(mask[0], mask[1], N / 8);
    for (int64_t i = 0; i < N; i++) x[i] = 1;
    xc_dropout_apply(x, mask[0], N, 0.1, threads);
    for (int64_t i = 0; i < N; i++) {
        kept += x[i] != 0;
        sum += (double)x[i];
    }
    assert_true(fabs((double)kept / N - 0.9) < 0.005);
    assert_true(fabs(sum / N - 1) < 0.006);
    xc_dropout_draw(mask[1], N, 0.1, 5, 7, NULL);
    assert_memory_not_equal(mask[0], mask[1], N / 8);
    sum = 0;
    for (uint64_t row = 0; row < 3000; row += 3) { /* rows of probabilities: three at once, or the second alone */
        const struct xc_dropout_probs drop = { .p = 0.25, .seed = 5, .stream = 9 };
        uint8_t bits[3 * 5], again[5];

        xc_dropout_draw_rows(bits, 3, 33, &drop, row);
        xc_dropout_draw_rows(again, 1, 33, &drop, row + 1);
        assert_memory_equal(bits + 5, again, sizeof again);
        for (int i = 0; i < 3 * 33; i++) x[i] = 1;
        for (int r = 0; r < 3; r++) xc_dropout_apply_row(x + r * 33, bits + r * 5, 33, &drop);
        for (int i = 0; i < 3 * 33; i++) {
            assert_true(x[i] == 0.0f || fabsf(x[i] - 1 / 0.75f) < 1e-6f);
            sum += (double)x[i];
        }
    }
    assert_true(fabs(sum / (33.0 * 3000) - 1) < 0.01);
    free(mask[0]);
    free(mask[1]);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_gather), cmocka_unit_test(test_keep_rows),
        cmocka_unit_test(test_two_streams), cmocka_unit_test(test_norm), cmocka_unit_test(test_linear),
        cmocka_unit_test(test_mix_rows), cmocka_unit_test(test_pool), cmocka_unit_test(test_columns),
        cmocka_unit_test(test_conv1d), cmocka_unit_test(test_refused), cmocka_unit_test(test_dropout),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
