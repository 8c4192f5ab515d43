/* spill: see spill.h. Each array is a file of its own, mapped shared: pages that are let go keep what was written, in the page cache or on the disk. */
#include "compress/file/spill.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "compress/file/whole_io.h"
#include "compress/limits.h"

#define LOOK_NS 1000000L /* between two looks at what is resident: in that time two cores touch some megabytes */
#define TURN_NS 100000   /* the least that may be asked for */
#define SHARE 16         /* arrays below 1/16 of what may be resident are on the heap */

struct mapping {
    void *p;
    size_t bytes;
};

struct xc_spill {
    const char *folder; /* the caller's */
    uint64_t resident;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool stop;
    struct mapping *map;
    size_t n, cap;
};

/* Pages of files that this process has in memory; -1 where the system does not say. */
static int64_t file_pages(int fd)
{
    char text[128], *at = text;
    const ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;

    if (n <= 0) return -1;
    text[n] = 0;
    for (int field = 0; field < 2; field++) {
        at = strchr(at, ' ');
        if (!at) return -1;
        at++;
    }
    return strtoll(at, NULL, 10);
}

static void let_go(const struct xc_spill *s)
{
    for (size_t i = 0; i < s->n; i++) (void)madvise(s->map[i].p, s->map[i].bytes, MADV_DONTNEED);
}

/* Asks for short turns, which begin soon after a sleep ends (Linux from 6.12 on; elsewhere nothing happens): what is touched meanwhile is resident. */
static void run_soon(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attr = { .size = sizeof attr, .nice = getpriority(PRIO_PROCESS, 0), .runtime = TURN_NS };

    (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

static void *watch(void *arg)
{
    struct xc_spill *const s = arg;
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    const int64_t page = sysconf(_SC_PAGESIZE);
    int64_t least = file_pages(fd);
    struct timespec next;

    run_soon();
    pthread_mutex_lock(&s->lock);
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (!s->stop) {
        const int64_t now = file_pages(fd);

        if (now < 0 || (now - least) * page > (int64_t)s->resident) {
            let_go(s);
            least = file_pages(fd);
        }
        least = now < least ? now : least;
        next.tv_nsec += LOOK_NS;
        next.tv_sec += next.tv_nsec / 1000000000L;
        next.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&s->wake, &s->lock, &next);
        clock_gettime(CLOCK_MONOTONIC, &next);
    }
    pthread_mutex_unlock(&s->lock);
    if (fd >= 0) close(fd);
    return NULL;
}

enum xc_status xc_spill_new(struct xc_spill **out, const char *folder, uint64_t resident, struct xc_err *err)
{
    struct xc_spill *s = xc_calloc(1, sizeof *s);
    pthread_condattr_t clock;

    *out = NULL;
    if (!s) return xc_fail_nomem(err, sizeof *s);
    s->folder = folder;
    s->resident = resident;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &clock);
    pthread_condattr_destroy(&clock);
    if (pthread_create(&s->thread, NULL, watch, s)) {
        pthread_cond_destroy(&s->wake);
        pthread_mutex_destroy(&s->lock);
        xc_free(s);
        return xc_fail(err, XC_E_NOMEM, "cannot start a thread");
    }
    *out = s;
    return XC_OK;
}

void xc_spill_free(struct xc_spill **spill)
{
    struct xc_spill *const s = *spill;

    *spill = NULL;
    if (!s) return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    assert(!s->n);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    xc_free(s->map);
    xc_free(s);
}

static enum xc_status on_heap(void **out, size_t bytes, bool zero, struct xc_err *err)
{
    *out = xc_alloc_aligned(bytes);
    if (!*out) return xc_fail_nomem(err, bytes);
    if (zero) memset(*out, 0, bytes);
    return XC_OK;
}

/* A mapping of a new file; its blocks are reserved, since a full disk would be a signal later. */
static enum xc_status map_new(void **out, const struct xc_spill *s, size_t bytes, struct xc_err *err)
{
    int fd, e = xc_open_nameless(&fd, s->folder);

    if (e) return xc_fail_errno(err, e, "cannot keep matrices of wide layers in folder '%s'", s->folder);
    while ((e = posix_fallocate(fd, 0, (off_t)bytes)) == EINTR) {}
    *out = e ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!e && *out == MAP_FAILED) e = errno;
    close(fd);
    if (!e) return XC_OK;
    *out = NULL;
    return xc_fail_errno(err, e, "cannot keep %.1f MB of matrices of wide layers in folder '%s' (make room there, or allow more memory)", (double)bytes / 1e6, s->folder);
}

enum xc_status xc_spill_array(void **out, struct xc_spill *s, size_t bytes, bool zero, struct xc_err *err)
{
    enum xc_status status;

    *out = NULL;
    if (!s || bytes < s->resident / SHARE || !bytes) return on_heap(out, bytes, zero, err);
    XC_TRY(map_new(out, s, bytes, err)); /* before the lock: whoever watches goes on */
    pthread_mutex_lock(&s->lock);
    status = xc_grow((void **)&s->map, &s->cap, s->n + 1, sizeof *s->map, err);
    if (status == XC_OK) s->map[s->n++] = (struct mapping){ *out, bytes };
    pthread_mutex_unlock(&s->lock);
    if (status == XC_OK) return XC_OK;
    munmap(*out, bytes);
    *out = NULL;
    return status;
}

void xc_spill_drop(struct xc_spill *s, void *array)
{
    size_t bytes = 0;

    if (s && array) {
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < s->n && !bytes; i++) {
            if (s->map[i].p != array) continue;
            bytes = s->map[i].bytes;
            munmap(array, bytes);
            s->map[i] = s->map[--s->n];
        }
        pthread_mutex_unlock(&s->lock);
    }
    if (!bytes) xc_free(array);
}

enum xc_status xc_spill_matrix(void **out, struct xc_spill *s, int64_t rows, int64_t cols, size_t size, bool zero, struct xc_err *err)
{
    size_t bytes;

    *out = NULL;
    if (rows > INT32_MAX || cols > INT32_MAX || !xc_mul_ok(&bytes, (size_t)rows, (size_t)cols) || !xc_mul_ok(&bytes, bytes, size))
        return xc_fail(err, XC_E_RANGE, "a matrix of %lld x %lld is too large", (long long)rows, (long long)cols);
    return xc_spill_array(out, s, bytes, zero, err);
}

bool xc_spill_pays(double bytes, uint64_t max_memory) { return bytes > (double)(max_memory ? max_memory : xc_memory_default()) / 2; }
