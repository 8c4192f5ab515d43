/* recipe: an ordered list of passes with their settings, in memory; and the same as JSON, as the manifest keeps it. */
#ifndef XC_COMPRESS_RECIPE_H
#define XC_COMPRESS_RECIPE_H

#include <jansson.h>

#include "runtime/base/base.h"
#include "xcompress/compress.h"

struct xc_words {
    char **word;
    size_t n, cap;
};

struct xc_setting {
    char *option, *value;
};

struct xc_recipe_pass {
    const struct xc_pass *pass;
    struct xc_setting *settings;
    size_t n_settings, cap_settings;
    struct xc_words targets, ignore;
};

struct xc_recipe {
    struct xc_recipe_pass *passes;
    size_t n, cap;
};

/* The value of an option: what the recipe says, else the default. Never NULL for an option that the pass has. */
const char *xc_recipe_get(const struct xc_recipe_pass *p, const char *option);
double xc_recipe_number(const struct xc_recipe_pass *p, const char *option);
bool xc_recipe_is(const struct xc_recipe_pass *p, const char *option, const char *value);

/* The recipe that the shorthands of opts stand for. */
enum xc_status xc_recipe_from_opts(struct xc_recipe **out, const struct xc_compress_opts *opts, struct xc_err *err);

/* [{"pass": ..., "options": {every option, defaults too}, "targets": [...], "ignore": [...]}, ...] */
enum xc_status xc_recipe_to_json(json_t **out, const struct xc_recipe *recipe, struct xc_err *err);
enum xc_status xc_recipe_from_json(struct xc_recipe **out, const json_t *json, struct xc_err *err);

#endif
