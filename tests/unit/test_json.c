/* JSON: bounds, places of errors, getters, the writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "formats/json.h"

static json_t *parse(const char *text)
{
    struct xc_err err = {0};
    json_t *value;

    if (xc_json_parse(&value, text, strlen(text), "x.json", NULL, &err) != XC_OK) fail_msg("%s: %s", err.where, err.msg);
    return value;
}

static void expect(const char *text, size_t n, enum xc_status status, const char *where, const char *msg)
{
    const struct xc_json_limits limits = {100, 4, 8};
    struct xc_err err = {0};
    json_t *value = (json_t *)1;

    assert_int_equal(xc_json_parse(&value, text, n, "x.json", &limits, &err), status);
    assert_null(value);
    assert_string_equal(err.where, where);
    if (strstr(err.msg, msg) == NULL) fail_msg("'%s' lacks '%s'", err.msg, msg);
}

static void test_malformed(void **state)
{
    char big[101];

    (void)state;
    expect("", 0, XC_E_FORMAT, "x.json:1:1 (byte 0)", "not valid JSON");
    expect("{\"a\":1,\n \"a\":2}", 15, XC_E_FORMAT, "x.json:2:5 (byte 12)", "duplicate object key");
    expect("{\"a\":}", 6, XC_E_FORMAT, "x.json:1:7 (byte 6)", "unexpected token");
    expect("[1] x", 5, XC_E_FORMAT, "x.json:1:6 (byte 5)", "end of file expected");
    expect("[\"\xff\"]", 5, XC_E_FORMAT, "x.json:1:3 (byte 2)", "unable to decode byte 0xff");
    expect("[\"\\u0000\"]", 10, XC_E_FORMAT, "x.json:1:10 (byte 9)", "\\u0000");
    expect("[NaN]", 5, XC_E_FORMAT, "x.json:1:5 (byte 4)", "invalid token");
    expect("[1e999]", 7, XC_E_FORMAT, "x.json:1:7 (byte 6)", "overflow");
    expect("[[[[[", 5, XC_E_LIMIT, "x.json:1:5 (byte 4)", "nested deeper than 4");
    expect("[1,2,3,4,5,6,7,8,9]", 19, XC_E_LIMIT, "x.json:1:15 (byte 14)", "more than 8 values");
    memset(big, ' ', sizeof big);
    expect(big, sizeof big, XC_E_LIMIT, "x.json", "JSON of 101 bytes");
    /* Brackets and commas in strings do not count. */
    json_decref(parse("[\"[[[[[[[\\\"[[[[[,,,,,,\"]"));
}

/* Every truncation, and every byte replaced: an error or a value, never a crash. */
static void test_mutations(void **state)
{
    static const char text[] = "{\"a\": [1, -2.5e3, \"x\\u00e9\\n\", true, null], \"b\": {\"c\": 12345678901234567890}}";
    char copy[sizeof text];

    (void)state;
    for (size_t n = 0; n + 1 < sizeof text; n++) {
        json_t *value;

        assert_int_equal(xc_json_parse(&value, text, n, "x", NULL, NULL), XC_E_FORMAT);
        for (int byte = 0; byte < 256; byte++) {
            memcpy(copy, text, sizeof text);
            copy[n] = (char)byte;
            if (xc_json_parse(&value, copy, sizeof text - 1, "x", NULL, NULL) == XC_OK) json_decref(value);
        }
    }
}

static void test_faults(void **state)
{
    static const char text[] = "{\"a\": [1, 2.5, \"text\"], \"b\": {\"c\": null, \"d\": true}}";

    (void)state;
    json_decref(parse("[]")); /* installs the allocator */
    for (int n = 0;; n++) {
        struct xc_err err = {0};
        enum xc_status status;
        json_t *value;
        char *out = NULL;
        size_t len;

        xc_alloc_fail_after(n);
        status = xc_json_parse(&value, text, sizeof text - 1, "x", NULL, &err);
        if (status == XC_OK) status = xc_json_text(&out, &len, value, 2, &err);
        xc_alloc_fail_after(-1);
        xc_free(out);
        xc_json_free(&value);
        if (status == XC_OK) {
            assert_true(n > 10);
            break;
        }
        assert_int_equal(status, XC_E_NOMEM);
        assert_true(n < 1000);
    }
}

