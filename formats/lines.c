/* lines: see lines.h. zstd frames follow RFC 8878, through libzstd's streaming decoder with our allocator; concatenated frames are
 * read on, a frame that stops early is an error. */
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_createDCtx_advanced: exported by the shared library too */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "formats/lines.h"

#define CHUNK ((size_t)128 << 10) /* bytes per read */

struct xc_lines {
    char *name;
    int fd;
    bool own_fd;
    struct xc_lines_opts opts;
    int64_t number;

    char *raw; /* CHUNK bytes as read; only with zstd */
    size_t raw_n, raw_at;
    bool raw_end;
    bool started;       /* the first bytes were looked at */
    bool frame_open;    /* zstd: inside a frame */
    ZSTD_DCtx *zstd;    /* NULL: plain */

    char *text;         /* cap bytes; [at, n) is not returned yet, [at, scanned) holds no LF */
    size_t cap, n, at, scanned;
    bool end;           /* nothing comes after text */
};

static void *zstd_alloc(void *opaque, size_t bytes)
{
    (void)opaque;
    return xc_malloc(bytes);
}

static void zstd_free(void *opaque, void *p)
{
    (void)opaque;
    xc_free(p);
}

static enum xc_status at_line(const struct xc_lines *lines, enum xc_status status, struct xc_err *err)
{
    return xc_fail_at(err, status, "%s:%lld", lines->name, (long long)lines->number + 1);
}

/* One read; *got is 0 at the end. */
static enum xc_status read_some(struct xc_lines *lines, char *dst, size_t n, size_t *got, struct xc_err *err)
{
    *got = 0;
    for (;;) {
        ssize_t r;

        if (lines->opts.cancelled != NULL && lines->opts.cancelled(lines->opts.cancelled_arg)) return xc_fail(err, XC_E_CANCELLED, "cancelled");
        r = read(lines->fd, dst, n);
        if (r >= 0) {
            *got = (size_t)r;
            return XC_OK;
        }
        if (errno != EINTR) return at_line(lines, xc_fail_errno(err, errno, "cannot read"), err);
    }
}

/* Decodes at least one byte into text[n..cap), or sets end. */
static enum xc_status fill_zstd(struct xc_lines *lines, struct xc_err *err)
{
    const size_t before = lines->n;

    while (lines->n == before && !lines->end) {
        ZSTD_inBuffer in = {lines->raw, lines->raw_n, lines->raw_at};
        ZSTD_outBuffer out = {lines->text, lines->cap, lines->n};
        size_t rc;

        if (in.pos == in.size && !lines->raw_end) {
            XC_TRY(read_some(lines, lines->raw, CHUNK, &lines->raw_n, err));
            lines->raw_at = 0;
            lines->raw_end = lines->raw_n == 0;
            in = (ZSTD_inBuffer){lines->raw, lines->raw_n, 0};
        }
        if (in.pos == in.size && !lines->frame_open) {
            lines->end = true;
            break;
        }
        rc = ZSTD_decompressStream(lines->zstd, &out, &in);
        if (ZSTD_isError(rc)) {
            if (ZSTD_getErrorCode(rc) == ZSTD_error_memory_allocation) return at_line(lines, xc_fail_nomem(err, CHUNK), err);
            return at_line(lines, xc_fail(err, XC_E_FORMAT, "not valid zstd: %s", ZSTD_getErrorName(rc)), err);
        }
        lines->frame_open = rc != 0;
        /* No input left, none to come, nothing came out, and the frame wants more. */
        if (lines->raw_end && in.pos == in.size && out.pos == lines->n && lines->frame_open)
            return at_line(lines, xc_fail(err, XC_E_FORMAT, "zstd frame is cut short"), err);
        lines->raw_at = in.pos;
        lines->n = out.pos;
    }
    return XC_OK;
}

/* Looks at the first bytes: plain text stays where it was read, a zstd stream moves to raw. */
static enum xc_status start(struct xc_lines *lines, struct xc_err *err)
{
    static const unsigned char magic[4] = {0x28, 0xb5, 0x2f, 0xfd};
    const ZSTD_customMem mem = {zstd_alloc, zstd_free, NULL};

    lines->started = true;
    while (lines->n < sizeof magic && !lines->end) {
        size_t got;

        XC_TRY(read_some(lines, lines->text + lines->n, CHUNK - lines->n, &got, err));
        lines->n += got;
        lines->end = got == 0;
    }
    if (lines->n < sizeof magic || memcmp(lines->text, magic, sizeof magic) != 0) return XC_OK;

    lines->raw = xc_malloc(CHUNK);
    lines->zstd = ZSTD_createDCtx_advanced(mem);
    if (lines->raw == NULL || lines->zstd == NULL) return at_line(lines, xc_fail_nomem(err, CHUNK), err);
    memcpy(lines->raw, lines->text, lines->n);
    lines->raw_n = lines->n;
    lines->n = 0;
    lines->end = false;
    return XC_OK;
}

