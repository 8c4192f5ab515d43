/* yaml_tree: see yaml_tree.h. */
#include "formats/yaml_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yaml.h>

static const char *const kind_names[] = { "a value", "a list", "a mapping" };

struct reader {
    struct xc_arena *arena;
    const char *what, *name;
    struct xc_err *err;
    yaml_parser_t yaml;
    int nodes;
};

static enum xc_status fail_at(const struct reader *r, size_t line, size_t column)
{
    return xc_fail_at(r->err, XC_E_FORMAT, "%s:%zu:%zu", r->name, line, column);
}

static enum xc_status next_event(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->yaml, event)) return XC_OK;
    if (r->yaml.error == YAML_MEMORY_ERROR) return xc_fail(r->err, XC_E_NOMEM, "out of memory while reading a %s", r->what);
    xc_fail(r->err, XC_E_FORMAT, "not YAML: %s%s%s", r->yaml.problem ? r->yaml.problem : "unknown problem", r->yaml.context ? ", " : "",
            r->yaml.context ? r->yaml.context : "");
    return fail_at(r, r->yaml.problem_mark.line + 1, r->yaml.problem_mark.column + 1);
}

/* Builds the value that `event` begins; takes the event over. */
static enum xc_status build(struct reader *r, struct xc_yaml **out, yaml_event_t *event, int depth)
{
    const size_t line = event->start_mark.line + 1, column = event->start_mark.column + 1;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    struct xc_yaml *node = NULL, **tail;
    enum xc_status status = XC_OK;
    bool done = false;

    *out = NULL;
    if (++r->nodes > XC_YAML_MAX_NODES || depth > XC_YAML_MAX_DEPTH) {
        xc_fail(r->err, XC_E_LIMIT, "a %s of more than %d values, or nested more than %d deep", r->what, XC_YAML_MAX_NODES, XC_YAML_MAX_DEPTH);
        status = fail_at(r, line, column);
        goto out;
    }
    node = xc_arena_alloc(r->arena, sizeof *node);
    if (!node) {
        status = xc_fail_nomem(r->err, sizeof *node);
        goto out;
    }
    node->line = line;
    node->column = column;
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        node->kind = XC_YAML_SCALAR;
        node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        node->text = xc_arena_strndup(r->arena, (const char *)event->data.scalar.value, event->data.scalar.length);
        if (!node->text) status = xc_fail_nomem(r->err, event->data.scalar.length);
        else if (strlen(node->text) != event->data.scalar.length) {
            xc_fail(r->err, XC_E_FORMAT, "a NUL inside a value");
            status = fail_at(r, line, column);
        }
        done = true;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        node->kind = XC_YAML_SEQUENCE;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        node->kind = XC_YAML_MAPPING;
        break;
    default:
        xc_fail(r->err, XC_E_FORMAT, "an alias; a %s is written out in full", r->what);
        status = fail_at(r, line, column);
        break;
    }
    if (!status && (anchor || tag)) {
        xc_fail(r->err, XC_E_FORMAT, "anchors and tags have no meaning in a %s", r->what);
        status = fail_at(r, line, column);
    }
out:
    yaml_event_delete(event);
    if (status != XC_OK) return status;
    for (tail = &node->first; !done; ) {
        yaml_event_t next;
        struct xc_yaml *child, *value;

        XC_TRY(next_event(r, &next));
        if (next.type == YAML_SEQUENCE_END_EVENT || next.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&next);
            break;
        }
        XC_TRY(build(r, &child, &next, depth + 1));
        if (node->kind == XC_YAML_MAPPING) {
            if (child->kind != XC_YAML_SCALAR) {
                xc_fail(r->err, XC_E_FORMAT, "a key must be a word, not %s", kind_names[child->kind]);
                return fail_at(r, child->line, child->column);
            }
            for (const struct xc_yaml *n = node->first; n; n = n->next)
                if (!strcmp(n->key, child->text)) {
                    xc_fail(r->err, XC_E_FORMAT, "key '%s' is given twice", child->text);
                    return fail_at(r, child->line, child->column);
                }
            XC_TRY(next_event(r, &next));
            XC_TRY(build(r, &value, &next, depth + 1));
            value->key = child->text;
            value->line = child->line;
            value->column = child->column;
            child = value;
        }
        *tail = child;
        tail = &child->next;
    }
    *out = node;
    return XC_OK;
}

static enum xc_status build_document(struct reader *r, struct xc_yaml **out)
{
    yaml_event_t event;
    bool end = false;

