/* gradient_sum: see gradient_sum.h. */
#include "compress/train/gradient_sum.h"

#include <string.h>

#define CHUNK 262144      /* numbers of a chunk, 1 MB; fewer when ranks would have none */
#define BLOCK 16384       /* numbers a thread adds at a time */
#define MOST_CHUNKS 8192
#define MOST_PARTS 64     /* parts of the tree that a rank may have: two for each bit of the number of batches */

/* A part of the tree: the sum of batches first .. last - 1. */
struct part { int64_t first, last; };

enum state { WAITING = 0, SENT, DONE };
struct chunk {
    int64_t at, n;
    int32_t node;         /* of the backward pass, after which it is ready */
    int owner;
    enum state state;
    int pending;          /* of its requests */
};

struct xc_gradient_sum {
    struct xc_ranks *ranks;
    struct xc_pool *pool;
    float *grad;
    int64_t total, n;     /* numbers; batches of this update */
    struct part part[MOST_PARTS]; /* put aside; of this rank. The last one, in grad, follows when it is complete */
    float *aside[MOST_PARTS]; /* total each */
    int n_parts;
    struct chunk *chunk;
    int64_t n_chunks, *order, n_ready; /* order in which they become ready; how many have */
    float *received;      /* parts of others, of the chunks that this rank owns */
    size_t cap_received;
    void **request;       /* (n_chunks, per_chunk) */
    int64_t per_chunk;
};

/* ---- the tree ---- */
/* Are two parts that lie side by side the halves of one node? The right one may be cut off by the end. */
static bool halves(const struct part *a, const struct part *b, int64_t n)
{
    const int64_t size = a->last - a->first;

    return (size & (size - 1)) == 0 && a->first % (2 * size) == 0 && b->first == a->last && b->last == xc_min_i64(n, a->first + 2 * size);
}

/* The parts that batches first .. last - 1 of n make. */
static int parts_of(struct part *out, int64_t first, int64_t last, int64_t n)
{
    int count = 0;

    for (int64_t i = first; i < last; i++) {
        out[count++] = (struct part){ i, i + 1 };
        while (count > 1 && halves(&out[count - 2], &out[count - 1], n)) {
            count--;
            out[count - 1].last = out[count].last;
        }
    }
    return count;
}

struct adding {
    float *to, *a;
    const float *b; /* NULL = a moves to `to`, or is added there, and is zero afterwards */
    int64_t n;
    bool fresh;
};

static void add_block(void *arg, int64_t item, int thread)
{
    const struct adding *j = arg;
    const int64_t first = item * BLOCK, end = xc_min_i64(first + BLOCK, j->n);

    (void)thread;
    if (j->b)
        for (int64_t i = first; i < end; i++) j->to[i] = j->a[i] + j->b[i];
    else if (!j->fresh)
        for (int64_t i = first; i < end; i++) j->to[i] += j->a[i];
    else
        memcpy(j->to + first, j->a + first, (size_t)(end - first) * sizeof *j->to);
    if (!j->b) memset(j->a + first, 0, (size_t)(end - first) * sizeof *j->a);
}

static void run(const struct xc_gradient_sum *s, struct adding *j) { xc_pool_run(s->pool, add_block, j, xc_div_up(j->n, BLOCK)); }

/* ---- making ---- */
/* Most parts that lie aside at once, of a rank with batches first .. last - 1 of n. */
static int most_aside(int64_t first, int64_t last, int64_t n)
{
    struct part part[MOST_PARTS];
    int most = 0;

    for (int64_t end = first + 1; end < last; end++) {
        const int now = parts_of(part, first, end, n);

        most = now > most ? now : most;
    }
    return most;
}

double xc_gradient_sum_bytes(const struct xc_ranks *ranks, int64_t n, int64_t batches)
{
    int64_t first, last;

    xc_ranks_share(ranks, xc_ranks_me(ranks), xc_min_i64(batches, 4096), &first, &last);
    return 4.0 * (double)n * (double)(most_aside(first, last, xc_min_i64(batches, 4096)) + (ranks ? 1 : 0));
}

