/* container: our own file, .xc: read, write, verify. Specified in docs/container.md.
 *
 * Reading maps the file; tensors stored raw ("fast") are views of the mapping, in kernel order, so that opening costs the header
 * only; tensors stored compressed ("small") are decoded to the heap when the model is opened. Every length, offset and enum in the
 * file is hostile until checked. Checksums: the header's is always verified; a section's when verify is set (selftest, check,
 * reproduce) or when it is decoded, so that opening does not read all weights. */
#ifndef XC_RUNTIME_CONTAINER_CONTAINER_H
#define XC_RUNTIME_CONTAINER_CONTAINER_H

#include "runtime/graph/graph.h"

#define XC_CONTAINER_VERSION 1

enum xc_store { XC_STORE_FAST = 0, XC_STORE_SMALL };

struct xc_read_opts {
    bool verify;          /* check the checksum of every section */
    size_t max_memory;    /* refuse to decode more than this in all; 0 = 16 GiB */
};

/* True when the first bytes of the file are ours. */
bool xc_container_probe(const uint8_t *bytes, size_t n);

enum xc_status xc_container_read(struct xc_model **out, const char *path, const struct xc_read_opts *opts, struct xc_err *err);

/* From memory, for the fuzzer and for tests; `buf` is kept alive by the model. */
enum xc_status xc_container_read_buf(struct xc_model **out, struct xc_buf *buf, const struct xc_read_opts *opts, struct xc_err *err);

/* A file that holds some parts where they belong in the new one, and is to be finished and to take its name. */
struct xc_write_base {
    int fd;
    const char *path;
    bool (*placed)(void *arg, const struct xc_buf *part, uint64_t offset, uint64_t digest[2]); /* is that part there? its XXH3-128 then */
    void *arg;
};

struct xc_write_opts {
    const struct xc_write_base *base; /* NULL = a new file; XC_STORE_FAST only. After a failure it stays, as far as it has come */
    enum xc_store store;
    struct xc_pool *pool; /* compression in parallel; the bytes do not depend on it */
    void (*progress)(void *arg, const char *what, double done, double total);
    void *progress_arg;
    int (*cancelled)(void *arg); /* polled; non-zero stops with XC_E_CANCELLED and leaves the old file */
    void *cancelled_arg;
    uint64_t max_bytes; /* a file that would be larger is XC_E_RANGE, and the old one stays; 0 = no limit */
};

/* Atomically replaces `path` (see base/atomic_file.h). Tensors must be loaded or have a source. The same model gives the same
 * bytes, on any machine, for any number of threads. *bytes_written may be NULL. */
enum xc_status xc_container_write(const struct xc_model *m, const char *path, const struct xc_write_opts *opts, uint64_t *bytes_written,
                                  struct xc_err *err);

/* Exact size of the file that write would make, for XC_STORE_FAST, without making it. */
enum xc_status xc_container_size(const struct xc_model *m, uint64_t *bytes, struct xc_err *err);

/* The same, with the offset of each part of each tensor (m->n_tensors rows; 0 = it has no such part), and where the last one ends. */
enum xc_status xc_container_layout(const struct xc_model *m, uint64_t (*at)[XC_PART_COUNT], uint64_t *end, uint64_t *bytes, struct xc_err *err);

/* XXH3-128 digests of the decoded sections, as 32 hex digits each: what reproduce compares. Name is e.g. "graphs", "tokenizer",
 * "tensor:encoder...weight". The callback returns non-zero to stop. */
enum xc_status xc_container_digests(const char *path, int (*fn)(void *arg, const char *section, const char hex[33]), void *arg,
                                    struct xc_err *err);

#endif
