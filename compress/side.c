/* side: see side.h. */
#include "compress/side.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#define UNIT 4096
#define SMALL_PART 16384 /* bytes: what is smaller is copied to the heap, since a process may map only so many places */
#define WAIT_SECONDS 1.0
#define MAX_PART ((uint64_t)1 << 44)

static const char magic[8] = "XCSIDE1";

struct record {
    char magic[8];
    int32_t stage;
    struct xc_encoding enc;
    uint64_t part_bytes[XC_PART_COUNT];
    double error, sparsity;
    int64_t clamped;
    uint64_t data_hash[2];
    char name[256], why[160];
    uint64_t head_hash; /* of all before it */
};
_Static_assert(sizeof(struct record) <= UNIT, "a record's head is one unit");

struct known {
    struct record head;
    uint64_t at; /* of its parts */
};

struct waiting {
    struct xc_tensor *t;
    struct record head;
};

struct xc_side {
    char *path;
    int fd; /* -1: no file yet */
    uint64_t key[2], end, memory, wait_bytes;
    struct known *known;
    struct waiting *wait;
    size_t n_known, cap_known, n_wait, cap_wait;
    double begin;
};

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t round_unit(uint64_t n) { return (n + UNIT - 1) / UNIT * UNIT; }

static uint64_t data_bytes(const struct record *r)
{
    uint64_t n = 0;

    for (int p = 0; p < XC_PART_COUNT; p++) n += r->part_bytes[p] < MAX_PART ? round_unit(r->part_bytes[p]) : MAX_PART;
    return n;
}

static bool read_all(int fd, void *to, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        const ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)(at + done));

        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        done += (size_t)got;
    }
    return true;
}

static enum xc_status write_all(const struct xc_side *s, const void *from, size_t n, uint64_t at, struct xc_err *err)
{
    for (size_t done = 0; done < n;) {
        const ssize_t put = pwrite(s->fd, (const char *)from + done, n - done, (off_t)(at + done));
        const int e = errno;

        if (put < 0 && e == EINTR) continue;
        if (put < 0) return xc_fail_at(err, xc_fail_errno(err, e, "cannot write finished layers (make room and run the same command to go on, or remove this file)"), "%s", s->path);
        done += (size_t)put;
    }
    return XC_OK;
}

/* ---- reading what an interrupted run left ---- */
static uint64_t head_hash(const struct record *r) { return XXH3_64bits(r, offsetof(struct record, head_hash)); }

static void data_hash(uint64_t hash[2], const struct record *r, struct xc_buf *const part[XC_PART_COUNT])
{
    hash[0] = hash[1] = 0;
    for (int p = 0; p < XC_PART_COUNT; p++)
        if (r->part_bytes[p]) {
            const XXH128_hash_t h = XXH3_128bits_withSeed(part[p]->data, part[p]->size, hash[0]);

            hash[0] = h.low64;
            hash[1] ^= h.high64;
        }
}

static bool read_header(const struct xc_side *s)
{
    struct { char magic[8]; uint64_t key[2]; } h;

    return read_all(s->fd, &h, sizeof h, 0) && !memcmp(h.magic, magic, sizeof magic) && h.key[0] == s->key[0] && h.key[1] == s->key[1];
}

static enum xc_status scan(struct xc_side *s, uint64_t size, struct xc_err *err)
{
    s->end = UNIT;
    while (size - s->end >= UNIT) {
        struct known k = { .at = s->end + UNIT };

        if (!read_all(s->fd, &k.head, sizeof k.head, s->end) || memcmp(k.head.magic, magic, sizeof magic) || k.head.head_hash != head_hash(&k.head)) break;
        if (data_bytes(&k.head) > size - k.at) break;
        XC_TRY(xc_grow((void **)&s->known, &s->cap_known, s->n_known + 1, sizeof *s->known, err));
        s->known[s->n_known++] = k;
        s->end = k.at + data_bytes(&k.head);
    }
    return XC_OK;
}

enum xc_status xc_side_open(struct xc_side **out, const char *path, const uint64_t key[2], bool resume, uint64_t memory, struct xc_err *err)
{
    const size_t n = strlen(path) + sizeof ".resume";
    struct xc_side *s = xc_calloc(1, sizeof *s);
    off_t size = 0;
    enum xc_status status = XC_OK;

