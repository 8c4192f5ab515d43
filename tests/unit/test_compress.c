/* test_compress: the whole job on tiny checkpoints: the same bytes for any threads, the 16-bit rules, exact plans, a manifest without paths,
 * golden samples that a flipped weight fails, reproduction, calibration, and no file after any failed allocation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/manifest.h"
#include "runtime/container/container.h"
#include "runtime/kernels/kernels.h"
#include "runtime/session/golden.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"
#include "xcompress/compress.h"

static char root[1024], dir[1024];
static const char *const checkpoints[] = { "tests/data/tiny-bert", "tests/vectors/arch/bert", "tests/vectors/arch/bert_classify", "tests/vectors/arch/bert_mlm", "tests/vectors/arch/bert_f16_k312",
                                           "tests/vectors/arch/distilbert_tag", "tests/vectors/arch/roberta" };

static const char *in_root(const char *name) { return path_in(root, name); }

static const char *in_dir(const char *name) { return path_in(dir, name); }

static void make(const char *from, const char *to, int threads, struct xc_compress_opts how)
{
    struct xc_compress_result result;
    struct xc_pool *pool = NULL;
    struct xc_err err = { 0 };

    ok(xc_pool_new(&pool, threads, &err), &err);
    if (!how.recipe) how.quantize = "int8";
    how.pool = pool;
    ok(xc_compress_file(from, to, &how, &result, &err), &err);
    xc_compress_result_release(&result);
    xc_pool_free(&pool);
}

static struct xc_model *open_verified(const char *path)
{
    const struct xc_read_opts opts = { .verify = true };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };

    ok(xc_container_read(&m, path, &opts, &err), &err);
    return m;
}

/* ---- bytes ---- */
static void test_same_bytes(void **state)
{
    const struct xc_compress_opts fast = XC_COMPRESS_DEFAULT, small = { .small = true, .calibrate_rows = 256 };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(checkpoints); i++)
        for (int store = 0; store < 2; store++) {
            uint8_t *want = NULL;
            size_t n = 0;

            for (int threads = 1; threads <= 3; threads++) {
                uint8_t *p;
                size_t bytes;

                make(in_root(checkpoints[i]), in_dir("same.xc"), threads, store ? small : fast);
                p = read_file(in_dir("same.xc"), &bytes);
                if (!want) {
                    want = p;
                    n = bytes;
                    continue;
                }
                assert_int_equal(bytes, n);
                assert_memory_equal(p, want, n);
                free(p);
            }
            free(want);
        }
}

/* The plan says the size, makes nothing, and the container agrees. */
static void test_plan(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(checkpoints); i++)
        for (int int8 = 0; int8 < 2; int8++) {
            struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
            struct xc_compress_result plan, result;
            struct xc_model *m;
            struct xc_err err = { 0 };
            uint64_t bytes;
            size_t n;

            how.quantize = int8 ? "int8" : NULL;
            unlink(in_dir("plan.xc"));
            ok(xc_compress_file(in_root(checkpoints[i]), NULL, &how, &plan, &err), &err);
            assert_int_not_equal(access(in_dir("plan.xc"), F_OK), 0);
            ok(xc_compress_file(in_root(checkpoints[i]), in_dir("plan.xc"), &how, &result, &err), &err);
            free(read_file(in_dir("plan.xc"), &n));
            assert_int_equal(plan.output_bytes, n);
            assert_int_equal(result.output_bytes, n);
            m = open_verified(in_dir("plan.xc"));
            ok(xc_container_size(m, &bytes, &err), &err);
            assert_int_equal(bytes, n);
            assert_int_equal(plan.n_layers, result.n_layers);
            for (int64_t l = 0; l < plan.n_layers; l++) {
                assert_string_equal(plan.layers[l].name, result.layers[l].name);
                assert_string_equal(plan.layers[l].encoding, result.layers[l].encoding);
                assert_int_equal(plan.layers[l].bytes, result.layers[l].bytes);
            }
            xc_model_free(&m);
            xc_compress_result_release(&plan);
            xc_compress_result_release(&result);
        }
}

