/* Tasks on tiny models: data and its mistakes, batches, every task's numbers, the exported head, failed allocations. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compress/tasks/tag.h"
#include "compress/tasks/task.h"
#include "tests/unit/scratch.h"

static char folder[256];

static const char *put_bytes(const char *name, const char *text, size_t n)
{
    static char path[8][512];
    static int turn;
    char *p = path[turn++ % 8];
    FILE *f;

    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    f = fopen(p, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
    return p;
}

static const char *put(const char *name, const char *text) { return put_bytes(name, text, strlen(text)); }

/* A checkpoint of tests/vectors/arch (60 ids) with a vocabulary of letters. */
static const char *checkpoint(const char *name)
{
    static char dir[4][600];
    static int turn;
    const char *const root = getenv("XC_SOURCE_ROOT");
    char *out = dir[turn++ % 4], *absolute = realpath(root ? root : ".", NULL), from[4500], to[700];
    struct stat st;

    snprintf(out, sizeof dir[0], "%s/%s", folder, name);
    assert_non_null(absolute);
    snprintf(from, sizeof from, "%s", absolute);
    free(absolute);
    if (!stat(out, &st)) return out;
    assert_int_equal(mkdir(out, 0777), 0);
    for (int i = 0; i < 2; i++) {
        const char *file = i ? "model.safetensors" : "config.json";

        char target[5000];

        snprintf(target, sizeof target, "%s/tests/vectors/arch/%s/%s", from, name, file);
        snprintf(to, sizeof to, "%s/%s", out, file);
        assert_int_equal(symlink(target, to), 0);
    }
    {
        char vocab[1024] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", path[64];

        for (char c = 'a'; c <= 'z'; c++) snprintf(vocab + strlen(vocab), sizeof vocab - strlen(vocab), "%c\n##%c\n", c, c);
        strcat(vocab, ".\n,\n?\n");
        snprintf(path, sizeof path, "%s/vocab.txt", name);
        put(path, vocab);
    }
    return out;
}

static const char *tiny_bert(void)
{
    static char path[4096];
    const char *const root = getenv("XC_SOURCE_ROOT");

    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", root ? root : ".");
    return path;
}

static struct xc_subject open_subject(const char *path, const char *task)
{
    struct xc_subject s;
    struct xc_err err = { 0 };

    ok(xc_subject_open(&s, path, xc_task_find(task), NULL, &err), &err);
    return s;
}

static double metric(const struct xc_eval_result *r, const char *name)
{
    for (int i = 0; i < r->n_metrics; i++)
        if (!strcmp(r->metrics[i].metric->name, name)) return r->metrics[i].model.value;
    fail_msg("no metric %s", name);
    return 0;
}

/* ---- data ---- */
static void test_tsv(void **state)
{
    struct xc_data d;
    struct xc_err err = { 0 };

    (void)state;
    ok(xc_data_read_tsv(&d, put("a.tsv", "\xef\xbb\xbfscore\tid\ttext_b\ttext_a\r\n1.5\tx\tB\tA\r\n-2e1\ty\t\t\n"), XC_DATA_PAIR | XC_DATA_SCORE, &err), &err);
    assert_int_equal(d.n, 2);
    assert_string_equal(d.a[0], "A");
    assert_string_equal(d.b[0], "B");
    assert_true(d.score[0] == 1.5 && d.score[1] == -20 && d.a_len[1] == 0 && d.b_len[1] == 0 && d.line[1] == 3);
    assert_null(d.label);
    xc_data_release(&d);
    ok(xc_data_read_tsv(&d, put("b.tsv", "label\ttext\n1\tno end"), XC_DATA_LABEL | XC_DATA_SCORE, &err), &err);
    assert_string_equal(d.label[0], "1");
    assert_null(d.score);
    xc_data_release(&d);
    ok(xc_data_read_texts(&d, put_bytes("c.txt", "a\0b\n\nlast", 9), &err), &err);
    assert_int_equal(d.n, 3);
    assert_true(d.a_len[0] == 3 && !memcmp(d.a[0], "a\0b", 3) && d.a_len[1] == 0 && d.a_len[2] == 4);
    xc_data_release(&d);
    ok(xc_data_read_conll(&d, put("d.conll", "\nDa\tB-per\nVinci\tI-per\n\n\nsaw\tO\n"), &err), &err);
    assert_true(d.n == 2 && d.n_words == 3 && d.word_start[1] == 2 && d.word_start[2] == 3 && d.line[0] == 2 && d.line[1] == 6);
    assert_string_equal(d.tags[1], "I-per");
    xc_data_release(&d);
}

