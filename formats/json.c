/* json: see json.h. RFC 8259 through jansson, behind bounds that are checked in one pass over the bytes. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/json.h"

static pthread_once_t alloc_once = PTHREAD_ONCE_INIT;

/* jansson's parser calls some failed allocations a syntax error, and after others goes on without the character that had no room, and then, given
 * memory again, beyond the end of a string. So within a parse all allocations fail after one that did. */
static _Thread_local bool parsing, alloc_failed;

static void *json_alloc(size_t bytes)
{
    void *const p = parsing && alloc_failed ? NULL : xc_malloc(bytes);

    if (p == NULL) alloc_failed = true;
    return p;
}

static json_t *parse(const char *bytes, size_t n, size_t flags, json_error_t *error)
{
    json_t *value;

    alloc_failed = false;
    parsing = true;
    value = json_loadb(bytes, n, flags, error);
    parsing = false;
    if (alloc_failed) xc_json_free(&value);
    return value;
}

/* Our allocator, so that tests can make any allocation fail; an application that has set its own keeps it. */
static void set_allocator(void)
{
    json_malloc_t m;
    json_free_t f;

    json_get_alloc_funcs(&m, &f);
    if (m == malloc) json_set_alloc_funcs(json_alloc, xc_free);
}

/* Where a byte is, for people: line and column from 1, column in characters. */
static enum xc_status fail_in(struct xc_err *err, enum xc_status status, const char *bytes, size_t offset, const char *name)
{
    size_t line = 1, column = 1;

