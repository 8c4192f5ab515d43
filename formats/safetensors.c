/* safetensors: see safetensors.h. Everything in a header is hostile until checked here.
 *
 * Files are followed through symbolic links (a Hugging Face cache is made of them); what they lead to must be a regular file. Little-endian
 * machines only, as the format is. Writing is in safetensors_write.c. */
#include "formats/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/json.h"
#include "runtime/kernels/kernels.h"

#define MAX_HEADER ((size_t)100000000) /* bytes, as the reference implementation */
#define MAX_VALUES ((size_t)2 << 20)   /* of the header's JSON: 250,000 tensors */
#define MAX_SHARDS 255                 /* xc_tensor.source_file is one byte */
#define WINDOW ((size_t)1 << 20)       /* bytes read at once */

/* ---- headers ---- */
static int dtype_size(const char *dtype)
{
    static const struct { const char *name; int size; } sizes[] = {
        { "F64", 8 }, { "I64", 8 }, { "U64", 8 }, { "F32", 4 }, { "I32", 4 }, { "U32", 4 }, { "F16", 2 }, { "BF16", 2 }, { "I16", 2 }, { "U16", 2 },
        { "I8", 1 },  { "U8", 1 },  { "BOOL", 1 }, { "F8_E4M3", 1 }, { "F8_E5M2", 1 },
    };

    for (size_t i = 0; i < XC_ARRAY_LEN(sizes); i++)
        if (!strcmp(sizes[i].name, dtype)) return sizes[i].size;
    return 0;
}

/* A size or an offset: a JSON integer, not 2.0 or "2". */
static bool as_size(int64_t *out, const json_t *value, int64_t lo, int64_t hi) { return json_is_integer(value) && xc_json_as_int(out, value, lo, hi); }

static enum xc_status read_shape(struct xc_st_tensor *t, const char *key, const json_t *shape, size_t *count, struct xc_err *err)
{
    *count = 1;
    if (json_array_size(shape) > XC_ARRAY_LEN(t->dim)) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has %zu axes, at most %zu are read", key, json_array_size(shape), XC_ARRAY_LEN(t->dim));
    for (size_t i = 0; i < json_array_size(shape); i++) {
        if (!as_size(&t->dim[i], json_array_get(shape, i), 0, INT64_MAX)) return xc_fail(err, XC_E_FORMAT, "tensor '%s': axis %zu of its shape is no size", key, i);
        if (!xc_mul_ok(count, *count, (size_t)t->dim[i])) return xc_fail(err, XC_E_FORMAT, "tensor '%s': its shape overflows", key);
    }
    t->rank = (int32_t)json_array_size(shape);
    return XC_OK;
}

static enum xc_status read_entry(struct xc_st_tensor *t, const char *key, const json_t *entry, uint64_t data_at, uint64_t file_size, struct xc_err *err)
{
    static const char *const members[] = { "dtype", "shape", "data_offsets" };
    const uint64_t data_size = file_size - data_at;
    const char *dtype;
    json_t *shape, *offsets;
    int64_t begin, end;
    size_t count, bytes;

