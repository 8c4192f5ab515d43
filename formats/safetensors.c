/* safetensors: see safetensors.h. Everything in a header is hostile until checked here. */
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
#include "runtime/base/atomic_file.h"
#include "runtime/base/half.h"
#include "runtime/kernels/kernels.h"

#define MAX_HEADER ((size_t)100 << 20) /* as the reference implementation */
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

static enum xc_status read_entry(struct xc_st_tensor *t, const char *key, const json_t *entry, uint64_t data_at, uint64_t file_size, struct xc_err *err)
{
    const char *dtype;
    json_t *shape, *offsets;
    int64_t begin, end;
    size_t count = 1, bytes;

    XC_TRY(xc_json_str(&dtype, entry, "dtype", err));
    XC_TRY(xc_json_array(&shape, entry, "shape", err));
    XC_TRY(xc_json_array(&offsets, entry, "data_offsets", err));
    if (!dtype_size(dtype)) return xc_fail(err, XC_E_UNSUPPORTED, "tensor '%s' has unknown dtype '%s'", key, dtype);
    if (json_array_size(shape) > XC_ARRAY_LEN(t->dim)) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has %zu axes", key, json_array_size(shape));
    for (size_t i = 0; i < json_array_size(shape); i++)
        if (!xc_json_as_int(&t->dim[i], json_array_get(shape, i), 0, INT64_MAX / 16) || !xc_mul_ok(&count, count, (size_t)t->dim[i]))
            return xc_fail(err, XC_E_FORMAT, "tensor '%s': axis %zu is no size, or the shape overflows", key, i);
    if (json_array_size(offsets) != 2 || !xc_json_as_int(&begin, json_array_get(offsets, 0), 0, INT64_MAX) || !xc_json_as_int(&end, json_array_get(offsets, 1), begin, INT64_MAX))
        return xc_fail(err, XC_E_FORMAT, "tensor '%s': data_offsets must be two rising numbers", key);
    if (!xc_mul_ok(&bytes, count, (size_t)dtype_size(dtype)) || bytes != (uint64_t)(end - begin))
        return xc_fail(err, XC_E_FORMAT, "tensor '%s': its shape needs %zu bytes, data_offsets give %llu", key, bytes, (unsigned long long)(end - begin));
    if ((uint64_t)end > file_size - data_at)
        return xc_fail(err, XC_E_FORMAT, "tensor '%s' ends at byte %llu of the data, the file has %llu (is it cut off?)", key, (unsigned long long)end,
                       (unsigned long long)(file_size - data_at));
    t->rank = (int32_t)json_array_size(shape);
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
            return xc_fail(err, XC_E_FORMAT, "tensor '%s' %s", t[i].name, t[i].offset < at ? "overlaps the one before it" : "leaves a hole before it");
        at += t[i].bytes;
    }
    return at == file_size ? XC_OK : xc_fail(err, XC_E_FORMAT, "%llu bytes after the last tensor", (unsigned long long)(file_size - at));
}

enum xc_status xc_safetensors_header(struct xc_checkpoint *cp, const char *json, size_t n, uint64_t data_at, uint64_t file_size, int32_t file, const char *name,
                                     struct xc_err *err)
{
    const struct xc_json_limits limits = { MAX_HEADER, 8, (size_t)4 << 20 };
    const size_t first = cp->n_tensors;
    json_t *root = NULL, *entry;
    const char *key;
    enum xc_status status;

    XC_TRY(xc_json_parse(&root, json, n, name, &limits, err));
    status = json_is_object(root) ? XC_OK : xc_fail(err, XC_E_FORMAT, "the header is not a JSON object");
    if (status == XC_OK) {
        json_object_foreach(root, key, entry) {
            struct xc_st_tensor t = { .file = file };

            if (!strcmp(key, "__metadata__")) continue;
            status = read_entry(&t, key, entry, data_at, file_size, err);
            if (status == XC_OK) status = xc_grow((void **)&cp->tensors, &cp->cap_tensors, cp->n_tensors + 1, sizeof t, err);
            if (status != XC_OK) break;
            t.name = xc_strdup(key);
            if (!t.name) {
                status = xc_fail_nomem(err, strlen(key) + 1);
                break;
            }
            cp->tensors[cp->n_tensors++] = t;
        }
    }
    xc_json_free(&root);
    if (status == XC_OK) status = check_cover(cp->tensors + first, cp->n_tensors - first, data_at, file_size, err);
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

static enum xc_status read_file(struct xc_checkpoint *cp, const char *path, struct xc_err *err)
{
    uint8_t size_bytes[8];
    uint64_t size = 0;
    int32_t file = 0;
    char *json;
    enum xc_status status;

