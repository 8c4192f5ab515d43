/* run: what one execution of a graph needs: row offsets of every space, values, scratch, states. The unfused executor lives here
 * (xc_run_graph), the meaning against which session plans are checked; session/ executes the same nodes fused.
 *
 * A run object belongs to one thread at a time. Memory is kept from run to run: nothing is allocated once the largest batch has
 * been seen. */
#ifndef XC_RUNTIME_GRAPH_RUN_H
#define XC_RUNTIME_GRAPH_RUN_H

#include "runtime/graph/op.h"

/* A bump allocator over a chain of blocks that is kept: a run whose requests are, one by one, no larger than those of an earlier run
 * finds room for all of them in the chain and allocates nothing. (Block by block, its next-fit position is never ahead of the
 * earlier run's.) */
struct xc_scratch_block;
struct xc_scratch {
    struct xc_scratch_block *first, *at; /* the chain; the block being filled, NULL before the first */
    size_t used;  /* bytes of *at handed out */
    size_t total; /* bytes of all blocks */
};
void *xc_scratch_alloc(struct xc_scratch *s, size_t bytes); /* XC_ALIGN-aligned; NULL when out of memory */
enum xc_status xc_scratch_reset(struct xc_scratch *s, struct xc_err *err); /* everything handed out is gone, its memory is kept */
void xc_scratch_release(struct xc_scratch *s);
/* Marks and rewinds, for scratch that lives for one node. */
struct xc_scratch_mark { struct xc_scratch_block *at; size_t used; };
struct xc_scratch_mark xc_scratch_save(const struct xc_scratch *s);
void xc_scratch_restore(struct xc_scratch *s, struct xc_scratch_mark mark);

/* The rows of one state, per sequence, kept between runs of a session. Rows of all sequences are stored sequence by sequence in
 * growable per-sequence blocks; a node sees a contiguous copy. */
struct xc_state_store {
    const struct xc_state *decl;
    struct xc_state_seq { void *rows; int64_t n, cap, before; } *seq; /* before: rows held when the run began */
    int32_t n_seq, cap_seq;
};

enum xc_status xc_state_sequences(struct xc_state_store *st, int32_t n_seq, struct xc_err *err); /* at least n_seq; new ones are empty */
enum xc_status xc_state_room(struct xc_state_store *st, int32_t seq, int64_t rows, struct xc_err *err);

struct xc_run {
    const struct xc_model *model;
    const struct xc_kernels *kern;
    struct xc_pool *pool;
    struct xc_scratch node;   /* xc_run_scratch: reset after each node */
    struct xc_scratch values; /* value buffers: reset at the start of each run */
    struct xc_state_store *states; /* model->n_states */
    struct xc_ragged *spaces;      /* of the graph being run */
    struct xc_view *views;         /* of the graph being run, by value id */
    int32_t *start;                /* the offsets of all spaces, back to back */
    size_t cap_spaces, cap_views, cap_start;
    bool bf16; /* products of f32 weights have operands rounded to bf16 (gemm_bf16): training */
    const void *prepared; /* for the next node: xc_op_ctx.prepared */
    /* Runs a node instead of its op's forward; NULL = that. */
    enum xc_status (*instead)(void *arg, const struct xc_op_ctx *c, struct xc_err *err);
    void *instead_arg;
    /* For the next node, in training: what it decides by comparing, as many numbers a row as its derivative says (compress/grad/grad.h). It writes them,
     * or, decided before, goes by them. NULL = nobody asks. */
    uint16_t *decided;
    bool decided_before;
    /* Seen after each node of xc_run_graph and xc_run_node: calibration, debugging. May be NULL. */
    void (*observe)(void *arg, const struct xc_op_ctx *c);
    void *observe_arg;
    /* The model is larger than memory: weights that are absent are brought in for one node and let go again, mapped ones are let go, and
     * values are freed after their last use. Set before the first run, xc_run_graph only. */
    bool lazy;
    void **lazy_values; /* by value id of the graph run last */
    int32_t n_lazy_values;
};

/* pool NULL = the calling thread alone; kern NULL = xc_kernels(). The model must outlive the run. */
enum xc_status xc_run_new(struct xc_run **out, const struct xc_model *model, const struct xc_kernels *kern, struct xc_pool *pool,
                          struct xc_err *err);
void xc_run_free(struct xc_run **run);
void xc_run_clear_states(struct xc_run *run);

/* Computes run->spaces and sets run->views (rows, cols, rag; data NULL) for `graph` from the offsets of its input spaces (spaces with
 * XC_MAP_INPUT, in order of their ids), which all have n_seq sequences. Every sequence may be empty; a strided space keeps an empty
 * sequence empty, whatever its padding. XC_E_RANGE when rows pass INT32_MAX. */
enum xc_status xc_run_offsets(struct xc_run *run, const struct xc_graph *graph, const struct xc_ragged *inputs, int32_t n_inputs,
                              struct xc_err *err);

/* What every executor does first: scratch is reset, offsets follow, views are sized, the inputs checked and bound. */
enum xc_status xc_run_begin(struct xc_run *run, const struct xc_graph *graph, const struct xc_view *in, const struct xc_ragged *spaces, int32_t n_spaces,
                            struct xc_err *err);

/* Runs all nodes, one after the other. `in` are the graph's inputs in order (data, rows, cols; rag is filled here), `spaces` the
 * offsets of its input spaces. On return out[i] views output i; valid until the next run. Ids out of range are errors that
 * name the node, the row and the id. */
enum xc_status xc_run_graph(struct xc_run *run, const struct xc_graph *graph, const struct xc_view *in, const struct xc_ragged *spaces,
                            int32_t n_spaces, struct xc_view *out, struct xc_err *err);

/* For ops whose rows are known only at run time (XC_MAP_SUBSET): the space's offsets become start[0..n_seq], at most what they were,
 * and those of the spaces that follow from it are computed again. Call it before anything reads the op's outputs. */
enum xc_status xc_run_resize(struct xc_run *run, const struct xc_graph *graph, int32_t space, const int32_t *start, struct xc_err *err);

/* Runs one node on run->views (inputs bound; outputs are allocated by this call where data is NULL): what a plan uses for nodes it does not fuse. */
enum xc_status xc_run_node(struct xc_run *run, const struct xc_graph *graph, const struct xc_node *node, struct xc_err *err);

#endif
