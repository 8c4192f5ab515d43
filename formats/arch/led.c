/* led: the encoder of LEDModel and LEDForConditionalGeneration, hidden states or their pooling. Beltagy et al. 2020, arXiv:2004.05150: BART with
 * Longformer's windows. No token is global, as transformers has it without a global_attention_mask. The decoder's weights are not used. */
#include <string.h>

#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "led.", .word = "encoder.embed_tokens", .position = "encoder.embed_positions", .emb_norm = "encoder.layernorm_embedding", .layer = "encoder.layers.",
    .q = "self_attn.longformer_self_attn.query", .k = "self_attn.longformer_self_attn.key", .v = "self_attn.longformer_self_attn.value",
    .qg = "self_attn.longformer_self_attn.query_global", .kg = "self_attn.longformer_self_attn.key_global", .vg = "self_attn.longformer_self_attn.value_global",
    .o = "self_attn.output", .attn_norm = "self_attn_layer_norm", .up = "fc1", .down = "fc2", .out_norm = "final_layer_norm",
};

static enum xc_status build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_bert_shape s = { .eps = 1e-5f, .skip_id = -1 };
    struct xc_bert_names own = names;
    const char *act;

    (void)opts;
    if (strcmp(cfg->head, "embed") && strcmp(cfg->head, "encode")) return xc_fail(err, XC_E_UNSUPPORTED, "of LED only the encoder is there: choose the head embed or encode, not '%s'", cfg->head);
    XC_TRY(xc_json_int(&s.hidden, cfg->json, "d_model", 1, 1 << 20, err));
    XC_TRY(xc_json_int(&s.layers, cfg->json, "encoder_layers", 0, XC_BERT_LAYERS, err));
    XC_TRY(xc_json_int(&s.heads, cfg->json, "encoder_attention_heads", 1, 1 << 16, err));
    XC_TRY(xc_json_int(&s.ffn, cfg->json, "encoder_ffn_dim", 1, 1 << 24, err));
    XC_TRY(xc_json_int(&s.vocab, cfg->json, "vocab_size", 1, 1 << 24, err));
    XC_TRY(xc_json_int_or(&s.positions, cfg->json, "max_encoder_position_embeddings", 1, 1 << 24, 16384, err));
    XC_TRY(xc_json_str_or(&act, cfg->json, "activation_function", "gelu", err));
    XC_TRY(xc_hf_act(&s.act, act, err));
    XC_TRY(xc_longformer_windows(&s, cfg, err));
    if (!xc_hf_has(cfg, names.prefix, "encoder.embed_tokens.weight")) own.word = "shared"; /* one table for encoder and decoder, stored once */
    return xc_bert_build(m, cfg, &own, &s, err);
}

const struct xc_arch xc_arch_led = { .model_type = "led", .class_name = "LED", .pad_id = 1, .build = build };