void xc_gradient_sum_free(struct xc_gradient_sum **sum)
{
    struct xc_gradient_sum *s = *sum;

    *sum = NULL;
    if (!s) return;
    for (int i = 0; i < MOST_PARTS; i++) xc_free(s->aside[i]);
    xc_free(s->chunk);
    xc_free(s->order);
    xc_free(s->received);
    xc_free(s->request);
    xc_free(s);
}

static int later(const struct chunk *a, const struct chunk *b) { return a->node < b->node; }

static enum xc_status make_chunks(struct xc_gradient_sum *s, const struct xc_gradient_ready *ready, int64_t n_ready, struct xc_err *err)
{
    const int n = xc_ranks_n(s->ranks);
    int64_t size = xc_max_i64(xc_min_i64(CHUNK, xc_div_up(s->total, 4 * n)), 1);

    if (xc_div_up(s->total, size) > MOST_CHUNKS) size = xc_div_up(s->total, MOST_CHUNKS);
    s->n_chunks = xc_div_up(s->total, size);
    s->chunk = xc_calloc((size_t)s->n_chunks, sizeof *s->chunk);
    s->order = xc_calloc((size_t)s->n_chunks, sizeof *s->order);
    if (!s->chunk || !s->order) return xc_fail_nomem(err, (size_t)s->n_chunks * sizeof *s->chunk);
    for (int64_t c = 0; c < s->n_chunks; c++) {
        struct chunk *k = &s->chunk[c];
        int64_t at = c;

        *k = (struct chunk){ .at = c * size, .n = xc_min_i64(size, s->total - c * size), .node = INT32_MAX, .owner = (int)(c % n) };
        for (int64_t i = 0; i < n_ready; i++)
            if (ready[i].at < k->at + k->n && (i + 1 == n_ready || ready[i + 1].at > k->at) && ready[i].node < k->node) k->node = ready[i].node;
        for (; at > 0 && later(&s->chunk[s->order[at - 1]], k); at--) s->order[at] = s->order[at - 1];
        s->order[at] = c;
    }
    return XC_OK;
}

static enum xc_status fill(struct xc_gradient_sum *s, const struct xc_gradient_ready *ready, int64_t n_ready, int64_t batches, struct xc_err *err)
{
    const int64_t mine = xc_div_up(batches, xc_ranks_n(s->ranks));
    int64_t bits = 1;

    if (!s->ranks) return XC_OK;
    XC_TRY(make_chunks(s, ready, n_ready, err));
    while (mine > (int64_t)1 << bits) bits++;
    s->per_chunk = xc_ranks_n(s->ranks) * 2 * bits;
    s->request = xc_calloc((size_t)(s->n_chunks * s->per_chunk), sizeof *s->request);
    return s->request ? XC_OK : xc_fail_nomem(err, (size_t)(s->n_chunks * s->per_chunk) * sizeof *s->request);
}

enum xc_status xc_gradient_sum_new(struct xc_gradient_sum **out, struct xc_ranks *ranks, float *grad, int64_t n, const struct xc_gradient_ready *ready, int64_t n_ready, int64_t batches,
                                   struct xc_pool *pool, struct xc_err *err)
{
    struct xc_gradient_sum *s = xc_calloc(1, sizeof *s);
    enum xc_status status;

    *out = NULL;
    if (!s) return xc_fail_nomem(err, sizeof *s);
    *s = (struct xc_gradient_sum){ .ranks = ranks, .pool = pool, .grad = grad, .total = n };
    status = fill(s, ready, n_ready, batches, err);
    if (status != XC_OK) xc_gradient_sum_free(&s);
    *out = s;
    return status;
}

/* ---- between ranks ---- */
static int tag_of(const struct xc_gradient_sum *s, int64_t c, bool result) { return XC_RANKS_TAG + (int)(result ? s->n_chunks + c : c); }

/* The parts of rank r in this update. */
static int parts_of_rank(const struct xc_gradient_sum *s, int r, struct part *out)
{
    int64_t first, last;

    xc_ranks_share(s->ranks, r, s->n, &first, &last);
    return parts_of(out, first, last, s->n);
}

/* What others will send of the chunks of this rank. */
static enum xc_status expect(struct xc_gradient_sum *s, struct xc_err *err)
{
    const int me = xc_ranks_me(s->ranks), n = xc_ranks_n(s->ranks);
    const struct xc_transport *t = xc_ranks_transport(s->ranks);
    struct part part[MOST_PARTS];
    int64_t others = 0, mine = 0, at = 0;

