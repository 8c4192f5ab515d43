/* hf_write: a model as a Hugging Face directory that transformers and sentence-transformers load. See formats.h.
 *
 * config.json is the checkpoint's own with what passes changed (hf_config.c); layers are numbered from 0 without holes. Before a
 * byte is written, the config and the table of tensors are read back in memory and must give the same graph: what a pass has
 * changed beyond what the format can say (layers of unequal width, low rank) is refused. Encodings are dequantized, and what smoothing put in
 * front of linears goes back into their weights (fold.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/fold.h"
#include "formats/hf_modules.h"
#include "formats/tokenizer.h"
#include "runtime/base/atomic_file.h"
#include "runtime/text/tokenizer.h"

struct writer {
    const struct xc_model *m;
    struct xc_fold fold;
    const char *dir;
    int format;
    json_t *config;
    struct xc_hf_config cfg; /* json, modules, sentence */
    json_t *modules;
    struct xc_tensor *view;  /* of each tensor, what its file gets: the family's axes */
    const char **names;      /* of each tensor, in its file */
    char *name_bytes;
    int32_t *layers, n_layers; /* the numbers of layers in the model, in order */
};

/* ---- names of tensors ---- */
/* The Dense module that a tensor belongs to; its index, -1 = the transformer's own. */
static int module_of(const struct writer *w, const struct xc_tensor *t)
{
    for (int i = 0; i < w->cfg.n_modules; i++) {
        const size_t n = strlen(w->cfg.modules[i].path);

        if (w->cfg.modules[i].kind == XC_HF_DENSE && !strncmp(t->name, w->cfg.modules[i].path, n) && t->name[n] == '.') return i;
    }
    return -1;
}

/* A head that finetune put on a bare encoder stands beside names without the family's prefix. transformers 4 takes such a file for damaged:
 * what belongs to the encoder gets the prefix. */
static bool lacks_prefix(const struct xc_model *m, const char *family)
{
    static const char *const families[] = { "bert", "distilbert", "roberta", "longformer" }, *const bare[] = { "embed", "encode" };
    const char *const task = xc_model_meta(m, "task");
    const size_t n = strlen(family);
    bool known = false;

    for (size_t i = 0; i < XC_ARRAY_LEN(families); i++) known |= !strcmp(family, families[i]);
    for (size_t i = 0; i < XC_ARRAY_LEN(bare); i++) known &= strcmp(task, bare[i]) != 0;
    for (int32_t i = 0; i < m->n_tensors; i++) known &= strncmp(m->tensors[i]->name, family, n) || m->tensors[i]->name[n] != '.';
    return known;
}

static bool of_encoder(const char *name)
{
    static const char *const parts[] = { "embeddings.", "encoder.", "transformer.", "pooler." };
    bool is = false;

    for (size_t i = 0; i < XC_ARRAY_LEN(parts); i++) is |= !strncmp(name, parts[i], strlen(parts[i]));
    return is;
}

/* A tensor's name with its layer's place among those that are left instead of its number; false where they are the same. */
static bool renumbered(const struct writer *w, char *out, size_t n, const char *name)
{
    struct xc_digits digits;
    const int32_t number = xc_layer_number(name, &digits);
    int32_t place = 0;

    if (number < 0) return false;
    while (place < w->n_layers && w->layers[place] != number) place++;
    if (place == w->n_layers || place == number) return false;
    return (size_t)snprintf(out, n, "%.*s%d%s", (int)digits.at, name, place, name + digits.at + digits.n) < n;
}

static enum xc_status make_names(struct writer *w, struct xc_err *err)
{
    const struct xc_model *const m = w->m;
    const char *const family = xc_model_meta(m, "family");
    const bool prefixed = lacks_prefix(m, family);
    size_t bytes = 1;
    char *at;

    for (int32_t i = 0; i < m->n_tensors; i++) bytes += strlen(m->tensors[i]->name) + strlen(family) + 8; /* gamma becomes weight: one longer */
    w->names = xc_calloc((size_t)m->n_tensors + 1, sizeof *w->names);
    w->name_bytes = at = xc_malloc(bytes);
    if (!w->names || !w->name_bytes) return xc_fail_nomem(err, bytes);
    for (int32_t i = 0; i < m->n_tensors; i++) {
        const int module = module_of(w, m->tensors[i]);
        const char *name = module >= 0 ? m->tensors[i]->name + strlen(w->cfg.modules[module].path) + 1 : m->tensors[i]->name;
        char numbered[1024];

        if (module < 0 && renumbered(w, numbered, sizeof numbered, name)) name = numbered;
        w->names[i] = at;
        if (prefixed && of_encoder(name)) at += snprintf(at, bytes - (size_t)(at - w->name_bytes), "%s.", family);
        const size_t left = bytes - (size_t)(at - w->name_bytes);

        if (!xc_hf_modern_name(at, left, name)) snprintf(at, left, "%s", name);
        at += strlen(at) + 1;
    }
    return XC_OK;
}

