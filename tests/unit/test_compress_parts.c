/* test_compress_parts: the pieces of compression on their own: int8 rows and the 16-bit rules against brute force, recipes and their
 * words, calibration texts, ranges. */
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

#include "compress/calibrate/calibrate.h"
#include "compress/pass.h"
#include "compress/quantize/int8.h"
#include "compress/recipe/recipe.h"
#include "formats/json.h"
#include "runtime/base/rng.h"
#include "tests/unit/scratch.h"

/* ---- int8 rows ---- */
static const int quads[2][4] = { { 0, 1, 4, 5 }, { 2, 3, 6, 7 } };

static bool obeys(const int8_t *q, int64_t C)
{
    int8_t *panel = calloc(1, xc_panel_s8_bytes(1, C));
    bool good;

    assert_non_null(panel);
    xc_pack_panel_s8(panel, q, 1, C);
    good = xc_sum16_ok(panel, 1, C);
    free(panel);
    return good;
}

/* The least squared error of four magnitudes x held as integers whose sum is at most the limit. */
static double brute_force(const float x[4])
{
    double best = INFINITY;

    for (int a = 0; a <= 127; a++)
        for (int b = 0; b <= 127; b++)
            for (int c = 0; c <= 127 && a + b + c <= XC_SUM16_MAX; c++) {
                const int room = XC_SUM16_MAX - a - b - c, want = (int)lrintf(x[3]), d = want < room ? want : room;
                const double e[4] = { (double)x[0] - a, (double)x[1] - b, (double)x[2] - c, (double)x[3] - d };
                const double error = e[0] * e[0] + e[1] * e[1] + e[2] * e[2] + e[3] * e[3];

                if (error < best) best = error;
            }
    return best;
}

static void test_clamp_is_least(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 12; seed++) {
        struct xc_rng rng;
        float x[8] = { 0 }, mag[4];
        int8_t q[8];
        double error = 0;

        xc_rng_init(&rng, seed, 1);
        for (int i = 0; i < 4; i++) {
            mag[i] = 40.0f + 50.0f * (float)xc_rng_unit(&rng);
            x[quads[0][i]] = i % 2 ? mag[i] : -mag[i]; /* signs that differ: the quad's rule alone binds */
        }
        for (int i = 0; i < 8; i++) q[i] = (int8_t)lrintf(x[i]);
        xc_int8_clamp(q, x, 1.0f, 8, 8, xc_kernels());
        assert_true(obeys(q, 8));
        for (int i = 0; i < 8; i++) {
            assert_true((float)q[i] * x[i] >= 0); /* no sign changes */
            error += ((double)x[i] - q[i]) * ((double)x[i] - q[i]);
        }
        if (fabs(error - brute_force(mag)) > 1e-6 * (1 + error)) fail_msg("seed %d: error %g, least is %g", (int)seed, error, brute_force(mag));
    }
}

/* Each rule alone, on magnitudes that break it; and that what obeys is left as it is. */
static void test_clamp_rules(void **state)
{
    static const float cases[][16] = {
        { 100, 90 },                                      /* a pair of one sign */
        { -127, -3 },                                     /* the same, by one */
        { 70, -70, 0, 0, 70, -70 },                       /* a quad */
        { 60, 60, 0, 0, 60, -60, 0, 0, 60, 60, 0, 0, 60 }, /* a lane of positive squares, no pair and no quad */
        { 0, 0, -64, -64, 0, 0, -64, 0, 0, 0, -64, -40, 0, 0, -64 },
    };
    static const float fine[16] = { 127, -100, 64, 65, 0, 0, 0, 0, 10, -63 };
    int8_t q[16];

    (void)state;
    for (size_t c = 0; c < XC_ARRAY_LEN(cases); c++) {
        double error = 0;

        for (int i = 0; i < 16; i++) q[i] = (int8_t)cases[c][i];
        assert_false(obeys(q, 16));
        assert_int_equal(xc_int8_clamp(q, cases[c], 1.0f, 16, 16, xc_kernels()), 1);
        assert_true(obeys(q, 16));
        for (int i = 0; i < 16; i++) error += ((double)cases[c][i] - q[i]) * ((double)cases[c][i] - q[i]);
        assert_true(error >= 1 && error < 2000);
    }
    for (int i = 0; i < 16; i++) q[i] = (int8_t)fine[i];
    assert_int_equal(xc_int8_clamp(q, fine, 1.0f, 16, 16, xc_kernels()), 0);
    for (int i = 0; i < 16; i++) assert_int_equal(q[i], (int)fine[i]);
}

