/* atomic_file: a temporary file beside the target, written, fsync'ed, renamed over it, and the directory fsync'ed.
 *
 * Where the file system can (O_TMPFILE: ext4, xfs, btrfs, tmpfs, overlayfs of new kernels), the temporary file has no name until it is
 * complete, so that even SIGKILL leaves nothing. Elsewhere it has a name that starts with a dot, kept in a table that a signal handler
 * may empty. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/atomic_file.h"

#define BUFFER_BYTES ((size_t)256 << 10)
#define TEMP_SLOTS 64
#define TEMP_TRIES 100

struct xc_atomic_file {
    int fd;
    int dir_fd;
    char *path;   /* as the caller said it: for messages */
    char *target; /* links resolved */
    char *temp;   /* owned by its slot while it has one; NULL: no name */
    int slot;
    bool adopted; /* temp was there before */
    uint64_t size; /* bytes written, buffered ones included */
    size_t used;   /* of buffer */
    uint8_t *buffer;
};

/* Names of temporary files on disk. Whoever takes a name out of its slot owns the string: a handler that interrupts a commit and the
 * commit itself cannot both have it. Process-wide, because signals are. */
static _Atomic(char *) temp_slots[TEMP_SLOTS];
static _Atomic unsigned temp_serial;

void xc_atomic_remove_all(void)
{
    for (int i = 0; i < TEMP_SLOTS; i++) {
        char *const name = atomic_exchange(&temp_slots[i], NULL);

        if (name != NULL) unlink(name); /* the string is not freed: free is not async-signal-safe */
    }
}

/* Puts file->temp into a slot; a full table only means that a signal would leave this file behind. */
static void remember_temp(struct xc_atomic_file *file)
{
    for (int i = 0; i < TEMP_SLOTS; i++) {
        char *expected = NULL;

        if (atomic_compare_exchange_strong(&temp_slots[i], &expected, file->temp)) {
            file->slot = i;
            return;
        }
    }
}

/* Frees the name of the temporary file, unlinking it first when asked. */
static void forget_temp(struct xc_atomic_file *file, bool remove)
{
    char *name = file->temp;

    if (name == NULL) return;
    if (file->slot >= 0 && !atomic_compare_exchange_strong(&temp_slots[file->slot], &name, NULL)) name = NULL; /* the handler has it */
    if (name != NULL) {
        if (remove) unlink(name);
        xc_free(name);
    }
    file->temp = NULL;
    file->slot = -1;
}

/* Directory part of a path: "." when it has none. */
static char *directory_of(const char *path)
{
    const char *const slash = strrchr(path, '/');

    if (slash == NULL) return xc_strdup(".");
    return slash == path ? xc_strdup("/") : xc_strndup(path, (size_t)(slash - path));
}

/* "<directory of target>/.xc-<pid>-<serial>.tmp": a new name at every call. */
static char *temp_name(const char *target)
{
    char *const dir = directory_of(target);
    char *name = NULL;

    if (dir != NULL) {
        const size_t bytes = strlen(dir) + 48;

        name = xc_malloc(bytes);
        if (name != NULL)
            snprintf(name, bytes, "%s/.xc-%ld-%u.tmp", dir, (long)getpid(), atomic_fetch_add(&temp_serial, 1u));
    }
    xc_free(dir);
    return name;
}

/* Where a chain of symbolic links ends, also when nothing is there yet. */
static enum xc_status resolve(char **out, const char *path, struct xc_err *err)
{
    char *target = xc_strdup(path);
    char link[PATH_MAX];

