/* An encoder-decoder of two graphs built by hand, without any loader: a strided convolution in front, the encoder's output held in state, a
 * KV cache, cross-attention, layers of unequal width, a head tied to the embedding. Printed, saved, reloaded, run step by step, and
 * compared with plain double-precision code written out below. The IR must carry what comes later. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/base/rng.h"
#include "runtime/container/container.h"
#include "runtime/graph/op.h"
#include "runtime/graph/run.h"

enum { MEL = 6, D = 8, MID = 12, VOCAB = 11, HEADS0 = 2, W0 = 8, HEADS1 = 1, W1 = 4, FFN0 = 20, FFN1 = 10, N_POS = 16, STEPS = 5, N_SEQ = 2 };

#define OK(call) assert_int_equal_msg(call, __LINE__)

static struct xc_err err;

static void assert_int_equal_msg(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}

/* ---- building ---- */
static int32_t tensor(struct xc_model *m, const char *name, int32_t rank, int64_t a, int64_t b, int64_t c)
{
    const int64_t dim[3] = { a, b, c };
    const int64_t count = a * (rank > 1 ? b : 1) * (rank > 2 ? c : 1);
    float *x = malloc((size_t)count * sizeof *x);
    struct xc_rng rng;
    int32_t id;

    xc_rng_init(&rng, 7, (uint64_t)m->n_tensors);
    for (int64_t i = 0; i < count; i++) x[i] = (float)(0.4 * xc_rng_normal(&rng));
    OK(xc_model_add_tensor(m, &id, name, rank, dim, &err));
    OK(xc_tensor_set_f32(m->tensors[id], x, &err));
    free(x);
    return id;
}

static int32_t linear(struct xc_graph *g, const char *name, int32_t x, int64_t n)
{
    char w[64], b[64];
    int32_t y;

    snprintf(w, sizeof w, "%s.weight", name);
    snprintf(b, sizeof b, "%s.bias", name);
    const struct xc_ref in[] = { xc_val(x), xc_ten(tensor(g->model, w, 2, n, g->values[x].cols, 0)), xc_ten(tensor(g->model, b, 1, n, 0, 0)) };

    OK(xc_graph_add_node(g, &y, "linear", name, in, 3, NULL, &err));
    return y;
}

static int32_t norm(struct xc_graph *g, const char *name, int32_t x)
{
    const struct xc_attr_norm attr = { .eps = 1e-5f };
    char w[64], b[64];
    int32_t y;

    snprintf(w, sizeof w, "%s.weight", name);
    snprintf(b, sizeof b, "%s.bias", name);
    const struct xc_ref in[] = { xc_val(x), xc_ten(tensor(g->model, w, 1, g->values[x].cols, 0, 0)), xc_ten(tensor(g->model, b, 1, g->values[x].cols, 0, 0)) };

    OK(xc_graph_add_node(g, &y, "layer_norm", name, in, 3, &attr, &err));
    return y;
}

static int32_t node(struct xc_graph *g, const char *op, const char *name, int32_t a, struct xc_ref b, const void *attr)
{
    const struct xc_ref in[] = { xc_val(a), b };
    int32_t y;

    OK(xc_graph_add_node(g, &y, op, name, in, b.kind == XC_REF_NONE ? 1 : 2, attr, &err));
    return y;
}

static int32_t attention(struct xc_graph *g, const char *name, int32_t q, int32_t k, int32_t v, int heads, bool causal)
{
    const struct xc_attr_attention attr = { .heads = heads, .causal = causal };
    const struct xc_ref in[] = { xc_val(q), xc_val(k), xc_val(v) };
    int32_t y;

    OK(xc_graph_add_node(g, &y, "attention", name, in, 3, &attr, &err));
    return y;
}

static int32_t space(struct xc_graph *g, struct xc_space s)
{
    int32_t id;

    OK(xc_graph_add_space(g, &id, &s, &err));
    return id;
}

