/* hf_modules: modules.json, N_Pooling/config.json, N_Dense/config.json, sentence_bert_config.json and config_sentence_transformers.json.
 *
 * Supported: Transformer, then Pooling, then any of Dense, Normalize and Dropout (which does nothing here), in any order. Refused by name: every other
 * module, several pooling modes at once, weighted pooling, prompts that are added to every text, lower-casing outside of the tokenizer. */
#include "formats/hf_modules.h"

#include <stdio.h>
#include <string.h>

static const struct { const char *key, *name; enum xc_pool_mode mode; } poolings[] = {
    { "pooling_mode_mean_tokens", "mean", XC_POOL_MEAN },
    { "pooling_mode_cls_token", "cls", XC_POOL_FIRST },
    { "pooling_mode_max_tokens", "max", XC_POOL_MAX },
    { "pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens", XC_POOL_MEAN_SQRT },
    { "pooling_mode_lasttoken", "lasttoken", XC_POOL_LAST },
};

const char *xc_hf_pooling_key(enum xc_pool_mode mode)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(poolings); i++)
        if (poolings[i].mode == mode) return poolings[i].key;
    return NULL;
}

/* One path component; a module's folder lies directly in the model's. */
static bool safe_folder(const char *path)
{
    return path[0] && !strchr(path, '/') && !strchr(path, '\\') && strcmp(path, ".") && strcmp(path, "..") && strlen(path) < sizeof ((struct xc_hf_module *)0)->path;
}

static enum xc_status parse_pooling(struct xc_hf_module *module, const json_t *root, struct xc_err *err)
{
    const json_t *const mode = json_object_get(root, "pooling_mode");
    const char *key;
    json_t *value;
    int chosen = 0;

    if (!json_is_object(root)) return xc_fail(err, XC_E_FORMAT, "a JSON object is expected");
    for (size_t i = 0; i < XC_ARRAY_LEN(poolings); i++) {
        bool on = false;

        if (json_is_string(mode)) on = !strcmp(json_string_value(mode), poolings[i].name);
        else XC_TRY(xc_json_bool_or(&on, root, poolings[i].key, false, err));
        if (on) module->pooling = poolings[i].mode;
        chosen += on;
    }
    json_object_foreach((json_t *)(uintptr_t)root, key, value) /* a mode that we do not know */
        if (!strncmp(key, "pooling_mode_", 13) && json_is_true(value)) {
            bool known = false;

            for (size_t i = 0; i < XC_ARRAY_LEN(poolings); i++) known |= !strcmp(poolings[i].key, key);
            if (!known) return xc_fail(err, XC_E_UNSUPPORTED, "'%s' is not supported", key);
        }
    if (json_is_string(mode) && !chosen) return xc_fail(err, XC_E_UNSUPPORTED, "pooling_mode '%s' is not supported", json_string_value(mode));
    if (chosen != 1) return xc_fail(err, XC_E_UNSUPPORTED, "%d pooling modes are on; exactly one is supported", chosen);
    return XC_OK;
}

static enum xc_status parse_dense(struct xc_hf_module *module, const json_t *root, struct xc_err *err)
{
    enum xc_act act;

    XC_TRY(xc_json_int(&module->in, root, "in_features", 1, 1 << 20, err));
    XC_TRY(xc_json_int(&module->out, root, "out_features", 1, 1 << 20, err));
    XC_TRY(xc_json_str_or(&module->activation, root, "activation_function", "torch.nn.modules.activation.Tanh", err));
    return xc_hf_dense_act(&act, module->activation, err);
}

static enum xc_status add_module(struct xc_hf_config *cfg, struct xc_hf_module **module, enum xc_hf_module_kind kind, struct xc_err *err)
{
    *module = NULL;
    if (cfg->n_modules == XC_HF_MAX_MODULES) return xc_fail(err, XC_E_LIMIT, "more than %d modules", XC_HF_MAX_MODULES);
    if ((kind == XC_HF_POOLING) != (cfg->n_modules == 0)) return xc_fail(err, XC_E_UNSUPPORTED, "exactly one Pooling module is supported, right behind the Transformer");
    *module = &cfg->modules[cfg->n_modules++];
    **module = (struct xc_hf_module){ .kind = kind };
    return XC_OK;
}

static enum xc_status read_folder(struct xc_hf_config *cfg, struct xc_hf_module_files *files, enum xc_hf_module_kind kind, const char *path, struct xc_err *err)
{
    struct xc_hf_module *module;
    char file[128];
    enum xc_status status;

