/* golden: see golden.h. Section, little-endian:
 *   "XCG1", u32 samples, u32 texts, u32 zero, u64 seed
 *   per sample  u32 tokens, u32 rows, u64 hash low, u64 hash high, f32 first four numbers   (40 bytes)
 *   per text    u32 bytes, u32 ids, u64 XXH3-64 of the ids as i32, the bytes
 * The ids of sample i are draws of the generator (seed, stream 0x601D + i), uniform over the vocabulary. In every second sample
 * the second half has token type 1, where the model has two types. */
#include "runtime/session/golden.h"

#include <string.h>
#include <xxhash.h>

#include "runtime/base/rng.h"

#define STREAM 0x601D
#define HEADER_BYTES 24
#define SAMPLE_BYTES 40
#define TEXT_BYTES 16
#define MAX_SAMPLES 64
#define MAX_TEXTS 64
#define MAX_TOKENS (1 << 16)
#define LARGE_MODEL 6e8    /* numbers of a model beyond which ... */
#define LONGEST_OF_LARGE 129 /* ... samples are no longer than this: each token costs seconds there, and blocks of keys are passed at 129 */
#define VERY_LARGE_MODEL 2e9 /* numbers beyond which ... */
#define SHORT_SAMPLE 33      /* ... others are no longer than this */

static const int32_t lengths[] = { 1, 2, 17, 127, 128, 129, 512, 5, 33, 64, 3, 250, 1, 90 };
static const char *const texts[] = {
    "",
    "A man is playing a guitar.",
    "The quick brown fox jumps over the lazy dog; it costs $12.50 (or 11\xe2\x82\xac), doesn't it?",
    "\xc3\x84rger \xc3\xbc\142er na\xc3\xafve caf\xc3\xa9s in \xe6\x9d\xb1\xe4\xba\xac and \xd0\x9c\xd0\xbe\xd1\x81\xd0\xba\xd0\xb2\xd0\xb0",
    "tabs\tand  spaces\nnew lines, e\xcc\x81 combining, \xf0\x9f\x99\x82 emoji, unbelievablyantidisestablishmentarianism",
};

struct sample {
    uint32_t tokens, rows;
    uint64_t hash[2];
    float first[4];
};

struct golden {
    struct sample samples[MAX_SAMPLES];
    uint32_t n_samples, n_texts;
    uint64_t seed;
};

const char *xc_batching_name(enum xc_batching batching)
{
    static const char *const names[XC_BATCH_COUNT] = { "one by one", "all together", "in threes" };

    return (unsigned)batching < XC_BATCH_COUNT ? names[batching] : "?";
}

/* ---- running ---- */
/* Rows of the table behind input "types"; 0 when there is none. */
static int64_t type_rows(const struct xc_graph *g)
{
    for (int32_t n = 0; n < g->n_nodes; n++) {
        const struct xc_node *node = &g->nodes[n];

        if (!strcmp(node->op->name, "gather") && node->in[0].kind == XC_REF_VALUE && !strcmp(g->values[node->in[0].id].name, "types") && node->in[1].kind == XC_REF_TENSOR)
            return xc_tensor_rows(g->model->tensors[node->in[1].id]);
    }
    return 0;
}

static void draw(int32_t *ids, uint8_t *types, uint32_t sample, uint32_t n, uint64_t seed, int32_t vocab, bool two_types)
{
    struct xc_rng rng;

    xc_rng_init(&rng, seed, STREAM + (uint64_t)sample);
    for (uint32_t i = 0; i < n; i++) {
        ids[i] = (int32_t)xc_rng_below(&rng, (uint64_t)vocab);
        types[i] = two_types && sample % 2 && i >= n / 2;
    }
}

static void keep_answer(struct sample *s, const struct xc_output *out, int64_t i)
{
    const int64_t row0 = out->start ? out->start[i] : i, rows = out->start ? out->start[i + 1] - row0 : 1, n = rows * out->cols;
    const float *p = out->data + row0 * out->cols;
    const XXH128_hash_t h = XXH3_128bits(p, (size_t)n * sizeof(float));

    s->rows = (uint32_t)rows;
    s->hash[0] = h.low64;
    s->hash[1] = h.high64;
    memset(s->first, 0, sizeof s->first);
    memcpy(s->first, p, (size_t)xc_min_i64(4, n) * sizeof(float));
}

/* Fills the answers of samples `which` (indices into g->samples; tokens are set), in batches of `batch`. */
static enum xc_status run_samples(struct xc_session *s, struct golden *g, const uint32_t *which, int n, int batch, struct xc_err *err)
{
    const bool two_types = s->info.has_types && type_rows(s->graph) > 1;
    int64_t start[MAX_SAMPLES + 1] = { 0 }, most = 0;
    struct xc_output out;
    int32_t *ids;
    uint8_t *types;
    enum xc_status status = XC_OK;

