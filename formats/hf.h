/* hf: a Hugging Face directory: config.json, weights, tokenizer, sentence-transformers' module files.
 *
 *   hf.c        reads the directory: which family, which head, which modules, facts for meta
 *   hf_build.c  what an arch loader (arch/<family>.c) builds graphs with
 *   hf_write.c  a model back to a directory, hf_config.c its config.json
 *
 * Tensors keep the checkpoint's own names, nodes its module names without the family's prefix ("encoder.layer.0.attention.self.query"). */
#ifndef XC_FORMATS_HF_H
#define XC_FORMATS_HF_H

#include "formats/formats.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "runtime/graph/op.h"

/* ---- what follows the transformer in a sentence-transformers model, in order ---- */
enum xc_hf_module_kind { XC_HF_POOLING = 0, XC_HF_DENSE, XC_HF_NORMALIZE };

struct xc_hf_module {
    enum xc_hf_module_kind kind;
    enum xc_pool_mode pooling;
    char path[64];               /* XC_HF_DENSE: its folder; its tensors are "<path>.linear.weight" and ".bias" */
    int64_t in, out;             /* XC_HF_DENSE: features */
    const char *activation;      /* XC_HF_DENSE: torch's class name, one of xc_hf_dense_act */
};
#define XC_HF_MAX_MODULES 8

struct xc_hf_config {
    const json_t *json;          /* config.json */
    const char *root;            /* the directory as given; NULL = there is none, everything is in memory */
    const char *dir;             /* where config.json and the weights are: root, or root/0_Transformer in old sentence-transformers models */
    struct xc_checkpoint *cp;
    bool random;                 /* cp is NULL: tensors are drawn */
    uint64_t seed;
    bool new_head;               /* heads "answer" and "choice" are drawn where the checkpoint has none */
    const char *head;            /* "embed", "classify", "regress", "tag", "answer", "choice", "mlm", "lm", "encode": decided before build */
    struct xc_hf_module modules[XC_HF_MAX_MODULES]; /* pooling first, exactly once; the mean where no file says anything */
    int n_modules;
    bool sentence;               /* the modules come from sentence-transformers' files */
};

/* ---- building ---- */
/* Adds tensor `name` (with the family's prefix or without it, old LayerNorm names tried too) to the model and binds it to the checkpoint;
 * a tensor that is there already is shared. dims are checked; 0 in a dim takes what is there and reports it. */
enum xc_status xc_hf_tensor(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const char *prefix, const char *name, int32_t rank, int64_t *dim,
                            struct xc_err *err);
/* A tensor of `file_rank` axes in other people's files that is one of `rank` here: the same numbers in the same order (axes of 1 dropped). */
enum xc_status xc_hf_tensor_as(struct xc_model *m, const struct xc_hf_config *cfg, int32_t *id, const char *prefix, const char *name, int32_t file_rank, const int64_t *file_dim,
                               int32_t rank, const int64_t *dim, struct xc_err *err);
bool xc_hf_has(const struct xc_hf_config *cfg, const char *prefix, const char *name);

/* Shorthands that add a node and its tensors; names: node "a.b.query", tensors "<node>.weight", "<node>.bias" (linear: where it is there). */
enum xc_status xc_hf_linear(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, int64_t n_out,
                            struct xc_err *err);
enum xc_status xc_hf_layer_norm(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *out, const char *prefix, const char *name, int32_t x, float eps,
                                struct xc_err *err);
enum xc_status xc_hf_unary(struct xc_graph *g, int32_t *out, const char *name, int32_t x, enum xc_act fn, struct xc_err *err);

/* A table "<name>.weight" read by ids; a sum. */
enum xc_status xc_hf_embedding(struct xc_graph *g, const struct xc_hf_config *cfg, const char *prefix, const char *name, int32_t ids, int64_t rows, int64_t cols, int32_t *out,
                               struct xc_err *err);
enum xc_status xc_hf_add(struct xc_graph *g, int32_t *out, const char *name, int32_t a, int32_t b, struct xc_err *err);

/* The first token of each sequence; a linear and its activation, whose node is named after it ("x.dense" or "x", then "x.act"); the pooling and
 * what follows it, as cfg->modules say, as the graph's output. */
enum xc_status xc_hf_first(struct xc_graph *g, int32_t *out, int32_t hidden, struct xc_err *err);
enum xc_status xc_hf_dense(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *x, const char *prefix, const char *name, int64_t cols, enum xc_act act, struct xc_err *err);
enum xc_status xc_hf_embed_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t hidden, struct xc_err *err);

/* hidden_act to a function; unknown names are refused by name. */
enum xc_status xc_hf_act(enum xc_act *out, const char *name, struct xc_err *err);
/* torch's class name of a Dense module's activation; "...Identity" is XC_ACT_NONE. */
enum xc_status xc_hf_dense_act(enum xc_act *out, const char *name, struct xc_err *err);

/* A config.json of our own making, where every key means something: one that is none of `known` (n of them, and what every config.json may have) is refused. */
enum xc_status xc_hf_known_keys(const json_t *obj, const char *const *known, size_t n, const char *what, struct xc_err *err);

