/* test_structured: passes that change shapes. Least squares against numpy (gen_least_squares.py); on tiny models of every family: cuts that
 * lose nothing give the same answers, budgets are met, widths differ by layer in graph, file and runtime, int8 follows, the same bytes for
 * any threads, hostile options, no memory. */
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

#include "compress/shrink/least_squares.h"
#include "compress/shrink/sites.h"
#include "compress/shrink/surgery.h"
#include "formats/tokenizer.h"
#include "runtime/base/rng.h"
#include "runtime/container/container.h"
#include "runtime/session/session.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tiny_model.h"
#include "tests/vectors/least_squares_vectors.h"
#include "xcompress/compress.h"

static char root[1024], dir[1024];
static const char *const families[] = { "tests/data/tiny-bert", "tests/vectors/arch/bert", "tests/vectors/arch/bert_classify", "tests/vectors/arch/bert_mlm", "tests/vectors/arch/distilbert",
                                        "tests/vectors/arch/distilbert_classify", "tests/vectors/arch/roberta", "tests/vectors/arch/roberta_tag" };

/* ---- least squares ---- */
static void sums(float *gram, float *cross, const float *x, const float *y, int n)
{
    for (int i = 0; i < n; i++) {
        for (int j = i; j < n; j++) {
            double sum = 0;

            for (int r = 0; r < LS_ROWS; r++) sum += (double)x[r * n + i] * (double)x[r * n + j];
            gram[i * n + j] = (float)sum;
            if (j > i) gram[j * n + i] = -999; /* the lower triangle is not read */
        }
        for (int c = 0; c < LS_M; c++) {
            double sum = 0;

            for (int r = 0; r < LS_ROWS; r++) sum += (double)x[r * n + i] * (double)y[r * LS_M + c];
            cross[i * LS_M + c] = (float)sum;
        }
    }
}

static void close_to(const float *got, const float *want, int n, double tolerance)
{
    for (int i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= tolerance * (1 + fabs((double)want[i])))) fail_msg("number %d is %g, not %g", i, (double)got[i], (double)want[i]);
}

static void test_least_squares(void **state)
{
    float gram[LS_MAX * LS_MAX], cross[LS_MAX * LS_M], w[LS_M * LS_MAX];
    struct xc_err err = { 0 };

    (void)state;
    for (size_t k = 0; k < XC_ARRAY_LEN(ls_cases); k++) {
        const int n = ls_cases[k].n, units = n / ls_cases[k].width;
        struct xc_cut c;

        sums(gram, cross, ls_cases[k].x, ls_cases[k].target, n);
        ok(xc_cut_make(&c, gram, LS_ROWS, ls_cases[k].w, n, LS_M, ls_cases[k].width, 1, LS_DAMP, &err), &err);
        for (int u = 0; u < units; u++) assert_int_equal(c.order[u], ls_cases[k].order[u]);
        ok(xc_cut_weights(&c, ls_cases[k].keep, w, &err), &err);
        close_to(w, ls_cases[k].cut, LS_M * n, 1e-5);
        assert_true(fabs(xc_cut_loss(&c, ls_cases[k].keep) - ls_cases[k].loss) < 1e-6);
        assert_true(xc_cut_loss(&c, units) < 1e-12 && fabs(xc_cut_loss(&c, 0) - 1) < 1e-12);
        xc_cut_release(&c);
        memcpy(w, ls_cases[k].w, sizeof w);
        ok(xc_refit(w, gram, cross, LS_ROWS, n, LS_M, LS_DAMP, NULL, &err), &err);
        close_to(w, ls_cases[k].fit, LS_M * n, 1e-5);
    }
    gram[0] = NAN;
    assert_int_equal(xc_refit(w, gram, cross, LS_ROWS, 4, LS_M, LS_DAMP, NULL, &err), XC_E_RANGE);
}

/* ---- models ---- */
static const char texts[] = "A man is playing a guitar.\nTwo dogs run in the city.\nIt rains.\nShe reads 24 books!\nthe plane lands on water\nno one knows why\n";

