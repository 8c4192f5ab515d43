/* The .xc file against everything that can be wrong with it: cut at every byte, flipped at every bit, with checksums made good again
 * around every lie; and what is right: the same bytes for any number of threads, the old file kept on failure. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include <cmocka.h>

#include "runtime/base/rng.h"
#include "runtime/container/container.h"
#include "runtime/container/layout.h"
#include "runtime/container/frame_pack.h"
#include "runtime/graph/op.h"

static struct xc_err err;
static char path[] = "/tmp/xc-container-XXXXXX";

static void ok_at(enum xc_status status, int line)
{
    if (status != XC_OK) fail_msg("line %d: %s (%s)", line, err.msg, err.where);
}
#define OK(call) ok_at(call, __LINE__)

/* ---- a small model with everything a file can hold ---- */
static int32_t tensor(struct xc_model *m, const char *name, int64_t rows, int64_t cols, enum xc_format format)
{
    const int64_t dim[] = { rows, cols };
    const struct xc_encoding enc = { .format = (uint8_t)format, .layout = format == XC_FMT_S8 ? XC_LAYOUT_PANEL16 : XC_LAYOUT_ROWS };
    struct xc_buf *part[XC_PART_COUNT] = { 0 };
    struct xc_rng rng;
    size_t bytes;
    int32_t id;

    OK(xc_model_add_tensor(m, &id, name, rows > 1 ? 2 : 1, rows > 1 ? dim : dim + 1, &err));
    xc_rng_init(&rng, 3, (uint64_t)id);
    for (int p = 0; p < XC_PART_COUNT; p++) {
        OK(xc_encoding_part_bytes(&enc, rows, cols, (enum xc_part)p, &bytes, &err));
        if (!bytes) continue;
        OK(xc_buf_new(&part[p], bytes, &err));
        if (p == XC_PART_DATA && format == XC_FMT_S8)
            for (size_t i = 0; i < bytes; i++) part[p]->data[i] = (uint8_t)(int8_t)lrint(fmax(-127, fmin(127, 30 * xc_rng_normal(&rng))));
        else
            for (size_t i = 0; i < bytes / 4; i++) ((float *)(void *)part[p]->data)[i] = (float)xc_rng_normal(&rng);
    }
    OK(xc_tensor_set_encoded(m->tensors[id], &enc, part, &err));
    for (int p = 0; p < XC_PART_COUNT; p++) xc_buf_unref(&part[p]);
    return id;
}

static void text_section(struct xc_buf **out, const char *text)
{
    OK(xc_buf_new(out, strlen(text), &err));
    memcpy((*out)->data, text, strlen(text));
}

static struct xc_model *build(int64_t hidden)
{
    const struct xc_attr_attention attn = { .heads = 2, .causal = true };
    struct xc_model *m;
    struct xc_graph *g;
    int32_t tokens, kept, ids, x, q, k, st, y;
    struct xc_ref in[3];

    OK(xc_model_new(&m, &err));
    OK(xc_model_set_meta(m, "architecture", "Toy", &err));
    OK(xc_model_add_label(m, "n\xc3\xa9gatif", &err));
    OK(xc_model_add_label(m, "positif", &err));
    OK(xc_model_add_state(m, &st, "cache", (int32_t)hidden, XC_DTYPE_F32, true, &err));
    OK(xc_model_add_graph(m, &g, "encode", &err));
    OK(xc_graph_add_space(g, &tokens, &(struct xc_space){ .name = "tokens", .map = XC_MAP_INPUT }, &err));
    OK(xc_graph_add_space(g, &kept, &(struct xc_space){ .name = "kept", .map = XC_MAP_STATE, .state = st }, &err));
    OK(xc_graph_add_input(g, &ids, "ids", tokens, 1, XC_DTYPE_I32, &err));
    OK(xc_graph_add_node(g, &x, "gather", "embed", (struct xc_ref[]){ xc_val(ids), xc_ten(tensor(m, "table", 20, hidden, XC_FMT_F32)) }, 2, NULL, &err));
    in[0] = xc_val(x);
    in[0].range.mode = XC_RANGE_ROW;
    in[1] = xc_ten(tensor(m, "query", hidden, hidden, XC_FMT_S8));
    in[2] = xc_ten(tensor(m, "bias1", 1, hidden, XC_FMT_F32));
    OK(xc_graph_add_node(g, &q, "linear", "proj", in, 3, NULL, &err));
    OK(xc_graph_add_node(g, &k, "state_append", "keep", (struct xc_ref[]){ xc_val(x), xc_sta(st) }, 2, NULL, &err));
    OK(xc_graph_add_node(g, &y, "attention", "attn", (struct xc_ref[]){ xc_val(q), xc_val(k), xc_val(k) }, 3, &attn, &err));
    OK(xc_graph_add_output(g, y, &err));
    text_section(&m->tokenizer, "a tokenizer, as far as the container knows");
    text_section(&m->golden, "golden samples");
    text_section(&m->manifest, "{\"made\": \"by hand\"}");
    OK(xc_model_verify(m, &err));
    return m;
}

