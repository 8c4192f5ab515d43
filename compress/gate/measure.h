/* measure: how long a model takes and how much memory it needs, on this machine, now.
 *
 * Latency: wall time of one run on token ids, several models in turn in one loop, so that what disturbs one disturbs all. Start and
 * memory: a fresh process each time, since a process that has done other things says nothing about either. */
#ifndef XC_COMPRESS_GATE_MEASURE_H
#define XC_COMPRESS_GATE_MEASURE_H

#include "runtime/session/session.h"
#include "xcompress/progress.h"

struct xc_latency {
    double median, p5, p95;  /* ms */
    double lo, hi;           /* 95 % interval of the median, from order statistics */
    int32_t runs;
};

struct xc_latency_opts {
    int32_t tokens, batch;
    int32_t runs;            /* 0 = until 1.5 seconds a model have passed, but 10 at least and 1000 at most */
    const struct xc_progress *progress; /* cancellation alone */
};

/* n sessions, measured in turn; out has n entries. */
enum xc_status xc_measure_latency(struct xc_latency *out, struct xc_session *const *sessions, int n, const struct xc_latency_opts *opts, struct xc_err *err);

/* What a fresh process says: see xc_measure_child. */
struct xc_process {
    double start_ms;  /* from before the process was made to its first answer */
    double open_ms;   /* of which: opening the model and a session */
    double peak_rss;  /* bytes, at its end */
};

/* Runs argv (argv[0] is a path) and reads what xc_measure_child writes to its stdout. */
enum xc_status xc_measure_process(struct xc_process *out, char *const argv[], struct xc_err *err);

/* The other side: opens the model, answers one short text, says so on fd, runs `batch` sequences of `tokens`, says its numbers. */
enum xc_status xc_measure_child(int fd, const char *model, int threads, int32_t tokens, int32_t batch, struct xc_err *err);

/* Peak resident bytes of this process; 0 where the system does not say. */
double xc_peak_rss(void);

/* Ids for a run of batch x tokens: in the vocabulary, the same every time. ids batch * tokens, start batch + 1; freed with xc_free. */
enum xc_status xc_measure_ids(int32_t **ids, int64_t **start, const struct xc_model_info *info, int32_t tokens, int32_t batch, struct xc_err *err);

#endif