/* A model of any family with the tokenizer of tiny-bert, cut to the rows that its table has. */
static struct xc_model *load(const char *name)
{
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };

    ok(tiny_model(&m, root, name, &err), &err);
    return m;
}

static struct xc_recipe *recipe(const char *text)
{
    struct xc_recipe *r = NULL;
    struct xc_err err = { 0 };
    char copy[512], *save = NULL;

    ok(xc_recipe_new(&r, &err), &err); /* "pass option=value @target pass ..." */
    snprintf(copy, sizeof copy, "%s", text);
    for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *equals = strchr(word, '=');

        if (word[0] == '@') ok(xc_recipe_target(r, word + 1, &err), &err);
        else if (equals) {
            *equals = 0;
            ok(xc_recipe_set(r, word, equals + 1, &err), &err);
        } else ok(xc_recipe_add(r, word, &err), &err);
    }
    return r;
}

static enum xc_status compress_with(struct xc_model **out, const struct xc_model *m, const char *how, bool with_texts, int threads, uint64_t *planned, struct xc_err *err)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_recipe *r = recipe(how);
    struct xc_model *none = NULL;
    struct xc_pool *pool = NULL;
    enum xc_status status;

    ok(xc_pool_new(&pool, threads, err), err);
    opts.recipe = r;
    opts.calibrate = with_texts ? path_in(dir, "texts.txt") : NULL;
    opts.pool = pool;
    opts.no_golden = true;
    if (planned) {
        ok(xc_compress_model(&none, m, NULL, true, &opts, &result, err), err);
        *planned = result.output_bytes;
        xc_compress_result_release(&result);
    }
    status = xc_compress_model(out, m, NULL, false, &opts, &result, err);
    xc_compress_result_release(&result);
    xc_recipe_free(&r);
    xc_pool_free(&pool);
    return status;
}

/* The outputs of the test's texts. */
static float *outputs(struct xc_model *m, int64_t *n)
{
    const char *text[8];
    size_t length[8];
    struct xc_err err = { 0 };
    int64_t k = 0;
    float *answers;

    for (const char *at = texts; *at; at = strchr(at, '\n') + 1, k++) {
        text[k] = at;
        length[k] = (size_t)(strchr(at, '\n') - at);
    }
    ok(tiny_model_answers(&answers, n, m, text, length, k, &err), &err);
    return answers;
}

static double distance(struct xc_model *a, struct xc_model *b)
{
    int64_t n, k;
    float *x = outputs(a, &n), *y = outputs(b, &k);
    double d;

    assert_int_equal(n, k);
    for (int64_t i = 0; i < n; i++) assert_true(isfinite(y[i]));
    d = relative_distance(x, y, n);
    free(x);
    free(y);
    return d;
}

static struct xc_sites sites_of(struct xc_model *m)
{
    struct xc_sites s;
    struct xc_err err = { 0 };

    ok(xc_sites_find(&s, xc_model_find_graph(m, "encode"), &err), &err);
    return s;
}

static double macs(struct xc_model *m)
{
    struct xc_sites s = sites_of(m);
    double sum = 0;

    for (int64_t k = 0; k < s.n; k++) sum += xc_site_macs(&s.site[k], s.site[k].units, 64);
    xc_sites_release(&s);
    return sum;
}

/* Makes every second unit of every site worthless, on the side that `outside` says: nothing reads it, or it makes nothing. */
static void make_worthless(struct xc_model *m)
{
    struct xc_sites s = sites_of(m);
    struct xc_graph *g = xc_model_find_graph(m, "encode");
    struct xc_err err = { 0 };

    for (int64_t k = 0; k < s.n; k++) {
        struct xc_tensor *t = xc_site_weight(g, &s.site[k]);
        const int64_t n = xc_tensor_cols(t);
        float *w = NULL;

        ok(xc_surgery_numbers(&w, t, &err), &err);
        for (int64_t i = 0; i < xc_tensor_count(t); i++)
            if (i % n / s.site[k].width % 2 == 1) w[i] = 0;
        ok(xc_surgery_replace(t, t->rank, t->dim, w, &err), &err);
        xc_free(w);
    }
    xc_sites_release(&s);
}

