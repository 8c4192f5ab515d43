/* bert_attention: attention other than dense in a BERT-shaped checkpoint, by a key of our own in config.json:
 *
 *   "attention": { "kind": "linformer", "slots": 64, "sharing": "headwise" }     slots: a number, or one for each layer
 *   "attention": { "kind": "synthesizer", "scores": ["random", "dot"], "mixture": true, "rank": 0, "hidden": 32, "factor": 8 }
 *
 * A key that is not known is refused. Tensors, P = max_position_embeddings less what the padding id takes, in "<layer>attention.self.":
 *
 *   linformer (Wang et al. 2020)     projection_key, projection_value (slots or heads*slots, P): sharing headwise or none. "key-value": no projection_value.
 *                                    "layerwise": one "attention.projection" for keys and values of all layers, beside the encoder's layers
 *   synthesizer (Tay et al. 2020)    random: (P or heads*P, P), with rank (.., 2*rank): R1 and R2 side by side
 *                                    dense: linear dense_hidden (heads*hidden, D) and relu, then dense_scores.weight (P or heads*P, hidden), .bias (1 or heads, P)
 *                                    factorized_dense: linear factors (heads*(factor + P/factor), D): of each head `factor` numbers tiled, then those repeated
 *                                    dot: query and key, without it they are not there; mixture: (1, parts) in the order dot, random, dense, factorised
 *
 * Query, key, value and output are the family's own. */
#include <stdio.h>
#include <string.h>

#include "formats/hf.h"
#include "runtime/graph/attention/attention.h"
#include "runtime/graph/attention/synthesizer.h"

/* ---- config.json ---- */
static enum xc_status read_linformer(struct xc_bert_shape *s, const json_t *a, struct xc_err *err)
{
    static const char *const keys[] = { "kind", "slots", "sharing" }, *const sharings[] = { "none", "headwise", "key-value", "layerwise" };
    const json_t *slots = json_object_get(a, "slots");
    const bool list = json_is_array(slots);
    const char *sharing;

    XC_TRY(xc_hf_known_keys(a, keys, XC_ARRAY_LEN(keys), "'attention' of kind linformer", err));
    XC_TRY(xc_json_str_or(&sharing, a, "sharing", "headwise", err));
    s->sharing = XC_ARRAY_LEN(sharings);
    for (size_t i = 0; i < XC_ARRAY_LEN(sharings); i++)
        if (!strcmp(sharing, sharings[i])) s->sharing = (int32_t)i;
    if (s->sharing == (int32_t)XC_ARRAY_LEN(sharings))
        return xc_fail(err, XC_E_UNSUPPORTED, "'sharing' of linformer is '%.50s': it must be none, headwise, key-value or layerwise", sharing);
    if (list && (int64_t)json_array_size(slots) != s->layers)
        return xc_fail(err, XC_E_FORMAT, "'slots' has %lld numbers for %lld layers", (long long)json_array_size(slots), (long long)s->layers);
    for (int64_t i = 0; i < s->layers; i++) {
        int64_t n;

        if (!xc_json_as_int(&n, list ? json_array_get(slots, (size_t)i) : slots, 1, 1 << 20))
            return xc_fail(err, XC_E_FORMAT, "'slots' of layer %lld must be a number from 1 to %d", (long long)i, 1 << 20);
        s->window[i] = (int32_t)n;
    }
    return XC_OK;
}

static enum xc_status read_synthesizer(struct xc_bert_shape *s, const json_t *a, struct xc_err *err)
{
    static const char *const keys[] = { "kind", "scores", "mixture", "rank", "hidden", "factor" }, *const parts[] = { "dot", "random", "dense", "factorized_dense" };
    json_t *scores;
    int64_t n;

