/* shrink: what the files of this pass share: shrink.c, shrink_sizes.c. */
#ifndef XC_COMPRESS_SHRINK_SHRINK_H
#define XC_COMPRESS_SHRINK_SHRINK_H

#include "compress/calibrate/replay.h"
#include "compress/shrink/least_squares.h"
#include "compress/shrink/mask_gradients.h"

#define MAX_LEVELS 6
#define MEASURE_TOKENS 1536 /* of the texts that sizes are compared on, about */

struct level {
    int64_t units;
    double change; /* of the model's output: mean of |d|^2 / |y|^2 over its rows */
};

struct place {
    const struct xc_site *site;
    struct level level[MAX_LEVELS]; /* measured; between them the change is taken for a straight line */
    int n_levels;
    struct xc_cut cut;     /* saliency error */
    int32_t *order;        /* other saliencies; the first stay */
    double *lost;          /* saliencies fisher and taylor: with 0 .. units of them */
    int64_t keep;
    int32_t *kept;         /* units, ascending */
};

struct shrink {
    const struct xc_prepare *p;
    struct xc_model *dense;  /* as it was; p->model has zeros where it is cut, until the end */
    struct xc_graph *g, *g0; /* of p->model, of dense */
    struct xc_sites sites;
    struct place *place;
    int64_t n;
    struct xc_replay replay;
    struct xc_mask_gradients masks;
    double tokens, damp, done, total;
};

/* shrink_sizes.c: how many units each place keeps. */
double xc_shrink_flops(const struct shrink *s); /* the share of multiply-adds that stays */
int64_t xc_shrink_granule(const struct xc_site *site); /* neurons are kept in such numbers */
void xc_shrink_make_levels(struct place *p);
enum xc_status xc_shrink_equal_shares(struct shrink *s, struct xc_err *err); /* the same share of everything that meets the budget: what a plan shows, and what magnitude makes */
void xc_shrink_choose_sizes(struct shrink *s); /* those of least change within the budget */

#endif