/* What nobody reads goes without a trace, by either saliency. */
static void test_worthless_units(void **state)
{
    static const char *const how[] = { "shrink keep_heads=0.5 keep_neurons=0.5 saliency=magnitude update=no", "shrink keep_heads=0.5 keep_neurons=0.5 saliency=error update=no" };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(families); i++)
        for (int k = 0; k < 2; k++) {
            struct xc_model *m = load(families[i]), *made = NULL;
            struct xc_sites before, after;
            struct xc_err err = { 0 };
            uint64_t planned, written;

            make_worthless(m);
            ok(compress_with(&made, m, how[k], k == 1, 2, &planned, &err), &err);
            before = sites_of(m);
            after = sites_of(made);
            assert_int_equal(before.n, after.n);
            for (int64_t s = 0; s < after.n; s++) {
                assert_int_equal(after.site[s].units, (before.site[s].units + 1) / 2);
                assert_int_equal(after.site[s].width, before.site[s].width);
            }
            xc_sites_release(&before);
            xc_sites_release(&after);
            if (distance(m, made) > 2e-5) fail_msg("%s, %s: answers differ by %g", families[i], how[k], distance(m, made));
            ok(xc_save(made, path_in(dir, "worthless.xc"), false, NULL, NULL, &written, &err), &err);
            assert_int_equal(planned, written);
            xc_model_free(&m);
            xc_model_free(&made);
        }
}

/* A budget is met, layers differ, the file gives the same answers, int8 works on it, and least squares is better than magnitude. */
static void test_budget(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(families); i++) {
        struct xc_model *m = load(families[i]), *fit = NULL, *plain = NULL, *int8 = NULL, *back = NULL;
        struct xc_err err = { 0 };

        ok(compress_with(&fit, m, "shrink flops=0.85", true, 2, NULL, &err), &err);
        ok(compress_with(&plain, m, "shrink flops=0.85 saliency=magnitude update=no", false, 1, NULL, &err), &err);
        ok(compress_with(&int8, m, "shrink speedup=1.17 quantize", true, 2, NULL, &err), &err);
        assert_true(macs(fit) <= 0.85 * macs(m) && macs(plain) <= 0.85 * macs(m));
        assert_true(macs(fit) > 0.4 * macs(m));
        /* random weights and sixty tokens: little is redundant, but never much worse; where every token counts, better */
        if (!(distance(m, fit) < (i < 2 ? 1.0 : 1.5) * distance(m, plain))) fail_msg("%s: fitted %g, by magnitude %g", families[i], distance(m, fit), distance(m, plain));
        assert_true(distance(m, int8) < 0.9);
        ok(xc_save(int8, path_in(dir, "budget.xc"), true, NULL, NULL, NULL, &err), &err);
        ok(xc_model_open(&back, path_in(dir, "budget.xc"), &err), &err);
        assert_true(distance(int8, back) == 0);
        xc_model_free(&back);
        xc_model_free(&m);
        xc_model_free(&fit);
        xc_model_free(&plain);
        xc_model_free(&int8);
    }
}

static void same_bytes(const char *how, const char *name)
{
    uint8_t *first = NULL;
    size_t n_first = 0;

    for (int threads = 1; threads <= 3; threads++) {
        struct xc_model *m = load(name), *made = NULL;
        struct xc_err err = { 0 };
        uint8_t *bytes;
        uint64_t n;
        FILE *f;

        ok(compress_with(&made, m, how, true, threads, NULL, &err), &err);
        ok(xc_save(made, path_in(dir, "same.xc"), false, NULL, NULL, &n, &err), &err);
        f = fopen(path_in(dir, "same.xc"), "rb");
        bytes = malloc((size_t)n);
        assert_true(f && bytes && fread(bytes, 1, (size_t)n, f) == n);
        fclose(f);
        if (first) {
            assert_int_equal(n, n_first);
            assert_memory_equal(bytes, first, n);
            free(bytes);
        } else {
            first = bytes;
            n_first = (size_t)n;
        }
        xc_model_free(&m);
        xc_model_free(&made);
    }
    free(first);
}

