/* hf: see hf.h. */
#include "formats/hf.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/tokenizer.h"

#define ARCH(name) extern const struct xc_arch xc_arch_##name;
#include "formats/arch/archs.def"
#undef ARCH

static const struct xc_arch *const archs[] = {
#define ARCH(name) &xc_arch_##name,
#include "formats/arch/archs.def"
#undef ARCH
};

/* ---- helpers for arch loaders ---- */
/* Checkpoints before 2019 call a layer norm's gain and bias gamma and beta. */
static bool old_name(char *out, size_t n, const char *name)
{
    const char *dot = strrchr(name, '.');

    if (!dot || !strstr(name, "LayerNorm")) return false;
    snprintf(out, n, "%.*s.%s", (int)(dot - name), name, !strcmp(dot, ".weight") ? "gamma" : "beta");
    return true;
}

static const struct xc_st_tensor *find(const struct xc_hf_config *cfg, const char *prefix, const char *name)
{
    char full[512], old[512];
    const char *const prefixes[2] = { prefix, "" };
    const struct xc_st_tensor *t;

    for (int i = 0; i < 2; i++) {
        snprintf(full, sizeof full, "%s%s", prefixes[i], name);
        if ((t = xc_checkpoint_find(cfg->cp, full)) != NULL) return t;
        if (old_name(old, sizeof old, full) && (t = xc_checkpoint_find(cfg->cp, old)) != NULL) return t;
    }
    return NULL;
}

bool xc_hf_has(const struct xc_hf_config *cfg, const char *prefix, const char *name) { return find(cfg, prefix, name) != NULL; }

enum xc_status xc_hf_tensor(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const char *prefix, const char *name, int32_t rank, int64_t *dim,
                            struct xc_err *err)
{
    const struct xc_st_tensor *t = find(cfg, prefix, name);

    *id = -1;
    if (!t) return xc_fail(err, XC_E_NOT_FOUND, "the checkpoint has no tensor '%s%s'", prefix, name);
    if (t->rank != rank) return xc_fail(err, XC_E_SHAPE, "tensor '%s' has %d axes, must have %d", t->name, t->rank, rank);
    for (int32_t i = 0; i < rank; i++) {
        if (dim[i] == 0) dim[i] = t->dim[i];
        if (dim[i] != t->dim[i])
            return xc_fail(err, XC_E_SHAPE, "tensor '%s': axis %d has %lld elements, config.json says %lld", t->name, i, (long long)t->dim[i], (long long)dim[i]);
    }
    *id = xc_model_find_tensor(m, t->name);
    if (*id >= 0) return XC_OK; /* tied */
    XC_TRY(xc_model_add_tensor(m, id, t->name, rank, dim, err));
    return xc_checkpoint_bind(cfg->cp, m->tensors[*id], t, err);
}

enum xc_status xc_hf_linear(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, int64_t n_out, struct xc_err *err)
{
    char weight[256], bias[256];
    int64_t dim[2] = { n_out, g->values[x].cols };
    struct xc_ref in[3] = { xc_val(x) };
    int32_t w, b = -1;

    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    XC_TRY(xc_hf_tensor(g->model, cfg, &w, prefix, weight, 2, dim, err));
    in[1] = xc_ten(w);
    if (xc_hf_has(cfg, prefix, bias)) {
        XC_TRY(xc_hf_tensor(g->model, cfg, &b, prefix, bias, 1, dim, err));
        in[2] = xc_ten(b);
    }
    return xc_graph_add_node(g, out, "linear", name, in, b >= 0 ? 3 : 2, NULL, err);
}

enum xc_status xc_hf_layer_norm(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, float eps, struct xc_err *err)
{
    const struct xc_attr_norm attr = { .eps = eps };
    char weight[256], bias[256];
    int64_t dim = g->values[x].cols;
    int32_t w, b;

    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    XC_TRY(xc_hf_tensor(g->model, cfg, &w, prefix, weight, 1, &dim, err));
    XC_TRY(xc_hf_tensor(g->model, cfg, &b, prefix, bias, 1, &dim, err));
    const struct xc_ref in[] = { xc_val(x), xc_ten(w), xc_ten(b) };

    return xc_graph_add_node(g, out, "layer_norm", name, in, 3, &attr, err);
}

