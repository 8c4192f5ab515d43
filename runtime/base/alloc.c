/* alloc: the allocator of both libraries, with its fault hook.
 *
 * Thin wrappers over malloc. What they add is the counter, the injected failure, and one meaning for a size of 0. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/base.h"

/* STYLE 13 allows no global state but the kernel table; a process-wide fault hook is the second exception, and holds no data. */
static _Atomic int64_t alloc_count;
static _Atomic int64_t fail_from = INT64_MAX; /* allocations numbered from here on fail, */
static _Atomic int64_t fail_to = INT64_MAX;   /* up to before this one */

/* Counts one allocation; true when it is to fail. Sizes that no pointer difference can hold always fail. */
static bool refused(size_t bytes)
{
    const int64_t number = atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed);

    return bytes > PTRDIFF_MAX ||
           (number >= atomic_load_explicit(&fail_from, memory_order_relaxed) && number < atomic_load_explicit(&fail_to, memory_order_relaxed));
}

void xc_alloc_fail_after(int64_t n)
{
    const int64_t now = atomic_load(&alloc_count);

    atomic_store(&fail_to, INT64_MAX);
    atomic_store(&fail_from, n < 0 || n > INT64_MAX - now ? INT64_MAX : now + n);
}

void xc_alloc_fail_once(int64_t n)
{
    xc_alloc_fail_after(n);
    atomic_store(&fail_to, atomic_load(&fail_from) + 1);
}

int64_t xc_alloc_count(void)
{
    return atomic_load(&alloc_count);
}

void *xc_malloc(size_t bytes)
{
    return refused(bytes) ? NULL : malloc(bytes > 0 ? bytes : 1);
}

void *xc_calloc(size_t n, size_t bytes)
{
    size_t total;
    const bool fits = xc_mul_ok(&total, n, bytes);

    if (refused(total) || !fits) return NULL;
    return calloc(1, total > 0 ? total : 1);
}

void *xc_realloc(void *p, size_t bytes)
{
    return refused(bytes) ? NULL : realloc(p, bytes > 0 ? bytes : 1);
}

void *xc_alloc_aligned(size_t bytes)
{
    size_t padded;

    if (refused(bytes) || !xc_round_up_ok(&padded, bytes > 0 ? bytes : 1, XC_ALIGN)) return NULL;
    return aligned_alloc(XC_ALIGN, padded);
}

#define LARGE ((size_t)8 << 20) /* bytes that large pages are worth asking for */

void xc_alloc_expect(const void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)p + page - 1) & ~(page - 1), end = ((uintptr_t)p + bytes) & ~(page - 1);

    if (bytes >= LARGE && begin < end) (void)!madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}

char *xc_strdup(const char *s)
{
    return xc_strndup(s, strlen(s));
}

char *xc_strndup(const char *s, size_t n)
{
    size_t bytes;
    char *copy;

    if (!xc_add_ok(&bytes, n, 1)) return NULL;
    copy = xc_malloc(bytes);
    if (copy == NULL) return NULL;
    memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

void xc_free(void *p)
{
    free(p);
}

enum xc_status xc_grow(void **items, size_t *cap, size_t want, size_t size, struct xc_err *err)
{
    size_t n = *cap > 0 ? *cap : 8, bytes;
    void *bigger;

    if (want <= *cap) return XC_OK;
    while (n < want)
        if (!xc_mul_ok(&n, n, 2)) n = want; /* doubling overflows before want does: ask for want itself */
    if (!xc_mul_ok(&bytes, n, size)) return xc_fail_nomem(err, SIZE_MAX);
    bigger = xc_realloc(*items, bytes);
    if (bigger == NULL) return xc_fail_nomem(err, bytes);
    *items = bigger;
    *cap = n;
    return XC_OK;
}

enum xc_status xc_fail_nomem(struct xc_err *err, size_t bytes)
{
    return xc_fail(err, XC_E_NOMEM, "out of memory (%zu bytes)", bytes);
}
