/* test_formats_hostile: checkpoints that lie. Every one must end in an error that names the file, in bounded time and memory, with nothing left
 * open; and any allocation that fails while a checkpoint is loaded must end in "out of memory". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/hf.h"
#include "tests/unit/scratch.h"

static char vectors[1024], dir[1024];

/* ---- files ---- */
static void file_write(const char *name, const void *bytes, size_t n) { write_file(path_in(dir, name), bytes, n); }

static void text_write(const char *name, const char *text) { file_write(name, text, strlen(text)); }

static void clean(void)
{
    char command[4096];

    snprintf(command, sizeof command, "rm -rf '%s' && mkdir '%s'", dir, dir);
    assert_int_equal(system(command), 0);
}

/* A copy of a good checkpoint, to be spoilt. */
static void copy_of(const char *name)
{
    char command[8192];

    snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s/%s' '%s'", dir, vectors, name, dir);
    assert_int_equal(system(command), 0);
}

/* A header and n bytes of zeros behind it, as model.safetensors. */
static void safetensors_write(const char *header, size_t header_size, size_t n)
{
    char *const bytes = calloc(8 + header_size + n, 1);
    const size_t size = header_size;

    assert_non_null(bytes);
    for (int i = 0; i < 8; i++) bytes[i] = (char)(size >> (8 * i));
    memcpy(bytes + 8, header, header_size);
    file_write("model.safetensors", bytes, 8 + header_size + n);
    free(bytes);
}

static int open_files(void)
{
    DIR *const d = opendir("/proc/self/fd");
    int n = 0;

    if (!d) return 0;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

/* ---- expectations ---- */
/* Loading fails, says `says` (NULL = anything) and where; returns the status. */
static enum xc_status refused(const char *says)
{
    const struct xc_load_opts opts = { .load_tensors = true };
    const int before = open_files();
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    const enum xc_status status = xc_model_load(&m, dir, &opts, &err);
    char text[512];

    assert_null(m);
    xc_err_text(&err, text, sizeof text);
    if (status == XC_OK) fail_msg("loaded, should have said '%s'", says ? says : "something");
    assert_int_equal(status, err.code);
    if (says && !strstr(text, says)) fail_msg("said \"%s\", should have said '%s'", text, says);
    if (!strstr(text, dir)) fail_msg("said \"%s\", without the file", text);
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20) fail_msg("a control byte in the message");
    assert_int_equal(open_files(), before);
    return status;
}

static enum xc_status header_refused(const char *header, size_t data, const char *says)
{
    safetensors_write(header, strlen(header), data);
    return refused(says);
}

/* The file cut off after `from`, `from - step`, ... bytes, in place: creating files anew makes some file systems sync. */
static void cuts_refused(const char *name, size_t from, size_t step, const char *says)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    for (size_t cut = from;; cut -= step) {
        assert_int_equal(truncate(path, (off_t)cut), 0);
        refused(says);
        if (cut < step) break;
    }
}

