/* Statistics and heads against scipy, scikit-learn and seqeval (tests/vectors/gen_stats.py), and the bootstrap against a naive one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/tasks/linear_head.h"
#include "compress/tasks/stats.h"
#include "runtime/base/rng.h"
#include "tests/vectors/stats_vectors.h"

static void near(const char *what, double got, double want, double tolerance)
{
    if (isnan(want) ? isnan(got) : fabs(got - want) <= tolerance * fmax(1, fabs(want))) return;
    fail_msg("%s: %.17g, not %.17g", what, got, want);
}

static double value(const struct xc_metric *m, const struct xc_sample *s)
{
    double x;

    assert_int_equal(xc_metric_value(&x, m, s, NULL), XC_OK);
    return x;
}

static void test_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(num_cases); i++) {
        int32_t go[64], po[64];
        const struct xc_sample s = { .n = num_cases[i].n, .gold = num_cases[i].gold, .pred = num_cases[i].pred, .gold_order = go, .pred_order = po };

        assert_int_equal(xc_stats_order(go, s.gold, s.n, NULL), XC_OK);
        assert_int_equal(xc_stats_order(po, s.pred, s.n, NULL), XC_OK);
        near(num_cases[i].name, value(&xc_metric_spearman, &s), num_cases[i].spearman, 1e-9);
        near(num_cases[i].name, value(&xc_metric_pearson, &s), num_cases[i].pearson, 1e-9);
        near(num_cases[i].name, value(&xc_metric_mse, &s), num_cases[i].mse, 1e-9);
        near(num_cases[i].name, value(&xc_metric_mae, &s), num_cases[i].mae, 1e-9);
        near(num_cases[i].name, value(&xc_metric_r2, &s), num_cases[i].r2, 1e-9);
    }
}

static void test_classes(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cls_cases); i++) {
        const struct xc_sample s = { .n = cls_cases[i].n, .gold_class = cls_cases[i].gold, .pred_class = cls_cases[i].pred, .n_classes = cls_cases[i].classes };

        near(cls_cases[i].name, value(&xc_metric_accuracy, &s), cls_cases[i].accuracy, 1e-9);
        if (cls_cases[i].classes == 2) near(cls_cases[i].name, value(&xc_metric_f1, &s), cls_cases[i].f1, 1e-9);
        near(cls_cases[i].name, value(&xc_metric_f1_macro, &s), cls_cases[i].f1_macro, 1e-9);
        near(cls_cases[i].name, value(&xc_metric_matthews, &s), cls_cases[i].matthews, 1e-9);
    }
}

/* "a b|c" to sentences of tags; cuts the copy in place. */
static int64_t next_sentence(char **at, const char **tag)
{
    int64_t n = 0;
    char *save = NULL, *sentence = strsep(at, "|");

    for (char *t = strtok_r(sentence, " ", &save); t; t = strtok_r(NULL, " ", &save)) tag[n++] = t;
    return n;
}

static void test_entities(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(tag_cases); i++)
        for (int strict = 0; strict < 2; strict++) {
            char gold[1024], pred[1024], *g = gold, *p = pred;
            const char *gt[64], *pt[64];
            int32_t hits[16], n_pred[16], n_gold[16];
            struct xc_sample s = { .hits = hits, .n_pred = n_pred, .n_gold = n_gold };

            snprintf(gold, sizeof gold, "%s", tag_cases[i].gold);
            snprintf(pred, sizeof pred, "%s", tag_cases[i].pred);
            for (; g; s.n++) {
                const int64_t n = next_sentence(&g, gt);

                assert_int_equal(next_sentence(&p, pt), n);
                xc_entity_counts(&hits[s.n], &n_pred[s.n], &n_gold[s.n], gt, pt, n, strict ? XC_ENTITY_STRICT : XC_ENTITY_CONLL);
            }
            near(tag_cases[i].gold, value(&xc_metric_count_precision, &s), strict ? tag_cases[i].strict_precision : tag_cases[i].precision, 1e-9);
            near(tag_cases[i].gold, value(&xc_metric_count_recall, &s), strict ? tag_cases[i].strict_recall : tag_cases[i].recall, 1e-9);
            near(tag_cases[i].gold, value(&xc_metric_count_f1, &s), strict ? tag_cases[i].strict_f1 : tag_cases[i].f1, 1e-9);
        }
}

/* ---- bootstrap ---- */
enum { ROWS = 120, RESAMPLES = 300 };

