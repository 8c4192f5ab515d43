/* test_no_memory: each allocation of each path through the toolkit fails once: those of ours, of jansson and of zstd, which share a hook.
 *
 * Twice: all from the n-th on fail, as on a machine that is full; and only the n-th fails, which shows whoever goes on as if nothing had been. Every
 * time the answer is XC_E_NOMEM, nothing is leaked (sanitizer builds) and no file is left. Loaders, containers, sessions and
 * budgets have tests of their own beside their other tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compress/gate/check.h"
#include "compress/tasks/task.h"
#include "formats/tokenizer.h"
#include "runtime/text/tokenizer.h"
#include "tests/unit/scratch.h"
#include "xcompress/compress.h"

static char root[1024], dir[1024];

static const char *put(const char *name, const char *text)
{
    const char *const path = path_in(dir, name);

    write_file(path, text, strlen(text));
    return path;
}

/* One path: everything it makes is released again before it returns. */
typedef enum xc_status path_fn(struct xc_err *err);

static int64_t allocations(path_fn *fn)
{
    const int64_t before = xc_alloc_count();
    struct xc_err err = { 0 };

    if (fn(&err) != XC_OK) fail_msg("%s: %s", err.where, err.msg);
    return xc_alloc_count() - before;
}

/* Every allocation with XC_EVERY set (minutes); else each step-th, from a start that differs between the two ways. */
static void fail_each(const char *name, path_fn *fn, int64_t step)
{
    const int64_t first = allocations(fn), n = allocations(fn); /* what is set up once in a process is set up now */

    printf("%s: %lld allocations, then %lld\n", name, (long long)first, (long long)n);
    assert_true(n > 20);
    if (getenv("XC_EVERY")) step = 1;
    for (int once = 0; once < 2; once++)
        for (int64_t i = once ? step / 2 : 0; i < n; i += step) {
            struct xc_err err = { 0 };
            enum xc_status status;

            if (once) xc_alloc_fail_once(i);
            else xc_alloc_fail_after(i);
            status = fn(&err);
            xc_alloc_fail_after(-1);
            if (status != XC_E_NOMEM) fail_msg("%s, allocation %lld%s: %s: '%s'", name, (long long)i, once ? " alone" : "", xc_status_name(status), err.msg);
            assert_int_equal(err.code, XC_E_NOMEM);
        }
    assert_int_equal(allocations(fn), n); /* nothing is broken */
}

/* ---- compress, reproduce, convert ---- */
static enum xc_status compress(const char *from, bool small, bool calibrated, struct xc_err *err)
{
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    const char *const to = path_in(dir, "made.xc");
    struct xc_compress_result r;
    enum xc_status status;

    how.quantize = "int8";
    how.small = small;
    how.static_ranges = calibrated;
    how.calibrate = calibrated ? path_in(dir, "lines.txt") : NULL;
    status = xc_compress_file(path_in(root, from), to, &how, &r, err);
    xc_compress_result_release(&r);
    if (unlink(to) == 0 && status != XC_OK) fail_msg("a failure left a file");
    return status;
}

static enum xc_status compress_fast(struct xc_err *err) { return compress("tests/vectors/arch/bert_classify", false, false, err); }
static enum xc_status compress_small(struct xc_err *err) { return compress("tests/vectors/arch/distilbert_tag", true, false, err); }
static enum xc_status compress_calibrated(struct xc_err *err) { return compress("tests/data/tiny-bert", false, true, err); }

static enum xc_status plan(struct xc_err *err)
{
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r;
    enum xc_status status;

    how.quantize = "int8";
    status = xc_compress_file(path_in(root, "tests/vectors/arch/roberta"), NULL, &how, &r, err);
    xc_compress_result_release(&r);
    return status;
}

static enum xc_status reproduce(struct xc_err *err)
{
    const struct xc_reproduce_opts opts = { .pool = NULL };
    int64_t same;

    return xc_reproduce(path_in(dir, "tagger.xc"), path_in(root, "tests/vectors/arch/distilbert_tag"), &opts, &same, err);
}