    if (!json_is_object(entry)) return xc_fail(err, XC_E_FORMAT, "tensor '%s' is no JSON object", key);
    for (size_t i = 0; i < XC_ARRAY_LEN(members); i++)
        if (!json_object_get(entry, members[i])) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has no '%s'", key, members[i]);
    if (json_object_size(entry) != XC_ARRAY_LEN(members)) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has members that the format does not know", key);
    XC_TRY(xc_json_str(&dtype, entry, "dtype", err));
    XC_TRY(xc_json_array(&shape, entry, "shape", err));
    XC_TRY(xc_json_array(&offsets, entry, "data_offsets", err));
    if (!dtype_size(dtype)) return xc_fail(err, XC_E_UNSUPPORTED, "tensor '%s' has unknown dtype '%s'; convert the checkpoint to F32, F16 or BF16", key, dtype);
    XC_TRY(read_shape(t, key, shape, &count, err));
    if (json_array_size(offsets) != 2 || !as_size(&begin, json_array_get(offsets, 0), 0, INT64_MAX) || !as_size(&end, json_array_get(offsets, 1), begin, INT64_MAX))
        return xc_fail(err, XC_E_FORMAT, "tensor '%s': data_offsets must be two rising numbers", key);
    if (!xc_mul_ok(&bytes, count, (size_t)dtype_size(dtype))) return xc_fail(err, XC_E_FORMAT, "tensor '%s': its shape overflows", key);
    if (bytes != (uint64_t)(end - begin))
        return xc_fail(err, XC_E_FORMAT, "tensor '%s': its shape needs %zu bytes, data_offsets give %lld", key, bytes, (long long)(end - begin));
    if ((uint64_t)end > data_size)
        return xc_fail(err, XC_E_FORMAT, "tensor '%s' ends at byte %lld of the data, the file has %llu (is it cut off? download it again)", key, (long long)end,
                       (unsigned long long)data_size);
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    t->offset = data_at + (uint64_t)begin;
    t->bytes = bytes;
    return XC_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct xc_st_tensor *x = a, *y = b;

    if (x->file != y->file) return x->file < y->file ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset ? 1 : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* No overlap and no hole: bytes that no tensor owns could hide anything. */
static enum xc_status check_cover(struct xc_st_tensor *t, size_t n, uint64_t data_at, uint64_t file_size, struct xc_err *err)
{
    uint64_t at = data_at;

    if (n) qsort(t, n, sizeof *t, by_offset);
    for (size_t i = 0; i < n; i++) {
        if (t[i].offset != at)
            return xc_fail(err, XC_E_FORMAT, "tensor '%s' begins at byte %llu of the data and %s", t[i].name, (unsigned long long)(t[i].offset - data_at),
                           t[i].offset < at ? "overlaps another" : "leaves a hole before it");
        at += t[i].bytes;
    }
    return at == file_size ? XC_OK : xc_fail(err, XC_E_FORMAT, "%llu bytes after the last tensor", (unsigned long long)(file_size - at));
}

/* Members of __metadata__ are strings; nothing here reads them. */
static enum xc_status check_metadata(const json_t *meta, struct xc_err *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(meta)) return xc_fail(err, XC_E_FORMAT, "'__metadata__' is no JSON object");
    json_object_foreach((json_t *)(uintptr_t)meta, key, value)
        if (!json_is_string(value)) return xc_fail(err, XC_E_FORMAT, "'__metadata__' holds a '%s' that is no string", key);
    return XC_OK;
}

static enum xc_status add_entry(struct xc_checkpoint *cp, const struct xc_st_tensor *t, const char *prefix, const char *key, struct xc_err *err)
{
    const size_t n = strlen(prefix) + strlen(key) + 1;
    char *name;

    XC_TRY(xc_grow((void **)&cp->tensors, &cp->cap_tensors, cp->n_tensors + 1, sizeof *t, err));
    name = xc_malloc(n);
    if (!name) return xc_fail_nomem(err, n);
    snprintf(name, n, "%s%s", prefix, key);
    cp->tensors[cp->n_tensors] = *t;
    cp->tensors[cp->n_tensors++].name = name;
    return XC_OK;
}

static enum xc_status read_entries(struct xc_checkpoint *cp, const json_t *root, uint64_t data_at, uint64_t file_size, int32_t file, const char *prefix, struct xc_err *err)
{
    const char *key;
    json_t *entry;