    for (int r = 0; r < n; r++)
        if (r != me) others += parts_of_rank(s, r, part);
    for (int64_t c = 0; c < s->n_chunks; c++)
        if (s->chunk[c].owner == me) mine += s->chunk[c].n;
    XC_TRY(xc_grow((void **)&s->received, &s->cap_received, (size_t)(mine * others) + 1, sizeof *s->received, err));
    for (int64_t c = 0; c < s->n_chunks; c++) {
        struct chunk *k = &s->chunk[c];

        k->state = WAITING;
        k->pending = 0;
        if (k->owner != me) continue;
        for (int r = 0; r < n; r++) {
            const int count = r == me ? 0 : parts_of_rank(s, r, part);

            for (int i = 0; i < count; i++, at += k->n) s->request[c * s->per_chunk + k->pending++] = t->receive(s->received + at, (size_t)k->n * sizeof(float), r, tag_of(s, c, false));
        }
    }
    return XC_OK;
}

enum xc_status xc_gradient_sum_begin(struct xc_gradient_sum *s, int64_t n, int64_t *first, int64_t *last, struct xc_err *err)
{
    s->n = n;
    s->n_parts = 0;
    s->n_ready = 0;
    xc_ranks_share(s->ranks, xc_ranks_me(s->ranks), n, first, last);
    return s->ranks ? expect(s, err) : XC_OK;
}

enum xc_status xc_gradient_sum_put(struct xc_gradient_sum *s, int64_t i, struct xc_err *err)
{
    struct adding j = { .a = s->grad, .n = s->total };
    struct part one = { i, i + 1 };

    j.fresh = !s->n_parts || !halves(&s->part[s->n_parts - 1], &one, s->n);
    if (j.fresh) {
        float **to = &s->aside[s->n_parts];

        if (!*to) *to = xc_alloc_aligned((size_t)s->total * sizeof **to);
        if (!*to) return xc_fail_nomem(err, (size_t)s->total * sizeof **to);
        s->part[s->n_parts++] = one;
    } else {
        s->part[s->n_parts - 1].last = one.last;
    }
    j.to = s->aside[s->n_parts - 1];
    run(s, &j);
    while (s->n_parts > 1 && halves(&s->part[s->n_parts - 2], &s->part[s->n_parts - 1], s->n)) {
        const int k = --s->n_parts;

        run(s, &(struct adding){ .to = s->aside[k - 1], .a = s->aside[k - 1], .b = s->aside[k], .n = s->total });
        s->part[k - 1].last = s->part[k].last;
    }
    return XC_OK;
}

/* Numbers at .. at + n - 1 of the last batch join what it completes of the tree, in grad. Returns how many parts stay aside. */
static int join_last(struct xc_gradient_sum *s, int64_t at, int64_t n)
{
    struct part last = { 0 };
    int64_t first_batch, end;
    int k = s->n_parts;

    xc_ranks_share(s->ranks, xc_ranks_me(s->ranks), s->n, &first_batch, &end);
    if (first_batch == end) return 0;
    last = (struct part){ end - 1, end };
    for (; k > 0 && halves(&s->part[k - 1], &last, s->n); k--) {
        run(s, &(struct adding){ .to = s->grad + at, .a = s->aside[k - 1] + at, .b = s->grad + at, .n = n });
        last.first = s->part[k - 1].first;
    }
    return k;
}

static void send_chunk(struct xc_gradient_sum *s, int64_t c)
{
    const struct xc_transport *t = xc_ranks_transport(s->ranks);
    struct chunk *k = &s->chunk[c];
    void **request = s->request + c * s->per_chunk;
    int64_t first, last;
    const int stay = join_last(s, k->at, k->n);

    k->state = SENT;
    xc_ranks_share(s->ranks, xc_ranks_me(s->ranks), s->n, &first, &last);
    if (k->owner == xc_ranks_me(s->ranks) || first == last) return;
    for (int i = 0; i < stay; i++) request[k->pending++] = t->send(s->aside[i] + k->at, (size_t)k->n * sizeof(float), k->owner, tag_of(s, c, false));
    request[k->pending++] = t->send(s->grad + k->at, (size_t)k->n * sizeof(float), k->owner, tag_of(s, c, false));
}