/* Copies of the tensors that are written, with the axes of the family's files; each holds references of its own. */
static enum xc_status make_views(struct writer *w, struct xc_err *err)
{
    const struct xc_arch *const arch = xc_hf_arch(xc_model_meta(w->m, "family"));

    w->view = xc_calloc((size_t)w->m->n_tensors + 1, sizeof *w->view);
    if (!w->view) return xc_fail_nomem(err, (size_t)w->m->n_tensors * sizeof *w->view);
    for (int32_t i = 0; i < w->m->n_tensors; i++) {
        if (!w->fold.tensor[i]) continue;
        w->view[i] = *w->fold.tensor[i];
        if (module_of(w, w->m->tensors[i]) < 0) w->view[i].name = w->names[i];
        xc_source_ref(w->view[i].source);
        for (int p = 0; p < XC_PART_COUNT; p++)
            if (w->view[i].part[p]) xc_buf_ref(w->view[i].part[p]);
        if (arch->to_file) XC_TRY(arch->to_file(&w->view[i], err));
    }
    return XC_OK;
}

/* ---- would it be read as the same model? ---- */
/* int8 attention is how the runtime computes, not what the model is. */
static bool same_attrs(const struct xc_node *x, const struct xc_node *y)
{
    for (const struct xc_attr_def *def = x->op->attrs; def && def->name; def++)
        if (strcmp(def->name, "quantized") && xc_attr_get(def, x->attr) != xc_attr_get(def, y->attr)) return false;
    return true;
}

static enum xc_status same_node(const struct writer *w, const struct xc_node *x, const struct xc_graph *b, const struct xc_node *y, struct xc_err *err)
{
    if (x->op != y->op || x->n_in != y->n_in || !same_attrs(x, y))
        return xc_fail(err, XC_E_UNSUPPORTED, "node '%s' is not what config.json describes: the model cannot be written in this format", x->name);
    for (int32_t k = 0; k < x->n_in; k++)
        if (x->in[k].kind == XC_REF_TENSOR && strcmp(w->view[x->in[k].id].name, b->model->tensors[y->in[k].id]->name))
            return xc_fail(err, XC_E_UNSUPPORTED, "node '%s' uses tensor '%s', config.json describes '%s'", x->name, w->view[x->in[k].id].name, b->model->tensors[y->in[k].id]->name);
    return XC_OK;
}

/* Node by node, but for those that are folded away. */
static enum xc_status same_graph(const struct writer *w, int32_t at, const struct xc_graph *b, struct xc_err *err)
{
    const struct xc_graph *const a = w->m->graphs[at];
    const bool *const skip = w->fold.skip[at];
    int32_t n = 0;

    for (int32_t i = 0; i < a->n_nodes; i++) n += !skip[i];
    if (n != b->n_nodes) return xc_fail(err, XC_E_UNSUPPORTED, "the model's graph has %d nodes, config.json describes one of %d: it cannot be written in this format", n, b->n_nodes);
    n = 0;
    for (int32_t i = 0; i < a->n_nodes; i++)
        if (!skip[i]) XC_TRY(same_node(w, &a->nodes[i], b, &b->nodes[n++], err));
    return XC_OK;
}

/* A head that finetune made is a linear on pooled states, or on BERT's pooler; the classes of transformers have a layer of their family between. Refused by what
 * it reads, since the graphs alone would only show a missing tensor. */
static enum xc_status check_head(const struct xc_model *m, struct xc_err *err)
{
    static const char *const read[XC_POOL_COUNT] = { "the mean of all tokens", "the first token directly", "the last token", "the maximum over tokens", "a mean of all tokens" };
    const struct xc_graph *const g = xc_model_find_graph(m, "encode");
    const bool bert = !strcmp(xc_model_meta(m, "family"), "bert");
    const int32_t pool = xc_graph_find_node(g, "pooling"), linear = xc_graph_find_node(g, "classifier");
    const struct xc_node *below;
    const char *what = NULL;