    *out = NULL;
    if (!s) return xc_fail_nomem(err, sizeof *s);
    s->fd = -1;
    s->path = xc_malloc(n);
    if (!s->path) {
        xc_side_close(&s, true);
        return xc_fail_nomem(err, n);
    }
    snprintf(s->path, n, "%s.resume", path);
    s->key[0] = key[0];
    s->key[1] = key[1];
    s->memory = memory;
    s->end = UNIT;
    s->begin = seconds();
    s->fd = open(s->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (s->fd >= 0 && flock(s->fd, LOCK_EX | LOCK_NB)) { /* another run: it has the file */
        xc_side_close(&s, true);
        return XC_OK;
    }
    if (s->fd >= 0 && resume && read_header(s)) size = lseek(s->fd, 0, SEEK_END);
    if (size >= UNIT) status = scan(s, (uint64_t)size, err);
    if (s->fd >= 0 && !s->n_known) { /* of another run, or empty: nobody needs it */
        unlink(s->path);
        close(s->fd);
        s->fd = -1;
    }
    if (status != XC_OK) xc_side_close(&s, true);
    else *out = s;
    return status;
}

/* Parts of a record as mappings; small ones as copies. */
static enum xc_status fetch(const struct xc_side *s, struct xc_buf *part[XC_PART_COUNT], const struct record *r, uint64_t at, struct xc_err *err)
{
    enum xc_status status = XC_OK;

    for (int p = 0; p < XC_PART_COUNT && status == XC_OK; p++) {
        const size_t n = (size_t)r->part_bytes[p];

        if (!n) continue;
        if (n >= SMALL_PART && xc_buf_map_range(&part[p], s->fd, at, n, NULL) == XC_OK) {
            at += round_unit(n);
            continue;
        }
        status = xc_buf_new(&part[p], n, err);
        if (status == XC_OK && !read_all(s->fd, part[p]->data, n, at)) status = xc_fail(err, XC_E_IO, "cannot read finished layers from '%s'", s->path);
        at += round_unit(n);
    }
    if (status != XC_OK)
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    return status;
}

static void release_parts(struct xc_buf *part[XC_PART_COUNT])
{
    for (int p = 0; p < XC_PART_COUNT; p++) {
        if (part[p]) xc_buf_forget(part[p]);
        xc_buf_unref(&part[p]);
    }
}

static bool same_encoding(const struct xc_encoding *a, const struct xc_encoding *b)
{
    return a->format == b->format && a->structure == b->structure && a->layout == b->layout && a->scale_format == b->scale_format && a->zero_point == b->zero_point &&
           a->sum16 == b->sum16 && a->perm_rows == b->perm_rows && a->perm_cols == b->perm_cols && a->group == b->group && a->n == b->n && a->m == b->m &&
           a->block_rows == b->block_rows && a->block_cols == b->block_cols;
}

bool xc_side_take(struct xc_side *s, int32_t stage, const struct xc_encoding *want, struct xc_tensor *t, struct xc_layer_report *l)
{
    for (size_t i = 0; s && i < s->n_known; i++) {
        const struct record *const r = &s->known[i].head;
        struct xc_buf *part[XC_PART_COUNT] = { NULL };
        uint64_t hash[2];
        bool good;

        if (r->stage != stage || strncmp(r->name, t->name, sizeof r->name) || !same_encoding(&r->enc, want)) continue;
        if (fetch(s, part, r, s->known[i].at, NULL) != XC_OK) return false;
        data_hash(hash, r, part);
        good = hash[0] == r->data_hash[0] && hash[1] == r->data_hash[1] && xc_tensor_set_encoded(t, &r->enc, part, NULL) == XC_OK;
        release_parts(part);
        if (!good) return false; /* damaged: it is made again */
        l->error = r->error;
        l->sparsity = r->sparsity;
        l->clamped = r->clamped;
        snprintf(l->why, sizeof l->why, "%s", r->why);
        return true;
    }
    return false;
}

/* ---- writing ---- */
static enum xc_status begin_file(struct xc_side *s, struct xc_err *err)
{
    struct { char magic[8]; uint64_t key[2]; } h = { .key = { s->key[0], s->key[1] } };

