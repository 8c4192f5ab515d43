/* hf_build: tensors and nodes from a checkpoint's names. See hf.h. */
#include <stdio.h>
#include <string.h>

#include "formats/hf.h"
#include "runtime/base/rng.h"

#define MAX_NAME 512

/* ---- names ---- */
bool xc_hf_modern_name(char *out, size_t n, const char *name)
{
    const char *const dot = strrchr(name, '.');
    const bool gain = dot && !strcmp(dot, ".gamma"), bias = dot && !strcmp(dot, ".beta");

    if (!gain && !bias) return false;
    return (size_t)snprintf(out, n, "%.*s.%s", (int)(dot - name), name, gain ? "weight" : "bias") < n;
}

static bool old_name(char *out, size_t n, const char *name)
{
    const char *const dot = strrchr(name, '.');

    if (!dot || !strstr(name, "LayerNorm")) return false;
    return (size_t)snprintf(out, n, "%.*s.%s", (int)(dot - name), name, !strcmp(dot, ".weight") ? "gamma" : "beta") < n;
}

static const struct xc_st_tensor *find(const struct xc_hf_config *cfg, const char *prefix, const char *name)
{
    const char *const prefixes[2] = { prefix, "" };
    char full[MAX_NAME], old[MAX_NAME];
    const struct xc_st_tensor *t;

    for (int i = 0; i < 2; i++) {
        snprintf(full, sizeof full, "%s%s", prefixes[i], name);
        if ((t = xc_checkpoint_find(cfg->cp, full)) != NULL) return t;
        if (old_name(old, sizeof old, full) && (t = xc_checkpoint_find(cfg->cp, old)) != NULL) return t;
    }
    return NULL;
}

/* Drawn weights: linears have the biases that they may have. */
bool xc_hf_has(const struct xc_hf_config *cfg, const char *prefix, const char *name)
{
    const char *const dot = strrchr(name, '.');

    return cfg->random ? dot && !strcmp(dot, ".bias") : find(cfg, prefix, name) != NULL;
}

/* The numbers of a tensor follow from the seed and its name. */
static enum xc_status draw(struct xc_tensor *t, uint64_t seed, struct xc_err *err)
{
    const char *const dot = strrchr(t->name, '.');
    const float gain = dot && !strcmp(dot, ".weight") ? 1 : 0; /* of vectors */
    const int64_t n = xc_tensor_count(t);
    float *const x = xc_malloc((size_t)n * sizeof *x);
    struct xc_rng rng;
    uint64_t stream = 0x696e6974; /* "init" */
    enum xc_status status;

    if (!x) return xc_fail_nomem(err, (size_t)n * sizeof *x);
    for (const char *c = t->name; *c; c++) stream = stream * 1099511628211u + (uint8_t)*c;
    xc_rng_init(&rng, seed, stream);
    for (int64_t i = 0; i < n; i++) x[i] = t->rank > 1 ? (float)(0.02 * xc_rng_normal(&rng)) : gain;
    status = xc_tensor_set_f32(t, x, err);
    xc_free(x);
    return status;
}

static enum xc_status drawn_tensor(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const char *name, int32_t rank, const int64_t *dim, struct xc_err *err)
{
    *id = xc_model_find_tensor(m, name);
    if (*id >= 0) return XC_OK;
    for (int32_t i = 0; i < rank; i++)
        if (dim[i] == 0) return xc_fail(err, XC_E_UNSUPPORTED, "config.json does not say how large tensor '%s' is: it cannot be drawn at random", name);
    XC_TRY(xc_model_add_tensor(m, id, name, rank, dim, err));
    return draw(m->tensors[*id], cfg->seed, err);
}

/* ---- tensors and nodes ---- */
static enum xc_status check_axes(const struct xc_st_tensor *t, int32_t rank, int64_t *dim, struct xc_err *err)
{
    if (t->rank != rank) return xc_fail(err, XC_E_SHAPE, "tensor '%s' has %d axes, must have %d", t->name, t->rank, rank);
    for (int32_t i = 0; i < rank; i++) {
        if (dim[i] == 0) dim[i] = t->dim[i];
        if (dim[i] != t->dim[i])
            return xc_fail(err, XC_E_SHAPE, "tensor '%s': axis %d has %lld elements, config.json asks for %lld", t->name, i, (long long)t->dim[i], (long long)dim[i]);
    }
    return XC_OK;
}

static enum xc_status add_bound(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const struct xc_st_tensor *t, int32_t rank, const int64_t *dim, struct xc_err *err)
{
    *id = xc_model_find_tensor(m, t->name);
    if (*id >= 0) return XC_OK; /* tied */
    XC_TRY(xc_model_add_tensor(m, id, t->name, rank, dim, err));
    return xc_checkpoint_bind(cfg->cp, m->tensors[*id], t, err);
}

enum xc_status xc_hf_tensor(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const char *prefix, const char *name, int32_t rank, int64_t *dim,
                            struct xc_err *err)
{
    const struct xc_st_tensor *const t = cfg->random ? NULL : find(cfg, prefix, name);

