/* golden: see golden.h. Section: "XCG1", u32 count, then per sample u32 tokens, u32 rows, u64 XXH3-64 of the output floats, f32 first
 * four numbers; little-endian. */
#include "runtime/session/golden.h"

#include <string.h>
#include <xxhash.h>

#include "runtime/base/rng.h"

#define STREAM 0x60D /* of the generator of ids */
#define SAMPLE_BYTES 32
#define MAX_SAMPLES 64

static const int32_t lengths[] = { 1, 2, 17, 127, 128, 129, 512 };

struct sample {
    uint32_t tokens, rows;
    uint64_t hash;
    float first[4];
};

static void draw_ids(int32_t *ids, uint32_t n, int32_t vocab)
{
    struct xc_rng rng;

    xc_rng_init(&rng, STREAM, n);
    for (uint32_t i = 0; i < n; i++) ids[i] = (int32_t)xc_rng_below(&rng, (uint64_t)vocab);
}

static struct sample answer(const struct xc_output *out, int64_t row0, int64_t rows, uint32_t tokens)
{
    struct sample s = { .tokens = tokens, .rows = (uint32_t)rows };
    const float *p = out->data + row0 * out->cols;

    s.hash = XXH3_64bits(p, (size_t)(rows * out->cols) * sizeof(float));
    memcpy(s.first, p, (size_t)xc_min_i64(4, rows * out->cols) * sizeof(float));
    return s;
}

/* Runs samples of the given lengths, together or one by one, and gives their answers. */
static enum xc_status run_samples(struct xc_session *s, const uint32_t *tokens, int n, bool together, struct sample *out, struct xc_err *err)
{
    int64_t start[MAX_SAMPLES + 1] = { 0 };
    struct xc_output result;
    int32_t *ids;
    enum xc_status status = XC_OK;

    for (int i = 0; i < n; i++) start[i + 1] = start[i] + tokens[i];
    ids = xc_malloc((size_t)start[n] * sizeof *ids);
    if (!ids) return xc_fail_nomem(err, (size_t)start[n] * sizeof *ids);
    for (int i = 0; i < n; i++) draw_ids(ids + start[i], tokens[i], s->info.vocab_size);
    if (together) status = xc_session_run_ids(s, ids, NULL, start, n, &result, err);
    for (int i = 0; i < n && status == XC_OK; i++) {
        const int64_t one[2] = { 0, tokens[i] };

        if (!together) status = xc_session_run_ids(s, ids + start[i], NULL, one, 1, &result, err);
        if (status != XC_OK) break;
        if (s->info.per_token) out[i] = answer(&result, together ? start[i] : 0, tokens[i], tokens[i]);
        else out[i] = answer(&result, together ? i : 0, 1, tokens[i]);
    }
    xc_free(ids);
    return status;
}

enum xc_status xc_golden_make(struct xc_buf **out, struct xc_model *model, struct xc_pool *pool, struct xc_err *err)
{
    const struct xc_session_opts opts = { .pool = pool };
    struct xc_session *s = NULL;
    struct sample samples[XC_ARRAY_LEN(lengths)];
    uint32_t tokens[XC_ARRAY_LEN(lengths)];
    int n = 0;
    enum xc_status status;

    *out = NULL;
    XC_TRY(xc_session_new(&s, model, &opts, err));
    for (size_t i = 0; i < XC_ARRAY_LEN(lengths); i++)
        if (!s->info.max_positions || lengths[i] <= s->info.max_positions) tokens[n++] = (uint32_t)lengths[i];
    status = s->info.vocab_size < 1 ? xc_fail(err, XC_E_UNSUPPORTED, "the model has no vocabulary to draw samples from") : run_samples(s, tokens, n, false, samples, err);
    if (status == XC_OK) status = xc_buf_new(out, 8 + (size_t)n * SAMPLE_BYTES, err);
    if (status == XC_OK) {
        const uint32_t count = (uint32_t)n;

        memcpy((*out)->data, "XCG1", 4);
        memcpy((*out)->data + 4, &count, 4);
        memcpy((*out)->data + 8, samples, (size_t)n * SAMPLE_BYTES);
    }
    xc_session_free(&s);
    return status;
}

enum xc_status xc_golden_check(struct xc_model *model, const struct xc_golden_setup *setup, int *checked, struct xc_err *err)
{
    const struct xc_session_opts opts = { .pool = setup->pool, .isa = setup->isa, .plain = setup->plain };
    struct xc_session *s = NULL;
    struct sample stored[MAX_SAMPLES], got[MAX_SAMPLES];
    uint32_t tokens[MAX_SAMPLES] = { 0 }, count = 0;
    enum xc_status status;

    _Static_assert(sizeof(struct sample) == SAMPLE_BYTES, "a sample is stored as it is");
    *checked = 0;
    if (!model->golden) return xc_fail(err, XC_E_NOT_FOUND, "the model carries no golden samples");
    if (model->golden->size >= 8) memcpy(&count, model->golden->data + 4, 4);
    if (model->golden->size < 8 || memcmp(model->golden->data, "XCG1", 4) || count > MAX_SAMPLES || model->golden->size != 8 + (size_t)count * SAMPLE_BYTES)
        return xc_fail(err, XC_E_FORMAT, "the golden samples are damaged");
    memcpy(stored, model->golden->data + 8, (size_t)count * SAMPLE_BYTES);
    XC_TRY(xc_session_new(&s, model, &opts, err));
    status = XC_OK;
    for (uint32_t i = 0; i < count; i++) {
        tokens[i] = stored[i].tokens;
        if (tokens[i] < 1 || tokens[i] > 65536 || s->info.vocab_size < 1) status = xc_fail(err, XC_E_FORMAT, "golden sample %u has %u tokens", i, tokens[i]);
    }
    if (status == XC_OK) status = run_samples(s, tokens, (int)count, setup->together, got, err);
    for (uint32_t i = 0; i < count && status == XC_OK; i++) {
        if (got[i].hash != stored[i].hash || got[i].rows != stored[i].rows)
            status = xc_fail(err, XC_E_MISMATCH, "the answer to the golden sample of %u tokens differs: %.9g %.9g ..., stored %.9g %.9g ...", tokens[i], (double)got[i].first[0],
                             (double)got[i].first[1], (double)stored[i].first[0], (double)stored[i].first[1]);
        else (*checked)++;
    }
    xc_session_free(&s);
    return status;
}
