/* test_arch: every checkpoint under tests/vectors/arch (gen_arch.py) loads, and its graph computes what transformers computed, within 1e-5;
 * written back as a directory and read again it is the same model to the last bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/hf.h"
#include "runtime/graph/run.h"
#include "tests/unit/scratch.h"
#include "tests/vectors/arch_sample.h"

#define TOLERANCE 1e-5

static char vectors[PATH_MAX + 32], scratch_dir[1024];

/* Largest absolute difference; the expected numbers are replaced by ours when `keep`. */
static double run(const struct xc_model *m, struct arch_sample *s, bool keep)
{
    const struct xc_graph *const g = xc_model_find_graph(m, "encode");
    const struct xc_ragged rag = { .start = s->start, .n_seq = s->n_seq };
    struct xc_view in[2] = { { .data = s->ids, .rows = s->tokens, .cols = 1 }, { .data = s->types, .rows = s->tokens, .cols = 1 } }, out[1];
    struct xc_run *r = NULL;
    struct xc_err err = { 0 };
    double worst = 0;

    assert_non_null(g);
    assert_string_equal(g->values[g->inputs[0]].name, "ids");
    if (g->n_inputs == 2) assert_string_equal(g->values[g->inputs[1]].name, "types");
    ok(xc_run_new(&r, m, NULL, NULL, &err), &err);
    ok(xc_run_graph(r, g, in, &rag, 1, out, &err), &err);
    assert_int_equal(out[0].rows, s->rows);
    assert_int_equal(out[0].cols, s->cols);
    for (int64_t i = 0; i < out[0].rows * out[0].cols; i++) {
        const double d = fabs((double)((const float *)out[0].data)[i] - (double)s->out[i]);

        if (!(d <= worst)) worst = d; /* NaN too */
    }
    if (keep) memcpy(s->out, out[0].data, (size_t)(s->rows * s->cols) * sizeof(float));
    xc_run_free(&r);
    return worst;
}

static void expect_meta(const struct xc_model *m, const char *key, const char *value)
{
    const char *const have = xc_model_meta(m, key);

    if (!have || strcmp(have, value)) fail_msg("meta '%s' is '%s', must be '%s'", key, have ? have : "(none)", value);
}

/* ---- the cases ---- */
struct arch_case {
    const char *name, *head, *task, *family; /* head NULL = the checkpoint's own */
    const char *max_tokens;
    int n_labels;
};