    if (!safe_folder(path)) return xc_fail(err, XC_E_FORMAT, "module path '%s' is no plain folder name: it would leave the directory", path);
    XC_TRY(add_module(cfg, &module, kind, err));
    snprintf(module->path, sizeof module->path, "%s", path);
    snprintf(file, sizeof file, "%s/config.json", path);
    XC_TRY(xc_hf_load_json(&files->doc[files->n], cfg->root, file, err));
    status = kind == XC_HF_POOLING ? parse_pooling(module, files->doc[files->n], err) : parse_dense(module, files->doc[files->n], err);
    files->n++;
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/%s", cfg->root, file);
}

static enum xc_status read_transformer(struct xc_hf_config *cfg, struct xc_hf_module_files *files, const char *path, struct xc_err *err)
{
    if (!path[0]) return XC_OK;
    if (!safe_folder(path)) return xc_fail(err, XC_E_FORMAT, "module path '%s' is no plain folder name: it would leave the directory", path);
    XC_TRY(xc_hf_path(files->dir, sizeof files->dir, cfg->root, path, err));
    if (xc_hf_exists(files->dir, "config.json")) cfg->dir = files->dir;
    return XC_OK;
}

static enum xc_status read_list(struct xc_hf_config *cfg, struct xc_hf_module_files *files, const json_t *list, struct xc_err *err)
{
    struct xc_hf_module *module;

    if (!json_is_array(list) || !json_array_size(list)) return xc_fail(err, XC_E_FORMAT, "a list of modules is expected");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *const entry = json_array_get(list, i);
        const char *type, *path, *last;

        XC_TRY(xc_json_str(&type, entry, "type", err));
        XC_TRY(xc_json_str(&path, entry, "path", err));
        last = strrchr(type, '.') ? strrchr(type, '.') + 1 : type;
        if ((i == 0) != !strcmp(last, "Transformer")) return xc_fail(err, XC_E_UNSUPPORTED, "module %zu is '%s': the first must be a Transformer, and no other", i, last);
        if (i == 0) XC_TRY(read_transformer(cfg, files, path, err));
        else if (!strcmp(last, "Pooling")) XC_TRY(read_folder(cfg, files, XC_HF_POOLING, path, err));
        else if (!strcmp(last, "Dense")) XC_TRY(read_folder(cfg, files, XC_HF_DENSE, path, err));
        else if (!strcmp(last, "Normalize")) XC_TRY(add_module(cfg, &module, XC_HF_NORMALIZE, err));
        else if (strcmp(last, "Dropout")) return xc_fail(err, XC_E_UNSUPPORTED, "sentence-transformers module '%s' is not supported", type);
    }
    return cfg->n_modules ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "there is no Pooling module");
}

/* Texts are changed before the tokenizer sees them: not supported, and not silent. */
static enum xc_status check_texts(const struct xc_hf_config *cfg, struct xc_err *err)
{
    json_t *root = NULL;
    const char *prompt = NULL;
    bool lower = false;
    enum xc_status status = XC_OK;

    if (xc_hf_exists(cfg->root, "config_sentence_transformers.json")) {
        XC_TRY(xc_hf_load_json(&root, cfg->root, "config_sentence_transformers.json", err));
        status = xc_json_str_or(&prompt, root, "default_prompt_name", NULL, err);
        if (prompt) status = xc_fail(err, XC_E_UNSUPPORTED, "'default_prompt_name' is '%s': prompts are not added to texts; set it to null and add the prompt yourself", prompt);
        xc_json_free(&root);
        if (status != XC_OK) return xc_fail_at(err, status, "%s/config_sentence_transformers.json", cfg->root);
    }
    if (!xc_hf_exists(cfg->dir, "sentence_bert_config.json")) return XC_OK;
    XC_TRY(xc_hf_load_json(&root, cfg->dir, "sentence_bert_config.json", err));
    status = xc_json_bool_or(&lower, root, "do_lower_case", false, err);
    xc_json_free(&root);
    if (status == XC_OK && lower && xc_hf_exists(cfg->dir, "tokenizer_config.json")) {
        bool same = false;

        XC_TRY(xc_hf_load_json(&root, cfg->dir, "tokenizer_config.json", err));
        status = xc_json_bool_or(&same, root, "do_lower_case", false, err);
        xc_json_free(&root);
        if (same) lower = false; /* the tokenizer does it */
    }
    if (status == XC_OK && lower) status = xc_fail(err, XC_E_UNSUPPORTED, "'do_lower_case' is true, but the tokenizer does not lower-case");
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/sentence_bert_config.json", cfg->dir);
}