    for (size_t i = 0; i < offset; i++) {
        if (bytes[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)bytes[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    return xc_fail_at(err, status, "%s:%zu:%zu (byte %zu)", name, line, column, offset);
}

/* Depth and number of values, without building anything. Malformed text is left for jansson to describe. */
static enum xc_status check_bounds(const char *bytes, size_t n, const char *name, const struct xc_json_limits *limits, struct xc_err *err)
{
    size_t values = 1;
    int depth = 0;

    for (size_t i = 0; i < n; i++) {
        switch (bytes[i]) {
        case '"':
            for (i++; i < n && bytes[i] != '"'; i++)
                if (bytes[i] == '\\') i++;
            break;
        case '[':
        case '{':
            values++;
            if (++depth > limits->max_depth)
                return fail_in(err, xc_fail(err, XC_E_LIMIT, "nested deeper than %d", limits->max_depth), bytes, i, name);
            break;
        case ']':
        case '}':
            depth--;
            break;
        case ',':
            values++;
            break;
        default:
            break;
        }
        if (values > limits->max_values)
            return fail_in(err, xc_fail(err, XC_E_LIMIT, "more than %zu values", limits->max_values), bytes, i, name);
    }
    return XC_OK;
}

enum xc_status xc_json_parse(json_t **out, const char *bytes, size_t n, const char *name, const struct xc_json_limits *limits,
                             struct xc_err *err)
{
    static const struct xc_json_limits usual = XC_JSON_LIMITS_DEFAULT;
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_error_t error;
    size_t offset;

    *out = NULL;
    if (limits == NULL) limits = &usual;
    pthread_once(&alloc_once, set_allocator);
    if (n > limits->max_bytes)
        return xc_fail_at(err, xc_fail(err, XC_E_LIMIT, "JSON of %zu bytes, at most %zu are read", n, limits->max_bytes), "%s", name);
    XC_TRY(check_bounds(bytes, n, name, limits, err));

    *out = parse(bytes, n, flags, &error);
    if (*out == NULL && !alloc_failed && json_error_code(&error) == json_error_numeric_overflow) *out = parse(bytes, n, flags | JSON_DECODE_INT_AS_REAL, &error);
    if (*out != NULL) return XC_OK;
    if (alloc_failed || json_error_code(&error) == json_error_out_of_memory || error.text[0] == '\0')
        return xc_fail_at(err, xc_fail_nomem(err, n), "%s", name);
    offset = error.position < 0 ? 0 : (size_t)error.position;
    return fail_in(err, xc_fail(err, XC_E_FORMAT, "not valid JSON: %s", error.text), bytes, offset < n ? offset : n, name);
}

/* Reads all of fd; size is what fstat says, and a file that shrinks meanwhile is an error. */
static enum xc_status read_all(char **out, int fd, size_t size, struct xc_err *err)
{
    char *const bytes = xc_malloc(size);
    size_t have = 0;

    if (bytes == NULL) return xc_fail_nomem(err, size);
    while (have < size) {
        const ssize_t got = read(fd, bytes + have, size - have);
        enum xc_status status;

        if (got > 0) {
            have += (size_t)got;
            continue;
        }
        if (got < 0 && errno == EINTR) continue;
        status = got < 0 ? xc_fail_errno(err, errno, "cannot read") : xc_fail(err, XC_E_IO, "file became shorter while it was read");
        xc_free(bytes);
        return status;
    }
    *out = bytes;
    return XC_OK;
}

enum xc_status xc_json_load(json_t **out, const char *path, const struct xc_json_limits *limits, struct xc_err *err)
{
    static const struct xc_json_limits usual = XC_JSON_LIMITS_DEFAULT;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum xc_status status = XC_OK;
    char *bytes = NULL;
    struct stat st;

    *out = NULL;
    if (limits == NULL) limits = &usual;
    if (fd < 0)
        status = xc_fail_errno(err, errno, "cannot open");
    else if (fstat(fd, &st) != 0)
        status = xc_fail_errno(err, errno, "cannot stat");
    else if (!S_ISREG(st.st_mode))
        status = xc_fail(err, XC_E_IO, "not a regular file");
    else if ((uintmax_t)st.st_size > limits->max_bytes)
        status = xc_fail(err, XC_E_LIMIT, "JSON of %lld bytes, at most %zu are read", (long long)st.st_size, limits->max_bytes);
    else
        status = read_all(&bytes, fd, (size_t)st.st_size, err);
    if (fd >= 0) close(fd);
    if (status != XC_OK) return xc_fail_at(err, status, "%s", path);

    status = xc_json_parse(out, bytes, (size_t)st.st_size, path, limits, err);
    xc_free(bytes);
    return status;
}

void xc_json_free(json_t **value)
{
    json_decref(*value);
    *value = NULL;
}

/* A value as a short text for messages. */
static const char *describe(const json_t *value, char *buf, size_t n)
{
    if (value == NULL) return "missing";
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    case JSON_INTEGER: snprintf(buf, n, "%lld", (long long)json_integer_value(value)); return buf;
    case JSON_REAL: snprintf(buf, n, "%g", json_real_value(value)); return buf;
    case JSON_STRING: snprintf(buf, n, "\"%.40s\"", json_string_value(value)); return buf;
    }
    return "unknown";
}

static enum xc_status fail_member(const json_t *value, const char *key, const char *must_be, struct xc_err *err)
{
    char text[80];

    if (value == NULL) return xc_fail(err, XC_E_FORMAT, "'%s' is missing: must be %s", key, must_be);
    return xc_fail(err, XC_E_FORMAT, "'%s' must be %s, not %s", key, must_be, describe(value, text, sizeof text));
}

/* The member, NULL when missing; when `null_is_missing`, also when null. */
static enum xc_status member(json_t **out, const json_t *obj, const char *key, bool null_is_missing, struct xc_err *err)
{
    *out = NULL;
    if (!json_is_object(obj)) return xc_fail(err, XC_E_FORMAT, "'%s' is asked of a value that is not an object", key);
    *out = json_object_get(obj, key);
    if (null_is_missing && json_is_null(*out)) *out = NULL;
    return XC_OK;
}

bool xc_json_as_int(int64_t *out, const json_t *value, int64_t lo, int64_t hi)
{
    int64_t x;

    *out = 0;
    if (json_is_integer(value)) {
        x = json_integer_value(value);
    } else if (json_is_real(value)) { /* 12.0, or a document with integers beyond 64 bits */
        const double r = json_real_value(value);

        if (r != floor(r) || fabs(r) > 0x1p53) return false;
        x = (int64_t)r;
    } else {
        return false;
    }
    if (x < lo || x > hi) return false;
    *out = x;
    return true;
}

static enum xc_status get_int(int64_t *out, const json_t *value, const char *key, int64_t lo, int64_t hi, struct xc_err *err)
{
    char must_be[96];

    if (xc_json_as_int(out, value, lo, hi)) return XC_OK;
    if (lo == INT64_MIN && hi == INT64_MAX)
        snprintf(must_be, sizeof must_be, "an integer");
    else if (hi == INT64_MAX)
        snprintf(must_be, sizeof must_be, "an integer >= %lld", (long long)lo);
    else if (lo == INT64_MIN)
        snprintf(must_be, sizeof must_be, "an integer <= %lld", (long long)hi);
    else
        snprintf(must_be, sizeof must_be, "an integer from %lld to %lld", (long long)lo, (long long)hi);
    return fail_member(value, key, must_be, err);
}

enum xc_status xc_json_int(int64_t *out, const json_t *obj, const char *key, int64_t lo, int64_t hi, struct xc_err *err)
{
    json_t *value;

    *out = 0;
    XC_TRY(member(&value, obj, key, false, err));
    return get_int(out, value, key, lo, hi, err);
}

enum xc_status xc_json_int_or(int64_t *out, const json_t *obj, const char *key, int64_t lo, int64_t hi, int64_t fallback, struct xc_err *err)
{
    json_t *value;

    *out = fallback;
    XC_TRY(member(&value, obj, key, true, err));
    return value == NULL ? XC_OK : get_int(out, value, key, lo, hi, err);
}

static enum xc_status get_number(double *out, const json_t *value, const char *key, double lo, double hi, struct xc_err *err)
{
    char must_be[96];

    if (json_is_number(value)) {
        const double x = json_number_value(value);

        if (x >= lo && x <= hi) {
            *out = x;
            return XC_OK;
        }
    }
    *out = 0;
    if (lo == -INFINITY && hi == INFINITY)
        snprintf(must_be, sizeof must_be, "a number");
    else if (hi == INFINITY)
        snprintf(must_be, sizeof must_be, "a number >= %g", lo);
    else if (lo == -INFINITY)
        snprintf(must_be, sizeof must_be, "a number <= %g", hi);
    else
        snprintf(must_be, sizeof must_be, "a number from %g to %g", lo, hi);
    return fail_member(value, key, must_be, err);
}

enum xc_status xc_json_number(double *out, const json_t *obj, const char *key, double lo, double hi, struct xc_err *err)
{
    json_t *value;

    *out = 0;
    XC_TRY(member(&value, obj, key, false, err));
    return get_number(out, value, key, lo, hi, err);
}

enum xc_status xc_json_number_or(double *out, const json_t *obj, const char *key, double lo, double hi, double fallback, struct xc_err *err)
{
    json_t *value;

    *out = fallback;
    XC_TRY(member(&value, obj, key, true, err));
    return value == NULL ? XC_OK : get_number(out, value, key, lo, hi, err);
}

enum xc_status xc_json_bool(bool *out, const json_t *obj, const char *key, struct xc_err *err)
{
    json_t *value;

    *out = false;
    XC_TRY(member(&value, obj, key, false, err));
    if (!json_is_boolean(value)) return fail_member(value, key, "true or false", err);
    *out = json_is_true(value);
    return XC_OK;
}

enum xc_status xc_json_bool_or(bool *out, const json_t *obj, const char *key, bool fallback, struct xc_err *err)
{
    json_t *value;

    *out = fallback;
    XC_TRY(member(&value, obj, key, true, err));
    return value == NULL ? XC_OK : xc_json_bool(out, obj, key, err);
}

enum xc_status xc_json_str(const char **out, const json_t *obj, const char *key, struct xc_err *err)
{
    json_t *value;

    *out = NULL;
    XC_TRY(member(&value, obj, key, false, err));
    if (!json_is_string(value)) return fail_member(value, key, "a string", err);
    *out = json_string_value(value);
    return XC_OK;
}

enum xc_status xc_json_str_or(const char **out, const json_t *obj, const char *key, const char *fallback, struct xc_err *err)
{
    json_t *value;

    *out = fallback;
    XC_TRY(member(&value, obj, key, true, err));
    return value == NULL ? XC_OK : xc_json_str(out, obj, key, err);
}

enum xc_status xc_json_object(json_t **out, const json_t *obj, const char *key, struct xc_err *err)
{
    json_t *value;

    *out = NULL;
    XC_TRY(member(&value, obj, key, false, err));
    if (!json_is_object(value)) return fail_member(value, key, "an object", err);
    *out = value;
    return XC_OK;
}

enum xc_status xc_json_object_or(json_t **out, const json_t *obj, const char *key, struct xc_err *err)
{
    XC_TRY(member(out, obj, key, true, err));
    return *out == NULL ? XC_OK : xc_json_object(out, obj, key, err);
}

enum xc_status xc_json_array(json_t **out, const json_t *obj, const char *key, struct xc_err *err)
{
    json_t *value;

    *out = NULL;
    XC_TRY(member(&value, obj, key, false, err));
    if (!json_is_array(value)) return fail_member(value, key, "an array", err);
    *out = value;
    return XC_OK;
}

enum xc_status xc_json_array_or(json_t **out, const json_t *obj, const char *key, struct xc_err *err)
{
    XC_TRY(member(out, obj, key, true, err));
    return *out == NULL ? XC_OK : xc_json_array(out, obj, key, err);
}

json_t *xc_json_new_number(double x)
{
    pthread_once(&alloc_once, set_allocator);
    return isfinite(x) ? json_real(x) : json_null();
}

json_t *xc_json_new_text(const char *bytes, size_t n)
{
    static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
    json_t *value;
    size_t room, o = 0;
    char *text;

    pthread_once(&alloc_once, set_allocator);
    value = json_stringn(bytes, n); /* fails when it is not UTF-8, or without memory */
    if (value != NULL) return value;
    if (!xc_mul_ok(&room, n, 3)) return NULL;
    text = xc_malloc(room);
    if (text == NULL) return NULL;
    for (size_t i = 0; i < n;) {
        size_t len = 1;

        /* The longest of 1 to 4 bytes that jansson takes as one character. */
        for (len = 4; len > 0; len--) {
            json_t *const one = i + len <= n ? json_stringn(bytes + i, len) : NULL;

            json_decref(one);
            if (one != NULL) break;
        }
        memcpy(text + o, len > 0 ? bytes + i : replacement, len > 0 ? len : 3);
        o += len > 0 ? len : 3;
        i += len > 0 ? len : 1;
    }
    value = json_stringn(text, o);
    xc_free(text);
    return value;
}

/* Text that grows; `failed` sticks, so that the writer below checks once. */
struct text {
    char *bytes;
    size_t n, cap;
    bool failed;
};

static void put(struct text *t, const char *bytes, size_t n)
{
    if (t->failed) return;
    if (n > SIZE_MAX - t->n - 1 || xc_grow((void **)&t->bytes, &t->cap, t->n + n + 1, 1, NULL) != XC_OK) {
        t->failed = true;
        return;
    }
    memcpy(t->bytes + t->n, bytes, n);
    t->n += n;
    t->bytes[t->n] = '\0';
}

static void put_str(struct text *t, const char *s)
{
    put(t, s, strlen(s));
}

static void put_quoted(struct text *t, const char *s, size_t n)
{
    char code[8];
    size_t from = 0;

    put(t, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)s[i];

        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) continue;
        put(t, s + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            snprintf(code, sizeof code, "\\%c", c);
        else if (c == '\n' || c == '\t')
            snprintf(code, sizeof code, "\\%c", c == '\n' ? 'n' : 't');
        else
            snprintf(code, sizeof code, "\\u%04x", c);
        put_str(t, code);
    }
    put(t, s + from, n - from);
    put(t, "\"", 1);
}

/* Fewest digits that read back the same: 0.1, not the 0.10000000000000001 that jansson writes. */
static void put_real(struct text *t, double x)
{
    char digits[40];

    for (int precision = 15; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, x);
        if (strtod(digits, NULL) == x) break;
    }
    for (char *c = digits; *c != '\0'; c++)
        if (*c == ',') *c = '.'; /* an application's locale */
    put_str(t, digits);
    if (strpbrk(digits, ".e") == NULL) put(t, ".0", 2); /* a real stays a real */
}