static void test_data_mistakes(void **state)
{
    static const struct { const char *text; int want; const char *where, *message; } cases[] = {
        { "", 0, "m:1", "an empty file; the first line must name the columns" },
        { "text\n", 0, "m", "no rows" },
        { "label\tsentence\n1\tx\n", XC_DATA_LABEL, "m:1", "no column 'text'; the header is" },
        { "text\nx\n", XC_DATA_LABEL, "m:1", "no column 'label'" },
        { "text\nx\n", XC_DATA_SCORE, "m:1", "no column 'score'" },
        { "text\nx\n", XC_DATA_SCORE | XC_DATA_LABEL, "m:1", "no column 'label' or 'score'" },
        { "score\ttext_a\n1\tx\n", XC_DATA_PAIR | XC_DATA_SCORE, "m:1", "no columns 'text_a' and 'text_b'" },
        { "text\ttext\nx\ty\n", 0, "m:1", "column 'text' is there twice" },
        { "label\ttext\n1\tx\n2\n", XC_DATA_LABEL, "m:3", "1 columns, the header has 2" },
        { "label\ttext\n1\tx\ty\n", XC_DATA_LABEL, "m:2", "3 columns, the header has 2" },
        { "label\ttext\n\tx\n", XC_DATA_LABEL, "m:2", "an empty label" },
        { "score\ttext\n1\tx\nhigh\ty\n", XC_DATA_SCORE, "m:3", "score 'high' is not a number" },
        { "score\ttext\nnan\tx\n", XC_DATA_SCORE, "m:2", "score 'nan' is not a number" },
        { "score\ttext\n\tx\n", XC_DATA_SCORE, "m:2", "score '' is not a number" },
        { "score\ttext\n50%\tx\n", XC_DATA_SCORE, "m:2", "is not a number" },
        { "label\ttext\nx\ty\n", XC_DATA_LABEL | XC_DATA_NUMBERS, "m:2", "label 'x' is not a number" },
        { "word\n", -1, "m:1", "not a token, a tab and a tag: 'word'" },
        { "a\tO\n\tO\n", -1, "m:2", "not a token, a tab and a tag" },
        { "a\tO\nb\t\n", -1, "m:2", "not a token, a tab and a tag" },
        { "a\tO\n\nb\tperson\n", -1, "m:3", "tag 'person' is not O, B-TYPE or I-TYPE" },
        { "a\tB-\n", -1, "m:1", "is not O" },
        { "\n\n", -1, "m", "no rows" },
        { "", -2, "m", "no rows" },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const char *path = put("m", cases[i].text), *where;
        struct xc_err err = { 0 };
        struct xc_data d;
        enum xc_status status;

        status = cases[i].want == -1 ? xc_data_read_conll(&d, path, &err) : cases[i].want == -2 ? xc_data_read_lines(&d, path, &err) : xc_data_read_tsv(&d, path, cases[i].want, &err);
        if (!status) fail_msg("accepted: %s", cases[i].text);
        where = strrchr(err.where, '/');
        if (!strstr(err.msg, cases[i].message) || !where || strcmp(where + 1, cases[i].where)) fail_msg("%s said '%s' at %s", cases[i].text, err.msg, err.where);
        assert_true(d.n == 0 && !d.a);
        xc_data_release(&d);
    }
    {
        struct xc_err err = { 0 };
        struct xc_data d;

        assert_int_equal(xc_data_read_tsv(&d, "/nowhere/x.tsv", 0, &err), XC_E_IO);
        assert_non_null(strstr(err.where[0] ? err.where : err.msg, "/nowhere/x.tsv"));
        xc_data_release(&d);
    }
}

