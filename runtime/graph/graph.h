/* graph: the IR that passes rewrite, training differentiates and sessions run.
 *
 * A model is a set of named graphs (encode, prefill, decode_step, a head each) over one pool of tensors. A graph is a list of
 * nodes in execution order. A value is rows x cols and names its row space; shapes are symbolic in the row counts, so one graph
 * serves every batch. There is no padding and no padding mask.
 *
 * Row spaces. A run brings a ragged descriptor (offsets per sequence) for each input space; every other space's offsets follow
 * from its map: one row per sequence (pooling), a strided window (convolution), k rows per sequence (Linformer), a subset known
 * only at run time (token pruning), the rows a state holds (KV cache). All spaces of a run have the same number of sequences.
 *
 * State (KV caches, LSH buckets, positions) is declared here and owned by the session.
 *
 * Ops are const structs in a table (op.h). Passes and differentiation see these unfused ops; fusion is the runtime's plan.
 *
 * Names live in the model's arena, lists on the heap; names are unique within their kind. */
#ifndef XC_RUNTIME_GRAPH_GRAPH_H
#define XC_RUNTIME_GRAPH_GRAPH_H

#include <stdio.h>

#include "runtime/base/arena.h"
#include "runtime/graph/tensor.h"

struct xc_op;

/* ---- row spaces ---- */
enum xc_map {
    XC_MAP_INPUT = 0, /* the caller brings the offsets: tokens, source tokens, frames, patches */
    XC_MAP_SEQUENCE,  /* one row per sequence */
    XC_MAP_STRIDED,   /* n -> (n + pad_left + pad_right - kernel) / stride + 1, from base */
    XC_MAP_FIXED,     /* k rows per sequence */
    XC_MAP_SUBSET,    /* at most n, known at run time, from base */
    XC_MAP_STATE,     /* the rows that state `state` holds after this run's append */
    XC_MAP_COUNT
};

struct xc_space {
    const char *name;
    enum xc_map map;
    int32_t base;  /* space it is derived from; -1 for INPUT, SEQUENCE, FIXED */
    int32_t state; /* XC_MAP_STATE */
    int32_t kernel, stride, pad_left, pad_right; /* XC_MAP_STRIDED */
    int32_t k;     /* XC_MAP_FIXED */
};

/* ---- values ---- */
enum xc_dtype { XC_DTYPE_F32 = 0, XC_DTYPE_I32, XC_DTYPE_COUNT };

struct xc_value {
    const char *name;
    int32_t space;
    int32_t cols;  /* features */
    enum xc_dtype dtype;
    int32_t node;  /* producer; -1 for a graph input */
};

/* ---- nodes ---- */
enum xc_ref_kind { XC_REF_NONE = 0, XC_REF_VALUE, XC_REF_TENSOR, XC_REF_STATE };

/* The range of an activation as its consumer takes it: an attribute of the input, not a node. */
enum xc_range_mode { XC_RANGE_NONE = 0 /* f32 */, XC_RANGE_ROW /* int8, dynamic per row */, XC_RANGE_STATIC /* int8, one scale */,
                     XC_RANGE_AFFINE /* int8, dynamic per row between its least and greatest number: kernels.h, quantize_rows_affine */ };
struct xc_range {
    enum xc_range_mode mode;
    float scale; /* XC_RANGE_STATIC: real = scale * int8 */
};

struct xc_ref {
    enum xc_ref_kind kind;
    int32_t id; /* value of this graph, tensor of the model, state of the model */
    struct xc_range range;
};

#define XC_MAX_IN 12
#define XC_MAX_OUT 3

struct xc_node {
    const char *name;        /* stable across passes: "encoder.layer.0.attention.self.query" */
    const struct xc_op *op;
    int32_t n_in, n_out;
    struct xc_ref in[XC_MAX_IN]; /* kind NONE = an absent optional input */
    int32_t out[XC_MAX_OUT];     /* value ids */
    void *attr;                  /* op->attr_size bytes, laid out by op->attrs; zeroed defaults filled in */
};

struct xc_graph {
    const char *name;
    struct xc_model *model;
    struct xc_space *spaces;
    struct xc_value *values;
    struct xc_node *nodes; /* in execution order */
    int32_t *inputs;       /* value ids, in the order a run gives them */
    int32_t *outputs;      /* value ids, in the order a run returns them */
    int32_t n_spaces, n_values, n_nodes, n_inputs, n_outputs;
    int32_t cap_spaces, cap_values, cap_nodes, cap_inputs, cap_outputs;
};

/* ---- state ---- */
struct xc_state {
    const char *name;
    int32_t cols;
    enum xc_dtype dtype;
    bool append; /* rows are appended (KV cache); false: replaced by each write (encoder output) */
};

/* ---- model ---- */
/* Facts about the model that are not computation: "architecture", "family", "pooling", "max_tokens", "hidden_act" ... Strings. */
struct xc_meta {
    const char *key, *value;
};

struct xc_model {
    struct xc_arena arena;
    struct xc_tensor **tensors; /* pointers stay valid as the pool grows */
    struct xc_graph **graphs;
    struct xc_state *states;
    struct xc_meta *meta;
    const char **labels;        /* class names by index */
    int32_t n_tensors, n_graphs, n_states, n_meta, n_labels;
    int32_t cap_tensors, cap_graphs, cap_states, cap_meta, cap_labels;
    struct xc_buf *tokenizer;   /* compiled section, or NULL */
    struct xc_buf *manifest;    /* JSON text, or NULL */
    struct xc_buf *golden;      /* golden samples (session/golden.h), or NULL */
    bool bulk; /* while a reader builds: duplicate names are left to xc_model_verify, which finds them in linear time */
};

