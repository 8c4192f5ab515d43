/* The losses of distillation against PyTorch (tests/vectors/gen_distill.py) and finite differences, for any number of threads; students made of a
 * teacher; the map of layers; recipes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "compress/distill/distill_recipe.h"
#include "compress/grad/grad_relation.h"
#include "compress/grad/tape.h"
#include "compress/train/loss.h"
#include "formats/formats.h"
#include "runtime/graph/run.h"
#include "xcompress/compress.h"

struct distill_vector {
    const char *name;
    double loss, grad[4];
};
#include "tests/vectors/distill_vectors.h"

static struct xc_err err;
static struct xc_pool *threads;

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

enum { N_SEQ = 4, ROWS = 92, COLS = 24, TEACHER_COLS = 36, HEADS = 3 };
static const int32_t starts[N_SEQ + 1] = { 0, 3, 4, 21, ROWS };

static float *lcg(uint32_t seed, int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);

    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(4 * ((double)(seed >> 8) / 16777216.0 - 0.5));
    }
    return x;
}

static bool near(double got, double want, double limit) { return fabs(got - want) <= limit * (fabs(want) + 1e-6); }

static void compare(const struct distill_vector *v, int k, const float *d, int64_t cols)
{
    float *w = lcg(99, ROWS * cols);
    double norm = 0, product = 0;

    for (int64_t i = 0; i < ROWS * cols; i++) {
        norm += (double)d[i] * (double)d[i];
        product += (double)d[i] * (double)w[i];
    }
    if (!near(sqrt(norm), v->grad[2 * k], 1e-5) || !(fabs(product - v->grad[2 * k + 1]) <= 2e-5 * v->grad[2 * k]))
        fail_msg("%s: gradient %d has norm %.9g and product %.9g, must be %.9g and %.9g", v->name, k, sqrt(norm), product, v->grad[2 * k], v->grad[2 * k + 1]);
    free(w);
}

/* ---- relations ---- */
struct related {
    struct xc_relation r;
    struct xc_ragged rag;
    float *a, *b, *ta, *tb, *da, *db;
};

static void relate(struct related *x, const char *name, struct xc_pool *pool)
{
    const bool self = strstr(name, "_self") != NULL;

    memset(x, 0, sizeof *x);
    x->rag = (struct xc_ragged){ .start = starts, .n_seq = N_SEQ };
    x->a = lcg(1, ROWS * COLS);
    x->b = lcg(2, ROWS * COLS);
    x->ta = lcg(3, ROWS * TEACHER_COLS);
    x->tb = lcg(4, ROWS * TEACHER_COLS);
    x->da = calloc(ROWS * COLS, sizeof *x->da);
    x->db = calloc(ROWS * COLS, sizeof *x->db);
    x->r = (struct xc_relation){ .mode = strncmp(name, "scores", 6) ? XC_RELATION_SOFTMAX : XC_RELATION_SCORES, .heads = HEADS, .causal = strstr(name, "_causal") != NULL, .rag = &x->rag, .a = x->a,
                                 .b = self ? x->a : x->b, .teacher_a = x->ta, .teacher_b = self ? x->ta : x->tb, .cols = COLS, .teacher_cols = TEACHER_COLS, .weight = 1, .da = x->da,
                                 .db = self ? x->da : x->db, .kern = xc_kernels(), .pool = pool };
}

static void unrelate(struct related *x)
{
    free(x->a);
    free(x->b);
    free(x->ta);
    free(x->tb);
    free(x->da);
    free(x->db);
}

static void test_relations(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        const struct distill_vector *v = &vectors[i];
        struct related one, many;
        double loss, again;

        relate(&one, v->name, NULL);
        relate(&many, v->name, threads);
        OK(xc_relation_loss(&one.r, &loss, &err));
        OK(xc_relation_loss(&many.r, &again, &err));
        if (!near(loss, v->loss, 1e-5)) fail_msg("%s: loss %.9g, must be %.9g", v->name, loss, v->loss);
        compare(v, 0, one.da, COLS);
        if (v->grad[2] > 0) compare(v, 1, one.db, COLS);
        assert_true(loss == again);
        assert_memory_equal(one.da, many.da, ROWS * COLS * sizeof *one.da);
        assert_memory_equal(one.db, many.db, ROWS * COLS * sizeof *one.db);
        for (int k = 0; k < 5; k++) { /* finite differences of single numbers */
            const int64_t at = (37 * k + 5) % (ROWS * COLS);
            const float was = one.a[at], step = 0.02f, want = many.da[at];
            double up, down;

            one.a[at] = was + step;
            OK(xc_relation_loss(&one.r, &up, &err));
            one.a[at] = was - step;
            OK(xc_relation_loss(&one.r, &down, &err));
            one.a[at] = was;
            if (!(fabs((up - down) / (2 * (double)step) - (double)want) <= 2e-3 * (fabs((double)want) + 0.1)))
                fail_msg("%s: derivative of number %d is %g, by differences %g", v->name, (int)at, (double)want, (up - down) / (2 * (double)step));
        }
        unrelate(&one);
        unrelate(&many);
    }
}

