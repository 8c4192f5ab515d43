/* test_page: inventory and weights against what the model holds, evidence good and hostile, the page with hostile names, diff, and all of it
 * when memory runs out. */
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

#include "compress/diff.h"
#include "compress/page/page.h"
#include "compress/page/html.h"
#include "compress/weights.h"
#include "formats/formats.h"
#include "formats/json.h"
#include "formats/markup.h"
#include "runtime/container/container.h"
#include "tests/unit/scratch.h"
#include "xcompress/compress.h"

#define EVIL "<script>alert(1)</script>\"'&$\xe2\x80\xae"

/* A manifest with a sensitivity profile, and with everything of a type that it should not have. */
static const char evil_manifest[] = "{\"recipe\": [1, {\"pass\": 2, \"options\": [\"<s>\"], \"<s>\": {\"x\": \"<s>\"}}], \"sources\": [3, {\"file\": \"<s>\", \"bytes\": -4, \"xxh128\": []}], \"versions\": 5, "
                                    "\"seed\": \"<s>\", \"calibration\": 6, \"layers\": [{\"name\": 7}, {\"name\": \"embeddings.word_embeddings.weight\", \"error\": \"<s>\", \"output_error\": -8}, 9], "
                                    "\"sensitivity\": [{\"name\": \"<s>\", \"chosen\": \"int4/g64\", \"choices\": [{\"encoding\": \"int8/row\", \"bytes\": 1000, \"cost\": 0.001}, {\"encoding\": \"int4/g64\", "
                                    "\"bytes\": \"x\", \"cost\": 1e300}, {\"cost\": 1}, 10]}, 11, {\"choices\": [{}]}]}";

static char dir[64], int8_xc[96], evil_xc[96];

static const char *tiny(void)
{
    static char path[4096];
    const char *const root = getenv("XC_SOURCE_ROOT");

    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", root ? root : ".");
    return path;
}

static int set_up(void **state)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result = { 0 };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    const struct xc_write_opts write = { 0 };

    (void)state;
    snprintf(dir, sizeof dir, "/tmp/xc_page_XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(int8_xc, sizeof int8_xc, "%s/int8.xc", dir);
    snprintf(evil_xc, sizeof evil_xc, "%s/evil.xc", dir);
    opts.quantize = "int8";
    ok(xc_compress_file(tiny(), int8_xc, &opts, &result, &err), &err);
    xc_compress_result_release(&result);
    ok(xc_model_load(&m, int8_xc, NULL, &err), &err);
    m->tensors[5]->name = EVIL ".weight"; /* names may hold anything but control characters */
    ok(xc_model_set_meta(m, "family", EVIL, &err), &err);
    xc_buf_unref(&m->manifest);
    ok(xc_buf_new(&m->manifest, sizeof evil_manifest - 1, &err), &err);
    memcpy(m->manifest->data, evil_manifest, sizeof evil_manifest - 1);
    ok(xc_container_write(m, evil_xc, &write, NULL, &err), &err);
    xc_model_free(&m);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(int8_xc);
    unlink(evil_xc);
    return rmdir(dir);
}

/* ---- inventory and weights ---- */
static void test_inventory(void **state)
{
    struct xc_page page;
    struct xc_err err = { 0 };
    uint64_t bytes = 0, of_layers = 0;
    int32_t n = 0;

    (void)state;
    ok(xc_page_open(&page, int8_xc, &err), &err);
    assert_string_equal(page.name, "int8.xc");
    assert_int_equal(page.inventory.n, page.model->n_tensors);
    assert_int_equal(page.inventory.n_layers, 3);
    assert_string_equal(page.inventory.layers[0].name, "embeddings");
    assert_string_equal(page.inventory.layers[2].name, "encoder.layer.1");
    for (int32_t i = 0; i < page.inventory.n; i++) {
        const struct xc_item *item = &page.inventory.items[i];
        float *x = malloc(item->count * sizeof *x);
        int64_t zeros = 0;

        ok(xc_tensor_to_f32(item->tensor, x, &err), &err);
        for (uint64_t k = 0; k < item->count; k++) zeros += x[k] == 0;
        assert_true(item->sparsity == (double)zeros / (double)item->count);
        assert_true(item->bytes == xc_tensor_bytes(item->tensor));
        assert_true((item->error > 0) == !strcmp(item->encoding, "int8/row"));
        if (strstr(item->tensor->name, "dense.bias")) assert_string_equal(item->kind, "bias");
        if (strstr(item->tensor->name, "dense.weight")) assert_string_equal(item->kind, "linear");
        assert_true(!strncmp(item->tensor->name, page.inventory.layers[item->layer].name, strlen(page.inventory.layers[item->layer].name)));
        bytes += item->bytes;
        free(x);
    }
    assert_true(bytes == page.inventory.bytes);
    for (int32_t i = 0; i < page.inventory.n_layers; i++) {
        of_layers += page.inventory.layers[i].bytes;
        n += page.inventory.layers[i].n;
    }
    assert_true(of_layers == bytes && n == page.inventory.n);
    xc_page_close(&page);
}

