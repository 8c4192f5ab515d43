/* Training with masks: the schedule against its formula; losses, masks and scores of 12 steps against PyTorch (tests/vectors/gen_sparsify.py);
 * what holds of every mask at every step; the same bits for any number of threads, and after a checkpoint; hostile options. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compress/grad/tape.h"
#include "compress/train/checkpoint.h"
#include "compress/train/loss.h"
#include "compress/train/sparsify.h"
#include "formats/formats.h"
#include "tests/vectors/arch_sample.h"

enum { STEPS = 12 };

struct sparsify_case {
    const char *prune;
    bool global;
    double loss[STEPS];
};
struct sparsify_vector {
    int which;
    const char *tensor;
    double score, norm; /* of S: product with made-up numbers, length */
    int live;
    double place;       /* of the mask */
};
#include "tests/vectors/sparsify_vectors.h"

static struct xc_err err;

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

static double lcg(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return (double)(*s >> 8) / 16777216.0 - 0.5;
}

/* ---- a tiny classifier under training ---- */
struct job {
    struct xc_pool *pool;
    struct xc_model *m;
    struct xc_graph *g;
    struct xc_params params;
    struct xc_optimizer_opts opts;
    struct xc_tape *tape;
    struct xc_sparsify *s;
    struct arch_sample in;
    int32_t label[64];
    float d[64 * 8];
    double each[192];
    int64_t step;
};

/* prepared (may be NULL): changes the model first */
static enum xc_status begin(struct job *j, const struct xc_sparsify_opts *o, int n_threads, void (*prepared)(struct xc_model *m))
{
    struct xc_tape_opts tape = { 0 };
    enum xc_status status;
    char path[1024];
    bool all[128];

    memset(j, 0, sizeof *j);
    memset(all, 1, sizeof all);
    snprintf(path, sizeof path, "%s/tests/vectors/arch/bert_classify", getenv("XC_SOURCE_ROOT"));
    OK(xc_pool_new(&j->pool, n_threads, &err));
    OK(xc_model_load(&j->m, path, NULL, &err));
    assert_true(j->m->n_tensors < 128);
    j->g = xc_model_find_graph(j->m, "encode");
    for (int32_t i = 0; i < j->m->n_tensors; i++) OK(xc_tensor_load(j->m->tensors[i], &err));
    if (prepared) prepared(j->m);
    status = xc_sparsify_new(&j->s, j->g, all, NULL, o, &err);
    if (status != XC_OK) return status;
    snprintf(path, sizeof path, "%s/tests/vectors/arch/bert_classify/classify.bin", getenv("XC_SOURCE_ROOT"));
    arch_sample_read(&j->in, path);
    assert_true(j->in.n_seq > 0 && j->in.n_seq < 64);
    j->opts = (struct xc_optimizer_opts){ .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .clip = 1 };
    OK(xc_params_new(&j->params, j->m, all, &j->opts, &err));
    tape = (struct xc_tape_opts){ .pool = j->pool, .trained = all };
    OK(xc_tape_new(&j->tape, j->g, &tape, &err));
    for (int32_t i = 0; i < j->params.n; i++) xc_tape_bind(j->tape, j->params.param[i].tensor, j->params.grad + j->params.param[i].at);
    return xc_sparsify_bind(j->s, &j->params, STEPS, j->pool, &err);
}

static void finish(struct job *j)
{
    if (j->tape) xc_tape_free(&j->tape);
    xc_params_release(&j->params);
    xc_sparsify_free(&j->s);
    xc_model_free(&j->m);
    xc_pool_free(&j->pool);
    arch_sample_release(&j->in);
}

static double step(struct job *j)
{
    const struct xc_ragged rag = { .start = j->in.start, .n_seq = j->in.n_seq };
    struct xc_view in[2], y;
    float *d = j->d;
    double loss, norm;

    for (int32_t i = 0; i < j->g->n_inputs; i++)
        in[i] = (struct xc_view){ .data = strcmp(j->g->values[j->g->inputs[i]].name, "types") ? j->in.ids : j->in.types, .rows = j->in.tokens, .cols = 1 };
    OK(xc_tape_forward(j->tape, in, &rag, 1, true, 0, 0, &y, &err));
    assert_true(y.rows < 64 && y.cols <= 8);
    for (int64_t r = 0; r < y.rows; r++) j->label[r] = (int32_t)(r % y.cols);
    loss = xc_loss_classes(j->d, j->each, y.data, j->label, y.rows, y.cols, 0.1, 1 / (double)y.rows, j->pool) / (double)y.rows;
    OK(xc_tape_backward(j->tape, &d, &err));
    xc_sparsify_gradients(j->s, &j->params, j->pool);
    OK(xc_params_norm(&j->params, j->m, &norm, j->pool, &err));
    xc_params_step(&j->params, &j->opts, ++j->step, 2e-3, norm, j->pool);
    xc_sparsify_weights(j->s, &j->params, j->step, j->pool);
    return loss;
}

