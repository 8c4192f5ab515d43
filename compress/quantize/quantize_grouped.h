/* quantize_grouped: one weight to 6 to 2 bits in groups. */
#ifndef XC_COMPRESS_QUANTIZE_QUANTIZE_GROUPED_H
#define XC_COMPRESS_QUANTIZE_QUANTIZE_GROUPED_H

#include "compress/pass.h"
#include "compress/quantize/gptq.h"

struct xc_grouped_how {
    struct xc_lowbit lowbit;
    const struct xc_gptq *gptq; /* NULL = each number on its own */
    const float *weight;        /* (cols) how much each input counts in a scale; NULL = all the same */
};

/* Gives tensor `id` the encoding w->want[id]; fills its report. */
enum xc_status xc_quantize_grouped(struct xc_work *w, int32_t id, const struct xc_grouped_how *how, struct xc_err *err);

#endif
