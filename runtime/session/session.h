/* session: a model ready to run: plan, tokenizer, buffers. The public face is include/xcompress/runtime.h; this header is for the
 * toolkit, which makes sessions on models that are not in a file yet. */
#ifndef XC_RUNTIME_SESSION_SESSION_H
#define XC_RUNTIME_SESSION_SESSION_H

#include "runtime/graph/run.h"
#include "runtime/text/tokenizer.h"
#include "xcompress/runtime.h"

struct xc_session {
    struct xc_model *model; /* borrowed */
    struct xc_graph *graph;
    struct xc_tokenizer *tokenizer; /* NULL when the model has none */
    struct xc_run *run;
    struct xc_plan *plan;   /* NULL in plain mode */
    struct xc_tokens tokens;
    int64_t n_texts;        /* in the last run_texts, run_pairs or run_words */
    int64_t *start;         /* offsets of the last texts, n_texts + 1 */
    int32_t *offsets;       /* the same as the graph wants them */
    int32_t *types;
    size_t cap_start, cap_offsets, cap_types;
    struct xc_ragged ragged;
    struct xc_model_info info;
    int32_t max_tokens;
};

#endif
