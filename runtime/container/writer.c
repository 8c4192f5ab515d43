/* writer: a model to a .xc file. See container.h; docs/container.md. */
#include <string.h>
#include <xxhash.h>

#include "runtime/base/atomic_file.h"
#include "runtime/base/pool.h"
#include "runtime/container/container.h"
#include "runtime/container/layout.h"
#include "runtime/container/frame_pack.h"
#include "runtime/graph/op.h"

/* ---- bytes that grow ---- */
struct bytes {
    uint8_t *p;
    size_t n, cap;
    enum xc_status status; /* sticky: checked once at the end */
};

static void put(struct bytes *b, const void *src, size_t n)
{
    if (b->status == XC_OK) b->status = xc_grow((void **)&b->p, &b->cap, b->n + n + 1, 1, NULL);
    if (b->status != XC_OK) return;
    if (n) memcpy(b->p + b->n, src, n);
    b->n += n;
}

static void put_u32(struct bytes *b, uint32_t v) { put(b, (uint8_t[]){ (uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24) }, 4); }
static void put_i32(struct bytes *b, int32_t v) { put_u32(b, (uint32_t)v); }

static void put_u64(struct bytes *b, uint64_t v)
{
    put_u32(b, (uint32_t)v);
    put_u32(b, (uint32_t)(v >> 32));
}

static void put_f64(struct bytes *b, double v)
{
    uint64_t u;

    memcpy(&u, &v, sizeof u);
    put_u64(b, u);
}

static void put_str(struct bytes *b, const char *s)
{
    put_u32(b, (uint32_t)strlen(s));
    put(b, s, strlen(s));
}

/* ---- the model section ---- */
static void put_tensor(struct bytes *b, const struct xc_tensor *t)
{
    put_str(b, t->name);
    put_u32(b, (uint32_t)t->rank);
    for (int32_t i = 0; i < t->rank; i++) put_u64(b, (uint64_t)t->dim[i]);
    put_u32(b, t->enc.format);
    put_u32(b, t->enc.structure);
    put_u32(b, t->enc.layout);
    put_u32(b, t->enc.scale_format);
    put_u32(b, (t->enc.zero_point ? 1u : 0u) | (t->enc.sum16 ? 2u : 0u) | (t->enc.perm_rows ? 4u : 0u) | (t->enc.perm_cols ? 8u : 0u));
    put_i32(b, t->enc.group);
    put_i32(b, t->enc.n);
    put_i32(b, t->enc.m);
    put_i32(b, t->enc.block_rows);
    put_i32(b, t->enc.block_cols);
}

/* The reader starts from the defaults. */
static bool stored(const struct xc_attr_def *def, const void *attr) { return !def->rare || xc_attr_get(def, attr) != def->def; }

static void put_node(struct bytes *b, const struct xc_node *node, const int32_t *number)
{
    uint32_t n_attrs = 0;

    put_str(b, node->name);
    put_str(b, node->op->name);
    put_u32(b, (uint32_t)node->op->version);
    put_u32(b, (uint32_t)node->n_in);
    for (int32_t i = 0; i < node->n_in; i++) {
        const struct xc_ref *ref = &node->in[i];

        put_u32(b, (uint32_t)ref->kind);
        put_i32(b, ref->kind == XC_REF_VALUE ? number[ref->id] : ref->id);
        put_u32(b, (uint32_t)ref->range.mode);
        put_f64(b, (double)ref->range.scale);
    }
    for (const struct xc_attr_def *def = node->op->attrs; def && def->name; def++) n_attrs += stored(def, node->attr);
    put_u32(b, n_attrs);
    for (const struct xc_attr_def *def = node->op->attrs; def && def->name; def++) {
        const double value = xc_attr_get(def, node->attr);

        if (!stored(def, node->attr)) continue;
        put_str(b, def->name);
        put_u32(b, (uint32_t)def->type);
        if (def->type == XC_ATTR_CHOICE) put_str(b, def->choices[(int)value]);
        else put_f64(b, value);
    }
}

