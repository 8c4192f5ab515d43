/* test_spans: spans of attention that are learnt: what an update does to them, with and without a penalty, and where they stop; the same bytes for any threads;
 * what was learnt as whole windows; hostile options. The formula and its derivative against PyTorch: test_attention, against differences: test_grad_attention; windows by head from
 * maps: test_swap. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "compress/shrink/surgery.h"
#include "compress/train/finetune.h"
#include "runtime/container/container.h"
#include "runtime/graph/attention/longformer_span.h"
#include "runtime/session/session.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"

enum { HEADS = 2, LAYERS = 2 };
static char root[1024], dir[1024];
static struct xc_err err;
#define OK(call) ok(call, &err)

static enum xc_status treat(struct xc_model **out, const struct xc_model *m, const char *recipe)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_recipe *r = NULL;
    enum xc_status status;

    write_file(path_in(dir, "recipe.yaml"), recipe, strlen(recipe));
    OK(xc_recipe_read(&r, path_in(dir, "recipe.yaml"), &err));
    opts.recipe = r;
    opts.no_golden = true;
    status = xc_compress_model(out, m, NULL, false, &opts, &result, &err);
    xc_compress_result_release(&result);
    xc_recipe_free(&r);
    return status;
}

static struct xc_model *tiny(const char *recipe)
{
    struct xc_model *dense = NULL, *m = NULL;

    OK(tiny_model(&dense, root, "tests/data/tiny-bert", &err));
    OK(treat(&m, dense, recipe));
    xc_model_free(&dense);
    return m;
}

#define SOFT "passes:\n  - swap_attention: {kind: longformer, window: 16, global: 0}\n  - spans: {start: 0.5, ramp: 4}\n"

static float *spans_of(const struct xc_model *m, int layer)
{
    char name[80];
    float *z;

    snprintf(name, sizeof name, "encoder.layer.%d.attention.span", layer);
    assert_true(xc_model_find_tensor(m, name) >= 0);
    OK(xc_surgery_numbers(&z, m->tensors[xc_model_find_tensor(m, name)], &err));
    return z;
}

/* ---- training ---- */
static enum xc_status train(const char *to, double penalty, double rate, int64_t steps, int threads, double *mean)
{
    struct xc_finetune_opts o = { .task = "classify", .data = path_in(dir, "rows.tsv"), .optimizer = { .kind = XC_OPT_SGD }, .schedule = XC_SCHEDULE_CONSTANT, .rate = 0.01, .epochs = 8, .batch_tokens = 512,
                                  .accumulate = 1, .max_steps = steps, .no_golden = true, .seed = 1, .layer_decay = 1, .span_penalty = penalty, .span_rate = rate };
    struct xc_finetune_result r;
    enum xc_status status;

    OK(xc_pool_new(&o.pool, threads, &err));
    status = xc_finetune_file(path_in(dir, "soft.xc"), to, &o, &r, &err);
    xc_pool_free(&o.pool);
    if (mean) *mean = r.span_tokens;
    return status;
}

static struct xc_model *opened(const char *path)
{
    struct xc_model *m = NULL;

    OK(xc_container_read(&m, path, &(struct xc_read_opts){ .verify = true }, &err));
    return m;
}

static void test_train(void **state)
{
    struct xc_model *soft = tiny(SOFT), *plain, *fined, *all;
    double mean, sum = 0;
    bool moved = false;

    (void)state;
    OK(xc_save(soft, path_in(dir, "soft.xc"), false, NULL, NULL, NULL, &err));
    OK(train(path_in(dir, "plain.xc"), 0, 50, 1, 1, NULL));
    OK(train(path_in(dir, "fined.xc"), 0.4, 50, 1, 1, &mean));
    OK(train(path_in(dir, "threads.xc"), 0.4, 50, 1, 3, NULL));
    OK(train(path_in(dir, "none.xc"), 1000, 50, 3, 1, NULL));
    same_files(path_in(dir, "fined.xc"), path_in(dir, "threads.xc"));
    plain = opened(path_in(dir, "plain.xc")), fined = opened(path_in(dir, "fined.xc")), all = opened(path_in(dir, "none.xc"));
    for (int layer = 0; layer < LAYERS; layer++) {
        float *x = spans_of(plain, layer), *y = spans_of(fined, layer), *z = spans_of(all, layer);

        for (int h = 0; h < HEADS; h++) { /* SGD: the penalty's part of the step is known */
            moved |= x[h] != 0.5f;
            if (fabs((double)x[h] - (double)y[h] - 0.01 * 50 * 0.4 / (HEADS * LAYERS)) > 1e-6) fail_msg("a penalty moves a span from %g to %g", (double)x[h], (double)y[h]);
            if (z[h] != 0) fail_msg("a large penalty leaves a span of %g", (double)z[h]);
            sum += 16 * (double)y[h] / (HEADS * LAYERS);
        }
        xc_free(x);
        xc_free(y);
        xc_free(z);
    }
    assert_true(moved); /* by their own gradient */
    assert_true(fabs(sum - mean) < 1e-5);
    xc_model_free(&all);
    xc_model_free(&fined);
    xc_model_free(&plain);
    xc_model_free(&soft);
}

