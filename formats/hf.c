/* hf: reads a Hugging Face directory. See hf.h.
 *
 * config.json, model.safetensors or its shards, tokenizer files; and sentence-transformers' modules.json, sentence_bert_config.json and
 * the folders that it names. Not read: pytorch_model.bin and other pickles (they are programs), adapters, remote code. */
#include "formats/hf.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/hf_modules.h"
#include "formats/tokenizer.h"

#define ARCH(name) extern const struct xc_arch xc_arch_##name;
#include "formats/arch/archs.def"
#undef ARCH

const struct xc_arch *const xc_hf_archs[] = {
#define ARCH(name) &xc_arch_##name,
#include "formats/arch/archs.def"
#undef ARCH
};
const int xc_hf_n_archs = (int)XC_ARRAY_LEN(xc_hf_archs);

const struct xc_arch *xc_hf_arch(const char *model_type)
{
    for (int i = 0; i < xc_hf_n_archs; i++)
        if (!strcmp(xc_hf_archs[i]->model_type, model_type)) return xc_hf_archs[i];
    return NULL;
}

static enum xc_status find_arch(const struct xc_arch **arch, const char **type, const json_t *config, struct xc_err *err)
{
    char known[256] = "";

    XC_TRY(xc_json_str(type, config, "model_type", err));
    *arch = xc_hf_arch(*type);
    if (*arch) return XC_OK;
    for (int i = 0; i < xc_hf_n_archs; i++) {
        const size_t n = strlen(known);

        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", xc_hf_archs[i]->model_type);
    }
    return xc_fail(err, XC_E_UNSUPPORTED, "model_type '%s' is not supported; these are: %s", *type, known);
}

/* ---- the head ---- */
/* The task, from the class name in config.json; `wanted` overrides it. */
static enum xc_status choose_head(const char **head, const struct xc_hf_config *cfg, const struct xc_arch *arch, const char *wanted, struct xc_err *err)
{
    static const struct { const char *suffix, *head; } classes[] = {
        { "ForSequenceClassification", "classify" }, { "ForTokenClassification", "tag" }, { "ForQuestionAnswering", "answer" }, { "ForMultipleChoice", "choice" },
        { "ForMaskedLM", "mlm" }, { "ForPreTraining", "mlm" }, { "ModelWithLMHead", "lm" }, { "LM", "mlm" }, { "Model", "embed" },
    };
    static const char *const heads[] = { "embed", "classify", "regress", "tag", "answer", "choice", "mlm", "lm", "encode" };
    const json_t *const list = json_object_get(cfg->json, "architectures");
    const char *const cls = json_string_value(json_array_get(list, 0)), *problem;
    char name[128];

    *head = NULL;
    for (size_t i = 0; wanted && i < XC_ARRAY_LEN(heads); i++)
        if (!strcmp(heads[i], wanted)) *head = heads[i];
    if (wanted) return *head ? XC_OK : xc_fail(err, XC_E_ARG, "head '%s' is none of embed, classify, regress, tag, answer, choice, mlm, lm, encode", wanted);
    if (cfg->sentence || !cls) {
        *head = "embed";
        return XC_OK;
    }
    for (size_t i = 0; i < XC_ARRAY_LEN(classes) && !*head; i++) {
        snprintf(name, sizeof name, "%s%s", arch->class_name, classes[i].suffix);
        if (!strcmp(cls, name)) *head = classes[i].head;
    }
    if (!*head) return xc_fail(err, XC_E_UNSUPPORTED, "the head of '%s' is not supported; its encoder alone can be loaded by choosing the head embed or encode", cls);
    if (!strcmp(cls + strlen(arch->class_name), "LM") && json_is_true(json_object_get(cfg->json, "causal"))) *head = "lm"; /* reformer-pytorch has one class for both */
    if (strcmp(*head, "classify")) return XC_OK;
    XC_TRY(xc_json_str_or(&problem, cfg->json, "problem_type", NULL, err));
    if (problem ? !strcmp(problem, "regression") : xc_hf_n_labels(cfg) == 1) *head = "regress";
    return XC_OK;
}

/* ---- facts ---- */
static enum xc_status set_int(struct xc_model *m, const char *key, int64_t value, struct xc_err *err)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", (long long)value);
    return xc_model_set_meta(m, key, text, err);
}

static enum xc_status add_labels(struct xc_model *m, const struct xc_hf_config *cfg, struct xc_err *err)
{
    const json_t *const labels = json_object_get(cfg->json, "id2label");
    const int64_t n = xc_hf_n_labels(cfg);
    char key[32], made[40];