/* The histogram and the distance against loops over whole tensors. The file is smoothed: as they lie there, its weights are others. */
static void test_weights(void **state)
{
    static const char *const names[] = { "encoder.layer.0.output.dense.weight" };
    struct xc_model *original = NULL;
    struct xc_page page;
    struct xc_err err = { 0 };
    const struct xc_weights *w;
    const struct xc_tensor *scale;
    double apart = 0, raw = 0, size = 0, bins[XC_HISTOGRAM_BINS] = { 0 };
    float *x, *y, *s;
    int64_t count, cols;

    (void)state;
    ok(xc_page_open(&page, int8_xc, &err), &err);
    ok(xc_page_add_weights(&page, names, 1, tiny(), &err), &err);
    ok(xc_model_load(&original, tiny(), NULL, &err), &err);
    w = &page.weights[0];
    count = xc_tensor_count(w->tensor);
    cols = xc_tensor_cols(w->tensor);
    x = malloc((size_t)count * sizeof *x);
    y = malloc((size_t)count * sizeof *y);
    s = malloc((size_t)cols * sizeof *s);
    ok(xc_tensor_to_f32(original->tensors[xc_model_find_tensor(original, names[0])], x, &err), &err);
    ok(xc_tensor_to_f32(w->tensor, y, &err), &err);
    scale = page.model->tensors[xc_model_find_tensor(page.model, "encoder.layer.0.ffn.act.smooth")];
    ok(xc_tensor_to_f32(scale, s, &err), &err);
    for (int64_t i = 0; i < count; i++) {
        const double v = (double)(y[i] * s[i % cols]), at = floor((v / w->end + 1) / 2 * XC_HISTOGRAM_BINS);

        apart += (v - (double)x[i]) * (v - (double)x[i]);
        raw += ((double)y[i] - (double)x[i]) * ((double)y[i] - (double)x[i]);
        size += (double)x[i] * (double)x[i];
        if (v != 0) bins[at < 0 ? 0 : at >= XC_HISTOGRAM_BINS ? XC_HISTOGRAM_BINS - 1 : (int)at] += 1.0 / (double)count;
    }
    assert_true(w->has_before && w->scaled);
    assert_true(fabs(w->error - sqrt(apart / size)) < 1e-12);
    assert_true(w->error < 0.02 && sqrt(raw / size) > 5 * w->error);
    for (int i = 0; i < XC_HISTOGRAM_BINS; i++) assert_true(fabs(w->after.bin[i] - bins[i]) < 1e-9);
    free(x);
    free(y);
    free(s);
    xc_model_free(&original);
    xc_page_close(&page);
}

/* ---- text ---- */
static void assert_markup(void (*fn)(FILE *, const char *), const char *text, const char *want)
{
    char *got = NULL;
    size_t n;
    FILE *f = open_memstream(&got, &n);

    fn(f, text);
    fclose(f);
    assert_string_equal(got, want);
    free(got);
}