/* ---- batches ---- */
enum { TEXTS = 100 };
static const char *texts[TEXTS];
static char text_bytes[TEXTS][200];

static void make_texts(void)
{
    for (int i = 0; i < TEXTS; i++) {
        const int words = i * 7 % 23;

        text_bytes[i][0] = '\0';
        for (int w = 0; w < words; w++) snprintf(text_bytes[i] + strlen(text_bytes[i]), 200 - strlen(text_bytes[i]), "%s%c%c", w ? " " : "", 'a' + (i + w) % 26, 'a' + (i * w) % 26);
        texts[i] = text_bytes[i];
    }
}

struct kept { float rows[TEXTS][64]; int seen[TEXTS]; int64_t cols; };

static enum xc_status keep(void *arg, const struct xc_answer *a, struct xc_err *err)
{
    struct kept *k = arg;

    (void)err;
    assert_in_range(a->row, 0, TEXTS - 1);
    k->seen[a->row]++;
    k->cols = a->cols;
    memcpy(k->rows[a->row], a->data, (size_t)a->cols * sizeof(float));
    return XC_OK;
}

static void test_batches(void **state)
{
    static struct kept one, many;
    static const int64_t limits[][2] = { { 0, 0 }, { 1, 0 }, { 7, 0 }, { 0, 40 }, { 100, 1 } };
    struct xc_subject s = open_subject(tiny_bert(), "sts");
    const struct xc_texts t = { .n = TEXTS, .a = texts };
    struct xc_pool *pool = NULL;
    struct xc_batcher b;
    struct xc_err err = { 0 };

    (void)state;
    make_texts();
    for (int i = 0; i < TEXTS; i++) {
        struct xc_output out;

        ok(xc_session_run_texts(s.session, &texts[i], NULL, 1, &out, &err), &err);
        memcpy(one.rows[i], out.data, (size_t)out.cols * sizeof(float));
    }
    ok(xc_pool_new(&pool, 3, &err), &err);
    for (size_t l = 0; l < XC_ARRAY_LEN(limits); l++)
        for (int threads = 0; threads < 2; threads++) {
            memset(&many, 0, sizeof many);
            xc_batcher_init(&b, s.session, threads ? pool : NULL);
            b.max_rows = limits[l][0];
            b.max_tokens = limits[l][1];
            ok(xc_batcher_run(&b, &t, keep, &many, &err), &err);
            for (int i = 0; i < TEXTS; i++) {
                assert_int_equal(many.seen[i], 1);
                assert_memory_equal(many.rows[i], one.rows[i], (size_t)many.cols * sizeof(float));
            }
            assert_int_equal(b.rows_done, TEXTS);
            xc_batcher_release(&b);
        }
    xc_pool_free(&pool);
    xc_subject_close(&s);
}

/* ---- tasks ---- */
static struct xc_eval_result evaluate(const char *task, const char *path, const char *reference, struct xc_eval_opts opts)
{
    struct xc_subject model = open_subject(path, task), other = { 0 };
    struct xc_eval_result r;
    struct xc_err err = { 0 };

    opts.resamples = 200;
    if (reference) other = open_subject(reference, task);
    ok(xc_evaluate(&r, xc_task_find(task), &model, reference ? &other : NULL, &opts, &err), &err);
    xc_subject_close(&model);
    xc_subject_close(&other);
    return r;
}

