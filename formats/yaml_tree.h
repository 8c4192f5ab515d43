/* yaml_tree: a small YAML file (a budget, a recipe) as a tree whose every value knows its line, through libyaml's events.
 *
 * One document of mappings, lists and plain or quoted words; at most XC_YAML_MAX_BYTES, XC_YAML_MAX_NODES values and XC_YAML_MAX_DEPTH levels. Anchors, aliases,
 * tags, repeated keys, NUL inside a word, a second document: errors that name file, line and column. Aliases are the only way in which YAML
 * grows when it is read, so memory is bounded by the bytes of the file. */
#ifndef XC_FORMATS_YAML_TREE_H
#define XC_FORMATS_YAML_TREE_H

#include "runtime/base/arena.h"

#define XC_YAML_MAX_BYTES ((size_t)1 << 20)
#define XC_YAML_MAX_NODES 20000
#define XC_YAML_MAX_DEPTH 8

enum xc_yaml_kind { XC_YAML_SCALAR, XC_YAML_SEQUENCE, XC_YAML_MAPPING };

struct xc_yaml {
    enum xc_yaml_kind kind;
    const char *text;            /* SCALAR */
    const char *key;             /* of the mapping this is in; NULL in a list */
    struct xc_yaml *first, *next; /* children in order */
    size_t line, column;         /* of the key, or of the value in a list; from 1 */
    bool quoted, used;           /* used: asked for by xc_yaml_member */
};

/* `what` is the kind of the file in words ("budget"), `name` stands for it in errors. Nodes and texts live in the arena. */
enum xc_status xc_yaml_parse(struct xc_yaml **out, struct xc_arena *arena, const char *text, size_t n, const char *what, const char *name, struct xc_err *err);

/* The bytes of a file of at most XC_YAML_MAX_BYTES; given back with xc_free. */
enum xc_status xc_yaml_read_file(char **text, size_t *n, const char *path, const char *what, struct xc_err *err);

/* Puts "name:line:column" to an error that is already in err; returns XC_E_FORMAT. */
enum xc_status xc_yaml_fail_at(const char *name, const struct xc_yaml *n, struct xc_err *err);

enum xc_status xc_yaml_want(const char *name, const struct xc_yaml *n, enum xc_yaml_kind kind, struct xc_err *err);

/* The member `key` of a mapping, marked as used; NULL when it is not there. */
struct xc_yaml *xc_yaml_member(const struct xc_yaml *map, const char *key);

/* Fails with the first member that nobody asked for; `known` lists those that may be there. */
enum xc_status xc_yaml_no_unknown(const char *name, const struct xc_yaml *map, const char *known, struct xc_err *err);

#endif