static const struct arch_case cases[] = {
    { "bert", NULL, "embed", "bert", "26", 0 },
    { "bert", "encode", "encode", "bert", "26", 0 },
    { "bert_st_mean", NULL, "embed", "bert", "16", 0 },
    { "bert_st_cls", NULL, "embed", "bert", "24", 0 },
    { "bert_st_max", NULL, "embed", "bert", "24", 0 },
    { "bert_st_sqrt_dense", NULL, "embed", "bert", "24", 0 },
    { "bert_regress", NULL, "regress", "bert", "26", 0 },
    { "bert_classify", NULL, "classify", "bert", "26", 3 },
    { "bert_tag", NULL, "tag", "bert", "26", 3 },
    { "bert_answer", NULL, "answer", "bert", "26", 0 },
    { "bert_choice", NULL, "choice", "bert", "26", 0 },
    { "bert_mlm", NULL, "mlm", "bert", "26", 0 },
    { "bert_mlm_untied", NULL, "mlm", "bert", "26", 0 },
    { "bert_gelu_new_sharded", NULL, "embed", "bert", "26", 0 },
    { "bert_gelu_new_sharded", "encode", "encode", "bert", "26", 0 },
    { "bert_bf16", NULL, "classify", "bert", "26", 2 },
    { "bert_f16_k312", NULL, "embed", "bert", "26", 0 },
    { "bert_f16_k312", "encode", "encode", "bert", "26", 0 },
    { "bert_old_names", NULL, "mlm", "bert", "26", 0 },
    { "distilbert", NULL, "embed", "distilbert", "26", 0 },
    { "distilbert", "encode", "encode", "distilbert", "26", 0 },
    { "distilbert_classify", NULL, "classify", "distilbert", "26", 2 },
    { "distilbert_tag", NULL, "tag", "distilbert", "26", 5 },
    { "distilbert_answer", NULL, "answer", "distilbert", "26", 0 },
    { "distilbert_choice", NULL, "choice", "distilbert", "26", 0 },
    { "distilbert_mlm", NULL, "mlm", "distilbert", "26", 0 },
    { "roberta", NULL, "embed", "roberta", "26", 0 },
    { "roberta", "encode", "encode", "roberta", "26", 0 },
    { "roberta_classify", NULL, "classify", "roberta", "26", 3 },
    { "roberta_tag", NULL, "tag", "roberta", "26", 2 },
    { "roberta_answer", NULL, "answer", "roberta", "26", 0 },
    { "roberta_choice", NULL, "choice", "roberta", "26", 0 },
    { "roberta_mlm", NULL, "mlm", "roberta", "26", 0 },
    { "longformer", NULL, "embed", "longformer", "26", 0 },
    { "longformer", "encode", "encode", "longformer", "26", 0 },
    { "longformer_classify", NULL, "classify", "longformer", "26", 3 },
    { "longformer_tag", NULL, "tag", "longformer", "26", 3 },
    { "longformer_regress", NULL, "regress", "longformer", "26", 0 },
    { "longformer_answer", NULL, "answer", "longformer", "26", 0 },
    { "longformer_choice", NULL, "choice", "longformer", "26", 0 },
    { "longformer_mlm", NULL, "mlm", "longformer", "26", 0 },
    { "reformer", NULL, "embed", "reformer", "32", 0 },
    { "reformer", "encode", "encode", "reformer", "32", 0 },
    { "reformer_lm", NULL, "lm", "reformer", "32", 0 },
    { "reformer_mlm", NULL, "mlm", "reformer", "32", 0 },
    { "reformer_answer", NULL, "answer", "reformer", "32", 0 },
    { "reformer_classify", NULL, "classify", "reformer", "32", 3 },
    { "led", NULL, "embed", "led", "32", 0 },
    { "led", "encode", "encode", "led", "32", 0 },
    { "linformer", NULL, "mlm", "linformer", "24", 0 },
    { "linformer_shared", NULL, "mlm", "linformer", "24", 0 },
    { "bert_linformer", "encode", "encode", "bert", "26", 0 },
    { "roberta_linformer", NULL, "mlm", "roberta", "26", 0 },
    { "bert_synthesizer", NULL, "classify", "bert", "26", 2 },
    { "bert_synthesizer_random", "encode", "encode", "bert", "26", 0 },
    { "reformer_pytorch", NULL, "mlm", "reformer-pytorch", "32", 0 },
    { "reformer_pytorch_causal", NULL, "lm", "reformer-pytorch", "32", 0 },
};

static void test_outputs(void **state)
{
    double worst = 0;

    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct arch_case *const c = &cases[i];
        const struct xc_load_opts opts = { .head = c->head, .load_tensors = true };
        struct xc_model *m = NULL;
        struct xc_err err = { 0 };
        struct arch_sample s;
        char path[2 * PATH_MAX];
        double d;

        snprintf(path, sizeof path, "%s/%s", vectors, c->name);
        ok(xc_model_load(&m, path, &opts, &err), &err);
        expect_meta(m, "task", c->task);
        expect_meta(m, "family", c->family);
        expect_meta(m, "max_tokens", c->max_tokens);
        assert_int_equal(m->n_labels, c->n_labels);
        snprintf(path, sizeof path, "%s/%s/%s.bin", vectors, c->name, c->task);
        arch_sample_read(&s, path);
        d = run(m, &s, false);
        printf("%-24s %-9s max |difference| %.2e\n", c->name, c->task, d);
        if (!(d <= TOLERANCE)) fail_msg("%s differs from transformers", c->name);
        worst = d > worst ? d : worst;
        arch_sample_release(&s);
        xc_model_free(&m);
    }
    printf("worst of all: %.2e (limit %.0e)\n", worst, TOLERANCE);
}