/* Values are not stored: they are numbered inputs first, then node outputs in order, and inferred again by the reader. */
static enum xc_status put_graph(struct bytes *b, const struct xc_graph *g, struct xc_err *err)
{
    int32_t *number = xc_calloc((size_t)g->n_values + 1, sizeof *number), next = 0;

    if (!number) return xc_fail_nomem(err, (size_t)g->n_values * sizeof *number);
    for (int32_t i = 0; i < g->n_inputs; i++) number[g->inputs[i]] = next++;
    for (int32_t n = 0; n < g->n_nodes; n++)
        for (int32_t i = 0; i < g->nodes[n].n_out; i++) number[g->nodes[n].out[i]] = next++;
    put_str(b, g->name);
    put_u32(b, (uint32_t)g->n_spaces);
    for (int32_t i = 0; i < g->n_spaces; i++) {
        const struct xc_space *s = &g->spaces[i];

        put_str(b, s->name);
        put_u32(b, (uint32_t)s->map);
        put_i32(b, s->base);
        put_i32(b, s->state);
        put_i32(b, s->kernel);
        put_i32(b, s->stride);
        put_i32(b, s->pad_left);
        put_i32(b, s->pad_right);
        put_i32(b, s->k);
    }
    put_u32(b, (uint32_t)g->n_inputs);
    for (int32_t i = 0; i < g->n_inputs; i++) {
        const struct xc_value *v = &g->values[g->inputs[i]];

        put_str(b, v->name);
        put_i32(b, v->space);
        put_i32(b, v->cols);
        put_u32(b, (uint32_t)v->dtype);
    }
    put_u32(b, (uint32_t)g->n_nodes);
    for (int32_t n = 0; n < g->n_nodes; n++) put_node(b, &g->nodes[n], number);
    put_u32(b, (uint32_t)g->n_outputs);
    for (int32_t i = 0; i < g->n_outputs; i++) put_i32(b, number[g->outputs[i]]);
    xc_free(number);
    return XC_OK;
}

/* What the reader would refuse is not written. */
static enum xc_status check_counts(const struct xc_model *m, struct xc_err *err)
{
    const int32_t most = (int32_t)XC_MAX_COUNT, few = (int32_t)XC_MAX_FEW;
    bool ok = m->n_meta <= most && m->n_labels <= most && m->n_tensors <= most && m->n_states <= few && m->n_graphs <= few;

    for (int32_t i = 0; i < m->n_graphs && ok; i++) {
        const struct xc_graph *g = m->graphs[i];

        ok = g->n_spaces <= few && g->n_inputs <= most && g->n_nodes <= most && g->n_outputs <= most;
    }
    for (int32_t i = 0; i < m->n_labels; i++)
        if (!xc_utf8_ok(m->labels[i], strlen(m->labels[i]))) return xc_fail(err, XC_E_FORMAT, "label %d is not UTF-8", i);
    for (int32_t i = 0; i < m->n_meta; i++)
        if (!xc_utf8_ok(m->meta[i].value, strlen(m->meta[i].value))) return xc_fail(err, XC_E_FORMAT, "the value of meta '%s' is not UTF-8", m->meta[i].key);
    if (!ok) return xc_fail(err, XC_E_LIMIT, "a file holds at most %d tensors, labels, nodes, and %d graphs, states, row spaces", most, few);
    return XC_OK;
}

