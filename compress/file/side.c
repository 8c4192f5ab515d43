/* side: see side.h. */
#include "compress/file/side.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "compress/file/whole_io.h"
#include "runtime/base/clock.h"
#include "runtime/container/container.h"

#define UNIT 4096
#define ROOM 262144      /* between the last tensor and the journal: golden samples, manifest ... */
#define ROOM_EACH 2048   /* ... and its lines about each tensor. Where that is too little, the output is written anew */
#define SMALL_PART 16384 /* bytes: what is smaller is copied to the heap, since a process may map only so many places */
#define WAIT_SECONDS 1.0
#define DIRECT_PART ((uint64_t)1 << 20) /* bytes: larger parts go past the page cache: nobody reads them soon, and filling pages costs more than making the numbers did */
#define DIRECT_CHUNK ((size_t)4 << 20)
#define MAX_PART ((uint64_t)1 << 44)

static const char magic[8] = "XCSIDE2";

struct record {
    char magic[8];
    int32_t stage;
    struct xc_encoding enc;
    uint64_t part_bytes[XC_PART_COUNT];
    double error, sparsity;
    int64_t clamped;
    uint64_t digest[XC_PART_COUNT][2]; /* XXH3-128, as the container's */
    uint64_t place;                    /* 1 + the index in the layout when the parts are in place; 0 = they follow */
    char name[256], why[160];
    uint64_t head_hash; /* of all before it */
};
_Static_assert(sizeof(struct record) <= UNIT, "a record's head is one unit");

struct known {
    struct record head;
    uint64_t at; /* behind the head */
};

struct place {
    char name[256];
    struct xc_encoding want;
    int64_t rows, cols;
    uint64_t at[XC_PART_COUNT], digest[XC_PART_COUNT][2];
    struct xc_buf *part[XC_PART_COUNT]; /* mappings of it; a reference each, so that nothing else gets their address */
    bool taken;
};

struct waiting {
    struct xc_tensor *t;
    struct record head;
    struct xc_buf *part[XC_PART_COUNT]; /* while it is written */
    uint64_t at;                        /* of the record, once it is */
};

/* A thread of its own writes, so that those who compute need not wait for the disk. */
struct writer {
    pthread_t thread;
    bool running, threaded;
    struct waiting *batch;
    size_t n, cap;
    enum xc_status status; /* of all batches so far */
    struct xc_err err;
};

struct xc_side {
    char *path;
    int fd;          /* -1: no file yet */
    int direct;      /* the same past the page cache; -1: not, or not here */
    uint8_t *chunk;  /* room for one, and to align it */
    uint64_t key[2], base, end, memory, wait_bytes; /* base: where the journal begins */
    struct place *place;
    int32_t n_places;
    bool output; /* it has become the output */
    struct known *known;
    struct waiting *wait;
    struct writer writer; /* while it runs, the file, its end and the places are its */
    size_t n_known, cap_known, n_wait, cap_wait;
    double begin;
};

static uint64_t round_unit(uint64_t n) { return (n + UNIT - 1) / UNIT * UNIT; }

static uint64_t data_bytes(const struct record *r)
{
    uint64_t n = 0;

    for (int p = 0; p < XC_PART_COUNT; p++) n += r->part_bytes[p] < MAX_PART ? round_unit(r->part_bytes[p]) : MAX_PART;
    return n;
}

static bool read_all(int fd, void *to, size_t n, uint64_t at) { return !xc_read_whole(fd, to, n, at); }

static enum xc_status write_all(const struct xc_side *s, const void *from, size_t n, uint64_t at, struct xc_err *err)
{
    const int e = xc_write_whole(s->fd, from, n, at);

    if (!e) return XC_OK;
    return xc_fail_at(err, xc_fail_errno(err, e, "cannot write finished layers (make room and run the same command to go on, or remove this file)"), "%s", s->path);
}

/* ---- reading what an interrupted run left ---- */
static uint64_t head_hash(const struct record *r) { return XXH3_64bits(r, offsetof(struct record, head_hash)); }

