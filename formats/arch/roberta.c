/* roberta: RobertaModel and its heads. Liu et al. 2019, arXiv:1907.11692. Positions start behind the padding id. */
#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "roberta.", .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings", .type = "embeddings.token_type_embeddings",
    .emb_norm = "embeddings.LayerNorm", .layer = "encoder.layer.", .q = "attention.self.query", .k = "attention.self.key", .v = "attention.self.value",
    .o = "attention.output.dense", .attn_norm = "attention.output.LayerNorm", .up = "intermediate.dense", .down = "output.dense", .out_norm = "output.LayerNorm",
    .pooled = "classifier.dense", .pooled_act = XC_ACT_TANH, .classifier = "classifier.out_proj", .mlm_dense = "lm_head.dense", .mlm_act = XC_ACT_GELU,
    .mlm_norm = "lm_head.layer_norm", .mlm_decoder = "lm_head.decoder", .mlm_bias = "lm_head.bias",
};

static enum xc_status build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_bert_shape s = { 0 };

    (void)opts;
    XC_TRY(xc_bert_read_shape(&s, cfg, err));
    XC_TRY(xc_bert_read_padding(&s, cfg, err));
    return xc_bert_build(m, cfg, &names, &s, err);
}

const struct xc_arch xc_arch_roberta = { .model_type = "roberta", .class_name = "Roberta", .pad_id = 1, .build = build };
