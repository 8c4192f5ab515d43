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

/* The plain number type that most weights are; f32 for quantized ones. */
static const char *stored_format(const struct xc_model *m)
{
    int64_t count[XC_FMT_COUNT] = { 0 };
    int most = XC_FMT_F32;

    for (int32_t t = 0; t < m->n_tensors; t++) {
        const struct xc_tensor *tensor = m->tensors[t];

        count[tensor->part[XC_PART_DATA] || !tensor->source ? tensor->enc.format : tensor->source_format] += xc_tensor_count(tensor);
    }
    for (int f = XC_FMT_F32; f <= XC_FMT_BF16; f++)
        if (count[f] > count[most]) most = f;
    for (int f = 0; f < XC_FMT_COUNT; f++)
        if (xc_format_traits((enum xc_format)f)->quantized && count[f] > count[most]) return "f32";
    return xc_format_traits((enum xc_format)most)->name;
}

enum xc_status xc_export(const struct xc_model *model, const char *dir, const char *format, struct xc_err *err)
{
    if (!format) format = stored_format(model);
    for (int f = XC_FMT_F32; f <= XC_FMT_BF16; f++)
        if (!strcmp(format, xc_format_traits((enum xc_format)f)->name)) return xc_hf_write(model, dir, f, err);
    return xc_fail(err, XC_E_ARG, "format '%s' is none of f32, f16, bf16", format);
}
