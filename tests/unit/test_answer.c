/* Question answering, and multiple choice: the letters of tokens against the tokenizers library, exact match and F1 against SQuAD's definition (tests/vectors/gen_answer.py), windows, the best span, files of
 * questions, the task on a tiny model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <unistd.h>

#include "compress/tasks/answer.h"
#include "compress/tasks/token_offsets.h"
#include "compress/train/dataset.h"
#include "runtime/text/unicode.h"
#include "tests/unit/scratch.h"
#include "tests/unit/tokenizer_cases.h"

struct offset_vector {
    const char *vocabulary, *text;
    int n;
    int at[2 * 200];
};
struct score_vector {
    const char *answer;
    int n_gold;
    const char *gold[2];
    int exact;
    double f1;
};
#include "tests/vectors/answer_vectors.h"

static char folder[256];
static struct xc_err err;

static bool white(const char *s, size_t n)
{
    uint32_t cp;

    return n && xc_utf8_read(&cp, (const uint8_t *)s, n) && xc_codepoint_of(cp)->bits & XC_CP_WHITE;
}

/* ---- letters ---- */
static void test_offsets(void **state)
{
    int exact = 0, words = 0;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(offset_vectors); i++) {
        const struct offset_vector *v = &offset_vectors[i];
        const struct xc_encode_opts whole = { .no_special = true, .no_truncate = true };
        struct xc_tokens t = { 0 };
        struct xc_buf *section;
        struct xc_tokenizer *tok;
        int64_t begin[200], end[200];

        section = compile_vector(v->vocabulary);
        tok = open_section(section);
        OK(xc_tokenizer_encode(tok, &t, v->text, strlen(v->text), NULL, 0, &whole, &err));
        assert_int_equal(t.n, v->n);
        OK(xc_token_offsets(begin, end, tok, v->text, strlen(v->text), t.ids, t.words, (int64_t)t.n, &err));
        for (int k = 0; k < v->n; k++) {
            int from = v->at[2 * k], to = v->at[2 * k + 1];

            if (t.words[k] < 0) { /* white space */
                assert_true(begin[k] == end[k]);
                continue;
            }
            while (from < to && white(v->text + from, (size_t)(to - from))) { /* a blank in front is part of a token in some vocabularies */
                uint32_t cp;

                from += xc_utf8_read(&cp, (const uint8_t *)v->text + from, (size_t)(to - from));
            }
            if (begin[k] == from && end[k] == to) {
                exact++;
                continue;
            }
            words++;
            if (!(begin[k] <= from && end[k] >= to)) fail_msg("%s, '%s': token %d is %d to %d, must be %d to %d", v->vocabulary, v->text, k, (int)begin[k], (int)end[k], from, to);
        }
        xc_tokens_release(&t);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
    printf("%d tokens as the reference, %d with more\n", exact, words);
    assert_int_equal(exact + words, 1240);
    assert_int_equal(words, 14); /* an accent that follows its letter belongs to it here; a word with several unknown tokens */
}

/* ---- counting ---- */
static void test_scores(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(score_vectors); i++) {
        const struct score_vector *v = &score_vectors[i];
        bool exact;
        double f1;

        OK(xc_answer_score(&exact, &f1, v->answer, strlen(v->answer), v->gold, v->n_gold, &err));
        if (exact != (bool)v->exact || !(fabs(f1 - v->f1) < 1e-9)) fail_msg("'%s': %d and %.9g, must be %d and %.9g", v->answer, exact, f1, v->exact, v->f1);
    }
}

