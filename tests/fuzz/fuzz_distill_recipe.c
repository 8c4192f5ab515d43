/* fuzz_distill_recipe: a distillation as YAML. What is accepted keeps its promises (a task, stages with a loss each, numbers in their ranges); what is not must say why
 * and where. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "compress/distill/distill_recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_stage(const struct xc_distill_stage *s)
{
    double sum = 0;

    if (!s->name || !s->name[0] || s->epochs < 1 || s->max_steps < 0 || !(s->rate >= 0 && s->rate <= 1000) || !(s->warmup >= 0 && s->warmup <= 1)) abort();
    for (int k = 0; k < XC_DISTILL_LOSSES; k++) {
        if (!(s->weight[k] >= 0)) abort();
        sum += s->weight[k];
    }
    if (!(sum > 0) || !isfinite(sum)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xc_distill_opts o = XC_DISTILL_DEFAULT;
    struct xc_arena arena;
    struct xc_err err = { 0 };
    enum xc_status status;

    xc_arena_init(&arena);
    status = xc_distill_recipe_parse(&o, &arena, (const char *)data, size, "recipe", &err);
    if (status != XC_OK && (err.code == XC_OK || !err.msg[0])) abort();
    if (status == XC_OK) {
        for (size_t i = 0; i < o.n_stages; i++) check_stage(&o.stage[i]);
        for (size_t i = 0; i < o.n_data; i++)
            if (!o.data[i][0]) abort();
        if (o.n_layer < 0 || o.n_layer > XC_MAX_BLOCKS || o.train.batch_tokens < 1 || o.train.accumulate < 1 || !(o.temperature > 0)) abort();
    }
    xc_arena_release(&arena);
    return 0;
}
