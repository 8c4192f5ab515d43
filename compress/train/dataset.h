/* dataset: rows of a training file as token ids with their targets, and the batches of an epoch: token-packed, shuffled by (seed, epoch). */
#ifndef XC_COMPRESS_TRAIN_DATASET_H
#define XC_COMPRESS_TRAIN_DATASET_H

#include "compress/tasks/data.h"
#include "runtime/base/pool.h"
#include "runtime/text/tokenizer.h"

struct xc_dataset {
    struct xc_data data;
    int64_t n;             /* rows */
    int32_t per_row;       /* sequences of a row: 2 for two texts that are read apart, one for each choice */
    int32_t *ids, *words;  /* tokens of all sequences */
    uint8_t *types;
    int64_t *start;        /* n * per_row + 1 */
    int32_t *label;        /* by row; NULL = none */
    int32_t *token_label;  /* by token, -1 = none; NULL */
    int32_t *span;         /* question answering, two a row: the token that the answer begins with, and the one that it ends with; NULL */
    float *score;          /* by row; NULL */
    int64_t truncated;
};

/* Tokenizes d->data: texts, pairs read together (per_row 1) or apart (per_row 2), or sentences of words. */
enum xc_status xc_dataset_tokenize(struct xc_dataset *d, const struct xc_tokenizer *tok, int32_t max_tokens, struct xc_pool *pool, struct xc_err *err);
/* The same of a text and its choices: a pair read together for each of them. */
enum xc_status xc_dataset_choices(struct xc_dataset *d, const struct xc_tokenizer *tok, int32_t max_tokens, struct xc_pool *pool, struct xc_err *err);

/* The same of questions: a row of the dataset is a window of a text (tasks/questions.h), of which data has fewer rows. With answers `span` is filled from the first of each; a
 * window that does not hold all of it, and one without an answer, has its first token (as run_qa.py). */
struct xc_questions_opts;
enum xc_status xc_dataset_questions(struct xc_dataset *d, const struct xc_tokenizer *tok, bool answers, const struct xc_questions_opts *opts, struct xc_err *err);
void xc_dataset_release(struct xc_dataset *d);

struct xc_batches {
    int64_t *order; /* rows */
    int64_t *first; /* n + 1: batch b has rows order[first[b]] .. order[first[b+1]-1] */
    int64_t n;
    size_t cap_order, cap_first;
};

/* A batch is as many rows as fit in max_tokens (one at least), at most max_rows (0 = no limit). epoch 0 and up; shuffle false: the file's order. */
enum xc_status xc_batches_plan(struct xc_batches *b, const struct xc_dataset *d, bool shuffle, uint64_t seed, int64_t epoch, int64_t max_tokens, int64_t max_rows,
                               struct xc_err *err);
void xc_batches_release(struct xc_batches *b);

/* One batch as a graph takes it. */
struct xc_batch {
    int64_t rows, sequences, tokens;
    int32_t *ids, *types, *start; /* start: sequences + 1 */
    int32_t *label;               /* by row, two of them for answers, or by token for tags and masked tokens */
    float *score;
    size_t cap_ids, cap_types, cap_start, cap_label, cap_score;
};

struct xc_masking { /* Devlin et al. 2018: of 15 % of the tokens 80 % become [MASK], 10 % any id, 10 % stay */
    bool on;
    int32_t mask_id, vocab;
    double share;
    uint64_t seed, epoch;
};

/* *targets: rows, or tokens, that count in the loss. */
enum xc_status xc_batch_fill(struct xc_batch *b, const struct xc_dataset *d, const struct xc_batches *plan, int64_t index, const struct xc_masking *mask, int64_t *targets,
                             struct xc_err *err);
void xc_batch_release(struct xc_batch *b);

#endif