/* ---- safetensors ---- */
#define T(name, dtype, shape, from, to) "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static void test_headers(void **state)
{
    (void)state;
    copy_of("bert_tag");
    /* lengths that lie */
    header_refused("{" T("a", "F32", "[2]", "0", "8") "}", 4, "cut off");
    header_refused("{" T("a", "F32", "[2]", "0", "4") "}", 4, "needs 8 bytes");
    header_refused("{" T("a", "F32", "[2]", "0", "12") "}", 12, "needs 8 bytes");
    header_refused("{" T("a", "F32", "[2]", "8", "0") "}", 8, "rising");
    header_refused("{" T("a", "F32", "[2]", "-8", "0") "}", 8, "rising");
    header_refused("{" T("a", "F32", "[2]", "0", "8.0") "}", 8, "rising");
    header_refused("{" T("a", "F32", "[2]", "0", "\"8\"") "}", 8, "rising");
    header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "rising");
    header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8, "rising");
    header_refused("{" T("a", "F32", "[2]", "0", "8") "}", 9, "after the last tensor");
    /* overlaps and holes */
    header_refused("{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "4", "12") "}", 12, "overlaps");
    header_refused("{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[2]", "0", "8") "}", 8, "overlaps");
    header_refused("{" T("a", "F32", "[2]", "0", "8") "," T("b", "F32", "[1]", "12", "16") "}", 16, "hole");
    header_refused("{" T("a", "F32", "[2]", "4", "12") "}", 12, "hole");
    /* overflow */
    header_refused("{" T("a", "F32", "[4294967296,4294967296]", "0", "0") "}", 0, "overflows");
    header_refused("{" T("a", "F32", "[4611686018427387904]", "0", "0") "}", 0, "overflows");
    header_refused("{" T("a", "F32", "[4611686018427387905]", "0", "4") "}", 4, "overflows");
    header_refused("{" T("a", "F32", "[-1]", "0", "4") "}", 4, "no size");
    header_refused("{" T("a", "F32", "[1e2]", "0", "400") "}", 400, "no size");
    header_refused("{" T("a", "F32", "[99999999999999999999999]", "0", "4") "}", 4, NULL);
    header_refused("{" T("a", "F32", "[1]", "9223372036854775800", "9223372036854775804") "}", 4, "cut off");
    header_refused("{" T("a", "F32", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "9 axes");
    /* wrong kinds of values */
    header_refused("{" T("a", "F31", "[1]", "0", "4") "}", 4, "unknown dtype 'F31'");
    header_refused("{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype");
    header_refused("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no 'dtype'");
    header_refused("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no 'shape'");
    header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":{},\"data_offsets\":[0,4]}}", 4, "shape");
    header_refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4, "does not know");
    header_refused("{\"a\":7}", 0, "no JSON object");
    header_refused("{\"__metadata__\":7}", 0, "__metadata__");
    header_refused("{\"__metadata__\":{\"a\":7}}", 0, "no string");
    header_refused("[]", 0, "does not begin with");
    header_refused(" {}", 0, "does not begin with");
    header_refused("", 0, "does not begin with");
    header_refused("{} x", 0, "JSON");
    /* duplicates, bad text */
    header_refused("{" T("a", "F32", "[1]", "0", "4") "," T("a", "F32", "[1]", "4", "8") "}", 8, "JSON");
    header_refused("{" T("", "F32", "[1]", "0", "4") "}", 4, "empty name");
    header_refused("{\"a\xff\":7}", 0, "JSON");
    header_refused("{\"a\\u0000\":7}", 0, "JSON");
    header_refused("{\"\x1b[31m\":7}", 0, NULL);
    header_refused("{" T("a\\u001b[31m", "F32", "[2]", "0", "4") "}", 4, "\\x1b");
}