/* The same draws, done the slow way: rows copied, sorted and measured again. */
static double naive(const struct xc_metric *m, const double *gold, const double *pred, uint64_t seed, uint64_t index)
{
    static double g[ROWS], p[ROWS];
    static int32_t go[ROWS], po[ROWS], gc[ROWS], pc[ROWS];
    const struct xc_sample s = { .n = ROWS, .gold = g, .pred = p, .gold_order = go, .pred_order = po, .gold_class = gc, .pred_class = pc, .n_classes = 4 };

    for (int i = 0; i < ROWS; i++) {
        uint32_t word[4];
        int row;

        xc_philox(word, seed, index, (uint64_t)(i / 4));
        row = (int)((uint64_t)word[i % 4] * ROWS >> 32);
        g[i] = gold[row];
        p[i] = pred[row];
        gc[i] = (int32_t)g[i];
        pc[i] = (int32_t)p[i];
    }
    xc_stats_order(go, g, ROWS, NULL);
    xc_stats_order(po, p, ROWS, NULL);
    return value(m, &s);
}

static void test_bootstrap(void **state)
{
    static const struct xc_metric *const metrics[] = { &xc_metric_spearman, &xc_metric_pearson, &xc_metric_accuracy, &xc_metric_f1_macro, &xc_metric_matthews,
                                                       &xc_metric_mse, &xc_metric_r2 };
    enum { M = XC_ARRAY_LEN(metrics) };
    double gold[ROWS], pred[ROWS], slow[RESAMPLES];
    int32_t go[ROWS], po[ROWS], gc[ROWS], pc[ROWS];
    const struct xc_sample s = { .n = ROWS, .gold = gold, .pred = pred, .gold_order = go, .pred_order = po, .gold_class = gc, .pred_class = pc, .n_classes = 4 };
    struct xc_estimate one[M], four[M];
    struct xc_pool *pool = NULL;
    struct xc_rng rng;

    (void)state;
    xc_rng_init(&rng, 5, 0);
    for (int i = 0; i < ROWS; i++) {
        gc[i] = (int32_t)xc_rng_below(&rng, 4);
        pc[i] = xc_rng_unit(&rng) < 0.7 ? gc[i] : (int32_t)xc_rng_below(&rng, 4);
        gold[i] = gc[i];
        pred[i] = pc[i];
    }
    xc_stats_order(go, gold, ROWS, NULL);
    xc_stats_order(po, pred, ROWS, NULL);
    assert_int_equal(xc_pool_new(&pool, 4, NULL), XC_OK);
    assert_int_equal(xc_bootstrap(one, metrics, M, &s, NULL, &(struct xc_bootstrap_opts){ .seed = 9, .resamples = RESAMPLES }, NULL), XC_OK);
    assert_int_equal(xc_bootstrap(four, metrics, M, &s, NULL, &(struct xc_bootstrap_opts){ .seed = 9, .resamples = RESAMPLES, .pool = pool }, NULL), XC_OK);
    assert_memory_equal(one, four, sizeof one);
    xc_pool_free(&pool);
    for (int m = 0; m < (int)M; m++) {
        for (int r = 0; r < RESAMPLES; r++) slow[r] = naive(metrics[m], gold, pred, 9, (uint64_t)r);
        xc_sort_doubles(slow, RESAMPLES);
        near(metrics[m]->name, one[m].value, value(metrics[m], &s), 0);
        near(metrics[m]->name, one[m].lo, xc_quantile(slow, RESAMPLES, 0.025), 1e-12);
        near(metrics[m]->name, one[m].hi, xc_quantile(slow, RESAMPLES, 0.975), 1e-12);
        assert_true(one[m].lo < one[m].value && one[m].value < one[m].hi);
    }
}

/* An interval of 95 % that holds the truth in 95 % of experiments, within what 400 experiments can tell. */
static void test_coverage(void **state)
{
    static const struct xc_metric *const metrics[] = { &xc_metric_accuracy };
    int holds = 0, paired_holds = 0;

    (void)state;
    for (uint64_t experiment = 0; experiment < 400; experiment++) {
        int32_t gold[300], a[300], b[300];
        const struct xc_sample sa = { .n = 300, .gold_class = gold, .pred_class = a, .n_classes = 2 };
        const struct xc_sample sb = { .n = 300, .gold_class = gold, .pred_class = b, .n_classes = 2 };
        struct xc_estimate est, diff;
        struct xc_rng rng;

        xc_rng_init(&rng, 77, experiment);
        for (int i = 0; i < 300; i++) { /* a is right with 0.8; b is a with 5 % of its right answers spoiled: 0.76 */
            gold[i] = (int32_t)xc_rng_below(&rng, 2);
            a[i] = xc_rng_unit(&rng) < 0.8 ? gold[i] : 1 - gold[i];
            b[i] = a[i] == gold[i] && xc_rng_unit(&rng) < 0.05 ? 1 - gold[i] : a[i];
        }
        assert_int_equal(xc_bootstrap(&est, metrics, 1, &sa, NULL, &(struct xc_bootstrap_opts){ .seed = experiment, .resamples = 400 }, NULL), XC_OK);
        assert_int_equal(xc_bootstrap(&diff, metrics, 1, &sa, &sb, &(struct xc_bootstrap_opts){ .seed = experiment, .resamples = 400 }, NULL), XC_OK);
        holds += est.lo <= 0.8 && 0.8 <= est.hi;
        paired_holds += diff.lo <= 0.04 && 0.04 <= diff.hi;
        assert_true(diff.hi - diff.lo < est.hi - est.lo);
        near("flip rate", xc_flip_rate(a, b, 300), diff.value, 1e-12);
    }
    assert_in_range(holds, 360, 398);
    assert_in_range(paired_holds, 356, 398);
}

