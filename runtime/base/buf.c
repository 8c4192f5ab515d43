/* buf: ref-counted bytes on the heap, in a mapped file, or in a window of either.
 *
 * A file that another process truncates while it is mapped raises SIGBUS on access, as for every mmap; our own files are
 * replaced by rename and never truncated. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/buf.h"

#define MAP_UNIT 4096

/* What an empty buffer points at, so that data is never NULL and data + 0 is defined. Never written. */
static _Alignas(XC_ALIGN) uint8_t empty_bytes[XC_ALIGN];

static struct xc_buf *new_header(uint8_t *data, size_t size)
{
    struct xc_buf *const buf = xc_calloc(1, sizeof *buf);

    if (buf == NULL) return NULL;
    buf->data = data;
    buf->size = size;
    buf->refs = 1;
    return buf;
}

enum xc_status xc_buf_new(struct xc_buf **out, size_t size, struct xc_err *err)
{
    size_t padded;
    uint8_t *data;

    *out = NULL;
    if (!xc_round_up_ok(&padded, size > 0 ? size : 1, XC_ALIGN)) return xc_fail_nomem(err, size);
    data = xc_alloc_aligned(padded);
    if (data == NULL) return xc_fail_nomem(err, padded);
    memset(data + size, 0, padded - size);
    *out = new_header(data, size);
    if (*out == NULL) {
        xc_free(data);
        return xc_fail_nomem(err, sizeof **out);
    }
    return XC_OK;
}

/* Maps fd, whose status is st; the caller closes fd. */
static enum xc_status map_fd(struct xc_buf **out, int fd, const struct stat *st, struct xc_err *err)
{
    uint8_t *data = empty_bytes;
    struct xc_buf *buf;
    size_t size;

    if (S_ISDIR(st->st_mode)) return xc_fail(err, XC_E_IO, "is a directory, not a file");
    if (!S_ISREG(st->st_mode)) return xc_fail(err, XC_E_IO, "not a regular file");
    if (st->st_size < 0 || (uintmax_t)st->st_size > PTRDIFF_MAX) return xc_fail(err, XC_E_LIMIT, "too large to map");
    size = (size_t)st->st_size;

    if (size > 0) {
        void *const p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);

        if (p == MAP_FAILED) return xc_fail_errno(err, errno, "cannot map");
        data = p;
    }
    buf = new_header(data, size);
    if (buf == NULL) {
        if (size > 0) munmap(data, size);
        return xc_fail_nomem(err, sizeof *buf);
    }
    buf->mapped = true;
    *out = buf;
    return XC_OK;
}

enum xc_status xc_buf_map(struct xc_buf **out, const char *path, struct xc_err *err)
{
    enum xc_status status;
    struct stat st;
    int fd;

    *out = NULL;
    /* O_NONBLOCK: opening a FIFO must not hang; it is refused by its type afterwards. */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        status = xc_fail_errno(err, errno, "cannot open");
    else if (fstat(fd, &st) != 0)
        status = xc_fail_errno(err, errno, "cannot stat");
    else
        status = map_fd(out, fd, &st, err);
    if (fd >= 0) close(fd);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", path);
}

enum xc_status xc_buf_map_range(struct xc_buf **out, int fd, uint64_t offset, size_t size, struct xc_err *err)
{
    void *p;

    *out = NULL;
    if (offset % MAP_UNIT || offset > INT64_MAX) return xc_fail(err, XC_E_ARG, "cannot map from byte %llu", (unsigned long long)offset);
    if (!size) return xc_buf_new(out, 0, err);
    p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, (off_t)offset);
    if (p == MAP_FAILED) return xc_fail_errno(err, errno, "cannot map");
    *out = new_header(p, size);
    if (!*out) {
        munmap(p, size);
        return xc_fail_nomem(err, sizeof **out);
    }
    (*out)->mapped = true;
    return XC_OK;
}

void xc_buf_forget(const struct xc_buf *buf)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)buf->data & ~(page - 1), end = (uintptr_t)buf->data + buf->size;

    /* The mapping is private and never written, so its pages can be read again; a neighbour on the same page too. */
    if (buf->mapped && buf->size) (void)!madvise((void *)begin, end - begin, MADV_DONTNEED);
}

void xc_buf_expect(const struct xc_buf *buf)
{
    if (!buf->mapped && !buf->parent) xc_alloc_expect(buf->data, buf->size);
}

enum xc_status xc_buf_view(struct xc_buf **out, struct xc_buf *parent, size_t offset, size_t size, struct xc_err *err)
{
    struct xc_buf *view;

    *out = NULL;
    if (offset > parent->size || size > parent->size - offset)
        return xc_fail(err, XC_E_RANGE, "bytes %zu..+%zu lie outside a buffer of %zu", offset, size, parent->size);
    view = new_header(parent->data + offset, size);
    if (view == NULL) return xc_fail_nomem(err, sizeof *view);
    view->parent = xc_buf_ref(parent);
    view->mapped = parent->mapped;
    *out = view;
    return XC_OK;
}

struct xc_buf *xc_buf_ref(struct xc_buf *buf)
{
    if (buf != NULL) __atomic_add_fetch(&buf->refs, 1, __ATOMIC_RELAXED);
    return buf;
}

void xc_buf_unref(struct xc_buf **ref)
{
    struct xc_buf *buf = *ref;

    *ref = NULL;
    /* A loop and not a recursion: a chain of views may be long. */
    while (buf != NULL && __atomic_sub_fetch(&buf->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        struct xc_buf *const parent = buf->parent;

        if (parent == NULL && !buf->mapped)
            xc_free(buf->data);
        else if (parent == NULL && buf->size > 0)
            munmap(buf->data, buf->size);
        xc_free(buf);
        buf = parent;
    }
}

bool xc_buf_writable(const struct xc_buf *buf)
{
    return !buf->mapped && buf->parent == NULL && __atomic_load_n(&buf->refs, __ATOMIC_ACQUIRE) == 1;
}
