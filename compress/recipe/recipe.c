/* recipe: see recipe.h. Settings are checked when they are set, so that whoever reads them from a file can name the line. */
#include "compress/recipe/recipe.h"

#include <stdlib.h>
#include <string.h>

#include "compress/pass.h"
#include "formats/json.h"
#include "formats/units.h"

/* ---- life ---- */
enum xc_status xc_recipe_new(struct xc_recipe **out, struct xc_err *err)
{
    *out = xc_calloc(1, sizeof **out);
    return *out ? XC_OK : xc_fail_nomem(err, sizeof **out);
}

static void words_release(struct xc_words *w)
{
    for (size_t i = 0; i < w->n; i++) xc_free(w->word[i].text);
    xc_free(w->word);
}

static void settings_release(struct xc_settings *s)
{
    for (size_t i = 0; i < s->n; i++) {
        xc_free(s->item[i].option);
        xc_free(s->item[i].value);
    }
    xc_free(s->item);
}

void xc_recipe_free(struct xc_recipe **recipe)
{
    struct xc_recipe *r = *recipe;

    *recipe = NULL;
    if (!r) return;
    for (size_t i = 0; i < r->n; i++) {
        struct xc_recipe_pass *p = &r->passes[i];

        settings_release(&p->settings);
        words_release(&p->targets);
        words_release(&p->ignore);
        for (size_t k = 0; k < p->n_overrides; k++) {
            settings_release(&p->overrides[k].settings);
            words_release(&p->overrides[k].match);
        }
        xc_free(p->overrides);
    }
    xc_free(r->passes);
    xc_free(r->file);
    xc_free(r);
}

/* ---- building ---- */
enum xc_status xc_recipe_add(struct xc_recipe *r, const char *pass, struct xc_err *err)
{
    const struct xc_pass *found = xc_pass_find(pass);

    if (!found) return xc_fail(err, XC_E_NOT_FOUND, "there is no pass '%s'", pass);
    XC_TRY(xc_grow((void **)&r->passes, &r->cap, r->n + 1, sizeof *r->passes, err));
    r->passes[r->n++] = (struct xc_recipe_pass){ .pass = found, .file = r->file, .line = r->line };
    r->in_override = false;
    return XC_OK;
}

static enum xc_status need_pass(const struct xc_recipe *r, struct xc_err *err) { return r->n ? XC_OK : xc_fail(err, XC_E_ARG, "the recipe has no pass yet"); }

/* What a setting belongs to: the pass added last, or its override begun last. */
static struct xc_override *override_of(const struct xc_recipe *r)
{
    const struct xc_recipe_pass *p = &r->passes[r->n - 1];

    return r->in_override ? &p->overrides[p->n_overrides - 1] : NULL;
}

enum xc_status xc_recipe_override(struct xc_recipe *r, struct xc_err *err)
{
    XC_TRY(need_pass(r, err));
    struct xc_recipe_pass *const p = &r->passes[r->n - 1];

    XC_TRY(xc_grow((void **)&p->overrides, &p->cap_overrides, p->n_overrides + 1, sizeof *p->overrides, err));
    p->overrides[p->n_overrides++] = (struct xc_override){ .line = r->line };
    r->in_override = true;
    return XC_OK;
}

static const struct xc_pass_option *option_of(const struct xc_pass *pass, const char *name)
{
    for (const struct xc_pass_option *o = pass->options; o && o->name; o++)
        if (!strcmp(o->name, name)) return o;
    return NULL;
}

/* Is value one of "a|b|c"? */
static bool is_choice(const char *choices, const char *value, size_t n)
{
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

    if (o->list) {
        for (const char *at = value;; at++) {
            const size_t n = strcspn(at, ",");

            if (!n || !is_choice(o->choices, at, n))
                return xc_fail(err, XC_E_RANGE, "option '%s' of pass '%s' is '%s', must be some of %s, with commas between them", o->name, pass->name, value, o->choices);
            at += n;
            if (!*at) return XC_OK;
        }
    }
    if (o->choices) {
        if (value[0] && is_choice(o->choices, value, strlen(value))) return XC_OK;
        return xc_fail(err, XC_E_RANGE, "option '%s' of pass '%s' is '%s', must be %s", o->name, pass->name, value, o->choices);
    }
    if (o->size) {
        uint64_t bytes;

        return xc_parse_size(&bytes, value) ? XC_OK : xc_fail(err, XC_E_RANGE, "option '%s' of pass '%s' is '%s', must be a size such as 11.5MB", o->name, pass->name, value);
    }
    if (o->word && !strcmp(value, o->word)) return XC_OK;
    x = strtod(value, &end);
    if (o->word && (end == value || *end || !(x >= o->min && x <= o->max)))
        return xc_fail(err, XC_E_RANGE, "option '%s' of pass '%s' is '%s', must be %s or a number from %g to %g", o->name, pass->name, value, o->word, o->min, o->max);
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
    struct xc_settings *const to = r->in_override ? &override_of(r)->settings : &p->settings;

    for (size_t i = 0; i < to->n; i++)
        if (!strcmp(to->item[i].option, option)) return xc_fail(err, XC_E_ARG, "option '%s' of pass '%s' is set twice", option, p->pass->name);
    XC_TRY(xc_grow((void **)&to->item, &to->cap, to->n + 1, sizeof *to->item, err));
    s.option = xc_strdup(option);
    s.value = xc_strdup(value);
    if (!s.option || !s.value) {
        xc_free(s.option);
        xc_free(s.value);
        return xc_fail_nomem(err, strlen(value) + 1);
    }
    to->item[to->n++] = s;
    return XC_OK;
}