/* ---- rows ---- */
static double rows_loss(const char *name, float *d, double *each, const float *x, const float *t, struct xc_pool *pool)
{
    int32_t label[2 * N_SEQ];

    for (int32_t s = 0; s < N_SEQ; s++)
        for (int32_t c = 0; c < 2; c++) label[2 * s + c] = s == 2 && c ? -1 : 5 * (s + c) % (starts[s + 1] - starts[s]);
    if (!strcmp(name, "span_labels")) return xc_loss_spans(d, each, x, starts, label, N_SEQ, 0.1, 1, pool);
    if (!strcmp(name, "span_soft")) return xc_loss_soft_spans(d, each, x, t, starts, N_SEQ, 2.5, 1, pool);
    if (!strcmp(name, "soft_1")) return xc_loss_soft(d, each, x, t, ROWS, COLS, 1, 1, pool);
    if (!strcmp(name, "soft_2.5")) return xc_loss_soft(d, each, x, t, ROWS, COLS, 2.5, 1, pool);
    if (!strcmp(name, "mse")) return xc_loss_mse(d, each, x, t, ROWS, COLS, 1, pool);
    if (!strcmp(name, "direction")) return xc_loss_direction(d, each, x, t, NULL, ROWS, COLS, 1, pool);
    return xc_loss_direction(d, each, x, t, starts, N_SEQ, COLS, 1, pool);
}

static void test_rows(void **state)
{
    double each[ROWS];

    (void)state;
    for (size_t i = 6; i < XC_ARRAY_LEN(vectors); i++) {
        const struct distill_vector *v = &vectors[i];
        const int64_t cols = !strncmp(v->name, "span_", 5) ? 2 : COLS;
        float *x = lcg(5, ROWS * cols), *t = lcg(6, ROWS * cols), *d = calloc(ROWS * COLS, sizeof *d), *other = calloc(ROWS * COLS, sizeof *other);
        const double loss = rows_loss(v->name, d, each, x, t, NULL);

        if (!near(loss, v->loss, 1e-6)) fail_msg("%s: loss %.9g, must be %.9g", v->name, loss, v->loss);
        compare(v, 0, d, cols);
        assert_true(rows_loss(v->name, other, each, x, t, threads) == loss);
        assert_memory_equal(d, other, (size_t)(ROWS * cols) * sizeof *d);
        for (int64_t at = 0; at < 4 * COLS; at += 17) {
            const float was = x[at];
            double up, down;

            x[at] = was + 0.01f;
            up = rows_loss(v->name, other, each, x, t, NULL);
            x[at] = was - 0.01f;
            down = rows_loss(v->name, other, each, x, t, NULL);
            x[at] = was;
            if (!(fabs((up - down) / 0.02 - (double)d[at]) <= 1e-3 * (fabs((double)d[at]) + 0.1))) fail_msg("%s: derivative of number %d is %g, by differences %g", v->name, (int)at, (double)d[at], (up - down) / 0.02);
        }
        free(x);
        free(t);
        free(d);
        free(other);
    }
    float zero[COLS] = { 0 }, one[COLS] = { 1 }, d[COLS] = { 0 }; /* a row of zeros: no gradient, nothing that is not finite */

    assert_true(xc_loss_direction(d, each, zero, one, NULL, 1, COLS, 1, NULL) == 1);
    for (int i = 0; i < COLS; i++) assert_true(d[i] == 0);
}

/* ---- students ---- */
static struct xc_model *teacher(void)
{
    char path[1024];
    struct xc_model *m;

