/* golden: answers stored with a model when it is made, so that any machine can prove that it gives the same ones.
 *
 * A sample is a sequence of token ids drawn from a counter-based generator, so that only its length is stored, and the XXH3-128 of the
 * output bytes it gave. Lengths 1, 2, 17, 127, 128, 129 and 512 and a ragged handful, as far as the model has positions (to 129 when it is large, and few of them when it is very large). A few
 * texts come with the hash of their ids, for the tokenizer. */
#ifndef XC_RUNTIME_SESSION_GOLDEN_H
#define XC_RUNTIME_SESSION_GOLDEN_H

#include "runtime/session/session.h"

/* Runs the samples on the best kernels of this machine and makes the section. *out is NULL, with XC_OK, for a model that does not take token ids. */
enum xc_status xc_golden_make(struct xc_buf **out, struct xc_model *model, bool lazy, struct xc_pool *pool, struct xc_err *err);

/* The same in a run of the caller's: the samples as one batch, 0 of them for such a model; and the section from what a session answered to sequences
 * `first` and on of a larger one. */
struct xc_golden_batch {
    int32_t *ids;
    uint8_t *types;
    int64_t *start, n;
};
enum xc_status xc_golden_draw(struct xc_golden_batch *out, struct xc_model *model, struct xc_err *err);
void xc_golden_batch_release(struct xc_golden_batch *b);
enum xc_status xc_golden_from(struct xc_buf **out, struct xc_session *s, const struct xc_output *answers, int64_t first, struct xc_err *err);

/* Bytes of the section that make would make, without running anything. */
enum xc_status xc_golden_size(size_t *bytes, struct xc_model *model, struct xc_err *err);
double xc_golden_tokens(struct xc_model *model); /* of its samples */

enum xc_batching { XC_BATCH_ONE = 0 /* one by one */, XC_BATCH_ALL /* one ragged batch */, XC_BATCH_MIXED /* batches of three, in reverse */, XC_BATCH_COUNT };
const char *xc_batching_name(enum xc_batching batching);

struct xc_golden_setup {
    const char *isa;        /* a level of xc_kernels_levels; NULL = the best */
    struct xc_pool *pool;
    enum xc_batching batching;
    bool plain;             /* without the fused plan */
    int32_t longest;        /* leave out samples of more tokens; 0 = none */
};

/* XC_E_MISMATCH names the sample or the text, the answer and the one stored. XC_E_NOT_FOUND when the model has no golden section. *checked
 * counts samples and texts. */
enum xc_status xc_golden_check(struct xc_model *model, const struct xc_golden_setup *setup, int *checked, struct xc_err *err);

#endif
