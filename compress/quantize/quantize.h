/* quantize: what mixed.c shares with the pass: which tensors it treats, and one tensor at a time. */
#ifndef XC_COMPRESS_QUANTIZE_QUANTIZE_H
#define XC_COMPRESS_QUANTIZE_QUANTIZE_H

#include "compress/pass.h"

/* want and why of every tensor in scope; for format mixed as for int8. Targets that cannot be treated are errors. */
enum xc_status xc_quantize_scope(struct xc_work *w, struct xc_err *err);

/* Gives tensor t the encoding w->want[t], int8 or in groups, each number on its own (methods nearest and search). */
enum xc_status xc_quantize_tensor(struct xc_work *w, int32_t t, struct xc_err *err);

/* How a linear with a quantized weight takes its input when it is not by a calibrated scale. */
struct xc_range xc_quantize_range(const struct xc_graph *g, int32_t node);

/* cast.c: gives tensor t the encoding w->want[t], a plain number. */
enum xc_status xc_cast_tensor(struct xc_work *w, int32_t t, struct xc_err *err);

/* ---- mixed.c: format mixed ---- */
enum xc_status xc_mixed_prepare(const struct xc_prepare *p, struct xc_err *err); /* smooths, measures, chooses */
enum xc_status xc_mixed_plan(struct xc_work *w, struct xc_err *err);             /* after xc_quantize_scope: want as chosen */
enum xc_status xc_mixed_plain(struct xc_work *w, struct xc_err *err);            /* applies plain choices (f16) */
enum xc_status xc_mixed_finish(struct xc_work *w, struct xc_err *err);           /* measures the drop of the whole; holds it against target_drop */

#endif
