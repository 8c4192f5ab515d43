/* checkpoint: see checkpoint.h.
 *
 *   "XCTRAIN1", fingerprint u64, parts u64 (1 m, 2 v, 4 ema, 8 best), total i64, struct xc_train_state,
 *   weights, then the parts, (total) f32 each, what params->extra holds, XXH3-64 of everything before; in the byte order of the machine: it does not travel. */
#include "compress/train/checkpoint.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* the state by value: no allocation of its own */
#include <xxhash.h>

#include "runtime/base/atomic_file.h"
#include "runtime/base/buf.h"

struct head {
    char magic[8];
    uint64_t fingerprint, parts;
    int64_t total;
    struct xc_train_state state;
};

enum { PART_M = 1, PART_V = 2, PART_EMA = 4, PART_BEST = 8 };
#define N_PARTS 4

static uint64_t parts_of(const struct xc_params *p, const float *best)
{
    return (uint64_t)(PART_M | (p->v ? PART_V : 0) | (p->ema ? PART_EMA : 0) | (best ? PART_BEST : 0));
}

struct sink {
    struct xc_atomic_file *file;
    XXH3_state_t *hash;
};

static enum xc_status put(struct sink *s, const void *bytes, size_t n, struct xc_err *err)
{
    XXH3_64bits_update(s->hash, bytes, n);
    return xc_atomic_write(s->file, bytes, n, err);
}

static enum xc_status put_all(struct sink *s, const struct head *head, struct xc_params *p, const float *best, struct xc_err *err)
{
    const float *const parts[N_PARTS] = { p->m, p->v, p->ema, best };
    uint64_t hash;

    XC_TRY(put(s, head, sizeof *head, err));
    for (int32_t i = 0; i < p->n; i++) XC_TRY(put(s, p->param[i].p, (size_t)p->param[i].n * sizeof(float), err));
    for (int i = 0; i < N_PARTS; i++)
        if (parts[i]) XC_TRY(put(s, parts[i], (size_t)p->total * sizeof(float), err));
    if (p->extra) XC_TRY(put(s, p->extra, p->extra_bytes, err));
    hash = XXH3_64bits_digest(s->hash);
    return xc_atomic_write(s->file, &hash, sizeof hash, err);
}

enum xc_status xc_checkpoint_write(const char *path, uint64_t fingerprint, const struct xc_train_state *state, struct xc_params *p, const float *best, struct xc_err *err)
{
    struct head head;
    struct sink s = { .hash = xc_alloc_aligned(sizeof *s.hash) };
    enum xc_status status;

    memset(&head, 0, sizeof head);
    memcpy(head.magic, "XCTRAIN1", sizeof head.magic);
    head.fingerprint = fingerprint;
    head.parts = parts_of(p, best);
    head.total = p->total;
    head.state = *state;
    if (!s.hash) return xc_fail_nomem(err, sizeof *s.hash);
    XXH3_64bits_reset(s.hash);
    status = xc_atomic_open(&s.file, path, err);
    if (status == XC_OK) status = put_all(&s, &head, p, best, err);
    if (status == XC_OK) status = xc_atomic_commit(&s.file, err);
    else if (s.file) xc_atomic_discard(&s.file);
    xc_free(s.hash);
    return status;
}

static enum xc_status take(const struct xc_buf *buf, uint64_t fingerprint, struct xc_train_state *state, struct xc_params *p, float *best, struct xc_err *err)
{
    const uint64_t parts = parts_of(p, best);
    float *const arrays[N_PARTS] = { p->m, p->v, p->ema, best };
    const size_t one = (size_t)p->total * sizeof(float);
    const uint8_t *at = buf->data + sizeof(struct head);
    size_t want = sizeof(struct head) + sizeof(uint64_t) + one + p->extra_bytes;
    struct head head;
    uint64_t hash;

    if (buf->size < sizeof head) return xc_fail(err, XC_E_FORMAT, "no checkpoint of a training: %zu bytes", buf->size);
    memcpy(&head, buf->data, sizeof head);
    if (memcmp(head.magic, "XCTRAIN1", sizeof head.magic)) return xc_fail(err, XC_E_FORMAT, "no checkpoint of a training");
    for (int i = 0; i < N_PARTS; i++)
        if (arrays[i]) want += one;
    if (head.fingerprint != fingerprint || head.parts != parts || head.total != p->total)
        return xc_fail(err, XC_E_MISMATCH, "the checkpoint is of another training: model, data and options must be the same; without --resume it starts anew");
    if (buf->size != want) return xc_fail(err, XC_E_FORMAT, "the checkpoint has %zu bytes, must have %zu", buf->size, want);
    memcpy(&hash, buf->data + want - sizeof hash, sizeof hash);
    if (hash != XXH3_64bits(buf->data, want - sizeof hash)) return xc_fail(err, XC_E_CHECKSUM, "the checkpoint is damaged");
    for (int32_t i = 0; i < p->n; i++, at += (size_t)p->param[i - 1].n * sizeof(float)) memcpy(p->param[i].p, at, (size_t)p->param[i].n * sizeof(float));
    for (int i = 0; i < N_PARTS; i++) {
        if (!arrays[i]) continue;
        memcpy(arrays[i], at, one);
        at += one;
    }
    xc_params_moved(p);
    if (p->extra) memcpy(p->extra, at, p->extra_bytes);
    *state = head.state;
    return XC_OK;
}

enum xc_status xc_checkpoint_read(const char *path, uint64_t fingerprint, struct xc_train_state *state, struct xc_params *p, float *best, struct xc_err *err)
{
    struct xc_buf *buf = NULL;
    enum xc_status status;

    if (access(path, F_OK) && errno == ENOENT) {
        xc_fail(err, XC_E_NOT_FOUND, "there is no checkpoint to go on from");
        return xc_fail_at(err, XC_E_NOT_FOUND, "%s", path);
    }
    XC_TRY(xc_buf_map(&buf, path, err));
    status = take(buf, fingerprint, state, p, best, err);
    xc_buf_unref(&buf);
    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "%s", path);
}
