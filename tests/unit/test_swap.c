/* test_swap: pass swap_attention. What it takes from attention maps against transformers and numpy (gen_swap.py); kinds that can be dense are dense; positions by copying;
 * ranking, budget, controls; overrides; the same bytes for any threads; int8 follows; hostile options; models at random. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/attention/swap_attention.h"
#include "compress/calibrate/calibrate.h"
#include "formats/formats.h"
#include "runtime/session/session.h"
#include "tests/unit/tiny_model.h"
#include "tests/vectors/swap_vectors.h"
#include "xcompress/compress.h"

enum { TEXTS = XC_ARRAY_LEN(swap_texts) };
static char root[1024], list[64];
static struct xc_err err;

static void ok_at(enum xc_status status, int line)
{
    char text[512];

    if (status != XC_OK) fail_msg("line %d: %s", line, xc_err_text(&err, text, sizeof text));
}
#define OK(call) ok_at(call, __LINE__)

static struct xc_model *tiny(void)
{
    struct xc_model *m = NULL;
    char path[1100];

    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", root);
    OK(xc_import(&m, path, &err));
    OK(tiny_model_scale(m, "attention.self.query.weight", 40, &err));
    return m;
}

/* ---- maps ---- */
static struct xc_swap *maps_of(enum xc_swap_kind kind, int32_t rank, int32_t global, bool each_head)
{
    static struct xc_swap swap[SWAP_LAYERS];
    static char names[SWAP_LAYERS][64];
    const struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    size_t length[TEXTS];
    struct xc_texts texts = { .text = (char **)(uintptr_t)swap_texts, .length = length, .n = TEXTS };
    struct xc_model *m = tiny();

    for (int i = 0; i < TEXTS; i++) length[i] = strlen(swap_texts[i]);
    for (int i = 0; i < SWAP_LAYERS; i++) {
        snprintf(names[i], sizeof names[i], "encoder.layer.%d.attention", i);
        swap[i] = (struct xc_swap){ .node = names[i], .kind = kind, .window = -1, .global = global, .slots = SWAP_SLOTS, .rank = rank, .mass = SWAP_MASS, .each_head = each_head };
    }
    OK(xc_attention_maps(swap, SWAP_LAYERS, m, &texts, &opts, &err));
    xc_model_free(&m);
    for (int i = 0; i < SWAP_LAYERS; i++) assert_int_equal(swap[i].seen, SWAP_SEEN);
    return swap;
}

static void test_windows(void **state)
{
    (void)state;
    for (int global = 0; global < 2; global++) {
        const struct xc_swap *s = maps_of(XC_SWAP_LONGFORMER, 0, global, false);

        for (int i = 0; i < SWAP_LAYERS; i++) assert_int_equal(s[i].window, global ? swap_layers[i].window : swap_layers[i].window_no_global);
    }
    struct xc_swap *by_head = maps_of(XC_SWAP_LONGFORMER, 0, 1, true);

    for (int i = 0; i < SWAP_LAYERS; i++) {
        int widest = 0;

        for (int h = 0; h < SWAP_HEADS; h++) {
            assert_int_equal(by_head[i].windows[h], swap_layers[i].head_window[h]);
            widest = swap_layers[i].head_window[h] > widest ? swap_layers[i].head_window[h] : widest;
        }
        assert_int_equal(by_head[i].window, widest);
        xc_swap_release(&by_head[i]);
    }
}

static void test_slots(void **state)
{
    struct xc_swap *s = maps_of(XC_SWAP_LINFORMER, 0, 1, false);

    (void)state;
    for (int i = 0; i < SWAP_LAYERS; i++) {
        int size[SWAP_SLOTS] = { 0 };

        for (int p = 0; p < SWAP_SEEN; p++) size[swap_layers[i].slot[p]]++;
        for (int k = 0; k < SWAP_SLOTS; k++)
            for (int p = 0; p < SWAP_SEEN; p++)
                assert_true(fabs((double)s[i].e[k * SWAP_SEEN + p] - (swap_layers[i].slot[p] == k ? 1.0 / size[k] : 0)) < 1e-6);
        xc_swap_release(&s[i]);
    }
}

