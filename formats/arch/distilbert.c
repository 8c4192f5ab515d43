/* distilbert: DistilBertModel and its heads. Sanh et al. 2019, arXiv:1910.01108. No token types, no pooler. */
#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "distilbert.", .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings", .emb_norm = "embeddings.LayerNorm",
    .layer = "transformer.layer.", .q = "attention.q_lin", .k = "attention.k_lin", .v = "attention.v_lin", .o = "attention.out_lin",
    .attn_norm = "sa_layer_norm", .up = "ffn.lin1", .down = "ffn.lin2", .out_norm = "output_layer_norm",
    .pooled = "pre_classifier", .pooled_act = XC_ACT_RELU, .classifier = "classifier", .mlm_dense = "vocab_transform", .mlm_norm = "vocab_layer_norm",
    .mlm_decoder = "vocab_projector", .mlm_bias = "vocab_projector.bias",
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

    (void)opts;
    XC_TRY(read_shape(&s, cfg, err));
    return xc_bert_build(m, cfg, &names, &s, err);
}

const struct xc_arch xc_arch_distilbert = { .model_type = "distilbert", .class_name = "DistilBert", .pad_id = 0, .build = build };