struct image {
    uint8_t *p;
    size_t n;
};

static struct image slurp(const char *from)
{
    FILE *f = fopen(from, "rb");
    struct image im = { 0 };

    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    im.n = (size_t)ftell(f);
    rewind(f);
    im.p = malloc(im.n + 1);
    assert_int_equal(fread(im.p, 1, im.n, f), im.n);
    fclose(f);
    return im;
}

static struct image write_image(const struct xc_model *m, enum xc_store store, struct xc_pool *pool)
{
    const struct xc_write_opts opts = { .store = store, .pool = pool };
    struct image im;
    uint64_t bytes;

    OK(xc_container_write(m, path, &opts, &bytes, &err));
    im = slurp(path);
    assert_int_equal(im.n, bytes);
    return im;
}

static struct image small_image(enum xc_store store)
{
    struct xc_model *m = build(64);
    const struct image im = write_image(m, store, NULL);

    xc_model_free(&m);
    return im;
}

/* From a heap block of exactly n bytes, so that the address sanitizer sees a read past the end. */
static enum xc_status read_bytes(const uint8_t *p, size_t n, bool verify, struct xc_model **out)
{
    const struct xc_read_opts opts = { .verify = verify };
    struct xc_model *m = NULL;
    struct xc_buf *buf;
    enum xc_status status;

    memset(&err, 0, sizeof err);
    OK(xc_buf_new(&buf, n, &err));
    memcpy(buf->data, p, n);
    status = xc_container_read_buf(&m, buf, &opts, &err);
    xc_buf_unref(&buf);
    assert_true((status == XC_OK) == (m != NULL));
    if (status != XC_OK) assert_true(err.msg[0] != '\0' && err.code == status);
    if (out) *out = m;
    else xc_model_free(&m);
    return status;
}

static struct xc_file_header *header(const struct image *im) { return (struct xc_file_header *)(void *)im->p; }
static struct xc_file_section *section(const struct image *im, uint32_t i) { return (struct xc_file_section *)(void *)(im->p + 64 + (size_t)i * 64); }

static uint32_t find(const struct image *im, const char *kind)
{
    for (uint32_t i = 0; i < header(im)->n_sections; i++)
        if (!memcmp(section(im, i)->kind, kind, 4)) return i;
    fail_msg("no section %s", kind);
    return 0;
}

/* Makes every checksum true again: what is left is what the checks themselves must find. */
static void seal(const struct image *im)
{
    struct xc_file_header *h = header(im);

    for (uint32_t i = 0; i < h->n_sections; i++) {
        struct xc_file_section *s = section(im, i);

        if ((s->flags & XC_SECTION_ZSTD) || s->offset > im->n || s->stored_bytes > im->n - s->offset) continue;
        const XXH128_hash_t d = XXH3_128bits(im->p + s->offset, (size_t)s->stored_bytes);

        s->digest[0] = d.low64;
        s->digest[1] = d.high64;
    }
    h->table_hash = XXH3_64bits(im->p + 64, (size_t)h->n_sections * 64);
    h->header_hash = XXH3_64bits(h, 56);
}

