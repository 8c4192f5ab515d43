/* buf: ref-counted bytes, on the heap or mapped from a file. Tensor data lives in these and nowhere else.
 *
 * A mapped buffer is read-only; code that wants to write asks xc_buf_writable and copies when it must. The count is
 * atomic, so buffers may be shared between threads; the bytes of a shared buffer are not to be written. */
#ifndef XC_RUNTIME_BASE_BUF_H
#define XC_RUNTIME_BASE_BUF_H

#include "runtime/base/base.h"

struct xc_buf {
    uint8_t *data; /* XC_ALIGN-aligned on the heap; page-aligned base plus a checked offset in a view */
    size_t size;   /* bytes */
    struct xc_buf *parent; /* a view keeps its parent alive */
    int refs;
    bool mapped;
};

/* Uninitialised heap bytes, padded to XC_ALIGN (the padding is zeroed). */
enum xc_status xc_buf_new(struct xc_buf **out, size_t size, struct xc_err *err);

/* Maps a whole file read-only. err->where names the path. An empty file gives size 0. */
enum xc_status xc_buf_map(struct xc_buf **out, const char *path, struct xc_err *err);

/* Maps `size` bytes of an open file read-only; offset is a multiple of 4096. The file may be closed afterwards. */
enum xc_status xc_buf_map_range(struct xc_buf **out, int fd, uint64_t offset, size_t size, struct xc_err *err);

/* Lets the pages of a mapped buffer, or of a view of one, go: memory falls, the next access reads them again. No-op for others. */
void xc_buf_forget(const struct xc_buf *buf);

/* All of a large buffer on the heap will be written soon: the system may give it in large pages. Not for one that is written here and there. */
void xc_buf_expect(const struct xc_buf *buf);

/* A window of another buffer, without a copy. XC_E_RANGE when it does not lie inside. */
enum xc_status xc_buf_view(struct xc_buf **out, struct xc_buf *parent, size_t offset, size_t size, struct xc_err *err);

struct xc_buf *xc_buf_ref(struct xc_buf *buf); /* returns buf; NULL stays NULL */
void xc_buf_unref(struct xc_buf **buf);        /* takes NULL, sets NULL */

/* True when the bytes may be written: on the heap, one reference, not a view. */
bool xc_buf_writable(const struct xc_buf *buf);

#endif
