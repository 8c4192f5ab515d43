/* distilbert: DistilBertModel and its heads. Sanh et al. 2019, arXiv:1910.01108. No token types, no pooler. */
#include <string.h>

#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "distilbert.", .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings", .emb_norm = "embeddings.LayerNorm",
    .layer = "transformer.layer.", .q = "attention.q_lin", .k = "attention.k_lin", .v = "attention.v_lin", .o = "attention.out_lin",
    .attn_norm = "sa_layer_norm", .up = "ffn.lin1", .down = "ffn.lin2", .out_norm = "output_layer_norm",
};

static enum xc_status read_shape(struct xc_bert_shape *s, const struct xc_hf_config *cfg, struct xc_err *err)
{
    const char *act;

    XC_TRY(xc_json_int(&s->hidden, cfg->json, "dim", 1, 1 << 20, err));
    XC_TRY(xc_json_int(&s->layers, cfg->json, "n_layers", 0, 1024, err));
    XC_TRY(xc_json_int(&s->heads, cfg->json, "n_heads", 1, 1 << 16, err));
    XC_TRY(xc_json_int(&s->ffn, cfg->json, "hidden_dim", 1, 1 << 24, err));
    XC_TRY(xc_json_int(&s->vocab, cfg->json, "vocab_size", 1, 1 << 24, err));
    XC_TRY(xc_json_int_or(&s->positions, cfg->json, "max_position_embeddings", 1, 1 << 24, 512, err));
    XC_TRY(xc_json_str_or(&act, cfg->json, "activation", "gelu", err));
    s->eps = 1e-12f; /* fixed in the reference */
    s->skip_id = -1;
    return xc_hf_act(&s->act, act, err);
}

static enum xc_status build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_bert_shape s = { 0 };
    struct xc_graph *g = NULL;
    int32_t x;

    (void)opts;
    XC_TRY(read_shape(&s, cfg, err));
    XC_TRY(xc_model_add_graph(m, &g, "encode", err));
    XC_TRY(xc_bert_encoder(g, cfg, &names, &s, &x, err));
    if (!strcmp(cfg->head, "embed")) return xc_bert_embed_head(g, cfg, x, err);
    if (!strcmp(cfg->head, "classify") || !strcmp(cfg->head, "regress")) {
        XC_TRY(xc_bert_first(g, &x, x, err));
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "pre_classifier", x, s.hidden, err));
        XC_TRY(xc_hf_unary(g, &x, "pre_classifier.act", x, XC_ACT_RELU, err));
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier", x, xc_hf_n_labels(cfg), err));
    } else if (!strcmp(cfg->head, "tag")) {
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier", x, xc_hf_n_labels(cfg), err));
    } else if (!strcmp(cfg->head, "mlm")) {
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "vocab_transform", x, s.hidden, err));
        XC_TRY(xc_hf_unary(g, &x, "vocab_transform.act", x, s.act, err));
        XC_TRY(xc_hf_layer_norm(g, cfg, &x, "", "vocab_layer_norm", x, s.eps, err));
        return xc_bert_mlm_decoder(g, cfg, &names, "vocab_projector", "vocab_projector.bias", x, &s, err);
    }
    return xc_graph_add_output(g, x, err);
}

const struct xc_arch xc_arch_distilbert = { .model_type = "distilbert", .class_name = "DistilBert", .pad_id = 0, .build = build };
