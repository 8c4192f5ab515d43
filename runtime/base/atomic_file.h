/* atomic_file: replaces a file as a whole. At any instant, and after a kill or a power cut, the path holds the old file or the new
 * one, never half of one.
 *
 *     struct xc_atomic_file *f = NULL;
 *     XC_TRY(xc_atomic_open(&f, path, err));
 *     status = xc_atomic_write(f, bytes, n, err);
 *     ...
 *     if (status != XC_OK) { xc_atomic_discard(&f); return status; }
 *     return xc_atomic_commit(&f, err);
 *
 * Errors name the path in err->where. */
#ifndef XC_RUNTIME_BASE_ATOMIC_FILE_H
#define XC_RUNTIME_BASE_ATOMIC_FILE_H

#include "runtime/base/base.h"

struct xc_atomic_file;

/* A temporary file in the directory of path, without a name where the file system allows it. A path that is a symbolic link is
 * followed; a directory or a device is refused. The mode is that of the old file, or 0666 under the umask. */
enum xc_status xc_atomic_open(struct xc_atomic_file **out, const char *path, struct xc_err *err);

/* The same with a file that exists already: `temp`, open at fd, in the directory of path. Writing begins at its byte 0; what lies there and is skipped
 * stays. Commit cuts it off behind the last byte written, once the rest is on the disk; after a failure it stays under its own name. */
enum xc_status xc_atomic_adopt(struct xc_atomic_file **out, const char *path, const char *temp, int fd, struct xc_err *err);
enum xc_status xc_atomic_skip(struct xc_atomic_file *file, uint64_t n, struct xc_err *err);

/* Appends; buffered. */
enum xc_status xc_atomic_write(struct xc_atomic_file *file, const void *bytes, size_t n, struct xc_err *err);

/* Overwrites bytes inside what was written (a header whose checksums come last). XC_E_ARG beyond the end. */
enum xc_status xc_atomic_write_at(struct xc_atomic_file *file, uint64_t offset, const void *bytes, size_t n, struct xc_err *err);

uint64_t xc_atomic_size(const struct xc_atomic_file *file); /* bytes written so far */

/* fsync, rename, fsync of the directory. Frees the file, also on failure: then the old file is untouched and nothing is left. */
enum xc_status xc_atomic_commit(struct xc_atomic_file **file, struct xc_err *err);

/* Gives up: nothing is left. Takes NULL, sets NULL. */
void xc_atomic_discard(struct xc_atomic_file **file);

/* All at once, for small files. */
enum xc_status xc_atomic_write_file(const char *path, const void *bytes, size_t n, struct xc_err *err);

/* Before long work: can path be written at all (directory exists, is writable, has no device in the way), and would it replace
 * what is being read? input may be NULL. XC_E_ARG when path and input are the same file, or path is an existing file inside
 * the directory `input`, so that a model is not destroyed by its own compression. Programs that have read all of their input, or map
 * it, may replace it safely and pass NULL. */
enum xc_status xc_atomic_check(const char *path, const char *input, struct xc_err *err);

/* Removes every temporary file of this process. Async-signal-safe: for a handler that is about to _exit. */
void xc_atomic_remove_all(void);

#endif