static void refused(const struct image *im, enum xc_status want, const char *word, int line)
{
    const enum xc_status status = read_bytes(im->p, im->n, true, NULL);

    if (status != want || !strstr(err.msg, word)) fail_msg("line %d: wanted '%s' with '%s', got '%s': %s", line, xc_status_name(want), word, xc_status_name(status), err.msg);
}
#define REFUSED(im, status, word) refused(&(im), status, word, __LINE__)

/* The place of a string in the model section. */
static uint8_t *model_text(const struct image *im, const char *text)
{
    const struct xc_file_section *s = section(im, find(im, XC_KIND_MODEL));
    uint8_t *at = memmem(im->p + s->offset, (size_t)s->stored_bytes, text, strlen(text));

    if (!at) fail_msg("no '%s' in the model section", text);
    return at;
}

/* ---- tests ---- */
static void test_truncation(void **state)
{
    (void)state;
    for (int store = XC_STORE_FAST; store <= XC_STORE_SMALL; store++) {
        const struct image im = small_image((enum xc_store)store);

        OK(read_bytes(im.p, im.n, true, NULL));
        for (size_t n = 0; n < im.n; n++) assert_int_not_equal(read_bytes(im.p, n, false, NULL), XC_OK);
        for (size_t n = 64; n < im.n; n++) { /* and with a header that agrees with the cut */
            struct image cut = { malloc(n), n };

            memcpy(cut.p, im.p, n);
            header(&cut)->file_bytes = n;
            header(&cut)->header_hash = XXH3_64bits(cut.p, 56);
            assert_int_not_equal(read_bytes(cut.p, n, false, NULL), XC_OK);
            free(cut.p);
        }
        free(im.p);
    }
}

static void test_bit_flips(void **state)
{
    (void)state;
    for (int store = XC_STORE_FAST; store <= XC_STORE_SMALL; store++) {
        const struct image im = small_image((enum xc_store)store);
        bool *covered = calloc(im.n, 1);
        uint32_t harmless = 0;

        memset(covered, 1, 64 + (size_t)header(&im)->n_sections * 64);
        for (uint32_t i = 0; i < header(&im)->n_sections; i++) memset(covered + section(&im, i)->offset, 1, (size_t)section(&im, i)->stored_bytes);
        for (size_t at = 0; at < im.n; at++)
            for (int bit = 0; bit < 8; bit += at < 2048 ? 1 : 5) {
                im.p[at] ^= (uint8_t)(1 << bit);
                const enum xc_status status = read_bytes(im.p, im.n, true, NULL);

                if (status == XC_OK && store == XC_STORE_SMALL && covered[at]) { /* zstd has bits that mean nothing */
                    harmless++;
                } else if ((status != XC_OK) != covered[at]) {
                    fail_msg("byte %zu, bit %d: %s", at, bit, xc_status_name(status));
                }
                im.p[at] ^= (uint8_t)(1 << bit);
            }
        print_message("%u flips decode to the same bytes\n", harmless);
        assert_true(harmless <= 8 * header(&im)->n_sections);
        free(covered);
        free(im.p);
    }
}

/* Every byte and every word of the header, the table and the model section lies, under good checksums: an error or a model, in bounded
 * time and memory, never a crash. */
static void test_lies(void **state)
{
    static const uint32_t words[] = { 0, 1, 0x7fffffffu, 0x80000000u, 0xffffffffu, 0x00010000u, 65536 * 4 };
    const struct image im = small_image(XC_STORE_FAST);
    const struct xc_file_section *s = section(&im, find(&im, XC_KIND_MODEL));
    const size_t from[] = { 8, 64, (size_t)s->offset }, to[] = { 40, 64 + (size_t)header(&im)->n_sections * 64, (size_t)(s->offset + s->stored_bytes) };
    struct image lie = { malloc(im.n), im.n };
    int accepted = 0, tried = 0;

    (void)state;
    for (size_t part = 0; part < 3; part++)
        for (size_t at = from[part]; at < to[part]; at++)
            for (size_t w = 0; w < XC_ARRAY_LEN(words) + 3; w++) {
                memcpy(lie.p, im.p, im.n);
                if (w < XC_ARRAY_LEN(words) && at + 4 <= to[part]) memcpy(lie.p + at, &words[w], 4);
                else lie.p[at] = (uint8_t)(w == XC_ARRAY_LEN(words) ? 0xff : lie.p[at] + (w % 2 ? 1 : -1));
                if (header(&lie)->n_sections > header(&im)->n_sections) { /* seal() must not run off; the reader may not either */
                    header(&lie)->header_hash = XXH3_64bits(lie.p, 56);
                } else {
                    seal(&lie);
                }
                accepted += read_bytes(lie.p, lie.n, false, NULL) == XC_OK;
                tried++;
            }
    print_message("%d lies, %d of them still a model\n", tried, accepted);
    free(lie.p);
    free(im.p);
}

