/* Lines of plain and compressed files, of every shape; and numbers and sizes as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "formats/lines.h"
#include "formats/units.h"
#include "runtime/base/rng.h"

static char path[64];

static void write_bytes(const void *bytes, size_t n)
{
    int fd;

    strcpy(path, "/tmp/xc_lines_XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t at = 0; at < n;) {
        const ssize_t w = write(fd, (const char *)bytes + at, n - at);

        assert_true(w > 0);
        at += (size_t)w;
    }
    close(fd);
}

/* Reads the file at path and compares its lines with want, joined by '|'. */
static void expect_lines(const char *want)
{
    struct xc_err err = {0};
    struct xc_lines *lines;
    char have[256] = "";
    size_t n = 0, len;
    const char *line;
    int64_t number = 0;

    assert_int_equal(xc_lines_open(&lines, path, NULL, &err), XC_OK);
    assert_string_equal(xc_lines_name(lines), path);
    for (;;) {
        if (xc_lines_next(lines, &line, &len, &err) != XC_OK) fail_msg("%s: %s", err.where, err.msg);
        if (line == NULL) break;
        assert_int_equal(line[len], 0);
        assert_int_equal(xc_lines_number(lines), ++number);
        if (number > 1) have[n++] = '|';
        memcpy(have + n, line, len);
        n += len;
    }
    assert_int_equal(xc_lines_next(lines, &line, &len, &err), XC_OK); /* the end stays the end */
    assert_null(line);
    xc_lines_close(&lines);
    assert_null(lines);
    unlink(path);
    assert_int_equal(n, strlen(want));
    for (size_t i = 0; i < n; i++) assert_int_equal(have[i] == '\0' ? '0' : have[i], want[i]);
}

static void both_ways(const char *bytes, size_t n, const char *want)
{
    char packed[1024];
    size_t half, rest;

    write_bytes(bytes, n);
    expect_lines(want);
    /* As two frames. */
    half = ZSTD_compress(packed, sizeof packed, bytes, n / 2, 3);
    rest = ZSTD_compress(packed + half, sizeof packed - half, bytes + n / 2, n - n / 2, 3);
    write_bytes(packed, half + rest);
    expect_lines(want);
}

static void test_shapes(void **state)
{
    (void)state;
    both_ways("", 0, "");
    both_ways("\n", 1, "");
    both_ways("\n\n", 2, "|");
    both_ways("a\nb", 3, "a|b");
    both_ways("a\nb\n", 4, "a|b");
    both_ways("a\r\n\r\nb\r", 7, "a||b\r");
    both_ways("a\0b\n\0", 5, "a0b|0");
    both_ways("\xff\xc3\xa9\n", 4, "\xff\xc3\xa9");
    both_ways("abc", 3, "abc");
    both_ways("\x28\xb5\x2f", 3, "\x28\xb5\x2f"); /* almost the magic */
}

/* Random line lengths around the buffer's size, plain and compressed, against what was written. */
static void test_long(void **state)
{
    const size_t n = (size_t)6 << 20;
    char *const text = malloc(n), *const packed = malloc(ZSTD_compressBound(n));
    size_t packed_n;
    struct xc_rng rng;

    (void)state;
    xc_rng_init(&rng, 5, 0);
    memset(text, 'x', n);
    for (size_t at = 0; at < n; at += 1 + xc_rng_below(&rng, xc_rng_below(&rng, 3) == 0 ? 1000000 : 300)) text[at] = '\n';
    packed_n = ZSTD_compress(packed, ZSTD_compressBound(n), text, n, 3);
    for (int compressed = 0; compressed < 2; compressed++) {
        struct xc_lines *lines;
        const char *line, *want = text;
        size_t len;

        write_bytes(compressed ? packed : text, compressed ? packed_n : n);
        assert_int_equal(xc_lines_open(&lines, path, NULL, NULL), XC_OK);
        while (xc_lines_next(lines, &line, &len, NULL) == XC_OK && line != NULL) {
            assert_true(want + len <= text + n && memcmp(line, want, len) == 0);
            want += len;
            assert_true(want == text + n || *want == '\n');
            want += want < text + n;
        }
        assert_true(want == text + n);
        xc_lines_close(&lines);
        unlink(path);
    }
    free(text);
    free(packed);
}

static enum xc_status read_to_end(size_t max_line, struct xc_err *err)
{
    const struct xc_lines_opts opts = {.max_line = max_line};
    enum xc_status status;
    struct xc_lines *lines;
    const char *line;
    size_t len;

    status = xc_lines_open(&lines, path, &opts, err);
    if (status != XC_OK) return status;
    do
        status = xc_lines_next(lines, &line, &len, err);
    while (status == XC_OK && line != NULL);
    xc_lines_close(&lines);
    return status;
}

