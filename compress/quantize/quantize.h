/* quantize: what mixed.c shares with the pass: which tensors it treats, and one tensor at a time. */
#ifndef XC_COMPRESS_QUANTIZE_QUANTIZE_H
#define XC_COMPRESS_QUANTIZE_QUANTIZE_H

#include "compress/file/reading.h"
#include "compress/pass.h"

/* want and why of every tensor in scope; for format mixed as for int8. Targets that cannot be treated are errors. */
enum xc_status xc_quantize_scope(struct xc_work *w, struct xc_err *err);

/* Gives tensor t the encoding w->want[t], int8 or in groups, each number on its own (methods nearest and search). */
enum xc_status xc_quantize_tensor(struct xc_work *w, int32_t t, struct xc_err *err);

/* All rows of a tensor in items of item_rows, as many at a time as lie between two looks at the caller's wish to stop. */
struct xc_rounds {
    const struct xc_tensor *t;
    struct xc_reading *reading;
    int64_t item_rows, numbers;    /* numbers: between two looks, about */
    int64_t row0, rows;            /* of the items at hand */
    int64_t *bad;                  /* per item of the tensor: index in it of a number that has no such form, or -1 */
};
/* Runs fn on them; "tensor 'name' is WHAT row, column" and END is the error of a bad number. */
enum xc_status xc_quantize_rounds(struct xc_work *w, struct xc_rounds *r, void (*fn)(void *arg, int64_t item, int thread), void *arg, const char *what, const char *end, struct xc_err *err);

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