static void test_named_refusals(void **state)
{
    struct image im;
    float nan_scale = NAN;
    uint32_t i, j;
    uint8_t *at;

    (void)state;
#define FRESH() (free(im.p), im = small_image(XC_STORE_FAST))
    im = small_image(XC_STORE_FAST);
    im.p[0] = 'Y';
    REFUSED(im, XC_E_FORMAT, "not a .xc file");
    FRESH(), header(&im)->version = 2, seal(&im);
    REFUSED(im, XC_E_VERSION, "container version 2");
    FRESH(), header(&im)->numerics = XC_NUMERICS_VERSION + 1, seal(&im);
    REFUSED(im, XC_E_VERSION, "numerics version");
    FRESH(), header(&im)->n_sections = 0xffffff, header(&im)->header_hash = XXH3_64bits(im.p, 56);
    REFUSED(im, XC_E_FORMAT, "16777215 sections");
    FRESH(), section(&im, 1)->offset = section(&im, 0)->offset, seal(&im);
    REFUSED(im, XC_E_FORMAT, "over another");
    FRESH(), section(&im, 2)->offset = ~(uint64_t)63, seal(&im);
    REFUSED(im, XC_E_FORMAT, "outside the file");
    FRESH(), section(&im, 2)->offset += 1, seal(&im);
    REFUSED(im, XC_E_FORMAT, "section 2");
    FRESH(), section(&im, 2)->decoded_bytes += 1, seal(&im);
    REFUSED(im, XC_E_FORMAT, "two sizes");
    FRESH(), section(&im, 2)->flags |= 64, seal(&im);
    REFUSED(im, XC_E_VERSION, "required and stored in a way");
    FRESH(), memcpy(section(&im, find(&im, XC_KIND_MANIFEST))->kind, "FUTR", 4), seal(&im);
    assert_int_equal(read_bytes(im.p, im.n, true, NULL), XC_OK); /* optional: skipped */
    section(&im, find(&im, "FUTR"))->flags = XC_SECTION_REQUIRED, seal(&im);
    REFUSED(im, XC_E_VERSION, "'FUTR' is required");
    assert_non_null(strstr(err.where, "section"));
    FRESH(), memcpy(section(&im, find(&im, XC_KIND_MANIFEST))->kind, XC_KIND_GOLDEN, 4), seal(&im);
    REFUSED(im, XC_E_FORMAT, "twice");
    FRESH(), memcpy(section(&im, find(&im, XC_KIND_MODEL))->kind, "NONE", 4), section(&im, 0)->flags = 0, seal(&im);
    REFUSED(im, XC_E_FORMAT, "no model section");
    FRESH(), i = find(&im, XC_KIND_TENSOR), section(&im, i + 1)->tensor = 0, section(&im, i + 1)->part = 0, seal(&im);
    REFUSED(im, XC_E_FORMAT, "twice");
    FRESH(), section(&im, find(&im, XC_KIND_TENSOR))->tensor = 99, seal(&im);
    REFUSED(im, XC_E_FORMAT, "tensor 99");
    FRESH(), memcpy(section(&im, find(&im, XC_KIND_TENSOR))->kind, "SKIP", 4), section(&im, find(&im, "SKIP"))->flags = 0, seal(&im);
    REFUSED(im, XC_E_FORMAT, "'table' has no bytes");

    FRESH(), memcpy(model_text(&im, "linear"), "lineax", 6), seal(&im);
    REFUSED(im, XC_E_VERSION, "op 'lineax' version 1");
    FRESH(), model_text(&im, "linear")[6] = 9, seal(&im);
    REFUSED(im, XC_E_VERSION, "op 'linear' version 9");
    FRESH(), memcpy(model_text(&im, "kv_heads"), "kv_headz", 8), seal(&im);
    REFUSED(im, XC_E_VERSION, "attribute 'kv_headz'");
    FRESH(), memcpy(model_text(&im, "dense"), "tense", 5), seal(&im);
    REFUSED(im, XC_E_VERSION, "kind 'tense'");
    FRESH(), memcpy(model_text(&im, "bias1"), "table", 5), seal(&im);
    REFUSED(im, XC_E_FORMAT, "tensor 'table' is there twice");
    FRESH(), memcpy(model_text(&im, "keep"), "proj", 4), seal(&im);
    REFUSED(im, XC_E_FORMAT, "'proj' is there twice");
    FRESH(), model_text(&im, "embed")[2] = 0xff, seal(&im);
    REFUSED(im, XC_E_FORMAT, "damaged near byte");
    FRESH(), model_text(&im, "embed")[2] = '\n', seal(&im);
    REFUSED(im, XC_E_FORMAT, "em\\x0aed");
    FRESH(), at = model_text(&im, "query") + 5 + 4 + 16, at[0] = XC_FMT_S4, seal(&im); /* after rank and two axes: the number format */
    REFUSED(im, XC_E_UNSUPPORTED, "scales of int4");
    FRESH(), at = model_text(&im, "query") + 5 + 4 + 16, at[0] = 200, seal(&im);
    REFUSED(im, XC_E_VERSION, "number format 200");
    FRESH(), at = model_text(&im, "query") + 5 + 4 + 16, at[4] = XC_STRUCT_NM, seal(&im);
    REFUSED(im, XC_E_FORMAT, "'N:M'");
    FRESH();
    for (i = j = 0; i < header(&im)->n_sections; i++)
        if (section(&im, i)->part == XC_PART_SCALE) j = i;
    memcpy(im.p + section(&im, j)->offset + 8, &nan_scale, 4), seal(&im);
    REFUSED(im, XC_E_FORMAT, "scale 2 is not finite");
    free(im.p);
#undef FRESH
}

