/* base: what everything else stands on: checked arithmetic, the allocator with its fault hook, and XC_TRY.
 *
 * All memory of both libraries comes from xc_malloc and friends, so that one hook can make any allocation fail.
 * xc_malloc(0) returns a valid pointer. Sizes are bytes. xc_realloc does not keep the alignment of xc_alloc_aligned. */
#ifndef XC_RUNTIME_BASE_BASE_H
#define XC_RUNTIME_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xcompress/status.h"

/* Forwards a failure to the caller. */
#define XC_TRY(call)                                  \
    do {                                              \
        const enum xc_status xc_try_status = (call);  \
        if (xc_try_status != XC_OK)                   \
            return xc_try_status;                     \
    } while (0)

/* Forwards a failure to the function's cleanup label; needs `enum xc_status status` in scope. */
#define XC_TRY_GOTO(call, label)      \
    do {                              \
        status = (call);              \
        if (status != XC_OK)          \
            goto label;               \
    } while (0)

#define XC_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define XC_ALIGN 64 /* bytes; every tensor, scratch area and file section starts on such a boundary */

/* Checked arithmetic: false when the result does not fit, and *out is then 0. Three holes, three functions. */
static inline bool xc_mul_ok(size_t *out, size_t a, size_t b)
{
    const bool ok = !__builtin_mul_overflow(a, b, out);

    if (!ok) *out = 0;
    return ok;
}

static inline bool xc_add_ok(size_t *out, size_t a, size_t b)
{
    const bool ok = !__builtin_add_overflow(a, b, out);

    if (!ok) *out = 0;
    return ok;
}

/* Rounds a up to a multiple of `to`, a power of two. */
static inline bool xc_round_up_ok(size_t *out, size_t a, size_t to)
{
    if (!xc_add_ok(out, a, to - 1)) return false;
    *out &= ~(to - 1);
    return true;
}

static inline int64_t xc_min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t xc_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t xc_div_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t xc_round_up(int64_t a, int64_t to) { return xc_div_up(a, to) * to; } /* small trusted sizes only */

/* The allocator. Blocks from xc_alloc_aligned are XC_ALIGN-aligned; every block is given back with xc_free. */
void *xc_malloc(size_t bytes);
void *xc_calloc(size_t n, size_t bytes);
void *xc_realloc(void *p, size_t bytes);
void *xc_alloc_aligned(size_t bytes);
/* All of a block will be written soon: the system may give it in large pages, if it is large. Not for one that is written here and there. */
void xc_alloc_expect(const void *p, size_t bytes);
char *xc_strdup(const char *s);
char *xc_strndup(const char *s, size_t n); /* n bytes and a terminator; s must have n bytes */
void xc_free(void *p);

/* Grows *items (element size `size`) so that it holds at least `want`, doubling; XC_E_NOMEM or overflow is reported. */
enum xc_status xc_grow(void **items, size_t *cap, size_t want, size_t size, struct xc_err *err);

/* Fault injection for tests: the (n+1)-th allocation from now on fails, and every later one too (once: only that one); n < 0 turns it off.
 * xc_alloc_count() counts the allocations so far in this process: a run after the first must leave it unchanged. */
void xc_alloc_fail_after(int64_t n);
void xc_alloc_fail_once(int64_t n); /* n >= 0 */
int64_t xc_alloc_count(void);

/* "out of memory (N bytes)" */
enum xc_status xc_fail_nomem(struct xc_err *err, size_t bytes);

/* xc_fail for a failed system call: appends ": reason of errnum"; XC_E_IO, or XC_E_NOMEM for ENOMEM. */
enum xc_status xc_fail_errno(struct xc_err *err, int errnum, const char *fmt, ...) XC_PRINTF(3, 4);

/* The reason alone, thread-safe; may or may not use buf. */
const char *xc_errno_text(int errnum, char *buf, size_t n);

#endif