static void put_break(struct text *t, int indent, int depth)
{
    if (indent == 0) return;
    put(t, "\n", 1);
    for (int i = 0; i < indent * depth; i++) put(t, " ", 1);
}

static void put_value(struct text *t, const json_t *value, int indent, int depth);

static void put_array(struct text *t, const json_t *array, int indent, int depth)
{
    const size_t n = json_array_size(array);
    bool flat = true; /* short lists of numbers stay on one line */

    for (size_t i = 0; i < n && flat; i++) flat = json_is_number(json_array_get(array, i)) || json_is_null(json_array_get(array, i));
    put(t, "[", 1);
    for (size_t i = 0; i < n; i++) {
        if (i > 0) put(t, ", ", flat || indent == 0 ? 2 : 1);
        if (!flat) put_break(t, indent, depth + 1);
        put_value(t, json_array_get(array, i), indent, depth + 1);
    }
    if (!flat) put_break(t, indent, depth);
    put(t, "]", 1);
}

static void put_object(struct text *t, const json_t *object, int indent, int depth)
{
    /* jansson's iterators take a non-const object and leave it alone. */
    json_t *const o = (json_t *)(uintptr_t)object;
    bool first = true;

    put(t, "{", 1);
    for (void *it = json_object_iter(o); it != NULL; it = json_object_iter_next(o, it)) {
        const char *const key = json_object_iter_key(it);

        if (!first) put(t, ", ", indent == 0 ? 2 : 1);
        first = false;
        put_break(t, indent, depth + 1);
        put_quoted(t, key, strlen(key));
        put(t, ": ", 2);
        put_value(t, json_object_iter_value(it), indent, depth + 1);
    }
    if (!first) put_break(t, indent, depth);
    put(t, "}", 1);
}

