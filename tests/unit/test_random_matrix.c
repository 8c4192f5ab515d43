/* test_random_matrix: a Synthesizer's matrix of scores as a weight. banded: the answers of a whole matrix whose other scores are out of sight, the width that holds
 * a share of the attention, bytes as planned; prune: what is left against a plain sort, and no change without zeros; quantize: stored in int8 and in groups,
 * the answers of its decoded numbers to the bit, alone and beside other parts; hostile options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <unistd.h>

#include "compress/attention/random_matrix.h"
#include "compress/shrink/surgery.h"
#include "runtime/base/rng.h"
#include "runtime/container/container.h"
#include "runtime/session/session.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"

enum { H = 2, L = 512, LAYERS = 2 };
static char root[1024], dir[1024], long_text[4096];
static struct xc_err err;
#define OK(call) ok(call, &err)

/* "pass option=value @target pass ..." */
static enum xc_status treat(struct xc_model **out, const struct xc_model *m, const char *how, uint64_t *planned)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_recipe *r = NULL;
    struct xc_model *none = NULL;
    char copy[512], *save = NULL;
    enum xc_status status;

    OK(xc_recipe_new(&r, &err));
    snprintf(copy, sizeof copy, "%s", how);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *equals = strchr(word, '=');

        if (word[0] == '@') OK(xc_recipe_target(r, word + 1, &err));
        else if (!equals) OK(xc_recipe_add(r, word, &err));
        else {
            *equals = 0;
            OK(xc_recipe_set(r, word, equals + 1, &err));
        }
    }
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

static int32_t matrix_of(const struct xc_model *m, int layer)
{
    const struct xc_graph *g = m->graphs[0];

    for (int32_t n = 0; n < g->n_nodes; n++)
        if (xc_random_matrix(&g->nodes[n]) >= 0 && layer-- == 0) return xc_random_matrix(&g->nodes[n]);
    fail_msg("there is no matrix");
    return -1;
}

static float *numbers(const struct xc_model *m, int layer)
{
    float *x;

    OK(xc_surgery_numbers(&x, m->tensors[matrix_of(m, layer)], &err));
    return x;
}

/* tiny-bert with matrices of scores that fall off from the diagonal, the second layer's slower. */
static struct xc_model *model(const char *more)
{
    struct xc_model *dense = NULL, *m = NULL;
    char how[200];

    OK(tiny_model(&dense, root, "tests/data/tiny-bert", &err));
    snprintf(how, sizeof how, "swap_attention kind=synthesizer rank=0 init=random %s", more);
    OK(treat(&m, dense, how, NULL));
    for (int layer = 0; layer < LAYERS; layer++) {
        float *x = numbers(m, layer);
        struct xc_rng rng;

        xc_rng_init(&rng, 5, (uint64_t)layer);
        for (int64_t i = 0; i < (int64_t)H * L * L; i++) x[i] = (float)(xc_rng_normal(&rng) - fabs((double)(i % L) - (double)(i / L % L)) / (6 + 10 * layer) + 3);
        OK(xc_tensor_set_f32(m->tensors[matrix_of(m, layer)], x, &err));
        xc_free(x);
    }
    xc_model_free(&dense);
    return m;
}

static float *outputs(struct xc_model *m, int64_t *n)
{
    const char *const text[] = { "two dogs run", long_text };
    const size_t length[] = { strlen(text[0]), strlen(text[1]) };
    float *answers;

    OK(tiny_model_answers(&answers, n, m, text, length, 2, &err));
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
    assert_true(isfinite(d));
    return d;
}

/* Shortened by the tokenizer's limit; more than one block of keys. */
static void make_long_text(void)
{
    static const char *const words[] = { "a man", "is playing", "the guitar", "dogs run", "in the city", "it rains", "she reads", "books", "no one", "knows why" };

    for (int i = 0; strlen(long_text) < 1200; i++) snprintf(long_text + strlen(long_text), 32, "%s ", words[(i * 7 + i / 3) % 10]);
}

