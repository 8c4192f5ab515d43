/* bert_encoder: the encoder that BERT, DistilBERT and RoBERTa share: embeddings, post-norm layers, heads' common parts.
 * Devlin et al. 2018, arXiv:1810.04805. Names and numbers come from the families' files. */
#include <stdio.h>
#include <string.h>

#include "formats/hf.h"
#include "runtime/graph/attention/attention.h"

enum xc_status xc_bert_read_shape(struct xc_bert_shape *s, const struct xc_hf_config *cfg, struct xc_err *err)
{
    const char *act, *positions;
    bool decoder;
    double eps;

    XC_TRY(xc_json_int(&s->hidden, cfg->json, "hidden_size", 1, 1 << 20, err));
    XC_TRY(xc_json_int(&s->layers, cfg->json, "num_hidden_layers", 0, XC_BERT_LAYERS, err));
    XC_TRY(xc_json_int(&s->heads, cfg->json, "num_attention_heads", 1, 1 << 16, err));
    XC_TRY(xc_json_int(&s->ffn, cfg->json, "intermediate_size", 1, 1 << 24, err));
    XC_TRY(xc_json_int(&s->vocab, cfg->json, "vocab_size", 1, 1 << 24, err));
    XC_TRY(xc_json_int_or(&s->positions, cfg->json, "max_position_embeddings", 1, 1 << 24, 512, err));
    XC_TRY(xc_json_int_or(&s->types, cfg->json, "type_vocab_size", 1, 256, 2, err));
    XC_TRY(xc_json_number_or(&eps, cfg->json, "layer_norm_eps", 0, 1, 1e-12, err));
    XC_TRY(xc_json_str_or(&act, cfg->json, "hidden_act", "gelu", err));
    XC_TRY(xc_json_str_or(&positions, cfg->json, "position_embedding_type", "absolute", err));
    XC_TRY(xc_json_bool_or(&decoder, cfg->json, "is_decoder", false, err));
    if (decoder) return xc_fail(err, XC_E_UNSUPPORTED, "'is_decoder' is true: decoders of this family are not supported");
    XC_TRY(xc_json_bool_or(&decoder, cfg->json, "add_cross_attention", false, err));
    if (decoder) return xc_fail(err, XC_E_UNSUPPORTED, "'add_cross_attention' is true, which is not supported");
    if (strcmp(positions, "absolute")) return xc_fail(err, XC_E_UNSUPPORTED, "position_embedding_type '%s' is not supported, 'absolute' is", positions);
    s->eps = (float)eps;
    s->skip_id = -1;
    return xc_hf_act(&s->act, act, err);
}

enum xc_status xc_bert_read_padding(struct xc_bert_shape *s, const struct xc_hf_config *cfg, struct xc_err *err)
{
    int64_t pad;

    XC_TRY(xc_json_int_or(&pad, cfg->json, "pad_token_id", 0, 1 << 24, 1, err));
    if (s->positions <= pad + 1)
        return xc_fail(err, XC_E_FORMAT, "'max_position_embeddings' is %lld: no position is left behind pad_token_id %lld", (long long)s->positions, (long long)pad);
    s->position_offset = (int32_t)pad + 1;
    s->skip_id = (int32_t)pad;
    return XC_OK;
}

static enum xc_status embeddings(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int32_t tokens,
                                 int32_t *x, struct xc_err *err)
{
    const struct xc_attr_positions attr = { .offset = s->position_offset, .skip_id = s->skip_id };
    int32_t ids, types, position_ids, global, word, position;

    XC_TRY(xc_graph_add_input(g, &ids, "ids", tokens, 1, XC_DTYPE_I32, err));
    if (names->type) XC_TRY(xc_graph_add_input(g, &types, "types", tokens, 1, XC_DTYPE_I32, err));
    const struct xc_ref in[] = { xc_val(ids) };

    XC_TRY(xc_graph_add_node(g, &position_ids, "positions", "position_ids", in, 1, &attr, err));
    if (s->segment_end) XC_TRY(xc_graph_add_node(g, &global, "segment", "global_tokens", in, 1, &(struct xc_attr_segment){ .end_id = s->segment_end, .second = s->second_global }, err));
    XC_TRY(xc_hf_embedding(g, cfg, names->prefix, names->word, ids, s->vocab, s->hidden, &word, err));
    if (names->type) { /* the order of the sum is the reference's: (word + type) + position */
        int32_t type;

        XC_TRY(xc_hf_embedding(g, cfg, names->prefix, names->type, types, s->types, s->hidden, &type, err));
        XC_TRY(xc_hf_add(g, &word, "embeddings.word_and_type", word, type, err));
    }
    XC_TRY(xc_hf_embedding(g, cfg, names->prefix, names->position, position_ids, s->positions, s->hidden, &position, err));
    XC_TRY(xc_hf_add(g, x, "embeddings.sum", word, position, err));
    return xc_hf_layer_norm(g, cfg, x, names->prefix, names->emb_norm, *x, s->eps, err);
}

