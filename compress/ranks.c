/* ranks: see ranks.h. Small messages go through rank 0; what is large, gradient_sum.c sends to and fro itself. */
#include "compress/ranks.h"
#include "runtime/base/clock.h"

#include <dlfcn.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifndef XC_MODULE_DIR
#define XC_MODULE_DIR "."
#endif

enum { TAG_ERROR = 1, TAG_GATHER, TAG_RESULT, TAG_GIVE };
#define PIECE ((size_t)1 << 26) /* bytes of a message */
#define PATIENCE 0.25 /* seconds from a request to stop until other ranks are given up: mpirun kills a second after it asks */

struct message { /* of an error */
    int32_t code;
    char msg[sizeof((struct xc_err *)0)->msg], where[sizeof((struct xc_err *)0)->where];
};

struct xc_ranks {
    const struct xc_transport *t;
    int me, n;
    const struct xc_progress *progress;
    struct message mine, *theirs;
    void **request;   /* n: of theirs */
    void **sent;      /* n: of mine */
    bool failed;      /* error holds what, and everybody knows */
    bool lost;        /* ranks do not answer: nobody is waited for any more */
    struct xc_err error;
};

int xc_ranks_me(const struct xc_ranks *r) { return r ? r->me : 0; }
int xc_ranks_n(const struct xc_ranks *r) { return r ? r->n : 1; }
const struct xc_transport *xc_ranks_transport(const struct xc_ranks *r) { return r ? r->t : NULL; }

void xc_ranks_watch(struct xc_ranks *r, const struct xc_progress *progress)
{
    if (r) r->progress = progress;
}

void xc_ranks_share(const struct xc_ranks *r, int rank, int64_t n, int64_t *first, int64_t *last)
{
    *first = n * rank / xc_ranks_n(r);
    *last = n * (rank + 1) / xc_ranks_n(r);
}

/* ---- beginning and end ---- */
static enum xc_status listen(struct xc_ranks *r, struct xc_err *err)
{
    r->theirs = xc_calloc((size_t)r->n, sizeof *r->theirs);
    r->request = xc_calloc((size_t)r->n, sizeof *r->request);
    r->sent = xc_calloc((size_t)r->n, sizeof *r->sent);
    if (!r->theirs || !r->request || !r->sent) return xc_fail_nomem(err, (size_t)r->n * sizeof *r->theirs);
    for (int i = 0; i < r->n; i++)
        if (i != r->me) r->request[i] = r->t->receive(&r->theirs[i], sizeof *r->theirs, i, TAG_ERROR);
    return XC_OK;
}

enum xc_status xc_ranks_new(struct xc_ranks **out, const struct xc_transport *transport, struct xc_err *err)
{
    struct xc_ranks *r = xc_calloc(1, sizeof *r);
    enum xc_status status;
    const char *why;

    *out = NULL;
    if (!r) return xc_fail_nomem(err, sizeof *r);
    r->t = transport;
    why = transport->open(&r->me, &r->n);
    if (why) {
        xc_free(r);
        return xc_fail(err, XC_E_UNSUPPORTED, "%s", why);
    }
    status = listen(r, err);
    if (status != XC_OK) xc_ranks_close(&r);
    *out = r;
    return status;
}

/* mpirun ends all once one has ended with an error. That shall be the first rank, after it has said why. */
static void wait_for_the_end(void)
{
    for (int i = 0; i < 600; i++)
        if (nanosleep(&(struct timespec){ .tv_sec = 1 }, NULL)) return; /* a signal */
}

void xc_ranks_close(struct xc_ranks **ranks)
{
    struct xc_ranks *r = *ranks;

    *ranks = NULL;
    if (!r) return;
    for (int i = 0; i < r->n && r->request && !r->failed && !r->lost; i++)
        if (r->request[i]) r->t->cancel(&r->request[i]);
    if (!r->failed && !r->lost) r->t->close();
    else if (r->me && !r->lost) wait_for_the_end();
    if (r->failed || r->lost) return; /* messages may still be under way to it, and the process is about to end */
    xc_free(r->theirs);
    xc_free(r->request);
    xc_free(r->sent);
    xc_free(r);
}

/* What mpirun tells its processes: Open MPI, or one that follows MPICH. */
static int told(const char *open_mpi, const char *mpich, int otherwise)
{
    const char *text = getenv(open_mpi) ? getenv(open_mpi) : getenv(mpich);

    return text ? atoi(text) : otherwise;
}

