/* recipe_yaml: a recipe from a YAML file; docs/recipes.md describes it for users.
 *
 *     seed: 7                        # may be left out
 *     passes:
 *       - quantize:
 *           format: int8             # options of the pass, as text
 *           targets: [linear]        # left out = what the pass treats by itself
 *           ignore: ["re:.*pooler.*"]
 *           overrides:
 *             - match: ["re:encoder\\.layer\\.0\\..*"]
 *               activations: row
 *       - cast                       # a pass without options
 *
 * What the tree of formats/yaml_tree.h refuses (aliases, repeated keys, depth, size) is refused there. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress/pass.h"
#include "formats/yaml_tree.h"

#define MAX_WORD 1024 /* bytes: of a name or a pattern */

struct reader {
    struct xc_recipe *recipe;
    const char *name;
    struct xc_err *err;
};

/* Puts the place of n to what has failed, if it has. */
static enum xc_status at(const struct reader *r, const struct xc_yaml *n, enum xc_status status)
{
    if (status == XC_OK || status == XC_E_NOMEM) return status;
    return xc_fail_at(r->err, status, "%s:%zu:%zu", r->name, n->line, n->column);
}

static enum xc_status fail(const struct reader *r, const struct xc_yaml *n, const char *what) { return at(r, n, xc_fail(r->err, XC_E_FORMAT, "%s", what)); }

/* One word, or a list of them. */
static enum xc_status read_words(const struct reader *r, const struct xc_yaml *n, enum xc_status (*add)(struct xc_recipe *, const char *, struct xc_err *))
{
    const struct xc_yaml *word = n->kind == XC_YAML_SEQUENCE ? n->first : n;

    if (!word) return at(r, n, xc_fail(r->err, XC_E_FORMAT, "'%s' is an empty list: leave it out", n->key));
    for (; word; word = n->kind == XC_YAML_SEQUENCE ? word->next : NULL) {
        XC_TRY(xc_yaml_want(r->name, word, XC_YAML_SCALAR, r->err));
        if (strlen(word->text) > MAX_WORD) return at(r, word, xc_fail(r->err, XC_E_LIMIT, "a word of %zu bytes; at most %d", strlen(word->text), MAX_WORD));
        r->recipe->line = (int32_t)word->line;
        XC_TRY(at(r, word, add(r->recipe, word->text, r->err)));
    }
    return XC_OK;
}

/* YAML's own true and false for an option that has yes and no. */
static const char *option_text(const struct xc_pass *pass, const struct xc_yaml *n)
{
    for (const struct xc_pass_option *o = pass->options; o && o->name && !n->quoted; o++)
        if (!strcmp(o->name, n->key) && o->choices && !strncmp(o->choices, "yes|no", 6)) return !strcmp(n->text, "true") ? "yes" : !strcmp(n->text, "false") ? "no" : n->text;
    return n->text;
}

/* A list for an option that takes several choices. */
static enum xc_status read_list(const struct reader *r, const struct xc_yaml *list)
{
    char text[MAX_WORD] = "";
    size_t length = 0;

    for (const struct xc_yaml *n = list->first; n; n = n->next) {
        XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
        if (length + strlen(n->text) + 2 > sizeof text) return fail(r, n, "the list is too long");
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s", length ? "," : "", n->text);
    }
    return at(r, list, xc_recipe_set(r->recipe, list->key, text, r->err));
}

static bool takes_list(const struct xc_pass *pass, const char *option)
{
    for (const struct xc_pass_option *o = pass->options; o && o->name; o++)
        if (!strcmp(o->name, option)) return o->list;
    return false;
}

static enum xc_status read_options(const struct reader *r, const struct xc_pass *pass, const struct xc_yaml *map)
{
    for (const struct xc_yaml *n = map->first; n; n = n->next) {
        if (n->used) continue;
        if (n->kind == XC_YAML_SEQUENCE && takes_list(pass, n->key)) {
            XC_TRY(read_list(r, n));
            continue;
        }
        XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
        XC_TRY(at(r, n, xc_recipe_set(r->recipe, n->key, option_text(pass, n), r->err)));
    }
    return XC_OK;
}

static enum xc_status read_override(const struct reader *r, const struct xc_pass *pass, const struct xc_yaml *n)
{
    const struct xc_yaml *match;

    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_MAPPING, r->err));
    match = xc_yaml_member(n, "match");
    if (!match) return fail(r, n, "an override needs 'match': the nodes it is for");
    if (!match->next && n->first == match) return fail(r, n, "an override that changes no option");
    r->recipe->line = (int32_t)n->line;
    XC_TRY(at(r, n, xc_recipe_override(r->recipe, r->err)));
    XC_TRY(read_words(r, match, xc_recipe_match));
    return read_options(r, pass, n);
}

