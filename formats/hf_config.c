/* hf_config: the config.json of a model. See hf.h.
 *
 * The checkpoint's own (meta "source_config") with the head, the labels and the number type of what is written, and with the sizes that passes and
 * distillation change: of the vocabulary, the layers, their widths, the table of positions. It says what it can: hf_write reads it back and refuses a
 * model that it does not describe. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/hf.h"
#include "formats/tokenizer.h"
#include "runtime/text/tokenizer.h"

static const char *torch_dtype(int format) { return format == XC_FMT_F32 ? "float32" : format == XC_FMT_F16 ? "float16" : "bfloat16"; }

static bool set_labels(json_t *config, const struct xc_model *m)
{
    json_t *const names = json_object(), *const ids = json_object();
    char key[32];
    bool bad = false;

    for (int32_t i = 0; i < m->n_labels; i++) {
        snprintf(key, sizeof key, "%d", i);
        bad |= json_object_set_new(names, key, json_string(m->labels[i])) != 0;
        bad |= json_object_set_new(ids, m->labels[i], json_integer(i)) != 0;
    }
    bad |= json_object_set_new(config, "id2label", names) != 0;
    bad |= json_object_set_new(config, "label2id", ids) != 0;
    return bad;
}

/* Rows of the table that token ids are looked up in; 0 = there is none. */
static int64_t vocabulary_rows(const struct xc_graph *g)
{
    for (int32_t n = 0; g && n < g->n_nodes; n++) {
        const struct xc_node *const node = &g->nodes[n];

        if (strcmp(node->op->name, "gather") || node->in[0].kind != XC_REF_VALUE || node->in[1].kind != XC_REF_TENSOR) continue;
        if (g->values[node->in[0].id].node < 0 && !strcmp(g->values[node->in[0].id].name, "ids")) return xc_tensor_rows(g->model->tensors[node->in[1].id]);
    }
    return 0;
}

/* A vocabulary that was pruned: its size, and the tokens that config.json names by number, which have others now. */
static enum xc_status set_vocabulary(json_t *config, const struct xc_model *m, struct xc_err *err)
{
    static const struct { const char *key; enum xc_token_role role; } ids[] = {
        { "pad_token_id", XC_TOKEN_PAD }, { "bos_token_id", XC_TOKEN_CLS }, { "eos_token_id", XC_TOKEN_SEP },
        { "cls_token_id", XC_TOKEN_CLS }, { "sep_token_id", XC_TOKEN_SEP }, { "mask_token_id", XC_TOKEN_MASK },
    };
    const int64_t rows = vocabulary_rows(xc_model_find_graph(m, "encode"));
    const json_t *const size = json_object_get(config, "vocab_size");
    struct xc_tokenizer *tok = NULL;
    bool bad;

    if (!rows || !json_is_integer(size) || json_integer_value(size) == rows || !m->tokenizer) return XC_OK;
    XC_TRY(xc_tokenizer_open(&tok, m->tokenizer, err));
    bad = json_object_set_new(config, "vocab_size", json_integer(rows)) != 0;
    for (size_t i = 0; i < XC_ARRAY_LEN(ids); i++) {
        const int32_t id = xc_tokenizer_special(tok, ids[i].role);

        if (id >= 0 && json_is_integer(json_object_get(config, ids[i].key))) bad |= json_object_set_new(config, ids[i].key, json_integer(id)) != 0;
    }
    xc_tokenizer_free(&tok);
    return bad ? xc_fail_nomem(err, 0) : XC_OK;
}

/* ---- layers ---- */
int32_t xc_layer_number(const char *name, struct xc_digits *digits)
{
    const char *const found = strstr(name, "layer."), *const first = found ? found + 6 : NULL;
    const size_t n = found && (found == name || found[-1] == '.') ? strspn(first, "0123456789") : 0;

    if (!n || n > 8 || first[n] != '.') return -1;
    if (digits) *digits = (struct xc_digits){ (size_t)(first - name), n };
    return (int32_t)strtol(first, NULL, 10);
}

enum xc_status xc_hf_layers(int32_t **out, int32_t *n, const struct xc_graph *g, struct xc_err *err)
{
    *n = 0;
    *out = xc_calloc((size_t)(g ? g->n_nodes : 0) + 1, sizeof **out);
    if (!*out) return xc_fail_nomem(err, sizeof **out);
    for (int32_t i = 0; g && i < g->n_nodes; i++) {
        const int32_t number = xc_layer_number(g->nodes[i].name, NULL);

        if (number >= 0 && (!*n || (*out)[*n - 1] != number)) (*out)[(*n)++] = number;
    }
    return XC_OK;
}

/* The first node of an op (NULL = any) whose name ends so; -1. */
static int32_t find_node(const struct xc_graph *g, const char *op, const char *end)
{
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const size_t n = strlen(g->nodes[i].name);

        if ((!op || !strcmp(g->nodes[i].op->name, op)) && n >= strlen(end) && !strcmp(g->nodes[i].name + n - strlen(end), end)) return i;
    }
    return -1;
}

/* A size under the name that the family has for it; as it was where the graph does not show it (0). */
static bool set_size(json_t *config, const char *const *keys, int64_t size)
{
    bool bad = false;

    for (int i = 0; i < 2 && size; i++) {
        const json_t *const old = json_object_get(config, keys[i]);

        if (json_is_integer(old) && json_integer_value(old) != size) bad |= json_object_set_new(config, keys[i], json_integer(size)) != 0;
    }
    return bad;
}