/* All parts of a chunk of this rank are here: they are added up in the order of the tree, and the sum goes to everybody. */
static void add_up(struct xc_gradient_sum *s, int64_t c)
{
    const int me = xc_ranks_me(s->ranks), n = xc_ranks_n(s->ranks);
    const struct xc_transport *t = xc_ranks_transport(s->ranks);
    struct chunk *k = &s->chunk[c];
    struct part stack[2 * MOST_PARTS], part[MOST_PARTS];
    float *data[2 * MOST_PARTS] = { s->grad + k->at }, *next = s->received;
    int depth = 0;

    for (int64_t i = 0; i < c; i++) /* where its parts begin */
        if (s->chunk[i].owner == me)
            for (int r = 0; r < n; r++) next += r == me ? 0 : parts_of_rank(s, r, part) * s->chunk[i].n;
    for (int r = 0; r < n; r++) {
        const int count = parts_of_rank(s, r, part);

        for (int i = 0; i < count; i++) {
            data[depth] = r != me ? next : i + 1 < count ? s->aside[i] + k->at : s->grad + k->at;
            if (r != me) next += k->n;
            stack[depth++] = part[i];
            while (depth > 1 && halves(&stack[depth - 2], &stack[depth - 1], s->n)) {
                depth--;
                run(s, &(struct adding){ .to = data[depth - 1], .a = data[depth - 1], .b = data[depth], .n = k->n });
                stack[depth - 1].last = stack[depth].last;
            }
        }
    }
    if (data[0] != s->grad + k->at) memcpy(s->grad + k->at, data[0], (size_t)k->n * sizeof(float));
    k->pending = 0;
    for (int r = 0; r < n; r++)
        if (r != me) s->request[c * s->per_chunk + k->pending++] = t->send(s->grad + k->at, (size_t)k->n * sizeof(float), r, tag_of(s, c, true));
}

/* A step further with a chunk that was sent, if its requests are done; -1: one failed. */
static int advance_chunk(struct xc_gradient_sum *s, int64_t c)
{
    const struct xc_transport *t = xc_ranks_transport(s->ranks);
    struct chunk *k = &s->chunk[c];
    void **request = s->request + c * s->per_chunk;

    for (int i = 0; i < k->pending; i++) {
        const int done = t->done(&request[i]);

        if (done <= 0) return done;
    }
    if (k->state != SENT) return 0;
    k->pending = 0;
    if (k->owner == xc_ranks_me(s->ranks)) add_up(s, c);
    else request[k->pending++] = t->receive(s->grad + k->at, (size_t)k->n * sizeof(float), k->owner, tag_of(s, c, true));
    k->state = DONE;
    return 0;
}

/* 1: every chunk is done, and so are its messages. */
static int advance(void *arg)
{
    struct xc_gradient_sum *s = arg;
    bool left = false;

    for (int64_t i = 0; i < s->n_chunks; i++) {
        const int64_t c = s->order[i];
        struct chunk *k = &s->chunk[c];

        if (k->state == DONE && !k->pending) continue;
        if (advance_chunk(s, c) < 0) return -1;
        if (k->state == DONE && k->pending) {
            bool all = true;

            for (int q = 0; q < k->pending; q++) all &= s->request[c * s->per_chunk + q] == NULL;
            if (all) k->pending = 0;
        }
        left |= k->state != DONE || k->pending;
    }
    return !left;
}

void xc_gradient_sum_ready(struct xc_gradient_sum *s, int32_t node)
{
    if (!s->ranks) return;
    while (s->n_ready < s->n_chunks && s->chunk[s->order[s->n_ready]].node >= node) send_chunk(s, s->order[s->n_ready++]);
    (void)advance(s); /* a failure is seen again where it is waited for */
}

enum xc_status xc_gradient_sum_finish(struct xc_gradient_sum *s, struct xc_err *err)
{
    if (!s->ranks) {
        (void)join_last(s, 0, s->total);
        return XC_OK;
    }
    xc_gradient_sum_ready(s, INT32_MIN);
    return xc_ranks_wait(s->ranks, advance, s, err);
}