/* ---- fixed ---- */
static float *embedding(struct xc_model *m, int64_t *n)
{
    const char *const text[] = { "a man is playing the guitar and two dogs run in the city while it rains and she reads 24 books about the plane that lands on water", "no one knows why" };
    const size_t length[] = { strlen(text[0]), strlen(text[1]) };
    float *answers;

    OK(tiny_model_answers(&answers, n, m, text, length, 2, &err));
    return answers;
}

static void same_answers(struct xc_model *a, struct xc_model *b)
{
    int64_t n, k;
    float *x = embedding(a, &n), *y = embedding(b, &k);

    assert_int_equal(n, k);
    if (memcmp(x, y, (size_t)n * sizeof *x)) fail_msg("answers differ");
    free(x);
    free(y);
}

static void test_fix(void **state)
{
    struct xc_model *soft = tiny(SOFT), *fixed = NULL, *want = tiny("passes:\n  - swap_attention: {kind: longformer, window: 10, global: 0}\n"), *narrow;
    const float z[HEADS] = { 0.03f, 0.77f }; /* of 16, and half of the ramp: 2 and 14 */
    float *got;
    int32_t node;

    (void)state;
    OK(treat(&fixed, soft, "passes:\n  - spans: {mode: fix}\n")); /* all 8 and 2: no spans left */
    assert_int_equal(xc_model_find_tensor(fixed, "encoder.layer.0.attention.span"), -1);
    same_answers(want, fixed);
    xc_model_free(&fixed);
    xc_model_free(&want);
    OK(xc_tensor_set_f32(soft->tensors[xc_model_find_tensor(soft, "encoder.layer.0.attention.span")], z, &err));
    OK(treat(&fixed, soft, "passes:\n  - spans: {mode: fix}\n"));
    node = xc_graph_find_node(fixed->graphs[0], "encoder.layer.0.attention");
    assert_int_equal(((const struct xc_attr_attention *)fixed->graphs[0]->nodes[node].attr)->window, 14);
    assert_int_equal(((const struct xc_attr_attention *)fixed->graphs[0]->nodes[node].attr)->ramp, 0);
    got = spans_of(fixed, 0);
    assert_true(fabsf(got[0] - 2.0f / 14) < 1e-6f && got[1] == 1);
    xc_free(got);
    OK(treat(&want, fixed, "passes:\n  - quantize: {smooth: no}\n"));
    narrow = tiny("passes:\n  - swap_attention: {kind: longformer, window: 14, global: 0}\n  - quantize: {smooth: no}\n");
    {
        int64_t n;
        float *x = embedding(want, &n), *y = embedding(narrow, &n);

        assert_true(memcmp(x, y, (size_t)n * sizeof *x)); /* a head of 2 is another answer */
        free(x);
        free(y);
    }
    xc_model_free(&narrow);
    xc_model_free(&want);
    xc_model_free(&fixed);
    xc_model_free(&soft);
}

/* ---- what is refused ---- */
static void refused(const struct xc_model *m, const char *recipe, const char *words)
{
    struct xc_model *made = NULL;

    if (treat(&made, m, recipe) == XC_OK) fail_msg("'%s' is accepted", recipe);
    if (!strstr(err.msg, words)) fail_msg("'%s': '%s' does not say '%s'", recipe, err.msg, words);
    assert_null(made);
}

static void test_refused(void **state)
{
    struct xc_model *soft = tiny(SOFT), *dense = NULL, *window = tiny("passes:\n  - swap_attention: {kind: longformer, window: 16}\n");

    (void)state;
    OK(tiny_model(&dense, root, "tests/data/tiny-bert", &err));
    refused(dense, "passes:\n  - spans\n", "swap_attention makes one");
    refused(dense, "passes:\n  - spans: {targets: [encoder.layer.0.attention]}\n", "no longformer attention");
    refused(soft, "passes:\n  - spans: {targets: [encoder.layer.0.attention]}\n", "has spans already");
    refused(window, "passes:\n  - spans: {mode: fix}\n", "no soft spans");
    refused(window, "passes:\n  - quantize: {smooth: no}\n  - spans: {targets: [encoder.layer.0.attention]}\n", "before quantization");
    OK(xc_save(window, path_in(dir, "soft.xc"), false, NULL, NULL, NULL, &err));
    assert_int_equal(train(path_in(dir, "no.xc"), 0.1, 50, 1, 1, NULL), XC_E_ARG);
    assert_non_null(strstr(err.msg, "pass 'spans' makes them"));
    assert_int_not_equal(access(path_in(dir, "no.xc"), F_OK), 0);
    float *z = spans_of(soft, 1);

    z[1] = NAN;
    OK(xc_tensor_set_f32(soft->tensors[xc_model_find_tensor(soft, "encoder.layer.1.attention.span")], z, &err));
    xc_free(z);
    refused(soft, "passes:\n  - spans: {mode: fix}\n", "not finite at column 1");
    xc_model_free(&dense);
    xc_model_free(&window);
    xc_model_free(&soft);
}

int main(void)
{
    static const char rows[] = "label\ttext\n0\ta man is playing a guitar in the rain\n1\ttwo dogs run in the city\n0\tit rains\n1\tshe reads books and no one knows why\n";
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_train), cmocka_unit_test(test_fix), cmocka_unit_test(test_refused) };
    int failed;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "spans")) return 1;
    write_file(path_in(dir, "rows.tsv"), rows, sizeof rows - 1);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, failed);
}
