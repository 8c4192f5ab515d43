/* manifest: how a file was made, kept in the file as JSON with sorted keys: sources, recipe, seed, versions, and each layer's encoding,
 * bytes and error. Nothing that varies from run to run: no time, host, path or thread count. docs/json.md lists the keys. */
#ifndef XC_COMPRESS_MANIFEST_H
#define XC_COMPRESS_MANIFEST_H

#include <jansson.h>

#include "compress/recipe/recipe.h"
#include "runtime/base/buf.h"

/* A list of {"file", "bytes", "xxh128"}: the files of a model or the one of a calibration set. *total (may be NULL) is the sum of bytes. *stop (may
 * be NULL): set by another thread, it ends the reading, XC_E_CANCELLED. */
enum xc_status xc_manifest_files(json_t **out, const char *path, uint64_t *total, const bool *stop, struct xc_err *err);

/* The same list, of the same length, without reading the files: what stands for a digest changes when the file is written. */
enum xc_status xc_manifest_identities(json_t **out, const char *path, uint64_t *total, struct xc_err *err);

struct xc_manifest_facts {
    json_t *sources, *calibration;  /* of xc_manifest_files; NULL = none */
    const struct xc_recipe *recipe;
    const struct xc_compress_opts *opts;
    const struct xc_compress_result *result;
};

/* Numbers that are known only after the work are padded for, so that the plan of a file knows its manifest's size. planned: as if the work
 * were done. */
enum xc_status xc_manifest_make(struct xc_buf **out, const struct xc_manifest_facts *facts, bool planned, struct xc_err *err);

/* What each weight of a mixed-precision model could have been, and what it became. `number` writes a cost: xc_json_new_number in full; the manifest rounds. */
json_t *xc_sensitivity_json(const struct xc_compress_result *r, json_t *(*number)(double));

/* What reproduce needs. Owns the document that the strings point into. */
struct xc_manifest {
    json_t *root;
    json_t *sources, *calibration; /* calibration NULL = none was used */
    json_t *versions;
    json_t *probe;                 /* NULL, or the head that `eval` fitted on top: kind, C or alpha, rows, train (files) */
    struct xc_recipe *recipe;
    uint64_t seed;
    int64_t calibrate_rows, max_tokens;
    const char *head; /* NULL */
    bool golden, small; /* small: what was chosen depended on it */
};
enum xc_status xc_manifest_json(json_t **out, const struct xc_buf *manifest, struct xc_err *err); /* as it is, unchecked */
enum xc_status xc_manifest_read(struct xc_manifest *out, const struct xc_buf *manifest, struct xc_err *err);
void xc_manifest_release(struct xc_manifest *manifest);

#endif
