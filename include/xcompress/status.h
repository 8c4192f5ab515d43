/* Status codes and error objects: how every function of xcompress reports failure.
 *
 * A function that can fail returns enum xc_status, XC_OK being 0, and leaves its outputs NULL or zero on failure.
 * The detail goes to a caller-owned struct xc_err, which may be NULL. Nothing is printed, nothing is kept in a
 * thread-local, and the library never calls exit or abort. */
#ifndef XC_STATUS_H
#define XC_STATUS_H

#include <stdarg.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define XC_API __attribute__((visibility("default")))
#define XC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define XC_API
#define XC_PRINTF(fmt, args)
#endif

enum xc_status {
    XC_OK = 0,
    XC_E_NOMEM,       /* an allocation failed */
    XC_E_IO,          /* the operating system refused: open, read, write, rename, full disk */
    XC_E_FORMAT,      /* bytes from outside do not follow their format */
    XC_E_CHECKSUM,    /* a stored checksum differs from the bytes it covers */
    XC_E_VERSION,     /* a format, op or section that this build does not know */
    XC_E_UNSUPPORTED, /* well formed, but something we do not do: named in the message */
    XC_E_SHAPE,       /* sizes that do not fit together */
    XC_E_RANGE,       /* a number outside its limits: token id, label, option, size */
    XC_E_ARG,         /* the caller broke the contract of a function */
    XC_E_NOT_FOUND,   /* a named thing is not there */
    XC_E_LIMIT,       /* a memory or time budget would be exceeded */
    XC_E_MISMATCH,    /* two things that must be equal are not: selftest, reproduce */
    XC_E_CANCELLED,   /* stopped by the caller's request (a signal, say) */
    XC_STATUS_COUNT
};

struct xc_err {
    enum xc_status code;
    char msg[256];   /* fault first, subject in quotes, no full stop; control bytes are escaped */
    char where[128]; /* file, and the place in it; empty when there is none */
};

/* A short fixed name such as "out of memory"; never NULL. */
XC_API const char *xc_status_name(enum xc_status code);

/* Fills *err (when not NULL) and returns code, so that a failure is one statement:
 *     return xc_fail(err, XC_E_FORMAT, "header is %zu bytes, file has %zu", n, size);
 * Bytes below 0x20 and invalid UTF-8 that came in through %s are escaped as \xNN. Clears err->where. */
XC_API enum xc_status xc_fail(struct xc_err *err, enum xc_status code, const char *fmt, ...) XC_PRINTF(3, 4);

/* Adds the place to an error that has none yet (the innermost place wins) and returns err->code, or code when err is NULL. */
XC_API enum xc_status xc_fail_at(struct xc_err *err, enum xc_status code, const char *fmt, ...) XC_PRINTF(3, 4);

/* "where: message", or the message alone, cut to n bytes; returns buf. */
XC_API const char *xc_err_text(const struct xc_err *err, char *buf, unsigned long n);

#ifdef __cplusplus
}
#endif
#endif