    XC_TRY(open_file(cp, path, &file, err));
    XC_TRY(pread_all(cp->files[file].fd, size_bytes, 8, 0, path, err));
    for (int i = 7; i >= 0; i--) size = size << 8 | size_bytes[i];
    if (size > MAX_HEADER || size > cp->files[file].size - 8) {
        xc_fail(err, XC_E_FORMAT, "the header claims %llu bytes, the file has %llu (is it cut off, or no safetensors file?)", (unsigned long long)size, (unsigned long long)cp->files[file].size);
        return xc_fail_at(err, XC_E_FORMAT, "%s: byte 0", path);
    }
    json = xc_malloc((size_t)size);
    if (!json) return xc_fail_nomem(err, (size_t)size);
    status = pread_all(cp->files[file].fd, json, (size_t)size, 8, path, err);
    if (status == XC_OK) status = xc_safetensors_header(cp, json, (size_t)size, 8 + size, cp->files[file].size, file, path, err);
    xc_free(json);
    return status;
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct xc_st_tensor *)a)->name, ((const struct xc_st_tensor *)b)->name); }

static enum xc_status sort_names(struct xc_checkpoint *cp, const char *path, struct xc_err *err)
{
    if (cp->n_tensors) qsort(cp->tensors, cp->n_tensors, sizeof *cp->tensors, by_name);
    for (size_t i = 1; i < cp->n_tensors; i++)
        if (!strcmp(cp->tensors[i - 1].name, cp->tensors[i].name)) {
            xc_fail(err, XC_E_FORMAT, "tensor '%s' is in two shards", cp->tensors[i].name);
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
static bool safe_name(const char *name) { return name[0] && !strchr(name, '/') && strcmp(name, "..") && strcmp(name, "."); }

static enum xc_status read_shards(struct xc_checkpoint *cp, const char *dir, const json_t *map, const char *index, struct xc_err *err)
{
    const char *key;
    json_t *value;
    char path[4096];

    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        const char *shard = json_string_value(value);
        bool known = false;

        if (!shard || !safe_name(shard)) return xc_fail(err, XC_E_FORMAT, "tensor '%s' is in shard '%s', which is no plain file name", key, shard ? shard : "(not a string)");
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, shard) >= sizeof path) return xc_fail(err, XC_E_FORMAT, "the name of shard '%s' is too long", shard);
        for (size_t i = 0; i < cp->n_files; i++) known |= !strcmp(cp->files[i].path, path);
        if (known) continue;
        if (cp->n_files >= 255) return xc_fail(err, XC_E_LIMIT, "more than 255 shards");
        XC_TRY(read_file(cp, path, err));
    }
    XC_TRY(sort_names(cp, index, err));
    json_object_foreach((json_t *)(uintptr_t)map, key, value) {
        const struct xc_st_tensor *t = xc_checkpoint_find(cp, key);
        const char *slash = t ? strrchr(cp->files[t->file].path, '/') : NULL;

        if (!t || !slash || strcmp(slash + 1, json_string_value(value))) return xc_fail(err, XC_E_FORMAT, "tensor '%s' is not in shard '%s'", key, json_string_value(value));
    }
    return XC_OK;
}

static enum xc_status open_dir(struct xc_checkpoint *cp, const char *dir, struct xc_err *err)
{
    char path[4096], index[4096];
    json_t *root = NULL, *map;
    enum xc_status status;

    if ((size_t)snprintf(path, sizeof path, "%s/model.safetensors", dir) >= sizeof path ||
        (size_t)snprintf(index, sizeof index, "%s/model.safetensors.index.json", dir) >= sizeof index)
        return xc_fail(err, XC_E_ARG, "the path is too long");
    if (access(index, F_OK) || !access(path, F_OK)) {
        XC_TRY(read_file(cp, path, err));
        return sort_names(cp, path, err);
    }
    XC_TRY(xc_json_load(&root, index, NULL, err));
    status = xc_json_object(&map, root, "weight_map", err);
    if (status == XC_OK) status = read_shards(cp, dir, map, index, err);
    xc_json_free(&root);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", index);
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
static enum xc_status check_finite(const struct xc_tensor *t, const float *x, int64_t first, int64_t n, const char *path, struct xc_err *err)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) {
            xc_fail(err, XC_E_FORMAT, "tensor '%s' holds %s at element %lld", t->name, isnan(x[i]) ? "NaN" : "infinity", (long long)(first + i));
            return xc_fail_at(err, XC_E_FORMAT, "%s", path);
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

enum xc_status xc_checkpoint_open(struct xc_checkpoint **out, const char *dir, struct xc_err *err)
{
    struct xc_checkpoint *cp = xc_calloc(1, sizeof *cp);
    enum xc_status status;

    *out = NULL;
    if (!cp) return xc_fail_nomem(err, sizeof *cp);
    cp->base = (struct xc_source){ .read_f32 = checkpoint_read, .unref = checkpoint_unref, .refs = 1 };
    status = open_dir(cp, dir, err);
    if (status != XC_OK) {
        checkpoint_unref(&cp->base);
        return status;
    }
    *out = cp;
    return XC_OK;
}

void xc_checkpoint_unref(struct xc_checkpoint **cp)
{
    if (*cp) (*cp)->base.unref(&(*cp)->base);
    *cp = NULL;
}

enum xc_status xc_checkpoint_bind(struct xc_checkpoint *cp, struct xc_tensor *t, const struct xc_st_tensor *st, struct xc_err *err)
{
    uint8_t format = XC_FMT_F32;