static enum xc_status convert(struct xc_err *err)
{
    struct xc_model *m = NULL;
    uint64_t bytes;
    enum xc_status status = xc_import(&m, path_in(dir, "tagger.xc"), err);

    if (status == XC_OK) status = xc_save(m, path_in(dir, "made.xc"), true, NULL, NULL, &bytes, err);
    xc_model_free(&m);
    if (unlink(path_in(dir, "made.xc")) == 0 && status != XC_OK) fail_msg("a failure left a file");
    return status;
}

static void test_compress_fast(void **state)
{
    (void)state;
    fail_each("compress", compress_fast, 23);
}

static void test_compress_small(void **state)
{
    (void)state;
    fail_each("compress --store small", compress_small, 11);
}

static void test_compress_calibrated(void **state)
{
    (void)state;
    fail_each("compress --calibrate", compress_calibrated, 37);
}

static void test_plan(void **state)
{
    (void)state;
    fail_each("compress --plan", plan, 7);
}

static void test_reproduce(void **state)
{
    (void)state;
    fail_each("reproduce", reproduce, 19);
}

static void test_convert(void **state)
{
    (void)state;
    fail_each("convert", convert, 1);
}

/* ---- eval, check ---- */
static enum xc_status evaluate(const char *task, const char *model, const char *data, bool compare, struct xc_err *err)
{
    const struct xc_task *const t = xc_task_find(task);
    const struct xc_eval_opts opts = { .data = path_in(dir, data), .train = t->needs_train ? path_in(dir, data) : NULL, .resamples = 100,
                                       .export_head = t->needs_train ? path_in(dir, "head.xc") : NULL };
    struct xc_subject a = { 0 }, b = { 0 };
    struct xc_eval_result result;
    enum xc_status status = xc_subject_open(&a, model, t, NULL, err);

    if (status == XC_OK && compare) status = xc_subject_open(&b, model, t, NULL, err);
    if (status == XC_OK) status = xc_evaluate(&result, t, &a, compare ? &b : NULL, &opts, err);
    xc_subject_close(&a);
    xc_subject_close(&b);
    (void)unlink(path_in(dir, "head.xc")); /* whole, even if what came after it failed */
    return status;
}

static enum xc_status eval_sts(struct xc_err *err) { return evaluate("sts", path_in(dir, "embed.xc"), "pairs.tsv", true, err); }
static enum xc_status eval_probe(struct xc_err *err) { return evaluate("probe", path_in(root, "tests/data/tiny-bert"), "labels.tsv", false, err); }
static enum xc_status eval_agreement(struct xc_err *err) { return evaluate("agreement", path_in(dir, "embed.xc"), "lines.txt.zst", true, err); }
static enum xc_status eval_classify(struct xc_err *err) { return evaluate("classify", path_in(dir, "classify.xc"), "labels.tsv", true, err); }

static enum xc_status check(struct xc_err *err)
{
    const struct xc_check_opts opts = { .resamples = 100 };
    struct xc_check_report report = { 0 };
    struct xc_budget budget = { 0 };
    enum xc_status status = xc_budget_read(&budget, path_in(dir, "budget.yaml"), err);

    if (status == XC_OK) status = xc_check(&report, path_in(dir, "embed.xc"), &budget, &opts, err);
    xc_check_report_release(&report);
    xc_budget_release(&budget);
    return status;
}

static void test_eval(void **state)
{
    (void)state;
    fail_each("eval sts", eval_sts, 1);
    fail_each("eval probe", eval_probe, 5);
    fail_each("eval agreement", eval_agreement, 1);
    fail_each("eval classify", eval_classify, 1);
}

static void test_check(void **state)
{
    (void)state;
    fail_each("check", check, 1);
}

/* ---- tokenizers ---- */
static enum xc_status tokenizer(const char *folder, struct xc_err *err)
{
    static const char text[] = "The \xC3\xA9toile [MASK] newword <mask> abcdefghi don't \xFF supercalifragilistic";
    struct xc_tokenizer *tok = NULL;
    struct xc_tokens out = { 0 };
    struct xc_buf *section = NULL;
    char *json = NULL;
    size_t n;
    enum xc_status status = xc_tokenizer_compile(&section, path_in(root, folder), NULL, err);