/* ---- windows ---- */
static void test_windows(void **state)
{
    static const char *const vocabularies[] = { "uncased", "roberta" }, *question = "what is it?";
    char text[2000] = "";

    (void)state;
    for (int i = 0; i < 60; i++) snprintf(text + strlen(text), sizeof text - strlen(text), "%swin %d (a-b)", i ? " " : "", i);
    for (int v = 0; v < 2; v++) {
        struct xc_buf *section = compile_vector(vocabularies[v]);
        struct xc_tokenizer *tok = open_section(section);
        const char *questions[] = { question, question }, *texts[] = { text, "short" };
        const size_t question_len[] = { strlen(question), strlen(question) }, text_len[] = { strlen(text), 5 };
        struct xc_questions_opts opts = { .max_tokens = 64, .stride = 10 };
        struct xc_tokens pair = { 0 };
        struct xc_questions q;
        int64_t n_text;

        OK(xc_questions_make(&q, tok, questions, question_len, texts, text_len, 2, &opts, &err));
        n_text = q.text_start[1];
        assert_true(q.n > 5 && q.row[q.n - 1] == 1 && q.row[q.n - 2] == 0);
        OK(xc_tokenizer_encode(tok, &pair, question, strlen(question), "short", 5, &(struct xc_encode_opts){ .no_truncate = true }, &err)); /* what fits is the usual pair */
        assert_int_equal(q.start[q.n] - q.start[q.n - 1], pair.n);
        assert_memory_equal(q.ids + q.start[q.n - 1], pair.ids, pair.n * sizeof *pair.ids);
        assert_memory_equal(q.types + q.start[q.n - 1], pair.types, pair.n);
        for (int64_t w = 0, next = 0; w < q.n - 1; w++) {
            int64_t at = q.first[w];

            assert_true(q.start[w + 1] - q.start[w] <= 64);
            if (w < q.n - 2) assert_int_equal(q.start[w + 1] - q.start[w], 64);
            assert_int_equal(at, w ? next - 10 : 0);
            for (int64_t i = q.start[w]; i < q.start[w + 1]; i++)
                if (q.place[i] >= 0) assert_int_equal(q.place[i], at++);
            next = at;
            if (w == q.n - 2) assert_int_equal(next, n_text);
        }
        assert_int_equal(q.end[n_text - 1], strlen(text));
        xc_questions_release(&q);

        opts.stride = 0;
        opts.max_tokens = 8; /* a question that is too long; windows of a few tokens share half of them */
        OK(xc_questions_make(&q, tok, questions, question_len, texts, text_len, 2, &opts, &err));
        assert_int_equal(q.cut, 2);
        xc_questions_release(&q);
        opts.stride = 40;
        opts.max_tokens = 40;
        assert_int_equal(xc_questions_make(&q, tok, questions, question_len, texts, text_len, 2, &opts, &err), XC_E_ARG);
        assert_non_null(strstr(err.msg, "take a smaller --stride"));
        opts.max_tokens = 4;
        assert_int_equal(xc_questions_make(&q, tok, questions, question_len, texts, text_len, 2, &opts, &err), XC_E_RANGE);
        xc_tokens_release(&pair);
        xc_tokenizer_free(&tok);
        xc_buf_unref(&section);
    }
}

/* The best span is the best of all that are allowed. */
static void test_best_span(void **state)
{
    enum { N = 80 };
    uint32_t seed = 3;

    (void)state;
    for (int round = 0; round < 50; round++) {
        float x[2 * N], score, best = -INFINITY;
        int32_t place[N];
        int64_t begin, end, b0 = -1, e0 = -1;

        for (int i = 0; i < 2 * N; i++) x[i] = (float)((seed = seed * 1664525u + 1013904223u) >> 26); /* equals, too */
        for (int i = 0; i < N; i++) place[i] = i < 10 || i == N - 1 ? -1 : i - 10;
        for (int b = 0; b < N; b++)
            for (int e = b; e < N && e - b < XC_ANSWER_TOKENS; e++)
                if (place[b] >= 0 && place[e] >= 0 && x[2 * b] + x[2 * e + 1] > best) best = x[2 * b] + x[2 * e + 1], b0 = b, e0 = e;
        assert_true(xc_span_best(&begin, &end, &score, x, place, N));
        assert_true(begin == b0 && end == e0 && score == best);
        assert_true(end - begin < XC_ANSWER_TOKENS);
        for (int i = 0; i < N; i++) place[i] = -1;
        assert_false(xc_span_best(&begin, &end, &score, x, place, N));
    }
}

/* ---- files ---- */
static const char *put(const char *name, const char *text)
{
    const char *const path = path_in(folder, name);
    FILE *const f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
    return path;
}

#define CONTEXT "caf\303\251 in oslo, in may"
static const char squad[] = "{\"version\": \"v2.0\", \"data\": [{\"title\": \"t\", \"paragraphs\": [{\"context\": \"" CONTEXT "\", \"qas\": ["
                            "{\"id\": \"1\", \"question\": \"where?\", \"answers\": [{\"text\": \"oslo\", \"answer_start\": 8}, {\"text\": \"in oslo\", \"answer_start\": 5}]},"
                            "{\"id\": \"2\", \"question\": \"who?\", \"is_impossible\": true, \"answers\": []}]}]}]}";

