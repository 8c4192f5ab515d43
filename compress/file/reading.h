/* reading: rows of a tensor for work items of a pool: each thread reads what it treats, so that one waits for the disk while the other computes, and
 * a large tensor never lies in memory as a whole. */
#ifndef XC_COMPRESS_FILE_READING_H
#define XC_COMPRESS_FILE_READING_H

#include "runtime/graph/tensor.h"

struct xc_reading {
    float *rows;      /* a slab a thread */
    int64_t most;     /* numbers of a slab */
    struct xc_read_fault *fault; /* a thread: the first item it could not read */
    int threads;
};

enum xc_status xc_reading_init(struct xc_reading *r, int threads, int64_t most, struct xc_err *err);
void xc_reading_release(struct xc_reading *r);

/* Rows [row,row+n) as f32, until the thread's next call; NULL when they cannot be read: `item` failed. */
const float *xc_reading_rows(struct xc_reading *r, const struct xc_tensor *t, int64_t row, int64_t n, int64_t item, int thread);

/* After a round of items: what the first one of them that failed says, for any number of threads. */
enum xc_status xc_reading_status(const struct xc_reading *r, struct xc_err *err);

#endif