static void test_no_value(void **state)
{
    static const struct xc_metric *const metrics[] = { &xc_metric_pearson };
    const double gold[] = { 1, 2, 3 }, pred[] = { 2, 2, 2 };
    const struct xc_sample constant = { .n = 3, .gold = gold, .pred = pred }, none = { 0 };
    struct xc_estimate est;
    struct xc_err err = { 0 };

    (void)state;
    assert_int_equal(xc_bootstrap(&est, metrics, 1, &constant, NULL, NULL, NULL), XC_OK);
    assert_true(isnan(est.value) && isnan(est.lo) && isnan(est.hi));
    assert_int_equal(xc_bootstrap(&est, metrics, 1, &none, NULL, NULL, &err), XC_E_ARG);
    assert_int_equal(xc_bootstrap(&est, metrics, 1, &constant, &(struct xc_sample){ .n = 2 }, NULL, &err), XC_E_ARG);
}

static void test_order_statistics(void **state)
{
    double x[1001], lo, hi;

    (void)state;
    for (int i = 0; i < 1001; i++) x[i] = i;
    near("median", xc_quantile(x, 1001, 0.5), 500, 0);
    near("quarter", xc_quantile(x, 2, 0.25), 0.25, 0);
    xc_median_interval(&lo, &hi, x, 10); /* tables: ranks 2 and 9 of 10 */
    near("lo", lo, 1, 0);
    near("hi", hi, 8, 0);
    xc_median_interval(&lo, &hi, x, 3); /* too few for 95 %: the whole range */
    near("lo", lo, 0, 0);
    near("hi", hi, 2, 0);
    xc_median_interval(&lo, &hi, x, 1001);
    near("lo", lo, 468, 0);
    near("hi", hi, 532, 0);
    assert_true(isnan(xc_quantile(x, 0, 0.5)));
    near("cosine", xc_cosine((const float[]){ 1, 2 }, (const float[]){ 2, 4 }, 2), 1, 1e-15);
    near("cosine", xc_cosine((const float[]){ 0, 0 }, (const float[]){ 2, 4 }, 2), 0, 0);
}

/* ---- heads ---- */
static void compare_head(const char *what, const struct xc_linear_head *head, const double *want, int64_t first_output, double tolerance)
{
    const int64_t D = head->inputs;

    for (int64_t k = first_output; k < head->outputs; k++)
        for (int64_t d = 0; d <= D; d++)
            near(what, d < D ? head->weight[k * D + d] : head->bias[k], want[(k - first_output) * (D + 1) + d], tolerance);
}

static void test_ridge(void **state)
{
    struct xc_linear_head head;
    double out[HEAD_N], sum = 0;

    (void)state;
    assert_int_equal(xc_ridge_fit(&head, head_x, head_y, HEAD_N, HEAD_D, NULL, NULL), XC_OK);
    compare_head("ridge", &head, ridge_1, 0, 1e-9);
    xc_linear_head_apply(out, &head, head_x, HEAD_N);
    for (int i = 0; i < HEAD_N; i++) sum += out[i] - head_y[i];
    near("the intercept is free: residuals sum to nothing", sum, 0, 1e-10);
    xc_linear_head_release(&head);
    assert_int_equal(xc_ridge_fit(&head, head_x, head_y, HEAD_N, HEAD_D, &(struct xc_linear_opts){ .alpha = 30 }, NULL), XC_OK);
    compare_head("ridge 30", &head, ridge_30, 0, 1e-9);
    xc_linear_head_release(&head);
}

