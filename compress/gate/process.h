/* process: runs a program, which may be this one, and reads what it says on stdout. */
#ifndef XC_COMPRESS_GATE_PROCESS_H
#define XC_COMPRESS_GATE_PROCESS_H

#include <stddef.h>

#include "xcompress/progress.h"
#include "xcompress/status.h"

struct xc_said {
    char *text;   /* with a terminator; freed with xc_free */
    size_t n;
    double first; /* xc_seconds of the first byte */
    int code;     /* the exit code; 128 + the signal that ended it */
};

/* argv[0] is a path. A program that says more than max_bytes is an error, and so is one that cannot be started; an exit code is none. When
 * `progress` (may be NULL) asks to stop, the program is sent SIGTERM and waited for, and the answer is XC_E_CANCELLED. */
enum xc_status xc_process_read(struct xc_said *out, char *const argv[], size_t max_bytes, const struct xc_progress *progress, struct xc_err *err);

#endif