    if (!json_is_object(root)) return xc_fail(err, XC_E_FORMAT, "the header is no JSON object");
    json_object_foreach((json_t *)(uintptr_t)root, key, entry) {
        struct xc_st_tensor t = { .file = file };

        if (!strcmp(key, "__metadata__")) {
            XC_TRY(check_metadata(entry, err));
            continue;
        }
        if (!key[0]) return xc_fail(err, XC_E_FORMAT, "a tensor has an empty name");
        XC_TRY(read_entry(&t, key, entry, data_at, file_size, err));
        XC_TRY(add_entry(cp, &t, prefix, key, err));
    }
    return XC_OK;
}

enum xc_status xc_safetensors_header(struct xc_checkpoint *cp, const char *json, size_t n, uint64_t data_at, uint64_t file_size, int32_t file, const char *prefix,
                                     const char *name, struct xc_err *err)
{
    const struct xc_json_limits limits = { MAX_HEADER, 8, MAX_VALUES };
    const size_t first = cp->n_tensors;
    json_t *root = NULL;
    enum xc_status status = XC_OK;

    if (!n || json[0] != '{') status = xc_fail(err, XC_E_FORMAT, "the header does not begin with '{' (is this a safetensors file?)");
    if (status == XC_OK) status = xc_json_parse(&root, json, n, name, &limits, err);
    if (status == XC_OK) status = read_entries(cp, root, data_at, file_size, file, prefix, err);
    xc_json_free(&root);
    if (status == XC_OK) status = check_cover(cp->tensors ? cp->tensors + first : NULL, cp->n_tensors - first, data_at, file_size, err);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s: header", name);
}

/* ---- files ---- */
static enum xc_status pread_all(int fd, void *dst, size_t n, uint64_t at, const char *path, struct xc_err *err)
{
    uint8_t *p = dst;

    while (n) {
        const ssize_t got = pread(fd, p, n, (off_t)at);

        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            const int e = errno;

            return xc_fail_at(err, xc_fail_errno(err, e, "cannot read"), "%s: byte %llu", path, (unsigned long long)at);
        }
        if (got == 0) {
            xc_fail(err, XC_E_FORMAT, "the file ends %zu bytes too early", n);
            return xc_fail_at(err, XC_E_FORMAT, "%s: byte %llu", path, (unsigned long long)at);
        }
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return XC_OK;
}

static enum xc_status open_file(struct xc_checkpoint *cp, const char *path, int32_t *file, struct xc_err *err)
{
    struct stat st;
    int fd;

    XC_TRY(xc_grow((void **)&cp->files, &cp->cap_files, cp->n_files + 1, sizeof *cp->files, err));
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        const int e = errno;

        return xc_fail_at(err, xc_fail_errno(err, e, "cannot open '%s'", path), "%s", path);
    }
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        close(fd);
        xc_fail(err, XC_E_IO, "'%s' is not a regular file", path);
        return xc_fail_at(err, XC_E_IO, "%s", path);
    }
    cp->files[cp->n_files] = (struct xc_st_file){ .path = xc_strdup(path), .fd = fd, .size = (uint64_t)st.st_size };
    if (!cp->files[cp->n_files].path) {
        close(fd);
        return xc_fail_nomem(err, strlen(path) + 1);
    }
    *file = (int32_t)cp->n_files++;
    return XC_OK;
}

static enum xc_status read_file(struct xc_checkpoint *cp, const char *path, const char *prefix, struct xc_err *err)
{
    uint8_t size_bytes[8];
    uint64_t size = 0, file_size;
    int32_t file = 0;
    char *json;
    enum xc_status status = XC_OK;

