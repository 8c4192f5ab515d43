/* test_fold_globals: Longformer's global projections folded: the answers of the projections, in f32 and int8; a file of the bytes that were planned, which opens to the same bits;
 * other numbers than the projections' matter; what is refused. The formula against PyTorch: test_attention. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "compress/shrink/surgery.h"
#include "runtime/container/container.h"
#include "runtime/session/session.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"

static char root[1024], dir[1024];
static struct xc_err err;
#define OK(call) ok(call, &err)

static enum xc_status treat(struct xc_model **out, const struct xc_model *m, const char *recipe, uint64_t *planned)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_recipe *r = NULL;
    struct xc_model *none = NULL;
    enum xc_status status;

    write_file(path_in(dir, "recipe.yaml"), recipe, strlen(recipe));
    OK(xc_recipe_read(&r, path_in(dir, "recipe.yaml"), &err));
    opts.recipe = r;
    opts.no_golden = true;
    if (planned) {
        OK(xc_compress_model(&none, m, NULL, true, &opts, &result, &err));
        *planned = result.output_bytes;
        xc_compress_result_release(&result);
    }
    status = xc_compress_model(out, m, NULL, false, &opts, &result, &err);
    xc_compress_result_release(&result);
    xc_recipe_free(&r);
    return status;
}

static float *outputs(struct xc_model *m, int64_t *n)
{
    const char *const text[] = { "a man is playing a guitar", "it rains", "two dogs run in the city and she reads 24 books" };
    size_t length[3];
    float *answers;

    for (int i = 0; i < 3; i++) length[i] = strlen(text[i]);
    OK(tiny_model_answers(&answers, n, m, text, length, 3, &err));
    return answers;
}

static double distance(struct xc_model *a, struct xc_model *b)
{
    int64_t n, k;
    float *x = outputs(a, &n), *y = outputs(b, &k);
    double d;

    assert_int_equal(n, k);
    d = relative_distance(x, y, n);
    free(x);
    free(y);
    return d;
}

static int32_t n_linears(const struct xc_model *m)
{
    int32_t n = 0;

    for (int32_t i = 0; i < m->graphs[0]->n_nodes; i++) n += !strcmp(m->graphs[0]->nodes[i].op->name, "linear");
    return n;
}

/* The projections as they are in a random checkpoint are small: larger ones make the global row matter. */
static struct xc_model *model(void)
{
    struct xc_model *m = NULL;

    OK(tiny_model(&m, root, "tests/vectors/arch/longformer_classify", &err));
    for (int32_t t = 0; t < m->n_tensors; t++) {
        float *x;

        if (!strstr(m->tensors[t]->name, "_global.")) continue;
        OK(xc_surgery_numbers(&x, m->tensors[t], &err));
        for (int64_t i = 0; i < xc_tensor_count(m->tensors[t]); i++) x[i] = 4 * x[i] + 0.02f * (float)(i % 5 - 2);
        OK(xc_tensor_set_f32(m->tensors[t], x, &err));
        xc_free(x);
    }
    return m;
}

static void test_same(void **state)
{
    static const char *const ahead[] = { NULL, "passes:\n  - quantize\n", "passes:\n  - quantize: {format: int4, group: 32, method: nearest}\n", "passes:\n  - cast: {format: f16}\n" };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(ahead); i++) {
        struct xc_model *m = model(), *folded = NULL, *read = NULL, *given = NULL;
        const double limit = i == 1 || i == 2 ? 0.04 : 1e-5; /* what rounding the input of the projections did */
        double before = 0;
        uint64_t planned, written;
        int64_t n;
        float *x, *y;

        if (ahead[i]) {
            OK(treat(&given, m, ahead[i], NULL));
            before = distance(m, given);
            xc_model_free(&m);
            m = given;
        }
        OK(treat(&folded, m, "passes:\n  - fold_globals\n", &planned));
        if (!(distance(m, folded) < limit)) fail_msg("case %d: answers differ by %g", (int)i, distance(m, folded));
        if (ahead[i]) { /* from f32 it is no further away */
            struct xc_model *exact = model();

            if (!(distance(exact, folded) < 1.05 * before + 1e-6)) fail_msg("case %d: %g from f32, %g before", (int)i, distance(exact, folded), before);
            xc_model_free(&exact);
        }
        assert_int_equal(n_linears(m) - n_linears(folded), 3 * 2); /* of two layers */
        OK(xc_save(folded, path_in(dir, "folded.xc"), false, NULL, NULL, &written, &err));
        assert_int_equal(planned, written);
        OK(xc_container_read(&read, path_in(dir, "folded.xc"), &(struct xc_read_opts){ .verify = true }, &err));
        x = outputs(folded, &n), y = outputs(read, &n);
        if (memcmp(x, y, (size_t)n * sizeof *x)) fail_msg("case %d: a file has another answer", (int)i);
        free(x);
        free(y);
        xc_model_free(&read);
        if (i == 0) { /* and they are looked at */
            struct xc_tensor *t = NULL;

            for (int32_t k = 0; k < folded->n_tensors && !t; k++)
                if (strstr(folded->tensors[k]->name, "1.attention.self.value_global.bias")) t = folded->tensors[k];
            assert_non_null(t);
            OK(xc_surgery_numbers(&x, t, &err));
            x[3] += 1;
            OK(xc_tensor_set_f32(t, x, &err));
            xc_free(x);
            assert_true(distance(m, folded) > 1e-3);
        }
        xc_model_free(&folded);
        xc_model_free(&m);
    }
}

static void refused(const struct xc_model *m, const char *recipe, const char *words)
{
    struct xc_model *made = NULL;

    if (treat(&made, m, recipe, NULL) == XC_OK) fail_msg("'%s' is accepted", recipe);
    if (!strstr(err.msg, words)) fail_msg("'%s': '%s' does not say '%s'", recipe, err.msg, words);
    assert_null(made);
}

static void test_refused(void **state)
{
    struct xc_model *m = model(), *dense = NULL, *plain = NULL;

    (void)state;
    OK(tiny_model(&dense, root, "tests/data/tiny-bert", &err));
    OK(tiny_model(&plain, root, "tests/vectors/arch/longformer", &err));
    refused(dense, "passes:\n  - fold_globals\n", "finds no longformer attention");
    refused(plain, "passes:\n  - fold_globals\n", "finds no longformer attention"); /* no token is global */
    refused(dense, "passes:\n  - fold_globals: {targets: [encoder.layer.0.attention]}\n", "no longformer attention");
    refused(m, "passes:\n  - fold_globals\n  - fold_globals: {targets: [\"re:.*layer\\\\.0\\\\.attention$\"]}\n", "folded already");
    xc_model_free(&m);
    xc_model_free(&dense);
    xc_model_free(&plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_same), cmocka_unit_test(test_refused) };
    int failed;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "fold")) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, failed);
}
