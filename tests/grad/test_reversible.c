/* test_reversible: Reformers whose backward pass recovers its inputs. Gradients are those of a tape that keeps everything but for rounding, and the same bits for any number of
 * threads; along a direction they are those of finite differences; memory does not grow with depth but for the buckets, without which a row that hashes otherwise would spoil the rest. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "compress/grad/tape_state.h"
#include "formats/formats.h"
#include "tests/unit/scratch.h"

enum { N_SEQ = 4, TOKENS = 330, HEADS = 2, ROUNDS = 2 };
static const int32_t start[N_SEQ + 1] = { 0, 7, 7, 130, TOKENS };
static struct xc_err err;
static struct xc_pool *threads;
static char folder[64];

static void ok_at(enum xc_status status, int line)
{
    char text[512];

    if (status != XC_OK) fail_msg("line %d: %s", line, xc_err_text(&err, text, sizeof text));
}
#define OK(call) ok_at(call, __LINE__)

/* Layers of the kinds given ("lsh" or "local"), by turns. Random weights are small: larger ones, so that layers do something. */
static struct xc_model *reformer(int layers, const char *first, const char *second)
{
    const struct xc_load_opts load = { .load_tensors = true, .random = true, .seed = 3 };
    const char *const path = path_in(folder, "config.json");
    struct xc_model *m = NULL;
    FILE *f = fopen(path, "w");

    if (!f) fail_msg("cannot write %s", path);
    fprintf(f, "{\"model_type\": \"reformer\", \"architectures\": [\"ReformerModel\"], \"hidden_size\": 32, \"feed_forward_size\": 48, \"attention_head_size\": 16, \"num_attention_heads\": %d,"
            "\"num_hashes\": %d, \"num_buckets\": 16, \"lsh_attn_chunk_length\": 16, \"local_attn_chunk_length\": 16, \"lsh_num_chunks_before\": 1, \"local_num_chunks_before\": 1,"
            "\"lsh_num_chunks_after\": 0, \"local_num_chunks_after\": 0, \"axial_pos_embds\": false, \"hash_seed\": 1, \"hidden_act\": \"gelu\", \"is_decoder\": false, \"vocab_size\": 60,"
            "\"max_position_embeddings\": 256, \"layer_norm_eps\": 1e-6, \"num_hidden_layers\": %d, \"attn_layers\": [", HEADS, ROUNDS, layers);
    for (int l = 0; l < layers; l++) fprintf(f, "%s\"%s\"", l ? ", " : "", l % 2 ? second : first);
    fprintf(f, "]}\n");
    fclose(f);
    OK(xc_model_load(&m, folder, &load, &err));
    for (int32_t t = 0; t < m->n_tensors; t++) {
        float *x;

        OK(xc_tensor_load(m->tensors[t], &err));
        if (m->tensors[t]->rank != 2 || strstr(m->tensors[t]->name, "rotations")) continue;
        x = malloc((size_t)xc_tensor_count(m->tensors[t]) * sizeof *x);
        OK(xc_tensor_to_f32(m->tensors[t], x, &err));
        for (int64_t i = 0; i < xc_tensor_count(m->tensors[t]); i++) x[i] *= 10;
        OK(xc_tensor_set_f32(m->tensors[t], x, &err));
        free(x);
    }
    return m;
}

struct job {
    struct xc_model *m;
    struct xc_graph *g;
    struct xc_tape *tape;
    float **d; /* per tensor */
    bool *all;
    int32_t ids[TOKENS];
    double drop;
};