    for (int hops = 0; target != NULL; hops++) {
        const ssize_t n = readlink(target, link, sizeof link - 1);
        char *next;

        if (n < 0) { /* not a link, or not there */
            *out = target;
            return XC_OK;
        }
        if (hops == 40) {
            xc_free(target);
            return xc_fail_errno(err, ELOOP, "cannot write");
        }
        link[n] = '\0';
        if (link[0] == '/') {
            next = xc_strdup(link);
        } else {
            char *const dir = directory_of(target);
            const size_t bytes = dir == NULL ? 0 : strlen(dir) + (size_t)n + 2;

            next = dir == NULL ? NULL : xc_malloc(bytes);
            if (next != NULL) snprintf(next, bytes, "%s/%s", dir, link);
            xc_free(dir);
        }
        xc_free(target);
        target = next;
    }
    return xc_fail_nomem(err, strlen(path) + 1);
}

/* Opens file->fd: nameless if possible. */
static enum xc_status open_temp(struct xc_atomic_file *file, const char *dir, struct xc_err *err)
{
    file->fd = open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (file->fd >= 0) return XC_OK;
    if (errno == EACCES || errno == EROFS || errno == ENOSPC || errno == EDQUOT || errno == ENOENT || errno == ENOTDIR)
        return xc_fail_errno(err, errno, "cannot write in directory '%s'", dir);

    for (int i = 0; i < TEMP_TRIES; i++) { /* a name may be left over from a process that was killed and had our number */
        file->temp = temp_name(file->target);
        if (file->temp == NULL) return xc_fail_nomem(err, strlen(file->target) + 48);
        file->fd = open(file->temp, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
        if (file->fd >= 0) {
            remember_temp(file);
            return XC_OK;
        }
        xc_free(file->temp);
        file->temp = NULL;
        if (errno != EEXIST) break;
    }
    return xc_fail_errno(err, errno, "cannot write in directory '%s'", dir);
}

static enum xc_status open_all(struct xc_atomic_file *file, struct xc_err *err)
{
    struct stat st;
    enum xc_status status;
    char *dir;
    bool exists;

    if (file->path[0] == '\0') return xc_fail(err, XC_E_IO, "cannot write: the path is empty");
    XC_TRY(resolve(&file->target, file->path, err));
    exists = stat(file->target, &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) return xc_fail(err, XC_E_IO, "cannot write: is a directory");
    if (exists && !S_ISREG(st.st_mode)) return xc_fail(err, XC_E_IO, "cannot write: not a regular file, so that it cannot be replaced atomically");
    if (file->target[strlen(file->target) - 1] == '/') return xc_fail_errno(err, EISDIR, "cannot write");

    dir = directory_of(file->target);
    if (dir == NULL) return xc_fail_nomem(err, strlen(file->target) + 1);
    file->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file->dir_fd < 0 && errno != EACCES) /* a directory may be writable and not readable: then it is not fsync'ed */
        status = xc_fail_errno(err, errno, "cannot write in directory '%s'", dir);
    else
        status = open_temp(file, dir, err);
    xc_free(dir);
    XC_TRY(status);
    if (exists) (void)!fchmod(file->fd, st.st_mode & 0777); /* best effort: the bytes matter more than the mode */
    return XC_OK;
}

enum xc_status xc_atomic_open(struct xc_atomic_file **out, const char *path, struct xc_err *err)
{
    struct xc_atomic_file *file = xc_calloc(1, sizeof *file);
    enum xc_status status;

    *out = NULL;
    if (file == NULL) return xc_fail_nomem(err, sizeof *file);
    file->fd = file->dir_fd = file->slot = -1;
    file->path = xc_strdup(path);
    file->buffer = xc_malloc(BUFFER_BYTES);
    if (file->path == NULL || file->buffer == NULL)
        status = xc_fail_nomem(err, BUFFER_BYTES);
    else
        status = open_all(file, err);
    if (status != XC_OK) {
        xc_atomic_discard(&file);
        return xc_fail_at(err, status, "%s", path);
    }
    *out = file;
    return XC_OK;
}

enum xc_status xc_atomic_adopt(struct xc_atomic_file **out, const char *path, const char *temp, int fd, struct xc_err *err)
{
    struct xc_atomic_file *file = xc_calloc(1, sizeof *file);
    struct stat st;
    char *dir;

