/* each_attention: what the passes that change attention node by node share: the walk over the nodes that the pass is to treat, and the error of a node that it cannot. */
#ifndef XC_COMPRESS_ATTENTION_EACH_ATTENTION_H
#define XC_COMPRESS_ATTENTION_EACH_ATTENTION_H

#include "compress/pass.h"

struct xc_each_attention {
    /* Why the pass cannot treat this node; NULL = it can. A node that is named itself (not by the kind "attention") fails then, others are left. */
    const char *(*objection)(const struct xc_prepare *p, const struct xc_graph *g, const struct xc_node *node);
    enum xc_status (*treat)(const struct xc_prepare *p, struct xc_graph *g, struct xc_node *node, struct xc_err *err);
    const char *none; /* what the error says when nothing was treated */
};

enum xc_status xc_each_attention(const struct xc_prepare *p, const struct xc_each_attention *each, struct xc_err *err);

#endif
