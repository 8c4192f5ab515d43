/* reformer: ReformerModel, ReformerModelWithLMHead, ReformerForMaskedLM, ReformerForSequenceClassification.
 * Kitaev et al. 2020, arXiv:2001.04451.
 *
 * Two residual streams that start as the embeddings: y1 = x1 + attention(norm(x2)), y2 = x2 + feed-forward(norm(y1)); side by side in the end, under a
 * norm of twice the width. Layers are local or LSH, as attn_layers says. Feed-forward chunks are how transformers saves memory, not what it computes.
 *
 * The directions of the hashes are no part of a checkpoint: a tensor "<layer>.self_attention.rotations" (heads * D, hashes * half the buckets) is taken
 * where there is one (our own files have it), else it is drawn from hash_seed (0 where it is null). num_buckets null: transformers takes the
 * length of the first text that it sees; here max_position_embeddings, the longest one. lm_head.bias is added, as in Trax and transformers 4
 * (transformers 5 has it in the checkpoint and leaves it out of the sum). Relative to transformers' padding to whole chunks: reformer.c. */
#include <stdio.h>
#include <string.h>

#include "formats/hf.h"
#include "formats/rotations.h"
#include "runtime/graph/attention/attention.h"

#define PREFIX "reformer."
#define MAX_LAYERS 1024
#define MAX_ROTATIONS ((int64_t)1 << 28) /* numbers */

struct chunking { int64_t chunk, before, after; };

struct reformer {
    const struct xc_hf_config *cfg;
    int64_t hidden, heads, head_dim, ffn, vocab, positions, layers, seed;
    int64_t rounds, buckets[2];  /* the second 0 = a bucket is one hash */
    bool axial, causal;
    int64_t axial_shape[2], axial_dim[2];
    struct chunking lsh, local;
    enum xc_act act;
    float eps;
};

/* ---- config.json ---- */
static enum xc_status read_pair(int64_t out[2], const struct xc_hf_config *cfg, const char *key, int64_t a, int64_t b, struct xc_err *err)
{
    json_t *list;

    out[0] = a;
    out[1] = b;
    XC_TRY(xc_json_array_or(&list, cfg->json, key, err));
    if (!list) return XC_OK;
    if (json_array_size(list) != 2 || !xc_json_as_int(&out[0], json_array_get(list, 0), 1, 1 << 20) || !xc_json_as_int(&out[1], json_array_get(list, 1), 1, 1 << 20))
        return xc_fail(err, XC_E_FORMAT, "'%s' must be two numbers from 1 to %d", key, 1 << 20);
    return XC_OK;
}

static enum xc_status read_chunking(struct chunking *c, const struct xc_hf_config *cfg, const char *kind, struct xc_err *err)
{
    char key[64];

    snprintf(key, sizeof key, "%s_attn_chunk_length", kind);
    XC_TRY(xc_json_int_or(&c->chunk, cfg->json, key, 1, 1 << 16, 64, err));
    snprintf(key, sizeof key, "%s_num_chunks_before", kind);
    XC_TRY(xc_json_int_or(&c->before, cfg->json, key, 0, 64, 1, err));
    snprintf(key, sizeof key, "%s_num_chunks_after", kind);
    return xc_json_int_or(&c->after, cfg->json, key, 0, 64, 0, err);
}

static enum xc_status read_buckets(struct reformer *r, struct xc_err *err)
{
    const json_t *given = json_object_get(r->cfg->json, "num_buckets");
    int64_t power = 0, chunks = r->positions / r->lsh.chunk, root = 0;

