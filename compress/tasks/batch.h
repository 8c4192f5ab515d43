/* batch: many texts through a session: tokenized in parallel, sorted by length, run in ragged batches, given back row by row.
 *
 * A row's answer does not depend on the batches (runtime.h), so sorting only saves time. Memory is bounded by the window. */
#ifndef XC_COMPRESS_TASKS_BATCH_H
#define XC_COMPRESS_TASKS_BATCH_H

#include "runtime/base/pool.h"
#include "runtime/session/session.h"
#include "xcompress/progress.h"

/* One of: texts a; pairs a, b; sentences of words; sequences of token ids, taken as they are. Lengths NULL = NUL-terminated. */
struct xc_texts {
    int64_t n;
    const char *const *a, *const *b;
    const size_t *a_len, *b_len;
    const char *const *words;
    const int64_t *word_start; /* n + 1 */
    const int32_t *ids;
    const uint8_t *types;
    const int64_t *id_start;   /* n + 1 */
};

/* What the model answered to row `row`: rows x cols (one row, or one per token). words: of each token, as in tokenizer.h. */
struct xc_answer {
    int64_t row;
    const float *data;
    int64_t rows, cols;
    const int32_t *ids, *words; /* tokens of the row */
    int64_t tokens;
    bool truncated;
};
typedef enum xc_status xc_answer_fn(void *arg, const struct xc_answer *answer, struct xc_err *err);

struct xc_batcher {
    struct xc_session *session;
    struct xc_pool *pool;
    int64_t max_rows;   /* per batch; 0 = no limit */
    int64_t max_tokens; /* per batch, unless one row has more; 0 = 4096 */
    const struct xc_progress *progress; /* may be NULL */
    int64_t rows_done, tokens_done, truncated; /* totals so far */
    struct batch_chunk *chunks;         /* internal from here */
    size_t n_chunks, cap_chunks;
    int32_t *ids, *words;
    uint8_t *types;
    int64_t *start, *order, *length;
    size_t cap_ids, cap_words, cap_types, cap_start, cap_order, cap_length;
};

void xc_batcher_init(struct xc_batcher *b, struct xc_session *session, struct xc_pool *pool);
void xc_batcher_release(struct xc_batcher *b);

/* Calls fn once per row, in an order of its own choosing. A number that is not finite is XC_E_RANGE and names the row. */
enum xc_status xc_batcher_run(struct xc_batcher *b, const struct xc_texts *texts, xc_answer_fn *fn, void *arg, struct xc_err *err);

#endif
