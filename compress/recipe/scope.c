/* scope: which nodes a recipe entry speaks of; and who uses a tensor. The words are those of xc_recipe_target (compress.h).
 *
 * Patterns are POSIX extended regular expressions. What people write in Python's and POSIX has not (\d, groups that do not capture) is
 * translated; what cannot be (look-around) is refused. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "compress/pass.h"

#define MAX_REPEATS 1000

/* ---- one word ---- */
struct word {
    const char *text;
    bool is_regex;
    regex_t regex;
};

/* The count of a repetition "{n,m}" at s, at least 1; 0 when there is none. */
static long repeats(const char *s)
{
    char *end;
    long most = strtol(s + 1, &end, 10);

    if (*end == ',' && end[1] != '}') most = strtol(end + 1, &end, 10);
    return most > 1 ? most : 1;
}

/* Python's pattern as an extended one: dst has room for 6 bytes per byte of src and a NUL. What is not supported, in words; else NULL. */
static const char *translate(char *dst, const char *src)
{
    bool in_set = false;
    long size = 1;

    for (; *src; src++) {
        if (in_set && *src == ']') in_set = false;
        if (!in_set && *src == '{' && (size *= repeats(src)) > MAX_REPEATS) return "repetitions that multiply to more than 1000"; /* each is a copy for the compiler of patterns */
        if (*src == '\\' && src[1] >= '1' && src[1] <= '9' && !in_set) return "a reference to a group";
        if (*src == '\\' && src[1] == 'd') {
            dst = stpcpy(dst, in_set ? "0-9" : "[0-9]");
            src++;
        } else if (*src == '\\' && src[1] && !in_set) {
            *dst++ = *src++;
            *dst++ = *src;
        } else if (!in_set && *src == '(' && src[1] == '?') {
            if (src[2] != ':') return "'(?' that is not '(?:' (look-around, flags)";
            *dst++ = '(';
            src += 2;
        } else if (!in_set && *src == '[') {
            in_set = true;
            *dst++ = *src;
            if (src[1] == '^') *dst++ = *++src;
            if (src[1] == ']') *dst++ = *++src;
        } else {
            *dst++ = *src;
        }
    }
    *dst = 0;
    return NULL;
}

static enum xc_status word_init(struct word *w, const char *text, const struct xc_recipe_pass *spec, struct xc_err *err)
{
    char why[128], *pattern;
    const char *unknown;
    int rc;

    *w = (struct word){ .text = text };
    if (strncmp(text, "re:", 3)) return XC_OK;
    pattern = xc_malloc(6 * strlen(text) + 1);
    if (!pattern) return xc_fail_nomem(err, 6 * strlen(text));
    unknown = translate(pattern, text + 3);
    rc = unknown ? 0 : regcomp(&w->regex, pattern, REG_EXTENDED);
    xc_free(pattern);
    if (unknown) return xc_fail(err, XC_E_FORMAT, "'%s', a pattern of pass '%s', has what is not supported: %s", text, spec->pass->name, unknown);
    w->is_regex = !rc;
    if (!rc) return XC_OK;
    if (rc == REG_ESPACE) return xc_fail_nomem(err, strlen(text));
    regerror(rc, NULL, why, sizeof why);
    return xc_fail(err, XC_E_FORMAT, "'%s', a pattern of pass '%s', is no regular expression: %s", text, spec->pass->name, why);
}

static void word_release(struct word *w)
{
    if (w->is_regex) regfree(&w->regex);
}

/* Does the expression match from the start of s? As re.match of Python: the end may be anywhere. */
static bool matches_regex(const struct word *w, const char *s)
{
    regmatch_t at;

    return !regexec(&w->regex, s, 1, &at, 0) && at.rm_so == 0;
}

/* The kind of op by our name, or by that of torch's module. */
static bool is_kind(const char *word, const char *op) { return !strcmp(word, op) || (!strcmp(word, "Linear") && !strcmp(op, "linear")) || (!strcmp(word, "Embedding") && !strcmp(op, "gather")); }

static bool matches(const struct word *w, const struct xc_model *m, const struct xc_node *node)
{
    if (w->is_regex ? matches_regex(w, node->name) : is_kind(w->text, node->op->name) || !strcmp(w->text, node->name)) return true;
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_TENSOR && (w->is_regex ? matches_regex(w, m->tensors[node->in[i].id]->name) : !strcmp(w->text, m->tensors[node->in[i].id]->name))) return true;
    return false;
}

/* ---- all words ---- */
/* Calls found for each node that a word of the list matches. */
static enum xc_status each_match(const struct xc_model *m, const struct xc_recipe_pass *spec, const struct xc_words *words, const char *what,
                                 void (*found)(struct xc_scope *s, int32_t at, const char *word, int value), struct xc_scope *s, int value, struct xc_err *err)
{
    for (size_t i = 0; i < words->n; i++) {
        struct word w;
        bool any = false;
        enum xc_status status = word_init(&w, words->word[i].text, spec, err);

        if (status != XC_OK) return xc_recipe_fail_at(spec, words->word[i].text, status, err);
        for (int32_t g = 0; g < m->n_graphs; g++)
            for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++) {
                if (!matches(&w, m, &m->graphs[g]->nodes[n])) continue;
                any = true;
                found(s, s->first[g] + n, words->word[i].text, value);
            }
        word_release(&w);
        if (any) continue;
        status = xc_fail(err, XC_E_NOT_FOUND, "'%s', %s of pass '%s', matches no node and no tensor", words->word[i].text, what, spec->pass->name);
        return xc_recipe_fail_at(spec, words->word[i].text, status, err);
    }
    return XC_OK;
}

static void set_pick(struct xc_scope *s, int32_t at, const char *word, int pick)
{
    s->pick[at] = (uint8_t)pick;
    s->word[at] = word;
}