static void refuse(const char *path, const char *message)
{
    struct xc_data d;
    char text[512];

    assert_int_not_equal(xc_data_read_answers(&d, path, true, &err), XC_OK);
    if (!strstr(xc_err_text(&err, text, sizeof text), message)) fail_msg("said '%s', not '%s'", text, message);
}

static void test_files(void **state)
{
    struct xc_data d;

    (void)state;
    for (int json = 0; json < 2; json++) {
        OK(xc_data_read_answers(&d, json ? put("a.json", squad) : put("a.tsv", "answer\tid\tcontext\tanswer_start\tquestion\noslo\t1\t" CONTEXT "\t8\twhere?\n\t2\t" CONTEXT "\t\twho?\n"), true, &err));
        assert_int_equal(d.n, 2);
        assert_string_equal(d.a[0], "where?");
        assert_string_equal(d.b[1], CONTEXT);
        assert_int_equal(d.answer_start[1], json ? 2 : 1);
        assert_int_equal(d.answer_start[2], json ? 2 : 1);
        assert_string_equal(d.answers[0], "oslo");
        assert_int_equal(d.answer_at[0], 9); /* of bytes */
        assert_int_equal(d.line[1], json ? 2 : 3);
        xc_data_release(&d);
    }
    OK(xc_data_read_answers(&d, put("b.tsv", "question\tcontext\tanswer\nq\tin may in may\tmay\nq\tc\telsewhere\n"), true, &err)); /* without a place: the first */
    assert_true(d.answer_at[0] == 3 && d.answer_at[1] == -1);
    xc_data_release(&d);
    OK(xc_data_read_answers(&d, put("c.tsv", "question\tcontext\nq\tc\n"), false, &err));
    xc_data_release(&d);
    refuse(path_in(folder, "c.tsv"), "no column 'answer'");
    refuse(put("d.tsv", "text\tanswer\nq\tc\n"), "no columns 'question' and 'context'");
    refuse(put("d.tsv", "question\tcontext\tanswer\tanswer_start\nq\tc d\td\t1\n"), "d.tsv:2: answer 'd' does not stand at letter 1 of its context");
    refuse(put("d.tsv", "question\tcontext\tanswer\tanswer_start\nq\tc d\td\tx\n"), "answer_start 'x' is no number");
    refuse(put("d.tsv", "question\tcontext\tanswer\n"), "no rows");
    for (size_t n = 0; n + 1 < sizeof squad; n++) { /* cut anywhere */
        char cut[sizeof squad] = "";

        memcpy(cut, squad, n);
        refuse(put("d.json", cut), "d.json");
    }
    refuse(put("d.json", "{\"data\": []}"), "no questions");
    refuse(put("d.json", "{\"data\": [{\"paragraphs\": [{\"context\": 3, \"qas\": []}]}]}"), "'context'");
    refuse(put("d.json", "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\", \"answers\": [{\"text\": \"c\", \"answer_start\": 1}]}]}]}]}"), "question 1: answer 'c' does not stand at letter 1");
    refuse(put("d.json", "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [{\"question\": \"q\"}]}]}]}"), "'answers'");
}

/* ---- the task ---- */
static struct xc_subject open_subject_of(const char *checkpoint, const char *task)
{
    struct xc_subject s;
    const char *const root = getenv("XC_SOURCE_ROOT");
    char from[1024], vocabulary[600] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n", absolute[4096];
    static const char *const files[] = { "config.json", "model.safetensors" };

    for (char c = 'a'; c <= 'z'; c++) snprintf(vocabulary + strlen(vocabulary), sizeof vocabulary - strlen(vocabulary), "%c\n##%c\n", c, c);
    put("vocab.txt", vocabulary);
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/tests/vectors/arch/%s/%s", root ? root : ".", checkpoint, files[i]);
        assert_non_null(realpath(from, absolute));
        unlink(path_in(folder, files[i]));
        assert_int_equal(symlink(absolute, path_in(folder, files[i])), 0);
    }
    OK(xc_subject_open(&s, folder, xc_task_find(task), NULL, &err));
    return s;
}

static struct xc_subject open_subject(void) { return open_subject_of("bert_answer", "answer"); }

