/* augment: TinyBERT's data augmentation (Jiao et al. 2019, arXiv:1909.10351, algorithm 1): copies of a text in which words are replaced. */
#ifndef XC_COMPRESS_DISTILL_AUGMENT_H
#define XC_COMPRESS_DISTILL_AUGMENT_H

#include "compress/distill/terms.h"
#include "compress/tasks/data.h"

/* Adds opts->augment.count copies of every row behind the rows; nothing when count is 0. to: the file that will be made. */
enum xc_status xc_augment(struct xc_data *data, const struct xc_teacher *teacher, const struct xc_distill_opts *opts, const char *to, struct xc_err *err);

#endif
