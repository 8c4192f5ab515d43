/* passes: the registry, and what callers may ask of it. */
#include <string.h>

#include "compress/file/side.h"
#include "compress/pass.h"

#define PASS(name) extern const struct xc_pass xc_pass_##name;
#include "compress/passes.def"
#undef PASS

static const struct xc_pass *const passes[] = {
#define PASS(name) &xc_pass_##name,
#include "compress/passes.def"
#undef PASS
};

static const char *const names[] = {
#define PASS(name) #name,
#include "compress/passes.def"
#undef PASS
    NULL,
};

const char *const *xc_pass_names(void) { return names; }

const struct xc_pass *xc_pass_find(const char *name)
{
    for (size_t i = 0; i < XC_ARRAY_LEN(passes); i++)
        if (!strcmp(passes[i]->name, name)) return passes[i];
    return NULL;
}

const char *xc_pass_summary(const char *pass)
{
    const struct xc_pass *p = xc_pass_find(pass);

    return p ? p->summary : NULL;
}

bool xc_pass_option(const char *pass, int i, struct xc_pass_option_info *info)
{
    const struct xc_pass *p = xc_pass_find(pass);
    const struct xc_pass_option *o = p ? p->options : NULL;

    *info = (struct xc_pass_option_info){ 0 };
    for (; o && o->name; o++, i--)
        if (i == 0) {
            *info = (struct xc_pass_option_info){ .name = o->name, .help = o->help, .def = o->def, .choices = o->choices, .word = o->word, .min = o->min, .max = o->max };
            return true;
        }
    return false;
}

bool xc_work_resume(struct xc_work *w, int32_t t)
{
    if (!xc_side_take(w->side, w->stage, &w->want[t], w->model->tensors[t], &w->layers[t])) return false;
    w->resumed++;
    w->done += (double)xc_tensor_count(w->model->tensors[t]);
    return true;
}

bool xc_work_can_resume(const struct xc_work *w, int32_t t) { return xc_side_has(w->side, w->stage, &w->want[t], w->model->tensors[t]); }

enum xc_status xc_work_keep(struct xc_work *w, int32_t t, struct xc_err *err) { return xc_side_put(w->side, w->stage, w->model->tensors[t], &w->layers[t], err); }

enum xc_status xc_work_advance(struct xc_work *w, const char *what, double n, struct xc_err *err)
{
    const struct xc_progress *p = w->opts->progress;

    w->done += n;
    if (p && p->update) p->update(p->arg, what, w->done, w->total);
    if (p && p->cancelled && p->cancelled(p->arg)) return xc_fail(err, XC_E_CANCELLED, "stopped on request");
    return XC_OK;
}

enum xc_status xc_pass_nothing(struct xc_work *w, struct xc_err *err)
{
    (void)w;
    (void)err;
    return XC_OK;
}

enum xc_status xc_pass_no_overrides(const struct xc_recipe_pass *spec, struct xc_err *err)
{
    return spec->n_overrides ? xc_fail(err, XC_E_UNSUPPORTED, "pass '%s' takes no overrides: list it twice, with other targets", spec->pass->name) : XC_OK;
}