static void test_same_bytes(void **state)
{
    (void)state;
    same_bytes("shrink flops=0.6", "tests/data/tiny-bert");
    same_bytes("drop_layers keep=1 low_rank rank=4 @linear prune_vocabulary quantize", "tests/data/tiny-bert");
}

/* ---- layers ---- */
static void write_text(const char *path, const char *text, size_t n)
{
    FILE *const f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static char *read_text(const char *path, size_t *n)
{
    FILE *const f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);

    assert_true(f && text);
    *n = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    return text;
}

/* The first layer alone is what a config.json of one layer describes, to the bit. */
static void test_drop_layers(void **state)
{
    static const char *const how[] = { "drop_layers keep=1 by=last", "drop_layers keep=1 by=even", "drop_layers @re:encoder\\.layer\\.1\\..*" };
    static const char *const files[] = { "config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json" };
    struct xc_model *m = load("tests/data/tiny-bert"), *one = NULL, *made = NULL;
    struct xc_err err = { 0 };
    char to[3000];

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(files); i++) {
        char from[3000], *text, *at;
        size_t n;

        snprintf(from, sizeof from, "%s/tests/data/tiny-bert/%s", root, files[i]);
        snprintf(to, sizeof to, "%s/%s", dir, files[i]);
        text = read_text(from, &n);
        at = i ? NULL : strstr(text, "\"num_hidden_layers\": 2");
        if (!i) assert_non_null(at);
        if (at) at[strlen("\"num_hidden_layers\": ")] = '1';
        write_text(to, text, n);
        free(text);
    }
    ok(xc_import(&one, dir, &err), &err);
    for (size_t i = 0; i < XC_ARRAY_LEN(how); i++) {
        ok(compress_with(&made, m, how[i], false, 1, NULL, &err), &err);
        assert_true(distance(one, made) == 0);
        assert_int_equal(xc_model_find_graph(made, "encode")->n_nodes, xc_model_find_graph(one, "encode")->n_nodes);
        assert_true(xc_model_find_tensor(made, "encoder.layer.1.output.dense.weight") < 0);
        xc_model_free(&made);
    }
    ok(compress_with(&made, m, "drop_layers keep=1", true, 1, NULL, &err), &err); /* by error: the better of the two */
    const double best = distance(m, made), first = distance(m, one);

    xc_model_free(&made);
    ok(compress_with(&made, m, "drop_layers @re:encoder\\.layer\\.0\\..*", false, 1, NULL, &err), &err);
    assert_true(best <= first + 1e-9 && best <= distance(m, made) + 1e-9 && (best >= first - 1e-9 || best >= distance(m, made) - 1e-9));
    xc_model_free(&made);
    xc_model_free(&one);
    xc_model_free(&m);
}