/* Long texts in windows of 26 tokens: the answer is the best of what the model says to each window alone; on any number of threads, in any batch. */
static void test_run(void **state)
{
    enum { N = 7 };
    static const char *const text[N] = { "the cat sat on a mat and the dog did not mind it at all", "a b c", "", "x", "one two three four five six seven eight nine ten", "q", "an owl" };
    const char *question[N];
    size_t question_len[N], text_len[N];
    struct xc_subject s = open_subject();
    struct xc_span span[N], again[N];
    struct xc_batcher b;
    struct xc_pool *pool;
    struct xc_questions q;

    (void)state;
    for (int i = 0; i < N; i++) question[i] = i % 2 ? "who" : "is it so", question_len[i] = strlen(question[i]), text_len[i] = strlen(text[i]);
    xc_batcher_init(&b, s.session, NULL);
    OK(xc_answer_run(span, &b, question, question_len, text, text_len, N, 4, &err));
    assert_true(b.rows_done > N);
    xc_batcher_release(&b);
    OK(xc_questions_make(&q, s.session->tokenizer, question, question_len, text, text_len, N, &(struct xc_questions_opts){ .max_tokens = 26, .stride = 4 }, &err));
    for (int64_t row = 0, w = 0; row < N; row++) {
        struct xc_span want = { .score = -INFINITY, .none = INFINITY };

        for (; w < q.n && q.row[w] == row; w++) {
            const int64_t start[] = { 0, q.start[w + 1] - q.start[w] };
            struct xc_output out;
            int64_t begin, end;
            float score;

            OK(xc_session_run_ids(s.session, q.ids + q.start[w], q.types + q.start[w], start, 1, &out, &err));
            want.none = fminf(want.none, out.data[0] + out.data[1]);
            if (!xc_span_best(&begin, &end, &score, out.data, q.place + q.start[w], start[1]) || !(score > want.score)) continue;
            want = (struct xc_span){ .begin = q.begin[q.text_start[row] + q.place[q.start[w] + begin]], .end = q.end[q.text_start[row] + q.place[q.start[w] + end]], .score = score, .none = want.none };
        }
        assert_true(want.begin == span[row].begin && want.end == span[row].end && want.score == span[row].score && want.none == span[row].none);
    }
    xc_questions_release(&q);
    assert_true(span[2].begin == 0 && span[2].end == 0 && isinf(span[2].score)); /* a text without tokens */
    OK(xc_pool_new(&pool, 3, &err));
    xc_batcher_init(&b, s.session, pool);
    b.max_rows = 1;
    OK(xc_answer_run(again, &b, question, question_len, text, text_len, N, 4, &err));
    for (int i = 0; i < N; i++) assert_true(again[i].begin == span[i].begin && again[i].end == span[i].end && again[i].score == span[i].score);
    xc_batcher_release(&b);
    xc_pool_free(&pool);
    xc_subject_close(&s);
}

static double metric(const struct xc_eval_result *r, const char *name)
{
    for (int i = 0; i < r->n_metrics; i++)
        if (!strcmp(r->metrics[i].metric->name, name)) return r->metrics[i].model.value;
    fail_msg("no metric %s", name);
    return 0;
}

static void test_task(void **state)
{
    static const char *const text[] = { "the cat sat on a mat and the dog did not mind it at all", "one two three four" };
    const size_t question_len[] = { 3, 3 }, text_len[] = { strlen(text[0]), strlen(text[1]) };
    struct xc_subject s = open_subject();
    struct xc_eval_opts opts = { .resamples = 100 };
    struct xc_eval_result r;
    struct xc_span span[2];
    struct xc_batcher b;
    char data[500];

    (void)state;
    xc_batcher_init(&b, s.session, NULL);
    OK(xc_answer_run(span, &b, (const char *const[]){ "who", "who" }, question_len, text, text_len, 2, 0, &err));
    xc_batcher_release(&b);
    snprintf(data, sizeof data, "question\tcontext\tanswer\nwho\t%s\tThe  %.*s.\nwho\t%s\tnothing\n", text[0], (int)(span[0].end - span[0].begin), text[0] + span[0].begin, text[1]);
    opts.data = put("task.tsv", data);
    OK(xc_evaluate(&r, xc_task_find("answer"), &s, &s, &opts, &err));
    assert_int_equal(r.rows, 2);
    assert_true(metric(&r, "exact_match") == 0.5 && metric(&r, "f1") == 0.5); /* the second shares no word */
    assert_true(r.has_flips && r.flip_rate == 0);
    snprintf(data, sizeof data, "question\tcontext\tanswer\nwho\t%s\t\nwho\t%s\t\n", text[0], text[1]); /* no answers: right where that is likelier than any span */
    opts.data = put("task.tsv", data);
    OK(xc_evaluate(&r, xc_task_find("answer"), &s, NULL, &opts, &err));
    assert_true(metric(&r, "exact_match") == 0.5 * (span[0].none > span[0].score) + 0.5 * (span[1].none > span[1].score));
    xc_subject_close(&s);
}