static enum xc_status attention(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int i, int32_t x, int32_t *y,
                                struct xc_err *err)
{
    struct xc_attr_attention attr = { .heads = (int32_t)s->heads };
    const int32_t global = s->segment_end ? xc_graph_find_node(g, "global_tokens") : -1;
    const char *const parts[6] = { names->q, names->k, names->v, names->qg, names->kg, names->vg };
    const int n_parts = names->qg && (s->global_first || s->segment_end) ? 6 : 3;
    int32_t qkv[6];
    struct xc_ref in[7];
    char name[256];

    for (int k = 0; k < n_parts; k++) {
        snprintf(name, sizeof name, "%s%d.%s", names->layer, i, parts[k]);
        XC_TRY(xc_hf_linear(g, cfg, &qkv[k], names->prefix, name, x, s->hidden, err));
        in[k] = xc_val(qkv[k]);
    }
    if (names->qg) attr.kind = xc_attention_kind_named("longformer"), attr.window = s->window[i], attr.global_first = s->global_first;
    snprintf(name, sizeof name, "%s%d.attention", names->layer, i);
    if (global >= 0) in[6] = xc_val(g->nodes[global].out[0]);
    return xc_graph_add_node(g, y, "attention", name, in, n_parts + (global >= 0), &attr, err);
}

static enum xc_status layer(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int i, int32_t *x,
                            struct xc_err *err)
{
    char base[128], name[256];
    int32_t y;

    snprintf(base, sizeof base, "%s%d.", names->layer, i);
    if (s->kind) XC_TRY(xc_bert_attention(g, cfg, names, s, i, *x, &y, err));
    else XC_TRY(attention(g, cfg, names, s, i, *x, &y, err));
    snprintf(name, sizeof name, "%s%s", base, names->o);
    XC_TRY(xc_hf_linear(g, cfg, &y, names->prefix, name, y, s->hidden, err));
    snprintf(name, sizeof name, "%sattention.residual", base);
    XC_TRY(xc_hf_add(g, &y, name, y, *x, err));
    snprintf(name, sizeof name, "%s%s", base, names->attn_norm);
    XC_TRY(xc_hf_layer_norm(g, cfg, x, names->prefix, name, y, s->eps, err));
    snprintf(name, sizeof name, "%s%s", base, names->up);
    XC_TRY(xc_hf_linear(g, cfg, &y, names->prefix, name, *x, s->ffn, err));
    snprintf(name, sizeof name, "%sffn.act", base);
    XC_TRY(xc_hf_unary(g, &y, name, y, s->act, err));
    snprintf(name, sizeof name, "%s%s", base, names->down);
    XC_TRY(xc_hf_linear(g, cfg, &y, names->prefix, name, y, s->hidden, err));
    snprintf(name, sizeof name, "%sffn.residual", base);
    XC_TRY(xc_hf_add(g, &y, name, y, *x, err));
    snprintf(name, sizeof name, "%s%s", base, names->out_norm);
    return xc_hf_layer_norm(g, cfg, x, names->prefix, name, y, s->eps, err);
}

static enum xc_status encoder(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int32_t *hidden,
                               struct xc_err *err)
{
    const struct xc_space tokens = { .name = "tokens", .map = XC_MAP_INPUT }, sequences = { .name = "sequences", .map = XC_MAP_SEQUENCE };
    int32_t space;

    if (s->hidden % s->heads)
        return xc_fail(err, XC_E_FORMAT, "%lld heads do not divide a hidden size of %lld", (long long)s->heads, (long long)s->hidden);
    XC_TRY(xc_graph_add_space(g, &space, &tokens, err));
    XC_TRY(embeddings(g, cfg, names, s, space, hidden, err));
    for (int i = 0; i < (int)s->layers; i++) XC_TRY(layer(g, cfg, names, s, i, hidden, err));
    return xc_graph_add_space(g, &space, &sequences, err);
}

/* The decoder's weight is the word table when tied. Its bias is "<decoder>.bias" or the head's own. */
static enum xc_status mlm_head(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, int32_t x, const struct xc_bert_shape *s, struct xc_err *err)
{
    const char *bias = names->mlm_bias;
    int64_t dim[2] = { s->vocab, s->hidden };
    char own_weight[128], own_bias[128], word[128];
    int32_t w, b, y;
    bool tied;

