/* checkpoint: the state of a training that was cut short, so that it goes on to the same bits. One file, replaced as a whole
 * (runtime/base/atomic_file.h), with a checksum; it fits one training alone: model, data and options are in its fingerprint. */
#ifndef XC_COMPRESS_TRAIN_CHECKPOINT_H
#define XC_COMPRESS_TRAIN_CHECKPOINT_H

#include "compress/train/optimizer.h"

struct xc_train_state {
    int64_t step;           /* steps done */
    int64_t epoch, batch;   /* the next batch */
    int64_t tokens, rows;
    int64_t evals, bad_evals, best_step;
    double best;            /* metric at best_step; NaN = none yet */
};

/* best: weights at best_step (params->total numbers); NULL = not kept. */
enum xc_status xc_checkpoint_write(const char *path, uint64_t fingerprint, const struct xc_train_state *state, struct xc_params *params, const float *best, struct xc_err *err);

/* XC_E_NOT_FOUND: no such file; XC_E_MISMATCH: of another training. */
enum xc_status xc_checkpoint_read(const char *path, uint64_t fingerprint, struct xc_train_state *state, struct xc_params *params, float *best, struct xc_err *err);

#endif
