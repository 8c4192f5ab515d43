/* reading: see reading.h. */
#include "compress/file/reading.h"

struct xc_read_fault {
    int64_t item;
    enum xc_status status;
    struct xc_err err;
};

enum xc_status xc_reading_init(struct xc_reading *r, int threads, int64_t most, struct xc_err *err)
{
    size_t bytes;

    *r = (struct xc_reading){ .most = most, .threads = threads };
    if (!xc_mul_ok(&bytes, (size_t)most, (size_t)threads * sizeof *r->rows)) return xc_fail_nomem(err, (size_t)most);
    r->rows = xc_alloc_aligned(bytes);
    r->fault = xc_calloc((size_t)threads, sizeof *r->fault);
    if (r->rows && r->fault) return XC_OK;
    xc_reading_release(r);
    return xc_fail_nomem(err, bytes);
}

void xc_reading_release(struct xc_reading *r)
{
    xc_free(r->rows);
    xc_free(r->fault);
    *r = (struct xc_reading){ 0 };
}

const float *xc_reading_rows(struct xc_reading *r, const struct xc_tensor *t, int64_t row, int64_t n, int64_t item, int thread)
{
    struct xc_read_fault *f = &r->fault[thread];
    float *rows = r->rows + thread * r->most;

    if (f->status != XC_OK) return NULL; /* items rise: what this thread failed at first stays the first */
    f->status = xc_tensor_rows_to_f32(t, row, n, rows, &f->err);
    f->item = item;
    return f->status == XC_OK ? rows : NULL;
}

enum xc_status xc_reading_status(const struct xc_reading *r, struct xc_err *err)
{
    const struct xc_read_fault *first = NULL;

    for (int i = 0; i < r->threads; i++)
        if (r->fault[i].status != XC_OK && (!first || r->fault[i].item < first->item)) first = &r->fault[i];
    if (!first) return XC_OK;
    if (err) *err = first->err;
    return first->status;
}
