/* attention: what the kinds of attention cost at 8 heads of 64, from 1k to 64k tokens, against our dense int8: seconds, memory, and the exponent
 * of time in length fitted from 4k on. One thread. Prints JSON.
 *
 *   attention [SECONDS [FILTER [TOKENS...]]]   pin it (taskset -c 1); each case runs at least once and until its seconds are over, the best counts;
 *                                              TOKENS default 1024 4096 16384 65536
 *
 * Scope "core": after the projections, from f32 q, k, v to f32 y, packing to int8 included. Scope "block": the four projections too, 512 x 512,
 * int8. Dense beyond 16k tokens would take minutes: its time there is that of 16k times the square of the ratio, which favours it (keys no longer
 * fit the caches). */
#include <math.h>
#include <stdio.h>

#include "bench/peaks.h"
#include "runtime/base/base.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/run.h"
#include "runtime/session/plan.h"

enum { HEADS = 8, D = 64, W = HEADS * D, MOST = 8, LONGEST_DENSE = 16384, SLOTS = 256, BAND = 128 };

struct bench_case {
    const char *name, *kind, *scope;
    struct xc_attr_attention attr;
    void (*extra)(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n);
    bool subjects; /* queries and keys of 512 tokens match each other, as passages with a subject of their own do; else all numbers are noise */
    double seconds[MOST], bytes[MOST];
};

static struct xc_err err;

static void ok(enum xc_status status)
{
    if (status == XC_OK) return;
    fprintf(stderr, "attention: %s\n", err.msg);
    exit(1);
}

static float *normals(int64_t n, uint32_t seed, float spread)
{
    float *x = xc_alloc_aligned((size_t)(n + 64) * sizeof *x);

    if (!x) exit(1);
    xc_alloc_expect(x, (size_t)n * sizeof *x); /* as a session's own values */
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;

        for (int k = 0; k < 4; k++) {
            seed = seed * 1664525u + 1013904223u;
            sum += (float)(seed >> 8) / 16777216.0f - 0.5f;
        }
        x[i] = spread * sum * 1.7320508f;
    }
    return x;
}

/* A tensor of the model, f32 or int8 by rows in panels. */
static int32_t tensor(struct xc_graph *g, const char *name, int64_t rows, int64_t cols, float spread, bool int8)
{
    const int64_t dim[] = { rows, cols };
    const struct xc_encoding enc = { .format = XC_FMT_S8, .layout = XC_LAYOUT_PANEL16, .scale_format = XC_FMT_F32 };
    struct xc_buf *part[XC_PART_COUNT] = { 0 };
    float *x = normals(rows * cols, (uint32_t)g->model->n_tensors + 1, spread);
    int32_t id;

    ok(xc_model_add_tensor(g->model, &id, name, 2, dim, &err));
    if (!int8) {
        ok(xc_tensor_set_f32(g->model->tensors[id], x, &err));
        xc_free(x);
        return id;
    }
    int8_t *q = xc_alloc_aligned((size_t)(rows * xc_round_up(cols, 4)));
    int32_t *sum = xc_alloc_aligned((size_t)rows * sizeof *sum);

    for (int p = 0; p < XC_PART_COUNT; p++) {
        size_t bytes;

        ok(xc_encoding_part_bytes(&enc, rows, cols, (enum xc_part)p, &bytes, &err));
        if (bytes) ok(xc_buf_new(&part[p], bytes, &err));
    }
    xc_kernels()->quantize_rows_s8(q, cols, (float *)(void *)part[XC_PART_SCALE]->data, sum, x, cols, NULL, rows, cols, 0.0f);
    xc_pack_panel_s8((int8_t *)part[XC_PART_DATA]->data, q, rows, cols);
    ok(xc_tensor_set_encoded(g->model->tensors[id], &enc, part, &err));
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    xc_free(q);
    xc_free(sum);
    xc_free(x);
    return id;
}

static struct xc_ref linear(struct xc_graph *g, const char *name, struct xc_ref x)
{
    struct xc_ref in[2] = { x, xc_ten(tensor(g, name, W, W, 1 / sqrtf(W), true)) };
    int32_t y;

    in[0].range.mode = XC_RANGE_ROW;
    ok(xc_graph_add_node(g, &y, "linear", name, in, 2, NULL, &err));
    return xc_val(y);
}