    *id = -1;
    if (cfg->random) return drawn_tensor(m, cfg, id, name, rank, dim, err);
    if (!t) return xc_fail(err, XC_E_NOT_FOUND, "the checkpoint has no tensor '%s%s', which config.json asks for", prefix, name);
    XC_TRY(check_axes(t, rank, dim, err));
    return add_bound(m, cfg, id, t, rank, dim, err);
}

enum xc_status xc_hf_tensor_as(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const char *prefix, const char *name, int32_t file_rank, const int64_t *file_dim,
                               int32_t rank, const int64_t *dim, struct xc_err *err)
{
    const struct xc_st_tensor *const t = cfg->random ? NULL : find(cfg, prefix, name);
    int64_t want[XC_MAX_RANK];

    *id = -1;
    if (cfg->random) return drawn_tensor(m, cfg, id, name, rank, dim, err);
    if (!t) return xc_fail(err, XC_E_NOT_FOUND, "the checkpoint has no tensor '%s%s', which config.json asks for", prefix, name);
    memcpy(want, file_dim, (size_t)file_rank * sizeof *want);
    XC_TRY(check_axes(t, file_rank, want, err));
    return add_bound(m, cfg, id, t, rank, dim, err);
}

enum xc_status xc_hf_linear(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, int64_t n_out, struct xc_err *err)
{
    char weight[MAX_NAME], bias[MAX_NAME];
    int64_t dim[2] = { n_out, g->values[x].cols };
    struct xc_ref in[3] = { xc_val(x), xc_none(), xc_none() };
    int n_in = 2;
    int32_t id;

    snprintf(weight, sizeof weight, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    XC_TRY(xc_hf_tensor(g->model, cfg, &id, prefix, weight, 2, dim, err));
    in[1] = xc_ten(id);
    if (xc_hf_has(cfg, prefix, bias)) {
        XC_TRY(xc_hf_tensor(g->model, cfg, &id, prefix, bias, 1, dim, err));
        in[2] = xc_ten(id);
        n_in = 3;
    }
    return xc_graph_add_node(g, out, "linear", name, in, n_in, NULL, err);
}

enum xc_status xc_hf_layer_norm(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, float eps, struct xc_err *err)
{
    const struct xc_attr_norm attr = { .eps = eps };
    char weight[MAX_NAME], bias[MAX_NAME];
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

    *out = x;
    if (fn == XC_ACT_NONE) return XC_OK;
    return xc_graph_add_node(g, out, "unary", name, in, 1, &attr, err);
}

enum xc_status xc_hf_embedding(struct xc_graph *g, const struct xc_hf_config *cfg, const char *prefix, const char *name, int32_t ids, int64_t rows, int64_t cols, int32_t *out,
                               struct xc_err *err)
{
    char weight[MAX_NAME];
    int64_t dim[2] = { rows, cols };
    int32_t id;

    snprintf(weight, sizeof weight, "%s.weight", name);
    XC_TRY(xc_hf_tensor(g->model, cfg, &id, prefix, weight, 2, dim, err));
    const struct xc_ref in[] = { xc_val(ids), xc_ten(id) };

    return xc_graph_add_node(g, out, "gather", name, in, 2, NULL, err);
}

enum xc_status xc_hf_add(struct xc_graph *g, int32_t *out, const char *name, int32_t a, int32_t b, struct xc_err *err)
{
    const struct xc_ref in[] = { xc_val(a), xc_val(b) };

    return xc_graph_add_node(g, out, "add", name, in, 2, NULL, err);
}

/* ---- heads ---- */
enum xc_status xc_hf_first(struct xc_graph *g, int32_t *out, int32_t hidden, struct xc_err *err)
{
    const struct xc_attr_pool attr = { .mode = XC_POOL_FIRST };
    const struct xc_ref in[] = { xc_val(hidden) };

    return xc_graph_add_node(g, out, "pool", "first", in, 1, &attr, err);
}

static enum xc_status dense_module(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_hf_module *module, int32_t *y, struct xc_err *err)
{
    char name[128];
    enum xc_act act;

    if (module->in != g->values[*y].cols)
        return xc_fail(err, XC_E_SHAPE, "module '%s' takes %lld features, the one before it makes %d", module->path, (long long)module->in, g->values[*y].cols);
    XC_TRY(xc_hf_dense_act(&act, module->activation, err));
    snprintf(name, sizeof name, "%s.linear", module->path);
    XC_TRY(xc_hf_linear(g, cfg, y, "", name, *y, module->out, err));
    snprintf(name, sizeof name, "%s.act", module->path);
    return xc_hf_unary(g, y, name, *y, act, err);
}

enum xc_status xc_hf_embed_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t hidden, struct xc_err *err)
{
    int32_t y = hidden;