static void build_encode(struct xc_model *m, const int32_t *source_state)
{
    const struct xc_attr_conv1d conv = { .kernel = 3, .stride = 2, .pad_left = 1, .pad_right = 1, .groups = 1 };
    const struct xc_attr_unary gelu = { .fn = XC_ACT_GELU };
    struct xc_graph *g;
    int32_t x, frames;

    OK(xc_model_add_graph(m, &g, "encode", &err));
    frames = space(g, (struct xc_space){ .name = "frames", .map = XC_MAP_INPUT });
    space(g, (struct xc_space){ .name = "source", .map = XC_MAP_STRIDED, .base = frames, .kernel = 3, .stride = 2, .pad_left = 1, .pad_right = 1 });
    OK(xc_graph_add_input(g, &x, "mel", frames, MEL, XC_DTYPE_F32, &err));
    const struct xc_ref in[] = { xc_val(x), xc_ten(tensor(m, "conv.weight", 3, D, MEL, 3)), xc_ten(tensor(m, "conv.bias", 1, D, 0, 0)) };

    OK(xc_graph_add_node(g, &x, "conv1d", "conv", in, 3, &conv, &err));
    x = node(g, "unary", "conv.act", x, xc_none(), &gelu);
    x = norm(g, "conv.norm", x);
    x = linear(g, "wide", x, MID);
    x = linear(g, "narrow", x, D);
    const int32_t k = node(g, "state_write", "source.k.write", linear(g, "source.k", x, D), xc_sta(source_state[0]), NULL);
    const int32_t v = node(g, "state_write", "source.v.write", linear(g, "source.v", x, D), xc_sta(source_state[1]), NULL);

    OK(xc_graph_add_output(g, x, &err));
    OK(xc_graph_add_output(g, k, &err));
    OK(xc_graph_add_output(g, v, &err));
}

static int32_t decoder_layer(struct xc_graph *g, int i, int32_t x, const int32_t *cache, const int32_t *source_state, int width, int heads, int ffn)
{
    const struct xc_attr_unary relu = { .fn = XC_ACT_RELU };
    char name[8][48];
    int32_t k, v, y, sk, sv;

    for (int n = 0; n < 8; n++) {
        static const char *const parts[8] = { "q", "k", "v", "o", "attn", "sum", "norm", "ffn" };

        snprintf(name[n], sizeof name[n], "layer%d.%s", i, parts[n]);
    }
    k = linear(g, name[1], x, width);
    v = linear(g, name[2], x, width);
    char append[2][64], read[2][64], cross[5][64], ff[4][64];

    snprintf(append[0], 64, "layer%d.k.append", i);
    snprintf(append[1], 64, "layer%d.v.append", i);
    k = node(g, "state_append", append[0], k, xc_sta(cache[0]), NULL);
    v = node(g, "state_append", append[1], v, xc_sta(cache[1]), NULL);
    y = attention(g, name[4], linear(g, name[0], x, width), k, v, heads, true);
    y = node(g, "add", name[5], linear(g, name[3], y, D), xc_val(x), NULL);
    x = norm(g, name[6], y);

    snprintf(read[0], 64, "layer%d.source.k", i);
    snprintf(read[1], 64, "layer%d.source.v", i);
    for (int n = 0; n < 2; n++) {
        const struct xc_ref in[] = { xc_sta(source_state[n]) };

        OK(xc_graph_add_node(g, n ? &sv : &sk, "state_read", read[n], in, 1, NULL, &err));
    }
    for (int n = 0; n < 5; n++) {
        static const char *const parts[5] = { "q", "attn", "o", "sum", "norm" };

        snprintf(cross[n], 64, "layer%d.cross.%s", i, parts[n]);
    }
    y = attention(g, cross[1], linear(g, cross[0], x, D), sk, sv, HEADS0, false);
    y = node(g, "add", cross[3], linear(g, cross[2], y, D), xc_val(x), NULL);
    x = norm(g, cross[4], y);
    for (int n = 0; n < 4; n++) {
        static const char *const parts[4] = { "up", "act", "down", "sum" };

        snprintf(ff[n], 64, "layer%d.ffn.%s", i, parts[n]);
    }
    y = node(g, "unary", ff[1], linear(g, ff[0], x, ffn), xc_none(), &relu);
    y = node(g, "add", ff[3], linear(g, ff[2], y, D), xc_val(x), NULL);
    return norm(g, name[7], y);
}

