/* formats: other people's files to a model and back. MODEL on the command line is any path that xc_model_load understands; what it
 * is, is found from the content, never from the extension. Each format is one file with one line in formats.def. */
#ifndef XC_FORMATS_FORMATS_H
#define XC_FORMATS_FORMATS_H

#include "runtime/graph/graph.h"

struct xc_load_opts {
    const char *head;    /* NULL = what the checkpoint says; "embed", "classify", "tag", "mlm", "encode" (hidden states alone) */
    int32_t max_tokens;  /* 0 = what the checkpoint says */
    bool load_tensors;   /* bring all bytes in now; false = on demand from the source */
};

struct xc_format_reader {
    const char *name; /* "xc", "hf" */
    /* How sure this reader is that path is its own: 0 no, 1 yes. Never fails; unreadable = 0. */
    int (*probe)(const char *path);
    enum xc_status (*load)(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err);
};

/* Loads a model of any known format. opts may be NULL. A loaded model always passes xc_model_verify. */
enum xc_status xc_model_load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err);

/* Writes a Hugging Face directory (config.json, model.safetensors, tokenizer.json, tokenizer_config.json, pooling files) with
 * dequantized weights as `format` (f32, f16, bf16): transformers loads it. The directory is created; existing files are replaced one by one, atomically. */
enum xc_status xc_hf_write(const struct xc_model *m, const char *dir, int format, struct xc_err *err);

/* XXH3-128 of every source file that the model was read from, for the manifest: calls fn(arg, file name without directory, size, hex). */
enum xc_status xc_source_digests(const char *path, int (*fn)(void *arg, const char *file, uint64_t size, const char hex[33]), void *arg,
                                 struct xc_err *err);

/* One model family: config.json plus tensor names to graphs. One file each under arch/, one line in archs.def. */
struct xc_hf_config; /* hf.h: parsed config.json and the tensor directory of the checkpoint */
struct xc_arch {
    const char *model_type; /* "bert", "distilbert", "roberta" */
    enum xc_status (*build)(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err);
};

#endif