    if (pool < 0 || linear < 0 || strcmp(g->nodes[pool].op->name, "pool") || g->nodes[linear].in[0].kind != XC_REF_VALUE || g->values[g->nodes[linear].in[0].id].node < 0) return XC_OK;
    below = &g->nodes[g->values[g->nodes[linear].in[0].id].node];
    if (below == &g->nodes[pool]) what = read[((const struct xc_attr_pool *)below->attr)->mode];
    else if (!bert && !strcmp(below->name, "pooler.act")) what = "the first token through BERT's pooler";
    if (!what) return XC_OK;
    return xc_fail(err, XC_E_UNSUPPORTED, "the model's classifier reads %s: transformers has no such class for this family%s", what, bert ? "; 'finetune --pooling pooler' makes one that it has" : "");
}

static enum xc_status check(struct writer *w, struct xc_err *err)
{
    const struct xc_load_opts opts = { .head = xc_model_meta(w->m, "task") };
    struct xc_tensor **const kept = xc_calloc((size_t)w->m->n_tensors + 1, sizeof *kept);
    struct xc_model *back = NULL;
    struct xc_checkpoint *cp = NULL;
    int32_t at = 0, n = 0;
    enum xc_status status = kept ? XC_OK : xc_fail_nomem(err, (size_t)w->m->n_tensors * sizeof *kept);

    while (at < w->m->n_graphs && strcmp(w->m->graphs[at]->name, "encode")) at++;
    if (status == XC_OK && at == w->m->n_graphs) status = xc_fail(err, XC_E_UNSUPPORTED, "the model has no graph 'encode'");
    if (status == XC_OK) status = check_head(w->m, err);
    for (int32_t i = 0; i < w->m->n_tensors && status == XC_OK; i++)
        if (w->fold.tensor[i]) kept[n++] = &w->view[i];
    if (status == XC_OK) status = xc_checkpoint_new(&cp, err);
    if (status == XC_OK) status = xc_checkpoint_declare(cp, kept, n, err);
    w->cfg.cp = cp;
    w->cfg.json = w->config;
    if (status == XC_OK) status = xc_hf_build(&back, &w->cfg, &opts, err);
    if (status == XC_OK) status = same_graph(w, at, back->graphs[0], err);
    xc_free(kept);
    xc_model_free(&back);
    xc_checkpoint_unref(&cp);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/config.json", w->dir);
}

/* ---- files ---- */
static enum xc_status write_json(const char *dir, const char *file, const json_t *value, struct xc_err *err)
{
    char path[4096];
    char *text;
    size_t len;
    enum xc_status status;

    XC_TRY(xc_hf_path(path, sizeof path, dir, file, err));
    XC_TRY(xc_json_text(&text, &len, value, 2, err));
    status = xc_atomic_write_file(path, text, len, err);
    xc_free(text);
    return status;
}

static enum xc_status make_dir(const char *path, struct xc_err *err)
{
    struct stat st;

    if (!mkdir(path, 0777)) return XC_OK;
    if (errno == EEXIST && !stat(path, &st) && S_ISDIR(st.st_mode)) return XC_OK;
    if (errno == EEXIST || !stat(path, &st)) return xc_fail(err, XC_E_IO, "'%s' exists and is no directory", path);
    return xc_fail_errno(err, errno, "cannot create directory '%s'", path);
}

/* The tensors of one module (-1: the transformer) as dir/model.safetensors, in the order of the pool. */
static enum xc_status write_weights(const struct writer *w, const char *dir, int module, struct xc_err *err)
{
    const struct xc_model *const m = w->m;
    struct xc_tensor **const tensors = xc_calloc((size_t)m->n_tensors + 1, sizeof *tensors);
    const char **const names = xc_calloc((size_t)m->n_tensors + 1, sizeof *names);
    char path[4096];
    int32_t n = 0;
    enum xc_status status = tensors && names ? XC_OK : xc_fail_nomem(err, (size_t)m->n_tensors * sizeof *tensors);

    for (int32_t i = 0; i < m->n_tensors && status == XC_OK; i++)
        if (w->fold.tensor[i] && module_of(w, m->tensors[i]) == module) {
            tensors[n] = &w->view[i];
            names[n++] = w->names[i];
        }
    if (status == XC_OK) status = xc_hf_path(path, sizeof path, dir, "model.safetensors", err);
    if (status == XC_OK) status = xc_safetensors_write(path, tensors, names, n, w->format, err);
    xc_free(tensors);
    xc_free((void *)names);
    return status;
}