    if (status == XC_OK) status = xc_tokenizer_open(&tok, section, err);
    if (status == XC_OK) status = xc_tokenizer_encode(tok, &out, text, sizeof text, text, 20, NULL, err);
    if (status == XC_OK) status = xc_tokenizer_decompile(&json, &n, section, err);
    xc_free(json);
    xc_tokens_release(&out);
    xc_tokenizer_free(&tok);
    xc_buf_unref(&section);
    return status;
}

static enum xc_status wordpiece(struct xc_err *err) { return tokenizer("tests/data/tiny-bert", err); }
static enum xc_status byte_level(struct xc_err *err) { return tokenizer("tests/vectors/tokenizer/roberta", err); }

static void test_tokenizers(void **state)
{
    (void)state;
    fail_each("WordPiece", wordpiece, 3);
    fail_each("byte-level BPE", byte_level, 199); /* a vocabulary of some thousand tokens: each a few allocations of jansson's */
}

static void make(const char *from, const char *to)
{
    struct xc_compress_opts how = XC_COMPRESS_DEFAULT;
    struct xc_compress_result r;
    struct xc_err err = { 0 };

    how.quantize = "int8";
    if (xc_compress_file(path_in(root, from), path_in(dir, to), &how, &r, &err) != XC_OK) fail_msg("%s: %s", err.where, err.msg);
    xc_compress_result_release(&r);
}

static int setup(void **state)
{
    char text[4096];

    (void)state;
    make("tests/data/tiny-bert", "embed.xc");
    make("tests/vectors/arch/distilbert_tag", "tagger.xc");
    put("lines.txt", "A man is playing a guitar.\nTwo dogs run.\n\nThe city.\n");
    put("pairs.tsv", "score\ttext_a\ttext_b\n1\tA man\tA dog\n4\tTwo dogs run\tdogs run\n2.5\tx\ty z\n");
    put("labels.tsv", "label\ttext\n0\tx\n1\ty\n0\tz w\n1\tThe city\n");
    snprintf(text, sizeof text,
             "model: {max_bytes: 3MB}\naccuracy:\n  - {task: sts, data: pairs.tsv, metric: spearman, reference: embed.xc, max_drop: 0.1}\n"
             "  - {task: probe, train: labels.tsv, data: labels.tsv, metric: accuracy, min: 0}\n");
    put("budget.yaml", text);
    snprintf(text, sizeof text, "zstd -q '%s/lines.txt'", dir);
    assert_int_equal(system(text), 0);
    { /* a classifier with a tokenizer */
        const struct xc_eval_opts opts = { .data = path_in(dir, "labels.tsv"), .train = path_in(dir, "labels.tsv"), .resamples = 100, .export_head = path_in(dir, "classify.xc") };
        struct xc_eval_result result;
        struct xc_subject s;
        struct xc_err err = { 0 };

        assert_int_equal(xc_subject_open(&s, path_in(root, "tests/data/tiny-bert"), xc_task_find("probe"), NULL, &err), XC_OK);
        assert_int_equal(xc_evaluate(&result, xc_task_find("probe"), &s, NULL, &opts, &err), XC_OK);
        xc_subject_close(&s);
    }
    return 0;
}

int main(void)
{

    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan), cmocka_unit_test(test_compress_fast), cmocka_unit_test(test_compress_small), cmocka_unit_test(test_compress_calibrated), cmocka_unit_test(test_reproduce),
        cmocka_unit_test(test_convert), cmocka_unit_test(test_eval), cmocka_unit_test(test_check), cmocka_unit_test(test_tokenizers),
    };
    int rc;

    snprintf(root, sizeof root, "%s", source_root());
    if (scratch_open(dir, sizeof dir, "nomem")) return 1;
    rc = cmocka_run_group_tests(tests, setup, NULL);
    return scratch_close(dir, rc);
}