/* Relative squared error of rows of C numbers; checks the rule. */
static double rows_error(const float *x, int64_t R, int64_t C, bool sum16, struct xc_int8_sums *sums)
{
    const int64_t ld = xc_round_up(C, 8);
    int8_t *q = malloc((size_t)(R * ld));
    float *scale = malloc((size_t)R * sizeof *scale), *bounds = malloc((size_t)(2 * ld) * sizeof *bounds);
    double error2 = 0, norm2 = 0;
    int64_t bad;

    assert_non_null(q);
    assert_non_null(scale);
    assert_non_null(bounds);
    *sums = (struct xc_int8_sums){ 0 };
    assert_true(xc_int8_rows(q, ld, scale, sums, x, R, C, sum16, bounds, xc_kernels(), &bad));
    for (int64_t r = 0; r < R; r++) {
        if (sum16) assert_true(obeys(q + r * ld, C));
        for (int64_t c = 0; c < ld; c++) {
            const double d = c < C ? (double)x[r * C + c] - (double)scale[r] * q[r * ld + c] : 0;

            if (c >= C) assert_int_equal(q[r * ld + c], 0);
            assert_in_range(q[r * ld + c] + 127, 0, 254);
            error2 += d * d;
            norm2 += c < C ? (double)x[r * C + c] * (double)x[r * C + c] : 0;
        }
    }
    assert_true(fabs(sums->error2 - error2) <= 1e-5 * (error2 + 1e-30) && fabs(sums->norm2 - norm2) <= 1e-5 * (norm2 + 1e-30)); /* a row is summed in f32 */
    free(q);
    free(scale);
    free(bounds);
    return norm2 > 0 ? error2 / norm2 : 0;
}

static void test_rows(void **state)
{
    static const int64_t widths[] = { 1, 7, 8, 26, 312, 384, 1200 };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(widths); i++) {
        const int64_t C = widths[i], R = 40;
        float *x = malloc((size_t)(R * C) * sizeof *x);
        struct xc_int8_sums free_sums, bound;
        struct xc_rng rng;
        double plain, paired;

        assert_non_null(x);
        xc_rng_init(&rng, 7, (uint64_t)C);
        for (int64_t k = 0; k < R * C; k++) x[k] = (float)xc_rng_normal(&rng);
        for (int64_t k = 0; k < C; k++) x[3 * C + k] = 0.0f;
        for (int64_t k = 0; k < C; k++) x[4 * C + k] = k % 2 ? 1.0f : -1.0f; /* every quad at its largest */
        plain = rows_error(x, R, C, false, &free_sums);
        paired = rows_error(x, R, C, true, &bound);
        assert_int_equal(free_sums.clamped, 0);
        assert_true(paired >= plain * 0.999);
        /* The rule costs little: the scale gives way before the numbers are clamped */
        if (C >= 312 && sqrt(paired) > 1.35 * sqrt(plain) + 0.002) fail_msg("width %d: error %g, without the rule %g", (int)C, sqrt(paired), sqrt(plain));
        free(x);
    }
}

static void test_not_finite(void **state)
{
    static const float bads[] = { NAN, INFINITY, -INFINITY };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(bads); i++) {
        float x[3 * 10] = { 0 }, scale[3], bounds[32];
        int8_t q[3 * 16];
        struct xc_int8_sums sums = { 0 };
        int64_t bad;

        x[17] = bads[i];
        assert_false(xc_int8_rows(q, 16, scale, &sums, x, 3, 10, true, bounds, xc_kernels(), &bad));
        assert_int_equal(bad, 17);
    }
}