static void test_markup(void **state)
{
    (void)state;
    assert_markup(xc_markup_xml, "<a href='x'>\"&\x01\t\xc3\xa9", "&lt;a href=&#39;x&#39;&gt;&quot;&amp;?\t\xc3\xa9");
    assert_markup(xc_markup_xml, "\xff\xc3z\xed\xa0\x80\xf4\x90\x80\x80", "??z???????");
    assert_markup(xc_markup_xml, "a\xe2\x80\xae" "b\xe2\x81\xa6" "c\xc2\x85", "a???b???c??");
    assert_markup(xc_markup_markdown, "a|b_c`<d>[e](f)\n@g #1 &amp;", "a\\|b\\_c\\`\\<d\\>\\[e\\](f) &#64;g \\#1 &amp;amp;");
}

static void test_short(void **state)
{
    (void)state;
    assert_string_equal(xc_percent(0.01234).s, "1.23 %");
    assert_string_equal(xc_percent(0).s, "0 %");
    assert_string_equal(xc_percent(0.0001).s, "0.010 %");
    assert_string_equal(xc_percent(0.5).s, "50.0 %");
    assert_string_equal(xc_percent(-1).s, "–");
    assert_string_equal(xc_signed(-0.5, 2).s, "−0.50");
    assert_string_equal(xc_fixed(NAN, 2).s, "–");
    assert_string_equal(xc_count(22.7e6).s, "22.7 M");
}

/* ---- evidence ---- */
static const char eval[] = "{\"task\": \"sts\", \"data\": \"a/b.tsv\", \"rows\": 3, \"metrics\": {\"spearman\": {\"value\": 0.5, \"ci95\": [0.4, 0.6]}}, \"reference\": {\"model\": \"x/y\", "
                           "\"metrics\": {\"spearman\": {\"value\": 0.6, \"ci95\": [0.5, 0.7]}}}, \"difference\": {\"spearman\": {\"value\": -0.1, \"ci95\": [-0.2, null]}}}";
static const char bench[] = "{\"threads\": 1, \"batch\": 1, \"tokens\": 16, \"latency_ms\": {\"median\": 2, \"p5\": 1, \"p95\": 3, \"runs\": 10, \"median_ci95\": [1.5, 2.5]}, \"throughput\": "
                            "{\"sequences_per_s\": 500}, \"open_ms\": 1, \"start_ms\": 2, \"peak_rss_mb\": 3}";
static const char check[] = "{\"verdict\": \"over\", \"failed\": true, \"budgets\": [{\"name\": \"model bytes\", \"unit\": \"bytes\", \"bound\": \"max\", \"limit\": 1, \"value\": 2, \"ci95\": null, "
                            "\"verdict\": \"over\", \"strict\": false, \"note\": \"\"}]}";

static enum xc_status add(struct xc_evidence *e, enum xc_seen kind, const char *text, struct xc_err *err)
{
    json_t *doc = NULL;

    XC_TRY(xc_json_parse(&doc, text, strlen(text), "test", NULL, err));
    return xc_evidence_add(e, kind, doc, err);
}