/* ---- banded ---- */
static void hide(struct xc_model *m, int w)
{
    for (int layer = 0; layer < LAYERS; layer++) {
        float *x = numbers(m, layer);

        for (int64_t i = 0; i < (int64_t)H * L * L; i++)
            if (llabs(i % L - i / L % L) > w) x[i] = -200.0f;
        OK(xc_tensor_set_f32(m->tensors[matrix_of(m, layer)], x, &err));
        xc_free(x);
    }
}

static void test_banded(void **state)
{
    static const int widths[] = { 1, 20, 130, 254 };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(widths); i++) {
        struct xc_model *m = model(""), *made = NULL, *small = NULL, *as = NULL;
        uint64_t planned, written;
        char how[64];

        snprintf(how, sizeof how, "banded width=%d", widths[i]);
        OK(treat(&made, m, how, &planned));
        assert_int_equal(xc_tensor_cols(made->tensors[matrix_of(made, 1)]), 2 * widths[i] + 1);
        OK(xc_save(made, path_in(dir, "band.xc"), false, NULL, NULL, &written, &err));
        assert_int_equal(planned, written);
        hide(m, widths[i]);
        if (!(distance(m, made) < 2e-6)) fail_msg("width %d: answers differ by %g", widths[i], distance(m, made));
        OK(treat(&small, made, "quantize smooth=no", NULL)); /* int8 attention of the band and of the matrix */
        OK(treat(&as, m, "quantize smooth=no", NULL));
        if (!(distance(as, small) < 0.01 && distance(m, small) < 0.05)) fail_msg("width %d: int8 differs by %g, and by %g from f32", widths[i], distance(as, small), distance(m, small));
        xc_model_free(&as);
        xc_model_free(&small);
        xc_model_free(&made);
        xc_model_free(&m);
    }
}

static void test_width_of_mass(void **state)
{
    struct xc_model *m = model(""), *made = NULL;

    (void)state;
    OK(treat(&made, m, "banded mass=0.9", NULL));
    for (int layer = 0; layer < LAYERS; layer++) {
        const int64_t w = xc_tensor_cols(made->tensors[matrix_of(made, layer)]) / 2;
        float *x = numbers(m, layer);
        double inside[2] = { 0 }; /* one narrower, and it */

        for (int64_t r = 0; r < H * L; r++) {
            double all = 0, in[2] = { 0 };

            for (int64_t j = 0; j < L; j++) {
                const double e = exp((double)x[r * L + j]);

                all += e;
                for (int k = 0; k < 2; k++) in[k] += llabs(j - r % L) <= w - 1 + k ? e : 0;
            }
            for (int k = 0; k < 2; k++) inside[k] += in[k] / all / (H * L);
        }
        if (!(inside[0] < 0.9 && inside[1] >= 0.9)) fail_msg("layer %d: a band of %d holds %g, one narrower %g", layer, (int)w, inside[1], inside[0]);
        xc_free(x);
    }
    xc_model_free(&made);
    xc_model_free(&m);
}

/* ---- prune ---- */
static int by_size(const void *a, const void *b)
{
    const double x = fabs(*(const double *)a), y = fabs(*(const double *)b);

    return (x > y) - (x < y);
}