    for (int64_t i = 0; i < n; i++) {
        snprintf(key, sizeof key, "%lld", (long long)i);
        snprintf(made, sizeof made, "LABEL_%s", key);
        const char *const label = json_object_size(labels) ? json_string_value(json_object_get(labels, key)) : made;

        if (!label) return xc_fail(err, XC_E_FORMAT, "'id2label' has no string for label %s", key);
        XC_TRY(xc_model_add_label(m, label, err));
    }
    return XC_OK;
}

/* The table of positions bounds a sequence; 0 = no such table. */
static int64_t max_positions(const struct xc_model *m)
{
    const struct xc_graph *const g = m->graphs[0];

    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *const node = &g->nodes[n];
        const int32_t maker = node->in[0].kind == XC_REF_VALUE ? g->values[node->in[0].id].node : -1;

        if (!strcmp(node->op->name, "gather") && maker >= 0 && !strcmp(g->nodes[maker].op->name, "positions"))
            return xc_positions_limit(g->nodes[maker].attr, xc_tensor_rows(m->tensors[node->in[1].id]));
    }
    return 0;
}

static enum xc_status add_facts(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_arch *arch, struct xc_err *err)
{
    static const char *const pooling[XC_POOL_COUNT] = { "mean", "first", "last", "max", "mean_sqrt" };
    const char *const cls = json_string_value(json_array_get(json_object_get(cfg->json, "architectures"), 0));
    const char *problem;
    char *text = NULL;
    size_t len;
    int64_t pad;
    enum xc_status status;

    XC_TRY(xc_model_set_meta(m, "family", arch->model_type, err));
    XC_TRY(xc_model_set_meta(m, "task", cfg->head, err));
    if (cls) XC_TRY(xc_model_set_meta(m, "architecture", cls, err));
    if (!strcmp(cfg->head, "embed")) {
        bool normalize = false;

        for (int i = 0; i < cfg->n_modules; i++) normalize |= cfg->modules[i].kind == XC_HF_NORMALIZE;
        XC_TRY(xc_model_set_meta(m, "pooling", pooling[cfg->modules[0].pooling], err));
        XC_TRY(xc_model_set_meta(m, "normalize", normalize ? "true" : "false", err));
    }
    if (!strcmp(cfg->head, "classify") || !strcmp(cfg->head, "regress")) {
        XC_TRY(xc_json_str_or(&problem, cfg->json, "problem_type", NULL, err));
        if (problem) XC_TRY(xc_model_set_meta(m, "problem_type", problem, err));
    }
    if (!strcmp(cfg->head, "classify") || !strcmp(cfg->head, "tag")) XC_TRY(add_labels(m, cfg, err));
    XC_TRY(xc_json_int_or(&pad, cfg->json, "pad_token_id", 0, INT32_MAX, arch->pad_id, err));
    XC_TRY(set_int(m, "pad_id", pad, err));
    XC_TRY(set_int(m, "max_tokens", max_positions(m), err));
    if (cfg->sentence) {
        XC_TRY(xc_hf_modules_text(&text, cfg, err));
        status = xc_model_set_meta(m, "modules", text, err);
        xc_free(text);
        XC_TRY(status);
    }
    XC_TRY(xc_json_text(&text, &len, cfg->json, 0, err));
    while (len && text[len - 1] == '\n') text[--len] = '\0';
    status = xc_model_set_meta(m, "source_config", text, err);
    xc_free(text);
    return status;
}

/* ---- the rest of the checkpoint ---- */
#define MAX_UNUSED 1024 /* more than any checkpoint of a known family has */

struct name_list {
    char text[1024]; /* names with blanks between, cut where there are very many */
    size_t at;
};

static void list_name(struct name_list *list, const char *name)
{
    if (list->at < sizeof list->text) list->at += (size_t)snprintf(list->text + list->at, sizeof list->text - list->at, "%s%s", list->at ? " " : "", name);
}

/* Weights that no graph uses (a pooler below a mean, the head of another task) are kept where the caller wants all, else named in meta
 * "unused_tensors". What is no weight (position_ids, scalars) is named in meta "ignored_tensors". */
static enum xc_status keep_others(struct xc_model *m, const struct xc_hf_config *cfg, const bool *used, bool keep, struct xc_err *err)
{
    struct name_list unused = { .at = 0 }, ignored = { .at = 0 };
    int kept = 0;