    XC_TRY(open_file(cp, path, &file, err));
    file_size = cp->files[file].size;
    if (file_size < 8) status = xc_fail(err, XC_E_FORMAT, "%llu bytes are no safetensors file (is it cut off? download it again)", (unsigned long long)file_size);
    if (status != XC_OK) return xc_fail_at(err, status, "%s: byte 0", path);
    XC_TRY(pread_all(cp->files[file].fd, size_bytes, 8, 0, path, err));
    for (int i = 7; i >= 0; i--) size = size << 8 | size_bytes[i];
    if (size > MAX_HEADER) status = xc_fail(err, XC_E_FORMAT, "the header claims %llu bytes, at most %zu are read (is this a safetensors file?)", (unsigned long long)size, MAX_HEADER);
    else if (size > file_size - 8)
        status = xc_fail(err, XC_E_FORMAT, "the header claims %llu bytes, %llu follow (is the file cut off? download it again)", (unsigned long long)size, (unsigned long long)file_size - 8);
    if (status != XC_OK) return xc_fail_at(err, status, "%s: byte 0", path);
    json = xc_malloc((size_t)size);
    if (!json) return xc_fail_nomem(err, (size_t)size);
    status = pread_all(cp->files[file].fd, json, (size_t)size, 8, path, err);
    if (status == XC_OK) status = xc_safetensors_header(cp, json, (size_t)size, 8 + size, file_size, file, prefix, path, err);
    xc_free(json);
    return status;
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct xc_st_tensor *)a)->name, ((const struct xc_st_tensor *)b)->name); }

enum xc_status xc_checkpoint_sort(struct xc_checkpoint *cp, const char *path, struct xc_err *err)
{
    if (cp->n_tensors) qsort(cp->tensors, cp->n_tensors, sizeof *cp->tensors, by_name);
    for (size_t i = 1; i < cp->n_tensors; i++)
        if (!strcmp(cp->tensors[i - 1].name, cp->tensors[i].name)) {
            xc_fail(err, XC_E_FORMAT, "tensor '%s' is there twice, in two files", cp->tensors[i].name);
            return xc_fail_at(err, XC_E_FORMAT, "%s", path);
        }
    return XC_OK;
}

const struct xc_st_tensor *xc_checkpoint_find(const struct xc_checkpoint *cp, const char *name)
{
    union { const char *read; char *any; } p = { .read = name };
    const struct xc_st_tensor key = { .name = p.any };

    return cp->n_tensors ? bsearch(&key, cp->tensors, cp->n_tensors, sizeof key, by_name) : NULL;
}

/* A shard's name is one path component: nothing that leads out of the directory. */
static bool safe_name(const char *name) { return name[0] && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, "..") && strcmp(name, "."); }

/* Opens every shard once; */
static enum xc_status open_shards(struct xc_checkpoint *cp, const char *dir, const json_t *map, struct xc_err *err)
{
    const char *key;
    json_t *value;
    char path[4096];

    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        const char *shard = json_string_value(value);
        bool known = false;

        if (!shard) return xc_fail(err, XC_E_FORMAT, "the shard of tensor '%s' is no string", key);
        if (!safe_name(shard)) return xc_fail(err, XC_E_FORMAT, "tensor '%s' lies in '%s', which is no plain file name: it would leave the directory", key, shard);
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, shard) >= sizeof path) return xc_fail(err, XC_E_FORMAT, "the name of shard '%s' is too long", shard);
        /* tensors of a shard follow each other in an index, so the last file is looked at first */
        for (size_t i = cp->n_files; i-- > 0 && !known;) known = !strcmp(cp->files[i].path, path);
        if (known) continue;
        if (cp->n_files >= MAX_SHARDS) return xc_fail(err, XC_E_LIMIT, "more than %d shards", MAX_SHARDS);
        XC_TRY(read_file(cp, path, "", err));
    }
    return XC_OK;
}

static enum xc_status read_shards(struct xc_checkpoint *cp, const char *dir, const json_t *map, const char *index, struct xc_err *err)
{
    const char *key;
    json_t *value;

    XC_TRY(open_shards(cp, dir, map, err));
    XC_TRY(xc_checkpoint_sort(cp, index, err));
    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        const char *shard = json_string_value(value);
        const struct xc_st_tensor *t = xc_checkpoint_find(cp, key);
        const char *holder = t ? strrchr(cp->files[t->file].path, '/') + 1 : NULL; /* every path is dir/shard */