static void test_prune(void **state)
{
    struct xc_model *m = model(""), *made = NULL, *all = NULL, *band = NULL;
    const int64_t n = (int64_t)H * L * L;
    double *want = malloc((size_t)n * sizeof *want), *sorted = malloc((size_t)n * sizeof *sorted), limit;
    float *x = numbers(m, 0), *y;
    int64_t zeros = 0;

    (void)state;
    OK(treat(&all, m, "prune sparsity=0 @attention", NULL)); /* rows without their means have the same softmax */
    if (!(distance(m, all) < 1e-5)) fail_msg("without zeros answers differ by %g", distance(m, all));
    OK(treat(&made, m, "prune sparsity=0.6 @attention", NULL));
    y = numbers(made, 0);
    for (int64_t r = 0; r < H * L; r++) {
        double mean = 0;

        for (int64_t j = 0; j < L; j++) mean += (double)x[r * L + j] / L;
        for (int64_t j = 0; j < L; j++) want[r * L + j] = (double)x[r * L + j] - mean;
    }
    memcpy(sorted, want, (size_t)n * sizeof *want);
    qsort(sorted, (size_t)n, sizeof *sorted, by_size);
    limit = fabs(sorted[(int64_t)(0.6 * (double)n)]);
    for (int64_t i = 0; i < n; i++) {
        zeros += y[i] == 0.0f;
        if (fabs(fabs(want[i]) - limit) < 1e-5) continue;
        if (fabs((double)y[i] - (fabs(want[i]) < limit ? 0 : want[i])) > 1e-5) fail_msg("number %d is %g, not %g or zero", (int)i, (double)y[i], want[i]);
    }
    assert_true(fabs((double)zeros / (double)n - 0.6) < 1e-4);
    assert_true(distance(m, made) > 1e-4 && distance(m, made) < 0.5);
    xc_model_free(&made);
    OK(treat(&made, m, "prune sparsity=0.6", NULL)); /* and by default, with the linears */
    xc_free(y);
    y = numbers(made, 1);
    zeros = 0;
    for (int64_t i = 0; i < n; i++) zeros += y[i] == 0.0f;
    assert_true(fabs((double)zeros / (double)n - 0.6) < 1e-4);
    xc_model_free(&all);
    OK(treat(&band, m, "banded width=9", NULL)); /* a band's rows have means of what is in them */
    OK(treat(&all, band, "prune sparsity=0 @attention", NULL));
    if (!(distance(band, all) < 1e-5)) fail_msg("a band without zeros: answers differ by %g", distance(band, all));
    xc_free(x);
    xc_free(y);
    free(want);
    free(sorted);
    xc_model_free(&band);
    xc_model_free(&all);
    xc_model_free(&made);
    xc_model_free(&m);
}

/* ---- quantize ---- */
static void test_quantize(void **state)
{
    static const struct { const char *model, *ahead, *how; enum xc_format format; double limit; } cases[] = {
        { "", "", "quantize smooth=no", XC_FMT_S8, 0.03 },
        { "", "", "quantize smooth=no attention=f32", XC_FMT_S8, 0.03 },
        { "", "", "quantize smooth=no format=int4 group=32 @attention", XC_FMT_S4, 0.1 },
        { "", "", "quantize smooth=no format=int8-groups scales=int6 attention=f32 @attention", XC_FMT_G8, 0.02 },
        { "", "banded width=70", "quantize smooth=no", XC_FMT_S8, 0.03 },
        { "", "banded width=70", "quantize smooth=no format=int5 zero_point=yes embeddings=int8 @attention", XC_FMT_S5, 0.1 },
        { "dot=yes", "", "quantize smooth=no", XC_FMT_S8, 0.03 },
        { "", "low_rank rank=40 @attention", "quantize smooth=no", XC_FMT_S8, 0.2 },
        { "", "", "quantize smooth=no embedding_bits=5", XC_FMT_S8, 0.2 },
        { "", "", "cast format=f16 quantize smooth=no @re:.*dense.*", XC_FMT_F16, 0.03 },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_model *m = model(cases[i].model), *ahead = NULL, *made = NULL, *read = NULL;
        uint64_t planned, written;
        int64_t n;
        float *x, *y, *z, *r;

        if (cases[i].ahead[0]) {
            OK(treat(&ahead, m, cases[i].ahead, NULL));
            xc_model_free(&m);
            m = ahead;
        }
        OK(treat(&made, m, cases[i].how, &planned));
        assert_int_equal(made->tensors[matrix_of(made, 0)]->enc.format, cases[i].format);
        if (!(distance(m, made) < cases[i].limit)) fail_msg("case %d: off by %g", (int)i, distance(m, made));
        OK(xc_save(made, path_in(dir, "small.xc"), false, NULL, NULL, &written, &err));
        assert_int_equal(planned, written);
        OK(xc_container_read(&read, path_in(dir, "small.xc"), &(struct xc_read_opts){ .verify = true }, &err));
        x = outputs(made, &n);
        y = outputs(read, &n);
        for (int layer = 0; layer < LAYERS; layer++) {
            r = numbers(made, layer);
            OK(xc_tensor_set_f32(made->tensors[matrix_of(made, layer)], r, &err));
            xc_free(r);
        }
        z = outputs(made, &n);
        if (memcmp(x, y, (size_t)n * sizeof *x)) fail_msg("case %d: a file has another answer", (int)i);
        if (memcmp(x, z, (size_t)n * sizeof *x)) fail_msg("case %d: its decoded numbers have another answer", (int)i);
        free(x);
        free(y);
        free(z);
        xc_model_free(&read);
        xc_model_free(&made);
        xc_model_free(&m);
    }
}

