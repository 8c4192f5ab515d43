/* test_mixed: quantize with format mixed: the knapsack against brute force; budgets are kept, to the byte where they can be; the profile means what it says;
 * the same bytes for any number of threads; bad wishes have one clear message. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compress/manifest.h"
#include "compress/quantize/knapsack.h"
#include "runtime/base/rng.h"
#include "runtime/container/container.h"
#include "runtime/session/golden.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"
#include "xcompress/compress.h"

static char root[1024], dir[1024];

/* ---- the knapsack ---- */
enum { ITEMS = 6, CHOICES = 4 };

struct random_problem {
    struct xc_knapsack_item item[ITEMS];
    uint64_t bytes[ITEMS][CHOICES], least, most;
    double cost[ITEMS][CHOICES];
};

static void draw(struct random_problem *p, uint64_t seed, uint64_t measure)
{
    struct xc_rng rng;

    *p = (struct random_problem){ 0 };
    xc_rng_init(&rng, seed, 77);
    for (int k = 0; k < ITEMS; k++) {
        const int n = 1 + (int)xc_rng_below(&rng, CHOICES);
        uint64_t least = UINT64_MAX, most = 0;

        for (int i = 0; i < n; i++) {
            p->bytes[k][i] = 7 + measure * xc_rng_below(&rng, 50);
            p->cost[k][i] = floor(1000 * xc_rng_unit(&rng)) / 64; /* exact sums */
            least = p->bytes[k][i] < least ? p->bytes[k][i] : least;
            most = p->bytes[k][i] > most ? p->bytes[k][i] : most;
        }
        p->item[k] = (struct xc_knapsack_item){ .n = n, .bytes = p->bytes[k], .cost = p->cost[k] };
        p->least += least;
        p->most += most;
    }
}

static void sum(const struct random_problem *p, const int32_t *pick, uint64_t *bytes, double *cost)
{
    *bytes = 0;
    *cost = 0;
    for (int k = 0; k < ITEMS; k++) {
        assert_in_range(pick[k], 0, p->item[k].n - 1);
        *bytes += p->bytes[k][pick[k]];
        *cost += p->cost[k][pick[k]];
    }
}

/* All choices, one after the other. */
static bool next(const struct random_problem *p, int32_t *pick)
{
    for (int k = 0; k < ITEMS; k++) {
        if (++pick[k] < p->item[k].n) return true;
        pick[k] = 0;
    }
    return false;
}

static void test_knapsack(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 150; seed++) {
        struct random_problem p;
        int32_t pick[ITEMS];
        uint64_t bytes;
        double cost;

        draw(&p, seed, seed % 3 ? 64 : 1);
        for (int step = 0; step <= 8; step++) {
            const uint64_t budget = p.least + (p.most - p.least) * (uint64_t)step / 8;
            const double most = 15.0 * step;
            int32_t all[ITEMS] = { 0 };
            double least_cost = INFINITY;
            uint64_t least_bytes = UINT64_MAX;
            struct xc_err err = { 0 };

            do {
                sum(&p, all, &bytes, &cost);
                if (bytes <= budget && cost < least_cost) least_cost = cost;
                if (cost <= most && bytes < least_bytes) least_bytes = bytes;
            } while (next(&p, all));
            ok(xc_knapsack_cost(pick, p.item, ITEMS, budget, 0, &err), &err);
            sum(&p, pick, &bytes, &cost);
            assert_true(bytes <= budget && cost == least_cost);
            if (least_bytes == UINT64_MAX) {
                assert_int_equal(xc_knapsack_bytes(pick, p.item, ITEMS, most, 0, &err), XC_E_RANGE);
            } else {
                ok(xc_knapsack_bytes(pick, p.item, ITEMS, most, 0, &err), &err);
                sum(&p, pick, &bytes, &cost);
                assert_true(cost <= most && bytes == least_bytes);
                ok(xc_knapsack_bytes(pick, p.item, ITEMS, most, 40, &err), &err); /* coarse: still within */
                sum(&p, pick, &bytes, &cost);
                assert_true(cost <= most);
            }
            ok(xc_knapsack_cost(pick, p.item, ITEMS, budget, 60, &err), &err); /* a table of ten columns: within the budget, and not far off */
            sum(&p, pick, &bytes, &cost);
            assert_true(bytes <= budget);
        }
        assert_int_equal(xc_knapsack_cost(pick, p.item, ITEMS, p.least - 1, 0, &(struct xc_err){ 0 }), XC_E_RANGE);
    }
}