    for (int i = 0; i < cfg->n_modules; i++) {
        const struct xc_hf_module *const module = &cfg->modules[i];
        const struct xc_attr_pool attr = { .mode = (int32_t)module->pooling };
        const struct xc_ref in[] = { xc_val(y) };

        if (module->kind == XC_HF_POOLING) XC_TRY(xc_graph_add_node(g, &y, "pool", "pooling", in, 1, &attr, err));
        else if (module->kind == XC_HF_NORMALIZE) XC_TRY(xc_graph_add_node(g, &y, "l2_normalize", "normalize", in, 1, NULL, err));
        else XC_TRY(dense_module(g, cfg, module, &y, err));
    }
    return xc_graph_add_output(g, y, err);
}

enum xc_status xc_hf_dense(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *x, const char *prefix, const char *name, int64_t cols, enum xc_act act, struct xc_err *err)
{
    const size_t n = strlen(name), tail = n > 6 && !strcmp(name + n - 6, ".dense") ? 6 : 0;
    char act_name[128];

    snprintf(act_name, sizeof act_name, "%.*s.act", (int)(n - tail), name);
    XC_TRY(xc_hf_linear(g, cfg, x, prefix, name, *x, cols, err));
    return xc_hf_unary(g, x, act_name, *x, act, err);
}

enum xc_status xc_hf_answer_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *x, struct xc_err *err)
{
    const int64_t n = xc_hf_n_labels(cfg);
    struct xc_hf_config drawn = *cfg;

    drawn.random = true;
    if (cfg->new_head && !cfg->random && !xc_hf_has(cfg, "", "qa_outputs.weight")) return xc_hf_linear(g, &drawn, x, "", "qa_outputs", *x, 2, err);
    if (n != 2) return xc_fail(err, XC_E_FORMAT, "question answering has 2 numbers a token, where an answer begins and where it ends; config.json says %lld labels", (long long)n);
    return xc_hf_linear(g, cfg, x, "", "qa_outputs", *x, 2, err);
}

/* ---- activations ---- */
struct act_name { const char *name; enum xc_act act; };

static enum xc_status find_act(enum xc_act *out, const char *name, const struct act_name *acts, size_t n, struct xc_err *err)
{
    *out = XC_ACT_NONE;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(acts[i].name, name)) {
            *out = acts[i].act;
            return XC_OK;
        }
    return xc_fail(err, XC_E_UNSUPPORTED, "activation function '%s' is not supported", name);
}

enum xc_status xc_hf_act(enum xc_act *out, const char *name, struct xc_err *err)
{
    static const struct act_name acts[] = {
        { "gelu", XC_ACT_GELU }, { "gelu_python", XC_ACT_GELU }, { "gelu_new", XC_ACT_GELU_TANH }, { "gelu_pytorch_tanh", XC_ACT_GELU_TANH }, { "relu", XC_ACT_RELU },
        { "silu", XC_ACT_SILU }, { "swish", XC_ACT_SILU }, { "tanh", XC_ACT_TANH }, { "sigmoid", XC_ACT_SIGMOID }, { "linear", XC_ACT_NONE },
    };

    return find_act(out, name, acts, XC_ARRAY_LEN(acts), err);
}

enum xc_status xc_hf_dense_act(enum xc_act *out, const char *name, struct xc_err *err)
{
    static const struct act_name acts[] = {
        { "torch.nn.modules.activation.Tanh", XC_ACT_TANH }, { "torch.nn.modules.activation.ReLU", XC_ACT_RELU }, { "torch.nn.modules.activation.GELU", XC_ACT_GELU },
        { "torch.nn.modules.activation.Sigmoid", XC_ACT_SIGMOID }, { "torch.nn.modules.activation.SiLU", XC_ACT_SILU }, { "torch.nn.modules.linear.Identity", XC_ACT_NONE },
    };

    return find_act(out, name, acts, XC_ARRAY_LEN(acts), err);
}

enum xc_status xc_hf_known_keys(const json_t *obj, const char *const *known, size_t n, const char *what, struct xc_err *err)
{
    static const char *const usual[] = { "model_type", "architectures", "dtype", "torch_dtype", "pad_token_id", "id2label", "label2id", "num_labels", "problem_type" };
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)obj, key, value) {
        bool found = false;

        for (size_t i = 0; i < n; i++) found |= !strcmp(key, known[i]);
        for (size_t i = 0; i < XC_ARRAY_LEN(usual); i++) found |= !strcmp(key, usual[i]);
        if (!found) return xc_fail(err, XC_E_UNSUPPORTED, "%s has no key '%.100s': it might change what the model computes", what, key);
    }
    return XC_OK;
}

int64_t xc_hf_n_labels(const struct xc_hf_config *cfg)
{
    const json_t *const labels = json_object_get(cfg->json, "id2label");
    int64_t n;

    if (json_is_object(labels) && json_object_size(labels)) return (int64_t)json_object_size(labels);
    return xc_json_as_int(&n, json_object_get(cfg->json, "num_labels"), 1, 1 << 24) ? n : 2;
}
