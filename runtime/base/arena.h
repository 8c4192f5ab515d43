/* arena: many small objects that live and die together (graph nodes, names). No single object is ever freed. */
#ifndef XC_RUNTIME_BASE_ARENA_H
#define XC_RUNTIME_BASE_ARENA_H

#include "runtime/base/base.h"

struct xc_arena_block;

struct xc_arena {
    struct xc_arena_block *head; /* newest block */
    size_t total;                /* bytes handed out */
};

void xc_arena_init(struct xc_arena *arena);
void xc_arena_release(struct xc_arena *arena);

/* Zeroed memory, 16-byte aligned; NULL when out of memory. */
void *xc_arena_alloc(struct xc_arena *arena, size_t bytes);
void *xc_arena_array(struct xc_arena *arena, size_t n, size_t bytes); /* NULL on overflow too */
char *xc_arena_strdup(struct xc_arena *arena, const char *s);
char *xc_arena_strndup(struct xc_arena *arena, const char *s, size_t n);
char *xc_arena_printf(struct xc_arena *arena, const char *fmt, ...) XC_PRINTF(2, 3);

#endif
