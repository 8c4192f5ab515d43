/* libxcompress: the toolkit: load a checkpoint, compress it, write one file.
 *
 *     struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
 *     struct xc_compress_result result;
 *
 *     opts.quantize = "int8";
 *     if (xc_compress_file("checkpoint/", "out.xc", &opts, &result, &err)) ...
 *     xc_compress_result_release(&result);
 *
 * Includes all of runtime.h: a program links libxcompress or libxcrt, not both. Errors are values (status.h); nothing is printed. */
#ifndef XC_COMPRESS_H
#define XC_COMPRESS_H

#include "xcompress/progress.h"
#include "xcompress/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- recipes: an ordered list of passes, each with settings, targets and exceptions ---- */
struct xc_recipe;

XC_API enum xc_status xc_recipe_new(struct xc_recipe **out, struct xc_err *err);
XC_API void xc_recipe_free(struct xc_recipe **recipe);

/* Appends a pass. The calls below speak of the pass added last. XC_E_NOT_FOUND names a pass that does not exist. */
XC_API enum xc_status xc_recipe_add(struct xc_recipe *recipe, const char *pass, struct xc_err *err);

/* Sets an option; values are text ("static", "99.99", "true"). An option that the pass does not have, or a value outside its limits, is an error. */
XC_API enum xc_status xc_recipe_set(struct xc_recipe *recipe, const char *option, const char *value, struct xc_err *err);

/* What to treat, and what to leave, by the conventions of llm-compressor: the kind of an op ("linear"; "Linear" and "Embedding" are understood),
 * the name of a node, the name of a tensor, or "re:" and a regular expression that the name of a node or a tensor must match from its start. No target = the scope the pass says of itself. A word that
 * matches nothing is an error, and so is a target that the pass cannot treat. */
XC_API enum xc_status xc_recipe_target(struct xc_recipe *recipe, const char *word, struct xc_err *err);
XC_API enum xc_status xc_recipe_ignore(struct xc_recipe *recipe, const char *word, struct xc_err *err);

/* Begins an override of the pass added last: other settings (xc_recipe_set, from now on) for the nodes that its words match. Of several
 * overrides that match a node the last counts. */
XC_API enum xc_status xc_recipe_override(struct xc_recipe *recipe, struct xc_err *err);
XC_API enum xc_status xc_recipe_match(struct xc_recipe *recipe, const char *word, struct xc_err *err);

/* A recipe as YAML (docs/recipes.md). Errors name file and line; so do those of a later xc_compress_file that come from a word of it. */
XC_API enum xc_status xc_recipe_read(struct xc_recipe **out, const char *path, struct xc_err *err);
/* name stands for the file in errors. */
XC_API enum xc_status xc_recipe_parse(struct xc_recipe **out, const char *text, size_t n, const char *name, struct xc_err *err);

/* The passes of this build, NULL-terminated, and what each is for; NULL for an unknown one. */
XC_API const char *const *xc_pass_names(void);
XC_API const char *xc_pass_summary(const char *pass);

/* The i-th option of a pass: false when there is none. */
struct xc_pass_option_info {
    const char *name, *help, *def;
    const char *choices; /* "row|static"; NULL = a number from min to max */
    const char *word;    /* a word that may stand in place of the number; NULL = none */
    double min, max;
};
XC_API bool xc_pass_option(const char *pass, int i, struct xc_pass_option_info *info);

/* ---- compression ---- */
struct xc_ranks; /* processes that mpirun started together: the program's affair */
struct xc_compress_opts {
    const struct xc_recipe *recipe; /* NULL = made from the shorthands below */
    const char *quantize;   /* NULL = as stored; "int8" */
    const char *calibrate;  /* NULL, or a file of texts (one a line; .tsv with a header; either may be zstd): measures the error of layers */
    bool static_ranges;     /* activations by one calibrated scale a layer instead of one a row; needs calibrate */
    int32_t calibrate_rows; /* texts used at most, spread evenly over the file */
    bool small;             /* entropy-coded file instead of one that is mapped */
    bool no_golden;         /* store no golden samples */
    uint64_t seed;
    const char *head;       /* NULL = what the checkpoint says; else "embed", "classify", ... */
    int32_t max_tokens;     /* 0 = what the checkpoint says */
    uint64_t max_memory;    /* bytes that a run may take, about; 0 = a quarter of the machine. Finished tensors go to disk before that */
    bool no_resume;         /* forget what an interrupted run of the same work left (OUT.xc.resume) */
    struct xc_pool *pool;   /* NULL = the calling thread; the bytes made do not depend on it */
    struct xc_ranks *ranks; /* NULL = this process alone; nor on it. Such a run keeps no file to go on from */
    const struct xc_progress *progress; /* may be NULL */
};
#define XC_COMPRESS_DEFAULT { .calibrate_rows = 512 }

/* What became of one tensor. */
struct xc_layer_report {
    char *name;
    char *node;          /* the node that uses it first; "" when none does */
    char op[24];         /* that node's kind: "linear", "gather", ... */
    char encoding[48];   /* "int8/row", "f32", "dropped" */
    char why[160];       /* the reason, for --plan */
    uint64_t count;      /* numbers */
    uint64_t bytes;      /* as encoded; 0 when dropped */
    uint64_t source_bytes;
    double error;        /* relative L2 of the weight; 0 when unchanged */
    double output_error; /* relative L2 of the layer's output on the calibration texts; -1 = not measured */
    double sparsity;     /* share of zeros; -1 = not counted: the tensor was not changed, or only planned */
    int64_t clamped;     /* groups changed by the 16-bit rules (kernels.h) */
};