    if (json_is_array(given)) {
        XC_TRY(read_pair(r->buckets, r->cfg, "num_buckets", 0, 0, err));
    } else if (given && !json_is_null(given)) {
        XC_TRY(xc_json_int(&r->buckets[0], r->cfg->json, "num_buckets", 1, 1 << 12, err));
    } else { /* as transformers: a power of two near twice the chunks; a pair of hashes where that is many */
        while (chunks >> power) power++;
        while ((root + 1) * (root + 1) <= chunks) root++;
        r->buckets[0] = (int64_t)1 << power;
        if (power < 1) r->buckets[0] = 2;
        if (r->buckets[0] > 2 * (root > r->lsh.chunk ? root : r->lsh.chunk)) {
            r->buckets[0] = (int64_t)1 << (power / 2);
            r->buckets[1] = (int64_t)1 << (power - power / 2);
        }
    }
    if (r->buckets[0] % 2 || r->buckets[1] % 2 || r->buckets[0] > 1 << 12 || r->buckets[1] > 1 << 12)
        return xc_fail(err, XC_E_FORMAT, "'num_buckets' is %lld, %lld: a number of buckets must be even and at most %d", (long long)r->buckets[0], (long long)r->buckets[1], 1 << 12);
    if (r->heads * r->head_dim > MAX_ROTATIONS / (r->rounds * (r->buckets[0] + r->buckets[1])))
        return xc_fail(err, XC_E_RANGE, "%lld hashes of %lld + %lld buckets for %lld features are too many", (long long)r->rounds, (long long)r->buckets[0],
                       (long long)r->buckets[1], (long long)(r->heads * r->head_dim));
    return XC_OK;
}

static enum xc_status read_axial(struct reformer *r, struct xc_err *err)
{
    XC_TRY(xc_json_bool_or(&r->axial, r->cfg->json, "axial_pos_embds", true, err));
    if (!r->axial) return XC_OK;
    XC_TRY(read_pair(r->axial_shape, r->cfg, "axial_pos_shape", 64, 64, err));
    XC_TRY(read_pair(r->axial_dim, r->cfg, "axial_pos_embds_dim", 64, 192, err));
    if (r->axial_shape[0] * r->axial_shape[1] != r->positions)
        return xc_fail(err, XC_E_FORMAT, "'axial_pos_shape' is %lld x %lld, which is not 'max_position_embeddings' of %lld", (long long)r->axial_shape[0], (long long)r->axial_shape[1],
                       (long long)r->positions);
    if (r->axial_dim[0] + r->axial_dim[1] != r->hidden)
        return xc_fail(err, XC_E_FORMAT, "'axial_pos_embds_dim' is %lld + %lld, which is not 'hidden_size' of %lld", (long long)r->axial_dim[0], (long long)r->axial_dim[1],
                       (long long)r->hidden);
    return XC_OK;
}

static enum xc_status read_config(struct reformer *r, struct xc_err *err)
{
    const json_t *json = r->cfg->json;
    json_t *layers;
    const char *act;
    double eps;

    XC_TRY(xc_json_int_or(&r->hidden, json, "hidden_size", 1, 1 << 20, 256, err));
    XC_TRY(xc_json_int_or(&r->heads, json, "num_attention_heads", 1, 1 << 12, 12, err));
    XC_TRY(xc_json_int_or(&r->head_dim, json, "attention_head_size", 1, 1 << 12, 64, err));
    XC_TRY(xc_json_int_or(&r->ffn, json, "feed_forward_size", 1, 1 << 24, 512, err));
    XC_TRY(xc_json_int_or(&r->vocab, json, "vocab_size", 1, 1 << 24, 320, err));
    XC_TRY(xc_json_int_or(&r->positions, json, "max_position_embeddings", 1, 1 << 24, 4096, err));
    XC_TRY(xc_json_int_or(&r->rounds, json, "num_hashes", 1, 256, 1, err));
    XC_TRY(xc_json_int_or(&r->seed, json, "hash_seed", 0, INT64_MAX, 0, err));
    XC_TRY(xc_json_bool_or(&r->causal, json, "is_decoder", false, err));
    XC_TRY(xc_json_number_or(&eps, json, "layer_norm_eps", 0, 1, 1e-12, err));
    XC_TRY(xc_json_str_or(&act, json, "hidden_act", "relu", err));
    r->eps = (float)eps;
    XC_TRY(xc_hf_act(&r->act, act, err));
    XC_TRY(read_chunking(&r->lsh, r->cfg, "lsh", err));
    XC_TRY(read_chunking(&r->local, r->cfg, "local", err));
    XC_TRY(xc_json_array(&layers, json, "attn_layers", err));
    r->layers = (int64_t)json_array_size(layers);
    if (r->layers > MAX_LAYERS) return xc_fail(err, XC_E_LIMIT, "'attn_layers' names %lld layers, the limit is %d", (long long)r->layers, MAX_LAYERS);
    XC_TRY(read_axial(r, err));
    return read_buckets(r, err);
}

