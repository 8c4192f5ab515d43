/* steps: what a plan is made of; shared by plan.c (building) and steps.c (running).
 *
 * A step does one fused piece of work. Row-local steps (gather, linear, norm, ...) on one row space form a segment; a segment runs
 * block of rows by block of rows, all its steps on one block before the next, on one thread, so that what passes between its steps
 * stays in cache and no barrier is needed. With few rows and several threads a segment runs step by step instead, its linears
 * split over outputs. Other steps (attention, pooling, whatever is not fused) stand alone and share out their own work. */
#ifndef XC_RUNTIME_SESSION_STEPS_H
#define XC_RUNTIME_SESSION_STEPS_H

#include "runtime/session/plan.h"

struct step;
struct block;

struct step_type {
    const char *name;
    bool local;
    /* Row-local: runs the block's rows. */
    void (*rows)(const struct step *s, struct block *b);
    /* Stand-alone. */
    enum xc_status (*whole)(const struct step *s, const struct xc_plan *p, struct xc_run *run, struct xc_err *err);
};
extern const struct step_type step_gather, step_linear, step_norm, step_quantize, step_unary, step_add, step_mul, step_l2, step_scale;
extern const struct step_type step_attention, step_pool, step_node;

/* An int8 copy of a value, alive inside one segment only. */
struct qvalue {
    int32_t value;
    int32_t cols, ld;     /* ld: bytes a row, a multiple of 64 */
    float static_scale;   /* 0 = dynamic per row */
    bool affine;          /* rows by quantize_rows_affine */
    int32_t segment;
    int32_t first, last;  /* steps */
    size_t offset;        /* of the q rows in the block's memory, in bytes per row; scales and sums follow */
};

struct step {
    const struct step_type *type;
    const struct xc_node *node;
    int32_t space;
    int32_t in[4];        /* value ids; -1 = absent. norm: x, residual. linear: x. attention: q, k, v, bias */
    int32_t out;          /* value id */
    int32_t q_in, q_out;  /* qvalues; -1 = none */
    bool accumulate;      /* gather: add to out */
    enum xc_act act;
    struct xc_table table;
    /* linear */
    bool int8, sum16;     /* int8: the input is quantized */
    int64_t group;        /* > 0: weights in groups, as gemm_s4 takes them */
    bool group_bytes;
    float group_unit;
    const uint16_t *group_scale;
    const float *group_w_sum; /* (N padded to 16) where the input is affine */
    const uint8_t *group_zero;
    const void *w;        /* panel16 */
    xc_gemm_s8_fn *gemm_s8; /* int8: of the weight's structure */
    const void *w_index;
    const float *w_scale, *bias;
    const int32_t *w_sum; /* (N padded to 16) where the input is affine */
    int64_t N, K;
    /* norm */
    const float *gain;    /* norm's gain, scale's factors; quantize: NULL, or factors that go with it */
    const float *q_gain;  /* norm with q_out: NULL, or factors of what is quantized */
    float eps;
    bool rms;
    const void *prepared; /* node: what its attention kind made of its tensors */
};

struct segment {
    int32_t first, n;     /* steps */
    int32_t space;
    bool local;
    size_t row_bytes;     /* block memory per row for values and qvalues that live inside */
};

enum place { PLACE_NONE, PLACE_INPUT, PLACE_GLOBAL, PLACE_LOCAL, PLACE_NODE };
struct storage {
    int32_t root;         /* value whose storage this value shares (itself, mostly) */
    enum place place;
    int32_t slot;         /* PLACE_GLOBAL */
    size_t offset;        /* PLACE_LOCAL: bytes per row before it in the block's memory */
};

struct slot {
    int32_t space;
    int64_t cols;
    int32_t last;         /* segment after which it is free; building only */
};

struct xc_plan {
    const struct xc_graph *graph;
    const struct xc_kernels *kern;
    struct step *steps;
    struct segment *segments;
    struct qvalue *qvalues;
    struct storage *storage; /* by value id */
    struct slot *slots;
    void **owned;            /* packed weights */
    size_t n_steps, cap_steps, n_segments, cap_segments, n_qvalues, cap_qvalues, n_slots, cap_slots, n_owned, cap_owned;
};

/* One block of rows of a segment at work on one thread. */
struct block {
    const struct xc_plan *plan;
    const struct xc_view *views;
    uint8_t *memory;      /* row_bytes x rows_cap, 64-byte aligned */
    int64_t row0, rows, rows_cap;
    int *bad_id;          /* set when a gather meets an id outside its table */
};

/* Building a plan. value: what the step makes, -1 = no value of the graph. */
enum xc_status new_step(struct xc_plan *p, struct step **out, const struct step_type *type, const struct xc_node *node, int32_t value, struct xc_err *err);
enum xc_status add_quantized(struct xc_plan *p, struct xc_err *err); /* cuts segments; quantized copies for int8 linears */
void fold_scales(struct xc_plan *p);                                 /* scale nodes become factors of the quantization behind them */

/* Input i of a node when it is a value; -1 else. */
static inline int32_t value_in(const struct xc_node *n, int i) { return i < n->n_in && n->in[i].kind == XC_REF_VALUE ? n->in[i].id : -1; }

size_t local_row_bytes(int64_t cols); /* of a value in a block's memory */
float *block_value(const struct block *b, int32_t value);
enum xc_status run_segment(const struct xc_plan *p, const struct segment *seg, struct xc_run *run, struct xc_err *err);

#endif
