/* zmem: zstd on our allocator, so that its allocations are counted and can be made to fail like our own. */
#ifndef XC_RUNTIME_CONTAINER_ZMEM_H
#define XC_RUNTIME_CONTAINER_ZMEM_H

#include "runtime/base/base.h"

#ifndef ZSTD_STATIC_LINKING_ONLY
#define ZSTD_STATIC_LINKING_ONLY
#endif
#include <zstd.h>
#include <zstd_errors.h>

static inline void *xc_zstd_alloc(void *opaque, size_t n)
{
    (void)opaque;
    return xc_malloc(n);
}

static inline void xc_zstd_free(void *opaque, void *p)
{
    (void)opaque;
    xc_free(p);
}

static inline ZSTD_customMem xc_zstd_mem(void) { return (ZSTD_customMem){ .customAlloc = xc_zstd_alloc, .customFree = xc_zstd_free }; }

#endif
