/* pool: a thread pool for short parallel steps, on C11 atomics and Linux futexes.
 *
 * A step is announced by storing its number of items in `left`. A thread that takes left from t > 0 to t - 1 owns item n - t,
 * and may then read fn, arg and n: the step cannot end, so they cannot change, before that thread reports. A thread that
 * finds left <= 0 has nothing and reads nothing, so a worker that wakes late is harmless and nobody waits for it. Threads report
 * how many items they did, all at once, by taking that number from `pending`; the caller returns when it is 0.
 *
 * Sleep and wake are the usual store-then-look on both sides (all sequentially consistent): the caller stores left and then looks
 * at sleepers; a worker counts itself in sleepers and then looks at left. One of them sees the other.
 *
 * fork is not supported: a child has no workers. */
#include <assert.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/pool.h"

#define SPIN_NS 80000       /* inside begin/end: longer than the serial stretches of a run, shorter than a scheduler tick */
#define SPIN_SHORT_NS 5000  /* outside a bracket, and everywhere when threads outnumber CPUs */
#define PAUSES_PER_LOOK 32  /* between two looks at the clock */
#define THREADS_MAX 1024

struct worker {
    struct xc_pool *pool;
    pthread_t handle;
    int thread;
};

struct xc_pool {
    /* Written by the caller between steps, read by whoever owns an item. */
    xc_pool_fn *fn;
    void *arg;
    int64_t n;

    int threads;
    bool crowded;         /* more threads than CPUs: spinning would keep the one we wait for off its CPU */
    bool running;         /* catches a step started from inside a step */
    pthread_mutex_t lock; /* recursive: begin holds it around the runs of the same thread */
    int depth;            /* of begin, guarded by lock */
    struct worker *workers;

    /* Each on a cache line of its own. */
    _Alignas(64) _Atomic int64_t left;
    _Alignas(64) _Atomic int64_t pending;
    _Alignas(64) _Atomic uint32_t wake_word;    /* futex of sleeping workers: changes at every wake-up */
    _Atomic int32_t sleepers;
    _Atomic bool awake;                         /* between begin and end */
    _Atomic bool quit;
    _Alignas(64) _Atomic uint32_t caller_waits; /* futex of the caller */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int how_many)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, how_many, NULL, NULL, 0);
}

static void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* A bounded wait: false when the time is up. Zero-initialise. */
struct spin {
    int64_t deadline;
    int turns;
};

static bool spin_again(struct spin *s, int64_t limit_ns, bool crowded)
{
    if (++s->turns % PAUSES_PER_LOOK != 0) {
        cpu_pause();
        return true;
    }
    if (crowded) sched_yield();
    if (s->deadline == 0) {
        s->deadline = now_ns() + limit_ns;
        return true;
    }
    return now_ns() < s->deadline;
}

/* Does items until none is left, then reports them. */
static void work(struct xc_pool *pool, int thread)
{
    int64_t done = 0, t;

    while ((t = atomic_fetch_sub(&pool->left, 1)) > 0) {
        pool->fn(pool->arg, pool->n - t, thread);
        done++;
    }
    if (done > 0 && atomic_fetch_sub(&pool->pending, done) == done && atomic_load(&pool->caller_waits) != 0) {
        atomic_store(&pool->caller_waits, 0);
        futex_wake(&pool->caller_waits, 1);
    }
}

static void sleep_until_woken(struct xc_pool *pool)
{
    uint32_t seen;

    atomic_fetch_add(&pool->sleepers, 1);
    seen = atomic_load(&pool->wake_word);
    if (atomic_load(&pool->left) <= 0 && !atomic_load(&pool->quit)) futex_wait(&pool->wake_word, seen);
    atomic_fetch_sub(&pool->sleepers, 1);
}

static void wake_workers(struct xc_pool *pool)
{
    const int32_t sleepers = atomic_load(&pool->sleepers);

    if (sleepers == 0) return;
    atomic_fetch_add(&pool->wake_word, 1);
    futex_wake(&pool->wake_word, sleepers);
}

static void *worker_main(void *arg)
{
    const struct worker *const self = arg;
    struct xc_pool *const pool = self->pool;

    while (!atomic_load(&pool->quit)) {
        struct spin spin = {0};
        bool idle = false;

        while (atomic_load_explicit(&pool->left, memory_order_relaxed) <= 0 && !idle) {
            const bool awake = atomic_load_explicit(&pool->awake, memory_order_relaxed);

            idle = !spin_again(&spin, awake && !pool->crowded ? SPIN_NS : SPIN_SHORT_NS, pool->crowded);
        }
        if (idle)
            sleep_until_woken(pool);
        else
            work(pool, self->thread);
    }
    return NULL;
}

/* Whole CPUs that this container's cgroup (v2) grants, 0 when there is no limit: more threads than that would be throttled. */
static int cgroup_cpus(void)
{
    FILE *const f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long quota, period;
    int cpus = 0;

    if (f == NULL) return 0;
    if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
        const long whole = (quota + period - 1) / period;

        cpus = whole > THREADS_MAX ? THREADS_MAX : (int)whole;
    }
    fclose(f);
    return cpus;
}

