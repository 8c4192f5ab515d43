/* json: jansson with our allocator, our limits, and errors that say where. The only file that calls json_load*.
 *
 * Reading hostile JSON: size, depth and number of values are bounded before jansson sees a byte; duplicate keys, invalid UTF-8 and
 * NULs in strings are refused. Integers that do not fit 64 bits (tokenizer_config.json's model_max_length, usually 1e30) turn the
 * document's integers into reals; the getters below do not care.
 *
 * Writing: build with jansson, whose setters take a NULL value (out of memory) and return -1, so that one `bad |=` per line is enough. */
#ifndef XC_FORMATS_JSON_H
#define XC_FORMATS_JSON_H

#include <jansson.h>
#include <stdio.h>

#include "runtime/base/base.h"

struct xc_json_limits {
    size_t max_bytes;
    int max_depth;
    size_t max_values; /* memory is at most about 100 bytes a value plus the text */
};
#define XC_JSON_LIMITS_DEFAULT { (size_t)256 << 20, 64, (size_t)8 << 20 }

/* Parses n bytes. name is the file for err->where, which becomes "name:line:column (byte N)". limits NULL = the default. */
enum xc_status xc_json_parse(json_t **out, const char *bytes, size_t n, const char *name, const struct xc_json_limits *limits,
                             struct xc_err *err);

/* Reads and parses a file. */
enum xc_status xc_json_load(json_t **out, const char *path, const struct xc_json_limits *limits, struct xc_err *err);

/* json_decref, takes NULL, sets NULL. */
void xc_json_free(json_t **value);

/* Getters: the member `key` of obj. The plain ones fail with XC_E_FORMAT when it is missing; the _or ones take `fallback` when it is
 * missing or null. A wrong type or a value outside [lo,hi] fails in both: "'hidden_size' must be an integer >= 1, not "x"".
 * The caller adds the file with xc_fail_at. Strings and sub-values belong to obj. obj that is not an object fails too. */
enum xc_status xc_json_int(int64_t *out, const json_t *obj, const char *key, int64_t lo, int64_t hi, struct xc_err *err);
enum xc_status xc_json_int_or(int64_t *out, const json_t *obj, const char *key, int64_t lo, int64_t hi, int64_t fallback, struct xc_err *err);
enum xc_status xc_json_number(double *out, const json_t *obj, const char *key, double lo, double hi, struct xc_err *err);
enum xc_status xc_json_number_or(double *out, const json_t *obj, const char *key, double lo, double hi, double fallback, struct xc_err *err);
enum xc_status xc_json_bool(bool *out, const json_t *obj, const char *key, struct xc_err *err);
enum xc_status xc_json_bool_or(bool *out, const json_t *obj, const char *key, bool fallback, struct xc_err *err);
enum xc_status xc_json_str(const char **out, const json_t *obj, const char *key, struct xc_err *err);
enum xc_status xc_json_str_or(const char **out, const json_t *obj, const char *key, const char *fallback, struct xc_err *err);
enum xc_status xc_json_object(json_t **out, const json_t *obj, const char *key, struct xc_err *err);    /* borrowed */
enum xc_status xc_json_object_or(json_t **out, const json_t *obj, const char *key, struct xc_err *err); /* NULL when missing */
enum xc_status xc_json_array(json_t **out, const json_t *obj, const char *key, struct xc_err *err);
enum xc_status xc_json_array_or(json_t **out, const json_t *obj, const char *key, struct xc_err *err);

/* A value itself as an integer, for array elements: false when it is none or lies outside [lo,hi]. */
bool xc_json_as_int(int64_t *out, const json_t *value, int64_t lo, int64_t hi);

/* New values for output. */
json_t *xc_json_new_number(double x);                      /* null for NaN and infinity, which JSON lacks */
json_t *xc_json_new_text(const char *bytes, size_t n);     /* invalid UTF-8 becomes U+FFFD */

/* Writes a document and a newline; indent 0 = one line. A value of NULL is reported as out of memory. Keys stay in insertion order; numbers are the shortest that read back
 * the same. XC_E_IO when the stream fails. */
enum xc_status xc_json_write(FILE *f, const json_t *value, int indent, struct xc_err *err);

/* The same into a new string, freed with xc_free. */
enum xc_status xc_json_text(char **out, size_t *len, const json_t *value, int indent, struct xc_err *err);

#endif