static void hash_parts(uint64_t digest[XC_PART_COUNT][2], struct xc_buf *const part[XC_PART_COUNT])
{
    for (int p = 0; p < XC_PART_COUNT; p++) {
        const XXH128_hash_t h = part[p] ? XXH3_128bits(part[p]->data, part[p]->size) : (XXH128_hash_t){ 0, 0 };

        digest[p][0] = h.low64;
        digest[p][1] = h.high64;
    }
}

static bool read_header(const struct xc_side *s)
{
    struct { char magic[8]; uint64_t key[2]; } h;

    return read_all(s->fd, &h, sizeof h, s->base) && !memcmp(h.magic, magic, sizeof magic) && h.key[0] == s->key[0] && h.key[1] == s->key[1];
}

static enum xc_status scan(struct xc_side *s, uint64_t size, struct xc_err *err)
{
    s->end = s->base + UNIT;
    while (size - s->end >= UNIT) {
        struct known k = { .at = s->end + UNIT };

        if (!read_all(s->fd, &k.head, sizeof k.head, s->end) || memcmp(k.head.magic, magic, sizeof magic) || k.head.head_hash != head_hash(&k.head)) break;
        if (k.head.place > (uint64_t)s->n_places || (!k.head.place && data_bytes(&k.head) > size - k.at)) break;
        XC_TRY(xc_grow((void **)&s->known, &s->cap_known, s->n_known + 1, sizeof *s->known, err));
        s->known[s->n_known++] = k;
        s->end = k.at + (k.head.place ? 0 : data_bytes(&k.head));
    }
    return XC_OK;
}

static enum xc_status copy_layout(struct xc_side *s, const struct xc_side_layout *l, struct xc_err *err)
{
    if (!l->at) return XC_OK;
    s->place = xc_calloc((size_t)l->model->n_tensors + 1, sizeof *s->place);
    if (!s->place) return xc_fail_nomem(err, (size_t)l->model->n_tensors * sizeof *s->place);
    s->n_places = l->model->n_tensors;
    for (int32_t i = 0; i < s->n_places; i++) {
        snprintf(s->place[i].name, sizeof s->place[i].name, "%s", l->model->tensors[i]->name);
        memcpy(&s->place[i].want, &l->want[i], sizeof l->want[i]);
        s->place[i].rows = xc_tensor_rows(l->model->tensors[i]);
        s->place[i].cols = xc_tensor_cols(l->model->tensors[i]);
        memcpy(s->place[i].at, l->at[i], sizeof s->place[i].at);
    }
    s->base = round_unit(l->end) + ROOM + (uint64_t)s->n_places * ROOM_EACH;
    return XC_OK;
}

enum xc_status xc_side_open(struct xc_side **out, const char *path, const struct xc_side_layout *layout, bool resume, uint64_t memory, struct xc_err *err)
{
    const size_t n = strlen(path) + sizeof ".resume";
    struct xc_side *s = xc_calloc(1, sizeof *s);
    off_t size = 0;
    enum xc_status status = XC_OK;

    *out = NULL;
    if (!s) return xc_fail_nomem(err, sizeof *s);
    s->fd = s->direct = -1;
    s->path = xc_malloc(n);
    if (!s->path) {
        xc_side_close(&s, true);
        return xc_fail_nomem(err, n);
    }
    snprintf(s->path, n, "%s.resume", path);
    s->key[0] = layout->key[0];
    s->key[1] = layout->key[1];
    s->memory = memory;
    status = copy_layout(s, layout, err);
    if (status != XC_OK) {
        xc_side_close(&s, true);
        return status;
    }
    s->end = s->base + UNIT;
    s->begin = xc_seconds();
    s->fd = open(s->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (s->fd >= 0 && flock(s->fd, LOCK_EX | LOCK_NB)) { /* another run: it has the file */
        xc_side_close(&s, true);
        return XC_OK;
    }
    if (s->fd >= 0 && resume && read_header(s)) size = lseek(s->fd, 0, SEEK_END);
    if (size > 0 && (uint64_t)size >= s->base + UNIT) status = scan(s, (uint64_t)size, err);
    if (s->fd >= 0 && !s->n_known) { /* of another run, or empty: nobody needs it */
        unlink(s->path);
        close(s->fd);
        s->fd = -1;
    }
    if (status != XC_OK) xc_side_close(&s, true);
    else *out = s;
    return status;
}

/* Bytes of the file as a mapping, which begins on a page, and a view of what lies in it. */
static enum xc_status map_part(const struct xc_side *s, struct xc_buf **out, uint64_t at, size_t n)
{
    const uint64_t from = at / UNIT * UNIT;
    struct xc_buf *map = NULL;
    enum xc_status status;

