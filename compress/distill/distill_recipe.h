/* distill_recipe: a distillation as YAML (docs/distillation.md), as strict as the recipes of passes: what is not known is an error with its line. */
#ifndef XC_COMPRESS_DISTILL_DISTILL_RECIPE_H
#define XC_COMPRESS_DISTILL_DISTILL_RECIPE_H

#include "compress/distill/distill.h"
#include "runtime/base/arena.h"

/* Sets what the recipe names and leaves the rest of *opts. Texts and stages live in the arena. */
enum xc_status xc_distill_recipe_read(struct xc_distill_opts *opts, struct xc_arena *arena, const char *path, struct xc_err *err);
enum xc_status xc_distill_recipe_parse(struct xc_distill_opts *opts, struct xc_arena *arena, const char *text, size_t n, const char *name, struct xc_err *err);

/* "uniform", "top" or "2,4,6" (0 = none). */
enum xc_status xc_distill_layers(struct xc_distill_opts *opts, const char *text, struct xc_err *err);

#endif