        if (!t) return xc_fail(err, XC_E_FORMAT, "tensor '%s' should be in shard '%s', which does not have it", key, shard);
        if (strcmp(holder, shard)) return xc_fail(err, XC_E_FORMAT, "tensor '%s' should be in shard '%s', but is in '%s'", key, shard, holder);
    }
    return XC_OK;
}

static enum xc_status open_dir(struct xc_checkpoint *cp, const char *dir, struct xc_err *err)
{
    char path[4096], index[4096];
    const struct xc_json_limits limits = { MAX_HEADER, 8, MAX_VALUES };
    json_t *root = NULL, *map;
    enum xc_status status;

    if ((size_t)snprintf(path, sizeof path, "%s/model.safetensors", dir) >= sizeof path ||
        (size_t)snprintf(index, sizeof index, "%s/model.safetensors.index.json", dir) >= sizeof index)
        return xc_fail(err, XC_E_ARG, "the path is too long");
    if (access(index, F_OK) || !access(path, F_OK)) {
        XC_TRY(read_file(cp, path, "", err));
        return xc_checkpoint_sort(cp, path, err);
    }
    XC_TRY(xc_json_load(&root, index, &limits, err));
    status = xc_json_object(&map, root, "weight_map", err);
    if (status == XC_OK && !json_object_size(map)) status = xc_fail(err, XC_E_FORMAT, "'weight_map' names no tensor");
    if (status == XC_OK) status = read_shards(cp, dir, map, index, err);
    xc_json_free(&root);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", index);
}

enum xc_status xc_checkpoint_add(struct xc_checkpoint *cp, const char *path, const char *prefix, struct xc_err *err)
{
    if (cp->n_files >= MAX_SHARDS) return xc_fail(err, XC_E_LIMIT, "more than %d weight files", MAX_SHARDS);
    XC_TRY(read_file(cp, path, prefix, err));
    return xc_checkpoint_sort(cp, path, err);
}

enum xc_status xc_checkpoint_declare(struct xc_checkpoint *cp, struct xc_tensor *const *tensors, int32_t n, struct xc_err *err)
{
    for (int32_t i = 0; i < n; i++) {
        struct xc_st_tensor t = { .dtype = "F32", .rank = tensors[i]->rank, .bytes = (uint64_t)xc_tensor_count(tensors[i]) * 4 };

        memcpy(t.dim, tensors[i]->dim, sizeof tensors[i]->dim);
        XC_TRY(add_entry(cp, &t, "", tensors[i]->name, err));
    }
    return xc_checkpoint_sort(cp, "the model", err);
}

static void checkpoint_unref(struct xc_source *src)
{
    struct xc_checkpoint *cp = (struct xc_checkpoint *)src;

    if (__atomic_sub_fetch(&src->refs, 1, __ATOMIC_ACQ_REL) > 0) return;
    for (size_t i = 0; i < cp->n_files; i++) {
        close(cp->files[i].fd);
        xc_free(cp->files[i].path);
    }
    for (size_t i = 0; i < cp->n_tensors; i++) xc_free(cp->tensors[i].name);
    xc_free(cp->files);
    xc_free(cp->tensors);
    xc_free(cp);
}

/* ---- reading numbers ---- */
/* NaN and infinity have all exponent bits set. The first loop has no exit, so that compilers make vectors of it: it runs over every weight. */
static enum xc_status check_finite(const struct xc_tensor *t, const float *x, int64_t first, int64_t n, const char *path, struct xc_err *err)
{
    uint32_t bad = 0;