static enum xc_status add_word(struct xc_words *w, const char *word, int32_t line, struct xc_err *err)
{
    if (!word[0]) return xc_fail(err, XC_E_ARG, "a target is empty");
    XC_TRY(xc_grow((void **)&w->word, &w->cap, w->n + 1, sizeof *w->word, err));
    w->word[w->n] = (struct xc_word){ .text = xc_strdup(word), .line = line };
    if (!w->word[w->n].text) return xc_fail_nomem(err, strlen(word) + 1);
    w->n++;
    return XC_OK;
}

enum xc_status xc_recipe_target(struct xc_recipe *r, const char *word, struct xc_err *err)
{
    XC_TRY(need_pass(r, err));
    return add_word(&r->passes[r->n - 1].targets, word, r->line, err);
}

enum xc_status xc_recipe_ignore(struct xc_recipe *r, const char *word, struct xc_err *err)
{
    XC_TRY(need_pass(r, err));
    return add_word(&r->passes[r->n - 1].ignore, word, r->line, err);
}

enum xc_status xc_recipe_match(struct xc_recipe *r, const char *word, struct xc_err *err)
{
    XC_TRY(need_pass(r, err));
    return r->in_override ? add_word(&override_of(r)->match, word, r->line, err) : xc_fail(err, XC_E_ARG, "a pattern to match belongs to an override");
}

/* ---- reading ---- */
static const char *value_in(const struct xc_settings *s, const char *option)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->item[i].option, option)) return s->item[i].value;
    return NULL;
}

const char *xc_recipe_get(const struct xc_recipe_pass *p, const char *option)
{
    const struct xc_pass_option *o = option_of(p->pass, option);

    const char *value = p->part ? value_in(&p->overrides[p->part - 1].settings, option) : NULL;

    if (!value) value = value_in(&p->settings, option);
    return value || !o ? value : o->def;
}

double xc_recipe_number(const struct xc_recipe_pass *p, const char *option) { return strtod(xc_recipe_get(p, option), NULL); }

uint64_t xc_recipe_size(const struct xc_recipe_pass *p, const char *option)
{
    uint64_t bytes;

    return xc_parse_size(&bytes, xc_recipe_get(p, option)) ? bytes : 0;
}

bool xc_recipe_is(const struct xc_recipe_pass *p, const char *option, const char *value) { return !strcmp(xc_recipe_get(p, option), value); }

static int32_t line_of(const struct xc_words *w, const char *word)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->word[i].text == word || !strcmp(w->word[i].text, word)) return w->word[i].line;
    return 0;
}

enum xc_status xc_recipe_fail_at(const struct xc_recipe_pass *p, const char *word, enum xc_status status, struct xc_err *err)
{
    int32_t line = 0;

    if (!p->file) return status;
    if (word) {
        line = line_of(&p->targets, word);
        if (!line) line = line_of(&p->ignore, word);
        for (size_t i = 0; i < p->n_overrides && !line; i++) line = line_of(&p->overrides[i].match, word);
    }
    return xc_fail_at(err, status, "%s:%d", p->file, line ? line : p->line);
}

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
        if (json_array_append_new(list, xc_json_new_text(w->word[i].text, strlen(w->word[i].text)))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *override_json(const struct xc_override *v)
{
    json_t *options = json_object(), *o = json_object();
    bool bad = !options || !o;

    for (size_t i = 0; !bad && i < v->settings.n; i++) bad |= json_object_set_new(options, v->settings.item[i].option, json_string(v->settings.item[i].value)) != 0;
    if (!bad) bad |= json_object_set(o, "options", options) != 0 || json_object_set_new(o, "match", words_json(&v->match)) != 0;
    json_decref(options);
    if (bad) json_decref(o);
    return bad ? NULL : o;
}

static json_t *overrides_json(const struct xc_recipe_pass *p)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < p->n_overrides; i++)
        if (json_array_append_new(list, override_json(&p->overrides[i]))) {
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
    if (!bad && p->n_overrides) bad |= json_object_set_new(o, "overrides", overrides_json(p)) != 0;
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

static enum xc_status options_from_json(struct xc_recipe *r, const json_t *o, struct xc_err *err)
{
    const char *option;
    json_t *options, *value;

    XC_TRY(xc_json_object_or(&options, o, "options", err));
    if (options)
        json_object_foreach(options, option, value) {
            if (!json_is_string(value)) return xc_fail(err, XC_E_FORMAT, "option '%s' must be a text", option);
            XC_TRY(xc_recipe_set(r, option, json_string_value(value), err));
        }
    return XC_OK;
}

static enum xc_status from_json(struct xc_recipe *r, const json_t *json, struct xc_err *err)
{
    if (!json_is_array(json)) return xc_fail(err, XC_E_FORMAT, "a recipe must be a list of passes");
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *o = json_array_get(json, i);
        const char *pass;
        json_t *overrides;

        XC_TRY(xc_json_str(&pass, o, "pass", err));
        XC_TRY(xc_recipe_add(r, pass, err));
        XC_TRY(options_from_json(r, o, err));
        XC_TRY(words_from_json(r, o, "targets", xc_recipe_target, err));
        XC_TRY(words_from_json(r, o, "ignore", xc_recipe_ignore, err));
        XC_TRY(xc_json_array_or(&overrides, o, "overrides", err));
        for (size_t k = 0; k < json_array_size(overrides); k++) {
            const json_t *v = json_array_get(overrides, k);

            XC_TRY(xc_recipe_override(r, err));
            XC_TRY(words_from_json(r, v, "match", xc_recipe_match, err));
            XC_TRY(options_from_json(r, v, err));
        }
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
