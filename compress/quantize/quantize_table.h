/* quantize_table: a table of embeddings in int8 whose steps are as coarse as an average number of bits allows. */
#ifndef XC_COMPRESS_QUANTIZE_QUANTIZE_TABLE_H
#define XC_COMPRESS_QUANTIZE_QUANTIZE_TABLE_H

#include "compress/pass.h"

/* Gives tensor t (int8 rows in w->want) its encoding. reads (rows; NULL = all the same): how often texts read each row. */
enum xc_status xc_quantize_table(struct xc_work *w, int32_t t, const double *reads, double bits, struct xc_err *err);

/* The steps alone, of rows of these mean squares: entropy of about `bits` a number on average, error weighted by use: step^2 is proportional to
 * 1 / (reads + a share of their mean), the reverse water-filling of rate-distortion theory. */
void xc_table_steps(double *step, const double *mean2, const double *reads, int64_t rows, double bits);

#endif