enum xc_status xc_hf_unary(struct xc_graph *g, int32_t *out, const char *name, int32_t x, enum xc_act fn, struct xc_err *err)
{
    const struct xc_attr_unary attr = { .fn = (int32_t)fn };
    const struct xc_ref in[] = { xc_val(x) };

    return xc_graph_add_node(g, out, "unary", name, in, 1, &attr, err);
}

enum xc_status xc_hf_act(enum xc_act *out, const char *name, struct xc_err *err)
{
    static const struct { const char *name; enum xc_act act; } acts[] = {
        { "gelu", XC_ACT_GELU }, { "gelu_new", XC_ACT_GELU_TANH }, { "gelu_pytorch_tanh", XC_ACT_GELU_TANH }, { "relu", XC_ACT_RELU },
        { "silu", XC_ACT_SILU }, { "swish", XC_ACT_SILU }, { "tanh", XC_ACT_TANH }, { "sigmoid", XC_ACT_SIGMOID }, { "linear", XC_ACT_NONE },
    };

    for (size_t i = 0; i < XC_ARRAY_LEN(acts); i++)
        if (!strcmp(acts[i].name, name)) {
            *out = acts[i].act;
            return XC_OK;
        }
    return xc_fail(err, XC_E_UNSUPPORTED, "activation function '%s' is not known", name);
}

int64_t xc_hf_n_labels(const struct xc_hf_config *cfg)
{
    const json_t *labels = json_object_get(cfg->json, "id2label");

    if (json_is_object(labels)) return (int64_t)json_object_size(labels);
    return json_integer_value(json_object_get(cfg->json, "num_labels")) > 0 ? json_integer_value(json_object_get(cfg->json, "num_labels")) : 2;
}

/* ---- what the directory says ---- */
static bool path_of(char *out, size_t n, const char *dir, const char *file) { return (size_t)snprintf(out, n, "%s/%s", dir, file) < n; }

static bool exists(const char *dir, const char *file)
{
    char path[4096];
    struct stat st;

    return path_of(path, sizeof path, dir, file) && !stat(path, &st) && S_ISREG(st.st_mode);
}

static enum xc_status load_json(json_t **out, const char *dir, const char *file, struct xc_err *err)
{
    char path[4096];

    *out = NULL;
    if (!path_of(path, sizeof path, dir, file)) return xc_fail(err, XC_E_ARG, "the path is too long");
    return xc_json_load(out, path, NULL, err);
}

/* The task, from the class name in config.json; `wanted` overrides it. */
static enum xc_status choose_head(const char **head, const json_t *config, const char *wanted, bool sentence, struct xc_err *err)
{
    static const struct { const char *suffix, *head; } classes[] = {
        { "ForSequenceClassification", "classify" }, { "ForTokenClassification", "tag" }, { "ForMaskedLM", "mlm" }, { "Model", "embed" },
    };
    static const char *const heads[] = { "embed", "classify", "regress", "tag", "mlm", "encode" };
    const json_t *list = json_object_get(config, "architectures");
    const char *cls = json_string_value(json_array_get(list, 0)), *problem = json_string_value(json_object_get(config, "problem_type"));

    *head = NULL;
    for (size_t i = 0; wanted && i < XC_ARRAY_LEN(heads); i++)
        if (!strcmp(heads[i], wanted)) *head = heads[i];
    if (wanted) return *head ? XC_OK : xc_fail(err, XC_E_ARG, "head '%s' is none of embed, classify, regress, tag, mlm, encode", wanted);
    if (sentence || !cls) {
        *head = "embed";
        return XC_OK;
    }
    for (size_t i = 0; i < XC_ARRAY_LEN(classes) && !*head; i++) {
        const size_t n = strlen(cls), k = strlen(classes[i].suffix);

        if (n >= k && !strcmp(cls + n - k, classes[i].suffix)) *head = classes[i].head;
    }
    if (!*head) return xc_fail(err, XC_E_UNSUPPORTED, "architecture '%s' has a head that is not known; choose one (embed, encode)", cls);
    if (!strcmp(*head, "classify")) {
        const struct xc_hf_config cfg = { .json = config };

        if (problem ? !strcmp(problem, "regression") : xc_hf_n_labels(&cfg) == 1) *head = "regress";
    }
    return XC_OK;
}

