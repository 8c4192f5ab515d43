/* export: the model that a training gives away, in the encoding asked for: what the dev rows are measured on is what is written, to the bit.
 * After training on f32 weights; zeros of training with masks choose the sparse encodings. */
#include <string.h>

#include <string.h>

#include "compress/train/setup.h"
#include "xcompress/compress.h"

enum xc_status xc_training_export(struct xc_model **out, const struct xc_training *t, bool golden, struct xc_err *err)
{
    struct xc_compress_opts opts = XC_COMPRESS_DEFAULT;
    struct xc_compress_result result = { 0 };
    struct xc_model *marked = NULL;
    enum xc_status status;
    int32_t dropped;
    size_t bytes;

    *out = NULL;
    opts.quantize = t->opts->export;
    opts.no_golden = !golden;
    opts.seed = t->opts->seed;
    opts.pool = t->opts->pool;
    XC_TRY(xc_model_clone(&marked, t->model, err)); /* its tensors say where zeros lie, while training goes on with plain ones */
    if (strcmp(t->graph->name, "encode") != 0) xc_model_remove_graph(marked, t->graph->name); /* what only training needs */
    if (t->sparsify && xc_sparsify_settled(t->sparsify, t->state.step)) xc_sparsify_finish(t->sparsify, marked);
    if (strcmp(t->graph->name, "encode") != 0) { /* what only training needs */
        xc_model_remove_graph(marked, t->graph->name);
        xc_model_drop_unused(marked, &dropped, &bytes);
    }
    status = xc_compress_model(out, marked, NULL, false, &opts, &result, err);
    xc_compress_result_release(&result);
    xc_model_free(&marked);
    return status;
}
