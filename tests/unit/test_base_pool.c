/* The thread pool: every item once, in any number of threads, in and out of brackets, from many callers. Run under TSan too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/pool.h"

struct job {
    int64_t *hits; /* (n) plain on purpose: an item that runs twice at once is a data race */
    int64_t n;
    int threads;
    _Atomic int64_t bad_threads;
    int sleep_us;
};

static void mark(void *arg, int64_t item, int thread)
{
    struct job *const job = arg;

    job->hits[item]++;
    if (thread < 0 || thread >= job->threads) atomic_fetch_add(&job->bad_threads, 1);
    if (job->sleep_us > 0) usleep((useconds_t)job->sleep_us);
}

static void check_run(struct xc_pool *pool, int64_t *hits, int64_t n, int sleep_us)
{
    struct job job = {.hits = hits, .n = n, .threads = xc_pool_threads(pool), .sleep_us = sleep_us};

    memset(hits, 0, (size_t)n * sizeof *hits);
    xc_pool_run(pool, mark, &job, n);
    for (int64_t i = 0; i < n; i++)
        if (hits[i] != 1) fail_msg("item %lld of %lld ran %lld times", (long long)i, (long long)n, (long long)hits[i]);
    assert_int_equal(job.bad_threads, 0);
}

static void test_sizes(void **state)
{
    static int64_t hits[5000];
    static const int threads[] = {1, 2, 3, 8, 32};

    (void)state;
    for (size_t t = 0; t < XC_ARRAY_LEN(threads); t++) {
        struct xc_pool *pool;

        assert_int_equal(xc_pool_new(&pool, threads[t], NULL), XC_OK);
        assert_int_equal(xc_pool_threads(pool), threads[t]);
        for (int64_t n = 0; n < 40; n++) check_run(pool, hits, n, 0);
        check_run(pool, hits, 5000, 0);
        xc_pool_begin(pool);
        for (int64_t n = 0; n < 40; n++) check_run(pool, hits, n, 0);
        check_run(pool, hits, 5000, 0);
        xc_pool_end(pool);
        xc_pool_run(pool, mark, NULL, -5);
        xc_pool_free(&pool);
        assert_null(pool);
    }
    xc_pool_free(&(struct xc_pool *){NULL});
}

static void test_null_pool(void **state)
{
    int64_t hits[10];

    (void)state;
    assert_int_equal(xc_pool_threads(NULL), 1);
    xc_pool_begin(NULL);
    check_run(NULL, hits, 10, 0);
    xc_pool_end(NULL);
}

static void test_arguments(void **state)
{
    struct xc_err err = {0};
    struct xc_pool *pool = NULL;

    (void)state;
    assert_int_equal(xc_pool_new(&pool, -1, &err), XC_E_RANGE);
    assert_null(pool);
    assert_int_equal(xc_pool_new(&pool, 1 << 20, &err), XC_E_RANGE);
    assert_int_equal(xc_pool_new(&pool, 0, &err), XC_OK);
    assert_true(xc_pool_threads(pool) >= 1 && xc_pool_threads(pool) <= sysconf(_SC_NPROCESSORS_ONLN));
    xc_pool_free(&pool);
    for (int n = 0; n < 2; n++) {
        xc_alloc_fail_after(n);
        assert_int_equal(xc_pool_new(&pool, 2, &err), XC_E_NOMEM);
        xc_alloc_fail_after(-1);
        assert_null(pool);
    }
}

/* Threads that cannot start: an error, and those that did start are gone. */
static void test_no_threads(void **state)
{
    struct xc_err err = {0};
    struct xc_pool *pool = NULL;
    struct rlimit old, low;

    (void)state;
    if (geteuid() == 0) skip(); /* root has no limit of processes */
    getrlimit(RLIMIT_NPROC, &old);
    low = (struct rlimit){1, old.rlim_max};
    setrlimit(RLIMIT_NPROC, &low);
    assert_int_equal(xc_pool_new(&pool, 8, &err), XC_E_LIMIT);
    setrlimit(RLIMIT_NPROC, &old);
    assert_null(pool);
}

