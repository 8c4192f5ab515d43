/* runtime/base without threads: status and escaping, checked sizes, allocator and its fault hook, arena, buffers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/arena.h"
#include "runtime/base/base.h"
#include "runtime/base/buf.h"

/* ---- status ---- */

static void test_status_names(void **state)
{
    (void)state;
    for (int i = 0; i < XC_STATUS_COUNT; i++) assert_true(strlen(xc_status_name((enum xc_status)i)) > 0);
    assert_string_equal(xc_status_name(XC_E_NOMEM), "out of memory");
    assert_string_equal(xc_status_name((enum xc_status)999), "unknown status");
    assert_string_equal(xc_status_name((enum xc_status)-1), "unknown status");
}

static const char *escaped(const char *in)
{
    static struct xc_err err;

    assert_int_equal(xc_fail(&err, XC_E_FORMAT, "%s", in), XC_E_FORMAT);
    return err.msg;
}

static void test_escape(void **state)
{
    (void)state;
    assert_string_equal(escaped("plain 'text' \\ stays"), "plain 'text' \\ stays");
    assert_string_equal(escaped("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
    assert_string_equal(escaped("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"), "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"); /* UTF-8 */
    assert_string_equal(escaped("\xc2\x9b" "C1"), "\\xc2\\x9bC1");
    assert_string_equal(escaped("\xff\xfe"), "\\xff\\xfe");
    assert_string_equal(escaped("\xc0\xaf"), "\\xc0\\xaf");                 /* overlong */
    assert_string_equal(escaped("\xe0\x80\x80"), "\\xe0\\x80\\x80");        /* overlong */
    assert_string_equal(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");        /* surrogate */
    assert_string_equal(escaped("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80"); /* beyond U+10FFFF */
    assert_string_equal(escaped("\xe2\x82"), "\\xe2\\x82");                 /* cut short */
}

static void test_long_messages(void **state)
{
    struct xc_err err;
    char text[5000], *const end = text + sizeof text - 1;

    (void)state;
    memset(text, 'x', sizeof text);
    *end = '\0';
    (void)xc_fail(&err, XC_E_IO, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
    assert_string_equal(err.msg + sizeof err.msg - 4, "...");

    /* No character and no escape is cut in two, wherever the end falls. */
    for (size_t lead = 0; lead < 8; lead++) {
        memset(text, 'x', lead);
        for (char *p = text + lead; p + 3 < end; p += 3) memcpy(p, "\xe2\x82\xac", 4);
        (void)xc_fail(&err, XC_E_IO, "%s", text);
        assert_true(strlen(err.msg) >= sizeof err.msg - 8);
        assert_string_equal(err.msg + strlen(err.msg) - 6, "\xe2\x82\xac...");
        memset(text + lead, '\1', sizeof text - lead - 1);
        (void)xc_fail(&err, XC_E_IO, "%s", text);
        assert_string_equal(err.msg + strlen(err.msg) - 7, "\\x01...");
    }
    /* Exactly full is not cut. */
    memset(text, 'y', sizeof err.msg - 1);
    text[sizeof err.msg - 1] = '\0';
    (void)xc_fail(&err, XC_E_IO, "%s", text);
    assert_string_equal(err.msg, text);
}

static void test_where(void **state)
{
    struct xc_err err = {0};
    char text[64];

    (void)state;
    assert_int_equal(xc_fail_at(&err, xc_fail(&err, XC_E_RANGE, "bad id %d", 7), "a.xc: byte %d", 12), XC_E_RANGE);
    assert_int_equal(xc_fail_at(&err, XC_E_IO, "outer"), XC_E_RANGE); /* the innermost place wins, and so does the first code */
    assert_string_equal(err.where, "a.xc: byte 12");
    assert_string_equal(xc_err_text(&err, text, sizeof text), "a.xc: byte 12: bad id 7");
    assert_string_equal(xc_err_text(&err, text, 8), "a.xc: b");
    (void)xc_fail(&err, XC_E_IO, "again: %s", err.msg); /* its own message as an argument */
    assert_string_equal(xc_err_text(&err, text, sizeof text), "again: bad id 7");
    assert_int_equal(xc_fail(NULL, XC_E_IO, "%s", "no one listens"), XC_E_IO);
    assert_int_equal(xc_fail_at(NULL, XC_E_SHAPE, "x"), XC_E_SHAPE);
    assert_int_equal(xc_fail_errno(&err, ENOSPC, "cannot write '%s'", "f"), XC_E_IO);
    assert_string_equal(err.msg, "cannot write 'f': No space left on device");
    assert_int_equal(xc_fail_errno(&err, ENOMEM, "cannot map"), XC_E_NOMEM);
}

/* ---- sizes and allocator ---- */

static void test_checked_sizes(void **state)
{
    size_t x = 1;

    (void)state;
    assert_true(xc_mul_ok(&x, SIZE_MAX / 2, 2));
    assert_true(x == SIZE_MAX - 1);
    assert_false(xc_mul_ok(&x, SIZE_MAX / 2 + 1, 2));
    assert_int_equal(x, 0);
    assert_true(xc_add_ok(&x, SIZE_MAX - 1, 1));
    assert_false(xc_add_ok(&x, SIZE_MAX, 1));
    assert_int_equal(x, 0);
    assert_true(xc_round_up_ok(&x, 65, 64));
    assert_int_equal(x, 128);
    assert_true(xc_round_up_ok(&x, 0, 64));
    assert_int_equal(x, 0);
    assert_true(xc_round_up_ok(&x, SIZE_MAX - 63, 64));
    assert_true(x == SIZE_MAX - 63);
    assert_false(xc_round_up_ok(&x, SIZE_MAX - 62, 64));
    assert_int_equal(x, 0);
    assert_int_equal(xc_round_up(17, 16), 32);
}

static void test_allocator(void **state)
{
    const int64_t before = xc_alloc_count();
    char *p = xc_malloc(0);
    void *q;

    (void)state;
    assert_non_null(p);
    p = xc_realloc(p, 100);
    assert_non_null(p);
    xc_free(p);
    assert_int_equal(xc_alloc_count() - before, 2);
    q = xc_alloc_aligned(1);
    assert_int_equal((uintptr_t)q % XC_ALIGN, 0);
    xc_free(q);
    xc_free(NULL);
    assert_null(xc_calloc(SIZE_MAX / 2, 3));
    assert_null(xc_alloc_aligned(SIZE_MAX));
    p = xc_strndup("abcdef", 3);
    assert_string_equal(p, "abc");
    xc_free(p);
}

static void test_fault_hook(void **state)
{
    (void)state;
    for (int n = 0; n < 4; n++) {
        xc_alloc_fail_after(n);
        for (int i = 0; i < 6; i++) {
            void *const p = i % 2 == 0 ? xc_malloc(8) : xc_calloc(1, 8);

            if (i < n)
                assert_non_null(p);
            else
                assert_null(p);
            xc_free(p);
        }
        assert_true(n > 0 || xc_realloc(NULL, 1) == NULL);
        assert_null(xc_alloc_aligned(1));
        assert_null(xc_strdup("x"));
        xc_alloc_fail_after(-1);
        void *const p = xc_malloc(1);
        assert_non_null(p);
        xc_free(p);
    }
}

static void test_grow(void **state)
{
    struct xc_err err = {0};
    int64_t *items = NULL;
    size_t cap = 0;

    (void)state;
    for (size_t n = 1; n < 1000; n++) {
        assert_int_equal(xc_grow((void **)&items, &cap, n, sizeof *items, &err), XC_OK);
        assert_true(cap >= n && cap < 2 * n + 8);
        items[n - 1] = (int64_t)n;
    }
    for (size_t n = 1; n < 1000; n++) assert_int_equal(items[n - 1], n);
    {
        const size_t had = cap;

        assert_int_equal(xc_grow((void **)&items, &cap, SIZE_MAX / 4, sizeof *items, &err), XC_E_NOMEM);
        assert_int_equal(xc_grow((void **)&items, &cap, SIZE_MAX, 1, &err), XC_E_NOMEM);
        xc_alloc_fail_after(0);
        assert_int_equal(xc_grow((void **)&items, &cap, had + 1, sizeof *items, &err), XC_E_NOMEM);
        xc_alloc_fail_after(-1);
        assert_int_equal(cap, had); /* what was there is still there */
        assert_int_equal(items[998], 999);
    }
    xc_free(items);
}

/* ---- arena ---- */

static void test_arena(void **state)
{
    struct xc_arena arena;
    unsigned char *blocks[400];
    size_t sizes[400];

    (void)state;
    xc_arena_init(&arena);
    for (size_t i = 0; i < XC_ARRAY_LEN(blocks); i++) {
        sizes[i] = i % 7 == 6 ? 5000 * i : i % 40; /* small ones, and some larger than a block */
        blocks[i] = xc_arena_alloc(&arena, sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t j = 0; j < sizes[i]; j++) assert_int_equal(blocks[i][j], 0);
        memset(blocks[i], (int)i, sizes[i]);
    }
    for (size_t i = 0; i < XC_ARRAY_LEN(blocks); i++)
        for (size_t j = 0; j < sizes[i]; j += 100) assert_int_equal(blocks[i][j], (unsigned char)i);

    assert_string_equal(xc_arena_strdup(&arena, "name"), "name");
    assert_string_equal(xc_arena_strndup(&arena, "name", 2), "na");
    assert_string_equal(xc_arena_printf(&arena, "layer.%d.%s", 3, "w"), "layer.3.w");
    assert_null(xc_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(xc_arena_alloc(&arena, SIZE_MAX));
    assert_null(xc_arena_alloc(&arena, SIZE_MAX - 20));
    xc_alloc_fail_after(0);
    assert_null(xc_arena_alloc(&arena, 1 << 20));
    assert_null(xc_arena_printf(&arena, "%1000000d", 1));
    xc_alloc_fail_after(-1);
    assert_non_null(xc_arena_alloc(&arena, 1 << 20)); /* a failure breaks nothing */
    xc_arena_release(&arena);
    assert_int_equal(arena.total, 0);
    xc_arena_release(&arena);
}

/* ---- buffers ---- */

static void write_file(char *path, const void *bytes, size_t n)
{
    const int fd = mkstemp(strcpy(path, "/tmp/xc_test_XXXXXX"));

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
}

static void test_buf_heap(void **state)
{
    struct xc_err err = {0};
    struct xc_buf *buf, *view, *inner, *none;

    (void)state;
    assert_int_equal(xc_buf_new(&buf, 100, &err), XC_OK);
    assert_int_equal((uintptr_t)buf->data % XC_ALIGN, 0);
    for (size_t i = 100; i < 128; i++) assert_int_equal(buf->data[i], 0);
    assert_true(xc_buf_writable(buf));
    memset(buf->data, 7, 100);

    assert_int_equal(xc_buf_view(&view, buf, 40, 60, &err), XC_OK);
    assert_false(xc_buf_writable(buf));
    assert_false(xc_buf_writable(view));
    assert_int_equal(xc_buf_view(&inner, view, 60, 0, &err), XC_OK);
    assert_int_equal(xc_buf_view(&none, view, 61, 0, &err), XC_E_RANGE);
    assert_null(none);
    assert_int_equal(xc_buf_view(&none, view, 1, SIZE_MAX, &err), XC_E_RANGE);
    assert_int_equal(xc_buf_view(&none, view, 10, 51, &err), XC_E_RANGE);
    assert_string_equal(err.msg, "bytes 10..+51 lie outside a buffer of 60");

    xc_buf_unref(&buf); /* views keep it */
    assert_null(buf);
    xc_buf_unref(&view);
    assert_int_equal(inner->data[-1], 7);
    xc_buf_unref(&inner);
    xc_buf_unref(&inner);
    assert_null(xc_buf_ref(NULL));

    assert_int_equal(xc_buf_new(&buf, 0, &err), XC_OK);
    assert_non_null(buf->data);
    xc_buf_unref(&buf);
    assert_int_equal(xc_buf_new(&buf, SIZE_MAX - 5, &err), XC_E_NOMEM);
    assert_null(buf);
}

static void test_buf_map(void **state)
{
    struct xc_err err = {0};
    struct xc_buf *buf, *view;
    char path[64], dir[] = "/tmp/xc_test_XXXXXX", fifo[64];

    (void)state;
    write_file(path, "hello", 5);
    assert_int_equal(xc_buf_map(&buf, path, &err), XC_OK);
    assert_int_equal(buf->size, 5);
    assert_memory_equal(buf->data, "hello", 5);
    assert_false(xc_buf_writable(buf));
    assert_int_equal(xc_buf_view(&view, buf, 1, 4, &err), XC_OK);
    assert_true(view->mapped);
    xc_buf_unref(&buf);
    unlink(path); /* the bytes stay while they are mapped */
    assert_memory_equal(view->data, "ello", 4);
    xc_buf_unref(&view);

    write_file(path, "", 0);
    assert_int_equal(xc_buf_map(&buf, path, &err), XC_OK);
    assert_int_equal(buf->size, 0);
    assert_non_null(buf->data);
    xc_buf_unref(&buf);
    unlink(path);

    assert_int_equal(xc_buf_map(&buf, path, &err), XC_E_IO);
    assert_null(buf);
    assert_string_equal(err.where, path);
    assert_string_equal(err.msg, "cannot open: No such file or directory");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(xc_buf_map(&buf, dir, &err), XC_E_IO);
    assert_string_equal(err.msg, "is a directory, not a file");
    snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(xc_buf_map(&buf, fifo, &err), XC_E_IO); /* and does not hang */
    assert_string_equal(err.msg, "not a regular file");
    unlink(fifo);
    rmdir(dir);
}

/* Every allocation of every constructor fails once: an error, no leak, outputs NULL. */
static void test_buf_faults(void **state)
{
    struct xc_err err = {0};
    char path[64];

    (void)state;
    write_file(path, "x", 1);
    for (int n = 0; n < 3; n++) {
        struct xc_buf *heap, *map = NULL, *view = NULL;

        xc_alloc_fail_after(n);
        if (xc_buf_new(&heap, 10, &err) != XC_OK) assert_int_equal(err.code, XC_E_NOMEM);
        xc_alloc_fail_after(-1);
        assert_true((heap != NULL) == (n >= 2));
        if (heap == NULL) assert_int_equal(xc_buf_new(&heap, 10, &err), XC_OK);

        xc_alloc_fail_after(0);
        assert_int_equal(xc_buf_map(&map, path, &err), XC_E_NOMEM);
        assert_int_equal(xc_buf_view(&view, heap, 0, 1, &err), XC_E_NOMEM);
        xc_alloc_fail_after(-1);
        assert_null(map);
        assert_null(view);
        assert_true(xc_buf_writable(heap)); /* the failed view took no reference */
        xc_buf_unref(&heap);
    }
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_names), cmocka_unit_test(test_escape),   cmocka_unit_test(test_long_messages),
        cmocka_unit_test(test_where),        cmocka_unit_test(test_checked_sizes), cmocka_unit_test(test_allocator),
        cmocka_unit_test(test_fault_hook),   cmocka_unit_test(test_grow),     cmocka_unit_test(test_arena),
        cmocka_unit_test(test_buf_heap),     cmocka_unit_test(test_buf_map),  cmocka_unit_test(test_buf_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