/* ---- low rank ---- */
/* Weights that have that rank come back as they were; of others, the error is that of the singular values left out. */
/* A Synthesizer's matrix of rank 3 is its two factors of rank 3; of rank 2 it is less, but as near as the third singular value says. */
static void test_low_rank_random(void **state)
{
    enum { H = 2, L = 512, RANK = 3 };
    struct xc_model *m = load("tests/data/tiny-bert"), *dense = m, *made = NULL, *rough = NULL;
    struct xc_err err = { 0 };
    struct xc_tensor *t = NULL;
    struct xc_rng rng;
    uint64_t planned, written;
    float *w = calloc((size_t)H * L * L, sizeof *w), *x;

    (void)state;
    ok(compress_with(&m, dense, "swap_attention kind=synthesizer rank=0 init=random layers=1", false, 1, NULL, &err), &err);
    for (int32_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i]->rank == 2 && m->tensors[i]->dim[0] == H * L && m->tensors[i]->dim[1] == L) t = m->tensors[i];
    assert_non_null(t);
    xc_rng_init(&rng, 3, 77);
    for (int64_t k = 0; k < H * RANK; k++) {
        float a[L], b[L];

        for (int i = 0; i < L; i++) a[i] = (float)xc_rng_normal(&rng), b[i] = (float)xc_rng_normal(&rng);
        for (int64_t i = 0; i < L * L; i++) w[k / RANK * L * L + i] += a[i / L] * b[i % L];
    }
    ok(xc_surgery_replace(t, 2, (int64_t[]){ H * L, L }, w, &err), &err);
    ok(compress_with(&made, m, "low_rank rank=3 @attention", false, 1, &planned, &err), &err);
    if (distance(m, made) > 1e-4) fail_msg("answers differ by %g", distance(m, made));
    ok(xc_save(made, path_in(dir, "low.xc"), false, NULL, NULL, &written, &err), &err);
    assert_int_equal(planned, written);
    ok(xc_surgery_numbers(&x, made->tensors[xc_model_find_tensor(made, t->name)], &err), &err);
    for (int64_t i = 0; i < H * L; i += 37)
        for (int64_t j = 0; j < L; j += 29) {
            double dot = 0;

            for (int64_t k = 0; k < RANK; k++) dot += (double)x[i * 2 * RANK + k] * (double)x[(i / L * L + j) * 2 * RANK + RANK + k];
            if (!(fabs(dot - (double)w[i * L + j]) < 1e-4)) fail_msg("row %d, column %d is %g", (int)i, (int)j, dot);
        }
    xc_free(x);
    ok(compress_with(&rough, m, "low_rank rank=2 @attention", false, 1, NULL, &err), &err);
    assert_true(distance(m, rough) > 1e-3);
    free(w);
    xc_model_free(&rough);
    xc_model_free(&made);
    xc_model_free(&m);
    xc_model_free(&dense);
}

static void test_low_rank(void **state)
{
    static const char *const names[] = { "encoder.layer.0.intermediate.dense", "encoder.layer.1.output.dense", "embeddings.word_embeddings" };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(names); i++)
        for (int with_texts = 0; with_texts < 2; with_texts++) {
            struct xc_model *m = load("tests/data/tiny-bert"), *made = NULL, *rough = NULL;
            char tensor[128], how[256];
            struct xc_err err = { 0 };
            struct xc_tensor *t;
            struct xc_rng rng;
            uint64_t planned, written;
            float *w;

            snprintf(tensor, sizeof tensor, "%s.weight", names[i]);
            t = m->tensors[xc_model_find_tensor(m, tensor)];
            const int64_t N = xc_tensor_rows(t), K = xc_tensor_cols(t);

            w = calloc((size_t)(N * K), sizeof *w);
            xc_rng_init(&rng, 3, i);
            for (int r = 0; r < 5; r++) {
                float a[512], b[512];

                for (int64_t n = 0; n < N; n++) a[n] = 0.2f * ((float)xc_rng_unit(&rng) - 0.5f);
                for (int64_t k = 0; k < K; k++) b[k] = (float)xc_rng_unit(&rng) - 0.5f;
                for (int64_t n = 0; n < N * K; n++) w[n] += a[n / K] * b[n % K];
            }
            ok(xc_surgery_replace(t, 2, t->dim, w, &err), &err);
            free(w);
            snprintf(how, sizeof how, "low_rank rank=5 @%s", names[i]);
            ok(compress_with(&made, m, how, with_texts, 1, &planned, &err), &err);
            if (distance(m, made) > 1e-4) fail_msg("%s: answers differ by %g", names[i], distance(m, made));
            ok(xc_save(made, path_in(dir, "low.xc"), false, NULL, NULL, &written, &err), &err);
            assert_int_equal(planned, written);
            snprintf(how, sizeof how, "low_rank rank=3 @%s", names[i]);
            ok(compress_with(&rough, m, how, with_texts, 1, NULL, &err), &err);
            assert_true(distance(m, rough) > 1e-3 && distance(m, rough) < 0.9);
            xc_model_free(&rough);
            xc_model_free(&made);
            xc_model_free(&m);
        }
}