static enum xc_status read_pooling(struct xc_hf_config *cfg, const char *folder, struct xc_err *err)
{
    static const struct { const char *key; enum xc_pool_mode mode; } modes[] = {
        { "pooling_mode_cls_token", XC_POOL_FIRST }, { "pooling_mode_mean_tokens", XC_POOL_MEAN }, { "pooling_mode_max_tokens", XC_POOL_MAX },
        { "pooling_mode_mean_sqrt_len_tokens", XC_POOL_MEAN_SQRT }, { "pooling_mode_lasttoken", XC_POOL_LAST },
    };
    char file[512];
    json_t *root = NULL;
    int chosen = 0;
    enum xc_status status = XC_OK;

    snprintf(file, sizeof file, "%s/config.json", folder);
    XC_TRY(load_json(&root, cfg->dir, file, err));
    for (size_t i = 0; i < XC_ARRAY_LEN(modes) && status == XC_OK; i++) {
        bool on = false;

        status = xc_json_bool_or(&on, root, modes[i].key, false, err);
        if (on) cfg->pooling = modes[i].mode;
        chosen += on;
    }
    if (status == XC_OK && chosen != 1) status = xc_fail(err, XC_E_UNSUPPORTED, "%d pooling modes are on; exactly one is supported", chosen);
    xc_json_free(&root);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/%s", cfg->dir, file);
}

/* modules.json lists what follows the transformer: pooling, normalising. */
static enum xc_status read_modules(struct xc_hf_config *cfg, bool *sentence, struct xc_err *err)
{
    json_t *root = NULL, *entry;
    size_t i;
    enum xc_status status = XC_OK;

    cfg->pooling = XC_POOL_MEAN;
    *sentence = false;
    if (!exists(cfg->dir, "modules.json")) {
        if (!exists(cfg->dir, "1_Pooling/config.json")) return XC_OK;
        *sentence = true;
        return read_pooling(cfg, "1_Pooling", err);
    }
    XC_TRY(load_json(&root, cfg->dir, "modules.json", err));
    *sentence = true;
    json_array_foreach(root, i, entry) {
        const char *type = json_string_value(json_object_get(entry, "type")), *path = json_string_value(json_object_get(entry, "path"));
        const char *last = type ? strrchr(type, '.') : NULL;

        last = last ? last + 1 : type;
        if (!last || !path) status = xc_fail(err, XC_E_FORMAT, "module %zu has no type or no path", i);
        else if (!strcmp(last, "Transformer")) continue;
        else if (!strcmp(last, "Normalize")) cfg->normalize = true;
        else if (strcmp(last, "Pooling")) status = xc_fail(err, XC_E_UNSUPPORTED, "sentence-transformers module '%s' is not supported", last);
        else if (strstr(path, "..") || path[0] == '/') status = xc_fail(err, XC_E_FORMAT, "path '%s' leaves the directory", path);
        else status = read_pooling(cfg, path, err);
        if (status != XC_OK) break;
    }
    xc_json_free(&root);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/modules.json", cfg->dir);
}

static enum xc_status add_labels(struct xc_model *m, const json_t *config, struct xc_err *err)
{
    const json_t *labels = json_object_get(config, "id2label");
    char key[32];

    for (size_t i = 0; i < json_object_size(labels); i++) {
        snprintf(key, sizeof key, "%zu", i);
        const char *label = json_string_value(json_object_get(labels, key));

        if (!label) return xc_fail(err, XC_E_FORMAT, "'id2label' has no string for label %zu", i);
        XC_TRY(xc_model_add_label(m, label, err));
    }
    if (!json_is_object(labels))
        for (int i = 0; i < 2; i++) {
            snprintf(key, sizeof key, "LABEL_%d", i);
            XC_TRY(xc_model_add_label(m, key, err));
        }
    return XC_OK;
}

static enum xc_status set_int(struct xc_model *m, const char *key, int64_t value, struct xc_err *err)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", (long long)value);
    return xc_model_set_meta(m, key, text, err);
}

static enum xc_status text_limit(const struct xc_hf_config *cfg, const struct xc_load_opts *opts, int64_t *limit, struct xc_err *err)
{
    json_t *root = NULL;
    enum xc_status status;