/* Sizes of BERT-shaped encoders. Those of one layer stand for all. */
static enum xc_status set_shape(json_t *config, const struct xc_graph *g, struct xc_err *err)
{
    static const char *const keys[5][2] = { { "num_hidden_layers", "n_layers" }, { "num_attention_heads", "n_heads" }, { "intermediate_size", "hidden_dim" }, { "hidden_size", "dim" },
                                            { "max_position_embeddings", "max_position_embeddings" } };
    const int32_t attention = g ? find_node(g, "attention", ".attention") : -1, act = g ? find_node(g, "unary", ".ffn.act") : -1, ids = g ? xc_graph_find_node(g, "position_ids") : -1;
    int64_t size[5] = { 0 };
    int32_t *layers = NULL, n;
    bool bad = false;

    if (attention < 0 || act < 0 || ids < 0) return XC_OK;
    XC_TRY(xc_hf_layers(&layers, &n, g, err));
    xc_free(layers);
    size[0] = n;
    size[1] = ((const struct xc_attr_attention *)g->nodes[attention].attr)->heads;
    size[2] = g->values[g->nodes[act].out[0]].cols;
    for (int32_t i = 0; i < g->n_nodes; i++) {
        const struct xc_node *const node = &g->nodes[i];

        if (strcmp(node->op->name, "gather") || node->in[0].kind != XC_REF_VALUE || node->in[0].id != g->nodes[ids].out[0] || node->in[1].kind != XC_REF_TENSOR) continue;
        size[3] = g->values[node->out[0]].cols;
        size[4] = xc_tensor_rows(g->model->tensors[node->in[1].id]);
    }
    for (int i = 0; i < 5; i++) bad |= set_size(config, keys[i], size[i]);
    return bad ? xc_fail_nomem(err, 0) : XC_OK;
}

/* Heads without labels go without those of another that they were trained in the place of; the token between two texts. */
static void set_pairs(json_t *config, const struct xc_model *m, bool *bad)
{
    const struct xc_graph *const g = xc_model_find_graph(m, "encode");
    const int32_t global = g ? xc_graph_find_node(g, "global_tokens") : -1;

    json_object_del(config, "id2label");
    json_object_del(config, "label2id");
    json_object_del(config, "num_labels");
    json_object_del(config, "problem_type");
    if (global >= 0 && !strcmp(g->nodes[global].op->name, "segment"))
        *bad |= json_object_set_new(config, "sep_token_id", json_integer(((const struct xc_attr_segment *)g->nodes[global].attr)->end_id)) != 0;
}

static enum xc_status make(json_t **config, const struct xc_model *m, int format, struct xc_err *err)
{
    static const struct { const char *head, *suffix; } classes[] = {
        { "embed", "Model" }, { "encode", "Model" }, { "classify", "ForSequenceClassification" }, { "regress", "ForSequenceClassification" },
        { "tag", "ForTokenClassification" }, { "answer", "ForQuestionAnswering" }, { "choice", "ForMultipleChoice" }, { "mlm", "ForMaskedLM" }, { "lm", "ModelWithLMHead" },
    };
    const char *const source = xc_model_meta(m, "source_config"), *const task = xc_model_meta(m, "task"), *const family = xc_model_meta(m, "family");
    const struct xc_arch *const arch = family ? xc_hf_arch(family) : NULL;
    const char *suffix = NULL;
    char cls[128];
    bool bad = false;

    if (!source || !task || !arch) return xc_fail(err, XC_E_UNSUPPORTED, "the model does not come from a Hugging Face checkpoint: there is no config.json to write");
    for (size_t i = 0; i < XC_ARRAY_LEN(classes); i++)
        if (!strcmp(classes[i].head, task)) suffix = classes[i].suffix;
    if (arch->lm_suffix && (!strcmp(task, "mlm") || !strcmp(task, "lm"))) suffix = arch->lm_suffix;
    if (!suffix) return xc_fail(err, XC_E_UNSUPPORTED, "task '%s' has no class in transformers", task);
    XC_TRY(xc_json_parse(config, source, strlen(source), "meta 'source_config'", NULL, err));
    if (!json_is_object(*config)) return xc_fail(err, XC_E_FORMAT, "meta 'source_config' is no JSON object");
    snprintf(cls, sizeof cls, "%s%s", arch->class_name, suffix);
    {
        json_t *const list = json_array();

        bad |= json_array_append_new(list, json_string(cls)) != 0;
        bad |= json_object_set_new(*config, "architectures", list) != 0;
    }
    if (json_object_get(*config, "torch_dtype")) bad |= json_object_set_new(*config, "torch_dtype", json_string(torch_dtype(format))) != 0;
    else bad |= json_object_set_new(*config, "dtype", json_string(torch_dtype(format))) != 0;
    if (m->n_labels) bad |= set_labels(*config, m);
    if (!strcmp(task, "answer") || !strcmp(task, "choice")) set_pairs(*config, m, &bad);
    if (bad) return xc_fail_nomem(err, 0);
    XC_TRY(set_vocabulary(*config, m, err));
    return set_shape(*config, xc_model_find_graph(m, "encode"), err);
}


enum xc_status xc_hf_make_config(json_t **out, const struct xc_model *m, int format, struct xc_err *err)
{
    enum xc_status status;

    *out = NULL;
    status = make(out, m, format, err);
    if (status != XC_OK) xc_json_free(out);
    return status;
}
