/* roberta: RobertaModel and its heads. Liu et al. 2019, arXiv:1907.11692. Positions start behind the padding id. */
#include <string.h>

#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "roberta.", .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings", .type = "embeddings.token_type_embeddings",
    .emb_norm = "embeddings.LayerNorm", .layer = "encoder.layer.", .q = "attention.self.query", .k = "attention.self.key", .v = "attention.self.value",
    .o = "attention.output.dense", .attn_norm = "attention.output.LayerNorm", .up = "intermediate.dense", .down = "output.dense", .out_norm = "output.LayerNorm",
};

static enum xc_status read_shape(struct xc_bert_shape *s, const struct xc_hf_config *cfg, struct xc_err *err)
{
    int64_t pad;

    XC_TRY(xc_bert_read_shape(s, cfg, err));
    XC_TRY(xc_json_int_or(&pad, cfg->json, "pad_token_id", 0, 1 << 24, 1, err));
    if (s->positions <= pad + 1)
        return xc_fail(err, XC_E_FORMAT, "'max_position_embeddings' is %lld: no position is left behind pad_token_id %lld", (long long)s->positions, (long long)pad);
    s->position_offset = (int32_t)pad + 1;
    s->skip_id = (int32_t)pad;
    return XC_OK;
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
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier.dense", x, s.hidden, err));
        XC_TRY(xc_hf_unary(g, &x, "classifier.act", x, XC_ACT_TANH, err));
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier.out_proj", x, xc_hf_n_labels(cfg), err));
    } else if (!strcmp(cfg->head, "tag")) {
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier", x, xc_hf_n_labels(cfg), err));
    } else if (!strcmp(cfg->head, "mlm")) {
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "lm_head.dense", x, s.hidden, err));
        XC_TRY(xc_hf_unary(g, &x, "lm_head.act", x, XC_ACT_GELU, err));
        XC_TRY(xc_hf_layer_norm(g, cfg, &x, "", "lm_head.layer_norm", x, s.eps, err));
        return xc_bert_mlm_decoder(g, cfg, &names, "lm_head.decoder", "lm_head.bias", x, &s, err);
    }
    return xc_graph_add_output(g, x, err);
}

const struct xc_arch xc_arch_roberta = { .model_type = "roberta", .class_name = "Roberta", .pad_id = 1, .build = build };