/* Planes: bytes in the order that frame_pack.h says, and back, for every length; a section that lies about them is refused. */
static void test_planes(void **state)
{
    uint8_t src[70], split[70], back[70];
    bool any = false;

    (void)state;
    for (size_t i = 0; i < sizeof src; i++) src[i] = (uint8_t)(i * 37 + 11);
    for (int width = 2; width <= 4; width += 2)
        for (size_t n = 0; n <= sizeof src; n++) {
            const size_t m = n / (size_t)width;

            xc_planes_split(split, src, n, width);
            xc_planes_join(back, split, n, width);
            assert_memory_equal(back, src, n);
            for (size_t i = 0; i < m; i++) { /* the last byte of a number: its bits but the sign, and the next lower one */
                const uint8_t *last = src + (i + 1) * (size_t)width - 1;

                assert_int_equal(split[((size_t)width - 1) * m + i], (uint8_t)(last[0] << 1 | last[-1] >> 7));
            }
        }

    struct xc_model *m = build(300);
    struct image im = write_image(m, XC_STORE_SMALL, NULL);

    for (uint32_t i = 0; i < header(&im)->n_sections; i++) {
        struct xc_file_section *s = section(&im, i);
        const struct xc_file_section was = *s;

        if (!(s->flags & XC_SECTION_PLANES)) continue;
        any = true;
        assert_int_equal(s->width, 4);
        for (uint32_t width = 0; width < 9; width++) {
            s->width = width;
            seal(&im);
            if (width == 2) REFUSED(im, XC_E_CHECKSUM, "wrong checksum");
            else if (width != 4) REFUSED(im, XC_E_FORMAT, "byte planes of width");
        }
        s->width = 4;
        s->flags &= ~(uint32_t)XC_SECTION_ZSTD;
        seal(&im);
        REFUSED(im, XC_E_FORMAT, "byte planes of width");
        *s = was; /* seal has given it a digest of its packed bytes */
        seal(&im);
        assert_int_equal(read_bytes(im.p, im.n, true, NULL), XC_OK);
    }
    assert_true(any);
    free(im.p);
    xc_model_free(&m);
}

