/* load: a model of any known format, found from its content; and the digests of its files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "formats/formats.h"
#include "runtime/container/container.h"

#define FORMAT(name) extern const struct xc_format_reader xc_format_##name;
#include "formats/formats.def"
#undef FORMAT

static const struct xc_format_reader *const readers[] = {
#define FORMAT(name) &xc_format_##name,
#include "formats/formats.def"
#undef FORMAT
};

/* ---- our own file ---- */
static int xc_probe(const char *path)
{
    uint8_t head[64];
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t n;

    if (fd < 0) return 0;
    n = read(fd, head, sizeof head);
    close(fd);
    return n > 0 && xc_container_probe(head, (size_t)n);
}

static enum xc_status xc_load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err)
{
    const struct xc_read_opts read = { 0 };

    (void)opts;
    return xc_container_read(out, path, &read, err);
}

const struct xc_format_reader xc_format_xc = { .name = "xc", .probe = xc_probe, .load = xc_load };

/* ---- any ---- */
/* A weights file inside a checkpoint directory stands for the directory. */
static bool directory_of(char *out, size_t n, const char *path)
{
    const char *slash = strrchr(path, '/');
    const size_t len = strlen(path);

    if (len < 12 || strcmp(path + len - 12, ".safetensors") || (size_t)(slash ? slash - path : 1) >= n) return false;
    if (slash) snprintf(out, n, "%.*s", (int)(slash - path), path);
    else snprintf(out, n, ".");
    return true;
}

enum xc_status xc_model_load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err)
{
    static const struct xc_load_opts defaults;
    char dir[4096];
    struct stat st;

    *out = NULL;
    if (!opts) opts = &defaults;
    if (stat(path, &st)) {
        const int e = errno;

        return xc_fail_at(err, xc_fail_errno(err, e, "cannot open '%s'", path), "%s", path);
    }
    if (S_ISREG(st.st_mode) && directory_of(dir, sizeof dir, path)) path = dir;
    for (size_t i = 0; i < XC_ARRAY_LEN(readers); i++)
        if (readers[i]->probe(path)) return readers[i]->load(out, path, opts, err);
    xc_fail(err, XC_E_FORMAT, "'%s' is no model that is understood: a .xc file, or a directory with config.json and model.safetensors", path);
    return xc_fail_at(err, XC_E_FORMAT, "%s", path);
}

/* ---- digests ---- */
static enum xc_status digest_file(const char *path, uint64_t *size, char hex[33], struct xc_err *err)
{
    const size_t window = (size_t)1 << 20;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *buf = xc_malloc(window);
    XXH3_state_t *state = XXH3_createState();
    enum xc_status status = XC_OK;
    ssize_t n = 0;

    *size = 0;
    if (fd < 0) status = xc_fail_errno(err, errno, "cannot open '%s'", path);
    else if (!buf || !state) status = xc_fail_nomem(err, window);
    if (status == XC_OK) XXH3_128bits_reset(state);
    while (status == XC_OK && (n = read(fd, buf, window)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = xc_fail_errno(err, errno, "cannot read '%s'", path);
        else XXH3_128bits_update(state, buf, (size_t)n);
        *size += n > 0 ? (uint64_t)n : 0;
    }
    if (status == XC_OK) {
        const XXH128_hash_t h = XXH3_128bits_digest(state);

        snprintf(hex, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
    }
    XXH3_freeState(state);
    xc_free(buf);
    if (fd >= 0) close(fd);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", path);
}

static int wanted(const struct dirent *e)
{
    static const char *const names[] = { "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt",
                                         "modules.json", "sentence_bert_config.json", "model.safetensors.index.json" };
    const size_t n = strlen(e->d_name);

    for (size_t i = 0; i < XC_ARRAY_LEN(names); i++)
        if (!strcmp(e->d_name, names[i])) return 1;
    return n > 12 && !strcmp(e->d_name + n - 12, ".safetensors");
}

enum xc_status xc_source_digests(const char *path, int (*fn)(void *arg, const char *file, uint64_t size, const char hex[33]), void *arg, struct xc_err *err)
{
    struct dirent **list = NULL;
    char file[4096], dir[4096], hex[33];
    uint64_t size;
    struct stat st;
    enum xc_status status = XC_OK;
    int n;

    if (stat(path, &st)) return xc_fail_errno(err, errno, "cannot open '%s'", path);
    if (S_ISREG(st.st_mode) && !directory_of(dir, sizeof dir, path)) {
        const char *slash = strrchr(path, '/');

        XC_TRY(digest_file(path, &size, hex, err));
        fn(arg, slash ? slash + 1 : path, size, hex);
        return XC_OK;
    }
    if (S_ISREG(st.st_mode)) path = dir;
    n = scandir(path, &list, wanted, alphasort);
    if (n < 0) return xc_fail_errno(err, errno, "cannot list '%s'", path);
    for (int i = 0; i < n; i++) {
        if (status == XC_OK) {
            if ((size_t)snprintf(file, sizeof file, "%s/%s", path, list[i]->d_name) >= sizeof file) status = xc_fail(err, XC_E_ARG, "the path is too long");
            else status = digest_file(file, &size, hex, err);
            if (status == XC_OK && fn(arg, list[i]->d_name, size, hex)) status = xc_fail(err, XC_E_CANCELLED, "stopped");
        }
        free(list[i]);
    }
    free(list);
    return status;
}