    snprintf(path, sizeof path, "%s/tests/data/tiny-bert", getenv("XC_SOURCE_ROOT"));
    OK(xc_model_load(&m, path, NULL, &err));
    for (int32_t i = 0; i < m->n_tensors; i++) OK(xc_tensor_load(m->tensors[i], &err));
    return m;
}

static void answer(float *out, struct xc_model *m)
{
    static int32_t ids[] = { 2, 20, 30, 40, 50, 3, 2, 60, 70, 3 }, types[10], start[] = { 0, 6, 10 };
    const struct xc_ragged rag = { .start = start, .n_seq = 2 };
    const struct xc_graph *g = xc_model_find_graph(m, "encode");
    const struct xc_view in[2] = { { .data = ids, .rows = 10, .cols = 1 }, { .data = types, .rows = 10, .cols = 1 } };
    struct xc_run *run;
    struct xc_view y;

    OK(xc_run_new(&run, m, NULL, NULL, &err));
    OK(xc_run_graph(run, g, in, &rag, 1, &y, &err));
    memcpy(out, y.data, (size_t)(y.rows * y.cols) * sizeof *out);
    xc_run_free(&run);
}

static void test_students(void **state)
{
    struct xc_model *t = teacher(), *s;
    struct xc_blocks blocks;
    const struct xc_attr_attention *attr;
    float want[64], got[64];

    (void)state;
    OK(xc_blocks_find(&blocks, xc_model_find_graph(t, "encode"), &err));
    assert_int_equal(blocks.n, 2);
    answer(want, t);
    /* what is not smaller is the same, to rounding: also through the rank-preserving products of heads */
    OK(xc_student_make(&s, t, "layers=2,hidden=32,heads=2,ffn=64", XC_INIT_TEACHER, 0, &err));
    answer(got, s);
    assert_memory_equal(want, got, sizeof got);
    xc_model_free(&s);
    OK(xc_student_make(&s, t, "layers=1,hidden=16,heads=2,ffn=32", XC_INIT_TEACHER, 0, &err));
    OK(xc_blocks_find(&blocks, xc_model_find_graph(s, "encode"), &err));
    assert_int_equal(blocks.n, 1);
    assert_non_null(strstr(xc_model_find_graph(s, "encode")->nodes[blocks.block[0].attention].name, "layer.1.")); /* uniform: the second of two */
    assert_int_equal(xc_model_find_graph(s, "encode")->values[blocks.embedding].cols, 16);
    attr = xc_model_find_graph(s, "encode")->nodes[blocks.block[0].attention].attr;
    assert_int_equal(attr->heads, 2);
    assert_int_equal(xc_model_find_graph(s, "encode")->values[blocks.block[0].query].cols, 16);
    answer(got, s);
    xc_model_free(&s);
    OK(xc_student_make(&s, t, "take=1,heads=1,head_width=8", XC_INIT_SELECT, 0, &err));
    answer(got, s);
    xc_model_free(&s);
    OK(xc_student_make(&s, t, "hidden=24,heads=2", XC_INIT_RANDOM, 7, &err));
    answer(got, s);
    xc_model_free(&s);
    xc_model_free(&t);
}

/* Scores of heads made narrower: where the old heads have no more rank than that, they are the same. */
static void test_head_rank(void **state)
{
    struct xc_model *t = teacher(), *s;
    float want[64], got[64];

    (void)state;
    for (int l = 0; l < 2; l++)
        for (int k = 0; k < 3; k++) { /* the upper half of every head of q, k and v is zero */
            static const char *const part[] = { "query", "key", "value" };
            char name[80];

            for (int b = 0; b < 2; b++) {
                snprintf(name, sizeof name, "encoder.layer.%d.attention.self.%s.%s", l, part[k], b ? "bias" : "weight");
                struct xc_tensor *x = t->tensors[xc_model_find_tensor(t, name)];
                const int64_t cols = b ? 1 : 32;
                float *copy = malloc((size_t)(32 * cols) * sizeof *copy);

                OK(xc_tensor_to_f32(x, copy, &err));
                for (int64_t r = 0; r < 32; r++)
                    for (int64_t c = 0; c < cols && r % 16 >= 8; c++) copy[r * cols + c] = 0;
                OK(xc_tensor_set_f32(x, copy, &err));
                free(copy);
            }
        }
    answer(want, t);
    OK(xc_student_make(&s, t, "head_width=8", XC_INIT_TEACHER, 0, &err));
    answer(got, s);
    for (int i = 0; i < 64; i++)
        if (!(fabsf(want[i] - got[i]) <= 1e-4f)) fail_msg("number %d is %g, must be %g", i, (double)got[i], (double)want[i]);
    xc_model_free(&s);
    xc_model_free(&t);
}