static void test_limits(void **state)
{
    struct xc_err err = {0};
    const size_t n = (size_t)64 << 20;
    char *const zeros = calloc(1, n), packed[16384];
    size_t packed_n;
    char where[80];

    (void)state;
    write_bytes("abc\nabcd\n", 9);
    snprintf(where, sizeof where, "%s:2", path);
    assert_int_equal(read_to_end(4, &err), XC_OK);
    assert_int_equal(read_to_end(3, &err), XC_E_LIMIT);
    assert_string_equal(err.where, where);
    assert_string_equal(err.msg, "line is longer than 3 bytes");
    unlink(path);

    /* A bomb: memory stays near the limit, whatever it expands to. */
    packed_n = ZSTD_compress(packed, sizeof packed, zeros, n, 3);
    assert_false(ZSTD_isError(packed_n));
    write_bytes(packed, packed_n);
    {
        const int64_t before = xc_alloc_count();

        assert_int_equal(read_to_end(1000, &err), XC_E_LIMIT);
        assert_true(xc_alloc_count() - before < 40);
    }
    unlink(path);
    /* Every truncation of a frame is an error, and so is a flipped byte that zstd notices. */
    packed_n = ZSTD_compress(packed, sizeof packed, "some text\nmore\n", 15, 3);
    for (size_t cut = 4; cut < packed_n; cut++) {
        write_bytes(packed, cut);
        assert_int_equal(read_to_end(0, &err), XC_E_FORMAT);
        unlink(path);
    }
    packed[5] = (char)0xff;
    write_bytes(packed, packed_n);
    assert_int_equal(read_to_end(0, &err), XC_E_FORMAT);
    unlink(path);
    free(zeros);
}

static int calls;
static int cancel_later(void *arg)
{
    (void)arg;
    return ++calls > 1;
}

static void test_errors(void **state)
{
    const struct xc_lines_opts opts = {.cancelled = cancel_later};
    struct xc_err err = {0};
    struct xc_lines *lines;
    const char *line;
    size_t len;

    (void)state;
    assert_int_equal(xc_lines_open(&lines, "/tmp/none/there", NULL, &err), XC_E_IO);
    assert_null(lines);
    assert_string_equal(err.where, "/tmp/none/there");
    assert_int_equal(xc_lines_open(&lines, "/tmp", NULL, &err), XC_E_IO);
    assert_string_equal(err.msg, "is a directory, not a file");
    assert_int_equal(xc_lines_open(&lines, "/dev/zero", &opts, &err), XC_OK); /* never ends */
    assert_int_equal(xc_lines_next(lines, &line, &len, &err), XC_E_CANCELLED);
    xc_lines_close(&lines);
    xc_lines_close(&lines);
}

static void test_faults(void **state)
{
    char packed[256];
    const size_t packed_n = ZSTD_compress(packed, sizeof packed, "a\nb\n", 4, 3);

    (void)state;
    write_bytes(packed, packed_n);
    for (int n = 0;; n++) {
        struct xc_err err = {0};
        enum xc_status status;

        xc_alloc_fail_after(n);
        status = read_to_end(0, &err);
        xc_alloc_fail_after(-1);
        if (status == XC_OK) {
            assert_true(n >= 5);
            break;
        }
        assert_int_equal(status, XC_E_NOMEM);
        assert_true(n < 100);
    }
    unlink(path);
}

static void test_units(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } sizes[] = {
        {"0", 0}, {"123", 123}, {"12B", 12}, {"3MB", 3000000}, {"3mb", 3000000}, {"3 MB", 3000000}, {"1.5GiB", 1610612736}, {"1K", 1024}, {"1KiB", 1024},
        {"1kB", 1000}, {"2.5KB", 2500}, {"9007199254740993", 9007199254740993}, {"1T", 1099511627776}, {"0.5B", 0}, {"8000000TB", 8000000000000000000},
        {"", -1}, {"MB", -1}, {"-1", -1}, {"+1", -1}, {"1 M B", -1}, {"1XB", -1}, {"0x10", -1}, {"nan", -1}, {"inf", -1}, {"1e400", -1}, {" 1", -1},
        {"9999999TiB", -1}, {"1MB ", -1},
    };
    uint64_t u;
    int64_t i;
    double d;
    char buf[32];

    (void)state;
    for (size_t k = 0; k < XC_ARRAY_LEN(sizes); k++) {
        const bool ok = xc_parse_size(&u, sizes[k].text);

        if (ok != (sizes[k].bytes >= 0) || (ok && u != (uint64_t)sizes[k].bytes)) fail_msg("'%s' gives %d, %llu", sizes[k].text, ok, (unsigned long long)u);
    }
    assert_true(xc_parse_int(&i, "-9223372036854775808") && i == INT64_MIN);
    assert_false(xc_parse_int(&i, "9223372036854775808"));
    assert_false(xc_parse_int(&i, "") || xc_parse_int(&i, "-") || xc_parse_int(&i, "1x") || xc_parse_int(&i, " 1") || xc_parse_int(&i, "1.0"));
    assert_true(xc_parse_uint(&u, "18446744073709551615") && u == UINT64_MAX);
    assert_false(xc_parse_uint(&u, "-1") || xc_parse_uint(&u, "18446744073709551616"));
    assert_true(xc_parse_number(&d, "-2.5e-3") && d == -2.5e-3);
    assert_true(xc_parse_number(&d, "50%") && d == 0.5);
    assert_true(xc_parse_number(&d, ".5") && d == 0.5);
    assert_false(xc_parse_number(&d, "nan") || xc_parse_number(&d, "inf") || xc_parse_number(&d, "0x1p3") || xc_parse_number(&d, "1..2") ||
                 xc_parse_number(&d, "") || xc_parse_number(&d, "1e999") || xc_parse_number(&d, "5%%"));
    assert_string_equal(xc_format_size(999, buf), "999 B");
    assert_string_equal(xc_format_size(1234, buf), "1.23 kB");
    assert_string_equal(xc_format_size(22948573, buf), "22.9 MB");
    assert_string_equal(xc_format_size(999950, buf), "1.00 MB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes), cmocka_unit_test(test_long),   cmocka_unit_test(test_limits),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_faults), cmocka_unit_test(test_units),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