static void test_sizes(void **state)
{
    char *deep = malloc(300000), *many;
    size_t n = 0;

    (void)state;
    assert_non_null(deep);
    copy_of("bert_tag");
    file_write("model.safetensors", "", 0);
    refused("no safetensors file");
    file_write("model.safetensors", "\x08\0\0\0\0\0\0", 7);
    refused("no safetensors file");
    file_write("model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    refused("the header claims");
    file_write("model.safetensors", "\0\0\0\x40\0\0\0\0{}", 10);
    refused("the header claims");
    file_write("model.safetensors", "\x03\0\0\0\0\0\0\0{}", 10);
    refused("2 follow");
    deep[0] = '{';
    memcpy(deep + 1, "\"a\":", 4);
    memset(deep + 5, '[', 200000);
    safetensors_write(deep, 200005, 0);
    refused("deep");
    free(deep);
    /* many tensors of no bytes: bounded, and soon over */
    many = malloc((size_t)40 << 20);
    assert_non_null(many);
    n += (size_t)sprintf(many, "{");
    for (int i = 0; i < 400000; i++) n += (size_t)sprintf(many + n, "%s" T("%07d", "F32", "[0]", "0", "0"), i ? "," : "", i);
    n += (size_t)sprintf(many + n, "}");
    safetensors_write(many, n, 0);
    refused("values");
    n = (size_t)sprintf(many, "{");
    for (int i = 0; i < 200000; i++) n += (size_t)sprintf(many + n, "%s" T("%07d", "F32", "[0]", "0", "0"), i ? "," : "", i);
    n += (size_t)sprintf(many + n, "}");
    safetensors_write(many, n, 0);
    refused("no tensor");
    free(many);
}

/* Cut off after every byte of the header, and in the data. */
static void test_truncation(void **state)
{
    char path[4096], *bytes;
    size_t n, header = 0;
    int fd;

    (void)state;
    copy_of("bert_tag");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    bytes = (char *)read_file(path, &n);
    for (int i = 7; i >= 0; i--) header = header << 8 | (unsigned char)bytes[i];
    assert_int_equal(truncate(path, (off_t)n - 1), 0);
    refused("cut off");
    cuts_refused("model.safetensors", n - (n - 8 - header) % 997, 997, NULL);
    file_write("model.safetensors", bytes, 8 + header);
    refused("cut off");
    cuts_refused("model.safetensors", 7 + header, 1, NULL);
    /* every byte of the header changed: an error or a model, never worse */
    file_write("model.safetensors", bytes, n);
    fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    for (size_t i = 0; i < 8 + header; i++) {
        const struct xc_load_opts opts = { .load_tensors = true };
        const char other = (char)(bytes[i] ^ (1 << (i % 8)));
        struct xc_model *m = NULL;
        struct xc_err err = { 0 };

        assert_int_equal(pwrite(fd, &other, 1, (off_t)i), 1);
        if (xc_model_load(&m, dir, &opts, &err) == XC_OK) assert_non_null(m);
        else assert_null(m);
        xc_model_free(&m);
        assert_int_equal(pwrite(fd, bytes + i, 1, (off_t)i), 1);
    }
    close(fd);
    free(bytes);
}

/* The file becomes shorter between opening and reading. */
static void test_shrinks(void **state)
{
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    char path[4096], text[512];
    enum xc_status status = XC_OK;

    (void)state;
    copy_of("bert_tag");
    assert_int_equal(xc_model_load(&m, dir, NULL, &err), XC_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(truncate(path, 20000), 0);
    for (int32_t i = 0; i < m->n_tensors && status == XC_OK; i++) status = xc_tensor_load(m->tensors[i], &err);
    assert_int_equal(status, XC_E_FORMAT);
    xc_err_text(&err, text, sizeof text);
    assert_non_null(strstr(text, "model.safetensors: byte "));
    assert_non_null(strstr(text, "too early"));
    xc_model_free(&m);
}

static void test_not_finite(void **state)
{
    static const struct { uint32_t bits; const char *name; } bad[] = { { 0x7fc00000u, "NaN" }, { 0xff800000u, "infinity" }, { 0x7f800001u, "NaN" } };
    char path[4096], *bytes;
    size_t n;

    (void)state;
    copy_of("bert_tag");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    bytes = (char *)read_file(path, &n);
    for (size_t i = 0; i < XC_ARRAY_LEN(bad); i++) {
        char *const copy = malloc(n);

        assert_non_null(copy);
        memcpy(copy, bytes, n);
        memcpy(copy + n - 8, &bad[i].bits, 4); /* the last tensor: classifier.weight */
        file_write("model.safetensors", copy, n);
        refused(bad[i].name);
        refused("classifier.weight");
        refused("element 94");
        free(copy);
    }
    free(bytes);
    copy_of("bert_bf16");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    bytes = (char *)read_file(path, &n);
    memcpy(bytes + n - 2, "\x80\x7f", 2);
    file_write("model.safetensors", bytes, n);
    refused("infinity");
    free(bytes);
}

static void test_dtypes(void **state)
{
    char path[4096], *bytes, *at;
    size_t n;

    (void)state;
    copy_of("bert_tag");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    bytes = (char *)read_file(path, &n);
    at = strstr(bytes + 8, "\"classifier.bias\":{\"dtype\":\"F32\"");
    assert_non_null(at);
    memcpy(strstr(at, "F32"), "I32", 3);
    file_write("model.safetensors", bytes, n);
    refused("'classifier.bias' is stored as I32");
    free(bytes);
}

/* ---- shards ---- */
static void test_index(void **state)
{
    char path[4096], *index, *at;
    size_t n;

    (void)state;
    copy_of("bert_gelu_new_sharded");
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    index = (char *)read_file(path, &n);
    text_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"../model.safetensors\"}}");
    refused("leave the directory");
    text_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"/etc/passwd\"}}");
    refused("leave the directory");
    text_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"..\"}}");
    refused("leave the directory");
    text_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"\"}}");
    refused("leave the directory");
    text_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":7}}");
    refused("no string");
    text_write("model.safetensors.index.json", "{\"weight_map\":{}}");
    refused("names no tensor");
    text_write("model.safetensors.index.json", "{\"weight_map\":[]}");
    refused("weight_map");
    text_write("model.safetensors.index.json", "{}");
    refused("weight_map");
    text_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"none.safetensors\"}}");
    refused("none.safetensors");
    text_write("model.safetensors.index.json", "{\"weight_map\":{\"a\":\"model-00001-of-00004.safetensors\"}}");
    refused("does not have it");
    file_write("model.safetensors.index.json", index, n);
    cuts_refused("model.safetensors.index.json", n - 4, 3, NULL);
    /* a tensor that is in another shard than the index says */
    at = strstr(index, "00001-of");
    assert_non_null(at);
    at[4] = '2';
    file_write("model.safetensors.index.json", index, n);
    refused("but is in 'model-00001-of-00004.safetensors'");
    free(index);
    /* the same tensors in two shards */
    copy_of("bert_gelu_new_sharded");
    snprintf(path, sizeof path, "cp '%s/model-00001-of-00004.safetensors' '%s/model-00002-of-00004.safetensors'", dir, dir);
    assert_int_equal(system(path), 0);
    refused("there twice");
    /* a shard is missing, a directory, a symbolic link to nothing; a link to a file is followed, as a Hugging Face cache needs */
    copy_of("bert_gelu_new_sharded");
    snprintf(path, sizeof path, "%s/model-00002-of-00004.safetensors", dir);
    assert_int_equal(unlink(path), 0);
    refused("model-00002-of-00004.safetensors");
    assert_int_equal(mkdir(path, 0777), 0);
    refused("no");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(symlink("nowhere", path), 0);
    refused("model-00002-of-00004.safetensors");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0666), 0);
    refused("not a regular file");
}