static void build_decode(struct xc_model *m, const int32_t *cache, const int32_t *source_state)
{
    struct xc_graph *g;
    int32_t tokens, ids, pos, x;

    OK(xc_model_add_graph(m, &g, "decode_step", &err));
    tokens = space(g, (struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT });
    for (int i = 0; i < 4; i++) {
        char name[16];

        snprintf(name, sizeof name, "cache%d", i);
        space(g, (struct xc_space){ .name = name, .map = XC_MAP_STATE, .state = cache[i] });
    }
    space(g, (struct xc_space){ .name = "source.k", .map = XC_MAP_STATE, .state = source_state[0] });
    space(g, (struct xc_space){ .name = "source.v", .map = XC_MAP_STATE, .state = source_state[1] });
    OK(xc_graph_add_input(g, &ids, "ids", tokens, 1, XC_DTYPE_I32, &err));
    OK(xc_graph_add_input(g, &pos, "positions", tokens, 1, XC_DTYPE_I32, &err));
    const int32_t table = tensor(m, "embedding", 2, VOCAB, D, 0);
    const struct xc_ref emb[] = { xc_val(ids), xc_ten(table) }, at[] = { xc_val(pos), xc_ten(tensor(m, "positions", 2, N_POS, D, 0)) };
    int32_t e, p;

    OK(xc_graph_add_node(g, &e, "gather", "embed", emb, 2, NULL, &err));
    OK(xc_graph_add_node(g, &p, "gather", "position", at, 2, NULL, &err));
    x = node(g, "add", "embed.sum", e, xc_val(p), NULL);
    x = decoder_layer(g, 0, x, cache, source_state, W0, HEADS0, FFN0);
    x = decoder_layer(g, 1, x, cache + 2, source_state, W1, HEADS1, FFN1);
    const struct xc_ref head[] = { xc_val(x), xc_ten(table) };

    OK(xc_graph_add_node(g, &x, "linear", "head", head, 2, NULL, &err));
    OK(xc_graph_add_output(g, x, &err));
}

static struct xc_model *build(void)
{
    static const char *const names[6] = { "k0", "v0", "k1", "v1", "source.k", "source.v" };
    static const int32_t cols[6] = { W0, W0, W1, W1, D, D };
    struct xc_model *m;
    int32_t state[6];

    OK(xc_model_new(&m, &err));
    for (int i = 0; i < 6; i++) OK(xc_model_add_state(m, &state[i], names[i], cols[i], XC_DTYPE_F32, i < 4, &err));
    build_encode(m, state + 4);
    build_decode(m, state, state + 4);
    OK(xc_model_verify(m, &err));
    return m;
}

/* ---- running ---- */
static const int32_t frame_start[N_SEQ + 1] = { 0, 7, 11 };
static int32_t token_ids[N_SEQ][STEPS] = { { 1, 5, 3, 9, 2 }, { 4, 4, 0, 10, 7 } };

static void make_mel(float *mel)
{
    struct xc_rng rng;

    xc_rng_init(&rng, 99, 0);
    for (int i = 0; i < 11 * MEL; i++) mel[i] = (float)xc_rng_normal(&rng);
}

static void run_encode(struct xc_run *run, const struct xc_model *m)
{
    float mel[11 * MEL];
    const struct xc_ragged frames = { .start = frame_start, .n_seq = N_SEQ };
    const struct xc_view in[] = { { .data = mel, .rows = 11, .cols = MEL } };
    struct xc_view out[3];

    make_mel(mel);
    OK(xc_run_graph(run, xc_model_find_graph(m, "encode"), in, &frames, 1, out, &err));
    assert_int_equal(out[0].rows, 4 + 2);
}