static void test_scores(void **state)
{
    enum { N = SWAP_SEEN };

    (void)state;
    for (int rank = 0; rank <= SWAP_RANK; rank += SWAP_RANK) {
        struct xc_swap *s = maps_of(XC_SWAP_SYNTHESIZER, rank, 1, false);

        for (int i = 0; i < SWAP_LAYERS; i++) {
            for (int at = 0; at < SWAP_HEADS * N * N; at++) {
                const int h = at / (N * N), row = at / N % N, col = at % N;
                double got = rank ? 0 : (double)s[i].r[at];

                for (int k = 0; k < rank; k++) got += (double)s[i].r[(h * N + row) * 2 * rank + k] * (double)s[i].r[(h * N + col) * 2 * rank + rank + k];
                if (!(fabs(got - (rank ? swap_layers[i].low : swap_layers[i].r)[at]) < 2e-5)) fail_msg("rank %d, layer %d, number %d is %g", rank, i, at, got);
            }
            xc_swap_release(&s[i]);
        }
    }
}

static void test_scale(void **state)
{
    const struct xc_swap *s = maps_of(XC_SWAP_REFORMER, 0, 1, false);

    (void)state;
    for (int i = 0; i < SWAP_LAYERS; i++) assert_true(fabs((double)s[i].scale / swap_layers[i].scale - 1) < 1e-6);
}

/* ---- the pass ---- */
/* How far b's answers to the texts are from a's: relative, of all; *drop (may be NULL): half the square of that of each answer, in the mean. */
static double distance(struct xc_model *a, struct xc_model *b, double *drop)
{
    float *x[2] = { NULL, NULL };
    double error = 0, all = 0, sum = 0;
    size_t length[TEXTS];
    int64_t n = 0;

    for (int i = 0; i < TEXTS; i++) length[i] = strlen(swap_texts[i]);
    for (int k = 0; k < 2; k++) {
        struct xc_session *s = NULL;
        struct xc_output out;

        OK(xc_session_new(&s, k ? b : a, NULL, &err));
        OK(xc_session_run_texts(s, swap_texts, length, TEXTS, &out, &err));
        n = out.rows * out.cols;
        x[k] = malloc((size_t)n * sizeof *x[k]);
        memcpy(x[k], out.data, (size_t)n * sizeof *x[k]);
        xc_session_free(&s);
    }
    for (int64_t r = 0; r < TEXTS; r++) {
        double own = 0, own_all = 0;

        for (int64_t i = r * n / TEXTS; i < (r + 1) * n / TEXTS; i++) {
            assert_true(isfinite(x[1][i]));
            own += ((double)x[0][i] - (double)x[1][i]) * ((double)x[0][i] - (double)x[1][i]);
            own_all += (double)x[0][i] * (double)x[0][i];
        }
        error += own, all += own_all, sum += 0.5 * own / own_all / TEXTS;
    }
    if (drop) *drop = sum;
    free(x[0]);
    free(x[1]);
    return sqrt(error / all);
}

/* Kinds that see everything are the dense model; others are not, but answer; each also in int8. */
static void test_kinds(void **state)
{
    static const struct { const char *options; double most, least; } kinds[] = {
        { "kind: longformer, window: 64", 1e-6, 0 },
        { "kind: longformer, window: auto, mass: 1", 1e-6, 0 },
        { "kind: longformer, window: auto, window_for: head, mass: 1", 1e-6, 0 },
        { "kind: longformer, window: 0, global: 1", 10, 1e-3 },
        { "kind: longformer, window: 0, global: 0", 10, 1e-3 },
        { "kind: linformer, slots: 4", 10, 1e-4 },
        { "kind: linformer, slots: 4, slots_for: head", 10, 1e-4 },
        { "kind: linformer, slots: 3, init: random", 10, 1e-4 },
        { "kind: reformer, chunk: 4, rounds: 2", 10, 1e-4 },
        { "kind: reformer, chunk: 4, share: query, buckets: 6", 10, 1e-4 },
        { "kind: synthesizer", 10, 1e-4 },
        { "kind: synthesizer, rank: 0, positions: 512", 10, 1e-4 },
        { "kind: synthesizer, init: random", 10, 1e-4 },
        { "kind: synthesizer, dot: yes", 1e-6, 0 },
        { "kind: synthesizer, dot: yes, rank: 0", 1e-6, 0 },
    };
    struct xc_model *m = tiny(), *made, *quantized;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(kinds); i++) {
        char yaml[256];
        double d;

        snprintf(yaml, sizeof yaml, "passes:\n  - swap_attention: {%s}\n", kinds[i].options);
        OK(tiny_model_compress(&made, NULL, m, yaml, list, 1, &err));
        OK(xc_model_verify(made, &err));
        d = distance(m, made, NULL);
        if (!(d <= kinds[i].most && d >= kinds[i].least)) fail_msg("%s: %g", kinds[i].options, d);
        OK(tiny_model_compress(&quantized, NULL, made, "passes: [quantize]", NULL, 1, &err));
        d = distance(made, quantized, NULL);
        if (!(d < 0.1)) fail_msg("%s, int8: %g", kinds[i].options, d);
        xc_model_free(&made);
        xc_model_free(&quantized);
    }
    xc_model_free(&m);
}