/* BertForQuestionAnswering's head and its likes: "qa_outputs" makes the logits of a token to begin and to end the answer.
 * With cfg->new_head it is drawn where the checkpoint has none. */
enum xc_status xc_hf_answer_head(struct xc_graph *g, const struct xc_hf_config *cfg, int32_t *x, struct xc_err *err);

/* Labels that config.json declares: id2label, else num_labels, else 2 as transformers has it. */
int64_t xc_hf_n_labels(const struct xc_hf_config *cfg);

/* LayerNorm.gamma and .beta of checkpoints before 2019 as .weight and .bias; false when name is no such name. */
bool xc_hf_modern_name(char *out, size_t n, const char *name);

/* ---- BERT-shaped encoders; families fill in names and numbers ---- */
struct xc_bert_names {
    const char *prefix;          /* "bert.", tried before "" */
    const char *word, *position, *type, *emb_norm; /* type NULL = none */
    const char *layer;           /* "encoder.layer." */
    const char *qg, *kg, *vg;    /* longformer: projections of global tokens; NULL = dense attention */
    const char *q, *k, *v, *o, *attn_norm, *up, *down, *out_norm;
    /* classify, regress: dense on [CLS], activation, linear */
    const char *pooled, *classifier;
    bool pooled_prefixed;        /* belongs to the encoder: `prefix` holds for it */
    enum xc_act pooled_act;
    /* mlm: dense, activation (NONE = the encoder's), norm, decoder with its own bias */
    const char *mlm_dense, *mlm_norm, *mlm_decoder, *mlm_bias;
    enum xc_act mlm_act;
};
#define XC_BERT_LAYERS 1024 /* at most */
struct xc_bert_shape {
    int64_t hidden, layers, heads, ffn, vocab, positions, types;
    float eps;
    enum xc_act act;
    int32_t position_offset, skip_id;
    int32_t global_first;        /* longformer: tokens that are global; and the window to each side, by layer */
    int32_t segment_end;         /* longformer: of two texts with this id between them one is global; 0 = by number alone */
    bool second_global;          /* the second of them */
    int32_t window[XC_BERT_LAYERS]; /* linformer: slots, by layer */
    /* the key "attention" (bert_attention.c); 0 = dense, or the family's own */
    int32_t kind, sharing;
    bool parts[4], mixture;      /* synthesizer: dot, random, dense, factorised */
    int32_t rank;
    int64_t dense_hidden, factor;
};
/* "attention" of config.json; and such a layer's projections and attention, behind which the output's linear comes. */
enum xc_status xc_bert_read_attention(struct xc_bert_shape *shape, const struct xc_hf_config *cfg, struct xc_err *err);
enum xc_status xc_bert_attention(struct xc_graph *g, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *shape, int layer, int32_t x, int32_t *y,
                                 struct xc_err *err);
/* The keys that BERT and RoBERTa share; what is fixed in a family is the caller's. Decoders and relative positions are refused by name. */
enum xc_status xc_bert_read_shape(struct xc_bert_shape *shape, const struct xc_hf_config *cfg, struct xc_err *err);
/* RoBERTa's positions: they start behind the padding id and skip it. */
enum xc_status xc_bert_read_padding(struct xc_bert_shape *shape, const struct xc_hf_config *cfg, struct xc_err *err);
/* Longformer's attention_window, one even number or one for each layer, to windows to each side. */
enum xc_status xc_longformer_windows(struct xc_bert_shape *shape, const struct xc_hf_config *cfg, struct xc_err *err);
/* The graph "encode": the encoder, and the head that cfg names. */
enum xc_status xc_bert_build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_bert_names *names, const struct xc_bert_shape *shape, struct xc_err *err);

/* ---- from memory ---- */
/* Graphs, tensors (bound to cfg->cp) and meta from config.json alone: cfg has json, cp, modules and sentence; head NULL = what the config
 * says. What loading a directory ends with, what hf_write checks itself by, and the fuzzer's entry. */
enum xc_status xc_hf_build(struct xc_model **out, struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err);

/* config.json of a model as it is now: the checkpoint's own with what passes and training changed. */
enum xc_status xc_hf_make_config(json_t **out, const struct xc_model *m, int format, struct xc_err *err);
/* The numbers of a graph's layers in order, with holes where layers were dropped; the caller frees. */
enum xc_status xc_hf_layers(int32_t **out, int32_t *n, const struct xc_graph *g, struct xc_err *err);

/* cfg->modules from and to meta "modules", a JSON text that says what the module files said. */
enum xc_status xc_hf_modules_text(char **text, const struct xc_hf_config *cfg, struct xc_err *err);
enum xc_status xc_hf_modules_parse(struct xc_hf_config *cfg, const char *text, json_t **keep, struct xc_err *err);

extern const struct xc_arch *const xc_hf_archs[];
extern const int xc_hf_n_archs;
const struct xc_arch *xc_hf_arch(const char *model_type); /* NULL */

/* "dir/file"; XC_E_ARG when too long. */
enum xc_status xc_hf_path(char *out, size_t n, const char *dir, const char *file, struct xc_err *err);

#endif
