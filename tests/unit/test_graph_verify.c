/* What builders refuse and what verify finds: one case for every rule, each with the words that name the fault. Also drop_unused, the
 * sources of tensors, and row spaces whose rows are known only at run time. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/graph/run.h"

static struct xc_err err;

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

static void says_at(enum xc_status status, enum xc_status want, const char *word, int line)
{
    if (status != want || !strstr(err.msg, word))
        fail_msg("line %d: wanted '%s' with '%s', got '%s': %s", line, xc_status_name(want), word, xc_status_name(status), err.msg);
}
#define SAYS(call, want, word) says_at(call, want, word, __LINE__)

static int32_t tensor(struct xc_model *m, const char *name, int64_t rows, int64_t cols)
{
    const int64_t dim[] = { rows, cols };
    float *x = calloc((size_t)(rows * cols), sizeof *x);
    int32_t id;

    OK(xc_model_add_tensor(m, &id, name, rows > 1 ? 2 : 1, rows > 1 ? dim : dim + 1, &err));
    OK(xc_tensor_set_f32(m->tensors[id], x, &err));
    free(x);
    return id;
}

enum { TOKENS, HALF, KEPT, PAIR, SOME };
enum { V_IDS, V_EMB, V_KEEP, V_ATT, V_OUT };
enum { N_EMB, N_KEEP, N_ATT, N_OUT };

static struct xc_model *build(void)
{
    const struct xc_attr_attention attn = { .heads = 2, .causal = true };
    struct xc_model *m;
    struct xc_graph *g;
    int32_t id, v[5], st;

    OK(xc_model_new(&m, &err));
    OK(xc_model_add_state(m, &st, "cache", 8, XC_DTYPE_F32, true, &err));
    OK(xc_model_add_state(m, &st, "memory", 8, XC_DTYPE_F32, false, &err));
    OK(xc_model_set_meta(m, "family", "toy", &err));
    OK(xc_model_add_graph(m, &g, "step", &err));
    OK(xc_graph_add_space(g, &id, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(g, &id, &(struct xc_space){ .name = "half", .map = XC_MAP_STRIDED, .base = TOKENS, .kernel = 2, .stride = 2 }, &err));
    OK(xc_graph_add_space(g, &id, &(struct xc_space){ .name = "kept", .map = XC_MAP_STATE, .state = 0 }, &err));
    OK(xc_graph_add_space(g, &id, &(struct xc_space){ .name = "pair", .map = XC_MAP_FIXED, .k = 2 }, &err));
    OK(xc_graph_add_space(g, &id, &(struct xc_space){ .name = "some", .map = XC_MAP_SUBSET, .base = TOKENS }, &err));
    OK(xc_graph_add_input(g, &v[0], "ids", TOKENS, 1, XC_DTYPE_I32, &err));
    OK(xc_graph_add_node(g, &v[1], "gather", "emb", (struct xc_ref[]){ xc_val(v[0]), xc_ten(tensor(m, "table", 9, 8)) }, 2, NULL, &err));
    OK(xc_graph_add_node(g, &v[2], "state_append", "keep", (struct xc_ref[]){ xc_val(v[1]), xc_sta(0) }, 2, NULL, &err));
    OK(xc_graph_add_node(g, &v[3], "attention", "att", (struct xc_ref[]){ xc_val(v[1]), xc_val(v[2]), xc_val(v[2]) }, 3, &attn, &err));
    OK(xc_graph_add_node(g, &v[4], "linear", "out", (struct xc_ref[]){ xc_val(v[3]), xc_ten(tensor(m, "w", 5, 8)), xc_ten(tensor(m, "b", 1, 5)) }, 3, NULL, &err));
    OK(xc_graph_add_output(g, v[4], &err));
    OK(xc_model_verify(m, &err));
    return m;
}

/* Breaks one thing, wants its name, mends it, and wants the model whole again. */
#define BROKEN(lvalue, value, want, word)                        \
    do {                                                         \
        const __typeof__(lvalue) kept_ = (lvalue);               \
        (lvalue) = (value);                                      \
        SAYS(xc_model_verify(m, &err), want, word);              \
        (lvalue) = kept_;                                        \
        OK(xc_model_verify(m, &err));                            \
    } while (0)