static enum xc_status put_model(struct bytes *b, const struct xc_model *m, struct xc_err *err)
{
    XC_TRY(check_counts(m, err));
    put_u32(b, (uint32_t)m->n_meta);
    for (int32_t i = 0; i < m->n_meta; i++) {
        put_str(b, m->meta[i].key);
        put_str(b, m->meta[i].value);
    }
    put_u32(b, (uint32_t)m->n_labels);
    for (int32_t i = 0; i < m->n_labels; i++) put_str(b, m->labels[i]);
    put_u32(b, (uint32_t)m->n_states);
    for (int32_t i = 0; i < m->n_states; i++) {
        put_str(b, m->states[i].name);
        put_i32(b, m->states[i].cols);
        put_u32(b, (uint32_t)m->states[i].dtype);
        put_u32(b, m->states[i].append ? 1 : 0);
    }
    put_u32(b, (uint32_t)m->n_tensors);
    for (int32_t i = 0; i < m->n_tensors; i++) {
        struct xc_tensor t = *m->tensors[i];

        if (!t.part[XC_PART_DATA]) t.enc = (struct xc_encoding){ .format = XC_FMT_F32 }; /* what xc_tensor_load will make of it */
        put_tensor(b, &t);
    }
    put_u32(b, (uint32_t)m->n_graphs);
    for (int32_t i = 0; i < m->n_graphs; i++) XC_TRY(put_graph(b, m->graphs[i], err));
    return b->status == XC_OK ? XC_OK : xc_fail_nomem(err, b->n);
}

/* ---- compression: independent frames, so that any number of threads makes the same bytes ---- */
struct frame {
    uint8_t *p;
    size_t n;
};

struct deflate {
    const uint8_t *src;
    size_t n;
    bool weights;
    int width;       /* of byte planes; 0 = none */
    struct frame *frames;
    ZSTD_CCtx **ctx; /* by thread */
    uint8_t **plane; /* by thread: a frame in planes */
};

static void compress_frame(void *arg, int64_t item, int thread)
{
    struct deflate *d = arg;
    const size_t at = (size_t)item * XC_FRAME_BYTES, n = d->n - at < XC_FRAME_BYTES ? d->n - at : XC_FRAME_BYTES;
    const uint8_t *src = d->src + at;
    struct frame *f = &d->frames[item];

    f->p = xc_malloc(ZSTD_compressBound(n));
    if (!d->ctx[thread]) d->ctx[thread] = ZSTD_createCCtx_advanced(xc_zstd_mem());
    if (d->width && !d->plane[thread]) d->plane[thread] = xc_malloc(XC_FRAME_BYTES);
    if (!f->p || !d->ctx[thread] || (d->width && !d->plane[thread])) return;
    if (d->width) {
        xc_planes_split(d->plane[thread], src, n, d->width);
        src = d->plane[thread];
    }
    f->n = xc_pack_frame(d->ctx[thread], f->p, src, n, !d->weights ? XC_PACK_TEXT : d->width ? XC_PACK_PLANES : XC_PACK_WEIGHTS);
}

/* frames[] hold the compressed section; *total is its size. */
static enum xc_status compress_section(struct deflate *d, size_t *n_frames, size_t *total, struct xc_pool *pool, struct xc_err *err)
{
    const int threads = xc_pool_threads(pool);
    bool ok = true;

    *total = 0;
    *n_frames = (d->n + XC_FRAME_BYTES - 1) / XC_FRAME_BYTES;
    d->frames = xc_calloc(*n_frames + 1, sizeof *d->frames);
    d->ctx = xc_calloc((size_t)threads, sizeof(ZSTD_CCtx *));
    d->plane = xc_calloc((size_t)threads, sizeof(uint8_t *));
    if (d->frames && d->ctx && d->plane) xc_pool_run(pool, compress_frame, d, (int64_t)*n_frames);
    for (int i = 0; d->ctx && i < threads; i++) ZSTD_freeCCtx(d->ctx[i]);
    for (int i = 0; d->plane && i < threads; i++) xc_free(d->plane[i]);
    xc_free(d->ctx);
    xc_free(d->plane);
    for (size_t i = 0; d->frames && i < *n_frames; i++) {
        ok = ok && d->frames[i].n > 0;
        *total += d->frames[i].n;
    }
    return ok && d->frames ? XC_OK : xc_fail_nomem(err, d->n);
}

