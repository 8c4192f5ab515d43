/* Checks: the rule of the paired interval, numbers as text, sizes of models, reports, and a budget on a tiny model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/gate/check.h"
#include "compress/gate/measure.h"
#include "compress/tasks/task.h"

static void test_drop(void **state)
{
    (void)state;
    assert_int_equal(xc_check_drop(-0.01, 0.009, 0.01), XC_WITHIN);
    assert_int_equal(xc_check_drop(-0.01, 0.01, 0.01), XC_WITHIN);      /* the end itself is inside */
    assert_int_equal(xc_check_drop(0, 0.0101, 0.01), XC_UNDECIDED);
    assert_int_equal(xc_check_drop(0.01, 0.02, 0.01), XC_UNDECIDED);
    assert_int_equal(xc_check_drop(0.0101, 0.02, 0.01), XC_OVER);
    assert_int_equal(xc_check_drop(-0.03, -0.02, -0.01), XC_WITHIN);    /* a gain that is asked for */
    assert_int_equal(xc_check_drop(NAN, NAN, 0.01), XC_UNDECIDED);
}

static void test_text(void **state)
{
    static const struct { double x; const char *unit, *text; } cases[] = {
        { 23381952, "bytes", "23.382 MB" }, { 999, "bytes", "999 B" }, { 1000, "bytes", "1.000 kB" }, { 2.5e9, "bytes", "2.500 GB" },
        { 8.107, "bits", "8.107" }, { 1.23456, "ms", "1.235 ms" }, { 0.86681, "fraction", "0.8668" }, { 1.1, "ratio", "1.100 x" }, { NAN, "ms", "undefined" },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        char buf[32];

        xc_check_text(buf, sizeof buf, cases[i].x, cases[i].unit);
        assert_string_equal(buf, cases[i].text);
    }
}

static char *printed(void (*print)(FILE *, const struct xc_check_report *, const char *), const struct xc_check_report *r, const char *model)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);

    print(f, r, model);
    fclose(f);
    return text;
}

static void test_reports(void **state)
{
    struct xc_check_row rows[] = {
        { .name = "model bytes", .unit = "bytes", .limit = 1e6, .value = 2e6, .lo = NAN, .hi = NAN, .verdict = XC_OVER },
        { .name = "accuracy drop", .unit = "fraction", .limit = 0.01, .value = 0.005, .lo = -0.001, .hi = 0.012, .verdict = XC_UNDECIDED, .note = "a | b & \xc3\xa9 \xff\x01" },
        { .name = "accuracy drop", .unit = "fraction", .limit = 0.01, .value = 0.005, .lo = -0.001, .hi = 0.012, .verdict = XC_UNDECIDED, .strict = true },
        { .name = "accuracy sts", .unit = "fraction", .limit = 0.8, .value = 0.85, .lo = 0.84, .hi = 0.86, .at_least = true, .verdict = XC_WITHIN },
    };
    const struct xc_check_report r = { .rows = rows, .n_rows = 4, .verdict = XC_OVER, .failed = true };
    char *text = printed(xc_check_print_junit, &r, "m<1>\xed\xa0\x80.xc");

    (void)state;
    assert_non_null(strstr(text, "tests=\"4\" failures=\"2\" errors=\"0\" skipped=\"1\""));
    assert_non_null(strstr(text, "classname=\"m&lt;1&gt;???.xc\""));
    assert_non_null(strstr(text, "<failure message=\"over: 2.000 MB, limit &lt;= 1.000 MB\"/>"));
    assert_non_null(strstr(text, "<skipped message=\"undecided: 0.0050 [-0.0010, 0.0120], limit &lt;= 0.0100\"/>"));
    assert_non_null(strstr(text, "a | b &amp; \xc3\xa9 ??"));
    free(text);
    text = printed(xc_check_print_markdown, &r, "m.xc");
    assert_non_null(strstr(text, "### Budget of m.xc: **missed**"));
    assert_non_null(strstr(text, "| model bytes | \\<= 1.000 MB | 2.000 MB | **over** |"));
    assert_non_null(strstr(text, "a \\| b"));
    free(text);
    text = printed(xc_check_print, &r, "m.xc");
    assert_non_null(strstr(text, "m.xc: over, failed\n"));
    assert_non_null(strstr(text, "undecided (strict)"));
    assert_non_null(strstr(text, ">= 0.8000"));
    free(text);
}