    XC_TRY(xc_hf_known_keys(a, keys, XC_ARRAY_LEN(keys), "'attention' of kind synthesizer", err));
    XC_TRY(xc_json_array(&scores, a, "scores", err));
    for (size_t i = 0; i < json_array_size(scores); i++) {
        const char *name = json_string_value(json_array_get(scores, i));
        int found = -1;

        for (int k = 0; k < (int)XC_ARRAY_LEN(parts) && name; k++)
            if (!strcmp(name, parts[k])) found = k;
        if (found < 0) return xc_fail(err, XC_E_UNSUPPORTED, "'scores' names '%.50s': they are dot, random, dense and factorized_dense", name ? name : "what is no string");
        s->parts[found] = true;
    }
    if (!json_array_size(scores)) return xc_fail(err, XC_E_FORMAT, "'scores' of synthesizer is empty: nothing would make scores");
    XC_TRY(xc_json_bool_or(&s->mixture, a, "mixture", false, err));
    XC_TRY(xc_json_int_or(&n, a, "rank", 0, 1 << 16, 0, err));
    s->rank = (int32_t)n;
    XC_TRY(xc_json_int_or(&s->dense_hidden, a, "hidden", 1, 1 << 16, s->heads ? s->hidden / s->heads : 1, err));
    XC_TRY(xc_json_int_or(&s->factor, a, "factor", 1, 1 << 20, 1, err));
    if (s->parts[3] && (s->positions - s->position_offset) % s->factor)
        return xc_fail(err, XC_E_FORMAT, "'factor' of %lld does not divide %lld positions", (long long)s->factor, (long long)(s->positions - s->position_offset));
    return XC_OK;
}

enum xc_status xc_bert_read_attention(struct xc_bert_shape *s, const struct xc_hf_config *cfg, struct xc_err *err)
{
    json_t *a;
    const char *kind;

    XC_TRY(xc_json_object_or(&a, cfg->json, "attention", err));
    if (!a) return XC_OK;
    XC_TRY(xc_json_str(&kind, a, "kind", err));
    s->kind = xc_attention_kind_named(kind);
    if (!strcmp(kind, "dense")) return xc_hf_known_keys(a, (const char *const[]){ "kind" }, 1, "'attention' of kind dense", err);
    if (!strcmp(kind, "linformer")) return read_linformer(s, a, err);
    if (!strcmp(kind, "synthesizer")) return read_synthesizer(s, a, err);
    return xc_fail(err, XC_E_UNSUPPORTED, "'attention' of kind '%.50s' is not read from a config.json: dense, linformer and synthesizer are", kind);
}

/* ---- the graph ---- */
struct place {
    struct xc_graph *g;
    const struct xc_hf_config *cfg;
    const struct xc_bert_names *names;
    const struct xc_bert_shape *s;
    char base[128]; /* "encoder.layer.3." */
};

static enum xc_status linear(const struct place *p, const char *part, int32_t x, int64_t cols, struct xc_ref *out, struct xc_err *err)
{
    char name[256];
    int32_t y;

    snprintf(name, sizeof name, "%s%s", p->base, part);
    XC_TRY(xc_hf_linear(p->g, p->cfg, &y, p->names->prefix, name, x, cols, err));
    *out = xc_val(y);
    return XC_OK;
}

/* A tensor for all heads or for each: rows, or heads times as many, as the checkpoint has it. */
static enum xc_status tensor(const struct place *p, const char *part, int64_t rows, int64_t cols, struct xc_ref *out, struct xc_err *err)
{
    int64_t dim[2] = { p->cfg->random ? rows : 0, cols };
    char name[256];
    int32_t id;

    snprintf(name, sizeof name, "%s%s", p->base, part);
    XC_TRY(xc_hf_tensor(p->g->model, p->cfg, &id, p->names->prefix, name, 2, dim, err));
    if (dim[0] != rows && dim[0] != rows * p->s->heads)
        return xc_fail(err, XC_E_SHAPE, "tensor '%s' has %lld rows, config.json asks for %lld, or as many for each of %lld heads", p->g->model->tensors[id]->name, (long long)dim[0],
                       (long long)rows, (long long)p->s->heads);
    *out = xc_ten(id);
    return XC_OK;
}

static enum xc_status linformer(struct place *p, int layer, int64_t P, struct xc_attr_attention *attr, struct xc_ref *in, int *n_in, struct xc_err *err)
{
    const int64_t slots = p->s->window[layer];
    int64_t dim[2] = { slots, P };
    int32_t id;