/* Targets of training: windows that hold the answer point at its tokens, others at their first. */
static void test_targets(void **state)
{
    struct xc_subject s = open_subject();
    struct xc_dataset d = { .per_row = 1 };
    struct xc_batches plan = { 0 };
    struct xc_batch batch = { 0 };
    const struct xc_masking none = { .on = false };
    int64_t targets, held = 0;

    (void)state;
    OK(xc_data_read_answers(&d.data, put("t.tsv", "question\tcontext\tanswer\nwho\tone two three four five six seven, eight\tsix sev\nwho\tone\t\n"), true, &err));
    OK(xc_dataset_questions(&d, s.session->tokenizer, true, &(struct xc_questions_opts){ .max_tokens = 22, .stride = 8 }, &err));
    assert_true(d.n > 3);
    for (int64_t w = 0; w < d.n; w++) {
        const int32_t begin = d.span[2 * w], end = d.span[2 * w + 1];

        if (!begin && !end) continue;
        held++;
        assert_int_equal(end - begin, 5); /* s i x, s e v */
        for (int i = 0; i < 6; i++) {
            size_t n;
            const char *token = xc_tokenizer_token(s.session->tokenizer, d.ids[d.start[w] + begin + i], &n);

            assert_int_equal(token[n - 1], "sixsev"[i]);
        }
    }
    assert_true(held >= 1 && held < d.n);
    assert_true(d.span[2 * d.n - 1] == 0 && d.span[2 * d.n - 2] == 0);
    OK(xc_batches_plan(&plan, &d, true, 1, 0, 1000, 0, &err));
    OK(xc_batch_fill(&batch, &d, &plan, 0, &none, &targets, &err));
    assert_int_equal(targets, d.n);
    for (int64_t i = 0; i < batch.rows; i++) assert_memory_equal(batch.label + 2 * i, d.span + 2 * plan.order[i], 2 * sizeof *batch.label);
    xc_batch_release(&batch);
    xc_batches_release(&plan);
    xc_dataset_release(&d);
    OK(xc_data_read_answers(&d.data, put("t.tsv", "question\tcontext\tanswer\nwho\tone\tone\nwho\tone\ttwo\n"), true, &err));
    d.per_row = 1;
    assert_int_equal(xc_dataset_questions(&d, s.session->tokenizer, true, &(struct xc_questions_opts){ .max_tokens = 22 }, &err), XC_E_FORMAT);
    assert_non_null(strstr(err.msg, "answer 'two' is not in its context"));
    xc_dataset_release(&d);
    xc_subject_close(&s);
}

/* ---- multiple choice ---- */
static void refuse_choices(const struct xc_subject *s, const char *data, const char *message)
{
    const struct xc_eval_opts opts = { .resamples = 100, .data = put("no.tsv", data) };
    struct xc_eval_result r;
    char text[512];

    assert_int_not_equal(xc_evaluate(&r, xc_task_find("choice"), s, NULL, &opts, &err), XC_OK);
    if (!strstr(xc_err_text(&err, text, sizeof text), message)) fail_msg("said '%s', not '%s'", text, message);
}

