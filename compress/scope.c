/* scope: which nodes a recipe entry speaks of; and who uses a tensor. The words are those of xc_recipe_target (compress.h). */
#include <regex.h>
#include <string.h>

#include "compress/pass.h"

/* ---- one word ---- */
struct word {
    const char *text;
    bool is_regex;
    regex_t regex;
};

static enum xc_status word_init(struct word *w, const char *text, const char *pass, struct xc_err *err)
{
    char why[128];
    int rc;

    *w = (struct word){ .text = text, .is_regex = !strncmp(text, "re:", 3) };
    if (!w->is_regex) return XC_OK;
    rc = regcomp(&w->regex, text + 3, REG_EXTENDED);
    if (!rc) return XC_OK;
    w->is_regex = false;
    if (rc == REG_ESPACE) return xc_fail_nomem(err, strlen(text));
    regerror(rc, NULL, why, sizeof why);
    return xc_fail(err, XC_E_FORMAT, "'%s', a target of pass '%s', is no regular expression: %s", text, pass, why);
}

static void word_release(struct word *w)
{
    if (w->is_regex) regfree(&w->regex);
}

static bool matches(const struct word *w, const struct xc_model *m, const struct xc_node *node)
{
    regmatch_t at;

    if (w->is_regex) return !regexec(&w->regex, node->name, 1, &at, 0) && at.rm_so == 0;
    if (!strcmp(w->text, node->op->name) || !strcmp(w->text, node->name)) return true;
    for (int32_t i = 0; i < node->n_in; i++)
        if (node->in[i].kind == XC_REF_TENSOR && !strcmp(w->text, m->tensors[node->in[i].id]->name)) return true;
    return false;
}

/* ---- all words ---- */
static enum xc_status pick_words(struct xc_scope *s, const struct xc_model *m, const struct xc_recipe_pass *spec, const struct xc_words *words, enum xc_pick pick, struct xc_err *err)
{
    for (size_t i = 0; i < words->n; i++) {
        struct word w;
        bool any = false;

        XC_TRY(word_init(&w, words->word[i], spec->pass->name, err));
        for (int32_t g = 0; g < m->n_graphs; g++)
            for (int32_t n = 0; n < m->graphs[g]->n_nodes; n++) {
                if (!matches(&w, m, &m->graphs[g]->nodes[n])) continue;
                any = true;
                s->pick[s->first[g] + n] = (uint8_t)pick;
                s->word[s->first[g] + n] = words->word[i];
            }
        word_release(&w);
        if (!any) return xc_fail(err, XC_E_NOT_FOUND, "'%s', %s of pass '%s', matches no node and no tensor", words->word[i],
                                 pick == XC_PICK_IGNORED ? "an exception" : "a target", spec->pass->name);
    }
    return XC_OK;
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
    XC_TRY(pick_words(s, m, spec, &spec->targets, XC_PICK_TARGET, err));
    return pick_words(s, m, spec, &spec->ignore, XC_PICK_IGNORED, err);
}

enum xc_status xc_scope_make(struct xc_scope *scope, const struct xc_model *m, const struct xc_recipe_pass *spec, const char *const *default_ops, struct xc_err *err)
{
    enum xc_status status;

    *scope = (struct xc_scope){ 0 };
    status = make(scope, m, spec, default_ops, err);
    if (status != XC_OK) xc_scope_release(scope);
    return status;
}

void xc_scope_release(struct xc_scope *s)
{
    xc_free(s->pick);
    xc_free((void *)s->word);
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