/* Steps of all kinds in quick succession: late workers of one step must not touch the next. */
static void test_stress(void **state)
{
    static int64_t hits[64];
    static const int threads[] = {2, 4, 16};

    (void)state;
    for (size_t t = 0; t < XC_ARRAY_LEN(threads); t++) {
        struct xc_pool *pool;

        assert_int_equal(xc_pool_new(&pool, threads[t], NULL), XC_OK);
        for (int round = 0; round < 300; round++) {
            if (round % 3 != 0) xc_pool_begin(pool);
            for (int64_t step = 0; step < 20; step++) check_run(pool, hits, (step * 7 + round) % 12, 0);
            if (round % 50 == 1) check_run(pool, hits, 6, 300); /* longer than a spin: the caller sleeps */
            if (round % 50 == 4) usleep(300);                    /* workers fall asleep inside the bracket */
            if (round % 3 != 0) xc_pool_end(pool);
        }
        xc_pool_free(&pool);
    }
}

static void add_item(void *arg, int64_t item, int thread)
{
    (void)thread;
    atomic_fetch_add((_Atomic int64_t *)arg, item);
}

/* A few callers share one pool, with and without brackets, and nested ones. */
static void *caller(void *arg)
{
    struct xc_pool *const pool = arg;

    for (int i = 0; i < 100; i++) {
        _Atomic int64_t sum = 0;

        if (i % 2 == 0) xc_pool_begin(pool);
        if (i % 4 == 0) xc_pool_begin(pool);
        xc_pool_run(pool, add_item, &sum, 20);
        xc_pool_run(pool, add_item, &sum, 1);
        xc_pool_run(pool, add_item, &sum, 3);
        if (i % 4 == 0) xc_pool_end(pool);
        xc_pool_run(pool, add_item, &sum, 2);
        if (i % 2 == 0) xc_pool_end(pool);
        if (sum != 190 + 0 + 3 + 1) return arg;
    }
    return NULL;
}

static void test_callers(void **state)
{
    struct xc_pool *pool;
    pthread_t threads[4];

    (void)state;
    assert_int_equal(xc_pool_new(&pool, 3, NULL), XC_OK);
    for (size_t i = 0; i < XC_ARRAY_LEN(threads); i++) assert_int_equal(pthread_create(&threads[i], NULL, caller, pool), 0);
    for (size_t i = 0; i < XC_ARRAY_LEN(threads); i++) {
        void *bad;

        pthread_join(threads[i], &bad);
        assert_null(bad);
    }
    xc_pool_free(&pool);
}

static void test_create_and_free(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        struct xc_pool *pool;
        int64_t hits[8];

        assert_int_equal(xc_pool_new(&pool, 4, NULL), XC_OK);
        if (i % 2 == 0) check_run(pool, hits, 8, 0);
        xc_pool_free(&pool);
    }
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* No burn when idle, in a bracket or out of one. */
static void test_idle(void **state)
{
    struct xc_pool *pool;
    int64_t hits[8];
    double before;

    (void)state;
    assert_int_equal(xc_pool_new(&pool, 4, NULL), XC_OK);
    check_run(pool, hits, 8, 0);
    usleep(20000);
    before = cpu_seconds();
    usleep(300000);
    assert_true(cpu_seconds() - before < 0.02);
    xc_pool_begin(pool);
    usleep(20000);
    before = cpu_seconds();
    usleep(300000);
    assert_true(cpu_seconds() - before < 0.02);
    check_run(pool, hits, 8, 0);
    xc_pool_end(pool);
    xc_pool_free(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_null_pool), cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_no_threads), cmocka_unit_test(test_stress), cmocka_unit_test(test_callers),
        cmocka_unit_test(test_create_and_free), cmocka_unit_test(test_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