/* ---- the schedule ---- */
static void test_schedule(void **state)
{
    (void)state;
    assert_true(xc_sparsify_share(0, 10, 110, 0.8) == 0 && xc_sparsify_share(10, 10, 110, 0.8) == 0);
    assert_true(xc_sparsify_share(110, 10, 110, 0.8) == 0.8 && xc_sparsify_share(1000, 10, 110, 0.8) == 0.8);
    assert_true(fabs(xc_sparsify_share(60, 10, 110, 0.8) - 0.7) < 1e-12);                          /* 0.8 * (1 - 1/8) */
    assert_true(fabs(xc_sparsify_share(30, 10, 110, 0.8) - 0.8 * (1 - 0.512)) < 1e-12);            /* (1 - 0.2)^3 */
    assert_true(fabs(xc_sparsify_share(85, 10, 110, 0.5) - 0.5 * (1 - 1.0 / 64)) < 1e-12);         /* (1 - 3/4)^3 */
    assert_true(xc_sparsify_share(5, 5, 5, 0.9) == 0.9 && xc_sparsify_share(4, 5, 5, 0.9) == 0); /* at once */
}

/* ---- against PyTorch ---- */
static void check_tensor(const struct job *j, int which, int32_t tensor, const uint8_t *mask, const float *scores)
{
    const struct sparsify_vector *want = NULL;
    const char *name = j->m->tensors[tensor]->name;
    double product = 0, norm = 0, place = 0;
    uint32_t s = 12345;
    int live = 0;

    for (size_t v = 0; v < XC_ARRAY_LEN(sparsify_vectors); v++)
        if (sparsify_vectors[v].which == which && !strcmp(sparsify_vectors[v].tensor, name)) want = &sparsify_vectors[v];
    if (!want) fail_msg("'%s' is pruned", name);
    for (int64_t k = 0; k < xc_tensor_count(j->m->tensors[tensor]); k++) {
        const double r = lcg(&s);

        live += mask[k];
        place += mask[k] * r;
        if (!scores) continue;
        product += (double)scores[k] * r;
        norm += (double)scores[k] * (double)scores[k];
    }
    if (live != want->live || fabs(place - want->place) > 1e-6) fail_msg("case %d, '%s': %d weights live (%.9g), PyTorch has %d (%.9g)", which, name, live, place, want->live, want->place);
    if (scores && (fabs(product - want->score) > 1e-4 * want->norm || fabs(sqrt(norm) - want->norm) > 1e-4 * want->norm))
        fail_msg("case %d, '%s': scores %.9g, length %.9g, PyTorch has %.9g and %.9g", which, name, product, sqrt(norm), want->score, want->norm);
}

static void test_against_pytorch(void **state)
{
    (void)state;
    for (size_t c = 0; c < XC_ARRAY_LEN(sparsify_cases); c++) {
        const struct xc_sparsify_opts o = { .prune = sparsify_cases[c].prune, .end = 0.5, .every = 2, .global = sparsify_cases[c].global };
        const uint8_t *mask;
        const float *scores;
        int32_t tensor, n = 0;
        struct job j;

        OK(begin(&j, &o, 2, NULL));
        for (int i = 0; i < STEPS; i++) {
            const double loss = step(&j), want = sparsify_cases[c].loss[i];

            if (!(fabs(loss - want) <= 1e-4 * want)) fail_msg("%s, step %d: loss %.9g, PyTorch has %.9g", o.prune, i + 1, loss, want);
        }
        for (; xc_sparsify_look(j.s, n, &tensor, &mask, &scores); n++) check_tensor(&j, (int)c, tensor, mask, strncmp(o.prune, "movement", 8) ? NULL : scores);
        assert_int_equal(n, 12);
        finish(&j);
    }
}

/* ---- what always holds ---- */
static double share_of(const struct job *j)
{
    const uint8_t *mask;
    const float *scores;
    int64_t gone = 0, all = 0;
    int32_t tensor;

    for (int32_t i = 0; xc_sparsify_look(j->s, i, &tensor, &mask, &scores); i++) {
        const struct xc_tensor *t = j->m->tensors[tensor];
        const float *p = (const float *)(const void *)t->part[XC_PART_DATA]->data;

        for (int64_t k = 0; k < xc_tensor_count(t); k++) {
            if (!mask[k] && p[k] != 0) fail_msg("%s: a masked weight is %g", t->name, (double)p[k]);
            gone += !mask[k];
        }
        all += xc_tensor_count(t);
    }
    return (double)gone / (double)all;
}