static void test_specs(void **state)
{
    static const struct { const char *spec, *what; } bad[] = {
        { "layers=3", "the student has 3 layers, its teacher 2" }, { "layers=1,width=3", "has no 'width'" }, { "layers=", "needs a whole number" }, { "layers=1,layers=2", "'layers' twice" },
        { "hidden=30,heads=4", "4 heads, its teacher 2" }, { "hidden=31", "31 hidden columns are no multiple of 2 heads" }, { "take=2:1", "must rise" }, { "take=3", "takes layer 3" },
        { "layers=1,take=1:2", "has 1 layers and takes 2" }, { "ffn=65", "65 neurons" }, { "layers=1;ffn=3", "goes on with" },
    };
    struct xc_model *t = teacher(), *s;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(bad); i++) {
        assert_int_not_equal(xc_student_make(&s, t, bad[i].spec, XC_INIT_TEACHER, 0, &err), XC_OK);
        assert_null(s);
        if (!strstr(err.msg, bad[i].what)) fail_msg("'%s': '%s', must have '%s'", bad[i].spec, err.msg, bad[i].what);
    }
    xc_model_free(&t);
}

/* ---- straight through integers ---- */
/* dx = dy Wq and dW = dy^T x, with Wq what the integers stand for and x what came before rounding; forward is the runtime's integer linear. */
static void test_straight_through(void **state)
{
    enum { R = 5, K = 40, N = 24 };
    static const int64_t dim[2] = { N, K };
    static int32_t start[2] = { 0, R };
    struct xc_model *m, *before;
    struct xc_graph *g;
    struct xc_recipe *recipe;
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result;
    int32_t space, x, y, w;
    float *data = lcg(7, R * K), *dy = lcg(8, R * N), *copy = malloc(R * N * sizeof *copy), *dw = calloc(N * K, sizeof *dw), *numbers = lcg(9, N * K), wq[N * K];
    const bool trained[1] = { true };
    const struct xc_ragged rag = { .start = start, .n_seq = 1 };
    const struct xc_view in = { .data = data, .rows = R, .cols = K };
    struct xc_tape *tape;
    struct xc_view out;

    (void)state;
    OK(xc_model_new(&before, &err));
    OK(xc_model_add_graph(before, &g, "encode", &err));
    OK(xc_graph_add_space(g, &space, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_input(g, &x, "x", space, K, XC_DTYPE_F32, &err));
    OK(xc_model_add_tensor(before, &w, "w", 2, dim, &err));
    OK(xc_tensor_set_f32(before->tensors[w], numbers, &err));
    OK(xc_graph_add_node(g, &y, "linear", "l", (struct xc_ref[]){ xc_val(x), xc_ten(w) }, 2, NULL, &err));
    OK(xc_graph_add_output(g, y, &err));
    OK(xc_recipe_new(&recipe, &err));
    OK(xc_recipe_add(recipe, "quantize", &err));
    OK(xc_recipe_set(recipe, "smooth", "no", &err));
    opts.recipe = recipe;
    opts.no_golden = true;
    OK(xc_compress_model(&m, before, NULL, false, &opts, &result, &err));
    xc_compress_result_release(&result);
    g = xc_model_find_graph(m, "encode");
    assert_int_not_equal(g->nodes[0].in[0].range.mode, XC_RANGE_NONE);
    assert_int_equal(xc_tape_new(&tape, g, &(struct xc_tape_opts){ .trained = trained }, &err), XC_E_UNSUPPORTED);
    OK(xc_tape_new(&tape, g, &(struct xc_tape_opts){ .trained = trained, .inputs = true, .straight_through = true }, &err));
    xc_tape_bind(tape, w, dw);
    OK(xc_tape_forward(tape, &in, &rag, 1, true, 0, 0, &out, &err));
    memcpy(copy, dy, R * N * sizeof *copy);
    OK(xc_tape_backward(tape, &copy, &err));
    OK(xc_tensor_to_f32(m->tensors[w], wq, &err));
    for (int r = 0; r < R; r++)
        for (int k = 0; k < K; k++) {
            double want = 0;

            for (int n = 0; n < N; n++) want += (double)dy[r * N + n] * (double)wq[n * K + k];
            assert_true(fabs((double)xc_tape_input_gradient(tape, x)[r * K + k] - want) < 1e-4);
        }
    for (int n = 0; n < N; n++)
        for (int k = 0; k < K; k++) {
            double want = 0;

            for (int r = 0; r < R; r++) want += (double)dy[r * N + n] * (double)data[r * K + k];
            assert_true(fabs((double)dw[n * K + k] - want) < 1e-4);
        }
    xc_tape_free(&tape);
    xc_model_free(&m);
    xc_model_free(&before);
    xc_recipe_free(&recipe);
    free(data);
    free(dy);
    free(copy);
    free(dw);
    free(numbers);
}

/* ---- recipes ---- */
static void test_recipes(void **state)
{
    static const char good[] = "task: pair\nstudent: layers=1\ndata: [a.tsv, b.tsv]\nlayers: [2, 0, 1]\ntemperature: 2\ninit: random\nstages:\n  - name: one\n    lr: 1e-3\n    losses: {hidden: 2, cls: 0.5}\n"
                               "augment: {candidates: 3}\nema: 0.9\n";
    static const struct { const char *text, *what, *where; } bad[] = {
        { "task: pair\nstudnet: x\n", "studnet", "r:2:" }, { "task: sing\n", "must be one of classify", "r:1:" }, { "stages:\n  - name: a\n    losses: {hiden: 1}\n", "hiden", "r:3:" },
        { "stages:\n  - name: a\n    losses: {hidden: 0}\n", "no loss of this stage", "r:3:" }, { "stages: []\n", "empty list", "r:1:" }, { "dropout: 2\n", "must be a number from 0 to 0.99", "r:1:" },
        { "layers: [1, x]\n", "neither 'uniform' nor", "r:1:" }, { "augment:\n  conut: 3\n", "conut", "r:2:" }, { "stages:\n  - losses: {hidden: 1}\n", "needs 'name'", "r:2:" },
        { "batch_tokens: 1.5\n", "whole number", "r:1:" },
    };
    struct xc_distill_opts o = XC_DISTILL_DEFAULT;
    struct xc_arena arena;

    (void)state;
    xc_arena_init(&arena);
    OK(xc_distill_recipe_parse(&o, &arena, good, sizeof good - 1, "r", &err));
    assert_string_equal(o.train.task, "pair");
    assert_int_equal(o.n_data, 2);
    assert_string_equal(o.data[1], "b.tsv");
    assert_int_equal(o.map, XC_LAYERS_CUSTOM);
    assert_int_equal(o.n_layer, 3);
    assert_int_equal(o.layer[0], 2);
    assert_true(o.temperature == 2 && o.init == XC_INIT_RANDOM && o.n_stages == 1 && o.stage[0].rate == 1e-3 && o.stage[0].epochs == 3 && o.train.optimizer.ema == 0.9);
    assert_true(o.stage[0].weight[XC_DISTILL_HIDDEN] == 2 && o.stage[0].weight[XC_DISTILL_CLS] == 0.5 && o.stage[0].weight[XC_DISTILL_LOGITS] == 0);
    assert_true(o.augment.count == 20 && o.augment.candidates == 3 && o.augment.probability == 0.4);
    for (size_t i = 0; i < XC_ARRAY_LEN(bad); i++) {
        assert_int_not_equal(xc_distill_recipe_parse(&o, &arena, bad[i].text, strlen(bad[i].text), "r", &err), XC_OK);
        if (!strstr(err.msg, bad[i].what) || strncmp(err.where, bad[i].where, strlen(bad[i].where)) != 0) fail_msg("'%s': '%s' at '%s', must have '%s' at '%s'", bad[i].text, err.msg, err.where, bad[i].what, bad[i].where);
    }
    xc_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relations), cmocka_unit_test(test_rows), cmocka_unit_test(test_students), cmocka_unit_test(test_head_rank), cmocka_unit_test(test_specs), cmocka_unit_test(test_straight_through), cmocka_unit_test(test_recipes),
    };
    int failed;

    OK(xc_pool_new(&threads, 3, &err));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    xc_pool_free(&threads);
    return failed;
}
