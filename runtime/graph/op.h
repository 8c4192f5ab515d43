/* op: what a node does. One const struct per op, listed in ops.def: name, version, attributes, infer, cost, forward.
 *
 * forward is the plain, unfused meaning, on kernels; a session's plan may replace runs of nodes by fused steps that give the same
 * bits. The derivative of an op lives in compress/grad/grad_<op>.c, in a table that only libxcompress links. */
#ifndef XC_RUNTIME_GRAPH_OP_H
#define XC_RUNTIME_GRAPH_OP_H

#include "runtime/base/pool.h"
#include "runtime/graph/graph.h"
#include "runtime/kernels/kernels.h"

/* ---- attributes: plain C structs described by a table, so that files, dumps and passes handle them without knowing the op ---- */
enum xc_attr_type { XC_ATTR_INT /* int32_t */, XC_ATTR_FLOAT /* float */, XC_ATTR_BOOL /* bool */, XC_ATTR_CHOICE /* int32_t index into choices */ };
struct xc_attr_def {
    const char *name;
    enum xc_attr_type type;
    size_t offset;
    double def;                 /* default */
    const char *const *choices; /* XC_ATTR_CHOICE: NULL-terminated names, printed and stored by name */
    double min, max;            /* inclusive; checked on add and on read */
    bool rare;                  /* printed and stored only where it is not the default */
};

/* ---- what infer sees and fills ---- */
struct xc_infer {
    const struct xc_graph *graph; /* infer may look a space up by xc_infer_space */
    const struct xc_node *node;   /* in[], attr are set */
    struct {
        int32_t space, cols;
        enum xc_dtype dtype;
    } out[XC_MAX_OUT];
};
/* The value behind input i, or NULL; the tensor behind input i, or NULL. */
const struct xc_value *xc_infer_value(const struct xc_infer *c, int i);
const struct xc_tensor *xc_infer_tensor(const struct xc_infer *c, int i);

/* Checks that input i is there as a value of a type, or as a tensor; the errors name it as the op does. */
enum xc_status xc_need_value(const struct xc_infer *c, int i, enum xc_dtype dtype, struct xc_err *err);
enum xc_status xc_need_tensor(const struct xc_infer *c, int i, int64_t rows, int64_t cols, struct xc_err *err); /* -1 = any */

/* The space with this map over `base` (or state, or k): the first one declared in the graph. XC_E_FORMAT when there is none: spaces
 * are declared before the nodes that use them. */
enum xc_status xc_infer_space(const struct xc_infer *c, const struct xc_space *like, int32_t *space, struct xc_err *err);

/* ---- what forward sees ---- */
/* Offsets of one space: sequence s has rows start[s] .. start[s+1]-1; n_seq + 1 entries. */
struct xc_ragged {
    const int32_t *start;
    int32_t n_seq;
};

struct xc_view {
    void *data;     /* float or int32_t, rows x cols, contiguous */
    int64_t rows, cols;
    const struct xc_ragged *rag;
};

struct xc_state_store; /* session-owned rows of a state: session/state.h */

struct xc_run; /* owner of scratch, states and pool during a run: graph/run.h */

struct xc_op_ctx {
    const struct xc_graph *graph;
    const struct xc_node *node;
    const void *attr;
    const struct xc_view *in[XC_MAX_IN];        /* values; NULL for tensors, states and absent inputs */
    const struct xc_tensor *tensor[XC_MAX_IN];  /* tensors, bytes present */
    struct xc_view *out[XC_MAX_OUT];            /* data allocated by the run; for SUBSET and STATE spaces see xc_run_resize */
    const struct xc_kernels *kern;
    struct xc_pool *pool;
    struct xc_run *run;
    const void *prepared; /* what a plan made of the tensors ahead (attention.h); NULL = nothing */
};

/* Scratch for the duration of one node: 64-byte aligned, NULL when out of memory; reused from run to run. */
void *xc_run_scratch(struct xc_run *run, size_t bytes);

