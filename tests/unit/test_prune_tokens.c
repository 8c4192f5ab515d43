/* test_prune_tokens: tokens that leave between layers. Answers and rows against PyTorch (gen_prune_tokens.py); a threshold that nobody is below changes no bit; the same bits for
 * any batch, threads, and node by node; a file keeps it all; calibration keeps its promise and is the same for any threads; int8; gradients go through; what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/grad/tape.h"
#include "formats/formats.h"
#include "runtime/session/session.h"
#include "tests/unit/tiny_model.h"
#include "tests/vectors/prune_tokens_vectors.h"
#include "xcompress/compress.h"

static char root[1024], list[64];
static struct xc_err err;

static void ok_at(enum xc_status status, int line)
{
    char text[512];

    if (status != XC_OK) fail_msg("line %d: %s", line, xc_err_text(&err, text, sizeof text));
}
#define OK(call) ok_at(call, __LINE__)

static struct xc_model *tiny(const char *name)
{
    struct xc_model *m = NULL;
    char path[1100];

    snprintf(path, sizeof path, "%s/tests/data/%s", root, name);
    OK(xc_import(&m, path, &err));
    OK(tiny_model_scale(m, "attention.self.query.", 40, &err));
    return m;
}

static struct xc_model *pruned(const char *before)
{
    struct xc_model *m = tiny("tiny-bert"), *made = NULL;
    char yaml[512];

    snprintf(yaml, sizeof yaml, "passes:\n%s  - prune_tokens:\n      most: %d\n      threshold: %g\n      queries: 0\n      overrides:\n        - match: \"re:encoder.layer.1.*\"\n          most: %d\n          threshold: %g\n", before,
             pt_most[0], pt_threshold[0], pt_most[1], pt_threshold[1]);
    OK(tiny_model_compress(&made, NULL, m, yaml, NULL, 1, &err));
    xc_model_free(&m);
    return made;
}

/* ---- answers ---- */
static void run(float *y, struct xc_session *s, int64_t first, int64_t n)
{
    struct xc_output out;

    OK(xc_session_run_ids(s, pt_ids, NULL, pt_start + first, n, &out, &err));
    assert_int_equal(out.rows, n);
    memcpy(y, out.data, (size_t)(n * PT_COLS) * sizeof *y);
}

static void run_as(float *y, struct xc_model *m, const struct xc_session_opts *opts)
{
    struct xc_session *s = NULL;

    OK(xc_session_new(&s, m, opts, &err));
    run(y, s, 0, PT_TEXTS);
    xc_session_free(&s);
}

static double distance(const float *a, const float *b)
{
    double error = 0, all = 0;

    for (int i = 0; i < PT_TEXTS * PT_COLS; i++) error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]), all += (double)b[i] * (double)b[i];
    return sqrt(error / all);
}

static void test_answers(void **state)
{
    static float y[PT_TEXTS * PT_COLS], other[PT_TEXTS * PT_COLS];
    struct xc_model *m = pruned(""), *read = NULL;
    struct xc_session *s = NULL;
    struct xc_pool *pool;
    char path[] = "/tmp/xc-test-tokens-XXXXXX";
    int fd, k = 0;

    (void)state;
    OK(xc_session_new(&s, m, NULL, &err));
    run(y, s, 0, PT_TEXTS);
    for (int32_t i = 0; i < s->graph->n_spaces; i++) {
        if (s->graph->spaces[i].map != XC_MAP_SUBSET) continue;
        for (int t = 0; t < PT_TEXTS; t++) assert_int_equal(s->run->spaces[i].start[t + 1] - s->run->spaces[i].start[t], pt_rows[t][k]);
        k++;
    }
    assert_int_equal(k, PT_LAYERS);
    if (!(distance(y, pt_answer) < 2e-6)) fail_msg("distance to PyTorch %g", distance(y, pt_answer));
    for (int t = 0; t < PT_TEXTS; t++) { /* text by text */
        run(other, s, t, 1);
        assert_memory_equal(other, y + t * PT_COLS, PT_COLS * sizeof *y);
    }
    run(other, s, 0, 0);
    xc_session_free(&s);
    OK(xc_pool_new(&pool, 3, &err));
    run_as(other, m, &(struct xc_session_opts){ .pool = pool });
    assert_memory_equal(other, y, sizeof y);
    xc_pool_free(&pool);
    run_as(other, m, &(struct xc_session_opts){ .plain = true });
    assert_memory_equal(other, y, sizeof y);
    run_as(other, m, &(struct xc_session_opts){ .isa = "scalar" });
    assert_memory_equal(other, y, sizeof y);
    fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    OK(xc_save(m, path, false, NULL, NULL, NULL, &err));
    OK(xc_model_open(&read, path, &err));
    run_as(other, read, NULL);
    assert_memory_equal(other, y, sizeof y);
    unlink(path);
    xc_model_free(&read);
    xc_model_free(&m);
    m = pruned("  - quantize: {format: int8}\n"); /* int8 chooses the same rows here, and answers nearly the same */
    run_as(other, m, NULL);
    assert_true(distance(other, y) > 0 && distance(other, y) < 0.02);
    xc_model_free(&m);
}

