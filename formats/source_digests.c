/* source_digests: XXH3-128 of every file that a model is read from, in the order of their names: what a manifest says about its source. Or, without reading
 * them, which files they are and when they were changed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_STATIC_LINKING_ONLY /* the state by value: no allocation of its own */
#include <xxhash.h>

#include "formats/hf_modules.h"
#include "formats/load.h"

#define WINDOW ((size_t)1 << 20)

struct visit {
    bool read; /* digests; else identities */
    int (*fn)(void *arg, const char *file, uint64_t size, const char hex[33]);
    void *arg;
    const bool *stop; /* NULL = nobody asks; set by another thread */
};

static bool stopped(const struct visit *v) { return v->stop && __atomic_load_n(v->stop, __ATOMIC_RELAXED); }

static void to_hex(char hex[33], XXH128_hash_t h) { snprintf(hex, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64); }

static enum xc_status digest_fd(int fd, const struct visit *v, uint64_t *size, char hex[33], struct xc_err *err)
{
    uint8_t *const buf = xc_malloc(WINDOW);
    XXH3_state_t *const state = xc_alloc_aligned(sizeof *state);
    enum xc_status status = buf && state ? XC_OK : xc_fail_nomem(err, WINDOW);
    ssize_t n = 1;

    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* who reads with us finds it there */
    if (status == XC_OK) XXH3_128bits_reset(state);
    while (status == XC_OK && n != 0) {
        n = read(fd, buf, WINDOW);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = xc_fail_errno(err, errno, "cannot read");
        else XXH3_128bits_update(state, buf, (size_t)n);
        *size += n > 0 ? (uint64_t)n : 0;
        if (stopped(v)) status = xc_fail(err, XC_E_CANCELLED, "stopped");
    }
    if (status == XC_OK) to_hex(hex, XXH3_128bits_digest(state));
    xc_free(state);
    xc_free(buf);
    return status;
}

static void identify(const struct stat *st, uint64_t *size, char hex[33])
{
    const int64_t facts[] = { (int64_t)st->st_dev, (int64_t)st->st_ino, (int64_t)st->st_size, (int64_t)st->st_mtim.tv_sec, (int64_t)st->st_mtim.tv_nsec,
                              (int64_t)st->st_ctim.tv_sec, (int64_t)st->st_ctim.tv_nsec };

    *size = (uint64_t)st->st_size;
    to_hex(hex, XXH3_128bits(facts, sizeof facts));
}

static enum xc_status digest_file(const char *path, const struct visit *v, uint64_t *size, char hex[33], struct xc_err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    enum xc_status status;

    *size = 0;
    if (fd < 0 || fstat(fd, &st)) status = xc_fail_errno(err, errno, "cannot open");
    else if (!S_ISREG(st.st_mode)) status = xc_fail(err, XC_E_IO, "not a regular file");
    else if (v->read) status = digest_fd(fd, v, size, hex, err);
    else status = XC_OK, identify(&st, size, hex);
    if (fd >= 0) close(fd);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", path);
}

/* ---- which files ---- */
struct name_set {
    char **names;
    size_t n, cap;
};

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum xc_status add_name(struct name_set *set, const char *folder, const char *file, struct xc_err *err)
{
    const size_t n = strlen(folder) + strlen(file) + 2;
    char *name;

    XC_TRY(xc_grow((void **)&set->names, &set->cap, set->n + 1, sizeof *set->names, err));
    name = xc_malloc(n);
    if (!name) return xc_fail_nomem(err, n);
    snprintf(name, n, "%s%s%s", folder, folder[0] ? "/" : "", file);
    set->names[set->n++] = name;
    return XC_OK;
}

static bool wanted(const char *name, bool module)
{
    static const char *const names[] = { "config.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json",
                                         "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer.model", "spm.model", "model.safetensors.index.json" };
    const size_t n = strlen(name);

    for (size_t i = 0; i < (module ? 1 : XC_ARRAY_LEN(names)); i++)
        if (!strcmp(name, names[i])) return true;
    return n > 12 && !strcmp(name + n - 12, ".safetensors");
}

/* The files of one folder; of the folders below it those that modules.json may name ("1_Pooling"). */
static enum xc_status list_folder(struct name_set *set, const char *root, const char *folder, struct xc_err *err)
{
    char path[4096];
    const struct dirent *e;
    DIR *dir;
    enum xc_status status = XC_OK;

    XC_TRY(xc_hf_path(path, sizeof path, root, folder, err));
    dir = opendir(path);
    if (!dir) return xc_fail_errno(err, errno, "cannot list '%s'", path);
    while (status == XC_OK && (e = readdir(dir)) != NULL) {
        if (wanted(e->d_name, folder[0] != '\0') && xc_hf_exists(path, e->d_name)) status = add_name(set, folder, e->d_name, err);
        else if (!folder[0] && e->d_name[0] >= '0' && e->d_name[0] <= '9' && strchr(e->d_name, '_')) {
            char config[300];

            snprintf(config, sizeof config, "%s/config.json", e->d_name);
            if (xc_hf_exists(path, config)) status = list_folder(set, root, e->d_name, err);
        }
    }
    closedir(dir);
    return status;
}

static enum xc_status digest_dir(const char *root, const struct visit *v, struct xc_err *err)
{
    struct name_set set = { 0 };
    char path[4096], hex[33];
    uint64_t size;
    enum xc_status status = list_folder(&set, root, "", err);

    if (status == XC_OK && set.n) qsort(set.names, set.n, sizeof *set.names, by_text);
    for (size_t i = 0; i < set.n && status == XC_OK; i++) {
        status = xc_hf_path(path, sizeof path, root, set.names[i], err);
        if (status == XC_OK) status = digest_file(path, v, &size, hex, err);
        if (status == XC_OK && v->fn(v->arg, set.names[i], size, hex)) status = xc_fail(err, XC_E_CANCELLED, "stopped");
    }
    for (size_t i = 0; i < set.n; i++) xc_free(set.names[i]);
    xc_free(set.names);
    return status;
}

static enum xc_status visit(const char *path, const struct visit *v, struct xc_err *err)
{
    const char *const slash = strrchr(path, '/');
    char dir[4096], hex[33];
    uint64_t size;
    struct stat st;

    if (stat(path, &st)) {
        const int e = errno;

        return xc_fail_at(err, xc_fail_errno(err, e, "cannot open"), "%s", path);
    }
    if (S_ISDIR(st.st_mode)) return digest_dir(path, v, err);
    if (xc_checkpoint_dir(dir, sizeof dir, path) && xc_hf_exists(dir, "config.json")) return digest_dir(dir, v, err);
    XC_TRY(digest_file(path, v, &size, hex, err));
    return v->fn(v->arg, slash ? slash + 1 : path, size, hex) ? xc_fail(err, XC_E_CANCELLED, "stopped") : XC_OK;
}

enum xc_status xc_source_digests(const char *path, int (*fn)(void *arg, const char *file, uint64_t size, const char hex[33]), void *arg, const bool *stop, struct xc_err *err)
{
    return visit(path, &(struct visit){ .read = true, .fn = fn, .arg = arg, .stop = stop }, err);
}

enum xc_status xc_source_identities(const char *path, int (*fn)(void *arg, const char *file, uint64_t size, const char hex[33]), void *arg, struct xc_err *err)
{
    return visit(path, &(struct visit){ .fn = fn, .arg = arg }, err);
}