static void free_frames(struct deflate *d, size_t n);

/* Numbers of two or four bytes: in planes or not, whichever is smaller. *width says which. */
static enum xc_status compress_smaller(struct deflate *d, size_t *n_frames, size_t *total, struct xc_pool *pool, struct xc_err *err)
{
    struct deflate planes = *d;
    size_t n_planes = 0, planes_total = 0;
    enum xc_status status;

    d->width = 0;
    status = compress_section(d, n_frames, total, pool, err);
    if (!planes.width || status != XC_OK) return status;
    status = compress_section(&planes, &n_planes, &planes_total, pool, err);
    if (status == XC_OK && planes_total < *total) {
        free_frames(d, *n_frames);
        *d = planes;
        *n_frames = n_planes;
        *total = planes_total;
    } else {
        free_frames(&planes, n_planes);
    }
    return status;
}

static void free_frames(struct deflate *d, size_t n)
{
    for (size_t i = 0; d->frames && i < n; i++) xc_free(d->frames[i].p);
    xc_free(d->frames);
    d->frames = NULL;
}

/* ---- the file ---- */
struct writer {
    struct xc_atomic_file *f; /* NULL: only sizes are computed */
    const struct xc_write_opts *opts;
    struct xc_file_section *table;
    uint32_t n_sections;
    uint64_t at, tensors_end;
    uint64_t (*layout)[XC_PART_COUNT]; /* NULL, or to be filled */
    double done, total; /* bytes, for the progress */
};

static enum xc_status emit(struct writer *w, const void *p, size_t n, struct xc_err *err)
{
    w->at += n;
    return w->f ? xc_atomic_write(w->f, p, n, err) : XC_OK;
}

static enum xc_status pad(struct writer *w, struct xc_err *err)
{
    static const uint8_t zeros[XC_ALIGN];

    return emit(w, zeros, (size_t)(-w->at & (XC_ALIGN - 1)), err);
}

/* width: bytes of a number, 2 or 4, whose planes may be stored apart; 0 = not numbers, or of one byte. placed: the digest of bytes that are in the file
 * already; else NULL. */
static enum xc_status add_section(struct writer *w, const char *kind, uint32_t flags, uint32_t tensor, uint32_t part, const uint8_t *p, size_t n, int width, const uint64_t *placed, struct xc_err *err)
{
    struct xc_file_section *s = &w->table[w->n_sections++];
    struct deflate d = { .src = p, .n = n, .weights = !strcmp(kind, XC_KIND_TENSOR), .width = width };
    size_t n_frames = 0, total = n;
    enum xc_status status = XC_OK;
    XXH128_hash_t h;

    if (w->opts->cancelled && w->opts->cancelled(w->opts->cancelled_arg)) return xc_fail(err, XC_E_CANCELLED, "stopped on request");
    XC_TRY(pad(w, err));
    memcpy(s->kind, kind, 4);
    s->flags = flags;
    s->tensor = tensor;
    s->part = part;
    s->offset = w->at;
    s->stored_bytes = s->decoded_bytes = n;
    if (w->layout && d.weights) w->layout[tensor][part] = w->at;
    if (w->f && placed) {
        memcpy(s->digest, placed, sizeof s->digest);
    } else if (w->f) {
        h = XXH3_128bits(p, n);
        s->digest[0] = h.low64;
        s->digest[1] = h.high64;
    }
    if (w->opts->store == XC_STORE_SMALL && n > 256) status = compress_smaller(&d, &n_frames, &total, w->opts->pool, err);
    if (status == XC_OK && total < n) {
        s->flags |= d.width ? XC_SECTION_ZSTD | XC_SECTION_PLANES : XC_SECTION_ZSTD;
        s->width = (uint32_t)d.width;
        s->stored_bytes = total;
        for (size_t i = 0; i < n_frames && status == XC_OK; i++) status = emit(w, d.frames[i].p, d.frames[i].n, err);
    } else if (status == XC_OK && placed) {
        w->at += n;
        status = xc_atomic_skip(w->f, n, err);
    } else if (status == XC_OK) {
        status = emit(w, p, n, err);
    }
    free_frames(&d, n_frames);
    w->done += (double)n;
    if (w->opts->progress) w->opts->progress(w->opts->progress_arg, "writing", w->done, w->total);
    return status;
}