/* ---- numbers ---- */
static void test_pair_sums(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(checkpoints); i++) {
        const struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_model *m;
        int linears = 0;

        make(in_root(checkpoints[i]), in_dir("pairs.xc"), 1, how);
        m = open_verified(in_dir("pairs.xc"));
        for (int32_t t = 0; t < m->n_tensors; t++) {
            const struct xc_tensor *const w = m->tensors[t];
            const int8_t *const q = w->part[XC_PART_DATA] ? (const int8_t *)w->part[XC_PART_DATA]->data : NULL;

            if (w->enc.format != XC_FMT_S8 || w->enc.layout != XC_LAYOUT_PANEL16) continue;
            linears++;
            assert_true(w->enc.sum16);
            assert_true(xc_sum16_ok(q, xc_tensor_rows(w), xc_tensor_cols(w)));
            for (size_t k = 0; k < w->part[XC_PART_DATA]->size; k++) assert_int_not_equal(q[k], -128);
        }
        assert_true(linears >= 6);
        xc_model_free(&m);
    }
}

static void test_errors_small(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(checkpoints); i++) {
        struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_compress_result r;
        struct xc_err err = { 0 };
        int changed = 0;

        how.quantize = "int8";
        ok(xc_compress_file(in_root(checkpoints[i]), in_dir("errors.xc"), &how, &r, &err), &err);
        for (int64_t l = 0; l < r.n_layers; l++) {
            if (strncmp(r.layers[l].encoding, "int8", 4)) {
                assert_true(r.layers[l].error == 0);
                continue;
            }
            changed++;
            if (!(r.layers[l].error > 0 && r.layers[l].error < 0.02)) fail_msg("%s: %s has an error of %g", checkpoints[i], r.layers[l].name, r.layers[l].error);
            assert_true(r.layers[l].output_error < 0);
        }
        assert_true(changed >= 6);
        assert_true(r.output_bytes < r.input_bytes);
        xc_compress_result_release(&r);
    }
}

static void test_manifest(void **state)
{
    const struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_manifest manifest;
    struct xc_model *m;
    struct xc_err err = { 0 };
    char *text;

    (void)state;
    make(in_root(checkpoints[0]), in_dir("manifest.xc"), 1, how);
    m = open_verified(in_dir("manifest.xc"));
    assert_non_null(m->manifest);
    ok(xc_manifest_read(&manifest, m->manifest, &err), &err);
    assert_true(json_array_size(manifest.sources) >= 3);
    assert_int_equal(json_array_size(json_object_get(manifest.root, "layers")) >= (size_t)m->n_tensors, 1);
    text = strndup((const char *)m->manifest->data, m->manifest->size);
    assert_non_null(text);
    assert_null(strstr(text, root));
    assert_null(strstr(text, dir));
    assert_null(strstr(text, "tests/data"));
    free(text);
    xc_manifest_release(&manifest);
    xc_model_free(&m);
}

static void test_refused(void **state)
{
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r;
    struct xc_err err = { 0 };

    (void)state;
    how.quantize = "int9";
    assert_int_not_equal(xc_compress_file(in_root(checkpoints[0]), in_dir("refused.xc"), &how, &r, &err), XC_OK);
    assert_non_null(strstr(err.msg, "int9"));
    how.quantize = "int8";
    how.static_ranges = true; /* and no texts */
    assert_int_not_equal(xc_compress_file(in_root(checkpoints[0]), in_dir("refused.xc"), &how, &r, &err), XC_OK);
    assert_null(r.layers);
    assert_int_not_equal(xc_compress_file(in_root("tests/data/none"), in_dir("refused.xc"), &how, &r, &err), XC_OK);
    assert_int_not_equal(access(in_dir("refused.xc"), F_OK), 0);
}

/* ---- golden ---- */
static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(checkpoints); i++) {
        const struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_model *m;
        struct xc_err err = { 0 };
        int checked;

        make(in_root(checkpoints[i]), in_dir("golden.xc"), 1, how);
        m = open_verified(in_dir("golden.xc"));
        for (const char *const *level = xc_kernels_levels(); *level; level++)
            for (int b = 0; b < XC_BATCH_COUNT && xc_kernels_for(*level); b++)
                for (int plain = 0; plain < 2; plain++) {
                    const struct xc_golden_setup setup = { .isa = *level, .batching = (enum xc_batching)b, .plain = plain };

                    ok(xc_golden_check(m, &setup, &checked, &err), &err);
                    assert_true(checked >= 4);
                }
        xc_model_free(&m);
    }
}