static void put_value(struct text *t, const json_t *value, int indent, int depth)
{
    char digits[32];

    if (value == NULL) {
        t->failed = true;
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: put_object(t, value, indent, depth); break;
    case JSON_ARRAY: put_array(t, value, indent, depth); break;
    case JSON_STRING: put_quoted(t, json_string_value(value), json_string_length(value)); break;
    case JSON_INTEGER:
        snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
        put_str(t, digits);
        break;
    case JSON_REAL: put_real(t, json_real_value(value)); break;
    case JSON_TRUE: put_str(t, "true"); break;
    case JSON_FALSE: put_str(t, "false"); break;
    case JSON_NULL: put_str(t, "null"); break;
    }
}

enum xc_status xc_json_text(char **out, size_t *len, const json_t *value, int indent, struct xc_err *err)
{
    struct text t = {0};

    *out = NULL;
    *len = 0;
    put_value(&t, value, indent, 0);
    put(&t, "\n", 1);
    if (t.failed) {
        xc_free(t.bytes);
        return xc_fail_nomem(err, t.cap);
    }
    *out = t.bytes;
    *len = t.n;
    return XC_OK;
}

enum xc_status xc_json_write(FILE *f, const json_t *value, int indent, struct xc_err *err)
{
    enum xc_status status = XC_OK;
    size_t len;
    char *text;

    XC_TRY(xc_json_text(&text, &len, value, indent, err));
    if (fwrite(text, 1, len, f) != len) status = xc_fail_errno(err, errno, "cannot write");
    xc_free(text);
    return status;
}