enum xc_status xc_hf_read_modules(struct xc_hf_config *cfg, struct xc_hf_module_files *files, struct xc_err *err)
{
    json_t *list = NULL;
    enum xc_status status;

    cfg->sentence = true;
    if (xc_hf_exists(cfg->root, "modules.json")) {
        XC_TRY(xc_hf_load_json(&list, cfg->root, "modules.json", err));
        status = read_list(cfg, files, list, err);
        xc_json_free(&list);
        if (status != XC_OK) return xc_fail_at(err, status, "%s/modules.json", cfg->root);
        return check_texts(cfg, err);
    }
    if (xc_hf_exists(cfg->root, "1_Pooling/config.json")) return read_folder(cfg, files, XC_HF_POOLING, "1_Pooling", err);
    cfg->sentence = false;
    cfg->n_modules = 1;
    cfg->modules[0] = (struct xc_hf_module){ .kind = XC_HF_POOLING, .pooling = XC_POOL_MEAN };
    return XC_OK;
}

void xc_hf_release_modules(struct xc_hf_module_files *files)
{
    for (int i = 0; i < files->n; i++) xc_json_free(&files->doc[i]);
    files->n = 0;
}

/* ---- as a text in meta ---- */
enum xc_status xc_hf_modules_text(char **text, const struct xc_hf_config *cfg, struct xc_err *err)
{
    static const char *const kinds[] = { "Pooling", "Dense", "Normalize" };
    json_t *list = json_array();
    bool bad = false;
    size_t len;
    enum xc_status status;

    *text = NULL;
    for (int i = 0; i < cfg->n_modules; i++) {
        const struct xc_hf_module *const module = &cfg->modules[i];
        json_t *const entry = json_object();

        bad |= json_object_set_new(entry, "type", json_string(kinds[module->kind])) != 0;
        if (module->kind == XC_HF_POOLING) bad |= json_object_set_new(entry, xc_hf_pooling_key(module->pooling), json_true()) != 0;
        if (module->kind == XC_HF_DENSE) {
            bad |= json_object_set_new(entry, "path", json_string(module->path)) != 0;
            bad |= json_object_set_new(entry, "in_features", json_integer(module->in)) != 0;
            bad |= json_object_set_new(entry, "out_features", json_integer(module->out)) != 0;
            bad |= json_object_set_new(entry, "activation_function", json_string(module->activation)) != 0;
        }
        bad |= json_array_append_new(list, entry) != 0;
    }
    status = bad ? xc_fail_nomem(err, 0) : xc_json_text(text, &len, list, 0, err);
    xc_json_free(&list);
    for (; status == XC_OK && len && (*text)[len - 1] == '\n'; len--) (*text)[len - 1] = '\0';
    return status;
}

static enum xc_status parse_entry(struct xc_hf_config *cfg, const json_t *entry, struct xc_err *err)
{
    struct xc_hf_module *module;
    const char *type, *path;

    XC_TRY(xc_json_str(&type, entry, "type", err));
    if (!strcmp(type, "Normalize")) return add_module(cfg, &module, XC_HF_NORMALIZE, err);
    if (!strcmp(type, "Pooling")) {
        XC_TRY(add_module(cfg, &module, XC_HF_POOLING, err));
        return parse_pooling(module, entry, err);
    }
    if (strcmp(type, "Dense")) return xc_fail(err, XC_E_FORMAT, "unknown module '%s'", type);
    XC_TRY(xc_json_str(&path, entry, "path", err));
    if (!safe_folder(path)) return xc_fail(err, XC_E_FORMAT, "module path '%s' is no plain folder name", path);
    XC_TRY(add_module(cfg, &module, XC_HF_DENSE, err));
    snprintf(module->path, sizeof module->path, "%s", path);
    return parse_dense(module, entry, err);
}

enum xc_status xc_hf_modules_parse(struct xc_hf_config *cfg, const char *text, json_t **keep, struct xc_err *err)
{
    cfg->n_modules = 0;
    cfg->sentence = true;
    XC_TRY(xc_json_parse(keep, text, strlen(text), "meta 'modules'", NULL, err));
    for (size_t i = 0; i < json_array_size(*keep); i++) XC_TRY(parse_entry(cfg, json_array_get(*keep, i), err));
    return cfg->n_modules ? XC_OK : xc_fail(err, XC_E_FORMAT, "meta 'modules' names no Pooling module");
}