/* ---- the graph ---- */
/* position p = (p / n2, p % n2): a row of each table, side by side. */
static enum xc_status axial_positions(const struct reformer *r, struct xc_graph *g, int32_t ids, int32_t *out, struct xc_err *err)
{
    const struct xc_attr_positions at[2] = { { .skip_id = -1, .divide = (int32_t)r->axial_shape[1] }, { .skip_id = -1, .modulo = (int32_t)r->axial_shape[1] } };
    const struct xc_ref in[] = { xc_val(ids) };
    const int64_t dim[2][3] = { { r->axial_shape[0], 1, r->axial_dim[0] }, { 1, r->axial_shape[1], r->axial_dim[1] } };
    int32_t table, part[2];

    for (int i = 0; i < 2; i++) {
        const int64_t rows[2] = { r->axial_shape[i], r->axial_dim[i] };
        char name[64], node[64];

        snprintf(node, sizeof node, "position_ids.%d", i);
        XC_TRY(xc_graph_add_node(g, &part[i], "positions", node, in, 1, &at[i], err));
        snprintf(name, sizeof name, "embeddings.position_embeddings.weights.%d", i);
        XC_TRY(xc_hf_tensor_as(g->model, r->cfg, &table, PREFIX, name, 3, dim[i], 2, rows, err));
        XC_TRY(xc_graph_add_node(g, &part[i], "gather", name, (struct xc_ref[]){ xc_val(part[i]), xc_ten(table) }, 2, NULL, err));
    }
    return xc_graph_add_node(g, out, "concat", "embeddings.position_embeddings", (struct xc_ref[]){ xc_val(part[0]), xc_val(part[1]) }, 2, NULL, err);
}

static enum xc_status embeddings(const struct reformer *r, struct xc_graph *g, int32_t tokens, int32_t *x, struct xc_err *err)
{
    const struct xc_attr_positions attr = { .skip_id = -1 };
    int32_t ids, word, position;

    XC_TRY(xc_graph_add_input(g, &ids, "ids", tokens, 1, XC_DTYPE_I32, err));
    XC_TRY(xc_hf_embedding(g, r->cfg, PREFIX, "embeddings.word_embeddings", ids, r->vocab, r->hidden, &word, err));
    if (r->axial) {
        XC_TRY(axial_positions(r, g, ids, &position, err));
    } else {
        XC_TRY(xc_graph_add_node(g, &position, "positions", "position_ids", (struct xc_ref[]){ xc_val(ids) }, 1, &attr, err));
        XC_TRY(xc_hf_embedding(g, r->cfg, PREFIX, "embeddings.position_embeddings.embedding", position, r->positions, r->hidden, &position, err));
    }
    return xc_hf_add(g, x, "embeddings.sum", word, position, err);
}

/* The checkpoint's rotations, else ours. */
static enum xc_status rotations(const struct reformer *r, struct xc_model *m, const char *base, int layer, int32_t *id, struct xc_err *err)
{
    int64_t dim[2] = { r->heads * r->head_dim, r->rounds * (r->buckets[0] / 2 + r->buckets[1] / 2) };
    char name[160];

    snprintf(name, sizeof name, "%sself_attention.rotations", base);
    if (xc_hf_has(r->cfg, PREFIX, name)) return xc_hf_tensor(m, r->cfg, id, PREFIX, name, 2, dim, err);
    snprintf(name, sizeof name, PREFIX "%sself_attention.rotations", base);
    XC_TRY(xc_model_add_tensor(m, id, name, 2, dim, err));
    return xc_rotations_bind(m->tensors[*id], (uint64_t)r->seed, (uint64_t)layer, err);
}