static enum xc_status read_pass(const struct reader *r, const struct xc_yaml *entry)
{
    const struct xc_yaml *body = entry->kind == XC_YAML_MAPPING ? entry->first : NULL, *targets, *ignore, *overrides;
    const char *name = body ? body->key : entry->text;
    const struct xc_pass *pass;

    if (entry->kind == XC_YAML_SEQUENCE || !name) return fail(r, entry, "a pass must be a name, or a name with its options");
    if (body && body->next) return at(r, body->next, xc_fail(r->err, XC_E_FORMAT, "'%s' stands beside pass '%s': a pass is an item of the list, its options are indented under it", body->next->key, name));
    r->recipe->line = (int32_t)entry->line;
    XC_TRY(at(r, body ? body : entry, xc_recipe_add(r->recipe, name, r->err)));
    if (!body || (body->kind == XC_YAML_SCALAR && !body->text[0])) return XC_OK;
    pass = r->recipe->passes[r->recipe->n - 1].pass;
    XC_TRY(xc_yaml_want(r->name, body, XC_YAML_MAPPING, r->err));
    targets = xc_yaml_member(body, "targets");
    ignore = xc_yaml_member(body, "ignore");
    overrides = xc_yaml_member(body, "overrides");
    if (targets) XC_TRY(read_words(r, targets, xc_recipe_target));
    if (ignore) XC_TRY(read_words(r, ignore, xc_recipe_ignore));
    XC_TRY(read_options(r, pass, body));
    if (!overrides) return XC_OK;
    XC_TRY(xc_yaml_want(r->name, overrides, XC_YAML_SEQUENCE, r->err));
    for (const struct xc_yaml *n = overrides->first; n; n = n->next) XC_TRY(read_override(r, pass, n));
    return XC_OK;
}

static enum xc_status read_seed(const struct reader *r, const struct xc_yaml *n)
{
    char *end;

    XC_TRY(xc_yaml_want(r->name, n, XC_YAML_SCALAR, r->err));
    errno = 0;
    r->recipe->seed = strtoull(n->text, &end, 10);
    if (errno || *end || n->text[0] < '0' || n->text[0] > '9' || r->recipe->seed > INT64_MAX)
        return at(r, n, xc_fail(r->err, XC_E_FORMAT, "'seed' must be a whole number from 0 to %lld, not '%s'", (long long)INT64_MAX, n->text));
    r->recipe->has_seed = true;
    return XC_OK;
}

static enum xc_status read_root(const struct reader *r, const struct xc_yaml *root)
{
    const struct xc_yaml *seed, *passes;

    XC_TRY(xc_yaml_want(r->name, root, XC_YAML_MAPPING, r->err));
    seed = xc_yaml_member(root, "seed");
    passes = xc_yaml_member(root, "passes");
    XC_TRY(xc_yaml_no_unknown(r->name, root, "seed, passes", r->err));
    if (seed) XC_TRY(read_seed(r, seed));
    if (!passes) return fail(r, root, "a recipe needs 'passes': a list");
    XC_TRY(xc_yaml_want(r->name, passes, XC_YAML_SEQUENCE, r->err));
    for (const struct xc_yaml *n = passes->first; n; n = n->next) XC_TRY(read_pass(r, n));
    r->recipe->line = 0;
    return XC_OK;
}

enum xc_status xc_recipe_parse(struct xc_recipe **out, const char *text, size_t n, const char *name, struct xc_err *err)
{
    struct xc_arena arena;
    struct xc_yaml *root;
    enum xc_status status;

    XC_TRY(xc_recipe_new(out, err));
    xc_arena_init(&arena);
    (*out)->file = xc_strdup(name);
    status = (*out)->file ? xc_yaml_parse(&root, &arena, text, n, "recipe", name, err) : xc_fail_nomem(err, strlen(name));
    if (status == XC_OK) status = read_root(&(struct reader){ .recipe = *out, .name = name, .err = err }, root);
    xc_arena_release(&arena);
    if (status != XC_OK) xc_recipe_free(out);
    return status;
}

enum xc_status xc_recipe_read(struct xc_recipe **out, const char *path, struct xc_err *err)
{
    char *text;
    size_t n;
    enum xc_status status;

    *out = NULL;
    XC_TRY(xc_yaml_read_file(&text, &n, path, "recipe", err));
    status = xc_recipe_parse(out, text, n, path, err);
    xc_free(text);
    return status;
}