    *out = NULL;
    if (file == NULL) return xc_fail_nomem(err, sizeof *file);
    file->fd = file->dir_fd = file->slot = -1;
    file->adopted = true;
    file->path = xc_strdup(path);
    file->target = xc_strdup(path);
    file->temp = xc_strdup(temp);
    file->buffer = xc_malloc(BUFFER_BYTES);
    dir = directory_of(path);
    if (file->path == NULL || file->target == NULL || file->temp == NULL || file->buffer == NULL || dir == NULL) {
        xc_free(dir);
        xc_atomic_discard(&file);
        return xc_fail_nomem(err, BUFFER_BYTES);
    }
    file->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    xc_free(dir);
    file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (file->fd < 0) {
        const enum xc_status status = xc_fail_at(err, xc_fail_errno(err, errno, "cannot write"), "%s", path);

        xc_atomic_discard(&file);
        return status;
    }
    if (stat(path, &st) == 0) (void)!fchmod(file->fd, st.st_mode & 0777);
    *out = file;
    return XC_OK;
}

static enum xc_status fail_write(const struct xc_atomic_file *file, struct xc_err *err)
{
    const enum xc_status status = xc_fail_errno(err, errno, "cannot write");

    return xc_fail_at(err, status, "%s", file->path);
}

static enum xc_status write_all(const struct xc_atomic_file *file, const uint8_t *bytes, size_t n, uint64_t offset, struct xc_err *err)
{
    while (n > 0) {
        const ssize_t done = pwrite(file->fd, bytes, n < (size_t)1 << 30 ? n : (size_t)1 << 30, (off_t)offset);

        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) {
            if (done == 0) errno = ENOSPC;
            return fail_write(file, err);
        }
        bytes += done;
        n -= (size_t)done;
        offset += (uint64_t)done;
    }
    return XC_OK;
}

static enum xc_status flush(struct xc_atomic_file *file, struct xc_err *err)
{
    XC_TRY(write_all(file, file->buffer, file->used, file->size - file->used, err));
    file->used = 0;
    return XC_OK;
}

enum xc_status xc_atomic_write(struct xc_atomic_file *file, const void *bytes, size_t n, struct xc_err *err)
{
    if (n > (uint64_t)INT64_MAX - file->size) return xc_fail_at(err, xc_fail(err, XC_E_LIMIT, "file would be too large"), "%s", file->path);
    if (n > BUFFER_BYTES - file->used) XC_TRY(flush(file, err));
    if (n >= BUFFER_BYTES) {
        XC_TRY(write_all(file, bytes, n, file->size, err));
    } else if (n > 0) {
        memcpy(file->buffer + file->used, bytes, n);
        file->used += n;
    }
    file->size += n;
    return XC_OK;
}

enum xc_status xc_atomic_skip(struct xc_atomic_file *file, uint64_t n, struct xc_err *err)
{
    if (n > (uint64_t)INT64_MAX - file->size) return xc_fail_at(err, xc_fail(err, XC_E_LIMIT, "file would be too large"), "%s", file->path);
    XC_TRY(flush(file, err));
    file->size += n;
    return XC_OK;
}

enum xc_status xc_atomic_write_at(struct xc_atomic_file *file, uint64_t offset, const void *bytes, size_t n, struct xc_err *err)
{
    if (offset > file->size || n > file->size - offset) return xc_fail(err, XC_E_ARG, "bytes %llu..+%zu were not written yet", (unsigned long long)offset, n);
    XC_TRY(flush(file, err));
    return write_all(file, bytes, n, offset, err);
}

uint64_t xc_atomic_size(const struct xc_atomic_file *file)
{
    return file->size;
}

/* Gives the nameless file a temporary name: linkat cannot replace, rename can. */
static enum xc_status name_it(struct xc_atomic_file *file, struct xc_err *err)
{
    char self[64];