static enum xc_status write_tokenizer_config(const struct writer *w, const struct xc_tokenizer *tok, struct xc_err *err)
{
    static const struct { enum xc_token_role role; const char *key; } roles[] = {
        { XC_TOKEN_CLS, "cls_token" }, { XC_TOKEN_SEP, "sep_token" }, { XC_TOKEN_PAD, "pad_token" }, { XC_TOKEN_UNK, "unk_token" }, { XC_TOKEN_MASK, "mask_token" },
    };
    json_t *root = json_object();
    bool bad = json_object_set_new(root, "tokenizer_class", json_string("PreTrainedTokenizerFast")) != 0;
    enum xc_status status;

    if (xc_tokenizer_max_tokens(tok)) bad |= json_object_set_new(root, "model_max_length", json_integer(xc_tokenizer_max_tokens(tok))) != 0;
    for (size_t i = 0; i < XC_ARRAY_LEN(roles); i++) {
        size_t len = 0;
        const char *const s = xc_tokenizer_token(tok, xc_tokenizer_special(tok, roles[i].role), &len);

        if (s) bad |= json_object_set_new(root, roles[i].key, xc_json_new_text(s, len)) != 0;
    }
    {   /* RoBERTa's model takes no token types */
        const char *const family = xc_model_meta(w->m, "family");
        json_t *const names = json_array();

        bad |= json_array_append_new(names, json_string("input_ids")) != 0;
        if (!strcmp(family, "bert")) bad |= json_array_append_new(names, json_string("token_type_ids")) != 0;
        bad |= json_array_append_new(names, json_string("attention_mask")) != 0;
        bad |= json_object_set_new(root, "model_input_names", names) != 0;
    }
    status = bad ? xc_fail_nomem(err, 0) : write_json(w->dir, "tokenizer_config.json", root, err);
    xc_json_free(&root);
    return status;
}

static enum xc_status write_tokenizer(const struct writer *w, struct xc_err *err)
{
    struct xc_tokenizer *tok = NULL;
    char path[4096];
    char *text = NULL;
    size_t len;
    enum xc_status status;

    if (!w->m->tokenizer) return XC_OK;
    XC_TRY(xc_hf_path(path, sizeof path, w->dir, "tokenizer.json", err));
    XC_TRY(xc_tokenizer_decompile(&text, &len, w->m->tokenizer, err));
    status = xc_atomic_write_file(path, text, len, err);
    xc_free(text);
    XC_TRY(status);
    XC_TRY(xc_tokenizer_open(&tok, w->m->tokenizer, err));
    status = write_tokenizer_config(w, tok, err);
    xc_tokenizer_free(&tok);
    return status;
}

/* N_Pooling/config.json, N_Dense/config.json and its weights. Folder gets "" for a module without one. */
static enum xc_status write_module(const struct writer *w, int i, char *folder, size_t n, struct xc_err *err)
{
    const struct xc_hf_module *const module = &w->cfg.modules[i];
    const struct xc_graph *const g = xc_model_find_graph(w->m, "encode");
    const int32_t pooling = xc_graph_find_node(g, "pooling");
    char dir[4096];
    json_t *root;
    bool bad = false;
    enum xc_status status;

    folder[0] = '\0';
    if (module->kind == XC_HF_NORMALIZE) return XC_OK;
    if (module->kind == XC_HF_POOLING) snprintf(folder, n, "1_Pooling");
    else snprintf(folder, n, "%s", module->path);
    XC_TRY(xc_hf_path(dir, sizeof dir, w->dir, folder, err));
    XC_TRY(make_dir(dir, err));
    root = json_object();
    if (module->kind == XC_HF_POOLING) {
        if (pooling >= 0) bad |= json_object_set_new(root, "word_embedding_dimension", json_integer(g->values[g->nodes[pooling].out[0]].cols)) != 0;
        for (int mode = 0; mode < XC_POOL_COUNT; mode++)
            bad |= json_object_set_new(root, xc_hf_pooling_key((enum xc_pool_mode)mode), json_boolean(mode == (int)module->pooling)) != 0;
    } else {
        char bias[128];

        snprintf(bias, sizeof bias, "%s.linear.bias", module->path);
        bad |= json_object_set_new(root, "in_features", json_integer(module->in)) != 0;
        bad |= json_object_set_new(root, "out_features", json_integer(module->out)) != 0;
        bad |= json_object_set_new(root, "bias", json_boolean(xc_model_find_tensor(w->m, bias) >= 0)) != 0;
        bad |= json_object_set_new(root, "activation_function", json_string(module->activation)) != 0;
    }
    status = bad ? xc_fail_nomem(err, 0) : write_json(dir, "config.json", root, err);
    xc_json_free(&root);
    if (status == XC_OK && module->kind == XC_HF_DENSE) status = write_weights(w, dir, i, err);
    return status;
}