static void begin(struct job *j, struct xc_model *m, struct xc_tape_opts opts, double drop)
{
    *j = (struct job){ .m = m, .g = xc_model_find_graph(m, "encode"), .drop = drop };
    j->all = calloc((size_t)m->n_tensors, sizeof *j->all);
    j->d = calloc((size_t)m->n_tensors, sizeof *j->d);
    for (int32_t t = 0; t < m->n_tensors; t++) j->all[t] = !strstr(m->tensors[t]->name, "rotations");
    for (int i = 0; i < TOKENS; i++) j->ids[i] = (i * 37 + i * i / 5) % 60;
    opts.trained = j->all;
    OK(xc_tape_new(&j->tape, j->g, &opts, &err));
    if (drop > 0) xc_tape_dropout_usual(j->tape, drop);
    for (int32_t t = 0; t < m->n_tensors; t++) xc_tape_bind(j->tape, t, j->d[t] = calloc((size_t)xc_tensor_count(m->tensors[t]), sizeof(float)));
}

static void end(struct job *j)
{
    xc_tape_free(&j->tape);
    for (int32_t t = 0; t < j->m->n_tensors; t++) free(j->d[t]);
    free(j->d);
    free(j->all);
}

static double weight(int64_t i) { return sin(0.7 * (double)i) + 0.1; }

static double loss(struct job *j, struct xc_view *out)
{
    const struct xc_view in = { .data = j->ids, .rows = TOKENS, .cols = 1 };
    const struct xc_ragged rag = { .start = start, .n_seq = N_SEQ };
    double sum = 0;

    OK(xc_tape_forward(j->tape, &in, &rag, 1, j->drop > 0, 5, 9, out, &err));
    for (int64_t i = 0; i < out->rows * out->cols; i++) sum += weight(i) * (double)((const float *)out->data)[i];
    return sum;
}

static double gradients(struct job *j)
{
    struct xc_view out;
    double sum = 0;
    float *d = NULL;

    for (int run = 0; run < 2; run++) {
        const int64_t before = xc_alloc_count();

        sum = loss(j, &out);
        if (!d) d = malloc((size_t)(out.rows * out.cols) * sizeof *d);
        for (int64_t i = 0; i < out.rows * out.cols; i++) d[i] = (float)weight(i);
        for (int32_t t = 0; t < j->m->n_tensors; t++) memset(j->d[t], 0, (size_t)xc_tensor_count(j->m->tensors[t]) * sizeof(float));
        OK(xc_tape_backward(j->tape, &d, &err));
        if (run) assert_int_equal(before, xc_alloc_count());
    }
    free(d);
    return sum;
}

/* The largest difference of a tensor's gradients, as a share of their norm; of a norm that is nothing (a key's bias moves no softmax), of a thousandth of the largest. */
static double differ(const struct job *a, const struct job *b)
{
    double most = 0, largest = 0;

    for (int pass = 0; pass < 2; pass++)
        for (int32_t t = 0; t < a->m->n_tensors; t++) {
            double off = 0, norm = 0;

            for (int64_t i = 0; i < xc_tensor_count(a->m->tensors[t]); i++) {
                off += pow((double)a->d[t][i] - (double)b->d[t][i], 2);
                norm += pow((double)a->d[t][i], 2);
            }
            if (pass == 0) largest = fmax(largest, sqrt(norm));
            if (pass) most = fmax(most, sqrt(off) / fmax(sqrt(norm), 1e-3 * largest));
        }
    return most;
}