/* ---- vocabulary ---- */
/* Texts of kept tokens: the same answers, to the bit; others: shorter or longer, never out of the table. */
static void test_vocabulary(void **state)
{
    static const char *const models[] = { "tests/data/tiny-bert", "tests/vectors/arch/bert_mlm", "tests/vectors/arch/bert_mlm_untied", "tests/vectors/arch/roberta" };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(models); i++) {
        struct xc_model *m = load(models[i]), *made = NULL;
        const bool mlm = strstr(models[i], "mlm") != NULL;
        struct xc_model_info was, now;
        struct xc_session *s = NULL;
        struct xc_output out;
        struct xc_err err = { 0 };
        uint64_t planned, written;
        const char *const strange = "Zyzzyva quixotic \xe2\x98\x83 @#~";
        const size_t length = strlen(strange);

        ok(compress_with(&made, m, "prune_vocabulary characters=no", true, 1, &planned, &err), &err);
        ok(xc_model_info(m, &was, &err), &err);
        ok(xc_model_info(made, &now, &err), &err);
        assert_true(now.vocab_size < was.vocab_size);
        if (mlm) assert_int_equal(now.output_cols, now.vocab_size);
        else assert_true(distance(m, made) == 0);
        ok(xc_save(made, path_in(dir, "words.xc"), false, NULL, NULL, &written, &err), &err);
        assert_int_equal(planned, written);
        ok(xc_session_new(&s, made, NULL, &err), &err);
        ok(xc_session_run_texts(s, &strange, &length, 1, &out, &err), &err);
        xc_session_free(&s);
        xc_model_free(&made);
        xc_model_free(&m);
    }
}

/* Real vocabularies, WordPiece and byte-level BPE: every third text gives its tokens; they are encoded as before, the others to something. */
static void test_subset_of_tokenizers(void **state)
{
    static const char *const names[] = { "uncased", "cased", "roberta", "gpt2" };
    static const char *const words[] = { "The quick brown fox", "unbelievable circumstances", "Haus und Hof", "don't stop, it's 1999!", "x\xc3\xa9y \xf0\x9f\x98\x80" };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(names); i++) {
        struct xc_buf *section = NULL, *small = NULL;
        struct xc_tokenizer *tok = NULL, *less = NULL;
        const struct xc_encode_opts all = { .no_truncate = true };
        struct xc_tokens a = { 0 }, b = { 0 };
        struct xc_err err = { 0 };
        uint8_t *keep;
        int32_t *new_id, n = 0, total;
        char path[64];

        snprintf(path, sizeof path, "tests/vectors/tokenizer/%s", names[i]);
        ok(xc_tokenizer_compile(&section, path_in(root, path), NULL, &err), &err);
        ok(xc_tokenizer_open(&tok, section, &err), &err);
        total = xc_tokenizer_vocab_size(tok);
        keep = calloc((size_t)total, 1);
        new_id = calloc((size_t)total, sizeof *new_id);
        for (size_t w = 0; w < 4; w++) ok(xc_tokenizer_encode(tok, &a, words[w], strlen(words[w]), NULL, 0, &all, &err), &err);
        for (size_t t = 0; t < a.n; t++) keep[a.ids[t]] = 1;
        ok(xc_tokenizer_close_set(keep, section, true, &err), &err);
        for (int32_t t = 0; t < total; t++) new_id[t] = keep[t] ? n++ : -1;
        assert_true(n < total);
        ok(xc_tokenizer_subset(&small, section, new_id, &err), &err);
        assert_true(small->size < section->size);
        ok(xc_tokenizer_open(&less, small, &err), &err);
        assert_int_equal(xc_tokenizer_vocab_size(less), n);
        for (size_t w = 0; w < 4; w++) ok(xc_tokenizer_encode(less, &b, words[w], strlen(words[w]), NULL, 0, &all, &err), &err);
        assert_int_equal(a.n, b.n);
        for (size_t t = 0; t < a.n; t++) assert_int_equal(b.ids[t], new_id[a.ids[t]]);
        a.n = b.n = 0; /* a word that was one token and is not there: it is spelled by what is left */
        ok(xc_tokenizer_encode(less, &b, words[4], strlen(words[4]), NULL, 0, &all, &err), &err);
        ok(xc_tokenizer_encode(less, &b, "something", 9, NULL, 0, &all, &err), &err);
        for (size_t t = 0; t < b.n; t++) assert_in_range(b.ids[t], 0, n - 1);
        for (size_t t = 0; t < b.n && i < 2; t++) /* characters of the vocabulary are kept: none of "something" is unknown */
            if (t >= 4 && b.words[t] >= 0) assert_int_not_equal(b.ids[b.n - 2], xc_tokenizer_special(less, XC_TOKEN_UNK));
        xc_tokens_release(&a);
        xc_tokens_release(&b);
        xc_tokenizer_free(&tok);
        xc_tokenizer_free(&less);
        xc_buf_unref(&section);
        xc_buf_unref(&small);
        free(keep);
        free(new_id);
    }
}

