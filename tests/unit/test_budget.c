/* Budgets: what is read, and what every mistake says. */
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

#include "compress/gate/budget.h"

static const char full[] =
    "model: {max_bytes: 23.5MB, max_bits_per_weight: 8.5}\n"
    "accuracy:\n"
    "  - {task: sts, data: dev.tsv, metric: spearman, min: 0.85, reference: /m/fp32, max_drop: 0.002, strict: true}\n"
    "  - task: probe\n"
    "    data: sub/d.tsv\n"
    "    train: t.tsv.zst\n"
    "    min: .9\n"
    "latency: [{tokens: 16, threads: 2, max_ms: 5, or: {baseline: old.xc, max_ratio: 1.1}}, {baseline: old.xc, max_ratio: 0.5}]\n"
    "memory: {max_rss: 60 MiB}\n"
    "start: {max_ms: 25}\n";

static void test_full(void **state)
{
    struct xc_budget b;

    (void)state;
    assert_int_equal(xc_budget_parse(&b, full, sizeof full - 1, "b.yaml", "ci", NULL), XC_OK);
    assert_true(b.max_bytes == 23.5e6 && b.max_bits_per_weight == 8.5 && b.max_rss == 60.0 * 1048576 && b.max_start_ms == 25);
    assert_int_equal(b.n_accuracy, 2);
    assert_string_equal(b.accuracy[0].task, "sts");
    assert_string_equal(b.accuracy[0].data, "ci/dev.tsv");
    assert_string_equal(b.accuracy[0].reference, "/m/fp32");
    assert_true(b.accuracy[0].strict && b.accuracy[0].min == 0.85 && b.accuracy[0].max_drop == 0.002 && b.accuracy[0].line == 3);
    assert_string_equal(b.accuracy[1].train, "ci/t.tsv.zst");
    assert_null(b.accuracy[1].metric);
    assert_true(isnan(b.accuracy[1].max_drop) && !b.accuracy[1].strict && b.accuracy[1].min == 0.9);
    assert_int_equal(b.n_latency, 2);
    assert_true(b.latency[0].tokens == 16 && b.latency[0].threads == 2 && b.latency[0].max_ms == 5 && b.latency[0].max_ratio == 1.1);
    assert_true(b.latency[1].tokens == 128 && b.latency[1].threads == 1 && isnan(b.latency[1].max_ms) && b.latency[1].max_ratio == 0.5);
    assert_string_equal(b.latency[1].baseline, "ci/old.xc");
    xc_budget_release(&b);
    xc_budget_release(&b);
}