/* Feeds `per` tokens of each sequence a step; logits (N_SEQ, STEPS, VOCAB). */
static void run_decode(const struct xc_model *m, int per, float *logits)
{
    struct xc_run *run;

    OK(xc_run_new(&run, m, NULL, NULL, &err));
    run_encode(run, m);
    for (int step = 0; step < STEPS; step += per) {
        int32_t ids[N_SEQ * STEPS], pos[N_SEQ * STEPS];
        const int32_t start[N_SEQ + 1] = { 0, per, 2 * per };
        const struct xc_ragged tokens = { .start = start, .n_seq = N_SEQ };
        const struct xc_view in[] = { { .data = ids, .rows = N_SEQ * per, .cols = 1 }, { .data = pos, .rows = N_SEQ * per, .cols = 1 } };
        struct xc_view out[1];

        for (int s = 0; s < N_SEQ; s++)
            for (int i = 0; i < per; i++) {
                ids[s * per + i] = token_ids[s][step + i];
                pos[s * per + i] = step + i;
            }
        OK(xc_run_graph(run, xc_model_find_graph(m, "decode_step"), in, &tokens, 1, out, &err));
        for (int s = 0; s < N_SEQ; s++)
            memcpy(logits + (s * STEPS + step) * VOCAB, (float *)out[0].data + s * per * VOCAB, (size_t)(per * VOCAB) * sizeof(float));
    }
    xc_run_free(&run);
}

/* ---- the same in double precision, written out ---- */
static const float *weights(const struct xc_model *m, const char *a, const char *b)
{
    char name[96];
    const int32_t id = (snprintf(name, sizeof name, "%s%s", a, b), xc_model_find_tensor(m, name));

    assert_true(id >= 0);
    return (const float *)(const void *)m->tensors[id]->part[XC_PART_DATA]->data;
}

static void ref_linear(const struct xc_model *m, const char *name, double *y, const double *x, int R, int K, int N)
{
    const float *w = weights(m, name, ".weight"), *b = weights(m, name, ".bias");

    for (int r = 0; r < R; r++)
        for (int n = 0; n < N; n++) {
            y[r * N + n] = b[n];
            for (int k = 0; k < K; k++) y[r * N + n] += x[r * K + k] * w[n * K + k];
        }
}

static void ref_norm(const struct xc_model *m, const char *name, double *x, int R)
{
    const float *w = weights(m, name, ".weight"), *b = weights(m, name, ".bias");

    for (int r = 0; r < R; r++) {
        double mean = 0, var = 0;

        for (int i = 0; i < D; i++) mean += x[r * D + i] / D;
        for (int i = 0; i < D; i++) var += (x[r * D + i] - mean) * (x[r * D + i] - mean) / D;
        for (int i = 0; i < D; i++) x[r * D + i] = (x[r * D + i] - mean) / sqrt(var + 1e-5) * w[i] + b[i];
    }
}

static void ref_attention(double *y, const double *q, const double *k, const double *v, int Rq, int Rk, int width, int heads, bool causal)
{
    const int d = width / heads;

    for (int h = 0; h < heads; h++)
        for (int i = 0; i < Rq; i++) {
            double p[64], sum = 0;
            const int limit = causal ? i + 1 : Rk;

            for (int j = 0; j < limit; j++) {
                p[j] = 0;
                for (int c = 0; c < d; c++) p[j] += q[i * width + h * d + c] * k[j * width + h * d + c];
                p[j] = exp(p[j] / sqrt(d));
                sum += p[j];
            }
            for (int c = 0; c < d; c++) {
                y[i * width + h * d + c] = 0;
                for (int j = 0; j < limit; j++) y[i * width + h * d + c] += p[j] / sum * v[j * width + h * d + c];
            }
        }
}