/* One bit of one weight: with a model that believes it, the samples differ; in a file, the checksum does. */
static void test_flip(void **state)
{
    const struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    const struct xc_read_opts verify = { .verify = true };
    const struct xc_golden_setup setup = { .isa = NULL };
    struct xc_model *m, *bad = NULL;
    struct xc_err err = { 0 };
    uint8_t *bytes;
    size_t n, at = 0;
    int checked;

    (void)state;
    make(in_root(checkpoints[0]), in_dir("flip.xc"), 1, how);
    m = open_verified(in_dir("flip.xc"));
    bytes = read_file(in_dir("flip.xc"), &n);
    for (int32_t t = 0; t < m->n_tensors; t++) {
        struct xc_tensor *const w = m->tensors[t];
        struct xc_buf *copy = NULL, *const old = w->part[XC_PART_DATA];

        if (w->enc.format != XC_FMT_S8 || w->enc.layout != XC_LAYOUT_PANEL16) continue;
        ok(xc_buf_new(&copy, old->size, &err), &err);
        memcpy(copy->data, old->data, old->size);
        copy->data[5] ^= 32;
        w->part[XC_PART_DATA] = copy;
        assert_int_equal(xc_golden_check(m, &setup, &checked, &err), XC_E_MISMATCH);
        if (t % 4 == 0) { /* written with checksums that fit, it is still found */
            const struct xc_write_opts fast = { .store = XC_STORE_FAST };

            ok(xc_container_write(m, in_dir("flipped.xc"), &fast, NULL, &err), &err);
            bad = open_verified(in_dir("flipped.xc"));
            assert_int_equal(xc_golden_check(bad, &setup, &checked, &err), XC_E_MISMATCH);
            xc_model_free(&bad);
        }
        w->part[XC_PART_DATA] = old;
        xc_buf_unref(&copy);
        at = (size_t)(old->data - old->parent->data) + 5; /* the mapping begins with the file */
        bytes[at] ^= 32;
        write_file(in_dir("flipped.xc"), bytes, n);
        bytes[at] ^= 32;
        assert_int_equal(xc_container_read(&bad, in_dir("flipped.xc"), &verify, &err), XC_E_CHECKSUM);
        assert_null(bad);
    }
    assert_true(at > 0);
    ok(xc_golden_check(m, &setup, &checked, &err), &err);
    free(bytes);
    xc_model_free(&m);
}

/* ---- reproduce ---- */
static void test_reproduce(void **state)
{
    const struct xc_reproduce_opts opts = { .calibrate = NULL };
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_err err = { 0 };
    int64_t same;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(checkpoints); i++) {
        how.small = i % 2;
        make(in_root(checkpoints[i]), in_dir("again.xc"), 1, how);
        ok(xc_reproduce(in_dir("again.xc"), in_root(checkpoints[i]), &opts, &same, &err), &err);
        assert_true(same > 10);
        assert_int_equal(xc_reproduce(in_dir("again.xc"), in_root(checkpoints[(i + 1) % XC_ARRAY_LEN(checkpoints)]), &opts, &same, &err), XC_E_MISMATCH);
    }
}

/* ---- calibration ---- */
static void test_calibrate(void **state)
{
    static const char texts[] = "A man is playing a guitar.\n\nTwo dogs run in the big city.\nthe sea is blue\nI love this movie, it is not boring!\n";
    const struct xc_golden_setup setup = { .isa = "scalar" };

    (void)state;
    write_file(in_dir("texts.txt"), texts, sizeof texts - 1);
    for (int with_static = 0; with_static < 2; with_static++) {
        struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_compress_result r;
        const struct xc_reproduce_opts again = { .calibrate = in_dir("texts.txt") };
        struct xc_model *m;
        struct xc_err err = { 0 };
        int64_t same;
        int measured = 0, checked;

        how.quantize = "int8";
        how.calibrate = again.calibrate;
        how.static_ranges = with_static;
        ok(xc_compress_file(in_root(checkpoints[0]), in_dir("calibrated.xc"), &how, &r, &err), &err);
        assert_int_equal(r.calibration_texts, 4);
        assert_true(r.calibration_tokens > 20);
        for (int64_t l = 0; l < r.n_layers; l++) {
            if (strcmp(r.layers[l].op, "linear") || strncmp(r.layers[l].encoding, "int8", 4)) continue;
            measured++;
            if (!(r.layers[l].output_error > 0 && r.layers[l].output_error < 0.1)) fail_msg("%s: output error %g", r.layers[l].name, r.layers[l].output_error);
        }
        assert_int_equal(measured, 12);
        xc_compress_result_release(&r);
        m = open_verified(in_dir("calibrated.xc"));
        ok(xc_golden_check(m, &setup, &checked, &err), &err);
        xc_model_free(&m);
        ok(xc_reproduce(in_dir("calibrated.xc"), in_root(checkpoints[0]), &again, &same, &err), &err);
    }
}