/* ---- config.json ---- */
/* config.json of a checkpoint with one member replaced or added; "key": value */
static void config_with(const char *name, const char *key, const char *value)
{
    char path[4096], *text;
    json_t *root, *v;
    json_error_t error;
    json_free_t release;
    size_t n;

    snprintf(path, sizeof path, "%s/%s/config.json", vectors, name);
    text = (char *)read_file(path, &n);
    root = json_loads(text, 0, &error);
    free(text);
    assert_non_null(root);
    v = json_loads(value, JSON_DECODE_ANY, &error);
    assert_non_null(v);
    json_object_set_new(root, key, v);
    text = json_dumps(root, 0);
    json_decref(root);
    file_write("config.json", text, strlen(text));
    json_get_alloc_funcs(NULL, &release);
    release(text);
}

static void config_refused(const char *name, const char *key, const char *value, const char *says)
{
    static const char *current;

    if (!current || strcmp(current, name)) copy_of(name);
    current = name;
    config_with(name, key, value);
    refused(says);
}

static void test_config(void **state)
{
    static const char *const absurd[] = { "0", "-1", "1099511627776", "9223372036854775807", "1.5", "\"52\"", "true", "[]", "{}" };
    static const char *const keys[] = { "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size", "max_position_embeddings", "type_vocab_size" };

    (void)state;
    for (size_t k = 0; k < XC_ARRAY_LEN(keys); k++)
        for (size_t i = 0; i < XC_ARRAY_LEN(absurd); i++) config_refused("bert_tag", keys[k], absurd[i], keys[k]);
    config_refused("bert_tag", "num_hidden_layers", "-1", "num_hidden_layers");
    config_refused("bert_tag", "num_hidden_layers", "1099511627776", "num_hidden_layers");
    config_refused("bert_tag", "num_hidden_layers", "1000", "encoder.layer.1.");
    config_refused("bert_tag", "num_attention_heads", "5", "do not divide");
    config_refused("bert_tag", "hidden_size", "33", "config.json asks for 33");
    config_refused("bert_tag", "vocab_size", "61", "config.json asks for 61");
    config_refused("bert_tag", "hidden_act", "\"mish\"", "'mish'");
    config_refused("bert_tag", "hidden_act", "7", "hidden_act");
    config_refused("bert_tag", "layer_norm_eps", "-1", "layer_norm_eps");
    config_refused("bert_tag", "layer_norm_eps", "\"x\"", "layer_norm_eps");
    config_refused("bert_tag", "position_embedding_type", "\"relative_key\"", "'relative_key'");
    config_refused("bert_tag", "is_decoder", "true", "is_decoder");
    config_refused("bert_tag", "add_cross_attention", "true", "add_cross_attention");
    config_refused("bert_tag", "model_type", "\"gpt2\"", "bert, distilbert, led, linformer, longformer, reformer, reformer-pytorch, roberta");
    config_refused("bert_tag", "model_type", "null", "model_type");
    config_refused("bert_tag", "architectures", "[\"BertForNextSentencePrediction\"]", "'BertForNextSentencePrediction'");
    config_refused("bert_tag", "architectures", "[\"BertLMHeadModel\"]", "'BertLMHeadModel'");
    config_refused("bert_tag", "architectures", "[\"BertForMaskedLM\"]", "cls.predictions.transform.dense");
    config_refused("bert_tag", "id2label", "{\"0\":\"a\",\"1\":\"b\"}", "config.json asks for 2");
    config_refused("bert_tag", "id2label", "{\"0\":\"a\",\"1\":\"b\",\"3\":\"c\"}", "id2label");
    config_refused("bert_tag", "id2label", "{\"0\":\"a\",\"1\":\"b\",\"2\":7}", "id2label");
    config_refused("roberta", "pad_token_id", "27", "no position is left");
    config_refused("longformer", "attention_window", "7", "even number");
    config_refused("longformer", "attention_window", "[4, 4]", "2 numbers for 1 layers");
    config_refused("longformer", "attention_window", "\"4\"", "even number");
    config_refused("longformer", "pad_token_id", "27", "no position is left");
    config_refused("longformer", "attention_window", "0", "even number");
    config_refused("reformer", "axial_pos_shape", "[4, 9]", "4 x 9, which is not 'max_position_embeddings' of 32");
    config_refused("reformer", "axial_pos_shape", "[8, 4]", "position_embeddings.weights.0");
    config_refused("reformer", "axial_pos_shape", "[32]", "two numbers");
    config_refused("reformer", "axial_pos_shape", "[-4, -8]", "two numbers");
    config_refused("reformer", "axial_pos_embds_dim", "[12, 21]", "which is not 'hidden_size' of 32");
    config_refused("reformer", "axial_pos_embds", "false", "position_embeddings.embedding.weight");
    config_refused("reformer", "max_position_embeddings", "64", "which is not 'max_position_embeddings' of 64");
    config_refused("reformer", "num_buckets", "5", "must be even");
    config_refused("reformer", "num_buckets", "[4, 3]", "must be even");
    config_refused("reformer", "num_buckets", "[2, 2, 2]", "two numbers");
    config_refused("reformer", "num_buckets", "-2", "num_buckets");
    config_refused("reformer", "num_buckets", "8", "rotations");
    config_refused("reformer", "num_hashes", "0", "num_hashes");
    config_refused("reformer", "lsh_attn_chunk_length", "0", "lsh_attn_chunk_length");
    config_refused("reformer", "local_num_chunks_before", "65", "local_num_chunks_before");
    config_refused("reformer", "attn_layers", "[\"lsh\", \"full\"]", "layer 1 of 'attn_layers' is 'full'");
    config_refused("reformer", "attn_layers", "[\"lsh\", 3]", "not a string");
    config_refused("reformer", "attn_layers", "[\"local\", \"lsh\"]", "self_attention.query");
    config_refused("reformer", "attn_layers", "\"lsh\"", "attn_layers");
    config_refused("reformer", "architectures", "[\"ReformerModelWithLMHead\"]", "'is_decoder' must be true");
    config_refused("reformer", "architectures", "[\"ReformerForTokenClassification\"]", "no token classification");
    config_refused("reformer_lm", "is_decoder", "7", "is_decoder");
    config_refused("reformer_mlm", "is_decoder", "true", "'is_decoder' must be false");
    config_refused("bert_tag", "architectures", "[\"BertModelWithLMHead\"]", "no head 'lm'");
    config_refused("bert_tag", "attention", "{\"kind\":\"flash\"}", "'flash' is not read");
    config_refused("bert_tag", "attention", "{\"kind\":\"dense\",\"window\":3}", "no key 'window'");
    config_refused("bert_tag", "attention", "7", "attention");
    config_refused("longformer", "attention", "{\"kind\":\"linformer\",\"slots\":4}", "is its own");
    config_refused("bert_linformer", "attention", "{\"kind\":\"linformer\",\"slots\":5,\"sharing\":\"all\"}", "'all'");
    config_refused("bert_linformer", "attention", "{\"kind\":\"linformer\",\"slots\":0}", "from 1");
    config_refused("bert_linformer", "attention", "{\"kind\":\"linformer\",\"slots\":[5,5]}", "2 numbers for 1 layers");
    config_refused("bert_linformer", "attention", "{\"kind\":\"linformer\",\"slots\":4}", "config.json asks for 4");
    config_refused("bert_linformer", "attention", "{\"kind\":\"linformer\",\"slots\":5}", "'sharing' says otherwise");
    config_refused("bert_linformer", "attention", "{\"kind\":\"linformer\",\"slots\":5,\"sharing\":\"layerwise\"}", "attention.projection");
    config_refused("bert_linformer", "max_position_embeddings", "27", "config.json asks for 27");
    config_refused("bert_synthesizer", "attention", "{\"kind\":\"synthesizer\",\"scores\":[]}", "nothing would make scores");
    config_refused("bert_synthesizer", "attention", "{\"kind\":\"synthesizer\",\"scores\":[\"noise\"]}", "'noise'");
    config_refused("bert_synthesizer", "attention", "{\"kind\":\"synthesizer\",\"scores\":[\"factorized_dense\"],\"factor\":4}", "does not divide 26");
    config_refused("bert_synthesizer", "attention", "{\"kind\":\"synthesizer\",\"scores\":[\"random\"],\"rank\":3}", "config.json asks for 6");
    config_refused("bert_synthesizer", "attention", "{\"kind\":\"synthesizer\",\"scores\":[\"random\"],\"mixture\":true}", "config.json asks for 1");
    config_refused("led", "attention_window", "[4, 7]", "layer 1 must be an even number");
    config_refused("led", "attention_window", "[4]", "1 numbers for 2 layers");
    config_refused("led", "architectures", "[\"LEDForConditionalGeneration\"]", "can be loaded by choosing the head");
    config_refused("led", "max_encoder_position_embeddings", "33", "config.json asks for 33");
    config_refused("linformer", "seq_len", "25", "config.json asks for 25");
    config_refused("linformer", "k", "7", "config.json asks for 7");
    config_refused("linformer", "heads", "3", "do not divide 'dim'");
    config_refused("linformer", "method", "\"convolution\"", "no key 'method'");
    config_refused("linformer", "share_kv", "1", "share_kv");
    config_refused("linformer", "architectures", "[\"LinformerForSequenceClassification\"]", "no head 'classify'");
    config_refused("reformer_pytorch", "bucket_size", "10", "must be an even number");
    config_refused("reformer_pytorch", "n_buckets", "3", "even number");
    config_refused("reformer_pytorch", "absolute_position_emb", "false", "rotary positions");
    config_refused("reformer_pytorch", "num_mem_kv", "2", "'num_mem_kv' is 2");
    config_refused("reformer_pytorch", "use_rezero", "true", "'use_rezero' is true");
    config_refused("reformer_pytorch", "lsh_attend_across_buckets", "false", "no key");
    config_refused("reformer_pytorch_causal", "axial_position_shape", "[4, 4]", "smaller than 'max_seq_len'");
    config_refused("reformer_pytorch_causal", "axial_position_shape", "[4, 8]", "pos_emb.weights.0");
    config_refused("roberta", "pad_token_id", "-1", "pad_token_id");
    config_refused("distilbert", "dim", "1099511627776", "dim");
    config_refused("distilbert", "n_heads", "0", "n_heads");
    config_refused("distilbert", "activation", "\"x\"", "'x'");
    config_refused("bert_mlm", "tie_word_embeddings", "false", "cls.predictions.decoder.weight");
    config_refused("bert_mlm", "tie_word_embeddings", "7", "tie_word_embeddings");
}