static void add_projection(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    in[(*n_in)++] = xc_ten(tensor(g, "e", SLOTS, n, 1 / sqrtf((float)n), false));
}

/* Shared queries and keys, rotations of 4 rounds and about 2 n / 64 buckets, in two factors when they are many, as Hugging Face chooses them. */
static void add_rotations(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    const int buckets = n <= 4096 ? (int)(n / 32) : n <= 16384 ? 16 : 32, buckets2 = n <= 4096 ? 0 : n <= 16384 ? 32 : 64;

    in[1] = in[0];
    in[(*n_in)++] = xc_ten(tensor(g, "rotations", W, 4 * (buckets + buckets2) / 2, 1, false));
}

static void add_random(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    in[(*n_in)++] = xc_ten(tensor(g, "random", n, n, 1, false));
}

static void add_band(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    in[(*n_in)++] = xc_ten(tensor(g, "band", n, 2 * BAND + 1, 1, false));
}

/* Heads of an eighth of the window, two eighths, ... and the whole. */
static void add_spans(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    const int64_t dim[] = { HEADS };
    float z[HEADS];
    int32_t id;

    (void)n;
    for (int h = 0; h < HEADS; h++) z[h] = (float)(h + 1) / HEADS;
    ok(xc_model_add_tensor(g->model, &id, "span", 1, dim, &err));
    ok(xc_tensor_set_f32(g->model->tensors[id], z, &err));
    while (*n_in < 7) in[(*n_in)++] = xc_none();
    in[(*n_in)++] = xc_ten(id);
}

/* Projections of their own for global tokens, of all tokens or folded (attention/longformer_fold.h). Scope block. */
static void add_globals(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    static const char *const names[] = { "wqg", "wkg", "wvg" };

    (void)n;
    for (int i = 0; i < 3; i++) in[(*n_in)++] = linear(g, names[i], xc_val(g->inputs[0]));
}

static void fold_globals(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    (void)n;
    in[3] = xc_val(g->inputs[0]);
    in[4] = xc_ten(tensor(g, "wkg", W, W, 1 / sqrtf(W), true));
    in[5] = xc_ten(tensor(g, "wvg", W, W, 1 / sqrtf(W), true));
    in[6] = in[7] = xc_none();
    in[8] = xc_ten(tensor(g, "wqg", W, W, 1 / sqrtf(W), true));
    *n_in = 9;
}

/* One E for keys, values and heads: the input is mixed once and projected afterwards. */
static void mix_input(struct xc_graph *g, struct xc_ref *in, int *n_in, int64_t n)
{
    const struct xc_attr_mix attr = { .quantized = true };
    struct xc_ref ref[2] = { xc_val(g->inputs[0]), xc_none() };
    int32_t out[2], slots;

    (void)n_in;
    ok(xc_graph_add_space(g, &slots, &(struct xc_space){ .name = "slots", .map = XC_MAP_FIXED, .k = SLOTS }, &err));
    ref[1] = xc_ten(tensor(g, "e", SLOTS, n, 1 / sqrtf((float)n), false));
    ok(xc_graph_add_node(g, out, "mix_rows", "mix", ref, 2, &attr, &err));
    in[1] = linear(g, "wk", xc_val(out[0]));
    in[2] = linear(g, "wv", xc_val(out[0]));
}

/* Adds to x (n, W) a vector for every 512 rows, the same for queries and keys: scores within a passage rise by about 18. */
static float *with_subjects(const float *x, int64_t n)
{
    float *y = xc_alloc_aligned((size_t)(n * W + 64) * sizeof *y), *subject = normals(xc_div_up(n, 512) * W, 99, 1.0f);

    if (!y) exit(1);
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < W; d++) y[i * W + d] = x[i * W + d] + 1.5f * subject[i / 512 * W + d];
    xc_free(subject);
    return y;
}

static double best_of(const struct xc_plan *plan, struct xc_run *run, const struct xc_view *in, const struct xc_ragged *rag, double seconds)
{
    const double begin = xc_seconds();
    double best = 0;
    struct xc_view out;

    for (int r = 0; r < 2 || xc_seconds() - begin < seconds; r++) { /* the first run also allocates */
        const double start = xc_seconds();

        ok(xc_plan_run(plan, run, in, rag, 1, &out, &err));
        const double t = xc_seconds() - start;

        if (best == 0 || t < best) best = t;
        if (t > 5) break;
    }
    return best;
}