/* ---- hostile ---- */
static void refused(const char *model, const char *how, bool with_texts, enum xc_status want, const char *text)
{
    struct xc_model *m = load(model), *made = NULL;
    struct xc_err err = { 0 };
    const enum xc_status status = compress_with(&made, m, how, with_texts, 1, NULL, &err);

    if (status != want || !strstr(err.msg, text)) fail_msg("'%s': %d, '%s'", how, (int)status, err.msg);
    assert_null(made);
    xc_model_free(&m);
}

static void test_refused(void **state)
{
    static const char *const tiny = "tests/data/tiny-bert";
    static const char *const outside[][2] = { { "flops", "0" }, { "flops", "1.5" }, { "flops", "-1" }, { "flops", "nan" }, { "speedup", "0.5" }, { "keep_heads", "1.01" }, { "tokens", "0" }, { "damp", "0" } };
    struct xc_model *m = load(tiny), *made = NULL;
    struct xc_sites s;
    struct xc_err err = { 0 };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(outside); i++) {
        struct xc_recipe *r = recipe("shrink");

        assert_int_not_equal(xc_recipe_set(r, outside[i][0], outside[i][1], &err), XC_OK);
        xc_recipe_free(&r);
    }
    refused(tiny, "shrink", true, XC_E_ARG, "nothing to do");
    refused(tiny, "shrink flops=0.5 speedup=2", true, XC_E_ARG, "say the same");
    refused(tiny, "shrink flops=0.5 keep_heads=0.5", true, XC_E_ARG, "give one of them");
    refused(tiny, "shrink flops=0.5", false, XC_E_ARG, "calibration texts");
    refused(tiny, "shrink flops=0.01", true, XC_E_RANGE, "cannot be");
    refused(tiny, "shrink flops=0.5 heads=no neurons=no", true, XC_E_UNSUPPORTED, "no heads or neurons");
    refused(tiny, "quantize shrink flops=0.5", true, XC_E_UNSUPPORTED, "before quantization");
    refused(tiny, "shrink flops=0.5 @nowhere", true, XC_E_NOT_FOUND, "nowhere");
    refused(tiny, "drop_layers", true, XC_E_ARG, "nothing to do");
    refused(tiny, "drop_layers keep=3", true, XC_E_RANGE, "2 layers");
    refused(tiny, "drop_layers keep=1 @re:encoder\\.layer\\.0\\..*", true, XC_E_ARG, "give one of them");
    refused(tiny, "drop_layers @re:encoder\\.layer\\..*", true, XC_E_ARG, "all 2 layers");
    refused(tiny, "low_rank rank=1000 @encoder.layer.0.output.dense", true, XC_E_UNSUPPORTED, "not smaller");
    refused(tiny, "low_rank @encoder.layer.0.ffn.act", true, XC_E_UNSUPPORTED, "no weight");
    refused(tiny, "prune_vocabulary", false, XC_E_ARG, "texts");
    refused("tests/vectors/arch/bert_mlm", "low_rank @embeddings.word_embeddings", true, XC_E_UNSUPPORTED, "other nodes");
    /* all heads asked for, one stays */
    ok(compress_with(&made, m, "shrink keep_heads=0.001 keep_neurons=0.001", true, 1, NULL, &err), &err);
    s = sites_of(made);
    for (int64_t i = 0; i < s.n; i++) assert_int_equal(s.site[i].units, 1);
    assert_true(distance(m, made) < 2);
    xc_sites_release(&s);
    xc_model_free(&made);
    /* a weight that is not finite is named, or at least never written */
    struct xc_tensor *t = m->tensors[xc_model_find_tensor(m, "encoder.layer.0.intermediate.dense.weight")];

    ok(xc_tensor_load(t, &err), &err);
    ((float *)(void *)t->part[XC_PART_DATA]->data)[7] = NAN;
    assert_int_equal(compress_with(&made, m, "shrink flops=0.5", true, 1, NULL, &err), XC_E_RANGE);
    assert_int_equal(compress_with(&made, m, "low_rank rank=2 @encoder.layer.0.intermediate.dense", false, 1, NULL, &err), XC_E_RANGE);
    xc_model_free(&m);
}

