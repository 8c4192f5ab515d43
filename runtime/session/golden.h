/* golden: answers stored with a model when it is made, so that any machine can prove that it gives the same ones.
 *
 * A sample is a sequence of token ids drawn from a counter-based generator (so only its length is stored) and the XXH3-64 of the output
 * bytes it gave. Lengths 1, 2, 17, 127, 128, 129 and 512, as far as the model has positions. */
#ifndef XC_RUNTIME_SESSION_GOLDEN_H
#define XC_RUNTIME_SESSION_GOLDEN_H

#include "runtime/session/session.h"

/* Runs the samples and makes the section. */
enum xc_status xc_golden_make(struct xc_buf **out, struct xc_model *model, struct xc_pool *pool, struct xc_err *err);

struct xc_golden_setup {
    const char *isa;       /* a level of xc_kernels_levels; NULL = the best */
    struct xc_pool *pool;
    bool together;         /* all samples in one ragged batch; false: one by one */
    bool plain;            /* without the fused plan */
};

/* XC_E_MISMATCH names the sample, the answer and the one stored. XC_E_NOT_FOUND when the model has no golden section. *checked counts
 * samples. */
enum xc_status xc_golden_check(struct xc_model *model, const struct xc_golden_setup *setup, int *checked, struct xc_err *err);

#endif
