/* recipe: see recipe.h. Settings are checked when they are set, so that whoever reads them from a file can name the line. */
#include "compress/recipe.h"

#include <stdlib.h>
#include <string.h>

#include "compress/pass.h"
#include "formats/json.h"

/* ---- life ---- */
enum xc_status xc_recipe_new(struct xc_recipe **out, struct xc_err *err)
{
    *out = xc_calloc(1, sizeof **out);
    return *out ? XC_OK : xc_fail_nomem(err, sizeof **out);
}

static void words_release(struct xc_words *w)
{
    for (size_t i = 0; i < w->n; i++) xc_free(w->word[i]);
    xc_free(w->word);
}

void xc_recipe_free(struct xc_recipe **recipe)
{
    struct xc_recipe *r = *recipe;

    *recipe = NULL;
    if (!r) return;
    for (size_t i = 0; i < r->n; i++) {
        struct xc_recipe_pass *p = &r->passes[i];

        for (size_t k = 0; k < p->n_settings; k++) {
            xc_free(p->settings[k].option);
            xc_free(p->settings[k].value);
        }
        xc_free(p->settings);
        words_release(&p->targets);
        words_release(&p->ignore);
    }
    xc_free(r->passes);
    xc_free(r);
}

/* ---- building ---- */
enum xc_status xc_recipe_add(struct xc_recipe *r, const char *pass, struct xc_err *err)
{
    const struct xc_pass *found = xc_pass_find(pass);

    if (!found) return xc_fail(err, XC_E_NOT_FOUND, "there is no pass '%s'", pass);
    XC_TRY(xc_grow((void **)&r->passes, &r->cap, r->n + 1, sizeof *r->passes, err));
    r->passes[r->n++] = (struct xc_recipe_pass){ .pass = found };
    return XC_OK;
}

static enum xc_status need_pass(const struct xc_recipe *r, struct xc_err *err) { return r->n ? XC_OK : xc_fail(err, XC_E_ARG, "the recipe has no pass yet"); }

static const struct xc_pass_option *option_of(const struct xc_pass *pass, const char *name)
{
    for (const struct xc_pass_option *o = pass->options; o && o->name; o++)
        if (!strcmp(o->name, name)) return o;
    return NULL;
}

/* Is value one of "a|b|c"? */
static bool is_choice(const char *choices, const char *value)
{
    const size_t n = strlen(value);

    for (const char *c = choices; c; c = strchr(c, '|')) {
        if (*c == '|') c++;
        if (!strncmp(c, value, n) && (c[n] == '|' || !c[n])) return true;
    }
    return false;
}

static enum xc_status check_value(const struct xc_pass *pass, const struct xc_pass_option *o, const char *value, struct xc_err *err)
{
    char *end;
    double x;

    if (o->choices) {
        if (value[0] && is_choice(o->choices, value)) return XC_OK;
        return xc_fail(err, XC_E_RANGE, "option '%s' of pass '%s' is '%s', must be %s", o->name, pass->name, value, o->choices);
    }
    x = strtod(value, &end);
    if (end == value || *end || !(x >= o->min && x <= o->max))
        return xc_fail(err, XC_E_RANGE, "option '%s' of pass '%s' is '%s', must be a number from %g to %g", o->name, pass->name, value, o->min, o->max);
    return XC_OK;
}

enum xc_status xc_recipe_set(struct xc_recipe *r, const char *option, const char *value, struct xc_err *err)
{
    struct xc_setting s = { 0 };

    XC_TRY(need_pass(r, err));
    struct xc_recipe_pass *const p = &r->passes[r->n - 1];
    const struct xc_pass_option *const o = option_of(p->pass, option);

    if (!o) return xc_fail(err, XC_E_NOT_FOUND, "pass '%s' has no option '%s'", p->pass->name, option);
    XC_TRY(check_value(p->pass, o, value, err));
    for (size_t i = 0; i < p->n_settings; i++)
        if (!strcmp(p->settings[i].option, option)) return xc_fail(err, XC_E_ARG, "option '%s' of pass '%s' is set twice", option, p->pass->name);
    XC_TRY(xc_grow((void **)&p->settings, &p->cap_settings, p->n_settings + 1, sizeof *p->settings, err));
    s.option = xc_strdup(option);
    s.value = xc_strdup(value);
    if (!s.option || !s.value) {
        xc_free(s.option);
        xc_free(s.value);
        return xc_fail_nomem(err, strlen(value) + 1);
    }
    p->settings[p->n_settings++] = s;
    return XC_OK;
}

static enum xc_status add_word(struct xc_words *w, const char *word, struct xc_err *err)
{
    if (!word[0]) return xc_fail(err, XC_E_ARG, "a target is empty");
    XC_TRY(xc_grow((void **)&w->word, &w->cap, w->n + 1, sizeof *w->word, err));
    w->word[w->n] = xc_strdup(word);
    if (!w->word[w->n]) return xc_fail_nomem(err, strlen(word) + 1);
    w->n++;
    return XC_OK;
}

enum xc_status xc_recipe_target(struct xc_recipe *r, const char *word, struct xc_err *err)
{
    XC_TRY(need_pass(r, err));
    return add_word(&r->passes[r->n - 1].targets, word, err);
}