/* Names are UTF-8 of 1 to XC_MAX_NAME bytes without control characters: they are printed, compared and put into messages. */
#define XC_MAX_NAME 255
bool xc_name_ok(const char *name); /* NULL is not */
bool xc_utf8_ok(const char *s, size_t n); /* without a NUL inside */

enum xc_status xc_model_new(struct xc_model **out, struct xc_err *err);
XC_API void xc_model_free(struct xc_model **model); /* in runtime.h too: exported */

/* A deep copy of graphs, meta, states; tensor bytes are shared by reference. Passes work on copies. */
enum xc_status xc_model_clone(struct xc_model **out, const struct xc_model *model, struct xc_err *err);

enum xc_status xc_model_add_tensor(struct xc_model *m, int32_t *id, const char *name, int32_t rank, const int64_t *dim, struct xc_err *err);
int32_t xc_model_find_tensor(const struct xc_model *m, const char *name); /* -1 */
enum xc_status xc_model_add_state(struct xc_model *m, int32_t *id, const char *name, int32_t cols, enum xc_dtype dtype, bool append,
                                  struct xc_err *err);
enum xc_status xc_model_set_meta(struct xc_model *m, const char *key, const char *value, struct xc_err *err);
const char *xc_model_meta(const struct xc_model *m, const char *key); /* NULL */
enum xc_status xc_model_add_label(struct xc_model *m, const char *label, struct xc_err *err);
enum xc_status xc_model_add_graph(struct xc_model *m, struct xc_graph **out, const char *name, struct xc_err *err);
/* A second graph over the same tensors, as g is now; g belongs to m or to a model with the same tensors. */
enum xc_status xc_model_copy_graph(struct xc_model *m, struct xc_graph **out, const struct xc_graph *g, const char *name, struct xc_err *err);
void xc_model_remove_graph(struct xc_model *m, const char *name); /* its tensors stay: xc_model_drop_unused */
struct xc_graph *xc_model_find_graph(const struct xc_model *m, const char *name); /* NULL */

/* Removes tensors that no node of any graph uses (the unused pooler); reports how many and their bytes as f32. */
void xc_model_drop_unused(struct xc_model *m, int32_t *n_dropped, size_t *bytes);

/* ---- building. Every call checks names and ranges and runs the op's infer, so that an error names the node at once. ---- */
enum xc_status xc_graph_add_space(struct xc_graph *g, int32_t *id, const struct xc_space *space, struct xc_err *err);
enum xc_status xc_graph_add_input(struct xc_graph *g, int32_t *value, const char *name, int32_t space, int32_t cols, enum xc_dtype dtype,
                                  struct xc_err *err);
/* `op` is a name of ops.def; attr NULL = defaults. Output values are created by infer and named after the node. */
enum xc_status xc_graph_add_node(struct xc_graph *g, int32_t *out_values, const char *op, const char *name, const struct xc_ref *in,
                                 int32_t n_in, const void *attr, struct xc_err *err);
/* The same, in front of node `at`: for passes. Ids of values stay what they are. */
enum xc_status xc_graph_insert_node(struct xc_graph *g, int32_t at, int32_t *out_values, const char *op, const char *name, const struct xc_ref *in,
                                    int32_t n_in, const void *attr, struct xc_err *err);
enum xc_status xc_graph_add_output(struct xc_graph *g, int32_t value, struct xc_err *err);
int32_t xc_graph_find_space(const struct xc_graph *g, const char *name);
int32_t xc_graph_find_value(const struct xc_graph *g, const char *name);
int32_t xc_graph_find_node(const struct xc_graph *g, const char *name);

static inline struct xc_ref xc_val(int32_t id) { return (struct xc_ref){ .kind = XC_REF_VALUE, .id = id }; }
static inline struct xc_ref xc_ten(int32_t id) { return (struct xc_ref){ .kind = XC_REF_TENSOR, .id = id }; }
static inline struct xc_ref xc_sta(int32_t id) { return (struct xc_ref){ .kind = XC_REF_STATE, .id = id }; }
static inline struct xc_ref xc_none(void) { return (struct xc_ref){ .kind = XC_REF_NONE, .id = -1 }; }

/* ---- verify and print ---- */
/* Everything a pass must not break: ids in range, order, one producer per value, infer agrees with the stored shapes, encodings
 * and buffer sizes agree, names unique, no dead node, states and spaces consistent. Run after every pass and after every read. */
enum xc_status xc_model_verify(const struct xc_model *m, struct xc_err *err);

/* A stable text dump; the same model gives the same bytes on every machine. */
enum xc_status xc_model_print(FILE *out, const struct xc_model *m);
void xc_node_print(FILE *out, const struct xc_graph *g, const struct xc_node *node); /* one node of it, without the line's end */

/* Totals for given row counts per space of a graph: multiply-adds, weight bytes read. rows[] has n_spaces entries. */
struct xc_cost {
    double macs;         /* multiply-adds */
    double weight_bytes; /* as encoded */
    double act_bytes;    /* values read and written, f32 */
};
enum xc_status xc_graph_cost(const struct xc_graph *g, const int64_t *rows, int64_t n_seq, struct xc_cost *cost, struct xc_err *err);

#endif