static void test_evidence(void **state)
{
    static const struct { enum xc_seen kind; const char *text, *says; } bad[] = {
        { XC_SEEN_EVAL, "[]", "task" }, { XC_SEEN_EVAL, "{}", "task" }, { XC_SEEN_EVAL, "{\"task\": 1, \"rows\": 1, \"metrics\": {}}", "task" },
        { XC_SEEN_EVAL, "{\"task\": \"sts\", \"rows\": -1, \"metrics\": {}}", "rows" }, { XC_SEEN_EVAL, "{\"task\": \"sts\", \"rows\": 1, \"metrics\": []}", "metrics" },
        { XC_SEEN_BENCH, "{}", "tokens" }, { XC_SEEN_BENCH, "{\"lengths\": [1]}", "tokens" }, { XC_SEEN_BENCH, "{\"tokens\": 1, \"batch\": 1, \"threads\": 1, \"latency_ms\": {}}", "throughput" },
        { XC_SEEN_CHECK, "{}", "verdict" }, { XC_SEEN_CHECK, "{\"verdict\": \"fine\"}", "verdict" }, { XC_SEEN_CHECK, "{\"verdict\": \"over\", \"failed\": true, \"budgets\": [{}]}", "name" },
    };
    struct xc_evidence e = { 0 };
    struct xc_err err = { 0 };

    (void)state;
    ok(add(&e, XC_SEEN_EVAL, eval, &err), &err);
    ok(add(&e, XC_SEEN_BENCH, bench, &err), &err);
    ok(add(&e, XC_SEEN_CHECK, check, &err), &err);
    assert_int_equal(e.n_metrics, 1);
    assert_string_equal(e.metrics[0].data, "b.tsv");
    assert_string_equal(e.metrics[0].against, "y");
    assert_true(e.metrics[0].difference.lo == -0.2 && isnan(e.metrics[0].difference.hi) && isnan(e.metrics[0].flips));
    assert_true(e.n_latencies == 1 && e.latencies[0].p95 == 3 && e.latencies[0].per_second == 500);
    assert_true(e.n_budgets == 1 && e.checked && e.failed && e.verdict == XC_OVER && isnan(e.budgets[0].lo));
    xc_evidence_release(&e);
    for (size_t i = 0; i < XC_ARRAY_LEN(bad); i++) {
        assert_int_not_equal(add(&e, bad[i].kind, bad[i].text, &err), XC_OK);
        if (!strstr(err.msg, bad[i].says)) fail_msg("case %zu: '%s' lacks '%s'", i, err.msg, bad[i].says);
        xc_evidence_release(&e);
    }
}

/* ---- the page ---- */
static char *printed(void (*print)(FILE *, const struct xc_page *), const struct xc_page *page)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    print(f, page);
    fclose(f);
    assert_int_equal(n, strlen(text));
    return text;
}

static void test_hostile_names(void **state)
{
    static const char *const names[] = { EVIL ".weight" };
    static const char hostile[] = "{\"task\": \"<img src=x onerror=alert(1)>\", \"data\": \"<b>\", \"rows\": 1, \"metrics\": {\"<i>\": {\"value\": 1e999, \"ci95\": [\"<u>\", {}]}}}";
    static const char plain[] = "{\"task\": \"<img src=x onerror=alert(1)>\", \"data\": \"<b>\", \"rows\": 1, \"metrics\": {\"<i>\": {\"value\": 1e300, \"ci95\": [\"<u>\", {}]}}}";
    struct xc_page page;
    struct xc_err err = { 0 };
    char *text;

    (void)state;
    ok(xc_page_open(&page, evil_xc, &err), &err);
    ok(xc_page_add_weights(&page, names, 1, NULL, &err), &err);
    assert_int_not_equal(add(&page.evidence, XC_SEEN_EVAL, hostile, &err), XC_OK); /* a number beyond doubles */
    ok(add(&page.evidence, XC_SEEN_EVAL, plain, &err), &err);
    text = printed(xc_page_print_html, &page);
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "<img"));
    assert_null(strstr(text, "<i>"));
    assert_null(strstr(text, "<s>"));
    assert_int_equal(page.n_choices, 2);
    assert_true(page.choices[1].chosen && !page.choices[0].chosen && page.choices[0].bytes == 1000 && page.choices[0].cost == 0.001 && isnan(page.choices[1].bytes) && isnan(page.choices[1].cost));
    assert_non_null(strstr(text, "<h2>Sensitivity</h2>"));
    assert_non_null(strstr(text, "✓ int4/g64"));
    assert_null(strstr(text, "\xe2\x80\xae"));
    assert_non_null(strstr(text, "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;$???.weight"));
    assert_non_null(strstr(text, "&lt;img src=x onerror=alert(1)&gt;"));
    free(text);
    text = printed(xc_page_print_markdown, &page);
    assert_non_null(strstr(text, "\\<img src=x onerror=alert(1)\\>"));
    free(text);
    xc_page_close(&page);
}