    for (size_t i = 0; i < cfg->cp->n_tensors; i++) {
        const struct xc_st_tensor *const t = &cfg->cp->tensors[i];
        const bool weight = xc_st_is_float(t) && t->rank >= 1 && t->rank <= XC_MAX_RANK && t->bytes;
        int32_t id;

        if (used[i]) continue;
        if (weight && keep && kept < MAX_UNUSED) {
            XC_TRY(xc_model_add_tensor(m, &id, t->name, t->rank, t->dim, err));
            XC_TRY(xc_checkpoint_bind(cfg->cp, m->tensors[id], t, err));
            kept++;
        } else {
            list_name(weight ? &unused : &ignored, t->name);
        }
    }
    if (unused.at) XC_TRY(xc_model_set_meta(m, "unused_tensors", unused.text, err));
    return ignored.at ? xc_model_set_meta(m, "ignored_tensors", ignored.text, err) : XC_OK;
}

static enum xc_status keep_unused(struct xc_model *m, const struct xc_hf_config *cfg, bool keep, struct xc_err *err)
{
    bool *const used = xc_calloc(cfg->cp->n_tensors + 1, sizeof *used);
    enum xc_status status;

    if (!used) return xc_fail_nomem(err, cfg->cp->n_tensors);
    for (int32_t i = 0; i < m->n_tensors; i++) {
        const struct xc_st_tensor *const t = xc_checkpoint_find(cfg->cp, m->tensors[i]->name); /* NULL: made here (rotations) */

        if (t) used[t - cfg->cp->tensors] = true;
    }
    status = keep_others(m, cfg, used, keep, err);
    xc_free(used);
    return status;
}

enum xc_status xc_hf_build(struct xc_model **out, struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    const struct xc_arch *arch;
    const char *type;
    enum xc_status status;

    *out = NULL;
    XC_TRY(find_arch(&arch, &type, cfg->json, err));
    XC_TRY(choose_head(&cfg->head, cfg, arch, opts->head, err));
    XC_TRY(xc_model_new(out, err));
    status = arch->build(*out, cfg, opts, err);
    if (status == XC_OK) status = add_facts(*out, cfg, arch, err);
    if (status == XC_OK && !cfg->random) status = keep_unused(*out, cfg, opts->all_tensors, err);
    if (status == XC_OK) status = xc_model_verify(*out, err);
    if (status != XC_OK) xc_model_free(out);
    return status;
}

/* ---- the directory ---- */
enum xc_status xc_hf_path(char *out, size_t n, const char *dir, const char *file, struct xc_err *err)
{
    const size_t len = strlen(dir);

    if ((size_t)snprintf(out, n, "%s%s%s", dir, len && dir[len - 1] == '/' ? "" : "/", file) < n) return XC_OK;
    return xc_fail(err, XC_E_ARG, "the path of '%s' is too long", file);
}

bool xc_hf_exists(const char *dir, const char *file)
{
    char path[4096];
    struct stat st;

    return xc_hf_path(path, sizeof path, dir, file, NULL) == XC_OK && !stat(path, &st) && S_ISREG(st.st_mode);
}

enum xc_status xc_hf_load_json(json_t **out, const char *dir, const char *file, struct xc_err *err)
{
    const struct xc_json_limits limits = { (size_t)16 << 20, 32, (size_t)1 << 20 };
    char path[4096];

    *out = NULL;
    XC_TRY(xc_hf_path(path, sizeof path, dir, file, err));
    return xc_json_load(out, path, &limits, err);
}

/* What texts are cut to: the caller's wish, else sentence-transformers' max_seq_length, else the tokenizer's model_max_length; never more
 * than there are positions. Ids given by the caller may use all positions. */
static enum xc_status text_limit(const struct xc_hf_config *cfg, const struct xc_load_opts *opts, int64_t positions, int64_t *limit, struct xc_err *err)
{
    json_t *root = NULL;
    double number = 0;
    enum xc_status status = XC_OK;