static void test_logistic(void **state)
{
    struct xc_linear_opts opts = { .C = 1, .tolerance = 1e-11 };
    struct xc_linear_head head, parallel;
    double out[2];

    (void)state;
    assert_int_equal(xc_logistic_fit(&head, head_x, head_binary, HEAD_N, HEAD_D, 2, &opts, NULL), XC_OK);
    assert_true(head.converged);
    compare_head("binary", &head, binary_1, 1, 1e-8);
    xc_linear_head_apply(out, &head, head_x, 1);
    near("class 0 is the zero logit", out[0], 0, 0);
    xc_linear_head_release(&head);
    assert_int_equal(xc_logistic_fit(&head, head_x, head_multi, HEAD_N, HEAD_D, HEAD_CLASSES, &opts, NULL), XC_OK);
    compare_head("softmax", &head, multi_1, 0, 1e-6); /* scikit-learn's lbfgs stops at about 1e-7 */
    opts.C = 100;
    assert_int_equal(xc_pool_new(&opts.pool, 3, NULL), XC_OK);
    xc_linear_head_release(&head);
    assert_int_equal(xc_logistic_fit(&head, head_x, head_binary, HEAD_N, HEAD_D, 2, &opts, NULL), XC_OK);
    compare_head("binary, C = 100", &head, binary_100, 1, 1e-8);
    xc_linear_head_release(&head);
    assert_int_equal(xc_logistic_fit(&parallel, head_x, head_multi, HEAD_N, HEAD_D, HEAD_CLASSES, &opts, NULL), XC_OK);
    xc_pool_free(&opts.pool);
    compare_head("softmax, C = 100", &parallel, multi_100, 0, 1e-5);
    assert_int_equal(xc_logistic_fit(&head, head_x, head_multi, HEAD_N, HEAD_D, HEAD_CLASSES, &opts, NULL), XC_OK);
    assert_memory_equal(head.weight, parallel.weight, sizeof(double) * HEAD_D * HEAD_CLASSES);
    assert_int_equal(head.iterations, parallel.iterations);
    xc_linear_head_release(&head);
    xc_linear_head_release(&parallel);
}

static void test_bad_rows(void **state)
{
    const float x[] = { 1, 2, NAN, 4 };
    const double y[] = { 0, 1 };
    struct xc_linear_head head;
    struct xc_err err = { 0 };

    (void)state;
    assert_int_equal(xc_ridge_fit(&head, x, y, 2, 2, NULL, &err), XC_E_RANGE);
    assert_non_null(strstr(err.msg, "row 1, feature 0"));
    assert_null(head.weight);
    assert_int_equal(xc_logistic_fit(&head, x, (const int32_t[]){ 0, 0 }, 1, 2, 2, NULL, &err), XC_E_RANGE);
    assert_non_null(strstr(err.msg, "no row has label 1"));
    assert_int_equal(xc_logistic_fit(&head, x, (const int32_t[]){ 5 }, 1, 2, 2, NULL, &err), XC_E_RANGE);
    assert_int_equal(xc_ridge_fit(&head, x, y, 0, 2, NULL, &err), XC_E_ARG);
}

static void test_out_of_memory(void **state)
{
    static const struct xc_metric *const metrics[] = { &xc_metric_f1_macro };
    const struct xc_sample s = { .n = cls_cases[0].n, .gold_class = cls_cases[0].gold, .pred_class = cls_cases[0].pred, .n_classes = 2 };
    struct xc_linear_head head;
    struct xc_estimate est;
    int64_t failures = 0;

    (void)state;
    for (int64_t n = 0;; n++) {
        enum xc_status a, b, c;

        xc_alloc_fail_after(n);
        a = xc_bootstrap(&est, metrics, 1, &s, NULL, NULL, NULL);
        xc_alloc_fail_after(n);
        b = xc_ridge_fit(&head, head_x, head_y, HEAD_N, HEAD_D, NULL, NULL);
        xc_linear_head_release(&head);
        xc_alloc_fail_after(n);
        c = xc_logistic_fit(&head, head_x, head_multi, HEAD_N, HEAD_D, HEAD_CLASSES, NULL, NULL);
        xc_linear_head_release(&head);
        xc_alloc_fail_after(-1);
        if (!a && !b && !c) break;
        failures++;
        assert_true(!a || a == XC_E_NOMEM);
        assert_true(!b || b == XC_E_NOMEM);
        assert_true(!c || c == XC_E_NOMEM);
    }
    assert_in_range(failures, 5, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_classes), cmocka_unit_test(test_entities), cmocka_unit_test(test_bootstrap),
        cmocka_unit_test(test_coverage), cmocka_unit_test(test_no_value), cmocka_unit_test(test_order_statistics), cmocka_unit_test(test_ridge),
        cmocka_unit_test(test_logistic), cmocka_unit_test(test_bad_rows), cmocka_unit_test(test_out_of_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