/* Nobody below the threshold: the dense model, to the bit. Nobody but the first above: one row. */
static void test_ends(void **state)
{
    static float y[PT_TEXTS * PT_COLS], dense[PT_TEXTS * PT_COLS];
    struct xc_model *m = tiny("tiny-bert"), *made;

    (void)state;
    run_as(dense, m, NULL);
    OK(tiny_model_compress(&made, NULL, m, "passes:\n  - prune_tokens: {threshold: 1e-6}\n", NULL, 1, &err));
    run_as(y, made, NULL);
    assert_memory_equal(y, dense, sizeof y);
    xc_model_free(&made);
    OK(tiny_model_compress(&made, NULL, m, "passes:\n  - prune_tokens: {most: 1, targets: [encoder.layer.1.attention]}\n", NULL, 1, &err));
    run_as(y, made, NULL);
    assert_memory_equal(y + PT_COLS, dense + PT_COLS, PT_COLS * sizeof *y); /* a text of one token */
    assert_true(distance(y, dense) > 0.05);
    xc_model_free(&made);
    xc_model_free(&m);
}

/* ---- calibration ---- */
static void test_calibration(void **state)
{
    struct xc_model *m = tiny("tiny-bert"), *made;
    struct xc_compress_result r;
    static float y[PT_TEXTS * PT_COLS], other[PT_TEXTS * PT_COLS];
    double threshold, loose;

    (void)state;
    OK(tiny_model_compress(&made, &r, m, "passes:\n  - prune_tokens: {drop: 0.01}\n", list, 1, &err));
    assert_int_equal(r.token_layers, 2);
    assert_true(r.token_threshold > 0 && r.token_drop > 0 && r.token_drop <= 0.01 && r.tokens_kept > 0 && r.tokens_kept < 1);
    threshold = r.token_threshold;
    xc_compress_result_release(&r);
    run_as(y, made, NULL);
    xc_model_free(&made);
    OK(tiny_model_compress(&made, &r, m, "passes:\n  - prune_tokens: {drop: 0.01}\n", list, 3, &err));
    assert_true(r.token_threshold == threshold);
    xc_compress_result_release(&r);
    run_as(other, made, NULL);
    assert_memory_equal(other, y, sizeof y);
    xc_model_free(&made);
    OK(tiny_model_compress(&made, &r, m, "passes:\n  - prune_tokens: {drop: 0.1}\n", list, 1, &err));
    loose = r.token_threshold;
    assert_true(loose > threshold);
    xc_compress_result_release(&r);
    xc_model_free(&made);
    OK(tiny_model_compress(&made, &r, m, "passes:\n  - prune_tokens: {keep: 0.6}\n", list, 1, &err));
    assert_true(r.tokens_kept >= 0.6 && r.tokens_kept < 0.7);
    xc_compress_result_release(&r);
    xc_model_free(&made);
    xc_model_free(&m);
}

/* ---- training ---- */
/* The gradient of what stays passes: a step against it lowers the sum of the answers' numbers. */
static void test_training(void **state)
{
    struct xc_model *m = pruned("");
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    bool *trained = calloc((size_t)m->n_tensors, sizeof *trained);
    float **d = calloc((size_t)m->n_tensors, sizeof *d), *dy = NULL;
    static int32_t start[PT_TEXTS + 1], zeros[64];
    const struct xc_ragged rag = { .start = start, .n_seq = PT_TEXTS };
    double before = 0, after = 0, norm = 0;

    (void)state;
    for (int i = 0; i <= PT_TEXTS; i++) start[i] = (int32_t)pt_start[i];
    for (int32_t t = 0; t < m->n_tensors; t++) {
        OK(xc_tensor_load(m->tensors[t], &err));
        trained[t] = true;
        d[t] = calloc((size_t)xc_tensor_count(m->tensors[t]), sizeof **d);
    }
    for (int segment = 1; segment >= 0; segment--) { /* the same bits when values are computed again */
        const struct xc_tape_opts opts = { .trained = trained, .segment = segment };
        struct xc_view in[2], out;
        struct xc_tape *tape;
        double sum = 0;

        OK(xc_tape_new(&tape, g, &opts, &err));
        for (int32_t t = 0; t < m->n_tensors; t++) {
            memset(d[t], 0, (size_t)xc_tensor_count(m->tensors[t]) * sizeof **d);
            xc_tape_bind(tape, t, d[t]);
        }
        for (int i = 0; i < g->n_inputs; i++)
            in[i] = (struct xc_view){ .data = strcmp(g->values[g->inputs[i]].name, "ids") ? zeros : (int32_t *)(uintptr_t)pt_ids, .rows = start[PT_TEXTS], .cols = 1 };
        OK(xc_tape_forward(tape, in, &rag, 1, false, 0, 0, &out, &err));
        if (!dy) dy = malloc((size_t)(out.rows * out.cols) * sizeof *dy);
        for (int64_t i = 0; i < out.rows * out.cols; i++) dy[i] = (float)(i % 3), before += (double)dy[i] * (double)((float *)out.data)[i];
        OK(xc_tape_backward(tape, &dy, &err));
        for (int32_t t = 0; t < m->n_tensors; t++)
            for (int64_t i = 0; i < xc_tensor_count(m->tensors[t]); i++) sum += (double)d[t][i] * (double)d[t][i];
        if (!segment) assert_true(sum == norm);
        norm = sum;
        if (!segment) {
            const double step = 1e-4 / sqrt(norm);

            before /= 2;
            for (int32_t t = 0; t < m->n_tensors; t++)
                for (int64_t i = 0; i < xc_tensor_count(m->tensors[t]); i++) ((float *)(void *)m->tensors[t]->part[XC_PART_DATA]->data)[i] -= (float)step * d[t][i];
            OK(xc_tape_forward(tape, in, &rag, 1, false, 0, 0, &out, &err));
            for (int64_t i = 0; i < out.rows * out.cols; i++) after += (double)(i % 3) * (double)((float *)out.data)[i];
            if (!(fabs((before - after) / (1e-4 * sqrt(norm)) - 1) < 0.05)) fail_msg("the sum fell by %g, the gradient says %g", before - after, 1e-4 * sqrt(norm));
        }
        xc_tape_free(&tape);
    }
    for (int32_t t = 0; t < m->n_tensors; t++) free(d[t]);
    free(d);
    free(dy);
    free(trained);
    xc_model_free(&m);
}