/* ---- recipes ---- */
static void test_recipe(void **state)
{
    struct xc_recipe *r = NULL, *again = NULL;
    struct xc_err err = { 0 };
    json_t *json = NULL, *json2 = NULL;

    (void)state;
    ok(xc_recipe_new(&r, &err), &err);
    assert_int_equal(xc_recipe_set(r, "format", "int8", &err), XC_E_ARG);
    assert_int_equal(xc_recipe_add(r, "no_such_pass", &err), XC_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "'no_such_pass'"));
    ok(xc_recipe_add(r, "quantize", &err), &err);
    assert_int_equal(xc_recipe_set(r, "colour", "red", &err), XC_E_NOT_FOUND);
    assert_non_null(strstr(err.msg, "'colour'"));
    assert_int_equal(xc_recipe_set(r, "activations", "sta", &err), XC_E_RANGE);
    assert_int_equal(xc_recipe_set(r, "activations", "", &err), XC_E_RANGE);
    assert_int_equal(xc_recipe_set(r, "percentile", "99.9x", &err), XC_E_RANGE);
    assert_int_equal(xc_recipe_set(r, "percentile", "101", &err), XC_E_RANGE);
    assert_int_equal(xc_recipe_set(r, "percentile", "nan", &err), XC_E_RANGE);
    ok(xc_recipe_set(r, "percentile", "99.9", &err), &err);
    assert_int_equal(xc_recipe_set(r, "percentile", "99.8", &err), XC_E_ARG);
    assert_int_equal(xc_recipe_target(r, "", &err), XC_E_ARG);
    ok(xc_recipe_target(r, "re:encoder\\..*", &err), &err);
    ok(xc_recipe_ignore(r, "gather", &err), &err);
    ok(xc_recipe_to_json(&json, r, &err), &err);
    ok(xc_recipe_from_json(&again, json, &err), &err);
    ok(xc_recipe_to_json(&json2, again, &err), &err);
    assert_true(json_equal(json, json2));
    assert_true(xc_recipe_number(&again->passes[0], "percentile") == 99.9);
    assert_true(xc_recipe_is(&again->passes[0], "activations", "row"));
    xc_json_free(&json);
    xc_json_free(&json2);
    xc_recipe_free(&again);
    xc_recipe_free(&r);
}

static void test_pass_options(void **state)
{
    struct xc_pass_option_info info;

    (void)state;
    assert_non_null(xc_pass_names()[0]);
    for (const char *const *p = xc_pass_names(); *p; p++) {
        assert_non_null(xc_pass_summary(*p));
        for (int i = 0; xc_pass_option(*p, i, &info); i++) { /* every default is a value that is allowed */
            struct xc_recipe *r = NULL;
            struct xc_err err = { 0 };

            ok(xc_recipe_new(&r, &err), &err);
            ok(xc_recipe_add(r, *p, &err), &err);
            ok(xc_recipe_set(r, info.name, info.def, &err), &err);
            xc_recipe_free(&r);
        }
    }
    assert_null(xc_pass_summary("no_such_pass"));
    assert_false(xc_pass_option("no_such_pass", 0, &info));
}

/* ---- calibration ---- */
static void text_file(char path[64], const char *end, const char *text)
{
    FILE *f;

    snprintf(path, 64, "/tmp/xc-texts-%d%s", (int)getpid(), end);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void test_texts(void **state)
{
    struct xc_texts t;
    struct xc_err err = { 0 };
    char path[64];

    (void)state;
    text_file(path, ".txt", "one\n\ntwo\tand a tab\nthree\nfour\n");
    ok(xc_texts_read(&t, path, 100, &err), &err);
    assert_int_equal(t.n, 4);
    assert_string_equal(t.text[1], "two\tand a tab");
    xc_texts_release(&t);
    ok(xc_texts_read(&t, path, 2, &err), &err); /* spread over the file */
    assert_int_equal(t.n, 2);
    assert_string_equal(t.text[0], "one");
    assert_string_equal(t.text[1], "three");
    xc_texts_release(&t);
    assert_int_equal(xc_texts_read(&t, path, 0, &err), XC_E_ARG);
    unlink(path);
    text_file(path, ".tsv", "score\ttext_a\ttext_b\tnote\n1\ta\tb\tx\n2\tc\t\ty\n3\n");
    ok(xc_texts_read(&t, path, 100, &err), &err);
    assert_int_equal(t.n, 3);
    assert_string_equal(t.text[2], "c");
    xc_texts_release(&t);
    unlink(path);
    text_file(path, ".tsv", "label\tword\n1\thello\n");
    ok(xc_texts_read(&t, path, 100, &err), &err);
    assert_int_equal(t.n, 1);
    assert_string_equal(t.text[0], "hello");
    xc_texts_release(&t);
    unlink(path);
    text_file(path, ".txt", "\n\n");
    assert_int_equal(xc_texts_read(&t, path, 100, &err), XC_E_FORMAT);
    assert_int_equal(t.n, 0);
    unlink(path);
    assert_int_equal(xc_texts_read(&t, path, 100, &err), XC_E_IO);
    assert_int_equal(xc_texts_read(&t, "-", 100, &err), XC_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clamp_is_least), cmocka_unit_test(test_clamp_rules), cmocka_unit_test(test_rows),         cmocka_unit_test(test_not_finite), cmocka_unit_test(test_recipe),
        cmocka_unit_test(test_pass_options),   cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