bool xc_ranks_speaks(const struct xc_ranks *r) { return (r ? r->me : told("OMPI_COMM_WORLD_RANK", "PMI_RANK", 0)) == 0; }

/* The module beside the program, or where it is installed. */
static const struct xc_transport *find_transport(void)
{
    static const char file[] = "xcompress_mpi.so";
    char path[PATH_MAX + sizeof file + 1];
    const ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
    const struct xc_transport *t;
    void *module = NULL;

    if (n > 0) {
        path[n] = '\0';
        *(strrchr(path, '/') + 1) = '\0';
        strcat(path, file);
        if (!access(path, R_OK)) module = dlopen(path, RTLD_NOW | RTLD_GLOBAL); /* global: MPI's own plugins look for its symbols */
    }
    if (!module) module = dlopen(XC_MODULE_DIR "/xcompress_mpi.so", RTLD_NOW | RTLD_GLOBAL);
    t = module ? dlsym(module, XC_TRANSPORT_SYMBOL) : NULL;
    return t && t->version == XC_TRANSPORT_VERSION ? t : NULL;
}

enum xc_status xc_ranks_open(struct xc_ranks **out, struct xc_err *err)
{
    const int n = told("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", 1);
    const struct xc_transport *t;

    *out = NULL;
    if (n <= 1) return XC_OK;
    t = find_transport();
    if (!t) return xc_fail(err, XC_E_UNSUPPORTED, "mpirun started %d processes, but this xcompress has no MPI: build it with Open MPI there (Meson option mpi), or start one process", n);
    return xc_ranks_new(out, t, err);
}

/* ---- errors ---- */
static enum xc_status known(const struct xc_ranks *r, struct xc_err *err)
{
    if (err) *err = r->error;
    return r->error.code;
}

/* An error that another rank has told of? */
static bool heard(struct xc_ranks *r)
{
    for (int i = 0; i < r->n && !r->failed; i++) {
        if (i == r->me || !r->request[i] || r->t->done(&r->request[i]) != 1) continue;
        r->failed = true;
        r->error.code = (enum xc_status)r->theirs[i].code;
        snprintf(r->error.msg, sizeof r->error.msg, "%s", r->theirs[i].msg);
        snprintf(r->error.where, sizeof r->error.where, "rank %d%s%.110s", i, r->theirs[i].where[0] ? ": " : "", r->theirs[i].where);
    }
    return r->failed;
}

enum xc_status xc_ranks_fail(struct xc_ranks *r, enum xc_status status, struct xc_err *err)
{
    if (!r || status == XC_OK || r->failed || r->lost) return status;
    r->failed = true;
    if (err) r->error = *err;
    r->error.code = status;
    r->mine.code = (int32_t)status;
    memcpy(r->mine.msg, r->error.msg, sizeof r->mine.msg);
    memcpy(r->mine.where, r->error.where, sizeof r->mine.where);
    for (int i = 0; i < r->n; i++)
        if (i != r->me) r->sent[i] = r->t->send(&r->mine, sizeof r->mine, i, TAG_ERROR);
    for (int i = 0; i < r->n; i++) /* small: they are on their way at once */
        for (const double end = xc_seconds() + 1; r->sent[i] && !r->t->done(&r->sent[i]) && xc_seconds() < end;) sched_yield();
    return status;
}

/* ---- waiting ---- */
enum xc_status xc_ranks_wait(struct xc_ranks *r, int (*step)(void *arg), void *arg, struct xc_err *err)
{
    double asked = 0;

    for (int64_t turn = 0;; turn++) {
        const int done = step(arg);

        if (done > 0) return XC_OK;
        if (done < 0) {
            r->lost = true;
            return xc_fail(err, XC_E_IO, "MPI could not deliver a message between ranks");
        }
        if (heard(r)) return known(r, err);
        if (turn < 100) continue; /* an answer is mostly near; later the core belongs to who computes */
        nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
        if (!r->progress || !r->progress->cancelled || !r->progress->cancelled(r->progress->arg)) continue;
        if (asked == 0) asked = xc_seconds();
        if (xc_seconds() < asked + PATIENCE) continue;
        r->lost = true;
        return xc_fail(err, XC_E_CANCELLED, "told to stop while waiting for another rank, which may be lost: the last checkpoint, where there is one, can be resumed with any number of ranks");
    }
}