/* ---- what is refused ---- */
static void test_refused(void **state)
{
    static const struct { const char *model, *options, *says; bool texts; enum xc_status status; } cases[] = {
        { "tiny-bert", "prune_tokens", "how many tokens may leave", false, XC_E_ARG },
        { "tiny-bert", "prune_tokens: {drop: 0.1}", "needs calibration texts", false, XC_E_ARG },
        { "tiny-bert", "prune_tokens: {drop: 0.1, keep: 0.5}", "not both", true, XC_E_ARG },
        { "tiny-bert", "prune_tokens: {most: 4}\n  - prune_tokens: {most: 2}", "a recipe has one pass", false, XC_E_UNSUPPORTED },
        { "tiny-bert", "prune_tokens: {most: 4}\n  - quantize: {format: mixed, target_bits: 6}", "comes behind those that measure it", false, XC_E_UNSUPPORTED },
        { "tiny-bert", "prune_tokens: {most: 4, targets: [encoder.layer.7.attention]}", "matches no node", false, XC_E_NOT_FOUND },
        { "tiny-bert", "swap_attention: {kind: longformer, window: 4}\n  - prune_tokens: {most: 4}", "finds no dense attention", false, XC_E_UNSUPPORTED },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_model *m = tiny(cases[i].model), *made = NULL;
        char yaml[256], text[512];
        enum xc_status status;

        snprintf(yaml, sizeof yaml, "passes:\n  - %s\n", cases[i].options);
        status = tiny_model_compress(&made, NULL, m, yaml, cases[i].texts ? list : NULL, 1, &err);
        if (status == XC_OK || made || !strstr(xc_err_text(&err, text, sizeof text), cases[i].says)) fail_msg("case %zu: %d, %s", i, (int)status, text);
        if (cases[i].status != status) fail_msg("case %zu: status %d, %s", i, (int)status, text);
        xc_model_free(&m);
    }
}

static void test_tokens_answer(void **state)
{
    struct xc_model *m = NULL, *made = NULL;
    const struct xc_load_opts load = { .head = "encode" };
    char path[1100];

    (void)state;
    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", root);
    OK(xc_model_load(&m, path, &load, &err));
    assert_int_equal(tiny_model_compress(&made, NULL, m, "passes:\n  - prune_tokens: {most: 4}\n", NULL, 1, &err), XC_E_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "an answer for every token"));
    xc_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers), cmocka_unit_test(test_ends), cmocka_unit_test(test_calibration), cmocka_unit_test(test_training), cmocka_unit_test(test_refused), cmocka_unit_test(test_tokens_answer),
    };
    FILE *f;
    int fd, failed;

    snprintf(root, sizeof root, "%s", getenv("XC_SOURCE_ROOT") ? getenv("XC_SOURCE_ROOT") : ".");
    snprintf(list, sizeof list, "/tmp/xc-test-tokens-XXXXXX");
    fd = mkstemp(list);
    f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (!f) return 1;
    for (int i = 0; i < 40; i++) fprintf(f, "A man is playing a guitar in the city number %d, and two dogs run after %d birds that nobody sees.\n", i, i * i);
    fclose(f);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(list);
    return failed;
}