static void time_case(struct bench_case *c, int at, int64_t n, double seconds, float *const x[4])
{
    const bool block = !strcmp(c->scope, "block");
    const int32_t start[] = { 0, (int32_t)n };
    const struct xc_ragged rag = { .start = start, .n_seq = 1 };
    struct xc_view in[4];
    struct xc_ref ref[9];
    struct xc_model *m;
    struct xc_graph *g;
    struct xc_plan *plan;
    struct xc_run *run;
    int32_t tokens, v, y;
    int n_in = 3, n_views = 0;

    c->attr.kind = xc_attention_kind_named(c->kind);
    c->attr.heads = HEADS;
    c->attr.quantized = true;
    if (c->extra == add_random) {
        if (n > 4096) return; /* the matrix itself is quadratic */
        c->attr.positions = (int32_t)n;
    }
    if (c->extra == add_band) c->attr.positions = (int32_t)n;
    if (c->extra == add_rotations) { /* as there */
        c->attr.buckets = n <= 4096 ? (int32_t)(n / 32) : n <= 16384 ? 16 : 32;
        c->attr.buckets2 = n <= 4096 ? 0 : n <= 16384 ? 32 : 64;
    }
    ok(xc_model_new(&m, &err));
    ok(xc_model_add_graph(m, &g, "g", &err));
    ok(xc_graph_add_space(g, &tokens, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    for (int i = 0; i < 4; i++) ref[i] = xc_none();
    for (int i = 0; i < (block ? 1 : 3); i++) {
        static const char *const names[] = { "q", "k", "v" };
        float *own = c->subjects && i < 2 ? with_subjects(x[i], n) : NULL;

        ok(xc_graph_add_input(g, &v, block ? "x" : names[i], tokens, W, XC_DTYPE_F32, &err));
        in[n_views++] = (struct xc_view){ .data = own ? own : x[i], .rows = n, .cols = W };
        ref[i] = xc_val(v);
    }
    if (block) {
        const struct xc_ref xs = ref[0];

        const bool made = c->extra == add_random || c->extra == add_band;

        ref[0] = linear(g, made ? "wv" : "wq", xs);
        if (made) {
            ref[1] = ref[2] = ref[0]; /* there are no queries and keys to make */
        } else if (c->extra != mix_input) {
            ref[1] = linear(g, "wk", xs);
            ref[2] = linear(g, "wv", xs);
        }
    }
    if (c->extra) c->extra(g, ref, &n_in, n);
    ok(xc_graph_add_node(g, &y, "attention", "attention", ref, n_in, &c->attr, &err));
    if (block) y = linear(g, "wo", xc_val(y)).id;
    ok(xc_graph_add_output(g, y, &err));
    ok(xc_model_verify(m, &err));
    ok(xc_plan_new(&plan, g, xc_kernels(), &err));
    ok(xc_run_new(&run, m, NULL, NULL, &err));
    c->seconds[at] = best_of(plan, run, in, &rag, seconds);
    c->bytes[at] = (double)(run->node.total + run->values.total);
    for (int i = 0; c->subjects && i < 2; i++) xc_free(in[i].data);
    xc_plan_free(&plan);
    xc_run_free(&run);
    xc_model_free(&m);
}

/* The slope of log seconds over log tokens from 4k on. */
static double exponent(const struct bench_case *c, const int64_t *tokens, int n)
{
    double sx = 0, sy = 0, sxx = 0, sxy = 0, count = 0;

    for (int i = 0; i < n; i++) {
        if (tokens[i] < 4096 || c->seconds[i] <= 0) continue;
        const double x = log((double)tokens[i]), y = log(c->seconds[i]);

        sx += x, sy += y, sxx += x * x, sxy += x * y, count++;
    }
    return count > 1 ? (count * sxy - sx * sy) / (count * sxx - sx * sx) : 0;
}

static struct bench_case cases[] = {
    { .name = "dense", .kind = "dense", .scope = "core" },
    { .name = "dense", .kind = "dense", .scope = "block" },
    { .name = "linformer_k256", .kind = "linformer", .scope = "core", .extra = add_projection },
    { .name = "linformer_k256", .kind = "linformer", .scope = "block", .extra = add_projection },
    { .name = "linformer_k256_shared", .kind = "dense", .scope = "block", .extra = mix_input },
    { .name = "reformer_r4_c64", .kind = "reformer", .scope = "core", .attr = { .chunk = 64, .before = 1, .rounds = 4, .scale = 1 }, .extra = add_rotations },
    { .name = "synthesizer_random", .kind = "synthesizer", .scope = "core", .extra = add_random },
    { .name = "synthesizer_random", .kind = "synthesizer", .scope = "block", .extra = add_random },
    { .name = "synthesizer_band128", .kind = "synthesizer", .scope = "core", .attr = { .window = BAND }, .extra = add_band },
    { .name = "hedgehog", .kind = "hedgehog", .scope = "core" },
    { .name = "adaptive_1e-3", .kind = "adaptive", .scope = "core", .attr = { .eps = 1e-3f } },
    { .name = "adaptive_1e-3_subjects", .kind = "adaptive", .scope = "core", .attr = { .eps = 1e-3f }, .subjects = true },
    { .name = "multipole_0.02", .kind = "multipole", .scope = "core", .attr = { .eps = 0.02f } },
    { .name = "multipole_0.02_subjects", .kind = "multipole", .scope = "core", .attr = { .eps = 0.02f }, .subjects = true },
    { .name = "longformer_w512", .kind = "longformer", .scope = "core", .attr = { .window = 256, .global_first = 1 } },
    { .name = "longformer_w512_spans", .kind = "longformer", .scope = "core", .attr = { .window = 256, .global_first = 1 }, .extra = add_spans },
    { .name = "longformer_w512_global", .kind = "longformer", .scope = "block", .attr = { .window = 256, .global_first = 1 }, .extra = add_globals },
    { .name = "longformer_w512_folded", .kind = "longformer", .scope = "block", .attr = { .window = 256, .global_first = 1 }, .extra = fold_globals },
};

int main(int argc, char **argv)
{
    static const int64_t usual[] = { 1024, 4096, 16384, 65536 };
    const double seconds = argc > 1 ? atof(argv[1]) : 0.5;
    const char *filter = argc > 2 ? argv[2] : "";
    int64_t tokens[MOST], most = 0;
    int n = 0;
    float *x[4];
    bool first = true;

    for (int i = 3; i < argc && n < MOST; i++) tokens[n++] = atol(argv[i]);
    if (n == 0)
        for (size_t i = 0; i < XC_ARRAY_LEN(usual); i++) tokens[n++] = usual[i];
    for (int i = 0; i < n; i++) {
        if (tokens[i] < 1 || tokens[i] > 1 << 20) return 1;
        most = xc_max_i64(most, tokens[i]);
    }
    for (int i = 0; i < 4; i++) x[i] = normals(most * W, (uint32_t)i + 7, 1.0f);
    printf("{\"isa\": \"%s\", \"heads\": %d, \"head_dim\": %d, \"threads\": 1, \"cases\": [", xc_kernels()->isa, HEADS, D);
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct bench_case *c = &cases[i];
        const struct bench_case *dense = &cases[strcmp(c->scope, "block") ? 0 : 1];

        if (!strstr(c->name, filter) && strcmp(c->name, "dense")) continue;
        for (int k = 0; k < n; k++) {
            if (strcmp(c->name, "dense") || tokens[k] <= LONGEST_DENSE) time_case(c, k, tokens[k], seconds, x);
            else if (k > 0) c->seconds[k] = c->seconds[k - 1] * pow((double)tokens[k] / (double)tokens[k - 1], 2), c->bytes[k] = c->bytes[k - 1] / (double)tokens[k - 1] * (double)tokens[k];
        }
        printf("%s\n {\"name\": \"%s\", \"scope\": \"%s\", \"exponent\": %.3f, \"lengths\": [", first ? "" : ",", c->name, c->scope, exponent(c, tokens, n));
        first = false;
        for (int k = 0; k < n; k++) {
            if (c->seconds[k] <= 0) continue;
            printf("%s{\"tokens\": %lld, \"ms\": %.3f, \"us_per_token\": %.3f, \"bytes_per_token\": %.0f, \"times_dense\": %.2f}", k ? ", " : "", (long long)tokens[k],
                   c->seconds[k] * 1e3, c->seconds[k] * 1e6 / (double)tokens[k], c->bytes[k] / (double)tokens[k], dense->seconds[k] / c->seconds[k]);
        }
        printf("]}");
        fflush(stdout);
    }
    printf("\n]}\n");
    for (int i = 0; i < 4; i++) xc_free(x[i]);
    return 0;
}
