/* long_texts: attention of one kind over texts of 2,100, 0, 40 and 2,048 tokens: those of a length that kinds which choose their keys take up, and one that they leave to
 * dense attention. Whoever includes it has defined HEADS, KV (heads of keys) and D. */
#ifndef XC_TESTS_UNIT_LONG_TEXTS_H
#define XC_TESTS_UNIT_LONG_TEXTS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/graph/attention/attention.h"
#include "runtime/graph/run.h"

enum { W = HEADS * D, KW = KV * D, N_SEQ = 4, ROWS = 4188 };
static const int lengths[N_SEQ] = { 2100, 0, 40, 2048 };
static const int starts[N_SEQ + 1] = { 0, 2100, 2100, 2140, 4188 };

static struct xc_err err;
static struct xc_pool *threads;
static float *q, *k, *v;

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s", line, err.msg);
}
#define OK(call) ok_at(call, __LINE__)

static float uniform(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 8388608.0f - 1.0f;
}

struct fix {
    struct xc_model *m;
    struct xc_graph *g;
};

static void build(struct fix *f, const char *kind, float eps, bool quantized, bool causal)
{
    const struct xc_attr_attention attr = { .kind = xc_attention_kind_named(kind), .heads = HEADS, .kv_heads = KV, .eps = eps, .quantized = quantized, .causal = causal };
    static const char *const names[] = { "q", "k", "v" };
    struct xc_ref in[3];
    int32_t space, id, y;

    OK(xc_model_new(&f->m, &err));
    OK(xc_model_add_graph(f->m, &f->g, "g", &err));
    OK(xc_graph_add_space(f->g, &space, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    for (int i = 0; i < 3; i++) {
        OK(xc_graph_add_input(f->g, &id, names[i], space, i ? KW : W, XC_DTYPE_F32, &err));
        in[i] = xc_val(id);
    }
    OK(xc_graph_add_node(f->g, &y, "attention", "node", in, 3, &attr, &err));
    OK(xc_graph_add_output(f->g, y, &err));
    OK(xc_model_verify(f->m, &err));
}

/* The output of sequences s0 to s0 + n - 1 alone, to be freed. */
static float *run(const struct fix *f, const struct xc_kernels *kern, struct xc_pool *pool, int s0, int n)
{
    const int row0 = starts[s0], rows = starts[s0 + n] - row0;
    int32_t at[N_SEQ + 1];
    const struct xc_ragged rag = { .start = at, .n_seq = n };
    float *const data[] = { q, k, v }, *y = malloc(((size_t)rows * W + 1) * sizeof *y);
    struct xc_view in[3], out;
    struct xc_run *r;

    for (int i = 0; i <= n; i++) at[i] = starts[s0 + i] - row0;
    for (int i = 0; i < 3; i++) in[i] = (struct xc_view){ .data = data[i] + row0 * (i ? KW : W), .rows = rows, .cols = i ? KW : W };
    OK(xc_run_new(&r, f->m, kern, pool, &err));
    OK(xc_run_graph(r, f->g, in, &rag, 1, &out, &err));
    memcpy(y, out.data, (size_t)rows * W * sizeof *y);
    xc_run_free(&r);
    return y;
}

static void same(const float *a, const float *b, int row0, int rows, const char *what)
{
    if (memcmp(a, b + row0 * W, (size_t)rows * W * sizeof *a)) fail_msg("%s: other bits", what);
}

/* f, a model of `kind`, answers y: the same bits with three threads, by every level and for each text alone; the short text is dense attention's, and eps 0 all of it. Frees f and y. */
static void same_everywhere(struct fix *f, float *y, const char *kind, bool quantized, bool causal)
{
    float *other = run(f, NULL, threads, 0, N_SEQ);

    same(other, y, 0, ROWS, "three threads");
    free(other);
    for (const char *const *level = xc_kernels_levels(); *level; level++) {
        if (!xc_kernels_for(*level)) continue;
        other = run(f, xc_kernels_for(*level), NULL, 0, 1);
        same(other, y, 0, lengths[0], *level);
        free(other);
    }
    for (int s = 0; s < N_SEQ; s++) {
        other = run(f, NULL, NULL, s, 1);
        same(other, y, starts[s], lengths[s], "a text alone");
        free(other);
    }
    xc_model_free(&f->m);

    build(f, "dense", 0, quantized, causal);
    other = run(f, NULL, NULL, 2, 1);
    same(other, y, starts[2], lengths[2], "a short text, dense");
    free(other);
    free(y);
    other = run(f, NULL, NULL, 0, N_SEQ);
    xc_model_free(&f->m);
    build(f, kind, 0, quantized, causal);
    y = run(f, NULL, NULL, 0, N_SEQ);
    same(other, y, 0, ROWS, "eps 0, dense");
    free(y);
    free(other);
    xc_model_free(&f->m);
}

#endif