static void test_config_text(void **state)
{
    char path[4096], *text;
    size_t n;

    (void)state;
    copy_of("bert_tag");
    snprintf(path, sizeof path, "%s/config.json", dir);
    text = (char *)read_file(path, &n);
    cuts_refused("config.json", n - 3, 1, NULL);
    free(text);
    text_write("config.json", "[]");
    refused(NULL);
    text_write("config.json", "{\"model_type\":\"bert\",\"model_type\":\"bert\"}");
    refused("JSON");
    file_write("config.json", "{\"model_type\":\"\xff\"}", 19);
    refused("JSON");
    assert_int_equal(unlink(path), 0);
    refused("no config.json");
    assert_int_equal(mkdir(path, 0777), 0);
    refused("no config.json");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(mkfifo(path, 0666), 0);
    refused("no config.json");
}

/* ---- sentence-transformers ---- */
static void modules_refused(const char *text, const char *says)
{
    copy_of("bert_st_sqrt_dense");
    text_write("modules.json", text);
    refused(says);
}

#define MODULE(type, path) "{\"type\":\"sentence_transformers.models." type "\",\"path\":\"" path "\"}"

static void test_modules(void **state)
{
    (void)state;
    modules_refused("", NULL);
    modules_refused("{}", "list of modules");
    modules_refused("[]", "list of modules");
    modules_refused("[7]", NULL);
    modules_refused("[{}]", "type");
    modules_refused("[" MODULE("Transformer", "") "]", "no Pooling");
    modules_refused("[" MODULE("Pooling", "1_Pooling") "]", "must be a Transformer");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Transformer", "") "]", "must be a Transformer");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Normalize", "") "," MODULE("Pooling", "1_Pooling") "]", "right behind the Transformer");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "," MODULE("Pooling", "1_Pooling") "]", "right behind the Transformer");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "," MODULE("LSTM", "2_LSTM") "]", "LSTM");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Pooling", "../1_Pooling") "]", "leave the directory");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Pooling", "/etc") "]", "leave the directory");
    modules_refused("[" MODULE("Transformer", "../x") "," MODULE("Pooling", "1_Pooling") "]", "leave the directory");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Pooling", "3_Pooling") "]", "3_Pooling");
    modules_refused("[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "," MODULE("Dense", "1_Pooling") "]", "in_features");
    copy_of("bert_st_mean");
    text_write("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":true}");
    refused("2 pooling modes");
    text_write("1_Pooling/config.json", "{}");
    refused("0 pooling modes");
    text_write("1_Pooling/config.json", "{\"pooling_mode_weightedmean_tokens\":true}");
    refused("pooling_mode_weightedmean_tokens");
    text_write("1_Pooling/config.json", "{\"pooling_mode\":\"odd\"}");
    refused("'odd'");
    text_write("1_Pooling/config.json", "[]");
    refused("1_Pooling/config.json");
    copy_of("bert_st_mean");
    text_write("sentence_bert_config.json", "{\"max_seq_length\":-5}");
    refused("max_seq_length");
    text_write("sentence_bert_config.json", "{\"do_lower_case\":true}");
    refused("do_lower_case");
    copy_of("bert_st_mean");
    text_write("config_sentence_transformers.json", "{\"default_prompt_name\":\"query\",\"prompts\":{\"query\":\"query: \"}}");
    refused("'query'");
    copy_of("bert_st_sqrt_dense");
    text_write("2_Dense/config.json", "{\"in_features\":31,\"out_features\":20,\"activation_function\":\"torch.nn.modules.activation.Tanh\"}");
    refused("31");
    text_write("2_Dense/config.json", "{\"in_features\":32,\"out_features\":21,\"activation_function\":\"torch.nn.modules.activation.Tanh\"}");
    refused("asks for 21");
    text_write("2_Dense/config.json", "{\"in_features\":32,\"out_features\":20,\"activation_function\":\"os.system\"}");
    refused("'os.system'");
}