static void ref_layer(const struct xc_model *m, int i, double *x, const double *sk, const double *sv, int n_src, int width, int heads, int ffn)
{
    double q[STEPS * 32], k[STEPS * 32], v[STEPS * 32], y[STEPS * 32], z[STEPS * 32];
    char name[64];
#define NAME(part) (snprintf(name, sizeof name, "layer%d.%s", i, part), name)
    ref_linear(m, NAME("q"), q, x, STEPS, D, width);
    ref_linear(m, NAME("k"), k, x, STEPS, D, width);
    ref_linear(m, NAME("v"), v, x, STEPS, D, width);
    ref_attention(y, q, k, v, STEPS, STEPS, width, heads, true);
    ref_linear(m, NAME("o"), z, y, STEPS, width, D);
    for (int n = 0; n < STEPS * D; n++) x[n] += z[n];
    ref_norm(m, NAME("norm"), x, STEPS);
    ref_linear(m, NAME("cross.q"), q, x, STEPS, D, D);
    ref_attention(y, q, sk, sv, STEPS, n_src, D, HEADS0, false);
    ref_linear(m, NAME("cross.o"), z, y, STEPS, D, D);
    for (int n = 0; n < STEPS * D; n++) x[n] += z[n];
    ref_norm(m, NAME("cross.norm"), x, STEPS);
    ref_linear(m, NAME("ffn.up"), y, x, STEPS, D, ffn);
    for (int n = 0; n < STEPS * ffn; n++) y[n] = y[n] > 0 ? y[n] : 0;
    ref_linear(m, NAME("ffn.down"), z, y, STEPS, ffn, D);
    for (int n = 0; n < STEPS * D; n++) x[n] += z[n];
    ref_norm(m, NAME("ffn"), x, STEPS);
#undef NAME
}

static void reference(const struct xc_model *m, int s, double *logits)
{
    const int n = frame_start[s + 1] - frame_start[s], n_src = (n + 2 - 3) / 2 + 1;
    const float *w = weights(m, "conv", ".weight"), *b = weights(m, "conv", ".bias"), *emb = weights(m, "embedding", ""), *pos = weights(m, "positions", "");
    float mel[11 * MEL];
    double h[8 * D], mid[8 * MID], sk[8 * D], sv[8 * D], x[STEPS * D];

    make_mel(mel);
    for (int r = 0; r < n_src; r++)
        for (int o = 0; o < D; o++) {
            double sum = b[o];

            for (int c = 0; c < MEL; c++)
                for (int k = 0; k < 3; k++) {
                    const int at = 2 * r + k - 1;

                    if (at >= 0 && at < n) sum += (double)mel[(frame_start[s] + at) * MEL + c] * w[(o * MEL + c) * 3 + k];
                }
            h[r * D + o] = 0.5 * sum * (1 + erf(sum / sqrt(2)));
        }
    ref_norm(m, "conv.norm", h, n_src);
    ref_linear(m, "wide", mid, h, n_src, D, MID);
    ref_linear(m, "narrow", h, mid, n_src, MID, D);
    ref_linear(m, "source.k", sk, h, n_src, D, D);
    ref_linear(m, "source.v", sv, h, n_src, D, D);
    for (int i = 0; i < STEPS; i++)
        for (int c = 0; c < D; c++) x[i * D + c] = (double)emb[token_ids[s][i] * D + c] + (double)pos[i * D + c];
    ref_layer(m, 0, x, sk, sv, n_src, W0, HEADS0, FFN0);
    ref_layer(m, 1, x, sk, sv, n_src, W1, HEADS1, FFN1);
    for (int i = 0; i < STEPS; i++)
        for (int t = 0; t < VOCAB; t++) {
            logits[i * VOCAB + t] = 0;
            for (int c = 0; c < D; c++) logits[i * VOCAB + t] += x[i * D + c] * emb[t * D + c];
        }
}

static char *dump(const struct xc_model *m)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    OK(xc_model_print(f, m));
    fclose(f);
    return text;
}