/* Layers that keep all their heads are fitted behind the cuts before them, and so are those cut by gradients: in numbers of their own, not in those of the
 * model that was given (which may be a mapped file's). */
static void test_source_untouched(void **state)
{
    static const char *const how[] = { "shrink keep_neurons=0.5", "shrink keep_heads=0.5 keep_neurons=0.5 saliency=fisher" };
    struct xc_model *m = load("tests/data/tiny-bert"), *was = load("tests/data/tiny-bert");

    (void)state;
    for (size_t k = 0; k < XC_ARRAY_LEN(how); k++) {
        struct xc_model *made = NULL;
        struct xc_err err = { 0 };

        ok(compress_with(&made, m, how[k], true, 2, NULL, &err), &err);
        for (int32_t i = 0; i < m->n_tensors; i++) {
            ok(xc_tensor_load(m->tensors[i], &err), &err);
            ok(xc_tensor_load(was->tensors[i], &err), &err);
            assert_memory_equal(m->tensors[i]->part[XC_PART_DATA]->data, was->tensors[i]->part[XC_PART_DATA]->data, (size_t)xc_tensor_count(m->tensors[i]) * sizeof(float));
        }
        xc_model_free(&made);
    }
    xc_model_free(&m);
    xc_model_free(&was);
}

static void test_no_memory(void **state)
{
    static const char *const how[] = { "shrink flops=0.6", "shrink flops=0.6 saliency=fisher", "drop_layers keep=1", "low_rank rank=4 @linear @gather", "prune_vocabulary" };
    struct xc_model *m = load("tests/data/tiny-bert");

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(how); i++) {
        struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
        struct xc_recipe *r = recipe(how[i]);
        bool done = false;

        opts.recipe = r;
        opts.calibrate = path_in(dir, "texts.txt");
        for (int64_t n = 0; !done; n += n < 100 ? 7 : 61) {
            struct xc_compress_result result;
            struct xc_model *made = NULL;
            struct xc_err err = { 0 };
            enum xc_status status;

            xc_alloc_fail_after(n);
            status = xc_compress_model(&made, m, NULL, false, &opts, &result, &err);
            xc_alloc_fail_after(-1);
            done = status == XC_OK;
            if (!done && status != XC_E_NOMEM) fail_msg("%s, allocation %lld: %s", how[i], (long long)n, err.msg);
            xc_compress_result_release(&result);
            xc_model_free(&made);
        }
        xc_recipe_free(&r);
    }
    xc_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_least_squares), cmocka_unit_test(test_worthless_units), cmocka_unit_test(test_budget), cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_drop_layers),
        cmocka_unit_test(test_low_rank), cmocka_unit_test(test_low_rank_random), cmocka_unit_test(test_vocabulary), cmocka_unit_test(test_subset_of_tokenizers), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_source_untouched), cmocka_unit_test(test_no_memory),
    };
    int failed;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "structured")) return 1;
    write_text(path_in(dir, "texts.txt"), texts, sizeof texts - 1);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, failed);
}
