/* longformer: LongformerModel and its heads. Beltagy et al. 2020, arXiv:2004.05150. RoBERTa with windows. Global tokens are those that
 * transformers chooses by itself: a classifier's first one; in question answering all of the question, which ends at the first sep_token_id; of a choice what stands behind. Without them the global projections have no
 * effect and are not read. transformers wants three separators, <s> q </s></s> c </s>, and stops at any other text; here one with fewer than two is no pair and has no global tokens. */
#include <string.h>

#include "formats/hf.h"

static const struct xc_bert_names names = {
    .prefix = "longformer.", .word = "embeddings.word_embeddings", .position = "embeddings.position_embeddings", .type = "embeddings.token_type_embeddings",
    .emb_norm = "embeddings.LayerNorm", .layer = "encoder.layer.", .q = "attention.self.query", .k = "attention.self.key", .v = "attention.self.value",
    .qg = "attention.self.query_global", .kg = "attention.self.key_global", .vg = "attention.self.value_global",
    .o = "attention.output.dense", .attn_norm = "attention.output.LayerNorm", .up = "intermediate.dense", .down = "output.dense", .out_norm = "output.LayerNorm",
    .pooled = "classifier.dense", .pooled_act = XC_ACT_TANH, .classifier = "classifier.out_proj", .mlm_dense = "lm_head.dense", .mlm_act = XC_ACT_GELU,
    .mlm_norm = "lm_head.layer_norm", .mlm_decoder = "lm_head.decoder", .mlm_bias = "lm_head.bias",
};

enum xc_status xc_longformer_windows(struct xc_bert_shape *s, const struct xc_hf_config *cfg, struct xc_err *err)
{
    const json_t *windows = json_object_get(cfg->json, "attention_window");
    const bool list = json_is_array(windows);

    if (!windows) return xc_fail(err, XC_E_FORMAT, "'attention_window' is missing");
    if (list && (int64_t)json_array_size(windows) != s->layers)
        return xc_fail(err, XC_E_FORMAT, "'attention_window' has %lld numbers for %lld layers", (long long)json_array_size(windows), (long long)s->layers);
    for (int64_t i = 0; i < s->layers; i++) {
        int64_t w;

        if (!xc_json_as_int(&w, list ? json_array_get(windows, (size_t)i) : windows, 2, 1 << 24) || w % 2)
            return xc_fail(err, XC_E_FORMAT, "'attention_window' of layer %lld must be an even number of at least 2", (long long)i);
        s->window[i] = (int32_t)(w / 2);
    }
    return XC_OK;
}

static enum xc_status build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct xc_bert_shape s = { 0 };

    XC_TRY(xc_bert_read_shape(&s, cfg, err));
    XC_TRY(xc_bert_read_padding(&s, cfg, err));
    XC_TRY(xc_longformer_windows(&s, cfg, err));
    s.global_first = !strcmp(cfg->head, "classify") || !strcmp(cfg->head, "regress") || opts->first_global;
    if (!strcmp(cfg->head, "answer") || !strcmp(cfg->head, "choice")) {
        int64_t end;

        XC_TRY(xc_json_int_or(&end, cfg->json, "sep_token_id", 1, 1 << 24, 2, err));
        s.segment_end = (int32_t)end;
        s.second_global = !strcmp(cfg->head, "choice");
    }
    return xc_bert_build(m, cfg, &names, &s, err);
}

const struct xc_arch xc_arch_longformer = { .model_type = "longformer", .class_name = "Longformer", .pad_id = 1, .build = build };