static void test_mistakes(void **state)
{
    static const struct { const char *text, *where, *message; } cases[] = {
        { "", "b:1:1", "an empty budget" },
        { "# nothing\n", "b:1:1", "an empty budget" },
        { "model: {max_byte: 3MB}\n", "b:1:9", "unknown key 'max_byte' in model; known: max_bytes" },
        { "start: {max_ms: 1}\nstrat: {max_ms: 2}\n", "b:2:1", "unknown key 'strat'; known: model" },
        { "model:\n  max_bytes: 3 apples\n", "b:2:3", "'max_bytes' must be a size such as 23.5MB, not '3 apples'" },
        { "model: {max_bytes: -1}\n", "b:1:9", "must be a size" },
        { "model: {max_bytes: 0x10}\n", "b:1:9", "must be a size" },
        { "model: {max_bytes: 1e999}\n", "b:1:9", "must be a size" },
        { "model: [1]\n", "b:1:1", "'model' must be a mapping, not a list" },
        { "start: {max_ms: 1}\nstart: {max_ms: 2}\n", "b:2:1", "key 'start' is given twice" },
        { "start: {max_ms: fast}\n", "b:1:9", "'max_ms' must be a number from 0 to 1e+09, not 'fast'" },
        { "start: {max_ms: nan}\n", "b:1:9", "must be a number" },
        { "start: {max_ms: \"3\"}\n", "b:1:9", "must be a number" },
        { "start: {}\n", "b:1:1", "a budget without a limit" },
        { "- 1\n", "b:1:1", "'this' must be a mapping, not a list" },
        { "accuracy: {task: sts}\n", "b:1:1", "'accuracy' must be a list, not a mapping" },
        { "accuracy:\n- {data: d, min: 0}\n", "b:2:3", "needs 'task'" },
        { "accuracy:\n- {task: sts, min: 0}\n", "b:2:3", "needs 'data'" },
        { "accuracy:\n- {task: sts, data: d}\n", "b:2:3", "needs 'min', or 'reference' and 'max_drop'" },
        { "accuracy:\n- {task: sts, data: d, max_drop: 0.1}\n", "b:2:3", "'max_drop' needs a 'reference' model" },
        { "accuracy:\n- {task: sts, data: d, min: 90}\n", "b:2:24", "'min' must be a number from -1 to 1, not '90'" },
        { "accuracy:\n- {task: sts, data: d, min: 0, strict: yes}\n", "b:2:32", "'strict' must be true or false, not 'yes'" },
        { "accuracy:\n- {task: sts, data: '', min: 0}\n", "b:2:15", "'data' is empty" },
        { "latency:\n- {tokens: 1.5, max_ms: 1}\n", "b:2:4", "'tokens' must be a whole number, not 1.5" },
        { "latency:\n- {tokens: 0, max_ms: 1}\n", "b:2:4", "'tokens' must be a number from 1" },
        { "latency:\n- {tokens: 8}\n", "b:2:3", "needs 'max_ms', or 'baseline' and 'max_ratio'" },
        { "latency:\n- {max_ms: 1, or: {baseline: x}}\n", "b:2:15", "belong together" },
        { "latency:\n- {max_ms: 1, or: {baseline: x, max_ratio: 1, max_ms: 3}}\n", "b:2:47", "unknown key 'max_ms' in or" },
        { "start: &a {max_ms: 1}\n", "b:1:8", "anchors and tags" },
        { "start: !x {max_ms: 1}\n", "b:1:8", "anchors and tags" },
        { "start: {max_ms: 1}\nmodel: *a\n", "b:2:8", "an alias" },
        { "? [a]\n: 1\n", "b:1:3", "a key must be a word" },
        { "start: {max_ms: 1}\n---\nstart: {max_ms: 1}\n", "b:3:1", "a second document" },
        { "start: {max_ms: 1\n", "b:2:1", "not YAML" },
        { "start: {max_ms: 1}\n  x: [\n", "b:2:3", "not YAML" },
        { "\xff\xfe\xfd", "b:1:1", "not YAML" },
        { "[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "b:1:10", "nested more than 8 deep" },
        { "start: {max_ms: \"1\\0\"}\n", "b:1:17", "a NUL" },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_budget b;
        struct xc_err err = { 0 };

        if (!xc_budget_parse(&b, cases[i].text, strlen(cases[i].text), "b", NULL, &err)) fail_msg("accepted: %s", cases[i].text);
        if (!strstr(err.msg, cases[i].message) || strcmp(err.where, cases[i].where)) fail_msg("%s said '%s' at %s", cases[i].text, err.msg, err.where);
        assert_null(b.accuracy);
        xc_budget_release(&b);
    }
}

/* No prefix of a good budget and no single changed byte does more than fail. */
static void test_damage(void **state)
{
    char text[sizeof full];

    (void)state;
    for (size_t n = 0; n < sizeof full; n++) {
        struct xc_budget b;

        xc_budget_parse(&b, full, n, "b", NULL, NULL);
        xc_budget_release(&b);
        for (int c = 0; c < 256; c += 5) {
            memcpy(text, full, sizeof full);
            text[n] = (char)c;
            xc_budget_parse(&b, text, sizeof full - 1, "b", "d", NULL);
            xc_budget_release(&b);
        }
    }
}

static void test_out_of_memory(void **state)
{
    struct xc_budget b;
    int64_t n = 0;

    (void)state;
    for (enum xc_status status = XC_E_NOMEM; status; n++) {
        xc_alloc_fail_after(n);
        status = xc_budget_parse(&b, full, sizeof full - 1, "b", "d", NULL);
        xc_alloc_fail_after(-1);
        assert_true(!status || status == XC_E_NOMEM);
        xc_budget_release(&b);
    }
    assert_true(n > 1);
}

static void test_file(void **state)
{
    char path[64] = "/tmp/xc_budget_XXXXXX";
    const int fd = mkstemp(path);
    struct xc_budget b;
    struct xc_err err = { 0 };

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, full, sizeof full - 1), (int)sizeof full - 1);
    assert_int_equal(xc_budget_read(&b, path, NULL), XC_OK);
    assert_string_equal(b.accuracy[0].data, "/tmp/dev.tsv");
    xc_budget_release(&b);
    assert_int_equal(ftruncate(fd, 2 << 20), 0);
    assert_int_equal(xc_budget_read(&b, path, &err), XC_E_LIMIT);
    close(fd);
    unlink(path);
    assert_int_equal(xc_budget_read(&b, path, &err), XC_E_IO);
    assert_int_equal(xc_budget_read(&b, "/tmp", &err), XC_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full), cmocka_unit_test(test_mistakes), cmocka_unit_test(test_damage), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
