/* test_session: one answer per sequence, whatever surrounds it: plan or plain, batch, order, threads, the other session; what is refused, and
 * with what words; no allocation per run after the first of a size; failed allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/formats.h"
#include "runtime/base/base.h"
#include "runtime/base/rng.h"
#include "tests/unit/scratch.h"
#include "xcompress/compress.h"

#define N_SEQ 11
#define MOST 400 /* tokens of a batch */

static const int lengths[N_SEQ] = { 1, 17, 2, 5, 26, 3, 1, 16, 9, 24, 13 };
static const char *const checkpoints[] = { "bert", "bert_classify", "bert_tag", "bert_mlm", "bert_f16_k312", "bert_st_max", "distilbert", "roberta", "longformer_classify" };

static struct xc_model *load(const char *name, bool int8)
{
    const char *const root = getenv("XC_SOURCE_ROOT");
    const struct xc_load_opts opts = { .load_tensors = true };
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    struct xc_model *m = NULL, *made = NULL;
    struct xc_err err = { 0 };
    char path[4096];

    snprintf(path, sizeof path, "%s/tests/%s/%s", root ? root : ".", strcmp(name, "tiny-bert") ? "vectors/arch" : "data", name);
    ok(xc_model_load(&m, path, &opts, &err), &err);
    if (!int8) return m;
    how.quantize = "int8";
    how.no_golden = true;
    ok(xc_compress_model(&made, m, NULL, false, &how, &result, &err), &err);
    xc_compress_result_release(&result);
    xc_model_free(&m);
    return made;
}

/* ---- batches ---- */
struct batch {
    int32_t ids[MOST];
    uint8_t types[MOST];
    int64_t start[N_SEQ + 1];
    int64_t n;
};

/* Sequence `which` is always the same: its length, ids and types depend on its number alone. */
static void add(struct batch *b, const struct xc_model_info *info, int which)
{
    const int most = info->max_positions ? info->max_positions : 26, n = lengths[which] < most ? lengths[which] : most;
    struct xc_rng rng;

    xc_rng_init(&rng, 7, (uint64_t)which);
    for (int i = 0; i < n; i++) {
        b->ids[b->start[b->n] + i] = (int32_t)xc_rng_below(&rng, (uint64_t)info->vocab_size);
        b->types[b->start[b->n] + i] = 0;
    }
    b->start[b->n + 1] = b->start[b->n] + n;
    b->n++;
}

static struct xc_session *session(struct xc_model *m, struct xc_pool *pool, bool plain)
{
    const struct xc_session_opts opts = { .pool = pool, .plain = plain };
    struct xc_session *s = NULL;
    struct xc_err err = { 0 };

    ok(xc_session_new(&s, m, &opts, &err), &err);
    return s;
}

struct answer {
    float *data;
    int64_t n;
};

static void answer_of(struct answer *a, const struct xc_output *out, int64_t i)
{
    const int64_t row0 = out->start ? out->start[i] : i, rows = out->start ? out->start[i + 1] - row0 : 1;

    a->n = rows * out->cols;
    a->data = malloc((size_t)a->n * sizeof *a->data + 1);
    assert_non_null(a->data);
    memcpy(a->data, out->data + row0 * out->cols, (size_t)a->n * sizeof *a->data);
}

static void expect_answer(const struct answer *a, const struct xc_output *out, int64_t i)
{
    struct answer got;

    answer_of(&got, out, i);
    assert_int_equal(got.n, a->n);
    assert_memory_equal(got.data, a->data, (size_t)a->n * sizeof *a->data);
    free(got.data);
}

static void run(struct xc_session *s, const struct batch *b, struct xc_output *out)
{
    struct xc_err err = { 0 };

    ok(xc_session_run_ids(s, b->ids, b->types, b->start, b->n, out, &err), &err);
    assert_int_equal(out->n, b->n);
    assert_int_equal(out->tokens, b->start[b->n]);
}

static void check_batches(struct xc_session *s, const struct xc_model_info *info, const struct answer *want)
{
    struct xc_output out;

    for (int order = 0; order < 3; order++)
        for (int size = 1; size <= N_SEQ; size += size < 4 ? 1 : 7)
            for (int first = 0; first < N_SEQ; first += size) {
                struct batch b = { .n = 0 };
                int which[N_SEQ];

                for (int i = first; i < first + size && i < N_SEQ; i++) {
                    which[b.n] = order == 0 ? i : order == 1 ? N_SEQ - 1 - i : i * 4 % N_SEQ;
                    add(&b, info, which[b.n]);
                }
                run(s, &b, &out);
                for (int64_t i = 0; i < b.n; i++) expect_answer(&want[which[i]], &out, i);
            }
}

