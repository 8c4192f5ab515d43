/* candidates: words that could stand in a word's place: by a masked language model, or nearest in the teacher's word table. */
#ifndef XC_COMPRESS_DISTILL_CANDIDATES_H
#define XC_COMPRESS_DISTILL_CANDIDATES_H

#include "compress/distill/terms.h"
#include "compress/tasks/data.h"

struct xc_candidates;

/* A text in words. candidate: (n, candidates) tokens, filled from the front, -1 = no more. */
struct xc_split {
    struct xc_split_word { const char *text; size_t len; int64_t known; bool wanted; } *word; /* known: number of the word; -1 = stays as it is */
    int32_t *candidate;
    int64_t n;
    size_t cap_word, cap_candidate;
};
void xc_split_release(struct xc_split *s);

/* Reads all words of the data; nearest neighbours are found once for each. */
enum xc_status xc_candidates_new(struct xc_candidates **out, const struct xc_teacher *teacher, const struct xc_augment_opts *opts, const struct xc_data *data, struct xc_pool *pool,
                                 struct xc_err *err);
void xc_candidates_free(struct xc_candidates **c);

/* The words of a text of the data; it must live as long as the split. */
enum xc_status xc_candidates_split(const struct xc_candidates *c, struct xc_split *s, const char *text, size_t len, struct xc_err *err);
/* The candidates of all words that are wanted. */
enum xc_status xc_candidates_find(struct xc_candidates *c, struct xc_split *s, struct xc_err *err);
const char *xc_candidates_word(const struct xc_candidates *c, int32_t token, size_t *len);

#endif