struct requests {
    struct xc_ranks *r;
    void **request;
    int n;
};

static int all_done(void *arg)
{
    const struct requests *q = arg;
    int left = 0;

    for (int i = 0; i < q->n; i++) {
        const int done = q->request[i] ? q->r->t->done(&q->request[i]) : 1;

        if (done < 0) return -1;
        left += !done;
    }
    return !left;
}

static enum xc_status wait_all(struct xc_ranks *r, void **request, int n, struct xc_err *err)
{
    struct requests q = { .r = r, .request = request, .n = n };

    return xc_ranks_wait(r, all_done, &q, err);
}

/* ---- sums of few numbers ---- */
static enum xc_status sum_through(struct xc_ranks *r, double *x, double *all, void **request, int64_t n, struct xc_err *err)
{
    const size_t bytes = (size_t)n * sizeof *x;

    if (r->me) {
        request[0] = r->t->send(x, bytes, 0, TAG_GATHER);
        XC_TRY(wait_all(r, request, 1, err));
        request[0] = r->t->receive(x, bytes, 0, TAG_RESULT);
        return wait_all(r, request, 1, err);
    }
    for (int i = 1; i < r->n; i++) request[i - 1] = r->t->receive(all + (i - 1) * n, bytes, i, TAG_GATHER);
    XC_TRY(wait_all(r, request, r->n - 1, err));
    for (int i = 1; i < r->n; i++)
        for (int64_t k = 0; k < n; k++) x[k] += all[(i - 1) * n + k];
    for (int i = 1; i < r->n; i++) request[i - 1] = r->t->send(x, bytes, i, TAG_RESULT);
    return wait_all(r, request, r->n - 1, err);
}

enum xc_status xc_ranks_sum(struct xc_ranks *r, double *x, int64_t n, struct xc_err *err)
{
    double *all;
    void **request;
    enum xc_status status;

    if (!r || n <= 0) return XC_OK;
    if (r->failed) return known(r, err);
    all = xc_calloc((size_t)(r->n * n), sizeof *all);
    request = xc_calloc((size_t)r->n, sizeof *request);
    status = all && request ? sum_through(r, x, all, request, n, err) : xc_fail_nomem(err, (size_t)(r->n * n) * sizeof *all);
    if (status == XC_OK) {
        xc_free(all);
        xc_free(request);
    } /* else messages may still be under way to them, and the process is about to end */
    return status;
}

enum xc_status xc_ranks_give(struct xc_ranks *r, int from, void *bytes, size_t n, struct xc_err *err)
{
    enum xc_status status = XC_OK;

    if (!r) return XC_OK;
    if (r->failed) return known(r, err);
    for (size_t at = 0; at < n && status == XC_OK; at += PIECE) {
        const size_t size = n - at < PIECE ? n - at : PIECE;
        void **request = xc_calloc((size_t)r->n, sizeof *request);

        if (!request) return xc_fail_nomem(err, (size_t)r->n * sizeof *request);
        for (int i = 0; i < r->n && r->me == from; i++)
            if (i != from) request[i] = r->t->send((char *)bytes + at, size, i, TAG_GIVE);
        if (r->me != from) request[0] = r->t->receive((char *)bytes + at, size, from, TAG_GIVE);
        status = wait_all(r, request, r->n, err);
        if (status == XC_OK) xc_free(request);
    }
    return status;
}

enum xc_status xc_ranks_merge(struct xc_ranks *r, float *x, int64_t n, struct xc_err *err)
{
    double wide[4096];

    for (int64_t at = 0; r && at < n; at += 4096) {
        const int64_t count = xc_min_i64(4096, n - at);

        for (int64_t i = 0; i < count; i++) wide[i] = (double)x[at + i];
        XC_TRY(xc_ranks_sum(r, wide, count, err));
        for (int64_t i = 0; i < count; i++) x[at + i] = (float)wide[i];
    }
    return XC_OK;
}

enum xc_status xc_ranks_agree(struct xc_ranks *r, enum xc_status mine, struct xc_err *err)
{
    double here = 1;

    if (!r) return mine;
    if (mine != XC_OK) return xc_ranks_fail(r, mine, err);
    return xc_ranks_sum(r, &here, 1, err);
}