/* Bytes of a number in a part; 0 where they are one byte, or no plain numbers. */
static int part_width(const struct xc_encoding *enc, enum xc_part part)
{
    const enum xc_format format = (enum xc_format)(part == XC_PART_DATA ? enc->format : enc->scale_format);
    const struct xc_format_traits *f = xc_format_traits(format);

    if (part != XC_PART_DATA && part != XC_PART_SCALE) return 0;
    return f && (format == XC_FMT_F32 || format == XC_FMT_F16 || format == XC_FMT_BF16) ? f->bits / 8 : 0;
}

static enum xc_status add_tensor(struct writer *w, struct xc_tensor *t, uint32_t id, struct xc_err *err)
{
    const bool absent = !t->part[XC_PART_DATA];
    enum xc_status status = XC_OK;

    if (absent && w->f) XC_TRY(xc_tensor_load(t, err));
    for (uint32_t p = 0; p < XC_PART_COUNT && status == XC_OK; p++) {
        size_t bytes;
        uint64_t digest[2];
        const struct xc_write_base *base = w->f ? w->opts->base : NULL;
        const struct xc_encoding f32 = { .format = XC_FMT_F32 };

        XC_TRY(xc_encoding_part_bytes(absent ? &f32 : &t->enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)p, &bytes, err));
        if (bytes) status = add_section(w, XC_KIND_TENSOR, XC_SECTION_REQUIRED, id, p, t->part[p] ? t->part[p]->data : NULL, bytes,
                                        part_width(absent ? &f32 : &t->enc, (enum xc_part)p),
                                        base && t->part[p] && base->placed(base->arg, t->part[p], (w->at + XC_ALIGN - 1) / XC_ALIGN * XC_ALIGN, digest) ? digest : NULL, err);
    }
    for (int p = 0; w->f && p < XC_PART_COUNT; p++)
        if (t->part[p]) xc_buf_forget(t->part[p]);
    if (absent) xc_tensor_drop(t);
    return status;
}

static enum xc_status write_sections(struct writer *w, const struct xc_model *m, const struct bytes *model, struct xc_err *err)
{
    XC_TRY(add_section(w, XC_KIND_MODEL, XC_SECTION_REQUIRED, 0, 0, model->p, model->n, 0, NULL, err));
    if (m->tokenizer) XC_TRY(add_section(w, XC_KIND_TOKENIZER, XC_SECTION_REQUIRED, 0, 0, m->tokenizer->data, m->tokenizer->size, 0, NULL, err));
    for (int32_t i = 0; i < m->n_tensors; i++) XC_TRY(add_tensor(w, m->tensors[i], (uint32_t)i, err));
    w->tensors_end = w->at;
    if (m->golden) XC_TRY(add_section(w, XC_KIND_GOLDEN, 0, 0, 0, m->golden->data, m->golden->size, 0, NULL, err));
    if (m->manifest) XC_TRY(add_section(w, XC_KIND_MANIFEST, 0, 0, 0, m->manifest->data, m->manifest->size, 0, NULL, err));
    return pad(w, err); /* readers may load whole vectors at the end of a tensor */
}

