/* libxcrt: opens a .xc file and runs it.
 *
 *     struct xc_model *model = NULL;
 *     struct xc_session *session = NULL;
 *     struct xc_output out;
 *     struct xc_err err = {0};
 *
 *     if (xc_model_open(&model, "model.xc", &err) || xc_session_new(&session, model, NULL, &err)) ...
 *     if (xc_session_run_texts(session, texts, NULL, 2, &out, &err)) ...
 *     use out.data[r * out.cols + c]
 *     xc_session_free(&session); xc_model_free(&model);
 *
 * A model is read-only and may be shared by any number of sessions and threads; its weights are mapped from the file. A session
 * belongs to one thread at a time. Batches are ragged: no text is padded, and a text's answer does not depend, to the last bit,
 * on the other texts of the batch, on the number of threads or on the CPU (quantized models). After the first run of a size, a
 * run allocates nothing. */
#ifndef XC_RUNTIME_H
#define XC_RUNTIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xcompress/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct xc_model;
struct xc_session;
struct xc_pool;

XC_API const char *xc_version(void);

/* ---- threads ---- */
/* threads counts the caller; 0 = every CPU this process may use. The caller owns the pool; sessions borrow it, and it must
 * outlive them. Sessions that share a pool take turns. */
XC_API enum xc_status xc_pool_new(struct xc_pool **out, int threads, struct xc_err *err);
XC_API void xc_pool_free(struct xc_pool **pool);

/* ---- models ---- */
XC_API enum xc_status xc_model_open(struct xc_model **out, const char *path, struct xc_err *err);
XC_API void xc_model_free(struct xc_model **model);

/* What the model's main graph answers. Strings live as long as the model. */
struct xc_model_info {
    const char *task;     /* "embed", "classify", "regress", "tag", "answer", "choice", "mlm", "lm", "encode" */
    const char *family;   /* "bert", "roberta", ... */
    int64_t output_cols;  /* columns of the output */
    bool per_token;       /* one output row per token; false: one per text */
    int32_t max_tokens;   /* texts are cut to this; 0 = no limit */
    int32_t max_positions;/* ids beyond this in one sequence are an error; 0 = no limit */
    int32_t vocab_size;
    int32_t n_labels;     /* 0 = none */
    bool has_tokenizer;
    bool has_types;       /* takes token type ids */
};
XC_API enum xc_status xc_model_info(const struct xc_model *model, struct xc_model_info *info, struct xc_err *err);
XC_API const char *xc_model_label(const struct xc_model *model, int32_t i); /* NULL when out of range */

/* ---- sessions ---- */
struct xc_session_opts {
    struct xc_pool *pool; /* NULL = the calling thread alone */
    const char *graph;    /* NULL = "encode", the main graph */
    const char *isa;      /* NULL = the best this machine has; "scalar", "avx2", ...: as XC_CPU */
    bool lazy;            /* weights that are not in memory are read node by node and let go again; runs plain. For models larger than memory */
    bool plain;           /* run the graph node by node, without the fused plan: the meaning, slow */
    int32_t max_tokens;   /* 0 = the model's limit for texts */
};
XC_API enum xc_status xc_session_new(struct xc_session **out, struct xc_model *model, const struct xc_session_opts *opts, struct xc_err *err);
XC_API void xc_session_free(struct xc_session **session);

/* Owned by the session, valid until its next run. */
struct xc_output {
    const float *data;    /* (rows, cols), row-major, contiguous */
    int64_t rows, cols;
    const int32_t *start; /* per_token models: rows of text i are start[i] .. start[i+1]-1; NULL when row i is text i */
    int64_t n;            /* number of texts */
    int64_t tokens;       /* tokens run */
    bool truncated;       /* some text was cut to max_tokens */
};

/* Runs n texts. lengths NULL = NUL-terminated strings; with lengths, texts are any bytes: NULs count as text, invalid UTF-8 is
 * read as U+FFFD. An empty text is [CLS] [SEP]. n = 0 gives 0 rows. */
XC_API enum xc_status xc_session_run_texts(struct xc_session *session, const char *const *texts, const size_t *lengths, int64_t n,
                                           struct xc_output *out, struct xc_err *err);

/* Runs n pairs (a[i], b[i]). */
XC_API enum xc_status xc_session_run_pairs(struct xc_session *session, const char *const *a, const size_t *a_lengths, const char *const *b,
                                           const size_t *b_lengths, int64_t n, struct xc_output *out, struct xc_err *err);

/* Runs n sequences of token ids: sequence i is ids[start[i]] .. ids[start[i+1]-1]. types NULL = zeros. An id outside the
 * vocabulary, or a sequence longer than max_positions, is XC_E_RANGE and names the sequence and the position. An empty sequence gives a zero row. */
XC_API enum xc_status xc_session_run_ids(struct xc_session *session, const int32_t *ids, const uint8_t *types, const int64_t *start, int64_t n,
                                         struct xc_output *out, struct xc_err *err);

/* The tokens of the last run_texts or run_pairs: ids and, for each, the index of the word it belongs to (-1: special). */
struct xc_tokens_view {
    const int32_t *ids, *words;
    const uint8_t *types;
    const int64_t *start; /* n + 1 */
    int64_t n;
};
XC_API void xc_session_tokens(const struct xc_session *session, struct xc_tokens_view *out);

/* Tokenizes n texts without running the model. Same rules and ownership as run_texts. */
XC_API enum xc_status xc_session_tokenize(struct xc_session *session, const char *const *texts, const size_t *lengths, int64_t n,
                                          bool truncate, struct xc_tokens_view *out, struct xc_err *err);

/* Pre-split words, for tagging: text i has words word_start[i] .. word_start[i+1]-1 of `words`. */
XC_API enum xc_status xc_session_run_words(struct xc_session *session, const char *const *words, const int64_t *word_start, int64_t n,
                                           struct xc_output *out, struct xc_err *err);

#ifdef __cplusplus
}
#endif
#endif