    snprintf(self, sizeof self, "/proc/self/fd/%d", file->fd);
    for (int i = 0; i < TEMP_TRIES; i++) {
        file->temp = temp_name(file->target);
        if (file->temp == NULL) return xc_fail_nomem(err, strlen(file->target) + 48);
        remember_temp(file); /* before it exists, so that a signal in between leaves nothing */
        if (linkat(AT_FDCWD, self, AT_FDCWD, file->temp, AT_SYMLINK_FOLLOW) == 0) return XC_OK;
        {
            const int errnum = errno;

            forget_temp(file, false);
            errno = errnum;
        }
        if (errno != EEXIST) break;
    }
    return fail_write(file, err);
}

static enum xc_status commit(struct xc_atomic_file *file, struct xc_err *err)
{
    XC_TRY(flush(file, err));
    while (fsync(file->fd) != 0)
        if (errno != EINTR) return fail_write(file, err);
    if (file->adopted) { /* what lies behind is of use until the rest is safe */
        if (ftruncate(file->fd, (off_t)file->size) != 0) return fail_write(file, err);
        while (fsync(file->fd) != 0)
            if (errno != EINTR) return fail_write(file, err);
    }
    if (file->temp == NULL) XC_TRY(name_it(file, err));
    if (rename(file->temp, file->target) != 0) return fail_write(file, err);
    forget_temp(file, false);
    if (file->dir_fd >= 0) (void)!fsync(file->dir_fd); /* some file systems refuse it; the file is in place by now */
    return XC_OK;
}

enum xc_status xc_atomic_commit(struct xc_atomic_file **ref, struct xc_err *err)
{
    const enum xc_status status = commit(*ref, err);

    xc_atomic_discard(ref);
    return status;
}

void xc_atomic_discard(struct xc_atomic_file **ref)
{
    struct xc_atomic_file *const file = *ref;

    *ref = NULL;
    if (file == NULL) return;
    forget_temp(file, !file->adopted);
    if (file->fd >= 0) close(file->fd);
    if (file->dir_fd >= 0) close(file->dir_fd);
    xc_free(file->buffer);
    xc_free(file->target);
    xc_free(file->path);
    xc_free(file);
}

enum xc_status xc_atomic_write_file(const char *path, const void *bytes, size_t n, struct xc_err *err)
{
    struct xc_atomic_file *file;
    enum xc_status status;

    XC_TRY(xc_atomic_open(&file, path, err));
    status = xc_atomic_write(file, bytes, n, err);
    if (status == XC_OK) return xc_atomic_commit(&file, err);
    xc_atomic_discard(&file);
    return status;
}

enum xc_status xc_atomic_check(const char *path, const char *input, struct xc_err *err)
{
    struct xc_atomic_file *file;
    struct stat out, in, dir;

    if (input != NULL && stat(path, &out) == 0 && stat(input, &in) == 0) {
        if (out.st_dev == in.st_dev && out.st_ino == in.st_ino) {
            const enum xc_status status = xc_fail(err, XC_E_ARG, "output and input are the same file: give another name with -o");

            return xc_fail_at(err, status, "%s", path);
        }
        if (S_ISDIR(in.st_mode)) {
            char *const parent = directory_of(path);
            bool inside;

            if (parent == NULL) return xc_fail_nomem(err, strlen(path) + 1);
            inside = stat(parent, &dir) == 0 && dir.st_dev == in.st_dev && dir.st_ino == in.st_ino;

            xc_free(parent);
            if (inside) {
                const enum xc_status status = xc_fail(err, XC_E_ARG, "output would replace a file of the input '%s'", input);

                return xc_fail_at(err, status, "%s", path);
            }
        }
    }
    XC_TRY(xc_atomic_open(&file, path, err));
    xc_atomic_discard(&file);
    return XC_OK;
}
