/* bert: BertModel, BertForSequenceClassification, BertForTokenClassification, BertForMaskedLM, and sentence embeddings on top of it.
 * MiniLM checkpoints are BERT checkpoints.
 * Devlin et al. 2018, arXiv:1810.04805. No next-sentence head. */
#include <string.h>

#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "bert.", .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings", .type = "embeddings.token_type_embeddings",
    .emb_norm = "embeddings.LayerNorm", .layer = "encoder.layer.", .q = "attention.self.query", .k = "attention.self.key", .v = "attention.self.value",
    .o = "attention.output.dense", .attn_norm = "attention.output.LayerNorm", .up = "intermediate.dense", .down = "output.dense", .out_norm = "output.LayerNorm",
};

static enum xc_status classify_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t x, const struct xc_bert_shape *s, struct xc_err *err)
{
    XC_TRY(xc_bert_first(g, &x, x, err));
    XC_TRY(xc_hf_linear(g, cfg, &x, names.prefix, "pooler.dense", x, s->hidden, err));
    XC_TRY(xc_hf_unary(g, &x, "pooler.act", x, XC_ACT_TANH, err));
    XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier", x, xc_hf_n_labels(cfg), err));
    return xc_graph_add_output(g, x, err);
}

static enum xc_status mlm_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t x, const struct xc_bert_shape *s, struct xc_err *err)
{
    XC_TRY(xc_hf_linear(g, cfg, &x, "", "cls.predictions.transform.dense", x, s->hidden, err));
    XC_TRY(xc_hf_unary(g, &x, "cls.predictions.transform.act", x, s->act, err));
    XC_TRY(xc_hf_layer_norm(g, cfg, &x, "", "cls.predictions.transform.LayerNorm", x, s->eps, err));
    return xc_bert_mlm_decoder(g, cfg, &names, "cls.predictions.decoder", "cls.predictions.bias", x, s, err);
}

static enum xc_status build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_bert_shape s = { 0 };
    struct xc_graph *g = NULL;
    int32_t x;

    (void)opts;
    XC_TRY(xc_bert_read_shape(&s, cfg, err));
    XC_TRY(xc_model_add_graph(m, &g, "encode", err));
    XC_TRY(xc_bert_encoder(g, cfg, &names, &s, &x, err));
    if (!strcmp(cfg->head, "embed")) return xc_bert_embed_head(g, cfg, x, err);
    if (!strcmp(cfg->head, "classify") || !strcmp(cfg->head, "regress")) return classify_head(g, cfg, x, &s, err);
    if (!strcmp(cfg->head, "mlm")) return mlm_head(g, cfg, x, &s, err);
    if (!strcmp(cfg->head, "tag")) XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier", x, xc_hf_n_labels(cfg), err));
    return xc_graph_add_output(g, x, err);
}

const struct xc_arch xc_arch_bert = { .model_type = "bert", .class_name = "Bert", .pad_id = 0, .build = build };