    if (s->fd >= 0) return XC_OK;
    memcpy(h.magic, magic, sizeof magic);
    s->fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0) {
        const int e = errno;

        return xc_fail_at(err, xc_fail_errno(err, e, "cannot keep finished layers"), "%s", s->path);
    }
    (void)!flock(s->fd, LOCK_EX | LOCK_NB);
    s->end = UNIT;
    return write_all(s, &h, sizeof h, 0, err);
}

/* The parts first and the head last: a record exists once it is whole. */
static enum xc_status write_one(struct xc_side *s, struct waiting *w, struct xc_err *err)
{
    struct xc_buf *part[XC_PART_COUNT] = { NULL };
    const struct xc_encoding enc = w->t->enc;
    uint64_t at = s->end + UNIT;
    enum xc_status status = XC_OK;

    if (!same_encoding(&enc, &w->head.enc)) return XC_OK; /* a later pass has it now */
    data_hash(w->head.data_hash, &w->head, w->t->part);
    w->head.head_hash = head_hash(&w->head);
    for (int p = 0; p < XC_PART_COUNT; p++) {
        if (w->head.part_bytes[p]) XC_TRY(write_all(s, w->t->part[p]->data, w->t->part[p]->size, at, err));
        at += round_unit(w->head.part_bytes[p]);
    }
    if (ftruncate(s->fd, (off_t)at)) return xc_fail_errno(err, errno, "cannot write '%s'", s->path); /* the last part to a whole unit */
    XC_TRY(write_all(s, &w->head, sizeof w->head, s->end, err));
    XC_TRY(fetch(s, part, &w->head, s->end + UNIT, err));
    status = xc_tensor_set_encoded(w->t, &enc, part, err);
    release_parts(part);
    s->end = at;
    return status;
}

static enum xc_status flush(struct xc_side *s, struct xc_err *err)
{
    XC_TRY(begin_file(s, err));
    for (size_t i = 0; i < s->n_wait; i++) XC_TRY(write_one(s, &s->wait[i], err));
    s->n_wait = 0;
    s->wait_bytes = 0;
    return XC_OK;
}

enum xc_status xc_side_put(struct xc_side *s, int32_t stage, struct xc_tensor *t, const struct xc_layer_report *l, struct xc_err *err)
{
    struct waiting *w;

    if (!s) return XC_OK;
    XC_TRY(xc_grow((void **)&s->wait, &s->cap_wait, s->n_wait + 1, sizeof *s->wait, err));
    w = &s->wait[s->n_wait++];
    *w = (struct waiting){ .t = t, .head = { .stage = stage, .error = l->error, .sparsity = l->sparsity, .clamped = l->clamped } };
    memcpy(w->head.magic, magic, sizeof magic);
    memcpy(&w->head.enc, &t->enc, sizeof t->enc);
    snprintf(w->head.name, sizeof w->head.name, "%s", t->name);
    snprintf(w->head.why, sizeof w->head.why, "%s", l->why);
    for (int p = 0; p < XC_PART_COUNT; p++) {
        w->head.part_bytes[p] = t->part[p] ? t->part[p]->size : 0;
        s->wait_bytes += w->head.part_bytes[p];
    }
    return s->wait_bytes > s->memory || seconds() - s->begin > WAIT_SECONDS ? flush(s, err) : XC_OK;
}

void xc_side_settle(struct xc_side *s)
{
    if (!s) return;
    s->n_wait = 0;
    s->wait_bytes = 0;
}

void xc_side_close(struct xc_side **side, bool keep)
{
    struct xc_side *s = *side;

    *side = NULL;
    if (!s) return;
    if (keep && s->n_wait && seconds() - s->begin > WAIT_SECONDS) (void)!flush(s, NULL);
    if (s->fd >= 0) {
        if (!keep) unlink(s->path);
        close(s->fd);
    }
    xc_free(s->known);
    xc_free(s->wait);
    xc_free(s->path);
    xc_free(s);
}
