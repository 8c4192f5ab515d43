/* transpose: see transpose.h. */
#include "formats/transpose.h"

#include <string.h>

#define WINDOW 65536 /* numbers read at once, or one row */

struct transposed {
    struct xc_source base;
    struct xc_tensor from; /* (A, B); references of its own */
    char *name;
};

/* Number b * A + a of the transpose is number a * B + b: all rows of `from` are passed once, and of each the columns b that the window touches are taken. */
static enum xc_status transposed_read(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *err)
{
    const struct transposed *s = (const struct transposed *)(const void *)src;
    const int64_t A = s->from.dim[0], B = s->from.dim[1], step = B < WINDOW ? WINDOW / B : 1, b0 = first / A, b1 = n ? (first + n - 1) / A + 1 : b0;
    float *rows = xc_malloc((size_t)(step * B) * sizeof *rows);
    enum xc_status status = rows ? XC_OK : xc_fail_nomem(err, (size_t)(step * B) * sizeof *rows);

    (void)t;
    for (int64_t a0 = 0; a0 < A && status == XC_OK; a0 += step) {
        const int64_t a1 = xc_min_i64(A, a0 + step);

        status = xc_tensor_rows_to_f32(&s->from, a0, a1 - a0, rows, err);
        for (int64_t b = b0; b < b1 && status == XC_OK; b++)
            for (int64_t a = a0; a < a1; a++)
                if (b * A + a >= first && b * A + a < first + n) dst[b * A + a - first] = rows[(a - a0) * B + b];
    }
    xc_free(rows);
    return status;
}

static void transposed_unref(struct xc_source *src)
{
    struct transposed *s = (struct transposed *)(void *)src;

    if (__atomic_sub_fetch(&src->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    xc_tensor_clear(&s->from);
    xc_free(s->name);
    xc_free(s);
}

enum xc_status xc_transpose(struct xc_tensor *t, struct xc_err *err)
{
    struct transposed *s;
    char *name;

    if (t->rank != 2) return xc_fail(err, XC_E_SHAPE, "tensor '%s' is no matrix", t->name);
    s = xc_malloc(sizeof *s);
    name = xc_strndup(t->name, strlen(t->name));
    if (!s || !name) {
        xc_free(s);
        xc_free(name);
        return xc_fail_nomem(err, sizeof *s);
    }
    *s = (struct transposed){ .base = { .read_f32 = transposed_read, .unref = transposed_unref, .refs = 1 }, .from = *t, .name = name };
    s->from.name = name; /* the model may be gone before the source is */
    for (int p = 0; p < XC_PART_COUNT; p++) t->part[p] = NULL; /* its references are the source's now */
    t->source = &s->base;
    t->enc = (struct xc_encoding){ .format = XC_FMT_F32 };
    t->dim[0] = s->from.dim[1];
    t->dim[1] = s->from.dim[0];
    return XC_OK;
}