static enum xc_status write_all(struct writer *w, const struct xc_model *m, struct xc_err *err)
{
    struct bytes model = { 0 };
    struct xc_file_header h = { .magic = XC_FILE_MAGIC, .version = XC_CONTAINER_VERSION, .numerics = XC_NUMERICS_VERSION };
    const uint32_t most = 4 + (uint32_t)m->n_tensors * XC_PART_COUNT;
    uint32_t count = 1u + (m->tokenizer ? 1u : 0u) + (m->golden ? 1u : 0u) + (m->manifest ? 1u : 0u);
    enum xc_status status;

    for (int32_t i = 0; i < m->n_tensors; i++) {
        const struct xc_tensor *t = m->tensors[i];

        for (int p = 0; p < XC_PART_COUNT; p++) count += t->part[p] || p == XC_PART_DATA ? 1u : 0u;
        w->total += (double)xc_tensor_bytes(t);
    }
    w->table = xc_calloc(most, sizeof *w->table);
    status = w->table ? put_model(&model, m, err) : xc_fail_nomem(err, most * sizeof *w->table);
    if (status == XC_OK) status = emit(w, &h, sizeof h, err);
    if (status == XC_OK) status = emit(w, w->table, count * sizeof *w->table, err); /* room; filled in at the end */
    if (status == XC_OK) status = write_sections(w, m, &model, err);
    if (status == XC_OK && w->n_sections != count) status = xc_fail(err, XC_E_ARG, "%u sections, %u expected", w->n_sections, count);
    if (status == XC_OK && w->f) {
        h.n_sections = count;
        h.file_bytes = w->at;
        h.table_hash = XXH3_64bits(w->table, count * sizeof *w->table);
        h.header_hash = XXH3_64bits(&h, offsetof(struct xc_file_header, header_hash));
        status = xc_atomic_write_at(w->f, 0, &h, sizeof h, err);
        if (status == XC_OK) status = xc_atomic_write_at(w->f, sizeof h, w->table, count * sizeof *w->table, err);
    }
    xc_free(w->table);
    xc_free(model.p);
    return status;
}

enum xc_status xc_container_write(const struct xc_model *m, const char *path, const struct xc_write_opts *opts, uint64_t *bytes_written, struct xc_err *err)
{
    static const struct xc_write_opts defaults;
    struct writer w = { .opts = opts ? opts : &defaults };
    enum xc_status status;

    if (bytes_written) *bytes_written = 0;
    XC_TRY(xc_model_verify(m, err));
    XC_TRY(w.opts->base ? xc_atomic_adopt(&w.f, path, w.opts->base->path, w.opts->base->fd, err) : xc_atomic_open(&w.f, path, err));
    status = write_all(&w, m, err);
    if (status == XC_OK && w.opts->max_bytes && w.at > w.opts->max_bytes)
        status = xc_fail(err, XC_E_RANGE, "the file takes %llu bytes, more than the %llu that were asked for", (unsigned long long)w.at, (unsigned long long)w.opts->max_bytes);
    if (status != XC_OK) {
        xc_atomic_discard(&w.f);
        return status;
    }
    XC_TRY(xc_atomic_commit(&w.f, err));
    if (bytes_written) *bytes_written = w.at;
    return XC_OK;
}

enum xc_status xc_container_layout(const struct xc_model *m, uint64_t (*at)[XC_PART_COUNT], uint64_t *end, uint64_t *bytes, struct xc_err *err)
{
    static const struct xc_write_opts defaults;
    struct writer w = { .opts = &defaults, .layout = at };
    const enum xc_status status = write_all(&w, m, err);

    *bytes = status == XC_OK ? w.at : 0;
    *end = status == XC_OK ? w.tensors_end : 0;
    return status;
}

enum xc_status xc_container_size(const struct xc_model *m, uint64_t *bytes, struct xc_err *err)
{
    static const struct xc_write_opts defaults;
    struct writer w = { .opts = &defaults };
    const enum xc_status status = write_all(&w, m, err);

    *bytes = status == XC_OK ? w.at : 0;
    return status;
}