    *limit = opts->max_tokens;
    if (*limit || !exists(cfg->dir, "sentence_bert_config.json")) return XC_OK;
    XC_TRY(load_json(&root, cfg->dir, "sentence_bert_config.json", err));
    status = xc_json_int_or(limit, root, "max_seq_length", 1, 1 << 24, 0, err);
    xc_json_free(&root);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/sentence_bert_config.json", cfg->dir);
}

static enum xc_status add_facts(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, const char *type, struct xc_err *err)
{
    static const char *const pooling[XC_POOL_COUNT] = { "mean", "first", "last", "max", "mean_sqrt" };
    const char *cls = json_string_value(json_array_get(json_object_get(cfg->json, "architectures"), 0));
    char *text = NULL;
    size_t len;
    int64_t limit = 0;
    enum xc_status status;

    XC_TRY(xc_model_set_meta(m, "family", type, err));
    XC_TRY(xc_model_set_meta(m, "task", cfg->head, err));
    if (cls) XC_TRY(xc_model_set_meta(m, "architecture", cls, err));
    if (!strcmp(cfg->head, "embed")) {
        XC_TRY(xc_model_set_meta(m, "pooling", pooling[cfg->pooling], err));
        XC_TRY(xc_model_set_meta(m, "normalize", cfg->normalize ? "true" : "false", err));
    }
    if (!strcmp(cfg->head, "classify") || !strcmp(cfg->head, "tag")) XC_TRY(add_labels(m, cfg->json, err));
    XC_TRY(text_limit(cfg, opts, &limit, err));
    if (limit) XC_TRY(set_int(m, "max_tokens", limit, err));
    XC_TRY(xc_json_text(&text, &len, cfg->json, 0, err));
    status = xc_model_set_meta(m, "source_config", text, err);
    xc_free(text);
    return status;
}

static enum xc_status add_tokenizer(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_tokenizer_compile_opts t = { 0 };
    int64_t limit = 0;

    if (!exists(cfg->dir, "tokenizer.json") && !exists(cfg->dir, "vocab.txt") && !exists(cfg->dir, "vocab.json")) return XC_OK;
    XC_TRY(text_limit(cfg, opts, &limit, err));
    t.max_tokens = (int32_t)limit;
    return xc_tokenizer_compile(&m->tokenizer, cfg->dir, &t, err);
}

static enum xc_status build(struct xc_model *m, struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    const char *type;
    const struct xc_arch *arch = NULL;
    bool sentence = false;
    enum xc_status status;

    status = xc_json_str(&type, cfg->json, "model_type", err);
    for (size_t i = 0; i < XC_ARRAY_LEN(archs) && status == XC_OK; i++)
        if (!strcmp(archs[i]->model_type, type)) arch = archs[i];
    if (status == XC_OK && !arch) status = xc_fail(err, XC_E_UNSUPPORTED, "model_type '%s' is not supported; bert, distilbert and roberta are", type);
    if (status == XC_OK) status = read_modules(cfg, &sentence, err);
    if (status == XC_OK) status = choose_head(&cfg->head, cfg->json, opts->head, sentence, err);
    if (status == XC_OK) status = xc_checkpoint_open(&cfg->cp, cfg->dir, err);
    if (status == XC_OK) status = arch->build(m, cfg, opts, err);
    if (status == XC_OK) status = add_facts(m, cfg, opts, type, err);
    if (status == XC_OK) status = add_tokenizer(m, cfg, opts, err);
    for (int32_t i = 0; i < m->n_tensors && status == XC_OK && opts->load_tensors; i++) status = xc_tensor_load(m->tensors[i], err);
    if (status == XC_OK) status = xc_model_verify(m, err);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/config.json", cfg->dir);
}

static int probe(const char *path) { return exists(path, "config.json"); }

static enum xc_status load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_hf_config cfg = { .dir = path };
    json_t *root = NULL;
    enum xc_status status;

    XC_TRY(load_json(&root, path, "config.json", err));
    cfg.json = root;
    status = xc_model_new(out, err);
    if (status == XC_OK) status = build(*out, &cfg, opts, err);
    xc_checkpoint_unref(&cfg.cp);
    xc_json_free(&root);
    if (status != XC_OK) xc_model_free(out);
    return status;
}

const struct xc_format_reader xc_format_hf = { .name = "hf", .probe = probe, .load = load };