/* A megabyte of zeros packs to almost nothing: what a small file may unpack to is bounded unless the caller says otherwise. */
static void test_bomb(void **state)
{
    const int64_t dim[] = { 20000, 1200 }; /* 96 MB */
    struct xc_read_opts opts = { 0 };
    struct xc_model *m = build(64);
    float *zeros = calloc((size_t)(dim[0] * dim[1]), sizeof *zeros);
    struct image im;
    int32_t id;

    (void)state;
    OK(xc_model_add_tensor(m, &id, "zeros", 2, dim, &err));
    OK(xc_tensor_set_f32(m->tensors[id], zeros, &err));
    free(zeros);
    im = write_image(m, XC_STORE_SMALL, NULL);
    assert_true(im.n < 1 << 20);
    xc_model_free(&m);
    assert_int_equal(xc_container_read(&m, path, NULL, &err), XC_E_LIMIT);
    assert_non_null(strstr(err.where, path));
    opts.max_memory = (size_t)1 << 30;
    OK(xc_container_read(&m, path, &opts, &err));
    xc_model_free(&m);

    /* a frame that says one size and holds another; a section that ends early */
    const uint32_t z = header(&im)->n_sections;

    for (uint32_t i = 0; i < z; i++) {
        struct xc_file_section *s = section(&im, i);

        if (!(s->flags & XC_SECTION_ZSTD) || s->decoded_bytes < 1 << 20) continue;
        s->stored_bytes -= 3;
        seal(&im);
        REFUSED(im, XC_E_LIMIT, "unpacks to");
        break;
    }
    free(im.p);
    im = small_image(XC_STORE_SMALL);
    for (uint32_t i = 0; i < header(&im)->n_sections; i++) {
        struct xc_file_section *s = section(&im, i);
        const uint64_t stored = s->stored_bytes, decoded = s->decoded_bytes;

        if (!(s->flags & XC_SECTION_ZSTD)) continue;
        s->stored_bytes = stored - 3;
        seal(&im);
        REFUSED(im, XC_E_FORMAT, "frame");
        s->stored_bytes = stored;
        if (!memcmp(s->kind, XC_KIND_MODEL, 4)) {
            s->decoded_bytes = decoded + 7;
            seal(&im);
            REFUSED(im, XC_E_FORMAT, "frame");
            s->decoded_bytes = (uint64_t)1 << 62;
            seal(&im);
            REFUSED(im, XC_E_LIMIT, "unpacks to");
        }
        s->decoded_bytes = decoded;
        seal(&im);
    }
    free(im.p);
}

/* Long chains and long lists are read in linear time. */
static void test_deep_graph(void **state)
{
    enum { DEEP = 20000 };
    const clock_t before = clock();
    struct xc_model *m = build(8), *copy;
    struct xc_graph *g = m->graphs[0];
    struct image im;
    int32_t x = g->outputs[0];
    char name[280];

    (void)state;
    m->bulk = true; /* building by name lookup is quadratic; reading is not */
    for (int i = 0; i < DEEP; i++) {
        snprintf(name, sizeof name, "%0200d", i); /* long common prefixes */
        OK(xc_graph_add_node(g, &x, "unary", name, (struct xc_ref[]){ xc_val(x) }, 1, NULL, &err));
    }
    m->bulk = false;
    g->outputs[0] = x;
    OK(xc_model_verify(m, &err));
    im = write_image(m, XC_STORE_SMALL, NULL);
    OK(read_bytes(im.p, im.n, true, &copy));
    assert_int_equal(copy->graphs[0]->n_nodes, g->n_nodes);
    xc_model_free(&copy);
    xc_model_free(&m);
    free(im.p);
    assert_true((double)(clock() - before) / CLOCKS_PER_SEC < 10);
}

