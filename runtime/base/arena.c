/* arena: bump allocation from blocks that double up to BLOCK_MAX; what is larger than a quarter block gets a block of its own. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/arena.h"

#define BLOCK_MIN ((size_t)4 << 10)
#define BLOCK_MAX ((size_t)256 << 10)
#define OBJECT_ALIGN 16

struct xc_arena_block {
    struct xc_arena_block *next;
    size_t used, cap; /* bytes of data */
    _Alignas(OBJECT_ALIGN) uint8_t data[];
};

void xc_arena_init(struct xc_arena *arena)
{
    *arena = (struct xc_arena){NULL, 0};
}

void xc_arena_release(struct xc_arena *arena)
{
    while (arena->head != NULL) {
        struct xc_arena_block *const next = arena->head->next;

        xc_free(arena->head);
        arena->head = next;
    }
    arena->total = 0;
}

void *xc_arena_alloc(struct xc_arena *arena, size_t bytes)
{
    struct xc_arena_block *block = arena->head;
    size_t need, cap, with_header;
    void *p;

    if (!xc_round_up_ok(&need, bytes > 0 ? bytes : 1, OBJECT_ALIGN)) return NULL;
    if (block == NULL || block->cap - block->used < need) {
        const size_t usual = block == NULL ? BLOCK_MIN : block->cap < BLOCK_MAX / 2 ? 2 * block->cap : BLOCK_MAX;
        const bool own = need > usual / 4;

        cap = own ? need : usual;
        if (!xc_add_ok(&with_header, cap, sizeof *block)) return NULL;
        block = xc_calloc(1, with_header); /* zeroed: an arena never hands a byte out twice */
        if (block == NULL) return NULL;
        block->cap = cap;
        if (own && arena->head != NULL) { /* full at once: keep filling the block we have */
            block->next = arena->head->next;
            arena->head->next = block;
        } else {
            block->next = arena->head;
            arena->head = block;
        }
    }
    p = block->data + block->used;
    block->used += need;
    arena->total += need;
    return p;
}

void *xc_arena_array(struct xc_arena *arena, size_t n, size_t bytes)
{
    size_t total;

    return xc_mul_ok(&total, n, bytes) ? xc_arena_alloc(arena, total) : NULL;
}

char *xc_arena_strndup(struct xc_arena *arena, const char *s, size_t n)
{
    size_t bytes;
    char *copy;

    if (!xc_add_ok(&bytes, n, 1)) return NULL;
    copy = xc_arena_alloc(arena, bytes);
    if (copy != NULL) memcpy(copy, s, n); /* the terminator is the arena's zero */
    return copy;
}

char *xc_arena_strdup(struct xc_arena *arena, const char *s)
{
    return xc_arena_strndup(arena, s, strlen(s));
}

char *xc_arena_printf(struct xc_arena *arena, const char *fmt, ...)
{
    va_list ap;
    char *text;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) return NULL;
    text = xc_arena_alloc(arena, (size_t)n + 1);
    if (text == NULL) return NULL;
    va_start(ap, fmt);
    vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return text;
}
