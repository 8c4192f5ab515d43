/* bert: BertModel, BertForSequenceClassification, BertForTokenClassification, BertForMaskedLM, and sentence embeddings on top of it.
 * MiniLM checkpoints are BERT checkpoints.
 * Devlin et al. 2018, arXiv:1810.04805. No next-sentence head. */
#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "bert.", .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings", .type = "embeddings.token_type_embeddings",
    .emb_norm = "embeddings.LayerNorm", .layer = "encoder.layer.", .q = "attention.self.query", .k = "attention.self.key", .v = "attention.self.value",
    .o = "attention.output.dense", .attn_norm = "attention.output.LayerNorm", .up = "intermediate.dense", .down = "output.dense", .out_norm = "output.LayerNorm",
    .pooled = "pooler.dense", .pooled_prefixed = true, .pooled_act = XC_ACT_TANH, .classifier = "classifier", .mlm_dense = "cls.predictions.transform.dense",
    .mlm_norm = "cls.predictions.transform.LayerNorm", .mlm_decoder = "cls.predictions.decoder", .mlm_bias = "cls.predictions.bias",
};

static enum xc_status build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_bert_shape s = { 0 };

    (void)opts;
    XC_TRY(xc_bert_read_shape(&s, cfg, err));
    return xc_bert_build(m, cfg, &names, &s, err);
}

const struct xc_arch xc_arch_bert = { .model_type = "bert", .class_name = "Bert", .pad_id = 0, .build = build };