static void test_same_bytes(void **state)
{
    struct xc_model *m = build(1600); /* an int8 weight of 2.5 MB: three frames */
    uint64_t predicted;

    (void)state;
    for (int store = XC_STORE_FAST; store <= XC_STORE_SMALL; store++) {
        const struct image one = write_image(m, (enum xc_store)store, NULL);

        for (int threads = 1; threads <= 3; threads++) {
            struct xc_pool *pool;
            struct image many;

            OK(xc_pool_new(&pool, threads, &err));
            many = write_image(m, (enum xc_store)store, pool);
            xc_pool_free(&pool);
            assert_int_equal(one.n, many.n);
            assert_memory_equal(one.p, many.p, one.n);
            free(many.p);
        }
        OK(xc_container_size(m, &predicted, &err));
        if (store == XC_STORE_FAST) assert_int_equal(predicted, one.n);
        else print_message("small is %.1f %% of fast\n", 100.0 * (double)one.n / (double)predicted);
        free(one.p);
    }
    xc_model_free(&m);
}

static int stop(void *arg) { return --*(int *)arg < 0; }

static void test_cancelled(void **state)
{
    struct xc_model *m = build(64);
    const struct image before = write_image(m, XC_STORE_FAST, NULL);
    struct image after;

    (void)state;
    for (int n = 0; n < 6; n++) {
        int left = n;
        const struct xc_write_opts opts = { .store = XC_STORE_SMALL, .cancelled = stop, .cancelled_arg = &left };

        assert_int_equal(xc_container_write(m, path, &opts, NULL, &err), XC_E_CANCELLED);
        after = slurp(path);
        assert_int_equal(before.n, after.n);
        assert_memory_equal(before.p, after.p, before.n);
        free(after.p);
    }
    free(before.p);
    xc_model_free(&m);
}

static void test_out_of_memory(void **state)
{
    const struct xc_write_opts opts = { .store = XC_STORE_SMALL };
    struct xc_model *m = build(64), *copy;
    enum xc_status status = XC_E_NOMEM;
    int64_t n;

    (void)state;
    for (n = 0; status != XC_OK; n++) {
        copy = NULL;
        xc_alloc_fail_after(n);
        status = xc_container_write(m, path, &opts, NULL, &err);
        if (status == XC_OK) status = xc_container_read(&copy, path, NULL, &err);
        xc_alloc_fail_after(-1);
        xc_model_free(&copy);
        if (status != XC_OK && status != XC_E_NOMEM) fail_msg("allocation %lld: %s (%s)", (long long)n, err.msg, xc_status_name(status));
    }
    print_message("%lld allocations failed in turn\n", (long long)n - 1);
    xc_model_free(&m);
}

struct seen {
    int n;
    char text[4096];
};

static int see(void *arg, const char *name, const char hex[33])
{
    struct seen *s = arg;

    s->n++;
    snprintf(s->text + strlen(s->text), sizeof s->text - strlen(s->text), "%s %s\n", name, hex);
    return 0;
}

/* The digests are those of decoded bytes: how they are stored does not matter. */
static void test_digests(void **state)
{
    struct xc_model *m = build(64);
    struct seen seen[2] = { { 0 } };

    (void)state;
    for (int store = XC_STORE_FAST; store <= XC_STORE_SMALL; store++) {
        free(write_image(m, (enum xc_store)store, NULL).p);
        OK(xc_container_digests(path, see, &seen[store], &err));
    }
    assert_int_equal(seen[0].n, 8);
    assert_string_equal(seen[0].text, seen[1].text);
    assert_non_null(strstr(seen[0].text, "tensor:query:1 "));
    xc_model_free(&m);
    assert_int_equal(xc_container_read(&m, "/nonexistent/x.xc", NULL, &err), XC_E_IO);
    assert_null(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncation), cmocka_unit_test(test_bit_flips),  cmocka_unit_test(test_lies),
        cmocka_unit_test(test_named_refusals), cmocka_unit_test(test_bomb),   cmocka_unit_test(test_deep_graph),
        cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_cancelled),  cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_digests), cmocka_unit_test(test_planes),
    };
    int failed;

    close(mkstemp(path));
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
