/* replay: calibration texts through a model node by node, as far as one wants, batch by batch; and second moments of what is seen there. */
#ifndef XC_COMPRESS_CALIBRATE_REPLAY_H
#define XC_COMPRESS_CALIBRATE_REPLAY_H

#include "compress/calibrate/calibrate.h"
#include "runtime/graph/run.h"

struct xc_replay {
    int32_t *ids, *zeros; /* token ids of all texts; types */
    int32_t *start;       /* n_texts + 1 */
    int64_t *batch;       /* n_batches + 1: texts */
    int64_t n_texts, n_batches, tokens;
    struct xc_pool *pool;
};

/* Tokenizes; load: brings the weights of `model` in (they stay). */
enum xc_status xc_replay_init(struct xc_replay *r, struct xc_model *model, const struct xc_texts *texts, bool load, const struct xc_compress_opts *opts, struct xc_err *err);
void xc_replay_release(struct xc_replay *r);

/* Every how many batches make about that many tokens. */
int64_t xc_replay_step(const struct xc_replay *r, int64_t tokens);

/* Binds batch b to the inputs of g. Values then live until the next begin. */
enum xc_status xc_replay_begin(const struct xc_replay *r, struct xc_run *run, const struct xc_graph *g, int64_t b, struct xc_err *err);

/* Runs nodes first .. last - 1; the outputs of each are made anew. */
enum xc_status xc_replay_nodes(struct xc_run *run, const struct xc_graph *g, int32_t first, int32_t last, struct xc_err *err);

/* Where a walk through the graph stands: for each batch the values that nodes from `node` on still read. So a walk from the first node to the
 * last costs one run, however often it stops. */
struct xc_frontier {
    int32_t node, n;    /* nodes before this one are done; values kept */
    int32_t *value;     /* n */
    void **rows;        /* n a batch; NULL for batches that are left out */
    int64_t first, step; /* every step-th batch takes part, from `first` on (0; with ranks: the rank) */
    const char *folder; /* set after init: values are kept in a file without a name there, and one batch's are in memory; NULL = all are */
    int fd;             /* that file; -1 = none yet */
    int64_t *at;        /* n a batch: where its values begin */
};
enum xc_status xc_frontier_init(struct xc_frontier *f, const struct xc_replay *r, int64_t step, struct xc_err *err);
void xc_frontier_release(struct xc_frontier *f, const struct xc_replay *r);

/* Binds batch b as xc_replay_begin does, and the values kept; then runs the nodes before `to`. */
enum xc_status xc_frontier_run(const struct xc_frontier *f, const struct xc_replay *r, struct xc_run *run, const struct xc_graph *g, int64_t b, int32_t to, struct xc_err *err);

/* Walks all batches on to node `to`. */
enum xc_status xc_frontier_move(struct xc_frontier *f, const struct xc_replay *r, struct xc_run *run, const struct xc_graph *g, int32_t to, struct xc_err *err);

/* out (n,m) += a^T b, a (rows,n), b (rows,m); `upper`: only tiles that touch the upper triangle, for a == b. OpenBLAS with one thread; tiles
 * that do not depend on the number of threads of the pool. */
void xc_moments_add(float *out, const float *a, const float *b, int64_t rows, int64_t n, int64_t m, bool upper, struct xc_pool *pool);
/* The same of every step-th tile, from tile `first` on. */
void xc_moments_add_some(float *out, const float *a, const float *b, int64_t rows, int64_t n, int64_t m, bool upper, int first, int step, struct xc_pool *pool);
/* h (n,n): the upper triangle goes to the lower one, too. */
void xc_moments_mirror(float *h, int64_t n);

#endif
