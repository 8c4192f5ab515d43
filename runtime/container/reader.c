/* reader: a .xc file to a model. Every number in the file is hostile until checked here. See container.h; docs/container.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "runtime/container/container.h"
#include "runtime/container/layout.h"
#include "runtime/container/frame_pack.h"
#include "runtime/graph/op.h"

#define DEFAULT_MAX_MEMORY ((size_t)16 << 30)
#define FREE_MEMORY ((size_t)64 << 20)
#define BOMB_RATIO 64

bool xc_container_probe(const uint8_t *bytes, size_t n) { return n >= 8 && !memcmp(bytes, XC_FILE_MAGIC, 8); }

/* ---- a cursor that never leaves its bytes ---- */
struct cursor {
    const uint8_t *p;
    size_t n, at;
    bool bad;   /* sticky */
    bool nomem; /* bad because memory ran out, not because of the bytes */
};

static const uint8_t *take(struct cursor *c, size_t n)
{
    const uint8_t *p = c->p + c->at;

    if (c->bad || n > c->n - c->at) {
        c->bad = true;
        return NULL;
    }
    c->at += n;
    return p;
}

static uint32_t get_u32(struct cursor *c)
{
    const uint8_t *p = take(c, 4);

    return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

static int32_t get_i32(struct cursor *c) { return (int32_t)get_u32(c); }

static uint64_t get_u64(struct cursor *c)
{
    const uint64_t low = get_u32(c);

    return low | (uint64_t)get_u32(c) << 32;
}

static double get_f64(struct cursor *c)
{
    const uint64_t u = get_u64(c);
    double v;

    memcpy(&v, &u, sizeof v);
    return v;
}

/* How many of something follow; each takes at least `least` bytes, so a count cannot be larger than what is left. */
static uint32_t get_count(struct cursor *c, size_t least)
{
    const uint32_t n = get_u32(c);

    if (n > XC_MAX_COUNT || (size_t)n > (c->n - c->at) / least) {
        c->bad = true;
        return 0;
    }
    return n;
}

static uint32_t get_few(struct cursor *c, size_t least)
{
    const uint32_t n = get_count(c, least);

    if (n > XC_MAX_FEW) c->bad = true;
    return c->bad ? 0 : n;
}

/* A string into the arena; "" and the bad flag when it is none. */
static const char *get_str(struct cursor *c, struct xc_model *m)
{
    const uint32_t n = get_u32(c);
    const uint8_t *p = take(c, n);
    const bool valid = p && xc_utf8_ok((const char *)p, n);
    const char *s = valid ? xc_arena_strndup(&m->arena, (const char *)p, n) : NULL;

    if (!s) c->bad = true;
    if (valid && !s) c->nomem = true;
    return s ? s : "";
}

static enum xc_status fail_cut(const struct cursor *c, const char *what, struct xc_err *err)
{
    if (c->nomem) return xc_fail_nomem(err, 0);
    return xc_fail(err, XC_E_FORMAT, "the %s is cut off or damaged near byte %zu of its section", what, c->at);
}

/* ---- the model section ---- */
static enum xc_status get_tensor(struct cursor *c, struct xc_model *m, struct xc_err *err)
{
    const char *name = get_str(c, m);
    const uint32_t rank = get_u32(c);
    int64_t dim[XC_MAX_RANK] = { 0 };
    struct xc_encoding enc = { 0 };
    uint32_t field[4], flags;
    int32_t id;

    if (rank < 1 || rank > XC_MAX_RANK) return fail_cut(c, "tensor directory", err);
    for (uint32_t i = 0; i < rank; i++) dim[i] = (int64_t)get_u64(c);
    for (int i = 0; i < 4; i++) field[i] = get_u32(c);
    flags = get_u32(c);
    enc.group = get_i32(c);
    enc.n = get_i32(c);
    enc.m = get_i32(c);
    enc.block_rows = get_i32(c);
    enc.block_cols = get_i32(c);
    if (c->bad || field[0] > 255 || field[1] > 255 || field[2] > 255 || field[3] > 255 || flags > 15) return fail_cut(c, "tensor directory", err);
    enc.format = (uint8_t)field[0];
    enc.structure = (uint8_t)field[1];
    enc.layout = (uint8_t)field[2];
    enc.scale_format = (uint8_t)field[3];
    enc.zero_point = flags & 1;
    enc.sum16 = flags & 2;
    enc.perm_rows = flags & 4;
    enc.perm_cols = flags & 8;
    XC_TRY(xc_model_add_tensor(m, &id, name, (int32_t)rank, dim, err));
    m->tensors[id]->enc = enc;
    const enum xc_status status = xc_encoding_check(&enc, xc_tensor_rows(m->tensors[id]), xc_tensor_cols(m->tensors[id]), err);

    return status == XC_OK ? XC_OK : xc_fail_at(err, status, "tensor '%s'", name);
}

static enum xc_status get_attrs(struct cursor *c, struct xc_model *m, const struct xc_op *op, void *attr, struct xc_err *err)
{
    const uint32_t n = get_count(c, 8);

    for (uint32_t i = 0; i < n && !c->bad; i++) {
        const char *name = get_str(c, m), *choice = NULL;
        const uint32_t type = get_u32(c);
        const struct xc_attr_def *def = op->attrs;
        double value = 0;

        while (def && def->name && strcmp(def->name, name)) def++;
        if (!def || !def->name) return xc_fail(err, XC_E_VERSION, "op '%s' has an attribute '%s' that is not known to this version", op->name, name);
        if (type != (uint32_t)def->type) return fail_cut(c, "attribute list", err);
        if (def->type == XC_ATTR_CHOICE) {
            choice = get_str(c, m);
            while (def->choices[(int)value] && strcmp(def->choices[(int)value], choice)) value += 1;
            if (!def->choices[(int)value]) return xc_fail(err, XC_E_VERSION, "op '%s': %s '%s' is not known to this version", op->name, name, choice);
        } else {
            value = get_f64(c);
        }
        XC_TRY(xc_attr_set(def, attr, value, err));
    }
    return c->bad ? fail_cut(c, "attribute list", err) : XC_OK;
}

static enum xc_status get_node(struct cursor *c, struct xc_model *m, struct xc_graph *g, struct xc_err *err)
{
    const char *name = get_str(c, m), *op_name = get_str(c, m);
    const uint32_t version = get_u32(c), n_in = get_u32(c);
    const struct xc_op *op = xc_op_find(op_name);
    struct xc_ref in[XC_MAX_IN] = { { 0 } };
    int32_t out[XC_MAX_OUT];
    void *attr = NULL;

    if (c->bad || n_in > XC_MAX_IN) return fail_cut(c, "node list", err);
    if (!op || version < 1 || version > (uint32_t)op->version) return xc_fail(err, XC_E_VERSION, "op '%s' version %u is not known to this version", op_name, version);
    for (uint32_t i = 0; i < n_in; i++) {
        const uint32_t kind = get_u32(c);
        const int32_t id = get_i32(c);
        const uint32_t mode = get_u32(c);
        const double scale = get_f64(c);

        if (c->bad || kind > XC_REF_STATE || mode > XC_RANGE_AFFINE || !isfinite(scale)) return fail_cut(c, "node list", err);
        in[i] = (struct xc_ref){ .kind = (enum xc_ref_kind)kind, .id = id, .range = { .mode = (enum xc_range_mode)mode, .scale = (float)scale } };
    }
    if (op->attr_size) {
        attr = xc_arena_alloc(&m->arena, op->attr_size);
        if (!attr) return xc_fail_nomem(err, op->attr_size);
        for (const struct xc_attr_def *def = op->attrs; def->name; def++) XC_TRY(xc_attr_set(def, attr, def->def, err));
    }
    XC_TRY(get_attrs(c, m, op, attr, err));
    return xc_graph_add_node(g, out, op_name, name, in, (int32_t)n_in, attr, err);
}

static enum xc_status get_graph(struct cursor *c, struct xc_model *m, struct xc_err *err)
{
    const char *name = get_str(c, m);
    struct xc_graph *g = NULL;
    uint32_t n;
    int32_t id;

    XC_TRY(xc_model_add_graph(m, &g, name, err));
    n = get_few(c, 36);
    for (uint32_t i = 0; i < n && !c->bad; i++) {
        struct xc_space s = { .name = get_str(c, m) };
        const uint32_t map = get_u32(c);

        s.map = map < XC_MAP_COUNT ? (enum xc_map)map : XC_MAP_COUNT;
        s.base = get_i32(c);
        s.state = get_i32(c);
        s.kernel = get_i32(c);
        s.stride = get_i32(c);
        s.pad_left = get_i32(c);
        s.pad_right = get_i32(c);
        s.k = get_i32(c);
        if (!c->bad) XC_TRY(xc_graph_add_space(g, &id, &s, err));
    }
    n = get_count(c, 16);
    for (uint32_t i = 0; i < n && !c->bad; i++) {
        const char *input = get_str(c, m);
        const int32_t space = get_i32(c), cols = get_i32(c);
        const uint32_t dtype = get_u32(c);

        if (!c->bad) XC_TRY(xc_graph_add_input(g, &id, input, space, cols, dtype < XC_DTYPE_COUNT ? (enum xc_dtype)dtype : XC_DTYPE_COUNT, err));
    }
    n = get_count(c, 20);
    for (uint32_t i = 0; i < n && !c->bad; i++) XC_TRY(get_node(c, m, g, err));
    n = get_count(c, 4);
    for (uint32_t i = 0; i < n && !c->bad; i++) XC_TRY(xc_graph_add_output(g, get_i32(c), err));
    return c->bad ? fail_cut(c, "graph", err) : XC_OK;
}

static enum xc_status get_model(struct cursor *c, struct xc_model *m, struct xc_err *err)
{
    uint32_t n = get_count(c, 8);
    int32_t id;

    for (uint32_t i = 0; i < n && !c->bad; i++) {
        const char *key = get_str(c, m), *value = get_str(c, m);

        if (!c->bad) XC_TRY(xc_model_set_meta(m, key, value, err));
    }
    n = get_count(c, 4);
    for (uint32_t i = 0; i < n && !c->bad; i++) XC_TRY(xc_model_add_label(m, get_str(c, m), err));
    n = get_few(c, 16);
    for (uint32_t i = 0; i < n && !c->bad; i++) {
        const char *name = get_str(c, m);
        const int32_t cols = get_i32(c);
        const uint32_t dtype = get_u32(c), append = get_u32(c);

        if (!c->bad) XC_TRY(xc_model_add_state(m, &id, name, cols, dtype < XC_DTYPE_COUNT ? (enum xc_dtype)dtype : XC_DTYPE_COUNT, append != 0, err));
    }
    n = get_count(c, 56);
    for (uint32_t i = 0; i < n && !c->bad; i++) XC_TRY(get_tensor(c, m, err));
    n = get_few(c, 20);
    for (uint32_t i = 0; i < n && !c->bad; i++) XC_TRY(get_graph(c, m, err));
    if (!c->bad && c->at != c->n) return xc_fail(err, XC_E_FORMAT, "%zu bytes after the last graph", c->n - c->at);
    return c->bad ? fail_cut(c, "model section", err) : XC_OK;
}

/* ---- sections ---- */
struct reader {
    struct xc_buf *file;
    const struct xc_read_opts *opts;
    struct xc_file_header header;
    const uint8_t *table;
    size_t budget; /* bytes that may still be decoded */
};

static struct xc_file_section entry(const struct reader *r, uint32_t i)
{
    struct xc_file_section s;

    memcpy(&s, r->table + (size_t)i * sizeof s, sizeof s);
    return s;
}

static enum xc_status open_header(struct reader *r, struct xc_err *err)
{
    struct xc_file_header *h = &r->header;
    size_t bytes;
    uint64_t at;

    if (!xc_container_probe(r->file->data, r->file->size)) return xc_fail(err, XC_E_FORMAT, "not a .xc file");
    if (r->file->size < sizeof *h) return xc_fail(err, XC_E_FORMAT, "the file is cut off in its header");
    memcpy(h, r->file->data, sizeof *h);
    if (h->version != XC_CONTAINER_VERSION) return xc_fail(err, XC_E_VERSION, "container version %u; this program reads %d", h->version, XC_CONTAINER_VERSION);
    if (h->header_hash != XXH3_64bits(h, offsetof(struct xc_file_header, header_hash))) return xc_fail(err, XC_E_CHECKSUM, "the header's checksum is wrong");
    if (h->numerics > XC_NUMERICS_VERSION)
        return xc_fail(err, XC_E_VERSION, "the model needs numerics version %u, this program has %d: its answers would differ", h->numerics, XC_NUMERICS_VERSION);
    if (h->numerics < 1) return xc_fail(err, XC_E_VERSION, "numerics version %u does not exist", h->numerics);
    if (h->file_bytes != r->file->size)
        return xc_fail(err, XC_E_FORMAT, "the file has %zu bytes, its header says %llu (is it cut off?)", r->file->size, (unsigned long long)h->file_bytes);
    if (h->file_bytes % XC_ALIGN) return xc_fail(err, XC_E_FORMAT, "the file has %zu bytes, not a multiple of %d", r->file->size, XC_ALIGN);
    if (h->n_sections > XC_MAX_SECTIONS || !xc_mul_ok(&bytes, h->n_sections, sizeof(struct xc_file_section)) || bytes > r->file->size - sizeof *h)
        return xc_fail(err, XC_E_FORMAT, "a table of %u sections does not fit the file", h->n_sections);
    r->table = r->file->data + sizeof *h;
    if (h->table_hash != XXH3_64bits(r->table, bytes)) return xc_fail(err, XC_E_CHECKSUM, "the section table's checksum is wrong");
    at = sizeof *h + bytes;
    for (uint32_t i = 0; i < h->n_sections; i++) { /* ascending, apart, inside */
        const struct xc_file_section s = entry(r, i);

        if (s.offset % XC_ALIGN || s.offset < at || s.offset > r->file->size || s.stored_bytes > r->file->size - s.offset)
            return xc_fail(err, XC_E_FORMAT, "section %u lies at byte %llu with %llu bytes: outside the file, or over another", i, (unsigned long long)s.offset,
                           (unsigned long long)s.stored_bytes);
        if ((s.flags & XC_SECTION_REQUIRED) && (s.flags & ~(uint32_t)XC_SECTION_FLAGS_KNOWN))
            return xc_fail(err, XC_E_VERSION, "section %u ('%.4s') is required and stored in a way (flags %#x) that is not known to this version", i, s.kind, s.flags);
        if ((s.flags & XC_SECTION_PLANES) && (!(s.flags & XC_SECTION_ZSTD) || (s.width != 2 && s.width != 4)) && !(s.flags & ~(uint32_t)XC_SECTION_FLAGS_KNOWN))
            return xc_fail(err, XC_E_FORMAT, "section %u is in byte planes of width %u, or not compressed: widths are 2 and 4", i, s.width);
        if (!(s.flags & XC_SECTION_ZSTD) && s.stored_bytes != s.decoded_bytes) return xc_fail(err, XC_E_FORMAT, "section %u has two sizes", i);
        at = s.offset + s.stored_bytes;
    }
    return XC_OK;
}

static enum xc_status check_digest(const struct xc_file_section *s, const uint8_t *p, size_t n, struct xc_err *err)
{
    const XXH128_hash_t h = XXH3_128bits(p, n);

    if (h.low64 == s->digest[0] && h.high64 == s->digest[1]) return XC_OK;
    return xc_fail(err, XC_E_CHECKSUM, "section '%.4s' (tensor %u) has a wrong checksum: the file is damaged", s->kind, s->tensor);
}

/* Frame i holds bytes i*XC_FRAME_BYTES.. of the section and says so; anything else is refused before it is decoded. */
static enum xc_status decode_frame(ZSTD_DCtx *ctx, uint8_t *dst, size_t n, const uint8_t **src, size_t *left, struct xc_err *err)
{
    const unsigned long long says = ZSTD_getFrameContentSize(*src, *left);
    const size_t frame = ZSTD_findFrameCompressedSize(*src, *left);
    size_t got;

    if (ZSTD_isError(frame) || says != n) return xc_fail(err, XC_E_FORMAT, "a compressed frame is damaged, or is not one of %zu bytes", n);
    got = ZSTD_decompressDCtx(ctx, dst, n, *src, frame);
    if (ZSTD_isError(got))
        return xc_fail(err, ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation ? XC_E_NOMEM : XC_E_FORMAT, "a compressed frame is damaged: %s", ZSTD_getErrorName(got));
    if (got != n) return xc_fail(err, XC_E_FORMAT, "a compressed frame holds %zu bytes, not %zu", got, n);
    *src += frame;
    *left -= frame;
    return XC_OK;
}

static enum xc_status decode(struct reader *r, struct xc_buf **out, const struct xc_file_section *s, struct xc_err *err)
{
    const uint8_t *src = r->file->data + s->offset;
    size_t left = (size_t)s->stored_bytes;
    ZSTD_DCtx *ctx;
    uint8_t *plane = NULL;
    enum xc_status status;

    if (s->decoded_bytes > r->budget)
        return xc_fail(err, XC_E_LIMIT, "section '%.4s' (tensor %u) unpacks to %llu bytes, %zu are left of the memory allowed for a file of %zu", s->kind, s->tensor,
                       (unsigned long long)s->decoded_bytes, r->budget, r->file->size);
    r->budget -= (size_t)s->decoded_bytes;
    XC_TRY(xc_buf_new(out, (size_t)s->decoded_bytes, err));
    ctx = ZSTD_createDCtx_advanced(xc_zstd_mem());
    if (s->flags & XC_SECTION_PLANES) plane = xc_malloc(XC_FRAME_BYTES);
    status = ctx && (plane || !(s->flags & XC_SECTION_PLANES)) ? XC_OK : xc_fail_nomem(err, XC_FRAME_BYTES);
    for (size_t at = 0; at < (*out)->size && status == XC_OK; at += XC_FRAME_BYTES) {
        const size_t n = (*out)->size - at < XC_FRAME_BYTES ? (*out)->size - at : XC_FRAME_BYTES;

        status = decode_frame(ctx, plane ? plane : (*out)->data + at, n, &src, &left, err);
        if (status == XC_OK && plane) xc_planes_join((*out)->data + at, plane, n, (int)s->width);
    }
    xc_free(plane);
    ZSTD_freeDCtx(ctx);
    if (status == XC_OK && left) status = xc_fail(err, XC_E_FORMAT, "section '%.4s' (tensor %u): %zu bytes after its last frame", s->kind, s->tensor, left);
    if (status == XC_OK) status = check_digest(s, (*out)->data, (*out)->size, err);
    if (status != XC_OK) xc_buf_unref(out);
    return status;
}

/* The decoded bytes: a view of the mapping, or a heap buffer. */
static enum xc_status fetch(struct reader *r, struct xc_buf **out, const struct xc_file_section *s, bool verify, struct xc_err *err)
{
    *out = NULL;
    if (s->flags & XC_SECTION_ZSTD) return decode(r, out, s, err);
    XC_TRY(xc_buf_view(out, r->file, (size_t)s->offset, (size_t)s->stored_bytes, err));
    if (verify || r->opts->verify) {
        const enum xc_status status = check_digest(s, (*out)->data, (*out)->size, err);

        if (status != XC_OK) {
            xc_buf_unref(out);
            return status;
        }
    }
    return XC_OK;
}

static enum xc_status fetch_once(struct reader *r, struct xc_buf **slot, const struct xc_file_section *s, struct xc_err *err)
{
    if (*slot) return xc_fail(err, XC_E_FORMAT, "section '%.4s' is there twice", s->kind);
    return fetch(r, slot, s, true, err);
}

/* A tensor's part must have the size that its encoding computes: nothing in the file is believed over that. */
static enum xc_status fetch_part(struct reader *r, struct xc_model *m, const struct xc_file_section *s, struct xc_err *err)
{
    struct xc_tensor *t;
    size_t bytes;

    if (s->tensor >= (uint32_t)m->n_tensors || s->part >= XC_PART_COUNT) return xc_fail(err, XC_E_FORMAT, "bytes for tensor %u, part %u, which is not there", s->tensor, s->part);
    t = m->tensors[s->tensor];
    XC_TRY(xc_encoding_part_bytes(&t->enc, xc_tensor_rows(t), xc_tensor_cols(t), (enum xc_part)s->part, &bytes, err));
    if (t->part[s->part]) return xc_fail(err, XC_E_FORMAT, "tensor '%s' has part %u twice", t->name, s->part);
    if (bytes != s->decoded_bytes) return xc_fail(err, XC_E_FORMAT, "tensor '%s': part %u has %llu bytes, must have %zu", t->name, s->part, (unsigned long long)s->decoded_bytes, bytes);
    XC_TRY(fetch(r, &t->part[s->part], s, false, err));
    return XC_OK;
}

static enum xc_status read_sections(struct reader *r, struct xc_model *m, struct xc_err *err)
{
    struct xc_buf *model = NULL;
    enum xc_status status = XC_OK;

    for (uint32_t i = 0; i < r->header.n_sections && status == XC_OK; i++) {
        const struct xc_file_section s = entry(r, i);

        if (s.flags & ~(uint32_t)XC_SECTION_FLAGS_KNOWN) continue; /* optional, and stored in a way of the future */
        if (!memcmp(s.kind, XC_KIND_MODEL, 4)) status = fetch_once(r, &model, &s, err);
        else if (!memcmp(s.kind, XC_KIND_TENSOR, 4)) continue;
        else if (!memcmp(s.kind, XC_KIND_TOKENIZER, 4)) status = fetch_once(r, &m->tokenizer, &s, err);
        else if (!memcmp(s.kind, XC_KIND_GOLDEN, 4)) status = fetch_once(r, &m->golden, &s, err);
        else if (!memcmp(s.kind, XC_KIND_MANIFEST, 4)) status = fetch_once(r, &m->manifest, &s, err);
        else if (s.flags & XC_SECTION_REQUIRED)
            status = xc_fail(err, XC_E_VERSION, "section '%.4s' is required and not known to this version", s.kind);
        if (status != XC_OK) xc_fail_at(err, status, "section %u at byte %llu", i, (unsigned long long)s.offset);
    }
    if (status == XC_OK && !model) status = xc_fail(err, XC_E_FORMAT, "the file has no model section");
    if (status == XC_OK) {
        struct cursor c = { .p = model->data, .n = model->size };

        m->bulk = true;
        status = get_model(&c, m, err);
        m->bulk = false;
    }
    xc_buf_unref(&model);
    for (uint32_t i = 0; i < r->header.n_sections && status == XC_OK; i++) {
        const struct xc_file_section s = entry(r, i);

        if (memcmp(s.kind, XC_KIND_TENSOR, 4) || (s.flags & ~(uint32_t)XC_SECTION_FLAGS_KNOWN)) continue;
        status = fetch_part(r, m, &s, err);
        if (status != XC_OK) xc_fail_at(err, status, "section %u at byte %llu", i, (unsigned long long)s.offset);
    }
    return status == XC_OK ? xc_model_verify(m, err) : status;
}

/* A small file may not ask for much: no model packs to a 64th, a bomb to a 10,000th. */
static size_t default_memory(size_t file)
{
    if (file <= FREE_MEMORY / BOMB_RATIO) return FREE_MEMORY;
    return file < DEFAULT_MAX_MEMORY / BOMB_RATIO ? file * BOMB_RATIO : DEFAULT_MAX_MEMORY;
}

enum xc_status xc_container_read_buf(struct xc_model **out, struct xc_buf *buf, const struct xc_read_opts *opts, struct xc_err *err)
{
    static const struct xc_read_opts defaults;
    struct reader r = { .file = buf, .opts = opts ? opts : &defaults };
    enum xc_status status;

    *out = NULL;
    r.budget = r.opts->max_memory ? r.opts->max_memory : default_memory(buf->size);
    XC_TRY(open_header(&r, err));
    XC_TRY(xc_model_new(out, err));
    status = read_sections(&r, *out, err);
    if (status != XC_OK) xc_model_free(out);
    return status;
}

/* "path", or "path: place in it". */
static enum xc_status fail_in(const char *path, enum xc_status status, struct xc_err *err)
{
    char place[sizeof err->where];

    if (!err) return status;
    memcpy(place, err->where, sizeof place);
    err->where[0] = '\0';
    return place[0] ? xc_fail_at(err, status, "%s: %s", path, place) : xc_fail_at(err, status, "%s", path);
}

enum xc_status xc_container_read(struct xc_model **out, const char *path, const struct xc_read_opts *opts, struct xc_err *err)
{
    struct xc_buf *buf = NULL;
    enum xc_status status;

    *out = NULL;
    XC_TRY(xc_buf_map(&buf, path, err));
    status = xc_container_read_buf(out, buf, opts, err);
    xc_buf_unref(&buf);
    return status == XC_OK ? XC_OK : fail_in(path, status, err);
}

enum xc_status xc_container_digests(const char *path, int (*fn)(void *arg, const char *section, const char hex[33]), void *arg, struct xc_err *err)
{
    const struct xc_read_opts opts = { .verify = true };
    struct reader r = { .opts = &opts };
    struct xc_model *m = NULL;
    enum xc_status status;

    XC_TRY(xc_buf_map(&r.file, path, err));
    status = xc_container_read_buf(&m, r.file, &opts, err);
    if (status == XC_OK) status = open_header(&r, err);
    for (uint32_t i = 0; status == XC_OK && i < r.header.n_sections; i++) {
        const struct xc_file_section s = entry(&r, i);
        char name[XC_MAX_NAME + 32], hex[33];

        if (s.flags & ~(uint32_t)XC_SECTION_FLAGS_KNOWN) continue;
        if (!memcmp(s.kind, XC_KIND_TENSOR, 4)) snprintf(name, sizeof name, "tensor:%s:%u", m->tensors[s.tensor]->name, s.part);
        else snprintf(name, sizeof name, "%.4s", s.kind);
        snprintf(hex, sizeof hex, "%016llx%016llx", (unsigned long long)s.digest[1], (unsigned long long)s.digest[0]);
        if (fn(arg, name, hex)) break;
    }
    xc_buf_unref(&r.file);
    xc_model_free(&m);
    return status == XC_OK ? XC_OK : fail_in(path, status, err);
}