static enum xc_status attention(const struct reformer *r, struct xc_graph *g, const char *base, int layer, bool lsh, int32_t x, int32_t *y, struct xc_err *err)
{
    static const char *const parts[2][3] = { { "query", "key", "value" }, { "query_key", "query_key", "value" } };
    const struct chunking *c = lsh ? &r->lsh : &r->local;
    struct xc_attr_attention attr = { .kind = xc_attention_kind_named("reformer"), .heads = (int32_t)r->heads, .causal = r->causal, .chunk = (int32_t)c->chunk,
                                      .before = (int32_t)c->before, .after = (int32_t)c->after };
    struct xc_ref in[4];
    int32_t qkv[3], id;
    char name[160];

    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%sself_attention.%s", base, parts[lsh][i]);
        if (lsh && i == 1) qkv[1] = qkv[0];
        else XC_TRY(xc_hf_linear(g, r->cfg, &qkv[i], PREFIX, name, x, r->heads * r->head_dim, err));
        in[i] = xc_val(qkv[i]);
    }
    if (lsh) { /* keys have unit length, scores are not scaled; local layers scale as usual */
        attr.scale = 1.0f;
        attr.rounds = (int32_t)r->rounds;
        attr.buckets = (int32_t)r->buckets[0];
        attr.buckets2 = (int32_t)r->buckets[1];
        XC_TRY(rotations(r, g->model, base, layer, &id, err));
        in[3] = xc_ten(id);
    }
    snprintf(name, sizeof name, "%sself_attention", base);
    XC_TRY(xc_graph_add_node(g, y, "attention", name, in, lsh ? 4 : 3, &attr, err));
    snprintf(name, sizeof name, "%soutput.dense", base);
    return xc_hf_linear(g, r->cfg, y, PREFIX, name, *y, r->hidden, err);
}

static enum xc_status feed_forward(const struct reformer *r, struct xc_graph *g, const char *base, int32_t x, int32_t *y, struct xc_err *err)
{
    char name[160];

    snprintf(name, sizeof name, "%sdense.dense", base);
    XC_TRY(xc_hf_linear(g, r->cfg, y, PREFIX, name, x, r->ffn, err));
    snprintf(name, sizeof name, "%sdense.act", base);
    XC_TRY(xc_hf_unary(g, y, name, *y, r->act, err));
    snprintf(name, sizeof name, "%soutput.dense", base);
    return xc_hf_linear(g, r->cfg, y, PREFIX, name, *y, r->hidden, err);
}

/* One of the two halves of a layer: *to += f(norm(from)). */
static enum xc_status half(const struct reformer *r, struct xc_graph *g, int layer, int kind, int32_t from, int32_t *to, struct xc_err *err)
{
    char base[96], name[160];
    int32_t y;

    snprintf(base, sizeof base, "encoder.layers.%d.%s.", layer, kind < 0 ? "feed_forward" : "attention");
    snprintf(name, sizeof name, "%slayer_norm", base);
    XC_TRY(xc_hf_layer_norm(g, r->cfg, &y, PREFIX, name, from, r->eps, err));
    if (kind < 0) XC_TRY(feed_forward(r, g, base, y, &y, err));
    else XC_TRY(attention(r, g, base, layer, kind == 1, y, &y, err));
    snprintf(name, sizeof name, "%sresidual", base);
    return xc_hf_add(g, to, name, *to, y, err);
}

static enum xc_status encoder(const struct reformer *r, struct xc_graph *g, int32_t *hidden, struct xc_err *err)
{
    const struct xc_space tokens = { .name = "tokens", .map = XC_MAP_INPUT }, sequences = { .name = "sequences", .map = XC_MAP_SEQUENCE };
    const json_t *layers = json_object_get(r->cfg->json, "attn_layers");
    int32_t space, x1, x2;

