/* test_forecast: what a plan foresees of time and memory: amounts of work by hand, every kind of work has a rate, and running out of memory is an error. How near
 * the figures come to the work is measured by bench/forecast.sh, and roughly checked in tests/cli/test_minilm.sh. */
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

#include "compress/plan/forecast.h"
#include "formats/formats.h"
#include "tests/unit/scratch.h"

static char model[1100], texts[] = "/tmp/xc-forecast-XXXXXX";

/* tiny-bert: 2 layers, hidden 32, feed-forward 64; word table 1,054 x 32. */
enum { LAYER = 4 * 32 * 32 + 2 * 32 * 64, MACS = 2 * LAYER, INPUTS = 2 * (5 * 32 + 64), OUTPUTS = 2 * (4 * 32 + 64 + 32) };

static void test_amounts(void **state)
{
    struct xc_model *m = NULL;
    struct xc_forecast f = { .max_memory = 4000 };
    struct xc_encoding *want;
    struct xc_err err = { 0 };
    double numbers = 0;

    (void)state;
    ok(xc_model_load(&m, model, NULL, &err), &err);
    want = calloc((size_t)m->n_tensors, sizeof *want);
    assert_non_null(want);
    for (int32_t t = 0; t < m->n_tensors; t++) {
        want[t].format = strstr(m->tensors[t]->name, "query.weight") ? XC_FMT_S8 : XC_FMT_F32;
        numbers += (double)xc_tensor_count(m->tensors[t]);
    }
    assert_true(xc_forecast_macs(m, NULL, false) == MACS && xc_forecast_macs(m, NULL, true) == 0);
    assert_true(xc_forecast_inputs(m) == INPUTS && xc_forecast_outputs(m) == OUTPUTS);
    assert_true(xc_forecast_f32_bytes(m) == 4 * numbers);
    assert_true(xc_forecast_encoded_bytes(m, want) == 4 * numbers - 2 * (3 * 32 * 32 - 4 * 32)); /* int8 and a scale a row */
    assert_true(xc_forecast_kept_bytes(&f, m, want) == 1000);
    xc_forecast_walk(&f, m, NULL, 2500);
    assert_true(f.toil[XC_TOIL_LAY] == 3.0 * MACS && f.toil[XC_TOIL_F32] == 2500.0 * MACS && f.toil[XC_TOIL_QUANT] == 0);
    xc_forecast_walk(&f, m, want, 100);
    assert_true(f.toil[XC_TOIL_LAY] == 4.0 * MACS - 2 * 32 * 32 && f.toil[XC_TOIL_QUANT] == 100.0 * 2 * 32 * 32);
    xc_forecast_holds(&f, 5);
    xc_forecast_holds(&f, 3);
    assert_true(f.peak == 5);
    free(want);
    xc_model_free(&m);
}

static void test_rates(void **state)
{
    struct xc_model *m = NULL;
    struct xc_forecast nothing = { 0 }, f = { .toil = { [XC_TOIL_WRITE] = XC_FORECAST_WRITE_RATE } };
    struct xc_err err = { 0 };
    double seconds;

    (void)state;
    ok(xc_model_load(&m, model, NULL, &err), &err);
    ok(xc_forecast_seconds(&seconds, &nothing, m, NULL, &err), &err);
    assert_true(seconds == 0);
    ok(xc_forecast_seconds(&seconds, &f, m, NULL, &err), &err);
    assert_true(fabs(seconds - 1) < 1e-12);
    for (int k = 0; k < XC_TOIL_COUNT; k++) { /* a second of nothing but one kind: no unit takes no time, or a minute */
        struct xc_forecast one = { .peak = 0 };

        one.toil[k] = 1e9;
        ok(xc_forecast_seconds(&seconds, &one, m, NULL, &err), &err);
        if (!(seconds > 1e-4 && seconds < 1e5)) fail_msg("kind %d: %g s for 1e9", k, seconds);
    }
    xc_model_free(&m);
}

/* Every pass's forecast, by a plan; without memory it is an error. */
static void test_plans(void **state)
{
    static const char *const recipes[] = {
        "passes: [cast: {format: f16}]", "passes: [quantize]", "passes: [quantize: {activations: static}]", "passes: [quantize: {format: int4, method: gptq}]", "passes: [quantize: {format: int3, method: nearest}]",
        "passes: [prune: {saliency: obs}, quantize]", "passes: [shrink: {speedup: 1.5}, quantize]", "passes: [drop_layers: {keep: 1}, quantize]",
        "passes: [low_rank: {rank: 8, targets: [linear]}]", "passes: [low_rank: {rank: 8, targets: [embeddings.word_embeddings]}]", "passes: [quantize: {format: mixed, target_bits: 5}]",
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(recipes); i++) {
        struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
        struct xc_compress_result r;
        struct xc_recipe *recipe = NULL;
        struct xc_err err = { 0 };
        bool done = false;

        ok(xc_recipe_parse(&recipe, recipes[i], strlen(recipes[i]), "test", &err), &err);
        how.recipe = recipe;
        how.calibrate = texts;
        how.small = i % 2;
        ok(xc_compress_file(model, NULL, &how, &r, &err), &err);
        if (!(r.predicted_seconds > 1e-4 && r.predicted_seconds < 600 && r.predicted_peak > 100000 && r.predicted_peak < (uint64_t)4 << 30))
            fail_msg("%s: %g s, %llu bytes", recipes[i], r.predicted_seconds, (unsigned long long)r.predicted_peak);
        xc_compress_result_release(&r);
        for (int64_t n = 0; !done && i < 4; n += n < 300 ? 5 : 61) {
            assert_true(n < 200000);
            xc_alloc_fail_after(n);
            const enum xc_status status = xc_compress_file(model, NULL, &how, &r, &err);
            xc_alloc_fail_after(-1);

            done = status == XC_OK;
            if (!done && status != XC_E_NOMEM) fail_msg("%s, allocation %lld: %s", recipes[i], (long long)n, err.msg);
            xc_compress_result_release(&r);
        }
        xc_recipe_free(&recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_amounts), cmocka_unit_test(test_rates), cmocka_unit_test(test_plans) };
    static const char lines[] = "A man is playing a guitar.\nTwo dogs run in the city.\nIt rains.\nThe movie is a love story and a long one.\n";
    const char *const source = getenv("XC_SOURCE_ROOT");
    const int fd = mkstemp(texts);
    int rc;

    snprintf(model, sizeof model, "%s/tests/data/tiny-bert", source ? source : ".");
    if (fd < 0 || write(fd, lines, sizeof lines - 1) != sizeof lines - 1) return 1;
    close(fd);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(texts);
    return rc;
}