/* ---- tests ---- */
static void runs_like_the_reference(void **state)
{
    struct xc_model *m = build();
    float logits[N_SEQ * STEPS * VOCAB], whole[N_SEQ * STEPS * VOCAB];
    double want[STEPS * VOCAB], worst = 0;

    (void)state;
    run_decode(m, 1, logits);
    run_decode(m, STEPS, whole);
    assert_memory_equal(logits, whole, sizeof logits); /* token by token or all at once: the same bits */
    for (int s = 0; s < N_SEQ; s++) {
        reference(m, s, want);
        for (int i = 0; i < STEPS * VOCAB; i++) worst = fmax(worst, fabs(want[i] - (double)logits[s * STEPS * VOCAB + i]));
    }
    print_message("largest error against double precision: %g\n", worst);
    assert_true(worst < 5e-6);
    xc_model_free(&m);
}

static void prints_the_same_for_ever(void **state)
{
    const char *root = getenv("XC_SOURCE_ROOT");
    struct xc_model *m = build();
    char path[4096], want[16384], *text = dump(m);
    FILE *f;
    size_t n;

    (void)state;
    snprintf(path, sizeof path, "%s/tests/unit/expected_by_hand.txt", root ? root : ".");
    if (getenv("XC_UPDATE")) {
        f = fopen(path, "w");
        fputs(text, f);
        fclose(f);
    }
    f = fopen(path, "r");
    assert_non_null(f);
    n = fread(want, 1, sizeof want - 1, f);
    fclose(f);
    want[n] = '\0';
    assert_string_equal(text, want);
    free(text);
    xc_model_free(&m);
}

static void saves_and_reloads(void **state)
{
    float before[N_SEQ * STEPS * VOCAB], after[N_SEQ * STEPS * VOCAB];
    struct xc_model *m = build();
    char *text = dump(m);

    (void)state;
    run_decode(m, 1, before);
    for (int store = XC_STORE_FAST; store <= XC_STORE_SMALL; store++) {
        const struct xc_write_opts opts = { .store = (enum xc_store)store };
        const struct xc_read_opts read = { .verify = true };
        char path[] = "/tmp/xc-by-hand-XXXXXX", *again;
        struct xc_model *copy;
        uint64_t bytes, predicted;
        const int fd = mkstemp(path);

        assert_true(fd >= 0);
        close(fd);
        OK(xc_container_write(m, path, &opts, &bytes, &err));
        OK(xc_container_size(m, &predicted, &err));
        if (store == XC_STORE_FAST) assert_int_equal(bytes, predicted);
        OK(xc_container_read(&copy, path, &read, &err));
        again = dump(copy);
        assert_string_equal(text, again);
        run_decode(copy, 1, after);
        assert_memory_equal(before, after, sizeof before);
        free(again);
        xc_model_free(&copy);
        unlink(path);
    }
    free(text);
    xc_model_free(&m);
}

static void clones(void **state)
{
    float before[N_SEQ * STEPS * VOCAB], after[N_SEQ * STEPS * VOCAB];
    struct xc_model *m = build(), *copy;
    char *text = dump(m), *again;

    (void)state;
    OK(xc_model_clone(&copy, m, &err));
    OK(xc_model_verify(copy, &err));
    run_decode(m, 1, before);
    xc_model_free(&m); /* the copy stands alone */
    again = dump(copy);
    assert_string_equal(text, again);
    run_decode(copy, 1, after);
    assert_memory_equal(before, after, sizeof before);
    free(text);
    free(again);
    xc_model_free(&copy);
}