/* ---- whole runs ---- */
static const char *in_root(const char *name) { return path_in(root, name); }

static const char *in_dir(const char *name) { return path_in(dir, name); }

static int64_t size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? -1 : (int64_t)st.st_size;
}

/* A recipe of one pass; options as name, value pairs, NULL-terminated. */
static struct xc_recipe *recipe_of(const char *const *options)
{
    struct xc_recipe *r = NULL;
    struct xc_err err = { 0 };

    ok(xc_recipe_new(&r, &err), &err);
    ok(xc_recipe_add(r, "quantize", &err), &err);
    ok(xc_recipe_set(r, "format", "mixed", &err), &err);
    for (; *options; options += 2) ok(xc_recipe_set(r, options[0], options[1], &err), &err);
    return r;
}

static enum xc_status run(const char *from, const char *to, const char *const *options, int threads, bool small, struct xc_compress_result *result, struct xc_err *err)
{
    struct xc_recipe *recipe = recipe_of(options);
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_pool *pool = NULL;
    enum xc_status status;

    ok(xc_pool_new(&pool, threads, err), err);
    how.recipe = recipe;
    how.pool = pool;
    how.small = small;
    status = xc_compress_file(from, to, &how, result, err);
    xc_pool_free(&pool);
    xc_recipe_free(&recipe);
    return status;
}

static const struct xc_sensitivity_choice *chosen(const struct xc_sensitivity *s) { return &s->choices[s->chosen]; }

/* Bytes and predicted drop of the choice, by the profile. */
static double spent(const struct xc_compress_result *r)
{
    double drop = r->attention_drop;

    for (int64_t i = 0; i < r->n_sensitivity; i++) drop += chosen(&r->sensitivity[i])->cost;
    return drop;
}

static void check_profile(const struct xc_compress_result *r)
{
    assert_true(r->n_sensitivity >= 6);
    for (int64_t i = 0; i < r->n_sensitivity; i++) {
        const struct xc_sensitivity *s = &r->sensitivity[i];
        const struct xc_sensitivity_choice *int8 = NULL, *f16 = NULL, *int2 = NULL;
        int64_t l = 0;

        for (int32_t k = 0; k < s->n_choices; k++) {
            if (!strncmp(s->choices[k].encoding, "int8", 4)) int8 = &s->choices[k];
            if (!strncmp(s->choices[k].encoding, "int2", 4)) int2 = &s->choices[k];
            if (!strcmp(s->choices[k].encoding, "f16")) f16 = &s->choices[k];
        }
        assert_true(int8 && int2 && f16);
        while (l < r->n_layers && strcmp(r->layers[l].name, s->name)) l++;
        assert_true(l < r->n_layers);
        assert_true(f16->cost < int8->cost && int8->cost < int2->cost);
        if (r->layers[l].count > 1024) assert_true(int2->bytes < int8->bytes && int8->bytes < f16->bytes); /* panels of 16 rows: two rows gain nothing */
        assert_string_equal(r->layers[l].encoding, chosen(s)->encoding);
    }
    assert_true(fabs(spent(r) - r->predicted_drop) <= 1e-9 * r->predicted_drop);
}

static const char *const models[] = { "tests/data/tiny-bert", "tests/vectors/arch/bert_classify", "tests/vectors/arch/bert_mlm", "tests/vectors/arch/distilbert_tag" };