/* What each encoding of one weight alone does to the model's answers: the profile by which format mixed chooses. Drops are defined in
 * compress/calibrate/sensitivity.h and docs/methods.md: half the squared relative distance of an answer from what it was. */
struct xc_sensitivity_choice {
    char encoding[48];
    uint64_t bytes;      /* of the weight; packed when the file is to be small */
    double cost;         /* drop */
};
struct xc_sensitivity {
    char *name;          /* of the tensor */
    struct xc_sensitivity_choice *choices;
    int32_t n_choices, chosen;
};

/* An attention that pass swap_attention has looked at. */
struct xc_attention_swap {
    char *node, to[96];  /* "longformer, window 64, 1 global" */
    double cost;         /* drop when it alone is swapped; -1 = not measured (a plan) */
    bool swapped;
};

struct xc_compress_result {
    struct xc_layer_report *layers; /* tensors kept, then those dropped */
    int64_t n_layers;
    uint64_t input_bytes;   /* of the source's files */
    uint64_t output_bytes;  /* of the file; for a plan: what --store fast makes, to the byte */
    uint64_t small_bytes;   /* of a plan with opts->small: about what --store small makes, from samples of the weights; else 0 */
    uint64_t parameters;    /* of the tensors kept */
    double bits_per_weight; /* of the tensors kept, by their encodings */
    int64_t calibration_texts, calibration_tokens;
    int64_t resumed;        /* tensors re-used from an interrupted run */
    struct xc_sensitivity *sensitivity; /* by weight, in the order of first use; NULL without format mixed */
    int64_t n_sensitivity;
    double attention_drop;  /* of int8 attention alone */
    double predicted_drop, measured_drop; /* of all choices: the sum, and what the whole model shows; -1 = not measured (a plan) */
    struct xc_attention_swap *swaps; /* of pass swap_attention, by node; NULL without it */
    int64_t n_swaps;
    double swap_drop;       /* of all that were swapped; then of the controls: the same layers with a window alone, the global part alone, no attention */
    double swap_local, swap_global, swap_none;
    int32_t token_layers;   /* of pass prune_tokens: behind how many attentions tokens leave; 0 without it */
    double token_threshold; /* of the last of them, in units of the mean attention; 0 = none was chosen */
    double tokens_kept, token_drop; /* on calibration texts: the share of tokens that stay, in the mean over these layers, and the drop; -1 = not measured */
    bool estimated;         /* of a plan: sizes are a guess, since passes choose shapes or encodings by what they will measure */
    double predicted_seconds;  /* of a plan: how long the work would take here, and the most memory it would hold at once; else 0 */
    uint64_t predicted_peak;
    double seconds;
};
XC_API void xc_compress_result_release(struct xc_compress_result *result);

/* Compresses the model at `from` (any format) into the file `to`, which is replaced as a whole or left as it was. `to` NULL = plan
 * only: weights are read as samples at most, to foresee sizes and times; but format mixed measures the model, to choose as the work would. While it runs, finished tensors are kept in the file "to.resume", from which the same call goes on after it was
 * interrupted (killed, cancelled, out of memory or disk); after success and after other errors it is gone. */
XC_API enum xc_status xc_compress_file(const char *from, const char *to, const struct xc_compress_opts *opts, struct xc_compress_result *result,
                                       struct xc_err *err);

/* The same on a model in memory; `model` is left as it was. `from` (may be NULL) is where it came from, for the manifest. plan_only as
 * `to` = NULL above; *out is then NULL. */
XC_API enum xc_status xc_compress_model(struct xc_model **out, const struct xc_model *model, const char *from, bool plan_only,
                                        const struct xc_compress_opts *opts, struct xc_compress_result *result, struct xc_err *err);

/* Rebuilds the file at `path` from its manifest and the checkpoint at `from`, and compares decoded sections. `calibrate` is the file of texts
 * the manifest names by its hash, `train` that of the labelled rows a probe's head was fitted on (`eval --export-head`); NULL when it names none. Calls differs (may be NULL) for each section that differs.
 * XC_E_MISMATCH when the source is another one, or a section differs; *n_same counts sections that are equal. */
struct xc_reproduce_opts {
    const char *calibrate, *train;
    struct xc_pool *pool;
    const struct xc_progress *progress;
    void (*differs)(void *arg, const char *section, const char *made, const char *stored); /* digests; NULL = missing on that side */
    void *arg;
};
XC_API enum xc_status xc_reproduce(const char *path, const char *from, const struct xc_reproduce_opts *opts, int64_t *n_same, struct xc_err *err);

/* ---- other formats ---- */
/* Any model, in and out. format: "f32", "f16", "bf16"; NULL = as stored. xc_export writes a Hugging Face directory. */
XC_API enum xc_status xc_import(struct xc_model **out, const char *path, struct xc_err *err);
XC_API enum xc_status xc_save(const struct xc_model *model, const char *path, bool small, struct xc_pool *pool, const struct xc_progress *progress,
                              uint64_t *bytes, struct xc_err *err);
XC_API enum xc_status xc_export(const struct xc_model *model, const char *dir, const char *format, struct xc_err *err);

#ifdef __cplusplus
}
#endif
#endif