static void test_threads(void **state)
{
    static const char yaml[] = "seed: 5\npasses:\n  - swap_attention:\n      kind: linformer\n      slots: 5\n      overrides: [{match: \"encoder.layer.1.attention\", kind: reformer, chunk: 4}]\n";
    struct xc_model *m = tiny(), *one, *three;

    (void)state;
    OK(tiny_model_compress(&one, NULL, m, yaml, list, 1, &err));
    OK(tiny_model_compress(&three, NULL, m, yaml, list, 3, &err));
    assert_true(xc_model_find_tensor(one, "encoder.layer.0.attention.e") >= 0 && xc_model_find_tensor(one, "encoder.layer.1.attention.e") < 0);
    assert_true(xc_model_find_tensor(one, "encoder.layer.1.attention.rotations") >= 0);
    assert_true(xc_model_find_tensor(one, "encoder.layer.1.attention.self.key.weight") < 0); /* shared: gone */
    {
        static const char rounds[] = "passes:\n  - swap_attention: {kind: reformer, rounds: 9, targets: [\"encoder.layer.1.attention\"]}\n";
        const struct xc_tensor *r;
        struct xc_model *again;

        OK(tiny_model_compress(&again, NULL, one, rounds, NULL, 1, &err)); /* other hashes, and nothing else */
        r = again->tensors[xc_model_find_tensor(again, "encoder.layer.1.attention.rotations")];
        assert_int_equal(r->dim[1], 9 * 256 / 2); /* 512 positions in chunks of 4, two buckets each */
        assert_true(distance(one, again, NULL) < 0.2);
        xc_model_free(&again);
    }
    assert_int_equal(one->n_tensors, three->n_tensors);
    for (int32_t t = 0; t < one->n_tensors; t++) {
        OK(xc_tensor_load(one->tensors[t], &err));
        OK(xc_tensor_load(three->tensors[t], &err));
        assert_memory_equal(one->tensors[t]->part[XC_PART_DATA]->data, three->tensors[t]->part[XC_PART_DATA]->data, (size_t)xc_tensor_count(one->tensors[t]) * sizeof(float));
    }
    xc_model_free(&m);
    xc_model_free(&one);
    xc_model_free(&three);
}

static void test_positions(void **state)
{
    static const char yaml[] = "passes:\n  - swap_attention: {kind: dense, positions: 1100}\n";
    struct xc_model *m = tiny(), *made;
    struct xc_session *s = NULL;
    struct xc_output out;
    char text[1801];
    const char *one = text;
    size_t length = 1800;
    const float *x;
    struct xc_tensor *t;

    (void)state;
    OK(tiny_model_compress(&made, NULL, m, yaml, NULL, 1, &err));
    assert_true(distance(m, made, NULL) == 0);
    t = made->tensors[xc_model_find_tensor(made, "embeddings.position_embeddings.weight")];
    assert_int_equal(t->dim[0], 1100);
    x = (const float *)(const void *)t->part[XC_PART_DATA]->data;
    for (int64_t r = 512; r < 1100; r++) assert_memory_equal(x + r * t->dim[1], x + r % 512 * t->dim[1], (size_t)t->dim[1] * sizeof *x);
    for (int i = 0; i < 1800; i++) text[i] = i % 2 ? ' ' : 'a';
    text[1800] = 0;
    OK(xc_session_new(&s, made, NULL, &err));
    OK(xc_session_run_texts(s, &one, &length, 1, &out, &err));
    assert_int_equal(s->info.max_tokens, 1100);
    assert_true(isfinite(((const float *)out.data)[0]));
    xc_session_free(&s);
    xc_model_free(&m);
    xc_model_free(&made);
}

