/* attention: the derivative of one attention kind: compress/grad/grad_attention_<kind>.c, a line in attention.c. */
#ifndef XC_COMPRESS_GRAD_GRAD_ATTENTION_H
#define XC_COMPRESS_GRAD_GRAD_ATTENTION_H

#include "compress/grad/grad.h"
#include "runtime/graph/attention/attention.h"

struct xc_grad_attention {
    const char *kind;
    enum xc_status (*backward)(const struct xc_grad_ctx *c, struct xc_err *err);
    enum xc_status (*forward_dropped)(const struct xc_op_ctx *c, const struct xc_dropout_probs *drop, struct xc_err *err);
    int64_t (*decisions)(const struct xc_node *node); /* grad.h */
};

#endif