static void test_gradients(void **state)
{
    static const struct { int layers; double drop; bool bf16; double limit; } cases[] = { { 4, 0, false, 3e-5 }, { 4, 0.2, false, 3e-5 }, { 12, 0.1, false, 3e-5 }, { 4, 0.2, true, 3e-3 } };

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        struct xc_model *m = reformer(cases[i].layers, "lsh", "local");
        struct job kept, one, three;
        double off;

        begin(&kept, m, (struct xc_tape_opts){ .bf16 = cases[i].bf16 }, cases[i].drop);
        begin(&one, m, (struct xc_tape_opts){ .bf16 = cases[i].bf16, .reverse = true, .rows = TOKENS, .sequences = N_SEQ }, cases[i].drop);
        begin(&three, m, (struct xc_tape_opts){ .bf16 = cases[i].bf16, .reverse = true, .pool = threads }, cases[i].drop);
        assert_int_equal(xc_tape_reversible(one.tape), 2 * cases[i].layers); /* the streams begin as one, which is a sum itself */
        assert_true(gradients(&kept) == gradients(&one));                         /* forward is the same */
        gradients(&three);
        assert_true(differ(&one, &three) == 0);
        off = differ(&kept, &one);
        printf("# %d layers, dropout %g%s: gradients differ by %.1e\n", cases[i].layers, cases[i].drop, cases[i].bf16 ? ", bf16" : "", off);
        if (!(off > 0 && off <= cases[i].limit)) fail_msg("gradients differ by %g", off);
        assert_null(xc_tape_first_bad(one.tape));
        end(&kept);
        end(&one);
        end(&three);
        xc_model_free(&m);
    }
}

/* Rounding seldom moves a row into another bucket. So buckets are moved here: the backward pass must go by those that were written. */
static void test_buckets(void **state)
{
    struct xc_model *m = reformer(4, "lsh", "local");
    struct job kept, j;
    struct xc_view out;
    float *d;

    (void)state;
    begin(&kept, m, (struct xc_tape_opts){ 0 }, 0);
    begin(&j, m, (struct xc_tape_opts){ .reverse = true }, 0);
    gradients(&kept);
    loss(&j, &out);
    d = malloc((size_t)(out.rows * out.cols) * sizeof *d);
    for (int64_t i = 0; i < out.rows * out.cols; i++) d[i] = (float)weight(i);
    for (int32_t n = 0; n < j.g->n_nodes; n++)
        for (int i = 0; j.tape->decided[n] && i < TOKENS * HEADS * ROUNDS; i += 3) j.tape->decided[n][i] ^= 1;
    OK(xc_tape_backward(j.tape, &d, &err));
    assert_true(differ(&kept, &j) > 1e-2);
    free(d);
    end(&kept);
    end(&j);
    xc_model_free(&m);
}

/* The number that is not finite is found though values were overwritten. */
static void test_first_bad(void **state)
{
    struct xc_model *m = reformer(3, "lsh", "local");
    struct xc_view out;
    struct job j;

    (void)state;
    begin(&j, m, (struct xc_tape_opts){ .reverse = true }, 0);
    for (int32_t t = 0; t < m->n_tensors; t++)
        if (strstr(m->tensors[t]->name, "layers.1.feed_forward.dense.dense.bias")) ((float *)(void *)m->tensors[t]->part[XC_PART_DATA]->data)[0] = NAN;
    loss(&j, &out);
    const char *const bad = xc_tape_first_bad(j.tape);

    if (!bad || !strstr(bad, "layers.1.feed_forward")) fail_msg("the first bad number is in '%s'", bad ? bad : "none");
    end(&j);
    xc_model_free(&m);
}

/* Along the gradient. Local layers: hashes jump. */
static void test_differences(void **state)
{
    struct xc_model *m = reformer(3, "local", "local");
    struct job j;

    (void)state;
    begin(&j, m, (struct xc_tape_opts){ .reverse = true }, 0.1);
    gradients(&j);
    for (int32_t t = 0; t < m->n_tensors; t++) {
        float *x = (float *)(void *)m->tensors[t]->part[XC_PART_DATA]->data;
        const int64_t n = xc_tensor_count(m->tensors[t]);
        float *was = malloc((size_t)n * sizeof *was);
        double norm = 0, by[2];

        for (int64_t i = 0; i < n; i++) norm += pow((double)j.d[t][i], 2);
        norm = sqrt(norm);
        memcpy(was, x, (size_t)n * sizeof *was);
        for (int half = 0; norm > 0 && half < 2; half++) {
            const double step = 0.02 / (1 + half);
            struct xc_view out;
            double at[2];

            for (int side = 0; side < 2; side++) {
                for (int64_t i = 0; i < n; i++) x[i] = (float)((double)was[i] + (side ? -step : step) * (double)j.d[t][i] / norm);
                at[side] = loss(&j, &out);
            }
            by[half] = (at[0] - at[1]) / (2 * step);
        }
        memcpy(x, was, (size_t)n * sizeof *x);
        free(was);
        if (norm > 0 && !(fabs((4 * by[1] - by[0]) / 3 - norm) <= 1e-3 * norm + 1e-3)) fail_msg("%s: derivative %g, by differences %g", m->tensors[t]->name, norm, (4 * by[1] - by[0]) / 3);
    }
    end(&j);
    xc_model_free(&m);
}