    for (int i = 0; i < n; i++) most += g->samples[which[i]].tokens;
    ids = xc_malloc((size_t)most * sizeof *ids + 4);
    types = xc_malloc((size_t)most + 1);
    if (!ids || !types) status = xc_fail_nomem(err, (size_t)most * sizeof *ids);
    for (int i = 0; i < n && status == XC_OK; i += batch) {
        const int count = n - i < batch ? n - i : batch;

        for (int k = 0; k < count; k++) {
            const uint32_t id = which[i + k], tokens = g->samples[id].tokens;

            draw(ids + start[k], types + start[k], id, tokens, g->seed, s->info.vocab_size, two_types);
            start[k + 1] = start[k] + tokens;
        }
        status = xc_session_run_ids(s, ids, types, start, count, &out, err);
        for (int k = 0; k < count && status == XC_OK; k++) keep_answer(&g->samples[which[i + k]], &out, k);
    }
    xc_free(ids);
    xc_free(types);
    return status;
}

static uint64_t hash_ids(const struct xc_tokens_view *t) { return XXH3_64bits(t->ids, (size_t)t->start[t->n] * sizeof *t->ids); }

/* ---- bytes ---- */
static uint32_t get_u32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }
static uint64_t get_u64(const uint8_t *p) { return get_u32(p) | (uint64_t)get_u32(p + 4) << 32; }

static void set_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}

static void set_u64(uint8_t *p, uint64_t v)
{
    set_u32(p, (uint32_t)v);
    set_u32(p + 4, (uint32_t)(v >> 32));
}

static void set_sample(uint8_t *p, const struct sample *s)
{
    set_u32(p, s->tokens);
    set_u32(p + 4, s->rows);
    set_u64(p + 8, s->hash[0]);
    set_u64(p + 16, s->hash[1]);
    for (int i = 0; i < 4; i++) {
        uint32_t bits;

        memcpy(&bits, &s->first[i], sizeof bits);
        set_u32(p + 24 + 4 * i, bits);
    }
}

static void get_sample(struct sample *s, const uint8_t *p)
{
    *s = (struct sample){ .tokens = get_u32(p), .rows = get_u32(p + 4), .hash = { get_u64(p + 8), get_u64(p + 16) } };
    for (int i = 0; i < 4; i++) {
        const uint32_t bits = get_u32(p + 24 + 4 * i);

        memcpy(&s->first[i], &bits, sizeof bits);
    }
}

/* ---- make ---- */
static bool takes_ids(const struct xc_model *m)
{
    const struct xc_graph *g = xc_model_find_graph(m, "encode");
    struct xc_model_info info;

    for (int32_t i = 0; g && i < g->n_inputs; i++)
        if (strcmp(g->values[g->inputs[i]].name, "ids") && strcmp(g->values[g->inputs[i]].name, "types")) return false;
    return g && g->n_inputs > 0 && xc_model_info(m, &info, NULL) == XC_OK && info.vocab_size > 0;
}

/* The samples and the size of the section. */
static enum xc_status prepare(struct golden *g, size_t *bytes, const struct xc_model *m, struct xc_err *err)
{
    struct xc_model_info info;
    double numbers = 0;

    *g = (struct golden){ 0 };
    *bytes = 0;
    if (!takes_ids(m)) return XC_OK;
    XC_TRY(xc_model_info(m, &info, err));
    for (int32_t t = 0; t < m->n_tensors; t++) numbers += (double)xc_tensor_count(m->tensors[t]);
    for (size_t i = 0; i < XC_ARRAY_LEN(lengths); i++) {
        if (info.max_positions && lengths[i] > info.max_positions) continue;
        if (numbers >= LARGE_MODEL && lengths[i] > LONGEST_OF_LARGE) continue;
        if (numbers >= VERY_LARGE_MODEL && lengths[i] > SHORT_SAMPLE && lengths[i] < LONGEST_OF_LARGE) continue;
        g->samples[g->n_samples++].tokens = (uint32_t)lengths[i];
    }
    g->n_texts = info.has_tokenizer ? (uint32_t)XC_ARRAY_LEN(texts) : 0;
    *bytes = HEADER_BYTES + g->n_samples * SAMPLE_BYTES;
    for (uint32_t i = 0; i < g->n_texts; i++) *bytes += TEXT_BYTES + strlen(texts[i]);
    return XC_OK;
}

enum xc_status xc_golden_size(size_t *bytes, struct xc_model *model, struct xc_err *err)
{
    struct golden g;

    return prepare(&g, bytes, model, err);
}

double xc_golden_tokens(struct xc_model *model)
{
    struct golden g;
    size_t bytes;
    double tokens = 0;

    if (prepare(&g, &bytes, model, NULL) != XC_OK) return 0;
    for (uint32_t i = 0; i < g.n_samples; i++) tokens += g.samples[i].tokens;
    return tokens;
}