/* ---- facts ---- */
static struct xc_model *load(const char *name, const struct xc_load_opts *opts)
{
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    char path[2 * PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", vectors, name);
    ok(xc_model_load(&m, path, opts, &err), &err);
    return m;
}

static void test_facts(void **state)
{
    const struct xc_load_opts all = { .all_tensors = true, .load_tensors = true };
    struct xc_model *m;

    (void)state;
    m = load("bert_classify", NULL);
    assert_string_equal(m->labels[0], "no");
    assert_string_equal(m->labels[2], "yes");
    expect_meta(m, "architecture", "BertForSequenceClassification");
    expect_meta(m, "pad_id", "0");
    assert_true(xc_graph_find_node(m->graphs[0], "encoder.layer.0.attention.self.query") >= 0);
    assert_true(xc_model_find_tensor(m, "bert.encoder.layer.0.attention.self.query.weight") >= 0);
    assert_null(xc_model_meta(m, "unused_tensors"));
    xc_model_free(&m);

    m = load("roberta", NULL);
    expect_meta(m, "pad_id", "1");
    xc_model_free(&m);

    m = load("bert_st_sqrt_dense", NULL);
    expect_meta(m, "pooling", "mean_sqrt");
    expect_meta(m, "normalize", "true");
    expect_meta(m, "unused_tensors", "pooler.dense.bias pooler.dense.weight");
    assert_true(xc_model_find_tensor(m, "pooler.dense.weight") < 0);
    xc_model_free(&m);

    m = load("bert_st_sqrt_dense", &all);
    assert_true(xc_model_find_tensor(m, "pooler.dense.weight") >= 0);
    assert_non_null(m->tensors[xc_model_find_tensor(m, "pooler.dense.weight")]->part[XC_PART_DATA]);
    xc_model_free(&m);

    m = load("bert_old_names", NULL);
    expect_meta(m, "ignored_tensors", "bert.embeddings.position_ids");
    xc_model_free(&m);
}

/* A weights file stands for its directory; a text limit beyond the positions is refused. */
static void test_paths(void **state)
{
    const struct xc_load_opts longer = { .max_tokens = 27 }, shorter = { .max_tokens = 7 };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    char path[2 * PATH_MAX];

    (void)state;
    snprintf(path, sizeof path, "%s/bert/model.safetensors", vectors);
    ok(xc_model_load(&m, path, &shorter, &err), &err);
    expect_meta(m, "max_tokens", "7");
    xc_model_free(&m);
    assert_int_equal(xc_model_load(&m, path, &longer, &err), XC_E_RANGE);
    assert_null(m);
}

/* Layouts of files that are right too: a header of odd length, so that no tensor is aligned; links, as a Hugging Face cache has them; the
 * transformer in a folder of its own, as sentence-transformers once wrote it. */
static void test_layouts(void **state)
{
    static const char modules[] = "[{\"type\":\"sentence_transformers.models.Transformer\",\"path\":\"0_Transformer\"},"
                                  "{\"type\":\"sentence_transformers.models.Pooling\",\"path\":\"1_Pooling\"},"
                                  "{\"type\":\"sentence_transformers.models.Normalize\",\"path\":\"2_Normalize\"}]";
    const struct xc_load_opts opts = { .load_tensors = true };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    struct arch_sample s;
    char dir[2048], path[2 * PATH_MAX], target[2 * PATH_MAX];
    unsigned char *bytes;
    size_t header = 0, n;
    FILE *f;

    (void)state;
    snprintf(dir, sizeof dir, "%s/layouts", scratch_dir);
    assert_int_equal(mkdir(dir, 0777), 0);
    snprintf(path, sizeof path, "%s/modules.json", dir);
    f = fopen(path, "wb");
    assert_true(f && fputs(modules, f) >= 0 && !fclose(f));
    snprintf(path, sizeof path, "%s/1_Pooling", dir);
    snprintf(target, sizeof target, "%s/bert_st_mean/1_Pooling", vectors);
    assert_int_equal(symlink(target, path), 0);
    snprintf(path, sizeof path, "%s/0_Transformer", dir);
    assert_int_equal(mkdir(path, 0777), 0);
    snprintf(path, sizeof path, "%s/0_Transformer/config.json", dir);
    snprintf(target, sizeof target, "%s/bert_st_mean/config.json", vectors);
    assert_int_equal(symlink(target, path), 0);

    snprintf(target, sizeof target, "%s/bert_st_mean/model.safetensors", vectors);
    f = fopen(target, "rb");
    bytes = malloc((size_t)1 << 20);
    assert_true(f && bytes);
    n = fread(bytes, 1, (size_t)1 << 20, f);
    fclose(f);
    for (int i = 7; i >= 0; i--) header = header << 8 | bytes[i];
    memmove(bytes + 8 + header + 1, bytes + 8 + header, n - 8 - header);
    bytes[8 + header++] = ' ';
    for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(header >> (8 * i));
    assert_int_equal(header % 4, 1);
    snprintf(path, sizeof path, "%s/0_Transformer/model.safetensors", dir);
    f = fopen(path, "wb");
    assert_true(f && fwrite(bytes, 1, n + 1, f) == n + 1 && !fclose(f));
    free(bytes);

    ok(xc_model_load(&m, dir, &opts, &err), &err);
    expect_meta(m, "max_tokens", "26"); /* sentence_bert_config.json is not there */
    snprintf(path, sizeof path, "%s/bert_st_mean/embed.bin", vectors);
    arch_sample_read(&s, path);
    assert_true(run(m, &s, false) <= TOLERANCE);
    arch_sample_release(&s);
    xc_model_free(&m);
}

/* ---- rotations ---- */
/* A copy of a case without the tensors of that name (they get another), its config.json with one key changed. */
static void copy_renamed(char *dir, size_t n, const char *name, const char *from, const char *to, const char *config_from, const char *config_to)
{
    static const char *const files[] = { "model.safetensors", "config.json" };

    snprintf(dir, n, "%s/renamed-%s-%s", scratch_dir, name, config_to[0] ? config_to : "x");
    for (char *c = dir + strlen(scratch_dir) + 1; *c; c++)
        if (strchr("/ \":,", *c)) *c = '_';
    assert_int_equal(mkdir(dir, 0777), 0);
    for (int i = 0; i < 2; i++) {
        const char *const a = i ? config_from : from, *const b = i ? config_to : to;
        char path[2 * PATH_MAX], *bytes = calloc((size_t)1 << 20, 1), *at = bytes;
        size_t size, left;
        FILE *f;

        snprintf(path, sizeof path, "%s/%s/%s", vectors, name, files[i]);
        f = fopen(path, "rb");
        assert_true(f && bytes);
        left = size = fread(bytes, 1, (size_t)1 << 20, f);
        fclose(f);
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        f = fopen(path, "wb");
        assert_non_null(f);
        for (char *hit; a[0] && (hit = memmem(at, left, a, strlen(a))) != NULL; left = size - (size_t)(at - bytes)) {
            assert_true(fwrite(at, 1, (size_t)(hit - at), f) == (size_t)(hit - at) && fputs(b, f) >= 0);
            at = hit + strlen(a);
        }
        assert_true(fwrite(at, 1, left, f) == left && !fclose(f));
        free(bytes);
    }
}

/* Without rotations in the checkpoint they are drawn: from hash_seed, another for each layer, whatever window is read first. */
static void test_rotations(void **state)
{
    static const char name[] = "reformer.encoder.layers.1.attention.self_attention.rotations", next[] = "reformer.encoder.layers.2.attention.self_attention.rotations";
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    float seed0[24 * 6], other[24 * 6], part[7];
    double sum = 0, squares = 0;
    char dir[2048];

    (void)state;
    copy_renamed(dir, sizeof dir, "reformer_lm", ".rotations", ".rotationz", "", "");
    ok(xc_model_load(&m, dir, NULL, &err), &err);
    expect_meta(m, "unused_tensors", "reformer.encoder.layers.1.attention.self_attention.rotationz reformer.encoder.layers.2.attention.self_attention.rotationz");
    const struct xc_tensor *const t = m->tensors[xc_model_find_tensor(m, name)];

    assert_int_equal(xc_tensor_count(t), XC_ARRAY_LEN(seed0));
    ok(xc_tensor_to_f32(t, seed0, &err), &err);
    ok(t->source->read_f32(t->source, t, 3, 7, part, &err), &err);
    assert_memory_equal(part, seed0 + 3, sizeof part);
    ok(xc_tensor_to_f32(m->tensors[xc_model_find_tensor(m, next)], other, &err), &err);
    assert_memory_not_equal(seed0, other, sizeof seed0);
    for (size_t i = 0; i < XC_ARRAY_LEN(seed0); i++) sum += (double)seed0[i], squares += (double)seed0[i] * (double)seed0[i];
    assert_true(fabs(sum) / 144 < 0.25 && fabs(squares / 144 - 1) < 0.35); /* three deviations of 144 normals */
    xc_model_free(&m);
    copy_renamed(dir, sizeof dir, "reformer_lm", ".rotations", ".rotationz", "\"hash_seed\": null", "\"hash_seed\": 7");
    ok(xc_model_load(&m, dir, NULL, &err), &err);
    ok(xc_tensor_to_f32(m->tensors[xc_model_find_tensor(m, name)], other, &err), &err);
    assert_memory_not_equal(seed0, other, sizeof seed0);
    xc_model_free(&m);
    /* buckets that no config names: 2 * 32 positions / chunks of 8, half of them */
    copy_renamed(dir, sizeof dir, "reformer_mlm", ".rotations", ".rotationz", "\"num_buckets\": 4", "\"num_buckets\": null");
    ok(xc_model_load(&m, dir, NULL, &err), &err);
    assert_int_equal(xc_tensor_cols(m->tensors[xc_model_find_tensor(m, "reformer.encoder.layers.0.attention.self_attention.rotations")]), 4);
    xc_model_free(&m);
}

/* ---- there and back ---- */
static void same_tensors(const struct xc_model *a, const struct xc_model *b)
{
    assert_int_equal(a->n_tensors, b->n_tensors);
    for (int32_t i = 0; i < a->n_tensors; i++) {
        const struct xc_tensor *const x = a->tensors[i];
        char modern[512];
        const int32_t id = xc_model_find_tensor(b, xc_hf_modern_name(modern, sizeof modern, x->name) ? modern : x->name);
        const size_t bytes = (size_t)xc_tensor_count(x) * sizeof(float);
        struct xc_err err = { 0 };
        float *p, *q;

        if (id < 0) fail_msg("tensor '%s' is not there after the round trip", x->name);
        assert_int_equal(x->rank, b->tensors[id]->rank);
        p = malloc(bytes);
        q = malloc(bytes);
        assert_true(p && q && xc_tensor_count(b->tensors[id]) == xc_tensor_count(x));
        ok(xc_tensor_to_f32(x, p, &err), &err);
        ok(xc_tensor_to_f32(b->tensors[id], q, &err), &err);
        assert_int_equal(memcmp(p, q, bytes), 0);
        free(p);
        free(q);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < XC_ARRAY_LEN(cases); i++) {
        const struct arch_case *const c = &cases[i];
        const struct xc_load_opts opts = { .head = c->head, .all_tensors = true, .load_tensors = true };
        struct xc_model *a, *b = NULL;
        struct xc_err err = { 0 };
        struct arch_sample s;
        char path[2 * PATH_MAX], dir[4096];

        if (c->head) continue; /* the same files */
        a = load(c->name, &opts);
        snprintf(dir, sizeof dir, "%s/%s", scratch_dir, c->name);
        ok(xc_hf_write(a, dir, XC_FMT_F32, &err), &err);
        ok(xc_model_load(&b, dir, &opts, &err), &err);
        same_tensors(a, b);
        assert_int_equal(a->n_labels, b->n_labels);
        for (int32_t k = 0; k < a->n_labels; k++) assert_string_equal(a->labels[k], b->labels[k]);
        expect_meta(b, "task", c->task);
        expect_meta(b, "max_tokens", c->max_tokens);
        snprintf(path, sizeof path, "%s/%s/%s.bin", vectors, c->name, c->task);
        arch_sample_read(&s, path);
        run(a, &s, true);
        assert_true(run(b, &s, false) == 0);
        arch_sample_release(&s);
        xc_model_free(&a);
        xc_model_free(&b);
    }
}

/* Narrower types round; what f16 cannot hold is an error, not infinity. A graph that config.json does not describe is refused. */
static void test_write_limits(void **state)
{
    const struct xc_load_opts opts = { .load_tensors = true };
    struct xc_model *m = load("bert_tag", &opts), *b = NULL;
    struct xc_err err = { 0 };
    char dir[4096];
    int32_t id;

    (void)state;
    snprintf(dir, sizeof dir, "%s/bert_tag_f16", scratch_dir);
    ok(xc_hf_write(m, dir, XC_FMT_F16, &err), &err);
    ok(xc_model_load(&b, dir, &opts, &err), &err);
    xc_model_free(&b);
    id = xc_model_find_tensor(m, "classifier.bias");
    ((float *)(void *)m->tensors[id]->part[XC_PART_DATA]->data)[1] = 1e6f;
    assert_int_equal(xc_hf_write(m, dir, XC_FMT_F16, &err), XC_E_RANGE);
    assert_non_null(strstr(err.msg, "classifier.bias"));
    ok(xc_hf_write(m, dir, XC_FMT_BF16, &err), &err);
    assert_int_equal(xc_hf_write(m, dir, XC_FMT_S8, &err), XC_E_ARG);

    ok(xc_model_set_meta(m, "task", "mlm", &err), &err);
    assert_int_not_equal(xc_hf_write(m, dir, XC_FMT_F32, &err), XC_OK);
    xc_model_free(&m);

    m = load("bert_tag", NULL);
    for (int32_t n = 0; n < m->graphs[0]->n_nodes; n++) /* another activation than config.json's */
        if (!strcmp(m->graphs[0]->nodes[n].op->name, "unary")) ((struct xc_attr_unary *)m->graphs[0]->nodes[n].attr)->fn = XC_ACT_RELU;
    assert_int_equal(xc_hf_write(m, dir, XC_FMT_F32, &err), XC_E_UNSUPPORTED);
    xc_model_free(&m);
}

/* ---- digests ---- */
struct seen { char names[16][64]; int n; uint64_t bytes; };

static int note(void *arg, const char *file, uint64_t size, const char hex[33])
{
    struct seen *const s = arg;

    assert_int_equal(strlen(hex), 32);
    snprintf(s->names[s->n++], sizeof s->names[0], "%s", file);
    s->bytes += size;
    return s->n == 16;
}

static void test_digests(void **state)
{
    static const char *const want[] = { "1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors", "config.json", "model.safetensors", "modules.json",
                                        "sentence_bert_config.json" };
    struct seen s = { .n = 0 }, again = { .n = 0 };
    struct xc_err err = { 0 };
    char path[2 * PATH_MAX];

    (void)state;
    snprintf(path, sizeof path, "%s/bert_st_sqrt_dense", vectors);
    ok(xc_source_digests(path, note, &s, NULL, &err), &err);
    assert_int_equal(s.n, XC_ARRAY_LEN(want));
    for (size_t i = 0; i < XC_ARRAY_LEN(want); i++) assert_string_equal(s.names[i], want[i]);
    snprintf(path, sizeof path, "%s/bert_st_sqrt_dense/model.safetensors", vectors);
    ok(xc_source_digests(path, note, &again, NULL, &err), &err);
    assert_int_equal(again.bytes, s.bytes);
    assert_int_equal(xc_source_digests("/nonexistent", note, &s, NULL, &err), XC_E_IO);

    const bool stop = true;

    assert_int_equal(xc_source_digests(path, note, &again, &stop, &err), XC_E_CANCELLED);
}

static int keep_hex(void *arg, const char *file, uint64_t size, const char hex[33])
{
    (void)file;
    (void)size;
    memcpy(arg, hex, 33);
    return 0;
}

/* What stands for a digest before there is one: the same as long as the file is. */
static void test_identities(void **state)
{
    char path[2 * PATH_MAX], hex[4][33];
    struct xc_err err = { 0 };
    FILE *f;

    (void)state;
    snprintf(path, sizeof path, "%s/a file", scratch_dir);
    for (int i = 0; i < 4; i++) {
        f = i == 1 ? NULL : fopen(path, i == 3 ? "r+" : "w"); /* made, left alone, made longer, changed in place */
        if (f) {
            fputs(i == 2 ? "abcd" : "abc", f);
            fclose(f);
        }
        ok(xc_source_identities(path, keep_hex, hex[i], &err), &err);
        assert_int_equal(strlen(hex[i]), 32);
        usleep(20000); /* a tick of the file system's clock */
    }
    assert_string_equal(hex[0], hex[1]);
    assert_string_not_equal(hex[1], hex[2]);
    assert_string_not_equal(hex[2], hex[3]);
    unlink(path);
}

/* test_arch DIR HEAD FILE.bin: one comparison, for compare_arch.py; prints the largest absolute difference. */
static int compare(const char *path, const char *head, const char *file)
{
    const struct xc_load_opts opts = { .head = head[0] ? head : NULL, .load_tensors = true };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    struct arch_sample s;
    char text[512];

    if (xc_model_load(&m, path, &opts, &err) != XC_OK) {
        fprintf(stderr, "%s\n", xc_err_text(&err, text, sizeof text));
        return 1;
    }
    arch_sample_read(&s, file);
    printf("%.9g\n", run(m, &s, false));
    arch_sample_release(&s);
    xc_model_free(&m);
    return 0;
}

/* test_arch DIR OUT: the checkpoint, with all its tensors, written as another directory. */
static int copy(const char *path, const char *out)
{
    const struct xc_load_opts opts = { .all_tensors = true };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    char text[512];
    enum xc_status status = xc_model_load(&m, path, &opts, &err);

    if (status == XC_OK) status = xc_hf_write(m, out, XC_FMT_F32, &err);
    xc_model_free(&m);
    if (status != XC_OK) fprintf(stderr, "%s\n", xc_err_text(&err, text, sizeof text));
    return status != XC_OK;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outputs), cmocka_unit_test(test_facts), cmocka_unit_test(test_paths), cmocka_unit_test(test_layouts), cmocka_unit_test(test_rotations), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_write_limits),
        cmocka_unit_test(test_digests), cmocka_unit_test(test_identities),
    };
    char source[PATH_MAX];
    int rc;

    if (argc == 3) return copy(argv[1], argv[2]);
    if (argc == 4) return compare(argv[1], argv[2], argv[3]);
    if (!realpath(source_root(), source)) return 1;
    snprintf(vectors, sizeof vectors, "%s/tests/vectors/arch", source);
    if (scratch_open(scratch_dir, sizeof scratch_dir, "arch")) return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(scratch_dir, rc);
}
