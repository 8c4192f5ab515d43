/* load: a model of any known format, found from its content. The digests of its files are in source_digests.c. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/hf_modules.h"
#include "formats/load.h"
#include "runtime/container/container.h"

#define FORMAT(name) extern const struct xc_format_reader xc_format_##name;
#include "formats/formats.def"
#undef FORMAT

static const struct xc_format_reader *const readers[] = {
#define FORMAT(name) &xc_format_##name,
#include "formats/formats.def"
#undef FORMAT
};

/* The first bytes of a regular file; 0 = none. */
static size_t head_of(const char *path, uint8_t *head, size_t n)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t got = 0;

    if (fd < 0) return 0;
    if (!fstat(fd, &st) && S_ISREG(st.st_mode)) got = pread(fd, head, n, 0);
    close(fd);
    return got > 0 ? (size_t)got : 0;
}

/* ---- our own file ---- */
static int xc_probe(const char *path)
{
    uint8_t head[64];
    const size_t n = head_of(path, head, sizeof head);

    return n && xc_container_probe(head, n);
}

static enum xc_status xc_load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err)
{
    const struct xc_read_opts read = { 0 };
    const char *task;
    char limit[16];
    enum xc_status status = XC_OK;

    if (opts->random) return xc_fail(err, XC_E_UNSUPPORTED, "weights at random are for a directory with config.json, this file has its own");
    XC_TRY(xc_container_read(out, path, &read, err));
    task = xc_model_meta(*out, "task");
    if (opts->head && (!task || strcmp(task, opts->head)))
        status = xc_fail(err, XC_E_UNSUPPORTED, "the file has the head '%s', '%s' is asked for: make it from the checkpoint", task ? task : "none", opts->head);
    if (status == XC_OK && opts->max_tokens > 0) {
        snprintf(limit, sizeof limit, "%d", opts->max_tokens);
        status = xc_model_set_meta(*out, "max_tokens", limit, err);
    }
    for (int32_t i = 0; status == XC_OK && opts->load_tensors && i < (*out)->n_tensors; i++) status = xc_tensor_load((*out)->tensors[i], err);
    if (status == XC_OK) return XC_OK;
    xc_model_free(out);
    return xc_fail_at(err, status, "%s", path);
}

const struct xc_format_reader xc_format_xc = { .name = "xc", .probe = xc_probe, .load = xc_load };

/* ---- any ---- */
bool xc_checkpoint_dir(char *out, size_t n, const char *path)
{
    const char *const slash = strrchr(path, '/');
    uint8_t head[9];
    uint64_t size = 0;

    if (head_of(path, head, sizeof head) < sizeof head || head[8] != '{') return false;
    for (int i = 7; i >= 0; i--) size = size << 8 | head[i];
    if (size > 100000000) return false;
    if (!slash) return (size_t)snprintf(out, n, ".") < n;
    return (size_t)snprintf(out, n, "%.*s", (int)(slash == path ? 1 : slash - path), path) < n;
}

/* What people try that is not read, and what to do about it. */
static enum xc_status explain(const char *path, const struct stat *st, struct xc_err *err)
{
    static const struct { const char *bytes; size_t n; const char *what, *cure; } known[] = {
        { "GGUF", 4, "a GGUF file", "load the Hugging Face checkpoint that it was made from" },
        { "PK\003\004", 4, "a zip archive or a PyTorch file", "unpack it, or save the model as safetensors (save_pretrained of transformers does)" },
        { "\x08", 1, "perhaps an ONNX file", "load the Hugging Face checkpoint that it was made from" },
        { "\x89HDF", 4, "an HDF5 file", "save the model as safetensors" },
    };
    uint8_t head[8];
    const size_t n = S_ISREG(st->st_mode) ? head_of(path, head, sizeof head) : 0;

    for (size_t i = 0; i < XC_ARRAY_LEN(known); i++)
        if (n >= known[i].n && !memcmp(head, known[i].bytes, known[i].n))
            return xc_fail(err, XC_E_UNSUPPORTED, "'%s' is %s, which is not read: %s", path, known[i].what, known[i].cure);
    if (S_ISDIR(st->st_mode) && xc_hf_exists(path, "adapter_config.json"))
        return xc_fail(err, XC_E_UNSUPPORTED, "'%s' is an adapter (LoRA), not a model: merge it into its base model first", path);
    if (S_ISDIR(st->st_mode)) return xc_fail(err, XC_E_FORMAT, "directory '%s' has no config.json: a model directory has config.json and model.safetensors", path);
    if (S_ISREG(st->st_mode) && n == 0) return xc_fail(err, XC_E_FORMAT, "'%s' is empty", path);
    return xc_fail(err, XC_E_FORMAT, "'%s' is no model that is understood: give a .xc file, or a directory with config.json and model.safetensors", path);
}

enum xc_status xc_model_load(struct xc_model **out, const char *path, const struct xc_load_opts *opts, struct xc_err *err)
{
    static const struct xc_load_opts defaults;
    char dir[4096];
    struct stat st;
    enum xc_status status;

    *out = NULL;
    if (!opts) opts = &defaults;
    if (opts->max_tokens < 0) return xc_fail(err, XC_E_RANGE, "max_tokens is %d", opts->max_tokens);
    if (stat(path, &st)) {
        const int e = errno;

        return xc_fail_at(err, xc_fail_errno(err, e, "cannot open"), "%s", path);
    }
    if (S_ISREG(st.st_mode) && xc_checkpoint_dir(dir, sizeof dir, path)) {
        if (!xc_hf_exists(dir, "config.json")) {
            xc_fail(err, XC_E_NOT_FOUND, "there is no config.json beside this safetensors file; it says what the tensors mean");
            return xc_fail_at(err, XC_E_NOT_FOUND, "%s", path);
        }
        path = dir;
    }
    for (size_t i = 0; i < XC_ARRAY_LEN(readers); i++)
        if (readers[i]->probe(path)) {
            status = readers[i]->load(out, path, opts, err);
            return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", path);
        }
    status = explain(path, &st, err);
    return xc_fail_at(err, status, "%s", path);
}