static void test_breakage(void **state)
{
    struct xc_model *m = build();
    struct xc_graph *g = m->graphs[0];
    struct xc_tensor *w = m->tensors[1];
    struct xc_attr_attention *attn = g->nodes[N_ATT].attr;

    (void)state;
    /* names */
    BROKEN(w->name, "table", XC_E_FORMAT, "tensor 'table' is there twice");
    BROKEN(w->name, NULL, XC_E_FORMAT, "a tensor is named");
    BROKEN(w->name, "a\nb", XC_E_FORMAT, "no valid name");
    BROKEN(w->name, "\xff", XC_E_FORMAT, "no valid name");
    BROKEN(m->states[1].name, "cache", XC_E_FORMAT, "state 'cache' is there twice");
    BROKEN(g->name, "", XC_E_FORMAT, "a graph is named");
    BROKEN(g->spaces[HALF].name, "kept", XC_E_FORMAT, "row space 'kept' is there twice");
    BROKEN(g->values[V_ATT].name, "emb", XC_E_FORMAT, "value 'emb' is there twice");
    BROKEN(g->nodes[N_ATT].name, "emb", XC_E_FORMAT, "node 'emb' is there twice");
    /* tensors */
    BROKEN(w->rank, 0, XC_E_SHAPE, "0 axes");
    BROKEN(w->dim[0], 0, XC_E_RANGE, "axis 0 is 0");
    BROKEN(w->dim[0], INT64_MAX, XC_E_RANGE, "axis");
    BROKEN(w->dim[0], 6, XC_E_FORMAT, "has 160 bytes, must have 192");
    BROKEN(w->enc.format, XC_FMT_S8, XC_E_FORMAT, "part 1 has 0 bytes");
    BROKEN(w->enc.format, XC_FMT_S4, XC_E_UNSUPPORTED, "scales of int4 other than f16");
    BROKEN(w->enc.format, 77, XC_E_VERSION, "number format 77");
    BROKEN(w->enc.layout, 9, XC_E_VERSION, "layout 9");
    BROKEN(w->enc.structure, XC_STRUCT_BLOCK, XC_E_FORMAT, "'block'");
    BROKEN(w->enc.structure, XC_STRUCT_NM, XC_E_FORMAT, "'N:M'");
    BROKEN(w->enc.zero_point, true, XC_E_UNSUPPORTED, "zero point");
    BROKEN(w->enc.group, 4, XC_E_UNSUPPORTED, "group");
    BROKEN(w->enc.sum16, true, XC_E_FORMAT, "sum16");
    BROKEN(w->enc.n, 2, XC_E_FORMAT, "n:m");
    BROKEN(w->part[XC_PART_DATA], NULL, XC_E_FORMAT, "no bytes and no source");
    BROKEN(w->part[XC_PART_SCALE], w->part[XC_PART_DATA], XC_E_FORMAT, "its encoding has not");
    /* spaces */
    BROKEN(g->spaces[HALF].base, HALF, XC_E_FORMAT, "must be an earlier one");
    BROKEN(g->spaces[HALF].base, -1, XC_E_FORMAT, "must be an earlier one");
    BROKEN(g->spaces[TOKENS].base, 3, XC_E_FORMAT, "must be an earlier one");
    BROKEN(g->spaces[HALF].stride, 0, XC_E_FORMAT, "stride 0");
    BROKEN(g->spaces[KEPT].state, 2, XC_E_FORMAT, "has no state 2");
    BROKEN(g->spaces[PAIR].k, 0, XC_E_FORMAT, "0 rows a sequence");
    BROKEN(g->spaces[PAIR].map, (enum xc_map)99, XC_E_FORMAT, "unknown map");
    /* states */
    BROKEN(m->states[0].cols, 0, XC_E_FORMAT, "has 0 columns");
    BROKEN(m->states[0].cols, 7, XC_E_SHAPE, "state 'cache' has 7 columns");
    BROKEN(m->states[0].append, false, XC_E_FORMAT, "state 'cache' is replaced");
    /* values */
    BROKEN(g->values[V_OUT].cols, 6, XC_E_SHAPE, "makes 5 columns");
    BROKEN(g->values[V_OUT].space, HALF, XC_E_SHAPE, "differ in row space");
    BROKEN(g->values[V_OUT].space, 9, XC_E_FORMAT, "names row space 9");
    BROKEN(g->values[V_OUT].dtype, XC_DTYPE_I32, XC_E_SHAPE, "type");
    BROKEN(g->values[V_OUT].node, N_ATT, XC_E_FORMAT, "two makers");
    BROKEN(g->values[V_EMB].node, -7, XC_E_FORMAT, "node -7");
    /* nodes */
    BROKEN(g->nodes[N_OUT].op, NULL, XC_E_FORMAT, "has no op");
    BROKEN(g->nodes[N_OUT].n_in, 1, XC_E_FORMAT, "1 inputs");
    BROKEN(g->nodes[N_OUT].n_in, 99, XC_E_FORMAT, "99 inputs");
    BROKEN(g->nodes[N_OUT].n_out, 0, XC_E_FORMAT, "0 outputs");
    BROKEN(g->nodes[N_OUT].out[0], 44, XC_E_FORMAT, "value 44");
    BROKEN(g->nodes[N_OUT].out[0], V_ATT, XC_E_FORMAT, "two makers");
    BROKEN(g->nodes[N_OUT].in[0].id, V_OUT, XC_E_SHAPE, "'weight' of 'linear'");
    BROKEN(g->nodes[N_KEEP].in[0].id, V_ATT, XC_E_FORMAT, "before it is made");
    BROKEN(g->nodes[N_OUT].in[0].id, -1, XC_E_FORMAT, "names item -1");
    BROKEN(g->nodes[N_OUT].in[1].id, 2, XC_E_SHAPE, "'weight' of 'linear'");
    BROKEN(g->nodes[N_OUT].in[1].kind, XC_REF_STATE, XC_E_FORMAT, "must be a tensor");
    BROKEN(g->nodes[N_OUT].in[1].kind, (enum xc_ref_kind)9, XC_E_FORMAT, "unknown kind");
    BROKEN(g->nodes[N_OUT].in[0].range.mode, XC_RANGE_ROW, XC_E_FORMAT, "is neither int8 nor in groups");
    BROKEN(g->nodes[N_OUT].in[0].range.mode, (enum xc_range_mode)5, XC_E_FORMAT, "invalid range");
    BROKEN(g->nodes[N_OUT].in[0].range, ((struct xc_range){ XC_RANGE_STATIC, NAN }), XC_E_FORMAT, "invalid range");
    BROKEN(attn->heads, 0, XC_E_RANGE, "'heads' is 0");
    BROKEN(attn->heads, 3, XC_E_SHAPE, "3 heads");
    BROKEN(attn->kind, 50, XC_E_RANGE, "'kind' is 50");
    BROKEN(attn->scale, NAN, XC_E_RANGE, "'scale'");
    BROKEN(g->nodes[N_ATT].attr, NULL, XC_E_RANGE, "attribute");
    /* ends */
    BROKEN(g->outputs[0], -1, XC_E_FORMAT, "output 0 is value -1");
    BROKEN(g->outputs[0], V_ATT, XC_E_FORMAT, "'out' is dead");
    BROKEN(g->inputs[0], V_EMB, XC_E_FORMAT, "input 0");
    BROKEN(g->n_inputs, 0, XC_E_FORMAT, "before it is made");
    BROKEN(g->n_nodes, N_OUT, XC_E_FORMAT, "node");
    BROKEN(g->model, NULL, XC_E_FORMAT, "another model");
    xc_model_free(&m);
}