static void test_getters(void **state)
{
    json_t *o = parse("{\"i\": 12, \"r\": 12.0, \"h\": 0.5, \"s\": \"x\", \"t\": true, \"z\": null, \"a\": [1], \"o\": {}}");
    struct xc_err err = {0};
    const char *s;
    int64_t i;
    double d;
    bool b;
    json_t *sub;

    (void)state;
    assert_int_equal(xc_json_int(&i, o, "i", 1, 100, &err), XC_OK);
    assert_int_equal(i, 12);
    assert_int_equal(xc_json_int(&i, o, "r", 1, 100, &err), XC_OK);
    assert_int_equal(i, 12);
    assert_int_equal(xc_json_int_or(&i, o, "none", 1, 100, 7, &err), XC_OK);
    assert_int_equal(i, 7);
    assert_int_equal(xc_json_int_or(&i, o, "z", 1, 100, 7, &err), XC_OK);
    assert_int_equal(xc_json_int(&i, o, "none", 1, INT64_MAX, &err), XC_E_FORMAT);
    assert_string_equal(err.msg, "'none' is missing: must be an integer >= 1");
    assert_int_equal(xc_json_int(&i, o, "s", 1, INT64_MAX, &err), XC_E_FORMAT);
    assert_string_equal(err.msg, "'s' must be an integer >= 1, not \"x\"");
    assert_int_equal(xc_json_int_or(&i, o, "i", 1, 11, 3, &err), XC_E_FORMAT);
    assert_string_equal(err.msg, "'i' must be an integer from 1 to 11, not 12");
    assert_int_equal(i, 0);
    assert_int_equal(xc_json_int(&i, o, "h", 0, 11, &err), XC_E_FORMAT);
    assert_int_equal(xc_json_int(&i, o, "z", 0, 11, &err), XC_E_FORMAT);

    assert_int_equal(xc_json_number(&d, o, "i", 0, INFINITY, &err), XC_OK);
    assert_true(d == 12);
    assert_int_equal(xc_json_number(&d, o, "h", 1, INFINITY, &err), XC_E_FORMAT);
    assert_string_equal(err.msg, "'h' must be a number >= 1, not 0.5");
    assert_int_equal(xc_json_number_or(&d, o, "z", 0, 1, 0.25, &err), XC_OK);
    assert_true(d == 0.25);
    assert_int_equal(xc_json_number(&d, o, "t", 0, 1, &err), XC_E_FORMAT);

    assert_int_equal(xc_json_bool(&b, o, "t", &err), XC_OK);
    assert_true(b);
    assert_int_equal(xc_json_bool_or(&b, o, "none", true, &err), XC_OK);
    assert_int_equal(xc_json_bool_or(&b, o, "i", true, &err), XC_E_FORMAT);
    assert_string_equal(err.msg, "'i' must be true or false, not 12");

    assert_int_equal(xc_json_str(&s, o, "s", &err), XC_OK);
    assert_string_equal(s, "x");
    assert_int_equal(xc_json_str_or(&s, o, "none", "def", &err), XC_OK);
    assert_string_equal(s, "def");
    assert_int_equal(xc_json_str(&s, o, "a", &err), XC_E_FORMAT);
    assert_string_equal(err.msg, "'a' must be a string, not an array");
    assert_null(s);

    assert_int_equal(xc_json_array(&sub, o, "a", &err), XC_OK);
    assert_true(xc_json_as_int(&i, json_array_get(sub, 0), 0, 1));
    assert_false(xc_json_as_int(&i, json_array_get(sub, 0), 2, 3));
    assert_int_equal(xc_json_object(&sub, o, "o", &err), XC_OK);
    assert_int_equal(xc_json_object(&sub, o, "a", &err), XC_E_FORMAT);
    assert_null(sub);
    assert_int_equal(xc_json_object_or(&sub, o, "none", &err), XC_OK);
    assert_null(sub);
    assert_int_equal(xc_json_array_or(&sub, o, "o", &err), XC_E_FORMAT);
    assert_int_equal(xc_json_str(&s, json_object_get(o, "a"), "k", &err), XC_E_FORMAT); /* not an object */
    assert_int_equal(xc_json_str(&s, NULL, "k", &err), XC_E_FORMAT);
    json_decref(o);

    /* tokenizer_config.json */
    o = parse("{\"model_max_length\": 1000000000000000019884624838656, \"n\": 512}");
    assert_int_equal(xc_json_int(&i, o, "n", 1, 1000, &err), XC_OK);
    assert_int_equal(xc_json_int(&i, o, "model_max_length", 1, INT64_MAX, &err), XC_E_FORMAT);
    assert_int_equal(xc_json_number(&d, o, "model_max_length", 1, INFINITY, &err), XC_OK);
    assert_true(d == 1e30);
    json_decref(o);
}

