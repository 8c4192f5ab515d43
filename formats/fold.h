/* fold: what compression put beside the weights (scale nodes in front of linears) goes back into them, for formats that have no place for
 * it. The model is only read; folded weights are read through sources of their own. */
#ifndef XC_FORMATS_FOLD_H
#define XC_FORMATS_FOLD_H

#include "runtime/graph/graph.h"

struct xc_fold {
    struct xc_tensor **tensor; /* by tensor of the model: what to write; NULL for the scales themselves, which are folded away */
    struct xc_tensor *made;    /* the folded ones */
    bool **skip;               /* by graph and node: a scale that is folded */
    int32_t n_graphs, n_made;
};

/* Scales whose every reader is a linear with a weight of its own are folded; others stay. */
enum xc_status xc_fold_make(struct xc_fold *fold, const struct xc_model *m, struct xc_err *err);
void xc_fold_release(struct xc_fold *fold);

#endif