/* Costs rank the layers; a budget between the first and both stops after the first; controls are measured. */
static void test_budget(void **state)
{
    static const char all[] = "passes:\n  - swap_attention: {kind: linformer, slots: 4}\n", first[] = "passes:\n  - swap_attention: {kind: linformer, slots: 4, layers: 1}\n";
    struct xc_model *m = tiny(), *made;
    struct xc_compress_result r;
    double cost[2], both, seen;
    char yaml[128];

    (void)state;
    OK(tiny_model_compress(&made, &r, m, all, list, 1, &err));
    assert_int_equal(r.n_swaps, 2);
    assert_true(r.swaps[0].swapped && r.swaps[1].swapped);
    cost[0] = r.swaps[0].cost, cost[1] = r.swaps[1].cost, both = r.swap_drop;
    assert_true(cost[0] > 0 && cost[1] > 0 && both > 0 && r.swap_none > 0 && r.swap_local > 0 && r.swap_global > 0);
    assert_string_equal(r.swaps[0].to, "linformer, 4 slots of maps");
    distance(m, made, &seen);
    assert_true(fabs(both - seen) < 1e-4 * both);
    xc_compress_result_release(&r);
    xc_model_free(&made);
    OK(tiny_model_compress(&made, &r, m, first, list, 1, &err));
    assert_true(r.swaps[cost[1] < cost[0]].swapped && !r.swaps[cost[0] <= cost[1]].swapped);
    assert_true(fabs(r.swap_drop - fmin(cost[0], cost[1])) < 1e-12);
    xc_compress_result_release(&r);
    xc_model_free(&made);
    snprintf(yaml, sizeof yaml, "passes:\n  - swap_attention: {kind: linformer, slots: 4, budget: %.9g}\n", 0.5 * (fmin(cost[0], cost[1]) + both));
    OK(tiny_model_compress(&made, &r, m, yaml, list, 1, &err));
    assert_int_equal(r.swaps[0].swapped + r.swaps[1].swapped, fmin(cost[0], cost[1]) < both);
    xc_compress_result_release(&r);
    xc_model_free(&made);
    snprintf(yaml, sizeof yaml, "passes:\n  - swap_attention: {kind: linformer, slots: 4, budget: %.9g}\n", 0.5 * fmin(cost[0], cost[1]));
    OK(tiny_model_compress(&made, &r, m, yaml, list, 1, &err));
    assert_true(!r.swaps[0].swapped && !r.swaps[1].swapped && distance(m, made, NULL) == 0);
    xc_compress_result_release(&r);
    xc_model_free(&made);
    OK(tiny_model_compress(NULL, &r, m, all, list, 1, &err)); /* a plan measures nothing */
    assert_true(r.n_swaps == 2 && r.swaps[0].cost < 0);
    xc_compress_result_release(&r);
    xc_model_free(&m);
}

static void test_hostile(void **state)
{
    static const struct { const char *yaml; bool texts; const char *says, *where; } bad[] = {
        { "passes:\n  - swap_attention\n", false, "needs calibration texts", "recipe.yaml:2" },
        { "passes:\n  - swap_attention: {kind: linformer}\n", false, "set 'init' to random", "recipe.yaml:2" },
        { "passes:\n  - cast\n  - swap_attention: {kind: reformer, buckets: 5}\n", true, "must be even", "recipe.yaml:3" },
        { "passes:\n  - swap_attention: {kind: dense, positions: 100}\n", true, "never taken", "recipe.yaml:2" },
        { "passes:\n  - swap_attention: {kind: synthesizer, rank: 0, positions: 65536}\n", true, "give a rank", "recipe.yaml:2" },
        { "passes:\n  - swap_attention: {window: 8, targets: [linear]}\n", true, "no dense attention", "recipe.yaml:2" },
        { "passes:\n  - swap_attention: {window: 8, targets: [attention,\n      nothing]}\n", true, "matches no node", "recipe.yaml:3" },
        { "passes:\n  - swap_attention: {window: 8}\n  - swap_attention: {window: 8, targets: [\"encoder.layer.0.attention\"]}\n", true, "is not dense", "recipe.yaml:3" },
        { "passes:\n  - quantize\n  - swap_attention: {window: 8}\n", true, "no dense attention", "recipe.yaml:3" },
        { "passes:\n  - swap_attention: {window: 8, layers: 1}\n  - swap_attention: {window: 8}\n", true, "one pass 'swap_attention'", "recipe.yaml:3" },
    };
    struct xc_model *m = tiny(), *made = NULL;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(bad); i++) {
        if (tiny_model_compress(&made, NULL, m, bad[i].yaml, bad[i].texts ? list : NULL, 1, &err) == XC_OK) fail_msg("taken: %s", bad[i].yaml);
        if (made || !strstr(err.msg, bad[i].says) || !strstr(err.where, bad[i].where)) fail_msg("%s: %s (%s)", bad[i].yaml, err.msg, err.where);
    }
    xc_model_free(&m);
    {
        static const char word[] = "passes:\n  - swap_attention:\n      window: many\n";
        struct xc_recipe *r = NULL;

        assert_int_not_equal(xc_recipe_parse(&r, word, sizeof word - 1, "recipe.yaml", &err), XC_OK);
        assert_non_null(strstr(err.msg, "must be auto or a number"));
        assert_non_null(strstr(err.where, "recipe.yaml:3"));
    }
}

