/* npy: a float32 matrix written row by row as NumPy reads it (NEP 1, format 1.0). The number of rows need not be known before the end;
 * the file appears whole or not at all. */
#ifndef XC_CLI_NPY_H
#define XC_CLI_NPY_H

#include "runtime/base/atomic_file.h"

struct npy {
    struct xc_atomic_file *file;
    int64_t rows, cols;
};

enum xc_status npy_open(struct npy *npy, const char *path, int64_t cols, struct xc_err *err);
enum xc_status npy_write(struct npy *npy, const float *x, int64_t rows, struct xc_err *err); /* (rows, cols) */
enum xc_status npy_close(struct npy *npy, struct xc_err *err); /* the header gets its row count, the file its name */
void npy_discard(struct npy *npy);

/* The 128 bytes of the header. */
void npy_header(char out[128], int64_t rows, int64_t cols);

#endif