/* Weights read node by node: the same bits, and none stays in memory. */
static void check_lazy(struct xc_model *m, const struct xc_model_info *info, const struct answer *want)
{
    const struct xc_session_opts opts = { .lazy = true };
    struct xc_session *s = NULL;
    struct xc_err err = { 0 };

    for (int32_t t = 0; t < m->n_tensors; t++) xc_tensor_drop(m->tensors[t]);
    ok(xc_session_new(&s, m, &opts, &err), &err);
    check_batches(s, info, want);
    for (int32_t t = 0; t < m->n_tensors; t++) assert_true(!m->tensors[t]->source || !m->tensors[t]->part[XC_PART_DATA]);
    xc_session_free(&s);
}

static void check_model(struct xc_model *m)
{
    struct xc_session *s = session(m, NULL, true);
    struct answer want[N_SEQ];
    struct xc_model_info info;
    struct xc_output out;

    ok(xc_model_info(m, &info, NULL), &(struct xc_err){ 0 });
    for (int i = 0; i < N_SEQ; i++) { /* the meaning: node by node, alone, one thread */
        struct batch b = { .n = 0 };

        add(&b, &info, i);
        run(s, &b, &out);
        answer_of(&want[i], &out, 0);
    }
    check_batches(s, &info, want);
    xc_session_free(&s);
    for (int threads = 1; threads <= 3; threads++) {
        struct xc_pool *pool = NULL;
        struct xc_err err = { 0 };

        ok(xc_pool_new(&pool, threads, &err), &err);
        s = session(m, pool, false);
        check_batches(s, &info, want);
        xc_session_free(&s);
        s = session(m, pool, true);
        check_batches(s, &info, want);
        xc_session_free(&s);
        xc_pool_free(&pool);
    }
    check_lazy(m, &info, want);
    for (int i = 0; i < N_SEQ; i++) free(want[i].data);
}

static void same_bits(bool int8)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(checkpoints); i++) {
        struct xc_model *m = load(checkpoints[i], int8);

        check_model(m);
        xc_model_free(&m);
    }
}

static void test_same_bits_f32(void **state) { (void)state; same_bits(false); }
static void test_same_bits_int8(void **state) { (void)state; same_bits(true); }

/* ---- allocations ---- */
static void test_no_allocation(void **state)
{
    (void)state;
    for (int int8 = 0; int8 < 2; int8++)
        for (int threads = 1; threads <= 2; threads++) {
            struct xc_model *m = load("bert", int8);
            struct xc_pool *pool = NULL;
            struct xc_model_info info;
            struct batch all = { .n = 0 }, one = { .n = 0 };
            struct xc_session *s;
            struct xc_output out;
            int64_t before;

            ok(xc_pool_new(&pool, threads, NULL), &(struct xc_err){ 0 });
            ok(xc_model_info(m, &info, NULL), &(struct xc_err){ 0 });
            s = session(m, pool, false);
            for (int i = 0; i < N_SEQ; i++) add(&all, &info, i);
            add(&one, &info, 4);
            run(s, &all, &out);
            run(s, &one, &out);
            before = xc_alloc_count();
            for (int i = 0; i < 5; i++) {
                run(s, &all, &out);
                run(s, &one, &out);
            }
            assert_int_equal(xc_alloc_count(), before);
            xc_session_free(&s);
            xc_pool_free(&pool);
            xc_model_free(&m);
        }
}

/* Every allocation of making a session and of its first run fails once: an error, and the same answer the next time. */
static void test_no_memory(void **state)
{
    (void)state;
    for (int int8 = 0; int8 < 2; int8++) {
        struct xc_model *m = load("bert", int8);
        struct xc_session *s = session(m, NULL, false);
        struct xc_model_info info;
        struct batch b = { .n = 0 };
        struct answer want[3];
        struct xc_output out;
        bool done = false;

        ok(xc_model_info(m, &info, NULL), &(struct xc_err){ 0 });
        for (int i = 0; i < 3; i++) add(&b, &info, i);
        run(s, &b, &out);
        for (int i = 0; i < 3; i++) answer_of(&want[i], &out, i);
        xc_session_free(&s);
        for (int64_t n = 0; !done; n++) {
            struct xc_err err = { 0 };
            enum xc_status status;

            assert_true(n < 5000);
            xc_alloc_fail_after(n);
            status = xc_session_new(&s, m, NULL, &err);
            if (status == XC_OK) status = xc_session_run_ids(s, b.ids, b.types, b.start, b.n, &out, &err);
            else assert_null(s);
            xc_alloc_fail_after(-1);
            if (status != XC_OK) {
                assert_int_equal(status, XC_E_NOMEM);
                assert_int_equal(err.code, XC_E_NOMEM);
            }
            if (s) { /* it still works */
                done = status == XC_OK;
                run(s, &b, &out);
                for (int i = 0; i < 3; i++) expect_answer(&want[i], &out, i);
            }
            xc_session_free(&s);
        }
        for (int i = 0; i < 3; i++) free(want[i].data);
        xc_model_free(&m);
    }
}