/* ---- what is no model ---- */
static void test_paths(void **state)
{
    static const struct { const char *bytes; size_t n; const char *says; } files[] = {
        { "GGUF\3\0\0\0", 8, "GGUF" }, { "PK\3\4....", 8, "save_pretrained" }, { "hello", 5, "no model" }, { "", 0, "empty" }, { "\2\0\0\0\0\0\0\0{}", 10, "no config.json beside" },
    };
    char path[4096];

    (void)state;
    clean();
    refused("no config.json");
    text_write("adapter_config.json", "{}");
    refused("adapter");
    copy_of("bert_tag");
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(unlink(path), 0);
    refused("model.safetensors");
    text_write("pytorch_model.bin", "x");
    refused("pytorch_model.bin");
    for (size_t i = 0; i < XC_ARRAY_LEN(files); i++) {
        struct xc_model *m = NULL;
        struct xc_err err = { 0 };
        char text[512];

        clean();
        file_write("file", files[i].bytes, files[i].n);
        snprintf(path, sizeof path, "%s/file", dir);
        assert_int_not_equal(xc_model_load(&m, path, NULL, &err), XC_OK);
        assert_null(m);
        xc_err_text(&err, text, sizeof text);
        if (!strstr(text, files[i].says)) fail_msg("said \"%s\", should have said '%s'", text, files[i].says);
    }
    snprintf(path, sizeof path, "rm -rf '%s'", dir);
    assert_int_equal(system(path), 0);
    assert_int_equal(refused("No such file"), XC_E_IO);
}

