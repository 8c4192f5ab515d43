/* hf: a Hugging Face directory: config.json, weights, tokenizer, sentence-transformers' pooling files.
 *
 * What an arch loader (arch/<family>.c) gets, and the helpers it builds graphs with. */
#ifndef XC_FORMATS_HF_H
#define XC_FORMATS_HF_H

#include "formats/formats.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "runtime/graph/op.h"

struct xc_hf_config {
    const json_t *json;          /* config.json */
    const char *dir;
    struct xc_checkpoint *cp;
    const char *head;            /* "embed", "classify", "regress", "tag", "mlm", "encode": decided before build */
    /* sentence-transformers */
    enum xc_pool_mode pooling;
    bool normalize;
};

/* Adds tensor `name` (under any of the family's prefixes, with old LayerNorm names tried too) to the model and binds it to the checkpoint.
 * dims are checked; 0 in a dim takes what is there and reports it. */
enum xc_status xc_hf_tensor(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const char *prefix, const char *name, int32_t rank, int64_t *dim,
                            struct xc_err *err);
bool xc_hf_has(const struct xc_hf_config *cfg, const char *prefix, const char *name);

/* Shorthands that add a node and its tensors; names: node "a.b.query", tensors "<node>.weight", "<node>.bias". */
enum xc_status xc_hf_linear(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, int64_t n_out,
                            struct xc_err *err);
enum xc_status xc_hf_layer_norm(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, float eps,
                                struct xc_err *err);
enum xc_status xc_hf_unary(struct xc_graph *g, int32_t *out, const char *name, int32_t x, enum xc_act fn, struct xc_err *err);

/* hidden_act to a function; unknown names are refused by name. */
enum xc_status xc_hf_act(enum xc_act *out, const char *name, struct xc_err *err);

/* The whole of a BERT-shaped encoder; families fill in names and numbers. */
struct xc_bert_names {
    const char *prefix;          /* "bert.", tried before "" */
    const char *word, *position, *type, *emb_norm; /* type NULL = none */
    const char *layer;           /* "encoder.layer.%d." */
    const char *q, *k, *v, *o, *attn_norm, *up, *down, *out_norm;
};
struct xc_bert_shape {
    int64_t hidden, layers, heads, ffn, vocab, positions, types;
    float eps;
    enum xc_act act;
    int32_t position_offset, skip_id;
};
enum xc_status xc_bert_encoder(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *shape,
                               int32_t *hidden, struct xc_err *err);
/* Pooling and normalising as the sentence-transformers files say, then the output. */
enum xc_status xc_bert_embed_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t hidden, struct xc_err *err);
/* [CLS] of each sequence. */
enum xc_status xc_bert_first(struct xc_graph *g, int32_t *out, int32_t hidden, struct xc_err *err);
/* Masked-LM decoder: tied to the word table unless the checkpoint has its own weight. */
enum xc_status xc_bert_mlm_decoder(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const char *weight, const char *bias,
                                   int32_t x, const struct xc_bert_shape *shape, struct xc_err *err);
int64_t xc_hf_n_labels(const struct xc_hf_config *cfg);

#endif
