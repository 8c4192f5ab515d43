/* integers: training on the arithmetic of the file that is written (quantization-aware training with a straight-through gradient; Jacob et al. 2017,
 * arXiv:1712.05877; Bengio et al. 2013, arXiv:1308.3432).
 *
 * A second model, the one that will be written, has the student's graph with int8 or int4 weights and the runtime's integer linears. Its weights are
 * quantized from the trained f32 ones after every update, by the code of pass 'quantize'; what is not quantized is shared. Forward is that model,
 * node by node as the runtime computes it; backward takes rounding for the identity. So what is measured in training is what is in the file, to the bit. */
#ifndef XC_COMPRESS_TRAIN_INTEGERS_H
#define XC_COMPRESS_TRAIN_INTEGERS_H

#include "runtime/base/pool.h"
#include "runtime/graph/graph.h"

struct xc_integers;

/* how: "int8", "int4", or the path of a recipe of quantize passes without smoothing, calibration and overrides. model: f32; its tensors keep their ids. */
enum xc_status xc_integers_new(struct xc_integers **out, const struct xc_model *model, const char *how, uint64_t seed, struct xc_pool *pool, struct xc_err *err);
void xc_integers_free(struct xc_integers **q);

/* The model to run, measure and write. Tensors may be added to it, to both models alike. */
struct xc_model *xc_integers_model(const struct xc_integers *q);

/* What is not quantized becomes the bytes of `master`, which are trained in place. */
enum xc_status xc_integers_share(struct xc_integers *q, const struct xc_model *master, struct xc_err *err);
/* The trained weights changed. */
enum xc_status xc_integers_refresh(struct xc_integers *q, const struct xc_model *master, struct xc_err *err);

#endif
