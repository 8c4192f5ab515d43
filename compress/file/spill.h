/* spill: arrays that may be larger than memory, in files without a name, mapped. The system writes their pages out and brings them back; a thread of our own
 * lets them go from this process once more than so many bytes of them are in it, so that its resident memory is bounded whatever code works on them
 * (LAPACK too). So results do not depend on it, to the bit; only time does. For matrices of wide layers: moments, factors, what a fit needs. */
#ifndef XC_COMPRESS_FILE_SPILL_H
#define XC_COMPRESS_FILE_SPILL_H

#include "runtime/base/base.h"

struct xc_spill;

/* Files lie in `folder`; about `resident` bytes of all arrays together stay in memory. */
enum xc_status xc_spill_new(struct xc_spill **out, const char *folder, uint64_t resident, struct xc_err *err);
void xc_spill_free(struct xc_spill **spill); /* takes NULL, sets NULL; all arrays have been dropped */

/* An array, zeroed if so wished, XC_ALIGN-aligned. spill NULL, or a small array: on the heap. To be dropped through the same spill. */
enum xc_status xc_spill_array(void **out, struct xc_spill *spill, size_t bytes, bool zero, struct xc_err *err);
void xc_spill_drop(struct xc_spill *spill, void *array); /* takes NULL */

/* Room for a thing of (rows,cols) numbers of `size` bytes: the product is checked. */
enum xc_status xc_spill_matrix(void **out, struct xc_spill *spill, int64_t rows, int64_t cols, size_t size, bool zero, struct xc_err *err);

/* Should matrices of so many bytes at a time lie in files, with max_memory allowed (0 = the default)? */
bool xc_spill_pays(double bytes, uint64_t max_memory);

#endif