static bool add_list_entry(json_t *list, const char *type, const char *folder)
{
    json_t *const entry = json_object();
    const size_t idx = json_array_size(list);
    char name[32], full[128];
    bool bad = false;

    snprintf(name, sizeof name, "%zu", idx);
    snprintf(full, sizeof full, "sentence_transformers.models.%s", type);
    bad |= json_object_set_new(entry, "idx", json_integer((json_int_t)idx)) != 0;
    bad |= json_object_set_new(entry, "name", json_string(name)) != 0;
    bad |= json_object_set_new(entry, "path", json_string(folder)) != 0;
    bad |= json_object_set_new(entry, "type", json_string(full)) != 0;
    bad |= json_array_append_new(list, entry) != 0;
    return bad;
}

static enum xc_status write_modules(const struct writer *w, struct xc_err *err)
{
    static const char *const kinds[] = { "Pooling", "Dense", "Normalize" };
    const char *const limit = xc_model_meta(w->m, "max_tokens");
    json_t *list = json_array(), *root = NULL;
    char folder[80];
    int64_t max_tokens = 0;
    bool bad = add_list_entry(list, "Transformer", "");
    enum xc_status status = XC_OK;

    for (int i = 0; i < w->cfg.n_modules && status == XC_OK; i++) {
        status = write_module(w, i, folder, sizeof folder, err);
        if (!folder[0]) snprintf(folder, sizeof folder, "%d_%s", i + 1, kinds[w->cfg.modules[i].kind]);
        bad |= add_list_entry(list, kinds[w->cfg.modules[i].kind], folder);
    }
    for (const char *s = limit ? limit : ""; *s >= '0' && *s <= '9' && max_tokens < 1 << 24; s++) max_tokens = max_tokens * 10 + (*s - '0');
    root = json_object();
    if (max_tokens) bad |= json_object_set_new(root, "max_seq_length", json_integer(max_tokens)) != 0;
    bad |= json_object_set_new(root, "do_lower_case", json_false()) != 0;
    if (status == XC_OK && bad) status = xc_fail_nomem(err, 0);
    if (status == XC_OK) status = write_json(w->dir, "sentence_bert_config.json", root, err);
    if (status == XC_OK) status = write_json(w->dir, "modules.json", list, err);
    xc_json_free(&list);
    xc_json_free(&root);
    return status;
}

static enum xc_status write_all(struct writer *w, struct xc_err *err)
{
    const char *const modules = xc_model_meta(w->m, "modules"), *const task = xc_model_meta(w->m, "task");
    const bool sentence = modules && task && !strcmp(task, "embed");

    w->cfg.modules[0] = (struct xc_hf_module){ .kind = XC_HF_POOLING, .pooling = XC_POOL_MEAN };
    w->cfg.n_modules = 1;
    XC_TRY(xc_hf_make_config(&w->config, w->m, w->format, err));
    XC_TRY(xc_hf_layers(&w->layers, &w->n_layers, xc_model_find_graph(w->m, "encode"), err));
    if (sentence) XC_TRY(xc_hf_modules_parse(&w->cfg, modules, &w->modules, err));
    XC_TRY(make_names(w, err));
    XC_TRY(make_views(w, err));
    XC_TRY(check(w, err));
    XC_TRY(make_dir(w->dir, err));
    /* these would change what the directory means */
    if (!sentence && xc_hf_exists(w->dir, "modules.json")) return xc_fail(err, XC_E_ARG, "'%s' holds a modules.json of another model: choose an empty directory", w->dir);
    XC_TRY(write_weights(w, w->dir, -1, err));
    XC_TRY(write_tokenizer(w, err));
    if (sentence) XC_TRY(write_modules(w, err));
    return write_json(w->dir, "config.json", w->config, err);
}

enum xc_status xc_hf_write(const struct xc_model *m, const char *dir, int format, struct xc_err *err)
{
    struct writer w = { .m = m, .dir = dir, .format = format };
    enum xc_status status;

    if (format != XC_FMT_F32 && format != XC_FMT_F16 && format != XC_FMT_BF16) return xc_fail(err, XC_E_ARG, "a checkpoint is written as f32, f16 or bf16");
    status = xc_fold_make(&w.fold, m, err);
    if (status == XC_OK) status = write_all(&w, err);
    for (int32_t i = 0; w.view && i < m->n_tensors; i++) xc_tensor_clear(&w.view[i]);
    xc_free(w.view);
    xc_fold_release(&w.fold);
    xc_json_free(&w.config);
    xc_json_free(&w.modules);
    xc_free((void *)w.names);
    xc_free(w.name_bytes);
    xc_free(w.layers);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", dir);
}