    *limit = opts->max_tokens;
    if (*limit && positions && *limit > positions)
        return xc_fail(err, XC_E_RANGE, "max_tokens of %lld asked for, the model has %lld positions", (long long)*limit, (long long)positions);
    if (*limit) return XC_OK;
    *limit = positions;
    if (cfg->sentence && xc_hf_exists(cfg->dir, "sentence_bert_config.json")) {
        XC_TRY(xc_hf_load_json(&root, cfg->dir, "sentence_bert_config.json", err));
        status = xc_json_number_or(&number, root, "max_seq_length", 1, 1e300, 0, err);
        xc_json_free(&root);
        if (status != XC_OK) return xc_fail_at(err, status, "%s/sentence_bert_config.json", cfg->dir);
    }
    if (number == 0 && xc_hf_exists(cfg->dir, "tokenizer_config.json")) {
        XC_TRY(xc_hf_load_json(&root, cfg->dir, "tokenizer_config.json", err));
        status = xc_json_number_or(&number, root, "model_max_length", 0, 1e300, 0, err); /* 1e30 where nobody knew */
        xc_json_free(&root);
        if (status != XC_OK) return xc_fail_at(err, status, "%s/tokenizer_config.json", cfg->dir);
    }
    if (number >= 1 && number <= 1 << 24 && (!positions || number < (double)positions)) *limit = (int64_t)number;
    return XC_OK;
}

static bool has_tokenizer(const char *dir)
{
    static const char *const names[] = { "tokenizer.json", "vocab.txt", "vocab.json" }, *const spm[] = XC_TOKENIZER_SPM_NAMES;
    bool has = false;

    for (size_t i = 0; i < XC_ARRAY_LEN(names); i++) has |= xc_hf_exists(dir, names[i]);
    for (size_t i = 0; i < XC_ARRAY_LEN(spm); i++) has |= xc_hf_exists(dir, spm[i]);
    return has;
}

static enum xc_status add_tokenizer(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_tokenizer_compile_opts t = XC_TOKENIZER_COMPILE_DEFAULT;
    int64_t limit;

    XC_TRY(text_limit(cfg, opts, max_positions(m), &limit, err));
    XC_TRY(set_int(m, "max_tokens", limit, err));
    if (!has_tokenizer(cfg->dir)) return XC_OK;
    t.max_tokens = (int32_t)limit;
    return xc_tokenizer_compile(&m->tokenizer, cfg->dir, &t, err);
}

static enum xc_status open_weights(struct xc_hf_config *cfg, struct xc_err *err)
{
    char path[4096];

    if (!xc_hf_exists(cfg->dir, "model.safetensors") && !xc_hf_exists(cfg->dir, "model.safetensors.index.json") &&
        (xc_hf_exists(cfg->dir, "pytorch_model.bin") || xc_hf_exists(cfg->dir, "pytorch_model.bin.index.json")))
        return xc_fail(err, XC_E_UNSUPPORTED, "only pytorch_model.bin is there, which is not read: save the model as safetensors (save_pretrained of transformers does)");
    XC_TRY(xc_checkpoint_open(&cfg->cp, cfg->dir, err));
    for (int i = 0; i < cfg->n_modules; i++) {
        char file[128];

        if (cfg->modules[i].kind != XC_HF_DENSE) continue;
        snprintf(file, sizeof file, "%s/model.safetensors", cfg->modules[i].path);
        XC_TRY(xc_hf_path(path, sizeof path, cfg->root, file, err));
        snprintf(file, sizeof file, "%s.", cfg->modules[i].path);
        XC_TRY(xc_checkpoint_add(cfg->cp, path, file, err));
    }
    return XC_OK;
}

static enum xc_status load_all(struct xc_model **out, struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    enum xc_status status = cfg->random ? XC_OK : open_weights(cfg, err);

    if (status == XC_OK) status = xc_hf_build(out, cfg, opts, err);
    if (status == XC_OK) status = add_tokenizer(*out, cfg, opts, err);
    for (int32_t i = 0; status == XC_OK && opts->load_tensors && i < (*out)->n_tensors; i++) status = xc_tensor_load((*out)->tensors[i], err);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s/config.json", cfg->dir);
}

static int probe(const char *path) { return xc_hf_exists(path, "config.json") || xc_hf_exists(path, "modules.json"); }

static enum xc_status load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_hf_config cfg = { .root = path, .dir = path, .random = opts->random, .new_head = opts->new_head, .seed = opts->seed };
    struct xc_hf_module_files files = { 0 };
    json_t *root = NULL;
    enum xc_status status;

    *out = NULL;
    status = xc_hf_read_modules(&cfg, &files, err);
    if (status == XC_OK) status = xc_hf_load_json(&root, cfg.dir, "config.json", err);
    cfg.json = root;
    if (status == XC_OK) status = load_all(out, &cfg, opts, err);
    xc_checkpoint_unref(&cfg.cp);
    xc_json_free(&root);
    xc_hf_release_modules(&files);
    if (status != XC_OK) xc_model_free(out);
    return status;
}

const struct xc_format_reader xc_format_hf = { .name = "hf", .probe = probe, .load = load };