/* ---- edges ---- */
static void expect_range(struct xc_session *s, const struct batch *b, const char *a, const char *c)
{
    struct xc_output out = { .rows = 99 };
    struct xc_err err = { 0 };

    assert_int_equal(xc_session_run_ids(s, b->ids, b->types, b->start, b->n, &out, &err), XC_E_RANGE);
    assert_null(out.data);
    assert_int_equal(out.rows, 0);
    if (!strstr(err.msg, a) || !strstr(err.msg, c)) fail_msg("'%s' says neither '%s' nor '%s'", err.msg, a, c);
}

static void check_edges(const char *name, bool int8, bool plain)
{
    struct xc_model *m = load(name, int8);
    struct xc_session *s = session(m, NULL, plain);
    struct xc_model_info info;
    struct batch b = { .n = 0 }, none = { .n = 0 }, bad;
    struct answer want[2];
    struct xc_output out;
    struct xc_err err = { 0 };
    char text[64];

    ok(xc_model_info(m, &info, NULL), &err);
    ok(xc_session_run_ids(s, NULL, NULL, NULL, 0, &out, &err), &err); /* a batch of none */
    assert_int_equal(out.rows, 0);
    assert_int_equal(out.n, 0);
    run(s, &none, &out);
    assert_int_equal(out.rows, 0);
    assert_int_equal(out.cols, info.output_cols);
    add(&b, &info, 1);
    add(&b, &info, 3);
    run(s, &b, &out);
    for (int i = 0; i < 2; i++) answer_of(&want[i], &out, i);

    bad = (struct batch){ .n = 0 }; /* "", 1, "", 3, "" */
    for (int i = 0; i < 5; i++) {
        if (i % 2) {
            add(&bad, &info, i);
        } else {
            bad.start[bad.n + 1] = bad.start[bad.n];
            bad.n++;
        }
    }
    run(s, &bad, &out);
    expect_answer(&want[0], &out, 1);
    expect_answer(&want[1], &out, 3);
    for (int i = 0; i < 5; i += 2) {
        if (out.start) {
            assert_int_equal(out.start[i], out.start[i + 1]);
        } else {
            for (int64_t c = 0; c < out.cols; c++) assert_true(out.data[i * out.cols + c] == 0);
        }
    }
    bad = (struct batch){ .n = 2 }; /* nothing but empty ones */
    run(s, &bad, &out);
    assert_int_equal(out.rows, info.per_token ? 0 : 2);

    bad = b;
    bad.ids[bad.start[1] + 2] = info.vocab_size;
    expect_range(s, &bad, "sequence 1", "position 2");
    bad.ids[bad.start[1] + 2] = -1;
    expect_range(s, &bad, "sequence 1", "position 2");
    bad.ids[bad.start[1] + 2] = INT32_MIN;
    expect_range(s, &bad, "sequence 1", "position 2");
    assert_true(info.max_positions > 0 && info.max_positions < MOST / 4);
    bad = b;
    bad.start[2] = bad.start[1] + info.max_positions + 1;
    snprintf(text, sizeof text, "%d", info.max_positions);
    expect_range(s, &bad, "sequence 1", text);
    bad = b;
    bad.start[2] = 0;
    assert_int_equal(xc_session_run_ids(s, bad.ids, bad.types, bad.start, 2, &out, &err), XC_E_ARG);
    assert_int_not_equal(xc_session_run_ids(s, bad.ids, bad.types, bad.start, -1, &out, &err), XC_OK);
    run(s, &b, &out); /* refusals leave no trace */
    for (int i = 0; i < 2; i++) {
        expect_answer(&want[i], &out, i);
        free(want[i].data);
    }
    xc_session_free(&s);
    xc_model_free(&m);
}

static void test_edges(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        check_edges("bert", i & 1, i & 2);
        check_edges("bert_st_max", i & 1, i & 2);
        check_edges("bert_tag", i & 1, i & 2);
        check_edges("roberta", i & 1, i & 2);
    }
}

