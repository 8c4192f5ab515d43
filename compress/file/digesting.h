/* digesting: the digests of the source files, taken by a thread of its own while the model is read and treated. It reads each file once from end to end, so it
 * is the read-ahead of those who compute on it, too. */
#ifndef XC_COMPRESS_FILE_DIGESTING_H
#define XC_COMPRESS_FILE_DIGESTING_H

#include <jansson.h>

#include "runtime/base/base.h"

struct xc_digesting;

/* NULL when there is no thread to be had. `path` must stay until the end. */
struct xc_digesting *xc_digesting_begin(const char *path);

/* Waits. *sources as xc_manifest_files gives it. *d NULL: they are taken now. */
enum xc_status xc_digesting_end(struct xc_digesting **d, json_t **sources, const char *path, struct xc_err *err);

/* Nobody needs them any more; NULL is fine. */
void xc_digesting_cancel(struct xc_digesting **d);

#endif
