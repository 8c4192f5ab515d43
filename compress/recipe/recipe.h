/* recipe: an ordered list of passes with their settings, in memory; and the same as JSON, as the manifest keeps it. */
#ifndef XC_COMPRESS_RECIPE_RECIPE_H
#define XC_COMPRESS_RECIPE_RECIPE_H

#include <jansson.h>

#include "runtime/base/base.h"
#include "xcompress/compress.h"

struct xc_words {
    struct xc_word { char *text; int32_t line; } *word; /* line of the recipe's file; 0 = none */
    size_t n, cap;
};

struct xc_settings {
    struct xc_setting { char *option, *value; } *item;
    size_t n, cap;
};

/* Other settings for the nodes that match: of several that match a node the last counts. */
struct xc_override {
    struct xc_words match;
    struct xc_settings settings;
    int32_t line;
};

/* One pass. While it runs, a pass with overrides is several *parts* over disjoint sets of nodes: part 0 treats what no override
 * matches, part i what override i - 1 has. The code of a pass sees one part, through xc_recipe_get and xc_scope_make, and need not know of others. */
struct xc_recipe_pass {
    const struct xc_pass *pass;
    struct xc_settings settings;
    struct xc_words targets, ignore;
    struct xc_override *overrides;
    size_t n_overrides, cap_overrides;
    size_t part;
    const char *file; /* the recipe's; NULL = none */
    int32_t line;
};

struct xc_recipe {
    struct xc_recipe_pass *passes;
    size_t n, cap;
    char *file;       /* NULL: not from a file */
    int32_t line;     /* of what is added next */
    bool has_seed, in_override;
    uint64_t seed;
};

/* The value of an option: what the recipe says, else the default. Never NULL for an option that the pass has. */
const char *xc_recipe_get(const struct xc_recipe_pass *p, const char *option);
double xc_recipe_number(const struct xc_recipe_pass *p, const char *option);
uint64_t xc_recipe_size(const struct xc_recipe_pass *p, const char *option); /* of an option that is a size */
bool xc_recipe_is(const struct xc_recipe_pass *p, const char *option, const char *value);

/* Puts the place of a word (a target or a pattern of this pass; NULL = the pass itself) to the error in err, where the recipe came from a file. */
enum xc_status xc_recipe_fail_at(const struct xc_recipe_pass *p, const char *word, enum xc_status status, struct xc_err *err);

/* The recipe that the shorthands of opts stand for. */
enum xc_status xc_recipe_from_opts(struct xc_recipe **out, const struct xc_compress_opts *opts, struct xc_err *err);

/* [{"pass": ..., "options": {every option, defaults too}, "targets": [...], "ignore": [...],
 *  "overrides": [{"match": [...], "options": {what differs}}, ...]}, ...] */
enum xc_status xc_recipe_to_json(json_t **out, const struct xc_recipe *recipe, struct xc_err *err);
enum xc_status xc_recipe_from_json(struct xc_recipe **out, const json_t *json, struct xc_err *err);

#endif