static void expect_error(const char *task, const char *path, const char *reference, struct xc_eval_opts opts, const char *message)
{
    struct xc_subject model = open_subject(path, task), other = { 0 };
    struct xc_eval_result r;
    struct xc_err err = { 0 };
    char text[512];

    if (reference) other = open_subject(reference, task);
    assert_int_not_equal(xc_evaluate(&r, xc_task_find(task), &model, reference ? &other : NULL, &opts, &err), XC_OK);
    if (!strstr(xc_err_text(&err, text, sizeof text), message)) fail_msg("said '%s', not '%s'", text, message);
    assert_int_equal(r.rows, 0);
    xc_subject_close(&model);
    xc_subject_close(&other);
}

static void test_sts(void **state)
{
    const char *data = put("sts.tsv", "score\ttext_a\ttext_b\n5\ta cat sat\ta cat sat\n0\tthe dog\tquite unlike 42\n3\tone two three\tone two\n1\t\tx\n4\tab\tab c\n");
    struct xc_subject s = open_subject(tiny_bert(), "sts");
    struct xc_eval_result r = evaluate("sts", tiny_bert(), tiny_bert(), (struct xc_eval_opts){ .data = data });
    const char *a[] = { "a cat sat", "the dog", "one two three", "", "ab" }, *b[] = { "a cat sat", "quite unlike 42", "one two", "x", "ab c" };
    const double gold[] = { 5, 0, 3, 1, 4 };
    double cosine[5], spearman;
    int32_t go[5], po[5];

    (void)state;
    for (int i = 0; i < 5; i++) { /* the same through the session alone */
        const char *pair[] = { a[i], b[i] };
        struct xc_output out;

        ok(xc_session_run_texts(s.session, pair, NULL, 2, &out, NULL), NULL);
        cosine[i] = xc_cosine(out.data, out.data + out.cols, out.cols);
    }
    xc_stats_order(go, gold, 5, NULL);
    xc_stats_order(po, cosine, 5, NULL);
    xc_metric_value(&spearman, &xc_metric_spearman, &(struct xc_sample){ .n = 5, .gold = gold, .pred = cosine, .gold_order = go, .pred_order = po }, NULL);
    assert_true(metric(&r, "spearman") == spearman);
    assert_int_equal(r.rows, 5);
    assert_true(r.has_reference && r.has_cosine && !r.has_flips && r.cosine_min > 0.999999);
    for (int i = 0; i < r.n_metrics; i++) assert_true(r.metrics[i].difference.value == 0 && r.metrics[i].difference.lo == 0 && r.metrics[i].difference.hi == 0);
    xc_subject_close(&s);
    r = evaluate("sts", tiny_bert(), NULL, (struct xc_eval_opts){ .data = data, .metric = "pearson" });
    assert_int_equal(r.n_metrics, 1);
    expect_error("sts", tiny_bert(), NULL, (struct xc_eval_opts){ .data = data, .metric = "f1" }, "task 'sts' has no metric 'f1' here; it has spearman, pearson");
    expect_error("classify", tiny_bert(), NULL, (struct xc_eval_opts){ .data = data }, "task 'classify' needs a classifier; this is a model for 'embed'");
    expect_error("sts", tiny_bert(), NULL, (struct xc_eval_opts){ .data = data, .train = data }, "task 'sts' trains nothing");
}