/* The plan is exact, the budget kept and nearly used up, more bytes never cost more, and threads change nothing. */
static void test_bytes(void **state)
{
    (void)state;
    for (size_t m = 0; m < XC_ARRAY_LEN(models); m++) {
        struct xc_compress_result r, planned;
        struct xc_err err = { 0 };
        double last = INFINITY;
        int64_t low, high;

        ok(run(in_root(models[m]), in_dir("low.xc"), (const char *const[]){ "target_bits", "4.6", "candidates", "int8,int4/g64,int2/g32,f16", NULL }, 1, false, &r, &err), &err);
        xc_compress_result_release(&r);
        ok(run(in_root(models[m]), in_dir("high.xc"), (const char *const[]){ "target_bits", "9", NULL }, 1, false, &r, &err), &err);
        xc_compress_result_release(&r);
        low = size_of(in_dir("low.xc"));
        high = size_of(in_dir("high.xc"));
        for (int step = 1; step <= 4; step++) {
            char target[32];
            const char *const options[] = { "target_bytes", target, NULL };
            const int64_t most = low + 1200 + (high - low) * step / 4;
            int64_t size;

            snprintf(target, sizeof target, "%lld", (long long)most);
            ok(run(in_root(models[m]), in_dir("m.xc"), options, 1 + step % 3, false, &r, &err), &err);
            size = size_of(in_dir("m.xc"));
            assert_true(size <= most);
            check_profile(&r);
            assert_true(r.predicted_drop <= last);
            last = r.predicted_drop;
            if (step < 4 && (double)size < 0.9 * (double)most) fail_msg("%s: %lld bytes of %lld used", models[m], (long long)size, (long long)most);
            if (!(r.measured_drop > 0.4 * r.predicted_drop && r.measured_drop < 2.5 * r.predicted_drop)) fail_msg("%s: drop %g predicted, %g measured", models[m], r.predicted_drop, r.measured_drop);
            ok(run(in_root(models[m]), NULL, options, 2, false, &planned, &err), &err);
            assert_int_equal(planned.output_bytes, size);
            assert_true(planned.predicted_drop == r.predicted_drop && !planned.estimated);
            xc_compress_result_release(&planned);
            xc_compress_result_release(&r);
        }
    }
}

static void same_file(const char *a, const char *b)
{
    char command[4400];

    snprintf(command, sizeof command, "cmp '%s' '%s'", a, b);
    assert_int_equal(system(command), 0);
}

static void test_same_bytes(void **state)
{
    const struct xc_reproduce_opts again = { .calibrate = NULL };
    struct xc_compress_result r;
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    int64_t same;

    (void)state;
    for (int small = 0; small < 2; small++) {
        const char *const options[] = { "target_bytes", small ? "68KB" : "75KB", NULL };

        for (int threads = 1; threads <= 3; threads++) {
            ok(run(in_root(models[0]), threads == 1 ? in_dir("one.xc") : in_dir("n.xc"), options, threads, small, &r, &err), &err);
            xc_compress_result_release(&r);
            if (threads > 1) same_file(in_dir("one.xc"), in_dir("n.xc"));
        }
        assert_true(size_of(in_dir("one.xc")) <= (small ? 68000 : 75000) && size_of(in_dir("one.xc")) > 60000);
        ok(xc_reproduce(in_dir("one.xc"), in_root(models[0]), &again, &same, &err), &err);
    }
    ok(xc_container_read(&m, in_dir("one.xc"), NULL, &err), &err);
    for (int plain = 0; plain < 2; plain++) {
        const struct xc_golden_setup setup = { .plain = plain, .longest = 130 };
        int checked;

        ok(xc_golden_check(m, &setup, &checked, &err), &err);
    }
    assert_non_null(strstr((const char *)m->manifest->data, "\"sensitivity\":[{\"choices\":["));
    assert_non_null(strstr((const char *)m->manifest->data, "\"drop\":{\"attention\":"));
    xc_model_free(&m);
}