/* No more than n of every m, or blocks as a whole. */
static void check_shape(const struct job *j, const char *prune)
{
    const uint8_t *mask;
    const float *scores;
    int32_t tensor;

    for (int32_t i = 0; xc_sparsify_look(j->s, i, &tensor, &mask, &scores); i++) {
        const struct xc_tensor *t = j->m->tensors[tensor];
        const int64_t R = xc_tensor_rows(t), C = xc_tensor_cols(t);

        for (int64_t k = 0; k < R * C; k++) {
            if (strstr(prune, "2:4") && k % C % 4 == 0) assert_true(mask[k] + mask[k + 1] + mask[k + 2] + mask[k + 3] == 2);
            if (strstr(prune, "@16x4")) assert_int_equal(mask[k], mask[k / C / 16 * 16 * C + k % C / 4 * 4]);
        }
    }
}

static const char *const all_kinds[] = { "magnitude=0.9", "movement=0.9", "magnitude=2:4", "movement=2:4", "magnitude=0.75@16x4", "movement=0.75@16x4" };
static const double all_shares[] = { 0.9, 0.9, 0.5, 0.5, 0.75, 0.75 };

static void test_invariants(void **state)
{
    (void)state;
    for (size_t c = 0; c < XC_ARRAY_LEN(all_kinds); c++)
        for (int global = 0; global < 2; global++) {
            const struct xc_sparsify_opts o = { .prune = all_kinds[c], .begin = 0.25, .end = 0.75, .every = 1, .global = global };
            const bool returns = !strncmp(o.prune, "movement", 8), groups = strchr(o.prune, ':') != NULL;
            static uint8_t before[128][8192];
            double last = 0;
            struct job j;

            if (global && groups) continue;
            memset(before, 1, sizeof before);
            OK(begin(&j, &o, 2, NULL));
            for (int i = 1; i <= STEPS; i++) {
                const double want = xc_sparsify_share(i, 3, 9, all_shares[c]);
                const uint8_t *mask;
                const float *scores;
                int32_t tensor;
                double share;

                step(&j);
                share = share_of(&j);
                if (groups ? share < last : fabs(share - want) > (strchr(o.prune, '@') ? 0.04 : 0.01)) /* a small layer has few blocks */
                     fail_msg("%s, step %d: %g is zero, must be %g", o.prune, i, share, want);
                assert_int_equal(xc_sparsify_settled(j.s, i), i >= 9);
                for (int32_t t = 0; xc_sparsify_look(j.s, t, &tensor, &mask, &scores); t++) {
                    const int64_t n = xc_tensor_count(j.m->tensors[tensor]);

                    assert_true(n <= 8192);
                    for (int64_t k = 0; k < n && !returns; k++) assert_false(mask[k] && !before[t][k]); /* what went is gone */
                    memcpy(before[t], mask, (size_t)n);
                }
                last = share;
            }
            assert_true(fabs(last - all_shares[c]) < (strchr(o.prune, '@') ? 0.04 : 0.01));
            check_shape(&j, o.prune);
            xc_sparsify_finish(j.s, j.m);
            OK(xc_model_verify(j.m, &err));
            assert_true(fabs(xc_sparsify_zeros(j.s) - last) < 1e-3);
            assert_int_equal(j.m->tensors[xc_model_find_tensor(j.m, "bert.encoder.layer.0.output.dense.weight")]->enc.structure,
                             groups ? XC_STRUCT_NM : strchr(o.prune, '@') && !global ? XC_STRUCT_BLOCK : XC_STRUCT_COMPACT);
            assert_int_equal(j.m->tensors[xc_model_find_tensor(j.m, "classifier.weight")]->enc.structure, XC_STRUCT_DENSE);
            finish(&j);
        }
}

/* ---- the same bits ---- */
static void same_state(const struct job *a, const struct job *b)
{
    assert_int_equal(a->params.extra_bytes, b->params.extra_bytes);
    assert_memory_equal(a->params.extra, b->params.extra, a->params.extra_bytes);
    for (int32_t i = 0; i < a->params.n; i++) assert_memory_equal(a->params.param[i].p, b->params.param[i].p, (size_t)a->params.param[i].n * sizeof(float));
}

