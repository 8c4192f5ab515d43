/* test_spill: arrays in files keep their numbers while their pages go, resident memory falls back, a full disk is an error; second-order pruning whose matrices
 * lie there makes the same file, to the byte (GPTQ and the fit: test_walk). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "compress/file/spill.h"
#include "compress/pass.h"
#include "tests/unit/scratch.h"

#define MB ((size_t)1 << 20)

static char from[1024], dir[1024], texts[1100];

static long file_pages(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long all, resident, pages = -1;

    if (!f) return -1;
    if (fscanf(f, "%ld %ld %ld", &all, &resident, &pages) != 3) pages = -1;
    fclose(f);
    return pages;
}

static uint64_t number(size_t i) { return (i + 1) * 0x9E3779B97F4A7C15u; }

static void test_numbers(void **state)
{
    const size_t n = 64 * MB / sizeof(uint64_t);
    const long page = sysconf(_SC_PAGESIZE), begin = file_pages();
    struct xc_spill *s = NULL;
    uint64_t *x, *small;
    struct xc_err err = { 0 };

    (void)state;
    if (begin < 0) skip(); /* the system does not say what is resident */
    ok(xc_spill_new(&s, dir, 8 * MB, &err), &err);
    ok(xc_spill_array((void **)&small, s, 4096, true, &err), &err);
    ok(xc_spill_array((void **)&x, s, n * sizeof *x, true, &err), &err);
    for (size_t i = 0; i < n; i += 4099) assert_int_equal(x[i], 0);
    for (size_t i = 0; i < n; i++) x[i] = number(i);
    for (int turn = 0; turn < 3; turn++) { /* what was touched goes, soon after */
        long more = 0;

        for (int wait = 0; wait < 5000; wait++) {
            more = (file_pages() - begin) * page;
            if (more < (long)(12 * MB)) break;
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
        if (more >= (long)(12 * MB)) fail_msg("%ld bytes stay resident, 8 MB are allowed", more);
        for (size_t i = 0; i < n; i++)
            if (x[i] != number(i) + (uint64_t)turn) fail_msg("number %zu is lost in turn %d", i, turn);
            else x[i]++;
    }
    xc_spill_drop(s, x);
    xc_spill_drop(s, small);
    xc_spill_drop(s, NULL);
    xc_spill_free(&s);
    assert_null(s);
}

static void test_no_room(void **state)
{
    struct rlimit was, little;
    struct xc_spill *s = NULL;
    char nowhere[1100];
    void *x = &s;
    struct xc_err err = { 0 };

    (void)state;
    snprintf(nowhere, sizeof nowhere, "%s/nowhere", dir);
    ok(xc_spill_new(&s, nowhere, 4096, &err), &err);
    assert_int_equal(xc_spill_array(&x, s, MB, false, &err), XC_E_IO);
    assert_null(x);
    assert_non_null(strstr(err.msg, nowhere));
    assert_int_equal(xc_spill_matrix(&x, s, INT32_MAX, INT32_MAX, 1u << 20, false, &err), XC_E_RANGE);
    xc_spill_free(&s);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0); /* stands for a full disk */
    little = was;
    little.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    ok(xc_spill_new(&s, dir, 4096, &err), &err);
    const enum xc_status status = xc_spill_array(&x, s, MB, false, &err);

    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_int_equal(status, XC_E_IO);
    assert_null(x);
    assert_non_null(strstr(err.msg, "make room"));
    xc_spill_free(&s);
}

/* The file that pruning makes with so much memory; the caller's. */
static char *pruned(size_t *n, uint64_t memory, int threads)
{
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r;
    struct xc_recipe *recipe = NULL;
    struct xc_err err = { 0 };
    char path[1200], *bytes;
    FILE *f;
    long size = 0;

    snprintf(path, sizeof path, "%s/pruned.xc", dir);
    ok(xc_recipe_new(&recipe, &err), &err);
    ok(xc_recipe_add(recipe, "prune", &err), &err);
    ok(xc_recipe_set(recipe, "saliency", "obs", &err), &err);
    ok(xc_pool_new(&how.pool, threads, &err), &err);
    how.recipe = recipe;
    how.calibrate = texts;
    how.max_memory = memory;
    ok(xc_compress_file(from, path, &how, &r, &err), &err);
    xc_compress_result_release(&r);
    xc_pool_free(&how.pool);
    xc_recipe_free(&recipe);
    f = fopen(path, "rb");
    assert_true(f && !fseek(f, 0, SEEK_END) && (size = ftell(f)) > 0);
    rewind(f);
    bytes = malloc((size_t)size);
    *n = fread(bytes, 1, (size_t)size, f);
    assert_int_equal(*n, size);
    fclose(f);
    return bytes;
}

static void test_prune(void **state)
{
    size_t n, m;
    char *a = pruned(&n, 0, 1), *b = pruned(&m, 4096, 2);

    (void)state;
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a), free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_numbers), cmocka_unit_test(test_no_room), cmocka_unit_test(test_prune) };
    FILE *f;
    int rc;

    snprintf(from, sizeof from, "%s/tests/data/tiny-bert", source_root());
    if (scratch_open(dir, sizeof dir, "spill")) return 1;
    snprintf(texts, sizeof texts, "%s/texts", dir);
    f = fopen(texts, "w");
    if (!f) return 1;
    for (int i = 0; i < 64; i++) fprintf(f, "the movie is a %s story of %d strange men\n", i % 3 ? "long" : "love", i);
    if (fclose(f)) return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, rc);
}
