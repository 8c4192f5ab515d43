/* toolkit: the public names of reading and writing models. */
#include <string.h>

#include "formats/formats.h"
#include "runtime/container/container.h"
#include "xcompress/compress.h"

enum xc_status xc_import(struct xc_model **out, const char *path, struct xc_err *err) { return xc_model_load(out, path, NULL, err); }

enum xc_status xc_save(const struct xc_model *model, const char *path, bool small, struct xc_pool *pool, const struct xc_progress *progress, uint64_t *bytes, struct xc_err *err)
{
    static const struct xc_progress none;
    const struct xc_progress *p = progress ? progress : &none;
    const struct xc_write_opts write = { .store = small ? XC_STORE_SMALL : XC_STORE_FAST, .pool = pool, .progress = p->update, .progress_arg = p->arg, .cancelled = p->cancelled,
                                         .cancelled_arg = p->arg };

    return xc_container_write(model, path, &write, bytes, err);
}

enum xc_status xc_export(const struct xc_model *model, const char *dir, const char *format, struct xc_err *err)
{
    for (int f = XC_FMT_F32; f <= XC_FMT_BF16; f++)
        if (!strcmp(format ? format : "f32", xc_format_traits((enum xc_format)f)->name)) return xc_hf_write(model, dir, f, err);
    return xc_fail(err, XC_E_ARG, "format '%s' is none of f32, f16, bf16", format);
}