static double bytes(int layers, const char *first, bool reverse, double drop)
{
    struct xc_model *m = reformer(layers, first, "local");
    struct job j;
    double n;

    begin(&j, m, (struct xc_tape_opts){ .reverse = reverse }, drop);
    n = xc_tape_bytes(j.tape, 4096, 2);
    end(&j);
    xc_model_free(&m);
    return n;
}

static void test_memory(void **state)
{
    (void)state;
    for (int drop = 0; drop < 2; drop++) {
        const double eight = bytes(8, "local", true, 0.1 * drop), buckets = 4096 * 2 * HEADS * ROUNDS;

        assert_true(bytes(32, "local", true, 0.1 * drop) - eight < 32 * 20 * 64); /* round-offs of addresses */
        assert_true(fabs(bytes(32, "lsh", true, 0.1 * drop) - bytes(8, "lsh", true, 0.1 * drop) - 12 * buckets) < 32 * 20 * 64);
        assert_true(bytes(8, "local", false, 0.1 * drop) > 4 * eight);
    }
}

/* A stream that is itself dropped, or read once more, or an answer, cannot be recovered; then it is kept, and nothing else changes. */
static void test_kept(void **state)
{
    struct xc_model *m = reformer(4, "lsh", "local");
    struct job kept, j;
    int32_t sum = -1;

    (void)state;
    begin(&kept, m, (struct xc_tape_opts){ 0 }, 0.1);
    begin(&j, m, (struct xc_tape_opts){ .reverse = true }, 0.1);
    for (int32_t n = 0, seen = 0; n < j.g->n_nodes; n++)
        if (!strcmp(j.g->nodes[n].op->name, "add") && ++seen == 6) sum = j.g->nodes[n].out[0];
    xc_tape_dropout(kept.tape, sum, 0.3);
    xc_tape_dropout(j.tape, sum, 0.3);
    assert_int_equal(xc_tape_reversible(j.tape), 7);
    gradients(&kept);
    gradients(&j);
    assert_true(differ(&kept, &j) > 0 && differ(&kept, &j) < 3e-5);
    end(&kept);
    end(&j);
    OK(xc_graph_add_output(xc_model_find_graph(m, "encode"), sum, &err));
    begin(&j, m, (struct xc_tape_opts){ .reverse = true }, 0);
    assert_int_equal(xc_tape_reversible(j.tape), 6); /* it is neither recovered nor subtracted from */
    end(&j);
    begin(&j, m, (struct xc_tape_opts){ .reverse = true, .straight_through = true }, 0);
    assert_int_equal(xc_tape_reversible(j.tape), 0);
    end(&j);
    xc_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_gradients), cmocka_unit_test(test_buckets), cmocka_unit_test(test_first_bad), cmocka_unit_test(test_differences), cmocka_unit_test(test_memory), cmocka_unit_test(test_kept) };
    int failed;

    snprintf(folder, sizeof folder, "/tmp/xc_reversible.XXXXXX");
    if (!mkdtemp(folder) || xc_pool_new(&threads, 3, &err)) return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    xc_pool_free(&threads);
    unlink(path_in(folder, "config.json"));
    rmdir(folder);
    return failed;
}
