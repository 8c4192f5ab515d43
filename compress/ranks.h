/* ranks: processes that mpirun started to do one piece of work together, and what they say to each other. NULL is a valid set of one.
 *
 * The work is cut by what it is made of (the batches of an update, of a calibration), never by how many ranks there are: sums over ranks are taken
 * in an order of their own (train/gradient_sum.h), or of numbers that one rank alone has, so any number of ranks gives the same bytes.
 * Rank 0 writes files and messages. An error on any rank is told to all others, who find it wherever they wait, and ends all with one message.
 *
 * Messages go through a transport, the module of cli/ranks_mpi.c, which is loaded when mpirun is there: no library of ours links MPI. */
#ifndef XC_COMPRESS_RANKS_H
#define XC_COMPRESS_RANKS_H

#include "runtime/base/base.h"
#include "xcompress/progress.h"

/* What MPI does for us. Messages between two ranks with one tag arrive in order. */
#define XC_TRANSPORT_SYMBOL "xc_transport"
struct xc_transport {
    int version; /* XC_TRANSPORT_VERSION */
    const char *(*open)(int *rank, int *n); /* NULL = well; else why not */
    void *(*send)(const void *bytes, size_t n, int to, int tag); /* a request. The bytes stay until it is done */
    void *(*receive)(void *bytes, size_t n, int from, int tag);
    int (*done)(void **request); /* 1: it is, and gone (*request NULL); 0: not yet; -1: failed. NULL counts as done */
    void (*cancel)(void **request);
    void (*close)(void);         /* returns when all ranks have come so far */
};
enum { XC_TRANSPORT_VERSION = 1, XC_RANKS_TAG = 16 /* and above: for the caller */ };

struct xc_ranks;

/* The ranks that this process was started with; NULL when it was started alone. XC_E_UNSUPPORTED where mpirun started several and MPI is missing. */
enum xc_status xc_ranks_open(struct xc_ranks **out, struct xc_err *err);
/* The same on a transport that is there already (tests). */
enum xc_status xc_ranks_new(struct xc_ranks **out, const struct xc_transport *transport, struct xc_err *err);
void xc_ranks_close(struct xc_ranks **ranks);

/* Of several processes that were started together, the one that writes messages; asked even where ranks could not be opened. */
bool xc_ranks_speaks(const struct xc_ranks *r);

int xc_ranks_me(const struct xc_ranks *r); /* 0 for NULL */
int xc_ranks_n(const struct xc_ranks *r);  /* 1 for NULL */

/* Items first .. last - 1 of n are this rank's. */
void xc_ranks_share(const struct xc_ranks *r, int rank, int64_t n, int64_t *first, int64_t *last);

/* Whom to ask, while waiting, whether to stop. */
void xc_ranks_watch(struct xc_ranks *r, const struct xc_progress *progress);

/* x[i] becomes the sum over all ranks, added in their order. A call of all ranks. */
enum xc_status xc_ranks_sum(struct xc_ranks *r, double *x, int64_t n, struct xc_err *err);

/* n bytes of rank `from` are here too, afterwards. A call of all ranks. */
enum xc_status xc_ranks_give(struct xc_ranks *r, int from, void *bytes, size_t n, struct xc_err *err);

/* The same as xc_ranks_sum for f32 numbers of which one rank alone has each: the others have zeros. */
enum xc_status xc_ranks_merge(struct xc_ranks *r, float *x, int64_t n, struct xc_err *err);

/* Tells the others of this rank's failure, so that they stop too; returns status. Once an error is known everywhere, calls do nothing but return it. */
enum xc_status xc_ranks_fail(struct xc_ranks *r, enum xc_status status, struct xc_err *err);

/* All ranks are here and well; else the error of one that is not. mine: this rank's own. A call of all ranks. */
enum xc_status xc_ranks_agree(struct xc_ranks *r, enum xc_status mine, struct xc_err *err);

/* ---- for sums that are made in the background ---- */
const struct xc_transport *xc_ranks_transport(const struct xc_ranks *r);
/* Waits until step(arg) says that nothing is left (1), or fails (-1). Meanwhile errors of others, and lost ranks, are seen. */
enum xc_status xc_ranks_wait(struct xc_ranks *r, int (*step)(void *arg), void *arg, struct xc_err *err);

#endif