/* ---- weights in groups ---- */
/* Float inputs: the file answers as the numbers that its weights stand for do in f32, to the bit. */
static void check_float(struct xc_model *m)
{
    const struct xc_golden_setup setups[] = { { .longest = 130 }, { .plain = true, .longest = 130 } };
    struct xc_err err = { 0 };
    int changed = 0, checked;

    for (int32_t n = 0; n < m->graphs[0]->n_nodes; n++) assert_int_equal(m->graphs[0]->nodes[n].in[0].range.mode, XC_RANGE_NONE);
    ok(tiny_model_decode(&changed, m, &err), &err);
    assert_true(changed >= 6);
    for (size_t i = 0; i < XC_ARRAY_LEN(setups); i++) {
        ok(xc_golden_check(m, &setups[i], &checked, &err), &err);
        assert_true(checked > 0);
    }
}

/* Below int8, and int8 in groups: same bytes for any number of threads, the plan's size to the byte, the same answers fused and plain on every level, rebuilt. */
static void test_grouped(void **state)
{
    static const struct { const char *format, *group, *zero_point, *method, *act_order, *encoding; double error; const char *scales, *smooth, *activations; } cases[] = {
        { "int4", "32", "no", "nearest", "no", "int4/g32", 0.15 },   { "int4", "64", "no", "search", "no", "int4/g64", 0.13 },
        { "int4", "32", "yes", "search", "no", "int4/g32+zp", 0.12 }, { "int4", "64", "no", "gptq", "yes", "int4/g64", 0.25 },
        { "int3", "32", "yes", "gptq", "no", "int3/g32+zp", 0.5 },   { "int2", "64", "no", "search", "no", "int2/g64", 0.6 },
        { "ternary", "32", "no", "search", "no", "int2/g32", 0.6 },
        { "int6", "32", "no", "search", "no", "int6/g32", 0.025 },    { "int5", "64", "yes", "gptq", "yes", "int5/g64+zp", 0.12 },
        { "int5", "32", "no", "nearest", "no", "int5/g32s6", 0.06, "int6" }, { "int4", "32", "yes", "gptq", "no", "int4/g32s6+zp", 0.25, "int6" },
        { "int3", "32", "no", "gptq", "yes", "int3/g32s6", 0.5, "int6" }, { "int4", "32", "yes", "search", "no", "int4/g32s6+zp", 0.12, "int6", "awq" },
        { "int8-groups", "32", "yes", "search", "no", "int8/g32s6+zp", 0.006, "int6" }, { "int7", "64", "no", "gptq", "yes", "int7/g64", 0.1 },
        { "int8-groups", "128", "no", "nearest", "no", "int8/g128", 0.01, NULL, "no", "float" }, { "int8", "64", "no", "search", "no", "int8/row", 0.02, NULL, NULL, "float" },
    };
    static const char texts[] = "the movie is a love story\nwhat a long and strange film\none two three four five\nhe did not like it at all\n";

    (void)state;
    write_file(in_dir("calibration.txt"), texts, sizeof texts - 1);
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_compress_result planned, r;
        struct xc_err err = { 0 };
        struct xc_recipe *recipe = NULL;
        struct xc_reproduce_opts again = { .calibrate = NULL };
        struct xc_model *m;
        const char *from = in_root(checkpoints[!strcmp(cases[i].method, "gptq") ? 0 : i % XC_ARRAY_LEN(checkpoints)]); /* 0 has a tokenizer */
        uint8_t *one, *three;
        size_t n_one, n_three;
        int64_t same;
        int checked, found = 0;

        ok(xc_recipe_new(&recipe, &err), &err);
        ok(xc_recipe_add(recipe, "quantize", &err), &err);
        ok(xc_recipe_set(recipe, "format", cases[i].format, &err), &err);
        ok(xc_recipe_set(recipe, "group", cases[i].group, &err), &err);
        ok(xc_recipe_set(recipe, "zero_point", cases[i].zero_point, &err), &err);
        ok(xc_recipe_set(recipe, "method", cases[i].method, &err), &err);
        if (strcmp(cases[i].format, "int8")) ok(xc_recipe_set(recipe, "act_order", cases[i].act_order, &err), &err);
        if (cases[i].scales) ok(xc_recipe_set(recipe, "scales", cases[i].scales, &err), &err);
        if (cases[i].smooth) ok(xc_recipe_set(recipe, "smooth", cases[i].smooth, &err), &err);
        if (cases[i].activations) ok(xc_recipe_set(recipe, "activations", cases[i].activations, &err), &err);
        how.recipe = recipe;
        if (!strcmp(cases[i].method, "gptq")) {
            assert_int_equal(xc_compress_file(from, in_dir("g1.xc"), &how, &r, &err), XC_E_ARG); /* no texts */
            assert_non_null(strstr(err.msg, "--calibrate"));
            how.calibrate = again.calibrate = in_dir("calibration.txt");
        }
        make(from, in_dir("g1.xc"), 1, how);
        make(from, in_dir("g3.xc"), 3, how);
        one = read_file(in_dir("g1.xc"), &n_one);
        three = read_file(in_dir("g3.xc"), &n_three);
        assert_int_equal(n_one, n_three);
        assert_memory_equal(one, three, n_one);
        free(one);
        free(three);
        ok(xc_compress_file(from, NULL, &how, &planned, &err), &err);
        if (!how.calibrate) assert_int_equal(planned.output_bytes, n_one);
        xc_compress_result_release(&planned);
        ok(xc_compress_file(from, in_dir("g1.xc"), &how, &r, &err), &err);
        for (int64_t l = 0; l < r.n_layers; l++) {
            if (strncmp(r.layers[l].encoding, "int", 3)) continue;
            found++;
            assert_string_equal(r.layers[l].encoding, cases[i].encoding);
            if (!(r.layers[l].error > 0.001 && r.layers[l].error < cases[i].error)) fail_msg("case %zu: '%s' has an error of %g", i, r.layers[l].name, r.layers[l].error);
        }
        assert_true(found >= 6);
        xc_compress_result_release(&r);
        m = open_verified(in_dir("g1.xc"));
        for (const char *const *level = xc_kernels_levels(); *level; level++)
            for (int plain = 0; plain < 2; plain++) {
                const struct xc_golden_setup setup = { .isa = *level, .plain = plain, .batching = plain ? XC_BATCH_ALL : XC_BATCH_MIXED, .longest = 130 };

                if (xc_kernels_for(*level)) ok(xc_golden_check(m, &setup, &checked, &err), &err);
            }
        if (cases[i].activations) check_float(m);
        xc_model_free(&m);
        ok(xc_reproduce(in_dir("g1.xc"), from, &again, &same, &err), &err);
        assert_true(same >= 3);
        xc_recipe_free(&recipe);
    }
}

