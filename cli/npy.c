/* npy: see npy.h. */
#include "cli/npy.h"

#include <stdio.h>
#include <string.h>

void npy_header(char out[128], int64_t rows, int64_t cols)
{
    char text[118 + 1];
    const int n = snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld), }", (long long)rows, (long long)cols);

    memset(text + n, ' ', sizeof text - 1 - (size_t)n);
    text[117] = '\n';
    memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10); /* 0x76 = 118 bytes follow */
    memcpy(out + 10, text, 118);
}

enum xc_status npy_open(struct npy *npy, const char *path, int64_t cols, struct xc_err *err)
{
    char header[128];
    enum xc_status status;

    *npy = (struct npy){ .cols = cols };
    XC_TRY(xc_atomic_open(&npy->file, path, err));
    npy_header(header, 0, cols);
    status = xc_atomic_write(npy->file, header, sizeof header, err);
    if (status != XC_OK) npy_discard(npy);
    return status;
}

enum xc_status npy_write(struct npy *npy, const float *x, int64_t rows, struct xc_err *err)
{
    const uint16_t probe = 1;
    uint8_t first;
    size_t bytes;

    memcpy(&first, &probe, 1);
    if (!first) return xc_fail(err, XC_E_UNSUPPORTED, "writing .npy on a big-endian machine");
    if (rows < 0 || !xc_mul_ok(&bytes, (size_t)rows, (size_t)npy->cols) || !xc_mul_ok(&bytes, bytes, sizeof *x)) return xc_fail(err, XC_E_RANGE, "too many rows");
    XC_TRY(xc_atomic_write(npy->file, x, bytes, err));
    npy->rows += rows;
    return XC_OK;
}

enum xc_status npy_close(struct npy *npy, struct xc_err *err)
{
    char header[128];
    enum xc_status status;

    npy_header(header, npy->rows, npy->cols);
    status = xc_atomic_write_at(npy->file, 0, header, sizeof header, err);
    if (status != XC_OK) {
        npy_discard(npy);
        return status;
    }
    return xc_atomic_commit(&npy->file, err);
}

void npy_discard(struct npy *npy)
{
    xc_atomic_discard(&npy->file);
}