/* CPUs that this process may use: its affinity mask, cut to the cgroup's quota. */
static int usable_cpus(void)
{
    const int quota = cgroup_cpus();
    cpu_set_t set;
    long cpus;

    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cpus = CPU_COUNT(&set);
    else
        cpus = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than a cpu_set_t holds */
    if (quota > 0 && cpus > quota) cpus = quota;
    return cpus < 1 ? 1 : cpus > THREADS_MAX ? THREADS_MAX : (int)cpus;
}

/* Stops and joins workers 0..n-1. */
static void stop_workers(struct xc_pool *pool, int n)
{
    atomic_store(&pool->quit, true);
    atomic_fetch_add(&pool->wake_word, 1);
    futex_wake(&pool->wake_word, THREADS_MAX);
    for (int i = 0; i < n; i++) pthread_join(pool->workers[i].handle, NULL);
}

static enum xc_status start_workers(struct xc_pool *pool, struct xc_err *err)
{
    sigset_t all, before;
    int rc = 0, started = 0;

    /* Signals are the program's business: they go to threads that are not ours. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (started < pool->threads - 1) {
        struct worker *const w = &pool->workers[started];

        w->pool = pool;
        w->thread = started + 1;
        rc = pthread_create(&w->handle, NULL, worker_main, w);
        if (rc != 0) break;
        started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        char reason[128];

        stop_workers(pool, started);
        return xc_fail(err, XC_E_LIMIT, "cannot start thread %d of %d: %s", started + 2, pool->threads,
                       xc_errno_text(rc, reason, sizeof reason));
    }
    return XC_OK;
}

enum xc_status xc_pool_new(struct xc_pool **out, int threads, struct xc_err *err)
{
    const int cpus = usable_cpus();
    pthread_mutexattr_t attr;
    struct xc_pool *pool;
    enum xc_status status;

    *out = NULL;
    if (threads < 0 || threads > THREADS_MAX) return xc_fail(err, XC_E_RANGE, "%d threads: must be 0 (all CPUs) to %d", threads, THREADS_MAX);
    if (threads == 0) threads = cpus < THREADS_MAX ? cpus : THREADS_MAX;

    pool = xc_alloc_aligned(sizeof *pool);
    if (pool == NULL) return xc_fail_nomem(err, sizeof *pool);
    *pool = (struct xc_pool){.threads = threads, .crowded = threads > cpus};
    pool->workers = xc_calloc((size_t)threads, sizeof *pool->workers);
    if (pool->workers == NULL) {
        xc_free(pool);
        return xc_fail_nomem(err, (size_t)threads * sizeof *pool->workers);
    }
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&pool->lock, &attr);
    pthread_mutexattr_destroy(&attr);

    status = start_workers(pool, err);
    if (status != XC_OK) {
        pthread_mutex_destroy(&pool->lock);
        xc_free(pool->workers);
        xc_free(pool);
        return status;
    }
    *out = pool;
    return XC_OK;
}

void xc_pool_free(struct xc_pool **ref)
{
    struct xc_pool *const pool = *ref;

    *ref = NULL;
    if (pool == NULL) return;
    stop_workers(pool, pool->threads - 1);
    pthread_mutex_destroy(&pool->lock);
    xc_free(pool->workers);
    xc_free(pool);
}

int xc_pool_threads(const struct xc_pool *pool)
{
    return pool == NULL ? 1 : pool->threads;
}

/* Waits for the items that other threads still work on. */
static void wait_done(struct xc_pool *pool)
{
    struct spin spin = {0};

    while (atomic_load(&pool->pending) > 0) {
        if (spin_again(&spin, pool->crowded ? SPIN_SHORT_NS : SPIN_NS, pool->crowded)) continue;
        atomic_store(&pool->caller_waits, 1);
        if (atomic_load(&pool->pending) > 0) futex_wait(&pool->caller_waits, 1);
        atomic_store(&pool->caller_waits, 0);
    }
}

void xc_pool_run(struct xc_pool *pool, xc_pool_fn *fn, void *arg, int64_t n)
{
    if (n <= 0) return;
    if (pool == NULL) {
        for (int64_t i = 0; i < n; i++) fn(arg, i, 0);
        return;
    }

    pthread_mutex_lock(&pool->lock);
    assert(!pool->running);
    pool->running = true;
    if (pool->threads == 1 || n == 1) {
        for (int64_t i = 0; i < n; i++) fn(arg, i, 0);
    } else {
        pool->fn = fn;
        pool->arg = arg;
        pool->n = n;
        atomic_store(&pool->pending, n);
        atomic_store(&pool->left, n); /* publishes the step */
        wake_workers(pool);
        work(pool, 0);
        wait_done(pool);
    }
    pool->running = false;
    pthread_mutex_unlock(&pool->lock);
}

void xc_pool_begin(struct xc_pool *pool)
{
    if (pool == NULL) return;
    pthread_mutex_lock(&pool->lock);
    if (pool->depth++ == 0 && pool->threads > 1) {
        atomic_store(&pool->awake, true);
        wake_workers(pool); /* so that they are up when the first step comes */
    }
}

void xc_pool_end(struct xc_pool *pool)
{
    if (pool == NULL) return;
    assert(pool->depth > 0);
    if (--pool->depth == 0) atomic_store(&pool->awake, false);
    pthread_mutex_unlock(&pool->lock);
}