static enum xc_status put_texts(uint8_t *p, struct xc_session *s, uint32_t n, struct xc_err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        const size_t len = strlen(texts[i]);
        struct xc_tokens_view view;

        XC_TRY(xc_session_tokenize(s, &texts[i], &len, 1, true, &view, err));
        set_u32(p, (uint32_t)len);
        set_u32(p + 4, (uint32_t)view.start[1]);
        set_u64(p + 8, hash_ids(&view));
        memcpy(p + TEXT_BYTES, texts[i], len);
        p += TEXT_BYTES + len;
    }
    return XC_OK;
}

static enum xc_status pack(struct xc_buf **out, const struct golden *g, size_t bytes, struct xc_session *s, struct xc_err *err)
{
    enum xc_status status;

    XC_TRY(xc_buf_new(out, bytes, err));
    uint8_t *p = (*out)->data;

    memset(p, 0, HEADER_BYTES);
    memcpy(p, "XCG1", 4);
    set_u32(p + 4, g->n_samples);
    set_u32(p + 8, g->n_texts);
    set_u64(p + 16, g->seed);
    for (uint32_t i = 0; i < g->n_samples; i++) set_sample(p + HEADER_BYTES + i * SAMPLE_BYTES, &g->samples[i]);
    status = put_texts(p + HEADER_BYTES + g->n_samples * SAMPLE_BYTES, s, g->n_texts, err);
    if (status != XC_OK) xc_buf_unref(out);
    return status;
}

enum xc_status xc_golden_make(struct xc_buf **out, struct xc_model *model, bool lazy, struct xc_pool *pool, struct xc_err *err)
{
    const struct xc_session_opts opts = { .pool = pool, .lazy = lazy };
    struct xc_session *s = NULL;
    struct golden g;
    uint32_t which[MAX_SAMPLES];
    size_t bytes;
    enum xc_status status;

    *out = NULL;
    XC_TRY(prepare(&g, &bytes, model, err));
    if (!bytes) return XC_OK;

    for (uint32_t i = 0; i < g.n_samples; i++) which[i] = i;
    XC_TRY(xc_session_new(&s, model, &opts, err));
    status = run_samples(s, &g, which, (int)g.n_samples, lazy ? (int)g.n_samples : 4, err); /* lazy: weights are read once a batch */
    if (status == XC_OK) status = pack(out, &g, bytes, s, err);
    xc_session_free(&s);
    return status;
}

enum xc_status xc_golden_draw(struct xc_golden_batch *out, struct xc_model *model, struct xc_err *err)
{
    const struct xc_graph *graph = xc_model_find_graph(model, "encode");
    struct xc_model_info info;
    struct golden g;
    size_t bytes;
    int64_t tokens = 0;

    *out = (struct xc_golden_batch){ 0 };
    XC_TRY(prepare(&g, &bytes, model, err));
    if (!bytes) return XC_OK;
    XC_TRY(xc_model_info(model, &info, err));
    for (uint32_t i = 0; i < g.n_samples; i++) tokens += g.samples[i].tokens;
    out->ids = xc_malloc((size_t)tokens * sizeof *out->ids + 4);
    out->types = xc_malloc((size_t)tokens + 1);
    out->start = xc_calloc(g.n_samples + 1, sizeof *out->start);
    if (!out->ids || !out->types || !out->start) {
        xc_golden_batch_release(out);
        return xc_fail_nomem(err, (size_t)tokens * sizeof *out->ids);
    }
    for (; out->n < g.n_samples; out->n++) {
        const uint32_t i = (uint32_t)out->n;

        draw(out->ids + out->start[i], out->types + out->start[i], i, g.samples[i].tokens, g.seed, info.vocab_size, info.has_types && type_rows(graph) > 1);
        out->start[i + 1] = out->start[i] + g.samples[i].tokens;
    }
    return XC_OK;
}

void xc_golden_batch_release(struct xc_golden_batch *b)
{
    xc_free(b->ids);
    xc_free(b->types);
    xc_free(b->start);
    *b = (struct xc_golden_batch){ 0 };
}

enum xc_status xc_golden_from(struct xc_buf **out, struct xc_session *s, const struct xc_output *answers, int64_t first, struct xc_err *err)
{
    struct golden g;
    size_t bytes;

    *out = NULL;
    XC_TRY(prepare(&g, &bytes, s->model, err));
    for (uint32_t i = 0; i < g.n_samples; i++) keep_answer(&g.samples[i], answers, first + i);
    return bytes ? pack(out, &g, bytes, s, err) : XC_OK;
}