    attr->slots = (int32_t)slots;
    *n_in = p->s->sharing < 2 ? 5 : 4;
    if (p->s->sharing == 3) {
        XC_TRY(xc_hf_tensor(p->g->model, p->cfg, &id, p->names->prefix, "attention.projection", 2, dim, err));
        in[3] = xc_ten(id);
        return XC_OK;
    }
    for (int i = 3; i < *n_in; i++) {
        XC_TRY(tensor(p, i == 3 ? "attention.self.projection_key" : "attention.self.projection_value", slots, P, &in[i], err));
        if ((xc_tensor_rows(p->g->model->tensors[in[i].id]) == slots) != (p->s->sharing > 0) && p->s->heads > 1)
            return xc_fail(err, XC_E_SHAPE, "tensor '%s' is %s, 'sharing' says otherwise", p->g->model->tensors[in[i].id]->name, p->s->sharing ? "of each head" : "one for all heads");
    }
    return XC_OK;
}

static enum xc_status synthesizer(struct place *p, int32_t x, int64_t P, struct xc_attr_attention *attr, struct xc_ref *in, int *n_in, struct xc_err *err)
{
    const struct xc_bert_shape *s = p->s;
    const int64_t parts = s->parts[0] + s->parts[1] + s->parts[2] + s->parts[3];
    char name[256];
    int32_t y;

    attr->positions = (int32_t)P;
    attr->rank = s->parts[1] ? s->rank : 0;
    attr->factor = s->parts[3] ? (int32_t)s->factor : 0;
    attr->dot = s->parts[0];
    for (int i = 3; i < 9; i++) in[i] = xc_none();
    *n_in = 9;
    if (s->parts[1]) XC_TRY(tensor(p, "attention.self.random", P, s->rank ? 2 * (int64_t)s->rank : P, &in[XC_SYNTH_R], err));
    if (s->parts[2]) {
        XC_TRY(linear(p, "attention.self.dense_hidden", x, s->heads * s->dense_hidden, &in[XC_SYNTH_HIDDEN], err));
        snprintf(name, sizeof name, "%sattention.self.dense_act", p->base);
        XC_TRY(xc_hf_unary(p->g, &y, name, in[XC_SYNTH_HIDDEN].id, XC_ACT_RELU, err));
        in[XC_SYNTH_HIDDEN] = xc_val(y);
        XC_TRY(tensor(p, "attention.self.dense_scores.weight", P, s->dense_hidden, &in[XC_SYNTH_W], err));
        XC_TRY(tensor(p, "attention.self.dense_scores.bias", 1, P, &in[XC_SYNTH_B], err));
    }
    if (s->parts[3]) XC_TRY(linear(p, "attention.self.factors", x, s->heads * (s->factor + P / s->factor), &in[XC_SYNTH_FACTORS], err));
    if (s->mixture) {
        int64_t dim[2] = { 1, parts };

        snprintf(name, sizeof name, "%sattention.self.mixture", p->base);
        XC_TRY(xc_hf_tensor(p->g->model, p->cfg, &y, p->names->prefix, name, 2, dim, err));
        in[XC_SYNTH_MIX] = xc_ten(y);
    }
    return XC_OK;
}

enum xc_status xc_bert_attention(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int layer, int32_t x, int32_t *y,
                                 struct xc_err *err)
{
    struct xc_attr_attention attr = { .kind = s->kind, .heads = (int32_t)s->heads };
    struct place p = { .g = g, .cfg = cfg, .names = names, .s = s };
    const int64_t P = s->positions - s->position_offset;
    const bool made = s->kind == xc_attention_kind_named("synthesizer");
    struct xc_ref in[9];
    char name[256];
    int n_in = 3;

    snprintf(p.base, sizeof p.base, "%s%d.", names->layer, layer);
    XC_TRY(linear(&p, names->v, x, s->hidden, &in[2], err));
    in[0] = in[1] = in[2]; /* read by the dot product alone */
    if (!made || s->parts[0]) {
        XC_TRY(linear(&p, names->q, x, s->hidden, &in[0], err));
        XC_TRY(linear(&p, names->k, x, s->hidden, &in[1], err));
    }
    if (made) XC_TRY(synthesizer(&p, x, P, &attr, in, &n_in, err));
    else XC_TRY(linformer(&p, layer, P, &attr, in, &n_in, err));
    snprintf(name, sizeof name, "%sattention", p.base);
    return xc_graph_add_node(g, y, "attention", name, in, n_in, &attr, err);
}