    for (int64_t i = 0; i < n; i++) {
        uint32_t u;

        memcpy(&u, x + i, sizeof u);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    for (int64_t i = 0; i < n && bad; i++)
        if (!isfinite(x[i])) {
            xc_fail(err, XC_E_FORMAT, "tensor '%s' holds %s at element %lld: the checkpoint is broken", t->name, isnan(x[i]) ? "NaN" : "infinity", (long long)(first + i));
            return xc_fail_at(err, XC_E_FORMAT, "%s: byte %llu", path,
                              (unsigned long long)(t->source_offset + (uint64_t)(first + i) * (t->source_format == XC_FMT_F32 ? 4u : 2u)));
        }
    return XC_OK;
}

static enum xc_status checkpoint_read(struct xc_source *src, const struct xc_tensor *t, int64_t first, int64_t n, float *dst, struct xc_err *err)
{
    const struct xc_checkpoint *cp = (const struct xc_checkpoint *)src;
    const struct xc_st_file *f = &cp->files[t->source_file];
    const size_t size = t->source_format == XC_FMT_F32 ? 4 : 2;
    const int64_t step = (int64_t)(WINDOW / size);
    uint16_t *window = NULL;
    enum xc_status status = XC_OK;

    if (size == 2) {
        window = xc_malloc(WINDOW);
        if (!window) return xc_fail_nomem(err, WINDOW);
    }
    for (int64_t i = 0; i < n && status == XC_OK; i += step) {
        const int64_t m = xc_min_i64(step, n - i);

        status = pread_all(f->fd, window ? (void *)window : (void *)(dst + i), (size_t)m * size, t->source_offset + (uint64_t)(first + i) * size, f->path, err);
        if (status != XC_OK) break;
        if (t->source_format == XC_FMT_F16) xc_kernels()->f16_to_f32(dst + i, window, m);
        else if (t->source_format == XC_FMT_BF16) xc_kernels()->bf16_to_f32(dst + i, window, m);
        status = check_finite(t, dst + i, first + i, m, f->path, err);
    }
    xc_free(window);
    return status;
}

enum xc_status xc_checkpoint_new(struct xc_checkpoint **out, struct xc_err *err)
{
    *out = xc_calloc(1, sizeof **out);
    if (!*out) return xc_fail_nomem(err, sizeof **out);
    (*out)->base = (struct xc_source){ .read_f32 = checkpoint_read, .unref = checkpoint_unref, .refs = 1 };
    return XC_OK;
}

enum xc_status xc_checkpoint_open(struct xc_checkpoint **out, const char *dir, struct xc_err *err)
{
    enum xc_status status;

    XC_TRY(xc_checkpoint_new(out, err));
    status = open_dir(*out, dir, err);
    if (status != XC_OK) xc_checkpoint_unref(out);
    return status;
}

void xc_checkpoint_unref(struct xc_checkpoint **cp)
{
    if (*cp) (*cp)->base.unref(&(*cp)->base);
    *cp = NULL;
}

bool xc_st_is_float(const struct xc_st_tensor *st) { return !strcmp(st->dtype, "F32") || !strcmp(st->dtype, "F16") || !strcmp(st->dtype, "BF16"); }

enum xc_status xc_checkpoint_bind(struct xc_checkpoint *cp, struct xc_tensor *t, const struct xc_st_tensor *st, struct xc_err *err)
{
    if (!xc_st_is_float(st)) {
        xc_fail(err, XC_E_UNSUPPORTED, "tensor '%s' is stored as %s; F32, F16 and BF16 are read: convert the checkpoint", st->name, st->dtype);
        return (size_t)st->file < cp->n_files ? xc_fail_at(err, XC_E_UNSUPPORTED, "%s", cp->files[st->file].path) : XC_E_UNSUPPORTED;
    }
    t->source = &cp->base;
    __atomic_add_fetch(&cp->base.refs, 1, __ATOMIC_RELAXED);
    t->source_offset = st->offset;
    t->source_format = !strcmp(st->dtype, "F16") ? XC_FMT_F16 : !strcmp(st->dtype, "BF16") ? XC_FMT_BF16 : XC_FMT_F32;
    t->source_file = (uint8_t)st->file;
    return XC_OK;
}