static void test_classify(void **state)
{
    const char *model = checkpoint("bert_classify");
    struct xc_subject s = open_subject(model, "classify");
    char names[4096] = "label\ttext\n", numbers[4096] = "label\ttext\n", pairs[4096] = "label\ttext_a\ttext_b\n";
    struct xc_eval_result r;
    int64_t pair_tokens = 0;

    (void)state;
    make_texts();
    for (int i = 0; i < 20; i++) { /* label every third text wrongly */
        struct xc_output out;
        int32_t best;

        ok(xc_session_run_texts(s.session, &texts[i], NULL, 1, &out, NULL), NULL);
        best = xc_argmax(out.data, out.cols);
        if (i % 4 == 3) best = (best + 1) % 3;
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s\t%s\n", xc_model_label(s.model, best), texts[i]);
        snprintf(numbers + strlen(numbers), sizeof numbers - strlen(numbers), "%d\t%s\n", best, texts[i]);
        ok(xc_session_run_pairs(s.session, &texts[i], NULL, &texts[i + 1], NULL, 1, &out, NULL), NULL);
        pair_tokens += out.tokens;
        best = xc_argmax(out.data, out.cols);
        if (i % 4 == 1) best = (best + 2) % 3;
        snprintf(pairs + strlen(pairs), sizeof pairs - strlen(pairs), "%d\t%s\t%s\n", best, texts[i], texts[i + 1]);
    }
    r = evaluate("classify", model, model, (struct xc_eval_opts){ .data = put("names.tsv", names) });
    assert_true(metric(&r, "accuracy") == 0.75 && r.n_metrics == 3 && r.has_flips && r.flip_rate == 0);
    r = evaluate("classify", model, NULL, (struct xc_eval_opts){ .data = put("numbers.tsv", numbers) });
    assert_true(metric(&r, "accuracy") == 0.75);
    r = evaluate("pair", model, NULL, (struct xc_eval_opts){ .data = put("pairs.tsv", pairs) });
    assert_true(metric(&r, "accuracy") == 0.75 && r.truncated > 0 && r.tokens == pair_tokens); /* 26 positions */
    r = evaluate("agreement", model, model, (struct xc_eval_opts){ .data = put("lines.txt", "a b\nc d\n") });
    assert_true(metric(&r, "agreement") == 1 && !r.has_cosine && !r.has_reference && r.flip_rate == 0);
    expect_error("classify", model, NULL, (struct xc_eval_opts){ .data = put("bad.tsv", "label\ttext\n0\tx\n3\ty\n") }, "bad.tsv:3: label '3' is none of the model's 3");
    expect_error("classify", model, NULL, (struct xc_eval_opts){ .data = put("bad.tsv", "label\ttext\n-1\tx\n") }, "bad.tsv:2: label '-1' is none");
    expect_error("pair", model, NULL, (struct xc_eval_opts){ .data = put("bad.tsv", "label\ttext\n0\tx\n") }, "bad.tsv:1: no columns 'text_a' and 'text_b'");
    expect_error("agreement", model, NULL, (struct xc_eval_opts){ .data = put("lines.txt", "a\n") }, "it needs a reference");
    xc_subject_close(&s);
}

static void test_regress(void **state)
{
    const char *model = checkpoint("bert_regress");
    struct xc_subject s = open_subject(model, "regress");
    char data[4096] = "score\ttext\n";
    struct xc_eval_result r;
    struct xc_output out;

    (void)state;
    make_texts();
    for (int i = 0; i < 20; i++) {
        ok(xc_session_run_texts(s.session, &texts[i], NULL, 1, &out, NULL), NULL);
        snprintf(data + strlen(data), sizeof data - strlen(data), "%.17g\t%s\n", 3.0 * out.data[0] + 0.5, texts[i]);
    }
    r = evaluate("regress", model, NULL, (struct xc_eval_opts){ .data = put("regress.tsv", data) });
    assert_true(fabs(metric(&r, "pearson") - 1) < 1e-12 && fabs(metric(&r, "spearman") - 1) < 1e-12 && metric(&r, "mse") > 0);
    r = evaluate("regress", model, NULL, (struct xc_eval_opts){ .data = put("regress.tsv", "label\ttext_a\ttext_b\n1\ta\tb\n2\tc\td\n") });
    assert_int_equal(r.rows, 2);
    expect_error("regress", tiny_bert(), NULL, (struct xc_eval_opts){ .data = put("regress.tsv", data) }, "needs one number per text");
    xc_subject_close(&s);
}

