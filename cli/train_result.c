/* train_result: see train_result.h. */
#include "cli/train_result.h"

#include <stdio.h>
#include <string.h>

#include "formats/json.h"

json_t *cli_train_json(const struct xc_finetune_result *r, const char *task, const char *out)
{
    json_t *doc = json_pack("{s:s, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:o}", "task", task, "rows", (json_int_t)r->rows, "steps", (json_int_t)r->steps, "tokens", (json_int_t)r->tokens,
                            "parameters", (json_int_t)r->parameters, "stopped_early", r->stopped_early, "loss", xc_json_new_number(r->loss), "seconds", xc_json_new_number(r->seconds), "output",
                            xc_json_new_text(out, strlen(out)));

    if (doc && r->metric[0] &&
        json_object_set_new(doc, "dev", json_pack("{s:s, s:o, s:o, s:I, s:o}", "metric", r->metric, "first", xc_json_new_number(r->first), "best", xc_json_new_number(r->best), "best_step",
                                                  (json_int_t)r->best_step, "last", xc_json_new_number(r->last))))
        xc_json_free(&doc);
    return doc;
}

void cli_train_print(const struct xc_finetune_result *r, const char *out)
{
    printf("%s: %lld rows, %lld updates, %lld tokens in %.1f s (%.0f tokens/s)%s\n", out, (long long)r->rows, (long long)r->steps, (long long)r->tokens, r->seconds,
           r->seconds > 0 ? (double)r->tokens / r->seconds : 0, r->stopped_early ? "; stopped early" : "");
}

void cli_train_print_dev(const struct xc_finetune_result *r, const char *before)
{
    if (r->metric[0]) printf("dev %s: %.4f %s, %.4f at the end, %.4f kept (update %lld)\n", r->metric, r->first, before, r->last, r->best, (long long)r->best_step);
}