/* ---- what is refused ---- */
static void refused(const struct xc_model *m, const char *how, const char *words)
{
    struct xc_model *made = NULL;

    if (treat(&made, m, how, NULL) == XC_OK) fail_msg("'%s' is accepted", how);
    if (!strstr(err.msg, words)) fail_msg("'%s': '%s' does not say '%s'", how, err.msg, words);
    assert_null(made);
}

static void test_refused(void **state)
{
    struct xc_model *m = model(""), *dense = NULL, *dot = model("dot=yes"), *made = NULL;
    const char *name = NULL;
    char how[300];

    (void)state;
    OK(tiny_model(&dense, root, "tests/data/tiny-bert", &err));
    for (int32_t n = 0; n < m->graphs[0]->n_nodes && !name; n++)
        if (xc_random_matrix(&m->graphs[0]->nodes[n]) >= 0) name = m->graphs[0]->nodes[n].name;
    refused(dense, "banded", "finds no attention");
    refused(m, "banded width=256", "finds no attention");
    snprintf(how, sizeof how, "banded width=8 @%s", name);
    refused(dense, how, "no random matrix");
    refused(dot, how, "not its only part");
    snprintf(how, sizeof how, "quantize smooth=no banded width=8 @%s", name);
    refused(m, how, "quantized already");
    snprintf(how, sizeof how, "banded width=9 banded width=8 @%s", name);
    refused(m, how, "a band already");
    snprintf(how, sizeof how, "low_rank rank=16 @%s banded width=8 @%s", name, name);
    refused(m, how, "two factors");
    snprintf(how, sizeof how, "banded width=8 low_rank rank=4 @%s", name);
    refused(m, how, "no weight to split");
    snprintf(how, sizeof how, "prune pattern=nm @%s", name);
    refused(m, how, "by magnitude, unstructured");
    refused(dense, how, "no weight to prune");
    snprintf(how, sizeof how, "quantize smooth=no quantize smooth=no attention=f32 @%s", name);
    refused(m, how, "quantized already");
    float *x = numbers(m, 1);

    x[5 * L + 3] = NAN;
    OK(xc_tensor_set_f32(m->tensors[matrix_of(m, 1)], x, &err));
    refused(m, "banded width=8", "not finite at row 5, column 3");
    refused(m, "quantize smooth=no @attention", "not finite");
    refused(m, "prune @attention", "not finite");
    xc_free(x);
    xc_model_free(&made);
    xc_model_free(&m);
    xc_model_free(&dot);
    xc_model_free(&dense);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_banded), cmocka_unit_test(test_width_of_mass), cmocka_unit_test(test_prune), cmocka_unit_test(test_quantize), cmocka_unit_test(test_refused) };
    int failed;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "random")) return 1;
    make_long_text();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, failed);
}