/* Brings more text, or sets end. */
static enum xc_status fill(struct xc_lines *lines, struct xc_err *err)
{
    size_t got;

    if (lines->at > 0) {
        memmove(lines->text, lines->text + lines->at, lines->n - lines->at);
        lines->n -= lines->at;
        lines->scanned -= lines->at;
        lines->at = 0;
    }
    /* One byte stays free for the terminator of an unended last line. */
    if (lines->cap - lines->n < CHUNK / 2) {
        if (lines->n > lines->opts.max_line)
            return at_line(lines, xc_fail(err, XC_E_LIMIT, "line is longer than %zu bytes", lines->opts.max_line), err);
        {
            const enum xc_status status = xc_grow((void **)&lines->text, &lines->cap, lines->cap + CHUNK, 1, err);

            if (status != XC_OK) return at_line(lines, status, err);
        }
    }
    if (!lines->started) {
        XC_TRY(start(lines, err));
        if (lines->n > 0 || lines->end) return XC_OK;
    }
    lines->cap--;
    if (lines->zstd != NULL) {
        const enum xc_status status = fill_zstd(lines, err);

        lines->cap++;
        return status;
    }
    {
        const enum xc_status status = read_some(lines, lines->text + lines->n, lines->cap - lines->n, &got, err);

        lines->cap++;
        if (status != XC_OK) return status;
    }
    lines->n += got;
    lines->end = got == 0;
    return XC_OK;
}

enum xc_status xc_lines_open(struct xc_lines **out, const char *path, const struct xc_lines_opts *opts, struct xc_err *err)
{
    const bool is_stdin = path == NULL || strcmp(path, "-") == 0;
    struct xc_lines *lines = xc_calloc(1, sizeof *lines);
    enum xc_status status = XC_OK;
    struct stat st;

    *out = NULL;
    if (lines == NULL) return xc_fail_nomem(err, sizeof *lines);
    lines->fd = -1;
    if (opts != NULL) lines->opts = *opts;
    if (lines->opts.max_line == 0) lines->opts.max_line = XC_LINES_MAX_LINE;
    lines->cap = 2 * CHUNK;
    lines->text = xc_malloc(lines->cap);
    lines->name = xc_strdup(is_stdin ? "stdin" : path);
    if (lines->name == NULL || lines->text == NULL) {
        status = xc_fail_nomem(err, lines->cap);
    } else if (is_stdin) {
        lines->fd = STDIN_FILENO;
    } else {
        lines->fd = open(path, O_RDONLY | O_CLOEXEC); /* a FIFO is welcome: <(zcat ...) */
        lines->own_fd = lines->fd >= 0;
        if (lines->fd < 0)
            status = xc_fail_errno(err, errno, "cannot open");
        else if (fstat(lines->fd, &st) == 0 && S_ISDIR(st.st_mode))
            status = xc_fail(err, XC_E_IO, "is a directory, not a file");
    }
    if (status != XC_OK) {
        xc_lines_close(&lines);
        return xc_fail_at(err, status, "%s", is_stdin ? "stdin" : path);
    }
    *out = lines;
    return XC_OK;
}

enum xc_status xc_lines_next(struct xc_lines *lines, const char **line, size_t *len, struct xc_err *err)
{
    *line = NULL;
    *len = 0;
    for (;;) {
        char *const from = lines->text + lines->at;
        char *const lf = lines->n > lines->scanned ? memchr(lines->text + lines->scanned, '\n', lines->n - lines->scanned) : NULL;
        size_t n;

        if (lf == NULL && !lines->end) {
            lines->scanned = lines->n;
            XC_TRY(fill(lines, err));
            continue;
        }
        if (lf == NULL && lines->at == lines->n) return XC_OK; /* the end */
        n = lf != NULL ? (size_t)(lf - from) : lines->n - lines->at;
        lines->at += n + (lf != NULL);
        lines->scanned = lines->at;
        if (lf != NULL && n > 0 && from[n - 1] == '\r') n--;
        if (n > lines->opts.max_line)
            return at_line(lines, xc_fail(err, XC_E_LIMIT, "line is longer than %zu bytes", lines->opts.max_line), err);
        from[n] = '\0'; /* over the LF or CR, or into the byte that fill keeps free */
        lines->number++;
        *line = from;
        *len = n;
        return XC_OK;
    }
}

int64_t xc_lines_number(const struct xc_lines *lines)
{
    return lines->number;
}

const char *xc_lines_name(const struct xc_lines *lines)
{
    return lines->name;
}

void xc_lines_close(struct xc_lines **ref)
{
    struct xc_lines *const lines = *ref;

    *ref = NULL;
    if (lines == NULL) return;
    if (lines->own_fd) close(lines->fd);
    ZSTD_freeDCtx(lines->zstd);
    xc_free(lines->raw);
    xc_free(lines->text);
    xc_free(lines->name);
    xc_free(lines);
}