    XC_TRY(xc_graph_add_space(g, &space, &tokens, err));
    XC_TRY(embeddings(r, g, space, &x1, err));
    x2 = x1;
    for (int i = 0; i < (int)r->layers; i++) {
        const char *kind = json_string_value(json_array_get(layers, (size_t)i));

        if (!kind || (strcmp(kind, "lsh") && strcmp(kind, "local")))
            return xc_fail(err, XC_E_FORMAT, "layer %d of 'attn_layers' is '%s': it must be 'lsh' or 'local'", i, kind ? kind : "not a string");
        XC_TRY(half(r, g, i, !strcmp(kind, "lsh"), x2, &x1, err));
        XC_TRY(half(r, g, i, -1, x1, &x2, err));
    }
    XC_TRY(xc_graph_add_node(g, hidden, "concat", "encoder.streams", (struct xc_ref[]){ xc_val(x1), xc_val(x2) }, 2, NULL, err));
    XC_TRY(xc_hf_layer_norm(g, r->cfg, hidden, PREFIX, "encoder.layer_norm", *hidden, r->eps, err));
    return xc_graph_add_space(g, &space, &sequences, err);
}

static enum xc_status lm_head(const struct reformer *r, struct xc_graph *g, int32_t x, struct xc_err *err)
{
    int64_t dim[2] = { r->vocab, g->values[x].cols };
    int32_t w, b;

    XC_TRY(xc_hf_tensor(g->model, r->cfg, &w, "", "lm_head.decoder.weight", 2, dim, err));
    XC_TRY(xc_hf_tensor(g->model, r->cfg, &b, "", "lm_head.bias", 1, dim, err));
    XC_TRY(xc_graph_add_node(g, &x, "linear", "lm_head.decoder", (struct xc_ref[]){ xc_val(x), xc_ten(w), xc_ten(b) }, 3, NULL, err));
    return xc_graph_add_output(g, x, err);
}

static enum xc_status build(struct xc_model *m, const struct xc_hf_config *cfg, const struct xc_load_opts *opts, struct xc_err *err)
{
    struct reformer r = { .cfg = cfg };
    struct xc_graph *g = NULL;
    int32_t x;

    (void)opts;
    XC_TRY(read_config(&r, err));
    if (!strcmp(cfg->head, "tag")) return xc_fail(err, XC_E_UNSUPPORTED, "Reformer has no token classification in transformers");
    if (!strcmp(cfg->head, "choice")) return xc_fail(err, XC_E_UNSUPPORTED, "Reformer has no multiple choice in transformers");
    if (!strcmp(cfg->head, "lm") && !r.causal) return xc_fail(err, XC_E_FORMAT, "'is_decoder' must be true for ReformerModelWithLMHead");
    if (!strcmp(cfg->head, "mlm") && r.causal) return xc_fail(err, XC_E_FORMAT, "'is_decoder' must be false for ReformerForMaskedLM");
    XC_TRY(xc_model_add_graph(m, &g, "encode", err));
    XC_TRY(encoder(&r, g, &x, err));
    if (!strcmp(cfg->head, "embed")) return xc_hf_embed_head(g, cfg, x, err);
    if (!strcmp(cfg->head, "lm") || !strcmp(cfg->head, "mlm")) return lm_head(&r, g, x, err);
    if (!strcmp(cfg->head, "classify") || !strcmp(cfg->head, "regress")) {
        XC_TRY(xc_hf_first(g, &x, x, err));
        XC_TRY(xc_hf_dense(g, cfg, &x, "", "classifier.dense", r.hidden, XC_ACT_TANH, err));
        XC_TRY(xc_hf_linear(g, cfg, &x, "", "classifier.out_proj", x, xc_hf_n_labels(cfg), err));
    }
    if (!strcmp(cfg->head, "answer")) XC_TRY(xc_hf_answer_head(g, cfg, &x, err));
    return xc_graph_add_output(g, x, err);
}

/* The axial tables are (n1, d1) and (n2, d2) here, (n1, 1, d1) and (1, n2, d2) in transformers. */
static enum xc_status to_file(struct xc_tensor *t, struct xc_err *err)
{
    const char *tail = strstr(t->name, "position_embeddings.weights.");
    const int second = tail && tail[strlen(tail) - 1] == '1';

    (void)err;
    if (!tail || t->rank != 2) return XC_OK;
    t->rank = 3;
    t->dim[2] = t->dim[1];
    t->dim[1] = second ? t->dim[0] : 1;
    if (second) t->dim[0] = 1;
    return XC_OK;
}

const struct xc_arch xc_arch_reformer = { .model_type = "reformer", .class_name = "Reformer", .pad_id = 0, .build = build, .to_file = to_file };