/* ---- out of memory ---- */
static void fail_each(const char *name, const char *head)
{
    const struct xc_load_opts opts = { .head = head, .load_tensors = true, .all_tensors = true };
    int64_t n;

    copy_of(name);
    for (n = 0;; n++) {
        const int before = open_files();
        struct xc_model *m = NULL;
        struct xc_err err = { 0 };
        enum xc_status status;

        xc_alloc_fail_after(n);
        status = xc_model_load(&m, dir, &opts, &err);
        xc_alloc_fail_after(-1);
        assert_int_equal(open_files(), before + (m ? (int)((struct xc_checkpoint *)m->tensors[0]->source)->n_files : 0));
        if (status == XC_OK) {
            xc_model_free(&m);
            break;
        }
        assert_null(m);
        if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s: %s", (long long)n, xc_status_name(status), err.msg);
    }
    printf("%s: each of %lld allocations failed once\n", name, (long long)n);
    assert_true(n > 50);
}

static void test_no_memory(void **state)
{
    (void)state;
    fail_each("bert_classify", NULL);
    fail_each("bert_st_sqrt_dense", NULL);
    fail_each("bert_gelu_new_sharded", "encode");
    fail_each("roberta_mlm", NULL);
}

static void test_no_memory_writing(void **state)
{
    const struct xc_load_opts opts = { .load_tensors = true, .all_tensors = true };
    struct xc_model *m = NULL;
    struct xc_err err = { 0 };
    char path[4096], out[4096];
    int64_t n;

    (void)state;
    snprintf(path, sizeof path, "%s/bert_st_sqrt_dense", vectors);
    assert_int_equal(xc_model_load(&m, path, &opts, &err), XC_OK);
    clean();
    snprintf(out, sizeof out, "%s/out", dir);
    for (n = 0;; n += 1 + n / 16) { /* every file is synced to the disk: not every allocation */
        enum xc_status status;

        xc_alloc_fail_after(n);
        status = xc_hf_write(m, out, XC_FMT_F16, &err);
        xc_alloc_fail_after(-1);
        if (status == XC_OK) break;
        if (status != XC_E_NOMEM) fail_msg("allocation %lld: %s: %s", (long long)n, xc_status_name(status), err.msg);
    }
    printf("writing: allocations up to %lld failed\n", (long long)n);
    xc_model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers), cmocka_unit_test(test_sizes), cmocka_unit_test(test_truncation), cmocka_unit_test(test_shrinks), cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_dtypes), cmocka_unit_test(test_index), cmocka_unit_test(test_config), cmocka_unit_test(test_config_text), cmocka_unit_test(test_modules),
        cmocka_unit_test(test_paths), cmocka_unit_test(test_no_memory), cmocka_unit_test(test_no_memory_writing),
    };
    int rc;

    snprintf(vectors, sizeof vectors, "%s/tests/vectors/arch", source_root());
    if (scratch_open(dir, sizeof dir, "hostile")) return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    return scratch_close(dir, rc);
}
