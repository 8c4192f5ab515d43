/* formats: other people's files to a model and back. MODEL on the command line is any path that xc_model_load understands; what it
 * is, is found from the content, never from the extension. Each format is one file with one line in formats.def. */
#ifndef XC_FORMATS_FORMATS_H
#define XC_FORMATS_FORMATS_H

#include "runtime/graph/graph.h"

struct xc_load_opts {
    const char *head;    /* NULL = what the checkpoint says; "embed", "classify", "tag", "answer", "choice", "mlm", "lm", "encode" (hidden states alone) */
    int32_t max_tokens;  /* 0 = what the checkpoint says */
    bool load_tensors;   /* bring all bytes in now; false = on demand from the source */
    bool random;         /* weights are drawn, not read: a directory of config.json and a tokenizer is enough. As BERT begins: normal with deviation 0.02, gains of norms 1, biases 0 */
    uint64_t seed;       /* of random and new_head */
    bool new_head;       /* a head "answer" or "choice" that the checkpoint lacks is drawn, with seed */
    bool first_global;   /* Longformer: the first token sees all and is seen by all, as under a classifier's head: one is going to stand on the encoder */
    bool all_tensors;    /* keep weights that no graph uses (an unused pooler), for convert; false = they are named in meta "unused_tensors" */
};

struct xc_format_reader {
    const char *name; /* "xc", "hf" */
    /* How sure this reader is that path is its own: 0 no, 1 yes. Never fails; unreadable = 0. */
    int (*probe)(const char *path);
    /* opts is not NULL. */
    enum xc_status (*load)(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err);
};

/* Loads a model of any known format. opts may be NULL. A loaded model always passes xc_model_verify. */
enum xc_status xc_model_load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err);

/* The N of "...layer.N..." in the name of a node or a tensor; -1 = it is in no layer. digits: where N stands in it and how long it is; NULL = not asked for. */
struct xc_digits { size_t at, n; };
int32_t xc_layer_number(const char *name, struct xc_digits *digits);

/* Writes a Hugging Face directory (config.json, model.safetensors, tokenizer.json, tokenizer_config.json, sentence-transformers' files) with
 * dequantized weights as `format` (f32, f16, bf16): transformers loads it. The directory is created; existing files are replaced one by one,
 * atomically, config.json last. XC_E_UNSUPPORTED, before anything is written, for a model whose graph config.json cannot describe. */
enum xc_status xc_hf_write(const struct xc_model *m, const char *dir, int format, struct xc_err *err);

/* XXH3-128 of every source file that the model was read from, for the manifest: calls fn(arg, name below the directory, size, hex) in the order
 * of the names ("1_Pooling/config.json"); fn returns non-zero to stop. Any other file is digested itself. *stop (NULL = none), set by another thread, ends it. */
enum xc_status xc_source_digests(const char *path, int (*fn)(void *arg, const char *file, uint64_t size, const char hex[33]), void *arg, const bool *stop,
                                 struct xc_err *err);
/* The same with hex from what the file system says of each file (device, inode, size, times): changes when the file does, and needs no reading. */
enum xc_status xc_source_identities(const char *path, int (*fn)(void *arg, const char *file, uint64_t size, const char hex[33]), void *arg, struct xc_err *err);

/* One model family: config.json plus tensor names to graphs. One file each under arch/, one line in archs.def. */
struct xc_hf_config; /* hf.h: parsed config.json and the tensor directory of the checkpoint */
struct xc_arch {
    const char *model_type; /* "bert", "distilbert", "roberta" */
    const char *class_name; /* of transformers, without the head: "Bert" */
    int64_t pad_id;         /* pad_token_id where config.json has none */
    enum xc_status (*build)(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err);
    const char *lm_suffix;  /* of the class with a language model's head, where it is not transformers' ("LM"); NULL = ForMaskedLM, ModelWithLMHead */
    enum xc_status (*to_file)(struct xc_tensor *t, struct xc_err *err); /* gives t, a copy to be written, the axes of the family's files; NULL = its own */
};

#endif
