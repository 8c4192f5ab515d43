/* head: what a model is trained with: the head it has, where that fits the task, or a new one on its encoder. */
#ifndef XC_COMPRESS_TRAIN_HEAD_H
#define XC_COMPRESS_TRAIN_HEAD_H

#include "runtime/graph/graph.h"

/* How a sequence becomes one row for a new head: as the model pools (else [CLS]); mean, first ([CLS]), max; or [CLS] through BERT's pooler
 * (dense, tanh), taken from the checkpoint where it has one. */
enum xc_head_pooling { XC_HEAD_AUTO = 0, XC_HEAD_MEAN, XC_HEAD_FIRST, XC_HEAD_MAX, XC_HEAD_POOLER };
extern const char *const xc_head_poolings[]; /* their names, NULL-terminated */

struct xc_head_opts {
    const char *task;          /* "classify", "regress", "tag", "answer", "choice", "embed", "mlm" */
    const char *const *labels; /* classify, tag: the names of the classes, in order */
    int32_t n_labels;
    enum xc_head_pooling pooling;
    uint64_t seed;             /* of new weights: normal with deviation 0.02, as BERT; biases 0 */
};

/* Loads path with a head for the task. *is_new: the head's weights are new; false: the model's own are trained on. A classifier is kept when
 * it has every label, by name or by number. */
enum xc_status xc_head_load(struct xc_model **out, const char *path, const struct xc_head_opts *opts, bool *is_new, struct xc_err *err);

#endif