static void test_tag(void **state)
{
    const char *model = checkpoint("bert_tag");
    struct xc_subject s = open_subject(model, "tag");
    const char *words[] = { "ab", "cde", "f", "ghij", "k", "lm", "nop", "q" };
    const int64_t start[] = { 0, 5, 8 };
    char data[2048] = "";
    struct xc_eval_result r;
    struct xc_output out;
    struct xc_tokens_view view;
    int entities = 0;

    (void)state;
    ok(xc_session_run_words(s.session, words, start, 2, &out, NULL), NULL);
    xc_session_tokens(s.session, &view);
    for (int64_t i = 0; i < 2; i++) { /* the model's own answers as gold */
        int last = -1;

        for (int64_t t = view.start[i]; t < view.start[i + 1]; t++) {
            const char *label = xc_model_label(s.model, xc_argmax(out.data + t * out.cols, out.cols));

            if (view.words[t] < 0 || view.words[t] == last) continue;
            last = view.words[t];
            entities += label[0] == 'B';
            snprintf(data + strlen(data), sizeof data - strlen(data), "%s\t%s\n", words[start[i] + last], label);
        }
        assert_int_equal(last, start[i + 1] - start[i] - 1);
        strcat(data, "\n");
    }
    strcat(data, "z\tB-X\n");
    r = evaluate("tag", model, model, (struct xc_eval_opts){ .data = put("tag.conll", data) });
    assert_int_equal(r.rows, 3);
    assert_true(metric(&r, "recall") > 0.1 || entities == 0);
    assert_true(r.has_flips && r.flip_rate == 0);
    expect_error("tag", model, NULL, (struct xc_eval_opts){ .data = put("tag.conll", "a\tO\n\nb\tO\nc\tB-Y\n") }, "tag.conll:4: tag 'B-Y' is none of the model's 3");
    expect_error("tag", tiny_bert(), NULL, (struct xc_eval_opts){ .data = put("tag.conll", "a\tO\n") }, "needs a tagger");
    xc_subject_close(&s);
    { /* the first token of a word decides; words cut off stay -1 */
        const float logits[] = { 9, 0, 0, 0, 9, 0, 9, 0, 0, 0, 0, 9 };
        const int32_t token_words[] = { -1, 0, 0, 1 };
        const struct xc_answer a = { .data = logits, .rows = 4, .cols = 3, .words = token_words, .tokens = 4 };
        int32_t got[3];

        xc_tag_words(got, &a, 3);
        assert_true(got[0] == 1 && got[1] == 2 && got[2] == -1);
    }
}