    XC_TRY(xc_hf_dense(g, cfg, &x, "", names->mlm_dense, s->hidden, names->mlm_act == XC_ACT_NONE ? s->act : names->mlm_act, err));
    XC_TRY(xc_hf_layer_norm(g, cfg, &x, "", names->mlm_norm, x, s->eps, err));
    XC_TRY(xc_json_bool_or(&tied, cfg->json, "tie_word_embeddings", true, err));
    snprintf(word, sizeof word, "%s.weight", names->word);
    snprintf(own_weight, sizeof own_weight, "%s.weight", names->mlm_decoder);
    snprintf(own_bias, sizeof own_bias, "%s.bias", names->mlm_decoder);
    if (tied) XC_TRY(xc_hf_tensor(g->model, cfg, &w, names->prefix, word, 2, dim, err));
    else XC_TRY(xc_hf_tensor(g->model, cfg, &w, "", own_weight, 2, dim, err));
    /* the bias has two names; transformers 5 unties them when the weights are untied, and then uses the linear's own */
    if (xc_hf_has(cfg, "", own_bias) && (!tied || !xc_hf_has(cfg, "", bias))) bias = own_bias;
    XC_TRY(xc_hf_tensor(g->model, cfg, &b, "", bias, 1, dim, err));
    const struct xc_ref in[] = { xc_val(x), xc_ten(w), xc_ten(b) };

    XC_TRY(xc_graph_add_node(g, &y, "linear", names->mlm_decoder, in, 3, NULL, err));
    return xc_graph_add_output(g, y, err);
}

/* One number a sequence. RoBERTa and Longformer classify by a layer of their own and choose by the encoder's pooler. What a new head lacks is drawn. */
static enum xc_status choice_head(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, int32_t *x, const struct xc_bert_shape *s, struct xc_err *err)
{
    const bool pooler = names->pooled_prefixed || !strcmp(names->pooled, "classifier.dense");
    const char *const prefix = pooler ? names->prefix : "", *const pooled = pooler ? "pooler.dense" : names->pooled;
    struct xc_hf_config drawn = *cfg;
    char weight[64];

    drawn.random = true;
    snprintf(weight, sizeof weight, "%s.weight", pooled);
    XC_TRY(xc_hf_first(g, x, *x, err));
    XC_TRY(xc_hf_dense(g, cfg->new_head && !xc_hf_has(cfg, prefix, weight) ? &drawn : cfg, x, prefix, pooled, s->hidden, pooler ? XC_ACT_TANH : names->pooled_act, err));
    return xc_hf_linear(g, cfg->new_head ? &drawn : cfg, x, "", "classifier", *x, 1, err);
}

enum xc_status xc_bert_build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, struct xc_err *err)
{
    struct xc_bert_shape own = *s;
    struct xc_graph *g = NULL;
    int32_t x;

    XC_TRY(xc_bert_read_attention(&own, cfg, err));
    if (own.kind && names->qg) return xc_fail(err, XC_E_UNSUPPORTED, "'attention' of this family is its own; the key in config.json is for BERT, RoBERTa and DistilBERT");
    s = &own;
    XC_TRY(xc_model_add_graph(m, &g, "encode", err));
    XC_TRY(encoder(g, cfg, names, s, &x, err));
    if (!strcmp(cfg->head, "lm")) return xc_fail(err, XC_E_UNSUPPORTED, "this family has no head 'lm', a causal language model");
    if (!strcmp(cfg->head, "embed")) return xc_hf_embed_head(g, cfg, x, err);
    if (!strcmp(cfg->head, "mlm")) return mlm_head(g, cfg, names, x, s, err);
    if (!strcmp(cfg->head, "classify") || !strcmp(cfg->head, "regress")) {
        XC_TRY(xc_hf_first(g, &x, x, err));
        XC_TRY(xc_hf_dense(g, cfg, &x, names->pooled_prefixed ? names->prefix : "", names->pooled, s->hidden, names->pooled_act, err));
        XC_TRY(xc_hf_linear(g, cfg, &x, "", names->classifier, x, xc_hf_n_labels(cfg), err));
    } else if (!strcmp(cfg->head, "tag")) {
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier", x, xc_hf_n_labels(cfg), err));
    } else if (!strcmp(cfg->head, "choice")) {
        XC_TRY(choice_head(g, cfg, names, &x, s, err));
    } else if (!strcmp(cfg->head, "answer")) {
        XC_TRY(xc_hf_answer_head(g, cfg, &x, err));
    }
    return xc_graph_add_output(g, x, err);
}