static const char *tiny(void)
{
    static char path[4096];
    const char *const root = getenv("XC_SOURCE_ROOT");

    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", root ? root : ".");
    return path;
}

static void test_budget(void **state)
{
    static const char text[] = "model: {max_bytes: 1MB, max_bits_per_weight: 31}\nlatency: [{tokens: 8, max_ms: 60000}, {tokens: 8, max_ms: 0}]\n";
    const struct xc_check_opts opts = { .resamples = 100 };
    struct xc_check_report r;
    struct xc_budget b;
    struct xc_err err = { 0 };

    (void)state;
    assert_int_equal(xc_budget_parse(&b, text, sizeof text - 1, "b", NULL, &err), XC_OK);
    assert_int_equal(xc_check(&r, tiny(), &b, &opts, &err), XC_OK);
    assert_int_equal(r.n_rows, 4);
    assert_true(r.rows[0].verdict == XC_WITHIN && r.rows[0].value > 180000 && r.rows[0].value < 190000);
    assert_true(r.rows[1].verdict == XC_OVER && r.rows[1].value == 32);
    assert_true(r.rows[2].verdict == XC_WITHIN && r.rows[2].value > 0 && !*r.rows[2].note);
    assert_true(r.rows[3].verdict == XC_OVER);
    assert_string_equal(r.rows[3].note, "measured 3 times");
    assert_true(r.failed && r.verdict == XC_OVER);
    xc_check_report_release(&r);
    assert_int_not_equal(xc_check(&r, "/nowhere.xc", &b, &opts, &err), XC_OK);
    assert_null(r.rows);
    xc_budget_release(&b);
    assert_int_equal(xc_budget_parse(&b, "start: {max_ms: 1}", 18, "b", NULL, &err), XC_OK);
    assert_int_equal(xc_check(&r, tiny(), &b, &opts, &err), XC_E_UNSUPPORTED); /* no program to start */
    xc_budget_release(&b);
}

static int stop(void *arg)
{
    int *calls = arg;

    return ++*calls > 2;
}

static void test_measure(void **state)
{
    int calls = 0;
    const struct xc_progress progress = { .cancelled = stop, .arg = &calls };
    struct xc_latency_opts opts = { .tokens = 4, .batch = 2, .runs = 25 };
    struct xc_latency l[2];
    struct xc_subject s;
    struct xc_session *both[2];
    struct xc_process p;
    struct xc_err err = { 0 };
    char sh[] = "/bin/sh", c[] = "-c", says[] = "echo answered; echo open_ms 2.5 peak_rss 4096", dies[] = "echo answered; echo open_ms 2.5 peak_rss 4096; exit 3", none[] = "/no/such/program";

    (void)state;
    assert_int_equal(xc_subject_open(&s, tiny(), NULL, NULL, &err), XC_OK);
    both[0] = both[1] = s.session;
    assert_int_equal(xc_measure_latency(l, both, 2, &opts, &err), XC_OK);
    for (int i = 0; i < 2; i++) assert_true(l[i].runs == 25 && l[i].p5 > 0 && l[i].p5 <= l[i].lo + 1e-12 && l[i].lo <= l[i].median && l[i].median <= l[i].hi && l[i].hi <= l[i].p95 + 1e-12);
    opts.tokens = 513;
    assert_int_equal(xc_measure_latency(l, both, 1, &opts, &err), XC_E_RANGE);
    opts.tokens = 4;
    opts.progress = &progress;
    assert_int_equal(xc_measure_latency(l, both, 1, &opts, &err), XC_E_CANCELLED);
    xc_subject_close(&s);
    assert_int_equal(xc_measure_process(&p, (char *[]){ sh, c, says, NULL }, &err), XC_OK);
    assert_true(p.open_ms == 2.5 && p.peak_rss == 4096 && p.start_ms > 0);
    assert_int_equal(xc_measure_process(&p, (char *[]){ sh, c, dies, NULL }, &err), XC_E_IO);
    assert_non_null(strstr(err.msg, "status 3"));
    assert_int_equal(xc_measure_process(&p, (char *[]){ none, NULL }, &err), XC_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drop), cmocka_unit_test(test_text), cmocka_unit_test(test_reports), cmocka_unit_test(test_budget), cmocka_unit_test(test_measure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