static void test_probe(void **state)
{
    const char *out = put("head.xc", ""), *train, *data;
    char text[16384] = "label\ttext\n";
    struct xc_eval_result r, again;

    (void)state;
    for (int i = 0; i < 60; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%s\tword %c %s\n", i % 3 == 0 ? "high" : i % 3 == 1 ? "low" : "mid", 'a' + i % 26, i % 3 == 0 ? "!!!!!" : i % 3 == 1 ? "0 0 0 0" : "z");
    train = put("train.tsv", text);
    data = put("dev.tsv", "label\ttext\nhigh\tsome x !!!!!\nlow\tother y 0 0 0 0\nmid\tword z\nhigh\tword z\n");
    r = evaluate("probe", tiny_bert(), NULL, (struct xc_eval_opts){ .data = data, .train = train, .head_C = 1000, .export_head = out });
    assert_true(metric(&r, "accuracy") == 0.75);
    again = evaluate("classify", out, NULL, (struct xc_eval_opts){ .data = data });
    assert_true(metric(&again, "accuracy") == 0.75 && metric(&again, "matthews") == metric(&r, "matthews"));
    {
        struct xc_subject s = open_subject(out, "classify");

        assert_string_equal(xc_model_label(s.model, 0), "high");
        assert_string_equal(xc_model_label(s.model, 2), "mid");
        assert_string_equal(s.info.task, "classify");
        xc_subject_close(&s);
    }
    expect_error("probe", tiny_bert(), NULL, (struct xc_eval_opts){ .data = put("bad.tsv", "label\ttext\nhigh\tx\nother\ty\n"), .train = train }, "bad.tsv:3: label 'other' is not in the training rows");
    expect_error("probe", tiny_bert(), NULL, (struct xc_eval_opts){ .data = data, .train = put("bad.tsv", "label\ttext\na\tx\na\ty\n") }, "all rows have the label 'a'");
    expect_error("probe", tiny_bert(), NULL, (struct xc_eval_opts){ .data = data }, "needs a file of training rows");
    {
        struct xc_subject s;
        struct xc_err err = { 0 };

        assert_int_not_equal(xc_subject_open(&s, out, xc_task_find("probe"), NULL, &err), XC_OK);
        assert_null(s.model);
        xc_subject_close(&s);
    }
    /* scores: ridge, and its model answers one number */
    snprintf(text, sizeof text, "score\ttext\n");
    for (int i = 0; i < 30; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%d\t%.*s\n", i, i + 1, "aaaaaaaaaabbbbbbbbbbcccccccccc");
    train = put("scores.tsv", text);
    r = evaluate("probe", tiny_bert(), NULL, (struct xc_eval_opts){ .data = train, .train = train, .head_alpha = 1e-3, .export_head = out });
    again = evaluate("regress", out, NULL, (struct xc_eval_opts){ .data = train });
    assert_true(metric(&r, "r2") > 0.9 && fabs(metric(&again, "r2") - metric(&r, "r2")) < 1e-4);
}

static void test_threads(void **state)
{
    const char *data = put("threads.tsv", "score\ttext_a\ttext_b\n5\ta\ta\n0\tb\tquite\n3\tone two\tone\n2\tred\tblue\n4\tab\tabc\n");
    struct xc_subject s = open_subject(tiny_bert(), "sts");
    struct xc_eval_result one, four;
    struct xc_eval_opts opts = { .data = data, .seed = 3 };

    (void)state;
    ok(xc_evaluate(&one, xc_task_find("sts"), &s, NULL, &opts, NULL), NULL);
    ok(xc_pool_new(&opts.pool, 4, NULL), NULL);
    ok(xc_evaluate(&four, xc_task_find("sts"), &s, NULL, &opts, NULL), NULL);
    xc_pool_free(&opts.pool);
    assert_memory_equal(&one.metrics, &four.metrics, sizeof one.metrics);
    xc_subject_close(&s);
}

static void test_out_of_memory(void **state)
{
    const char *data = put("memory.tsv", "label\ttext\na\tx\nb\ty\na\tz\n"), *out = put("memory.xc", "");
    const struct xc_eval_opts opts = { .data = data, .train = data, .resamples = 100, .export_head = out };
    int64_t failures = 0;

    (void)state;
    for (int64_t n = 0;; n += n < 600 ? 1 : 13) { /* loading models is tested where loaders are */
        struct xc_subject s = open_subject(tiny_bert(), "probe"), r = open_subject(tiny_bert(), "probe");
        struct xc_eval_result result;
        struct xc_err err = { 0 };
        enum xc_status status;

        xc_alloc_fail_after(n);
        status = xc_evaluate(&result, xc_task_find("probe"), &s, &r, &opts, &err);
        xc_alloc_fail_after(-1);
        xc_subject_close(&s);
        xc_subject_close(&r);
        if (status == XC_OK) break;
        if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s at %s", (long long)n, err.msg, err.where);
        failures++;
    }
    assert_in_range(failures, 50, 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tsv), cmocka_unit_test(test_data_mistakes), cmocka_unit_test(test_batches), cmocka_unit_test(test_sts), cmocka_unit_test(test_classify),
        cmocka_unit_test(test_regress), cmocka_unit_test(test_tag), cmocka_unit_test(test_probe), cmocka_unit_test(test_threads), cmocka_unit_test(test_out_of_memory),
    };

    if (scratch_open(folder, sizeof folder, "tasks")) return 1;
    return scratch_close(folder, cmocka_run_group_tests(tests, NULL, NULL));
}
