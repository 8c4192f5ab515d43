/* tape_state: what a tape is made of, between tape.c, which runs it, and tape_plan.c, which plans it. */
#ifndef XC_COMPRESS_GRAD_TAPE_STATE_H
#define XC_COMPRESS_GRAD_TAPE_STATE_H

#include "compress/grad/dropout.h"
#include "compress/grad/tape.h"

struct xc_tape_slot {
    int32_t space, cols;
    bool taken; /* while planning */
    float *data;
};

struct xc_tape {
    struct xc_graph *g;
    struct xc_run *run;
    const struct xc_grad **grad; /* per node; NULL = no gradient passes */
    float **d_tensor;            /* per tensor */
    bool *trained;               /* per tensor */
    bool *wants;                 /* per value: its gradient is needed */
    int32_t *slot_of;            /* per value; -1 = none, or the caller's buffer */
    float **d_value;             /* per value, while backward runs; NULL = nothing has arrived yet */
    double *drop;                /* per value: probability */
    uint8_t **mask;              /* per value, of the segment at hand */
    bool *watched;               /* per value */
    xc_tape_watch_fn *watch;     /* NULL = nobody */
    void *watch_arg;
    xc_tape_passed_fn *passed;   /* NULL = nobody */
    void *passed_arg;
    struct xc_tape_slot *slots;
    int32_t n_slots;
    size_t cap_slots;
    struct xc_scratch memory;    /* slots of the last backward */
    struct xc_scratch masks;
    double drop_attention;
    struct xc_dropout_probs *probs; /* per node, of the last forward; p 0 = plain */
    /* recomputation: segment s is the nodes cut[s] .. cut[s+1] - 1; one segment: everything is kept */
    int32_t *cut, n_segments;
    bool *kept;                  /* per value: it crosses the end of its segment */
    struct xc_scratch inner;     /* values of the segment at hand that do not */
    /* reversible segments: the last node is o = x + y, where nothing of the segment but this sum reads x, and nothing after it: o has the memory of x, and x comes back as o - y */
    bool reverse;
    int32_t *recovered, n_recovered; /* per segment: x; -1 = none */
    int32_t *home;               /* per value: whose memory it has; itself, mostly */
    uint16_t **decided;          /* per node: what its forward decided (grad.h); NULL = nothing that is kept */
    struct xc_scratch decisions;
    bool inputs, straight_through;
    bool drops;                  /* of the last forward: with dropout; its seed and step */
    uint64_t seed, step;
};

/* Which values want a gradient, where each gradient lives, segments and what of them is kept; memory for a batch of opts->rows. */
enum xc_status xc_tape_plan(struct xc_tape *t, const struct xc_tape_opts *opts, struct xc_err *err);

/* Which segments are reversible: again after a value that such a segment ends with is to be dropped. */
void xc_tape_plan_reversible(struct xc_tape *t);

static inline bool xc_tape_is_output(const struct xc_graph *g, int32_t value)
{
    for (int32_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == value) return true;
    return false;
}

#endif