static void test_same_bits(void **state)
{
    char path[] = "/tmp/xc_sparsify_XXXXXX";
    const int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    close(fd);
    for (size_t c = 0; c < XC_ARRAY_LEN(all_kinds); c++) {
        const struct xc_sparsify_opts o = { .prune = all_kinds[c], .begin = 0.1, .end = 0.8, .every = 2 };
        struct xc_train_state at = { 0 };
        struct job one, three, again;

        OK(begin(&one, &o, 1, NULL));
        OK(begin(&three, &o, 3, NULL));
        for (int i = 0; i < STEPS; i++) {
            step(&one);
            step(&three);
            at.step = one.step;
            if (i == 4) OK(xc_checkpoint_write(path, 1, &at, &one.params, NULL, &err));
        }
        same_state(&one, &three);
        OK(begin(&again, &o, 2, NULL));
        OK(xc_checkpoint_read(path, 1, &at, &again.params, NULL, &err));
        assert_int_equal(at.step, 5);
        for (again.step = at.step; again.step < STEPS;) step(&again);
        same_state(&one, &again);
        again.params.extra_bytes -= 64;
        assert_int_equal(xc_checkpoint_read(path, 1, &at, &again.params, NULL, &err), XC_E_FORMAT);
        again.params.extra_bytes += 64;
        finish(&one);
        finish(&three);
        finish(&again);
    }
    unlink(path);
}

/* ---- zeros that are there ---- */
static void make_zeros(struct xc_model *m)
{
    struct xc_tensor *t = m->tensors[xc_model_find_tensor(m, "bert.encoder.layer.0.output.dense.weight")];
    float *w = malloc((size_t)xc_tensor_count(t) * sizeof *w);

    OK(xc_tensor_to_f32(t, w, &err));
    for (int64_t k = 0; k < xc_tensor_count(t); k++)
        if (k % 4 > 1) w[k] = 0;
    OK(xc_tensor_set_f32(t, w, &err));
    t->enc.structure = XC_STRUCT_NM;
    t->enc.n = 2;
    t->enc.m = 4;
    free(w);
}

static void test_keep(void **state)
{
    const struct xc_sparsify_opts o = { .prune = "keep" };
    const uint8_t *mask;
    const float *scores;
    int32_t tensor;
    struct job j;

    (void)state;
    OK(begin(&j, &o, 2, make_zeros));
    for (int i = 0; i < STEPS; i++) step(&j);
    assert_true(share_of(&j) > 0);
    assert_true(xc_sparsify_settled(j.s, 0));
    for (int32_t i = 0; xc_sparsify_look(j.s, i, &tensor, &mask, &scores); i++) {
        const bool had = !strcmp(j.m->tensors[tensor]->name, "bert.encoder.layer.0.output.dense.weight");

        for (int64_t k = 0; k < xc_tensor_count(j.m->tensors[tensor]); k++) assert_int_equal(mask[k], !had || k % 4 <= 1);
    }
    xc_sparsify_finish(j.s, j.m);
    OK(xc_model_verify(j.m, &err));
    assert_int_equal(j.m->tensors[xc_model_find_tensor(j.m, "bert.encoder.layer.0.output.dense.weight")]->enc.structure, XC_STRUCT_NM);
    finish(&j);
    assert_int_equal(begin(&j, &o, 1, NULL), XC_E_ARG);
    assert_non_null(strstr(err.msg, "no zeros to keep"));
    finish(&j);
}

static void test_hostile(void **state)
{
    static const struct {
        struct xc_sparsify_opts o;
        const char *message;
    } cases[] = {
        { { .prune = "magnitude" }, "is no way to prune" },           { { .prune = "wanda=0.5" }, "is no way to prune" },      { { .prune = "magnitude=" }, "is no way to prune" },
        { { .prune = "magnitude=1" }, "is no way to prune" },         { { .prune = "magnitude=nan" }, "is no way to prune" },  { { .prune = "magnitude=-0.1" }, "is no way to prune" },
        { { .prune = "magnitude=4:4" }, "is no way to prune" },       { { .prune = "magnitude=0:4" }, "is no way to prune" },  { { .prune = "magnitude=2:65" }, "is no way to prune" },
        { { .prune = "magnitude=2.5:4" }, "is no way to prune" },     { { .prune = "magnitude=0.5@0x4" }, "is no way to prune" }, { { .prune = "magnitude=0.5@4x" }, "is no way to prune" },
        { { .prune = "magnitude=0.5@4x2000" }, "is no way to prune" }, { { .prune = "magnitude=0.5 " }, "is no way to prune" }, { { .prune = "" }, "is no way to prune" },
        { { .prune = "magnitude=2:4", .global = true, .end = 1 }, "no threshold over all" },
        { { .prune = "magnitude=0.5", .begin = 0.5, .end = 0.4 }, "0 <= begin <= end <= 1" },
        { { .prune = "magnitude=0.5", .end = NAN }, "0 <= begin <= end <= 1" },
        { { .prune = "movement=0.5" }, "cannot end before" },
    };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct job j;

        assert_int_not_equal(begin(&j, &cases[i].o, 1, NULL), XC_OK);
        if (!strstr(err.msg, cases[i].message)) fail_msg("'%s': %s", cases[i].o.prune, err.msg);
        finish(&j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_schedule), cmocka_unit_test(test_against_pytorch), cmocka_unit_test(test_invariants),
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_keep),           cmocka_unit_test(test_hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