/* ---- diff ---- */
/* One number of one tensor, by one bit. */
static void test_diff_of_a_bit(void **state)
{
    const struct xc_write_opts write = { 0 };
    struct xc_model *m = NULL;
    struct xc_diff d;
    struct xc_err err = { 0 };
    char path[96];
    float x[32];
    int32_t t;

    (void)state;
    snprintf(path, sizeof path, "%s/bit.xc", dir);
    ok(xc_model_load(&m, int8_xc, NULL, &err), &err);
    t = xc_model_find_tensor(m, "encoder.layer.0.output.dense.bias");
    ok(xc_tensor_to_f32(m->tensors[t], x, &err), &err);
    x[7] = nextafterf(x[7], 1);
    ok(xc_tensor_set_f32(m->tensors[t], x, &err), &err);
    ok(xc_container_write(m, path, &write, NULL, &err), &err);
    xc_model_free(&m);
    ok(xc_diff_make(&d, int8_xc, path, &err), &err);
    assert_true(!d.equal && d.n_tensors == 1 && d.n_facts == 0 && d.n_nodes == 0);
    assert_string_equal(d.tensors[0].name, "encoder.layer.0.output.dense.bias");
    assert_true(d.tensors[0].error > 0 && d.tensors[0].error < 1e-6);
    xc_diff_release(&d);
    unlink(path);
}

static void test_diff(void **state)
{
    struct xc_diff d;
    struct xc_err err = { 0 };
    bool renamed = false;

    (void)state;
    ok(xc_diff_make(&d, int8_xc, int8_xc, &err), &err);
    assert_true(d.equal && d.n_same == d.n_shared && d.n_same > 40);
    xc_diff_release(&d);
    ok(xc_diff_make(&d, int8_xc, evil_xc, &err), &err);
    assert_true(!d.equal);
    assert_int_equal(d.n_tensors, 2); /* the renamed one, on either side */
    for (int32_t i = 0; i < d.n_facts; i++) renamed |= !strcmp(d.facts[i].what, "meta family") && !strcmp(d.facts[i].b, EVIL);
    assert_true(renamed);
    xc_diff_release(&d);
    ok(xc_diff_make(&d, tiny(), int8_xc, &err), &err);
    assert_true(!d.equal && d.n_nodes > 0 && d.n_tensors > 0);
    for (int32_t i = 0; i < d.n_tensors; i++) { /* weights that were only rounded are near, with the scales put back */
        const struct xc_diff_tensor *t = &d.tensors[i];

        if (t->a && t->b && strstr(t->name, ".weight")) assert_true(t->error > 0 && t->error < 0.02);
    }
    xc_diff_release(&d);
    assert_int_not_equal(xc_diff_make(&d, int8_xc, "/nonexistent.xc", &err), XC_OK);
}

/* ---- memory ---- */
static enum xc_status everything(struct xc_err *err)
{
    struct xc_page page = { 0 };
    struct xc_diff d = { 0 };
    enum xc_status status = xc_page_open(&page, int8_xc, err);

    if (status == XC_OK) status = xc_page_add_weights(&page, NULL, 0, tiny(), err);
    if (status == XC_OK) status = add(&page.evidence, XC_SEEN_EVAL, eval, err);
    if (status == XC_OK) status = add(&page.evidence, XC_SEEN_BENCH, bench, err);
    if (status == XC_OK) status = add(&page.evidence, XC_SEEN_CHECK, check, err);
    if (status == XC_OK) status = xc_diff_make(&d, int8_xc, evil_xc, err);
    xc_diff_release(&d);
    xc_page_close(&page);
    return status;
}

static void test_memory(void **state)
{
    struct xc_err err = { 0 };
    int64_t n = 0, from = xc_alloc_count(), total;

    (void)state;
    ok(everything(&err), &err);
    total = xc_alloc_count() - from;
    for (n = 0; n < total; n += 1 + n / 40) { /* all of the first, then every so many */
        enum xc_status status;

        xc_alloc_fail_after(n);
        status = everything(&err);
        xc_alloc_fail_after(-1);
        if (status != XC_E_NOMEM) fail_msg("allocation %lld of %lld: status %d, %s", (long long)n, (long long)total, (int)status, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inventory), cmocka_unit_test(test_weights), cmocka_unit_test(test_markup), cmocka_unit_test(test_short), cmocka_unit_test(test_evidence),
        cmocka_unit_test(test_hostile_names), cmocka_unit_test(test_diff), cmocka_unit_test(test_diff_of_a_bit), cmocka_unit_test(test_memory),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
