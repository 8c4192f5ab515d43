/* loss: what training makes small. Each returns the sum over its items and writes weight times its derivative to d, so that the mean over
 * several batches is one weight: 1 / items of all of them. Sums are double, in the order of the rows. */
#ifndef XC_COMPRESS_TRAIN_LOSS_H
#define XC_COMPRESS_TRAIN_LOSS_H

#include "runtime/base/pool.h"

/* Softmax cross-entropy of x (R,C) against label[r]; -1 = the row does not count. smoothing s: the target is 1-s on the label plus s/C
 * everywhere (Szegedy et al. 2015, arXiv:1512.00567; as torch.nn.CrossEntropyLoss). each (R): scratch. */
double xc_loss_classes(float *d, double *each, const float *x, const int32_t *label, int64_t R, int64_t C, double smoothing, double weight, struct xc_pool *pool);

/* Question answering: the answer of sequence s, rows start[s] .. start[s+1]-1 of x (R,2), begins at its row label[2s] and ends at label[2s+1]. Half the sum of two softmax
 * cross-entropies, each over the rows of the sequence and one column; -1 = that end does not count. smoothing as above, over the rows. each (n): scratch. */
double xc_loss_spans(float *d, double *each, const float *x, const int32_t *start, const int32_t *label, int64_t n, double smoothing, double weight, struct xc_pool *pool);

/* (x - target)^2, x (R,1) */
double xc_loss_square(float *d, const float *x, const float *target, int64_t R, double weight);

/* (cos(x_2i, x_2i+1) - target_i)^2 for n pairs of rows of x (2n,C) (sentence-transformers' CosineSimilarityLoss) */
double xc_loss_cosine(float *d, const float *x, const float *target, int64_t n, int64_t C, double weight);

/* In-batch contrast: each x_2i shall find its x_2i+1 among those of all n pairs: cross-entropy of scale * cos (Henderson et al. 2017,
 * arXiv:1705.00652). each: 3n doubles of scratch. */
double xc_loss_contrast(float *d, double *each, const float *x, int64_t n, int64_t C, double scale, double weight);

/* ---- what a student learns from a teacher (distill/): these add weight times the derivative to d. each (R): scratch. ---- */
/* Cross-entropy of softmax(x/T) against softmax(target/T), times T^2, so that gradients keep their size (Hinton et al. 2015, arXiv:1503.02531); (R,C) */
double xc_loss_soft(float *d, double *each, const float *x, const float *target, int64_t R, int64_t C, double temperature, double weight, struct xc_pool *pool);

/* The same of xc_loss_spans: both columns, over the rows of each of n sequences; adds to d. */
double xc_loss_soft_spans(float *d, double *each, const float *x, const float *target, const int32_t *start, int64_t n, double temperature, double weight, struct xc_pool *pool);

/* Sum of the squares of x - target, (R,C). */
double xc_loss_mse(float *d, double *each, const float *x, const float *target, int64_t R, int64_t C, double weight, struct xc_pool *pool);

/* 1 - cos(x, target) of rows row[0] .. row[R-1], or of rows 0 .. R-1 when row is NULL. Twice this is the squared distance of the two rows at
 * length 1: patient distillation (Sun et al. 2019, arXiv:1908.09355), where row holds the first of each sequence. A row of zeros: 1, no gradient. */
double xc_loss_direction(float *d, double *each, const float *x, const float *target, const int32_t *row, int64_t R, int64_t C, double weight, struct xc_pool *pool);

#endif