static void test_bits_and_drop(void **state)
{
    static const double bits[] = { 3.3, 4.3, 6 };
    struct xc_compress_result r;
    struct xc_err err = { 0 };
    uint64_t last = UINT64_MAX;
    char text[32];

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(bits); i++) {
        snprintf(text, sizeof text, "%g", bits[i]);
        ok(run(in_root(models[0]), in_dir("b.xc"), (const char *const[]){ "target_bits", text, NULL }, 2, false, &r, &err), &err);
        if (!(r.bits_per_weight <= bits[i] && r.bits_per_weight > 0.95 * bits[i])) fail_msg("%g bits for %g", r.bits_per_weight, bits[i]);
        xc_compress_result_release(&r);
    }
    for (double drop = 2e-6; drop < 1e-2; drop *= 20) { /* the first needs f16 */
        int64_t plain = 0;

        snprintf(text, sizeof text, "%g", drop);
        ok(run(in_root(models[0]), in_dir("d.xc"), (const char *const[]){ "target_drop", text, NULL }, 2, false, &r, &err), &err);
        check_profile(&r);
        assert_true(r.measured_drop > 0 && r.measured_drop <= drop);
        assert_true(r.output_bytes < last);
        last = r.output_bytes;
        for (int64_t l = 0; l < r.n_sensitivity; l++) plain += !strcmp(chosen(&r.sensitivity[l])->encoding, "f16");
        assert_true((plain > 0) == (drop < 3e-6));
        xc_compress_result_release(&r);
    }
}

/* ---- wishes that cannot be ---- */
static void test_refused(void **state)
{
    static const struct { const char *options[7]; enum xc_status status; const char *says; } cases[] = {
        { { NULL }, XC_E_ARG, "needs one of target_bytes, target_bits and target_drop" },
        { { "target_bytes", "70KB", "target_bits", "4", NULL }, XC_E_ARG, "not several" },
        { { "target_bytes", "20KB", NULL }, XC_E_RANGE, "target_bytes cannot be 20000" },
        { { "target_bits", "1.5", NULL }, XC_E_RANGE, "target_bits cannot be 1.5" },
        { { "target_drop", "1e-12", NULL }, XC_E_RANGE, "target_drop cannot be 1e-12" },
        { { "target_bits", "5", "group", "32", NULL }, XC_E_UNSUPPORTED, "'candidates' names the encodings" },
        { { "target_bits", "5", "method", "gptq", NULL }, XC_E_ARG, "needs calibration texts" },
    };
    struct xc_recipe *recipe = NULL;
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r;
    struct xc_err err = { 0 };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        assert_int_equal(run(in_root(models[0]), in_dir("no.xc"), cases[i].options, 1, false, &r, &err), cases[i].status);
        if (!strstr(err.msg, cases[i].says)) fail_msg("case %zu: %s", i, err.msg);
        assert_null(r.sensitivity);
        assert_int_equal(size_of(in_dir("no.xc")), -1);
    }
    ok(xc_recipe_new(&recipe, &err), &err);
    ok(xc_recipe_add(recipe, "quantize", &err), &err);
    assert_int_equal(xc_recipe_set(recipe, "candidates", "int8,int5", &err), XC_E_RANGE);
    assert_int_equal(xc_recipe_set(recipe, "candidates", "int8,", &err), XC_E_RANGE);
    assert_int_equal(xc_recipe_set(recipe, "target_bytes", "some", &err), XC_E_RANGE);
    ok(xc_recipe_set(recipe, "target_bytes", "1MB", &err), &err);
    how.recipe = recipe;
    assert_int_equal(xc_compress_file(in_root(models[0]), NULL, &how, &r, &err), XC_E_ARG); /* int8 has no target */
    assert_non_null(strstr(err.msg, "for format mixed"));
    xc_recipe_free(&recipe);
}

/* After a pass that changes the model a plan can only guess, and says so. */
static void test_estimated(void **state)
{
    static const char text[] = "passes:\n  - drop_layers: {keep: 1, by: last}\n  - quantize: {format: mixed, target_bits: 5}\n";
    struct xc_recipe *recipe = NULL;
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r;
    struct xc_err err = { 0 };

    (void)state;
    ok(xc_recipe_parse(&recipe, text, sizeof text - 1, "test", &err), &err);
    how.recipe = recipe;
    ok(xc_compress_file(in_root(models[0]), NULL, &how, &r, &err), &err);
    assert_true(r.estimated && r.bits_per_weight <= 5 && r.bits_per_weight > 4);
    xc_compress_result_release(&r);
    ok(xc_compress_file(in_root(models[0]), in_dir("e.xc"), &how, &r, &err), &err);
    assert_true(!r.estimated && r.bits_per_weight <= 5 && r.measured_drop > 0);
    xc_compress_result_release(&r);
    xc_recipe_free(&recipe);
}