/* The largest number of the pairs, each run alone; columns in any order. Targets of training are the same pairs. */
static void test_choices(void **state)
{
    enum { N = 4, K = 3 };
    static const char *const text[N] = { "the cat", "a dog", "x", "one two" }, *const choice[N][K] = { { "sat", "ran", "" }, { "b c", "q", "owl" }, { "y", "z", "a b" }, { "three", "four", "two" } };
    struct xc_subject s = open_subject_of("bert_choice", "choice");
    struct xc_eval_opts opts = { .resamples = 100 };
    struct xc_dataset d = { .per_row = 1 };
    struct xc_eval_result r;
    int best[N];
    char data[1000] = "choice1\tlabel\tchoice0\ttext\tchoice2\n";

    (void)state;
    for (int i = 0; i < N; i++) {
        float most = -INFINITY;

        for (int k = 0; k < K; k++) {
            struct xc_output out;

            OK(xc_session_run_pairs(s.session, &text[i], NULL, &choice[i][k], NULL, 1, &out, &err));
            if (out.data[0] > most) most = out.data[0], best[i] = k;
        }
        snprintf(data + strlen(data), sizeof data - strlen(data), "%s\t%d\t%s\t%s\t%s\n", choice[i][1], i ? best[i] : (best[i] + 1) % K, choice[i][0], text[i], choice[i][2]);
    }
    opts.data = put("choices.tsv", data);
    OK(xc_evaluate(&r, xc_task_find("choice"), &s, &s, &opts, &err));
    assert_int_equal(r.rows, N);
    assert_true(metric(&r, "accuracy") == 0.75 && r.has_flips && r.flip_rate == 0);
    OK(xc_data_read_tsv(&d.data, opts.data, XC_DATA_CHOICE | XC_DATA_LABEL, &err));
    OK(xc_dataset_choices(&d, s.session->tokenizer, 26, NULL, &err));
    assert_true(d.n == N && d.per_row == K);
    for (int i = 0; i < N * K; i++) {
        struct xc_tokens t = { 0 };

        OK(xc_tokenizer_encode(s.session->tokenizer, &t, text[i / K], strlen(text[i / K]), choice[i / K][i % K], strlen(choice[i / K][i % K]), NULL, &err));
        assert_int_equal(d.start[i + 1] - d.start[i], t.n);
        assert_memory_equal(d.ids + d.start[i], t.ids, t.n * sizeof *t.ids);
        xc_tokens_release(&t);
    }
    xc_dataset_release(&d);
    refuse_choices(&s, "label\ttext\tchoice0\n0\ta\tb\n", "no columns 'choice0' and 'choice1'");
    refuse_choices(&s, "label\ttext\tchoice0\tchoice2\n0\ta\tb\tc\n", "no columns 'choice0' and 'choice1'");
    refuse_choices(&s, "label\ttext\tchoice0\tchoice1\tchoice0\n0\ta\tb\tc\td\n", "column 'choice0' is there twice");
    refuse_choices(&s, "label\ttext\tchoice0\tchoice1\n2\ta\tb\tc\n", "no.tsv:2: label '2' is no number of a choice, 0 to 1");
    xc_subject_close(&s);
    s = open_subject();
    refuse_choices(&s, "label\ttext\tchoice0\tchoice1\n0\ta\tb\tc\n", "task 'choice' needs a model for multiple choice; this is a model for 'answer'");
    xc_subject_close(&s);
}

static void test_out_of_memory(void **state)
{
    struct xc_eval_opts opts = { .resamples = 100, .data = put("oom.json", squad) };
    struct xc_subject s = open_subject();
    struct xc_eval_result r;
    int failures = 0;

    (void)state;
    for (int64_t n = 0;; n++) {
        enum xc_status status;

        xc_alloc_fail_once(n);
        status = xc_evaluate(&r, xc_task_find("answer"), &s, NULL, &opts, &err);
        xc_alloc_fail_after(-1);
        if (status == XC_OK) break;
        if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s at %s", (long long)n, err.msg, err.where);
        failures++;
    }
    assert_in_range(failures, 30, 100000);
    xc_subject_close(&s);
    s = open_subject_of("bert_choice", "choice");
    opts.data = put("oom.tsv", "label\ttext\tchoice0\tchoice1\n0\ta\tb\tc\n1\ta\tb\tc\n");
    for (int64_t n = 0;; n++) {
        enum xc_status status;

        xc_alloc_fail_once(n);
        status = xc_evaluate(&r, xc_task_find("choice"), &s, NULL, &opts, &err);
        xc_alloc_fail_after(-1);
        if (status == XC_OK) break;
        if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s at %s", (long long)n, err.msg, err.where);
    }
    xc_subject_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_offsets), cmocka_unit_test(test_scores), cmocka_unit_test(test_windows), cmocka_unit_test(test_best_span), cmocka_unit_test(test_files),
        cmocka_unit_test(test_run), cmocka_unit_test(test_task), cmocka_unit_test(test_targets), cmocka_unit_test(test_choices), cmocka_unit_test(test_out_of_memory),
    };

    if (scratch_open(folder, sizeof folder, "answer")) return 1;
    return scratch_close(folder, cmocka_run_group_tests(tests, NULL, NULL));
}