    if (!strcmp(st->dtype, "F16")) format = XC_FMT_F16;
    else if (!strcmp(st->dtype, "BF16")) format = XC_FMT_BF16;
    else if (strcmp(st->dtype, "F32")) {
        xc_fail(err, XC_E_UNSUPPORTED, "tensor '%s' is stored as %s; F32, F16 and BF16 are read", st->name, st->dtype);
        return xc_fail_at(err, XC_E_UNSUPPORTED, "%s", cp->files[st->file].path);
    }
    t->source = &cp->base;
    __atomic_add_fetch(&cp->base.refs, 1, __ATOMIC_RELAXED);
    t->source_offset = st->offset;
    t->source_format = format;
    t->source_file = (uint8_t)st->file;
    return XC_OK;
}

/* ---- writing ---- */
static enum xc_status header_json(char **text, size_t *len, struct xc_tensor *const *tensors, int32_t n, int format, struct xc_err *err)
{
    const int64_t size = format == XC_FMT_F32 ? 4 : 2;
    json_t *root = json_object(), *meta = json_pack("{s:s}", "format", "pt");
    int64_t at = 0;
    bool bad = !root || json_object_set_new(root, "__metadata__", meta);
    enum xc_status status;

    for (int32_t i = 0; i < n && !bad; i++) {
        json_t *shape = json_array();
        const int64_t bytes = xc_tensor_count(tensors[i]) * size;

        for (int32_t k = 0; k < tensors[i]->rank; k++) bad |= json_array_append_new(shape, json_integer(tensors[i]->dim[k])) != 0;
        bad |= json_object_set_new(root, tensors[i]->name, json_pack("{s:s, s:o, s:[I,I]}", "dtype", format == XC_FMT_F32 ? "F32" : format == XC_FMT_F16 ? "F16" : "BF16", "shape", shape,
                                                                     "data_offsets", (json_int_t)at, (json_int_t)(at + bytes))) != 0;
        at += bytes;
    }
    status = bad ? xc_fail_nomem(err, 0) : xc_json_text(text, len, root, 0, err);
    xc_json_free(&root);
    return status;
}

static enum xc_status write_tensor(struct xc_atomic_file *f, const struct xc_tensor *t, int format, struct xc_err *err)
{
    const int64_t cols = xc_tensor_cols(t), rows = xc_tensor_rows(t), step = xc_max_i64(1, (int64_t)(WINDOW / 4) / cols);
    float *x = xc_malloc((size_t)(xc_min_i64(step, rows) * cols) * 4);
    uint16_t *h = xc_malloc((size_t)(xc_min_i64(step, rows) * cols) * 2);
    enum xc_status status = x && h ? XC_OK : xc_fail_nomem(err, WINDOW);

    for (int64_t r = 0; r < rows && status == XC_OK; r += step) {
        const int64_t n = xc_min_i64(step, rows - r), count = n * cols;

        status = xc_tensor_rows_to_f32(t, r, n, x, err);
        if (status != XC_OK) break;
        for (int64_t i = 0; i < count && format != XC_FMT_F32; i++) h[i] = format == XC_FMT_F16 ? xc_f32_to_f16(x[i]) : xc_f32_to_bf16(x[i]);
        status = format == XC_FMT_F32 ? xc_atomic_write(f, x, (size_t)count * 4, err) : xc_atomic_write(f, h, (size_t)count * 2, err);
    }
    xc_free(x);
    xc_free(h);
    return status;
}

enum xc_status xc_safetensors_write(const char *path, struct xc_tensor *const *tensors, int32_t n, int format, struct xc_err *err)
{
    struct xc_atomic_file *f = NULL;
    char *text = NULL;
    size_t len, padded;
    uint8_t size[8];
    enum xc_status status;

    XC_TRY(header_json(&text, &len, tensors, n, format, err));
    while (len && text[len - 1] == '\n') len--;
    padded = (len + 7) / 8 * 8;
    for (int i = 0; i < 8; i++) size[i] = (uint8_t)(padded >> (8 * i));
    status = xc_atomic_open(&f, path, err);
    if (status == XC_OK) status = xc_atomic_write(f, size, 8, err);
    if (status == XC_OK) status = xc_atomic_write(f, text, len, err);
    if (status == XC_OK) status = xc_atomic_write(f, "       ", padded - len, err);
    for (int32_t i = 0; i < n && status == XC_OK; i++) status = write_tensor(f, tensors[i], format, err);
    xc_free(text);
    if (status != XC_OK) {
        xc_atomic_discard(&f);
        return status;
    }
    return xc_atomic_commit(&f, err);
}