struct xc_op {
    const char *name;
    int version;
    int min_in, max_in, n_out;
    const struct xc_attr_def *attrs; /* terminated by a NULL name; NULL = none */
    size_t attr_size;
    const char *const *in_names;     /* for dumps and errors: "x", "weight", "bias" */
    enum xc_status (*infer)(struct xc_infer *c, struct xc_err *err);
    void (*cost)(const struct xc_graph *g, const struct xc_node *node, const int64_t *rows, int64_t n_seq, struct xc_cost *cost);
    enum xc_status (*forward)(const struct xc_op_ctx *c, struct xc_err *err);
};

/* Reads and writes an attribute as a number, whatever its type; setting checks the limits. CHOICE is an index. */
double xc_attr_get(const struct xc_attr_def *def, const void *attr);
enum xc_status xc_attr_set(const struct xc_attr_def *def, void *attr, double value, struct xc_err *err);

/* Runs a node's checks and shapes; errors name the node. */
enum xc_status xc_node_infer(struct xc_infer *c, const struct xc_graph *g, const struct xc_node *node, struct xc_err *err);

const struct xc_op *xc_op_find(const char *name); /* NULL */
const struct xc_op *const *xc_op_list(int *n);

/* ---- attribute structs of the ops that passes and the plan look into ---- */
struct xc_attr_norm { float eps; };                     /* layer_norm, rms_norm */
struct xc_attr_unary { int32_t fn; };                   /* enum xc_act */
struct xc_attr_positions { int32_t offset, skip_id;     /* ids = offset + index in sequence; skip_id >= 0: rows whose input id equals it get
                                                           skip_id itself and are not counted (RoBERTa's padding id) */
                           int32_t divide, modulo; };   /* axial positions: the index divided, then its remainder; 0 = as it is */
/* How long a sequence may be for a table of `rows` positions; 0 = such a table does not bound it (the second coordinate of a grid). */
static inline int64_t xc_positions_limit(const struct xc_attr_positions *a, int64_t rows)
{
    if (a->modulo) return 0;
    return a->divide ? (rows - a->offset) * a->divide : rows - a->offset;
}
struct xc_attr_segment { int32_t end_id; bool second; }; /* segment: the token between two texts; which of them */
struct xc_attr_attention {
    int32_t kind;          /* kinds.def: dense, ... */
    int32_t heads, kv_heads; /* kv_heads 0 = heads */
    float scale;           /* 0 = 1/sqrt(head dimension) */
    bool causal;
    bool quantized;        /* int8 attention (kernels.h attn_s8); false = f32 */
    /* of one kind alone; 0 elsewhere */
    int32_t window;        /* longformer: tokens to each side; synthesizer: width of a band to each side, 0 = none */
    int32_t dilation;      /* longformer: of every dilation-th token; 0 = 1 */
    int32_t ramp;          /* longformer with spans: they are soft, over so many tokens; 0 = whole windows */
    int32_t global_first;  /* longformer: tokens at the start of a sequence that are global */
    int32_t slots;         /* linformer: rows that keys and values are mixed to; 0 = all rows of the projection */
    int32_t chunk, before, after;      /* reformer: tokens of a chunk, chunks seen on each side */
    int32_t rounds, buckets, buckets2; /* reformer: hashes; with buckets2 a bucket is a pair */
    int32_t positions, rank, factor;   /* synthesizer: positions that scores reach, rank of a random matrix, first factor of a dense one */
    bool dot;              /* synthesizer: q k^T takes part */
    float eps;             /* adaptive: at most this share of a query's softmax is left out; 0 = nothing, which is dense */
};
enum xc_pool_mode { XC_POOL_MEAN = 0, XC_POOL_FIRST, XC_POOL_LAST, XC_POOL_MAX, XC_POOL_MEAN_SQRT, XC_POOL_COUNT };
struct xc_attr_pool { int32_t mode; };
struct xc_attr_l2 { float eps; };
struct xc_attr_mix { bool quantized; };                /* mix_rows */
struct xc_attr_received { int32_t heads, kv_heads; float scale; int32_t queries; }; /* attention_received: queries asked at most; 0 = all */
struct xc_attr_keep { float threshold; int32_t most; }; /* keep_rows: of a sequence's mean score; rows at most, 0 = all */
struct xc_attr_conv1d { int32_t kernel, stride, pad_left, pad_right, groups; };
struct xc_attr_slice { int32_t first, cols; };

#endif