/* ---- failed allocations ---- */
static void test_no_memory(void **state)
{
    bool done = false;

    (void)state;
    unlink(in_dir("nomem.xc"));
    for (int64_t n = 0; !done; n += n < 400 ? 1 : 7) {
        struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_compress_result r;
        struct xc_err err = { 0 };
        enum xc_status status;

        assert_true(n < 100000);
        how.quantize = "int8";
        xc_alloc_fail_after(n);
        status = xc_compress_file(in_root("tests/vectors/arch/bert_classify"), in_dir("nomem.xc"), &how, &r, &err);
        xc_alloc_fail_after(-1);
        done = status == XC_OK;
        if (!done) {
            if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s", (long long)n, err.msg);
            assert_null(r.layers);
            assert_int_not_equal(access(in_dir("nomem.xc"), F_OK), 0);
        }
        xc_compress_result_release(&r);
    }
    assert_int_equal(access(in_dir("nomem.xc"), F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_plan), cmocka_unit_test(test_pair_sums), cmocka_unit_test(test_errors_small), cmocka_unit_test(test_manifest),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_golden), cmocka_unit_test(test_flip), cmocka_unit_test(test_reproduce), cmocka_unit_test(test_calibrate), cmocka_unit_test(test_grouped), cmocka_unit_test(test_no_memory),
    };
    int rc;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "compress")) return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, rc);
}