static void set_part(struct xc_scope *s, int32_t at, const char *word, int part)
{
    (void)word;
    s->part[at] = (uint16_t)part;
}

/* Leaves the nodes of this part of a pass with overrides. */
static enum xc_status pick_part(struct xc_scope *s, const struct xc_model *m, const struct xc_recipe_pass *spec, int32_t total, struct xc_err *err)
{
    bool any = false;

    if (!spec->n_overrides) return XC_OK;
    if (spec->n_overrides >= UINT16_MAX) return xc_fail(err, XC_E_LIMIT, "pass '%s' has %zu overrides", spec->pass->name, spec->n_overrides);
    s->part = xc_calloc((size_t)total + 1, sizeof *s->part);
    if (!s->part) return xc_fail_nomem(err, (size_t)total * sizeof *s->part);
    for (size_t i = 0; i < spec->n_overrides; i++) XC_TRY(each_match(m, spec, &spec->overrides[i].match, "a pattern of an override", set_part, s, (int)i + 1, err));
    for (int32_t i = 0; i < total; i++) {
        if (s->part[i] != spec->part) s->pick[i] = XC_PICK_OUTSIDE;
        any |= s->pick[i] == XC_PICK_DEFAULT || s->pick[i] == XC_PICK_TARGET;
    }
    if (any || !spec->part || !spec->targets.n) return XC_OK; /* the default of a pass may depend on its options */
    const struct xc_words *const match = &spec->overrides[spec->part - 1].match;

    return xc_recipe_fail_at(spec, match->word[0].text,
                             xc_fail(err, XC_E_NOT_FOUND, "the override '%s' of pass '%s' is for nothing that the pass treats, or a later one hides it", match->word[0].text, spec->pass->name), err);
}

static enum xc_status make(struct xc_scope *s, const struct xc_model *m, const struct xc_recipe_pass *spec, const char *const *default_ops, struct xc_err *err)
{
    int32_t total = 0;

    s->first = xc_calloc((size_t)m->n_graphs + 1, sizeof *s->first);
    if (!s->first) return xc_fail_nomem(err, (size_t)m->n_graphs * sizeof *s->first);
    for (int32_t g = 0; g < m->n_graphs; g++) {
        s->first[g] = total;
        total += m->graphs[g]->n_nodes;
    }
    s->pick = xc_calloc((size_t)total + 1, sizeof *s->pick);
    s->word = xc_calloc((size_t)total + 1, sizeof *s->word);
    if (!s->pick || !s->word) return xc_fail_nomem(err, (size_t)total * sizeof *s->word);
    for (int32_t g = 0; g < m->n_graphs && !spec->targets.n; g++)
        for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++)
            for (const char *const *op = default_ops; *op; op++)
                if (!strcmp(m->graphs[g]->nodes[n].op->name, *op)) s->pick[s->first[g] + n] = XC_PICK_DEFAULT;
    XC_TRY(each_match(m, spec, &spec->targets, "a target", set_pick, s, XC_PICK_TARGET, err));
    XC_TRY(each_match(m, spec, &spec->ignore, "an exception", set_pick, s, XC_PICK_IGNORED, err));
    return pick_part(s, m, spec, total, err);
}

enum xc_status xc_scope_make(struct xc_scope *scope, const struct xc_model *m, const struct xc_recipe_pass *spec, const char *const *default_ops, struct xc_err *err)
{
    enum xc_status status;

    *scope = (struct xc_scope){ 0 };
    status = make(scope, m, spec, default_ops, err);
    if (status != XC_OK) xc_scope_release(scope);
    return status;
}

int32_t xc_scope_first(const struct xc_scope *s, const struct xc_model *m, const struct xc_graph *g)
{
    int32_t i = 0;

    while (m->graphs[i] != g) i++;
    return s->first[i];
}

void xc_scope_release(struct xc_scope *s)
{
    xc_free(s->pick);
    xc_free((void *)s->word);
    xc_free(s->part);
    xc_free(s->first);
    *s = (struct xc_scope){ 0 };
}

/* ---- uses: counted, then placed ---- */
enum xc_status xc_uses_make(struct xc_uses *u, const struct xc_model *m, struct xc_err *err)
{
    int32_t *next = xc_calloc((size_t)m->n_tensors + 1, sizeof *next);
    int32_t total = 0;

    *u = (struct xc_uses){ 0 };
    u->first = xc_calloc((size_t)m->n_tensors + 1, sizeof *u->first);
    for (int place = 0; place < 2 && next && u->first; place++) {
        for (int32_t g = 0; g < m->n_graphs; g++)
            for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++)
                for (int32_t i = 0; i < m->graphs[g]->nodes[n].n_in; i++) {
                    const struct xc_ref *ref = &m->graphs[g]->nodes[n].in[i];

                    if (ref->kind != XC_REF_TENSOR) continue;
                    if (place) u->use[next[ref->id]++] = (struct xc_use){ .graph = g, .node = n, .input = i };
                    else u->first[ref->id + 1]++;
                }
        if (place) break;
        for (int32_t t = 0; t < m->n_tensors; t++) {
            u->first[t + 1] += u->first[t];
            next[t] = u->first[t];
        }
        total = u->first[m->n_tensors];
        u->use = xc_calloc((size_t)total + 1, sizeof *u->use);
        if (!u->use) break;
    }
    xc_free(next);
    if (u->use) return XC_OK;
    xc_uses_release(u);
    return xc_fail_nomem(err, (size_t)total * sizeof *u->use);
}

void xc_uses_release(struct xc_uses *u)
{
    xc_free(u->use);
    xc_free(u->first);
    *u = (struct xc_uses){ 0 };
}