/* Every allocation of build, save, load and run fails once; nothing crashes, nothing leaks (the sanitizers look), and it ends in success. */
static void survives_out_of_memory(void **state)
{
    struct xc_model *m = build();
    char path[] = "/tmp/xc-by-hand-XXXXXX";
    const int fd = mkstemp(path);
    int64_t failures = 0;
    bool done = false;

    (void)state;
    close(fd);
    for (int64_t n = 0; !done; n++) {
        struct xc_model *copy = NULL, *read = NULL;
        struct xc_run *run = NULL;
        enum xc_status status;

        xc_alloc_fail_after(n);
        status = xc_model_clone(&copy, m, &err);
        if (status == XC_OK) status = xc_container_write(copy, path, NULL, NULL, &err);
        if (status == XC_OK) status = xc_container_read(&read, path, NULL, &err);
        if (status == XC_OK) status = xc_run_new(&run, read, NULL, NULL, &err);
        if (status == XC_OK) {
            float mel[11 * MEL] = { 0 };
            const struct xc_ragged frames = { .start = frame_start, .n_seq = N_SEQ };
            const struct xc_view in[] = { { .data = mel, .rows = 11, .cols = MEL } };
            struct xc_view out[3];

            status = xc_run_graph(run, xc_model_find_graph(read, "encode"), in, &frames, 1, out, &err);
        }
        xc_alloc_fail_after(-1);
        if (status != XC_OK && status != XC_E_NOMEM) fail_msg("allocation %lld: %s", (long long)n, err.msg);
        done = status == XC_OK;
        failures += !done;
        xc_run_free(&run);
        xc_model_free(&read);
        xc_model_free(&copy);
    }
    print_message("%lld allocations failed in turn\n", (long long)failures);
    assert_true(failures > 50);
    unlink(path);
    xc_model_free(&m);
}

/* ---- verify sees what is broken ---- */
static void expect_broken(struct xc_model *m, const char *word)
{
    memset(&err, 0, sizeof err);
    assert_int_not_equal(xc_model_verify(m, &err), XC_OK);
    if (!strstr(err.msg, word)) fail_msg("expected '%s' in: %s", word, err.msg);
}

static void verify_finds_breakage(void **state)
{
    struct xc_model *m = build();
    struct xc_graph *g = xc_model_find_graph(m, "decode_step");
    struct xc_node *first = &g->nodes[0], *last = &g->nodes[g->n_nodes - 1];
    struct xc_ref ref;
    struct xc_buf *buf;

    (void)state;
    ref = last->in[1];
    last->in[1].id = m->n_tensors;
    expect_broken(m, "names item");
    last->in[1] = xc_ten(0);
    expect_broken(m, "must be");
    last->in[1] = ref;

    ref = first->in[0];
    first->in[0] = xc_val(last->out[0]);
    assert_int_not_equal(xc_model_verify(m, &err), XC_OK);
    first->in[0] = ref;

    g->values[last->out[0]].cols++;
    expect_broken(m, "columns");
    g->values[last->out[0]].cols--;

    g->n_outputs = 0;
    expect_broken(m, "dead");
    g->n_outputs = 1;

    buf = m->tensors[3]->part[XC_PART_DATA];
    m->tensors[3]->part[XC_PART_DATA] = NULL;
    expect_broken(m, "no bytes");
    m->tensors[3]->part[XC_PART_DATA] = buf;

    m->tensors[3]->enc.format = XC_FMT_S8;
    expect_broken(m, "must have");
    m->tensors[3]->enc.format = XC_FMT_F32;
    OK(xc_model_verify(m, &err));
    xc_model_free(&m);
}

static void runs_without_allocating(void **state)
{
    struct xc_model *m = build();
    struct xc_run *run;
    int64_t count;

    (void)state;
    OK(xc_run_new(&run, m, NULL, NULL, &err));
    run_encode(run, m);
    count = xc_alloc_count();
    run_encode(run, m);
    assert_int_equal(xc_alloc_count(), count);
    xc_run_free(&run);
    xc_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_like_the_reference), cmocka_unit_test(prints_the_same_for_ever), cmocka_unit_test(saves_and_reloads),
        cmocka_unit_test(clones),                  cmocka_unit_test(survives_out_of_memory),   cmocka_unit_test(verify_finds_breakage),
        cmocka_unit_test(runs_without_allocating),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
