/* pool: what it costs to hand a step to the workers of a thread pool. Prints one JSON object, microseconds, median and 95th percentile.
 *
 *   bench_pool [THREADS [ROUNDS]]      keep the machine quiet
 *
 *   wake      from the call of a run, after a pause in which the workers went to sleep, to the first instruction of the last worker
 *   step      an empty run between begin and end: the workers are awake, so this is the barrier that a layer pays
 *   return    from the end of the last item to the return of the call, awake */
#include <stdatomic.h>
#include <stdio.h>

#include "bench/peaks.h"
#include "runtime/base/pool.h"

#define MAX_ROUNDS 20000

struct seen {
    double at[64];      /* when each thread began its item */
    double end;
    _Atomic int waiting;
    int threads;
};

/* One item for each thread: nobody ends before all have begun, so that each thread takes one. */
static void item(void *arg, int64_t i, int thread)
{
    struct seen *s = arg;

    (void)i;
    s->at[thread] = xc_seconds();
    atomic_fetch_sub(&s->waiting, 1);
    while (atomic_load(&s->waiting) > 0) {}
    if (thread == 0) s->end = xc_seconds(); /* all leave the loop at once */
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void print(const char *name, double *us, int n, const char *end)
{
    qsort(us, (size_t)n, sizeof *us, compare);
    printf("\"%s\": {\"median\": %.2f, \"p5\": %.2f, \"p95\": %.2f}%s", name, us[n / 2], us[n / 20], us[n - 1 - n / 20], end);
}

static double run_once(struct xc_pool *pool, struct seen *s, double *back)
{
    const double start = xc_seconds();
    double last = 0, end;

    atomic_store(&s->waiting, s->threads);
    xc_pool_run(pool, item, s, s->threads);
    end = xc_seconds();
    for (int t = 0; t < s->threads; t++) last = s->at[t] > last ? s->at[t] : last;
    *back = (end - s->end) * 1e6;
    return (last - start) * 1e6;
}

int main(int argc, char **argv)
{
    static double wake[MAX_ROUNDS], step[MAX_ROUNDS], back[MAX_ROUNDS];
    const int threads = argc > 1 ? atoi(argv[1]) : 0, rounds = argc > 2 ? atoi(argv[2]) : 500;
    static const long pauses_us[] = {50, 1000, 20000};
    struct xc_pool *pool = NULL;
    struct seen s = {.end = 0};

    if (threads < 0 || threads > 64 || rounds < 20 || rounds > MAX_ROUNDS || xc_pool_new(&pool, threads, NULL) != XC_OK) return 1;
    s.threads = xc_pool_threads(pool);
    printf("{\"threads\": %d, \"rounds\": %d, \"unit\": \"us\", \"wake\": {", s.threads, rounds);
    for (size_t p = 0; p < sizeof pauses_us / sizeof pauses_us[0]; p++) {
        const struct timespec pause = {.tv_nsec = pauses_us[p] * 1000};
        const int n = p == 2 && rounds > 100 ? 100 : rounds; /* long pauses take long */
        char name[48];

        for (int i = 0; i < n; i++) {
            nanosleep(&pause, NULL);
            wake[i] = run_once(pool, &s, &back[i]);
        }
        snprintf(name, sizeof name, "after_%ld_us", pauses_us[p]);
        print(name, wake, n, p == 2 ? "}, " : ", ");
    }
    xc_pool_begin(pool);
    for (int i = 0; i < rounds; i++) step[i] = run_once(pool, &s, &back[i]);
    xc_pool_end(pool);
    print("step", step, rounds, ", ");
    print("return", back, rounds, "}\n");
    xc_pool_free(&pool);
    return 0;
}