/* ---- check ---- */
static enum xc_status read_golden(struct golden *g, const struct xc_buf *b, struct xc_err *err)
{
    if (!b) return xc_fail(err, XC_E_NOT_FOUND, "the model carries no golden samples");
    if (b->size < HEADER_BYTES || memcmp(b->data, "XCG1", 4)) return xc_fail(err, XC_E_FORMAT, "the golden samples are of a kind that is not known");
    *g = (struct golden){ .n_samples = get_u32(b->data + 4), .n_texts = get_u32(b->data + 8), .seed = get_u64(b->data + 16) };
    if (g->n_samples > MAX_SAMPLES || g->n_texts > MAX_TEXTS || b->size < HEADER_BYTES + g->n_samples * SAMPLE_BYTES)
        return xc_fail(err, XC_E_FORMAT, "%u golden samples and %u texts in %zu bytes", g->n_samples, g->n_texts, b->size);
    for (uint32_t i = 0; i < g->n_samples; i++) {
        get_sample(&g->samples[i], b->data + HEADER_BYTES + i * SAMPLE_BYTES);
        if (g->samples[i].tokens < 1 || g->samples[i].tokens > MAX_TOKENS) return xc_fail(err, XC_E_FORMAT, "golden sample %u has %u tokens", i, g->samples[i].tokens);
    }
    return XC_OK;
}

static enum xc_status check_texts(struct xc_session *s, const struct golden *g, const struct xc_buf *b, int *checked, struct xc_err *err)
{
    size_t at = HEADER_BYTES + g->n_samples * SAMPLE_BYTES;

    for (uint32_t i = 0; i < g->n_texts; i++) {
        struct xc_tokens_view view;
        const char *text;
        size_t len;

        if (b->size - at < TEXT_BYTES || b->size - at - TEXT_BYTES < get_u32(b->data + at)) return xc_fail(err, XC_E_FORMAT, "golden text %u is cut off", i);
        len = get_u32(b->data + at);
        text = (const char *)b->data + at + TEXT_BYTES;
        XC_TRY(xc_session_tokenize(s, &text, &len, 1, true, &view, err));
        if (view.start[1] != (int64_t)get_u32(b->data + at + 4) || hash_ids(&view) != get_u64(b->data + at + 8))
            return xc_fail(err, XC_E_MISMATCH, "golden text %u has %lld tokens with other ids than the %u stored", i, (long long)view.start[1], get_u32(b->data + at + 4));
        (*checked)++;
        at += TEXT_BYTES + len;
    }
    return XC_OK;
}

static enum xc_status check_samples(struct xc_session *s, const struct golden *stored, const struct xc_golden_setup *setup, int *checked, struct xc_err *err)
{
    static const int batch[XC_BATCH_COUNT] = { 1, MAX_SAMPLES, 3 };
    struct golden got = *stored;
    uint32_t which[MAX_SAMPLES];
    int n = 0;

    for (uint32_t i = 0; i < stored->n_samples; i++)
        if (!setup->longest || stored->samples[i].tokens <= (uint32_t)setup->longest) which[n++] = i;
    for (int i = 0; setup->batching == XC_BATCH_MIXED && i < n / 2; i++) {
        const uint32_t swap = which[i];

        which[i] = which[n - 1 - i];
        which[n - 1 - i] = swap;
    }
    XC_TRY(run_samples(s, &got, which, n, batch[setup->batching], err));
    for (int i = 0; i < n; i++) {
        const struct sample *a = &got.samples[which[i]], *b = &stored->samples[which[i]];

        if (a->rows != b->rows || a->hash[0] != b->hash[0] || a->hash[1] != b->hash[1])
            return xc_fail(err, XC_E_MISMATCH, "golden sample %u (%u tokens) answers %.9g %.9g ..., stored is %.9g %.9g ...", which[i], a->tokens, (double)a->first[0], (double)a->first[1],
                           (double)b->first[0], (double)b->first[1]);
        (*checked)++;
    }
    return XC_OK;
}

enum xc_status xc_golden_check(struct xc_model *model, const struct xc_golden_setup *setup, int *checked, struct xc_err *err)
{
    const struct xc_session_opts opts = { .pool = setup->pool, .isa = setup->isa, .plain = setup->plain };
    struct xc_session *s = NULL;
    struct golden g;
    enum xc_status status;

    *checked = 0;
    if ((unsigned)setup->batching >= XC_BATCH_COUNT) return xc_fail(err, XC_E_ARG, "batching %d is not known", (int)setup->batching);
    XC_TRY(read_golden(&g, model->golden, err));
    XC_TRY(xc_session_new(&s, model, &opts, err));
    status = s->info.vocab_size > 0 ? XC_OK : xc_fail(err, XC_E_UNSUPPORTED, "the model takes no token ids");
    if (status == XC_OK) status = check_samples(s, &g, setup, checked, err);
    if (status == XC_OK && g.n_texts) status = check_texts(s, &g, model->golden, checked, err);
    xc_session_free(&s);
    return status;
}
