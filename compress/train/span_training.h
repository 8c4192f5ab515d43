/* span_training: training with spans of attention (runtime/graph/attention/longformer_span.h; Sukhbaatar et al. 2019, arXiv:1905.07799, section 2): each head's share of the window is
 * a number that is trained, with a penalty on the mean of all, and stays between 0 and 1. */
#ifndef XC_COMPRESS_TRAIN_SPAN_TRAINING_H
#define XC_COMPRESS_TRAIN_SPAN_TRAINING_H

#include "compress/train/optimizer.h"

struct xc_spans {
    int32_t *param;  /* (n) of the trained tensors, those of soft spans */
    int32_t n;
    int64_t heads;   /* of all of them */
    float penalty;   /* added to the loss, times the mean span as a share of the window */
};

/* Finds them; their learning rate is `rate` times that of weights, and they do not decay. A penalty that finds none is an error. */
enum xc_status xc_spans_init(struct xc_spans *s, struct xc_params *params, const struct xc_graph *g, double penalty, double rate, struct xc_err *err);
void xc_spans_release(struct xc_spans *s);

/* The gradients of an update are complete: those of the penalty join them. The update is made: spans outside 0 to 1 come back. */
void xc_spans_gradients(const struct xc_spans *s, struct xc_params *params);
void xc_spans_weights(const struct xc_spans *s, struct xc_params *params);

/* The mean span of all heads in tokens, of a graph with soft spans; -1 without. */
double xc_spans_mean(const struct xc_graph *g);

#endif