    if (at == from) return xc_buf_map_range(out, s->fd, at, n, NULL);
    status = xc_buf_map_range(&map, s->fd, from, n + (size_t)(at - from), NULL);
    if (status == XC_OK) status = xc_buf_view(out, map, (size_t)(at - from), n, NULL);
    xc_buf_unref(&map);
    return status;
}

/* Parts of a record as mappings; small ones as copies. */
static enum xc_status fetch(const struct xc_side *s, struct xc_buf *part[XC_PART_COUNT], const struct record *r, uint64_t at, struct xc_err *err)
{
    enum xc_status status = XC_OK;

    for (int p = 0; p < XC_PART_COUNT && status == XC_OK; p++) {
        const size_t n = (size_t)r->part_bytes[p];
        const uint64_t from = r->place ? s->place[r->place - 1].at[p] : at;

        if (!n) continue;
        at += round_unit(n);
        if (n >= SMALL_PART && map_part(s, &part[p], from, n) == XC_OK) continue;
        status = xc_buf_new(&part[p], n, err);
        if (status == XC_OK && !read_all(s->fd, part[p]->data, n, from)) status = xc_fail(err, XC_E_IO, "cannot read finished layers from '%s'", s->path);
    }
    if (status != XC_OK)
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    return status;
}

/* Remembers what lies in place, for the writer. */
static void keep_place(struct xc_side *s, const struct record *r, struct xc_buf *const part[XC_PART_COUNT])
{
    struct place *const place = r->place ? &s->place[r->place - 1] : NULL;

    for (int p = 0; place && p < XC_PART_COUNT; p++) {
        xc_buf_unref(&place->part[p]);
        if (part[p] && part[p]->mapped) place->part[p] = xc_buf_ref(part[p]);
    }
    if (!place) return;
    memcpy(place->digest, r->digest, sizeof place->digest);
    place->taken = true;
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

static const struct known *find_known(const struct xc_side *s, int32_t stage, const struct xc_encoding *want, const struct xc_tensor *t)
{
    for (size_t i = 0; s && i < s->n_known; i++) {
        const struct record *const r = &s->known[i].head;

        if (r->stage == stage && !strncmp(r->name, t->name, sizeof r->name) && same_encoding(&r->enc, want)) return &s->known[i];
    }
    return NULL;
}

/* The parts of a record that is there and whole. */
static const struct record *fetch_whole(const struct xc_side *s, struct xc_buf *part[XC_PART_COUNT], int32_t stage, const struct xc_encoding *want, const struct xc_tensor *t)
{
    const struct known *const k = find_known(s, stage, want, t);
    uint64_t digest[XC_PART_COUNT][2];

    for (int p = 0; k && p < XC_PART_COUNT; p++) { /* the record's sizes are those of this tensor, so that no place is read beyond */
        size_t bytes = (size_t)k->head.part_bytes[p];

        if (k->head.part_bytes[p] > MAX_PART || xc_encoding_part_bytes(want, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &bytes, NULL) != XC_OK || bytes != k->head.part_bytes[p]) return NULL;
    }
    if (!k || fetch(s, part, &k->head, k->at, NULL) != XC_OK) return NULL;
    hash_parts(digest, part);
    if (!memcmp(digest, k->head.digest, sizeof digest)) return &k->head;
    release_parts(part);
    return NULL;
}

bool xc_side_has(const struct xc_side *s, int32_t stage, const struct xc_encoding *want, const struct xc_tensor *t)
{
    struct xc_buf *part[XC_PART_COUNT] = { NULL };
    const bool whole = fetch_whole(s, part, stage, want, t) != NULL;

    release_parts(part);
    return whole;
}

static enum xc_status finish(struct xc_side *s, bool map, struct xc_err *err);

bool xc_side_take(struct xc_side *s, int32_t stage, const struct xc_encoding *want, struct xc_tensor *t, struct xc_layer_report *l)
{
    struct xc_buf *part[XC_PART_COUNT] = { NULL };

    if (!s || !s->n_known || finish(s, true, NULL) != XC_OK) return false; /* places are the writer's; its failure is told when the next tensor is put */
    const struct record *const r = fetch_whole(s, part, stage, want, t);
    const bool good = r && xc_tensor_set_encoded(t, &r->enc, part, NULL) == XC_OK;

    if (good) keep_place(s, r, part);
    release_parts(part);
    if (!good) return false; /* absent, or damaged: it is made again */
    l->error = r->error;
    l->sparsity = r->sparsity;
    l->clamped = r->clamped;
    snprintf(l->why, sizeof l->why, "%s", r->why);
    return true;
}

/* ---- writing ---- */
static enum xc_status begin_file(struct xc_side *s, struct xc_err *err)
{
    struct { char magic[8]; uint64_t key[2]; } h = { .key = { s->key[0], s->key[1] } };

    if (s->fd >= 0) return XC_OK;
    memcpy(h.magic, magic, sizeof magic);
    s->fd = open(s->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, s->n_places ? 0666 : 0600); /* what becomes the output has the output's mode */
    if (s->fd < 0) {
        const int e = errno;

        return xc_fail_at(err, xc_fail_errno(err, e, "cannot keep finished layers"), "%s", s->path);
    }
    (void)!flock(s->fd, LOCK_EX | LOCK_NB);
    s->end = s->base + UNIT;
    return write_all(s, &h, sizeof h, s->base, err);
}

/* The place of a tensor as it will be in the output; 0 = it is another one yet, or its place is taken: a place that is mapped is not written again. */
static uint64_t place_of(const struct xc_side *s, const struct record *r, const struct xc_tensor *t)
{
    int32_t i = 0;

    while (i < s->n_places && strncmp(s->place[i].name, r->name, sizeof r->name)) i++;
    if (i == s->n_places || s->place[i].taken || !same_encoding(&s->place[i].want, &r->enc)) return 0;
    if (s->place[i].rows != xc_tensor_rows(t) || s->place[i].cols != xc_tensor_cols(t)) return 0; /* the plan was an estimate: it would lie over the next one */
    for (int p = 0; p < XC_PART_COUNT; p++) {
        size_t bytes = 0; /* as the plan took it: sizes that depend on the data are told there as 0 */

        if (xc_encoding_part_bytes(&r->enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &bytes, NULL) != XC_OK || bytes != r->part_bytes[p]) return 0;
    }
    return (uint64_t)i + 1;
}

/* Once, for the file that fd is. */
static void open_direct(struct xc_side *s)
{
#ifdef O_DIRECT
    struct stat mine, other;

    if (s->chunk) return; /* tried */
    s->chunk = xc_malloc(DIRECT_CHUNK + UNIT);
    s->direct = s->chunk ? open(s->path, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (s->direct < 0 || (!fstat(s->fd, &mine) && !fstat(s->direct, &other) && mine.st_ino == other.st_ino && mine.st_dev == other.st_dev)) return;
    close(s->direct);
    s->direct = -1;
#else
    (void)s;
#endif
}

/* Whole units past the page cache, where the file system does that; what is left over before and behind them by way of it. */
static enum xc_status write_part(struct xc_side *s, const uint8_t *from, size_t n, uint64_t at, struct xc_err *err)
{
    const size_t head = (size_t)(round_unit(at) - at);

    if (n >= DIRECT_PART) open_direct(s);
    uint8_t *const aligned = s->chunk ? s->chunk + (UNIT - (uintptr_t)s->chunk % UNIT) : NULL;

    if (n < DIRECT_PART || s->direct < 0) return write_all(s, from, n, at, err);
    XC_TRY(write_all(s, from, head, at, err));
    from += head;
    n -= head;
    at += head;
    while (n >= UNIT && s->direct >= 0) {
        const size_t chunk = n < DIRECT_CHUNK ? n / UNIT * UNIT : DIRECT_CHUNK;

        memcpy(aligned, from, chunk);
        if (xc_write_whole(s->direct, aligned, chunk, at)) { /* it does not after all, or the disk is full, which the other way tells */
            close(s->direct);
            s->direct = -1;
            break;
        }
        from += chunk;
        n -= chunk;
        at += chunk;
    }
    return write_all(s, from, n, at, err);
}

/* The parts first and the head last: a record exists once it is whole. */
static enum xc_status write_one(struct xc_side *s, struct waiting *w, struct xc_err *err)
{
    struct record *const r = &w->head;
    uint64_t at = s->end + UNIT;

    hash_parts(r->digest, w->part);
    r->place = place_of(s, r, w->t);
    if (r->place) s->place[r->place - 1].taken = true;
    r->head_hash = head_hash(r);
    for (int p = 0; p < XC_PART_COUNT; p++) {
        if (r->part_bytes[p]) XC_TRY(write_part(s, w->part[p]->data, w->part[p]->size, r->place ? s->place[r->place - 1].at[p] : at, err));
        if (!r->place) at += round_unit(r->part_bytes[p]);
    }
    if (ftruncate(s->fd, (off_t)at)) return xc_fail_errno(err, errno, "cannot write '%s'", s->path); /* the last part to a whole unit */
    XC_TRY(write_all(s, r, sizeof *r, s->end, err));
    w->at = s->end;
    s->end = at;
    return XC_OK;
}

static void *write_batch(void *arg)
{
    struct xc_side *const s = arg;
    struct writer *const w = &s->writer;

    for (size_t i = 0; i < w->n && w->status == XC_OK; i++) w->status = write_one(s, &w->batch[i], &w->err);
    return NULL;
}

/* What was written is mapped instead of held. */
static enum xc_status map_one(struct xc_side *s, struct waiting *w, struct xc_err *err)
{
    struct xc_buf *part[XC_PART_COUNT] = { NULL };
    const struct xc_encoding enc = w->t->enc;
    enum xc_status status;

    if (!same_encoding(&enc, &w->head.enc) || w->t->part[XC_PART_DATA] != w->part[XC_PART_DATA]) return XC_OK; /* a later pass has it now */
    XC_TRY(fetch(s, part, &w->head, w->at + UNIT, err));
    status = xc_tensor_set_encoded(w->t, &enc, part, err);
    if (status == XC_OK) keep_place(s, &w->head, part);
    release_parts(part);
    return status;
}

/* Waits for the writer. Without `map`, tensors stay as they are. */
static enum xc_status finish(struct xc_side *s, bool map, struct xc_err *err)
{
    struct writer *const w = &s->writer;

    if (w->running && w->threaded) pthread_join(w->thread, NULL);
    for (size_t i = 0; i < w->n && w->running; i++) {
        if (map && w->status == XC_OK) w->status = map_one(s, &w->batch[i], &w->err);
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&w->batch[i].part[p]);
    }
    w->running = false;
    w->n = 0;
    if (w->status != XC_OK && err) *err = w->err;
    return w->status;
}

/* Hands what waits to the writer. */
static enum xc_status flush(struct xc_side *s, struct xc_err *err)
{
    struct writer *const w = &s->writer;
    struct waiting *batch;
    size_t cap;

    XC_TRY(finish(s, true, err));
    XC_TRY(begin_file(s, err));
    batch = w->batch;
    cap = w->cap;
    w->batch = s->wait;
    w->cap = s->cap_wait;
    for (size_t i = 0; i < s->n_wait; i++) {
        if (!same_encoding(&w->batch[i].t->enc, &w->batch[i].head.enc)) continue; /* a later pass has it now */
        w->batch[w->n] = w->batch[i];
        for (int p = 0; p < XC_PART_COUNT; p++) w->batch[w->n].part[p] = xc_buf_ref(w->batch[i].t->part[p]);
        w->n++;
    }
    s->wait = batch;
    s->cap_wait = cap;
    s->n_wait = 0;
    s->wait_bytes = 0;
    w->running = true;
    w->threaded = !pthread_create(&w->thread, NULL, write_batch, s);
    if (!w->threaded) write_batch(s);
    return XC_OK;
}

enum xc_status xc_side_put(struct xc_side *s, int32_t stage, struct xc_tensor *t, const struct xc_layer_report *l, struct xc_err *err)
{
    struct waiting *w;

    if (!s) return XC_OK;
    if (!s->writer.running) XC_TRY(finish(s, true, err));
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
    return s->wait_bytes > s->memory || xc_seconds() - s->begin > WAIT_SECONDS ? flush(s, err) : XC_OK;
}

const char *xc_side_folder(const struct xc_side *s, char *buf, size_t n)
{
    const char *const slash = s ? strrchr(s->path, '/') : NULL;
    const size_t length = !slash ? 0 : slash == s->path ? 1 : (size_t)(slash - s->path); /* the root stays */

    if (!s || length + 2 > n) return NULL;
    memcpy(buf, length ? s->path : ".", length ? length : 1);
    buf[length ? length : 1] = 0;
    return buf;
}

void xc_side_settle(struct xc_side *s)
{
    if (!s) return;
    (void)finish(s, true, NULL); /* its failure is told when the next tensor is put */
    s->n_wait = 0;
    s->wait_bytes = 0;
}

/* ---- as the output ---- */
static bool placed(void *arg, const struct xc_buf *part, uint64_t offset, uint64_t digest[2])
{
    const struct xc_side *const s = arg;

    for (int32_t i = 0; i < s->n_places; i++)
        for (int p = 0; p < XC_PART_COUNT; p++)
            if (s->place[i].part[p] == part && s->place[i].at[p] == offset) {
                memcpy(digest, s->place[i].digest[p], sizeof s->place[i].digest[p]);
                return true;
            }
    return false;
}

bool xc_side_base(struct xc_side *s, const char *path, const struct xc_model *m, uint64_t (*at)[XC_PART_COUNT], uint64_t bytes, struct xc_write_base *base)
{
    struct stat there, mine, named;
    bool any = false;

    if (s && finish(s, true, NULL) != XC_OK) return false;
    if (!s || s->fd < 0 || m->n_tensors != s->n_places || bytes > s->base) return false;
    for (int32_t i = 0; i < s->n_places; i++) {
        any |= s->place[i].taken;
        if (memcmp(at[i], s->place[i].at, sizeof at[i]) || strcmp(m->tensors[i]->name, s->place[i].name)) return false; /* not as planned: writing would go over what is read */
    }
    if (!any || (!lstat(path, &there) && !S_ISREG(there.st_mode))) return false; /* nothing to gain; a link may lead to another file system */
    if (fstat(s->fd, &mine) || lstat(s->path, &named) || mine.st_ino != named.st_ino || mine.st_dev != named.st_dev) return false; /* somebody took it away */
    *base = (struct xc_write_base){ .fd = s->fd, .path = s->path, .placed = placed, .arg = s };
    return true;
}

void xc_side_became_output(struct xc_side *s) { s->output = true; }

void xc_side_close(struct xc_side **side, bool keep)
{
    struct xc_side *s = *side;

    *side = NULL;
    if (!s) return;
    (void)finish(s, false, NULL);
    if (keep && s->n_wait && xc_seconds() - s->begin > WAIT_SECONDS) (void)!flush(s, NULL);
    (void)finish(s, false, NULL);
    if (s->fd >= 0) {
        if (!keep && !s->output) unlink(s->path);
        close(s->fd);
    }
    if (s->direct >= 0) close(s->direct);
    xc_free(s->chunk);
    for (int32_t i = 0; i < s->n_places; i++)
        for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&s->place[i].part[p]);
    xc_free(s->place);
    xc_free(s->known);
    xc_free(s->wait);
    xc_free(s->writer.batch);
    xc_free(s->path);
    xc_free(s);
}