    *out = NULL;
    while (!end) {
        XC_TRY(next_event(r, &event));
        switch (event.type) {
        case YAML_STREAM_START_EVENT: case YAML_DOCUMENT_START_EVENT: case YAML_DOCUMENT_END_EVENT:
            yaml_event_delete(&event);
            break;
        case YAML_STREAM_END_EVENT:
            yaml_event_delete(&event);
            end = true;
            break;
        default:
            if (*out) {
                xc_fail(r->err, XC_E_FORMAT, "a second document; a %s is one", r->what);
                xc_fail_at(r->err, XC_E_FORMAT, "%s:%zu:%zu", r->name, event.start_mark.line + 1, event.start_mark.column + 1);
                yaml_event_delete(&event);
                return XC_E_FORMAT;
            }
            XC_TRY(build(r, out, &event, 0));
        }
    }
    if (*out) return XC_OK;
    xc_fail(r->err, XC_E_FORMAT, "an empty %s", r->what);
    return fail_at(r, 1, 1);
}

enum xc_status xc_yaml_parse(struct xc_yaml **out, struct xc_arena *arena, const char *text, size_t n, const char *what, const char *name, struct xc_err *err)
{
    struct reader r = { .arena = arena, .what = what, .name = name, .err = err };
    enum xc_status status;

    *out = NULL;
    if (!yaml_parser_initialize(&r.yaml)) return xc_fail(err, XC_E_NOMEM, "out of memory while reading a %s", what);
    yaml_parser_set_input_string(&r.yaml, (const unsigned char *)text, n);
    status = build_document(&r, out);
    yaml_parser_delete(&r.yaml);
    if (status != XC_OK) *out = NULL;
    return status;
}

enum xc_status xc_yaml_read_file(char **out, size_t *n, const char *path, const char *what, struct xc_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text;
    size_t used = 0;
    ssize_t got = 1;
    enum xc_status status = XC_OK;

    *out = NULL;
    *n = 0;
    if (fd < 0) {
        const int e = errno;

        return xc_fail_errno(err, e, "cannot open the %s '%s'", what, path);
    }
    text = xc_malloc(XC_YAML_MAX_BYTES + 1);
    if (!text) status = xc_fail_nomem(err, XC_YAML_MAX_BYTES);
    while (text && used <= XC_YAML_MAX_BYTES && got > 0) {
        got = read(fd, text + used, XC_YAML_MAX_BYTES + 1 - used);
        if (got < 0 && errno == EINTR) got = 1;
        else if (got > 0) used += (size_t)got;
    }
    if (text && got < 0) status = xc_fail_errno(err, errno, "cannot read the %s '%s'", what, path);
    else if (text && used > XC_YAML_MAX_BYTES) status = xc_fail(err, XC_E_LIMIT, "the %s '%s' is larger than %zu bytes", what, path, XC_YAML_MAX_BYTES);
    close(fd);
    if (status == XC_OK) {
        *out = text;
        *n = used;
    } else {
        xc_free(text);
    }
    return status;
}

/* ---- reading the tree ---- */
enum xc_status xc_yaml_fail_at(const char *name, const struct xc_yaml *n, struct xc_err *err)
{
    return xc_fail_at(err, XC_E_FORMAT, "%s:%zu:%zu", name, n->line, n->column);
}

enum xc_status xc_yaml_want(const char *name, const struct xc_yaml *n, enum xc_yaml_kind kind, struct xc_err *err)
{
    if (n->kind == kind) return XC_OK;
    xc_fail(err, XC_E_FORMAT, "'%s' must be %s, not %s", n->key ? n->key : "this", kind_names[kind], kind_names[n->kind]);
    return xc_yaml_fail_at(name, n, err);
}

struct xc_yaml *xc_yaml_member(const struct xc_yaml *map, const char *key)
{
    for (struct xc_yaml *n = map->first; n; n = n->next)
        if (!strcmp(n->key, key)) {
            n->used = true;
            return n;
        }
    return NULL;
}

enum xc_status xc_yaml_no_unknown(const char *name, const struct xc_yaml *map, const char *known, struct xc_err *err)
{
    for (const struct xc_yaml *n = map->first; n; n = n->next)
        if (!n->used) {
            xc_fail(err, XC_E_FORMAT, "unknown key '%s'%s%s; known: %s", n->key, map->key ? " in " : "", map->key ? map->key : "", known);
            return xc_yaml_fail_at(name, n, err);
        }
    return XC_OK;
}