/* A state that a graph changes is touched by that node alone, and knows its rows from an earlier space. */
static void test_state_rules(void **state)
{
    struct xc_model *m = build();
    struct xc_graph *g = m->graphs[0];
    int32_t y, late, x;

    (void)state;
    OK(xc_graph_add_node(g, &y, "state_append", "again", (struct xc_ref[]){ xc_val(V_EMB), xc_sta(0) }, 2, NULL, &err));
    SAYS(xc_model_verify(m, &err), XC_E_FORMAT, "node 'again' touches state 'cache'");
    xc_model_free(&m);

    m = build();
    g = m->graphs[0];
    OK(xc_graph_add_node(g, &y, "state_read", "peek", (struct xc_ref[]){ xc_sta(0) }, 1, NULL, &err));
    SAYS(xc_model_verify(m, &err), XC_E_FORMAT, "node 'peek' touches state 'cache'");
    xc_model_free(&m);

    OK(xc_model_new(&m, &err));
    OK(xc_model_add_state(m, &y, "cache", 8, XC_DTYPE_F32, true, &err));
    OK(xc_model_add_graph(m, &g, "g", &err));
    OK(xc_graph_add_space(g, &y, &(struct xc_space){ .name = "kept", .map = XC_MAP_STATE, .state = 0 }, &err));
    OK(xc_graph_add_space(g, &late, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_input(g, &x, "x", late, 8, XC_DTYPE_F32, &err));
    OK(xc_graph_add_node(g, &y, "state_append", "keep", (struct xc_ref[]){ xc_val(x), xc_sta(0) }, 2, NULL, &err));
    SAYS(xc_model_verify(m, &err), XC_E_FORMAT, "'tokens', which is declared after");
    assert_string_equal(err.where, "graph 'g'");
    xc_model_free(&m);
}

static void test_builders_refuse(void **state)
{
    const int64_t dim[] = { 3, 0 }, huge[] = { (int64_t)1 << 31, (int64_t)1 << 31 };
    const struct xc_attr_unary odd = { .fn = 99 };
    struct xc_model *m = build();
    struct xc_graph *g = m->graphs[0], *other;
    int32_t id;

    (void)state;
    SAYS(xc_model_add_tensor(m, &id, "table", 1, dim, &err), XC_E_FORMAT, "twice");
    SAYS(xc_model_add_tensor(m, &id, "t", 2, dim, &err), XC_E_RANGE, "axis 1 is 0");
    assert_string_equal(err.where, "tensor 't'");
    SAYS(xc_model_add_tensor(m, &id, "t", 2, huge, &err), XC_E_RANGE, "2^40");
    SAYS(xc_model_add_tensor(m, &id, "t", 5, dim, &err), XC_E_SHAPE, "5 axes");
    SAYS(xc_model_add_tensor(m, &id, "", 1, dim, &err), XC_E_FORMAT, "not a name");
    SAYS(xc_model_add_state(m, &id, "cache", 1, XC_DTYPE_F32, true, &err), XC_E_FORMAT, "twice");
    SAYS(xc_model_add_graph(m, &other, "step", &err), XC_E_FORMAT, "twice");
    SAYS(xc_graph_add_node(g, &id, "convolve", "n", NULL, 0, NULL, &err), XC_E_VERSION, "op 'convolve'");
    SAYS(xc_graph_add_node(g, &id, "unary", "n", (struct xc_ref[]){ xc_val(V_EMB) }, 1, &odd, &err), XC_E_RANGE, "'fn' is 99");
    SAYS(xc_graph_add_node(g, &id, "pool", "n", (struct xc_ref[]){ xc_val(V_EMB) }, 1, NULL, &err), XC_E_FORMAT, "no 'sequence' row space");
    SAYS(xc_graph_add_node(g, &id, "add", "n", (struct xc_ref[]){ xc_val(V_EMB), xc_val(V_KEEP) }, 2, NULL, &err), XC_E_SHAPE, "row space");
    assert_string_equal(err.where, "node 'n' of graph 'step'");
    SAYS(xc_graph_add_output(g, 99, &err), XC_E_ARG, "value 99");
    OK(xc_model_verify(m, &err)); /* what was refused left nothing behind */
    xc_model_free(&m);
}

static void test_drop_unused(void **state)
{
    struct xc_model *m = build();
    int32_t n;
    size_t bytes;

    (void)state;
    tensor(m, "pooler.weight", 8, 8);
    OK(xc_model_verify(m, &err)); /* a tensor that nothing uses is not an error */
    tensor(m, "used", 3, 8);
    OK(xc_graph_add_node(m->graphs[0], &n, "linear", "more", (struct xc_ref[]){ xc_val(V_EMB), xc_ten(4) }, 2, NULL, &err));
    OK(xc_graph_add_output(m->graphs[0], n, &err));
    xc_model_drop_unused(m, &n, &bytes);
    assert_int_equal(n, 1);
    assert_int_equal(bytes, 256);
    assert_int_equal(m->n_tensors, 4);
    assert_int_equal(xc_model_find_tensor(m, "pooler.weight"), -1);
    assert_int_equal(m->graphs[0]->nodes[4].in[1].id, xc_model_find_tensor(m, "used"));
    OK(xc_model_verify(m, &err));
    xc_model_free(&m);
}

/* ---- a tensor that is elsewhere ---- */
struct counting {
    struct xc_source source;
    int reads;
};

static enum xc_status count_up(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *e)
{
    (void)t;
    (void)e;
    ((struct counting *)(void *)src)->reads++;
    for (int64_t i = 0; i < n; i++) dst[i] = (float)(first + i);
    return XC_OK;
}

static void drop_one(struct xc_source *src) { src->refs--; }

static void test_sources(void **state)
{
    struct counting c = { .source = { .read_f32 = count_up, .unref = drop_one, .refs = 1 } };
    const int64_t dim[] = { 4, 3 };
    const float zeros[12] = { 0 };
    struct xc_model *m, *copy;
    struct xc_tensor *t;
    float x[12];
    int32_t id;

    (void)state;
    OK(xc_model_new(&m, &err));
    OK(xc_model_add_tensor(m, &id, "t", 2, dim, &err));
    t = m->tensors[id];
    t->source = xc_source_ref(&c.source);
    OK(xc_model_verify(m, &err));
    OK(xc_tensor_rows_to_f32(t, 2, 1, x, &err));
    assert_true(x[0] == 6 && x[2] == 8);
    SAYS(xc_tensor_rows_to_f32(t, 3, 2, x, &err), XC_E_ARG, "no rows");
    OK(xc_tensor_load(t, &err));
    OK(xc_tensor_load(t, &err));
    assert_int_equal(c.reads, 2);
    OK(xc_model_clone(&copy, m, &err));
    assert_int_equal(c.source.refs, 3);
    xc_tensor_drop(t);
    assert_null(t->part[XC_PART_DATA]);
    OK(xc_tensor_to_f32(copy->tensors[0], x, &err)); /* the copy still has its bytes */
    assert_int_equal(c.reads, 2);
    OK(xc_tensor_set_f32(t, zeros, &err)); /* new numbers: the source would bring the old ones back */
    assert_null(t->source);
    xc_tensor_drop(t);
    assert_non_null(t->part[XC_PART_DATA]);
    xc_model_free(&copy);
    assert_int_equal(c.source.refs, 1);
    xc_model_free(&m);
    assert_int_equal(c.source.refs, 1);
}

/* Token pruning shrinks a space in the middle of a run; what follows from it shrinks too. */
static void test_resize(void **state)
{
    const int32_t start[] = { 0, 4, 4, 9 }, kept[] = { 0, 2, 2, 5 }, more[] = { 0, 2, 3, 5 };
    const struct xc_ragged rag = { .start = start, .n_seq = 3 };
    struct xc_model *m = build();
    struct xc_graph *g = m->graphs[0];
    struct xc_run *run;
    int32_t id;

    (void)state;
    OK(xc_graph_add_space(g, &id, &(struct xc_space){ .name = "pairs of some", .map = XC_MAP_STRIDED, .base = SOME, .kernel = 2, .stride = 2, .pad_right = 1 }, &err));
    OK(xc_run_new(&run, m, NULL, NULL, &err));
    OK(xc_run_offsets(run, g, &rag, 1, &err));
    assert_int_equal(run->spaces[SOME].start[3], 9);
    assert_int_equal(run->spaces[id].start[1], 2);
    assert_int_equal(run->spaces[id].start[2], 2); /* an empty sequence stays empty */
    assert_int_equal(run->spaces[id].start[3], 5);
    assert_int_equal(run->spaces[PAIR].start[3], 6);
    OK(xc_run_resize(run, g, SOME, kept, &err));
    assert_int_equal(run->spaces[SOME].start[3], 5);
    assert_int_equal(run->spaces[id].start[3], 3);
    assert_int_equal(run->spaces[TOKENS].start[3], 9);
    SAYS(xc_run_resize(run, g, SOME, more, &err), XC_E_RANGE, "sequence 1 cannot have 1 rows");
    xc_run_free(&run);
    xc_model_free(&m);
}

static void test_encoding_text(void **state)
{
    const struct xc_encoding int4 = { .format = XC_FMT_S4, .group = 64, .zero_point = true }, nm = { .format = XC_FMT_S8, .structure = XC_STRUCT_NM, .n = 2, .m = 4 };
    const struct xc_encoding codes = { .format = XC_FMT_S5, .scale_format = XC_FMT_S6, .group = 32, .zero_point = true };
    const struct xc_encoding seven = { .format = XC_FMT_S7, .scale_format = XC_FMT_F16, .group = 64 }, eight = { .format = XC_FMT_G8, .scale_format = XC_FMT_S6, .group = 32, .zero_point = true };
    const struct xc_encoding bf16 = { .format = XC_FMT_BF16 }, panel = { .format = XC_FMT_S8, .layout = XC_LAYOUT_PANEL16 };
    char text[40], tiny[4];
    size_t bytes;

    (void)state;
    assert_string_equal(xc_encoding_text(&int4, text, sizeof text), "int4/g64+zp");
    assert_string_equal(xc_encoding_text(&codes, text, sizeof text), "int5/g32s6+zp");
    assert_string_equal(xc_encoding_text(&seven, text, sizeof text), "int7/g64");
    assert_string_equal(xc_encoding_text(&eight, text, sizeof text), "int8/g32s6+zp");
    assert_string_equal(xc_encoding_text(&nm, text, sizeof text), "int8/row 2:4");
    assert_string_equal(xc_encoding_text(&bf16, text, sizeof text), "bf16");
    assert_string_equal(xc_encoding_text(&bf16, tiny, sizeof tiny), "bf1");
    OK(xc_encoding_part_bytes(&panel, 17, 26, XC_PART_DATA, &bytes, &err));
    assert_int_equal(bytes, 32 * 28);
    assert_int_equal(bytes, xc_panel_s8_bytes(17, 26));
    OK(xc_encoding_part_bytes(&panel, 17, 26, XC_PART_SCALE, &bytes, &err));
    assert_int_equal(bytes, 17 * 4);

    const struct xc_encoding s4 = { .format = XC_FMT_S4, .layout = XC_LAYOUT_PANEL16, .scale_format = XC_FMT_F16, .group = 32, .zero_point = true };
    const struct xc_encoding s3 = { .format = XC_FMT_S3, .scale_format = XC_FMT_F16, .group = 8 };
    struct xc_encoding bad = s4;

    OK(xc_encoding_part_bytes(&s4, 17, 77, XC_PART_DATA, &bytes, &err));
    assert_int_equal(bytes, 32 * 80 / 2);
    assert_int_equal(bytes, xc_panel_s4_bytes(17, 77));
    OK(xc_encoding_part_bytes(&s4, 17, 77, XC_PART_SCALE, &bytes, &err));
    assert_int_equal(bytes, 32 * 3 * 2);
    OK(xc_encoding_part_bytes(&s4, 17, 77, XC_PART_ZERO, &bytes, &err));
    assert_int_equal(bytes, 32 * 3);
    OK(xc_encoding_part_bytes(&s3, 5, 11, XC_PART_DATA, &bytes, &err));
    assert_int_equal(bytes, 5 * 5); /* 33 bits a row */
    OK(xc_encoding_part_bytes(&s3, 5, 11, XC_PART_ZERO, &bytes, &err));
    assert_int_equal(bytes, 0);
    OK(xc_encoding_part_bytes(&codes, 17, 77, XC_PART_DATA, &bytes, &err));
    assert_int_equal(bytes, 17 * 49); /* 385 bits a row */
    OK(xc_encoding_part_bytes(&codes, 17, 77, XC_PART_SCALE, &bytes, &err));
    assert_int_equal(bytes, 17 * 2 + 17 * 3); /* three codes: 18 bits */
    OK(xc_encoding_part_bytes(&codes, 17, 77, XC_PART_ZERO, &bytes, &err));
    assert_int_equal(bytes, 17 * 3);
    OK(xc_encoding_part_bytes(&seven, 17, 77, XC_PART_DATA, &bytes, &err));
    assert_int_equal(bytes, 17 * 68); /* 539 bits a row */
    OK(xc_encoding_part_bytes(&eight, 17, 77, XC_PART_ZERO, &bytes, &err));
    assert_int_equal(bytes, 17 * 3);
    bad = eight;
    bad.layout = XC_LAYOUT_PANEL16;
    SAYS(xc_encoding_check(&bad, 17, 77, &err), XC_E_UNSUPPORTED, "panel16 holds int4");
    bad = panel;
    bad.scale_format = XC_FMT_S6;
    SAYS(xc_encoding_check(&bad, 17, 77, &err), XC_E_UNSUPPORTED, "scales other than f32");
    bad = s4;
    SAYS(xc_encoding_part_bytes(&s4, INT64_MAX, INT64_MAX, XC_PART_DATA, &bytes, &err), XC_E_RANGE, "too large");
    SAYS(xc_encoding_part_bytes(&s4, INT64_MAX / 2, 33, XC_PART_SCALE, &bytes, &err), XC_E_RANGE, "too large");
    bad.group = 40;
    SAYS(xc_encoding_check(&bad, 17, 77, &err), XC_E_UNSUPPORTED, "groups of 40");
    bad.group = 512;
    SAYS(xc_encoding_check(&bad, 17, 77, &err), XC_E_UNSUPPORTED, "groups of 512");
    bad.group = -32;
    SAYS(xc_encoding_check(&bad, 17, 77, &err), XC_E_FORMAT, "groups of -32");
    bad.group = 0;
    SAYS(xc_encoding_check(&bad, 17, 77, &err), XC_E_UNSUPPORTED, "groups of 0");
    bad = s3;
    bad.layout = XC_LAYOUT_PANEL16;
    SAYS(xc_encoding_check(&bad, 17, 77, &err), XC_E_UNSUPPORTED, "not int3");
    SAYS(xc_encoding_part_bytes(&panel, INT64_MAX, INT64_MAX, XC_PART_DATA, &bytes, &err), XC_E_RANGE, "too large");
    assert_int_equal(bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_breakage), cmocka_unit_test(test_state_rules), cmocka_unit_test(test_builders_refuse), cmocka_unit_test(test_drop_unused),
        cmocka_unit_test(test_sources),  cmocka_unit_test(test_resize),      cmocka_unit_test(test_encoding_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