static void test_refused(void **state)
{
    const struct xc_session_opts isa = { .isa = "z80" }, graph = { .graph = "nothing" };
    const char *const texts[] = { "a" };
    struct xc_model *m = load("bert", true);
    struct xc_session *s = NULL;
    struct xc_output out;
    struct xc_err err = { 0 };

    (void)state;
    assert_int_equal(xc_session_new(&s, m, &isa, &err), XC_E_UNSUPPORTED);
    assert_null(s);
    assert_non_null(strstr(err.msg, "z80"));
    assert_int_equal(xc_session_new(&s, m, &graph, &err), XC_E_NOT_FOUND);
    s = session(m, NULL, false);
    assert_int_equal(xc_session_run_texts(s, texts, NULL, 1, &out, &err), XC_E_UNSUPPORTED); /* it has no tokenizer */
    xc_session_free(&s);
    xc_session_free(&s);
    xc_model_free(&m);
}

/* ---- texts ---- */
static void test_texts(void **state)
{
    static char long_text[1 << 20];
    const char *const texts[] = { "", "   \t\n ", "The quick brown fox jumps over the lazy dog.", "a\0b", long_text, "\xff\xfe\x80" };
    const size_t bytes[] = { 0, 6, 44, 3, sizeof long_text, 3 };
    struct xc_model *m = load("tiny-bert", true);
    struct xc_session *s = session(m, NULL, false);
    struct answer want[6];
    struct xc_output out;
    struct xc_err err = { 0 };
    struct xc_tokens_view view;
    int64_t before;

    (void)state;
    memset(long_text, 'q', sizeof long_text);
    for (size_t i = 0; i + 8 < sizeof long_text; i += 8) long_text[i] = ' ';
    for (int i = 0; i < 6; i++) {
        ok(xc_session_run_texts(s, &texts[i], &bytes[i], 1, &out, &err), &err);
        assert_int_equal(out.rows, 1);
        assert_int_equal(out.truncated, i == 4);
        answer_of(&want[i], &out, 0);
    }
    for (int i = 0; i < 2; i++) {
        ok(xc_session_run_texts(s, texts, bytes, 6, &out, &err), &err);
        for (int k = 0; k < 6; k++) expect_answer(&want[k], &out, k);
    }
    before = xc_alloc_count();
    ok(xc_session_run_texts(s, texts, bytes, 6, &out, &err), &err);
    assert_int_equal(xc_alloc_count(), before);
    xc_session_tokens(s, &view);
    assert_int_equal(view.n, 6);
    assert_int_equal(view.start[1], 2); /* [CLS] [SEP] */
    assert_int_equal(view.start[2] - view.start[1], 2);
    assert_int_equal(view.start[5] - view.start[4], 512);
    ok(xc_session_run_texts(s, texts, bytes, 0, &out, &err), &err);
    assert_int_equal(out.rows, 0);
    for (int i = 0; i < 6; i++) free(want[i].data);
    xc_session_free(&s);
    xc_model_free(&m);
}

/* ---- threads of the caller's ---- */
struct worker {
    struct xc_model *model;
    const struct answer *want;
    int different;
};

static void *work(void *arg)
{
    struct worker *const w = arg;
    struct xc_session *s = NULL;
    struct xc_model_info info;

    w->different = 1;
    if (xc_model_info(w->model, &info, NULL) != XC_OK || xc_session_new(&s, w->model, NULL, NULL) != XC_OK) return NULL;
    w->different = 0;
    for (int round = 0; round < 20; round++)
        for (int i = 0; i < N_SEQ; i++) {
            struct batch b = { .n = 0 };
            struct xc_output out;

            add(&b, &info, i);
            w->different += xc_session_run_ids(s, b.ids, b.types, b.start, 1, &out, NULL) != XC_OK || memcmp(out.data, w->want[i].data, (size_t)w->want[i].n * sizeof(float));
        }
    xc_session_free(&s);
    return NULL;
}

static void test_two_sessions(void **state)
{
    struct xc_model *m = load("bert", true);
    struct xc_session *s = session(m, NULL, true);
    struct answer want[N_SEQ];
    struct worker w[2] = { { .model = m, .want = want }, { .model = m, .want = want } };
    struct xc_model_info info;
    pthread_t thread[2];

    (void)state;
    ok(xc_model_info(m, &info, NULL), &(struct xc_err){ 0 });
    for (int i = 0; i < N_SEQ; i++) {
        struct batch b = { .n = 0 };
        struct xc_output out;

        add(&b, &info, i);
        run(s, &b, &out);
        answer_of(&want[i], &out, 0);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 2; i++) assert_int_equal(w[i].different, 0);
    for (int i = 0; i < N_SEQ; i++) free(want[i].data);
    xc_session_free(&s);
    xc_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits_f32), cmocka_unit_test(test_same_bits_int8), cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_texts), cmocka_unit_test(test_two_sessions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