static void test_no_memory(void **state)
{
    static const char *const kinds[] = { "longformer", "linformer, slots: 4", "reformer, chunk: 4", "synthesizer", "synthesizer, rank: 0" };
    struct xc_model *m = tiny();

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(kinds); i++) {
        char yaml[128];
        bool done = false;

        snprintf(yaml, sizeof yaml, "passes:\n  - swap_attention: {kind: %s}\n", kinds[i]);
        for (int64_t n = 0; !done; n += n < 60 ? 11 : 97) {
            struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
            struct xc_compress_result result;
            struct xc_recipe *r = NULL;
            struct xc_model *made = NULL;
            enum xc_status status;

            OK(xc_recipe_parse(&r, yaml, strlen(yaml), "recipe.yaml", &err));
            opts.recipe = r;
            opts.calibrate = list;
            xc_alloc_fail_after(n);
            status = xc_compress_model(&made, m, NULL, false, &opts, &result, &err);
            xc_alloc_fail_after(-1);
            done = status == XC_OK;
            if (!done && status != XC_E_NOMEM) fail_msg("%s, allocation %lld: %s", kinds[i], (long long)n, err.msg);
            xc_compress_result_release(&result);
            xc_model_free(&made);
            xc_recipe_free(&r);
        }
    }
    xc_model_free(&m);
}

/* ---- weights at random ---- */
static void test_random(void **state)
{
    struct xc_load_opts opts = { .random = true, .seed = 4 };
    struct xc_model *a = NULL, *b = NULL;
    char path[1100];
    double sum = 0, square = 0;
    const float *x, *y;
    int64_t n;

    (void)state;
    snprintf(path, sizeof path, "%s/examples/long-documents/listops", root); /* has no weights */
    OK(xc_model_load(&a, path, &opts, &err));
    OK(xc_model_load(&b, path, &opts, &err));
    for (int32_t t = 0; t < a->n_tensors; t++) {
        x = (const float *)(const void *)a->tensors[t]->part[XC_PART_DATA]->data;
        n = xc_tensor_count(a->tensors[t]);
        assert_memory_equal(x, b->tensors[t]->part[XC_PART_DATA]->data, (size_t)n * sizeof *x);
        if (a->tensors[t]->rank == 1) assert_true(x[0] == (strstr(a->tensors[t]->name, "LayerNorm.weight") ? 1.0f : 0.0f));
    }
    x = (const float *)(const void *)a->tensors[xc_model_find_tensor(a, "embeddings.position_embeddings.weight")]->part[XC_PART_DATA]->data;
    n = 4096 * 64;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i], square += (double)x[i] * (double)x[i];
    assert_true(fabs(sum / (double)n) < 2e-4 && fabs(sqrt(square / (double)n) - 0.02) < 2e-4);
    xc_model_free(&b);
    opts.seed = 5;
    OK(xc_model_load(&b, path, &opts, &err));
    y = (const float *)(const void *)b->tensors[xc_model_find_tensor(b, "embeddings.position_embeddings.weight")]->part[XC_PART_DATA]->data;
    assert_true(x[0] != y[0]);
    xc_model_free(&a);
    xc_model_free(&b);
    opts.random = false;
    assert_int_not_equal(xc_model_load(&a, path, &opts, &err), XC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_windows), cmocka_unit_test(test_slots), cmocka_unit_test(test_scores), cmocka_unit_test(test_scale), cmocka_unit_test(test_kinds), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_positions), cmocka_unit_test(test_budget), cmocka_unit_test(test_hostile), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_random),
    };
    const char *at = getenv("XC_SOURCE_ROOT");
    FILE *f;
    int failed;

    snprintf(root, sizeof root, "%s", at ? at : ".");
    snprintf(list, sizeof list, "/tmp/xc-test-swap-%ld.txt", (long)getpid());
    f = fopen(list, "w");
    for (int i = 0; f && i < TEXTS; i++) fprintf(f, "%s\n", swap_texts[i]);
    if (!f || fclose(f)) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove(list);
    return failed;
}