static void expect_text(const char *in, int indent, const char *want)
{
    json_t *value = parse(in);
    char *text;
    size_t len;

    assert_int_equal(xc_json_text(&text, &len, value, indent, NULL), XC_OK);
    assert_string_equal(text, want);
    assert_int_equal(len, strlen(want));
    xc_free(text);
    json_decref(value);
}

static void test_writer(void **state)
{
    json_t *value;
    char *text;
    size_t len;

    (void)state;
    expect_text("{\"z\":0.1,\"a\":[1,2.5,null],\"s\":\"a\\\"\\\\\\n\\u0001\xc3\xa9\"}", 0,
                "{\"z\": 0.1, \"a\": [1, 2.5, null], \"s\": \"a\\\"\\\\\\n\\u0001\xc3\xa9\"}\n");
    expect_text("{\"a\":[{\"b\":1},[]],\"c\":{}}", 2, "{\n  \"a\": [\n    {\n      \"b\": 1\n    },\n    []\n  ],\n  \"c\": {}\n}\n");
    expect_text("[1.0, 1e22, 0.30000000000000004, -0.0, 5e-324]", 0, "[1.0, 1e+22, 0.30000000000000004, -0.0, 4.94065645841247e-324]\n");
    expect_text("3", 0, "3\n");

    value = xc_json_new_number(NAN);
    assert_true(json_is_null(value));
    json_decref(value);
    value = xc_json_new_text("a\xff\xe2\x82\xac\xc3", 6);
    assert_string_equal(json_string_value(value), "a\xef\xbf\xbd\xe2\x82\xac\xef\xbf\xbd");
    json_decref(value);
    assert_int_equal(xc_json_text(&text, &len, NULL, 0, NULL), XC_E_NOMEM);
    assert_null(text);
}

static void test_load(void **state)
{
    char path[] = "/tmp/xc_json_XXXXXX";
    const int fd = mkstemp(path);
    const struct xc_json_limits tiny = {3, 4, 8};
    struct xc_err err = {0};
    json_t *value;

    (void)state;
    assert_int_equal(write(fd, "[1,2]", 5), 5);
    close(fd);
    assert_int_equal(xc_json_load(&value, path, NULL, &err), XC_OK);
    assert_int_equal(json_array_size(value), 2);
    xc_json_free(&value);
    assert_int_equal(xc_json_load(&value, path, &tiny, &err), XC_E_LIMIT);
    assert_string_equal(err.where, path);
    unlink(path);
    assert_int_equal(xc_json_load(&value, path, NULL, &err), XC_E_IO);
    assert_string_equal(err.msg, "cannot open: No such file or directory");
    assert_int_equal(xc_json_load(&value, "/tmp", NULL, &err), XC_E_IO);
    assert_string_equal(err.msg, "not a regular file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_malformed), cmocka_unit_test(test_mutations), cmocka_unit_test(test_faults),
        cmocka_unit_test(test_getters),   cmocka_unit_test(test_writer),    cmocka_unit_test(test_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