static double cost_of(const struct xc_sensitivity *s, const char *encoding)
{
    for (int32_t k = 0; k < s->n_choices; k++)
        if (!strncmp(s->choices[k].encoding, encoding, strlen(encoding))) return s->choices[k].cost;
    fail_msg("'%s' has no choice %s", s->name, encoding);
    return 0;
}

/* Float inputs: the profile measures weights alone, and the file answers as the numbers that its weights stand for do in f32, to the bit. */
static void test_float_inputs(void **state)
{
    struct xc_compress_result rows, floats;
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    int checked, cheaper = 0, differ = 0, changed = 0;

    (void)state;
    ok(run(in_root(models[0]), in_dir("f.xc"), (const char *const[]){ "target_bits", "6", "smooth", "no", NULL }, 1, false, &rows, &err), &err);
    ok(run(in_root(models[0]), in_dir("f.xc"), (const char *const[]){ "target_bits", "6", "smooth", "no", "activations", "float", NULL }, 2, false, &floats, &err), &err);
    assert_int_equal(floats.n_sensitivity, rows.n_sensitivity);
    for (int64_t i = 0; i < rows.n_sensitivity; i++) { /* tables of embeddings cost the same */
        assert_string_equal(floats.sensitivity[i].name, rows.sensitivity[i].name);
        cheaper += cost_of(&floats.sensitivity[i], "int8") < 0.8 * cost_of(&rows.sensitivity[i], "int8");
        differ += cost_of(&floats.sensitivity[i], "int4/g32") != cost_of(&rows.sensitivity[i], "int4/g32");
    }
    assert_true(cheaper >= 6 && differ >= 6);
    assert_true(floats.measured_drop > 0 && floats.measured_drop < rows.measured_drop);
    xc_compress_result_release(&rows);
    xc_compress_result_release(&floats);
    ok(xc_model_open(&m, in_dir("f.xc"), &err), &err);
    for (int32_t n = 0; n < m->graphs[0]->n_nodes; n++) assert_int_equal(m->graphs[0]->nodes[n].in[0].range.mode, XC_RANGE_NONE);
    ok(tiny_model_decode(&changed, m, &err), &err);
    assert_true(changed >= 6);
    ok(xc_golden_check(m, &(struct xc_golden_setup){ .longest = 130 }, &checked, &err), &err);
    assert_true(checked > 0);
    xc_model_free(&m);
}

static void test_no_memory(void **state)
{
    bool done = false;

    (void)state;
    unlink(in_dir("nomem.xc"));
    for (int64_t n = 0; !done; n += n < 200 ? 3 : 41) {
        struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_recipe *recipe = recipe_of((const char *const[]){ "target_drop", "0.001", "candidates", "int8,int4/g32", NULL });
        struct xc_compress_result r;
        struct xc_err err = { 0 };
        enum xc_status status;

        how.recipe = recipe;
        how.small = true;
        assert_true(n < 100000);
        xc_alloc_fail_after(n);
        status = xc_compress_file(in_root("tests/vectors/arch/bert_classify"), in_dir("nomem.xc"), &how, &r, &err);
        xc_alloc_fail_after(-1);
        done = status == XC_OK;
        if (!done) {
            if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s", (long long)n, err.msg);
            assert_null(r.sensitivity);
            assert_int_equal(size_of(in_dir("nomem.xc")), -1);
        }
        xc_compress_result_release(&r);
        xc_recipe_free(&recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_knapsack), cmocka_unit_test(test_bytes), cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_bits_and_drop), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_estimated), cmocka_unit_test(test_float_inputs), cmocka_unit_test(test_no_memory),
    };
    int rc;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "mixed")) return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, rc);
}