enum xc_status xc_recipe_ignore(struct xc_recipe *r, const char *word, struct xc_err *err)
{
    XC_TRY(need_pass(r, err));
    return add_word(&r->passes[r->n - 1].ignore, word, err);
}

/* ---- reading ---- */
const char *xc_recipe_get(const struct xc_recipe_pass *p, const char *option)
{
    const struct xc_pass_option *o = option_of(p->pass, option);

    for (size_t i = 0; i < p->n_settings; i++)
        if (!strcmp(p->settings[i].option, option)) return p->settings[i].value;
    return o ? o->def : NULL;
}

double xc_recipe_number(const struct xc_recipe_pass *p, const char *option) { return strtod(xc_recipe_get(p, option), NULL); }
bool xc_recipe_is(const struct xc_recipe_pass *p, const char *option, const char *value) { return !strcmp(xc_recipe_get(p, option), value); }

/* ---- shorthands ---- */
static enum xc_status from_opts(struct xc_recipe *r, const struct xc_compress_opts *opts, struct xc_err *err)
{
    if (!opts->quantize) return opts->static_ranges ? xc_fail(err, XC_E_ARG, "static ranges are for quantization: say what to quantize to") : XC_OK;
    XC_TRY(xc_recipe_add(r, "quantize", err));
    XC_TRY(xc_recipe_set(r, "format", opts->quantize, err));
    return opts->static_ranges ? xc_recipe_set(r, "activations", "static", err) : XC_OK;
}

enum xc_status xc_recipe_from_opts(struct xc_recipe **out, const struct xc_compress_opts *opts, struct xc_err *err)
{
    enum xc_status status;

    XC_TRY(xc_recipe_new(out, err));
    status = from_opts(*out, opts, err);
    if (status != XC_OK) xc_recipe_free(out);
    return status;
}

/* ---- JSON ---- */
static json_t *words_json(const struct xc_words *w)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < w->n; i++)
        if (json_array_append_new(list, xc_json_new_text(w->word[i], strlen(w->word[i])))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *pass_json(const struct xc_recipe_pass *p)
{
    json_t *o = json_object(), *options = json_object();
    bool bad = !o || !options;

    for (const struct xc_pass_option *d = p->pass->options; !bad && d && d->name; d++) bad |= json_object_set_new(options, d->name, json_string(xc_recipe_get(p, d->name))) != 0;
    if (!bad) bad |= json_object_set_new(o, "pass", json_string(p->pass->name)) != 0;
    if (!bad) bad |= json_object_set(o, "options", options) != 0;
    if (!bad && p->targets.n) bad |= json_object_set_new(o, "targets", words_json(&p->targets)) != 0;
    if (!bad && p->ignore.n) bad |= json_object_set_new(o, "ignore", words_json(&p->ignore)) != 0;
    json_decref(options);
    if (bad) json_decref(o);
    return bad ? NULL : o;
}

enum xc_status xc_recipe_to_json(json_t **out, const struct xc_recipe *r, struct xc_err *err)
{
    *out = json_array();
    for (size_t i = 0; *out && i < r->n; i++)
        if (json_array_append_new(*out, pass_json(&r->passes[i]))) xc_json_free(out);
    return *out ? XC_OK : xc_fail_nomem(err, 0);
}

static enum xc_status words_from_json(struct xc_recipe *r, const json_t *o, const char *key, enum xc_status (*add)(struct xc_recipe *, const char *, struct xc_err *), struct xc_err *err)
{
    json_t *list;

    XC_TRY(xc_json_array_or(&list, o, key, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));

        if (!word) return xc_fail(err, XC_E_FORMAT, "'%s' must be a list of words", key);
        XC_TRY(add(r, word, err));
    }
    return XC_OK;
}

static enum xc_status from_json(struct xc_recipe *r, const json_t *json, struct xc_err *err)
{
    if (!json_is_array(json)) return xc_fail(err, XC_E_FORMAT, "a recipe must be a list of passes");
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *o = json_array_get(json, i);
        const char *pass, *option;
        json_t *options, *value;

        XC_TRY(xc_json_str(&pass, o, "pass", err));
        XC_TRY(xc_recipe_add(r, pass, err));
        XC_TRY(xc_json_object_or(&options, o, "options", err));
        if (options)
            json_object_foreach(options, option, value) {
                if (!json_is_string(value)) return xc_fail(err, XC_E_FORMAT, "option '%s' must be a text", option);
                XC_TRY(xc_recipe_set(r, option, json_string_value(value), err));
            }
        XC_TRY(words_from_json(r, o, "targets", xc_recipe_target, err));
        XC_TRY(words_from_json(r, o, "ignore", xc_recipe_ignore, err));
    }
    return XC_OK;
}

enum xc_status xc_recipe_from_json(struct xc_recipe **out, const json_t *json, struct xc_err *err)
{
    enum xc_status status;

    XC_TRY(xc_recipe_new(out, err));
    status = from_json(*out, json, err);
    if (status != XC_OK) xc_recipe_free(out);
    return status;
}
