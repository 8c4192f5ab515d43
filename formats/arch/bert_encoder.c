/* bert_encoder: the encoder that BERT, DistilBERT and RoBERTa share: embeddings, post-norm layers, heads' common parts.
 * Devlin et al. 2018, arXiv:1810.04805. Names and numbers come from the families' files. */
#include <stdio.h>
#include <string.h>

#include "formats/hf.h"

static enum xc_status embedding(struct xc_graph *g, const struct xc_hf_config *cfg, const char *prefix, const char *name, int32_t ids, int64_t rows, int64_t cols,
                                int32_t *out, struct xc_err *err)
{
    char weight[256];
    int64_t dim[2] = { rows, cols };
    int32_t id;

    snprintf(weight, sizeof weight, "%s.weight", name);
    XC_TRY(xc_hf_tensor(g->model, cfg, &id, prefix, weight, 2, dim, err));
    const struct xc_ref in[] = { xc_val(ids), xc_ten(id) };

    return xc_graph_add_node(g, out, "gather", name, in, 2, NULL, err);
}

static enum xc_status add(struct xc_graph *g, int32_t *out, const char *name, int32_t a, int32_t b, struct xc_err *err)
{
    const struct xc_ref in[] = { xc_val(a), xc_val(b) };

    return xc_graph_add_node(g, out, "add", name, in, 2, NULL, err);
}

static enum xc_status embeddings(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int32_t tokens,
                                 int32_t *x, struct xc_err *err)
{
    const struct xc_attr_positions attr = { .offset = s->position_offset, .skip_id = s->skip_id };
    int32_t ids, types, position_ids, word, position;

    XC_TRY(xc_graph_add_input(g, &ids, "ids", tokens, 1, XC_DTYPE_I32, err));
    if (names->type) XC_TRY(xc_graph_add_input(g, &types, "types", tokens, 1, XC_DTYPE_I32, err));
    const struct xc_ref in[] = { xc_val(ids) };

    XC_TRY(xc_graph_add_node(g, &position_ids, "positions", "position_ids", in, 1, &attr, err));
    XC_TRY(embedding(g, cfg, names->prefix, names->word, ids, s->vocab, s->hidden, &word, err));
    if (names->type) { /* the order of the sum is the reference's: (word + type) + position */
        int32_t type;

        XC_TRY(embedding(g, cfg, names->prefix, names->type, types, s->types, s->hidden, &type, err));
        XC_TRY(add(g, &word, "embeddings.word_and_type", word, type, err));
    }
    XC_TRY(embedding(g, cfg, names->prefix, names->position, position_ids, s->positions, s->hidden, &position, err));
    XC_TRY(add(g, x, "embeddings.sum", word, position, err));
    return xc_hf_layer_norm(g, cfg, x, names->prefix, names->emb_norm, *x, s->eps, err);
}

static enum xc_status layer(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int i, int32_t *x,
                            struct xc_err *err)
{
    const struct xc_attr_attention attr = { .heads = (int32_t)s->heads };
    char base[128], name[256];
    int32_t qkv[3], y;
    const char *const parts[3] = { names->q, names->k, names->v };

    snprintf(base, sizeof base, names->layer, i);
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "%s%s", base, parts[k]);
        XC_TRY(xc_hf_linear(g, cfg, &qkv[k], names->prefix, name, *x, s->hidden, err));
    }
    const struct xc_ref in[] = { xc_val(qkv[0]), xc_val(qkv[1]), xc_val(qkv[2]) };

    snprintf(name, sizeof name, "%sattention", base);
    XC_TRY(xc_graph_add_node(g, &y, "attention", name, in, 3, &attr, err));
    snprintf(name, sizeof name, "%s%s", base, names->o);
    XC_TRY(xc_hf_linear(g, cfg, &y, names->prefix, name, y, s->hidden, err));
    snprintf(name, sizeof name, "%sattention.residual", base);
    XC_TRY(add(g, &y, name, y, *x, err));
    snprintf(name, sizeof name, "%s%s", base, names->attn_norm);
    XC_TRY(xc_hf_layer_norm(g, cfg, x, names->prefix, name, y, s->eps, err));
    snprintf(name, sizeof name, "%s%s", base, names->up);
    XC_TRY(xc_hf_linear(g, cfg, &y, names->prefix, name, *x, s->ffn, err));
    snprintf(name, sizeof name, "%sffn.act", base);
    XC_TRY(xc_hf_unary(g, &y, name, y, s->act, err));
    snprintf(name, sizeof name, "%s%s", base, names->down);
    XC_TRY(xc_hf_linear(g, cfg, &y, names->prefix, name, y, s->hidden, err));
    snprintf(name, sizeof name, "%sffn.residual", base);
    XC_TRY(add(g, &y, name, y, *x, err));
    snprintf(name, sizeof name, "%s%s", base, names->out_norm);
    return xc_hf_layer_norm(g, cfg, x, names->prefix, name, y, s->eps, err);
}

enum xc_status xc_bert_encoder(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *s, int32_t *hidden,
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

enum xc_status xc_bert_first(struct xc_graph *g, int32_t *out, int32_t hidden, struct xc_err *err)
{
    const struct xc_attr_pool attr = { .mode = XC_POOL_FIRST };
    const struct xc_ref in[] = { xc_val(hidden) };

    return xc_graph_add_node(g, out, "pool", "first", in, 1, &attr, err);
}

enum xc_status xc_bert_embed_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t hidden, struct xc_err *err)
{
    const struct xc_attr_pool attr = { .mode = (int32_t)cfg->pooling };
    struct xc_ref in[] = { xc_val(hidden) };
    int32_t y;

    XC_TRY(xc_graph_add_node(g, &y, "pool", "pooling", in, 1, &attr, err));
    in[0] = xc_val(y);
    if (cfg->normalize) XC_TRY(xc_graph_add_node(g, &y, "l2_normalize", "normalize", in, 1, NULL, err));
    return xc_graph_add_output(g, y, err);
}

enum xc_status xc_bert_mlm_decoder(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const char *weight, const char *bias, int32_t x,
                                   const struct xc_bert_shape *s, struct xc_err *err)
{
    int64_t dim[2] = { s->vocab, s->hidden }, n = s->vocab;
    char word[256];
    int32_t w, b, y;
    bool tied = true;

    XC_TRY(xc_json_bool_or(&tied, cfg->json, "tie_word_embeddings", true, err));
    snprintf(word, sizeof word, "%s.weight", names->word);
    if (!tied && xc_hf_has(cfg, "", weight)) XC_TRY(xc_hf_tensor(g->model, cfg, &w, "", weight, 2, dim, err));
    else XC_TRY(xc_hf_tensor(g->model, cfg, &w, names->prefix, word, 2, dim, err));
    XC_TRY(xc_hf_tensor(g->model, cfg, &b, "", bias, 1, &n, err));
    const struct xc_ref in[] = { xc_val(x), xc_ten(w), xc_ten(b) };

    XC_TRY(xc_graph_add_node(g, &y, "linear", "decoder", in, 3, NULL, err));
    return xc_graph_add_output(g, y, err);
}
